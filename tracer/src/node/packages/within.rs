//! Which runs of dpkg are of a run of apt, by the logs of both: neither names the other.
//!
//! Of a run that told its end it is what was done until then. One that told none may have been ended by force; then what
//! follows is of it only as long as apt itself could have done it: soon, nothing but what it was to do, each once, and
//! nothing after dpkg left a package half-way, at which apt gives up.

use std::collections::BTreeSet;

use super::history::{Action, Step};
use super::past::SECOND;
use super::sessions::Session;
use crate::event::Upgrade;

/// Between the begin of a run that told no end and its first dpkg, where it may have questions, is at most so much, in ns.
const TO_FIRST: i64 = 60 * SECOND;
/// And between one dpkg of it and the next.
const TO_NEXT: i64 = 5 * SECOND;

/// A run of apt, with what dpkg did in it.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) upgrade: Upgrade,
    steps: &'a [Step],
    /// Packages whose step was done.
    done: BTreeSet<String>,
    /// What follows is not of it.
    is_over: bool,
}

impl<'a> Run<'a> {
    pub(super) fn new(upgrade: Upgrade, steps: &'a [Step]) -> Self {
        Self {
            upgrade,
            steps,
            done: BTreeSet::new(),
            is_over: false,
        }
    }

    /// Whether dpkg did this in that run of apt; then the run has it. To be asked in the order of the log.
    pub(super) fn take(&mut self, session: &Session) -> bool {
        let begun = self.upgrade.begun;
        // Where the clock was set back meanwhile its end tells nothing.
        let is_of_it = match self.upgrade.ended.filter(|ended| *ended >= begun) {
            Some(ended) => (begun..=ended).contains(&session.begun) && !session.is_open,
            None if self.is_over || session.begun < begun => false,
            None => {
                let until = match self.upgrade.last {
                    None => begun.saturating_add(TO_FIRST),
                    Some(last) => last.saturating_add(TO_NEXT),
                };
                let is_of_it = session.begun <= until && self.is_as_told(session);
                self.is_over = !is_of_it || session.is_half_way();
                is_of_it
            }
        };
        if is_of_it {
            self.upgrade.last = self.upgrade.last.max(Some(session.last));
            self.upgrade.in_work |= session.is_open;
            let did = session.did.iter().filter(|(_, action)| action.is_some());
            self.done.extend(did.map(|(package, _)| package.clone()));
        }
        is_of_it
    }

    /// Whether it was to do all of that, and had not done it yet.
    fn is_as_told(&self, session: &Session) -> bool {
        session.did.iter().all(|(package, action)| {
            let is_again = action.is_some() && self.done.contains(package);
            let step = self
                .steps
                .iter()
                .find(|step| name(&step.package) == name(package));
            !is_again && step.is_some_and(|step| action.is_none_or(|action| fits(step.action, action)))
        })
    }
}

/// The name without the architecture: apt writes the node's for packages that are of all.
pub(super) fn name(package: &str) -> &str {
    package.split(':').next().unwrap_or_default()
}

fn fits(step: Action, done: Action) -> bool {
    let removes = |action| matches!(action, Action::Remove | Action::Purge);
    removes(step) == removes(done)
}
