//! What is lost in front of the node, or beyond it: it sees that nothing comes, or that it is not asked any more.

use super::actors::*;
use super::prelude::*;

pub(super) const ALL: &[Scenario] = &[
    SILENT_PATH,
    ONE_WAY,
    NAMES_UNANSWERED,
    NAMES_FILTERED,
    NAMES_REFUSED,
    GATEWAY_SILENT,
    ONE_OF_TWO_GATEWAYS_SILENT,
    ARP_OFF,
    ARP_IGNORED,
    ARP_FILTERED,
    NEIGHBOURS_FILTERED,
    NO_ROUTE_BACK,
    RULE_GONE,
    SENT_NOWHERE,
    ALL_SENT_NOWHERE,
    LOOPBACK_DOWN,
    LOOPBACK_FLUSHED,
    UPLINK_DOWN,
];

/// Two gateways share what leaves by their default route, and the second never answers ARP or neighbour discovery.
const ONE_OF_TWO_GATEWAYS_SILENT: Scenario = Scenario {
    name: "one-of-two-gateways-silent",
    title: "one of the two next hops of the default route does not answer",
    breaks: "The default route has two gateways, one address of the peer each; the second is taken from it. Of the node's flows those \
             that fall to it lose all that they send, the others go on.",
    says: "D01, where: data path. Drops NEIGH_FAILED at neigh_invalidate of what is sent; the rest of the same peer's ports answers.",
    needs: &[],
    setup: &[
        Step::Sysctl(Place::Node, "net.ipv4.fib_multipath_hash_policy", "1"),
        Step::Ip(Place::Peer, "addr add 10.10.0.9/24 dev node0"),
        Step::Ip(
            Place::Node,
            "route replace default nexthop via 10.10.0.1 dev eth0 nexthop via 10.10.0.9 dev eth0",
        ),
    ],
    // Which one a flow falls to is chance, by its ports. So many that stand do not all fall to the same one.
    traffic: &[
        Actor {
            addresses: SIX_PORTS,
            ..PEER_SERVER_V4
        },
        Actor {
            addresses: SIX_PORTS,
            ..NODE_CLIENT
        },
        NODE_PING,
    ],
    break_it: &[
        Step::Ip(Place::Peer, "addr del 10.10.0.9/24 dev node0"),
        Step::Ip(Place::Node, "neigh flush 10.10.0.9 dev eth0"),
    ],
    heal: &[Step::Ip(Place::Peer, "addr add 10.10.0.9/24 dev node0")],
    expect: Expectation {
        drops: &[ExpectedDrop::of(
            &["NEIGH_FAILED"],
            &["neigh_invalidate", "arp_error_report"],
            Class::State,
        )
        .outgoing()],
        ..SILENT_PATH.expect
    },
    late: false,
};

/// A client has a connection and a UDP socket for each of its addresses, and asks none twice.
const SIX_PORTS: &[&str] = &[
    "192.0.2.10:8080",
    "192.0.2.10:8081",
    "192.0.2.10:8082",
    "192.0.2.10:8083",
    "192.0.2.10:8084",
    "192.0.2.10:8085",
];

/// The peer itself lives and answers ARP: only the "internet" behind it says nothing any more.
const SILENT_PATH: Scenario = Scenario {
    name: "silent-path",
    title: "nothing comes back: the data path in front of the node is broken",
    breaks: "The addresses behind the gateway discard what they get. Requests and their repetitions leave the node, \
             nothing but ARP arrives.",
    says: "D01, where: data path. No drop on the node has to do with it.",
    needs: &[],
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
        column: None,
        starved: None,
        most_unexplained: 0.01,
    },
    late: true,
};

/// The node's own traffic, and what the peer begins.
pub(super) const NODES: Scenario = Scenario {
    name: "",
    title: "",
    breaks: "",
    says: "",
    needs: &[],
    setup: &[],
    traffic: &[PEER_SERVER, NODE_SERVER, NODE_CLIENT, PEER_CLIENT],
    break_it: &[],
    heal: &[],
    expect: SILENT_PATH.expect,
    late: false,
};

/// What the peer sends again and again arrives all the same.
const ONE_WAY: Scenario = Scenario {
    name: "one-way",
    title: "nothing of TCP that the node sends gets to the peer, which goes on sending",
    breaks: "The peer drops all of TCP that comes from the node. Its own segments, which are not acknowledged, it sends once more.",
    says: "D01, where: data path. Drops TCP_OLD_DATA of what the node has already.",
    break_it: &[Step::Nft(
        Place::Peer,
        "add table ip broken; \
         add chain ip broken in { type filter hook input priority 0; }; \
         add rule ip broken in ip saddr 10.10.0.2 meta l4proto tcp drop",
    )],
    heal: &[Step::Nft(Place::Peer, "delete table ip broken")],
    ..NODES
};

const NAME_SERVER: &[&str] = &["192.0.2.10:53", "[2001:db8:ffff::10]:53"];

const NAMES_UNANSWERED: Scenario = Scenario {
    name: "names-unanswered",
    title: "name servers do not answer, and all else does",
    breaks: "The peer drops what arrives for port 53. Questions for names leave the node, and nothing comes back.",
    says: "R23, where: data path. No drop on the node has to do with it.",
    traffic: &[
        PEER_SERVER,
        NODE_SERVER,
        NODE_CLIENT,
        PEER_CLIENT,
        Actor {
            name: "name-server",
            addresses: NAME_SERVER,
            ..PEER_SERVER
        },
        Actor {
            name: "resolver",
            place: Place::Node,
            role: Role::Resolver,
            addresses: NAME_SERVER,
        },
    ],
    break_it: &[Step::Nft(
        Place::Peer,
        "add table inet broken; \
         add chain inet broken in { type filter hook input priority 0; }; \
         add rule inet broken in udp dport 53 drop",
    )],
    heal: &[Step::Nft(Place::Peer, "delete table inet broken")],
    expect: Expectation {
        verdict: Some("R23"),
        ..SILENT_PATH.expect
    },
    ..NODES
};

/// Each question has a socket of its own, and lacks one packet.
const NAMES_FILTERED: Scenario = Scenario {
    name: "names-filtered",
    title: "a firewall of this node drops the answers of name servers, and lets all else in",
    breaks: "A chain at input drops what comes from port 53. Questions for names leave the node, and no answer reaches who asked.",
    says: "R06, where: guest kernel. Drops NETFILTER_DROP at nft_do_chain.",
    break_it: &[Step::Nft(
        Place::Node,
        "add table inet broken; \
         add chain inet broken in { type filter hook input priority 0; }; \
         add rule inet broken in udp sport 53 drop",
    )],
    heal: &[Step::Nft(Place::Node, "delete table inet broken")],
    expect: Expectation {
        exit_code: 1,
        place: "guest-kernel",
        verdict: Some("R06"),
        drops: &[ExpectedDrop::of(
            &["NETFILTER_DROP"],
            &["nft_do_chain", "nf_hook_slow"],
            Class::Policy,
        )],
        ..SOUND
    },
    ..NAMES_UNANSWERED
};

/// The machine of the name servers lives, and says that they are gone.
const NAMES_REFUSED: Scenario = Scenario {
    name: "names-refused",
    title: "name servers are gone, and their machine refuses the questions",
    breaks: "The peer refuses what arrives for port 53 by ICMP, port unreachable. Questions for names leave the node, and no answer comes.",
    says: "R23, where: data path, and that messages of ICMP refuse the questions. No drop on the node has to do with it.",
    break_it: &[Step::Nft(
        Place::Peer,
        "add table inet broken; \
         add chain inet broken in { type filter hook input priority 0; }; \
         add rule inet broken in udp dport 53 reject",
    )],
    ..NAMES_UNANSWERED
};

/// The peer answers neither ARP nor neighbour solicitations any more, and the node has forgotten what it knew.
pub(super) const GATEWAY_SILENT: Scenario = Scenario {
    name: "gateway-silent",
    title: "the gateway does not answer ARP",
    breaks: "The peer's addresses towards the node are gone and the node forgets its neighbours: nothing can be sent.",
    says: "D01, where: data path. What the node wanted to send is dropped, NEIGH_FAILED at neigh_invalidate.",
    break_it: &[
        Step::Nft(
            Place::Peer,
            "add table arp broken; \
             add chain arp broken in { type filter hook input priority 0; policy drop; }; \
             add table ip6 broken; \
             add chain ip6 broken in { type filter hook input priority 0; }; \
             add rule ip6 broken in icmpv6 type nd-neighbor-solicit drop",
        ),
        Step::Ip(Place::Node, "neigh flush dev eth0"),
    ],
    heal: &[Step::Nft(
        Place::Peer,
        "delete table arp broken; delete table ip6 broken",
    )],
    expect: Expectation {
        drops: &[ExpectedDrop::of(
            &["NEIGH_FAILED"],
            &["neigh_invalidate", "arp_error_report"],
            Class::State,
        )
        .outgoing()],
        ..SILENT_PATH.expect
    },
    ..NODES
};

/// The peer has forgotten the node and asks for it.
const PEER_FORGETS: Step = Step::Ip(Place::Peer, "neigh flush dev node0");

/// The requests of the neighbours arrive, and no answer leaves.
pub(super) const UNANSWERED: Expectation = Expectation {
    place: "guest-kernel",
    verdict: Some("R30"),
    ..SILENT_PATH.expect
};

const ARP_OFF: Scenario = Scenario {
    name: "arp-off",
    title: "the node does not answer ARP: switched off at the device",
    breaks: "ARP is switched off at eth0. The peer asks for the node, and gets no answer: nothing else arrives.",
    says: "R30, where: guest kernel. ARP requests for the node's address arrive, and are not answered.",
    break_it: &[Step::Ip(Place::Node, "link set eth0 arp off"), PEER_FORGETS],
    heal: &[Step::Ip(Place::Node, "link set eth0 arp on")],
    expect: UNANSWERED,
    ..NODES
};

const ARP_IGNORED: Scenario = Scenario {
    name: "arp-ignored",
    title: "the node does not answer ARP: arp_ignore",
    breaks: "arp_ignore is set to 8. The peer asks for the node, and gets no answer: nothing else arrives over IPv4.",
    says: "R30, where: guest kernel. ARP requests for the node's address arrive, and are not answered.",
    break_it: &[
        Step::Sysctl(Place::Node, "net.ipv4.conf.all.arp_ignore", "8"),
        PEER_FORGETS,
    ],
    heal: &[Step::Sysctl(Place::Node, "net.ipv4.conf.all.arp_ignore", "0")],
    expect: UNANSWERED,
    ..NODES
};

const ARP_FILTERED: Scenario = Scenario {
    name: "arp-filtered",
    title: "the node does not answer ARP: a firewall drops the requests",
    breaks: "A chain of the family arp drops what arrives. The peer asks for the node, and gets no answer.",
    says: "R30, where: guest kernel. Drops NETFILTER_DROP of protocol arp at nft_do_chain.",
    break_it: &[
        Step::Nft(
            Place::Node,
            "add table arp broken; \
             add chain arp broken in { type filter hook input priority 0; policy drop; }",
        ),
        PEER_FORGETS,
    ],
    heal: &[Step::Nft(Place::Node, "delete table arp broken")],
    expect: Expectation {
        drops: &[ExpectedDrop::of(
            &["NETFILTER_DROP"],
            &["nft_do_chain", "nf_hook_slow"],
            Class::Policy,
        )],
        ..UNANSWERED
    },
    ..NODES
};

/// Neighbour discovery is not tracked: a firewall that lets in what belongs to connections shuts it out.
const NEIGHBOURS_FILTERED: Scenario = Scenario {
    name: "neighbours-filtered",
    title: "a firewall drops what the gateway answers to neighbour discovery",
    breaks: "The node's firewall drops neighbour advertisements, and the node forgets its neighbours: nothing leaves over IPv6.",
    says: "R36, where: guest kernel. Drops NETFILTER_DROP of protocol icmpv6 at nft_do_chain; what was to be sent is dropped, \
           NEIGH_FAILED.",
    break_it: &[
        Step::Nft(
            Place::Node,
            "add table ip6 broken; \
             add chain ip6 broken in { type filter hook input priority 0; }; \
             add rule ip6 broken in icmpv6 type nd-neighbor-advert drop",
        ),
        Step::Ip(Place::Node, "neigh flush dev eth0"),
    ],
    heal: &[Step::Nft(Place::Node, "delete table ip6 broken")],
    expect: Expectation {
        verdict: Some("R36"),
        drops: &[ExpectedDrop::of(
            &["NETFILTER_DROP"],
            &["nft_do_chain", "nf_hook_slow"],
            Class::Policy,
        )],
        ..UNANSWERED
    },
    ..NODES
};

/// What the node's open connections send has no route.
const UNROUTABLE: Expectation = Expectation {
    exit_code: 1,
    place: "guest-kernel",
    verdict: Some("R04"),
    drops: &[
        NO_ROUTE_V4[0],
        ExpectedDrop::of(
            &["NOT_SPECIFIED", "IP_OUTNOROUTES"],
            &["inet6_csk_xmit"],
            Class::State,
        )
        .outgoing(),
    ],
    ..SOUND
};

const NO_ROUTE_V4: &[ExpectedDrop] =
    &[ExpectedDrop::of(&["IP_OUTNOROUTES"], &["__ip_queue_xmit"], Class::State).outgoing()];

/// Requests arrive and are delivered, and the node does not know where to send its answers.
const NO_ROUTE_BACK: Scenario = Scenario {
    name: "no-route-back",
    title: "the node has no route for its answers",
    setup: &[
        Step::Ip(Place::Peer, "route add 10.10.0.2/32 dev node0 src 192.0.2.10"),
        Step::Ip(
            Place::Peer,
            "route add 2001:db8:10::2/128 dev node0 src 2001:db8:ffff::10",
        ),
    ],
    breaks: "The default routes are gone: pings of 192.0.2.10 arrive and cannot be answered, and no drop tells of it.",
    says: "R04, where: guest kernel. What arrived was answered, as far as the kernel says. Drops IP_OUTNOROUTES of what open \
           connections want to send.",
    traffic: &[PEER_SERVER, NODE_CLIENT, PEER_PING],
    break_it: &[
        Step::Ip(Place::Node, "route del default via 10.10.0.1"),
        Step::Ip(Place::Node, "route del default via 2001:db8:10::1"),
    ],
    heal: &[
        Step::Ip(Place::Node, "route add default via 10.10.0.1"),
        Step::Ip(Place::Node, "route add default via 2001:db8:10::1"),
    ],
    expect: UNROUTABLE,
    ..NODES
};

const RULE_GONE: Scenario = Scenario {
    name: "rule-gone",
    title: "a policy rule for the node's own packets is gone",
    breaks: "The default routes are in a table of their own, by a rule that is deleted: established connections get \
             data and cannot acknowledge it.",
    says: "R04, where: guest kernel. Drops IP_OUTNOROUTES at __ip_queue_xmit, of what the node was sending.",
    setup: &[
        Step::Ip(Place::Node, "route add default via 10.10.0.1 table 100"),
        Step::Ip(Place::Node, "rule add pref 1000 from all lookup 100"),
        Step::Ip(Place::Node, "route del default via 10.10.0.1"),
    ],
    break_it: &[Step::Ip(Place::Node, "rule del pref 1000")],
    heal: &[Step::Ip(Place::Node, "rule add pref 1000 from all lookup 100")],
    expect: Expectation {
        drops: NO_ROUTE_V4,
        ..UNROUTABLE
    },
    ..NODES
};

/// The default route stands, and a narrower one is preferred.
const SENT_NOWHERE: Scenario = Scenario {
    name: "sent-nowhere",
    title: "a route sends what the node asks for nowhere",
    breaks: "A blackhole route to the network of the peers comes: what open connections send is discarded, and new ones fail at \
             once.",
    says: "R04, where: guest kernel: the route came, by whom. Drops IP_OUTNOROUTES at __ip_queue_xmit, of what the node was sending.",
    setup: &[],
    traffic: &[PEER_SERVER, NODE_CLIENT],
    break_it: &[Step::Ip(Place::Node, "route add blackhole 192.0.2.0/24")],
    heal: &[Step::Ip(Place::Node, "route del blackhole 192.0.2.0/24")],
    expect: Expectation {
        drops: NO_ROUTE_V4,
        ..UNROUTABLE
    },
    ..NODES
};

/// Connections that stand try again and again, and nothing of that is seen: the kernel finds no route for it before it makes a packet.
const ALL_SENT_NOWHERE: Scenario = Scenario {
    name: "all-sent-nowhere",
    title: "the default route of IPv4 sends everything nowhere",
    breaks: "A blackhole route takes the place of the default route of IPv4. IPv6 goes on.",
    says: "R04, where: guest kernel: which route it is; also where that was so before the start.",
    break_it: &[
        Step::Ip(Place::Node, "route add blackhole default metric 5"),
        Step::Ip(Place::Node, "route del default via 10.10.0.1"),
    ],
    heal: &[
        Step::Ip(Place::Node, "route add default via 10.10.0.1"),
        Step::Ip(Place::Node, "route del blackhole default metric 5"),
    ],
    expect: Expectation {
        drops: &[],
        ..UNROUTABLE
    },
    late: true,
    ..SENT_NOWHERE
};

const LOOPBACK_CLIENT: Actor = Actor {
    name: "loopback-client",
    place: Place::Node,
    role: Role::Client,
    addresses: &["127.0.0.1:8080"],
};

const LOOPBACK_DOWN: Scenario = Scenario {
    name: "loopback-down",
    title: "the loopback device is set down",
    breaks: "lo is set down, on a node whose processes speak to each other by 127.0.0.1. All else goes on.",
    says: "R39, where: guest kernel: the device was set down. No packet of it is in the books.",
    traffic: &[PEER_SERVER, NODE_SERVER, NODE_CLIENT, LOOPBACK_CLIENT],
    break_it: &[Step::Ip(Place::Node, "link set lo down")],
    heal: &[Step::Ip(Place::Node, "link set lo up")],
    expect: Expectation {
        verdict: Some("R39"),
        drops: &[],
        ..UNROUTABLE
    },
    late: true,
    ..NODES
};

const LOOPBACK_FLUSHED: Scenario = Scenario {
    name: "loopback-flushed",
    title: "the loopback device has lost its addresses",
    breaks: "ip addr flush dev lo: what is for 127.0.0.1 is taken for somebody else's, and sent by the default route.",
    says: "R39, where: guest kernel: the address went away, by whom.",
    break_it: &[Step::Ip(Place::Node, "addr flush dev lo")],
    heal: &[Step::Ip(Place::Node, "addr add 127.0.0.1/8 dev lo")],
    ..LOOPBACK_DOWN
};

const UPLINK_DOWN: Scenario = Scenario {
    name: "uplink-down",
    title: "the node's uplink is set down",
    breaks: "eth0 is set down, and its routes are gone with it: nothing leaves and nothing arrives.",
    says: "R22, where: guest kernel. Nothing is lost that arrived. Drops IP_OUTNOROUTES of what open connections \
           want to send, over IPv6 without a reason.",
    break_it: &[Step::Ip(Place::Node, "link set eth0 down")],
    heal: &[
        Step::Ip(Place::Node, "link set eth0 up"),
        Step::Ip(Place::Node, "addr replace 2001:db8:10::2/64 dev eth0"),
        Step::Ip(Place::Node, "route add default via 10.10.0.1"),
        Step::Ip(Place::Node, "route add default via 2001:db8:10::1"),
    ],
    expect: Expectation {
        verdict: Some("R22"),
        ..UNROUTABLE
    },
    ..NODES
};
