//! The last answer to what is asked of very many flows, one after the other. In the order of their keys most of them share it with
//! the one before.

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
}
