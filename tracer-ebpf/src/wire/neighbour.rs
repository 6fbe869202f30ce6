//! Neighbours: who asked for whom, and what waits for whom.

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
    /// Builds a key by whole words, see [`crate::FlowKey::new`]. The address is two words in memory order.
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

const _: () = {
    assert!(size_of::<NeighbourKey>() == 24);
    assert!(size_of::<NeighbourCount>() == 16);
    assert!(size_of::<Unresolved>() == 48 + DEVICES * 16);
};
