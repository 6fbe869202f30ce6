//! Numbers of rtnetlink in the words of `ip` and `tc`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use super::super::netlink::array_at;
use crate::event::value;

/// `AF_INET` and `AF_INET6`.
pub(super) const IPV4: u8 = 2;
pub(super) const IPV6: u8 = 10;

/// Names of the devices of a namespace, by index.
#[derive(Debug, Default)]
pub(super) struct Devices(pub(super) BTreeMap<u32, String>);

impl Devices {
    /// Its name, `if7` where that is not known.
    pub(super) fn name(&self, index: u32) -> String {
        self.0
            .get(&index)
            .cloned()
            .unwrap_or_else(|| format!("if{index}"))
    }
}

/// An address of 4 or 16 bytes.
pub(super) fn address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => array_at::<4>(value, 0).map(IpAddr::from),
        16 => array_at::<16>(value, 0).map(IpAddr::from),
        _ => None,
    }
}

/// `0.0.0.0` or `::`.
pub(super) fn unspecified(family: u8) -> Option<IpAddr> {
    match family {
        IPV4 => Some(Ipv4Addr::UNSPECIFIED.into()),
        IPV6 => Some(Ipv6Addr::UNSPECIFIED.into()),
        _ => None,
    }
}

/// `10.0.0.0/8`, or `10.0.0.1` where all bits count.
pub(super) fn network(address: IpAddr, prefix: u8) -> String {
    match (address, prefix) {
        (IpAddr::V4(_), 32) | (IpAddr::V6(_), 128) => address.to_string(),
        _ => format!("{address}/{prefix}"),
    }
}

/// A link-layer address: `52:54:00:12:34:56`.
pub(super) fn hardware_address(bytes: &[u8]) -> String {
    let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(":")
}

/// The name of a routing table, its number where it has none of the kernel's own.
pub(super) fn table(number: u32) -> String {
    match number {
        255 => "local".to_owned(),
        254 => "main".to_owned(),
        253 => "default".to_owned(),
        other => other.to_string(),
    }
}

/// Who made a route or rule (`RTPROT_*` in include/uapi/linux/rtnetlink.h).
pub(super) fn protocol(number: u8) -> String {
    let name = match number {
        1 => "redirect",
        2 => "kernel",
        3 => "boot",
        4 => "static",
        8 => "gated",
        9 => "ra",
        10 => "mrt",
        11 => "zebra",
        12 => "bird",
        13 => "dnrouted",
        14 => "xorp",
        15 => "ntk",
        16 => "dhcp",
        17 => "mrouted",
        18 => "keepalived",
        42 => "babel",
        186 => "bgp",
        187 => "isis",
        188 => "ospf",
        189 => "rip",
        192 => "eigrp",
        other => return other.to_string(),
    };
    name.to_owned()
}

/// How far an address or route reaches (`RT_SCOPE_*`).
pub(super) fn scope(number: u8) -> String {
    let name = match number {
        0 => value::GLOBAL,
        200 => "site",
        253 => "link",
        254 => "host",
        255 => "nowhere",
        other => return other.to_string(),
    };
    name.to_owned()
}

/// The numbers of all that a route can do with a packet (`RTN_*`, without `RTN_UNSPEC`).
pub(super) const ACTIONS: RangeInclusive<u8> = 1..=11;

/// What a route or rule does with a packet (`RTN_*`; `FR_ACT_*` has the same numbers for what is no table).
pub(super) fn action(number: u8) -> String {
    let name = match number {
        1 => value::UNICAST,
        2 => value::LOCAL,
        3 => "broadcast",
        4 => "anycast",
        5 => "multicast",
        6 => "blackhole",
        7 => "unreachable",
        8 => "prohibit",
        9 => "throw",
        10 => "nat",
        11 => "xresolve",
        other => return other.to_string(),
    };
    name.to_owned()
}

/// Words with spaces between them, without those that are empty.
pub(super) fn sentence(words: impl IntoIterator<Item = String>) -> String {
    let words: Vec<String> = words.into_iter().filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

#[cfg(test)]
pub(super) mod tests {
    pub(in super::super) use super::super::super::netlink::tests::attribute;
    use super::*;

    /// `eth0` is 2, `eth1` is 3.
    pub(in super::super) fn devices() -> Devices {
        Devices(BTreeMap::from([(2, "eth0".to_owned()), (3, "eth1".to_owned())]))
    }

    /// Neither a message that is cut off anywhere nor one with an attribute that nobody knows makes a parser panic.
    pub(in super::super) fn survives(whole: &[u8], parse: &dyn Fn(&[u8])) {
        for length in 0..whole.len() {
            parse(&whole[..length]);
        }
        parse(&[whole, &attribute(999, b"?")].concat());
        parse(&[0xff; 256]);
    }

    #[test]
    fn what_has_no_name_is_a_number() {
        assert_eq!(
            [
                table(254),
                table(2004),
                protocol(16),
                protocol(99),
                scope(254),
                action(6),
                action(0)
            ],
            ["main", "2004", "dhcp", "99", "host", "blackhole", "0"]
        );
        assert_eq!(network("10.0.0.1".parse().unwrap(), 32), "10.0.0.1");
        assert_eq!(network("fe80::".parse().unwrap(), 64), "fe80::/64");
        assert_eq!(devices().name(9), "if9");
        assert_eq!(address(&[1, 2, 3]), None);
    }
}
