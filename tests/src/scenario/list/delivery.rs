//! Packets that are for this node are handed to their protocol, or to a tunnel (`ip_local_deliver_finish`).

use super::actors::*;
use super::prelude::*;

pub(super) const ALL: &[Scenario] = &[
    NO_HANDLER,
    OVERLAY,
    OVERLAY_GONE,
    IPSEC_BLOCKED,
    IPSEC_BLOCKED_OUT,
    FOREIGN_GROUP,
];

const NO_HANDLER: Scenario = Scenario {
    name: "no-handler",
    title: "packets of a protocol that nobody handles",
    breaks: "Nothing of the node's own. Packets of IPv4 and IPv6 whose protocol the kernel does not have arrive.",
    says: "Healthy. Drops IP_NOPROTO at ip_local_deliver_finish and its twin of IPv6.",
    break_it: &[
        Step::Start(frames(Frame::UnknownProtocol)),
        Step::Start(Actor {
            name: "frames-v6",
            ..frames(Frame::UnknownNextHeader)
        }),
    ],
    heal: &[Step::Stop("frames"), Step::Stop("frames-v6")],
    expect: Expectation {
        drops: &[
            ExpectedDrop::of(
                &["IP_NOPROTO"],
                &["ip_local_deliver_finish", "ip_protocol_deliver_rcu"],
                Class::Protocol,
            )
            .socket_found(false),
            ExpectedDrop::of(
                &["IP_NOPROTO"],
                &["ip6_protocol_deliver_rcu", "ip6_input_finish", "ip6_input"],
                Class::Protocol,
            )
            .socket_found(false),
        ],
        ..FRAMES.expect
    },
    ..FRAMES
};

/// An overlay between peer and node.
const OVERLAY_DEVICES: &[Step] = &[
    Step::Ip(
        Place::Node,
        "link add overlay type vxlan id 7 dstport 4789 local 10.10.0.2 remote 10.10.0.1",
    ),
    Step::Ip(Place::Node, "addr add 10.20.0.2/24 dev overlay"),
    Step::Ip(Place::Node, "addr add 2001:db8:20::2/64 dev overlay nodad"),
    Step::Ip(Place::Node, "link set overlay up"),
    Step::Ip(
        Place::Peer,
        "link add overlay type vxlan id 7 dstport 4789 local 10.10.0.1 remote 10.10.0.2",
    ),
    Step::Ip(Place::Peer, "addr add 10.20.0.1/24 dev overlay"),
    Step::Ip(Place::Peer, "addr add 2001:db8:20::1/64 dev overlay nodad"),
    Step::Ip(Place::Peer, "link set overlay up"),
    Step::Ip(
        Place::Node,
        "link add other type vxlan id 8 dstport 4789 local 10.10.0.2 remote 10.10.0.1",
    ),
    Step::Ip(Place::Node, "link set other up"),
    Step::Ip(Place::Peer, "route replace 10.244.0.0/16 via 10.20.0.2"),
];

/// What comes by the overlay has come by the uplink before, as another packet.
const OVERLAY: Scenario = Scenario {
    name: "overlay",
    title: "a healthy node with an overlay",
    breaks: "Nothing. Client and server, and the pod, talk over VXLAN: each packet arrives once, and ends once.",
    says: "Healthy, no verdict, and next to nothing unexplained.",
    needs: &[Need::Device("vxlan")],
    setup: OVERLAY_DEVICES,
    traffic: &[
        Actor {
            name: "overlay-server",
            addresses: &["10.20.0.1:8080", "[2001:db8:20::1]:8080"],
            ..PEER_SERVER
        },
        Actor {
            addresses: &["10.20.0.1:8080", "[2001:db8:20::1]:8080"],
            ..NODE_CLIENT
        },
        Actor {
            addresses: &["10.20.0.1:8080"],
            ..POD_CLIENT
        },
        Actor {
            addresses: &["10.20.0.2", "2001:db8:20::2"],
            ..PEER_PING
        },
    ],
    break_it: &[Step::Start(Actor {
        addresses: &["10.20.0.1:8080"],
        ..BULK
    })],
    heal: &[],
    expect: Expectation {
        column: Some((Column::Delivered, 1_000)),
        ..SOUND
    },
    ..FRAMES
};

/// Another network's device still holds the tunnel's socket.
const OVERLAY_GONE: Scenario = Scenario {
    name: "overlay-gone",
    title: "the device of an overlay network is gone",
    breaks: "The node's VXLAN device is deleted, as by an agent that was stopped half-way; another network's is still \
             there. What arrives for the first finds the tunnel and no device.",
    says: "R31, where: guest kernel. Drops VXLAN_VNI_NOT_FOUND at vxlan_rcv.",
    needs: OVERLAY.needs,
    setup: OVERLAY_DEVICES,
    traffic: OVERLAY.traffic,
    break_it: &[Step::Ip(Place::Node, "link del overlay")],
    heal: &[],
    expect: Expectation {
        exit_code: 1,
        place: "guest-kernel",
        verdict: Some("R31"),
        drops: &[ExpectedDrop::of(
            &["VXLAN_VNI_NOT_FOUND", "NOT_SPECIFIED"],
            &["vxlan_rcv"],
            Class::State,
        )],
        column: Some((Column::Dropped, 20)),
        ..SOUND
    },
    ..FRAMES
};

const IPSEC_BLOCKED: Scenario = Scenario {
    name: "ipsec-blocked",
    title: "a policy of IPsec lets nothing of a peer in",
    breaks: "A policy that blocks comes for what arrives from 192.0.2.10: what it answers is dropped where a socket was found already.",
    says: "K01, where: guest kernel, explained by the policy. Drops XFRM_POLICY of TCP, UDP and ICMP.",
    traffic: &[PEER_SERVER, NODE_SERVER, NODE_CLIENT, PEER_CLIENT],
    break_it: &[Step::Ip(
        Place::Node,
        "xfrm policy add dir in src 192.0.2.10/32 dst 10.10.0.2/32 action block",
    )],
    heal: &[Step::Ip(
        Place::Node,
        "xfrm policy delete dir in src 192.0.2.10 dst 10.10.0.2",
    )],
    expect: Expectation {
        exit_code: 1,
        place: "guest-kernel",
        verdict: Some("K01"),
        drops: &[ExpectedDrop::of(&["XFRM_POLICY"], &["tcp_v4_rcv"], Class::State)],
        ..SOUND
    },
    ..FRAMES
};

const IPSEC_BLOCKED_OUT: Scenario = Scenario {
    name: "ipsec-blocked-out",
    title: "a policy of IPsec lets nothing out to a peer",
    breaks: "A policy that blocks comes for what leaves for 192.0.2.10: for its connections the kernel finds no way.",
    says: "R04, where: guest kernel, explained by the policy. Drops IP_OUTNOROUTES of what open connections want to send.",
    break_it: &[Step::Ip(
        Place::Node,
        "xfrm policy add dir out src 10.10.0.2/32 dst 192.0.2.10/32 action block",
    )],
    heal: &[Step::Ip(
        Place::Node,
        "xfrm policy delete dir out src 10.10.0.2 dst 192.0.2.10",
    )],
    expect: Expectation {
        verdict: Some("R04"),
        drops: &[ExpectedDrop::of(&["IP_OUTNOROUTES"], &["__ip_queue_xmit"], Class::State).outgoing()],
        ..IPSEC_BLOCKED.expect
    },
    ..IPSEC_BLOCKED
};

const FOREIGN_GROUP: Scenario = Scenario {
    name: "foreign-group",
    title: "packets for groups of IPv6 that the node has not joined",
    breaks: "Nothing of the node's own. Others' multicast arrives, as on any network with IPv6.",
    says: "Healthy. Drops at ip6_mc_input, not meant for this node.",
    setup: &[Step::Ip(Place::Node, "link set eth0 allmulticast on")],
    break_it: &[Step::Start(frames(Frame::ForeignGroup))],
    expect: Expectation {
        drops: &[ExpectedDrop::of(
            &["NOT_SPECIFIED"],
            &["ip6_mc_input"],
            Class::Environment,
        )],
        ..FRAMES.expect
    },
    ..FRAMES
};
