//! The tools that are compared: how each is run, how it shows that it is attached, and how it tells what it counted.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::Path,
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::proc::{self, Ticks};
use crate::process;

/// So long a tool may take to attach.
const ATTACH: Duration = Duration::from_secs(10);
/// How often a process is looked at that is waited for.
const TICK: Duration = Duration::from_millis(20);
/// A tool may miss a signal (bpftrace was seen to wait on after one): then it gets another.
const AGAIN: Duration = Duration::from_millis(500);
/// The drops of the load, as the tracer names them.
const REASON: &str = "NETFILTER_DROP";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Tool {
    Tracer,
    Bpftrace,
    Perf,
    Tcpdump,
}

impl Tool {
    pub(super) const ALL: [Self; 4] = [Self::Tracer, Self::Bpftrace, Self::Perf, Self::Tcpdump];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tracer => "tracer",
            Self::Bpftrace => "bpftrace",
            Self::Perf => "perf",
            Self::Tcpdump => "tcpdump",
        }
    }

    /// The package of Debian that has it.
    pub(super) fn package(self) -> &'static str {
        match self {
            Self::Perf => "linux-perf",
            other => other.name(),
        }
    }

    pub(super) fn installed(self) -> bool {
        self == Self::Tracer || process::find(self.name()).is_some()
    }

    fn command(self, tracer: &Path, netns: &str) -> Command {
        let mut command = match self {
            Self::Tracer => Command::new(tracer),
            Self::Tcpdump => Command::new("ip"),
            Self::Bpftrace | Self::Perf => Command::new(self.name()),
        };
        match self {
            Self::Tracer => command.args([
                "--netns", netns, "--uplink", "eth0", "diagnose", "--for", "600s", "--format", "json",
            ]),
            Self::Bpftrace => command.args(["-e", "tracepoint:skb:kfree_skb { @[args->reason] = count(); }"]),
            // Its default, standard error, is written line by line.
            Self::Perf => command.args(["trace", "-a", "-e", "skb:kfree_skb", "-o", "/dev/stdout"]),
            Self::Tcpdump => command.args([
                "netns",
                "exec",
                netns,
                "tcpdump",
                "-i",
                "eth0",
                "-n",
                "-w",
                "/dev/null",
            ]),
        };
        command
    }

    /// What it holds from about when it is attached, as the kernel names it: a link of a BPF program
    /// (kernel/bpf/syscall.c), an event (kernel/events/core.c), a packet socket.
    fn hold(self) -> &'static str {
        match self {
            Self::Tracer => "anon_inode:bpf_link",
            Self::Bpftrace | Self::Perf => "anon_inode:[perf_event]",
            Self::Tcpdump => "socket:",
        }
    }

    /// How long it takes at most until it has read what happened: perf and tcpdump leave in their buffers what is
    /// there when they are interrupted, and the kernel keeps a buffer of tcpdump for up to a second until it is full.
    pub(super) fn lag(self) -> Duration {
        match self {
            Self::Tracer | Self::Bpftrace => Duration::ZERO,
            Self::Perf => Duration::from_millis(200),
            Self::Tcpdump => Duration::from_millis(1200),
        }
    }

    fn told(self, said: &Said, netns: &str) -> Result<Told> {
        Ok(match self {
            Self::Tracer => of_tracer(said, netns)?,
            Self::Bpftrace => of_bpftrace(said),
            Self::Perf => of_perf(said),
            Self::Tcpdump => of_tcpdump(said),
        })
    }
}

/// What a tool told at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Drops (of tcpdump: packets). None where it told no number.
    pub(super) counted: Option<u64>,
    /// What it says that it lost. None where it tells no number.
    pub(super) lost: Option<u64>,
}

/// What a tool wrote.
struct Said {
    output: String,
    errors: String,
}

/// A tool that is attached.
pub(super) struct Running {
    tool: Tool,
    child: Killed,
    output: JoinHandle<io::Result<String>>,
    errors: JoinHandle<io::Result<String>>,
}

/// A process that does not outlive what looks at it.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // One that has been waited for is left alone.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// Starts a tool, and waits until it is attached, or about to be: some silence must follow.
    ///
    /// # Errors
    /// If it cannot be started, ends, or does not attach.
    pub(super) fn start(tool: Tool, tracer: &Path, netns: &str) -> Result<Self> {
        let mut command = tool.command(tracer, netns);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|error| process::cannot_start(&command, &error))?;
        let mut running = Self {
            tool,
            output: collect(child.stdout.take()),
            errors: collect(child.stderr.take()),
            child: Killed(child),
        };
        let begin = Instant::now();
        while !proc::holds(running.pid(), tool.hold()) {
            if running.ended()? || begin.elapsed() > ATTACH {
                drop(running.child);
                let errors = text(running.errors)?;
                bail!("{}: does not attach: {}", tool.name(), errors.trim());
            }
            thread::sleep(TICK);
        }
        Ok(running)
    }

    fn pid(&self) -> u32 {
        self.child.0.id()
    }

    fn ended(&mut self) -> Result<bool> {
        let ended = self
            .child
            .0
            .try_wait()
            .with_context(|| format!("{}: cannot be waited for", self.tool.name()))?;
        Ok(ended.is_some())
    }

    /// Its processor time so far; None where it has ended.
    pub(super) fn ticks(&self) -> Option<Ticks> {
        Ticks::of(self.pid())
    }

    /// Interrupts it, and reads what it told.
    ///
    /// # Errors
    /// If it had ended before, or does not tell what it should.
    pub(super) fn end(mut self, netns: &str) -> Result<Told> {
        if self.ended()? {
            let errors = text(self.errors)?;
            bail!("{}: ended before its turn: {}", self.tool.name(), errors.trim());
        }
        let mut kill = Command::new("kill");
        kill.args(["-INT", &self.pid().to_string()]);
        let mut signalled: Option<Instant> = None;
        while !self.ended()? {
            if signalled.is_none_or(|at| at.elapsed() > AGAIN) {
                process::run(&mut kill)?;
                signalled = Some(Instant::now());
            }
            thread::sleep(TICK);
        }
        let said = Said {
            output: text(self.output)?,
            errors: text(self.errors)?,
        };
        self.tool.told(&said, netns)
    }
}

/// Reads all of it, whatever it is: to read it only as fast as it comes is the least that can disturb a tool.
fn collect(from: Option<impl Read + Send + 'static>) -> JoinHandle<io::Result<String>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut from) = from {
            from.read_to_end(&mut bytes)?;
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    })
}

fn text(reader: JoinHandle<io::Result<String>>) -> Result<String> {
    reader
        .join()
        .ok()
        .context("a tool's output cannot be read")?
        .context("a tool's output")
}

/// The part of `tracer diagnose --format json` that is needed here.
#[derive(Debug, Deserialize)]
struct Report {
    drops: Vec<Drops>,
    losses: Losses,
}

#[derive(Debug, Deserialize)]
struct Drops {
    reason: String,
    packets: u64,
    netns: String,
}

#[derive(Debug, Deserialize)]
struct Losses {
    map_full: u64,
}

fn of_tracer(said: &Said, netns: &str) -> Result<Told> {
    let report: Report = serde_json::from_str(&said.output)
        .with_context(|| format!("tracer diagnose: prints no report: {}", said.errors.trim()))?;
    let own = format!("{netns}:");
    let drops = report.drops.iter();
    let drops = drops.filter(|drop| drop.reason == REASON && drop.netns.starts_with(&own));
    Ok(Told {
        counted: Some(drops.map(|drop| drop.packets).sum()),
        lost: Some(report.losses.map_full),
    })
}

/// One line for each reason, by number; that of the storm is the longest by far.
fn of_bpftrace(said: &Said) -> Told {
    let counts = said.output.lines().filter_map(|line| line.split_once("]: "));
    Told {
        counted: counts.filter_map(|(_, n)| n.trim().parse().ok()).max(),
        lost: None,
    }
}

/// One line for each event, with its reason by name or, in older versions, by number; that of the storm is the most
/// frequent by far. `LOST n events!` stands between them (tools/perf/builtin-trace.c, `trace__process_event`): of all
/// reasons, and only where an event found room after those that found none.
fn of_perf(said: &Said) -> Told {
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    let mut lost = 0;
    for line in said.output.lines() {
        if let Some((_, rest)) = line.split_once("skb:kfree_skb(") {
            let reason = rest.split_once("reason: ").map(|(_, reason)| reason);
            let reason = reason.and_then(|reason| reason.split([',', ')']).next());
            *reasons.entry(reason.unwrap_or_default()).or_default() += 1;
        } else if let Some((_, rest)) = line.split_once("LOST ") {
            let number = rest.split_once(" events!").and_then(|(n, _)| n.parse().ok());
            lost += number.unwrap_or(0_u64);
        }
    }
    Told {
        counted: Some(reasons.into_values().max().unwrap_or(0)),
        lost: Some(lost),
    }
}

fn of_tcpdump(said: &Said) -> Told {
    let before = |mark: &str| {
        said.errors
            .lines()
            .find_map(|line| line.strip_suffix(mark)?.trim().parse().ok())
    };
    Told {
        counted: before(" packets captured"),
        lost: before(" packets dropped by kernel"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(tool: Tool, output: &str, errors: &str) -> (Option<u64>, Option<u64>) {
        let said = Said {
            output: output.into(),
            errors: errors.into(),
        };
        let told = tool.told(&said, "a").unwrap();
        (told.counted, told.lost)
    }

    #[test]
    fn the_tracers_report_is_read() {
        let report = r#"{"drops":[{"reason":"NETFILTER_DROP","packets":7,"netns":"a:1"},
            {"reason":"NETFILTER_DROP","packets":1,"netns":"ab:2"},{"reason":"NO_SOCKET","packets":2,"netns":"a:1"}],
            "losses":{"map_full":3}}"#;
        assert_eq!(told(Tool::Tracer, report, ""), (Some(7), Some(3)));
    }

    #[test]
    fn bpftraces_counts_are_read() {
        let output = "Attaching 1 probe...\n\n@[3]: 2\n@[8]: 90\n";
        assert_eq!(told(Tool::Bpftrace, output, ""), (Some(90), None));
    }

    #[test]
    fn perfs_lines_are_counted_and_its_losses_summed() {
        // Of perf 6.1, which prints numbers.
        let numbers = "\
     0.000 kworker/0:5-mm/26440 skb:kfree_skb(skbaddr: 0xffff888104f18300, location: 0xffffffff820ebad1, protocol: 34525, reason: 2)
  2612.816 lab/20005 skb:kfree_skb(skbaddr: 0xffff888104f18300, location: 0xffffffff81f657b8, protocol: 2048, reason: 12)
LOST 94779 events!
  2612.849 lab/20005 skb:kfree_skb(skbaddr: 0xffff888104f18300, location: 0xffffffff81f657b8, rx_sk: 0x0, protocol: 2048, reason: 12)
LOST 21 events!
";
        assert_eq!(told(Tool::Perf, numbers, ""), (Some(2), Some(94800)));
        // Colours of a terminal, and names.
        let names = "\
     0.000 lab/1 skb:kfree_skb(skbaddr: 0x1, location: 0x2, protocol: 2048, reason: NETFILTER_DROP)
     0.001 lab/1 skb:kfree_skb(skbaddr: 0x1, location: 0x2, protocol: 2048, reason: NOT_SPECIFIED)
\u{1b}[31mLOST 5 events!
     0.002 lab/1 skb:kfree_skb(skbaddr: 0x1, location: 0x2, protocol: 2048, reason: NETFILTER_DROP)
";
        assert_eq!(told(Tool::Perf, names, ""), (Some(2), Some(5)));
        assert_eq!(told(Tool::Perf, "", ""), (Some(0), Some(0)));
    }

    #[test]
    fn tcpdumps_last_words_are_read() {
        let errors = "5 packets captured\n6 packets received by filter\n1 packets dropped by kernel\n";
        assert_eq!(told(Tool::Tcpdump, "", errors), (Some(5), Some(1)));
    }

    #[test]
    fn a_tool_that_ends_at_once_is_named_with_its_message() {
        let error = Running::start(Tool::Tracer, Path::new("/bin/false"), "a")
            .err()
            .unwrap();
        assert!(
            error.to_string().starts_with("tracer: does not attach"),
            "{error}"
        );
    }
}
