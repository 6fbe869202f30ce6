//! How long it takes to ask all rules how the verdicts stand, where a node has very many flows.

use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::report::{Bound, Case, Limit, Measure, Rules, Spread};
use crate::{process, workspace};

/// All rules over all flows, at most, in milliseconds.
const MOST: f64 = 20.0;

/// What `tracer/benches/rules.rs` prints.
#[derive(Debug, Deserialize)]
struct Measured {
    flows: u64,
    changes: u64,
    cases: Vec<Times>,
}

#[derive(Debug, Deserialize)]
struct Times {
    name: String,
    ms: Vec<f64>,
}

/// Measures it.
///
/// # Errors
/// If it cannot be measured.
pub(super) fn measure() -> Result<Rules> {
    let mut cargo = workspace::cargo();
    cargo.args([
        "build",
        "--locked",
        "--release",
        "--package",
        "tracer",
        "--bench",
        "rules",
    ]);
    let program = workspace::program("rules", &mut cargo)?;
    process::note("measuring how long it takes to ask all rules");
    let found = process::capture(&mut Command::new(&program))?;
    rules(serde_json::from_str(&found).context("rules: what it prints is no measurement")?)
}

fn rules(measured: Measured) -> Result<Rules> {
    let case = |times: Times| -> Result<Case> {
        let ms = Spread::of(times.ms).context("rules: they were not asked")?;
        Ok(Case {
            name: times.name,
            ms,
            bounds: vec![Bound::new(Measure::Median, ms.median, Limit::AtMost(MOST))],
        })
    };
    Ok(Rules {
        flows: measured.flows,
        changes: measured.changes,
        cases: measured.cases.into_iter().map(case).collect::<Result<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_bounded() {
        let measured = r#"{"flows":100000,"changes":4096,"cases":[{"name":"a","verdict":"","ms":[30.0,10.0,19.0]},
            {"name":"b","verdict":"R01","ms":[21.0]}]}"#;
        let rules = rules(serde_json::from_str(measured).unwrap()).unwrap();
        let kept: Vec<bool> = rules.cases.iter().map(|case| case.bounds[0].kept).collect();
        assert_eq!(kept, [true, false]);
        assert_eq!(rules.cases[0].ms.highest, 30.0);
    }
}
