//! Which changes can bring which findings about, by the way the kernel works. A change of another kind at the same time
//! coincides with it, and no more.

use super::Finding;
use crate::event::{FlowKey, TABLE_LOCAL, Thing, Version, value};
use crate::model::timeline::{Change, Subject};

/// No change explains it by itself.
pub(super) fn none(_: &Finding, _: &Change) -> bool {
    false
}

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

/// It is not there any more.
fn is_gone(change: &Change) -> bool {
    change.after.is_none()
}

/// Some flow of the finding is of this version of IP; or its flows are not told.
fn concerns(finding: &Finding, version: Version) -> bool {
    let mut flows = finding.flows.iter();
    finding.flows.is_empty() || flows.any(|flow| Version::of(flow.local) == version)
}

/// Packets for an own address are taken for somebody else's: the rule to table local went, or the local route, or the address
/// with it (`fib_lookup`, `fib_del_ifaddr`).
pub(super) fn own_lookup(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::Rule { version, table, .. }) => {
            *table == TABLE_LOCAL && is_gone(change) && concerns(finding, *version)
        }
        Some(Thing::Route {
            action, destination, ..
        }) => action == value::LOCAL && is_gone(change) && concerns(finding, Version::of(*destination)),
        Some(Thing::Address { .. }) => address(finding, change),
        _ => false,
    }
}

/// An address of the node went away.
pub(super) fn address(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::Address { address, .. }) => {
            let is_its = |flow: &FlowKey| flow.local == *address;
            is_gone(change) && (finding.flows.is_empty() || finding.flows.iter().any(is_its))
        }
        _ => false,
    }
}

/// The rules of a firewall changed.
pub(super) fn firewall(finding: &Finding, change: &Change) -> bool {
    matches!(thing(finding, change), Some(Thing::Ruleset { .. }))
}

/// An XDP program was attached: by a link, or to the device itself, whose value names it.
pub(super) fn xdp(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::BpfLink { .. }) => is_of(change, "xdp"),
        Some(Thing::Link { .. }) => !is_gone(change),
        _ => false,
    }
}

/// A filter, or a program at a device, came or changed.
pub(super) fn traffic(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::BpfLink { .. }) => is_of(change, "tcx"),
        Some(Thing::Traffic { .. }) => !is_gone(change),
        _ => false,
    }
}

/// A program was attached to a cgroup: by a link, or by itself, of which only the program is told.
pub(super) fn cgroup(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::BpfLink { .. }) => is_of(change, "cgroup"),
        Some(Thing::Program { .. }) => is_of(change, "cgroup_skb"),
        _ => false,
    }
}

/// A program or link of this type is there.
fn is_of(change: &Change, kind: &str) -> bool {
    change
        .after
        .as_deref()
        .is_some_and(|now| now.split([',', ' ']).next() == Some(kind))
}

/// A device changed, or went.
pub(super) fn link(finding: &Finding, change: &Change) -> bool {
    matches!(thing(finding, change), Some(Thing::Link { .. }))
}

/// A parameter of the kernel changed.
pub(super) fn sysctl(finding: &Finding, change: &Change) -> bool {
    matches!(thing(finding, change), Some(Thing::Sysctl { .. }))
}

/// The way to a peer is another, or there is none: routes, rules, next hops, and the devices and addresses that they go with.
pub(super) fn way_out(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::Route { .. } | Thing::Rule { .. } | Thing::Nexthop { .. }) => true,
        Some(Thing::Address { .. }) => is_gone(change),
        Some(Thing::Link { .. }) => change.after.as_deref().is_none_or(|now| !value::is_up(now)),
        _ => false,
    }
}

/// A default route or a rule went away, as none does where a pod or a container is ended.
pub(super) fn way_out_lost(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::Route { prefix: 0, .. } | Thing::Rule { .. }) => is_gone(change),
        _ => false,
    }
}

/// A uplink is down, or gone.
pub(super) fn link_down(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::Link { .. }) => {
            let works = |now: &str| value::is_up(now) && value::has_carrier(now);
            change.after.as_deref().is_none_or(|now| !works(now))
        }
        _ => false,
    }
}

/// The packages of the node were changed.
pub(super) fn packages(_: &Finding, change: &Change) -> bool {
    matches!(change.subject, Subject::Packages(_))
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
        Some(
            Thing::Ruleset { .. }
            | Thing::Program { .. }
            | Thing::BpfLink { .. }
            | Thing::Traffic { .. }
            | Thing::Ipsec { .. },
        ) => true,
        Some(Thing::Link { .. } | Thing::Sysctl { .. }) => true,
        _ => way_out(finding, change) || own_lookup(finding, change),
    }
}

/// Neighbours are not answered any more: ARP is off at the device, the kernel's parameters forbid it, the address is gone, or
/// something takes the questions away.
pub(super) fn answers_to_neighbours(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::Link { .. } | Thing::Ruleset { .. } | Thing::Traffic { .. }) => true,
        Some(Thing::Sysctl { name }) => name.contains(".arp_"),
        _ => own_lookup(finding, change),
    }
}

/// Nothing comes back, by what this node does: requests leave another way or not at all.
pub(super) fn requests(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(
            Thing::Neighbour { .. } | Thing::Ruleset { .. } | Thing::Traffic { .. } | Thing::Ipsec { .. },
        ) => true,
        _ => way_out(finding, change),
    }
}

/// A unit whose sockets those were ended, or was started anew.
pub(super) fn unit_ended(finding: &Finding, change: &Change) -> bool {
    matches!(&change.subject, Subject::Unit(name) if finding.units.contains(name))
}
