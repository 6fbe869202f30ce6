//! Sockets that are bound to a local end and wait for anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::clock::SECOND;
use super::queues::Port;
use crate::event::Owner;

/// Local ends that are kept, at most.
const MOST: usize = 65_536;
/// Sockets that share a local end and are told apart, at most.
const MOST_SHARING: usize = 1024;
/// A socket that is gone, or that is known by its use alone and is not used, is forgotten after this.
const GONE: u64 = 1800 * SECOND;

/// A socket that is bound to a local address and waits for anybody.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bound {
    /// Who has it, or had it last.
    pub owner: Option<Arc<Owner>>,
    /// When it was first seen there, or again after it had been closed.
    pub opened: u64,
    /// When it was closed, `None` while it is there.
    pub closed: Option<u64>,
    /// When the kernel last told that it is there.
    pub listed: Option<u64>,
    /// Inodes of the sockets that share it (`SO_REUSEPORT`), as far as they are known.
    inodes: BTreeSet<u64>,
    /// When it last received, where nothing else has told that it exists.
    received: Option<u64>,
}

/// All of them that are known, by port and by address: a port is looked for once for the few addresses that may be meant.
#[derive(Clone, Debug, Default)]
pub(super) struct BoundSockets {
    ports: BTreeMap<Port, BTreeMap<IpAddr, Bound>>,
    /// How many there are.
    number: usize,
}

impl BoundSockets {
    /// The socket that is or was bound to this local end, by its own address or by any.
    pub(super) fn find(&self, port: Port, local: IpAddr) -> Option<&Bound> {
        let at = self.ports.get(&port)?;
        at.get(&address(at, local)?)
    }

    /// The sockets that are open at this port, with the address of each.
    pub(super) fn open(&self, port: Port) -> impl Iterator<Item = (IpAddr, &Bound)> {
        let all = self.ports.get(&port).into_iter().flatten();
        all.filter(|(_, bound)| bound.closed.is_none())
            .map(|(address, bound)| (*address, bound))
    }

    /// All sockets that are open, with port and address.
    pub(super) fn all(&self) -> impl Iterator<Item = (Port, IpAddr, &Bound)> {
        let all = self
            .ports
            .iter()
            .flat_map(|(port, at)| at.iter().map(|(address, bound)| (*port, *address, bound)));
        all.filter(|(.., bound)| bound.closed.is_none())
    }

    /// A socket is there. Whether it was not known before.
    pub(super) fn opened(
        &mut self,
        at: u64,
        port: Port,
        address: IpAddr,
        inode: u64,
        owner: Option<Arc<Owner>>,
    ) -> bool {
        if !self.has_room(port, address) {
            return false;
        }
        // What was known of the port by its use alone was this socket, if it waits at any address.
        if address.is_unspecified()
            && let Some(there) = self.ports.get_mut(&port)
        {
            let before = there.len();
            there.retain(|_, bound| bound.received.is_none());
            self.number -= before - there.len();
        }
        let bound = self.entry(port, address);
        bound.received = None;
        bound.listed = Some(at);
        if bound.closed.take().is_some() {
            bound.owner = None;
            bound.inodes.clear();
        }
        if bound.inodes.is_empty() {
            bound.opened = at;
        }
        let is_new = bound.inodes.len() < MOST_SHARING && bound.inodes.insert(inode);
        if owner.is_some() {
            bound.owner = owner;
        }
        is_new
    }

    /// One of the sockets that share this local end is closed.
    pub(super) fn closed(&mut self, now: u64, port: Port, address: IpAddr, inode: u64) {
        let Some(bound) = self.ports.get_mut(&port).and_then(|at| at.get_mut(&address)) else {
            return;
        };
        bound.inodes.remove(&inode);
        // One without a file may be any of them.
        if bound.inodes.is_empty() || inode == 0 {
            bound.closed.get_or_insert(now);
        }
    }

    /// Something was received at this local end, or read there. Where no socket is known of, `shows` tells whether there must
    /// be one.
    pub(super) fn received(&mut self, now: u64, port: Port, local: IpAddr, shows: impl FnOnce() -> bool) {
        if let Some(at) = self.ports.get_mut(&port)
            && let Some(bound) = address(at, local).and_then(|address| at.get_mut(&address))
        {
            bound.received = bound.received.map(|_| now);
            return;
        }
        let address = plain(local);
        if shows() && self.has_room(port, address) {
            self.entry(port, address).received = Some(now);
        }
    }

    /// Forgets the sockets of these namespaces.
    pub(super) fn leave(&mut self, namespaces: &BTreeSet<u32>) {
        self.ports.retain(|port, _| !namespaces.contains(&port.netns));
        self.count();
    }

    /// Forgets what has been closed for long.
    pub(super) fn forget(&mut self, now: u64) {
        self.ports.retain(|_, at| {
            at.retain(|_, bound| {
                let gone = bound.closed.or(bound.received);
                gone.is_none_or(|at| now.saturating_sub(at) <= GONE)
            });
            !at.is_empty()
        });
        self.count();
    }

    fn count(&mut self) {
        self.number = self.ports.values().map(BTreeMap::len).sum();
    }

    /// There is room for it, or it is there.
    fn has_room(&self, port: Port, address: IpAddr) -> bool {
        let is_there = || self.ports.get(&port).is_some_and(|at| at.contains_key(&address));
        self.number < MOST || is_there()
    }

    fn entry(&mut self, port: Port, address: IpAddr) -> &mut Bound {
        let number = &mut self.number;
        self.ports
            .entry(port)
            .or_default()
            .entry(address)
            .or_insert_with(|| {
                *number += 1;
                Bound::default()
            })
    }
}

/// The address, of those at a port, that the socket for this local end has.
fn address(at: &BTreeMap<IpAddr, Bound>, local: IpAddr) -> Option<IpAddr> {
    let v4_any = IpAddr::from([0; 4]);
    let v6_any = IpAddr::from([0; 16]);
    let mut found = [plain(local), v4_any, v6_any]
        .into_iter()
        .filter(|address| *address != v4_any || local.is_ipv4() || local.is_unspecified())
        .filter_map(|address| Some((address, at.get(&address)?)));
    // One that is open counts more than one that is gone.
    let (first, bound) = found.next()?;
    if bound.closed.is_none() {
        return Some(first);
    }
    let open = found.find(|(_, bound)| bound.closed.is_none());
    Some(open.map_or(first, |(address, _)| address))
}

/// An IPv4 address as itself, also where a dual-stack socket has it.
pub(super) fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}
