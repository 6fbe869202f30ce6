//! What the node of [`super::incident`] told beside its packets: an upgrade that stopped half-way.

use crate::report::{
    Actor, Band, Became, Change, ChangeKind, Deadline, Difference, Following, Invariant, InvariantState,
    Node, Onsets, Outcome, Packages, PackagesStanding, Run, Span, Timer, Unit, Unknown, Upgrade, What,
};

const RULE: &str = "IPv4 rule 0: from all lookup local";

fn actor(command: &str, pid: u32, unit: &str) -> Option<Actor> {
    Some(Actor {
        pid,
        command: command.to_owned(),
        unit: unit.to_owned(),
        container: String::new(),
        pod: String::new(),
        parent: None,
    })
}

fn past_upgrade(begun: &str, ended: Option<&str>, outcome: Outcome) -> Upgrade {
    let time = |at: &str| format!("2023-10-{at}.000Z");
    Upgrade {
        begun: time(begun),
        ended: ended.map(time),
        last: (outcome == Outcome::Interrupted).then(|| time("07T06:22:40")),
        outcome,
        command: "/usr/bin/unattended-upgrade".to_owned(),
        requested_by: String::new(),
        error: String::new(),
        installed: 1,
        upgraded: 14,
        removed: 0,
        configured: 0,
        names: ["systemd", "udev", "linux-image-6.1.0-13-amd64"]
            .map(str::to_owned)
            .into(),
        more: 12,
        onsets: u64::from(outcome == Outcome::InWork),
    }
}

fn networkd() -> Option<Actor> {
    actor("systemd-networkd", 812, "systemd-networkd.service")
}

fn change(
    number: u64,
    at: &str,
    kind: ChangeKind,
    object: &str,
    before: Option<&str>,
    after: Option<&str>,
) -> Change {
    Change {
        number,
        at: format!("2023-10-10T{at}Z"),
        kind,
        what: None,
        object: object.to_owned(),
        netns: String::new(),
        before: before.map(str::to_owned),
        after: after.map(str::to_owned),
        by: None,
        by_unknown: (kind == ChangeKind::Setting).then_some(Unknown::Compared),
        noticed: false,
        follows: None,
        with: vec![],
    }
}

fn unit(name: &str, active: &str, sub: &str) -> Unit {
    Unit {
        name: name.to_owned(),
        active: active.to_owned(),
        sub: sub.to_owned(),
        result: "success".to_owned(),
        main_pid: 0,
        cgroup: format!("/system.slice/{name}"),
        invocation: String::new(),
        starts: 0,
        restarts: 0,
        start_limit_hit: false,
        reload_result: String::new(),
        frozen: false,
        processes: 0,
        job: String::new(),
        job_limit: None,
        deadline: None,
        arrived: 0,
        delivered: 0,
        starved: 0,
    }
}

fn broken(object: &str, text: &str) -> Invariant {
    Invariant {
        object: object.to_owned(),
        netns: String::new(),
        state: InvariantState::Broken,
        text: text.to_owned(),
        since: Some("2023-10-10T06:14:07.352Z".to_owned()),
        by: networkd(),
        by_unknown: None,
        follows: None,
    }
}

pub(super) fn upgrade() -> Node {
    const APT: &str = "apt-daily-upgrade.service";
    let changes = vec![
        change(
            7,
            "06:14:07.412",
            ChangeKind::Starvation,
            "",
            None,
            Some("3 flows begin to starve"),
        ),
        Change {
            noticed: true,
            follows: Some(6),
            ..change(
                8,
                "06:14:07.390",
                ChangeKind::Setting,
                "kernel's answer for 127.0.0.1 from lo",
                Some("local"),
                Some("unicast via 10.10.0.1 dev eth0"),
            )
        },
        Change {
            by: networkd(),
            by_unknown: None,
            with: vec![Following {
                what: What::Answer,
                became: Became::Changed,
                number: 1,
            }],
            ..change(6, "06:14:07.352", ChangeKind::Setting, RULE, Some(""), None)
        },
        change(
            5,
            "06:14:07.290",
            ChangeKind::Unit,
            "systemd-networkd.service",
            Some("active (running)"),
            Some("active (running)"),
        ),
        change(
            4,
            "06:14:07.220",
            ChangeKind::Job,
            "systemd-networkd.service",
            None,
            Some("try-restart running"),
        ),
        change(
            3,
            "06:14:07.030",
            ChangeKind::Notice,
            "",
            None,
            Some("systemd runs itself anew"),
        ),
        Change {
            by: actor("unattended-upgr", 4711, APT),
            by_unknown: None,
            ..change(
                2,
                "06:14:04.500",
                ChangeKind::Packages,
                "dpkg",
                Some("all packages whole"),
                Some("in work"),
            )
        },
        change(
            1,
            "06:14:03.100",
            ChangeKind::Timer,
            "apt-daily-upgrade.timer",
            None,
            Some("elapsed, starts apt-daily-upgrade.service"),
        ),
    ];
    let day = |at: &str| format!("2023-10-{at}.000Z");
    let run = |begun, ended: Option<&str>, result: &str| Run {
        begun: day(begun),
        ended: ended.map(day),
        result: result.to_owned(),
        by_timer: begun.starts_with("10T"),
    };
    let band = |at: &str, arrived, delivered, dropped, starved| Band {
        at: format!("2023-10-10T{at}.000Z"),
        arrived,
        delivered,
        dropped,
        starved,
        partial: at == "06:14:10",
    };
    let units = vec![
        Unit {
            starved: 1,
            main_pid: 733,
            arrived: 421,
            delivered: 400,
            ..unit("kubelet.service", "active", "running")
        },
        Unit {
            job: "start running".to_owned(),
            deadline: Some(Deadline::default()),
            ..unit(APT, "activating", "start")
        },
        Unit {
            deadline: Some(Deadline {
                seconds: Some(760.0),
                action: "SIGKILL to the main process; the others go on".to_owned(),
                ..Deadline::default()
            }),
            job: "stop running".to_owned(),
            ..unit("unattended-upgrades.service", "deactivating", "stop-sigterm")
        },
        Unit {
            starts: 1,
            ..unit("systemd-networkd.service", "active", "running")
        },
        Unit {
            result: "signal".to_owned(),
            processes: 3,
            ..unit("apt-daily.service", "failed", "failed")
        },
        unit("getty.target", "active", "active"),
        unit("apt-daily-upgrade-prepare.service", "inactive", "dead"),
    ];
    Node {
        changes_total: changes.len() as u64,
        leading_total: changes.len() as u64 - 1,
        changes,
        bands: vec![
            band("06:13:50", 1200, 1180, 0, 0),
            band("06:14:00", 900, 410, 400, 3),
            band("06:14:10", 800, 0, 790, 3),
        ],
        baseline: Some("2023-10-10T06:14:00.018Z".to_owned()),
        differences: vec![Difference {
            object: RULE.to_owned(),
            netns: String::new(),
            before: Some(String::new()),
            now: None,
            at: "2023-10-10T06:14:07.352Z".to_owned(),
            by: networkd(),
            by_unknown: None,
            follows: None,
        }],
        differences_total: 1,
        invariants: vec![
            broken(
                "IPv4 rule to table local",
                "no rule of IPv4 looks table local up: packets for this node's own addresses are taken for somebody else's",
            ),
            broken(
                "kernel's answer for 127.0.0.1 from lo",
                "127.0.0.1 does not lead to lo: the kernel's answer is unicast via 10.10.0.1 dev eth0",
            ),
        ],
        invariants_broken: 2,
        invariants_total: 9,
        units_as_of: None,
        units_total: units.len() as u64,
        units,
        timers: vec![Timer {
            result: String::new(),
            name: "apt-daily-upgrade.timer".to_owned(),
            unit: APT.to_owned(),
            active: true,
            next: Some("2023-10-11T06:41:07.000Z".to_owned()),
            last: Some("2023-10-10T06:14:03.100Z".to_owned()),
            random_delay: 3600.0,
            schedule: vec!["OnCalendar=*-*-* 6:00".to_owned()],
            persistent: true,
            window: Some(Span {
                from: "2023-10-11T06:00:00.000Z".to_owned(),
                to: "2023-10-11T07:00:00.000Z".to_owned(),
            }),
            past: vec![
                run("10T06:14:03", None, ""),
                run("09T06:51:40", Some("09T06:53:02"), "success"),
                run("08T06:22:19", Some("08T06:41:07"), "timeout"),
            ],
            past_total: 17,
            past_since: Some("2023-09-23T14:00:00.000Z".to_owned()),
            onsets: Onsets {
                inside: 1,
                outside: 0,
                runs: 1,
                share: Some(1.0 / 24.0),
            },
        }],
        timers_total: 1,
        packages: vec![Packages {
            manager: "dpkg".to_owned(),
            standing: PackagesStanding::InWork,
            text: "in work (configure systemd 252.17-1~deb12u1)".to_owned(),
            unfinished: vec![],
            unfinished_total: 0,
            holder: actor("unattended-upgr", 4711, APT),
            working_on: "configure systemd 252.17-1~deb12u1".to_owned(),
            past: vec![
                past_upgrade("10T06:14:04", None, Outcome::InWork),
                past_upgrade("07T06:22:02", None, Outcome::Interrupted),
                past_upgrade("06T06:11:30", Some("06T06:11:52"), Outcome::Ended),
            ],
            past_total: 14,
            past_since: Some("2023-09-01T06:31:07.000Z".to_owned()),
        }],
    }
}
