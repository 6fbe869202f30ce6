//! Keys and changes of size, as they come.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use crossterm::event::{self, Event};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Keys that may wait: more than a person types between two ticks.
const WAITING: usize = 64;
/// The bytes of one arrow key come one by one on a slow line (1 ms each at 9600 baud); this long after
/// the first the rest is there, and it is not taken for the key Esc.
const WHOLE_KEY: Duration = Duration::from_millis(15);
/// Without any time crossterm would not even look.
const AT_ONCE: Duration = Duration::from_millis(1);

/// Starts to read the terminal. The receiver ends when the terminal is gone.
///
/// A thread waits for keys without polling and stays behind until the next key or the end of the
/// process. A change of the size is sent as [`Event::Resize`].
///
/// # Errors
/// Where there is no terminal to read from, or outside a tokio runtime with signals.
pub fn spawn() -> Result<mpsc::Receiver<Event>> {
    let terminal = input().context("no terminal to read keys from: use --plain")?;
    let mut resized =
        signal(SignalKind::window_change()).context("changes of the terminal's size are not told")?;
    let (keys, receiver) = mpsc::channel(WAITING);

    let sizes = keys.downgrade();
    tokio::spawn(async move {
        while resized.recv().await.is_some() {
            // Held only while sending, so that the receiver ends with the reading thread.
            let Some(sizes) = sizes.upgrade() else { break };
            let (columns, rows) = crossterm::terminal::size().unwrap_or_default();
            if sizes.send(Event::Resize(columns, rows)).await.is_err() {
                break;
            }
        }
    });
    thread::Builder::new()
        .name("keys".to_owned())
        .spawn(move || read(&terminal, &keys))
        .context("no thread for keys: is the limit of processes (ulimit -u) reached?")?;
    Ok(receiver)
}

/// The terminal that [`event::read`] reads from.
fn input() -> io::Result<OwnedFd> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        stdin.as_fd().try_clone_to_owned()
    } else {
        Ok(File::open("/dev/tty")?.into())
    }
}

fn read(terminal: &OwnedFd, keys: &mpsc::Sender<Event>) {
    while let Ok(Ready::Input) = wait(terminal.as_fd()) {
        thread::sleep(WHOLE_KEY);
        // What a change of the size has to say is taken with it, and tells nothing of keys: then one more turn.
        while let Ok(true) = event::poll(AT_ONCE) {
            let Ok(event) = event::read() else { return };
            // Changes of the size are told by the signal.
            if !matches!(event, Event::Resize(..)) && keys.blocking_send(event).is_err() {
                return;
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ready {
    Input,
    Gone,
}

/// Waits until there is something to read, or the terminal is gone.
///
/// [`event::read`] alone would not do: it never returns and takes a whole CPU once the terminal is gone.
fn wait(terminal: BorrowedFd<'_>) -> io::Result<Ready> {
    let mut poll = libc::pollfd {
        fd: terminal.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    loop {
        // SAFETY: `poll` is one valid pollfd, and its descriptor is borrowed for the call.
        let ready = unsafe { libc::poll(&raw mut poll, 1, -1) };
        if ready < 0 {
            let error = io::Error::last_os_error();
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        }
        let gone = poll.revents & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0;
        return Ok(if gone { Ready::Gone } else { Ready::Input });
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn waiting_ends_with_input_and_when_the_other_end_is_gone() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"q").unwrap();
        assert_eq!(wait(reader.as_fd()).unwrap(), Ready::Input);
        let (reader, writer) = io::pipe().unwrap();
        drop(writer);
        assert_eq!(wait(reader.as_fd()).unwrap(), Ready::Gone);
    }
}
