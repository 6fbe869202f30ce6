//! What the kernel itself makes of a change: a device that is set down loses its routes.

use std::cmp::Ordering;

use super::{became, turn};
use crate::event::{Thing, Unknown, Version, of_each_device, value};
use crate::model::timeline::{Change, Subject};
use crate::report::Became;

/// The kernel parameter with which all addresses and routes of IPv6 go (addrconf_disable_ipv6).
pub(super) const DISABLE_IPV6: &str = ".disable_ipv6";
/// What those of IPv6 begin with.
const IPV6: &str = "net.ipv6.";

/// What ends by itself does so whatever else changes, but for an address that ends and takes its routes along.
pub(super) fn may_end(cause: &Change, change: &Change) -> bool {
    let is_over = |change: &Change| change.by_unknown == Some(Unknown::Expired);
    !is_over(change) || is_over(cause)
}

/// Whether the kernel itself makes such a change where somebody has made the other one.
pub(super) fn brings_about(by: &Change, effect: &Change) -> bool {
    let (Subject::Setting(_, cause), Subject::Setting(_, of)) = (&by.subject, &effect.subject) else {
        return false;
    };
    let is_gone = by.after.is_none();
    match cause {
        // unregister_netdevice_many: a device that goes is set down first.
        Thing::Link { device } if is_gone && matches!(of, Thing::Link { .. }) => {
            matches!(of, Thing::Link { device: of } if of == device) && effect.after.is_some()
        }
        // fib_disable_ip, addrconf_ifdown, neigh_ifdown, pneigh_ifdown, dev_shutdown: and the other way round where it is set up.
        Thing::Link { device } => match of {
            Thing::Address { device: of, .. }
            | Thing::Neighbour { device: of, .. }
            | Thing::Proxy { device: of, .. } => of == device && is_of_its_kind(by, effect),
            Thing::Traffic { device: of, .. } => {
                of == device && (is_gone || by.before.is_none() || turn(by).is_ne())
            }
            Thing::Answer { device: of, .. } => of == device,
            Thing::Offloads { device: of } => of == device && may_limit_offloads(by),
            Thing::Route { .. } => is_of_its_kind(by, effect) && devices(effect).any(|of| of == device),
            Thing::Sysctl { name } => {
                of_each_device(name).is_some_and(|(begin, of, _)| {
                    of == device && became(effect) == of_parameters(by, begin.starts_with(IPV6))
                }) && became(effect) != Became::Changed
            }
            _ => false,
        },
        Thing::Rule { version, .. } | Thing::NoRules { version } => {
            matches!(of, Thing::Answer { address, .. } if Version::of(*address) == *version)
        }
        // fib_del_ifaddr, ipv6_ifa_notify.
        Thing::Address { device, address, .. } => match of {
            Thing::Route { destination, .. } => {
                Version::of(*destination) == Version::of(*address) && devices(effect).any(|of| of == device)
            }
            Thing::Address {
                device: of,
                address: other,
                ..
            }
            | Thing::Neighbour {
                device: of,
                address: other,
            }
            | Thing::Answer {
                device: of,
                address: other,
            } => of == device && Version::of(*other) == Version::of(*address),
            _ => false,
        },
        Thing::Route { destination, .. } => {
            matches!(of, Thing::Answer { address, .. } if Version::of(*address) == Version::of(*destination))
        }
        // fib6_nh_release and its twin: routes go with their next hop.
        Thing::Nexthop { id } => {
            matches!(of, Thing::Route { .. }) && words_after(effect, "nhid").any(|of| of == id.to_string())
        }
        // addrconf_disable_ipv6
        Thing::Sysctl { name } if name.ends_with(DISABLE_IPV6) => {
            let is_here =
                |device: &str| of_each_device(name).is_some_and(|(_, of, _)| of == "all" || of == device);
            let (address, is_here) = match of {
                Thing::Address { device, address, .. }
                | Thing::Answer { device, address }
                | Thing::Neighbour { device, address } => (address, is_here(device)),
                Thing::Route { destination, .. } => (destination, devices(effect).any(is_here)),
                Thing::Sysctl { name: other } => return sets(name, other) && by.after == effect.after,
                _ => return false,
            };
            let turned = if by.after.as_deref() == Some("0") {
                Became::Gone
            } else {
                Became::New
            };
            // What stays there is asked about anew.
            let is_answer = matches!(of, Thing::Answer { .. });
            address.is_ipv6() && is_here && (is_answer || became(effect) != turned)
        }
        Thing::Sysctl { name } => {
            matches!(of, Thing::Sysctl { name: other } if sets(name, other)) && by.after == effect.after
        }
        _ => false,
    }
}

/// What becomes of a device's kernel parameters where this becomes of the device: they come and go with it, and are set by others
/// (devinet_sysctl_register, addrconf_sysctl_register). Below its least MTU there is no IPv6 at a device
/// (addrconf_notify: NETDEV_CHANGEMTU).
fn of_parameters(link: &Change, ipv6: bool) -> Became {
    /// `IPV6_MIN_MTU`, in bytes.
    const LEAST: u32 = 1280;
    let is_enough = |value: &Option<String>| {
        let mtu = value.as_deref().and_then(value::mtu);
        mtu.is_none_or(|mtu| mtu >= LEAST)
    };
    match (became(link), is_enough(&link.before), is_enough(&link.after)) {
        (Became::Changed, true, false) if ipv6 => Became::Gone,
        (Became::Changed, false, true) if ipv6 => Became::New,
        (became, ..) => became,
    }
}

/// What a device is set to decides which offloads it can have (netdev_update_features), but not what its address is.
fn may_limit_offloads(link: &Change) -> bool {
    let (Some(before), Some(after)) = (&link.before, &link.after) else {
        return true;
    };
    let others = |value| {
        let parts = str::split(value, value::OF_DEVICE);
        parts.filter(|part| !part.starts_with(value::DEVICE_ADDRESS))
    };
    !others(before).eq(others(after))
}

/// A route is for this address itself.
pub(super) fn is_its_address(cause: &Change, effect: &Change) -> bool {
    match (&cause.subject, &effect.subject) {
        (
            Subject::Setting(_, Thing::Address { address, .. }),
            Subject::Setting(_, Thing::Route { destination, .. }),
        ) => address == destination,
        _ => false,
    }
}

/// What a device that comes nearer to working takes nothing away, and one that goes farther from it brings nothing.
fn is_of_its_kind(link: &Change, effect: &Change) -> bool {
    match turn(link) {
        Ordering::Greater => became(effect) != Became::Gone,
        Ordering::Less => became(effect) != Became::New,
        Ordering::Equal => true,
    }
}

/// Whether the kernel sets a parameter of one device where somebody sets that of all (inet_forward_change,
/// addrconf_fixup_forwarding, addrconf_disable_ipv6, addrconf_fixup_linkdown), or that for new ones (devinet_copy_dflt_conf, IPv4
/// only). Most of `all` count beside those of devices, and set none.
pub(super) fn sets(name: &str, other: &str) -> bool {
    let (Some((begin, device, end)), Some((_, of, _))) = (of_each_device(name), of_each_device(other)) else {
        return false;
    };
    let is_wider = match device {
        "all" => matches!(
            end,
            ".forwarding" | DISABLE_IPV6 | ".ignore_routes_with_linkdown" | ".force_forwarding"
        ),
        "default" => begin == "net.ipv4.conf." && of != "all",
        _ => false,
    };
    is_wider && device != of && parameter(name) == parameter(other)
}

/// What a kernel parameter is, whichever device has it: `net.ipv4.conf.`, `.forwarding`.
pub(super) fn parameter(name: &str) -> (&str, &str) {
    of_each_device(name).map_or((name, ""), |(begin, _, end)| (begin, end))
}

/// The devices that a route leads or led out by.
pub(super) fn devices(change: &Change) -> impl Iterator<Item = &str> {
    words_after(change, "dev")
}

/// What the values of a change have behind this word.
fn words_after<'a>(change: &'a Change, word: &'a str) -> impl Iterator<Item = &'a str> {
    [&change.before, &change.after]
        .into_iter()
        .flatten()
        .flat_map(move |value| {
            let mut words = value::words(value);
            std::iter::from_fn(move || {
                words.find(|one| *one == word)?;
                words.next()
            })
        })
}
