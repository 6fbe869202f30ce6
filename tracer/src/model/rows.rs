//! What is kept of very many flows, in the order of their keys.
//!
//! It lies side by side, in blocks. All of it is gone through twice a second; in a tree, whose nodes lie wherever there was room, each
//! node has to be waited for, which takes several times as long.

use crate::event::FlowKey;

/// Rows in a block, at most: what is told of a new flow moves half of them.
const MOST: usize = 128;
/// Blocks side by side that have no more together are joined.
const FEW: usize = MOST / 2;
/// Room is made for so many at a time.
const ROOM: usize = MOST / 16;

/// What is kept, a row for each key.
#[derive(Clone, Debug)]
pub(crate) struct Rows<T> {
    /// In the order of their keys.
    blocks: Vec<Block<T>>,
    len: usize,
}

#[derive(Clone, Debug)]
struct Block<T> {
    /// No key in it comes before this one, and none of the blocks before it comes behind. The first block has what comes before
    /// all of them.
    from: FlowKey,
    rows: Vec<(FlowKey, T)>,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self {
            blocks: Vec::new(),
            len: 0,
        }
    }
}

impl<T> Rows<T> {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// What is kept with this key.
    pub(crate) fn get(&self, key: &FlowKey) -> Option<&T> {
        let (block, place) = self.find(key).ok()?;
        let (_, row) = self.blocks.get(block)?.rows.get(place)?;
        Some(row)
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, key: &FlowKey) -> Option<&mut T> {
        let (block, place) = self.find(key).ok()?;
        let (_, row) = self.blocks.get_mut(block)?.rows.get_mut(place)?;
        Some(row)
    }

    /// Something is kept with this key.
    pub(crate) fn has(&self, key: &FlowKey) -> bool {
        self.find(key).is_ok()
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&FlowKey, &T)> {
        let all = self.blocks.iter().flat_map(|block| &block.rows);
        all.map(|(key, row)| (key, row))
    }

    /// The same, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&FlowKey, &mut T)> {
        let all = self.blocks.iter_mut().flat_map(|block| &mut block.rows);
        all.map(|(key, row)| (&*key, row))
    }

    /// Those from one key to another, both included.
    pub(crate) fn between(&self, first: FlowKey, last: FlowKey) -> impl Iterator<Item = (&FlowKey, &T)> {
        let (Ok((block, place)) | Err((block, place))) = self.find(&first);
        let blocks = self.blocks.get(block..).unwrap_or_default();
        let all = blocks.iter().flat_map(|block| &block.rows).skip(place);
        all.map(|(key, row)| (key, row))
            .take_while(move |(key, _)| **key <= last)
    }

    /// What is kept with this key; where nothing is, this from now on.
    pub(crate) fn get_or_insert(&mut self, key: FlowKey, new: impl FnOnce() -> T) -> &mut T {
        let (block, place) = self.find(&key).unwrap_or_else(|(block, place)| {
            self.len += 1;
            self.insert(block, place, (key, new()))
        });
        &mut self.blocks[block].rows[place].1
    }

    /// Keeps nothing with this key any more.
    pub(crate) fn remove(&mut self, key: &FlowKey) {
        let Ok((block, place)) = self.find(key) else {
            return;
        };
        self.blocks[block].rows.remove(place);
        self.len -= 1;
        for place in [block, block.saturating_sub(1)] {
            if let [one, next, ..] = &mut self.blocks[place..]
                && next.joins(one)
            {
                self.blocks.remove(place + 1);
            }
        }
    }

    /// Keeps those that are wanted.
    pub(crate) fn retain(&mut self, mut is_wanted: impl FnMut(&FlowKey, &T) -> bool) {
        for block in &mut self.blocks {
            block.rows.retain(|(key, row)| is_wanted(key, row));
            block.rows.shrink_to(block.rows.len() + ROOM);
        }
        self.blocks.dedup_by(Block::joins);
        self.len = self.blocks.iter().map(|block| block.rows.len()).sum();
    }

    /// The block and the place in it that this key has, or else would have.
    fn find(&self, key: &FlowKey) -> Result<(usize, usize), (usize, usize)> {
        let behind = self.blocks.partition_point(|block| block.from <= *key);
        let block = behind.saturating_sub(1);
        let rows = self.blocks.get(block).map_or(&[][..], |block| &block.rows);
        match rows.binary_search_by(|(known, _)| known.cmp(key)) {
            Ok(place) => Ok((block, place)),
            Err(place) => Err((block, place)),
        }
    }

    /// Puts a row there. Where it is then.
    fn insert(&mut self, block: usize, place: usize, row: (FlowKey, T)) -> (usize, usize) {
        let Some(its) = self.blocks.get_mut(block) else {
            let rows = vec![row];
            self.blocks.push(Block {
                from: rows[0].0,
                rows,
            });
            return (block, 0);
        };
        if its.rows.len() < MOST {
            its.insert(place, row);
            return (block, place);
        }
        let next = its.split();
        self.blocks.insert(block + 1, next);
        let half = MOST - MOST / 2;
        let (block, place) = if place <= half {
            (block, place)
        } else {
            (block + 1, place - half)
        };
        self.blocks[block].insert(place, row);
        (block, place)
    }
}

impl<T> Block<T> {
    fn insert(&mut self, place: usize, row: (FlowKey, T)) {
        if self.rows.len() == self.rows.capacity() {
            self.rows.reserve_exact(ROOM);
        }
        self.rows.insert(place, row);
    }

    /// Leaves half of its rows, and gives the others.
    fn split(&mut self) -> Self {
        let rows = self.rows.split_off(self.rows.len() / 2);
        self.rows.shrink_to_fit();
        Self {
            from: rows[0].0,
            rows,
        }
    }

    /// Its rows become those of the one before it, where both have few or one has none.
    fn joins(&mut self, before: &mut Self) -> bool {
        let (own, others) = (self.rows.len(), before.rows.len());
        let joins = own == 0 || others == 0 || own + others <= FEW;
        if joins {
            before.rows.append(&mut self.rows);
        }
        joins
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    use super::*;
    use crate::event::Protocol;

    fn key(number: u32) -> FlowKey {
        FlowKey {
            netns: 1,
            protocol: Protocol::Tcp,
            local: Ipv4Addr::new(10, 0, 0, 1).into(),
            local_port: 80,
            remote: Ipv4Addr::from_bits(number).into(),
            remote_port: 40_000,
        }
    }

    /// Numbers in no order.
    fn numbers() -> impl Iterator<Item = u32> {
        (1_u32..).map(|number| number.wrapping_mul(2_654_435_761) >> 12)
    }

    /// They are the same, however they are asked for, and in few blocks.
    fn compare(rows: &mut Rows<u32>, known: &BTreeMap<FlowKey, u32>) {
        assert!(rows.iter().eq(known));
        assert!(rows.iter_mut().map(|(key, row)| (key, &*row)).eq(known));
        assert_eq!(rows.len(), known.len());
        for number in numbers().take(500) {
            let (first, last) = (key(number), key(number + 100_000));
            assert_eq!(rows.get(&first), known.get(&first));
            assert_eq!(rows.has(&last), known.contains_key(&last));
            assert!(rows.between(first, last).eq(known.range(first..=last)));
        }
        assert!(rows.blocks.len() <= 1 + 2 * rows.len() / FEW);
        assert!(rows.blocks.iter().all(|block| block.rows.len() <= MOST));
    }

    #[test]
    fn they_are_what_a_tree_has() {
        let (mut rows, mut known) = (Rows::default(), BTreeMap::new());
        compare(&mut rows, &known);
        for number in numbers().take(20_000) {
            *rows.get_or_insert(key(number), || 0) += number;
            *known.entry(key(number)).or_insert(0) += number;
        }
        compare(&mut rows, &known);
        for number in numbers().take(10_000) {
            rows.remove(&key(number));
            known.remove(&key(number));
        }
        compare(&mut rows, &known);
        rows.retain(|_, row| row % 16 == 0);
        known.retain(|_, row| *row % 16 == 0);
        compare(&mut rows, &known);
        for number in 0..1000 {
            *rows.get_or_insert(key(number), || 7) += 1;
            *known.entry(key(number)).or_insert(7) += 1;
        }
        compare(&mut rows, &known);
        rows.retain(|_, _| false);
        compare(&mut rows, &BTreeMap::new());
    }
}
