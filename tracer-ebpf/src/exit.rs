//! Processes that end. Who changes a node's network is often gone before it can be looked at: `ip route del` takes a
//! millisecond.

use aya_ebpf::helpers::generated::{bpf_get_current_cgroup_id, bpf_ktime_get_boot_ns};
use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_probe_read_kernel};
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::BtfTracePointContext;
use tracer_ebpf::{ENDED as BOUND, Ended, EndedKey};

use crate::globals::{Kernel, load, offset};
use crate::packet::netns;

/// Who they were, for user space to ask. Overflow: none, the oldest make room; it is asked within milliseconds.
#[map]
static ENDED: LruHashMap<EndedKey, Ended> = LruHashMap::with_max_entries(BOUND, 0);

/// The current process ends (`do_exit`), and still has its number, its files and namespaces.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn ended(ctx: BtfTracePointContext) -> i32 {
    let ids = bpf_get_current_pid_tgid();
    let (process, thread) = ((ids >> 32) as u32, ids as u32);
    if process != thread {
        return 0;
    }
    let task = ctx.arg::<Kernel>(0);
    // SAFETY: `task_struct.thread_pid`, `.nsproxy`, `.real_parent`, `.group_leader` and what is behind them, see `load`.
    let (numbers, level, network, parent): (u64, u32, u32, Kernel) = unsafe {
        let nsproxy: Kernel = load(task, offset!(task_nsproxy));
        let pid: Kernel = load(task, offset!(task_thread_pid));
        (
            pid as u64 + u64::from(offset!(pid_numbers)),
            load(pid, offset!(pid_level)),
            netns(load(nsproxy, offset!(nsproxy_net))),
            // The parent is the thread that forked; the process is called as its first one.
            load(load(task, offset!(task_real_parent)), offset!(task_leader)),
        )
    };
    let number = if level == 0 {
        process
    } else {
        own_number(numbers, level)
    };
    let name = parent as u64 + u64::from(offset!(task_comm));
    let ended = Ended {
        // SAFETY: helpers without conditions.
        at: unsafe { bpf_ktime_get_boot_ns() },
        other: 0,
        // SAFETY: as above.
        cgroup: unsafe { bpf_get_current_cgroup_id() },
        pid: process,
        netns: network,
        // SAFETY: `task_struct.tgid`, see `load`.
        parent: unsafe { load(parent, offset!(task_tgid)) },
        reserved: 0,
        command: bpf_get_current_comm().unwrap_or([0; 16]),
        // SAFETY: a helper that checks the address itself.
        parent_command: unsafe { bpf_probe_read_kernel(name as *const [u8; 16]) }.unwrap_or([0; 16]),
    };
    remember(number, network, ended);
    if level != 0 {
        remember(process, EndedKey::MACHINE, ended);
    }
    0
}

/// What its own pid namespace calls it: `struct upid numbers[level]` (include/linux/pid.h), a number and the namespace.
#[inline(always)]
fn own_number(numbers: u64, level: u32) -> u32 {
    let size = u64::from(offset!(upid_ns)) + size_of::<u64>() as u64;
    let own = numbers + u64::from(level) * size;
    // SAFETY: a helper that checks the address itself.
    unsafe { bpf_probe_read_kernel(own as *const u32) }.unwrap_or(0)
}

#[inline(always)]
fn remember(number: u32, netns: u32, mut ended: Ended) {
    let key = EndedKey { number, netns };
    // SAFETY: a valid pointer to a value of the map. Another CPU may be writing it: two with the same number at the very same
    // time, of whom the last is told.
    if let Some(other) = ENDED.get_ptr(&key).map(|other| unsafe { &*other })
        && other.pid != ended.pid
    {
        ended.other = other.at;
    }
    // It fails only where another CPU has all that is free: then this one is not remembered, and said to be unknown.
    let _ = ENDED.insert(&key, &ended, 0);
}
