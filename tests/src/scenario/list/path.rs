//! What is lost before it reaches the node, which sees only that nothing comes.

use super::actors::*;
use super::prelude::*;

pub(super) const ALL: &[Scenario] = &[SILENT_PATH];

/// The peer itself lives and answers ARP: only the "internet" behind it says nothing any more.
const SILENT_PATH: Scenario = Scenario {
    name: "silent-path",
    title: "nothing comes back: the data path in front of the node is broken",
    breaks: "The addresses behind the gateway discard what they get. Requests and their repetitions leave the node, \
             nothing but ARP arrives.",
    says: "D01, where: data path. No drop on the node has to do with it.",
    needs: &[],
    setup: &[],
    traffic: &[PEER_SERVER, NODE_CLIENT, POD_CLIENT, NODE_PING],
    break_it: &[
        Step::Ip(Place::Peer, "addr del 192.0.2.10/32 dev lo"),
        Step::Ip(Place::Peer, "addr del 2001:db8:ffff::10/128 dev lo"),
        Step::Ip(Place::Peer, "route add blackhole 192.0.2.10/32"),
        Step::Ip(Place::Peer, "route add blackhole 2001:db8:ffff::10/128"),
    ],
    heal: &[
        Step::Ip(Place::Peer, "route del blackhole 192.0.2.10/32"),
        Step::Ip(Place::Peer, "route del blackhole 2001:db8:ffff::10/128"),
        Step::Ip(Place::Peer, "addr add 192.0.2.10/32 dev lo"),
        Step::Ip(Place::Peer, "addr add 2001:db8:ffff::10/128 dev lo"),
    ],
    expect: Expectation {
        exit_code: 1,
        place: "data-path",
        verdict: Some("D01"),
        drops: &[],
        column: None,
        starved: None,
        most_unexplained: 0.01,
    },
    late: true,
};
