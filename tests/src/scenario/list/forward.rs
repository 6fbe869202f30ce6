//! What is not for this node is passed on: to a pod, or to wherever the routes lead (`ip_forward`, `ip6_forward`).

use super::actors::*;
use super::prelude::*;

pub(super) const ALL: &[Scenario] = &[
    POD_SILENT,
    POD_SILENT_FULL,
    POD_NO_CARRIER,
    POD_DEVICE_DOWN,
    POD_ROUTE_GONE,
    POD_ROUTE_ELSEWHERE,
    LAST_HOP,
    POD_MTU,
    TOO_LARGE_TOLD,
    TOO_LARGE,
    FORWARDED_ELSEWHERE,
    FORWARDING_OFF,
    MASQUERADE_LOST,
];

/// Datagrams for the pod from the internet, as fast as a slow service has them.
const POD_DRIP: Actor = Actor {
    name: "pod-drip",
    place: Place::Peer,
    role: Role::Drip,
    addresses: &["10.244.0.2:8080", "[2001:db8:244::2]:8080"],
};

/// A node whose own traffic is sound, while what it forwards is not.
const FORWARD: Scenario = Scenario {
    name: "",
    title: "",
    breaks: "",
    says: "",
    needs: &[],
    setup: &[],
    traffic: &[PEER_SERVER, NODE_CLIENT, POD_CLIENT, POD_DRIP],
    break_it: &[],
    heal: &[],
    expect: SOUND,
    late: false,
};

/// A pod of the node is cut off, as this rule says.
const fn cut_off(verdict: &'static str) -> Expectation {
    Expectation {
        exit_code: 1,
        place: "guest-kernel",
        verdict: Some(verdict),
        ..SOUND
    }
}

const POD_SILENT: Scenario = Scenario {
    name: "pod-silent",
    title: "a pod's address is gone from its device, and nobody answers for it",
    breaks: "The pod loses its addresses and the node forgets its neighbours; packets for the pod go on arriving.",
    says: "R17, where: guest kernel. Drops NEIGH_FAILED at neigh_invalidate, over IPv6 without a reason.",
    break_it: &[
        Step::Ip(Place::Pod, "addr del 10.244.0.2/32 dev eth0"),
        Step::Ip(Place::Pod, "addr del 2001:db8:244::2/128 dev eth0"),
        Step::Ip(Place::Node, "neigh flush dev lxc1"),
    ],
    heal: &[
        Step::Ip(Place::Pod, "addr add 10.244.0.2/32 dev eth0"),
        Step::Ip(Place::Pod, "addr add 2001:db8:244::2/128 dev eth0"),
    ],
    expect: Expectation {
        drops: &[
            ExpectedDrop::of(&["NEIGH_FAILED"], &["neigh_invalidate"], Class::State).socket_found(false),
            // IPv6 has no reason of its own for this.
            ExpectedDrop::of(&["NOT_SPECIFIED"], &["neigh_invalidate"], Class::State).socket_found(false),
        ],
        column: Some((Column::Dropped, 20)),
        ..cut_off("R17")
    },
    ..FORWARD
};

/// What waits for an answer is more than may wait.
const POD_SILENT_FULL: Scenario = Scenario {
    name: "pod-silent-full",
    title: "a pod does not answer for its address, and more waits for it than may",
    breaks: "As pod-silent, with room for a few packets only while the node asks for the pod.",
    says: "R17, where: guest kernel. Drops NEIGH_QUEUEFULL at __neigh_event_send, and NEIGH_FAILED.",
    setup: &[
        Step::Sysctl(Place::Node, "net.ipv4.neigh.lxc1.unres_qlen_bytes", "8192"),
        Step::Sysctl(Place::Node, "net.ipv6.neigh.lxc1.unres_qlen_bytes", "8192"),
    ],
    expect: Expectation {
        drops: &[
            ExpectedDrop::of(&["NEIGH_QUEUEFULL"], &["__neigh_event_send"], Class::State).socket_found(false),
            ExpectedDrop::of(&["NEIGH_FAILED"], &["neigh_invalidate"], Class::State).socket_found(false),
        ],
        ..POD_SILENT.expect
    },
    ..POD_SILENT
};

/// The node knows its pods by fixed neighbour entries, as some network plugins have it: else it would ask for the pod,
/// and drop what waits for the answer.
const POD_NO_CARRIER: Scenario = Scenario {
    name: "pod-no-carrier",
    title: "the pod's end of its device is down",
    breaks: "The pod's eth0 is set down, so that the node's lxc1 has no carrier; packets for the pod go on arriving.",
    says: "R18, where: guest kernel. Drops QDISC_DROP at __dev_queue_xmit.",
    setup: &[
        Step::Ip(Place::Pod, "link set eth0 address 02:00:0a:f4:00:02"),
        Step::Ip(
            Place::Node,
            "neigh replace 10.244.0.2 dev lxc1 lladdr 02:00:0a:f4:00:02 nud permanent",
        ),
        Step::Ip(
            Place::Node,
            "neigh replace 2001:db8:244::2 dev lxc1 lladdr 02:00:0a:f4:00:02 nud permanent",
        ),
    ],
    break_it: &[Step::Ip(Place::Pod, "link set eth0 down")],
    heal: &[Step::Ip(Place::Pod, "link set eth0 up")],
    expect: Expectation {
        drops: &[ExpectedDrop::of(
            &["QDISC_DROP"],
            // Before 6.2 the list of what a queue drops is freed by a function of its own.
            &["__dev_queue_xmit", "kfree_skb_list_reason"],
            Class::Resource,
        )],
        column: Some((Column::Dropped, 20)),
        ..cut_off("R18")
    },
    ..FORWARD
};

const POD_DEVICE_DOWN: Scenario = Scenario {
    name: "pod-device-down",
    title: "the node's end of the pod's device is down",
    breaks: "lxc1 is set down, which takes its routes along: packets for the pod leave by the default route, back \
             to where they came from.",
    says: "R18, where: guest kernel. No drop: they are forwarded, out of the device by which they came.",
    break_it: &[Step::Ip(Place::Node, "link set lxc1 down")],
    heal: &[
        Step::Ip(Place::Node, "link set lxc1 up"),
        Step::Ip(Place::Node, "route add 10.244.0.2/32 dev lxc1"),
        Step::Ip(Place::Node, "route add 2001:db8:244::2/128 dev lxc1"),
    ],
    expect: cut_off("R18"),
    ..FORWARD
};

const POD_ROUTE_GONE: Scenario = Scenario {
    name: "pod-route-gone",
    title: "the route to the pod is gone",
    breaks: "The routes to the pod are deleted, as where an agent has not put them back: packets for it leave by the \
             default route, back to where they came from.",
    says: "R18, where: guest kernel. No drop: they are forwarded, out of the device by which they came.",
    break_it: &[
        Step::Ip(Place::Node, "route del 10.244.0.2/32 dev lxc1"),
        Step::Ip(Place::Node, "route del 2001:db8:244::2/128 dev lxc1"),
    ],
    heal: &[
        Step::Ip(Place::Node, "route add 10.244.0.2/32 dev lxc1"),
        Step::Ip(Place::Node, "route add 2001:db8:244::2/128 dev lxc1"),
    ],
    expect: cut_off("R18"),
    ..FORWARD
};

/// The device is there, and nobody behind it has the pod's address.
const POD_ROUTE_ELSEWHERE: Scenario = Scenario {
    name: "pod-route-elsewhere",
    title: "the route to the pod leads by another device",
    breaks: "The routes to the pod are replaced by others that lead to a bridge on which it is not, as where two agents each believe \
             that the pod is theirs.",
    says: "R18, where: guest kernel. What is for the pod waits for a link-layer address in vain.",
    setup: &[
        Step::Ip(Place::Node, "link add aside type bridge"),
        Step::Ip(Place::Node, "link add aside0 type veth peer name aside1"),
        Step::Ip(Place::Node, "link set aside1 master aside up"),
        Step::Ip(Place::Node, "link set aside0 up"),
        Step::Ip(Place::Node, "link set aside up"),
    ],
    break_it: &[
        Step::Ip(Place::Node, "route replace 10.244.0.2/32 dev aside"),
        Step::Ip(Place::Node, "route replace 2001:db8:244::2/128 dev aside"),
    ],
    heal: &[
        Step::Ip(Place::Node, "route replace 10.244.0.2/32 dev lxc1"),
        Step::Ip(Place::Node, "route replace 2001:db8:244::2/128 dev lxc1"),
    ],
    expect: cut_off("R18"),
    ..FORWARD
};

const LAST_HOP: Scenario = Scenario {
    name: "last-hop",
    title: "packets that have come too far",
    breaks: "Nothing of the node's own. Packets for the pod arrive whose time to live ends at this node, as from \
             traceroute or in a routing loop.",
    says: "Healthy. Drops IP_INHDR at ip_forward and ip6_forward.",
    break_it: &[
        Step::Start(frames(Frame::LastHop)),
        Step::Start(Actor {
            name: "frames-v6",
            ..frames(Frame::LastHop6)
        }),
    ],
    heal: &[Step::Stop("frames"), Step::Stop("frames-v6")],
    expect: Expectation {
        drops: &[
            ExpectedDrop::of(&["IP_INHDR"], &["ip_forward"], Class::Protocol).socket_found(false),
            ExpectedDrop::of(&["IP_INHDR"], &["ip6_forward"], Class::Protocol).socket_found(false),
        ],
        column: Some((Column::Dropped, 30)),
        ..SOUND
    },
    ..FORWARD
};

const POD_MTU: Scenario = Scenario {
    name: "pod-mtu",
    title: "the pod's device takes smaller packets than come for it",
    breaks: "The MTU of lxc1 is set to 1280, and what comes for the pod must not be cut in pieces.",
    says: "Healthy: the senders are told. Drops PKT_TOO_BIG at ip_forward and ip6_forward.",
    traffic: &[PEER_SERVER, NODE_CLIENT, POD_CLIENT],
    break_it: &[
        Step::Ip(Place::Node, "link set lxc1 mtu 1280"),
        Step::Start(Actor {
            name: "large-ping",
            place: Place::Peer,
            role: Role::LargePing,
            addresses: &["10.244.0.2", "2001:db8:244::2"],
        }),
    ],
    heal: &[
        Step::Ip(Place::Node, "link set lxc1 mtu 1500"),
        Step::Stop("large-ping"),
    ],
    expect: Expectation {
        drops: &[
            ExpectedDrop::of(&["PKT_TOO_BIG"], &["ip_forward"], Class::Protocol).socket_found(false),
            ExpectedDrop::of(&["PKT_TOO_BIG"], &["ip6_forward"], Class::Protocol).socket_found(false),
        ],
        column: Some((Column::Dropped, 2)),
        ..SOUND
    },
    ..FORWARD
};

/// Fetches much, over IPv4 and IPv6, for a pod.
const POD_HAUL: Actor = Actor {
    name: "pod-haul",
    role: Role::Haul,
    ..POD_CLIENT
};

const SMALLER: Step = Step::Ip(Place::Node, "link set lxc1 mtu 1280");

const TOO_LARGE_TOLD: Scenario = Scenario {
    name: "too-large-told",
    title: "the pod's device takes smaller packets than come for it, and the senders are told",
    breaks: "The MTU of lxc1 is set to 1280 while the pod fetches much.",
    says: "Healthy, no verdict: the peer is told how large its packets may be, and sends smaller ones.",
    traffic: &[PEER_SERVER, NODE_CLIENT, POD_HAUL],
    break_it: &[SMALLER],
    heal: &[Step::Ip(Place::Node, "link set lxc1 mtu 1500")],
    ..FORWARD
};

const TOO_LARGE: Scenario = Scenario {
    name: "too-large",
    title: "the pod's device takes smaller packets than come for it, and the senders do not learn it",
    breaks: "The MTU of lxc1 is set to 1280 while the pod fetches much, and a rule of the node's firewall drops the ICMP that would \
             tell the peer.",
    says: "R35, where: guest kernel. The device's MTU changed; the firewall drops ICMP that this node sends. Drops PKT_TOO_BIG at \
           ip_forward and ip6_forward.",
    traffic: &[PEER_SERVER, NODE_CLIENT, POD_HAUL],
    break_it: &[
        Step::Nft(
            Place::Node,
            "add table inet quiet; \
             add chain inet quiet out { type filter hook output priority 0; }; \
             add rule inet quiet out icmp type destination-unreachable drop; \
             add rule inet quiet out icmpv6 type packet-too-big drop",
        ),
        SMALLER,
    ],
    heal: &[
        Step::Nft(Place::Node, "delete table inet quiet"),
        Step::Ip(Place::Node, "link set lxc1 mtu 1500"),
    ],
    expect: Expectation {
        drops: &[
            ExpectedDrop::of(&["PKT_TOO_BIG"], &["ip_forward"], Class::Protocol).socket_found(false),
            ExpectedDrop::of(&["PKT_TOO_BIG"], &["ip6_forward"], Class::Protocol).socket_found(false),
        ],
        column: Some((Column::Dropped, 6)),
        ..cut_off("R35")
    },
    ..FORWARD
};

const FORWARDED_ELSEWHERE: Scenario = Scenario {
    name: "forwarded-elsewhere",
    title: "an address is gone, and a route leads what comes for it elsewhere",
    breaks: "The node gives 10.10.0.77 up, and a route sends what arrives for it out of another device.",
    says: "Healthy: no drop, they are forwarded. The ledger shows it, no rule can know that it is wrong.",
    setup: &[
        Step::SecondUplink,
        Step::Ip(Place::Node, "addr add 10.10.0.77/32 dev eth0"),
        Step::Ip(
            Place::Peer,
            "neigh replace 10.10.0.77 dev node0 lladdr 02:00:0a:0a:00:02 nud permanent",
        ),
    ],
    traffic: &[
        PEER_SERVER,
        NODE_SERVER,
        NODE_CLIENT,
        Actor {
            name: "peer-drip",
            place: Place::Peer,
            role: Role::Drip,
            addresses: &["10.10.0.77:8080"],
        },
    ],
    break_it: &[
        Step::Ip(Place::Node, "addr del 10.10.0.77/32 dev eth0"),
        Step::Ip(Place::Node, "route add 10.10.0.77/32 via 10.11.0.1 dev eth1"),
    ],
    heal: &[
        Step::Ip(Place::Node, "route del 10.10.0.77/32 via 10.11.0.1 dev eth1"),
        Step::Ip(Place::Node, "addr add 10.10.0.77/32 dev eth0"),
    ],
    expect: Expectation {
        column: Some((Column::Forwarded, 100)),
        ..SOUND
    },
    ..FORWARD
};

const FORWARDING_OFF: Scenario = Scenario {
    name: "forwarding-off",
    title: "forwarding is switched off and the pods are cut off",
    breaks: "ip_forward and its twin of IPv6 are set to 0, as a sysctl file may do.",
    says: "K03, where: guest kernel. Drops IP_INADDRERRORS at ip_error and ip6_forward.",
    break_it: &[
        Step::Sysctl(Place::Node, "net.ipv4.ip_forward", "0"),
        Step::Sysctl(Place::Node, "net.ipv6.conf.all.forwarding", "0"),
    ],
    heal: &[
        Step::Sysctl(Place::Node, "net.ipv4.ip_forward", "1"),
        Step::Sysctl(Place::Node, "net.ipv6.conf.all.forwarding", "1"),
    ],
    expect: Expectation {
        drops: &[
            ExpectedDrop::of(&["IP_INADDRERRORS"], &["ip_error"], Class::State).socket_found(false),
            ExpectedDrop::of(&["IP_INADDRERRORS"], &["ip6_forward"], Class::State).socket_found(false),
        ],
        column: Some((Column::Dropped, 100)),
        ..cut_off("K03")
    },
    ..FORWARD
};

/// What kube-proxy or Docker does, undone: outside, nobody knows a way to a pod's own address.
const MASQUERADE_LOST: Scenario = Scenario {
    name: "masquerade-lost",
    title: "what pods send leaves with their own addresses",
    breaks: "Outside nobody has a route to the pod; a rule of nft gives what it sends the node's address. The rule is deleted and the \
             table of connections emptied. The node itself is well.",
    says: "R40, where: guest kernel: the rule that gave what pods send this node's address went away. No drop is seen: answers go \
           elsewhere.",
    needs: &[Need::Program("conntrack", "conntrack")],
    setup: &[
        Step::Ip(Place::Peer, "route del 10.244.0.0/16 via 10.10.0.2"),
        Step::Ip(Place::Peer, "route del 2001:db8:244::/64 via 2001:db8:10::2"),
        Step::Nft(Place::Node, MASQUERADE),
    ],
    traffic: &[PEER_SERVER, NODE_CLIENT, POD_CLIENT],
    break_it: &[
        Step::Nft(Place::Node, "delete table inet pods"),
        Step::Run(Place::Node, "conntrack -F"),
    ],
    heal: &[
        Step::Nft(Place::Node, MASQUERADE),
        Step::Run(Place::Node, "conntrack -F"),
    ],
    expect: cut_off("R40"),
    ..FORWARD
};

const MASQUERADE: &str = "add table inet pods; \
     add chain inet pods nat { type nat hook postrouting priority srcnat; }; \
     add rule inet pods nat ip saddr 10.244.0.0/16 oifname eth0 masquerade; \
     add rule inet pods nat ip6 saddr 2001:db8:244::/64 oifname eth0 masquerade";
