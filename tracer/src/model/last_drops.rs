//! How the packets of flows ended last.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::ends;
use crate::event::Location;

/// Last drops that are kept to be shared, at most; then they begin anew.
const MOST_LAST_DROPS: usize = 4_096;

/// Reason and location of a flow's last drop.
pub(crate) type LastDrop = (String, Location);

/// Those that flows have, each kept once: nearly all of many flows end at the same place.
#[derive(Clone, Debug, Default)]
pub(super) struct LastDrops(BTreeSet<Arc<LastDrop>>);

impl LastDrops {
    /// The one that is kept of those that are alike.
    pub(super) fn share(&mut self, drop: &LastDrop) -> Arc<LastDrop> {
        if let Some(known) = self.0.get(drop) {
            return Arc::clone(known);
        }
        if self.0.len() >= MOST_LAST_DROPS {
            self.0.clear();
        }
        let new = Arc::new(drop.clone());
        self.0.insert(Arc::clone(&new));
        new
    }
}

/// The kernel has used up what ended so.
pub(super) fn used_up((reason, location): &(String, Location)) -> bool {
    ends::used_up(reason, &location.symbol) || ends::acknowledged(reason, &location.symbol)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drop(offset: u32) -> LastDrop {
        let symbol = "ip_forward".to_owned();
        ("NOT_SPECIFIED".to_owned(), Location { symbol, offset })
    }

    #[test]
    fn flows_that_end_alike_share_what_is_told_of_it() {
        let mut drops = LastDrops::default();
        let first = drops.share(&drop(0));
        assert!(Arc::ptr_eq(&first, &drops.share(&drop(0))));
        assert_ne!(first, drops.share(&drop(1)));
        for offset in 0..=MOST_LAST_DROPS {
            drops.share(&drop(u32::try_from(offset).unwrap()));
        }
        assert!(drops.0.len() <= MOST_LAST_DROPS);
        assert_eq!(*first, drop(0), "a flow keeps its own");
    }
}
