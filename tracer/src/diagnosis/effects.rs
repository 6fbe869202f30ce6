//! Which changes can bring which findings about, by the way the kernel works. A change of another kind at the same time
//! coincides with it, and no more.

use super::Finding;
use crate::event::{TABLE_LOCAL, Thing, value};
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

/// Packets for an own address are taken for somebody else's: the rule to table local went, or the local route, or the address
/// with it (`fib_lookup`, `fib_del_ifaddr`).
pub(super) fn own_lookup(finding: &Finding, change: &Change) -> bool {
    match thing(finding, change) {
        Some(Thing::Rule { table, .. }) => *table == TABLE_LOCAL && is_gone(change),
        Some(Thing::Route { action, .. }) => action == value::LOCAL && is_gone(change),
        Some(Thing::Address { .. }) => is_gone(change),
        _ => false,
    }
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
            Thing::Ruleset { .. } | Thing::Program { .. } | Thing::BpfLink { .. } | Thing::Traffic { .. },
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
        Some(Thing::Neighbour { .. } | Thing::Ruleset { .. } | Thing::Traffic { .. }) => true,
        _ => way_out(finding, change),
    }
}

/// A unit whose sockets those were ended, or was started anew.
pub(super) fn unit_ended(finding: &Finding, change: &Change) -> bool {
    matches!(&change.subject, Subject::Unit(name) if finding.units.contains(name))
}
