//! What units did, in sentences.

use tracer::event::{Body, Seen, Thing, Unit, UnitState, Version};

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

/// A unit that crashed was not ended by anybody's force.
#[test]
fn how_a_unit_ended_is_told_by_its_result() {
    let mut story = healthy();
    unit(&mut story, "agent.service", Seen::Found, runs("1"));
    unit(&mut story, "agent.service", Seen::Told, failed("core-dump", 0));
    story.rounds(12, |story| story.ask_and_lose(client(40_000), foreign()));
    let explanation = story.verdict("R26").explanation;
    assert!(
        explanation.starts_with("Flows began to starve at 06:00:0")
            && explanation.ends_with(" after the end of agent.service (result core-dump)."),
        "{explanation}"
    );
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
}
