//! Peers whose own address came to this node: what is for them does not leave any more, since the kernel takes it for this node
//! itself.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use foldhash::fast::RandomState;

use super::change::sentence;
use super::sufferers::Sufferer;
use super::suffering::Suffering;
use super::words::{command, count, distinct, ip, list, moment};
use super::{Finding, View, evidence};
use crate::event::{FlowKey, Origin, Thing};
use crate::model::Model;
use crate::model::clock::{SECOND, When};
use crate::model::ends;
use crate::model::flows::Flow;
use crate::model::growth::Spell;
use crate::model::queues::Port;
use crate::model::timeline::{Change, Subject};
use crate::report::Confidence;
use crate::shell::quoted;

/// What was on its way when the address came arrives so late, at most.
const LATE: u64 = 2 * SECOND;
/// Who did not answer in the time before may not have been asked any more.
const BEFORE: u64 = 60 * SECOND;
/// Packets that must have been refused here, and the time that they must span: a service that comes with its address listens soon.
const PACKETS: u64 = 3;
const LASTING: u64 = 2 * SECOND;

/// An address that came, and is that of a peer.
struct Taken<'a> {
    netns: u32,
    device: &'a str,
    address: IpAddr,
    change: &'a Change,
    /// What this node asked there before.
    flows: Vec<FlowKey>,
    /// Some of it is answered by the peer still.
    goes_on: bool,
    /// Where what is for it is refused now, and its spell.
    refusals: Vec<(Port, IpAddr, Spell)>,
}

/// The address that came by this change, and the device that has it.
pub(super) fn came(change: &Change) -> Option<(u32, &str, IpAddr)> {
    match (&change.subject, &change.before, &change.after) {
        (Subject::Setting(netns, Thing::Address { device, address, .. }), None, Some(_)) => {
            Some((*netns, device, *address))
        }
        _ => None,
    }
}

impl<'a> Taken<'a> {
    /// By this change; `None` where it is no address that came. Whether it had been a peer's the flows tell.
    fn of(change: &'a Change) -> Option<Self> {
        let (netns, device, address) = came(change)?;
        Some(Self {
            netns,
            device,
            address,
            change,
            flows: Vec::new(),
            goes_on: false,
            refusals: Vec::new(),
        })
    }

    /// A flow of this node to the address, to which something had arrived.
    fn asked(&mut self, key: &FlowKey, flow: &Flow) {
        let at = self.change.at;
        // What a peer with this address sends once more is dropped, as from a martian (`fib_validate_source`).
        self.goes_on |= flow.last_arrived > When::at(at.saturating_add(LATE)) && flow.hunger().is_none();
        if flow.last_arrived >= When::at(at.saturating_sub(BEFORE)) {
            self.flows.push(*key);
        }
    }

    /// What is refused of what was for it, or comes back from there.
    fn refuse(&mut self, model: &Model) {
        let ports: BTreeSet<_> = self.flows.iter().map(asked_port).collect();
        let askers: BTreeSet<_> = self.flows.iter().map(|key| (Port::of(key), key.local)).collect();
        let refusals = model.sockets().refusals().filter_map(|(port, local, growing)| {
            let spell = growing.recent(model.now())?;
            let is_asked = local == self.address && ports.contains(&port);
            // Who is answered by another address than was asked has no socket for that.
            let is_answered_otherwise = || askers.contains(&(port, local));
            let is_its = port.netns == self.netns
                && spell.since.saturating_add(SECOND) >= self.change.at
                && (is_asked || is_answered_otherwise());
            is_its.then_some((port, local, spell))
        });
        self.refusals = refusals.collect();
    }

    fn spell(&self) -> Option<Spell> {
        let all = self.refusals.iter().map(|(.., spell)| *spell);
        all.reduce(Spell::and)
            .filter(|spell| spell.lasts(PACKETS, LASTING))
    }

    /// An address of a service may wander from one machine to another, as by VRRP: it comes to the device by which it is reached, and
    /// the service may be about to be started. Or an own service has come with its address, as a cache of names beside each node's
    /// pods.
    fn confidence(&self, model: &Model) -> Confidence {
        let node = model.node();
        let device = node.device_named(self.netns, self.device);
        let by_uplink = device.is_none_or(|device| node.is_over_uplink(self.netns, device.index));
        if by_uplink || self.is_served(model) {
            Confidence::Weak
        } else {
            Confidence::Strong
        }
    }

    /// A socket of this node waits at the address, or at a port that is asked there, be it at another address. Whom nobody asks for
    /// by a port, as by a ping, the kernel itself answers.
    fn is_served(&self, model: &Model) -> bool {
        let asked = self.flows.iter().map(asked_port);
        let ports: BTreeSet<_> = asked.filter(|port| port.number != 0).collect();
        model.sockets().bound_sockets().any(|(port, address, _)| {
            port.netns == self.netns && (address == self.address || ports.contains(&port))
        })
    }
}

/// The port of the peer that a flow asks, as one of this node.
fn asked_port(key: &FlowKey) -> Port {
    Port {
        netns: key.netns,
        protocol: key.protocol,
        number: key.remote_port,
    }
}

/// Addresses that are held against all flows, at most: the latest.
const ADDRESSES: usize = 16;

/// All that refuses what was for a peer, the latest address first. The flows are looked through once, however many came.
fn all<'a>(view: &View<'a>) -> Vec<(Taken<'a>, Spell, Confidence)> {
    let (model, node) = (view.model, view.model.node());
    let changes = model.timeline().all().rev().map(|(_, change)| change);
    let stands = |change: &&Change| {
        came(change).is_some_and(|(netns, _, address)| {
            node.has_address(netns, address) && !node.had_address(netns, address, change.at)
        })
    };
    let mut all: Vec<Taken<'_>> = Vec::new();
    let mut places: HashMap<(u32, IpAddr), usize, RandomState> = HashMap::default();
    for taken in changes.filter(stands).take(ADDRESSES).filter_map(Taken::of) {
        // It may have come to several devices.
        if let Entry::Vacant(place) = places.entry((taken.netns, taken.address)) {
            place.insert(all.len());
            all.push(taken);
        }
    }
    if all.is_empty() {
        return Vec::new();
    }
    // Only peers tell by a device; what this node sends to itself is counted for no flow.
    let place = |key: &FlowKey, flow: &Flow| {
        let place = || places.get(&(key.netns, key.remote)).copied();
        let is_own = flow.origin == Origin::Local && flow.last_arrived > When::NEVER;
        is_own
            .then(place)?
            .filter(|_| view.by_uplink(key.netns, flow.iif))
    };
    for (key, flow) in model.flows().iter() {
        if let Some(taken) = place(key, flow).and_then(|place| all.get_mut(place)) {
            taken.asked(key, flow);
        }
    }
    all.retain(|taken| !taken.goes_on && !taken.flows.is_empty());
    for taken in &mut all {
        taken.refuse(model);
    }
    let refused = all.into_iter().filter_map(|taken| {
        let (spell, confidence) = (taken.spell()?, taken.confidence(model));
        Some((taken, spell, confidence))
    });
    refused.collect()
}

/// What is found of the one whose peer is missed most.
pub(super) fn examine(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    // Most nodes refuse nothing.
    model.sockets().refusals().next()?;
    let (taken, spell, confidence) = all(view)
        .into_iter()
        .max_by_key(|(_, spell, confidence)| (*confidence, spell.packets))?;
    let (netns, address) = (taken.netns, taken.address);
    let mut sufferer = Sufferer::in_turn(model);
    let flows = view.flows(|key, _| taken.flows.binary_search(key).is_ok());
    let suffering = Suffering::of(flows.map(&mut sufferer));
    let at = distinct(
        taken
            .refusals
            .iter()
            .map(|(port, local, _)| format!("{} {local} port {}", port.protocol, port.number)),
    );
    let explanation = format!(
        "The {}, at {}: it is the address of a peer that had answered this node until then, and no answer has reached a socket \
         since. What is for it does not leave any more, the kernel takes it for this node itself: {} found no socket at {}.{}",
        sentence(model, taken.change),
        moment(model, taken.change.at),
        count(spell.packets, "packet"),
        list(&at),
        suffering.affected()
    );
    let refused = taken.refusals.iter().take(4).map(|(port, local, spell)| {
        let text = format!(
            "{} to {} {local} port {}: {}",
            count(spell.packets, "packet"),
            port.protocol,
            port.number,
            ends::NO_SOCKET
        );
        evidence::drop(ends::NO_SOCKET, None, spell.packets, text)
    });
    let prefix = match &taken.change.subject {
        Subject::Setting(_, Thing::Address { prefix, .. }) => *prefix,
        _ => return None,
    };
    let (ip, device) = (ip(address), quoted(taken.device));
    let line = |text: String| command(model, netns, &text);
    Some(Finding {
        confidence,
        explanation,
        since: spell.since.max(taken.change.at),
        last: spell.last,
        evidence: refused.collect(),
        units: suffering.units([]),
        flows: suffering.flows,
        devices: BTreeSet::from([taken.device.to_owned()]),
        namespaces: BTreeSet::from([netns]),
        standing: None,
        prevent: Vec::new(),
        check: vec![
            line(format!("{ip} route get {address}  # local: it does not leave")),
            line(format!("{ip} address show to {address}")),
        ],
        remedy: vec![line(format!(
            "{ip} address del {address}/{prefix} dev {device}  # Risk: low where it was not so before."
        ))],
    })
}
