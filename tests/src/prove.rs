//! Runs scenarios, several at a time, and tells in a table which verdict was given for each, how soon, and how many were right:
//! `lab prove`. docs/verdicts.md has the table.

mod table;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use serde_json::Value;

use crate::check::check_scenario;
use crate::incident::said::second_of_day;
use crate::judge::array;
use crate::scenario::{self, Scenario};
use crate::tracer::Break;

pub use self::table::{Row, Table};

/// First argument of the program that makes it prove.
pub const ROLE: &str = "prove";

/// Runs scenarios and tells which verdict was given for each.
#[derive(Debug, Parser)]
#[command(name = "lab prove")]
struct Options {
    /// All, if none is named.
    scenarios: Vec<String>,
    /// Only those in which nothing is broken.
    #[arg(long)]
    sound: bool,
    /// For how long the tracer watches each of them, in seconds.
    #[arg(long = "for", default_value_t = 6, value_name = "SECS")]
    seconds: u64,
    /// How many run at a time.
    #[arg(long, default_value_t = 6)]
    at_a_time: usize,
    /// Also writes the table into this document, in place of the one that it has.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// What `lab prove` does. It ends with 0 if all bounds are kept, else with 1.
pub fn main(args: &[String]) -> Result<i32> {
    let options = match Options::try_parse_from(std::iter::once(ROLE).chain(args.iter().map(String::as_str)))
    {
        Ok(options) => options,
        Err(error) => {
            error.print()?;
            return Ok(error.exit_code());
        }
    };
    let wanted = scenario::named(&options.scenarios)?;
    let runs: Vec<(&'static Scenario, Break)> = wanted
        .into_iter()
        .filter(|scenario| !options.sound || scenario.is_sound())
        .flat_map(runs)
        .collect();
    let program = std::env::current_exe().context("cannot find the lab's own binary")?;
    let time = Duration::from_secs(options.seconds);
    let table = Table::new(all(&runs, &program, time, options.at_a_time));
    print!("{table}");
    if let Some(document) = options.write {
        table.write(&document)?;
    }
    Ok(i32::from(!table.is_kept()))
}

/// How a scenario is run: its node breaks while a tracer watches, and where it must know as much then, before one starts.
pub fn runs(scenario: &'static Scenario) -> impl Iterator<Item = (&'static Scenario, Break)> {
    let late = scenario.late.then_some((scenario, Break::Before));
    std::iter::once((scenario, Break::WhileWatched)).chain(late)
}

/// The rows of all runs, in their order.
fn all(runs: &[(&'static Scenario, Break)], program: &Path, time: Duration, at_a_time: usize) -> Vec<Row> {
    let next = AtomicUsize::new(0);
    let rows: Mutex<Vec<(usize, Row)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_a_time.max(1) {
            scope.spawn(|| {
                while let Some((number, (scenario, when))) = Some(next.fetch_add(1, Ordering::Relaxed))
                    .and_then(|number| Some((number, runs.get(number)?)))
                {
                    let row = row(scenario, *when, program, time);
                    eprintln!("{}: {}", row.name, row.word());
                    if let Ok(mut rows) = rows.lock() {
                        rows.push((number, row));
                    }
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap_or_default();
    rows.sort_by_key(|(number, _)| *number);
    rows.into_iter().map(|(_, row)| row).collect()
}

/// Runs a scenario once, where this machine can produce it.
fn row(scenario: &'static Scenario, when: Break, program: &Path, time: Duration) -> Row {
    let row = Row::expected(scenario, when);
    if let Some(why) = scenario.skipped() {
        return Row {
            missing: Some(why),
            ..row
        };
    }
    let time = format!("{}s", time.as_secs());
    match check_scenario(scenario, program, when, &time, &[]) {
        Ok(checked) => Row {
            given: Some(given(&checked.report["verdicts"][0])),
            place: text(&checked.report["where"]),
            late: late(&checked.report),
            alarms: array(&checked.report["episodes"])
                .iter()
                .map(|episode| text(&episode["id"]))
                .collect(),
            failures: checked.failures,
            ..row
        },
        Err(error) => Row {
            failures: vec![format!("{error:#}")],
            ..row
        },
    }
}

/// The id of a verdict, and that it is weak where it is.
fn given(verdict: &Value) -> String {
    match verdict["id"].as_str() {
        None => "none".to_owned(),
        Some(id) if verdict["confidence"] == "weak" => format!("{id}, weak"),
        Some(id) => id.to_owned(),
    }
}

/// How long after its first evidence the first verdict was given, in seconds; `None` where no verdict decides.
fn late(report: &Value) -> Option<f64> {
    let root = &report["verdicts"][0]["id"];
    // The latest is first.
    let episode = array(&report["episodes"])
        .iter()
        .rev()
        .find(|episode| episode["id"] == *root)?;
    let moment = |name: &str| second_of_day(episode[name].as_str()?);
    Some((moment("told")? - moment("onset")?).rem_euclid(86_400.0))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn how_late_a_verdict_is_is_told_from_the_first_episode_with_its_root() {
        let episode = |id: &str, onset: &str, told: &str| json!({"id": id, "onset": onset, "told": told});
        let mut report = json!({"verdicts": [{"id": "R01", "confidence": "strong"}], "episodes": [
            episode("R01", "2026-11-26T10:00:40Z", "2026-11-26T10:00:41Z"),
            episode("R01", "2026-11-26T23:59:59.250Z", "2026-11-27T00:00:00.750Z"),
            episode("R12", "2026-11-26T10:00:00Z", "2026-11-26T10:00:09Z"),
        ]});
        assert_eq!(late(&report), Some(1.5));
        assert_eq!(given(&report["verdicts"][0]), "R01");
        report["verdicts"] = json!([{"id": "R03", "confidence": "weak"}]);
        assert_eq!(
            (late(&report), given(&report["verdicts"][0])),
            (None, "R03, weak".to_owned())
        );
        assert_eq!(given(&Value::Null), "none");
    }
}
