//! Who is named for what follows a change: whoever made that one, as the timeline does.

use std::collections::BTreeMap;

use crate::event::{Owner, Thing, Unknown};
use crate::model::timeline::{Change, Timeline};

/// The changes by their numbers.
pub(super) struct Led<'a> {
    timeline: &'a Timeline,
    by_number: BTreeMap<u64, &'a Change>,
}

/// Who did something, and what led to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Actor<'a> {
    pub(super) by: Option<&'a Owner>,
    pub(super) by_unknown: Option<Unknown>,
    /// The number of the change that it follows.
    pub(super) follows: Option<u64>,
}

impl<'a> Led<'a> {
    pub(super) fn new(timeline: &'a Timeline) -> Self {
        Self {
            timeline,
            by_number: timeline.all().collect(),
        }
    }

    /// Who is named for the change of a thing at that time, where what is known of it alone is `own`.
    pub(super) fn of(&self, (netns, thing): (u32, &Thing), at: u64, own: Actor<'a>) -> Actor<'a> {
        let follows = self.timeline.leader_of(netns, thing, at);
        let leader = follows.and_then(|number| self.by_number.get(&number));
        match leader {
            Some(leader) if own.by.is_none() => Actor {
                by: leader.by.as_ref(),
                by_unknown: leader.by_unknown,
                follows,
            },
            _ => Actor { follows, ..own },
        }
    }
}
