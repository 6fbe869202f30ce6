//! Nothing is broken: what goes on around every node, and must not be taken for a fault.

use super::actors::*;
use super::prelude::*;

pub(super) const ALL: &[Scenario] = &[
    DOWNLOADS,
    SHORT_CONNECTIONS,
    DATAGRAMS,
    NAMES,
    FRAGMENTS,
    PORT_SCAN,
    REFUSED,
    REFUSED_STRANGERS,
    IPV6_NOISE,
    STALE_CONNECTIONS,
    SERVER_RESTARTED,
];

/// The light load of a healthy node, and something beside it.
const EVERYDAY: Scenario = Scenario {
    name: "",
    title: "",
    breaks: "",
    says: "Healthy, no verdict.",
    needs: &[],
    setup: &[],
    traffic: ALL_WAYS,
    break_it: &[],
    heal: &[],
    expect: SOUND,
    late: false,
};

/// A process on the node that asks the internet.
const fn asking(name: &'static str, role: Role) -> Actor {
    Actor {
        name,
        role,
        ..NODE_CLIENT
    }
}

const DOWNLOADS: Scenario = Scenario {
    name: "downloads",
    title: "a healthy node that fetches much",
    breaks: "Nothing. Answers of 20 MB are fetched, one after the other, over IPv4 and IPv6.",
    break_it: &[Step::Start(asking("haul", Role::Haul))],
    heal: &[Step::Stop("haul")],
    ..EVERYDAY
};

const SHORT_CONNECTIONS: Scenario = Scenario {
    name: "short-connections",
    title: "a healthy node with many short connections",
    breaks: "Nothing. Connections are opened and closed, from the node and to it, most without a request.",
    break_it: &[
        Step::Start(asking("knock", Role::Knock)),
        Step::Start(Actor {
            name: "peer-knock",
            role: Role::Knock,
            ..PEER_CLIENT
        }),
        Step::Start(asking("flood", Role::Flood)),
    ],
    heal: &[Step::Stop("knock"), Step::Stop("peer-knock"), Step::Stop("flood")],
    ..EVERYDAY
};

const DATAGRAMS: Scenario = Scenario {
    name: "datagrams",
    title: "a healthy node that is sent many datagrams",
    breaks: "Nothing. Datagrams arrive for the node's server, fifty a second over IPv4 and over IPv6, and are answered; nobody \
             reads the answers.",
    break_it: &[Step::Start(Actor {
        name: "drip",
        role: Role::Drip,
        ..PEER_CLIENT
    })],
    heal: &[Step::Stop("drip")],
    ..EVERYDAY
};

const NAMES: Scenario = Scenario {
    name: "names",
    title: "a healthy node that looks up names",
    breaks: "Nothing. Questions leave over UDP, fifty a second, each from a port of its own, which is closed with the answer.",
    break_it: &[Step::Start(asking("resolver", Role::Resolver))],
    heal: &[Step::Stop("resolver")],
    ..EVERYDAY
};

const FRAGMENTS: Scenario = Scenario {
    name: "fragments",
    title: "a healthy node whose packets come in pieces",
    breaks: "Nothing. Pings that are cut in two arrive and are answered, and the node's own are, too.",
    break_it: &[
        Step::Start(Actor {
            name: "peer-huge-ping",
            role: Role::HugePing,
            addresses: &["10.10.0.2", "2001:db8:10::2"],
            ..PEER_CLIENT
        }),
        Step::Start(Actor {
            addresses: &["192.0.2.10", "2001:db8:ffff::10"],
            ..asking("huge-ping", Role::HugePing)
        }),
    ],
    heal: &[Step::Stop("peer-huge-ping"), Step::Stop("huge-ping")],
    // A piece that is taken for a packet, or a socket's copy, is one in a hundred.
    expect: Expectation {
        most_unexplained: 0.002,
        ..SOUND
    },
    ..EVERYDAY
};

const PORT_SCAN: Scenario = Scenario {
    name: "port-scan",
    title: "a healthy node whose ports somebody tries",
    breaks: "Nothing of the node's own. Somebody tries all ports of it, one after the other, over TCP and UDP.",
    break_it: &[Step::Start(Actor {
        name: "scan",
        role: Role::Scan,
        ..PEER_CLIENT
    })],
    heal: &[Step::Stop("scan")],
    ..EVERYDAY
};

const REFUSED: Scenario = Scenario {
    name: "refused",
    title: "a healthy node whose requests are refused",
    breaks: "Nothing of the node's own. A client on the node asks ports of others on which nobody listens.",
    break_it: &[Step::Start(Actor {
        addresses: &["192.0.2.10:8081", "[2001:db8:ffff::10]:8081"],
        ..asking("refused", Role::Client)
    })],
    heal: &[Step::Stop("refused")],
    ..EVERYDAY
};

const REFUSED_STRANGERS: Scenario = Scenario {
    name: "refused-strangers",
    title: "a healthy node that strangers ask for what it does not have",
    breaks: "Nothing of the node's own. Clients ask a port on which nobody was ever seen to listen.",
    says: "Healthy, and as a weak sign R12: it cannot know that nobody was meant to listen there.",
    break_it: &[Step::Start(Actor {
        name: "strangers",
        addresses: &["10.10.0.2:8081", "[2001:db8:10::2]:8081"],
        ..PEER_CLIENT
    })],
    heal: &[Step::Stop("strangers")],
    expect: Expectation {
        verdict: Some("R12"),
        ..SOUND
    },
    ..EVERYDAY
};

const IPV6_NOISE: Scenario = Scenario {
    name: "ipv6-noise",
    title: "a healthy node among neighbours that talk over IPv6",
    breaks: "Nothing. Advertisements of routers, questions for other neighbours, reports of members, mDNS and DHCPv6 arrive, and \
             packets for groups that the node has not joined.",
    break_it: &[
        Step::Start(Actor {
            name: "chatter",
            place: Place::Peer,
            role: Role::Chatter,
            addresses: &["node0"],
        }),
        Step::Start(frames(Frame::ForeignGroup)),
    ],
    heal: &[Step::Stop("chatter"), Step::Stop("frames")],
    ..EVERYDAY
};

/// As where a server keeps idle connections for less long than its clients do.
const STALE_CONNECTIONS: Scenario = Scenario {
    name: "stale-connections",
    title: "a healthy node with connections that were closed before they are used again",
    breaks: "Nothing. A server closes connections; 2 s later the clients ask by them all the same, and are refused: one of the \
             node's, and one that asks the node's server.",
    break_it: &[
        Step::Start(asking("node-late", Role::Stale)),
        Step::Start(Actor {
            name: "peer-late",
            role: Role::Stale,
            ..PEER_CLIENT
        }),
    ],
    heal: &[Step::Stop("node-late"), Step::Stop("peer-late")],
    ..EVERYDAY
};

/// Who is asked is there again when the next one asks, or a moment later.
const SERVER_RESTARTED: Scenario = Scenario {
    name: "server-restarted",
    title: "a healthy node whose server is started anew",
    breaks: "Nothing that lasts. The process that its clients ask is killed and started again at once.",
    break_it: &[Step::Stop("node-server"), Step::Start(NODE_SERVER)],
    heal: &[],
    ..EVERYDAY
};
