//! Rules that led packets to a service and went away.

use tracer::event::{Origin, Protocol, Seen, Thing};
use tracer::report::{Confidence, Relation, Where};

use crate::pairing::set;
use crate::story::*;

/// Port 80 led to another by a rule that went away as told; then it is asked for.
fn led_away(did: &str, protocol: Protocol) -> Story {
    asked_after(did, protocol, 0, 0)
}

/// The same, asked before by so many, and asked again only so many rounds later.
fn asked_after(did: &str, protocol: Protocol, before: u16, later: u32) -> Story {
    let rules = || Thing::Ruleset {
        firewall: "nf_tables".to_owned(),
    };
    let mut story = healthy();
    set(
        &mut story,
        rules(),
        Some("generation 2, tables: inet services"),
        Seen::Found,
        None,
    );
    for port in 0..before {
        let key = flow(protocol, "10.10.0.2", 80, "203.0.113.9", 40_000 + port);
        story.arrived(protocol, 1).count(key, |flow| {
            flow.origin = Origin::Remote;
            flow.arrived += 1;
        });
    }
    story.idle(8);
    set(
        &mut story,
        rules(),
        Some(&format!("generation 3, no tables; {did}")),
        Seen::Told,
        None,
    );
    story.idle(later);
    let mut port = 50_000;
    story.rounds(8, |story| {
        port += 1;
        let key = flow(protocol, "10.10.0.2", 80, "203.0.113.9", port);
        story.refuse(key, "tcp_v4_rcv");
    });
    story
}

/// It leads to a port at which nobody listens: the packets are told by that port, and the rule is what brought them there.
#[test]
fn a_redirect_that_came_explains_what_finds_no_socket() {
    let story = led_away(
        "table inet services, chain nat: rule handle 2 (tcp dport 8080 redirect) new",
        Protocol::Tcp,
    );
    assert_eq!(story.ids(), ["R12"]);
    let verdict = story.verdict("R12");
    assert_eq!(
        (verdict.confidence, verdict.cause.relation),
        (Confidence::Weak, Relation::Explains),
        "{}",
        verdict.cause.text
    );
    let story = led_away(
        "table inet services, chain nat: rule handle 2 (tcp dport 8080 accept) new",
        Protocol::Tcp,
    );
    assert_ne!(story.verdict("R12").cause.relation, Relation::Explains);
}

/// Nobody listened at the port itself: the firewall led what is for it to a service.
#[test]
fn a_redirect_that_went_away_explains_what_finds_no_socket() {
    let gone = "table inet services, chain nat: rule handle 2 (tcp dport 80 redirect) gone";
    let story = led_away(&format!("{gone}; table inet services gone"), Protocol::Tcp);
    assert_eq!(story.ids(), ["R34"]);
    assert_eq!(story.report().place, Where::GuestKernel);
    let verdict = story.verdict("R34");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert_eq!(
        verdict.cause.relation,
        Relation::Explains,
        "{}",
        verdict.cause.text
    );
    assert!(
        verdict
            .explanation
            .contains("8 packets for tcp 80 found no socket")
            && verdict
                .explanation
                .contains("`tcp dport 80 redirect` in table inet services, chain nat"),
        "{}",
        verdict.explanation
    );
    assert!(
        verdict.remedy[0].starts_with("Put the rule `tcp dport 80 redirect` back into table inet services"),
        "{:?}",
        verdict.remedy
    );
    assert!(
        !verdict.remedy.iter().any(|line| line.contains("sender")),
        "{:?}",
        verdict.remedy
    );

    // It went, and came again; it was of another port, or of another protocol.
    let again =
        format!("{gone}; table inet services, chain other: rule handle 9 (tcp dport 80 redirect) new");
    let other = gone.replace("80", "81");
    for (did, protocol) in [
        (again.as_str(), Protocol::Tcp),
        (other.as_str(), Protocol::Tcp),
        (gone, Protocol::Udp),
    ] {
        let story = led_away(did, protocol);
        assert_eq!(story.ids(), ["R12"], "{did}");
        assert_eq!(story.verdict("R12").confidence, Confidence::Weak);
    }
}

/// People are shown the first of many things that a change did. What is judged goes by all of them, and where not all is known by
/// none.
#[test]
fn a_redirect_that_went_away_among_much_else_is_known_and_one_that_may_have_come_again_is_not() {
    let drops: Vec<String> = (0..20)
        .map(|number| {
            format!("table inet services, chain in: rule handle {number} (tcp dport {number} drop) gone")
        })
        .collect();
    let drops = drops.join("; ");
    let gone = "table inet services, chain nat: rule handle 99 (tcp dport 80 redirect) gone";
    let story = led_away(&format!("{drops}; {gone}"), Protocol::Tcp);
    assert_eq!(story.ids(), ["R34"]);
    let report = story.report();
    let told = report
        .node
        .changes
        .iter()
        .find_map(|change| change.after.clone())
        .unwrap();
    assert!(
        told.ends_with("rule handle 7 (tcp dport 7 drop) gone; and 13 more changes"),
        "{told}"
    );
    let difference = &report.node.differences[0];
    assert_eq!(difference.now.as_deref(), Some(told.as_str()));
    let text = &story.verdict("R34").cause.text;
    assert!(!text.contains("handle 9 "), "{text}");
    let again = "table inet services, chain nat: rule handle 130 (tcp dport 80 redirect) new";
    for more in [again, "and 3 more changes"] {
        let story = led_away(&format!("{gone}; {drops}; {more}"), Protocol::Tcp);
        assert_eq!(story.ids(), ["R12"], "{more}");
    }
}

/// A range of ports, and all ports of an address.
#[test]
fn a_redirect_of_several_ports_explains_it_too() {
    for words in [
        "tcp dport >= 80 dport <= 90 redirect",
        "ip daddr 10.10.0.2 dnat",
        "tcp dport != 443 redirect",
    ] {
        let gone = format!("table inet services, chain nat: rule handle 2 ({words}) gone");
        let story = led_away(&gone, Protocol::Tcp);
        assert_eq!(story.ids(), ["R34"], "{words}");
        assert_eq!(story.verdict("R34").confidence, Confidence::Strong, "{words}");
    }
}

/// Which ports a set has is not told with the rule: what came before says whether it was led.
#[test]
fn a_redirect_by_a_set_is_sure_where_what_came_before_was_not_refused() {
    let gone = "table inet services, chain nat: rule handle 2 (tcp dport in @ports redirect) gone";
    let story = asked_after(gone, Protocol::Tcp, 0, 0);
    assert_eq!(story.ids(), ["R34"]);
    let verdict = story.verdict("R34");
    assert_eq!(verdict.confidence, Confidence::Weak);
    assert!(
        verdict
            .explanation
            .contains("that may have led them to a service")
            && verdict
                .explanation
                .contains(" Whether it was for that port its words do not say."),
        "{}",
        verdict.explanation
    );
    let verdict = asked_after(gone, Protocol::Tcp, 3, 0).verdict("R34");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert!(
        verdict
            .explanation
            .contains("; what came for it before was not refused."),
        "{}",
        verdict.explanation
    );
}

/// A rule that went away is missing for as long as it takes. Nobody may have minded for a while; then it may be meant.
#[test]
fn a_redirect_that_went_away_long_before_is_told_too() {
    let gone = "table inet services, chain nat: rule handle 2 (tcp dport 80 redirect) gone";
    let late = 300;
    let verdict = asked_after(gone, Protocol::Tcp, 3, late).verdict("R34");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert_eq!(
        verdict.cause.relation,
        Relation::Explains,
        "{}",
        verdict.cause.text
    );
    let verdict = asked_after(gone, Protocol::Tcp, 0, late).verdict("R34");
    assert_eq!(verdict.confidence, Confidence::Weak);
}

/// As a service of a cluster, which an address stands for that nobody has; asked from a node whose rules went away as told.
fn service(did: &str, later: u32) -> Story {
    let rules = || Thing::Ruleset {
        firewall: "nf_tables".to_owned(),
    };
    let asked = flow(Protocol::Udp, "10.10.0.2", 50_000, "10.96.0.10", 53);
    let mut story = healthy();
    let start = "generation 2, tables: ip kp";
    set(&mut story, rules(), Some(start), Seen::Found, None);
    story.rounds(4, |story| story.exchange(asked));
    let value = format!("generation 3, no tables; {did}");
    set(&mut story, rules(), Some(&value), Seen::Told, None);
    story.rounds(later, |story| story.exchange(asked));
    story.rounds(10, |story| {
        story.ask(asked);
        story.exchange(client(40_000));
    });
    story
}

#[test]
fn a_service_that_nothing_leads_to_any_more() {
    let gone = "table ip kp, chain out: rule handle 4 (ip daddr 10.96.0.10 udp dport 53 dnat) gone";
    let story = service(gone, 0);
    assert_eq!(story.ids()[0], "R34");
    assert_eq!(story.report().place, Where::GuestKernel);
    let verdict = story.verdict("R34");
    assert_eq!(
        (verdict.confidence, verdict.cause.relation),
        (Confidence::Strong, Relation::Explains)
    );
    assert!(
        verdict.explanation.contains("udp 10.96.0.10 port 53"),
        "{}",
        verdict.explanation
    );
    assert!(
        verdict.remedy[0].contains("ip daddr 10.96.0.10 udp dport 53 dnat"),
        "{:?}",
        verdict.remedy
    );
    for others in [
        "table ip kp, chain out: rule handle 4 (ip daddr 10.96.0.1 udp dport 53 dnat) gone",
        "table ip kp, chain out: rule handle 4 (ip daddr 10.96.0.10 tcp dport 53 dnat) gone",
        "table ip kp, chain pre: rule handle 4 (udp dport 53 redirect) gone",
        "table ip kp, chain out: rule handle 4 (ip daddr 10.96.0.10 udp dport 53 accept) gone",
    ] {
        let ids = service(others, 0).ids();
        assert!(!ids.contains(&"R34".to_owned()), "{others}: {ids:?}");
    }
}

/// A pod behind the node whose packets had the node's address by this rule, until that went away; what it asks then, whom it asks
/// then, and whether answers come all the same.
fn without_masquerade(words: &str, asks: bool, asked: &str, is_answered: bool) -> Story {
    let rules = || Thing::Ruleset {
        firewall: "nf_tables".to_owned(),
    };
    let mut story = healthy();
    let before = "generation 2, tables: inet pods";
    set(&mut story, rules(), Some(before), Seen::Found, None);
    // The node has no socket for what is led back to the pod.
    let passes = |story: &mut Story, key, by| {
        story.count(key, |flow| {
            flow.iif = by;
            flow.arrived += 1;
        });
    };
    let question = |peer, port| flow(Protocol::Udp, peer, 53, "10.244.0.2", port);
    let answer = |peer, port| flow(Protocol::Udp, "10.10.0.2", port, peer, 53);
    for port in 0..4 {
        passes(&mut story, question("192.0.2.53", 50_000 + port), LXC1);
        passes(&mut story, answer("192.0.2.53", 50_000 + port), ETH0);
        story.exchange(client(40_000));
        story.tick();
    }
    let after = format!("generation 3, no tables; table inet pods, chain nat: rule handle 2 ({words}) gone");
    set(&mut story, rules(), Some(&after), Seen::Told, None);
    for port in 0..8 {
        if asks {
            passes(&mut story, question(asked, 60_000 + port), LXC1);
        }
        if is_answered {
            passes(&mut story, answer(asked, 60_000 + port), ETH0);
        }
        // The node itself asks there, too, and is answered.
        story.exchange(udp(45_000 + port, "192.0.2.53", 53));
        story.exchange(client(40_000));
        story.tick();
    }
    story
}

#[test]
fn pods_that_nobody_answers_since_a_masquerade_went_away() {
    for words in [
        "ip saddr 10.244.0.0/16 oifname eth0 masquerade",
        "MASQUERADE",
        "ip saddr in a set snat",
    ] {
        let story = without_masquerade(words, true, "192.0.2.53", false);
        let verdict = story.verdict("R40");
        assert_eq!(story.ids()[0], "R40", "{:?}", story.ids());
        assert_eq!(
            (verdict.confidence, verdict.cause.relation),
            (Confidence::Strong, Relation::Explains),
            "{}",
            verdict.cause.text
        );
        assert_eq!(story.report().place, Where::GuestKernel);
        let said = "What 10.244.0.2 sends to udp 192.0.2.53 port 53 goes on arriving by lxc1, and no answer";
        assert!(verdict.explanation.contains(said), "{}", verdict.explanation);
    }
}

/// Who never answered before the rule went answers only now, and what it sends is for nobody here.
#[test]
fn pods_that_were_not_answered_before_a_masquerade_went_away() {
    let words = "ip saddr 10.244.0.0/16 oifname eth0 masquerade";
    let mut story = without_masquerade(words, true, "203.0.113.77", false);
    for port in 60_000..60_008 {
        story.count(
            flow(Protocol::Udp, "203.0.113.77", 53, "10.244.0.2", port),
            |flow| {
                flow.iif = LXC1;
                flow.arrived += 1;
            },
        );
        story.refuse(
            flow(Protocol::Udp, "10.10.0.2", port, "203.0.113.77", 53),
            "__udp4_lib_rcv",
        );
        story.tick();
    }
    assert!(!story.ids().contains(&"R40".to_owned()), "{:?}", story.ids());
}

#[test]
fn pods_that_are_answered_without_the_masquerade_or_never_were_or_are_gone() {
    let words = "ip saddr 10.244.0.0/16 oifname eth0 masquerade";
    for (words, asks, asked, is_answered) in [
        (words, true, "192.0.2.53", true),
        (words, false, "192.0.2.53", false),
        (words, true, "203.0.113.77", false),
        ("ip saddr 10.9.0.0/16 masquerade", true, "192.0.2.53", false),
        ("ip saddr 10.244.0.0/16 accept", true, "192.0.2.53", false),
    ] {
        let story = without_masquerade(words, asks, asked, is_answered);
        assert!(
            !story.ids().contains(&"R40".to_owned()),
            "{words} {asked}: {:?}",
            story.ids()
        );
    }
}

/// The rule is taken away while the pod still asks, for some seconds; then it ends.
#[test]
fn pods_that_ended_some_seconds_after_their_masquerade_ask_no_more() {
    let words = "ip saddr 10.244.0.0/16 oifname eth0 masquerade";
    let mut story = without_masquerade(words, true, "192.0.2.53", false);
    let goes_on = |story: &mut Story| story.exchange(client(40_000));
    story.rounds(18, goes_on);
    assert_eq!(story.report().place, Where::GuestKernel, "it may ask again");
    story.rounds(4, goes_on);
    assert!(!story.ids().contains(&"R40".to_owned()), "{:?}", story.ids());
    assert_eq!(story.report().place, Where::Healthy);
}
