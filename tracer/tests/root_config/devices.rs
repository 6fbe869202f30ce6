//! Devices, and what is on them and goes with them.

use super::*;

#[test]
fn a_queueing_discipline_that_is_changed_tells_before_and_after() {
    let named = Named::new();
    named.add_device();
    let tc = |arguments: &str| run("tc", &format!("-n {} qdisc {arguments}", named.0));
    tc("add dev up0 root handle 1: tbf rate 8mbit burst 32k limit 64k");
    let mut listening = Listening::to(&named);
    let thing = "qdisc tbf 1: root on up0";
    let found = listening.has_found(thing).unwrap();
    assert!(
        found.starts_with(
            "rate 8000000 bit/s, burst 32768 bytes, limit 65536 bytes, checksum of all options "
        ),
        "{found}"
    );
    let asker = Asker::new(
        "tc",
        &named.0,
        "qdisc change dev up0 root handle 1: tbf rate 1mbit burst 32k limit 64k",
    );
    let (_, changed) = listening.change_of(thing);
    asker.made(&changed);
    assert!(
        changed
            .value
            .unwrap()
            .starts_with("rate 1000000 bit/s, burst 32768 bytes, limit 65536 bytes")
    );
}

#[test]
fn classes_of_a_queueing_discipline_are_told_as_they_come_change_and_go() {
    let named = Named::new();
    named.add_device();
    let tc = |arguments: &str| run("tc", &format!("-n {} {arguments}", named.0));
    tc("qdisc add dev up0 root handle 1: htb default 10");
    tc("class add dev up0 parent 1: classid 1:10 htb rate 8mbit ceil 16mbit");
    let mut listening = Listening::to(&named);
    let class = "class htb 1:10 root on up0";
    let found = listening.has_found(class).unwrap();
    assert!(
        found.starts_with("rate 8000000 bit/s, ceil 16000000 bit/s, checksum of all options "),
        "{found}"
    );
    let asker = Asker::new(
        "tc",
        &named.0,
        "class change dev up0 parent 1: classid 1:10 htb rate 1mbit ceil 40gbit",
    );
    let (_, changed) = listening.change_of(class);
    asker.made(&changed);
    let now = changed.value.unwrap();
    assert!(
        now.starts_with("rate 1000000 bit/s, ceil 40000000000 bit/s"),
        "{now}"
    );
    let asker = Asker::new(
        "tc",
        &named.0,
        "class add dev up0 parent 1:10 classid 1:11 htb rate 1mbit",
    );
    let (_, new) = listening.change_of("class htb 1:11 parent 1:10 on up0");
    asker.made(&new);
    tc("class del dev up0 parent 1:10 classid 1:11");
    assert_eq!(listening.value_of("class htb 1:11 parent 1:10 on up0"), None);
    // Of this the kernel tells the queueing discipline only.
    let asker = Asker::new("tc", &named.0, "qdisc del dev up0 root");
    let (_, gone) = listening.change_of(class);
    assert_eq!(gone.value, None);
    asker.made(&gone);
}

#[test]
fn offloads_that_are_switched_are_told_and_go_with_their_device() {
    let named = Named::new();
    named.add_device();
    let mut listening = Listening::to(&named);
    let thing = "offloads of up0";
    let found = listening.has_found(thing).unwrap().to_owned();
    let says_gro = |off: &str| off.split([' ', ',']).any(|name| name == "rx-gro");
    assert!(says_gro(&found), "{found}");
    named.exec("ethtool -K up0 gro on");
    let (_, changed) = listening.change_of(thing);
    // The kernel does not tell who did it, and it may have been done by ioctl.
    assert_eq!(
        (changed.seen, changed.by_unknown),
        (Seen::Told, Some(Unknown::Kernel))
    );
    let off = changed.value.unwrap();
    assert!(!says_gro(&off), "{off}");
    named.exec("ethtool -K up0 gro off");
    assert_eq!(listening.value_of(thing), Some(found));
    // Those of a device that comes later are known with it, and nobody has changed them.
    named.ip("link add late0 type veth peer name late1");
    let all = |listening: &mut Listening, is_there: bool| loop {
        if let Body::Setting(setting) = listening.next().body
            && setting.thing.to_string() == "offloads of late0"
        {
            assert_eq!((setting.seen, setting.value.is_some()), (Seen::Found, is_there));
            break;
        }
    };
    all(&mut listening, true);
    named.ip("link del late0");
    all(&mut listening, false);
}

#[test]
fn a_route_of_ipv6_that_leads_several_ways_is_one() {
    let named = Named::new();
    named.add_device();
    let mut listening = Listening::to(&named);
    let thing = "route 2001:db8:1::/64 metric 1024";
    named.ip("-6 route add 2001:db8:1::/64 nexthop via fe80::1 dev up0 nexthop via fe80::2 dev up0");
    let (_, new) = listening.change_of(thing);
    let both = "proto boot nexthop via fe80::1 dev up0 weight 1 nexthop via fe80::2 dev up0 weight 1";
    assert_eq!(new.value.as_deref(), Some(both));
    named.ip("-6 route del 2001:db8:1::/64 via fe80::1 dev up0");
    assert_eq!(
        listening.value_of(thing).as_deref(),
        Some("via fe80::2 dev up0 proto boot")
    );
    let asker = named.asks("route del 2001:db8:1::/64");
    let (_, gone) = listening.change_of(thing);
    assert_eq!((&gone.value, gone.seen), (&None, Seen::Told));
    asker.made(&gone);
}

/// The kernel deletes it, and tells that, half a minute after it leads nowhere any more.
#[test]
fn a_route_that_nobody_announces_again_is_told_when_its_time_is_over() {
    let named = Named::new();
    named.add_device();
    named.ip("-6 route add 2001:db8:2::/64 via fe80::1 dev up0 expires 2");
    let mut listening = Listening::to(&named);
    let (found, told) = (
        "route 2001:db8:2::/64 metric 1024",
        "route default (IPv6) metric 1024",
    );
    assert!(listening.has_found(found).is_some());
    named.ip("-6 route add default via fe80::1 dev up0 expires 1");
    assert_eq!(
        listening.value_of(told).as_deref(),
        Some("via fe80::1 dev up0 proto boot")
    );
    for route in [told, found] {
        let (_, gone) = listening.change_of(route);
        assert_eq!((&gone.value, gone.by_unknown), (&None, Some(Unknown::Expired)));
    }
    // Whoever comes now still gets them from the kernel, which uses them no more.
    let shown = Command::new("ip").args(["-n", &named.0, "-6", "route"]).output();
    let shown = String::from_utf8(shown.unwrap().stdout).unwrap();
    assert!(shown.contains("default via fe80::1"), "{shown}");
    let late = Listening::to(&named);
    assert_eq!((late.has_found(told), late.has_found(found)), (None, None));
}

/// The kernel says neither who sets an address of IPv6 otherwise nor that it does so itself.
#[test]
fn an_address_that_is_preferred_no_longer_is_told_and_that_the_kernel_did_it() {
    let named = Named::new();
    named.add_device();
    named.ip("address add 10.99.0.1/24 dev up0 valid_lft 600 preferred_lft 2");
    named.ip("address add 2001:db8::1/64 dev up0 nodad valid_lft 600 preferred_lft 2");
    named.ip("address add 2001:db8::2/64 dev up0 nodad valid_lft 600 preferred_lft 600");
    let mut listening = Listening::to(&named);
    named.ip("address add 2001:db8::3/64 dev up0 nodad valid_lft 600 preferred_lft 1");
    named.ip("address change 2001:db8::2/64 dev up0 nodad valid_lft 600 preferred_lft 0");
    let mut told = BTreeMap::new();
    while told.len() < 4 {
        if let Body::Setting(setting) = listening.next().body
            && let Thing::Address { address, .. } = setting.thing
            && setting.value.is_some_and(|value| value.contains("deprecated"))
        {
            told.insert(address.to_string(), setting.by_unknown);
        }
    }
    let by_itself = Some(Unknown::Deprecated);
    let expected = [
        ("10.99.0.1", by_itself),
        ("2001:db8::1", by_itself),
        ("2001:db8::2", Some(Unknown::Kernel)),
        ("2001:db8::3", by_itself),
    ];
    assert_eq!(
        told,
        BTreeMap::from(expected.map(|(address, by)| (address.to_owned(), by)))
    );
}

#[test]
fn a_device_that_goes_down_takes_its_routes_along() {
    let named = Named::new();
    named.add_device();
    named.ip("address add 10.99.0.1/24 dev up0");
    named.ip("route add default via 10.99.0.254");
    let mut listening = Listening::to(&named);
    named.ip("link set up0 down");
    let device = listening.value_of("device up0").unwrap();
    assert!(device.starts_with("down, "), "{device}");
    // The kernel does not tell this one.
    let (_, gone) = listening.change_of("route default (IPv4)");
    assert_eq!((gone.value, gone.seen), (None, Seen::Noticed));
    named.ip("link set up0 up mtu 1400");
    loop {
        let device = listening.value_of("device up0").unwrap();
        if device.starts_with("up, carrier, mtu 1400") {
            break;
        }
    }
    named.ip("link set up0 down");
    named.ip("link del up0");
    loop {
        if listening.value_of("device up0").is_none() {
            break;
        }
    }
}

#[test]
fn a_device_that_is_renamed_is_told_as_renamed_and_what_is_on_it_stays() {
    let named = Named::new();
    named.add_device();
    named.ip("address add 10.99.0.1/24 dev up0");
    named.ip("route add default via 10.99.0.254");
    named.ip("neigh add 10.99.0.254 lladdr 02:00:00:00:00:01 dev up0");
    run(
        "tc",
        &format!("-n {} qdisc add dev up0 root handle 1: pfifo limit 7", named.0),
    );
    named.exec("sysctl -qw net.ipv4.conf.up0.rp_filter=2");
    let mut listening = Listening::to(&named);
    named.ip("link set up0 name lan0");
    // All is read again once what is told is read: the last address tells that this is over.
    let mut told = Vec::new();
    let mut until = |listening: &mut Listening, what: &str| loop {
        if let Body::Setting(setting) = listening.next().body
            && setting.seen != Seen::Found
        {
            let is_it = setting.thing.to_string() == what;
            told.push(*setting);
            if is_it {
                break;
            }
        }
    };
    until(&mut listening, "device lan0");
    named.ip("address add 10.98.0.1/32 dev lan0");
    until(&mut listening, "address 10.98.0.1/32 on lan0");
    named.ip("address del 10.98.0.1/32 dev lan0");
    until(&mut listening, "address 10.98.0.1/32 on lan0");
    let (renamed, others) = told.split_first().unwrap();
    assert!(
        renamed.value.as_deref().unwrap().ends_with(", was up0"),
        "{renamed:?}"
    );
    // Who changes a device the kernel does not say.
    assert_eq!(
        (renamed.seen, renamed.by_unknown),
        (Seen::Told, Some(Unknown::Kernel))
    );
    let is_of_it = |setting: &&Setting| !setting.thing.to_string().contains("10.98.0.1");
    let changed: Vec<_> = others.iter().filter(is_of_it).collect();
    assert!(changed.is_empty(), "{changed:?}");
    // A change of each of them is told by the new name.
    named.ip("neigh del 10.99.0.254 dev lan0");
    assert_eq!(listening.value_of("neighbour 10.99.0.254 on lan0"), None);
    named.exec("sysctl -qw net.ipv4.conf.lan0.rp_filter=1");
    assert_eq!(
        listening
            .value_of("sysctl net.ipv4.conf.lan0.rp_filter")
            .as_deref(),
        Some("1")
    );
    named.ip("link set lan0 down");
    assert_eq!(listening.value_of("route default (IPv4)"), None);
}

#[test]
fn a_device_without_arp_says_so() {
    let named = with_address();
    let mut listening = Listening::to(&named);
    named.ip("link set up0 arp off");
    let device = listening.value_of("device up0").unwrap();
    assert!(device.contains(", no ARP,"), "{device}");
}

/// Without its route for multicast a device neither hears nor makes neighbour solicitations: IPv6 is dead on it.
#[test]
fn routes_of_multicast_and_broadcast_that_somebody_deletes_are_told() {
    let named = with_address();
    let mut listening = Listening::to(&named);
    let multicast = "route multicast ff00::/8 table local metric 256";
    let of_both = listening.has_found(multicast).unwrap();
    assert!(
        of_both.contains("dev up0 ") && of_both.contains("dev far0 "),
        "{of_both}"
    );
    let asker = named.asks("route del multicast ff00::/8 dev up0 table local");
    let (_, left) = listening.change_of(multicast);
    assert_eq!(left.value.as_deref(), Some("dev far0 proto kernel"));
    asker.made(&left);
    let asker = named.asks("route del broadcast 10.99.0.255 dev up0 table local");
    let (_, gone) = listening.change_of("route broadcast 10.99.0.255/32 table local");
    assert_eq!(gone.value, None);
    asker.made(&gone);
}

/// The kernel tells the kernel parameters of a device before it tells its name, and those of a new name before that.
#[test]
fn kernel_parameters_of_a_device_have_its_name_and_go_over_to_another_one() {
    let named = Named::new();
    let mut listening = Listening::to(&named);
    let mut told = Vec::new();
    let mut until = |what: &str| loop {
        if let Body::Setting(setting) = listening.next().body {
            let is_it = setting.thing.to_string() == what;
            told.push(*setting);
            if is_it {
                break;
            }
        }
    };
    named.ip("link add br0 type bridge");
    until("sysctl net.ipv6.conf.br0.forwarding");
    named.ip("link set br0 name br9");
    until("device br9");
    // All is read again by then, as the name has changed.
    for address in ["10.98.0.1", "10.98.0.2"] {
        named.ip(&format!("address add {address}/24 dev br9"));
        until(&format!("address {address}/24 on br9"));
    }
    // It was known by the new name: this is a change, and no parameter that is new.
    named.exec("sysctl -qw net.ipv4.conf.br9.forwarding=1");
    until("sysctl net.ipv4.conf.br9.forwarding");
    let changed = told.pop().unwrap();
    assert_eq!((changed.seen, changed.value.as_deref()), (Seen::Told, Some("1")));
    let parameters: Vec<_> = told
        .iter()
        .filter_map(|setting| match &setting.thing {
            Thing::Sysctl { name } => Some((name.as_str(), setting)),
            _ => None,
        })
        .collect();
    for (name, setting) in &parameters {
        assert_eq!(setting.seen, Seen::Found, "{setting:?}");
        assert!(name.contains(".br0.") || name.contains(".br9."), "{setting:?}");
        if setting.value.is_none() {
            assert!(name.contains(".br0."), "{setting:?}");
        }
    }
}
