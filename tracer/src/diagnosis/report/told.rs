//! What the kernel tells by itself: its counters, and what waits in sockets and for neighbours.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::state;
use crate::diagnosis::lost::kinds::hooks_in;
use crate::diagnosis::words::{count, end};
use crate::event::{CounterKey, EntryKey, FlowKey, Protocol, Version};
use crate::model::Model;
use crate::model::clock::seconds;
use crate::model::counters::{is_refused_sending, meaning};
use crate::model::ends;
use crate::model::hooks::Course;
use crate::model::queues::Port;
use crate::model::waiting::Wait;
use crate::report::{Counter, Queue, Unresolved};

/// Counters that are told, at most.
const COUNTERS: usize = 100;
/// Neighbours that are told, at most.
const NEIGHBOURS: usize = 100;

/// The counters that have grown and mean a loss, what matters most first; and how many there are.
pub(super) fn counters(model: &Model) -> (Vec<Counter>, u64) {
    let mut counters: Vec<Counter> = model
        .counters()
        .iter()
        .filter_map(|(key, counted)| {
            let meaning = meaning(key.source, &key.name)?;
            Some(Counter {
                name: key.name.clone(),
                source: key.source,
                netns: model.node().netns_label(key.netns),
                device: model.node().device_name(key.netns, key.device),
                packets: counted.grown,
                rate: rate_of(model, key),
                class: meaning.class,
                kind: meaning.kind,
                text: format!("{}{}", meaning.text, refused(model, key, counted.grown)),
            })
        })
        .collect();
    counters.sort_by_key(|counter| (counter.kind, Reverse(counter.packets)));
    let total = counters.len() as u64;
    counters.truncate(COUNTERS);
    (counters, total)
}

/// By what this node's sockets were refused, as far as it was seen, behind what a counter means that does not say it; empty for
/// others.
fn refused(model: &Model, counter: &CounterKey, counted: u64) -> String {
    if !is_refused_sending(&counter.name) {
        return String::new();
    }
    let counts = |key: &EntryKey| match counter.name.as_str() {
        "IpOutDiscards" => ends::version(key) == Some(Version::V4),
        "Ip6OutDiscards" => ends::version(key) == Some(Version::V6),
        _ => key.protocol == Protocol::Tcp,
    };
    let of_it = |key: &EntryKey| key.netns == counter.netns && ends::filtered(key) && counts(key);
    let lines = model.books().lines().filter(|(key, _)| of_it(key));
    let seen = lines.fold(0, |sum: u64, (_, line)| sum.saturating_add(line.packets));
    if seen == 0 {
        return ": by a firewall, connection tracking or a queue, or for want of memory".to_owned();
    }
    let at = match hooks_in(model, &BTreeSet::from([counter.netns]), Course::Out, 0) {
        hooks if hooks.is_empty() => String::new(),
        hooks => format!(" ({})", hooks.join("; ")),
    };
    let rest = if seen < counted {
        ", which is not all of it"
    } else {
        ""
    };
    format!(
        "; netfilter was seen to drop {} of what was sent{at}{rest}",
        count(seen, "packet")
    )
}

/// How fast a counter grows.
pub(super) fn rate_of(model: &Model, counter: &CounterKey) -> f64 {
    model.counters().rate(counter, model.started(), model.now())
}

/// Sockets in which something waits, at most so many; and how many there are.
pub(super) fn queues(model: &Model, most: usize) -> (Vec<Queue>, u64) {
    let mut waiting: Vec<(bool, u64, &FlowKey, &Wait)> = model
        .waiting()
        .iter()
        .map(|(flow, wait)| (wait.is_full(), since(model, flow, wait), flow, wait))
        .collect();
    waiting.sort_by_key(|(full, since, _, wait)| (!full, *since, Reverse(wait.waiting)));
    let total = waiting.len() as u64;
    waiting.truncate(most);
    let told = waiting
        .into_iter()
        .map(|(full, since, flow, wait)| {
            let owner = wait.owner.as_deref().or_else(|| model.owner(flow));
            Queue {
                protocol: flow.protocol.to_string(),
                local: end(flow.local, flow.local_port),
                remote: end(flow.remote, flow.remote_port),
                netns: model.node().netns_label(flow.netns),
                state: state(wait.state).to_owned(),
                pid: owner.map_or(0, |owner| owner.pid),
                command: owner.map(|owner| owner.command.clone()).unwrap_or_default(),
                unit: owner.map(|owner| owner.unit.clone()).unwrap_or_default(),
                waiting: wait.waiting.into(),
                limit: wait.limit.map(u64::from),
                full,
                drops: wait.drops.map(u64::from),
                age: seconds(model.now().saturating_sub(since)),
            }
        })
        .collect();
    (told, total)
}

/// Neighbours for whose answer packets wait, and how many there are.
pub(super) fn unresolved(model: &Model) -> (Vec<Unresolved>, u64) {
    let mut all: Vec<_> = model.unresolved().by_neighbour().into_iter().collect();
    // The sort is stable.
    all.sort_by_key(|(_, wait)| Reverse(wait.packets));
    let total = all.len() as u64;
    all.truncate(NEIGHBOURS);
    let told = all
        .into_iter()
        .map(|((netns, device, address), wait)| Unresolved {
            address: address.to_string(),
            device: model.node().device_name(netns, device),
            netns: model.node().netns_label(netns),
            packets: wait.packets,
            age: seconds(model.now().saturating_sub(wait.since)),
        })
        .collect();
    (told, total)
}

/// Since when something waits that nobody has read: of datagrams each read of the port is seen.
fn since(model: &Model, flow: &FlowKey, wait: &Wait) -> u64 {
    let read = model
        .queues()
        .get(Port::of(flow))
        .and_then(|queue| queue.last_read);
    wait.since.max(read.unwrap_or(0))
}
