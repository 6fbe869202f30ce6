//! What this node sends to itself goes nowhere.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::sufferers::{Sufferer, Sufferers};
use super::suffering::Suffering;
use super::words::{capital, command, count, distinct, list, owner};
use super::{About, Finding, Rule, View, effects, evidence, undo};
use crate::event::{Thing, Version};
use crate::model::Model;
use crate::model::clock::SECOND;
use crate::model::invariants::{Invariant, State};
use crate::report::{Confidence, Where};

/// R39: loopback is dead.
pub(super) const DEAD: Rule = Rule {
    id: "R39",
    slug: "loopback-dead",
    title: "Loopback is dead: what this node sends to itself goes nowhere",
    place: Some(Where::GuestKernel),
    about: About {
        signature: "lo is down, and was up or has been set up before; or the kernel, asked where 127.0.0.1 leads, does not answer \
                    with lo, though a rule looks table local up. A weak sign where no socket is bound to an address of loopback, nor \
                    connected to one, and none sends again what does not arrive.",
        meaning: "What a node sends to 127.0.0.1, and to its own addresses, goes by lo: local proxies, name servers at 127.0.0.53, \
                  databases, the API of a container runtime. No packet of it is in the books, which are about others.",
        check: &[
            "ip addr show dev lo",
            "ip route get 127.0.0.1  # must say local … dev lo",
        ],
        mend: &[
            "ip link set lo up  # Risk: low.",
            "ip addr add 127.0.0.1/8 dev lo  # where it is missing. Risk: low.",
        ],
    },
    examine: dead,
    explains: effects::loopback,
    proved_by: effects::none,
    follows: &["R01"],
};

/// Who sets it up anew sets it down first.
const LASTING: u64 = 2 * SECOND;
/// Processes that are named, at most.
const NAMED: usize = 3;

/// It is about loopback, and no rule is missing that all addresses need.
fn is_its(model: &Model, netns: u32, invariant: &Invariant) -> bool {
    match invariant {
        Invariant::Loopback => true,
        Invariant::Answer { address, .. } => {
            let rule = Invariant::LocalRule(Version::of(*address));
            let mut all = model.settings().invariants().iter(model.now());
            address.is_loopback()
                && !all
                    .any(|(of, one, standing)| of == netns && *one == rule && standing.state == State::Broken)
        }
        _ => false,
    }
}

fn dead(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    let now = model.now();
    let all = model.settings().invariants().iter(now);
    let broken: Vec<_> = all
        .filter(|(netns, invariant, standing)| {
            standing.state == State::Broken
                && standing
                    .since
                    .is_none_or(|since| now.saturating_sub(since) >= LASTING)
                && is_its(model, *netns, invariant)
        })
        .collect();
    let (first, ..) = *broken.first()?;
    let namespaces: BTreeSet<u32> = broken.iter().map(|(netns, ..)| *netns).collect();
    let since = broken
        .iter()
        .map(|(_, _, standing)| standing.since.unwrap_or(model.started()));
    let since = since.min()?;
    let was_so = broken.iter().all(|(_, _, standing)| standing.since.is_none());

    // By lo goes also what is for the node's other addresses.
    let is_own =
        |netns: u32, address| namespaces.contains(&netns) && model.node().has_address(netns, address);
    let again = model.waiting().in_vain(now).filter(|(key, _)| {
        namespaces.contains(&key.netns) && (key.remote.is_loopback() || is_own(key.netns, key.remote))
    });
    let again: Vec<Sufferer<'_>> = again
        .map(|(key, again)| Sufferer {
            key: *key,
            since: Some(again.since).into(),
            owner: again.owner.as_deref(),
        })
        .collect();
    let (bound, connected) = sockets(model, &namespaces);
    let users = distinct(bound.iter().chain(&connected).cloned());
    let is_used = !again.is_empty() || !users.is_empty();

    let what = distinct(broken.iter().map(|(netns, invariant, _)| {
        capital(&super::report::invariant_text(model, *netns, invariant, false))
    }));
    let mut explanation = format!("{}.", what.join(". "));
    if !again.is_empty() {
        explanation += &format!(
            " {} of this node with itself send again and again what does not arrive.",
            count(again.len() as u64, "connection")
        );
    }
    if !users.is_empty() {
        let named: Vec<String> = users.iter().take(NAMED).cloned().collect();
        let more = match users.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        explanation += &format!(
            " Sockets of {}{more} are bound to an address of loopback or connected to one.",
            list(&named)
        );
    }
    let evidence = broken
        .iter()
        .map(|(netns, invariant, _)| {
            let text = super::report::invariant_text(model, *netns, invariant, false);
            evidence::state(super::report::invariant_object(invariant), text)
        })
        .collect();
    let suffering = Suffering::of(again);
    let versions: BTreeSet<Option<Version>> = broken
        .iter()
        .map(|(_, invariant, _)| match invariant {
            Invariant::Answer { address, .. } => Some(Version::of(*address)),
            _ => None,
        })
        .collect();
    let units = suffering.units([]);
    let flows = if suffering.flows.is_empty() {
        Sufferers::untold(
            versions
                .first()
                .copied()
                .flatten()
                .filter(|_| versions.len() == 1),
        )
    } else {
        suffering.flows
    };
    let standing = was_so.then(|| format!("{}.", what.join(". ")));
    Some(Finding {
        confidence: if is_used {
            Confidence::Strong
        } else {
            Confidence::Weak
        },
        explanation,
        since,
        last: now,
        evidence,
        devices: BTreeSet::from([LO.to_owned()]),
        // A weak one is to stay so.
        standing: standing.filter(|_| is_used),
        units,
        flows,
        check: ["ip addr show dev lo", "ip route get 127.0.0.1"]
            .map(|line| command(model, first, line))
            .into(),
        remedy: remedy(model, &namespaces),
        namespaces,
        prevent: Vec::new(),
    })
}

pub(super) const LO: &str = "lo";

/// Who has sockets that are bound to an address of loopback, and that are connected to one.
fn sockets(model: &Model, namespaces: &BTreeSet<u32>) -> (BTreeSet<String>, BTreeSet<String>) {
    let name =
        |found: Option<&crate::event::Owner>| found.map_or_else(|| "an unknown process".to_owned(), owner);
    let bound = model.sockets().bound_sockets();
    let bound = bound
        .filter(|(port, address, _)| namespaces.contains(&port.netns) && address.is_loopback())
        .map(|(_, _, bound)| name(bound.owner.as_deref()))
        .collect();
    let connected = model.sockets().connections();
    let connected = connected
        .filter(|(key, connection)| {
            namespaces.contains(&key.netns) && key.remote.is_loopback() && connection.is_live()
        })
        .map(|(_, connection)| name(connection.owner.as_deref()))
        .collect();
    (bound, connected)
}

/// What sets it up, as far as it is not.
fn remedy(model: &Model, namespaces: &BTreeSet<u32>) -> Vec<String> {
    let mut lines = Vec::new();
    for netns in namespaces {
        let (mut is_up, mut has_address) = (false, false);
        for (of, thing, value) in model.settings().iter() {
            match thing {
                Thing::Link { device } if of == *netns && device == LO => {
                    is_up = crate::event::value::is_up(value);
                }
                Thing::Address { device, address, .. } if of == *netns && device == LO => {
                    has_address |= address.is_loopback() && address.is_ipv4();
                }
                _ => {}
            }
        }
        let mut add = |line: &str| lines.push(format!("{}  # Risk: low.", command(model, *netns, line)));
        if !is_up {
            add("ip link set lo up");
        }
        if !has_address && (is_up || !undo::comes_with(model, *netns, LO, Ipv4Addr::LOCALHOST.into())) {
            add("ip addr replace 127.0.0.1/8 dev lo");
        }
    }
    lines
}
