//! The rows of namespaces: those that are watched, and for a while those that have ended.
//!
//! The kernel gives the inode of a namespace that has ended to the next one, and the books know namespaces by their
//! inodes. So where an inode begins anew, the row of the old one is closed as it stands, and everything that is counted
//! by it begins at 0 once more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::books::Books;
use super::clock::SECOND;
use super::growth::History;
use super::ledger::Totals;
use super::node::{Node, Role};
use crate::event::{Fate, Namespace};

/// A namespace that has ended is told for so long: 10 min.
const ENDED: u64 = 600 * SECOND;
/// Namespaces that have ended, at most.
const MOST_ENDED: usize = 1000;

/// What was handed to a namespace by the devices that its own are linked to, and what of it came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Followed {
    /// Packets forwarded to it.
    pub forwarded: u64,
    /// Packets that arrived there by those devices.
    pub arrived: u64,
    /// Packets that were forwarded and did not arrive, protocol by protocol.
    pub lost: u64,
}

/// A namespace that has ended, whose inode is another's by now.
#[derive(Clone, Debug)]
pub(crate) struct Closed {
    pub namespace: Namespace,
    pub ended: u64,
    pub role: Role,
    pub uplinks: Vec<String>,
    pub totals: Totals,
    pub followed: Option<Followed>,
}

#[derive(Clone, Debug, Default)]
struct Row {
    ended: Option<u64>,
    history: History<Totals>,
}

/// All rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Namespaces {
    /// By inode.
    rows: BTreeMap<u32, Row>,
    closed: VecDeque<Closed>,
    /// What the node's ledger has of namespaces whose inodes are others' by now.
    before: Totals,
}

impl Namespaces {
    /// A namespace is watched now.
    pub(crate) fn watched(&mut self, inode: u32) {
        self.rows.entry(inode).or_default().ended = None;
    }

    /// It has ended.
    pub(crate) fn ended(&mut self, at: u64, inode: u32) {
        self.rows.entry(inode).or_default().ended = Some(at);
    }

    /// When it ended, `None` for one that lives.
    pub(crate) fn end(&self, inode: u32) -> Option<u64> {
        self.rows.get(&inode)?.ended
    }

    /// Its row is closed as it stands; its inode is another's.
    pub(crate) fn close(&mut self, closed: Closed) {
        self.rows.remove(&closed.namespace.inode);
        if closed.role == Role::Node {
            self.before.add(&closed.totals);
        }
        self.closed.push_back(closed);
        if self.closed.len() > MOST_ENDED {
            self.closed.pop_front();
        }
    }

    /// The ledgers at a tick.
    pub(crate) fn tick(&mut self, now: u64, ledgers: &BTreeMap<u32, Totals>) {
        for (inode, totals) in ledgers {
            self.rows.entry(*inode).or_default().history.push(now, *totals);
        }
    }

    /// Its ledger at the last ticks.
    pub(crate) fn history(&self, inode: u32) -> Option<&History<Totals>> {
        self.rows.get(&inode).map(|row| &row.history)
    }

    /// Those whose inodes are others' by now, the last one first.
    pub(crate) fn closed(&self) -> impl Iterator<Item = &Closed> {
        self.closed.iter().rev()
    }

    /// See [`Self::before`].
    pub(crate) fn before(&self) -> &Totals {
        &self.before
    }

    /// Forgets the rows that ended long ago, and the oldest of too many, but none of the node's `own`. Tells the
    /// inodes of which nothing more needs to be known.
    pub(crate) fn forget(&mut self, now: u64, own: &BTreeSet<u32>) -> BTreeSet<u32> {
        self.closed
            .retain(|closed| now.saturating_sub(closed.ended) <= ENDED);
        let mut ended: Vec<(u64, u32)> = self
            .rows
            .iter()
            .filter(|(inode, _)| !own.contains(inode))
            .filter_map(|(inode, row)| Some((row.ended?, *inode)))
            .collect();
        ended.sort_unstable();
        let too_many = ended.len().saturating_sub(MOST_ENDED - self.closed.len());
        let forgotten: BTreeSet<u32> = ended
            .into_iter()
            .enumerate()
            .filter(|(index, (at, _))| *index < too_many || now.saturating_sub(*at) > ENDED)
            .map(|(_, (_, inode))| inode)
            .collect();
        self.rows.retain(|inode, _| !forgotten.contains(inode));
        forgotten
    }
}

/// What was handed to each namespace that another one's device is linked to.
pub(crate) fn followed(books: &Books, node: &Node) -> BTreeMap<u32, Followed> {
    // What the node itself sends there arrives too; by its protocol, ARP at least makes up for no loss.
    let mut handed: BTreeMap<(u32, u16, crate::event::Protocol), (u64, u64)> = BTreeMap::new();
    let pairs: BTreeMap<(u32, u32), u32> = node
        .pairs()
        .map(|(device, peer)| ((device.netns, device.index), peer.netns))
        .collect();
    if pairs.is_empty() {
        return BTreeMap::new();
    }
    for (key, line) in books.lines() {
        match key.fate {
            Fate::Forwarded => {
                if let Some(to) = pairs.get(&(key.netns, key.device)) {
                    let (forwarded, _) = handed.entry((*to, key.ethertype, key.protocol)).or_default();
                    *forwarded = forwarded.saturating_add(line.packets);
                }
            }
            Fate::Arrived if pairs.contains_key(&(key.netns, key.iif)) => {
                let (_, arrived) = handed
                    .entry((key.netns, key.ethertype, key.protocol))
                    .or_default();
                *arrived = arrived.saturating_add(line.packets);
            }
            _ => {}
        }
    }
    let mut all: BTreeMap<u32, Followed> = BTreeMap::new();
    for ((netns, ..), (forwarded, arrived)) in handed {
        let followed = all.entry(netns).or_default();
        followed.forwarded = followed.forwarded.saturating_add(forwarded);
        followed.arrived = followed.arrived.saturating_add(arrived);
        followed.lost = followed.lost.saturating_add(forwarded.saturating_sub(arrived));
    }
    all
}
