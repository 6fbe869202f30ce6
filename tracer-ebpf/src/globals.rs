//! What user space sets before the programs are loaded, and loads from kernel memory.

use tracer_ebpf::{Config, Offsets, gate};

/// Where this kernel keeps what the programs read.
#[unsafe(no_mangle)]
pub static OFFSETS: Offsets = {
    // SAFETY: integers only; all zeros is a valid value.
    unsafe { core::mem::zeroed() }
};

/// What user space asks of the programs.
#[unsafe(no_mangle)]
pub static CONFIG: Config = Config {
    netns: 0,
    examples_per_second: 0,
    verbose: 0,
    datagrams: 0,
    count_reads: 0,
    loads_packets: 0,
    seed: 0,
    netns_cookie: 0,
};

/// Whether programs count. User space opens this gate when all of them are attached, and closes it before it reads for
/// the last time: else a packet that comes meanwhile would be seen by some of them only.
#[unsafe(no_mangle)]
pub static mut COUNTING: u32 = gate::NOT_YET;

/// Whether packets are counted now.
#[inline(always)]
pub fn counting() -> bool {
    stands() == gate::OPEN
}

/// Whether what was counted is being read, and nothing may change any more.
#[inline(always)]
pub fn ended() -> bool {
    stands() == gate::CLOSED
}

/// How the gate stands, see [`gate`].
#[inline(always)]
fn stands() -> u32 {
    // SAFETY: a valid, aligned u32, which user space changes as a whole.
    unsafe { (&raw const COUNTING).read_volatile() }
}

/// Reads a member of [`OFFSETS`]: `offset!(skb_len)`.
macro_rules! offset {
    ($member:ident) => {
        $crate::globals::constant(&raw const $crate::globals::OFFSETS.$member)
    };
}
pub(crate) use offset;

/// Reads a member of [`CONFIG`]: `config!(netns)`.
macro_rules! config {
    ($member:ident) => {
        $crate::globals::constant(&raw const $crate::globals::CONFIG.$member)
    };
}
pub(crate) use config;

/// Reads what user space has set. To the verifier it is a constant: dead branches are pruned.
#[inline(always)]
pub fn constant<T: Copy>(member: *const T) -> T {
    // SAFETY: `member` is part of a static. Volatile, because the compiler only knows the initial value.
    unsafe { core::ptr::read_volatile(member) }
}

/// Loads a `T` at `offset` bytes behind a pointer that the verifier knows the type of.
///
/// # Safety
///
/// `base` is a tracepoint argument or a member of one, and `offset` comes from [`OFFSETS`]. The verifier
/// checks that a `T` stands there. Behind a member a fault reads as zero (`PROBE_MEM`,
/// kernel/bpf/verifier.c), null included, but for those that the verifier itself wants checked
/// (`sk_buff.sk`). Behind an argument nothing is caught: it must be there. Of the arguments that the programs
/// follow, only one may be null (`raw_tp_null_args`, kernel/bpf/btf.c): the last of `kfree_skb`, see
/// `end::checked`.
#[inline(always)]
pub unsafe fn load<T: Copy>(base: *const u8, offset: u32) -> T {
    // SAFETY: as above. Volatile keeps the width of the access, which the verifier checks.
    unsafe { core::ptr::read_volatile(base.add(offset as usize).cast::<T>()) }
}

/// A kernel object that the verifier knows the type of, null allowed.
pub type Kernel = *const u8;
