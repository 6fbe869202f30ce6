//! Packets come for another link-layer address than their device has. Either this node changed that and the network does not know; or
//! whoever sends them has a wrong entry for this node.
//!
//! The device compares the destination with its own address and marks what is for another (`eth_type_trans`, net/ethernet/eth.c:
//! `PACKET_OTHERHOST`); IP drops what is marked so (`ip_rcv_core`, `ip6_rcv_core`).

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Lost;
use crate::diagnosis::effects;
use crate::diagnosis::hops::{PEERS, gateway};
use crate::diagnosis::tolls::Toll;
use crate::diagnosis::words::{command, count, distinct, ip, list, moment};
use crate::event::{Fate, FlowKey, Protocol, Thing, value};
use crate::model::Model;
use crate::model::growth::Spell;
use crate::model::timeline::Subject;
use crate::shell::quoted;

/// Who sends these packets has a wrong entry: they come from another node for an address of this one, none of the devices by which this
/// one is reached is seen to have had another address, and by the one that this has connections got what was sent to them.
pub(super) fn is_wrong_at_sender(model: &Model, key: &FlowKey, iif: u32) -> bool {
    let node = model.node();
    node.is_over_uplink(key.netns, iif)
        && node.has_address(key.netns, key.local)
        && address(model, key.netns, iif).is_some()
        && !has_changed(model, key.netns)
        && reached(model, key.netns, iif).is_some()
        && !is_sent_here(model, key)
}

/// The link-layer address of a device.
fn address(model: &Model, netns: u32, index: u32) -> Option<&str> {
    let device = model.node().device_name(netns, index);
    let link = model.settings().value(netns, Thing::Link { device })?;
    value::device_address(link)
}

/// A device by which the namespace is reached had another link-layer address. It need not be the one that packets are at now: of a bond
/// and what is below it all have one.
fn has_changed(model: &Model, netns: u32) -> bool {
    let has_another = |device: &str, before: &Option<String>| {
        let Some(known) = model.node().device_named(netns, device) else {
            return false;
        };
        let was = before.as_deref().and_then(value::device_address);
        was.is_some()
            && was != address(model, netns, known.index)
            && model.node().is_over_uplink(netns, known.index)
    };
    let told = model.timeline().all().any(|(_, change)| {
        matches!(&change.subject, Subject::Setting(of, Thing::Link { device })
            if *of == netns && has_another(device, &change.before))
    });
    // The timeline is bounded.
    let differs = || {
        let mut all = model.settings().differences();
        all.any(|(of, thing, difference)| {
            matches!(thing, Thing::Link { device } if of == netns && has_another(device, &difference.before))
        })
    };
    told || differs()
}

/// Packets of TCP that reached their sockets by the device, or by one that stands on it, since the start. Of datagrams many go to
/// groups, which have link-layer addresses of their own.
fn reached(model: &Model, netns: u32, index: u32) -> Option<Spell> {
    let is_its = |fate: Fate, protocol: Protocol| (fate, protocol) == (Fate::Matched, Protocol::Tcp);
    let devices: BTreeSet<u32> = model
        .node()
        .standing_on(netns, index)
        .map(|device| device.index)
        .collect();
    let lines = model
        .books()
        .lines()
        .filter(|(key, line)| {
            key.netns == netns
                && devices.contains(&key.iif)
                && is_its(key.fate, key.protocol)
                && line.packets > 0
        })
        .map(|(_, line)| Spell {
            since: line.last,
            last: line.last,
            packets: line.packets,
        });
    lines.reduce(Spell::and)
}

/// Another namespace of this node, which sends the packets, was told a wrong link-layer address by hand: as that of the node, of a pod.
fn is_sent_here(model: &Model, key: &FlowKey) -> bool {
    let is_its = |netns: u32, thing: &Thing| {
        netns != key.netns && matches!(thing, Thing::Neighbour { address, .. } if *address == key.local)
    };
    let mut changes = model.timeline().all();
    let is_set = || {
        let mut all = model.settings().iter();
        all.any(|(netns, thing, state)| is_its(netns, thing) && value::has(state, value::PERMANENT))
    };
    changes.any(|(_, change)| {
        matches!(&change.subject, Subject::Setting(netns, thing) if is_its(*netns, thing))
            && effects::misleads_by_hand(change)
    }) || is_set()
}

/// A device by which such packets came, and what was sent to it.
struct Device<'a> {
    netns: u32,
    index: u32,
    name: String,
    flows: Vec<&'a FlowKey>,
}

impl<'a> Device<'a> {
    /// All of them.
    fn all(model: &Model, lost: &Lost<'a>) -> Vec<Self> {
        let place = |toll: &Toll<'_>| (toll.key().netns, toll.iif());
        let places: BTreeSet<(u32, u32)> = lost.flows.iter().map(place).collect();
        let device = |(netns, index): (u32, u32)| Self {
            netns,
            index,
            name: model.node().device_name(netns, index),
            flows: lost
                .flows
                .iter()
                .filter(|toll| place(toll) == (netns, index))
                .map(Toll::key)
                .collect(),
        };
        places.into_iter().map(device).collect()
    }

    /// The addresses of this node that are reached by another link-layer address.
    fn own(&self) -> BTreeSet<IpAddr> {
        self.flows.iter().map(|key| key.local).collect()
    }

    /// The neighbours that send it, where it comes the way that requests leave: nearly all of them by the same.
    fn senders(&self, model: &Model) -> BTreeSet<IpAddr> {
        let remotes: BTreeSet<IpAddr> = self.flows.iter().map(|key| key.remote).collect();
        remotes
            .into_iter()
            .take(PEERS)
            .map(|remote| gateway(model, self.netns, remote).unwrap_or(remote))
            .collect()
    }
}

fn told(addresses: &BTreeSet<IpAddr>) -> String {
    list(&distinct(addresses.iter().map(IpAddr::to_string)))
}

/// Whose entry is wrong, and how that is known, with a leading space.
pub(super) fn at_sender(model: &Model, lost: &Lost<'_>) -> String {
    let all = Device::all(model, lost);
    let devices = all.iter().map(|device| {
        let name = &device.name;
        let has = address(model, device.netns, device.index).unwrap_or_default();
        let reached = reached(model, device.netns, device.index).map_or_else(String::new, |reached| {
            format!(
                ", and by which {} reached connections since then, the last at {}",
                count(reached.packets, "packet"),
                moment(model, reached.last)
            )
        });
        format!(
            " They were sent to another link-layer address than {name} has: {has}, which was not seen to change since the \
             start{reached}. So it is the entry for {} that is wrong at who sends them: by the routes of this node {}.",
            told(&device.own()),
            told(&device.senders(model))
        )
    });
    devices.collect()
}

/// What cannot be told of whose fault it is, with a leading space.
pub(super) fn unclear(model: &Model, lost: &Lost<'_>) -> String {
    let all = Device::all(model, lost);
    let is_unclear = |device: &&Device<'_>| {
        address(model, device.netns, device.index).is_some()
            && !has_changed(model, device.netns)
            && reached(model, device.netns, device.index).is_none()
    };
    let names = distinct(all.iter().filter(is_unclear).map(|device| device.name.clone()));
    if names.is_empty() {
        return String::new();
    }
    format!(
        " Since the start nothing has reached a connection by {}: whether its link-layer address was another before cannot be told, \
         nor whether who sends has a wrong entry.",
        list(&names)
    )
}

/// What shows whose entry is wrong, and what mends it.
pub(super) fn advice(model: &Model, lost: &Lost<'_>) -> (Vec<String>, Vec<String>) {
    let (mut check, mut remedy) = (Vec::new(), Vec::new());
    for device in Device::all(model, lost).iter().take(SHOWN) {
        let dev = quoted(&device.name);
        let has = address(model, device.netns, device.index).unwrap_or("ADDRESS");
        let at = told(&device.senders(model));
        let line = |text: String| command(model, device.netns, &text);
        check.push(line(format!("ip -br link show dev {dev}")));
        for own in device.own().into_iter().take(SHOWN) {
            let ip = ip(own);
            // It may be that of a VLAN, or of a bond: what they send goes out as the device alone would not send it.
            let face = model.node().face(device.netns, device.index, own);
            let face = model.node().device_name(device.netns, face);
            let face = quoted(&face);
            check.push(line(format!(
                "tcpdump -c 5 -eni {dev} dst host {own}  # the link-layer addresses of who sends, and to which it does"
            )));
            check.push(format!(
                "{ip} neigh show to {own}  # at {at}, where that is Linux: must name {has}; PERMANENT: set by hand"
            ));
            if own.is_ipv4() {
                check.push(line(format!(
                    "arping -D -c 3 -I {face} {own}  # whether another machine has the address too and answers for it"
                )));
                // `arp_process` (net/ipv4/arp.c) updates an entry that is there; `__neigh_update` (net/core/neighbour.c) lets nothing but
                // the administrator change one that is NUD_PERMANENT.
                remedy.push(line(format!(
                    "arping -U -c 3 -I {face} {own}  # tells all neighbours the address {has}. Risk: low, where no other machine has \
                     {own} by right. One who has an entry that was set by hand does not heed it."
                )));
            }
            remedy.push(format!(
                "At {at}, delete the entry, so that it asks for the address anew, where that is Linux: {ip} neigh del {own} dev \
                 DEVICE. Risk: low; but one that was set by hand comes back with what has set it."
            ));
        }
    }
    (check, remedy)
}

/// Devices and addresses that commands are told for, at most.
const SHOWN: usize = 3;
