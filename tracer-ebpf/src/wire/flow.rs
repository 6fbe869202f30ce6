//! Flows: their key, what is counted of each, and the table that holds them.

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
    /// Device of the last arrival; [`LOOPBACK`] while a TCP connection stands of which nothing arrives.
    pub iif: u32,
    /// One more than the segments of its TCP socket (`tcp_sock.segs_in`) that are in the books, whichever way
    /// they came; 0 where that is not known. Written under the socket's lock while the connection is open; from
    /// then on atomically, because looks are without it.
    pub segments: u32,
    /// Place of the last drop, 0 for none.
    pub drop_location: u64,
    /// TCP retransmissions that this node sent; not those for which there was no way out.
    pub retransmitted: u64,
    /// Reason number of the last drop.
    pub drop_reason: u32,
    /// See [`origin`].
    pub origin: u32,
    /// Address of the TCP socket while one end has closed the connection, so that `tcp_probe` does not tell of its
    /// segments; else 0.
    pub half_closed: u64,
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

/// A part of the table of flows. A flow has four sets that it may be in, by its [`FlowKey::hash`]: found by
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
pub const fn flow_sets(hash: u64) -> [u32; 4] {
    [
        hash as u32 & (FLOW_SETS - 1),
        (hash >> 32) as u32 & (FLOW_SETS - 1),
        (hash >> 16) as u32 & (FLOW_SETS - 1),
        (hash >> 48) as u32 & (FLOW_SETS - 1),
    ]
}

/// While a set has more free places than this, a flow is put in the first of its sets, where it is found soonest.
const SPARE: u32 = 3;

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
    /// with [`crate::datagrams::WHEN_QUEUED`]: 0 where nothing was since the last of them arrived.
    pub queued: u64,
}

const _: () = {
    assert!(size_of::<FlowKey>() == 48);
    assert!(size_of::<FlowCount>() == 112);
    assert!(size_of::<FlowLine>() == 160);
    assert!(core::mem::offset_of!(FlowLine, count.sent) == 128);
    assert!(size_of::<FlowSet>() == WAYS * 168);
    assert!(WAYS * 8 == 64);
    assert!(FLOW_SETS.is_power_of_two());
    assert!(size_of::<LastArrival>() == 72);
};
