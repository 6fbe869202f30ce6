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
/// It reaches everywhere.
pub(crate) const GLOBAL: &str = "global";
/// Another node has the address too: it is not used.
pub(crate) const DUPLICATE: &str = "dadfailed";
/// What the kernel does with packets: they are the node's own, or they are passed on.
pub(crate) const LOCAL: &str = "local";
pub(crate) const UNICAST: &str = "unicast";
/// The first word of an answer that does not say what the kernel would do.
pub(crate) const UNCLEAR: &str = "unclear";
/// What a rule begins with, before the source of packets.
pub(crate) const FROM: &str = "from";
/// What a rule that applies to all packets begins with.
pub(crate) const FROM_ALL: &str = "from all";
/// Before the table that a rule looks up.
pub(crate) const LOOKUP: &str = "lookup";
/// Before the shortest prefix that a rule takes from its table.
pub(crate) const SUPPRESS: &str = "suppress_prefixlength";

/// Before the name that a device had until it was renamed.
pub(crate) const WAS: &str = "was";
/// Before the device by which a route leads.
pub(crate) const DEVICE: &str = "dev";
/// Before the node by which it leads.
pub(crate) const GATEWAY: &str = "via";
/// A neighbour was asked for and does not tell its link-layer address: now, or given up.
pub(crate) const SILENT: [&str; 2] = ["FAILED", "INCOMPLETE"];

/// Before the offloads of a device that are off.
pub(crate) const OFF: &str = "off: ";
/// Between them.
pub(crate) const OF_OFFLOADS: &str = ", ";

/// The offloads that are off by this value.
pub(crate) fn off(offloads: &str) -> impl Iterator<Item = &str> {
    let off = offloads.strip_prefix(OFF).into_iter();
    off.flat_map(|off| off.split(OF_OFFLOADS))
}

/// A device has something at its other end.
pub(crate) const CARRIER: &str = "carrier";

/// The device of this value has a carrier.
pub(crate) fn has_carrier(device: &str) -> bool {
    device.split(OF_DEVICE).any(|word| word == CARRIER)
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

/// The address of this value reaches everywhere.
pub(crate) fn is_global(address: &str) -> bool {
    let mut words = address.split(' ');
    words.any(|word| word == SCOPE) && words.next() == Some(GLOBAL)
}

/// The address of this value is not used, since another node has it too.
pub(crate) fn is_duplicate(address: &str) -> bool {
    address.split(' ').any(|word| word == DUPLICATE)
}

/// The other end of a point-to-point address.
pub(crate) fn peer(address: &str) -> Option<IpAddr> {
    let mut words = address.split(' ');
    words.next().filter(|word| *word == PEER)?;
    words.next()?.parse().ok()
}

/// The device by which a route of this value leads, the first one where there are several.
pub(crate) fn leads_by(route: &str) -> Option<&str> {
    let mut words = route.split([' ', ';']);
    words.find(|word| *word == DEVICE)?;
    words.next()
}

/// A route of this value leads by another node, which passes on what it gets.
pub(crate) fn has_gateway(route: &str) -> bool {
    route.split(' ').any(|word| word == GATEWAY)
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

/// The network from which packets must be that a rule of this text is for; `None` where that is not one, or all others.
pub(crate) fn source(rule: &str) -> Option<(IpAddr, u8)> {
    let word = rule.strip_prefix(FROM)?.strip_prefix(' ')?.split(' ').next()?;
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
