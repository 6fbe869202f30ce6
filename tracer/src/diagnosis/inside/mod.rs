//! What this node passes on, or hands to pods and machines behind it, and which does not get there.
//!
//! None of these packets is for a socket of the node, so that no flow here starves of it; whether somebody waits for them is not
//! known. That the way is broken is: it is told as a fault only where somebody had set it up.

pub(super) mod forwarding;
pub(super) mod silent;
pub(super) mod way;

use std::net::IpAddr;

use super::words::count;
use crate::event::{FlowKey, value};
use crate::model::Model;
use crate::model::clock::When;
use crate::model::flows::Flow;

/// The device leads to nobody but pods and machines behind this node.
fn is_inner(model: &Model, netns: u32, device: u32) -> bool {
    device != tracer_ebpf::LOOPBACK
        && device != 0
        && model.node().namespace(netns).is_some()
        && !model.node().is_over_uplink(netns, device)
}

/// The name of the device to which a route leads that was made for this one address: it is at the other end.
fn own_device(model: &Model, netns: u32, address: IpAddr) -> Option<&str> {
    let (prefix, leads) = model.settings().route(netns, address)?;
    let is_for_it = prefix == if address.is_ipv4() { 32 } else { 128 };
    value::leads_by(leads).filter(|_| is_for_it && !value::has_gateway(leads))
}

/// The address is that of a pod or machine behind this node: a route was made for it alone, and leads there.
pub(super) fn is_behind(model: &Model, netns: u32, address: IpAddr) -> bool {
    own_device(model, netns, address)
        .and_then(|name| model.node().device_named(netns, name))
        .is_some_and(|device| is_inner(model, netns, device.index))
}

/// The flow's packets are for somebody else and have arrived since.
fn passes_through(model: &Model, key: &FlowKey, flow: &Flow, since: u64) -> bool {
    flow.last_arrived >= When::at(since)
        && flow.iif != 0
        && !key.local.is_multicast()
        && !model.node().has_address(key.netns, key.local)
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
