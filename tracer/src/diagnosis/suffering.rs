//! Who suffers from a fault: flows, and whose they are.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::numbers::Numbers;
use super::sufferers::Sufferer;
use super::sufferers::Sufferers;
use super::words::{count, distinct, owner};
use crate::event::{FlowKey, Owner};
use crate::model::clock::When;

/// Units or processes whose flows are told in one sentence: as many as fit in three lines.
const GROUPS: usize = 2;

/// Flows that suffer. There may be as many as the node has, so that their owners are looked up once.
pub(super) struct Suffering<'a> {
    /// The flows, the most starved first.
    pub flows: Sufferers,
    /// By owner, in the order of their first flows.
    groups: Vec<Group<'a>>,
}

/// Flows of one process, or of those that belong to one unit; or those of whose owner nothing is known.
#[derive(Clone, Copy)]
struct Group<'a> {
    owner: Option<&'a Owner>,
    /// All of them are of the same process.
    is_one: bool,
    flows: u64,
    /// So many of them starve now, as the list of starved flows has it.
    starving: u64,
    /// The first of them, its place among all flows as they come, and since when it starves.
    first: FlowKey,
    place: usize,
    since: u64,
}

impl Group<'_> {
    /// `20 flows of curl[123] (web.service), first tcp 10.0.0.2:40000 → 192.0.2.10:80`
    fn text(&self) -> String {
        let of = match self.owner {
            None => " without a known process".to_owned(),
            Some(found) if self.is_one => format!(" of {}", owner(found)),
            Some(found) => format!(" of {}", found.unit),
        };
        let first = if self.flows > 1 { "first " } else { "" };
        format!("{}{of}, {first}{}", count(self.flows, "flow"), self.first)
    }
}

/// Flows that suffer, as they come one after the other.
#[derive(Default)]
pub(super) struct Gathered<'a> {
    flows: Vec<FlowKey>,
    /// Since when each of them starves; the last of all times where it does not now.
    times: Vec<u64>,
    groups: Vec<Group<'a>>,
    /// The model keeps each owner once.
    owners: Numbers,
}

impl<'a> Gathered<'a> {
    /// None yet; so many are to come.
    pub(super) fn with_room_for(flows: usize) -> Self {
        Self {
            flows: Vec::with_capacity(flows),
            times: Vec::with_capacity(flows),
            ..Self::default()
        }
    }

    /// One more.
    pub(super) fn add(&mut self, Sufferer { key, since, owner }: Sufferer<'a>) {
        let starving = u64::from(since != When::NEVER);
        let since = since.time().unwrap_or(u64::MAX);
        let place = self.flows.len();
        let number = self.owners.of(owner.map_or(std::ptr::null(), std::ptr::from_ref));
        match self.groups.get_mut(number) {
            Some(group) => {
                group.flows += 1;
                group.starving += starving;
                if since < group.since {
                    (group.first, group.place, group.since) = (key, place, since);
                }
            }
            None => self.groups.push(Group {
                owner,
                is_one: true,
                flows: 1,
                starving,
                first: key,
                place,
                since,
            }),
        }
        self.flows.push(key);
        self.times.push(since);
    }

    /// All of them.
    pub(super) fn whole(mut self) -> Suffering<'a> {
        self.groups
            .sort_unstable_by_key(|group| (group.since, group.place));
        // Mostly they are in order: what breaks all of them does so at once.
        if !self.times.is_sorted() {
            let mut flows: Vec<(u64, FlowKey)> = self.times.into_iter().zip(self.flows).collect();
            // The sort is stable.
            flows.sort_by_key(|(since, _)| *since);
            self.flows = flows.into_iter().map(|(_, key)| key).collect();
        }
        Suffering {
            flows: self.flows.into(),
            groups: self.groups,
        }
    }
}

impl<'a> Suffering<'a> {
    /// These flows, which come in the order of their keys.
    pub(super) fn of(flows: impl IntoIterator<Item = Sufferer<'a>>) -> Self {
        let flows = flows.into_iter();
        let mut gathered = Gathered::with_room_for(flows.size_hint().0);
        flows.for_each(|one| gathered.add(one));
        gathered.whole()
    }

    /// Some owner of them.
    pub(super) fn owner(&self) -> Option<&'a Owner> {
        self.groups.iter().find_map(|group| group.owner)
    }

    /// Their units and these others, each once and in order.
    pub(super) fn units(&self, others: impl IntoIterator<Item = String>) -> Vec<String> {
        let owners = self.groups.iter().filter_map(|group| group.owner);
        distinct(owners.map(|owner| owner.unit.clone()).chain(others))
    }

    /// `Affected: 20 flows of a, first x → y; 1 flow of b, x → y; and 3 others. Of these 24 flows 6 starve now.` with a
    /// leading space. Empty where there are none.
    pub(super) fn affected(&self) -> String {
        if self.groups.is_empty() {
            return String::new();
        }
        let number = |of: fn(&Group<'_>) -> u64| self.groups.iter().map(of).sum();
        let now = still(number(|group| group.flows), number(|group| group.starving));
        format!("{}{now}", self.named())
    }

    /// The same without how many starve, where that is not what they suffer from: those with the most flows first, what
    /// belongs to nobody known last.
    pub(super) fn named(&self) -> String {
        let mut groups: Vec<Group<'_>> = Vec::new();
        let mut units: HashMap<&str, usize> = HashMap::new();
        for group in &self.groups {
            let unit = group.owner.map_or("", |owner| owner.unit.as_str());
            let known = units
                .get(unit)
                .and_then(|place| groups.get_mut(*place))
                .filter(|_| !unit.is_empty());
            match known {
                Some(known) => {
                    known.flows += group.flows;
                    known.starving += group.starving;
                    known.is_one = false;
                }
                None => {
                    units.insert(unit, groups.len());
                    groups.push(*group);
                }
            }
        }
        if groups.is_empty() {
            return String::new();
        }
        groups.sort_by_key(|group| (group.owner.is_none(), Reverse(group.flows)));
        let rest = groups.split_off(groups.len().min(GROUPS));
        let mut named: Vec<String> = groups.iter().map(Group::text).collect();
        if !rest.is_empty() {
            let flows = rest.iter().map(|group| group.flows).sum();
            named.push(format!("and {}", count(flows, "other")));
        }
        format!(" Affected: {}.", named.join("; "))
    }
}

/// How many of the flows that suffered starve now, where that is not all: the others have ended, get something again, or
/// wait for nothing at present.
fn still(flows: u64, starving: u64) -> String {
    match (flows, starving) {
        (all, now) if all == now => String::new(),
        (1, _) => " It does not starve now.".to_owned(),
        (all, 0) => format!(" None of these {all} flows starves now."),
        (all, 1) => format!(" Of these {all} flows 1 starves now."),
        (all, now) => format!(" Of these {all} flows {now} starve now."),
    }
}

#[cfg(test)]
mod tests {
    use super::still;

    #[test]
    fn how_many_starve_is_told_where_that_is_not_all() {
        for (flows, starving, told) in [
            (34, 34, ""),
            (34, 6, " Of these 34 flows 6 starve now."),
            (34, 1, " Of these 34 flows 1 starves now."),
            (34, 0, " None of these 34 flows starves now."),
            (1, 0, " It does not starve now."),
        ] {
            assert_eq!(still(flows, starving), told);
        }
    }
}
