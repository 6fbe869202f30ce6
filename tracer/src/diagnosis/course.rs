//! The diagnosis over time: what every command holds, live or of a recording.

use std::collections::BTreeSet;

use super::Finding;
use super::episodes::{Episodes, Leading};
use super::pairing::Mended;
use super::report::{self, Standing};
use crate::event::{Body, Event};
use crate::model::Model;
use crate::report::{Episode, Report};

/// The model, how the verdicts stood at the last tick, and the episodes until then. Driven by events alone: the same ones give
/// the same report.
#[derive(Default)]
pub struct Diagnosis {
    model: Model,
    standing: Option<Standing>,
    /// What led at the last tick, with what its rule found.
    leading: Option<(Leading, Finding)>,
    episodes: Episodes,
}

impl Diagnosis {
    /// Before anything was told.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in an event.
    pub fn apply(&mut self, event: &Event) {
        self.model.apply(event);
        if event.body == Body::Tick {
            let (standing, leading) = report::standing(&self.model);
            let (now, starved) = (self.model.now(), self.model.starved());
            match &leading {
                Some((leading, _)) => self.episodes.tick(now, leading, starved),
                None => self.episodes.over(now, self.took_away()),
            }
            self.standing = Some(standing);
            self.leading = leading;
        }
    }

    /// Asks all rules how the verdicts stand now, and which one leads.
    #[must_use]
    pub fn examine(&self) -> (Standing, Option<Leading>) {
        let (standing, leading) = report::standing(&self.model);
        (standing, leading.map(|(leading, _)| leading))
    }

    /// What took away that which led at the last tick. Some rules find nothing any more as soon as that is done, as where a
    /// route is back.
    fn took_away(&self) -> Option<Mended> {
        let (leading, finding) = self.leading.as_ref()?;
        report::mended(&self.model, leading.rule, finding)
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
        self.leading.as_ref().map(|(leading, _)| leading)
    }

    /// The last episode.
    #[must_use]
    pub fn last_episode(&self) -> Option<Episode> {
        let (recurrence, episode) = self.episodes.latest().into_iter().next()?;
        Some(report::episode(&self.model, recurrence, episode))
    }

    /// The picture now, with at most `most` flows in each list. To be asked for after a [`Body::Tick`], when all counts of a
    /// round have been told.
    #[must_use]
    pub fn report(&self, most: usize) -> Report {
        report::report(&self.model, &self.episodes, most)
    }

    /// The names of all units, `None` where not all are known.
    pub(crate) fn unit_names(&self) -> Option<BTreeSet<&str>> {
        self.model.unit_names()
    }
}
