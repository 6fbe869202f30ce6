//! One of several next hops of a route does not answer: what falls to it is lost, the rest goes on.
//!
//! The kernel chooses one for each flow by a hash of its addresses, or its ports too (`fib_multipath_hash_policy`). Whether the next hop
//! answers it asks over IPv4 only, and only where `fib_multipath_use_neigh` is on (`fib_select_multipath`, net/ipv4/fib_semantics.c).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::hops::PEERS;
use super::path::uplinks;
use super::sufferers::Sufferer;
use super::suffering::Suffering;
use super::words::{command, distinct, ip, list, moment};
use super::{Finding, View, evidence, ways};
use crate::event::{FlowKey, Thing, value};
use crate::model::Model;
use crate::model::ends::{self, Sign};
use crate::model::growth::Spell;
use crate::report::Confidence;
use crate::shell::quoted;

/// Packets that must have been dropped since their next hop is silent. It was asked three times by then, a second apart
/// (`neigh_timer_handler`, net/core/neighbour.c).
const PACKETS: u64 = 2;

/// Flows that ask in vain and are held against these routes, at most.
const ASKING: usize = 1024;

/// A silent next hop of a route that has others, which are not.
struct Silent<'a> {
    netns: u32,
    route: &'a Thing,
    device: &'a str,
    address: IpAddr,
    /// Next hops of the route.
    all: usize,
    /// What could not leave by the device lately.
    lost: Spell,
}

impl Silent<'_> {
    fn told(&self) -> String {
        format!(
            "{} on {} is one of the {} next hops of {}",
            self.address, self.device, self.all, self.route
        )
    }
}

/// All of them by which something cannot leave now.
fn all(model: &Model) -> Vec<Silent<'_>> {
    let node = model.node();
    let drops: Vec<(u32, String, Spell)> = model
        .books()
        .signs(Sign::SilentHop, model.now())
        .filter(|(netns, device, spell)| spell.packets >= PACKETS && node.is_over_uplink(*netns, *device))
        .map(|(netns, device, spell)| (netns, node.device_name(netns, device), spell))
        .collect();
    // Mostly there are none.
    if drops.is_empty() {
        return Vec::new();
    }
    let is_silent = |netns, device: &str, address| {
        let device = device.to_owned();
        let state = model
            .settings()
            .value(netns, Thing::Neighbour { device, address });
        state.is_some_and(|state| value::SILENT.contains(&state))
    };
    let routes = model
        .settings()
        .iter()
        .filter(|(netns, thing, _)| {
            matches!(thing, Thing::Route { .. }) && drops.iter().any(|(of, ..)| of == netns)
        })
        .map(|(netns, route, leads)| (netns, route, value::next_hops(leads).collect::<Vec<_>>()));
    let silent = routes.flat_map(|(netns, route, hops)| {
        let gateways = hops
            .iter()
            .filter_map(|(gateway, device)| Some(((*gateway)?, *device)));
        let mut silent: Vec<(IpAddr, &str)> = gateways
            .filter(|(address, device)| is_silent(netns, device, *address))
            .collect();
        if silent.len() == hops.len() {
            silent.clear();
        }
        let lost_by = |device: &str| {
            let mut drops = drops.iter();
            drops.find(|(of, name, _)| *of == netns && name == device)
        };
        let of_these = silent.into_iter().filter_map(|(address, device)| {
            let (.., lost) = lost_by(device)?;
            Some(Silent {
                netns,
                route,
                device,
                address,
                all: hops.len(),
                lost: *lost,
            })
        });
        of_these.collect::<Vec<_>>()
    });
    silent.collect()
}

/// That a silent next hop, by whose route what is for some of these peers goes, is one of several; with a leading space. `go_on`: others
/// that this node asks answer.
pub(super) fn told(model: &Model, peers: &[(u32, IpAddr)], go_on: bool) -> String {
    let all = all(model);
    if all.is_empty() {
        return String::new();
    }
    let routes: BTreeSet<(u32, &Thing)> = peers
        .iter()
        .take(PEERS)
        .filter_map(|(netns, peer)| Some((*netns, model.settings().chosen(*netns, *peer)?.0)))
        .collect();
    let its = all.iter().filter(|hop| routes.contains(&(hop.netns, hop.route)));
    text(&distinct(its.map(Silent::told)), go_on)
}

fn text(hops: &[String], go_on: bool) -> String {
    match (hops, go_on) {
        ([], _) => String::new(),
        (hops, true) => format!(
            " {}: the flows that fall to it lose what they send; others whom this node asks answer.",
            list(hops)
        ),
        (hops, false) => format!(" {}: what falls to it does not leave.", list(hops)),
    }
}

/// What is found where others answer at the same ports, so that no peer is silent.
pub(super) fn examine(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    let all = all(model);
    let first = all.first()?;
    let lost = all.iter().map(|hop| hop.lost).reduce(Spell::and)?;
    let namespaces: BTreeSet<u32> = all.iter().map(|hop| hop.netns).collect();
    let mut known: BTreeMap<(u32, IpAddr), bool> = BTreeMap::new();
    let mut goes_by = |key: &FlowKey| {
        let to = (key.netns, key.remote);
        *known.entry(to).or_insert_with(|| {
            let route = model.settings().chosen(to.0, to.1);
            route.is_some_and(|(route, _)| {
                let mut hops = all.iter();
                hops.any(|hop| hop.netns == to.0 && hop.route == route)
            })
        })
    };
    let books = model.books();
    let recent = books
        .lines()
        .filter(|(key, line)| ends::next_hop_is_silent(key) && line.last >= lost.since);
    let sightings = recent.filter_map(|(key, _)| books.sighting(key));
    let shown = sightings.flat_map(|sighting| sighting.wayless_since(lost.since));
    let mut flows: BTreeSet<FlowKey> = shown.filter(&mut goes_by).collect();
    // What is for a neighbour that is switched off ends at the same place, and falls to no gateway.
    if flows.is_empty() {
        return None;
    }
    let asking = view.asking().iter().take(ASKING).map(|(plight, _)| plight.key);
    flows.extend(asking.filter(&mut goes_by));
    let mut sufferer = Sufferer::in_turn(model);
    let suffering = Suffering::of(view.flows(|key, _| flows.contains(key)).map(&mut sufferer));
    let places: BTreeSet<(u32, u32)> = all
        .iter()
        .filter_map(|hop| Some((hop.netns, model.node().device_named(hop.netns, hop.device)?.index)))
        .collect();
    let states = all.iter().map(|hop| {
        let object = format!("neighbour {} on {}", hop.address, hop.device);
        evidence::state(object, "does not tell its link-layer address".to_owned())
    });
    let Thing::Route { destination, .. } = first.route else {
        return None;
    };
    let (ip, dev) = (ip(*destination), quoted(first.device));
    let line = |text: String| command(model, first.netns, &text);
    let mut remedy = vec![format!(
        "See whether {} is to be there, and why it does not answer. Where it is not, set {} anew without it. Risk: what configures \
         the node may put it back.",
        first.address, first.route
    )];
    if destination.is_ipv4() {
        remedy.push(line(
            "sysctl -w net.ipv4.fib_multipath_use_neigh=1  # the kernel leaves out a next hop that is known not to answer. Risk: \
             low; flows may change their way when it answers again. Lasts until the next boot."
                .to_owned(),
        ));
    }
    let go_on = namespaces
        .iter()
        .any(|netns| ways::others_are_answered(model, *netns, lost.since));
    let explanation = format!(
        "Since {} a part of what is to leave by {} does not: a next hop does not tell its link-layer address.{}{}",
        moment(model, lost.since),
        list(&distinct(all.iter().map(|hop| hop.device.to_owned()))),
        text(&distinct(all.iter().map(Silent::told)), go_on),
        suffering.affected()
    );
    Some(Finding {
        confidence: Confidence::Strong,
        explanation,
        since: lost.since,
        last: lost.last,
        evidence: states
            .take(3)
            .chain(evidence::at_devices(model, Sign::SilentHop, &places))
            .collect(),
        devices: uplinks(model, &namespaces),
        namespaces,
        standing: None,
        units: suffering.units([]),
        flows: suffering.flows,
        prevent: Vec::new(),
        check: vec![
            line(format!("{ip} route show")),
            line(format!(
                "{ip} neigh show dev {dev}  # {}: FAILED or INCOMPLETE",
                first.address
            )),
        ],
        remedy,
    })
}
