//! What a finding is held against: the changes before it, and what stands that brings it about.
//!
//! *Explains* and *coincides* are different words. A change explains a finding where the kernel does such a thing after such a
//! change ([`super::effects`]) and it had not been undone; all else that changed in the minute before coincides with it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::words::{count, moment, owner, short};
use super::{Finding, Rule, chain};
use crate::event::Thing;
use crate::model::Model;
use crate::model::clock::{SECOND, seconds};
use crate::model::timeline::{Change, Subject, Told};
use crate::report::{Cause, Coincidence, Relation};

/// What changed so long before a finding may belong to it: 60 s.
const WINDOW: u64 = 60 * SECOND;
/// What nobody told, but was noticed by comparing, is noticed at most so long after it happened.
const COMPARED: u64 = 2 * SECOND;
/// What began so soon after the start was there before: what is lost is only seen when the next packet comes.
const AT_START: u64 = 2 * SECOND;
/// Coincidences that are told, at most.
const COINCIDENCES: usize = 5;

/// A finding's cause, and what coincides with it.
pub(super) struct Pairing {
    pub cause: Cause,
    /// The latest first.
    pub coincides: Vec<Coincidence>,
    /// How many there are.
    pub coincides_total: u64,
}

/// Holds a finding against the changes.
pub(super) fn pair(model: &Model, rule: &Rule, finding: &Finding) -> Pairing {
    let before = before(model, finding.since);
    let explaining = explaining(rule.explains, finding, &before);
    let (coincides, coincides_total) = coincidences(model, finding, &before, &explaining);
    Pairing {
        cause: cause(model, finding, &explaining),
        coincides,
        coincides_total,
    }
}

/// There is the second sign that makes a weak one strong: what stands, or a change in the minute before that nobody makes
/// without a cause.
pub(super) fn is_proved(model: &Model, rule: &Rule, finding: &Finding) -> bool {
    let first = finding.since.saturating_sub(WINDOW);
    finding.standing.is_some()
        || explaining(rule.proved_by, finding, &before(model, finding.since))
            .first()
            .is_some_and(|told| told.change.at >= first)
}

/// The changes before that time, the earliest first.
fn before(model: &Model, since: u64) -> Vec<Told<'_>> {
    let precedes = |told: &Told<'_>| {
        let slack = if told.change.noticed { COMPARED } else { 0 };
        told.change.at <= since.saturating_add(slack)
    };
    model.timeline().folded().filter(precedes).collect()
}

/// The changes that can do it and were not undone before it began, the latest first.
fn explaining<'a>(
    can: fn(&Finding, &Change) -> bool,
    finding: &Finding,
    before: &[Told<'a>],
) -> Vec<Told<'a>> {
    let last: BTreeMap<&Subject, Told<'_>> =
        before.iter().map(|told| (&told.change.subject, *told)).collect();
    let mut all: Vec<_> = last
        .into_values()
        .filter(|told| can(finding, told.change))
        .collect();
    all.sort_by_key(|told| Reverse((told.change.at, told.number)));
    all
}

fn cause(model: &Model, finding: &Finding, explaining: &[Told<'_>]) -> Cause {
    // Those within a second before the latest are one act: the first of them began it.
    let act = explaining.first().map(|latest| {
        let is_of_it = |other: &&Told<'_>| latest.change.at.saturating_sub(other.change.at) <= SECOND;
        explaining.iter().take_while(is_of_it)
    });
    if let Some((others, Told { number, change, .. })) =
        act.and_then(|act| Some((act.clone().count() - 1, act.last()?)))
    {
        let before = finding.since.saturating_sub(change.at);
        let with_it = match others as u64 {
            0 => String::new(),
            others => format!(", with {} that can do the same", count(others, "other change")),
        };
        return Cause {
            relation: Relation::Explains,
            text: format!(
                "{} at {}, {} before the first loss{with_it}.",
                sentence(change),
                moment(model, change.at),
                short(before)
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
        None if since_start <= AT_START => without(
            Relation::PredatesStart,
            "It was so when tracer started: the cause predates the start.".to_owned(),
        ),
        None => without(
            Relation::Unknown,
            "No change was seen on this node that can bring it about.".to_owned(),
        ),
    }
}

fn coincidences(
    model: &Model,
    finding: &Finding,
    before: &[Told<'_>],
    explaining: &[Told<'_>],
) -> (Vec<Coincidence>, u64) {
    let first = finding.since.saturating_sub(WINDOW);
    let all: Vec<_> = before
        .iter()
        .rev()
        .filter(|told| {
            let change = told.change;
            // A job is told by what becomes of its unit, and the kernel's answers follow from what stands.
            let says_something = !matches!(
                change.subject,
                Subject::Starvation(_) | Subject::Job(_) | Subject::Setting(_, Thing::Answer { .. })
            );
            // What follows another change is part of that one.
            let is_part =
                told.follows.is_some() || explaining.iter().any(|other| other.leader() == told.number);
            says_something && change.at >= first && !is_part
        })
        .collect();
    let total = all.len() as u64;
    let told = all
        .into_iter()
        .take(COINCIDENCES)
        .map(|Told { number, change, .. }| Coincidence {
            change: *number,
            seconds_before: seconds(finding.since.saturating_sub(change.at)),
            text: format!("{} at {}", sentence(change), moment(model, change.at)),
        })
        .collect();
    (told, total)
}

/// `IPv4 rule 0: from all lookup local went away, by systemd-networkd[812] (systemd-networkd.service)`
pub(super) fn sentence(change: &Change) -> String {
    let object = match &change.subject {
        Subject::Setting(_, thing) => thing.to_string(),
        Subject::Unit(name) | Subject::Job(name) | Subject::Timer(name) => name.clone(),
        Subject::Packages(_) => "packages".to_owned(),
        Subject::Notice(_) | Subject::Starvation(_) => String::new(),
    };
    let what = match (&change.before, change.after.as_deref()) {
        (_, None) => "went away".to_owned(),
        (None, Some("")) => "came".to_owned(),
        (None, Some(now)) if object.is_empty() => now.to_owned(),
        (None, Some(now)) => format!("came: {now}"),
        (Some(before), Some(now)) if before.is_empty() => format!("changed to {now}"),
        (Some(before), Some(now)) => format!("changed from {before} to {now}"),
    };
    let by = match &change.by {
        Some(by) => format!(", by {}", owner(by)),
        None => String::new(),
    };
    let space = if object.is_empty() { "" } else { " " };
    format!("{object}{space}{what}{by}")
}
