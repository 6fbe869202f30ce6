//! Which changes come with others: a device that is set down takes its routes and addresses along, and a program that is
//! restarted may set a hundred routes anew. What led to the others leads; the others are counted under it.
//!
//! Changes of one process within [`NEAR`] belong together. What nobody is known to have done belongs to the change that
//! brings such about ([`brings_about`]), just before it; else to what changed in the same way at the same time. So nobody
//! who did something is ever hidden behind somebody else.
//!
//! What changes again leads again, so that no line shows how something was for a moment as how it is; and what goes does not
//! hide what comes in its place.
//!
//! What systemd tells of a unit and of its job belongs together from the job or the first step on until the unit rests again:
//! of a start the line that stays is what it ended in. A stop and the start behind it are two, as is a start that takes long.

mod effects;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use self::effects::{DISABLE_IPV6, brings_about, devices, is_its_address, may_end, parameter};
use super::clock::SECOND;
use super::timeline::{Change, Subject};
use super::units;
use crate::event::{Owner, TABLE_LOCAL, Thing, Version, of_each_device, value};
use crate::report::{Became, What};

/// Changes of one process, and those alike of nobody known, belong together up to so long after the first of them.
const NEAR: u64 = SECOND;
/// The kernel tells what a change brings about within this time. It takes microseconds; what is told then waits for its
/// reader.
const AT_ONCE: u64 = SECOND / 4;
/// The same where a comparison shows it: it is made every second, every other one of BPF programs.
const BY_NEXT_LOOK: u64 = SECOND * 5 / 2;
/// What a change brings about may be told before it: addresses go before the device that had them.
const AHEAD: u64 = SECOND / 10;
/// Groups that further changes may join, at most: the oldest are closed first.
const OPEN: usize = 128;
/// Changes of a group that may bring others about, at most: of more, what they bring about is told by itself.
const CAUSES: usize = 32;
/// Things that a group is known to have, at most: with that many nothing more joins it of itself.
const THINGS: usize = 65_536;

/// How many changes of each kind follow one.
pub(crate) type With = BTreeMap<(What, Became), u64>;

/// Changes that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    /// The number of the one that leads.
    leader: u64,
    /// Its rank, and what it is: another may turn out to lead.
    rank: (u8, u64),
    kind: Option<(What, Became)>,
    with: With,
}

/// A group that further changes may join.
#[derive(Clone, Debug)]
struct Open {
    group: u64,
    netns: u32,
    who: Who,
    /// When the first of them was; of a unit's the latest.
    first: u64,
    causes: Vec<(u64, Change)>,
    /// What it has changed, as numbers that tell one thing from others.
    things: BTreeSet<u64>,
}

/// Whose changes these are.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Who {
    /// A process's.
    Known(Owner),
    /// Nobody's that is known: they are alike.
    Alike((What, Became), String),
    /// A unit's.
    Unit(String, Stage),
}

/// How far what is told of a unit has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// It has a job.
    Asked,
    /// It goes from one state to another.
    OnItsWay,
    /// It stays as it is.
    Rests,
}

/// The groups of a timeline. Each is known by the number of its first change.
#[derive(Clone, Debug, Default)]
pub(super) struct Folding {
    groups: BTreeMap<u64, Group>,
    open: Vec<Open>,
    now: u64,
    followers: u64,
}

/// Where a change belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// Its group.
    pub(super) group: u64,
    /// Groups that turned out to be part of that one: what was put there belongs to it now.
    pub(super) merged: Vec<u64>,
}

impl Folding {
    /// Finds where a change with this number, which is new, belongs.
    pub(super) fn place(&mut self, number: u64, change: &Change) -> Placed {
        self.now = self.now.max(change.at);
        let oldest = self.now.saturating_sub(BY_NEXT_LOOK.max(NEAR));
        self.open.retain(|open| open.first >= oldest);
        let (netns, thing) = match &change.subject {
            Subject::Setting(netns, thing) => (netns, thing),
            Subject::Unit(name) | Subject::Job(name) => {
                let group = self.of_unit(number, name, change);
                self.found(group, number, change);
                return Placed {
                    group,
                    merged: Vec::new(),
                };
            }
            _ => {
                self.found(number, number, change);
                return Placed {
                    group: number,
                    merged: Vec::new(),
                };
            }
        };
        let who = Who::of(thing, change);
        let cause = match who {
            Who::Alike(..) => self.cause(*netns, thing, change),
            Who::Known(_) | Who::Unit(..) => None,
        };
        let place = cause.or_else(|| {
            // Of several the latest: it goes on.
            self.open.iter().rposition(|open| {
                open.netns == *netns
                    && open.who == who
                    && open.first.abs_diff(change.at) <= NEAR
                    && self.may_join(open, thing, change)
            })
        });
        let group = match place.and_then(|place| self.open.get(place)) {
            Some(open) => open.group,
            None => self.opened(number, *netns, who, change.at),
        };
        self.found(group, number, change);
        let merged = self.absorb(group, *netns, change);
        if let Some(open) = self.open.iter_mut().find(|open| open.group == group) {
            open.things.insert(number_of(thing));
            if open.causes.len() < CAUSES {
                open.causes.push((change.at, change.clone()));
            }
        }
        Placed { group, merged }
    }

    /// A group of its own for what comes first.
    fn opened(&mut self, number: u64, netns: u32, who: Who, at: u64) -> u64 {
        if self.open.len() >= OPEN {
            self.open.remove(0);
        }
        self.open.push(Open {
            group: number,
            netns,
            who,
            first: at,
            causes: Vec::new(),
            things: BTreeSet::new(),
        });
        number
    }

    /// Whether nothing is hidden where a change follows the one that leads this group: neither that its thing has changed
    /// again, nor what has come in the place of something that is gone.
    fn may_join(&self, open: &Open, thing: &Thing, change: &Change) -> bool {
        let Some(group) = self.groups.get(&open.group) else {
            return false;
        };
        // A device that goes leads what became of it before.
        if rank(change) < group.rank.0 {
            return true;
        }
        let takes_its_place = group.kind.is_some_and(|(of, led)| {
            of == what(thing)
                && matches!(
                    (led, became(change)),
                    (Became::Gone, Became::New) | (Became::New, Became::Gone)
                )
        });
        !takes_its_place && open.things.len() < THINGS && !open.things.contains(&number_of(thing))
    }

    /// The group of a unit's change, or its job's: the latest one of the unit, while what it tells goes on. Another job begins
    /// another one, and so does what befalls a unit that had come to rest.
    fn of_unit(&mut self, number: u64, name: &str, change: &Change) -> u64 {
        let is_job = matches!(change.subject, Subject::Job(_));
        let is_new_job = is_job && change.before.is_none();
        let after = change.after.as_deref().unwrap_or_default();
        let stage = if is_job {
            Stage::Asked
        } else if units::is_on_its_way(after) {
            Stage::OnItsWay
        } else {
            Stage::Rests
        };
        let latest = self
            .open
            .iter_mut()
            .rfind(|open| matches!(&open.who, Who::Unit(of, _) if of == name));
        if let Some(open) = latest
            && let Who::Unit(_, so_far) = &mut open.who
            && open.first.abs_diff(change.at) <= NEAR
            && match *so_far {
                Stage::Asked => !is_new_job,
                // Its job may be heard of late.
                Stage::OnItsWay => true,
                Stage::Rests => is_job && units::has_ended(after),
            }
        {
            *so_far = stage.max(*so_far);
            // Each step may take its time.
            open.first = open.first.max(change.at);
            return open.group;
        }
        self.opened(number, 0, Who::Unit(name.to_owned(), stage), change.at)
    }

    /// The open group with what brought this change about: of several, by the address that a route is for, else the one of the
    /// first rank, and the last of those.
    fn cause(&self, netns: u32, thing: &Thing, change: &Change) -> Option<usize> {
        let late = if change.noticed { BY_NEXT_LOOK } else { AT_ONCE };
        let open = self
            .open
            .iter()
            .enumerate()
            .filter(|(_, open)| open.netns == netns);
        let causes = open.flat_map(|(place, open)| open.causes.iter().map(move |cause| (place, cause)));
        // What is looked at may be so again; the kernel does a thing once.
        let is_again = |place: usize| {
            let open = self.open.get(place).filter(|_| !change.noticed);
            open.is_some_and(|open| open.things.contains(&number_of(thing)))
        };
        causes
            .filter(|(place, (at, cause))| {
                *at <= change.at + AHEAD
                    && change.at.saturating_sub(*at) <= late
                    && may_end(cause, change)
                    && brings_about(cause, change)
                    && !is_again(*place)
            })
            .min_by_key(|(_, (at, cause))| {
                (
                    !is_its_address(cause, change),
                    rank(cause),
                    change.at.abs_diff(*at),
                )
            })
            .map(|(place, _)| place)
    }

    /// Takes groups of nobody known into this one that this change, which has just come to it, brought about.
    fn absorb(&mut self, group: u64, netns: u32, change: &Change) -> Vec<u64> {
        // What is noticed happened up to a look earlier, and what the kernel made of it was told at once.
        let ahead = if change.noticed { BY_NEXT_LOOK } else { AHEAD };
        let brought = |open: &Open| {
            open.group != group
                && open.netns == netns
                && matches!(open.who, Who::Alike(..))
                && open.first + ahead >= change.at
                && open.causes.iter().all(|(at, effect)| {
                    *at <= change.at && may_end(change, effect) && brings_about(change, effect)
                })
        };
        let all = self.open.iter().filter(|open| brought(open));
        let all: Vec<u64> = all.map(|open| open.group).collect();
        let mut merged = Vec::new();
        for other in all {
            // What is noticed was done before any of it.
            if change.after.is_some() && !change.noticed && self.share_a_thing(group, other) {
                continue;
            }
            let things = self.open.extract_if(.., |open| open.group == other);
            let things: Vec<u64> = things.flat_map(|open| open.things).collect();
            if let Some(into) = self.open.iter_mut().find(|open| open.group == group) {
                into.things.extend(things);
            }
            let Some(known) = self.groups.remove(&other) else {
                continue;
            };
            self.followers += 1;
            if let Some(into) = self.groups.get_mut(&group) {
                into.join(known);
            }
            merged.push(other);
        }
        merged
    }

    /// Some thing has changed in both of these groups.
    fn share_a_thing(&self, one: u64, other: u64) -> bool {
        let things = |group| self.open.iter().find(|open| open.group == group);
        match (things(one), things(other)) {
            (Some(one), Some(other)) => !one.things.is_disjoint(&other.things),
            _ => false,
        }
    }

    /// A change belongs to a group.
    fn found(&mut self, group: u64, number: u64, change: &Change) {
        let then = match change.subject {
            // The last of them says what it came to.
            Subject::Unit(_) | Subject::Job(_) => u64::MAX - number,
            _ => change.at,
        };
        let new = Group {
            leader: number,
            rank: (rank(change), then),
            kind: kind(change),
            with: With::new(),
        };
        match self.groups.get_mut(&group) {
            Some(known) => {
                known.join(new);
                self.followers += 1;
            }
            None => {
                self.groups.insert(group, new);
            }
        }
    }

    /// What changed with the one that leads this group is not told one by one.
    pub(super) fn bring(&mut self, group: u64, with: With) {
        if let Some(group) = self.groups.get_mut(&group) {
            group.with = with;
        }
    }

    /// The number of the change that leads a group, and what follows it.
    pub(super) fn group(&self, group: u64) -> Option<(u64, &With)> {
        self.groups.get(&group).map(|known| (known.leader, &known.with))
    }

    /// How many changes follow another one, or did.
    pub(super) fn followers(&self) -> u64 {
        self.followers
    }

    /// The inode of a namespace is that of another one: nothing of that belongs to what changed before.
    pub(super) fn close(&mut self, netns: u32) {
        self.open.retain(|open| open.netns != netns);
    }

    /// A group is not asked for any more.
    pub(super) fn forget(&mut self, group: u64) {
        self.groups.remove(&group);
        self.open.retain(|open| open.group != group);
    }
}

impl Group {
    /// Takes in another one. The one of the lower rank follows, or the later one.
    fn join(&mut self, mut other: Self) {
        if other.rank < self.rank {
            std::mem::swap(self, &mut other);
        }
        for (kind, number) in other.with.into_iter().chain(other.kind.map(|kind| (kind, 1))) {
            *self.with.entry(kind).or_default() += number;
        }
    }
}

impl Who {
    fn of(thing: &Thing, change: &Change) -> Self {
        if let Some(by) = &change.by {
            // One that was asked for its parent too late is the same.
            return Self::Known(Owner {
                parent: None,
                ..by.clone()
            });
        }
        let version = |address| Version::of(address).to_string();
        let alike = match thing {
            Thing::Address { device, address, .. }
            | Thing::Neighbour { device, address }
            | Thing::Proxy { device, address } => {
                format!("{device} {}", version(*address))
            }
            Thing::Route { destination, .. } => {
                format!(
                    "{} {}",
                    version(*destination),
                    devices(change).next().unwrap_or_default()
                )
            }
            Thing::Answer { address, .. } => version(*address),
            Thing::Traffic { device, .. } | Thing::Offloads { device } => device.clone(),
            // A parameter of one device is alike that of another one, where both are set to the same.
            Thing::Sysctl { name } => format!("{:?} {:?}", parameter(name), change.after),
            // What is undone at once is told as well.
            Thing::Link { device } => format!("{device} {}", direction(change)),
            // systemd loads those of all units anew where it reads their files again.
            Thing::CgroupPrograms { .. } => String::new(),
            // There are few of the others, and each matters.
            other => other.to_string(),
        };
        Self::Alike((what(thing), became(change)), alike)
    }
}

/// A number that tells a thing from others.
fn number_of(thing: &Thing) -> u64 {
    let mut hasher = DefaultHasher::new();
    thing.hash(&mut hasher);
    hasher.finish()
}

/// How much nearer to working a device came, or how much farther from it.
fn turn(change: &Change) -> Ordering {
    let works = |value: &Option<String>| {
        let value = value.as_deref().unwrap_or_default();
        u8::from(value::is_up(value)) + u8::from(value::has_carrier(value))
    };
    works(&change.after).cmp(&works(&change.before))
}

/// Whether a device came nearer to working or went farther from it; else what it is set to.
fn direction(change: &Change) -> &str {
    match turn(change) {
        Ordering::Greater => "nearer",
        Ordering::Less => "farther",
        Ordering::Equal => change.after.as_deref().unwrap_or_default(),
    }
}

/// What a change is counted as where it follows another one.
fn kind(change: &Change) -> Option<(What, Became)> {
    match &change.subject {
        Subject::Setting(_, thing) => Some((what(thing), became(change))),
        _ => None,
    }
}

fn became(change: &Change) -> Became {
    match (&change.before, &change.after) {
        (_, None) => Became::Gone,
        (None, Some(_)) => Became::New,
        (Some(_), Some(_)) => Became::Changed,
    }
}

pub(crate) fn what(thing: &Thing) -> What {
    match thing {
        Thing::Rule { .. } | Thing::NoRules { .. } => What::Rule,
        Thing::Route { .. } => What::Route,
        Thing::Nexthop { .. } => What::Nexthop,
        Thing::Nsid { .. } => What::Nsid,
        Thing::Address { .. } => What::Address,
        Thing::Answer { .. } => What::Answer,
        Thing::Link { .. } => What::Device,
        Thing::Neighbour { .. } | Thing::Proxy { .. } => What::Neighbour,
        Thing::Traffic { .. } => What::Traffic,
        Thing::Offloads { .. } => What::Offloads,
        Thing::Ipsec { .. } => What::Ipsec,
        Thing::Sysctl { .. } => What::Sysctl,
        Thing::Ruleset { .. } => What::Ruleset,
        Thing::Tracking => What::Tracking,
        Thing::Program { .. } | Thing::CgroupPrograms { .. } => What::Program,
        Thing::BpfLink { .. } => What::BpfLink,
        Thing::File { .. } | Thing::Kernels | Thing::Modules { .. } => What::File,
    }
}

/// Of changes that belong together the one of the lowest rank leads: what brings others about before those, and what
/// cuts a node off before what does so for a part of its peers.
fn rank(change: &Change) -> u8 {
    let thing = match &change.subject {
        Subject::Setting(_, thing) => thing,
        // A job is told by what becomes of its unit.
        Subject::Job(_) => return 1,
        _ => return 0,
    };
    match thing {
        // It is set down before, and its addresses go.
        Thing::Link { .. } if change.after.is_none() => 0,
        Thing::Link { .. } => 1,
        Thing::Rule {
            table: TABLE_LOCAL, ..
        } => 2,
        Thing::Rule { .. } | Thing::NoRules { .. } | Thing::Ruleset { .. } | Thing::Tracking => 3,
        Thing::Sysctl { name } if name.ends_with(DISABLE_IPV6) => 3,
        Thing::Address { .. } => 4,
        Thing::Sysctl { name } if of_each_device(name).is_none_or(|(_, device, _)| device == "all") => 5,
        Thing::Nexthop { .. }
        | Thing::Traffic { .. }
        | Thing::Offloads { .. }
        | Thing::Ipsec { .. }
        | Thing::BpfLink { .. }
        | Thing::CgroupPrograms { .. }
        | Thing::File { .. }
        | Thing::Kernels
        | Thing::Modules { .. } => 5,
        Thing::Route { prefix: 0, .. } | Thing::Program { .. } | Thing::Sysctl { .. } => 6,
        Thing::Route { .. } => 7,
        Thing::Neighbour { .. } | Thing::Proxy { .. } | Thing::Nsid { .. } => 8,
        Thing::Answer { .. } => 9,
    }
}

#[cfg(test)]
mod tests;
