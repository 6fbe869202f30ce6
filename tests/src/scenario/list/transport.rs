//! TCP, UDP and ICMP look for a socket and give it the packet.

use super::actors::*;
use super::prelude::*;

pub(super) const ALL: &[Scenario] = &[NO_SOCKET, UNREAD];

const NO_SOCKET: Scenario = Scenario {
    name: "no-socket",
    title: "a server that its clients still ask is gone",
    breaks: "The process that listens on the node's port 8080 (TCP and UDP) is killed; requests go on arriving.",
    says: "R12, where: process. Drops NO_SOCKET at tcp_v4_rcv, no socket found. With --late healthy, and R12 as a \
           weak sign: nobody saw that a server had ever been there.",
    needs: &[],
    setup: &[],
    traffic: ALL_WAYS,
    break_it: &[Step::Stop("node-server")],
    heal: &[Step::Start(NODE_SERVER)],
    expect: Expectation {
        exit_code: 1,
        place: "process",
        verdict: Some("R12"),
        drops: &[
            ExpectedDrop::of(&["NO_SOCKET"], &["tcp_v4_rcv"], Class::Protocol).socket_found(false),
            ExpectedDrop::of(&["NO_SOCKET"], &["tcp_v6_rcv"], Class::Protocol).socket_found(false),
            ExpectedDrop::of(&["NO_SOCKET"], &["__udp4_lib_rcv", "udp_rcv"], Class::Protocol)
                .socket_found(false),
        ],
        column: None,
        starved: None,
        most_unexplained: 0.01,
    },
    late: false,
};

const UNREAD: Scenario = Scenario {
    name: "unread",
    title: "a server hangs: what it is asked reaches its sockets and is not read",
    breaks: "The process that listens on the node's port 8080 (TCP and UDP) is stopped; requests go on arriving.",
    says: "P01, where: process. What waits is in the column queued.",
    needs: &[],
    setup: &[],
    traffic: ALL_WAYS,
    break_it: &[Step::Freeze("node-server")],
    heal: &[Step::Thaw("node-server")],
    expect: Expectation {
        exit_code: 1,
        place: "process",
        verdict: Some("P01"),
        drops: &[],
        column: Some((Column::Queued, 3)),
        starved: None,
        most_unexplained: 0.01,
    },
    late: false,
};
