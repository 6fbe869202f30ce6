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
#[repr(C)]
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

/// What is counted of a [`FlowKey`], on each CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowCount {
    /// Packets that arrived on a device other than loopback.
    pub arrived: u64,
    /// Their bytes.
    pub arrived_bytes: u64,
    /// Packets that left.
    pub sent: u64,
    /// Packets for which the kernel found the TCP socket.
    pub matched: u64,
    /// Times that data was put in the socket's receive queue. UDP and ICMP: datagrams, under their own
    /// tuple where it is known, else under the socket's.
    pub queued: u64,
    /// Datagrams that a process read (UDP: under the socket's tuple; TCP: buffers).
    pub read: u64,
    /// Bytes copied to a process.
    pub read_bytes: u64,
    /// Arrived packets that were dropped.
    pub dropped: u64,
    /// TCP retransmissions that this node sent.
    pub retransmitted: u64,
    /// Place of the last drop, 0 for none.
    pub drop_location: u64,
    /// Reason number of the last drop.
    pub drop_reason: u32,
    /// Device of the last arrival.
    pub iif: u32,
    /// See [`origin`].
    pub origin: u32,
    /// Always 0.
    pub reserved: u32,
}

/// What an [`Entry`] in the books says.
pub mod kind {
    /// A packet arrived on a device (`netif_receive_skb`).
    pub const ARRIVED: u8 = 1;
    /// The kernel found the packet's TCP socket.
    pub const MATCHED: u8 = 2;
    /// A process read the datagram. Only counted on kernels that do not tell when it is queued.
    pub const READ: u8 = 3;
    /// The packet left by a device after it had arrived by one.
    pub const FORWARDED: u8 = 4;
    /// The kernel used the packet up itself (`consume_skb`).
    pub const CONSUMED: u8 = 5;
    /// The packet was dropped (`kfree_skb`).
    pub const DROPPED: u8 = 6;
    /// The datagram was put in a socket's receive queue (`sk_data_ready`).
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
}

/// A line in the books: packets with one fate. The key of the per-CPU map `BOOKS`.
#[repr(C)]
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

/// Packets and bytes of an [`Entry`], on each CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets, weighted.
    pub packets: u64,
    /// Bytes from the network header on.
    pub bytes: u64,
}

/// The packet that arrived last on a CPU. What its processing leads to happens on the same CPU, before
/// the next arrival or, where the driver hands over lists, before those of the next list.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct LastArrival {
    /// Its flow.
    pub flow: FlowKey,
    /// The device by which it came.
    pub iif: u32,
    /// Whether a datagram to many has been entered as queued already.
    pub entered: u32,
}

/// A TCP socket's count of segments, as far as it has been entered in the books.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Segments {
    /// `tcp_sock.segs_in` when it was last looked at.
    pub seen: u32,
    /// Device by which its segments arrive, 0 where not known yet.
    pub iif: u32,
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
    /// Packets whose entry did not fit in the books.
    pub const BOOKS_FULL: u32 = 0;
    /// Packets that no flow could be counted for because the table is full.
    pub const FLOWS_FULL: u32 = 1;
    /// TCP sockets whose count of segments could not be kept.
    pub const SOCKETS_FULL: u32 = 2;
    /// Examples that were not sent because the budget of their place was spent.
    pub const EXAMPLES_OVER_BUDGET: u32 = 3;
    /// Records that did not fit in the ring buffer.
    pub const RING_FULL: u32 = 4;
    /// Places that did not fit in the table of budgets.
    pub const PLACES_FULL: u32 = 5;
    /// How many there are.
    pub const KINDS: u32 = 6;
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
    /// Frames of `stack` that are valid; 0 where this is not the first sight of the place.
    pub frames: u32,
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
    /// From a `socket` to its inode's number: `socket_alloc.vfs_inode.i_ino` less `socket_alloc.socket`
    pub socket_ino: u32,
    /// `tcp_sock.segs_in`
    pub tcp_segs_in: u32,
    /// `task_struct.nsproxy`
    pub task_nsproxy: u32,
    /// `nsproxy.net_ns`
    pub nsproxy_net: u32,
    /// 1 where `kfree_skb` hands over a reason.
    pub kfree_has_reason: u32,
    /// 1 where `kfree_skb` hands over the receiving socket.
    pub kfree_has_socket: u32,
    /// 1 where `consume_skb` hands over a location.
    pub consume_has_location: u32,
}

/// Marks an [`Offsets`] member that the running kernel does not have.
pub const ABSENT: u32 = u32::MAX;

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
    /// 1 where this kernel does not tell when a datagram is queued (no `sk_data_ready`, before 6.3): then
    /// it is counted when it is read.
    pub count_reads: u32,
}

const _: () = {
    assert!(size_of::<FlowKey>() == 44);
    assert!(size_of::<FlowCount>() == 96);
    assert!(size_of::<Entry>() == 32);
    assert!(size_of::<Count>() == 16);
    assert!(size_of::<Place>() == 16);
    assert!(size_of::<Spent>() == 16);
    assert!(size_of::<LastArrival>() == 52);
    assert!(size_of::<Socket>() == 44 + 4 + 16);
    assert!(size_of::<Example>() == 16 + 32 + 44 + 12 + 64 + 8 * STACK_DEPTH + SNAPLEN);
    assert!(size_of::<SocketChange>() == 16 + 64 + 8 + 16);
    assert!(size_of::<Offsets>() == 39 * 4);
    assert!(size_of::<Config>() == 16);
};

#[cfg(feature = "user")]
mod pod {
    use super::{Config, Count, Entry, FlowCount, FlowKey, Offsets, Place, Spent};

    macro_rules! pod {
        ($($name:ty),+) => { $(
            // SAFETY: repr(C), integers and arrays of them only, and no padding (sizes are asserted above).
            unsafe impl aya::Pod for $name {}
        )+ };
    }
    pod!(Config, Count, Entry, FlowCount, FlowKey, Offsets, Place, Spent);
}
