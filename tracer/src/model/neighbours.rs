//! Who is asked for on the link, and whether this node answers: without an answer nothing else arrives.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::growth::{Spell, growth};
use super::node::Node;
use crate::event::Neighbour;

/// Addresses that are kept: as many as the programs have room for.
const MOST: usize = tracer_ebpf::NEIGHBOURS as usize;

/// What was asked for one address of this node.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    /// Requests, on the uplinks.
    pub asked: u64,
    /// Answers, on any device.
    pub answered: u64,
    /// Uplink of the last request.
    pub device: u32,
    /// The requests since the last answer.
    pub unanswered: Option<Spell>,
    last_answered: Option<u64>,
}

/// What was asked for each address.
#[derive(Clone, Debug, Default)]
pub(crate) struct Neighbours {
    /// What was told last, of each device.
    told: BTreeMap<(u32, IpAddr, u32), (u64, u64)>,
    addresses: BTreeMap<(u32, IpAddr), Asked>,
    /// Events for which there was no room.
    other: u64,
}

impl Neighbours {
    /// Counts were told.
    pub(crate) fn told(&mut self, node: &Node, at: u64, told: &Neighbour) {
        let key = (told.netns, told.address, told.device);
        if self.told.len() >= MOST && !self.told.contains_key(&key) {
            self.other = self.other.saturating_add(1);
            return;
        }
        let before = self
            .told
            .insert(key, (told.asked, told.answered))
            .unwrap_or_default();
        let (asked, answered) = (growth(before.0, told.asked), growth(before.1, told.answered));
        let of = self.addresses.entry((told.netns, told.address)).or_default();
        if answered > 0 {
            of.answered = of.answered.saturating_add(answered);
            of.last_answered = Some(at);
            of.unanswered = None;
        }
        if asked > 0 && node.is_uplink(told.netns, told.device) {
            of.asked = of.asked.saturating_add(asked);
            of.device = told.device;
            // What is told of one round is told at one time, in any order.
            if of.last_answered != Some(at) {
                let spell = of.unanswered.get_or_insert(Spell {
                    since: at,
                    last: at,
                    packets: 0,
                });
                spell.last = at;
                spell.packets = spell.packets.saturating_add(asked);
            }
        }
    }

    /// Forgets what was asked in these namespaces.
    pub(crate) fn leave(&mut self, namespaces: &BTreeSet<u32>) {
        self.told.retain(|(netns, ..), _| !namespaces.contains(netns));
        self.addresses.retain(|(netns, _), _| !namespaces.contains(netns));
    }

    /// Forgets what was asked for addresses that the node has no more. The source has forgotten them too: of one that comes again
    /// it counts anew.
    pub(crate) fn forget(&mut self, node: &Node) {
        self.told
            .retain(|(netns, address, _), _| node.has_address(*netns, *address));
        self.addresses
            .retain(|(netns, address), _| node.has_address(*netns, *address));
    }

    /// Each address that was asked for, by namespace and address.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, IpAddr, &Asked)> {
        self.addresses
            .iter()
            .filter(|(_, asked)| asked.asked > 0)
            .map(|((netns, address), asked)| (*netns, *address, asked))
    }

    /// Events for which there was no room.
    pub(crate) fn other(&self) -> u64 {
        self.other
    }
}
