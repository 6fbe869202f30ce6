//! What a tracer that still runs has recorded.

use std::path::Path;
use std::process::Child;
use std::time::Instant;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::lab::PATIENCE;
use crate::tracer::{command, run};

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
