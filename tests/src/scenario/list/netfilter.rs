//! Firewalls and connection tracking.

use super::actors::*;
use super::prelude::*;

pub(super) const ALL: &[Scenario] = &[
    REPLIES_FILTERED,
    ONE_IN_EIGHT,
    SERVER_BARRED,
    NEW_ONES_KEPT_OUT,
    LED_AWAY,
    LED_TO_NO_SOCKET,
    LED_TO_PROXY,
    NFT_RAW,
    NFT_FORWARD,
    NFT_OUTPUT,
    NEW_ONES_KEPT_IN,
    REFUSED_BY_OWN_FIREWALL,
    LED_TO_OWN_PROXY,
    ONE_IN_EIGHT_KEPT_IN,
    BRIDGE_FILTERED,
    BRIDGED_UPLINK_FILTERED,
    NFT_REJECT,
    IPTABLES_LEGACY,
    IPTABLES_NFT,
    CONNTRACK_FLUSHED,
    CT_INVALID,
    UNTRACKED,
    CONNTRACK_FULL,
    DNAT_LOST,
];

/// A ruleset that has lost the line which accepts what belongs to a connection.
const REPLIES_FILTERED: Scenario = Scenario {
    name: "replies-filtered",
    title: "a firewall that has forgotten replies",
    breaks: "A ruleset is loaded whose input chain drops all but SSH and neighbours, and lacks `ct state \
             established,related accept`, as where a half-done upgrade loads half of it.",
    says: "R06, where: guest kernel. Drops NETFILTER_DROP at nft_do_chain; lab-client starves.",
    needs: &[],
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
        verdict: Some("R06"),
        drops: &[
            dropped("netfilter: input, ipv4", "table inet broken, chain input").socket_found(true),
            dropped("netfilter: input, ipv6", "table inet broken, chain input").socket_found(true),
        ],
        column: None,
        starved: Some(NODE_CLIENT),
        most_unexplained: 0.01,
    },
    late: true,
};

/// Each connection goes on, slower: what is lost is sent again.
const ONE_IN_EIGHT: Scenario = Scenario {
    name: "one-in-eight-filtered",
    title: "a firewall drops one packet in eight",
    breaks: "A chain at input drops each eighth packet, as where a limit of the rate or a faulty rule takes a part of what \
             arrives.",
    says: "K04, where: guest kernel. Drops NETFILTER_DROP at nft_do_chain; nobody starves.",
    traffic: &[PEER_SERVER, NODE_CLIENT, POD_CLIENT],
    break_it: &[Step::Nft(
        Place::Node,
        "add table inet broken; \
         add chain inet broken input { type filter hook input priority 0; }; \
         add rule inet broken input meta l4proto { tcp, udp } numgen inc mod 8 == 0 drop",
    )],
    expect: Expectation {
        verdict: Some("K04"),
        starved: None,
        ..REPLIES_FILTERED.expect
    },
    late: true,
    ..REPLIES_FILTERED
};

/// What the node itself asks for is answered.
const SERVER_BARRED: Scenario = Scenario {
    name: "server-barred",
    title: "a firewall lets nobody in to a server of this node any more",
    breaks: "Rules are added at input that refuse TCP to port 8080 with a reset and drop UDP, as where a line that let clients in \
             is lost, or one for another port is mistyped.",
    says: "R06, where: guest kernel: by whom, and when the last request reached the server. Drops NETFILTER_DROP at \
           nft_do_chain.",
    traffic: &[PEER_SERVER, NODE_SERVER, NODE_CLIENT, PEER_CLIENT],
    break_it: &[Step::Nft(
        Place::Node,
        "add table inet broken; \
         add chain inet broken input { type filter hook input priority 0; }; \
         add rule inet broken input tcp dport 8080 reject with tcp reset; \
         add rule inet broken input udp dport 8080 drop",
    )],
    expect: Expectation {
        starved: None,
        ..REPLIES_FILTERED.expect
    },
    late: false,
    ..REPLIES_FILTERED
};

/// What stands goes on: nothing of it is lost.
const NEW_ONES_KEPT_OUT: Scenario = Scenario {
    name: "new-ones-kept-out",
    title: "a firewall lets in no new connection to a server of this node",
    breaks: "A rule for IPv4 at input drops what opens a connection to port 8080; those that stand are let through.",
    says: "R06, where: guest kernel: over IPv4, by whom, when the last new one reached the server, and that what stood goes on.",
    break_it: &[Step::Nft(
        Place::Node,
        "add table ip broken; \
         add chain ip broken input { type filter hook input priority 0; }; \
         add rule ip broken input tcp dport 8080 tcp flags & (fin|syn|rst|ack) == syn drop",
    )],
    heal: &[Step::Nft(Place::Node, "delete table ip broken")],
    expect: Expectation {
        drops: &[dropped("netfilter: input, ipv4", "table ip broken, chain input").socket_found(false)],
        ..SERVER_BARRED.expect
    },
    ..SERVER_BARRED
};

const LED_AWAY: Scenario = Scenario {
    name: "led-away",
    title: "a rule leads what is for a server of this node to an address that nobody has",
    breaks: "A rule is added at prerouting that gives what arrives for port 8080 another destination, as where the address of a \
             container is out of date or mistyped.",
    says: "R41, where: guest kernel: the rule and when it came, by whom, the server and its peers that get no further than their \
           first packets. No drop: what is led away is forwarded.",
    traffic: &[PEER_SERVER, NODE_SERVER, NODE_CLIENT, PEER_CLIENT],
    break_it: &[Step::Nft(
        Place::Node,
        "add table inet broken; \
         add chain inet broken pre { type nat hook prerouting priority dstnat; }; \
         add rule inet broken pre iifname eth0 tcp dport 8080 dnat ip to 192.0.2.99",
    )],
    expect: Expectation {
        exit_code: 1,
        place: "guest-kernel",
        verdict: Some("R41"),
        ..SOUND
    },
    late: false,
    ..REPLIES_FILTERED
};

const LED_TO_NO_SOCKET: Scenario = Scenario {
    name: "led-to-no-socket",
    title: "a rule leads what is for a server of this node to a port at which nobody listens",
    breaks: "A rule is added at prerouting that redirects what arrives for port 8080, as for a proxy that is not there.",
    says: "R41, where: guest kernel: the rule and when it came, by whom, the server and its peers that get no further than their \
           first packets. Drops NO_SOCKET at tcp_v4_rcv and tcp_v6_rcv.",
    break_it: &[Step::Nft(
        Place::Node,
        "add table inet broken; \
         add chain inet broken pre { type nat hook prerouting priority dstnat; }; \
         add rule inet broken pre iifname eth0 tcp dport 8080 redirect to :9999",
    )],
    ..LED_AWAY
};

/// The same, and there is a proxy.
const LED_TO_PROXY: Scenario = Scenario {
    name: "led-to-proxy",
    title: "a rule leads what is for a server of this node to another one, which answers",
    breaks: "Nothing: a rule is added at prerouting that redirects what arrives for port 8080 to a proxy that listens.",
    says: "Healthy: who asks is answered, and the server is asked by nobody any more on purpose.",
    traffic: &[
        PEER_SERVER,
        NODE_SERVER,
        Actor {
            name: "proxy",
            addresses: &["[::]:9999"],
            ..NODE_SERVER
        },
        NODE_CLIENT,
        PEER_CLIENT,
        Actor {
            name: "client-of-proxy",
            addresses: &["10.10.0.2:9999", "[2001:db8:10::2]:9999"],
            ..PEER_CLIENT
        },
    ],
    expect: SOUND,
    ..LED_TO_NO_SOCKET
};

/// A drop by a rule, or by a chain that had none for the packet.
const fn dropped(detail: &'static str, chain: &'static str) -> ExpectedDrop {
    of_rules(detail).chain(chain)
}

/// The same, where the chain cannot be known.
const fn of_rules(detail: &'static str) -> ExpectedDrop {
    ExpectedDrop::of(
        &["NETFILTER_DROP"],
        &["nft_do_chain", "nf_hook_slow"],
        Class::Policy,
    )
    .detail(detail)
}

/// Before anything is known of the packet: neither its connection nor its socket nor its way.
const NFT_RAW: Scenario = Scenario {
    name: "nft-raw",
    title: "a firewall drops all that arrives, before connection tracking",
    breaks: "A chain at prerouting with priority raw drops all but neighbours.",
    says: "R06, where: guest kernel. Drops NETFILTER_DROP at nft_do_chain, at prerouting; lab-client starves.",
    break_it: &[Step::Nft(
        Place::Node,
        "add table inet broken; \
         add chain inet broken raw { type filter hook prerouting priority raw; policy drop; }; \
         add rule inet broken raw icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept",
    )],
    expect: Expectation {
        drops: &[
            dropped("netfilter: prerouting, ipv4", "table inet broken, chain raw").socket_found(false),
            dropped("netfilter: prerouting, ipv6", "table inet broken, chain raw").socket_found(false),
        ],
        column: Some((Column::Dropped, 10)),
        ..REPLIES_FILTERED.expect
    },
    late: false,
    ..REPLIES_FILTERED
};

/// What a pod asks for is nothing that a socket of the node's own namespace waits for.
const NFT_FORWARD: Scenario = Scenario {
    name: "nft-forward",
    title: "a firewall drops what is for pods",
    breaks: "A ruleset is loaded whose forward chain drops all, as Docker's did where its exceptions are lost.",
    says: "R38, where: guest kernel; the node's own sockets have what they wait for. Drops NETFILTER_DROP at nft_do_chain, at forward.",
    break_it: &[Step::Nft(
        Place::Node,
        "add table inet broken; \
         add chain inet broken forward { type filter hook forward priority 0; policy drop; }",
    )],
    traffic: &[
        PEER_SERVER,
        NODE_CLIENT,
        POD_CLIENT,
        Actor {
            addresses: &["10.244.0.2", "2001:db8:244::2"],
            ..PEER_PING
        },
    ],
    expect: Expectation {
        drops: &[
            dropped("netfilter: forward, ipv4", "table inet broken, chain forward").socket_found(false),
            dropped("netfilter: forward, ipv6", "table inet broken, chain forward").socket_found(false),
        ],
        column: Some((Column::Dropped, 5)),
        exit_code: 1,
        place: "guest-kernel",
        verdict: Some("R38"),
        ..SOUND
    },
    late: false,
    ..REPLIES_FILTERED
};

/// What the node itself sends has not arrived, and its drops are none of the ledger's.
const NFT_OUTPUT: Scenario = Scenario {
    name: "nft-output",
    title: "a firewall drops what the node sends",
    breaks: "A ruleset is loaded whose output chain drops all but neighbours: neither requests nor answers leave.",
    says: "K02, where: guest kernel. What arrives reaches its socket; drops NETFILTER_DROP at nft_do_chain, at output, of what \
           the node was sending.",
    break_it: &[Step::Nft(
        Place::Node,
        "add table inet broken; \
         add chain inet broken output { type filter hook output priority 0; policy drop; }; \
         add rule inet broken output icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept",
    )],
    traffic: &[PEER_SERVER, NODE_SERVER, NODE_CLIENT, PEER_CLIENT],
    expect: Expectation {
        drops: &[
            dropped("netfilter: output, ipv4", "table inet broken, chain output").outgoing(),
            dropped("netfilter: output, ipv6", "table inet broken, chain output").outgoing(),
        ],
        exit_code: 1,
        place: "guest-kernel",
        verdict: Some("K02"),
        ..SOUND
    },
    late: false,
    ..REPLIES_FILTERED
};

/// Connections that stand go on.
const NEW_ONES_KEPT_IN: Scenario = Scenario {
    name: "new-ones-kept-in",
    title: "a firewall lets no new connection out",
    breaks: "A chain at output drops what opens a connection to port 8080.",
    says: "K02, where: guest kernel. Drops NETFILTER_DROP at nft_do_chain, at output, of what the node was sending.",
    traffic: &[PEER_SERVER, NODE_CLIENT],
    break_it: &[Step::Nft(
        Place::Node,
        "add table inet broken; \
         add chain inet broken output { type filter hook output priority 0; }; \
         add rule inet broken output tcp dport 8080 tcp flags syn / syn,ack drop",
    )],
    ..NFT_OUTPUT
};

/// What refuses them comes by loopback, in the name of who was asked: it has not arrived, though the sockets count it.
const REFUSED_BY_OWN_FIREWALL: Scenario = Scenario {
    name: "refused-by-own-firewall",
    title: "a firewall of the node refuses what its processes ask for",
    breaks: "A chain at output refuses TCP to port 8080, with a reset over IPv4 and with a message over IPv6.",
    says: "K02, where: guest kernel. Drops NETFILTER_DROP at nft_do_chain, at output, of what the node was sending; next to nothing \
           is unexplained.",
    break_it: &[Step::Nft(
        Place::Node,
        "add table inet broken; \
         add chain inet broken output { type filter hook output priority 0; }; \
         add rule inet broken output meta nfproto ipv4 tcp dport 8080 reject with tcp reset; \
         add rule inet broken output tcp dport 8080 reject",
    )],
    traffic: &[PEER_SERVER, NODE_CLIENT, NODE_PING],
    ..NFT_OUTPUT
};

/// Connections are opened and closed by loopback, and have the addresses of those outside that nobody asks.
const LED_TO_OWN_PROXY: Scenario = Scenario {
    name: "led-to-own-proxy",
    title: "a healthy node whose processes ask the internet by a proxy on the node",
    breaks: "Nothing: a rule at output redirects what is for port 8080 to a proxy on the node itself, which answers, as a service \
             mesh does.",
    says: "Healthy, no verdict: what goes by loopback has not arrived, and next to nothing is unexplained.",
    setup: &[Step::Nft(
        Place::Node,
        "add table inet mesh; \
         add chain inet mesh output { type nat hook output priority -100; }; \
         add rule inet mesh output tcp dport 8080 redirect to :9999",
    )],
    traffic: &[
        PEER_SERVER,
        Actor {
            name: "proxy",
            addresses: &["[::]:9999"],
            ..NODE_SERVER
        },
        NODE_CLIENT,
        NODE_PING,
    ],
    break_it: &[Step::Start(Actor {
        name: "knock",
        role: Role::Knock,
        ..NODE_CLIENT
    })],
    heal: &[Step::Stop("knock")],
    expect: SOUND,
    late: false,
    ..REPLIES_FILTERED
};

/// Requests, answers and acknowledgements are lost; each connection goes on, slower.
const ONE_IN_EIGHT_KEPT_IN: Scenario = Scenario {
    name: "one-in-eight-kept-in",
    title: "a firewall drops one packet in eight that the node sends",
    breaks: "A chain at output drops each eighth packet of TCP and UDP.",
    says: "K07, where: guest kernel. Drops NETFILTER_DROP at nft_do_chain, at output, of what the node was sending; nobody starves.",
    break_it: &[Step::Nft(
        Place::Node,
        "add table inet broken; \
         add chain inet broken output { type filter hook output priority 0; }; \
         add rule inet broken output meta l4proto { tcp, udp } numgen inc mod 8 == 0 drop",
    )],
    expect: Expectation {
        verdict: Some("K07"),
        ..NFT_OUTPUT.expect
    },
    ..NFT_OUTPUT
};

/// Each packet for the pod is routed to the bridge, and sent by it through a port.
const BRIDGE_FILTERED: Scenario = Scenario {
    name: "bridge-filtered",
    title: "a firewall of the pods' bridge drops what is for them",
    breaks: "The pod's device is a port of the bridge cni0, and a chain of the family bridge drops what the bridge sends to \
             its ports, but for ARP and neighbours.",
    says: "R38, where: guest kernel; the node's own sockets have what they wait for. Drops NETFILTER_DROP at nft_do_chain, each \
           packet dropped and not forwarded.",
    setup: super::sound::PODS_BRIDGE,
    break_it: &[Step::Nft(
        Place::Node,
        "add table bridge broken; \
         add chain bridge broken out { type filter hook output priority 0; policy drop; }; \
         add rule bridge broken out ether type arp accept; \
         add rule bridge broken out icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept",
    )],
    heal: &[Step::Nft(Place::Node, "delete table bridge broken")],
    expect: Expectation {
        drops: &[of_rules("netfilter: output, bridge").socket_found(false)],
        ..NFT_FORWARD.expect
    },
    ..NFT_FORWARD
};

/// The bridge is the uplink; its port has seen the packet before.
const BRIDGED_UPLINK_FILTERED: Scenario = Scenario {
    name: "bridged-uplink-filtered",
    title: "a firewall of the bridge that the node is reached by drops what is for it",
    breaks: "eth0 is a port of the bridge br0, which has the node's addresses, as on a host of virtual machines. A chain of \
             the family bridge drops what is for the bridge itself, but for ARP and neighbours.",
    says: "R06, where: guest kernel; lab-client starves. Drops NETFILTER_DROP at nft_do_chain, beside the ledger: the \
           bridge had not handed the packets on.",
    setup: &[
        Step::Ip(Place::Node, "addr flush dev eth0"),
        Step::Ip(Place::Node, "link add br0 address 02:00:0a:0a:00:02 type bridge"),
        Step::Ip(Place::Node, "link set eth0 master br0"),
        Step::Ip(Place::Node, "addr add 10.10.0.2/24 dev br0"),
        Step::Ip(Place::Node, "addr add 2001:db8:10::2/64 dev br0 nodad"),
        Step::Ip(Place::Node, "link set br0 up"),
        Step::Ip(Place::Node, "route replace default via 10.10.0.1 dev br0"),
        Step::Ip(Place::Node, "route replace default via 2001:db8:10::1 dev br0"),
    ],
    traffic: &[PEER_SERVER, NODE_CLIENT],
    break_it: &[Step::Nft(
        Place::Node,
        "add table bridge broken; \
         add chain bridge broken in { type filter hook input priority 0; policy drop; }; \
         add rule bridge broken in ether type arp accept; \
         add rule bridge broken in icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept",
    )],
    heal: &[Step::Nft(Place::Node, "delete table bridge broken")],
    expect: Expectation {
        drops: &[],
        ..REPLIES_FILTERED.expect
    },
    late: false,
    ..REPLIES_FILTERED
};

const NFT_REJECT: Scenario = Scenario {
    name: "nft-reject",
    title: "a firewall refuses replies",
    breaks: "A ruleset is loaded whose input chain rejects all but neighbours: its drops are answered.",
    says: "R06, where: guest kernel. Drops NETFILTER_DROP at nft_do_chain, at input; lab-client starves.",
    break_it: &[Step::Nft(
        Place::Node,
        "add table inet broken; \
         add chain inet broken input { type filter hook input priority 0; }; \
         add rule inet broken input iif lo accept; \
         add rule inet broken input icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; \
         add rule inet broken input reject",
    )],
    late: false,
    ..REPLIES_FILTERED
};

/// The older tables of the kernel, which drop elsewhere than nft.
const IPTABLES_LEGACY: Scenario = Scenario {
    name: "iptables-legacy",
    title: "the older firewall drops all that arrives",
    breaks: "iptables-legacy -P INPUT DROP, without a rule that accepts anything. IPv6 goes on.",
    says: "R06, where: guest kernel. Drops NETFILTER_DROP at nf_hook_slow, at input; lab-client starves over IPv4.",
    needs: &[
        Need::Program("iptables-legacy", "iptables"),
        Need::Symbol("ipt_do_table"),
    ],
    break_it: &[Step::Run(Place::Node, "iptables-legacy -P INPUT DROP")],
    heal: &[Step::Run(Place::Node, "iptables-legacy -P INPUT ACCEPT")],
    expect: Expectation {
        drops: &[
            // No chain is named: it is none of nft's.
            ExpectedDrop::of(&["NETFILTER_DROP"], &["nf_hook_slow"], Class::Policy)
                .detail("netfilter: input, ipv4")
                .socket_found(true),
        ],
        ..REPLIES_FILTERED.expect
    },
    late: false,
    ..REPLIES_FILTERED
};

const IPTABLES_NFT: Scenario = Scenario {
    name: "iptables-nft",
    title: "iptables on top of nft drops all that arrives",
    breaks: "iptables-nft -P INPUT DROP, without a rule that accepts anything. IPv6 goes on.",
    says: "R06, where: guest kernel. Drops NETFILTER_DROP at nft_do_chain, at input; lab-client starves over IPv4.",
    needs: &[Need::Program("iptables-nft", "iptables")],
    break_it: &[Step::Run(Place::Node, "iptables-nft -P INPUT DROP")],
    heal: &[Step::Run(Place::Node, "iptables-nft -P INPUT ACCEPT")],
    expect: Expectation {
        drops: &[dropped("netfilter: input, ipv4", "table ip filter, chain INPUT").socket_found(true)],
        ..REPLIES_FILTERED.expect
    },
    late: false,
    ..REPLIES_FILTERED
};

/// Connections that stand are not taken up again (`nf_conntrack_tcp_loose`), and the server's segments are refused
/// until it or the client gives up.
const CONNTRACK_FLUSHED: Scenario = Scenario {
    name: "conntrack-flushed",
    title: "a firewall has forgotten the connections that stand",
    breaks: "The input chain accepts what belongs to a connection and drops the rest; then the table of connections is \
             emptied, as by a restart of a firewall or of kube-proxy.",
    says: "R08, where: guest kernel. Drops NETFILTER_DROP at nft_do_chain, at input; the connections that stood starve.",
    needs: &[Need::Program("conntrack", "conntrack")],
    setup: &[
        Step::Sysctl(Place::Node, "net.netfilter.nf_conntrack_tcp_loose", "0"),
        Step::Nft(
            Place::Node,
            "add table inet stateful; \
             add chain inet stateful input { type filter hook input priority 0; policy drop; }; \
             add rule inet stateful input ct state established,related accept; \
             add rule inet stateful input iif lo accept; \
             add rule inet stateful input icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept",
        ),
    ],
    traffic: &[PEER_SERVER, NODE_CLIENT],
    break_it: &[Step::Run(Place::Node, "conntrack -F")],
    heal: &[],
    expect: Expectation {
        verdict: Some("R08"),
        drops: &[
            dropped("netfilter: input, ipv4", "table inet stateful, chain input").socket_found(true),
            dropped("netfilter: input, ipv6", "table inet stateful, chain input").socket_found(true),
        ],
        ..REPLIES_FILTERED.expect
    },
    late: false,
};

const CT_INVALID: Scenario = Scenario {
    name: "ct-invalid",
    title: "a firewall takes connections that stand for invalid",
    breaks: "The input chain drops what connection tracking calls invalid; then its table is emptied.",
    setup: &[
        Step::Sysctl(Place::Node, "net.netfilter.nf_conntrack_tcp_loose", "0"),
        Step::Nft(
            Place::Node,
            "add table inet stateful; \
             add chain inet stateful input { type filter hook input priority 0; }; \
             add rule inet stateful input ct state invalid drop",
        ),
    ],
    ..CONNTRACK_FLUSHED
};

/// The rule that drops is not the one that came.
const UNTRACKED: Scenario = Scenario {
    name: "untracked",
    title: "a firewall no longer tracks what it lets in as part of a connection",
    breaks: "The input chain accepts what belongs to a connection and drops the rest; then a rule at prerouting comes by which the \
             answers of port 8080 are not tracked.",
    says: "R06, where: guest kernel, explained by that rule. Drops NETFILTER_DROP at nft_do_chain, at input.",
    needs: &[],
    break_it: &[Step::Nft(
        Place::Node,
        "add table inet untrack; \
         add chain inet untrack pre { type filter hook prerouting priority raw; }; \
         add rule inet untrack pre tcp sport 8080 notrack",
    )],
    heal: &[Step::Nft(Place::Node, "delete table inet untrack")],
    expect: Expectation {
        verdict: Some("R06"),
        ..CONNTRACK_FLUSHED.expect
    },
    ..CONNTRACK_FLUSHED
};

/// What kube-proxy does, undone: the kernel no longer knows that port 80 stands for 8080.
const DNAT_LOST: Scenario = Scenario {
    name: "dnat-lost",
    title: "the rules that lead to a service are lost",
    breaks: "Port 80 of the node leads to its port 8080 by a rule of nft. The rule is deleted and the table of \
             connections emptied; clients go on asking port 80, on which nobody listens.",
    says: "R34, where: guest kernel: the rule that led port 80 to the service went away. Drops NO_SOCKET at tcp_v4_rcv and \
           __udp4_lib_rcv.",
    needs: &[Need::Program("conntrack", "conntrack")],
    setup: &[Step::Nft(
        Place::Node,
        "add table inet services; \
         add chain inet services nat { type nat hook prerouting priority dstnat; }; \
         add rule inet services nat tcp dport 80 redirect to :8080; \
         add rule inet services nat udp dport 80 redirect to :8080",
    )],
    traffic: &[
        PEER_SERVER,
        NODE_SERVER,
        NODE_CLIENT,
        Actor {
            addresses: &["10.10.0.2:80", "[2001:db8:10::2]:80"],
            ..PEER_CLIENT
        },
    ],
    break_it: &[
        Step::Nft(Place::Node, "delete table inet services"),
        Step::Run(Place::Node, "conntrack -F"),
    ],
    heal: &[],
    expect: Expectation {
        exit_code: 1,
        place: "guest-kernel",
        verdict: Some("R34"),
        drops: &[
            ExpectedDrop::of(&["NO_SOCKET"], &["tcp_v4_rcv"], Class::Protocol).socket_found(false),
            ExpectedDrop::of(&["NO_SOCKET"], &["tcp_v6_rcv"], Class::Protocol).socket_found(false),
            ExpectedDrop::of(&["NO_SOCKET"], &["__udp4_lib_rcv", "udp_rcv"], Class::Protocol)
                .socket_found(false),
        ],
        column: Some((Column::Dropped, 10)),
        ..SOUND
    },
    late: false,
};

/// The bound is one of the machine, the count is one of each namespace: so its table is filled, and the bound left alone.
const CONNTRACK_FULL: Scenario = Scenario {
    name: "conntrack-full",
    title: "there is no room for another connection in connection tracking",
    breaks: "The table is filled with connections that nobody has, up to nf_conntrack_max. Those that stand go on; what opens \
             another, and each datagram from another port, is dropped, as it arrives or as the node sends it.",
    says: "R07, where: guest kernel: the table is full, and new connections fail, those that come and those that the node opens. \
           Drops NETFILTER_DROP at nf_hook_slow, at prerouting and output, and the counter `drop` of connection tracking.",
    needs: &[Need::Conntrack],
    setup: &[
        Step::Nft(
            Place::Node,
            "add table inet stateful; \
             add chain inet stateful input { type filter hook input priority 0; }; \
             add rule inet stateful input ct state established,related accept",
        ),
        // Most of it takes a while.
        Step::FillConntrack(Place::Node, 2000),
    ],
    traffic: &[PEER_SERVER, NODE_SERVER, NODE_CLIENT, PEER_CLIENT],
    break_it: &[Step::KeepConntrackFull],
    heal: &[Step::EmptyConntrack(Place::Node)],
    expect: Expectation {
        drops: &[
            ExpectedDrop::of(&["NETFILTER_DROP"], &["nf_hook_slow"], Class::Policy)
                .detail("netfilter: prerouting, ipv4"),
            ExpectedDrop::of(&["NETFILTER_DROP"], &["nf_hook_slow"], Class::Policy)
                .detail("netfilter: prerouting, ipv6"),
            ExpectedDrop::of(&["NETFILTER_DROP"], &["nf_hook_slow"], Class::Policy)
                .detail("netfilter: output, ipv4")
                .outgoing(),
        ],
        column: Some((Column::Dropped, 5)),
        exit_code: 1,
        place: "guest-kernel",
        verdict: Some("R07"),
        ..SOUND
    },
    late: false,
};
