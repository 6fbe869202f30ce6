//! The tracer where nothing happens.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lab::tracer::{binary, watches};
use lab::world::World;
use serde_json::{Value, json};

/// The sources beside the packets, as `--without` names them.
pub(crate) const SOURCES: [&str; 5] = ["clock", "systemd", "journal", "packages", "configuration"];
/// So long it is measured.
pub(crate) const LENGTH: Duration = Duration::from_secs(40);
/// By then it has read what stands.
const SETTLE: Duration = Duration::from_secs(10);
/// By then it has attached its programs.
const PATIENCE: Duration = Duration::from_secs(20);
/// Hundredths of a second: USER_HZ is 100 on all that Linux runs on today.
const TICKS: f64 = 100.0;

/// A tracer that does not outlive what looks at it.
struct Tracer(Child);

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Processor time in percent of a core, of the main thread and of all others together, also those that have ended; and
/// resident memory in kB. `without` are capabilities that are left out.
pub(crate) fn measure(world: &World, without: &[&str]) -> Result<Value> {
    let options = super::options(world)?;
    let mut command = Command::new(binary()?);
    command.args(["diagnose", "--for", "600s", "--uplink", super::UPLINK]);
    command.arg("--netns").args(options.netns);
    command.args(["--systemd-bus", &world.bus(), "--cgroup-root", world.cgroup()]);
    command.arg("--journal").args(options.journal);
    for capability in without {
        command.args(["--without", capability]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let tracer = Tracer(command.spawn().context("cannot start the tracer")?);
    let pid = tracer.0.id();
    let end = Instant::now() + PATIENCE;
    while !watches(pid) {
        if Instant::now() > end {
            bail!("the tracer does not watch after {PATIENCE:?}; its messages above say why");
        }
        sleep(Duration::from_millis(20));
    }
    sleep(SETTLE);
    let begin = Instant::now();
    let (all, main) = (ticks(pid)?, main_thread(pid)?);
    sleep(LENGTH);
    let percent = 100.0 / begin.elapsed().as_secs_f64();
    let main = (main_thread(pid)? - main) * percent;
    let all = (ticks(pid)? - all) * percent;
    Ok(json!({ "main_percent": main, "others_percent": (all - main).max(0.0), "rss_kb": resident(pid)? }))
}

/// Seconds in user space and in the kernel so far (proc_pid_stat(5)).
fn ticks(pid: u32) -> Result<f64> {
    let stat = read(&format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').context("/proc/PID/stat is another")?;
    let fields = rest.split_whitespace().skip(11).take(2);
    fields.map(|field| Ok(field.parse::<f64>()? / TICKS)).sum()
}

/// Seconds that the main thread has run so far: it takes what the others tell, and reads the counts of packets.
fn main_thread(pid: u32) -> Result<f64> {
    let ran = read(&format!("/proc/{pid}/task/{pid}/schedstat"))?;
    let ns: f64 = ran.split_whitespace().next().unwrap_or_default().parse()?;
    Ok(ns / 1e9)
}

fn resident(pid: u32) -> Result<u64> {
    let status = read(&format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kb = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kb.context("/proc/PID/status tells no VmRSS")?.parse()?)
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path)
        .with_context(|| format!("{path}: has the tracer ended? its messages above say why"))
}
