//! Reports to show in tests.

mod alone;
mod broken;
mod losses;
mod node;
mod verdicts;

pub(crate) use alone::{alone, audit, without_systemd};
pub(crate) use broken::{data_path, incident, starved_flow};
pub(crate) use losses::{many_drops, silent_losses};

use crate::report::{
    Bytes, Capability, CapabilityState, Class, Confidence, Drop, Episode, Fragments, Kernel, Ledger, Losses,
    Node, Rates, Report, SCHEMA, SCHEMA_VERSION, Schema, Where, Window,
};

pub(crate) fn all() -> [Report; 7] {
    [
        nothing(),
        healthy(),
        recovered(),
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
        namespaces_watched: 1,
        namespaces: vec![],
        namespaces_total: 0,
        place: Where::Unknown,
        settling: false,
        verdicts: vec![],
        episodes: vec![],
        episodes_total: 0,
        drops: vec![],
        no_packets: 0,
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

/// The same after the network was broken twice.
pub(crate) fn recovered() -> Report {
    let second = Episode {
        onset: text("2023-10-10T06:14:05.018Z"),
        told: text("2023-10-10T06:14:06.518Z"),
        end: Some(text("2023-10-10T06:16:10.018Z")),
        seconds: 125.0,
        peak: text("2023-10-10T06:15:00.018Z"),
        id: text("R01"),
        title: text("Kernel found the socket but routed the reply as foreign"),
        place: Some(Where::GuestKernel),
        confidence: Confidence::Conclusive,
        cause: verdicts::foreign(&[]).cause,
        mended: None,
        led: texts(["D01", "R01"]),
        beside: vec![],
        flows: 14,
        starved: 9,
        units: texts(["kubelet.service", "web.service"]),
        units_total: 2,
        recurrence: 2,
    };
    let first = Episode {
        onset: text("2023-10-09T06:20:00.018Z"),
        told: text("2023-10-09T06:20:00.518Z"),
        end: Some(text("2023-10-09T06:20:00.518Z")),
        seconds: 0.5,
        peak: text("2023-10-09T06:20:00.518Z"),
        confidence: Confidence::Strong,
        cause: verdicts::unknown(),
        mended: None,
        led: texts(["R01"]),
        beside: vec![],
        flows: 0,
        starved: 1,
        units: vec![],
        units_total: 0,
        recurrence: 1,
        ..second.clone()
    };
    Report {
        episodes: vec![second, first],
        episodes_total: 2,
        ..healthy()
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
        version: text(if location.starts_with("ip6") {
            "IPv6"
        } else {
            "IPv4"
        }),
        netns: text("host:4026531840"),
        units: vec![],
        detail: String::new(),
    }
}
