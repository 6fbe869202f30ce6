//! Flows that lose some of what arrives for them, and go on: a firewall that drops one packet in ten starves nobody, and yet
//! all is slow.

use std::collections::BTreeMap;

use super::kinds::{self, Kind};
use super::{Ended, Loss, Lost, finding};
use crate::diagnosis::sufferers::Sufferer;
use crate::diagnosis::suffering::Suffering;
use crate::diagnosis::words::{count, list, moment};
use crate::diagnosis::{Finding, View};
use crate::model::Model;
use crate::model::clock::SECOND;
use crate::model::growth::Spell;
use crate::model::plight::{Plight, Waits};
use crate::numbers::thousands;
use crate::report::Confidence;

/// Packets that all flows together must have lost, over so much time.
const SIGN: (u64, u64) = (5, 2 * SECOND);
/// For more than a sign, so many.
const MANY: u64 = 8;
/// One in so many of what arrived must be lost for a sign, ...
const SIGN_SHARE: u64 = 100;
/// ... and for more than that.
const SHARE: u64 = 20;

/// What is to be expected so often at least is likely.
const LIKELY: f64 = 0.1;

#[expect(clippy::cast_precision_loss, reason = "a chance is told roughly")]
fn ratio(part: u64, of: u64) -> f64 {
    part as f64 / of.max(1) as f64
}

/// What flows lose that get the rest.
pub(super) struct Partly<'a> {
    lost: Lost<'a>,
    /// Packets that arrived for these flows while they lost some.
    arrived: u64,
    /// Packets that were lost of answers to what this node asked, and of connections that stand.
    of_own: u64,
}

/// The flow has lost some of its packets lately, and others that came between them reached it.
pub(super) fn is_some(plight: &Plight, dropped: &Spell) -> bool {
    plight.waits.is_wanted() && plight.arrived_amid_drops > dropped.packets
}

impl<'a> Partly<'a> {
    /// Nothing yet.
    pub(super) fn nothing(model: &Model) -> Self {
        Self {
            lost: Lost::nothing(model),
            arrived: 0,
            of_own: 0,
        }
    }

    /// A flow lost some packets, and its last ones so.
    pub(super) fn add(&mut self, plight: &'a Plight, (drop, place, spell): Ended<'a>) {
        let (packets, times) = (spell.packets, (spell.since, spell.last));
        self.lost.add(plight, Some((drop, place)), packets, times);
        self.arrived = self.arrived.saturating_add(plight.arrived_amid_drops);
        if plight.is_reply || plight.waits == Waits::Connected {
            self.of_own = self.of_own.saturating_add(packets);
        }
    }

    /// Takes over those flows of other kinds that lost no more packets in a row than chance brings about: where one in ten is
    /// lost, one in a hundred times the next one is, too.
    pub(super) fn claim(&mut self, model: &Model, kinds: &mut BTreeMap<Kind, Lost<'a>>) {
        if self.confidence().is_none() {
            return;
        }
        for lost in kinds.values_mut() {
            let whole = std::mem::replace(lost, Lost::nothing(model));
            for plight in whole.flows {
                let end = plight.last_drop.as_deref();
                let place = whole.losses.iter().find(|(_, loss)| loss.end == end);
                let place = place.and_then(|(place, _)| *place);
                match (end.zip(place), plight.dropped) {
                    (Some((drop, place)), Some(spell)) if self.is_chance(plight, place) => {
                        self.add(plight, (drop, place, spell));
                    }
                    (end, _) => {
                        let in_vain = plight.hunger.map_or(0, |hunger| u64::from(hunger.dropped));
                        let packets = if in_vain > 0 { in_vain } else { plight.missing };
                        lost.add(plight, end, packets, (whole.since, whole.last));
                    }
                }
            }
        }
        kinds.retain(|_, lost| !lost.flows.is_empty());
    }

    /// Of as many packets as arrived, so many in a row that end at this place are likely to be lost by chance.
    fn is_chance(&self, plight: &Plight, place: usize) -> bool {
        let in_a_row = plight.hunger.map_or(0, |hunger| hunger.dropped);
        let share = ratio(self.lost.packets(), self.arrived);
        let chance = share.powf(f64::from(in_a_row)) * ratio(self.arrived, 1);
        self.lost.losses.contains_key(&Some(place)) && chance >= LIKELY
    }

    /// How sure it is that something is wrong; `None` where a few packets are lost now and then, as they always are.
    fn confidence(&self) -> Option<Confidence> {
        let (lost, spell) = (
            self.lost.packets(),
            self.lost.last.saturating_sub(self.lost.since),
        );
        let is_share = |lost: u64, of: u64| lost.saturating_mul(of) >= self.arrived;
        let (packets, time) = SIGN;
        if lost < packets || spell < time || !is_share(lost, SIGN_SHARE) {
            None
        } else if self.of_own >= MANY && is_share(self.of_own, SHARE) {
            Some(Confidence::Strong)
        } else {
            // Who asks too much of a server may be held back on purpose.
            Some(Confidence::Weak)
        }
    }
}

/// What the rule has found.
pub(super) fn examine(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    let partly = &view.befallen().losses.partly;
    let confidence = partly.confidence()?;
    let lost = &partly.lost;
    let losses = lost.by_packets();
    let suffering = Suffering::of(lost.flows.iter().copied().map(Sufferer::from));
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
