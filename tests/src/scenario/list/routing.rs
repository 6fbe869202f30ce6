//! The way that a packet is to take is looked up: rules, routes, the reverse path filter (`ip_route_input`).

use super::actors::*;
use super::prelude::*;

pub(super) const ALL: &[Scenario] = &[LOCAL_RULE_LOST, RP_FILTER, ADDRESS_REMOVED];

/// What Cilium does at its start, and what systemd-networkd undoes when it is restarted: it deletes the
/// rules that it did not make. The gateway and the node know each other by fixed neighbour entries, as in
/// most clouds: else the incident would turn into another one as soon as those of ARP have run out, since a
/// node without the rule does not answer ARP any more.
const LOCAL_RULE_LOST: Scenario = Scenario {
    name: "local-rule-lost",
    title: "the incident: the rule that looks up table local is lost",
    breaks: "The rules of a CNI plugin, which had moved the lookup of table local from priority 0 to 100, are \
             deleted as by a restart of systemd-networkd. Replies still arrive and find their socket, but are \
             routed as if they were for another machine.",
    says: "R01, where: guest kernel. Drops NOT_SPECIFIED at ip_forward with the socket found; lab-client starves.",
    needs: &[],
    setup: &[
        Step::Ip(
            Place::Peer,
            "neigh replace 10.10.0.2 dev node0 lladdr 02:00:0a:0a:00:02 nud permanent",
        ),
        Step::Ip(
            Place::Peer,
            "neigh replace 2001:db8:10::2 dev node0 lladdr 02:00:0a:0a:00:02 nud permanent",
        ),
        Step::Ip(
            Place::Node,
            "neigh replace 10.10.0.1 dev eth0 lladdr 02:00:0a:0a:00:01 nud permanent",
        ),
        Step::Ip(
            Place::Node,
            "neigh replace 2001:db8:10::1 dev eth0 lladdr 02:00:0a:0a:00:01 nud permanent",
        ),
        Step::Ip(Place::Node, "rule add pref 9 fwmark 0x200/0xf00 lookup 2004"),
        Step::Ip(Place::Node, "rule add pref 100 from all lookup local"),
        Step::Ip(Place::Node, "rule del pref 0"),
        Step::Ip(Place::Node, "-6 rule add pref 9 fwmark 0x200/0xf00 lookup 2004"),
        Step::Ip(Place::Node, "-6 rule add pref 100 from all lookup local"),
        Step::Ip(Place::Node, "-6 rule del pref 0"),
    ],
    traffic: &[PEER_SERVER, NODE_CLIENT, POD_CLIENT, NODE_PING],
    break_it: &[
        Step::Ip(Place::Node, "rule del pref 9"),
        Step::Ip(Place::Node, "rule del pref 100"),
        Step::Ip(Place::Node, "-6 rule del pref 9"),
        Step::Ip(Place::Node, "-6 rule del pref 100"),
    ],
    heal: &[
        Step::Ip(Place::Node, "rule add pref 0 lookup local"),
        Step::Ip(Place::Node, "-6 rule add pref 0 lookup local"),
    ],
    expect: Expectation {
        exit_code: 1,
        place: "guest-kernel",
        verdict: Some("R01"),
        drops: &[
            ExpectedDrop::of(&["NOT_SPECIFIED"], &["ip_forward"], Class::State).socket_found(true),
            ExpectedDrop::of(&["NOT_SPECIFIED"], &["ip6_forward"], Class::State).socket_found(true),
        ],
        column: None,
        starved: Some(NODE_CLIENT),
        // Answers to pings wait up to 3 s for a neighbour.
        most_unexplained: 0.05,
    },
    late: true,
};

/// Requests leave by a second device and replies come back by eth0: harmless until the filter is strict.
/// The route cache is flushed as well, so that connections that stand meet the filter like new ones.
const RP_FILTER: Scenario = Scenario {
    name: "rp-filter",
    title: "a strict reverse path filter where replies come back another way",
    breaks: "rp_filter is set to 1, as a sysctl file of an upgrade may do. The route to 192.0.2.10 is by eth1 and \
             its replies come back by eth0: the kernel now drops them. IPv6, which has no such filter, goes on.",
    says: "R03, where: guest kernel. Drops IP_RPFILTER at ip_rcv_finish_core; lab-client starves over IPv4.",
    needs: &[],
    setup: &[
        Step::Ip(
            Place::Node,
            "link add eth1 index 12 type veth peer name node1 netns {peer}",
        ),
        Step::Ip(Place::Node, "addr add 10.11.0.2/24 dev eth1"),
        Step::Ip(Place::Node, "link set eth1 up"),
        Step::Ip(Place::Peer, "addr add 10.11.0.1/24 dev node1"),
        Step::Ip(Place::Peer, "link set node1 up"),
        Step::Ip(
            Place::Node,
            "route add 192.0.2.10/32 via 10.11.0.1 dev eth1 src 10.10.0.2",
        ),
    ],
    traffic: &[PEER_SERVER, NODE_CLIENT, POD_CLIENT, NODE_PING, PEER_PING],
    break_it: &[
        Step::Sysctl(Place::Node, "net.ipv4.conf.all.rp_filter", "1"),
        Step::Sysctl(Place::Node, "net.ipv4.route.flush", "1"),
    ],
    heal: &[Step::Sysctl(Place::Node, "net.ipv4.conf.all.rp_filter", "0")],
    expect: Expectation {
        exit_code: 1,
        place: "guest-kernel",
        verdict: Some("R03"),
        drops: &[ExpectedDrop::of(
            &["IP_RPFILTER"],
            &["ip_rcv_finish_core"],
            Class::State,
        )],
        column: None,
        starved: Some(NODE_CLIENT),
        most_unexplained: 0.01,
    },
    late: true,
};

/// What keepalived does when another node takes over: from then on it is not this node's address.
const ADDRESS_REMOVED: Scenario = Scenario {
    name: "address-removed",
    title: "an address is taken away and packets for it go on arriving",
    breaks: "Nothing of what the node still is: it gives 10.10.0.77 up, which the peer goes on pinging.",
    says: "Healthy: what is for somebody else's address is no reply routed as foreign. Drops IP_INADDRERRORS at \
           ip_error.",
    needs: &[],
    setup: &[
        Step::Sysctl(Place::Node, "net.ipv4.ip_forward", "0"),
        Step::Ip(Place::Node, "addr add 10.10.0.77/24 dev eth0"),
    ],
    traffic: &[
        PEER_SERVER,
        NODE_CLIENT,
        Actor {
            name: "peer-ping",
            place: Place::Peer,
            role: Role::Ping,
            addresses: &["10.10.0.77"],
        },
    ],
    break_it: &[Step::Ip(Place::Node, "addr del 10.10.0.77/24 dev eth0")],
    heal: &[Step::Ip(Place::Node, "addr add 10.10.0.77/24 dev eth0")],
    expect: Expectation {
        drops: &[ExpectedDrop::of(&["IP_INADDRERRORS"], &["ip_error"], Class::State).socket_found(false)],
        ..SOUND
    },
    late: false,
};
