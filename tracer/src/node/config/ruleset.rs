//! Rules of firewalls: that they have changed, and who did it.

use std::collections::BTreeSet;
use std::fs;

use super::super::chains::{GET_GENERATION, HEADER, family, members, number};
use super::super::netlink::{self, Message, string};
use super::super::owners::Owners;
use super::told::Who;
use crate::event::{Owner, Unknown};

/// `NFNLGRP_NFTABLES`
pub(super) const GROUP: u32 = 7;
/// `NFNL_SUBSYS_NFTABLES`, in the upper half of a message's type.
const NFTABLES: u16 = 10 << 8;
const NEW_TABLE: u16 = NFTABLES;
const GET_TABLE: u16 = NFTABLES | 1;
const DELETE_TABLE: u16 = NFTABLES | 2;
const NEW_GENERATION: u16 = NFTABLES | 15;
/// Tables that are named at most; further ones are counted.
const NAMED: usize = 16;

/// What is known of the rules of nf_tables in a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ruleset {
    tables: BTreeSet<String>,
    generation: u32,
}

impl Ruleset {
    /// Reads them in the namespace of this thread.
    ///
    /// # Errors
    /// Where the kernel does not tell.
    pub(super) fn read() -> Result<Self, netlink::Error> {
        let all = netlink::dump(netlink::NETFILTER, GET_TABLE, &[0; HEADER], |body| {
            Some(table(body))
        })?;
        let generation = netlink::get(netlink::NETFILTER, GET_GENERATION, &[0; HEADER], |body| {
            Some(Generation::parse(body))
        })?;
        Ok(Self {
            tables: all.into_iter().flatten().collect(),
            generation: generation.flatten().map_or(0, |generation| generation.number),
        })
    }

    /// Takes in what was told. A change is whole with its generation: then this tells who made it, if that is said.
    pub(super) fn told(&mut self, message: &Message<'_>) -> Option<Who> {
        match message.kind {
            NEW_TABLE => self.tables.extend(table(message.body)),
            DELETE_TABLE => {
                let gone = table(message.body)?;
                self.tables.remove(&gone);
            }
            NEW_GENERATION => {
                let generation = Generation::parse(message.body)?;
                self.generation = generation.number;
                return Some(generation.by());
            }
            _ => {}
        }
        None
    }

    /// `generation 5, tables: inet filter, ip nat`; `None` where there never were any rules.
    pub(super) fn value(&self) -> Option<String> {
        let named: Vec<&str> = self.tables.iter().take(NAMED).map(String::as_str).collect();
        let tables = match (named.len(), self.tables.len()) {
            (0, _) => "no tables".to_owned(),
            (some, all) if all > some => format!("tables: {} and {} more", named.join(", "), all - some),
            _ => format!("tables: {}", named.join(", ")),
        };
        // The first change makes generation 2.
        (self.generation > 1 || !self.tables.is_empty())
            .then(|| format!("generation {}, {tables}", self.generation))
    }
}

/// `inet filter`: the family and name of a table.
fn table(body: &[u8]) -> Option<String> {
    let family = family(*body.first()?)?;
    let name = members(body).find_map(|(kind, value)| (kind == 1).then(|| string(value)))?;
    Some(format!("{family} {name}"))
}

/// A new generation of the rules, and the process that made it.
#[derive(Debug, PartialEq, Eq)]
struct Generation {
    number: u32,
    pid: u32,
    command: String,
}

impl Generation {
    fn parse(body: &[u8]) -> Option<Self> {
        let mut generation = Self {
            number: 0,
            pid: 0,
            command: String::new(),
        };
        for (kind, value) in members(body) {
            match kind {
                1 => generation.number = number(value)?,
                2 => generation.pid = number(value)?,
                3 => generation.command = string(value),
                _ => {}
            }
        }
        (generation.number != 0).then_some(generation)
    }

    /// The kernel counts processes as the machine does: where the tracer counts otherwise, the name tells.
    fn by(self) -> Who {
        if self.pid == 0 {
            return Err(Unknown::Kernel);
        }
        let found = Owners::actor(self.pid).filter(|owner| owner.command == self.command);
        Ok(found.unwrap_or_else(|| Owner::named(self.pid, &self.command)))
    }
}

/// The tables of the older firewalls in the namespace of this thread: firewall and value. Their rules can only be asked
/// for by an IP socket.
pub(super) fn legacy() -> Vec<(&'static str, String)> {
    ["ip_tables", "ip6_tables"]
        .into_iter()
        .filter_map(|firewall| {
            let names = fs::read_to_string(format!("/proc/thread-self/net/{firewall}_names")).ok()?;
            let mut names: Vec<&str> = names.lines().collect();
            names.sort_unstable();
            (!names.is_empty()).then(|| (firewall, format!("tables: {}", names.join(", "))))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::words::tests::{attribute, survives};
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Message<'_> {
        Message {
            kind,
            flags: 0,
            port: 0,
            body,
        }
    }

    #[test]
    fn a_generation_tells_who_changed_the_rules() {
        let mut rules = Ruleset::default();
        assert_eq!(rules.value(), None);
        let filter = [&[1, 0, 0, 0][..], &attribute(1, b"filter\0")].concat();
        assert_eq!(rules.told(&message(NEW_TABLE, &filter)), None);
        let generation = [
            &[0; 4][..],
            &attribute(1, &7_u32.to_be_bytes()),
            &attribute(2, &4_000_000_u32.to_be_bytes()),
            &attribute(3, b"nft\0"),
        ]
        .concat();
        let by = rules
            .told(&message(NEW_GENERATION, &generation))
            .unwrap()
            .unwrap();
        assert_eq!((by.pid, by.command.as_str()), (4_000_000, "nft"));
        assert_eq!(
            rules.value().as_deref(),
            Some("generation 7, tables: inet filter")
        );
        rules.told(&message(DELETE_TABLE, &filter));
        assert_eq!(rules.value().as_deref(), Some("generation 7, no tables"));
        survives(&generation, &|body| {
            drop(Ruleset::default().told(&message(NEW_GENERATION, body)))
        });
        survives(&filter, &|body| {
            drop(Ruleset::default().told(&message(NEW_TABLE, body)))
        });
    }

    #[test]
    fn of_many_tables_some_are_named() {
        let rules = Ruleset {
            tables: (0..20).map(|number| format!("ip t{number:02}")).collect(),
            generation: 3,
        };
        assert!(rules.value().unwrap().ends_with("ip t15 and 4 more"));
    }
}
