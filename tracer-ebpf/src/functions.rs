//! Datagrams and ICMP messages are put in a receive queue, as the kernel's functions that do so see it: they are
//! handed both the socket and the packet. Where they can be observed, `queued` enters neither.
//!
//! What is to be known of a packet is read at the function's entry. At its return a process may have read the
//! packet on another CPU, and its memory be another's. Both are on one CPU with nothing of the kind between
//! them: what arrives is delivered in a softirq, which no other interrupts.

use aya_ebpf::macros::{fentry, fexit, map};
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::{FEntryContext, FExitContext};
use tracer_ebpf::{Entry, FlowKey, LOOPBACK, kind, origin, program};

use crate::books::{add, enter, last_arrival, watched};
use crate::deliver::FOUND;
use crate::flows::count_flow;
use crate::globals::{Kernel, config};
use crate::packet::{Direction, Headers, Packet, UDP, is_icmp};
use crate::socket::{Sock, is_multicast};

/// A packet on its way into a queue.
struct Coming {
    /// Its address, 0 for none.
    packet: u64,
    /// Address of its memory.
    memory: u64,
    /// The line in the books.
    entry: Entry,
    /// Its flow, or the port.
    flow: FlowKey,
    /// What it weighs in the books.
    packets: u64,
    /// Bytes from the network header on.
    bytes: u64,
    /// What it weighs in its flow's queue; 0 where its being read is not told either.
    queued: u64,
    /// Who else gets it.
    others: Others,
}

/// Who gets a packet beside one socket.
#[derive(Clone, Copy, PartialEq)]
enum Others {
    /// Nobody.
    None,
    /// Perhaps other sockets.
    Sockets,
    /// The kernel, which uses it up: sockets get copies.
    Kernel,
}

/// What is on its way on each CPU.
#[map]
static COMING: PerCpuArray<Coming> = PerCpuArray::with_max_entries(1, 0);

/// `__udp_enqueue_schedule_skb(sk, skb)` is called (net/ipv4/udp.c).
#[fentry(function = "__udp_enqueue_schedule_skb")]
pub fn udp_enqueue(ctx: FEntryContext) -> i32 {
    comes(Sock(ctx.arg::<Kernel>(0)), Packet(ctx.arg::<Kernel>(1)));
    0
}

/// `__udp_enqueue_schedule_skb` returns: 0 where the datagram was queued, since 6.18 also where it was dropped: see
/// [`dropped`].
#[fexit(function = "__udp_enqueue_schedule_skb")]
pub fn udp_enqueued(ctx: FExitContext) -> i32 {
    came(
        program::UDP_ENQUEUED,
        ctx.arg::<Kernel>(1),
        ctx.ret::<i32>() == Ok(0),
    );
    0
}

/// `sock_queue_rcv_skb_reason(sk, skb)` is called (net/core/sock.c): among others for raw and ping sockets.
#[fentry(function = "sock_queue_rcv_skb_reason")]
pub fn icmp_enqueue(ctx: FEntryContext) -> i32 {
    comes(Sock(ctx.arg::<Kernel>(0)), Packet(ctx.arg::<Kernel>(1)));
    0
}

/// `sock_queue_rcv_skb_reason` returns an error, in newer kernels a reason for a drop: either is 0 where the
/// message was queued.
#[fexit(function = "sock_queue_rcv_skb_reason")]
pub fn icmp_enqueued(ctx: FExitContext) -> i32 {
    came(
        program::ICMP_ENQUEUED,
        ctx.arg::<Kernel>(1),
        ctx.ret::<i32>() == Ok(0),
    );
    0
}

/// A datagram is dropped. Since 6.18 `__udp_enqueue_schedule_skb` does so itself, where protocol memory is used up, and
/// returns 0. One that another CPU had left it to put in the queue has been entered already.
#[inline(always)]
pub fn dropped(packet: Packet) {
    let _ = taken(packet.0);
}

/// What was on its way, if it was this packet: it is no longer.
#[inline(always)]
fn taken(packet: Kernel) -> Option<&'static Coming> {
    // SAFETY: a valid pointer to this CPU's own value; see the module.
    let coming = unsafe { &mut *COMING.get_ptr_mut(0)? };
    if coming.packet != packet as u64 {
        return None;
    }
    coming.packet = 0;
    Some(coming)
}

/// A packet comes to a socket's queue.
#[inline(always)]
fn comes(sock: Sock, packet: Packet) {
    if !sock.is_ip() {
        return;
    }
    let protocol = sock.protocol();
    let icmp = is_icmp(protocol);
    if !icmp && (protocol != UDP || sock.is_raw()) {
        return;
    }
    let netns = sock.netns();
    if !watched(netns) {
        return;
    }
    let Some(coming) = COMING.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: a valid pointer to this CPU's own value; see the module.
    let coming = unsafe { &mut *coming };
    let iif = packet.iif();
    let network = packet.network();
    let headers = Headers::read(network, packet.ethertype(), Direction::In);
    let length = packet.length(network);
    let flow = headers.flow(netns);
    coming.packet = packet.0 as u64;
    coming.memory = packet.memory();
    coming.entry = Entry::new(kind::QUEUED, netns, iif, 0, 0, protocol, FOUND, 0, 0);
    coming.packets = packet.weight(length);
    coming.bytes = u64::from(length);
    coming.others = if icmp && headers.is_for_kernel {
        Others::Kernel
    } else if icmp || is_multicast(&flow) {
        Others::Sockets
    } else {
        Others::None
    };
    // What a queue holds is told right if its packets go in as they come out: of themselves, where their being
    // read tells that (`count_read`), else under their socket's port and one by one (`received`).
    let of_itself = icmp || config!(count_reads) != 0;
    coming.queued = match (of_itself, headers.countable) {
        (true, true) => coming.packets,
        (true, false) => 0,
        (false, _) => 1,
    };
    coming.flow = if !of_itself && !(headers.countable && headers.local_port == sock.local_port()) {
        sock.flow(netns, protocol)
    } else if iif == LOOPBACK {
        // One line for all of a port's peers on this node: they balance its queue, no more.
        headers.port(netns)
    } else {
        flow
    };
}

/// The packet is in the queue, or was refused. One that was refused is forgotten too: the next packet may have its
/// address, and be none that [`comes`] looks at, such as another namespace's.
#[inline(always)]
fn came(program: u32, packet: Kernel, queued: bool) {
    let Some(coming) = taken(packet).filter(|_| queued) else {
        return;
    };
    if is_first(coming) {
        enter(program, &coming.entry, coming.packets, coming.bytes);
    }
    if coming.queued != 0 {
        let queued = coming.queued;
        count_flow(&coming.flow, origin::UNKNOWN, coming.packets, |count| {
            add(&mut count.queued, queued);
        });
    }
}

/// Whether what was queued is the packet that arrived, or the first of its copies. Copies share the packet's
/// memory, and are queued before another packet that may have copies arrives on this CPU.
#[inline(always)]
fn is_first(coming: &Coming) -> bool {
    match coming.others {
        Others::None => true,
        Others::Kernel => false,
        Others::Sockets => {
            let Some(last) = last_arrival() else {
                return true;
            };
            let first = last.queued != coming.memory;
            last.queued = coming.memory;
            first
        }
    }
}
