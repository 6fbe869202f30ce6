//! The watched namespaces and their devices.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::event::{Device, Namespace};

/// Devices that stand one on the other, at most (`MAX_NEST_DEV`, include/linux/netdevice.h).
const DEEPEST: u32 = 8;

/// What is known of the node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    /// As the start told them, then as they came. Those that have ended stay: the books speak of them.
    pub namespaces: Vec<Namespace>,
    /// By namespace and index.
    devices: BTreeMap<(u32, u32), Device>,
}

impl Node {
    /// A namespace is watched; its inode may have been that of one that has ended.
    pub(crate) fn watched(&mut self, namespace: &Namespace) {
        match self
            .namespaces
            .iter_mut()
            .find(|known| known.inode == namespace.inode)
        {
            Some(known) => known.clone_from(namespace),
            None => self.namespaces.push(namespace.clone()),
        }
    }

    /// A device was told, or told anew.
    pub(crate) fn device(&mut self, device: &Device) {
        self.devices.insert((device.netns, device.index), device.clone());
    }

    /// Packets that arrive on this device are arrivals.
    pub(crate) fn is_uplink(&self, netns: u32, index: u32) -> bool {
        self.devices
            .get(&(netns, index))
            .is_some_and(|device| device.uplink)
    }

    /// Packets that are at this device have arrived by an uplink: it is one, or stands on one.
    pub(crate) fn is_over_uplink(&self, netns: u32, index: u32) -> bool {
        self.stands_on_uplink(netns, index, DEEPEST)
    }

    fn stands_on_uplink(&self, netns: u32, index: u32, deepest: u32) -> bool {
        self.devices.get(&(netns, index)).is_some_and(|device| {
            let below = |index: &u32| deepest > 0 && self.stands_on_uplink(netns, *index, deepest - 1);
            device.uplink || device.over.iter().any(below)
        })
    }

    /// The device that has this address, where it is the given one or stands on it.
    pub(crate) fn face(&self, netns: u32, index: u32, address: IpAddr) -> u32 {
        let mut at = index;
        for _ in 0..DEEPEST {
            let has = |device: &Device| device.index == at && device.addresses.contains(&address);
            let mut here = self
                .devices
                .range((netns, 0)..=(netns, u32::MAX))
                .map(|(_, device)| device);
            if here.clone().any(has) {
                return at;
            }
            let Some(upper) = here.find(|device| device.over.contains(&at)) else {
                break;
            };
            at = upper.index;
        }
        index
    }

    /// All uplinks, by namespace and index.
    pub(crate) fn uplinks(&self) -> impl Iterator<Item = &Device> {
        self.devices.values().filter(|device| device.uplink)
    }

    /// The namespace that a packet belongs to. Where the kernel could not tell (0), it is the only watched
    /// one if `iif` is one of its uplinks.
    pub(crate) fn home(&self, netns: u32, iif: u32) -> Option<u32> {
        if netns != 0 {
            return Some(netns);
        }
        self.only().filter(|only| self.is_over_uplink(*only, iif))
    }

    /// The namespace, where only one is watched.
    pub(crate) fn only(&self) -> Option<u32> {
        match self.namespaces.as_slice() {
            [only] => Some(only.inode),
            _ => None,
        }
    }

    /// The node has this address in that namespace.
    pub(crate) fn has_address(&self, netns: u32, address: IpAddr) -> bool {
        self.devices
            .range((netns, 0)..=(netns, u32::MAX))
            .any(|(_, device)| device.addresses.contains(&address))
    }

    /// The device's name, its index where that is all that is known, empty for 0.
    pub(crate) fn device_name(&self, netns: u32, index: u32) -> String {
        let netns = self.home(netns, index).unwrap_or(netns);
        match self.devices.get(&(netns, index)) {
            Some(device) => device.name.clone(),
            None if index == 0 => String::new(),
            None if index == tracer_ebpf::LOOPBACK => "lo".to_owned(),
            None => format!("if{index}"),
        }
    }

    /// `host:4026531840`; the inode alone for one that is not watched, empty for 0.
    pub(crate) fn netns_label(&self, netns: u32) -> String {
        match self.namespace(netns) {
            Some(namespace) => format!("{}:{netns}", namespace.name),
            None if netns == 0 => String::new(),
            None => netns.to_string(),
        }
    }

    /// The watched namespace with this inode.
    pub(crate) fn namespace(&self, netns: u32) -> Option<&Namespace> {
        self.namespaces.iter().find(|namespace| namespace.inode == netns)
    }
}
