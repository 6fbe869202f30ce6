//! The chains of firewalls: which one asked its rules about a packet, where there is but one that can have been.

use std::collections::{BTreeMap, BTreeSet};

use super::hooks::Hook;
use crate::event::{self, Chain, Family, Point};

/// The base chains of each namespace, by family and hook.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chains(BTreeMap<(u32, Family, Point), Asked>);

/// The chains that one family has or had at one hook. What was dropped may have been so by any of them.
#[derive(Clone, Debug)]
enum Asked {
    /// There has been one only.
    One(Chain),
    /// There are or were several.
    Several,
}

impl Chains {
    /// The chains of a namespace were told. Others that were told before are gone, but not what they had dropped.
    pub(crate) fn told(&mut self, told: &event::Chains) {
        for chain in &told.chains {
            let of = (told.netns, chain.family, chain.hook);
            let asked = self.0.entry(of).or_insert_with(|| Asked::One(chain.clone()));
            if let Asked::One(before) = asked
                && (&before.table, &before.name) != (&chain.table, &chain.name)
            {
                *asked = Asked::Several;
            }
        }
    }

    /// The hooks at which base chains of this table are or were, and those of which it is not known any more whose they are. With
    /// a chain's name, those of the chain alone, if it is a base chain.
    pub(crate) fn hooks(
        &self,
        netns: u32,
        family: Family,
        table: &str,
        chain: Option<&str>,
    ) -> BTreeSet<Point> {
        let all = self
            .0
            .iter()
            .filter(|((of, one, _), _)| (*of, *one) == (netns, family));
        let of = |name: Option<&str>| -> BTreeSet<Point> {
            let is_its = |asked: &Asked| match asked {
                Asked::One(chain) => chain.table == table && name.is_none_or(|name| chain.name == name),
                Asked::Several => true,
            };
            let its = all.clone().filter(|(_, asked)| is_its(asked));
            its.map(|((.., point), _)| *point).collect()
        };
        match of(chain) {
            none if none.is_empty() => of(None),
            hooks => hooks,
        }
    }

    /// The inodes of these namespaces are or will be those of others.
    pub(crate) fn begin_anew(&mut self, namespaces: &BTreeSet<u32>) {
        self.0.retain(|(netns, ..), _| !namespaces.contains(netns));
    }

    /// The chain in which the rules that dropped a packet at this hook were begun; `None` where it is not known.
    pub(crate) fn at(&self, netns: u32, hook: Hook) -> Option<&Chain> {
        match self.0.get(&(netns, hook.chains?, hook.point))? {
            Asked::One(chain) => Some(chain),
            Asked::Several => None,
        }
    }
}
