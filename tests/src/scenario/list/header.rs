//! The headers of IP are looked at, and what is in pieces is put together (`ip_rcv_core`, `ip6_rcv_core`, `ip_defrag`).

use super::actors::*;
use super::prelude::*;

pub(super) const ALL: &[Scenario] = &[
    BAD_IP_CHECKSUM,
    BAD_IP_HEADER,
    SHORT_PACKET,
    HEADER_CUT,
    OTHER_MAC,
    IPV6_OFF,
    IPV6_OFF_FOR_ALL,
    LONE_FRAGMENT,
    FRAGMENTS_LOST,
];

const BAD_IP_CHECKSUM: Scenario = Scenario {
    name: "bad-ip-checksum",
    title: "packets whose IPv4 header has a wrong checksum",
    breaks: "Nothing of the node's own. A broken switch or cable turns bits of what arrives.",
    says: "Healthy. Drops IP_CSUM at ip_rcv_core.",
    break_it: &[Step::Start(frames(Frame::BadIpChecksum))],
    expect: Expectation {
        drops: &[ExpectedDrop::of(&["IP_CSUM"], &["ip_rcv_core"], Class::Protocol).socket_found(false)],
        ..FRAMES.expect
    },
    ..FRAMES
};

const BAD_IP_HEADER: Scenario = Scenario {
    name: "bad-ip-header",
    title: "packets whose header is none",
    breaks: "Nothing of the node's own. Packets of IPv4 and IPv6 whose version is another one arrive.",
    says: "Healthy. Drops IP_INHDR at ip_rcv_core, and UNHANDLED_PROTO at ip6_rcv_core.",
    break_it: &[
        Step::Start(frames(Frame::BadIpHeader)),
        Step::Start(more_frames("frames-v6", Frame::BadIpv6Header)),
    ],
    heal: &[Step::Stop("frames"), Step::Stop("frames-v6")],
    expect: Expectation {
        drops: &[
            ExpectedDrop::of(&["IP_INHDR"], &["ip_rcv_core"], Class::Protocol),
            // Of a version that is not 6 the kernel says what it says of a type of frame that nobody handles.
            ExpectedDrop::of(&["UNHANDLED_PROTO"], &["ip6_rcv_core"], Class::Environment),
        ],
        ..FRAMES.expect
    },
    ..FRAMES
};

const SHORT_PACKET: Scenario = Scenario {
    name: "short-packet",
    title: "packets that are shorter than their header says",
    breaks: "Nothing of the node's own. Packets that were cut off on the way arrive.",
    says: "Healthy. Drops PKT_TOO_SMALL at ip_rcv_core and ip6_rcv_core.",
    break_it: &[
        Step::Start(frames(Frame::ShortIp)),
        Step::Start(more_frames("frames-v6", Frame::ShortIpv6)),
    ],
    heal: &[Step::Stop("frames"), Step::Stop("frames-v6")],
    expect: Expectation {
        drops: &[
            ExpectedDrop::of(&["PKT_TOO_SMALL"], &["ip_rcv_core"], Class::Protocol),
            ExpectedDrop::of(&["PKT_TOO_SMALL"], &["ip6_rcv_core"], Class::Protocol),
        ],
        ..FRAMES.expect
    },
    ..FRAMES
};

const HEADER_CUT: Scenario = Scenario {
    name: "header-cut",
    title: "packets that end within their header",
    breaks: "Nothing of the node's own. Of packets of IPv4 and IPv6 only the first bytes arrive.",
    says: "Healthy. Drops IP_INHDR at ip_rcv_core and ip6_rcv_core.",
    break_it: &[
        Step::Start(frames(Frame::HeaderCut)),
        Step::Start(more_frames("frames-v6", Frame::Header6Cut)),
    ],
    heal: &[Step::Stop("frames"), Step::Stop("frames-v6")],
    expect: Expectation {
        drops: &[
            ExpectedDrop::of(&["IP_INHDR"], &["ip_rcv_core"], Class::Protocol),
            ExpectedDrop::of(&["IP_INHDR"], &["ip6_rcv_core"], Class::Protocol),
        ],
        ..FRAMES.expect
    },
    ..FRAMES
};

/// As where a switch floods what it does not know, and a device takes it since somebody listens.
const OTHER_MAC: Scenario = Scenario {
    name: "other-mac",
    title: "packets for another machine's link-layer address",
    breaks: "Nothing of the node's own. What is for another machine arrives as well, as behind a switch that floods.",
    says: "Healthy. Drops OTHERHOST at ip_rcv_core and ip6_rcv_core, not meant for this node.",
    break_it: &[
        Step::Start(frames(Frame::OtherMac)),
        Step::Start(more_frames("frames-v6", Frame::OtherMac6)),
    ],
    heal: &[Step::Stop("frames"), Step::Stop("frames-v6")],
    expect: Expectation {
        drops: &[
            ExpectedDrop::of(&["OTHERHOST"], &["ip_rcv_core"], Class::Environment),
            ExpectedDrop::of(&["OTHERHOST"], &["ip6_rcv_core"], Class::Environment),
        ],
        ..FRAMES.expect
    },
    ..FRAMES
};

const IPV6_OFF: Scenario = Scenario {
    name: "ipv6-off",
    title: "IPv6 is switched off and its packets go on arriving",
    breaks: "disable_ipv6 is set for eth0, as a sysctl file may do. Pings by IPv6 go on arriving.",
    says: "Healthy over IPv4. Drops IPV6DISABLED at ip6_rcv_core.",
    setup: &[Step::Ip(
        Place::Peer,
        "neigh replace 2001:db8:10::2 dev node0 lladdr 02:00:0a:0a:00:02 nud permanent",
    )],
    traffic: &[
        PEER_SERVER_V4,
        NODE_CLIENT_V4,
        Actor {
            addresses: &["2001:db8:10::2"],
            ..PEER_PING
        },
    ],
    break_it: &[Step::Sysctl(Place::Node, "net.ipv6.conf.eth0.disable_ipv6", "1")],
    heal: &[
        Step::Sysctl(Place::Node, "net.ipv6.conf.eth0.disable_ipv6", "0"),
        Step::Ip(Place::Node, "addr replace 2001:db8:10::2/64 dev eth0"),
    ],
    expect: Expectation {
        drops: &[ExpectedDrop::of(
            &["IPV6DISABLED"],
            &["ip6_rcv_core"],
            Class::Environment,
        )],
        // A ping that is not answered takes 1.5 s.
        column: Some((Column::Dropped, 2)),
        ..SOUND
    },
    ..FRAMES
};

/// The kernel tells of the addresses and routes that go with it at once, and of the parameter nothing.
const IPV6_OFF_FOR_ALL: Scenario = Scenario {
    name: "ipv6-off-for-all",
    title: "IPv6 is switched off while connections are open",
    breaks: "disable_ipv6 is set for all devices, as a sysctl file may do: addresses and routes go with it.",
    says: "R24, where: guest kernel: the parameter, and what went with it. Drops IPV6DISABLED at ip6_rcv_core. R04 follows from it.",
    setup: &[],
    traffic: &[PEER_SERVER, NODE_SERVER, NODE_CLIENT, PEER_CLIENT],
    break_it: &[Step::Sysctl(Place::Node, "net.ipv6.conf.all.disable_ipv6", "1")],
    heal: &[
        Step::Sysctl(Place::Node, "net.ipv6.conf.all.disable_ipv6", "0"),
        Step::Ip(Place::Node, "addr replace 2001:db8:10::2/64 dev eth0"),
        Step::Ip(Place::Node, "route replace default via 2001:db8:10::1"),
    ],
    expect: Expectation {
        exit_code: 1,
        place: "guest-kernel",
        verdict: Some("R24"),
        drops: &[ExpectedDrop::of(
            &["IPV6DISABLED"],
            &["ip6_rcv_core"],
            Class::Environment,
        )],
        column: None,
        ..SOUND
    },
    ..FRAMES
};

/// A fragment waits for the others for as long as `ipfrag_time` says: 30 s where nobody sets it.
const LONE_FRAGMENT: Scenario = Scenario {
    name: "lone-fragment",
    title: "fragments whose other half never comes",
    breaks: "Nothing of the node's own. Of datagrams in two fragments only the first arrives, of TCP segments only \
             the last, as where a path loses packets.",
    says: "Healthy, and as a weak sign R20: nobody here is known to wait for them. Drops FRAG_REASM_TIMEOUT at ip_expire and \
           inet_frag_rbtree_purge, once the node has waited for the rest; no socket found. Of those at the latter no packet \
           arrived.",
    setup: &[
        Step::Sysctl(Place::Node, "net.ipv4.ipfrag_time", "1"),
        Step::Sysctl(Place::Node, "net.ipv6.ip6frag_time", "1"),
    ],
    break_it: &[
        Step::Start(frames(Frame::LoneFragment)),
        Step::Start(more_frames("frames-v6", Frame::LoneFragment6)),
        Step::Start(more_frames("frames-tcp", Frame::LastFragment)),
        // What still waits for its other half is in no column, and nobody tells of what a namespace throws away at its
        // end: none is to be left.
        Step::Await("frames", 20),
        Step::Await("frames-v6", 20),
        Step::Await("frames-tcp", 20),
        Step::Freeze("frames"),
        Step::Freeze("frames-v6"),
        Step::Freeze("frames-tcp"),
    ],
    heal: &[
        Step::Stop("frames"),
        Step::Stop("frames-v6"),
        Step::Stop("frames-tcp"),
    ],
    expect: Expectation {
        drops: &[
            ExpectedDrop::of(
                &["FRAG_REASM_TIMEOUT", "NOT_SPECIFIED"],
                &["ip_expire"],
                Class::Protocol,
            ),
            ExpectedDrop::of(
                &["FRAG_REASM_TIMEOUT", "NOT_SPECIFIED"],
                &["ip6_frag_expire", "ip6frag_expire_frag_queue"],
                Class::Protocol,
            ),
        ],
        // The last fragments are in no column: the first one stands for its packet. Not 40: on a busy machine the kernel frees one in some hundreds of these without telling anybody (6.18; the
        // tracepoint is then not hit for other tools either, and `IpReasmFails` counts it). It stays unexplained.
        column: Some((Column::Dropped, 38)),
        verdict: Some("R20"),
        ..FRAMES.expect
    },
    ..FRAMES
};

/// The first fragment has all that tells whose it is: a firewall that knows no connections lets no other one through.
const FRAGMENTS_LOST: Scenario = Scenario {
    name: "fragments-lost",
    title: "answers that are cut in pieces never come whole",
    breaks: "The peer drops all but the first fragment of what it sends. A process of the node pings it with messages that are \
             cut in two.",
    says: "R20, where: data path. Drops FRAG_REASM_TIMEOUT at ip_expire, once the node has waited for the rest.",
    setup: &[Step::Sysctl(Place::Node, "net.ipv4.ipfrag_time", "1")],
    traffic: &[
        PEER_SERVER,
        NODE_CLIENT,
        Actor {
            name: "huge-ping",
            place: Place::Node,
            role: Role::HugePing,
            addresses: &["192.0.2.10"],
        },
    ],
    break_it: &[Step::Nft(
        Place::Peer,
        "add table netdev cut; \
         add chain netdev cut out { type filter hook egress device node0 priority 0; }; \
         add rule netdev cut out ip frag-off & 0x1fff != 0 drop",
    )],
    heal: &[Step::Nft(Place::Peer, "delete table netdev cut")],
    expect: Expectation {
        exit_code: 1,
        place: "data-path",
        verdict: Some("R20"),
        drops: &[ExpectedDrop::of(
            &["FRAG_REASM_TIMEOUT", "NOT_SPECIFIED"],
            &["ip_expire"],
            Class::Protocol,
        )],
        column: Some((Column::Dropped, 2)),
        ..SOUND
    },
    ..FRAMES
};
