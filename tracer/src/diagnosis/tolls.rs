//! What flows have lost of a fault since it began, whether or not it can be seen of them still.
//!
//! A process gives up, a flow gets something again, or is forgotten; what it lost is lost all the same. So a verdict never says less
//! than it did: what it said of each flow is kept from one tick to the next, for as long as the fault lasts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::aftermath::Aftermath;
use super::gone_rules::GoneRules;
use super::lost::kinds::Kind;
use super::sufferers::Sufferer;
use crate::event::{FlowKey, Owner};
use crate::model::clock::{SECOND, When};
use crate::model::growth::{Growing, Spell};
use crate::model::last_drops::LastDrop;
use crate::model::plight::Plight;

/// Flows that are kept of one fault. More are told for as long as they can be seen.
const MOST: usize = 2_048;
/// A fault of which nothing is found for so long is over, whoever mended it: as for episodes, 30 s.
pub(super) const OVER: u64 = 30 * SECOND;

/// What flows are found to lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Of {
    /// Packets of one kind, before their sockets.
    Kind(Kind),
    /// Requests to servers that a firewall cuts off.
    Barred,
    /// What is to be passed on.
    PassedOn,
    /// What is routed as somebody else's.
    Foreign,
    /// What the reverse path filter refuses.
    ReversePath,
}

/// What one flow has lost in one spell, or in all of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Toll<'a> {
    flow: Flow<'a>,
    /// By a drop that was seen.
    is_dropped: bool,
    pub lost: Spell,
    /// When the latest of its spells began: it is the same one as long as that is.
    began: u64,
}

/// What is known of the flow.
#[derive(Clone, Copy, Debug)]
enum Flow<'a> {
    Now(&'a Plight),
    Before(&'a FlowKey, &'a Kept),
}

impl<'a> Toll<'a> {
    /// What a flow is found to lose now, by its last drop or by none that was seen, in a spell that began then.
    pub(super) fn of(plight: &'a Plight, is_dropped: bool, lost: Spell, began: u64) -> Self {
        let since = plight.began(lost.since);
        Self {
            flow: Flow::Now(plight),
            is_dropped,
            lost: Spell { since, ..lost },
            began,
        }
    }

    /// How the flow is off; `None` where nothing of it is found now.
    pub(super) fn plight(&self) -> Option<&'a Plight> {
        match self.flow {
            Flow::Now(plight) => Some(plight),
            Flow::Before(..) => None,
        }
    }

    pub(super) fn key(&self) -> &'a FlowKey {
        match self.flow {
            Flow::Now(plight) => &plight.key,
            Flow::Before(key, _) => key,
        }
    }

    /// Device by which its packets arrive.
    pub(super) fn iif(&self) -> u32 {
        match self.flow {
            Flow::Now(plight) => plight.iif,
            Flow::Before(_, kept) => kept.iif,
        }
    }

    /// How its packets ended last; `None` where no drop was seen.
    pub(super) fn end(&self) -> Option<&'a Arc<LastDrop>> {
        match self.flow {
            Flow::Now(plight) => plight.last_drop.as_ref().filter(|_| self.is_dropped),
            Flow::Before(_, kept) => kept.end.as_ref(),
        }
    }

    /// Who waited for its packets has given up, as far as `now` says of one that is seen.
    pub(super) fn gave_up(&self, now: impl Fn(&Plight) -> bool) -> bool {
        match self.flow {
            Flow::Now(plight) => now(plight),
            Flow::Before(_, kept) => kept.gave_up,
        }
    }
}

impl<'a> From<&Toll<'a>> for Sufferer<'a> {
    fn from(toll: &Toll<'a>) -> Self {
        match toll.flow {
            Flow::Now(plight) => plight.into(),
            Flow::Before(key, kept) => Self {
                key: *key,
                since: When::NEVER,
                owner: kept.owner.as_deref(),
            },
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
    /// What is found now is the first that is kept of it.
    fn of(toll: &Toll<'_>, gave_up: bool) -> Self {
        let owner = match toll.flow {
            Flow::Now(plight) => plight.owner.clone(),
            Flow::Before(_, kept) => kept.owner.clone(),
        };
        Self {
            owner,
            gave_up,
            iif: toll.iif(),
            end: toll.end().cloned(),
            lost: toll.lost,
            began: toll.began,
            before: 0,
        }
    }

    /// It was lost since then.
    fn is_of(&self, since: When) -> bool {
        When::at(self.lost.last) >= since
    }

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

    /// The same with what is found now.
    fn and(&mut self, now: Self) {
        let (lost, before) = self.with(now.lost, now.began);
        let owner = now.owner.or(self.owner.take());
        *self = Self {
            lost,
            before,
            owner,
            ..now
        };
    }
}

/// What is kept of one fault.
#[derive(Clone, Debug, Default)]
struct Tolls {
    flows: BTreeMap<FlowKey, Kept>,
    /// When something of it was found last.
    found: u64,
}

/// What is kept of a fault and is not found now.
#[derive(Debug, Default)]
pub(super) struct Beside<'a> {
    /// What flows that are found have lost in all, by their places.
    more: Vec<(usize, Spell)>,
    /// Flows of which nothing is found now, in the order of their keys.
    others: Vec<Toll<'a>>,
}

impl<'a> Beside<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.more.is_empty() && self.others.is_empty()
    }

    /// All of it: each flow once, in the order of their keys.
    pub(super) fn with<'n>(self, now: &'n [Toll<'a>]) -> Cow<'n, [Toll<'a>]> {
        if self.is_empty() {
            return Cow::Borrowed(now);
        }
        let mut all = now.to_vec();
        for (place, lost) in self.more {
            if let Some(toll) = all.get_mut(place) {
                toll.lost = lost;
            }
        }
        if !self.others.is_empty() {
            all.extend(self.others);
            // The one sort that makes use of what is in order already.
            all.sort_by_key(|toll| toll.key());
        }
        Cow::Owned(all)
    }
}

/// What flows lose now, to be kept, and those of which what is kept is over.
pub(super) struct Found(Vec<FoundOf>);

/// The same of one fault.
struct FoundOf {
    of: Of,
    over: Vec<FlowKey>,
    now: Vec<(FlowKey, Kept)>,
}

/// What was found until the last tick.
#[derive(Default)]
pub(super) struct Past {
    tolls: BTreeMap<Of, Tolls>,
    /// The spell in which something of the path that was asked did not answer.
    pub(super) silence: Growing,
    pub(super) aftermath: Aftermath,
    pub(super) gone_rules: GoneRules,
}

impl Past {
    /// What is kept beside what is found now, which is in the order of its keys, of each flow since some time.
    pub(super) fn beside<'a>(
        &'a self,
        of: Of,
        now: &[Toll<'a>],
        since: impl Fn(&FlowKey) -> When,
    ) -> Beside<'a> {
        let mut beside = Beside::default();
        let past = self.tolls.get(&of).into_iter().flat_map(|past| &past.flows);
        for (key, kept) in past.filter(|(key, kept)| kept.is_of(since(key))) {
            let Some(place) = place(now, key) else {
                beside.others.push(Toll {
                    flow: Flow::Before(key, kept),
                    is_dropped: kept.end.is_some(),
                    lost: kept.lost,
                    began: kept.began,
                });
                continue;
            };
            let toll = &now[place];
            let (lost, _) = kept.with(toll.lost, toll.began);
            if lost != toll.lost {
                beside.more.push((place, lost));
            }
        }
        beside
    }

    /// What of this is to be kept: what is found, in the order of its keys, of flows that are kept and of as many others as there
    /// is room for. Who waited for a flow has given up as `gave_up` says. What flows lost before these times is of another fault.
    pub(super) fn keep(
        &self,
        found: &[(Of, &[Toll<'_>])],
        gave_up: impl Fn(&Plight) -> bool,
        since: impl Fn(Of, &FlowKey) -> When,
    ) -> Found {
        let kept = |toll: &Toll<'_>| (*toll.key(), Kept::of(toll, toll.gave_up(&gave_up)));
        let of_one = |(of, now): &(Of, &[Toll<'_>])| {
            let none = Tolls::default();
            let past = &self.tolls.get(of).unwrap_or(&none).flows;
            let known = past.keys().filter_map(|key| place(now, key));
            let mut all: Vec<(FlowKey, Kept)> = known.map(|place| kept(&now[place])).collect();
            let room = MOST.saturating_sub(past.len());
            if room > 0 {
                let is_new = |toll: &&Toll<'_>| !past.contains_key(toll.key());
                all.extend(now.iter().filter(is_new).take(room).map(kept));
            }
            let is_other = |(key, kept): &(&FlowKey, &Kept)| !kept.is_of(since(*of, key));
            let over = past.iter().filter(is_other).map(|(key, _)| *key).collect();
            FoundOf {
                of: *of,
                over,
                now: all,
            }
        };
        Found(found.iter().map(of_one).collect())
    }

    /// This was found at a tick.
    pub(super) fn found(&mut self, at: u64, now: Found) {
        for FoundOf { of, over, now } in now.0 {
            let past = self.tolls.entry(of).or_default();
            past.found = at;
            for key in over {
                past.flows.remove(&key);
            }
            for (key, toll) in now {
                match past.flows.get_mut(&key) {
                    Some(kept) => kept.and(toll),
                    None => {
                        past.flows.insert(key, toll);
                    }
                }
            }
        }
        self.tolls.retain(|_, past| at.saturating_sub(past.found) <= OVER);
    }

    /// Something of the path was silent at a tick, since that time.
    pub(super) fn was_silent(&mut self, at: u64, since: u64) {
        self.silence.note(since, at, 1);
    }

    /// What lasted until then is over, as it was mended: by rule, when.
    pub(super) fn conclude(&mut self, until: u64, mended: impl Iterator<Item = (&'static str, u64)>) {
        self.aftermath.conclude(mended);
        self.silence.conclude(until);
        for past in self.tolls.values_mut() {
            past.flows.retain(|_, kept| kept.lost.last > until);
        }
    }
}

/// Where the flow stands among these.
fn place(tolls: &[Toll<'_>], key: &FlowKey) -> Option<usize> {
    tolls.binary_search_by_key(&key, |toll| toll.key()).ok()
}
