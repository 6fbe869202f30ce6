//! Properties of units and timers as they come over the bus, read into what is told of them.

use std::collections::HashMap;

use zbus::zvariant::{Array, Value};

use crate::event::{
    Commands, Ending, FailureMode, KillMode, Limits, NodeAction, Processes, Signal, Signals, UnitState,
};

/// `USEC_INFINITY`, systemd src/basic/time-util.h: no limit, never.
const INFINITE: u64 = u64::MAX;

/// What a run of a unit is told from others by.
pub(super) const INVOCATION: &str = "InvocationID";

/// The result of what went well.
const SUCCESS: &str = "success";

/// The properties of an object, by their names.
pub(super) struct Properties<'m>(pub(super) HashMap<&'m str, Value<'m>>);

/// A property that is missing, or not of the type that systemd gives it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its property {name} {wrong}")]
pub(super) struct Odd {
    name: &'static str,
    wrong: String,
}

/// What systemd says of a unit when that changes. It may have unloaded the unit before anything can be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    active: Option<String>,
    sub: Option<String>,
    result: Option<String>,
    /// In hex.
    invocation: Option<String>,
    /// In µs of `CLOCK_MONOTONIC`.
    changed: Option<u64>,
    /// In ns since 1970.
    ended: Option<i64>,
}

impl Said {
    /// Takes in what was said later.
    pub(super) fn then(&mut self, later: Self) {
        fn newer<T>(known: &mut Option<T>, later: Option<T>) {
            *known = later.or(known.take());
        }
        newer(&mut self.active, later.active);
        newer(&mut self.sub, later.sub);
        newer(&mut self.result, later.result);
        newer(&mut self.invocation, later.invocation);
        newer(&mut self.changed, later.changed);
        newer(&mut self.ended, later.ended);
    }

    /// The run that it is or was in, where that was said.
    pub(super) fn invocation(&self) -> Option<&str> {
        self.invocation.as_deref()
    }

    /// Whether it runs, where that was said.
    pub(super) fn runs(&self) -> Option<bool> {
        self.active.as_deref().map(|active| !has_ended(active))
    }

    /// How a unit that stood so has come to rest; `None` where it was not said to have.
    pub(super) fn at_rest(&self, before: &UnitState) -> Option<UnitState> {
        let active = self.active.as_ref().filter(|active| has_ended(active))?;
        let mut state = before.clone();
        active.clone_into(&mut state.active);
        state.sub.clone_from(self.sub.as_ref().unwrap_or(active));
        state.result = self.result.clone().unwrap_or(state.result);
        state.main_pid = 0;
        state.frozen = false;
        state.ended = self.ended.or(state.ended);
        if let Some(changed) = self.changed {
            state.limits.state_changed = changed;
            state.limits.inactive_entered = changed;
        }
        Some(state)
    }
}

/// A unit in this state (`ActiveState`) does not run.
pub(super) fn has_ended(active: &str) -> bool {
    matches!(active, "inactive" | "failed")
}

impl Properties<'_> {
    /// Of properties that have changed. What is not as it should be is left out: the unit is asked as well.
    pub(super) fn said(&self) -> Said {
        let text = |name| self.text(name).ok().flatten().map(str::to_owned);
        let time = |name| self.time(name).ok().flatten();
        Said {
            active: text("ActiveState"),
            sub: text("SubState"),
            result: text("Result"),
            invocation: self
                .0
                .contains_key(INVOCATION)
                .then(|| self.invocation().ok())
                .flatten(),
            changed: time("StateChangeTimestampMonotonic"),
            ended: time("InactiveEnterTimestamp").and_then(nanoseconds),
        }
    }

    /// How a service or scope stands. Its cgroup is left as systemd has it, its processes are not counted.
    ///
    /// # Errors
    /// Where its state is missing, or a property is of another type than it has been since systemd 230.
    pub(super) fn unit(&self) -> Result<UnitState, Odd> {
        let number = |name, without| Ok(self.number(name)?.unwrap_or(without));
        let text = |name| Ok(self.text(name)?.unwrap_or_default().to_owned());
        Ok(UnitState {
            result: text("Result")?,
            reload_result: Some(text("ReloadResult")?)
                .filter(|result| result != SUCCESS)
                .unwrap_or_default(),
            main_pid: u32::try_from(number("MainPID", 0)?).unwrap_or(0),
            invocation: self.invocation()?,
            restarts: u32::try_from(number("NRestarts", 0)?).unwrap_or(u32::MAX),
            cgroup: text("ControlGroup")?,
            begun: self.time("InactiveExitTimestamp")?.and_then(nanoseconds),
            ended: self.time("InactiveEnterTimestamp")?.and_then(nanoseconds),
            limits: self.limits()?,
            ..self.state()?
        })
    }

    /// How a mount, a socket or a swap stands: where it rests in brief. When its runs began and ended is not told.
    ///
    /// # Errors
    /// As for [`Properties::unit`].
    pub(super) fn limited(&self) -> Result<UnitState, Odd> {
        let brief = self.brief()?;
        if rests(&brief.active) {
            return Ok(brief);
        }
        Ok(UnitState {
            begun: None,
            ended: None,
            ..self.unit()?
        })
    }

    fn limits(&self) -> Result<Limits, Odd> {
        let number = |name, without| Ok(self.number(name)?.unwrap_or(without));
        // Mounts, sockets and swaps have one for all that they do.
        let any = number("TimeoutUSec", INFINITE)?;
        let stop = number("TimeoutStopUSec", any)?;
        let restart = number("RestartUSec", INFINITE)?;
        Ok(Limits {
            state_changed: number("StateChangeTimestampMonotonic", 0)?,
            command_started: self.command_started()?,
            active_entered: number("ActiveEnterTimestampMonotonic", 0)?,
            inactive_entered: number("InactiveEnterTimestampMonotonic", 0)?,
            inactive_exited: number("InactiveExitTimestampMonotonic", 0)?,
            start: number("TimeoutStartUSec", any)?,
            stop,
            abort: number("TimeoutAbortUSec", stop)?,
            clean: number("TimeoutCleanUSec", INFINITE)?,
            runtime_max: number("RuntimeMaxUSec", INFINITE)?,
            runtime_extra: number("RuntimeRandomizedExtraUSec", 0)?,
            watchdog: number("WatchdogUSec", 0)?,
            alive: number("WatchdogTimestampMonotonic", 0)?,
            restart: number("RestartUSecNext", restart)?,
            job: number("JobTimeoutUSec", INFINITE)?,
            job_running: number("JobRunningTimeoutUSec", INFINITE)?,
            job_action: self.text("JobTimeoutAction")?.and_then(NodeAction::of),
            failure_action: self.text("FailureAction")?.and_then(NodeAction::of),
            start_limit_action: self.text("StartLimitAction")?.and_then(NodeAction::of),
            ending: self.ending()?,
        })
    }

    /// When a command was started last, of all that a service runs: `a(sasbttttuii)`, of which the fifth is that.
    fn command_started(&self) -> Result<u64, Odd> {
        const COMMANDS: [&str; 7] = [
            "ExecCondition",
            "ExecStartPre",
            "ExecStart",
            "ExecStartPost",
            "ExecReload",
            "ExecStop",
            "ExecStopPost",
        ];
        let mut latest = 0;
        for name in COMMANDS {
            for command in self.array(name)?.iter().flat_map(|array| array.iter()) {
                if let Value::Structure(command) = command
                    && let Some(Value::U64(started)) = command.fields().get(4)
                    && is_time(*started)
                {
                    latest = latest.max(*started);
                }
            }
        }
        Ok(latest)
    }

    fn ending(&self) -> Result<Ending, Odd> {
        let mode = |name| {
            let word = self.text(name)?;
            Ok(word.and_then(FailureMode::of).unwrap_or_default())
        };
        let is_set = |name| Ok(self.array(name)?.is_some_and(|commands| !commands.is_empty()));
        let is_there = |name| Ok(self.number(name)?.is_some_and(|pid| pid != 0));
        let usual = Signals::default();
        let stop = self.signal("KillSignal", usual.stop)?;
        Ok(Ending {
            kill_mode: self.text("KillMode")?.and_then(KillMode::of).unwrap_or_default(),
            signals: Signals {
                stop,
                restart: self.signal("RestartKillSignal", stop)?,
                abort: self.signal("WatchdogSignal", usual.abort)?,
                last: self.signal("FinalKillSignal", usual.last)?,
                sends_last: self.flag("SendSIGKILL")?.unwrap_or(usual.sends_last),
            },
            start_failure: mode("TimeoutStartFailureMode")?,
            stop_failure: mode("TimeoutStopFailureMode")?,
            commands: Commands {
                stop: is_set("ExecStop")?,
                stop_post: is_set("ExecStopPost")?,
            },
            processes: Processes {
                main: is_there("MainPID")?,
                control: is_there("ControlPID")?,
            },
            has_controller: self.text("Controller")?.is_some_and(|name| !name.is_empty()),
        })
    }

    /// A signal by its number.
    fn signal(&self, name: &'static str, without: Signal) -> Result<Signal, Odd> {
        let number = self.get(name, |value| match value {
            Value::I32(number) => u32::try_from(*number).ok(),
            _ => None,
        })?;
        Ok(number.map_or(without, Signal))
    }

    /// What is told of a unit that nothing limits. A result is told where it is no success: such units are many, and listed
    /// without.
    ///
    /// # Errors
    /// As for [`Properties::unit`].
    pub(super) fn brief(&self) -> Result<UnitState, Odd> {
        Ok(UnitState {
            result: self
                .text("Result")?
                .filter(|result| *result != SUCCESS)
                .unwrap_or_default()
                .to_owned(),
            invocation: self.invocation()?,
            ..self.state()?
        })
    }

    /// The state alone of a unit.
    pub(super) fn state(&self) -> Result<UnitState, Odd> {
        let required = |name| self.text(name)?.map(str::to_owned).ok_or_else(|| missing(name));
        Ok(UnitState {
            active: required("ActiveState")?,
            sub: required("SubState")?,
            ..UnitState::default()
        })
    }

    /// How a timer stands.
    ///
    /// # Errors
    /// As for [`Properties::unit`].
    pub(super) fn timer(&self) -> Result<TimerState, Odd> {
        Ok(TimerState {
            unit: self
                .text("Unit")?
                .map(str::to_owned)
                .ok_or_else(|| missing("Unit"))?,
            active: self.state()?.active == "active",
            result: match (self.state()?.active.as_str(), self.text("Result")?) {
                ("failed", Some(result)) => result.to_owned(),
                _ => String::new(),
            },
            next_calendar: self.time("NextElapseUSecRealtime")?,
            next_monotonic: self.time("NextElapseUSecMonotonic")?,
            last: self.time("LastTriggerUSec")?,
            last_monotonic: self.time("LastTriggerUSecMonotonic")?,
            random_delay: self.number("RandomizedDelayUSec")?.unwrap_or(0),
            accuracy: self.number("AccuracyUSec")?.unwrap_or(0),
            schedule: self.schedule()?,
            persistent: self.flag("Persistent")?.unwrap_or(false),
        })
    }

    /// `InvocationID` in hex, empty where there is none.
    fn invocation(&self) -> Result<String, Odd> {
        self.0.get(INVOCATION).map_or(Ok(String::new()), invocation)
    }

    /// A time in µs, `None` for never.
    fn time(&self, name: &'static str) -> Result<Option<u64>, Odd> {
        Ok(self.number(name)?.filter(|time| is_time(*time)))
    }

    fn schedule(&self) -> Result<Schedule, Odd> {
        let mut schedule = Schedule::default();
        for (name, times) in [
            ("TimersCalendar", &mut schedule.calendar),
            ("TimersMonotonic", &mut schedule.monotonic),
        ] {
            for entry in self.array(name)?.iter().flat_map(|array| array.iter()) {
                let Value::Structure(entry) = entry else {
                    return Err(odd(name, entry));
                };
                let [Value::Str(base), value, next @ ..] = entry.fields() else {
                    return Err(missing(name));
                };
                schedule.lines.push(match value {
                    Value::Str(calendar) => format!("{base}={calendar}"),
                    Value::U64(span) => {
                        let base = base.strip_suffix("USec").unwrap_or(base);
                        format!("{base}Sec={}", words(*span))
                    }
                    _ => return Err(missing(name)),
                });
                if let [Value::U64(next), ..] = next
                    && is_time(*next)
                {
                    times.push(*next);
                }
            }
        }
        Ok(schedule)
    }

    fn text(&self, name: &'static str) -> Result<Option<&str>, Odd> {
        self.get(name, |value| match value {
            Value::Str(text) => Some(text.as_str()),
            _ => None,
        })
    }

    fn number(&self, name: &'static str) -> Result<Option<u64>, Odd> {
        self.get(name, |value| match value {
            Value::U64(number) => Some(*number),
            Value::U32(number) => Some(u64::from(*number)),
            _ => None,
        })
    }

    fn flag(&self, name: &'static str) -> Result<Option<bool>, Odd> {
        self.get(name, |value| match value {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        })
    }

    fn array(&self, name: &'static str) -> Result<Option<&Array<'_>>, Odd> {
        self.get(name, |value| match value {
            Value::Array(array) => Some(array),
            _ => None,
        })
    }

    /// `None` for a property that is not there: older systemds do not have all of them.
    fn get<'v, T>(
        &'v self,
        name: &'static str,
        read: impl FnOnce(&'v Value<'v>) -> Option<T>,
    ) -> Result<Option<T>, Odd> {
        match self.0.get(name) {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| odd(name, value)),
        }
    }
}

/// An `InvocationID` in hex, empty where there is none.
pub(super) fn invocation(value: &Value<'_>) -> Result<String, Odd> {
    let Value::Array(bytes) = value else {
        return Err(odd(INVOCATION, value));
    };
    let mut hex = String::with_capacity(32);
    for byte in bytes.iter() {
        let Value::U8(byte) = byte else {
            return Err(odd(INVOCATION, byte));
        };
        hex += &format!("{byte:02x}");
    }
    // Before the first start it is all zero.
    if hex.bytes().all(|digit| digit == b'0') {
        hex.clear();
    }
    Ok(hex)
}

/// A unit in this state (`ActiveState`) goes on to none by itself, and nothing went wrong.
pub(super) fn rests(active: &str) -> bool {
    matches!(active, "active" | "inactive")
}

/// Not never.
fn is_time(time: u64) -> bool {
    !matches!(time, 0 | INFINITE)
}

fn odd(name: &'static str, value: &Value<'_>) -> Odd {
    Odd {
        name,
        wrong: format!("is of type {}", value.value_signature()),
    }
}

fn missing(name: &'static str) -> Odd {
    Odd {
        name,
        wrong: "is missing".to_owned(),
    }
}

/// How a timer stands, times in µs as systemd tells them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TimerState {
    pub(super) unit: String,
    pub(super) active: bool,
    /// How it failed, where it has.
    pub(super) result: String,
    /// When its calendar has it elapse next, since 1970.
    pub(super) next_calendar: Option<u64>,
    /// When a span of it has elapsed next, of `CLOCK_MONOTONIC`.
    pub(super) next_monotonic: Option<u64>,
    /// When it elapsed last, since 1970.
    pub(super) last: Option<u64>,
    /// The same of `CLOCK_MONOTONIC`; `None` where that was before the node started.
    pub(super) last_monotonic: Option<u64>,
    pub(super) random_delay: u64,
    pub(super) accuracy: u64,
    pub(super) schedule: Schedule,
    pub(super) persistent: bool,
}

/// What a timer goes by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Schedule {
    /// As in the unit file.
    pub(super) lines: Vec<String>,
    /// When each calendar has it elapse next, without the random delay, since 1970.
    calendar: Vec<u64>,
    /// The same of spans, of `CLOCK_MONOTONIC`. Those that it elapses by but once stay as they were.
    monotonic: Vec<u64>,
}

impl TimerState {
    /// When it elapses next, in ns since 1970. `monotonic_to_wall` is what to add to a time of `CLOCK_MONOTONIC`, in ns.
    pub(super) fn next(&self, monotonic_to_wall: i64) -> Option<i64> {
        let calendar = self.next_calendar.as_slice();
        wall_times(calendar, self.next_monotonic.as_slice(), monotonic_to_wall).min()
    }

    /// When it would elapse next without its random delay, in the same terms.
    pub(super) fn scheduled(&self, monotonic_to_wall: i64) -> Option<i64> {
        let next = self.next(monotonic_to_wall)?;
        // Both are rounded to µs.
        let delay = nanoseconds(self.random_delay)?.saturating_add(1000);
        wall_times(
            &self.schedule.calendar,
            &self.schedule.monotonic,
            monotonic_to_wall,
        )
        .filter(|time| *time <= next && next.saturating_sub(*time) <= delay)
        .max()
    }
}

/// Times in µs of both clocks as ns since 1970.
fn wall_times(calendar: &[u64], monotonic: &[u64], monotonic_to_wall: i64) -> impl Iterator<Item = i64> {
    let calendar = calendar.iter().copied().filter_map(nanoseconds);
    let monotonic = monotonic.iter().copied().filter_map(nanoseconds);
    calendar.chain(monotonic.map(move |time| time.saturating_add(monotonic_to_wall)))
}

/// From µs. `None` for times after the year 2262.
pub(super) fn nanoseconds(microseconds: u64) -> Option<i64> {
    i64::try_from(microseconds).ok()?.checked_mul(1000)
}

/// A span of µs as unit files have it: `1h 30min`.
fn words(span: u64) -> String {
    const UNITS: [(&str, u64); 7] = [
        ("w", 604_800_000_000),
        ("d", 86_400_000_000),
        ("h", 3_600_000_000),
        ("min", 60_000_000),
        ("s", 1_000_000),
        ("ms", 1000),
        ("us", 1),
    ];
    match span {
        0 => return "0".to_owned(),
        INFINITE => return "infinity".to_owned(),
        _ => {}
    }
    let mut left = span;
    let mut words = Vec::new();
    for (name, size) in UNITS {
        if left >= size {
            words.push(format!("{}{name}", left / size));
            left %= size;
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests;
