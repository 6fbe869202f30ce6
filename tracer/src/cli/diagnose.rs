//! `tracer diagnose`: watch for a while, print, exit.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::output::{columns, print, print_until_asked, say, say_of};
use super::stop::Stop;
use super::{COULD_NOT_RUN, FAILURE_FOUND, Format, ShowArgs, WatchArgs, duration};
use crate::diagnosis::Diagnosis;
use crate::session::Ended;
use crate::trace;
use crate::ui;
use crate::ui::view::Showing;
use crate::watch::ROUND_MS;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// How long to watch
    #[arg(long = "for", value_name = "DURATION", default_value = "10s", allow_hyphen_values = true, value_parser = duration, conflicts_with = "trace")]
    period: Duration,
    /// How to print: docs/report.md describes the JSON
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Diagnose a recording instead of this node
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

pub(super) async fn run(watch: &WatchArgs, show: &ShowArgs, arguments: &Arguments) -> Result<ExitCode> {
    // Sources that are still ending are waited for when all is printed.
    let (diagnosis, stop, _ending) = match &arguments.trace {
        Some(path) => (of_trace(path)?, None, None),
        None => {
            let mut stop = Stop::listen()?;
            show.look_for_process();
            let ended = of_node(watch, arguments.period, &mut stop).await?;
            (ended.diagnosis, Some(stop), Some(ended.ending))
        }
    };
    let report = show.filter().report(&diagnosis);
    let showing = match arguments.trace {
        Some(_) => Showing::EndOfRecording,
        None => Showing::Live,
    };
    let text = match arguments.format {
        Format::Text => ui::text::page(&report, showing, columns()),
        Format::Json => serde_json::to_string_pretty(&report)? + "\n",
    };
    // Whoever reads only the first line still wants the right exit code.
    match stop {
        Some(mut stop) => print_until_asked(text, &mut stop).await?,
        // Signals end it as they do any program.
        None => print(&text)?,
    };
    if report.failure_found() {
        return Ok(ExitCode::from(FAILURE_FOUND));
    }
    // Who asks by a script whether the node is healthy must not be told that it is.
    Ok(match report.undecided() {
        Some(why) => {
            say(&why);
            ExitCode::from(COULD_NOT_RUN)
        }
        None => ExitCode::SUCCESS,
    })
}

async fn of_node(watch: &WatchArgs, period: Duration, stop: &mut Stop) -> Result<Ended> {
    let mut session = watch.session()?;
    let start = Instant::now();
    let round = Duration::from_millis(ROUND_MS);
    let mut rounds = interval_at(start + round, round);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = start + period;
    // The last round is at the end of the period exactly; it may come on top of another.
    loop {
        tokio::select! {
            biased;
            _ = stop.asked() => break,
            () = tokio::time::sleep_until(end) => break,
            _ = rounds.tick() => session.round()?,
            () = session.changed() => {}
        }
    }
    let ended = session.finish()?;
    if let Some(error) = &ended.unrecorded {
        say(&format!("the recording is not whole: {error}"));
    }
    Ok(ended)
}

fn of_trace(path: &Path) -> Result<Diagnosis> {
    let mut reader = trace::Reader::open(path)?;
    let mut diagnosis = Diagnosis::new();
    for event in &mut reader {
        diagnosis.apply(&event?);
    }
    say_of(&reader);
    Ok(diagnosis)
}
