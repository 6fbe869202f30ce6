//! How the packets of flows ended last, and otherwise before.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::ends;
use super::growth::Spell;
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

/// A flow's drops of one spell did not all end alike: those that ended as the last one did, and the last that did not. To the round
/// in which that changed: its drops are taken for the later ones.
#[derive(Clone, Debug)]
pub(super) struct Otherwise {
    now: Spell,
    before: Option<(Arc<LastDrop>, Spell)>,
}

impl Otherwise {
    /// Those that ended as the last one did.
    pub(super) fn now(&self) -> Spell {
        self.now
    }

    /// Some packets ended so; `before` is what ended otherwise, if it did until now.
    pub(super) fn ended(
        known: &mut Option<Box<Self>>,
        so: Option<&Arc<LastDrop>>,
        some: Spell,
        before: Option<(Arc<LastDrop>, Spell)>,
    ) {
        if before.is_some() {
            let earlier = known.take().and_then(|otherwise| otherwise.before);
            let again = earlier.filter(|(how, _)| so == Some(how));
            let now = again.map_or(some, |(_, spell)| spell.and(some));
            *known = Some(Box::new(Self { now, before }));
        } else if let Some(otherwise) = known {
            otherwise.now = otherwise.now.and(some);
        }
    }
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

    #[test]
    fn what_ends_by_turns_is_counted_by_how_it_ends() {
        let (one, other) = (Arc::new(drop(0)), Arc::new(drop(1)));
        let some = |at, packets| Spell {
            since: at,
            last: at,
            packets,
        };
        let mut known = None;
        Otherwise::ended(&mut known, Some(&one), some(1, 3), None);
        assert!(known.is_none(), "all of them ended so");
        Otherwise::ended(
            &mut known,
            Some(&other),
            some(2, 5),
            Some((Arc::clone(&one), some(1, 3))),
        );
        assert_eq!(known.as_deref().map(Otherwise::now), Some(some(2, 5)));
        Otherwise::ended(&mut known, Some(&other), some(3, 1), None);
        let others = Spell {
            since: 2,
            last: 3,
            packets: 6,
        };
        assert_eq!(known.as_deref().map(Otherwise::now), Some(others));
        Otherwise::ended(&mut known, Some(&one), some(4, 2), Some((other, others)));
        let again = Spell {
            since: 1,
            last: 4,
            packets: 5,
        };
        assert_eq!(known.as_deref().map(Otherwise::now), Some(again));
    }
}
