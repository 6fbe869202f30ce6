//! Whether one change of the rules of nf_tables only loads what stood there before, as `nft -f` does with a file that begins with
//! `flush ruleset`.
//!
//! Of the rules nothing is kept: what goes and what comes is added up to two numbers for each table, which are the same where both
//! are. The elements of sets are told only as they come.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::super::rules::Rule;
use crate::event::Family;
use crate::event::ruleset::Came;

/// What is different in each packet that passes, and is told with a rule.
const COUNTING: [&str; 2] = ["counter", "last"];

/// A table, by family and name.
type Key = (Family, String);

/// What one change takes away, or brings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Side {
    /// The table itself goes or comes, with these flags.
    whole: Option<u32>,
    /// All rules, in their order.
    rules: u64,
    /// All chains and sets, in any order.
    others: u64,
}

/// All that one change takes away and brings, by table.
#[derive(Clone, Debug, Default)]
pub(super) struct Balance {
    tables: BTreeMap<Key, (Side, Side)>,
    has_elements: bool,
    /// Something that is not looked at.
    is_unclear: bool,
}

fn number(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

impl Balance {
    fn side(&mut self, table: Key, came: Came) -> &mut Side {
        let (gone, new) = self.tables.entry(table).or_default();
        match came {
            Came::Gone => gone,
            Came::New => new,
        }
    }

    pub(super) fn table(&mut self, table: Key, came: Came, flags: u32) {
        self.side(table, came).whole = Some(flags);
    }

    pub(super) fn rule(&mut self, rule: &Rule<'_>, came: Came) {
        let side = self.side((rule.family, rule.table.clone()), came);
        let steps = rule.expressions().map(|step| {
            let data = if COUNTING.contains(&step.name.as_str()) {
                &[]
            } else {
                step.data
            };
            number((step.name, data))
        });
        let steps: Vec<u64> = steps.collect();
        side.rules = number((side.rules, &rule.chain, steps));
    }

    /// A chain or a set, with what it is.
    pub(super) fn other(&mut self, table: Key, came: Came, what: impl Hash) {
        let side = self.side(table, came);
        side.others = side.others.wrapping_add(number(what));
    }

    pub(super) fn elements(&mut self) {
        self.has_elements = true;
    }

    pub(super) fn unclear(&mut self) {
        self.is_unclear = true;
    }

    /// All tables that went came again with the same chains and rules: `Some`, and whether their sets had elements, of which it is not
    /// known what they were.
    pub(super) fn is_anew(&self) -> Option<bool> {
        let is_same = |(gone, new): &(Side, Side)| gone.whole.is_some() && gone == new;
        let all = !self.tables.is_empty() && self.tables.values().all(is_same);
        (all && !self.is_unclear).then_some(self.has_elements)
    }
}
