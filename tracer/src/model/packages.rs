//! How the node's packages stand: at rest, in work, or left half-way.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

use super::clock::SECOND;
use super::timeline::{Change, Subject};
use crate::event::{Manager, Owner, Packages, Unfinished, Unknown, Upgrade, Upgrades, process};

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
    /// The command of that run, empty where none is logged.
    pub(crate) command: Option<&'a str>,
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
    /// It has told no end, and who holds the manager's lock is at work on it.
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
        let is_cut_off = Standing::of(packages) == Standing::Interrupted;
        if let Some(holder) = before.holder.as_ref().filter(|_| is_cut_off) {
            is += &format!("; {} was at work last", process(&holder.command, holder.pid));
        }
        if before.reboot.is_some() && packages.reboot.is_none() {
            is += "; no reboot required any more";
        }
        // Who was at work did not cut itself off, and nothing tells who did; nor who writes that a reboot is asked for.
        let is_untold = is_cut_off || (before.holder.is_none() && is_reboot_alone(&before, packages));
        let by = packages.holder.clone().or(before.holder);
        let by = by.filter(|_| !is_untold);
        let why = match is_untold {
            true => Unknown::NotTold,
            false => Unknown::NotFound,
        };
        Some(Change {
            at,
            subject: Subject::Packages(packages.manager),
            before: Some(was),
            after: Some(is),
            by_unknown: by.is_none().then_some(why),
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
        let packages = self.told.get(manager)?;
        // What others did since may have left open what that one was to do.
        let most = if packages.open_run { usize::MAX } else { 1 };
        let last = self.past(*manager).rev().take(most);
        let last = last
            .filter(|(_, outcome)| *outcome == Outcome::Interrupted)
            .map(|(run, _)| run)
            .next();
        Some(Left {
            packages,
            since: *since,
            holder: of_it.next().and_then(|work| work.holder_at(u64::MAX)),
            last: last.map(|run| run.last.unwrap_or(run.begun)),
            command: last.map(|run| run.command.as_str()),
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
        let told = self.told.get(&manager);
        let is_at_work = told.is_some_and(|packages| packages.holder.is_some());
        runs.iter().map(move |run| {
            let outcome = match run.ended {
                Some(_) if run.error.is_empty() => Outcome::Ended,
                Some(_) => Outcome::Failed,
                None if run.in_work && is_at_work => Outcome::InWork,
                None => Outcome::Interrupted,
            };
            (run, outcome)
        })
    }

    /// How a manager's packages stand, in one sentence, by its status and its logs. A run that told no end may have been cut
    /// off and put right since: packages are whole, and what the logs say of it is true as well.
    pub(crate) fn describe(&self, packages: &Packages) -> String {
        let last = self.past(packages.manager).next_back();
        let has_no_end = last.is_some_and(|(_, outcome)| outcome == Outcome::Interrupted);
        let in_work = describe_with(packages, &packages.working_on);
        match (Standing::of(packages), has_no_end) {
            (Standing::InWork, _) => in_work,
            (Standing::Whole, true) => {
                format!(
                    "{}; the last run has told no end, and nothing is left of it",
                    describe(packages)
                )
            }
            _ => describe(packages),
        }
    }

    /// Each manager's word.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Packages> {
        self.told.values()
    }
}

/// Whether a run of the logs went on at some time in this span, of ns since 1970: to ask whether it did at a time, or up to
/// [`AFTER`] before it. Of one that was interrupted it is known that it went on until it last did something. Who held the lock
/// at a moment is told by [`Managers::work_at`]: the logs name no process and have whole seconds.
pub(crate) fn went_on_in(run: &Upgrade, outcome: Outcome, span: &RangeInclusive<i64>) -> bool {
    let until = match outcome {
        Outcome::InWork => i64::MAX,
        // The logs have whole seconds: it was in the course of that one.
        _ => run
            .ended
            .or(run.last)
            .unwrap_or(run.begun)
            .max(run.begun)
            .saturating_add(SECOND as i64 - 1),
    };
    run.begun <= *span.end() && until >= *span.start()
}

/// Whether nothing is different but what asks for a reboot.
fn is_reboot_alone(before: &Packages, packages: &Packages) -> bool {
    let without = |packages: &Packages| Packages {
        reboot: None,
        ..packages.clone()
    };
    describe(&without(before)) == describe(&without(packages))
}

/// How packages stand, in one sentence without the package in work: that changes many times a second.
pub(crate) fn describe(packages: &Packages) -> String {
    describe_with(packages, "")
}

/// The same, with what is worked on where that is told.
fn describe_with(packages: &Packages, working_on: &str) -> String {
    let standing = match Standing::of(packages) {
        Standing::Whole => return with_reboot(packages, "all packages whole".to_owned()),
        // What is unfinished while it is worked on is on its way.
        Standing::InWork => {
            let asked = packages.reboot.as_ref().map_or("", |_| REBOOT);
            return match working_on {
                "" => format!("in work{asked}"),
                package => format!("in work ({package}){asked}"),
            };
        }
        Standing::Unknown => {
            let why = match packages.manager {
                Manager::Dpkg => UNKNOWN,
                Manager::Rpm => "nobody works on packages; what rpm has left half-way its files do not tell",
            };
            return with_reboot(packages, why.to_owned());
        }
        Standing::Interrupted => "interrupted",
    };
    let more = packages.unfinished_more as usize;
    let mut reasons = named(packages.unfinished.iter().map(state).collect(), more);
    if packages.leftovers > 0 {
        let changes = plural(packages.leftovers as usize, "change");
        reasons.push(format!("{changes} not taken into the status"));
    }
    if packages.open_run {
        reasons.push(match packages.manager {
            Manager::Dpkg => {
                "a run that began has told no end, and not all that it was to do is done".to_owned()
            }
            Manager::Rpm => "the last run has not closed the database of rpm".to_owned(),
        });
    }
    let others = match packages.manager {
        Manager::Dpkg if packages.unknown => "; not all packages are known",
        Manager::Dpkg if is_only_open(packages) => "; each package is whole",
        Manager::Dpkg | Manager::Rpm => "",
    };
    with_reboot(packages, format!("{standing}: {}{others}", reasons.join(", ")))
}

/// Where the manager's own files do not tell all.
const UNKNOWN: &str =
    "how packages stand is not known: their status is not there, torn, or not as dpkg writes it";

/// A run was cut off, and no package is known to be left half-way by it: it may have been before the first one.
pub(crate) fn is_only_open(packages: &Packages) -> bool {
    packages.open_run && packages.unfinished.is_empty() && packages.leftovers == 0
}

/// Where somebody asks for a reboot.
const REBOOT: &str = "; reboot required";

/// Packages that are named.
const NAMED: usize = 5;

/// The first of several, and how many more there are, beside those `more` that have no name here.
fn named(mut all: Vec<String>, more: usize) -> Vec<String> {
    let more = more.saturating_add(all.len().saturating_sub(NAMED));
    if more > 0 {
        all.truncate(NAMED);
        all.push(plural(more, "more package"));
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
    match packages.unfinished_total() {
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
    let mut parts = named(new.map(state).collect(), 0);
    parts.extend(named(
        done.map(|one| format!("{} finished", one.name)).collect(),
        0,
    ));
    // Where not all are named, one that is not any more need not be finished.
    if before.unfinished_more > 0 || packages.unfinished_more > 0 || parts.is_empty() {
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
        Some(all) => format!("{text}{REBOOT} by {}", named(all.clone(), 0).join(", ")),
    }
}

#[cfg(test)]
mod tests;
