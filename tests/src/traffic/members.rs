//! Members of a multicast group: two sockets, each of which gets a copy of every datagram.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};

use super::counts::Score;
use crate::process::check;

/// Joins a group by two sockets and reads what comes. The threads end with the process.
pub(super) fn start(group: SocketAddrV4, score: &Arc<Score>) -> Result<()> {
    for _ in 0..2 {
        let socket = join(group).with_context(|| format!("cannot join {group}"))?;
        let score = Arc::clone(score);
        thread::spawn(move || {
            let mut buffer = [0; 2048];
            loop {
                score.datagrams.count(socket.recv(&mut buffer).is_ok());
            }
        });
    }
    Ok(())
}

/// A socket that shares its address with others.
fn join(group: SocketAddrV4) -> io::Result<UdpSocket> {
    // SAFETY: a system call without pointers.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    check(socket)?;
    // SAFETY: the descriptor is new and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let shared: libc::c_int = 1;
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: group.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(*group.ip()).to_be(),
        },
        sin_zero: [0; 8],
    };
    // SAFETY: the pointers are to values that live through the calls, and the sizes are theirs.
    unsafe {
        check(libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_REUSEADDR,
            (&raw const shared).cast(),
            size_of_val(&shared) as libc::socklen_t,
        ))?;
        check(libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        ))?;
    }
    let socket = UdpSocket::from(socket);
    socket.join_multicast_v4(group.ip(), &Ipv4Addr::UNSPECIFIED)?;
    Ok(socket)
}
