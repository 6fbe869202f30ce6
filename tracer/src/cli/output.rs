//! What is written where, and what it means that it cannot be.

use std::error::Error;
use std::io::{self, Write};

use anyhow::{Context, Result};
use rustix::fs::{FileType, fstat};

/// Whether somebody still reads standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// As far as can be told.
    There,
    /// The other end of the pipe is closed, as by `head`, or the terminal was hung up. No error of ours.
    Gone,
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
        let own = crate::trace::Error::Output { source: cause() };
        assert_eq!(one_line(&own), own.to_string());
    }
}
