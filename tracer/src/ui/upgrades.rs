//! What package managers did, by their logs: also before the start.

use super::details::more;
use super::format::{brief, plural, seconds, seconds_between, time_of_day};
use super::node::date_and_time;
use crate::report::{Node, Outcome, Packages, Upgrade};

/// What stands above the lines.
pub(super) const HEADING: &str = "What package managers did, by their logs, the latest first";

/// The latest runs of each manager, and how many more are known.
pub(super) fn latest(node: &Node, now: &str) -> Vec<String> {
    /// Runs of a manager that are told at most.
    const TOLD: usize = 5;
    let of = |one: &Packages| -> Vec<String> {
        let told = one.past.iter().take(TOLD).map(|run| line(&one.manager, run, now));
        let since = one.past_since.as_deref().map(date_and_time).unwrap_or_default();
        let rest = more(one.past_total, TOLD.min(one.past.len())).map(|rest| format!("{rest} since {since}"));
        told.chain(rest).collect()
    };
    node.packages.iter().flat_map(of).collect()
}

/// Those that were at work in the last 24 hours, at most three of each manager.
pub(super) fn of_the_last_day(node: &Node, now: &str) -> Vec<String> {
    const TOLD: usize = 3;
    const DAY: f64 = 86_400.0;
    let of = |one: &Packages| -> Vec<String> {
        let is_recent = |run: &&Upgrade| {
            let until = run.ended.as_ref().or(run.last.as_ref()).unwrap_or(&run.begun);
            seconds_between(until, now).is_some_and(|age| age <= DAY)
        };
        let recent: Vec<&Upgrade> = one.past.iter().filter(is_recent).collect();
        let rest = more(recent.len() as u64, TOLD.min(recent.len()));
        let told = recent.iter().take(TOLD).map(|run| line(&one.manager, run, now));
        told.chain(rest).collect()
    };
    node.packages.iter().flat_map(of).collect()
}

/// `11-26 17:25:49 UTC (3h05m ago): apt-get install tmux, took 4s: 2 packages installed: tmux, libutempter0`
fn line(manager: &str, run: &Upgrade, now: &str) -> String {
    let age = seconds_between(&run.begun, now)
        .map_or(String::new(), |age| format!(" ({} ago)", brief(age.floor())));
    let what = match run.command.as_str() {
        // What has no command was no run of a frontend.
        "" => manager,
        command => command,
    };
    let who = match run.requested_by.as_str() {
        "" => String::new(),
        user => format!(", for {user}"),
    };
    let took = run
        .ended
        .as_deref()
        .and_then(|ended| seconds_between(&run.begun, ended));
    let end = match run.outcome {
        Outcome::InWork => ", not ended yet".to_owned(),
        Outcome::Ended | Outcome::Failed => {
            took.map_or(String::new(), |took| format!(", took {}", seconds(took)))
        }
        Outcome::Interrupted => match run.last.as_deref() {
            Some(last) => format!(", no end: interrupted, last at work at {}", time_of_day(last)),
            None => ", no end: interrupted".to_owned(),
        },
    };
    let error = match run.error.as_str() {
        "" => String::new(),
        error => format!("; it failed: {error}"),
    };
    let onsets = match run.onsets {
        0 => String::new(),
        1 => "; flows began to starve in its course, or up to 60 s after".to_owned(),
        many => format!("; {many} times flows began to starve in its course, or up to 60 s after"),
    };
    format!(
        "{} UTC{age}: {what}{who}{end}{}{error}{onsets}",
        date_and_time(&run.begun),
        packages(run)
    )
}

/// `: 1 package installed, 7 upgraded: systemd, libc6 and 6 more`
fn packages(run: &Upgrade) -> String {
    let counts = [
        (run.installed, "installed"),
        (run.upgraded, "upgraded"),
        (run.removed, "removed"),
    ];
    let counts: Vec<String> = counts
        .iter()
        .filter(|(number, _)| *number > 0)
        .enumerate()
        .map(|(place, (number, what))| match place {
            0 => format!("{} {what}", plural((*number).into(), "package")),
            _ => format!("{number} {what}"),
        })
        .collect();
    let more = match run.more {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let names = format!("{}{more}", run.names.join(", "));
    match (counts.is_empty(), run.names.is_empty()) {
        (true, true) => String::new(),
        (true, false) => format!(": configured {names}"),
        _ => format!(": {}: {names}", counts.join(", ")),
    }
}
