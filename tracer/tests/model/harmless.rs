//! Changes just before a silence that have not brought it about.

use tracer::event::{Origin, Protocol, Seen, SocketState, Thing, Version};
use tracer::report::{Confidence, Relation};

use crate::hops::by_ip;
use crate::pairing::set;
use crate::story::*;
use crate::ways::{DEFAULT, asked, changed, led, route, routed};

/// How the silence after such a change is told to hang together with it.
fn relation(change: impl FnOnce(&mut Story)) -> Relation {
    let story = led(change);
    story.verdict("D01").cause.relation
}

fn neighbour() -> Thing {
    Thing::Neighbour {
        device: "eth0".to_owned(),
        address: ip("10.10.0.1"),
    }
}

fn rule(priority: u32, text: &str, table: u32) -> Thing {
    Thing::Rule {
        version: Version::V4,
        priority,
        text: text.to_owned(),
        table,
    }
}

fn rules(story: &mut Story, seen: Seen, did: &str) {
    let thing = Thing::Ruleset {
        firewall: "nf_tables".to_owned(),
    };
    set(story, thing, Some(did), seen, by_ip());
}

/// As who configures the device once more sets it: with another metric, from another hand, or by a rule that is there already.
#[test]
fn a_way_that_leads_as_before() {
    let default = |metric| route("0.0.0.0", 0, metric);
    assert_eq!(
        relation(|story| changed(story, default(0), Some("via 10.10.0.99 dev eth0"))),
        Relation::Explains
    );
    let unknown = |change: fn(&mut Story)| assert_eq!(relation(change), Relation::Unknown);
    unknown(|story| changed(story, route("0.0.0.0", 0, 100), Some(DEFAULT)));
    unknown(|story| {
        changed(story, route("0.0.0.0", 0, 100), Some(DEFAULT));
        changed(story, route("0.0.0.0", 0, 0), None);
    });
    unknown(|story| {
        let value = format!("{DEFAULT} proto static");
        changed(story, route("0.0.0.0", 0, 0), Some(&value));
    });
    unknown(|story| {
        let again = rule(32_000, "from all lookup main", 254);
        set(story, again.clone(), Some(""), Seen::Found, None);
        let same = rule(31_000, "from all lookup main", 254);
        changed(story, same, Some(""));
    });
    // Nor is one that is only for when there is no other.
    unknown(|story| changed(story, route("0.0.0.0", 0, 700), Some("via 192.168.8.1 dev wwan0")));
}

/// A rule is for packets from some addresses, or to some.
#[test]
fn a_rule_for_other_addresses() {
    for (text, explains) in [
        ("from 10.10.0.2 lookup 100", Relation::Explains),
        ("from 10.10.0.50 lookup 100", Relation::Unknown),
        ("from all to 192.0.2.0/24 lookup 100", Relation::Explains),
        ("from all to 203.0.113.0/24 lookup 100", Relation::Unknown),
    ] {
        let is = relation(|story| {
            let there = Thing::Route {
                table: 100,
                action: "unicast".to_owned(),
                destination: ip("0.0.0.0"),
                prefix: 0,
                metric: 0,
            };
            set(story, there, Some("dev dummy0"), Seen::Found, None);
            changed(story, rule(90, text, 100), Some(""));
        });
        assert_eq!(is, explains, "{text}");
    }
}

/// A neighbour that is pinned to where it is.
#[test]
fn the_same_link_layer_address_set_by_hand() {
    let pinned = |address: &str| {
        relation(|story| {
            set(
                story,
                neighbour(),
                Some("lladdr 02:00:00:00:00:01"),
                Seen::Found,
                None,
            );
            changed(story, neighbour(), Some(&format!("lladdr {address} PERMANENT")));
        })
    };
    assert_eq!(pinned("02:00:00:00:00:09"), Relation::Explains);
    assert_eq!(pinned("02:00:00:00:00:01"), Relation::Unknown);
}

/// What a rule drops is seen to be dropped; what it leads elsewhere is not.
#[test]
fn a_rule_of_a_firewall_that_only_drops() {
    for (words, explains) in [
        ("tcp dport 9999 drop", Relation::Unknown),
        ("tcp dport 9999 accept", Relation::Unknown),
        ("udp dport 5300 dnat", Relation::Explains),
    ] {
        let is = relation(|story| {
            rules(story, Seen::Found, "generation 1, no tables");
            let did =
                format!("generation 2, tables: inet k; table inet k, chain i: rule handle 2 ({words}) new");
            rules(story, Seen::Told, &did);
        });
        assert_eq!(is, explains, "{words}");
    }
}

/// It changed, and the peers answered for a while after.
#[test]
fn a_change_after_which_the_peers_answered() {
    let answered = |rounds: u32| {
        relation(|story| {
            rules(story, Seen::Found, "generation 1, no tables");
            let did = "generation 2, tables: ip n; table ip n, chain p: rule handle 2 (masquerade) new";
            rules(story, Seen::Told, did);
            story.rounds(rounds, |story| story.exchange(asked()));
        })
    };
    assert_eq!(answered(0), Relation::Explains);
    assert_eq!(answered(2), Relation::Explains, "these answers were on their way");
    assert_eq!(answered(8), Relation::Unknown);
}

/// Nothing has come from the peer since the start, but the connection to it was open then: it used to answer.
#[test]
fn a_silent_peer_at_a_late_start() {
    let silent = |state: SocketState| {
        let mut story = routed(&[asked()]);
        let key = flow(Protocol::Tcp, "10.10.0.2", 42_000, "198.51.100.1", 443);
        let from = (state == SocketState::SynSent).then_some(SocketState::Close);
        story.socket(key, from, state, "agent");
        story.rounds(8, |story| {
            story.ask(key);
            story.exchange(asked());
        });
        story.verdict("D01").confidence
    };
    assert_eq!(silent(SocketState::Established), Confidence::Strong);
    assert_eq!(silent(SocketState::SynSent), Confidence::Weak);
}

/// What came just before a firewall began to drop all of it is no rest that the clients of a server get.
#[test]
fn who_is_barred_loses_no_part() {
    let barred = |passed: u64| {
        let mut story = Story::begin();
        story.listen(8080, "httpd");
        let entry = drop("NETFILTER_DROP", "nft_do_chain", Protocol::Tcp);
        for port in [5_000, 5_001, 5_002] {
            story.socket(served(port), None, SocketState::Established, "httpd");
        }
        let mut first = true;
        story.rounds(8, |story| {
            let passed = if first { passed } else { 0 };
            first = false;
            for port in [5_000, 5_001, 5_002] {
                story
                    .arrived(Protocol::Tcp, passed + 1)
                    .add(entry.clone(), 1)
                    .count(served(port), |flow| {
                        (flow.origin, flow.iif) = (Origin::Remote, ETH0);
                        flow.arrived += passed + 1;
                        flow.matched += passed;
                        flow.dropped += 1;
                        flow.last_drop = Some(("NETFILTER_DROP".to_owned(), at("nft_do_chain")));
                    });
            }
        });
        story.ids()
    };
    assert!(!barred(6).contains(&"K04".to_owned()), "{:?}", barred(6));
    assert!(barred(40).contains(&"K04".to_owned()), "they get most of it");
}
