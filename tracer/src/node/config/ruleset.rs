//! Rules of firewalls: that they have changed, what of them, and who did it.

use std::collections::BTreeSet;

use super::super::chains::{GET_GENERATION, HEADER, members, number};
use super::super::netlink::{self, Message, string};
use super::commit::{Commit, NFTABLES};
use super::known_chains::{self, Known};
use super::told::Who;
use crate::event::{Owner, Unknown, table_name};

/// `NFNLGRP_NFTABLES`
pub(super) const GROUP: u32 = 7;
const GET_TABLE: u16 = NFTABLES | 1;
const NEW_GENERATION: u16 = NFTABLES | 15;
/// Tables that are named at most; further ones are counted.
const NAMED: usize = 16;

/// What is known of the rules of nf_tables in a namespace.
#[derive(Clone, Debug, Default)]
pub(super) struct Ruleset {
    tables: BTreeSet<String>,
    generation: u32,
    chains: Known,
    /// What the next generation does, as far as it is told.
    commit: Commit,
    /// What this generation did, where that was told.
    did: String,
}

impl Ruleset {
    /// Reads them in the namespace of this thread.
    ///
    /// # Errors
    /// Where the kernel does not tell.
    pub(super) fn read() -> Result<Self, netlink::Error> {
        let all = netlink::dump(netlink::NETFILTER, GET_TABLE, &[0; HEADER], |body| {
            Some(known_chains::table(body))
        })?;
        let mut chains = Known::read()?;
        for (table, flags) in all.iter().flatten() {
            chains.set_flags(table, *flags);
        }
        let generation = netlink::get(netlink::NETFILTER, GET_GENERATION, &[0; HEADER], |body| {
            Some(Generation::parse(body))
        })?;
        Ok(Self {
            tables: all
                .into_iter()
                .flatten()
                .map(|((family, name), _)| table_name(family, &name))
                .collect(),
            generation: generation.flatten().map_or(0, |generation| generation.number),
            chains,
            ..Self::default()
        })
    }

    /// Takes in what was told. A change is whole with its generation: then this tells who made it, if that is said. `who`
    /// finds the process of a number and a command, `standing` reads which chains stand by now.
    pub(super) fn told(
        &mut self,
        message: &Message<'_>,
        who: &mut dyn FnMut(u32, &str) -> Owner,
        standing: &mut dyn FnMut() -> Option<Known>,
    ) -> Option<Who> {
        if message.kind != NEW_GENERATION {
            let (chains, tables) = (&mut self.chains, &mut self.tables);
            self.commit.take(message, chains, tables, standing);
            return None;
        }
        let generation = Generation::parse(message.body)?;
        self.generation = generation.number;
        self.did = self.commit.end();
        Some(match generation.pid {
            0 => Err(Unknown::Kernel),
            pid => Ok(who(pid, &generation.command)),
        })
    }

    /// They are others than those.
    pub(super) fn differ_from(&self, others: &Self) -> bool {
        (self.generation, &self.tables) != (others.generation, &others.tables)
    }

    /// `generation 5, tables: inet filter, ip nat; table inet filter, chain in: rule handle 7 (drop) new`: what stands, and what has
    /// become different with that generation. `None` where there never were any rules.
    pub(super) fn value(&self) -> Option<String> {
        let named: Vec<&str> = self.tables.iter().take(NAMED).map(String::as_str).collect();
        let tables = match (named.len(), self.tables.len()) {
            (0, _) => "no tables".to_owned(),
            (some, all) if all > some => format!("tables: {} and {} more", named.join(", "), all - some),
            _ => format!("tables: {}", named.join(", ")),
        };
        // The first change makes generation 2.
        let did = match self.did.as_str() {
            "" => String::new(),
            did => format!("; {did}"),
        };
        (self.generation > 1 || !self.tables.is_empty())
            .then(|| format!("generation {}, {tables}{did}", self.generation))
    }
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
}

#[cfg(test)]
mod tests {
    use super::super::commit;
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
        assert_eq!(
            rules.told(
                &message(commit::NEW_TABLE, &filter),
                &mut Owner::named,
                &mut || None
            ),
            None
        );
        let generation = [
            &[0; 4][..],
            &attribute(1, &7_u32.to_be_bytes()),
            &attribute(2, &4_000_000_u32.to_be_bytes()),
            &attribute(3, b"nft\0"),
        ]
        .concat();
        let by = rules
            .told(
                &message(NEW_GENERATION, &generation),
                &mut Owner::named,
                &mut || None,
            )
            .unwrap()
            .unwrap();
        assert_eq!((by.pid, by.command.as_str()), (4_000_000, "nft"));
        assert_eq!(
            rules.value().as_deref(),
            Some("generation 7, tables: inet filter; table inet filter new")
        );
        rules.told(
            &message(NEW_GENERATION, &generation),
            &mut Owner::named,
            &mut || None,
        );
        assert_eq!(
            rules.value().as_deref(),
            Some("generation 7, tables: inet filter"),
            "that is done"
        );
        survives(&generation, &|body| {
            drop(Ruleset::default().told(&message(NEW_GENERATION, body), &mut Owner::named, &mut || None))
        });
    }

    #[test]
    fn of_many_tables_some_are_named() {
        let rules = Ruleset {
            tables: (0..20).map(|number| format!("ip t{number:02}")).collect(),
            generation: 3,
            ..Ruleset::default()
        };
        assert!(rules.value().unwrap().ends_with("ip t15 and 4 more"));
    }
}
