//! What must hold on every node, whatever else is configured. It tells what is broken where nobody saw it break, and no
//! earlier state is there to compare with.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::clock::SECOND;
use super::settings::Standing as Settings;
use crate::event::{
    Owner, Renamed, Seen, Setting, TABLE_LOCAL as LOCAL, TABLE_MAIN as MAIN, Thing, Unknown, Version, value,
};

/// Name of the loopback device, in every namespace (`loopback_setup`, drivers/net/loopback.c).
const LOOPBACK: &str = "lo";

/// IPv6 makes the local route of an address, and with it its answer, only when nobody else has claimed the address: once the
/// device has a carrier it waits for up to 1 s (`rtr_solicit_delay`) and then, with `dad_transmits` as it is by default, for
/// another one (`addrconf_dad_kick`, net/ipv6/addrconf.c). IPv4's come a moment after the address is told.
const COMES_BY_ITSELF: u64 = 3 * SECOND;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Invariant {
    /// The loopback device, where it has been set up, is up: by it goes all that the node sends to itself.
    Loopback,
    /// Where the node has addresses of this version, some rule looks table local up.
    LocalRule(Version),
    /// An own address has a route that makes packets for it the node's own.
    LocalRoute {
        /// It.
        address: IpAddr,
        /// The device that has it.
        device: String,
    },
    /// The kernel says that packets for an own address are the node's own.
    Answer {
        /// It.
        address: IpAddr,
        /// The device that has it.
        device: String,
    },
    /// There is a default route.
    DefaultRoute(Version),
}

/// Whether it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// It does not.
    Broken,
    /// What it is about is not there, as it need not be.
    Missing,
    /// It does.
    Holds,
}

/// How an invariant stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Whether it holds.
    pub(crate) state: State,
    /// Since when, in boot time; `None` where it was found so.
    pub(crate) since: Option<u64>,
    /// The thing by whose change it became so.
    pub(crate) thing: Thing,
    /// Who brought it about, where that is known.
    pub(crate) by: Option<Owner>,
    /// Why that is not known; `None` where it is, and where it was found so.
    pub(crate) by_unknown: Option<Unknown>,
}

/// All that apply, by namespace. Of what does not apply, as to a device that is down, nothing is said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Invariants(BTreeMap<(u32, Invariant), Standing>);

impl Invariants {
    /// A thing stands so by now.
    pub(super) fn told(&mut self, settings: &Settings, at: u64, setting: &Setting) {
        for invariant in self.touched(settings, setting) {
            self.check(settings, at, setting, invariant);
        }
    }

    /// Those that may depend on a thing: few, however many things there are.
    fn touched(&self, settings: &Settings, setting: &Setting) -> Vec<Invariant> {
        let netns = setting.netns;
        match &setting.thing {
            Thing::Rule { version, table, .. } => {
                let mut all = vec![Invariant::DefaultRoute(*version)];
                if *table == LOCAL {
                    all.push(Invariant::LocalRule(*version));
                }
                all
            }
            Thing::NoRules { version } => vec![Invariant::LocalRule(*version)],
            Thing::Route {
                destination,
                prefix: 0,
                ..
            } => vec![Invariant::DefaultRoute(Version::of(*destination))],
            Thing::Route {
                action, destination, ..
            } if action == value::LOCAL => {
                let first = Invariant::LocalRoute {
                    address: *destination,
                    device: String::new(),
                };
                let of_it = self
                    .0
                    .range((netns, first)..)
                    .map(|((of, invariant), _)| (*of, invariant));
                let is_of_it = |(of, invariant): &(u32, &Invariant)| {
                    *of == netns
                        && matches!(invariant, Invariant::LocalRoute { address, .. } if address == destination)
                };
                of_it
                    .take_while(is_of_it)
                    .map(|(_, invariant)| invariant.clone())
                    .collect()
            }
            Thing::Address { device, address, .. } => {
                let version = Version::of(*address);
                vec![
                    local_route(device, *address),
                    Invariant::LocalRule(version),
                    Invariant::DefaultRoute(version),
                    Invariant::Loopback,
                ]
            }
            Thing::Link { device } => addresses(settings, netns)
                .filter(|(on, ..)| on == device)
                .map(|(_, address, _)| local_route(device, address))
                .chain((device == LOOPBACK).then_some(Invariant::Loopback))
                .collect(),
            Thing::Answer { device, address } => {
                let answer = Invariant::Answer {
                    address: *address,
                    device: device.clone(),
                };
                vec![answer, local_route(device, *address)]
            }
            _ => Vec::new(),
        }
    }

    fn check(&mut self, settings: &Settings, at: u64, setting: &Setting, invariant: Invariant) {
        let netns = setting.netns;
        let key = (netns, invariant);
        let state = match &key.1 {
            Invariant::Loopback => loopback(settings, netns, self.0.contains_key(&key)),
            Invariant::LocalRule(version) => local_rule(settings, netns, *version),
            Invariant::LocalRoute { address, device } => has_local_route(settings, netns, device, *address),
            Invariant::Answer { address, device } => answered(settings, netns, device, *address),
            Invariant::DefaultRoute(version) => default_route(settings, netns, *version)
                .or_else(|| self.0.contains_key(&key).then_some(State::Missing)),
        };
        let Some(state) = state else {
            self.0.remove(&key);
            return;
        };
        if self.0.get(&key).is_some_and(|known| known.state == state) {
            return;
        }
        let happened = setting.seen != Seen::Found;
        let standing = Standing {
            state,
            since: happened.then_some(at),
            thing: setting.thing.clone(),
            by: setting.by.clone().filter(|_| happened),
            by_unknown: setting.by_unknown.filter(|_| happened),
        };
        self.0.insert(key, standing);
    }

    /// A device has another name.
    pub(super) fn rename(&mut self, netns: u32, renamed: Renamed<'_>) {
        let by_name = |((of, mut invariant), standing): (_, _)| {
            match &mut invariant {
                Invariant::LocalRoute { device, .. } | Invariant::Answer { device, .. }
                    if of == netns && device == renamed.from =>
                {
                    renamed.to.clone_into(device);
                }
                _ => {}
            }
            ((of, invariant), standing)
        };
        self.0 = std::mem::take(&mut self.0).into_iter().map(by_name).collect();
    }

    /// Nothing is known any more of a namespace.
    pub(super) fn leave(&mut self, netns: u32) {
        self.0.retain(|(of, _), _| *of != netns);
    }

    /// How the default route of a namespace stands, where it is expected.
    pub(crate) fn default_route(&self, netns: u32, version: Version) -> Option<&Standing> {
        self.0.get(&(netns, Invariant::DefaultRoute(version)))
    }

    /// All that apply, with their namespaces. What has been broken for so short a time that the kernel may still be about to
    /// mend it by itself is not told yet: when it is, its time is that at which it began.
    pub(crate) fn iter(&self, now: u64) -> impl Iterator<Item = (u32, &Invariant, &Standing)> {
        self.0
            .iter()
            .filter(move |((_, invariant), standing)| {
                let is_new = |since| now.saturating_sub(since) < COMES_BY_ITSELF;
                // IPv6 makes the routes of an address when the device works and nobody else has answered for it.
                let comes_by_itself = match invariant {
                    Invariant::LocalRoute { .. } => true,
                    Invariant::Answer { address, .. } => address.is_ipv6() && !address.is_loopback(),
                    _ => false,
                };
                standing.state != State::Broken || !comes_by_itself || !standing.since.is_some_and(is_new)
            })
            .map(|((netns, invariant), standing)| (*netns, invariant, standing))
    }
}

fn local_route(device: &str, address: IpAddr) -> Invariant {
    Invariant::LocalRoute {
        address,
        device: device.to_owned(),
    }
}

fn broken_unless(holds: bool) -> State {
    if holds { State::Holds } else { State::Broken }
}

/// A namespace that nobody has set up has it down, and without an address: IPv4's comes when it is first set up, and
/// stays (`inetdev_event`, net/ipv4/devinet.c), unless somebody takes that away, too.
fn loopback(settings: &Settings, netns: u32, was_told: bool) -> Option<State> {
    let device = LOOPBACK.to_owned();
    let is_up = value::is_up(settings.get(&(netns, Thing::Link { device }))?);
    let was_set_up =
        addresses(settings, netns).any(|(on, address, _)| on == LOOPBACK && address.is_loopback());
    (is_up || was_set_up || was_told).then(|| broken_unless(is_up))
}

/// Any rule will do: whether it is asked, and before others, is in the kernel's answers. A kernel without rules needs none.
fn local_rule(settings: &Settings, netns: u32, version: Version) -> Option<State> {
    let needs_none = settings.contains_key(&(netns, Thing::NoRules { version }));
    let applies =
        !needs_none && addresses(settings, netns).any(|(_, address, _)| Version::of(address) == version);
    applies.then(|| broken_unless(rules(settings, netns, version).any(|(_, table)| table == LOCAL)))
}

fn has_local_route(settings: &Settings, netns: u32, device: &str, address: IpAddr) -> Option<State> {
    let of = |prefix| Thing::Address {
        device: device.to_owned(),
        address,
        prefix,
    };
    let (_, value) = settings.range((netns, of(0))..=(netns, of(u8::MAX))).next()?;
    let link = Thing::Link {
        device: device.to_owned(),
    };
    let is_up = value::is_up(settings.get(&(netns, link))?);
    // IPv6 makes the route only when no other node has answered for the address, and so the kernel is asked only then.
    let answer = Thing::Answer {
        device: device.to_owned(),
        address,
    };
    let is_used = address.is_ipv4() || settings.contains_key(&(netns, answer));
    if !is_up || !is_used || value::is_duplicate(value) {
        return None;
    }
    let prefix = if address.is_ipv4() { 32 } else { 128 };
    let has = |table| has_route(settings, netns, table, value::LOCAL, address, prefix);
    // Those of a device in a VRF are in the table of that.
    Some(broken_unless(has(LOCAL) || tables(settings, netns).any(has)))
}

fn answered(settings: &Settings, netns: u32, device: &str, address: IpAddr) -> Option<State> {
    let answer = Thing::Answer {
        device: device.to_owned(),
        address,
    };
    let value = settings.get(&(netns, answer))?;
    (!value::is_unclear(value)).then(|| broken_unless(value == value::LOCAL))
}

/// A default route in a table that is looked up for all packets. Missing only where the node has an address that needs one.
fn default_route(settings: &Settings, netns: u32, version: Version) -> Option<State> {
    let any = version.any();
    let has = |table| has_route(settings, netns, table, value::UNICAST, any, 0);
    let for_all = rules(settings, netns, version)
        .filter(|(text, _)| value::is_for_all(text))
        .any(|(_, table)| has(table));
    if for_all || has(MAIN) {
        return Some(State::Holds);
    }
    let needs = |(device, address, value): (&str, IpAddr, &str)| {
        device != LOOPBACK && Version::of(address) == version && value::is_global(value)
    };
    addresses(settings, netns).any(needs).then_some(State::Missing)
}

/// Texts and tables of the rules of one version.
fn rules(settings: &Settings, netns: u32, of: Version) -> impl Iterator<Item = (&str, u32)> {
    let first = Thing::Rule {
        version: of,
        priority: 0,
        text: String::new(),
        table: 0,
    };
    let rules = settings.range((netns, first)..);
    rules.map_while(move |((in_netns, thing), _)| match thing {
        Thing::Rule {
            version, text, table, ..
        } if *in_netns == netns && *version == of => Some((text.as_str(), *table)),
        _ => None,
    })
}

/// Devices, addresses and their values.
fn addresses(settings: &Settings, netns: u32) -> impl Iterator<Item = (&str, IpAddr, &str)> {
    let first = Thing::Address {
        device: String::new(),
        address: Ipv4Addr::UNSPECIFIED.into(),
        prefix: 0,
    };
    let addresses = settings.range((netns, first)..);
    addresses.map_while(move |((in_netns, thing), value)| match thing {
        Thing::Address { device, address, .. } if *in_netns == netns => {
            Some((device.as_str(), *address, value.as_str()))
        }
        _ => None,
    })
}

fn route(table: u32, action: &str, destination: IpAddr, prefix: u8, metric: u32) -> Thing {
    Thing::Route {
        table,
        action: action.to_owned(),
        destination,
        prefix,
        metric,
    }
}

fn has_route(settings: &Settings, netns: u32, table: u32, action: &str, to: IpAddr, prefix: u8) -> bool {
    let of = |metric| (netns, route(table, action, to, prefix, metric));
    settings.range(of(0)..=of(u32::MAX)).next().is_some()
}

/// The tables that have routes.
pub(super) fn tables(settings: &Settings, netns: u32) -> impl Iterator<Item = u32> {
    let mut after = Some(0);
    std::iter::from_fn(move || {
        let first = route(after?, "", Ipv4Addr::UNSPECIFIED.into(), 0, 0);
        let ((in_netns, thing), _) = settings.range((netns, first)..).next()?;
        match thing {
            Thing::Route { table, .. } if *in_netns == netns => {
                after = table.checked_add(1);
                Some(*table)
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests;
