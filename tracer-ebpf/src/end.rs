//! Packets end: the kernel drops them, or uses them up itself.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_get_stack;
use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::BtfTracePointContext;
use aya_log_ebpf::{debug, warn};
use tracer_ebpf::{
    Entry, Example, FlowKey, Place, REASON_TAKEN, STACK_DEPTH, Socket, datagrams, flag, kind, loss, origin,
    program, record, sort,
};

use crate::books::{self, Budget, EVENTS, add, enter, last_arrival, lose, spend, watched};
use crate::deliver::{answering, datagram_read, follow, look, note};
use crate::flows::{count_flow, known};
use crate::fragments;
use crate::functions;
use crate::globals::{Kernel, config, offset};
use crate::neighbour::icmp6_arrived;
use crate::packet::{Device, Direction, Headers, ICMP6, Packet, TCP, UDP, copy, is_icmp};
use crate::socket::{LISTEN, Sock, is_multicast};

/// `kfree_skb(skb, location, reason, rx_sk)`: a packet is dropped. Older kernels have no `rx_sk`
/// (before 6.11) or no `reason` (before 5.17); user space says which.
#[btf_tracepoint(function = "kfree_skb")]
pub fn drop(ctx: BtfTracePointContext) -> i32 {
    let location: u64 = ctx.arg::<*const u8>(1) as u64;
    let reason: u32 = if offset!(kfree_has_reason) != 0 {
        ctx.arg::<u32>(2)
    } else {
        0
    };
    let receiver: Kernel = if offset!(kfree_has_socket) != 0 {
        ctx.arg::<Kernel>(3)
    } else {
        core::ptr::null()
    };
    let packet = Packet(ctx.arg::<Kernel>(0));
    let Some((end, socket)) = End::of(program::DROP, packet, receiver, location) else {
        return 0;
    };
    if !watched(end.netns) || (end.netns == 0 && is_foreign(end)) {
        return 0;
    }
    if end.headers.protocol == UDP && config!(datagrams) == datagrams::WHEN_QUEUED {
        functions::dropped(packet);
    }
    let entry = end.entry(kind::DROPPED, location, reason);
    let line = enter(program::DROP, &entry, end.packets, u64::from(end.length));
    let flow = end.headers.flow(end.netns);
    // What is counted of a drop, or is to be looked at, is so at one place: each costs the verifier much.
    let (counted, began) = if end.incoming {
        let its = end.headers.countable.then_some(flow);
        (its, end.headers.origin(Direction::In))
    } else if end.headers.protocol == TCP {
        (answering(socket, end.netns), origin::UNKNOWN)
    } else {
        (None, origin::UNKNOWN)
    };
    if let Some(counted) = counted {
        let packets = end.packets;
        count_flow(&counted, began, packets, |count| {
            if !end.incoming {
                if !socket.is_null() {
                    follow(program::DROP, Sock(socket), end.netns, count);
                }
                return;
            }
            if end.iif == 0 {
                // Nobody will say that it arrived.
                add(&mut count.arrived, packets);
                add(&mut count.arrived_bytes, u64::from(end.length));
                count.iif = end.dev;
            }
            add(&mut count.dropped, packets);
            count.drop_location = location;
            count.drop_reason = reason;
            if end.flags & flag::MATCHED != 0 {
                if !socket.is_null() {
                    note(Sock(socket), count);
                }
                look(program::DROP, end.netns, packets, count);
            }
        });
    }
    if end.incoming && end.headers.countable {
        let icmp = is_icmp(end.headers.protocol);
        if (icmp || is_multicast(&flow))
            && let Some(last) = last_arrival()
        {
            last.ended = 1;
        }
    }
    if end.is_no_packet() {
        // It is counted, and nobody is told of one: a change of a firewall frees thousands at once.
        return 0;
    }
    let budget = spend(
        &Place {
            location,
            reason,
            reserved: 0,
        },
        line,
    );
    if budget != Budget::Refused {
        let first = budget == Budget::First;
        send_example(&ctx, packet, end, socket, &entry, &flow);
        if first && config!(verbose) != 0 {
            debug!(&ctx, "first drop with reason number {} at {:x}", reason, location);
        }
    }
    0
}

/// A packet of another namespace than the one that is watched, thrown away with the queue of a socket or the fragments
/// of a datagram. Nothing in the buffer tells its namespace any more, but that has counted its flow when it arrived, or
/// keeps it as a fragment.
#[inline(always)]
fn is_foreign(end: &End) -> bool {
    let only = config!(netns);
    if only == 0 || end.iif == 0 {
        return false;
    }
    if end.headers.countable {
        known(&end.headers.flow(only)).is_none()
    } else {
        fragments::is_foreign(&end.headers)
    }
}

/// `consume_skb(skb, location)`: a packet has done its work. Entered are packets that arrived and that
/// the kernel used up itself. What was sent, and what a process has read, ends here as well. Before 6.3
/// there is no location; there each datagram that is read comes by (`skb_consume_udp`), once, however
/// often it was peeked. What was consumed before a protocol had it is entered with its place: user space
/// says whether it was taken.
#[btf_tracepoint(function = "consume_skb")]
pub fn consumed(ctx: BtfTracePointContext) -> i32 {
    let packet = Packet(ctx.arg::<Kernel>(0));
    let Some(slot) = ENDS.get_ptr_mut(program::CONSUMED) else {
        return 0;
    };
    // SAFETY: a valid pointer to this CPU's own value.
    let word = packet.device_word(unsafe { &raw mut (*slot).2 });
    // What a process has read ends on the CPU of that process. So as little of the buffer as can be is looked at here:
    // each line of the cache that nobody else needs has to come from the CPU where the packet arrived.
    if word == 0 {
        if packet.socket().is_null() && packet.has_no_route() {
            // A TCP segment whose data was read long after it was matched. Nothing tells its namespace.
            return 0;
        }
    } else if !is_kernel_address(word) {
        if config!(count_reads) != 0 && packet.iif() != 0 {
            datagram_read(packet);
        }
        return 0;
    }
    if packet.iif() == 0 {
        return 0;
    }
    let device = packet.device();
    if !device.0.is_null() && device.index() != packet.iif() {
        // Forwarded, and now sent.
        return 0;
    }
    let location = if offset!(consume_has_location) != 0 {
        ctx.arg::<*const u8>(1) as u64
    } else {
        0
    };
    let Some((end, _)) = End::of(program::CONSUMED, packet, core::ptr::null(), location) else {
        return 0;
    };
    if end.netns == 0 || !watched(end.netns) {
        return 0;
    }
    // A protocol of this node is handed what follows the network header. Where the data still begins at that,
    // the packet was taken (tc), or is on its way through: a clone that asks for a neighbour (`neigh_probe`), or
    // one that a driver has sent by the device it came by. Its place tells which.
    if end.headers.protocol != 0 && packet.data() <= end.network {
        if location == 0 {
            return 0;
        }
        if end.headers.countable && books::sort(location) == sort::TAKEN {
            let flow = end.headers.flow(end.netns);
            let packets = end.packets;
            count_flow(&flow, end.headers.origin(Direction::In), packets, |count| {
                add(&mut count.dropped, packets);
                count.drop_location = location;
                count.drop_reason = REASON_TAKEN;
            });
        }
    } else if !is_own(&end.headers, packet) {
        return 0;
    } else if end.headers.protocol == ICMP6 {
        icmp6_arrived(end.network, end.netns, end.iif);
    }
    enter(
        program::CONSUMED,
        &end.entry(kind::CONSUMED, location, 0),
        end.packets,
        u64::from(end.length),
    );
    0
}

/// Whether what stands where a packet's device is can be the address of one. While it lies in the receive queue of a
/// UDP socket, and when it has just been taken from it, `struct udp_dev_scratch` stands there (net/ipv4/udp.c). Its last
/// byte is a bool, which no kernel pointer ends in.
#[inline(always)]
fn is_kernel_address(word: u64) -> bool {
    word >> 56 == 0xff
}

/// The kernel itself uses the packet up that it has handed to a protocol. Not what raw and ping sockets are for,
/// see `read`: their own copies, which a process has read, and an echo reply, of which `ping_rcv` gave a clone
/// away; nor a datagram.
#[inline(always)]
fn is_own(headers: &Headers, packet: Packet) -> bool {
    let icmp = is_icmp(headers.protocol);
    headers.protocol != UDP && !(icmp && (!headers.is_for_kernel || !packet.socket().is_null()))
}

/// The end of a packet, as far as both ways have it in common.
struct End {
    headers: Headers,
    netns: u32,
    iif: u32,
    dev: u32,
    ethertype: u16,
    flags: u32,
    /// It has arrived, or was about to ([`sort::BEFORE_ARRIVAL`]); else this node was sending it.
    incoming: bool,
    packets: u64,
    /// Address of the network header.
    network: u64,
    /// Bytes from there on.
    length: u32,
}

/// Where the ends of packets are put together, for each program that may interrupt another.
#[map]
static ENDS: PerCpuArray<(Headers, End, u64)> = PerCpuArray::with_max_entries(program::COUNT, 0);

/// Puts a value into a map and hands out what stands there. So the verifier forgets by which way the program
/// came here, and what the value may therefore be: else it would go on from here anew for each way, and take
/// ten times as long.
#[inline(always)]
fn joined<T>(mut slot: *mut T, value: T) -> &'static T {
    // SAFETY: the caller's slot is a place in a map, of this program on this CPU. The assembly does nothing,
    // but the compiler does not know that, and reads the value again. It is an instruction because the kernel
    // refuses two lines of source for one (`check_btf_line`).
    unsafe {
        slot.write(value);
        core::arch::asm!("{0} = {0}", inout(reg) slot, options(nostack));
        &*slot
    }
}

/// The receiving socket of `kfree_skb`, null where there is none: most packets have none.
///
/// The verifier takes an argument of a tracepoint for never null, unless its own list says otherwise
/// (`raw_tp_null_args`, kernel/bpf/btf.c), which got this one only in 6.12.17, 6.13.5 and 6.14 (5da7e15fb5a1,
/// CVE-2025-21852). The kernels from 6.11 to there remove a check of the argument as dead code, and load from
/// it without the fixup that makes a fault read as zero, which members of arguments have (`PROBE_MEM`): the
/// kernel would crash. So the check is made on what was written into a map: to the verifier what is read from
/// there may be any number. Kernels that know better ask for a check of the argument itself: [`Found::by`].
#[inline(always)]
fn checked(receiver: Kernel, slot: *mut u64) -> Kernel {
    // SAFETY: the caller's slot is a place in a map, of this program on this CPU. Volatile: the compiler,
    // too, must not know that it is the same.
    unsafe {
        slot.write_volatile(receiver as u64);
        if slot.read_volatile() == 0 {
            core::ptr::null()
        } else {
            receiver
        }
    }
}

impl End {
    /// As far as can be seen it is no packet of a network, but a message of netlink or of a unix socket, which the kernel keeps in
    /// the same kind of buffer: the same as `is_no_packet` of user space (model/ends.rs).
    #[inline(always)]
    fn is_no_packet(&self) -> bool {
        let (protocol, found) = (self.headers.protocol, self.flags & flag::SOCKET_FOUND);
        self.netns | self.iif | self.dev | u32::from(self.ethertype) | u32::from(protocol) | found == 0
    }

    /// The line in the books.
    #[inline(always)]
    fn entry(&self, kind: u8, location: u64, reason: u32) -> Entry {
        Entry::new(
            kind,
            self.netns,
            self.iif,
            self.dev,
            self.ethertype,
            self.headers.protocol,
            self.flags,
            location,
            reason,
        )
    }

    /// And the socket that had been found, null for none. `program` is the caller's own.
    #[inline(always)]
    fn of(program: u32, packet: Packet, receiver: Kernel, location: u64) -> Option<(&'static Self, Kernel)> {
        let slot = ENDS.get_ptr_mut(program)?;
        let iif = packet.iif();
        let ethertype = packet.ethertype();
        let network = packet.network();
        let incoming = iif != 0 || books::sort(location) == sort::BEFORE_ARRIVAL;
        let direction = if incoming { Direction::In } else { Direction::Out };
        // SAFETY: a valid pointer to this CPU's own value; each member is written before it is read.
        let (headers, end, socket) = unsafe { (&raw mut (*slot).0, &raw mut (*slot).1, &raw mut (*slot).2) };
        let headers = joined(headers, Headers::read(network, ethertype, direction));

        let receiver = Found::by(checked(receiver, socket));
        let own = Found::by(packet.socket());
        let queued = headers.protocol == TCP && !own.socket.is_null() && own.port == headers.local_port;
        let device = if incoming && queued && packet.is_linked() {
            // It came out of order and was put into the tree of its socket (`tcp_data_queue_ofo`), whose nodes share the
            // place of the device: its left child stands there. It had lost its device before.
            Device::NONE
        } else {
            packet.device()
        };
        let dev = device.index();
        let mut netns = device.netns();
        let mut socket = receiver.socket;
        if receiver.netns != 0 {
            netns = receiver.netns;
        } else {
            if netns == 0 {
                netns = own.netns;
            }
            // On a virtual pair the sender's socket stays on the buffer until `skb_orphan` in
            // `ip_rcv_core`. A socket that was found for the packet has its destination port.
            let found = direction == Direction::In
                && own.netns == netns
                && headers.countable
                && (headers.protocol == TCP || headers.protocol == UDP)
                && own.port == headers.local_port;
            if own.netns != 0 && (found || (direction == Direction::Out && own.netns == netns)) {
                socket = own.socket;
            }
        }
        if netns == 0 {
            netns = packet.netns_of_route();
        }

        let mut flags = headers.piece();
        if iif != 0 {
            flags |= flag::INCOMING;
            // `tcp_v4_rcv` takes the device away once it has looked the socket up, just before it counts
            // the segment (`tcp_segs_in`); a listener's segments are not counted there. Before 6.11 nothing
            // else tells that there was a socket. A fragment that waits for others has none yet, and no device
            // either: it is a node of a tree (`sk_buff.rbnode`), and its left child stands in that place.
            let looked_up = headers.protocol == TCP && device.0.is_null() && !headers.is_fragment;
            if looked_up || !socket.is_null() {
                flags |= flag::SOCKET_FOUND;
            }
            let listener = !socket.is_null() && Sock(socket).state() == LISTEN;
            if looked_up && !listener {
                flags |= flag::MATCHED;
            }
        }
        let length = packet.length(network);
        let made = Self {
            headers: *headers,
            netns,
            iif,
            dev,
            ethertype,
            flags,
            incoming,
            packets: packet.weight(length),
            network,
            length,
        };
        Some((joined(end, made), socket))
    }
}

/// An IP socket that a packet or the kernel points to.
struct Found {
    /// Null for none, or one that is not of IP.
    socket: Kernel,
    /// Inode of its namespace, 0 for none.
    netns: u32,
    /// Port it is bound to.
    port: u16,
}

impl Found {
    #[inline(always)]
    fn by(socket: Kernel) -> Self {
        if socket.is_null() || !Sock(socket).is_ip() {
            return Self {
                socket: core::ptr::null(),
                netns: 0,
                port: 0,
            };
        }
        let sock = Sock(socket);
        Self {
            socket,
            netns: sock.netns(),
            port: sock.local_port(),
        }
    }
}

/// A packet for which no socket had been found.
const NO_SOCKET: Socket = Socket {
    flow: FlowKey::NONE,
    state: 0,
    reserved: 0,
    cgroup: 0,
    inode: 0,
};

/// Sends an example. What does not fit in the ring buffer is counted.
#[inline(always)]
fn send_example(
    ctx: &BtfTracePointContext,
    packet: Packet,
    end: &End,
    socket: Kernel,
    entry: &Entry,
    flow: &FlowKey,
) {
    let Some(mut slot) = EVENTS.reserve::<Example>(0) else {
        lose(loss::RING_FULL, 1);
        if config!(verbose) != 0 {
            warn!(ctx, "the ring buffer is full: an example is lost");
        }
        return;
    };
    let example = slot.as_mut_ptr();
    // SAFETY: `example` points to reserved memory of the size of an Example; every member is written.
    unsafe {
        (*example).record = record::EXAMPLE;
        (*example).time = bpf_ktime_get_boot_ns();
        (*example).entry = *entry;
        (*example).flow = *flow;
        (*example).packets = end.packets as u32;
        (*example).length = end.length;
        (*example).captured = copy(packet, end.network, end.length, &raw mut (*example).bytes);
        (*example).reserved = 0;
        (*example).socket = NO_SOCKET;
        if !socket.is_null() {
            let sock = Sock(socket);
            let flow = sock.flow(end.netns, end.headers.protocol);
            sock.describe(flow, &mut (*example).socket);
        }
        (*example).frames = 0;
        let size = bpf_get_stack(
            ctx.as_ptr(),
            (&raw mut (*example).stack).cast(),
            (STACK_DEPTH * 8) as u32,
            0,
        );
        if size > 0 {
            (*example).frames = size as u32 / 8;
        }
    }
    slot.submit(0);
}
