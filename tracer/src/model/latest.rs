//! The last answer to what is asked of very many flows, one after the other. In the order of their keys most of them share it with
//! the one before.

use std::collections::BTreeMap;

/// What was asked last, and the answer.
pub(crate) struct Latest<K, V>(Option<(K, V)>);

impl<K, V> Default for Latest<K, V> {
    fn default() -> Self {
        Self(None)
    }
}

impl<K: PartialEq, V: Copy> Latest<K, V> {
    /// The answer to this: the last one, where it is asked again.
    pub(crate) fn of(&mut self, asked: K, find: impl FnOnce() -> V) -> V {
        match &self.0 {
            Some((known, answer)) if *known == asked => *answer,
            _ => {
                let answer = find();
                self.0 = Some((asked, answer));
                answer
            }
        }
    }
}

/// What is gathered of very many flows, by something that most of them share with the one before.
pub(crate) struct Gathering<K, V> {
    groups: Vec<(K, V)>,
    places: BTreeMap<K, usize>,
    latest: Latest<K, usize>,
}

impl<K, V> Default for Gathering<K, V> {
    fn default() -> Self {
        Self {
            groups: Vec::new(),
            places: BTreeMap::new(),
            latest: Latest::default(),
        }
    }
}

impl<K: Copy + Ord, V> Gathering<K, V> {
    /// What was gathered for this; where that is nothing, this.
    pub(crate) fn of(&mut self, key: K, new: impl FnOnce() -> V) -> &mut V {
        let (groups, places) = (&mut self.groups, &mut self.places);
        let place = self.latest.of(key, || {
            *places.entry(key).or_insert_with(|| {
                groups.push((key, new()));
                groups.len() - 1
            })
        });
        &mut groups[place].1
    }

    /// What was gathered, in the order of the keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let groups = &self.groups;
        self.places
            .iter()
            .map(move |(key, place)| (key, &groups[*place].1))
    }

    /// All of it.
    pub(crate) fn whole(self) -> BTreeMap<K, V> {
        self.groups.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_for_once_while_the_same_is_asked() {
        let mut latest = Latest::default();
        let mut looked = 0;
        let answers = [1, 1, 2, 2, 2, 1].map(|asked| {
            latest.of(asked, || {
                looked += 1;
                10 * asked
            })
        });
        assert_eq!(answers, [10, 10, 20, 20, 20, 10]);
        assert_eq!(looked, 3);
    }

    #[test]
    fn what_comes_again_is_gathered_with_what_came_before() {
        let mut gathering: Gathering<u32, Vec<u32>> = Gathering::default();
        for (key, number) in [(2, 1), (2, 2), (1, 3), (2, 4), (1, 5)] {
            gathering.of(key, Vec::new).push(number);
        }
        let all: Vec<(u32, Vec<u32>)> = gathering.whole().into_iter().collect();
        assert_eq!(all, [(1, vec![3, 5]), (2, vec![1, 2, 4])]);
    }
}
