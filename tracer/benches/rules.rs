//! How long it takes to ask all rules where a node has 100,000 flows. `cargo xtask bench --only rules` runs it and holds it
//! against what was promised.
//!
//! Prints one document of JSON. Needs no root: what the node does is told to the model, as its tests do.
#![allow(
    clippy::unwrap_used,
    reason = "a story that cannot be told is not to be measured"
)]

#[allow(dead_code, reason = "the tests of the model tell more")]
#[path = "../tests/model/story.rs"]
mod story;

use std::hint::black_box;
use std::time::Instant;

use serde_json::{Value, json};
use story::*;
use tracer::diagnosis::Diagnosis;
use tracer::event::{Body, FlowKey, Protocol, Seen, Setting, SocketState, Thing};

/// Flows of the node.
const FLOWS: u32 = 100_000;
/// Changes that are told before: as many as are kept.
const CHANGES: u32 = 4096;
/// How often the rules are asked.
const TIMES: usize = 50;

/// What becomes of the flows.
struct Case {
    name: &'static str,
    /// The verdict that is first; empty where there is none.
    verdict: &'static str,
    /// What each of them does once.
    does: fn(&mut Story, FlowKey),
}

const CASES: [Case; 5] = [
    Case {
        name: "all are answered",
        verdict: "",
        does: |story, key| story.exchange(key),
    },
    Case {
        name: "replies routed as foreign",
        verdict: "R01",
        does: |story, key| story.ask_and_lose(key, foreign()),
    },
    Case {
        name: "replies lost without a name",
        verdict: "K01",
        does: |story, key| story.ask_and_lose(key, drop("NOT_SPECIFIED", "ip_rcv_core", Protocol::Tcp)),
    },
    Case {
        name: "nothing comes back",
        verdict: "D01",
        does: |story, key| story.ask(key),
    },
    Case {
        name: "a server is gone",
        verdict: "R12",
        does: |story, key| {
            let asked = FlowKey {
                local_port: 8080,
                remote_port: key.local_port,
                ..key
            };
            story.refuse(asked, "tcp_v4_rcv");
        },
    },
];

fn main() {
    let cases: Vec<Value> = CASES.iter().map(measure).collect();
    println!(
        "{}",
        json!({ "flows": FLOWS, "changes": CHANGES, "cases": cases })
    );
}

/// A flow of its own for each number.
fn key(number: u32) -> FlowKey {
    let [_, high, middle, low] = number.to_be_bytes();
    FlowKey {
        remote: std::net::Ipv4Addr::new(198, 18 + high, middle, low).into(),
        ..client(20_000 + (number % 40_000) as u16)
    }
}

fn measure(case: &Case) -> Value {
    let mut diagnosis = Diagnosis::new();
    let mut story = Story::begin();
    story.capability("arrivals", tracer::event::CapabilityState::Available);
    story.listen(8080, "web");
    // What worked before.
    for number in 0..FLOWS {
        story.exchange(key(number));
    }
    story.tick();
    for number in 0..CHANGES {
        change(&mut story, number);
    }
    tell(&mut diagnosis, &mut story);
    story.socket(
        bound(Protocol::Tcp, 8080),
        Some(SocketState::Listen),
        SocketState::Close,
        "web",
    );
    for _ in 0..20 {
        for number in 0..FLOWS {
            (case.does)(&mut story, key(number));
        }
        story.tick();
        tell(&mut diagnosis, &mut story);
    }
    let found = diagnosis.report(1).verdicts;
    let first = found.first().map_or("", |verdict| verdict.id.as_str());
    assert_eq!(first, case.verdict, "{}", case.name);
    let time = |what: &dyn Fn()| -> Vec<f64> {
        (0..TIMES)
            .map(|_| {
                let start = Instant::now();
                what();
                start.elapsed().as_secs_f64() * 1000.0
            })
            .collect()
    };
    json!({
        "name": case.name,
        "verdict": first,
        "ms": time(&|| { black_box(diagnosis.examine()); }),
    })
}

/// What is told so far, and forgotten.
fn tell(diagnosis: &mut Diagnosis, story: &mut Story) {
    for event in story.events.drain(..) {
        diagnosis.apply(&event);
    }
}

/// A parameter is set that has nothing to do with it.
fn change(story: &mut Story, number: u32) {
    story.say(Body::Setting(Box::new(Setting {
        netns: NETNS,
        thing: Thing::Sysctl {
            name: format!("net.ipv4.number.{number}"),
        },
        value: Some("1".to_owned()),
        seen: Seen::Told,
        by: None,
        by_unknown: None,
    })));
}
