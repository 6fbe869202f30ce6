//! Clients that only send: what comes of it is for the other side to say. And one that only receives.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::TCP_TIMEOUT;
use super::counts::Score;
use super::shuffled;

/// From a datagram to the next.
const INTERVAL: Duration = Duration::from_millis(20);
/// From a connection to the next.
const BETWEEN_CONNECTIONS: Duration = Duration::from_millis(200);
/// How a stream is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Bytes of a piece, each of which is a segment.
    piece: usize,
    /// From a piece to the next.
    interval: Duration,
}

/// As fast as datagrams.
pub(super) const STREAM: Pace = Pace {
    piece: 1000,
    interval: INTERVAL,
};
/// Many segments with next to nothing in them. No two are of the same millisecond: their time stamps differ, and so the
/// kernel makes none of them one (`tcp_add_backlog`).
pub(super) const TRICKLE: Pace = Pace {
    piece: 1,
    interval: Duration::from_millis(2),
};

/// A socket of UDP that is not connected: else answers that nobody listens would be errors of the next datagram.
pub(super) fn unconnected(address: SocketAddr) -> Result<UdpSocket> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    UdpSocket::bind(any).context("cannot open a socket of UDP")
}

/// Starts to send datagrams to an address. The thread ends with the process, as those below.
pub(super) fn drip(address: SocketAddr, score: &Arc<Score>) -> Result<()> {
    let socket = unconnected(address)?;
    let score = Arc::clone(score);
    thread::spawn(move || {
        loop {
            score.datagrams.count(socket.send_to(&[0; 64], address).is_ok());
            thread::sleep(INTERVAL);
        }
    });
    Ok(())
}

/// Starts to write a stream of TCP to an address, a piece at a time, and to begin anew where it breaks off.
pub(super) fn pour(address: SocketAddr, score: &Arc<Score>, pace: Pace) {
    let score = Arc::clone(score);
    thread::spawn(move || {
        loop {
            let poured = pour_once(address, &score, pace);
            score.connections.count(poured.is_ok());
            thread::sleep(BETWEEN_CONNECTIONS);
        }
    });
}

fn pour_once(address: SocketAddr, score: &Score, pace: Pace) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, TCP_TIMEOUT)?;
    stream.set_nodelay(true)?;
    let piece = vec![0x61; pace.piece];
    loop {
        stream.write_all(&piece)?;
        score.requests.count(true);
        thread::sleep(pace.interval);
    }
}

/// What a connection brings that was shut down, in bytes, and how much of it is read at a time.
const BODY: u64 = 600_000;
const MOUTHFUL: usize = 4000;

/// Starts to ask a server at an address for a long answer, to shut down its own side of the connection at once, and to read
/// the answer by and by; and to begin anew when it is whole.
pub(super) fn listen_only(address: SocketAddr, score: &Arc<Score>) {
    let score = Arc::clone(score);
    thread::spawn(move || {
        loop {
            let read = listen_once(address, &score);
            score.connections.count(read.is_ok());
            thread::sleep(BETWEEN_CONNECTIONS);
        }
    });
}

fn listen_once(address: SocketAddr, score: &Score) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, TCP_TIMEOUT)?;
    stream.set_read_timeout(Some(TCP_TIMEOUT))?;
    // By IPv6 the question leaves with its end, in one segment: so that nothing comes while both ends are open.
    shuffled::set(&stream, libc::TCP_CORK, address.is_ipv6().into())?;
    stream.write_all(format!("GET /{BODY} HTTP/1.1\r\n\r\n").as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut buffer = [0; MOUTHFUL];
    while stream.read(&mut buffer)? != 0 {
        score.requests.count(true);
        thread::sleep(INTERVAL);
    }
    Ok(())
}

/// Connections of those that ask late, at a time; and how long each is kept when the server has closed it.
const STALE: u32 = 8;
const KEPT: Duration = Duration::from_secs(2);

/// Starts to keep connections to an address that the server there has closed, and to ask by each of them then, in vain.
pub(super) fn ask_late(address: SocketAddr, score: &Arc<Score>) {
    for number in 0..STALE {
        let score = Arc::clone(score);
        thread::spawn(move || {
            thread::sleep(KEPT * number / STALE);
            loop {
                score.connections.count(ask_late_once(address).is_ok());
                thread::sleep(BETWEEN_CONNECTIONS);
            }
        });
    }
}

fn ask_late_once(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, TCP_TIMEOUT)?;
    stream.set_read_timeout(Some(TCP_TIMEOUT))?;
    // No request begins like that: the server closes the connection.
    stream.write_all(b"\r\n")?;
    stream.read_to_end(&mut Vec::new())?;
    thread::sleep(KEPT);
    stream.write_all(b"GET /1 HTTP/1.1\r\n\r\n")
}

/// Starts to open connections to an address, and to close each at once.
pub(super) fn knock(address: SocketAddr, score: &Arc<Score>) {
    let score = Arc::clone(score);
    thread::spawn(move || {
        loop {
            let opened = TcpStream::connect_timeout(&address, TCP_TIMEOUT);
            score.connections.count(opened.is_ok());
            thread::sleep(BETWEEN_CONNECTIONS);
        }
    });
}
