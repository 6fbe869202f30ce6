//! The server: HTTP over TCP and an echo over UDP at the same address.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use anyhow::{Context, Result};

use super::counts::Score;
use super::http;

/// Starts to listen. Each connection has a thread; they end with the process.
pub(super) fn start(address: SocketAddr, score: &Arc<Score>) -> Result<()> {
    let listener = TcpListener::bind(address).with_context(|| format!("cannot listen at tcp {address}"))?;
    let socket = UdpSocket::bind(address).with_context(|| format!("cannot listen at udp {address}"))?;
    let for_echo = Arc::clone(score);
    thread::spawn(move || echo(&socket, &for_echo));
    let score = Arc::clone(score);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let score = Arc::clone(&score);
            thread::spawn(move || {
                let done = http::serve(stream, |bytes| {
                    score.requests.count(true);
                    score.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                });
                score.connections.count(done.is_ok());
            });
        }
    });
    Ok(())
}

fn echo(socket: &UdpSocket, score: &Score) {
    let mut buffer = [0; 2048];
    loop {
        // An error here is the news that an earlier answer was refused: it concerns nobody any more.
        if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            score
                .datagrams
                .count(socket.send_to(&buffer[..length], peer).is_ok());
        }
    }
}
