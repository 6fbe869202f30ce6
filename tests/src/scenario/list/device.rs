//! What devices and those who sit in front of the protocols do: XDP, tc, the ingress hook of netfilter
//! (`__netif_receive_skb_core`).

use super::actors::*;
use super::prelude::*;

pub(super) const ALL: &[Scenario] = &[
    XDP_GENERIC,
    XDP_NATIVE,
    TC_DROPS,
    TC_STEALS,
    NFT_INGRESS,
    UNKNOWN_ETHERTYPE,
    CPU_BACKLOG,
    EGRESS_SHAPED,
    NOTHING_LEAVES,
    TAPPED,
];

/// A program of somebody else's throws away all that arrives by the uplink.
const PROGRAM: Scenario = Scenario {
    name: "",
    title: "",
    breaks: "",
    says: "",
    needs: &[],
    setup: &[],
    traffic: &[PEER_SERVER, NODE_CLIENT, NODE_PING],
    break_it: &[],
    heal: &[Step::Detach],
    expect: Expectation {
        exit_code: 1,
        place: "guest-kernel",
        verdict: Some("K01"),
        drops: &[],
        column: Some((Column::Dropped, 10)),
        starved: Some(NODE_CLIENT),
        most_unexplained: 0.01,
    },
    late: false,
};

/// The reason says nothing, on any kernel: the place does.
const XDP_GENERIC: Scenario = Scenario {
    name: "xdp-generic",
    title: "an XDP program in the stack drops all that arrives",
    breaks: "A program is attached to eth0 by xdpgeneric that answers XDP_DROP to everything.",
    says: "R09, where: guest kernel. Drops NOT_SPECIFIED at do_xdp_generic, by policy.",
    break_it: &[Step::Attach(Place::Node, Hook::XdpGeneric, "eth0", Word::Drop)],
    expect: Expectation {
        verdict: Some("R09"),
        drops: &[
            ExpectedDrop::of(&["NOT_SPECIFIED", "XDP"], &["do_xdp_generic"], Class::Policy)
                .socket_found(false),
        ],
        ..PROGRAM.expect
    },
    ..PROGRAM
};

/// Such packets do not come as far as `netif_receive_skb`. A veth tells of them, most drivers only count them.
const XDP_NATIVE: Scenario = Scenario {
    name: "xdp-native",
    title: "an XDP program in the driver drops all that arrives",
    breaks: "A program is attached to eth0 by xdpdrv that answers XDP_DROP to everything.",
    says: "R09: packets are lost before they arrive. Drops NOT_SPECIFIED at veth_xdp_rcv_skb, by policy.",
    break_it: &[Step::Attach(Place::Node, Hook::XdpNative, "eth0", Word::Drop)],
    expect: Expectation {
        verdict: Some("R09"),
        drops: &[ExpectedDrop::of(
            &["NOT_SPECIFIED", "XDP"],
            &["veth_xdp_rcv_skb", "veth_xdp_rcv", "veth_poll"],
            Class::Policy,
        )
        .socket_found(false)],
        ..PROGRAM.expect
    },
    ..PROGRAM
};

const TC_DROPS: Scenario = Scenario {
    name: "tc-drops",
    title: "a tc program drops all that arrives",
    breaks: "A program is attached to the ingress of eth0 by tcx that answers TC_ACT_SHOT to everything.",
    says: "R10, where: guest kernel. Drops TC_INGRESS at __netif_receive_skb_core.",
    needs: &[Need::Symbol("tcx_link_attach")],
    break_it: &[Step::Attach(Place::Node, Hook::TcIngress, "eth0", Word::Drop)],
    expect: Expectation {
        verdict: Some("R10"),
        drops: &[
            ExpectedDrop::of(&["TC_INGRESS"], &["__netif_receive_skb_core"], Class::Policy)
                .socket_found(false),
        ],
        ..PROGRAM.expect
    },
    ..PROGRAM
};

/// The kernel calls it consumed, and tells nobody else.
const TC_STEALS: Scenario = Scenario {
    name: "tc-steals",
    title: "a tc program takes all that arrives for itself",
    breaks: "A filter is attached to the ingress of eth0 by tc whose program answers TC_ACT_STOLEN to everything.",
    says: "R11, where: guest kernel. No drop event: what is consumed at __netif_receive_skb_core was stolen.",
    // Where the kernel does not tell the place at which it consumes, these packets stay unexplained.
    needs: &[
        Need::Symbol("cls_bpf_classify"),
        Need::Program("tc", "iproute2"),
        Need::Field("skb/consume_skb", "location"),
    ],
    // The program is `ret 4` in the older language of BPF, which tc takes as text. (A program that is attached by
    // tcx has no such word.)
    break_it: &[
        Step::Run(Place::Node, "tc qdisc add dev eth0 clsact"),
        Step::Run(
            Place::Node,
            "tc filter add dev eth0 ingress bpf direct-action bytecode '1,6 0 0 4'",
        ),
    ],
    heal: &[Step::Run(Place::Node, "tc qdisc del dev eth0 clsact")],
    expect: Expectation {
        verdict: Some("R11"),
        drops: &[
            ExpectedDrop::of(&["stolen"], &["__netif_receive_skb_core"], Class::Policy).socket_found(false),
        ],
        ..PROGRAM.expect
    },
    ..PROGRAM
};

const NFT_INGRESS: Scenario = Scenario {
    name: "nft-ingress",
    title: "a firewall at the ingress of the device drops all that arrives",
    breaks: "A chain of the family netdev at eth0 drops all but ARP.",
    says: "R06, where: guest kernel. Drops NETFILTER_DROP at nft_do_chain; no counter of the kernel moves.",
    break_it: &[Step::Nft(
        Place::Node,
        "add table netdev broken; \
         add chain netdev broken in { type filter hook ingress device eth0 priority 0; policy drop; }; \
         add rule netdev broken in ether type arp accept",
    )],
    heal: &[Step::Nft(Place::Node, "delete table netdev broken")],
    expect: Expectation {
        verdict: Some("R06"),
        drops: &[ExpectedDrop::of(
            &["NETFILTER_DROP"],
            &["nft_do_chain", "nf_hook_slow"],
            Class::Policy,
        )
        .socket_found(false)
        .detail("netfilter: ingress, netdev")
        .chain("table netdev broken, chain in")],
        ..PROGRAM.expect
    },
    ..PROGRAM
};

const UNKNOWN_ETHERTYPE: Scenario = Scenario {
    name: "unknown-ethertype",
    title: "frames of a protocol that nobody handles",
    breaks: "Nothing of the node's own. Frames with an Ethernet type that no protocol has asked for arrive.",
    says: "Healthy. Drops UNHANDLED_PROTO at __netif_receive_skb_core.",
    traffic: &[PEER_SERVER, NODE_CLIENT],
    break_it: &[Step::Start(frames(Frame::UnknownEthertype))],
    heal: &[Step::Stop("frames")],
    expect: Expectation {
        drops: &[ExpectedDrop::of(
            &["UNHANDLED_PROTO", "PTYPE_ABSENT"],
            &["__netif_receive_skb_core"],
            Class::Environment,
        )],
        column: Some((Column::Dropped, 30)),
        ..SOUND
    },
    ..PROGRAM
};

/// A tap gets a clone of each packet, which arrives nowhere and ends nowhere.
const TAPPED: Scenario = Scenario {
    name: "tapped",
    title: "a healthy node whose packets somebody looks at",
    breaks: "Nothing. All that passes eth0 is copied to a packet socket, as tcpdump does.",
    says: "Healthy, no verdict, and each packet counted once.",
    traffic: ALL_WAYS,
    break_it: &[Step::Start(TAP)],
    heal: &[Step::Stop("tap")],
    expect: SOUND,
    ..PROGRAM
};

/// A shaper for what one program sends, and what the others send goes by it.
const EGRESS_SHAPED: Scenario = Scenario {
    name: "egress-shaped",
    title: "a shaper at the uplink drops what is too much",
    breaks: "The node sends a hundred datagrams a second to port 9999, and a class of htb at eth0 lets some 20 of them out.",
    says: "Healthy, and as a weak sign K06: a shaper drops as it is meant to. Drops QDISC_DROP at __dev_xmit_skb.",
    traffic: &[
        PEER_SERVER,
        NODE_CLIENT,
        Actor {
            name: "node-drip",
            place: Place::Node,
            role: Role::Drip,
            addresses: &["192.0.2.10:9999", "[2001:db8:ffff::10]:9999"],
        },
    ],
    break_it: &[
        // What is in no class leaves at once.
        Step::Run(Place::Node, "tc qdisc add dev eth0 root handle 1: htb"),
        Step::Run(
            Place::Node,
            "tc class add dev eth0 parent 1: classid 1:3 htb rate 16kbit burst 200 cburst 200",
        ),
        Step::Run(Place::Node, "tc qdisc add dev eth0 parent 1:3 pfifo limit 3"),
        Step::Run(
            Place::Node,
            "tc filter add dev eth0 parent 1: protocol ip u32 match ip dport 9999 0xffff flowid 1:3",
        ),
        Step::Run(
            Place::Node,
            "tc filter add dev eth0 parent 1: protocol ipv6 u32 match ip6 dport 9999 0xffff flowid 1:3",
        ),
    ],
    heal: &[Step::Run(Place::Node, "tc qdisc del dev eth0 root")],
    expect: Expectation {
        drops: &[ExpectedDrop::of(
            &["QDISC_DROP"],
            // 7.3 drops them after the queue's lock is given up; before 6.2 their list is freed by a function of its own.
            &[
                "__dev_xmit_skb",
                "__dev_queue_xmit",
                "__tcf_kfree_skb_list",
                "kfree_skb_list_reason",
            ],
            Class::Resource,
        )
        .outgoing()],
        verdict: Some("K06"),
        ..SOUND
    },
    ..PROGRAM
};

/// Neighbours are not asked any more either: nothing leaves.
const NOTHING_LEAVES: Scenario = Scenario {
    name: "nothing-leaves",
    title: "the queue of the uplink drops all that is to leave",
    breaks: "The qdisc of eth0 is replaced by one that drops all, as where a shaper was set up in part.",
    says: "K06, where: guest kernel, and D01 under it. Drops QDISC_DROP at __dev_queue_xmit.",
    break_it: &[Step::Run(Place::Node, "tc qdisc add dev eth0 root blackhole")],
    heal: &[Step::Run(Place::Node, "tc qdisc del dev eth0 root")],
    expect: Expectation {
        drops: EGRESS_SHAPED.expect.drops,
        verdict: Some("K06"),
        column: None,
        starved: None,
        ..PROGRAM.expect
    },
    ..PROGRAM
};

/// What a virtual device hands over waits in the queue of a CPU, of the machine.
const CPU_BACKLOG: Scenario = Scenario {
    name: "cpu-backlog",
    title: "the receive queue of a CPU is too short",
    breaks: "netdev_max_backlog is set to 0: of packets that come in a row all but the first are dropped before they arrive. \
             The peer sends two segments at a time, so that an acknowledgement lets go several packets in a row.",
    says: "Healthy, and as a weak sign R29: what is lost is sent again. Drops CPU_BACKLOG at enqueue_to_backlog, and the counter softnet_dropped.",
    needs: &[Need::Machine],
    traffic: &[PEER_SERVER, NODE_CLIENT],
    break_it: &[
        Step::Ip(Place::Peer, "link set node0 gso_max_segs 2"),
        Step::Machine("net.core.netdev_max_backlog", "0"),
        Step::Start(BULK),
    ],
    heal: &[Step::MachineBack, Step::Stop("bulk")],
    expect: Expectation {
        drops: &[ExpectedDrop::of(
            &["CPU_BACKLOG"],
            &["enqueue_to_backlog", "netif_rx_internal"],
            Class::Resource,
        )],
        column: Some((Column::Dropped, 1)),
        verdict: Some("R29"),
        ..SOUND
    },
    ..PROGRAM
};
