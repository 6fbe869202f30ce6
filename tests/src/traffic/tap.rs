//! Looks at everything that passes a device, as tcpdump does.

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};

use super::counts::Score;
use super::frames::packet_socket;

/// Starts to look. The thread ends with the process.
pub(super) fn start(device: &str, score: &Arc<Score>) -> Result<()> {
    let socket =
        packet_socket(device, libc::ETH_P_ALL as u16).with_context(|| format!("cannot tap {device}"))?;
    let score = Arc::clone(score);
    thread::spawn(move || {
        let mut buffer = [0_u8; 256];
        loop {
            // SAFETY: the pointer is to as many bytes as are told.
            let received =
                unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            score.frames.count(received > 0);
        }
    });
    Ok(())
}
