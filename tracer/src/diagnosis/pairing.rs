//! What a finding is held against: the changes before it, and what stands that brings it about.
//!
//! *Explains* and *coincides* are different words. A change explains a finding where the kernel does such a thing after such a
//! change ([`super::effects`]) and it had not been undone; all else that changed in the minute before coincides with it.

use std::cell::LazyCell;
use std::collections::{BTreeSet, HashMap, HashSet};

use foldhash::fast::RandomState;

use super::change::{sentence, time};
use super::firewalls::Scene;
use super::undo::{self, Undo};
use super::words::{count, short};
use super::{Finding, Rule, chain, mending, path, redirects, routing, ways};
use crate::event::Thing;
use crate::event::ruleset::{self, Did};
use crate::event::value;
use crate::model::Model;
use crate::model::clock::{SECOND, When, seconds};
use crate::model::timeline::{Change, Subject, Told};
use crate::report::{self, Cause, Coincidence, Confidence, Relation};

/// What changed so long before a finding may belong to it: 60 s.
pub(super) const WINDOW: u64 = 60 * SECOND;
/// What nobody told, but was noticed by comparing, is noticed at most so long after it happened.
const COMPARED: u64 = 2 * SECOND;
/// What is told took effect before: rules of nf_tables drop packets some ms before the kernel tells of them, and on a node that is
/// busy, as while packages are upgraded, who listens comes to read it later.
pub(super) const TOLD: u64 = SECOND / 2;
/// What is sent goes another way so soon after that was changed, and what was on its way has come.
const AT_ONCE: u64 = 2 * SECOND;
/// What began so soon after the start was there before: what is lost is only seen when the next packet comes.
const AT_START: u64 = 2 * SECOND;
/// Coincidences, and changes that can do the same, that are told, at most.
const COINCIDENCES: usize = 5;

/// A finding's cause, and what coincides with it.
pub(super) struct Pairing {
    pub cause: Cause,
    /// The latest first.
    pub coincides: Vec<Coincidence>,
    /// How many there are.
    pub coincides_total: u64,
    /// What was done meanwhile, still stands and can do the same, the first of it first.
    pub also: Vec<report::Later>,
    /// How many there are.
    pub also_total: u64,
    /// What takes all of these back.
    pub undo: Undo,
}

/// Holds a finding against the changes. One that hangs under a root that changes explain has the cause of that: what else the same act
/// took away can bring it about as well, and has not. What is taken back is that of the root, which alone says what else can do the same.
pub(super) fn pair(
    model: &Model,
    (rule, finding): (&Rule, &Finding),
    root: Option<(&Rule, &Finding)>,
) -> Pairing {
    let of_root = root.map(|(root, began)| (root, began, began_by(model, root, began)));
    let of_root = of_root.filter(|(_, _, act)| !act.is_empty());
    let follows = of_root.is_some();
    let (of, began, act) = of_root.unwrap_or_else(|| (rule, finding, began_by(model, rule, finding)));
    let (coincides, coincides_total) = coincidences(model, finding, &act);
    let more = mending::meanwhile(model, of, began, &act);
    // It goes on by what came later.
    let is_back = !more.is_empty() && mending::are_back(model, &act);
    let it = if follows { of.id } else { IT };
    let cause = cause(model, (it, began), &act, is_back);
    let also = more
        .iter()
        .take(COINCIDENCES)
        .filter(|_| !follows)
        .map(|told| report::Later {
            change: told.number,
            at: model.utc(told.change.at),
            text: sentence(model, told.change),
        });
    let (also, also_total) = (also.collect(), if follows { 0 } else { more.len() as u64 });
    let is_known = !act.is_empty();
    let mut undo = undo::of(model, &[act, more].concat());
    undo.is_whole &= is_known;
    Pairing {
        cause,
        coincides,
        coincides_total,
        also,
        also_total,
        undo,
    }
}

/// A finding's cause alone, whatever became of it since.
pub(super) fn cause_of(model: &Model, rule: &Rule, finding: &Finding) -> Cause {
    cause(model, (IT, finding), &began_by(model, rule, finding), false)
}

/// What began it, the first of it first; empty where no change explains it.
fn began_by<'a>(model: &'a Model, rule: &Rule, finding: &Finding) -> Vec<Told<'a>> {
    let mut explaining = explaining(model, rule, rule.explains, finding);
    // What was seen to be done before comes before what was only noticed when it had begun.
    explaining.sort_by_key(|told| told.change.noticed && told.change.at > finding.since);
    // What nobody does without a cause comes before what may have many, where it is by that that the finding is proved.
    if finding.confidence < Confidence::Conclusive {
        explaining.sort_by_key(|told| !(rule.proved_by)(finding, told.change));
    }
    act(&explaining)
}

/// When the first of the changes was made that explain a finding, in boot time; `None` where none does.
pub(super) fn brought_about(model: &Model, rule: &Rule, finding: &Finding) -> Option<u64> {
    let explaining = explaining(model, rule, rule.explains, finding);
    began_at(&act(&explaining))
}

/// When the first of an act was made, in boot time.
pub(super) fn began_at(act: &[Told<'_>]) -> Option<u64> {
    act.iter().map(|told| told.change.at).min()
}

/// What is certain, or is so by a change that nobody makes without a cause, and the other finding are of two causes: something
/// explains each, and nothing of what began the one belongs to anything that explains the other, or was done within a second of it.
pub(super) fn is_apart(
    model: &Model,
    (rule, finding): (&Rule, &Finding),
    (other, of_other): (&Rule, &Finding),
) -> bool {
    let can = match finding.confidence {
        Confidence::Weak => return false,
        Confidence::Strong => rule.proved_by,
        Confidence::Conclusive => rule.explains,
    };
    let own = act(&explaining(model, rule, can, finding));
    let others = explaining(model, other, other.explains, of_other);
    let is_one = |told: &Told<'_>, other: &Told<'_>| {
        let is_near = told.change.at.abs_diff(other.change.at) <= SECOND;
        is_near || told.leader() == other.leader() || is_taken_down(told, other)
    };
    let is_of_other = |told: &Told<'_>| others.iter().any(|other| is_one(told, other));
    !own.is_empty() && !others.is_empty() && !own.iter().any(is_of_other)
}

/// Such a change brings about what was found.
pub(super) fn brings_about(model: &Model, rule: &Rule, finding: &Finding, change: &Change) -> bool {
    (rule.explains)(finding, change) && !ways::is_as_before(model, change)
}

/// It began before the start, or may have: what is lost is only seen when the next packet comes.
pub(super) fn is_from_before(model: &Model, finding: &Finding) -> bool {
    finding.since <= model.started().saturating_add(AT_START)
}

/// It is one of the rules of a firewall.
pub(super) fn is_ruleset(change: &Change) -> bool {
    matches!(change.subject, Subject::Setting(_, Thing::Ruleset { .. }))
}

/// The change of a firewall's rules with only the rules and policies that are new.
pub(super) fn only_new_rules(change: &Change) -> Option<Change> {
    let value = change.after.as_deref().filter(|_| is_ruleset(change))?;
    let after = ruleset::only(value, |did| did.is_some_and(Did::is_new_rule))?;
    Some(Change {
        after: Some(after),
        ..change.clone()
    })
}

/// There is the second sign that makes a weak one strong: what stands, or a change in the minute before that nobody makes
/// without a cause.
pub(super) fn is_proved(model: &Model, rule: &Rule, finding: &Finding) -> bool {
    let first = finding.since.saturating_sub(WINDOW);
    finding.standing.is_some()
        || explaining(model, rule, rule.proved_by, finding)
            .first()
            .is_some_and(|told| told.change.at >= first)
}

/// The changes up to the beginning of a finding, the latest first. What is noticed by comparing came about before.
fn before(model: &Model, since: u64) -> impl Iterator<Item = Told<'_>> {
    model.timeline().folded().rev().filter(move |told| {
        let slack = if told.change.noticed { COMPARED } else { TOLD };
        told.change.at <= since.saturating_add(slack)
    })
}

/// The changes that can do it and were not undone before it began, the latest first.
pub(super) fn explaining<'a>(
    model: &'a Model,
    rule: &Rule,
    can: fn(&Finding, &Change) -> bool,
    finding: &Finding,
) -> Vec<Told<'a>> {
    // A rule that led packets to a service, and did not come again, is missing for as long as it takes too.
    let window = if rule.id == redirects::LOST.id {
        u64::MAX
    } else {
        WINDOW
    };
    let first = finding.since.saturating_sub(window);
    // What came later, and of that what nothing was held against yet: few changes can do it, mostly.
    // What the peers answered after it did not silence them.
    let answered = LazyCell::new(|| path::answered(model, rule, finding));
    let scene = Scene::of(model, rule, finding);
    // Of what the reverse path filter refuses the way back counts.
    let is_of_peers = path::asks(rule) || rule.id == routing::REVERSE_PATH.id;
    let can = |change: &Change| {
        let is_older = || *answered > When::at(change.at.saturating_add(AT_ONCE));
        let is_beside = || is_of_peers && ways::is_passed_by(model, finding, change);
        let part = scene.part(change);
        part.is_some_and(|part| can(finding, &part))
            && !is_older()
            && !ways::is_as_before(model, change)
            && !is_beside()
    };
    // What tables of iptables were later.
    let mut tables: HashMap<&Subject, Vec<Option<&str>>, RandomState> = HashMap::default();
    let mut is_undone = |change: &'a Change| {
        let Subject::Setting(_, Thing::Ruleset { firewall }) = &change.subject else {
            return false;
        };
        if firewall == value::NF_TABLES {
            return false;
        }
        let (was, is) = (change.before.as_deref(), change.after.as_deref());
        let later = tables.entry(&change.subject).or_default();
        let is_undone = later.iter().any(|now| ruleset::is_undone(was, is, *now));
        later.push(is);
        is_undone
    };
    let mut later: HashSet<&Subject, RandomState> = HashSet::default();
    let mut passed: Vec<&Subject> = Vec::new();
    before(model, finding.since)
        .filter(|Told { change, .. }| {
            // A route or an address that is missing is missing for as long as it takes, but for what was changed once more.
            // That the rules of a firewall were changed says something only while it is fresh.
            if !lasts(change) {
                return change.at >= first && !is_undone(change) && can(change);
            }
            // Each thing is held against it once, however often it changed.
            if later.contains(&change.subject) {
                return false;
            }
            if can(change) {
                later.extend(passed.drain(..));
                // What came long ago has done no harm for long.
                return later.insert(&change.subject) && (change.before.is_some() || change.at >= first);
            }
            // What came just after it began may be told late; else it is what took the cause back.
            if change.at <= finding.since {
                passed.push(&change.subject);
            }
            false
        })
        .collect()
}

/// What changed there stays so until it is changed once more.
fn lasts(change: &Change) -> bool {
    match &change.subject {
        Subject::Setting(_, thing) => matches!(
            thing,
            Thing::Rule { .. } | Thing::Route { .. } | Thing::Address { .. } | Thing::Sysctl { .. }
        ),
        _ => false,
    }
}

/// A device was set down, by a hand that the kernel does not tell, and its address was taken away.
fn is_taken_down(one: &Told<'_>, other: &Told<'_>) -> bool {
    let device = |told: &Told<'_>| match &told.change.subject {
        Subject::Setting(netns, Thing::Link { device }) if told.change.by.is_none() => {
            Some((*netns, device.clone(), true))
        }
        Subject::Setting(netns, Thing::Address { device, .. }) => Some((*netns, device.clone(), false)),
        _ => None,
    };
    match (device(one), device(other)) {
        (Some((of, this, is_link)), Some((in_netns, that, is_other))) => {
            (of, this) == (in_netns, that) && is_link != is_other
        }
        _ => false,
    }
}

/// The first of these, and those that belong to it: by the same hand, within a second before. What brought the others about comes first.
pub(super) fn act<'a>(explaining: &[Told<'a>]) -> Vec<Told<'a>> {
    let Some(latest) = explaining.first() else {
        return Vec::new();
    };
    let hand = |told: &Told<'a>| {
        let by = told.change.by.as_ref();
        by.map(|by| (by.command.as_str(), by.unit.as_str()))
    };
    let mut act: Vec<Told<'_>> = explaining
        .iter()
        .filter(|told| {
            let near = latest.change.at.abs_diff(told.change.at) <= SECOND;
            // Nobody tells who sets kernel parameters: they are set together, as from one file.
            let is_known = hand(told).is_some()
                || matches!(told.change.subject, Subject::Setting(_, Thing::Sysctl { .. }));
            let is_one_hand = || is_known && hand(told) == hand(latest);
            told.leader() == latest.leader() || (near && (is_one_hand() || is_taken_down(told, latest)))
        })
        .copied()
        .collect();
    // What was noticed when it had taken other things along began it all the same.
    let led_unseen = |told: &Told<'_>| told.change.noticed && told.leader() == told.number;
    let is_first = |told: &Told<'_>| led_unseen(told) && told.leader() == latest.leader();
    act.sort_by_key(|told| (!is_first(told), told.change.at, told.number));
    act
}

/// A finding, in the sentence that is said of it.
const IT: &str = "it";

/// `is_back`: all of the act was taken back since.
fn cause(model: &Model, (it, finding): (&str, &Finding), act: &[Told<'_>], is_back: bool) -> Cause {
    // The first of them began it.
    if let Some((Told { number, change, .. }, others)) = act.split_first() {
        let before = finding.since.saturating_sub(change.at);
        let when = match change.at.checked_sub(finding.since) {
            // One that was noticed says so itself.
            Some(after) if after > 0 && change.noticed => format!("{} after {it} began", short(after)),
            Some(after) if after > 0 => format!("told {} after {it} began", short(after)),
            // What is missing is so from the change on.
            Some(_) => format!("when {it} began"),
            _ => format!("{} before {it} began", short(before)),
        };
        let with_it = match others.len() as u64 {
            0 => String::new(),
            others => format!(", with {} that can do the same", count(others, "other change")),
        };
        // Of systemd nobody expects it: see the timeline.
        let unknown = match (change.by_unknown, &change.subject) {
            (Some(why), Subject::Setting(..) | Subject::Packages(_)) => {
                format!("; {}", why.told())
            }
            _ => String::new(),
        };
        let back = if is_back { "; it was taken back since" } else { "" };
        return Cause {
            relation: Relation::Explains,
            text: format!(
                "{} {}, {when}{with_it}{unknown}{back}.",
                sentence(model, change),
                time(model, change)
            ),
            change: Some(*number),
            at: Some(model.utc(change.at)),
            seconds_before: Some(seconds(before)),
            by: change.by.as_ref().map(super::report::actor),
            chain: chain::of(model, change),
        };
    }
    let without = |relation, text| Cause {
        relation,
        text,
        change: None,
        at: None,
        seconds_before: None,
        by: None,
        chain: Vec::new(),
    };
    let since_start = finding.since.saturating_sub(model.started());
    match &finding.standing {
        Some(standing) => without(
            Relation::PredatesStart,
            format!("{standing} It was so when tracer started: the cause predates the start."),
        ),
        None if finding.since < model.started() => without(
            Relation::PredatesStart,
            "It began before tracer was started, and so did its cause.".to_owned(),
        ),
        None if since_start <= AT_START => without(
            Relation::PredatesStart,
            "It began within 2 s of the start of tracer: it may have been so before.".to_owned(),
        ),
        None => without(
            Relation::Unknown,
            "No change that was seen on this node can bring it about.".to_owned(),
        ),
    }
}

fn coincidences(model: &Model, finding: &Finding, act: &[Told<'_>]) -> (Vec<Coincidence>, u64) {
    let first = finding.since.saturating_sub(WINDOW);
    let known: BTreeSet<u64> = before(model, finding.since).map(|told| told.number).collect();
    let all: Vec<Told<'_>> = before(model, finding.since)
        .take_while(|told| told.change.at >= first)
        .filter(|told| {
            // A job is told by what becomes of its unit, and the kernel's answers follow from what stands.
            let says_something = !matches!(
                told.change.subject,
                Subject::Starvation(_) | Subject::Job(_) | Subject::Setting(_, Thing::Answer { .. })
            );
            // What follows another change is part of that one. What that is may have come later, as what a start ended in.
            let is_part = told.follows.is_some_and(|leader| known.contains(&leader))
                || act.iter().any(|one| one.leader() == told.leader());
            says_something && !is_part
        })
        .collect();
    let total = all.len() as u64;
    let told = all
        .into_iter()
        .take(COINCIDENCES)
        .map(|Told { number, change, .. }| Coincidence {
            change: number,
            seconds_before: seconds(finding.since.saturating_sub(change.at)),
            text: format!("{} {}", sentence(model, change), time(model, change)),
        })
        .collect();
    (told, total)
}
