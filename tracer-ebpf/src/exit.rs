//! Processes that end. Who changes a node's network is often gone before it can be looked at: `ip route del` takes a
//! millisecond.

use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_ktime_get_boot_ns, bpf_probe_read_kernel_str,
};
use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_probe_read_kernel};
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::{LruHashMap, PerCpuArray};
use aya_ebpf::programs::BtfTracePointContext;
use tracer_ebpf::{ABSENT, CGROUP_NAME, ENDED as BOUND, Ended, EndedKey};

use crate::globals::{Kernel, load, offset};
use crate::packet::netns;

/// Who they were, for user space to ask. Overflow: none, the oldest make room; it is asked within milliseconds.
#[map]
static ENDED: LruHashMap<EndedKey, Ended> = LruHashMap::with_max_entries(BOUND, 0);

/// Where it is put together who a process was: more than the stack has room for. The kernel runs the program on a CPU
/// only when it does not run there already.
#[map]
static ENDING: PerCpuArray<Ended> = PerCpuArray::with_max_entries(1, 0);

/// The current process ends (`do_exit`), and still has its number, its files and namespaces.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn ended(ctx: BtfTracePointContext) -> i32 {
    let ids = bpf_get_current_pid_tgid();
    let (process, thread) = ((ids >> 32) as u32, ids as u32);
    if process != thread {
        return 0;
    }
    let task = ctx.arg::<Kernel>(0);
    // SAFETY: `task_struct.nsproxy`, `.real_parent`, `.group_leader` and what is behind them, see `load`.
    let (network, parent): (u32, Kernel) = unsafe {
        let nsproxy: Kernel = load(task, offset!(task_nsproxy));
        (
            netns(load(nsproxy, offset!(nsproxy_net))),
            // The parent is the thread that forked; the process is called as its first one.
            load(load(task, offset!(task_real_parent)), offset!(task_leader)),
        )
    };
    let own = own_number(task);
    let number = own.unwrap_or(process);
    // SAFETY: a valid pointer to this CPU's own value, which lives as long as the map.
    let Some(ended) = ENDING.get_ptr_mut(0).map(|ended| unsafe { &mut *ended }) else {
        return 0;
    };
    // SAFETY: helpers without conditions.
    unsafe {
        ended.at = bpf_ktime_get_boot_ns();
        ended.cgroup = bpf_get_current_cgroup_id();
    }
    ended.pid = process;
    ended.netns = network;
    ended.command = bpf_get_current_comm().unwrap_or([0; 16]);
    // SAFETY: `task_struct.tgid`, see `load`; any bytes are a name.
    unsafe {
        ended.parent = load(parent, offset!(task_tgid));
        ended.parent_command = read(parent as u64, offset!(task_comm)).unwrap_or([0; 16]);
    }
    ended.cgroup_parent = 0;
    ended.cgroup_name[0] = 0;
    name_cgroup(task, ended);
    remember(number, network, ended);
    if own.is_some() {
        remember(process, EndedKey::MACHINE, ended);
    }
    0
}

/// What the group (v2) of a process is called, and which one it is in.
#[inline(always)]
fn name_cgroup(task: Kernel, ended: &mut Ended) {
    if offset!(task_cgroups) == ABSENT {
        return;
    }
    // SAFETY: any bytes are addresses and an id.
    let name = unsafe {
        let follow = |address: u64, offset: u32| read::<u64>(address, offset).unwrap_or(0);
        let group = follow(
            follow(task as u64, offset!(task_cgroups)),
            offset!(cgroups_default),
        );
        let node = follow(group, offset!(cgroup_kn));
        if offset!(kn_parent) != ABSENT {
            ended.cgroup_parent = follow(follow(node, offset!(kn_parent)), offset!(kn_id));
        }
        follow(node, offset!(kn_name))
    };
    let room = &mut ended.cgroup_name;
    // SAFETY: a helper that checks the address itself, and writes no more than there is room for.
    let length =
        unsafe { bpf_probe_read_kernel_str(room.as_mut_ptr().cast(), CGROUP_NAME as u32, name as *const _) };
    // It tells by nothing else that it cut a name off than that there is no room left.
    if length < 0 || length >= CGROUP_NAME as i64 {
        room[0] = 0;
    }
}

/// What its own pid namespace calls it, where that is not the machine's: `struct upid numbers[level]` (include/linux/pid.h), a
/// number and the namespace. Linux 6.1 adds no variable to a pointer that it knows the type of, so all is read by addresses.
#[inline(always)]
fn own_number(task: Kernel) -> Option<u32> {
    let size = u64::from(offset!(upid_ns)) + size_of::<u64>() as u64;
    // SAFETY: any bytes are a number.
    unsafe {
        let pid: u64 = read(task as u64, offset!(task_thread_pid))?;
        let level: u32 = read(pid, offset!(pid_level))?;
        if level == 0 {
            return None;
        }
        read(pid + u64::from(level) * size, offset!(pid_numbers))
    }
}

/// Reads a `T` at `offset` bytes behind an address.
///
/// # Safety
///
/// Any bytes are a `T`.
#[inline(always)]
unsafe fn read<T>(address: u64, offset: u32) -> Option<T> {
    // SAFETY: a helper that checks the address itself.
    unsafe { bpf_probe_read_kernel((address + u64::from(offset)) as *const T) }.ok()
}

#[inline(always)]
fn remember(number: u32, netns: u32, ended: &mut Ended) {
    ended.other = 0;
    let key = EndedKey { number, netns };
    // SAFETY: a valid pointer to a value of the map. Another CPU may be writing it: two with the same number at the very same
    // time, of whom the last is told.
    if let Some(other) = ENDED.get_ptr(&key).map(|other| unsafe { &*other })
        && other.pid != ended.pid
    {
        ended.other = other.at;
    }
    // It fails only where another CPU has all that is free: then this one is not remembered, and said to be unknown.
    let _ = ENDED.insert(&key, &*ended, 0);
}
