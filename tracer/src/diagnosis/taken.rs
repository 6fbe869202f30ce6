//! Peers whose own address came to this node: what is for them does not leave any more, since the kernel takes it for this node
//! itself.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::change::sentence;
use super::sufferers::Sufferer;
use super::suffering::Suffering;
use super::words::{command, count, distinct, ip, list, moment};
use super::{Finding, View, evidence};
use crate::event::{FlowKey, Thing};
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
    /// By this change, if the address had been a peer's.
    fn of(view: &View<'a>, change: &'a Change) -> Option<Self> {
        let (model, at) = (view.model, change.at);
        let (netns, device, address) = came(change)?;
        let is_its = |key: &FlowKey, flow: &Flow| {
            key.netns == netns && key.remote == address && flow.arrived > 0 && view.by_uplink(netns, flow.iif)
        };
        // Only peers tell by a device; what this node sends to itself is counted for no flow.
        let mut flows = Vec::new();
        for (key, flow, _) in view.flows(is_its) {
            // What a peer with this address sends once more is dropped, as from a martian (`fib_validate_source`).
            if flow.last_arrived > When::at(at.saturating_add(LATE)) && flow.hunger().is_none() {
                return None;
            }
            if flow.last_arrived >= When::at(at.saturating_sub(BEFORE)) {
                flows.push(*key);
            }
        }
        if flows.is_empty() {
            return None;
        }
        let ports: BTreeSet<_> = flows.iter().map(|key| (key.protocol, key.remote_port)).collect();
        let askers: BTreeSet<_> = flows.iter().map(|key| (Port::of(key), key.local)).collect();
        let refusals = model.sockets().refusals().filter_map(|(port, local, growing)| {
            let spell = growing.recent(model.now())?;
            let is_asked = local == address && ports.contains(&(port.protocol, port.number));
            // Who is answered by another address than was asked has no socket for that.
            let is_answered_otherwise = || askers.contains(&(port, local));
            let is_its = port.netns == netns
                && spell.since.saturating_add(SECOND) >= at
                && (is_asked || is_answered_otherwise());
            is_its.then_some((port, local, spell))
        });
        Some(Self {
            netns,
            device,
            address,
            change,
            refusals: refusals.collect(),
            flows,
        })
    }

    fn spell(&self) -> Option<Spell> {
        let all = self.refusals.iter().map(|(.., spell)| *spell);
        all.reduce(Spell::and)
            .filter(|spell| spell.lasts(PACKETS, LASTING))
    }

    /// An address of a service may wander from one machine to another, as by VRRP: it comes to the device by which it is reached, and
    /// the service may be about to be started.
    fn confidence(&self, model: &Model) -> Confidence {
        let by_uplink = model
            .node()
            .device_named(self.netns, self.device)
            .is_none_or(|device| model.node().is_over_uplink(self.netns, device.index));
        if by_uplink {
            Confidence::Weak
        } else {
            Confidence::Strong
        }
    }
}

/// Addresses that are held against all flows, at most: the latest.
const ADDRESSES: usize = 16;

/// All that refuses what was for a peer, the latest address first.
fn all<'a>(view: &View<'a>) -> Vec<(Taken<'a>, Spell)> {
    let node = view.model.node();
    let changes = view.model.timeline().all().rev().map(|(_, change)| change);
    let stands = |change: &&Change| {
        came(change).is_some_and(|(netns, _, address)| {
            node.has_address(netns, address) && !node.had_address(netns, address, change.at)
        })
    };
    let taken = changes
        .filter(stands)
        .take(ADDRESSES)
        .filter_map(|change| Taken::of(view, change));
    taken
        .filter_map(|taken| Some((taken.spell()?, taken)))
        .map(|(spell, taken)| (taken, spell))
        .collect()
}

/// What is found of the one whose peer is missed most.
pub(super) fn examine(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    // Most nodes refuse nothing.
    model.sockets().refusals().next()?;
    let (taken, spell) = all(view)
        .into_iter()
        .max_by_key(|(taken, spell)| (taken.confidence(model), spell.packets))?;
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
        "The {}, at {}: it is the address of a peer that had answered this node until then, and nothing has come from there since. \
         What is for it does not leave any more, the kernel takes it for this node itself: {} found no socket at {}.{}",
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
        confidence: taken.confidence(model),
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
