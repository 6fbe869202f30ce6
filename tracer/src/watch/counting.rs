//! The kernel's counters: which namespaces are asked, and when.

use std::collections::BTreeSet;

use super::namespaces::Namespaces;
use super::without::{is_left_out, left_out};
use crate::event::{Body, Capability, Event};
use crate::node::Netns;
use crate::node::counters::{CAPABILITY, Counters};

/// Reads counters, unless nobody wants them.
#[derive(Debug, Default)]
pub(super) struct Counting {
    counters: Option<Counters>,
    /// Namespaces in which something has grown since their counters were read.
    busy: BTreeSet<u32>,
}

impl Counting {
    /// `without`: the capabilities that nobody wants.
    pub(super) fn new(without: &[String]) -> Self {
        Self {
            counters: (!is_left_out(without, CAPABILITY)).then(Counters::default),
            busy: BTreeSet::new(),
        }
    }

    /// Takes note of where something is counted.
    pub(super) fn notice(&mut self, event: &Event) {
        if let Body::Entry(entry) = &event.body {
            self.busy.insert(entry.key.netns);
        }
    }

    /// Tells counters that have grown, see [`Namespaces::asked`]; busy is where something has grown in the books since
    /// they were last read. Those of the machine are read with the first one's. Returns how that went.
    pub(super) fn read(
        &mut self,
        namespaces: &Namespaces,
        now: u64,
        tell: &mut dyn FnMut(Event),
    ) -> Capability {
        let Some(counters) = &mut self.counters else {
            return left_out(CAPABILITY);
        };
        let busy = std::mem::take(&mut self.busy);
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
        }
        counters.capability()
    }
}
