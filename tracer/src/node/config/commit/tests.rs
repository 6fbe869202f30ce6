//! What messages of nf_tables are told as.

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
        commit.take(&message(*kind, body), known, &mut tables, &mut || None);
        survives(body, &|body| {
            let (known, tables) = (&mut Known::default(), &mut BTreeSet::new());
            Commit::default().take(&message(*kind, body), known, tables, &mut || None);
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

/// Of the devices of a chain the kernel tells by the messages of the chain.
#[test]
fn a_chain_that_gets_or_loses_devices_is_neither_new_nor_gone() {
    let of_devices = |handle: u64, devices: &[&[u8]]| {
        let devices: Vec<u8> = devices.iter().flat_map(|device| attribute(1, device)).collect();
        let priority = [attribute(1, &[0; 4]), attribute(2, &[0; 4])].concat();
        let hook = [priority, attribute(4, &devices)].concat();
        [numbered(handle, b"in\0", 1), attribute(4, &hook)].concat()
    };
    let known = &mut Known::default();
    assert_eq!(
        words(&[(NEW_CHAIN, of_devices(1, &[b"eth0\0"]))], known),
        "table inet guard, chain in with policy accept new"
    );
    assert_eq!(
        words(&[(NEW_CHAIN, of_devices(1, &[b"eth1\0"]))], known),
        "table inet guard, chain in: device eth1 new"
    );
    let mut gone = |handle: u64, devices: &[&[u8]]| {
        let (mut commit, standing) = (Commit::default(), known.clone());
        let body = of_devices(handle, devices);
        let message = message(DELETE_CHAIN, &body);
        commit.take(&message, known, &mut BTreeSet::new(), &mut || {
            Some(standing.clone())
        });
        commit.end()
    };
    assert_eq!(
        gone(1, &[b"eth0\0"]),
        "table inet guard, chain in: device eth0 gone"
    );
    assert_eq!(
        gone(1, &[b"eth1\0"]),
        "table inet guard, chain in: device eth1 gone"
    );
    assert_eq!(
        gone(2, &[b"eth1\0"]),
        "table inet guard, chain in gone",
        "another one has its name by now"
    );
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
    commit.take(&used_up, known, &mut BTreeSet::new(), &mut || None);
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
        let hook = |priority: u8| attribute(4, &attribute(2, &[priority]));
        let chain = |priority: u8| [input(1), hook(priority)].concat();
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
    // It lets all pass from now on.
    let dormant = [table.clone(), attribute(2, &DORMANT.to_be_bytes())].concat();
    let asleep = words(
        &[(DELETE_TABLE, table.clone()), (NEW_TABLE, dormant.clone())],
        &mut Known::default(),
    );
    assert_eq!(
        asleep,
        "table inet guard gone; table inet guard new; table inet guard: dormant"
    );
    let known = &mut Known::default();
    assert_eq!(words(&[(NEW_TABLE, dormant)], known), "table inet guard: dormant");
    assert_eq!(
        words(&[(NEW_TABLE, table)], known),
        "table inet guard: not dormant any more"
    );
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
