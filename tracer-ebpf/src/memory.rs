//! The kernel's memory for user space: what no tracepoint tells of.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_probe_read_kernel as read_bytes};
use aya_ebpf::macros::{map, raw_tracepoint};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::RawTracePointContext;

use tracer_ebpf::BLOCK;

/// What was read last: 1 where there is such an address, and the word.
#[map]
static WORD: Array<[u64; 2]> = Array::with_max_entries(1, 0);

/// The block that was read last.
#[map]
static BYTES: Array<[u8; BLOCK]> = Array::with_max_entries(1, 0);

/// Never attached: user space runs it (`BPF_PROG_TEST_RUN`), with an address as its argument, 0 for where the task is
/// that runs it.
#[raw_tracepoint]
pub fn word(ctx: RawTracePointContext) -> i32 {
    let address: u64 = ctx.arg(0);
    let Some(slot) = WORD.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: helpers; the second checks the address itself.
    let read = unsafe {
        if address == 0 {
            Ok(bpf_get_current_task())
        } else {
            bpf_probe_read_kernel(address as *const u64)
        }
    };
    // SAFETY: a valid pointer to a value of the map.
    unsafe { *slot = read.map_or([0, 0], |word| [1, word]) };
    0
}

/// As [`word`], for up to [`BLOCK`] bytes at an address: the first argument is the address, the second how many.
#[raw_tracepoint]
pub fn block(ctx: RawTracePointContext) -> i32 {
    let address: u64 = ctx.arg(0);
    let length: u64 = ctx.arg(1);
    let (Some(slot), Some(bytes)) = (WORD.get_ptr_mut(0), BYTES.get_ptr_mut(0)) else {
        return 0;
    };
    let is_read = length <= BLOCK as u64
        // SAFETY: a helper, which checks the address itself; there is room for so many bytes.
        && unsafe { read_bytes(bytes.cast(), length as u32, address as *const _) } == 0;
    // SAFETY: a valid pointer to a value of the map.
    unsafe { *slot = [is_read.into(), 0] };
    0
}
