//! Onsets of starvation, held against what timers did.

use tracer::event::{Body, Clock, Protocol, Run, Runs, Seen, SocketState, Timer};
use tracer::filter::Filter;
use tracer::report;

use crate::story::*;

const UNIT: &str = "apt-daily-upgrade.service";
const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400 * SECOND;
/// When the story begins: 2023-10-08 06:00 UTC.
const START: i64 = 1_696_744_800 * SECOND;

/// A timer with that random delay in seconds, that has not elapsed.
fn made(random_delay: u64) -> Timer {
    Timer {
        name: "apt-daily-upgrade.timer".to_owned(),
        unit: UNIT.to_owned(),
        seen: Seen::Found,
        active: true,
        result: String::new(),
        next: Some(START + DAY),
        scheduled: Some(START + DAY - SECOND),
        last: None,
        random_delay: random_delay * 1_000_000,
        accuracy: 60_000_000,
        schedule: Vec::new(),
        persistent: true,
    }
}

/// The same, of which the journal has a run on each of ten days up to the one that began
/// `ago` seconds before the story.
fn with_past(story: &mut Story, random_delay: u64, ago: i64) {
    let run = |day: i64| Run {
        invocation: day.to_string(),
        begun: START - ago * SECOND - day * DAY,
        ended: Some(START - ago * SECOND - day * DAY + SECOND),
        result: "success".to_owned(),
    };
    story.say(Body::Timer(Box::new(made(random_delay))));
    story.say(Body::Runs(Box::new(Runs {
        unit: UNIT.to_owned(),
        since: START - 10 * DAY,
        runs: (0..10).rev().map(run).collect(),
    })));
}

/// A flow that asks and gets nothing that reaches it.
fn starve(story: &mut Story) {
    story.rounds(20, |story| {
        story.ask_and_lose(client(1), foreign());
    });
}

fn timer(story: &Story) -> report::Timer {
    story.report().node.timers.remove(0)
}

#[test]
fn an_onset_within_the_delay_of_a_run_is_inside() {
    let mut story = healthy();
    with_past(&mut story, 3600, 1800);
    starve(&mut story);
    let timer = timer(&story);
    assert_eq!((timer.onsets.inside, timer.onsets.outside), (1, 0));
    let share = timer.onsets.share.unwrap();
    // The last run's hour is not over.
    assert!((share - 9.5 / 240.0).abs() < 0.001, "{share}");
    assert_eq!((timer.past.len(), timer.past_total), (10, 10));
    let window = timer.window.unwrap();
    assert!(Some(&window.from) < timer.next.as_ref() && timer.next.as_ref() < Some(&window.to));
    // An hour at random, and the minute in which it may elapse with others.
    let seconds = |time: &str| time.parse::<jiff::Timestamp>().unwrap().as_second();
    assert_eq!(seconds(&window.to) - seconds(&window.from), 3660);
}

/// Runs have the time of the clock as it stood then, and so has the onset that is held against them.
#[test]
fn an_onset_is_inside_by_the_clock_as_it_stood_then() {
    let mut story = healthy();
    story.say(Body::Clock(Clock {
        suspended: 0,
        wall_offset: START - story.events[0].at.cast_signed() + 5 * 3600 * SECOND,
    }));
    with_past(&mut story, 3600, 1800 - 5 * 3600);
    starve(&mut story);
    story.say(Body::Clock(Clock {
        suspended: 0,
        wall_offset: START - story.events[0].at.cast_signed(),
    }));
    let timer = timer(&story);
    assert_eq!((timer.onsets.inside, timer.onsets.outside), (1, 0));
}

/// As of a `Persistent=` timer, whose file is made when it is first started.
#[test]
fn that_a_timer_elapsed_is_no_run_and_nothing_begins_in_it() {
    let mut story = healthy();
    with_past(&mut story, 3600, 7200);
    story.say(Body::Timer(Box::new(Timer {
        last: Some(START - SECOND),
        ..made(3600)
    })));
    starve(&mut story);
    let timer = timer(&story);
    assert_eq!((timer.onsets.inside, timer.onsets.outside), (0, 1));
    assert_eq!((timer.past.len(), timer.past_total), (10, 10));
    assert!(timer.past.iter().all(|run| !run.by_timer) && timer.last.is_some());
}

/// Of the others of the journal it is not known.
#[test]
fn each_run_that_was_seen_to_begin_as_its_timer_elapsed_is_by_that() {
    let mut story = healthy();
    with_past(&mut story, 0, 7200);
    let mut begun = Vec::new();
    for number in 1..=2 {
        let at = START + number * 60 * SECOND;
        story.say(Body::Timer(Box::new(Timer {
            last: Some(at),
            seen: Seen::Told,
            ..made(0)
        })));
        begun.push(Run {
            invocation: format!("seen {number}"),
            begun: at + SECOND / 10,
            ended: None,
            result: String::new(),
        });
    }
    story.say(Body::Runs(Box::new(Runs {
        unit: UNIT.to_owned(),
        since: START,
        runs: begun,
    })));
    let timer = timer(&story);
    let by_timer: Vec<bool> = timer.past.iter().map(|run| run.by_timer).collect();
    assert_eq!(by_timer[..3], [true, true, false]);
}

#[test]
fn an_onset_after_a_run_without_delay_is_outside() {
    let mut story = healthy();
    with_past(&mut story, 0, 1800);
    starve(&mut story);
    let timer = timer(&story);
    assert_eq!((timer.onsets.inside, timer.onsets.outside), (0, 1));
}

/// What the timeline says of starvation.
fn told(report: &report::Report) -> Vec<String> {
    let changes = report.node.changes.iter();
    let of_starvation = changes.filter(|change| change.kind == report::ChangeKind::Starvation);
    of_starvation.filter_map(|change| change.after.clone()).collect()
}

/// The same from the recorded events.
fn replayed(story: &Story) -> report::Report {
    let lines: Vec<String> = story
        .events
        .iter()
        .map(|event| serde_json::to_string(event).unwrap())
        .collect();
    let events: Vec<_> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    Filter::default().report(&diagnosis(&events))
}

#[test]
fn what_starved_before_the_start_is_no_onset() {
    let mut story = Story::begin();
    with_past(&mut story, 3600, 1800);
    for port in [1, 2] {
        story.socket(client(port), None, SocketState::Established, "curl");
    }
    story.rounds(20, |story| {
        // Others work, and so the node seems well at first.
        story.exchange(ping(7, "192.0.2.10"));
        story.ask_and_lose(client(1), foreign());
        story.ask_and_lose(client(2), foreign());
    });
    for report in [story.report(), replayed(&story)] {
        assert_eq!(
            told(&report),
            ["2 flows starve; nothing has reached them since tracer looks"]
        );
        let onsets = report.node.timers[0].onsets;
        assert_eq!((onsets.inside, onsets.outside), (0, 0));
    }
}

#[test]
fn what_worked_and_starves_is_an_onset_also_where_something_else_never_worked() {
    let mut story = Story::begin();
    with_past(&mut story, 3600, 1800);
    let never = flow(Protocol::Tcp, "10.10.0.2", 3, "192.0.2.99", 443);
    for key in [client(1), never] {
        story.socket(key, None, SocketState::Established, "curl");
    }
    story.rounds(10, |story| {
        story.exchange(client(1));
        story.ask_and_lose(never, foreign());
    });
    story.rounds(10, |story| {
        // A connection of its own, to what has answered.
        story.ask_and_lose(client(2), foreign());
        story.ask_and_lose(never, foreign());
    });
    for report in [story.report(), replayed(&story)] {
        assert_eq!(
            told(&report),
            [
                "a flow begins to starve",
                "a flow starves; nothing has reached it since tracer looks"
            ]
        );
        let onsets = report.node.timers[0].onsets;
        assert_eq!((onsets.inside, onsets.outside), (1, 0));
    }
}
