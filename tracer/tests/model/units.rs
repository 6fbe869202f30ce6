//! What units did, in sentences.

use tracer::event::{
    Body, CapabilityState, Clock, Job, JobState, Limits, Seen, Thing, Unit, UnitState, Version,
};
use tracer::report::{Confidence, Deadline};

use crate::pairing::{networkd, set};
use crate::story::*;

/// When the story begins, in ns since 1970: 2023-10-08 06:00 UTC.
const START: i64 = 1_696_744_800_000_000_000;

fn unit(story: &mut Story, name: &str, seen: Seen, state: UnitState) {
    story.say(Body::Unit(Box::new(Unit {
        name: name.to_owned(),
        seen,
        state: Some(state),
    })));
}

fn runs(invocation: &str) -> UnitState {
    UnitState {
        active: "active".to_owned(),
        sub: "running".to_owned(),
        invocation: invocation.to_owned(),
        ..UnitState::default()
    }
}

fn failed(result: &str, processes: u32) -> UnitState {
    UnitState {
        active: "failed".to_owned(),
        sub: "failed".to_owned(),
        result: result.to_owned(),
        processes,
        ended: Some(START + 2_000_000_000),
        ..UnitState::default()
    }
}

/// More units have a job then than a report has room for.
#[test]
fn a_reboot_is_told_among_all_that_is_stopped_for_it() {
    let mut story = healthy();
    let mut job = |id, name: &str, action: &str, state: UnitState| {
        unit(&mut story, name, Seen::Found, state);
        story.say(Body::Job(Job {
            id,
            unit: name.to_owned(),
            seen: Seen::Told,
            action: action.to_owned(),
            state: JobState::Waiting,
        }));
    };
    for id in 0..150 {
        job(id, &format!("{id}.service"), "stop", runs("1"));
    }
    let rests = UnitState {
        active: "inactive".to_owned(),
        sub: "dead".to_owned(),
        ..UnitState::default()
    };
    job(150, "reboot.target", "start", rests);
    story.tick();
    let first = &story.report().node.units[0];
    assert_eq!(
        (first.name.as_str(), first.job.as_str()),
        ("reboot.target", "start queued")
    );
}

#[test]
fn what_a_manager_removed_is_counted() {
    let name = "systemd-networkd.service";
    let rule = |priority| Thing::Rule {
        version: Version::V4,
        priority,
        text: "from all fwmark 0x200/0xf00 lookup 2004".to_owned(),
        table: 2004,
    };
    let removed = |rules: u32| {
        let mut story = healthy();
        unit(&mut story, name, Seen::Found, runs("1"));
        for priority in 0..rules {
            set(&mut story, rule(priority), Some(""), Seen::Found, None);
        }
        story.idle(4);
        unit(&mut story, name, Seen::Told, runs("2"));
        for priority in 0..rules {
            set(&mut story, rule(priority), None, Seen::Told, Some(networkd()));
        }
        story.idle(2);
        story.verdict("R02").explanation
    };
    let begun = "systemd-networkd.service was started anew at 06:00:04 UTC and removed";
    assert_eq!(removed(1), format!("{begun} 1 rule, which is still missing."));
    assert_eq!(removed(2), format!("{begun} 2 rules, which are still missing."));
}

/// Who mends it by hand sets the rule where the kernel has its own, which is not where it was.
#[test]
fn what_another_rule_does_as_well_is_not_missing_and_the_rest_is_until_now() {
    let rule = |priority, text: &str, table| Thing::Rule {
        version: Version::V4,
        priority,
        text: text.to_owned(),
        table,
    };
    let local = |priority| rule(priority, "from all lookup local", 255);
    let marked = rule(9, "from all fwmark 0x200/0xf00 lookup 2004", 2004);
    let name = "systemd-networkd.service";
    let mut story = healthy();
    unit(&mut story, name, Seen::Found, runs("1"));
    let both = [local(100), marked];
    for thing in both.clone() {
        set(&mut story, thing, Some(""), Seen::Found, None);
    }
    story.idle(4);
    unit(&mut story, name, Seen::Told, runs("2"));
    for thing in both {
        set(&mut story, thing, None, Seen::Told, Some(networkd()));
    }
    story.idle(2);
    set(&mut story, local(0), Some(""), Seen::Told, None);
    story.idle(20);
    let report = story.report();
    let verdict = story.verdict("R02");
    let explanation = &verdict.explanation;
    assert!(
        explanation.ends_with(" removed 1 rule, which is still missing."),
        "{explanation}"
    );
    assert_eq!(
        verdict
            .remedy
            .iter()
            .filter(|line| line.contains("ip rule add"))
            .count(),
        1
    );
    assert_eq!(verdict.last, report.window.end);
}

/// A unit that crashed was not ended by anybody's force.
#[test]
fn how_a_unit_ended_is_told_by_its_result() {
    let verdict = crashed(&["agent.service"]).verdict("R26");
    let explanation = &verdict.explanation;
    assert!(
        explanation.starts_with("Flows began to starve at 06:00:0")
            && explanation.ends_with(" after the end of agent.service (result core-dump)."),
        "{explanation}"
    );
    assert_eq!(verdict.confidence, Confidence::Weak);
}

/// That it ended before says little of a unit that has nothing to do with what packets go by.
#[test]
fn only_units_that_others_need_are_more_than_a_weak_sign() {
    let verdict = crashed(&["agent.service", "containerd.service"]).verdict("R26");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert_eq!(verdict.units, ["containerd.service"]);
}

/// Flows begin to starve after these have crashed.
fn crashed(units: &[&str]) -> Story {
    let mut story = healthy();
    for name in units {
        unit(&mut story, name, Seen::Found, runs("1"));
        unit(&mut story, name, Seen::Told, failed("core-dump", 0));
    }
    story.rounds(12, |story| story.ask_and_lose(client(40_000), foreign()));
    story
}

/// The time that systemd tells is that of the clock as it stood then.
#[test]
fn a_unit_that_crashed_is_found_though_the_clock_was_set() {
    const HOUR: i64 = 3_600_000_000_000;
    let set = |story: &mut Story, by: i64| {
        story.say(Body::Clock(Clock {
            suspended: 0,
            wall_offset: START - story.events[0].at.cast_signed() + by,
        }));
    };
    let crashed = |before: i64, after: i64| {
        let mut story = healthy();
        set(&mut story, before);
        let state = UnitState {
            ended: Some(START + 2_000_000_000 + before),
            ..failed("core-dump", 0)
        };
        unit(&mut story, "agent.service", Seen::Told, state.clone());
        story.tick();
        set(&mut story, after);
        unit(&mut story, "agent.service", Seen::Told, state);
        story.rounds(12, |story| story.ask_and_lose(client(40_000), foreign()));
        let verdict = story.verdict("R26");
        assert_eq!(
            verdict.evidence[0].text,
            "agent.service: result core-dump, ended at 06:00:02 UTC"
        );
    };
    crashed(0, 0);
    crashed(HOUR, HOUR);
    crashed(-HOUR, HOUR);
}

/// Who started them is not seen: that they are in its cgroup is.
#[test]
fn processes_that_are_left_are_those_in_the_cgroup() {
    let mut story = healthy();
    unit(&mut story, "a.service", Seen::Found, failed("timeout", 1));
    assert_eq!(
        story.verdict("R28").explanation,
        "a.service ended, and 1 process in its cgroup still runs."
    );
    unit(&mut story, "b.service", Seen::Found, failed("timeout", 2));
    assert_eq!(
        story.verdict("R28").explanation,
        "a.service and b.service ended, and 3 processes in their cgroups still run."
    );
    story.capability("systemd", CapabilityState::Unavailable);
    story.idle(20);
    assert_eq!(
        story.verdict("R28").explanation,
        "a.service and b.service ended, and 3 processes in their cgroups still run, as last known at 06:00:02 UTC: systemd cannot \
         be asked since."
    );
}

/// What is told of the limit of a service so many seconds after it began to run; times of its own are in µs.
fn limit(limits: &Limits, seconds: u32) -> Option<Deadline> {
    let mut story = healthy();
    let now = story.events.last().unwrap().at / 1000;
    let state = UnitState {
        limits: Limits {
            active_entered: now,
            alive: now,
            ..limits.clone()
        },
        ..runs("1")
    };
    unit(&mut story, "a.service", Seen::Found, state);
    let ticks = 2 * seconds;
    story.idle(ticks);
    story.report().node.units[0].deadline.clone()
}

#[test]
fn a_limit_with_a_random_part_is_overdue_when_all_of_it_is_over() {
    let limits = Limits {
        runtime_max: 8_000_000,
        runtime_extra: 30_000_000,
        ..Limits::default()
    };
    let told = |seconds| {
        let deadline = limit(&limits, seconds).unwrap();
        (deadline.seconds.unwrap(), deadline.seconds_at_most)
    };
    assert_eq!(told(3), (5.0, Some(35.0)));
    assert_eq!(told(20), (0.0, Some(18.0)));
    assert_eq!(told(40), (-2.0, None));
}

#[test]
fn a_watchdog_is_ahead_where_no_sign_of_life_was_given_in_time() {
    let limits = Limits {
        runtime_max: u64::MAX,
        watchdog: 10_000_000,
        ..Limits::default()
    };
    for (seconds, is_ahead) in [(3, false), (9, true)] {
        let deadline = limit(&limits, seconds).unwrap();
        let left = f64::from(10 - seconds);
        assert_eq!((deadline.seconds, deadline.watchdog), (Some(left), Some(10.0)));
        assert_eq!(deadline.action, "SIGABRT to all its processes");
        assert_eq!(deadline.is_ahead(), is_ahead, "{seconds}");
    }
    // It would have been ended: it has given one since the last look.
    assert_eq!(limit(&limits, 12), None);
    let none = Limits {
        runtime_max: u64::MAX,
        ..Limits::default()
    };
    let deadline = limit(&none, 3).unwrap();
    assert_eq!((deadline.seconds, deadline.is_ahead()), (None, false));
}
