//! Who the scenarios have in common. Addresses are those of the topology, see [`crate::lab`].

use super::prelude::*;

pub(super) const INTERNET: &[&str] = &["192.0.2.10:8080", "[2001:db8:ffff::10]:8080"];

pub(super) const PEER_SERVER: Actor = Actor {
    name: "peer-server",
    place: Place::Peer,
    role: Role::Server,
    addresses: INTERNET,
};

/// Listens at the wildcard address, so its sockets are of IPv6 and serve both.
pub(super) const NODE_SERVER: Actor = Actor {
    name: "node-server",
    place: Place::Node,
    role: Role::Server,
    addresses: &["[::]:8080"],
};

pub(super) const NODE_CLIENT: Actor = Actor {
    name: "node-client",
    place: Place::Node,
    role: Role::Client,
    addresses: INTERNET,
};

pub(super) const POD_CLIENT: Actor = Actor {
    name: "pod-client",
    place: Place::Pod,
    role: Role::Client,
    addresses: INTERNET,
};

pub(super) const PEER_CLIENT: Actor = Actor {
    name: "peer-client",
    place: Place::Peer,
    role: Role::Client,
    addresses: &["10.10.0.2:8080", "[2001:db8:10::2]:8080"],
};

pub(super) const NODE_PING: Actor = Actor {
    name: "node-ping",
    place: Place::Node,
    role: Role::Ping,
    addresses: &["192.0.2.10", "2001:db8:ffff::10"],
};

/// Its raw sockets get what those of the first one get.
pub(super) const OTHER_PING: Actor = Actor {
    name: "other-ping",
    ..NODE_PING
};

const GROUP: &[&str] = &["239.1.1.1:9000", "239.1.1.2:9000"];

pub(super) const MEMBERS: Actor = Actor {
    name: "members",
    place: Place::Node,
    role: Role::Members,
    addresses: GROUP,
};

/// Nobody answers it.
pub(super) const GROUP_CLIENT: Actor = Actor {
    name: "group-client",
    place: Place::Peer,
    role: Role::Client,
    addresses: GROUP,
};

pub(super) const PEER_PING: Actor = Actor {
    name: "peer-ping",
    place: Place::Peer,
    role: Role::Ping,
    addresses: &["10.10.0.2", "2001:db8:10::2", "10.244.0.2"],
};

pub(super) const BULK: Actor = Actor {
    name: "bulk",
    place: Place::Node,
    role: Role::Bulk,
    addresses: &["192.0.2.10:8080"],
};

pub(super) const FLOOD: Actor = Actor {
    name: "flood",
    place: Place::Node,
    role: Role::Flood,
    addresses: &["192.0.2.10:8080"],
};

pub(super) const TAP: Actor = Actor {
    name: "tap",
    place: Place::Node,
    role: Role::Tap,
    addresses: &["eth0"],
};

/// To a port on which nobody listens.
pub(super) const STORM: Actor = Actor {
    name: "storm",
    place: Place::Peer,
    role: Role::Storm,
    addresses: &["10.10.0.2:9999"],
};

pub(super) const CROWD: Actor = Actor {
    name: "crowd",
    place: Place::Peer,
    role: Role::Crowd,
    addresses: &["10.10.0.2:8080"],
};

pub(super) const KEYS: Actor = Actor {
    name: "keys",
    place: Place::Peer,
    role: Role::Keys,
    addresses: &["node0"],
};

/// From and to the node and through it, by all protocols.
pub(super) const ALL_WAYS: &[Actor] = &[
    PEER_SERVER,
    NODE_SERVER,
    NODE_CLIENT,
    POD_CLIENT,
    PEER_CLIENT,
    NODE_PING,
    PEER_PING,
];

/// Nothing is wrong.
pub(super) const SOUND: Expectation = Expectation {
    exit_code: 0,
    place: "healthy",
    verdict: None,
    drops: &[],
    column: None,
    starved: None,
    most_unexplained: 0.01,
};

pub(super) const PEER_SERVER_V4: Actor = Actor {
    addresses: &["192.0.2.10:8080"],
    ..PEER_SERVER
};

pub(super) const NODE_CLIENT_V4: Actor = Actor {
    addresses: &["192.0.2.10:8080"],
    ..NODE_CLIENT
};

/// Sends frames of this kind, beside others, from the peer to the node.
pub(super) const fn more_frames(name: &'static str, frame: Frame) -> Actor {
    Actor {
        name,
        ..frames(frame)
    }
}

/// Sends frames of this kind from the peer to the node.
pub(super) const fn frames(frame: Frame) -> Actor {
    Actor {
        name: "frames",
        place: Place::Peer,
        role: Role::Frames(frame),
        addresses: &["node0"],
    }
}

/// A node on which nothing is wrong gets frames that are.
pub(super) const FRAMES: Scenario = Scenario {
    name: "",
    title: "",
    breaks: "",
    says: "",
    needs: &[],
    setup: &[],
    traffic: &[PEER_SERVER, NODE_CLIENT],
    break_it: &[],
    heal: &[Step::Stop("frames")],
    expect: Expectation {
        column: Some((Column::Dropped, 30)),
        ..SOUND
    },
    late: false,
};
