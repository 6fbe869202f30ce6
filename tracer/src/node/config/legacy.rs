//! The older firewalls (iptables): their tables, and whether their rules are others than before. Nobody tells who changes them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::super::xtables::{Firewall, Open, Place, Rules, Tables};
use crate::event::Thing;
use crate::event::ruleset::DROP_NOTHING;

/// Longer than the names of all tables.
const ROOM: usize = 1024;
/// The modules that are there, those with parameters among what is part of the kernel too.
const MODULES: &str = "/sys/module";
/// Bytes of rules that are read at each look, whether or not the kernel put them elsewhere meanwhile. Of more, only each so
/// many looks.
const AT_ONCE: u32 = 1 << 20;
/// Bytes of the rules of a table that are read at all: some 400,000 rules.
const MOST: u32 = 1 << 26;
/// Looks in a row at which the rules of a table may be in the course of a change. After more it is not known what they are.
const MISSED: u32 = 3;
/// Looks until a list of tables is looked for again that was not found, at most.
const AGAIN: u32 = 60;

/// A table, by the firewall and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Table(pub(super) Firewall, pub(super) String);

impl Table {
    /// As changes name it.
    pub(super) fn thing(&self) -> Thing {
        let Self(firewall, name) = self;
        Thing::Ruleset {
            firewall: format!("{} {name}", firewall.module()),
        }
    }
}

/// The tables of each firewall that has any, by their names.
pub(super) type Names = BTreeMap<Firewall, Vec<String>>;

/// Who reads their rules.
pub(super) enum Reader {
    /// Not asked yet.
    Closed(Open),
    Open(Box<dyn Tables>),
    /// Nobody, and why.
    Nobody(String),
}

impl Reader {
    /// Nobody is there without BPF.
    pub(super) fn new(open: Option<Open>) -> Self {
        open.map_or_else(
            || Self::Nobody("without BPF they are not read".to_owned()),
            Self::Closed,
        )
    }

    pub(super) fn open(&mut self) -> Option<&dyn Tables> {
        if let Self::Closed(open) = self {
            *self = open().map_or_else(Self::Nobody, Self::Open);
        }
        match self {
            Self::Open(tables) => Some(&**tables),
            Self::Closed(_) | Self::Nobody(_) => None,
        }
    }

    /// Why the rules of a firewall are not read.
    pub(super) fn why(&self, firewall: Firewall) -> Option<&str> {
        match self {
            Self::Nobody(why) => Some(why),
            Self::Open(tables) => tables.why(firewall),
            Self::Closed(_) => None,
        }
    }
}

/// The rules of a table, as they were read last.
#[derive(Debug)]
struct Read {
    place: Place,
    rules: Rules,
    /// Looks until they are read again where they are.
    looks: u32,
    /// Looks in a row at which they could not be read.
    missed: u32,
}

/// A list was not found.
#[derive(Debug)]
struct Missing {
    /// Looks until it is looked for again.
    looks: u32,
    /// After the next time that it is not found either, twice as many as these.
    pause: u32,
}

impl Read {
    /// They could not be read now. Whether that was so too often.
    fn is_missed(&mut self) -> bool {
        self.missed += 1;
        self.missed > MISSED
    }
}

/// Where the tables of a firewall are listed in the kernel's memory.
#[derive(Debug)]
struct List {
    /// Those that there were when it was looked for.
    names: Vec<String>,
    at: Result<u64, Missing>,
}

/// The tables of the older firewalls in a namespace.
///
/// The files that name them are kept open, which keeps the namespace from ending: a visit there takes longer than all that is read.
#[derive(Debug, Default)]
pub(super) struct Legacy {
    files: BTreeMap<Firewall, File>,
    /// Those that are there were opened.
    has_looked: bool,
    lists: BTreeMap<Firewall, List>,
    tables: BTreeMap<Table, Read>,
}

impl Legacy {
    /// Whether some file is not open that may be there by now. It comes with its module, and what is part of the kernel has it from the
    /// first.
    pub(super) fn is_due(&self) -> bool {
        if !self.has_looked {
            return true;
        }
        let modules = Path::new(MODULES);
        let mut missing = Firewall::ALL
            .iter()
            .filter(|firewall| !self.files.contains_key(*firewall));
        missing.any(|firewall| modules.join(firewall.module()).exists() || !modules.exists())
    }

    /// Opens the files that are there, in the namespace of this thread.
    pub(super) fn open(&mut self) {
        self.has_looked = true;
        for firewall in Firewall::ALL {
            if let Entry::Vacant(missing) = self.files.entry(firewall)
                && let Ok(file) = File::open(format!("/proc/thread-self/net/{}_names", firewall.module()))
            {
                missing.insert(file);
            }
        }
    }

    /// The tables of each firewall that has any, by their names.
    pub(super) fn names(&mut self) -> Names {
        let mut tables = BTreeMap::new();
        self.files.retain(|firewall, file| {
            let mut buffer = [0; ROOM];
            // A module that goes takes its file away.
            let Ok(length) = file.read_at(&mut buffer, 0) else {
                return false;
            };
            let names = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
            let mut names: Vec<String> = names.lines().map(str::to_owned).collect();
            names.sort_unstable();
            if !names.is_empty() {
                tables.insert(*firewall, names);
            }
            true
        });
        self.lists.retain(|firewall, _| tables.contains_key(firewall));
        let is_there = |Table(firewall, name): &Table| {
            let names = tables.get(firewall);
            names.is_some_and(|names| names.contains(name))
        };
        self.tables.retain(|table, _| is_there(table));
        tables
    }

    /// The firewalls whose tables are to be looked for in the kernel's memory.
    pub(super) fn wanted<'a>(&self, names: &'a Names) -> Vec<(Firewall, &'a [String])> {
        let all = names
            .iter()
            .map(|(firewall, names)| (*firewall, names.as_slice()));
        let is_known = |firewall: &Firewall, names: &[String]| {
            let list = self.lists.get(firewall);
            // It stays where it is, whatever comes to be listed there.
            list.is_some_and(|list| match &list.at {
                Ok(_) => true,
                Err(missing) => list.names == names && missing.looks > 0,
            })
        };
        all.filter(|(firewall, names)| !is_known(firewall, names))
            .collect()
    }

    /// Where they are listed, if they were found.
    pub(super) fn looked_for(&mut self, firewall: Firewall, names: &[String], at: Option<u64>) {
        let before = self.lists.remove(&firewall).and_then(|list| list.at.err());
        let pause = before.map_or(1, |missing| (2 * missing.pause).min(AGAIN));
        let at = at.ok_or(Missing { looks: pause, pause });
        let names = names.to_vec();
        self.lists.insert(firewall, List { names, at });
    }

    /// Reads the rules, as far as they may be others. What cannot be read now, since it changes meanwhile, is as before.
    pub(super) fn read(&mut self, reader: &dyn Tables) {
        let Self { lists, tables, .. } = self;
        lists.retain(|&firewall, list| {
            let at = match &mut list.at {
                Ok(at) => *at,
                Err(missing) => {
                    missing.looks = missing.looks.saturating_sub(1);
                    tables.retain(|Table(of, _), read| *of != firewall || !read.is_missed());
                    return true;
                }
            };
            // Where it is none any more it is looked for again.
            let Some(places) = reader.places(firewall, at) else {
                return false;
            };
            for place in places {
                let of = Table(firewall, place.name.clone());
                if let Some(known) = tables.get_mut(&of)
                    && known.place == place
                    && known.looks > 0
                {
                    known.looks -= 1;
                    continue;
                }
                let is_short = place.size <= MOST;
                if let Some(rules) = is_short.then(|| reader.rules(firewall, &place)).flatten() {
                    let looks = place.size / AT_ONCE;
                    let read = Read {
                        place,
                        rules,
                        looks,
                        missed: 0,
                    };
                    tables.insert(of, read);
                } else if let Entry::Occupied(mut known) = tables.entry(of)
                    && known.get_mut().is_missed()
                {
                    known.remove();
                }
            }
            true
        });
    }

    /// What is known of the rules of a table: `policy of INPUT drop, 4 entries, hash 3f2a9c11`. `None` where they could not be read.
    pub(super) fn value(&self, table: &Table) -> Option<String> {
        let Read { place, rules, .. } = self.tables.get(table)?;
        let policy = match rules.shut.as_slice() {
            [] => String::new(),
            shut => format!("policy of {} drop, ", shut.join(" and ")),
        };
        let harmless = if rules.may_drop { "" } else { DROP_NOTHING };
        Some(format!(
            "{policy}{} entries{harmless}, hash {:08x}",
            place.entries, rules.hash
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// The one table there is: bytes of its rules, and whether they can be read.
    struct Fake(Mutex<(u32, bool)>);

    impl Fake {
        fn set(&self, size: u32, is_readable: bool) {
            *self.0.lock().unwrap() = (size, is_readable);
        }
    }

    impl Tables for Fake {
        fn list(&self, _: Firewall, _: &[String]) -> Option<u64> {
            None
        }

        fn places(&self, _: Firewall, _: u64) -> Option<Vec<Place>> {
            Some(vec![Place {
                name: "filter".to_owned(),
                table: 1,
                rules: 2,
                size: self.0.lock().unwrap().0,
                entries: 4,
            }])
        }

        fn rules(&self, _: Firewall, _: &Place) -> Option<Rules> {
            let rules = Rules {
                hash: 7,
                shut: Vec::new(),
                may_drop: false,
            };
            self.0.lock().unwrap().1.then_some(rules)
        }

        fn why(&self, firewall: Firewall) -> Option<&str> {
            (firewall == Firewall::Ip6).then_some("its types are damaged")
        }
    }

    #[test]
    fn why_a_firewall_is_not_read_is_told_of_that_one() {
        let reader = Reader::Open(Box::new(Fake(Mutex::default())));
        assert_eq!(reader.why(Firewall::Ip), None);
        assert_eq!(reader.why(Firewall::Ip6), Some("its types are damaged"));
        let nobody = Reader::new(None);
        assert!(nobody.why(Firewall::Ip).is_some());
    }

    #[test]
    fn what_cannot_be_read_is_as_before_for_a_moment_only() {
        let fake = Fake(Mutex::new((100, true)));
        let mut legacy = Legacy::default();
        legacy.looked_for(Firewall::Ip, &[], Some(1));
        let looks = |legacy: &mut Legacy, looks: u32| {
            for _ in 0..looks {
                legacy.read(&fake);
            }
            legacy.value(&Table(Firewall::Ip, "filter".to_owned()))
        };
        let known = Some("4 entries that drop nothing, hash 00000007".to_owned());
        assert_eq!(looks(&mut legacy, 1), known);
        fake.set(100, false);
        assert_eq!(looks(&mut legacy, MISSED), known);
        assert_eq!(looks(&mut legacy, 1), None);
        fake.set(MOST, true);
        assert_eq!(looks(&mut legacy, 1), known);
        fake.set(MOST + 1, true);
        assert_eq!(looks(&mut legacy, MISSED + 1), None);
    }

    #[test]
    fn a_list_that_was_not_found_is_looked_for_again_and_again() {
        let fake = Fake(Mutex::new((100, true)));
        let mut legacy = Legacy::default();
        let names = Names::from([(Firewall::Ip, vec!["filter".to_owned()])]);
        let look = |legacy: &mut Legacy, at: Option<u64>| {
            legacy.looked_for(Firewall::Ip, &names[&Firewall::Ip], at);
            let mut looks = 0;
            while legacy.wanted(&names).is_empty() && looks < 100 {
                legacy.read(&fake);
                looks += 1;
            }
            looks
        };
        let pauses: Vec<u32> = (0..8).map(|_| look(&mut legacy, None)).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(look(&mut legacy, Some(1)), 100, "it is known");
        // Where more is listed there it is found all the same.
        let more = Names::from([(Firewall::Ip, vec!["filter".to_owned(), "raw".to_owned()])]);
        assert!(legacy.wanted(&more).is_empty());
        assert!(legacy.value(&Table(Firewall::Ip, "filter".to_owned())).is_some());
    }
}
