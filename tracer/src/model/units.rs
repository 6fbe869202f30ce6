//! Units, jobs and timers of systemd.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use super::deadlines::{self, Deadline};
use super::runs::{Past, Runs};
use super::timeline::{Change, Subject};
use crate::event::{
    self, ANEW, Capability, CapabilityState, Clock, FROZEN, Job, JobState, LEFT, RELOAD_FAILED, RESULT, Seen,
    Timer, Unit, UnitState, Unknown,
};

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
    /// All is as systemd told it until then, in boot time; `None` while it tells.
    as_of: Option<u64>,
}

/// The capability that says whether systemd tells anything.
const SYSTEMD: &str = "systemd";

/// Starts of a unit of which the time is kept, the latest.
const STARTS: usize = 16;

/// A unit, and how often it was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) state: UnitState,
    /// How often it was started anew since the tracer saw it first: changes of its invocation.
    pub(crate) starts: u32,
    /// It waited to be started again, and failed without a start: it had been started as often as it may be
    /// (`StartLimitBurst=`). Of such a unit systemd goes on to say how its last run ended.
    pub(crate) is_refused: bool,
    /// When its last run ended, in boot time: as the clocks stood when that was told.
    pub(crate) ended: Option<u64>,
    /// When, in boot time, the latest last.
    begun: VecDeque<Begun>,
    /// The run that it was last seen to be in, until it is seen to have ended.
    run: Option<Run>,
}

/// A run of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    invocation: String,
    main_pid: u32,
}

impl Run {
    /// That run which goes on, or which it was before a unit came to stand so.
    fn of(state: &UnitState, before: Option<&Self>) -> Option<Self> {
        match state.active.as_str() {
            "active" => Some(Self {
                invocation: state.invocation.clone(),
                main_pid: state.main_pid,
            }),
            "inactive" | "failed" => None,
            _ if state.sub.starts_with(WAITS) => None,
            _ => before.cloned(),
        }
    }

    /// What is to be said where this run has taken the place of another one, and nothing else told of it.
    fn instead_of(&self, before: &Self) -> String {
        if self.invocation.is_empty() || before.invocation.is_empty() || self.invocation == before.invocation
        {
            return String::new();
        }
        match (self.main_pid, before.main_pid) {
            (0, _) | (_, 0) => ANEW.to_owned(),
            (now, was) => format!("{ANEW}, main process {now}, was {was}"),
        }
    }
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
    /// When it was queued.
    pub(super) queued: Since,
    /// When it began to run, where it does.
    pub(super) begun: Option<Since>,
}

/// When a job came to be as it is, in ns of `CLOCK_MONOTONIC`, by which systemd limits it: that stands still in suspend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Since {
    pub(super) at: u64,
    /// It was then or at some time before: systemd does not say since when.
    pub(super) or_before: bool,
}

impl fmt::Display for Queued {
    /// `stop running`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&say(&self.action, &self.state))
    }
}

/// Before the result of a job.
const ENDED: &str = "ended: ";

/// `stop running`; what the job does is left out where it was over before it could be asked: systemd says how a job ended, and no
/// more what it was to do.
fn say(action: &str, state: &JobState) -> String {
    let text = match state {
        JobState::Waiting => format!("{action} queued"),
        JobState::Running => format!("{action} running"),
        JobState::Ended(result) => format!("{action} {ENDED}{result}"),
    };
    let unknown = match (action, state) {
        ("", JobState::Ended(_)) => ", over before it could be asked what it does",
        _ => "",
    };
    text.trim_start().to_owned() + unknown
}

/// A job of these words has ended.
pub(super) fn has_ended(job: &str) -> bool {
    job.contains(ENDED)
}

impl Units {
    pub(super) fn clock(&mut self, clock: Clock) {
        self.clock = clock;
    }

    /// Takes note of whether systemd goes on to tell, where it has told something.
    pub(super) fn capability(&mut self, at: u64, capability: &Capability) {
        if capability.name != SYSTEMD {
            return;
        }
        let is_lost = capability.state == CapabilityState::Unavailable;
        let has_told = !(self.units.is_empty() && self.timers.is_empty() && self.jobs.is_empty());
        self.as_of = (is_lost && has_told).then(|| self.as_of.unwrap_or(at));
    }

    /// When systemd told something last, in boot time, where it does so no more.
    pub(crate) fn as_of(&self) -> Option<u64> {
        self.as_of
    }

    /// Takes note of how a unit stands. Returns what changed, if anything that matters did.
    pub(super) fn unit(&mut self, at: u64, unit: &Unit) -> Option<Change> {
        let before = self.units.remove(&unit.name);
        if self.units.len() >= KEPT {
            self.other += 1;
            return None;
        }
        let described = before.as_ref().map(Known::describe);
        let run_before = before.as_ref().and_then(|known| known.run.as_ref());
        let run = unit.state.as_ref().and_then(|state| Run::of(state, run_before));
        let anew = match (&run, run_before) {
            (Some(run), Some(before)) => run.instead_of(before),
            _ => String::new(),
        };
        let is_refused = before
            .as_ref()
            .zip(unit.state.as_ref())
            .is_some_and(|(known, now)| known.is_refused(&unit.name, now));
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
            let ended = match &before {
                Some(known) if known.state.ended == state.ended => known.ended,
                _ => state
                    .ended
                    .and_then(|ended| ended.checked_sub(self.clock.wall_offset))
                    .and_then(|ended| u64::try_from(ended).ok()),
            };
            self.units.insert(
                unit.name.clone(),
                Known {
                    ended,
                    state: state.clone(),
                    starts: starts + u32::from(is_started),
                    is_refused,
                    begun,
                    run,
                },
            );
        }
        let after = self.units.get(&unit.name).map(Known::describe);
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
            after: after.map(|text| text + &anew),
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
            let now = Since {
                at: at.saturating_sub(self.clock.suspended),
                or_before: job.seen != Seen::Told,
            };
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
        self.runs.timer(timer);
        if let Some(known) = self.units.get(&timer.unit) {
            self.runs.seen(&timer.unit, Some(&known.state), &known.state);
        }
        let before = self.timers.insert(timer.name.clone(), timer.clone());
        let before = before?;
        if timer.seen == Seen::Found
            || (before.last == timer.last && before.active == timer.active && before.result == timer.result)
        {
            return None;
        }
        let after = match (before.last == timer.last, timer.active) {
            (false, _) => format!("{ELAPSED}, starts {}", timer.unit),
            (true, true) => "active".to_owned(),
            (true, false) if timer.result.is_empty() => "inactive".to_owned(),
            (true, false) => {
                let failed = UnitState {
                    result: timer.result.clone(),
                    ..UnitState::default()
                };
                format!("failed{}", how_it_ended(&failed))
            }
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
    /// limited. `now` is the boot time.
    pub(crate) fn deadline(&self, name: &str, now: u64) -> Option<Deadline> {
        let known = self.units.get(name)?;
        let job = self.jobs.values().find(|job| job.unit == name);
        deadlines::of(name, &known.state, job, self.clock.suspended, now)
    }
}

/// What systemd says a service does while it waits to be started again begins so.
const WAITS: &str = "auto-restart";

impl Known {
    /// It fails now, and its start was refused (`service_start`, which asks `unit_test_start_limit` before it begins another run).
    /// Who stops it while it waits has it inactive. Where somebody starts one that has failed it fails once more, without a run
    /// (`service_enter_dead`, which leaves the result of the last run as it is).
    fn is_refused(&self, name: &str, now: &UnitState) -> bool {
        let before = &self.state;
        let fails_again = name.ends_with(".service")
            && before.active == "failed"
            && before.limits.state_changed != 0
            && before.limits.state_changed < now.limits.state_changed;
        now.active == "failed"
            && now.invocation == before.invocation
            && (before.sub.starts_with(WAITS) || self.is_refused || fails_again)
    }

    fn describe(&self) -> String {
        let mut text = describe(&self.state);
        if self.is_refused && !self.state.hit_start_limit() {
            text += ", not started again: its start limit is hit";
        }
        text
    }
}

/// The result of a unit where it is no success; one that says that something was done too often, in words.
fn how_it_ended(state: &UnitState) -> String {
    let limit = match state.result.as_str() {
        "" | "success" => return String::new(),
        _ if state.hit_start_limit() => "not started: its start limit is hit",
        "service-start-limit-hit" => "the start limit of its service is hit",
        "unit-start-limit-hit" => "the start limit of the unit that it starts is hit",
        "mount-start-limit-hit" => "the start limit of its mount is hit",
        "trigger-limit-hit" => "it was triggered more often than it may be",
        result => return format!("{RESULT}{result}"),
    };
    format!(", {limit} (result {})", state.result)
}

/// A state in the words of `systemctl status`: `active (running)`, and the result where it is no success.
fn describe(state: &UnitState) -> String {
    let mut text = format!("{} ({}){}", state.active, state.sub, how_it_ended(state));
    if !state.reload_result.is_empty() {
        text += RELOAD_FAILED;
        text += &state.reload_result;
    }
    if state.processes > 0 {
        let processes = if state.processes == 1 {
            "process"
        } else {
            "processes"
        };
        text += &format!(", {} {processes}{LEFT}", state.processes);
    }
    if state.frozen {
        text += FROZEN;
    }
    text
}

/// A unit in a state of these words goes on to another one by itself, and nothing went wrong so far. One that waits for being
/// started again has ended before.
pub(super) fn is_on_its_way(state: &str) -> bool {
    let is_between = ["activating (", "deactivating (", "reloading (", "refreshing ("];
    is_between.iter().any(|between| state.starts_with(between))
        && state.ends_with(')')
        && !state.contains(WAITS)
}

#[cfg(test)]
mod tests;
