//! A client whose segments come out of order, and some of them twice.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::counts::Score;
use super::frames::{TCP, with_checksum};
use super::http::Connection;
use super::ping;
use crate::process::check;

/// From a connection to the next.
const INTERVAL: Duration = Duration::from_millis(50);

/// An answer, in bytes.
const SMALL: usize = 200;

/// What comes before the request and is part of it, by place and length. The first three have gaps between them: in the
/// tree of the socket the second one stands above the others. The last one holds all of it, so that it is taken out of the
/// middle of the tree (`tcp_data_queue_ofo`). All of it comes again with the request.
const EARLY: [(u32, usize); 4] = [(2, 2), (6, 2), (10, 2), (5, 4)];

/// Starts to ask a server at an address, each time on a new connection. The thread ends with the process.
pub(super) fn start(address: SocketAddr, score: &Arc<Score>) -> Result<()> {
    let raw = ping::raw(libc::IPPROTO_TCP, address.ip()).context("cannot open a raw socket of TCP")?;
    let score = Arc::clone(score);
    thread::spawn(move || {
        loop {
            let answered = ask(address, &raw);
            score.connections.count(answered.is_ok());
            thread::sleep(INTERVAL);
        }
    });
    Ok(())
}

fn ask(address: SocketAddr, raw: &UdpSocket) -> io::Result<()> {
    let mut connection = Connection::open(address)?;
    let stream = connection.stream();
    let local = stream.local_addr()?;
    let [sent, received] = numbers(stream)?;
    for (place, length) in EARLY {
        raw.send(&segment(
            local,
            address,
            sent.wrapping_add(place),
            received,
            length,
        ))?;
    }
    connection.get(SMALL)?;
    Ok(())
}

/// Of a connection the numbers of the bytes that are sent and that are received next (tcp(7), `TCP_REPAIR`).
fn numbers(stream: &TcpStream) -> io::Result<[u32; 2]> {
    /// Values of these options (include/uapi/linux/tcp.h).
    const ON: libc::c_int = 1;
    /// Without a probe to the other end.
    const OFF: libc::c_int = -1;
    const RECEIVED: libc::c_int = 1;
    const SENT: libc::c_int = 2;
    set(stream, libc::TCP_REPAIR, ON)?;
    let number = |queue| {
        set(stream, libc::TCP_REPAIR_QUEUE, queue)?;
        get(stream, libc::TCP_QUEUE_SEQ)
    };
    let numbers = number(SENT).and_then(|sent| Ok([sent, number(RECEIVED)?]));
    set(stream, libc::TCP_REPAIR, OFF)?;
    numbers
}

/// Sets an option of a connection, at the level of TCP.
pub(super) fn set(stream: &TcpStream, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the pointer is to a value of the size that is told.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            option,
            std::ptr::from_ref(&value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    check(result)
}

fn get(stream: &TcpStream, option: libc::c_int) -> io::Result<u32> {
    let mut value = 0_u32;
    let mut size = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the pointers are to a value of the size that is told, and to that size.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            option,
            std::ptr::from_mut(&mut value).cast(),
            &raw mut size,
        )
    };
    check(result).map(|()| value)
}

/// A segment of a connection, with `length` bytes of data.
fn segment(local: SocketAddr, remote: SocketAddr, number: u32, acknowledged: u32, length: usize) -> Vec<u8> {
    /// A header of five words, and the flags PSH and ACK.
    const HEADER: u16 = 0x5018;
    let mut segment = Vec::new();
    segment.extend(local.port().to_be_bytes());
    segment.extend(remote.port().to_be_bytes());
    segment.extend(number.to_be_bytes());
    segment.extend(acknowledged.to_be_bytes());
    for word in [HEADER, 0xffff, 0, 0] {
        segment.extend(word.to_be_bytes());
    }
    segment.resize(segment.len() + length, 0x61);
    let pseudo = match (local.ip(), remote.ip()) {
        (IpAddr::V4(local), IpAddr::V4(remote)) => [local.octets(), remote.octets()].concat(),
        (local, remote) => [local, remote].map(octets).concat(),
    };
    with_checksum(segment, 16, TCP, &pseudo)
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}
