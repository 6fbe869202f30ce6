use super::*;

fn service() -> HashMap<&'static str, Value<'static>> {
    HashMap::from([
        ("ActiveState", Value::from("activating")),
        ("SubState", Value::from("start")),
        ("Result", Value::from("success")),
        ("MainPID", Value::from(42u32)),
        ("InvocationID", Value::from(vec![0xabu8, 0x01])),
        ("NRestarts", Value::from(3u32)),
        ("ControlGroup", Value::from("/system.slice/a.service")),
        ("StateChangeTimestampMonotonic", Value::from(7u64)),
        ("InactiveExitTimestamp", Value::from(9u64)),
        ("InactiveEnterTimestamp", Value::from(0u64)),
        ("TimeoutStartUSec", Value::from(u64::MAX)),
        ("TimeoutStopUSec", Value::from(900_000_000u64)),
        ("RestartUSec", Value::from(5u64)),
        ("KillMode", Value::from("process")),
        ("KillSignal", Value::from(2i32)),
        ("ExecStop", Value::from(vec![("/bin/true", false)])),
        ("ExecStopPost", Value::from(Vec::<u64>::new())),
        ("Unknown", Value::from(1.5)),
    ])
}

fn with(name: &'static str, value: Value<'static>) -> Properties<'static> {
    let mut all = service();
    all.insert(name, value);
    Properties(all)
}

#[test]
fn a_service_is_read() {
    let state = Properties(service()).unit().unwrap();
    assert_eq!(
        (state.active.as_str(), state.sub.as_str()),
        ("activating", "start")
    );
    assert_eq!((state.main_pid, state.restarts), (42, 3));
    assert_eq!(state.invocation, "ab01");
    assert_eq!(state.cgroup, "/system.slice/a.service");
    assert_eq!((state.limits.state_changed, state.limits.stop), (7, 900_000_000));
    assert_eq!((state.begun, state.ended), (Some(9000), None));
    assert_eq!(state.limits.restart, 5);
    let ending = &state.limits.ending;
    assert_eq!(ending.kill_mode, KillMode::Process);
    assert_eq!(
        (ending.signals.stop, ending.signals.restart),
        (Signal(2), Signal(2))
    );
    assert!(ending.processes.main && !ending.processes.control);
    assert!(ending.commands.stop && !ending.commands.stop_post);
    // What an older systemd does not tell limits nothing, and is done as that one does it.
    assert_eq!(state.limits.abort, 900_000_000);
    assert_eq!((state.limits.active_entered, state.limits.watchdog()), (0, None));
    assert_eq!(
        (ending.signals.last, ending.signals.sends_last),
        (Signal(9), true)
    );
    assert_eq!(ending.start_failure, FailureMode::Terminate);
}

#[test]
fn of_several_commands_the_one_that_was_started_last_counts() {
    let command = |started: u64| {
        (
            "/bin/sleep",
            vec!["sleep"],
            false,
            1_u64,
            started,
            0_u64,
            0_u64,
            7_u32,
            0_i32,
            0_i32,
        )
    };
    let commands = |all: &[u64]| Value::from(all.iter().copied().map(command).collect::<Vec<_>>());
    let mut all = service();
    all.insert("ExecStartPre", commands(&[5]));
    all.insert("ExecStart", commands(&[9, 20, 0]));
    let started = |all| Properties(all).unit().unwrap().limits.command_started;
    assert_eq!(started(all), 20);
    assert_eq!(started(service()), 0);
}

#[test]
fn a_mount_on_its_way_has_one_limit_for_all_that_it_does() {
    let mut all = service();
    all.retain(|name, _| !name.starts_with("Timeout"));
    all.insert("TimeoutUSec", Value::from(7u64));
    let state = Properties(all.clone()).limited().unwrap();
    assert_eq!((state.limits.start, state.limits.stop), (7, 7));
    assert_eq!((state.invocation.as_str(), state.begun), ("ab01", None));
    all.insert("ActiveState", Value::from("active"));
    let rests = Properties(all).limited().unwrap();
    assert_eq!(rests.limits, Limits::default());
    assert_eq!(rests.invocation, "ab01");
}

#[test]
fn what_a_newer_systemd_tells_is_read() {
    let mut all = service();
    all.extend([
        ("RestartUSecNext", Value::from(20u64)),
        ("RestartKillSignal", Value::from(1i32)),
        ("WatchdogSignal", Value::from(3i32)),
        ("FinalKillSignal", Value::from(6i32)),
        ("SendSIGKILL", Value::from(false)),
        ("TimeoutStartFailureMode", Value::from("abort")),
        ("TimeoutStopFailureMode", Value::from("kill")),
        ("WatchdogUSec", Value::from(30u64)),
        ("WatchdogTimestampMonotonic", Value::from(4u64)),
        ("RuntimeRandomizedExtraUSec", Value::from(40u64)),
        ("ControlPID", Value::from(43u32)),
    ]);
    let limits = Properties(all).unit().unwrap().limits;
    assert_eq!((limits.restart, limits.runtime_extra), (20, 40));
    assert_eq!(limits.watchdog(), Some((30, 4)));
    let Ending {
        signals,
        start_failure,
        stop_failure,
        processes,
        ..
    } = limits.ending;
    let expected = Signals {
        stop: Signal(2),
        restart: Signal(1),
        abort: Signal(3),
        last: Signal(6),
        sends_last: false,
    };
    assert_eq!(signals, expected);
    assert_eq!(
        (start_failure, stop_failure),
        (FailureMode::Abort, FailureMode::Kill)
    );
    assert!(processes.main && processes.control);
}

#[test]
fn one_that_was_never_started_has_no_invocation() {
    for none in [vec![], vec![0u8; 16]] {
        let state = with("InvocationID", Value::from(none)).unit().unwrap();
        assert_eq!(state.invocation, "");
    }
}

#[test]
fn what_is_missing_or_of_another_type_is_named() {
    let mut all = service();
    all.remove("SubState");
    let error = Properties(all).unit().unwrap_err();
    assert_eq!(error.to_string(), "its property SubState is missing");
    for (name, value) in [
        ("ActiveState", Value::from(1u32)),
        ("MainPID", Value::from("1")),
        ("InvocationID", Value::from("ab")),
        ("InvocationID", Value::from(vec![1u32])),
        ("TimeoutStopUSec", Value::from(-1i64)),
        ("KillMode", Value::from(false)),
        ("KillSignal", Value::from(15u32)),
        ("ExecStop", Value::from("true")),
        ("SendSIGKILL", Value::from("yes")),
    ] {
        let error = with(name, value).unit().unwrap_err();
        assert!(
            error.to_string().starts_with(&format!("its property {name} ")),
            "{error}"
        );
    }
    assert!(Properties(HashMap::new()).unit().is_err());
    assert!(Properties(HashMap::new()).timer().is_err());
}

fn timer(more: &[(&'static str, Value<'static>)]) -> Result<TimerState, Odd> {
    let mut all = HashMap::from([
        ("ActiveState", Value::from("active")),
        ("SubState", Value::from("waiting")),
        ("Unit", Value::from("apt-daily-upgrade.service")),
        ("NextElapseUSecRealtime", Value::from(1_000_000u64)),
        ("NextElapseUSecMonotonic", Value::from(u64::MAX)),
        ("LastTriggerUSec", Value::from(0u64)),
        ("RandomizedDelayUSec", Value::from(3_600_000_000u64)),
        ("AccuracyUSec", Value::from(60_000_000u64)),
        ("Persistent", Value::from(true)),
        (
            "TimersCalendar",
            Value::from(vec![("OnCalendar", "*-*-* 6:00", 1_000_000u64)]),
        ),
        (
            "TimersMonotonic",
            Value::from(vec![("OnBootUSec", 5_400_000_000u64, 5_400_000_000u64)]),
        ),
    ]);
    for (name, value) in more {
        all.insert(name, value.try_clone().unwrap());
    }
    Properties(all).timer()
}

#[test]
fn a_timer_is_read() {
    let state = timer(&[]).unwrap();
    assert_eq!(state.unit, "apt-daily-upgrade.service");
    assert!(state.active && state.persistent);
    assert_eq!((state.random_delay, state.accuracy), (3_600_000_000, 60_000_000));
    assert_eq!(
        state.schedule.lines,
        ["OnCalendar=*-*-* 6:00", "OnBootSec=1h 30min"]
    );
    assert_eq!(state.last, None);
    assert_eq!(state.next(5), Some(1_000_000_000));
    assert_eq!(state.scheduled(5), Some(1_000_000_000));
}

/// systemd adds the random delay to what the schedule says.
#[test]
fn the_schedule_itself_is_before_the_next_time() {
    let next = ("NextElapseUSecRealtime", Value::from(3_000_000_000u64));
    assert_eq!(
        timer(std::slice::from_ref(&next)).unwrap().scheduled(5),
        Some(1_000_000_000)
    );
    let delay = ("RandomizedDelayUSec", Value::from(1_000_000u64));
    let far = timer(&[next, delay]).unwrap();
    assert_eq!(far.scheduled(5), None, "it is of another time");
    let none = ("NextElapseUSecRealtime", Value::from(u64::MAX));
    assert_eq!(timer(&[none]).unwrap().scheduled(5), None);
}

#[test]
fn the_earliest_of_the_times_of_a_timer_counts() {
    let none = ("NextElapseUSecRealtime", Value::from(0u64));
    assert_eq!(timer(std::slice::from_ref(&none)).unwrap().next(5), None);
    let span = ("NextElapseUSecMonotonic", Value::from(7u64));
    let both = timer(std::slice::from_ref(&span)).unwrap();
    assert_eq!(both.next(100), Some(7_100));
    assert_eq!(both.next(i64::MAX), Some(1_000_000_000));
    assert_eq!(timer(&[none, span]).unwrap().next(100), Some(7_100));
    let never = ("NextElapseUSecRealtime", Value::from(u64::MAX - 1));
    assert_eq!(timer(&[never]).unwrap().next(0), None);
}

#[test]
fn a_timer_with_an_odd_schedule_is_refused() {
    for odd in [
        Value::from("x"),
        Value::from(vec![1u32]),
        Value::from(vec![("OnCalendar", true)]),
    ] {
        assert!(timer(&[("TimersCalendar", odd)]).is_err());
    }
}

#[test]
fn spans_are_in_the_words_of_unit_files() {
    for (span, text) in [
        (0, "0"),
        (1, "1us"),
        (2_000_000, "2s"),
        (900_000_000, "15min"),
        (90_061_001_000, "1d 1h 1min 1s 1ms"),
        (u64::MAX, "infinity"),
    ] {
        assert_eq!(words(span), text);
    }
}

#[test]
fn a_reload_that_went_well_says_nothing_and_one_that_did_not_says_how() {
    for (result, told) in [("success", ""), ("timeout", "timeout")] {
        let state = with("ReloadResult", Value::from(result)).unit().unwrap();
        assert_eq!(state.reload_result, told);
    }
    assert_eq!(
        Properties(service()).unit().unwrap().reload_result,
        "",
        "an older systemd"
    );
}

#[test]
fn how_a_path_and_a_timer_failed_is_read() {
    let mut all = service();
    all.insert("ActiveState", Value::from("failed"));
    all.insert("Result", Value::from("unit-start-limit-hit"));
    let path = Properties(all).brief().unwrap();
    assert_eq!(
        (path.result.as_str(), path.invocation.as_str()),
        ("unit-start-limit-hit", "ab01")
    );
    let result = ("Result", Value::from("resources"));
    assert_eq!(
        timer(std::slice::from_ref(&result)).unwrap().result,
        "",
        "it has not failed"
    );
    assert_eq!(
        timer(&[result, ("ActiveState", Value::from("failed"))])
            .unwrap()
            .result,
        "resources"
    );
}
