//! What is left of faults that were mended: it comes to light late, and is no fault of its own.
//!
//! Where nothing of a flow left for a while, and all of it does again, a part of it was lost; and who was asked in vain is found to
//! have been silent. That was lost before the mend, and has been told.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::mending::{self, Mended, SEEN_LATE, TOLD_LATE};
use super::pairing::{self, TOLD};
use super::roots::{Found, counts};
use super::tolls::OVER;
use super::{Finding, Rule, report};
use crate::model::Model;
use crate::model::clock::{MEMORY, SECOND};
use crate::model::invariants::{Invariant, State};
use crate::model::timeline::Change;
use crate::report::Confidence;

/// What was hidden by a fault is known so long after it was mended and nothing more of it is seen: 5 s. The slowest rules take 2 s to be
/// sure (D01), and are not asked as long as what is seen may be left of it.
const SETTLES: u64 = 5 * SECOND;
/// That what a fault took along is missed is known so long after it was mended: what is lost for want of it is told from what is left of
/// that only then, and the next packet may be the one that shows it.
const COMES_TO_LIGHT: u64 = SEEN_LATE + SETTLES;

/// What is lost in part of what comes seldom is known to be after so long: 10 s.
const PART_SHOWS: u64 = 10 * SECOND;

/// A fault that decided where the fault was, and hung under no other one.
struct Known {
    rule: &'static Rule,
    finding: Finding,
    /// The same, wherever it is.
    anywhere: OnceLock<Finding>,
    /// When it was found last.
    at: u64,
    /// When it was mended, as far as is known.
    mended: Option<u64>,
    /// It was brought about once more, and that was not found yet: what is done meanwhile is not held against it.
    is_again: bool,
}

impl Known {
    /// The change brings a fault about of that kind, which may be elsewhere than this one: in another namespace, at another device, by
    /// another rule of a firewall.
    fn is_brought_about(&self, model: &Model, change: &Change) -> bool {
        let anywhere = self.anywhere.get_or_init(|| self.finding.anywhere());
        pairing::brings_about(model, self.rule, anywhere, change)
    }
}

/// A verdict that stands at a tick.
#[derive(Clone, Copy)]
pub(super) struct Stood {
    pub(super) rule: &'static Rule,
    pub(super) confidence: Confidence,
    /// When it began.
    pub(super) since: u64,
    /// It hangs under no other one.
    pub(super) is_root: bool,
    /// When it was mended.
    pub(super) mended: Option<u64>,
    /// When it was seen last.
    pub(super) last: u64,
}

impl Stood {
    fn decides(&self) -> bool {
        self.rule.place.is_some() && counts(self.confidence)
    }

    /// It was mended, and nothing of it was seen after this time.
    fn until(&self) -> Option<u64> {
        self.mended.map(|mended| mended.max(self.last))
    }
}

/// What led, and what was mended, until the last tick.
#[derive(Default)]
pub(super) struct Aftermath {
    /// Those that were found a short time ago, one of a rule.
    known: Vec<Known>,
    /// The rule of the one that led last.
    led: Option<&'static str>,
    /// What stood at the last tick.
    stood: Vec<Stood>,
    /// By rule, when what it had found was mended last, where it is over.
    by_rule: BTreeMap<&'static str, u64>,
    /// When something was mended last.
    last: Option<u64>,
    /// When what decided where a fault was, and was mended, was seen last.
    decided: Option<u64>,
    /// When that was mended which led last, as long as nothing else does, and what is lost may be taken for a part of it.
    now: Option<u64>,
    /// When a fault was last brought about once more.
    again: Option<u64>,
}

impl Aftermath {
    /// That which led last.
    fn led(&self) -> Option<&Known> {
        let led = self.led?;
        self.known.iter().find(|known| known.rule.id == led)
    }

    /// What took away those that are found no more, that which led first. Some rules find nothing any more as soon as that is done, as
    /// where a route is back.
    pub(super) fn took_away(&self, model: &Model, found: &[Found]) -> Vec<Gone> {
        // What is left of it may still be a weak sign.
        let is_found = |known: &Known| {
            let mut same = found.iter().filter(|(rule, _)| rule.id == known.rule.id);
            same.any(|(_, finding)| finding.confidence != Confidence::Weak)
        };
        let gone = |known: &&Known| !is_late(known.at, model.now()) && !is_found(known);
        let all = self.known.iter().filter(gone).filter_map(|known| {
            let mended = report::mended(model, known.rule, &known.finding, true)?;
            Some(Gone {
                rule: known.rule,
                has_led: self.led == Some(known.rule.id),
                is_over: mended.is_over(&known.finding, model.now()),
                until: mended.at.max(known.finding.last),
                mended,
            })
        });
        let mut all: Vec<Gone> = all.collect();
        all.sort_by_key(|gone| !gone.has_led);
        all
    }

    /// How sure what this rule finds has been, if it was found until the last tick: what was seen once of a fault was seen.
    pub(super) fn confidence(&self, rule: &str) -> Confidence {
        let stood = self.stood.iter().find(|one| one.rule.id == rule);
        stood.map_or(Confidence::Weak, |one| one.confidence)
    }

    /// When that began of which this is found, where it was found until the last tick, and began later by what is seen of it now: it is the
    /// same as long as what brought it about was done before it was told to have begun.
    pub(super) fn began(&self, model: &Model, rule: &Rule, finding: &Finding) -> Option<u64> {
        let stood = self.stood.iter().find(|one| one.rule.id == rule.id)?;
        let is_same = || pairing::brought_about(model, rule, finding).is_some_and(|by| by <= stood.since);
        (stood.since < finding.since && is_same()).then_some(stood.since)
    }

    /// The finding is what is left of a fault that was mended, just now or before, and nobody has brought it about since. Of the
    /// same kind nothing is told anew that was seen so late; of another one, nothing that had begun before the mend, but for what
    /// stood beside it, and for what is seen since and has a cause of its own: what was mended hid it.
    pub(super) fn is_late(&self, model: &Model, rule: &Rule, finding: &Finding, now: Option<u64>) -> bool {
        let is_left = |at: u64| {
            finding.last <= at.saturating_add(SEEN_LATE)
                && pairing::brought_about(model, rule, finding)
                    .is_none_or(|by| by <= at && self.again != Some(by))
        };
        let same = self.by_rule.get(rule.id);
        let is_same_anew = same.is_some_and(|at| finding.since > *at && is_left(*at));
        let stood = || self.stood.iter().any(|one| one.is_root && one.rule.id == rule.id);
        let is_other = || rule.place.is_some() && !stood();
        let had_begun = |at: u64| finding.since <= at.saturating_add(TOLD);
        let was_hidden = |at: u64| {
            // What led last, where it is that which was mended then.
            let is_it = finding.since > at && now.or(self.now) == Some(at);
            let led = self.led().filter(|_| is_it);
            led.is_some_and(|led| pairing::is_apart(model, (rule, finding), (led.rule, &led.finding)))
        };
        let is_left_of_another = |at: u64| had_begun(at) && is_left(at) && !was_hidden(at);
        is_same_anew || (is_other() && now.max(self.last).is_some_and(is_left_of_another))
    }

    /// What stands at a tick, which of that decides and hangs under nothing, the one that leads first, and what was mended. What led, or
    /// does, was mended then.
    pub(super) fn found(
        &mut self,
        at: u64,
        stood: Vec<Stood>,
        roots: Vec<(&'static Rule, Finding)>,
        gone: &[Gone],
        mended: Option<u64>,
    ) {
        let beside = stood.iter().filter_map(|one| one.mended).max();
        let decided = stood.iter().filter(|one| one.decides());
        let decided = decided.filter_map(Stood::until).max();
        let gone_by = gone.iter().map(|gone| gone.until).max();
        self.decided = self.decided.max(gone_by).max(decided);
        self.last = self.last.max(mended).max(beside);
        let leads = roots.first().map(|(rule, _)| rule.id);
        let kept = self.now.filter(|_| leads.is_none());
        self.now = mended
            .or(kept)
            .filter(|mended| at.saturating_sub(*mended) <= MEMORY);
        self.led = leads.or(self.led);
        self.known.retain(|known| at.saturating_sub(known.at) <= OVER);
        for known in &mut self.known {
            let of = gone.iter().find(|gone| gone.rule.id == known.rule.id);
            known.mended = of.map(|gone| gone.mended.at).or(known.mended);
        }
        for (rule, finding) in roots {
            self.known.retain(|known| known.rule.id != rule.id);
            let mended = stood.iter().find(|one| one.rule.id == rule.id);
            self.known.push(Known {
                rule,
                finding,
                anywhere: OnceLock::new(),
                at,
                mended: mended.and_then(|one| one.mended),
                is_again: false,
            });
        }
        self.stood = stood;
    }

    /// A fault was mended so short a time ago that what it hid may not be known yet, and something shows that it may have, `just`
    /// being one that is not kept here so far.
    pub(super) fn is_settling(&self, model: &Model, just: Option<u64>) -> bool {
        if self.stands_still(model) {
            return true;
        }
        let Some(at) = self.decided.max(just) else {
            return false;
        };
        let gone = model.now().saturating_sub(at);
        (gone < SETTLES && model.starved() > 0) || (gone < COMES_TO_LIGHT && self.lacks_way(model, at))
    }

    /// What was found until just now is not found any more, and the rules of a firewall that brought it about are as they were: those that
    /// drop a part let the next packets pass, and then drop others.
    fn stands_still(&self, model: &Model) -> bool {
        let is_fresh = |known: &&Known| {
            known.mended.is_none() && model.now().saturating_sub(known.finding.last) < PART_SHOWS
        };
        self.known.iter().filter(is_fresh).any(|known| {
            let explaining = pairing::explaining(model, known.rule, known.rule.explains, &known.finding);
            let act = pairing::act(&explaining);
            act.iter().any(|told| pairing::is_ruleset(told.change)) && !mending::are_back(model, &act)
        })
    }

    /// A default route of this node was lost with what was mended by then, and is not back: a device that is set down takes its routes
    /// along, and they do not come by themselves as it is set up (`fib_sync_down_dev`, net/ipv4/fib_semantics.c).
    fn lacks_way(&self, model: &Model, at: u64) -> bool {
        let began = self.known.iter().map(|known| known.finding.since).min();
        let Some(began) = began.map(|began| began.saturating_sub(SECOND)) else {
            return false;
        };
        let own = model.node().own();
        model
            .settings()
            .invariants()
            .iter(model.now())
            .any(|(netns, invariant, standing)| {
                matches!(invariant, Invariant::DefaultRoute(_))
                    && standing.state != State::Holds
                    && standing.since.is_some_and(|since| (began..=at).contains(&since))
                    && own.contains(&netns)
            })
    }

    /// It was broken once more.
    pub(super) fn begin_anew(&mut self, at: u64) {
        self.now = None;
        self.again = Some(at);
        for known in &mut self.known {
            known.is_again = true;
        }
    }

    /// The change brings a fault about of a kind that was found a short time ago and stands no more. What is lost from then on is of
    /// another fault, however soon it comes. Where another one stands still it is not to be told apart.
    pub(super) fn breaks_again(&self, model: &Model, change: &Change) -> Option<Again> {
        // It was mended before, or is not found any more, and nothing starves.
        let is_past = |known: &Known| match known.mended {
            Some(mended) => change.at > mended,
            None => model.starved() == 0 && !self.stood.iter().any(|one| one.rule.id == known.rule.id),
        };
        let mut past = self
            .known
            .iter()
            .filter(|known| !known.is_again && is_past(known));
        let again = past.find(|known| known.is_brought_about(model, change))?;
        let is_mended = |known: &Known| {
            let mended = || report::mended(model, known.rule, &known.finding, true);
            is_past(known) || mended().is_some_and(|mended| mended.at <= change.at)
        };
        self.known.iter().all(is_mended).then(|| Again {
            at: change.at,
            mended: again.mended.map(|mended| (again.rule.id, mended)),
        })
    }

    /// The same, of the change that mended what led: it brings about another one in its place.
    pub(super) fn replaces(&self, model: &Model, change: &Change) -> Option<Again> {
        let led = self.led().filter(|_| self.now == Some(change.at))?;
        let new = pairing::only_new_rules(change)?;
        led.is_brought_about(model, &new).then_some(Again {
            at: change.at,
            mended: Some((led.rule.id, change.at)),
        })
    }

    /// What these rules had found is over, as it was mended then.
    pub(super) fn conclude(&mut self, mended: impl Iterator<Item = (&'static str, u64)>) {
        for (rule, at) in mended {
            self.by_rule.insert(rule, at);
            // What comes after it is to be proved anew.
            self.stood.retain(|one| one.rule.id != rule);
        }
    }
}

/// A fault was brought about once more.
pub(super) struct Again {
    /// When, in boot time.
    pub(super) at: u64,
    /// The rule of the one before, and when that was mended, if it was.
    pub(super) mended: Option<(&'static str, u64)>,
}

/// What took away that which led last at `at` would have been told by now.
fn is_late(at: u64, now: u64) -> bool {
    now.saturating_sub(at) > TOLD_LATE
}

/// What is found no more.
pub(super) struct Gone {
    pub(super) rule: &'static Rule,
    /// It led last.
    pub(super) has_led: bool,
    pub(super) mended: Mended,
    /// Nothing more of it was seen for long enough.
    pub(super) is_over: bool,
    /// Nothing of it was seen after this time.
    pub(super) until: u64,
}
