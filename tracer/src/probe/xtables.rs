//! The tables of iptables in the kernel's memory: where they are, and what their rules are.

use std::collections::btree_map::{self, BTreeMap};
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
    /// Where its matches begin.
    matches: usize,
}

/// Where a match or a target has what is no part of what it says: the address of its module's `struct xt_match` or `struct xt_target`,
/// and, behind what somebody wrote, what the module keeps there for itself.
#[derive(Clone, Copy, Debug)]
struct Extension {
    module: usize,
    data: usize,
    /// Of the module: the size of what somebody wrote, 0 where that is all (`usersize`).
    written: u64,
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
    match_size: usize,
    of_match: Extension,
    of_target: Extension,
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
            match_size: place("xt_entry_match", "u.match_size")?,
            of_match: Extension {
                module: place("xt_entry_match", "u.kernel.match")?,
                data: place("xt_entry_match", "data")?,
                written: at("xt_match", "usersize")?,
            },
            of_target: Extension {
                module: place("xt_entry_target", "u.kernel.target")?,
                data: place("xt_entry_target", "data")?,
                written: at("xt_target", "usersize")?,
            },
            named: place("xt_entry_target", "u.user.name")?,
            verdict: place("xt_standard_target", "verdict")?,
        })
    }
}

impl Entry {
    /// Of the running kernel, or of the firewall's module, which may be loaded late. The error says why neither tells.
    fn of(
        btf: &Btf,
        firewall: Firewall,
        module: &dyn Fn(&str) -> Result<Btf, String>,
    ) -> Result<Self, String> {
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
                matches: usize::try_from(at("elems")?).ok()?,
            })
        };
        if let Some(entry) = of(btf) {
            return Ok(entry);
        }
        let module = module(firewall.module())
            .map_err(|error| format!("this kernel tells of no {structure}: {error}"))?;
        of(&module).ok_or_else(|| format!("this kernel tells not where the members of {structure} are"))
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
    entries: Entries,
}

/// By firewall, as soon as there is a table of it; or why that is not known.
#[derive(Default)]
struct Entries([OnceLock<Result<Entry, String>>; 2]);

impl Entries {
    fn slot(&self, firewall: Firewall) -> &OnceLock<Result<Entry, String>> {
        let Self([ip, ip6]) = self;
        match firewall {
            Firewall::Ip => ip,
            Firewall::Ip6 => ip6,
        }
    }

    /// Looked for once.
    fn get(&self, firewall: Firewall, find: impl FnOnce() -> Result<Entry, String>) -> Option<Entry> {
        self.slot(firewall).get_or_init(find).as_ref().ok().copied()
    }

    fn known(&self, firewall: Firewall) -> Option<Entry> {
        self.slot(firewall).get()?.as_ref().ok().copied()
    }

    fn why(&self, firewall: Firewall) -> Option<&str> {
        self.slot(firewall).get()?.as_ref().err().map(String::as_str)
    }
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
        Ok(Box::new(Self {
            ebpf,
            layout,
            entries: Entries::default(),
        }))
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
        if self.entries.why(firewall).is_some() {
            return None;
        }
        let list = self.walk(|walk| walk.list(firewall, names))?;
        if self.entries.known(firewall).is_some() {
            return Some(list);
        }
        // That may pass, and is tried again.
        let btf = Btf::of_kernel().ok()?;
        self.entries.get(firewall, || {
            let module = |name: &str| btf.of_module(name).map_err(|error| error.to_string());
            Entry::of(&btf, firewall, &module)
        })?;
        Some(list)
    }

    fn places(&self, firewall: Firewall, list: u64) -> Option<Vec<Place>> {
        self.walk(|walk| walk.places(firewall, list))
    }

    fn rules(&self, firewall: Firewall, place: &Place) -> Option<Rules> {
        let entry = self.entries.known(firewall)?;
        self.walk(|walk| walk.rules(entry, place))
    }

    fn why(&self, firewall: Firewall) -> Option<&str> {
        self.entries.why(firewall)
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
            Lists::Here(lists) => member(net, lists + of_family).filter(has_them),
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

    /// All rules, one after the other: what somebody wrote of them. Of the policies nothing yet.
    fn read(&self, entry: Entry, place: &Place) -> Option<Rules> {
        let mut hasher = FixedState::default().build_hasher();
        let mut may_drop = false;
        let mut written = BTreeMap::new();
        let size = usize::try_from(place.size).ok()?;
        let rules = member(place.rules, self.layout.rules)?;
        let mut at = 0;
        while at < size {
            let from = rules.checked_add(u64::try_from(at).ok()?)?;
            let mut window = self.memory.block(from, WINDOW.min(size - at))?;
            let mut done = 0;
            while let Some(length) = length(&window[done..], entry) {
                let rule = &mut window[done..done + length];
                may_drop |= self.may_drop(rule, entry)?;
                self.leave_out(rule, entry, &mut written)?;
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

    /// Leaves out of a rule what nobody wrote: what it has counted, and what the kernel keeps in it. `written` is by module what it is of
    /// each.
    fn leave_out(&self, rule: &mut [u8], entry: Entry, written: &mut Written) -> Option<()> {
        let layout = self.layout;
        rule.get_mut(entry.counters..)?.get_mut(..COUNTERS)?.fill(0);
        let target = usize::from(u16_at(rule, entry.target)?);
        let (matches, target) = rule.split_at_mut_checked(target)?;
        let mut matches = matches.get_mut(entry.matches..)?;
        while !matches.is_empty() {
            let size = usize::from(u16_at(matches, layout.match_size)?);
            let (one, rest) = matches.split_at_mut_checked(size)?;
            self.leave_out_own(one, layout.of_match, written)?;
            matches = rest;
        }
        self.leave_out_own(target, layout.of_target, written)
    }

    /// Of a match or target.
    fn leave_out_own(&self, part: &mut [u8], of: Extension, written: &mut Written) -> Option<()> {
        let module = part.get_mut(of.module..)?.first_chunk_mut()?;
        let module = u64::from_ne_bytes(std::mem::take(module));
        let written = match written.entry(module) {
            btree_map::Entry::Occupied(known) => *known.get(),
            btree_map::Entry::Vacant(new) => *new.insert(self.memory.u32(member(module, of.written)?)?),
        };
        if written > 0 {
            let end = of.data.checked_add(usize::try_from(written).ok()?)?;
            part.get_mut(end..)?.fill(0);
        }
        Some(())
    }

    /// Whether a rule drops, or does what is not known here: of what modules do (`-j REJECT`, `-j LOG`) nothing is.
    fn may_drop(&self, rule: &[u8], entry: Entry) -> Option<bool> {
        let target = usize::from(u16_at(rule, entry.target)?);
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

/// How much of the data of a module's matches or targets somebody wrote.
type Written = BTreeMap<u64, u32>;

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

/// The length of the rule that begins here, where all of it is here.
fn length(window: &[u8], entry: Entry) -> Option<usize> {
    let length = usize::from(u16_at(window, entry.next)?);
    (length >= entry.counters + COUNTERS && length <= window.len()).then_some(length)
}

#[cfg(test)]
mod tests;
