//! The tables of iptables in the kernel's memory: where they are, and what their rules are.

use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::OnceLock;

use aya::Ebpf;
use foldhash::quality::FixedState;
use tracer_ebpf::{Config, Offsets};

use super::btf::Btf;
use super::load::Kernel;
use super::memory::{KernelMemory, Memory, Reading, member};
use crate::node::xtables::{Firewall, Place, Rules, Tables};

/// The module that keeps the tables of all families.
const MODULE: &str = "x_tables";
/// The size of a `struct list_head`.
const HEAD: u64 = 16;
/// The size of a `struct xt_counters` (include/uapi/linux/netfilter/x_tables.h).
const COUNTERS: usize = 16;
/// Bytes of a table's name (`XT_TABLE_MAXNAMELEN`).
const NAME: usize = 32;
/// Tables of a family that are looked at, at most; the kernel has five.
const MOST: usize = 16;
/// Kinds of data that modules keep of a network namespace, at most: some fifty are registered.
const KINDS: u32 = 1_024;
/// What a rule says by which packets are dropped: `-NF_DROP - 1` (include/uapi/linux/netfilter/x_tables.h).
const DROP: u32 = verdict(0);
/// What a rule says by which they pass, and by which the chain that led here goes on: `-NF_ACCEPT - 1` and `XT_RETURN`, which is
/// `-NF_REPEAT - 1`.
const PASS: [u32; 2] = [verdict(1), verdict(4)];
/// The target that only says the name of a chain, or that the table ends (`XT_ERROR_TARGET`).
const HEADING: &[u8] = b"ERROR\0";
/// Bytes of rules that are read at a time: longer than any rule, whose length is a number of two bytes.
const WINDOW: usize = 1 << 16;

/// As a rule says it: below 0, so that it is no number of a rule to go on with.
const fn verdict(code: u32) -> u32 {
    !code
}

/// Where the kernel keeps the lists of tables of a network namespace, one for each family.
#[derive(Clone, Copy, Debug)]
enum Lists {
    /// In the namespace itself (`net.xt.tables`), until 5.14.
    Here(u64),
    /// Among what modules keep of it (`struct xt_pernet`): the offsets of `net.gen`, how many kinds there are, the pointers to
    /// them, and the lists in that of the tables.
    Kept([u64; 4]),
}

/// Where a rule of a firewall has what is no part of what it says, its target, and how it goes on.
#[derive(Clone, Copy, Debug)]
struct Entry {
    counters: usize,
    next: usize,
    target: usize,
}

#[derive(Clone, Debug)]
struct Layout {
    offsets: Offsets,
    lists: Lists,
    link: u64,
    name: u64,
    family: u64,
    private: u64,
    size: u64,
    number: u64,
    rules: u64,
    valid: u64,
    policies: u64,
    /// Of a target.
    named: usize,
    verdict: usize,
}

impl Layout {
    /// Of the running kernel. `module` finds the types of a module. The error names what it lacks.
    fn of(btf: &Btf, offsets: &Offsets, module: &dyn Fn(&str) -> Option<Btf>) -> Result<Self, String> {
        let tables = module(MODULE);
        let find = |structure: &str, member: &str| {
            let mut all = std::iter::once(btf).chain(&tables);
            all.find_map(|types| types.offset(structure, member))
        };
        let at = |structure: &str, member: &str| {
            find(structure, member)
                .map(u64::from)
                .ok_or_else(|| format!("this kernel tells of no {structure}.{member}"))
        };
        let place = |structure: &str, member: &str| {
            usize::try_from(at(structure, member)?).map_err(|error| error.to_string())
        };
        let lists = match find("net", "xt.tables") {
            Some(here) => Lists::Here(here.into()),
            None => Lists::Kept([
                at("net", "gen")?,
                at("net_generic", "s.len")?,
                at("net_generic", "ptr")?,
                at("xt_pernet", "tables")?,
            ]),
        };
        Ok(Self {
            offsets: *offsets,
            lists,
            link: at("xt_table", "list")?,
            name: at("xt_table", "name")?,
            family: at("xt_table", "af")?,
            private: at("xt_table", "private")?,
            size: at("xt_table_info", "size")?,
            number: at("xt_table_info", "number")?,
            rules: at("xt_table_info", "entries")?,
            valid: at("xt_table", "valid_hooks")?,
            policies: at("xt_table_info", "underflow")?,
            named: place("xt_entry_target", "u.user.name")?,
            verdict: place("xt_standard_target", "verdict")?,
        })
    }
}

impl Entry {
    /// Of the running kernel, or of the firewall's module, which may be loaded late. `None` where neither tells.
    fn of(btf: &Btf, firewall: Firewall, module: &dyn Fn(&str) -> Option<Btf>) -> Option<Self> {
        let structure = match firewall {
            Firewall::Ip => "ipt_entry",
            Firewall::Ip6 => "ip6t_entry",
        };
        let of = |types: &Btf| {
            let at = |member: &str| types.offset(structure, member);
            Some(Self {
                counters: usize::try_from(at("counters")?).ok()?,
                next: usize::try_from(at("next_offset")?).ok()?,
                target: usize::try_from(at("target_offset")?).ok()?,
            })
        };
        of(btf).or_else(|| of(&module(firewall.module())?))
    }
}

/// `NFPROTO_*` (include/uapi/linux/netfilter.h).
fn number_of(firewall: Firewall) -> u8 {
    match firewall {
        Firewall::Ip => 2,
        Firewall::Ip6 => 10,
    }
}

/// Those of the running kernel.
pub struct Xtables {
    ebpf: Ebpf,
    layout: Layout,
    /// By firewall, as soon as there is a table of it.
    entries: [OnceLock<Entry>; 2],
}

impl Xtables {
    /// Loads the programs that read the kernel's memory.
    ///
    /// # Errors
    /// Why there are none, or what this kernel does not tell.
    pub fn open() -> Result<Box<dyn Tables>, String> {
        let kernel = Kernel::running().map_err(|error| error.to_string())?;
        let module = |name: &str| kernel.btf.of_module(name).ok();
        let layout = Layout::of(&kernel.btf, &kernel.offsets, &module)?;
        let mut ebpf = kernel
            .load_small(&Config::default())
            .map_err(|error| error.to_string())?;
        KernelMemory::load(&mut ebpf, Reading::Blocks)?;
        let entries = Default::default();
        Ok(Box::new(Self {
            ebpf,
            layout,
            entries,
        }))
    }

    fn entry(&self, firewall: Firewall) -> &OnceLock<Entry> {
        let [ip, ip6] = &self.entries;
        match firewall {
            Firewall::Ip => ip,
            Firewall::Ip6 => ip6,
        }
    }

    fn walk<T>(&self, walk: impl FnOnce(&Walk<'_>) -> Option<T>) -> Option<T> {
        let memory = KernelMemory::of(&self.ebpf).ok()?;
        walk(&Walk {
            memory: &memory,
            layout: &self.layout,
        })
    }
}

impl Tables for Xtables {
    fn list(&self, firewall: Firewall, names: &[String]) -> Option<u64> {
        let list = self.walk(|walk| walk.list(firewall, names))?;
        let entry = self.entry(firewall);
        if entry.get().is_none() {
            let btf = Btf::of_kernel().ok()?;
            let found = Entry::of(&btf, firewall, &|name| btf.of_module(name).ok())?;
            entry.get_or_init(|| found);
        }
        Some(list)
    }

    fn places(&self, firewall: Firewall, list: u64) -> Option<Vec<Place>> {
        self.walk(|walk| walk.places(firewall, list))
    }

    fn rules(&self, firewall: Firewall, place: &Place) -> Option<Rules> {
        let entry = *self.entry(firewall).get()?;
        self.walk(|walk| walk.rules(entry, place))
    }
}

struct Walk<'a> {
    memory: &'a dyn Memory,
    layout: &'a Layout,
}

impl Walk<'_> {
    fn list(&self, firewall: Firewall, names: &[String]) -> Option<u64> {
        let net = self.memory.namespace(&self.layout.offsets)?;
        let of_family = HEAD * u64::from(number_of(firewall));
        let has_them = |list: &u64| {
            self.places(firewall, *list)
                .is_some_and(|places| places.iter().any(|place| names.contains(&place.name)))
        };
        match self.layout.lists {
            Lists::Here(lists) => Some(net + lists + of_family).filter(has_them),
            // Which kind is that of the tables is a number that the module alone knows: it is the one that leads to them.
            Lists::Kept([kept, length, first, lists]) => {
                let kept = self.memory.pointer(net, kept)?;
                let length = self.memory.u32(member(kept, length)?)?;
                let mut all = (0..length.min(KINDS)).filter_map(|kind| {
                    let kind = self.memory.pointer(kept, first + 8 * u64::from(kind))?;
                    member(kind, lists + of_family)
                });
                all.find(has_them)
            }
        }
    }

    fn places(&self, firewall: Firewall, list: u64) -> Option<Vec<Place>> {
        let mut places = Vec::new();
        let (mut before, mut at) = (list, self.memory.u64(list)?);
        while at != list {
            // What is no list of tables, or is changed meanwhile, is not followed.
            let is_linked = self.memory.pointer(at, 8)? == before;
            let table = at.checked_sub(self.layout.link)?;
            let [of, ..] = self.memory.bytes(table.checked_add(self.layout.family)?)?;
            if !is_linked || of != number_of(firewall) || places.len() == MOST {
                return None;
            }
            places.push(self.place(table)?);
            (before, at) = (at, self.memory.u64(at)?);
        }
        Some(places)
    }

    fn place(&self, table: u64) -> Option<Place> {
        let name = self.memory.block(table.checked_add(self.layout.name)?, NAME)?;
        let name = name.split(|byte| *byte == 0).next()?;
        let rules = self.memory.pointer(table, self.layout.private)?;
        Some(Place {
            name: String::from_utf8_lossy(name).into_owned(),
            table,
            rules,
            size: self.memory.u32(member(rules, self.layout.size)?)?,
            entries: self.memory.u32(member(rules, self.layout.number)?)?,
        })
    }

    fn rules(&self, entry: Entry, place: &Place) -> Option<Rules> {
        let mut rules = self.read(entry, place)?;
        if rules.may_drop {
            rules.shut = self.shut(entry, place)?;
        }
        // They are freed as soon as there are others.
        let stays = self.place(place.table)? == *place;
        stays.then_some(rules)
    }

    /// The chains whose last rule, which is the policy, says to drop.
    fn shut(&self, entry: Entry, place: &Place) -> Option<Vec<&'static str>> {
        let layout = self.layout;
        let valid = self.memory.u32(member(place.table, layout.valid)?)?;
        let mut shut = Vec::new();
        for (hook, chain) in (0_u64..).zip(Firewall::CHAINS) {
            if valid & (1 << hook) == 0 {
                continue;
            }
            let last = self
                .memory
                .u32(member(place.rules, layout.policies + 4 * hook)?)?;
            let last = member(place.rules, layout.rules + u64::from(last))?;
            let target = self
                .memory
                .u16(member(last, u64::try_from(entry.target).ok()?)?)?;
            let verdict = u64::from(target) + u64::try_from(layout.verdict).ok()?;
            if self.memory.u32(member(last, verdict)?)? == DROP {
                shut.push(chain);
            }
        }
        Some(shut)
    }

    /// All rules, one after the other. Of the policies nothing yet.
    fn read(&self, entry: Entry, place: &Place) -> Option<Rules> {
        let mut hasher = FixedState::default().build_hasher();
        let mut may_drop = false;
        let size = usize::try_from(place.size).ok()?;
        let rules = member(place.rules, self.layout.rules)?;
        let mut at = 0;
        while at < size {
            let from = rules.checked_add(u64::try_from(at).ok()?)?;
            let mut window = self.memory.block(from, WINDOW.min(size - at))?;
            let mut done = 0;
            while let Some(length) = length(&window[done..], entry) {
                let rule = &mut window[done..done + length];
                rule[entry.counters..][..COUNTERS].fill(0);
                may_drop |= self.may_drop(rule, entry)?;
                done += length;
            }
            if done == 0 {
                return None;
            }
            hasher.write(&window[..done]);
            at += done;
        }
        Some(Rules {
            hash: hasher.finish() as u32,
            shut: Vec::new(),
            may_drop,
        })
    }

    /// Whether a rule drops, or does what is not known here: of what modules do (`-j REJECT`, `-j LOG`) nothing is.
    fn may_drop(&self, rule: &[u8], entry: Entry) -> Option<bool> {
        let target = usize::from(u16::from_ne_bytes(*rule.get(entry.target..)?.first_chunk()?));
        let target = rule.get(target..)?;
        // The first letters of a name stay where somebody wrote them. Behind them stands where the module is
        // (`struct xt_entry_target`).
        let name: &[u8; HEADING.len()] = target.get(self.layout.named..)?.first_chunk()?;
        if name[0] != 0 {
            return Some(name != HEADING);
        }
        let verdict = u32::from_ne_bytes(*target.get(self.layout.verdict..)?.first_chunk()?);
        let goes_on = verdict.cast_signed() >= 0;
        Some(!goes_on && !PASS.contains(&verdict))
    }
}

/// The length of the rule that begins here, where all of it is here.
fn length(window: &[u8], entry: Entry) -> Option<usize> {
    let next = window.get(entry.next..)?.first_chunk()?;
    let length = usize::from(u16::from_ne_bytes(*next));
    (length >= entry.counters + COUNTERS && length <= window.len()).then_some(length)
}

#[cfg(test)]
mod tests {
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
            named: 2,
            verdict: 8,
        }
    }

    /// A rule of 40 bytes whose target stands at 24.
    fn rule(says: u8, verdict: u32, counted: u8) -> Vec<u8> {
        let mut rule = vec![0; 40];
        rule[0] = says;
        rule[2] = 24;
        rule[4] = 40;
        rule[8..24].fill(counted);
        rule[32..36].copy_from_slice(&verdict.to_ne_bytes());
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
        for rules in [RULES, RULES + 0x200] {
            write_rules(&mut fake, rules, &[rule(1, 7, 0), rule(0, DROP, 0)], 40);
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
        assert_eq!(told, [("filter", 80, 2), ("raw", 80, 2)]);
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
            write_rules(&mut fake, RULES, rules, 40);
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
            write_rules(&mut fake, RULES, &[first, rule(0, policy, 0)], 40);
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
        place.size = 40;
        assert_eq!(walk(&fake, KIND, |walk| walk.rules(ENTRY, &place)), None);
    }
}
