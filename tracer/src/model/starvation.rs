//! When flows begin to starve, and which of them had what they need before.
//!
//! What is broken since before the tracer looked begins to starve as soon as it looks. That is no onset: it says nothing
//! about what happened at that time. One is where something that worked, while the tracer looked, works no more.

use std::collections::{BTreeMap, BTreeSet};

use super::Model;
use super::clock::{SECOND, When};
use super::endpoints::Endpoint;
use super::flows::Flow;
use super::plight::Plight;
use super::queues::Port;
use super::timeline::Change;
use crate::event::{FlowKey, Version};

/// Services that are kept, at most. Of those beyond, each flow is known to have worked by its own packets alone.
const MOST: usize = 16_384;
/// Above so many, idle ones are forgotten. Below it none is: what something is for once in a day is known to have worked.
const MANY: usize = MOST / 4 * 3;
/// Flows of a peer that are looked at, at most, for one that goes on.
const MOST_OF_PEER: usize = 4_096;
/// Idle for this long: 10 min.
const IDLE: u64 = 600 * SECOND;

/// What a flow is for: many flows, one after another, are for the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Service {
    /// The remote end answers.
    Of(Endpoint),
    /// This node answers at its port those that ask by this version: that the others get through says nothing of them.
    Own(Port, Version),
}

impl Service {
    /// What a flow is for, whose packets that arrive are replies or not.
    fn of(key: &FlowKey, is_reply: bool) -> Self {
        if is_reply {
            Self::Of(Endpoint::of(key))
        } else {
            Self::Own(Port::of(key), Version::of(key.local))
        }
    }
}

/// When something for a service reached a socket.
#[derive(Clone, Copy, Debug)]
struct Working {
    first: u64,
    last: u64,
    /// The last time that it was the first packet of a flow, never where none was seen.
    opened: When,
}

/// Services that have worked.
#[derive(Clone, Debug, Default)]
pub(super) struct Worked(BTreeMap<Service, Working>);

impl Worked {
    fn note(&mut self, at: u64, service: Service, is_new: bool) {
        let opened = if is_new { When::at(at) } else { When::NEVER };
        if let Some(working) = self.0.get_mut(&service) {
            working.last = at;
            working.opened = working.opened.max(opened);
        } else if self.0.len() < MOST {
            let working = Working {
                first: at,
                last: at,
                opened,
            };
            self.0.insert(service, working);
        }
    }

    /// Forgets the idle ones, where there are many. Those that these lack something of are not idle.
    pub(super) fn forget(&mut self, now: u64, plights: &[Plight]) {
        if self.0.len() < MANY {
            return;
        }
        let lacking = plights
            .iter()
            .map(|plight| Service::of(&plight.key, plight.is_reply));
        let lacking: BTreeSet<Service> = lacking.collect();
        self.0
            .retain(|service, working| now.saturating_sub(working.last) <= IDLE || lacking.contains(service));
    }

    /// Forgets those of these namespaces.
    pub(super) fn leave(&mut self, namespaces: &BTreeSet<u32>) {
        self.0.retain(|service, _| {
            let netns = match service {
                Service::Of(endpoint) => endpoint.netns,
                Service::Own(port, _) => port.netns,
            };
            !namespaces.contains(&netns)
        });
    }
}

/// So many flows starve, the first of them since then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Group {
    flows: u64,
    since: Option<u64>,
}

impl Group {
    fn add(&mut self, since: u64) {
        self.flows += 1;
        self.since = Some(self.since.map_or(since, |first| first.min(since)));
    }
}

/// What starves at a tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Starving {
    all: Group,
    /// Those of which it is known that they worked before.
    worked: Group,
    /// When it was last told that none does.
    over: u64,
}

impl Starving {
    /// A flow does.
    pub(super) fn add(&mut self, since: u64, worked: bool) {
        self.all.add(since);
        if worked {
            self.worked.add(since);
        }
    }

    /// How many flows.
    pub(super) fn flows(&self) -> u64 {
        self.all.flows
    }

    /// What is new at this tick, after what was `before` it.
    pub(super) fn change(&mut self, before: &Self, now: u64) -> Option<Change> {
        self.over = before.over;
        // What lacks nothing for a moment, since it asks for nothing, begins anew after that, not before it.
        let begins = |group: Group, before: Group| {
            let since = group.since.filter(|_| before.flows == 0)?;
            Some(since.max(self.over))
        };
        if let Some(since) = begins(self.worked, before.worked) {
            return Some(Change::onset(since, self.worked.flows));
        }
        if let Some(since) = begins(self.all, before.all) {
            return Some(Change::found_starving(since, self.all.flows));
        }
        let is_over = self.all.flows == 0 && before.all.flows > 0;
        is_over.then(|| {
            self.over = now;
            Change::starvation_over(now)
        })
    }
}

impl Model {
    /// Something of this flow reached a socket, for the first time that was seen or not. What stood already when this was begun to
    /// be looked at is not new.
    pub(super) fn note_worked(&mut self, at: u64, key: &FlowKey, is_first: bool) {
        if key.remote.is_unspecified() {
            return;
        }
        if let Some(flow) = self.flows.get(key) {
            let service = Service::of(key, self.is_reply(key, flow));
            let is_new = is_first
                && self
                    .sockets
                    .connection(key)
                    .is_none_or(|one| one.opened.is_some());
            self.worked.note(at, service, is_new);
        }
    }

    /// The flow, or another one for the same service, worked before it starved.
    pub(super) fn worked_before(&self, flow: &Flow, plight: &Plight, since: u64) -> bool {
        let first = || self.worked.0.get(&Service::of(&plight.key, plight.is_reply));
        flow.has_reached() || first().is_some_and(|working| working.first < since)
    }

    /// When a request by this version to this port of this node last reached a socket, in boot time; `None` where none ever did.
    pub(crate) fn last_served(&self, port: Port, version: Version) -> Option<u64> {
        let working = self.worked.0.get(&Service::Own(port, version));
        working.map(|working| working.last)
    }

    /// When the first packet of some flow last did so; `None` where that was never seen.
    pub(crate) fn last_opened(&self, port: Port, version: Version) -> Option<u64> {
        self.worked.0.get(&Service::Own(port, version))?.opened.time()
    }

    /// A request to this port of this node has reached a socket, by whichever version.
    pub(crate) fn was_served(&self, port: Port) -> bool {
        let versions = [Version::V4, Version::V6];
        versions
            .iter()
            .any(|version| self.last_served(port, *version).is_some())
    }

    /// Something of this peer reached the same local end: of this flow, or of another one.
    pub(crate) fn let_in(&self, key: &FlowKey) -> bool {
        self.of_peer(key).any(|(_, flow)| flow.has_reached())
    }

    /// A flow of this peer with the same local end goes on after this time, and none of its packets was dropped lately; as far as
    /// some of its flows tell, where it has very many.
    pub(crate) fn goes_on(&self, key: &FlowKey, after: u64) -> bool {
        let after = When::at(after);
        let is_well = |flow: &Flow| flow.has_reached() && flow.dropped_lately(self.now()).is_none();
        let mut its = self.of_peer(key).take(MOST_OF_PEER);
        its.any(|(_, flow)| flow.last_arrived > after && is_well(flow))
    }

    /// The flows of this peer with the same local end.
    fn of_peer(&self, key: &FlowKey) -> impl Iterator<Item = (&FlowKey, &Flow)> {
        let (first, last) = (
            FlowKey {
                remote_port: 0,
                ..*key
            },
            FlowKey {
                remote_port: u16::MAX,
                ..*key
            },
        );
        self.flows.between(first, last)
    }
}
