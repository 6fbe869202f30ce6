//! What a job did that was over before it could be asked: by what became of its unit meanwhile. systemd says how each job ended,
//! and not what it was to do; that of a service which needs no time to start is over as soon as it is told.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::known::{Known, Told};
use super::properties::{Said, has_ended};

/// Jobs that are kept at most: systemd tells of each that it ended.
const MOST: usize = 4096;

/// How units stood when their jobs were told, by the numbers of these.
#[derive(Debug, Default)]
pub(super) struct Jobs(BTreeMap<u32, Stands>);

/// How a unit stands, as far as that was said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stands {
    invocation: Option<String>,
    runs: Option<bool>,
}

impl Jobs {
    /// A job is told.
    pub(super) fn begin(&mut self, id: u32, unit: &str, known: &Known, said: Option<&Said>) {
        if self.0.len() < MOST {
            self.0.insert(id, Stands::of(unit, known, said));
        }
    }

    /// It has ended. Returns what it did, empty where that does not show.
    pub(super) fn end(&mut self, id: u32, unit: &str, known: &Known, said: Option<&Said>) -> &'static str {
        self.0
            .remove(&id)
            .map_or("", |before| before.became(&Stands::of(unit, known, said)))
    }

    /// What is told from now on has nothing to do with what was told before.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Jobs that have ended, until their units are read: systemd tells the end of a job first, and then the unit's state, which is what
/// ended it. Both are told at once, each under its own time.
#[derive(Debug, Default)]
pub(super) struct Ended(Vec<Waiting>);

#[derive(Debug)]
struct Waiting {
    unit: String,
    told: Told,
    due: Instant,
}

impl Ended {
    /// One has ended. It is told at that time, unless its unit is to be read then.
    pub(super) fn wait(&mut self, unit: &str, told: Told, due: Instant) {
        let unit = unit.to_owned();
        self.0.push(Waiting { unit, told, due });
    }

    /// When the next one is to be told.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.iter().map(|one| one.due).min()
    }

    /// Those that are to be told now. `until` says when a unit is read that is so soon.
    pub(super) fn take(&mut self, now: Instant, until: impl Fn(&str) -> Option<Instant>) -> Vec<Told> {
        for one in self.0.iter_mut().filter(|one| one.due <= now) {
            one.due = until(&one.unit).unwrap_or(one.due);
        }
        self.0
            .extract_if(.., |one| one.due <= now)
            .map(|one| one.told)
            .collect()
    }

    /// Those of a unit that is told now.
    pub(super) fn of(&mut self, unit: &str) -> Vec<Told> {
        self.0
            .extract_if(.., |one| one.unit == unit)
            .map(|one| one.told)
            .collect()
    }

    /// All.
    pub(super) fn all(&mut self) -> Vec<Told> {
        self.0.drain(..).map(|one| one.told).collect()
    }
}

impl Stands {
    fn of(unit: &str, known: &Known, said: Option<&Said>) -> Self {
        let state = known.state(unit);
        let is_new = !known.has(unit);
        Self {
            invocation: said
                .and_then(Said::invocation)
                .map(str::to_owned)
                .or_else(|| state.map(|state| state.invocation.clone()))
                .or_else(|| is_new.then(String::new)),
            runs: said
                .and_then(Said::runs)
                .or_else(|| state.map(|state| !has_ended(&state.active)))
                .or_else(|| is_new.then_some(false)),
        }
    }

    /// What of a unit that stood so made it stand so. A restart is a start at its end, to systemd too.
    fn became(&self, now: &Self) -> &'static str {
        let is_new_run = match (&self.invocation, &now.invocation) {
            (Some(before), Some(now)) => !now.is_empty() && before != now,
            _ => false,
        };
        match (self.runs, now.runs) {
            _ if is_new_run => "start",
            (Some(false), Some(true)) => "start",
            (Some(true), Some(false)) => "stop",
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use zbus::zvariant::Value;

    use super::super::properties::Properties;
    use super::*;
    use crate::event::{Body, Seen, UnitState};

    const NAME: &str = "a.service";

    #[test]
    fn a_job_that_ended_waits_for_its_unit() {
        let (now, soon, late) = (
            Instant::now(),
            Instant::now() + Duration::from_millis(50),
            Instant::now() + Duration::from_millis(70),
        );
        let mut ended = Ended::default();
        for (at, unit) in [(1, NAME), (2, "b.service"), (3, "c.service")] {
            ended.wait(unit, (at, Body::Tick), soon);
        }
        assert_eq!(ended.take(now, |_| None), []);
        assert_eq!(ended.of("c.service"), [(3, Body::Tick)], "its unit is told");
        // One of the units is read a little later than that.
        let until = |unit: &str| (unit == NAME).then_some(late);
        assert_eq!(ended.take(soon, until), [(2, Body::Tick)]);
        assert_eq!(ended.due(), Some(late));
        assert_eq!(ended.take(late, |_| None), [(1, Body::Tick)]);
        assert_eq!((ended.due(), ended.all()), (None, Vec::new()));
    }

    fn said(active: &'static str, invocation: u8) -> Said {
        let all = [
            ("ActiveState", Value::from(active)),
            ("InvocationID", Value::from(vec![invocation])),
        ];
        Properties(all.into_iter().collect()).said()
    }

    fn known(active: &str, invocation: &str) -> Known {
        let mut known = Known::default();
        let state = UnitState {
            active: active.to_owned(),
            invocation: invocation.to_owned(),
            ..UnitState::default()
        };
        known.unit(NAME, state, Seen::Found, 1, 0);
        known
    }

    fn did(known: &Known, before: Option<&Said>, now: Option<&Said>) -> &'static str {
        let mut jobs = Jobs::default();
        jobs.begin(7, NAME, known, before);
        let did = jobs.end(7, NAME, known, now);
        assert_eq!(jobs.end(7, NAME, known, now), "", "it has ended");
        did
    }

    #[test]
    fn a_run_that_is_new_was_started_and_one_that_is_over_was_stopped() {
        let failed = said("failed", 2);
        assert_eq!(did(&Known::default(), None, Some(&failed)), "start", "and failed");
        assert_eq!(did(&known("failed", "01"), None, Some(&failed)), "start");
        assert_eq!(did(&known("active", "02"), None, Some(&failed)), "stop");
        let runs = said("active", 2);
        assert_eq!(did(&known("active", "01"), None, Some(&runs)), "start");
        assert_eq!(
            did(&known("active", "02"), None, Some(&runs)),
            "",
            "it is as it was"
        );
        assert_eq!(did(&known("active", "02"), None, None), "");
        // What was said of the run before the job is nothing new.
        assert_eq!(did(&known("inactive", "01"), Some(&failed), Some(&failed)), "");
    }

    #[test]
    fn of_a_unit_of_which_no_run_is_known_its_state_tells() {
        let mut known = Known::default();
        let timer = |active| {
            let all = [
                ("ActiveState", Value::from(active)),
                ("SubState", Value::from("waiting")),
                ("Unit", Value::from(NAME)),
            ];
            Properties(all.into_iter().collect()).timer().unwrap()
        };
        known.timer("a.timer", timer("active"), Seen::Found, 1, Default::default());
        let mut jobs = Jobs::default();
        jobs.begin(1, "a.timer", &known, None);
        let stopped = said("inactive", 2);
        assert_eq!(jobs.end(1, "a.timer", &known, Some(&stopped)), "");
        jobs.begin(2, "a.timer", &known, Some(&said("active", 2)));
        assert_eq!(jobs.end(2, "a.timer", &known, Some(&stopped)), "stop");
    }
}
