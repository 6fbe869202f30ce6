//! How the node's packages stand: at rest, in work, or left half-way.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

use super::clock::SECOND;
use super::timeline::{Change, Subject};
use crate::event::{Manager, Owner, Packages, Unfinished, Unknown, Upgrade, Upgrades};

/// What an upgrade breaks may show up to so long after its end, in ns: 60 s.
pub(crate) const AFTER: i64 = 60 * SECOND as i64;
/// Spells of work that are kept at most, the latest; and of each so many holders.
const SPELLS: usize = 64;
const HOLDERS: usize = 64;

/// What the package managers have told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Managers {
    told: BTreeMap<Manager, Packages>,
    past: BTreeMap<Manager, Upgrades>,
    /// When packages were worked on, the earliest first.
    work: VecDeque<Work>,
    /// Of which managers packages are left half-way, and since when in boot time; `None` where they were found so.
    left: BTreeMap<Manager, Option<u64>>,
}

/// A time in which somebody held a manager's lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Work {
    /// Whose lock.
    pub(crate) manager: Manager,
    /// Who was seen to hold it, each with since when: one hands it to the next, as apt to each run of dpkg. Never empty.
    holders: VecDeque<(u64, Owner)>,
    /// Since when it was held, in boot time; `None` where it was found so.
    pub(crate) since: Option<u64>,
    /// Until when; `None` for still.
    pub(crate) until: Option<u64>,
}

/// Packages that were left half-way.
pub(crate) struct Left<'a> {
    /// How they stand.
    pub(crate) packages: &'a Packages,
    /// Since when nobody works on them, in boot time; `None` where it was so at the start.
    pub(crate) since: Option<u64>,
    /// Who was last seen at work.
    pub(crate) holder: Option<&'a Owner>,
    /// When the run that was cut off last did something by its log, in ns since 1970.
    pub(crate) last: Option<i64>,
}

impl Work {
    /// Who held it at that time, or first where that was before it was seen to be held.
    pub(crate) fn holder_at(&self, at: u64) -> Option<&Owner> {
        let until_then = self.holders.iter().rev().find(|(since, _)| *since <= at);
        until_then.or(self.holders.front()).map(|(_, holder)| holder)
    }

    fn held_by(&mut self, at: u64, holder: &Owner) {
        if self.holders.back().is_some_and(|(_, last)| last == holder) {
            return;
        }
        if self.holders.len() == HOLDERS {
            self.holders.pop_front();
        }
        self.holders.push_back((at, holder.clone()));
    }

    fn is_at(&self, at: u64) -> bool {
        self.since.is_none_or(|since| since <= at) && self.until.is_none_or(|until| at <= until)
    }
}

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It told its end.
    Ended,
    /// It told its end, and that something went wrong.
    Failed,
    /// It has told no end, and somebody holds the manager's lock.
    InWork,
    /// It has told no end, and nobody is at work on it any more.
    Interrupted,
}

/// How packages stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// All is installed in full, or removed.
    Whole,
    /// Somebody holds the lock.
    InWork,
    /// Nobody holds the lock, and something is not finished.
    Interrupted,
    /// Nobody holds the lock, and not all packages are known.
    Unknown,
}

impl Standing {
    pub(crate) fn of(packages: &Packages) -> Self {
        if packages.holder.is_some() {
            Self::InWork
        } else if !packages.unfinished.is_empty() || packages.leftovers > 0 || packages.open_run {
            Self::Interrupted
        } else if packages.unknown {
            Self::Unknown
        } else {
            Self::Whole
        }
    }
}

impl Managers {
    /// Takes note of how packages stand. Returns what changed; the first that is told is no change.
    pub(super) fn told(&mut self, at: u64, packages: &Packages) -> Option<Change> {
        let before = self.told.insert(packages.manager, packages.clone());
        self.work(at, packages, before.is_none());
        if Standing::of(packages) == Standing::Interrupted {
            let since = before.is_some().then_some(at);
            self.left.entry(packages.manager).or_insert(since);
        } else {
            self.left.remove(&packages.manager);
        }
        let before = before?;
        if describe(&before) == describe(packages) {
            return None;
        }
        let was = brief(&before);
        let mut is = match (Standing::of(&before), Standing::of(packages)) {
            // The rest was told when it was left so.
            (Standing::Interrupted, Standing::Interrupted) => differing(&before, packages),
            _ => describe(packages),
        };
        if before.reboot.is_some() && packages.reboot.is_none() {
            is += "; no reboot required any more";
        }
        let by = packages.holder.clone().or(before.holder);
        Some(Change {
            at,
            subject: Subject::Packages(packages.manager),
            before: Some(was),
            after: Some(is),
            by_unknown: by.is_none().then_some(Unknown::NotFound),
            by,
            noticed: false,
        })
    }

    fn work(&mut self, at: u64, packages: &Packages, is_first: bool) {
        let mut open = self
            .work
            .iter_mut()
            .filter(|work| work.manager == packages.manager && work.until.is_none());
        match (open.next(), &packages.holder) {
            (Some(work), Some(holder)) => work.held_by(at, holder),
            (Some(work), None) => work.until = Some(at),
            (None, Some(holder)) => {
                if self.work.len() == SPELLS {
                    self.work.pop_front();
                }
                self.work.push_back(Work {
                    manager: packages.manager,
                    holders: VecDeque::from([(at, holder.clone())]),
                    since: (!is_first).then_some(at),
                    until: None,
                });
            }
            (None, None) => {}
        }
    }

    /// Who worked on packages at that boot time, where somebody did.
    pub(crate) fn work_at(&self, at: u64) -> Option<&Work> {
        self.work.iter().rev().find(|work| work.is_at(at))
    }

    /// Packages that were left half-way, of the first manager that has such.
    pub(crate) fn left(&self) -> Option<Left<'_>> {
        let (manager, since) = self.left.first_key_value()?;
        let mut of_it = self.work.iter().rev().filter(|work| work.manager == *manager);
        let last = self.past(*manager).next_back();
        Some(Left {
            packages: self.told.get(manager)?,
            since: *since,
            holder: of_it.next().and_then(|work| work.holder_at(u64::MAX)),
            last: last
                .filter(|(_, outcome)| *outcome == Outcome::Interrupted)
                .map(|(run, _)| run.last.unwrap_or(run.begun)),
        })
    }

    /// Takes note of what a manager has done, as its logs have it. That is no change: most of it was before the start, and
    /// what happens is told by itself.
    pub(super) fn upgrades(&mut self, upgrades: &Upgrades) {
        self.past.insert(upgrades.manager, upgrades.clone());
    }

    /// Since when all runs of a manager are known, in ns since 1970; `None` where its logs tell of none.
    pub(crate) fn past_since(&self, manager: Manager) -> Option<i64> {
        self.past.get(&manager)?.since
    }

    /// Runs of a manager, also those before the start, in the order of their beginnings.
    pub(crate) fn past(&self, manager: Manager) -> impl DoubleEndedIterator<Item = (&Upgrade, Outcome)> {
        let runs = self.past.get(&manager).map_or(&[][..], |past| &past.runs);
        let last = runs.len().saturating_sub(1);
        let told = self.told.get(&manager);
        let is_at_work = told.is_some_and(|packages| packages.holder.is_some());
        runs.iter().enumerate().map(move |(number, run)| {
            let outcome = match run.ended {
                Some(_) if run.error.is_empty() => Outcome::Ended,
                Some(_) => Outcome::Failed,
                None if number == last && is_at_work => Outcome::InWork,
                None => Outcome::Interrupted,
            };
            (run, outcome)
        })
    }

    /// Which runs of the logs went on at some time in this span, of ns since 1970: to ask what ran at a time, or up to
    /// [`AFTER`] before it. Of one that was interrupted it is known that it went on until it last did something. Who held the
    /// lock at a moment is told by [`work_at`](Self::work_at): the logs name no process and have whole seconds.
    pub(crate) fn runs_in(&self, span: &RangeInclusive<i64>) -> Vec<(Manager, &Upgrade)> {
        let all = self.past.keys().flat_map(|manager| {
            let runs = self.past(*manager);
            runs.filter(|(run, outcome)| overlaps(run, *outcome, span))
                .map(|(run, _)| (*manager, run))
        });
        all.collect()
    }

    /// Each manager's word.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Packages> {
        self.told.values()
    }
}

fn overlaps(run: &Upgrade, outcome: Outcome, span: &RangeInclusive<i64>) -> bool {
    let until = match outcome {
        Outcome::InWork => i64::MAX,
        // The logs have whole seconds: it was in the course of that one.
        _ => run
            .ended
            .or(run.last)
            .unwrap_or(run.begun)
            .saturating_add(SECOND as i64 - 1),
    };
    run.begun <= *span.end() && until >= *span.start()
}

/// How packages stand, in one sentence without the package in work: that changes many times a second.
pub(crate) fn describe(packages: &Packages) -> String {
    let standing = match Standing::of(packages) {
        Standing::Whole => return with_reboot(packages, "all packages whole".to_owned()),
        // What is unfinished while it is worked on is on its way.
        Standing::InWork => {
            let asked = packages.reboot.as_ref().map_or("", |_| REBOOT);
            return format!("in work{asked}");
        }
        Standing::Unknown => {
            let why = "how packages stand is not known: their status is not there, or torn";
            return with_reboot(packages, why.to_owned());
        }
        Standing::Interrupted => "interrupted",
    };
    let mut reasons = named(packages.unfinished.iter().map(state).collect());
    if packages.leftovers > 0 {
        let changes = plural(packages.leftovers as usize, "change");
        reasons.push(format!("{changes} not taken into the status"));
    }
    if packages.open_run {
        reasons.push("a run that began has not told its end".to_owned());
    }
    with_reboot(packages, format!("{standing}: {}", reasons.join(", ")))
}

/// Where somebody asks for a reboot.
const REBOOT: &str = "; reboot required";

/// Packages that are named.
const NAMED: usize = 5;

/// The first of several, and how many more there are.
fn named(mut all: Vec<String>) -> Vec<String> {
    if all.len() > NAMED {
        let more = plural(all.len() - NAMED, "more package");
        all.truncate(NAMED);
        all.push(more);
    }
    all
}

fn plural(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn state(one: &Unfinished) -> String {
    format!("{} {}", one.name, one.state)
}

/// How packages stand, without their names.
fn brief(packages: &Packages) -> String {
    match Standing::of(packages) {
        Standing::Interrupted => with_reboot(packages, interrupted(packages)),
        _ => describe(packages),
    }
}

fn interrupted(packages: &Packages) -> String {
    match packages.unfinished.len() {
        0 => "interrupted".to_owned(),
        left => format!("interrupted with {}", plural(left, "package")),
    }
}

/// How packages stand that were left half-way before, by what is different.
fn differing(before: &Packages, packages: &Packages) -> String {
    let new = packages
        .unfinished
        .iter()
        .filter(|one| !before.unfinished.contains(one));
    let is_left = |one: &Unfinished| packages.unfinished.iter().any(|left| left.name == one.name);
    let done = before.unfinished.iter().filter(|one| !is_left(one));
    let mut parts = named(new.map(state).collect());
    parts.extend(named(done.map(|one| format!("{} finished", one.name)).collect()));
    if parts.is_empty() {
        return describe(packages);
    }
    with_reboot(
        packages,
        format!("{}: {}", interrupted(packages), parts.join(", ")),
    )
}

fn with_reboot(packages: &Packages, text: String) -> String {
    match &packages.reboot {
        None => text,
        Some(all) if all.is_empty() => text + REBOOT,
        Some(all) => format!("{text}{REBOOT} by {}", named(all.clone()).join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Owner;

    fn packages() -> Packages {
        Packages {
            manager: Manager::Dpkg,
            holder: None,
            working_on: String::new(),
            unfinished: Vec::new(),
            leftovers: 0,
            open_run: false,
            reboot: None,
            unknown: false,
            kernels: Vec::new(),
        }
    }

    #[test]
    fn an_upgrade_that_stops_half_way_is_interrupted() {
        let mut managers = Managers::default();
        assert_eq!(managers.told(1, &packages()), None);
        let mut now = packages();
        now.holder = Some(holder());
        now.unfinished = vec![Unfinished {
            name: "systemd".to_owned(),
            state: "half-configured".to_owned(),
        }];
        let change = managers.told(2, &now).unwrap();
        assert_eq!(change.after.as_deref(), Some("in work"));
        now.holder = None;
        let change = managers.told(3, &now).unwrap();
        assert_eq!(
            change.after.as_deref(),
            Some("interrupted: systemd half-configured")
        );
        let changes = |managers: &mut Managers, now: &Packages| {
            let change = managers.told(3, now)?;
            Some((
                change.before.unwrap_or_default(),
                change.after.unwrap_or_default(),
            ))
        };
        let mut later = now.clone();
        later.unfinished = ["udev", "libc6"]
            .map(|name| Unfinished {
                name: name.to_owned(),
                state: "unpacked".to_owned(),
            })
            .to_vec();
        // What was told is not told again.
        let one = |before: &str, after: &str| Some((before.to_owned(), after.to_owned()));
        assert_eq!(
            changes(&mut managers.clone(), &later),
            one(
                "interrupted with 1 package",
                "interrupted with 2 packages: udev unpacked, libc6 unpacked, systemd finished"
            )
        );
        assert_eq!(
            changes(&mut managers.clone(), &packages()),
            one("interrupted with 1 package", "all packages whole")
        );
        // Who held the lock last.
        assert_eq!(change.by.map(|owner| owner.pid), Some(7));
        // And when.
        let work = |at| {
            let work = managers.work_at(at)?;
            Some((work.holder_at(at)?.pid, work.since))
        };
        assert_eq!(
            (work(1), work(2), work(3), work(4)),
            (None, Some((7, Some(2))), Some((7, Some(2))), None)
        );
        assert_eq!(managers.iter().count(), 1);
    }

    #[test]
    fn packages_that_are_not_known_are_not_said_to_be_whole() {
        let torn = Packages {
            unknown: true,
            ..packages()
        };
        assert_eq!(Standing::of(&torn), Standing::Unknown);
        assert!(describe(&torn).contains("not known"), "{}", describe(&torn));
        let half = Packages { leftovers: 1, ..torn };
        assert_eq!(
            describe(&half),
            "interrupted: 1 change not taken into the status",
            "what is known to be left is told all the same"
        );
    }

    #[test]
    fn a_reboot_that_is_not_asked_for_any_more_is_told() {
        let asked = |by: &[&str]| Packages {
            reboot: Some(by.iter().map(|name| (*name).to_owned()).collect()),
            ..packages()
        };
        let mut managers = Managers::default();
        managers.told(1, &packages());
        let mut after = |now: &Packages| managers.told(2, now).unwrap().after.unwrap();
        assert_eq!(after(&asked(&[])), "all packages whole; reboot required");
        assert_eq!(
            after(&asked(&["libc6", "systemd"])),
            "all packages whole; reboot required by libc6, systemd"
        );
        assert_eq!(
            after(&packages()),
            "all packages whole; no reboot required any more"
        );
    }

    /// As apt hands the lock to each run of dpkg.
    #[test]
    fn who_held_the_lock_at_a_time_is_told_and_not_who_held_it_last() {
        let mut managers = Managers::default();
        managers.told(1, &packages());
        for (at, pid) in [(10, 7), (20, 8), (30, 9)] {
            let holder = Some(Owner { pid, ..holder() });
            managers.told(at, &Packages { holder, ..packages() });
        }
        managers.told(40, &packages());
        let holder = |at| managers.work_at(at)?.holder_at(at).map(|owner| owner.pid);
        assert_eq!(
            [9, 10, 19, 20, 29, 30, 40, 41].map(holder),
            [None, Some(7), Some(7), Some(8), Some(8), Some(9), Some(9), None]
        );
    }

    #[test]
    fn since_when_packages_are_left_half_way_is_told() {
        let left = |managers: &Managers| {
            managers
                .left()
                .map(|left| (left.since, left.holder.map(|owner| owner.pid), left.last))
        };
        let half = Packages {
            leftovers: 1,
            ..packages()
        };
        let mut managers = Managers::default();
        managers.told(1, &packages());
        managers.told(
            2,
            &Packages {
                holder: Some(holder()),
                ..half.clone()
            },
        );
        assert_eq!(left(&managers), None, "it is worked on");
        managers.told(3, &half);
        managers.told(
            4,
            &Packages {
                leftovers: 2,
                ..half.clone()
            },
        );
        assert_eq!(
            left(&managers),
            Some((Some(3), Some(7), None)),
            "what is left is told anew"
        );
        managers.told(5, &packages());
        assert_eq!(left(&managers), None);

        let mut found = with_past(None);
        assert_eq!(left(&found), None, "nothing is left");
        found = Managers {
            told: BTreeMap::new(),
            ..found
        };
        found.told(9, &half);
        assert_eq!(left(&found), Some((None, None, Some(400 * SECOND as i64))));
    }

    /// In s.
    fn run(begun: i64, ended: Option<i64>, last: Option<i64>) -> Upgrade {
        let time = |seconds: i64| seconds * SECOND as i64;
        Upgrade {
            begun: time(begun),
            ended: ended.map(time),
            last: last.map(time),
            ..Upgrade::default()
        }
    }

    fn with_past(holder: Option<Owner>) -> Managers {
        let mut managers = Managers::default();
        managers.told(1, &Packages { holder, ..packages() });
        managers.upgrades(&Upgrades {
            manager: Manager::Dpkg,
            since: Some(0),
            runs: vec![
                run(100, Some(110), None),
                run(200, None, Some(220)),
                Upgrade {
                    error: "dpkg returned an error".to_owned(),
                    ..run(300, Some(310), None)
                },
                run(400, None, None),
            ],
        });
        managers
    }

    fn holder() -> Owner {
        Owner {
            pid: 7,
            command: "apt-get".to_owned(),
            cgroup: String::new(),
            unit: "apt-daily-upgrade.service".to_owned(),
            parent: None,
        }
    }

    #[test]
    fn a_run_without_end_is_interrupted_unless_it_is_the_last_and_somebody_is_at_work() {
        let outcomes = |holder| -> Vec<Outcome> {
            let managers = with_past(holder);
            managers.past(Manager::Dpkg).map(|(_, outcome)| outcome).collect()
        };
        use Outcome::{Ended, Failed, InWork, Interrupted};
        assert_eq!(outcomes(None), [Ended, Interrupted, Failed, Interrupted]);
        assert_eq!(outcomes(Some(holder())), [Ended, Interrupted, Failed, InWork]);
        assert_eq!(with_past(None).past(Manager::Rpm).count(), 0);
    }

    #[test]
    fn which_upgrade_ran_at_a_time_or_shortly_before_is_told() {
        let second = SECOND as i64;
        let begun = |managers: &Managers, from: i64, to: i64| -> Vec<i64> {
            let ran = managers.runs_in(&(from..=to));
            ran.iter().map(|(_, run)| run.begun / second).collect()
        };
        let (at_rest, at_work) = (with_past(None), with_past(Some(holder())));
        let at = |managers: &Managers, at: i64| begun(managers, at, at);
        assert_eq!(at(&at_rest, 100 * second - 1), [0; 0]);
        assert_eq!(at(&at_rest, 100 * second), [100]);
        // The end is in the course of that second.
        assert_eq!(at(&at_rest, 111 * second - 1), [100]);
        assert_eq!(at(&at_rest, 111 * second), [0; 0]);
        assert_eq!(at(&at_rest, 220 * second), [200], "until it last did something");
        assert_eq!(at(&at_rest, 230 * second), [0; 0]);
        assert_eq!(at(&at_rest, 1000 * second), [0; 0]);
        assert_eq!(at(&at_work, 1000 * second), [400], "it is at work yet");
        let onset = 170 * second;
        assert_eq!(begun(&at_rest, onset - AFTER, onset), [100]);
        let onset = 171 * second;
        assert_eq!(begun(&at_rest, onset - AFTER, onset), [0; 0]);
    }

    #[test]
    fn what_the_logs_tell_is_no_change() {
        let mut managers = with_past(None);
        assert_eq!(managers.past_since(Manager::Dpkg), Some(0));
        assert_eq!(managers.told(2, &packages()), None);
    }

    #[test]
    fn each_thing_left_is_a_reason() {
        let mut left = packages();
        assert_eq!(Standing::of(&left), Standing::Whole);
        left.open_run = true;
        left.leftovers = 2;
        left.reboot = Some(vec!["linux-image-amd64".to_owned()]);
        assert_eq!(Standing::of(&left), Standing::Interrupted);
        assert_eq!(
            describe(&left),
            "interrupted: 2 changes not taken into the status, a run that began has not told its end; \
             reboot required by linux-image-amd64"
        );
    }
}
