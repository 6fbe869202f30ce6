//! Nodes on which something is found: in the kernel, and in the data path.

use super::{drop, healthy, node, nothing, text, texts, verdicts};
use crate::report::{Class, Destination, Flow, Ledger, Rates, Report, Where, Window};

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
        destination: Destination::Socket,
        sent: 31,
        arrived: 1_212,
        delivered: Some(0),
        matched: 0,
        queued: 0,
        read: Some(0),
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
        delivered: Some(0),
        matched: 0,
        queued: 0,
        read: Some(0),
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
        delivered: Some(0),
        matched: 0,
        queued: 0,
        read: Some(0),
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
