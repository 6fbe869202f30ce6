//! What this node's own sockets send has no route.

use super::words::{command, count, distinct, list};
use super::{About, Finding, Rule, effects, evidence};
use crate::model::Model;
use crate::model::clock::SECOND;
use crate::model::ends;
use crate::model::growth::Spell;
use crate::model::invariants::{Invariant, State};
use crate::report::{Confidence, Where};

/// R04: a route is missing for what this node sends.
pub(super) const NO_ROUTE: Rule = Rule {
    id: "R04",
    slug: "no-route",
    title: "What this node sends has no route",
    place: Some(Where::GuestKernel),
    about: About {
        signature: "Packets of this node's own sockets are dropped for IP_OUTNOROUTES.",
        meaning: "No route leads to the peers of open connections: the default route, or that of a network, was lost.",
        check: &["ip route", "ip -6 route", "ip rule", "ip -br link"],
        mend: &[
            "Put the route or the rule back, or set the device up, that the checks show to be missing. Risk: low, where \
             it is what was there before.",
        ],
    },
    examine: |view| no_route(view.model),
    explains: effects::way_out,
    proved_by: effects::way_out_lost,
    follows: &["R01", "R05", "R22"],
};

/// One such packet may be the last word of a connection whose network was taken away on purpose.
const PACKETS: u64 = 3;
/// They must span this time.
const LASTING: u64 = SECOND;

/// A namespace of these has no default route, in a sentence.
fn no_default(model: &Model, spells: &[(u32, Spell)]) -> Option<String> {
    let mut missing =
        model
            .settings()
            .invariants()
            .iter(model.now())
            .filter(|(netns, invariant, standing)| {
                standing.state == State::Missing
                    && matches!(invariant, Invariant::DefaultRoute(_))
                    && spells.iter().any(|(of, _)| of == netns)
            });
    let (netns, invariant, _) = missing.next()?;
    let text = super::report::invariant_text(model, netns, invariant, false);
    Some(format!("{}.", super::words::capital(&text)))
}

/// A weak sign: which peers are meant to be reached is not known, and what is not sent says nothing of them.
fn no_route(model: &Model) -> Option<Finding> {
    let now = model.now();
    let spells: Vec<_> = model
        .books()
        .unroutable(now)
        .filter(|(_, spell)| spell.packets >= PACKETS && spell.last.saturating_sub(spell.since) >= LASTING)
        .collect();
    let since = spells.iter().map(|(_, spell)| spell.since).min()?;
    let last = spells.iter().map(|(_, spell)| spell.last).max()?;
    let packets = spells
        .iter()
        .map(|(_, spell)| spell.packets)
        .fold(0, u64::saturating_add);
    let lines = || {
        model.books().lines().filter(|(key, line)| {
            let told = |(netns, _): &(u32, _)| *netns == key.netns;
            ends::unroutable(key) && line.packets > 0 && spells.iter().any(told)
        })
    };
    let owners = distinct(lines().filter_map(|(key, _)| {
        let owner = model.books().sighting(key)?.owner.as_ref()?;
        Some(super::words::owner(owner))
    }));
    let of = if owners.is_empty() {
        String::new()
    } else {
        format!(" The last of them was of {}.", list(&owners))
    };
    let evidence = lines()
        .map(|(key, line)| {
            let place = key.location.as_ref().map(ToString::to_string).unwrap_or_default();
            let text = format!(
                "{} at {place}: {} that this node was sending",
                ends::reason(key),
                count(line.packets, "packet")
            );
            evidence::dropped(key, line.packets, text)
        })
        .take(5)
        .collect();
    let check = spells
        .iter()
        .take(3)
        .flat_map(|(netns, _)| {
            ["ip route", "ip -6 route", "ip rule", "ip -br link"].map(|line| command(model, *netns, line))
        })
        .collect();
    Some(Finding {
        confidence: Confidence::Weak,
        explanation: format!(
            "{} of open connections of this node could not be sent, because no route leads to their peers.{of}",
            count(packets, "packet")
        ),
        since,
        last,
        evidence,
        flows: Vec::new(),
        namespaces: spells.iter().map(|(netns, _)| *netns).collect(),
        standing: no_default(model, &spells),
        units: distinct(lines().flat_map(|(key, _)| {
            let units = model.books().sighting(key).map(|sighting| &sighting.units);
            units.into_iter().flatten().cloned()
        })),
        check,
        remedy: vec![
            "Put the route or the rule back, or set the device up, that the checks show to be missing. Risk: low, \
             where it is what was there before."
                .to_owned(),
        ],
    })
}
