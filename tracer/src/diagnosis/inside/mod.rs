//! What this node passes on, or hands to pods and machines behind it, and which does not get there.
//!
//! None of these packets is for a socket of the node, so that no flow here starves of it; whether somebody waits for them is not
//! known. That the way is broken is: it is told as a fault only where somebody had set it up.

pub(super) mod filtered;
pub(super) mod forwarding;
pub(super) mod large;
pub(super) mod masked;
pub(super) mod silent;
pub(super) mod way;

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::addresses::Addresses;
use super::words::count;
use super::{Off, View};
use crate::event::{FlowKey, value};
use crate::model::Model;
use crate::model::clock::When;
use crate::model::latest::Latest;

/// The device leads to nobody but pods and machines behind this node.
fn is_inner(model: &Model, netns: u32, device: u32) -> bool {
    device != tracer_ebpf::LOOPBACK
        && device != 0
        && model.node().namespace(netns).is_some()
        && !model.node().is_over_uplink(netns, device)
}

/// The name of the device to which a route leads that was made for this one address: it is at the other end.
fn own_device(model: &Model, netns: u32, address: IpAddr) -> Option<&str> {
    let leads = model.settings().own_route(netns, address)?;
    value::leads_by(leads).filter(|_| !value::has_gateway(leads))
}

/// The addresses of pods and machines behind this node, by namespace: a route was made for each alone, and leads there; or what is for
/// it waits there for a link-layer address.
pub(super) fn behind(model: &Model) -> BTreeMap<u32, Addresses> {
    let all = model.settings().own_routes().filter(|(netns, address)| {
        own_device(model, *netns, *address)
            .and_then(|name| model.node().device_named(*netns, name))
            .is_some_and(|device| is_inner(model, *netns, device.index))
    });
    let mut behind: BTreeMap<u32, Vec<IpAddr>> = BTreeMap::new();
    let waiting = model.unresolved().spells(model.now());
    let waiting = waiting
        .filter(|((netns, device, _), _)| is_inner(model, *netns, *device))
        .map(|((netns, _, address), _)| (netns, address));
    for (netns, address) in all.chain(waiting) {
        behind.entry(netns).or_default().push(address);
    }
    behind
        .into_iter()
        .map(|(netns, addresses)| (netns, Addresses::of(addresses.into_iter())))
        .collect()
}

/// Flows whose packets are for somebody else and have arrived since, in the order of their keys: those for one address are side by
/// side.
fn passing<'a>(view: &View<'a>, since: u64) -> impl Iterator<Item = Off<'a>> {
    let (model, since) = (view.model, When::at(since));
    let mut latest = Latest::default();
    view.flows(move |key, flow| {
        flow.last_arrived >= since
            && flow.iif != 0
            && latest.of((key.netns, key.local), || is_foreign(model, key.netns, key.local))
    })
}

/// The address is somebody else's.
fn is_foreign(model: &Model, netns: u32, address: IpAddr) -> bool {
    !address.is_multicast() && !model.node().has_address(netns, address)
}

/// `Affected: 3 flows that this node is to pass on, first udp 10.244.0.2:8080 → 192.0.2.10:5000.` with a leading space.
fn affected(flows: &[FlowKey]) -> String {
    match flows {
        [] => String::new(),
        [one] => format!(" Affected: a flow that this node is to pass on, {one}."),
        [first, ..] => format!(
            " Affected: {} that this node is to pass on, first {first}.",
            count(flows.len() as u64, "flow")
        ),
    }
}
