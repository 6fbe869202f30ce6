//! Tools side by side: how much of the traffic is left under each, and what each counts of a storm of drops.
//!
//! The machine is shared: each turn with a tool follows a turn without one, and the median of their ratios counts.

use std::{
    fs,
    io::{self, BufRead, BufReader, Lines, Read, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::{process, process::note};

/// Pairs of turns of the tracer under each load. The others have no bound to keep: one pair shows what they cost.
const TURNS: usize = 5;
/// How long each turn sends.
const SECONDS: &str = "1";
/// So long a tool has to attach: bpftrace, the slowest, takes about one.
const ATTACH: Duration = Duration::from_secs(2);
/// Processor time of the tracer in a storm, at most, in percent of a core.
const CPU: f64 = 2.0;
/// The drops of the load, as the tracer names them.
const REASON: &str = "NETFILTER_DROP";

/// A load of `lab load`, and the least part of it that must be left under the tracer.
const LOADS: [(&str, f64); 4] = [
    ("storm", 0.93),
    ("flood", 0.90),
    ("requests", 0.95),
    ("bulk", 0.95),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    Tracer,
    Bpftrace,
    Perf,
    Tcpdump,
}

impl Tool {
    const ALL: [Self; 4] = [Self::Tracer, Self::Bpftrace, Self::Perf, Self::Tcpdump];

    /// Its name, and the package that has it.
    fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::Tracer => ("tracer", ""),
            Self::Bpftrace => ("bpftrace", "bpftrace"),
            Self::Perf => ("perf", "linux-perf"),
            Self::Tcpdump => ("tcpdump", "tcpdump"),
        }
    }

    fn command(self, tracer: &Path, netns: &str) -> Command {
        let mut command = match self {
            Self::Tracer => Command::new(tracer),
            Self::Tcpdump => Command::new("ip"),
            Self::Bpftrace | Self::Perf => Command::new(self.name().0),
        };
        match self {
            Self::Tracer => command.args([
                "--netns", netns, "--uplink", "eth0", "diagnose", "--for", "600s", "--format", "json",
            ]),
            Self::Bpftrace => command.args(["-e", "tracepoint:skb:kfree_skb { @[args->reason] = count(); }"]),
            Self::Perf => command.args(["trace", "-a", "-e", "skb:kfree_skb", "-o", "/dev/null"]),
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

    /// Drops (tcpdump: packets) that it told, and those that it says it lost. None where it tells no number.
    fn told(self, said: &Said, netns: &str) -> Result<(Option<u64>, Option<u64>)> {
        let before = |mark: &str| {
            said.errors
                .lines()
                .find_map(|line| line.strip_suffix(mark)?.trim().parse().ok())
        };
        Ok(match self {
            Self::Tracer => {
                let report: Report =
                    serde_json::from_str(&said.output).context("tracer diagnose: prints no report")?;
                let own = format!("{netns}:");
                let drops = report.drops.iter();
                let drops = drops.filter(|drop| drop.reason == REASON && drop.netns.starts_with(&own));
                let losses = report.losses.map_full;
                (Some(drops.map(|drop| drop.packets).sum()), Some(losses))
            }
            // One line for each reason; that of the storm is the longest by far.
            Self::Bpftrace => {
                let counts = said.output.lines().filter_map(|line| line.split_once("]: "));
                (counts.filter_map(|(_, n)| n.trim().parse().ok()).max(), None)
            }
            Self::Perf => (None, None),
            Self::Tcpdump => (before(" packets captured"), before(" packets dropped by kernel")),
        })
    }
}

#[derive(Debug, Deserialize)]
struct Report {
    drops: Vec<Drop>,
    losses: Losses,
}

#[derive(Debug, Deserialize)]
struct Drop {
    reason: String,
    packets: u64,
    netns: String,
}

#[derive(Debug, Deserialize)]
struct Losses {
    map_full: u64,
}

/// What one turn of the load counted.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Turn {
    sent: u64,
    received: u64,
    seconds: f64,
}

/// `lab load`, running.
struct Load {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    /// The namespace that receives.
    netns: String,
}

impl Load {
    fn start(lab: &Path, kind: &str) -> Result<Self> {
        let mut command = Command::new(lab);
        command
            .args(["load", kind, SECONDS])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|error| process::cannot_start(&command, &error))?;
        let input = child.stdin.take().context("lab load: has no input")?;
        let output = BufReader::new(child.stdout.take().context("lab load: has no output")?);
        let mut load = Self {
            child,
            input,
            output: output.lines(),
            netns: String::new(),
        };
        let ready = load.line()?;
        load.netns = ready
            .strip_prefix("ready ")
            .context("lab load: is not ready; its messages above say why")?
            .to_owned();
        Ok(load)
    }

    fn line(&mut self) -> Result<String> {
        let line = self.output.next().context("lab load: has ended")?;
        line.context("lab load: its output cannot be read")
    }

    fn turn(&mut self) -> Result<Turn> {
        writeln!(self.input).context("lab load: has ended")?;
        serde_json::from_str(&self.line()?).context("lab load: not a turn")
    }

    fn end(mut self) -> Result<()> {
        drop(self.input);
        self.child.wait().context("lab load: cannot be waited for")?;
        Ok(())
    }
}

/// What a tool wrote.
struct Said {
    output: String,
    errors: String,
}

/// One turn with a tool.
struct Measured {
    turn: Turn,
    /// Percent of a core: user, system.
    cpu: (f64, f64),
    said: Said,
}

fn measure(tool: Tool, tracer: &Path, load: &mut Load) -> Result<Measured> {
    let mut command = tool.command(tracer, &load.netns);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .map_err(|error| process::cannot_start(&command, &error))?;
    let output = collect(child.stdout.take());
    let errors = collect(child.stderr.take());
    thread::sleep(ATTACH);
    let begin = (Instant::now(), ticks(child.id()));
    let turn = load.turn()?;
    let passed = begin.0.elapsed().as_secs_f64();
    let end = ticks(child.id());
    let mut kill = Command::new("kill");
    kill.args(["-INT", &child.id().to_string()]);
    // A tool may miss a signal: bpftrace was seen to wait on after one.
    while child.try_wait().context("a tool cannot be waited for")?.is_none() {
        process::run(&mut kill)?;
        thread::sleep(Duration::from_millis(500));
    }
    let text = |reader: thread::JoinHandle<io::Result<String>>| {
        reader
            .join()
            .ok()
            .context("a tool's output cannot be read")?
            .context("a tool's output")
    };
    let said = Said {
        output: text(output)?,
        errors: text(errors)?,
    };
    let (Some(before), Some(after)) = (begin.1, end) else {
        bail!("{} ended before its turn: {}", tool.name().0, said.errors.trim());
    };
    // USER_HZ is 100 on all that Linux runs on today: a tick is a percent of a second.
    let percent = |after: u64, before: u64| (after - before) as f64 / passed;
    Ok(Measured {
        turn,
        cpu: (percent(after.0, before.0), percent(after.1, before.1)),
        said,
    })
}

fn collect(from: Option<impl Read + Send + 'static>) -> thread::JoinHandle<io::Result<String>> {
    thread::spawn(move || from.map_or_else(|| Ok(String::new()), io::read_to_string))
}

/// Processor time of a process so far, in ticks: user, system (proc(5), `stat`).
fn ticks(pid: u32) -> Option<(u64, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command in parentheses may have spaces.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn installed(tool: Tool) -> bool {
    tool == Tool::Tracer || process::find(tool.name().0).is_some()
}

/// Measures all tools under all loads. Returns the table, and whether the tracer's bounds are kept.
///
/// # Errors
/// If something cannot be measured.
pub(super) fn main(lab: &Path, tracer: &Path) -> Result<(String, bool)> {
    let mut text = format!(
        "{:<10}{:<10}{:>13}{:>7}{:>7}{:>7}{:>11}{:>11}{:>9}",
        "load", "tool", "a second", "left", "user%", "sys%", "made", "counted", "lost"
    );
    let mut kept = true;
    for (kind, least) in LOADS {
        note(format_args!("measuring tools side by side under {kind}"));
        let mut load = Load::start(lab, kind)?;
        // The first turn finds cold caches and no neighbour.
        load.turn()?;
        for tool in Tool::ALL {
            let (name, package) = tool.name();
            if !installed(tool) {
                text += &format!("\n{kind:<10}{name:<10} not installed (apt install {package})");
                continue;
            }
            let rate = |turn: Turn| match kind {
                "storm" => turn.sent as f64 / turn.seconds,
                _ => turn.received as f64 / turn.seconds,
            };
            let mut turns = Vec::new();
            for _ in 0..if tool == Tool::Tracer { TURNS } else { 1 } {
                // As long a silence as before the turn with the tool: it lets processors and caches go cold.
                thread::sleep(ATTACH);
                let without = rate(load.turn()?);
                let with = measure(tool, tracer, &mut load)?;
                let told = tool.told(&with.said, &load.netns)?;
                turns.push((rate(with.turn) / without, with, told));
            }
            let exact = tool != Tool::Tracer
                || kind != "storm"
                || turns.iter().all(|(_, with, told)| told.0 == Some(with.turn.sent));
            turns.sort_by(|a, b| a.0.total_cmp(&b.0));
            let (left, with, told) = &turns[turns.len() / 2];
            text += &format!(
                "\n{kind:<10}{name:<10}{:>13.0}{left:>7.3}{:>7.1}{:>7.1}",
                rate(with.turn),
                with.cpu.0,
                with.cpu.1
            );
            if kind == "storm" {
                let number = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
                text += &format!(
                    "{:>11}{:>11}{:>9}",
                    with.turn.sent,
                    number(told.0),
                    number(told.1)
                );
            }
            if tool == Tool::Tracer {
                let frugal = kind != "storm" || with.cpu.0 <= CPU;
                let holds = *left >= least && exact && frugal;
                kept &= holds;
                text += &format!("   bound {least:.2}{}", super::miss(holds));
            }
        }
        load.end()?;
    }
    Ok((text + "\n", kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(output: &str, errors: &str) -> Said {
        Said {
            output: output.into(),
            errors: errors.into(),
        }
    }

    #[test]
    fn what_each_tool_tells_is_read() {
        let report = r#"{"drops":[{"reason":"NETFILTER_DROP","packets":7,"netns":"a:1"},
            {"reason":"NETFILTER_DROP","packets":1,"netns":"ab:2"},{"reason":"NO_SOCKET","packets":2,"netns":"a:1"}],
            "losses":{"map_full":3}}"#;
        let told = |tool: Tool, said| tool.told(&said, "a").unwrap();
        assert_eq!(told(Tool::Tracer, said(report, "")), (Some(7), Some(3)));
        assert_eq!(
            told(Tool::Bpftrace, said("@[3]: 2\n@[8]: 90\n", "")),
            (Some(90), None)
        );
        let tcpdump = "5 packets captured\n6 packets received by filter\n1 packets dropped by kernel\n";
        assert_eq!(told(Tool::Tcpdump, said("", tcpdump)), (Some(5), Some(1)));
        assert_eq!(told(Tool::Perf, said("", "")), (None, None));
    }

    #[test]
    fn processor_time_is_read_from_the_kernel() {
        assert!(ticks(std::process::id()).is_some());
        assert_eq!(ticks(u32::MAX), None);
    }
}
