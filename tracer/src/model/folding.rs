//! Which changes come with others: a device that is set down takes its routes and addresses along, and a program that is
//! restarted may set a hundred routes anew. What led to the others leads; the others are counted under it.
//!
//! Changes of one process within [`NEAR`] belong together. What nobody is known to have done belongs to the change that
//! brings such about ([`brings_about`]), just before it; else to what changed in the same way at the same time. So nobody
//! who did something is ever hidden behind somebody else.
//!
//! What systemd tells of a unit and of its job belongs together from the job or the first step on until the unit rests again:
//! of a start the line that stays is what it ended in. A stop and the start behind it are two, as is a start that takes long.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::clock::SECOND;
use super::timeline::{Change, Subject};
use super::units;
use crate::event::{Owner, TABLE_LOCAL, Thing, Unknown, Version, of_each_device, value};
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

/// The kernel parameter with which all addresses and routes of IPv6 go (addrconf_disable_ipv6).
const DISABLE_IPV6: &str = ".disable_ipv6";
/// What those of IPv6 begin with.
const IPV6: &str = "net.ipv6.";

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
            Who::Alike(..) => self.cause(*netns, change),
            Who::Known(_) | Who::Unit(..) => None,
        };
        let place = cause.or_else(|| {
            self.open.iter().position(|open| {
                open.netns == *netns && open.who == who && open.first.abs_diff(change.at) <= NEAR
            })
        });
        let group = match place.and_then(|place| self.open.get(place)) {
            Some(open) => open.group,
            None => self.opened(number, *netns, who, change.at),
        };
        self.found(group, number, change);
        let merged = self.absorb(group, *netns, change);
        if let Some(open) = self.open.iter_mut().find(|open| open.group == group)
            && open.causes.len() < CAUSES
        {
            open.causes.push((change.at, change.clone()));
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
        });
        number
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
    fn cause(&self, netns: u32, change: &Change) -> Option<usize> {
        let late = if change.noticed { BY_NEXT_LOOK } else { AT_ONCE };
        let open = self
            .open
            .iter()
            .enumerate()
            .filter(|(_, open)| open.netns == netns);
        let causes = open.flat_map(|(place, open)| open.causes.iter().map(move |cause| (place, cause)));
        causes
            .filter(|(_, (at, cause))| {
                *at <= change.at + AHEAD
                    && change.at.saturating_sub(*at) <= late
                    && may_end(cause, change)
                    && brings_about(cause, change)
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
        let brought = |open: &Open| {
            open.group != group
                && open.netns == netns
                && matches!(open.who, Who::Alike(..))
                && open.first + AHEAD >= change.at
                && open.causes.iter().all(|(at, effect)| {
                    *at <= change.at && may_end(change, effect) && brings_about(change, effect)
                })
        };
        let merged: Vec<u64> = self
            .open
            .iter()
            .filter(|open| brought(open))
            .map(|open| open.group)
            .collect();
        for other in &merged {
            self.open.retain(|open| open.group != *other);
            let Some(other) = self.groups.remove(other) else {
                continue;
            };
            self.followers += 1;
            if let Some(into) = self.groups.get_mut(&group) {
                into.join(other);
            }
        }
        merged
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
            Thing::Address { device, address, .. } | Thing::Neighbour { device, address } => {
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

fn what(thing: &Thing) -> What {
    match thing {
        Thing::Rule { .. } | Thing::NoRules { .. } => What::Rule,
        Thing::Route { .. } => What::Route,
        Thing::Nexthop { .. } => What::Nexthop,
        Thing::Nsid { .. } => What::Nsid,
        Thing::Address { .. } => What::Address,
        Thing::Answer { .. } => What::Answer,
        Thing::Link { .. } => What::Device,
        Thing::Neighbour { .. } => What::Neighbour,
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
        Thing::Neighbour { .. } | Thing::Nsid { .. } => 8,
        Thing::Answer { .. } => 9,
    }
}

/// What ends by itself does so whatever else changes, but for an address that ends and takes its routes along.
fn may_end(cause: &Change, change: &Change) -> bool {
    let is_over = |change: &Change| change.by_unknown == Some(Unknown::Expired);
    !is_over(change) || is_over(cause)
}

/// Whether the kernel itself makes such a change where somebody has made the other one.
fn brings_about(by: &Change, effect: &Change) -> bool {
    let (Subject::Setting(_, cause), Subject::Setting(_, of)) = (&by.subject, &effect.subject) else {
        return false;
    };
    let is_gone = by.after.is_none();
    match cause {
        // unregister_netdevice_many: a device that goes is set down first.
        Thing::Link { device } if is_gone && matches!(of, Thing::Link { .. }) => {
            matches!(of, Thing::Link { device: of } if of == device) && effect.after.is_some()
        }
        // fib_disable_ip, addrconf_ifdown, neigh_ifdown, dev_shutdown: and the other way round where it is set up.
        Thing::Link { device } => match of {
            Thing::Address { device: of, .. } | Thing::Neighbour { device: of, .. } => {
                of == device && is_of_its_kind(by, effect)
            }
            Thing::Traffic { device: of, .. }
            | Thing::Offloads { device: of }
            | Thing::Answer { device: of, .. } => of == device,
            Thing::Route { .. } => is_of_its_kind(by, effect) && devices(effect).any(|of| of == device),
            Thing::Sysctl { name } => {
                of_each_device(name).is_some_and(|(begin, of, _)| {
                    of == device && became(effect) == of_parameters(by, begin.starts_with(IPV6))
                }) && became(effect) != Became::Changed
            }
            _ => false,
        },
        Thing::Rule { version, .. } | Thing::NoRules { version } => {
            matches!(of, Thing::Answer { address, .. } if Version::of(*address) == *version)
        }
        // fib_del_ifaddr, ipv6_ifa_notify.
        Thing::Address { device, address, .. } => match of {
            Thing::Route { destination, .. } => {
                Version::of(*destination) == Version::of(*address) && devices(effect).any(|of| of == device)
            }
            Thing::Address {
                device: of,
                address: other,
                ..
            }
            | Thing::Neighbour {
                device: of,
                address: other,
            }
            | Thing::Answer {
                device: of,
                address: other,
            } => of == device && Version::of(*other) == Version::of(*address),
            _ => false,
        },
        Thing::Route { destination, .. } => {
            matches!(of, Thing::Answer { address, .. } if Version::of(*address) == Version::of(*destination))
        }
        // fib6_nh_release and its twin: routes go with their next hop.
        Thing::Nexthop { id } => {
            matches!(of, Thing::Route { .. }) && words_after(effect, "nhid").any(|of| of == id.to_string())
        }
        // addrconf_disable_ipv6
        Thing::Sysctl { name } if name.ends_with(DISABLE_IPV6) => {
            let address = match of {
                Thing::Address { address, .. }
                | Thing::Answer { address, .. }
                | Thing::Neighbour { address, .. } => address,
                Thing::Route { destination, .. } => destination,
                Thing::Sysctl { name: other } => return sets(name, other) && by.after == effect.after,
                _ => return false,
            };
            address.is_ipv6()
        }
        Thing::Sysctl { name } => {
            matches!(of, Thing::Sysctl { name: other } if sets(name, other)) && by.after == effect.after
        }
        _ => false,
    }
}

/// What becomes of a device's kernel parameters where this becomes of the device: they come and go with it, and are set by others
/// (devinet_sysctl_register, addrconf_sysctl_register). Below its least MTU there is no IPv6 at a device
/// (addrconf_notify: NETDEV_CHANGEMTU).
fn of_parameters(link: &Change, ipv6: bool) -> Became {
    /// `IPV6_MIN_MTU`, in bytes.
    const LEAST: u32 = 1280;
    let is_enough = |value: &Option<String>| {
        let mtu = value.as_deref().and_then(value::mtu);
        mtu.is_none_or(|mtu| mtu >= LEAST)
    };
    match (became(link), is_enough(&link.before), is_enough(&link.after)) {
        (Became::Changed, true, false) if ipv6 => Became::Gone,
        (Became::Changed, false, true) if ipv6 => Became::New,
        (became, ..) => became,
    }
}

/// A route is for this address itself.
fn is_its_address(cause: &Change, effect: &Change) -> bool {
    match (&cause.subject, &effect.subject) {
        (
            Subject::Setting(_, Thing::Address { address, .. }),
            Subject::Setting(_, Thing::Route { destination, .. }),
        ) => address == destination,
        _ => false,
    }
}

/// What a device that comes nearer to working takes nothing away, and one that goes farther from it brings nothing.
fn is_of_its_kind(link: &Change, effect: &Change) -> bool {
    match turn(link) {
        Ordering::Greater => became(effect) != Became::Gone,
        Ordering::Less => became(effect) != Became::New,
        Ordering::Equal => true,
    }
}

/// Whether the kernel sets a parameter of one device where somebody sets that of all (inet_forward_change,
/// addrconf_fixup_forwarding, addrconf_disable_ipv6, addrconf_fixup_linkdown), or that for new ones (devinet_copy_dflt_conf, IPv4
/// only). Most of `all` count beside those of devices, and set none.
fn sets(name: &str, other: &str) -> bool {
    let (Some((begin, device, end)), Some((_, of, _))) = (of_each_device(name), of_each_device(other)) else {
        return false;
    };
    let is_wider = match device {
        "all" => matches!(
            end,
            ".forwarding" | DISABLE_IPV6 | ".ignore_routes_with_linkdown" | ".force_forwarding"
        ),
        "default" => begin == "net.ipv4.conf." && of != "all",
        _ => false,
    };
    is_wider && device != of && parameter(name) == parameter(other)
}

/// What a kernel parameter is, whichever device has it: `net.ipv4.conf.`, `.forwarding`.
fn parameter(name: &str) -> (&str, &str) {
    of_each_device(name).map_or((name, ""), |(begin, _, end)| (begin, end))
}

/// The devices that a route leads or led out by.
fn devices(change: &Change) -> impl Iterator<Item = &str> {
    words_after(change, "dev")
}

/// What the values of a change have behind this word.
fn words_after<'a>(change: &'a Change, word: &'a str) -> impl Iterator<Item = &'a str> {
    [&change.before, &change.after]
        .into_iter()
        .flatten()
        .flat_map(move |value| {
            let mut words = value::words(value);
            std::iter::from_fn(move || {
                words.find(|one| *one == word)?;
                words.next()
            })
        })
}

#[cfg(test)]
mod tests;
