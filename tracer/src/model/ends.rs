//! What the place and the reason of an end say about a packet, by the kernel's own names.
//!
//! Every table that is keyed on a symbol or a reason is here or in [`super::class`].

use std::borrow::Cow;

use super::class;
use super::clock::SECOND;
use crate::event::{Body, EntryKey, Fate, OTHER, Protocol, STOLEN, Version};
use crate::report::Class;

/// The reason of a drop for which the kernel gives none.
pub(crate) const NOT_SPECIFIED: &str = "NOT_SPECIFIED";
/// No socket was there for the packet.
pub(crate) const NO_SOCKET: &str = "NO_SOCKET";
/// The reverse path filter refused the source.
pub(crate) const RPFILTER: &str = "IP_RPFILTER";

const ETHERTYPE_IPV4: u16 = 0x0800;
pub(super) const ETHERTYPE_ARP: u16 = 0x0806;
pub(super) const ETHERTYPE_IPV6: u16 = 0x86dd;
const IPPROTO_IGMP: u8 = 2;

/// What an end is, where the kernel's own word is not the whole truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// What it is said to be.
    AsTold,
    /// The packets were on their way in, and the kernel had not yet entered them as arrived.
    BeforeArrival,
    /// Consumed, and not by the kernel: somebody else has them.
    Stolen,
    /// There never were any: the kernel made them up, to answer a question about routes or to try a buffer.
    MadeUp,
    /// Part of another buffer, which ends as well, and whose end is told by itself.
    Part,
}

/// What this end is.
pub(crate) fn end(key: &EntryKey) -> End {
    match (key.fate, symbol(key)) {
        // Before `__netif_receive_skb_core` a packet has no `skb_iif`, as one has that is sent.
        (
            Fate::Dropped,
            // XDP in a virtual device's own driver (`drivers/net/veth.c`, before 6.0 inlined in its poll).
            "veth_xdp_rcv_skb" | "veth_xdp_rcv" | "veth_poll"
            // The queue to another CPU is full (RPS, loopback).
            | "enqueue_to_backlog" | "netif_rx_internal"
            // What a process writes to a tap, and XDP there.
            | "tun_get_user" | "tun_xdp_one" | "do_xdp_generic",
        ) if !key.incoming && key.device != 0 => End::BeforeArrival,
        // `sch_handle_ingress`, which may be inlined: TC_ACT_STOLEN, TC_ACT_QUEUED and TC_ACT_TRAP. What is
        // redirected is not consumed here, and a packet tap has its own place (`packet_rcv`, `tpacket_rcv`).
        (Fate::Consumed, "__netif_receive_skb_core" | "sch_handle_ingress") => End::Stolen,
        // `ip route get`, and the tracer's own questions: what is routed is freed where the answer is an error.
        (Fate::Dropped, "inet_rtm_getroute") => End::MadeUp,
        // Where a device gets a queue the kernel tries what a buffer for it would look like (`napi_get_frags_check`, which may
        // be inlined): that is all that these free.
        (Fate::Dropped, "netif_napi_add_weight" | "netif_napi_add_weight_locked" | "napi_get_frags_check") => {
            End::MadeUp
        }
        // A packet that was put together of fragments, or merged, is freed: the kernel tells of each of the buffers that it
        // was made of, as dropped for no reason, whatever became of the packet (net/core/skbuff.c).
        (Fate::Dropped, "skb_release_data") => End::Part,
        _ => End::AsTold,
    }
}

/// What is told is no packet: see [`End::MadeUp`], whose flow is counted nowhere, for it came by no device, and [`End::Part`].
pub(crate) fn is_made_up(body: &Body) -> bool {
    matches!(body, Body::Example(example) if matches!(end(&example.entry), End::MadeUp | End::Part))
}

/// The lines that are to be entered for one that was told: see [`End`].
pub(crate) fn lines(key: &EntryKey) -> impl Iterator<Item = Cow<'_, EntryKey>> {
    let (arrival, ended) = match end(key) {
        End::MadeUp | End::Part => (None, None),
        End::AsTold => (None, Some(Cow::Borrowed(key))),
        End::BeforeArrival => {
            let arrived = EntryKey {
                fate: Fate::Arrived,
                iif: key.device,
                incoming: true,
                reason: None,
                ..key.clone()
            };
            let dropped = EntryKey {
                iif: key.device,
                incoming: true,
                ..key.clone()
            };
            (Some(Cow::Owned(arrived)), Some(Cow::Owned(dropped)))
        }
        End::Stolen => {
            let stolen = EntryKey {
                fate: Fate::Dropped,
                reason: Some(STOLEN.to_owned()),
                ..key.clone()
            };
            (None, Some(Cow::Owned(stolen)))
        }
    };
    arrival.into_iter().chain(ended)
}

/// A drop that a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Signature {
    /// The socket had been found, and then the packet was routed as somebody else's: `ip_forward()` drops
    /// what has a socket (`if (unlikely(skb->sk)) goto drop;`).
    RoutedAsForeign,
    /// The reverse path filter refused it.
    ReversePath,
}

/// The drop's signature, where a rule knows it.
pub(crate) fn signature(key: &EntryKey) -> Option<Signature> {
    match (key.fate, reason(key), symbol(key)) {
        (Fate::Dropped, NOT_SPECIFIED, "ip_forward" | "ip6_forward") if key.socket_found => {
            Some(Signature::RoutedAsForeign)
        }
        (Fate::Dropped, RPFILTER, _) => Some(Signature::ReversePath),
        _ => None,
    }
}

/// The kernel took the destination for somebody else's: what it does to a packet for this node's own
/// address where nothing looks up table local. Where no other route leads there either it has no way to forward it by.
/// IPv6 gives no reason where a neighbour does not answer.
pub(crate) fn treated_as_foreign(reason: &str, symbol: &str) -> bool {
    matches!(
        (reason, symbol),
        ("IP_INADDRERRORS", "ip_error" | "ip6_forward")
            | ("IP_INNOROUTES", "ip_error" | "ip6_pkt_discard" | "ip6_pkt_drop")
            | (NOT_SPECIFIED, "ip_forward" | "ip6_forward")
            | ("NEIGH_FAILED" | NOT_SPECIFIED, "neigh_invalidate")
    )
}

/// The drop is a sign of [`Signature::RoutedAsForeign`], where the packet was for one of this node's own
/// addresses, without being its proof.
pub(crate) fn supports_foreign(key: &EntryKey) -> bool {
    key.fate == Fate::Dropped && signature(key).is_none() && treated_as_foreign(reason(key), symbol(key))
}

/// What waits for its next hop in vain is dropped so long after it was routed at most: it is asked for three times, a second
/// apart (`neigh_timer_handler`, net/core/neighbour.c).
pub(crate) const WAITS_FOR_HOP: u64 = 4 * SECOND;

/// The earliest time at which a packet was routed that was dropped at this time.
pub(crate) fn routed(symbol: &str, at: u64) -> u64 {
    if symbol == "neigh_invalidate" {
        at.saturating_sub(WAITS_FOR_HOP)
    } else {
        at
    }
}

/// What a TCP socket of this node sends has no route (`__ip_queue_xmit`). IPv6 gives no reason (`inet6_csk_xmit`).
pub(crate) fn unroutable(key: &EntryKey) -> bool {
    key.fate == Fate::Dropped
        && !key.incoming
        && matches!(
            (reason(key), symbol(key)),
            ("IP_OUTNOROUTES", _) | (NOT_SPECIFIED, "inet6_csk_xmit")
        )
}

/// What rules count beside the signatures, in each namespace and at each device: see [`sign`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sign {
    /// See [`unroutable`].
    Unroutable,
    /// See [`held_back`].
    HeldBack,
    /// What was to leave by the device waited in vain for the link-layer address of the next hop, or had no room to wait, be it
    /// this node's own or passed on.
    SilentHop,
    /// The device, by which they were to leave, took no packets (`__dev_queue_xmit`): it has no carrier, or its queue no room.
    NotTaken,
    /// They were passed on and left by the device by which they had come.
    SentBack,
    /// They were for somebody else, and this node does not forward (`ip_error`, `ip6_forward`).
    NotForwarded,
    /// The CPU had no room for more of what arrived by the device (`enqueue_to_backlog`).
    Backlog,
    /// See [`incomplete`].
    Incomplete,
}

/// The sign that a line of the books is, if any.
pub(crate) fn sign(key: &EntryKey) -> Option<Sign> {
    match (key.fate, reason(key), symbol(key)) {
        (Fate::Forwarded, ..) if key.iif != 0 && key.iif == key.device => Some(Sign::SentBack),
        (Fate::Dropped, ..) if unroutable(key) => Some(Sign::Unroutable),
        (Fate::Dropped, ..) if held_back(key) => Some(Sign::HeldBack),
        (Fate::Dropped, reason, symbol) if is_for_silent_hop(reason, symbol) => Some(Sign::SilentHop),
        (Fate::Dropped, reason, _) if is_not_taken(reason) => Some(Sign::NotTaken),
        (Fate::Dropped, "IP_INADDRERRORS", "ip_error" | "ip6_forward") if key.incoming => {
            Some(Sign::NotForwarded)
        }
        (Fate::Dropped, "CPU_BACKLOG", _) => Some(Sign::Backlog),
        (Fate::Dropped, reason, symbol) if key.incoming && incomplete(reason, symbol) => {
            Some(Sign::Incomplete)
        }
        _ => None,
    }
}

/// A queueing discipline drops what is to leave (include/net/dropreason-core.h).
fn is_not_taken(reason: &str) -> bool {
    ["QDISC_", "FQ_", "CAKE_"].iter().any(|of| reason.starts_with(of))
}

/// What was to be sent waited for the link-layer address of the next hop, which did not tell it, or had no room to wait
/// (`neigh_invalidate`, `__neigh_event_send`). IPv6 gives no reason; what the queue still has then is purged.
pub(crate) fn is_for_silent_hop(reason: &str, symbol: &str) -> bool {
    reason.starts_with("NEIGH_")
        || matches!(
            (reason, symbol),
            (NOT_SPECIFIED, "neigh_invalidate" | "ndisc_error_report") | ("QUEUE_PURGE", "neigh_invalidate")
        )
}

/// Of which version of IP the packets are; `None` where that is not told, or they are none of IP.
pub(crate) fn version(key: &EntryKey) -> Option<Version> {
    match key.ethertype {
        ETHERTYPE_IPV4 => Some(Version::V4),
        ETHERTYPE_IPV6 => Some(Version::V6),
        _ => None,
    }
}

/// Of which version what [`unroutable`] tells of is.
pub(crate) fn unroutable_version(key: &EntryKey) -> Version {
    if symbol(key).starts_with("inet6") {
        Version::V6
    } else {
        Version::V4
    }
}

/// What this node was sending waited for the link-layer address of the next hop, which did not tell it.
pub(crate) fn next_hop_is_silent(key: &EntryKey) -> bool {
    key.fate == Fate::Dropped
        && !key.incoming
        && reason(key) != "NEIGH_QUEUEFULL"
        && is_for_silent_hop(reason(key), symbol(key))
}

/// What this node was sending was dropped by policy: by a rule of its firewall, or a program.
pub(crate) fn held_back(key: &EntryKey) -> bool {
    key.fate == Fate::Dropped && !key.incoming && class::class(key) == Class::Policy
}

/// The same by the rules of a firewall alone.
pub(crate) fn filtered(key: &EntryKey) -> bool {
    keeper(key) == Some(Keeper::Firewall)
}

/// Who keeps from leaving what sockets of this node send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Keeper {
    /// A rule or the policy of a firewall.
    Firewall,
    /// A BPF program of the socket's cgroup, or of one above that (`BPF_CGROUP_RUN_PROG_INET_EGRESS` in `ip_finish_output`).
    Cgroup,
}

/// A program of a cgroup has refused what a socket sent (include/net/dropreason-core.h).
pub(crate) fn is_refused_to_leave(reason: &str) -> bool {
    reason == "BPF_CGROUP_EGRESS"
}

/// Who has kept it from leaving; `None` where nobody, or where it was no such thing.
pub(crate) fn keeper(key: &EntryKey) -> Option<Keeper> {
    if key.fate != Fate::Dropped || key.incoming {
        return None;
    }
    match reason(key) {
        reason if is_refused_to_leave(reason) => Some(Keeper::Cgroup),
        reason => by_firewall(reason, symbol(key)).then_some(Keeper::Firewall),
    }
}

/// A firewall's rule or policy drops them. Where a kernel gives no reason, its place tells.
pub(crate) fn by_firewall(reason: &str, symbol: &str) -> bool {
    matches!(
        (reason, symbol),
        ("NETFILTER_DROP", _) | (NOT_SPECIFIED, "nft_do_chain" | "ipt_do_table" | "ip6t_do_table")
    )
}

/// A packet that is to be passed on is larger than the next device takes, and must not be cut in pieces.
pub(crate) const TOO_LARGE: &str = "PKT_TOO_BIG";

/// Where packets end that one of those who are asked at a hook of netfilter has dropped.
pub(crate) const AT_A_HOOK: &str = "nf_hook_slow";

/// Connection tracking may have dropped it: netfilter did, and no rule of nf_tables, which drops by itself since 6.7
/// ([`super::hooks::is_of_rules`]).
pub(crate) fn may_be_untracked(key: &EntryKey) -> bool {
    key.fate == Fate::Dropped && by_firewall(reason(key), symbol(key)) && symbol(key) == AT_A_HOOK
}

/// What was thrown away is no packet of a network, as far as can be seen: it has neither device nor namespace nor protocol.
/// Messages of netlink and what waits in unix sockets are kept in the same kind of buffer as packets (`struct sk_buff`), and
/// are freed by the same function.
pub(crate) fn is_no_packet(key: &EntryKey) -> bool {
    key.fate == Fate::Dropped
        && (key.netns, key.iif, key.device, key.ethertype) == (0, 0, 0, 0)
        && key.protocol == Protocol::Other(0)
        && !key.socket_found
        && reason(key) != OTHER
}

/// The reason, [`NOT_SPECIFIED`] where the kernel has none to give.
pub(crate) fn reason(key: &EntryKey) -> &str {
    key.reason.as_deref().unwrap_or(NOT_SPECIFIED)
}

/// The function where the packets ended, empty where unknown.
pub(crate) fn symbol(key: &EntryKey) -> &str {
    key.location
        .as_ref()
        .map_or("", |location| location.symbol.as_str())
}

/// The kernel used the consumed packet up itself. What a driver's transmit completion, a packet tap or a
/// tc program consumes is not meant: that is no end of an arrival, and an unknown symbol is taken for
/// one of those, so that it stays unexplained.
pub(crate) fn answered(key: &EntryKey) -> bool {
    match symbol(key) {
        // Before 6.3 `consume_skb` tells no location.
        "" => {
            key.ethertype == ETHERTYPE_ARP
                || matches!(
                    key.protocol,
                    Protocol::Icmp | Protocol::Icmp6 | Protocol::Tcp | Protocol::Other(IPPROTO_IGMP)
                )
        }
        "arp_rcv" | "arp_process" => true,
        "icmp_rcv" | "icmp_echo" | "icmpv6_rcv" | "icmpv6_echo_reply" => true,
        "ndisc_rcv"
        | "ndisc_recv_ns"
        | "ndisc_recv_na"
        | "ndisc_recv_rs"
        | "ndisc_router_discovery"
        | "ndisc_redirect_rcv" => true,
        "igmp_rcv" | "igmp6_event_query" | "igmp6_event_report" | "mld_query_work" | "mld_report_work"
        | "__mld_query_work" | "__mld_report_work" => true,
        "tcp_rcv_state_process"
        | "tcp_conn_request"
        | "tcp_v4_conn_request"
        | "tcp_v6_conn_request"
        | "tcp_v4_do_rcv"
        | "tcp_v6_do_rcv"
        | "tcp_v4_rcv"
        | "tcp_v6_rcv"
        | "tcp_child_process"
        | "tcp_check_req" => true,
        _ => false,
    }
}

/// What a listener was handed to open a connection: `tcp_rcv_state_process` ends it the same way whether it was
/// answered or not. Before 6.3 `consume_skb` tells no location.
pub(crate) fn opening(key: &EntryKey) -> bool {
    key.fate == Fate::Consumed
        && key.protocol == Protocol::Tcp
        && matches!(symbol(key), "" | "tcp_rcv_state_process")
}

/// A reset for a connection that is being opened is dropped so, without a reason (`tcp_check_req`, called by `tcp_v4_rcv`).
pub(crate) fn ends_opening(reason: &str, symbol: &str) -> bool {
    reason == NOT_SPECIFIED && matches!(symbol, "tcp_v4_rcv" | "tcp_v6_rcv")
}

/// The accept queue was full when a connection was opened in full. Kernels that have no reason for it give none:
/// what else they drop there without one is taken for the same, so that nothing is told twice.
pub(crate) fn listen_overflow(key: &EntryKey) -> bool {
    key.fate == Fate::Dropped
        && (reason(key) == "TCP_LISTEN_OVERFLOW" || ends_opening(reason(key), symbol(key)))
}

/// Drops that the device's own counters have too: `rx_dropped` counts what a CPU's queue had no room for
/// (`enqueue_to_backlog`) and what nobody takes (`__netif_receive_skb_core`), and veth's XDP what it drops.
pub(crate) fn counted_by_device(key: &EntryKey) -> bool {
    matches!(reason(key), "CPU_BACKLOG" | "UNHANDLED_PROTO" | "PTYPE_ABSENT")
        || symbol(key).starts_with("veth_xdp_rcv")
}

/// What the kernel calls a drop is a message that it has used up: before 6.3 `icmpv6_rcv` frees every
/// message that it understood with `kfree_skb`, and without a reason. What is wrong with one has a reason of
/// its own (`ICMP_CSUM`, `NO_SOCKET`).
pub(crate) fn used_up(reason: &str, symbol: &str) -> bool {
    reason == NOT_SPECIFIED && symbol == "icmpv6_rcv"
}

/// A segment brought nothing that this node did not have already: its acknowledgement may not have arrived (`tcp_data_queue`,
/// `tcp_sequence`).
pub(crate) fn is_repeated(reason: &str) -> bool {
    matches!(reason, "TCP_OLD_DATA" | "TCP_OLD_SEQUENCE")
}

/// What the kernel calls a drop is a segment that TCP has used up. Where one end has closed the connection, what
/// acknowledges and brings no data ends at the label `discard` of `tcp_rcv_state_process`, without a reason; what is wrong
/// with one has a reason of its own.
pub(crate) fn acknowledged(reason: &str, symbol: &str) -> bool {
    reason == NOT_SPECIFIED && symbol == "tcp_rcv_state_process"
}

/// The drop empties the queue of a socket that is closed: the packets had reached that queue before.
pub(crate) fn purged(key: &EntryKey) -> bool {
    key.fate == Fate::Dropped
        && !is_for_silent_hop(reason(key), symbol(key))
        && (matches!(reason(key), "QUEUE_PURGE" | "SOCKET_CLOSE")
            || matches!(
                symbol(key),
                "udp_destruct_common"
                    | "udp_destruct_sock"
                    | "udpv6_destruct_sock"
                    | "inet_sock_destruct"
                    | "inet6_sock_destruct"
                    | "sk_stream_kill_queues"
                    | "skb_queue_purge"
                    | "skb_queue_purge_reason"
            ))
}

/// The drop empties the queue of a TCP socket that is closed (`sk_stream_kill_queues`), which is no loss and
/// not entered in the ledger: the segments were matched, and are entered as delivered. Every connection that
/// is closed in good order ends so, because the peer's last FIN stays in the queue of a socket that nobody
/// reads any more; and data that a process left unread was the process's to read. Datagrams are another
/// matter: nobody has seen those.
fn purged_segment(key: &EntryKey) -> bool {
    key.protocol == Protocol::Tcp && purged(key)
}

/// The drop is no loss, and not entered in the ledger: segments that were matched, and are entered as delivered. A kernel
/// that has no reasons tells nothing of what it discards by an acknowledgement's place.
pub(crate) fn delivered_segment(key: &EntryKey) -> bool {
    let acknowledged = key.matched && key.reason.is_some() && acknowledged(reason(key), symbol(key));
    purged_segment(key) || (key.fate == Fate::Dropped && acknowledged)
}

/// The dropped packets had been entered as matched before, and TCP itself discarded them.
pub(crate) fn dropped_after_match(key: &EntryKey) -> bool {
    key.fate == Fate::Dropped && key.matched && !delivered_segment(key)
}

/// The dropped packets may be the kernel's own copies of ICMP messages that went to a raw socket: `ping_rcv`
/// finds no ping socket for them, which is no loss; and what a policy of IPsec blocks there it has blocked for the raw socket as well.
pub(crate) fn may_be_twin(key: &EntryKey) -> bool {
    key.fate == Fate::Dropped
        && is_icmp(key.protocol)
        && (no_ping_socket(reason(key), symbol(key)) || is_blocked(reason(key), symbol(key)))
}

/// A policy of IPsec blocks messages of ICMP for the kernel itself (`icmp_rcv`, `icmpv6_rcv`).
fn is_blocked(reason: &str, symbol: &str) -> bool {
    reason == "XFRM_POLICY" && matches!(symbol, "icmp_rcv" | "icmpv6_rcv")
}

/// The dropped packets were clones for raw sockets of a message of ICMP, which the kernel has dealt with by itself as well
/// (`raw_local_deliver`, `raw6_local_deliver`): the buffer was full, or a policy blocked it.
pub(crate) fn raw_clone(key: &EntryKey) -> bool {
    key.fate == Fate::Dropped && is_icmp(key.protocol) && is_for_raw_socket(symbol(key))
}

fn is_for_raw_socket(symbol: &str) -> bool {
    matches!(symbol, "raw_rcv" | "raw_rcv_skb" | "rawv6_rcv" | "rawv6_rcv_skb")
}

/// Of a message of ICMP that was dropped so, a clone or the message itself may have been dropped as well.
pub(crate) fn may_have_clone(reason: &str, symbol: &str) -> bool {
    is_for_raw_socket(symbol) || is_blocked(reason, symbol) || no_ping_socket(reason, symbol)
}

/// Of both versions.
pub(crate) fn is_icmp(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Icmp | Protocol::Icmp6)
}

/// The kernel looked for a ping socket and found none: where it delivers ICMP that a raw socket may have got
/// as well, see [`may_be_twin`].
pub(crate) fn no_ping_socket(reason: &str, symbol: &str) -> bool {
    reason == NO_SOCKET && matches!(symbol, "ping_rcv" | "icmp_rcv" | "icmpv6_rcv")
}

/// A sender asks whether there is room again, or sends what there is none for (`tcp_sequence`, `tcp_data_queue`): a probe of the
/// window has a sequence number that was acknowledged before.
pub(crate) fn asks_for_room(reason: &str) -> bool {
    matches!(
        reason,
        "TCP_OLD_SEQUENCE" | "TCP_INVALID_SEQUENCE" | "TCP_ZEROWINDOW" | "TCP_OVERWINDOW"
    )
}

/// Fragments have waited for the rest of their packet for as long as they may (`ip_expire`, `ip6frag_expire_frag_queue`).
/// Before 6.2 the kernel gives no reason.
pub(crate) fn incomplete(reason: &str, symbol: &str) -> bool {
    matches!(
        (reason, symbol),
        ("FRAG_REASM_TIMEOUT", _)
            | (
                NOT_SPECIFIED,
                "ip_expire" | "ip6_frag_expire" | "ip6frag_expire_frag_queue"
            )
    )
}

/// The socket was found and has no room for the datagram (`__udp_enqueue_schedule_skb`).
pub(crate) fn buffer_full(reason: &str, symbol: &str) -> bool {
    reason == "SOCKET_RCVBUFF" && matches!(symbol, "udp_queue_rcv_one_skb" | "udpv6_queue_rcv_one_skb")
}

/// The kernel looked for a socket and found none.
pub(crate) fn no_socket(reason: &str, symbol: &str) -> bool {
    reason == NO_SOCKET
        && matches!(
            symbol,
            "tcp_v4_rcv" | "tcp_v6_rcv" | "__udp4_lib_rcv" | "__udp6_lib_rcv" | "udp_rcv" | "udpv6_rcv"
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Example, Location};

    #[test]
    fn an_example_that_nobody_sent_is_none() {
        let example = |symbol: &str| {
            let entry = EntryKey {
                fate: Fate::Dropped,
                netns: 1,
                iif: 0,
                device: 0,
                ethertype: 0x0800,
                protocol: Protocol::Udp,
                reason: None,
                location: Some(Location {
                    symbol: symbol.to_owned(),
                    offset: 1,
                }),
                socket_found: false,
                incoming: false,
                matched: false,
                piece: false,
            };
            Body::Example(Box::new(Example {
                entry,
                flow: None,
                packets: 1,
                length: 28,
                socket: None,
                owner: None,
                stack: Vec::new(),
                bytes: Vec::new(),
            }))
        };
        assert!(is_made_up(&example("inet_rtm_getroute")));
        assert!(!is_made_up(&example("ip_error")));
    }
}
