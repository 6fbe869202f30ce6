//! What takes back what changed of a device.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{AS_BEFORE, Lines, detach};
use crate::diagnosis::loopback::LO;
use crate::event::Thing;
use crate::event::value::{self, OF_DEVICE};
use crate::model::Model;
use crate::model::timeline::{Change, Subject};
use crate::shell::quoted;

/// What of a device is set by a command of its own.
pub(super) fn link(model: &Model, device: &str, was: &str, is: &str) -> Option<Lines> {
    let part = |value: &str, begins: &str| {
        let mut parts = value.split(OF_DEVICE);
        parts.find_map(|part| part.strip_prefix(begins).map(str::to_owned))
    };
    let has = |value: &str, word: &str| value.split(OF_DEVICE).any(|part| part == word);
    let dev = quoted(device);
    let mut lines = Lines::new();
    let mut set = |text: String, risk| lines.push((format!("ip link set dev {dev} {text}"), risk));
    if has(was, value::UP) && !has(is, value::UP) {
        set("up".to_owned(), "Risk: low, it was up before.");
    }
    if !value::has_no_arp(was) && value::has_no_arp(is) {
        set("arp on".to_owned(), "Risk: low, it was on before.");
    }
    for (begins, name) in [("address ", "address"), ("mtu ", "mtu"), ("master ", "master")] {
        let before = part(was, begins);
        if before != part(is, begins)
            && let Some(before) = before
        {
            set(format!("{name} {}", quoted(&before)), AS_BEFORE);
        }
    }
    let programs = |value: &str| value::xdp(value).map(str::to_owned).collect::<Vec<_>>();
    let before = programs(was);
    for program in programs(is).iter().filter(|program| !before.contains(program)) {
        let mut words = program.split(' ');
        let (mode, id) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
        if let Some(link) = holder(model, id) {
            lines.push(detach(link));
        } else if ["xdpdrv", "xdpgeneric", "xdpoffload"].contains(&mode) {
            // Of one program it is not told how it is attached: the finding knows by where it drops.
            lines.push((
                format!("ip link set dev {dev} {mode} off"),
                "not where a BPF link holds it: end its process then. Risk: the program may be a network plugin's or a shield \
                 against floods; ask whose it is.",
            ));
        }
    }
    (!lines.is_empty()).then_some(lines)
}

/// The link of XDP that has put this program where it is.
fn holder(model: &Model, program: &str) -> Option<u32> {
    model.settings().iter().find_map(|(_, thing, value)| match thing {
        Thing::BpfLink { id }
            if value::is_of(value, value::XDP) && value::linked_program(value) == Some(program) =>
        {
            Some(*id)
        }
        _ => None,
    })
}

/// All that the change made of the device is as it was before by this value, whatever else is set there. One XDP program that took the
/// place of another is taken back by that it went: none is attached then that could drop.
pub(super) fn is_back(change: &Change, now: &str) -> bool {
    let parts = |value: &Option<String>| -> Vec<String> {
        let all = value.as_deref().unwrap_or_default().split(OF_DEVICE);
        all.map(str::to_owned).collect()
    };
    let (was, is) = (parts(&change.before), parts(&change.after));
    let has = |part: &String| now.split(OF_DEVICE).any(|one| one == part);
    let is_program = |part: &String| part.starts_with(value::XDP);
    let came: Vec<&String> = is.iter().filter(|part| !was.contains(part)).collect();
    let is_replaced = came.iter().any(|part| is_program(part));
    let mut went = was.iter().filter(|part| !is.contains(part));
    !came.into_iter().any(has) && went.all(|part| has(part) || (is_replaced && is_program(part)))
}

/// The device gets this address by itself when all these changes are taken back: it was set down by one of them and is not up now, or
/// works without IPv6.
pub(super) fn gets(model: &Model, (netns, device): (u32, &str), address: IpAddr, all: &[&Change]) -> bool {
    let thing = Thing::Link {
        device: device.to_owned(),
    };
    let subject = Subject::Setting(netns, thing.clone());
    let is_up = |value: Option<&str>| value.is_some_and(value::is_up);
    let was_set_down = |change: &&Change| change.subject == subject && is_up(change.before.as_deref());
    let is_switch = |change: &&Change| match &change.subject {
        Subject::Setting(of, Thing::Sysctl { name }) => *of == netns && switches_ipv6(name),
        _ => false,
    };
    let is_set_up = !is_up(model.settings().value(netns, thing)) && all.iter().any(was_set_down);
    (is_set_up || (address.is_ipv6() && all.iter().any(is_switch)))
        && comes_with(model, netns, device, address)
}

/// The parameter that switches it at all devices.
const ALL_DEVICES: &str = "net.ipv6.conf.all.disable_ipv6";

/// The kernel parameter of this name switches IPv6 on and off.
pub(super) fn switches_ipv6(name: &str) -> bool {
    name.ends_with(".disable_ipv6")
}

/// IPv6 is switched at this device by one of these changes, of all devices at once (`addrconf_disable_ipv6`, net/ipv6/addrconf.c).
pub(super) fn is_switched_with(change: &Change, all: &[&Change]) -> bool {
    let switched = |change: &Change, wanted: fn(&str) -> bool| match &change.subject {
        Subject::Setting(netns, Thing::Sysctl { name }) if switches_ipv6(name) && wanted(name) => {
            Some(*netns)
        }
        _ => None,
    };
    let Some(netns) = switched(change, |name| name != ALL_DEVICES) else {
        return false;
    };
    let mut all = all.iter();
    all.any(|other| {
        switched(other, |name| name == ALL_DEVICES) == Some(netns)
            && (&other.before, &other.after) == (&change.before, &change.after)
    })
}

/// Each kernel gives the device this address when it is set up: a link-local one, and loopback its own, that of IPv4 where it has no
/// other one (`addrconf_notify`, `inetdev_event`).
pub(in crate::diagnosis) fn comes_with(model: &Model, netns: u32, device: &str, address: IpAddr) -> bool {
    let has_one = || {
        let mut all = model.settings().iter();
        all.any(|(of, thing, _)| {
            of == netns
                && matches!(thing, Thing::Address { device: its, address, .. } if its == device && address.is_ipv4())
        })
    };
    match address {
        IpAddr::V4(address) => device == LO && address == Ipv4Addr::LOCALHOST && !has_one(),
        IpAddr::V6(address) => {
            address.is_unicast_link_local() || (device == LO && address == Ipv6Addr::LOCALHOST)
        }
    }
}

/// Switches what of a device was switched.
pub(super) fn offloads(device: &str, was: &str, is: &str) -> Option<String> {
    let off = |value| value::off(value).collect::<BTreeSet<_>>();
    let (was, is) = (off(was), off(is));
    let on_again = is.difference(&was).map(|name| format!(" {} on", quoted(name)));
    let off_again = was.difference(&is).map(|name| format!(" {} off", quoted(name)));
    let switches: String = on_again.chain(off_again).collect();
    (!switches.is_empty()).then(|| format!("ethtool -K {}{switches}", quoted(device)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_of_a_device_is_set_back() {
        let lines = |was: &str, is: &str| {
            let lines = link(&Model::new(), "eth0", was, is)?;
            Some(lines.into_iter().map(|(line, _)| line).collect::<Vec<_>>())
        };
        assert_eq!(
            lines(
                "up, carrier, mtu 1500, address 02:00:00:00:00:01",
                "down, no carrier, mtu 1500, no ARP, address 02:00:00:00:00:02"
            ),
            Some(vec![
                "ip link set dev eth0 up".to_owned(),
                "ip link set dev eth0 arp on".to_owned(),
                "ip link set dev eth0 address 02:00:00:00:00:01".to_owned(),
            ])
        );
        assert_eq!(lines("up, carrier", "up, no carrier"), None, "no command");
    }

    #[test]
    fn what_changed_of_a_device_is_back_whatever_else_is_set_there() {
        const FIRST: &str = "up, mtu 1500, xdp prog 7 (pass tag 01)";
        const OTHER: &str = "up, mtu 1500, xdp prog 8 (drop tag 02)";
        for (before, after, now, is) in [
            ("up, mtu 1500", "down, mtu 1500", "up, mtu 1400", true),
            ("up, mtu 1500", "down, mtu 1400", "up, mtu 1400", false),
            ("up, mtu 1500", OTHER, "up, mtu 1400", true),
            (FIRST, OTHER, "up, mtu 1500", true),
            (FIRST, OTHER, FIRST, true),
            (FIRST, OTHER, "up, mtu 1400, xdp prog 8 (drop tag 02)", false),
            // Who took a program away has it back only where that is there.
            (FIRST, "up, mtu 1500", "up, mtu 1400", false),
        ] {
            let device = "eth0".to_owned();
            let change = Change {
                at: 1,
                subject: Subject::Setting(1, Thing::Link { device }),
                before: Some(before.to_owned()),
                after: Some(after.to_owned()),
                by: None,
                by_unknown: None,
                noticed: true,
            };
            assert_eq!(is_back(&change, now), is, "{before} {after} {now}");
        }
    }
}
