//! Where the running kernel keeps what the programs read.

use tracer_ebpf::{ABSENT, Offsets};

use super::btf::Btf;

/// What a member belongs to: a program needs whole groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The packet buffer.
    Packet,
    /// Its device and namespace.
    Device,
    /// The socket.
    Socket,
    /// The count of segments of a TCP socket.
    Segments,
    /// The namespace of the current process.
    Task,
    /// Who the current process is.
    Exit,
    /// Who is asked for on the link, and what waits for the answer.
    Neighbour,
    /// Names a cgroup; nothing depends on it.
    Extra,
}

/// Members that this kernel lacks: group and name.
pub type Missing = Vec<(Group, &'static str)>;

macro_rules! members {
    ($( $field:ident = $group:ident $structure:literal $path:literal $(or $before:literal)?; )+) => {
        /// Resolves every offset. What is missing is [`ABSENT`], and named.
        #[must_use]
        pub fn resolve(btf: &Btf) -> (Offsets, Missing) {
            let mut offsets = Offsets::default();
            let mut missing = Missing::new();
            $(
                offsets.$field = btf
                    .offset($structure, $path)
                    $(.or_else(|| btf.offset($structure, $before)))?
                    .unwrap_or(ABSENT);
                if offsets.$field == ABSENT {
                    missing.push((Group::$group, concat!($structure, ".", $path)));
                }
            )+
            arguments(btf, &mut offsets);
            (offsets, missing)
        }
    };
}

members! {
    skb_dev = Packet "sk_buff" "dev";
    skb_sk = Packet "sk_buff" "sk";
    skb_len = Packet "sk_buff" "len";
    skb_next = Packet "sk_buff" "next";
    skb_data_len = Packet "sk_buff" "data_len";
    skb_data = Packet "sk_buff" "data";
    skb_head = Packet "sk_buff" "head";
    skb_end = Packet "sk_buff" "end";
    skb_protocol = Packet "sk_buff" "protocol";
    skb_network_header = Packet "sk_buff" "network_header";
    skb_iif = Packet "sk_buff" "skb_iif";
    skb_users = Packet "sk_buff" "users";
    skb_dst = Packet "sk_buff" "_skb_refdst";
    shinfo_gso_segs = Packet "skb_shared_info" "gso_segs";
    dev_ifindex = Device "net_device" "ifindex";
    dev_net = Device "net_device" "nd_net.net";
    dev_lower = Device "net_device" "adj_list.lower.next";
    dev_link_ops = Device "net_device" "rtnl_link_ops";
    link_ops_kind = Device "rtnl_link_ops" "kind";
    net_inum = Device "net" "ns.inum";
    net_cookie = Extra "net" "net_cookie";
    dst_dev = Device "dst_entry" "dev";
    sk_family = Socket "sock" "__sk_common.skc_family";
    sk_state = Socket "sock" "__sk_common.skc_state";
    sk_net = Socket "sock" "__sk_common.skc_net.net";
    sk_num = Socket "sock" "__sk_common.skc_num";
    sk_dport = Socket "sock" "__sk_common.skc_dport";
    sk_saddr = Socket "sock" "__sk_common.skc_rcv_saddr";
    sk_daddr = Socket "sock" "__sk_common.skc_daddr";
    sk_saddr6 = Socket "sock" "__sk_common.skc_v6_rcv_saddr";
    sk_daddr6 = Socket "sock" "__sk_common.skc_v6_daddr";
    sk_protocol = Socket "sock" "sk_protocol";
    sk_type = Socket "sock" "sk_type";
    sk_socket = Socket "sock" "sk_socket";
    socket_file = Socket "socket" "file";
    file_inode = Socket "file" "f_inode";
    inode_number = Socket "inode" "i_ino";
    sk_cgroup = Extra "sock" "sk_cgrp_data.cgroup";
    cgroup_kn = Extra "cgroup" "kn";
    kn_id = Extra "kernfs_node" "id";
    kn_name = Extra "kernfs_node" "name";
    kn_parent = Extra "kernfs_node" "__parent" or "parent";
    task_cgroups = Extra "task_struct" "cgroups";
    cgroups_default = Extra "css_set" "dfl_cgrp";
    inet_sport = Segments "inet_sock" "inet_sport";
    tcp_segs_in = Segments "tcp_sock" "segs_in";
    task_nsproxy = Task "task_struct" "nsproxy";
    nsproxy_net = Task "nsproxy" "net_ns";
    task_thread_pid = Exit "task_struct" "thread_pid";
    task_real_parent = Exit "task_struct" "real_parent";
    task_leader = Exit "task_struct" "group_leader";
    task_tgid = Exit "task_struct" "tgid";
    task_comm = Exit "task_struct" "comm";
    pid_level = Exit "pid" "level";
    pid_numbers = Exit "pid" "numbers";
    upid_ns = Exit "upid" "ns";
    neigh_dev = Neighbour "neighbour" "dev";
    neigh_tbl = Neighbour "neighbour" "tbl";
    neigh_family = Neighbour "neigh_table" "family";
    neigh_key = Neighbour "neighbour" "primary_key";
    neigh_newest = Neighbour "neighbour" "arp_queue.prev";
    neigh_waiting = Neighbour "neighbour" "arp_queue.qlen";
}

/// What the tracepoints hand over, by the number of their arguments: `kfree_skb` got its reason in 5.17
/// and the receiving socket in 6.11, `consume_skb` its location in 6.3, `tcp_retransmit_skb` its error in 6.16;
/// distributions backport.
fn arguments(btf: &Btf, offsets: &mut Offsets) {
    let kfree = btf.tracepoint_arguments("kfree_skb").unwrap_or(0);
    offsets.kfree_has_reason = u32::from(kfree >= 3);
    offsets.kfree_has_socket = u32::from(kfree >= 4);
    offsets.consume_has_location = u32::from(btf.tracepoint_arguments("consume_skb").unwrap_or(0) >= 2);
    let retransmit = btf.tracepoint_arguments("tcp_retransmit_skb").unwrap_or(0);
    offsets.retransmit_has_error = u32::from(retransmit >= 3);
    // A cgroup needs all of its steps.
    let lack = |members: &[u32]| members.contains(&ABSENT);
    if lack(&[offsets.cgroup_kn, offsets.kn_id]) {
        offsets.sk_cgroup = ABSENT;
    }
    if lack(&[offsets.cgroups_default, offsets.cgroup_kn, offsets.kn_name]) {
        offsets.task_cgroups = ABSENT;
    }
    if offsets.kn_id == ABSENT {
        offsets.kn_parent = ABSENT;
    }
}
