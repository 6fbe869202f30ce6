//! Flows, their sockets and owners.

use tracer::event::{EntryKey, FlowKey, Origin, Protocol, SocketState};
use tracer::report::Destination;

use crate::story::*;

/// Makes the flow starve and returns what the report says of it.
fn starve(story: &mut Story, key: tracer::event::FlowKey) -> tracer::report::Flow {
    let lost = drop("IP_INNOROUTES", "ip_error", key.protocol);
    story.rounds(4, |story| {
        let last = (lost.reason.clone().unwrap(), lost.location.clone().unwrap());
        story.arrived(key.protocol, 1).count(key, |flow| {
            flow.arrived += 1;
            flow.dropped += 1;
            flow.last_drop = Some(last);
        });
    });
    let starved = story.report().starved;
    assert_eq!(starved.len(), 1, "{starved:#?}");
    starved[0].clone()
}

#[test]
fn what_is_forwarded_to_a_port_that_is_bound_here_starves_nobody_here() {
    let mut story = healthy();
    story.listen(8080, "server");
    let to_a_pod = FlowKey {
        local: ip("10.244.0.2"),
        ..served(8080)
    };
    let lost = drop("NEIGH_FAILED", "neigh_invalidate", Protocol::Tcp);
    let lose = |story: &mut Story, key| {
        story.rounds(4, |story| {
            let last = (lost.reason.clone().unwrap(), lost.location.clone().unwrap());
            story.arrived(Protocol::Tcp, 1).count(key, |flow| {
                flow.origin = Origin::Remote;
                flow.arrived += 1;
                flow.dropped += 1;
                flow.last_drop = Some(last);
            });
        });
        story.report().starved
    };
    assert_eq!(lose(&mut story, to_a_pod), []);
    let starved = lose(&mut story, served(8080));
    assert_eq!((starved.len(), starved[0].command.as_str()), (1, "server"));
}

/// As after a time in which nothing got through: the request arrives at last, and the client has gone.
#[test]
fn a_client_that_gave_up_before_its_connection_was_open_does_not_starve() {
    let mut story = Story::begin();
    story.listen(8080, "server");
    let lost = EntryKey {
        socket_found: true,
        ..drop("NOT_SPECIFIED", "tcp_v4_rcv", Protocol::Tcp)
    };
    let reset = |story: &mut Story| {
        story
            .arrived(Protocol::Tcp, 1)
            .add(lost.clone(), 1)
            .count(served(1), |flow| {
                flow.arrived += 1;
                flow.dropped += 1;
                flow.last_drop = Some(("NOT_SPECIFIED".to_owned(), at("tcp_v4_rcv")));
            });
    };
    story.arrived(Protocol::Tcp, 1).count(served(1), |flow| {
        flow.origin = Origin::Remote;
        flow.arrived += 1;
        flow.sent += 1;
    });
    reset(&mut story);
    story.tick();
    story.idle(4);
    assert_eq!(story.report().starved_total, 0);
    // Whoever comes again, as where there is no room to be accepted, waits.
    story.rounds(4, reset);
    assert_eq!(story.report().starved_total, 1);
}

#[test]
fn the_owner_is_that_of_the_socket_else_of_the_listener() {
    let mut story = Story::begin();
    story.listen(8080, "server");
    assert_eq!(starve(&mut story, served(1)).command, "server");

    story.socket(served(1), None, SocketState::Established, "worker");
    story.tick();
    assert_eq!(story.report().starved[0].command, "worker");
}

/// Two processes ping over raw sockets: each takes the answers of both, and each flow is its sender's.
#[test]
fn an_echo_is_whose_sends_it_not_whose_socket_takes_icmp() {
    let mut story = Story::begin();
    let raw = |story: &mut Story, who| {
        story.socket(bound(Protocol::Icmp, 0), None, SocketState::Close, who);
    };
    raw(&mut story, "ping");
    raw(&mut story, "other");
    let key = ping(7, "192.0.2.10");
    story.count(key, |flow| flow.origin = Origin::Local);
    assert_eq!(starve(&mut story, key).command, "", "nobody was seen to send");
    story.count(key, |flow| {
        (flow.sent, flow.sender) = (flow.sent + 1, 77);
        flow.owner = Some(Box::new(owner("ping")));
    });
    story.tick();
    assert_eq!(story.report().starved[0].command, "ping");
    // A round in which it could not be found out again.
    story.count(key, |flow| {
        flow.sent += 1;
        flow.owner = None;
    });
    story.tick();
    assert_eq!(story.report().starved[0].command, "ping");
    // Another socket sends, of whose owner nothing is known.
    story.count(key, |flow| (flow.sent, flow.sender) = (flow.sent + 1, 78));
    story.tick();
    assert_eq!(story.report().starved[0].command, "");
}

#[test]
fn who_sends_datagrams_by_a_socket_that_is_shared_is_told() {
    let mut story = Story::begin();
    story.socket(bound(Protocol::Udp, 5353), None, SocketState::Close, "first");
    let key = udp(5353, "192.0.2.10", 53);
    story.count(key, |flow| {
        flow.origin = Origin::Local;
        flow.sent = 1;
        flow.owner = Some(Box::new(owner("second")));
    });
    assert_eq!(starve(&mut story, key).command, "second");
}

#[test]
fn a_dual_stack_listener_has_ipv4_flows() {
    let mut story = Story::begin();
    let any6 = flow(Protocol::Tcp, "::", 8080, "::", 0);
    story.socket(any6, None, SocketState::Listen, "server");
    assert_eq!(starve(&mut story, served(1)).command, "server");
}

#[test]
fn an_ipv4_listener_has_no_ipv6_flows() {
    let mut story = Story::begin();
    // Told with its family, which a stream of the kernel's own words has not.
    let any4 = flow(Protocol::Tcp, "0.0.0.0", 8080, "0.0.0.0", 0);
    story.socket(any4, None, SocketState::Listen, "server");
    let key = flow(Protocol::Tcp, "2001:db8::2", 8080, "2001:db8::9", 1);
    story
        .count(key, |flow| (flow.arrived, flow.dropped) = (1, 1))
        .tick()
        .idle(4);
    assert!(story.report().starved.is_empty());
}

#[test]
fn replies_are_told_from_requests() {
    type Case = (&'static str, fn(&mut Story), tracer::event::FlowKey, bool);
    let cases: [Case; 4] = [
        (
            "opened here",
            |s| {
                s.count(client(1), |f| f.origin = Origin::Local);
            },
            client(1),
            true,
        ),
        (
            "opening",
            |s| s.socket(client(1), None, SocketState::SynSent, "a"),
            client(1),
            true,
        ),
        (
            "there before",
            |s| s.socket(client(1), None, SocketState::Established, "a"),
            client(1),
            true,
        ),
        (
            "accepted before",
            |s| {
                s.listen(8080, "a");
                s.socket(served(1), None, SocketState::Established, "a");
            },
            served(1),
            false,
        ),
    ];
    for (why, prepare, key, reply) in cases {
        let mut story = Story::begin();
        prepare(&mut story);
        assert_eq!(starve(&mut story, key).reply, reply, "{why}");
    }
}

#[test]
fn segments_that_vanish_without_a_drop_starve_a_connection() {
    let mut story = Story::begin();
    let key = client(40_000);
    story.socket(key, None, SocketState::Established, "curl");
    story.rounds(2, |story| story.exchange(key));
    story.rounds(4, |story| {
        story
            .arrived(Protocol::Tcp, 1)
            .count(key, |flow| flow.arrived += 1);
    });
    assert_eq!(story.report().starved.len(), 1);
    // But not where matches cannot be seen at all.
    let mut story = Story::begin();
    story.socket(key, None, SocketState::Established, "curl");
    story.rounds(4, |story| {
        story
            .arrived(Protocol::Tcp, 1)
            .count(key, |flow| flow.arrived += 1);
    });
    assert!(story.report().starved.is_empty());
}

#[test]
fn a_delivery_ends_the_hunger() {
    let mut story = Story::begin();
    story.listen(8080, "server");
    starve(&mut story, served(1));
    story
        .count(served(1), |flow| {
            (flow.arrived, flow.matched) = (flow.arrived + 1, 1)
        })
        .tick();
    assert!(story.report().starved.is_empty());
}

#[test]
fn the_most_starved_come_first() {
    let mut story = Story::begin();
    story.listen(8080, "server");
    for port in [3, 1, 2] {
        story
            .count(served(port), |flow| (flow.arrived, flow.dropped) = (1, 1))
            .tick();
    }
    story.idle(4);
    let order: Vec<String> = story
        .report()
        .starved
        .into_iter()
        .map(|flow| flow.remote)
        .collect();
    assert_eq!(order, ["192.0.2.10:3", "192.0.2.10:1", "192.0.2.10:2"]);
}

#[test]
fn what_waits_in_a_queue_is_not_starved() {
    let key = udp(53, "192.0.2.10", 999);
    let socket = bound(Protocol::Udp, 53);
    let mut story = Story::begin();
    story.socket(socket, None, SocketState::Close, "dns");
    story.rounds(2, |story| {
        story.queue(key);
        story.reads(socket, 1);
    });
    // It is queued and the process takes its time: that is not the kernel's fault. Where the datagram is not
    // known any more, it is told by the socket's tuple.
    let forms: [fn(&mut Story, FlowKey); 2] = [
        |story, key| story.queue(key),
        |story, key| {
            story.count(key, |flow| flow.arrived += 1);
            story.count(bound(Protocol::Udp, 53), |flow| flow.queued += 1);
        },
    ];
    for queue in forms {
        let mut story = story.clone();
        story.rounds(4, |story| queue(story, key));
        assert!(story.report().starved.is_empty());
    }
    // The same without a queue that takes them.
    story.rounds(4, |story| {
        story.count(key, |flow| flow.arrived += 1);
    });
    assert_eq!(story.report().starved.len(), 1);
}

#[test]
fn where_queues_are_not_told_a_reader_shows_that_datagrams_reach_it() {
    let mut story = Story::begin();
    let key = udp(53, "192.0.2.10", 999);
    story.socket(bound(Protocol::Udp, 53), None, SocketState::Close, "dns");
    story.rounds(4, |story| story.arrive_and_read(key));
    // It reads those of another peer.
    story.rounds(4, |story| {
        story.count(key, |flow| flow.arrived += 1);
        story.arrive_and_read(udp(53, "192.0.2.11", 999));
    });
    assert!(story.report().starved.is_empty());
    assert_eq!(starve(&mut story, key).delivered, Some(4));
}

#[test]
fn the_kernels_own_copy_of_a_ping_is_no_drop_of_the_flow() {
    let mut story = Story::begin();
    let key = ping(7, "192.0.2.10");
    let twin = drop("NO_SOCKET", "ping_rcv", Protocol::Icmp);
    story.rounds(4, |story| {
        story.exchange(key);
        story.add(twin.clone(), 1).count(key, |flow| {
            flow.dropped += 1;
            flow.last_drop = Some(("NO_SOCKET".to_owned(), at("ping_rcv")));
        });
    });
    story.rounds(3, |story| story.ask(key)).idle(1);
    let told = story.report().starved[0].clone();
    assert_eq!(
        (
            told.arrived,
            told.delivered,
            told.dropped,
            told.last_drop.as_str()
        ),
        (4, Some(4), 0, "")
    );
    // What is lost after that, is.
    let told = starve(&mut story, key);
    assert_eq!((told.arrived, told.delivered, told.dropped), (8, Some(4), 4));
    assert_eq!(told.last_drop, "IP_INNOROUTES at ip_error+0x1c4");
}

#[test]
fn copies_for_several_sockets_are_no_more_than_arrived() {
    let mut story = Story::begin();
    let key = ping(7, "192.0.2.10");
    story.rounds(4, |story| {
        story.exchange(key);
        story.count(key, |flow| flow.queued += 9);
    });
    // Four more arrive, and are dropped: no copy of another makes up for them.
    let told = starve(&mut story, key);
    assert_eq!((told.arrived, told.dropped, told.delivered), (8, 4, Some(4)));
}

#[test]
fn who_opened_a_connection_outweighs_its_first_packet() {
    let client_end = client(40_000);
    for (why, socket_from, told, reply) in [
        ("opened here", Some(SocketState::SynSent), Origin::Remote, true),
        (
            "before the start, and the peer's packet was seen first",
            None,
            Origin::Remote,
            true,
        ),
        ("accepted", Some(SocketState::SynRecv), Origin::Local, false),
    ] {
        let mut story = Story::begin();
        story.socket(client_end, socket_from, SocketState::Established, "curl");
        story.count(client_end, |flow| flow.origin = told);
        assert_eq!(starve(&mut story, client_end).reply, reply, "{why}");
    }
    // A server's connection from before the start whose first packet was its own.
    let mut story = Story::begin();
    story.listen(8080, "server");
    story.socket(served(1), None, SocketState::Established, "server");
    story.count(served(1), |flow| flow.origin = Origin::Local);
    assert!(!starve(&mut story, served(1)).reply);
}

#[test]
fn a_connection_without_a_port_is_nobodys() {
    let mut story = Story::begin();
    story.socket(client(0), Some(SocketState::Close), SocketState::SynSent, "curl");
    story.count(client(0), |flow| flow.origin = Origin::Local);
    let told = starve(&mut story, client(0));
    assert_eq!((told.state.as_str(), told.pid), ("", 0));
}

#[test]
fn reads_are_told_with_a_flow_only_where_its_own_socket_is_read() {
    let key = udp(53, "192.0.2.10", 999);
    let mut story = Story::begin();
    story.socket(bound(Protocol::Udp, 53), None, SocketState::Close, "dns");
    story.rounds(4, |story| {
        story.queue(key);
        story.reads(bound(Protocol::Udp, 53), 1);
    });
    let told = starve(&mut story, key);
    assert_eq!(
        (told.queued, told.read),
        (4, None),
        "it was read by another tuple"
    );
    // Of one that is connected it is known that nobody reads.
    let mut story = Story::begin();
    story.socket(key, None, SocketState::Established, "dns");
    story.rounds(4, |story| story.queue(key));
    let told = starve(&mut story, key);
    assert_eq!((told.queued, told.read), (4, Some(0)));
    let mut story = Story::begin();
    story.socket(client(40_000), None, SocketState::Established, "curl");
    assert_eq!(starve(&mut story, client(40_000)).read, Some(0));
}

#[test]
fn what_a_listener_takes_is_not_told_as_undelivered() {
    let mut story = Story::begin();
    story.listen(8080, "server");
    story.count(served(1), |flow| flow.arrived += 2).tick();
    let told = starve(&mut story, served(1));
    assert_eq!((told.destination, told.delivered), (Destination::Listener, None));
    // Once it is gone, nothing takes anything.
    let mut gone = story.clone();
    gone.socket(
        bound(Protocol::Tcp, 8080),
        Some(SocketState::Listen),
        SocketState::Close,
        "server",
    );
    gone.rounds(4, |story| story.refuse(served(1), "tcp_v4_rcv"));
    let told = gone.verdict("R12").flows[0].clone();
    assert_eq!((told.destination, told.delivered), (Destination::Socket, Some(0)));
    story.socket(
        served(1),
        Some(SocketState::SynRecv),
        SocketState::Established,
        "server",
    );
    story.idle(1);
    let told = story.report().starved[0].clone();
    assert_eq!((told.destination, told.delivered), (Destination::Socket, Some(0)));
}

/// A server of the time is asked four times a minute, by one socket: each of its answers is the next one that is lost.
#[test]
fn what_is_lost_seldom_is_counted_together() {
    let mut story = healthy();
    let clock = udp(50_123, "198.51.100.7", 123);
    story.socket(clock, None, SocketState::Established, "clock");
    story.exchange(clock);
    story.idle(20);
    for _ in 0..3 {
        story.ask_and_lose(clock, drop("NETFILTER_DROP", "nft_do_chain", Protocol::Udp));
        story.rounds(30, |story| story.exchange(client(40_000)));
    }
    story.ask_and_lose(clock, drop("NETFILTER_DROP", "nft_do_chain", Protocol::Udp));
    story.rounds(2, |story| story.exchange(client(40_000)));
    let told = story.verdict("R06").explanation;
    assert!(told.starts_with("4 packets arrived"), "{told}");
}
