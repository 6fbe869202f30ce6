//! What was seen, in words and for programs.

use std::collections::{BTreeMap, BTreeSet};

use super::words::{self, count};
use crate::event::{EntryKey, FlowKey, Location, Protocol, Version};
use crate::model::Model;
use crate::model::clock::seconds;
use crate::model::ends::{self, Sign};
use crate::model::flows::Flow;
use crate::numbers::thousands;
use crate::report::{Evidence, Fact};

/// Packets that were dropped at one place for one reason.
pub(super) fn drop(reason: &str, location: Option<&Location>, packets: u64, text: String) -> Evidence {
    Evidence {
        text,
        fact: Fact::Drop {
            reason: reason.to_owned(),
            location: location.map(ToString::to_string).unwrap_or_default(),
            packets,
        },
    }
}

/// What this node was sending and these lines of the books have as dropped, since the start: one text for each reason, place,
/// protocol and version of IP.
pub(super) fn unsent<'a>(
    lines: impl Iterator<Item = (&'a EntryKey, u64)>,
    version: impl Fn(&EntryKey) -> Option<Version>,
) -> Vec<Evidence> {
    let mut all: BTreeMap<_, u64> = BTreeMap::new();
    for (key, packets) in lines {
        let what = (
            ends::reason(key),
            key.location.as_ref(),
            key.protocol,
            version(key),
        );
        let sum = all.entry(what).or_default();
        *sum = sum.saturating_add(packets);
    }
    all.into_iter()
        .map(|((reason, location, protocol, version), packets)| {
            let place = location.map(ToString::to_string).unwrap_or_default();
            // Where the socket's packet had no headers yet.
            let of = match protocol {
                Protocol::Other(0) => String::new(),
                protocol => format!(" of {protocol}"),
            };
            let over = version.map_or_else(String::new, |version| format!(" over {version}"));
            let text = format!(
                "{reason} at {place}: {}{of}{over} that this node was sending, since the start",
                count(packets, "packet")
            );
            drop(reason, location, packets, text)
        })
        .collect()
}

/// What was dropped with this sign at these devices, by namespace and index: a line for each reason, place and device.
pub(super) fn at_devices(model: &Model, sign: Sign, places: &BTreeSet<(u32, u32)>) -> Vec<Evidence> {
    let mut all: BTreeMap<(&str, Option<&Location>, String), u64> = BTreeMap::new();
    for (key, line) in model.books().lines() {
        if ends::sign(key) == Some(sign) && places.contains(&(key.netns, key.device)) && line.packets > 0 {
            let device = model.node().device_name(key.netns, key.device);
            let packets = all
                .entry((ends::reason(key), key.location.as_ref(), device))
                .or_default();
            *packets = packets.saturating_add(line.packets);
        }
    }
    all.into_iter()
        .map(|((reason, location, device), packets)| {
            let place = location.map(ToString::to_string).unwrap_or_default();
            let text = format!(
                "{reason} at {place}: {} at {device}, since the start",
                count(packets, "packet")
            );
            drop(reason, location, packets, text)
        })
        .collect()
}

/// The node's books.
pub(super) fn ledger(model: &Model, text: String) -> Evidence {
    Evidence {
        text,
        fact: Fact::Ledger(model.totals().ledger),
    }
}

/// What a flow has counted.
pub(super) fn flow(model: &Model, key: &FlowKey, flow: &Flow) -> Evidence {
    let delivered = model.delivered(key, flow);
    let reached = delivered.map_or_else(String::new, |packets| {
        format!(", {} reached the socket", thousands(packets))
    });
    Evidence {
        text: format!(
            "{}: {} arrived{reached}, {} dropped",
            words::flow(model, key),
            thousands(flow.arrived),
            thousands(flow.dropped)
        ),
        fact: Fact::Flow {
            protocol: key.protocol.to_string(),
            local: words::end(key.local, key.local_port),
            remote: words::end(key.remote, key.remote_port),
            arrived: flow.arrived,
            delivered,
            dropped: flow.dropped,
        },
    }
}

/// A counter of the kernel, of no device.
pub(super) fn counter(name: &str, grown: u64, text: String) -> Evidence {
    Evidence {
        text,
        fact: Fact::Counter {
            name: name.to_owned(),
            device: String::new(),
            grown,
        },
    }
}

/// How something stands, in words.
pub(super) fn state(object: String, value: String) -> Evidence {
    Evidence {
        text: format!("{object}: {value}"),
        fact: Fact::State { object, value },
    }
}

/// A peer that does not answer for so long.
pub(super) fn peer(
    (protocol, address, port): (String, String, u16),
    requests: u64,
    nanoseconds: u64,
    text: String,
) -> Evidence {
    Evidence {
        text,
        fact: Fact::Peer {
            protocol,
            address,
            port,
            requests,
            seconds: seconds(nanoseconds),
        },
    }
}
