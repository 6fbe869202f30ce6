//! How findings are put into words.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::event::{FlowKey, Owner};
use crate::model::Model;

/// Names told in one sentence before the rest is counted.
const NAMED: usize = 3;
/// Units or processes whose flows are told in one sentence: as many as fit in three lines.
const GROUPS: usize = 2;

/// `1 packet`, `5 packets`.
pub(super) fn count(number: u64, noun: &str) -> String {
    if number == 1 {
        format!("1 {noun}")
    } else {
        format!("{number} {noun}s")
    }
}

/// `a`, `a and b`, `a, b, c and 2 more`.
pub(super) fn list(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        names if names.len() > NAMED => {
            format!("{} and {} more", names[..NAMED].join(", "), names.len() - NAMED)
        }
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

/// Sorted, each once.
pub(super) fn distinct(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// `curl[123] (web.service)`
pub(super) fn owner(owner: &Owner) -> String {
    let unit = if owner.unit.is_empty() {
        String::new()
    } else {
        format!(" ({})", owner.unit)
    };
    format!("{}[{}]{unit}", owner.command, owner.pid)
}

/// `curl[123] (web.service), tcp 10.0.0.2:40000 → 192.0.2.10:80`; without an owner the flow alone.
pub(super) fn flow(model: &Model, key: &FlowKey) -> String {
    match model.sockets().owner(key) {
        Some(found) => format!("{}, {key}", owner(found)),
        None => key.to_string(),
    }
}

/// Flows of one unit, or of one process that belongs to none.
struct Group<'a> {
    owner: Option<&'a Owner>,
    /// All of them are of the same process.
    is_one: bool,
    flows: u64,
    first: &'a FlowKey,
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

/// `Affected: 20 flows of a, first x → y; 1 flow of b, x → y; and 3 others.` with a leading space; those with
/// the most flows first, what belongs to nobody known last. Empty where there are none. `flows`: the worst
/// first.
pub(super) fn affected(model: &Model, flows: &[FlowKey]) -> String {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut places: BTreeMap<(&str, &str, u32), usize> = BTreeMap::new();
    for key in flows {
        let owner = model.sockets().owner(key);
        let place = owner.map_or(("", "", 0), |found| match found.unit.as_str() {
            "" => ("", found.command.as_str(), found.pid),
            unit => (unit, "", 0),
        });
        let place = *places.entry(place).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => {
                group.flows += 1;
                group.is_one &= group.owner == owner;
            }
            None => groups.push(Group {
                owner,
                is_one: true,
                flows: 1,
                first: key,
            }),
        }
    }
    if groups.is_empty() {
        return String::new();
    }
    // The sort is stable.
    groups.sort_by_key(|group| (group.owner.is_none(), Reverse(group.flows)));
    let rest = groups.split_off(groups.len().min(GROUPS));
    let mut named: Vec<String> = groups.iter().map(Group::text).collect();
    if !rest.is_empty() {
        let flows = rest.iter().map(|group| group.flows).sum();
        named.push(format!("and {}", count(flows, "other")));
    }
    format!(" Affected: {}.", named.join("; "))
}

/// A command, as it is to be run for that namespace.
pub(super) fn command(model: &Model, netns: u32, command: &str) -> String {
    match model
        .node()
        .namespace(netns)
        .map(|namespace| namespace.name.as_str())
    {
        None | Some("host" | "") => command.to_owned(),
        Some(path) if path.contains('/') => format!("nsenter --net={path} {command}"),
        Some(name) => format!("ip netns exec {name} {command}"),
    }
}

/// `ip` or `ip -6`.
pub(super) fn ip(address: IpAddr) -> &'static str {
    if address.is_ipv6() { "ip -6" } else { "ip" }
}

/// `2.5 s`
pub(super) fn span(nanoseconds: u64) -> String {
    format!("{:.1} s", crate::model::clock::seconds(nanoseconds))
}
