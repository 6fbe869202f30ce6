//! Neighbours ask for an address of this node.

use tracer::event::{Body, NamespaceEnded, Neighbour};
use tracer::report::{Confidence, Where};

use crate::story::*;

/// So far so many requests and answers, at a device.
fn asked(story: &mut Story, device: u32, address: &str, asked: u64, answered: u64) {
    story.say(Body::Neighbour(Neighbour {
        netns: NETNS,
        device,
        address: ip(address),
        asked,
        answered,
    }));
}

/// Four requests, a second apart, none of them answered, beyond those that `before` were asked and answered. In each
/// round something else happens too.
fn unanswered(story: &mut Story, before: u64, address: &str, meanwhile: impl Fn(&mut Story)) {
    for more in 1..=4 {
        asked(story, ETH0, address, before + more, before);
        story.rounds(2, &meanwhile);
    }
}

#[test]
fn a_node_that_does_not_answer_is_the_reason_for_the_silence() {
    let mut story = healthy();
    unanswered(&mut story, 0, "10.10.0.2", |story| story.ask(client(40_000)));
    let report = story.report();
    assert_eq!(report.place, Where::GuestKernel);
    assert_eq!(story.ids(), ["R30", "D01"]);
    let verdict = story.verdict("R30");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert_eq!(verdict.flows.len(), 1, "{verdict:#?}");
    assert!(
        verdict
            .explanation
            .contains("asked 4 times in 3.0 s who has 10.10.0.2, and this node has answered none of it"),
        "{}",
        verdict.explanation
    );
    let told = &report.neighbours[0];
    assert_eq!((told.asked, told.answered, told.unanswered), (4, 0, 4));
    assert_eq!(
        (told.address.as_str(), told.device.as_str()),
        ("10.10.0.2", "eth0")
    );
}

#[test]
fn who_answered_before_is_to_answer_still() {
    let mut story = healthy();
    asked(&mut story, ETH0, "2001:db8::2", 2, 2);
    unanswered(&mut story, 2, "2001:db8::2", |story| {
        story.exchange(client(40_000))
    });
    assert_eq!(story.verdict("R30").confidence, Confidence::Strong);

    asked(&mut story, ETH0, "2001:db8::2", 7, 3);
    story.tick();
    assert!(story.ids().is_empty(), "it answers again");
    assert_eq!(story.report().neighbours[0].unanswered, 0);
}

/// As behind a load balancer that has the same address, and answers for it.
#[test]
fn an_address_that_another_answers_for_is_weak() {
    let mut story = healthy();
    unanswered(&mut story, 0, "10.10.0.2", |story| story.exchange(client(40_000)));
    let report = story.report();
    assert_eq!((report.place, report.failure_found()), (Where::Healthy, false));
    assert_eq!(story.verdict("R30").confidence, Confidence::Weak);
}

#[test]
fn what_is_no_fault() {
    // A request or two may be lost, or just be on their way to an answer.
    let mut story = healthy();
    asked(&mut story, ETH0, "10.10.0.2", 2, 0);
    story.rounds(4, |story| story.ask(client(40_000)));
    assert!(!story.ids().contains(&"R30".to_owned()));

    // The address is not this node's, or not any more.
    let mut story = healthy();
    unanswered(&mut story, 0, "10.10.0.77", |story| {
        story.exchange(client(40_000))
    });
    assert!(story.ids().is_empty());

    // A pod asks.
    let mut story = healthy();
    for more in 1..=4 {
        asked(&mut story, LXC1, "10.10.0.2", more, 0);
        story.rounds(2, |story| story.exchange(client(40_000)));
    }
    assert!(story.ids().is_empty());
    assert!(story.report().neighbours.is_empty());
}

/// What comes by a bridge is asked there, and answered by its port.
#[test]
fn an_answer_by_another_device_is_one() {
    let mut story = healthy();
    for more in 1..=6 {
        asked(&mut story, ETH0, "10.10.0.2", more, 0);
        asked(&mut story, LXC1, "10.10.0.2", 0, more);
        story.rounds(2, |story| story.exchange(client(40_000)));
    }
    assert!(story.ids().is_empty());
    let told = &story.report().neighbours[0];
    assert_eq!((told.asked, told.answered, told.unanswered), (6, 6, 0));
}

/// As many addresses as there is room for are asked for, of which the node has none.
fn many(story: &mut Story, netns: u32) {
    for number in 0..1024_u32 {
        story.say(Body::Neighbour(Neighbour {
            netns,
            device: ETH0,
            address: std::net::Ipv4Addr::from(0x0af4_0000 + number).into(),
            asked: 1,
            answered: 1,
        }));
    }
}

#[test]
fn who_was_asked_leaves_its_room_to_others() {
    let room_after = |leave: fn(&mut Story)| {
        let mut story = healthy();
        leave(&mut story);
        unanswered(&mut story, 0, "10.10.0.2", |story| story.ask(client(40_000)));
        story.ids()
    };
    let full = room_after(|story| many(story, NETNS));
    assert_eq!(full, ["D01"]);
    let without_addresses = room_after(|story| {
        many(story, NETNS);
        story.rounds(21, |story| story.exchange(client(40_000)));
    });
    assert_eq!(without_addresses, ["R30", "D01"]);
    let in_one_that_ended = room_after(|story| {
        many(story, 9);
        story.say(Body::NamespaceEnded(NamespaceEnded { inode: 9 }));
    });
    assert_eq!(in_one_that_ended, ["R30", "D01"]);
}
