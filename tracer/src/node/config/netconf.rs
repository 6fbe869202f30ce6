//! Kernel parameters of devices that the kernel tells by itself (`ip netconf`).

use super::super::netlink::{self, ROUTE, attributes, i32_at};
use super::known::{Change, Known};
use super::words::{Devices, IPV4, IPV6};
use crate::event::{Seen, Thing};

// include/uapi/linux/{rtnetlink,netconf}.h
pub(super) const GET: u16 = 82;
pub(super) const NEW: u16 = 80;
pub(super) const DELETE: u16 = 81;
/// `struct netconfmsg` { u8 family }, and what aligns it.
pub(super) const HEADER: usize = 4;
const NETCONFA_IFINDEX: u16 = 1;
const NETCONFA_IFINDEX_ALL: i32 = -1;
const NETCONFA_IFINDEX_DEFAULT: i32 = -2;

/// What a message changes, and how that came to be known.
pub(super) fn take(kind: u16, body: &[u8], devices: &Devices, known: &mut Known) -> Vec<(Change, Seen)> {
    let mut changes = Vec::new();
    for (name, value) in parse(body, devices) {
        let thing = Thing::Sysctl { name };
        // Those of a new device have come with it.
        let seen = if known.has(&thing) && kind == NEW {
            Seen::Told
        } else {
            Seen::Found
        };
        let change = if kind == NEW {
            known.set(thing, value)
        } else {
            known.remove(&thing)
        };
        changes.extend(change.map(|change| (change, seen)));
    }
    changes
}

/// Asks for the parameters of the device with this index, in the namespace of this thread; none where it is gone.
pub(super) fn of(index: u32, devices: &Devices) -> Vec<(String, String)> {
    let ask = |family: u8| {
        let request = [
            &[family, 0, 0, 0][..],
            &8_u16.to_ne_bytes(),
            &NETCONFA_IFINDEX.to_ne_bytes(),
            &index.to_ne_bytes(),
        ]
        .concat();
        let parse = |body: &[u8]| Some(parse(body, devices));
        netlink::get(ROUTE, GET, &request, parse).ok().flatten()
    };
    [IPV4, IPV6].into_iter().filter_map(ask).flatten().collect()
}

/// The parameters of a device that a message tells: name and value.
pub(super) fn parse(body: &[u8], devices: &Devices) -> Vec<(String, String)> {
    let version = match body.first() {
        Some(&IPV4) => "ipv4",
        Some(&IPV6) => "ipv6",
        _ => return Vec::new(),
    };
    let members = || attributes(body.get(HEADER..).unwrap_or_default());
    let index = members().find_map(|(kind, value)| i32_at(value, 0).filter(|_| kind == NETCONFA_IFINDEX));
    let device = match index {
        None => return Vec::new(),
        Some(NETCONFA_IFINDEX_ALL) => "all".to_owned(),
        Some(NETCONFA_IFINDEX_DEFAULT) => "default".to_owned(),
        // One that is not known yet: its parameters are asked for once it is.
        Some(index) => match devices.0.get(&index.cast_unsigned()) {
            Some(name) => name.clone(),
            None => return Vec::new(),
        },
    };
    members()
        .filter_map(|(kind, value)| {
            let name = match (kind, version) {
                (2, _) => "forwarding",
                (3, "ipv4") => "rp_filter",
                (4, _) => "mc_forwarding",
                (5, "ipv4") => "proxy_arp",
                (5, _) => "proxy_ndp",
                (6, _) => "ignore_routes_with_linkdown",
                (8, "ipv4") => "bc_forwarding",
                (9, "ipv6") => "force_forwarding",
                _ => return None,
            };
            let value = i32_at(value, 0)?;
            Some((format!("net.{version}.conf.{device}.{name}"), value.to_string()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::words::tests::{attribute, devices, survives};
    use super::*;

    #[test]
    fn parameters_have_the_names_of_sysctl() {
        let number = |kind: u16, number: i32| attribute(kind, &number.to_ne_bytes());
        let told = |family: u8, more: &[Vec<u8>]| {
            parse(&[&[family, 0, 0, 0][..], &more.concat()].concat(), &devices())
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            told(2, &[number(1, 2), number(3, 1), number(5, 0)]),
            [
                pair("net.ipv4.conf.eth0.rp_filter", "1"),
                pair("net.ipv4.conf.eth0.proxy_arp", "0")
            ]
        );
        assert_eq!(
            told(10, &[number(1, -1), number(2, 1)]),
            [pair("net.ipv6.conf.all.forwarding", "1")]
        );
        assert_eq!(
            told(10, &[number(1, -2), number(5, 1)]),
            [pair("net.ipv6.conf.default.proxy_ndp", "1")]
        );
        assert_eq!(told(28, &[number(1, 2), number(7, 1)]), []);
        assert_eq!(told(2, &[number(3, 1)]), [], "of which device is not said");
        assert_eq!(
            told(2, &[number(1, 77), number(3, 1)]),
            [],
            "its name is not known yet"
        );
        let whole = [&[2, 0, 0, 0][..], &number(1, 2), &number(3, 1)].concat();
        survives(&whole, &|body| drop(parse(body, &devices())));
    }
}
