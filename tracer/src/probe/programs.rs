//! The BPF programs: where each is attached, what it needs and what it gives.

use super::hook::Hook;
use super::offsets::Group;
use super::standing;

/// A BPF program, and what it gives.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its name in the object.
    pub name: &'static str,
    /// Where it is attached.
    pub hook: Hook,
    /// The capability that it stands for, which others may have a part in.
    pub capability: &'static str,
    /// What is not seen without it.
    pub unseen: &'static str,
    /// What it reads.
    pub(super) needs: &'static [Group],
    /// Capabilities that give the same, together, where the kernel lacks what this one needs.
    pub(super) instead: &'static [&'static str],
}

/// The capability of the programs that observe functions. They are attached all or none: the others leave to them
/// what they see better.
pub(super) const FUNCTIONS: &str = "functions";
/// The capability whose part the functions do.
pub(super) const QUEUED: &str = "queued";
/// The capability that, before 6.3, tells what is read.
const ANSWERS: &str = "answers";

/// Every program of the tracer.
#[must_use]
pub fn programs() -> &'static [Program] {
    use Group::{Device, Exit, Neighbour, Packet, Segments, Socket, Task};
    macro_rules! program {
        ($name:literal, $tracepoint:literal, $capability:expr, $needs:expr, $unseen:literal) => {
            program!($name, $tracepoint, $capability, $needs, $unseen, instead: &[])
        };
        ($name:literal, $tracepoint:literal, $capability:expr, $needs:expr, $unseen:literal, instead: $instead:expr) => {
            Program {
                name: $name,
                hook: Hook::Tracepoint($tracepoint),
                capability: $capability,
                unseen: $unseen,
                needs: $needs,
                instead: $instead,
            }
        };
    }
    const fn function(name: &'static str, hook: Hook) -> Program {
        Program {
            name,
            hook,
            capability: FUNCTIONS,
            unseen: "which datagram is put in a receive queue is concluded, not told",
            needs: &[Packet, Device, Socket],
            instead: &[],
        }
    }
    const fn neighbour(name: &'static str, tracepoint: &'static str) -> Program {
        Program {
            name,
            hook: Hook::Tracepoint(tracepoint),
            capability: standing::CAPABILITY,
            unseen: "packets that wait for a neighbour's answer stay unexplained until they are sent or dropped",
            needs: &[Packet, Device, Neighbour],
            instead: &[],
        }
    }
    const PROGRAMS: &[Program] = &[
        program!(
            "arrival",
            "netif_receive_skb",
            "arrivals",
            &[Packet, Device],
            "packets that arrive are not counted: the ledger does not balance"
        ),
        program!(
            "drop",
            "kfree_skb",
            "drops",
            &[Packet, Device, Socket],
            "drops are not seen: they stay unexplained"
        ),
        program!(
            "consumed",
            "consume_skb",
            ANSWERS,
            &[Packet, Device, Socket],
            "packets that the kernel answers itself stay unexplained"
        ),
        program!(
            "matched",
            "tcp_probe",
            "matched",
            &[Packet, Socket, Segments],
            "TCP segments that reach their socket stay unexplained"
        ),
        program!(
            "state",
            "inet_sock_set_state",
            "connections",
            &[Socket, Segments],
            "connections that open and close are not seen; segments outside of established ones stay unexplained"
        ),
        program!(
            "queued",
            "sk_data_ready",
            QUEUED,
            &[Socket],
            "datagrams that wait in a receive queue stay unexplained until a process reads them",
            instead: &[FUNCTIONS]
        ),
        program!(
            "read",
            "skb_copy_datagram_iovec",
            "reads",
            &[Packet, Device, Socket, Task],
            "what processes read of TCP and ICMP is not seen"
        ),
        program!(
            "received",
            "sock_recv_length",
            "datagram-reads",
            &[Socket],
            "datagrams that wait in a receive queue cannot be told from those that were read",
            instead: &[FUNCTIONS, ANSWERS]
        ),
        program!(
            "sent",
            "net_dev_start_xmit",
            "sent",
            &[Packet, Device],
            "packets that leave are not seen: replies cannot be told from requests, forwarded packets stay unexplained"
        ),
        program!(
            "retransmitted",
            "tcp_retransmit_skb",
            "retransmits",
            &[Socket],
            "retransmissions are not seen"
        ),
        program!(
            "ended",
            "sched_process_exit",
            "exits",
            &[Device, Task, Exit],
            "who changed something and ended at once is known by its number only"
        ),
        neighbour("unresolved", "neigh_event_send_done"),
        neighbour("resolved", "neigh_update_done"),
        neighbour("asked_in_vain", "neigh_timer_handler"),
        neighbour("forgotten", "neigh_cleanup_and_release"),
        function("udp_enqueue", Hook::Entry("__udp_enqueue_schedule_skb")),
        function("udp_enqueued", Hook::Return("__udp_enqueue_schedule_skb")),
        function("icmp_enqueue", Hook::Entry("sock_queue_rcv_skb_reason")),
        function("icmp_enqueued", Hook::Return("sock_queue_rcv_skb_reason")),
    ];
    PROGRAMS
}
