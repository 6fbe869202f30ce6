//! How a change came about: the start of the unit of whoever made it, the upgrade that was at work, the timer that started that.

use super::words::{moment, owner};
use crate::event::Owner;
use crate::model::Model;
use crate::model::clock::SECOND;
use crate::model::timeline::{Change, Subject};
use crate::model::units::{Begun, ELAPSED};
use crate::report::Step;

/// A job belongs to a start that comes so soon after it.
const JOB: u64 = 10 * SECOND;

/// The steps that led to a change, the nearest first. Where nobody is known to have made it, what was at work then.
pub(super) fn of(model: &Model, change: &Change) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut unit = match (&change.by, &change.subject) {
        (Some(by), _) => by.unit.as_str(),
        (None, Subject::Unit(name)) => name.as_str(),
        _ => "",
    };
    steps.extend(start(model, unit, change.at));
    if let Some((step, holder)) = upgrade(model, change.at) {
        steps.push(step);
        unit = &holder.unit;
    }
    steps.extend(timer(model, unit, change.at));
    steps
}

/// That packages are in work is seen so long after it has begun, at most.
const LOOK: u64 = SECOND;

/// The last change of this kind at that time or before.
fn last(model: &Model, at: u64, is_it: impl Fn(&Change) -> bool) -> Option<&Change> {
    let mut before = model.timeline().all().rev().map(|(_, change)| change);
    before.find(|change| change.at <= at && is_it(change))
}

/// The unit was started before.
fn start(model: &Model, unit: &str, at: u64) -> Option<Step> {
    let Begun { at: begun, anew } = model.units().begun(unit, at)?;
    let job = last(
        model,
        begun,
        |change| matches!(&change.subject, Subject::Job(of) if of == unit),
    )
    .filter(|job| begun.saturating_sub(job.at) <= JOB)
    .and_then(|job| job.after.as_deref());
    let job = job.map_or_else(String::new, |job| format!(" (job: {job})"));
    Some(Step {
        at: model.utc(begun),
        text: format!(
            "{unit} had been started{} at {}{job}",
            if anew { " anew" } else { "" },
            moment(model, begun)
        ),
    })
}

/// Packages were worked on, by whom and since when: who held the manager's lock at that time.
fn upgrade(model: &Model, at: u64) -> Option<(Step, &Owner)> {
    let packages = model.packages();
    let work = packages
        .work_at(at)
        .or_else(|| packages.work_at(at.saturating_add(LOOK)))?;
    let holder = work.holder_at(at)?;
    let since = match work.since {
        None => "which was held since before tracer started".to_owned(),
        Some(since) if since > at => format!("which was seen to be held at {}", moment(model, since)),
        Some(since) => format!("which was held since {}", moment(model, since)),
    };
    let step = Step {
        at: model.utc(work.since.unwrap_or(model.started())),
        text: format!(
            "while {} had packages in work, by the lock of {}, {since}",
            owner(holder),
            work.manager
        ),
    };
    Some((step, holder))
}

/// A timer had started the run of the unit that was then.
fn timer(model: &Model, unit: &str, at: u64) -> Option<Step> {
    if unit.is_empty() {
        return None;
    }
    let timer = model.units().timers().find(|timer| timer.unit == unit)?;
    let elapsed = last(model, at, |change| {
        let is_it = matches!(&change.subject, Subject::Timer(name) if *name == timer.name);
        // That it was set or stopped is told of it, too.
        is_it
            && change
                .after
                .as_deref()
                .is_some_and(|now| now.starts_with(ELAPSED))
    })?;
    // The run may be one that somebody else has started since.
    let run = model.units().begun(unit, at);
    if run.is_some_and(|run| run.at.abs_diff(elapsed.at) > JOB) {
        return None;
    }
    Some(Step {
        at: model.utc(elapsed.at),
        text: format!(
            "{} had elapsed at {} and started {unit}",
            timer.name,
            moment(model, elapsed.at)
        ),
    })
}
