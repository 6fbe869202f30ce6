//! What user space sets before the programs are loaded, and loads from kernel memory.

use tracer_ebpf::{Config, Offsets};

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
    count_reads: 0,
    seed: 0,
};

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
/// `base` comes from a tracepoint argument or from a member of one, and `offset` from [`OFFSETS`]. The
/// verifier checks that a `T` stands there; a fault reads as zero.
#[inline(always)]
pub unsafe fn load<T: Copy>(base: *const u8, offset: u32) -> T {
    // SAFETY: as above. Volatile keeps the width of the access, which the verifier checks.
    unsafe { core::ptr::read_volatile(base.add(offset as usize).cast::<T>()) }
}

/// A kernel object that the verifier knows the type of, null allowed.
pub type Kernel = *const u8;
