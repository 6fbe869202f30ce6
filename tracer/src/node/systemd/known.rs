//! What was told of systemd so far, and what is new about what it says now.

use std::collections::{BTreeMap, BTreeSet};

use super::properties::{Said, TimerState, has_ended};
use crate::event::{Body, Job, JobState, Seen, Unit, UnitState};

/// A boot time in ns, and what is told of it.
pub(super) type Told = (u64, Body);

/// All units, jobs and timers as they were last told.
#[derive(Debug, Default)]
pub(super) struct Known {
    units: BTreeMap<String, UnitState>,
    timers: BTreeMap<String, TimerState>,
    jobs: BTreeMap<u32, Job>,
    /// Boot time in ns of the first list.
    since: Option<u64>,
}

impl Known {
    /// How what is listed now is seen: the first list is how all was found.
    pub(super) fn lists(&mut self, now: u64) -> Seen {
        match self.since {
            None => {
                self.since = Some(now);
                Seen::Found
            }
            Some(_) => Seen::Noticed,
        }
    }

    /// Whether there was a list.
    pub(super) fn is_begun(&self) -> bool {
        self.since.is_some()
    }

    /// Units and timers.
    pub(super) fn len(&self) -> usize {
        self.units.len() + self.timers.len()
    }

    /// Whether a unit or timer was told that does nothing.
    pub(super) fn is_inactive(&self, name: &str) -> bool {
        let unit = self.units.get(name).map(|state| state.active == "inactive");
        let timer = self.timers.get(name).map(|state| !state.active);
        unit.or(timer).unwrap_or(false)
    }

    /// The units that timers start.
    pub(super) fn started(&self) -> BTreeSet<String> {
        self.timers.values().map(|timer| timer.unit.clone()).collect()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.units.contains_key(name) || self.timers.contains_key(name)
    }

    /// A unit stands so at the boot time `now`, `suspended` ns ahead of systemd's clock.
    ///
    /// It is told under the time of its last change of state where that is new; where it has begun another run since it was
    /// told last, under the time when that began: what the run did comes after. A unit that nobody knew and that does
    /// nothing was found so: it is loaded since somebody asked for it.
    pub(super) fn unit(
        &mut self,
        name: &str,
        mut state: UnitState,
        seen: Seen,
        now: u64,
        suspended: u64,
    ) -> Option<Told> {
        let before = self.units.get(name);
        if let Some(before) = before {
            // What a run has left in its cgroup may start more for a while: told is that something is left, and that it ends.
            let is_same_rest = state.active == before.active && state.invocation == before.invocation;
            if before.processes != 0 && is_same_rest {
                state.processes = state.processes.min(before.processes);
            }
            if *before == state {
                return None;
            }
        }
        let seen = match (before, seen) {
            (None, Seen::Told) if state.active == "inactive" => Seen::Found,
            _ => seen,
        };
        let known = before.map_or(0, |before| before.limits.state_changed);
        let is_new_run = before.is_some_and(|before| before.invocation != state.invocation)
            && state.limits.inactive_exited > known;
        let changed = if is_new_run {
            state.limits.inactive_exited
        } else {
            state.limits.state_changed
        };
        let at = changed.saturating_mul(1000).saturating_add(suspended);
        let is_new = changed > known && self.since.is_some_and(|since| at >= since) && at <= now;
        let at = if is_new && seen != Seen::Found { at } else { now };
        self.units.insert(name.to_owned(), state.clone());
        let unit = Unit {
            name: name.to_owned(),
            seen,
            state: Some(state),
        };
        Some((at, Body::Unit(Box::new(unit))))
    }

    /// How a unit was told to stand.
    pub(super) fn state(&self, name: &str) -> Option<&UnitState> {
        self.units.get(name)
    }

    /// In how many µs a unit is to be looked at though nothing is told of it, by systemd's clock: it says of no sign of life
    /// that it was given. A service that gives them as it should has done so after three quarters of its time.
    pub(super) fn next_look(&self, name: &str, now: u64) -> Option<u64> {
        /// Between two looks at one that gives none.
        const LEAST: u64 = 1_000_000;
        let state = self.units.get(name)?;
        let (span, alive) = state.limits.watchdog()?;
        let due = alive.saturating_add(span / 4 * 3);
        Some(due.saturating_sub(now).max(span / 8).max(LEAST))
    }

    /// Processes in the cgroup of a unit have ended, or begun.
    pub(super) fn processes(&mut self, name: &str, processes: u32, now: u64) -> Option<Told> {
        let state = UnitState {
            processes,
            ..self.units.get(name)?.clone()
        };
        self.unit(name, state, Seen::Noticed, now, 0)
    }

    /// The processes of a unit were frozen, or go on.
    pub(super) fn frozen(&mut self, name: &str, frozen: bool, now: u64) -> Option<Told> {
        let state = UnitState {
            frozen,
            ..self.units.get(name)?.clone()
        };
        self.unit(name, state, Seen::Told, now, 0)
    }

    /// The cgroup of a unit, where systemd has said one.
    pub(super) fn cgroup(&self, name: &str) -> Option<&str> {
        let cgroup = self.units.get(name).map(|state| state.cgroup.as_str());
        cgroup.filter(|cgroup| !cgroup.is_empty())
    }

    /// Units that do nothing and have processes all the same, with their cgroups.
    pub(super) fn leftovers(&self) -> impl Iterator<Item = (&str, &str)> {
        let left = self.units.iter().filter(|(_, state)| state.processes != 0);
        left.map(|(name, state)| (name.as_str(), state.cgroup.as_str()))
    }

    /// The cgroups of units that have processes, as far as systemd says.
    pub(super) fn cgroups(&self) -> impl Iterator<Item = &str> {
        let rests = ["inactive", "failed"];
        let with_any = self
            .units
            .values()
            .filter(move |state| !rests.contains(&state.active.as_str()) && state.sub != "exited");
        with_any
            .map(|state| state.cgroup.as_str())
            .filter(|path| !path.is_empty())
    }

    /// A unit has come to rest, as was said of it before it was unloaded.
    pub(super) fn at_rest(&mut self, name: &str, said: &Said, now: u64, suspended: u64) -> Option<Told> {
        let state = said.at_rest(self.units.get(name)?)?;
        self.unit(name, state, Seen::Told, now, suspended)
    }

    /// A unit is not loaded any more. That one which did nothing is not is no change.
    pub(super) fn gone(&mut self, name: &str, seen: Seen, now: u64) -> Option<Told> {
        if let Some(before) = self.timers.remove(name) {
            let seen = if before.active { seen } else { Seen::Found };
            // It will not elapse any more, so it does not matter where the clock stands.
            let stopped = TimerState {
                active: false,
                result: String::new(),
                next_calendar: None,
                next_monotonic: None,
                ..before
            };
            let timer = Wall::default().timer(name, &stopped, seen);
            return Some((now, Body::Timer(Box::new(timer))));
        }
        let before = self.units.remove(name)?;
        let seen = if has_ended(&before.active) {
            Seen::Found
        } else {
            seen
        };
        let unit = Unit {
            name: name.to_owned(),
            seen,
            state: None,
        };
        Some((now, Body::Unit(Box::new(unit))))
    }

    /// Units and timers that are known and not among those listed.
    pub(super) fn not_in(&self, listed: &BTreeSet<&str>) -> Vec<String> {
        let names = self.units.keys().chain(self.timers.keys());
        names
            .filter(|name| !listed.contains(name.as_str()))
            .cloned()
            .collect()
    }

    /// A timer stands so at the boot time `now`. That it elapsed is told under the time that systemd has for it: it starts a
    /// unit then, whose start is told under its own time.
    pub(super) fn timer(
        &mut self,
        name: &str,
        state: TimerState,
        seen: Seen,
        now: u64,
        wall: Wall,
    ) -> Option<Told> {
        let before = self.timers.get(name);
        if before == Some(&state) {
            return None;
        }
        let elapsed = state
            .last_monotonic
            .filter(|last| before.is_none_or(|before| before.last_monotonic != Some(*last)))
            .map(|last| last.saturating_mul(1000).saturating_add(wall.suspended))
            .filter(|at| self.since.is_some_and(|since| *at >= since) && *at <= now);
        let timer = wall.timer(name, &state, seen);
        self.timers.insert(name.to_owned(), state);
        Some((elapsed.unwrap_or(now), Body::Timer(Box::new(timer))))
    }

    /// A job is in the queue.
    pub(super) fn job(&mut self, job: Job, now: u64) -> Option<Told> {
        let is_known = self
            .jobs
            .get(&job.id)
            .is_some_and(|known| known.state == job.state);
        if is_known {
            return None;
        }
        self.jobs.insert(job.id, job.clone());
        Some((now, Body::Job(job)))
    }

    /// A job has ended. What it did is asked for where it is not known.
    pub(super) fn job_ended(&mut self, id: u32, unit: &str, result: &str, did: &str, now: u64) -> Told {
        let known = self.jobs.remove(&id);
        let job = Job {
            id,
            unit: unit.to_owned(),
            seen: Seen::Told,
            action: known.map_or_else(|| did.to_owned(), |known| known.action),
            state: JobState::Ended(result.to_owned()),
        };
        (now, Body::Job(job))
    }

    /// Jobs that are known and not among those listed have ended while nobody listened, how is not known.
    pub(super) fn jobs_ended(&mut self, listed: &BTreeSet<u32>, now: u64) -> Vec<Told> {
        let ended: Vec<Job> = self
            .jobs
            .values()
            .filter(|job| !listed.contains(&job.id))
            .cloned()
            .collect();
        let tell = |job: Job| {
            self.jobs.remove(&job.id);
            let job = Job {
                seen: Seen::Noticed,
                state: JobState::Ended("unknown".to_owned()),
                ..job
            };
            (now, Body::Job(job))
        };
        ended.into_iter().map(tell).collect()
    }
}

/// How other clocks stand to the one that systemd goes by.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wall {
    /// Nanoseconds to add to `CLOCK_MONOTONIC` to have UTC since 1970.
    pub(super) of_monotonic: i64,
    /// And to have boot time.
    pub(super) suspended: u64,
}

impl Wall {
    fn timer(self, name: &str, state: &TimerState, seen: Seen) -> crate::event::Timer {
        crate::event::Timer {
            name: name.to_owned(),
            unit: state.unit.clone(),
            seen,
            active: state.active,
            result: state.result.clone(),
            next: state.next(self.of_monotonic),
            scheduled: state.scheduled(self.of_monotonic),
            last: state.last.and_then(super::properties::nanoseconds),
            random_delay: state.random_delay,
            accuracy: state.accuracy,
            schedule: state.schedule.lines.clone(),
            persistent: state.persistent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::properties::Schedule;
    use super::*;
    use crate::event::Limits;

    const NAME: &str = "a.service";
    const MS: u64 = 1_000_000;

    fn state(active: &str, changed_ms: u64) -> UnitState {
        UnitState {
            active: active.to_owned(),
            sub: "x".to_owned(),
            limits: Limits {
                state_changed: changed_ms * 1000,
                ..Limits::default()
            },
            ..UnitState::default()
        }
    }

    fn known() -> Known {
        let mut known = Known::default();
        assert_eq!(known.lists(10 * MS), Seen::Found);
        known.unit(NAME, state("active", 5), Seen::Found, 10 * MS, 0);
        known
    }

    fn seen(told: Option<Told>) -> Option<(u64, Seen)> {
        told.map(|(at, body)| match body {
            Body::Unit(unit) => (at, unit.seen),
            other => panic!("{other:?} is told of a unit"),
        })
    }

    #[test]
    fn a_change_is_told_under_the_time_that_systemd_has_for_it() {
        let mut known = known();
        let told = |known: &mut Known, state, now| seen(known.unit(NAME, state, Seen::Told, now, 2 * MS));
        assert_eq!(told(&mut known, state("active", 5), 11 * MS), None);
        assert_eq!(
            told(&mut known, state("failed", 20), 30 * MS),
            Some((22 * MS, Seen::Told))
        );
        // A time to come is none, nor is one that was told before.
        assert_eq!(
            told(&mut known, state("active", 90), 40 * MS),
            Some((40 * MS, Seen::Told))
        );
        let mut other = state("active", 90);
        other.main_pid = 7;
        assert_eq!(told(&mut known, other, 50 * MS), Some((50 * MS, Seen::Told)));
    }

    #[test]
    fn a_run_that_has_begun_meanwhile_is_told_under_its_beginning() {
        let mut known = known();
        let mut told = |invocation: &str, begun_ms: u64, changed_ms: u64, now| {
            let mut state = state("active", changed_ms);
            state.invocation = invocation.to_owned();
            state.limits.inactive_exited = begun_ms * 1000;
            seen(known.unit(NAME, state, Seen::Told, now, 0)).map(|(at, _)| at)
        };
        assert_eq!(told("1", 20, 25, 30 * MS), Some(20 * MS));
        assert_eq!(told("1", 20, 35, 40 * MS), Some(35 * MS), "the same run");
        // systemd restarts it by itself: the time is that of its first beginning.
        assert_eq!(told("2", 20, 45, 50 * MS), Some(45 * MS));
    }

    /// It may have begun anew and failed again between two looks.
    #[test]
    fn what_another_run_has_left_is_not_taken_for_what_the_one_before_did() {
        let mut known = known();
        let mut left = |invocation: &str, processes| {
            let state = UnitState {
                invocation: invocation.to_owned(),
                processes,
                ..state("failed", 20)
            };
            known.unit(NAME, state, Seen::Told, 30 * MS, 0);
            known.state(NAME).map(|state| state.processes)
        };
        assert_eq!(left("1", 2), Some(2));
        assert_eq!(left("1", 8), Some(2), "what is left starts more");
        assert_eq!(left("2", 8), Some(8));
    }

    #[test]
    fn a_second_list_tells_only_what_differs_as_noticed() {
        let mut known = known();
        assert_eq!(known.lists(20 * MS), Seen::Noticed);
        assert_eq!(
            known.unit(NAME, state("active", 5), Seen::Noticed, 21 * MS, 0),
            None
        );
        let told = known.unit(NAME, state("failed", 15), Seen::Noticed, 22 * MS, 0);
        assert_eq!(seen(told), Some((15 * MS, Seen::Noticed)));
        assert_eq!(known.not_in(&BTreeSet::from([NAME])), [""; 0]);
        assert_eq!(known.not_in(&BTreeSet::new()), [NAME]);
    }

    #[test]
    fn loading_and_unloading_what_does_nothing_is_no_change() {
        let mut known = known();
        let told = known.unit("b.service", state("inactive", 0), Seen::Told, 11 * MS, 0);
        assert_eq!(seen(told), Some((11 * MS, Seen::Found)));
        assert!(known.is_inactive("b.service") && !known.is_inactive(NAME));
        let gone = known.gone("b.service", Seen::Told, 12 * MS);
        assert_eq!(seen(gone), Some((12 * MS, Seen::Found)));
        assert_eq!(known.gone("b.service", Seen::Told, 12 * MS), None);
        let gone = known.gone(NAME, Seen::Told, 13 * MS);
        assert_eq!(seen(gone), Some((13 * MS, Seen::Told)));
        let new = known.unit("c.service", state("activating", 14), Seen::Told, 15 * MS, 0);
        assert_eq!(seen(new), Some((14 * MS, Seen::Told)));
    }

    /// systemd unloads a unit that nothing holds as soon as it has stopped: that it has is what matters.
    #[test]
    fn a_stop_is_told_though_the_unit_is_unloaded_before_it_can_be_asked() {
        use super::super::properties::Properties;
        use zbus::zvariant::Value;
        let mut said = Said::default();
        for (name, value) in [
            ("ActiveState", Value::from("deactivating")),
            ("SubState", Value::from("stop-sigterm")),
            ("Result", Value::from("timeout")),
            ("ActiveState", Value::from("failed")),
            ("SubState", Value::from("failed")),
            ("StateChangeTimestampMonotonic", Value::from(12_000_u64)),
        ] {
            said.then(Properties([(name, value)].into_iter().collect()).said());
        }
        let mut known = known();
        let Some((at, Body::Unit(unit))) = known.at_rest(NAME, &said, 13 * MS, 0) else {
            panic!("nothing is told of the unit");
        };
        let state = unit.state.unwrap();
        assert_eq!((at, unit.seen), (12 * MS, Seen::Told));
        assert_eq!(
            (state.active.as_str(), state.sub.as_str(), state.result.as_str()),
            ("failed", "failed", "timeout")
        );
        let gone = known.gone(NAME, Seen::Told, 13 * MS);
        assert_eq!(seen(gone), Some((13 * MS, Seen::Found)), "that is no change more");
        // What was not said to rest is not taken to.
        let mut known = self::known();
        assert_eq!(known.at_rest(NAME, &Said::default(), 13 * MS, 0), None);
        assert_eq!(known.at_rest("b.service", &said, 13 * MS, 0), None);
    }

    #[test]
    fn a_timer_that_is_unloaded_elapses_no_more() {
        let mut known = known();
        let state = TimerState {
            unit: NAME.to_owned(),
            active: true,
            result: String::new(),
            next_calendar: Some(1),
            next_monotonic: None,
            last: None,
            last_monotonic: None,
            random_delay: 0,
            accuracy: 0,
            schedule: Schedule::default(),
            persistent: false,
        };
        let wall = Wall::default();
        let told = known.timer("a.timer", state.clone(), Seen::Found, 11 * MS, wall);
        assert!(matches!(told, Some((_, Body::Timer(timer))) if timer.next == Some(1000)));
        assert!(!known.is_inactive("a.timer") && !known.is_inactive("b.timer"));
        assert_eq!(known.timer("a.timer", state, Seen::Told, 12 * MS, wall), None);
        let Some((_, Body::Timer(timer))) = known.gone("a.timer", Seen::Told, 13 * MS) else {
            panic!("nothing is told of the timer");
        };
        assert_eq!((timer.active, timer.next, timer.seen), (false, None, Seen::Told));
        assert!(!known.has("a.timer"));
    }

    #[test]
    fn a_timer_that_elapsed_is_told_under_the_time_that_systemd_has_for_it() {
        let mut known = known();
        let wall = Wall {
            of_monotonic: 0,
            suspended: 2 * MS,
        };
        let mut told_of = |timer: &str, last_ms: Option<u64>, now| {
            let state = TimerState {
                unit: NAME.to_owned(),
                active: true,
                result: String::new(),
                next_calendar: None,
                next_monotonic: None,
                last: last_ms.map(|last| last * 1000),
                last_monotonic: last_ms.map(|last| last * 1000),
                random_delay: now,
                accuracy: 0,
                schedule: Schedule::default(),
                persistent: false,
            };
            let told = known.timer(timer, state, Seen::Told, now, wall);
            told.map(|(at, _)| at)
        };
        let late = told_of("b.timer", Some(20), 30 * MS);
        assert_eq!(
            late,
            Some(22 * MS),
            "it has elapsed before it was looked at first"
        );
        let mut told = |last_ms, now| told_of("a.timer", last_ms, now);
        assert_eq!(told(None, 11 * MS), Some(11 * MS));
        assert_eq!(told(Some(20), 30 * MS), Some(22 * MS));
        assert_eq!(told(Some(20), 40 * MS), Some(40 * MS), "something else is new");
        assert_eq!(told(Some(90), 50 * MS), Some(50 * MS), "a time to come is none");
        assert_eq!(told(Some(1), 60 * MS), Some(60 * MS), "nor is one before all");
    }

    #[test]
    fn a_service_that_gives_signs_of_life_is_looked_at_again() {
        let mut known = known();
        let mut look = |watchdog, alive, now| {
            let mut state = state("active", 5);
            state.limits.watchdog = watchdog;
            state.limits.alive = alive;
            known.unit(NAME, state, Seen::Told, 11 * MS, 0);
            known.next_look(NAME, now)
        };
        const S: u64 = 1_000_000;
        assert_eq!(look(0, 0, 0), None);
        assert_eq!(look(u64::MAX, 5, 0), None);
        assert_eq!(look(80 * S, 100 * S, 110 * S), Some(50 * S));
        assert_eq!(look(80 * S, 100 * S, 160 * S), Some(10 * S), "it gave none");
        assert_eq!(look(S / 2, 100 * S, 100 * S), Some(S), "not all the time");
        assert_eq!(known.next_look("b.service", 0), None);
    }

    #[test]
    fn what_is_left_in_a_cgroup_is_told_when_it_is_seen_and_as_it_ends() {
        let mut known = known();
        let failed = UnitState {
            processes: 3,
            cgroup: "/a".to_owned(),
            ..state("failed", 11)
        };
        assert!(known.unit(NAME, failed, Seen::Told, 12 * MS, 0).is_some());
        assert_eq!(known.leftovers().collect::<Vec<_>>(), [(NAME, "/a")]);
        assert_eq!(known.processes(NAME, 5, 13 * MS), None);
        for (processes, at) in [(2, 14 * MS), (0, 15 * MS)] {
            assert_eq!(
                seen(known.processes(NAME, processes, at)),
                Some((at, Seen::Noticed))
            );
        }
        assert_eq!(known.leftovers().count(), 0);
        assert_eq!(known.processes("gone.service", 1, 16 * MS), None);
    }

    #[test]
    fn jobs_are_told_once_for_each_state_and_when_they_have_ended() {
        let mut known = known();
        let job = |id, state| Job {
            id,
            unit: NAME.to_owned(),
            seen: Seen::Told,
            action: "start".to_owned(),
            state,
        };
        assert!(known.job(job(1, JobState::Waiting), 1).is_some());
        assert!(known.job(job(1, JobState::Waiting), 2).is_none());
        assert!(known.job(job(1, JobState::Running), 3).is_some());
        let done = JobState::Ended("done".to_owned());
        assert_eq!(
            known.job_ended(1, NAME, "done", "stop", 4),
            (4, Body::Job(job(1, done.clone())))
        );
        // One that ended before it could be asked.
        let unknown = Job {
            action: String::new(),
            ..job(2, done)
        };
        assert_eq!(known.job_ended(2, NAME, "done", "", 5), (5, Body::Job(unknown)));
        known.job(job(3, JobState::Waiting), 6);
        known.job(job(4, JobState::Waiting), 6);
        let missed = Job {
            seen: Seen::Noticed,
            ..job(3, JobState::Ended("unknown".to_owned()))
        };
        assert_eq!(
            known.jobs_ended(&BTreeSet::from([4]), 7),
            [(7, Body::Job(missed))]
        );
        assert_eq!(known.jobs_ended(&BTreeSet::from([4]), 8), []);
    }
}
