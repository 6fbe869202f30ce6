//! The socket of systemd itself.
//!
//! Without a bus nobody gives connections names, and systemd signs what it says with `org.freedesktop.systemd1`
//! (`sd_bus_set_sender` in src/core/dbus.c). zbus takes only unique names there and panics at others. So the sender is made
//! one that it takes, of the same length: `:rg.freedesktop.systemd1`. Nobody reads it.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;

use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use zbus::connection::socket::{ReadHalf, Socket, Split};

use super::bus::SYSTEMD;

/// How the field begins that names the sender (D-Bus specification, "Header Fields"): its code, and that a text of so many
/// bytes follows.
const SENDER: [u8; 8] = [7, 1, b's', 0, SYSTEMD.len() as u8, 0, 0, 0];

/// A connection to systemd.
#[derive(Debug)]
pub(super) struct Private(pub(super) UnixStream);

/// What comes from systemd.
#[derive(Debug)]
pub(super) struct Renamed {
    socket: OwnedReadHalf,
    renaming: Renaming,
}

impl Socket for Private {
    type ReadHalf = Renamed;
    type WriteHalf = OwnedWriteHalf;

    fn split(self) -> Split<Renamed, OwnedWriteHalf> {
        let (socket, write) = self.0.into_split();
        let renaming = Renaming::default();
        Split::new(Renamed { socket, renaming }, write)
    }
}

impl ReadHalf for Renamed {
    fn recvmsg<'s, 'b, 'f>(
        &'s mut self,
        buffer: &'b mut [u8],
    ) -> Pin<Box<dyn Future<Output = io::Result<(usize, Vec<OwnedFd>)>> + Send + 'f>>
    where
        's: 'f,
        'b: 'f,
        Self: 'f,
    {
        Box::pin(async {
            let (length, files) = self.socket.recvmsg(buffer).await?;
            self.renaming.pass(&mut buffer[..length]);
            Ok((length, files))
        })
    }

    fn can_pass_unix_fd(&self) -> bool {
        self.socket.can_pass_unix_fd()
    }
}

/// Renames senders in a stream that comes in pieces.
#[derive(Debug, Default)]
struct Renaming {
    /// So many bytes of [`SENDER`] have come last.
    seen: usize,
}

impl Renaming {
    fn pass(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if self.seen == SENDER.len() {
                if *byte == SYSTEMD.as_bytes()[0] {
                    *byte = b':';
                }
                self.seen = 0;
            } else if *byte == SENDER[self.seen] {
                self.seen += 1;
            } else {
                // What it begins with does not come again in it.
                self.seen = usize::from(*byte == SENDER[0]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sender_is_renamed_wherever_the_stream_is_cut() {
        let field = |name: &str| [&[9, 7, 7], &SENDER[1..], name.as_bytes()].concat();
        let (before, after) = (field(SYSTEMD), field(":rg.freedesktop.systemd1"));
        for cut in 0..before.len() {
            let mut bytes = before.clone();
            let mut renaming = Renaming::default();
            let (first, second) = bytes.split_at_mut(cut);
            renaming.pass(first);
            renaming.pass(second);
            assert_eq!(bytes, after, "cut at {cut}");
        }
    }

    #[test]
    fn all_else_stays() {
        let mut bytes = [&SENDER[..4], &[5, 0, 0, 0], b"other", &SENDER, b"another"].concat();
        let before = bytes.clone();
        Renaming::default().pass(&mut bytes);
        assert_eq!(bytes, before);
    }
}
