use super::*;

fn told(thing: &Thing, before: Option<&str>, after: Option<&str>) -> Option<Vec<String>> {
    let lines = setting(thing, before, after)?;
    Some(lines.into_iter().map(|(line, _)| line).collect())
}

fn one(thing: &Thing, before: Option<&str>, after: Option<&str>) -> String {
    told(thing, before, after).map_or_else(String::new, |lines| lines.join(" && "))
}

fn way(destination: &str, prefix: u8, table: u32, action: &str, metric: u32) -> Thing {
    Thing::Route {
        table,
        action: action.to_owned(),
        destination: destination.parse().unwrap(),
        prefix,
        metric,
    }
}

#[test]
fn a_route_is_set_as_it_was() {
    let default = way("0.0.0.0", 0, 254, "unicast", 0);
    let leads = "via 10.10.0.1 dev eth0 proto static scope global src 10.10.0.2";
    assert_eq!(
        one(&default, Some(leads), None),
        "ip route add default via 10.10.0.1 dev eth0 proto static scope global src 10.10.0.2"
    );
    assert_eq!(
        one(&default, None, Some("dev eth1")),
        "ip route del default dev eth1"
    );
    assert_eq!(
        one(&default, Some("dev eth0"), Some("dev eth1")),
        "ip route replace default dev eth0"
    );
    assert_eq!(
        one(
            &way("2001:db8::", 64, 2004, "unicast", 1024),
            Some("dev a;b proto static"),
            None
        ),
        "ip -6 route add 2001:db8::/64 dev 'a;b' proto static table 2004 metric 1024"
    );
    let several =
        "proto static nexthop via 10.0.0.1 dev eth0 weight 1 nexthop via 10.0.0.2 dev eth1 weight 2";
    assert_eq!(
        one(&way("192.0.2.0", 24, 254, "unicast", 7), Some(several), None),
        "ip route add 192.0.2.0/24 proto static metric 7 nexthop via 10.0.0.1 dev eth0 weight 1 nexthop via 10.0.0.2 dev eth1 \
         weight 2"
    );
    assert_eq!(
        one(
            &way("10.10.0.2", 32, 255, "local", 0),
            Some("dev eth0 proto kernel scope host src 10.10.0.2"),
            None
        ),
        "ip route add local 10.10.0.2/32 dev eth0 proto kernel scope host src 10.10.0.2 table local"
    );
    assert_eq!(
        one(
            &way("192.0.2.0", 24, 254, "blackhole", 0),
            None,
            Some("proto boot")
        ),
        "ip route del blackhole 192.0.2.0/24 proto boot"
    );
    assert_eq!(
        one(&default, Some("nhid 7 via 10.0.0.1 dev eth0 proto zebra"), None),
        "ip route add default nhid 7 proto zebra"
    );
    for not_whole in [
        "encap mpls via 10.0.0.1",
        "via 10.0.0.1 dev eth0; via 10.0.0.2 dev eth1",
    ] {
        assert_eq!(told(&default, Some(not_whole), None), None, "{not_whole}");
    }
}

#[test]
fn a_rule_is_set_as_it_was() {
    let rule = |text: &str, version| Thing::Rule {
        version,
        priority: 9,
        text: text.to_owned(),
        table: 2004,
    };
    assert_eq!(
        one(
            &rule("from all fwmark 0x200/0xf00 lookup 2004", Version::V6),
            Some(""),
            None
        ),
        "ip -6 rule add pref 9 from all fwmark 0x200/0xf00 lookup 2004"
    );
    assert_eq!(
        one(
            &rule("from all lookup [l3mdev-table]", Version::V4),
            Some(""),
            None
        ),
        "ip rule add pref 9 from all l3mdev"
    );
    assert_eq!(
        one(&rule("from 10.0.0.1 lookup 7", Version::V4), None, Some("")),
        "ip rule del pref 9 from 10.0.0.1 lookup 7"
    );
}

#[test]
fn addresses_parameters_and_devices_are_set_as_they_were() {
    let address = Thing::Address {
        device: "eth0".to_owned(),
        address: "10.10.0.2".parse().unwrap(),
        prefix: 24,
    };
    assert_eq!(
        one(&address, Some("scope global"), None),
        "ip addr add 10.10.0.2/24 dev eth0"
    );
    assert_eq!(
        one(&address, Some("peer 10.10.0.1 scope global"), None),
        "ip addr add 10.10.0.2 peer 10.10.0.1/24 dev eth0"
    );
    let kept = "scope link label eth0:1 metric 1024 dynamic noprefixroute nodad";
    assert_eq!(
        one(&address, Some(kept), None),
        "ip addr add 10.10.0.2/24 dev eth0 scope link label eth0:1 metric 1024 noprefixroute nodad"
    );
    let loopback = |address: &str, prefix| Thing::Address {
        device: "lo".to_owned(),
        address: address.parse().unwrap(),
        prefix,
    };
    for (address, prefix) in [("127.0.0.1", 8), ("::1", 128)] {
        assert_eq!(
            one(&loopback(address, prefix), Some("scope host"), None),
            format!("ip addr replace {address}/{prefix} dev lo"),
            "that is the usual scope, or what the address says"
        );
    }
    let sysctl = |name: &str| Thing::Sysctl {
        name: name.to_owned(),
    };
    assert_eq!(
        one(&sysctl("net.ipv4.conf.all.rp_filter"), Some("0"), Some("1")),
        "sysctl -w net.ipv4.conf.all.rp_filter=0"
    );
    assert_eq!(
        one(&sysctl("net.ipv4.tcp_rmem"), Some("1 2 3"), Some("4 5 6")),
        "sysctl -w 'net.ipv4.tcp_rmem=1 2 3'"
    );
    let offloads = Thing::Offloads {
        device: "eth0".to_owned(),
    };
    let switched = |was, is| one(&offloads, Some(was), Some(is));
    assert_eq!(
        switched("all but tx-nocache-copy", "all but rx-checksum, tx-nocache-copy"),
        "ethtool -K eth0 rx-checksum on"
    );
    assert_eq!(switched("all but a, b", "all"), "ethtool -K eth0 a off b off");
    let filter = |text: &str| Thing::Traffic {
        device: "eth0".to_owned(),
        text: text.to_owned(),
    };
    assert_eq!(
        one(
            &filter("filter ingress pref 3 bpf handle 0x1"),
            None,
            Some("protocol all, prog 12, guard.o")
        ),
        "tc filter del dev eth0 ingress protocol all pref 3 handle 0x1 bpf"
    );
    assert_eq!(
        told(&filter("qdisc clsact ffff:"), None, Some("")),
        Some(vec![]),
        "it does nothing by itself"
    );
    assert_eq!(
        one(&filter("qdisc netem 1: root"), None, Some("loss 100%")),
        "tc qdisc del dev eth0 root"
    );
}

#[test]
fn a_neighbour_that_was_set_by_hand_is_asked_for_again_or_set_as_it_was() {
    let neighbour = |address: &str| Thing::Neighbour {
        device: "eth0".to_owned(),
        address: address.parse().unwrap(),
    };
    let (usual, by_hand) = ("lladdr 02:00:00:00:00:01", "lladdr 02:00:00:00:00:02 PERMANENT");
    assert_eq!(
        one(&neighbour("10.0.0.1"), Some(usual), Some(by_hand)),
        "ip neigh del 10.0.0.1 dev eth0"
    );
    assert_eq!(
        one(&neighbour("2001:db8::1"), Some(by_hand), None),
        "ip -6 neigh replace 2001:db8::1 lladdr 02:00:00:00:00:02 dev eth0 nud permanent"
    );
    assert_eq!(told(&neighbour("10.0.0.1"), Some(usual), Some("FAILED")), None);
}

#[test]
fn dots_in_the_name_of_a_device_are_slashes_to_sysctl() {
    for (name, told) in [
        ("net.ipv4.conf.all.rp_filter", "net.ipv4.conf.all.rp_filter"),
        (
            "net.ipv4.conf.eth0.100.rp_filter",
            "net.ipv4.conf.eth0/100.rp_filter",
        ),
        ("net.ipv4.ip_forward", "net.ipv4.ip_forward"),
    ] {
        assert_eq!(parameter(name), told);
    }
}
