//! What systemd says of its units, jobs and timers.
//!
//! Its times are of `CLOCK_MONOTONIC`, which stands still while the machine is suspended; [`super::Clock`] says how far
//! that is behind the boot time of events.

use serde::{Deserialize, Serialize};

use super::{Ending, NodeAction, Seen, is_zero};

/// A unit as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Its name: `kubelet.service`.
    pub name: String,
    /// Whether it was found so, or systemd told a change.
    pub seen: Seen,
    /// How it stands; `None` where systemd has unloaded it.
    pub state: Option<UnitState>,
}

/// How a unit stands: properties of org.freedesktop.systemd1.Unit and .Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitState {
    /// `ActiveState`: active, reloading, inactive, failed, activating, deactivating, …
    pub active: String,
    /// `SubState`, of its type: running, exited, dead, stop-sigterm, auto-restart, …
    pub sub: String,
    /// `Result` of its last run: success, exit-code, signal, timeout, oom-kill, …; empty for what has none.
    pub result: String,
    /// `ReloadResult` of its last reload since it was started, where that was no success: timeout, exit-code, signal, … The unit
    /// runs on, and `result` says nothing of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reload_result: String,
    /// `MainPID` in the tracer's own pid namespace, 0 for none and where it is not known there.
    pub main_pid: u32,
    /// `InvocationID` in hex: a new one for each start. Empty where it was never started.
    pub invocation: String,
    /// `NRestarts`: by systemd itself, since it was started by a job.
    pub restarts: u32,
    /// `ControlGroup` as `/proc/PID/cgroup` has it, empty for none.
    pub cgroup: String,
    /// Processes in that cgroup and those below it, where they are worth counting: in a unit that is not active.
    #[serde(default)]
    pub processes: u32,
    /// Its processes are frozen: they do nothing, and read nothing that comes to their sockets.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub frozen: bool,
    /// `InactiveExitTimestamp`: when its last run began, ns since 1970, UTC; `None` for never since the node started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<i64>,
    /// `InactiveEnterTimestamp`: when a run of it ended last, which is before `begun` while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<i64>,
    /// What limits its time, and what is then done.
    pub limits: Limits,
}

impl UnitState {
    /// systemd refused to start it: it had been started as often as it may be (`StartLimitBurst=`), and nothing went wrong before.
    #[must_use]
    pub fn hit_start_limit(&self) -> bool {
        self.result == "start-limit-hit"
    }
}

/// What is said behind the state of a unit that runs, and is not in the run any more that it was seen in.
pub(crate) const ANEW: &str = ", started anew";

/// What is said behind the state of a unit whose processes are frozen.
pub(crate) const FROZEN: &str = ", frozen";

/// What is said behind the state of a unit whose last reload failed, before the result of that.
pub(crate) const RELOAD_FAILED: &str = ", its last reload failed: result ";

/// Before the result of a unit's last run, where that was no success.
pub(crate) const RESULT: &str = ", result ";

/// Behind the number of processes that a unit has left.
pub(crate) const LEFT: &str = " left in its cgroup";

/// Whether a state in these words says that something went wrong.
pub(crate) fn went_wrong(state: &str) -> bool {
    state.starts_with("failed ") || [RELOAD_FAILED, RESULT].iter().any(|words| state.contains(words))
}

/// Whether a unit was frozen, or runs again, where a change from one state to another says that and no more.
pub(crate) fn froze(before: &str, after: &str) -> Option<bool> {
    if after.strip_suffix(FROZEN) == Some(before) {
        Some(true)
    } else {
        (before.strip_suffix(FROZEN) == Some(after)).then_some(false)
    }
}

/// What alone is to be said of a unit that stands as before but for that: `its last reload failed: result timeout`. `None` where it
/// stands otherwise, and where that has no words.
pub(crate) fn only(before: &str, after: &str) -> Option<String> {
    let parts = |state: &str| -> Vec<String> { state.split(", ").map(str::to_owned).collect() };
    let (was, now) = (parts(before), parts(after));
    if was.first() != now.first() {
        return None;
    }
    let is_left = |part: &str| part.ends_with(LEFT);
    let is_reload =
        |part: &str| RELOAD_FAILED.ends_with(part.split_inclusive(": result ").next().unwrap_or(part));
    let mut gone: Vec<&String> = was.iter().filter(|part| !now.contains(part)).collect();
    let mut said = Vec::new();
    for part in now.iter().filter(|part| !was.contains(part)) {
        let alike = gone
            .iter()
            .position(|gone| (is_left(gone) && is_left(part)) || (is_reload(gone) && is_reload(part)));
        said.push(match alike.map(|place| gone.remove(place)) {
            Some(left) if is_left(left) => {
                format!("{part}, were {}", left.split(' ').next().unwrap_or_default())
            }
            _ => part.clone(),
        });
    }
    for part in gone {
        said.push(match part {
            part if is_left(part) => format!("no process{LEFT} any more"),
            // What systemd says of it is over as soon as another one begins.
            part if is_reload(part) => "reloaded again since its last reload failed".to_owned(),
            _ => return None,
        });
    }
    (!said.is_empty()).then(|| said.join(", "))
}

/// How a unit stands that was started anew, where a change from one state to another says so:
/// `active (running), main process 471, was 460`.
pub(crate) fn started_anew(before: Option<&str>, after: &str) -> Option<String> {
    match after.split_once(ANEW) {
        Some((state, more)) => Some(format!("{state}{more}")),
        None => (before == Some(after)).then(|| after.to_owned()),
    }
}

/// What limits the time of a unit. Times of `CLOCK_MONOTONIC` in µs, 0 for never; spans in µs, `u64::MAX` for no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// `StateChangeTimestampMonotonic`
    pub state_changed: u64,
    /// When a command of it was started last: of several, each has all the time of its state (`service_spawn_internal`,
    /// systemd src/core/service.c).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub command_started: u64,
    /// `ActiveEnterTimestampMonotonic`
    pub active_entered: u64,
    /// `InactiveEnterTimestampMonotonic`
    pub inactive_entered: u64,
    /// `InactiveExitTimestampMonotonic`
    #[serde(default)]
    pub inactive_exited: u64,
    /// `TimeoutStartUSec`
    pub start: u64,
    /// `TimeoutStopUSec`
    pub stop: u64,
    /// `TimeoutAbortUSec`
    pub abort: u64,
    /// `TimeoutCleanUSec`
    #[serde(default)]
    pub clean: u64,
    /// `RuntimeMaxUSec`
    pub runtime_max: u64,
    /// `RuntimeRandomizedExtraUSec`: at most so much is added to `runtime_max`, drawn anew for each run. systemd does not
    /// tell what it drew.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub runtime_extra: u64,
    /// `WatchdogUSec`: from one sign of life to the next, 0 where none is asked for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub watchdog: u64,
    /// `WatchdogTimestampMonotonic`: the last sign of life. systemd does not tell a new one: it is as of the last look.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub alive: u64,
    /// `RestartUSecNext`; `RestartUSec` of a systemd before 254, which waits as long each time.
    pub restart: u64,
    /// `JobTimeoutUSec`
    pub job: u64,
    /// `JobRunningTimeoutUSec`
    pub job_running: u64,
    /// `JobTimeoutAction`: what is done where its job has taken too long. `None` for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_action: Option<NodeAction>,
    /// `FailureAction`: what is done where it fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_action: Option<NodeAction>,
    /// `StartLimitAction`: what is done where it is started more often than it may be (`StartLimitBurst`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_limit_action: Option<NodeAction>,
    /// How its processes are ended.
    #[serde(default)]
    pub ending: Ending,
}

impl Limits {
    /// `WatchdogUSec` where signs of life are asked for, and the time of the last one, both in µs.
    #[must_use]
    pub fn watchdog(&self) -> Option<(u64, u64)> {
        let is_set = |time: u64| !matches!(time, 0 | u64::MAX);
        (is_set(self.watchdog) && is_set(self.alive)).then_some((self.watchdog, self.alive))
    }
}

/// A job of systemd's queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its number.
    pub id: u32,
    /// The unit that it is for.
    pub unit: String,
    /// Whether it was found so, or systemd told a change.
    pub seen: Seen,
    /// What it does (start, stop, restart, try-restart …). Where it had ended before it could be asked it is by what became of the
    /// unit (start, stop), and empty where that does not tell.
    pub action: String,
    /// How far it is.
    pub state: JobState,
}

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It waits for others.
    Waiting,
    /// It is being done.
    Running,
    /// It has ended with that result: done, canceled, timeout, failed, dependency, skipped, …
    Ended(String),
}

/// A timer as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// Its name: `apt-daily-upgrade.timer`.
    pub name: String,
    /// The unit that it starts.
    pub unit: String,
    /// Whether it was found so, or systemd told a change.
    pub seen: Seen,
    /// Whether it is active.
    pub active: bool,
    /// `Result` where it has failed: resources, start-limit-hit; empty where it has not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub result: String,
    /// When it elapses next, the random delay within: ns since 1970, UTC; `None` for not at all.
    pub next: Option<i64>,
    /// When its schedule has it elapse next, without the random delay: ns since 1970, UTC; `None` where that is not
    /// told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled: Option<i64>,
    /// When it elapsed last: ns since 1970, UTC; `None` for never.
    pub last: Option<i64>,
    /// `RandomizedDelayUSec`: at most so much is added to what the calendar says, in µs.
    pub random_delay: u64,
    /// `AccuracyUSec`: at most so much later it elapses, so that several elapse together, in µs.
    #[serde(default)]
    pub accuracy: u64,
    /// What it goes by: its `TimersCalendar` and `TimersMonotonic`, as in the unit file (`OnCalendar=*-*-* 6:00`).
    pub schedule: Vec<String>,
    /// `Persistent`: what was missed while the node was off is made up for.
    pub persistent: bool,
}

/// Past runs of a unit that a timer starts, as the journal has them, by whomever they were started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runs {
    /// The unit.
    pub unit: String,
    /// All that began from then on are told: ns since 1970, UTC.
    pub since: i64,
    /// The runs, in the order of their beginnings.
    pub runs: Vec<Run>,
}

/// One run of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its `InvocationID` in hex, by which it is told from others.
    pub invocation: String,
    /// When it began: ns since 1970, UTC.
    pub begun: i64,
    /// When it ended; `None` where it has not, or that is not known.
    pub ended: Option<i64>,
    /// How it ended: success, exit-code, signal, timeout, …; empty where that is not known.
    pub result: String,
}
