//! Very many clients that ask a server over UDP, each by an address of its own.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::DATAGRAM_TIMEOUT;
use super::counts::Score;

/// How many there are.
const CLIENTS: u32 = 100_000;
/// Their addresses count up from here, in the range for benchmarks (RFC 2544). The namespace must have all of it for its own:
/// `ip route add local 198.18.0.0/15 dev lo`.
const FIRST: u32 = u32::from_be_bytes([198, 18, 0, 0]);
/// So many ask at a time, and wait for their answers.
const TOGETHER: u32 = 64;
/// Between these.
const PAUSE: Duration = Duration::from_millis(1);

/// Starts a thread in which all clients ask one address, one after the other, again and again. It ends with the process.
pub(super) fn start(address: SocketAddrV4, score: Arc<Score>) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("cannot open a socket of UDP")?;
    socket.set_read_timeout(Some(DATAGRAM_TIMEOUT))?;
    // Is there a route for them?
    ask(&socket, FIRST, address).context("the crowd has no addresses of its own")?;
    thread::spawn(move || {
        let mut answer = [0; 64];
        for first in (0..CLIENTS).step_by(TOGETHER as usize).cycle() {
            let clients = first..CLIENTS.min(first + TOGETHER);
            let asked = clients.filter(|client| ask(&socket, FIRST + client, address).is_ok());
            for _ in 0..asked.count() {
                score.datagrams.count(socket.recv(&mut answer).is_ok());
            }
            thread::sleep(PAUSE);
        }
    });
    Ok(())
}

/// Sends a datagram from one of the addresses that the socket is bound to (`IP_PKTINFO`, ip(7)).
fn ask(socket: &UdpSocket, source: u32, address: SocketAddrV4) -> io::Result<()> {
    /// A control message, with its header.
    #[repr(C)]
    struct Control {
        header: libc::cmsghdr,
        info: libc::in_pktinfo,
    }
    let mut to = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(*address.ip()).to_be(),
        },
        sin_zero: [0; 8],
    };
    let mut control = Control {
        header: libc::cmsghdr {
            cmsg_len: size_of::<libc::cmsghdr>() + size_of::<libc::in_pktinfo>(),
            cmsg_level: libc::IPPROTO_IP,
            cmsg_type: libc::IP_PKTINFO,
        },
        info: libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr {
                s_addr: source.to_be(),
            },
            ipi_addr: libc::in_addr { s_addr: 0 },
        },
    };
    let mut payload = [0_u8; 32];
    let mut data = libc::iovec {
        iov_base: payload.as_mut_ptr().cast(),
        iov_len: payload.len(),
    };
    // SAFETY: all zeros is a valid msghdr.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = (&raw mut to).cast();
    message.msg_namelen = size_of_val(&to) as libc::socklen_t;
    message.msg_iov = &raw mut data;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: every pointer of the message is to a value of the size that it tells, which lives through the call.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, 0) };
    if sent == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
