//! What examples have shown, each with when.

use std::collections::BTreeMap;

use super::plight::COUNTED;

/// The latest of what examples have shown of something, each with when that was last, in boot time.
#[derive(Clone, Debug)]
pub(crate) struct Shown<T>(BTreeMap<T, u64>);

impl<T> Default for Shown<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Clone + Ord> Shown<T> {
    /// It was shown. Where so many are kept already, it takes the place of the oldest.
    pub(crate) fn note(&mut self, at: u64, one: &T, most: usize) {
        if let Some(last) = self.0.get_mut(one) {
            *last = at;
            return;
        }
        if self.0.len() >= most {
            let oldest = self.0.iter().min_by_key(|(_, last)| **last);
            if let Some(oldest) = oldest.map(|(one, _)| one.clone()) {
                self.0.remove(&oldest);
            }
        }
        self.0.insert(one.clone(), at);
    }

    /// What was shown until then is not kept any more.
    pub(crate) fn conclude(&mut self, until: u64) {
        self.0.retain(|_, last| *last > until);
    }

    /// All that are kept.
    pub(crate) fn all(&self) -> impl Iterator<Item = &T> {
        self.0.keys()
    }

    /// Those that were shown of what was counted since then.
    pub(crate) fn since(&self, since: u64) -> impl Iterator<Item = &T> {
        let of_it = self.0.iter().filter(move |(_, last)| is_of(**last, since));
        of_it.map(|(one, _)| one)
    }
}

/// What was shown then is of what was counted since that time.
pub(crate) fn is_of(shown: u64, since: u64) -> bool {
    shown.saturating_add(COUNTED) >= since
}
