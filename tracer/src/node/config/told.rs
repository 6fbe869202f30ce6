//! What is told of a namespace, and who made it necessary to look again.

use super::known::Change;
use crate::event::{Owner, Seen};

/// Something that was told of the namespace.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) change: Change,
    pub(super) seen: Seen,
    pub(super) by: Option<Owner>,
}

/// What stands, or came and went with something else: nobody has changed it.
pub(super) fn found(changes: Vec<Change>) -> Vec<Told> {
    all(changes, Seen::Found, None)
}

/// What is different from the last look.
pub(super) fn noticed(changes: Vec<Change>) -> Vec<Told> {
    all(changes, Seen::Noticed, None)
}

/// Changes that came to be known in the same way.
pub(super) fn all(changes: Vec<Change>, seen: Seen, by: Option<&Owner>) -> Vec<Told> {
    let told = |change| Told {
        change,
        seen,
        by: by.cloned(),
    };
    changes.into_iter().map(told).collect()
}

/// Who did what makes a look necessary, where it is one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Cause {
    #[default]
    Nothing,
    One(Owner),
    /// The kernel itself, or several.
    Others,
}

impl Cause {
    /// This one did something, too.
    pub(super) fn add(&mut self, by: Option<&Owner>) {
        *self = match (std::mem::take(self), by) {
            (Self::Nothing, Some(by)) => Self::One(by.clone()),
            (Self::One(known), Some(by)) if known == *by => Self::One(known),
            _ => Self::Others,
        }
    }

    /// Who it was. The next look has other causes.
    pub(super) fn take(&mut self) -> Option<Owner> {
        match std::mem::take(self) {
            Self::One(by) => Some(by),
            Self::Nothing | Self::Others => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cause_is_named_and_several_are_not() {
        let owner = |pid| Owner {
            pid,
            command: "ip".to_owned(),
            cgroup: String::new(),
            unit: String::new(),
        };
        let of = |all: &[Option<Owner>]| {
            let mut cause = Cause::default();
            for by in all {
                cause.add(by.as_ref());
            }
            (cause.take(), cause)
        };
        assert_eq!(of(&[]), (None, Cause::Nothing));
        let twice = [Some(owner(1)), Some(owner(1))];
        assert_eq!(of(&twice), (Some(owner(1)), Cause::Nothing));
        assert_eq!(of(&[Some(owner(1)), Some(owner(2))]).0, None);
        assert_eq!(of(&[Some(owner(1)), None]).0, None, "the kernel, too");
        assert_eq!(of(&[None, Some(owner(1))]).0, None);
    }
}
