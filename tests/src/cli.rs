//! `lab SCENARIO`: a tracer on a node that is about to break, for a person to look at.

mod plan;
mod run;
mod stage;
mod tell;

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;

use self::run::{Notes, Run};
use self::stage::Stage;
use crate::incident;
use crate::lab::Lab;
use crate::scenario::{self, Scenario};
use crate::signals::{Signals, Wake};

/// A node that is to be mended later than that is not meant to be.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Breaks a node made of network namespaces while the tracer watches it.
#[derive(Debug, Parser)]
#[command(name = "lab")]
struct Options {
    /// What to break; without one, as with `--list`, the choice is shown.
    scenario: Option<String>,
    /// Say what each scenario breaks and what the tracer should say.
    #[arg(long)]
    list: bool,
    /// Break the node before the tracer starts, not 2 s after it.
    #[arg(long)]
    late: bool,
    /// Mend the node this many seconds after it was broken.
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    heal_after: Option<Duration>,
    /// Show the tracer's live screen of an incident, instead of telling what happens and what the tracer says.
    #[arg(long)]
    screen: bool,
    /// Arguments of the tracer; without any it shows its live screen.
    #[arg(last = true, value_name = "TRACER ARGS")]
    tracer: Vec<String>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| "not between 0 and a day".to_owned())
}

/// Runs the lab for the arguments of a command line (without the program's name). Returns the exit code of
/// the tracer, whose binary the environment names in `TRACER_BIN`.
pub fn main(args: Vec<String>) -> Result<i32> {
    let options = match Options::try_parse_from(std::iter::once("lab".to_owned()).chain(args)) {
        Ok(options) => options,
        Err(error) => {
            error.print()?;
            return Ok(error.exit_code());
        }
    };
    let Some(name) = options.scenario.as_deref().filter(|_| !options.list) else {
        print!("{}", list());
        return Ok(0);
    };
    let tracer = std::env::var_os("TRACER_BIN").map(PathBuf::from);
    let tracer = tracer.context("TRACER_BIN does not name the tracer's binary: run `cargo xtask lab`")?;
    let signals = Signals::block().context("cannot block signals")?;
    let program = std::env::current_exe().context("cannot find the lab's own binary")?;
    let stage = if let Some(variant) = incident::find(name) {
        let is_watched = options.screen || options.late || options.heal_after.is_some();
        if options.tracer.is_empty() && !is_watched {
            return tell::tell(variant, &program, &signals);
        }
        Stage::Incident(variant, Box::new(incident::Node::build(variant, &program)?))
    } else {
        let scenario = scenario::find(name)?;
        if let Some(why) = scenario.skipped() {
            bail!("{name} cannot be produced on this machine: {why}");
        }
        Stage::Scenario(scenario, Box::new(Lab::of(scenario, &program)?))
    };
    if let Wake::End { signal, .. } = signals.wait(Duration::ZERO)? {
        return Ok(128 + signal);
    }
    let mut tracer = Command::new(tracer);
    tracer
        .args(&options.tracer)
        .args(stage.where_to_look(&options.tracer)?);
    Run {
        stage,
        notes: Notes::new(live_screen(&options.tracer)),
        signals,
        heal_after: options.heal_after,
    }
    .with(tracer, options.late)
}

/// What `--list` shows.
fn list() -> String {
    let mut text = String::new();
    heading(&mut text, "With the real systemd, networkd, apt and dpkg");
    for incident::Variant {
        name,
        title,
        breaks,
        says,
        ..
    } in incident::VARIANTS
    {
        let _ = writeln!(text, "{name}: {title}\n  breaks: {breaks}\n  tracer: {says}\n");
    }
    for stage in scenario::STAGES {
        heading(&mut text, stage.title);
        for scenario in stage.scenarios {
            let Scenario {
                name,
                title,
                breaks,
                says,
                ..
            } = scenario;
            let _ = writeln!(text, "{name}: {title}\n  breaks: {breaks}\n  tracer: {says}");
            if let Some(why) = scenario.skipped() {
                let _ = writeln!(text, "  not on this machine: {why}");
            }
            text.push('\n');
        }
    }
    text
}

fn heading(text: &mut String, title: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{title}\n{}\n", "=".repeat(title.chars().count()));
}

/// Whether the tracer, with these arguments, draws on this terminal.
fn live_screen(args: &[String]) -> bool {
    let text_only =
        |arg: &String| ["diagnose", "export", "--plain", "--help", "--version"].contains(&arg.as_str());
    io::stdout().is_terminal() && !args.iter().any(text_only)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_that_are_none_are_refused() {
        assert_eq!(seconds("0.3"), Ok(Duration::from_millis(300)));
        for wrong in ["", "-1", "nan", "inf", "1e19", "1e300", "soon"] {
            assert!(seconds(wrong).is_err(), "{wrong:?} was accepted");
        }
    }
}
