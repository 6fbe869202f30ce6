//! What must hold so that packets for own addresses are taken for own ones.

use std::collections::BTreeSet;

use crate::event::Version;
use crate::model::Model;
use crate::model::invariants::{Invariant, Standing, State};

/// What must hold so that packets for own addresses are taken for own ones, each with its namespace, and how it stands.
fn lookups<'a>(
    model: &'a Model,
    namespaces: &'a BTreeSet<u32>,
) -> impl Iterator<Item = (u32, &'a Invariant, &'a Standing)> {
    let all = model.settings().invariants().iter(model.now());
    all.filter(|(netns, invariant, _)| {
        let is_of_these = namespaces.is_empty() || namespaces.contains(netns);
        is_of_these && !matches!(invariant, Invariant::Loopback | Invariant::DefaultRoute(_))
    })
}

/// A rule looks table local up for packets of this version.
pub(super) fn is_looked_up(model: &Model, namespaces: &BTreeSet<u32>, version: Version) -> bool {
    let rule = Invariant::LocalRule(version);
    lookups(model, namespaces).any(|(_, one, standing)| *one == rule && standing.state == State::Holds)
}

/// What of that does not hold, in words. A rule that is lost breaks the answers for all addresses: it comes first. With since when,
/// which is `None` for from before the start.
pub(super) fn broken<'a>(
    model: &'a Model,
    namespaces: &'a BTreeSet<u32>,
) -> impl Iterator<Item = (&'a Invariant, Option<u64>, String)> {
    let all = lookups(model, namespaces).filter(|(_, _, standing)| standing.state == State::Broken);
    all.map(|(netns, invariant, standing)| {
        (
            invariant,
            standing.since,
            super::super::report::invariant_text(model, netns, invariant, false),
        )
    })
}
