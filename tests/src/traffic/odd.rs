//! Servers that do not do what servers do: they read nothing or too slowly, refuse everything, accept nothing, or leave.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::counts::Score;
use crate::process::check;

/// The smallest receive buffer that the kernel grants, in bytes (`SOCK_MIN_RCVBUF`, include/net/sock.h).
pub(super) const SMALLEST_BUFFER: libc::c_int = 2304;

/// Over UDP and TCP: takes every connection, and reads neither from it nor any datagram.
pub(super) fn deaf(address: SocketAddr, score: &Arc<Score>) -> Result<()> {
    let socket = UdpSocket::bind(address).with_context(|| format!("cannot listen at udp {address}"))?;
    let listener = TcpListener::bind(address).with_context(|| format!("cannot listen at tcp {address}"))?;
    // Connections have the buffer of their listener.
    for descriptor in [socket.as_raw_fd(), listener.as_raw_fd()] {
        set(descriptor, libc::SO_RCVBUF, &SMALLEST_BUFFER).context("cannot set a receive buffer")?;
    }
    let score = Arc::clone(score);
    thread::spawn(move || {
        let mut kept: Vec<TcpStream> = Vec::new();
        for stream in listener.incoming().flatten() {
            score.connections.count(true);
            kept.push(stream);
        }
        drop(socket);
    });
    Ok(())
}

/// Over UDP: reads a datagram now and then, which is less than comes.
pub(super) fn slow(address: SocketAddr, score: &Arc<Score>) -> Result<()> {
    /// From a datagram to the next.
    const BETWEEN: Duration = Duration::from_millis(100);
    let socket = UdpSocket::bind(address).with_context(|| format!("cannot listen at udp {address}"))?;
    set(socket.as_raw_fd(), libc::SO_RCVBUF, &SMALLEST_BUFFER).context("cannot set a receive buffer")?;
    let score = Arc::clone(score);
    thread::spawn(move || {
        loop {
            let read = socket.recv(&mut [0; 64]);
            score.datagrams.count(read.is_ok());
            thread::sleep(BETWEEN);
        }
    });
    Ok(())
}

/// Over UDP and TCP: a filter of its own at the sockets refuses every packet.
pub(super) fn filtered(address: SocketAddr) -> Result<()> {
    const REFUSE: libc::sock_filter = libc::sock_filter {
        // BPF_RET | BPF_K: this many bytes of the packet are let in.
        code: 0x06,
        jt: 0,
        jf: 0,
        k: 0,
    };
    let socket = UdpSocket::bind(address).with_context(|| format!("cannot listen at udp {address}"))?;
    let listener = TcpListener::bind(address).with_context(|| format!("cannot listen at tcp {address}"))?;
    let mut program = [REFUSE];
    let filter = libc::sock_fprog {
        len: 1,
        filter: program.as_mut_ptr(),
    };
    for descriptor in [socket.as_raw_fd(), listener.as_raw_fd()] {
        set(descriptor, libc::SO_ATTACH_FILTER, &filter).context("cannot attach a filter")?;
    }
    thread::spawn(move || {
        let _held = socket;
        // Nothing comes, so that this never ends.
        let _ = listener.accept();
    });
    Ok(())
}

/// Over TCP: listens, with room for one connection, and never accepts any.
pub(super) fn full(address: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(address).with_context(|| format!("cannot listen at tcp {address}"))?;
    // The kernel takes one more than the backlog (`sk_acceptq_is_full`).
    // SAFETY: a system call without pointers, on an open descriptor.
    check(unsafe { libc::listen(listener.as_raw_fd(), 0) }).context("cannot set the backlog")?;
    thread::spawn(move || {
        let _held = listener;
        loop {
            thread::park();
        }
    });
    Ok(())
}

/// Over TCP: takes each connection, waits for the first bytes, and closes it although more are to come.
pub(super) fn quitter(address: SocketAddr, score: &Arc<Score>) -> Result<()> {
    let listener = TcpListener::bind(address).with_context(|| format!("cannot listen at tcp {address}"))?;
    let score = Arc::clone(score);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let read = stream.read(&mut [0; 64 * 1024]);
            score.connections.count(read.is_ok());
        }
    });
    Ok(())
}

/// Sets an option of a socket, at the level of sockets.
pub(super) fn set<T>(descriptor: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the pointer is to a value of the size that is told, and what it points to lives through the call.
    check(unsafe {
        libc::setsockopt(
            descriptor,
            libc::SOL_SOCKET,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    })
}
