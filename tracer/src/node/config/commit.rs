//! What one change of the rules of nf_tables does, in words. The kernel tells all of it, and then the new generation
//! (`nf_tables_commit` in net/netfilter/nf_tables_api.c).

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::super::chains::{family, members, number};
use super::super::netlink::{Message, attributes, string};
use super::super::rules::Rule;
use super::anew::Balance;
use super::known_chains::{DORMANT, Key, Known, chain, table};
use crate::event::ruleset::{self, Came, Did, Table};
use crate::event::{Family, Object, table_name};

/// `NFNL_SUBSYS_NFTABLES`, in the upper half of a message's type.
pub(super) const NFTABLES: u16 = 10 << 8;
// `enum nf_tables_msg_types`
pub(super) const NEW_TABLE: u16 = NFTABLES;
const DELETE_TABLE: u16 = NFTABLES | 2;
const NEW_CHAIN: u16 = NFTABLES | 3;
const DELETE_CHAIN: u16 = NFTABLES | 5;
const NEW_RULE: u16 = NFTABLES | 6;
const DELETE_RULE: u16 = NFTABLES | 8;
const NEW_SET: u16 = NFTABLES | 9;
const DELETE_SET: u16 = NFTABLES | 11;
const NEW_ELEMENT: u16 = NFTABLES | 12;
const DELETE_ELEMENT: u16 = NFTABLES | 14;
const NEW_OBJECT: u16 = NFTABLES | 18;
const DELETE_OBJECT: u16 = NFTABLES | 20;
const NEW_FLOW_TABLE: u16 = NFTABLES | 22;
const DELETE_FLOW_TABLE: u16 = NFTABLES | 24;
const DESTROY_TABLE: u16 = NFTABLES | 26;
const DESTROY_CHAIN: u16 = NFTABLES | 27;
const DESTROY_RULE: u16 = NFTABLES | 28;
const DESTROY_SET: u16 = NFTABLES | 29;
const DESTROY_ELEMENT: u16 = NFTABLES | 30;
const DESTROY_OBJECT: u16 = NFTABLES | 31;
const DESTROY_FLOW_TABLE: u16 = NFTABLES | 32;

/// What is named of one change at most: the rest is counted. What a rule did that went and has not come again is judged by it
/// (`diagnosis/gone_rules.rs`), so that it is more than anybody is shown (`ruleset::shown`).
const NAMED: usize = 64;
/// Bytes of all that is named: the timeline keeps thousands of changes.
const BYTES: usize = 4 << 10;
/// Characters of one rule that are told: what it does with packets is at its end.
const TOLD: usize = 1000;

/// What has been told since the last generation.
#[derive(Clone, Debug, Default)]
pub(super) struct Commit {
    named: Vec<Did>,
    /// Of all that is named, as it is told.
    bytes: usize,
    /// Elements that sets got, and lost.
    elements: BTreeMap<(Family, String, String, Came), u64>,
    more: u64,
    balance: Balance,
}

impl Commit {
    /// Takes in one message. `tables` are those that are known, as they are named in the value, and `standing` reads what stands by
    /// now.
    pub(super) fn take(
        &mut self,
        message: &Message<'_>,
        known: &mut Known,
        tables: &mut BTreeSet<String>,
        standing: &mut dyn FnMut() -> Option<Known>,
    ) {
        let body = message.body;
        match message.kind {
            NEW_TABLE => self.table(body, known, tables),
            DELETE_TABLE | DESTROY_TABLE => {
                if let Some((of @ (family, name), _)) = &table(body) {
                    tables.remove(&table_name(*family, name));
                    let flags = known.set_flags(of, 0);
                    self.balance.table(of.clone(), Came::Gone, flags);
                    self.name(|| Did::Table(named(of), Came::Gone));
                }
            }
            NEW_CHAIN => self.chain(body, known),
            DELETE_CHAIN | DESTROY_CHAIN => self.chain_gone(body, known, standing),
            NEW_RULE => self.rule(body, Came::New),
            DELETE_RULE | DESTROY_RULE => self.rule(body, Came::Gone),
            NEW_SET => self.set(body, Came::New),
            DELETE_SET | DESTROY_SET => self.set(body, Came::Gone),
            NEW_ELEMENT => self.element(body, Came::New),
            DELETE_ELEMENT | DESTROY_ELEMENT => self.element(body, Came::Gone),
            // That a quota is used up is told like this by nobody, and is no change (`nft_quota_obj_eval`).
            NEW_OBJECT if message.port == 0 => {}
            NEW_OBJECT => self.object(body, None, Came::New),
            DELETE_OBJECT | DESTROY_OBJECT => self.object(body, None, Came::Gone),
            NEW_FLOW_TABLE => self.object(body, Some(Object::FlowTable), Came::New),
            DELETE_FLOW_TABLE | DESTROY_FLOW_TABLE => {
                self.object(body, Some(Object::FlowTable), Came::Gone);
            }
            _ => self.balance.unclear(),
        }
    }

    /// All of it in words; empty where nothing of it has words. What follows is the next one's.
    pub(super) fn end(&mut self) -> String {
        let Self {
            mut named,
            bytes: _,
            elements,
            more,
            balance,
        } = std::mem::take(self);
        if let Some(has_elements) = balance.is_anew() {
            return ruleset::words(&[Did::Anew { has_elements }]);
        }
        named.extend(elements.into_iter().map(|((family, name, set, came), number)| {
            Did::Elements(Table { family, name }, set, number, came)
        }));
        named.extend((more > 0).then_some(Did::More(more)));
        ruleset::words(&named)
    }

    fn name(&mut self, did: impl FnOnce() -> Did) {
        if self.named.len() + self.elements.len() < NAMED {
            let did = did();
            let bytes = self.bytes + did.to_string().len();
            if bytes <= BYTES {
                self.bytes = bytes;
                self.named.push(did);
                return;
            }
        }
        self.more += 1;
    }

    fn rule(&mut self, body: &[u8], came: Came) {
        let Some(rule) = Rule::parse(body) else {
            self.balance.unclear();
            return;
        };
        self.balance.rule(&rule, came);
        self.name(|| Did::Rule {
            words: rule.words().chars().take(TOLD).collect(),
            handle: rule.handle,
            table: Table {
                family: rule.family,
                name: rule.table,
            },
            chain: rule.chain,
            came,
        });
    }

    fn chain(&mut self, body: &[u8], known: &mut Known) {
        let Some((key, (number, base))) = chain(body) else {
            return;
        };
        if let Some((family, name, was)) = known.renamed(&key, number) {
            self.balance.unclear();
            let (table, chain) = (Table { family, name }, key.2.clone());
            self.name(|| Did::Renamed { table, chain, was });
        }
        let policy = base.policy;
        let has_room = known.has_room();
        match known.base(&key) {
            Some(before) => {
                // Of a chain that is changed the devices are told that it gets.
                let devices: Vec<String> = base.devices.difference(&before.devices).cloned().collect();
                before.devices.extend(devices.iter().cloned());
                let was = std::mem::replace(&mut before.policy, policy);
                self.devices(&key, devices, Came::New);
                if was != policy {
                    self.balance.unclear();
                    let (table, chain) = apart(key);
                    self.name(|| Did::Policy {
                        table,
                        chain,
                        now: policy,
                        was,
                    });
                }
            }
            None if has_room => {
                known.insert(key.clone(), number, base.clone());
                let (table, chain) = apart(key);
                let of = (table.family, table.name.clone());
                self.balance.other(of, Came::New, (&chain, base));
                self.name(|| Did::Chain(table, chain, policy, Came::New));
            }
            None => self.balance.unclear(),
        }
    }

    /// A chain went, or only devices of it: the kernel tells both by the same message, and names the devices where a whole chain goes,
    /// too, in some versions.
    fn chain_gone(&mut self, body: &[u8], known: &mut Known, standing: &mut dyn FnMut() -> Option<Known>) {
        let Some((key, (number, told))) = chain(body) else {
            return;
        };
        let mut is_there = || standing().is_some_and(|standing| standing.has(&key, number));
        if !told.devices.is_empty() && is_there() {
            if let Some(base) = known.base(&key) {
                base.devices.retain(|device| !told.devices.contains(device));
            }
            self.devices(&key, told.devices, Came::Gone);
            return;
        }
        let base = known.remove(&key).unwrap_or_default();
        let (table, chain) = apart(key);
        let of = (table.family, table.name.clone());
        self.balance.other(of, Came::Gone, (&chain, base));
        self.name(|| Did::Chain(table, chain, None, Came::Gone));
    }

    /// A chain that stays came to be asked for packets of these devices, or is no longer.
    fn devices(&mut self, key: &Key, devices: impl IntoIterator<Item = String>, came: Came) {
        for device in devices {
            self.balance.unclear();
            let (table, chain) = apart(key.clone());
            self.name(|| Did::Device {
                table,
                chain,
                device,
                came,
            });
        }
    }

    fn table(&mut self, body: &[u8], known: &mut Known, tables: &mut BTreeSet<String>) {
        let Some((of, flags)) = table(body) else {
            return;
        };
        let before = known.set_flags(&of, flags);
        if tables.insert(table_name(of.0, &of.1)) {
            self.balance.table(of.clone(), Came::New, flags);
            self.name(|| Did::Table(named(&of), Came::New));
        } else if before != flags {
            self.balance.unclear();
        }
        if (before ^ flags) & DORMANT != 0 {
            self.name(|| Did::Dormant(named(&of), flags & DORMANT != 0));
        }
    }

    fn set(&mut self, body: &[u8], came: Came) {
        if let Some((family, name, set)) = set(body) {
            self.balance.other((family, name.clone()), came, &set);
            self.name(|| Did::Set(Table { family, name }, set, came));
        }
    }

    /// What else a table has: of this kind, or of that which the message says.
    fn object(&mut self, body: &[u8], object: Option<Object>, came: Came) {
        let Some(((family, name, its), object)) = set(body).zip(object.or_else(|| kind(body))) else {
            self.balance.unclear();
            return;
        };
        if object.only_counts() {
            self.balance.other((family, name.clone()), came, (object, &its));
        } else {
            // What it is set to is not looked at.
            self.balance.unclear();
        }
        self.name(|| Did::Object(Table { family, name }, object, its, came));
    }

    fn element(&mut self, body: &[u8], came: Came) {
        self.balance.elements();
        let Some((family, table, set)) = set(body) else {
            return;
        };
        // NFTA_SET_ELEM_LIST_ELEMENTS
        let lists = members(body).filter(|(kind, _)| *kind == 3);
        let all = lists.flat_map(|(_, list)| attributes(list));
        let number = all.filter(|(_, element)| !ends_interval(element)).count() as u64;
        if number == 0 {
            return;
        }
        let key = (family, table, set, came);
        // Beside the names some words and two numbers.
        let bytes = self.bytes + key.1.len() + key.2.len() + 64;
        let has_room = self.named.len() + self.elements.len() < NAMED && bytes <= BYTES;
        match self.elements.get_mut(&key) {
            Some(known) => *known += number,
            None if has_room => {
                self.bytes = bytes;
                self.elements.insert(key, number);
            }
            None => self.more += number,
        }
    }
}

fn apart((family, name, chain): Key) -> (Table, String) {
    (Table { family, name }, chain)
}

fn named((family, name): &(Family, String)) -> Table {
    Table {
        family: *family,
        name: name.clone(),
    }
}

/// What kind of object a message is about (`NFTA_OBJ_TYPE`, `NFT_OBJECT_*`).
fn kind(body: &[u8]) -> Option<Object> {
    let kind = members(body).find_map(|(kind, value)| number(value).filter(|_| kind == 3))?;
    let place = usize::try_from(kind).ok()?.checked_sub(1)?;
    Object::ALL.into_iter().take(10).nth(place)
}

/// The set that a message is about, with its table; `None` for that of one rule, which comes and goes with it (`__set%d`, as nft
/// calls it).
fn set(body: &[u8]) -> Option<Key> {
    let family = family(*body.first()?)?;
    // NFTA_SET_TABLE and NFTA_SET_ELEM_LIST_TABLE, NFTA_SET_NAME and NFTA_SET_ELEM_LIST_SET; and the same of objects and flow tables.
    let member =
        |wanted: u16| members(body).find_map(|(kind, value)| (kind == wanted).then(|| string(value)));
    let (table, set) = (member(1)?, member(2)?);
    (!set.starts_with("__")).then_some((family, table, set))
}

/// A range has an element for its first value, and one for what is behind its last (`NFT_SET_ELEM_INTERVAL_END`).
fn ends_interval(element: &[u8]) -> bool {
    // NFTA_SET_ELEM_FLAGS
    attributes(element).any(|(kind, value)| kind == 3 && number(value).is_some_and(|flags| flags & 1 != 0))
}
