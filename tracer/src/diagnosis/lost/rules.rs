//! A rule for each way of losing packets before a socket.

use super::{Kind, barred, lost, partly, table};
use crate::diagnosis::{About, Finding, Rule, View, effects, outgoing};
use crate::model::ends::Keeper;
use crate::model::timeline::Change;
use crate::report::{Confidence, Where};

/// What all these rules have in common.
const fn rule(
    (id, slug, title): (&'static str, &'static str, &'static str),
    about: About,
    examine: fn(&View<'_>) -> Option<Finding>,
    explains: fn(&Finding, &Change) -> bool,
) -> Rule {
    Rule {
        id,
        slug,
        title,
        place: Some(Where::GuestKernel),
        about,
        examine,
        explains,
        proved_by: effects::none,
        follows: &["R01", "R03", "R05", "R22", "D02"],
    }
}

/// R05: packets come for an address that the node had.
pub(in crate::diagnosis) const ADDRESS_GONE: Rule = Rule {
    follows: &[],
    ..rule(
        (
            "R05",
            "address-gone",
            "Packets arrive for an address that this node no longer has",
        ),
        About {
            signature: "Sockets of this node wait at an address that none of its devices has, and packets for it are dropped \
                        for IP_INADDRERRORS, or, where the node forwards, for IP_INNOROUTES or on their way out again. A weak sign \
                        where the address came less than a minute before it went.",
            meaning: "The address was taken away while connections from it were open: by hand, by a lease that was not \
                      renewed, or by a network manager that was started anew and did not set it. Packets for it are \
                      somebody else's to the kernel.",
            check: &["ip addr", "ip route show table local", "networkctl status DEVICE"],
            mend: &[
                "networkctl reconfigure DEVICE  # Risk: what others have set at the device may be lost too.",
                "ip addr add ADDRESS/PREFIX dev DEVICE  # Risk: low, where it is the address that was there before. Lasts \
                 until the device is configured anew.",
            ],
        },
        |view| lost(view, Kind::Address),
        effects::address,
    )
};

/// R06: a firewall drops them.
pub(in crate::diagnosis) const FIREWALL: Rule = Rule {
    proved_by: effects::firewall_shut,
    ..rule(
        (
            "R06",
            "firewall",
            "A firewall drops what sockets of this node wait for",
        ),
        About {
            signature: "Packets for sockets that wait are dropped for NETFILTER_DROP: answers, be it one for each of several questions by \
                    UDP that nobody else answered; or requests to a server of this node by peers \
                    that it had served, where nothing at all reaches its port any more, or, since rules of nf_tables changed that may drop, nothing new, while what \
                    the same peer had opened before goes on. The latter two are a weak sign where that is one \
                    peer only, and no rule came that may drop and does not name it: it may be shut out on purpose.",
            meaning: "A rule or the policy of a chain drops replies, or requests to a server of this node. Often a ruleset was \
                  loaded in part, or one that accepts what belongs to open connections was lost. The verdict names the hook, \
                  and table and chain where only one can have been asked.",
            check: &[
                "nft -a list ruleset",
                "iptables-legacy-save -c; ip6tables-legacy-save -c",
                "tracer node  # lists the rules that can drop, with what they counted",
            ],
            mend: &[
                "Change the rule that the checks show. Risk: it may be there on purpose; ask whose it is, and do not flush what \
             others made.",
            ],
        },
        by_firewall,
        effects::firewall,
    )
};

/// What a firewall drops of sockets that wait, and of servers that it cuts off: one may have begun before the other.
fn by_firewall(view: &View<'_>) -> Option<Finding> {
    let cut_off = barred::examine(view);
    match (lost(view, Kind::Firewall), cut_off) {
        (Some(lost), Some(cut_off)) if cut_off.confidence > Confidence::Weak => Some(lost.and(cut_off)),
        (lost, cut_off) => lost.or(cut_off),
    }
}

/// R07: connection tracking is full.
pub(in crate::diagnosis) const TABLE_FULL: Rule = rule(
    (
        "R07",
        "conntrack-full",
        "Connection tracking has no room, or hardly any, for new connections",
    ),
    About {
        signature: "The table is full, connection tracking counts drops in three readings, a second apart, and meanwhile packets \
                    that arrive or that this node sends are dropped for NETFILTER_DROP at nf_hook_slow(); or a socket waits for what is dropped there. A weak sign \
                    where the table has 95 % of the entries that it has room for, and nothing is seen to fail.",
        meaning: "The table holds as many connections as it may (nf_conntrack_max). Connections that stand go on; new ones, \
                  those that come and those that this node opens, and each datagram from another port, are dropped.",
        check: &[
            "sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max",
            "cat /proc/net/stat/nf_conntrack  # a line for each CPU, in hexadecimal: `drop` grows",
            "conntrack -L | sed 's/ dst=.*//; s/.*src=//' | sort | uniq -c | sort -rn | head  # who opened most",
        ],
        mend: &[
            "sysctl -w net.netfilter.nf_conntrack_max=NUMBER  # in the initial network namespace: in others it is read-only, and \
             the number bounds their tables too. Risk: each entry takes some 300 bytes of kernel memory. Lasts until the settings \
             are loaded again.",
        ],
    },
    |view| lost(view, Kind::TableFull).or_else(|| table::full(view.model)),
    effects::conntrack_room,
);

/// R08: connection tracking has forgotten connections.
pub(in crate::diagnosis) const INVALID: Rule = rule(
    (
        "R08",
        "conntrack-invalid",
        "A firewall drops connections that connection tracking no longer knows",
    ),
    About {
        signature: "Packets are dropped for NETFILTER_DROP while connection tracking counts invalid ones.",
        meaning: "The table was emptied, or packets take another way out than in, so that replies belong to no connection \
                  that is known. A rule such as `ct state invalid drop` drops them, or one that only lets in what is known.",
        check: &[
            "conntrack -S  # `invalid` grows",
            "nft -a list ruleset",
            "conntrack -L | head",
        ],
        mend: &[
            "sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=1  # Risk: less is checked of TCP. Where the table was emptied, \
             restart what holds old connections: it knows new ones.",
        ],
    },
    |view| lost(view, Kind::Invalid),
    effects::firewall,
);

/// R09: an XDP program drops them.
pub(in crate::diagnosis) const XDP: Rule = rule(
    (
        "R09",
        "xdp-drops",
        "An XDP program drops what sockets of this node wait for",
    ),
    About {
        signature: "Packets are dropped in do_xdp_generic() or in a virtual device's own XDP, or for XDP.",
        meaning: "A BPF program at the device sees packets before the stack does, and drops them. What a driver's own XDP \
                  drops is seen by no event: it shows in `ethtool -S`.",
        check: &[
            "ip -d link show dev DEVICE",
            "bpftool net list",
            "bpftool prog show",
        ],
        mend: &[
            "ip link set dev DEVICE xdpgeneric off  # or xdpdrv; not where a BPF link holds it. Risk: the program may be a network plugin's or a shield against floods; ask whose \
             it is.",
        ],
    },
    |view| lost(view, Kind::Xdp),
    effects::xdp,
);

/// R10: a program or filter at a device drops them.
pub(in crate::diagnosis) const TRAFFIC: Rule = rule(
    (
        "R10",
        "tc-drops",
        "A tc program or filter drops what sockets of this node wait for",
    ),
    About {
        signature: "Packets are dropped for TC_INGRESS or TC_EGRESS.",
        meaning: "A filter, an action or a BPF program at the device (tc, tcx) drops them before IP sees them.",
        check: &["tc -s filter show dev DEVICE ingress", "bpftool net list"],
        mend: &[
            "Delete or change the filter that the checks show. Risk: it may be a network plugin's; see whether its agent is well \
             first.",
        ],
    },
    |view| lost(view, Kind::Traffic),
    effects::traffic,
);

/// R11: a program or filter at a device keeps them.
pub(in crate::diagnosis) const STOLEN: Rule = rule(
    (
        "R11",
        "tc-steals",
        "A tc program or filter takes away what sockets of this node wait for",
    ),
    About {
        signature: "Packets are consumed in __netif_receive_skb_core(), where only a filter or program can take them; no drop \
                    tells of it.",
        meaning: "A filter or BPF program at the device answers `stolen`, `queued` or `trap`: it keeps the packet, and sends it \
                  elsewhere or forgets it. To the kernel that is no drop.",
        check: &["tc -s filter show dev DEVICE ingress", "bpftool net list"],
        mend: &[
            "See whether the agent is well that made the filter (of a network plugin, such as Cilium's). Risk: to delete it may \
             cut off pods.",
        ],
    },
    |view| lost(view, Kind::Stolen),
    effects::traffic,
);

/// R16: a program of the cgroup refuses them, or what is sent.
pub(in crate::diagnosis) const SOCKET_FILTER: Rule = rule(
    (
        "R16",
        "socket-filter",
        "A filter of the socket or of its cgroup refuses what arrives for it, or what it sends",
    ),
    About {
        signature: "Packets whose socket was found are dropped for SOCKET_FILTER, or for a reason of cgroup programs. Or what this \
                    node sends is dropped for BPF_CGROUP_EGRESS: of connections that are open, or of flows in which packets had come \
                    and left before, and of which nothing has left since.",
        meaning: "systemd attaches such programs for IPAddressDeny=, and for IPIngressFilterPath= and IPEgressFilterPath=; a \
                  process can give its socket a filter itself. What never got through is told nowhere: it may be forbidden on \
                  purpose.",
        check: &[
            "systemctl show -p IPAddressDeny,IPAddressAllow,IPIngressFilterPath,IPEgressFilterPath UNIT",
            "bpftool cgroup tree",
            "ss -lntup -e",
        ],
        mend: &[
            "systemctl set-property --runtime UNIT IPAddressDeny=  # where the unit denies the peer. Risk: it may be refused on \
             purpose. Lasts until the next boot.",
            "Allow the peer in a drop-in of the unit (IPAddressAllow=), then systemctl daemon-reload. Risk: it may be refused on \
             purpose.",
        ],
    },
    by_program,
    effects::cgroup,
);

/// What programs refuse of what arrives, and of what is sent: those of a unit mostly do both.
fn by_program(view: &View<'_>) -> Option<Finding> {
    let sent = outgoing::whole(view.model, Keeper::Cgroup);
    match (lost(view, Kind::SocketFilter), sent) {
        (Some(arrived), Some(sent)) => Some(arrived.and(sent)),
        (arrived, sent) => arrived.or(sent),
    }
}

/// R19: their checksums are wrong.
pub(in crate::diagnosis) const CHECKSUM: Rule = rule(
    (
        "R19",
        "checksum",
        "What sockets of this node wait for arrives with wrong checksums",
    ),
    About {
        signature: "Packets for sockets that wait are dropped for TCP_CSUM, UDP_CSUM, IP_CSUM or ICMP_CSUM.",
        meaning: "Bits are turned on the way, or a device or hypervisor says that it has checked what it has not.",
        check: &[
            "ethtool -k DEVICE  # rx-checksumming",
            "nstat -az TcpInCsumErrors UdpInCsumErrors",
        ],
        mend: &[
            "ethtool -K DEVICE rx off  # Risk: the CPU checks instead, and if the packets are truly damaged, they still are: \
             then it is for whoever runs the network.",
        ],
    },
    |view| lost(view, Kind::Checksum),
    effects::link_or_offloads,
);

/// R21: they are for another link-layer address.
pub(in crate::diagnosis) const LINK_ADDRESS: Rule = rule(
    (
        "R21",
        "link-address",
        "What sockets of this node wait for arrives for another link-layer address",
    ),
    About {
        signature: "Packets for sockets that wait are dropped for OTHERHOST, and R43 does not hold: the link-layer address of a device \
                    by which the node is reached changed; or nothing has reached a connection by the device since the start, so that it \
                    cannot be told; or they were sent on this node.",
        meaning: "The device's link-layer (MAC) address is another than the network believes: it was changed, or the device was \
                  made anew, as a bond or bridge is; or who sends, as the node does to a pod, has a neighbour entry that was set by \
                  hand and names another.",
        check: &[
            "ip -br link show dev DEVICE",
            "ip neigh show nud permanent  # where it is sent from",
            "journalctl -k | grep -i DEVICE",
        ],
        mend: &[
            "ip link set dev DEVICE address ADDRESS  # the one that the network expects. Risk: low, where it is the one that was \
             there before.",
            "ip neigh del ADDRESS dev DEVICE  # where an entry that was set by hand names another: ip netns exec, or nsenter \
             --net=/proc/PID/ns/net, runs it where it is sent from. Risk: low where neighbours answer, whom the kernel \
             asks then; what a network plugin has set is to be set anew by that.",
        ],
    },
    |view| lost(view, Kind::LinkAddress),
    effects::link_address_differs,
);

/// R43: who sends them has a wrong entry.
pub(in crate::diagnosis) const SENDERS_ENTRY: Rule = Rule {
    place: Some(Where::DataPath),
    ..rule(
        (
            "R43",
            "senders-entry",
            "A neighbour sends what sockets of this node wait for to a wrong link-layer address",
        ),
        About {
            signature: "Packets for sockets that wait arrive on an uplink and are dropped for OTHERHOST, while no device by which the node \
                        is reached is seen to have changed its link-layer address, and what others sent by it, or the same before, \
                        reached connections.",
            meaning: "Nothing is wrong with this node's device: the peer on the link, or the gateway, has another link-layer (MAC) address \
                      for it in its table of neighbours. It was set by hand there, or is that of a machine which had the address \
                      before, or of another one that has it too and answers for it. That they arrive here at all is chance: a switch \
                      sends everywhere what it does not know, and most NICs do not take what is for another.",
            check: &[
                "ip -br link show dev DEVICE",
                "tcpdump -eni DEVICE dst host ADDRESS  # the link-layer addresses of who sends, and to which it does",
                "ip neigh show to ADDRESS  # at who sends, where that is Linux",
                "arping -D -c 3 -I DEVICE ADDRESS  # whether another machine has the address too and answers for it",
            ],
            mend: &[
                "arping -U -c 3 -I DEVICE ADDRESS  # tells all neighbours the address of the device. Risk: low, where no other machine \
                 has ADDRESS by right. One who has an entry that was set by hand does not heed it.",
                "Delete the entry at who sends, so that it asks for the address anew, where that is Linux: ip neigh del ADDRESS dev \
                 DEVICE. Risk: low; but one that was set by hand comes back with what has set it.",
            ],
        },
        |view| lost(view, Kind::SendersEntry),
        // What misleads them is not on this node.
        effects::none,
    )
};

/// R24: IPv6 is off.
pub(in crate::diagnosis) const IPV6_OFF: Rule = rule(
    (
        "R24",
        "ipv6-off",
        "IPv6 is switched off where sockets wait for its packets",
    ),
    About {
        signature: "Packets for sockets that wait are dropped for IPV6DISABLED.",
        meaning: "disable_ipv6 was set for the device while connections were open.",
        check: &[
            "sysctl net.ipv6.conf.all.disable_ipv6 net.ipv6.conf.DEVICE.disable_ipv6",
            "ip -6 addr",
        ],
        mend: &[
            "sysctl -w net.ipv6.conf.DEVICE.disable_ipv6=0  # Risk: low. Addresses that were lost must be set again.",
        ],
    },
    |view| lost(view, Kind::Ipv6Off),
    effects::ipv6_off,
);

/// R31: an overlay network's device is gone.
pub(in crate::diagnosis) const OVERLAY: Rule = rule(
    ("R31", "overlay-gone", "An overlay network's device is gone"),
    About {
        signature: "Packets of a tunnel are dropped for VXLAN_VNI_NOT_FOUND.",
        meaning: "What arrives by the tunnel finds no device of its network (VNI): the agent that made it is stopped, or was \
                  half-way through making it anew.",
        check: &["ip -d link show type vxlan", "systemctl --failed"],
        mend: &[
            "Restart the network plugin's agent. Risk: pods of this node may lose their network while it starts.",
        ],
    },
    |view| lost(view, Kind::Overlay),
    effects::link_gone,
);

/// R32: their source cannot be.
pub(in crate::diagnosis) const SOURCE: Rule = rule(
    ("R32", "martian", "What arrives has a source that cannot be"),
    About {
        signature: "Packets for sockets that wait are dropped for IP_LOCAL_SOURCE, IP_LOCALNET or IP_INVALID_SOURCE.",
        meaning: "Their source is an address of this node, or one that no packet on a link may have: two machines have one \
                  address, or packets go in a loop.",
        check: &[
            "ip -br addr",
            "tcpdump -eni DEVICE host ADDRESS  # the sender's link-layer address",
        ],
        mend: &["Take the address from the other machine. Risk: that one loses it; ask whose it is."],
    },
    |view| lost(view, Kind::Source),
    effects::none,
);

/// K01: what arrives for a socket does not reach it, and no other rule says why.
pub(in crate::diagnosis) const OTHER: Rule = rule(
    (
        "K01",
        "lost-before-socket",
        "Packets arrive for sockets that wait, and reach none of them",
    ),
    About {
        signature: "Packets arrive for a socket of this node that waits for them, and end by a drop that no other rule knows, \
                    or without any.",
        meaning: "Whatever the cause: something between the device and the socket takes the packets away. The verdict names the \
                  kernel's reason and the place.",
        check: &[
            "nft list ruleset",
            "tc -s filter show dev DEVICE ingress",
            "ip -d link show dev DEVICE",
            "bpftool net list",
            "bpftool cgroup tree",
        ],
        mend: &[
            "Change the rule, filter or program that the checks show. Risk: it may be there on purpose; ask whose it is, and do \
             not flush what others made.",
            "Where they show nothing, take a recording (--record) before anything is restarted. Risk: none; a restart destroys \
             the evidence.",
        ],
    },
    |view| lost(view, Kind::Other),
    effects::receive_path,
);

/// K04: a part of what arrives for a socket does not reach it.
pub(in crate::diagnosis) const PARTLY: Rule = Rule {
    follows: &[
        "R01", "R05", "R22", "R03", "R06", "R07", "R08", "R09", "R10", "R11", "R16", "R19", "R21", "R43",
        "R24", "R31", "R32", "K01", "D02",
    ],
    ..rule(
        (
            "K04",
            "partly-lost",
            "A part of what sockets of this node wait for is dropped before them",
        ),
        About {
            signature: "Of what arrives for flows that go on, at least one packet in 20 and 6 packets in 2 s or more are dropped \
                        before their sockets. A weak sign where it is one in 100 and 5 packets, or where requests to servers of this \
                        node are lost only. Not where the kernel drops them by its protocols' rules or for want of room.",
            meaning: "A rule, filter or program between the device and the socket takes some packets away, by chance, by a limit of \
                      their rate, or since it knows some connections only; or some arrive damaged. Nobody starves, but each loss is \
                      a wait: TCP sends again after 200 ms or more, and goes slower.",
            check: &[
                "nft -a list ruleset  # numgen, limit, ct state invalid",
                "iptables-legacy-save -c; ip6tables-legacy-save -c",
                "tc -s filter show dev DEVICE ingress",
                "nstat -az TcpInCsumErrors UdpInCsumErrors",
            ],
            mend: &[
                "Change the rule, filter or program that the checks show. Risk: it may be there on purpose, to hold somebody back; \
                 ask whose it is.",
            ],
        },
        partly::examine,
        effects::receive_path,
    )
};
