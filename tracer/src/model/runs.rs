//! Past runs of the units that timers start, and whether flows began to starve while they ran.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use super::clock::SECOND;
use crate::event::{self, Run, Timer, UnitState};

/// Units of which runs are kept at most; what is told of further ones is counted.
const UNITS: usize = 1024;
/// Runs that are kept of each unit at most, the latest.
const RUNS: usize = 64;
/// What a run does shows up to so long after its end, in ns: 60 s. A flow has to wait for its next packet to starve.
const AFTER: i64 = 60 * SECOND as i64;
/// A run begins at most so long before its timer says that it elapsed, in ns: 1 s. Both are rounded, by another clock.
const BEFORE: i64 = SECOND as i64;
/// A day in ns.
const DAY: i64 = 86_400 * SECOND as i64;

/// The past of all units that timers start.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs {
    units: BTreeMap<String, Past>,
    other: u64,
}

/// Past runs of a unit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past {
    /// All that began from then on are known, in ns since 1970; `None` where only the last one was asked for.
    since: Option<i64>,
    /// In the order of their beginnings.
    runs: VecDeque<Run>,
    /// When each timer that starts it is known to have elapsed, by its name: the latest times, in ns since 1970.
    elapsed: BTreeMap<String, VecDeque<i64>>,
}

impl Runs {
    /// A timer starts its unit, and elapsed last then, if it ever did.
    pub(super) fn timer(&mut self, timer: &Timer) {
        let past = self.of_new(&timer.unit);
        if let (Some(past), Some(last)) = (past, timer.last) {
            past.elapsed(&timer.name, last);
        }
    }

    /// The journal has these.
    pub(super) fn told(&mut self, told: &event::Runs) {
        let Some(past) = self.of_new(&told.unit) else {
            return;
        };
        past.since.get_or_insert(told.since);
        for run in &told.runs {
            // What systemd itself has told is newer.
            let run = match past.runs.iter().find(|known| known.invocation == run.invocation) {
                Some(known) => Run {
                    begun: known.begun,
                    ended: known.ended.or(run.ended),
                    result: if known.result.is_empty() {
                        run.result.clone()
                    } else {
                        known.result.clone()
                    },
                    ..run.clone()
                },
                None => run.clone(),
            };
            past.note(run);
        }
    }

    /// A unit stands so. Nothing is kept of one that no timer starts.
    pub(super) fn seen(&mut self, unit: &str, before: Option<&UnitState>, state: &UnitState) {
        let (Some(past), Some(begun)) = (self.units.get_mut(unit), state.begun) else {
            return;
        };
        // It has the id of the next run just before that begins.
        let is_next =
            before.is_some_and(|before| before.invocation != state.invocation && before.begun == state.begun);
        if state.invocation.is_empty() || is_next {
            return;
        }
        let ended = state.ended.filter(|ended| *ended >= begun);
        past.note(Run {
            invocation: state.invocation.clone(),
            begun,
            ended,
            result: ended.map(|_| state.result.clone()).unwrap_or_default(),
        });
    }

    /// What is known of a unit.
    pub(super) fn of(&self, unit: &str) -> Option<&Past> {
        self.units.get(unit)
    }

    /// Times that something was told for which there was no room.
    pub(super) fn other(&self) -> u64 {
        self.other
    }

    fn of_new(&mut self, unit: &str) -> Option<&mut Past> {
        if self.units.len() >= UNITS && !self.units.contains_key(unit) {
            self.other += 1;
            return None;
        }
        Some(self.units.entry(unit.to_owned()).or_default())
    }
}

impl Past {
    fn note(&mut self, run: Run) {
        self.runs.retain(|known| known.invocation != run.invocation);
        let place = self.runs.partition_point(|known| known.begun <= run.begun);
        self.runs.insert(place, run);
        if self.runs.len() > RUNS
            && let Some(oldest) = self.runs.pop_front()
        {
            let next = oldest.begun.saturating_add(1);
            self.since = self.since.map(|since| since.max(next));
        }
    }

    fn elapsed(&mut self, timer: &str, at: i64) {
        let times = self.elapsed.entry(timer.to_owned()).or_default();
        if times.contains(&at) {
            return;
        }
        times.push_back(at);
        if times.len() > RUNS {
            times.pop_front();
        }
    }

    /// Whether this timer is known to have started a run: it elapsed when the run began. A unit may be started by other timers as
    /// well, and by anybody.
    pub(crate) fn is_by(&self, run: &Run, timer: &str) -> bool {
        let mut times = self.elapsed.get(timer).into_iter().flatten();
        times.any(|at| run.begun.abs_diff(*at) <= BEFORE.unsigned_abs())
    }

    /// All that began from then on are known, in ns since 1970; `None` where only the last one was asked for.
    pub(crate) fn since(&self) -> Option<i64> {
        self.since
    }

    /// The runs, in the order of their beginnings. That a timer elapsed is none: conditions of the unit may not have been met,
    /// and a `Persistent=` timer has elapsed, by its file, when it is first started.
    pub(crate) fn runs(&self) -> &VecDeque<Run> {
        &self.runs
    }
}

/// When a run may have done something: from its beginning for as long as its timer's random delay, and at least to its end
/// and a little longer. `until` is when it ended, or now.
///
/// The delay is in it since the time at which a timer elapses is drawn from a span of that length: it is what "06:00 and
/// up to 60 min" covers of a day.
pub(crate) fn window(begun: i64, until: i64, random_delay: i64) -> Range<i64> {
    let end = until
        .saturating_add(AFTER)
        .max(begun.saturating_add(random_delay));
    begun..end.max(begun)
}

/// How onsets of starvation stand to the runs of a unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Onsets {
    /// Onsets within a run's window.
    pub(crate) inside: u64,
    /// The others.
    pub(crate) outside: u64,
    /// Runs in whose windows there was one at least.
    pub(crate) runs: u64,
    /// The part of the time that the windows cover: as likely is a coincidence. `None` where runs are not known for a day
    /// at least.
    pub(crate) share: Option<f64>,
}

/// Holds onsets against windows, which are in the order of their beginnings. All windows in `known` are there.
pub(crate) fn hold(
    onsets: impl Iterator<Item = i64>,
    windows: &[Range<i64>],
    known: Option<Range<i64>>,
) -> Onsets {
    let (mut inside, mut outside) = (0, 0);
    let mut runs = BTreeSet::new();
    for onset in onsets {
        match windows.iter().position(|window| window.contains(&onset)) {
            Some(run) => {
                inside += 1;
                runs.insert(run);
            }
            None => outside += 1,
        }
    }
    Onsets {
        inside,
        outside,
        runs: runs.len() as u64,
        share: known.and_then(|known| covered(windows, &known)),
    }
}

/// The part of the known time that windows cover.
#[expect(
    clippy::cast_precision_loss,
    reason = "a share of spans far below 2^53 ns is as exact as it need be"
)]
fn covered(windows: &[Range<i64>], known: &Range<i64>) -> Option<f64> {
    let length = known.end.saturating_sub(known.start);
    if length < DAY {
        return None;
    }
    let (mut covered, mut until) = (0_i64, known.start);
    for window in windows {
        let end = window.end.min(known.end);
        covered = covered.saturating_add(end.saturating_sub(window.start.max(until)).max(0));
        until = until.max(end);
    }
    Some(covered as f64 / length as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &str = "apt-daily-upgrade.service";
    const MINUTE: i64 = 60 * SECOND as i64;
    const HOUR: i64 = 60 * MINUTE;

    fn run(invocation: &str, begun: i64) -> Run {
        Run {
            invocation: invocation.to_owned(),
            begun,
            ended: Some(begun + 5),
            result: "success".to_owned(),
        }
    }

    fn timer(unit: &str) -> Timer {
        Timer {
            name: "a.timer".to_owned(),
            unit: unit.to_owned(),
            seen: event::Seen::Found,
            active: true,
            result: String::new(),
            next: None,
            scheduled: None,
            last: None,
            random_delay: 0,
            accuracy: 0,
            schedule: Vec::new(),
            persistent: false,
        }
    }

    fn state(invocation: &str, begun: i64, ended: i64) -> UnitState {
        UnitState {
            invocation: invocation.to_owned(),
            result: "timeout".to_owned(),
            begun: Some(begun),
            ended: Some(ended),
            ..UnitState::default()
        }
    }

    fn told(since: i64, runs: Vec<Run>) -> event::Runs {
        event::Runs {
            unit: UNIT.to_owned(),
            since,
            runs,
        }
    }

    fn times(runs: &Runs) -> Vec<i64> {
        let past = runs.of(UNIT).unwrap();
        past.runs().iter().map(|run| run.begun).collect()
    }

    #[test]
    fn what_the_journal_has_and_what_systemd_tells_is_one_past() {
        let mut runs = Runs::default();
        runs.seen(UNIT, None, &state("c", 30_000, 20_005));
        assert!(runs.of(UNIT).is_none(), "no timer starts it");
        runs.timer(&timer(UNIT));
        runs.seen(UNIT, None, &state("c", 30_000, 20_005));
        runs.told(&told(
            7,
            vec![run("a", 10_000), run("b", 20_000), run("c", 30_001)],
        ));
        assert_eq!(times(&runs), [10_000, 20_000, 30_000]);
        let past = runs.of(UNIT).unwrap();
        assert_eq!(past.since(), Some(7));
        assert_eq!(past.runs[2].result, "success", "the journal knows its end by now");
        // The end that systemd tells counts.
        runs.seen(
            UNIT,
            Some(&state("c", 30_000, 20_005)),
            &state("c", 30_000, 30_009),
        );
        let last = runs.of(UNIT).unwrap().runs[2].clone();
        assert_eq!((last.ended, last.result.as_str()), (Some(30_009), "timeout"));
    }

    #[test]
    fn a_unit_that_is_about_to_run_again_has_not_done_so() {
        let mut runs = Runs::default();
        runs.timer(&timer(UNIT));
        let before = state("a", 10, 15);
        runs.seen(UNIT, None, &before);
        let next = state("b", 10, 15);
        runs.seen(UNIT, Some(&before), &next);
        assert_eq!(times(&runs), [10]);
        runs.seen(UNIT, Some(&next), &state("b", 20, 15));
        assert_eq!(times(&runs), [10, 20]);
        assert_eq!(runs.of(UNIT).unwrap().runs[1].ended, None);
    }

    #[test]
    fn a_timer_started_the_run_that_began_when_it_elapsed_and_of_others_that_is_not_known() {
        let begun = |begun| run("a", begun);
        let mut past = Past::default();
        assert!(!past.is_by(&begun(HOUR), "a.timer"), "it never elapsed");
        past.elapsed("a.timer", HOUR);
        past.elapsed("a.timer", 3 * HOUR);
        assert!(past.is_by(&begun(HOUR - BEFORE), "a.timer"));
        assert!(
            past.is_by(&begun(HOUR + BEFORE), "a.timer"),
            "it elapsed later once more"
        );
        assert!(past.is_by(&begun(3 * HOUR), "a.timer"));
        assert!(
            !past.is_by(&begun(HOUR + 2 * BEFORE), "a.timer"),
            "later by somebody"
        );
        assert!(!past.is_by(&begun(2 * HOUR), "a.timer"));
        assert!(
            !past.is_by(&begun(HOUR), "b.timer"),
            "another one starts it as well"
        );
        for number in 0..RUNS as i64 {
            past.elapsed("a.timer", 4 * HOUR + number);
        }
        assert!(!past.is_by(&begun(HOUR), "a.timer"), "it is forgotten");
    }

    #[test]
    fn the_oldest_are_forgotten_and_so_are_too_many_units() {
        let mut runs = Runs::default();
        let all = (0..RUNS as i64 + 2).map(|number| run(&number.to_string(), number * 10));
        runs.told(&told(-5, all.collect()));
        assert_eq!(times(&runs).len(), RUNS);
        assert_eq!(
            runs.of(UNIT).unwrap().since(),
            Some(11),
            "the second was forgotten last"
        );
        for number in 0..UNITS {
            runs.timer(&timer(&number.to_string()));
        }
        assert_eq!(runs.other(), 1);
        assert!(runs.of(UNIT).is_some());
    }

    /// As in October 2023: a timer at 06:00 and up to 60 min, and three onsets on three days.
    #[test]
    fn onsets_are_held_against_the_windows_of_runs() {
        let begun = |day: i64| day * DAY + 6 * HOUR + day * 7 * MINUTE;
        let windows: Vec<Range<i64>> = (0..10)
            .map(|day| window(begun(day), begun(day) + 20 * MINUTE, HOUR))
            .collect();
        let onsets = [begun(2) + MINUTE, begun(3) + 59 * MINUTE, begun(5), begun(6) - 1];
        let held = hold(onsets.into_iter(), &windows, Some(0..10 * DAY));
        assert_eq!((held.inside, held.outside, held.runs), (3, 1, 3));
        let twice = [begun(2) + MINUTE, begun(2) + 2 * MINUTE];
        let held_twice = hold(twice.into_iter(), &windows, None);
        assert_eq!((held_twice.inside, held_twice.runs), (2, 1));
        let share = held.share.unwrap();
        assert!((share - 1.0 / 24.0).abs() < 1e-9, "{share}");
    }

    #[test]
    fn a_window_lasts_as_long_as_its_run_and_windows_that_overlap_cover_no_more() {
        assert_eq!(window(100, 100 + 2 * HOUR, HOUR), 100..100 + 2 * HOUR + AFTER);
        assert_eq!(window(100, 100, 0), 100..100 + AFTER);
        assert_eq!(window(i64::MAX, i64::MAX, i64::MAX), i64::MAX..i64::MAX);
        let windows = [-HOUR..6 * HOUR, HOUR..2 * HOUR, 5 * HOUR..12 * HOUR, DAY..2 * DAY];
        let share = |known| hold(std::iter::empty(), &windows, known).share;
        assert_eq!(share(Some(0..DAY)), Some(0.5));
        assert_eq!(share(Some(0..DAY - 1)), None, "less than a day is known");
        assert_eq!(share(None), None);
    }
}
