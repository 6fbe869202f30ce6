//! The chains of firewalls: which namespaces are asked, and when.

use std::collections::BTreeSet;

use super::namespaces::Namespaces;
use super::turn::Turn;
use super::without::{is_left_out, left_out};
use crate::event::{Body, Capability, Event, Fate};
use crate::model::hooks;
use crate::node::chains::{CAPABILITY, Reader};

/// Reads chains where they may be asked for, unless nobody wants them.
#[derive(Debug, Default)]
pub(super) struct Chains {
    reader: Option<Reader>,
    /// Namespaces in which rules have dropped something since their chains were read.
    busy: BTreeSet<u32>,
    turn: Turn,
}

impl Chains {
    /// `without`: the capabilities that nobody wants.
    pub(super) fn new(without: &[String]) -> Self {
        Self {
            reader: (!is_left_out(without, CAPABILITY)).then(Reader::default),
            busy: BTreeSet::new(),
            turn: Turn::default(),
        }
    }

    /// Takes note of where rules drop something.
    pub(super) fn notice(&mut self, event: &Event) {
        if let Body::Entry(entry) = &event.body
            && entry.key.fate == Fate::Dropped
            && entry.key.location.as_ref().is_some_and(hooks::is_of_rules)
        {
            self.busy.insert(entry.key.netns);
        }
    }

    /// Tells chains that have changed, see [`Namespaces::asked`]; busy is where rules have dropped something: of those up
    /// to `most` have their turn. Returns how that went.
    pub(super) fn read(
        &mut self,
        namespaces: &Namespaces,
        most: usize,
        now: u64,
        tell: &mut dyn FnMut(Event),
    ) -> Capability {
        let Some(reader) = &mut self.reader else {
            return left_out(CAPABILITY);
        };
        self.busy.retain(|inode| namespaces.watches(*inode));
        let busy = self.turn.take(&mut self.busy, most);
        reader.keep(|inode| namespaces.watches(inode));
        for netns in namespaces.asked(&busy, |netns| reader.knows(netns)) {
            // One that has ended has no chains any more.
            if let Ok(Some(chains)) = reader.visit(netns) {
                tell(Event {
                    at: now,
                    body: Body::Chains(chains),
                });
            }
        }
        reader.capability()
    }
}
