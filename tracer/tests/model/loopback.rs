//! What a node sends to itself goes nowhere.

use tracer::event::{Body, FlowKey, Protocol, Seen, Setting, SocketState, Thing, Unknown};
use tracer::report::{Confidence, Relation, Where};

use crate::hops::by_ip;
use crate::pairing::{local_rule, set};
use crate::story::*;
use crate::stranded::sent_again;

fn lo() -> Thing {
    Thing::Link {
        device: "lo".to_owned(),
    }
}

fn address() -> Thing {
    Thing::Address {
        device: "lo".to_owned(),
        address: ip("127.0.0.1"),
        prefix: 8,
    }
}

fn answer() -> Thing {
    Thing::Answer {
        device: "lo".to_owned(),
        address: ip("127.0.0.1"),
    }
}

fn proxied() -> FlowKey {
    flow(Protocol::Tcp, "127.0.0.1", 42_000, "127.0.0.1", 8080)
}

/// A node whose loopback works, with a connection by it or without one.
fn before(is_used: bool) -> Story {
    let mut story = healthy();
    set(
        &mut story,
        lo(),
        Some("up, carrier, mtu 65536"),
        Seen::Found,
        None,
    );
    set(&mut story, address(), Some("scope host"), Seen::Found, None);
    set(&mut story, answer(), Some("local"), Seen::Found, None);
    if is_used {
        story.socket(proxied(), None, SocketState::Established, "proxy");
    }
    story.idle(4);
    story
}

fn goes_on(story: &mut Story) {
    story.rounds(8, |story| story.exchange(client(40_000)));
}

fn is_down(story: &mut Story) {
    set(story, lo(), Some("down, no carrier, mtu 65536"), Seen::Told, None);
    set(story, answer(), None, Seen::Found, None);
}

/// A rule is gone, and the kernel's answer, which was asked for since several did something, follows it.
#[test]
fn what_follows_a_change_names_the_same_everywhere() {
    let mut story = before(false);
    set(&mut story, local_rule(), Some(""), Seen::Found, None);
    story.tick();
    set(&mut story, local_rule(), None, Seen::Told, by_ip());
    story.say(Body::Setting(Box::new(Setting {
        netns: NETNS,
        thing: answer(),
        value: Some("unicast via 10.0.0.1 dev eth0".to_owned()),
        seen: Seen::Noticed,
        by: None,
        by_unknown: Some(Unknown::Several),
    })));
    story.tick();
    let node = story.report().node;
    let rule = node.changes.iter().find(|one| one.follows.is_none()).unwrap();
    assert_eq!(rule.with.len(), 1);
    let named = Some((Some(rule.number), rule.by.clone(), None));
    let difference = node.differences.iter().find(|one| one.object.contains("answer"));
    let difference = difference.map(|one| (one.follows, one.by.clone(), one.by_unknown));
    assert_eq!(difference, named);
    let broken = node.invariants.iter().find(|one| one.object.contains("answer"));
    let broken = broken.map(|one| (one.follows, one.by.clone(), one.by_unknown));
    assert_eq!(broken, named);
}

#[test]
fn a_device_that_is_set_down() {
    let mut story = before(true);
    is_down(&mut story);
    goes_on(&mut story);
    assert_eq!(story.ids(), ["R39"]);
    assert_eq!(story.report().place, Where::GuestKernel);
    let verdict = story.verdict("R39");
    assert_eq!(
        (verdict.confidence, verdict.cause.relation),
        (Confidence::Strong, Relation::Explains)
    );
    assert!(
        verdict.explanation.contains("proxy[123]"),
        "{}",
        verdict.explanation
    );
    assert!(
        verdict.remedy[0].starts_with("ip link set dev lo up"),
        "{:?}",
        verdict.remedy
    );
}

fn of_v6() -> Thing {
    Thing::Address {
        device: "lo".to_owned(),
        address: ip("::1"),
        prefix: 128,
    }
}

/// The commands of the remedy, without their risks.
fn commands(story: &Story) -> Vec<String> {
    let all = story.verdict("R39").remedy;
    all.iter()
        .filter_map(|line| Some(line.split_once("  # ")?.0.to_owned()))
        .collect()
}

/// Both were taken: one by whom the kernel tells, the other not.
#[test]
fn a_device_that_is_set_down_and_has_no_address() {
    let mut story = before(true);
    set(&mut story, of_v6(), Some("scope host"), Seen::Found, None);
    story.tick();
    set(&mut story, address(), None, Seen::Told, by_ip());
    let mut other = story.clone();
    is_down(&mut story);
    set(&mut story, of_v6(), None, Seen::Told, by_ip());
    goes_on(&mut story);
    let verdict = story.verdict("R39");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert!(
        verdict.cause.text.contains("by ip[123]"),
        "{}",
        verdict.cause.text
    );
    // The kernel adds both addresses by itself then: to add them fails.
    assert_eq!(commands(&story), ["ip link set dev lo up"]);
    // Not each does so for that of IPv4 where there is another one.
    let own = Thing::Address {
        device: "lo".to_owned(),
        address: ip("10.9.9.9"),
        prefix: 32,
    };
    set(&mut other, own, Some("scope global"), Seen::Told, None);
    is_down(&mut other);
    goes_on(&mut other);
    let expected = ["ip link set dev lo up", "ip addr replace 127.0.0.1/8 dev lo"];
    assert_eq!(commands(&other), expected);
}

/// The device is up: nothing brings the address back.
#[test]
fn an_address_of_ipv6_that_is_taken_away_is_added_again() {
    let mut story = before(true);
    let answer = Thing::Answer {
        device: "lo".to_owned(),
        address: ip("::1"),
    };
    set(&mut story, of_v6(), Some("scope host"), Seen::Found, None);
    set(&mut story, answer.clone(), Some("local"), Seen::Found, None);
    story.tick();
    set(&mut story, of_v6(), None, Seen::Told, by_ip());
    set(&mut story, answer, Some("unreachable"), Seen::Noticed, by_ip());
    goes_on(&mut story);
    assert_eq!(commands(&story), ["ip addr replace ::1/128 dev lo"]);
}

#[test]
fn an_address_that_is_taken_away() {
    let mut story = before(false);
    set(&mut story, of_v6(), Some("scope host"), Seen::Found, None);
    set(&mut story, address(), None, Seen::Told, by_ip());
    set(&mut story, of_v6(), None, Seen::Told, None);
    let elsewhere = "unicast via 10.10.0.1 dev eth0";
    set(&mut story, answer(), Some(elsewhere), Seen::Noticed, by_ip());
    sent_again(&mut story, proxied(), 3);
    story.rounds(12, |story| story.exchange(client(40_000)));
    let verdict = story.verdict("R39");
    assert_eq!(
        (verdict.confidence, verdict.cause.relation),
        (Confidence::Strong, Relation::Explains)
    );
    assert!(
        verdict.cause.text.starts_with("address 127.0.0.1/8"),
        "{}",
        verdict.cause.text
    );
    assert!(
        verdict
            .explanation
            .contains("1 connection of this node with itself"),
        "{}",
        verdict.explanation
    );
    assert!(
        verdict.remedy[0].starts_with("ip addr replace 127.0.0.1/8 dev lo"),
        "{:?}",
        verdict.remedy
    );
}

/// It was so before: what stands says it.
#[test]
fn a_device_that_was_down_at_the_start() {
    let late = |is_used: bool| {
        let mut story = healthy();
        set(
            &mut story,
            lo(),
            Some("down, no carrier, mtu 65536"),
            Seen::Found,
            None,
        );
        set(&mut story, address(), Some("scope host"), Seen::Found, None);
        if is_used {
            story.socket(proxied(), None, SocketState::Established, "proxy");
        }
        goes_on(&mut story);
        story.verdict("R39")
    };
    let verdict = late(true);
    assert_eq!(
        (verdict.confidence, verdict.cause.relation),
        (Confidence::Strong, Relation::PredatesStart)
    );
    assert!(
        verdict.remedy[0].starts_with("ip link set lo up"),
        "{:?}",
        verdict.remedy
    );
    assert_eq!(
        late(false).confidence,
        Confidence::Weak,
        "nobody is known to need it"
    );
}

/// Nobody has ever set it up, or somebody only sets it up anew.
#[test]
fn a_device_that_is_as_it_ought_to_be() {
    let mut story = healthy();
    set(
        &mut story,
        lo(),
        Some("down, no carrier, mtu 65536"),
        Seen::Found,
        None,
    );
    goes_on(&mut story);
    assert!(story.ids().is_empty(), "{:?}", story.ids());
    let mut story = before(true);
    is_down(&mut story);
    story.tick();
    set(&mut story, lo(), Some("up, carrier, mtu 65536"), Seen::Told, None);
    set(&mut story, answer(), Some("local"), Seen::Found, None);
    goes_on(&mut story);
    assert!(story.ids().is_empty(), "{:?}", story.ids());
}
