//! What the tracer itself costs: time of its programs, start, verdict and memory.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail};

use super::{
    lab_run::{self, Diagnosis, Ran},
    moments, programs,
    report::{Bound, Cost, Limit, Measure, Memory, Moment, What},
};
use crate::process::note;

/// The scenarios that make packets arrive at sockets, and make them drop, as fast as one core can, from the start.
const BUSY: &[&str] = &["busy", "--late"];
const STORM: &[&str] = &["storm", "--late"];
/// The scenario with a flow for each of so many clients, all of which it shows in a few seconds.
const CROWD: &[&str] = &["crowd"];
const CLIENTS: u64 = 100_000;
/// Each load is measured so often, and the median counts: a machine that is shared stalls now and then.
const TURNS: usize = 3;
/// Resident memory of the tracer, at most, in units of 2^20 bytes.
const MEMORY: f64 = 64.0;

/// At most, in seconds.
fn longest(what: What) -> f64 {
    match what {
        What::Start | What::Lab => 1.0,
        What::Verdict => 3.0,
        What::OfflineRun => 2.0,
    }
}

/// Measures all of it.
///
/// # Errors
/// If something cannot be measured.
pub(super) fn measure(lab: &Path, tracer: &Path) -> Result<Cost> {
    let run = |load: &[&str], command: &[&str]| lab_run::run(lab, tracer, load, command);

    let mut programs = Vec::new();
    for load in [BUSY, STORM] {
        note(format_args!("measuring under {}", load.join(" ")));
        let turns: Result<Vec<_>> = (0..TURNS)
            .map(|_| programs::read(&run(load, &["cost", "--for", "3s", "--format", "json"])?.stdout))
            .collect();
        programs = programs::busiest(programs, programs::medians(turns?));
    }
    programs::all_ran(&programs)?;

    note("measuring start and memory");
    let busy = run(BUSY, &["diagnose", "--for", "2s", "--format", "json"])?;
    let busy_says = diagnosis(&busy, 1)?;
    let crowd = run(CROWD, &["diagnose", "--for", "6s", "--format", "json"])?;
    diagnosis(&crowd, CLIENTS)?;

    note(format_args!("measuring how soon {} is told", moments::INCIDENT.0));
    let verdict = moments::detection(lab, tracer)?;

    note("measuring a start without a network, and the lab");
    Ok(Cost {
        programs,
        moments: vec![
            moment(What::Start, busy_says.beside(busy.life)),
            moment(What::Verdict, verdict),
            moment(What::OfflineRun, moments::offline()?),
            moment(What::Lab, moments::topology(lab)?),
        ],
        memory: vec![memory(BUSY, &busy), memory(CROWD, &crowd)],
    })
}

/// What a run said, which must have seen so many packets.
fn diagnosis(ran: &Ran, packets: u64) -> Result<Diagnosis> {
    let diagnosis: Diagnosis =
        serde_json::from_str(&ran.stdout).context("tracer diagnose: prints no report")?;
    let arrived = diagnosis.ledger.arrived;
    if arrived < packets {
        bail!(
            "tracer diagnose: counted {arrived} packets where at least {packets} were to arrive; \
             is the lab's traffic running?"
        );
    }
    Ok(diagnosis)
}

fn moment(what: What, took: Duration) -> Moment {
    let seconds = took.as_secs_f64();
    Moment {
        what,
        seconds,
        bounds: vec![Bound::new(
            Measure::Seconds,
            seconds,
            Limit::AtMost(longest(what)),
        )],
    }
}

fn memory(load: &[&str], ran: &Ran) -> Memory {
    let megabytes = ran.memory_kb as f64 / 1024.0;
    Memory {
        under: load.first().copied().unwrap_or_default().to_owned(),
        megabytes,
        bounds: vec![Bound::new(Measure::Megabytes, megabytes, Limit::AtMost(MEMORY))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(arrived: u64) -> Ran {
        Ran {
            stdout: format!(r#"{{"window":{{"seconds":2.0}},"ledger":{{"arrived":{arrived}}}}}"#),
            life: Duration::from_millis(2500),
            memory_kb: 65 * 1024,
        }
    }

    #[test]
    fn the_start_is_what_is_not_watched() {
        let ran = ran(7);
        let start = moment(What::Start, diagnosis(&ran, 1).unwrap().beside(ran.life));
        assert_eq!((start.seconds, start.bounds[0].kept), (0.5, true));
    }

    #[test]
    fn too_few_packets_are_no_measurement() {
        let error = diagnosis(&ran(7), 8).err().unwrap().to_string();
        assert!(error.contains("counted 7 packets"), "{error}");
    }

    #[test]
    fn memory_has_a_bound() {
        let crowd = memory(CROWD, &ran(7));
        assert_eq!((crowd.under.as_str(), crowd.megabytes), ("crowd", 65.0));
        assert!(!crowd.bounds[0].kept);
    }
}
