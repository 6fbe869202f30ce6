//! The maps, and the only ways to count in them. What does not fit is counted as lost.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_boot_ns};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{HashMap, PerCpuArray, PerCpuHashMap, RingBuf};
use tracer_ebpf::{Count, Entry, LastArrival, Place, Spent, Tallies, Tally, kind, loss, program};

use crate::globals::{config, counting};

/// Lines of the books. Bound: 16,384; user space may raise it. Overflow: [`REST`].
#[map]
static BOOKS: PerCpuHashMap<Entry, Count> = PerCpuHashMap::with_max_entries(16_384, 0);

/// Packets whose lines did not fit in [`BOOKS`], by [`Entry::reduced`]. Bound: 1,024. Overflow:
/// [`loss::BOOKS_FULL`].
#[map]
static REST: PerCpuHashMap<Entry, Count> = PerCpuHashMap::with_max_entries(1_024, 0);

/// The lines of the books that each program keeps at hand, see [`Tallies`].
#[map]
static AT_HAND: PerCpuArray<Tallies> = PerCpuArray::with_max_entries(program::COUNT, 0);

/// What each place has spent of its examples. Bound: 4,096. Overflow: [`loss::PLACES_FULL`].
#[map]
static BUDGET: HashMap<Place, Spent> = HashMap::with_max_entries(4_096, 0);

/// What user space knows of places in the kernel, by address: see [`tracer_ebpf::sort`]. Bound: 256, many times
/// what the tables of names lead to. What is not in it is told in the books all the same, and not with its flow.
#[map]
static SORTS: HashMap<u64, u32> = HashMap::with_max_entries(256, 0);

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

/// What is known of a place in the kernel, see [`tracer_ebpf::sort`]; 0 for most.
#[inline(always)]
pub fn sort(location: u64) -> u32 {
    // SAFETY: a valid pointer to a value of the map, which is a word and only changed as one.
    SORTS.get_ptr(location).map_or(0, |sort| unsafe { *sort })
}

/// Counts a loss.
#[inline(always)]
pub fn lose(kind: u32, amount: u64) {
    if let Some(count) = LOSSES.get_ptr_mut(kind) {
        // SAFETY: a valid pointer to this CPU's own value; a program that interrupts this one may add to it.
        unsafe { add(&mut *count, amount) };
    }
}

/// Whether packets of a namespace are to be counted now. Namespace 0 is one that cannot be known: its
/// packets are counted, because losing them would be worse.
#[inline(always)]
pub fn watched(netns: u32) -> bool {
    counting() && is_ours(netns)
}

/// Whether a namespace is one of those that are watched, or cannot be known.
#[inline(always)]
pub fn is_ours(netns: u32) -> bool {
    let only = config!(netns);
    only == 0 || netns == only || netns == 0
}

/// Enters packets in the books. `program` is the caller's own, see [`tracer_ebpf::program`]. Returns the
/// line, where it is one of those at hand.
#[inline(always)]
pub fn enter(program: u32, entry: &Entry, packets: u64, bytes: u64) -> Option<&'static mut Tally> {
    let tallies = AT_HAND.get_ptr_mut(program)?;
    // SAFETY: a valid pointer to this CPU's own value, which only this program writes.
    let line = unsafe { &mut (*tallies).lines[Tallies::place(entry)] };
    if line.entry.kind == 0 {
        line.entry = *entry;
    }
    if same(&line.entry, entry) {
        line.count.packets += packets;
        line.count.bytes += bytes;
        Some(line)
    } else {
        if !enter_in_map(&BOOKS, entry, packets, bytes) {
            enter_reduced(entry, packets, bytes);
        }
        None
    }
}

/// Compares by words, without a call.
#[inline(always)]
fn same(a: &Entry, b: &Entry) -> bool {
    // SAFETY: an Entry is four aligned words of integers, without padding.
    let (a, b) = unsafe {
        (
            &*(&raw const *a).cast::<[u64; 4]>(),
            &*(&raw const *b).cast::<[u64; 4]>(),
        )
    };
    (a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]) == 0
}

/// Enters packets of a line that is not at hand. False where the map has no room for the line.
#[inline(always)]
fn enter_in_map(map: &PerCpuHashMap<Entry, Count>, entry: &Entry, packets: u64, bytes: u64) -> bool {
    if map.get_ptr(entry).is_none() {
        // Another CPU may be first: then the key exists, and the insertion is refused.
        let _ = map.insert(entry, Count { packets: 0, bytes: 0 }, u64::from(BPF_NOEXIST));
    }
    let Some(count) = map.get_ptr_mut(entry) else {
        return false;
    };
    // SAFETY: a valid pointer to this CPU's own value; a program that interrupts this one may add to it, so
    // that even here the addition is atomic.
    unsafe {
        add(&mut (*count).packets, packets);
        add(&mut (*count).bytes, bytes);
    }
    true
}

/// Enters packets of a line that the books have no room for.
#[inline(never)]
fn enter_reduced(entry: &Entry, packets: u64, bytes: u64) {
    if !enter_in_map(&REST, &entry.reduced(), packets, bytes) {
        lose(loss::BOOKS_FULL, packets);
    } else if entry.kind != kind::ARRIVED {
        lose(loss::IN_OTHER, packets);
    }
}

/// Adds to a count that other programs or CPUs may be adding to as well.
#[inline(always)]
pub fn add(count: &mut u64, amount: u64) {
    // SAFETY: adds to a valid, aligned u64. The compiler offers no atomic addition for this target, where
    // every processor has it (BPF_ATOMIC | BPF_ADD, Documentation/bpf/standardization/instruction-set.rst).
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({count} + 0) += {amount}",
            count = in(reg) count,
            amount = in(reg) amount,
            options(nostack),
        );
    }
}

/// What the budget says to an example.
#[derive(Clone, Copy, PartialEq)]
pub enum Budget {
    /// Send it: the place is seen for the first time.
    First,
    /// Send it.
    Granted,
    /// It was counted as not sent.
    Refused,
}

/// For how many jiffies (4 ms each at 250 Hz) a line stays quiet once its budget was found spent: so
/// long the budget is not asked, and a storm of drops costs no look-up for each.
const QUIET: u64 = 16;

/// Spends one example of a place's budget. `line` is the line of the books that the drop was entered in,
/// where it is at hand.
#[inline(always)]
pub fn spend(place: &Place, line: Option<&mut Tally>) -> Budget {
    // SAFETY: a helper without arguments; the verifier replaces it by a load.
    let now = unsafe { bpf_jiffies64() };
    let Some(line) = line else {
        let budget = ask(place);
        if budget == Budget::Refused {
            lose(loss::EXAMPLES_OVER_BUDGET, 1);
        }
        return budget;
    };
    if line.quiet == 0 || now - line.quiet >= QUIET {
        let budget = ask(place);
        if budget != Budget::Refused {
            return budget;
        }
        line.quiet = now;
    }
    line.unsent += 1;
    Budget::Refused
}

#[inline(always)]
fn ask(place: &Place) -> Budget {
    // SAFETY: a helper without arguments.
    let second = unsafe { bpf_ktime_get_boot_ns() } / 1_000_000_000;
    if BUDGET.get_ptr(place).is_none() {
        let first = Spent { second, examples: 1 };
        if BUDGET.insert(place, first, u64::from(BPF_NOEXIST)).is_ok() {
            return Budget::First;
        }
        // Another CPU may have been first: then the place is there, and the insertion was refused.
    }
    let Some(spent) = BUDGET.get_ptr_mut(place) else {
        lose(loss::PLACES_FULL, 1);
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
        return Budget::Refused;
    }
    spent.examples += 1;
    Budget::Granted
}
