//! What flows have lost of a fault since it began, whether or not it can be seen of them still.
//!
//! A process gives up, a flow gets something again, or is forgotten; what it lost is lost all the same. So a verdict never says less
//! than it did: what it said of each flow is kept from one tick to the next, for as long as the fault lasts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::lost::kinds::Kind;
use super::sufferers::Sufferer;
use crate::event::{FlowKey, Owner};
use crate::model::clock::{SECOND, When};
use crate::model::flows::LastDrop;
use crate::model::growth::Spell;

/// Flows that are kept of one fault. More are told for as long as they can be seen.
const MOST: usize = 65_536;
/// A fault of which nothing is found for so long is over, whoever mended it: as for episodes, 30 s.
const OVER: u64 = 30 * SECOND;

/// What flows are found to lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Of {
    /// Packets of one kind, before their sockets.
    Kind(Kind),
    /// Requests to servers that a firewall cuts off.
    Barred,
    /// What is to be passed on.
    PassedOn,
}

/// What one flow has lost in one spell, or in all of them.
#[derive(Clone, Debug)]
pub(super) struct Toll<'a> {
    pub key: FlowKey,
    /// Since when it starves; never where it does not now.
    pub starved: When,
    pub owner: Option<&'a Arc<Owner>>,
    /// Who waited has given up.
    pub gave_up: bool,
    /// Device by which its packets arrive.
    pub iif: u32,
    /// How its packets ended last; `None` where no drop was seen.
    pub end: Option<&'a Arc<LastDrop>>,
    pub lost: Spell,
    /// When the latest of its spells began: it is the same one as long as that is.
    pub began: u64,
}

impl<'a> From<&Toll<'a>> for Sufferer<'a> {
    fn from(toll: &Toll<'a>) -> Self {
        Self {
            key: toll.key,
            since: toll.starved,
            owner: toll.owner.map(Arc::as_ref),
        }
    }
}

/// The same, as it is kept.
#[derive(Clone, Debug)]
struct Kept {
    owner: Option<Arc<Owner>>,
    gave_up: bool,
    iif: u32,
    end: Option<Arc<LastDrop>>,
    /// In all spells.
    lost: Spell,
    began: u64,
    /// Packets of it that were lost in earlier spells.
    before: u64,
}

impl Kept {
    /// What it lost in all spells, and in those before this one, which began then and is what is found of it now.
    fn with(&self, now: Spell, began: u64) -> (Spell, u64) {
        let before = if self.began == began {
            self.before
        } else {
            self.lost.packets
        };
        let both = self.lost.and(now);
        let packets = before.saturating_add(now.packets).max(self.lost.packets);
        (Spell { packets, ..both }, before)
    }
}

/// What is kept of one fault.
#[derive(Clone, Debug, Default)]
struct Tolls {
    flows: HashMap<FlowKey, Kept, RandomState>,
    /// When something of it was found last.
    found: u64,
}

/// What was found until the last tick.
#[derive(Clone, Debug, Default)]
pub(super) struct Past(BTreeMap<Of, Tolls>);

impl Past {
    /// What is found now, with what was before: each flow once, in the order of their keys.
    pub(super) fn with<'a>(&'a self, of: Of, mut now: Vec<Toll<'a>>) -> Vec<Toll<'a>> {
        let Some(past) = self.0.get(&of).filter(|past| !past.flows.is_empty()) else {
            return now;
        };
        for toll in &mut now {
            if let Some(kept) = past.flows.get(&toll.key) {
                (toll.lost, _) = kept.with(toll.lost, toll.began);
            }
        }
        now.sort_unstable_by_key(|toll| toll.key);
        let is_found = |key: &FlowKey| now.binary_search_by_key(key, |toll| toll.key).is_ok();
        let others: Vec<Toll<'a>> = past
            .flows
            .iter()
            .filter(|(key, _)| !is_found(key))
            .map(|(key, kept)| Toll {
                key: *key,
                starved: When::NEVER,
                owner: kept.owner.as_ref(),
                gave_up: kept.gave_up,
                iif: kept.iif,
                end: kept.end.as_ref(),
                lost: kept.lost,
                began: kept.began,
            })
            .collect();
        now.extend(others);
        now.sort_unstable_by_key(|toll| toll.key);
        now
    }

    /// What is found at a tick, to be kept.
    pub(super) fn of(found: Vec<(Of, Vec<Toll<'_>>)>) -> Self {
        let kept = |toll: Toll<'_>| Kept {
            owner: toll.owner.cloned(),
            gave_up: toll.gave_up,
            iif: toll.iif,
            end: toll.end.cloned(),
            lost: toll.lost,
            began: toll.began,
            before: 0,
        };
        let tolls = |tolls: Vec<Toll<'_>>| Tolls {
            flows: tolls.into_iter().map(|toll| (toll.key, kept(toll))).collect(),
            found: 0,
        };
        Self(found.into_iter().map(|(of, found)| (of, tolls(found))).collect())
    }

    /// This was found at a tick.
    pub(super) fn found(&mut self, at: u64, now: Self) {
        for (of, now) in now.0 {
            let past = self.0.entry(of).or_default();
            past.found = at;
            for (key, toll) in now.flows {
                if let Some(kept) = past.flows.get_mut(&key) {
                    let (lost, before) = kept.with(toll.lost, toll.began);
                    let owner = toll.owner.or(kept.owner.take());
                    *kept = Kept {
                        lost,
                        before,
                        owner,
                        ..toll
                    };
                } else if past.flows.len() < MOST {
                    past.flows.insert(key, toll);
                }
            }
        }
        self.0.retain(|_, past| at.saturating_sub(past.found) <= OVER);
    }

    /// What lasted until then is over.
    pub(super) fn conclude(&mut self, until: u64) {
        for past in self.0.values_mut() {
            past.flows.retain(|_, kept| kept.lost.last > until);
        }
    }
}
