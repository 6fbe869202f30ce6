//! The scenarios. Addresses are those of the topology, see [`crate::lab`].

use super::{Actor, Expectation, ExpectedDrop, Place, Scenario, Step};
use crate::traffic::Role;

const INTERNET: &[&str] = &["192.0.2.10:8080", "[2001:db8:ffff::10]:8080"];

const PEER_SERVER: Actor = Actor {
    name: "peer-server",
    place: Place::Peer,
    role: Role::Server,
    addresses: INTERNET,
};
const NODE_CLIENT: Actor = Actor {
    name: "node-client",
    place: Place::Node,
    role: Role::Client,
    addresses: INTERNET,
};
const POD_CLIENT: Actor = Actor {
    name: "pod-client",
    place: Place::Pod,
    role: Role::Client,
    addresses: INTERNET,
};
const NODE_PING: Actor = Actor {
    name: "node-ping",
    place: Place::Node,
    role: Role::Ping,
    addresses: &["192.0.2.10", "2001:db8:ffff::10"],
};
/// Listens at the wildcard address, so its sockets are of IPv6 and serve both.
const NODE_SERVER: Actor = Actor {
    name: "node-server",
    place: Place::Node,
    role: Role::Server,
    addresses: &["[::]:8080"],
};
const PEER_CLIENT: Actor = Actor {
    name: "peer-client",
    place: Place::Peer,
    role: Role::Client,
    addresses: &["10.10.0.2:8080", "[2001:db8:10::2]:8080"],
};
const PEER_PING: Actor = Actor {
    name: "peer-ping",
    place: Place::Peer,
    role: Role::Ping,
    addresses: &["10.10.0.2", "2001:db8:10::2", "10.244.0.2"],
};
const BULK: Actor = Actor {
    name: "bulk",
    place: Place::Node,
    role: Role::Bulk,
    addresses: &["192.0.2.10:8080"],
};

const FLOOD: Actor = Actor {
    name: "flood",
    place: Place::Node,
    role: Role::Flood,
    addresses: &["192.0.2.10:8080"],
};
/// To a port on which nobody listens.
const STORM: Actor = Actor {
    name: "storm",
    place: Place::Peer,
    role: Role::Storm,
    addresses: &["10.10.0.2:9999"],
};

/// From and to the node and through it, by all protocols.
const ALL_WAYS: &[Actor] = &[
    PEER_SERVER,
    NODE_SERVER,
    NODE_CLIENT,
    POD_CLIENT,
    PEER_CLIENT,
    NODE_PING,
    PEER_PING,
];

/// Nothing is wrong.
const SOUND: Expectation = Expectation {
    exit_code: 0,
    place: "healthy",
    verdict: None,
    drops: &[],
    starved: None,
    most_unexplained: 0.01,
};

/// Every scenario, in the order in which they are listed.
pub static ALL: &[Scenario] = &[
    HEALTHY,
    BRIDGED_PODS,
    ADDRESS_REMOVED,
    BUSY,
    STORMED,
    LOCAL_RULE_LOST,
    RP_FILTER,
    REPLIES_FILTERED,
    NO_SOCKET,
    SILENT_PATH,
];

const HEALTHY: Scenario = Scenario {
    name: "healthy",
    title: "a healthy node under load",
    breaks: "Nothing. 20 MB over HTTP, 200 small requests on new connections and 1,000 exchanges over UDP go \
             over a light load of HTTP, UDP and pings, of IPv4 and IPv6, in both directions and through the node.",
    says: "Healthy, no verdict, and next to nothing unexplained.",
    setup: &[],
    traffic: ALL_WAYS,
    break_it: &[Step::Start(BULK)],
    heal: &[],
    expect: SOUND,
    late: false,
};

/// As most network plugins and Docker have it: each packet for the pod leaves by the bridge, and by its port.
const BRIDGED_PODS: Scenario = Scenario {
    name: "bridged-pods",
    title: "a healthy node with its pods behind a bridge",
    breaks: "Nothing. The pod's device is a port of the bridge cni0; all else is as in `healthy`.",
    says: "Healthy, no verdict, each packet for the pod forwarded once.",
    setup: &[
        Step::Ip(Place::Node, "link add cni0 type bridge"),
        Step::Ip(Place::Node, "route del 10.244.0.2/32 dev lxc1"),
        Step::Ip(Place::Node, "route del 2001:db8:244::2/128 dev lxc1"),
        Step::Ip(Place::Node, "addr flush dev lxc1"),
        Step::Ip(Place::Node, "link set lxc1 master cni0"),
        Step::Ip(Place::Node, "addr add 10.244.0.1/24 dev cni0"),
        Step::Ip(Place::Node, "addr add 2001:db8:244::1/64 dev cni0"),
        Step::Ip(Place::Node, "link set cni0 up"),
    ],
    traffic: ALL_WAYS,
    break_it: &[Step::Start(BULK)],
    heal: &[],
    expect: SOUND,
    late: false,
};

/// What keepalived does when another node takes over: from then on it is not this node's address.
const ADDRESS_REMOVED: Scenario = Scenario {
    name: "address-removed",
    title: "an address is taken away and packets for it go on arriving",
    breaks: "Nothing of what the node still is: it gives 10.10.0.77 up, which the peer goes on pinging.",
    says: "Healthy: what is for somebody else's address is no reply routed as foreign. Drops IP_INADDRERRORS at \
           ip_error.",
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
        drops: &[ExpectedDrop {
            reason: "IP_INADDRERRORS",
            symbols: &["ip_error"],
            socket_found: Some(false),
        }],
        ..SOUND
    },
    late: false,
};

const BUSY: Scenario = Scenario {
    name: "busy",
    title: "a healthy node under full load",
    breaks: "Nothing. A client asks over HTTP and UDP as fast as it is answered.",
    says: "Healthy, no verdict, and next to nothing unexplained.",
    setup: &[],
    traffic: &[PEER_SERVER, NODE_CLIENT],
    break_it: &[Step::Start(FLOOD)],
    heal: &[Step::Stop("flood")],
    expect: SOUND,
    late: false,
};

const STORMED: Scenario = Scenario {
    name: "storm",
    title: "a healthy node that somebody floods",
    breaks: "Nothing of the node's own. Datagrams for a port on which nobody listens arrive as fast as one core can send.",
    says: "Healthy, and as a weak sign R12: it cannot know that nobody waits for them. Drops NO_SOCKET at \
           __udp4_lib_rcv, each of them counted.",
    setup: &[],
    traffic: &[PEER_SERVER, NODE_CLIENT],
    break_it: &[Step::Start(STORM)],
    heal: &[Step::Stop("storm")],
    expect: Expectation {
        exit_code: 0,
        place: "healthy",
        verdict: Some("R12"),
        drops: &[ExpectedDrop {
            reason: "NO_SOCKET",
            symbols: &["__udp4_lib_rcv", "udp_rcv"],
            socket_found: Some(false),
        }],
        starved: None,
        most_unexplained: 0.01,
    },
    late: false,
};

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
            ExpectedDrop {
                reason: "NOT_SPECIFIED",
                symbols: &["ip_forward"],
                socket_found: Some(true),
            },
            ExpectedDrop {
                reason: "NOT_SPECIFIED",
                symbols: &["ip6_forward"],
                socket_found: Some(true),
            },
        ],
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
        drops: &[ExpectedDrop {
            reason: "IP_RPFILTER",
            symbols: &["ip_rcv_finish_core"],
            socket_found: None,
        }],
        starved: Some(NODE_CLIENT),
        most_unexplained: 0.01,
    },
    late: true,
};

/// A ruleset that has lost the line which accepts what belongs to a connection.
const REPLIES_FILTERED: Scenario = Scenario {
    name: "replies-filtered",
    title: "a firewall that has forgotten replies",
    breaks: "A ruleset is loaded whose input chain drops all but SSH and neighbours, and lacks `ct state \
             established,related accept`, as where a half-done upgrade loads half of it.",
    says: "K01, where: guest kernel. Drops NETFILTER_DROP at nft_do_chain; lab-client starves.",
    setup: &[],
    traffic: &[PEER_SERVER, NODE_CLIENT, POD_CLIENT, NODE_PING],
    break_it: &[Step::Nft(
        Place::Node,
        "add table inet broken; \
         add chain inet broken input { type filter hook input priority 0; policy drop; }; \
         add rule inet broken input iif lo accept; \
         add rule inet broken input icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; \
         add rule inet broken input tcp dport 22 accept",
    )],
    heal: &[Step::Nft(Place::Node, "delete table inet broken")],
    expect: Expectation {
        exit_code: 1,
        place: "guest-kernel",
        verdict: Some("K01"),
        drops: &[ExpectedDrop {
            reason: "NETFILTER_DROP",
            symbols: &["nft_do_chain", "nf_hook_slow"],
            socket_found: Some(true),
        }],
        starved: Some(NODE_CLIENT),
        most_unexplained: 0.01,
    },
    late: true,
};

const NO_SOCKET: Scenario = Scenario {
    name: "no-socket",
    title: "a server that its clients still ask is gone",
    breaks: "The process that listens on the node's port 8080 (TCP and UDP) is killed; requests go on arriving.",
    says: "R12, where: process. Drops NO_SOCKET at tcp_v4_rcv, no socket found. With --late healthy, and R12 as a \
           weak sign: nobody saw that a server had ever been there.",
    setup: &[],
    traffic: ALL_WAYS,
    break_it: &[Step::Stop("node-server")],
    heal: &[Step::Start(NODE_SERVER)],
    expect: Expectation {
        exit_code: 1,
        place: "process",
        verdict: Some("R12"),
        drops: &[
            ExpectedDrop {
                reason: "NO_SOCKET",
                symbols: &["tcp_v4_rcv"],
                socket_found: Some(false),
            },
            ExpectedDrop {
                reason: "NO_SOCKET",
                symbols: &["tcp_v6_rcv"],
                socket_found: Some(false),
            },
            ExpectedDrop {
                reason: "NO_SOCKET",
                symbols: &["__udp4_lib_rcv", "udp_rcv"],
                socket_found: Some(false),
            },
        ],
        starved: None,
        most_unexplained: 0.01,
    },
    late: false,
};

/// The peer itself lives and answers ARP: only the "internet" behind it says nothing any more.
const SILENT_PATH: Scenario = Scenario {
    name: "silent-path",
    title: "nothing comes back: the data path in front of the node is broken",
    breaks: "The addresses behind the gateway discard what they get. Requests and their repetitions leave the node, \
             nothing but ARP arrives.",
    says: "D01, where: data path. No drop on the node has to do with it.",
    setup: &[],
    traffic: &[PEER_SERVER, NODE_CLIENT, POD_CLIENT, NODE_PING],
    break_it: &[
        Step::Ip(Place::Peer, "addr del 192.0.2.10/32 dev lo"),
        Step::Ip(Place::Peer, "addr del 2001:db8:ffff::10/128 dev lo"),
        Step::Ip(Place::Peer, "route add blackhole 192.0.2.10/32"),
        Step::Ip(Place::Peer, "route add blackhole 2001:db8:ffff::10/128"),
    ],
    heal: &[
        Step::Ip(Place::Peer, "route del blackhole 192.0.2.10/32"),
        Step::Ip(Place::Peer, "route del blackhole 2001:db8:ffff::10/128"),
        Step::Ip(Place::Peer, "addr add 192.0.2.10/32 dev lo"),
        Step::Ip(Place::Peer, "addr add 2001:db8:ffff::10/128 dev lo"),
    ],
    expect: Expectation {
        exit_code: 1,
        place: "data-path",
        verdict: Some("D01"),
        drops: &[],
        starved: None,
        most_unexplained: 0.01,
    },
    late: true,
};
