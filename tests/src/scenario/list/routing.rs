//! The way that a packet is to take is looked up: rules, routes, the reverse path filter (`ip_route_input`).

use super::actors::*;
use super::prelude::*;

pub(super) const ALL: &[Scenario] = &[
    LOCAL_RULE_LOST,
    LOCAL_TABLE_FLUSHED,
    RP_FILTER,
    RP_FILTER_LOOSE,
    POLICY_RULE_LOST,
    MAIN_TABLE_FLUSHED,
    BLACKHOLE,
    MARTIANS,
    ADDRESS_REMOVED,
    OWN_ADDRESS_REMOVED,
    OWN_ADDRESS_REMOVED_FORWARDING,
    ADDRESS_MOVED,
    MAC_CHANGED,
    PEER_HAS_WRONG_MAC,
    NO_ROUTE,
];

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
        most_unexplained: 0.01,
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
        Step::SecondUplink,
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

/// Nothing knows any more which addresses are the node's own.
const LOCAL_TABLE_FLUSHED: Scenario = Scenario {
    name: "local-table-flushed",
    title: "the table of the node's own addresses is emptied",
    breaks: "ip route flush table local, on a node that does not forward: what arrives for its addresses is for nobody.",
    says: "R01, where: guest kernel. Drops IP_INADDRERRORS at ip_error; lab-client starves over IPv4.",
    setup: &[
        Step::Sysctl(Place::Node, "net.ipv4.ip_forward", "0"),
        Step::Ip(
            Place::Peer,
            "neigh replace 10.10.0.2 dev node0 lladdr 02:00:0a:0a:00:02 nud permanent",
        ),
        Step::Ip(
            Place::Node,
            "neigh replace 10.10.0.1 dev eth0 lladdr 02:00:0a:0a:00:01 nud permanent",
        ),
    ],
    traffic: &[PEER_SERVER, NODE_CLIENT, NODE_PING],
    break_it: &[Step::Ip(Place::Node, "route flush table local")],
    heal: &[
        Step::Ip(
            Place::Node,
            "route add local 10.10.0.2 dev eth0 table local src 10.10.0.2",
        ),
        Step::Ip(
            Place::Node,
            "route add local 127.0.0.0/8 dev lo table local src 127.0.0.1",
        ),
    ],
    expect: Expectation {
        drops: &[ExpectedDrop::of(
            &["IP_INADDRERRORS"],
            &["ip_error"],
            Class::State,
        )],
        most_unexplained: 0.01,
        ..LOCAL_RULE_LOST.expect
    },
    late: false,
    ..LOCAL_RULE_LOST
};

/// Even the loose filter wants some route back.
const RP_FILTER_LOOSE: Scenario = Scenario {
    name: "rp-filter-loose",
    title: "a loose reverse path filter on a node that has lost its routes",
    breaks: "rp_filter is 2, and table main is emptied, as by a restart of a network manager. Clients go on asking; \
             IPv6 goes on.",
    says: "R03, where: guest kernel. Drops IP_RPFILTER at ip_rcv_finish_core.",
    setup: &[
        Step::Sysctl(Place::Node, "net.ipv4.conf.all.rp_filter", "2"),
        Step::Ip(
            Place::Peer,
            "neigh replace 10.10.0.2 dev node0 lladdr 02:00:0a:0a:00:02 nud permanent",
        ),
    ],
    traffic: &[PEER_SERVER, NODE_SERVER, NODE_CLIENT, PEER_CLIENT, PEER_PING],
    break_it: &[Step::Ip(Place::Node, "route flush table main")],
    heal: &[
        Step::Ip(Place::Node, "route add 10.10.0.0/24 dev eth0 src 10.10.0.2"),
        Step::Ip(Place::Node, "route add default via 10.10.0.1"),
        Step::Ip(Place::Node, "route add 10.244.0.2/32 dev lxc1"),
    ],
    expect: Expectation {
        starved: None,
        ..RP_FILTER.expect
    },
    late: false,
    ..RP_FILTER
};

/// Replies arrive; it is the node's own next packet that has no way.
const POLICY_RULE_LOST: Scenario = Scenario {
    name: "policy-rule-lost",
    title: "the rule for the way out is lost",
    breaks: "The only route to 192.0.2.10 is in table 100, which a rule for the node's address asks. The rule is deleted.",
    says: "R04, where: guest kernel: what the node sends has no route. What arrives is delivered. Drops \
           IP_OUTNOROUTES at __ip_queue_xmit.",
    needs: &[],
    setup: &[
        Step::Ip(Place::Node, "route add default via 10.10.0.1 table 100"),
        Step::Ip(Place::Node, "rule add pref 500 to 192.0.2.0/24 lookup 100"),
        Step::Ip(Place::Node, "route del default via 10.10.0.1"),
    ],
    traffic: &[PEER_SERVER, NODE_CLIENT],
    break_it: &[Step::Ip(Place::Node, "rule del pref 500")],
    heal: &[Step::Ip(
        Place::Node,
        "rule add pref 500 to 192.0.2.0/24 lookup 100",
    )],
    expect: Expectation {
        drops: &[ExpectedDrop::of(&["IP_OUTNOROUTES"], &["__ip_queue_xmit"], Class::State).outgoing()],
        exit_code: 1,
        place: "guest-kernel",
        verdict: Some("R04"),
        ..SOUND
    },
    late: false,
};

/// Without a filter what arrives is delivered all the same.
const MAIN_TABLE_FLUSHED: Scenario = Scenario {
    name: "main-table-flushed",
    title: "a node that has lost its routes",
    breaks: "Table main is emptied, without a reverse path filter. Clients go on asking; IPv6 goes on.",
    says: "R04, where: guest kernel: what the node sends has no route. What arrives is delivered. Drops \
           IP_OUTNOROUTES at __ip_queue_xmit, and TCP_OLD_DATA of the requests that are therefore repeated.",
    setup: &[Step::Ip(
        Place::Peer,
        "neigh replace 10.10.0.2 dev node0 lladdr 02:00:0a:0a:00:02 nud permanent",
    )],
    expect: Expectation {
        drops: &[
            ExpectedDrop::of(&["IP_OUTNOROUTES"], &["__ip_queue_xmit"], Class::State).outgoing(),
            ExpectedDrop::of(
                &["TCP_OLD_DATA"],
                &["tcp_rcv_established", "tcp_data_queue"],
                Class::Protocol,
            )
            .socket_found(true),
        ],
        exit_code: 1,
        place: "guest-kernel",
        verdict: Some("R04"),
        ..SOUND
    },
    ..RP_FILTER_LOOSE
};

/// Addresses of the pod that are to be led nowhere, one by each kind of route.
const NOWHERE: Actor = Actor {
    addresses: &[
        "10.244.0.10",
        "10.244.0.11",
        "10.244.0.12",
        "2001:db8:244::10",
        "2001:db8:244::11",
        "2001:db8:244::12",
    ],
    ..PEER_PING
};

const BLACKHOLE: Scenario = Scenario {
    name: "blackhole-routes",
    title: "routes that lead nowhere",
    breaks: "The routes to some addresses of pods are replaced by blackhole, unreachable and prohibit.",
    says: "Healthy as far as the node's own sockets go. Drops NOT_SPECIFIED at ip_error, and for IPv6 at \
           dst_discard_out, or IP_INNOROUTES at ip6_pkt_discard and ip6_pkt_prohibit.",
    needs: &[],
    setup: &[
        Step::Ip(Place::Pod, "addr add 10.244.0.10/32 dev eth0"),
        Step::Ip(Place::Pod, "addr add 10.244.0.11/32 dev eth0"),
        Step::Ip(Place::Pod, "addr add 10.244.0.12/32 dev eth0"),
        Step::Ip(Place::Pod, "addr add 2001:db8:244::10/128 dev eth0"),
        Step::Ip(Place::Pod, "addr add 2001:db8:244::11/128 dev eth0"),
        Step::Ip(Place::Pod, "addr add 2001:db8:244::12/128 dev eth0"),
        Step::Ip(Place::Node, "route add 10.244.0.8/29 dev lxc1"),
        Step::Ip(Place::Node, "route add 2001:db8:244::10/124 dev lxc1"),
    ],
    traffic: &[PEER_SERVER, NODE_CLIENT, NOWHERE],
    break_it: &[
        Step::Ip(Place::Node, "route add blackhole 10.244.0.10"),
        Step::Ip(Place::Node, "route add unreachable 10.244.0.11"),
        Step::Ip(Place::Node, "route add prohibit 10.244.0.12"),
        Step::Ip(Place::Node, "route add blackhole 2001:db8:244::10"),
        Step::Ip(Place::Node, "route add unreachable 2001:db8:244::11"),
        Step::Ip(Place::Node, "route add prohibit 2001:db8:244::12"),
    ],
    heal: &[
        Step::Ip(Place::Node, "route del 10.244.0.10"),
        Step::Ip(Place::Node, "route del 10.244.0.11"),
        Step::Ip(Place::Node, "route del 10.244.0.12"),
        Step::Ip(Place::Node, "route del 2001:db8:244::10/128"),
        Step::Ip(Place::Node, "route del 2001:db8:244::11/128"),
        Step::Ip(Place::Node, "route del 2001:db8:244::12/128"),
    ],
    expect: Expectation {
        drops: &[
            ExpectedDrop::of(&["NOT_SPECIFIED"], &["ip_error"], Class::State).socket_found(false),
            ExpectedDrop::of(
                &["NOT_SPECIFIED"],
                &["dst_discard_out", "dst_discard"],
                Class::State,
            )
            .socket_found(false),
            ExpectedDrop::of(
                &["IP_INNOROUTES"],
                &["ip6_pkt_discard", "ip6_pkt_drop"],
                Class::State,
            )
            .socket_found(false),
            ExpectedDrop::of(
                &["IP_INNOROUTES"],
                &["ip6_pkt_prohibit", "ip6_pkt_drop"],
                Class::State,
            )
            .socket_found(false),
        ],
        column: Some((Column::Dropped, 12)),
        ..SOUND
    },
    late: false,
};

/// Sources that nothing on this wire can have.
const MARTIANS: Scenario = Scenario {
    name: "martians",
    title: "packets from sources that cannot be",
    breaks: "Nothing of the node's own. Packets arrive from its own address, from 127.0.0.1 and from a group.",
    says: "Healthy. Drops IP_LOCAL_SOURCE, IP_LOCALNET and IP_INVALID_SOURCE at ip_rcv_finish_core.",
    needs: &[],
    setup: &[],
    traffic: &[PEER_SERVER, NODE_CLIENT],
    break_it: &[
        Step::Start(frames(Frame::OwnSource)),
        Step::Start(more_frames("frames-lo", Frame::LoopbackSource)),
        Step::Start(more_frames("frames-group", Frame::GroupSource)),
    ],
    heal: &[
        Step::Stop("frames"),
        Step::Stop("frames-lo"),
        Step::Stop("frames-group"),
    ],
    expect: Expectation {
        drops: &[
            martian("IP_LOCAL_SOURCE"),
            martian("IP_LOCALNET"),
            martian("IP_INVALID_SOURCE"),
        ],
        column: Some((Column::Dropped, 90)),
        ..SOUND
    },
    late: false,
};

/// The kernel gives the reason since 6.13.
const fn martian(reason: &'static str) -> ExpectedDrop {
    ExpectedDrop {
        reasons: match reason.as_bytes() {
            b"IP_LOCAL_SOURCE" => &["IP_LOCAL_SOURCE", "NOT_SPECIFIED"],
            b"IP_LOCALNET" => &["IP_LOCALNET", "NOT_SPECIFIED"],
            _ => &["IP_INVALID_SOURCE", "NOT_SPECIFIED"],
        },
        ..ExpectedDrop::of(&[], &["ip_rcv_finish_core"], Class::State)
    }
}

/// What keepalived does when another node takes over: from then on it is not this node's address.
const ADDRESS_REMOVED: Scenario = Scenario {
    name: "address-removed",
    title: "an address is taken away and packets for it go on arriving",
    breaks: "Nothing of what the node still is: it gives 10.10.0.77 and 2001:db8:10::77 up, which the peer goes on \
             pinging. It does not forward.",
    says: "Healthy: what is for somebody else's address is no reply routed as foreign. Drops IP_INADDRERRORS at \
           ip_error and ip6_forward.",
    needs: &[],
    setup: &[
        Step::Sysctl(Place::Node, "net.ipv4.ip_forward", "0"),
        Step::Sysctl(Place::Node, "net.ipv6.conf.all.forwarding", "0"),
        Step::Ip(Place::Node, "addr add 10.10.0.77/24 dev eth0"),
        Step::Ip(
            Place::Node,
            "addr add 2001:db8:10::77/64 dev eth0 preferred_lft 0",
        ),
        Step::Ip(
            Place::Peer,
            "neigh replace 10.10.0.77 dev node0 lladdr 02:00:0a:0a:00:02 nud permanent",
        ),
        Step::Ip(
            Place::Peer,
            "neigh replace 2001:db8:10::77 dev node0 lladdr 02:00:0a:0a:00:02 nud permanent",
        ),
    ],
    traffic: &[
        PEER_SERVER,
        NODE_CLIENT,
        Actor {
            name: "peer-ping",
            place: Place::Peer,
            role: Role::Ping,
            addresses: &["10.10.0.77", "2001:db8:10::77"],
        },
    ],
    break_it: &[
        Step::Ip(Place::Node, "addr del 10.10.0.77/24 dev eth0"),
        Step::Ip(Place::Node, "addr del 2001:db8:10::77/64 dev eth0"),
    ],
    heal: &[
        Step::Ip(Place::Node, "addr add 10.10.0.77/24 dev eth0"),
        Step::Ip(
            Place::Node,
            "addr add 2001:db8:10::77/64 dev eth0 preferred_lft 0",
        ),
    ],
    expect: Expectation {
        drops: &[
            ExpectedDrop::of(&["IP_INADDRERRORS"], &["ip_error"], Class::State).socket_found(false),
            ExpectedDrop::of(&["IP_INADDRERRORS"], &["ip6_forward"], Class::State).socket_found(false),
        ],
        column: Some((Column::Dropped, 5)),
        ..SOUND
    },
    late: false,
};

/// What a network manager does that does not know the address: the sockets that are bound to it stand.
const OWN_ADDRESS_REMOVED: Scenario = Scenario {
    name: "own-address-removed",
    title: "the node loses its address",
    breaks: "10.10.0.2 is taken from eth0, as by a restart of a network manager that did not set it. The node does not \
             forward. Clients go on asking; IPv6 goes on.",
    says: "R05, where: guest kernel. Drops IP_INADDRERRORS at ip_error.",
    needs: &[],
    setup: &[
        Step::Sysctl(Place::Node, "net.ipv4.ip_forward", "0"),
        Step::Ip(
            Place::Peer,
            "neigh replace 10.10.0.2 dev node0 lladdr 02:00:0a:0a:00:02 nud permanent",
        ),
    ],
    traffic: &[PEER_SERVER, NODE_SERVER, NODE_CLIENT, PEER_CLIENT],
    break_it: &[Step::Ip(Place::Node, "addr del 10.10.0.2/24 dev eth0")],
    heal: &[
        Step::Ip(Place::Node, "addr add 10.10.0.2/24 dev eth0"),
        Step::Ip(Place::Node, "route add default via 10.10.0.1"),
    ],
    expect: Expectation {
        exit_code: 1,
        place: "guest-kernel",
        verdict: Some("R05"),
        drops: &[ExpectedDrop::of(
            &["IP_INADDRERRORS"],
            &["ip_error"],
            Class::State,
        )],
        column: Some((Column::Dropped, 5)),
        starved: None,
        most_unexplained: 0.01,
    },
    late: false,
};

/// The same where the node forwards: with the address its last route went away.
const OWN_ADDRESS_REMOVED_FORWARDING: Scenario = Scenario {
    name: "own-address-removed-forwarding",
    title: "a node that forwards loses its address, and its routes with it",
    breaks: "10.10.0.2 is taken from eth0, and the routes by eth0 go with it. The node forwards, and has no way for what still \
             comes for that address. Clients go on asking; IPv6 goes on.",
    says: "R05, where: guest kernel; R04 follows from it. Drops IP_INNOROUTES at ip_error.",
    setup: &[Step::Ip(
        Place::Peer,
        "neigh replace 10.10.0.2 dev node0 lladdr 02:00:0a:0a:00:02 nud permanent",
    )],
    expect: Expectation {
        drops: &[ExpectedDrop::of(&["IP_INNOROUTES"], &["ip_error"], Class::State)],
        ..OWN_ADDRESS_REMOVED.expect
    },
    ..OWN_ADDRESS_REMOVED
};

/// The weak host model: an address is the node's, whichever device has it.
const ADDRESS_MOVED: Scenario = Scenario {
    name: "address-moved",
    title: "an address is moved to another device, and nothing is lost",
    breaks: "Nothing. 10.10.0.77 is moved from eth0 to lo; clients go on asking it by eth0.",
    says: "Healthy, no verdict.",
    needs: &[],
    setup: &[
        Step::Ip(Place::Node, "addr add 10.10.0.77/24 dev eth0"),
        Step::Ip(
            Place::Node,
            "addr add 2001:db8:10::77/64 dev eth0 preferred_lft 0",
        ),
    ],
    traffic: &[
        PEER_SERVER,
        NODE_SERVER,
        NODE_CLIENT,
        Actor {
            addresses: &["10.10.0.77:8080", "[2001:db8:10::77]:8080"],
            ..PEER_CLIENT
        },
    ],
    break_it: &[
        Step::Ip(Place::Node, "addr add 10.10.0.77/32 dev lo"),
        Step::Ip(Place::Node, "addr del 10.10.0.77/24 dev eth0"),
    ],
    heal: &[],
    expect: SOUND,
    late: false,
};

/// As after a change of the virtual machine's device that its host was not told of.
const MAC_CHANGED: Scenario = Scenario {
    name: "mac-changed",
    title: "the device has another link-layer address than its neighbours believe",
    breaks: "The address of eth0 is changed; the peer has the old one in a fixed entry and goes on using it.",
    says: "R21, where: guest kernel. Drops OTHERHOST at ip_rcv_core and ip6_rcv_core; lab-client starves.",
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
    ],
    traffic: &[PEER_SERVER, NODE_CLIENT, NODE_PING],
    // The change takes the node's own entries away.
    break_it: &[
        Step::Ip(Place::Node, "link set eth0 address 02:00:0a:0a:00:03"),
        Step::Ip(
            Place::Node,
            "neigh replace 2001:db8:10::1 dev eth0 lladdr 02:00:0a:0a:00:01 nud permanent",
        ),
    ],
    heal: &[Step::Ip(Place::Node, "link set eth0 address 02:00:0a:0a:00:02")],
    expect: Expectation {
        exit_code: 1,
        place: "guest-kernel",
        verdict: Some("R21"),
        drops: &[
            ExpectedDrop::of(&["OTHERHOST"], &["ip_rcv_core"], Class::Environment),
            ExpectedDrop::of(&["OTHERHOST"], &["ip6_rcv_core"], Class::Environment),
        ],
        column: Some((Column::Dropped, 10)),
        starved: Some(NODE_CLIENT),
        most_unexplained: 0.01,
    },
    late: false,
};

/// As of a router whose table was filled by hand, or still names the machine that had the address before. Over IPv6 it has the right
/// one.
const PEER_HAS_WRONG_MAC: Scenario = Scenario {
    name: "peer-has-wrong-mac",
    title: "the gateway sends what is for the node to another link-layer address",
    breaks: "The peer is told another link-layer address for 10.10.0.2 by hand. The node and its device are as they were, and IPv6 \
             goes on.",
    says: "R43, where: data path. Drops OTHERHOST at ip_rcv_core; lab-client starves.",
    needs: &[],
    setup: &[],
    traffic: &[PEER_SERVER, NODE_CLIENT, NODE_PING],
    break_it: &[Step::Ip(
        Place::Peer,
        "neigh replace 10.10.0.2 dev node0 lladdr 02:00:0a:0a:00:99 nud permanent",
    )],
    heal: &[Step::Ip(Place::Peer, "neigh del 10.10.0.2 dev node0")],
    expect: Expectation {
        exit_code: 1,
        place: "data-path",
        verdict: Some("R43"),
        drops: &[ExpectedDrop::of(
            &["OTHERHOST"],
            &["ip_rcv_core"],
            Class::Environment,
        )],
        column: Some((Column::Dropped, 5)),
        starved: Some(NODE_CLIENT),
        most_unexplained: 0.01,
    },
    late: true,
};

/// The pod's routes go and there is none that would take their place.
const NO_ROUTE: Scenario = Scenario {
    name: "no-route",
    title: "a node that forwards has no route for what it is to forward",
    breaks: "The routes to an address of the pod are deleted, on a node without a default route.",
    says: "R18, where: guest kernel. Drops IP_INNOROUTES at ip_error and ip6_pkt_discard.",
    needs: &[],
    setup: &[
        Step::Ip(Place::Node, "route add 192.0.2.0/24 via 10.10.0.1"),
        Step::Ip(Place::Node, "route add 2001:db8:ffff::/64 via 2001:db8:10::1"),
        Step::Ip(Place::Node, "route del default via 10.10.0.1"),
        Step::Ip(Place::Node, "route del default via 2001:db8:10::1"),
    ],
    traffic: &[
        PEER_SERVER,
        NODE_CLIENT,
        Actor {
            addresses: &["10.244.0.2", "2001:db8:244::2"],
            ..PEER_PING
        },
    ],
    break_it: &[
        Step::Ip(Place::Node, "route del 10.244.0.2/32 dev lxc1"),
        Step::Ip(Place::Node, "route del 2001:db8:244::2/128 dev lxc1"),
    ],
    heal: &[
        Step::Ip(Place::Node, "route add 10.244.0.2/32 dev lxc1"),
        Step::Ip(Place::Node, "route add 2001:db8:244::2/128 dev lxc1"),
    ],
    expect: Expectation {
        drops: &[
            ExpectedDrop::of(&["IP_INNOROUTES"], &["ip_error"], Class::State).socket_found(false),
            ExpectedDrop::of(
                &["IP_INNOROUTES"],
                &["ip6_pkt_discard", "ip6_pkt_drop"],
                Class::State,
            )
            .socket_found(false),
        ],
        column: Some((Column::Dropped, 6)),
        exit_code: 1,
        place: "guest-kernel",
        verdict: Some("R18"),
        ..SOUND
    },
    late: false,
};
