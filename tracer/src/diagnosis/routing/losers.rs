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

/// The spell of what these rules find, and what flows are found to lose; `None` where they find nothing.
pub(super) fn found<'a>(view: &View<'a>, of: Of) -> Option<(Spell, Vec<Toll<'a>>)> {
    let (books, now) = (view.model.books(), view.model.now());
    match of {
        Of::Foreign => Some((books.foreign(now)?, lose(view, ends::treated_as_foreign))),
        Of::ReversePath => Some((
            books.spell(Signature::ReversePath, now)?,
            lose(view, |reason, _| reason == ends::RPFILTER),
        )),
        _ => None,
    }
}

/// All that is to be kept of what flows are found to lose now, each with the time since which it is of the same fault.
pub(in crate::diagnosis) fn tolls<'a>(view: &View<'a>) -> Vec<(Of, Vec<Toll<'a>>, When)> {
    let all = [Of::Foreign, Of::ReversePath].into_iter();
    all.filter_map(|of| {
        let (spell, tolls) = found(view, of)?;
        Some((of, tolls, When::at(spell.since)))
    })
    .collect()
}

/// Who suffers: those who do now, and who did since it began.
pub(super) fn suffering<'a>(view: &View<'a>, of: Of, now: &[Toll<'a>], since: u64) -> Suffering<'a> {
    let all = view.past.beside(of, now, |_| When::at(since)).with(now);
    Suffering::of(all.iter().map(Sufferer::from))
}
