//! Double entry: what arrived, and once more what became of it.

use std::collections::BTreeMap;

use super::books::{Books, Line, in_ledger};
use super::counters::{Counters, LISTEN_DROPS, LISTEN_OVERFLOWS};
use super::ends;
use super::node::Node;
use super::queues::Queues;
use super::unresolved;
use crate::event::{Fate, Protocol};
use crate::report::{Bytes, Ledger};

/// No column exceeds this, so that the residual of any recording, damaged or not, can be told exactly.
const LIMIT: u64 = 1 << 60;

/// Datagrams of these protocols wait in queues that are told.
const QUEUED: [Protocol; 3] = [Protocol::Icmp, Protocol::Udp, Protocol::Icmp6];

/// The ledger of a namespace in packets and in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    /// Packets.
    pub ledger: Ledger,
    /// Bytes.
    pub bytes: Bytes,
    /// What of `ledger.dropped` no event told.
    pub silent: Silent,
}

/// Packets that were dropped without an event, by the kernel's counters. They had been entered as answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Silent {
    /// They were to open a connection, and the listener's accept queue was full.
    pub accept_queue_full: u64,
    /// They were to open a connection, and the listener dropped them for another reason.
    pub not_opened: u64,
}

impl Silent {
    /// All of them.
    pub(crate) fn packets(self) -> u64 {
        plus(self.accept_queue_full, self.not_opened)
    }
}

impl Totals {
    /// Adds another namespace's.
    pub(crate) fn add(&mut self, other: &Self) {
        let (sum, add) = (&mut self.ledger, &other.ledger);
        sum.arrived = plus(sum.arrived, add.arrived);
        sum.delivered = plus(sum.delivered, add.delivered);
        sum.forwarded = plus(sum.forwarded, add.forwarded);
        sum.answered = plus(sum.answered, add.answered);
        sum.dropped = plus(sum.dropped, add.dropped);
        sum.queued = plus(sum.queued, add.queued);
        sum.unexplained = residual(sum);
        let (sum, add) = (&mut self.bytes, &other.bytes);
        sum.arrived = plus(sum.arrived, add.arrived);
        sum.forwarded = plus(sum.forwarded, add.forwarded);
        sum.answered = plus(sum.answered, add.answered);
        sum.dropped = plus(sum.dropped, add.dropped);
        sum.rest = rest(sum);
        let (sum, add) = (&mut self.silent, &other.silent);
        sum.accept_queue_full = plus(sum.accept_queue_full, add.accept_queue_full);
        sum.not_opened = plus(sum.not_opened, add.not_opened);
    }
}

/// Bytes that arrived, and are in no column whose bytes are known.
fn rest(bytes: &Bytes) -> i64 {
    let column = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    [bytes.forwarded, bytes.answered, bytes.dropped]
        .into_iter()
        .fold(column(bytes.arrived), |rest, bytes| {
            rest.saturating_sub(column(bytes))
        })
}

/// Sums of the lines of one namespace.
#[derive(Debug, Default)]
struct Tally {
    arrived: u64,
    bytes: Bytes,
    matched: u64,
    dropped_after_match: u64,
    forwarded: u64,
    answered: u64,
    dropped: u64,
    /// Waits for a neighbour.
    unresolved: u64,
    /// See [`ends::opening`].
    openings: u64,
    /// The same, of what did not come by an uplink.
    openings_elsewhere: u64,
    /// See [`ends::listen_overflow`], wherever it came from.
    overflows_told: u64,
    datagrams: BTreeMap<Protocol, Datagrams>,
}

impl Tally {
    /// The counters are those of a namespace, whatever device its packets came by, and some of what they count raises
    /// an event too. What all that cannot explain was answered by the books and dropped by the kernel.
    fn silent(&self, netns: u32, counters: &Counters) -> Silent {
        let counted = |name| counters.netstat(netns, name).map_or(0, |counted| counted.grown);
        let told = plus(self.overflows_told, self.openings_elsewhere);
        let all = counted(LISTEN_DROPS).saturating_sub(told).min(self.openings);
        let accept_queue_full = counted(LISTEN_OVERFLOWS).saturating_sub(told).min(all);
        Silent {
            accept_queue_full,
            not_opened: all - accept_queue_full,
        }
    }

    /// Fragments are bytes of a packet that its first one stands for.
    fn piece(&mut self, fate: Fate, bytes: u64) {
        let column = match fate {
            Fate::Arrived => &mut self.bytes.arrived,
            Fate::Forwarded => &mut self.bytes.forwarded,
            Fate::Dropped => &mut self.bytes.dropped,
            Fate::Consumed => &mut self.bytes.answered,
            Fate::Matched | Fate::Queued | Fate::Read => return,
        };
        *column = plus(*column, bytes);
    }

    fn answer(&mut self, line: &Line) {
        self.answered = plus(self.answered, line.packets);
        self.bytes.answered = plus(self.bytes.answered, line.bytes);
    }
}

/// What of the lines touches the queues of one protocol.
#[derive(Debug, Default)]
struct Datagrams {
    /// Put in a receive queue, of those that arrived by an uplink.
    queued: u64,
    /// Read, of those that arrived by an uplink: only where the kernel does not tell what is queued.
    read: u64,
    /// Thrown away with the queue of a closed socket, of those that arrived by an uplink.
    purged: u64,
    /// The same, wherever they came from.
    purged_all: u64,
    /// See [`ends::may_be_twin`].
    twins: u64,
    /// See [`ends::raw_clone`].
    clones: u64,
}

impl Datagrams {
    /// The twins that are copies: sockets got as many of their own, or would have but for their drop.
    fn copies(&self) -> u64 {
        self.twins.min(plus(plus(self.read, self.queued), self.clones))
    }

    /// The clones whose message is in the books by another end: each was the only one of its message where that is a twin of which
    /// no socket got one.
    fn spare_clones(&self) -> u64 {
        let unread = self.twins.saturating_sub(plus(self.read, self.queued));
        self.clones.saturating_sub(unread)
    }

    /// What was thrown away with a queue and never put in it, as far as was seen: it had been before the start.
    fn stale(&self, protocol: Protocol, sees_queues: bool) -> u64 {
        if sees_queues && QUEUED.contains(&protocol) {
            self.purged.saturating_sub(self.queued)
        } else {
            0
        }
    }
}

/// Drops that are in no column, although they are of packets that came by an uplink.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LeftOut {
    /// Of those that may be twins, see [`ends::may_be_twin`].
    pub copies: u64,
    /// Of those that were clones for raw sockets, see [`ends::raw_clone`].
    pub clones: u64,
    /// Of those that were thrown away with a queue, see [`ends::purged`]: they had arrived before the start.
    pub stale: u64,
}

/// What is left out, by namespace and protocol. `sees_queues`: the kernel tells what is put in a queue.
pub(crate) fn left_out(books: &Books, node: &Node, sees_queues: bool) -> BTreeMap<(u32, Protocol), LeftOut> {
    let mut all = BTreeMap::new();
    for (netns, tally) in tallies(books, node) {
        for (protocol, datagrams) in tally.datagrams {
            let left_out = LeftOut {
                copies: datagrams.copies(),
                clones: datagrams.spare_clones(),
                stale: datagrams.stale(protocol, sees_queues),
            };
            all.insert((netns, protocol), left_out);
        }
    }
    all
}

/// The ledger of every namespace that has an uplink or a line. `sees_queues` as for [`left_out`].
pub(crate) fn totals(
    books: &Books,
    node: &Node,
    queues: &Queues,
    unresolved: &unresolved::Queues,
    counters: &Counters,
    sees_queues: bool,
) -> BTreeMap<u32, Totals> {
    let mut tallies = tallies(books, node);
    for (netns, packets, bytes) in unresolved.before(node) {
        let tally = tallies.entry(netns).or_default();
        tally.arrived = plus(tally.arrived, packets);
        tally.bytes.arrived = plus(tally.bytes.arrived, bytes);
    }
    let unresolved = unresolved.in_ledger(node);
    tallies
        .into_iter()
        .map(|(netns, mut tally)| {
            tally.unresolved = unresolved.get(&netns).copied().unwrap_or(0);
            let silent = tally.silent(netns, counters);
            (netns, close(netns, &tally, queues, silent, sees_queues))
        })
        .collect()
}

fn tallies(books: &Books, node: &Node) -> BTreeMap<u32, Tally> {
    let mut tallies: BTreeMap<u32, Tally> = node
        .uplinks()
        .map(|device| (device.netns, Tally::default()))
        .collect();
    for (key, line) in books.lines() {
        if let Some(netns) = Some(key.netns).filter(|netns| *netns != 0).or(node.only()) {
            let datagrams = tallies
                .entry(netns)
                .or_default()
                .datagrams
                .entry(key.protocol)
                .or_default();
            if key.incoming && ends::purged(key) {
                datagrams.purged_all = plus(datagrams.purged_all, line.packets);
            }
            let tally = tallies.entry(netns).or_default();
            if ends::listen_overflow(key) {
                tally.overflows_told = plus(tally.overflows_told, line.packets);
            }
            if ends::opening(key) && in_ledger(node, key).is_none() {
                tally.openings_elsewhere = plus(tally.openings_elsewhere, line.packets);
            }
        }
        let Some(netns) = in_ledger(node, key) else {
            continue;
        };
        let tally = tallies.entry(netns).or_default();
        if key.piece {
            tally.piece(key.fate, line.bytes);
            continue;
        }
        match key.fate {
            Fate::Arrived => {
                tally.arrived = plus(tally.arrived, line.packets);
                tally.bytes.arrived = plus(tally.bytes.arrived, line.bytes);
            }
            Fate::Matched => tally.matched = plus(tally.matched, line.packets),
            Fate::Read => {
                let datagrams = tally.datagrams.entry(key.protocol).or_default();
                datagrams.read = plus(datagrams.read, line.packets);
            }
            Fate::Queued => {
                let datagrams = tally.datagrams.entry(key.protocol).or_default();
                datagrams.queued = plus(datagrams.queued, line.packets);
            }
            Fate::Forwarded => {
                tally.forwarded = plus(tally.forwarded, line.packets);
                tally.bytes.forwarded = plus(tally.bytes.forwarded, line.bytes);
            }
            Fate::Consumed if ends::answered(key) => {
                tally.answer(line);
                if ends::opening(key) {
                    tally.openings = plus(tally.openings, line.packets);
                }
            }
            Fate::Consumed => {}
            Fate::Dropped if ends::used_up(ends::reason(key), ends::symbol(key)) => {
                tally.answer(line);
            }
            Fate::Dropped => {
                tally.dropped = plus(tally.dropped, line.packets);
                tally.bytes.dropped = plus(tally.bytes.dropped, line.bytes);
                if ends::dropped_after_match(key) {
                    tally.dropped_after_match = plus(tally.dropped_after_match, line.packets);
                }
                if ends::purged(key) {
                    let datagrams = tally.datagrams.entry(key.protocol).or_default();
                    datagrams.purged = plus(datagrams.purged, line.packets);
                }
                if ends::may_be_twin(key) {
                    let datagrams = tally.datagrams.entry(key.protocol).or_default();
                    datagrams.twins = plus(datagrams.twins, line.packets);
                }
                if ends::raw_clone(key) {
                    let datagrams = tally.datagrams.entry(key.protocol).or_default();
                    datagrams.clones = plus(datagrams.clones, line.packets);
                }
            }
        }
    }
    tallies
}

/// Closes the books of one namespace.
fn close(netns: u32, tally: &Tally, queues: &Queues, silent: Silent, sees_queues: bool) -> Totals {
    let mut delivered = tally.matched.saturating_sub(tally.dropped_after_match);
    let mut queued = tally.unresolved.min(LIMIT);
    let mut left_out = 0;
    for protocol in QUEUED {
        let Some(datagrams) = tally.datagrams.get(&protocol) else {
            continue;
        };
        let kept = datagrams.queued.saturating_sub(datagrams.purged);
        // What waits beyond that came by loopback, which a queue does not tell apart.
        let waiting = queues
            .pending(netns, protocol)
            .saturating_sub(datagrams.purged_all)
            .min(kept);
        queued = plus(queued, waiting);
        delivered = plus(delivered, plus(kept - waiting, datagrams.read));
        left_out = plus(
            left_out,
            plus(
                plus(datagrams.copies(), datagrams.spare_clones()),
                datagrams.stale(protocol, sees_queues),
            ),
        );
    }
    let mut ledger = Ledger {
        arrived: tally.arrived,
        delivered,
        forwarded: tally.forwarded,
        answered: tally.answered.saturating_sub(silent.packets()),
        dropped: plus(tally.dropped.saturating_sub(left_out), silent.packets()),
        queued,
        unexplained: 0,
    };
    ledger.unexplained = residual(&ledger);
    let mut bytes = tally.bytes;
    if left_out > 0 {
        // Of those packets it is not known which they were.
        let share = u128::from(bytes.dropped) * u128::from(tally.dropped.saturating_sub(left_out))
            / u128::from(tally.dropped.max(1));
        bytes.dropped = u64::try_from(share).unwrap_or(LIMIT);
    }
    bytes.rest = rest(&bytes);
    Totals {
        ledger,
        bytes,
        silent,
    }
}

/// What arrived and was entered nowhere else.
fn residual(ledger: &Ledger) -> i64 {
    let column = |packets: u64| i64::try_from(packets).unwrap_or(i64::MAX);
    [
        ledger.delivered,
        ledger.forwarded,
        ledger.answered,
        ledger.dropped,
        ledger.queued,
    ]
    .into_iter()
    .fold(column(ledger.arrived), |rest, packets| {
        rest.saturating_sub(column(packets))
    })
}

fn plus(a: u64, b: u64) -> u64 {
    a.saturating_add(b).min(LIMIT)
}
