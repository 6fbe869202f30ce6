//! What must hold on every node, in words.

use super::led::{self, Led};
use super::node::{actor, place};
use crate::event::{Thing, Version};
use crate::model::Model;
use crate::model::invariants::{Invariant, Standing, State};
use crate::report::{self, InvariantState};

/// Those that are told, at most.
const MOST: usize = 100;

/// Those that are told, how many are broken, and how many there are.
pub(super) fn all(model: &Model, led: &Led<'_>) -> (Vec<report::Invariant>, u64, u64) {
    let mut all: Vec<_> = model.settings().invariants().iter(model.now()).collect();
    let is_broken = |standing: &Standing| standing.state == State::Broken;
    let broken = all.iter().filter(|(_, _, standing)| is_broken(standing)).count() as u64;
    let total = all.len() as u64;
    // The sort is stable.
    all.sort_by_key(|(_, _, standing)| standing.state);
    all.truncate(MOST);
    let told = all
        .into_iter()
        .map(|(netns, invariant, standing)| one(model, led, netns, invariant, standing));
    (told.collect(), broken, total)
}

fn one(
    model: &Model,
    led: &Led<'_>,
    netns: u32,
    invariant: &Invariant,
    standing: &Standing,
) -> report::Invariant {
    let own = led::Actor {
        by: standing.by.as_ref(),
        by_unknown: standing.by_unknown,
        follows: None,
    };
    let named = match standing.since {
        Some(at) => led.of((netns, &standing.thing), at, own),
        None => own,
    };
    report::Invariant {
        object: object(invariant),
        netns: place(model, netns),
        state: match standing.state {
            State::Broken => InvariantState::Broken,
            State::Missing => InvariantState::Missing,
            State::Holds => InvariantState::Holds,
        },
        text: text(model, netns, invariant, standing.state == State::Holds),
        since: standing.since.map(|at| model.utc(at)),
        by: named.by.map(actor),
        by_unknown: named.by_unknown,
        follows: named.follows,
    }
}

/// What it is about.
pub(in crate::diagnosis) fn object(invariant: &Invariant) -> String {
    match invariant {
        Invariant::Loopback => "device lo".to_owned(),
        Invariant::LocalRule(version) => format!("{version} rule to table local"),
        Invariant::LocalRoute { address, device } => format!("local route of {address} on {device}"),
        Invariant::Answer { address, device } => answer(device, *address).to_string(),
        Invariant::DefaultRoute(version) => format!("default route ({version})"),
    }
}

fn answer(device: &str, address: std::net::IpAddr) -> Thing {
    Thing::Answer {
        device: device.to_owned(),
        address,
    }
}

/// How it stands, in words.
pub(in crate::diagnosis) fn text(model: &Model, netns: u32, invariant: &Invariant, holds: bool) -> String {
    match (invariant, holds) {
        (Invariant::Loopback, true) => "lo is up".to_owned(),
        (Invariant::Loopback, false) => {
            "lo is down: what this node sends to 127.0.0.1, or to an address of its own, goes nowhere".to_owned()
        }
        (Invariant::LocalRule(version), true) => format!("a rule of {version} looks table local up"),
        (Invariant::LocalRule(Version::V4), false) => "no rule of IPv4 looks table local up: packets for this node's own \
                                                       addresses are taken for somebody else's"
            .to_owned(),
        // `fib6_has_custom_rules`, which only adding a rule sets.
        (Invariant::LocalRule(Version::V6), false) => "no rule of IPv6 looks table local up: where any rule of IPv6 was ever \
                                                       added, packets for this node's own addresses are taken for somebody else's"
            .to_owned(),
        (Invariant::LocalRoute { address, device }, true) => {
            format!("{address} on {device} has its local route")
        }
        (Invariant::LocalRoute { address, device }, false) => format!(
            "{address} on {device} has no local route: packets for it are taken for somebody else's"
        ),
        (Invariant::Answer { address, device }, true) if device == "lo" => format!("{address} leads to lo"),
        (Invariant::Answer { address, device }, true) => {
            format!("the kernel takes what comes in by {device} for {address} for its own")
        }
        (Invariant::Answer { address, device }, false) => {
            let value = model.settings().value(netns, answer(device, *address)).unwrap_or("none");
            if device == "lo" {
                format!("{address} does not lead to lo: the kernel's answer is {value}")
            } else {
                format!(
                    "the kernel does not take what comes in by {device} for {address} for its own: its answer is {value}"
                )
            }
        }
        (Invariant::DefaultRoute(version), true) => format!("there is a default route of {version}"),
        (Invariant::DefaultRoute(version), false) => format!("no table that all packets are looked up in has a default route of {version}"),
    }
}
