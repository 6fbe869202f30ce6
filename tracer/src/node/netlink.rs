//! Netlink: to ask the kernel for a list, and to read its answer.
//!
//! Read by hand, because the few members that are needed have stood still for decades, while whole-message
//! parsers refuse a message for one attribute of a newer kernel that they do not know.

mod listener;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with,
};

pub(super) use listener::{Heard, Listener};

/// `NETLINK_ROUTE`: devices, addresses, routes, rules.
pub(super) const ROUTE: Option<Protocol> = None;
/// `NETLINK_NETFILTER`: connection tracking.
pub(super) const NETFILTER: Option<Protocol> = Some(rustix::net::netlink::NETFILTER);
/// `NETLINK_XFRM`: IPsec.
pub(super) const XFRM: Option<Protocol> = Some(rustix::net::netlink::XFRM);
/// `NETLINK_GENERIC`: what has no kind of its own.
pub(super) const GENERIC: Option<Protocol> = Some(rustix::net::netlink::GENERIC);
/// `NETLINK_SOCK_DIAG`: sockets.
pub(super) const SOCK_DIAG: Option<Protocol> = Some(rustix::net::netlink::SOCK_DIAG);

// include/uapi/linux/netlink.h
const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;
/// Bits of an attribute's type that are not its type (`NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`).
const NLA_TYPE_MASK: u16 = 0x3fff;
const HEADER: usize = 16;

/// The kernel gives no more than 32 KiB at a time, or as much as the reader has room for.
const BUFFER: usize = 64 * 1024;
/// How often a list that changed while it was told is asked for again.
const ATTEMPTS: u32 = 10;
/// The kernel answers from memory; longer means that something is stuck.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a list could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel says no.
    #[error("the kernel refused netlink request {request}{}: {source}", of(*request))]
    Refused {
        /// Number of the request's type.
        request: u16,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Not even the asking works.
    #[error(
        "netlink does not work: {0}; is CONFIG_NET on, and does a seccomp filter forbid netlink sockets?"
    )]
    Socket(#[from] io::Error),
    /// It works, and the kernel does not let somebody hear what it tells.
    #[error("the kernel does not let it listen: {0}")]
    Unheard(io::Error),
    /// The answer is not what netlink is.
    #[error(
        "the kernel's answer to netlink request {request}{} cannot be read; please report the kernel's version",
        of(*request)
    )]
    Malformed {
        /// Number of the request's type.
        request: u16,
    },
    /// It never stood still.
    #[error(
        "the answer to netlink request {request}{} changed while it was told, {ATTEMPTS} times; try again",
        of(*request)
    )]
    Unsettled {
        /// Number of the request's type.
        request: u16,
    },
}

/// Whose request it is, where its number tells: those of netfilter have their subsystem in it
/// (include/uapi/linux/netfilter/nfnetlink.h), and all others count from a small number on.
fn of(request: u16) -> &'static str {
    match request >> 8 {
        1 => " of connection tracking",
        10 => " of nf_tables",
        _ => "",
    }
}

impl Error {
    /// The number of the kernel's refusal, where it is one.
    pub(super) fn refused(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// Whether the kernel has nothing that could answer (`ENOENT`, as for a sock_diag without its module).
    pub(super) fn is_unknown_request(&self) -> bool {
        matches!(self, Self::Refused { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether what was asked for is not there any more (`ENODEV`).
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Refused { source, .. } if source.raw_os_error() == Some(libc::ENODEV))
    }

    /// Whether it never stood still, and may another time.
    pub(super) fn is_unsettled(&self) -> bool {
        matches!(self, Self::Unsettled { .. })
    }

    /// Whether this kernel knows no such request (`EOPNOTSUPP`).
    pub(super) fn is_no_such_request(&self) -> bool {
        matches!(self, Self::Refused { source, .. } if source.raw_os_error() == Some(libc::EOPNOTSUPP))
    }

    /// Whether this kernel has nothing of the kind for this family (`EAFNOSUPPORT` of `fib_nl_dumprule`).
    pub(super) fn is_of_no_such_family(&self) -> bool {
        self.refused() == Some(libc::EAFNOSUPPORT)
    }

    /// Whether this kernel is built without this kind of netlink (`EPROTONOSUPPORT`), or without what would answer
    /// (`EINVAL` of `nfnetlink_rcv_msg`).
    pub(super) fn is_unsupported(&self) -> bool {
        let (Self::Socket(source) | Self::Unheard(source) | Self::Refused { source, .. }) = self else {
            return false;
        };
        matches!(source.raw_os_error(), Some(libc::EPROTONOSUPPORT | libc::EINVAL))
    }
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Self::Socket(errno.into())
    }
}

/// What tells the namespace of this thread from every other one since boot (`SO_NETNS_COOKIE`, since 5.14), 0 where the
/// kernel does not tell.
pub(super) fn namespace_cookie() -> u64 {
    let Ok(socket) = open(ROUTE) else { return 0 };
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the descriptor is open, and the kernel writes at most `length` bytes to `cookie`, which has so many.
    let told = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if told == 0 { cookie } else { 0 }
}

/// Asks for a whole list in the namespace of this thread, and reads each message's body with `parse`,
/// which gives `None` where the body is too short to be what it should.
///
/// # Errors
/// Where netlink does not work, the kernel refuses, or the list does not stand still.
pub(super) fn dump<T>(
    protocol: Option<Protocol>,
    request: u16,
    body: &[u8],
    parse: impl Fn(&[u8]) -> Option<T>,
) -> Result<Vec<T>, Error> {
    for _ in 0..ATTEMPTS {
        // Each attempt has its own socket, so that nothing of the last one is left to be read.
        if let Some(list) = Asker::open(protocol)?.list(request, body, &parse)? {
            return Ok(list);
        }
    }
    Err(Error::Unsettled { request })
}

/// Asks for one thing, as [`dump`] does for a list; `None` where the kernel tells nothing of it.
///
/// # Errors
/// As for [`dump`].
pub(super) fn get<T>(
    protocol: Option<Protocol>,
    request: u16,
    body: &[u8],
    parse: impl Fn(&[u8]) -> Option<T>,
) -> Result<Option<T>, Error> {
    // The confirmation is what ends the answer.
    let answer = Asker::open(protocol)?.attempt(request, NLM_F_ACK, body, &parse)?;
    Ok(answer.and_then(|list| list.into_iter().next()))
}

/// A socket that asks in the namespace of the thread that opened it. While it is open, that namespace cannot end.
#[derive(Debug)]
pub(super) struct Asker(OwnedFd);

impl Asker {
    /// Opens it.
    ///
    /// # Errors
    /// Where netlink does not work.
    pub(super) fn open(protocol: Option<Protocol>) -> Result<Self, Error> {
        open(protocol).map(Self)
    }

    /// Asks for a whole list, as [`dump`] does, once; `None` where the list changed while it was told. It may ask again where it has
    /// got a list: else some of the answer may be left to be read.
    ///
    /// # Errors
    /// As for [`dump`].
    pub(super) fn list<T>(
        &self,
        request: u16,
        body: &[u8],
        parse: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<Vec<T>>, Error> {
        self.attempt(request, NLM_F_DUMP, body, parse)
    }

    fn attempt<T>(
        &self,
        request: u16,
        flags: u16,
        body: &[u8],
        parse: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<Vec<T>>, Error> {
        let malformed = || Error::Malformed { request };
        let message = message(request, flags, body).ok_or_else(malformed)?;
        send(&self.0, &message, SendFlags::empty())?;
        self.answer(request, parse)
    }

    fn answer<T>(&self, request: u16, parse: impl Fn(&[u8]) -> Option<T>) -> Result<Option<Vec<T>>, Error> {
        let malformed = || Error::Malformed { request };
        let mut buffer = Vec::with_capacity(BUFFER);
        let mut list = Vec::new();
        let mut interrupted = false;
        loop {
            let (told, received) = match recv(&self.0, buffer.spare_capacity_mut(), RecvFlags::TRUNC) {
                Ok(((told, _), received)) => (&*told, received),
                Err(Errno::INTR) => continue,
                Err(Errno::NOBUFS) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            };
            // More than there was room for was cut off.
            let mut rest = told.get(..received).ok_or_else(malformed)?;
            while !rest.is_empty() {
                let (message, after) = Message::split(rest).ok_or_else(malformed)?;
                rest = after;
                interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                match message.kind {
                    NLMSG_NOOP => {}
                    NLMSG_ERROR | NLMSG_DONE => {
                        // An empty end is an end without error.
                        let code = i32_at(message.body, 0).unwrap_or(0).saturating_neg();
                        return match code {
                            1.. => Err(Error::Refused {
                                request,
                                source: io::Error::from_raw_os_error(code),
                            }),
                            _ if interrupted => Ok(None),
                            _ => Ok(Some(list)),
                        };
                    }
                    _ => list.push(parse(message.body).ok_or_else(malformed)?),
                }
            }
        }
    }
}

/// A socket that hears the kernel only: once it is connected, nobody else can send to it.
fn open(protocol: Option<Protocol>) -> Result<OwnedFd, Error> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        protocol,
    )?;
    connect(&socket, &SocketAddrNetlink::new(0, 0))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    Ok(socket)
}

/// A request; `None` for a body beyond 4 GiB.
fn message(request: u16, flags: u16, body: &[u8]) -> Option<Vec<u8>> {
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend(u32::try_from(HEADER + body.len()).ok()?.to_ne_bytes());
    message.extend(request.to_ne_bytes());
    message.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    // Sequence number and port: each socket asks once.
    message.extend([0; 8]);
    message.extend(body);
    Some(message)
}

/// `struct nlmsghdr` and what follows it.
pub(super) struct Message<'a> {
    /// What it says, such as `RTM_NEWROUTE`.
    pub(super) kind: u16,
    pub(super) flags: u16,
    /// Who asked for what it tells (`nlmsg_pid`): the address of a netlink socket, 0 for the kernel itself.
    pub(super) port: u32,
    pub(super) body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The first message of a buffer, and the buffer after it.
    fn split(buffer: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let length = usize::try_from(u32_at(buffer, 0)?).ok()?;
        let body = buffer.get(HEADER..length)?;
        let message = Self {
            kind: u16_at(buffer, 4)?,
            flags: u16_at(buffer, 6)?,
            port: u32_at(buffer, 12)?,
            body,
        };
        Some((
            message,
            buffer.get(length.next_multiple_of(4)..).unwrap_or_default(),
        ))
    }
}

/// The attributes in `buffer`, as (type, value), up to the first that does not fit.
pub(super) fn attributes(buffer: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = buffer;
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        let kind = u16_at(rest, 2)? & NLA_TYPE_MASK;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// An attribute that is a string, without the NUL at its end.
pub(super) fn string(value: &[u8]) -> String {
    String::from_utf8_lossy(value.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

pub(super) fn u16_at(buffer: &[u8], offset: usize) -> Option<u16> {
    array_at(buffer, offset).map(u16::from_ne_bytes)
}

pub(super) fn u32_at(buffer: &[u8], offset: usize) -> Option<u32> {
    array_at(buffer, offset).map(u32::from_ne_bytes)
}

pub(super) fn u64_at(buffer: &[u8], offset: usize) -> Option<u64> {
    array_at(buffer, offset).map(u64::from_ne_bytes)
}

pub(super) fn i32_at(buffer: &[u8], offset: usize) -> Option<i32> {
    array_at(buffer, offset).map(i32::from_ne_bytes)
}

/// `N` bytes at an offset, where there are so many.
pub(super) fn array_at<const N: usize>(buffer: &[u8], offset: usize) -> Option<[u8; N]> {
    buffer.get(offset..)?.first_chunk().copied()
}

#[cfg(test)]
pub(in crate::node) mod tests {
    use super::*;

    /// An attribute as it is in a message.
    pub(in crate::node) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut out = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        out.extend(value);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    #[test]
    fn attributes_end_where_they_are_cut_off() {
        let mut buffer = Vec::new();
        for (kind, value) in [(3_u16, &b"eth0\0"[..]), (0x8000 | 18, b""), (56, b"virtio2\0")] {
            buffer.extend(u16::try_from(4 + value.len()).unwrap().to_ne_bytes());
            buffer.extend(kind.to_ne_bytes());
            buffer.extend(value);
            buffer.resize(buffer.len().next_multiple_of(4), 0);
        }
        let read = |buffer: &[u8]| -> Vec<(u16, String)> {
            attributes(buffer)
                .map(|(kind, value)| (kind, string(value)))
                .collect()
        };
        let whole = [
            (3, "eth0".to_owned()),
            (18, String::new()),
            (56, "virtio2".to_owned()),
        ];
        assert_eq!(read(&buffer), whole);
        for length in 0..buffer.len() {
            assert!(
                whole.starts_with(&read(&buffer[..length])),
                "no panic, nothing invented"
            );
        }
        assert!(
            read(&[2, 0, 1, 0, 9, 9, 9, 9]).is_empty(),
            "shorter than its own header"
        );
    }

    #[test]
    fn damaged_messages_are_refused() {
        let good = message(18, NLM_F_DUMP, &[7; 5]).unwrap();
        let (read, rest) = Message::split(&good).unwrap();
        assert_eq!((read.kind, read.body, rest), (18, &[7; 5][..], &[][..]));
        for length in 0..good.len() {
            assert!(Message::split(&good[..length]).is_none());
        }
        assert!(
            Message::split(&[0; 64]).is_none(),
            "a length of 0 would never end"
        );
    }

    #[test]
    fn the_kernels_refusal_is_told() {
        // A type that no part of the kernel has registered.
        let error = dump(ROUTE, 0x7ff0, &[0; 16], |_| Some(())).unwrap_err();
        assert!(matches!(error, Error::Refused { request: 0x7ff0, .. }), "{error}");
        assert!(!error.to_string().contains('\n'));
    }
}
