//! `tracer cost`: what the tracer's own BPF programs cost on this node.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;

use super::output::print_until_asked;
use super::stop::Stop;
use super::{Format, WatchArgs, duration};
use crate::probe::cost::{Cost, Meter};
use crate::probe::floor::Floor;
use crate::session::Session;
use crate::watch::ROUND_MS;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// How long to measure
    #[arg(long = "for", value_name = "DURATION", default_value = "10s", allow_hyphen_values = true, value_parser = duration)]
    period: Duration,
    /// Attach the empty program alone, wherever the tracer has one of its own, and measure nothing: for what is measured
    /// beside it, so much the kernel itself takes
    #[arg(long)]
    floor: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Where only the empty program was attached.
#[derive(Serialize)]
struct Floored {
    /// At how many places.
    places: usize,
    /// So long.
    seconds: f64,
}

/// What was measured.
#[derive(Serialize)]
struct Measured {
    /// From the start of the process's work to the first round of counts, in ms.
    start_ms: f64,
    /// From there to the first packet that was counted, in ms; absent where none was.
    first_packet_ms: Option<f64>,
    /// Resident memory, in KiB.
    resident_kib: u64,
    /// CPU time of this process while it measured, as a share of one core.
    reader_share: f64,
    programs: Vec<Cost>,
}

pub(super) async fn run(watch: &WatchArgs, arguments: &Arguments) -> Result<ExitCode> {
    let begin = Instant::now();
    let mut stop = Stop::listen()?;
    if arguments.floor {
        return hold_floor(watch, arguments, &mut stop).await;
    }
    let mut options = watch.options();
    options.floor = true;
    let mut session = Session::start(&options, watch.record.as_deref())?;
    let start_ms = begin.elapsed().as_secs_f64() * 1e3;
    let meter = Meter::start(session.watch().probe())?;
    let mut first_packet_ms = None;
    let cpu_before = cpu_time()?;
    let measured = Instant::now();
    let mut rounds = tokio::time::interval(Duration::from_millis(ROUND_MS));
    while measured.elapsed() < arguments.period {
        tokio::select! {
            biased;
            _ = stop.asked() => break,
            _ = rounds.tick() => session.round()?,
            () = session.changed() => {}
        }
        if first_packet_ms.is_none() && session.model().totals().ledger.arrived > 0 {
            first_packet_ms = Some(begin.elapsed().as_secs_f64() * 1e3);
        }
    }
    let seconds = measured.elapsed().as_secs_f64();
    let result = Measured {
        start_ms,
        first_packet_ms,
        resident_kib: resident_kib()?,
        reader_share: (cpu_time()? - cpu_before).as_secs_f64() / seconds,
        programs: meter.read(session.watch().probe()),
    };
    let ended = session.finish()?;
    let text = match arguments.format {
        Format::Json => serde_json::to_string_pretty(&result)? + "\n",
        Format::Text => text(&result),
    };
    print_until_asked(text, &mut stop).await?;
    match ended.unrecorded {
        Some(error) => Err(anyhow::Error::new(error).context("the recording is not whole")),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Attaches only the empty program, for so long.
async fn hold_floor(watch: &WatchArgs, arguments: &Arguments, stop: &mut Stop) -> Result<ExitCode> {
    let floor = Floor::attach(&watch.options().without)?;
    let begin = Instant::now();
    tokio::select! {
        _ = stop.asked() => {}
        () = tokio::time::sleep(arguments.period) => {}
    }
    let result = Floored {
        places: floor.places(),
        seconds: begin.elapsed().as_secs_f64(),
    };
    drop(floor);
    let text = match arguments.format {
        Format::Json => serde_json::to_string_pretty(&result)? + "\n",
        Format::Text => format!(
            "the empty program was attached at {} places for {:.1} s\n",
            result.places, result.seconds
        ),
    };
    print_until_asked(text, stop).await?;
    Ok(ExitCode::SUCCESS)
}

fn text(result: &Measured) -> String {
    let floor = result
        .programs
        .iter()
        .find(|cost| cost.name == "floor")
        .map_or(0.0, |cost| cost.ns_per_run);
    let mut text = format!(
        "{:<15}{:>12}{:>12}{:>10}\n",
        "program", "runs", "ns per run", "× floor"
    );
    for cost in &result.programs {
        let ratio = if floor > 0.0 && cost.runs > 0 {
            format!("{:.1}", cost.ns_per_run / floor)
        } else {
            "-".to_owned()
        };
        text.push_str(&format!(
            "{:<15}{:>12}{:>12.0}{:>10}\n",
            cost.name, cost.runs, cost.ns_per_run, ratio
        ));
    }
    text.push_str("floor: an empty program; the kernel's own clock reads are in every figure\n");
    text.push_str(&format!(
        "attached after {:.0} ms; resident memory {:.1} MiB; reader {:.2} % of a core\n",
        result.start_ms,
        result.resident_kib as f64 / 1024.0,
        result.reader_share * 100.0
    ));
    text
}

/// CPU time of this process, all threads.
fn cpu_time() -> Result<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Ok(Duration::new(
        u64::try_from(time.tv_sec)?,
        u32::try_from(time.tv_nsec)?,
    ))
}

/// `VmRSS` of this process.
fn resident_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap_or_default();
    Ok(line.trim().trim_end_matches(" kB").parse().unwrap_or(0))
}
