//! The watched namespaces and their devices.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use foldhash::quality::RandomState;

use crate::event::{Device, Namespace, Peer};

/// Devices that stand one on the other, at most (`MAX_NEST_DEV`, include/linux/netdevice.h).
const DEEPEST: u32 = 8;

/// What a namespace is to the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// What arrives there by its uplinks has come to the node.
    Node,
    /// A device of it is linked to one in another namespace.
    Pod,
    /// Neither.
    Other,
}

/// What is known of the node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    /// As the start told them, then as they came, by inode. One that has ended stays until it is forgotten: the books
    /// speak of it.
    namespaces: BTreeMap<u32, Namespace>,
    /// The one that the start told first: the tracer's own, where that is watched.
    first: Option<u32>,
    /// More than one has been watched, be it that the others are forgotten.
    several: bool,
    /// By namespace and index.
    devices: BTreeMap<(u32, u32), Device>,
    /// By namespace: that is asked of every flow.
    addresses: HashMap<(u32, IpAddr), Own, RandomState>,
    /// Addresses that came since the last tick, with the time at which they were told.
    fresh: Vec<(u32, IpAddr, u64)>,
    /// There was a tick.
    ticked: bool,
}

/// An address that the node has.
#[derive(Clone, Copy, Debug)]
struct Own {
    /// How many devices have it.
    devices: u32,
    /// From when on it was there for certain, in boot time; `None` where that is not known yet.
    since: Option<u64>,
}

impl Node {
    /// These are watched from the start.
    pub(crate) fn start(&mut self, namespaces: &[Namespace]) {
        self.namespaces = namespaces
            .iter()
            .map(|namespace| (namespace.inode, namespace.clone()))
            .collect();
        self.first = namespaces.first().map(|namespace| namespace.inode);
        self.several = self.namespaces.len() > 1;
    }

    /// A namespace is watched; its inode may have been that of one that has ended, see [`Self::forget`].
    pub(crate) fn watched(&mut self, namespace: &Namespace) {
        self.namespaces.insert(namespace.inode, namespace.clone());
        self.several |= self.namespaces.len() > 1;
    }

    /// A device was told, or told anew.
    pub(crate) fn device(&mut self, at: u64, device: &Device) {
        let before = self.devices.insert((device.netns, device.index), device.clone());
        for address in &device.addresses {
            match self.addresses.entry((device.netns, *address)) {
                Entry::Occupied(mut own) => own.get_mut().devices += 1,
                Entry::Vacant(own) => {
                    // What the start tells was there before anything was seen.
                    let since = (!self.ticked).then_some(0);
                    own.insert(Own { devices: 1, since });
                    if since.is_none() {
                        self.fresh.push((device.netns, *address, at));
                    }
                }
            }
        }
        for address in before.iter().flat_map(|before| &before.addresses) {
            if let Entry::Occupied(mut own) = self.addresses.entry((device.netns, *address)) {
                own.get_mut().devices -= 1;
                if own.get().devices == 0 {
                    own.remove();
                    let is_it =
                        |(netns, fresh, _): &(u32, IpAddr, u64)| (*netns, fresh) == (device.netns, address);
                    self.fresh.retain(|fresh| !is_it(fresh));
                }
            }
        }
    }

    /// A look is over. An address is told with the time at which its look began, and may have come a little later: it was there
    /// for certain from the beginning of the next look on.
    pub(crate) fn tick(&mut self, now: u64) {
        self.ticked = true;
        let (fresh, settled) = std::mem::take(&mut self.fresh)
            .into_iter()
            .partition(|(.., told)| *told >= now);
        self.fresh = fresh;
        for (netns, address, _) in settled {
            if let Some(own) = self.addresses.get_mut(&(netns, address)) {
                own.since.get_or_insert(now);
            }
        }
    }

    /// Nothing is known any more of these namespaces and their devices: others may get their inodes.
    pub(crate) fn forget(&mut self, inodes: &BTreeSet<u32>) {
        self.namespaces.retain(|inode, _| !inodes.contains(inode));
        self.devices.retain(|(netns, _), _| !inodes.contains(netns));
        self.addresses.retain(|(netns, _), _| !inodes.contains(netns));
        self.fresh.retain(|(netns, ..)| !inodes.contains(netns));
        for device in self.devices.values_mut() {
            if let Some(peer) = &mut device.peer
                && inodes.contains(&peer.netns)
            {
                peer.netns = 0;
            }
        }
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

    /// The devices of which [`Self::is_over_uplink`] is true, by namespace and index.
    pub(crate) fn over_uplinks(&self) -> impl Iterator<Item = (u32, u32)> {
        let all = self.devices.keys().copied();
        all.filter(|(netns, index)| self.is_over_uplink(*netns, *index))
    }

    fn stands_on_uplink(&self, netns: u32, index: u32, deepest: u32) -> bool {
        self.devices.get(&(netns, index)).is_some_and(|device| {
            let below = |index: &u32| deepest > 0 && self.stands_on_uplink(netns, *index, deepest - 1);
            device.uplink || device.over.iter().any(below)
        })
    }

    /// This device, and those that stand on it.
    pub(crate) fn standing_on(&self, netns: u32, index: u32) -> impl Iterator<Item = &Device> {
        let is_on =
            move |device: &&Device| device.index == index || self.stands_on(netns, device, index, DEEPEST);
        self.devices_of(netns).filter(is_on)
    }

    fn stands_on(&self, netns: u32, device: &Device, below: u32, deepest: u32) -> bool {
        deepest > 0
            && device.over.iter().any(|over| {
                let next = self.devices.get(&(netns, *over));
                *over == below || next.is_some_and(|next| self.stands_on(netns, next, below, deepest - 1))
            })
    }

    /// The device that has this address, where it is the given one or stands on it.
    pub(crate) fn face(&self, netns: u32, index: u32, address: IpAddr) -> u32 {
        let mut at = index;
        for _ in 0..DEEPEST {
            let has = |device: &Device| device.index == at && device.addresses.contains(&address);
            let mut here = self.devices_of(netns);
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

    /// The uplinks of a namespace, and what stands on them and has an address, by index: a bond, a VLAN, a bridge.
    pub(crate) fn faces(&self, netns: u32) -> impl Iterator<Item = &Device> {
        self.devices_of(netns).filter(move |device| {
            device.uplink || (!device.addresses.is_empty() && self.is_over_uplink(netns, device.index))
        })
    }

    /// The devices of a namespace.
    pub(crate) fn devices_of(&self, netns: u32) -> impl Iterator<Item = &Device> + Clone {
        self.devices
            .range((netns, 0)..=(netns, u32::MAX))
            .map(|(_, device)| device)
    }

    /// All uplinks, by namespace and index.
    pub(crate) fn uplinks(&self) -> impl Iterator<Item = &Device> {
        self.devices.values().filter(|device| device.uplink)
    }

    /// The uplinks of one namespace, by index.
    pub(crate) fn uplinks_of(&self, netns: u32) -> impl Iterator<Item = &Device> {
        self.devices_of(netns).filter(|device| device.uplink)
    }

    /// The namespaces whose ledger is that of the node.
    ///
    /// They are those with an uplink that is not assumed. Where there is none: the tracer's own, or the only one; else
    /// those that no other watched namespace is linked to by an uplink, or else the first with any. So what is handed
    /// on from one namespace to another is not in it twice.
    pub(crate) fn own(&self) -> BTreeSet<u32> {
        let netns = |device: &Device| device.netns;
        let real: BTreeSet<u32> = self
            .uplinks()
            .filter(|device| !device.assumed)
            .map(netns)
            .collect();
        if !real.is_empty() {
            return real;
        }
        let all: BTreeSet<u32> = self.uplinks().map(netns).collect();
        if let Some(first) = self.first.filter(|first| all.contains(first)) {
            return BTreeSet::from([first]);
        }
        let linked = |device: &&Device| {
            device
                .peer
                .is_some_and(|peer| self.namespaces.contains_key(&peer.netns))
        };
        let linked: BTreeSet<u32> = self.uplinks().filter(linked).map(netns).collect();
        let alone: BTreeSet<u32> = all.difference(&linked).copied().collect();
        if alone.is_empty() {
            all.into_iter().take(1).collect()
        } else {
            alone
        }
    }

    /// What a namespace is to the node, whose own are given.
    pub(crate) fn role(&self, netns: u32, own: &BTreeSet<u32>) -> Role {
        if own.contains(&netns) {
            Role::Node
        } else if self.devices_of(netns).any(|device| device.peer.is_some()) {
            Role::Pod
        } else {
            Role::Other
        }
    }

    /// Devices with the other end of their pair, where that is known to be in another namespace.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&Device, Peer)> {
        self.devices
            .values()
            .filter_map(|device| Some((device, device.peer.filter(|peer| peer.netns != 0)?)))
    }

    /// The namespace that a packet belongs to. Where the kernel could not tell (0), it is the only watched
    /// one if `iif` is one of its uplinks.
    pub(crate) fn home(&self, netns: u32, iif: u32) -> Option<u32> {
        if netns != 0 {
            return Some(netns);
        }
        self.only().filter(|only| self.is_over_uplink(*only, iif))
    }

    /// The namespace, where only one is and ever was watched.
    pub(crate) fn only(&self) -> Option<u32> {
        self.namespaces.keys().next().copied().filter(|_| !self.several)
    }

    /// The inodes of namespaces that are watched, and of those that have ended and are not forgotten.
    pub(crate) fn inodes(&self) -> impl Iterator<Item = &u32> {
        self.namespaces.keys()
    }

    /// More than one namespace is or was watched.
    pub(crate) fn several(&self) -> bool {
        self.several
    }

    /// The node has this address in that namespace.
    pub(crate) fn has_address(&self, netns: u32, address: IpAddr) -> bool {
        self.addresses.contains_key(&(netns, address))
    }

    /// The node has this address in that namespace, and had it before `at`: what was dropped then was for an own address.
    pub(crate) fn had_address(&self, netns: u32, address: IpAddr, at: u64) -> bool {
        let own = self.addresses.get(&(netns, address));
        own.and_then(|own| own.since).is_some_and(|since| since < at)
    }

    /// The device of this name.
    pub(crate) fn device_named(&self, netns: u32, name: &str) -> Option<&Device> {
        self.devices_of(netns).find(|device| device.name == name)
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
        self.namespaces.get(&netns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_nodes_while_some_device_has_it() {
        let mut node = Node::default();
        let address: IpAddr = "192.0.2.10".parse().unwrap();
        let mut told = |index, addresses: &[IpAddr]| {
            node.device(
                7,
                &Device {
                    netns: 1,
                    index,
                    name: format!("eth{index}"),
                    uplink: true,
                    addresses: addresses.to_vec(),
                    over: Vec::new(),
                    assumed: false,
                    peer: None,
                },
            );
            node.has_address(1, address)
        };
        assert!(told(1, &[address]) && told(1, &[address]) && told(2, &[address]));
        assert!(told(1, &[]), "the other device has it still");
        assert!(!told(2, &[]));
        assert!(told(2, &[address]) && !node.has_address(2, address));
        node.forget(&BTreeSet::from([1]));
        assert!(!node.has_address(1, address));
    }

    #[test]
    fn what_was_dropped_before_an_address_came_was_not_for_it() {
        let mut node = Node::default();
        let [first, later]: [IpAddr; 2] = ["192.0.2.10", "192.0.2.11"].map(|text| text.parse().unwrap());
        let told = |node: &mut Node, at, addresses: &[IpAddr]| {
            let device = Device {
                netns: 1,
                index: 2,
                name: "eth0".to_owned(),
                uplink: true,
                addresses: addresses.to_vec(),
                over: Vec::new(),
                assumed: false,
                peer: None,
            };
            node.device(at, &device);
        };
        told(&mut node, 10, &[first]);
        assert!(node.had_address(1, first, 10), "it was there at the start");
        node.tick(10);
        told(&mut node, 20, &[first, later]);
        node.tick(20);
        assert!(node.has_address(1, later) && !node.had_address(1, later, 29));
        node.tick(30);
        assert!(node.had_address(1, later, 31) && !node.had_address(1, later, 30));
        assert!(node.had_address(1, first, 11));
        // It went and came back: what was before counts no more.
        told(&mut node, 40, &[first]);
        told(&mut node, 50, &[first, later]);
        node.tick(50);
        assert!(!node.had_address(1, later, 45));
    }
}
