//! The chains of firewalls: which one asked its rules about a packet, where there is but one that can have been.

use std::collections::{BTreeMap, BTreeSet};

use super::hooks::Hook;
use crate::event::{self, Chain, Family, Point};

/// The base chains of each namespace, by family and hook.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chains(BTreeMap<(u32, Family, Point), Asked>);

/// The chains that one family has or had at one hook, each once: what was dropped may have been so by any of them.
#[derive(Clone, Debug, Default)]
struct Asked(Vec<Chain>);

impl Asked {
    fn add(&mut self, chain: &Chain) {
        if !self.may_be_more() && !self.has(&chain.table, Some(&chain.name)) {
            self.0.push(chain.clone());
        }
    }

    /// As many are told as may be.
    fn may_be_more(&self) -> bool {
        self.0.len() >= event::Chains::MOST
    }

    /// One of them is this one, or one of this table.
    fn has(&self, table: &str, name: Option<&str>) -> bool {
        let is_it = |chain: &Chain| chain.table == table && name.is_none_or(|name| chain.name == name);
        self.0.iter().any(is_it)
    }
}

impl Chains {
    /// The chains of a namespace were told. Others that were told before are gone, but not what they had dropped.
    pub(crate) fn told(&mut self, told: &event::Chains) {
        for chain in &told.chains {
            let of = (told.netns, chain.family, chain.hook);
            self.0.entry(of).or_default().add(chain);
        }
    }

    /// The hooks at which base chains of this table are or were, and those that may have more than are told. With
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
            let its = all
                .clone()
                .filter(|(_, asked)| asked.may_be_more() || asked.has(table, name));
            its.map(|((.., point), _)| *point).collect()
        };
        match of(chain) {
            none if none.is_empty() => of(None),
            hooks => hooks,
        }
    }

    /// A rule of this table, or of this chain of it, may be asked about packets at this hook. One of a chain that is no base chain
    /// may be asked from any of its table.
    pub(crate) fn may_be_asked(
        &self,
        netns: u32,
        hook: Hook,
        family: Family,
        table: &str,
        chain: Option<&str>,
    ) -> bool {
        let is_base = |name: &str| {
            let mut all = self
                .0
                .iter()
                .filter(|((of, one, _), _)| (*of, *one) == (netns, family));
            all.any(|(_, asked)| asked.has(table, Some(name)))
        };
        let asked = self.0.get(&(netns, family, hook.point));
        let is_here = |asked: &Asked| {
            let is_called = || chain.is_some_and(|name| !is_base(name) && asked.has(table, None));
            asked.may_be_more() || asked.has(table, chain) || is_called()
        };
        match hook.chains {
            Some(of) => of == family && asked.is_none_or(is_here),
            // It may have been a chain of another type, which is not told, or something else.
            None => chain.is_none_or(|name| !is_base(name)) || asked.is_some_and(is_here),
        }
    }

    /// The inodes of these namespaces are or will be those of others.
    pub(crate) fn begin_anew(&mut self, namespaces: &BTreeSet<u32>) {
        self.0.retain(|(netns, ..), _| !namespaces.contains(netns));
    }

    /// The chain in which the rules that dropped a packet at this hook were begun; `None` where it is not known.
    pub(crate) fn at(&self, netns: u32, hook: Hook) -> Option<&Chain> {
        match &self.0.get(&(netns, hook.chains?, hook.point))?.0[..] {
            [one] => Some(one),
            _ => None,
        }
    }
}
