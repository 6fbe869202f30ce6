//! What the tracer tells of a real systemd.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod actors;
mod beside;
mod commands;
mod course;
mod deadlines;
mod hangs;
mod network;
mod results;
mod standing;
mod timers;
mod watched;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lab::folder::Folder;
use lab::process::unix_sockets;
use lab::tracer::{BEFORE_BREAK, copy_to};
use lab::world::{World, child_of};
use tracer::event::{Body, CapabilityState, Event, JobState, KillMode, Timer, UnitState};
use tracer::node::{Owners, systemd};
use watched::{PATIENCE, Watched, available, unavailable};

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_lab"))
}

/// The text of a unit's file, without what the machine's targets would add.
fn unit(section: &str) -> String {
    format!("[Unit]\nDefaultDependencies=no\n{section}")
}

#[test]
fn all_that_stands_is_told_first() {
    let sleeper = unit("[Service]\nExecStart=sleep 1000\nTimeoutStopSec=7min\nRuntimeMaxSec=1h\n");
    let daily = unit("[Timer]\nOnCalendar=*-*-* 6:00\nRandomizedDelaySec=1h\nUnit=sleeper.service\n");
    let world = World::boot(
        program(),
        &[("sleeper.service", &sleeper), ("daily.timer", &daily)],
    )
    .unwrap();
    world
        .systemctl(&["start", "sleeper.service", "daily.timer"])
        .unwrap();
    let mut watched = Watched::start(&world);
    let state = watched.wait_unit("sleeper.service", |_| true);
    assert_eq!((state.active.as_str(), state.sub.as_str()), ("active", "running"));
    assert_eq!(state.result, "success");
    assert_eq!(state.invocation.len(), 32, "{}", state.invocation);
    assert_eq!(state.limits.stop, 420_000_000);
    assert_eq!(state.limits.runtime_max, 3_600_000_000);
    assert_eq!(state.limits.ending.kill_mode, KillMode::ControlGroup);
    assert_eq!(
        state.cgroup,
        format!("{}/system.slice/sleeper.service", world.cgroup())
    );
    // systemd itself knows it by another number: it is in a pid namespace of its own.
    let process = Owners::by_pid(state.main_pid).unwrap();
    assert_eq!(process.command, "sleep");
    assert_eq!(process.cgroup, state.cgroup);
    watched.wait("the capability", available);
    let timers: Vec<&Timer> = watched
        .told
        .iter()
        .filter_map(|event| match &event.body {
            Body::Timer(timer) if timer.name == "daily.timer" => Some(&**timer),
            _ => None,
        })
        .collect();
    let [timer] = timers.as_slice() else {
        panic!("{timers:?}");
    };
    assert_eq!((timer.unit.as_str(), timer.active), ("sleeper.service", true));
    assert_eq!(timer.schedule, ["OnCalendar=*-*-* 06:00:00"]);
    assert_eq!(timer.random_delay, 3_600_000_000);
    assert_eq!(timer.last, None);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let now = i64::try_from(now.as_nanos()).unwrap();
    // The next 6:00 and an hour at most.
    let within = now..now + 90_000_000_000_000;
    assert!(timer.next.is_some_and(|next| within.contains(&next)), "{timer:?}");
    assert_eq!(watched.changes(0), [""; 0]);
    let sliced = watched.told.iter().any(|event| match &event.body {
        Body::Unit(unit) => unit.name.ends_with(".slice") || unit.name.ends_with(".device"),
        _ => false,
    });
    assert!(!sliced, "slices and devices are told");
}

/// The service that upgrades packages is one of this type: it has a limit only where one is set.
#[test]
fn a_oneshot_is_killed_at_its_limit() {
    let slow = unit("[Service]\nType=oneshot\nExecStart=sleep 1000\nTimeoutStartSec=1\n");
    let world = World::boot(program(), &[("slow.service", &slow)]).unwrap();
    let mut watched = Watched::ready(&world);
    world.systemctl(&["start", "--no-block", "slow.service"]).unwrap();
    let state = watched.wait_unit("slow.service", |state| state.active == "activating");
    assert_eq!((state.sub.as_str(), state.limits.start), ("start", 1_000_000));
    let begun = state.limits.state_changed;
    let state = watched.wait_unit("slow.service", |state| state.active == "failed");
    assert_eq!((state.sub.as_str(), state.result.as_str()), ("failed", "timeout"));
    assert_eq!((state.main_pid, state.processes), (0, 0));
    // systemd sets the limit off first and enters the state then (`service_enter_start`): under load ms lie between.
    assert!(state.limits.state_changed > begun + 500_000);
    let start = |state| ("start".to_owned(), state);
    let ended = JobState::Ended("failed".to_owned());
    assert_eq!(
        watched.jobs_to_their_end("slow.service"),
        [start(JobState::Running), start(ended)]
    );
}

/// The job of a stop ends with "done" also where it took SIGKILL: only the result of the unit tells.
#[test]
fn a_stop_that_is_ignored_ends_in_a_kill() {
    let deaf =
        unit("[Service]\nExecStart=sh -c 'trap \"\" TERM; while :; do sleep 1; done'\nTimeoutStopSec=1\n");
    let world = World::boot(program(), &[("deaf.service", &deaf)]).unwrap();
    world.systemctl(&["start", "deaf.service"]).unwrap();
    let mut watched = Watched::ready(&world);
    world.systemctl(&["stop", "--no-block", "deaf.service"]).unwrap();
    let state = watched.wait_unit("deaf.service", |state| state.sub == "stop-sigterm");
    assert_eq!(
        (state.active.as_str(), state.result.as_str()),
        ("deactivating", "success")
    );
    let state = watched.wait_unit("deaf.service", |state| state.active == "failed");
    assert_eq!(state.result, "timeout");
    let jobs = watched.jobs_to_their_end("deaf.service");
    let stop = |state| ("stop".to_owned(), state);
    let ended = JobState::Ended("done".to_owned());
    assert_eq!(jobs, [stop(JobState::Running), stop(ended)]);
}

#[test]
fn what_a_service_ended_by_is_told() {
    let services = [
        ("runtime", "ExecStart=sleep 1000\nRuntimeMaxSec=300ms", "timeout"),
        (
            "watchdog",
            "ExecStart=sleep 1000\nWatchdogSec=300ms\nLimitCORE=0",
            "watchdog",
        ),
        ("exit", "ExecStart=sh -c 'exit 3'", "exit-code"),
        ("killed", "ExecStart=sh -c 'kill -KILL $$$$'", "signal"),
        (
            "dumped",
            "ExecStart=sh -c 'kill -SEGV $$$$'\nLimitCORE=infinity\nWorkingDirectory=/tmp",
            "core-dump",
        ),
        ("silent", "Type=notify\nExecStart=true", "protocol"),
        (
            "without",
            "ExecStart=true\nEnvironmentFile=/nonexistent",
            "resources",
        ),
        (
            "pathless",
            "ExecStart=true\nRootDirectory=/nonexistent",
            "exit-code",
        ),
        (
            "again",
            "ExecStart=true\nRestart=always\nRestartSec=0",
            "start-limit-hit",
        ),
    ];
    let units: Vec<(String, String)> = services
        .iter()
        .map(|(name, text, _)| (format!("{name}.service"), unit(&format!("[Service]\n{text}\n"))))
        .collect();
    let units: Vec<(&str, &str)> = units
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let world = World::boot(program(), &units).unwrap();
    let mut watched = Watched::ready(&world);
    for ((name, _), (_, _, result)) in units.iter().zip(services) {
        world.systemctl(&["start", "--no-block", name]).unwrap();
        // One that is started again fails some times before that.
        watched.wait_unit(name, |state| state.active == "failed" && state.result == result);
    }
}

/// The kernel's own kill for want of memory needs the memory controller in the hierarchy of the world, which it is not
/// where another hierarchy has it. systemd tells both kills by the same result: here systemd-oomd seems to kill.
#[test]
fn a_service_that_is_killed_for_want_of_memory_says_so() {
    let hungry = unit("[Service]\nExecStart=sleep 1000\n");
    let world = World::boot(program(), &[("hungry.service", &hungry)]).unwrap();
    world.systemctl(&["start", "hungry.service"]).unwrap();
    let mut watched = Watched::start(&world);
    let running = watched.wait_unit("hungry.service", |state| state.sub == "running");
    lab::cgroup::mark_as_oomd(&running.cgroup).unwrap();
    lab::process::send(running.main_pid, libc::SIGKILL).unwrap();
    let state = watched.wait_unit("hungry.service", |state| state.active == "failed");
    assert_eq!(state.result, "oom-kill");
}

/// As with apt's own unit: the shell is killed, and what it had started goes on.
#[test]
fn a_failed_unit_whose_processes_go_on_says_how_many() {
    let upgrade = unit("[Service]\nType=oneshot\nKillMode=process\nExecStart=sh -c 'sleep 1000; true'\n");
    let world = World::boot(program(), &[("upgrade.service", &upgrade)]).unwrap();
    let mut watched = Watched::ready(&world);
    world
        .systemctl(&["start", "--no-block", "upgrade.service"])
        .unwrap();
    watched.wait_unit("upgrade.service", |state| state.active == "activating");
    world.wait_for_processes("upgrade.service", 2).unwrap();
    world.systemctl(&["stop", "upgrade.service"]).unwrap();
    let state = watched.wait_unit("upgrade.service", |state| state.active == "failed");
    assert_eq!((state.result.as_str(), state.processes), ("signal", 1));
    assert_eq!(state.limits.ending.kill_mode, KillMode::Process);
    let kill = "kill $(cat /sys/fs/cgroup/system.slice/upgrade.service/cgroup.procs)";
    world.run("sh", &["-c", kill]).unwrap();
    let state = watched.wait_unit("upgrade.service", |state| state.processes == 0);
    assert_eq!(state.active, "failed");
}

#[test]
fn a_service_that_is_restarted_again_and_again_counts() {
    let loops = unit(
        "StartLimitIntervalSec=0\n[Service]\nExecStart=sh -c 'sleep 0.2; exit 3'\nRestart=always\nRestartSec=100ms\n",
    );
    let world = World::boot(program(), &[("loop.service", &loops)]).unwrap();
    let mut watched = Watched::ready(&world);
    world.systemctl(&["start", "loop.service"]).unwrap();
    let first = watched.wait_unit("loop.service", |state| state.active == "active");
    let third = watched.wait_unit("loop.service", |state| {
        state.restarts >= 3 && state.active == "active"
    });
    assert_ne!(first.invocation, third.invocation);
    let waits = |event: &Event| match &event.body {
        Body::Unit(unit) => unit.state.as_ref().is_some_and(|state| {
            (state.sub.as_str(), state.result.as_str()) == ("auto-restart", "exit-code")
        }),
        _ => false,
    };
    assert!(watched.told.iter().any(waits), "{:#?}", watched.changes(0));
}

/// What Debian runs when systemd itself is upgraded: all units are taken away and made anew, which is no change of any;
/// then networkd is restarted, which is one though its state is the same.
#[test]
fn systemd_that_runs_itself_anew_changes_no_unit() {
    let network = unit("[Service]\nExecStart=sleep 1000\n");
    let upgrade = unit("[Service]\nType=oneshot\nExecStart=sleep 1000\n");
    let units = [
        ("network.service", network.as_str()),
        ("upgrade.service", &upgrade),
    ];
    let world = World::boot(program(), &units).unwrap();
    world.systemctl(&["start", "network.service"]).unwrap();
    world
        .systemctl(&["start", "--no-block", "upgrade.service"])
        .unwrap();
    let mut watched = Watched::start(&world);
    let before = watched.wait_unit("network.service", |_| true);
    let since = watched.wait("the capability", available);
    for (command, text) in [
        ("daemon-reexec", "systemd has run itself anew (daemon-reexec)"),
        (
            "daemon-reload",
            "systemd has loaded all unit files anew (daemon-reload)",
        ),
    ] {
        world.systemctl(&[command]).unwrap();
        watched.wait(
            text,
            |body| matches!(body, Body::Notice(notice) if notice.text == text),
        );
    }
    assert_eq!(watched.changes(since), [""; 0]);
    let jobs = watched.told[since..]
        .iter()
        .filter(|event| matches!(event.body, Body::Job(_)));
    assert_eq!(jobs.count(), 0, "the job of upgrade.service goes on");
    world.systemctl(&["try-restart", "network.service"]).unwrap();
    let after = watched.wait_unit("network.service", |state| {
        state.invocation != before.invocation && state.sub == "running"
    });
    assert_eq!((after.result.as_str(), after.restarts), ("success", 0));
    assert_ne!(after.main_pid, before.main_pid);
    let changes = watched.changes(since);
    let others = changes
        .iter()
        .filter(|change| !change.starts_with("network.service "));
    assert_eq!(others.count(), 0, "{changes:#?}");
    // Never off, as far as can be told.
    let off = watched.told.iter().any(|event| unavailable(&event.body));
    assert!(!off, "{:?}", watched.notices());
}

#[test]
fn a_timer_that_elapses_is_told_with_what_it_starts() {
    let job = unit("[Service]\nType=oneshot\nExecStart=true\n");
    let soon = unit("[Timer]\nOnActiveSec=1s\nRandomizedDelaySec=1s\nAccuracySec=1ms\nUnit=job.service\n");
    let world = World::boot(program(), &[("job.service", &job), ("soon.timer", &soon)]).unwrap();
    let mut watched = Watched::ready(&world);
    world.systemctl(&["start", "soon.timer"]).unwrap();
    let timer = |body: &Body, wanted: &dyn Fn(&Timer) -> bool| matches!(body, Body::Timer(timer) if timer.name == "soon.timer" && wanted(timer));
    let at = watched.wait("the next time", |body| timer(body, &|timer| timer.next.is_some()));
    let Body::Timer(waiting) = watched.told[at - 1].body.clone() else {
        panic!("{:?}", watched.told[at - 1]);
    };
    assert_eq!(waiting.schedule, ["OnActiveSec=1s"]);
    assert_eq!((waiting.random_delay, waiting.last), (1_000_000, None));
    let at = watched.wait("its elapsing", |body| timer(body, &|timer| timer.last.is_some()));
    let Body::Timer(elapsed) = watched.told[at - 1].body.clone() else {
        panic!("{:?}", watched.told[at - 1]);
    };
    let late = elapsed.last.unwrap() - waiting.next.unwrap();
    assert!(
        (-20_000_000..1_000_000_000).contains(&late),
        "{waiting:?} {elapsed:?}"
    );
    assert_eq!(elapsed.unit, "job.service");
    watched.ever("the run of job.service", |body| {
        matches!(body, Body::Unit(unit) if unit.name == "job.service"
            && unit.state.as_ref().is_some_and(|state| !state.invocation.is_empty()))
    });
}

/// Nobody else has asked systemd for its signals: no logind runs in the world.
#[test]
fn nobody_else_need_listen_and_a_bus_may_die_and_return() {
    let sleeper = unit("[Service]\nExecStart=sleep 1000\n");
    let world = World::boot(program(), &[("a.service", &sleeper), ("b.service", &sleeper)]).unwrap();
    world.systemctl(&["start", "a.service"]).unwrap();
    let mut watched = Watched::ready(&world);
    // Not by the bus, which would make its caller known to systemd.
    world
        .run("systemctl", &["kill", "--signal=KILL", "dbus.service"])
        .unwrap();
    watched.wait("the loss of the bus", unavailable);
    let since = watched.wait("the return of the bus", available);
    let notices = watched.notices();
    assert!(
        matches!(notices.as_slice(), [lost, "systemd can be reached again"] if lost.starts_with("systemd cannot be reached any more")),
        "{notices:?}"
    );
    world.systemctl(&["stop", "a.service"]).unwrap();
    // Nobody needs it any more: it is unloaded at once.
    watched.wait(
        "the end of a.service",
        |body| matches!(body, Body::Unit(unit) if unit.name == "a.service" && unit.state.is_none()),
    );
    world.systemctl(&["start", "b.service"]).unwrap();
    watched.wait_unit("b.service", |state| state.sub == "running");
    let changes = watched.changes(since);
    let others = changes
        .iter()
        .filter(|change| !change.starts_with("a.service ") && !change.starts_with("b.service "));
    assert_eq!(others.count(), 0, "{changes:#?}");
}

/// Where dbus is down systemd itself is asked, which ends all connections when it runs itself anew. It talks only to those
/// of its own pid namespace: here the tracer itself runs in the world.
#[test]
fn without_a_bus_systemd_itself_is_asked() {
    let world = World::boot(program(), &[]).unwrap();
    world.systemctl(&["stop", "dbus.socket", "dbus.service"]).unwrap();
    let (there, tracer) = world.shared("tracer");
    copy_to(&there).unwrap();
    let (there, trace) = world.shared("trace.pcapng");
    let mut command = world.command(&tracer, &["--plain", "--record", &trace]).unwrap();
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let pid = until("the tracer", || child_of(child.id()));
    // Beside a pair for signals that is its only Unix socket. That all was listed by it does not show from outside.
    let connection = || Some(unix_sockets(pid)).filter(|sockets| sockets.len() == 3);
    let first = until("a connection", connection);
    std::thread::sleep(BEFORE_BREAK);
    world.systemctl(&["daemon-reexec"]).unwrap();
    until("another connection", || connection().filter(|now| *now != first));
    std::thread::sleep(BEFORE_BREAK);
    lab::process::send(pid, libc::SIGINT).unwrap();
    assert!(child.wait().unwrap().success());
    let told: Vec<Event> = tracer::trace::Reader::open(&there)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let capabilities: Vec<_> = told
        .iter()
        .filter_map(|event| match &event.body {
            Body::Capability(told) if told.name == systemd::CAPABILITY => Some(told),
            _ => None,
        })
        .collect();
    let states: Vec<_> = capabilities.iter().map(|told| told.state).collect();
    assert_eq!(states, [CapabilityState::Available], "{capabilities:?}");
    let notices: Vec<_> = told
        .iter()
        .filter_map(|event| match &event.body {
            Body::Notice(notice) => Some(notice.text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(notices, ["systemd has run itself anew (daemon-reexec)"]);
}

/// systemd itself was asked whether a bus runs: of that no connection stays.
#[test]
fn where_a_bus_runs_it_is_the_only_connection() {
    let world = World::boot(program(), &[]).unwrap();
    let (there, tracer) = world.shared("tracer");
    copy_to(&there).unwrap();
    let mut command = world.command(&tracer, &["--plain"]).unwrap();
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let pid = until("the tracer", || child_of(child.id()));
    // Beside a pair for signals.
    let is_one = || (unix_sockets(pid).len() == 3).then_some(());
    until("a connection", is_one);
    std::thread::sleep(BEFORE_BREAK);
    let sockets = unix_sockets(pid);
    lab::process::send(pid, libc::SIGINT).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(sockets.len(), 3, "{sockets:?}");
}

/// Why nothing is seen, of a bus where there is nothing to be seen.
fn why_nothing(bus: &str) -> String {
    let mut watched = Watched::at(bus, "");
    let at = watched.wait("that nothing is seen", unavailable);
    assert_eq!(at, 1, "{:?}", watched.told);
    let Body::Capability(told) = watched.told.remove(0).body else {
        panic!("no capability");
    };
    told.why
}

#[test]
fn where_there_is_no_systemd_that_is_said() {
    let why = why_nothing("unix:path=/nonexistent/bus;unix:path=/nonexistent/private");
    for part in [
        "/nonexistent/bus: ",
        "/nonexistent/private: ",
        "--systemd-bus",
        "units",
    ] {
        assert!(why.contains(part), "{part} is not in: {why}");
    }
}

#[test]
fn a_bus_without_systemd_is_no_systemd() {
    let folder = Folder::new().unwrap();
    let address = format!("unix:path={}", folder.file("bus").display());
    let mut daemon = Command::new("dbus-daemon");
    daemon.args(["--session", "--nofork", "--nopidfile", "--address", &address]);
    lab::process::bind(&mut daemon, libc::SIGKILL, None);
    let mut daemon = daemon
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("a bus", || folder.file("bus").exists().then_some(()));
    let why = why_nothing(&address);
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert!(why.starts_with("systemd is not on the bus "), "{why}");
}

/// One that takes connections and says nothing. `tracer node` waits for 5 s, in which systemd itself is to be asked too.
#[test]
fn a_bus_that_does_not_answer_is_given_up_soon() {
    let folder = Folder::new().unwrap();
    let path = folder.file("bus");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let why = why_nothing(&format!("unix:path={}", path.display()));
    assert!(why.contains("no answer in 3 s"), "{why}");
}

/// 100 restarts, five at a time. How long after each it is told, is printed.
#[test]
fn each_of_many_changes_is_told() {
    const SERVICES: usize = 5;
    let sleeper = unit("StartLimitIntervalSec=0\n[Service]\nExecStart=sleep 1000\n");
    let names: Vec<String> = (0..SERVICES)
        .map(|number| format!("many-{number}.service"))
        .collect();
    let units: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), sleeper.as_str()))
        .collect();
    let world = World::boot(program(), &units).unwrap();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    world.systemctl(&[&["start"], names.as_slice()].concat()).unwrap();
    let mut watched = Watched::ready(&world);
    let mut delays = Vec::new();
    let mut invocations = BTreeMap::new();
    for _ in 0..20 {
        let restart = [&["restart", "--no-block"], names.as_slice()].concat();
        world.systemctl(&restart).unwrap();
        let mut left = SERVICES;
        while left > 0 {
            let at = watched.wait("a restart", |body| matches!(body, Body::Unit(_)));
            let event = &watched.told[at - 1];
            let now = tracer::node::clock::boottime_ns();
            let Body::Unit(told) = &event.body else { continue };
            let running = told.state.as_ref().filter(|state| state.sub == "running");
            if let Some(UnitState { invocation, .. }) = running
                && invocations.insert(told.name.clone(), invocation.clone()).as_ref() != Some(invocation)
            {
                delays.push(now.saturating_sub(event.at));
                left -= 1;
            }
        }
    }
    delays.sort_unstable();
    let [median, p99] = [50, 99].map(|percent| Duration::from_nanos(delays[delays.len() * percent / 100]));
    println!("{} changes: median {median:?}, p99 {p99:?}", delays.len());
}

/// Waits until there is something.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "there is not {what} after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
