//! Runs scenarios and incidents, several at a time, and tells in a table of each which verdict was given, how soon, and how many
//! were right: `lab prove`. docs/verdicts.md has the tables.

mod incidents;
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
use crate::judge::{Failure, array};
use crate::scenario::{self, Scenario};
use crate::tracer::Break;

use self::incidents::Incident;
pub use self::table::{Kind, Row, Table};

/// First argument of the program that makes it prove.
pub const ROLE: &str = "prove";

/// Runs scenarios and incidents, and tells which verdict was given for each.
#[derive(Debug, Parser)]
#[command(name = "lab prove")]
struct Options {
    /// Scenarios and incidents; all, if none is named.
    names: Vec<String>,
    /// Only the incidents with the real systemd, and what goes on every day there.
    #[arg(long, conflicts_with = "names")]
    incidents: bool,
    /// Only those in which nothing is broken.
    #[arg(long)]
    sound: bool,
    /// For how long the tracer watches each scenario, and on after what goes on every day, in seconds.
    #[arg(long = "for", default_value_t = 6, value_name = "SECS")]
    seconds: u64,
    /// How many run at a time.
    #[arg(long, default_value_t = 6)]
    at_a_time: usize,
    /// Also writes the tables into this document, in place of those that it has.
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
    let program = std::env::current_exe().context("cannot find the lab's own binary")?;
    let time = Duration::from_secs(options.seconds);
    let (incidents, names): (Vec<_>, Vec<_>) = options
        .names
        .iter()
        .cloned()
        .partition(|name| Incident::find(name).is_some());
    let is_all = options.names.is_empty();
    let mut tables = Vec::new();
    if !options.incidents && (is_all || !names.is_empty()) {
        let wanted: Vec<_> = scenario::named(&names)?
            .into_iter()
            .filter(|scenario| !options.sound || scenario.is_sound())
            .flat_map(runs)
            .collect();
        let rows = all(&wanted, options.at_a_time, |(scenario, when)| {
            row(scenario, *when, &program, time)
        });
        tables.push(Table::new(Kind::Scenarios, rows));
    }
    if is_all || !incidents.is_empty() {
        let wanted: Vec<Incident> = Incident::all()
            .filter(|incident| is_all || incidents.iter().any(|name| name == incident.name()))
            .filter(|incident| !options.sound || incident.is_sound())
            .collect();
        let at_a_time = options.at_a_time.min(incidents::AT_A_TIME);
        let rows = all(&wanted, at_a_time, |incident| incident.row(&program, time));
        tables.push(Table::new(Kind::Incidents, rows));
    }
    for (number, table) in tables.iter().enumerate() {
        print!("{}{table}", if number == 0 { "" } else { "\n" });
        if let Some(document) = &options.write {
            table.write(document)?;
        }
    }
    Ok(i32::from(!tables.iter().all(Table::is_kept)))
}

/// How a scenario is run: its node breaks while a tracer watches, and where it must know as much then, before one starts.
pub fn runs(scenario: &'static Scenario) -> impl Iterator<Item = (&'static Scenario, Break)> {
    let late = scenario.late.then_some((scenario, Break::Before));
    std::iter::once((scenario, Break::WhileWatched)).chain(late)
}

/// The rows of all runs, in their order.
fn all<T: Sync>(runs: &[T], at_a_time: usize, run: impl Fn(&T) -> Row + Sync) -> Vec<Row> {
    let next = AtomicUsize::new(0);
    let rows: Mutex<Vec<(usize, Row)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_a_time.max(1) {
            scope.spawn(|| {
                while let Some((number, one)) = Some(next.fetch_add(1, Ordering::Relaxed))
                    .and_then(|number| Some((number, runs.get(number)?)))
                {
                    let row = run(one);
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
            alarms: alarms(&checked.report),
            failures: checked.failures.iter().map(Failure::to_string).collect(),
            ..row
        },
        Err(error) => Row {
            failures: vec![format!("{error:#}")],
            ..row
        },
    }
}

/// The verdicts that ever decided where the fault is.
fn alarms(report: &Value) -> Vec<String> {
    let episodes = array(&report["episodes"]).iter();
    episodes.map(|episode| text(&episode["id"])).collect()
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
