//! What arrived waits for the answer of a neighbour, to be forwarded.

use tracer::event::{Body, EntryKey, Fate, Fragments, NamespaceEnded, Protocol, Unresolved};
use tracer::report::Ledger;

use crate::story::*;

/// So many packets that arrived by this device wait for the neighbour now.
fn waits(story: &mut Story, iif: u32, address: &str, packets: u64) {
    story.say(Body::Unresolved(Unresolved {
        netns: NETNS,
        device: LXC1,
        address: ip(address),
        iif,
        packets,
        before: 0,
        before_bytes: 0,
    }));
}

#[test]
fn what_waits_is_queued_until_it_is_sent_or_dropped() {
    let mut story = Story::begin();
    story.arrived(Protocol::Udp, 10);
    waits(&mut story, ETH0, "10.244.0.9", 7);
    waits(&mut story, ETH0, "2001:db8:244::9", 3);
    story.tick();
    let books = |queued, forwarded, dropped| Ledger {
        arrived: 10,
        forwarded,
        dropped,
        queued,
        ..Ledger::default()
    };
    assert_eq!(story.report().ledger, books(10, 0, 0));

    // One answers, the other one does not.
    let sent = EntryKey {
        device: LXC1,
        ..line(Fate::Forwarded, Protocol::Udp)
    };
    story.add(sent, 7);
    waits(&mut story, ETH0, "10.244.0.9", 0);
    story.tick();
    assert_eq!(story.report().ledger, books(3, 7, 0));
    story.add(drop("NEIGH_FAILED", "neigh_invalidate", Protocol::Udp), 3);
    waits(&mut story, ETH0, "2001:db8:244::9", 0);
    story.tick();
    assert_eq!(story.report().ledger, books(0, 7, 3));
}

#[test]
fn what_came_by_no_uplink_is_in_no_column() {
    let mut story = Story::begin();
    story.arrived(Protocol::Udp, 2);
    waits(&mut story, ETH0, "10.244.0.9", 2);
    waits(&mut story, LXC1, "10.244.0.9", 5);
    story.tick();
    let report = story.report();
    assert_eq!((report.ledger.queued, report.ledger.unexplained), (2, 0));
    // The reader is told of all that waits.
    assert_eq!(report.unresolved.len(), 1, "{:?}", report.unresolved);
    let told = &report.unresolved[0];
    assert_eq!(
        (told.address.as_str(), told.device.as_str(), told.packets),
        ("10.244.0.9", "lxc1", 7)
    );
}

#[test]
fn what_waits_at_the_start_has_arrived() {
    let mut story = Story::begin();
    let mut stood = |iif, packets, before| {
        story.say(Body::Unresolved(Unresolved {
            netns: NETNS,
            device: LXC1,
            address: ip("10.244.0.9"),
            iif,
            packets,
            before,
            before_bytes: 100 * before,
        }));
    };
    // Of three that waited one has left before the first round.
    stood(ETH0, 2, 3);
    stood(LXC1, 5, 5);
    story.add(drop("NEIGH_QUEUEFULL", "__neigh_event_send", Protocol::Udp), 1);
    story.tick();
    let books = |queued, dropped| Ledger {
        arrived: 3,
        dropped,
        queued,
        ..Ledger::default()
    };
    assert_eq!(story.report().ledger, books(2, 1));
    assert_eq!(story.report().bytes.arrived, 300);

    story.add(drop("NEIGH_FAILED", "neigh_invalidate", Protocol::Udp), 2);
    waits(&mut story, ETH0, "10.244.0.9", 0);
    story.tick();
    assert_eq!(story.report().ledger, books(0, 3));

    // The books of a namespace that has ended stay as they are.
    story.say(Body::NamespaceEnded(NamespaceEnded { inode: NETNS }));
    story.tick();
    assert_eq!(story.report().ledger.unexplained, 0);
}

#[test]
fn neighbours_are_told_by_what_waits_and_for_how_long() {
    let mut story = Story::begin();
    waits(&mut story, ETH0, "10.244.0.8", 1);
    story.idle(4);
    waits(&mut story, ETH0, "10.244.0.8", 2);
    waits(&mut story, ETH0, "10.244.0.9", 3);
    story.idle(2);
    let told = story.report().unresolved;
    let addresses: Vec<_> = told.iter().map(|neighbour| neighbour.address.as_str()).collect();
    assert_eq!(addresses, ["10.244.0.9", "10.244.0.8"]);
    // More has come, and nothing has left.
    assert!(told[1].age > 2.0 && told[0].age < 2.0, "{told:?}");
    waits(&mut story, ETH0, "10.244.0.9", 0);
    story.tick();
    assert_eq!(story.report().unresolved.len(), 1);
}

#[test]
fn nothing_waits_in_a_namespace_that_has_ended() {
    let mut story = Story::begin();
    waits(&mut story, ETH0, "10.244.0.9", 3);
    story.tick();
    story.say(Body::NamespaceEnded(NamespaceEnded { inode: NETNS }));
    story.tick();
    let report = story.report();
    assert!(report.unresolved.is_empty() && report.ledger.queued == 0);
}

#[test]
fn more_queues_than_are_kept() {
    let mut story = Story::begin();
    for number in 0..5000_u32 {
        waits(&mut story, ETH0, &std::net::Ipv4Addr::from(number).to_string(), 1);
    }
    story.tick();
    let report = story.report();
    assert_eq!((report.unresolved.len(), report.unresolved_total), (100, 4096));
    assert_eq!(report.ledger.queued + report.losses.unresolved_full, 5000);
    assert_eq!(report.losses.unresolved_full, 5000 - 4096);
}

#[test]
fn datagrams_that_wait_for_fragments_are_told_as_they_stand() {
    let mut story = Story::begin();
    let mut wait = |netns, datagrams| {
        story.say(Body::Fragments(Fragments {
            netns,
            datagrams,
            memory: datagrams * 1000,
        }));
        story.tick();
        let told = story.report().fragments;
        (told.datagrams, told.memory)
    };
    assert_eq!(wait(NETNS, 3), (3, 3000));
    assert_eq!(wait(NETNS, 1), (1, 1000));
    assert_eq!(wait(7, 5), (1, 1000), "of another namespace");
    assert_eq!(wait(NETNS, 0), (0, 0));
}
