//! What changed on the node.

use super::node::{actor, place};
use crate::model::timeline::{Subject, Told};
use crate::model::{Model, folding};
use crate::report::{Change, ChangeKind, EARLIEST, Following};

/// Changes that are told, at most.
const CHANGES: usize = 200;

/// Those for which there is room, the latest first.
pub(super) fn all(model: &Model) -> Vec<Change> {
    let timeline = model.timeline();
    let all: Vec<Told<'_>> = timeline.folded().collect();
    let leading = all.iter().filter(|told| told.follows.is_none()).count();
    let (earliest, latest) = if leading > CHANGES {
        (EARLIEST, CHANGES - EARLIEST)
    } else {
        (leading, 0)
    };
    let (mut before, mut followers) = (0, CHANGES.saturating_sub(leading));
    let mut told: Vec<Change> = Vec::new();
    // The latest first, also of those that follow.
    for one in all.into_iter().rev() {
        let has_room = if one.follows.is_some() {
            let room = followers > 0;
            followers = followers.saturating_sub(1);
            room
        } else {
            before += 1;
            before <= latest || leading - before < earliest
        };
        if has_room {
            told.push(change(model, one));
        }
    }
    told
}

/// What a network namespace of this name is called as a thing.
pub(in crate::diagnosis) fn namespace(name: &str) -> String {
    format!("network namespace {name}")
}

fn change(model: &Model, told: Told<'_>) -> Change {
    let change = told.change;
    let (kind, object, netns) = match &change.subject {
        Subject::Setting(netns, thing) => (ChangeKind::Setting, thing.to_string(), place(model, *netns)),
        Subject::Closed(label, thing) => (ChangeKind::Setting, thing.to_string(), label.clone()),
        Subject::Namespace(name) => (ChangeKind::Setting, namespace(name), String::new()),
        Subject::Unit(name) => (ChangeKind::Unit, name.clone(), String::new()),
        Subject::Job(unit) => (ChangeKind::Job, unit.clone(), String::new()),
        Subject::Timer(name) => (ChangeKind::Timer, name.clone(), String::new()),
        Subject::Packages(which) => (ChangeKind::Packages, which.to_string(), String::new()),
        Subject::Notice(_) => (ChangeKind::Notice, String::new(), String::new()),
        Subject::Starvation(_) => (ChangeKind::Starvation, String::new(), String::new()),
    };
    let with = told.with.into_iter().flatten();
    Change {
        number: told.number,
        at: model.utc(change.at),
        kind,
        what: match &change.subject {
            Subject::Setting(_, thing) | Subject::Closed(_, thing) => Some(folding::what(thing)),
            _ => None,
        },
        object,
        netns,
        before: change.before.clone(),
        after: change
            .after
            .as_deref()
            .map(|after| change.subject.shown(after).into_owned()),
        by: change.by.as_ref().map(actor),
        by_unknown: change.by_unknown,
        noticed: change.noticed,
        follows: told.follows,
        with: with
            .map(|((what, became), number)| Following {
                what: *what,
                became: *became,
                number: *number,
            })
            .collect(),
    }
}
