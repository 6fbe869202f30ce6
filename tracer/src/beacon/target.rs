//! Where the lines of the beacon go.

use std::convert::Infallible;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

/// The kernel's log.
const KMSG: &str = "/dev/kmsg";
/// So long the end waits for a line that is being written: a serial console takes 80 ms for one.
const GRACE: Duration = Duration::from_secs(1);

/// What lines are written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The kernel's log, as warnings: most consoles show them, which do not show what is less.
    Kmsg,
    /// Standard error.
    Stderr,
    /// A file, to whose end each line is added; or a FIFO.
    Path(PathBuf),
}

impl FromStr for Target {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "kmsg" | KMSG => Self::Kmsg,
            "stderr" => Self::Stderr,
            path => Self::Path(path.into()),
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kmsg => f.write_str(KMSG),
            Self::Stderr => f.write_str("standard error"),
            Self::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Target {
    /// Writes a line in one go. It is opened for each one: a log may be rotated, and the reader of a FIFO may go and come.
    fn write(&self, line: &str) -> io::Result<()> {
        match self {
            // One write is one record; the number is facility and level (`devkmsg_write`).
            Self::Kmsg => open(Path::new(KMSG), false)?.write_all(format!("<4>{line}\n").as_bytes()),
            Self::Stderr => {
                // A handle of its own: no lock is held while it waits.
                let mut output = File::from(io::stderr().as_fd().try_clone_to_owned()?);
                output.write_all(format!("{line}\n").as_bytes())
            }
            Self::Path(path) => open(path, true)?.write_all(format!("{line}\n").as_bytes()),
        }
    }

    /// Why a line was not written, and what helps.
    fn failure(&self, error: &io::Error) -> String {
        let remedy = match self {
            Self::Kmsg => "run tracer as root, where sysctl kernel.printk_devkmsg is not off",
            Self::Stderr => "keep it open",
            Self::Path(_) => "name a file that can be written to, or a FIFO that somebody reads",
        };
        format!("{self} cannot be written to ({error}): the verdict is not told there; {remedy}")
    }
}

/// Opens without waiting for the reader of a FIFO, or for room in it.
fn open(path: &Path, create: bool) -> io::Result<File> {
    File::options()
        .append(true)
        .create(create)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC)
        .open(path)
}

/// Writes on a thread of its own: a console is slow, and a reader may have stopped to read.
pub(super) struct Writer {
    lines: SyncSender<String>,
    results: Receiver<Result<(), String>>,
    /// A line is on its way.
    busy: bool,
}

impl Writer {
    pub(super) fn spawn(target: Target) -> io::Result<Self> {
        let (lines, to_write) = sync_channel::<String>(1);
        let (tell, results) = channel();
        thread::Builder::new().name("beacon".to_owned()).spawn(move || {
            for line in to_write {
                let written = target.write(&line).map_err(|error| target.failure(&error));
                if tell.send(written).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self {
            lines,
            results,
            busy: false,
        })
    }

    /// Hands over a line; `false` where the one before is still on its way.
    pub(super) fn write(&mut self, line: String) -> bool {
        if self.busy {
            return false;
        }
        self.busy = self.lines.try_send(line).is_ok();
        self.busy
    }

    /// What became of the line that was on its way, once that is known.
    pub(super) fn result(&mut self) -> Option<Result<(), String>> {
        let result = self.results.try_recv().ok()?;
        self.busy = false;
        Some(result)
    }

    /// The same, and waits for it a moment.
    pub(super) fn wait(&mut self) -> Option<Result<(), String>> {
        if !self.busy {
            return None;
        }
        let result = self.results.recv_timeout(GRACE).ok()?;
        self.busy = false;
        Some(result)
    }
}
