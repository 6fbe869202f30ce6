//! When the network was broken: the verdicts over time, as episodes with a beginning and an end.
//!
//! Pure and driven by ticks alone, so that a replayed recording has the same episodes as the live tracer.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::mending::{Mended, SEEN_LATE};
use super::{RULES, Rule};
use crate::model::clock::SECOND;
use crate::model::plight::COUNTED;
use crate::report::{Cause, Confidence, Relation};

/// Episodes that are kept, the latest; earlier ones are counted.
const KEPT: usize = 64;
/// Units of one episode that are known by name; of more it is only told that there are so many at least.
pub(super) const UNITS: usize = 256;
/// What comes back within this time is the same episode where it has the same root: 30 s. Connections that are asked over and
/// again wait for longer and longer in between.
const REJOIN: u64 = 30 * SECOND;
/// What comes so soon after the end belongs to the episode whatever its root is: 3 s.
const FOLLOWS: u64 = 3 * SECOND;

/// The verdict that decides where the fault is, at one tick.
#[derive(Clone)]
pub struct Leading {
    /// Its rule.
    pub rule: &'static Rule,
    /// How sure it is.
    pub confidence: Confidence,
    /// First evidence, in boot time.
    pub since: u64,
    /// Last evidence, in boot time.
    pub last: u64,
    /// Flows that it names as affected, whether they starve still or not.
    pub flows: u64,
    /// Units that suffer from it, each once and in order.
    pub units: Vec<String>,
    /// What took it away, where nothing of it was seen since.
    pub(crate) mended: Option<Mended>,
}

/// A verdict that decides. Times are boot times in ns.
#[derive(Clone)]
pub(super) struct Fault {
    pub(super) rule: &'static Rule,
    /// First evidence; in an episode, not before that began.
    pub(super) since: u64,
    /// Last evidence; in an episode, not before it was mended.
    pub(super) last: u64,
    /// What took it away.
    pub(super) mended: Option<Mended>,
    /// It hung under no other one when it stood last.
    pub(super) is_root: bool,
}

impl Fault {
    /// When it was over: by its last evidence, but what was lost before the mend is counted some time after it.
    pub(super) fn end(&self) -> u64 {
        let mended = self.mended.as_ref().map(|mended| mended.at);
        let is_of_before = |at: &u64| *at <= self.last && self.last <= at.saturating_add(COUNTED);
        mended.filter(is_of_before).unwrap_or(self.last).max(self.since)
    }
}

/// A time in which the network was broken. Times are boot times in ns.
#[derive(Clone)]
pub(super) struct Episode {
    /// First evidence. Never before the end of the episode before.
    pub(super) onset: u64,
    /// Last evidence, and not before [`mended`](Self::mended).
    last: u64,
    /// When its root verdict was first given.
    pub(super) told: u64,
    /// It goes on.
    pub(super) lasts: bool,
    /// The strongest verdict that led.
    pub(super) rule: &'static Rule,
    pub(super) confidence: Confidence,
    /// What is known of the cause of that one.
    pub(super) cause: Cause,
    /// The ids of all that led, in the order in which they came.
    pub(super) led: Vec<&'static str>,
    /// All that stood while it lasted, with the last of each rule. There are no more of them than rules.
    faults: Vec<Fault>,
    /// The most flows that the verdict that led named at one time. Not all of them starved still.
    pub(super) flows: u64,
    /// The most flows at once that starved.
    pub(super) starved: u64,
    /// When so many flows were named first.
    pub(super) peak: u64,
    /// Units that suffered, at most [`UNITS`].
    pub(super) units: BTreeSet<String>,
    /// What took away that which leads, or led last.
    mended: Option<Mended>,
    /// As it was when it had been mended, and before it went on. What brought that about may be told some time later, and be another
    /// change.
    before: Option<Box<Episode>>,
}

/// The episodes since the start.
#[derive(Clone, Default)]
pub(super) struct Episodes {
    /// In the order of their beginnings; only the last one may go on.
    kept: VecDeque<Episode>,
    /// By the id of their rule, how many are not kept any more.
    forgotten: BTreeMap<&'static str, u64>,
}

impl Episodes {
    /// This verdict leads at a tick, of these that stand; what brought it about was done then, this is known of it, and so many flows
    /// starve.
    pub(super) fn tick(
        &mut self,
        now: u64,
        leading: &Leading,
        faults: &[Fault],
        brought_about: impl Fn() -> Option<u64>,
        cause: impl FnOnce() -> Cause,
        starved: u64,
    ) {
        if let Some(episode) = self.kept.back_mut()
            && let Some(before) = episode
                .before
                .take_if(|before| before.is_another_than(&brought_about))
        {
            *episode = *before;
        }
        match self.kept.back_mut() {
            Some(episode) if episode.is_joined_by(leading, brought_about) => {
                if episode.mended.is_some() && (!episode.lasts || leading.mended.is_none()) {
                    episode.before = None;
                    episode.before = Some(Box::new(episode.clone()));
                }
                episode.go_on(now, leading, faults, cause, starved);
            }
            before => {
                let earliest = before.map_or(0, |before| {
                    before.hand_over(faults);
                    before.end()
                });
                self.begin(Episode::of(now, earliest, leading, faults, cause(), starved));
            }
        }
    }

    /// No verdict leads at a tick. This took the one away that led before, where that was seen by now.
    pub(super) fn over(&mut self, now: u64, gone: Option<(&Rule, &Mended)>) {
        let Some(episode) = self.kept.back_mut() else {
            return;
        };
        let is_told = episode.mended.is_some() && !episode.lasts;
        episode.lasts = false;
        if let Some((rule, mended)) = gone.filter(|_| !is_told) {
            episode.took_away(now, rule, mended);
            episode.mended = Some(mended.clone());
            // That what went on was mended as well is known: it had been brought about before it began.
            episode.before = None;
        }
    }

    /// This took away what led by that rule until now, while something else still does.
    pub(super) fn took_away(&mut self, now: u64, rule: &Rule, mended: &Mended) {
        if let Some(episode) = self.kept.back_mut().filter(|episode| episode.lasts) {
            episode.took_away(now, rule, mended);
        }
    }

    fn begin(&mut self, episode: Episode) {
        if let Some(before) = self.kept.back_mut() {
            before.lasts = false;
        }
        self.kept.push_back(episode);
        if self.kept.len() > KEPT
            && let Some(oldest) = self.kept.pop_front()
        {
            *self.forgotten.entry(oldest.rule.id).or_default() += 1;
        }
    }

    /// Those that are kept, the latest first, each with its number among those with the same root, from 1.
    pub(super) fn latest(&self) -> Vec<(u64, &Episode)> {
        let mut numbers = self.forgotten.clone();
        let mut all: Vec<_> = self
            .kept
            .iter()
            .map(|episode| {
                let number = numbers.entry(episode.rule.id).or_default();
                *number += 1;
                (*number, episode)
            })
            .collect();
        all.reverse();
        all
    }

    /// How many there were, also those that are not kept any more.
    pub(super) fn total(&self) -> u64 {
        self.kept.len() as u64 + self.forgotten.values().sum::<u64>()
    }
}

impl Episode {
    fn of(now: u64, earliest: u64, leading: &Leading, faults: &[Fault], cause: Cause, starved: u64) -> Self {
        let onset = leading.since.clamp(earliest.min(now), now);
        let mut episode = Self {
            onset,
            last: onset,
            told: now,
            lasts: true,
            rule: leading.rule,
            confidence: leading.confidence,
            cause: cause.clone(),
            led: Vec::new(),
            faults: Vec::new(),
            flows: 0,
            starved: 0,
            peak: now,
            units: BTreeSet::new(),
            mended: None,
            before: None,
        };
        episode.go_on(now, leading, faults, || cause, starved);
        episode
    }

    /// What leads now belongs to this episode. What was done only after it was mended, and brought that about, has begun another one.
    fn is_joined_by(&self, leading: &Leading, brought_about: impl Fn() -> Option<u64>) -> bool {
        if self.lasts {
            return !self.is_another_than(brought_about);
        }
        let gap = leading.since.saturating_sub(self.last);
        let is_near = gap < FOLLOWS || (gap < REJOIN && self.led.contains(&leading.rule.id));
        is_near && !self.is_another_than(brought_about)
    }

    /// It was mended before that was done which brings about what is there now, or by that; or was not seen any more.
    fn is_another_than(&self, brought_about: impl Fn() -> Option<u64>) -> bool {
        match &self.mended {
            Some(mended) => brought_about().is_some_and(|at| at >= mended.at),
            None => !self.lasts && brought_about().is_some_and(|at| at > self.last),
        }
    }

    fn go_on(
        &mut self,
        now: u64,
        leading: &Leading,
        faults: &[Fault],
        cause: impl FnOnce() -> Cause,
        starved: u64,
    ) {
        self.lasts = true;
        // It was broken until it was mended, also where nothing was sent any more that could be lost.
        let mended = leading.mended.as_ref().map_or(0, |mended| mended.at);
        self.last = self.last.max(leading.last.max(mended).min(now));
        self.mended.clone_from(&leading.mended);
        if self.mended.is_some() {
            self.before = None;
        }
        let mut is_another = false;
        if strength(leading.rule, leading.confidence) > strength(self.rule, self.confidence) {
            if leading.rule.id != self.rule.id {
                self.told = now;
                is_another = true;
            }
            (self.rule, self.confidence) = (leading.rule, leading.confidence);
        }
        if leading.rule.id == self.rule.id {
            let cause = cause();
            // Who did it, and on whose behalf, may be told later; what is known stays so, also where no more of it can be seen.
            if is_another || cause.relation == Relation::Explains || self.cause.relation != Relation::Explains
            {
                self.cause = cause;
            }
        }
        if !self.led.contains(&leading.rule.id) {
            self.led.push(leading.rule.id);
        }
        for fault in faults {
            self.stands(now, fault);
        }
        if leading.flows > self.flows {
            (self.flows, self.peak) = (leading.flows, now);
        }
        self.starved = self.starved.max(starved);
        for unit in &leading.units {
            if self.units.len() < UNITS {
                self.units.insert(unit.clone());
            }
        }
    }
}

impl Episode {
    /// This stands now.
    fn stands(&mut self, now: u64, fault: &Fault) {
        let mended = fault.mended.as_ref().map_or(0, |mended| mended.at);
        let last = fault.last.max(mended).min(now);
        match self
            .faults
            .iter_mut()
            .find(|known| known.rule.id == fault.rule.id)
        {
            Some(known) => {
                // Its first packets may be found out later; what has begun once more began before.
                if fault.since <= known.last {
                    known.since = fault.since.clamp(self.onset.min(now), now);
                }
                known.last = known.last.max(last);
                known.mended.clone_from(&fault.mended);
                known.is_root = fault.is_root;
            }
            None => self.faults.push(Fault {
                since: fault.since.clamp(self.onset.min(now), now),
                last,
                ..fault.clone()
            }),
        }
    }

    /// These go on in the next episode. Those of them that began only after this one was mended are of that one alone.
    fn hand_over(&mut self, faults: &[Fault]) {
        let Some(at) = self.mended.as_ref().map(|mended| mended.at) else {
            return;
        };
        let goes_on = |fault: &Fault| faults.iter().any(|other| other.rule.id == fault.rule.id);
        let root = self.rule.id;
        self.faults
            .retain(|fault| fault.rule.id == root || fault.since <= at || !goes_on(fault));
    }

    /// This took away what led by that rule.
    fn took_away(&mut self, now: u64, rule: &Rule, mended: &Mended) {
        let at = mended.at.min(now);
        if let Some(fault) = self.faults.iter_mut().find(|fault| fault.rule.id == rule.id) {
            fault.last = fault.last.max(at);
            fault.mended = Some(mended.clone());
        }
        self.last = self.last.max(at);
    }

    /// When the last of its faults was over.
    pub(super) fn end(&self) -> u64 {
        let ends = self.faults.iter().map(Fault::end);
        ends.max().unwrap_or(self.last).max(self.onset)
    }

    /// What took its root away: where that was not seen, what took away what follows from it.
    pub(super) fn mended(&self) -> Option<&Mended> {
        let root = self.faults.iter().find(|fault| fault.rule.id == self.rule.id);
        let followers = || {
            let mut all = self.faults.iter().rev();
            all.find(|fault| fault.rule.follows.contains(&self.rule.id) && fault.mended.is_some())
        };
        let of = root.filter(|root| root.mended.is_some()).or_else(followers)?;
        of.mended.as_ref()
    }

    /// What had a cause of its own: it was mended by something else than the root, or hung under no other fault and does not follow from
    /// the root, which may be seen later, or was seen when that had long been mended.
    pub(super) fn beside(&self) -> impl Iterator<Item = &Fault> {
        let mended = self.mended();
        let is_own = |fault: &Fault| fault.is_root && !fault.rule.follows.contains(&self.rule.id);
        let is_beside = move |fault: &&Fault| match (&fault.mended, mended) {
            (Some(own), of_root) => of_root.is_none_or(|root| root.change != own.change),
            (None, Some(root)) => is_own(fault) || fault.last > root.at.saturating_add(SEEN_LATE),
            (None, None) => is_own(fault),
        };
        let others = self.faults.iter().filter(|fault| fault.rule.id != self.rule.id);
        others.filter(is_beside)
    }
}

/// The surer verdict is the stronger one; of two that are as sure, the one that comes first in the order of the rules.
fn strength(rule: &Rule, confidence: Confidence) -> (Confidence, Reverse<usize>) {
    let place = RULES.iter().position(|one| one.id == rule.id);
    (confidence, Reverse(place.unwrap_or(RULES.len())))
}

#[cfg(test)]
mod tests;
