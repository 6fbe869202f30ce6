//! How long each BPF program runs, by the kernel's own statistics.
//!
//! Their clock is included; so an empty program is measured along as the floor. Times vary with the machine and its
//! load, the ratio to the floor does less.

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::report::{Bound, Limit, Measure, Program};

/// The empty program that the tracer measures along with its own.
const FLOOR: &str = "floor";
/// Programs that must have run, or nothing was measured.
const MEASURED: [&str; 7] = [FLOOR, "drop", "arrival", "matched", "queued", "read", "received"];

/// What `tracer cost --format json` prints.
#[derive(Debug, Deserialize)]
struct Statistics {
    programs: Vec<Ran>,
}

/// One BPF program.
#[derive(Debug, Deserialize)]
struct Ran {
    name: String,
    /// How often it ran in that time.
    runs: u64,
    /// Mean time of a run; 0 where it did not run.
    ns_per_run: f64,
}

/// Reads what the tracer printed, each program against the floor.
///
/// # Errors
/// If it is no such document, or the floor did not run.
pub(super) fn read(text: &str) -> Result<Vec<Program>> {
    let Statistics { programs } = serde_json::from_str(text).context("tracer cost: prints no cost")?;
    let floor_ns = programs
        .iter()
        .find(|program| program.name == FLOOR && program.runs > 0)
        .map(|floor| floor.ns_per_run)
        .context("bench: the empty program did not run; does the lab's traffic arrive?")?;
    let against = |ran: Ran| {
        let ratio = ran.ns_per_run / floor_ns;
        Program {
            bounds: bounds(&ran.name, ran.ns_per_run, ratio),
            name: ran.name,
            runs: ran.runs,
            ns_per_run: ran.ns_per_run,
            floor_ns,
            ratio,
        }
    };
    Ok(programs.into_iter().map(against).collect())
}

/// What a run may cost of those that run for each packet that arrives, is delivered or dropped.
fn bounds(program: &str, ns: f64, ratio: f64) -> Vec<Bound> {
    let (most_ns, most_ratio) = match program {
        "drop" => (250.0, 6.0),
        "arrival" | "matched" | "queued" | "read" | "received" => (120.0, 3.0),
        _ => return Vec::new(),
    };
    vec![
        Bound::new(Measure::NsPerRun, ns, Limit::AtMost(most_ns)),
        Bound::new(Measure::Ratio, ratio, Limit::AtMost(most_ratio)),
    ]
}

/// Of each program the measurement in the middle, by the time of a run.
pub(super) fn medians(turns: Vec<Vec<Program>>) -> Vec<Program> {
    let mut programs: Vec<Vec<Program>> = Vec::new();
    for one in turns.into_iter().flatten() {
        match programs
            .iter_mut()
            .find(|all| all.iter().any(|other| other.name == one.name))
        {
            Some(all) => all.push(one),
            None => programs.push(vec![one]),
        }
    }
    let middle = |mut all: Vec<Program>| {
        all.sort_by(|a, b| a.ns_per_run.total_cmp(&b.ns_per_run));
        all.swap_remove(all.len() / 2)
    };
    programs.into_iter().map(middle).collect()
}

/// Of each program the measurement with the most runs: one that runs seldom finds neither its code nor its data in the
/// caches, and then the memory is measured, not the program.
pub(super) fn busiest(mut all: Vec<Program>, others: Vec<Program>) -> Vec<Program> {
    for other in others {
        match all.iter_mut().find(|one| one.name == other.name) {
            Some(one) if one.runs < other.runs => *one = other,
            Some(_) => {}
            None => all.push(other),
        }
    }
    all
}

/// That nothing is missing.
///
/// # Errors
/// If a program that has a bound, or the floor, did not run.
pub(super) fn all_ran(programs: &[Program]) -> Result<()> {
    let ran = |name: &str| programs.iter().any(|one| one.name == name && one.runs > 0);
    let missing: Vec<_> = MEASURED.into_iter().filter(|name| !ran(name)).collect();
    if !missing.is_empty() {
        bail!(
            "bench: no run measured of {}; does the lab's traffic reach these programs?",
            missing.join(", ")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(ns: f64, floor: f64, runs: u64) -> Vec<Program> {
        let program = |name: &&str| {
            let ns = if *name == FLOOR { floor } else { ns };
            format!(r#"{{"name":"{name}","runs":{runs},"ns_per_run":{ns}}}"#)
        };
        let programs: Vec<_> = MEASURED.iter().map(program).collect();
        read(&format!(r#"{{"programs":[{}]}}"#, programs.join(","))).unwrap()
    }

    fn missed(programs: &[Program]) -> Vec<(&str, Measure)> {
        let missed = |one: &Program| Some(one.bounds.iter().find(|bound| !bound.kept)?.of);
        programs
            .iter()
            .filter_map(|one| Some((one.name.as_str(), missed(one)?)))
            .collect()
    }

    #[test]
    fn bounds_hold_or_are_missed() {
        assert_eq!(missed(&turn(100.0, 40.0, 1)), []);
        let slow = turn(121.0, 60.0, 1);
        // The drop path may cost more than the others, and the floor has no bound.
        let missed = missed(&slow);
        assert_eq!(missed.len(), MEASURED.len() - 2, "{missed:?}");
        assert!(
            missed
                .iter()
                .all(|(name, of)| *name != "drop" && *of == Measure::NsPerRun)
        );
    }

    #[test]
    fn the_ratio_counts_where_the_machine_is_fast() {
        let fast = turn(100.0, 20.0, 1);
        assert!(missed(&fast).contains(&("arrival", Measure::Ratio)));
    }

    #[test]
    fn what_did_not_run_was_not_measured() {
        let mut programs = turn(100.0, 40.0, 10);
        assert!(all_ran(&programs).is_ok());
        programs[1].runs = 0;
        let error = all_ran(&programs).unwrap_err().to_string();
        assert!(error.contains("drop"), "{error}");
        assert!(read(r#"{"programs":[{"name":"floor","runs":0,"ns_per_run":0}]}"#).is_err());
    }

    #[test]
    fn a_stall_of_the_machine_does_not_count() {
        let all = medians(vec![
            turn(100.0, 40.0, 1),
            turn(400.0, 40.0, 1),
            turn(110.0, 40.0, 1),
        ]);
        assert_eq!(all.len(), MEASURED.len());
        assert_eq!(all[1].ns_per_run, 110.0);
    }

    #[test]
    fn the_busiest_measurement_counts_against_the_floor_of_its_load() {
        let load = |runs, floor| turn(90.0, floor, runs);
        for all in [
            busiest(load(1, 60.0), load(1000, 45.0)),
            busiest(load(1000, 45.0), load(1, 60.0)),
        ] {
            assert_eq!((all[1].runs, all[1].ratio, all[1].floor_ns), (1000, 2.0, 45.0));
        }
    }
}
