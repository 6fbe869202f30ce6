//! `lab SCENARIO`: a tracer on a node that is about to break, for a person to look at.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;

use crate::lab::{Lab, UPLINK};
use crate::process;
use crate::scenario::{self, Place, Scenario, Step};
use crate::signals::{Signals, Wake};
use crate::tracer::{BEFORE_BREAK, watches};

/// From one look whether the tracer watches yet to the next.
const LOOK: Duration = Duration::from_millis(20);
/// For how long the tracer may go on after it was asked to end.
const GRACE: Duration = Duration::from_secs(5);

/// A node that is to be mended later than that is not meant to be.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Breaks a node made of network namespaces while the tracer watches it.
#[derive(Debug, Parser)]
#[command(name = "lab")]
struct Options {
    /// What to break; without one, as with `--list`, the choice is shown.
    scenario: Option<String>,
    /// Say what each scenario breaks and what the tracer should say.
    #[arg(long)]
    list: bool,
    /// Break the node before the tracer starts, not 2 s after it.
    #[arg(long)]
    late: bool,
    /// Mend the node this many seconds after it was broken.
    #[arg(long, value_name = "SECS", value_parser = seconds)]
    heal_after: Option<Duration>,
    /// Arguments of the tracer; without any it shows its live screen.
    #[arg(last = true, value_name = "TRACER ARGS")]
    tracer: Vec<String>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| "not between 0 and a day".to_owned())
}

/// Runs the lab for the arguments of a command line (without the program's name). Returns the exit code of
/// the tracer, whose binary the environment names in `TRACER_BIN`.
pub fn main(args: Vec<String>) -> Result<i32> {
    let options = match Options::try_parse_from(std::iter::once("lab".to_owned()).chain(args)) {
        Ok(options) => options,
        Err(error) => {
            error.print()?;
            return Ok(error.exit_code());
        }
    };
    let Some(name) = options.scenario.as_deref().filter(|_| !options.list) else {
        print!("{}", list());
        return Ok(0);
    };
    let scenario = scenario::find(name)?;
    if let Some(why) = scenario.skipped() {
        bail!("{name} cannot be produced on this machine: {why}");
    }
    let tracer = std::env::var_os("TRACER_BIN").map(PathBuf::from);
    let tracer = tracer.context("TRACER_BIN does not name the tracer's binary: run `cargo xtask lab`")?;
    let signals = Signals::block().context("cannot block signals")?;
    let program = std::env::current_exe().context("cannot find the lab's own binary")?;
    let lab = Lab::of(scenario, &program)?;
    if let Wake::End { signal, .. } = signals.wait(Duration::ZERO)? {
        return Ok(128 + signal);
    }
    let mut tracer = Command::new(tracer);
    tracer
        .args(&options.tracer)
        .args(where_to_look(&options.tracer, lab.netns(Place::Node).name()));
    let notes = Notes {
        start: Instant::now(),
        kept: live_screen(&options.tracer).then(String::new),
    };
    Run {
        scenario,
        lab,
        notes,
        signals,
    }
    .with(tracer, options.late, options.heal_after)
}

/// What tells the tracer with these arguments which node to watch, as far as they leave that open and it takes it.
fn where_to_look(args: &[String], node: &str) -> Vec<String> {
    let takes_packets = !args.iter().any(|arg| arg == "node");
    let reads_files = ["audit", "replay", "export", "--trace"]
        .iter()
        .any(|one| args.iter().any(|arg| arg == one));
    let has_netns = args
        .iter()
        .any(|arg| arg == "--netns" || arg.starts_with("--netns="));
    let mut options = Vec::new();
    if !reads_files && !has_netns {
        options.extend(["--netns".to_owned(), node.to_owned()]);
    }
    if !reads_files && takes_packets {
        // Where several namespaces are watched, others have a device of that name too.
        options.extend(["--uplink".to_owned(), format!("{node}:{UPLINK}")]);
    }
    options
}

/// What `--list` shows.
fn list() -> String {
    let mut text = String::new();
    for stage in scenario::STAGES {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{}\n{}\n",
            stage.title,
            "=".repeat(stage.title.chars().count())
        );
        for scenario in stage.scenarios {
            let Scenario {
                name,
                title,
                breaks,
                says,
                ..
            } = scenario;
            let _ = writeln!(text, "{name}: {title}\n  breaks: {breaks}\n  tracer: {says}");
            if let Some(why) = scenario.skipped() {
                let _ = writeln!(text, "  not on this machine: {why}");
            }
            text.push('\n');
        }
    }
    text
}

/// Whether the tracer, with these arguments, draws on this terminal.
fn live_screen(args: &[String]) -> bool {
    let text_only =
        |arg: &String| ["diagnose", "export", "--plain", "--help", "--version"].contains(&arg.as_str());
    io::stdout().is_terminal() && !args.iter().any(text_only)
}

/// What the lab tells on stderr. While a live screen is shown it is kept for later.
#[derive(Debug)]
struct Notes {
    start: Instant,
    kept: Option<String>,
}

impl Notes {
    fn tell(&mut self, text: &str) {
        let line = format!("lab {:5.1} s: {text}", self.start.elapsed().as_secs_f64());
        match &mut self.kept {
            Some(kept) => {
                let _ = writeln!(kept, "{line}");
            }
            None => eprintln!("{line}"),
        }
    }

    fn tell_what_was_kept(&mut self) {
        eprint!("{}", self.kept.take().unwrap_or_default());
    }
}

/// What is done to the node or to the tracer when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    /// Look whether the tracer watches: then the break can be planned.
    Look,
    Break,
    Heal,
    KillTracer,
}

/// A run of a tracer in a lab.
struct Run {
    scenario: &'static Scenario,
    lab: Lab,
    notes: Notes,
    signals: Signals,
}

impl Run {
    fn with(mut self, mut tracer: Command, late: bool, heal_after: Option<Duration>) -> Result<i32> {
        let (scenario, node) = (self.scenario, self.lab.netns(Place::Node).name());
        self.notes.tell(&format!("{}: {}", scenario.name, scenario.title));
        self.notes
            .tell(&format!("node {node}, uplink {UPLINK}; traffic flows"));
        let mut plan = Plan::default();
        if late {
            self.act(Deed::Break, heal_after, &mut plan)?;
        } else {
            plan.add(Deed::Look, LOOK);
        }
        process::bind(&mut tracer, libc::SIGTERM, None);
        let program = tracer.get_program().to_os_string();
        let tracer = tracer
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let status = self.watch(Tracer(tracer), heal_after, &mut plan);
        self.notes.tell_what_was_kept();
        Ok(exit_code(status?))
    }

    /// Does what is planned until the tracer has ended.
    fn watch(
        &mut self,
        mut tracer: Tracer,
        heal_after: Option<Duration>,
        plan: &mut Plan,
    ) -> Result<ExitStatus> {
        loop {
            if let Some(status) = tracer.0.try_wait().context("cannot wait for the tracer")? {
                return Ok(status);
            }
            match self.signals.wait(plan.time_left())? {
                Wake::Child => {}
                Wake::End {
                    signal,
                    from_terminal,
                } => {
                    if !from_terminal {
                        // It fails only for a tracer that has ended, which is seen next.
                        let _ = process::send(tracer.0.id(), signal);
                    }
                    plan.only(Deed::KillTracer, GRACE);
                }
                Wake::Time => match plan.due() {
                    Some(Deed::KillTracer) => {
                        self.notes
                            .tell(&format!("the tracer has not ended in {GRACE:?}: killing it"));
                        tracer.0.kill().context("cannot kill the tracer")?;
                    }
                    Some(Deed::Look) if watches(tracer.0.id()) => plan.add(Deed::Break, BEFORE_BREAK),
                    Some(Deed::Look) => plan.add(Deed::Look, LOOK),
                    Some(deed) => self.act(deed, heal_after, plan)?,
                    None => {}
                },
            }
        }
    }

    /// Breaks or heals the node.
    fn act(&mut self, deed: Deed, heal_after: Option<Duration>, plan: &mut Plan) -> Result<()> {
        let (word, steps) = match deed {
            Deed::Break => ("break", self.scenario.break_it),
            _ => ("heal", self.scenario.heal),
        };
        self.lab.apply(steps)?;
        let told: Vec<String> = steps.iter().map(|step: &Step| self.lab.told(step)).collect();
        self.notes.tell(&format!("{word}: {}", told.join("; ")));
        if let (Deed::Break, Some(delay)) = (deed, heal_after) {
            plan.add(Deed::Heal, delay);
        }
        Ok(())
    }
}

/// The tracer, which is not left alone when the lab fails.
struct Tracer(Child);

impl Drop for Tracer {
    fn drop(&mut self) {
        // A tracer that has been waited for is not killed again by these.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The deeds to come.
#[derive(Debug, Default)]
struct Plan(Vec<(Instant, Deed)>);

impl Plan {
    fn add(&mut self, deed: Deed, delay: Duration) {
        self.0.push((Instant::now() + delay, deed));
        self.0.sort_by_key(|(time, _)| *time);
    }

    /// Forgets all others. Where it is planned already, its time stays.
    fn only(&mut self, deed: Deed, delay: Duration) {
        self.0.retain(|(_, other)| *other == deed);
        if self.0.is_empty() {
            self.add(deed, delay);
        }
    }

    fn time_left(&self) -> Duration {
        let far = Duration::from_secs(3600);
        self.0
            .first()
            .map_or(far, |(time, _)| time.saturating_duration_since(Instant::now()))
    }

    fn due(&mut self) -> Option<Deed> {
        let due = self.0.first().is_some_and(|(time, _)| *time <= Instant::now());
        due.then(|| self.0.remove(0).1)
    }
}

/// The exit code as a shell would give it.
fn exit_code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_look_is_left_to_who_says_it() {
        let told = |line: &str| {
            let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
            where_to_look(&args, "n").join(" ")
        };
        assert_eq!(told("--plain"), "--netns n --uplink n:eth0");
        assert_eq!(told("diagnose --netns all"), "--uplink n:eth0");
        assert_eq!(told("--netns=all"), "--uplink n:eth0");
        assert_eq!(told("node --wait 1s"), "--netns n");
        assert_eq!(told("audit --root /"), "");
        assert_eq!(told("diagnose --trace f"), "");
    }

    #[test]
    fn seconds_that_are_none_are_refused() {
        assert_eq!(seconds("0.3"), Ok(Duration::from_millis(300)));
        for wrong in ["", "-1", "nan", "inf", "1e19", "1e300", "soon"] {
            assert!(seconds(wrong).is_err(), "{wrong:?} was accepted");
        }
    }
}
