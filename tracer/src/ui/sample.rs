//! Reports to show in tests.

mod alone;
mod node;
mod verdicts;

pub(crate) use alone::{alone, audit, without_systemd};

use crate::report::{
    Bytes, Capability, CapabilityState, Class, Counter, CounterKind, Drop, Flow, Followed, Fragments, Kernel,
    Ledger, Losses, Namespace, Node, Queue, Rates, Report, Role, SCHEMA, SCHEMA_VERSION, Schema, Source,
    Unresolved, Where, Window,
};

pub(crate) fn all() -> [Report; 6] {
    [
        nothing(),
        healthy(),
        incident(),
        data_path(),
        many_drops(),
        silent_losses(),
    ]
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn texts<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

fn capability(name: &str, state: CapabilityState, why: &str) -> Capability {
    Capability {
        name: text(name),
        state,
        why: text(why),
    }
}

/// The first tick of a tracer that has seen nothing yet.
pub(crate) fn nothing() -> Report {
    Report {
        schema: Schema {
            name: text(SCHEMA),
            version: SCHEMA_VERSION,
        },
        window: Window {
            start: text("2023-10-10T06:14:03.018Z"),
            end: text("2023-10-10T06:14:04.018Z"),
            seconds: 1.0,
        },
        kernel: Kernel {
            release: text("6.1.0-18-cloud-amd64"),
            host: text("node-7"),
            boot_id: text("0c5a1b9e-6f1d-4a53-9d0e-3d5b1f1f9a11"),
        },
        capabilities: [
            "arrivals",
            "drops",
            "tcp-delivery",
            "datagram-delivery",
            "sockets",
            "retransmits",
        ]
        .map(|name| capability(name, CapabilityState::Available, ""))
        .to_vec(),
        ledger: Ledger::default(),
        bytes: Bytes::default(),
        rates: Rates::default(),
        uplinks: texts(["eth0"]),
        namespaces: vec![],
        namespaces_total: 0,
        place: Where::Unknown,
        verdicts: vec![],
        drops: vec![],
        counters: vec![],
        counters_total: 0,
        lost_before_arrival: 0,
        queues: vec![],
        queues_total: 0,
        forwards: vec![],
        forwards_total: 0,
        neighbours: vec![],
        unresolved: vec![],
        unresolved_total: 0,
        fragments: Fragments::default(),
        starved: vec![],
        starved_total: 0,
        losses: Losses::default(),
        node: Node::default(),
        filter: None,
    }
}

/// Traffic that arrives and is delivered, with the few drops that every node has.
pub(crate) fn healthy() -> Report {
    Report {
        window: Window {
            end: text("2023-10-10T06:18:19.018Z"),
            seconds: 256.0,
            ..nothing().window
        },
        ledger: Ledger {
            arrived: 316_402,
            delivered: 301_977,
            forwarded: 12_220,
            answered: 2_150,
            dropped: 41,
            queued: 14,
            unexplained: 0,
        },
        rates: Rates {
            arrived: 1234.2,
            arrived_bytes: 15.24e6,
            delivered: 1178.4,
            forwarded: 47.6,
            answered: 8.0,
            dropped: 0.2,
            unexplained: 0.0,
        },
        place: Where::Healthy,
        drops: vec![
            drop(
                "TCP_OLD_DATA",
                "tcp_data_queue+0x3f1",
                Class::Protocol,
                32,
                0.2,
                true,
            ),
            drop("NO_SOCKET", "ping_rcv+0xa4", Class::Environment, 9, 0.0, false),
        ],
        ..nothing()
    }
}

fn drop(reason: &str, location: &str, class: Class, packets: u64, rate: f64, socket_found: bool) -> Drop {
    Drop {
        reason: text(reason),
        location: text(location),
        class,
        packets,
        bytes: packets * 92,
        rate,
        socket_found,
        incoming: true,
        in_ledger: true,
        device: text("eth0"),
        protocol: text("tcp"),
        netns: text("host:4026531840"),
        units: vec![],
        detail: String::new(),
    }
}

/// A flow that this node opened and that gets no reply.
pub(crate) fn starved_flow() -> Flow {
    Flow {
        protocol: text("tcp"),
        local: text("10.10.0.2:40000"),
        remote: text("192.0.2.10:6443"),
        netns: text("host:4026531840"),
        reply: true,
        state: text("established"),
        pid: 1234,
        command: text("kubelet"),
        cgroup: text("/system.slice/kubelet.service"),
        unit: text("kubelet.service"),
        sent: 31,
        arrived: 1_212,
        delivered: 0,
        matched: 0,
        queued: 0,
        read: 0,
        dropped: 1_212,
        retransmitted: 27,
        last_drop: text("NOT_SPECIFIED ip_forward+0x1c4"),
        starved_seconds: 251.8,
    }
}

/// The incident of October 2023: replies find their socket and are routed as foreign.
pub(crate) fn incident() -> Report {
    let kubelet = starved_flow();
    let containerd = Flow {
        local: text("10.10.0.2:51544"),
        remote: text("198.51.100.77:443"),
        state: text("syn_sent"),
        pid: 811,
        command: text("containerd"),
        cgroup: text("/system.slice/containerd.service"),
        unit: text("containerd.service"),
        sent: 7,
        arrived: 7,
        delivered: 0,
        matched: 0,
        queued: 0,
        read: 0,
        dropped: 7,
        retransmitted: 6,
        starved_seconds: 63.4,
        ..starved_flow()
    };
    let chrony = Flow {
        protocol: text("udp"),
        local: text("[2001:db8:1::2]:44123"),
        remote: text("[2001:db8:ffff:1234:5678:9abc:def0:123]:123"),
        state: String::new(),
        pid: 0,
        command: String::new(),
        cgroup: String::new(),
        unit: String::new(),
        sent: 4,
        arrived: 4,
        delivered: 0,
        matched: 0,
        queued: 0,
        read: 0,
        dropped: 4,
        retransmitted: 0,
        last_drop: text("NEIGH_FAILED neigh_invalidate+0x11e"),
        starved_seconds: 48.0,
        ..starved_flow()
    };
    let flows = vec![kubelet, containerd, chrony];
    let mut drops = vec![
        drop(
            "NOT_SPECIFIED",
            "ip_forward+0x1c4",
            Class::State,
            12_319,
            48.2,
            true,
        ),
        drop(
            "NEIGH_FAILED",
            "neigh_invalidate+0x11e",
            Class::State,
            4,
            0.0,
            false,
        ),
        drop(
            "TCP_OLD_DATA",
            "tcp_data_queue+0x3f1",
            Class::Protocol,
            2,
            0.0,
            true,
        ),
    ];
    drops[0].units = texts(["kubelet.service", "containerd.service"]);
    drops[1].protocol = text("udp");
    Report {
        window: healthy().window,
        ledger: Ledger {
            arrived: 12_702,
            delivered: 212,
            forwarded: 0,
            answered: 163,
            dropped: 12_325,
            queued: 0,
            unexplained: 2,
        },
        rates: Rates {
            arrived: 49.3,
            arrived_bytes: 4535.6,
            delivered: 0.0,
            forwarded: 0.0,
            answered: 1.0,
            dropped: 48.2,
            unexplained: 0.1,
        },
        place: Where::GuestKernel,
        verdicts: vec![verdicts::foreign(&flows), verdicts::stray()],
        drops,
        starved_total: flows.len() as u64,
        starved: flows,
        node: node::upgrade(),
        ..nothing()
    }
}

/// Requests and retransmissions leave, nothing comes back.
pub(crate) fn data_path() -> Report {
    let silent = |port: u16, pid, command: &str, seconds| Flow {
        local: format!("10.10.0.2:{port}"),
        pid,
        command: text(command),
        unit: format!("{command}.service"),
        arrived: 0,
        dropped: 0,
        sent: 14,
        retransmitted: 9,
        last_drop: String::new(),
        starved_seconds: seconds,
        ..starved_flow()
    };
    let flows = vec![
        silent(40000, 1234, "kubelet", 31.0),
        silent(51544, 811, "containerd", 12.0),
    ];
    Report {
        window: Window {
            end: text("2023-10-10T06:14:48.018Z"),
            seconds: 45.0,
            ..nothing().window
        },
        ledger: Ledger {
            arrived: 1_507,
            delivered: 1_466,
            answered: 41,
            ..Ledger::default()
        },
        rates: Rates {
            arrived: 0.6,
            arrived_bytes: 27.6,
            answered: 0.6,
            ..Rates::default()
        },
        place: Where::DataPath,
        verdicts: vec![verdicts::silent(&flows)],
        starved_total: flows.len() as u64,
        starved: flows,
        ..nothing()
    }
}

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
            "unix_stream_connect+0x5aa",
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
            delivered: 901,
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
        namespaces: namespaces(),
        namespaces_total: 3,
        place: Where::Unknown,
        drops,
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
