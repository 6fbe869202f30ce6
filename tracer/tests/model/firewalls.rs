//! Firewalls that do what they are there for, or keep in what is to leave, and what of their rules can explain a loss.

use tracer::event::{EntryKey, FlowKey, Origin, Protocol, Seen, SocketState, Thing};
use tracer::report::{Confidence, Relation, Where};

use crate::beside::places_from;
use crate::lookalikes::{assert_nothing, assert_sound};
use crate::pairing::set;
use crate::story::*;

/// The process got its answer and closed its socket; what the server still sends meets the firewall.
#[test]
fn a_firewall_that_drops_what_nobody_waits_for() {
    let mut story = healthy();
    let late = udp(45_000, "192.0.2.10", 443);
    story.exchange(late);
    story.tick();
    story.rounds(10, |story| {
        story.exchange(ping(7, "192.0.2.10"));
        story.arrived(Protocol::Udp, 1).count(late, |flow| {
            flow.arrived += 1;
            flow.dropped += 1;
            flow.last_drop = Some(("NETFILTER_DROP".to_owned(), at("nft_do_chain")));
        });
    });
    assert_nothing(&story);
}

/// A firewall kept a client from a server for a while, as it is there for, and lets it in now.
#[test]
fn a_firewall_that_lets_in_again() {
    let mut story = Story::begin();
    story.listen(22, "sshd");
    let client = flow(Protocol::Tcp, "10.10.0.2", 22, "203.0.113.9", 4444);
    story.socket(
        client,
        Some(SocketState::SynRecv),
        SocketState::Established,
        "sshd",
    );
    story.rounds(6, |story| {
        story.arrived(Protocol::Tcp, 1).count(client, |flow| {
            flow.origin = Origin::Remote;
            flow.arrived += 1;
            flow.dropped += 1;
            flow.last_drop = Some(("NETFILTER_DROP".to_owned(), at("nft_do_chain")));
        });
    });
    assert_nothing(&story);
    story.rounds(4, |story| {
        story.count(client, |flow| {
            (flow.arrived, flow.matched) = (flow.arrived + 1, flow.matched + 1)
        });
    });
    assert_nothing(&story);
}

/// Repetitions that never leave say nothing of the path.
#[test]
fn a_firewall_that_keeps_requests_from_leaving() {
    let repeat = |story: &mut Story, held_back: bool| {
        story.rounds(8, |story| {
            for port in [40_000, 40_001] {
                story.count(client(port), |flow| flow.retransmitted += 1);
            }
            if held_back {
                let key = EntryKey {
                    iif: 0,
                    incoming: false,
                    ..drop("NETFILTER_DROP", "nft_do_chain", Protocol::Tcp)
                };
                story.add(key, 2);
            }
        });
    };
    let mut story = healthy();
    repeat(&mut story, true);
    assert_sound(&story);
    // Where nothing here drops them, a neighbour may not answer, or a device not send.
    let mut story = healthy();
    repeat(&mut story, false);
    assert_eq!(story.ids(), ["D01"]);
    // What others are kept from sending does not excuse the path.
    let mut story = healthy();
    story.rounds(8, |story| {
        for port in [40_000, 40_001] {
            story.ask(client(port));
        }
        let key = EntryKey {
            iif: 0,
            incoming: false,
            ..drop("NETFILTER_DROP", "nft_do_chain", Protocol::Udp)
        };
        story.add(key, 1);
    });
    assert_eq!(story.ids(), ["D01"]);
}

/// Replies are dropped by a firewall; before that, its rules changed so.
fn after_a_change(did: &str) -> Relation {
    let rules = Thing::Ruleset {
        firewall: "nf_tables".to_owned(),
    };
    let mut story = healthy();
    set(
        &mut story,
        rules.clone(),
        Some("generation 1, tables: inet guard"),
        Seen::Found,
        None,
    );
    story.idle(8);
    set(&mut story, rules, Some(did), Seen::Told, None);
    story.rounds(6, |story| {
        for port in [40_000, 40_001] {
            story.ask_and_lose(
                client(port),
                drop("NETFILTER_DROP", "nft_do_chain", Protocol::Tcp),
            );
        }
    });
    story.verdict("R06").cause.relation
}

/// What only lets more pass drops nothing.
#[test]
fn only_rules_that_can_drop_explain_what_a_firewall_drops() {
    let chain = "table inet guard, chain in";
    for (did, explains) in [
        (format!("{chain}: rule handle 7 (tcp sport 80 drop) new"), true),
        (format!("{chain}: rule handle 7 (tcp dport 80 drop) new"), false),
        (format!("{chain}: rule handle 7 (jump other) new"), true),
        (format!("{chain}: rule handle 7 (tcp dport 80 accept) new"), false),
        (format!("{chain}: rule handle 7 (counter) new"), false),
        (format!("{chain}: rule handle 7 (tcp sport 80 accept) gone"), true),
        (format!("{chain} with policy drop new"), true),
        (format!("{chain} with policy accept new"), false),
        (format!("{chain}: policy drop, was accept"), true),
        (format!("{chain}: policy accept, was drop"), false),
        (
            format!("{chain}: policy accept, was drop; {chain}: rule handle 7 (drop) new"),
            true,
        ),
    ] {
        let expected = if explains {
            Relation::Explains
        } else {
            Relation::Unknown
        };
        let value = format!("generation 2, tables: inet guard; {did}");
        assert_eq!(after_a_change(&value), expected, "{did}");
    }
    assert_eq!(
        after_a_change("generation 2, tables: inet guard"),
        Relation::Explains,
        "what it did is not told"
    );
}

/// Peers had been served at a port; then rules changed so, and what these and a stranger still send is dropped.
fn served_and_barred(peers: &[&str], did: &str, others: bool) -> Story {
    let rules = Thing::Ruleset {
        firewall: "nf_tables".to_owned(),
    };
    let mut story = Story::begin();
    story.listen(8080, "httpd");
    let from = |peer: &str, port| flow(Protocol::Tcp, "10.10.0.2", 8080, peer, port);
    let start = "generation 1, tables: inet guard";
    set(&mut story, rules.clone(), Some(start), Seen::Found, None);
    story.rounds(4, |story| {
        peers.iter().for_each(|peer| served(story, from(peer, 4000)))
    });
    let value = format!("generation 2, tables: inet guard; {did}");
    set(&mut story, rules, Some(&value), Seen::Told, None);
    let mut ports = 5000..;
    story.rounds(6, |story| {
        bar(story, peers, ports.next().unwrap());
        if others {
            served(story, from("203.0.113.77", 4000));
        }
    });
    story
}

/// A packet of this flow reaches the server.
fn served(story: &mut Story, key: FlowKey) {
    story.arrived(Protocol::Tcp, 1).count(key, |flow| {
        (flow.origin, flow.iif) = (Origin::Remote, ETH0);
        (flow.arrived, flow.matched) = (flow.arrived + 1, flow.matched + 1);
    });
}

/// A firewall drops what these peers, and a stranger, ask the server for by this port of theirs.
fn bar(story: &mut Story, peers: &[&str], port: u16) {
    for peer in peers.iter().chain(&["198.51.100.1"]) {
        let key = flow(Protocol::Tcp, "10.10.0.2", 8080, peer, port);
        story.arrived(Protocol::Tcp, 1).count(key, |flow| {
            (flow.origin, flow.iif) = (Origin::Remote, ETH0);
            (flow.arrived, flow.dropped) = (flow.arrived + 1, flow.dropped + 1);
            flow.last_drop = Some(("NETFILTER_DROP".to_owned(), at("nft_do_chain")));
        });
    }
}

/// Whom a server had served before is not let in any more, and nobody else is.
#[test]
fn a_firewall_that_cuts_off_a_server() {
    let shut = "table inet guard, chain in: rule handle 7 (tcp dport 8080 drop) new";
    let story = served_and_barred(&["203.0.113.8"], shut, false);
    assert_eq!(story.ids(), ["R06"]);
    let verdict = story.verdict("R06");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert_eq!(verdict.cause.relation, Relation::Explains);
    for part in [
        "6 packets for tcp 8080 of this node, from 203.0.113.8 that had been let in before, were dropped by a firewall",
        "The last that reached a socket there did so at 06:00:",
        "6 flows of httpd[123] (httpd.service)",
    ] {
        assert!(
            verdict.explanation.contains(part),
            "{part}: {}",
            verdict.explanation
        );
    }
    // Some may be shut out on purpose, ...
    let ban = "table inet guard, chain in: rule handle 7 (ip saddr 203.0.113.8 drop) new";
    let story = served_and_barred(&["203.0.113.8"], ban, false);
    assert_eq!(story.verdict("R06").confidence, Confidence::Weak);
    assert_sound(&story);
    // ... not all.
    let story = served_and_barred(&["203.0.113.8", "203.0.113.9"], ban, false);
    assert_eq!(story.verdict("R06").confidence, Confidence::Strong);
}

/// Once replies are dropped too, the fault is as old as it was, and names both.
#[test]
fn a_firewall_that_cuts_off_a_server_and_then_drops_replies() {
    let rules = Thing::Ruleset {
        firewall: "nf_tables".to_owned(),
    };
    let peers = ["203.0.113.8", "203.0.113.9"];
    let shut = "table inet guard, chain in: rule handle 7 (tcp dport 8080 drop) new";
    let mut story = served_and_barred(&peers, shut, false);
    let since = story.verdict("R06").since;
    let more =
        "generation 3, tables: inet guard; table inet guard, chain in: rule handle 8 (tcp sport 80 drop) new";
    set(&mut story, rules.clone(), Some(more), Seen::Told, None);
    let mut ports = 6000..;
    let mut both = |story: &mut Story, peers: &[&str]| {
        bar(story, peers, ports.next().unwrap());
        story.ask_and_lose(
            client(40_000),
            drop("NETFILTER_DROP", "nft_do_chain", Protocol::Tcp),
        );
    };
    story.rounds(8, |story| both(story, &peers));
    let verdict = story.verdict("R06");
    assert_eq!(verdict.since, since);
    assert_eq!(verdict.confidence, Confidence::Conclusive);
    assert!(verdict.cause.text.contains("handle 7"), "{:?}", verdict.cause);
    assert!(
        verdict.also.len() == 1 && verdict.also[0].text.contains("handle 8"),
        "{:?}",
        verdict.also
    );
    for part in [
        "packets arrived for sockets of this node that wait",
        "packets for tcp 8080 of this node, from 203.0.113.8",
    ] {
        assert!(
            verdict.explanation.contains(part),
            "{part}: {}",
            verdict.explanation
        );
    }
    assert!(verdict.flows.iter().any(|flow| flow.local.ends_with(":8080")));
    assert!(verdict.flows.iter().any(|flow| flow.local.ends_with(":40000")));
    // Of one peer alone it is a weak sign, which takes no part.
    let mut story = served_and_barred(
        &peers[..1],
        "table inet guard, chain in: rule handle 7 (ip saddr 203.0.113.8 drop) new",
        false,
    );
    set(&mut story, rules, Some(more), Seen::Told, None);
    story.rounds(8, |story| both(story, &peers[..1]));
    let verdict = story.verdict("R06");
    assert!(verdict.cause.text.contains("handle 8"), "{:?}", verdict.cause);
    assert!(!verdict.explanation.contains("8080"), "{}", verdict.explanation);
}

/// Others are let in, or those who are not never were.
#[test]
fn a_firewall_that_shuts_some_out() {
    let shut = "table inet guard, chain in: rule handle 7 (tcp dport 8080 drop) new";
    assert_nothing(&served_and_barred(&["203.0.113.8", "203.0.113.9"], shut, true));
    assert_nothing(&served_and_barred(&[], shut, false));
}

/// A rule for what opens a connection: what stands goes on. One that has stood for long lets each peer have so many, on purpose.
#[test]
fn a_firewall_that_lets_in_nobody_new() {
    let peer = |port| flow(Protocol::Tcp, "10.10.0.2", 8080, "203.0.113.8", port);
    let rules = Thing::Ruleset {
        firewall: "nf_tables".to_owned(),
    };
    // What did the rules before anything was dropped, or while it was.
    let story = |did: Option<&str>, goes_on: bool, others: bool, late: bool| {
        let mut story = Story::begin();
        story.listen(8080, "httpd");
        let start = "generation 1, tables: inet guard";
        set(&mut story, rules.clone(), Some(start), Seen::Found, None);
        story.rounds(4, |story| served(story, peer(4000)));
        let by_another = flow(Protocol::Tcp, "10.10.0.2", 8080, "203.0.113.77", 4000);
        served(&mut story, by_another);
        story.rounds(4, |story| served(story, peer(4000)));
        let change = |story: &mut Story| {
            if let Some(did) = did {
                let value = format!("generation 2, tables: inet guard; {did}");
                set(story, rules.clone(), Some(&value), Seen::Told, None);
            }
        };
        if !late {
            change(&mut story);
        }
        let mut ports = 5000..;
        story.rounds(8, |story| {
            let port = ports.next().unwrap();
            bar(story, &["203.0.113.8"], port);
            if late && port == 5005 {
                change(story);
            }
            served(story, by_another);
            if goes_on {
                served(story, peer(4000));
            }
            if others {
                served(
                    story,
                    flow(Protocol::Tcp, "10.10.0.2", 8080, "203.0.113.77", port),
                );
            }
        });
        story
    };
    let shut = Some("table inet guard, chain in: rule handle 7 (tcp dport 8080 ct state new drop) new");
    let told = story(shut, true, false, false);
    assert_eq!(told.ids(), ["R06"]);
    let verdict = told.verdict("R06");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert_eq!(verdict.cause.relation, Relation::Explains);
    let part = "The last new one that reached a socket there did so at 06:00:";
    assert!(verdict.explanation.contains(part), "{}", verdict.explanation);
    let part = "; what they had opened before goes on.";
    assert!(verdict.explanation.contains(part), "{}", verdict.explanation);
    // Rules are as they were, one peer is shut out, or others are let in.
    assert_nothing(&story(None, true, false, false));
    assert_nothing(&story(shut, false, false, false));
    assert_nothing(&story(shut, true, true, false));
    // It was dropped before, or what was done cannot drop anything.
    assert_nothing(&story(shut, true, false, true));
    let counts = Some("table inet guard, chain in: rule handle 7 (tcp dport 8080 counter) new");
    assert_nothing(&story(counts, true, false, false));
}

/// A connection that was there when the tracer began, and said nothing until the rule came, is none that the rule let in.
#[test]
fn what_stood_before_the_start_is_not_let_in_anew() {
    let peer = |port| flow(Protocol::Tcp, "10.10.0.2", 8080, "203.0.113.8", port);
    let rules = Thing::Ruleset {
        firewall: "nf_tables".to_owned(),
    };
    let told = |stood: bool| {
        let mut story = Story::begin();
        story.listen(8080, "httpd");
        let idle = peer(4001);
        if stood {
            story.socket(idle, None, SocketState::Established, "httpd");
        }
        let start = "generation 1, tables: inet guard";
        set(&mut story, rules.clone(), Some(start), Seen::Found, None);
        story.rounds(4, |story| served(story, peer(4000)));
        let shut = "generation 2, tables: inet guard; table inet guard, chain in: rule handle 7 (tcp dport 8080 ct state new drop) new";
        set(&mut story, rules.clone(), Some(shut), Seen::Told, None);
        for port in 5000..5012 {
            bar(&mut story, &["203.0.113.8"], port);
            served(&mut story, peer(4000));
            if port == 5006 {
                served(&mut story, idle);
            }
            story.tick();
        }
        story.ids()
    };
    assert_eq!(told(true), ["R06"]);
    assert!(told(false).is_empty());
}

/// A rule of iptables is for IPv4 only, and one of ip6tables for IPv6 only: who asks by the other version goes on to be served.
#[test]
fn a_firewall_that_cuts_off_a_server_for_one_version() {
    let other = |served_before: bool| {
        let mut story = Story::begin();
        story.listen(8080, "httpd");
        let by_v6 = flow(Protocol::Tcp, "2001:db8::2", 8080, "2001:db8::8", 4000);
        let by_v4 = flow(Protocol::Tcp, "10.10.0.2", 8080, "203.0.113.8", 4000);
        story.rounds(4, |story| {
            served(story, by_v6);
            if served_before {
                served(story, by_v4);
            }
        });
        let mut ports = 5000..;
        story.rounds(6, |story| {
            served(story, by_v6);
            bar(story, &["203.0.113.8"], ports.next().unwrap());
        });
        story
    };
    let story = other(true);
    assert_eq!(story.ids(), ["R06"]);
    let told = story.verdict("R06").explanation;
    let part = "6 packets for tcp 8080 over IPv4 of this node, from 203.0.113.8 that had been let in before, were dropped";
    assert!(told.contains(part), "{told}");
    // What was never served by that version is shut out on purpose.
    assert_nothing(&other(false));
}

/// A client that waits for half a second and asks anew starves for no long time by any one port, and between two attempts by none.
#[test]
fn clients_that_give_up_soon_are_as_much_of_a_loss() {
    let lost = || drop("NETFILTER_DROP", "nft_do_chain", Protocol::Tcp);
    let attempt = |story: &mut Story, port: u16| {
        let key = client(port);
        story.socket(key, Some(SocketState::Close), SocketState::SynSent, "curl");
        story.ask_and_lose(key, lost());
        story.tick();
        story.socket(key, Some(SocketState::SynSent), SocketState::Close, "");
        // Nobody waits for what comes late.
        story.tick();
    };
    let mut story = healthy();
    for port in 42_000..42_004 {
        attempt(&mut story, port);
    }
    let verdict = story.verdict("R06");
    assert_eq!(
        (verdict.confidence, verdict.flows.len()),
        (Confidence::Conclusive, 4)
    );
    assert!(
        verdict.explanation.starts_with(
            "4 packets arrived for sockets of this node that waited for them until they gave up"
        ),
        "{}",
        verdict.explanation
    );
    assert!(story.report().starved.is_empty());
    // It is told for as long as other evidence.
    story.rounds(22, |story| story.exchange(client(41_000)));
    assert_nothing(&story);

    // One that gave up within a moment is none.
    let mut story = healthy();
    attempt(&mut story, 42_000);
    assert_nothing(&story);
}

/// How a change of the rules is held against a silence that follows.
fn after_rules(did: &str) -> Relation {
    let rules = || Thing::Ruleset {
        firewall: "nf_tables".to_owned(),
    };
    let mut story = healthy();
    set(
        &mut story,
        rules(),
        Some("generation 1, tables: inet fw"),
        Seen::Found,
        None,
    );
    story.rounds(4, |story| story.exchange(client(40_000)));
    let value = format!("generation 2, tables: inet fw; {did}");
    set(&mut story, rules(), Some(&value), Seen::Told, None);
    story.rounds(8, |story| {
        story.ask(client(40_000));
        story.ask(client(40_001));
    });
    let verdict = story.verdict("D01");
    assert!(verdict.cause.relation == Relation::Explains || verdict.coincides_total == 1);
    verdict.cause.relation
}

#[test]
fn the_same_rules_loaded_anew_explain_nothing() {
    const ANEW: &str = "loaded anew with the same chains and rules";
    assert_eq!(after_rules(ANEW), Relation::Unknown);
    assert_eq!(
        after_rules(&format!("{ANEW}, elements of sets may differ")),
        Relation::Unknown
    );
    let masquerade = "table inet fw, chain out: rule handle 2 (masquerade) gone";
    assert_eq!(after_rules(masquerade), Relation::Explains);
}

/// What is dropped with the elements of a set is not known to be as it was.
#[test]
fn sets_that_were_loaded_anew_may_have_others_in_them() {
    let rules = || Thing::Ruleset {
        firewall: "nf_tables".to_owned(),
    };
    for (more, explains) in [
        ("", Relation::Unknown),
        (", elements of sets may differ", Relation::Explains),
    ] {
        let mut story = healthy();
        set(
            &mut story,
            rules(),
            Some("generation 1, tables: inet fw"),
            Seen::Found,
            None,
        );
        story.idle(8);
        let value =
            format!("generation 2, tables: inet fw; loaded anew with the same chains and rules{more}");
        set(&mut story, rules(), Some(&value), Seen::Told, None);
        story.rounds(6, |story| {
            for port in [40_000, 40_001] {
                story.ask_and_lose(
                    client(port),
                    drop("NETFILTER_DROP", "nft_do_chain", Protocol::Tcp),
                );
            }
        });
        assert_eq!(story.verdict("R06").cause.relation, explains, "{more}");
    }
}

/// Questions by UDP, each by a socket of its own, whose answers end at this place; so many, one in a second. And 2 s later.
fn questions(questions: u16, is_connected: bool, answered_after: u32, symbol: &str, reason: &str) -> Story {
    let mut story = asked(questions, is_connected, answered_after, symbol, reason);
    story.idle(2);
    story
}

/// The same, at the second tick after the last answer ended there.
fn asked(questions: u16, is_connected: bool, answered_after: u32, symbol: &str, reason: &str) -> Story {
    let mut story = healthy();
    for port in 0..questions {
        let key = udp(45_000 + port, "192.0.2.53", 53);
        if is_connected {
            story.socket(key, None, SocketState::Established, "dig");
        }
        story.ask(key);
        story.idle(answered_after);
        let last = (reason.to_owned(), at(symbol));
        story.add(drop(reason, symbol, Protocol::Udp), 1);
        story.arrived(Protocol::Udp, 1).count(key, |flow| {
            (flow.iif, flow.arrived, flow.dropped, flow.last_drop) = (ETH0, 1, 1, Some(last));
        });
        story.tick();
        story.exchange(client(40_000));
        story.tick();
    }
    story
}

/// Nobody tells when such a socket is closed: each question lacks one packet, and only all together say that none is answered.
#[test]
fn a_firewall_that_drops_the_answer_to_each_question() {
    for is_connected in [false, true] {
        let story = questions(4, is_connected, 0, "nft_do_chain", "NETFILTER_DROP");
        assert_eq!(story.ids(), ["R06"]);
        let verdict = story.verdict("R06");
        assert_eq!(verdict.confidence, Confidence::Conclusive);
        let start = "4 packets arrived for sockets of this node that waited for them until they gave up, and reached none: ";
        assert!(verdict.explanation.starts_with(start), "{}", verdict.explanation);
        // Two are enough: who waits for a second asks just so often.
        assert_eq!(
            questions(2, is_connected, 0, "nft_do_chain", "NETFILTER_DROP").ids(),
            ["R06"]
        );
        // And that is told as soon as the second is lost: how long it waited by itself does not matter.
        assert_eq!(
            asked(2, is_connected, 0, "nft_do_chain", "NETFILTER_DROP").ids(),
            ["R06"]
        );
        assert_nothing(&asked(1, is_connected, 0, "nft_do_chain", "NETFILTER_DROP"));
        // Who asked once may not wait for it any more.
        assert_nothing(&questions(1, is_connected, 0, "nft_do_chain", "NETFILTER_DROP"));
        // Nobody waits for what comes so late, nor for what finds no socket.
        assert_nothing(&questions(4, is_connected, 14, "nft_do_chain", "NETFILTER_DROP"));
    }
    assert_nothing(&questions(4, false, 0, "__udp4_lib_rcv", "NO_SOCKET"));
}

/// What is dropped at random is let through for a while: as long as the rule that does it stands it is not known that it is over.
#[test]
fn what_is_not_dropped_for_a_moment_is_not_over_as_long_as_the_rule_stands() {
    let at_random =
        "table inet guard, chain in: rule handle 7 (tcp dport 8080 numgen random mod 2 0 drop) new";
    let mut story = served_and_barred(&["203.0.113.8"], at_random, false);
    assert_eq!(story.ids(), ["R06"]);
    let passes = story.events.len();
    story.rounds(30, |story| {
        let key = flow(Protocol::Tcp, "10.10.0.2", 8080, "203.0.113.8", 4000);
        story.arrived(Protocol::Tcp, 1).count(key, |flow| {
            (flow.arrived, flow.matched) = (flow.arrived + 1, flow.matched + 1);
        });
    });
    let places = places_from(&story, passes);
    let well = places.iter().position(|(place, ..)| *place == Where::Healthy);
    assert!(places.iter().any(|(_, settling, _)| *settling), "{places:?}");
    assert!((16..=24).contains(&well.unwrap()), "{places:?}");
}
