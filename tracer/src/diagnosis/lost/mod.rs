//! Packets arrive for a socket that waits for them and never reach it, whatever the cause.
//!
//! All flows are looked through once; what they lose falls into kinds, by the kernel's reason and place (`kinds`), and each kind
//! has a rule (`rules`) and its commands (`commands`); `table` is of tracked connections.

mod commands;
pub(super) mod kinds;
pub(super) mod rules;
mod table;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::routing;
use super::suffering::Suffering;
use super::words::{command, count, list};
use super::{Finding, View, namespaces};
use crate::event::{FlowKey, Location, Protocol};
use crate::model::Model;
use crate::model::class;
use crate::model::clock::{SECOND, When};
use crate::model::flows::Flow;
use crate::model::queues::Port;
use crate::report::Class;

use kinds::Kind;

/// Packets that a flow must have lost to a drop that was seen.
const DROPPED: u64 = 2;
/// Where no drop was seen, a flow must lack so many packets for so long: one may be on its way, or wait for a
/// neighbour.
const VANISHED: u64 = 3;
const VANISHED_FOR: u64 = 6 * SECOND;
/// A flow must starve for longer than this.
const LASTING: u64 = SECOND;

/// The reason and the place at which packets ended; `None` where no drop was seen.
type End<'a> = Option<&'a (String, Location)>;

/// What ended in one way.
pub(super) struct Loss<'a> {
    end: End<'a>,
    packets: u64,
    flows: u64,
    devices: BTreeSet<String>,
    example: FlowKey,
}

/// What was lost by one kind of loss.
pub(super) struct Lost<'a> {
    losses: BTreeMap<End<'a>, Loss<'a>>,
    flows: Vec<(&'a FlowKey, &'a Flow)>,
    since: u64,
    last: u64,
}

/// All that is lost, by its kind.
pub(super) type Losses<'a> = BTreeMap<Kind, Lost<'a>>;

/// Looks through all flows, once for all rules.
pub(super) fn losses(model: &Model) -> Losses<'_> {
    let mut all = Losses::new();
    let returned = kinds::returned(model);
    for (key, flow) in model.flows().iter() {
        let Some((end, packets)) = loses(model, key, flow) else {
            continue;
        };
        let kind = end.map_or(Kind::Other, |(reason, location)| {
            kinds::kind(model, &returned, key, reason, &location.symbol)
        });
        let lost = all.entry(kind).or_insert_with(|| Lost {
            losses: BTreeMap::new(),
            flows: Vec::new(),
            since: model.now(),
            last: 0,
        });
        let loss = lost.losses.entry(end).or_insert_with(|| Loss {
            end,
            packets: 0,
            flows: 0,
            devices: BTreeSet::new(),
            example: *key,
        });
        loss.packets = loss.packets.saturating_add(packets);
        loss.flows += 1;
        loss.devices.insert(model.node().device_name(key.netns, flow.iif));
        let hunger = flow.hunger.as_deref().or(flow.sated.as_deref());
        // What waits in vain for the first time may have done so before anything was dropped.
        let dropped = flow.drops.recent(model.now()).map_or(0, |spell| spell.since);
        lost.since = lost
            .since
            .min(hunger.map_or(lost.since, |hunger| hunger.since.max(dropped)));
        lost.last = lost.last.max(hunger.map_or(0, |hunger| hunger.last));
        lost.flows.push((key, flow));
    }
    if let Some(firewall) = all.remove(&Kind::Firewall) {
        all.insert(kinds::of_netfilter(model, &firewall), firewall);
    }
    all
}

/// What the rule for one kind of loss has found.
fn lost(view: &View<'_>, kind: Kind) -> Option<Finding> {
    let model = view.model;
    let lost = view.losses().get(&kind)?;
    let suffering = Suffering::of(model, lost.flows.iter().copied());
    let mut losses: Vec<&Loss<'_>> = lost.losses.values().collect();
    // The sort is stable: ends with as many packets stay in the order of their names.
    losses.sort_by_key(|loss| Reverse(loss.packets));

    let packets = losses
        .iter()
        .map(|loss| loss.packets)
        .fold(0, u64::saturating_add);
    let ends: Vec<String> = losses.iter().map(|loss| kinds::told(loss)).collect();
    let explanation = format!(
        "{} arrived for sockets of this node that wait for them, and reached none: {}.{}{}",
        count(packets, "packet"),
        list(&ends),
        kind.more(model, lost),
        suffering.affected()
    );
    let evidence = losses
        .iter()
        .take(5)
        .map(|loss| kinds::seen(loss))
        .chain(kind.evidence(model, lost))
        .chain(routing::flow_evidence(model, &suffering.flows))
        .collect();
    let mut check = Vec::new();
    let mut remedy = Vec::new();
    for loss in losses.iter().take(3) {
        let device = routing::arrival_device(model, &loss.example).unwrap_or_default();
        for line in commands::checks(kind, &loss.example, &device) {
            let line = command(model, loss.example.netns, &line);
            if !check.contains(&line) {
                check.push(line);
            }
        }
        for line in commands::mend(kind, loss.end, &device) {
            let line = match line.chars().next() {
                // A sentence begins with a capital letter, a command does not.
                Some(first) if first.is_uppercase() => line,
                _ => command(model, loss.example.netns, &line),
            };
            if !remedy.contains(&line) {
                remedy.push(line);
            }
        }
    }
    Some(Finding {
        confidence: kind.confidence(),
        explanation,
        since: lost.since,
        last: lost.last,
        evidence,
        namespaces: namespaces(&suffering.flows),
        standing: None,
        devices: losses
            .iter()
            .flat_map(|loss| loss.devices.iter().cloned())
            .collect(),
        units: suffering.units([]),
        flows: suffering.flows,
        prevent: Vec::new(),
        check,
        remedy,
    })
}

/// How a flow loses its packets, and how many were lost; `None` where it does not starve from that, or
/// another rule tells why.
fn loses<'a>(model: &Model, key: &FlowKey, flow: &'a Flow) -> Option<(End<'a>, u64)> {
    // What is over is told while it is fresh.
    let hunger = flow.hunger.as_deref().or(flow.sated.as_deref())?;
    let until = flow.hunger.as_ref().map_or(hunger.last, |_| model.now());
    let since = hunger.since;
    let lasting = until.saturating_sub(since) > LASTING;
    if !lasting || !model.hungers(key, flow, hunger) || !waits(model, key, flow, since) {
        return None;
    }
    if !hunger.dropped {
        // The kernel may take datagrams for itself, such as a tunnel's, between others that are a process's.
        let told = key.protocol != Protocol::Udp && model.can_in_full("sockets");
        let missing = flow.arrived.saturating_sub(flow.delivered(key.protocol));
        let long = hunger.last.saturating_sub(since) >= VANISHED_FOR;
        return (told && long && missing >= VANISHED && !routing::is_lost(model)).then_some((None, missing));
    }
    let drop = flow.last_drop.as_deref()?;
    let spell = flow.drops.recent(model.now())?;
    let told_elsewhere = routing::tells(model, key, &drop.0, &drop.1.symbol);
    // What is not meant for this node reaches no socket that waits; where it does, the node and its network do not
    // agree on what is. The protocols' own discards and full queues have other causes, but for answers that arrive damaged.
    let damaged =
        drop.0.ends_with("_CSUM") && (model.is_reply(key, flow) || model.sockets().connection(key).is_some());
    let kernels = damaged
        || !matches!(
            class::of(&drop.0, &drop.1.symbol),
            Class::Protocol | Class::Resource
        );
    (kernels && !told_elsewhere && spell.packets >= DROPPED).then_some((Some(drop), spell.packets))
}

/// A socket of this node waits for the flow's packets: it is connected to that peer, or the flow still asks, or it
/// is bound to the port and the packets are for an address of this node. What comes late for a socket that is gone
/// is waited for by nobody.
fn waits(model: &Model, key: &FlowKey, flow: &Flow, since: u64) -> bool {
    if let Some(connection) = model.sockets().connection(key) {
        return connection.is_live();
    }
    if model.is_reply(key, flow) {
        return flow.last_sent >= When::at(since);
    }
    let bound = model.sockets().bound(Port::of(key), key.local);
    bound.is_some_and(|bound| bound.closed.is_none()) && model.node().has_address(key.netns, key.local)
}
