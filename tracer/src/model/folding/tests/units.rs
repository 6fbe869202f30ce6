//! What systemd tells of a unit and of its job.

use super::*;

fn of_unit(at: u64, name: &str, before: &str, after: &str) -> Change {
    Change {
        subject: Subject::Unit(name.to_owned()),
        ..change(at, link(""), before, Some(after), None)
    }
}

fn of_job(at: u64, name: &str, before: Option<&str>, after: &str) -> Change {
    Change {
        subject: Subject::Job(name.to_owned()),
        before: before.map(str::to_owned),
        ..change(at, link(""), "", Some(after), None)
    }
}

/// What those that lead became, in their order.
fn lines(changes: &[Change]) -> Vec<String> {
    let mut timeline = Timeline::default();
    for change in changes {
        timeline.add(change.clone());
    }
    let led = timeline.folded().filter(|told| told.follows.is_none());
    led.map(|told| {
        let (Subject::Unit(name) | Subject::Job(name)) = &told.change.subject else {
            return String::new();
        };
        format!("{name} {}", told.change.after.as_deref().unwrap_or_default())
    })
    .collect()
}

#[test]
fn of_the_steps_of_a_start_what_it_ended_in_stays() {
    const A: &str = "a.service";
    let start = [
        of_job(0, A, None, "start queued"),
        of_job(1, A, Some("start queued"), "start running"),
        of_unit(2, A, "inactive (dead)", "activating (start)"),
        of_unit(400, A, "activating (start)", "active (running)"),
        of_job(401, A, Some("start running"), "start ended: done"),
    ];
    assert_eq!(lines(&start), ["a.service active (running)"]);
    // What befalls it then is another matter.
    let mut crash = start.to_vec();
    crash.push(of_unit(
        500,
        A,
        "active (running)",
        "failed (failed), result exit-code",
    ));
    assert_eq!(
        lines(&crash),
        [
            "a.service active (running)",
            "a.service failed (failed), result exit-code"
        ]
    );
    // Its job may be heard of late.
    let late = [
        of_unit(0, A, "active (running)", "activating (start)"),
        of_job(10, A, None, "restart running"),
        of_unit(136, A, "activating (start)", "active (running)"),
        of_job(140, A, Some("restart running"), "restart ended: done"),
    ];
    assert_eq!(lines(&late), ["a.service active (running)"]);
    // Of one that was not heard of before it ended it is not known what it was for.
    let end = [
        of_unit(0, A, "active (running)", "active (running)"),
        of_job(70, A, None, "ended: done"),
    ];
    assert_eq!(lines(&end), ["a.service active (running)"]);
    // So is a stop before the start, and what takes long.
    let restart = [
        of_job(0, A, None, "restart queued"),
        of_job(1, A, Some("restart queued"), "restart running"),
        of_unit(2, A, "active (running)", "deactivating (stop-sigterm)"),
        of_unit(900, A, "deactivating (stop-sigterm)", "inactive (dead)"),
        of_job(901, A, Some("restart running"), "start queued"),
        of_job(902, A, Some("start queued"), "start running"),
        of_unit(903, A, "inactive (dead)", "activating (start)"),
        of_unit(9000, A, "activating (start)", "active (running)"),
        of_job(9001, A, Some("start running"), "start ended: done"),
    ];
    assert_eq!(
        lines(&restart),
        [
            "a.service inactive (dead)",
            "a.service activating (start)",
            "a.service active (running)"
        ]
    );
}

#[test]
fn nothing_of_another_unit_is_hidden_nor_what_went_wrong_on_the_way() {
    let both = [
        of_job(0, "a.service", None, "start queued"),
        of_job(0, "b.service", None, "start queued"),
        of_unit(1, "a.service", "inactive (dead)", "activating (start)"),
        of_unit(2, "b.service", "inactive (dead)", "active (running)"),
        of_job(3, "b.service", Some("start queued"), "start ended: done"),
        of_unit(4, "a.service", "activating (start)", "activating (auto-restart)"),
        of_unit(5, "a.service", "activating (auto-restart)", "activating (start)"),
        of_unit(
            6,
            "a.service",
            "activating (start)",
            "deactivating (stop-sigterm), result timeout",
        ),
        of_unit(
            7,
            "a.service",
            "deactivating (stop-sigterm), result timeout",
            "failed (failed), result timeout",
        ),
    ];
    assert_eq!(
        lines(&both),
        [
            "b.service active (running)",
            "a.service activating (auto-restart)",
            "a.service deactivating (stop-sigterm), result timeout",
            "a.service failed (failed), result timeout"
        ]
    );
}

#[test]
fn a_job_that_changes_nothing_is_told_by_its_end() {
    let job = [
        of_job(0, "a.service", None, "start queued"),
        of_job(1, "a.service", Some("start queued"), "start ended: dependency"),
        of_job(2, "a.service", None, "stop queued"),
    ];
    assert_eq!(
        lines(&job),
        ["a.service start ended: dependency", "a.service stop queued"]
    );
}
