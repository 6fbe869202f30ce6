//! What one change of the rules of nf_tables does, in words. The kernel tells all of it, and then the new generation
//! (`nf_tables_commit` in net/netfilter/nf_tables_api.c).

use std::collections::{BTreeMap, BTreeSet};

use super::super::chains::{GET_CHAIN, HEADER, family, members, number};
use super::super::netlink::{self, Message, array_at, attributes, string};
use super::super::rules::{NF_DROP, Rule};
use super::anew::Balance;
use crate::event::ruleset::{self, Came, Did, Policy, Table};
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
/// Chains that are known at most: of others it is not told that they are new.
const CHAINS: usize = 4096;

/// A chain or a set: its table, and its name.
type Key = (Family, String, String);

/// The chains that are there, each with the number that it keeps whatever it is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    chains: BTreeMap<Key, (u64, Base)>,
    /// What those are called that have a number, by their tables: very many may come at once.
    names: BTreeMap<(Family, String, u64), String>,
}

/// What a chain is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Base {
    /// What a base chain does with what no rule decides about.
    policy: Option<Policy>,
    /// Where the kernel asks it, and as what type, as it tells that.
    hook: Vec<u8>,
}

impl Known {
    /// Reads them in the namespace of this thread.
    ///
    /// # Errors
    /// Where the kernel does not tell.
    pub(super) fn read() -> Result<Self, netlink::Error> {
        let all = netlink::dump(netlink::NETFILTER, GET_CHAIN, &[0; HEADER], |body| {
            Some(chain(body))
        })?;
        let mut known = Self::default();
        for (key, (number, base)) in all.into_iter().flatten().take(CHAINS) {
            known.insert(key, number, base);
        }
        Ok(known)
    }

    /// The chain that is called otherwise by now, and was known by its number.
    fn renamed(&mut self, (family, table, name): &Key, number: u64) -> Option<Key> {
        let was = self.names.get(&(*family, table.clone(), number))?;
        let before = (*family, table.clone(), was.clone());
        if before.2 == *name {
            return None;
        }
        let (_, base) = self.remove(&before)?;
        self.insert((*family, table.clone(), name.clone()), number, base);
        Some(before)
    }

    fn insert(&mut self, key: Key, number: u64, base: Base) {
        if number != 0 {
            let (family, table, name) = key.clone();
            self.names.insert((family, table, number), name);
        }
        self.chains.insert(key, (number, base));
    }

    fn remove(&mut self, key: &Key) -> Option<(u64, Base)> {
        let (number, base) = self.chains.remove(key)?;
        self.names.remove(&(key.0, key.1.clone(), number));
        Some((number, base))
    }
}

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
    /// Takes in one message. `tables` are those that are known, as they are named in the value.
    pub(super) fn take(&mut self, message: &Message<'_>, known: &mut Known, tables: &mut BTreeSet<String>) {
        let body = message.body;
        match message.kind {
            NEW_TABLE => {
                if let Some((family, name)) = table(body)
                    && tables.insert(table_name(family, &name))
                {
                    self.balance.table((family, name.clone()), Came::New);
                    self.name(|| Did::Table(Table { family, name }, Came::New));
                }
            }
            DELETE_TABLE | DESTROY_TABLE => {
                if let Some((family, name)) = table(body) {
                    tables.remove(&table_name(family, &name));
                    self.balance.table((family, name.clone()), Came::Gone);
                    self.name(|| Did::Table(Table { family, name }, Came::Gone));
                }
            }
            NEW_CHAIN => self.chain(body, known),
            DELETE_CHAIN | DESTROY_CHAIN => {
                if let Some((key, _)) = chain(body) {
                    let base = known.remove(&key).map(|(_, base)| base);
                    let (table, chain) = apart(key);
                    let of = (table.family, table.name.clone());
                    self.balance
                        .other(of, Came::Gone, (&chain, base.unwrap_or_default()));
                    self.name(|| Did::Chain(table, chain, None, Came::Gone));
                }
            }
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
        let has_room = known.chains.len() < CHAINS;
        match known.chains.get_mut(&key) {
            Some((_, before)) if before.policy == policy => {}
            Some((_, before)) => {
                let was = std::mem::replace(before, base).policy;
                self.balance.unclear();
                let (table, chain) = apart(key);
                self.name(|| Did::Policy {
                    table,
                    chain,
                    now: policy,
                    was,
                });
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

/// The family and name of a table.
pub(super) fn table(body: &[u8]) -> Option<(Family, String)> {
    let family = family(*body.first()?)?;
    let name = members(body).find_map(|(kind, value)| (kind == 1).then(|| string(value)))?;
    Some((family, name))
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

/// A chain, its number, and what it is.
fn chain(body: &[u8]) -> Option<(Key, (u64, Base))> {
    let family = family(*body.first()?)?;
    let (mut table, mut name, mut handle, mut base) = (None, None, 0, Base::default());
    for (kind, value) in members(body) {
        match kind {
            // NFTA_CHAIN_TABLE, _HANDLE, _NAME, _POLICY
            1 => table = Some(string(value)),
            2 => handle = array_at(value, 0).map(u64::from_be_bytes)?,
            3 => name = Some(string(value)),
            5 => base.policy = number(value).map(verdict),
            // NFTA_CHAIN_HOOK, _TYPE
            4 | 7 => base.hook.extend_from_slice(value),
            _ => {}
        }
    }
    Some(((family, table?, name?), (handle, base)))
}

fn verdict(policy: u32) -> Policy {
    match policy {
        NF_DROP => Policy::Drop,
        _ => Policy::Accept,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::rules::tests as rule;
    use super::super::words::tests::{attribute, survives};
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Message<'_> {
        Message {
            kind,
            flags: 0,
            port: 7,
            body,
        }
    }

    fn of(family: u8, members: &[Vec<u8>]) -> Vec<u8> {
        [&[family, 0, 0, 0][..], &members.concat()].concat()
    }

    fn input(policy: u32) -> Vec<u8> {
        numbered(1, b"in\0", policy)
    }

    fn numbered(handle: u64, name: &[u8], policy: u32) -> Vec<u8> {
        let policy = attribute(5, &policy.to_be_bytes());
        let handle = attribute(2, &handle.to_be_bytes());
        of(1, &[attribute(1, b"guard\0"), handle, attribute(3, name), policy])
    }

    fn words(messages: &[(u16, Vec<u8>)], known: &mut Known) -> String {
        let mut commit = Commit::default();
        let mut tables = BTreeSet::from(["inet guard".to_owned()]);
        for (kind, body) in messages {
            commit.take(&message(*kind, body), known, &mut tables);
            survives(body, &|body| {
                Commit::default().take(&message(*kind, body), &mut Known::default(), &mut BTreeSet::new());
            });
        }
        commit.end()
    }

    #[test]
    fn what_came_and_went_is_told() {
        let known = &mut Known::default();
        let drop = rule::message(&[rule::verdict(0)]);
        assert_eq!(
            words(&[(NEW_CHAIN, input(1)), (NEW_RULE, drop.clone())], known),
            "table inet guard, chain in with policy accept new; table inet guard, chain in: rule handle 7 (drop) new"
        );
        assert_eq!(
            words(&[(NEW_CHAIN, input(0)), (DESTROY_RULE, drop)], known),
            "table inet guard, chain in: policy drop, was accept; table inet guard, chain in: rule handle 7 (drop) gone"
        );
        assert_eq!(words(&[(NEW_CHAIN, input(0))], known), "", "as it was");
        let table = of(1, &[attribute(1, b"guard\0")]);
        assert_eq!(
            words(&[(DELETE_CHAIN, input(0)), (DELETE_TABLE, table.clone())], known),
            "table inet guard, chain in gone; table inet guard gone"
        );
        assert_eq!(words(&[(NEW_TABLE, table)], known), "", "known");
    }

    #[test]
    fn a_chain_with_another_name_is_neither_new_nor_gone() {
        let known = &mut Known::default();
        words(&[(NEW_CHAIN, input(1))], known);
        assert_eq!(
            words(&[(NEW_CHAIN, numbered(1, b"inn\0", 1))], known),
            "table inet guard, chain inn: renamed, was in"
        );
        assert_eq!(
            words(&[(NEW_CHAIN, numbered(2, b"in\0", 1))], known),
            "table inet guard, chain in with policy accept new"
        );
        assert_eq!(
            words(&[(DELETE_CHAIN, numbered(1, b"inn\0", 1))], known),
            "table inet guard, chain inn gone"
        );
    }

    #[test]
    fn what_else_a_table_has_is_told() {
        let object = |kind: u32, name: &[u8]| {
            let kind = attribute(3, &kind.to_be_bytes());
            of(1, &[attribute(1, b"guard\0"), attribute(2, name), kind])
        };
        let known = &mut Known::default();
        assert_eq!(
            words(
                &[
                    (NEW_OBJECT, object(1, b"hits\0")),
                    (NEW_OBJECT, object(2, b"most\0")),
                    (DESTROY_OBJECT, object(7, b"long\0")),
                    (NEW_FLOW_TABLE, object(0, b"fast\0")),
                    (NEW_OBJECT, object(99, b"other\0")),
                ],
                known
            ),
            "table inet guard, counter hits new; table inet guard, quota most new or changed; \
             table inet guard, ct timeout long gone; table inet guard, flowtable fast new or changed"
        );
        let mut commit = Commit::default();
        let body = object(2, b"most\0");
        let used_up = Message {
            port: 0,
            ..message(NEW_OBJECT, &body)
        };
        commit.take(&used_up, known, &mut BTreeSet::new());
        assert_eq!(commit.end(), "");
    }

    #[test]
    fn the_same_rules_loaded_anew_are_told_as_that() {
        let table = of(1, &[attribute(1, b"guard\0")]);
        let rule = |code: i32, counted: u8| {
            let counter = rule::expression("counter", &[counted]);
            rule::message(&[counter, rule::verdict(code)])
        };
        let element = of(1, &[attribute(1, b"guard\0"), attribute(2, b"__set0\0")]);
        let reload = |priority: u8, code: i32, more: &[(u16, Vec<u8>)]| {
            let chain = |priority: u8| [input(1), attribute(4, &[priority])].concat();
            let gone = of(1, &[attribute(1, b"guard\0"), attribute(3, b"in\0")]);
            let known = &mut Known::default();
            words(
                &[
                    (NEW_CHAIN, chain(0)),
                    (NEW_RULE, rule(0, 0)),
                    (NEW_RULE, rule(1, 0)),
                ],
                known,
            );
            let mut all = vec![
                (DELETE_RULE, rule(0, 7)),
                (DELETE_RULE, rule(1, 9)),
                (DELETE_CHAIN, gone),
                (DELETE_TABLE, table.clone()),
                (NEW_TABLE, table.clone()),
                (NEW_CHAIN, chain(priority)),
                (NEW_RULE, rule(code, 0)),
                (NEW_RULE, rule(1, 0)),
            ];
            all.extend_from_slice(more);
            words(&all, known)
        };
        assert_eq!(reload(0, 0, &[]), "loaded anew with the same chains and rules");
        assert_eq!(
            reload(0, 0, &[(NEW_ELEMENT, element)]),
            "loaded anew with the same chains and rules, elements of sets may differ"
        );
        let differs = |told: String| assert!(!told.contains("anew"), "{told}");
        differs(reload(1, 0, &[]));
        differs(reload(0, 1, &[]));
        differs(reload(0, 0, &[(NEW_RULE, rule(0, 0))]));
        differs(reload(
            0,
            0,
            &[(
                NEW_SET,
                of(1, &[attribute(1, b"guard\0"), attribute(2, b"bad\0")]),
            )],
        ));
        differs(reload(0, 0, &[(NFTABLES | 18, table.clone())]));
    }

    #[test]
    fn elements_of_sets_are_counted() {
        let elements = |set: &[u8]| {
            let list = [attribute(1, b""), attribute(1, b"")].concat();
            of(
                2,
                &[attribute(1, b"f2b\0"), attribute(2, set), attribute(3, &list)],
            )
        };
        let messages = [
            (NEW_ELEMENT, elements(b"banned\0")),
            (NEW_ELEMENT, elements(b"banned\0")),
            (DELETE_ELEMENT, elements(b"banned\0")),
            (NEW_ELEMENT, elements(b"__set0\0")),
        ];
        assert_eq!(
            words(&messages, &mut Known::default()),
            "table ip f2b, set banned: 2 elements gone; table ip f2b, set banned: 4 elements new"
        );
    }

    #[test]
    fn sets_come_and_go_and_a_range_is_one_element() {
        let set = |name: &[u8]| of(2, &[attribute(1, b"f2b\0"), attribute(2, name)]);
        let end = attribute(1, &attribute(3, &1_u32.to_be_bytes()));
        let range = of(
            2,
            &[
                attribute(1, b"f2b\0"),
                attribute(2, b"nets\0"),
                attribute(3, &[attribute(1, b""), end].concat()),
            ],
        );
        let messages = [
            (NEW_SET, set(b"nets\0")),
            (NEW_SET, set(b"__set0\0")),
            (NEW_ELEMENT, range),
            (DELETE_SET, set(b"banned\0")),
        ];
        assert_eq!(
            words(&messages, &mut Known::default()),
            "table ip f2b, set nets new; table ip f2b, set banned gone; table ip f2b, set nets: 1 element new"
        );
    }

    #[test]
    fn of_a_whole_ruleset_some_are_named_and_the_rest_is_counted() {
        let rules = vec![(NEW_RULE, rule::message(&[rule::verdict(1)])); 500];
        let told = words(&rules, &mut Known::default());
        assert_eq!(told.matches("rule handle 7 (accept) new").count(), NAMED);
        assert!(told.ends_with("; and 436 more changes"), "{told}");
        let drops = rule::message(&vec![rule::verdict(0); 200]);
        let told = words(&vec![(NEW_RULE, drops); 100], &mut Known::default());
        assert!(told.len() <= BYTES + 200, "{}", told.len());
        assert!(told.ends_with(" more changes"), "{told}");
    }
}
