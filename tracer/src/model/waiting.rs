//! What waits in sockets, by the kernel's list of sockets.
//!
//! The list is looked at every few seconds. What it shows is told from what the programs have counted
//! ([`super::queues`]) by that: it also has what was there before the start, and connections that nobody accepts.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::clock::SECOND;
use crate::event::{FlowKey, Held, Owner, Queue, SocketState};

/// Sockets in which something waits that are kept, at most.
const MOST: usize = 16_384;

/// A socket in which something waits.
#[derive(Clone, Debug)]
pub(crate) struct Wait {
    /// State of the socket.
    pub state: SocketState,
    /// See [`Queue::waiting`].
    pub waiting: u32,
    /// See [`Queue::limit`].
    pub limit: Option<u32>,
    /// See [`Queue::drops`].
    pub drops: Option<u32>,
    /// Who has the socket.
    pub owner: Option<Arc<Owner>>,
    /// See [`Queue::held`].
    pub held: Option<Held>,
    /// When something was first seen to wait, and less was at no look since, and nothing is known to have been read of it.
    pub since: u64,
    /// When more was last seen to wait than at the look before; `None` where that never was.
    pub grew: Option<u64>,
}

impl Wait {
    /// A listener that has no room for another connection (`sk_acceptq_is_full`).
    pub(crate) fn is_full(&self) -> bool {
        self.state == SocketState::Listen && self.limit.is_some_and(|limit| self.waiting > limit)
    }
}

/// The list is looked at every 4 s: what has lasted for so long was in two of them.
const TWO_LOOKS: u64 = 5 * SECOND;
/// Who has sent so often again has waited for 1.4 s at least: 200 ms, and twice as long each time (`TCP_RTO_MIN` in
/// include/net/tcp.h, `tcp_retransmit_timer` in net/ipv4/tcp_timer.c).
const OFTEN: u8 = 3;

/// A connection that sends again and again what its peer does not acknowledge.
#[derive(Clone, Debug)]
pub(crate) struct InVain {
    /// See [`Queue::retries`].
    pub retries: u8,
    /// When that was first seen.
    pub since: u64,
    /// Who has the socket.
    pub owner: Option<Arc<Owner>>,
}

/// All sockets in which something waits, or waits to be acknowledged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting {
    sockets: BTreeMap<(FlowKey, u64), Wait>,
    in_vain: BTreeMap<FlowKey, InVain>,
    other: u64,
}

impl Waiting {
    /// A socket was looked at.
    pub(crate) fn queue(&mut self, at: u64, queue: &Queue, owner: Option<Arc<Owner>>) {
        self.sends_again(at, queue, owner.as_ref());
        let key = (queue.flow, queue.inode);
        if queue.waiting == 0 {
            self.sockets.remove(&key);
            return;
        }
        let before = self.sockets.get(&key);
        if before.is_none() && self.sockets.len() >= MOST {
            self.other = self.other.saturating_add(1);
            return;
        }
        let since = before
            .filter(|before| queue.waiting >= before.waiting)
            .map_or(at, |before| before.since);
        let grew = match before {
            Some(before) if queue.waiting > before.waiting => Some(at),
            before => before.and_then(|before| before.grew),
        };
        let owner = owner.or_else(|| before.and_then(|before| before.owner.clone()));
        let wait = Wait {
            state: queue.state,
            waiting: queue.waiting,
            limit: queue.limit,
            drops: queue.drops,
            owner,
            held: queue.held,
            since,
            grew,
        };
        self.sockets.insert(key, wait);
    }

    /// What of it is not acknowledged, if it was sent again. Who opens a connection is another matter: the peer may not be there.
    fn sends_again(&mut self, at: u64, queue: &Queue, owner: Option<&Arc<Owner>>) {
        let is_open = !matches!(
            queue.state,
            SocketState::SynSent | SocketState::SynRecv | SocketState::NewSynRecv
        );
        if queue.retries == 0 || !is_open {
            self.in_vain.remove(&queue.flow);
        } else if self.in_vain.len() < MOST || self.in_vain.contains_key(&queue.flow) {
            let again = self.in_vain.entry(queue.flow).or_insert_with(|| InVain {
                retries: 0,
                since: at,
                owner: owner.cloned(),
            });
            again.retries = queue.retries;
        }
    }

    /// Connections that send again and again what their peers do not acknowledge, in the order of their tuples.
    pub(crate) fn in_vain(&self, now: u64) -> impl Iterator<Item = (&FlowKey, &InVain)> {
        let all = self.in_vain.iter();
        let lasts =
            move |again: &InVain| again.retries >= OFTEN || now.saturating_sub(again.since) >= TWO_LOOKS;
        all.filter(move |(_, again)| lasts(again))
    }

    /// A process read from the connection with this tuple.
    pub(crate) fn was_read(&mut self, at: u64, flow: &FlowKey) {
        for (_, wait) in self.sockets.range_mut((*flow, 0)..=(*flow, u64::MAX)) {
            wait.since = at;
            wait.grew = None;
        }
    }

    /// Times that a socket was told for which there was no room.
    pub(crate) fn other(&self) -> u64 {
        self.other
    }

    /// All of them, in the order of their tuples.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&FlowKey, &Wait)> {
        self.sockets.iter().map(|((flow, _), wait)| (flow, wait))
    }
}
