//! When systemd acts on a unit by itself, and what it does then (systemd src/core/service.c and scope.c, 247 to 257).

mod auxiliary;

use std::fmt;

use super::units::{Queued, Since};
use crate::event::{Ending, FailureMode, JobState, KillMode, Limits, NodeAction, Signal, UnitState};

/// No limit (`USEC_INFINITY`, systemd src/basic/time-util.h).
const INFINITE: u64 = u64::MAX;

/// When systemd acts on a unit by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// Nothing limits it.
    NoLimit,
    /// It does.
    Due(Due),
}

/// What systemd is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    /// When at the earliest, in ns of boot time.
    pub(crate) from: u64,
    /// When at the latest: the same but where systemd has drawn a part of it at random, or does not tell when it began.
    pub(crate) to: u64,
    /// What.
    pub(crate) action: Action,
    /// It does not where the service has given a sign of life meanwhile: from one of them to the next, in µs.
    pub(crate) watchdog: Option<u64>,
    /// What may then be done to the whole node.
    pub(crate) then: Option<Consequence>,
}

/// What systemd does to the whole node where a unit does not come up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consequence {
    /// If it has failed then.
    Failed(NodeAction),
    /// If it has been started as often as it may be. How often that was systemd does not tell.
    StartLimit(NodeAction),
}

impl fmt::Display for Consequence {
    /// `if it has failed then, the node is rebooted (FailureAction=)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(and) => write!(f, "if it has failed then, {and} (FailureAction=)"),
            Self::StartLimit(and) => {
                write!(f, "if that is once too often, {and} (StartLimitAction=)")
            }
        }
    }
}

/// What systemd does at a [`Deadline`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Sends a signal.
    Signal(Kill),
    /// Stops the unit.
    Stop,
    /// Runs a command of the unit's own.
    Run(Command),
    /// Nothing more is sent to what still runs: the unit has failed.
    GiveUp,
    /// Lets a reload be, and kills the process that does it where there is one. The service goes on.
    EndReload {
        /// There is one.
        process: bool,
    },
    /// Asks the controller of a scope to stop it.
    AskController,
    /// Starts it again.
    Restart,
    /// Gives up its job, and does this to the whole node.
    CancelJob(Option<NodeAction>),
}

/// A command that is run when a service is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// `ExecStop=`
    Stop,
    /// `ExecStopPost=`
    StopPost,
}

/// A signal, and whom it is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kill {
    pub(crate) signal: Signal,
    pub(crate) to: Whom,
    /// What the others get when those have ended; `None` where they go on, or there are none.
    pub(crate) then: Option<Signal>,
    /// The signal that is never sent, though the processes outlive this one.
    pub(crate) never: Option<Signal>,
}

/// Who gets a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    /// All processes in its cgroup.
    All,
    /// The main process.
    Main,
    /// The command that starts or stops it.
    Control,
    /// Both.
    MainAndControl,
}

impl fmt::Display for Action {
    /// `SIGKILL to all its processes`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signal(kill) => return kill.fmt(f),
            Self::CancelJob(Some(and)) => {
                return write!(f, "its job is given up, and {and} (JobTimeoutAction=)");
            }
            Self::Stop => "it is stopped",
            Self::Run(Command::Stop) => "its ExecStop= is run to stop it",
            Self::Run(Command::StopPost) => "no signal; its ExecStopPost= is run",
            Self::GiveUp => "no signal; it is given up, and its processes go on",
            Self::EndReload { process: true } => {
                "its reload is given up: SIGKILL to the reload process alone; the service goes on"
            }
            Self::EndReload { process: false } => "its reload is given up; the service goes on",
            Self::AskController => "its controller is asked to stop it",
            Self::Restart => "it is started again",
            Self::CancelJob(None) => "its job is given up",
        })
    }
}

impl fmt::Display for Kill {
    /// `SIGTERM to the main process, then SIGKILL to all`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = match self.to {
            Whom::All => "all its processes",
            Whom::Main => "the main process",
            Whom::Control => "the control process",
            Whom::MainAndControl => "the main and the control process",
        };
        write!(f, "{} to {to}", self.signal)?;
        match (self.to, self.then) {
            (_, Some(then)) => write!(f, ", then {then} to all")?,
            (Whom::All, None) => {}
            (_, None) => f.write_str("; the others go on")?,
        }
        match self.never {
            Some(never) => write!(f, "; no {never} follows"),
            None => Ok(()),
        }
    }
}

/// When systemd acts on a unit, the earliest of what limits it. `None` for one that is in no state that could be limited, and
/// where the only limit is a watchdog that counts from a time which is not known. `suspended` is what the boot time is ahead of
/// systemd's clock, `now` the boot time, both in ns.
pub(super) fn of(
    name: &str,
    state: &UnitState,
    job: Option<&Queued>,
    suspended: u64,
    now: u64,
) -> Option<Deadline> {
    let unit = Stopping::of(name, state, job)?;
    let own = of_state(&unit, state);
    let watchdog = of_watchdog(&unit, state);
    // Where that is over and the state is still the same, it has given a sign of life since the last look.
    let is_stale = watchdog.is_some_and(|due| due.to <= now.saturating_sub(suspended));
    let of_job = job.and_then(|job| of_job(job, &state.limits));
    let own_due = match own {
        Some(Deadline::Due(due)) => Some(due),
        Some(Deadline::NoLimit) | None => None,
    };
    let watchdog = watchdog.filter(|_| !is_stale);
    let first = [own_due, watchdog, of_job].into_iter().flatten();
    // A job of which it is only known until when it is given up is so at the latest then.
    let by = |due: &Due| match due.action {
        Action::CancelJob(_) => due.to,
        _ => due.from,
    };
    if let Some(due) = first.min_by_key(by) {
        return Some(Deadline::Due(Due {
            from: due.from.saturating_add(suspended),
            to: due.to.saturating_add(suspended),
            ..due
        }));
    }
    (own.is_some() || job.is_some())
        .then_some(Deadline::NoLimit)
        .filter(|_| !is_stale)
}

/// When the state of a unit ends by itself, in ns of `CLOCK_MONOTONIC` (`service_coldplug_timeout`, `scope_coldplug_timeout`;
/// each change of the sub-state but the one to reload-notify winds the clock anew, and so does each command that is run after
/// another one), and what is done then
/// (`service_dispatch_timer`, `scope_dispatch_timer`). More time that a service asked for (`EXTEND_TIMEOUT_USEC`) is not to be
/// seen from outside.
fn of_state(unit: &Stopping<'_>, state: &UnitState) -> Option<Deadline> {
    if unit.kind == Kind::Auxiliary {
        return auxiliary::of_state(unit, state);
    }
    let limits = &state.limits;
    let ending = &limits.ending;
    let reload = Action::EndReload {
        process: ending.processes.control,
    };
    let changed = limits.state_changed.max(limits.command_started);
    let (begin, span, action) = match state.sub.as_str() {
        "condition" | "start-pre" | "start" | "start-post" => (
            changed,
            limits.start,
            unit.fail(ending.start_failure, Phase::Stop),
        ),
        "reload"
        | "reload-signal"
        | "reload-notify"
        | "reload-post"
        | "refresh-extensions"
        | "refresh-credentials" => (changed, limits.start, reload),
        "running" => (limits.active_entered, limits.runtime_max, unit.enter_stop()),
        "stop" => (changed, limits.stop, unit.fail(ending.stop_failure, Phase::Stop)),
        "stop-post" => (changed, limits.stop, unit.fail(ending.stop_failure, Phase::Final)),
        "stop-sigterm" => (changed, limits.stop, unit.after_terminate(Phase::Stop)),
        "final-sigterm" => (changed, limits.stop, unit.after_terminate(Phase::Final)),
        "stop-watchdog" => (changed, limits.abort, unit.last(Phase::Stop)),
        "final-watchdog" => (changed, limits.abort, unit.last(Phase::Final)),
        "stop-sigkill" => (changed, limits.stop, unit.give_up(Phase::Stop)),
        "final-sigkill" => (changed, limits.stop, unit.give_up(Phase::Final)),
        "cleaning" => (changed, limits.clean, unit.send(Operation::Kill, Phase::Final)),
        "auto-restart" => (changed, limits.restart, Action::Restart),
        _ => return None,
    };
    if begin == 0 || span == INFINITE {
        return Some(Deadline::NoLimit);
    }
    let nanoseconds = |time: u64| time.saturating_mul(1000);
    let to = begin.saturating_add(span);
    let (from, to) = match state.sub.as_str() {
        "running" => (to, to.saturating_add(limits.runtime_extra)),
        // The clock runs since the reload began, which was before.
        "reload-notify" => (begin, to),
        _ => (to, to),
    };
    Some(Deadline::Due(Due {
        from: nanoseconds(from),
        to: nanoseconds(to),
        action,
        watchdog: None,
        then: match action {
            Action::EndReload { .. } => None,
            Action::Restart => limits.start_limit_action.map(Consequence::StartLimit),
            _ => limits.failure_action.map(Consequence::Failed),
        },
    }))
}

/// When a service has given no sign of life for too long, in ns of `CLOCK_MONOTONIC` (`service_start_watchdog`,
/// `service_dispatch_watchdog`).
fn of_watchdog(unit: &Stopping<'_>, state: &UnitState) -> Option<Due> {
    let is_watched = matches!(
        state.sub.as_str(),
        "start-post"
            | "running"
            | "reload"
            | "reload-signal"
            | "reload-notify"
            | "reload-post"
            | "refresh-extensions"
            | "refresh-credentials"
    );
    let (span, alive) = state.limits.watchdog().filter(|_| is_watched)?;
    let at = alive.saturating_add(span).saturating_mul(1000);
    Some(Due {
        from: at,
        to: at,
        action: unit.send(Operation::Abort, Phase::Stop),
        watchdog: Some(span),
        then: state.limits.failure_action.map(Consequence::Failed),
    })
}

/// When a job is given up, in ns of `CLOCK_MONOTONIC` (systemd src/core/job.c, `job_get_timeout`).
fn of_job(job: &Queued, limits: &Limits) -> Option<Due> {
    let end = |since: Since, span: u64| {
        let to = since.at.saturating_add(is_limit(span)?.saturating_mul(1000));
        Some((if since.or_before { since.at } else { to }, to))
    };
    let running = job.begun.and_then(|begun| end(begun, limits.job_running));
    let ends = [end(job.queued, limits.job), running];
    let (from, to) = ends.into_iter().flatten().min_by_key(|(_, to)| *to)?;
    Some(Due {
        from,
        to,
        action: Action::CancelJob(limits.job_action),
        watchdog: None,
        then: None,
    })
}

/// What limits jobs of a unit, in µs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OfJobs {
    /// From when one is queued.
    pub(crate) queued: Option<u64>,
    /// From when it begins to run.
    pub(crate) running: Option<u64>,
    /// What is done to the whole node where one is given up.
    pub(crate) action: Option<NodeAction>,
}

/// What limits jobs of a unit; `None` for nothing.
pub(crate) fn of_jobs(limits: &Limits) -> Option<OfJobs> {
    let (queued, running) = (is_limit(limits.job), is_limit(limits.job_running));
    (queued.is_some() || running.is_some()).then_some(OfJobs {
        queued,
        running,
        action: limits.job_action,
    })
}

/// A span that is one: of a unit of which only the state was read there is none either.
fn is_limit(span: u64) -> Option<u64> {
    (!matches!(span, INFINITE | 0)).then_some(span)
}

/// How systemd stops a unit step by step, each where the one before has nobody to act on.
struct Stopping<'u> {
    ending: &'u Ending,
    kind: Kind,
    /// It is stopped to be started again.
    restarts: bool,
}

/// What is stopped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Service,
    Scope,
    /// A mount, a socket or a swap.
    Auxiliary,
}

/// How far a stop is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Before `ExecStopPost=`.
    Stop,
    /// After it.
    Final,
}

/// What a signal is sent for (systemd src/core/unit.h, `KillOperation`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Terminate,
    Abort,
    Kill,
}

/// What a job that is to restart a unit has stopped is being started: systemd takes the job for one that starts it then, and tells
/// nobody (src/core/job.c, `job_finish_and_invalidate`).
fn has_stopped(job: &Queued, state: &UnitState) -> bool {
    let starts = ["condition", "start-pre", "start", "start-post"];
    job.state == JobState::Running && starts.contains(&state.sub.as_str())
}

impl<'u> Stopping<'u> {
    /// `None` for a unit of a kind whose processes are not looked at, and for one of which only the state was read.
    fn of(name: &str, state: &'u UnitState, job: Option<&Queued>) -> Option<Self> {
        let (_, kind) = name.rsplit_once('.')?;
        let kind = match kind {
            "service" => Kind::Service,
            "scope" => Kind::Scope,
            "mount" | "socket" | "swap" if state.limits.state_changed != 0 => Kind::Auxiliary,
            _ => return None,
        };
        Some(Self {
            ending: &state.limits.ending,
            kind,
            restarts: job.is_some_and(|job| job.action == "restart" && !has_stopped(job, state)),
        })
    }

    fn is_scope(&self) -> bool {
        self.kind == Kind::Scope
    }

    /// It has run for as long as it may (`service_enter_stop`, `scope_enter_signal`).
    fn enter_stop(&self) -> Action {
        if self.is_scope() && self.ending.has_controller {
            Action::AskController
        } else if self.ending.commands.stop {
            Action::Run(Command::Stop)
        } else {
            self.send(Operation::Terminate, Phase::Stop)
        }
    }

    /// It took too long to start or stop, or its command did.
    fn fail(&self, mode: FailureMode, phase: Phase) -> Action {
        match mode {
            FailureMode::Terminate => self.send(Operation::Terminate, phase),
            FailureMode::Abort => self.send(Operation::Abort, phase),
            FailureMode::Kill => self.last(phase),
        }
    }

    /// It outlived the signal that asked it to end.
    fn after_terminate(&self, phase: Phase) -> Action {
        if self.ending.stop_failure == FailureMode::Abort {
            self.send(Operation::Abort, phase)
        } else {
            self.last(phase)
        }
    }

    /// It is killed, if it may be.
    fn last(&self, phase: Phase) -> Action {
        if self.ending.signals.sends_last {
            self.send(Operation::Kill, phase)
        } else {
            self.give_up(phase)
        }
    }

    /// Nothing more is expected of this phase (`service_enter_stop_post`, `service_enter_dead`).
    fn give_up(&self, phase: Phase) -> Action {
        match phase {
            Phase::Stop if self.is_scope() => Action::GiveUp,
            Phase::Stop if self.ending.commands.stop_post => Action::Run(Command::StopPost),
            Phase::Stop => self.send(Operation::Terminate, Phase::Final),
            Phase::Final => Action::GiveUp,
        }
    }

    /// A signal is sent; where nobody is there to get it the next step follows at once (`service_enter_signal`).
    fn send(&self, operation: Operation, phase: Phase) -> Action {
        match (self.whom(operation), operation) {
            (Some(to), _) => Action::Signal(self.kill(operation, phase, to)),
            (None, Operation::Kill) => self.give_up(phase),
            // Here systemd does not ask whether it may kill.
            (None, _) if self.is_scope() => self.send(Operation::Kill, phase),
            (None, _) => self.last(phase),
        }
    }

    fn kill(&self, operation: Operation, phase: Phase, to: Whom) -> Kill {
        let signals = &self.ending.signals;
        let signal = match operation {
            Operation::Terminate if self.restarts && phase == Phase::Stop => signals.restart,
            Operation::Terminate => signals.stop,
            Operation::Abort => signals.abort,
            Operation::Kill => signals.last,
        };
        let is_all = to == Whom::All;
        Kill {
            signal,
            to,
            then: (self.ending.kill_mode == KillMode::Mixed && !is_all && signals.sends_last)
                .then_some(signals.last),
            never: (operation != Operation::Kill && !signals.sends_last).then_some(signals.last),
        }
    }

    /// Who gets a signal; `None` for nobody (systemd src/core/unit.c, `unit_kill_context`).
    fn whom(&self, operation: Operation) -> Option<Whom> {
        let processes = self.ending.processes;
        match (self.ending.kill_mode, operation) {
            (KillMode::None, _) => None,
            (KillMode::ControlGroup, _) | (KillMode::Mixed, Operation::Kill) => Some(Whom::All),
            (KillMode::Mixed | KillMode::Process, _) => match (processes.main, processes.control) {
                (true, true) => Some(Whom::MainAndControl),
                (true, false) => Some(Whom::Main),
                (false, true) => Some(Whom::Control),
                (false, false) => None,
            },
        }
    }
}

#[cfg(test)]
mod tests;
