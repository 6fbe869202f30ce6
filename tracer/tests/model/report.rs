//! Rows, rates and the rest of the report.

use tracer::event::{Body, CapabilityState, Counter, CounterKey, EntryKey, Fate, OTHER, Protocol, Source};
use tracer::report::{Class, Ledger};

use crate::story::*;

#[test]
fn rates_are_those_of_the_last_seconds() {
    let mut story = Story::begin();
    story.rounds(20, |story| {
        story.arrived(Protocol::Tcp, 50).add(foreign(), 10);
    });
    let report = story.report();
    let rates = report.rates;
    assert_eq!(
        (rates.arrived, rates.dropped, rates.unexplained),
        (100.0, 20.0, 80.0)
    );
    assert_eq!(rates.arrived_bytes, 10_000.0);
    assert_eq!(report.drops[0].rate, 20.0);

    story.idle(4);
    let report = story.report();
    assert_eq!((report.rates.arrived, report.drops[0].rate), (0.0, 0.0));
}

#[test]
fn a_counter_grows_as_fast_as_the_drops_that_it_counts_however_often_it_is_read() {
    for rounds_per_reading in 1..=3 {
        let mut story = Story::begin();
        let mut grown = 0;
        for round in 1..=30 {
            grown += 5;
            if round % rounds_per_reading == 0 {
                story.say(Body::Counter(Counter {
                    key: CounterKey {
                        netns: NETNS,
                        source: Source::Device,
                        device: ETH0,
                        name: "rx_otherhost_dropped".to_owned(),
                    },
                    grown,
                }));
            }
            story
                .add(drop("OTHERHOST", "ip_rcv_core", Protocol::Tcp), 5)
                .tick();
            let report = story.report();
            if round > 8 {
                let rates = (report.drops[0].rate, report.counters[0].rate);
                assert_eq!(rates, (10.0, 10.0), "round {round} of {rounds_per_reading}");
            }
        }
        story.idle(8);
        let report = story.report();
        assert_eq!((report.drops[0].rate, report.counters[0].rate), (0.0, 0.0));
    }
}

#[test]
fn what_is_no_packet_is_counted_beside_the_drops() {
    let mut story = Story::begin();
    let message = EntryKey {
        netns: 0,
        iif: 0,
        device: 0,
        ethertype: 0,
        incoming: false,
        ..drop("NOT_SPECIFIED", "nf_tables_commit", Protocol::Other(0))
    };
    let of_a_socket = EntryKey {
        socket_found: true,
        ..message.clone()
    };
    let sent_without_a_route = EntryKey {
        netns: NETNS,
        ..message.clone()
    };
    let no_room = EntryKey {
        reason: Some(OTHER.to_owned()),
        location: None,
        ..message.clone()
    };
    story
        .add(message, 4)
        .add(of_a_socket, 3)
        .add(sent_without_a_route, 2)
        .add(no_room, 1);
    story.tick();
    let report = story.report();
    let rows: Vec<u64> = report.drops.iter().map(|row| row.packets).collect();
    assert_eq!((report.no_packets, rows), (4, vec![3, 2, 1]));
}

#[test]
fn drops_are_told_by_their_number_and_each_version_of_ip_apart() {
    let mut story = Story::begin();
    for (symbol, packets) in [("b", 5), ("a", 5), ("c", 9)] {
        story.add(drop("NETFILTER_DROP", symbol, Protocol::Tcp), packets);
    }
    let six = EntryKey {
        ethertype: 0x86dd,
        ..drop("NETFILTER_DROP", "c", Protocol::Tcp)
    };
    story.add(six, 1);
    // The same row by another line: the device at which it was is no part of it.
    let elsewhere = EntryKey {
        device: LO,
        ..drop("NETFILTER_DROP", "c", Protocol::Tcp)
    };
    story.add(elsewhere, 1);
    story.example(drop("NETFILTER_DROP", "a", Protocol::Tcp), client(1), None, "web");
    story.tick();
    let rows = story.report().drops;
    let told: Vec<(&str, &str, u64)> = rows
        .iter()
        .map(|row| (row.location.as_str(), row.version.as_str(), row.packets))
        .collect();
    assert_eq!(
        told,
        [
            ("c+0x1c4", "IPv4", 10),
            ("a+0x1c4", "IPv4", 5),
            ("b+0x1c4", "IPv4", 5),
            ("c+0x1c4", "IPv6", 1)
        ]
    );
    assert_eq!(
        (rows[0].device.as_str(), rows[0].netns.as_str()),
        ("eth0", "host:4026531840")
    );
    assert_eq!(rows[1].units, ["web.service"]);
}

#[test]
fn rows_beyond_the_limit_are_summed() {
    let mut story = Story::begin();
    for number in 0..250 {
        let key = drop("NETFILTER_DROP", &format!("f{number:03}"), Protocol::Tcp);
        // The last ten came by another device than the uplink.
        let iif = if number < 240 { ETH0 } else { LXC1 };
        story.add(EntryKey { iif, ..key }, 2);
    }
    story.tick();
    let report = story.report();
    let rows = report.drops;
    assert_eq!(rows.len(), 202);
    let others: Vec<_> = rows[200..]
        .iter()
        .map(|row| (row.reason.as_str(), row.packets, row.in_ledger))
        .collect();
    assert_eq!(others, [("other", 80, true), ("other", 20, false)]);
    assert_eq!(rows.iter().map(|row| row.packets).sum::<u64>(), 500);
    let inside = rows.iter().filter(|row| row.in_ledger).map(|row| row.packets);
    assert_eq!(inside.sum::<u64>(), report.ledger.dropped);
}

#[test]
fn what_the_books_had_no_room_for_is_in_the_ledger_and_in_one_row() {
    let mut story = Story::begin();
    let reduced = |fate| EntryKey {
        ethertype: 0,
        ..line(fate, Protocol::Other(0))
    };
    let dropped = EntryKey {
        reason: Some(OTHER.to_owned()),
        ..reduced(Fate::Dropped)
    };
    story
        .arrived(Protocol::Tcp, 5)
        .add(drop("NETFILTER_DROP", "f", Protocol::Tcp), 5)
        .add(reduced(Fate::Arrived), 70)
        .add(reduced(Fate::Matched), 4)
        .add(reduced(Fate::Forwarded), 2)
        .add(reduced(Fate::Consumed), 1)
        .add(dropped.clone(), 60);
    // Drops behind the match are in no other column than these.
    story.add(
        EntryKey {
            iif: 0,
            matched: true,
            ..dropped
        },
        3,
    );
    story.tick();
    let report = story.report();
    assert_eq!(
        report.ledger,
        Ledger {
            arrived: 75,
            delivered: 1,
            forwarded: 2,
            dropped: 68,
            // Whether what the kernel used up was answered, the place would tell.
            unexplained: 4,
            ..Ledger::default()
        }
    );
    let rows: Vec<_> = report
        .drops
        .iter()
        .map(|row| (row.reason.as_str(), row.class, row.packets, row.in_ledger))
        .collect();
    assert_eq!(
        rows,
        [
            ("NETFILTER_DROP", Class::Policy, 5, true),
            (OTHER, Class::Unclassified, 63, true)
        ]
    );
}

#[test]
fn capabilities_are_told_as_they_are() {
    let mut story = Story::begin();
    story.capability("drops", CapabilityState::Available);
    story.capability("queued", CapabilityState::Available);
    story.capability("drops", CapabilityState::Partial);
    story.tick();
    let told: Vec<(String, CapabilityState)> = story
        .report()
        .capabilities
        .into_iter()
        .map(|known| (known.name, known.state))
        .collect();
    assert_eq!(
        told,
        [
            ("drops".to_owned(), CapabilityState::Partial),
            ("queued".to_owned(), CapabilityState::Available)
        ]
    );
}

#[test]
fn ways_beyond_the_limit_are_counted() {
    let mut story = Story::begin();
    for device in 0..150 {
        story.add(
            EntryKey {
                device,
                ..line(Fate::Forwarded, Protocol::Udp)
            },
            1,
        );
    }
    story.tick();
    let report = story.report();
    assert_eq!((report.forwards.len(), report.forwards_total), (100, 150));
}
