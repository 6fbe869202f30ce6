//! What waits in receive queues, by local port.
//!
//! A datagram is told as queued by its own tuple, and as read by that of the socket, which names no peer
//! where the socket is not connected. What both have is the local port.

use std::collections::{BTreeMap, BTreeSet};

use super::clock::SECOND;
use crate::event::{FlowKey, Protocol};

/// A queue that holds nothing is forgotten after this: 10 min. Until then it is known that it is read.
const IDLE: u64 = 600 * SECOND;

/// A local port of one protocol in one namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Port {
    /// Inode of the namespace.
    pub netns: u32,
    /// Protocol.
    pub protocol: Protocol,
    /// Number; 0 for all of ICMP, whose raw sockets have none.
    pub number: u16,
}

impl Port {
    /// The local port of a flow.
    pub(crate) fn of(flow: &FlowKey) -> Self {
        let number = match flow.protocol {
            Protocol::Icmp | Protocol::Icmp6 => 0,
            _ => flow.local_port,
        };
        Self {
            netns: flow.netns,
            protocol: flow.protocol,
            number,
        }
    }
}

/// What went through the queues of a port.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Queue {
    /// Times that data was queued.
    pub queued: u64,
    /// Datagrams read.
    pub read: u64,
    /// Times that data was queued since the last round in which something was read.
    pub since_read: u64,
    /// When something was queued that nobody has read anything after.
    pub waiting_since: u64,
    /// When something was last queued.
    pub last_queued: u64,
    /// When something was last read, `None` where nothing ever was.
    pub last_read: Option<u64>,
}

impl Queue {
    /// Queued and not read.
    pub(crate) fn pending(&self) -> u64 {
        self.queued.saturating_sub(self.read)
    }
}

/// The queues of all ports.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queues {
    ports: BTreeMap<Port, Queue>,
}

impl Queues {
    /// A flow of the port counted more. The flows of a round are told in any order, all at one time.
    pub(crate) fn grew(&mut self, at: u64, port: Port, queued: u64, read: u64) {
        if queued == 0 && read == 0 {
            return;
        }
        let queue = self.ports.entry(port).or_default();
        queue.queued = queue.queued.saturating_add(queued);
        queue.read = queue.read.saturating_add(read);
        if queued > 0 {
            queue.last_queued = at;
            if queue.last_read != Some(at) {
                if queue.since_read == 0 {
                    queue.waiting_since = at;
                }
                queue.since_read = queue.since_read.saturating_add(queued);
            }
        }
        if read > 0 {
            queue.last_read = Some(at);
            queue.since_read = 0;
        }
    }

    /// What went through the queues of this port.
    pub(crate) fn get(&self, port: Port) -> Option<&Queue> {
        self.ports.get(&port)
    }

    /// The queues of all ports.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Port, &Queue)> {
        self.ports.iter()
    }

    /// Datagrams of a protocol that wait in a namespace.
    pub(crate) fn pending(&self, netns: u32, protocol: Protocol) -> u64 {
        let first = Port {
            netns,
            protocol,
            number: 0,
        };
        let last = Port {
            number: u16::MAX,
            ..first
        };
        self.ports
            .range(first..=last)
            .map(|(_, queue)| queue.pending())
            .fold(0, u64::saturating_add)
    }

    /// Forgets the queues of these namespaces.
    pub(crate) fn leave(&mut self, namespaces: &BTreeSet<u32>) {
        self.ports.retain(|port, _| !namespaces.contains(&port.netns));
    }

    /// Forgets the queues that hold nothing and have been idle for long.
    pub(crate) fn forget(&mut self, now: u64) {
        self.ports.retain(|_, queue| {
            let last = queue.last_queued.max(queue.last_read.unwrap_or(0));
            queue.pending() > 0 || now.saturating_sub(last) <= IDLE
        });
    }
}
