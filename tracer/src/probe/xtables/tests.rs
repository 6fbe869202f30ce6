use super::super::memory::fake::Fake;
use super::*;

const TASK: u64 = 0x1000;
const NET: u64 = 0x1200;
const KEPT: u64 = 0x1400;
const LISTS: u64 = 0x1600;
const FIRST: u64 = 0x2000;
const SECOND: u64 = 0x2200;
const RULES: u64 = 0x3000;
/// Where the list of IPv4 begins.
const LIST: u64 = LISTS + 8 + 2 * HEAD;

fn layout(lists: Lists) -> Layout {
    Layout {
        offsets: Offsets {
            task_nsproxy: 16,
            nsproxy_net: 24,
            ..Offsets::default()
        },
        lists,
        link: 0,
        name: 32,
        family: 28,
        private: 16,
        size: 0,
        number: 4,
        rules: 64,
        valid: 24,
        policies: 8,
        match_size: 0,
        of_match: EXTENSION,
        of_target: EXTENSION,
        named: 2,
        verdict: 16,
    }
}

const EXTENSION: Extension = Extension {
    module: 8,
    data: 16,
    written: 40,
};
/// Modules: of what the second one has, somebody wrote four bytes.
const MODULE_OF_ALL: u64 = 0x5000;
const MODULE_OF_FOUR: u64 = 0x5200;

/// A rule of 48 bytes whose target stands at 24.
fn rule(says: u8, verdict: u32, counted: u8) -> Vec<u8> {
    let mut rule = vec![0; 48];
    rule[0] = says;
    rule[2] = 24;
    rule[4] = 48;
    rule[8..24].fill(counted);
    rule[32..40].copy_from_slice(&MODULE_OF_ALL.to_ne_bytes());
    rule[40..44].copy_from_slice(&verdict.to_ne_bytes());
    rule
}

/// The same with a match of 24 bytes: what somebody wrote of it, and what a module keeps.
fn rule_with_match(module: u64, wrote: u8, keeps: u8) -> Vec<u8> {
    let mut rule = rule(1, DROP, 0);
    let mut of_match = vec![0; 24];
    of_match[0] = 24;
    of_match[8..16].copy_from_slice(&module.to_ne_bytes());
    of_match[16..20].fill(wrote);
    of_match[20..24].fill(keeps);
    rule.splice(24..24, of_match);
    rule[2] = 48;
    rule[4] = 72;
    rule
}

fn write_rules(fake: &mut Fake, at: u64, rules: &[Vec<u8>], policy: u32) {
    let all = rules.concat();
    fake.write(at, 0, &u32::try_from(all.len()).unwrap().to_ne_bytes());
    fake.write(at, 4, &u32::try_from(rules.len()).unwrap().to_ne_bytes());
    // Of the hook that packets for this node come by.
    fake.write(at, 8 + 4, &policy.to_ne_bytes());
    fake.write(at, 64, &all);
}

fn write_table(fake: &mut Fake, at: u64, (before, next): (u64, u64), name: &str, rules: u64) {
    fake.point(at, 0, next);
    fake.point(at, 8, before);
    fake.point(at, 16, rules);
    fake.write(at, 24, &2_u32.to_ne_bytes());
    fake.write(at, 28, &[2]);
    fake.write(at, 32, name.as_bytes());
}

/// Two tables, and an empty list among what else is kept.
fn kernel() -> Fake {
    let mut fake = Fake::default();
    fake.point(0, 0, TASK);
    fake.point(TASK, 16, TASK + 0x100);
    fake.point(TASK + 0x100, 24, NET);
    fake.point(NET, 8, KEPT);
    fake.write(KEPT, 0, &4_u32.to_ne_bytes());
    fake.point(KEPT, 24, 0x7000);
    fake.point(KEPT, 32, 0x8000);
    fake.point(KEPT, 40, LISTS);
    fake.point(0x8000, 8 + 2 * HEAD, 0x8000 + 8 + 2 * HEAD);
    fake.point(LISTS, 8 + 2 * HEAD, FIRST);
    write_table(&mut fake, FIRST, (LIST, SECOND), "filter", RULES);
    write_table(&mut fake, SECOND, (FIRST, LIST), "raw", RULES + 0x200);
    fake.write(MODULE_OF_FOUR, 40, &4_u32.to_ne_bytes());
    fake.write(MODULE_OF_FOUR + 0x100, 40, &4_u32.to_ne_bytes());
    fake.write(MODULE_OF_ALL, 40, &[0; 4]);
    for rules in [RULES, RULES + 0x200] {
        write_rules(&mut fake, rules, &[rule(1, 7, 0), rule(0, DROP, 0)], 48);
    }
    fake
}

fn walk<T>(fake: &Fake, lists: Lists, walk: impl FnOnce(&Walk<'_>) -> T) -> T {
    walk(&Walk {
        memory: fake,
        layout: &layout(lists),
    })
}

const ENTRY: Entry = Entry {
    counters: 8,
    next: 4,
    target: 2,
    matches: 24,
};
const KIND: Lists = Lists::Kept([8, 0, 16, 8]);

#[test]
fn the_list_of_the_tables_is_the_one_that_has_those_names() {
    let fake = kernel();
    let list = |lists, name: &str| walk(&fake, lists, |walk| walk.list(Firewall::Ip, &[name.to_owned()]));
    assert_eq!(list(KIND, "raw"), Some(LIST));
    assert_eq!(list(KIND, "nat"), None);
    assert_eq!(list(Lists::Here(LISTS + 8 - NET), "filter"), Some(LIST));
    let places = walk(&fake, KIND, |walk| walk.places(Firewall::Ip, LIST)).unwrap();
    let told: Vec<_> = places
        .iter()
        .map(|place| (place.name.as_str(), place.size, place.entries))
        .collect();
    assert_eq!(told, [("filter", 96, 2), ("raw", 96, 2)]);
    assert_eq!(
        walk(&fake, KIND, |walk| walk.places(Firewall::Ip6, LIST)),
        None,
        "another family's"
    );
}

#[test]
fn a_list_that_is_changed_meanwhile_is_not_believed() {
    let mut fake = kernel();
    fake.point(SECOND, 8, LIST);
    assert_eq!(walk(&fake, KIND, |walk| walk.places(Firewall::Ip, LIST)), None);
    let mut fake = kernel();
    fake.point(SECOND, 0, FIRST);
    assert_eq!(walk(&fake, KIND, |walk| walk.places(Firewall::Ip, LIST)), None);
}

#[test]
fn rules_are_told_from_one_another_by_what_they_say_alone() {
    let read = |rules: &[Vec<u8>]| {
        let mut fake = kernel();
        write_rules(&mut fake, RULES, rules, 48);
        walk(&fake, KIND, |walk| {
            let place = walk.place(FIRST)?;
            walk.rules(ENTRY, &place)
        })
    };
    let first = read(&[rule(1, 7, 0), rule(0, DROP, 0)]).unwrap();
    assert_eq!(first.shut, ["INPUT"]);
    assert_eq!(read(&[rule(1, 7, 9), rule(0, DROP, 3)]).unwrap(), first);
    assert_ne!(read(&[rule(2, 7, 0), rule(0, DROP, 0)]).unwrap().hash, first.hash);
    let open = read(&[rule(1, DROP, 0), rule(0, PASS[0], 0)]).unwrap();
    assert!(open.shut.is_empty() && open.hash != first.hash);
    let mut endless = rule(1, 7, 0);
    endless[4] = 0;
    assert_eq!(read(&[endless, rule(0, DROP, 0)]), None);
}

#[test]
fn a_table_drops_nothing_where_each_rule_says_where_to_go_on() {
    let may_drop = |first: Vec<u8>, policy: u32| {
        let mut fake = kernel();
        write_rules(&mut fake, RULES, &[first, rule(0, policy, 0)], 48);
        walk(&fake, KIND, |walk| walk.rules(ENTRY, &walk.place(FIRST)?))
            .unwrap()
            .may_drop
    };
    let of_module = |name: &[u8]| {
        let mut rule = rule(0, 0, 0);
        rule[26..26 + name.len()].copy_from_slice(name);
        rule
    };
    let [accept, back] = PASS;
    assert!(!may_drop(rule(1, 40, 0), accept));
    assert!(!may_drop(rule(1, back, 0), accept));
    assert!(!may_drop(of_module(b"ERROR"), accept));
    assert!(may_drop(rule(1, 40, 0), DROP));
    assert!(may_drop(rule(1, verdict(3), 0), accept), "NF_QUEUE");
    assert!(may_drop(of_module(b"REJECT"), accept));
    assert!(may_drop(of_module(b"ERRORS"), accept));
}

#[test]
fn rules_that_are_others_meanwhile_are_not_told() {
    let fake = kernel();
    let mut place = walk(&fake, KIND, |walk| walk.place(FIRST)).unwrap();
    place.size = 48;
    assert_eq!(walk(&fake, KIND, |walk| walk.rules(ENTRY, &place)), None);
}

#[test]
fn why_rules_cannot_be_read_is_looked_for_once() {
    let entries = Entries::default();
    assert!(entries.known(Firewall::Ip).is_none() && entries.why(Firewall::Ip).is_none());
    let damaged = || Err("damaged".to_owned());
    assert!(entries.get(Firewall::Ip, damaged).is_none());
    assert!(entries.get(Firewall::Ip, || unreachable!()).is_none());
    assert_eq!(entries.why(Firewall::Ip), Some("damaged"));
    assert!(entries.get(Firewall::Ip6, || Ok(ENTRY)).is_some());
    assert!(entries.known(Firewall::Ip6).is_some() && entries.why(Firewall::Ip6).is_none());
}

#[test]
fn what_the_kernel_keeps_in_a_rule_is_no_part_of_it() {
    let read = |module: u64, wrote: u8, keeps: u8| {
        let mut fake = kernel();
        let rules = [rule_with_match(module, wrote, keeps), rule(0, PASS[0], 0)];
        write_rules(&mut fake, RULES, &rules, 72);
        walk(&fake, KIND, |walk| walk.rules(ENTRY, &walk.place(FIRST)?)).map(|rules| rules.hash)
    };
    let first = read(MODULE_OF_FOUR, 7, 1);
    assert!(first.is_some());
    assert_eq!(read(MODULE_OF_FOUR, 7, 2), first);
    assert_eq!(
        read(MODULE_OF_FOUR + 0x100, 7, 1),
        first,
        "the module was loaded again"
    );
    assert_ne!(read(MODULE_OF_FOUR, 8, 1), first);
    assert_ne!(read(MODULE_OF_ALL, 7, 1), read(MODULE_OF_ALL, 7, 2));
    assert_eq!(read(0, 7, 1), None);
}
