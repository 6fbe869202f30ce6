//! The way to peers that was changed on this node itself: a route, a rule, or the link-layer address of a next hop.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::hops::goes_by;
use super::pairing::{self, WINDOW};
use super::path::{self, ARRIVALS};
use super::sufferers::Sufferer;
use super::suffering::Suffering;
use super::words::{command, distinct, ip, list, moment};
use super::{About, Finding, Rule, View, effects, evidence};
use crate::event::{TABLE_MAIN, Thing, Version, value};
use crate::model::clock::SECOND;
use crate::model::plight::Plight;
use crate::model::timeline::{Change, Subject};
use crate::report::{Confidence, Where};
use crate::shell::quoted;

/// R37: the way out leads elsewhere than before.
pub(super) const CHANGED: Rule = Rule {
    id: "R37",
    slug: "way-changed",
    title: "The way to its peers was changed on this node, and nothing comes back since",
    place: Some(Where::GuestKernel),
    about: About {
        signature: "Peers that answered are silent since a route to them came or leads elsewhere, since a rule for all packets came, or \
                    since the entry of the neighbour by which they are reached was set by hand (PERMANENT) with another link-layer \
                    address than before.",
        meaning: "What is sent leaves by another device, to another gateway, from another address, or with a link-layer address that \
                  is nobody's: it reaches nobody, or nobody who answers. The kernel does not ask for a neighbour that was set by \
                  hand.",
        check: &[
            "ip route get PEER",
            "ip rule; ip route show table all",
            "ip neigh show nud permanent",
            "arping -I DEVICE ADDRESS  # who answers, and by which link-layer address",
        ],
        mend: &[
            "ip route del, or replace, what was changed, as the verdict says. Risk: low where it was not so before.",
            "ip neigh del ADDRESS dev DEVICE  # Risk: low, the kernel asks for it anew.",
        ],
    },
    examine: changed,
    explains: effects::led_astray,
    proved_by: effects::none,
    follows: &["R04", "R22", "D02", "R36"],
};

/// A change of the way, and the flows that are silent since.
struct Case<'a> {
    netns: u32,
    change: &'a Change,
    asking: Vec<path::Asking<'a>>,
}

impl<'a> Case<'a> {
    /// A change by which packets go another way than before, and so it stood until the next one.
    fn of(view: &View<'a>, change: &'a Change, next: Option<u64>) -> Option<Self> {
        let Subject::Setting(netns, thing) = &change.subject else {
            return None;
        };
        if !effects::leads_astray(change) || !is_of_uplink(view, *netns, thing) || stood_before(view, change)
        {
            return None;
        }
        let silences = view.model.silences().all();
        let is_its = |(plight, place): &path::Asking<'a>| {
            let Some((_, silence)) = silences.get(*place) else {
                return false;
            };
            // What left just before may be lost with it.
            let is_after = silence.since.saturating_add(SECOND) >= change.at
                && silence.since <= change.at.saturating_add(WINDOW)
                && next.is_none_or(|next| silence.since < next);
            // Who never answered may not be there at all. By a neighbour goes nearly everything.
            let is_known = matches!(thing, Thing::Neighbour { .. }) || silence.proven || plight.has_arrived;
            is_after && is_known && plight.key.netns == *netns && leads(view, thing, plight)
        };
        let plights = view.model.plights().iter();
        let all = plights.filter_map(|plight| path::silent_flow(view.model, plight));
        let asking: Vec<path::Asking<'a>> = all.filter(is_its).collect();
        (!asking.is_empty()).then_some(Self {
            netns: *netns,
            change,
            asking,
        })
    }

    /// What is to be looked at, and what takes it back where the kernel alone knows better.
    fn commands(&self, peer: IpAddr) -> (Vec<String>, Vec<String>) {
        match &self.change.subject {
            Subject::Setting(_, Thing::Neighbour { device, address }) => {
                let (ip, device) = (ip(*address), quoted(device));
                (
                    vec![
                        format!("{ip} neigh show dev {device}"),
                        format!(
                            "arping -c 2 -I {device} {address}  # who answers, where arping is installed"
                        ),
                    ],
                    vec![format!(
                        "{ip} neigh del {address} dev {device}  # Risk: low, the kernel asks for it anew."
                    )],
                )
            }
            _ => {
                let ip = ip(peer);
                (
                    vec![
                        format!("{ip} route get {peer}"),
                        format!("{ip} rule"),
                        format!("{ip} route show table all"),
                    ],
                    Vec::new(),
                )
            }
        }
    }
}

/// A neighbour is on an uplink. Routes and rules lead anywhere.
fn is_of_uplink(view: &View<'_>, netns: u32, thing: &Thing) -> bool {
    let node = view.model.node();
    match thing {
        Thing::Neighbour { device, .. } => node
            .device_named(netns, device)
            .is_some_and(|device| node.is_over_uplink(netns, device.index)),
        _ => true,
    }
}

/// A route that came leads as another one to the same network does or did until just now: one with another metric, or the same one,
/// set anew as by whoever configures the device once more. The same of a rule.
fn stood_before(view: &View<'_>, change: &Change) -> bool {
    let (Subject::Setting(netns, thing), None, Some(now)) = (&change.subject, &change.before, &change.after)
    else {
        return false;
    };
    let is_alike = |other: &Thing, value: &str| match (thing, other) {
        (
            Thing::Route {
                destination, prefix, ..
            },
            Thing::Route {
                table: TABLE_MAIN,
                destination: to,
                prefix: of,
                ..
            },
        ) => (destination, prefix) == (to, of) && value::leads_alike(value, now),
        (
            Thing::Rule { version, text, .. },
            Thing::Rule {
                version: of,
                text: other,
                ..
            },
        ) => (version, text) == (of, other),
        _ => false,
    };
    let mut stands = view.model.settings().iter();
    let mut went = view.model.timeline().all().map(|(_, other)| other);
    stands.any(|(of, other, value)| of == *netns && other != thing && is_alike(other, value))
        || went.any(|other| {
            let was = || other.before.as_deref();
            other.at <= change.at
                && other.at.saturating_add(WINDOW) >= change.at
                && matches!(&other.subject, Subject::Setting(of, thing)
                    if of == netns && was().is_some_and(|was| is_alike(thing, was)))
        })
}

/// What is for the flow's peer goes by this thing.
fn leads(view: &View<'_>, thing: &Thing, plight: &Plight) -> bool {
    let (netns, remote) = (plight.key.netns, plight.key.remote);
    let settings = view.model.settings();
    match thing {
        Thing::Neighbour { address, .. } => goes_by(view.model, netns, remote, *address),
        Thing::Route {
            destination, prefix, ..
        } => {
            let is_narrower = || {
                let route = settings.route(netns, remote);
                route.is_some_and(|(other, _)| other > *prefix)
            };
            effects::covers(*destination, *prefix, remote) && !is_narrower()
        }
        Thing::Rule { version, .. } => Version::of(remote) == *version,
        _ => false,
    }
}

fn changed(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    if !model.can(ARRIVALS) || model.silences().all().is_empty() {
        return None;
    }
    let mut next: BTreeMap<&Subject, u64> = BTreeMap::new();
    let mut changes = model.timeline().all().rev().map(|(_, change)| change);
    let case = changes.find_map(|change| {
        let next = next.insert(&change.subject, change.at);
        Case::of(view, change, next)
    })?;
    let silences = path::silences(model, case.asking.iter().map(|(_, place)| *place));
    let since = silences.iter().map(|(_, silence)| silence.since).min()?;
    let ended = silences
        .iter()
        .try_fold(0, |last: u64, (_, silence)| Some(last.max(silence.until?)));
    let suffering = Suffering::of(case.asking.iter().map(|(plight, _)| Sufferer::from(*plight)));
    let peers = distinct(silences.iter().map(|(peer, _)| peer.address.to_string()));
    let until = if ended.is_some() {
        ", until something did"
    } else {
        ""
    };
    let (to, why) = match &case.change.subject {
        Subject::Setting(_, Thing::Neighbour { address, .. }) => {
            let is_peer = silences.iter().all(|(peer, _)| peer.address == *address);
            let to = if is_peer {
                String::new()
            } else {
                format!("; it is the next hop to {}", list(&peers))
            };
            let why = "what leaves with a link-layer address that is not the neighbour's reaches nobody, and the kernel does not ask \
                       for one that was set by hand";
            (to, why)
        }
        _ => (
            format!("; by it goes what is for {}", list(&peers)),
            "what is sent goes another way than before, and reaches nobody who answers",
        ),
    };
    let evidence = match &case.change.subject {
        Subject::Setting(netns, thing) => {
            let stands = model.settings().value(*netns, thing.clone());
            Some(evidence::state(
                thing.to_string(),
                stands.unwrap_or("not there").to_owned(),
            ))
        }
        _ => None,
    };
    let (check, remedy) = case.commands(silences.first()?.0.address);
    let line = |text: String| command(model, case.netns, &text);
    let namespaces = BTreeSet::from([case.netns]);
    Some(Finding {
        confidence: Confidence::Strong,
        explanation: format!(
            "The {}, at {}{to}. Since then nothing has come back from there{until}: {why}.{}",
            pairing::sentence(case.change),
            moment(model, case.change.at),
            suffering.affected()
        ),
        since,
        last: ended.unwrap_or(model.now()),
        evidence: evidence
            .into_iter()
            .chain(
                silences
                    .iter()
                    .take(4)
                    .map(|(peer, silence)| path::endpoint(model, *peer, *silence)),
            )
            .collect(),
        units: suffering.units([]),
        flows: suffering.flows,
        devices: path::uplinks(model, &namespaces),
        namespaces,
        standing: None,
        prevent: Vec::new(),
        check: check.into_iter().map(line).collect(),
        remedy: remedy.into_iter().map(line).collect(),
    })
}
