//! Routes (`ip route`).

use std::net::IpAddr;
use std::time::Duration;

use super::super::netlink::{array_at, attributes, string, u16_at, u32_at};
use super::words::{
    ACTIONS, Devices, IPV6, action, address, network, protocol, scope, sentence, unspecified,
};
use crate::event::{Thing, value};

// include/uapi/linux/rtnetlink.h
pub(super) const GET: u16 = 26;
pub(super) const NEW: u16 = 24;
pub(super) const DELETE: u16 = 25;
/// Length of `struct rtmsg`.
pub(super) const HEADER: usize = 12;
const RTM_F_CLONED: u32 = 0x200;
const RTPROT_KERNEL: u8 = 2;
const RTN_ANYCAST: u8 = 4;
/// Before the type of service of packets that a route is for.
const TOS: &str = "tos";

/// A route and where it leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) thing: Thing,
    pub(super) value: String,
    /// It leads several ways.
    pub(super) several: bool,
    /// For how long it leads, where it ends by itself; for no time where it is over, though the kernel still has it.
    pub(super) left: Option<Duration>,
}

impl Route {
    /// No packet goes by it any more.
    pub(super) fn is_over(&self) -> bool {
        self.left.is_some_and(|left| left.is_zero())
    }
}

/// A route; `None` for what is none of IPv4 or IPv6, for what is remembered of one (`ip route show cache`), and for those of
/// anycast that the kernel makes for each address where IPv6 is forwarded: without them it loses nothing that it needs.
/// `struct rtmsg` { u8 family, destination and source length, tos, table, protocol, scope, type; u32 flags }
pub(super) fn parse(body: &[u8], devices: &Devices) -> Option<Route> {
    let &[
        family,
        prefix,
        from_length,
        tos,
        short_table,
        made_by,
        reach,
        kind,
        ..,
    ] = body
    else {
        return None;
    };
    let mut destination = unspecified(family)?;
    let is_of_forwarding = made_by == RTPROT_KERNEL && kind == RTN_ANYCAST;
    if u32_at(body, 8)? & RTM_F_CLONED != 0 || is_of_forwarding {
        return None;
    }
    let (mut table, mut metric) = (u32::from(short_table), 0);
    let (mut from, mut source, mut set, mut nexthop) =
        (String::new(), String::new(), String::new(), String::new());
    let (mut way, mut ways, mut left) = (Way::default(), Vec::new(), None);
    for (kind, value) in attributes(body.get(HEADER..)?) {
        match kind {
            1 => destination = address(value)?,
            2 => from = format!("{} {}", value::FROM, network(address(value)?, from_length)),
            4 => way.device = u32_at(value, 0)?,
            6 => metric = u32_at(value, 0)?,
            7 => source = format!("src {}", address(value)?),
            8 => set = options(value),
            9 => ways = multipath(value),
            12 => left = time_left(value),
            15 => table = u32_at(value, 0)?,
            30 => nexthop = format!("nhid {}", u32_at(value, 0)?),
            _ => way.add(kind, value),
        }
    }
    let several = ways.len() > 1;
    let mut leads: Vec<String> = ways
        .iter()
        .map(|hop| format!("nexthop {} weight {}", hop.text(devices), hop.weight))
        .collect();
    // That of IPv6 tells the one first that came last, and lists them in another order: it has none.
    if family == IPV6 {
        leads.sort_unstable();
    }
    let words = [
        from,
        if tos == 0 {
            String::new()
        } else {
            format!("{TOS} {tos:#04x}")
        },
        nexthop,
        way.text(devices),
        format!("proto {}", protocol(made_by)),
        // IPv6 has no other.
        if reach == 0 || family == IPV6 {
            String::new()
        } else {
            format!("{} {}", value::SCOPE, scope(reach))
        },
        source,
        set,
    ];
    Some(Route {
        thing: Thing::Route {
            table,
            action: action(kind),
            destination,
            prefix,
            metric,
        },
        value: sentence(words.into_iter().chain(leads)),
        several,
        left,
    })
}

/// The routes that this one may have taken the place of, by their things: those of the same destination and metric, whatever they
/// do with a packet. The kernel replaces one of them that is for the same packets, see [`is_for_the_same`].
pub(super) fn in_its_place(thing: &Thing) -> impl Iterator<Item = Thing> {
    let of = |number| {
        let mut other = thing.clone();
        if let Thing::Route { action: of, .. } = &mut other {
            *of = action(number);
        }
        other
    };
    ACTIONS.map(of).collect::<Vec<_>>().into_iter()
}

/// Routes of one destination with these values are for the same packets: for this the kernel looks for the source where it is one
/// of IPv6 (`fib6_add`), and for the type of service where it is one of IPv4 (`fib_find_alias`).
pub(super) fn is_for_the_same(one: &str, other: &str) -> bool {
    [value::FROM, TOS]
        .iter()
        .all(|word| value::after(one, word) == value::after(other, word))
}

/// What a route sets for what goes by it, as `ip` writes it (`RTAX_*`, without what was measured of peers before 3.6).
fn options(value: &[u8]) -> String {
    const RTAX_RTO_MIN: u16 = 13;
    // RTAX_LOCK: one bit for each of the others that nothing but this may set.
    let locked = attributes(value).find_map(|(kind, value)| u32_at(value, 0).filter(|_| kind == 1));
    let option = |(kind, value): (u16, &[u8])| {
        let number = || u32_at(value, 0).filter(|number| *number > 0);
        let (word, told) = match kind {
            2 => (value::MTU, number()?.to_string()),
            3 => ("window", number()?.to_string()),
            // In 1/8 and 1/4 ms.
            4 => ("rtt", format!("{}ms", number()? / 8)),
            5 => ("rttvar", format!("{}ms", number()? / 4)),
            6 => ("ssthresh", number()?.to_string()),
            7 => ("cwnd", number()?.to_string()),
            8 => ("advmss", number()?.to_string()),
            9 => ("reordering", number()?.to_string()),
            10 => ("hoplimit", number()?.to_string()),
            11 => ("initcwnd", number()?.to_string()),
            12 => ("features", features(number()?)),
            RTAX_RTO_MIN => ("rto_min", format!("{}ms", number()?)),
            14 => ("initrwnd", number()?.to_string()),
            15 => ("quickack", number()?.to_string()),
            16 => ("congctl", string(value)),
            17 => ("fastopen_no_cookie", number()?.to_string()),
            _ => return None,
        };
        // `ip` locks the least timeout in any case, and has no word for it there: the kernel goes by no other.
        let is_locked = kind != RTAX_RTO_MIN && locked.is_some_and(|locked| locked & 1 << kind != 0);
        let lock = if is_locked { value::LOCK } else { "" };
        Some(sentence([word.to_owned(), lock.to_owned(), told]))
    };
    sentence(attributes(value).filter_map(option))
}

/// `RTAX_FEATURE_*`: those that `ip` has a word for by it, the others by their bits.
fn features(bits: u32) -> String {
    match bits {
        1 => "ecn".to_owned(),
        other => format!("{other:#x}"),
    }
}

/// For how long a route leads. `struct rta_cacheinfo` { u32 references, last use; i32 expires, in 1/100 s (`USER_HZ`), which is
/// negative where that was before, and 0 for never; … } (`rtnl_put_cacheinfo`).
fn time_left(value: &[u8]) -> Option<Duration> {
    const TICK: u64 = 10;
    match u32_at(value, 8)?.cast_signed() {
        0 => None,
        expires => Some(Duration::from_millis(u64::try_from(expires).unwrap_or(0) * TICK)),
    }
}

/// The neighbours that a route leads by, of its value.
pub(super) fn gateways(value: &str) -> impl Iterator<Item = IpAddr> {
    let words = value.split(' ');
    let after = value.split(' ').skip(1);
    words
        .zip(after)
        .filter_map(|(word, next)| next.parse().ok().filter(|_| word == value::GATEWAY))
}

/// The same with the devices that they are on.
pub(super) fn ways(value: &str) -> impl Iterator<Item = (&str, IpAddr)> {
    let words: Vec<&str> = value.split(' ').collect();
    let way = |at: usize| match words.get(at..at + 4)? {
        [value::GATEWAY, gateway, value::DEVICE, device] => Some((*device, gateway.parse().ok()?)),
        _ => None,
    };
    (0..words.len()).filter_map(way).collect::<Vec<_>>().into_iter()
}

/// One of the ways that a route leads.
#[derive(Debug, Default)]
struct Way {
    device: u32,
    gateway: Option<IpAddr>,
    /// How the packet is wrapped up on the way (`enum lwtunnel_encap_types`), 0 for not at all.
    wrapped: u16,
    weight: u32,
}

impl Way {
    fn add(&mut self, kind: u16, value: &[u8]) {
        match kind {
            5 => self.gateway = address(value),
            // RTA_VIA: a gateway of another family: `struct rtvia` { u16 family } and the address.
            18 => self.gateway = value.get(2..).and_then(address),
            21 => self.wrapped = u16_at(value, 0).unwrap_or(0),
            _ => {}
        }
    }

    fn text(&self, devices: &Devices) -> String {
        let wrapped = match self.wrapped {
            0 => String::new(),
            1 => "encap mpls".to_owned(),
            2 => "encap ip".to_owned(),
            4 => "encap ip6".to_owned(),
            5 => "encap seg6".to_owned(),
            6 => "encap bpf".to_owned(),
            7 => "encap seg6local".to_owned(),
            other => format!("encap {other}"),
        };
        sentence([
            wrapped,
            self.gateway
                .map_or_else(String::new, |gateway| format!("{} {gateway}", value::GATEWAY)),
            match self.device {
                0 => String::new(),
                index => format!("{} {}", value::DEVICE, devices.name(index)),
            },
        ])
    }
}

/// A row of `struct rtnexthop` { u16 length; u8 flags, hops; i32 device }, each with attributes.
fn multipath(value: &[u8]) -> Vec<Way> {
    const HEADER: usize = 8;
    let mut ways = Vec::new();
    let mut rest = value;
    while let (Some(length), Some([_, hops]), Some(device)) =
        (u16_at(rest, 0), array_at::<2>(rest, 2), u32_at(rest, 4))
    {
        let Some(members) = rest.get(HEADER..usize::from(length)) else {
            break;
        };
        let mut way = Way {
            device,
            weight: u32::from(hops) + 1,
            ..Way::default()
        };
        for (kind, value) in attributes(members) {
            way.add(kind, value);
        }
        ways.push(way);
        rest = rest
            .get(usize::from(length).next_multiple_of(4)..)
            .unwrap_or_default();
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::super::words::tests::{attribute, devices, survives};
    use super::*;

    fn message(header: [u8; 8], flags: u32, more: &[Vec<u8>]) -> Vec<u8> {
        [&header[..], &flags.to_ne_bytes(), &more.concat()].concat()
    }

    fn number(kind: u16, number: u32) -> Vec<u8> {
        attribute(kind, &number.to_ne_bytes())
    }

    fn told(body: &[u8]) -> (String, String) {
        let route = parse(body, &devices()).unwrap();
        (route.thing.to_string(), route.value)
    }

    #[test]
    fn routes_are_told_as_ip_prints_them() {
        let default = [
            number(15, 254),
            attribute(5, &[10, 0, 0, 1]),
            number(4, 2),
            number(6, 100),
        ];
        let default = message([2, 0, 0, 0, 254, 16, 0, 1], 0, &default);
        assert_eq!(
            told(&default),
            (
                "route default (IPv4) metric 100".to_owned(),
                "via 10.0.0.1 dev eth0 proto dhcp".to_owned()
            )
        );
        let own = [
            attribute(1, &[10, 0, 0, 2]),
            attribute(7, &[10, 0, 0, 2]),
            number(4, 2),
        ];
        let own = message([2, 32, 0, 0, 255, 2, 254, 2], 0, &own);
        assert_eq!(
            told(&own),
            (
                "route local 10.0.0.2/32 table local".to_owned(),
                "dev eth0 proto kernel scope host src 10.0.0.2".to_owned()
            )
        );
        survives(&own, &|body| drop(parse(body, &devices())));
    }

    #[test]
    fn what_a_route_sets_is_told_as_ip_writes_it() {
        let told = |options: &[Vec<u8>]| {
            let body = message([2, 0, 0, 0, 254, 4, 0, 1], 0, &[attribute(8, &options.concat())]);
            survives(&body, &|body| drop(parse(body, &devices())));
            told(&body).1
        };
        let all = [
            number(1, 1 << 2 | 1 << 13),
            number(2, 1400),
            number(4, 80),
            number(5, 80),
            number(8, 1300),
            number(10, 64),
            number(11, 20),
            number(12, 1),
            number(13, 300),
            number(14, 30),
            attribute(16, b"bbr\0"),
        ];
        assert_eq!(
            told(&all),
            "proto static mtu lock 1400 rtt 10ms rttvar 20ms advmss 1300 hoplimit 64 initcwnd 20 features ecn \
             rto_min 300ms initrwnd 30 congctl bbr"
        );
        assert_eq!(told(&[number(2, 0), number(99, 1)]), "proto static");
    }

    #[test]
    fn each_of_several_ways_is_named() {
        let hop = |device: u32, hops: u8, last: u8| {
            let gateway = attribute(5, &[10, 0, 0, last]);
            let length = u16::try_from(8 + gateway.len()).unwrap();
            [
                &length.to_ne_bytes()[..],
                &[0, hops],
                &device.to_ne_bytes(),
                &gateway,
            ]
            .concat()
        };
        let ways = [hop(2, 0, 1), hop(3, 4, 9)].concat();
        let metrics = attribute(2, &1400_u32.to_ne_bytes());
        let more = [
            attribute(1, &[10, 9, 0, 0]),
            attribute(9, &ways),
            attribute(8, &metrics),
        ];
        let body = message([2, 16, 0, 0, 254, 4, 0, 1], 0, &more);
        assert_eq!(
            told(&body).1,
            "proto static mtu 1400 nexthop via 10.0.0.1 dev eth0 weight 1 nexthop via 10.0.0.9 dev eth1 weight 5"
        );
        assert!(parse(&body, &devices()).unwrap().several);
        let by: Vec<String> = gateways(&told(&body).1)
            .map(|gateway| gateway.to_string())
            .collect();
        assert_eq!(by, ["10.0.0.1", "10.0.0.9"]);
        survives(&body, &|body| drop(parse(body, &devices())));
    }

    #[test]
    fn a_gateway_may_be_of_the_other_family() {
        let via = [
            &10_u16.to_ne_bytes()[..],
            &[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        ]
        .concat();
        let body = message(
            [2, 0, 0, 0, 254, 186, 0, 1],
            0,
            &[attribute(18, &via), number(4, 3)],
        );
        assert_eq!(told(&body).1, "via fe80::1 dev eth1 proto bgp");
    }

    #[test]
    fn what_is_remembered_of_routes_is_none() {
        let none = |header, flags| assert_eq!(parse(&message(header, flags, &[]), &devices()), None);
        none([10, 128, 0, 0, 254, 0, 0, 1], RTM_F_CLONED);
        none([10, 128, 0, 0, 255, 2, 0, RTN_ANYCAST], 0);
        none([129, 0, 0, 0, 254, 2, 0, 1], 0);
    }
}
