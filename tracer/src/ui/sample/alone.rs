//! What `tracer node` and `tracer audit` tell of the node of [`super::incident`].

use super::{capability, incident, node, text, texts};
use crate::audit::{self, Audit, Effect, Finding, Idle, Trap};
use crate::report::{
    CapabilityState, Dropper, NODE_SCHEMA, NODE_SCHEMA_VERSION, Node, NodeReport, Schema, Setting,
};

/// The node, some seconds after the start of the upgrade.
pub(crate) fn alone() -> NodeReport {
    let setting = |object: &str, value: &str| Setting {
        object: text(object),
        netns: String::new(),
        value: text(value),
    };
    NodeReport {
        schema: Schema {
            name: text(NODE_SCHEMA),
            version: NODE_SCHEMA_VERSION,
        },
        at: text("2023-10-10T06:14:12.018Z"),
        kernel: incident().kernel,
        uptime: 1_904_521.3,
        capabilities: vec![
            capability("systemd", CapabilityState::Available, ""),
            capability(
                "configuration",
                CapabilityState::Partial,
                "no CAP_BPF: BPF programs are not seen",
            ),
        ],
        node: Node {
            changes: vec![],
            changes_total: 0,
            leading_total: 0,
            bands: vec![],
            baseline: None,
            differences: vec![],
            differences_total: 0,
            ..node::upgrade()
        },
        settings: vec![
            setting("IPv4 rule 32766: from all lookup main", ""),
            setting("sysctl net.ipv4.conf.all.rp_filter", "0"),
            setting("sysctl net.ipv4.conf.eth0.rp_filter", "1"),
            setting("sysctl net.ipv4.conf.eth0.100.rp_filter", "0"),
            setting("sysctl net.ipv4.ip_forward", "1"),
        ],
        settings_total: 5,
        figures: vec![setting("sysctl net.netfilter.nf_conntrack_count", "12")],
        droppers: vec![Dropper {
            object: text("table inet guard, chain in, handle 7"),
            netns: String::new(),
            verdict: text("drop"),
            packets: Some(17),
            bytes: Some(1_020),
        }],
        droppers_total: 1,
    }
}

/// The same node without a system to ask.
pub(crate) fn without_systemd() -> NodeReport {
    let mut report = alone();
    report.capabilities[0] = capability(
        "systemd",
        CapabilityState::Unavailable,
        "systemd cannot be reached: /run/dbus/system_bus_socket: it is not there; \
         /run/systemd/private: it is not there; what systemd does (units, jobs, timers) is not seen; --systemd-bus ADDRESS \
         names another bus",
    );
    report.node.units.clear();
    report.node.units_total = 0;
    report.node.timers.clear();
    report.node.timers_total = 0;
    report
}

/// What its files say.
pub(crate) fn audit() -> Audit {
    let upgrade = Finding {
        unit: text("apt-daily-upgrade.timer"),
        starts: text("apt-daily-upgrade.service"),
        effects: vec![Effect::Packages],
        runs: texts(["apt.systemd.daily install"]),
        schedule: texts(["OnCalendar=*-*-* 6:00"]),
        random_delay: text("60m"),
        next: Some(text("2023-10-11T06:41:07.000Z")),
        run_limit: text("infinity"),
        stop_limit: text("900"),
        kill_mode: text("process"),
        accuracy: text("1h"),
        conditions: texts(["ConditionACPower=true"]),
        traps: vec![Trap::Persistent, Trap::KillModeProcess, Trap::NoLimit],
        remedy: texts(["systemctl mask --now apt-daily-upgrade.timer"]),
        ..Finding::default()
    };
    let by_cron = Finding {
        unit: text("/etc/cron.d/night"),
        line: Some(2),
        starts: text("/etc/cron.d/night"),
        effects: vec![Effect::Network, Effect::Unknown],
        runs: texts(["systemctl restart systemd-networkd (/opt/night.sh:4)"]),
        perhaps: vec![Effect::Packages],
        mentions: texts(["apt-get (/opt/tidy.py:7)"]),
        missing: texts(["/opt/gone.sh"]),
        schedule: texts(["0 3 * * *"]),
        traps: vec![Trap::NoLimit],
        remedy: texts(["sed -i '2s/^/#/' /etc/cron.d/night"]),
        ..Finding::default()
    };
    let idle = Finding {
        unit: text("/etc/cron.daily/apt-compat"),
        starts: text("/etc/cron.daily/apt-compat"),
        effects: vec![Effect::Packages],
        idle: Some(Idle::LeftToSystemd),
        ..upgrade.clone()
    };
    let by_condition = Finding {
        unit: text("cloud-init.service"),
        starts: text("cloud-init.service"),
        effects: vec![Effect::Network],
        conditions: texts(["ConditionPathExists=!/etc/cloud/cloud-init.disabled (does not hold)"]),
        idle: Some(Idle::Condition),
        ..Finding::default()
    };
    Audit {
        schema: Schema {
            name: text(audit::SCHEMA),
            version: audit::SCHEMA_VERSION,
        },
        findings: vec![upgrade, by_cron, idle, by_condition],
        unread: texts(["/var/spool/cron/crontabs: Permission denied (os error 13)"]),
        never: texts(["/etc/cron.d/old:3: hour `25` is not from 0 to 23: that line is never run"]),
        unknown: texts(["certbot.timer"]),
        no_units: false,
    }
}
