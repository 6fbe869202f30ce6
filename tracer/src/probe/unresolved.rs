//! What waits until the link-layer address of a neighbour is known.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use aya::maps::{HashMap, MapData};
use tracer_ebpf as wire;

use super::Error;
use super::decode::address;
use super::poll::gone;
use super::standing::Standing;
use crate::event::Unresolved as Told;

/// Where packets wait: namespace, device, address, and the device by which they arrived.
type Queue = (u32, u32, IpAddr, u32);

/// Packets and bytes that waited at the start.
type Stood = (u64, u64);

/// The map of what waits, and what was told of it last.
pub(super) struct Unresolved {
    /// `None` where it is left out.
    map: Option<HashMap<MapData, u64, wire::Unresolved>>,
    told: BTreeMap<Queue, u64>,
    /// What waited at the start, and is not told yet.
    standing: BTreeMap<Queue, Stood>,
}

impl Unresolved {
    pub(super) fn of(map: HashMap<MapData, u64, wire::Unresolved>) -> Self {
        Self {
            map: Some(map),
            told: BTreeMap::new(),
            standing: BTreeMap::new(),
        }
    }

    /// The neighbours for which packets wait, as the programs have seen since they were attached.
    pub(super) fn neighbours(&self) -> BTreeSet<u64> {
        let keys = self.map.iter().flat_map(HashMap::keys);
        keys.filter_map(Result::ok).collect()
    }

    /// Takes what waits at the start, before the first round: the programs go on from there.
    pub(super) fn stand(&mut self, found: &[Standing]) {
        let others = found.iter().fold(self.neighbours(), |mut others, standing| {
            others.remove(&standing.neighbour);
            others
        });
        let Some(map) = &mut self.map else {
            return;
        };
        // What they have seen arrive was not counted, and is not found any more. It fails for one that is gone.
        for neighbour in others {
            let _ = map.remove(&neighbour);
        }
        for standing in found {
            // Where there is no room these packets are unexplained until they leave.
            if map.insert(standing.neighbour, standing.queue, 0).is_err() {
                continue;
            }
            for (told, bytes) in waiting(&standing.queue).zip(standing.bytes) {
                let queue = (told.netns, told.device, told.address, told.iif);
                let stood = self.standing.entry(queue).or_default();
                stood.0 = stood.0.saturating_add(told.packets);
                stood.1 = stood.1.saturating_add(bytes);
            }
        }
    }

    /// Nothing is told: not all programs are there that keep the map as it should be.
    pub(super) fn leave_out(&mut self) {
        self.map = None;
    }

    /// What waits, where that has changed since the last round, and where nothing does any more.
    pub(super) fn round(&mut self) -> Result<Vec<Told>, Error> {
        let Some(map) = &self.map else {
            return Ok(Vec::new());
        };
        // An item may be found twice while others are taken out.
        let mut neighbours = BTreeMap::new();
        for item in map.iter() {
            neighbours.extend(gone(item, "UNRESOLVED")?);
        }
        let mut waits: BTreeMap<Queue, u64> = BTreeMap::new();
        for told in neighbours.values().flat_map(waiting) {
            let queue = (told.netns, told.device, told.address, told.iif);
            let packets = waits.entry(queue).or_default();
            *packets = packets.saturating_add(told.packets);
        }
        let before = std::mem::replace(&mut self.told, waits);
        let standing = std::mem::take(&mut self.standing);
        let queues: BTreeSet<_> = before
            .keys()
            .chain(self.told.keys())
            .chain(standing.keys())
            .collect();
        let told = queues.into_iter().filter_map(|queue| {
            let packets = self.told.get(queue);
            let stood = standing.get(queue);
            if packets == before.get(queue) && stood.is_none() {
                return None;
            }
            let &(netns, device, address, iif) = queue;
            let (before, before_bytes) = stood.copied().unwrap_or_default();
            Some(Told {
                netns,
                device,
                address,
                iif,
                packets: packets.copied().unwrap_or(0),
                before,
                before_bytes,
            })
        });
        Ok(told.collect())
    }
}

/// What waits for a neighbour, by the device by which it arrived.
///
/// Where the queue has dropped its oldest, it holds less than was put in: then each device has the same share of what
/// is left, which is exact where all came by one device.
fn waiting(queue: &wire::Unresolved) -> impl Iterator<Item = Told> {
    let entered = u128::from(queue.entered.max(1));
    let left = u128::from(queue.length).min(entered);
    let queue = *queue;
    queue
        .arrived
        .into_iter()
        .filter_map(move |arrived| {
            let packets = u128::from(arrived.packets) * left / entered;
            Some(Told {
                netns: queue.netns,
                device: queue.device,
                address: address(queue.address),
                iif: u32::try_from(arrived.iif).ok().filter(|iif| *iif != 0)?,
                packets: u64::try_from(packets).ok()?,
                before: 0,
                before_bytes: 0,
            })
        })
        .filter(|told| told.packets > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_full_queue_has_dropped_does_not_wait() {
        let arrived = |iif, packets| wire::ArrivedBy { iif, packets };
        let mut queue = wire::Unresolved {
            length: 4,
            entered: 4,
            arrived: [arrived(2, 3), arrived(3, 10), arrived(0, 0), arrived(0, 0)],
            ..wire::Unresolved::default()
        };
        let told = |queue: &wire::Unresolved| -> Vec<(u32, u64)> {
            waiting(queue).map(|told| (told.iif, told.packets)).collect()
        };
        assert_eq!(told(&queue), [(2, 3), (3, 10)]);
        queue.entered = 8;
        assert_eq!(told(&queue), [(2, 1), (3, 5)]);
        // What was in the queue before the first that was seen is nobody's.
        queue.length = 100;
        assert_eq!(told(&queue), [(2, 3), (3, 10)]);
        queue.entered = 0;
        queue.length = 0;
        assert!(told(&queue).is_empty());
    }
}
