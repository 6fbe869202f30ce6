//! Nothing is broken: what the tracer must not be wrong about.

use super::actors::*;
use super::prelude::*;

pub(super) const ALL: &[Scenario] = &[
    HEALTHY,
    BRIDGED_PODS,
    BUSY,
    STORMED,
    CROWDED,
    MANY_KEYS,
    COPIES,
    BUFFERS_REUSED,
    HALF_CLOSED,
    HALF_CLOSED_NAT,
    LOOPBACK,
    CLOCK_SET,
    SUSPENDED,
];

const HEALTHY: Scenario = Scenario {
    name: "healthy",
    title: "a healthy node under load",
    breaks: "Nothing. 20 MB over HTTP, 200 small requests on new connections and 1,000 exchanges over UDP go \
             over a light load of HTTP, UDP and pings, of IPv4 and IPv6, in both directions and through the node.",
    says: "Healthy, no verdict, and next to nothing unexplained.",
    needs: &[],
    setup: &[],
    traffic: ALL_WAYS,
    break_it: &[Step::Start(BULK)],
    heal: &[],
    expect: SOUND,
    late: false,
};

/// The pod's device is a port of the bridge `cni0`.
pub(super) const PODS_BRIDGE: &[Step] = &[
    Step::Ip(Place::Node, "link add cni0 type bridge"),
    Step::Ip(Place::Node, "route del 10.244.0.2/32 dev lxc1"),
    Step::Ip(Place::Node, "route del 2001:db8:244::2/128 dev lxc1"),
    Step::Ip(Place::Node, "addr flush dev lxc1"),
    Step::Ip(Place::Node, "link set lxc1 master cni0"),
    Step::Ip(Place::Node, "addr add 10.244.0.1/24 dev cni0"),
    Step::Ip(Place::Node, "addr add 2001:db8:244::1/64 dev cni0"),
    Step::Ip(Place::Node, "link set cni0 up"),
];

/// As most network plugins and Docker have it: each packet for the pod leaves by the bridge, and by its port.
const BRIDGED_PODS: Scenario = Scenario {
    name: "bridged-pods",
    title: "a healthy node with its pods behind a bridge",
    breaks: "Nothing. The pod's device is a port of the bridge cni0; all else is as in `healthy`.",
    says: "Healthy, no verdict, each packet for the pod forwarded once.",
    needs: &[],
    setup: PODS_BRIDGE,
    traffic: ALL_WAYS,
    break_it: &[Step::Start(BULK)],
    heal: &[],
    expect: SOUND,
    late: false,
};

const BUSY: Scenario = Scenario {
    name: "busy",
    title: "a healthy node under full load",
    breaks: "Nothing. A client asks over HTTP and UDP as fast as it is answered.",
    says: "Healthy, no verdict, and next to nothing unexplained.",
    needs: &[],
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
    needs: &[],
    setup: &[],
    traffic: &[PEER_SERVER, NODE_CLIENT],
    break_it: &[Step::Start(STORM)],
    heal: &[Step::Stop("storm")],
    expect: Expectation {
        exit_code: 0,
        place: "healthy",
        verdict: Some("R12"),
        drops: &[
            ExpectedDrop::of(&["NO_SOCKET"], &["__udp4_lib_rcv", "udp_rcv"], Class::Protocol)
                .socket_found(false),
        ],
        column: None,
        starved: None,
        most_unexplained: 0.01,
    },
    late: false,
};

const CROWDED: Scenario = Scenario {
    name: "crowd",
    title: "a healthy node with 100,000 clients",
    breaks: "Nothing. 100,000 clients, each by an address of its own, ask the node's server over UDP, and are answered.",
    says: "Healthy, no verdict, and next to nothing unexplained: there is room for every flow.",
    needs: &[],
    setup: &[Step::Ip(Place::Peer, "route add local 198.18.0.0/15 dev lo")],
    traffic: &[NODE_SERVER, PEER_SERVER, NODE_CLIENT, CROWD],
    break_it: &[],
    heal: &[],
    expect: SOUND,
    late: false,
};

const MANY_KEYS: Scenario = Scenario {
    name: "many-keys",
    title: "a healthy node that gets frames of 40,000 unknown types",
    breaks: "Nothing of the node's own. Somebody sends frames of very many Ethernet types that nobody handles: more than \
             the books have room for.",
    says: "Healthy, no verdict, and every frame counted: those for whose types there was no room in one row \
           `other`, which it says.",
    needs: &[],
    setup: &[],
    traffic: &[PEER_SERVER, NODE_CLIENT, KEYS],
    break_it: &[],
    heal: &[],
    expect: Expectation {
        drops: &[ExpectedDrop::of(
            &["UNHANDLED_PROTO", "NOT_SPECIFIED"],
            &["__netif_receive_skb_core"],
            Class::Environment,
        )],
        ..SOUND
    },
    late: false,
};

/// Replies to pings go to each raw socket, datagrams to a group to each of its members.
const COPIES: Scenario = Scenario {
    name: "copies",
    title: "a healthy node whose sockets get copies of what arrives",
    breaks: "Nothing. Datagrams for a multicast group go to two sockets; two programs ping one address by raw sockets.",
    says: "Healthy, no verdict, each packet delivered once.",
    needs: &[],
    setup: &[
        Step::Ip(Place::Peer, "route add 239.0.0.0/8 dev node0"),
        Step::Start(MEMBERS),
    ],
    traffic: &[NODE_PING, OTHER_PING],
    break_it: &[Step::Start(GROUP_CLIENT)],
    heal: &[Step::Stop("group-client")],
    expect: Expectation {
        column: Some((Column::Delivered, 10)),
        ..SOUND
    },
    late: false,
};

/// The node's client is in FIN-WAIT-2 meanwhile, its server in CLOSE-WAIT: the kernel tells of none of their segments
/// (`tcp_rcv_state_process`).
const HALF_CLOSED: Scenario = Scenario {
    name: "half-closed",
    title: "a healthy node with connections that one end has closed",
    breaks: "Nothing. Clients shut their side of a connection once they have asked, and read a long answer by and by: one of the \
             node's, and one that asks the node's server.",
    says: "Healthy, no verdict, and next to nothing unexplained while the connections stand.",
    needs: &[],
    setup: &[],
    traffic: &[PEER_SERVER, NODE_SERVER, NODE_CLIENT, PEER_CLIENT],
    break_it: &[
        Step::Start(Actor {
            name: "node-listens",
            role: Role::HalfClosed,
            ..NODE_CLIENT
        }),
        Step::Start(Actor {
            name: "peer-listens",
            role: Role::HalfClosed,
            ..PEER_CLIENT
        }),
    ],
    heal: &[Step::Stop("node-listens"), Step::Stop("peer-listens")],
    expect: Expectation {
        column: Some((Column::Delivered, 100)),
        ..SOUND
    },
    late: false,
};

/// What leaves has another tuple than the socket that sends it.
const HALF_CLOSED_NAT: Scenario = Scenario {
    name: "half-closed-nat",
    title: "a healthy node with half-closed connections to the address of a service",
    breaks: "Nothing. As `half-closed`, but the client on the node asks an address that a rule translates where packets leave, \
             as kube-proxy does with that of a service.",
    says: "As `half-closed`: healthy, and each segment is delivered once.",
    setup: &[Step::Nft(
        Place::Node,
        "add table inet services; \
         add chain inet services nat { type nat hook output priority -100; }; \
         add rule inet services nat ip daddr 192.0.2.20 dnat ip to 192.0.2.10; \
         add rule inet services nat ip6 daddr 2001:db8:ffff::20 dnat ip6 to 2001:db8:ffff::10",
    )],
    break_it: &[Step::Start(Actor {
        name: "node-listens",
        role: Role::HalfClosed,
        addresses: &["192.0.2.20:8080", "[2001:db8:ffff::20]:8080"],
        ..NODE_CLIENT
    })],
    heal: &[Step::Stop("node-listens")],
    ..HALF_CLOSED
};

/// The memory of a packet that has ended is the next one's, a moment later: where it lies says nothing of which it is.
const BUFFERS_REUSED: Scenario = Scenario {
    name: "buffers-reused",
    title: "a node on which packets of all fates follow each other in the same memory",
    breaks: "Nothing of the node's own. As fast as it goes, datagrams arrive that nobody takes, and others that are answered, \
             while somebody looks at all of them; and the light load of `healthy`.",
    says: "As `storm`: healthy, and as a weak sign R12. Each packet ends once, and next to nothing is unexplained.",
    needs: &[],
    setup: &[],
    traffic: ALL_WAYS,
    break_it: &[Step::Start(TAP), Step::Start(FLOOD), Step::Start(STORM)],
    heal: &[Step::Stop("storm"), Step::Stop("flood"), Step::Stop("tap")],
    expect: Expectation {
        column: Some((Column::Dropped, 10_000)),
        most_unexplained: 0.001,
        ..STORMED.expect
    },
    late: false,
};

/// What never came by a device of the node's has not arrived, whatever becomes of it.
const LOOPBACK: Scenario = Scenario {
    name: "loopback",
    title: "a node whose processes talk to each other only",
    breaks: "Nothing. Client and server talk over 127.0.0.1 and ::1, and one process floods a port there on which nobody \
             listens. From outside next to nothing arrives.",
    says: "Healthy, and as a weak sign R12: it cannot know that nobody waits for them. The drops are shown, and are not \
           in the ledger.",
    needs: &[],
    setup: &[],
    traffic: &[
        NODE_SERVER,
        Actor {
            addresses: &["127.0.0.1:8080", "[::1]:8080"],
            ..NODE_CLIENT
        },
        // So that the node is known to be healthy.
        PEER_CLIENT,
    ],
    break_it: &[Step::Start(Actor {
        place: Place::Node,
        addresses: &["127.0.0.1:9999", "[::1]:9999"],
        ..STORM
    })],
    heal: &[Step::Stop("storm")],
    expect: Expectation {
        verdict: Some("R12"),
        ..SOUND
    },
    late: false,
};

/// What the tracer goes by is not the clock on the wall: neither its rounds nor its books may notice.
const CLOCK_SET: Scenario = Scenario {
    name: "clock-set",
    title: "a healthy node whose clock is set",
    breaks: "Nothing. The clock is set forward by an hour.",
    says: "Healthy, no verdict, and next to nothing unexplained; and that the clock was set.",
    needs: &[Need::Machine],
    setup: &[],
    traffic: ALL_WAYS,
    break_it: &[Step::Clock(3600), Step::Start(BULK)],
    heal: &[Step::MachineBack],
    expect: SOUND,
    late: false,
};

/// Nobody is served meanwhile, and nobody waits: whoever would is frozen as well.
const SUSPENDED: Scenario = Scenario {
    name: "suspended",
    title: "a healthy node that is suspended",
    breaks: "Nothing. The machine is suspended for 20 s.",
    says: "Healthy, no verdict, and next to nothing unexplained; and that the machine was suspended.",
    needs: &[Need::Machine, Need::Suspend],
    setup: &[],
    traffic: ALL_WAYS,
    break_it: &[Step::Suspend(20), Step::Start(BULK)],
    heal: &[],
    expect: SOUND,
    late: false,
};
