//! Flows that lose some of their packets and get the rest.

use tracer::event::{FlowKey, Origin, Protocol, SocketState};
use tracer::report::{Confidence, Where};

use crate::story::*;

/// Each round, the flow gets answers; and one that arrives is lost.
fn lose_one_of(story: &mut Story, key: FlowKey, answers: u32, reason: &str, symbol: &str) {
    for _ in 1..answers {
        story.exchange(key);
    }
    let entry = drop(reason, symbol, key.protocol);
    story.ask_and_lose(key, entry);
}

#[test]
fn one_answer_in_ten_is_lost() {
    let mut story = healthy();
    story.rounds(6, |story| {
        for port in [40_000, 40_001] {
            lose_one_of(story, client(port), 10, "NETFILTER_DROP", "nft_do_chain");
        }
    });
    assert_eq!(story.ids(), ["K04"]);
    assert_eq!(story.report().place, Where::GuestKernel);
    let verdict = story.verdict("K04");
    assert_eq!(verdict.confidence, Confidence::Strong);
    for part in [
        "Of 120 packets that arrived from 06:00:02 UTC to ",
        "12 reached no socket: 12 were dropped for NETFILTER_DROP at nft_do_chain+0x1c4",
        "2 flows of curl[123] (curl.service)",
    ] {
        assert!(
            verdict.explanation.contains(part),
            "{part}: {}",
            verdict.explanation
        );
    }
    assert_eq!(verdict.check[0], "nft -a list ruleset");

    // It is over, and told while it is fresh.
    let whole = |story: &mut Story| (40_000..40_002).for_each(|port| story.exchange(client(port)));
    story.rounds(4, whole);
    assert_eq!(story.verdict("K04").last, verdict.last);
    story.rounds(22, whole);
    assert_eq!(story.ids(), Vec::<String>::new());
}

#[test]
fn answers_that_arrive_damaged_now_and_then() {
    let mut story = healthy();
    story.rounds(12, |story| {
        lose_one_of(story, client(40_000), 5, "TCP_CSUM", "tcp_v4_rcv");
    });
    assert_eq!(story.ids(), ["K04"]);
    assert_eq!(story.verdict("K04").check[0], "ethtool -k eth0");
}

/// One in a hundred is a sign, and one in a thousand is not.
#[test]
fn little_is_lost() {
    let lose = |of: u32| {
        let mut story = healthy();
        story.rounds(12, |story| {
            lose_one_of(story, client(40_000), of, "NETFILTER_DROP", "nft_do_chain");
        });
        story
    };
    let story = lose(60);
    assert_eq!(story.verdict("K04").confidence, Confidence::Weak);
    assert_eq!(story.report().place, Where::Healthy);
    let story = lose(200);
    assert_eq!(story.ids(), Vec::<String>::new());
}

/// A firewall holds a client back that asks too much.
#[test]
fn requests_beyond_a_limit() {
    let mut story = Story::begin();
    story.socket(bound(Protocol::Udp, 53), None, SocketState::Close, "named");
    let client = flow(Protocol::Udp, "10.10.0.2", 53, "203.0.113.9", 4444);
    story.rounds(20, |story| {
        story.arrived(Protocol::Udp, 2).count(client, |flow| {
            flow.origin = Origin::Remote;
            flow.iif = ETH0;
            flow.arrived += 2;
            flow.queued += 1;
            flow.dropped += 1;
            flow.last_drop = Some(("NETFILTER_DROP".to_owned(), at("nft_do_chain")));
        });
    });
    let verdict = story.verdict("K04");
    assert_eq!(verdict.confidence, Confidence::Weak);
    assert_eq!(story.report().place, Where::Healthy);
}

/// Where one in five is lost, now and then two are in a row; not eight.
#[test]
fn bad_luck_is_no_other_fault() {
    let lost_in_a_row = |packets: u32| {
        let mut story = healthy();
        let one_in_five = |story: &mut Story| {
            lose_one_of(story, client(40_000), 5, "NETFILTER_DROP", "nft_do_chain");
        };
        story.rounds(12, one_in_five);
        for _ in 0..packets {
            story.ask_and_lose(
                client(40_001),
                drop("NETFILTER_DROP", "nft_do_chain", Protocol::Tcp),
            );
            story.rounds(2, one_in_five);
        }
        story.ids()
    };
    assert_eq!(lost_in_a_row(2), ["K04"]);
    assert_eq!(lost_in_a_row(8), ["R06", "K04"]);
}

/// Nor at the beginning: two in a row are a loss of replies only where all others get theirs.
#[test]
fn bad_luck_at_the_beginning_is_no_other_fault() {
    let begun = |others_lose: bool| {
        let mut story = healthy();
        story.exchange(client(40_001));
        for round in 0..5 {
            if others_lose && round % 2 == 0 {
                lose_one_of(&mut story, client(40_000), 5, "NETFILTER_DROP", "nft_do_chain");
            }
            if round == 1 || round == 3 {
                let entry = drop("NETFILTER_DROP", "nft_do_chain", Protocol::Tcp);
                story.ask_and_lose(client(40_001), entry);
            }
            story.tick();
        }
        story.ids()
    };
    assert_eq!(begun(false), ["R06"]);
    assert_eq!(begun(true), ["K04"]);
}

/// What still came in the round in which all of it began to be dropped is no part that gets through; what comes later is.
#[test]
fn all_that_is_lost_from_amid_a_round_on_is_no_part() {
    let ports = || (40_000..40_004).map(client);
    let lose = |story: &mut Story| {
        ports().for_each(|key| {
            story.ask_and_lose(key, drop("NETFILTER_DROP", "nft_do_chain", key.protocol));
        });
    };
    let mut story = healthy();
    story.rounds(1, |story| {
        ports().for_each(|key| lose_one_of(story, key, 6, "NETFILTER_DROP", "nft_do_chain"));
    });
    for _ in 0..4 {
        story.rounds(1, lose);
        assert!(!story.ids().contains(&"K04".to_owned()), "{:?}", story.ids());
    }
    assert_eq!(story.ids(), ["R06"]);

    // Some gets through in between: two in a row are chance.
    let mut story = healthy();
    for _ in 0..5 {
        story.rounds(1, |story| {
            ports().for_each(|key| lose_one_of(story, key, 2, "NETFILTER_DROP", "nft_do_chain"));
        });
    }
    story.rounds(2, lose);
    story.idle(1);
    assert_eq!(story.ids(), ["K04"]);
}
