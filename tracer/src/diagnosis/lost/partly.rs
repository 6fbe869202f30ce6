//! Flows that lose some of what arrives for them, and go on: a firewall that drops one packet in ten starves nobody, and yet
//! all is slow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::kinds::{self, Kind};
use super::{Ended, Loss, Lost, finding};
use crate::diagnosis::share::Share;
use crate::diagnosis::sufferers::Sufferer;
use crate::diagnosis::suffering::Suffering;
use crate::diagnosis::words::{count, list, moment};
use crate::diagnosis::{Finding, View};
use crate::model::Model;
use crate::model::growth::Spell;
use crate::model::plight::{Plight, Waits};
use crate::numbers::thousands;

/// What flows lose that get the rest.
pub(super) struct Partly<'a> {
    lost: Lost<'a>,
    /// Packets that arrived for these flows while they lost some.
    arrived: u64,
    /// Packets that were lost of answers to what this node asked, and of connections that stand.
    of_own: u64,
    /// What flows that get nothing now lost of what they got before, and how much of that arrived.
    before: Option<(Spell, u64)>,
}

/// The flow has lost some of its packets lately, one in so many or less, and others that came between them reached it.
pub(super) fn is_some(plight: &Plight, dropped: &Spell, one_in: u64) -> bool {
    let amid = plight.arrived_amid_drops;
    plight.waits.is_wanted() && amid > dropped.packets && amid >= dropped.packets.saturating_mul(one_in)
}

impl<'a> Partly<'a> {
    /// Nothing yet.
    pub(super) fn nothing(model: &Model) -> Self {
        Self {
            lost: Lost::nothing(model),
            arrived: 0,
            of_own: 0,
            before: None,
        }
    }

    /// A flow gets nothing now. It may have got some before.
    pub(super) fn starves(&mut self, plight: &Plight) {
        if let Some(spell) = lost_before(plight) {
            let its = (spell, plight.arrived_amid_drops);
            self.before = Some(self.before.map_or(its, |before| both(before, its)));
        }
    }

    /// A flow lost some packets, and its last ones so.
    pub(super) fn add(&mut self, plight: &'a Plight, (_, place, spell): Ended<'a>) {
        self.lost.add(plight, Some(place), spell, spell.since);
        self.arrived = self.arrived.saturating_add(plight.arrived_amid_drops);
        if plight.is_reply || plight.waits == Waits::Connected {
            self.of_own = self.of_own.saturating_add(spell.packets);
        }
    }

    /// Takes over those flows of other kinds that lost no more packets in a row than chance brings about: where one in ten is
    /// lost, one in a hundred times the next one is, too.
    pub(super) fn claim(&mut self, model: &'a Model, kinds: &mut BTreeMap<Kind, Lost<'a>>) {
        let Some(share) = self.firm_share() else {
            return;
        };
        let known: BTreeSet<usize> = self.lost.losses.keys().flatten().copied().collect();
        for lost in kinds.values_mut() {
            let whole = std::mem::replace(lost, Lost::nothing(model));
            for toll in whole.flows {
                let end = toll.end().map(Arc::as_ref);
                let place = whole.losses.iter().find(|(_, loss)| loss.end == end);
                let place = place.and_then(|(place, _)| *place);
                let dropped = toll.plight().and_then(|plight| Some((plight, plight.dropped?)));
                match (end.zip(place), dropped) {
                    (Some((drop, place)), Some((plight, spell)))
                        if is_chance(&share, plight)
                            && (known.contains(&place) || lost_before(plight).is_some()) =>
                    {
                        self.add(plight, (drop, place, spell));
                    }
                    _ => lost.enter(toll, place),
                }
            }
        }
        kinds.retain(|_, lost| !lost.flows.is_empty());
    }

    /// How much is lost of those flows of which some was lost, and later some again: what had arrived just before all of it began
    /// to be lost is no sign that some gets through. `None` where there are none.
    fn firm_share(&self) -> Option<Share> {
        let some = self.lost.flows.iter().filter_map(|toll| {
            let plight = toll.plight()?;
            let spell = plight.dropped.filter(|spell| spell.last > spell.since)?;
            Some((spell, plight.arrived_amid_drops))
        });
        let (lost, of) = some.chain(self.before).reduce(both)?;
        Some(Share { lost, of, of_own: 0 })
    }

    /// How much is lost of what arrives.
    fn share(&self) -> Share {
        Share {
            lost: Spell {
                since: self.lost.since,
                last: self.lost.last,
                packets: self.lost.packets(),
            },
            of: self.arrived,
            of_own: self.of_own,
        }
    }
}

/// What the flow, which gets nothing now, has lost since it lost some of what it got before. What came just before all of it began
/// to be dropped says nothing.
pub(super) fn lost_before(plight: &Plight) -> Option<Spell> {
    let (hunger, spell) = plight.hunger.zip(plight.dropped)?;
    let is_its = spell.since < hunger.since && plight.arrived_after_drops > spell.packets;
    (is_its && is_some(plight, &spell, 1)).then_some(spell)
}

/// What was lost, and how much arrived, of both.
fn both((lost, of): (Spell, u64), (spell, arrived): (Spell, u64)) -> (Spell, u64) {
    (lost.and(spell), of.saturating_add(arrived))
}

/// The flow lost no more in a row than is likely where so much is lost.
fn is_chance(share: &Share, plight: &Plight) -> bool {
    let in_a_row = plight.hunger.map_or(0, |hunger| hunger.dropped);
    share.makes_likely(in_a_row)
}

/// What the rule has found.
pub(super) fn examine(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    let partly = &view.befallen().losses.partly;
    let confidence = partly.share().confidence()?;
    let lost = &partly.lost;
    let losses = lost.by_packets();
    let suffering = Suffering::of(lost.flows.iter().map(Sufferer::from));
    let ends: Vec<String> = losses.iter().map(|loss| kinds::told(loss)).collect();
    let of = |loss: &Loss<'_>| {
        let end = loss.end.map(|(reason, place)| kinds::kind(reason, &place.symbol));
        end.unwrap_or(Kind::Other)
    };
    let hooks = if losses.iter().any(|loss| of(loss) == Kind::Firewall) {
        Kind::Firewall.more(model, lost)
    } else {
        String::new()
    };
    let explanation = format!(
        "Of {} that arrived from {} to {} for flows that go on, {} reached no socket: {}. The flows get the rest, and what is sent \
         once more, later.{hooks}{}",
        count(partly.arrived, "packet"),
        moment(model, lost.since),
        moment(model, lost.last),
        thousands(lost.packets()),
        list(&ends),
        suffering.named()
    );
    let what = (confidence, explanation);
    Some(finding(model, lost, suffering, of, what, Vec::new()))
}
