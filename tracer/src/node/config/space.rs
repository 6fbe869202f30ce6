//! One network namespace: what stands in it, and what the kernel tells of it.

mod looks;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use super::super::netlink::{Heard, Listener, Message, NETFILTER, ROUTE};
use super::super::{Netns, clock, namespace};
use super::answer::Answers;
use super::dump;
use super::error::Error;
use super::known::{Change, Known, Taken};
use super::link::Link;
use super::neighbour::State;
use super::requester::Requesters;
use super::ruleset::{self, Ruleset};
use super::sysctl::Sysctls;
use super::told::{self, Cause, Told, Who, found};
use super::words::{Devices, IPV6};
use super::{address, link, neighbour, netconf, nexthop, nsid, route, rule, traffic};
use crate::event::{Seen, Setting, Thing, Unknown};

/// `RTNLGRP_*` (include/uapi/linux/rtnetlink.h): LINK, NEIGH, TC, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, IPV6_IFADDR,
/// IPV6_ROUTE, IPV6_RULE, IPV4_NETCONF, IPV6_NETCONF, NSID.
const GROUPS: [u32; 12] = [1, 3, 4, 5, 7, 8, 9, 11, 19, 24, 25, 28];
/// Messages that are read in one go before others have their turn.
const TURN: usize = 4096;
/// Reading everything again may take one part in so many of the time.
const SHARE: u32 = 5;
/// An entry of the same name was there and is replaced (`NLM_F_REPLACE`).
const REPLACED: u16 = 0x100;
/// `nf_tables`, as [`Thing::Ruleset`] names it.
const NF_TABLES: &str = "nf_tables";

/// What must be read again, since what was told leaves it open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Again {
    #[default]
    Nothing,
    Routes,
    Everything,
}

/// A namespace.
#[derive(Debug)]
pub(super) struct Space {
    netns: Netns,
    route: Listener,
    netfilter: Option<Listener>,
    devices: Devices,
    links: BTreeMap<u32, Link>,
    known: Known,
    /// Own addresses that are not used yet.
    unsettled: BTreeSet<Thing>,
    answers: Answers,
    /// The neighbours that routes lead by; `None` where they have changed.
    gateways: Option<BTreeSet<IpAddr>>,
    rules: Ruleset,
    legacy: BTreeMap<&'static str, String>,
    sysctls: Sysctls,
    again: Again,
    /// Nothing waits to be read. After an overrun the kernel leaves out all that comes before that, and does not say so
    /// again (`NETLINK_S_CONGESTED`): what is read again earlier may be out of date.
    drained: bool,
    because_of: Cause,
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
    pub(super) fn open(netns: Netns, nf_tables: bool) -> Result<(Self, Vec<Told>), Error> {
        // First the ear, then the look: nothing falls between.
        let (route, netfilter, rules, standing) = netns.enter(|| {
            let route = ear()?;
            let (netfilter, rules) = netfilter(nf_tables);
            Ok::<_, Error>((route, netfilter, rules, dump::everything()?))
        })??;
        let mut space = Self {
            netns,
            route,
            netfilter,
            devices: standing.devices,
            links: standing.links,
            known: Known::default(),
            unsettled: standing.unsettled,
            answers: Answers::default(),
            gateways: None,
            rules,
            legacy: BTreeMap::new(),
            sysctls: Sysctls::default(),
            again: Again::Nothing,
            drained: true,
            because_of: Cause::default(),
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
            self.netfilter = self.netns.enter(|| netfilter(true))?.0;
        }
        self.broken = None;
        // Whoever changed something meanwhile was not heard.
        self.need(Again::Everything, &Err(Unknown::Lost));
        self.answers.need(&Err(Unknown::Lost));
        self.drained = true;
        self.pause = None;
        self.settle()
    }

    /// All that is known, as gone: nothing is seen of it from now on.
    pub(super) fn forget(&mut self) -> Vec<Told> {
        let mut gone = self.known.remove_all(|_| true);
        gone.extend(self.answers.forget());
        let firewalls = self.rules.value().map(|_| NF_TABLES);
        let firewalls = firewalls.into_iter().chain(self.legacy.keys().copied());
        gone.extend(firewalls.map(|firewall| (ruleset_of(firewall), None)));
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
        matches!(self.netns.file(), Err(namespace::Error::Ended { .. }))
    }

    /// What becomes readable when something is told.
    pub(super) fn ears(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let ears = [Some(&self.route), self.netfilter.as_ref()];
        ears.into_iter()
            .flatten()
            .filter(|_| self.broken.is_none())
            .map(AsFd::as_fd)
    }

    /// The older firewalls that have tables here.
    pub(super) fn legacy(&self) -> impl Iterator<Item = &'static str> {
        self.legacy.keys().copied()
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
        // Not before what is to be read again: the questions come from it.
        let answers = self.answers.due().filter(|_| self.again == Again::Nothing);
        again.or(answers)
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
        self.drained = false;
        for _ in 0..TURN {
            let Self { route, netns, .. } = self;
            let mut heard = Vec::new();
            let came = route.hear(&mut |message| {
                // Before anything else: who asked may be about to end.
                let now = clock::boottime_ns();
                let by = requesters.who(netns, message.port, now);
                heard.push((now, by, message.kind, message.flags, message.body.to_vec()));
            })?;
            for (now, by, kind, flags, body) in heard {
                let changes = self.take(kind, flags, &body, &by);
                if changes.iter().any(|((thing, _), _)| decides(thing)) {
                    self.answers.need(&by);
                }
                for (change, seen) in changes {
                    tell(
                        now,
                        Told {
                            change,
                            seen,
                            by: Some(by.clone()),
                        },
                    );
                }
            }
            match came {
                Heard::Something => {}
                Heard::Nothing => {
                    self.drained = true;
                    break;
                }
                Heard::Lost => self.overrun(),
            }
        }
        self.hear_rules(tell)
    }

    fn hear_rules(&mut self, tell: &mut dyn FnMut(u64, Told)) -> Result<(), Error> {
        for _ in 0..TURN {
            let Some(listener) = &self.netfilter else {
                return Ok(());
            };
            let rules = &mut self.rules;
            let mut changed = Vec::new();
            let came = listener.hear(&mut |message: &Message<'_>| {
                changed.extend(rules.told(message).map(|by| (by, rules.value())));
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

    /// One message: what it changes.
    fn take(&mut self, kind: u16, flags: u16, body: &[u8], by: &Who) -> Vec<(Change, Seen)> {
        let told = |changes: Vec<Change>| changes.into_iter().map(|change| (change, Seen::Told)).collect();
        match kind {
            link::NEW => told(self.link(body, by)),
            link::DELETE => self.link_gone(body, by),
            address::NEW | address::DELETE => told(self.address(kind, body, by).into_iter().collect()),
            rule::NEW => {
                let rule = rule::parse(body);
                told(
                    rule.and_then(|thing| self.known.add(thing, String::new()))
                        .into_iter()
                        .collect(),
                )
            }
            rule::DELETE => {
                let rule = rule::parse(body);
                told(
                    rule.and_then(|thing| self.known.remove(&thing))
                        .into_iter()
                        .collect(),
                )
            }
            route::NEW | route::DELETE => told(self.route(kind, flags, body, by).into_iter().collect()),
            nexthop::NEW | nexthop::DELETE => told(self.nexthop(kind, body, by).into_iter().collect()),
            nsid::NEW | nsid::DELETE => {
                let change = nsid::parse(body).and_then(|thing| match kind {
                    nsid::NEW => self.known.set(thing, String::new()),
                    _ => self.known.remove(&thing),
                });
                told(change.into_iter().collect())
            }
            neighbour::NEW | neighbour::DELETE => told(self.neighbour(kind, body).into_iter().collect()),
            netconf::NEW | netconf::DELETE => netconf::take(kind, body, &self.devices, &mut self.known),
            traffic::NEW_QDISC..=traffic::DELETE_QDISC | traffic::NEW_FILTER..=traffic::DELETE_FILTER => {
                told(traffic::take(kind, body, &self.devices, &mut self.known))
            }
            _ => Vec::new(),
        }
    }

    fn address(&mut self, kind: u16, body: &[u8], by: &Who) -> Option<Change> {
        let address = address::parse(body, &self.devices)?;
        let is_new = kind == address::NEW;
        let was_unsettled = self.unsettled.remove(&address.thing);
        if is_new && address.is_unsettled {
            self.unsettled.insert(address.thing.clone());
        }
        if was_unsettled != (is_new && address.is_unsettled) {
            self.answers.need(by);
        }
        if is_new {
            return self.known.set(address.thing, address.value);
        }
        // Routes that have it for their source go with it, and the kernel does not tell.
        self.need(Again::Routes, by);
        self.known.remove(&address.thing)
    }

    fn need(&mut self, what: Again, by: &Who) {
        self.because_of.add(by);
        self.again = self.again.max(what);
    }

    fn link(&mut self, body: &[u8], by: &Who) -> Vec<Change> {
        let Some(link) = link::parse(body) else {
            return Vec::new();
        };
        let mut changes = Vec::new();
        let before = self.links.get(&link.index);
        if let Some(before) = before.filter(|before| before.name != link.name) {
            // All that is on it has another name, too.
            let device = before.name.clone();
            changes.extend(self.known.remove(&Thing::Link { device }));
            self.need(Again::Everything, by);
        } else if before.is_some_and(|before| (before.up, before.carrier) != (link.up, link.carrier)) {
            // The kernel does not tell of the routes of IPv4 that come and go with that.
            self.need(Again::Routes, by);
        }
        self.devices.0.insert(link.index, link.name.clone());
        let device = link.name.clone();
        changes.extend(self.known.set(Thing::Link { device }, link.value(&self.devices)));
        self.links.insert(link.index, link);
        changes
    }

    fn link_gone(&mut self, body: &[u8], by: &Who) -> Vec<(Change, Seen)> {
        let Some(link) = link::parse(body) else {
            return Vec::new();
        };
        self.need(Again::Routes, by);
        self.links.remove(&link.index);
        self.devices.0.remove(&link.index);
        let gone = self.known.remove_all(|thing| is_on(thing, &link.name));
        let parameter = format!(".conf.{}.", link.name);
        let parameters = self
            .known
            .remove_all(|thing| matches!(thing, Thing::Sysctl { name } if name.contains(&parameter)));
        let told = gone.into_iter().map(|change| (change, Seen::Told));
        // They came and went with it: nobody has changed them.
        told.chain(parameters.into_iter().map(|change| (change, Seen::Found)))
            .collect()
    }

    fn route(&mut self, kind: u16, flags: u16, body: &[u8], by: &Who) -> Option<Change> {
        let route = route::parse(body, &self.devices)?;
        // IPv6 tells of one of several ways what it tells of a whole route, and the other way round.
        let unclear = route.several && body.first() == Some(&IPV6);
        let change = if kind == route::DELETE {
            match self.known.take(&route.thing, &route.value) {
                Taken::Change(change) => Some(change),
                Taken::Unknown => None,
                Taken::Otherwise => {
                    self.need(Again::Routes, by);
                    None
                }
            }
        } else if unclear || (flags & REPLACED != 0 && self.known.ways(&route.thing) > 1) {
            self.need(Again::Routes, by);
            None
        } else if flags & REPLACED != 0 {
            self.known.set(route.thing, route.value)
        } else {
            self.known.add(route.thing, route.value)
        };
        if change.is_some() {
            self.gateways = None;
        }
        change
    }

    fn nexthop(&mut self, kind: u16, body: &[u8], by: &Who) -> Option<Change> {
        let (thing, value) = nexthop::parse(body, &self.devices)?;
        if self.known.has(&thing) {
            // The routes that name it change or go with it, and the kernel does not tell.
            self.need(Again::Routes, by);
        }
        match kind {
            nexthop::NEW => self.known.set(thing, value),
            _ => self.known.remove(&thing),
        }
    }

    fn neighbour(&mut self, kind: u16, body: &[u8]) -> Option<Change> {
        let found = neighbour::parse(body)?;
        let thing = Thing::Neighbour {
            device: self.devices.name(found.device),
            address: found.address,
        };
        match found.state {
            State::Permanent(value) if kind == neighbour::NEW => self.known.set(thing, value),
            State::Silent(state) if kind == neighbour::NEW && self.leads(found.address) => {
                self.known.set(thing, state.to_owned())
            }
            _ => self.known.remove(&thing),
        }
    }

    /// Some route leads by this neighbour.
    fn leads(&mut self, address: IpAddr) -> bool {
        let known = &self.known;
        self.gateways
            .get_or_insert_with(|| dump::gateways(known))
            .contains(&address)
    }

    /// Reads and asks for again what must be, if its time has come.
    ///
    /// # Errors
    /// Where the namespace cannot be entered, or the kernel does not tell.
    pub(super) fn settle(&mut self) -> Result<Vec<Told>, Error> {
        let mut told = self.read_again()?;
        if self.again == Again::Nothing && self.answers.due() == Some(Duration::ZERO) {
            told.extend(self.ask()?);
        }
        Ok(told)
    }

    /// Asks the kernel what it would do with packets for the node's own addresses.
    fn ask(&mut self) -> Result<Vec<Told>, Error> {
        let Self {
            netns,
            answers,
            known,
            unsettled,
            links,
            devices,
            ..
        } = self;
        Ok(netns.enter(|| answers.ask(known, unsettled, links, devices))?)
    }

    fn read_again(&mut self) -> Result<Vec<Told>, Error> {
        if self.again_due() != Some(Duration::ZERO) {
            return Ok(Vec::new());
        }
        let begin = Instant::now();
        let again = std::mem::take(&mut self.again);
        let read = if again == Again::Routes {
            self.read_routes()
        } else {
            self.read_everything()
        };
        self.pause = Some(Instant::now() + begin.elapsed() * SHARE);
        let changes = match read {
            Err(Error::Netlink(error)) if error.is_unsettled() => {
                // So much changes just now that not even the list stands still.
                self.again = again;
                return Ok(Vec::new());
            }
            read => read?,
        };
        let by = self.because_of.take();
        self.gateways = None;
        if !changes.is_empty() {
            self.answers.need(&by);
        }
        Ok(told::all(changes, Seen::Noticed, Some(&by)))
    }

    fn read_routes(&mut self) -> Result<Vec<Change>, Error> {
        let devices = &self.devices;
        let fresh = self.netns.enter(|| dump::routes(devices))??;
        Ok(self.known.replace(fresh, dump::is_route))
    }

    fn read_everything(&mut self) -> Result<Vec<Change>, Error> {
        let has_rules = self.netfilter.is_some();
        let (standing, rules) = self.netns.enter(|| {
            let rules = if has_rules {
                Ruleset::read()?
            } else {
                Ruleset::default()
            };
            Ok::<_, Error>((dump::everything()?, rules))
        })??;
        self.devices = standing.devices;
        self.links = standing.links;
        self.unsettled = standing.unsettled;
        let mut changes = self.known.replace(standing.known, |_| true);
        if self.rules != rules {
            self.rules = rules;
            changes.extend(self.rules_now());
        }
        Ok(changes)
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

/// Listens to all but nf_tables, in the namespace of this thread.
fn ear() -> Result<Listener, Error> {
    let route = Listener::open(ROUTE, &GROUPS)?;
    // Where there is no such group there are no next hops either.
    let _ = route.join(nexthop::GROUP);
    Ok(route)
}

/// Listens to nf_tables, and reads its rules, in the namespace of this thread. Nothing where the kernel has it not.
fn netfilter(is_loaded: bool) -> (Option<Listener>, Ruleset) {
    let open = || {
        let listener = Listener::open(NETFILTER, &[ruleset::GROUP]).ok()?;
        Some((listener, Ruleset::read().ok()?))
    };
    match is_loaded.then(open).flatten() {
        Some((listener, rules)) => (Some(listener), rules),
        None => (None, Ruleset::default()),
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

fn is_on(thing: &Thing, name: &str) -> bool {
    match thing {
        Thing::Link { device }
        | Thing::Address { device, .. }
        | Thing::Neighbour { device, .. }
        | Thing::Traffic { device, .. } => device == name,
        _ => false,
    }
}
