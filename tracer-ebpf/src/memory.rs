//! Words of the kernel's memory for user space: what stood before any tracepoint told of it.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::helpers::generated::bpf_get_current_task;
use aya_ebpf::macros::{map, raw_tracepoint};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::RawTracePointContext;

/// What was read last: 1 where there is such an address, and the word.
#[map]
static WORD: Array<[u64; 2]> = Array::with_max_entries(1, 0);

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
