//! What this node's own sockets send has no route.

use std::collections::BTreeSet;

use super::addresses::Addresses;
use super::stranded::Stranded;
use super::sufferers::Sufferers;
use super::words::{command, count, distinct, list, moment, whose};
use super::{About, Finding, Rule, effects, evidence, pairing};
use crate::event::{FlowKey, Version};
use crate::model::Model;
use crate::model::books::Sighting;
use crate::model::clock::SECOND;
use crate::model::counters::no_route_counter;
use crate::model::ends::{self, Sign};
use crate::model::growth::Spell;
use crate::model::invariants::{Invariant, State};
use crate::numbers::thousands;
use crate::report::{Confidence, Where};

/// R04: a route is missing for what this node sends.
pub(super) const NO_ROUTE: Rule = Rule {
    id: "R04",
    slug: "no-route",
    title: "What this node sends has no route",
    place: Some(Where::GuestKernel),
    about: About {
        signature: "Packets of this node's own sockets are dropped for IP_OUTNOROUTES. Or the default route was lost while tracer \
                    looked, and IpOutNoRoutes grows since. Or connections stand to peers to which no route of any table leads, or a default \
                    route of table main that sends packets nowhere, and they send again and again what does not leave; or, \
                    without a default route, IpOutNoRoutes grows. A weak sign where there is a default route, and no rule nor a \
                    route that sends packets nowhere came in the minute before: then it may be meant.",
        meaning: "No route leads to the peers of open connections, or to anybody: the default route, or that of a network, was \
                  lost, often with the address that it went with.",
        check: &["ip route", "ip -6 route", "ip rule", "ip -br link"],
        mend: &[
            "Put the route or the rule back, or set the device up, that the checks show to be missing. Risk: low, where \
             it is what was there before.",
        ],
    },
    examine: |view| no_route(view.model),
    explains: effects::no_way,
    proved_by: effects::way_out_lost,
    follows: &["R01", "R05", "R22", "R24", "R31", "R39"],
};

/// One such packet may be the last word of a connection whose network was taken away on purpose.
const PACKETS: u64 = 3;
/// What is so by now was so at the start.
const AT_START: u64 = 2 * SECOND;
/// They must span this time.
const LASTING: u64 = SECOND;

fn lasts(spell: &Spell) -> bool {
    spell.lasts(PACKETS, LASTING)
}

/// The default route is not there, and one was seen or is expected.
fn has_no_default(model: &Model, netns: u32, version: Version) -> bool {
    let standing = model.settings().invariants().default_route(netns, version);
    standing.is_some_and(|standing| standing.state != State::Holds)
}

/// Spells in which a namespace had no route for what its sockets were to send, and went on since it has lost its default route;
/// with since when both are so.
fn since_default_was_lost(model: &Model) -> Vec<(u32, Version, Spell, u64)> {
    let all = model.settings().invariants().iter(model.now());
    all.filter_map(|(netns, invariant, standing)| {
        let Invariant::DefaultRoute(version) = *invariant else {
            return None;
        };
        let lost = standing.since.filter(|_| standing.state != State::Holds)?;
        let spell = model.counters().no_route(netns, version, model.now())?;
        let since = spell.since.max(lost);
        lasts(&Spell { since, ..spell }).then_some((netns, version, spell, since))
    })
    .collect()
}

/// When this namespace lost its default route: what had no route before that had none for another reason.
fn lost_default(model: &Model, netns: u32) -> Option<u64> {
    let all = model.settings().invariants().iter(model.now());
    let lost = all.filter_map(|(of, invariant, standing)| {
        let is_it = of == netns && matches!(invariant, Invariant::DefaultRoute(_));
        standing.since.filter(|_| is_it && standing.state != State::Holds)
    });
    lost.min()
}

/// Namespaces without a default route in which packets of sockets have no route; with when that began.
fn without_default(model: &Model) -> Vec<(u32, Version, Spell)> {
    let all = model.settings().invariants().iter(model.now());
    all.filter_map(|(netns, invariant, standing)| {
        let Invariant::DefaultRoute(version) = *invariant else {
            return None;
        };
        let spell = model.counters().no_route(netns, version, model.now())?;
        let is_one = standing.state != State::Holds && lasts(&spell);
        is_one.then_some((netns, version, spell))
    })
    .collect()
}

/// Which default route is not there in one of these namespaces, in a sentence.
fn standing(model: &Model, namespaces: &BTreeSet<u32>) -> Option<String> {
    let mut missing =
        model
            .settings()
            .invariants()
            .iter(model.now())
            .filter(|(netns, invariant, standing)| {
                standing.state != State::Holds
                    && standing.since.is_none()
                    && matches!(invariant, Invariant::DefaultRoute(_))
                    && namespaces.contains(netns)
            });
    let (netns, invariant, _) = missing.next()?;
    let text = super::report::invariant_text(model, netns, invariant, false);
    Some(format!("{}.", super::words::capital(&text)))
}

/// A weak sign where there is a default route, or it is not known: which peers are meant to be reached is not, and what is not
/// sent says nothing of them.
fn no_route(model: &Model) -> Option<Finding> {
    let now = model.now();
    let dropped: Vec<_> = model
        .books()
        .signs(Sign::Unroutable, now)
        .map(|(netns, _, spell)| {
            let lost = lost_default(model, netns).filter(|lost| *lost <= spell.last);
            let since = lost.map_or(spell.since, |lost| spell.since.max(lost));
            (netns, Spell { since, ..spell })
        })
        .filter(|(_, spell)| lasts(spell))
        .collect();
    let counted = since_default_was_lost(model);
    let without = without_default(model);
    let of: Vec<(u32, Version)> = without
        .iter()
        .map(|(netns, version, _)| (*netns, *version))
        .collect();
    let stranded = Stranded::of(model, &of, |netns| lost_default(model, netns));
    let is_stranded = |netns: u32| stranded.peers.keys().any(|(of, _)| *of == netns);
    let namespaces: BTreeSet<u32> = dropped
        .iter()
        .map(|(netns, _)| *netns)
        .chain(counted.iter().map(|(netns, ..)| *netns))
        .chain(stranded.peers.keys().map(|(netns, _)| *netns))
        .collect();
    let spells = || {
        let dropped = dropped.iter().map(|(_, spell)| (spell.since, spell.last));
        let without = without.iter().filter(|(netns, ..)| is_stranded(*netns));
        dropped
            .chain(counted.iter().map(|(_, _, spell, since)| (*since, spell.last)))
            .chain(without.map(|(.., spell)| (spell.since, spell.last)))
            .chain(stranded.since.map(|since| (since, model.now())))
    };
    let since = spells().map(|(since, _)| since).min()?;
    // Before the start, or so that nobody saw it come.
    let is_old = since <= model.started().saturating_add(AT_START);
    let last = spells().map(|(_, last)| last).max()?;
    let lines = || {
        let lines = model.books().lines();
        lines.filter(|(key, line)| {
            ends::unroutable(key) && line.packets > 0 && line.last >= since && namespaces.contains(&key.netns)
        })
    };
    let is_lost = !counted.is_empty()
        || stranded.is_sure()
        || lines().any(|(key, _)| has_no_default(model, key.netns, ends::unroutable_version(key)));
    let owners = distinct(lines().filter_map(|(key, _)| {
        let owner = model.books().sighting(key)?.owner_since(since)?;
        Some(super::words::owner(owner))
    }));
    let of = if owners.is_empty() {
        String::new()
    } else {
        format!(" Some of them were of {}.", list(&owners))
    };
    let mut explanation = Vec::new();
    let packets = dropped
        .iter()
        .fold(0, |sum: u64, (_, spell)| sum.saturating_add(spell.packets));
    if packets > 0 {
        explanation.push(format!(
            "{} of TCP connections {} could not be sent, because the kernel found no way to their peers: no route, one that leads \
             nowhere, or a policy of IPsec that forbids it.{of}",
            count(packets, "packet"),
            whose(model, &dropped.iter().map(|(netns, _)| *netns).collect()),
        ));
    }
    for (netns, version, spell, _) in &counted {
        explanation.push(format!(
            "{} that all packets are looked up in has a default route of {version} any more, and the kernel had no route {} for what \
             was to be sent since {}.",
            if model.node().several() {
                format!("In {} no table", model.node().netns_label(*netns))
            } else {
                "No table".to_owned()
            },
            count(spell.packets, "time"),
            moment(model, spell.since)
        ));
    }
    explanation.extend(stranded.told());
    let counters = counted.iter().map(|(_, version, spell, _)| {
        let (_, name) = no_route_counter(*version);
        let text = format!(
            "{name} grew by {} since {}",
            thousands(spell.packets),
            moment(model, spell.since)
        );
        evidence::counter(name, spell.packets, text)
    });
    let evidence = stranded
        .evidence()
        .into_iter()
        .chain(counters)
        .chain(evidence::unsent(
            lines().map(|(key, line)| (key, line.packets)),
            |key| Some(ends::unroutable_version(key)),
        ))
        .take(5)
        .collect();
    let lines_of = namespaces.iter().take(3);
    let check = stranded
        .check(model)
        .into_iter()
        .chain(lines_of.flat_map(|netns| {
            [
                "ip route",
                "ip -6 route",
                "ip rule",
                "ip -br link",
                "ip xfrm policy",
            ]
            .map(|line| command(model, *netns, line))
        }))
        .collect();
    let flows = flows(
        &stranded,
        since,
        lines().filter_map(|(key, _)| model.books().sighting(key)),
    );
    let flows = if !flows.is_empty() {
        flows.into()
    } else {
        let versions: BTreeSet<Version> = lines()
            .map(|(key, _)| ends::unroutable_version(key))
            .chain(counted.iter().map(|(_, version, ..)| *version))
            .collect();
        untold(&versions, dropped.is_empty())
    };
    let mut remedy = stranded.remedy(model);
    remedy.push(
        "Put the route or the rule back, or set the device up, that the checks show to be missing. Risk: low, \
         where it is what was there before."
            .to_owned(),
    );
    let mut finding = Finding {
        confidence: if is_lost {
            Confidence::Strong
        } else {
            Confidence::Weak
        },
        explanation: explanation.join(" "),
        since,
        last,
        evidence,
        flows,
        namespaces: namespaces.clone(),
        standing: standing(model, &namespaces)
            .or(stranded.standing().filter(|_| is_old && stranded.is_sure())),
        devices: BTreeSet::new(),
        units: distinct(lines().flat_map(|(key, _)| {
            let sighting = model.books().sighting(key).into_iter();
            sighting.flat_map(|sighting| sighting.units.since(since).cloned())
        })),
        prevent: Vec::new(),
        check,
        remedy,
    };
    if stranded.since == Some(since) && !is_old {
        finding.since = lost_way(model, &mut finding).unwrap_or(since);
    }
    Some(finding)
}

/// When the way was lost, where it is by connections that send again alone that this is found, and they did so before for another
/// reason. `None` where it was lost before they did, or nobody saw it.
fn lost_way(model: &Model, finding: &mut Finding) -> Option<u64> {
    if pairing::brought_about(model, &NO_ROUTE, finding).is_some() {
        return None;
    }
    let since = std::mem::replace(&mut finding.since, model.now());
    let lost = pairing::brought_about(model, &NO_ROUTE, finding);
    finding.since = since;
    lost.filter(|lost| *lost > since)
}

/// Those that are known of which packets have no route since then.
fn flows<'a>(stranded: &Stranded<'_>, since: u64, seen: impl Iterator<Item = &'a Sighting>) -> Vec<FlowKey> {
    let seen = seen.flat_map(|sighting| sighting.wayless_since(since));
    let all: BTreeSet<FlowKey> = stranded.flows.iter().map(|one| one.key).chain(seen).collect();
    all.into_iter().collect()
}

/// Those of these versions. Where it is `by_default` alone that they are known, it was the default route that led them.
fn untold(versions: &BTreeSet<Version>, by_default: bool) -> Sufferers {
    let version = versions.first().copied().filter(|_| versions.len() == 1);
    let flows = Sufferers::untold(version);
    if !by_default {
        return flows;
    }
    let any = versions.iter().map(|version| version.any());
    flows.with_remotes(Addresses::of(any))
}
