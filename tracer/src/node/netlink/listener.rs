//! Netlink: to be told by the kernel when something changes.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recvfrom, socket_with};

use super::{BUFFER, Error, Message};

/// What may wait to be read. The kernel takes the memory only while it does.
const ROOM: usize = 4 << 20;

/// A socket that hears what the kernel tells in the namespace of the thread that opened it.
///
/// While it is open, that namespace cannot end.
#[derive(Debug)]
pub(in crate::node) struct Listener(OwnedFd);

/// What came of listening once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::node) enum Heard {
    /// Something was told, and more may follow.
    Something,
    /// Nothing waits.
    Nothing,
    /// More came than there was room for: some of it is lost.
    Lost,
}

impl Listener {
    /// Joins these groups. For netfilter only where its module is loaded: asking loads it.
    ///
    /// # Errors
    /// Where netlink does not work, or there is no such group.
    pub(in crate::node) fn open(protocol: Option<Protocol>, groups: &[u32]) -> Result<Self, Error> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
        // Beyond the limit of the system only as root; as much as it allows else.
        set_socket_recv_buffer_size_force(&socket, ROOM)
            .or_else(|_| set_socket_recv_buffer_size(&socket, ROOM))?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        for group in groups {
            join(&socket, *group).map_err(Error::Unheard)?;
        }
        Ok(Self(socket))
    }

    /// The same, and takes only what some process asked for: what has an address (`nlmsg_pid`).
    ///
    /// # Errors
    /// As for [`open`](Self::open), and where there can be no filter.
    pub(in crate::node) fn open_for_asked(protocol: Option<Protocol>, groups: &[u32]) -> Result<Self, Error> {
        let listener = Self::open(protocol, &[])?;
        // Before it hears anything.
        only_asked_for(&listener.0)?;
        for group in groups {
            listener.join(*group).map_err(Error::Unheard)?;
        }
        Ok(listener)
    }

    /// Joins one more group.
    ///
    /// # Errors
    /// Where there is no such group.
    pub(in crate::node) fn join(&self, group: u32) -> io::Result<()> {
        join(&self.0, group)
    }

    /// Reads what was told in one go, without waiting. What cannot be read as a message ends it.
    ///
    /// # Errors
    /// Where the socket does not work any more.
    pub(in crate::node) fn hear(&self, take: &mut dyn FnMut(&Message<'_>)) -> Result<Heard, Error> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let (told, length, sender) = match recvfrom(&self.0, &mut buffer, RecvFlags::TRUNC) {
            Ok(((told, _), length, sender)) => (&*told, length, sender),
            Err(Errno::AGAIN) => return Ok(Heard::Nothing),
            Err(Errno::INTR) => return Ok(Heard::Something),
            Err(Errno::NOBUFS) => return Ok(Heard::Lost),
            Err(errno) => return Err(errno.into()),
        };
        // Processes with privileges can send to a group, too.
        let from_kernel = sender
            .and_then(|sender| SocketAddrNetlink::try_from(sender).ok())
            .is_some_and(|sender| sender.pid() == 0);
        if !from_kernel {
            return Ok(Heard::Something);
        }
        let Some(mut rest) = told.get(..length) else {
            return Ok(Heard::Lost);
        };
        while let Some((message, after)) = Message::split(rest) {
            take(&message);
            rest = after;
        }
        Ok(Heard::Something)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Leaves out what the kernel did by itself, which so wakes nobody: a program of the classic BPF on the socket.
fn only_asked_for(socket: &OwnedFd) -> io::Result<()> {
    /// Where `nlmsg_pid` is in `struct nlmsghdr`.
    const ADDRESS: u32 = 12;
    let step = |code: u32, jump_where_equal, k| libc::sock_filter {
        code: code as u16,
        jt: jump_where_equal,
        jf: 0,
        k,
    };
    let mut steps = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, ADDRESS),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, 0),
        // All of it.
        step(libc::BPF_RET | libc::BPF_K, 0, u32::MAX),
        step(libc::BPF_RET | libc::BPF_K, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: steps.len() as libc::c_ushort,
        filter: steps.as_mut_ptr(),
    };
    // SAFETY: the descriptor is open, and the kernel copies the program, which lives until then.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of_val(&program) as libc::socklen_t,
        )
    };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn join(socket: &OwnedFd, group: u32) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the kernel reads a number of that length.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            libc::NETLINK_ADD_MEMBERSHIP,
            (&raw const group).cast(),
            size_of::<u32>() as libc::socklen_t,
        )
    };
    if answer == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::super::ROUTE;
    use super::*;

    #[test]
    fn nothing_waits_where_nothing_changes() {
        // RTNLGRP_DCB: nobody changes the bridging of a data centre here.
        let listener = Listener::open(ROUTE, &[23]).unwrap();
        let mut told = 0;
        assert_eq!(listener.hear(&mut |_| told += 1).unwrap(), Heard::Nothing);
        assert_eq!(told, 0);
    }

    #[test]
    fn a_group_that_is_not_there_is_refused() {
        let error = Listener::open(ROUTE, &[100_000]).unwrap_err();
        assert!(matches!(error, Error::Unheard(_)), "{error}");
    }
}
