//! Runs scenarios, and judges what the tracer says about them: for the tests, and by `lab check` where there are no
//! tests, as in a virtual machine.

use std::path::Path;

use anyhow::{Context, Result};
use clap::Parser;
use serde::Serialize;
use serde_json::Value;

use crate::judge::{self, Failure};
use crate::lab::Lab;
use crate::scenario::{self, Scenario};
use crate::tracer::{self, Break, Ended};
use crate::unseen::Watch;

/// First argument of the program that makes it check scenarios.
pub const ROLE: &str = "check";

/// A tracer's run on the node of a scenario, and what is wrong with what it said.
#[derive(Debug)]
pub struct Checked {
    /// Still broken.
    pub lab: Lab,
    /// How the tracer ended.
    pub ended: Ended,
    /// What it said.
    pub report: Value,
    /// All that is not as the scenario expects.
    pub failures: Vec<Failure>,
}

/// How often a run is repeated whose packets the kernel kept from all programs.
const REPEATS: usize = 2;

/// Runs `tracer diagnose` for a time such as `6s` on the node of a scenario, without some of its capabilities.
/// `program` is the lab's binary.
///
/// Where nothing but the books is wrong, and the kernel shows that it kept at least so many arrivals and ends of packets from all
/// programs meanwhile, that proves nothing: then it is run again, and says so. See [`unseen`](crate::unseen).
pub fn check_scenario(
    scenario: &Scenario,
    program: &Path,
    when: Break,
    time: &str,
    without: &[String],
) -> Result<Checked> {
    let mut arguments = vec!["diagnose", "--for", time, "--format", "json"];
    for capability in without {
        arguments.extend(["--without", capability]);
    }
    let counts = |error: &anyhow::Error| eprintln!("{}: each run counts: {error:#}", scenario.name);
    let watch = Watch::share(program).inspect_err(counts).ok();
    let unseen = || watch.as_ref()?.unseen().inspect_err(counts).ok();
    // And how many arrivals and ends of packets were kept from all programs meanwhile, where that is known.
    let once = || -> Result<(Checked, u64)> {
        let mut lab = Lab::of(scenario, program)?;
        let before = unseen();
        let ended = tracer::observe(&mut lab, scenario, when, &arguments)?;
        let kept = before
            .zip(unseen())
            .map_or(0, |(before, after)| after.saturating_sub(before));
        let report = ended.report()?;
        let failures = judge::failures(&mut lab, scenario, &report, ended.status.code())?;
        let checked = Checked {
            lab,
            ended,
            report,
            failures,
        };
        Ok((checked, kept))
    };
    for _ in 0..REPEATS {
        let (checked, kept) = once()?;
        match &*checked.failures {
            [Failure::Unexplained(over, said)] if *over <= kept => {
                let name = scenario.name;
                eprintln!("{name}: run again, no program saw {kept} arrivals and ends of packets: {said}");
            }
            _ => return Ok(checked),
        }
    }
    Ok(once()?.0)
}

/// Checks scenarios: breaks each node while the tracer watches it. Prints a line of JSON for each.
#[derive(Debug, Parser)]
#[command(name = "lab check")]
struct Options {
    /// All, if none is named.
    scenarios: Vec<String>,
    /// Only print the names of the scenarios.
    #[arg(long)]
    names: bool,
    /// For how long the tracer watches.
    #[arg(long = "for", default_value = "8s")]
    time: String,
    /// A capability that the tracer is to leave out (may be given several times).
    #[arg(long, value_name = "CAPABILITY")]
    without: Vec<String>,
}

/// What is printed of a scenario.
#[derive(Debug, Default, Serialize)]
struct Line {
    scenario: &'static str,
    /// Why this kernel cannot produce it; absent where it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<String>,
    /// All that is not as expected, or why that cannot be said.
    failures: Vec<String>,
    /// None where the tracer was ended by a signal, or did not run.
    exit_code: Option<i32>,
    report: Value,
    stderr: String,
}

/// What `lab check` does. It ends with 0 if all is as expected, else with 1.
pub fn main(args: &[String]) -> Result<i32> {
    let options = match Options::try_parse_from(std::iter::once(ROLE).chain(args.iter().map(String::as_str)))
    {
        Ok(options) => options,
        Err(error) => {
            error.print()?;
            return Ok(error.exit_code());
        }
    };
    let scenarios = scenario::named(&options.scenarios)?;
    if options.names {
        for scenario in scenarios {
            println!("{}", scenario.name);
        }
        return Ok(0);
    }
    let program = std::env::current_exe().context("cannot find the lab's own binary")?;
    let mut right = true;
    for scenario in scenarios {
        let line = line(scenario, &program, &options);
        right &= line.failures.is_empty();
        println!("{}", serde_json::to_string(&line).context("cannot write JSON")?);
    }
    Ok(i32::from(!right))
}

/// Checks a scenario, where this machine can produce it.
fn line(scenario: &'static Scenario, program: &Path, options: &Options) -> Line {
    let line = Line {
        scenario: scenario.name,
        skipped: scenario.skipped(),
        ..Line::default()
    };
    if line.skipped.is_some() {
        return line;
    }
    let Options { time, without, .. } = options;
    match check_scenario(scenario, program, Break::WhileWatched, time, without) {
        Ok(checked) => Line {
            failures: checked.failures.iter().map(Failure::to_string).collect(),
            exit_code: checked.ended.status.code(),
            report: checked.report,
            stderr: checked.ended.stderr,
            ..line
        },
        Err(error) => Line {
            failures: vec![format!("{error:#}")],
            ..line
        },
    }
}
