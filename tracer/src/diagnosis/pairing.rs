//! What a finding is held against: the changes before it, and what stands that brings it about.
//!
//! *Explains* and *coincides* are different words. A change explains a finding where the kernel does such a thing after such a
//! change ([`super::effects`]) and it had not been undone; all else that changed in the minute before coincides with it.

use std::cell::LazyCell;
use std::collections::{BTreeSet, HashMap, HashSet};

use foldhash::fast::RandomState;

use super::firewalls::Scene;
use super::undo::{self, Later, TakenBack, Undo};
use super::words::{count, moment, owner, short};
use super::{Finding, Rule, chain, effects, path, redirects, report, routing, ways};
use crate::event::ruleset::{self, Did};
use crate::event::value;
use crate::event::{Thing, only, started_anew};
use crate::model::Model;
use crate::model::clock::{SECOND, When, seconds};
use crate::model::plight::COUNTED;
use crate::model::timeline::{Change, Subject, Told};
use crate::report::{Cause, Coincidence, Confidence, Relation};

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
/// Changes of a firewall's rules while a fault lasts that may be a part of it, the latest, at most.
const MORE: usize = 64;
/// Coincidences that are told, at most.
const COINCIDENCES: usize = 5;

/// A finding's cause, and what coincides with it.
pub(super) struct Pairing {
    pub cause: Cause,
    /// The latest first.
    pub coincides: Vec<Coincidence>,
    /// How many there are.
    pub coincides_total: u64,
    /// What takes the cause back.
    pub undo: Undo,
}

/// Holds a finding against the changes.
pub(super) fn pair(model: &Model, rule: &Rule, finding: &Finding) -> Pairing {
    let mut explaining = explaining(model, rule, rule.explains, finding);
    // What nobody does without a cause comes before what may have many, where it is by that that the finding is proved.
    if finding.confidence < Confidence::Conclusive {
        explaining.sort_by_key(|told| !(rule.proved_by)(finding, told.change));
    }
    let act = act(&explaining);
    let (coincides, coincides_total) = coincidences(model, finding, &act);
    Pairing {
        cause: cause(model, finding, &act),
        coincides,
        coincides_total,
        undo: undo::of(model, &act),
    }
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
    /// All that explained the fault is as it was before.
    pub(super) is_whole: bool,
}

/// What is counted at one look happened since the look before; and what waits for a neighbour in vain is dropped only after it was
/// asked for three times in 3 s (`neigh_timer_handler`, net/core/neighbour.c).
pub(super) const SEEN_LATE: u64 = 4 * SECOND;
/// Where nothing more of a fault is seen for so long after all that explained it was taken back, it is over.
const OVER: u64 = 2 * SECOND;

impl Mended {
    /// Nothing was seen of the finding after it was mended.
    pub(super) fn ends(&self, finding: &Finding) -> bool {
        finding.last <= self.at.saturating_add(SEEN_LATE)
    }

    /// The fault is over.
    pub(super) fn is_over(&self, finding: &Finding, now: u64) -> bool {
        self.is_whole && now >= self.at.max(finding.last).saturating_add(OVER)
    }
}

/// The change after which nothing more was seen of a finding, where it took back what explains that, or would explain it the
/// other way round.
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
    // It may have been broken once more before the last packet was lost.
    let scene = Scene::of(model, rule, finding);
    let breaks = |change: &Change| {
        let explains = || {
            scene
                .part(change)
                .is_some_and(|part| (rule.explains)(finding, &part))
        };
        change.at <= finding.last.saturating_add(TOLD) && explains()
    };
    let explaining = explaining(model, rule, rule.explains, finding);
    let mut act = act(&explaining);
    // Rules of firewalls that came meanwhile drop it as well, whatever becomes of the first ones, and so does what was done in another
    // namespace. What was lost for long after a change was not mended by it.
    let known: HashSet<u64, RandomState> = act.iter().map(|told| told.number).collect();
    let later_on = || {
        let all = model.timeline().folded().rev();
        all.take_while(|told| told.change.at > finding.since)
    };
    let places: BTreeSet<Option<u32>> = act.iter().map(|told| namespace(told.change)).collect();
    let is_more = |told: &Told<'_>| {
        (is_ruleset(told.change) || !places.contains(&namespace(told.change)))
            && finding.last > told.change.at.saturating_add(COUNTED)
            && !known.contains(&told.number)
            && breaks(told.change)
    };
    let may_be_more = finding.namespaces.len() > 1 || act.iter().any(|told| is_ruleset(told.change));
    let more: Vec<Told<'_>> = if may_be_more {
        later_on().filter(is_more).take(MORE).collect()
    } else {
        Vec::new()
    };
    let is_one = more.is_empty();
    act.extend(more.into_iter().rev());
    let first = act.first().map_or(finding.since, |told| told.change.at);
    let later = Later::of(model, first);
    let is_back = |told: &Told<'_>| match &told.change.subject {
        Subject::Unit(name) => {
            let state = model.units().state(name);
            is_gone && state.is_some_and(|state| effects::is_started(&state.active))
        }
        _ => later.is_back(told.change),
    };
    // Of each, by what it is taken back, and whether all of it is.
    let mut taken: HashMap<&Subject, Vec<(TakenBack, bool)>, RandomState> = HashMap::default();
    let mut back = 0;
    for told in &act {
        let is_whole = is_back(told);
        back += usize::from(is_whole);
        let of = taken.entry(&told.change.subject).or_default();
        of.push((later.taken_back(told.change), is_whole));
    }
    let is_taken = |change: &Change, wholly: bool| {
        let of = taken.get(&change.subject).into_iter().flatten();
        let mut of = of.filter(|(_, is_whole)| *is_whole || !wholly);
        match &change.subject {
            Subject::Unit(_) => {
                of.next().is_some() && change.after.as_deref().is_some_and(effects::is_started)
            }
            // It may have happened once more.
            _ => of.any(|(taken, _)| taken.by(change)),
        }
    };
    let takes_back = |change: &Change| {
        if is_taken(change, true) {
            return true;
        }
        let counts = match &change.subject {
            // What can bring it about has not taken it away.
            Subject::Setting(_, Thing::Rule { .. } | Thing::Route { .. } | Thing::Address { .. }) => {
                !(rule.explains)(finding, change)
            }
            Subject::Setting(_, Thing::Sysctl { .. } | Thing::Link { .. }) => is_taken(change, false),
            _ => false,
        };
        counts && {
            let the_other_way_round = Change {
                before: change.after.clone(),
                after: change.before.clone(),
                ..change.clone()
            };
            (rule.explains)(finding, &the_other_way_round)
        }
    };
    // When each thing was so last: very many changes may be of one thing.
    let mut broken: HashMap<&Subject, u64, RandomState> = HashMap::default();
    for (_, change) in since().rev() {
        if !broken.contains_key(&change.subject) && breaks(change) {
            broken.insert(&change.subject, change.at);
        }
    }
    let stays = |change: &Change| broken.get(&change.subject).is_none_or(|at| *at <= change.at);
    let mut takes = since().filter(|(_, change)| stays(change) && takes_back(change));
    let (number, change) = if is_one { takes.next() } else { takes.last() }?;
    Some(Mended {
        change: number,
        at: change.at,
        text: sentence(model, change),
        is_whole: !act.is_empty() && back == act.len(),
    })
}

/// The network namespace in which it was done, by inode; `None` where it is none of a namespace.
fn namespace(change: &Change) -> Option<u32> {
    match change.subject {
        Subject::Setting(netns, _) => Some(netns),
        _ => None,
    }
}

fn is_ruleset(change: &Change) -> bool {
    matches!(change.subject, Subject::Setting(_, Thing::Ruleset { .. }))
}

/// When the first of the changes was made that explain a finding, in boot time; `None` where none does.
pub(super) fn brought_about(model: &Model, rule: &Rule, finding: &Finding) -> Option<u64> {
    let explaining = explaining(model, rule, rule.explains, finding);
    act(&explaining).first().map(|told| told.change.at)
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
fn explaining<'a>(
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

/// The first of these, and those that belong to it: by the same hand, within a second before.
fn act<'a>(explaining: &[Told<'a>]) -> Vec<Told<'a>> {
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
    act.sort_by_key(|told| (told.change.at, told.number));
    act
}

fn cause(model: &Model, finding: &Finding, act: &[Told<'_>]) -> Cause {
    // The first of them began it.
    if let Some((Told { number, change, .. }, others)) = act.split_first() {
        let before = finding.since.saturating_sub(change.at);
        let when = match change.at.checked_sub(finding.since) {
            // One that was noticed says so itself.
            Some(after) if after > 0 && change.noticed => format!("{} after it began", short(after)),
            Some(after) if after > 0 => format!("told {} after it began", short(after)),
            // What is missing is so from the change on.
            Some(_) => "when it began".to_owned(),
            _ => format!("{} before it began", short(before)),
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
        return Cause {
            relation: Relation::Explains,
            text: format!(
                "{} {}, {when}{with_it}{unknown}.",
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

/// `at 06:14:05 UTC`. Of what was only noticed the time is that of the look.
fn time(model: &Model, change: &Change) -> String {
    let at = moment(model, change.at);
    if change.noticed {
        format!("(noticed at {at} by comparing with the look before; it happened between the two)")
    } else {
        format!("at {at}")
    }
}

/// `IPv4 rule 0: from all lookup local went away, by systemd-networkd[812] (systemd-networkd.service)`. Where several network
/// namespaces are watched, the one is named that it is in.
pub(super) fn sentence(model: &Model, change: &Change) -> String {
    let object = match &change.subject {
        Subject::Setting(netns, thing) => placed(thing, &report::place(model, *netns)),
        Subject::Closed(label, thing) => placed(thing, label),
        Subject::Namespace(name) => report::namespace(name),
        Subject::Unit(name) | Subject::Job(name) | Subject::Timer(name) => name.clone(),
        Subject::Packages(_) => "packages".to_owned(),
        Subject::Notice(_) | Subject::Starvation(_) => String::new(),
    };
    let after = change.after.as_deref().map(|after| change.subject.shown(after));
    let what = match (&change.before, after.as_deref()) {
        (Some(before), None) if !before.is_empty() => format!("went away (was {before})"),
        (_, None) => "went away".to_owned(),
        (None, Some("")) => "came".to_owned(),
        (None, Some(now)) if object.is_empty() => now.to_owned(),
        (None, Some(now)) => format!("came: {now}"),
        (Some(before), Some(now)) if before.is_empty() => format!("changed to {now}"),
        (Some(before), Some(now)) => {
            // It is another run.
            let anew = match change.subject {
                Subject::Unit(_) => started_anew(Some(before), now),
                _ => None,
            };
            if let Some(stands) = anew {
                return format!("{object} was started anew: {stands}");
            }
            let only = match change.subject {
                Subject::Unit(_) => only(before, now),
                _ => None,
            };
            if let Some(only) = only {
                return format!("{object}: {only}");
            }
            let (renamed, before, now) = match value::renaming(before, now) {
                Some((was, before, now)) => (Some(format!("was renamed from {was}")), before, now),
                None => (None, before.as_str(), now),
            };
            let changed = || {
                let (before, now) = value::differing(before, now);
                format!("changed from {before} to {now}")
            };
            match renamed {
                Some(renamed) if before == now => renamed,
                Some(renamed) => format!("{renamed} and {}", changed()),
                None => changed(),
            }
        }
    };
    let by = match &change.by {
        Some(by) => format!(", by {}", owner(by)),
        None => String::new(),
    };
    let space = if object.is_empty() { "" } else { " " };
    format!("{object}{space}{what}{by}")
}

fn placed(thing: &Thing, netns: &str) -> String {
    if netns.is_empty() {
        thing.to_string()
    } else {
        format!("{thing} in network namespace {netns}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_by_what_differs() {
        let told = |subject, before: &str, after: &str| {
            let change = Change {
                at: 1,
                subject,
                before: Some(before.to_owned()),
                after: Some(after.to_owned()),
                by: None,
                by_unknown: None,
                noticed: false,
            };
            sentence(&Model::new(), &change)
        };
        let unit = Subject::Unit("a.service".to_owned());
        assert_eq!(
            told(unit, "active (running)", "active (running)"),
            "a.service was started anew: active (running)"
        );
        assert_eq!(
            told(
                Subject::Unit("a.service".to_owned()),
                "activating (start)",
                "active (running), started anew, main process 471, was 460"
            ),
            "a.service was started anew: active (running), main process 471, was 460"
        );
        let device = "eth0".to_owned();
        assert_eq!(
            told(
                Subject::Setting(1, Thing::Link { device }),
                "up, carrier, mtu 1500",
                "down, no carrier, mtu 1500"
            ),
            "device eth0 changed from up, carrier to down, no carrier"
        );
    }
}
