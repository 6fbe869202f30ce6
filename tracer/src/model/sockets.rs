//! Sockets and their owners, from the kernel's list and from changes.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use super::bound::{Bound, BoundSockets, plain};
use super::clock::{SECOND, When};
use super::growth::Growing;
use super::queues::Port;
use super::rows::Rows;
use super::turn::in_turn;
use crate::event::{FlowKey, Origin, Owner, Protocol, Socket, SocketState};

/// Connected sockets that are kept, at most.
const MOST: usize = 131_072;
/// Ports with refused packets that are kept, at most.
const MOST_PORTS: usize = 65_536;
/// A closed connection is forgotten after this.
const CLOSED: u64 = 60 * SECOND;

/// A connected socket.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    /// Its state now.
    pub state: SocketState,
    /// When it came to that state.
    pub since: u64,
    /// Who has it.
    pub owner: Option<Arc<Owner>>,
    /// Who opened it, where that was seen.
    pub opened: Option<Origin>,
    /// When it was opened, or was given up before it was; never where that was not seen.
    tried: When,
}

impl Connection {
    /// A process can still receive by it.
    pub(crate) fn is_live(&self) -> bool {
        !matches!(self.state, SocketState::Close | SocketState::TimeWait)
    }

    /// It was asked for, opened, or given up unopened, after this time: what stood before and is closed since was not. Of one whose
    /// opening was not seen, as far as its state tells.
    pub(crate) fn began_after(&self, time: u64) -> bool {
        let is_open = self.tried == When::NEVER && self.state == SocketState::Established;
        ((self.state == SocketState::SynSent || is_open) && self.since > time) || self.tried > When::at(time)
    }

    /// Both ends have opened it, whatever is closed since.
    pub(crate) fn was_open(&self) -> bool {
        matches!(
            self.state,
            SocketState::Established
                | SocketState::FinWait1
                | SocketState::FinWait2
                | SocketState::CloseWait
                | SocketState::Closing
                | SocketState::LastAck
        )
    }
}

/// All sockets that are known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sockets {
    connections: Rows<Connection>,
    /// Each kept once: a process may have very many sockets.
    owners: HashSet<Arc<Owner>>,
    /// Closed connections, in the order of their end.
    closed: VecDeque<(u64, FlowKey)>,
    bound: BoundSockets,
    refused: BTreeMap<(Port, IpAddr), Growing>,
}

impl Sockets {
    /// A socket was found or changed.
    pub(crate) fn socket(&mut self, at: u64, socket: &Socket) {
        if is_bound(&socket.flow) {
            self.bound_socket(at, socket);
            return;
        }
        // A connection that has no port yet cannot be told from others.
        if socket.flow.protocol == Protocol::Tcp && socket.flow.local_port == 0 {
            return;
        }
        self.learn(at, &socket.flow, socket.state, socket.owner.as_ref());
        let opened = match (socket.from, socket.state) {
            (_, SocketState::SynSent) | (Some(SocketState::SynSent), _) => Some(Origin::Local),
            (Some(SocketState::SynRecv | SocketState::NewSynRecv), _) => Some(Origin::Remote),
            _ => None,
        };
        if let Some(connection) = self.connections.get_mut(&socket.flow)
            && opened.is_some()
        {
            connection.opened = opened;
            let was_asked = |from| {
                matches!(
                    from,
                    SocketState::SynSent | SocketState::SynRecv | SocketState::NewSynRecv
                )
            };
            if socket.from.is_some_and(was_asked) {
                connection.tried = When::at(at);
            }
        }
    }

    /// A connected socket has this state and, where that is known, this owner.
    pub(crate) fn learn(&mut self, at: u64, flow: &FlowKey, state: SocketState, owner: Option<&Owner>) {
        if !self.connections.has(flow) && self.connections.len() >= MOST {
            self.forget_closed(u64::MAX, 1);
            if self.connections.len() >= MOST {
                return;
            }
        }
        let owner = owner.map(|owner| self.shared(owner));
        let connection = self.connections.get_or_insert(*flow, || Connection {
            state,
            since: at,
            owner: None,
            opened: None,
            tried: When::NEVER,
        });
        let was_live = connection.is_live();
        if connection.state != state {
            connection.state = state;
            connection.since = at;
        }
        if owner.is_some() {
            connection.owner = owner;
        }
        if !connection.is_live() && (was_live || connection.since == at) {
            self.closed.push_back((connection.since, *flow));
        }
    }

    /// The one copy of an owner that is kept.
    pub(crate) fn shared(&mut self, owner: &Owner) -> Arc<Owner> {
        if let Some(known) = self.owners.get(owner) {
            return Arc::clone(known);
        }
        let owner = Arc::new(owner.clone());
        self.owners.insert(Arc::clone(&owner));
        owner
    }

    fn bound_socket(&mut self, at: u64, socket: &Socket) {
        let (port, address) = (Port::of(&socket.flow), plain(socket.flow.local));
        // A TCP socket that is neither connected nor listening receives nothing; for the other protocols
        // `Close` says no more than that it is not connected.
        let open = socket.flow.protocol != Protocol::Tcp || socket.state == SocketState::Listen;
        if open {
            let owner = socket.owner.as_ref().map(|owner| self.shared(owner));
            if self.bound.opened(at, port, address, socket.inode, owner) {
                self.conclude_at(at, port, address);
            }
        } else if socket.state == SocketState::Close {
            self.bound.closed(at, port, address, socket.inode);
        }
    }

    /// A UDP socket received or was read, by a datagram's tuple or its own. No event tells of its birth: what
    /// it gets from a peer that `began` shows that it is there, and waits for anybody.
    pub(crate) fn received(&mut self, at: u64, flow: &FlowKey, began: bool) {
        if flow.protocol != Protocol::Udp {
            return;
        }
        let shows = || began && !is_bound(flow) && !self.connections.has(flow);
        self.bound.received(at, Port::of(flow), flow.local, shows);
    }

    /// The kernel found no socket for packets to this local end.
    pub(crate) fn refused(&mut self, at: u64, flow: &FlowKey, packets: u64) {
        let key = (Port::of(flow), plain(flow.local));
        if self.refused.len() < MOST_PORTS || self.refused.contains_key(&key) {
            self.refused.entry(key).or_default().note(at, at, packets);
        }
    }

    /// A socket came to this local end: what was refused there until then was not for it.
    fn conclude_at(&mut self, at: u64, port: Port, address: IpAddr) {
        let ends = match address.is_unspecified() {
            true => (port, IpAddr::from([0; 4]))..=(port, IpAddr::from([u8::MAX; 16])),
            false => (port, address)..=(port, address),
        };
        for (_, growing) in self.refused.range_mut(ends) {
            growing.conclude(at);
        }
    }

    /// What was refused until then is over.
    pub(crate) fn conclude(&mut self, until: u64) {
        self.refused.retain(|_, spell| !spell.conclude(until));
    }

    /// Local ends that refused packets.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (Port, IpAddr, &Growing)> {
        self.refused
            .iter()
            .map(|((port, address), growing)| (*port, *address, growing))
    }

    /// The connected socket with this tuple.
    pub(crate) fn connection(&self, flow: &FlowKey) -> Option<&Connection> {
        self.connections.get(flow)
    }

    /// All connected sockets, in the order of their tuples.
    pub(crate) fn connections(&self) -> impl Iterator<Item = (&FlowKey, &Connection)> {
        self.connections.iter()
    }

    /// The same for tuples that are asked for in their order.
    pub(crate) fn connections_in_turn<'a>(&'a self) -> impl FnMut(&FlowKey) -> Option<&'a Connection> {
        in_turn(self.connections.iter())
    }

    /// The socket that is or was bound to this local end, by its own address or by any.
    pub(crate) fn bound(&self, port: Port, local: IpAddr) -> Option<&Bound> {
        self.bound.find(port, local)
    }

    /// All sockets that are bound and not known to be closed, each with its port and the address that it is bound to.
    pub(crate) fn bound_sockets(&self) -> impl Iterator<Item = (Port, IpAddr, &Bound)> {
        self.bound.all()
    }

    /// The sockets that are open at this port, each with the address that it is bound to. Only those of TCP tell when they are
    /// closed: of others there are none here.
    pub(crate) fn listening(&self, port: Port) -> impl Iterator<Item = (IpAddr, &Bound)> {
        let all = self.bound.open(port);
        all.filter(move |_| port.protocol == Protocol::Tcp)
    }

    /// Who has the socket that packets of this flow are for: the connected one with its tuple, where there is one, else the
    /// bound one. Of ICMP the sockets do not tell: each takes the messages for all of them.
    pub(crate) fn owner<'a>(
        &'a self,
        flow: &FlowKey,
        connection: Option<&'a Connection>,
    ) -> Option<&'a Arc<Owner>> {
        owner(flow, connection, || self.bound_owner(flow))
    }

    /// Who has the socket that is or was bound to the flow's local end.
    pub(crate) fn bound_owner(&self, flow: &FlowKey) -> Option<&Arc<Owner>> {
        self.bound(Port::of(flow), flow.local)?.owner.as_ref()
    }

    /// Forgets the sockets of these namespaces.
    pub(crate) fn leave(&mut self, namespaces: &BTreeSet<u32>) {
        self.connections
            .retain(|flow, _| !namespaces.contains(&flow.netns));
        self.closed.retain(|(_, flow)| !namespaces.contains(&flow.netns));
        self.bound.leave(namespaces);
        self.refused
            .retain(|(port, _), _| !namespaces.contains(&port.netns));
    }

    /// Forgets what has been closed for long.
    pub(crate) fn forget(&mut self, now: u64) {
        self.forget_closed(now.saturating_sub(CLOSED), usize::MAX);
        self.bound.forget(now);
        self.refused.retain(|_, growing| growing.recent(now).is_some());
        self.owners.retain(|owner| Arc::strong_count(owner) > 1);
    }

    /// Forgets at most `most` connections that were closed before `before`.
    fn forget_closed(&mut self, before: u64, most: usize) {
        let mut left = most;
        while left > 0
            && let Some((at, flow)) = self.closed.front().copied()
            && at < before
        {
            self.closed.pop_front();
            // It may have been opened again since.
            if self
                .connections
                .get(&flow)
                .is_some_and(|found| !found.is_live() && found.since == at)
            {
                self.connections.remove(&flow);
                left -= 1;
            }
        }
    }
}

/// See [`Sockets::owner`]: by who has the bound one.
pub(crate) fn owner<'a>(
    flow: &FlowKey,
    connection: Option<&'a Connection>,
    bound: impl FnOnce() -> Option<&'a Arc<Owner>>,
) -> Option<&'a Arc<Owner>> {
    if matches!(flow.protocol, Protocol::Icmp | Protocol::Icmp6) {
        return None;
    }
    connection
        .and_then(|connection| connection.owner.as_ref())
        .or_else(bound)
}

/// The tuple names no peer.
fn is_bound(flow: &FlowKey) -> bool {
    flow.remote_port == 0 && flow.remote.is_unspecified()
}
