//! How long it takes to ask all rules where a node has 100,000 flows. `cargo xtask bench --only rules` runs it and holds it
//! against what was promised.
//!
//! Prints one document of JSON; of the cases whose names have a word that is given, where one is. Needs no root: what the node
//! does is told to the model, as its tests do.
#![allow(
    clippy::unwrap_used,
    reason = "a story that cannot be told is not to be measured"
)]

#[path = "rules/cases.rs"]
mod cases;
#[allow(dead_code, reason = "the tests of the model tell more")]
#[path = "../tests/model/story.rs"]
mod story;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::hint::black_box;
use std::time::Instant;

use serde_json::{Value, json};
use tracer::diagnosis::Diagnosis;
use tracer::event::{Body, Event};

use cases::{CASES, Case};
use story::Story;

/// Flows of the node.
const FLOWS: u32 = 100_000;
/// Changes that are told before: as many as are kept.
const CHANGES: u32 = 4096;
/// Rounds in which the flows fare as the case says: 8 s.
const ROUNDS: u32 = 16;
/// How often the rules are asked.
const TIMES: usize = 50;

fn main() {
    let word = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let is_wanted = |case: &&Case| word.as_ref().is_none_or(|word| case.name.contains(word));
    let cases: Vec<Value> = CASES.iter().filter(is_wanted).map(measure).collect();
    println!(
        "{}",
        json!({ "flows": FLOWS, "changes": CHANGES, "cases": cases })
    );
}

fn measure(case: &Case) -> Value {
    let mut diagnosis = Diagnosis::new();
    let mut story = cases::node();
    (case.begins)(&mut story);
    for number in 0..FLOWS {
        (case.before)(&mut story, number, (case.key)(number));
    }
    story.tick();
    for number in 0..CHANGES {
        cases::change(&mut story, number);
    }
    tell(&mut diagnosis, &mut story);
    (case.breaks)(&mut story);
    for round in 0..ROUNDS {
        for number in 0..FLOWS {
            (case.does)(&mut story, round, (case.key)(number));
        }
        (case.goes_on)(&mut story, round);
        story.tick();
        tell(&mut diagnosis, &mut story);
    }
    let found = diagnosis.report(1).verdicts;
    let first = found.first().map_or("", |verdict| verdict.id.as_str());
    assert_eq!(first, case.verdict, "{}", case.name);
    let ms: Vec<f64> = (0..TIMES)
        .map(|_| {
            let start = Instant::now();
            black_box(diagnosis.examine());
            start.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    json!({ "name": case.name, "verdict": first, "ms": ms })
}

/// What is told so far, and forgotten. Flows are told in the order of the kernel's table, which is none.
fn tell(diagnosis: &mut Diagnosis, story: &mut Story) {
    story
        .events
        .sort_by_cached_key(|event: &Event| match &event.body {
            Body::Flow(count) => {
                let mut hasher = DefaultHasher::new();
                count.flow.hash(&mut hasher);
                (event.at, 1, hasher.finish())
            }
            Body::Tick => (event.at, 2, 0),
            _ => (event.at, 0, 0),
        });
    for event in story.events.drain(..) {
        diagnosis.apply(&event);
    }
}
