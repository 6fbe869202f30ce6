//! `tracer audit`: what can change this node while nobody looks.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::output::{columns, print, say};
use super::stop::Stop;
use super::{FAILURE_FOUND, Format, WatchArgs, node};
use crate::audit::{Audit, Policy, audit};
use crate::diagnosis;
use crate::node::{chains, clocks, config, journal, packages, systemd};
use crate::report::{Capability, CapabilityState};
use crate::ui;

/// So long systemd may take to say when timers elapse: without that a finding is still one.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// A unit or file that may change the node, or a line of it as FILE:LINE (repeatable)
    #[arg(long, value_name = "NAME")]
    allow: Vec<String>,
    /// A file of what may: lines of `allow NAME`
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Audit the node whose files are below this folder, such as an image
    #[arg(long, value_name = "FOLDER", default_value = "/")]
    root: PathBuf,
    /// How to print: docs/node.md describes the JSON
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) async fn run(watch: &WatchArgs, arguments: &Arguments) -> Result<ExitCode> {
    let mut policy = Policy::allowing(&arguments.allow);
    if let Some(path) = &arguments.policy {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        if let Err((number, line)) = policy.read(&text) {
            bail!(
                "{} line {number}: {line:?} is not understood: write allow NAME",
                path.display()
            );
        }
    }
    if !arguments.root.is_dir() {
        bail!(
            "{}: there is no such folder; name the root of a node's files",
            arguments.root.display()
        );
    }
    let Some(mut audit) = audit(&arguments.root, &policy) else {
        bail!(
            "{}: there are no units of systemd below it; name the root of a node's files",
            arguments.root.display()
        );
    };
    if arguments.root == Path::new("/") && !audit.findings.is_empty() {
        // Of an image no timer runs.
        let mut stop = Stop::listen()?;
        let mut options = watch.options();
        // Only systemd knows when a timer elapses.
        options.without = [
            chains::CAPABILITY,
            clocks::CAPABILITY,
            config::CAPABILITY,
            journal::CAPABILITY,
            packages::CAPABILITY,
        ]
        .map(str::to_owned)
        .to_vec();
        let report = diagnosis::node(&node::gather(&options, PATIENCE, &mut stop).await?);
        if let Some(text) = not_told(&audit, &report.capabilities) {
            say(&text);
        }
        audit.learn_next(|unit| {
            let timer = report.node.timers.iter().find(|timer| timer.name == unit)?;
            timer.next.clone()
        });
    }
    for name in &audit.unknown {
        say(&format!(
            "{name} is allowed and is not here: no unit, file or line that starts something has that name"
        ));
    }
    print(&match arguments.format {
        Format::Text => ui::text::audit(&audit, columns()),
        Format::Json => serde_json::to_string_pretty(&audit)? + "\n",
    })?;
    Ok(if audit.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FAILURE_FOUND)
    })
}

/// That systemd could not be asked when a timer that was found elapses, and why.
fn not_told(audit: &Audit, capabilities: &[Capability]) -> Option<String> {
    let has_timers = audit.findings.iter().any(|found| found.unit.ends_with(".timer"));
    let why = capabilities
        .iter()
        .find(|one| one.name == systemd::CAPABILITY && one.state == CapabilityState::Unavailable)
        .map(|one| &one.why)?;
    has_timers.then(|| format!("when timers elapse next is not known: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::sample;

    #[test]
    fn that_systemd_could_not_be_asked_is_said_where_there_are_timers() {
        let silent = [Capability {
            name: systemd::CAPABILITY.to_owned(),
            state: CapabilityState::Unavailable,
            why: "systemd did not answer in time".to_owned(),
        }];
        let mut audit = sample::audit();
        assert_eq!(
            not_told(&audit, &silent).as_deref(),
            Some("when timers elapse next is not known: systemd did not answer in time")
        );
        assert_eq!(not_told(&audit, &[]), None);
        audit.findings.retain(|found| !found.unit.ends_with(".timer"));
        assert_eq!(not_told(&audit, &silent), None);
    }
}
