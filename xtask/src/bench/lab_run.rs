//! A run of the tracer in the lab, and what it takes.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::proc;
use crate::process;

/// The part of `tracer diagnose --format json` that is needed here.
#[derive(Debug, Deserialize)]
pub(super) struct Diagnosis {
    window: Window,
    pub(super) ledger: Ledger,
}

#[derive(Debug, Deserialize)]
struct Window {
    seconds: f64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Ledger {
    pub(super) arrived: u64,
}

impl Diagnosis {
    /// What of a life is not the window that was watched: the start and the end.
    pub(super) fn beside(&self, life: Duration) -> Duration {
        life.saturating_sub(Duration::from_secs_f64(self.window.seconds))
    }
}

/// A run of the tracer in the lab.
pub(super) struct Ran {
    pub(super) stdout: String,
    /// From its start to its end.
    pub(super) life: Duration,
    /// The most memory that was resident, in kB.
    pub(super) memory_kb: u64,
}

/// Runs the tracer in the lab under a load.
///
/// # Errors
/// If it cannot run there.
pub(super) fn run(lab: &Path, tracer: &Path, load: &[&str], command: &[&str]) -> Result<Ran> {
    let mut lab = Command::new(lab);
    lab.args(load)
        .arg("--")
        .args(command)
        .env("TRACER_BIN", tracer)
        .stdout(Stdio::piped());
    let mut child = lab.spawn().map_err(|error| process::cannot_start(&lab, &error))?;
    let stdout = child.stdout.take().context("lab: has no output")?;
    let reader = thread::spawn(move || std::io::read_to_string(stdout));
    let (life, memory_kb) = watch(&mut child, tracer)?;
    let status = child.wait().context("lab: cannot be waited for")?;
    // 1 says that a failure was found, which a broken node is meant to have.
    if !matches!(status.code(), Some(0 | 1)) {
        bail!(
            "tracer {}: {status}; its messages above say why",
            command.join(" ")
        );
    }
    let stdout = reader
        .join()
        .ok()
        .context("lab: its output cannot be read")?
        .context("lab: its output")?;
    Ok(Ran {
        stdout,
        life,
        memory_kb,
    })
}

/// Watches a tracer that the lab starts, until the lab ends: how long it lives, and its memory's high-water mark.
fn watch(lab: &mut Child, tracer: &Path) -> Result<(Duration, u64)> {
    // Fine enough for a bound of a second, coarse enough to leave the CPU to what is measured.
    const TICK: Duration = Duration::from_millis(10);
    let mut seen: Option<(u32, Instant, Instant)> = None;
    let mut memory_kb = 0;
    while lab.try_wait().context("lab: cannot be waited for")?.is_none() {
        let now = Instant::now();
        match seen {
            None => seen = proc::child_of(lab.id(), tracer).map(|pid| (pid, now, now)),
            Some((pid, first, _)) => {
                if let Some(peak) = proc::peak_kb(pid) {
                    memory_kb = memory_kb.max(peak);
                    seen = Some((pid, first, now));
                }
            }
        }
        thread::sleep(TICK);
    }
    let (_, first, last) = seen.context("lab: started no tracer; its messages above say why")?;
    Ok((last - first, memory_kb))
}
