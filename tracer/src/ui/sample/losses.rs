//! Nodes that lose much: by drops, and where no event tells of it.

use super::{capability, drop, healthy, nothing, starved_flow, text, texts};
use crate::report::{
    Bytes, CapabilityState, Class, Counter, CounterKind, Flow, Followed, Fragments, Ledger, Losses,
    Namespace, Queue, Rates, Report, Role, Source, Unresolved, Where, Window,
};

/// A node, a pod that loses packets on its way, and one that has ended.
fn namespaces() -> Vec<Namespace> {
    let ledger = |forwarded, delivered, dropped, queued| Ledger {
        arrived: forwarded + delivered + dropped + queued,
        forwarded,
        delivered,
        dropped,
        queued,
        ..Ledger::default()
    };
    let one = |name: &str, inode, role, ledger| Namespace {
        name: text(name),
        inode,
        role,
        ended: None,
        uplinks: texts(["eth0"]),
        pid: 0,
        command: String::new(),
        cgroup: String::new(),
        unit: String::new(),
        ledger,
        bytes: Bytes::default(),
        rates: Rates::default(),
        followed: None,
    };
    let host = one("host", 4_026_531_840, Role::Node, ledger(2_200_140, 901, 71, 3));
    let pod = Namespace {
        pid: 4321,
        command: text("coredns"),
        cgroup: text("/kubepods.slice/cri-0c5a1b9e.scope"),
        rates: Rates {
            arrived: 2_198.0,
            ..Rates::default()
        },
        followed: Some(Followed {
            forwarded: 1_988_400,
            arrived: 1_988_385,
            lost_on_the_way: 17,
        }),
        ..one(
            "cni-0c5a1b9e-6f1d-4a53-9d0e-3d5b1f1f9a11",
            4_026_532_201,
            Role::Pod,
            ledger(0, 1_988_311, 70, 4),
        )
    };
    let ended = Namespace {
        ended: Some(text("2023-10-10T06:14:07.000Z")),
        ..one("pid:912 pause", 4_026_532_377, Role::Pod, ledger(0, 41, 0, 0))
    };
    vec![host, pod, ended]
}

/// A process that does not accept, another one that does not read, a neighbour that does not answer, and a device that
/// has no room.
pub(crate) fn silent_losses() -> Report {
    let counter = |source, name: &str, device: &str, packets, kind, said: &str| Counter {
        name: text(name),
        source,
        netns: text("host:4026531840"),
        device: text(device),
        packets,
        rate: 12.5,
        class: Class::Resource,
        kind,
        text: text(said),
    };
    let queue = Queue {
        protocol: text("tcp"),
        local: text("10.10.0.2:80"),
        remote: text("::"),
        netns: text("host:4026531840"),
        state: text("LISTEN"),
        pid: 77,
        command: text("nginx"),
        unit: text("nginx.service"),
        waiting: 129,
        limit: Some(128),
        full: true,
        drops: Some(1_204),
        age: 84.0,
    };
    let mut drops = healthy().drops;
    drops.insert(
        0,
        drop("accept_queue_full", "", Class::Resource, 1_204, 12.5, true),
    );
    Report {
        drops,
        counters: vec![
            counter(
                Source::Netstat,
                "TcpExtListenOverflows",
                "",
                1_204,
                CounterKind::Moves,
                "the accept queue of a listener was full: the process does not accept",
            ),
            counter(
                Source::Device,
                "rx_missed_errors",
                "eth0",
                88_102,
                CounterKind::Before,
                "the device had no buffer for the packet",
            ),
            counter(
                Source::Snmp,
                "UdpRcvbufErrors",
                "",
                31,
                CounterKind::Evented,
                "the receive queue of a socket was full: the process reads too slowly",
            ),
        ],
        counters_total: 3,
        lost_before_arrival: 88_102,
        queues: vec![
            queue.clone(),
            Queue {
                protocol: text("udp"),
                local: text("10.10.0.2:53"),
                state: text("UNCONN"),
                pid: 0,
                command: text(""),
                unit: text(""),
                waiting: 212_992,
                limit: None,
                full: false,
                drops: Some(31),
                age: 12.0,
                ..queue
            },
        ],
        queues_total: 2,
        unresolved: vec![Unresolved {
            address: text("10.244.0.9"),
            device: text("cni0"),
            netns: text("host:4026531840"),
            packets: 3,
            age: 2.5,
        }],
        unresolved_total: 1,
        fragments: Fragments {
            datagrams: 3,
            memory: 4_608,
        },
        ..healthy()
    }
}

/// A busy node with several namespaces where much is dropped and not all could be recorded.
pub(crate) fn many_drops() -> Report {
    let mut drops = vec![
        drop(
            "NETFILTER_DROP",
            "nft_do_chain+0x4a7",
            Class::Policy,
            1_204_311,
            9_812.0,
            false,
        ),
        drop(
            "SOCKET_RCVBUFF",
            "__udp_queue_rcv_skb+0x1d2",
            Class::Resource,
            88_102,
            703.4,
            true,
        ),
        drop(
            "TCP_LISTEN_OVERFLOW",
            "tcp_v4_syn_recv_sock+0x2c",
            Class::Resource,
            4_410,
            12.0,
            true,
        ),
        drop(
            "IP_RPFILTER",
            "ip_rcv_finish_core.isra.0+0x1f8",
            Class::State,
            2_201,
            4.0,
            false,
        ),
        drop(
            "UNICAST_IN_L2_MULTICAST",
            "ip_rcv_finish_core+0x3ee",
            Class::Environment,
            977,
            0.9,
            false,
        ),
        drop(
            "NOT_SPECIFIED",
            "some_module_rx+0x5aa",
            Class::Unclassified,
            412,
            0.4,
            false,
        ),
        drop(
            "TCP_OFOMERGE",
            "tcp_ofo_queue+0x1b1",
            Class::Protocol,
            166,
            0.1,
            true,
        ),
        drop(
            "NEIGH_FAILED",
            "neigh_invalidate+0x11e",
            Class::State,
            31,
            0.0,
            false,
        ),
        drop(
            "NO_SOCKET",
            "__udp4_lib_rcv+0xa41",
            Class::Unclassified,
            12,
            0.0,
            false,
        ),
        drop(
            "QDISC_DROP",
            "__dev_queue_xmit+0xd33",
            Class::Resource,
            7,
            0.0,
            true,
        ),
        drop("0xffff", "0xffffffffc0a81234", Class::Unclassified, 1, 0.0, false),
    ];
    drops[1].protocol = text("udp");
    drops[1].units = texts(["statsd.service"]);
    drops[5].device = String::new();
    drops[5].protocol = String::new();
    drops[7].netns = text("cni-1f0c:4026532871");
    drops[7].device = text("lxc5b1c7e0a9f21");
    drops[7].in_ledger = false;
    drops[9].incoming = false;
    drops[9].in_ledger = false;
    let dropped = drops
        .iter()
        .filter(|drop| drop.in_ledger)
        .map(|drop| drop.packets)
        .sum();
    let (delivered, forwarded, answered, queued, unexplained) =
        (981_220_418, 4_100_212, 20_077, 212_000, 3_171);
    let starved: Vec<Flow> = (0..9_u16)
        .map(|n| Flow {
            protocol: text("udp"),
            local: text("0.0.0.0:8125"),
            remote: format!("203.0.113.{n}:{}", 30_000 + n),
            reply: false,
            state: text("close"),
            pid: 4_100_200,
            command: text("statsd"),
            unit: text("statsd.service"),
            netns: if n == 3 {
                text("cni-1f0c:4026532871")
            } else {
                text("host:4026531840")
            },
            sent: 0,
            arrived: 12_000 - u64::from(n) * 977,
            delivered: Some(901),
            dropped: 11_000 - u64::from(n) * 977,
            retransmitted: 0,
            last_drop: text("SOCKET_RCVBUFF __udp_queue_rcv_skb+0x1d2"),
            starved_seconds: 21.5 - f64::from(n),
            ..starved_flow()
        })
        .collect();
    let mut capabilities = nothing().capabilities;
    capabilities[2] = capability(
        "tcp-delivery",
        CapabilityState::Partial,
        "no tracepoint sk_data_ready on this kernel: reads are seen, the receive queue is not",
    );
    capabilities.push(capability(
        "drop-sockets",
        CapabilityState::Unavailable,
        "kfree_skb has no receiving socket before 6.11: owners of late drops are not named",
    ));
    Report {
        window: Window {
            start: text("2023-10-09T22:02:11.000Z"),
            end: text("2023-10-10T06:18:19.018Z"),
            seconds: 29_768.0,
        },
        capabilities,
        ledger: Ledger {
            arrived: delivered + forwarded + answered + dropped + queued + unexplained,
            delivered,
            forwarded,
            answered,
            dropped,
            queued,
            unexplained: unexplained as i64,
        },
        rates: Rates {
            arrived: 131_412.5,
            arrived_bytes: 1.18e9,
            delivered: 118_700.2,
            forwarded: 2_200.0,
            answered: 0.7,
            dropped: 10_530.8,
            unexplained: 0.0,
        },
        uplinks: texts(["eth0", "eth1"]),
        namespaces_watched: 3,
        namespaces: namespaces(),
        namespaces_total: 3,
        place: Where::Unknown,
        drops,
        no_packets: 412,
        starved_total: starved.len() as u64,
        starved,
        losses: Losses {
            examples_not_sent: 1_288_004,
            ring_full: 12,
            map_full: 3_171,
            in_other: 41_006,
            ..Losses::default()
        },
        ..nothing()
    }
}
