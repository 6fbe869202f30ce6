//! What the messages of rtnetlink change.

use std::net::IpAddr;

use super::super::known::{Change, Taken};
use super::super::neighbour::State;
use super::super::told::Who;
use super::super::words::IPV6;
use super::super::{address, dump, link, neighbour, netconf, nexthop, nsid, route, rule, traffic};
use super::{Again, Space};
use crate::event::{Seen, Thing, Unknown};

/// An entry of the same name was there and is replaced (`NLM_F_REPLACE`).
const REPLACED: u16 = 0x100;

impl Space {
    /// One message: what it changes.
    pub(super) fn take(&mut self, kind: u16, flags: u16, body: &[u8], by: &Who) -> Vec<(Change, Seen)> {
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
            neighbour::NEW | neighbour::DELETE => told(self.neighbour(kind, body, by).into_iter().collect()),
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

    fn link(&mut self, body: &[u8], by: &Who) -> Vec<Change> {
        let Some(mut link) = link::parse(body) else {
            return Vec::new();
        };
        let mut changes = Vec::new();
        let before = self.links.get(&link.index);
        if let Some(before) = before {
            link.after(before);
        }
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

    fn neighbour(&mut self, kind: u16, body: &[u8], by: &Who) -> Option<Change> {
        let found = neighbour::parse(body)?;
        let thing = Thing::Neighbour {
            device: self.devices.name(found.device),
            address: found.address,
        };
        match found.state {
            State::Permanent(value) if kind == neighbour::NEW => self.known.set(thing, value),
            // Who deletes one makes it fail first (`neigh_delete`); of the deletion itself the kernel does not say who asked.
            State::Silent(_) if *by != Err(Unknown::Kernel) => self.known.remove(&thing),
            State::Silent(state) if kind == neighbour::NEW && self.leads(found.address) => {
                self.known.set(thing, state.to_owned())
            }
            State::Usual(value) if kind == neighbour::NEW && self.leads(found.address) => {
                self.known.set(thing, value)
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
