//! A terminal without a window, for tests of what a person would see.

use std::fs::File;
use std::io::{self, Read, Write};
use std::num::NonZeroU16;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{self, check};

/// include/uapi/asm-generic/ioctls.h
const TIOCVHANGUP: libc::Ioctl = 0x5437;

/// A pseudo terminal and what it would show.
#[derive(Debug)]
pub struct Terminal {
    /// The person's side.
    person: File,
    /// The program's side, open as well while no program runs.
    program: File,
    shown: Arc<Shown>,
}

#[derive(Debug)]
struct Shown {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    parser: vt100::Parser,
    written: Vec<u8>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "State({} bytes written)", self.written.len())
    }
}

impl Shown {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Settings of a terminal that a program may change: the four flag words of `termios`.
pub type Settings = [libc::tcflag_t; 4];

impl Terminal {
    /// A terminal of so many rows and columns.
    pub fn open(rows: NonZeroU16, columns: NonZeroU16) -> Result<Self> {
        let (mut person, mut program) = (-1, -1);
        // SAFETY: the pointers are to two integers, and null where the defaults are wanted.
        check(unsafe {
            let null = std::ptr::null_mut();
            libc::openpty(&mut person, &mut program, null, null.cast(), null.cast())
        })
        .context("cannot open a pseudo terminal")?;
        // SAFETY: both descriptors are new and nobody else's.
        let (person, program) = unsafe { (File::from_raw_fd(person), File::from_raw_fd(program)) };
        for side in [&person, &program] {
            // SAFETY: a system call without pointers, on an open descriptor.
            check(unsafe { libc::fcntl(side.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) })?;
        }
        let state = State {
            parser: vt100::Parser::new(rows, columns, 0),
            written: Vec::new(),
        };
        let shown = Arc::new(Shown {
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let (mut output, for_reader) = (person.try_clone()?, Arc::clone(&shown));
        // It ends with an error when the last program and this value have closed the other side.
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                let mut state = for_reader.lock();
                state.parser.process(&buffer[..length]);
                state.written.extend_from_slice(&buffer[..length]);
                drop(state);
                for_reader.changed.notify_all();
            }
        });
        let terminal = Self {
            person,
            program,
            shown,
        };
        terminal.tell_size(rows, columns)?;
        Ok(terminal)
    }

    /// Starts a program in the foreground of the terminal. It is hung up when the calling thread ends.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        command
            .stdin(self.program.try_clone()?)
            .stdout(self.program.try_clone()?);
        command
            .stderr(self.program.try_clone()?)
            .env("TERM", "xterm-256color");
        process::bind(command, libc::SIGKILL, None);
        // SAFETY: the closure runs between fork and exec and makes two system calls.
        unsafe {
            command.pre_exec(|| {
                check(libc::setsid())?;
                check(libc::ioctl(0, libc::TIOCSCTTY, 0))
            });
        }
        command
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))
    }

    /// Types.
    pub fn type_in(&mut self, text: &str) -> Result<()> {
        self.person.write_all(text.as_bytes()).context("cannot type")
    }

    /// Changes the size; the program in the foreground gets SIGWINCH.
    pub fn resize(&self, rows: NonZeroU16, columns: NonZeroU16) -> Result<()> {
        self.shown.lock().parser.set_size(rows, columns);
        self.tell_size(rows, columns)
    }

    /// Hangs up, as when a connection breaks: the program in the foreground gets SIGHUP, and whatever it then
    /// writes to the terminal fails.
    pub fn hang_up(&self) -> Result<()> {
        // SAFETY: a system call without pointers, on an open descriptor.
        check(unsafe { libc::ioctl(self.program.as_raw_fd(), TIOCVHANGUP) })
            .context("cannot hang up the terminal")
    }

    fn tell_size(&self, rows: NonZeroU16, columns: NonZeroU16) -> Result<()> {
        let size = libc::winsize {
            ws_row: rows.get(),
            ws_col: columns.get(),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: the pointer is to a value that outlives the call.
        check(unsafe { libc::ioctl(self.person.as_raw_fd(), libc::TIOCSWINSZ, &size) })
            .context("cannot set the size of the terminal")
    }

    /// The settings, to compare them.
    pub fn settings(&self) -> Result<Settings> {
        // SAFETY: all-zero is a valid termios, and the pointer is to one that outlives the call.
        let settings = unsafe {
            let mut settings: libc::termios = std::mem::zeroed();
            check(libc::tcgetattr(self.program.as_raw_fd(), &mut settings))?;
            settings
        };
        Ok([
            settings.c_iflag,
            settings.c_oflag,
            settings.c_cflag,
            settings.c_lflag,
        ])
    }

    /// Looks at the screen.
    pub fn look<T>(&self, at: impl FnOnce(&vt100::Screen) -> T) -> T {
        at(self.shown.lock().parser.screen())
    }

    /// All that was ever written to it, control sequences as well.
    pub fn written(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().written).into_owned()
    }

    /// Waits until the screen is as wanted. An error shows the screen as it is instead.
    pub fn wait_for(
        &self,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&vt100::Screen) -> bool,
    ) -> Result<()> {
        let end = Instant::now() + patience;
        let mut state = self.shown.lock();
        while !wanted(state.parser.screen()) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!(
                    "no {what} after {patience:?}; the screen:\n{}",
                    state.parser.screen().contents()
                );
            }
            let waited = self.shown.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }
}

/// Waits until a process has ended. Kills it where that takes longer than `patience`.
pub fn wait_for_end(child: &mut Child, patience: Duration) -> Result<std::process::ExitStatus> {
    let end = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::from(io::ErrorKind::TimedOut)).context("the program did not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
