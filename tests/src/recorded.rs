//! What a tracer that still runs has recorded.

use std::path::Path;
use std::process::{Child, Command};
use std::time::Instant;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::lab::PATIENCE;
use crate::tracer::{command, run, wait_until_it_watches};

/// A diagnosis that is recorded, and lasts until it is told to end: for longer than any test.
pub fn recording(file: &Path) -> Result<Command> {
    let file = file.to_string_lossy();
    command(&["diagnose", "--for", "100s", "--format", "json", "--record", &file])
}

/// Starts such a diagnosis of all namespaces, and waits until its programs count.
pub fn record_all(file: &Path) -> Result<Child> {
    record_in(file, "all")
}

/// Starts such a diagnosis of what `--netns` names, and waits until its programs count.
pub fn record_in(file: &Path, netns: &str) -> Result<Child> {
    let mut child = recording(file)?.args(["--netns", netns]).spawn()?;
    wait_until_it_watches(&mut child)?;
    Ok(child)
}

/// Waits until the first round is recorded: by then all has been read once.
pub fn wait_for_round(file: &Path, child: &mut Child) -> Result<()> {
    wait_for(file, child, "the first round", |body| body["type"] == "tick")
}

/// The bodies of the events that were recorded so far.
pub fn recorded(file: &Path) -> Result<Vec<Value>> {
    let file = file.to_string_lossy();
    let ended = run(&mut command(&["export", &file, "--format", "jsonl"])?, |_| Ok(()))?;
    ended
        .stdout
        .lines()
        .map(|line| Ok(serde_json::from_str::<Value>(line)?["body"].take()))
        .collect()
}

/// Waits until an event is recorded.
pub fn wait_for(file: &Path, child: &mut Child, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !recorded(file)?.iter().any(&wanted) {
        if let Some(status) = child.try_wait()? {
            bail!("the tracer has ended: {status}");
        }
        if Instant::now() > end {
            bail!("not told in {PATIENCE:?}: {what}");
        }
    }
    Ok(())
}
