//! A tracer on a node that breaks.

use std::fmt::Write as _;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::plan::{Deed, LOOK, Plan};
use super::stage::Stage;
use crate::lab::UPLINK;
use crate::process;
use crate::signals::{Signals, Wake};
use crate::tracer::{BEFORE_BREAK, watches};

/// For how long the tracer may go on after it was asked to end.
const GRACE: Duration = Duration::from_secs(5);

/// What the lab tells on stderr. While a live screen is shown it is kept for later.
#[derive(Debug)]
pub(super) struct Notes {
    start: Instant,
    kept: Option<String>,
}

impl Notes {
    pub(super) fn new(keep: bool) -> Self {
        Self {
            start: Instant::now(),
            kept: keep.then(String::new),
        }
    }

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

/// A run of a tracer.
pub(super) struct Run {
    pub stage: Stage,
    pub notes: Notes,
    pub signals: Signals,
    /// Mend the node so long after it broke.
    pub heal_after: Option<Duration>,
}

impl Run {
    /// Runs a tracer; breaks the node before it starts, or while it watches.
    pub(super) fn with(mut self, mut tracer: Command, late: bool) -> Result<i32> {
        self.notes.tell(&self.stage.title());
        self.notes.tell(&format!(
            "node {}, uplink {UPLINK}; traffic flows",
            self.stage.netns()
        ));
        let mut plan = Plan::default();
        if late {
            for told in self.stage.break_at_once()? {
                self.notes.tell(&told);
            }
            self.plan_heal(&mut plan);
        } else {
            plan.add(Deed::Look, LOOK);
        }
        process::bind(&mut tracer, libc::SIGTERM, None);
        let program = tracer.get_program().to_os_string();
        let tracer = tracer
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let status = self.watch(Tracer(tracer), &mut plan);
        self.notes.tell_what_was_kept();
        Ok(exit_code(status?))
    }

    /// Does what is planned until the tracer has ended.
    fn watch(&mut self, mut tracer: Tracer, plan: &mut Plan) -> Result<ExitStatus> {
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
                    Some(deed) => self.act(deed, plan)?,
                    None => {}
                },
            }
        }
    }

    /// Breaks or heals the node.
    fn act(&mut self, deed: Deed, plan: &mut Plan) -> Result<()> {
        let done = self.stage.act(deed)?;
        if let Some(told) = &done.told {
            self.notes.tell(told);
        }
        if let Some((deed, delay)) = done.next {
            plan.add(deed, delay);
        }
        if done.broken {
            self.plan_heal(plan);
        }
        Ok(())
    }

    fn plan_heal(&self, plan: &mut Plan) {
        if let Some(delay) = self.heal_after {
            plan.add(Deed::Heal, delay);
        }
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

/// The exit code as a shell would give it.
fn exit_code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
