//! Forwarding was switched off on a node that forwards.

use std::collections::BTreeSet;

use super::{affected, is_foreign};
use crate::diagnosis::words::{command, count, distinct, list, moment};
use crate::diagnosis::{About, Finding, Rule, View, effects, evidence};
use crate::event::{FlowKey, Thing, Version};
use crate::model::clock::SECOND;
use crate::model::ends::Sign;
use crate::model::settings::Difference;
use crate::report::{Confidence, Where};

/// K03: what was passed on before is dropped, since forwarding is off.
pub(in crate::diagnosis) const OFF: Rule = Rule {
    id: "K03",
    slug: "forwarding-off",
    title: "Forwarding was switched off, and packets for others are dropped",
    place: Some(Where::GuestKernel),
    about: About {
        signature: "ip_forward, or its twin of IPv6, was set to 0 while tracer looked, and packets for others are dropped for \
                    IP_INADDRERRORS since, at ip_error() or ip6_forward().",
        meaning: "The kernel passes nothing on any more, neither to pods nor from them; the node's own traffic works. Often a file \
                  in /etc/sysctl.d was applied anew, as by an upgrade of what owns it.",
        check: &[
            "sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding",
            "grep -r forward /etc/sysctl.d /usr/lib/sysctl.d /run/sysctl.d /etc/sysctl.conf",
        ],
        mend: &[
            "sysctl -w net.ipv4.ip_forward=1  # Risk: low, where it was so before. Lasts until the settings are loaded again.",
            "sysctl -w net.ipv6.conf.all.forwarding=1  # Risk: the same; and routes of router advertisements go, where accept_ra \
             is not 2.",
        ],
    },
    examine: off,
    explains: effects::forwarding_off,
    proved_by: effects::none,
    follows: &[],
};

/// Packets that must have been lost, and the time that they must span.
const PACKETS: u64 = 3;
const LASTING: u64 = SECOND;

/// The version that this parameter switches forwarding of. Those of single devices are left out: that of IPv6 does not stop
/// it, and whether the packets of a device that has it off are meant to be forwarded is not known.
fn version(thing: &Thing) -> Option<Version> {
    let Thing::Sysctl { name } = thing else {
        return None;
    };
    match name.as_str() {
        "net.ipv4.conf.all.forwarding" => Some(Version::V4),
        "net.ipv6.conf.all.forwarding" => Some(Version::V6),
        _ => None,
    }
}

fn off(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    let now = model.now();
    let is_off = |difference: &Difference| {
        difference.now.as_deref() == Some("0")
            && difference.before.as_deref().is_some_and(|before| before != "0")
    };
    let switched: Vec<(u32, &Thing, &Difference, Version)> = model
        .settings()
        .differences()
        .filter(|(.., difference)| is_off(difference))
        .filter_map(|(netns, thing, difference)| Some((netns, thing, difference, version(thing)?)))
        .collect();
    let is_switched = |netns: u32, version: Version| {
        let its = |one: &&(u32, &Thing, &Difference, Version)| one.0 == netns && one.3 == version;
        switched.iter().any(|one| its(&one))
    };
    let first = switched.iter().map(|(_, _, difference, _)| difference.at).min()?;
    let flows: Vec<FlowKey> = view
        .befallen()
        .dropped_by(|reason, _| reason == "IP_INADDRERRORS")
        .filter(|plight| plight.dropped.is_some_and(|spell| spell.last >= first) && plight.iif != 0)
        .map(|plight| plight.key)
        .filter(|key| {
            is_switched(key.netns, Version::of(key.local)) && is_foreign(model, key.netns, key.local)
        })
        .collect();
    let concerned: BTreeSet<u32> = flows.iter().map(|flow| flow.netns).collect();
    let spells: Vec<_> = model
        .books()
        .signs(Sign::NotForwarded, now)
        .filter(|(netns, ..)| concerned.contains(netns))
        .collect();
    let spell = spells
        .iter()
        .map(|(.., spell)| *spell)
        .reduce(crate::model::growth::Spell::and)?;
    if !spell.lasts(PACKETS, LASTING) {
        return None;
    }
    let of_it = || switched.iter().filter(|(netns, ..)| concerned.contains(netns));
    let at = of_it().map(|(_, _, difference, _)| difference.at).min()?;
    let versions = distinct(of_it().map(|(.., version)| version.to_string()));
    let places = spells
        .iter()
        .map(|(netns, device, _)| (*netns, *device))
        .collect();
    let netns = *concerned.first()?;
    let line = |text: &str| command(model, netns, text);
    let settings = |version: Version| match version {
        Version::V4 => "net.ipv4.ip_forward",
        Version::V6 => "net.ipv6.conf.all.forwarding",
    };
    let names = distinct(of_it().map(|(.., version)| settings(*version).to_owned()));
    Some(Finding {
        confidence: Confidence::Strong,
        explanation: format!(
            "Forwarding of {} was switched off at {}; {} for others that arrived since {} were dropped.{}",
            list(&versions),
            moment(model, at),
            count(spell.packets, "packet"),
            moment(model, spell.since),
            affected(&flows)
        ),
        since: spell.since.max(at),
        last: spell.last,
        evidence: of_it()
            .take(3)
            .map(|(_, thing, difference, _)| {
                let before = difference.before.as_deref().unwrap_or_default();
                let how = format!("0, was {before} until {}", moment(model, difference.at));
                evidence::state(thing.to_string(), how)
            })
            .chain(
                evidence::at_devices(model, Sign::NotForwarded, &places)
                    .into_iter()
                    .take(4),
            )
            .collect(),
        flows: flows.into(),
        namespaces: concerned.clone(),
        devices: BTreeSet::new(),
        units: Vec::new(),
        standing: None,
        prevent: Vec::new(),
        check: names.iter().map(|name| line(&format!("sysctl {name}"))).collect(),
        remedy: names
            .iter()
            .map(|name| {
                format!(
                    "{}  # Risk: low, it was so before. Lasts until the settings are loaded again.",
                    line(&format!("sysctl -w {name}=1"))
                )
            })
            .collect(),
    })
}
