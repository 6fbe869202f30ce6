//! In which namespaces the other ends of virtual pairs are.
//!
//! The kernel tells of a device the index of the other end (`IFLA_LINK`) and the number by which the device's own
//! namespace knows that of the other end (`IFLA_LINK_NETNSID`). The ends of a pair name each other; where several could
//! be meant, and to be sure, the kernel is asked for the number of the namespace in question (`RTM_GETNSID`).

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsRawFd;

use super::Netns;
use super::netlink::{self, attributes, u32_at};
use crate::event::Peer;

// include/uapi/linux/rtnetlink.h, net_namespace.h
const RTM_GETNSID: u16 = 90;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
/// Length of `struct rtgenmsg`, padded.
const HEADER: usize = 4;

/// A device that is linked to one of another namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    /// Inode of its namespace.
    pub netns: u32,
    /// Its index there.
    pub index: u32,
    /// Index of the other device, in its namespace.
    pub other: u32,
    /// By what number this one's namespace knows the other one's.
    pub nsid: u32,
}

/// All ends, and what was found out of them.
#[derive(Debug, Default)]
pub struct Peers {
    /// By namespace and index.
    ends: BTreeMap<(u32, u32), End>,
    found: BTreeMap<(u32, u32), Peer>,
    /// Pairs of ends that are none.
    strangers: BTreeSet<(End, End)>,
    /// Something has changed since the last look.
    changed: bool,
}

impl Peers {
    /// These are all ends of these namespaces now.
    pub fn update(&mut self, namespaces: &BTreeSet<u32>, ends: &[End]) {
        let now: BTreeMap<(u32, u32), End> = ends.iter().map(|end| ((end.netns, end.index), *end)).collect();
        let gone: Vec<End> = self
            .ends
            .values()
            .filter(|end| namespaces.contains(&end.netns) && now.get(&(end.netns, end.index)) != Some(end))
            .copied()
            .collect();
        for end in &gone {
            self.ends.remove(&(end.netns, end.index));
            if let Some(peer) = self.found.remove(&(end.netns, end.index)) {
                self.found.remove(&(peer.netns, peer.index));
            }
        }
        if !gone.is_empty() {
            self.strangers
                .retain(|(one, other)| !gone.contains(one) && !gone.contains(other));
        }
        for (key, end) in now {
            self.changed |= self.ends.insert(key, end).is_none();
        }
        self.changed |= !gone.is_empty();
    }

    /// The other end of a device, where it is known.
    #[must_use]
    pub fn of(&self, netns: u32, index: u32) -> Option<Peer> {
        self.found.get(&(netns, index)).copied()
    }

    /// Finds what can be found, by asking the kernel about those that name each other. Tells the namespaces of which
    /// more is known than before.
    pub fn find(&mut self, namespaces: &BTreeMap<u32, Netns>) -> BTreeSet<u32> {
        let mut news = BTreeSet::new();
        if !std::mem::take(&mut self.changed) {
            return news;
        }
        let open = |end: &&End| !self.found.contains_key(&(end.netns, end.index));
        let mut by_pair: BTreeMap<(u32, u32), Vec<End>> = BTreeMap::new();
        for end in self.ends.values().filter(open) {
            by_pair.entry((end.index, end.other)).or_default().push(*end);
        }
        // Each pair of candidates once, asked about in the namespace of the first.
        let mut asked: BTreeMap<u32, Vec<(End, End)>> = BTreeMap::new();
        for end in by_pair.values().flatten() {
            for other in by_pair.get(&(end.other, end.index)).into_iter().flatten() {
                if end < other && end.netns != other.netns && !self.strangers.contains(&(*end, *other)) {
                    asked.entry(end.netns).or_default().push((*end, *other));
                }
            }
        }
        for (netns, candidates) in asked {
            let Some(netns) = namespaces.get(&netns) else {
                continue;
            };
            // One that has ended meanwhile has no pairs any more.
            let Ok(pairs) = netns.enter(|| {
                let mut known = BTreeMap::new();
                candidates
                    .into_iter()
                    .map(|(end, other)| {
                        let nsid = known
                            .entry(other.netns)
                            .or_insert_with(|| nsid(namespaces.get(&other.netns)?));
                        (end, other, *nsid == Some(end.nsid))
                    })
                    .collect::<Vec<_>>()
            }) else {
                continue;
            };
            for (end, other, is_pair) in pairs {
                if !is_pair {
                    self.strangers.insert((end, other));
                    continue;
                }
                for (one, peer) in [(end, other), (other, end)] {
                    self.found.insert(
                        (one.netns, one.index),
                        Peer {
                            netns: peer.netns,
                            index: peer.index,
                        },
                    );
                    news.insert(one.netns);
                }
            }
        }
        news
    }
}

/// By what number the namespace of this thread knows another one; `None` where it does not.
fn nsid(netns: &Netns) -> Option<u32> {
    let file = netns.file().ok()?;
    let mut request = vec![0; HEADER];
    request.extend(8_u16.to_ne_bytes());
    request.extend(NETNSA_FD.to_ne_bytes());
    request.extend(file.as_raw_fd().to_ne_bytes());
    let answer = netlink::get(netlink::ROUTE, RTM_GETNSID, &request, |body| {
        let mut all = attributes(body.get(HEADER..)?);
        let (_, value) = all.find(|(kind, _)| *kind == NETNSA_NSID)?;
        u32_at(value, 0)
    });
    // -1 where it has none (NETNSA_NSID_NOT_ASSIGNED).
    let nsid = answer.ok().flatten()?;
    i32::try_from(nsid).is_ok().then_some(nsid)
}
