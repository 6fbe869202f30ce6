//! Verdicts to show in tests.

use super::{text, texts};
use crate::report::{
    Actor, Cause, Coincidence, Confidence, Evidence, Fact, Flow, Ledger, Relation, Step, Verdict, Where,
};

pub(super) fn unknown() -> Cause {
    Cause {
        relation: Relation::Unknown,
        text: text("No change that was seen on this node can bring it about."),
        change: None,
        at: None,
        seconds_before: None,
        by: None,
        chain: vec![],
    }
}

fn drop(packets: u64, words: &str) -> Evidence {
    Evidence {
        text: text(words),
        fact: Fact::Drop {
            reason: text("NOT_SPECIFIED"),
            location: text("ip_forward+0x1c4"),
            packets,
        },
    }
}

fn flow(remote: &str, arrived: u64, words: &str) -> Evidence {
    Evidence {
        text: text(words),
        fact: Fact::Flow {
            protocol: text("tcp"),
            local: text("10.10.0.2:40000"),
            remote: text(remote),
            arrived,
            delivered: Some(0),
            dropped: arrived,
        },
    }
}

/// The incident: the rule to table local was deleted.
pub(super) fn foreign(flows: &[Flow]) -> Verdict {
    Verdict {
        id: text("R01"),
        title: text("Kernel found the socket but routed the reply as foreign"),
        place: Some(Where::GuestKernel),
        confidence: Confidence::Conclusive,
        explanation: text(
            "12,319 packets for 10.10.0.2 arrived on eth0 and the kernel found the socket of each, then routed it as if \
             it were for another machine and dropped it in ip_forward: no rule looks up the table local. Every process of \
             this node has lost the network, loopback included.",
        ),
        since: text("2023-10-10T06:14:07.412Z"),
        last: text("2023-10-10T06:18:18.518Z"),
        cause: Cause {
            relation: Relation::Explains,
            text: text(
                "IPv4 rule 0: from all lookup local went away, by systemd-networkd[812] (systemd-networkd.service) at \
                 06:14:05 UTC, 2.1 s before the first loss.",
            ),
            change: Some(4),
            at: Some(text("2023-10-10T06:14:05.311Z")),
            seconds_before: Some(2.1),
            by: Some(Actor {
                pid: 812,
                command: text("systemd-networkd"),
                unit: text("systemd-networkd.service"),
                container: String::new(),
                pod: String::new(),
                parent: None,
            }),
            chain: vec![
                Step {
                    at: text("2023-10-10T06:14:04.900Z"),
                    text: text(
                        "systemd-networkd.service had been started anew at 06:14:04 UTC (job: try-restart queued)",
                    ),
                },
                Step {
                    at: text("2023-10-10T06:13:31.000Z"),
                    text: text(
                        "while dpkg[700] (apt-daily-upgrade.service) had packages in work, by the lock of dpkg, which was held since 06:13:31 UTC",
                    ),
                },
                Step {
                    at: text("2023-10-10T06:13:29.000Z"),
                    text: text(
                        "apt-daily-upgrade.timer had elapsed at 06:13:29 UTC and started apt-daily-upgrade.service",
                    ),
                },
            ],
        },
        coincides: vec![Coincidence {
            change: 3,
            seconds_before: 2.5,
            text: text(
                "systemd-networkd.service changed from active (running) to active (running), new run at 06:14:04 UTC",
            ),
        }],
        coincides_total: 1,
        also: vec![],
        also_total: 0,
        under: None,
        mended: None,
        evidence: vec![
            drop(
                12_319,
                "12,319 packets NOT_SPECIFIED at ip_forward+0x1c4, socket found, device eth0",
            ),
            flow(
                "192.0.2.10:6443",
                1212,
                "tcp 10.10.0.2:40000 -> 192.0.2.10:6443 (kubelet): 1,212 arrived, 0 delivered",
            ),
            Evidence {
                text: text("97 % of what arrived was dropped; 2 packets are unexplained"),
                fact: Fact::Ledger(Ledger {
                    arrived: 12_700,
                    dropped: 12_319,
                    ..Ledger::default()
                }),
            },
        ],
        flows_total: flows.len() as u64,
        flows: flows.to_vec(),
        units: texts(["kubelet.service", "containerd.service"]),
        check: texts(["ip rule", "ip route get 10.10.0.2 from 192.0.2.10 iif eth0"]),
        remedy: texts([
            "ip rule add pref 0 lookup local    # works at once, safe: this is the kernel's own default",
            "ManageForeignRoutingPolicyRules=no in /etc/systemd/networkd.conf.d/    # so that it lasts",
        ]),
    }
}

/// A weak sign.
pub(super) fn stray() -> Verdict {
    Verdict {
        id: text("R12"),
        title: text("Nothing listens on udp port 8125"),
        place: Some(Where::Process),
        confidence: Confidence::Weak,
        explanation: text("2 packets for udp port 8125 found no socket."),
        since: text("2023-10-10T06:16:40.000Z"),
        last: text("2023-10-10T06:18:18.518Z"),
        cause: unknown(),
        coincides: vec![],
        coincides_total: 0,
        also: vec![],
        also_total: 0,
        under: None,
        mended: None,
        evidence: vec![],
        flows: vec![],
        flows_total: 0,
        units: vec![],
        check: texts(["ss -lun sport = :8125"]),
        remedy: vec![],
    }
}

/// Nothing comes back.
pub(super) fn silent(flows: &[Flow]) -> Verdict {
    Verdict {
        id: text("D01"),
        title: text("Requests leave, nothing arrives for them"),
        place: Some(Where::DataPath),
        confidence: Confidence::Strong,
        explanation: text(
            "28 packets and 18 retransmissions of 2 flows left by eth0 in the last 31 s, and not one packet of them \
             arrived on eth0. The kernel dropped none of them. The fault is outside this machine.",
        ),
        since: text("2023-10-10T06:14:17.000Z"),
        last: text("2023-10-10T06:14:47.518Z"),
        cause: unknown(),
        coincides: vec![],
        coincides_total: 0,
        also: vec![],
        also_total: 0,
        under: None,
        mended: None,
        evidence: vec![flow(
            "192.0.2.10:6443",
            0,
            "2 flows sent 28 packets, 18 of them again, and 0 arrived",
        )],
        flows_total: flows.len() as u64,
        flows: flows.to_vec(),
        units: texts(["kubelet.service", "containerd.service"]),
        check: texts(["ip -s link show eth0", "ip neigh show dev eth0"]),
        remedy: texts(["Ask whoever runs the network behind eth0, and give them the flows above."]),
    }
}
