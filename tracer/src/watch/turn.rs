//! Many namespaces wait for something, and a few at a time have their turn.

use std::collections::BTreeSet;

/// Whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// The last one that had it.
    last: u32,
}

impl Turn {
    /// Takes up to so many out of those that wait: the ones behind the last that had its turn, then the first.
    pub(super) fn take(&mut self, waiting: &mut BTreeSet<u32>, most: usize) -> BTreeSet<u32> {
        let next = waiting
            .range(self.last.saturating_add(1)..)
            .chain(waiting.range(..=self.last));
        let next: Vec<u32> = next.take(most).copied().collect();
        self.last = next.last().copied().unwrap_or(self.last);
        let taken = BTreeSet::from_iter(next);
        waiting.retain(|inode| !taken.contains(inode));
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_a_turn_before_anybody_has_another() {
        let mut turn = Turn::default();
        let all = BTreeSet::from([3, 5, 8, u32::MAX]);
        let mut next = |most| Vec::from_iter(turn.take(&mut all.clone(), most));
        assert_eq!(next(3), [3, 5, 8]);
        assert_eq!(next(3), [3, 5, u32::MAX]);
        assert_eq!(next(9), [3, 5, 8, u32::MAX]);
        assert!(turn.take(&mut BTreeSet::new(), 3).is_empty());
        let mut waiting = all;
        turn.take(&mut waiting, 3);
        assert_eq!(waiting.len(), 1, "the others go on waiting");
    }
}
