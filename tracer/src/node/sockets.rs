//! The sockets that are there already: every IPv4 and IPv6 socket of a namespace.
//!
//! TCP, UDP and raw sockets come from sock_diag. The kernel loads the module of a sock_diag by itself when
//! it is asked for, and tracer changes nothing on the node: where the module is not loaded yet, and for
//! ping sockets, which have no sock_diag, the lists in /proc/net are read (slower, the same facts).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::modules::is_loaded;
use super::netlink::{self, array_at, attributes, u32_at};
use super::{Netns, namespace, proc_net};
use crate::event::{Capability, CapabilityState, FlowKey, Protocol, Queue, Socket, SocketState};

/// The capability's name.
pub const CAPABILITY: &str = "sockets";

/// `SOCK_DIAG_BY_FAMILY` (include/uapi/linux/sock_diag.h).
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `INET_DIAG_SKMEMINFO` (include/uapi/linux/inet_diag.h): memory of a socket, and the packets that it dropped.
const SKMEMINFO: u16 = 7;
/// `SK_MEMINFO_DROPS`, the place of these in it (include/uapi/linux/sock_diag.h).
const DROPS: usize = 8;
/// Length of `struct inet_diag_msg`.
const ANSWER: usize = 4 + SOCKET_ID + 20;
/// Length of `struct inet_diag_sockid` in a request and in an answer.
const SOCKET_ID: usize = 48;
/// All states from `TCP_ESTABLISHED` (1) to `TCP_NEW_SYN_RECV` (12).
const ALL_STATES: u32 = (1 << 13) - 2;
/// `TCP_LISTEN`.
pub(super) const LISTEN: u32 = 10;
/// What `idiag_timer` says while a segment waits to be acknowledged, and while one could not even be sent, as where there is no
/// route, or the peer has no room (`inet_sk_diag_fill`). That of the latter is answered, and then counts from 0 again.
const TRIES_AGAIN: [u8; 2] = [1, 4];
/// From so many times on it is told that a connection sends again: once is an everyday loss.
const IN_VAIN: u8 = 2;
/// `TCP_SYN_SENT` (2) alone.
const OPENING: u32 = 1 << 2;

/// The sockets of a namespace.
#[derive(Debug)]
pub struct Sockets {
    /// All that could be read, without owners (see [`super::Owners`]); `from` is `None`.
    pub sockets: Vec<Socket>,
    /// Those in which something waits, without owners.
    pub queues: Vec<Queue>,
    /// Lists that could not be read, a sentence each; empty where all could.
    pub unread: Vec<String>,
}

impl Sockets {
    /// Of several namespaces: what could not be read, by the namespace.
    pub(crate) fn unread_in(&self, netns: &Netns) -> impl Iterator<Item = String> {
        let name = netns.name().to_owned();
        self.unread
            .iter()
            .map(move |unread| format!("Network namespace `{name}`: {unread}"))
    }

    /// The capability `sockets`: partial where a list is missing.
    #[must_use]
    pub fn capability(&self) -> Capability {
        let (state, why) = if self.unread.is_empty() {
            (CapabilityState::Available, String::new())
        } else {
            let why = format!(
                "{} Flows of such sockets that were open before the start are known only once they carry \
                 packets.",
                self.unread.join(" ")
            );
            (CapabilityState::Partial, why)
        };
        Capability {
            name: CAPABILITY.to_owned(),
            state,
            why,
        }
    }
}

/// What lists of sockets the kernel keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Tcp,
    Udp,
    Raw,
    Ping,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Tcp, Self::Udp, Self::Raw, Self::Ping];

    /// Its protocol number for sock_diag and the module that answers, where it has one.
    fn diag(self) -> Option<(u8, &'static str)> {
        match self {
            Self::Tcp => Some((6, "tcp_diag")),
            Self::Udp => Some((17, "udp_diag")),
            Self::Raw => Some((255, "raw_diag")),
            Self::Ping => None,
        }
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// `AF_INET` or `AF_INET6`.
    fn number(self) -> u8 {
        match self {
            Self::V4 => 2,
            Self::V6 => 10,
        }
    }
}

/// A socket as the kernel lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) state: u32,
    pub(super) local: (IpAddr, u16),
    pub(super) remote: (IpAddr, u16),
    pub(super) inode: u64,
    /// See [`Queue::waiting`].
    pub(super) waiting: u32,
    /// See [`Queue::limit`].
    pub(super) limit: Option<u32>,
    /// See [`Queue::drops`].
    pub(super) drops: Option<u32>,
    /// How often what TCP waits to be acknowledged was sent again, or what it could not send was tried again.
    pub(super) retries: u8,
}

/// Lists the IPv4 and IPv6 sockets of a namespace: TCP (listening and TIME-WAIT too), UDP, raw and ping.
///
/// # Errors
/// Where the namespace cannot be entered. A list that cannot be read is told in [`Sockets::unread`].
pub fn list(netns: &Netns) -> Result<Sockets, namespace::Error> {
    netns.enter(|| {
        let mut found = Sockets {
            sockets: Vec::new(),
            queues: Vec::new(),
            unread: Vec::new(),
        };
        for kind in Kind::ALL {
            let diag = kind.diag().filter(|(_, module)| is_loaded(module));
            for family in Family::ALL {
                match rows(kind, family, diag.map(|(number, _)| number), ALL_STATES) {
                    Ok(rows) => {
                        for row in rows {
                            if let Some(socket) = row.socket(netns.inode(), kind, family) {
                                found.queues.extend(row.queue(&socket));
                                found.sockets.push(socket);
                            }
                        }
                    }
                    Err(why) => found.unread.push(why),
                }
            }
        }
        found
    })
}

/// The TCP sockets of a namespace that wait for the answer to their first segment. Cheaper than [`list`]:
/// the kernel hands over no others. Empty for a list that cannot be read, of which [`list`] tells.
///
/// # Errors
/// Where the namespace cannot be entered.
pub fn opening(netns: &Netns) -> Result<Vec<Socket>, namespace::Error> {
    netns.enter(|| {
        let diag = Kind::Tcp.diag().filter(|(_, module)| is_loaded(module));
        let socket = |family| move |row: Row| row.socket(netns.inode(), Kind::Tcp, family);
        Family::ALL
            .into_iter()
            .flat_map(|family| {
                let rows = rows(Kind::Tcp, family, diag.map(|(number, _)| number), OPENING);
                rows.unwrap_or_default().into_iter().filter_map(socket(family))
            })
            .filter(|socket| socket.state == SocketState::SynSent)
            .collect()
    })
}

/// `states`: a bit for each. The lists in /proc/net have all of them all the same.
fn rows(kind: Kind, family: Family, diag: Option<u8>, states: u32) -> Result<Vec<Row>, String> {
    let by_diag = diag.map(|number| {
        netlink::dump(
            netlink::SOCK_DIAG,
            SOCK_DIAG_BY_FAMILY,
            &request(family, number, states),
            parse,
        )
    });
    let refusal = match by_diag {
        Some(Ok(rows)) => return Ok(rows),
        // ENOENT: this kernel is built without it.
        Some(Err(error)) if !error.is_unknown_request() => Some(error),
        _ => None,
    };
    proc_net::rows(kind, family).map_err(|error| match refusal {
        Some(refusal) => format!("{refusal}, and {error}."),
        None => format!("{error}."),
    })
}

/// `struct inet_diag_req_v2` { u8 family, protocol, extensions, pad; u32 states; id }: with an empty id, which
/// stands for any.
fn request(family: Family, protocol: u8, states: u32) -> Vec<u8> {
    let mut request = vec![family.number(), protocol, 1 << (SKMEMINFO - 1), 0];
    request.extend(states.to_ne_bytes());
    request.extend([0; SOCKET_ID]);
    request
}

/// `struct inet_diag_msg` { u8 family, state, timer, retransmissions; id; u32 expires, receive queue, send
/// queue, uid, inode }, where the id is { be16 ports; be32 addresses[4]; u32 device; u32 cookie[2] }.
fn parse(body: &[u8]) -> Option<Row> {
    let port = |offset| array_at(body, offset).map(u16::from_be_bytes);
    let address = |offset| match *body.first()? {
        2 => array_at::<4>(body, offset).map(IpAddr::from),
        10 => array_at::<16>(body, offset).map(IpAddr::from),
        _ => None,
    };
    let state = u32::from(*body.get(1)?);
    // Of a listener the receive queue is its accept queue, and the send queue the limit of that
    // (`tcp_diag_get_info`).
    let limit = u32_at(body, 4 + SOCKET_ID + 8)?;
    let mut attributes = body.get(ANSWER..).map(attributes).into_iter().flatten();
    Some(Row {
        state,
        local: (address(8)?, port(4)?),
        remote: (address(24)?, port(6)?),
        inode: u64::from(u32_at(body, 4 + SOCKET_ID + 16)?),
        waiting: u32_at(body, 4 + SOCKET_ID + 4)?,
        limit: (state == LISTEN).then_some(limit),
        retries: if TRIES_AGAIN.contains(body.get(2)?) {
            *body.get(3)?
        } else {
            0
        },
        drops: attributes
            .find(|(kind, _)| *kind == SKMEMINFO)
            .and_then(|(_, memory)| u32_at(memory, 4 * DROPS)),
    })
}

impl Row {
    /// `None` for a state that is no state of a socket that can receive.
    ///
    /// When the process has closed its connection and the peer has acknowledged that, the kernel frees the socket and leaves
    /// in its place one of TIME-WAIT, which only waits for the peer to close too (`tcp_time_wait`). The lists tell it as
    /// FIN-WAIT-2 all the same (`tw_substate`): it is the one that nobody has.
    fn state(&self, kind: Kind) -> Option<SocketState> {
        let state = SocketState::from_kernel(self.state)?;
        let is_left = kind == Kind::Tcp && state == SocketState::FinWait2 && self.inode == 0;
        Some(if is_left { SocketState::TimeWait } else { state })
    }

    /// `None` where [`Self::state`] is.
    fn socket(&self, netns: u32, kind: Kind, family: Family) -> Option<Socket> {
        let (local, remote) = canonical(self.local.0, self.remote.0);
        let (protocol, local_port, remote_port) = match kind {
            Kind::Tcp => (Protocol::Tcp, self.local.1, self.remote.1),
            Kind::Udp => (Protocol::Udp, self.local.1, self.remote.1),
            // In place of its port a raw socket has its protocol.
            Kind::Raw => (
                u8::try_from(self.local.1).map_or(Protocol::Other(0), Protocol::from),
                0,
                0,
            ),
            // In place of its port a ping socket has its identifier.
            Kind::Ping => match family {
                Family::V4 => (Protocol::Icmp, self.local.1, 0),
                Family::V6 => (Protocol::Icmp6, self.local.1, 0),
            },
        };
        Some(Socket {
            flow: FlowKey {
                netns,
                protocol,
                local,
                local_port,
                remote,
                remote_port,
            },
            state: self.state(kind)?,
            from: None,
            inode: self.inode,
            owner: None,
        })
    }
}

impl Row {
    /// What waits in this row's socket, or to be acknowledged, if anything does.
    fn queue(&self, socket: &Socket) -> Option<Queue> {
        let retries = if self.retries < IN_VAIN { 0 } else { self.retries };
        (self.waiting > 0 || retries > 0).then_some(Queue {
            flow: socket.flow,
            state: socket.state,
            inode: socket.inode,
            waiting: self.waiting,
            limit: self.limit,
            drops: self.drops,
            retries,
            owner: None,
            held: None,
        })
    }
}

/// IPv4 addresses as such, also where an IPv6 socket speaks IPv4. The unspecified address of such a socket
/// becomes IPv4 as well; a socket that is bound to any and not connected keeps `::`.
fn canonical(local: IpAddr, remote: IpAddr) -> (IpAddr, IpAddr) {
    let any_v4 = |address: IpAddr, other: IpAddr| {
        if address == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && other.is_ipv4() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        } else {
            address
        }
    };
    let (local, remote) = (local.to_canonical(), remote.to_canonical());
    (any_v4(local, remote), any_v4(remote, local))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn mapped_addresses_become_ipv4() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        for (local, remote, expected) in [
            ("::ffff:192.0.2.1", "::ffff:192.0.2.2", ("192.0.2.1", "192.0.2.2")),
            ("::ffff:192.0.2.1", "::", ("192.0.2.1", "0.0.0.0")),
            ("::", "::ffff:192.0.2.2", ("0.0.0.0", "192.0.2.2")),
            ("::", "::", ("::", "::")),
            ("0.0.0.0", "0.0.0.0", ("0.0.0.0", "0.0.0.0")),
            ("2001:db8::1", "::", ("2001:db8::1", "::")),
        ] {
            assert_eq!(canonical(ip(local), ip(remote)), (ip(expected.0), ip(expected.1)));
        }
    }

    #[test]
    fn short_messages_are_refused() {
        let mut message = vec![0; 72];
        message[0] = 2;
        assert!(parse(&message).is_some());
        assert!((0..72).all(|length| parse(&message[..length]).is_none()));
        message[0] = 1;
        assert!(parse(&message).is_none(), "a family that was not asked for");
    }

    /// The inode of an open socket.
    fn inode(socket: &impl AsRawFd) -> u64 {
        let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let link = link.to_str().unwrap();
        link.strip_prefix("socket:[")
            .unwrap()
            .strip_suffix(']')
            .unwrap()
            .parse()
            .unwrap()
    }

    #[test]
    fn both_ways_find_the_same_sockets_of_this_process() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let datagram = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut own = [inode(&listener), inode(&client), inode(&server), inode(&datagram)];
        own.sort_unstable();

        let netns = Netns::current().unwrap();
        let rows = |diag: bool| {
            netns
                .enter(|| {
                    let mut rows: Vec<Row> = [Kind::Tcp, Kind::Udp]
                        .into_iter()
                        .flat_map(|kind| {
                            let number = kind.diag().map(|(number, _)| number).filter(|_| diag);
                            rows(kind, Family::V4, number, ALL_STATES).unwrap()
                        })
                        .filter(|row| own.contains(&row.inode))
                        .collect();
                    rows.sort_by_key(|row| row.inode);
                    rows
                })
                .unwrap()
        };
        let by_proc = rows(false);
        assert_eq!(by_proc.iter().map(|row| row.inode).collect::<Vec<_>>(), own);
        if is_loaded("tcp_diag") && is_loaded("udp_diag") {
            let by_diag = rows(true);
            assert!(by_diag.iter().all(|row| row.drops == Some(0)));
            assert_eq!(by_diag.iter().filter(|row| row.limit.is_some()).count(), 1);
            // The other lists have no limits, and no drops of TCP.
            let plain = |rows: Vec<Row>| -> Vec<Row> {
                let plain = |row| Row {
                    limit: None,
                    drops: None,
                    ..row
                };
                rows.into_iter().map(plain).collect()
            };
            assert_eq!(plain(by_proc), plain(by_diag));
        }
        let listed = list(&netns).unwrap();
        assert_eq!(listed.unread, Vec::<String>::new());
        assert_eq!(listed.capability().state, CapabilityState::Available);
        let find = |wanted: u64| {
            listed
                .sockets
                .iter()
                .find(|socket| socket.inode == wanted)
                .unwrap()
        };
        let tcp = find(inode(&client));
        assert_eq!(tcp.state, SocketState::Established);
        assert_eq!(
            tcp.flow,
            FlowKey {
                netns: netns.inode(),
                protocol: Protocol::Tcp,
                local: "127.0.0.1".parse().unwrap(),
                local_port: client.local_addr().unwrap().port(),
                remote: "127.0.0.1".parse().unwrap(),
                remote_port: listener.local_addr().unwrap().port(),
            }
        );
        assert_eq!(find(inode(&listener)).state, SocketState::Listen);

        // What is left of a closed connection while the peer keeps its end open.
        let (left, client_end) = (server.local_addr().unwrap(), client.local_addr().unwrap());
        drop(server);
        let ends = |flow: &FlowKey| (flow.local_port, flow.remote_port) == (left.port(), client_end.port());
        let state = || {
            let mut sockets = list(&netns).unwrap().sockets.into_iter();
            sockets.find(|socket| ends(&socket.flow)).unwrap().state
        };
        // Until its end is acknowledged it is there.
        let mut after = state();
        while after == SocketState::FinWait1 {
            after = state();
        }
        assert_eq!(after, SocketState::TimeWait);
        assert_eq!(find(inode(&datagram)).state, SocketState::Close);
    }
}
