//! What the messages of rtnetlink change.

use std::net::IpAddr;

use super::super::known::Change;
use super::super::neighbour::State;
use super::super::told::Who;
use super::super::{address, dump, link, neighbour, netconf, nexthop, nsid, programs, route, rule, traffic};
use super::{Again, Space, told_all};
use crate::event::{Renamed, Seen, Thing, Unknown, of_each_device};

impl Space {
    /// One message: what it changes.
    pub(super) fn take(&mut self, kind: u16, flags: u16, body: &[u8], by: &Who) -> Vec<(Change, Seen)> {
        match kind {
            link::NEW => self.link(body, by),
            link::DELETE => self.link_gone(body, by),
            address::NEW | address::DELETE => told_all(self.address(kind, body, by)),
            rule::NEW => {
                let rule = rule::parse(body);
                told_all(rule.and_then(|thing| self.known.add(thing, String::new())))
            }
            rule::DELETE => {
                let rule = rule::parse(body);
                told_all(rule.and_then(|thing| self.known.remove(&thing)))
            }
            route::NEW | route::DELETE => told_all(self.route(kind, flags, body, by)),
            nexthop::NEW | nexthop::DELETE => told_all(self.nexthop(kind, body, by)),
            nsid::NEW | nsid::DELETE => {
                let change = nsid::parse(body).and_then(|thing| match kind {
                    nsid::NEW => self.known.set(thing, String::new()),
                    _ => self.known.remove(&thing),
                });
                told_all(change)
            }
            neighbour::NEW | neighbour::DELETE => told_all(self.neighbour(kind, body, by)),
            netconf::NEW | netconf::DELETE => netconf::take(kind, body, &self.devices, &mut self.known),
            traffic::NEW_QDISC..=traffic::DELETE_QDISC
            | traffic::NEW_CLASS..=traffic::DELETE_CLASS
            | traffic::NEW_FILTER..=traffic::DELETE_FILTER => {
                told_all(traffic::take(kind, body, &self.devices, &mut self.known))
            }
            _ => Vec::new(),
        }
    }

    fn address(&mut self, kind: u16, body: &[u8], by: &Who) -> Option<Change> {
        let address = address::parse(body, &self.devices)?;
        let is_new = kind == address::NEW;
        let is_used_as_before = if is_new {
            self.addresses.note(&address)
        } else {
            !self.addresses.forget(&address.thing)
        };
        if !is_used_as_before {
            self.answers.need(by);
        }
        if is_new {
            return self.known.set(address.thing, address.value);
        }
        // Routes that have it for their source go with it, and the kernel does not tell.
        self.need(Again::Routes, by);
        self.known.remove(&address.thing)
    }

    /// What a message tells of the offloads of a device.
    pub(super) fn take_offloads(&mut self, kind: u16, body: &[u8]) -> Option<Change> {
        let ethtool = &self.offloads.as_ref()?.ethtool;
        ethtool.take(kind, body, &self.devices, &mut self.known)
    }

    /// A device has another name, and with it all that is on it or leads by it.
    pub(super) fn rename(&mut self, renamed: Renamed<'_>) {
        self.known.rename(renamed);
        self.answers.rename(renamed);
        self.addresses.rename(renamed);
    }

    /// The kernel parameters of a device that is new. They came with it: nobody has changed them.
    fn parameters_of(&mut self, index: u32) -> Vec<(Change, Seen)> {
        let devices = &self.devices;
        // Where the namespace is gone there is nothing to be told.
        let told = self
            .netns
            .enter(|| netconf::of(index, devices))
            .unwrap_or_default();
        told.into_iter()
            .filter_map(|(name, value)| Some((self.known.set(Thing::Sysctl { name }, value)?, Seen::Found)))
            .collect()
    }

    /// The kernel parameters and offloads of a device, as gone: they go with it.
    pub(super) fn forget_parameters_of(&mut self, device: &str) -> Vec<(Change, Seen)> {
        let gone = self.known.remove_all(|thing| match thing {
            Thing::Sysctl { name } => of_each_device(name).is_some_and(|(_, of, _)| of == device),
            Thing::Offloads { device: of } => of == device,
            _ => false,
        });
        gone.into_iter().map(|change| (change, Seen::Found)).collect()
    }

    /// The offloads of a device that is new. They came with it: nobody has changed them.
    fn offloads_of_new(&mut self, index: u32) -> Option<(Change, Seen)> {
        let ethtool = &self.offloads.as_ref()?.ethtool;
        // Where it is gone already, or the namespace is, there is nothing to be told.
        let told = self.netns.enter(|| ethtool.of(index, &self.devices)).ok()?;
        let (thing, value) = told.ok()??;
        Some((self.known.set(thing, value)?, Seen::Found))
    }

    pub(super) fn link(&mut self, body: &[u8], by: &Who) -> Vec<(Change, Seen)> {
        let Some(mut link) = link::parse(body) else {
            return Vec::new();
        };
        let before = self.links.get(&link.index);
        link.name_programs(before, &programs::words);
        let is_new = before.is_none();
        if let Some(before) = before {
            link.after(before);
            let (from, works) = (before.name.clone(), (before.up, before.carrier));
            if from != link.name {
                let to = &link.name;
                self.rename(Renamed { from: &from, to });
                self.need(Again::Everything, by);
            } else if works != (link.up, link.carrier) {
                // The kernel does not tell of the routes of IPv4 that come and go with that.
                self.need(Again::Routes, by);
            }
        }
        self.devices.0.insert(link.index, link.name.clone());
        let device = link.name.clone();
        let change = self.known.set(Thing::Link { device }, link.value(&self.devices));
        let index = link.index;
        self.links.insert(index, link);
        let mut changes = told_all(change);
        if is_new {
            changes.extend(self.offloads_of_new(index));
            changes.extend(self.parameters_of(index));
        }
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
        let mut changes = told_all(gone);
        changes.extend(self.forget_parameters_of(&link.name));
        changes
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
        // One that is no longer set by hand, or that no route leads by any more, is not gone.
        let mut matters = || self.known.has(&thing) || self.leads(found.address);
        match found.state {
            State::Permanent(value) if kind == neighbour::NEW => self.known.set(thing, value),
            // Who deletes one makes it fail first (`neigh_delete`); of the deletion itself the kernel does not say who asked.
            State::Silent(_) if *by != Err(Unknown::Kernel) => self.known.remove(&thing),
            State::Silent(state) if kind == neighbour::NEW && matters() => {
                self.known.set(thing, state.to_owned())
            }
            State::Usual(value) if kind == neighbour::NEW && matters() => self.known.set(thing, value),
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
        | Thing::Proxy { device, .. }
        | Thing::Traffic { device, .. } => device == name,
        _ => false,
    }
}
