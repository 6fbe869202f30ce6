//! What kind of drop a reason is. Unknown names stay unclassified, and are shown.

use super::ends::{self, NO_SOCKET, NOT_SPECIFIED};
use crate::event::{EntryKey, STOLEN};
use crate::report::Class;

/// The class of a line of drops.
pub(crate) fn class(key: &EntryKey) -> Class {
    match ends::reason(key) {
        NOT_SPECIFIED => not_specified(ends::symbol(key), key.socket_found),
        reason => by_reason(reason),
    }
}

/// The class of a drop of which no more is known than its reason and its place.
pub(crate) fn of(reason: &str, symbol: &str) -> Class {
    match reason {
        NOT_SPECIFIED => not_specified(symbol, false),
        // What still waits for a neighbour that is given up (`neigh_invalidate`).
        "QUEUE_PURGE" if symbol == "neigh_invalidate" => Class::State,
        reason => by_reason(reason),
    }
}

/// The class of a reason that the kernel does give.
fn by_reason(reason: &str) -> Class {
    match reason {
        "IP_RPFILTER"
        | "IP_INNOROUTES"
        | "IP_INADDRERRORS"
        | "IP_OUTNOROUTES"
        | "IP_LOCALNET"
        | "IP_LOCAL_SOURCE"
        | "DEV_READY"
        | "XFRM_POLICY"
        | "NO_TX_TARGET"
        | "VXLAN_VNI_NOT_FOUND" => Class::State,
        _ if reason.starts_with("IP_INVALID_") || reason.starts_with("NEIGH_") => Class::State,

        "SOCKET_RCVBUFF"
        | "SOCKET_BACKLOG"
        | "TCP_LISTEN_OVERFLOW"
        | "CPU_BACKLOG"
        | "PROTO_MEM"
        | "FULL_RING"
        | "NOMEM"
        | "QDISC_DROP"
        | "QDISC_OVERLIMIT"
        | "QDISC_CONGESTED"
        | "PFMEMALLOC" => Class::Resource,
        _ if reason.starts_with("FQ_") || reason.starts_with("CAKE_") => Class::Resource,

        "NETFILTER_DROP" | STOLEN | "XDP" | "SOCKET_FILTER" | "SECURITY_HOOK" | "TCP_MINTTL"
        | "IP_TUNNEL_ECN" | "ARP_PVLAN_DISABLE" => Class::Policy,
        _ if ["TC_", "BPF_CGROUP_", "TCP_MD5", "TCP_AO", "TCP_AUTH", "PSP_"]
            .iter()
            .any(|prefix| reason.starts_with(prefix)) =>
        {
            Class::Policy
        }

        "OTHERHOST"
        | "IPV6DISABLED"
        | "UNICAST_IN_L2_MULTICAST"
        | "UNHANDLED_PROTO"
        | "PTYPE_ABSENT"
        | "BRIDGE_INGRESS_STP_STATE"
        | "MAC_IEEE_MAC_CONTROL"
        | "MAC_INVALID_SOURCE"
        | "LOCAL_MAC"
        | "PACKET_SOCK_ERROR" => Class::Environment,
        _ if reason.starts_with("UNIX_") => Class::Environment,

        NO_SOCKET | "QUEUE_PURGE" | "SOCKET_CLOSE" | "PKT_TOO_SMALL" | "PKT_TOO_BIG" | "HDR_TRUNC"
        | "IP_INHDR" | "IP_NOPROTO" | "INVALID_PROTO" | "DUP_FRAG" | "FRAG_REASM_TIMEOUT"
        | "FRAG_TOO_FAR" | "SKB_CONSUMED" => Class::Protocol,
        _ if reason.starts_with("VXLAN_") => Class::Protocol,
        _ if reason.starts_with("TCP_") || reason.starts_with("IPV6_NDISC_") || reason.ends_with("_CSUM") => {
            Class::Protocol
        }

        _ => Class::Unclassified,
    }
}

/// The class of a drop without a reason: the place and the socket are the evidence.
fn not_specified(symbol: &str, socket_found: bool) -> Class {
    match symbol {
        // A packet that is routed as somebody else's, and a neighbour that does not answer (IPv6 says no more).
        "ip_error" | "ip_rcv_finish_core" | "ip_forward" | "ip6_forward" | "neigh_invalidate"
        | "vxlan_rcv" => Class::State,
        // A route that leads nowhere (IPv4's ends in `ip_error`).
        "dst_discard" | "dst_discard_out" | "ip6_pkt_discard" | "ip6_pkt_prohibit" | "ip6_pkt_drop" => {
            Class::State
        }
        // What this node sends has no route: IPv6 says no more, where IPv4 has IP_OUTNOROUTES.
        "inet6_csk_xmit" => Class::State,
        // A process that ended with data unread, and packets that a handshake has no use for.
        "tcp_v4_rcv"
        | "tcp_v6_rcv"
        | "tcp_v4_do_rcv"
        | "tcp_v6_do_rcv"
        | "tcp_rcv_state_process"
        | "icmp_rcv"
        | "icmpv6_rcv"
        | "ping_rcv"
        | "ip_expire"
        | "inet_frag_rbtree_purge"
        | "ip6_frag_expire"
        | "ip6frag_expire_frag_queue"
        | "inet_sock_destruct"
        | "udp_destruct_common"
        | "sk_stream_kill_queues"
        | "skb_queue_purge" => Class::Protocol,
        // Kernels before 5.17 give no reasons at all.
        "__udp4_lib_rcv" | "__udp6_lib_rcv" | "udp_rcv" | "udpv6_rcv" => Class::Protocol,
        "udp_queue_rcv_one_skb" | "udpv6_queue_rcv_one_skb" => Class::Resource,
        "nf_hook_slow" | "nft_do_chain" => Class::Policy,
        "do_xdp_generic" | "veth_xdp_rcv_skb" | "veth_xdp_rcv" | "veth_poll" | "tun_xdp_one" => Class::Policy,
        "ip6_mc_input" | "ip_mr_input" | "llc_rcv" => Class::Environment,
        _ if [
            "virtio_transport_",
            "vsock_",
            "unix_",
            "netlink_",
            "br_handle_frame",
            "stp_",
        ]
        .iter()
        .any(|prefix| symbol.starts_with(prefix)) =>
        {
            Class::Environment
        }
        _ if socket_found => Class::State,
        _ => Class::Unclassified,
    }
}

#[cfg(test)]
mod tests {
    use super::{Class, by_reason, not_specified};

    #[test]
    fn classes_of_reasons() {
        for (reason, class) in [
            ("IP_RPFILTER", Class::State),
            ("IP_INVALID_SOURCE", Class::State),
            ("NEIGH_FAILED", Class::State),
            ("VXLAN_VNI_NOT_FOUND", Class::State),
            ("VXLAN_INVALID_HDR", Class::Protocol),
            ("SOCKET_RCVBUFF", Class::Resource),
            ("TCP_LISTEN_OVERFLOW", Class::Resource),
            ("NETFILTER_DROP", Class::Policy),
            ("TC_INGRESS", Class::Policy),
            ("BPF_CGROUP_EGRESS", Class::Policy),
            ("TCP_MD5FAILURE", Class::Policy),
            ("TCP_OLD_DATA", Class::Protocol),
            ("TCP_RFC7323_PAWS", Class::Protocol),
            ("QUEUE_PURGE", Class::Protocol),
            ("UDP_CSUM", Class::Protocol),
            ("OTHERHOST", Class::Environment),
            ("UNIX_DISCONNECT", Class::Environment),
            ("INVENTED_IN_LINUX_9", Class::Unclassified),
            ("", Class::Unclassified),
        ] {
            assert_eq!(by_reason(reason), class, "{reason}");
        }
    }

    #[test]
    fn classes_of_places_without_a_reason() {
        for (symbol, socket_found, class) in [
            ("ip_forward", true, Class::State),
            ("ip_forward", false, Class::State),
            ("ip6_forward", false, Class::State),
            ("neigh_invalidate", false, Class::State),
            ("ip_error", false, Class::State),
            ("vxlan_rcv", false, Class::State),
            ("inet6_csk_xmit", false, Class::State),
            ("tcp_v4_rcv", true, Class::Protocol),
            ("ip6_frag_expire", false, Class::Protocol),
            ("inet_frag_rbtree_purge", false, Class::Protocol),
            ("do_xdp_generic", false, Class::Policy),
            ("ip6_mc_input", false, Class::Environment),
            ("virtio_transport_recv_pkt", false, Class::Environment),
            ("some_module_rx", false, Class::Unclassified),
            ("", false, Class::Unclassified),
        ] {
            assert_eq!(not_specified(symbol, socket_found), class, "{symbol}");
        }
    }
}
