//! The diagnosis over time: what every command holds, live or of a recording.

use std::collections::BTreeSet;

use super::aftermath::{Again, Stood};
use super::episodes::{Episodes, Leading};
use super::path;
use super::report::{self, Outcome, Standing};
use super::tolls::Past;
use crate::event::{Body, Event};
use crate::model::Model;
use crate::report::{Episode, Report};

/// The model, how the verdicts stood at the last tick, and the episodes until then. Driven by events alone: the same ones give
/// the same report.
#[derive(Default)]
pub struct Diagnosis {
    model: Model,
    standing: Option<Standing>,
    /// What led at the last tick.
    leading: Option<Leading>,
    episodes: Episodes,
    /// What flows have lost of what was found until the last tick.
    past: Past,
}

impl Diagnosis {
    /// Before anything was told.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in an event.
    pub fn apply(&mut self, event: &Event) {
        let known = self.model.timeline().total();
        self.model.apply(event);
        if self.model.timeline().total() > known {
            self.past.gone_rules.changed(&self.model, known);
            self.changed(known);
        }
        if event.body == Body::Tick {
            self.tick();
        }
    }

    /// Something changed after so many changes.
    fn changed(&mut self, known: u64) {
        let aftermath = &self.past.aftermath;
        let mut new = self.model.timeline().told_after(known);
        let again = new.find_map(|change| aftermath.breaks_again(&self.model, change));
        drop(new);
        if let Some(again) = again {
            self.begin_anew(again);
        }
    }

    /// What is lost from now on is of another fault.
    fn begin_anew(&mut self, again: Again) {
        self.model.conclude(again.at);
        self.past.conclude(again.at, again.mended.into_iter());
        self.past.aftermath.begin_anew(again.at);
    }

    fn tick(&mut self) {
        let Outcome {
            standing,
            leading,
            others,
            over,
            gone,
            stands,
            faults,
            tolls,
            silent_since,
        } = report::outcome(&self.model, &self.past);
        let (now, starved) = (self.model.now(), self.model.starved());
        let led = gone.first().filter(|gone| gone.has_led);
        let mended = match &leading {
            Some((leading, _)) => leading.mended.as_ref(),
            None => led.map(|gone| &gone.mended),
        };
        let (by, mended) = mended.map(|mended| (mended.change, mended.at)).unzip();
        let leads = leading.as_ref().map(|(leading, _)| leading.rule.id);
        for gone in gone.iter().filter(|gone| leads != Some(gone.rule.id)) {
            self.episodes.took_away(now, gone.rule, &gone.mended);
        }
        match &leading {
            Some((leading, finding)) => {
                let by = || report::brought_about(&self.model, leading.rule, finding);
                let cause = || report::cause(&self.model, leading.rule, finding);
                self.episodes.tick(now, leading, &faults, by, cause, starved);
            }
            None => self.episodes.over(now, led.map(|gone| (gone.rule, &gone.mended))),
        }
        self.past.found(now, tolls);
        if let Some(since) = silent_since {
            self.past.was_silent(now, since);
        }
        // Who is asked later is asked anew, unless somebody else is silent for another cause.
        let is_another = |one: &Stood| one.is_root && path::asks(one.rule) && leads != Some(one.rule.id);
        if let Some(at) = mended.filter(|_| !stands.iter().any(is_another)) {
            self.model.conclude_asked(at);
        }
        let leads = leading.as_ref().map(|(leading, _)| leading.clone());
        let leading = leading.map(|(leading, finding)| (leading.rule, finding));
        let roots = leading.into_iter().chain(others).collect();
        self.past.aftermath.found(now, stands, roots, &gone, mended);
        if let Some(until) = over.iter().map(|over| over.until).max() {
            self.model.conclude(until);
            self.past
                .conclude(until, over.iter().map(|over| (over.rule, over.mended)));
        }
        let mut all = self.model.timeline().all().rev();
        let by = by.and_then(|by| all.find(|(number, _)| *number == by));
        let replaced = by.and_then(|(_, by)| self.past.aftermath.replaces(&self.model, by));
        drop(all);
        if let Some(again) = replaced {
            self.begin_anew(again);
        }
        self.standing = Some(standing);
        self.leading = leads;
    }

    /// Asks all rules how the verdicts stand now, and which one leads.
    #[must_use]
    pub fn examine(&self) -> (Standing, Option<Leading>) {
        let Outcome {
            standing, leading, ..
        } = report::outcome(&self.model, &self.past);
        (standing, leading.map(|(leading, _)| leading))
    }

    /// What was told.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// How the verdicts stood at the last tick; `None` before the first one.
    #[must_use]
    pub fn standing(&self) -> Option<&Standing> {
        self.standing.as_ref()
    }

    /// The verdict that decided where the fault is at the last tick; `None` where none did.
    #[must_use]
    pub fn leading(&self) -> Option<&Leading> {
        self.leading.as_ref()
    }

    /// The last episode.
    #[must_use]
    pub fn last_episode(&self) -> Option<Episode> {
        let (recurrence, episode) = self.episodes.latest().into_iter().next()?;
        Some(report::episode(&self.model, recurrence, episode))
    }

    /// How many episodes there were, with the last one.
    pub(crate) fn episodes_total(&self) -> u64 {
        self.episodes.total()
    }

    /// The picture now, with at most `most` flows in each list. To be asked for after a [`Body::Tick`], when all counts of a
    /// round have been told.
    #[must_use]
    pub fn report(&self, most: usize) -> Report {
        report::report(&self.model, &self.past, &self.episodes, most)
    }

    /// The names of all units, `None` where not all are known.
    pub(crate) fn unit_names(&self) -> Option<BTreeSet<&str>> {
        self.model.unit_names()
    }
}
