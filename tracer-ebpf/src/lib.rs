//! The types that the BPF programs and user space share.
//!
//! Every type is `repr(C)`, has no implicit padding, and has its size asserted, because map keys are
//! compared byte for byte and records cross from kernel to user space as bytes.
//!
//! Units: packets are counted as the wire carried them, that is after GRO and before GSO each buffer
//! weighs `max(1, gso_segs)`; bytes are those of the network layer and above.

#![cfg_attr(target_arch = "bpf", no_std)]

/// Bytes of a packet that an [`Example`] carries.
pub const SNAPLEN: usize = 128;
/// Frames of a kernel stack that an [`Example`] carries.
pub const STACK_DEPTH: usize = 16;
/// Index of the loopback device in every network namespace (`LOOPBACK_IFINDEX`, include/linux/netdevice.h).
pub const LOOPBACK: u32 = 1;

/// A flow: the 5-tuple as the local socket sees it, and its network namespace.
///
/// IPv4 addresses are IPv4-mapped, so that a dual-stack socket and its IPv4 packets have one key.
/// ICMP echo has the identifier as `local_port` and no remote port.
///
/// Aligned to eight bytes, so that programs move and compare it by words of that size.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey {
    /// Address of this node, network byte order; zero for a socket bound to any.
    pub local: [u8; 16],
    /// Address of the peer, network byte order; zero for a socket that is not connected.
    pub remote: [u8; 16],
    /// Inode of the network namespace (`ns_common.inum`).
    pub netns: u32,
    /// Local port, host byte order.
    pub local_port: u16,
    /// Remote port, host byte order.
    pub remote_port: u16,
    /// IP protocol number.
    pub protocol: u32,
    /// Always 0.
    pub reserved: u32,
}

/// 2⁶⁴ divided by the golden ratio, made odd: spreads what it is multiplied with.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

impl FlowKey {
    /// Builds a key by whole words: what is written in parts and then read as a word, as hashing and
    /// comparing do, waits for the processor's store buffer.
    ///
    /// Addresses are words in memory order.
    #[inline(always)]
    #[must_use]
    pub const fn new(
        local: [u64; 2],
        remote: [u64; 2],
        netns: u32,
        local_port: u16,
        remote_port: u16,
        protocol: u8,
    ) -> Self {
        let place = netns as u64 | (local_port as u64) << 32 | (remote_port as u64) << 48;
        let words = [
            local[0],
            local[1],
            remote[0],
            remote[1],
            place.to_le(),
            (protocol as u64).to_le(),
        ];
        // SAFETY: the layout of FlowKey, of integers only, and the same size (asserted below).
        unsafe { core::mem::transmute::<[u64; 6], Self>(words) }
    }

    /// A number that stands for the flow: two flows have the same with a probability of 2⁻⁶³, for who does
    /// not know the seed. Never 0.
    #[inline(always)]
    #[must_use]
    pub const fn hash(&self, seed: u64) -> u64 {
        // SAFETY: the layout of FlowKey, of integers only, and the same size (asserted below).
        let words = unsafe { core::mem::transmute::<Self, [u64; 6]>(*self) };
        // Two lanes, so that the processor works on both at once. A multiplication carries each bit
        // upwards, a shift brings the upper half back down.
        let mut local = seed;
        let mut remote = !seed;
        let mut index = 0;
        while index < 2 {
            local = (local ^ words[index]).wrapping_mul(MIX);
            local ^= local >> 32;
            remote = (remote ^ words[index + 2]).wrapping_mul(MIX);
            remote ^= remote >> 32;
            index += 1;
        }
        local = (local ^ words[4]).wrapping_mul(MIX);
        remote = (remote ^ words[5]).wrapping_mul(MIX);
        let mut hash = (local ^ local >> 32 ^ remote.rotate_left(31)).wrapping_mul(MIX);
        hash ^= hash >> 32;
        hash | 1 << 63
    }

    /// A key that stands for no flow.
    pub const NONE: Self = Self::new([0; 2], [0; 2], 0, 0, 0, 0);
}

/// Who sent the first packet of a flow that was seen.
pub mod origin {
    /// Not known.
    pub const UNKNOWN: u32 = 0;
    /// This node: what arrives is a reply.
    pub const LOCAL: u32 = 1;
    /// The peer.
    pub const REMOTE: u32 = 2;
}

/// What is counted of a [`FlowKey`], by atomic additions.
///
/// What the kernel counts where a packet arrives comes first, what it counts where a process sends and reads comes
/// last: these are often two CPUs, and would take a line of the cache from each other with each packet. So there is
/// no such line that has members of both, see [`FlowLine`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowCount {
    /// Packets that arrived on a device other than loopback.
    pub arrived: u64,
    /// Their bytes.
    pub arrived_bytes: u64,
    /// Packets for which the kernel found the TCP socket.
    pub matched: u64,
    /// Times that data was put in the socket's receive queue. UDP and ICMP: datagrams, under their own
    /// tuple where it is known, else under the socket's.
    pub queued: u64,
    /// Arrived packets that were dropped.
    pub dropped: u64,
    /// Device of the last arrival.
    pub iif: u32,
    /// One more than the segments of its TCP socket (`tcp_sock.segs_in`) that are in the books, whichever way
    /// they came; 0 where that is not known. Written under the socket's lock.
    pub segments: u32,
    /// Place of the last drop, 0 for none.
    pub drop_location: u64,
    /// TCP retransmissions that this node sent; not those that it could not send.
    pub retransmitted: u64,
    /// Reason number of the last drop.
    pub drop_reason: u32,
    /// See [`origin`].
    pub origin: u32,
    /// Always 0.
    pub reserved: u64,
    /// Packets that left.
    pub sent: u64,
    /// Inode of the socket that this node last sent a datagram or echo request of the flow by, 0 where none
    /// is known. TCP's sockets tell of themselves.
    pub sender: u64,
    /// Datagrams that a process read (UDP: under the socket's tuple; TCP: buffers).
    pub read: u64,
    /// Bytes copied to a process.
    pub read_bytes: u64,
}

/// Flows in a [`FlowSet`].
pub const WAYS: usize = 8;
/// Sets in the table of flows; a power of two. It holds [`WAYS`] times as many flows, at most, and the first
/// 100,000 without fail.
pub const FLOW_SETS: u32 = 16_384;

/// A part of the table of flows. A flow has three sets that it may be in, by its [`FlowKey::hash`]: found by
/// comparing a word, without a call, where a look-up in a hash map takes several.
///
/// The hashes are a line of the processor's cache.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct FlowSet {
    /// Hashes of the flows, 0 where there is none, [`GIVEN_UP`]. Set first: the key follows, and is whole
    /// where its hash is this one.
    pub hashes: [u64; WAYS],
    /// The flows.
    pub flows: [FlowLine; WAYS],
}

/// In place of a hash: nobody finds the line, and nobody takes it.
///
/// Only user space gives a line up, and then frees it: it puts this for the hash, waits until every program
/// that may have found the line before has ended, reads the line for the last time, makes it all zeros, and
/// then its hash.
pub const GIVEN_UP: u64 = 1;

/// A flow in the table: two and a half lines of the processor's cache. Whether it begins with a line or in the middle
/// of one, its bytes from 48 to 96 are in no line that those from 128 on are in.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct FlowLine {
    /// The flow.
    pub key: FlowKey,
    /// What was counted of it.
    pub count: FlowCount,
}

/// The sets that a flow with this hash may be in.
#[inline(always)]
#[must_use]
pub const fn flow_sets(hash: u64) -> [u32; 3] {
    [
        hash as u32 & (FLOW_SETS - 1),
        (hash >> 32) as u32 & (FLOW_SETS - 1),
        (hash >> 16) as u32 & (FLOW_SETS - 1),
    ]
}

/// While a set has more free places than this, a flow is put in the first of its sets, where it is found soonest.
const SPARE: u32 = 2;

/// The set that a new flow is put in: the first one with room to spare, else the one with the most room. `free`
/// tells how many places of a set are free.
#[inline(always)]
#[must_use]
pub fn flow_set(hash: u64, mut free: impl FnMut(u32) -> u32) -> u32 {
    let sets = flow_sets(hash);
    let mut best = sets[0];
    let mut most = 0;
    for set in sets {
        let room = free(set);
        if room > SPARE {
            return set;
        }
        if room > most {
            (best, most) = (set, room);
        }
    }
    best
}

/// What an [`Entry`] in the books says.
pub mod kind {
    /// A packet arrived on a device (`netif_receive_skb`).
    pub const ARRIVED: u8 = 1;
    /// The kernel found the packet's TCP socket.
    pub const MATCHED: u8 = 2;
    /// A process read the datagram. Only entered with [`super::datagrams::WHEN_READ`].
    pub const READ: u8 = 3;
    /// The packet left by a device after it had arrived by one.
    pub const FORWARDED: u8 = 4;
    /// The kernel used the packet up itself (`consume_skb`).
    pub const CONSUMED: u8 = 5;
    /// The packet was dropped (`kfree_skb`).
    pub const DROPPED: u8 = 6;
    /// The datagram was put in a socket's receive queue.
    pub const QUEUED: u8 = 7;
}

/// Details of an [`Entry`].
pub mod flag {
    /// The kernel had already found the socket that the packet belongs to.
    pub const SOCKET_FOUND: u32 = 1;
    /// The packet had arrived on a device (`skb_iif` is set); without it, this node was sending it.
    pub const INCOMING: u32 = 2;
    /// The packet had already been entered as [`super::kind::MATCHED`].
    pub const MATCHED: u32 = 4;
    /// The books had no room for the packet's own line, see [`super::Entry::reduced`].
    pub const REDUCED: u32 = 8;
}

/// A line in the books: packets with one fate. The key of the per-CPU map `BOOKS`.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry {
    /// Kernel address where the packet ended, 0 where there is none.
    pub location: u64,
    /// Inode of the network namespace, 0 where it cannot be known.
    pub netns: u32,
    /// Index of the device by which the packet arrived, 0 where none is known.
    pub iif: u32,
    /// Index of the device that the packet was at, 0 where none is known.
    pub dev: u32,
    /// Drop reason as the running kernel numbers it; 0 where there is none.
    pub reason: u32,
    /// See [`flag`].
    pub flags: u32,
    /// Ethernet protocol (0x0800, 0x86dd, 0x0806 …), host byte order.
    pub ethertype: u16,
    /// IP protocol number, 0 for what is not IP.
    pub protocol: u8,
    /// See [`kind`].
    pub kind: u8,
}

impl Entry {
    /// Builds a line by whole words, see [`FlowKey::new`].
    #[inline(always)]
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "each is a member")]
    pub const fn new(
        kind: u8,
        netns: u32,
        iif: u32,
        dev: u32,
        ethertype: u16,
        protocol: u8,
        flags: u32,
        location: u64,
        reason: u32,
    ) -> Self {
        let what = flags as u64 | (ethertype as u64) << 32 | (protocol as u64) << 48 | (kind as u64) << 56;
        let words = [
            location,
            (netns as u64 | (iif as u64) << 32).to_le(),
            (dev as u64 | (reason as u64) << 32).to_le(),
            what.to_le(),
        ];
        // SAFETY: the layout of Entry, of integers only, and the same size (asserted below).
        unsafe { core::mem::transmute::<[u64; 4], Self>(words) }
    }

    /// The line that packets are entered in where the books have no room for theirs: without place, reason and
    /// protocols, so that there are few such lines, and with all that tells the column of the ledger that they
    /// are in, but for what the kernel used up itself. That of a datagram depends on its protocol, of which
    /// there are three.
    #[inline(always)]
    #[must_use]
    pub const fn reduced(&self) -> Self {
        let protocol = match self.kind {
            kind::QUEUED | kind::READ => self.protocol,
            _ => 0,
        };
        let flags = self.flags | flag::REDUCED;
        Self::new(
            self.kind, self.netns, self.iif, self.dev, 0, protocol, flags, 0, 0,
        )
    }
}

/// Packets and bytes of an [`Entry`], on each CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets, weighted.
    pub packets: u64,
    /// Bytes from the network header on.
    pub bytes: u64,
}

/// Lines of the books that one program keeps at hand on each CPU.
pub const TALLIES: usize = 64;

/// A line of the books that is kept at hand: found without a call, where a look-up in a hash map takes
/// several. `entry.kind` is 0 where the place is free; once taken it stays taken.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// The line.
    pub entry: Entry,
    /// What was counted of it here, beside what the books have.
    pub count: Count,
    /// When the budget for its examples was last found spent, in jiffies.
    pub quiet: u64,
    /// Examples of it that were not sent, which [`loss::EXAMPLES_OVER_BUDGET`] leaves out.
    pub unsent: u64,
}

/// The lines that one program keeps at hand. Each program has its own: on one CPU a program never
/// interrupts itself, so nothing is counted by two at once.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Tallies {
    /// By [`Tallies::place`].
    pub lines: [Tally; TALLIES],
}

impl Tallies {
    /// Where a line is kept.
    #[inline(always)]
    #[must_use]
    pub const fn place(entry: &Entry) -> usize {
        let mixed = entry.iif
            ^ entry.netns
            ^ (entry.protocol as u32) << 1
            ^ (entry.ethertype as u32) << 2
            ^ entry.dev << 3
            ^ entry.reason
            ^ (entry.location >> 2) as u32;
        (mixed as usize) & (TALLIES - 1)
    }
}

/// Index of a program in the per-CPU array `TALLIES`.
pub mod program {
    /// `arrival`
    pub const ARRIVAL: u32 = 0;
    /// `drop`
    pub const DROP: u32 = 1;
    /// `consumed`
    pub const CONSUMED: u32 = 2;
    /// `matched`
    pub const MATCHED: u32 = 3;
    /// `state`
    pub const STATE: u32 = 4;
    /// `queued`
    pub const QUEUED: u32 = 5;
    /// `read`
    pub const READ: u32 = 6;
    /// `sent`
    pub const SENT: u32 = 7;
    /// `udp_enqueued`
    pub const UDP_ENQUEUED: u32 = 8;
    /// `icmp_enqueued`
    pub const ICMP_ENQUEUED: u32 = 9;
    /// How many there are.
    pub const COUNT: u32 = 10;
}

/// The datagram that arrived last on a CPU. What its processing leads to happens on the same CPU, before the
/// next arrival or, where the driver hands over lists, before those of the next list: all of a list arrive
/// before the first of them is delivered.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct LastArrival {
    /// Its flow.
    pub flow: FlowKey,
    /// The device by which it came.
    pub iif: u32,
    /// Echo replies of its list that no socket has got yet. What raw and ping sockets get beyond that are
    /// copies, also of the messages that the kernel uses up itself.
    pub replies: u32,
    /// The same for datagrams to a group, which all its members get.
    pub groups: u32,
    /// 1 where something has been delivered or dropped since `replies` or `groups` rose: what makes them rise
    /// next begins a new list.
    pub ended: u32,
    /// Address of the memory (`sk_buff.head`) of what was queued last of those that several sockets may get,
    /// with [`datagrams::WHEN_QUEUED`]: 0 where nothing was since the last of them arrived.
    pub queued: u64,
}

/// Addresses, on each device, for which neighbours may ask: what there is room for.
pub const NEIGHBOURS: u32 = 1_024;

/// An address that a neighbour asked for, and where. The key of the map `NEIGHBOURS`.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NeighbourKey {
    /// The address, network byte order; IPv4 addresses are IPv4-mapped.
    pub address: [u8; 16],
    /// Inode of the network namespace.
    pub netns: u32,
    /// Index of the device by which the request arrived, or the answer left.
    pub device: u32,
}

impl NeighbourKey {
    /// Builds a key by whole words, see [`FlowKey::new`]. The address is two words in memory order.
    #[inline(always)]
    #[must_use]
    pub const fn new(address: [u64; 2], netns: u32, device: u32) -> Self {
        let words = [
            address[0],
            address[1],
            (netns as u64 | (device as u64) << 32).to_le(),
        ];
        // SAFETY: the layout of NeighbourKey, of integers only, and the same size (asserted below).
        unsafe { core::mem::transmute::<[u64; 3], Self>(words) }
    }
}

/// Messages of ARP and neighbour discovery about a [`NeighbourKey`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NeighbourCount {
    /// Requests that arrived.
    pub asked: u64,
    /// Answers that left.
    pub answered: u64,
}

/// Neighbours, of all namespaces, for which packets wait: what there is room for.
pub const UNRESOLVED: u32 = 1_024;
/// Devices by which the packets that wait for one neighbour arrived: what there is room for.
pub const DEVICES: usize = 4;

/// What waits until the link-layer address of a neighbour is known. The value of the map `UNRESOLVED`.
///
/// What was put in the queue is counted, not what is in it: the oldest are dropped where there is no room, and nobody
/// tells from which queue.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unresolved {
    /// The neighbour's address, network byte order; IPv4 addresses are IPv4-mapped.
    pub address: [u8; 16],
    /// Inode of the network namespace.
    pub netns: u32,
    /// Index of the device that the neighbour is at.
    pub device: u32,
    /// Address of the buffer that was put in last (`arp_queue.prev`).
    pub newest: u64,
    /// Buffers in the queue, when that one was put in (`arp_queue.qlen`).
    pub length: u64,
    /// Buffers that were put in since the first that had arrived, also those that this node sends itself.
    pub entered: u64,
    /// The same of what had arrived, in packets.
    pub arrived: [ArrivedBy; DEVICES],
}

impl Unresolved {
    /// Nothing waits yet. The address is two words in memory order.
    #[inline(always)]
    #[must_use]
    pub const fn new(address: [u64; 2], netns: u32, device: u32) -> Self {
        let none = ArrivedBy { iif: 0, packets: 0 };
        Self {
            // SAFETY: integers of the same size.
            address: unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(address) },
            netns,
            device,
            newest: 0,
            length: 0,
            entered: 0,
            arrived: [none; DEVICES],
        }
    }
}

/// Packets that arrived by one device.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArrivedBy {
    /// Index of the device, 0 where this place is free.
    pub iif: u64,
    /// Packets, weighted.
    pub packets: u64,
}

/// Key of the budget for examples.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// Kernel address of the drop.
    pub location: u64,
    /// Reason number.
    pub reason: u32,
    /// Always 0.
    pub reserved: u32,
}

/// What the name of a place in the kernel says of the packets that end there. A program knows a place by its
/// address only: user space names it once a line of the books has told of it.
pub mod sort {
    /// Packets that arrive are dropped here, before the kernel enters them as arrived.
    pub const BEFORE_ARRIVAL: u32 = 1;
    /// What the kernel calls consumed here has been taken away by somebody else: it is lost.
    pub const TAKEN: u32 = 2;
}

/// In place of a reason, where packets were taken ([`sort::TAKEN`]) and the kernel has none to give.
pub const REASON_TAKEN: u32 = u32::MAX;

/// What has been spent at a [`Place`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// The second (of boot time) that `examples` belongs to.
    pub second: u64,
    /// Examples sent in that second.
    pub examples: u64,
}

/// Index in the per-CPU array `LOSSES`: what could not be recorded.
pub mod loss {
    /// Packets whose entry did not fit in the books, not even [`super::Entry::reduced`].
    pub const BOOKS_FULL: u32 = 0;
    /// Packets that no flow could be counted for because the table is full. They are in the books, but for
    /// the segments of TCP connections that close: of these, each change of state counts as one packet here.
    pub const FLOWS_FULL: u32 = 1;
    /// Examples that were not sent because the budget of their place was spent.
    pub const EXAMPLES_OVER_BUDGET: u32 = 2;
    /// Records that did not fit in the ring buffer.
    pub const RING_FULL: u32 = 3;
    /// Places that did not fit in the table of budgets.
    pub const PLACES_FULL: u32 = 4;
    /// Packets whose end did not fit in the books and that are in them by [`super::Entry::reduced`].
    pub const IN_OTHER: u32 = 5;
    /// Messages of neighbours whose address did not fit in the table of those.
    pub const NEIGHBOURS_FULL: u32 = 6;
    /// Packets that wait for a neighbour and are not counted as such, because the table of those is full.
    pub const UNRESOLVED_FULL: u32 = 7;
    /// How many there are.
    pub const KINDS: u32 = 8;
}

/// Kind of a record in the ring buffer, its first word.
pub mod record {
    /// An [`super::Example`] follows.
    pub const EXAMPLE: u32 = 1;
    /// A [`super::SocketChange`] follows.
    pub const SOCKET: u32 = 2;
}

/// A socket as a program saw it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Socket {
    /// Its 4-tuple, protocol and namespace.
    pub flow: FlowKey,
    /// TCP state (include/net/tcp_states.h), 0 for no socket.
    pub state: u32,
    /// Always 0.
    pub reserved: u32,
    /// Id of its cgroup in the v2 hierarchy, 0 where unknown.
    pub cgroup: u64,
    /// Inode of the socket file, 0 where there is none.
    pub inode: u64,
}

/// One dropped packet, in full.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// [`record::EXAMPLE`].
    pub record: u32,
    /// Bytes of `bytes` that are valid.
    pub captured: u32,
    /// Boot time in ns (`CLOCK_BOOTTIME`).
    pub time: u64,
    /// The line in the books that this packet was counted under.
    pub entry: Entry,
    /// The packet's flow, as the local socket sees it; zero where it has none.
    pub flow: FlowKey,
    /// Packets that this buffer stands for.
    pub packets: u32,
    /// Length of the packet from the network header on.
    pub length: u32,
    /// Frames of `stack` that are valid.
    pub frames: u32,
    /// Always 0.
    pub reserved: u32,
    /// The socket, where one had been found.
    pub socket: Socket,
    /// Kernel addresses, innermost first.
    pub stack: [u64; STACK_DEPTH],
    /// The packet from its network header on.
    pub bytes: [u8; SNAPLEN],
}

/// A TCP socket changed its state (`inet_sock_set_state`).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SocketChange {
    /// [`record::SOCKET`].
    pub record: u32,
    /// State before (include/net/tcp_states.h).
    pub from: u32,
    /// Boot time in ns (`CLOCK_BOOTTIME`).
    pub time: u64,
    /// The socket, with its state after.
    pub socket: Socket,
    /// The process that opened it (thread group), 0 where no process did (a packet did).
    pub pid: u32,
    /// Always 0.
    pub reserved: u32,
    /// Its command.
    pub command: [u8; 16],
}

/// Where the running kernel keeps what the programs read. Filled by user space from BTF.
///
/// Offsets are in bytes; [`ABSENT`] marks what this kernel does not have.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// `sk_buff.dev`
    pub skb_dev: u32,
    /// `sk_buff.sk`
    pub skb_sk: u32,
    /// `sk_buff.len`
    pub skb_len: u32,
    /// `sk_buff.data_len`
    pub skb_data_len: u32,
    /// `sk_buff.data`
    pub skb_data: u32,
    /// `sk_buff.head`
    pub skb_head: u32,
    /// `sk_buff.end`
    pub skb_end: u32,
    /// `sk_buff.protocol`
    pub skb_protocol: u32,
    /// `sk_buff.network_header`
    pub skb_network_header: u32,
    /// `sk_buff.skb_iif`
    pub skb_iif: u32,
    /// `sk_buff.users`
    pub skb_users: u32,
    /// `sk_buff._skb_refdst`
    pub skb_dst: u32,
    /// `skb_shared_info.gso_segs`
    pub shinfo_gso_segs: u32,
    /// `net_device.ifindex`
    pub dev_ifindex: u32,
    /// `net_device.nd_net.net`
    pub dev_net: u32,
    /// `net_device.adj_list.lower.next`
    pub dev_lower: u32,
    /// `net_device.rtnl_link_ops`
    pub dev_link_ops: u32,
    /// `rtnl_link_ops.kind`
    pub link_ops_kind: u32,
    /// `net.ns.inum`
    pub net_inum: u32,
    /// `dst_entry.dev`
    pub dst_dev: u32,
    /// `sock.__sk_common.skc_family`
    pub sk_family: u32,
    /// `sock.__sk_common.skc_state`
    pub sk_state: u32,
    /// `sock.__sk_common.skc_net.net`
    pub sk_net: u32,
    /// `sock.__sk_common.skc_num`
    pub sk_num: u32,
    /// `sock.__sk_common.skc_dport`
    pub sk_dport: u32,
    /// `sock.__sk_common.skc_rcv_saddr`
    pub sk_saddr: u32,
    /// `sock.__sk_common.skc_daddr`
    pub sk_daddr: u32,
    /// `sock.__sk_common.skc_v6_rcv_saddr`
    pub sk_saddr6: u32,
    /// `sock.__sk_common.skc_v6_daddr`
    pub sk_daddr6: u32,
    /// `sock.sk_protocol`
    pub sk_protocol: u32,
    /// `sock.sk_type`
    pub sk_type: u32,
    /// `sock.sk_socket`
    pub sk_socket: u32,
    /// `sock.sk_cgrp_data.cgroup`
    pub sk_cgroup: u32,
    /// `cgroup.kn`
    pub cgroup_kn: u32,
    /// `kernfs_node.id`
    pub kn_id: u32,
    /// `socket.file`
    pub socket_file: u32,
    /// `file.f_inode`
    pub file_inode: u32,
    /// `inode.i_ino`
    pub inode_number: u32,
    /// `inet_sock.inet_sport`
    pub inet_sport: u32,
    /// `tcp_sock.segs_in`
    pub tcp_segs_in: u32,
    /// `task_struct.nsproxy`
    pub task_nsproxy: u32,
    /// `nsproxy.net_ns`
    pub nsproxy_net: u32,
    /// `neighbour.dev`
    pub neigh_dev: u32,
    /// `neighbour.tbl`
    pub neigh_tbl: u32,
    /// `neigh_table.family`
    pub neigh_family: u32,
    /// `neighbour.primary_key`
    pub neigh_key: u32,
    /// `neighbour.arp_queue.prev`
    pub neigh_newest: u32,
    /// `neighbour.arp_queue.qlen`
    pub neigh_waiting: u32,
    /// 1 where `kfree_skb` hands over a reason.
    pub kfree_has_reason: u32,
    /// 1 where `kfree_skb` hands over the receiving socket.
    pub kfree_has_socket: u32,
    /// 1 where `consume_skb` hands over a location.
    pub consume_has_location: u32,
    /// 1 where `tcp_retransmit_skb` hands over how it went.
    pub retransmit_has_error: u32,
}

/// Marks an [`Offsets`] member that the running kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// When a datagram or an ICMP message that reaches a socket is entered in the books.
pub mod datagrams {
    /// When a process reads it, as [`super::kind::READ`]: nothing on this kernel tells when it is queued.
    pub const WHEN_READ: u32 = 0;
    /// When the socket is told that there is something to read (`sk_data_ready`, since 6.3).
    pub const WHEN_READY: u32 = 1;
    /// When the kernel's function that puts it in the queue returns.
    pub const WHEN_QUEUED: u32 = 2;
}

/// What user space asks of the programs. Set before they are loaded.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Inode of the one network namespace to count in, 0 for all.
    pub netns: u32,
    /// Examples a second that each (reason, location) may send.
    pub examples_per_second: u32,
    /// 1 where the programs are to tell what they do (aya-log).
    pub verbose: u32,
    /// When a datagram is entered, see [`datagrams`].
    pub datagrams: u32,
    /// 1 where a datagram that is freed tells that it was read: on kernels that do not tell what a process
    /// receives (no `sock_recv_length`, before 6.3), and with [`datagrams::WHEN_READ`].
    pub count_reads: u32,
    /// 1 where the kernel lets programs load a packet's bytes themselves, without a helper (since 6.17).
    pub loads_packets: u32,
    /// A random number, for [`FlowKey::hash`].
    pub seed: u64,
}

const _: () = {
    assert!(size_of::<FlowKey>() == 48);
    assert!(size_of::<FlowCount>() == 112);
    assert!(size_of::<FlowLine>() == 160);
    assert!(core::mem::offset_of!(FlowLine, count.sent) == 128);
    assert!(size_of::<FlowSet>() == WAYS * 168);
    assert!(WAYS * 8 == 64);
    assert!(FLOW_SETS.is_power_of_two());
    assert!(size_of::<Entry>() == 32);
    assert!(size_of::<Count>() == 16);
    assert!(size_of::<Tallies>() == TALLIES * 64);
    assert!(size_of::<Place>() == 16);
    assert!(size_of::<Spent>() == 16);
    assert!(size_of::<LastArrival>() == 72);
    assert!(size_of::<NeighbourKey>() == 24);
    assert!(size_of::<NeighbourCount>() == 16);
    assert!(size_of::<Unresolved>() == 48 + DEVICES * 16);
    assert!(size_of::<Socket>() == 48 + 8 + 16);
    assert!(size_of::<Example>() == 16 + 32 + 48 + 16 + 72 + 8 * STACK_DEPTH + SNAPLEN);
    assert!(size_of::<SocketChange>() == 16 + 72 + 8 + 16);
    assert!(size_of::<Offsets>() == 52 * 4);
    assert!(size_of::<Config>() == 32);
};

#[cfg(feature = "user")]
mod pod {
    use super::{
        Config, Count, Entry, FlowCount, FlowKey, FlowSet, NeighbourCount, NeighbourKey, Offsets, Place,
        Spent, Tallies, Unresolved,
    };

    macro_rules! pod {
        ($($name:ty),+) => { $(
            // SAFETY: repr(C), integers and arrays of them only, and no padding (sizes are asserted above).
            unsafe impl aya::Pod for $name {}
        )+ };
    }
    pod!(
        Config,
        Count,
        Entry,
        FlowCount,
        FlowKey,
        FlowSet,
        NeighbourCount,
        NeighbourKey,
        Offsets,
        Place,
        Spent,
        Tallies,
        Unresolved
    );
}
