//! TCP, UDP and ICMP look for a socket and give it the packet.

use super::actors::*;
use super::prelude::*;

pub(super) const ALL: &[Scenario] = &[
    NO_SOCKET,
    ANSWERS_ASTRAY,
    BAD_UDP_CHECKSUM,
    BAD_TCP_CHECKSUM,
    SHORT_DATAGRAM,
    UNKNOWN_ICMP,
    SOCKET_FILTER,
    ADDRESS_DENIED,
    ADDRESS_DENIED_CLIENT,
    PEER_RESETS,
    QUITTER,
    OUT_OF_ORDER,
    PINGS,
];

const NO_SOCKET: Scenario = Scenario {
    name: "no-socket",
    title: "a server that its clients still ask is gone",
    breaks: "The process that listens on the node's port 8080 (TCP and UDP) is killed; requests go on arriving.",
    says: "R12, where: process. Drops NO_SOCKET at tcp_v4_rcv, no socket found. With --late healthy, and R12 as a \
           weak sign: nobody saw that a server had ever been there.",
    needs: &[],
    setup: &[],
    traffic: ALL_WAYS,
    break_it: &[Step::Stop("node-server")],
    heal: &[Step::Start(NODE_SERVER)],
    expect: Expectation {
        exit_code: 1,
        place: "process",
        verdict: Some("R12"),
        drops: &[
            ExpectedDrop::of(&["NO_SOCKET"], &["tcp_v4_rcv"], Class::Protocol).socket_found(false),
            ExpectedDrop::of(&["NO_SOCKET"], &["tcp_v6_rcv"], Class::Protocol).socket_found(false),
            ExpectedDrop::of(&["NO_SOCKET"], &["__udp4_lib_rcv", "udp_rcv"], Class::Protocol)
                .socket_found(false),
        ],
        column: None,
        starved: None,
        most_unexplained: 0.01,
    },
    late: false,
};

/// As [`super::actors::FRAMES`], with a server on the node and its client.
const FRAMES: Scenario = Scenario {
    traffic: &[PEER_SERVER, NODE_SERVER, NODE_CLIENT, PEER_CLIENT],
    ..super::actors::FRAMES
};

const BAD_UDP_CHECKSUM: Scenario = Scenario {
    name: "bad-udp-checksum",
    title: "datagrams whose checksum is wrong",
    breaks: "Nothing of the node's own. Something on the way turns bits of what it carries.",
    says: "Healthy. Drops UDP_CSUM at __udp4_lib_rcv and __udp6_lib_rcv.",
    break_it: &[
        Step::Start(frames(Frame::BadUdpChecksum)),
        Step::Start(Actor {
            name: "frames-v6",
            ..frames(Frame::BadUdp6Checksum)
        }),
    ],
    heal: &[Step::Stop("frames"), Step::Stop("frames-v6")],
    expect: Expectation {
        drops: &[
            ExpectedDrop::of(
                &["UDP_CSUM"],
                &["__udp4_lib_rcv", "udp_rcv", "udp_queue_rcv_one_skb"],
                Class::Protocol,
            ),
            ExpectedDrop::of(
                &["UDP_CSUM"],
                &["__udp6_lib_rcv", "udpv6_rcv", "udpv6_queue_rcv_one_skb"],
                Class::Protocol,
            ),
        ],
        ..FRAMES.expect
    },
    ..FRAMES
};

const BAD_TCP_CHECKSUM: Scenario = Scenario {
    name: "bad-tcp-checksum",
    title: "segments whose checksum is wrong",
    breaks: "Nothing of the node's own. Something on the way turns bits of what it carries.",
    says: "Healthy. Drops TCP_CSUM at tcp_v4_rcv and tcp_v6_rcv.",
    break_it: &[
        Step::Start(frames(Frame::BadTcpChecksum)),
        Step::Start(Actor {
            name: "frames-v6",
            ..frames(Frame::BadTcp6Checksum)
        }),
    ],
    heal: &[Step::Stop("frames"), Step::Stop("frames-v6")],
    expect: Expectation {
        drops: &[
            ExpectedDrop::of(&["TCP_CSUM"], &["tcp_v4_rcv"], Class::Protocol).socket_found(false),
            ExpectedDrop::of(&["TCP_CSUM"], &["tcp_v6_rcv"], Class::Protocol).socket_found(false),
        ],
        ..FRAMES.expect
    },
    ..FRAMES
};

const SHORT_DATAGRAM: Scenario = Scenario {
    name: "short-datagram",
    title: "datagrams that are shorter than their header says",
    breaks: "Nothing of the node's own. Datagrams that were cut off on the way arrive.",
    says: "Healthy. Drops PKT_TOO_SMALL at __udp4_lib_rcv.",
    break_it: &[Step::Start(frames(Frame::ShortUdp))],
    expect: Expectation {
        drops: &[ExpectedDrop::of(
            &["PKT_TOO_SMALL"],
            &["__udp4_lib_rcv", "udp_rcv"],
            Class::Protocol,
        )],
        ..FRAMES.expect
    },
    ..FRAMES
};

const UNKNOWN_ICMP: Scenario = Scenario {
    name: "unknown-icmp",
    title: "messages of ICMP that nobody knows",
    breaks: "Nothing of the node's own. Messages of a type that the kernel does not know arrive.",
    says: "Healthy. Drops UNHANDLED_PROTO at icmp_rcv, not meant for this node.",
    break_it: &[Step::Start(frames(Frame::UnknownIcmp))],
    expect: Expectation {
        drops: &[ExpectedDrop::of(
            &["UNHANDLED_PROTO"],
            &["icmp_rcv"],
            Class::Environment,
        )],
        ..FRAMES.expect
    },
    ..FRAMES
};

/// A server's own filter: the kernel found the socket, and the socket refuses.
const SOCKET_FILTER: Scenario = Scenario {
    name: "socket-filter",
    title: "a socket's own filter refuses all that arrives for it",
    breaks: "A process is bound to port 8081 with a filter (SO_ATTACH_FILTER) that refuses every packet.",
    says: "Healthy: what a filter keeps from a server is its job. Drops SOCKET_FILTER with the socket found, by policy.",
    setup: &[Step::Start(Actor {
        name: "filtered",
        place: Place::Node,
        role: Role::Filtered,
        addresses: &["[::]:8081"],
    })],
    break_it: &[Step::Start(DRIP), Step::Start(KNOCK)],
    heal: &[Step::Stop("knock"), Step::Stop("drip")],
    expect: Expectation {
        drops: REFUSED,
        ..FRAMES.expect
    },
    ..FRAMES
};

const DRIP: Actor = Actor {
    name: "drip",
    place: Place::Peer,
    role: Role::Drip,
    addresses: TO_8081,
};

const KNOCK: Actor = Actor {
    name: "knock",
    place: Place::Peer,
    role: Role::Knock,
    addresses: TO_8081,
};

const TO_8081: &[&str] = &["10.10.0.2:8081", "[2001:db8:10::2]:8081"];

/// By a filter of the socket, or a program of its cgroup (`sk_filter_trim_cap`).
const REFUSED: &[ExpectedDrop] = &[
    ExpectedDrop::of(&["SOCKET_FILTER"], &["udp_queue_rcv_one_skb"], Class::Policy).socket_found(true),
    ExpectedDrop::of(&["SOCKET_FILTER"], &["udpv6_queue_rcv_one_skb"], Class::Policy).socket_found(true),
    ExpectedDrop::of(&["SOCKET_FILTER"], &["tcp_v4_rcv"], Class::Policy).socket_found(true),
    ExpectedDrop::of(&["SOCKET_FILTER"], &["tcp_v6_rcv"], Class::Policy).socket_found(true),
];

const ADDRESS_DENIED: Scenario = Scenario {
    name: "address-denied",
    title: "a program of the unit's cgroup refuses all that arrives for it",
    breaks: "A program is attached to the cgroup of the client, as systemd does for IPAddressDeny=any.",
    says: "R16, where: guest kernel. Drops SOCKET_FILTER with the socket found, by policy.",
    needs: &[Need::CgroupV2],
    setup: &[Step::Start(PEER_SERVER), Step::Enclose(NODE_CLIENT)],
    traffic: &[NODE_SERVER, PEER_CLIENT],
    break_it: &[Step::Refuse(Way::Arrives)],
    heal: &[Step::Detach],
    expect: Expectation {
        exit_code: 1,
        place: "guest-kernel",
        verdict: Some("R16"),
        drops: REFUSED,
        starved: Some(NODE_CLIENT),
        ..FRAMES.expect
    },
    ..FRAMES
};

const ADDRESS_DENIED_CLIENT: Scenario = Scenario {
    name: "address-denied-client",
    title: "a program of the unit's cgroup refuses all that it sends",
    breaks: "A program is attached to the cgroup of the client, as systemd does for IPAddressDeny=any.",
    says: "R16, where: guest kernel. Drops BPF_CGROUP_EGRESS of what the node was sending, by policy.",
    break_it: &[Step::Refuse(Way::Leaves)],
    expect: Expectation {
        drops: &[
            ExpectedDrop::of(&["BPF_CGROUP_EGRESS"], &["ip_finish_output"], Class::Policy).outgoing(),
            ExpectedDrop::of(&["BPF_CGROUP_EGRESS"], &["ip6_finish_output"], Class::Policy).outgoing(),
        ],
        column: None,
        starved: None,
        ..ADDRESS_DENIED.expect
    },
    ..ADDRESS_DENIED
};

const PEER_RESETS: Scenario = Scenario {
    name: "peer-resets",
    title: "the peer closes connections while the node still sends",
    breaks: "Nothing of the node's own. A server of the peer's closes each connection at the first bytes.",
    says: "Healthy: what arrives reaches its socket.",
    break_it: &[
        Step::Start(Actor {
            name: "quitter",
            place: Place::Peer,
            role: Role::Quitter,
            addresses: &["192.0.2.10:8081", "[2001:db8:ffff::10]:8081"],
        }),
        Step::Start(Actor {
            name: "node-pour",
            place: Place::Node,
            role: Role::Pour,
            addresses: &["192.0.2.10:8081", "[2001:db8:ffff::10]:8081"],
        }),
    ],
    heal: &[Step::Stop("node-pour"), Step::Stop("quitter")],
    expect: SOUND,
    ..FRAMES
};

const QUITTER: Scenario = Scenario {
    name: "quitter",
    title: "a server closes connections while data is on its way",
    breaks: "A process accepts connections on port 8081 and closes each at the first bytes; the clients go on sending.",
    says: "Healthy. Drops TCP_ABORT_ON_DATA, or NOT_SPECIFIED at tcp_v4_rcv: the socket is there, its process is not.",
    break_it: &[
        Step::Start(Actor {
            name: "quitter",
            place: Place::Node,
            role: Role::Quitter,
            addresses: &["[::]:8081"],
        }),
        Step::Start(Actor {
            name: "peer-pour",
            place: Place::Peer,
            role: Role::Pour,
            addresses: TO_8081,
        }),
    ],
    heal: &[Step::Stop("peer-pour"), Step::Stop("quitter")],
    expect: Expectation {
        drops: &[
            ExpectedDrop::of(
                &["NOT_SPECIFIED", "TCP_ABORT_ON_DATA"],
                &["tcp_v4_rcv"],
                Class::Protocol,
            )
            .socket_found(true),
            ExpectedDrop::of(
                &["NOT_SPECIFIED", "TCP_ABORT_ON_DATA"],
                &["tcp_v6_rcv"],
                Class::Protocol,
            )
            .socket_found(true),
        ],
        column: Some((Column::Dropped, 10)),
        ..SOUND
    },
    ..FRAMES
};

/// A segment that lies in the tree of its socket has the tree's node where its device was.
const OUT_OF_ORDER: Scenario = Scenario {
    name: "out-of-order",
    title: "segments come out of order, and twice",
    breaks: "Nothing of the node's own. Of what a client sends some comes before its turn, and then again.",
    says: "Healthy. Drops TCP_OFOMERGE and TCP_OFO_DROP with the socket found: what they held has come with others.",
    break_it: &[Step::Start(SHUFFLED), Step::Await(SHUFFLED.name, 20)],
    heal: &[Step::Stop(SHUFFLED.name)],
    expect: Expectation {
        drops: &[
            ExpectedDrop::of(&["TCP_OFOMERGE"], &["tcp_data_queue"], Class::Protocol).socket_found(true),
            ExpectedDrop::of(
                &["TCP_OFO_DROP"],
                &["tcp_ofo_queue", "tcp_data_queue"],
                Class::Protocol,
            )
            .socket_found(true),
        ],
        column: Some((Column::Dropped, 100)),
        ..SOUND
    },
    ..FRAMES
};

const SHUFFLED: Actor = Actor {
    name: "shuffled",
    place: Place::Peer,
    role: Role::Shuffled,
    addresses: PEER_CLIENT.addresses,
};

/// `ping_rcv` finds no socket of its own kind for a reply that a raw socket has got.
const PINGS: Scenario = Scenario {
    name: "pings",
    title: "nothing but pings from raw sockets",
    breaks: "Nothing. Each reply reaches the raw socket that waits for it; the kernel's own copy is dropped.",
    says: "Healthy. The copies, NO_SOCKET at ping_rcv, are no loss and not in the ledger.",
    traffic: &[NODE_PING, PEER_PING],
    break_it: &[],
    heal: &[],
    expect: SOUND,
    ..FRAMES
};

/// The answers come back to a port that was the client's.
const ANSWERS_ASTRAY: Scenario = Scenario {
    name: "answers-astray",
    title: "answers come from another port than was asked",
    breaks: "Answers to the client's datagrams come from another port than it asked at, as from a broken NAT. Its              sockets are connected, so they are not for them.",
    says: "D01, where: data path: what was asked is not answered, and answers come from another port. Drops NO_SOCKET at \
           __udp4_lib_rcv.",
    break_it: &[Step::Nft(
        Place::Peer,
        "add table inet broken; \
         add chain inet broken out { type filter hook output priority 0; }; \
         add rule inet broken out udp sport 8080 udp sport set 8090",
    )],
    heal: &[Step::Nft(Place::Peer, "delete table inet broken")],
    expect: Expectation {
        drops: &[
            ExpectedDrop::of(&["NO_SOCKET"], &["__udp4_lib_rcv", "udp_rcv"], Class::Protocol)
                .socket_found(false),
            ExpectedDrop::of(&["NO_SOCKET"], &["__udp6_lib_rcv", "udpv6_rcv"], Class::Protocol)
                .socket_found(false),
        ],
        column: Some((Column::Dropped, 2)),
        exit_code: 1,
        place: "data-path",
        verdict: Some("D01"),
        ..SOUND
    },
    ..FRAMES
};
