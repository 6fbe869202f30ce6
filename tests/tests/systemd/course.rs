//! The course of an upgrade that a timer starts and somebody stops, and how jobs end: as systemd tells it.

use std::path::PathBuf;

use lab::world::World;
use tracer::event::{Body, CapabilityState, JobState, Timer, UnitState};
use tracer::report::{NodeReport, Unit};

use crate::beside::Beside;
use crate::watched::Watched;
use crate::{program, unit};

/// As apt's own unit has it, but that its main process does not end by SIGTERM, and that a stop has a second.
const UPGRADE: &str = "[Service]\nType=oneshot\nKillMode=process\nTimeoutStopSec=1\n\
                       ExecStart=sh -c 'trap \"\" TERM; sleep 1000 & while :; do sleep 1; done'\n";
const TIMER: &str =
    "[Timer]\nOnActiveSec=100ms\nOnUnitInactiveSec=1h\nAccuracySec=1ms\nUnit=upgrade.service\n";

fn upgrade_world() -> World {
    let (upgrade, timer) = (unit(UPGRADE), unit(TIMER));
    let units = [("upgrade.service", upgrade.as_str()), ("upgrade.timer", &timer)];
    World::boot(program(), &units).unwrap()
}

/// From the timer to the end: what the job, the service and the timer are told to be at each moment.
#[test]
fn an_upgrade_that_a_timer_started_and_that_is_stopped_ends_in_a_kill() {
    let world = upgrade_world();
    let mut watched = Watched::ready(&world);
    world.systemctl(&["start", "upgrade.timer"]).unwrap();
    let running = watched.wait_unit("upgrade.service", |state| {
        (state.active.as_str(), state.sub.as_str()) == ("activating", "start")
    });
    assert_ne!(running.invocation, "");
    assert_eq!(
        (running.result.as_str(), running.limits.stop),
        ("success", 1_000_000)
    );
    assert_eq!(running.limits.start, u64::MAX, "nothing limits it");
    let elapsed = |timer: &Timer| timer.name == "upgrade.timer" && timer.last.is_some();
    let cause = watched.ever(
        "that the timer has elapsed",
        |body| matches!(body, Body::Timer(timer) if elapsed(timer) && timer.next.is_none()),
    );
    let effect = watched.ever(
        "that the service runs",
        |body| matches!(body, Body::Unit(unit) if unit.state.as_ref() == Some(&running)),
    );
    let at = |number: usize| watched.told[number - 1].at;
    assert!(at(cause) < at(effect), "{} {}", at(cause), at(effect));

    world.wait_for_processes("upgrade.service", 3).unwrap();
    world
        .systemctl(&["stop", "--no-block", "upgrade.service"])
        .unwrap();
    let asked = watched.wait_unit("upgrade.service", |state| state.sub == "stop-sigterm");
    assert_eq!(
        (asked.active.as_str(), asked.result.as_str()),
        ("deactivating", "success")
    );
    let killed = watched.wait_unit("upgrade.service", |state| state.active == "failed");
    assert_eq!(
        (killed.sub.as_str(), killed.result.as_str()),
        ("failed", "timeout")
    );
    assert_eq!(killed.invocation, running.invocation);
    // The child goes on.
    assert!(killed.processes > 0, "{killed:?}");
    // The job that started it is canceled by the one that stops it, and that one is "done".
    let ended = |action: &str, result: &str| {
        let (action, ended) = (action.to_owned(), JobState::Ended(result.to_owned()));
        move |body: &Body| {
            matches!(body, Body::Job(job)
                if job.unit == "upgrade.service" && job.action == action && job.state == ended)
        }
    };
    watched.ever("the end of the start", ended("start", "canceled"));
    watched.ever("the end of the stop", ended("stop", "done"));
    watched.ever(
        "that the timer waits again",
        |body| matches!(body, Body::Timer(timer) if elapsed(timer) && timer.next.is_some()),
    );
    let kill = "kill -KILL $(cat /sys/fs/cgroup/system.slice/upgrade.service/cgroup.procs)";
    world.run("sh", &["-c", kill]).unwrap();
    watched.wait_unit("upgrade.service", |state| state.processes == 0);
}

fn upgrade(report: &NodeReport) -> Option<&Unit> {
    let mut all = report.node.units.iter();
    all.find(|unit| unit.name == "upgrade.service")
}

/// What is told that systemd will do is what it does, and to whom.
#[test]
fn what_systemd_will_do_is_told_before_it_does_it() {
    let world = upgrade_world();
    let mut beside = Beside::of(&world, Some(PathBuf::from("/nonexistent")));
    beside.found();
    world
        .systemctl(&["start", "--no-block", "upgrade.service"])
        .unwrap();
    let report = beside.until("that it runs", |report| {
        upgrade(report).is_some_and(|unit| unit.active == "activating")
    });
    let deadline = upgrade(&report).unwrap().deadline.clone().unwrap();
    assert_eq!(deadline.seconds, None, "{deadline:?}");
    world.wait_for_processes("upgrade.service", 3).unwrap();
    world
        .systemctl(&["stop", "--no-block", "upgrade.service"])
        .unwrap();
    let report = beside.until("that it is stopped", |report| {
        upgrade(report).is_some_and(|unit| unit.sub == "stop-sigterm")
    });
    let stopped = upgrade(&report).unwrap();
    let deadline = stopped.deadline.clone().unwrap();
    assert!(deadline.seconds.is_some_and(|left| left <= 1.0), "{deadline:?}");
    assert_eq!(
        (stopped.job.as_str(), deadline.action.as_str()),
        ("stop running", "SIGKILL to the main process; the others go on")
    );
    let report = beside.until("that it has failed", |report| {
        upgrade(report).is_some_and(|unit| unit.active == "failed")
    });
    let failed = upgrade(&report).unwrap();
    assert_eq!(failed.result, "timeout");
    assert!(failed.deadline.is_none() && failed.processes > 0, "{failed:?}");
    // Its child, which was not the main process.
    let kill = "kill -KILL $(cat /sys/fs/cgroup/system.slice/upgrade.service/cgroup.procs)";
    world.run("sh", &["-c", kill]).unwrap();
}

/// Each result that a job can have by itself.
#[test]
fn how_a_job_ended_is_told() {
    let services = [
        ("fails", "", "ExecStart=false", "failed"),
        (
            "needs",
            "Requires=fails.service\nAfter=fails.service",
            "ExecStart=true",
            "dependency",
        ),
        (
            "late",
            "Requires=slow.service\nAfter=slow.service\nJobTimeoutSec=300ms",
            "ExecStart=true",
            "timeout",
        ),
        (
            "unfit",
            "AssertPathExists=/nonexistent",
            "ExecStart=true",
            "assert",
        ),
        ("works", "", "ExecStart=true", "done"),
    ];
    let units: Vec<(String, String)> = services
        .iter()
        .map(|(name, section, service, _)| {
            let text = unit(&format!("{section}\n[Service]\nType=oneshot\n{service}\n"));
            (format!("{name}.service"), text)
        })
        .chain([(
            "slow.service".to_owned(),
            unit("[Service]\nType=oneshot\nExecStart=sleep 1000\n"),
        )])
        .collect();
    let units: Vec<(&str, &str)> = units
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let world = World::boot(program(), &units).unwrap();
    let mut watched = Watched::ready(&world);
    for (name, .., result) in services {
        let name = format!("{name}.service");
        world.systemctl(&["start", "--no-block", &name]).unwrap();
        let ended = JobState::Ended(result.to_owned());
        watched.ever(
            &format!("{name}: {result}"),
            |body| matches!(body, Body::Job(job) if job.unit == name && job.state == ended),
        );
    }
    world.systemctl(&["cancel"]).unwrap();
    let canceled = JobState::Ended("canceled".to_owned());
    watched.ever(
        "slow.service: canceled",
        |body| matches!(body, Body::Job(job) if job.unit == "slow.service" && job.state == canceled),
    );
}

/// A condition that is a program (`ExecCondition=`): any status but 0 and 255 skips the service, which is no failure, and 255
/// fails it. systemd unloads a service that was skipped, with its result, unless another unit names it.
#[test]
fn a_service_that_its_condition_skips_is_told_beside_one_that_fails_by_it() {
    let conditions = [
        ("lowest", 1, "inactive", "exec-condition"),
        ("highest", 254, "inactive", "exec-condition"),
        ("refuses", 255, "failed", "exit-code"),
    ];
    let mut units: Vec<(String, String)> = conditions
        .iter()
        .map(|(name, status, ..)| {
            let text = format!("[Service]\nExecCondition=sh -c 'exit {status}'\nExecStart=sleep 1000\n");
            (format!("{name}.service"), unit(&text))
        })
        .collect();
    let names: Vec<&str> = units.iter().map(|(name, _)| name.as_str()).collect();
    let names_them = unit(&format!(
        "After={}\n[Service]\nExecStart=sleep 1000\n",
        names.join(" ")
    ));
    units.push(("names-them.service".to_owned(), names_them));
    let units: Vec<(&str, &str)> = units
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let world = World::boot(program(), &units).unwrap();
    world.systemctl(&["start", "names-them.service"]).unwrap();
    let mut watched = Watched::ready(&world);
    for (name, _, active, result) in conditions {
        let name = format!("{name}.service");
        world.systemctl(&["start", "--no-block", &name]).unwrap();
        let state = watched.wait_unit(&name, |state| state.active == active && state.result != "success");
        assert_eq!((state.result.as_str(), state.main_pid), (result, 0), "{name}");
    }
}

/// The same where such a mount comes while systemd is followed: what else happens is told, and so it is after all was listed anew.
#[test]
fn a_mount_at_a_place_that_is_no_text_hides_nothing_else() {
    let sleeper = unit("[Service]\nExecStart=sleep 1000\n");
    let units = [("a.service", sleeper.as_str()), ("b.service", &sleeper)];
    let world = World::boot(program(), &units).unwrap();
    let mut watched = Watched::ready(&world);
    // systemd may have come to its bus only then.
    let ready = watched.told.len();
    let odd = "mkdir $(printf '/run/lab/odd\\377'); mount -t tmpfs odd $(printf '/run/lab/odd\\377')";
    world.run("sh", &["-c", odd]).unwrap();
    world.systemctl(&["start", "a.service"]).unwrap();
    let a = watched.wait_unit("a.service", |state| state.sub == "running");
    world.systemctl(&["daemon-reexec"]).unwrap();
    let reloaded = "systemd has run itself anew (daemon-reexec)";
    let since = watched.wait(
        reloaded,
        |body| matches!(body, Body::Notice(notice) if notice.text == reloaded),
    );
    watched.ever("that mounts are not listed", |body| {
        matches!(body, Body::Capability(told) if told.state == CapabilityState::Partial
            && told.why.contains("units of the kind mount"))
    });
    world.systemctl(&["start", "b.service"]).unwrap();
    watched.wait_unit("b.service", |state| state.sub == "running");
    let changes = watched.changes(since);
    let others = changes.iter().filter(|change| !change.starts_with("b.service "));
    assert_eq!(others.count(), 0, "{changes:#?}");
    let off = watched.told[ready..]
        .iter()
        .any(|event| crate::watched::unavailable(&event.body));
    assert!(!off, "{:?}", watched.notices());
    assert_ne!(a.main_pid, 0);
}

/// A unit that does something and has no process has no cgroup either. And where a mount is at a place that is no text,
/// systemd lists no units to anybody (`systemctl list-units`: Invalid argument), but for those of other kinds.
#[test]
fn units_without_a_cgroup_and_with_odd_names_are_told() {
    let once = unit("[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\n");
    let dashed = unit("[Service]\nExecStart=sleep 1000\n");
    let units = [("once.service", once.as_str()), (r"a\x2db\xff.service", &dashed)];
    let world = World::boot(program(), &units).unwrap();
    let odd = "mkdir $(printf '/run/lab/odd\\377'); mount -t tmpfs odd $(printf '/run/lab/odd\\377')";
    world.run("sh", &["-c", odd]).unwrap();
    world
        .systemctl(&["start", "once.service", r"a\x2db\xff.service"])
        .unwrap();
    let mut watched = Watched::start(&world);
    let empty = |state: &UnitState| (state.cgroup.clone(), state.main_pid, state.processes);
    let mut told = std::collections::BTreeMap::new();
    watched.wait("that all is told but mounts", |body| {
        matches!(body, Body::Capability(told) if told.state == CapabilityState::Partial
            && told.why.contains("units of the kind mount"))
    });
    for event in &watched.told {
        if let Body::Unit(unit) = &event.body
            && let Some(state) = &unit.state
        {
            told.insert(unit.name.clone(), state.clone());
        }
    }
    let once = &told["once.service"];
    assert_eq!((once.active.as_str(), once.sub.as_str()), ("active", "exited"));
    assert_eq!(empty(once), (String::new(), 0, 0));
    let dashed = &told[r"a\x2db\xff.service"];
    assert_eq!(dashed.sub, "running");
    assert!(dashed.cgroup.ends_with(r"/a\x2db\xff.service"), "{dashed:?}");
    assert!(
        told.contains_key("dbus.service") && told.contains_key("lab.target"),
        "{told:#?}"
    );
    // What happens from then on is told as ever.
    world.systemctl(&["stop", r"a\x2db\xff.service"]).unwrap();
    watched.wait(
        "that it is unloaded",
        |body| matches!(body, Body::Unit(unit) if unit.name == r"a\x2db\xff.service" && unit.state.is_none()),
    );
}
