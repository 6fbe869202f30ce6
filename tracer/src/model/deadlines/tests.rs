use super::*;
use crate::event::{Clock, Commands, Job, JobState, Processes, Seen, Signals, Unit};
use crate::model::units::Units;

const NAME: &str = "apt-daily-upgrade.service";

/// All spans differ, in µs.
fn limits() -> Limits {
    Limits {
        state_changed: 1_000,
        command_started: 0,
        active_entered: 500,
        inactive_entered: 700,
        inactive_exited: 400,
        start: 20,
        stop: 30,
        abort: 40,
        clean: 50,
        runtime_max: 60,
        runtime_extra: 0,
        watchdog: 0,
        alive: 0,
        restart: 70,
        job: INFINITE,
        job_running: INFINITE,
        job_action: None,
        failure_action: None,
        start_limit_action: None,
        ending: Ending {
            processes: Processes {
                main: true,
                control: false,
            },
            ..Ending::default()
        },
    }
}

fn with(change: impl Fn(&mut Ending)) -> Limits {
    let mut limits = limits();
    change(&mut limits.ending);
    limits
}

fn units(name: &str, sub: &str, limits: Limits) -> Units {
    let mut units = Units::default();
    let unit = Unit {
        name: name.to_owned(),
        seen: Seen::Told,
        state: Some(UnitState {
            sub: sub.to_owned(),
            limits,
            ..UnitState::default()
        }),
    };
    units.unit(1, &unit);
    units
}

fn deadline(sub: &str, limits: Limits) -> Option<Deadline> {
    units(NAME, sub, limits).deadline(NAME, 0)
}

fn due(units: &Units, name: &str) -> Due {
    match units.deadline(name, 0) {
        Some(Deadline::Due(due)) => due,
        other => panic!("{other:?}"),
    }
}

/// When, in µs, and what.
fn says_of(name: &str, sub: &str, limits: Limits) -> (u64, String) {
    let due = due(&units(name, sub, limits), name);
    assert_eq!((due.from, due.watchdog), (due.to, None), "{sub}");
    (due.from / 1000, due.action.to_string())
}

fn says(sub: &str, limits: Limits) -> (u64, String) {
    says_of(NAME, sub, limits)
}

fn is(at: u64, text: &str) -> (u64, String) {
    (at, text.to_owned())
}

#[test]
fn each_state_has_its_limit_and_its_end() {
    for sub in ["condition", "start-pre", "start", "start-post"] {
        assert_eq!(says(sub, limits()), is(1_020, "SIGTERM to all its processes"));
    }
    for (sub, at, text) in [
        ("running", 560, "SIGTERM to all its processes"),
        ("stop", 1_030, "SIGTERM to all its processes"),
        ("stop-post", 1_030, "SIGTERM to all its processes"),
        ("stop-sigterm", 1_030, "SIGKILL to all its processes"),
        ("final-sigterm", 1_030, "SIGKILL to all its processes"),
        ("stop-watchdog", 1_040, "SIGKILL to all its processes"),
        ("final-watchdog", 1_040, "SIGKILL to all its processes"),
        // What outlived SIGKILL is sent SIGTERM, as after a stop that went well.
        ("stop-sigkill", 1_030, "SIGTERM to all its processes"),
        (
            "final-sigkill",
            1_030,
            "no signal; it is given up, and its processes go on",
        ),
        ("cleaning", 1_050, "SIGKILL to all its processes"),
        ("auto-restart", 1_070, "it is started again"),
    ] {
        assert_eq!(says(sub, limits()), is(at, text), "{sub}");
    }
    for sub in ["dead", "failed", "exited", "auto-restart-queued"] {
        assert_eq!(deadline(sub, limits()), None, "{sub}");
    }
}

/// As apt's own unit has it: no limit while it upgrades, 15 minutes once it is stopped.
#[test]
fn what_has_no_limit_has_none() {
    let apt = || Limits {
        start: INFINITE,
        stop: 900_000_000,
        runtime_max: INFINITE,
        ..with(|ending| ending.kill_mode = KillMode::Process)
    };
    assert_eq!(deadline("start", apt()), Some(Deadline::NoLimit));
    assert_eq!(
        says("stop-sigterm", apt()),
        is(900_001_000, "SIGKILL to the main process; the others go on")
    );
    // Also where something is added to it at random.
    let extra = Limits {
        runtime_extra: 30,
        ..apt()
    };
    assert_eq!(deadline("running", extra), Some(Deadline::NoLimit));
    // Only of these is it asked what limits them.
    for name in ["a.socket", "a.mount", "a.target", "a"] {
        assert_eq!(units(name, "running", limits()).deadline(name, 0), None);
    }
}

#[test]
fn a_reload_that_takes_too_long_ends_nothing_else() {
    let reloads = || with(|ending| ending.processes.control = true);
    let text = "its reload is given up: SIGKILL to the reload process alone; the service goes on";
    assert_eq!(says("reload", reloads()), is(1_020, text));
    // Neither does KillMode matter nor any other mode.
    let others = with(|ending| {
        ending.processes.control = true;
        ending.kill_mode = KillMode::None;
        ending.start_failure = FailureMode::Abort;
        ending.signals.sends_last = false;
    });
    assert_eq!(says("reload", others), is(1_020, text));
    // One that the service does by itself.
    let text = "its reload is given up; the service goes on";
    for sub in ["reload", "reload-signal", "reload-post"] {
        assert_eq!(says(sub, limits()), is(1_020, text), "{sub}");
    }
    let due = due(&units(NAME, "reload-notify", limits()), NAME);
    assert_eq!(
        (due.from, due.to),
        (1_000_000, 1_020_000),
        "it goes on since before"
    );
}

#[test]
fn modes_of_failure_go_by_the_phase() {
    let start = |mode| with(|ending| ending.start_failure = mode);
    let stop = |mode| with(|ending| ending.stop_failure = mode);
    for sub in ["condition", "start-pre", "start", "start-post"] {
        for (mode, text) in [
            (FailureMode::Abort, "SIGABRT to all its processes"),
            (FailureMode::Kill, "SIGKILL to all its processes"),
        ] {
            assert_eq!(says(sub, start(mode)), is(1_020, text), "{sub}");
            assert_eq!(
                says(sub, stop(mode)),
                is(1_020, "SIGTERM to all its processes"),
                "{sub}"
            );
        }
    }
    for sub in ["stop", "stop-post"] {
        for (mode, text) in [
            (FailureMode::Abort, "SIGABRT to all its processes"),
            (FailureMode::Kill, "SIGKILL to all its processes"),
        ] {
            assert_eq!(says(sub, stop(mode)), is(1_030, text), "{sub}");
            assert_eq!(
                says(sub, start(mode)),
                is(1_030, "SIGTERM to all its processes"),
                "{sub}"
            );
        }
    }
    for sub in ["stop-sigterm", "final-sigterm"] {
        let aborted = is(1_030, "SIGABRT to all its processes");
        assert_eq!(says(sub, stop(FailureMode::Abort)), aborted, "{sub}");
        let killed = is(1_030, "SIGKILL to all its processes");
        assert_eq!(says(sub, stop(FailureMode::Kill)), killed, "{sub}");
    }
    for sub in ["stop-watchdog", "final-watchdog"] {
        let killed = is(1_040, "SIGKILL to all its processes");
        assert_eq!(says(sub, stop(FailureMode::Abort)), killed, "{sub}");
    }
}

#[test]
fn where_nothing_may_be_killed_nothing_is() {
    let spared = || with(|ending| ending.signals.sends_last = false);
    let terminated = "SIGTERM to all its processes; no SIGKILL follows";
    let given_up = "no signal; it is given up, and its processes go on";
    for (sub, at, text) in [
        ("start", 1_020, terminated),
        ("running", 560, terminated),
        ("stop", 1_030, terminated),
        ("stop-sigterm", 1_030, terminated),
        ("stop-watchdog", 1_040, terminated),
        ("stop-post", 1_030, terminated),
        ("final-sigterm", 1_030, given_up),
        ("final-watchdog", 1_040, given_up),
    ] {
        assert_eq!(says(sub, spared()), is(at, text), "{sub}");
    }
    let post = with(|ending| {
        ending.signals.sends_last = false;
        ending.commands.stop_post = true;
        ending.start_failure = FailureMode::Kill;
        ending.stop_failure = FailureMode::Kill;
    });
    let command = "no signal; its ExecStopPost= is run";
    for (sub, at, text) in [
        ("start", 1_020, command),
        ("stop", 1_030, command),
        ("stop-sigterm", 1_030, command),
        ("stop-watchdog", 1_040, command),
        ("stop-post", 1_030, given_up),
    ] {
        assert_eq!(says(sub, post.clone()), is(at, text), "{sub}");
    }
}

#[test]
fn whom_it_is_sent_to_goes_by_the_mode() {
    let mode = |kill_mode, main, control| {
        with(|ending| {
            ending.kill_mode = kill_mode;
            ending.processes = Processes { main, control };
        })
    };
    let start = |kill_mode, main, control| says("start", mode(kill_mode, main, control)).1;
    for (main, control, who) in [
        (true, false, "the main process"),
        (false, true, "the control process"),
        (true, true, "the main and the control process"),
    ] {
        assert_eq!(
            start(KillMode::Process, main, control),
            format!("SIGTERM to {who}; the others go on")
        );
        assert_eq!(
            start(KillMode::Mixed, main, control),
            format!("SIGTERM to {who}, then SIGKILL to all")
        );
        assert_eq!(
            start(KillMode::ControlGroup, main, control),
            "SIGTERM to all its processes"
        );
    }
    let given_up = "no signal; it is given up, and its processes go on";
    assert_eq!(start(KillMode::Process, false, false), given_up);
    assert_eq!(
        start(KillMode::Mixed, false, false),
        "SIGKILL to all its processes"
    );
    assert_eq!(start(KillMode::None, true, true), given_up);
    let stop = |kill_mode| says("stop-sigterm", mode(kill_mode, true, false)).1;
    assert_eq!(
        stop(KillMode::Process),
        "SIGKILL to the main process; the others go on"
    );
    assert_eq!(stop(KillMode::Mixed), "SIGKILL to all its processes");
    assert_eq!(stop(KillMode::None), given_up);
    let spared = with(|ending| {
        ending.kill_mode = KillMode::Mixed;
        ending.signals.sends_last = false;
    });
    assert_eq!(
        says("start", spared).1,
        "SIGTERM to the main process; the others go on; no SIGKILL follows"
    );
}

#[test]
fn signals_are_those_of_the_unit() {
    let own = || {
        with(|ending| {
            ending.signals = Signals {
                stop: Signal(2),
                restart: Signal(1),
                abort: Signal(3),
                last: Signal(12),
                sends_last: true,
            };
        })
    };
    assert_eq!(says("start", own()).1, "SIGINT to all its processes");
    assert_eq!(says("stop-sigterm", own()).1, "SIGUSR2 to all its processes");
    let mut abort = own();
    abort.ending.stop_failure = FailureMode::Abort;
    assert_eq!(says("stop-sigterm", abort).1, "SIGQUIT to all its processes");
    let mut mixed = own();
    mixed.ending.kill_mode = KillMode::Mixed;
    assert_eq!(
        says("running", mixed).1,
        "SIGINT to the main process, then SIGUSR2 to all"
    );
    for (action, signal) in [("stop", "SIGINT"), ("restart", "SIGHUP")] {
        let mut units = units(NAME, "stop", own());
        units.job(5, &job(action, JobState::Running, Seen::Found));
        let text = format!("{signal} to all its processes");
        assert_eq!(due(&units, NAME).action.to_string(), text);
    }
    // It has been stopped, and is started.
    let mut units = units(NAME, "start", own());
    units.job(5, &job("restart", JobState::Running, Seen::Found));
    assert_eq!(
        due(&units, NAME).action.to_string(),
        "SIGINT to all its processes"
    );
}

#[test]
fn one_that_has_run_for_long_enough_is_stopped_by_its_own_command() {
    let stops = with(|ending| {
        ending.commands = Commands {
            stop: true,
            stop_post: true,
        };
    });
    assert_eq!(says("running", stops), is(560, "its ExecStop= is run to stop it"));
}

#[test]
fn a_random_part_makes_it_a_span() {
    let extra = Limits {
        runtime_extra: 30,
        ..limits()
    };
    let due = due(&units(NAME, "running", extra), NAME);
    assert_eq!((due.from, due.to), (560_000, 590_000));
}

#[test]
fn a_scope_is_stopped_without_commands() {
    let says = |sub, limits| says_of("session-1.scope", sub, limits);
    let scope = |change: fn(&mut Ending)| {
        with(|ending| {
            ending.processes = Processes::default();
            change(ending);
        })
    };
    let given_up = "no signal; it is given up, and its processes go on";
    for (sub, at, text) in [
        ("running", 560, "SIGTERM to all its processes"),
        ("stop-sigterm", 1_030, "SIGKILL to all its processes"),
        ("stop-sigkill", 1_030, given_up),
    ] {
        assert_eq!(says(sub, scope(|_| ())), is(at, text), "{sub}");
    }
    let spared = || scope(|ending| ending.signals.sends_last = false);
    assert_eq!(says("stop-sigterm", spared()), is(1_030, given_up));
    let mixed = scope(|ending| {
        ending.kill_mode = KillMode::Mixed;
        ending.signals.sends_last = false;
    });
    assert_eq!(says("running", mixed), is(560, "SIGKILL to all its processes"));
    let controlled = scope(|ending| ending.has_controller = true);
    assert_eq!(
        says("running", controlled),
        is(560, "its controller is asked to stop it")
    );
}

fn watched() -> Limits {
    Limits {
        runtime_max: INFINITE,
        watchdog: 80,
        alive: 900,
        ..limits()
    }
}

#[test]
fn a_watchdog_is_a_limit_until_the_next_sign_of_life() {
    for sub in ["running", "reload-notify", "start-post"] {
        let limits = Limits {
            start: INFINITE,
            ..watched()
        };
        let due = due(&units(NAME, sub, limits), NAME);
        assert_eq!(
            (due.from, due.to, due.watchdog),
            (980_000, 980_000, Some(80)),
            "{sub}"
        );
        assert_eq!(due.action.to_string(), "SIGABRT to all its processes", "{sub}");
    }
    assert_eq!(
        says("stop-sigterm", watched()),
        is(1_030, "SIGKILL to all its processes"),
        "it counts no more"
    );
    let sooner = Limits {
        runtime_max: 60,
        ..watched()
    };
    assert_eq!(says("running", sooner).0, 560);
    // It has given one meanwhile, or systemd would have acted.
    let units = units(NAME, "running", watched());
    assert_eq!(units.deadline(NAME, 980_000), None);
    for (watchdog, alive) in [(0, 900), (INFINITE, 900), (80, 0)] {
        let without = Limits {
            watchdog,
            alive,
            ..watched()
        };
        assert_eq!(deadline("running", without), Some(Deadline::NoLimit));
    }
}

fn job(action: &str, state: JobState, seen: Seen) -> Job {
    Job {
        id: 7,
        unit: NAME.to_owned(),
        seen,
        action: action.to_owned(),
        state,
    }
}

#[test]
fn a_job_has_limits_of_its_own_and_suspension_moves_all() {
    let limits = Limits {
        start: 2_000_000,
        job_running: 1_000_000,
        ..limits()
    };
    let mut units = units(NAME, "start", limits);
    units.job(5, &job("start", JobState::Waiting, Seen::Told));
    units.job(6, &job("start", JobState::Running, Seen::Told));
    let says = |units: &Units| {
        let due = due(units, NAME);
        (due.from, due.action)
    };
    assert_eq!(says(&units), (1_000_000_006, Action::CancelJob(None)));
    let clock = |suspended, wall_offset| Clock {
        suspended,
        wall_offset,
    };
    units.clock(clock(50, 0));
    assert_eq!(says(&units), (1_000_000_056, Action::CancelJob(None)));
    units.clock(clock(0, 0));
    units.job(8, &job("start", JobState::Ended("done".to_owned()), Seen::Told));
    assert_eq!(says(&units).0, 2_001_000_000);
    for wall_offset in [0, 3_600_000_000_000, -3_600_000_000_000] {
        units.clock(clock(5, wall_offset));
        assert_eq!(says(&units).0, 2_001_000_005, "the clock was set");
    }
}

/// systemd does not say since when it is there: it has been so for a while.
#[test]
fn of_a_job_that_was_there_before_it_is_known_until_when_it_may_take() {
    let deadline = |state: JobState, (job_queued, job_running), start| {
        let limits = Limits {
            start,
            job: job_queued,
            job_running,
            job_action: NodeAction::of("reboot"),
            ..limits()
        };
        let mut units = units(NAME, "start", limits);
        units.job(5, &job("start", state, Seen::Found));
        match units.deadline(NAME, 0) {
            Some(Deadline::Due(due)) => Some((due.from, due.to, due.action.to_string())),
            Some(Deadline::NoLimit) => None,
            None => panic!("nothing is said of its limit"),
        }
    };
    let given_up = |to| {
        Some((
            5,
            to,
            "its job is given up, and the node is rebooted (JobTimeoutAction=)".to_owned(),
        ))
    };
    let running = |limits, start| deadline(JobState::Running, limits, start);
    assert_eq!(running((INFINITE, INFINITE), INFINITE), None);
    assert_eq!(running((INFINITE, 1_000_000), INFINITE), given_up(1_000_000_005));
    assert_eq!(running((3_000_000, 1_000_000), INFINITE), given_up(1_000_000_005));
    assert_eq!(running((3_000_000, 7_000_000), INFINITE), given_up(3_000_000_005));
    // At the latest, that is before what limits the state; or behind it.
    assert_eq!(running((INFINITE, 1_000_000), 2_000_000), given_up(1_000_000_005));
    let of_state = running((INFINITE, 5_000_000), 2_000_000).unwrap();
    assert_eq!(of_state.0, 2_001_000_000);
    // One that waits may do so for as long as nothing limits that.
    let waiting = |limits| deadline(JobState::Waiting, limits, INFINITE);
    assert_eq!(waiting((INFINITE, 1_000_000)), None);
    assert_eq!(waiting((3_000_000, 1_000_000)), given_up(3_000_000_005));
}

#[test]
fn what_is_done_to_the_whole_node_is_told() {
    let limits = Limits {
        start: 2_000_000,
        job_action: NodeAction::of("reboot-force"),
        failure_action: NodeAction::of("poweroff"),
        start_limit_action: NodeAction::of("reboot"),
        ..limits()
    };
    let of_state = due(&units(NAME, "start", limits.clone()), NAME);
    assert_eq!(of_state.then, Some(Consequence::Failed(NodeAction::PowerOff)));
    let restart = due(&units(NAME, "auto-restart", limits.clone()), NAME);
    assert_eq!(
        restart.then.unwrap().to_string(),
        "if that is once too often, the node is rebooted (StartLimitAction=)"
    );
    let reload = due(&units(NAME, "reload", limits.clone()), NAME);
    assert_eq!(reload.then, None, "it goes on");

    let job_running = 1_000_000;
    let mut units = units(
        NAME,
        "start",
        Limits {
            job_running,
            ..limits
        },
    );
    units.job(5, &job("start", JobState::Running, Seen::Told));
    let of_job = due(&units, NAME);
    assert_eq!(of_job.then, None);
    assert_eq!(
        of_job.action.to_string(),
        "its job is given up, and the node is rebooted (JobTimeoutAction=)"
    );
}

#[test]
fn mounts_sockets_and_swaps_are_limited_in_each_step() {
    let helper = |sub: &str, name: &str, change: &dyn Fn(&mut Limits)| {
        let mut limits = limits();
        limits.ending.processes = Processes {
            main: false,
            control: true,
        };
        change(&mut limits);
        units(name, sub, limits).deadline(name, 0)
    };
    let says = |sub: &str, name: &str, change: &dyn Fn(&mut Limits)| match helper(sub, name, change) {
        Some(Deadline::Due(due)) => (due.to, due.action.to_string()),
        other => panic!("{sub}: {other:?}"),
    };
    let all = |signal: &str| (1_030_000, format!("{signal} to all its processes"));
    let (mount, socket, swap) = ("data.mount", "a.socket", "dev-vda2.swap");
    assert_eq!(says("mounting", mount, &|_| {}), all("SIGTERM"));
    assert_eq!(says("unmounting-sigterm", mount, &|_| {}), all("SIGKILL"));
    let no_kill = |limits: &mut Limits| limits.ending.signals.sends_last = false;
    assert!(
        says("unmounting-sigterm", mount, &no_kill)
            .1
            .starts_with("no signal; it is given up")
    );
    let process = |limits: &mut Limits| limits.ending.kill_mode = KillMode::Process;
    assert_eq!(
        says("deactivating", swap, &process).1,
        "SIGTERM to the control process; the others go on"
    );
    assert_eq!(says("start-post", socket, &|_| {}).1, "it is stopped");
    let after = |limits: &mut Limits| limits.ending.commands.stop_post = true;
    assert_eq!(
        says("stop-pre-sigkill", socket, &after).1,
        "no signal; its ExecStopPost= is run"
    );
    for (sub, name) in [("mounted", mount), ("running", socket), ("active", swap)] {
        assert_eq!(helper(sub, name, &|_| {}), None, "{sub}");
    }
    let unlimited = |limits: &mut Limits| limits.stop = INFINITE;
    assert_eq!(helper("mounting", mount, &unlimited), Some(Deadline::NoLimit));
    // Of one that rests only the state is read: what limits its job is not known.
    let mut units = units(mount, "mounted", Limits::default());
    units.job(
        5,
        &Job {
            unit: mount.to_owned(),
            ..job("stop", JobState::Waiting, Seen::Told)
        },
    );
    assert_eq!(units.deadline(mount, 0), None);
}
