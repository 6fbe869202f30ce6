//! How whoever made a change came to do so: the start of their unit, the upgrade that was at work, the timer that started it.

use super::words::{moment, owner};
use crate::event::Owner;
use crate::model::Model;
use crate::model::clock::SECOND;
use crate::model::timeline::{Change, Subject};
use crate::report::Step;

/// A job belongs to a start that comes so soon after it.
const JOB: u64 = 10 * SECOND;

/// The steps that led to a change, the nearest first; none where nobody is known to have made it.
pub(super) fn of(model: &Model, change: &Change) -> Vec<Step> {
    let mut unit = match (&change.by, &change.subject) {
        (Some(by), _) => &by.unit,
        (None, Subject::Unit(name)) => name,
        _ => return Vec::new(),
    };
    let mut steps = Vec::new();
    steps.extend(start(model, unit, change.at));
    if let Some((step, holder)) = upgrade(model, change.at) {
        steps.push(step);
        unit = &holder.unit;
    }
    steps.extend(timer(model, unit, change.at));
    steps
}

/// The last change of this kind at that time or before.
fn last(model: &Model, at: u64, is_it: impl Fn(&Change) -> bool) -> Option<&Change> {
    let mut before = model.timeline().all().rev().map(|(_, change)| change);
    before.find(|change| change.at <= at && is_it(change))
}

/// The unit was started anew before.
fn start(model: &Model, unit: &str, at: u64) -> Option<Step> {
    let begun = model.units().begun(unit, at)?;
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
        text: format!("{unit} had been started anew at {}{job}", moment(model, begun)),
    })
}

/// Packages were worked on, by whom and since when.
fn upgrade(model: &Model, at: u64) -> Option<(Step, &Owner)> {
    let work = model.packages().work_at(at)?;
    let since = work.since.map_or_else(
        || "since before tracer started".to_owned(),
        |since| format!("since {}", moment(model, since)),
    );
    let step = Step {
        at: model.utc(work.since.unwrap_or(model.started())),
        text: format!("while {} had packages in work, {since}", owner(&work.holder)),
    };
    Some((step, &work.holder))
}

/// A timer had started the unit.
fn timer(model: &Model, unit: &str, at: u64) -> Option<Step> {
    if unit.is_empty() {
        return None;
    }
    let timer = model.units().timers().find(|timer| timer.unit == unit)?;
    let elapsed = last(
        model,
        at,
        |change| matches!(&change.subject, Subject::Timer(name) if *name == timer.name),
    )?;
    Some(Step {
        at: model.utc(elapsed.at),
        text: format!(
            "{} had elapsed at {} and started {unit}",
            timer.name,
            moment(model, elapsed.at)
        ),
    })
}
