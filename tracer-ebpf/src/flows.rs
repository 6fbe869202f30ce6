//! The table of flows.
//!
//! Not per CPU but atomic: a flow's packets come to one CPU (RSS), and the memory does not grow with the
//! number of CPUs. Not a hash map of the kernel's: see [`FlowSet`].

use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use tracer_ebpf::{FLOW_SETS, FlowCount, FlowKey, FlowLine, FlowSet, WAYS, flow_set, flow_sets, loss};

use crate::books::lose;
use crate::globals::config;

/// `BPF_F_MMAPABLE` (include/uapi/linux/bpf.h): user space reads the table without a call for each flow.
const MMAPABLE: u32 = 1 << 10;

/// Bound: [`FLOW_SETS`] × [`WAYS`]. Overflow: [`loss::FLOWS_FULL`]. User space frees idle lines, see
/// [`tracer_ebpf::GIVEN_UP`].
#[map]
static FLOWS: Array<FlowSet> = Array::with_max_entries(FLOW_SETS, MMAPABLE);

/// Counts for a flow. `origin` is who began, should this be the first that is seen of it; `count` adds
/// with [`crate::books::add`].
#[inline(always)]
pub fn count_flow(flow: &FlowKey, origin: u32, packets: u64, count: impl Fn(&mut FlowCount)) {
    match counts(flow, origin) {
        Some(counts) => count(counts),
        None => lose(loss::FLOWS_FULL, packets),
    }
}

/// The counts of a flow that has been counted before. By itself: it looks at many places, and few ask for it.
#[inline(never)]
pub fn known(flow: &FlowKey) -> Option<&'static mut FlowCount> {
    Some(&mut find(flow.hash(config!(seed)))?.count)
}

/// The counts of a flow. None where the table is full: the caller counts that as [`loss::FLOWS_FULL`].
#[inline(always)]
pub fn counts(flow: &FlowKey, origin: u32) -> Option<&'static mut FlowCount> {
    let hash = flow.hash(config!(seed));
    let line = match find(hash) {
        Some(line) => line,
        None => insert(flow, hash, origin)?,
    };
    Some(&mut line.count)
}

#[inline(always)]
fn set(index: u32) -> Option<&'static mut FlowSet> {
    // SAFETY: a valid pointer into the map; what CPUs share is changed atomically only.
    FLOWS.get_ptr_mut(index).map(|set| unsafe { &mut *set })
}

#[inline(always)]
fn find(hash: u64) -> Option<&'static mut FlowLine> {
    let [first, second, third, fourth] = flow_sets(hash);
    find_in(first, hash)
        .or_else(|| find_in(second, hash))
        .or_else(|| find_in(third, hash))
        .or_else(|| find_in(fourth, hash))
}

#[inline(always)]
fn find_in(index: u32, hash: u64) -> Option<&'static mut FlowLine> {
    let set = set(index)?;
    for way in 0..WAYS {
        if set.hashes[way] == hash {
            return Some(&mut set.flows[any(way, hash)]);
        }
    }
    None
}

/// The same number. For the verifier it may be any, so that what follows is verified once and not for each; `unknown`
/// is a number of which it knows nothing.
#[inline(always)]
fn any(mut way: usize, unknown: u64) -> usize {
    // SAFETY: only registers change. Adds 0, which the verifier cannot know: it forgets that copies are alike.
    unsafe {
        core::arch::asm!(
            "{copy} = {unknown}",
            "{copy} ^= {unknown}",
            "{way} += {copy}",
            copy = out(reg) _,
            unknown = in(reg) unknown,
            way = inout(reg) way,
            options(pure, nomem, nostack),
        );
    }
    way % WAYS
}

/// Takes a free line for a new flow. Another CPU may take it first, or insert the same flow. It may even
/// insert it in an earlier place, that was freed since this one looked there: the first line is then found
/// from now on, and user space adds the other to it.
#[inline(never)]
fn insert(flow: &FlowKey, hash: u64, origin: u32) -> Option<&'static mut FlowLine> {
    // Another CPU may fill the set meanwhile: then there may be room elsewhere.
    for _ in 0..2 {
        let set = set(flow_set(hash, free))?;
        for way in 0..WAYS {
            let before = take(&mut set.hashes[way], hash);
            if before != 0 && before != hash {
                continue;
            }
            let line = &mut set.flows[any(way, hash)];
            if before == 0 {
                line.count.origin = origin;
                line.key = *flow;
            }
            return Some(line);
        }
    }
    None
}

/// How many lines of a set are free.
#[inline(always)]
fn free(index: u32) -> u32 {
    let Some(set) = set(index) else {
        return 0;
    };
    let mut taken = 0;
    for way in 0..WAYS {
        let hash = set.hashes[way];
        // Without a branch, of which the verifier would follow both ways each time: a hash has its highest bit
        // set, and `GIVEN_UP` its lowest.
        taken += (hash | hash << 63) >> 63;
    }
    WAYS as u32 - taken as u32
}

/// Sets a word that is `expected`, atomically. Whether it was.
#[inline(always)]
pub fn replace(word: &mut u32, expected: u32, value: u32) -> bool {
    let before: u64;
    // SAFETY: compares and exchanges a valid, aligned u32 (BPF_CMPXCHG, since 5.12). The compiler offers
    // no such operation for this target.
    unsafe {
        core::arch::asm!(
            "w0 = cmpxchg32_32({word} + 0, w0, w1)",
            word = in(reg) word,
            in("r1") value,
            inout("r0") u64::from(expected) => before,
            options(nostack),
        );
    }
    before == u64::from(expected)
}

/// Sets a word that is 0, atomically. Returns what it was.
#[inline(always)]
pub fn take(word: &mut u64, value: u64) -> u64 {
    let before;
    // SAFETY: compares and exchanges a valid, aligned u64 (BPF_CMPXCHG, since 5.12). The compiler offers
    // no such operation for this target.
    unsafe {
        core::arch::asm!(
            "r0 = cmpxchg_64({word} + 0, r0, {value})",
            word = in(reg) word,
            value = in(reg) value,
            inout("r0") 0u64 => before,
            options(nostack),
        );
    }
    before
}
