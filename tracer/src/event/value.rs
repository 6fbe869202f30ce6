//! The words in the values of settings by which something is judged. Who writes them and who reads them has them from here,
//! so that neither can come to mean something else alone.

use std::net::IpAddr;

/// A device is up: the first word of its value.
pub(crate) const UP: &str = "up";
/// Between what is said of a device.
pub(crate) const OF_DEVICE: &str = ", ";
/// The firewall whose rules are told by their changes, as [`Thing::Ruleset`](super::Thing::Ruleset) names it.
pub(crate) const NF_TABLES: &str = "nf_tables";
/// Before the other end of a point-to-point address, at the beginning of its value.
pub(crate) const PEER: &str = "peer";
/// Before how far an address or route reaches.
pub(crate) const SCOPE: &str = "scope";
/// Before the label of an address, where that is not the name of its device.
pub(crate) const LABEL: &str = "label";
/// Before the metric of the route that comes with an address.
pub(crate) const METRIC: &str = "metric";
/// No route comes with the address.
pub(crate) const NO_ROUTE: &str = "noprefixroute";
/// Whether another node has the address is not looked for.
pub(crate) const NO_SEARCH: &str = "nodad";
/// It reaches everywhere.
pub(crate) const GLOBAL: &str = "global";
/// Another node has the address too: it is not used.
pub(crate) const DUPLICATE: &str = "dadfailed";
/// What the kernel does with packets: they are the node's own, or they are passed on.
pub(crate) const LOCAL: &str = "local";
pub(crate) const UNICAST: &str = "unicast";
/// Of a route that leaves what it is for to the next rule.
pub(crate) const THROW: &str = "throw";
/// And of routes that send them nowhere.
pub(crate) const REFUSING: [&str; 3] = ["unreachable", "blackhole", "prohibit"];
/// The first word of an answer that does not say what the kernel would do.
pub(crate) const UNCLEAR: &str = "unclear";
/// What a rule begins with, before the source of packets.
pub(crate) const FROM: &str = "from";
/// What a rule that applies to all packets begins with.
pub(crate) const FROM_ALL: &str = "from all";
/// Before where packets must go that a rule is for.
pub(crate) const TO: &str = "to";
/// What a rule begins with that is for all packets but those that it names.
pub(crate) const NOT: &str = "not";
/// Before the table that a rule looks up.
pub(crate) const LOOKUP: &str = "lookup";
/// Before the shortest prefix that a rule takes from its table.
pub(crate) const SUPPRESS: &str = "suppress_prefixlength";

/// Before the device that another one is a part of: a bridge, a bond, a VRF.
pub(crate) const MASTER: &str = "master";
/// Before the name that a device had until it was renamed.
pub(crate) const WAS: &str = "was";
/// Before the source of what is sent by a route, where it names one.
pub(crate) const SOURCE: &str = "src";
/// Before who set a route.
pub(crate) const ORIGIN: &str = "proto";
/// Before the device by which a route leads.
pub(crate) const DEVICE: &str = "dev";
/// Before the node by which it leads.
pub(crate) const GATEWAY: &str = "via";
/// A neighbour was asked for and does not tell its link-layer address: now, or given up.
pub(crate) const SILENT: [&str; 2] = ["FAILED", "INCOMPLETE"];

/// The link-layer address of a neighbour.
pub(crate) const LINK_ADDRESS: &str = "lladdr";
/// A neighbour was set by hand, and is not asked for.
pub(crate) const PERMANENT: &str = "PERMANENT";

/// Before the id of a BPF program that is attached somewhere.
pub(crate) const PROGRAM: &str = "program ";

/// The type of links that have their programs asked at a hook of netfilter.
pub(crate) const NETFILTER: &str = "netfilter";
/// Before the device that a BPF link is at, and before the number of its hook of netfilter.
const AT_DEVICE: &str = "device";
const HOOK: &str = "hook ";
/// The type of links of XDP; and what the part of a device's value begins with that names such a program, whatever its mode is.
pub(crate) const XDP: &str = "xdp";

/// A BPF program or link of this value is of this type.
pub(crate) fn is_of(bpf: &str, kind: &str) -> bool {
    bpf.split([',', ' ']).next() == Some(kind)
}

/// What a BPF link of this value is attached to, where that is told: behind its type and program, before what that program is.
fn attached(link: &str) -> Option<&str> {
    link.split("; ").next()?.split(OF_DEVICE).nth(2)
}

/// The program of a BPF link of this value, by its id.
pub(crate) fn linked_program(link: &str) -> Option<&str> {
    link.split([';', ',']).nth(1)?.trim_start().strip_prefix(PROGRAM)
}

/// The name of the device that a BPF link of this value is at; `None` where it is at none, or the name is not known.
pub(crate) fn linked_device(link: &str) -> Option<&str> {
    let (rest, name) = attached(link)?.rsplit_once(' ')?;
    let is_known = rest.rsplit(' ').next() == Some(AT_DEVICE) && name.parse::<u32>().is_err();
    is_known.then_some(name)
}

/// The hook of netfilter that a BPF link of this value is at, by its number and the family of its packets: `hook 1 of ip`.
pub(crate) fn netfilter_hook(link: &str) -> Option<(u32, &str)> {
    let (number, family) = attached(link)?.strip_prefix(HOOK)?.split_once(" of ")?;
    Some((number.parse().ok()?, family))
}

/// The XDP programs that the device of this value has, each with its mode: `xdpgeneric prog 7 (guard tag 0011223344556677 ...)`.
pub(crate) fn xdp(device: &str) -> impl Iterator<Item = &str> {
    device.split(OF_DEVICE).filter(|part| part.starts_with(XDP))
}

/// All offloads of a device are on; and before those that are not.
pub(crate) const ALL: &str = "all";
pub(crate) const ALL_BUT: &str = "all but ";
/// Between them.
pub(crate) const OF_OFFLOADS: &str = ", ";

/// The offloads that are off by this value.
pub(crate) fn off(offloads: &str) -> impl Iterator<Item = &str> {
    let off = offloads.strip_prefix(ALL_BUT).into_iter();
    off.flat_map(|off| off.split(OF_OFFLOADS))
}

/// A device has something at its other end.
pub(crate) const CARRIER: &str = "carrier";

/// Before the largest packet that a device takes, in bytes; and that by a route.
pub(crate) const MTU: &str = "mtu";
/// Behind the word for what a route sets, where nothing but the route may set it.
pub(crate) const LOCK: &str = "lock";
/// What a route sets beside where it leads, each before its value.
const OPTIONS: [&str; 17] = [
    MTU,
    LOCK,
    "window",
    "rtt",
    "rttvar",
    "ssthresh",
    "cwnd",
    "advmss",
    "reordering",
    "hoplimit",
    "initcwnd",
    "features",
    "rto_min",
    "initrwnd",
    "quickack",
    "congctl",
    "fastopen_no_cookie",
];
/// Before the link-layer address of a device.
pub(crate) const DEVICE_ADDRESS: &str = "address";
/// That of a device of this value.
pub(crate) fn device_address(device: &str) -> Option<&str> {
    let part = device
        .split(OF_DEVICE)
        .find_map(|part| part.strip_prefix(DEVICE_ADDRESS));
    part.map(str::trim_start)
}
/// Before the name servers of `/etc/resolv.conf`, at the beginning of its value.
pub(crate) const NAME_SERVERS: &str = "nameservers";
/// The same where it has none.
pub(crate) const NO_NAME_SERVERS: &str = "no nameservers";

/// The kernel parameters that tell how many connections are tracked, and how many may be.
pub(crate) const TRACKED: &str = "net.netfilter.nf_conntrack_count";
pub(crate) const TRACKED_MOST: &str = "net.netfilter.nf_conntrack_max";

/// The largest packet that the device of this value takes.
pub(crate) fn mtu(device: &str) -> Option<u32> {
    let mut words = device.split(OF_DEVICE).filter_map(|part| part.strip_prefix(MTU));
    words.next()?.trim_start().parse().ok()
}

/// The name servers that a value of `/etc/resolv.conf` has.
pub(crate) fn name_servers(file: &str) -> impl Iterator<Item = IpAddr> {
    let servers = file
        .split(", ")
        .next()
        .and_then(|part| part.strip_prefix(NAME_SERVERS));
    servers
        .unwrap_or_default()
        .split(' ')
        .filter_map(|server| server.parse().ok())
}

/// The device of this value has a carrier.
pub(crate) fn has_carrier(device: &str) -> bool {
    device.split(OF_DEVICE).any(|word| word == CARRIER)
}

/// What of a device says that it asks nobody for a link-layer address, and answers nobody who asks (`IFF_NOARP`).
pub(crate) const NO_ARP: &str = "no ARP";

/// The device of this value is such a one.
pub(crate) fn has_no_arp(device: &str) -> bool {
    device.split(OF_DEVICE).any(|word| word == NO_ARP)
}

/// The device of this value is up.
pub(crate) fn is_up(device: &str) -> bool {
    device.split(OF_DEVICE).next() == Some(UP)
}

/// The name that the device of this value had until it was renamed.
pub(crate) fn former(device: &str) -> Option<&str> {
    let parts = device.split(OF_DEVICE);
    parts.last()?.strip_prefix(WAS)?.strip_prefix(' ')
}

/// The name that a device had before this change of its value gave it another one, with what else its value was and is.
pub(crate) fn renaming<'a>(before: &'a str, after: &'a str) -> Option<(&'a str, &'a str, &'a str)> {
    fn beside(device: &str) -> &str {
        let end = former(device).and_then(|_| device.rsplit_once(OF_DEVICE));
        end.map_or(device, |(beside, _)| beside)
    }
    let was = former(after).filter(|was| former(before) != Some(was))?;
    Some((was, beside(before), beside(after)))
}

/// What stands behind this word in a value.
pub(crate) fn after<'a>(value: &'a str, word: &str) -> Option<&'a str> {
    let mut words = value.split(' ').skip_while(|one| *one != word);
    words.nth(1)
}

/// This word stands in a value.
pub(crate) fn has(value: &str, word: &str) -> bool {
    value.split(' ').any(|one| one == word)
}

/// The next hops of a route that has several, each with its device; by some a device is reached without a gateway.
pub(crate) fn next_hops(route: &str) -> impl Iterator<Item = (Option<IpAddr>, &str)> {
    let all = route.split("nexthop ").skip(1);
    all.filter_map(|hop| {
        let gateway = after(hop, GATEWAY).and_then(|gateway| gateway.parse().ok());
        Some((gateway, after(hop, DEVICE)?))
    })
}

/// The address of this value reaches everywhere.
pub(crate) fn is_global(address: &str) -> bool {
    after(address, SCOPE) == Some(GLOBAL)
}

/// The address of this value is not used, since another node has it too.
pub(crate) fn is_duplicate(address: &str) -> bool {
    has(address, DUPLICATE)
}

/// The other end of a point-to-point address.
pub(crate) fn peer(address: &str) -> Option<IpAddr> {
    let mut words = address.split(' ');
    words.next().filter(|word| *word == PEER)?;
    words.next()?.parse().ok()
}

/// Between the ways of a route that leads several ways and is told by each of them, as those of IPv6.
pub(crate) const WAYS: &str = "; ";

/// The words of a route's value, also where it is told by several ways. No name has a blank in it.
pub(crate) fn words(route: &str) -> impl Iterator<Item = &str> {
    route.split(WAYS).flat_map(|way| way.split(' '))
}

/// The device by which a route of this value leads, the first one where there are several.
pub(crate) fn leads_by(route: &str) -> Option<&str> {
    let mut words = words(route);
    words.find(|word| *word == DEVICE)?;
    words.next()
}

/// Routes of these values send packets the same way: by the same devices and gateways, whoever set them. One that names no source
/// has the kernel choose it.
pub(crate) fn leads_alike(one: &str, other: &str) -> bool {
    fn way(route: &str) -> (Vec<&str>, Option<&str>) {
        let all: Vec<&str> = words(route).collect();
        let is_beside = |word: &str| [ORIGIN, SCOPE, SOURCE].contains(&word) || OPTIONS.contains(&word);
        let way = all.iter().enumerate().filter(|(place, word)| {
            let before = place.checked_sub(1).map(|before| all[before]);
            !is_beside(word) && !before.is_some_and(is_beside)
        });
        (way.map(|(_, word)| *word).collect(), after(route, SOURCE))
    }
    let ((one, from), (other, other_from)) = (way(one), way(other));
    one == other && (from.is_none() || other_from.is_none() || from == other_from)
}

/// A route of this value leads by another node, which passes on what it gets.
pub(crate) fn has_gateway(route: &str) -> bool {
    has(route, GATEWAY)
}

/// The answer does not say what the kernel would do.
pub(crate) fn is_unclear(answer: &str) -> bool {
    answer.starts_with(UNCLEAR)
}

/// The rule of this text looks all of a table up for all packets.
pub(crate) fn is_for_all(rule: &str) -> bool {
    let what = rule
        .strip_prefix(FROM_ALL)
        .and_then(|rest| rest.strip_prefix(' '));
    let mut words = what.unwrap_or_default().split(' ');
    words.next() == Some(LOOKUP) && words.all(|word| word != SUPPRESS)
}

/// What a route or a rule of this action does is to send packets nowhere: whoever wants to is told, or not even that.
pub(crate) fn refuses(action: &str) -> bool {
    REFUSING.contains(&action)
}

/// The network from which packets must be that a rule of this text is for; `None` where that is not one, or all others.
pub(crate) fn source(rule: &str) -> Option<(IpAddr, u8)> {
    selected(rule, FROM)
}

/// The same of where they go.
pub(crate) fn destination(rule: &str) -> Option<(IpAddr, u8)> {
    selected(rule, TO)
}

/// The network behind a word of a rule, where it is no whole version of IP.
fn selected(rule: &str, by: &str) -> Option<(IpAddr, u8)> {
    let word = after(rule, by).filter(|_| !has(rule, NOT))?;
    let (address, prefix) = word.split_once('/').unwrap_or((word, ""));
    let address: IpAddr = address.parse().ok()?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let prefix = if prefix.is_empty() {
        whole
    } else {
        prefix.parse().ok()?
    };
    (prefix > 0).then_some((address, prefix))
}

/// Of values in parts, as those of devices are, the parts that differ: what stays says nothing.
pub(crate) fn differing(before: &str, after: &str) -> (String, String) {
    let parts = |value| str::split(value, OF_DEVICE).collect::<Vec<_>>();
    let (old, new) = (parts(before), parts(after));
    let all = old.iter().zip(&new).filter(|(old, new)| old != new);
    let (old_parts, new_parts): (Vec<&str>, Vec<&str>) = all.unzip();
    if old.len() == new.len() && !old_parts.is_empty() {
        (old_parts.join(OF_DEVICE), new_parts.join(OF_DEVICE))
    } else {
        (before.to_owned(), after.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_leads_by_a_device_whatever_that_is_called() {
        for (route, device) in [
            ("via 10.0.0.1 dev eth0 proto static", Some("eth0")),
            ("dev a;b scope link", Some("a;b")),
            ("via fe80::1 dev eth0; via fe80::2 dev eth1", Some("eth0")),
            ("nexthop via 10.0.0.1 dev eth0 weight 1", Some("eth0")),
            ("proto boot", None),
        ] {
            assert_eq!(leads_by(route), device, "{route}");
        }
    }

    #[test]
    fn routes_lead_alike_whoever_set_them() {
        let leased = "via 10.0.0.1 dev eth0 proto dhcp src 10.0.0.2";
        for (other, is) in [
            ("via 10.0.0.1 dev eth0", true),
            (
                "via 10.0.0.1 dev eth0 proto static scope global src 10.0.0.2",
                true,
            ),
            ("via 10.0.0.1 dev eth0 mtu lock 1400 hoplimit 64", true),
            ("via 10.0.0.1 dev eth0 proto static src 10.0.0.3", false),
            ("via 10.0.0.9 dev eth0 proto dhcp src 10.0.0.2", false),
            ("via 10.0.0.1 dev eth1 proto dhcp src 10.0.0.2", false),
            ("dev eth0 scope link", false),
            ("encap mpls 7 via 10.0.0.1 dev eth0", false),
        ] {
            assert_eq!(leads_alike(leased, other), is, "{other}");
            assert_eq!(leads_alike(other, leased), is, "{other}");
        }
    }

    #[test]
    fn a_bpf_link_is_at_a_device_or_a_hook() {
        let tcx = "tcx, program 12, tcx_ingress of device eth0; sched_cls guard tag 0011223344556677, loaded by uid 0";
        let filter = "netfilter, program 7, hook 1 of ip, priority -5; netfilter guard tag 0011223344556677";
        for (link, program, device, hook) in [
            (tcx, "12", Some("eth0"), None),
            ("xdp, program 3, device eth0", "3", Some("eth0"), None),
            ("xdp, program 3, device 14", "3", None, None),
            (
                "tcx, program 3, tcx_egress of a device that is gone",
                "3",
                None,
                None,
            ),
            (filter, "7", None, Some((1, "ip"))),
            ("xdp, program 3; xdp guard tag 0011223344556677", "3", None, None),
        ] {
            assert_eq!(linked_program(link), Some(program), "{link}");
            assert_eq!(linked_device(link), device, "{link}");
            assert_eq!(netfilter_hook(link), hook, "{link}");
        }
    }

    #[test]
    fn devices_and_files_say_what_rules_ask_them() {
        assert_eq!(mtu("up, carrier, mtu 1500, no ARP"), Some(1500));
        assert_eq!(mtu("up, carrier"), None);
        let servers = |file| {
            name_servers(file)
                .map(|server| server.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            servers("nameservers 10.0.0.53 2001:db8::53, search 10.0.0.54"),
            ["10.0.0.53", "2001:db8::53"]
        );
        assert!(servers("no nameservers, search a").is_empty() && servers("").is_empty());
    }

    #[test]
    fn a_rule_is_for_packets_from_a_network() {
        let network = |address: &str, prefix| Some((address.parse().unwrap(), prefix));
        for (rule, expected) in [
            ("from 10.244.0.2 lookup 2", network("10.244.0.2", 32)),
            (
                "from 10.244.0.0/24 to 10.0.0.0/8 lookup 2",
                network("10.244.0.0", 24),
            ),
            ("from 2001:db8::2 lookup 2", network("2001:db8::2", 128)),
            ("from all lookup local", None),
            ("not from 10.244.0.2 lookup 2", None),
            ("from 0.0.0.0/0 lookup 2", None),
            ("from", None),
        ] {
            assert_eq!(source(rule), expected, "{rule}");
        }
    }
}
