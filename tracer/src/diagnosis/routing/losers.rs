//! Who loses what by these rules, now and since the fault began.

use crate::diagnosis::View;
use crate::diagnosis::sufferers::Sufferer;
use crate::diagnosis::suffering::Suffering;
use crate::diagnosis::tolls::{Of, Toll};
use crate::model::clock::When;
use crate::model::ends::{self, Signature};
use crate::model::growth::Spell;
use crate::model::plight::{Plight, Waits};

/// What flows are found to lose so that somebody waits for, or did until the process gave up: those whose recent drops have this
/// reason and place.
fn lose<'a>(view: &View<'a>, signature: impl Fn(&str, &str) -> bool) -> Vec<Toll<'a>> {
    let dropped = view.befallen().dropped_by(signature);
    let suffer = |plight: &&Plight| plight.starved != When::NEVER || plight.waits != Waits::Nobody;
    let toll = |plight: &'a Plight| Some(Toll::of(plight, true, plight.dropped?, plight.dropped?.since));
    dropped.filter(suffer).filter_map(toll).collect()
}

/// What flows are found to lose in a spell of one of these faults.
pub(in crate::diagnosis) struct Losing<'a> {
    pub of: Of,
    pub spell: Spell,
    /// In the order of their keys.
    pub tolls: Vec<Toll<'a>>,
}

/// Of each of these faults, where it is found.
pub(in crate::diagnosis) fn all<'a>(view: &View<'a>) -> Vec<Losing<'a>> {
    let (books, now) = (view.model.books(), view.model.now());
    let foreign = books.foreign(now).map(|spell| Losing {
        of: Of::Foreign,
        spell,
        tolls: lose(view, ends::treated_as_foreign),
    });
    let reverse_path = books.spell(Signature::ReversePath, now).map(|spell| Losing {
        of: Of::ReversePath,
        spell,
        tolls: lose(view, |reason, _| reason == ends::RPFILTER),
    });
    foreign.into_iter().chain(reverse_path).collect()
}

/// What flows are found to lose by this fault; `None` where it is not found.
pub(super) fn found<'v, 'a>(view: &'v View<'a>, of: Of) -> Option<&'v Losing<'a>> {
    view.routed().iter().find(|losing| losing.of == of)
}

/// Who suffers: those who do now, and who did since it began.
pub(super) fn suffering<'a>(view: &View<'a>, losing: &Losing<'a>) -> Suffering<'a> {
    let since = When::at(losing.spell.since);
    let all = view
        .past
        .beside(losing.of, &losing.tolls, |_| since)
        .with(&losing.tolls);
    Suffering::of(all.iter().map(Sufferer::from))
}
