//! Losses without an event: what counters of the kernel and its list of sockets tell.

use tracer::event::{Body, Fate, Protocol, Queue, Socket, SocketState, Source};
use tracer::node::counters::is_told;
use tracer::report::{Class, CounterKind, Report};

use crate::story::*;

const OVERFLOWS: &str = "TcpExtListenOverflows";
const DROPS: &str = "TcpExtListenDrops";

/// Segments that a listener was handed to open a connection.
fn opening(iif: u32) -> tracer::event::EntryKey {
    tracer::event::EntryKey {
        iif,
        device: iif,
        location: Some(at("tcp_rcv_state_process")),
        ..line(Fate::Consumed, Protocol::Tcp)
    }
}

/// 100 of them arrived, and nothing else.
fn asked() -> Story {
    let mut story = Story::begin();
    story.add(line(Fate::Arrived, Protocol::Tcp), 100);
    story.add(opening(ETH0), 100);
    story
}

/// Columns `answered`, `dropped` and `unexplained`, and the packets of the rows in the ledger.
fn books(report: &Report) -> (u64, u64, i64, u64) {
    let ledger = &report.ledger;
    let rows = report.drops.iter().filter(|row| row.in_ledger);
    (
        ledger.answered,
        ledger.dropped,
        ledger.unexplained,
        rows.map(|row| row.packets).sum(),
    )
}

fn row(report: &Report, reason: &str) -> Option<u64> {
    let row = report.drops.iter().find(|row| row.reason == reason)?;
    assert_eq!((row.class, row.location.as_str()), (Class::Resource, ""));
    Some(row.packets)
}

#[test]
fn what_a_full_accept_queue_ends_was_not_answered() {
    let mut story = asked();
    story.say(netstat(OVERFLOWS, 30));
    story.say(netstat(DROPS, 37));
    story.idle(1);
    let report = story.report();
    assert_eq!(books(&report), (63, 37, 0, 37));
    assert_eq!(row(&report, "accept_queue_full"), Some(30));
    assert_eq!(row(&report, "connection_not_opened"), Some(7));
    let kinds: Vec<_> = report
        .counters
        .iter()
        .map(|told| (told.kind, told.packets))
        .collect();
    assert_eq!(kinds, [(CounterKind::Moves, 37), (CounterKind::Moves, 30)]);
    // The same once more changes nothing.
    story.say(netstat(OVERFLOWS, 30));
    story.idle(1);
    assert_eq!(books(&story.report()), (63, 37, 0, 37));
}

#[test]
fn what_an_event_told_is_not_told_again() {
    for overflow in [
        drop("TCP_LISTEN_OVERFLOW", "tcp_v4_rcv", Protocol::Tcp),
        // Kernels without that reason.
        drop("NOT_SPECIFIED", "tcp_v6_rcv", Protocol::Tcp),
    ] {
        let mut story = asked();
        story.add(line(Fate::Arrived, Protocol::Tcp), 20);
        story.add(overflow, 20);
        story.say(netstat(OVERFLOWS, 30));
        story.say(netstat(DROPS, 30));
        story.idle(1);
        let report = story.report();
        assert_eq!(books(&report), (90, 30, 0, 30));
        assert_eq!(row(&report, "accept_queue_full"), Some(10));
    }
}

#[test]
fn no_more_is_moved_than_a_listener_was_handed_by_the_uplink() {
    let mut story = asked();
    story.say(netstat(OVERFLOWS, 1_000_000));
    story.say(netstat(DROPS, 1_000_000));
    story.idle(1);
    assert_eq!(books(&story.report()), (0, 100, 0, 100));
    // What comes by loopback is in the counters too, but in no ledger.
    let mut story = asked();
    story.add(opening(LO), 25);
    story.say(netstat(OVERFLOWS, 30));
    story.say(netstat(DROPS, 30));
    story.idle(1);
    assert_eq!(books(&story.report()), (95, 5, 0, 5));
}

#[test]
fn counters_of_another_namespace_move_nothing() {
    let mut story = asked();
    let mut other = netstat(DROPS, 30);
    if let Body::Counter(counter) = &mut other {
        counter.key.netns = 7;
    }
    story.say(other);
    story.idle(1);
    assert_eq!(books(&story.report()), (100, 0, 0, 0));
}

#[test]
fn what_is_lost_before_arrival_is_told_once_and_beside_the_ledger() {
    let mut story = asked();
    for (source, name, grown) in [
        (Source::Device, "rx_dropped", 40),
        (Source::Device, "rx_missed_errors", 5),
        (Source::Device, "rx_fifo_errors", 5),
        // The same packets under other names.
        (Source::Ethtool, "rx0_xdp_drops", 10),
        (Source::Ethtool, "rx1_xdp_drops", 20),
        (Source::Ethtool, "rx_xdp_drops", 30),
        (Source::Ethtool, "rx0_drops", 9),
        (Source::Ethtool, "tx0_drops", 900),
    ] {
        story.say(counter(source, ETH0, name, grown));
    }
    story.idle(1);
    let report = story.report();
    assert_eq!(report.lost_before_arrival, 45);
    assert_eq!(books(&report), (100, 0, 0, 0));
    assert!(
        report
            .counters
            .iter()
            .any(|told| told.device == "eth0" && told.kind == CounterKind::Sent)
    );
    // A driver may tell more than all devices do.
    story.say(counter(Source::Ethtool, ETH0, "rx1_xdp_drops", 60));
    story.idle(1);
    assert_eq!(story.report().lost_before_arrival, 70);
    // What an event told outside of the ledger is in no column all the same, and what is in one is told there.
    let backlog = drop("CPU_BACKLOG", "enqueue_to_backlog", Protocol::Udp);
    let outside = tracer::event::EntryKey {
        incoming: false,
        ..backlog.clone()
    };
    story.add(outside, 50);
    story.add(backlog, 30);
    story.idle(1);
    assert_eq!(story.report().lost_before_arrival, 40);
}

#[test]
fn counters_that_an_event_checks_come_last_and_unknown_ones_are_shown() {
    let mut story = Story::begin();
    story.say(counter(Source::Snmp, 0, "UdpRcvbufErrors", 900));
    story.say(netstat("TcpExtTCPSomethingNewDrop", 3));
    story.say(counter(Source::Snmp, 0, "IpOutNoRoutes", 2));
    story.say(counter(Source::Snmp, 0, "TcpAttemptFails", 50));
    story.idle(1);
    let report = story.report();
    let told: Vec<_> = report
        .counters
        .iter()
        .map(|told| (told.name.as_str(), told.kind, told.class))
        .collect();
    assert_eq!(
        told,
        [
            ("IpOutNoRoutes", CounterKind::Sent, Class::State),
            (
                "TcpExtTCPSomethingNewDrop",
                CounterKind::Other,
                Class::Unclassified
            ),
            ("UdpRcvbufErrors", CounterKind::Evented, Class::Resource),
        ]
    );
}

#[test]
fn a_counter_that_begins_anew_goes_on_where_it_was() {
    let mut story = Story::begin();
    for grown in [10, 12, 3, 4] {
        story.say(counter(Source::Device, ETH0, "rx_missed_errors", grown));
        story.idle(1);
    }
    assert_eq!(story.report().lost_before_arrival, 16);
}

#[test]
fn every_counter_that_the_model_relies_on_is_told() {
    for name in [
        OVERFLOWS,
        DROPS,
        "rx_dropped",
        "rx_errors",
        "rx_missed_errors",
        "rx_fifo_errors",
        "IcmpInDestUnreachs",
        "Icmp6InDestUnreachs",
    ] {
        assert!(is_told(name), "{name}");
    }
}

fn queue(flow: tracer::event::FlowKey, state: SocketState, waiting: u32, limit: Option<u32>) -> Body {
    Body::Queue(Box::new(Queue {
        flow,
        state,
        inode: 5,
        waiting,
        limit,
        drops: Some(3),
        retries: 0,
        owner: Some(owner("nginx")),
        held: None,
    }))
}

#[test]
fn a_full_accept_queue_is_told_with_its_owner_and_before_the_others() {
    let mut story = Story::begin();
    story.say(queue(served(40_000), SocketState::Established, 700, None));
    story.idle(8);
    story.say(queue(bound(Protocol::Tcp, 8080), SocketState::Listen, 3, Some(2)));
    story.idle(8);
    let queues = story.report().queues;
    let [listener, connection] = queues.as_slice() else {
        panic!("{queues:?}");
    };
    assert_eq!(
        (listener.state.as_str(), listener.waiting, listener.limit),
        ("LISTEN", 3, Some(2))
    );
    assert!(listener.full && !connection.full);
    assert_eq!(
        (listener.command.as_str(), listener.unit.as_str()),
        ("nginx", "nginx.service")
    );
    assert!(listener.age > 3.0 && connection.age > 7.0, "{queues:?}");
    // The queue may hold one more than its limit.
    story.say(queue(bound(Protocol::Tcp, 8080), SocketState::Listen, 2, Some(2)));
    story.idle(1);
    assert!(story.report().queues.iter().all(|queue| !queue.full));
}

#[test]
fn what_waits_ages_until_it_is_read() {
    let mut story = Story::begin();
    let socket = bound(Protocol::Udp, 53);
    story.say(Body::Socket(Socket {
        flow: socket,
        state: SocketState::Close,
        from: None,
        inode: 5,
        owner: Some(owner("named")),
    }));
    let age = |story: &Story| story.report().queues.first().map(|queue| queue.age);
    story.say(queue(socket, SocketState::Close, 4160, None));
    story.idle(8);
    story.say(queue(socket, SocketState::Close, 8320, None));
    story.idle(8);
    assert!(age(&story) > Some(7.0), "more has come, and nothing was read");
    // Some was read: what waits has not waited for longer than since then.
    story.say(queue(socket, SocketState::Close, 832, None));
    story.idle(1);
    assert!(age(&story) < Some(1.0));
    story.idle(8);
    // A read that the programs saw says the same, whatever waits.
    story.count(udp(53, "192.0.2.10", 1000), |count| {
        count.queued += 5;
        count.read += 1;
    });
    story.idle(1);
    assert!(age(&story) < Some(1.0));
    story.say(queue(socket, SocketState::Close, 0, None));
    story.idle(1);
    assert_eq!(age(&story), None);
}

/// What comes while IPv6 is off is counted with what there was no memory for.
#[test]
fn what_ipv6_discards_is_not_said_to_be_for_want_of_memory() {
    let mut story = healthy();
    story.say(counter(Source::Snmp6, 0, "Ip6InDiscards", 8));
    story.say(counter(Source::Snmp, 0, "IpInDiscards", 8));
    story.tick();
    let report = story.report();
    let told = |name: &str| {
        let counter = report
            .counters
            .iter()
            .find(|counter| counter.name == name)
            .unwrap();
        (counter.class, counter.text.contains("IPv6 is off"))
    };
    assert_eq!(told("Ip6InDiscards"), (Class::Unclassified, true));
    assert_eq!(told("IpInDiscards"), (Class::Resource, false));
}

/// Memory is not what a firewall refuses for: where that was seen it is named.
#[test]
fn what_refused_the_sending_is_named_where_it_was_seen() {
    let told = |dropped, protocol| {
        let mut story = Story::begin();
        let held_back = tracer::event::EntryKey {
            incoming: false,
            iif: 0,
            device: 0,
            ..drop("NETFILTER_DROP", "nft_do_chain", protocol)
        };
        if dropped > 0 {
            story.add(held_back, dropped);
        }
        story.say(counter(Source::Snmp, 0, "IpOutDiscards", 5));
        story.say(netstat("TcpExtTCPRetransFail", 3));
        story.idle(1);
        let told = story.report().counters;
        assert!(
            told.iter().all(|one| one.class == Class::Unclassified),
            "{told:?}"
        );
        let texts: Vec<String> = told.into_iter().map(|one| one.text).collect();
        texts
    };
    assert_eq!(
        told(0, Protocol::Udp),
        [
            "what a socket sent was refused: by a firewall, connection tracking or a queue, or for want of memory",
            "what a connection sent again was refused: by a firewall, connection tracking or a queue, or for want of memory",
        ]
    );
    let seen = "netfilter was seen to drop 4 packets of what was sent";
    let of_sockets = format!("what a socket sent was refused; {seen}, which is not all of it");
    let of_connections = format!("what a connection sent again was refused; {seen}");
    assert_eq!(told(4, Protocol::Tcp), [of_sockets.as_str(), &of_connections]);
    let of_datagrams = told(4, Protocol::Udp);
    assert_eq!(of_datagrams[0], of_sockets);
    assert!(
        of_datagrams[1].ends_with("for want of memory"),
        "datagrams are none that a connection sent: {of_datagrams:?}"
    );
}
