//! Who loses what by these rules, now and since the fault began.

use crate::diagnosis::View;
use crate::diagnosis::sufferers::Sufferer;
use crate::diagnosis::suffering::Suffering;
use crate::diagnosis::tolls::{Of, Toll};
use crate::model::Model;
use crate::model::clock::When;
use crate::model::ends::{self, Signature};
use crate::model::growth::Spell;
use crate::model::last_drops::LastDrop;
use crate::model::latest::Latest;
use crate::model::plight::{Plight, Waits};

/// What flows are found to lose in a spell of one of these faults.
pub(in crate::diagnosis) struct Losing<'a> {
    pub of: Of,
    pub spell: Spell,
    /// Of those that somebody waits for, or did until the process gave up; in the order of their keys.
    pub tolls: Vec<Toll<'a>>,
    /// All whose packets came from behind this node, whoever waits for them.
    pub inner: Vec<&'a Plight>,
}

/// Packets that end so are lost by this fault.
fn is_lost_by(of: Of, (reason, place): &LastDrop) -> bool {
    match of {
        Of::Foreign => ends::treated_as_foreign(reason, &place.symbol),
        Of::ReversePath => reason == ends::RPFILTER,
        Of::Kind(_) | Of::Barred | Of::PassedOn => false,
    }
}

/// What flows lose where their packets are routed, as they come one after the other.
pub(in crate::diagnosis) struct Routed<'a> {
    /// Of each of these faults, where it is found.
    all: Vec<Losing<'a>>,
    /// By which of them the last flow lost packets, by the place of how those ended.
    by: Latest<usize, Option<usize>>,
    /// Its packets came from behind this node.
    is_inner: Latest<(u32, u32), bool>,
}

impl<'a> Routed<'a> {
    /// Nothing yet.
    pub(in crate::diagnosis) fn new(model: &Model) -> Self {
        let (books, now) = (model.books(), model.now());
        let spells = [
            (Of::Foreign, books.foreign(now)),
            (Of::ReversePath, books.spell(Signature::ReversePath, now)),
        ];
        let losing = |(of, spell): (Of, Option<Spell>)| {
            Some(Losing {
                of,
                spell: spell?,
                tolls: Vec::new(),
                inner: Vec::new(),
            })
        };
        Self {
            all: spells.into_iter().filter_map(losing).collect(),
            by: Latest::default(),
            is_inner: Latest::default(),
        }
    }

    /// Takes a flow in, with the place of how its packets ended last, and the spell of its drops.
    pub(in crate::diagnosis) fn add(
        &mut self,
        view: &View<'a>,
        plight: &'a Plight,
        (drop, place, spell): (&LastDrop, usize, Spell),
    ) {
        let all = &mut self.all;
        let by = self.by.of(place, || {
            all.iter().position(|losing| is_lost_by(losing.of, drop))
        });
        let Some(losing) = by.and_then(|by| all.get_mut(by)) else {
            return;
        };
        if plight.starved != When::NEVER || plight.waits != Waits::Nobody {
            losing.tolls.push(Toll::of(plight, true, spell, spell.since));
        }
        let device = (plight.key.netns, plight.iif);
        let is_inner = || plight.iif != 0 && !view.by_uplink(device.0, device.1);
        if self.is_inner.of(device, is_inner) {
            losing.inner.push(plight);
        }
    }

    /// Of each of these faults, where it is found.
    pub(in crate::diagnosis) fn whole(self) -> Vec<Losing<'a>> {
        self.all
    }
}

/// What flows are found to lose by this fault; `None` where it is not found.
pub(super) fn found<'v, 'a>(view: &'v View<'a>, of: Of) -> Option<&'v Losing<'a>> {
    view.routed().iter().find(|losing| losing.of == of)
}

/// Who suffers: those who do now, and who did since it began.
pub(super) fn suffering<'a>(view: &View<'a>, losing: &Losing<'a>) -> Suffering<'a> {
    let since = When::at(losing.spell.since);
    let beside = view.past.beside(losing.of, &losing.tolls, |_| since);
    Suffering::of(beside.with(&losing.tolls).iter().map(Sufferer::from))
}
