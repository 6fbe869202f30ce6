//! The storm: datagrams that nobody asked for, as fast as one core can send them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};

use super::counts::Score;

/// Starts a thread that sends to one address. It ends with the process.
pub(super) fn start(address: SocketAddr, score: Arc<Score>) -> Result<()> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    // Not connected: else answers that nobody listens would be errors of the next datagram.
    let socket = UdpSocket::bind(any).context("cannot open a socket of UDP")?;
    thread::spawn(move || {
        loop {
            score.datagrams.count(socket.send_to(&[0; 64], address).is_ok());
        }
    });
    Ok(())
}
