//! What user space sets before the programs are loaded.

/// What the programs count, as user space says: nothing yet, packets, nothing any more.
pub mod gate {
    /// All programs are being attached, one after the other. What waits for neighbours is followed already.
    pub const NOT_YET: u32 = 0;
    /// Packets are counted.
    pub const OPEN: u32 = 1;
    /// What was counted is being read.
    pub const CLOSED: u32 = 2;
}

/// Bytes of the kernel's memory that are read at a time, at most.
pub const BLOCK: usize = 4096;

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
    /// `sk_buff.next`
    pub skb_next: u32,
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
    /// `net.net_cookie`
    pub net_cookie: u32,
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
    /// `kernfs_node.name`
    pub kn_name: u32,
    /// `kernfs_node.__parent`, before 6.15 `.parent`
    pub kn_parent: u32,
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
    /// `task_struct.thread_pid`
    pub task_thread_pid: u32,
    /// `task_struct.real_parent`
    pub task_real_parent: u32,
    /// `task_struct.group_leader`
    pub task_leader: u32,
    /// `task_struct.tgid`
    pub task_tgid: u32,
    /// `task_struct.comm`
    pub task_comm: u32,
    /// `task_struct.cgroups`
    pub task_cgroups: u32,
    /// `css_set.dfl_cgrp`
    pub cgroups_default: u32,
    /// `pid.level`
    pub pid_level: u32,
    /// `pid.numbers`
    pub pid_numbers: u32,
    /// `upid.ns`
    pub upid_ns: u32,
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
    /// When a process reads it, as [`crate::kind::READ`]: nothing on this kernel tells when it is queued.
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
    /// A random number, for [`crate::FlowKey::hash`].
    pub seed: u64,
    /// What tells the one namespace to count in from a later one with its inode (`net.net_cookie`), 0 where that is not
    /// asked for: all are counted, or it cannot end, or this kernel does not tell.
    pub netns_cookie: u64,
}

const _: () = {
    assert!(size_of::<Offsets>() == 66 * 4);
    assert!(size_of::<Config>() == 40);
};
