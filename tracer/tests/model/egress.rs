//! The queue of a device drops what is to leave.

use tracer::event::{Body, CapabilityState, Device, EntryKey, FlowKey, Protocol, Seen, Thing};
use tracer::report::{Confidence, Relation, Where};

use crate::hops::by_ip;
use crate::pairing::set;
use crate::story::*;

/// So many packets are dropped in each half second, for so many of them.
fn dropped(story: &mut Story, reason: &str, packets: u64, rounds: u32) {
    story.rounds(rounds, |story| {
        story.exchange(client(40_000));
        story.add(unsent(reason), packets);
    });
}

/// The queue of eth0 drops what this node sends.
fn unsent(reason: &str) -> EntryKey {
    EntryKey {
        incoming: false,
        iif: 0,
        ..drop(reason, "__dev_queue_xmit", Protocol::Tcp)
    }
}

#[test]
fn a_queue_that_drops_what_is_sent_is_a_weak_sign() {
    for reason in ["QDISC_DROP", "QDISC_OVERLIMIT", "FQ_FLOW_LIMIT"] {
        let mut story = healthy();
        let shaper = Thing::Traffic {
            device: "eth0".to_owned(),
            text: "qdisc 1: root".to_owned(),
        };
        set(&mut story, shaper, Some("tbf"), Seen::Told, by_ip());
        dropped(&mut story, reason, 6, 8);
        assert_eq!(story.report().place, Where::Healthy);
        let verdict = story.verdict("K06");
        assert_eq!(
            (verdict.confidence, verdict.cause.relation),
            (Confidence::Weak, Relation::Explains),
            "{}",
            verdict.cause.text
        );
        assert!(
            verdict
                .explanation
                .contains("the queue of eth0 has dropped 48 packets that this node was sending"),
            "{}",
            verdict.explanation
        );
        // It is over.
        story.rounds(8, |story| story.exchange(client(40_000)));
        assert!(story.ids().is_empty(), "{:?}", story.ids());
    }
}

/// This node asks in vain, and meanwhile its queue drops so many packets in each half second. How sure that is after each.
fn asked_in_vain(story: &mut Story, packets: u64, rounds: u32, other: fn(&mut Story)) -> Vec<Confidence> {
    let round = |_| {
        story.rounds(1, |story| {
            story.ask(client(40_000));
            story.add(unsent("QDISC_DROP"), packets);
            other(story);
        });
        let report = story.report();
        let verdict = report.verdicts.iter().find(|verdict| verdict.id == "K06");
        verdict.map(|verdict| verdict.confidence)
    };
    (0..rounds).filter_map(round).collect()
}

/// Somebody else.
fn another() -> FlowKey {
    flow(Protocol::Tcp, "10.10.0.2", 40_001, "192.0.2.77", 80)
}

/// What does not leave is not answered: that is no fault of the path.
#[test]
fn a_queue_that_drops_all_that_is_sent() {
    let mut story = healthy();
    let sure = asked_in_vain(&mut story, 2, 8, |_| {});
    assert_eq!(sure, [Confidence::Strong; 5]);
    assert_eq!(story.ids(), ["K06", "D01"]);
    assert_eq!(story.report().place, Where::GuestKernel);
    let verdict = story.verdict("K06");
    let part = "Meanwhile no answer came to 8 requests that this node made. Affected: 1 flow of curl[123]";
    assert!(verdict.explanation.contains(part), "{}", verdict.explanation);
    // Not each request is told as a drop.
    let mut story = healthy();
    story.rounds(1, |story| story.ask(client(40_000)));
    asked_in_vain(&mut story, 1, 8, |_| {});
    assert_eq!(story.ids(), ["K06", "D01"]);
    // It was silent before.
    let mut story = healthy();
    story.rounds(8, |story| story.ask(client(40_000)));
    asked_in_vain(&mut story, 6, 8, |_| {});
    assert_eq!(story.report().place, Where::DataPath);
    assert_eq!(story.verdict("K06").confidence, Confidence::Weak);
}

/// Something leaves: it says so at once, and all the time.
#[test]
fn a_queue_that_drops_some_of_what_is_sent_beside_a_silent_peer() {
    for silent_first in [0, 3] {
        let mut story = healthy();
        story.rounds(silent_first, |story| {
            story.ask(client(40_000));
            story.exchange(another());
        });
        let sure = asked_in_vain(&mut story, 6, 8, |story| {
            story.exchange(another());
            story.count(another(), |flow| flow.iif = ETH0);
        });
        assert!(
            !sure.is_empty() && !sure.contains(&Confidence::Strong),
            "{silent_first}: {sure:?}"
        );
    }
}

/// Nothing leaves, and a peer sends again what this node cannot acknowledge; what it had answered before was counted late, as if it
/// had come after the first drop.
#[test]
fn what_only_arrives_is_no_sign_that_something_leaves() {
    let mut story = healthy();
    asked_in_vain(&mut story, 2, 4, |story| {
        story.exchange(another());
        story.count(another(), |flow| flow.iif = ETH0);
    });
    asked_in_vain(&mut story, 2, 6, |story| {
        story.count(another(), |flow| {
            flow.arrived += 1;
            flow.matched += 1;
        });
    });
    assert_eq!(story.verdict("K06").confidence, Confidence::Strong);
    assert_eq!(story.ids(), ["K06", "D01"]);
}

/// Without sight of what leaves or arrives it is not known that nothing is answered.
#[test]
fn who_does_not_see_what_leaves_or_arrives_has_a_weak_sign() {
    for capability in ["sent", "arrivals"] {
        let mut story = healthy();
        story.capability(capability, CapabilityState::Unavailable);
        let sure = asked_in_vain(&mut story, 6, 8, |_| {});
        assert!(!sure.contains(&Confidence::Strong), "{capability}: {sure:?}");
    }
}

/// The queue of a bond drops, and packets come by its port; that of one VLAN of two, both of which come by the same port.
#[test]
fn flows_of_a_device_are_those_for_its_addresses() {
    const UPPER: u32 = 17;
    let upper = |story: &mut Story, address: &str| {
        story.say(Body::Device(Device {
            netns: NETNS,
            index: UPPER,
            name: "upper".to_owned(),
            uplink: false,
            addresses: vec![address.parse().unwrap()],
            over: vec![ETH0],
            assumed: false,
            peer: None,
        }));
    };
    for (address, sure) in [("10.10.0.2", Confidence::Weak), ("10.11.0.2", Confidence::Strong)] {
        let mut story = healthy();
        upper(&mut story, address);
        for _ in 0..8 {
            story.rounds(1, |story| {
                story.ask(client(40_000));
                let unsent = EntryKey {
                    device: UPPER,
                    ..unsent("QDISC_DROP")
                };
                story.add(unsent, 6);
                story.exchange(another());
                story.count(another(), |flow| flow.iif = ETH0);
            });
        }
        assert_eq!(story.verdict("K06").confidence, sure, "{address}");
    }
}

#[test]
fn a_few_that_a_queue_drops_say_nothing() {
    let mut story = healthy();
    dropped(&mut story, "QDISC_DROP", 1, 20);
    assert!(story.ids().is_empty(), "{:?}", story.ids());
    // Nor do many at once.
    let mut story = healthy();
    dropped(&mut story, "QDISC_DROP", 100, 4);
    assert!(story.ids().is_empty(), "{:?}", story.ids());
}

/// That is another rule's.
#[test]
fn a_device_without_carrier_is_not_a_queue_that_is_full() {
    let mut story = healthy();
    let link = Thing::Link {
        device: "eth0".to_owned(),
    };
    set(&mut story, link, Some("up, no carrier"), Seen::Told, None);
    dropped(&mut story, "QDISC_DROP", 6, 8);
    assert!(!story.ids().contains(&"K06".to_owned()), "{:?}", story.ids());
}
