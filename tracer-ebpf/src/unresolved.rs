//! Packets wait until a neighbour's link-layer address is known, in the neighbour's `arp_queue`.
//!
//! `__neigh_event_send` (net/core/neighbour.c) puts them in, and drops the oldest where there is no room. All leave
//! together: `neigh_invalidate` drops them, `__neigh_update` sends them.
//!
//! This is followed from before packets are counted: user space looks there just before for what has arrived and waits.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::BtfTracePointContext;
use tracer_ebpf::{UNRESOLVED as BOUND, Unresolved, loss};

use crate::books::{add, is_ours, lose};
use crate::flows::take;
use crate::globals::{Kernel, ended, load, offset};
use crate::packet::{Device, Packet, mapped};

/// Neighbours for which packets wait, by their address in the kernel. Overflow: [`loss::UNRESOLVED_FULL`].
#[map]
static UNRESOLVED: HashMap<u64, Unresolved> = HashMap::with_max_entries(BOUND, 0);

const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;

/// `neigh_event_send_done(neigh, rc)`: with `rc` 1 a packet was put in the queue, or the neighbour is asked for
/// without one. The newest packet is the last of the queue.
///
/// The queue's lock is given up already. What another CPU puts in at the same moment may be taken for this packet:
/// then one of both is not told.
#[btf_tracepoint(function = "neigh_event_send_done")]
pub fn unresolved(ctx: BtfTracePointContext) -> i32 {
    let neighbour = Neighbour(ctx.arg::<Kernel>(0));
    let waits: i32 = ctx.arg(1);
    let length = neighbour.waiting();
    if waits != 1 || length == 0 {
        return 0;
    }
    let device = neighbour.device();
    let netns = device.netns();
    if ended() || !is_ours(netns) {
        return 0;
    }
    let key = neighbour.0 as u64;
    let newest = neighbour.newest();
    let iif = newest.iif();
    if length == 1 {
        // It is alone: what was put in before has left.
        let _ = UNRESOLVED.remove(&key);
    }
    let network = newest.network();
    let packets = newest.weight(newest.length(network));
    if UNRESOLVED.get_ptr(&key).is_none() {
        if iif == 0 {
            // Counting begins with the first packet that had arrived.
            return 0;
        }
        let Some(address) = neighbour.address() else {
            return 0;
        };
        let none = Unresolved::new(address, netns, device.index());
        // Another CPU may be first: then the key exists, and the insertion is refused.
        let _ = UNRESOLVED.insert(&key, none, u64::from(BPF_NOEXIST));
    }
    let Some(queue) = UNRESOLVED.get_ptr_mut(&key) else {
        lose(loss::UNRESOLVED_FULL, packets);
        return 0;
    };
    // SAFETY: a valid pointer to a value of the map, to which others may be adding as well.
    let queue = unsafe { &mut *queue };
    queue.length = u64::from(length);
    if queue.newest == newest.0 as u64 {
        return 0;
    }
    queue.newest = newest.0 as u64;
    add(&mut queue.entered, 1);
    if iif == 0 {
        return 0;
    }
    for device in &mut queue.arrived {
        let before = take(&mut device.iif, u64::from(iif));
        if before == 0 || before == u64::from(iif) {
            add(&mut device.packets, packets);
            return 0;
        }
    }
    lose(loss::UNRESOLVED_FULL, packets);
    0
}

/// `neigh_update_done(neigh, err)`: somebody told its address, or that there is none.
#[btf_tracepoint(function = "neigh_update_done")]
pub fn resolved(ctx: BtfTracePointContext) -> i32 {
    left(Neighbour(ctx.arg(0)))
}

/// `neigh_timer_handler(neigh, err)`: it was asked for once more, or in vain.
#[btf_tracepoint(function = "neigh_timer_handler")]
pub fn asked_in_vain(ctx: BtfTracePointContext) -> i32 {
    left(Neighbour(ctx.arg(0)))
}

/// `neigh_cleanup_and_release(neigh, err)`: the kernel forgets it, with all that still waits.
#[btf_tracepoint(function = "neigh_cleanup_and_release")]
pub fn forgotten(ctx: BtfTracePointContext) -> i32 {
    forget(Neighbour(ctx.arg(0)))
}

/// Forgets a queue that is empty.
#[inline(always)]
fn left(neighbour: Neighbour) -> i32 {
    if neighbour.waiting() == 0 {
        forget(neighbour);
    }
    0
}

#[inline(always)]
fn forget(neighbour: Neighbour) -> i32 {
    if !ended() {
        let _ = UNRESOLVED.remove(&(neighbour.0 as u64));
    }
    0
}

/// A `neighbour` that a tracepoint handed over.
#[derive(Clone, Copy)]
struct Neighbour(Kernel);

impl Neighbour {
    /// Buffers that wait.
    #[inline(always)]
    fn waiting(self) -> u32 {
        // SAFETY: `neighbour.arp_queue.qlen`, see `load`.
        unsafe { load(self.0, offset!(neigh_waiting)) }
    }

    /// The buffer that was put in last. Where none waits, the queue itself.
    #[inline(always)]
    fn newest(self) -> Packet {
        // SAFETY: `neighbour.arp_queue.prev`, see `load`.
        Packet(unsafe { load(self.0, offset!(neigh_newest)) })
    }

    /// The device that it is at.
    #[inline(always)]
    fn device(self) -> Device {
        // SAFETY: `neighbour.dev`, see `load`.
        Device(unsafe { load(self.0, offset!(neigh_dev)) })
    }

    /// Its address as two words in memory order, where it is one of IP.
    #[inline(always)]
    fn address(self) -> Option<[u64; 2]> {
        // SAFETY: `neighbour.tbl`, see `load`.
        let table: Kernel = unsafe { load(self.0, offset!(neigh_tbl)) };
        // SAFETY: `neigh_table.family`, see `load`.
        let family: u32 = unsafe { load(table, offset!(neigh_family)) };
        // `neighbour.primary_key` has no size of its own.
        let at = self.0 as u64 + u64::from(offset!(neigh_key));
        match family {
            // SAFETY: a helper that checks the address itself.
            AF_INET => unsafe { bpf_probe_read_kernel(at as *const u32) }
                .ok()
                .map(|address| mapped(u64::from(address))),
            // SAFETY: the same.
            AF_INET6 => unsafe { bpf_probe_read_kernel(at as *const [u64; 2]) }.ok(),
            _ => None,
        }
    }
}
