//! How soon: the verdict, a start without a network, the lab.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::lab_run::Diagnosis;
use crate::{process, workspace};

/// The incident, and the verdict that it must get.
pub(super) const INCIDENT: (&str, &str) = ("local-rule-lost", "R01");

/// From the moment in which the lab breaks the node to the verdict in plain text, which comes once a second. No
/// reply is starved before, and the screen is drawn twice a second: what a person waits is less.
///
/// # Errors
/// If that verdict is not told within 30 s.
pub(super) fn detection(lab: &Path, tracer: &Path) -> Result<Duration> {
    const LONGEST: Duration = Duration::from_secs(30);
    let mut lab = Command::new(lab);
    lab.args([INCIDENT.0, "--", "--plain"])
        .env("TRACER_BIN", tracer)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = lab.spawn().map_err(|error| process::cannot_start(&lab, &error))?;
    let broken = first_line(
        child.stderr.take().context("lab: has no messages")?,
        " break: ",
        true,
    );
    let told = first_line(
        child.stdout.take().context("lab: has no output")?,
        INCIDENT.1,
        false,
    );
    let times = (broken.recv_timeout(LONGEST), told.recv_timeout(LONGEST));
    if times.1.is_err() {
        // Its keeper cleans up.
        child.kill().context("lab: cannot be ended")?;
    }
    // The tracer ends by itself: nobody reads it any more.
    child.wait().context("lab: cannot be waited for")?;
    let (Ok(broken), Ok(told)) = times else {
        bail!(
            "lab {}: {} was not told within {} s",
            INCIDENT.0,
            INCIDENT.1,
            LONGEST.as_secs()
        );
    };
    Ok(told - broken)
}

/// From the start of `cargo xtask run` to the tracer that it starts, where there is no network at all: what the whole
/// takes beside the time that is watched.
///
/// # Errors
/// If there is no report.
pub(super) fn offline() -> Result<Duration> {
    let mut run = Command::new("unshare");
    run.arg("--net")
        .arg(workspace::cargo().get_program())
        .args([
            "xtask", "run", "--", "diagnose", "--for", "1s", "--format", "json",
        ])
        .current_dir(workspace::root());
    let begin = Instant::now();
    let output = run
        .output()
        .map_err(|error| process::cannot_start(&run, &error))?;
    let life = begin.elapsed();
    let report: Diagnosis = serde_json::from_slice(&output.stdout).with_context(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!(
            "cargo xtask run without a network: {}",
            said.trim().replace('\n', "; ")
        )
    })?;
    Ok(report.beside(life))
}

/// How long the lab takes that has nothing to do: the best of three, for what else the machine does is not the lab's.
///
/// # Errors
/// If it fails.
pub(super) fn topology(lab: &Path) -> Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let mut lab = Command::new(lab);
        lab.arg("healthy").env("TRACER_BIN", "true").stderr(Stdio::null());
        let begin = Instant::now();
        process::run(&mut lab)?;
        best = best.min(begin.elapsed());
    }
    Ok(best)
}

/// When the first line with this text came. Reads no further, unless `all` is to be read, and then passed on.
fn first_line(from: impl Read + Send + 'static, wanted: &'static str, all: bool) -> Receiver<Instant> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if line.contains(wanted) {
                // Nobody waits any more; that is no reason to stop.
                let _ = tell.send(Instant::now());
                if !all {
                    return;
                }
            }
            if all {
                eprintln!("{line}");
            }
        }
    });
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_waited_for_and_may_never_come() {
        assert!(first_line(&b"a break: b\nR01"[..], "R01", false).recv().is_ok());
        assert!(first_line(&b"healthy\n"[..], "R01", false).recv().is_err());
    }
}
