//! `cargo xtask bench`: what the tracer costs, under the lab's traffic, against what was promised.
//!
//! The kernel's own statistics say how long each program runs, the statistics' clock included; so an empty program is
//! measured with them as the floor. Times vary with the machine and its load, the ratio to the floor does less.

mod side;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::{
    build::{self, Profile},
    lab, process,
    process::note,
    workspace,
};

/// From the tracer's start to the first packet that it counts, at most.
const START: Duration = Duration::from_secs(1);
/// Resident memory of the tracer, at most, in kB.
const MEMORY_KB: u64 = 64 * 1024;
/// From the first reply that reaches no process to the verdict on the screen, at most.
const DETECTION: Duration = Duration::from_secs(3);
/// From `cargo xtask run` to a tracer that watches, where all is built and no network is there, at most.
const OFFLINE: Duration = Duration::from_secs(2);
/// To make the lab, start its traffic and remove it all again, at most.
const LAB: Duration = Duration::from_secs(1);
/// The incident, and the verdict that it must get.
const INCIDENT: (&str, &str) = ("local-rule-lost", "R01");
/// The scenarios that make packets arrive at sockets, and make them drop, as fast as one core can, from the
/// start. A program that runs seldom finds neither its code nor its data in the caches: then the memory is
/// measured, not the program.
const LOADS: [&[&str]; 2] = [&["busy", "--late"], &["storm", "--late"]];
/// Each load is measured so often, and the median counts: a machine that is shared stalls now and then.
const TURNS: usize = 3;
/// The empty program that the tracer measures along with its own.
const FLOOR: &str = "floor";

/// What `tracer cost --format json` prints.
#[derive(Debug, Deserialize)]
struct Cost {
    programs: Vec<Program>,
}

/// One BPF program.
#[derive(Clone, Debug, Deserialize, PartialEq)]
struct Program {
    name: String,
    /// How often it ran in that time.
    runs: u64,
    /// Mean time of a run; 0 where it did not run.
    ns_per_run: f64,
}

/// A program under the load that ran it most often.
#[derive(Clone, Debug, PartialEq)]
struct Measured {
    program: Program,
    /// Times the floor under the same load.
    ratio: f64,
}

/// The part of `tracer diagnose --format json` that is needed here.
#[derive(Debug, Deserialize)]
struct Report {
    window: Window,
    ledger: Ledger,
}

#[derive(Debug, Deserialize)]
struct Window {
    seconds: f64,
}

#[derive(Debug, Deserialize)]
struct Ledger {
    arrived: u64,
}

/// What a run of a program may cost: those that run for each packet that arrives, is delivered or dropped.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bound {
    ns: f64,
    /// Times the floor.
    ratio: f64,
}

impl Bound {
    fn of(program: &str) -> Option<Self> {
        match program {
            "drop" => Some(Self {
                ns: 250.0,
                ratio: 6.0,
            }),
            "arrival" | "matched" | "queued" | "read" | "received" => Some(Self {
                ns: 120.0,
                ratio: 3.0,
            }),
            _ => None,
        }
    }
}

/// Programs that must have run, or nothing was measured.
const MEASURED: [&str; 7] = [FLOOR, "drop", "arrival", "matched", "queued", "read", "received"];

/// A part of what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// What the tracer itself costs: its programs, start, verdict, memory
    Cost,
    /// Traffic and a storm of drops with no tool, the tracer, bpftrace, perf and tcpdump
    Side,
}

/// Measures, prints a table, and returns 1 where a bound is missed.
///
/// # Errors
/// If something cannot be measured.
pub(crate) fn main(only: Option<Part>) -> Result<u8> {
    if !process::is_root()? {
        bail!("bench: makes network namespaces and loads BPF programs, which needs root; run it by sudo");
    }
    build::bpf()?;
    let tracer = build::tracer(Profile::Release)?;
    let lab = lab::program()?;
    let mut all_kept = true;
    if only != Some(Part::Side) {
        all_kept &= cost(&lab, &tracer)?;
    }
    if only != Some(Part::Cost) {
        let (table, kept) = side::main(&lab::fast_program()?, &tracer)?;
        print!("{table}");
        all_kept &= kept;
    }
    Ok(u8::from(!all_kept))
}

/// What the tracer itself costs: time of its programs, start, verdict and memory. Returns whether all bounds are kept.
///
/// # Errors
/// If something cannot be measured.
fn cost(lab: &Path, tracer: &Path) -> Result<bool> {
    let run = |load: &[&str], command: &[&str]| run(lab, tracer, load, command);

    let mut measured = Vec::new();
    for load in LOADS {
        note(format_args!("measuring under {}", load.join(" ")));
        let mut turns = Vec::new();
        for _ in 0..TURNS {
            let ran = run(load, &["cost", "--for", "3s", "--format", "json"])?;
            let cost: Cost = serde_json::from_str(&ran.stdout).context("tracer cost: prints no cost")?;
            turns.push(against_floor(cost.programs)?);
        }
        measured = busiest(measured, medians(turns));
    }
    let ran = run(LOADS[0], &["diagnose", "--for", "2s", "--format", "json"])?;
    let report: Report = serde_json::from_str(&ran.stdout).context("tracer diagnose: prints no report")?;
    if report.ledger.arrived == 0 {
        bail!("tracer diagnose: counted no packet under load; is the lab's traffic running?");
    }

    note(format_args!("measuring how soon {} is told", INCIDENT.0));
    let detection = detection(lab, tracer)?;

    note("measuring a start without a network, and the lab");
    let offline = offline()?;
    let topology = topology(lab)?;

    let (mut table, mut kept) = table(&measured)?;
    // What is not the window itself is start and end, so the start takes at most that.
    let start = ran
        .life
        .saturating_sub(Duration::from_secs_f64(report.window.seconds));
    for (what, took, bound) in [
        ("start to first packet, at most", start, START),
        ("break to verdict, at most", detection, DETECTION),
        ("cargo xtask run, no network", offline, OFFLINE),
        ("the lab, made and removed", topology, LAB),
    ] {
        kept &= took <= bound;
        table += &format!(
            "\n{what:<32}{:5.2} s   (bound {:.2} s){}",
            took.as_secs_f64(),
            bound.as_secs_f64(),
            miss(took <= bound)
        );
    }
    kept &= ran.memory_kb <= MEMORY_KB;
    table += &format!(
        "\nresident memory                 {:5.1} MB  (bound {} MB){}\n",
        ran.memory_kb as f64 / 1024.0,
        MEMORY_KB / 1024,
        miss(ran.memory_kb <= MEMORY_KB)
    );
    print!("{table}");
    Ok(kept)
}

/// From the moment in which the lab breaks the node to the verdict in plain text, which comes once a second. No
/// reply is starved before, and the screen is drawn twice a second: what a person waits is less.
///
/// # Errors
/// If that verdict is not told within 30 s.
fn detection(lab: &Path, tracer: &Path) -> Result<Duration> {
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
fn offline() -> Result<Duration> {
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
    let report: Report = serde_json::from_slice(&output.stdout).with_context(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!(
            "cargo xtask run without a network: {}",
            said.trim().replace('\n', "; ")
        )
    })?;
    Ok(life.saturating_sub(Duration::from_secs_f64(report.window.seconds)))
}

/// How long the lab takes that has nothing to do: the best of three, for what else the machine does is not the lab's.
///
/// # Errors
/// If it fails.
fn topology(lab: &Path) -> Result<Duration> {
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

/// A run of the tracer in the lab.
struct Ran {
    stdout: String,
    /// From its start to its end.
    life: Duration,
    /// The most memory that was resident, in kB.
    memory_kb: u64,
}

/// Runs the tracer in the lab under a load.
fn run(lab: &Path, tracer: &Path, load: &[&str], command: &[&str]) -> Result<Ran> {
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
            None => seen = child_of(lab.id(), tracer).map(|pid| (pid, now, now)),
            Some((pid, first, _)) => {
                if let Some(peak) = peak_kb(pid) {
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

/// The process that runs this program and was started by that process.
fn child_of(parent: u32, program: &Path) -> Option<u32> {
    let parent = format!("PPid:\t{parent}");
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let is_it = fs::read_link(entry.path().join("exe")).ok()? == program
            && fs::read_to_string(entry.path().join("status"))
                .ok()?
                .lines()
                .any(|line| line == parent);
        is_it.then_some(pid)
    })
}

/// The most memory that a process has had resident so far, in kB (`VmHWM`, proc(5)). None for one that has ended.
fn peak_kb(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().strip_suffix(" kB")?.parse().ok()
}

/// What was measured under one load, each program against the floor of that load.
///
/// # Errors
/// If the floor did not run.
fn against_floor(programs: Vec<Program>) -> Result<Vec<Measured>> {
    let floor = programs
        .iter()
        .find(|program| program.name == FLOOR && program.runs > 0)
        .map(|floor| floor.ns_per_run)
        .context("bench: the empty program did not run; does the lab's traffic arrive?")?;
    let against = |program: Program| Measured {
        ratio: program.ns_per_run / floor,
        program,
    };
    Ok(programs.into_iter().map(against).collect())
}

/// Of each program the measurement in the middle, by the time of a run.
fn medians(turns: Vec<Vec<Measured>>) -> Vec<Measured> {
    let mut programs: Vec<Vec<Measured>> = Vec::new();
    for one in turns.into_iter().flatten() {
        match programs
            .iter_mut()
            .find(|all| all.iter().any(|other| other.program.name == one.program.name))
        {
            Some(all) => all.push(one),
            None => programs.push(vec![one]),
        }
    }
    let middle = |mut all: Vec<Measured>| {
        all.sort_by(|a, b| a.program.ns_per_run.total_cmp(&b.program.ns_per_run));
        all.swap_remove(all.len() / 2)
    };
    programs.into_iter().map(middle).collect()
}

/// Of each program the measurement with the most runs.
fn busiest(mut all: Vec<Measured>, others: Vec<Measured>) -> Vec<Measured> {
    for other in others {
        match all.iter_mut().find(|one| one.program.name == other.program.name) {
            Some(one) if one.program.runs < other.program.runs => *one = other,
            Some(_) => {}
            None => all.push(other),
        }
    }
    all
}

/// The table, and whether all bounds are kept.
///
/// # Errors
/// If a program that has a bound, or the floor, did not run.
fn table(measured: &[Measured]) -> Result<(String, bool)> {
    let ran = |name: &str| {
        measured
            .iter()
            .any(|one| one.program.name == name && one.program.runs > 0)
    };
    let missing: Vec<_> = MEASURED.into_iter().filter(|name| !ran(name)).collect();
    if !missing.is_empty() {
        bail!(
            "bench: no run measured of {}; does the lab's traffic reach these programs?",
            missing.join(", ")
        );
    }
    let mut text = format!(
        "{:<16}{:>10}{:>10}{:>8}   bounds",
        "program", "runs", "ns/run", "ratio"
    );
    let mut kept = true;
    for Measured { program, ratio } in measured {
        let ns = program.ns_per_run;
        text += &format!("\n{:<16}{:>10}{ns:>10.1}{ratio:>8.2}", program.name, program.runs);
        if let Some(bound) = Bound::of(&program.name) {
            let holds = ns <= bound.ns && *ratio <= bound.ratio;
            kept &= holds;
            text += &format!("   {:.0} ns, {:.0}{}", bound.ns, bound.ratio, miss(holds));
        }
    }
    Ok((text + "\n", kept))
}

fn miss(holds: bool) -> &'static str {
    if holds { "" } else { "   MISSED" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs(ns: f64) -> Vec<Program> {
        let program = |name: &&str| Program {
            name: (*name).into(),
            runs: 10,
            ns_per_run: if *name == FLOOR { 40.0 } else { ns },
        };
        MEASURED.iter().map(program).collect()
    }

    fn measured(ns: f64) -> Vec<Measured> {
        against_floor(programs(ns)).unwrap()
    }

    #[test]
    fn reads_what_the_tracer_prints() {
        let text = r#"{"programs":[{"name":"drop","runs":123,"ns_per_run":98.2},{"name":"floor","runs":9,"ns_per_run":40}]}"#;
        let cost: Cost = serde_json::from_str(text).unwrap();
        assert_eq!(
            cost.programs[0],
            Program {
                name: "drop".into(),
                runs: 123,
                ns_per_run: 98.2
            }
        );
    }

    #[test]
    fn bounds_hold_or_are_missed() {
        assert!(table(&measured(100.0)).unwrap().1);
        let (text, kept) = table(&measured(121.0)).unwrap();
        assert!(!kept);
        // The drop path may cost more than the others.
        let missed: Vec<_> = text.lines().filter(|line| line.ends_with("MISSED")).collect();
        assert_eq!(missed.len(), MEASURED.len() - 2, "{text}");
        assert!(
            !text
                .lines()
                .any(|line| line.starts_with("drop ") && line.ends_with("MISSED")),
            "{text}"
        );
    }

    #[test]
    fn the_ratio_counts_where_the_machine_is_fast() {
        let mut programs = programs(100.0);
        programs[0].ns_per_run = 20.0;
        assert!(!table(&against_floor(programs).unwrap()).unwrap().1);
    }

    #[test]
    fn what_did_not_run_was_not_measured() {
        let mut programs = programs(100.0);
        programs[1].runs = 0;
        let error = table(&against_floor(programs).unwrap()).unwrap_err().to_string();
        assert!(error.contains("drop"), "{error}");
    }

    #[test]
    fn a_stall_of_the_machine_does_not_count() {
        let turn = |ns| against_floor(programs(ns)).unwrap();
        let all = medians(vec![turn(100.0), turn(400.0), turn(110.0)]);
        assert_eq!(all.len(), MEASURED.len());
        assert_eq!(all[1].program.ns_per_run, 110.0);
    }

    #[test]
    fn the_busiest_measurement_counts_against_the_floor_of_its_load() {
        let load = |runs, floor| {
            let program = |name: &str, ns_per_run| Program {
                name: name.into(),
                runs,
                ns_per_run,
            };
            against_floor(vec![program("drop", 90.0), program(FLOOR, floor)]).unwrap()
        };
        for all in [
            busiest(load(1, 60.0), load(1000, 45.0)),
            busiest(load(1000, 45.0), load(1, 60.0)),
        ] {
            assert_eq!(all[0].program.runs, 1000);
            assert_eq!(all[0].ratio, 2.0);
        }
    }

    #[test]
    fn a_line_is_waited_for_and_may_never_come() {
        assert!(first_line(&b"a break: b\nR01"[..], "R01", false).recv().is_ok());
        assert!(first_line(&b"healthy\n"[..], "R01", false).recv().is_err());
    }

    #[test]
    fn memory_is_read_from_the_kernel() {
        assert!(peak_kb(std::process::id()).unwrap() > 100);
        assert_eq!(peak_kb(u32::MAX), None);
    }
}
