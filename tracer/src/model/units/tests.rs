use super::*;

const NAME: &str = "apt-daily-upgrade.service";

fn unit(sub: &str) -> Unit {
    Unit {
        name: NAME.to_owned(),
        seen: Seen::Told,
        state: Some(UnitState {
            active: "activating".to_owned(),
            sub: sub.to_owned(),
            invocation: "1".to_owned(),
            ..UnitState::default()
        }),
    }
}

#[test]
fn a_unit_that_fails_instead_of_being_started_again_has_hit_its_start_limit() {
    let mut units = Units::default();
    let mut told = |active: &str, sub: &str, invocation: &str| {
        let mut unit = unit(sub);
        let state = unit.state.as_mut().unwrap();
        active.clone_into(&mut state.active);
        invocation.clone_into(&mut state.invocation);
        state.result = "exit-code".to_owned();
        units.unit(1, &unit).and_then(|change| change.after)
    };
    let waits = "activating (auto-restart), result exit-code";
    let failed = "failed (failed), result exit-code";
    assert_eq!(told("activating", "auto-restart", "1").as_deref(), Some(waits));
    assert_eq!(
        told("active", "running", "2").as_deref(),
        Some("active (running), result exit-code")
    );
    assert_eq!(told("failed", "failed", "2").as_deref(), Some(failed), "it ran");
    told("activating", "auto-restart", "2");
    let refused = format!("{failed}, not started again: its start limit is hit");
    assert_eq!(told("failed", "failed", "2"), Some(refused));
    assert_eq!(told("failed", "failed", "2"), None, "it still is");
    assert_eq!(
        told("activating", "start", "3").as_deref(),
        Some("activating (start), result exit-code")
    );
    told("activating", "auto-restart", "3");
    let stopped = told("inactive", "dead", "3").unwrap();
    assert!(!stopped.contains("limit"), "{stopped}");
}

#[test]
fn a_start_by_hand_that_is_refused_is_told_of_the_unit() {
    let mut units = Units::default();
    let mut told = |name: &str, invocation: &str, changed: u64| {
        let mut unit = unit("failed");
        name.clone_into(&mut unit.name);
        let state = unit.state.as_mut().unwrap();
        "failed".clone_into(&mut state.active);
        invocation.clone_into(&mut state.invocation);
        state.result = "exit-code".to_owned();
        state.limits.state_changed = changed;
        units.unit(1, &unit).and_then(|change| change.after)
    };
    let failed = "failed (failed), result exit-code";
    let refused = format!("{failed}, not started again: its start limit is hit");
    assert_eq!(told(NAME, "1", 5).as_deref(), Some(failed));
    assert_eq!(told(NAME, "1", 5), None);
    assert_eq!(told(NAME, "2", 6).as_deref(), Some(failed), "another run");
    assert_eq!(told(NAME, "2", 7), Some(refused));
    assert_eq!(told(NAME, "2", 8), None, "it still is");
    // Found at first without its times.
    told("b.service", "1", 0);
    assert_eq!(told("b.service", "1", 7), None);
    told("b.mount", "1", 5);
    assert_eq!(told("b.mount", "1", 7), None);
}

#[test]
fn a_job_is_told_once_for_each_state_with_what_it_does() {
    let mut units = Units::default();
    let job = |state| Job {
        id: 7,
        unit: NAME.to_owned(),
        seen: Seen::Told,
        action: "start".to_owned(),
        state,
    };
    let says = |change: Option<Change>| change.and_then(|change| change.after);
    assert_eq!(
        says(units.job(5, &job(JobState::Waiting))),
        Some("start queued".to_owned())
    );
    assert_eq!(
        says(units.job(6, &job(JobState::Running))),
        Some("start running".to_owned())
    );
    assert_eq!(says(units.job(6, &job(JobState::Running))), None);
    let ended = job(JobState::Ended("done".to_owned()));
    assert_eq!(says(units.job(8, &ended)), Some("start ended: done".to_owned()));
    assert_eq!(units.jobs().count(), 0);
    // One that had ended before it could be asked what it does.
    let unknown = Job {
        id: 8,
        action: String::new(),
        ..ended
    };
    assert_eq!(
        says(units.job(9, &unknown)).as_deref(),
        Some("ended: done, over before it could be asked what it does")
    );
}

#[test]
fn a_new_invocation_is_a_change_though_the_state_is_the_same() {
    let mut units = Units::default();
    let found = Unit {
        seen: Seen::Found,
        ..unit("running")
    };
    assert_eq!(units.unit(1, &found), None);
    let again = unit("running");
    assert_eq!(units.unit(2, &again), None);
    let mut anew = again.clone();
    if let Some(state) = &mut anew.state {
        state.invocation = "2".to_owned();
    }
    let change = units.unit(3, &anew).unwrap();
    assert_eq!(change.after.as_deref(), Some("activating (running)"));
    assert_eq!(units.iter().next().map(|(_, known)| known.starts), Some(1));
    let gone = Unit { state: None, ..again };
    assert_eq!(units.unit(4, &gone).map(|change| change.after), Some(None));
    assert_eq!(units.iter().count(), 0);
}

/// A restart: what it came to is told with the run that is over, however many steps there were between.
#[test]
fn a_unit_that_runs_in_another_run_than_before_says_so() {
    let mut units = Units::default();
    let mut told = |active: &str, sub: &str, invocation: &str, main_pid| {
        let mut unit = unit(sub);
        let state = unit.state.as_mut().unwrap();
        active.clone_into(&mut state.active);
        invocation.clone_into(&mut state.invocation);
        state.main_pid = main_pid;
        units.unit(1, &unit).and_then(|change| change.after)
    };
    told("active", "running", "1", 460);
    told("activating", "start", "2", 471);
    assert_eq!(
        told("active", "running", "2", 471).as_deref(),
        Some("active (running), started anew, main process 471, was 460")
    );
    assert_eq!(told("active", "running", "2", 471), None);
    // What was told to have ended before is started, and no more.
    for rests in [("inactive", "dead"), ("activating", "auto-restart")] {
        told(rests.0, rests.1, "2", 0);
        assert_eq!(
            told("active", "running", "3", 480).as_deref(),
            Some("active (running)")
        );
        told("active", "running", "2", 471);
    }
    told("reloading", "reload", "2", 471);
    assert_eq!(
        told("active", "running", "2", 471).as_deref(),
        Some("active (running)")
    );
}

#[test]
fn a_failed_unit_whose_processes_go_on_says_so() {
    let state = UnitState {
        active: "failed".to_owned(),
        sub: "failed".to_owned(),
        result: "signal".to_owned(),
        processes: 3,
        ..UnitState::default()
    };
    assert_eq!(
        describe(&state),
        "failed (failed), result signal, 3 processes left in its cgroup"
    );
}

#[test]
fn a_timer_that_elapsed_is_a_change_and_a_new_draw_is_none() {
    let mut units = Units::default();
    let timer = |next, last| Timer {
        name: "apt-daily-upgrade.timer".to_owned(),
        unit: NAME.to_owned(),
        seen: Seen::Told,
        active: true,
        result: String::new(),
        next: Some(next),
        scheduled: None,
        last,
        random_delay: 3_600_000_000,
        accuracy: 0,
        schedule: Vec::new(),
        persistent: true,
    };
    assert_eq!(units.timer(1, &timer(10, None)), None);
    assert_eq!(units.timer(2, &timer(12, None)), None);
    let change = units.timer(3, &timer(20, Some(12))).unwrap();
    assert_eq!(change.after, Some(format!("elapsed, starts {NAME}")));
    assert_eq!(units.timers().count(), 1);
}

#[test]
fn where_systemd_is_lost_all_is_as_of_its_last_word() {
    let mut units = Units::default();
    let told = |units: &mut Units, at, name: &str, state| {
        let why = String::new();
        let name = name.to_owned();
        units.capability(at, &Capability { name, state, why });
        units.as_of()
    };
    let lost = CapabilityState::Unavailable;
    assert_eq!(told(&mut units, 5, SYSTEMD, lost), None, "it has told nothing");
    units.unit(6, &unit("start"));
    assert_eq!(told(&mut units, 7, "journal", lost), None);
    assert_eq!(told(&mut units, 8, SYSTEMD, CapabilityState::Partial), None);
    assert_eq!(told(&mut units, 9, SYSTEMD, lost), Some(9));
    assert_eq!(told(&mut units, 12, SYSTEMD, lost), Some(9), "it still is");
    assert_eq!(told(&mut units, 15, SYSTEMD, CapabilityState::Available), None);
}

#[test]
fn a_reload_that_failed_is_told_though_the_unit_runs() {
    let mut units = Units::default();
    let mut told = |sub: &str, reload_result: &str| {
        let mut unit = unit(sub);
        let state = unit.state.as_mut().unwrap();
        "active".clone_into(&mut state.active);
        reload_result.clone_into(&mut state.reload_result);
        units.unit(1, &unit).and_then(|change| change.after)
    };
    told("running", "");
    assert_eq!(
        told("running", "timeout").as_deref(),
        Some("active (running), its last reload failed: result timeout")
    );
    assert_eq!(told("running", "timeout"), None, "that was told");
    assert_eq!(
        told("running", "").as_deref(),
        Some("active (running)"),
        "another one went well"
    );
}

#[test]
fn what_was_done_too_often_is_told_in_words() {
    let says = |result: &str| {
        let mut unit = unit("failed");
        let state = unit.state.as_mut().unwrap();
        "failed".clone_into(&mut state.active);
        result.clone_into(&mut state.result);
        Units::default()
            .unit(1, &unit)
            .and_then(|change| change.after)
            .unwrap()
    };
    for (result, words) in [
        ("timeout", "result timeout"),
        (
            "start-limit-hit",
            "not started: its start limit is hit (result start-limit-hit)",
        ),
        (
            "service-start-limit-hit",
            "the start limit of its service is hit (result service-start-limit-hit)",
        ),
        (
            "unit-start-limit-hit",
            "the start limit of the unit that it starts is hit (result unit-start-limit-hit)",
        ),
        (
            "trigger-limit-hit",
            "it was triggered more often than it may be (result trigger-limit-hit)",
        ),
    ] {
        assert_eq!(says(result), format!("failed (failed), {words}"));
    }
}
