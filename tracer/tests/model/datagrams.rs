//! Datagrams in the books: queued, read, thrown away with their queue.

use tracer::event::{CapabilityState, Fate, Protocol};
use tracer::report::{Class, Ledger};

use crate::story::*;

#[test]
fn where_queues_are_not_told_a_datagram_is_delivered_when_it_is_read() {
    // As before 6.3: what waits is not known.
    let mut story = Story::begin();
    story.capability("queued", CapabilityState::Unavailable);
    let key = udp(53, "192.0.2.10", 999);
    story
        .arrived(Protocol::Udp, 8)
        .add(line(Fate::Read, Protocol::Udp), 3)
        .count(key, |flow| (flow.arrived, flow.read) = (8, 3))
        .tick();
    let ledger = Ledger {
        arrived: 8,
        delivered: 3,
        unexplained: 5,
        ..Ledger::default()
    };
    assert_eq!(story.report().ledger, ledger);
    // The socket is closed.
    story
        .add(drop("QUEUE_PURGE", "udp_destruct_common", Protocol::Udp), 5)
        .tick();
    assert_eq!(
        story.report().ledger,
        Ledger {
            dropped: 5,
            unexplained: 0,
            ..ledger
        }
    );
}

/// The kernel gives a raw socket a clone of a message, and deals with the message by itself as well: whatever becomes of both, one
/// packet has arrived.
#[test]
fn a_clone_for_a_raw_socket_is_not_another_packet() {
    let line = |fate| line(fate, Protocol::Icmp);
    let of = |reason, symbol, packets| (drop(reason, symbol, Protocol::Icmp), packets);
    let arrived = |dropped, delivered, answered| Ledger {
        arrived: 5,
        dropped,
        delivered,
        answered,
        ..Ledger::default()
    };
    for (lines, ledger) in [
        // A policy of IPsec blocks both.
        (
            vec![of("XFRM_POLICY", "raw_rcv", 5), of("XFRM_POLICY", "icmp_rcv", 5)],
            arrived(5, 0, 0),
        ),
        // There is no room in the socket's buffer, and no ping socket.
        (
            vec![of("SOCKET_RCVBUFF", "raw_rcv", 5), of("NO_SOCKET", "ping_rcv", 5)],
            arrived(5, 0, 0),
        ),
        // The same, beside a second socket that has room.
        (
            vec![
                of("SOCKET_RCVBUFF", "raw_rcv", 5),
                of("NO_SOCKET", "ping_rcv", 5),
                (line(Fate::Queued), 5),
            ],
            arrived(0, 5, 0),
        ),
        // It had some room.
        (
            vec![
                of("SOCKET_RCVBUFF", "raw_rcv", 3),
                of("NO_SOCKET", "ping_rcv", 5),
                (line(Fate::Queued), 2),
            ],
            arrived(3, 2, 0),
        ),
        // The kernel answers what it asks of a socket that listens in.
        (
            vec![of("SOCKET_RCVBUFF", "raw_rcv", 5), (line(Fate::Consumed), 5)],
            arrived(0, 0, 5),
        ),
    ] {
        let mut all = vec![(line(Fate::Arrived), 5)];
        all.extend(lines);
        crate::ledger::assert_books(&all, ledger);
    }
}

/// Nor are more messages of a flow lost than came.
#[test]
fn a_flow_loses_no_more_messages_than_arrived() {
    let mut story = healthy();
    let key = ping(7, "192.0.2.10");
    story.rounds(6, |story| {
        for symbol in ["raw_rcv", "icmp_rcv"] {
            story.add(drop("XFRM_POLICY", symbol, Protocol::Icmp), 1);
        }
        story.arrived(Protocol::Icmp, 1).count(key, |flow| {
            flow.sent += 1;
            flow.arrived += 1;
            flow.dropped += 2;
            flow.last_drop = Some(("XFRM_POLICY".to_owned(), at("icmp_rcv")));
        });
    });
    let report = story.report();
    let starved = &report.starved[0];
    // Four of them came when all was well.
    assert_eq!((starved.arrived, starved.dropped), (4 + 6, 6));
}

#[test]
fn a_ping_of_this_node_is_delivered_and_its_twin_is_no_loss() {
    let mut story = Story::begin();
    let twin = drop("NO_SOCKET", "ping_rcv", Protocol::Icmp);
    story
        .arrived(Protocol::Icmp, 5)
        .add(line(Fate::Queued, Protocol::Icmp), 5)
        .add(twin.clone(), 5)
        .tick();
    let report = story.report();
    assert_eq!(
        report.ledger,
        Ledger {
            arrived: 5,
            delivered: 5,
            ..Ledger::default()
        }
    );
    let row = &report.drops[0];
    assert_eq!(
        (row.packets, row.class, row.reason.as_str()),
        (5, Class::Protocol, "NO_SOCKET")
    );

    // With nobody who reads, it is the loss itself.
    crate::ledger::assert_books(
        &[(line(Fate::Arrived, Protocol::Icmp), 5), (twin, 5)],
        Ledger {
            arrived: 5,
            dropped: 5,
            ..Ledger::default()
        },
    );
}

#[test]
fn icmpv6_that_older_kernels_free_without_a_reason_was_answered() {
    // As before 6.3: `icmpv6_rcv` ends so for every echo request and neighbour solicitation.
    let mut story = Story::begin();
    let used_up = drop("NOT_SPECIFIED", "icmpv6_rcv", Protocol::Icmp6);
    story
        .arrived(Protocol::Icmp6, 6)
        .add(used_up, 4)
        .add(drop("ICMP_CSUM", "icmpv6_rcv", Protocol::Icmp6), 2)
        .tick();
    let report = story.report();
    assert_eq!(
        report.ledger,
        Ledger {
            arrived: 6,
            answered: 4,
            dropped: 2,
            ..Ledger::default()
        }
    );
    let rows: Vec<_> = report
        .drops
        .iter()
        .map(|row| (row.reason.as_str(), row.packets, row.in_ledger))
        .collect();
    assert_eq!(rows, [("NOT_SPECIFIED", 4, false), ("ICMP_CSUM", 2, true)]);
}

#[test]
fn datagrams_that_nobody_read_yet_are_queued() {
    let mut story = Story::begin();
    story
        .arrived(Protocol::Udp, 8)
        .add(line(Fate::Queued, Protocol::Udp), 8);
    // Queued by the packet's tuple, read by the socket's.
    story.count(udp(53, "192.0.2.10", 999), |flow| {
        (flow.arrived, flow.queued) = (8, 8)
    });
    story.count(bound(Protocol::Udp, 53), |flow| flow.read += 3);
    story.tick();
    assert_eq!(
        story.report().ledger,
        Ledger {
            arrived: 8,
            delivered: 3,
            queued: 5,
            ..Ledger::default()
        }
    );

    // The socket is closed: they leave the queue.
    for (reason, symbol) in [
        ("QUEUE_PURGE", "udp_destruct_common"),
        ("NOT_SPECIFIED", "inet_sock_destruct"),
    ] {
        let mut story = story.clone();
        story.add(drop(reason, symbol, Protocol::Udp), 5).tick();
        assert_eq!(
            story.report().ledger,
            Ledger {
                arrived: 8,
                delivered: 3,
                dropped: 5,
                ..Ledger::default()
            }
        );
    }
}

#[test]
fn one_port_does_not_pay_for_another() {
    let mut story = Story::begin();
    story
        .arrived(Protocol::Udp, 12)
        .add(line(Fate::Queued, Protocol::Udp), 12);
    // Port 53 also reads what waited before the start, port 54 has a queue.
    story.count(udp(53, "192.0.2.10", 999), |flow| flow.queued = 4);
    story.count(bound(Protocol::Udp, 53), |flow| flow.read = 6);
    story.count(udp(54, "192.0.2.10", 999), |flow| flow.queued = 8);
    story.tick();
    assert_eq!(
        story.report().ledger,
        Ledger {
            arrived: 12,
            delivered: 4,
            queued: 8,
            ..Ledger::default()
        }
    );
}

#[test]
fn what_waits_beyond_what_arrived_came_by_loopback() {
    let mut story = Story::begin();
    story
        .arrived(Protocol::Udp, 2)
        .add(line(Fate::Queued, Protocol::Udp), 2)
        .count(bound(Protocol::Udp, 53), |flow| flow.queued = 50)
        .tick();
    assert_eq!(
        story.report().ledger,
        Ledger {
            arrived: 2,
            queued: 2,
            ..Ledger::default()
        }
    );
}

#[test]
fn icmp_queues_have_no_port() {
    let mut story = Story::begin();
    story
        .arrived(Protocol::Icmp, 9)
        .add(line(Fate::Queued, Protocol::Icmp), 9);
    story.count(bound(Protocol::Icmp, 0), |flow| flow.queued = 3);
    story
        .count(ping(777, "192.0.2.10"), |flow| (flow.queued, flow.read) = (6, 4))
        .tick();
    assert_eq!(
        story.report().ledger,
        Ledger {
            arrived: 9,
            delivered: 4,
            queued: 5,
            ..Ledger::default()
        }
    );
}
