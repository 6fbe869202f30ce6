//! What is told that systemd will do, and what it does then: by its own words in the journal.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use lab::world::World;
use tracer::node::clock;
use tracer::report::{Change, Deadline, NodeReport, Unit};
use tracer::ui::text;

use crate::beside::Beside;
use crate::watched::Watched;
use crate::{program, unit};

/// A service, what is done to it, and in each state that comes to its limit: what is told of that, and what systemd says then.
struct Case {
    name: &'static str,
    service: &'static str,
    verb: &'static str,
    states: &'static [(&'static str, &'static str, &'static str)],
    /// How it stands in the end: state, result and whether processes are left.
    end: (&'static str, &'static str, bool),
}

/// One that does not end by a signal that may be ignored.
const DEAF: &str = "ExecStart=sh -c 'trap \"\" TERM INT ABRT; while :; do sleep 1; done'\nTimeoutStopSec=2";

const CASES: [Case; 9] = [
    Case {
        name: "spared",
        service: "SendSIGKILL=no",
        verb: "stop",
        states: &[
            (
                "stop-sigterm",
                "SIGTERM to all its processes; no SIGKILL follows",
                "State 'stop-sigterm' timed out. Skipping SIGKILL.",
            ),
            (
                "final-sigterm",
                "no signal; it is given up, and its processes go on",
                "State 'final-sigterm' timed out. Skipping SIGKILL. Entering failed mode.",
            ),
        ],
        end: ("failed", "timeout", true),
    },
    Case {
        name: "aborted",
        service: "TimeoutStopFailureMode=abort\nTimeoutAbortSec=1",
        verb: "stop",
        states: &[
            (
                "stop-sigterm",
                "SIGABRT to all its processes",
                "State 'stop-sigterm' timed out. Aborting.",
            ),
            (
                "stop-watchdog",
                "SIGKILL to all its processes",
                "State 'stop-watchdog' timed out. Killing.",
            ),
        ],
        end: ("failed", "timeout", false),
    },
    Case {
        name: "reloads",
        service: "ExecStart=sleep 1000\nExecReload=sleep 1000\nTimeoutStartSec=2",
        verb: "reload",
        states: &[(
            "reload",
            "its reload is given up: SIGKILL to the reload process alone; the service goes on",
            "Reload operation timed out. Killing reload process.",
        )],
        end: ("active", "success", false),
    },
    Case {
        name: "silent",
        service: "ExecStart=sleep 1000\nWatchdogSec=3\nLimitCORE=0",
        verb: "start",
        states: &[(
            "running",
            "SIGABRT to all its processes",
            "Watchdog timeout (limit 3s)!",
        )],
        end: ("failed", "watchdog", false),
    },
    Case {
        name: "slow-killed",
        service: "Type=oneshot\nExecStart=sleep 1000\nTimeoutStartSec=2\nTimeoutStartFailureMode=kill",
        verb: "start",
        states: &[(
            "start",
            "SIGKILL to all its processes",
            "start operation timed out. Killing.",
        )],
        end: ("failed", "timeout", false),
    },
    Case {
        name: "slow-aborted",
        service: "Type=oneshot\nExecStart=sleep 1000\nTimeoutStartSec=2\nTimeoutStartFailureMode=abort\nLimitCORE=0",
        verb: "start",
        states: &[(
            "start",
            "SIGABRT to all its processes",
            "start operation timed out. Aborting.",
        )],
        end: ("failed", "timeout", false),
    },
    Case {
        name: "interrupted",
        service: "Type=oneshot\nKillMode=process\nKillSignal=SIGINT\nTimeoutStartSec=2\n\
                  ExecStart=sh -c 'trap \"echo INT >/run/lab/signal; exit\" INT; sleep 1000 & wait'",
        verb: "start",
        states: &[(
            "start",
            "SIGINT to the main process; the others go on",
            "start operation timed out. Terminating.",
        )],
        end: ("failed", "timeout", true),
    },
    Case {
        name: "commanded",
        service: "ExecStart=sleep 1000\nExecStop=sleep 1000\nRuntimeMaxSec=2\nTimeoutStopSec=2",
        verb: "start",
        states: &[
            (
                "running",
                "its ExecStop= is run to stop it",
                "Service reached runtime time limit. Stopping.",
            ),
            (
                "stop",
                "SIGTERM to all its processes",
                "Stopping timed out. Terminating.",
            ),
        ],
        end: ("failed", "timeout", false),
    },
    Case {
        name: "drawn",
        service: "ExecStart=sleep 1000\nRuntimeMaxSec=2\nRuntimeRandomizedExtraSec=3",
        verb: "start",
        states: &[(
            "running",
            "SIGTERM to all its processes",
            "Service reached runtime time limit. Stopping.",
        )],
        end: ("failed", "timeout", false),
    },
];

impl Case {
    fn file(&self) -> String {
        format!("{}.service", self.name)
    }

    fn text(&self) -> String {
        let start = if self.service.contains("ExecStart=") {
            ""
        } else {
            DEAF
        };
        unit(&format!("[Service]\n{start}\n{}\n", self.service))
    }

    fn of<'r>(&self, report: &'r NodeReport) -> Option<&'r Unit> {
        let file = self.file();
        report.node.units.iter().find(|unit| unit.name == file)
    }
}

/// What was told of each state of each unit first, before it ended.
type Told = BTreeMap<(&'static str, String), Deadline>;

fn take_note(told: &mut Told, report: &NodeReport) {
    for case in &CASES {
        let Some(unit) = case.of(report) else { continue };
        if let Some(deadline) = &unit.deadline {
            let state = (case.name, unit.sub.clone());
            told.entry(state).or_insert_with(|| deadline.clone());
        }
    }
}

#[test]
fn what_is_told_before_is_what_systemd_does() {
    let units: Vec<(String, String)> = CASES.iter().map(|case| (case.file(), case.text())).collect();
    let units: Vec<(&str, &str)> = units
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let world = World::boot(program(), &units).unwrap();
    world.keep_journal().unwrap();
    let mut beside = Beside::of(&world, Some(PathBuf::from("/nonexistent")));
    beside.found();
    for case in CASES.iter().filter(|case| case.verb != "start") {
        world.systemctl(&["start", &case.file()]).unwrap();
    }
    for case in &CASES {
        world.systemctl(&[case.verb, "--no-block", &case.file()]).unwrap();
    }
    let told = RefCell::new(Told::new());
    let report = beside.until("the end of all", |report| {
        let mut told = told.borrow_mut();
        take_note(&mut told, report);
        CASES.iter().all(|case| {
            let was_limited =
                |(sub, _, _): &(&str, &str, &str)| told.contains_key(&(case.name, (*sub).to_owned()));
            case.states.iter().all(was_limited)
                && case
                    .of(report)
                    .is_some_and(|unit| unit.active == case.end.0 && unit.sub != "reload")
        })
    });
    let told = told.into_inner();
    for case in &CASES {
        let journal = world
            .run("journalctl", &["-o", "cat", "-u", &case.file()])
            .unwrap();
        let journal = String::from_utf8(journal.stdout).unwrap();
        for (sub, action, line) in case.states {
            let deadline = &told[&(case.name, (*sub).to_owned())];
            assert_eq!(deadline.action, *action, "{} ({sub})", case.name);
            let seconds = deadline.seconds.unwrap();
            assert!(
                seconds > 0.0 && seconds <= 3.0,
                "{} ({sub}): {deadline:?}",
                case.name
            );
            assert!(
                journal.contains(line),
                "{} ({sub}) does not: {journal}",
                case.name
            );
        }
        let unit = case.of(&report).unwrap();
        assert_eq!(
            (unit.active.as_str(), unit.result.as_str(), unit.processes > 0),
            case.end,
            "{}",
            case.name
        );
    }
    let (there, _) = world.shared("signal");
    assert_eq!(fs::read_to_string(there).unwrap(), "INT\n");
    let deadline = |name, sub: &str| &told[&(name, sub.to_owned())];
    assert_eq!(deadline("silent", "running").watchdog, Some(3.0));
    let drawn = deadline("drawn", "running");
    let (least, most) = (drawn.seconds.unwrap(), drawn.seconds_at_most.unwrap());
    assert!((most - least - 3.0).abs() < 1e-6, "{drawn:?}");
}

/// systemd tells nobody of a sign of life.
#[test]
fn a_service_that_gives_signs_of_life_is_seen_to_give_them() {
    let text = "[Service]\nWatchdogSec=2\nNotifyAccess=all\n\
                ExecStart=sh -c 'while systemd-notify WATCHDOG=1; do sleep 0.2; done'\n";
    let world = World::boot(program(), &[("lively.service", &unit(text))]).unwrap();
    world.systemctl(&["start", "lively.service"]).unwrap();
    let mut watched = Watched::ready(&world);
    let told = |watched: &mut Watched, after| {
        let state = watched.wait_unit("lively.service", |state| state.limits.alive > after);
        assert_eq!(
            (state.sub.as_str(), state.limits.watchdog),
            ("running", 2_000_000)
        );
        state.limits.alive
    };
    // Nothing else of it is new from now on.
    let now = (clock::boottime_ns() - clock::suspended()) / 1000;
    let first = told(&mut watched, now);
    told(&mut watched, first);
}

/// It is not waited for: the world would end.
#[test]
fn what_would_be_done_to_the_whole_node_is_told() {
    let failing = unit("FailureAction=reboot-force\n[Service]\nExecStart=sleep 1000\nRuntimeMaxSec=1000\n");
    let starting = unit(
        "JobRunningTimeoutSec=1000\nJobTimeoutAction=poweroff\n[Service]\nType=oneshot\nExecStart=sleep 2000\n",
    );
    let world = World::boot(
        program(),
        &[("failing.service", &failing), ("starting.service", &starting)],
    )
    .unwrap();
    let mut beside = Beside::of(&world, Some(PathBuf::from("/nonexistent")));
    beside.found();
    for name in ["failing.service", "starting.service"] {
        world.systemctl(&["start", "--no-block", name]).unwrap();
    }
    let is_told = |report: &NodeReport, name: &str, sub: &str, action: &str| {
        let mut units = report.node.units.iter();
        units.any(|unit| {
            let deadline = unit.deadline.as_ref();
            (unit.name.as_str(), unit.sub.as_str()) == (name, sub)
                && deadline.is_some_and(|deadline| deadline.action == action)
        })
    };
    beside.until("what is done to the node", |report| {
        let fails =
            "SIGTERM to all its processes; if it has failed then, the node is rebooted (FailureAction=)";
        let gives_up = "its job is given up, and the node is powered off (JobTimeoutAction=)";
        is_told(report, "failing.service", "running", fails)
            && is_told(report, "starting.service", "start", gives_up)
    });
}

/// A command of a socket that does not end by SIGTERM: one limit is that of each step.
#[test]
fn a_socket_is_limited_as_a_service_is() {
    let text = unit(
        "[Socket]\nListenStream=/run/lab/held.sock\nService=held.service\nTimeoutSec=2\n\
         ExecStartPre=sh -c 'trap \"\" TERM; while :; do sleep 1; done'\n",
    );
    let service = unit("[Service]\nExecStart=sleep 1000\n");
    let units = [("held.socket", text.as_str()), ("held.service", service.as_str())];
    let world = World::boot(program(), &units).unwrap();
    let mut beside = Beside::of(&world, Some(PathBuf::from("/nonexistent")));
    beside.found();
    world.systemctl(&["start", "--no-block", "held.socket"]).unwrap();
    let socket = |report: &NodeReport| {
        let mut units = report.node.units.iter();
        units.find(|unit| unit.name == "held.socket").cloned()
    };
    for (sub, action) in [
        ("start-pre", "SIGTERM to all its processes"),
        ("final-sigterm", "SIGKILL to all its processes"),
    ] {
        let report = beside.until("a limit of the socket", |report| {
            socket(report).is_some_and(|unit| unit.sub == sub)
        });
        let deadline = socket(&report).unwrap().deadline.unwrap();
        assert_eq!(deadline.action, action);
        let seconds = deadline.seconds.unwrap();
        // Below 0 where systemd is late.
        assert!(seconds <= 2.0, "{deadline:?}");
    }
    let report = beside.until("its end", |report| {
        socket(report).is_some_and(|unit| unit.active == "failed")
    });
    let unit = socket(&report).unwrap();
    assert_eq!((unit.result.as_str(), unit.deadline), ("timeout", None));
}

#[test]
fn that_a_start_limit_is_hit_and_what_is_done_then_is_told() {
    let again =
        unit("StartLimitAction=reboot\n[Service]\nExecStart=false\nRestart=always\nRestartSec=1000\n");
    let often = unit(
        "StartLimitIntervalSec=1h\nStartLimitBurst=2\n[Service]\nExecStart=false\nRestart=always\nRestartSec=300ms\n",
    );
    let units = [
        ("again.service", again.as_str()),
        ("often.service", often.as_str()),
    ];
    let world = World::boot(program(), &units).unwrap();
    let mut beside = Beside::of(&world, Some(PathBuf::from("/nonexistent")));
    beside.found();
    for (name, _) in units {
        world.systemctl(&["start", "--no-block", name]).unwrap();
    }
    beside.until("both", |report| {
        let of = |name: &str| report.node.units.iter().find(|unit| unit.name == name);
        let deadline = of("again.service").and_then(|unit| unit.deadline.as_ref());
        deadline.is_some_and(|deadline| {
            deadline.action
                == "it is started again; if that is once too often, the node is rebooted (StartLimitAction=)"
        }) && of("often.service").is_some_and(|unit| unit.active == "failed" && unit.start_limit_hit)
    });
}

/// A target of that name which does nothing: the world would end.
#[test]
fn that_a_reboot_is_under_way_is_told() {
    let slow = unit("[Service]\nType=oneshot\nExecStart=sleep 1000\n");
    let target = unit("Requires=slow.service\nAfter=slow.service\n");
    let units = [
        ("slow.service", slow.as_str()),
        ("reboot.target", target.as_str()),
    ];
    let world = World::boot(program(), &units).unwrap();
    let mut beside = Beside::of(&world, Some(PathBuf::from("/nonexistent")));
    beside.found();
    world
        .systemctl(&["start", "--no-block", "reboot.target"])
        .unwrap();
    let says = |report: &NodeReport, line: &str| text::node(report, 200).contains(line);
    let report = beside.until("the reboot", |report| {
        says(
            report,
            "the node is rebooted once its units have stopped (reboot.target: start queued)",
        )
    });
    let is_it = |change: &&Change| {
        (change.object.as_str(), change.after.as_deref()) == ("reboot.target", Some("start queued"))
    };
    assert!(
        report.node.changes.iter().any(|change| is_it(&change)),
        "{report:#?}"
    );
    world.systemctl(&["cancel"]).unwrap();
    beside.until("that it is called off", |report| {
        !says(report, "the node is rebooted")
    });
}

/// Each has all the time that there is for a start.
#[test]
fn the_time_of_a_start_begins_anew_with_each_command() {
    const NAME: &str = "two.service";
    let text = "[Service]\nType=oneshot\nTimeoutStartSec=30\nExecStart=sleep 4\nExecStart=sleep 1000\n";
    let world = World::boot(program(), &[(NAME, &unit(text))]).unwrap();
    let mut beside = Beside::of(&world, Some(PathBuf::from("/nonexistent")));
    beside.found();
    world.systemctl(&["start", "--no-block", NAME]).unwrap();
    let two = |report: &NodeReport| -> Option<Unit> {
        let mut all = report.node.units.iter();
        all.find(|unit| unit.name == NAME && unit.main_pid != 0).cloned()
    };
    let first = two(&beside.until("the first command", |report| two(report).is_some())).unwrap();
    let report = beside.until("the second command", |report| {
        two(report).is_some_and(|unit| unit.main_pid != first.main_pid)
    });
    let left = two(&report).and_then(|unit| unit.deadline?.seconds);
    assert!(left.is_some_and(|left| left > 26.0), "{left:?}");
    world.systemctl(&["stop", NAME]).unwrap();
}
