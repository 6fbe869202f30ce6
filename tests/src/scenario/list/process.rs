//! Packets have come as far as the socket, and wait there for a process.

use super::actors::*;
use super::prelude::*;

pub(super) const ALL: &[Scenario] = &[
    UNREAD_UDP,
    READ_TOO_SLOWLY,
    GONE_UNREAD,
    UNREAD_TCP,
    FROZEN,
    SOCKET_BACKLOG,
    UDP_MEMORY,
    TCP_MEMORY,
    ACCEPT_QUEUE_FULL,
];

const DEAF: Actor = Actor {
    name: "deaf",
    place: Place::Node,
    role: Role::Deaf,
    addresses: &["[::]:8081"],
};

const DEAFS_DRIP: Actor = Actor {
    name: "peer-drip",
    place: Place::Peer,
    role: Role::Drip,
    addresses: &["10.10.0.2:8081", "[2001:db8:10::2]:8081"],
};

/// A process that is at fault, and a node that is not.
const PROCESS: Scenario = Scenario {
    name: "",
    title: "",
    breaks: "",
    says: "",
    needs: &[],
    setup: &[],
    traffic: &[PEER_SERVER, NODE_SERVER, NODE_CLIENT, PEER_CLIENT],
    break_it: &[],
    heal: &[],
    expect: Expectation {
        exit_code: 1,
        place: "process",
        verdict: Some("R13"),
        drops: &[],
        column: None,
        starved: None,
        most_unexplained: 0.01,
    },
    late: false,
};

const UNREAD_UDP: Scenario = Scenario {
    name: "unread-udp",
    title: "a process does not read its datagrams, until its buffer is full",
    breaks: "A process is bound to port 8081 with the smallest receive buffer and never reads.",
    says: "R13, where: process. Drops SOCKET_RCVBUFF at udp_queue_rcv_one_skb, the socket found.",
    break_it: &[Step::Start(DEAF), Step::Start(DEAFS_DRIP)],
    heal: &[Step::Stop("peer-drip"), Step::Stop("deaf")],
    expect: Expectation {
        drops: &[
            ExpectedDrop::of(&["SOCKET_RCVBUFF"], &["udp_queue_rcv_one_skb"], Class::Resource)
                .socket_found(true),
            ExpectedDrop::of(&["SOCKET_RCVBUFF"], &["udpv6_queue_rcv_one_skb"], Class::Resource)
                .socket_found(true),
        ],
        column: Some((Column::Dropped, 50)),
        ..PROCESS.expect
    },
    ..PROCESS
};

const READ_TOO_SLOWLY: Scenario = Scenario {
    name: "read-too-slowly",
    title: "a process reads its datagrams, but fewer than come",
    breaks: "A process is bound to port 8081 with the smallest receive buffer, and reads ten datagrams a second of a hundred that \
             come.",
    says: "Healthy, and as a weak sign K05, as the process is no service's and no pod's. Drops SOCKET_RCVBUFF at udp_queue_rcv_one_skb, the socket found.",
    break_it: &[
        Step::Start(Actor {
            name: "slow",
            role: Role::Slow,
            ..DEAF
        }),
        Step::Start(DEAFS_DRIP),
    ],
    heal: &[Step::Stop("peer-drip"), Step::Stop("slow")],
    expect: Expectation {
        verdict: Some("K05"),
        drops: UNREAD_UDP.expect.drops,
        column: UNREAD_UDP.expect.column,
        ..SOUND
    },
    ..PROCESS
};

/// What waited in the queue has reached the socket, and no process has seen it.
const GONE_UNREAD: Scenario = Scenario {
    name: "gone-unread",
    title: "a process ends with datagrams unread",
    breaks: "A process that is bound to port 8081 and never reads is killed; datagrams go on arriving.",
    says: "R12, where: process. What had waited is dropped with its queue, at udp_destruct_common, without a reason.",
    break_it: &[
        Step::Start(DEAF),
        Step::Start(DEAFS_DRIP),
        Step::Await("peer-drip", 25),
        Step::Stop("deaf"),
    ],
    heal: &[Step::Stop("peer-drip")],
    expect: Expectation {
        verdict: Some("R12"),
        drops: &[
            ExpectedDrop::of(
                &["NOT_SPECIFIED", "QUEUE_PURGE", "SOCKET_CLOSE"],
                &[
                    "udp_destruct_common",
                    "udp_destruct_sock",
                    "udpv6_destruct_sock",
                    "inet_sock_destruct",
                    "skb_queue_purge",
                    "skb_queue_purge_reason",
                ],
                Class::Protocol,
            ),
            ExpectedDrop::of(&["NO_SOCKET"], &["__udp4_lib_rcv", "udp_rcv"], Class::Protocol)
                .socket_found(false),
        ],
        column: Some((Column::Dropped, 50)),
        ..PROCESS.expect
    },
    ..PROCESS
};

const UNREAD_TCP: Scenario = Scenario {
    name: "unread-tcp",
    title: "a process does not read its connections",
    breaks: "A process accepts connections on port 8081 with the smallest receive buffer and never reads: their \
             windows close, and the senders ask in vain whether they are open again.",
    says: "Healthy: nothing is lost, the senders wait; after 10 s R14, as a weak sign. Drops TCP_OLD_SEQUENCE at \
           tcp_validate_incoming, by which they ask.",
    break_it: &[
        Step::Start(DEAF),
        Step::Start(Actor {
            name: "peer-pour",
            place: Place::Peer,
            role: Role::Pour,
            addresses: &["10.10.0.2:8081", "[2001:db8:10::2]:8081"],
        }),
    ],
    heal: &[Step::Stop("peer-pour"), Step::Stop("deaf")],
    expect: Expectation {
        drops: &[ExpectedDrop::of(
            &["TCP_OLD_SEQUENCE", "TCP_INVALID_SEQUENCE"],
            &["tcp_validate_incoming", "tcp_rcv_established"],
            Class::Protocol,
        )
        .socket_found(true)],
        ..SOUND
    },
    ..PROCESS
};

const FROZEN: Scenario = Scenario {
    name: "frozen",
    title: "a process is stopped, and datagrams wait for it",
    breaks: "The server is stopped by SIGSTOP; requests go on arriving and wait in its queues.",
    says: "R14, where: process: the server is stopped. Datagrams wait, and once there is no room for more they are dropped.",
    traffic: &[PEER_SERVER, NODE_SERVER, NODE_CLIENT, PEER_CLIENT, NODE_DRIP],
    break_it: &[Step::Freeze("node-server")],
    heal: &[Step::Thaw("node-server")],
    expect: Expectation {
        verdict: Some("R14"),
        column: Some((Column::Queued, 50)),
        ..PROCESS.expect
    },
    ..PROCESS
};

/// While a process is in the kernel for a socket, what arrives for it waits in its backlog, and is handed over behind that.
const SOCKET_BACKLOG: Scenario = Scenario {
    name: "socket-backlog",
    title: "a process keeps its socket busy while more comes for it",
    breaks: "A process sends from memory that takes 2 s to come, as from a slow swap: the kernel can hand its socket nothing \
             meanwhile, and the room for what waits for that is full.",
    says: "Healthy: what is dropped is sent again. Drops SOCKET_BACKLOG at tcp_v4_rcv and tcp_v6_rcv, the socket found.",
    needs: &[Need::Symbol("handle_userfault")],
    // The peer gets no answer meanwhile, and goes on all the same.
    setup: &[
        Step::Ip(
            Place::Peer,
            "route add 10.10.0.2/32 dev node0 initcwnd 1000 rto_min 5s",
        ),
        Step::Ip(
            Place::Peer,
            "route add 2001:db8:10::2/128 dev node0 initcwnd 1000 rto_min 5s",
        ),
    ],
    break_it: &[
        Step::Start(Actor {
            name: "stuck",
            place: Place::Node,
            role: Role::Stuck,
            addresses: &["[::]:8081"],
        }),
        Step::Start(Actor {
            name: "trickle",
            place: Place::Peer,
            role: Role::Trickle,
            addresses: DEAFS_DRIP.addresses,
        }),
    ],
    heal: &[Step::Stop("trickle"), Step::Stop("stuck")],
    expect: Expectation {
        drops: &[
            ExpectedDrop::of(
                &["SOCKET_BACKLOG"],
                &["tcp_add_backlog", "tcp_v4_rcv"],
                Class::Resource,
            )
            .socket_found(true),
            ExpectedDrop::of(
                &["SOCKET_BACKLOG"],
                &["tcp_add_backlog", "tcp_v6_rcv"],
                Class::Resource,
            )
            .socket_found(true),
        ],
        column: Some((Column::Dropped, 100)),
        ..SOUND
    },
    ..PROCESS
};

/// All sockets of the machine share what is bounded by the sysctl. Each CPU takes up to 1 MiB of it at once
/// (`SK_MEMORY_PCPU_RESERVE`), so that much must wait before the bound is felt: more than one socket has room for.
const UDP_MEMORY: Scenario = Scenario {
    name: "udp-memory",
    title: "UDP has used up its memory",
    breaks: "A server with many sockets is stopped by SIGSTOP, with next to no memory for what waits in them: udp_mem is 0, or \
             the server's cgroup has a bound. Datagrams go on arriving.",
    says: "Healthy: whose data fills the memory is not told by whose does not fit. Datagrams wait, and once nothing is left \
           they are dropped, PROTO_MEM at udp_queue_rcv_one_skb, the socket found (since 6.11).",
    needs: &[Need::SocketMemory],
    break_it: &[
        Step::BoundSocketMemory("net.ipv4.udp_mem"),
        Step::Start(MANY_PORTS),
        Step::Freeze("many-ports"),
        Step::Start(TO_MANY_PORTS),
    ],
    heal: &[
        Step::MachineBack,
        Step::Stop("peer-drip"),
        Step::Stop("many-ports"),
    ],
    expect: Expectation {
        drops: &[ExpectedDrop::of(
            &["PROTO_MEM"],
            &["udp_queue_rcv_one_skb", "__udp_enqueue_schedule_skb"],
            Class::Resource,
        )
        .socket_found(true)
        .if_handed_over()],
        column: Some((Column::Dropped, 100)),
        ..SOUND
    },
    ..PROCESS
};

/// As with UDP all sockets of the machine share it, and each CPU takes 1 MiB of it at once. A segment that finds nothing
/// else waiting is kept all the same (`sk_forced_mem_schedule`), and 4 KiB of each socket (`tcp_rmem`). A cgroup has its
/// bound only for connections that were accepted (`inet_csk_accept`), so these stand before the server stops.
const TCP_MEMORY: Scenario = Scenario {
    name: "tcp-memory",
    title: "TCP has used up its memory",
    breaks: "A server with many connections is stopped by SIGSTOP, with next to no memory for what waits in them: tcp_mem is \
             0, or the server's cgroup has a bound. Data goes on arriving.",
    says: "Healthy: whose data fills the memory is not told by whose does not fit. What does not fit is dropped, PROTO_MEM at \
           tcp_data_queue or tcp_rcv_established, the socket found, and sent again.",
    needs: &[Need::SocketMemory],
    // Room for more than the CPUs take at once.
    setup: &[Step::Sysctl(
        Place::Node,
        "net.ipv4.tcp_rmem",
        "4096 4194304 4194304",
    )],
    break_it: &[
        Step::BoundSocketMemory("net.ipv4.tcp_mem"),
        Step::Start(MANY_PORTS),
        Step::Start(POUR_TO_MANY_PORTS),
        Step::Await("peer-pour", 5),
        Step::Freeze("many-ports"),
    ],
    heal: &[
        Step::MachineBack,
        Step::Stop("peer-pour"),
        Step::Stop("many-ports"),
    ],
    expect: Expectation {
        drops: &[ExpectedDrop::of(
            &["PROTO_MEM"],
            &["tcp_data_queue", "tcp_data_queue_ofo", "tcp_rcv_established"],
            Class::Resource,
        )
        .socket_found(true)],
        column: Some((Column::Dropped, 10)),
        ..SOUND
    },
    ..PROCESS
};

const POUR_TO_MANY_PORTS: Actor = Actor {
    name: "peer-pour",
    role: Role::Pour,
    ..TO_MANY_PORTS
};

const MANY_PORTS: Actor = Actor {
    name: "many-ports",
    addresses: &PORTS,
    ..NODE_SERVER
};

const TO_MANY_PORTS: Actor = Actor {
    addresses: &PORTS,
    ..DEAFS_DRIP
};

const PORTS: [&str; 16] = [
    "10.10.0.2:8100",
    "10.10.0.2:8101",
    "10.10.0.2:8102",
    "10.10.0.2:8103",
    "10.10.0.2:8104",
    "10.10.0.2:8105",
    "10.10.0.2:8106",
    "10.10.0.2:8107",
    "10.10.0.2:8108",
    "10.10.0.2:8109",
    "10.10.0.2:8110",
    "10.10.0.2:8111",
    "10.10.0.2:8112",
    "10.10.0.2:8113",
    "10.10.0.2:8114",
    "10.10.0.2:8115",
];

/// From the peer to the node's server.
const NODE_DRIP: Actor = Actor {
    name: "peer-drip",
    place: Place::Peer,
    role: Role::Drip,
    addresses: &["10.10.0.2:8080", "[2001:db8:10::2]:8080"],
};

/// The kernel calls the SYNs consumed, and only counts them (`tcp_conn_request`).
const ACCEPT_QUEUE_FULL: Scenario = Scenario {
    name: "accept-queue-full",
    title: "a server accepts no connections, and there is no more room for them",
    breaks: "A process listens on port 8081 with room for one connection and never accepts any.",
    says: "R15, where: process. No event tells of a drop: by the kernel's counters accept_queue_full, and the queue under \
           Waiting in sockets.",
    break_it: &[
        Step::Start(Actor {
            name: "full",
            place: Place::Node,
            role: Role::Full,
            addresses: &["[::]:8081"],
        }),
        Step::Start(Actor {
            name: "peer-knock",
            place: Place::Peer,
            role: Role::Knock,
            addresses: &["10.10.0.2:8081", "[2001:db8:10::2]:8081"],
        }),
    ],
    heal: &[Step::Stop("peer-knock"), Step::Stop("full")],
    expect: Expectation {
        drops: &[ExpectedDrop::of(&["accept_queue_full"], &[""], Class::Resource).socket_found(true)],
        column: Some((Column::Dropped, 4)),
        verdict: Some("R15"),
        ..PROCESS.expect
    },
    ..PROCESS
};
