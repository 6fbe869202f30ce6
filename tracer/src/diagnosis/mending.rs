//! What became of a fault since it began: what was done meanwhile that brings it about as well, and what took it away.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

use super::change::sentence;
use super::firewalls::Scene;
use super::pairing::{self, TOLD, act, explaining, is_ruleset};
use super::undo::{Later, TakenBack};
use super::{Finding, Rule, effects};
use crate::event::Thing;
use crate::model::Model;
use crate::model::clock::SECOND;
use crate::model::plight::COUNTED;
use crate::model::timeline::{Change, Subject, Told};

/// Changes while a fault lasts that bring it about as well, the latest, at most.
const MORE: usize = 64;

/// What was done while a finding lasted, still stands, and brings it about as well: the first of them first. `act` is what began
/// it.
pub(super) fn meanwhile<'a>(
    model: &'a Model,
    rule: &Rule,
    finding: &Finding,
    act: &[Told<'a>],
) -> Vec<Told<'a>> {
    let scene = Scene::of(model, rule, finding);
    let mut more = since_then(model, finding, act, |change| {
        breaks(rule, finding, &scene, change)
    });
    let from = more.iter().map(|told| told.change.at).min();
    let later = Later::of(model, from.unwrap_or(finding.since));
    more.retain(|told| told.follows.is_none() && !later.is_back(told.change));
    more.reverse();
    more
}

/// All of these were taken back.
pub(super) fn are_back(model: &Model, act: &[Told<'_>]) -> bool {
    let later = Later::of(model, pairing::began_at(act).unwrap_or_default());
    !act.is_empty() && act.iter().all(|told| later.is_back(told.change))
}

/// Such a change, made before the last of it was seen, brings about what was found.
fn breaks(rule: &Rule, finding: &Finding, scene: &Scene<'_>, change: &Change) -> bool {
    let explains = || {
        let part = scene.part(change);
        part.is_some_and(|part| (rule.explains)(finding, &part))
    };
    change.at <= finding.last.saturating_add(TOLD) && explains()
}

/// Changes of other things than those of `act` that were made since a finding began, break it too, and were followed by more of
/// it: the latest first. What was lost for long after a change was not mended by it.
fn since_then<'a>(
    model: &'a Model,
    finding: &Finding,
    act: &[Told<'a>],
    breaks: impl Fn(&Change) -> bool,
) -> Vec<Told<'a>> {
    let known: HashSet<u64, RandomState> = act.iter().map(|told| told.leader()).collect();
    let things: HashSet<&Subject, RandomState> = act.iter().map(|told| &told.change.subject).collect();
    let all = model.timeline().folded().rev();
    let is_more = |told: &Told<'_>| {
        // The rules of a firewall are many things.
        (is_ruleset(told.change) || !things.contains(&told.change.subject))
            && finding.last > told.change.at.saturating_add(COUNTED)
            && !known.contains(&told.leader())
            && breaks(told.change)
    };
    all.take_while(|told| told.change.at > finding.since)
        .filter(is_more)
        .take(MORE)
        .collect()
}

/// What took a fault away.
#[derive(Clone)]
pub(crate) struct Mended {
    /// The number of the change that did.
    pub(super) change: u64,
    /// When, in boot time.
    pub(super) at: u64,
    /// What changed and by whom.
    pub(super) text: String,
}

/// What is counted at one look happened since the look before; and what waits for a neighbour in vain is dropped only after it was
/// asked for three times in 3 s (`neigh_timer_handler`, net/core/neighbour.c).
pub(super) const SEEN_LATE: u64 = 4 * SECOND;
/// What ended a unit, or took a fault away, may be told so much later than it is seen: systemd tells of its units by the way of D-Bus, and
/// late while it loads them anew.
pub(super) const TOLD_LATE: u64 = SECOND * 5 / 2;
/// Where nothing more of a fault is seen for so long after all that explained it was taken back, it is over.
const OVER: u64 = 2 * SECOND;

impl Mended {
    /// Nothing was seen of the finding after it was mended.
    pub(super) fn ends(&self, finding: &Finding) -> bool {
        finding.last <= self.at.saturating_add(SEEN_LATE)
    }

    /// The fault is over.
    pub(super) fn is_over(&self, finding: &Finding, now: u64) -> bool {
        now >= self.at.max(finding.last).saturating_add(OVER)
    }
}

/// The change after which nothing more was seen of a finding, where it took back what explains that, or would explain it the
/// other way round. `None` unless all that explained it is as it was before; of what was so at the start: unless nothing stands any
/// more that brings it about.
///
/// `is_gone` says that the finding is not there any more. Only then a unit that runs again is what took it away: as long as
/// it is there, the unit does not do yet what it did.
pub(super) fn mended(model: &Model, rule: &Rule, finding: &Finding, is_gone: bool) -> Option<Mended> {
    let since = || {
        model.timeline().all().filter(|(_, change)| {
            change.at > finding.since && change.at.saturating_add(SEEN_LATE) >= finding.last
        })
    };
    // Mostly nothing changed since.
    since().next()?;
    let explaining = explaining(model, rule, rule.explains, finding);
    let mut act = act(&explaining);
    // What was done meanwhile came after the finding began, and maybe before what is told to have begun it.
    let from = pairing::began_at(&act).map_or(finding.since, |at| at.min(finding.since));
    let later = Later::of(model, from);
    let is_back = |told: &Told<'_>| match &told.change.subject {
        Subject::Unit(name) => {
            let state = model.units().state(name);
            is_gone && state.is_some_and(|state| effects::is_started(&state.active))
        }
        _ => later.is_back(told.change),
    };
    // Mostly what began it stands, whatever came later.
    if !act.iter().all(is_back) {
        return None;
    }
    // It may have been broken once more before the last packet was lost.
    let scene = Scene::of(model, rule, finding);
    let breaks = |change: &Change| breaks(rule, finding, &scene, change);
    // What was done meanwhile brings it about whatever becomes of the first ones.
    let more = since_then(model, finding, &act, breaks);
    if !more.iter().all(is_back) {
        return None;
    }
    let is_one = more.is_empty();
    act.extend(more.into_iter().rev());
    if act.is_empty() && (!pairing::is_from_before(model, finding) || finding.standing.is_some()) {
        return None;
    }
    // Of each, by what it is taken back.
    let mut taken: HashMap<&Subject, Vec<TakenBack>, RandomState> = HashMap::default();
    for told in &act {
        let of = taken.entry(&told.change.subject).or_default();
        of.push(later.taken_back(told.change));
    }
    let is_taken = |change: &Change| {
        let mut of = taken.get(&change.subject).into_iter().flatten();
        match &change.subject {
            Subject::Unit(_) => {
                of.next().is_some() && change.after.as_deref().is_some_and(effects::is_started)
            }
            // It may have happened once more.
            _ => of.any(|taken| taken.by(change)),
        }
    };
    let is_reverse = |change: &Change| match &change.subject {
        // What can bring it about has not taken it away.
        Subject::Setting(_, Thing::Rule { .. } | Thing::Route { .. } | Thing::Address { .. }) => {
            let the_other_way_round = Change {
                before: change.after.clone(),
                after: change.before.clone(),
                ..change.clone()
            };
            !(rule.explains)(finding, change) && (rule.explains)(finding, &the_other_way_round)
        }
        _ => false,
    };
    // When each thing was so last: very many changes may be of one thing.
    let mut broken: HashMap<&Subject, u64, RandomState> = HashMap::default();
    for (_, change) in since().rev() {
        if !broken.contains_key(&change.subject) && breaks(change) {
            broken.insert(&change.subject, change.at);
        }
    }
    let stays = |change: &Change| broken.get(&change.subject).is_none_or(|at| *at <= change.at);
    let takes = |(_, change): &(u64, &Change)| stays(change) && (is_taken(change) || is_reverse(change));
    let (number, change) = if is_one {
        since().find(takes)
    } else {
        since().rfind(takes)
    }?;
    Some(Mended {
        change: number,
        at: change.at,
        text: sentence(model, change),
    })
}
