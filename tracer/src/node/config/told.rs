//! What is told of a namespace, and who made it necessary to look again.

use super::known::Change;
use crate::event::{Owner, Seen, Unknown};

/// Who did something, or why that is not known.
pub(super) type Who = Result<Owner, Unknown>;

/// Something that was told of the namespace.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) change: Change,
    pub(super) seen: Seen,
    /// `None` where nobody did it: it stands, or came and went with something else.
    pub(super) by: Option<Who>,
}

/// What stands, or came and went with something else: nobody has changed it.
pub(super) fn found(changes: Vec<Change>) -> Vec<Told> {
    all(changes, Seen::Found, None)
}

/// What is different from the last look, and nobody tells.
pub(super) fn noticed(changes: Vec<Change>) -> Vec<Told> {
    all(changes, Seen::Noticed, Some(&Err(Unknown::Compared)))
}

/// What is different since something began to be listened to, or was not heard: it was told.
pub(super) fn unheard(changes: Vec<Change>) -> Vec<Told> {
    all(changes, Seen::Noticed, Some(&Err(Unknown::Lost)))
}

/// Changes that came to be known in the same way.
pub(super) fn all(changes: Vec<Change>, seen: Seen, by: Option<&Who>) -> Vec<Told> {
    let told = |change| Told {
        change,
        seen,
        by: by.cloned(),
    };
    changes.into_iter().map(told).collect()
}

/// Who did what makes a look necessary; `None` where nobody was heard of.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Cause(Option<Who>);

impl Cause {
    /// This one did something, too.
    pub(super) fn add(&mut self, by: &Who) {
        self.0 = Some(match self.0.take() {
            None => by.clone(),
            Some(known) if known == *by => known,
            // Among those who were not heard there may be any.
            Some(Err(Unknown::Lost)) => Err(Unknown::Lost),
            Some(_) if *by == Err(Unknown::Lost) => Err(Unknown::Lost),
            Some(_) => Err(Unknown::Several),
        });
    }

    /// Somebody among them was not heard.
    pub(super) fn is_lost(&self) -> bool {
        self.0 == Some(Err(Unknown::Lost))
    }

    /// Who it was. The next look has other causes.
    pub(super) fn take(&mut self) -> Who {
        self.0.take().unwrap_or(Err(Unknown::Lost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cause_is_named_and_several_are_not() {
        let ip = |pid| Ok(Owner::named(pid, "ip"));
        let of = |all: &[Who]| {
            let mut cause = Cause::default();
            all.iter().for_each(|by| cause.add(by));
            let who = cause.take();
            assert_eq!(cause, Cause::default());
            who
        };
        assert_eq!(of(&[]), Err(Unknown::Lost));
        assert_eq!(of(&[ip(1), ip(1)]), ip(1));
        assert_eq!(of(&[ip(1), ip(2)]), Err(Unknown::Several));
        assert_eq!(
            of(&[Err(Unknown::Kernel), Err(Unknown::Kernel)]),
            Err(Unknown::Kernel)
        );
        assert_eq!(of(&[ip(1), Err(Unknown::Kernel)]), Err(Unknown::Several));
        assert_eq!(of(&[Err(Unknown::Kernel), ip(1), ip(1)]), Err(Unknown::Several));
        assert_eq!(of(&[ip(1), Err(Unknown::Lost), ip(1)]), Err(Unknown::Lost));
    }
}
