//! The table of flows, shared with the BPF programs by memory: reading it takes no system call.

use std::num::NonZero;
use std::ptr::NonNull;

use aya::maps::Map;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use tracer_ebpf::{FLOW_SETS, FlowCount, FlowLine, FlowSet, WAYS};

use super::Error;

const BYTES: usize = FLOW_SETS as usize * size_of::<FlowSet>();

/// The table, mapped for reading.
pub(super) struct FlowTable {
    sets: NonNull<FlowSet>,
    seed: u64,
    /// What was told last of each line, as one number: see [`mark`].
    told: Vec<Option<NonZero<u64>>>,
    /// Keeps the map.
    _map: Map,
}

// SAFETY: the mapping belongs to this value alone, and is only read.
unsafe impl Send for FlowTable {}

impl FlowTable {
    pub(super) fn open(map: Map, seed: u64) -> Result<Self, Error> {
        let Map::Array(data) = &map else {
            return Err(Error::Map("FLOWS"));
        };
        // SAFETY: a new mapping, at an address that the kernel chooses; the map is that big (aya checked
        // its definition against the object, which is built of the same types).
        let address = unsafe {
            mmap(
                std::ptr::null_mut(),
                BYTES,
                ProtFlags::READ,
                MapFlags::SHARED,
                data.fd(),
                0,
            )
        }
        .map_err(|cause| Error::Flows(cause.into()))?;
        let sets = NonNull::new(address.cast::<FlowSet>()).ok_or(Error::Map("FLOWS"))?;
        Ok(Self {
            sets,
            seed,
            told: vec![None; FLOW_SETS as usize * WAYS],
            _map: map,
        })
    }

    /// Tells each flow that has counted since the last call.
    pub(super) fn changed(&mut self, tell: &mut dyn FnMut(&FlowLine)) {
        for index in 0..FLOW_SETS as usize {
            // SAFETY: within the mapping.
            let set = unsafe { self.sets.add(index) }.as_ptr();
            for way in 0..WAYS {
                // SAFETY: within the set; volatile, because the kernel writes there.
                let hash = unsafe { (&raw const (*set).hashes[way]).read_volatile() };
                if hash == 0 {
                    continue;
                }
                // SAFETY: as above. A torn key is told by its hash; each count is one word.
                let line = unsafe { (&raw const (*set).flows[way]).read_volatile() };
                if line.key.hash(self.seed) != hash {
                    // It is just being written.
                    continue;
                }
                let told = &mut self.told[index * WAYS + way];
                let now = mark(&line.count);
                if *told != now {
                    *told = now;
                    tell(&line);
                }
            }
        }
    }
}

impl Drop for FlowTable {
    fn drop(&mut self) {
        // SAFETY: the mapping that `open` made; nothing borrows from it.
        let _ = unsafe { munmap(self.sets.as_ptr().cast(), BYTES) };
    }
}

/// One number that changes whenever a count does: counts only grow, so their sum does.
fn mark(count: &FlowCount) -> Option<NonZero<u64>> {
    let FlowCount {
        arrived,
        arrived_bytes,
        sent,
        matched,
        queued,
        read,
        read_bytes,
        dropped,
        retransmitted,
        ..
    } = *count;
    let sum = [
        arrived,
        arrived_bytes,
        sent,
        matched,
        queued,
        read,
        read_bytes,
        dropped,
        retransmitted,
    ]
    .into_iter()
    .fold(0u64, u64::wrapping_add);
    NonZero::new(sum)
}

#[cfg(test)]
mod tests {
    use tracer_ebpf::FlowKey;

    use super::*;

    #[test]
    fn flows_that_differ_in_one_bit_have_other_hashes() {
        let key = FlowKey::new(
            [0, 0x0200_0a0a_ffff_0000],
            [0, 0x0a02_00c0_ffff_0000],
            7,
            40_000,
            80,
            6,
        );
        let mut seen = std::collections::HashSet::from([key.hash(1)]);
        assert_ne!(key.hash(1), key.hash(2), "the seed matters");
        for port in 0..=u16::MAX {
            let other = FlowKey {
                remote_port: port,
                ..key
            };
            assert_eq!(seen.insert(other.hash(1)), port != 80);
        }
    }

    #[test]
    fn the_sets_of_flows_are_spread() {
        let mut sets = vec![0u32; FLOW_SETS as usize];
        for port in 0..=u16::MAX {
            let key = FlowKey {
                local_port: port,
                ..FlowKey::NONE
            };
            for set in tracer_ebpf::flow_sets(key.hash(99)) {
                sets[set as usize] += 1;
            }
        }
        let most = sets.iter().max().copied().unwrap();
        assert!(
            most < 30,
            "one set would have to hold {most} flows, where 8 is the mean"
        );
    }
}
