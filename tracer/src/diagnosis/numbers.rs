//! Numbers for what the model keeps once and very many flows share, as their owners: so that flows are counted by number.

use std::collections::HashMap;

use foldhash::fast::RandomState;

/// What is shared, numbered from 0 in the order in which it is first seen. Each is told from others by where it lies.
#[derive(Default)]
pub(super) struct Numbers {
    known: HashMap<usize, usize, RandomState>,
    /// The last one: most flows share what the one before has.
    latest: Option<(usize, usize)>,
}

impl Numbers {
    /// The number of this one; null is one too.
    pub(super) fn of<T>(&mut self, shared: *const T) -> usize {
        let lies = shared.addr();
        if let Some((_, number)) = self.latest.filter(|(latest, _)| *latest == lies) {
            return number;
        }
        let new = self.known.len();
        let number = *self.known.entry(lies).or_insert(new);
        self.latest = Some((lies, number));
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_number_of_its_own() {
        let owners = ["a", "b", "a"];
        let at = |place: usize| std::ptr::from_ref(&owners[place]);
        let mut numbers = Numbers::default();
        let shared = [
            at(1),
            at(1),
            std::ptr::null(),
            at(0),
            at(2),
            at(1),
            std::ptr::null(),
        ];
        let all: Vec<usize> = shared.into_iter().map(|one| numbers.of(one)).collect();
        assert_eq!(all, [0, 0, 1, 2, 3, 0, 1]);
    }
}
