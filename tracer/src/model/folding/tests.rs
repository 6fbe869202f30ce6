mod units;

use super::effects::sets;
use super::*;
use crate::event::Unknown;
use crate::model::timeline::Timeline;

const MS: u64 = SECOND / 1000;

fn ip(text: &str) -> std::net::IpAddr {
    text.parse().unwrap()
}

fn route(to: &str) -> Thing {
    let (destination, prefix) = to.split_once('/').unwrap();
    Thing::Route {
        table: 254,
        action: "unicast".to_owned(),
        destination: ip(destination),
        prefix: prefix.parse().unwrap(),
        metric: 0,
    }
}

fn address(device: &str, address: &str) -> Thing {
    Thing::Address {
        device: device.to_owned(),
        address: ip(address),
        prefix: 24,
    }
}

fn answer(device: &str, address: &str) -> Thing {
    Thing::Answer {
        device: device.to_owned(),
        address: ip(address),
    }
}

fn link(device: &str) -> Thing {
    Thing::Link {
        device: device.to_owned(),
    }
}

fn rule(version: Version, priority: u32, table: u32) -> Thing {
    Thing::Rule {
        version,
        priority,
        text: format!("from all lookup {table}"),
        table,
    }
}

fn sysctl(name: &str) -> Thing {
    Thing::Sysctl {
        name: name.to_owned(),
    }
}

fn process(pid: u32) -> Option<Owner> {
    Some(Owner::named(pid, "ip"))
}

fn change(at: u64, thing: Thing, before: &str, after: Option<&str>, by: Option<Owner>) -> Change {
    Change {
        at: SECOND + at * MS,
        subject: Subject::Setting(1, thing),
        before: Some(before.to_owned()),
        after: after.map(str::to_owned),
        by,
        by_unknown: None,
        noticed: false,
    }
}

fn gone(at: u64, thing: Thing, before: &str, by: Option<Owner>) -> Change {
    change(at, thing, before, None, by)
}

fn noticed(at: u64, thing: Thing) -> Change {
    Change {
        noticed: true,
        ..change(at, thing, "local", Some("unicast dev eth0"), None)
    }
}

/// The numbers of those that lead, each with the numbers of those that follow.
fn folded(changes: impl IntoIterator<Item = Change>) -> Vec<(u64, Vec<u64>)> {
    let mut timeline = Timeline::default();
    for change in changes {
        timeline.add(change);
    }
    let follow = |leader| {
        timeline
            .folded()
            .filter(move |told| told.follows == Some(leader))
            .map(|told| told.number)
    };
    let leading = timeline.folded().filter(|told| told.follows.is_none());
    let all: Vec<_> = leading
        .map(|told| (told.number, follow(told.number).collect::<Vec<_>>()))
        .collect();
    for told in timeline.folded().filter(|told| told.follows.is_none()) {
        let counted: u64 = told.with.into_iter().flatten().map(|(_, number)| number).sum();
        assert_eq!(counted, follow(told.number).count() as u64);
    }
    assert_eq!(timeline.leading(), all.len() as u64);
    all
}

#[test]
fn what_goes_with_a_device_follows_it_and_nothing_else_does() {
    let told = folded([
        change(
            0,
            link("eth0"),
            "up, carrier",
            Some("down, no carrier"),
            process(7),
        ),
        gone(1, route("10.0.0.0/24"), "dev eth0 scope link", None),
        gone(1, address("eth0", "2001:db8::2"), "scope global", None),
        gone(1, route("10.1.0.0/24"), "dev eth1 scope link", None),
        gone(2, route("10.2.0.0/24"), "dev eth0 scope link", process(8)),
        noticed(900, answer("eth0", "10.0.0.2")),
        gone(900, route("10.3.0.0/24"), "dev eth0 scope link", None),
    ]);
    assert_eq!(told, [(1, vec![2, 3, 6]), (4, vec![]), (5, vec![]), (7, vec![])]);
}

/// The time of a route was over just after a device was set otherwise.
#[test]
fn what_ends_by_itself_follows_nothing_that_does_not() {
    let over = |at, thing| Change {
        by_unknown: Some(Unknown::Expired),
        noticed: true,
        ..gone(at, thing, "via 10.0.0.1 dev eth0", None)
    };
    let set = change(0, link("eth0"), "up, mtu 1500", Some("down, mtu 1400"), None);
    let ends = over(1000, route("10.9.0.0/16"));
    assert_eq!(folded([set.clone(), ends.clone()]), [(1, vec![]), (2, vec![])]);
    let told = Change {
        by_unknown: Some(Unknown::Kernel),
        ..ends.clone()
    };
    assert_eq!(folded([set, told]), [(1, vec![2])]);
    let address = Change {
        by_unknown: Some(Unknown::Expired),
        ..gone(0, address("eth0", "10.9.0.1"), "", None)
    };
    assert_eq!(folded([address, ends]), [(1, vec![2])]);
}

#[test]
fn a_device_that_goes_leads_what_went_just_before_it() {
    let told = folded([
        gone(0, address("lxc1", "10.0.0.1"), "scope link", None),
        gone(0, address("lxc1", "10.0.0.9"), "scope link", None),
        gone(0, route("10.0.0.0/24"), "dev lxc1", None),
        gone(1, address("lxc2", "10.0.0.1"), "scope link", None),
        gone(5, link("lxc1"), "up", process(7)),
    ]);
    assert_eq!(told, [(4, vec![]), (5, vec![1, 2, 3])]);
}

#[test]
fn answers_follow_the_rule_of_their_version_that_looks_table_local_up() {
    let told = folded([
        gone(0, rule(Version::V4, 9, 2004), "", process(1)),
        gone(2, rule(Version::V4, 100, 255), "", process(2)),
        gone(4, rule(Version::V6, 100, 255), "", process(3)),
        gone(6, rule(Version::V4, 200, 2004), "", process(4)),
        noticed(50, answer("eth0", "10.0.0.2")),
        noticed(50, answer("eth0", "2001:db8::2")),
        noticed(50, answer("lo", "127.0.0.1")),
    ]);
    assert_eq!(told, [(1, vec![]), (2, vec![5, 7]), (3, vec![6]), (4, vec![])]);
}

#[test]
fn of_one_process_the_change_that_matters_most_leads() {
    let by = process(812);
    let told = folded([
        gone(0, route("10.0.0.0/24"), "dev eth0", by.clone()),
        gone(1, rule(Version::V4, 9, 2004), "", by.clone()),
        gone(2, rule(Version::V4, 100, 255), "", by.clone()),
        noticed(50, answer("lo", "127.0.0.1")),
        gone(60, rule(Version::V6, 100, 255), "", process(813)),
        gone(3000, rule(Version::V6, 101, 255), "", by),
    ]);
    assert_eq!(told, [(3, vec![1, 2, 4]), (5, vec![]), (6, vec![])]);
}

#[test]
fn what_nobody_known_did_is_folded_only_where_it_is_alike() {
    let set = |at, name: &str, to| Change {
        noticed: true,
        ..change(at, sysctl(name), "0", Some(to), None)
    };
    let told = folded([
        set(0, "net.ipv4.conf.default.rp_filter", "1"),
        set(0, "net.ipv4.conf.all.rp_filter", "1"),
        set(0, "net.ipv4.conf.eth0.100.rp_filter", "1"),
        set(0, "net.ipv4.icmp_echo_ignore_all", "1"),
        set(0, "net.ipv4.conf.eth0.arp_ignore", "8"),
        gone(0, link("a"), "up", None),
        gone(0, link("b"), "up", None),
    ]);
    assert_eq!(
        told,
        [
            (2, vec![1, 3]),
            (4, vec![]),
            (5, vec![]),
            (6, vec![]),
            (7, vec![])
        ]
    );
}

#[test]
fn other_namespaces_and_what_is_no_setting_stand_for_themselves() {
    let mut other = gone(1, address("eth0", "10.0.0.2"), "", None);
    other.subject = Subject::Setting(2, address("eth0", "10.0.0.2"));
    let mut unit = gone(1, link("eth0"), "", None);
    unit.subject = Subject::Unit("a.service".to_owned());
    let told = folded([gone(0, link("eth0"), "up", None), other, unit.clone(), unit]);
    assert_eq!(told, [(1, vec![]), (2, vec![]), (3, vec![]), (4, vec![])]);
}

#[test]
fn a_flood_of_one_process_leaves_room_for_all_others_and_is_counted() {
    let mut timeline = Timeline::default();
    timeline.add(gone(0, rule(Version::V4, 0, 255), "", process(1)));
    for number in 0..10_000_u32 {
        let to = format!("10.{}.{}.0/24", number >> 8, number & 255);
        timeline.add(gone(
            1 + u64::from(number / 100),
            route(&to),
            "dev eth0",
            process(2),
        ));
    }
    let leading: Vec<_> = timeline.folded().filter(|told| told.follows.is_none()).collect();
    assert_eq!(leading.len(), 2);
    let with: Vec<_> = leading[1].with.unwrap().iter().collect();
    assert_eq!(with, [(&(What::Route, Became::Gone), &9_999)]);
    assert_eq!((timeline.total(), timeline.leading()), (10_001, 2));
}

#[test]
fn what_can_be_joined_is_bounded() {
    let mut folding = Folding::default();
    for number in 0..1000_u32 {
        let one = gone(0, link("eth0"), "up", process(number));
        folding.place(number.into(), &one);
        folding.place(
            10_000 + u64::from(number),
            &gone(0, link("eth1"), "up", process(0)),
        );
    }
    assert!(folding.open.len() <= OPEN);
    assert!(folding.open.iter().all(|open| open.causes.len() <= CAUSES));
}

#[test]
fn a_device_that_goes_is_set_down_and_that_is_one() {
    let mut timeline = Timeline::default();
    for change in [
        change(0, link("overlay"), "up, carrier", Some("down, no carrier"), None),
        gone(1, address("overlay", "10.1.0.2"), "", None),
        gone(2, route("10.1.0.0/24"), "dev overlay", None),
        gone(4, link("overlay"), "down, no carrier", None),
        // One that comes again is another matter.
        change(50, link("other"), "up, carrier", Some("down, no carrier"), None),
    ] {
        timeline.add(change);
    }
    let led = timeline.folded().filter(|told| told.follows.is_none());
    let led: Vec<_> = led
        .map(|told| {
            (
                told.change.at - SECOND,
                told.with.map(|with| with.values().sum::<u64>()),
            )
        })
        .collect();
    assert_eq!(led, [(4 * MS, Some(3)), (50 * MS, Some(0))]);
}

#[test]
fn a_device_that_is_down_for_a_moment_is_told_to_be_up_again() {
    let at = |at, before, after| change(at, link("eth0"), before, Some(after), None);
    let all = [
        at(SECOND, "up, carrier, mtu 1500", "down, no carrier, mtu 1500"),
        at(
            SECOND + 1,
            "down, no carrier, mtu 1500",
            "up, no carrier, mtu 1500",
        ),
        at(SECOND + 2, "up, no carrier, mtu 1500", "up, carrier, mtu 1500"),
        at(SECOND + 3, "up, carrier, mtu 1500", "up, carrier, mtu 1400"),
        at(SECOND + 4, "up, carrier, mtu 1400", "up, carrier, mtu 1500"),
    ];
    let leaders: Vec<(u64, usize)> = folded(all)
        .into_iter()
        .map(|(leader, with)| (leader, with.len()))
        .collect();
    assert_eq!(leaders, [(1, 0), (2, 0), (3, 0), (4, 0), (5, 0)]);
}

fn offloads(at: u64, before: &str, after: &str) -> Change {
    let thing = Thing::Offloads {
        device: "eth0".to_owned(),
    };
    change(at, thing, before, Some(after), None)
}

/// `ethtool -K eth0 tso off`, and on again soon: a line that shows the first alone would show the opposite of how it is.
#[test]
fn what_is_switched_off_and_on_again_is_two_changes() {
    let off = |at| offloads(at, "all", "all but tso");
    let on = |at| offloads(at, "all but tso", "all");
    let told = folded([off(0), on(400), off(500)]);
    assert_eq!(told, [(1, vec![]), (2, vec![]), (3, vec![])]);
    let mtu = |at, before, after| change(at, link("eth0"), before, Some(after), process(7));
    let device = mtu(0, "up, carrier, mtu 1500", "up, carrier, mtu 9000");
    let told = folded([device.clone(), off(10), on(200)]);
    assert_eq!(told, [(1, vec![2]), (3, vec![])]);
    // Before the device, too.
    let told = folded([
        off(0),
        on(10),
        Change {
            at: SECOND + 20 * MS,
            ..device
        },
    ]);
    assert_eq!(told, [(2, vec![]), (3, vec![1])]);
}

/// Nobody is named for offloads: what somebody sets may not vanish behind the device's new address.
#[test]
fn offloads_do_not_follow_the_address_of_a_device() {
    let address = |last| format!("up, carrier, mtu 1500, address 02:00:00:00:00:0{last}");
    let set = change(16, link("eth0"), &address(1), Some(&address(2)), process(7));
    let told = folded([offloads(0, "all", "all but tso"), set]);
    assert_eq!(told, [(1, vec![]), (2, vec![])]);
}

/// One process takes rules and routes away, sets others in their place, and takes one away again.
#[test]
fn what_comes_does_not_follow_what_is_gone() {
    let by = process(812);
    let new = |at, thing| Change {
        before: None,
        ..change(at, thing, "", Some("dev eth0"), by.clone())
    };
    let told = folded([
        gone(0, route("10.0.0.0/24"), "dev eth0", by.clone()),
        gone(1, route("10.1.0.0/24"), "dev eth0", by.clone()),
        new(2, route("10.2.0.0/24")),
        new(3, route("10.1.0.0/24")),
        gone(4, route("10.1.0.0/24"), "dev eth0", by.clone()),
    ]);
    assert_eq!(told, [(1, vec![2]), (3, vec![4]), (5, vec![])]);
    let qdisc = |text: &str| Thing::Traffic {
        device: "eth0".to_owned(),
        text: text.to_owned(),
    };
    let told = folded([
        gone(0, qdisc("qdisc pfifo 8013: root"), "limit 5 packets", by.clone()),
        new(0, qdisc("qdisc tbf 8014: root")),
    ]);
    assert_eq!(told, [(1, vec![]), (2, vec![])]);
}

/// Whoever sets a device otherwise that works on takes no filters away; whoever sets it down may.
#[test]
fn filters_follow_a_device_that_goes_down_and_not_one_that_is_set_otherwise() {
    let filter = Thing::Traffic {
        device: "eth0".to_owned(),
        text: "filter ingress pref 1 bpf handle 0x1".to_owned(),
    };
    let told = |after: &str| {
        let set = change(9, link("eth0"), "up, carrier, mtu 1500", Some(after), None);
        folded([gone(0, filter.clone(), "protocol all", None), set])
    };
    assert_eq!(told("up, carrier, mtu 1400"), [(1, vec![]), (2, vec![])]);
    assert_eq!(told("down, no carrier, mtu 1500"), [(2, vec![1])]);
}

/// A look each second shows it: 0, 1, 0.
#[test]
fn a_parameter_that_is_set_and_set_back_is_two_changes() {
    let ipv6 = |at: u64, before: &str, after: &str| Change {
        noticed: true,
        ..change(
            at,
            sysctl("net.ipv6.conf.up0.disable_ipv6"),
            before,
            Some(after),
            None,
        )
    };
    let mut timeline = Timeline::default();
    for set in [ipv6(0, "0", "1"), ipv6(750, "1", "0")] {
        timeline.add(set);
    }
    assert_eq!(timeline.leading(), 2);
}

/// A kernel parameter that somebody sets matters, whatever a device does at the same time: it comes with a device only where that
/// is new, or goes.
#[test]
fn kernel_parameters_follow_no_device_that_is_there() {
    let set = |at, name: &str| Change {
        noticed: true,
        ..change(at, sysctl(name), "1", Some("0"), None)
    };
    let made = |at, thing| Change {
        before: None,
        ..change(at, thing, "", Some("up, carrier"), None)
    };
    let told = folded([
        set(0, "net.ipv4.conf.v9.rp_filter"),
        change(
            20,
            link("v9"),
            "up, carrier, mtu 1500",
            Some("up, carrier, mtu 1480"),
            process(7),
        ),
        set(50, "net.ipv4.conf.all.forwarding"),
        set(50, "net.ipv4.conf.v9.forwarding"),
        made(60, link("br0.5")),
        made(60, sysctl("net.ipv4.conf.br0.5.forwarding")),
        set(61, "net.ipv4.conf.br0.5.arp_ignore"),
    ]);
    assert_eq!(
        told,
        [(1, vec![]), (2, vec![]), (3, vec![4]), (5, vec![6]), (7, vec![])]
    );
}

/// Below 1280 bytes a device has no IPv6, and no parameters of it. Those of IPv4 are set by somebody.
#[test]
fn parameters_of_ipv6_follow_a_device_whose_mtu_becomes_too_small_for_it() {
    let mtu = |at, before: u32, after: u32| {
        let value = |mtu: u32| format!("up, carrier, mtu {mtu}");
        change(at, link("up0"), &value(before), Some(&value(after)), process(7))
    };
    let noticed = |change: Change| Change {
        noticed: true,
        ..change
    };
    let come = |at, name: &str| Change {
        before: None,
        ..noticed(change(at, sysctl(name), "", Some("1"), None))
    };
    let told = folded([
        mtu(0, 1500, 1200),
        noticed(gone(700, sysctl("net.ipv6.conf.up0.forwarding"), "1", None)),
        noticed(gone(700, sysctl("net.ipv4.conf.up0.forwarding"), "1", None)),
        mtu(6000, 1200, 1500),
        come(6700, "net.ipv6.conf.up0.forwarding"),
        mtu(12_000, 1500, 1400),
        come(12_700, "net.ipv6.conf.up0.accept_ra"),
    ]);
    assert_eq!(
        told,
        [(1, vec![2]), (3, vec![]), (4, vec![5]), (6, vec![]), (7, vec![])]
    );
}

/// That of one device sets no other, and that for new devices not that of all.
#[test]
fn a_kernel_parameter_sets_those_of_narrower_scope() {
    for (name, other, is_set) in [
        ("all", "eth0", true),
        ("all", "default", true),
        ("default", "eth0", true),
        ("default", "all", false),
        ("eth0", "all", false),
        ("eth0", "eth1", false),
        ("all", "all", false),
    ] {
        let [name, other] = [name, other].map(|device| format!("net.ipv4.conf.{device}.forwarding"));
        assert_eq!(sets(&name, &other), is_set, "{name} {other}");
    }
    assert!(!sets(
        "net.ipv4.conf.all.forwarding",
        "net.ipv4.conf.eth0.rp_filter"
    ));
}

/// What is set up takes no address away: `::1` goes since IPv6 is switched off.
#[test]
fn addresses_go_with_what_takes_them_away() {
    let told = folded([
        change(0, link("lo"), "down, no carrier", Some("up, carrier"), process(7)),
        Change {
            before: None,
            ..change(1, address("lo", "127.0.0.1"), "", Some("scope host"), None)
        },
        Change {
            before: None,
            ..change(1, route("127.0.0.1/32"), "", Some("dev lo scope host"), None)
        },
        gone(40, address("lo", "::1"), "scope host", None),
        change(41, sysctl("net.ipv6.conf.all.disable_ipv6"), "0", Some("1"), None),
    ]);
    assert_eq!(told, [(1, vec![2, 3]), (5, vec![4])]);
}

/// The kernel makes it where the address is added, not where the device was set up.
#[test]
fn a_route_to_an_address_follows_that() {
    let added = |at, thing, by| Change {
        before: None,
        ..change(at, thing, "", Some("dev lo scope host"), by)
    };
    let told = folded([
        change(0, link("lo"), "down, no carrier", Some("up, carrier"), process(7)),
        added(50, address("lo", "10.9.9.9"), process(8)),
        added(50, route("10.9.9.9/32"), None),
        added(51, route("10.8.0.0/16"), None),
    ]);
    assert_eq!(told, [(1, vec![4]), (2, vec![3])]);
}

/// Most parameters of all devices count beside those of each; and those for new devices of IPv6 set none that is there.
#[test]
fn a_kernel_parameter_sets_no_other_where_the_kernel_does_not() {
    assert!(!sets(
        "net.ipv4.conf.all.rp_filter",
        "net.ipv4.conf.eth0.rp_filter"
    ));
    assert!(!sets(
        "net.ipv6.conf.default.disable_ipv6",
        "net.ipv6.conf.eth0.disable_ipv6"
    ));
    assert!(sets(
        "net.ipv4.conf.default.rp_filter",
        "net.ipv4.conf.eth0.rp_filter"
    ));
    assert!(sets(
        "net.ipv6.conf.all.disable_ipv6",
        "net.ipv6.conf.default.disable_ipv6"
    ));
}
