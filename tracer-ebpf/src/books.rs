//! The maps, and the only ways to count in them. What does not fit is counted as lost.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{HashMap, PerCpuArray, PerCpuHashMap, RingBuf};
use tracer_ebpf::{Count, Entry, FlowCount, FlowKey, LastArrival, Place, Segments, Spent, loss};

use crate::globals::config;

/// Lines of the books. Bound: 16,384; user space may raise it. Overflow: [`loss::BOOKS_FULL`].
#[map]
static BOOKS: PerCpuHashMap<Entry, Count> = PerCpuHashMap::with_max_entries(16_384, 0);

/// Flows. Bound: 16,384; user space sets it by the number of CPUs. Overflow: [`loss::FLOWS_FULL`].
#[map]
static FLOWS: PerCpuHashMap<FlowKey, FlowCount> = PerCpuHashMap::with_max_entries(16_384, 0);

/// TCP sockets by their address, written under the socket's lock.
/// Bound: 65,536. Overflow: [`loss::SOCKETS_FULL`].
#[map]
pub static SOCKETS: HashMap<u64, Segments> = HashMap::with_max_entries(65_536, 0);

/// What each place has spent of its examples. Bound: 4,096. Overflow: [`loss::PLACES_FULL`].
#[map]
static BUDGET: HashMap<Place, Spent> = HashMap::with_max_entries(4_096, 0);

/// Examples and socket changes. Bound: 4 MiB. Overflow: [`loss::RING_FULL`].
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// The datagram that arrived last on each CPU.
#[map]
static LAST: PerCpuArray<LastArrival> = PerCpuArray::with_max_entries(1, 0);

/// What could not be recorded, by [`loss`].
#[map]
static LOSSES: PerCpuArray<u64> = PerCpuArray::with_max_entries(loss::KINDS, 0);

/// The datagram that arrived last on this CPU.
#[inline(always)]
pub fn last_arrival() -> Option<&'static mut LastArrival> {
    // SAFETY: a valid pointer to this CPU's own value, which lives as long as the map.
    LAST.get_ptr_mut(0).map(|last| unsafe { &mut *last })
}

/// Counts a loss.
#[inline(always)]
pub fn lose(kind: u32, amount: u64) {
    if let Some(count) = LOSSES.get_ptr_mut(kind) {
        // SAFETY: a valid pointer to this CPU's own value.
        unsafe { *count += amount };
    }
}

/// Whether packets of a namespace are to be counted. Namespace 0 is one that cannot be known: its
/// packets are counted, because losing them would be worse.
#[inline(always)]
pub fn watched(netns: u32) -> bool {
    let only = config!(netns);
    only == 0 || netns == only || netns == 0
}

/// Enters packets in the books.
#[inline(always)]
pub fn enter(entry: &Entry, packets: u64, bytes: u64) {
    if let Some(count) = BOOKS.get_ptr_mut(entry) {
        // SAFETY: a valid pointer to this CPU's own value.
        unsafe {
            (*count).packets += packets;
            (*count).bytes += bytes;
        }
        return;
    }
    // Another CPU may be first: then the key exists, and this CPU's value is there to be added to.
    let first = Count { packets, bytes };
    if BOOKS.insert(entry, first, u64::from(BPF_NOEXIST)).is_ok() {
        return;
    }
    match BOOKS.get_ptr_mut(entry) {
        // SAFETY: a valid pointer to this CPU's own value.
        Some(count) => unsafe {
            (*count).packets += packets;
            (*count).bytes += bytes;
        },
        None => lose(loss::BOOKS_FULL, packets),
    }
}

/// Counts for a flow. `origin` is who began, should this be the first that is seen of it; `add` changes
/// this CPU's counts.
#[inline(always)]
pub fn count_flow(flow: &FlowKey, origin: u32, packets: u64, add: impl Fn(&mut FlowCount)) {
    if let Some(count) = FLOWS.get_ptr_mut(flow) {
        // SAFETY: a valid pointer to this CPU's own value.
        add(unsafe { &mut *count });
        return;
    }
    let mut first = FlowCount { origin, ..EMPTY };
    add(&mut first);
    if FLOWS.insert(flow, first, u64::from(BPF_NOEXIST)).is_ok() {
        return;
    }
    match FLOWS.get_ptr_mut(flow) {
        // SAFETY: a valid pointer to this CPU's own value.
        Some(count) => add(unsafe { &mut *count }),
        None => lose(loss::FLOWS_FULL, packets),
    }
}

const EMPTY: FlowCount = FlowCount {
    arrived: 0,
    arrived_bytes: 0,
    sent: 0,
    matched: 0,
    queued: 0,
    read: 0,
    read_bytes: 0,
    dropped: 0,
    retransmitted: 0,
    drop_location: 0,
    drop_reason: 0,
    iif: 0,
    origin: 0,
    reserved: 0,
};

/// Device by which packets of a flow last arrived on this CPU, 0 where none did.
#[inline(always)]
pub fn arrival_device(flow: &FlowKey) -> u32 {
    match FLOWS.get_ptr(flow) {
        // SAFETY: a valid pointer to this CPU's own value.
        Some(count) => unsafe { (*count).iif },
        None => 0,
    }
}

/// What the budget says to an example.
#[derive(Clone, Copy, PartialEq)]
pub enum Budget {
    /// Send it, with its stack: the place is seen for the first time.
    First,
    /// Send it.
    Granted,
    /// It was counted as not sent.
    Refused,
}

/// Spends one example of a place's budget. `now` is boot time in ns.
#[inline(always)]
pub fn spend(place: &Place, now: u64) -> Budget {
    let second = now / 1_000_000_000;
    let Some(spent) = BUDGET.get_ptr_mut(place) else {
        let first = Spent { second, examples: 1 };
        if BUDGET.insert(place, first, u64::from(BPF_NOEXIST)).is_ok() {
            return Budget::First;
        }
        lose(loss::PLACES_FULL, 1);
        lose(loss::EXAMPLES_OVER_BUDGET, 1);
        return Budget::Refused;
    };
    // CPUs may race here: a budget may then be overdrawn by one example a CPU, which harms nobody.
    // SAFETY: a valid pointer to a value of the map.
    let spent = unsafe { &mut *spent };
    if spent.second != second {
        spent.second = second;
        spent.examples = 0;
    }
    if spent.examples >= u64::from(config!(examples_per_second)) {
        lose(loss::EXAMPLES_OVER_BUDGET, 1);
        return Budget::Refused;
    }
    spent.examples += 1;
    Budget::Granted
}
