//! One network namespace: what stands in it, and what the kernel tells of it.

mod again;
mod looks;
mod routes;
mod take;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::netlink::{self, Asker, Heard, Listener, Message, NETFILTER, ROUTE, XFRM};
use super::super::xtables;
use super::super::{Netns, clock};
use super::address::Addresses;
use super::answer::Answers;
use super::bpf_link::{self, Place};
use super::dump;
use super::error::Error;
use super::expiry::Expiry;
use super::known::{Change, Known};
use super::known_chains;
use super::legacy::{Legacy, Table};
use super::link::Link;
use super::offload::Ethtool;
use super::requester::Requesters;
use super::ruleset::{self, Ruleset};
use super::sysctl::Sysctls;
use super::told::{Cause, Told, Who, found};
use super::tracking::Tracking;
use super::words::Devices;
use super::{ipsec, link, nexthop};
use crate::event::value::NF_TABLES;
use crate::event::{Seen, Setting, Thing, Unknown};

/// `RTNLGRP_*` (include/uapi/linux/rtnetlink.h): LINK, NEIGH, TC, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, IPV6_IFADDR,
/// IPV6_ROUTE, IPV6_RULE, IPV4_NETCONF, IPV6_NETCONF, NSID.
const GROUPS: [u32; 12] = [1, 3, 4, 5, 7, 8, 9, 11, 19, 24, 25, 28];
/// Messages that are read in one go before others have their turn.
const TURN: usize = 4096;

/// By what is heard who asked for a change.
#[derive(Clone, Copy)]
enum Ear {
    Route,
    Ipsec,
    Offloads,
}

/// What must be read again, since what was told leaves it open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Again {
    #[default]
    Nothing,
    Routes,
    Everything,
}

/// Parts of the kernel that are there, so that a question to them loads no module.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Loaded {
    pub(super) nf_tables: bool,
    pub(super) ipsec: bool,
    pub(super) tracking: bool,
}

/// The policies of IPsec of a namespace.
#[derive(Debug)]
enum Ipsec {
    Heard(Listener),
    /// The kernel has none, or not yet.
    Absent,
    /// And why.
    Unheard(String),
}

impl Ipsec {
    fn listener(&self) -> Option<&Listener> {
        match self {
            Self::Heard(listener) => Some(listener),
            Self::Absent | Self::Unheard(_) => None,
        }
    }
}

/// The offloads of the devices of a namespace.
#[derive(Debug)]
struct Offloads {
    ethtool: Arc<Ethtool>,
    heard: Listener,
}

/// A namespace.
#[derive(Debug)]
pub(super) struct Space {
    netns: Netns,
    route: Listener,
    netfilter: Option<Listener>,
    /// Why the rules of nf_tables are not told, where there may be any.
    no_rules: Option<String>,
    ipsec: Ipsec,
    /// `None` where the kernel does not tell them.
    offloads: Option<Offloads>,
    tracking: Tracking,
    devices: Devices,
    links: BTreeMap<u32, Link>,
    known: Known,
    addresses: Addresses,
    answers: Answers,
    /// When a route ends by itself.
    expiry: Expiry,
    /// The neighbours that routes lead by; `None` where they have changed.
    gateways: Option<BTreeSet<IpAddr>>,
    rules: Ruleset,
    legacy: Legacy,
    /// What is known of each table of the older firewalls, `None` where its rules could not be read.
    older: BTreeMap<Table, Option<String>>,
    /// Asks what is not told; `None` before the first time, and where it could not.
    asker: Option<Asker>,
    sysctls: Sysctls,
    again: Again,
    /// Nothing waits to be read. After an overrun the kernel leaves out all that comes before that, and does not say so
    /// again (`NETLINK_S_CONGESTED`): what is read again earlier may be out of date.
    drained: bool,
    because_of: Cause,
    /// So much changes, and for so long, that it cannot be read again.
    never_still: bool,
    /// Not earlier.
    pause: Option<Instant>,
    /// Times that more was told than could be read.
    pub(super) lost: u64,
    /// Why it is not listened to any more, until that works again.
    broken: Option<String>,
}

impl Space {
    /// Begins to listen, and reads what stands.
    ///
    /// # Errors
    /// Where the namespace cannot be entered, or the kernel does not tell.
    pub(super) fn open(
        netns: Netns,
        loaded: Loaded,
        ethtool: Option<&Arc<Ethtool>>,
    ) -> Result<(Self, Vec<Told>), Error> {
        // First the ear, then the look: nothing falls between.
        let (route, ipsec, offloads, firewall, tracking, standing) = netns.enter(|| {
            let route = ear()?;
            let ipsec = policies(loaded.ipsec);
            let offloads = ethtool.map(Offloads::open).transpose()?;
            let ethtool = offloads.as_ref().map(|offloads| &*offloads.ethtool);
            let standing = dump::everything(ipsec.listener().is_some(), ethtool)?;
            let tracking = Tracking::open(loaded.tracking);
            let firewall = netfilter(loaded.nf_tables);
            Ok::<_, Error>((route, ipsec, offloads, firewall, tracking, standing))
        })??;
        let mut space = Self {
            netns,
            route,
            netfilter: firewall.listener,
            no_rules: firewall.unheard,
            ipsec,
            offloads,
            tracking,
            devices: standing.devices,
            links: standing.links,
            known: Known::default(),
            addresses: standing.addresses,
            answers: Answers::default(),
            expiry: standing.expiry,
            gateways: None,
            rules: firewall.rules,
            legacy: Legacy::default(),
            older: BTreeMap::new(),
            asker: None,
            sysctls: Sysctls::default(),
            again: Again::Nothing,
            drained: true,
            because_of: Cause::default(),
            never_still: false,
            pause: None,
            lost: 0,
            broken: None,
        };
        let rules = space.rules_now();
        let mut told = found(space.known.replace(standing.known, |_| true));
        told.extend(found(rules));
        told.extend(space.ask()?);
        Ok((space, told))
    }

    /// The device of this namespace at which a BPF link has put its program; `None` where it is at none.
    pub(super) fn holds(&self, id: u32, program: u32, place: Place) -> Option<&str> {
        let (Place::Xdp(index) | Place::Device(index, _)) = place else {
            return None;
        };
        let name = &self.links.get(&index)?.name;
        let is_at = self.netns.enter(|| match place {
            // The kernel does not tell a device anew for it, so what is known of that may be out of date.
            Place::Xdp(_) => device(index).is_some_and(|link| link.has_xdp(program)),
            Place::Device(_, kind) => bpf_link::is_at(id, index, kind),
            Place::Anywhere | Place::Namespace(_) => false,
        });
        is_at.unwrap_or(false).then_some(name)
    }

    pub(super) fn netns(&self) -> &Netns {
        &self.netns
    }

    /// It cannot be listened to any more. What is known stays, to compare with.
    pub(super) fn broke(&mut self, why: &Error) {
        self.broken = Some(why.to_string());
    }

    /// Why it is not listened to.
    pub(super) fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// Listens again where that broke off, and tells what has become different meanwhile.
    ///
    /// # Errors
    /// Where that does not work yet.
    pub(super) fn mend(&mut self) -> Result<Vec<Told>, Error> {
        self.route = self.netns.enter(ear)??;
        if self.netfilter.take().is_some() {
            self.netfilter = self.netns.enter(|| netfilter(true))?.listener;
        }
        if self.ipsec.listener().is_some() {
            self.ipsec = self.netns.enter(|| policies(true))?;
        }
        if let Some(offloads) = &mut self.offloads {
            offloads.heard = self.netns.enter(|| offloads.ethtool.listen())??;
        }
        self.broken = None;
        // Whoever changed something meanwhile was not heard.
        self.need(Again::Everything, &Err(Unknown::Lost));
        self.answers.need(&Err(Unknown::Lost));
        self.drained = true;
        self.pause = None;
        // At once: what is known is out of date.
        self.because_of.at_once();
        self.settle()
    }

    /// All that is known, as gone: nothing is seen of it from now on.
    pub(super) fn forget(&mut self) -> Vec<Told> {
        let mut gone = self.known.remove_all(|_| true);
        gone.extend(self.answers.forget());
        let rules = self.rules.value().map(|_| ruleset_of(NF_TABLES));
        let rules = rules.into_iter().chain(self.older.keys().map(Table::thing));
        gone.extend(rules.map(|rules| (rules, None)));
        let parameters = self.sysctls.forget();
        gone.extend(parameters.map(|name| (Thing::Sysctl { name }, None)));
        found(gone)
    }

    /// It is found in another place by now.
    pub(super) fn moved(&mut self, netns: Netns) {
        self.netns = netns;
    }

    /// Nobody but this holds it, as far as can be seen.
    pub(super) fn has_ended(&self) -> bool {
        self.netns.has_ended()
    }

    /// What becomes readable when something is told.
    pub(super) fn ears(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let all = self.of_settings().chain(self.tracking.listener());
        all.filter(|_| self.broken.is_none()).map(AsFd::as_fd)
    }

    /// By these is heard what has changed.
    fn of_settings(&self) -> impl Iterator<Item = &Listener> {
        let all = [
            Some(&self.route),
            self.netfilter.as_ref(),
            self.ipsec.listener(),
            self.offloads.as_ref().map(|offloads| &offloads.heard),
        ];
        all.into_iter().flatten()
    }

    /// Why the rules of nf_tables are not told, where there may be any.
    pub(super) fn no_rules(&self) -> Option<&str> {
        self.no_rules.as_deref()
    }

    /// Why policies of IPsec are not told, where there are any.
    pub(super) fn no_ipsec(&self) -> Option<&str> {
        match &self.ipsec {
            Ipsec::Unheard(why) => Some(why),
            Ipsec::Heard(_) | Ipsec::Absent => None,
        }
    }

    /// The older firewalls that have tables here whose rules could not be read.
    pub(super) fn unread(&self) -> impl Iterator<Item = xtables::Firewall> {
        let unread = self.older.iter().filter(|(_, value)| value.is_none());
        unread.map(|(Table(firewall, _), _)| *firewall)
    }

    /// Own addresses for which the kernel is not asked, since there are so many.
    pub(super) fn not_asked(&self) -> usize {
        self.answers.left_out()
    }

    /// Own addresses for which the kernel is not asked, since it might write that to its log.
    pub(super) fn logged(&self) -> usize {
        self.answers.logged()
    }

    /// Times that a thing was told for which there was no room.
    pub(super) fn left_out(&self) -> u64 {
        self.known.left_out()
    }

    /// In how long something is to be read or asked for again.
    pub(super) fn due(&self) -> Option<Duration> {
        if self.broken.is_some() {
            return None;
        }
        let again = self.again_due();
        let answers = self.answers.due().filter(|_| self.may_ask());
        // While what is to be read waits for its pause, routes need not be read for this, too.
        let expiry = self
            .expiry
            .due(Instant::now())
            .filter(|_| self.again == Again::Nothing);
        let others = self.tracking.due().into_iter().chain(expiry);
        again.into_iter().chain(answers).chain(others).min()
    }

    /// Not before what is to be read again: the questions come from it. But where that cannot be read, by what is known.
    fn may_ask(&self) -> bool {
        self.again == Again::Nothing || self.never_still
    }

    /// So much changes, and for so long, that what the kernel does not tell of it cannot be read.
    pub(super) fn is_never_still(&self) -> bool {
        self.never_still && self.broken.is_none()
    }

    fn again_due(&self) -> Option<Duration> {
        let pause = || {
            self.pause.map_or(Duration::ZERO, |pause| {
                pause.saturating_duration_since(Instant::now())
            })
        };
        (self.drained && self.again != Again::Nothing).then(pause)
    }

    /// Reads what was told.
    ///
    /// # Errors
    /// Where that does not work any more.
    pub(super) fn hear(
        &mut self,
        requesters: &mut Requesters,
        tell: &mut dyn FnMut(u64, Told),
    ) -> Result<(), Error> {
        self.drained = true;
        for ear in [Ear::Route, Ear::Ipsec, Ear::Offloads] {
            self.hear_by(ear, requesters, tell)?;
        }
        for (at, told) in self.tracking.hear(&self.netns, requesters) {
            tell(at, told);
        }
        self.hear_rules(requesters, tell)
    }

    fn hear_by(
        &mut self,
        ear: Ear,
        requesters: &mut Requesters,
        tell: &mut dyn FnMut(u64, Told),
    ) -> Result<(), Error> {
        for _ in 0..TURN {
            let netns = &self.netns;
            let listener = match ear {
                Ear::Route => Some(&self.route),
                Ear::Ipsec => self.ipsec.listener(),
                Ear::Offloads => self.offloads.as_ref().map(|offloads| &offloads.heard),
            };
            let Some(listener) = listener else {
                return Ok(());
            };
            let mut heard = Vec::new();
            let came = listener.hear(&mut |message| {
                // Before anything else: who asked may be about to end.
                let now = clock::boottime_ns();
                let by = requesters.who(netns, message.port, now);
                heard.push((now, by, message.kind, message.flags, message.body.to_vec()));
            })?;
            for (now, by, kind, flags, body) in heard {
                let by_itself = match (ear, &by) {
                    (Ear::Route, Err(Unknown::Kernel)) => {
                        self.addresses.by_itself(kind, &body, &self.devices)
                    }
                    _ => None,
                };
                let changes = match ear {
                    Ear::Route => self.take(kind, flags, &body, &by),
                    Ear::Ipsec => told_all(ipsec::take(kind, &body, &mut self.known)),
                    Ear::Offloads => told_all(self.take_offloads(kind, &body)),
                };
                if changes.iter().any(|((thing, _), _)| decides(thing)) {
                    self.answers.need(&by);
                }
                // What goes with it goes for another reason.
                let by = by_itself.map_or(by, Err);
                for (change, seen) in changes {
                    let by = Some(by.clone());
                    tell(now, Told { change, seen, by });
                }
            }
            match came {
                Heard::Something => {}
                Heard::Nothing => return Ok(()),
                Heard::Lost => self.overrun(),
            }
        }
        self.drained = false;
        Ok(())
    }

    fn hear_rules(
        &mut self,
        requesters: &mut Requesters,
        tell: &mut dyn FnMut(u64, Told),
    ) -> Result<(), Error> {
        for _ in 0..TURN {
            let Some(listener) = &self.netfilter else {
                return Ok(());
            };
            let (rules, netns) = (&mut self.rules, &self.netns);
            // At once: who made the change may be about to end.
            let mut who = |pid, command: &str| requesters.process(pid, command, netns, clock::boottime_ns());
            let mut standing = || netns.enter(known_chains::Known::read).ok()?.ok();
            let mut changed = Vec::new();
            let came = listener.hear(&mut |message: &Message<'_>| {
                let by = rules.told(message, &mut who, &mut standing);
                changed.extend(by.map(|by| (by, rules.value())));
            })?;
            for (by, value) in changed {
                let now = clock::boottime_ns();
                let change = (ruleset_of(NF_TABLES), value);
                let seen = Seen::Told;
                let by = Some(by);
                tell(now, Told { change, seen, by });
            }
            match came {
                Heard::Something => {}
                Heard::Nothing => return Ok(()),
                Heard::Lost => self.overrun(),
            }
        }
        self.drained = false;
        Ok(())
    }

    fn overrun(&mut self) {
        self.lost += 1;
        self.need(Again::Everything, &Err(Unknown::Lost));
    }

    /// What was told leaves something open: it is read again.
    fn need(&mut self, what: Again, by: &Who) {
        self.because_of.add(by);
        self.again = self.again.max(what);
    }

    /// A change as it crosses to the model.
    pub(super) fn setting(&self, told: Told) -> Setting {
        let (thing, value) = told.change;
        let (by, by_unknown) = match told.by {
            Some(Ok(owner)) => (Some(owner), None),
            Some(Err(why)) => (None, Some(why)),
            None => (None, None),
        };
        Setting {
            netns: self.netns.inode(),
            thing,
            value,
            seen: told.seen,
            by,
            by_unknown,
        }
    }
}

impl Offloads {
    /// Listens to them in the namespace of this thread.
    fn open(ethtool: &Arc<Ethtool>) -> Result<Self, netlink::Error> {
        Ok(Self {
            heard: ethtool.listen()?,
            ethtool: Arc::clone(ethtool),
        })
    }
}

/// All of this was told.
fn told_all(changes: impl IntoIterator<Item = Change>) -> Vec<(Change, Seen)> {
    let changes = changes.into_iter();
    changes.map(|change| (change, Seen::Told)).collect()
}

/// The device with this index in the namespace of this thread.
fn device(index: u32) -> Option<Link> {
    dump::device(index)
        .ok()
        .flatten()
        .and_then(|body| link::parse(&body))
}

/// Listens to all but nf_tables, in the namespace of this thread.
fn ear() -> Result<Listener, Error> {
    let route = Listener::open(ROUTE, &GROUPS)?;
    // Where there is no such group there are no next hops either.
    let _ = route.join(nexthop::GROUP);
    Ok(route)
}

/// The rules of nf_tables of a namespace.
#[derive(Debug, Default)]
struct Firewall {
    /// `None` where the kernel has it not, not yet, or does not tell.
    listener: Option<Listener>,
    rules: Ruleset,
    /// Why it does not tell.
    unheard: Option<String>,
}

/// Listens to nf_tables, and reads its rules, in the namespace of this thread.
fn netfilter(is_loaded: bool) -> Firewall {
    let open = || {
        let listener = Listener::open(NETFILTER, &[ruleset::GROUP])?;
        Ok::<_, netlink::Error>((listener, Ruleset::read()?))
    };
    match is_loaded.then(open) {
        Some(Ok((listener, rules))) => Firewall {
            listener: Some(listener),
            rules,
            unheard: None,
        },
        Some(Err(error)) if !error.is_unsupported() => Firewall {
            unheard: Some(error.to_string()),
            ..Firewall::default()
        },
        Some(Err(_)) | None => Firewall::default(),
    }
}

/// Listens to policies of IPsec, in the namespace of this thread.
fn policies(is_loaded: bool) -> Ipsec {
    if !is_loaded {
        return Ipsec::Absent;
    }
    match Listener::open(XFRM, &[ipsec::GROUP]) {
        Ok(listener) => Ipsec::Heard(listener),
        Err(error) if error.is_unsupported() => Ipsec::Absent,
        Err(error) => Ipsec::Unheard(error.to_string()),
    }
}

fn ruleset_of(firewall: &str) -> Thing {
    Thing::Ruleset {
        firewall: firewall.to_owned(),
    }
}

/// The kernel's answer for an own address may depend on it.
fn decides(thing: &Thing) -> bool {
    matches!(
        thing,
        Thing::Rule { .. }
            | Thing::Route { .. }
            | Thing::Address { .. }
            | Thing::Link { .. }
            | Thing::Sysctl { .. }
    )
}
