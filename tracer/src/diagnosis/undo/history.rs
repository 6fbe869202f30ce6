//! What changes of the rules of nf_tables did one after another, and what of it stands.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;

use crate::event::Thing;
use crate::event::ruleset::{Came, Did, Table};
use crate::event::value::NF_TABLES;
use crate::model::Model;
use crate::model::timeline::{Change, Subject};

/// All that is kept of what changed, read once: where much is asked of very many changes, each is held against those alone that had to do
/// with the same thing.
pub(in crate::diagnosis) struct History<'a> {
    /// In the order of time, with chains as they are called by now. Of one change what went comes first: the same may have come anew
    /// with it.
    did: Vec<Done<'a>>,
    /// Chains that got other names, in the order of time.
    renamed: Vec<Renaming>,
    /// The mark of each thing with the place of what was done to it, in their order. A mark that two things share by chance brings up what
    /// has nothing to do with either.
    places: OnceCell<Vec<(u64, usize)>>,
    marks: RandomState,
    /// What was asked of it so far.
    asked: Cell<usize>,
}

/// Questions for which all that was done later is looked through: that goes quicker than to find out first of which things all of it is.
/// What has nothing to do with it changes no answer ([`after`]).
const FEW: usize = 4;

/// What was done at a time to the rules of a namespace.
type Done<'a> = (u64, u32, Cow<'a, Did>);

/// A chain got another name.
struct Renaming {
    at: u64,
    netns: u32,
    table: Table,
    was: String,
    chain: String,
}

/// Of what a change did: of which thing.
#[derive(Hash)]
enum Of<'a> {
    Table(&'a Table),
    Chain(&'a Table, &'a str),
    /// By its number.
    Rule(&'a Table, &'a str, u64),
    /// By its words.
    Words(&'a Table, &'a str, &'a str),
    Set(&'a Table, &'a str),
    Object(&'a Table, &'a str),
}

impl<'a> History<'a> {
    /// What was done after some time.
    pub(super) fn of(model: &'a Model, after: u64) -> Self {
        // These are all of nf_tables.
        let later = model.timeline().of_rules().rev();
        let mut later: Vec<(u64, u32, &[Did])> = later
            .take_while(|(change, _)| change.at > after)
            .filter_map(|(change, did)| match change.subject {
                Subject::Setting(netns, _) => Some((change.at, netns, did)),
                _ => None,
            })
            .collect();
        later.reverse();
        Self::new(&later)
    }

    /// When that was done in which namespaces.
    fn new(later: &[(u64, u32, &'a [Did])]) -> Self {
        let many = later.iter().map(|(_, _, did)| did.len()).sum();
        let mut all = Self {
            did: Vec::with_capacity(many),
            renamed: Vec::new(),
            places: OnceCell::new(),
            marks: RandomState::default(),
            asked: Cell::new(0),
        };
        for (at, netns, did) in later {
            all.renamed.extend(did.iter().filter_map(|did| match did {
                Did::Renamed { table, chain, was } => Some(Renaming {
                    at: *at,
                    netns: *netns,
                    table: table.clone(),
                    was: was.clone(),
                    chain: chain.clone(),
                }),
                _ => None,
            }));
        }
        for (at, netns, did) in later {
            let gone = did.iter().filter(|did| is_gone(did));
            for did in gone.chain(did.iter().filter(|did| !is_gone(did))) {
                let did = all.followed(*netns, *at, did);
                all.did.push((*at, *netns, did));
            }
        }
        all
    }

    /// What was done at a time, with the chain as it is called by now.
    pub(super) fn by_now<'d>(&self, netns: u32, at: u64, did: &'d Did) -> Cow<'d, Did> {
        let mut renamed = self.renamed.iter().filter(|later| later.at > at).peekable();
        // Mostly none was.
        if renamed.peek().is_none() {
            return Cow::Borrowed(did);
        }
        let mut did = did.clone();
        if let Some((table, chain)) = chain(&mut did) {
            for later in renamed {
                if (later.netns, &later.table, &later.was) == (netns, table, &*chain) {
                    chain.clone_from(&later.chain);
                }
            }
        }
        Cow::Owned(did)
    }

    /// The same of all but that it got another name: that is held against that it got its name back.
    fn followed<'d>(&self, netns: u32, at: u64, did: &'d Did) -> Cow<'d, Did> {
        match did {
            Did::Renamed { .. } => Cow::Borrowed(did),
            did => self.by_now(netns, at, did),
        }
    }

    fn mark(&self, netns: u32, of: &Of<'_>) -> u64 {
        self.marks.hash_one((netns, of))
    }

    fn places(&self) -> &[(u64, usize)] {
        self.places.get_or_init(|| {
            let mut all = Vec::with_capacity(2 * self.did.len());
            for (place, (_, netns, did)) in self.did.iter().enumerate() {
                let things = things(did);
                all.extend(things.iter().flatten().map(|of| (self.mark(*netns, of), place)));
            }
            all.sort_unstable();
            all
        })
    }

    /// What was done later in this namespace: all of it, or what may have to do with what a change did.
    fn later(&self, netns: u32, at: u64, one: &Did) -> impl Iterator<Item = (u64, &Did)> {
        let first = self.did.partition_point(|(time, ..)| *time <= at);
        let places = if self.asked.replace(self.asked.get() + 1) < FEW {
            let later = self.did.iter().enumerate().skip(first);
            later
                .filter(|(_, (_, of, _))| *of == netns)
                .map(|(place, _)| place)
                .collect()
        } else {
            self.places_of(netns, one, first)
        };
        let all = places.into_iter().filter_map(|place| self.did.get(place));
        all.map(|(at, _, did)| (*at, &**did))
    }

    /// Where that stands which was done to the same things, from this place on.
    fn places_of(&self, netns: u32, one: &Did, first: usize) -> Vec<usize> {
        // What is asked for is mostly one of the last of very many that are of the same thing.
        let all = self.places();
        let mut places: Vec<usize> = Vec::new();
        for of in things(one).iter().chain([&table(one).map(Of::Table)]).flatten() {
            let mark = self.mark(netns, of);
            let from = all.partition_point(|place| *place < (mark, first));
            let its = all.iter().skip(from).take_while(|(its, _)| *its == mark);
            places.extend(its.map(|(_, place)| place));
        }
        places.sort_unstable();
        places.dedup();
        places
    }

    /// What was done at a time stands still: with the number that a rule has by now, with how many of its elements a set is
    /// without or has too many, and with 0 for what has none. `None` where it was undone.
    pub(super) fn stands(&self, netns: u32, at: u64, one: &Did) -> Option<u64> {
        let now = self.by_now(netns, at, one);
        if matches!(&*now, Did::Renamed { chain, was, .. } if chain == was) {
            return None;
        }
        let one = self.followed(netns, at, one);
        let mut stands = Some(number(&one));
        for (_, later) in self.later(netns, at, &one) {
            stands = after(&one, stands, later);
        }
        stands
    }

    /// When some of what this change did, and stood until then, was undone.
    pub(super) fn undone(&self, change: &Change) -> BTreeSet<u64> {
        let Some(netns) = namespace(change) else {
            return BTreeSet::new();
        };
        let mut all = BTreeSet::new();
        for one in &change.rules() {
            let mut undone = BTreeSet::new();
            let one = self.followed(netns, change.at, one);
            let mut stands = Some(number(&one));
            // Before the time of what was last looked at.
            let mut stood = (change.at, true);
            for (at, later) in self.later(netns, change.at, &one) {
                if at > stood.0 {
                    stood = (at, stands.is_some());
                }
                stands = after(&one, stands, later);
                // Who undid it may have done it once more in one go.
                match stands {
                    None if stood.1 => undone.insert(at),
                    _ => undone.remove(&at),
                };
            }
            // What was undone of one part stays so, whatever was done then to others.
            all.extend(undone);
        }
        all
    }
}

/// The namespace whose rules of nf_tables the change is of.
pub(super) fn namespace(change: &Change) -> Option<u32> {
    match &change.subject {
        Subject::Setting(netns, Thing::Ruleset { firewall }) if firewall == NF_TABLES => Some(*netns),
        _ => None,
    }
}

/// The things that it was done to, without the table that they are in: two at most.
fn things(did: &Did) -> [Option<Of<'_>>; 2] {
    match did {
        Did::Table(table, _) | Did::Dormant(table, _) => [Some(Of::Table(table)), None],
        Did::Chain(table, chain, ..)
        | Did::Policy { table, chain, .. }
        | Did::Device { table, chain, .. } => [Some(Of::Chain(table, chain)), None],
        Did::Renamed { table, chain, was } => [chain, was].map(|chain| Some(Of::Chain(table, chain))),
        Did::Rule {
            table,
            chain,
            handle,
            words,
            ..
        } => [Of::Rule(table, chain, *handle), Of::Words(table, chain, words)].map(Some),
        Did::Set(table, set, _) | Did::Elements(table, set, ..) => [Some(Of::Set(table, set)), None],
        Did::Object(table, _, name, _) => [Some(Of::Object(table, name)), None],
        Did::More(_) | Did::Anew { .. } => [None, None],
    }
}

/// The chain that it was done to or in, with its table.
fn chain(did: &mut Did) -> Option<(&Table, &mut String)> {
    match did {
        Did::Chain(table, chain, ..)
        | Did::Renamed { table, chain, .. }
        | Did::Policy { table, chain, .. }
        | Did::Device { table, chain, .. }
        | Did::Rule { table, chain, .. } => Some((table, chain)),
        Did::Table(..)
        | Did::Dormant(..)
        | Did::Set(..)
        | Did::Elements(..)
        | Did::Object(..)
        | Did::More(_)
        | Did::Anew { .. } => None,
    }
}

/// The table that it was done in.
fn table(did: &Did) -> Option<&Table> {
    match did {
        Did::Table(table, _)
        | Did::Dormant(table, _)
        | Did::Device { table, .. }
        | Did::Chain(table, ..)
        | Did::Renamed { table, .. }
        | Did::Policy { table, .. }
        | Did::Rule { table, .. }
        | Did::Set(table, ..)
        | Did::Elements(table, ..)
        | Did::Object(table, ..) => Some(table),
        Did::More(_) | Did::Anew { .. } => None,
    }
}

fn is_gone(did: &Did) -> bool {
    matches!(
        did,
        Did::Table(_, Came::Gone)
            | Did::Chain(_, _, _, Came::Gone)
            | Did::Rule { came: Came::Gone, .. }
            | Did::Device { came: Came::Gone, .. }
            | Did::Set(_, _, Came::Gone)
            | Did::Elements(_, _, _, Came::Gone)
            | Did::Object(_, _, _, Came::Gone)
    )
}

/// The number of a rule, or of elements; 0 for what has none.
fn number(did: &Did) -> u64 {
    match did {
        Did::Rule { handle, .. } => *handle,
        Did::Elements(_, _, elements, _) => *elements,
        _ => 0,
    }
}

/// How that stands which stood so, after what was done later: that may have undone it, or done it once more.
fn after(one: &Did, stands: Option<u64>, later: &Did) -> Option<u64> {
    if let (Some(table), Did::Table(of, Came::Gone)) = (table(one), later)
        && !matches!(one, Did::Table(..))
    {
        return stands.filter(|_| table != of);
    }
    let is = |is_undone: bool| if is_undone { None } else { Some(number(later)) };
    match (one, later) {
        (Did::Table(table, came), Did::Table(of, now)) if table == of => is(came != now),
        (
            Did::Renamed { table, chain, was },
            Did::Renamed {
                table: of,
                chain: now,
                was: before,
            },
        ) if (table, chain, was) == (of, before, now) => None,
        (Did::Chain(table, chain, _, came), Did::Chain(of, other, _, now))
            if (table, chain) == (of, other) =>
        {
            is(came != now)
        }
        (
            Did::Rule {
                table,
                chain,
                words,
                came,
                ..
            },
            Did::Rule {
                table: of,
                chain: other,
                words: said,
                handle,
                came: now,
            },
        ) => {
            // There may be several with the same words. Numbers are compared first: there may be thousands of rules.
            let is_its = match (came, now) {
                (Came::New, Came::Gone) => stands == Some(*handle),
                (Came::New, Came::New) | (Came::Gone, Came::Gone) => stands.is_none() && words == said,
                (Came::Gone, Came::New) => stands.is_some() && words == said,
            };
            match is_its && (table, chain) == (of, other) {
                true if came == now => Some(*handle),
                true => None,
                false => stands,
            }
        }
        (
            Did::Policy {
                table,
                chain,
                was,
                now: is_now,
            },
            Did::Policy {
                table: of,
                chain: other,
                now,
                ..
            },
        ) if (table, chain) == (of, other) && (now == was || now == is_now) => is(now == was),
        (Did::Dormant(table, is_dormant), Did::Dormant(of, now)) if table == of => is(is_dormant != now),
        (
            Did::Device {
                table,
                chain,
                device,
                came,
            },
            Did::Device {
                table: of,
                chain: other,
                device: its,
                came: now,
            },
        ) if (table, chain, device) == (of, other, its) => is(came != now),
        (Did::Device { table, chain, .. }, Did::Chain(of, other, _, Came::Gone))
            if (table, chain) == (of, other) =>
        {
            None
        }
        (Did::Set(table, set, came), Did::Set(of, other, now)) if (table, set) == (of, other) => {
            is(came != now)
        }
        // Which ones they are is not told: as many as went have come, or the other way round.
        (Did::Elements(table, set, _, came), Did::Elements(of, other, elements, now))
            if (table, set, came != now) == (of, other, true) =>
        {
            stands
                .and_then(|left| left.checked_sub(*elements))
                .filter(|left| *left > 0)
        }
        // One that is set once more is not as this change left it.
        (Did::Object(table, object, name, came), Did::Object(of, other, called, now))
            if (table, object, name) == (of, other, called) =>
        {
            match (came, now) {
                (Came::New, Came::New) if object.can_change() => None,
                _ => is(came != now),
            }
        }
        _ => stands,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn did(text: &str) -> Did {
        let all =
            crate::event::ruleset::read(&format!("generation 1, tables: none; table inet guard, {text}"));
        all.into_iter().flatten().next().unwrap()
    }

    #[test]
    fn a_chain_is_called_as_it_is_by_now() {
        let rule = |chain: &str, handle: u64, came: &str| {
            did(&format!(
                "chain {chain}: rule handle {handle} (tcp dport 22 drop) {came}"
            ))
        };
        let rename = |chain: &str, was: &str| Did::Renamed {
            table: table(&rule("x", 1, "new")).unwrap().clone(),
            chain: chain.to_owned(),
            was: was.to_owned(),
        };
        let all = [
            rename("middle", "in"),
            rename("inside", "middle"),
            rule("inside", 5, "gone"),
            rename("in", "other"),
        ];
        let told = [
            (20, 7, &all[..1]),
            (30, 7, &all[1..2]),
            (40, 7, &all[2..3]),
            (50, 7, &all[3..]),
        ];
        let history = History::new(&told);
        let now = |netns, at, one: Did| history.by_now(netns, at, &one).into_owned();
        assert_eq!(now(7, 10, rule("in", 4, "new")), rule("inside", 4, "new"));
        assert_eq!(
            now(7, 25, rule("in", 4, "new")),
            rule("in", 4, "new"),
            "another one"
        );
        assert_eq!(now(8, 10, rule("in", 4, "new")), rule("in", 4, "new"));
        assert_eq!(now(7, 45, rule("other", 4, "new")), rule("in", 4, "new"));
        let stands = |at, one: Did| {
            let all: Vec<Option<u64>> = (0..=FEW).map(|_| history.stands(7, at, &one)).collect();
            let [first, others @ ..] = &all[..] else {
                panic!("nothing was asked");
            };
            assert!(others.iter().all(|other| other == first), "{all:?}");
            *first
        };
        assert_eq!(stands(10, rule("in", 4, "new")), Some(4));
        assert_eq!(stands(10, rule("in", 5, "new")), None, "it went by its new name");
        assert_eq!(stands(20, rename("middle", "in")), Some(0));
        let name_back = [rename("in", "inside")];
        let back = History::new(&[told[0], told[1], (40, 7, &name_back)]);
        assert_eq!(
            back.stands(7, 20, &rename("middle", "in")),
            None,
            "it has its name again"
        );
    }

    #[test]
    fn parts_of_a_change_are_undone_each_at_its_time() {
        let rule = |handle: u64, port: u16, came: &str| {
            format!("chain in: rule handle {handle} (tcp dport {port} drop) {came}")
        };
        let change = |parts: &[&str]| Change {
            at: 10,
            subject: Subject::Setting(
                7,
                Thing::Ruleset {
                    firewall: NF_TABLES.to_owned(),
                },
            ),
            before: None,
            after: Some(format!(
                "generation 2, tables: inet guard; table inet guard, {}",
                parts.join("; table inet guard, ")
            )),
            by: None,
            by_unknown: None,
            noticed: false,
        };
        let undone = |change: &Change, later: &[(u64, String)]| {
            let did: Vec<(u64, [Did; 1])> = later.iter().map(|(at, text)| (*at, [did(text)])).collect();
            let told: Vec<(u64, u32, &[Did])> = did.iter().map(|(at, did)| (*at, 7, &did[..])).collect();
            let history = History::new(&told);
            let all: Vec<Vec<u64>> = (0..=FEW)
                .map(|_| history.undone(change).into_iter().collect())
                .collect();
            assert!(all.iter().all(|one| *one == all[0]), "{all:?}");
            all.into_iter().next().unwrap()
        };
        let both = change(&[&rule(4, 22, "new"), &rule(5, 23, "new")]);
        assert_eq!(both.rules().len(), 2, "{:?}", both.rules());
        for (first, last) in [((4, 22), (5, 23)), ((5, 23), (4, 22))] {
            let later = [
                (20, rule(first.0, first.1, "gone")),
                (30, rule(last.0, last.1, "gone")),
            ];
            assert_eq!(undone(&both, &later), [20, 30]);
        }
        // What goes with it and does nothing by itself.
        let with_set = change(&[&rule(4, 22, "new"), "set peers new"]);
        assert_eq!(undone(&with_set, &[(20, rule(4, 22, "gone"))]), [20]);
        // It came back in one go.
        let back = [(20, rule(4, 22, "gone")), (20, rule(6, 22, "new"))];
        assert!(undone(&both, &back).is_empty());
    }

    #[test]
    fn what_was_done_stands_until_it_is_undone() {
        let stands = |one: &str, all: &[&str]| {
            let one = did(one);
            let mut stands = Some(number(&one));
            for later in all {
                stands = after(&one, stands, &did(later));
            }
            stands
        };
        let accept =
            |handle: u64, came: &str| format!("chain in: rule handle {handle} (tcp dport 22 accept) {came}");
        let (gone, back, again) = (accept(4, "gone"), accept(9, "new"), accept(9, "gone"));
        assert_eq!(stands(&gone, &[]), Some(4));
        assert_eq!(stands(&gone, &[&back]), None);
        assert_eq!(stands(&gone, &[&back, &again]), Some(9));
        assert_eq!(
            stands(&gone, &["chain in: rule handle 9 (tcp dport 23 accept) new"]),
            Some(4)
        );
        assert_eq!(
            stands(&gone, &["chain other: rule handle 9 (tcp dport 22 accept) new"]),
            Some(4)
        );
        assert_eq!(stands(&back, &[&again]), None);
        assert_eq!(
            stands(&back, &[&gone]),
            Some(9),
            "it is another one with the same words"
        );

        let elements = |number: u64, came: &str| format!("set peers: {number} elements {came}");
        assert_eq!(stands(&elements(3, "gone"), &[&elements(1, "new")]), Some(2));
        assert_eq!(
            stands(&elements(3, "gone"), &[&elements(1, "new"), &elements(2, "new")]),
            None
        );
        assert_eq!(stands(&elements(3, "gone"), &[&elements(3, "gone")]), Some(3));
        assert_eq!(stands("set peers new", &["set peers gone"]), None);
        assert_eq!(
            stands("quota most new or changed", &["quota most new or changed"]),
            None
        );
        assert_eq!(
            stands("quota most gone", &["quota other new or changed"]),
            Some(0)
        );
        assert_eq!(
            stands(
                "chain in: policy drop, was accept",
                &["chain in: policy accept, was drop"]
            ),
            None
        );
    }
}
