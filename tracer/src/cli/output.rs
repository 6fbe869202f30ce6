//! What is written where, and what it means that it cannot be.

use std::error::Error;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rustix::fs::{FileType, fstat};
use tokio::sync::mpsc as results;
use tokio::time::timeout;

use super::stop::Stop;
use crate::trace;
use crate::ui::text::WIDTH;

/// Whether somebody still reads standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// As far as can be told.
    There,
    /// The other end of the pipe is closed, as by `head`, or the terminal was hung up. No error of ours.
    Gone,
}

/// Columns that a page may be wide: no more than the terminal has, where it goes to one.
pub(super) fn columns() -> usize {
    /// Narrower, nothing can be read.
    const LEAST: usize = 40;
    /// A serial console does not tell.
    const USUAL: usize = 80;
    if !io::stdout().is_terminal() {
        return WIDTH;
    }
    let told = crossterm::terminal::size().map_or(0, |(columns, _)| columns.into());
    if told == 0 {
        USUAL
    } else {
        told.clamp(LEAST, WIDTH)
    }
}

/// Writes to standard output, at once.
///
/// # Errors
///
/// Where it cannot be written to though there is a reader, such as a full disk.
pub(super) fn print(text: &str) -> Result<Reader> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    reader(written.context("standard output cannot be written to"))
}

/// Standard output, written to by a thread of its own: a reader that stops reading, as `less` does, must not
/// stop the tracer. What it does not take in time is left out and counted, so that at most one text waits.
pub(super) struct Outlet {
    texts: mpsc::SyncSender<String>,
    written: results::UnboundedReceiver<io::Result<()>>,
    /// A text is on its way.
    busy: bool,
    /// Texts that were left out since the last one that was not.
    left_out: u64,
}

impl Outlet {
    /// How long the end waits for a reader: long enough for one that reads.
    const GRACE: Duration = Duration::from_millis(500);

    pub(super) fn open() -> Result<Self> {
        // A handle of its own: no lock is held while it waits.
        let output = io::stdout().as_fd().try_clone_to_owned();
        let mut output = File::from(output.context("standard output cannot be opened again")?);
        let (texts, to_write) = mpsc::sync_channel::<String>(1);
        let (tell, written) = results::unbounded_channel();
        thread::Builder::new()
            .name("stdout".to_owned())
            .spawn(move || {
                for text in to_write {
                    if tell.send(output.write_all(text.as_bytes())).is_err() {
                        return;
                    }
                }
            })
            .context("no thread to write standard output with; raise the limit on processes")?;
        Ok(Self {
            texts,
            written,
            busy: false,
            left_out: 0,
        })
    }

    /// Hands over a text, which is made only where it will be written, of how many were left out before it.
    pub(super) fn show(&mut self, text: impl FnOnce(u64) -> String) {
        if self.busy {
            self.left_out += 1;
        } else {
            self.busy = true;
            // Where the thread has ended, `written` tells.
            let _ = self.texts.send(text(std::mem::take(&mut self.left_out)));
        }
    }

    /// Waits for the end of the text that is on its way, for ever where there is none.
    ///
    /// # Errors
    ///
    /// As [`print`].
    pub(super) async fn written(&mut self) -> Result<Reader> {
        let written = self.written.recv().await;
        self.busy = false;
        let written = written.ok_or_else(|| anyhow!("the thread that writes it has ended"))?;
        reader(written.context("standard output cannot be written to"))
    }

    /// Hands over the last text. A reader that has stopped reading does not get it.
    ///
    /// # Errors
    ///
    /// As [`print`].
    pub(super) async fn end(mut self, text: impl FnOnce(u64) -> String) -> Result<()> {
        if self.busy && self.settle().await? == Reader::Gone {
            return Ok(());
        }
        self.show(text);
        self.settle().await.map(|_| ())
    }

    /// Waits for a while for the text that is on its way; who does not take it by then is as good as gone.
    async fn settle(&mut self) -> Result<Reader> {
        timeout(Self::GRACE, self.written())
            .await
            .unwrap_or(Ok(Reader::Gone))
    }
}

/// As [`print`], but a reader that has stopped reading does not keep a signal from ending it.
///
/// # Errors
///
/// As [`print`].
pub(super) async fn print_until_asked(text: String, stop: &mut Stop) -> Result<Reader> {
    let mut outlet = Outlet::open()?;
    outlet.show(|_| text);
    tokio::select! {
        biased;
        reader = outlet.written() => reader,
        // The signal that ended the work may have come twice, so what was made by it has its time.
        _ = stop.asked() => outlet.settle().await,
    }
}

/// Who reads, from what came of writing to standard output by any way.
///
/// # Errors
///
/// Those of writing, but for the one that says that the reader is gone.
pub(super) fn reader(written: Result<()>) -> Result<Reader> {
    match written {
        Ok(()) => Ok(Reader::There),
        Err(error) if says_gone(error.as_ref()) => Ok(Reader::Gone),
        Err(error) => Err(error),
    }
}

fn is_gone(error: &io::Error) -> bool {
    // A terminal that was hung up answers EIO, and so does a broken disk.
    let is_terminal = || {
        fstat(io::stdout())
            .is_ok_and(|status| FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice)
    };
    error.kind() == io::ErrorKind::BrokenPipe || (error.raw_os_error() == Some(libc::EIO) && is_terminal())
}

/// Whether an error only says that nobody reads standard output any more.
pub(super) fn says_gone(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<io::Error>().is_some_and(is_gone) {
            return true;
        }
        next = error.source();
    }
    false
}

/// Says what a recording had beside its events, once they have all been read.
pub(super) fn say_of(recording: &trace::Reader) {
    let path = recording.path().display();
    if let Some(torn) = recording.torn() {
        say(&format!("{path}: {torn}"));
    }
    say_skipped(recording.path(), recording.skipped());
}

/// Says how many blocks of a recording another program has put there.
pub(super) fn say_skipped(path: &Path, blocks: u64) {
    let blocks = match blocks {
        0 => return,
        1 => "1 packet or journal entry is".to_owned(),
        many => format!("{many} packets or journal entries are"),
    };
    say(&format!(
        "{}: {blocks} not of the tracer, and left out",
        path.display()
    ));
}

/// A line to standard error. Where that is closed, nobody is there to be told.
pub(super) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "tracer: {text}");
}

/// An error with its causes in one line. Many name their cause themselves: it is not repeated.
pub(super) fn one_line(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let said = error.to_string().replace('\n', " ");
        if !text.contains(&said) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&said);
        }
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_named_once_and_in_one_line() {
        let cause = || io::Error::from_raw_os_error(libc::ENOSPC);
        let plain = anyhow::Error::new(cause()).context("the export\ncannot be written");
        assert_eq!(
            one_line(plain.as_ref()),
            "the export cannot be written: No space left on device (os error 28)"
        );
        let own = trace::Error::Output { source: cause() };
        assert_eq!(one_line(&own), own.to_string());
    }
}
