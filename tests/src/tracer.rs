//! The tracer as the tests run it.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::lab::{Lab, UPLINK};
use crate::process;
use crate::scenario::{Place, Scenario};
use crate::terminal::wait_for_end;

/// From when a tracer watches to the break of its node.
pub const BEFORE_BREAK: Duration = Duration::from_secs(2);
/// What a tracer does not say or do by then it does not at all.
pub const PATIENCE: Duration = Duration::from_secs(40);
/// A tracer that is asked for two minutes and is not done by then does not end at all.
const LONGEST: Duration = Duration::from_secs(180);

/// The tracer's binary, as the environment names it.
pub fn binary() -> Result<PathBuf> {
    let path = std::env::var_os("TRACER_BIN").map(PathBuf::from);
    path.context("TRACER_BIN does not name the tracer's binary: run `cargo xtask test`")
}

/// Copies the tracer's binary, by another process: what another thread starts meanwhile would else have the copy open
/// for writing until it becomes its program, and so long the copy cannot be started (ETXTBSY).
pub fn copy_to(path: &Path) -> Result<()> {
    let status = Command::new("cp").arg(binary()?).arg(path).status();
    let status = status.context("cannot start cp")?;
    if !status.success() {
        bail!("copying the tracer to {}: {status}", path.display());
    }
    Ok(())
}

/// The tracer with some arguments. It ends with the thread that starts it.
pub fn command(args: &[&str]) -> Result<Command> {
    wrapped(&[], args)
}

/// The tracer with some arguments, started by another program, which becomes the tracer: `wrapper` is its
/// command line, to which that of the tracer is added.
pub fn wrapped(wrapper: &[&str], args: &[&str]) -> Result<Command> {
    let tracer = binary()?;
    let mut command = match wrapper {
        [] => Command::new(tracer),
        [program, options @ ..] => {
            let mut command = Command::new(program);
            command.args(options).arg(tracer);
            command
        }
    };
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    process::bind(&mut command, libc::SIGKILL, None);
    Ok(command)
}

/// The tracer with some arguments on the node of a lab.
pub fn on_node(lab: &Lab, args: &[&str]) -> Result<Command> {
    Ok(watching(command(args)?, lab))
}

/// Adds the arguments that let a tracer watch the node of a lab.
pub fn watching(mut command: Command, lab: &Lab) -> Command {
    command.args(["--netns", lab.netns(Place::Node).name(), "--uplink", UPLINK]);
    command
}

/// A wrapper for [`wrapped`] that first runs a line of shell in a mount namespace of its own, where it may
/// mount what it likes.
pub fn with_mounts(script: &str) -> [String; 6] {
    let script = format!("{script} && exec \"$@\"");
    ["unshare", "--mount", "sh", "-c", &script, "sh"].map(str::to_owned)
}

/// What a tracer left behind.
#[derive(Clone, Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Ended {
    /// Its stdout as JSON.
    pub fn report(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout)
            .with_context(|| format!("{}: stdout is not JSON; stderr: {}", self.status, self.stderr))
    }
}

/// Ids of the BPF programs that a process holds, itself or by a link; empty where it has ended.
pub fn programs(pid: u32) -> BTreeSet<u32> {
    let ids = |text: String| text.lines().filter_map(program_id).collect::<Vec<_>>();
    descriptors(pid).flat_map(ids).collect()
}

/// Whether a process has attached BPF programs. The tracer attaches all at once, when all are loaded.
pub fn watches(pid: u32) -> bool {
    descriptors(pid).any(|text| text.lines().any(|line| line.starts_with("link_id:")))
}

/// What the kernel tells of each descriptor of a process; nothing where it has ended.
fn descriptors(pid: u32) -> impl Iterator<Item = String> {
    fs::read_dir(format!("/proc/{pid}/fdinfo"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|descriptor| fs::read_to_string(descriptor.path()).ok())
}

fn program_id(line: &str) -> Option<u32> {
    line.strip_prefix("prog_id:")?.trim().parse().ok()
}

/// Waits until a tracer has attached its programs.
pub fn wait_until_it_watches(child: &mut Child) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !watches(child.id()) {
        if let Some(status) = child.try_wait()? {
            bail!("the tracer has ended: {status}");
        }
        if Instant::now() > end {
            bail!("the tracer attaches nothing in {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Runs a tracer to its end. While it runs, `meanwhile` is done.
pub fn run(command: &mut Command, meanwhile: impl FnOnce(&mut Child) -> Result<()>) -> Result<Ended> {
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let done = meanwhile(&mut child);
    let ended = finish(&mut child);
    done.and(ended)
}

/// Waits for the end of a tracer and reads what it writes until then.
pub fn finish(child: &mut Child) -> Result<Ended> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        let stdout = scope.spawn(|| read(stdout));
        let stderr = scope.spawn(|| read(stderr));
        let status = wait_for_end(child, LONGEST);
        let (stdout, stderr) = (
            stdout.join().unwrap_or_default(),
            stderr.join().unwrap_or_default(),
        );
        match status {
            Ok(status) => Ok(Ended {
                status,
                stdout,
                stderr,
            }),
            Err(error) => Err(error.context(format!("stdout: {stdout}; stderr: {stderr}"))),
        }
    })
}

fn read(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What came before an error is worth showing; the error shows in what is missing.
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// When the node breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// [`BEFORE_BREAK`] after the tracer began to watch.
    WhileWatched,
    /// Before the tracer is started.
    Before,
}

/// Runs a tracer with some arguments on the node of a scenario, and breaks the node.
pub fn observe(lab: &mut Lab, scenario: &Scenario, when: Break, args: &[&str]) -> Result<Ended> {
    let mut tracer = on_node(lab, args)?;
    match when {
        Break::Before => {
            lab.apply(scenario.break_it)?;
            run(&mut tracer, |_| Ok(()))
        }
        Break::WhileWatched => run(&mut tracer, |tracer| {
            wait_until_it_watches(tracer)?;
            std::thread::sleep(BEFORE_BREAK);
            lab.apply(scenario.break_it)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::program_id;

    #[test]
    fn ids_of_programs_are_read() {
        assert_eq!(program_id("prog_id:\t123"), Some(123));
        assert_eq!(program_id("prog_type:\t26"), None);
    }
}
