//! What changed on the node, in the order in which it was told.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::folding::{Folding, With};
use crate::event::ruleset::{self, Did};
use crate::event::value::NF_TABLES;
use crate::event::{Manager, Notice, NoticeKind, Owner, Thing, Unknown};
use crate::report::EARLIEST;

/// Changes that are kept at most: of more, those that follow others go first, and all are counted.
const KEPT: usize = 4096;

/// Something that changed, or happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// When, in boot time.
    pub(crate) at: u64,
    /// What.
    pub(crate) subject: Subject,
    /// How it was before, `None` where it was not there or that is not known.
    pub(crate) before: Option<String>,
    /// How it is since, `None` where it is gone.
    pub(crate) after: Option<String>,
    /// Who did it, where that is known.
    pub(crate) by: Option<Owner>,
    /// Why that is not known; `None` where it is, and where nobody does such a thing.
    pub(crate) by_unknown: Option<Unknown>,
    /// Nobody told it: it was noticed up to that time, and came about since the look before.
    pub(crate) noticed: bool,
}

impl Change {
    /// So many flows that worked begin to starve, the first of them at `at`.
    pub(super) fn onset(at: u64, flows: u64) -> Self {
        let text = match flows {
            1 => "a flow begins to starve".to_owned(),
            many => format!("{many} flows begin to starve"),
        };
        Self::starvation(at, Starvation::Begins, text)
    }

    /// So many flows starve of which none was seen to work before; packets are lost since `at` at the latest.
    pub(super) fn found_starving(at: u64, flows: u64) -> Self {
        let text = match flows {
            1 => "a flow starves; nothing has reached it since tracer looks".to_owned(),
            many => format!("{many} flows starve; nothing has reached them since tracer looks"),
        };
        Self::starvation(at, Starvation::Found, text)
    }

    /// None starves any more.
    pub(super) fn starvation_over(at: u64) -> Self {
        Self::starvation(at, Starvation::Over, "no flow starves any more".to_owned())
    }

    /// A network namespace came or is gone.
    pub(super) fn namespace(at: u64, name: &str, is_there: bool) -> Self {
        let there = Some(String::new());
        let (before, after) = if is_there { (None, there) } else { (there, None) };
        Self {
            at,
            subject: Subject::Namespace(name.to_owned()),
            before,
            after,
            by: None,
            by_unknown: Some(Unknown::Compared),
            noticed: true,
        }
    }

    fn starvation(at: u64, what: Starvation, text: String) -> Self {
        Self {
            at,
            subject: Subject::Starvation(what),
            before: None,
            after: Some(text),
            by: None,
            by_unknown: None,
            noticed: false,
        }
    }

    /// Something that happened and leaves no state behind.
    pub(super) fn happened(at: u64, notice: &Notice) -> Self {
        Self {
            at,
            subject: Subject::Notice(notice.kind),
            before: None,
            after: Some(notice.text.clone()),
            by_unknown: match (&notice.by, notice.kind) {
                (Some(_), _) => None,
                // Nobody was seen to hold the lock.
                (None, NoticeKind::Package) => Some(Unknown::NotFound),
                (None, NoticeKind::Systemd) => Some(Unknown::NotTold),
                (
                    None,
                    NoticeKind::OutOfMemory | NoticeKind::Module | NoticeKind::Clock | NoticeKind::Kernel,
                ) => Some(Unknown::Kernel),
            },
            by: notice.by.clone(),
            noticed: false,
        }
    }

    /// What it did to the rules of nf_tables, as far as that can be read; nothing where it is of something else.
    pub(crate) fn rules(&self) -> Vec<Did> {
        match &self.subject {
            Subject::Setting(_, Thing::Ruleset { firewall }) if firewall == NF_TABLES => {
                let did = ruleset::read(self.after.as_deref().unwrap_or_default());
                did.into_iter().flatten().collect()
            }
            _ => Vec::new(),
        }
    }
}

/// What a change is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// The network configuration of the namespace with this inode, 0 for the whole node.
    Setting(u32, Thing),
    /// That of a namespace whose inode is another's by now: what it was called.
    Closed(String, Thing),
    /// A network namespace, by its name.
    Namespace(String),
    /// A unit of systemd.
    Unit(String),
    /// A job of systemd for a unit.
    Job(String),
    /// A timer of systemd.
    Timer(String),
    /// Packages.
    Packages(Manager),
    /// Something that happened.
    Notice(NoticeKind),
    /// Flows whose packets reach no socket.
    Starvation(Starvation),
}

impl Subject {
    /// How it stands as people are shown it.
    pub(crate) fn shown<'v>(&self, value: &'v str) -> Cow<'v, str> {
        match self {
            Self::Setting(_, thing) | Self::Closed(_, thing) => thing.shown(value),
            _ => Cow::Borrowed(value),
        }
    }
}

/// What is told of starvation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Starvation {
    /// It begins.
    Begins,
    /// It is there, and nobody saw it begin.
    Found,
    /// It is over.
    Over,
}

/// The changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timeline {
    /// In the order of their times.
    changes: VecDeque<Kept>,
    folding: Folding,
    forgotten: u64,
}

/// A change that is kept.
#[derive(Clone, Debug)]
struct Kept {
    /// From 1, in the order in which changes were told.
    number: u64,
    change: Change,
    group: u64,
    /// What it did to the rules of nf_tables, where it is of those and as far as that can be read.
    did: Vec<Did>,
}

/// A change with its place on the timeline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'a> {
    /// From 1, in the order in which changes were told.
    pub(crate) number: u64,
    /// It.
    pub(crate) change: &'a Change,
    /// The number of the change that it follows; `None` where it stands for itself.
    pub(crate) follows: Option<u64>,
    /// What follows it.
    pub(crate) with: Option<&'a With>,
}

impl Told<'_> {
    /// The number of the change that leads those that it belongs to, which may be itself.
    pub(crate) fn leader(&self) -> u64 {
        self.follows.unwrap_or(self.number)
    }
}

impl Timeline {
    /// Adds a change. Sources run beside one another: what one tells late is put where it belongs.
    pub(super) fn add(&mut self, change: Change) {
        let number = self.total() + 1;
        let placed = self.folding.place(number, &change);
        if !placed.merged.is_empty() {
            let merged = self
                .changes
                .iter_mut()
                .filter(|kept| placed.merged.contains(&kept.group));
            merged.for_each(|kept| kept.group = placed.group);
        }
        let place = self.changes.partition_point(|known| known.change.at <= change.at);
        let kept = Kept {
            number,
            did: change.rules(),
            change,
            group: placed.group,
        };
        self.changes.insert(place, kept);
        if self.changes.len() > KEPT {
            self.forget_one();
        }
    }

    /// Adds a change with which all of this changed, too.
    pub(super) fn add_with(&mut self, change: Change, with: With) {
        let number = self.total() + 1;
        self.add(change);
        self.folding.bring(number, with);
    }

    /// Forgets the earliest of those that follow another one, which is what they are counted under; where there is none, of
    /// the others the one behind the first ones: what began it all is asked for longest.
    fn forget_one(&mut self) {
        let follows = |kept: &Kept| {
            self.folding
                .group(kept.group)
                .is_some_and(|(leader, _)| leader != kept.number)
        };
        let place = self.changes.iter().position(follows);
        if let Some(kept) = self.changes.remove(place.unwrap_or(EARLIEST)) {
            self.forgotten += 1;
            if place.is_none() {
                self.folding.forget(kept.group);
            }
        }
    }

    /// The inode of a namespace, which was called so, is that of another one: what changed before was not of that.
    pub(super) fn close(&mut self, netns: u32, label: &str) {
        for kept in &mut self.changes {
            if let Subject::Setting(of, thing) = &kept.change.subject
                && *of == netns
            {
                kept.change.subject = Subject::Closed(label.to_owned(), thing.clone());
            }
        }
        self.folding.close(netns);
    }

    /// Adds a change, if there is one.
    pub(super) fn extend(&mut self, change: Option<Change>) {
        if let Some(change) = change {
            self.add(change);
        }
    }

    /// All that are kept, the earliest first, each with its number: from 1, in the order in which they were told.
    pub(crate) fn all(&self) -> impl DoubleEndedIterator<Item = (u64, &Change)> + ExactSizeIterator {
        self.changes.iter().map(|kept| (kept.number, &kept.change))
    }

    /// Those that were told after so many, the latest first. What is told late stands among those that came before.
    pub(crate) fn told_after(&self, known: u64) -> impl Iterator<Item = &Change> {
        let new = usize::try_from(self.total().saturating_sub(known)).unwrap_or(usize::MAX);
        let all = self.all().rev();
        all.filter(move |(number, _)| *number > known)
            .take(new)
            .map(|(_, change)| change)
    }

    /// All that did something to the rules of nf_tables, with what that was; the earliest first.
    pub(crate) fn of_rules(&self) -> impl DoubleEndedIterator<Item = (&Change, &[Did])> {
        let of_rules = self.changes.iter().filter(|kept| !kept.did.is_empty());
        of_rules.map(|kept| (&kept.change, &*kept.did))
    }

    /// The same, with what belongs together.
    pub(crate) fn folded(&self) -> impl DoubleEndedIterator<Item = Told<'_>> {
        self.changes.iter().map(|kept| {
            let group = self.folding.group(kept.group);
            let leader = group.map_or(kept.number, |(leader, _)| leader);
            Told {
                number: kept.number,
                change: &kept.change,
                follows: Some(leader).filter(|leader| *leader != kept.number),
                with: group.filter(|_| leader == kept.number).map(|(_, with)| with),
            }
        })
    }

    /// The number of the change that the one of this thing at that time follows; `None` where it stands for itself, or is not kept
    /// any more.
    pub(crate) fn leader_of(&self, netns: u32, thing: &Thing, at: u64) -> Option<u64> {
        let first = self.changes.partition_point(|kept| kept.change.at < at);
        let of_then = self
            .changes
            .range(first..)
            .take_while(|kept| kept.change.at == at);
        let is_it = |kept: &&Kept| matches!(&kept.change.subject, Subject::Setting(of, other) if *of == netns && other == thing);
        // Of several the last one came of it.
        let kept = of_then.filter(is_it).last()?;
        let (leader, _) = self.folding.group(kept.group)?;
        Some(leader).filter(|leader| *leader != kept.number)
    }

    /// When flows that had worked began to starve while no such did before, in boot time, the earliest first.
    pub(crate) fn onsets(&self) -> impl Iterator<Item = u64> {
        self.all()
            .filter(|(_, change)| change.subject == Subject::Starvation(Starvation::Begins))
            .map(|(_, change)| change.at)
    }

    /// How many there were, also those that are not kept any more.
    pub(crate) fn total(&self) -> u64 {
        self.changes.len() as u64 + self.forgotten
    }

    /// How many of them follow no other one.
    pub(crate) fn leading(&self) -> u64 {
        self.total().saturating_sub(self.folding.followers())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(at: u64) -> Change {
        Change {
            at,
            subject: Subject::Unit("a.service".to_owned()),
            before: None,
            after: None,
            by: None,
            by_unknown: None,
            noticed: false,
        }
    }

    fn times(timeline: &Timeline) -> Vec<(u64, u64)> {
        timeline
            .all()
            .map(|(number, change)| (change.at, number))
            .collect()
    }

    #[test]
    fn changes_are_in_the_order_of_their_times() {
        let mut timeline = Timeline::default();
        for time in [1, 5, 3, 3, 9] {
            timeline.add(at(time));
        }
        assert_eq!(times(&timeline), [(1, 1), (3, 3), (3, 4), (5, 2), (9, 5)]);
    }

    #[test]
    fn why_nobody_is_named_follows_from_who_tells_it() {
        let why = |kind, by| {
            let notice = Notice {
                kind,
                text: String::new(),
                by,
            };
            Change::happened(1, &notice).by_unknown
        };
        assert_eq!(why(NoticeKind::Package, Some(Owner::named(7, "dpkg"))), None);
        assert_eq!(why(NoticeKind::Package, None), Some(Unknown::NotFound));
        assert_eq!(why(NoticeKind::Clock, None), Some(Unknown::Kernel));
        assert_eq!(why(NoticeKind::Systemd, None), Some(Unknown::NotTold));
        assert_eq!(Change::onset(1, 1).by_unknown, None, "nobody does that");
    }

    #[test]
    fn what_is_told_late_is_among_what_was_told_after() {
        let mut timeline = Timeline::default();
        timeline.add(at(10));
        let known = timeline.total();
        timeline.add(at(5));
        timeline.add(at(12));
        let told: Vec<u64> = timeline.told_after(known).map(|change| change.at).collect();
        assert_eq!(told, [12, 5]);
        assert_eq!(timeline.told_after(timeline.total()).count(), 0);
    }

    #[test]
    fn onsets_of_starvation_are_told_and_neither_what_is_found_nor_ends() {
        let mut timeline = Timeline::default();
        for change in [
            Change::onset(1, 3),
            Change::starvation_over(2),
            Change::found_starving(4, 2),
            Change::onset(5, 1),
        ] {
            timeline.add(at(change.at));
            timeline.add(change);
        }
        assert_eq!(timeline.onsets().collect::<Vec<_>>(), [1, 5]);
    }

    #[test]
    fn what_lies_between_the_first_and_the_last_is_forgotten_and_counted() {
        let mut timeline = Timeline::default();
        for time in 0..KEPT as u64 + 3 {
            timeline.add(at(time));
        }
        assert_eq!(
            (timeline.all().count(), timeline.total()),
            (KEPT, KEPT as u64 + 3)
        );
        let times = times(&timeline);
        assert_eq!(
            (times[0], times[EARLIEST]),
            ((0, 1), (EARLIEST as u64 + 3, EARLIEST as u64 + 4))
        );
        assert_eq!(timeline.leading(), KEPT as u64 + 3);
    }
}
