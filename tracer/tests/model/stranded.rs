//! Connections that stand, and to whose peers no route leads: mostly since before the start.

use tracer::event::{Body, FlowKey, Protocol, Queue, Seen, SocketState, Source, Thing};
use tracer::report::{Confidence, Relation, Where};

use crate::pairing::set;
use crate::story::*;
use crate::unroutable::ask_in_vain;
use crate::ways::{DEFAULT, route};

/// The kernel's list of sockets says that the connection has sent again so often what is not acknowledged.
pub(crate) fn sent_again(story: &mut Story, flow: FlowKey, retries: u8) {
    story.say(Body::Queue(Box::new(Queue {
        flow,
        state: SocketState::Established,
        inode: 7,
        waiting: 0,
        limit: None,
        drops: None,
        retries,
        owner: Some(owner("agent")),
        held: None,
    })));
}

fn agent() -> FlowKey {
    flow(Protocol::Tcp, "10.10.0.2", 42_000, "198.51.100.1", 443)
}

fn found(story: &mut Story, thing: Thing, value: &str) {
    set(story, thing, Some(value), Seen::Found, None);
}

/// A node with these routes beside those of its own addresses, on which a connection stands; others go on.
fn node(routes: &[(Thing, &str)]) -> Story {
    let mut story = Story::begin();
    let local = Thing::Route {
        table: 255,
        action: "local".to_owned(),
        destination: ip("10.10.0.2"),
        prefix: 32,
        metric: 0,
    };
    found(&mut story, local, "dev eth0");
    found(&mut story, route("10.10.0.0", 24, 0), "dev eth0");
    for (thing, value) in routes {
        found(&mut story, thing.clone(), value);
    }
    story.socket(agent(), None, SocketState::Established, "agent");
    story.socket(client(40_000), None, SocketState::Established, "curl");
    story
}

/// The agent's connection sends again; the other one works.
fn again(story: &mut Story) {
    sent_again(story, agent(), 3);
    story.rounds(8, |story| story.exchange(served(50_000)));
    sent_again(story, agent(), 5);
    story.rounds(8, |story| story.exchange(served(50_000)));
}

fn refusing(action: &str, to: &str, prefix: u8) -> Thing {
    Thing::Route {
        table: 254,
        action: action.to_owned(),
        destination: ip(to),
        prefix,
        metric: 0,
    }
}

#[test]
fn a_default_route_that_was_not_there_at_the_start() {
    for routes in [
        vec![],
        vec![(refusing("blackhole", "0.0.0.0", 0), "")],
        vec![
            (refusing("unreachable", "0.0.0.0", 0), ""),
            (route("0.0.0.0", 0, 100), DEFAULT),
        ],
    ] {
        let mut story = node(&routes);
        again(&mut story);
        assert_eq!(story.ids(), ["R04"], "{routes:?}");
        assert_eq!(story.report().place, Where::GuestKernel);
        let verdict = story.verdict("R04");
        assert_eq!(
            (verdict.confidence, verdict.cause.relation),
            (Confidence::Strong, Relation::PredatesStart)
        );
        assert!(
            verdict
                .explanation
                .contains("1 connection stands to 198.51.100.1, and "),
            "{}",
            verdict.explanation
        );
        assert!(
            verdict
                .explanation
                .contains("It had to send again, 5 times so far")
        );
        assert!(
            verdict.check[0].contains("ip route get 198.51.100.1"),
            "{:?}",
            verdict.check
        );
        let takes_away = verdict.remedy[0].contains("ip route del ");
        assert_eq!(takes_away, !routes.is_empty(), "{:?}", verdict.remedy);
    }
}

/// At one look it has waited for longer than two looks could tell.
#[test]
fn who_has_sent_often_again_needs_no_second_look() {
    for (retries, wanted) in [(2, false), (3, true)] {
        let mut story = node(&[]);
        sent_again(&mut story, agent(), retries);
        story.rounds(2, |story| story.exchange(served(50_000)));
        assert_eq!(story.ids().contains(&"R04".to_owned()), wanted, "{retries}");
    }
}

#[test]
fn who_has_ended_does_not_stand() {
    let mut story = node(&[]);
    again(&mut story);
    story.socket(agent(), None, SocketState::Close, "agent");
    story.rounds(2, |story| story.exchange(served(50_000)));
    let told = story.verdict("R04").explanation;
    let wanted = "1 connection to 198.51.100.1, which has ended, had no way: no table has a route there.";
    assert!(told.contains(wanted), "{told}");
}

/// A route leads there, or some rule may ask for one; or what is sent again is none of what has no way.
#[test]
fn who_has_a_way_sends_again_for_another_reason() {
    let none = |routes: &[(Thing, &str)]| {
        let mut story = node(routes);
        again(&mut story);
        assert!(!story.ids().contains(&"R04".to_owned()), "{:?}", story.ids());
    };
    none(&[(route("0.0.0.0", 0, 0), DEFAULT)]);
    let of_table = Thing::Route {
        table: 100,
        action: "unicast".to_owned(),
        destination: ip("0.0.0.0"),
        prefix: 0,
        metric: 0,
    };
    none(&[(of_table, DEFAULT)]);
    // It was sent again once more than once, and then acknowledged.
    let mut story = node(&[]);
    sent_again(&mut story, agent(), 3);
    story.rounds(8, |story| story.exchange(served(50_000)));
    sent_again(&mut story, agent(), 0);
    story.rounds(8, |story| story.exchange(served(50_000)));
    assert!(story.ids().is_empty(), "{:?}", story.ids());
}

/// No connection needs it.
#[test]
fn a_lost_default_route_alone_is_no_fault() {
    let mut story = node(&[]);
    story.rounds(16, |story| story.exchange(served(50_000)));
    assert!(story.ids().is_empty(), "{:?}", story.ids());
}

/// As a network plugin's, for the pods of a node: one that is gone leaves connections behind.
#[test]
fn a_network_that_is_sent_nowhere_is_a_sign() {
    let mut story = node(&[
        (route("0.0.0.0", 0, 0), DEFAULT),
        (refusing("blackhole", "198.51.100.0", 24), ""),
    ]);
    again(&mut story);
    assert_eq!(story.verdict("R04").confidence, Confidence::Weak);
    assert_eq!(story.report().place, Where::Healthy);
}

/// The peer was silent before, and what is sent again left until the way to it was lost.
#[test]
fn who_was_not_answered_before_has_lost_its_way_later() {
    let mut story = node(&[(route("0.0.0.0", 0, 0), DEFAULT)]);
    let silent = |story: &mut Story, rounds: u32, retries: u8, leaves: bool| {
        sent_again(story, agent(), retries);
        story.rounds(rounds, |story| {
            story.exchange(served(50_000));
            if leaves {
                story.ask(agent());
            }
        });
    };
    silent(&mut story, 8, 3, true);
    // It has waited for so long that nothing of it left just before.
    silent(&mut story, 4, 5, false);
    let lost = story.report().window.end;
    set(
        &mut story,
        route("0.0.0.0", 0, 0),
        None,
        Seen::Told,
        Some(owner("ip")),
    );
    silent(&mut story, 4, 6, false);
    let verdict = story.verdict("R04");
    assert_eq!(verdict.cause.relation, Relation::Explains, "{:?}", verdict.cause);
    assert_eq!(verdict.since, lost);
    set(
        &mut story,
        route("0.0.0.0", 0, 0),
        Some(DEFAULT),
        Seen::Told,
        Some(owner("ip")),
    );
    silent(&mut story, 1, 6, true);
    sent_again(&mut story, agent(), 0);
    story.rounds(16, |story| story.exchange(agent()));
    let report = story.report();
    assert!(report.episodes[0].mended.is_some(), "{:#?}", report.episodes);
}

/// One peer has been silent for long when tracer starts; later all others are cut off.
#[test]
fn a_way_that_was_lost_since_the_start_did_not_stand_so() {
    let mut story = node(&[(route("0.0.0.0", 0, 0), DEFAULT)]);
    sent_again(&mut story, agent(), 12);
    story.rounds(20, |story| story.exchange(client(40_000)));
    let lost = story.report().window.end;
    set(
        &mut story,
        route("0.0.0.0", 0, 0),
        None,
        Seen::Told,
        Some(owner("ip")),
    );
    sent_again(&mut story, client(40_000), 3);
    story.rounds(4, |story| story.exchange(served(50_000)));
    let verdict = story.verdict("R04");
    assert_eq!(verdict.cause.relation, Relation::Explains, "{:?}", verdict.cause);
    assert_eq!(verdict.since, lost);
}

/// When a socket of datagrams is closed nobody tells; and what has ended stands no more.
#[test]
fn only_connections_stand() {
    let mut story = node(&[(route("0.0.0.0", 0, 0), DEFAULT)]);
    let asked_once = |port| flow(Protocol::Udp, "10.10.0.2", port, "198.51.100.9", 53);
    for port in 50_000..50_010 {
        story.socket(asked_once(port), None, SocketState::Established, "agent");
    }
    let ended = |port| flow(Protocol::Tcp, "10.10.0.2", port, "198.51.100.8", 443);
    for port in 51_000..51_010 {
        story.socket(ended(port), None, SocketState::TimeWait, "agent");
    }
    story.rounds(8, |story| story.exchange(client(40_000)));
    set(
        &mut story,
        route("0.0.0.0", 0, 0),
        None,
        Seen::Told,
        Some(owner("ip")),
    );
    ask_in_vain(&mut story, Source::Snmp, "IpOutNoRoutes", 6);
    let verdict = story.verdict("R04");
    assert!(
        verdict
            .explanation
            .contains(" 2 connections stand to 192.0.2.10 and 198.51.100.1, and no table"),
        "{}",
        verdict.explanation
    );
    assert_eq!(verdict.flows_total, 2);
}
