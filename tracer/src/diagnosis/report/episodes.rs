//! The times in which the network was broken.

use super::verdicts;
use crate::diagnosis::episodes::{self, Episodes};
use crate::model::Model;
use crate::model::clock::seconds;
use crate::report::{Beside, EPISODE_UNITS, Episode};

/// All that are kept, the latest first.
pub(super) fn told(model: &Model, past: &Episodes) -> Vec<Episode> {
    past.latest()
        .into_iter()
        .map(|(recurrence, one)| episode(model, recurrence, one))
        .collect()
}

/// An episode, and which one it is of those with the same root.
pub(in crate::diagnosis) fn episode(model: &Model, recurrence: u64, one: &episodes::Episode) -> Episode {
    let until = if one.lasts { model.now() } else { one.end() };
    Episode {
        onset: model.utc(one.onset),
        told: model.utc(one.told),
        end: (!one.lasts).then(|| model.utc(one.end())),
        seconds: seconds(until.saturating_sub(one.onset)),
        mended: one.mended().map(|mended| verdicts::told(model, mended)),
        peak: model.utc(one.peak),
        id: one.rule.id.to_owned(),
        title: one.rule.title.to_owned(),
        place: one.rule.place,
        confidence: one.confidence,
        cause: one.cause.clone(),
        led: one.led.iter().map(|id| (*id).to_owned()).collect(),
        beside: one.beside().map(|fault| beside(model, fault)).collect(),
        flows: one.flows,
        starved: one.starved,
        units: one.units.iter().take(EPISODE_UNITS).cloned().collect(),
        units_total: one.units.len() as u64,
        recurrence,
    }
}

fn beside(model: &Model, fault: &episodes::Fault) -> Beside {
    Beside {
        id: fault.rule.id.to_owned(),
        title: fault.rule.title.to_owned(),
        onset: model.utc(fault.since),
        last: model.utc(fault.end()),
        mended: fault.mended.as_ref().map(|mended| verdicts::told(model, mended)),
    }
}
