//! The tables of tracked connections: how many entries each has room for, and since when one is nearly full.

use std::collections::BTreeMap;

use super::clock::MEMORY;
use crate::event::value::{TRACKED, TRACKED_MOST};
use crate::event::{Setting, Thing};

/// A table is nearly full from this share on, in percent.
const NEARLY: u64 = 95;

/// The table of one namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    /// Entries that it has, as far as that was told: it is only where most of its room is taken.
    pub entries: u64,
    /// Entries that it has room for, 0 where that is not known.
    pub room: u64,
    /// Since when it is nearly full, in boot time; `None` where it is not.
    pub since: Option<u64>,
    /// When it was last known to be full, in boot time, where it is not now.
    was_full: Option<u64>,
}

impl Table {
    /// It has room for none more.
    pub(crate) fn is_full(&self) -> bool {
        self.room > 0 && self.entries >= self.room
    }

    /// The same, now or a moment ago: entries end in bursts, and others take their place at once.
    pub(crate) fn is_full_lately(&self, now: u64) -> bool {
        self.is_full() || self.was_full.is_some_and(|at| now.saturating_sub(at) <= MEMORY)
    }
}

/// All of them, by namespace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables(BTreeMap<u32, Table>);

impl Tables {
    /// A setting was told.
    pub(super) fn told(&mut self, at: u64, setting: &Setting) {
        let Thing::Sysctl { name } = &setting.thing else {
            return;
        };
        if name != TRACKED && name != TRACKED_MOST {
            return;
        }
        let table = self.0.entry(setting.netns).or_default();
        if table.is_full() {
            table.was_full = Some(at);
        }
        let number = setting
            .value
            .as_deref()
            .and_then(|value| value.parse().ok())
            .unwrap_or(0);
        if name == TRACKED {
            table.entries = number;
        } else {
            table.room = number;
        }
        let is_near =
            table.room > 0 && table.entries.saturating_mul(100) >= table.room.saturating_mul(NEARLY);
        table.since = is_near.then(|| table.since.unwrap_or(at));
    }

    /// That of a namespace, where it is known.
    pub(crate) fn get(&self, netns: u32) -> Option<&Table> {
        self.0.get(&netns)
    }

    /// Those that are nearly full, by namespace, and since when.
    pub(crate) fn nearly_full(&self) -> impl Iterator<Item = (u32, &Table, u64)> {
        self.0
            .iter()
            .filter_map(|(netns, table)| Some((*netns, table, table.since?)))
    }

    /// Nothing is known any more of a namespace.
    pub(super) fn leave(&mut self, netns: u32) {
        self.0.remove(&netns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Seen;

    #[test]
    fn a_table_was_full_for_as_long_as_evidence_counts() {
        let mut table = Table {
            entries: 1000,
            room: 1000,
            ..Table::default()
        };
        assert!(table.is_full() && table.is_full_lately(1));
        (table.entries, table.was_full) = (999, Some(7));
        assert!(!table.is_full() && table.is_full_lately(7 + MEMORY));
        assert!(!table.is_full_lately(8 + MEMORY));
    }

    #[test]
    fn a_table_is_nearly_full_from_the_time_on_at_which_it_was_first_told_so() {
        let mut tables = Tables::default();
        let mut tell = |at, name: &str, value: &str| {
            let thing = Thing::Sysctl {
                name: name.to_owned(),
            };
            tables.told(
                at,
                &Setting {
                    netns: 1,
                    thing,
                    value: Some(value.to_owned()),
                    seen: Seen::Found,
                    by: None,
                    by_unknown: None,
                },
            );
            tables.get(1).and_then(|table| table.since)
        };
        assert_eq!(tell(1, TRACKED, "950"), None, "its room is not known");
        assert_eq!(tell(2, TRACKED_MOST, "1000"), Some(2));
        assert_eq!(tell(3, TRACKED, "1000"), Some(2));
        assert_eq!(tell(4, TRACKED, "949"), None);
        assert_eq!(tell(5, TRACKED, "950"), Some(5));
        assert_eq!(tell(6, TRACKED_MOST, "2000"), None);
        tables.leave(1);
        assert!(tables.get(1).is_none() && tables.nearly_full().next().is_none());
    }
}
