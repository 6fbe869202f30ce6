//! `tracer audit`: what can change this node while nobody looks.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::output::{columns, print, say};
use super::stop::Stop;
use super::{FAILURE_FOUND, Format, WatchArgs, node};
use crate::audit::{Policy, audit};
use crate::diagnosis;
use crate::model::Model;
use crate::node::{chains, clocks, config, journal, packages, systemd};
use crate::report::{Capability, CapabilityState};
use crate::ui;

/// So long systemd may take to say when timers elapse: without that a finding is still one. A bus that hangs is given up before,
/// and systemd asked without it.
const PATIENCE: Duration = Duration::from_secs(10);

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
    // Of an image nothing runs.
    let told = if arguments.root == Path::new("/") {
        Some(ask(watch).await?)
    } else {
        None
    };
    let Some(mut audit) = audit(
        &arguments.root,
        &policy,
        &told.as_ref().map(Model::running_units).unwrap_or_default(),
    ) else {
        bail!(
            "{}: neither etc nor usr is below it, so it is no root of a node's files; name the folder that has them (an image \
             is to be mounted first)",
            arguments.root.display()
        );
    };
    if let Some(model) = &told {
        let report = diagnosis::node(model);
        if let Some(text) = not_told(&report.capabilities) {
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

/// What systemd says of its units: only it knows which run, and when a timer elapses.
async fn ask(watch: &WatchArgs) -> Result<Model> {
    let mut stop = Stop::listen()?;
    let mut options = watch.options();
    options.without = [
        chains::CAPABILITY,
        clocks::CAPABILITY,
        config::CAPABILITY,
        journal::CAPABILITY,
        packages::CAPABILITY,
    ]
    .map(str::to_owned)
    .to_vec();
    let (model, _) = node::gather(&options, PATIENCE, "", &mut stop).await?;
    Ok(model)
}

/// That systemd could not be asked, and why.
fn not_told(capabilities: &[Capability]) -> Option<String> {
    let why = capabilities
        .iter()
        .find(|one| one.name == systemd::CAPABILITY && one.state == CapabilityState::Unavailable)
        .map(|one| &one.why)?;
    Some(format!(
        "which timers run without being enabled, and when timers elapse next, is not known: {why}"
    ))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::Cli;
    use super::*;

    /// Why systemd did not tell, asked at sockets of that name and `more` places, of which the first takes connections and answers
    /// nothing.
    async fn why_not_told(name: &str, more: &str) -> String {
        let path = std::env::temp_dir().join(format!("tracer-audit-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let _bus = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let first = format!("unix:path={}", path.display());
        let bus = format!("{first};{}", more.replace("FIRST", &first));
        let cli = Cli::try_parse_from(["tracer", "--systemd-bus", &bus, "audit"]).unwrap();
        let told = ask(&cli.watch).await;
        std::fs::remove_file(&path).unwrap();
        not_told(&diagnosis::node(&told.unwrap()).capabilities).unwrap()
    }

    #[tokio::test]
    async fn behind_a_bus_that_hangs_the_next_place_is_asked() {
        let why = why_not_told("hung", "unix:path=/nonexistent/systemd/private").await;
        assert!(
            why.contains("no answer in 3 s; /nonexistent/systemd/private: "),
            "{why}"
        );
    }

    /// Only `tracer node` can be told how long to wait.
    #[tokio::test]
    async fn that_all_hangs_is_said_without_an_option_that_there_is_not() {
        let why = why_not_told("all-hung", "FIRST;FIRST;FIRST").await;
        assert!(why.contains("did not answer within"), "{why}");
        assert!(!why.contains("--wait"), "{why}");
    }

    #[test]
    fn that_systemd_could_not_be_asked_is_said() {
        let silent = [Capability {
            name: systemd::CAPABILITY.to_owned(),
            state: CapabilityState::Unavailable,
            why: "systemd did not answer in time".to_owned(),
        }];
        assert_eq!(
            not_told(&silent).as_deref(),
            Some(
                "which timers run without being enabled, and when timers elapse next, is not known: systemd did not answer in time"
            )
        );
        assert_eq!(not_told(&[]), None);
    }
}
