//! What is told of a namespace, and who made it necessary to look again.

use std::time::{Duration, Instant};

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

/// For so long it is looked again because something was told meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);

/// Who did what makes a look necessary.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Cause {
    /// `None` where nobody was heard of.
    by: Option<Who>,
    /// When the first of the looks was during all of which something more was told.
    disturbed: Option<Instant>,
}

impl Cause {
    /// This one did something, too.
    pub(super) fn add(&mut self, by: &Who) {
        self.by = Some(match self.by.take() {
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
        self.by == Some(Err(Unknown::Lost))
    }

    /// The next look is taken, whatever is told meanwhile.
    pub(super) fn at_once(&mut self) {
        self.disturbed = Instant::now().checked_sub(PATIENCE);
    }

    /// What is looked at did not stand still, so that nothing was read. Returns whether that goes on for long: then what is told may
    /// not wait for it any more.
    pub(super) fn unsettled(&mut self, now: Instant) -> bool {
        let first = *self.disturbed.get_or_insert(now);
        now.saturating_duration_since(first) >= PATIENCE
    }

    /// It was looked, until now: who it was. The next look has other causes. `None` where something was told meanwhile that was
    /// not read yet: what the look found may be of that, so it is not to be taken, and is looked again. But where it does not
    /// become quiet for long it is taken, and nobody is named.
    pub(super) fn looked(&mut self, is_quiet: bool, now: Instant) -> Option<Who> {
        if !is_quiet {
            if !self.unsettled(now) {
                return None;
            }
            self.add(&Err(Unknown::Several));
        }
        self.disturbed = None;
        Some(self.by.take().unwrap_or(Err(Unknown::Lost)))
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
            let who = cause.looked(true, Instant::now()).unwrap();
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

    #[test]
    fn what_is_told_during_a_look_may_be_what_it_found() {
        let ip = Ok(Owner::named(1, "ip"));
        let begin = Instant::now();
        let mut cause = Cause::default();
        cause.add(&ip);
        assert_eq!(cause.looked(false, begin), None);
        assert_eq!(cause.looked(true, begin + 2 * PATIENCE), Some(ip.clone()));
        assert_eq!(cause, Cause::default());
        // Not for ever.
        cause.add(&ip);
        assert_eq!(cause.looked(false, begin), None);
        assert_eq!(cause.looked(false, begin + PATIENCE / 2), None);
        assert_eq!(cause.looked(false, begin + PATIENCE), Some(Err(Unknown::Several)));
        assert_eq!(cause, Cause::default());
        // A look at what does not stand still counts, too.
        assert!(!cause.unsettled(begin) && !cause.unsettled(begin + PATIENCE / 2));
        assert!(cause.unsettled(begin + PATIENCE));
        assert_eq!(cause.looked(false, begin + PATIENCE), Some(Err(Unknown::Several)));
        assert!(!cause.unsettled(begin + PATIENCE), "that was another look");
    }
}
