//! What a network manager took away when it was started anew.

use std::collections::BTreeSet;

use super::sufferers::Sufferers;
use super::undo::Later;
use super::words::{command, count, list, moment};
use super::{About, Finding, Rule, View, effects, evidence};
use crate::event::Thing;
use crate::model::clock::SECOND;
use crate::model::timeline::{Change, Subject};
use crate::model::units::Begun;
use crate::report::Confidence;

/// R02: it removed what it did not own.
pub(super) const REMOVED: Rule = Rule {
    id: "R02",
    slug: "manager-removed",
    title: "A network manager was started and removed rules, routes or addresses",
    place: None,
    about: About {
        signature: "Within 5 s after a start of systemd-networkd, NetworkManager or ifupdown, rules, routes or addresses went \
                    away by its hand, and are still missing.",
        meaning: "When it starts, a network manager may take away what it finds and did not set itself: systemd-networkd removes \
                  foreign rules and routes by default (ManageForeignRoutingPolicyRules=, ManageForeignRoutes=). Network \
                  plugins, VPNs and policy routing set such.",
        check: &[
            "journalctl -u systemd-networkd -n 50",
            "networkctl status",
            "systemd-analyze cat-config systemd/networkd.conf  # ManageForeignRoutingPolicyRules, ManageForeignRoutes",
        ],
        mend: &[
            "Put back what the verdict lists, or restart the agent that had set it. Risk: low, where it is what was there before.",
            "Set ManageForeignRoutingPolicyRules=no and ManageForeignRoutes=no in a file in /etc/systemd/networkd.conf.d/ \
             (section [Network]). Risk: rules and routes that others forget stay.",
        ],
    },
    examine: removed,
    explains: effects::unit_ended,
    proved_by: effects::none,
    follows: &["R01", "R03", "R04", "R05", "R22", "R33", "D01"],
};

/// What is removed so soon after its start is removed because of it.
const STARTING: u64 = 5 * SECOND;

/// Units that keep the network's configuration.
const MANAGERS: [&str; 5] = [
    "systemd-networkd.service",
    "NetworkManager.service",
    "networking.service",
    "netplan-configure.service",
    "wicked.service",
];

/// This unit keeps the network's configuration.
pub(super) fn is_one(unit: &str) -> bool {
    MANAGERS.contains(&unit)
}

fn removed(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    let mut gone: Vec<(u32, &Thing, &Change, &str)> = model
        .timeline()
        .all()
        .filter_map(|(_, change)| {
            let Subject::Setting(netns, thing) = &change.subject else {
                return None;
            };
            let counts = matches!(
                thing,
                Thing::Rule { .. } | Thing::Route { .. } | Thing::Address { .. }
            );
            let unit = change.by.as_ref().map(|by| by.unit.as_str())?;
            let is_missing =
                change.after.is_none() && model.settings().value(*netns, thing.clone()).is_none();
            let begun = model.units().begun(unit, change.at)?.at;
            let is_its_start = change.at.saturating_sub(begun) <= STARTING;
            (counts && is_missing && is_its_start && is_one(unit)).then_some((*netns, thing, change, unit))
        })
        .collect();
    let from = gone.iter().map(|(_, _, change, _)| change.at).min()?;
    let later = Later::of(model, from);
    // What another one does as well is not missed.
    gone.retain(|(_, _, change, _)| !later.is_back(change));
    let (netns, _, first, unit) = *gone.first()?;
    let of_it: Vec<_> = gone.iter().filter(|(_, _, _, of)| *of == unit).collect();
    let number = |is: fn(&Thing) -> bool| of_it.iter().filter(|(_, thing, ..)| is(thing)).count() as u64;
    let counts = [
        (number(|thing| matches!(thing, Thing::Rule { .. })), "rule"),
        (number(|thing| matches!(thing, Thing::Route { .. })), "route"),
        (number(|thing| matches!(thing, Thing::Address { .. })), "address"),
    ];
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, noun)| count(number, noun))
        .collect();
    let Begun { at: begun, anew } = model.units().begun(unit, first.at)?;
    let prevent = "Set ManageForeignRoutingPolicyRules=no and ManageForeignRoutes=no in a file in /etc/systemd/networkd.conf.d/ \
                   (section [Network]), where it is systemd-networkd: it then leaves those of others alone. Risk: what others \
                   forget stays.";
    Some(Finding {
        // By itself it says nothing of packets: what was removed may be missed by nobody.
        confidence: if model.starves() {
            Confidence::Strong
        } else {
            Confidence::Weak
        },
        explanation: format!(
            "{unit} was started{} at {} and removed {}, which {} still missing.",
            if anew { " anew" } else { "" },
            moment(model, begun),
            list(&counts),
            if of_it.len() == 1 { "is" } else { "are" }
        ),
        since: first.at,
        // It is missing still.
        last: model.now(),
        evidence: of_it
            .iter()
            .take(5)
            .map(|(_, thing, change, _)| {
                evidence::state(
                    thing.to_string(),
                    format!("removed at {}", moment(model, change.at)),
                )
            })
            .collect(),
        flows: Sufferers::default(),
        namespaces: of_it.iter().map(|(netns, ..)| *netns).collect::<BTreeSet<u32>>(),
        units: vec![unit.to_owned()],
        standing: None,
        devices: BTreeSet::new(),
        prevent: vec![prevent.to_owned()],
        check: vec![
            format!("journalctl -u {unit} -n 50"),
            command(model, netns, "ip rule"),
            command(model, netns, "ip route"),
        ],
        remedy: of_it
            .iter()
            .filter_map(|(_, _, change, _)| later.one(change))
            .flatten()
            .take(5)
            .collect(),
    })
}
