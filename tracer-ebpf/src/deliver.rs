//! Packets reach a socket: matched, queued, read.

use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid};
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use tracer_ebpf::{
    Entry, FlowCount, FlowKey, LOOPBACK, SocketChange, datagrams, flag, kind, loss, origin, program, record,
};

use crate::books::{EVENTS, add, enter, last_arrival, lose, watched};
use crate::flows::{count_flow, counts, known, replace};
use crate::globals::{Kernel, config, load, offset};
use crate::packet::{Direction, Headers, Packet, TCP, UDP, is_icmp, netns};
use crate::socket::{Sock, is_half_closed, is_loopback, is_multicast, segments_in_at};

/// What is entered here arrived, and its socket was found.
pub const FOUND: u32 = flag::INCOMING | flag::SOCKET_FOUND;

/// TCP states (include/net/tcp_states.h).
const ESTABLISHED: u32 = 1;
const SYN_SENT: u32 = 2;
const SYN_RECV: u32 = 3;
const CLOSE: u32 = 7;
const LISTEN: u32 = 10;

/// `tcp_probe(sk, skb)`: at the top of `tcp_rcv_established`, for every segment of an established
/// connection. What came to the socket in other states is found by its count of segments.
#[btf_tracepoint(function = "tcp_probe")]
pub fn matched(ctx: BtfTracePointContext) -> i32 {
    let packet = Packet(ctx.arg::<Kernel>(1));
    let iif = packet.iif();
    let sock = Sock(ctx.arg::<Kernel>(0));
    let netns = sock.netns();
    if !watched(netns) {
        return 0;
    }
    if iif == LOOPBACK {
        pass_over(packet, sock, netns);
        return 0;
    }
    let seen = sock.segments_in();
    let counts = counts(&sock.flow(netns, TCP), origin::UNKNOWN);
    // Of a socket from before the start only this segment is ours to count.
    let mut packets = packet.weight(packet.length(packet.network()));
    match counts {
        Some(counts) => {
            if counts.segments != 0 {
                packets = growth(counts.segments - 1, seen);
            }
            counts.segments = seen + 1;
            if counts.iif <= LOOPBACK {
                // What arrived had another tuple, which was translated since.
                counts.iif = iif;
            }
            add(&mut counts.matched, packets);
        }
        None => lose(loss::FLOWS_FULL, packets),
    }
    if packets != 0 {
        enter_matched(program::MATCHED, netns, iif, packets);
    }
    0
}

/// A segment of this node's own reached a connection. Where the peer's address came to this node, that is one whose segments came by
/// a device until then: the kernel counts this one among them (`tcp_segs_in`), and the next look would enter it as arrived by that
/// device. What came by it before and is not entered yet is left to that look.
#[inline(always)]
fn pass_over(packet: Packet, sock: Sock, netns: u32) {
    // Nearly all that comes by the loopback device.
    if sock.is_loopback() {
        return;
    }
    if let Some(counts) = known(&sock.flow(netns, TCP)) {
        let before = segments(counts);
        if before != 0 {
            let own = packet.weight(packet.length(packet.network()));
            // Another CPU that looks meanwhile has entered this one as well.
            replace(&mut counts.segments, before, before.wrapping_add(own as u32));
        }
    }
}

/// A segment that opens a connection, or resets one, came by the loopback device: so nothing of that connection arrives, though
/// its socket counts what comes. Both ends are of this node, or a firewall leads to a proxy of this node what was to leave, or
/// refuses it in the peer's name (`nf_send_reset`, `nf_send_reset6`). `tcp_probe` tells of no such segment.
#[inline(never)]
pub fn comes_by_loopback(flow: &FlowKey, resets: bool) {
    // Where the table is full, the books say so when the socket is looked at.
    let Some(counts) = counts(flow, origin::UNKNOWN) else {
        return;
    };
    let before = segments(counts);
    if !resets || before == 0 {
        counts.iif = LOOPBACK;
    } else if counts.half_closed != 0 && counts.iif != LOOPBACK {
        // What came before it by a device, and is not entered yet, is left to the next look: as in `pass_over`.
        replace(&mut counts.segments, before, before.wrapping_add(1));
    }
}

/// Enters segments that reached the socket of a flow, if they arrived: see [`comes_by_loopback`].
#[inline(always)]
fn enter_new(program: u32, netns: u32, counts: &mut FlowCount, new: u64) {
    if new != 0 && counts.iif != LOOPBACK {
        add(&mut counts.matched, new);
        enter_matched(program, netns, counts.iif, new);
    }
}

#[inline(always)]
fn enter_matched(program: u32, netns: u32, iif: u32, packets: u64) {
    let entry = Entry::new(kind::MATCHED, netns, iif, 0, 0, TCP, FOUND, 0, 0);
    enter(program, &entry, packets, 0);
}

/// `inet_sock_set_state(sk, oldstate, newstate)`: a TCP socket opens, is established, closes. Catches up
/// with the segments that came to it in other states than established.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn state(ctx: BtfTracePointContext) -> i32 {
    let sock = Sock(ctx.arg::<Kernel>(0));
    let from = ctx.arg::<u32>(1);
    let to = ctx.arg::<u32>(2);
    if sock.protocol() != TCP {
        return 0;
    }
    let netns = sock.netns();
    if !watched(netns) {
        return 0;
    }
    let mut flow = sock.flow(netns, TCP);
    if flow.local_port == 0 {
        flow.local_port = sock.source_port();
    }
    let loopback = is_loopback(&flow);
    // A socket that begins to open a connection has no port yet (`tcp_v4_connect`).
    if !loopback && to != LISTEN && from != LISTEN && to != SYN_SENT {
        catch_up(sock, &flow, from, to);
    }
    if to != SYN_SENT && to != LISTEN && to != ESTABLISHED && to != CLOSE {
        return 0;
    }
    let Some(mut slot) = EVENTS.reserve::<SocketChange>(0) else {
        lose(loss::RING_FULL, 1);
        return 0;
    };
    let change = slot.as_mut_ptr();
    // A connection is opened, or a port listened on, by the process itself; other changes may come from
    // a packet, in whatever process it interrupts.
    let by_process = to == SYN_SENT || to == LISTEN;
    // SAFETY: `change` points to reserved memory of the size of a SocketChange; every member is written.
    unsafe {
        (*change).record = record::SOCKET;
        (*change).from = from;
        (*change).time = bpf_ktime_get_boot_ns();
        (*change).reserved = 0;
        sock.describe(flow, &mut (*change).socket);
        (*change).socket.state = to;
        if by_process {
            (*change).pid = (bpf_get_current_pid_tgid() >> 32) as u32;
            (*change).command = bpf_get_current_comm().unwrap_or([0; 16]);
        } else {
            (*change).pid = 0;
            (*change).command = [0; 16];
        }
    }
    slot.submit(0);
    0
}

/// Enters the segments that a socket has counted since it was last looked at. It is locked, which keeps nobody from a look
/// at it ([`look`]): what another CPU enters meanwhile is not entered again.
#[inline(always)]
fn catch_up(sock: Sock, flow: &FlowKey, from: u32, to: u32) {
    let Some(counts) = counts(flow, origin::UNKNOWN) else {
        let seen = sock.segments_in();
        let new = growth(entered(from, to, 0, seen), seen);
        lose(loss::FLOWS_FULL, if new == 0 { 1 } else { new });
        if new != 0 {
            enter_matched(program::STATE, flow.netns, 0, new);
        }
        return;
    };
    counts.half_closed = if is_half_closed(to) { sock.0 as u64 } else { 0 };
    // After the second time what is new waits for the next look. When the socket closes there is none, and who looks by then
    // does so for the last time.
    for _ in 0..2 {
        let before = segments(counts);
        let seen = sock.segments_in();
        let entered = entered(from, to, before, seen);
        let mut new = growth(entered, seen);
        let after = if to == CLOSE {
            0
        } else if new != 0 && counts.iif == 0 {
            // By which device they came is not known yet. A later look will enter them, the last one in any case.
            new = 0;
            entered + 1
        } else {
            seen + 1
        };
        if replace(&mut counts.segments, before, after) {
            enter_new(program::STATE, flow.netns, counts, new);
            if to == CLOSE && counts.iif == LOOPBACK {
                // The next connection with this tuple may go another way.
                counts.iif = 0;
            }
            return;
        }
    }
}

/// How many segments of a socket are in the books when its state changes; `segments` says what is known of that, see
/// [`FlowCount::segments`].
#[inline(always)]
fn entered(from: u32, to: u32, segments: u32, seen: u32) -> u32 {
    match from {
        SYN_SENT => 0,
        // An accepted connection has counted the SYN that was the listener's (`tcp_create_openreq_child`
        // begins with it), and that is entered as consumed.
        SYN_RECV if to == ESTABLISHED => 1,
        SYN_RECV => seen,
        // A socket from before the start, or one that the table has no room for: what came before now is not
        // ours to count, or not known.
        _ if segments == 0 => seen,
        _ => segments - 1,
    }
}

/// How far the books are, see [`FlowCount::segments`]: to be read before the socket is asked. Else what came and was entered
/// between the two would seem to be too much, and be entered once more.
#[inline(always)]
fn segments(counts: &FlowCount) -> u32 {
    // SAFETY: a valid, aligned u32. Volatile: the compiler must not read it later, nor twice.
    unsafe { (&raw const counts.segments).read_volatile() }
}

/// Takes note of a flow's TCP socket, if one end has closed its connection: `state` does not tell of it where that was before
/// the start.
#[inline(always)]
pub fn note(sock: Sock, counts: &mut FlowCount) {
    if is_half_closed(u32::from(sock.state())) && counts.half_closed == 0 {
        counts.half_closed = sock.0 as u64;
    }
}

/// Takes note of a flow's TCP socket and catches up with it, see [`note`] and [`look`]. For the most, which are open, only
/// their state is asked: it is at hand where the flow's count of segments is in a line of the cache that the CPU where its
/// packets arrive writes all the time.
#[inline(always)]
pub fn follow(program: u32, sock: Sock, netns: u32, counts: &mut FlowCount) {
    if is_half_closed(u32::from(sock.state())) {
        note(sock, counts);
        look(program, netns, 0, counts);
    }
}

/// The flow of the socket that sends a segment, where that may answer others that nobody has told of, see [`follow`]: under
/// the socket's tuple, which is not that of the segment's headers where that was translated: where a service's address is, or
/// a tunnel leaves the socket of what it carries on the buffer. A reset is sent by a raw socket, that has no such state.
///
/// `socket` is the one on the buffer, null for none.
#[inline(always)]
pub fn answering(socket: Kernel, netns: u32) -> Option<FlowKey> {
    if socket.is_null() {
        return None;
    }
    let sock = Sock(socket);
    // Before anything else of it is read: what is in such a state is a full socket.
    if !sock.is_ip() || !is_half_closed(u32::from(sock.state())) {
        return None;
    }
    if sock.protocol() != TCP || sock.netns() != netns {
        return None;
    }
    let own = sock.flow(netns, TCP);
    (!is_loopback(&own)).then_some(own)
}

/// Catches up with the TCP socket of a flow, if one end has closed its connection: then its segments pass
/// `tcp_rcv_state_process`, and nothing tells of each. Of a socket from before the start only `packets` are ours to count.
/// `program` is the caller's own.
#[inline(always)]
pub fn look(program: u32, netns: u32, packets: u64, counts: &mut FlowCount) {
    // By which device they came may not be known.
    if counts.half_closed == 0 || counts.iif == 0 {
        return;
    }
    let before = segments(counts);
    let seen = segments_in_at(counts.half_closed);
    let new = if before == 0 {
        packets
    } else {
        growth(before - 1, seen)
    };
    // What is sent waits in a queue, and may leave without the socket's lock while another CPU looks as well: one of them
    // enters what is new, and what only the other has seen is entered by the next look.
    if replace(&mut counts.segments, before, seen + 1) {
        enter_new(program, netns, counts, new);
    }
}

/// New segments at most that are believed of one look. A look comes with each answer and each reading: between two of
/// them the largest window, of 1 GiB, has no more than this of 64 bytes each.
const MOST_NEW: u32 = 1 << 24;

/// By how much a socket's count of segments grew. One that fell, or grew beyond all reason, is another socket's, at the
/// same address.
#[inline(always)]
fn growth(before: u32, now: u32) -> u64 {
    let new = now.wrapping_sub(before);
    if new > MOST_NEW { 0 } else { u64::from(new) }
}

/// `sk_data_ready(sk)`: data was put in a socket's receive queue. For UDP and ICMP once a datagram, which is
/// entered here where [`crate::functions`] does not.
#[btf_tracepoint(function = "sk_data_ready")]
pub fn queued(ctx: BtfTracePointContext) -> i32 {
    let sock = Sock(ctx.arg::<Kernel>(0));
    if !sock.is_ip() {
        return 0;
    }
    let protocol = sock.protocol();
    let icmp = is_icmp(protocol);
    if protocol != TCP && protocol != UDP && !icmp {
        return 0;
    }
    if sock.is_raw() && !icmp {
        return 0;
    }
    let netns = sock.netns();
    if !watched(netns) {
        return 0;
    }
    let own = sock.flow(netns, protocol);
    if protocol == TCP {
        if !is_loopback(&own) {
            count_flow(&own, origin::UNKNOWN, 1, |count| {
                // A listener is told of each connection under the lock of that one (`tcp_child_process`): CPUs may be at once.
                add(&mut count.queued, 1);
                follow(program::QUEUED, sock, netns, count);
            });
        }
        return 0;
    }
    if config!(datagrams) == datagrams::WHEN_READY {
        datagram_queued(own, icmp);
    }
    0
}

/// An echo reply that arrived last on this CPU is forwarded: no socket of this node gets it.
#[inline(always)]
pub fn reply_forwarded() {
    if let Some(last) = last_arrival() {
        last.ended = 1;
        take(&mut last.replies);
    }
}

/// Takes one away. False where none is left.
#[inline(always)]
fn take(left: &mut u32) -> bool {
    if *left == 0 {
        return false;
    }
    *left -= 1;
    true
}

/// A datagram was put in the queue of a socket with the tuple `own`. The tracepoint does not hand it over,
/// but it is the one that arrived last on this CPU, if that was for this socket. Where it was not, since
/// others came in the same list, the device is not known: the ledger has it all the same.
#[inline(always)]
fn datagram_queued(own: FlowKey, icmp: bool) {
    let Some(last) = last_arrival() else {
        return;
    };
    last.ended = 1;
    let mut flow = own;
    let mut iif = 0;
    let mut copy = false;
    if last.flow.protocol == own.protocol
        && last.flow.netns == own.netns
        && (icmp || last.flow.local_port == own.local_port)
    {
        iif = last.iif;
        flow = last.flow;
        if !icmp && is_multicast(&flow) {
            copy = !take(&mut last.groups);
        }
    } else if icmp {
        // A raw socket has its protocol for a port.
        flow.local_port = 0;
    }
    if icmp {
        // Every raw socket gets a copy of every message.
        copy = !take(&mut last.replies);
    }
    if iif == LOOPBACK {
        // One line for all of a port's peers on this node: they balance its queue, no more.
        flow = FlowKey::new(
            [0; 2],
            [0; 2],
            flow.netns,
            flow.local_port,
            0,
            flow.protocol as u8,
        );
    }
    if !copy {
        let entry = Entry::new(
            kind::QUEUED,
            flow.netns,
            iif,
            0,
            0,
            flow.protocol as u8,
            FOUND,
            0,
            0,
        );
        enter(program::QUEUED, &entry, 1, 0);
    }
    count_flow(&flow, origin::UNKNOWN, 1, |count| add(&mut count.queued, 1));
}

/// `skb_copy_datagram_iovec(skb, len)`: a process reads a TCP buffer, or an ICMP message from a raw or
/// ping socket. Linear UDP datagrams do not come by here (`copy_linear_skb`): see [`received`].
#[btf_tracepoint(function = "skb_copy_datagram_iovec")]
pub fn read(ctx: BtfTracePointContext) -> i32 {
    let packet = Packet(ctx.arg::<Kernel>(0));
    let owner = packet.socket();
    if owner.is_null() {
        return 0;
    }
    let sock = Sock(owner);
    if !sock.is_ip() {
        // A packet tap.
        return 0;
    }
    let protocol = sock.protocol();
    if protocol == TCP {
        read_stream(sock, u64::from(ctx.arg::<u32>(1)));
        return 0;
    }
    // A peeked message stays in the queue, which holds a reference to it.
    if is_icmp(protocol) && packet.users() == 1 {
        count_read(program::READ, packet, sock.netns());
    }
    0
}

const MSG_PEEK: u32 = 0x2;
const MSG_ERRQUEUE: u32 = 0x2000;

/// `sock_recv_length(sk, ret, flags)`, since 6.3: a process has received. Counts the datagrams that leave
/// a UDP socket's queue, under the socket's own tuple.
#[btf_tracepoint(function = "sock_recv_length")]
pub fn received(ctx: BtfTracePointContext) -> i32 {
    let sock = Sock(ctx.arg::<Kernel>(0));
    if !sock.is_ip() || sock.protocol() != UDP || sock.is_raw() {
        return 0;
    }
    let result = ctx.arg::<i32>(1);
    if result < 0 || ctx.arg::<u32>(2) & (MSG_PEEK | MSG_ERRQUEUE) != 0 {
        return 0;
    }
    let netns = sock.netns();
    if !watched(netns) {
        return 0;
    }
    count_flow(&sock.flow(netns, UDP), origin::UNKNOWN, 1, |count| {
        add(&mut count.read, 1);
        add(&mut count.read_bytes, result as u64);
    });
    0
}

/// A process has read a UDP datagram, and the kernel frees it.
#[inline(always)]
pub fn datagram_read(packet: Packet) {
    count_read(program::CONSUMED, packet, current_netns());
}

#[inline(always)]
fn count_read(program: u32, packet: Packet, netns: u32) {
    if !watched(netns) {
        return;
    }
    let iif = packet.iif();
    let ethertype = packet.ethertype();
    let network = packet.network();
    let headers = Headers::read(network, ethertype, Direction::In);
    let flow = if iif == LOOPBACK {
        headers.port(netns)
    } else {
        headers.flow(netns)
    };
    let length = packet.length(network);
    let packets = packet.weight(length);
    let bytes = u64::from(length);
    let entry = Entry::new(
        kind::READ,
        netns,
        iif,
        0,
        ethertype,
        headers.protocol,
        FOUND,
        0,
        0,
    );
    if config!(datagrams) == datagrams::WHEN_READ && !headers.is_for_kernel {
        enter(program, &entry, packets, bytes);
    }
    if headers.countable {
        count_flow(&flow, origin::UNKNOWN, packets, |count| {
            add(&mut count.read, packets);
            add(&mut count.read_bytes, bytes);
        });
    }
}

#[inline(always)]
fn read_stream(sock: Sock, bytes: u64) {
    let netns = sock.netns();
    if !watched(netns) {
        return;
    }
    let own = sock.flow(netns, TCP);
    if is_loopback(&own) {
        return;
    }
    count_flow(&own, origin::UNKNOWN, 1, |count| {
        // The error queue is read without the socket's lock (`sock_recv_errqueue`).
        add(&mut count.read, 1);
        add(&mut count.read_bytes, bytes);
        follow(program::READ, sock, netns, count);
    });
}

/// Namespace of the process that reads. A datagram in a receive queue has lost its device and has no
/// socket; a process that reads a socket of another namespace than its own is rare.
#[inline(always)]
fn current_netns() -> u32 {
    // SAFETY: a helper without arguments; `task_struct.nsproxy` and `nsproxy.net_ns`, see `load`.
    unsafe {
        let task = aya_ebpf::helpers::generated::bpf_get_current_task_btf() as Kernel;
        let proxy: Kernel = load(task, offset!(task_nsproxy));
        if proxy.is_null() {
            return 0;
        }
        netns(load(proxy, offset!(nsproxy_net)))
    }
}
