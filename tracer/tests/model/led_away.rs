//! Rules that came and lead away what is for a server of this node.

use tracer::event::{Fate, Origin, Protocol, Seen, SocketState, Thing};
use tracer::report::{Confidence, Relation, Where};

use crate::pairing::set;
use crate::story::*;

fn rules(story: &mut Story, did: &str) {
    let thing = Thing::Ruleset {
        firewall: "nf_tables".to_owned(),
    };
    let value = format!("generation 3, tables: inet proxy; {did}");
    set(story, thing, Some(&value), Seen::Told, None);
}

/// A rule with these words, which came or went.
fn told(words: &str, how: &str) -> String {
    format!("table inet proxy, chain pre: rule handle 2 ({words}) {how}")
}

/// A server at port 8080 that is asked, when this is told of the rules.
fn asked(changes: &[&str]) -> Story {
    let mut story = healthy();
    story.listen(8080, "server");
    story.rounds(4, serves);
    for did in changes {
        rules(&mut story, did);
    }
    story
}

/// A connection is served.
fn serves(story: &mut Story) {
    story
        .arrived(Protocol::Tcp, 1)
        .add(line(Fate::Matched, Protocol::Tcp), 1)
        .count(served(30_000), |flow| {
            flow.origin = Origin::Remote;
            flow.iif = ETH0;
            flow.arrived += 2;
            flow.matched += 2;
            flow.sent += 1;
        });
}

/// Four connections get no further than what opens them, which comes again and again; dropped for this reason, if for one.
fn stuck(story: &mut Story, dropped: Option<(&str, &str)>) {
    for round in 0..9 {
        if [0, 2, 6].contains(&round) {
            for port in 50_000..50_004 {
                story.arrived(Protocol::Tcp, 1).count(served(port), |flow| {
                    flow.origin = Origin::Remote;
                    flow.iif = ETH0;
                    flow.arrived += 1;
                    if let Some((reason, symbol)) = dropped {
                        flow.dropped += 1;
                        flow.last_drop = Some((reason.to_owned(), at(symbol)));
                    }
                });
                if let Some((reason, symbol)) = dropped {
                    story.add(drop(reason, symbol, Protocol::Tcp), 1);
                }
            }
        }
        story.tick();
    }
}

fn is_told(story: &Story) -> bool {
    story.ids().contains(&"R41".to_owned())
}

#[test]
fn a_server_from_which_a_rule_leads_what_is_for_it() {
    for words in [
        "tcp dport 8080 dnat to 192.0.2.99",
        "iifname eth0 tcp dport 8080 redirect",
        "iifname eth* tcp dport 8080 redirect",
        "iif 2 tcp dport 8080 redirect",
        "iifname != docker0 tcp dport 8080 redirect",
        "ip saddr 192.0.2.0/24 tcp dport 8080 dnat",
        "ip daddr 10.10.0.2 tcp dport 8080 dnat",
    ] {
        let mut story = asked(&[&told(words, "new")]);
        stuck(&mut story, None);
        assert!(is_told(&story), "{words}: {:?}", story.ids());
        let verdict = story.verdict("R41");
        assert_eq!(
            (verdict.confidence, verdict.cause.relation),
            (Confidence::Strong, Relation::Explains),
            "{words}"
        );
        assert_eq!(story.report().place, Where::GuestKernel);
    }
}

/// A connection that goes on after the rule came was opened before, if it is closed then; not if it is opened then.
#[test]
fn only_a_connection_that_is_opened_since_shows_that_the_server_is_reached() {
    let is_told_with = |from, state| {
        let mut story = asked(&[]);
        story.socket(served(30_000), None, SocketState::Established, "server");
        rules(&mut story, &told("tcp dport 8080 dnat", "new"));
        story.rounds(6, |_| {});
        serves(&mut story);
        story.socket(served(30_000), Some(from), state, "server");
        stuck(&mut story, None);
        is_told(&story)
    };
    assert!(is_told_with(SocketState::Established, SocketState::LastAck));
    assert!(!is_told_with(SocketState::SynRecv, SocketState::Established));
}

/// It is for others, or for what comes by another device; or that is not told.
#[test]
fn a_rule_for_others_leads_nobody_else_away() {
    for words in [
        "ip saddr 198.51.100.7 tcp dport 8080 dnat",
        "ip saddr != 192.0.2.0/24 tcp dport 8080 dnat",
        "ip saddr in @clients tcp dport 8080 dnat",
        "ip daddr 10.10.0.3 tcp dport 8080 dnat",
        "iifname docker0 tcp dport 8080 dnat",
        "iifname != eth0 tcp dport 8080 dnat",
        "iif 3 tcp dport 8080 dnat",
        "iifname in a set tcp dport 8080 dnat",
        "tcp dport 8081 dnat",
    ] {
        let mut story = asked(&[&told(words, "new")]);
        stuck(&mut story, None);
        assert!(!is_told(&story), "{words}: {:?}", story.ids());
    }
}

/// A rule for one client does not hide that of the other, and those that it is not for do not tell that it is harmless.
#[test]
fn each_client_is_led_by_its_own_rule() {
    let ours = told("ip saddr 192.0.2.10 tcp dport 8080 dnat", "new");
    let others = told("ip saddr 198.51.100.7 tcp dport 8080 dnat", "new");
    let mut story = asked(&[&ours, &others]);
    stuck(&mut story, None);
    assert!(is_told(&story), "{:?}", story.ids());
}

#[test]
fn what_is_stuck_by_another_cause_is_led_away_by_no_rule() {
    let new = told("tcp dport 8080 dnat", "new");
    for (reason, symbol) in [
        ("NOT_SPECIFIED", "tcp_conn_request"),
        ("NETFILTER_DROP", "nft_do_chain"),
    ] {
        let mut story = asked(&[&new]);
        stuck(&mut story, Some((reason, symbol)));
        assert!(!is_told(&story), "{reason}: {:?}", story.ids());
    }
    let mut story = asked(&[&new]);
    stuck(&mut story, Some(("NO_SOCKET", "tcp_v4_rcv")));
    assert!(is_told(&story), "{:?}", story.ids());
}

/// It went again, with its table or because of what is not named; or it is only loaded anew, and came when it first did.
#[test]
fn a_rule_that_does_not_stand_leads_nothing() {
    let words = "tcp dport 8080 dnat";
    let (new, gone) = (told(words, "new"), told(words, "gone"));
    let anew = format!("{gone}; {new}");
    for (changes, expected) in [
        (vec![new.as_str(), gone.as_str()], false),
        (vec![&new, "table inet proxy gone"], false),
        (vec![&new, "and 7 more changes"], false),
        (vec![&anew], false),
        (vec![&new, &anew], true),
    ] {
        let mut story = asked(&changes);
        stuck(&mut story, None);
        assert_eq!(is_told(&story), expected, "{changes:?}: {:?}", story.ids());
    }
}
