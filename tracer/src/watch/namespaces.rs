//! The namespaces that are watched, and their devices.
//!
//! To read the devices of a namespace it must be entered. Where there are few, that is done in every round. Of many, only
//! those that are the node's own are read in every round; others when they come, and every few rounds some of those where
//! something was counted, in turn, and some of the rest. So what thousands cost is bounded.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;

use anyhow::Result;

use super::turn::Turn;
use super::{Capabilities, partial};
use crate::event::{self, Body, Device, Event, NamespaceEnded};
use crate::node::devices::{self, Devices, Note};
use crate::node::names::NameChanges;
use crate::node::peers::Peers;
use crate::node::{Netns, Owners, namespace};

/// Up to so many namespaces have their devices read in each round: an address that was taken away must not be taken for
/// the node's own.
const FEW: usize = 16;
/// Of more than that, so many in which something was counted are asked at a time, in turn.
pub(super) const BUSY: usize = 16;
/// And the devices of so many others.
const TURN: usize = 32;
/// Inodes of namespaces that were looked for in vain, at most; then they are looked for once more.
const MOST_NOWHERE: usize = 4096;

/// What is to be read in a round.
pub(super) struct Due {
    /// Namespaces whose devices are.
    pub devices: BTreeSet<u32>,
    /// Namespaces whose sockets are.
    pub sockets: BTreeSet<u32>,
}

/// The namespaces that are watched.
pub(super) struct Namespaces {
    /// Namespaces that come are watched too.
    all: bool,
    uplinks: Vec<String>,
    /// The tracer's own, where it is watched.
    own: Option<u32>,
    namespaces: BTreeMap<u32, Netns>,
    told: BTreeMap<u32, event::Namespace>,
    notes: BTreeMap<u32, Vec<Note>>,
    /// By namespace and index, as they were last told.
    devices: BTreeMap<(u32, u32), Device>,
    /// Some device was told, or is gone with its namespace, since the addresses were asked for.
    changed: bool,
    /// Others are watched than when that was last asked.
    listed: bool,
    peers: Peers,
    names: NameChanges,
    /// Something was counted there since they were last due.
    busy: BTreeSet<u32>,
    /// Something was counted in namespaces that are not known.
    strangers: BTreeSet<u32>,
    /// Such as were looked for and not found.
    nowhere: BTreeSet<u32>,
    /// By inode, what tells each from a later one with its inode; 0 where the kernel does not tell.
    cookies: BTreeMap<u32, u64>,
    busy_turn: Turn,
    turn: Turn,
    started: bool,
}

impl Namespaces {
    /// These are watched, and with `all` those that come. `devices` are theirs.
    pub(super) fn new(namespaces: Vec<Netns>, all: bool, uplinks: &[String], devices: &[Device]) -> Self {
        let own = namespaces.iter().find(|netns| netns.is_current());
        let mut names = NameChanges::default();
        if all {
            names.begin();
        }
        Self {
            all,
            uplinks: own.map_or_else(|| uplinks.to_vec(), |own| devices::settled(uplinks, own, devices)),
            own: own.map(Netns::inode),
            told: namespaces
                .iter()
                .map(|netns| (netns.inode(), netns.into()))
                .collect(),
            namespaces: namespaces
                .into_iter()
                .map(|netns| (netns.inode(), netns))
                .collect(),
            notes: BTreeMap::new(),
            devices: BTreeMap::new(),
            changed: true,
            listed: false,
            peers: Peers::default(),
            names,
            busy: BTreeSet::new(),
            strangers: BTreeSet::new(),
            nowhere: BTreeSet::new(),
            cookies: BTreeMap::new(),
            busy_turn: Turn::default(),
            turn: Turn::default(),
            started: false,
        }
    }

    /// All inodes.
    pub(super) fn every(&self) -> BTreeSet<u32> {
        self.namespaces.keys().copied().collect()
    }

    /// It is one of them.
    pub(super) fn watches(&self, inode: u32) -> bool {
        self.namespaces.contains_key(&inode)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Netns> {
        self.namespaces.values()
    }

    /// The tracer's own, where it is watched, else any one: of a single one of them all is asked that the whole machine
    /// has in common.
    pub(super) fn first(&self) -> Option<&Netns> {
        let own = self.own.and_then(|own| self.namespaces.get(&own));
        own.or_else(|| self.namespaces.values().next())
    }

    /// The uplinks of this one.
    pub(super) fn uplinks(&self, inode: u32) -> Vec<Device> {
        let devices = self.devices.range((inode, 0)..=(inode, u32::MAX));
        devices
            .map(|(_, device)| device)
            .filter(|device| device.uplink)
            .cloned()
            .collect()
    }

    /// The addresses of all devices, by namespace, where that may be another answer than the last time.
    pub(super) fn new_addresses(&mut self) -> Option<HashSet<(u32, IpAddr)>> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let of = |device: &Device| {
            let netns = device.netns;
            device
                .addresses
                .clone()
                .into_iter()
                .map(move |address| (netns, address))
        };
        Some(self.devices.values().flat_map(of).collect())
    }

    /// Whether others are watched, or found in other places, than when this was last asked.
    pub(super) fn were_listed(&mut self) -> bool {
        std::mem::take(&mut self.listed)
    }

    /// There are so few that each is looked at in every round.
    pub(super) fn are_few(&self) -> bool {
        self.namespaces.len() <= FEW
    }

    /// Those that are asked in this round what they are asked now and then: of few all, of many the first, each that is
    /// `busy`, and each that is not `known` yet, since counting begins there.
    pub(super) fn asked(&self, busy: &BTreeSet<u32>, known: impl Fn(&Netns) -> bool) -> Vec<&Netns> {
        let first = self.first().map(Netns::inode);
        let is_asked = |netns: &&Netns| {
            let inode = netns.inode();
            self.are_few() || first == Some(inode) || busy.contains(&inode) || !known(netns)
        };
        self.iter().filter(is_asked).collect()
    }

    /// There are more than one.
    pub(super) fn are_several(&self) -> bool {
        self.namespaces.len() > 1
    }

    /// Those with these inodes.
    pub(super) fn these(&self, inodes: &BTreeSet<u32>) -> impl Iterator<Item = &Netns> {
        inodes.iter().filter_map(|inode| self.namespaces.get(inode))
    }

    /// Takes note of where something is counted.
    pub(super) fn notice(&mut self, event: &Event) {
        let inode = match &event.body {
            Body::Entry(entry) => entry.key.netns,
            Body::Flow(count) => count.flow.netns,
            _ => return,
        };
        if inode == 0 || !self.all {
        } else if self.namespaces.contains_key(&inode) {
            self.busy.insert(inode);
        } else if !self.nowhere.contains(&inode) {
            self.strangers.insert(inode);
        }
    }

    /// The namespaces whose devices are to be read in this round, and with `listing` their sockets.
    pub(super) fn due(&mut self, listing: bool) -> Due {
        if self.are_few() {
            self.busy.clear();
            let every = self.every();
            return Due {
                sockets: if listing { every.clone() } else { BTreeSet::new() },
                devices: every,
            };
        }
        let uplinks = self
            .devices
            .values()
            .filter(|device| device.uplink && !device.assumed);
        let own: BTreeSet<u32> = uplinks.map(|device| device.netns).chain(self.own).collect();
        if !listing {
            return Due {
                devices: own,
                sockets: BTreeSet::new(),
            };
        }
        // The kernel goes through the connections of all namespaces for each list of sockets: only where there may be
        // anything new.
        let mut sockets = self.busy_turn.take(&mut self.busy, BUSY);
        sockets.extend(own);
        let mut devices = self.turn.take(&mut self.every(), TURN);
        devices.extend(&sockets);
        Due { devices, sockets }
    }

    /// Looks for namespaces that have come and gone, where it is time or a name has changed. Tells those whose devices
    /// must be read at once.
    pub(super) fn look(
        &mut self,
        listing: bool,
        now: u64,
        told: &mut Capabilities,
        tell: &mut dyn FnMut(Event),
    ) -> BTreeSet<u32> {
        if !self.all {
            return self.look_at_named(now, tell);
        }
        if listing {
            self.names.begin();
        }
        let names = self.names.take();
        if listing || !names.is_empty() {
            self.list(&names, now, told, tell)
        } else {
            BTreeSet::new()
        }
    }

    /// Looks whether those that the user named are still there, by their names or by who lives in them. Tells of each that
    /// has ended, of which nothing more is asked, and which must be read at once.
    fn look_at_named(&mut self, now: u64, tell: &mut dyn FnMut(Event)) -> BTreeSet<u32> {
        let mut moved = BTreeSet::new();
        let Self {
            namespaces, cookies, ..
        } = self;
        let before = namespaces.len();
        namespaces.retain(|inode, netns| {
            if !netns.has_ended() {
                return true;
            }
            let cookie = cookies.get(inode).copied().unwrap_or_default();
            if let Some(found) = netns.by_process(cookie) {
                *netns = found;
                moved.insert(*inode);
                return true;
            }
            tell(Event {
                at: now,
                body: Body::NamespaceEnded(NamespaceEnded { inode: *inode }),
            });
            false
        });
        self.listed |= !moved.is_empty() || self.namespaces.len() < before;
        moved
    }

    /// Looks for namespaces where something was counted and that are not known.
    pub(super) fn look_for_strangers(
        &mut self,
        now: u64,
        told: &mut Capabilities,
        tell: &mut dyn FnMut(Event),
    ) -> BTreeSet<u32> {
        let strangers = std::mem::take(&mut self.strangers);
        if strangers.is_empty() {
            return BTreeSet::new();
        }
        let fresh = self.list(&BTreeSet::new(), now, told, tell);
        if self.nowhere.len() >= MOST_NOWHERE {
            self.nowhere.clear();
        }
        let found = |inode: &u32| self.namespaces.contains_key(inode);
        self.nowhere
            .extend(strangers.into_iter().filter(|inode| !found(inode)));
        fresh
    }

    /// Tells those that have ended, and which must be read at once: new ones, and those with another name than before
    /// or one of these.
    fn list(
        &mut self,
        names: &BTreeSet<String>,
        now: u64,
        told: &mut Capabilities,
        tell: &mut dyn FnMut(Event),
    ) -> BTreeSet<u32> {
        let all = match Netns::all() {
            Ok(all) => all,
            Err(error) => {
                let why = format!("{error}; namespaces that have come since are not watched.");
                told.tell(now, partial(namespace::CAPABILITY, why), tell);
                return BTreeSet::new();
            }
        };
        told.tell(now, all.capability(), tell);
        let present: BTreeMap<u32, Netns> = all
            .namespaces
            .into_iter()
            .map(|netns| (netns.inode(), netns))
            .collect();
        let ended: BTreeSet<u32> = self
            .namespaces
            .keys()
            .filter(|inode| !present.contains_key(inode))
            .copied()
            .collect();
        for inode in &ended {
            self.forget(*inode);
            tell(Event {
                at: now,
                body: Body::NamespaceEnded(NamespaceEnded { inode: *inode }),
            });
        }
        self.peers.update(&ended, &[]);
        let fresh = present
            .values()
            .filter(|netns| {
                self.namespaces.get(&netns.inode()) != Some(*netns) || names.contains(netns.name())
            })
            .map(Netns::inode)
            .collect();
        self.nowhere.retain(|inode| !present.contains_key(inode));
        self.listed |= self.namespaces != present;
        self.namespaces = present;
        fresh
    }

    /// What was told of a namespace, or of another one with its inode, holds no more.
    fn forget(&mut self, inode: u32) {
        self.told.remove(&inode);
        self.notes.remove(&inode);
        self.busy.remove(&inode);
        self.devices.retain(|(netns, _), _| *netns != inode);
        self.changed = true;
    }

    /// Reads the devices of these namespaces, and tells what is new of both.
    ///
    /// # Errors
    ///
    /// At the start, where a namespace cannot be entered or the kernel does not tell.
    pub(super) fn read(
        &mut self,
        inodes: &BTreeSet<u32>,
        now: u64,
        told: &mut Capabilities,
        tell: &mut dyn FnMut(Event),
    ) -> Result<()> {
        if inodes.is_empty() {
            return Ok(());
        }
        let mut found = Devices::default();
        let mut read = BTreeSet::new();
        let mut uplinks = self.uplinks.clone();
        for netns in inodes.iter().filter_map(|inode| self.namespaces.get(inode)) {
            match self.find(&mut found, netns, &mut uplinks) {
                Ok(()) => {
                    read.insert(netns.inode());
                }
                // Among many, one may end at any time.
                Err(devices::Error::Namespace(namespace::Error::Ended { .. })) if self.all => {}
                // One that was there at the start may go.
                Err(error) if self.started => {
                    let why = format!("{error}; what has changed of the devices since is not known.");
                    told.tell(now, partial(devices::CAPABILITY, why), tell);
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.uplinks = uplinks;
        self.started = true;
        if !self.all {
            self.cookies.extend(&found.cookies);
        }
        for inode in &read {
            self.tell_namespace(*inode, &found, now, tell);
            let own = |note: &&Note| !note.assumed || !self.all || self.own == Some(*inode);
            let notes = found.notes.iter().filter(|note| note.netns == *inode);
            self.notes.insert(*inode, notes.filter(own).cloned().collect());
        }
        told.tell(now, devices::capability(self.notes.values().flatten()), tell);
        self.peers.update(&read, &found.ends);
        let news = self.peers.find(&self.namespaces);
        self.tell_devices(&read, &news, found.devices, now, tell);
        Ok(())
    }

    /// Reads the devices of a namespace. Uplinks that the user has named stay what they are where they are called otherwise now.
    fn find(
        &self,
        found: &mut Devices,
        netns: &Netns,
        uplinks: &mut Vec<String>,
    ) -> Result<(), devices::Error> {
        found.read(netns, uplinks)?;
        let renamed = self.renamed(netns, found);
        if renamed.is_empty() {
            return Ok(());
        }
        uplinks.extend(renamed);
        found.again(netns, uplinks)
    }

    /// The new names of uplinks that the user has named by their old ones.
    fn renamed(&self, netns: &Netns, found: &Devices) -> Vec<String> {
        let is_renamed = |device: &&Device| {
            let before = self.devices.get(&(device.netns, device.index));
            let before = before.filter(|before| before.uplink && before.name != device.name);
            before.is_some_and(|before| devices::is_named(&self.uplinks, netns, &before.name))
                && !devices::is_named(&self.uplinks, netns, &device.name)
        };
        let of_it = found
            .devices
            .iter()
            .filter(|device| device.netns == netns.inode());
        of_it
            .filter(is_renamed)
            .map(|device| format!("{}:{}", netns.name(), device.name))
            .collect()
    }

    /// Tells a namespace that is new or another one than before, and what is new of it.
    fn tell_namespace(&mut self, inode: u32, found: &Devices, now: u64, tell: &mut dyn FnMut(Event)) {
        let Some(netns) = self.namespaces.get(&inode).filter(|_| self.all) else {
            return;
        };
        let known = self.told.get(&inode);
        let cookie = found.cookies.get(&inode).copied().unwrap_or_default();
        let owner = netns.pid().and_then(|pid| {
            let known = known.and_then(|known| known.owner.clone());
            known
                .filter(|owner| owner.pid == pid)
                .or_else(|| Owners::by_pid(pid))
        });
        let namespace = event::Namespace {
            cookie,
            owner,
            ..event::Namespace::from(netns)
        };
        if known == Some(&namespace) {
            return;
        }
        if known.is_some_and(|known| known.cookie != 0 && known.cookie != cookie) {
            self.forget(inode);
        }
        self.told.insert(inode, namespace.clone());
        tell(Event {
            at: now,
            body: Body::Namespace(namespace),
        });
    }

    /// Tells what is new of the devices of the namespaces that were read, and of those of which more peers are known.
    fn tell_devices(
        &mut self,
        read: &BTreeSet<u32>,
        news: &BTreeSet<u32>,
        found: Vec<Device>,
        now: u64,
        tell: &mut dyn FnMut(Event),
    ) {
        let known = |netns: u32| self.devices.range((netns, 0)..=(netns, u32::MAX));
        let more = news.difference(read).flat_map(|netns| known(*netns));
        let mut changed: Vec<Device> = more.map(|(_, device)| device.clone()).collect();
        let present: BTreeSet<(u32, u32)> = found.iter().map(|device| (device.netns, device.index)).collect();
        let gone: Vec<Device> = read
            .iter()
            .flat_map(|netns| known(*netns))
            .filter(|(key, _)| !present.contains(key))
            .map(|(_, device)| device.clone())
            .collect();
        for mut device in gone {
            self.devices.remove(&(device.netns, device.index));
            self.changed = true;
            if !std::mem::take(&mut device.addresses).is_empty() {
                tell(Event {
                    at: now,
                    body: Body::Device(device),
                });
            }
        }
        changed.extend(found);
        for mut device in changed {
            let key = (device.netns, device.index);
            if device.peer.is_some() {
                // A pair stays one until it is gone, also where the other end can no longer be asked for.
                let before = self.devices.get(&key).and_then(|before| before.peer);
                let same = before.filter(|before| device.peer.map(|peer| peer.index) == Some(before.index));
                device.peer = self.peers.of(key.0, key.1).or(same).or(device.peer);
            }
            if self.devices.get(&key) != Some(&device) {
                self.devices.insert(key, device.clone());
                self.changed = true;
                tell(Event {
                    at: now,
                    body: Body::Device(device),
                });
            }
        }
    }
}
