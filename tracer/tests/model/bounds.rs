//! What is kept is bounded, and the ledger loses nothing by that.

use tracer::event::{
    Body, Counter, CounterKey, Fate, FlowKey, Protocol, Queue, Seen, SocketState, Source, Thing,
};
use tracer::report::Ledger;

use crate::pairing::set;
use crate::story::*;

#[test]
fn more_flows_than_are_kept() {
    let mut story = Story::begin();
    let flows = 131_072 + 1000_u32;
    for number in 0..flows {
        let peer = format!(
            "198.{}.{}.{}",
            18 + (number >> 16),
            (number >> 8) & 255,
            number & 255
        );
        story.count(udp(53, &peer, 999), |flow| (flow.arrived, flow.queued) = (1, 1));
    }
    let packets = u64::from(flows);
    story
        .arrived(Protocol::Udp, packets)
        .add(line(Fate::Queued, Protocol::Udp), packets);
    story.reads(bound(Protocol::Udp, 53), packets);
    story.tick();
    let report = story.report();
    assert_eq!(
        report.ledger,
        Ledger {
            arrived: packets,
            delivered: packets,
            ..Ledger::default()
        }
    );
    // For the socket's own tuple there is always room.
    assert_eq!(report.losses.flows_full, 1000);
    // Some silence, and there is room again.
    story.idle(150);
    story.count(client(1), |flow| flow.arrived = 1).tick();
    assert_eq!(story.report().losses.flows_full, 1000);
}

#[test]
fn forgotten_flows_leave_the_ledger_as_it_was() {
    let mut story = Story::begin();
    story.rounds(3, |story| {
        story.exchange(client(40_000));
        story.exchange(udp(5000, "192.0.2.10", 53));
        story.queue(udp(99, "192.0.2.10", 999));
    });
    let before = story.report();
    assert_eq!(before.ledger.queued, 3);
    story.idle(400);
    let after = story.report();
    assert_eq!(after.ledger, before.ledger);
}

#[test]
fn a_flow_that_pauses_for_long_counts_nothing_twice() {
    let mut story = Story::begin();
    // As NTP does, with several peers, each read at once.
    let peers = ["192.0.2.10", "192.0.2.11", "192.0.2.12"];
    for _ in 0..4 {
        for peer in peers {
            for _ in 0..100 {
                story.queue(udp(123, peer, 123));
            }
            story.reads(bound(Protocol::Udp, 123), 100);
            story.tick();
        }
        story.idle(200);
    }
    let ledger = story.report().ledger;
    assert_eq!(
        (ledger.delivered, ledger.queued, ledger.unexplained),
        (1200, 0, 0)
    );
    assert!(story.ids().is_empty());
}

#[test]
fn a_flow_whose_place_was_given_away_counts_on() {
    let mut story = Story::begin();
    // The same counts, but of another life each: three datagrams, and nobody reads them.
    for life in [0, 2, 7] {
        story
            .count(udp(5000, "192.0.2.10", 53), |flow| {
                (flow.life, flow.sent, flow.arrived, flow.queued) = (life, 1, 1, 1);
            })
            .arrived(Protocol::Udp, 1)
            .add(line(Fate::Queued, Protocol::Udp), 1)
            .tick();
    }
    let ledger = story.report().ledger;
    assert_eq!((ledger.delivered, ledger.queued), (0, 3));
}

#[test]
fn a_forgotten_flow_that_comes_back_queues_nothing_twice() {
    let mut story = Story::begin();
    let key = udp(123, "192.0.2.10", 123);
    for _ in 0..100 {
        story.queue(key);
    }
    story.reads(bound(Protocol::Udp, 123), 100);
    for number in 0..120_000_u32 {
        let peer = format!("198.18.{}.{}", (number >> 8) & 255, number & 255);
        let port = u16::try_from(number >> 16).unwrap() + 1;
        story.count(udp(53, &peer, port), |flow| flow.arrived = 1);
    }
    story.tick().idle(200);
    story.queue(key);
    story.tick();
    assert_eq!(story.report().ledger.queued, 0);
}

#[test]
fn connections_come_and_go() {
    let mut story = Story::begin();
    story.listen(8080, "server");
    let mut port = 0;
    story.rounds(300, |story| {
        for _ in 0..20 {
            port += 1;
            let key = served(port);
            story.socket(
                key,
                Some(SocketState::SynRecv),
                SocketState::Established,
                "server",
            );
            story.socket(key, Some(SocketState::Established), SocketState::Close, "");
        }
    });
    story.refuse(served(1), "tcp_v4_rcv");
    story.tick();
    assert!(story.ids().is_empty());
}

#[test]
fn damaged_counts_are_told_and_harm_nothing() {
    let mut story = Story::begin();
    for peer in ["192.0.2.10", "192.0.2.11"] {
        for number in [u64::MAX, 5, u64::MAX - 1] {
            story.count(flow(Protocol::Tcp, "10.10.0.2", 1, peer, 80), |flow| {
                (flow.sent, flow.retransmitted) = (number, number);
            });
            story.count(udp(53, peer, 999), |flow| {
                (flow.queued, flow.dropped) = (number, number)
            });
            story.tick();
        }
    }
    story.idle(4);
    assert_eq!(story.ids(), ["D01"]);
}

#[test]
fn counters_that_there_is_no_room_for_are_told() {
    let mut story = Story::begin();
    let tell = |story: &mut Story, number: u32| {
        story.say(Body::Counter(Counter {
            key: CounterKey {
                netns: number,
                source: Source::Netstat,
                device: 0,
                name: "TcpExtListenDrops".to_owned(),
            },
            grown: 1,
        }));
    };
    (0..65_536).for_each(|number| tell(&mut story, number));
    story.tick();
    assert_eq!(story.report().losses.counters_full, 0);
    (65_000..65_539).for_each(|number| tell(&mut story, number));
    story.tick();
    let report = story.report();
    assert_eq!(report.losses.counters_full, 3);
    assert_eq!((report.counters.len(), report.counters_total), (100, 65_536));
}

#[test]
fn queues_that_there_is_no_room_for_are_told() {
    let mut story = Story::begin();
    let tell = |story: &mut Story, inode: u64, waiting: u32| {
        story.say(Body::Queue(Box::new(Queue {
            flow: bound(Protocol::Udp, 53),
            state: SocketState::Close,
            inode,
            waiting,
            limit: None,
            drops: None,
            retries: 0,
            owner: None,
            held: None,
        })));
    };
    (0..16_384).for_each(|inode| tell(&mut story, inode, 1));
    story.tick();
    let report = story.report();
    assert_eq!(report.losses.queues_full, 0);
    assert_eq!((report.queues.len(), report.queues_total), (100, 16_384));
    // One that is known, one for which there is no room, one that is empty and needs none.
    for (inode, waiting) in [(1, 2), (20_000, 1), (20_001, 0)] {
        tell(&mut story, inode, waiting);
    }
    story.tick();
    assert_eq!(story.report().losses.queues_full, 1);
    // Whose data was read makes room.
    tell(&mut story, 1, 0);
    tell(&mut story, 20_000, 1);
    story.tick();
    assert_eq!(story.report().losses.queues_full, 1);
}

/// On a router the routes are most of all that is configured.
#[test]
fn a_full_table_of_routes_leaves_room_for_what_else_is_configured() {
    let mut story = healthy();
    for number in 0..10_500_u32 {
        let route = Thing::Route {
            table: 254,
            action: "unicast".to_owned(),
            destination: std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).into(),
            prefix: 32,
            metric: 0,
        };
        set(&mut story, route, Some("dev eth0"), Seen::Found, None);
    }
    let device = "eth0".to_owned();
    set(
        &mut story,
        Thing::Link { device },
        Some("up, carrier, mtu 1500"),
        Seen::Found,
        None,
    );
    story.tick();
    let report = tracer::diagnosis::node(&story.model());
    assert_eq!(report.settings_total, 10_501);
    assert_eq!(report.settings.len(), 10_000);
    assert!(
        report
            .settings
            .iter()
            .any(|setting| setting.object == "device eth0")
    );
}

/// What works once in a while is known to have worked, where few services do. Where many did, those that are idle leave their room
/// to others, but for those that something lacks.
#[test]
fn services_that_are_idle_leave_their_room_to_others_where_there_are_many() {
    let seldom = |port| flow(Protocol::Tcp, "10.10.0.2", port, "192.0.2.10", 80);
    let other = |port| flow(Protocol::Tcp, "10.10.0.2", port, "192.0.2.20", 80);
    let lost = drop("IP_RPFILTER", "ip_rcv_finish_core", Protocol::Tcp);
    let is_onset = |services: u32, works: Option<FlowKey>, fails: FlowKey| {
        let mut story = Story::begin();
        story.exchange(seldom(40_000));
        for number in 0..services {
            let peer = std::net::Ipv4Addr::from(0xcb00_0000 + number);
            story.exchange(flow(Protocol::Tcp, "10.10.0.2", 50_000, &peer.to_string(), 80));
        }
        story.tick().pause(600);
        if let Some(key) = works {
            story.rounds(4, |story| story.exchange(key));
        }
        story.rounds(6, |story| story.ask_and_lose(fails, lost.clone()));
        let report = story.report();
        let told = |text: &str| {
            let mut texts = report
                .node
                .changes
                .iter()
                .filter_map(|change| change.after.as_deref());
            texts.any(|one| one.contains(text))
        };
        assert_ne!(
            told("begins to starve"),
            told("since tracer looks"),
            "{:?}",
            report.node.changes
        );
        told("begins to starve")
    };
    assert!(is_onset(10, None, seldom(40_001)));
    assert!(!is_onset(10, None, other(40_001)), "it never worked");
    assert!(is_onset(16_384, None, seldom(40_001)), "it lacks something");
    assert!(is_onset(16_384, Some(other(40_000)), other(40_001)));
}
