//! The kernel's counters: which namespaces are asked, and when.

use std::collections::{BTreeMap, BTreeSet};

use super::namespaces::Namespaces;
use super::turn::Turn;
use super::without::{is_left_out, left_out};
use crate::event::{Body, Capability, Event, Fragments};
use crate::node::counters::{CAPABILITY, Counters};
use crate::node::{Netns, fragments};

/// Reads counters, unless nobody wants them.
#[derive(Debug, Default)]
pub(super) struct Counting {
    counters: Option<Counters>,
    /// Namespaces in which something has grown since their counters were read.
    busy: BTreeSet<u32>,
    turn: Turn,
    /// Datagrams that wait for fragments, as last told; those of namespaces where some do.
    fragments: BTreeMap<u32, Fragments>,
}

impl Counting {
    /// `without`: the capabilities that nobody wants.
    pub(super) fn new(without: &[String]) -> Self {
        Self {
            counters: (!is_left_out(without, CAPABILITY)).then(Counters::default),
            busy: BTreeSet::new(),
            turn: Turn::default(),
            fragments: BTreeMap::new(),
        }
    }

    /// Takes note of where something is counted.
    pub(super) fn notice(&mut self, event: &Event) {
        if let Body::Entry(entry) = &event.body {
            self.busy.insert(entry.key.netns);
        }
    }

    /// Tells counters that have grown, see [`Namespaces::asked`]; busy is where something has grown in the books since
    /// they were last read: of those up to `most` have their turn. Those of the machine are read with the first one's.
    /// Returns how that went.
    pub(super) fn read(
        &mut self,
        namespaces: &Namespaces,
        most: usize,
        now: u64,
        tell: &mut dyn FnMut(Event),
    ) -> Capability {
        let Some(counters) = &mut self.counters else {
            return left_out(CAPABILITY);
        };
        // What waits may end without anything else to count.
        self.fragments.retain(|inode, _| namespaces.watches(*inode));
        self.busy.extend(self.fragments.keys());
        self.busy.retain(|inode| namespaces.watches(*inode));
        let busy = self.turn.take(&mut self.busy, most);
        counters.keep(|inode| namespaces.watches(inode));
        let machine = namespaces.first().map(Netns::inode);
        for netns in namespaces.asked(&busy, |netns| counters.knows(netns)) {
            let inode = netns.inode();
            let first = machine == Some(inode);
            let uplinks = namespaces.uplinks(inode);
            // One that has ended counts nothing any more.
            for counter in counters.visit(netns, &uplinks, first).unwrap_or_default() {
                tell(Event {
                    at: now,
                    body: Body::Counter(counter),
                });
            }
            let Ok(waiting) = fragments::waiting(netns) else {
                continue;
            };
            let before = if waiting.datagrams == 0 {
                self.fragments.remove(&inode)
            } else {
                self.fragments.insert(inode, waiting)
            };
            if before.map_or(waiting.datagrams > 0, |before| before != waiting) {
                tell(Event {
                    at: now,
                    body: Body::Fragments(waiting),
                });
            }
        }
        counters.capability()
    }
}
