//! A pod or machine behind this node does not tell its link-layer address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{affected, is_inner, own_device, passing};
use crate::diagnosis::words::{self, command, count, distinct, list, moment, span};
use crate::diagnosis::{About, Finding, Rule, View, effects, evidence};
use crate::event::{FlowKey, Protocol, Thing};
use crate::model::Model;
use crate::model::clock::SECOND;
use crate::model::ends::{self, Sign};
use crate::model::growth::Spell;
use crate::model::latest::Latest;
use crate::model::unresolved::Neighbour;
use crate::report::{Confidence, Where};
use crate::shell::quoted;

/// R17: the next hop on an inner device is silent.
pub(in crate::diagnosis) const NEIGHBOUR: Rule = Rule {
    id: "R17",
    slug: "neighbour-silent",
    title: "A pod or machine behind this node does not answer for its address",
    place: Some(Where::GuestKernel),
    about: About {
        signature: "What is to leave by a device that is no uplink waits for the link-layer address of its neighbour for 2.2 s, and \
                    is dropped then (NEIGH_FAILED; over IPv6 without a reason, at neigh_invalidate()) or for want of room \
                    (NEIGH_QUEUEFULL). A weak sign where no route was made for that one address, and no connection \
                    of this node to it, from an address of an uplink, was open: then it may be nobody's.",
        meaning: "Nobody answers ARP or neighbour discovery for the address: the pod's own device has lost it, the pod is stopped \
                  or its network namespace gone, or the other end of its pair of devices is somebody else's. A gateway that \
                  is silent shows as D01.",
        check: &[
            "ip neigh show dev DEVICE  # FAILED or INCOMPLETE",
            "ip -s link show dev DEVICE",
            "crictl pods; crictl ps -a",
        ],
        mend: &[
            "Start the pod anew, or the network plugin's agent where it has left the pod half made. Risk: the pod's work is \
             interrupted.",
        ],
    },
    examine: silent,
    explains: effects::hand_over,
    proved_by: effects::none,
    follows: &["R18"],
};

/// The kernel asks three times, a second apart (`mcast_probes`, `retrans_time_ms`), and gives up after 3 s: whoever has not
/// answered by then was asked for the third time 0.2 s ago.
const SILENT: u64 = 2_200_000_000;

/// A neighbour that does not answer.
struct Case {
    neighbour: Neighbour,
    spell: Spell,
    /// A route was made for its address.
    is_meant: bool,
    /// None was, and this node had reached it, elsewhere.
    was_elsewhere: bool,
}

/// Neighbours on inner devices for which something has waited for so long, or waits again and again while what waits is
/// dropped there.
fn cases(model: &Model) -> Vec<Case> {
    let now = model.now();
    let waiting = model.unresolved().by_neighbour();
    let mut all: BTreeMap<Neighbour, Spell> = model
        .unresolved()
        .spells(now)
        .filter(|((netns, device, _), _)| is_inner(model, *netns, *device))
        .filter_map(|(neighbour, spell)| {
            if let Some(wait) = waiting.get(&neighbour)
                && now.saturating_sub(wait.since) >= SILENT
            {
                return Some((
                    neighbour,
                    Spell {
                        since: wait.since.min(spell.since),
                        last: now,
                        ..spell
                    },
                ));
            }
            let drops = dropped_at(model, neighbour.0, neighbour.1)?;
            (drops.last >= spell.since && spell.lasts(2, SILENT)).then_some((neighbour, spell))
        })
        .collect();
    // What this node sends itself is known by what was dropped of it.
    for (key, sighting) in model.books().sightings() {
        let Some(flow) = sighting
            .flow
            .filter(|_| ends::next_hop_is_silent(key) && is_inner(model, key.netns, key.device))
        else {
            continue;
        };
        let device = model.node().device_name(key.netns, key.device);
        if own_device(model, key.netns, flow.remote) == Some(device.as_str())
            && let Some(spell) =
                dropped_at(model, key.netns, key.device).filter(|drops| drops.lasts(2, SECOND))
        {
            all.entry((key.netns, key.device, flow.remote)).or_insert(spell);
        }
    }
    all.into_iter()
        .map(|(neighbour, spell)| {
            let (netns, device, address) = neighbour;
            let name = model.node().device_name(netns, device);
            let is_meant = own_device(model, netns, address) == Some(name.as_str());
            Case {
                neighbour,
                spell,
                is_meant,
                was_elsewhere: false,
            }
        })
        .collect()
}

/// Those of these addresses that connections of this node had reached by an uplink: they are somebody's, and elsewhere.
fn reached_elsewhere(model: &Model, asked: &BTreeSet<(u32, IpAddr)>) -> BTreeSet<(u32, IpAddr)> {
    let own = addresses_of_uplinks(model);
    let came_by_uplink = |key: &FlowKey| {
        let flow = model.flows().get(key);
        // Of what was opened before the start nothing may have come since.
        flow.is_none_or(|flow| flow.iif == 0 || model.node().is_over_uplink(key.netns, flow.iif))
    };
    let all = model.sockets().connections();
    all.filter(|(key, connection)| {
        key.protocol == Protocol::Tcp
            && asked.contains(&(key.netns, key.remote))
            && connection.was_open()
            && own.contains(&(key.netns, key.local))
            && came_by_uplink(key)
    })
    .map(|(key, _)| (key.netns, key.remote))
    .collect()
}

/// The addresses of uplinks: what goes by an inner device has mostly one of that.
fn addresses_of_uplinks(model: &Model) -> BTreeSet<(u32, IpAddr)> {
    let all = model
        .settings()
        .iter()
        .filter_map(|(netns, thing, _)| match thing {
            Thing::Address { device, address, .. } => {
                let index = model.node().device_named(netns, device)?.index;
                let is_its = model.node().is_over_uplink(netns, index);
                is_its.then_some((netns, *address))
            }
            _ => None,
        });
    all.collect()
}

/// What waits in vain for neighbours on inner devices, by the namespace and address of each.
pub(super) fn waits(model: &Model) -> BTreeMap<(u32, IpAddr), Spell> {
    let each = |case: Case| ((case.neighbour.0, case.neighbour.2), case.spell);
    cases(model).into_iter().map(each).collect()
}

/// What was lately dropped at a device for want of a neighbour's answer.
fn dropped_at(model: &Model, netns: u32, device: u32) -> Option<Spell> {
    let mut all = model.books().signs(Sign::SilentHop, model.now());
    all.find(|(of, at, _)| (*of, *at) == (netns, device))
        .map(|(.., spell)| spell)
}

fn silent(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    let mut cases = cases(model);
    let end = |case: &Case| (case.neighbour.0, case.neighbour.2);
    let nobodys: BTreeSet<(u32, IpAddr)> = cases.iter().filter(|case| !case.is_meant).map(end).collect();
    if !nobodys.is_empty() {
        let reached = reached_elsewhere(model, &nobodys);
        for case in &mut cases {
            case.was_elsewhere = !case.is_meant && reached.contains(&end(case));
        }
    }
    // Those that are nobody's for all that is known say nothing of the others.
    let is_known = |case: &Case| case.is_meant || case.was_elsewhere;
    if cases.iter().any(is_known) {
        cases.retain(is_known);
    }
    let first = cases.first()?;
    let (netns, device, address) = first.neighbour;
    let name = model.node().device_name(netns, device);
    let since = cases.iter().map(|case| case.spell.since).min()?;
    let last = cases.iter().map(|case| case.spell.last).max()?;
    let who: Vec<String> = cases
        .iter()
        .map(|case| {
            let (netns, device, address) = case.neighbour;
            format!("{address} at {}", model.node().device_name(netns, device))
        })
        .collect();
    let waiting = model.unresolved().by_neighbour();
    let waits = |case: &Case| waiting.get(&case.neighbour).map_or(0, |wait| wait.packets);
    let places: BTreeSet<(u32, u32)> = cases
        .iter()
        .map(|case| (case.neighbour.0, case.neighbour.1))
        .collect();
    let dropped = places
        .iter()
        .filter_map(|(netns, device)| dropped_at(model, *netns, *device))
        .map(|spell| spell.packets)
        .fold(0, u64::saturating_add);
    let asked: BTreeSet<(u32, IpAddr)> = cases
        .iter()
        .map(|case| (case.neighbour.0, case.neighbour.2))
        .collect();
    let mut latest = Latest::default();
    let flows: Vec<FlowKey> = passing(view, since)
        .map(|(key, ..)| (key, (key.netns, key.local)))
        .filter(|(_, address)| latest.of(*address, || asked.contains(address)))
        .map(|(key, _)| *key)
        .collect();
    let waiting_now = cases.iter().map(waits).fold(0, u64::saturating_add);
    let one = who.len() == 1;
    let silence = if waiting_now > 0 {
        format!(
            "{} not tell what link-layer address to send to: for {} nothing could be handed over there",
            if one { "does" } else { "do" },
            span(model.now().saturating_sub(since))
        )
    } else {
        // Nobody has asked since: whether an answer would come now is not known.
        format!(
            "did not tell what link-layer address to send to: from {} to {}, for {}, nothing could be handed over there",
            moment(model, since),
            moment(model, last),
            span(last.saturating_sub(since))
        )
    };
    let explanation = format!(
        "{} {silence}. For want of an answer {} dropped at {}; {} now.{}",
        list(&who),
        match dropped {
            1 => "1 packet was".to_owned(),
            more => format!("{} were", count(more, "packet")),
        },
        list(&distinct(
            places
                .iter()
                .map(|(netns, device)| model.node().device_name(*netns, *device))
        )),
        match waiting_now {
            0 => "none waits".to_owned(),
            1 => "1 waits".to_owned(),
            more => format!("{more} wait"),
        },
        affected(&flows)
    ) + if first.was_elsewhere {
        " This node had reached it, so it is somebody's, and may be elsewhere."
    } else {
        ""
    };
    let drops = evidence::at_devices(model, Sign::SilentHop, &places);
    let asked = cases.iter().map(|case| {
        let (netns, device, address) = case.neighbour;
        let object = format!(
            "neighbour {address} on {}",
            model.node().device_name(netns, device)
        );
        evidence::state(
            object,
            format!("asked for in vain, {} waiting", count(waits(case), "packet")),
        )
    });
    let ip = words::ip(address);
    let check = [
        format!(
            "{ip} neigh show dev {}  # {address}: FAILED or INCOMPLETE",
            quoted(&name)
        ),
        format!("{ip} route get {address}"),
        format!("ip -s link show dev {}", quoted(&name)),
    ]
    .map(|line| command(model, netns, &line))
    .into();
    Some(Finding {
        confidence: if is_known(first) {
            Confidence::Strong
        } else {
            Confidence::Weak
        },
        explanation,
        since,
        last,
        evidence: asked.take(3).chain(drops.into_iter().take(4)).collect(),
        flows: flows.into(),
        namespaces: places.iter().map(|(netns, _)| *netns).collect(),
        devices: places
            .iter()
            .map(|(netns, device)| model.node().device_name(*netns, *device))
            .collect(),
        units: Vec::new(),
        standing: None,
        check,
        prevent: Vec::new(),
        remedy: vec![if first.was_elsewhere {
            format!(
                "Take away the route or the address by which what is for {address} goes by {name}, where that network is elsewhere. Risk: \
                 ask whose it is; what is behind that device is cut off."
            )
        } else {
            "Start the pod or machine there anew, or the network plugin's agent where it has left the pod half made. Risk: its \
             work is interrupted."
                .to_owned()
        }],
    })
}
