//! Packets that arrive in pieces, and are never whole.

use tracer::event::Body;
use tracer::event::{EntryKey, Protocol, Seen, Setting, Thing};
use tracer::report::{Confidence, Relation, Where};

use crate::story::*;

fn piece() -> EntryKey {
    drop("FRAG_REASM_TIMEOUT", "ip_expire", Protocol::Icmp)
}

/// Each second one is asked, and the first piece of the answer is thrown away in the end.
fn answered_in_part() -> Story {
    let mut story = healthy();
    story.rounds(6, |story| {
        story.ask_and_lose(ping(9, "192.0.2.11"), piece());
        story.exchange(client(40_000));
    });
    story
}

#[test]
fn answers_that_never_come_whole_are_a_fault_of_the_path() {
    let story = answered_in_part();
    assert_eq!(story.ids(), ["R20"]);
    assert_eq!(story.report().place, Where::DataPath);
    let verdict = story.verdict("R20");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert!(
        verdict.explanation.starts_with(
            "6 fragments that arrived on eth0 waited in vain for the rest of their packets, which did not come. 6 of them were of \
             answers that sockets of this node wait for"
        ),
        "{}",
        verdict.explanation
    );
    assert_eq!(verdict.flows.len(), 1);
    // With what every node has.
    assert!(
        verdict
            .check
            .iter()
            .any(|line| line.contains("ping -c 3 -M do -s 1472 192.0.2.11  # ")),
        "{:?}",
        verdict.check
    );
}

#[test]
fn what_strangers_send_in_part_is_a_weak_sign() {
    let mut story = healthy();
    let stranger = |story: &mut Story| {
        story.arrived(Protocol::Udp, 1);
        story.add(drop("FRAG_REASM_TIMEOUT", "ip_expire", Protocol::Udp), 1);
        story.exchange(client(40_000));
    };
    story.rounds(4, stranger);
    assert!(story.ids().is_empty(), "four are nothing");
    story.rounds(1, stranger);
    assert_eq!(story.verdict("R20").confidence, Confidence::Weak);
    assert_eq!(story.report().place, Where::Healthy);
}

/// Large answers that come whole now and then are lost by chance.
#[test]
fn where_some_answers_come_whole_it_is_a_weak_sign() {
    let mut story = answered_in_part();
    story.exchange(ping(9, "192.0.2.11"));
    story.tick();
    assert_eq!(story.verdict("R20").confidence, Confidence::Weak);
}

#[test]
fn a_device_that_takes_smaller_packets_than_before_explains_it() {
    let mtu = |mtu: u32, seen| {
        Body::Setting(Box::new(Setting {
            netns: NETNS,
            thing: Thing::Link {
                device: "eth0".to_owned(),
            },
            value: Some(format!("up, carrier, mtu {mtu}")),
            seen,
            by: None,
            by_unknown: None,
        }))
    };
    for (before, now, relation) in [(1500, 1400, Relation::Explains), (1400, 1500, Relation::Unknown)] {
        let mut story = healthy();
        story.say(mtu(before, Seen::Found));
        story.idle(4);
        story.say(mtu(now, Seen::Told));
        story.rounds(6, |story| {
            story.ask_and_lose(ping(9, "192.0.2.11"), piece());
        });
        assert_eq!(story.verdict("R20").cause.relation, relation, "{before} {now}");
    }
}
