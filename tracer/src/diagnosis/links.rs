//! All uplinks of the node are down: nothing leaves and nothing arrives.

use std::collections::BTreeSet;

use super::sufferers::Sufferer;
use super::suffering::Suffering;
use super::words::{command, count, list};
use super::{About, Finding, Rule, View, effects, evidence};
use crate::event::{Device, Thing, value};
use crate::model::Model;
use crate::model::clock::SECOND;
use crate::model::timeline::Subject;
use crate::report::{Confidence, Where};
use crate::shell::quoted;

/// R22: the uplinks are set down.
pub(super) const DOWN: Rule = Rule {
    id: "R22",
    slug: "uplink-down",
    title: "The node's uplink is down",
    place: Some(Where::GuestKernel),
    about: About {
        signature: "Nothing arrives, and every uplink that has an address, or the device on it that has, is down; at least one was set so.",
        meaning: "Nothing leaves and nothing arrives. Somebody set the device down, or it was renamed or made anew and its \
                  configuration goes by the old name, as after a restart of udev. Its routes are gone with it.",
        check: &[
            "ip -d link show dev DEVICE",
            "networkctl status DEVICE",
            "journalctl -k -n 50  # `renamed from`",
        ],
        mend: &[
            "ip link set dev DEVICE up  # Risk: low. Routes that went with it must be set again: networkctl reconfigure DEVICE.",
        ],
    },
    examine: |view| down(view, true),
    explains: effects::link_down,
    proved_by: effects::none,
    follows: &[],
};

/// D02: the uplinks have no carrier.
pub(super) const NO_CARRIER: Rule = Rule {
    id: "D02",
    slug: "no-carrier",
    title: "The node's uplink has no carrier",
    place: Some(Where::DataPath),
    about: About {
        signature: "Nothing arrives, and every uplink that has an address, or the device on it that has, is up and has no carrier.",
        meaning: "There is nothing at the other end of the cable, or of the hypervisor's virtual one.",
        check: &[
            "ip -d link show dev DEVICE",
            "ethtool DEVICE",
            "journalctl -k -n 50",
        ],
        mend: &["This is for whoever runs the network or the hypervisor. Risk: none."],
    },
    examine: |view| down(view, false),
    explains: effects::link_down,
    proved_by: effects::none,
    follows: &[],
};

/// Nothing has arrived for so long.
const QUIET: u64 = SECOND / 2 * 3;

fn down(view: &View<'_>, set: bool) -> Option<Finding> {
    let model = view.model;
    // What arrives has come by something that works.
    let arrived = model.totals().ledger.arrived;
    let before = model.history().at(model.now().saturating_sub(QUIET));
    if arrived > before.ledger.arrived {
        return None;
    }
    let own = model.node().own();
    let all: Vec<(&Device, &str)> = own
        .iter()
        .flat_map(|netns| model.node().faces(*netns))
        .map(|device| Some((device, model.settings().value(device.netns, thing(device))?)))
        .collect::<Option<_>>()?;
    // A device that was never set up may be down for ever.
    let has_some = all.iter().any(|(device, _)| !device.addresses.is_empty());
    let faces = all
        .into_iter()
        .filter(|(device, _)| !has_some || !device.addresses.is_empty());
    let faces: Vec<(&Device, &str)> = faces.collect();
    let works = |(_, now): &&(&Device, &str)| value::is_up(now) && value::has_carrier(now);
    if faces.is_empty() || faces.iter().any(|face| works(&face)) {
        return None;
    }
    let is_set = |(_, now): &&(&Device, &str)| !value::is_up(now);
    if faces.iter().any(|face| is_set(&face)) != set {
        return None;
    }
    // Those that the verdict is about.
    let down: Vec<_> = faces.iter().filter(|face| is_set(face) == set).collect();
    let (first, _) = *down.first()?;
    let began = down
        .iter()
        .filter_map(|(device, now)| stopped(model, device, now))
        .max();
    let namespaces: BTreeSet<u32> = faces.iter().map(|(device, _)| device.netns).collect();
    let ways: Vec<(u32, u32)> = down
        .iter()
        .map(|(device, _)| (device.netns, device.index))
        .collect();
    // They lack nothing of what arrives: nothing does.
    let flows = view.flows(|key, flow| ways.contains(&(key.netns, flow.iif)));
    let flows = flows.filter(|(key, _, plight)| model.is_connected(key, *plight));
    let suffering = Suffering::of(flows.map(Sufferer::in_turn(model)));
    let waiting = suffering.flows.len() as u64;
    let affected = if waiting == 0 {
        String::new()
    } else {
        format!(
            " {} that came by it get nothing.",
            count(waiting, "open connection")
        )
    };
    let how: Vec<String> = faces
        .iter()
        .map(|(device, now)| {
            let how = if value::is_up(now) {
                "has no carrier"
            } else {
                "is down"
            };
            match value::former(now) {
                Some(former) => format!("{}, which was called {former} before, {how}", device.name),
                None => format!("{} {how}", device.name),
            }
        })
        .collect();
    let line = |text: &str| command(model, first.netns, &format!("{text} {}", quoted(&first.name)));
    Some(Finding {
        confidence: if began.is_some() {
            Confidence::Conclusive
        } else {
            // It may never have been otherwise.
            Confidence::Weak
        },
        explanation: format!(
            "{}: nothing leaves this node and nothing arrives.{affected}",
            list(&how),
        ),
        since: began.unwrap_or(model.started()),
        last: model.now(),
        evidence: faces
            .iter()
            .map(|(device, now)| evidence::state(thing(device).to_string(), (*now).to_owned()))
            .collect(),
        devices: down.iter().flat_map(|(device, now)| names(device, now)).collect(),
        units: suffering.units([]),
        flows: suffering.flows,
        namespaces,
        standing: None,
        prevent: Vec::new(),
        check: vec![line("ip -d link show dev"), "journalctl -k -n 50".to_owned()],
        remedy: if set {
            down.iter()
                .flat_map(|(device, now)| set_up(model, device, now))
                .collect()
        } else {
            vec!["This is for whoever runs the network or the hypervisor. Risk: none.".to_owned()]
        },
    })
}

fn thing(device: &Device) -> Thing {
    Thing::Link {
        device: device.name.clone(),
    }
}

/// The device's name, and the one that it had until it was renamed.
fn names(device: &Device, now: &str) -> Vec<String> {
    let former = value::former(now).map(str::to_owned);
    std::iter::once(device.name.clone()).chain(former).collect()
}

/// The commands that set a device up, by the name that it had.
fn set_up(model: &Model, device: &Device, now: &str) -> Vec<String> {
    let line = |line: String| command(model, device.netns, &line);
    let mut lines = Vec::new();
    let mut name = device.name.as_str();
    if let Some(former) = value::former(now) {
        lines.push(format!(
            "{}  # Risk: low, it is the name by which it was configured. What renamed it may do so again at the next boot.",
            line(format!("ip link set dev {} name {}", quoted(name), quoted(former)))
        ));
        name = former;
    }
    lines.push(format!(
        "{}  # Risk: low. Routes that went with it must be set again: networkctl reconfigure, where systemd-networkd keeps them.",
        line(format!("ip link set dev {} up", quoted(name)))
    ));
    lines
}

/// When the device ceased to work, where that was seen.
fn stopped(model: &Model, device: &Device, now: &str) -> Option<u64> {
    let is_it = |subject: &Subject| {
        matches!(subject, Subject::Setting(netns, Thing::Link { device: name })
            if *netns == device.netns && names(device, now).contains(name))
    };
    let mut changes = model.timeline().all().rev();
    changes
        .find(|(_, change)| is_it(&change.subject) && effects::stops(change))
        .map(|(_, change)| change.at)
}
