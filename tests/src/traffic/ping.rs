//! ICMP echo requests over a raw socket.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::counts::Score;
use super::{DATAGRAM_TIMEOUT, checksum};

const INTERVAL: Duration = Duration::from_millis(500);

/// Bytes of a message.
pub(super) const SMALL: usize = 40;
/// With the header of IPv6, 40 bytes, as many as Ethernet takes.
pub(super) const LARGE: usize = 1460;
/// More than Ethernet takes: it is cut in pieces.
pub(super) const HUGE: usize = 2900;

/// Numbers of the two messages, and whether the kernel hands the IP header over as well.
#[derive(Clone, Copy, Debug)]
struct Protocol {
    number: libc::c_int,
    request: u8,
    reply: u8,
    with_ip_header: bool,
}

const V4: Protocol = Protocol {
    number: libc::IPPROTO_ICMP,
    request: 8,
    reply: 0,
    with_ip_header: true,
};
const V6: Protocol = Protocol {
    number: libc::IPPROTO_ICMPV6,
    request: 128,
    reply: 129,
    with_ip_header: false,
};

/// Starts to ping an address. The thread ends with the process.
pub(super) fn start(address: IpAddr, score: Arc<Score>, length: usize) -> Result<()> {
    let protocol = if address.is_ipv4() { V4 } else { V6 };
    let socket = raw(protocol.number, address).with_context(|| format!("cannot ping {address}"))?;
    thread::spawn(move || {
        for number in (0..=u16::MAX).cycle() {
            score.pings.count(ping(&socket, protocol, number, length).is_ok());
            thread::sleep(INTERVAL);
        }
    });
    Ok(())
}

/// A connected raw socket of a protocol. `UdpSocket` is only the holder: what it sends is what it is given.
pub(super) fn raw(protocol: libc::c_int, address: IpAddr) -> io::Result<UdpSocket> {
    let domain = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    // SAFETY: a system call without pointers.
    let socket = unsafe { libc::socket(domain, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
    if socket == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    let socket = UdpSocket::from(unsafe { OwnedFd::from_raw_fd(socket) });
    socket.connect(SocketAddr::new(address, 0))?;
    Ok(socket)
}

fn ping(socket: &UdpSocket, protocol: Protocol, number: u16, length: usize) -> io::Result<()> {
    let own = std::process::id() as u16;
    let deadline = Instant::now() + DATAGRAM_TIMEOUT;
    socket.send(&message(protocol.request, own, number, length))?;
    let mut buffer = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let length = socket.recv(&mut buffer)?;
        let start = if protocol.with_ip_header {
            usize::from(buffer[0] & 0xf) * 4
        } else {
            0
        };
        // Type, code and checksum are 4 bytes, then come the identifier and the number.
        let wanted = message(protocol.reply, own, number, SMALL);
        let got = &buffer[start.min(length)..length];
        if got.len() >= 8 && got[0] == protocol.reply && got[4..8] == wanted[4..8] {
            return Ok(());
        }
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

/// An echo message of so many bytes, an even number. The kernel sets the checksum of ICMPv6, and so overwrites ours.
fn message(kind: u8, identifier: u16, number: u16, length: usize) -> Vec<u8> {
    let mut message = vec![0x61; length];
    message[..4].copy_from_slice(&[kind, 0, 0, 0]);
    message[4..6].copy_from_slice(&identifier.to_be_bytes());
    message[6..8].copy_from_slice(&number.to_be_bytes());
    let checksum = checksum(&message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_sums_up_to_zero_with_its_checksum() {
        assert_eq!(checksum(&message(8, 0x1234, 7, SMALL)), 0);
    }
}
