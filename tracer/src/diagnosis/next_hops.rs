//! One of several next hops of a route does not answer: what falls to it is lost, the rest goes on.
//!
//! The kernel chooses one for each flow by a hash of its addresses, or its ports too (`fib_multipath_hash_policy`). Whether the next hop
//! answers it asks over IPv4 only, and only where `fib_multipath_use_neigh` is on (`fib_select_multipath`, net/ipv4/fib_semantics.c).

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::path::uplinks;
use super::sufferers::Sufferer;
use super::suffering::Suffering;
use super::words::{command, distinct, ip, list, moment};
use super::{Finding, View, evidence};
use crate::event::{FlowKey, Thing, value};
use crate::model::Model;
use crate::model::ends::{self, Sign};
use crate::model::growth::Spell;
use crate::report::Confidence;
use crate::shell::quoted;

/// Packets that must have been dropped since their next hop is silent. It was asked three times by then, a second apart
/// (`neigh_timer_handler`, net/core/neighbour.c).
const PACKETS: u64 = 2;

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
        let (silent, others): (Vec<_>, Vec<_>) = hops
            .iter()
            .partition(|(address, device)| is_silent(netns, device, *address));
        let silent = if others.is_empty() { Vec::new() } else { silent };
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

/// That a silent next hop is one of several, with a leading space.
pub(super) fn told(model: &Model) -> String {
    let all = distinct(all(model).iter().map(Silent::told));
    if all.is_empty() {
        return String::new();
    }
    format!(
        " {}: only the flows that fall to it lose what they send, those that fall to the others go on.",
        list(&all)
    )
}

/// What is found where others answer at the same ports, so that no peer is silent.
pub(super) fn examine(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    let all = all(model);
    let first = all.first()?;
    let lost = all.iter().map(|hop| hop.lost).reduce(Spell::and)?;
    let namespaces: BTreeSet<u32> = all.iter().map(|hop| hop.netns).collect();
    let goes_by = |key: &FlowKey| {
        let route = model.settings().chosen(key.netns, key.remote);
        route.is_some_and(|(route, _)| {
            let mut hops = all.iter();
            hops.any(|hop| hop.netns == key.netns && hop.route == route)
        })
    };
    let asking = view.asking().iter().map(|(plight, _)| &plight.key);
    let shown = model
        .books()
        .sightings()
        .filter(|(key, _)| ends::next_hop_is_silent(key))
        .filter_map(|(_, sighting)| sighting.flow.as_ref());
    let flows: BTreeSet<FlowKey> = asking.chain(shown).filter(|key| goes_by(key)).copied().collect();
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
    let explanation = format!(
        "Since {} a part of what this node sends has not left: a next hop does not tell its link-layer address.{}{}",
        moment(model, lost.since),
        told(model),
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
