//! What waits until the link-layer address of a neighbour is known, as the programs tell it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::growth::{Growing, Spell};
use super::node::Node;
use crate::event::Unresolved;

/// Queues that are kept, by the device of arrival: as many as the programs have room for.
const MOST: usize = tracer_ebpf::UNRESOLVED as usize * tracer_ebpf::DEVICES;

/// A neighbour: namespace, device and address.
pub(crate) type Neighbour = (u32, u32, IpAddr);

/// What waits for one neighbour, and arrived by one device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    /// Packets.
    pub packets: u64,
    /// When something was first seen to wait. At each look since, something did.
    pub since: u64,
}

/// What waits for all neighbours.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queues {
    /// By neighbour and device of arrival.
    queues: BTreeMap<(Neighbour, u32), Wait>,
    /// Packets that waited when the tracer started, and their bytes, by neighbour and device of arrival.
    before: BTreeMap<(Neighbour, u32), (u64, u64)>,
    /// When something waited for each neighbour. What is counted is no packets.
    spells: BTreeMap<Neighbour, Growing>,
    /// Packets for which there was no room.
    other: u64,
}

impl Queues {
    /// A queue was told.
    pub(crate) fn told(&mut self, at: u64, told: &Unresolved) {
        let key = ((told.netns, told.device, told.address), told.iif);
        if told.before > 0 && self.before.len() < MOST {
            // It is told once: told again, it is the same.
            self.before.insert(key, (told.before, told.before_bytes));
        }
        if told.packets > 0 && (self.spells.len() < MOST || self.spells.contains_key(&key.0)) {
            self.spells.entry(key.0).or_default().note(at, at, 1);
        }
        if told.packets == 0 {
            self.queues.remove(&key);
        } else if let Some(wait) = self.queues.get_mut(&key) {
            wait.packets = told.packets;
        } else if self.queues.len() < MOST {
            let wait = Wait {
                packets: told.packets,
                since: at,
            };
            self.queues.insert(key, wait);
        } else {
            self.other = self.other.saturating_add(told.packets);
        }
    }

    /// What waits for each neighbour, whatever device it came by.
    pub(crate) fn by_neighbour(&self) -> BTreeMap<Neighbour, Wait> {
        let mut all: BTreeMap<Neighbour, Wait> = BTreeMap::new();
        for ((neighbour, _), wait) in &self.queues {
            all.entry(*neighbour)
                .and_modify(|sum| {
                    sum.packets = sum.packets.saturating_add(wait.packets);
                    sum.since = sum.since.min(wait.since);
                })
                .or_insert(*wait);
        }
        all
    }

    /// When something last waited for each neighbour over and over, where that is not long ago. It need not have waited in vain.
    pub(crate) fn spells(&self, now: u64) -> impl Iterator<Item = (Neighbour, Spell)> {
        self.spells
            .iter()
            .filter_map(move |(neighbour, spell)| Some((*neighbour, spell.recent(now)?)))
    }

    /// What waited until then does no more.
    pub(crate) fn conclude(&mut self, until: u64) {
        self.spells.retain(|_, spell| !spell.conclude(until));
    }

    /// Forgets for whom nothing has waited lately.
    pub(crate) fn forget(&mut self, now: u64) {
        self.spells.retain(|_, spell| spell.recent(now).is_some());
    }

    /// Packets that arrived by an uplink and wait, by namespace.
    pub(crate) fn in_ledger(&self, node: &Node) -> BTreeMap<u32, u64> {
        let mut all: BTreeMap<u32, u64> = BTreeMap::new();
        for (((netns, ..), iif), wait) in &self.queues {
            if node.is_over_uplink(*netns, *iif) {
                let packets = all.entry(*netns).or_default();
                *packets = packets.saturating_add(wait.packets);
            }
        }
        all
    }

    /// What waited when the tracer started, of what had arrived by an uplink: namespace, packets and bytes.
    pub(crate) fn before(&self, node: &Node) -> impl Iterator<Item = (u32, u64, u64)> {
        self.before
            .iter()
            .filter(|(((netns, ..), iif), _)| node.is_over_uplink(*netns, *iif))
            .map(|(((netns, ..), _), (packets, bytes))| (*netns, *packets, *bytes))
    }

    /// The inodes of these namespaces are or will be those of others.
    pub(crate) fn begin_anew(&mut self, namespaces: &BTreeSet<u32>) {
        self.before
            .retain(|((netns, ..), _), _| !namespaces.contains(netns));
    }

    /// Forgets what waits in these namespaces.
    pub(crate) fn leave(&mut self, namespaces: &BTreeSet<u32>) {
        self.queues
            .retain(|((netns, ..), _), _| !namespaces.contains(netns));
        self.spells.retain(|(netns, ..), _| !namespaces.contains(netns));
    }

    /// Packets for which there was no room.
    pub(crate) fn other(&self) -> u64 {
        self.other
    }
}
