//! The diagnosis over time: what every command holds, live or of a recording.

use std::collections::BTreeSet;

use super::Finding;
use super::episodes::{Episodes, Leading};
use super::pairing::Mended;
use super::report::{self, Outcome, Standing};
use super::tolls::Past;
use crate::event::{Body, Event};
use crate::model::Model;
use crate::model::clock::SECOND;
use crate::report::{Episode, Report};

/// What took a fault away may be told so much later than the fault is not seen any more: systemd tells of its units by the way of
/// D-Bus, and late while it loads them anew.
const TOLD_LATE: u64 = SECOND * 5 / 2;

/// The model, how the verdicts stood at the last tick, and the episodes until then. Driven by events alone: the same ones give
/// the same report.
#[derive(Default)]
pub struct Diagnosis {
    model: Model,
    standing: Option<Standing>,
    /// What led at the last tick.
    leading: Option<Leading>,
    /// What led last, with what its rule found, and when.
    led: Option<(Leading, Finding, u64)>,
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
        self.model.apply(event);
        if event.body == Body::Tick {
            let Outcome {
                standing,
                leading,
                over,
                tolls,
            } = report::outcome(&self.model, &self.past);
            let (now, starved) = (self.model.now(), self.model.starved());
            match &leading {
                Some((leading, finding)) => {
                    let by = || report::brought_about(&self.model, leading.rule, finding);
                    self.episodes.tick(now, leading, by, starved);
                }
                None => self.episodes.over(now, self.took_away(now)),
            }
            self.past.found(now, tolls);
            if let Some(until) = over.iter().map(|over| over.until).max() {
                self.model.conclude(until);
                self.past
                    .conclude(until, over.iter().map(|over| (over.rule, over.mended)));
            }
            self.standing = Some(standing);
            self.leading = leading.as_ref().map(|(leading, _)| leading.clone());
            match leading {
                Some((leading, finding)) => self.led = Some((leading, finding, now)),
                // What was found is not needed any more.
                None if self.led.as_ref().is_some_and(|(.., at)| is_late(*at, now)) => self.led = None,
                None => {}
            }
        }
    }

    /// Asks all rules how the verdicts stand now, and which one leads.
    #[must_use]
    pub fn examine(&self) -> (Standing, Option<Leading>) {
        let Outcome {
            standing, leading, ..
        } = report::outcome(&self.model, &self.past);
        (standing, leading.map(|(leading, _)| leading))
    }

    /// What took away that which led a moment ago. Some rules find nothing any more as soon as that is done, as where a
    /// route is back.
    fn took_away(&self, now: u64) -> Option<Mended> {
        let (leading, finding, at) = self.led.as_ref()?;
        if is_late(*at, now) {
            return None;
        }
        report::mended(&self.model, leading.rule, finding, true)
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

/// What took away that which led last at `at` would have been told by now.
fn is_late(at: u64, now: u64) -> bool {
    now.saturating_sub(at) > TOLD_LATE
}
