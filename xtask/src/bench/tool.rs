//! The tools that are compared: how each is run, and how it shows that it is attached.

use std::{
    io::{self, Read},
    path::Path,
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::{
    proc::{self, Ticks},
    told::{self, Said, Told},
};
use crate::process;

/// Where the tracepoints are listed: most nodes mount it at their start.
const TRACEFS: &str = "/sys/kernel/tracing";
/// So long a tool may take to attach.
const ATTACH: Duration = Duration::from_secs(10);
/// How often a process is looked at that is waited for.
const TICK: Duration = Duration::from_millis(20);
/// A tool may miss a signal (bpftrace was seen to wait on after one): then it gets another.
const AGAIN: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Tool {
    Tracer,
    /// The tracer, with an empty program in place of each of its own: what the kernel itself takes.
    Floor,
    Bpftrace,
    Perf,
    Tcpdump,
}

impl Tool {
    pub(super) const ALL: [Self; 5] = [
        Self::Tracer,
        Self::Floor,
        Self::Bpftrace,
        Self::Perf,
        Self::Tcpdump,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tracer => "tracer",
            Self::Floor => "floor",
            Self::Bpftrace => "bpftrace",
            Self::Perf => "perf",
            Self::Tcpdump => "tcpdump",
        }
    }

    /// The package of Debian that has it.
    fn package(self) -> &'static str {
        match self {
            Self::Perf => "linux-perf",
            other => other.name(),
        }
    }

    /// Whether it can run here: it is installed, and what it reads is there.
    pub(super) fn usable(self) -> bool {
        match self {
            Self::Tracer | Self::Floor => true,
            Self::Tcpdump => process::find(self.name()).is_some(),
            Self::Bpftrace | Self::Perf => {
                process::find(self.name()).is_some() && Path::new(TRACEFS).join("events").exists()
            }
        }
    }

    /// What it takes to run it.
    pub(super) fn needs(self) -> String {
        match self {
            Self::Tracer | Self::Floor | Self::Tcpdump => format!("package {}", self.package()),
            Self::Bpftrace | Self::Perf => format!("package {}, and tracefs at {TRACEFS}", self.package()),
        }
    }

    fn command(self, tracer: &Path, netns: &str) -> Command {
        let mut command = match self {
            Self::Tracer | Self::Floor => Command::new(tracer),
            Self::Tcpdump => Command::new("ip"),
            Self::Bpftrace | Self::Perf => Command::new(self.name()),
        };
        match self {
            Self::Tracer => command.args([
                "--netns", netns, "--uplink", "eth0", "diagnose", "--for", "600s", "--format", "json",
            ]),
            Self::Floor => command.args(["cost", "--floor", "--for", "600s"]),
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
            Self::Tracer | Self::Floor => "anon_inode:bpf_link",
            Self::Bpftrace | Self::Perf => "anon_inode:[perf_event]",
            Self::Tcpdump => "socket:",
        }
    }

    /// How long it takes at most until it has read what happened: perf and tcpdump leave in their buffers what is
    /// there when they are interrupted, and the kernel keeps a buffer of tcpdump for up to a second until it is full.
    pub(super) fn lag(self) -> Duration {
        match self {
            Self::Tracer | Self::Floor | Self::Bpftrace => Duration::ZERO,
            Self::Perf => Duration::from_millis(200),
            Self::Tcpdump => Duration::from_millis(1200),
        }
    }
}

/// A tool that is attached.
pub(super) struct Running {
    tool: Tool,
    child: Killed,
    output: JoinHandle<io::Result<String>>,
    errors: JoinHandle<io::Result<String>>,
}

/// A process that does not outlive what looks at it.
pub(super) struct Killed(Child);

impl Killed {
    /// # Errors
    /// If it cannot be started.
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        let child = command
            .spawn()
            .map_err(|error| process::cannot_start(command, &error))?;
        Ok(Self(child))
    }
}

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
        let mut child = Killed::start(&mut command)?;
        let mut running = Self {
            tool,
            output: collect(child.0.stdout.take()),
            errors: collect(child.0.stderr.take()),
            child,
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
        told::read(self.tool, &said, netns)
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

#[cfg(test)]
mod tests {
    use super::*;

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
