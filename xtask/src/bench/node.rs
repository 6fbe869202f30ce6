//! What it costs to watch the node beside its packets, and how late what changes there is known.

use std::{path::Path, process::Command};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::report::{Bound, Idle, Late, Limit, Measure, Node, Taken};
use crate::{lab, process};

/// Processor time of all sources where nothing happens, at most, in percent of a core.
const IDLE: f64 = 0.3;
/// Their memory, at most, in units of 2^20 bytes.
const MEMORY: f64 = 20.0;
/// Of 100 changes 99 are in the model after so many ms.
const LATE: f64 = 250.0;

/// What `tests/benches/node` prints.
#[derive(Debug, Deserialize)]
struct Measured {
    units: u64,
    idle: Both,
    changes: Vec<Kind>,
}

#[derive(Debug, Deserialize)]
struct Both {
    with: Tracer,
    without: Tracer,
}

#[derive(Debug, Deserialize)]
struct Tracer {
    main_percent: f64,
    others_percent: f64,
    rss_kb: u64,
}

#[derive(Debug, Deserialize)]
struct Kind {
    kind: String,
    /// No change of it is told: the tracer looks now and then.
    polled: bool,
    ms: Vec<f64>,
}

/// Measures it.
///
/// # Errors
/// If it cannot be measured.
pub(super) fn measure(tracer: &Path) -> Result<Node> {
    let program = lab::bench("node")?;
    process::note("measuring what watching the node costs, and how late it is");
    let found = process::capture(Command::new(&program).env("TRACER_BIN", tracer))?;
    node(serde_json::from_str(&found).context("node: what it prints is no measurement")?)
}

fn node(measured: Measured) -> Result<Node> {
    let Both { with, without } = measured.idle;
    let idle = |what, with: f64, without: f64, bound: Option<(Measure, f64)>| Idle {
        what,
        with,
        without,
        bounds: bound
            .map(|(of, most)| Bound::new(of, with - without, Limit::AtMost(most)))
            .into_iter()
            .collect(),
    };
    let megabytes = |tracer: &Tracer| tracer.rss_kb as f64 / 1024.0;
    let told = measured.changes.iter().filter(|kind| !kind.polled);
    let all = told.flat_map(|kind| kind.ms.iter().copied()).collect();
    let mut changes = late("all that are told", all).context("node: no change was made")?;
    changes
        .bounds
        .push(Bound::new(Measure::P99, changes.p99_ms, Limit::AtMost(LATE)));
    let (polled, told): (Vec<_>, Vec<_>) = measured.changes.into_iter().partition(|kind| kind.polled);
    let each = |kinds: Vec<Kind>| kinds.into_iter().filter_map(|kind| late(&kind.kind, kind.ms));
    Ok(Node {
        units: measured.units,
        idle: vec![
            idle(
                Taken::Threads,
                with.others_percent,
                without.others_percent,
                Some((Measure::Percent, IDLE)),
            ),
            idle(Taken::Main, with.main_percent, without.main_percent, None),
            idle(
                Taken::Memory,
                megabytes(&with),
                megabytes(&without),
                Some((Measure::Megabytes, MEMORY)),
            ),
        ],
        late: each(told).chain([changes]).chain(each(polled)).collect(),
    })
}

/// None of none.
fn late(kind: &str, ms: Vec<f64>) -> Option<Late> {
    let mut sorted = ms.clone();
    sorted.sort_by(f64::total_cmp);
    // The lowest that so many of 100 do not exceed.
    let rank = |percent: usize| {
        sorted
            .get((sorted.len() * percent).div_ceil(100).saturating_sub(1))
            .copied()
    };
    Some(Late {
        kind: kind.to_owned(),
        p50_ms: rank(50)?,
        p99_ms: rank(99)?,
        most_ms: rank(100)?,
        bounds: Vec::new(),
        ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_of_what_is_told_and_of_what_is_more() {
        let measured = r#"{"units":300,
            "idle":{"with":{"main_percent":1.0,"others_percent":0.5,"rss_kb":40960},
                "without":{"main_percent":1.5,"others_percent":0.25,"rss_kb":10240}},
            "changes":[{"kind":"route","polled":false,"ms":[3.0,1.0,300.0]},
                {"kind":"sysctl","polled":true,"ms":[900.0]}]}"#;
        let node = node(serde_json::from_str(measured).unwrap()).unwrap();
        let bounds: Vec<_> = node.idle.iter().flat_map(|one| &one.bounds).collect();
        assert_eq!((bounds[0].value, bounds[0].kept), (0.25, true));
        assert_eq!((bounds[1].value, bounds[1].kept), (30.0, false));
        let kinds: Vec<&str> = node.late.iter().map(|one| one.kind.as_str()).collect();
        assert_eq!(kinds, ["route", "all that are told", "sysctl"]);
        let all = &node.late[1];
        assert_eq!((all.p50_ms, all.p99_ms, all.bounds[0].kept), (3.0, 300.0, false));
        assert!(node.late[2].bounds.is_empty());
    }

    #[test]
    fn of_a_hundred_one_may_be_later() {
        let ms = (1..=100).map(f64::from).collect();
        let late = late("a", ms).unwrap();
        assert_eq!((late.p50_ms, late.p99_ms, late.most_ms), (50.0, 99.0, 100.0));
        assert_eq!(super::late("none", Vec::new()), None);
    }
}
