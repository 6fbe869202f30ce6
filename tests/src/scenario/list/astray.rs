//! What leads astray on the node itself: it asks by another way than before, and nobody answers.

use super::actors::*;
use super::path::{GATEWAY_SILENT, NODES, UNANSWERED};
use super::prelude::*;

pub(super) const ALL: &[Scenario] = &[
    NEIGHBOUR_BY_HAND,
    GATEWAY_WRONG,
    ROUTED_ASIDE,
    RULE_FOR_SOME,
    MARKED,
    RULE_FOR_A_MARK,
    ALL_BUT_A_MARK,
    SOURCE_WRONG,
    SOURCE_OF_NOBODY,
    DESTINATION_WRONG,
    DESTINATION_WRONG_BY_IPTABLES,
    MTU_LOWERED,
    DEAD_TUNNEL,
    PEER_TAKEN,
];

/// The kernel never asks for it again.
const NEIGHBOUR_BY_HAND: Scenario = Scenario {
    name: "neighbour-by-hand",
    title: "the gateway's link-layer address was set by hand, and is wrong",
    breaks: "The node's entry of its gateway is replaced by one that leads to nobody: all that leaves over IPv4 is lost on the link.",
    says: "R37, where: guest kernel: the entry was set, by whom. No drop on the node has to do with it.",
    break_it: &[Step::Ip(
        Place::Node,
        "neigh replace 10.10.0.1 lladdr 02:00:00:00:be:ef dev eth0 nud permanent",
    )],
    heal: &[Step::Ip(Place::Node, "neigh del 10.10.0.1 dev eth0")],
    expect: Expectation {
        verdict: Some("R37"),
        ..UNANSWERED
    },
    ..NODES
};

/// The network has no such node.
const GATEWAY_WRONG: Scenario = Scenario {
    name: "gateway-wrong",
    title: "the default route was replaced by one by a gateway that is none",
    breaks: "The node's default route leads by 10.10.0.99, which nobody has: what is for the peers waits for a link-layer address in vain.",
    says: "R37, where: guest kernel: the route was changed, by whom. What the node wanted to send is dropped, NEIGH_FAILED.",
    break_it: &[Step::Ip(Place::Node, "route replace default via 10.10.0.99")],
    heal: &[Step::Ip(Place::Node, "route replace default via 10.10.0.1")],
    expect: Expectation {
        drops: GATEWAY_SILENT.expect.drops,
        ..NEIGHBOUR_BY_HAND.expect
    },
    ..NODES
};

/// As where a tunnel or a bridge of containers takes a network for its own.
const ROUTED_ASIDE: Scenario = Scenario {
    name: "routed-aside",
    title: "a narrower route leads by a device that is no uplink",
    breaks: "A route for the network of the peers comes that leads by a device of the node's own: all that is for them leaves there.",
    says: "R37, where: guest kernel: the route came, by whom. No drop on the node has to do with it.",
    setup: &[
        Step::Ip(Place::Node, "link add aside type bridge"),
        Step::Ip(Place::Node, "link set aside up"),
    ],
    break_it: &[Step::Ip(Place::Node, "route add 192.0.2.0/24 dev aside")],
    heal: &[Step::Ip(Place::Node, "route del 192.0.2.0/24 dev aside")],
    ..NEIGHBOUR_BY_HAND
};

/// A device that leads to nobody, and a table by which all leaves by it.
const ASIDE: &[Step] = &[
    Step::Ip(Place::Node, "link add aside type bridge"),
    Step::Ip(Place::Node, "link set aside up"),
    Step::Ip(Place::Node, "route add default dev aside table 55"),
];

const RULE_FOR_SOME: Scenario = Scenario {
    name: "rule-for-some",
    title: "a policy rule leads some packets by another table, and to nobody",
    breaks: "A rule for TCP to port 8080 comes, in whose table the default route leads by a device of the node's own.",
    says: "R37, where: guest kernel: the rule came, by whom. No drop on the node has to do with it.",
    setup: ASIDE,
    break_it: &[Step::Ip(
        Place::Node,
        "rule add pref 100 ipproto tcp dport 8080 lookup 55",
    )],
    heal: &[Step::Ip(
        Place::Node,
        "rule del pref 100 ipproto tcp dport 8080 lookup 55",
    )],
    ..NEIGHBOUR_BY_HAND
};

/// As where the firewall of a VPN marks what is to leave by it.
const MARKED: Scenario = Scenario {
    name: "marked",
    title: "a firewall gives packets a mark by which an older rule leads them to nobody",
    breaks: "A chain at output marks what is for TCP port 8080; what has this mark goes by a table that leads to nobody.",
    says: "R37, where: guest kernel: the rule of the firewall came, by whom. No drop on the node has to do with it.",
    setup: &[
        ASIDE[0],
        ASIDE[1],
        ASIDE[2],
        Step::Ip(Place::Node, "rule add pref 100 fwmark 0x37 lookup 55"),
    ],
    break_it: &[Step::Nft(Place::Node, MARKS)],
    heal: &[Step::Nft(Place::Node, "delete table ip broken")],
    ..NEIGHBOUR_BY_HAND
};

const MARKS: &str = "add table ip broken; \
     add chain ip broken out { type route hook output priority mangle; }; \
     add rule ip broken out tcp dport 8080 meta mark set 0x37";

const RULE_FOR_A_MARK: Scenario = Scenario {
    name: "rule-for-a-mark",
    title: "a policy rule leads packets with a mark by another table, and to nobody",
    breaks: "What is for TCP port 8080 is marked from the start; a rule comes that leads what has this mark to nobody.",
    says: "R37, where: guest kernel: the rule came, by whom. No drop on the node has to do with it.",
    setup: &[ASIDE[0], ASIDE[1], ASIDE[2], Step::Nft(Place::Node, MARKS)],
    break_it: &[Step::Ip(Place::Node, "rule add pref 100 fwmark 0x37 lookup 55")],
    heal: &[Step::Ip(Place::Node, "rule del pref 100 fwmark 0x37 lookup 55")],
    ..NEIGHBOUR_BY_HAND
};

/// As wg-quick sets it, with a peer that is not there.
const ALL_BUT_A_MARK: Scenario = Scenario {
    name: "all-but-a-mark",
    title: "a VPN takes all that is not its own, and leads to nobody",
    breaks: "A rule for all packets without the VPN's mark comes, in whose table the default route leads to nobody.",
    says: "R37, where: guest kernel: the rule came, by whom. No drop on the node has to do with it.",
    setup: ASIDE,
    break_it: &[Step::Ip(
        Place::Node,
        "rule add pref 100 not fwmark 0xca6c lookup 55",
    )],
    heal: &[Step::Ip(
        Place::Node,
        "rule del pref 100 not fwmark 0xca6c lookup 55",
    )],
    ..NEIGHBOUR_BY_HAND
};

/// Connections from before go on.
const SOURCE_WRONG: Scenario = Scenario {
    name: "source-wrong",
    title: "a firewall gives what leaves an address that is nobody's",
    breaks: "A chain at postrouting gives what is for TCP port 8080 a source to which the network knows no way: no answer comes back.",
    says: "R37, where: guest kernel: the rule of the firewall came, by whom. No drop on the node has to do with it.",
    break_it: &[Step::Nft(
        Place::Node,
        "add table ip broken; \
         add chain ip broken out { type nat hook postrouting priority srcnat; }; \
         add rule ip broken out tcp dport 8080 snat to 203.0.113.9",
    )],
    heal: &[Step::Nft(Place::Node, "delete table ip broken")],
    ..NEIGHBOUR_BY_HAND
};

/// Rules from before are not read: what leaves tells of it.
const SOURCE_OF_NOBODY: Scenario = Scenario {
    name: "source-of-nobody",
    title: "a firewall has always given what leaves an address that is nobody's",
    breaks: "A program starts to ask the peer at TCP port 8081, and a rule from before gives that a source to which the network knows \
             no way: no answer comes back.",
    says: "R42, where: guest kernel: from which address it leaves. No drop on the node has to do with it.",
    setup: &[Step::Nft(
        Place::Node,
        "add table ip broken; \
         add chain ip broken out { type nat hook postrouting priority srcnat; }; \
         add rule ip broken out tcp dport 8081 snat to 203.0.113.9",
    )],
    break_it: &[
        Step::Start(Actor {
            name: "other-server",
            addresses: OTHER_SERVER,
            ..PEER_SERVER
        }),
        Step::Start(Actor {
            name: "asker",
            addresses: OTHER_SERVER,
            ..NODE_CLIENT
        }),
    ],
    heal: &[Step::Stop("asker"), Step::Stop("other-server")],
    expect: Expectation {
        verdict: Some("R42"),
        ..NEIGHBOUR_BY_HAND.expect
    },
    ..NEIGHBOUR_BY_HAND
};

const OTHER_SERVER: &[&str] = &["192.0.2.10:8081"];

const DESTINATION_WRONG: Scenario = Scenario {
    name: "destination-wrong",
    title: "a firewall sends what is for a peer to an address that is nobody's",
    breaks: "A chain at output sends what is for TCP port 8080 to an address that nobody has: no answer comes back.",
    says: "R37, where: guest kernel: the rule of the firewall came, by whom. No drop on the node has to do with it.",
    break_it: &[Step::Nft(
        Place::Node,
        "add table ip broken; \
         add chain ip broken out { type nat hook output priority -100; }; \
         add rule ip broken out ip daddr 192.0.2.10 tcp dport 8080 dnat to 203.0.113.9",
    )],
    heal: &[Step::Nft(Place::Node, "delete table ip broken")],
    ..NEIGHBOUR_BY_HAND
};

const DESTINATION_WRONG_BY_IPTABLES: Scenario = Scenario {
    name: "destination-wrong-by-iptables",
    title: "iptables sends what is for a peer to another address and port, where nobody is",
    breaks: "iptables-nft -t nat -A OUTPUT sends what is for TCP port 8080 to a neighbour that is not there. IPv6 goes on.",
    says: "R37, where: guest kernel: the rule of iptables came, by whom.",
    needs: &[Need::Program("iptables-nft", "iptables")],
    break_it: &[Step::Run(
        Place::Node,
        "iptables-nft -t nat -A OUTPUT -p tcp --dport 8080 -j DNAT --to 10.10.0.77:9090",
    )],
    heal: &[Step::Run(Place::Node, "iptables-nft -t nat -F OUTPUT")],
    ..NEIGHBOUR_BY_HAND
};

const MTU_LOWERED: Scenario = Scenario {
    name: "mtu-lowered",
    title: "the uplink takes smaller packets than come",
    breaks: "The MTU of eth0 is set to 1,300: the device drops what is larger, before anything arrives.",
    says: "R37, where: guest kernel: the device was changed, by whom. What was lost is in its counters.",
    traffic: &[
        PEER_SERVER,
        NODE_CLIENT,
        Actor {
            name: "huge-ping",
            role: Role::HugePing,
            addresses: &["192.0.2.10"],
            ..NODE_CLIENT
        },
    ],
    break_it: &[Step::Ip(Place::Node, "link set eth0 mtu 1300")],
    heal: &[Step::Ip(Place::Node, "link set eth0 mtu 1500")],
    ..NEIGHBOUR_BY_HAND
};

/// Nobody reads what is sent into the tunnel.
const DEAD_TUNNEL: Scenario = Scenario {
    name: "dead-tunnel",
    title: "a VPN's tunnel takes all that leaves, and its daemon is gone",
    breaks: "Routes to both halves of all addresses come that lead by a tunnel which no process has open.",
    says: "R37, where: guest kernel: the routes came, by whom. What is sent is dropped at the tunnel, QDISC_DROP.",
    setup: &[
        Step::Ip(Place::Node, "tuntap add tun0 mode tun"),
        Step::Ip(Place::Node, "addr add 10.8.0.2/24 dev tun0"),
        Step::Ip(Place::Node, "link set tun0 up"),
    ],
    break_it: &[
        Step::Ip(Place::Node, "route add 0.0.0.0/1 dev tun0"),
        Step::Ip(Place::Node, "route add 128.0.0.0/1 dev tun0"),
    ],
    heal: &[
        Step::Ip(Place::Node, "route del 0.0.0.0/1 dev tun0"),
        Step::Ip(Place::Node, "route del 128.0.0.0/1 dev tun0"),
    ],
    ..NEIGHBOUR_BY_HAND
};

/// As where a network plugin or an old script gives the loopback device the address of a service that is elsewhere.
const PEER_TAKEN: Scenario = Scenario {
    name: "peer-taken",
    title: "the address of the peers comes to this node",
    breaks: "The addresses that the node's clients ask are added to its loopback device: what is for them does not leave, and is \
             refused by the node itself.",
    says: "R37, where: guest kernel: the address came, by whom. Drops NO_SOCKET of what the node sent to itself.",
    traffic: &[PEER_SERVER, NODE_CLIENT, NODE_PING],
    setup: &[],
    break_it: &[
        Step::Ip(Place::Node, "addr add 192.0.2.10/32 dev lo"),
        Step::Ip(Place::Node, "addr add 2001:db8:ffff::10/128 dev lo"),
    ],
    heal: &[
        Step::Ip(Place::Node, "addr del 192.0.2.10/32 dev lo"),
        Step::Ip(Place::Node, "addr del 2001:db8:ffff::10/128 dev lo"),
    ],
    ..NEIGHBOUR_BY_HAND
};
