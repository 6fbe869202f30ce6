//! A firewall that drops what the node is to pass on.

use tracer::event::{
    Body, Chain, Chains, Example, Family, FlowKey, Origin, Point, Protocol, Seen, SocketState, Thing,
};
use tracer::report::{Change, Confidence, Relation, Where};

use crate::lookalikes::assert_nothing;
use crate::pairing::set;
use crate::story::*;

const POD: &str = "10.244.0.2";

/// Packets from there to the pod, as the node's own namespace counts them.
fn to_pod(protocol: Protocol, port: u16, from: &str, from_port: u16) -> FlowKey {
    flow(protocol, POD, port, from, from_port)
}

/// What the pod sends in the same flow.
fn back(key: FlowKey) -> FlowKey {
    FlowKey {
        local: key.remote,
        local_port: key.remote_port,
        remote: key.local,
        remote_port: key.local_port,
        ..key
    }
}

fn passes(story: &mut Story, key: FlowKey) {
    let from = if key.remote == ip(POD) { LXC1 } else { ETH0 };
    story.arrived(key.protocol, 1).count(key, |flow| {
        (flow.origin, flow.iif, flow.arrived) = (Origin::Remote, from, flow.arrived + 1);
    });
}

fn is_dropped(story: &mut Story, key: FlowKey) {
    passes(story, key);
    let last = ("NETFILTER_DROP".to_owned(), at("nft_do_chain"));
    story
        .add(drop("NETFILTER_DROP", "nft_do_chain", key.protocol), 1)
        .count(key, |flow| {
            (flow.dropped, flow.last_drop) = (flow.dropped + 1, Some(last));
        });
}

fn rule(story: &mut Story, words: &str) {
    let rules = Thing::Ruleset {
        firewall: "nf_tables".to_owned(),
    };
    let value =
        format!("generation 2, tables: inet f; table inet f, chain forward: rule handle 2 ({words}) new");
    set(story, rules, Some(&value), Seen::Told, None);
}

/// The pod asks these by UDP, and is answered for a while; then a rule comes, and no answer gets through.
fn answers_dropped(peers: &[&str], words: &str) -> Story {
    let mut story = healthy();
    let keys: Vec<FlowKey> = (4000..)
        .zip(peers)
        .map(|(port, peer)| to_pod(Protocol::Udp, port, peer, 53))
        .collect();
    let ask = |story: &mut Story, is_answered: bool| {
        for key in &keys {
            passes(story, back(*key));
            if is_answered {
                passes(story, *key);
            } else {
                is_dropped(story, *key);
            }
        }
    };
    story.rounds(4, |story| ask(story, true));
    rule(&mut story, words);
    story.rounds(8, |story| ask(story, false));
    story
}

#[test]
fn answers_for_a_pod_that_a_firewall_drops_are_a_fault() {
    let story = answers_dropped(&["192.0.2.53", "192.0.2.54"], "iif 2 drop");
    assert_eq!(story.ids(), ["R38"]);
    assert_eq!(story.report().place, Where::GuestKernel);
    let verdict = story.verdict("R38");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert_eq!(verdict.cause.relation, Relation::Explains);
    let start = "16 packets for 10.244.0.2 from 192.0.2.53 and 192.0.2.54, which this node was to pass on, were dropped by its own \
                 firewall since 06:00:";
    assert!(verdict.explanation.starts_with(start), "{}", verdict.explanation);
    // One peer may be shut out on purpose, by a rule that names it.
    for (words, confidence) in [
        ("ip saddr 192.0.2.53 drop", Confidence::Weak),
        ("ip daddr 10.244.0.2 drop", Confidence::Strong),
    ] {
        let story = answers_dropped(&["192.0.2.53"], words);
        assert_eq!(story.verdict("R38").confidence, confidence, "{words}");
    }
    // It is another rule's.
    let verdict = answers_dropped(&["192.0.2.53", "192.0.2.54"], "tcp dport 9999 drop").verdict("R38");
    assert_eq!(verdict.cause.relation, Relation::Unknown);
}

/// Drops are seen at two hooks: only that counts by which packets go that are passed on, and it is told once.
#[test]
fn what_is_dropped_on_its_way_through_is_by_no_chain_of_another_way() {
    let dropped = |changed: &str| {
        let mut story = healthy();
        let chain = |hook, name: &str| Chain {
            family: Family::Inet,
            hook,
            priority: 0,
            table: "f".to_owned(),
            name: name.to_owned(),
        };
        let chains = vec![chain(Point::Forward, "forward"), chain(Point::Input, "in")];
        story.say(Body::Chains(Chains { netns: NETNS, chains }));
        let keys = ["192.0.2.53", "192.0.2.54"].map(|peer| to_pod(Protocol::Udp, 4000, peer, 53));
        story.rounds(4, |story| keys.iter().for_each(|key| passes(story, *key)));
        let value =
            format!("generation 2, tables: inet f; table inet f, chain {changed}: rule handle 2 (drop) new");
        let firewall = "nf_tables".to_owned();
        set(
            &mut story,
            Thing::Ruleset { firewall },
            Some(&value),
            Seen::Told,
            None,
        );
        for (protocol, asks) in [
            (Protocol::Udp, "ip_forward"),
            (Protocol::Tcp, "ip_forward"),
            (Protocol::Udp, "ip_local_deliver"),
        ] {
            let stack = ["nft_do_chain", "nft_do_chain_inet", "nf_hook_slow", asks];
            story.say(Body::Example(Box::new(Example {
                entry: drop("NETFILTER_DROP", "nft_do_chain", protocol),
                flow: None,
                packets: 1,
                length: 100,
                socket: None,
                owner: None,
                stack: stack.map(at).into(),
                bytes: Vec::new(),
            })));
        }
        story.rounds(8, |story| {
            for key in keys {
                passes(story, back(key));
                is_dropped(story, key);
            }
        });
        story.verdict("R38")
    };
    let verdict = dropped("forward");
    assert_eq!(verdict.cause.relation, Relation::Explains);
    let seen = "Drops of a firewall were seen at netfilter: forward, ipv4: table inet f, chain forward. ";
    assert!(verdict.explanation.contains(seen), "{}", verdict.explanation);
    assert_eq!(dropped("in").cause.relation, Relation::Unknown);
}

/// Clients try anew, each time by another port.
#[test]
fn a_pod_that_a_firewall_cuts_off_from_its_clients_is_a_fault() {
    let dropped = |worked: bool, others: bool| {
        let mut story = healthy();
        let from = |peer: &str, port| to_pod(Protocol::Tcp, 8080, peer, port);
        story.rounds(4, |story| {
            for peer in ["203.0.113.8", "203.0.113.9"] {
                if worked {
                    passes(story, from(peer, 4000));
                    passes(story, back(from(peer, 4000)));
                }
            }
        });
        let mut port = 5000;
        story.rounds(8, |story| {
            port += 1;
            for peer in ["203.0.113.8", "203.0.113.9"] {
                is_dropped(story, from(peer, port));
                if others {
                    passes(story, from(peer, 4001));
                }
            }
        });
        story
    };
    assert_eq!(dropped(true, false).ids(), ["R38"]);
    // What never got through is forbidden, and what is dropped beside what gets through is a part.
    assert_nothing(&dropped(false, false));
    assert_nothing(&dropped(true, true));
}

/// What one end of a connection sends that is over belongs to nothing that the firewall knows.
#[test]
fn late_segments_that_a_firewall_does_not_pass_on() {
    let mut story = healthy();
    let keys = ["203.0.113.8", "203.0.113.9"].map(|peer| to_pod(Protocol::Tcp, 40_000, peer, 443));
    story.rounds(4, |story| {
        for key in keys {
            passes(story, key);
            passes(story, back(key));
        }
    });
    story.rounds(8, |story| keys.into_iter().for_each(|key| is_dropped(story, key)));
    assert_nothing(&story);
}

/// The pod's own namespace is watched too: what it asks for is not answered, and not for want of an answer.
#[test]
fn what_the_node_drops_for_a_pod_is_no_silent_path() {
    const PODNS: u32 = NETNS + 1;
    let silent = |is_dropped_here: bool| {
        let mut story = Story::with_namespaces(&[(NETNS, "host"), (PODNS, "pod")]);
        story.device(NETNS, ETH0, "eth0", true, vec![ip("10.10.0.2")]);
        story.device(NETNS, LXC1, "lxc1", false, vec![]);
        story.device(PODNS, ETH0, "eth0", true, vec![ip(POD)]);
        let keys: Vec<FlowKey> = [40_000, 40_001]
            .map(|port| to_pod(Protocol::Tcp, port, "192.0.2.10", 80))
            .into();
        story.rounds(4, |story| {
            for key in &keys {
                let own = FlowKey { netns: PODNS, ..*key };
                story.socket(own, Some(SocketState::SynSent), SocketState::Established, "curl");
                story.exchange(own);
                passes(story, *key);
                passes(story, back(*key));
            }
        });
        story.rounds(8, |story| {
            for key in &keys {
                story.ask(FlowKey { netns: PODNS, ..*key });
                passes(story, back(*key));
                if is_dropped_here {
                    is_dropped(story, *key);
                }
            }
        });
        story.ids()
    };
    assert_eq!(silent(true), ["R38"]);
    assert_eq!(silent(false), ["D01"]);
}

/// That it is between more than two was seen, though one of them asks no more.
#[test]
fn a_firewall_that_drops_what_passes_is_no_less_sure_when_one_asks_no_more() {
    let mut story = answers_dropped(&["192.0.2.53", "192.0.2.54"], "ip saddr 192.0.2.0/24 drop");
    assert_eq!(story.verdict("R38").confidence, Confidence::Strong);
    let key = to_pod(Protocol::Udp, 4000, "192.0.2.53", 53);
    story.rounds(40, |story| {
        passes(story, back(key));
        is_dropped(story, key);
    });
    assert_eq!(story.verdict("R38").confidence, Confidence::Strong);
}

/// What is asked by TCP is dropped, and datagrams between the same two get through, as where a rule names a port. A connection that stands
/// was busy until just before: it waits for longer and longer until it sends again.
#[test]
fn what_is_dropped_of_one_port_beside_what_gets_through_is_a_fault() {
    let peer = "203.0.113.8";
    let to = |protocol, port, from_port| back(to_pod(protocol, from_port, peer, port));
    let (open, datagram) = (to(Protocol::Tcp, 8080, 4000), to(Protocol::Udp, 5353, 4001));
    let mut story = healthy();
    let works = |story: &mut Story, key: FlowKey, packets: u32| {
        for _ in 0..packets {
            passes(story, key);
            passes(story, back(key));
        }
    };
    story.rounds(8, |story| {
        works(story, open, 3);
        works(story, datagram, 2);
    });
    rule(&mut story, "tcp dport 8080 drop");
    let mut round = 0;
    story.rounds(10, |story| {
        round += 1;
        if round == 1 {
            works(story, open, 3);
        }
        if u32::is_power_of_two(round) {
            is_dropped(story, open);
        }
        if round % 2 == 0 {
            let port = 6000 + u16::try_from(round).unwrap();
            is_dropped(story, to(Protocol::Tcp, 8080, port));
        }
        works(story, datagram, 2);
    });
    assert_eq!(story.ids(), ["R38"]);
    let verdict = story.verdict("R38");
    assert_eq!(verdict.cause.relation, Relation::Explains);
    assert!(
        verdict.explanation.starts_with("9 packets for "),
        "{}",
        verdict.explanation
    );
}

/// An answer to an echo, which somebody else has asked for.
fn echo(id: u16, peer: &str) -> FlowKey {
    flow(Protocol::Icmp, POD, id, peer, 0)
}

/// What passes of an echo: who answers was asked, wherever that was.
fn answers(story: &mut Story, key: FlowKey, is_dropped_here: bool) {
    if is_dropped_here {
        is_dropped(story, key);
    } else {
        passes(story, key);
    }
    story.count(key, |flow| flow.origin = Origin::Local);
}

/// A chain is set to drop what passes: datagrams, echoes and connections, those that are open and those that are tried.
fn all_dropped(rounds: u32) -> (Story, u64, String) {
    let peers = ["203.0.113.8", "203.0.113.9"];
    let mut story = healthy();
    let open = |peer: &str| to_pod(Protocol::Tcp, 8080, peer, 4000);
    let datagram = |peer: &str| to_pod(Protocol::Udp, 4001, peer, 53);
    story.rounds(8, |story| {
        for peer in peers {
            for key in [open(peer), datagram(peer)] {
                passes(story, key);
                passes(story, back(key));
            }
            answers(story, echo(9, peer), false);
        }
    });
    rule(&mut story, "drop");
    let (mut lost, mut round) = (0, 0);
    story.rounds(rounds, |story| {
        round += 1;
        for peer in peers {
            // Who sends again waits for longer and longer.
            if u32::is_power_of_two(round) {
                is_dropped(story, open(peer));
                lost += 1;
            }
            // Who gives up tries anew, by another port.
            if round % 4 == 1 {
                let port = 5000 + u16::try_from(round).unwrap();
                is_dropped(story, to_pod(Protocol::Tcp, 8080, peer, port));
                lost += 1;
            }
            passes(story, back(datagram(peer)));
            is_dropped(story, datagram(peer));
            answers(story, echo(9, peer), true);
            lost += 2;
        }
    });
    (story, lost, "2023-10-08T06:00:06.500Z".to_owned())
}

#[test]
fn all_that_is_not_passed_on_is_counted_and_nobody_here_starves() {
    for rounds in [8, 30, 90] {
        let (story, lost, onset) = all_dropped(rounds);
        assert_eq!(story.ids(), ["R38"]);
        let report = story.report();
        assert!(report.starved.is_empty(), "{:#?}", report.starved);
        let starves = |change: &&Change| change.after.as_ref().is_some_and(|now| now.contains("starve"));
        assert_eq!(report.node.changes.iter().find(starves), None);
        let verdict = story.verdict("R38");
        assert!(
            verdict.explanation.starts_with(&format!("{lost} packets for ")),
            "{lost} after {rounds} rounds: {}",
            verdict.explanation
        );
        assert_eq!(verdict.since, onset);
    }
}

/// What was dropped before some of it got through is of another fault, though nobody was seen to mend that.
#[test]
fn what_is_dropped_once_more_after_it_got_through_is_another_fault() {
    let (mut story, ..) = all_dropped(8);
    story.rounds(40, |story| {
        for peer in ["203.0.113.8", "203.0.113.9"] {
            let datagram = to_pod(Protocol::Udp, 4001, peer, 53);
            passes(story, back(datagram));
            passes(story, datagram);
        }
    });
    assert_nothing(&story);
    let mut lost = 0;
    let mut port = 6000;
    story.rounds(8, |story| {
        port += 1;
        for peer in ["203.0.113.8", "203.0.113.9"] {
            let question = to_pod(Protocol::Udp, port, peer, 53);
            passes(story, back(question));
            is_dropped(story, question);
            lost += 1;
        }
    });
    let verdict = story.verdict("R38");
    let start = format!("{lost} packets for ");
    assert!(
        verdict.explanation.starts_with(&start),
        "{lost}: {}",
        verdict.explanation
    );
}
