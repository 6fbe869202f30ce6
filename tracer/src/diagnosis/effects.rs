//! Which changes can bring which findings about, by the way the kernel works. A change of another kind at the same time
//! coincides with it, and no more.

mod programs;
mod rulesets;

use std::net::IpAddr;

use super::{Finding, gone_rules, taken, ways};
use crate::event::ruleset::{self, Came, Did};
use crate::event::{TABLE_LOCAL, TABLE_MAIN, Thing, Version, froze, network, value};
use crate::model::timeline::{Change, Subject};

pub(super) use programs::{cgroup, traffic, xdp};
use programs::{filters, takes_at};
pub(super) use rulesets::{firewall, firewall_shut, leads_away, masking, may_drop, only_drops, redirection};
use rulesets::{loaded_anew, may_decide, may_lead_elsewhere};

/// No change explains it by itself.
pub(super) fn none(_: &Finding, _: &Change) -> bool {
    false
}

/// Flows that each of very many changes is held against.
const FLOWS: usize = 1_024;

/// The thing of the configuration that changed, where it is one of the namespaces of the finding or of the whole node.
fn thing<'a>(finding: &Finding, change: &'a Change) -> Option<&'a Thing> {
    match &change.subject {
        Subject::Setting(netns, thing)
            if *netns == 0 || finding.namespaces.is_empty() || finding.namespaces.contains(netns) =>
        {
            Some(thing)
        }
        _ => None,
    }
}

/// The device is one of the finding's; or its devices are not told.
fn is_at(finding: &Finding, device: &str) -> bool {
    finding.devices.is_empty() || finding.devices.contains(device)
}

/// The address is in the network of that prefix.
pub(super) fn covers(destination: IpAddr, prefix: u8, address: IpAddr) -> bool {
    network(destination, prefix) == network(address, prefix)
}

/// The address is one of those that go no further than the link.
pub(super) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// It is not there any more.
fn is_gone(change: &Change) -> bool {
    change.after.is_none()
}

/// Some flow of the finding is of this version of IP; or its flows are not told.
fn concerns(finding: &Finding, version: Version) -> bool {
    finding.flows.locals().are_of(version)
}

/// Packets for an own address are taken for somebody else's: the rule to table local went, or the local route, or the address
/// with it (`fib_lookup`, `fib_del_ifaddr`).
pub(super) fn own_lookup(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::Rule { version, table, .. }) => {
            *table == TABLE_LOCAL && is_gone(change) && concerns(finding, *version)
        }
        Some(Thing::Route {
            action,
            destination,
            prefix,
            ..
        }) => {
            action == value::LOCAL && is_gone(change) && finding.flows.locals().are_in(*destination, *prefix)
        }
        Some(Thing::Address { .. }) => address(finding, change),
        _ => false,
    }
}

/// An address of the node went away.
pub(super) fn address(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::Address { address, .. }) => is_gone(change) && finding.flows.locals().have(*address),
        _ => false,
    }
}

/// What leaves by a device waits and is dropped otherwise: a queueing discipline, a class of one, or a filter that leads there.
pub(super) fn queueing(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::Traffic { device, .. }) => !is_gone(change) && is_at(finding, device),
        _ => false,
    }
}

/// Only some of the pieces of a packet get as far as the stack: the device takes smaller ones than before, or a program or
/// filter at it takes some away.
pub(super) fn pieces(finding: &Finding, change: &Change) -> bool {
    xdp(finding, change) || traffic(finding, change) || mtu(finding, change)
}

/// A device of the finding takes smaller packets than before.
pub(super) fn mtu(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::Link { device }) => is_at(finding, device) && is_smaller(change),
        _ => false,
    }
}

/// A device takes smaller packets than before.
pub(super) fn is_smaller(change: &Change) -> bool {
    let mtu = |value: &Option<String>| value.as_deref().and_then(value::mtu);
    let both = mtu(&change.before).zip(mtu(&change.after));
    both.is_some_and(|(was, is)| is < was)
}

/// A device asks for no link-layer address any more: what leaves by it has its own one, and reaches nobody (`arp_constructor`,
/// `ndisc_constructor`).
pub(super) fn asks_no_more(change: &Change) -> bool {
    let both = change.before.as_deref().zip(change.after.as_deref());
    both.is_some_and(|(was, is)| !value::has_no_arp(was) && value::has_no_arp(is))
}

/// The device by which they arrive changed.
pub(super) fn link(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::Link { device }) => is_at(finding, device),
        _ => false,
    }
}

/// The device by which they arrive changed; or where another namespace of this node sends them, its neighbour with their address was
/// set by hand.
pub(super) fn link_address_differs(finding: &Finding, change: &Change) -> bool {
    match &change.subject {
        Subject::Setting(netns, Thing::Neighbour { address, .. }) => {
            // In its own namespace a neighbour with its own address leads nothing here.
            !finding.namespaces.contains(netns)
                && misleads_by_hand(change)
                && finding.flows.some(FLOWS).any(|flow| flow.local == *address)
        }
        _ => link(finding, change),
    }
}

/// A device, or what it is to do with checksums and the like, changed.
pub(super) fn link_or_offloads(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::Offloads { device }) => is_at(finding, device),
        _ => link(finding, change),
    }
}

/// A device went away.
pub(super) fn link_gone(finding: &Finding, change: &Change) -> bool {
    matches!(thing(finding, change), Some(Thing::Link { .. })) && is_gone(change)
}

/// IPv6 was switched off.
pub(super) fn ipv6_off(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::Sysctl { name }) => {
            name.ends_with(".disable_ipv6") && change.after.as_deref().is_some_and(|now| now != "0")
        }
        _ => false,
    }
}

/// The room of connection tracking was changed.
pub(super) fn conntrack_room(finding: &Finding, change: &Change) -> bool {
    matches!(thing(finding, change), Some(Thing::Sysctl { name }) if name.ends_with("nf_conntrack_max"))
}

/// The way to a peer is another, or there is none: routes that lead to it, rules, next hops, and the devices and addresses that
/// they go with.
pub(super) fn way_out(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::Route {
            destination, prefix, ..
        }) => {
            let peers = finding.flows.remotes();
            (is_gone(change) || turned_away(change) || peers.are_told())
                && peers.are_in(*destination, *prefix)
        }
        Some(Thing::Rule { version, text, .. }) => {
            (is_gone(change) || turned_away(change) || !finding.flows.is_empty())
                && concerns(finding, *version)
                && selects(finding, text)
        }
        Some(Thing::Nexthop { .. }) => true,
        Some(Thing::Ipsec { .. }) => turned_away(change),
        Some(Thing::Address { .. }) => address(finding, change),
        Some(Thing::Link { .. }) => change.after.as_deref().is_none_or(|now| !value::is_up(now)),
        _ => false,
    }
}

/// There is no way to a peer any more: see [`way_out`]. A route that leads somewhere is none by which there is none, nor one that
/// led nowhere and went away. With IPv6 go all its routes (`addrconf_ifdown`, net/ipv6/addrconf.c).
pub(super) fn no_way(finding: &Finding, change: &Change) -> bool {
    if matches!(change.subject, Subject::Setting(_, Thing::Sysctl { .. })) {
        return ipv6_off(finding, change) && concerns(finding, Version::V6);
    }
    let leads = match thing(finding, change) {
        Some(Thing::Route { action, .. }) => is_gone(change) == value::refuses(action),
        _ => false,
    };
    !leads && way_out(finding, change)
}

/// A rule of this text may be for packets of the finding: from its flows' own addresses, and to their peers.
fn selects(finding: &Finding, text: &str) -> bool {
    let flows = &finding.flows;
    let own = value::source(text).is_none_or(|(from, prefix)| flows.locals().are_in(from, prefix));
    let theirs = value::destination(text).is_none_or(|(to, prefix)| flows.remotes().are_in(to, prefix));
    flows.is_empty() || (own && theirs)
}

/// A route came that sends packets nowhere, a rule by which some are looked up in another table than before, or a policy of IPsec.
fn turned_away(change: &Change) -> bool {
    let came = change.before.is_none() && change.after.is_some();
    came && match &change.subject {
        Subject::Setting(_, Thing::Route { action, .. }) => value::refuses(action),
        Subject::Setting(_, Thing::Rule { .. }) => true,
        Subject::Setting(_, Thing::Ipsec { text }) => text.starts_with("out,"),
        _ => false,
    }
}

/// A default route of table main went away, or a rule that all packets go by, as neither does where a pod or a container is
/// ended; or [`turned_away`].
pub(super) fn way_out_lost(finding: &Finding, change: &Change) -> bool {
    if turned_away(change) {
        return way_out(finding, change);
    }
    let is_way = match thing(finding, change) {
        Some(Thing::Route {
            action,
            destination,
            prefix: 0,
            table: TABLE_MAIN,
            ..
        }) => !value::refuses(action) && concerns(finding, Version::of(*destination)),
        Some(Thing::Rule { version, text, .. }) => value::is_for_all(text) && concerns(finding, *version),
        _ => false,
    };
    is_way && is_gone(change)
}

/// The way to what the finding's packets are for is another, or there is none: a route to it went away or leads by another device
/// than before, or its device changed.
pub(super) fn way_in(finding: &Finding, change: &Change) -> bool {
    let leads_by = |value: &Option<String>| value.as_deref().and_then(value::leads_by).map(str::to_owned);
    let leads_elsewhere = || change.before.is_some() && leads_by(&change.before) != leads_by(&change.after);
    match thing(finding, change) {
        // A default route leads to nobody behind this node.
        Some(Thing::Route {
            destination, prefix, ..
        }) => {
            (is_gone(change) || leads_elsewhere())
                && *prefix > 0
                && finding.flows.locals().are_in(*destination, *prefix)
        }
        Some(Thing::Link { device }) => is_at(finding, device),
        _ => false,
    }
}

/// A device takes smaller packets than before, or a firewall that may keep back what tells their senders was changed.
pub(super) fn too_large(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::Ruleset { .. } | Thing::Tracking | Thing::BpfLink { .. }) => firewall(finding, change),
        _ => mtu(finding, change),
    }
}

/// Forwarding was switched off.
pub(super) fn forwarding_off(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::Sysctl { name }) => {
            name.ends_with(".conf.all.forwarding") && change.after.as_deref() == Some("0")
        }
        _ => false,
    }
}

/// What is handed to a device of the finding does not get there any more: the device or a neighbour there changed, something
/// at the device takes packets away, or a route leads there since that led elsewhere.
pub(super) fn hand_over(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::Route {
            destination, prefix, ..
        }) => {
            let by = |value: &Option<String>| value.as_deref().and_then(value::leads_by).map(str::to_owned);
            let leads_there = |device: String| is_at(finding, &device) && by(&change.before) != Some(device);
            by(&change.after).is_some_and(leads_there)
                && finding
                    .flows
                    .some(FLOWS)
                    .any(|flow| covers(*destination, *prefix, flow.local))
        }
        Some(Thing::Link { device } | Thing::Traffic { device, .. }) => is_at(finding, device),
        Some(Thing::Neighbour { device, .. }) => is_at(finding, device) && misleads(change),
        Some(Thing::BpfLink { .. }) => takes_at(finding, change, &["xdp", "tcx"]),
        _ => false,
    }
}

/// What is for a neighbour goes elsewhere than before: it has another link-layer address, or was set by hand, or is not any more.
/// One that was forgotten is asked for anew, and one that does not answer is no cause but what is seen of it.
fn misleads(change: &Change) -> bool {
    match (link_address(&change.before), link_address(&change.after)) {
        (None, Some(_)) => is_by_hand(&change.after),
        (Some(_), None) => is_by_hand(&change.before),
        (was, is) => was != is,
    }
}

fn link_address(neighbour: &Option<String>) -> Option<&str> {
    value::after(neighbour.as_deref()?, value::LINK_ADDRESS)
}

fn is_by_hand(value: &Option<String>) -> bool {
    value
        .as_deref()
        .is_some_and(|value| value::has(value, value::PERMANENT))
}

/// A neighbour was set by hand, and has another link-layer address than before, if one was known.
pub(super) fn misleads_by_hand(change: &Change) -> bool {
    is_by_hand(&change.after) && link_address(&change.before) != link_address(&change.after)
}

/// A route of this value leads as that one did: packets also leave from no other address than before.
pub(super) fn leads_as(before: &str, after: &str) -> bool {
    let from = value::after(after, value::SOURCE);
    value::leads_alike(before, after) && (from.is_none() || from == value::after(before, value::SOURCE))
}

/// The way to the finding's peers, or the neighbour by which they are reached, leads elsewhere; or the address of one of them came
/// to this node.
pub(super) fn led_astray(finding: &Finding, change: &Change) -> bool {
    let takes_its_address = || {
        matches!(thing(finding, change), Some(Thing::Address { address, .. })
            if taken::came(change).is_some() && finding.flows.remotes().have(*address))
    };
    if takes_its_address() {
        return true;
    }
    ways::leads_astray(change)
        && match thing(finding, change) {
            Some(Thing::Neighbour { device, .. } | Thing::Link { device }) => is_at(finding, device),
            Some(Thing::Route {
                destination, prefix, ..
            }) => finding.flows.remotes().are_in(*destination, *prefix),
            Some(Thing::Rule { version, text, .. }) => concerns(finding, *version) && selects(finding, text),
            Some(Thing::Ruleset { .. }) => ways::is_given(change, finding.flows.some(FLOWS)),
            _ => false,
        }
}

/// A device of the finding is down, without carrier, or gone.
pub(super) fn link_down(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::Link { device }) => is_at(finding, device) && stops(change),
        _ => false,
    }
}

/// The device worked before the change, and does not since.
pub(super) fn stops(change: &Change) -> bool {
    let works = |value: &Option<String>| {
        let value = value.as_deref();
        value.is_some_and(|value| value::is_up(value) && value::has_carrier(value))
    };
    works(&change.before) && !works(&change.after)
}

/// Loopback was taken away: the device was set down, its address or a local route of it went.
pub(super) fn loopback(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::Link { device }) => is_at(finding, device) && stops(change),
        Some(Thing::Address { device, address, .. }) => {
            is_at(finding, device)
                && address.is_loopback()
                && is_gone(change)
                && concerns(finding, Version::of(*address))
        }
        Some(Thing::Route {
            table: TABLE_LOCAL,
            destination,
            ..
        }) => destination.is_loopback() && is_gone(change) && concerns(finding, Version::of(*destination)),
        _ => false,
    }
}

/// The reverse path filter refuses what it let in before: it is stricter, or the way back is another (`__fib_validate_source`).
pub(super) fn reverse_path(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::Sysctl { name }) => {
            name.ends_with(".rp_filter") && change.after.as_deref().is_some_and(|now| now != "0")
        }
        _ => way_out(finding, change),
    }
}

/// Something between the device and the socket decides otherwise: firewalls, programs, filters, and all that [`way_out`] says.
pub(super) fn receive_path(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::Ruleset { .. }) => may_decide(change),
        Some(
            Thing::Tracking
            | Thing::Program { .. }
            | Thing::BpfLink { .. }
            | Thing::CgroupPrograms { .. }
            | Thing::Traffic { .. }
            | Thing::Ipsec { .. },
        ) => true,
        Some(Thing::Link { .. } | Thing::Sysctl { .. }) => true,
        _ => way_out(finding, change) || own_lookup(finding, change) || turned_back(finding, change),
    }
}

/// A rule came that refuses packets from peers for an own address, whatever table local has (`fib_rule_action`: FR_ACT_BLACKHOLE,
/// FR_ACT_UNREACHABLE and FR_ACT_PROHIBIT).
fn turned_back(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::Rule { version, text, .. }) => {
            let flows = &finding.flows;
            let theirs =
                value::source(text).is_none_or(|(from, prefix)| flows.remotes().are_in(from, prefix));
            let own = value::destination(text).is_none_or(|(to, prefix)| flows.locals().are_in(to, prefix));
            turned_away(change)
                && value::REFUSING.iter().any(|action| value::has(text, action))
                && concerns(finding, *version)
                && theirs
                && own
        }
        _ => false,
    }
}

/// Neighbours are not answered any more: ARP is off at the device, the kernel's parameters forbid it, the address is gone, or
/// something takes the questions away.
pub(super) fn answers_to_neighbours(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::Ruleset { .. }) => loaded_anew(change) != Some(false),
        Some(Thing::Link { .. } | Thing::Traffic { .. }) => true,
        Some(Thing::BpfLink { .. }) => takes_at(finding, change, &["xdp", "tcx"]) || filters(finding, change),
        Some(Thing::Sysctl { name }) => name.contains(".arp_"),
        _ => own_lookup(finding, change),
    }
}

/// Nothing comes back, by what this node does: requests leave another way or not at all; or a device ceased to work, as by what is
/// at its other end, or to ask for link-layer addresses.
pub(super) fn requests(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::Ruleset { .. }) => {
            let did = ruleset::read(change.after.as_deref().unwrap_or_default());
            did.is_empty() || did.iter().any(|did| did.as_ref().is_none_or(may_lead_elsewhere))
        }
        Some(Thing::Traffic { .. } | Thing::Ipsec { .. }) => true,
        Some(Thing::BpfLink { .. }) => takes_at(finding, change, &["tcx"]),
        Some(Thing::Link { device }) if is_at(finding, device) && (stops(change) || asks_no_more(change)) => {
            true
        }
        Some(Thing::Neighbour { .. }) => misleads(change),
        _ => way_out(finding, change),
    }
}

/// The same; or others are asked than before: `/etc/resolv.conf` names one that it did not name.
pub(super) fn names(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::File { .. }) => {
            let is_named = |file: &Option<String>, server: IpAddr| {
                value::name_servers(file.as_deref().unwrap_or_default()).any(|named| named == server)
            };
            let mut named = value::name_servers(change.after.as_deref().unwrap_or_default());
            let is_new =
                |server: IpAddr| !is_named(&change.before, server) && finding.flows.remotes().have(server);
            finding.flows.is_empty() || named.any(is_new)
        }
        _ => requests(finding, change),
    }
}

/// A rule for packets from some address went away.
pub(super) fn source_rule(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::Rule { text, .. }) => is_gone(change) && value::source(text).is_some(),
        _ => false,
    }
}

/// The folder of the running kernel's modules changed.
pub(super) fn modules(finding: &Finding, change: &Change) -> bool {
    matches!(thing(finding, change), Some(Thing::Modules { .. }))
}

/// A unit whose sockets those were ended, or was started anew.
pub(super) fn unit_ended(finding: &Finding, change: &Change) -> bool {
    matches!(&change.subject, Subject::Unit(name) if finding.units.contains(name))
}

/// The same; or a rule came that leads packets elsewhere, and nobody was ever seen to listen where they come to.
pub(super) fn nobody_listens(finding: &Finding, change: &Change) -> bool {
    let leads_elsewhere = || {
        let did = ruleset::read(change.after.as_deref().unwrap_or_default());
        did.iter()
            .flatten()
            .any(|did| matches!(did, Did::Rule { words, came: Came::New, .. } if gone_rules::leads_elsewhere(words)))
    };
    match thing(finding, change) {
        Some(Thing::Ruleset { .. }) => finding.units.is_empty() && leads_elsewhere(),
        _ => unit_ended(finding, change),
    }
}

/// A unit that stands so is there: it has been started.
pub(super) fn is_started(state: &str) -> bool {
    let word = state.split(' ').next().unwrap_or_default();
    ["active", "reloading", "refreshing"].contains(&word)
}

/// A unit of the finding was stopped, or ended.
pub(super) fn unit_stopped(finding: &Finding, change: &Change) -> bool {
    let runs = |value: &Option<String>| {
        let value = value.as_deref();
        value.is_some_and(|value| is_started(value) || value.split(' ').next() == Some("activating"))
    };
    unit_ended(finding, change) && runs(&change.before) && !runs(&change.after)
}

/// A unit of the finding was frozen: its processes read nothing since.
pub(super) fn unit_frozen(finding: &Finding, change: &Change) -> bool {
    let states = change.before.as_deref().zip(change.after.as_deref());
    unit_ended(finding, change) && states.is_some_and(|(was, is)| froze(was, is) == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_that_is_forgotten_or_silent_explains_nothing() {
        const FIRST: &str = "lladdr 02:00:00:00:00:01";
        const OTHER: &str = "lladdr 02:00:00:00:00:02";
        const BY_HAND: &str = "lladdr 02:00:00:00:00:01 PERMANENT";
        for (before, after, is) in [
            (Some(FIRST), None, false),
            (Some(FIRST), Some("FAILED"), false),
            (Some("FAILED"), Some(FIRST), false),
            (Some("INCOMPLETE"), Some("FAILED"), false),
            (None, Some(FIRST), false),
            (Some(FIRST), Some(OTHER), true),
            // It is where it was.
            (Some(FIRST), Some(BY_HAND), false),
            (Some(OTHER), Some(BY_HAND), true),
            (None, Some(BY_HAND), true),
            (Some(BY_HAND), None, true),
        ] {
            let change = Change {
                at: 1,
                subject: Subject::Setting(
                    1,
                    Thing::Neighbour {
                        device: "eth0".to_owned(),
                        address: "10.0.0.1".parse().unwrap(),
                    },
                ),
                before: before.map(str::to_owned),
                after: after.map(str::to_owned),
                by: None,
                by_unknown: None,
                noticed: false,
            };
            assert_eq!(misleads(&change), is, "{before:?} {after:?}");
        }
    }

    #[test]
    fn a_network_covers_its_addresses() {
        for (network, prefix, address, is) in [
            ("0.0.0.0", 0, "192.0.2.10", true),
            ("192.0.2.0", 24, "192.0.2.10", true),
            ("192.0.2.10", 32, "192.0.2.10", true),
            ("192.0.2.10", 32, "192.0.2.11", false),
            ("198.51.100.0", 24, "192.0.2.10", false),
            ("::", 0, "2001:db8::1", true),
            ("2001:db8::", 64, "2001:db8::1", true),
            ("2001:db8:1::", 64, "2001:db8::1", false),
            ("::", 0, "192.0.2.10", false),
        ] {
            let (network, address): (IpAddr, IpAddr) = (network.parse().unwrap(), address.parse().unwrap());
            assert_eq!(
                covers(network, prefix, address),
                is,
                "{network}/{prefix} {address}"
            );
        }
    }
}
