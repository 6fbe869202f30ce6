//! Units, jobs and timers of systemd, and when it will act on a unit.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use super::runs::{Past, Runs};
use super::timeline::{Change, Subject};
use crate::event::{self, Clock, Job, JobState, Limits, Seen, Timer, Unit, UnitState, Unknown};

/// No limit (`USEC_INFINITY`, systemd src/basic/time-util.h).
const INFINITE: u64 = u64::MAX;

/// The first word of a change of a timer that elapsed.
pub(crate) const ELAPSED: &str = "elapsed";

/// Units that are kept at most, and as many jobs and timers; further ones are counted.
const KEPT: usize = 16_384;

/// All that systemd has told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Units {
    units: BTreeMap<String, Known>,
    jobs: BTreeMap<u32, Queued>,
    timers: BTreeMap<String, Timer>,
    runs: Runs,
    clock: Clock,
    other: u64,
}

/// Starts of a unit of which the time is kept, the latest.
const STARTS: usize = 16;

/// A unit, and how often it was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) state: UnitState,
    /// How often it was started anew since the tracer saw it first: changes of its invocation.
    pub(crate) starts: u32,
    /// When, in boot time, the latest last.
    begun: VecDeque<Begun>,
}

/// A start of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begun {
    /// When, in boot time.
    pub(crate) at: u64,
    /// It had run before.
    pub(crate) anew: bool,
}

/// A job, and since when it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Queued {
    pub(crate) unit: String,
    pub(crate) action: String,
    pub(crate) state: JobState,
    /// When it was first seen, in ns of `CLOCK_MONOTONIC`, by which systemd limits it: that stands still in suspend.
    queued: u64,
    /// When it was first seen to run.
    begun: Option<u64>,
}

impl fmt::Display for Queued {
    /// `stop running`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&say(&self.action, &self.state))
    }
}

/// Before the result of a job.
const ENDED: &str = "ended: ";

/// `stop running`; what the job does is left out where that is not known.
fn say(action: &str, state: &JobState) -> String {
    let text = match state {
        JobState::Waiting => format!("{action} queued"),
        JobState::Running => format!("{action} running"),
        JobState::Ended(result) => format!("{action} {ENDED}{result}"),
    };
    text.trim_start().to_owned()
}

/// A job of these words has ended.
pub(super) fn has_ended(job: &str) -> bool {
    job.contains(ENDED)
}

/// When systemd acts on a unit by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// Nothing limits it.
    NoLimit,
    /// At this boot time, in ns.
    At {
        /// When.
        at: u64,
        /// What it does then.
        action: Action,
    },
}

/// What systemd does at a [`Deadline`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Ends its processes: first SIGTERM, after `TimeoutStopSec` SIGKILL.
    Terminate,
    /// SIGKILL.
    Kill,
    /// Starts it again.
    Restart,
    /// Gives up its job.
    CancelJob,
}

impl Units {
    pub(super) fn clock(&mut self, clock: Clock) {
        self.clock = clock;
    }

    /// Takes note of how a unit stands. Returns what changed, if anything that matters did.
    pub(super) fn unit(&mut self, at: u64, unit: &Unit) -> Option<Change> {
        let before = self.units.remove(&unit.name);
        if self.units.len() >= KEPT {
            self.other += 1;
            return None;
        }
        let described = before.as_ref().map(|known| describe(&known.state));
        if let Some(state) = &unit.state {
            self.runs
                .seen(&unit.name, before.as_ref().map(|known| &known.state), state);
            let is_started = before.as_ref().is_some_and(|known| {
                known.state.invocation != state.invocation && !state.invocation.is_empty()
            });
            let (starts, mut begun) = before
                .as_ref()
                .map(|known| (known.starts, known.begun.clone()))
                .unwrap_or_default();
            if is_started {
                if begun.len() == STARTS {
                    begun.pop_front();
                }
                let anew = before
                    .as_ref()
                    .is_some_and(|known| !known.state.invocation.is_empty());
                begun.push_back(Begun { at, anew });
            }
            self.units.insert(
                unit.name.clone(),
                Known {
                    state: state.clone(),
                    starts: starts + u32::from(is_started),
                    begun,
                },
            );
        }
        let after = unit.state.as_ref().map(describe);
        let is_new_run = match (&before, &unit.state) {
            (Some(known), Some(state)) => known.state.invocation != state.invocation,
            _ => false,
        };
        if unit.seen == Seen::Found || (described == after && !is_new_run) {
            return None;
        }
        Some(Change {
            at,
            subject: Subject::Unit(unit.name.clone()),
            before: described,
            after,
            by: None,
            by_unknown: Some(Unknown::NotTold),
            noticed: unit.seen == Seen::Noticed,
        })
    }

    /// Takes note of a job. Returns what changed.
    pub(super) fn job(&mut self, at: u64, job: &Job) -> Option<Change> {
        let before = self.jobs.remove(&job.id);
        if self.jobs.len() >= KEPT {
            self.other += 1;
            return None;
        }
        let action = match &before {
            Some(known) if job.action.is_empty() => known.action.clone(),
            _ => job.action.clone(),
        };
        let after = say(&action, &job.state);
        let described = before.as_ref().map(Queued::to_string);
        if !matches!(job.state, JobState::Ended(_)) {
            let begun = before.as_ref().and_then(|known| known.begun);
            let now = at.saturating_sub(self.clock.suspended);
            self.jobs.insert(
                job.id,
                Queued {
                    unit: job.unit.clone(),
                    action,
                    state: job.state.clone(),
                    queued: before.as_ref().map_or(now, |known| known.queued),
                    begun: begun.or((job.state == JobState::Running).then_some(now)),
                },
            );
        }
        if job.seen == Seen::Found || described.as_ref() == Some(&after) {
            return None;
        }
        Some(Change {
            at,
            subject: Subject::Job(job.unit.clone()),
            before: described,
            after: Some(after),
            by: None,
            by_unknown: Some(Unknown::NotTold),
            noticed: job.seen == Seen::Noticed,
        })
    }

    /// Takes note of a timer. That it elapsed is a change, that its next time was drawn anew is not.
    pub(super) fn timer(&mut self, at: u64, timer: &Timer) -> Option<Change> {
        if self.timers.len() >= KEPT && !self.timers.contains_key(&timer.name) {
            self.other += 1;
            return None;
        }
        self.runs.begin(&timer.unit);
        if let Some(known) = self.units.get(&timer.unit) {
            self.runs.seen(&timer.unit, Some(&known.state), &known.state);
        }
        let before = self.timers.insert(timer.name.clone(), timer.clone());
        let before = before?;
        if timer.seen == Seen::Found || (before.last == timer.last && before.active == timer.active) {
            return None;
        }
        let after = match (before.last == timer.last, timer.active) {
            (false, _) => format!("{ELAPSED}, starts {}", timer.unit),
            (true, true) => "active".to_owned(),
            (true, false) => "inactive".to_owned(),
        };
        Some(Change {
            at,
            subject: Subject::Timer(timer.name.clone()),
            before: None,
            after: Some(after),
            by: None,
            by_unknown: Some(Unknown::NotTold),
            noticed: timer.seen == Seen::Noticed,
        })
    }

    /// Takes note of past runs.
    pub(super) fn runs(&mut self, told: &event::Runs) {
        self.runs.told(told);
    }

    /// Times that something was told for which there was no room.
    pub(super) fn other(&self) -> u64 {
        self.other + self.runs.other()
    }

    /// How a unit stands, where it is known.
    pub(crate) fn state(&self, unit: &str) -> Option<&UnitState> {
        self.units.get(unit).map(|known| &known.state)
    }

    /// All units, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Known)> {
        self.units.iter().map(|(name, known)| (name.as_str(), known))
    }

    /// The jobs that are waiting or running, by number.
    pub(crate) fn jobs(&self) -> impl Iterator<Item = (u32, &Queued)> {
        self.jobs.iter().map(|(id, job)| (*id, job))
    }

    /// All timers, by name.
    pub(crate) fn timers(&self) -> impl Iterator<Item = &Timer> {
        self.timers.values()
    }

    /// Past runs of a unit that a timer starts.
    pub(crate) fn past(&self, unit: &str) -> Option<&Past> {
        self.runs.of(unit)
    }

    /// The last start of a unit at that boot time or before; `None` where that was not seen.
    pub(crate) fn begun(&self, unit: &str, at: u64) -> Option<Begun> {
        let known = self.units.get(unit)?;
        known.begun.iter().rev().find(|begun| begun.at <= at).copied()
    }

    /// Whether a unit runs at present.
    pub(crate) fn is_running(&self, unit: &str) -> bool {
        let state = self.state(unit);
        // One that stays active when all of it has ended is `exited`.
        state.is_some_and(|state| {
            !matches!(state.active.as_str(), "inactive" | "failed") && state.sub != "exited"
        })
    }

    /// When systemd acts on a unit, the earliest of what limits it; `None` for one that is in no state that could be
    /// limited.
    pub(crate) fn deadline(&self, name: &str) -> Option<Deadline> {
        let known = self.units.get(name)?;
        let own = of_state(&known.state);
        let job = self.jobs.values().find(|job| job.unit == name);
        let of_job = job.and_then(|job| of_job(job, &known.state.limits));
        let first = [own, of_job]
            .into_iter()
            .flatten()
            .min_by_key(|deadline| match deadline {
                Deadline::NoLimit => u64::MAX,
                Deadline::At { at, .. } => *at,
            });
        first
            .or(job.map(|_| Deadline::NoLimit))
            .map(|deadline| match deadline {
                Deadline::NoLimit => Deadline::NoLimit,
                // From CLOCK_MONOTONIC to boot time.
                Deadline::At { at, action } => Deadline::At {
                    at: at.saturating_add(self.clock.suspended),
                    action,
                },
            })
    }
}

/// When the state of a unit ends by itself, in ns of `CLOCK_MONOTONIC` (systemd src/core/service.c,
/// `service_coldplug_timeout`; each change of the sub-state winds the clock anew). What is not to be seen from outside:
/// more time that a service asked for (`EXTEND_TIMEOUT_USEC`), and the random part of `RuntimeMaxSec`.
fn of_state(state: &UnitState) -> Option<Deadline> {
    let limits = &state.limits;
    let (begin, span, action) = match state.sub.as_str() {
        "condition" | "start-pre" | "start" | "start-post" | "reload" | "reload-signal" | "reload-notify" => {
            (limits.state_changed, limits.start, Action::Terminate)
        }
        "running" => (limits.active_entered, limits.runtime_max, Action::Terminate),
        "stop" | "stop-post" => (limits.state_changed, limits.stop, Action::Terminate),
        "stop-sigterm" | "stop-sigkill" | "final-sigterm" | "final-sigkill" => {
            (limits.state_changed, limits.stop, Action::Kill)
        }
        "stop-watchdog" | "final-watchdog" => (limits.state_changed, limits.abort, Action::Kill),
        "auto-restart" => (limits.inactive_entered, limits.restart, Action::Restart),
        _ => return None,
    };
    Some(match (begin, span) {
        (_, INFINITE) | (0, _) => Deadline::NoLimit,
        // A running service without `RuntimeMaxSec` has infinity; other kinds of units have no such property.
        (_, 0) if state.sub == "running" => Deadline::NoLimit,
        (begin, span) => Deadline::At {
            at: begin.saturating_add(span).saturating_mul(1000),
            action,
        },
    })
}

/// When a job is given up, in ns of `CLOCK_MONOTONIC` (systemd src/core/job.c, `job_get_timeout`).
fn of_job(job: &Queued, limits: &Limits) -> Option<Deadline> {
    let end = |begin: Option<u64>, span: u64| match (begin, span) {
        (None, _) | (_, INFINITE | 0) => None,
        (Some(begin), span) => Some(begin.saturating_add(span.saturating_mul(1000))),
    };
    let at = [
        end(Some(job.queued), limits.job),
        end(job.begun, limits.job_running),
    ];
    let at = at.into_iter().flatten().min()?;
    Some(Deadline::At {
        at,
        action: Action::CancelJob,
    })
}

/// A state in the words of `systemctl status`: `active (running)`, and the result where it is no success.
fn describe(state: &UnitState) -> String {
    let mut text = format!("{} ({})", state.active, state.sub);
    if !state.result.is_empty() && state.result != "success" {
        text += &format!(", result {}", state.result);
    }
    if state.processes > 0 {
        let processes = if state.processes == 1 {
            "process"
        } else {
            "processes"
        };
        text += &format!(", {} {processes} left in its cgroup", state.processes);
    }
    text
}

/// A unit in a state of these words goes on to another one by itself, and nothing went wrong so far. One that waits for being
/// started again has ended before.
pub(super) fn is_on_its_way(state: &str) -> bool {
    let is_between = ["activating (", "deactivating (", "reloading (", "refreshing ("];
    is_between.iter().any(|between| state.starts_with(between))
        && state.ends_with(')')
        && !state.contains("auto-restart")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "apt-daily-upgrade.service";

    fn unit(sub: &str, limits: Limits) -> Unit {
        Unit {
            name: NAME.to_owned(),
            seen: Seen::Told,
            state: Some(UnitState {
                active: "activating".to_owned(),
                sub: sub.to_owned(),
                invocation: "1".to_owned(),
                limits,
                ..UnitState::default()
            }),
        }
    }

    fn limits() -> Limits {
        Limits {
            state_changed: 1_000,
            active_entered: 500,
            inactive_entered: 700,
            inactive_exited: 400,
            start: INFINITE,
            stop: 900_000_000,
            abort: 10,
            runtime_max: INFINITE,
            restart: 100,
            job: INFINITE,
            job_running: INFINITE,
            kill_mode: "process".to_owned(),
        }
    }

    fn deadline(sub: &str, limits: Limits) -> Option<Deadline> {
        let mut units = Units::default();
        units.unit(1, &unit(sub, limits));
        units.deadline(NAME)
    }

    #[test]
    fn each_state_has_its_limit() {
        let at = |at: u64, action| {
            Some(Deadline::At {
                at: at * 1000,
                action,
            })
        };
        // As apt's own unit has it: no limit while it upgrades, 15 minutes once it is stopped.
        assert_eq!(deadline("start", limits()), Some(Deadline::NoLimit));
        assert_eq!(deadline("stop-sigterm", limits()), at(900_001_000, Action::Kill));
        let two_seconds = Limits {
            start: 2_000_000,
            ..limits()
        };
        assert_eq!(deadline("start", two_seconds), at(2_001_000, Action::Terminate));
        assert_eq!(deadline("running", limits()), Some(Deadline::NoLimit));
        let bounded = Limits {
            runtime_max: 50,
            ..limits()
        };
        assert_eq!(deadline("running", bounded), at(550, Action::Terminate));
        assert_eq!(deadline("stop-watchdog", limits()), at(1_010, Action::Kill));
        assert_eq!(deadline("auto-restart", limits()), at(800, Action::Restart));
        assert_eq!(deadline("dead", limits()), None);
        assert_eq!(deadline("elapsed", limits()), None);
    }

    #[test]
    fn a_job_has_limits_of_its_own_and_suspension_moves_those_of_the_state() {
        let mut units = Units::default();
        let limits = Limits {
            start: 2_000_000,
            job_running: 1_000_000,
            ..limits()
        };
        units.unit(1, &unit("start", limits));
        let job = |state| Job {
            id: 7,
            unit: NAME.to_owned(),
            seen: Seen::Told,
            action: "start".to_owned(),
            state,
        };
        let says = |change: Option<Change>| change.and_then(|change| change.after);
        assert_eq!(
            says(units.job(5, &job(JobState::Waiting))),
            Some("start queued".to_owned())
        );
        assert_eq!(
            says(units.job(6, &job(JobState::Running))),
            Some("start running".to_owned())
        );
        assert_eq!(says(units.job(6, &job(JobState::Running))), None);
        let at = |at, action| Some(Deadline::At { at, action });
        assert_eq!(units.deadline(NAME), at(1_000_000_006, Action::CancelJob));
        let suspended = |suspended| Clock {
            suspended,
            wall_offset: 0,
        };
        units.clock(suspended(50));
        assert_eq!(units.deadline(NAME), at(1_000_000_056, Action::CancelJob));
        units.clock(suspended(0));
        let ended = job(JobState::Ended("done".to_owned()));
        assert_eq!(says(units.job(8, &ended)), Some("start ended: done".to_owned()));
        assert_eq!(units.jobs().count(), 0);
        // One that had ended before it could be asked what it does.
        let unknown = Job {
            id: 8,
            action: String::new(),
            ..ended.clone()
        };
        assert_eq!(says(units.job(9, &unknown)), Some("ended: done".to_owned()));
        assert_eq!(units.deadline(NAME), at(2_001_000_000, Action::Terminate));
        units.clock(suspended(5));
        assert_eq!(units.deadline(NAME), at(2_001_000_005, Action::Terminate));
        for wall_offset in [3_600_000_000_000, -3_600_000_000_000] {
            units.clock(Clock {
                suspended: 5,
                wall_offset,
            });
            let still = at(2_001_000_005, Action::Terminate);
            assert_eq!(units.deadline(NAME), still, "the clock was set");
        }
    }

    #[test]
    fn a_new_invocation_is_a_change_though_the_state_is_the_same() {
        let mut units = Units::default();
        let found = Unit {
            seen: Seen::Found,
            ..unit("running", limits())
        };
        assert_eq!(units.unit(1, &found), None);
        let again = unit("running", limits());
        assert_eq!(units.unit(2, &again), None);
        let mut anew = again.clone();
        if let Some(state) = &mut anew.state {
            state.invocation = "2".to_owned();
        }
        let change = units.unit(3, &anew).unwrap();
        assert_eq!(change.after.as_deref(), Some("activating (running)"));
        assert_eq!(units.iter().next().map(|(_, known)| known.starts), Some(1));
        let gone = Unit { state: None, ..again };
        assert_eq!(units.unit(4, &gone).map(|change| change.after), Some(None));
        assert_eq!(units.iter().count(), 0);
    }

    #[test]
    fn a_failed_unit_whose_processes_go_on_says_so() {
        let state = UnitState {
            active: "failed".to_owned(),
            sub: "failed".to_owned(),
            result: "signal".to_owned(),
            processes: 3,
            ..UnitState::default()
        };
        assert_eq!(
            describe(&state),
            "failed (failed), result signal, 3 processes left in its cgroup"
        );
    }

    #[test]
    fn a_timer_that_elapsed_is_a_change_and_a_new_draw_is_none() {
        let mut units = Units::default();
        let timer = |next, last| Timer {
            name: "apt-daily-upgrade.timer".to_owned(),
            unit: NAME.to_owned(),
            seen: Seen::Told,
            active: true,
            next: Some(next),
            scheduled: None,
            last,
            random_delay: 3_600_000_000,
            schedule: Vec::new(),
            persistent: true,
        };
        assert_eq!(units.timer(1, &timer(10, None)), None);
        assert_eq!(units.timer(2, &timer(12, None)), None);
        let change = units.timer(3, &timer(20, Some(12))).unwrap();
        assert_eq!(change.after, Some(format!("elapsed, starts {NAME}")));
        assert_eq!(units.timers().count(), 1);
    }
}
