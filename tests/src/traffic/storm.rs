//! The storm: datagrams that nobody asked for, as fast as one core can send them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use anyhow::Result;

use super::counts::Score;
use super::one_way::unconnected;

/// Starts a thread that sends to one address. It ends with the process.
pub(super) fn start(address: SocketAddr, score: Arc<Score>) -> Result<()> {
    let socket = unconnected(address)?;
    thread::spawn(move || {
        loop {
            score.datagrams.count(socket.send_to(&[0; 64], address).is_ok());
        }
    });
    Ok(())
}
