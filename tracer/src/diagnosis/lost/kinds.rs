//! In which ways packets are lost before a socket, by the kernel's reason and place.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Loss, Lost};
use crate::diagnosis::evidence;
use crate::diagnosis::words::{count, distinct, list};
use crate::event::{FlowKey, STOLEN, Source};
use crate::model::Model;
use crate::model::ends::NOT_SPECIFIED;
use crate::model::hooks;
use crate::report::{Confidence, Evidence};

/// A way of losing packets. Each has a rule of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::diagnosis) enum Kind {
    /// The address is no longer the node's.
    Address,
    /// Connection tracking has no room.
    TableFull,
    /// Connection tracking does not know the connection, and a rule drops what it does not know.
    Invalid,
    /// A firewall's rule.
    Firewall,
    /// An XDP program.
    Xdp,
    /// A program or filter at a device.
    Traffic,
    /// A program or filter at a device, which keeps the packet.
    Stolen,
    /// A program of a cgroup, or the socket's own filter.
    SocketFilter,
    /// The checksum is wrong.
    Checksum,
    /// They are for another link-layer address.
    LinkAddress,
    /// IPv6 is switched off.
    Ipv6Off,
    /// The device of an overlay network is gone.
    Overlay,
    /// Their source is an address of this node, or one that cannot be.
    Source,
    /// Another, or none that could be seen.
    Other,
}

/// Of which kind a drop is.
pub(super) fn kind(model: &Model, key: &FlowKey, reason: &str, symbol: &str) -> Kind {
    match (reason, symbol) {
        ("IP_INADDRERRORS", _) | (NOT_SPECIFIED, "ip_forward" | "ip6_forward" | "ip_error")
            if !model.node().has_address(key.netns, key.local) =>
        {
            Kind::Address
        }
        ("NETFILTER_DROP", "nf_hook_slow") if grown(model, key.netns, "drop") > 0 => Kind::TableFull,
        ("NETFILTER_DROP", _) | (NOT_SPECIFIED, "nft_do_chain" | "ipt_do_table" | "ip6t_do_table") => {
            Kind::Firewall
        }
        ("XDP", _) | (_, "do_xdp_generic" | "veth_xdp_rcv_skb" | "veth_xdp_rcv" | "veth_poll") => Kind::Xdp,
        (STOLEN, _) => Kind::Stolen,
        (reason, _) if reason.starts_with("TC_") => Kind::Traffic,
        ("SOCKET_FILTER", _) => Kind::SocketFilter,
        (reason, _) if reason.starts_with("BPF_CGROUP_") => Kind::SocketFilter,
        (reason, _) if reason.ends_with("_CSUM") => Kind::Checksum,
        ("OTHERHOST", _) => Kind::LinkAddress,
        ("IPV6DISABLED", _) => Kind::Ipv6Off,
        ("VXLAN_VNI_NOT_FOUND" | "VXLAN_INVALID_HDR", _) | (NOT_SPECIFIED, "vxlan_rcv") => Kind::Overlay,
        ("IP_LOCAL_SOURCE" | "IP_LOCALNET", _) => Kind::Source,
        (reason, _) if reason.starts_with("IP_INVALID_") => Kind::Source,
        _ => Kind::Other,
    }
}

/// What a firewall drops is what connection tracking called invalid: it called as many packets so.
pub(super) fn is_invalid(model: &Model, lost: &Lost<'_>) -> bool {
    let packets = lost.losses.values().map(|loss| loss.packets);
    let invalid = namespaces(lost)
        .into_iter()
        .map(|netns| grown(model, netns, "invalid"));
    invalid.fold(0, u64::saturating_add) >= packets.fold(0, u64::saturating_add)
}

/// By how much a counter of connection tracking has grown in a namespace since the start.
fn grown(model: &Model, netns: u32, name: &str) -> u64 {
    model
        .counters()
        .iter()
        .filter(|(key, _)| key.source == Source::Conntrack && key.netns == netns && key.name == name)
        .map(|(_, counted)| counted.grown)
        .fold(0, u64::saturating_add)
}

impl Kind {
    /// How sure it is, from the drops alone.
    pub(super) fn confidence(self) -> Confidence {
        match self {
            // That connections are called invalid may have another cause than the drops.
            Self::Invalid | Self::Stolen | Self::Other => Confidence::Strong,
            _ => Confidence::Conclusive,
        }
    }

    /// What there is to say of it on this node, with a leading space.
    pub(super) fn more(self, model: &Model, lost: &Lost<'_>) -> String {
        match self {
            Self::Address => {
                let addresses = locals(lost);
                let (is, address) = if addresses.len() == 1 {
                    ("is", "address")
                } else {
                    ("are", "addresses")
                };
                format!(" {} {is} no {address} of this node.", list(&addresses))
            }
            Self::Firewall | Self::Invalid => match hooks_of(model, lost) {
                hooks if hooks.is_empty() => String::new(),
                hooks => format!(" At {}.", hooks.join("; ")),
            },
            _ => String::new(),
        }
    }

    /// What else was seen of it.
    pub(super) fn evidence(self, model: &Model, lost: &Lost<'_>) -> Vec<Evidence> {
        let counter = |name: &'static str, says: &str| {
            let grown = namespaces(lost)
                .into_iter()
                .map(|netns| grown(model, netns, name))
                .fold(0, u64::saturating_add);
            let text =
                format!("connection tracking's counter {name} has grown by {grown} since the start: {says}");
            evidence::counter(name, grown, text)
        };
        match self {
            Self::TableFull => vec![counter("drop", "it had no room for a connection")],
            Self::Invalid => vec![counter("invalid", "packets of connections that it does not know")],
            _ => Vec::new(),
        }
    }
}

/// The addresses that the packets were for.
fn locals(lost: &Lost<'_>) -> Vec<String> {
    let addresses: BTreeSet<IpAddr> = lost.flows.iter().map(|(key, _)| key.local).collect();
    distinct(addresses.iter().map(ToString::to_string))
}

fn namespaces(lost: &Lost<'_>) -> BTreeSet<u32> {
    lost.flows.iter().map(|(key, _)| key.netns).collect()
}

/// The hooks of netfilter at which packets were dropped there, with table and chain where those are known.
fn hooks_of(model: &Model, lost: &Lost<'_>) -> Vec<String> {
    let namespaces = namespaces(lost);
    let lines = model
        .books()
        .sightings()
        .filter(|(key, _)| namespaces.contains(&key.netns));
    distinct(lines.map(|(key, sighting)| {
        hooks::told(
            sighting
                .hooks
                .iter()
                .map(|hook| (*hook, model.chains().at(key.netns, *hook))),
        )
    }))
}

/// `5 were dropped for NETFILTER_DROP at nft_do_chain+0x1c4`
pub(super) fn told(loss: &Loss<'_>) -> String {
    match loss.end {
        None => format!("{} vanished without a drop that could be seen", loss.packets),
        Some((reason, location)) if reason == STOLEN => {
            format!("{} were taken away at {location}", loss.packets)
        }
        Some((reason, location)) => {
            format!("{} were dropped for {reason} at {location}", loss.packets)
        }
    }
}

/// `NETFILTER_DROP at nft_do_chain+0x1c4: 5 packets that arrived on eth0, of 1 starved flow`
pub(super) fn seen(loss: &Loss<'_>) -> Evidence {
    let devices = distinct(loss.devices.iter().cloned());
    let on = if devices.is_empty() {
        String::new()
    } else {
        format!(" that arrived on {}", list(&devices))
    };
    let what = loss.end.map_or_else(
        || "no drop was seen".to_owned(),
        |(reason, location)| format!("{reason} at {location}"),
    );
    let text = format!(
        "{what}: {}{on}, of {}",
        count(loss.packets, "packet"),
        count(loss.flows, "starved flow")
    );
    let (reason, location) = loss
        .end
        .map_or(("", None), |(reason, location)| (reason.as_str(), Some(location)));
    evidence::drop(reason, location, loss.packets, text)
}
