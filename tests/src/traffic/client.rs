//! The client: asks, counts what came of it, and goes on.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::DATAGRAM_TIMEOUT;
use super::counts::Score;
use super::http::Connection;

const SMALL: usize = 200;

const BULK_BYTES: usize = 20_000_000;
const BULK_CONNECTIONS: usize = 200;
const BULK_DATAGRAMS: usize = 1000;

/// How much a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    /// A few requests a second.
    Light,
    /// First [`bulk`], then light.
    BulkFirst,
    /// As many as are answered.
    Flood,
}

/// How long each thread pauses between two questions.
#[derive(Clone, Copy, Debug)]
struct Pace {
    kept: Duration,
    new: Duration,
    datagram: Duration,
}

impl Load {
    fn pace(self) -> Pace {
        match self {
            Self::Light | Self::BulkFirst => Pace {
                kept: Duration::from_millis(100),
                new: Duration::from_millis(500),
                datagram: Duration::from_millis(500),
            },
            Self::Flood => Pace {
                kept: Duration::ZERO,
                // Each leaves a port in TIME-WAIT for a minute, and there are 28,232 of them.
                new: Duration::from_millis(5),
                datagram: Duration::ZERO,
            },
        }
    }
}

/// Starts the threads that ask one address. They end with the process.
pub(super) fn start(address: SocketAddr, score: &Arc<Score>, load: Load) {
    let score = Arc::clone(score);
    thread::spawn(move || {
        if load == Load::BulkFirst {
            score.bulks.count(bulk(address, &score).is_ok());
        }
        type Asker = fn(SocketAddr, &Score, Pace);
        for ask in [
            ask_on_kept_connection as Asker,
            ask_on_new_connections,
            exchange_datagrams,
        ] {
            let score = Arc::clone(&score);
            thread::spawn(move || ask(address, &score, load.pace()));
        }
    });
}

/// The healthy workload: a long answer, many short connections, many datagrams.
fn bulk(address: SocketAddr, score: &Score) -> io::Result<()> {
    let bytes = Connection::open(address)?.get(BULK_BYTES)?;
    score.bytes.fetch_add(bytes, Ordering::Relaxed);
    for _ in 0..BULK_CONNECTIONS {
        score
            .connections
            .count(Connection::open(address)?.get(SMALL).is_ok());
    }
    let socket = connect_udp(address)?;
    for number in 0..BULK_DATAGRAMS {
        score.datagrams.count(exchange(&socket, number as u64).is_ok());
    }
    Ok(())
}

fn ask_on_kept_connection(address: SocketAddr, score: &Score, pace: Pace) {
    let mut kept: Option<Connection> = None;
    loop {
        let result = match kept.take() {
            Some(connection) => Ok(connection),
            None => Connection::open(address),
        };
        let result = result.and_then(|mut connection| {
            let bytes = connection.get(SMALL)?;
            kept = Some(connection);
            Ok(bytes)
        });
        score.requests.count(result.is_ok());
        score.bytes.fetch_add(result.unwrap_or(0), Ordering::Relaxed);
        thread::sleep(pace.kept);
    }
}

fn ask_on_new_connections(address: SocketAddr, score: &Score, pace: Pace) {
    loop {
        let result = Connection::open(address).and_then(|mut connection| connection.get(SMALL));
        score.connections.count(result.is_ok());
        score.bytes.fetch_add(result.unwrap_or(0), Ordering::Relaxed);
        thread::sleep(pace.new);
    }
}

fn exchange_datagrams(address: SocketAddr, score: &Score, pace: Pace) {
    let mut kept: Option<UdpSocket> = None;
    for number in 0.. {
        let result = match kept.take() {
            Some(socket) => Ok(socket),
            None => connect_udp(address),
        };
        let result = result.and_then(|socket| {
            let result = exchange(&socket, number);
            kept = Some(socket);
            result
        });
        score.datagrams.count(result.is_ok());
        thread::sleep(pace.datagram);
    }
}

fn connect_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(DATAGRAM_TIMEOUT))?;
    Ok(socket)
}

/// Sends a number and waits until it comes back; older ones that come late are left aside.
fn exchange(socket: &UdpSocket, number: u64) -> io::Result<()> {
    let sent = number.to_be_bytes();
    socket.send(&sent)?;
    let mut buffer = [0; 64];
    loop {
        let length = socket.recv(&mut buffer)?;
        if buffer[..length] == sent {
            return Ok(());
        }
    }
}
