//! Sockets that are gone, and processes that do not read.

use tracer::event::{
    Body, Counter, CounterKey, EntryKey, Fate, FlowKey, Held, Origin, Owner, Protocol, Queue, Seen, Socket,
    SocketState, Source, Unit, UnitState,
};
use tracer::report::{Confidence, Relation, Where};

use crate::story::*;

/// How a datagram that reaches its socket is told.
type Form = (&'static str, fn(&mut Story, FlowKey));

#[test]
fn listener_gone() {
    let mut story = healthy();
    story.listen(8080, "server");
    story.tick();
    story.socket(
        bound(Protocol::Tcp, 8080),
        Some(SocketState::Listen),
        SocketState::Close,
        "",
    );
    let mut port = 50_000;
    story.rounds(4, |story| {
        port += 1;
        story.refuse(served(port), "tcp_v4_rcv");
    });
    let report = story.report();
    assert_eq!((report.place, report.failure_found()), (Where::Process, true));
    assert_eq!(story.ids(), ["R12"]);
    let verdict = story.verdict("R12");
    assert_eq!(verdict.confidence, Confidence::Conclusive);
    assert_eq!(verdict.units, ["server.service"]);
    for part in ["tcp 8080", "server[123] (server.service)", "until 06:00:02 UTC"] {
        assert!(
            verdict.explanation.contains(part),
            "{part}: {}",
            verdict.explanation
        );
    }
    assert_eq!(verdict.check[1], "systemctl status server.service");
    // Four attempts of one client, each of which was answered with a refusal.
    assert_eq!((verdict.flows.len(), verdict.flows_total), (1, 1));
    assert_eq!(report.starved_total, 0, "who is refused does not wait");

    // It comes back.
    story.listen(8080, "server");
    story.tick();
    assert_eq!((story.report().place, story.ids().len()), (Where::Healthy, 0));
}

/// Who deploys a service stops it, replaces it and starts it again. One that fails, or stays away, is a fault.
#[test]
fn a_service_that_was_stopped_in_good_order_is_waited_for() {
    let stopped = |active: &str, result: &str, rounds: u16| {
        let mut story = healthy();
        story.listen(8080, "server");
        story.tick();
        story.say(Body::Unit(Box::new(Unit {
            name: "server.service".to_owned(),
            seen: Seen::Told,
            state: Some(UnitState {
                active: active.to_owned(),
                sub: "dead".to_owned(),
                result: result.to_owned(),
                ..UnitState::default()
            }),
        })));
        let listener = bound(Protocol::Tcp, 8080);
        story.socket(listener, Some(SocketState::Listen), SocketState::Close, "");
        for port in 0..rounds {
            story.refuse(served(50_000 + port), "tcp_v4_rcv");
            story.tick();
        }
        story.verdict("R12")
    };
    let verdict = stopped("inactive", "success", 9);
    assert_eq!(verdict.confidence, Confidence::Weak);
    assert!(
        verdict
            .explanation
            .contains("Its unit was stopped in good order, and may be about to be started again."),
        "{}",
        verdict.explanation
    );
    // What systemd has not told yet, or not at all.
    let verdict = stopped("active", "success", 4);
    assert_eq!(verdict.confidence, Confidence::Weak);
    for (active, result, rounds) in [
        ("inactive", "success", 10),
        ("failed", "exit-code", 4),
        ("active", "success", 5),
    ] {
        let verdict = stopped(active, result, rounds);
        assert_eq!(verdict.confidence, Confidence::Conclusive, "{active}");
        assert!(
            !verdict.explanation.contains("good order"),
            "{}",
            verdict.explanation
        );
    }
}

/// The same of datagrams, also where none was seen to reach the socket before.
#[test]
fn a_service_of_datagrams_that_was_stopped_in_good_order_is_waited_for() {
    let query = udp(5353, "192.0.2.10", 999);
    let stopped = |rounds: u32| {
        let mut story = healthy();
        story.socket(bound(Protocol::Udp, 5353), None, SocketState::Close, "dns");
        story.tick();
        story.say(Body::Unit(Box::new(Unit {
            name: "dns.service".to_owned(),
            seen: Seen::Told,
            state: Some(UnitState {
                active: "inactive".to_owned(),
                sub: "dead".to_owned(),
                result: "success".to_owned(),
                ..UnitState::default()
            }),
        })));
        story.rounds(rounds, |story| story.refuse(query, "__udp4_lib_rcv"));
        story.verdict("R12").confidence
    };
    assert_eq!(stopped(9), Confidence::Weak);
    assert_eq!(stopped(12), Confidence::Conclusive);
}

#[test]
fn a_service_that_was_started_a_moment_ago_is_waited_for() {
    let unit = |active: &str, invocation: &str| {
        Body::Unit(Box::new(Unit {
            name: "server.service".to_owned(),
            seen: Seen::Told,
            state: Some(UnitState {
                active: active.to_owned(),
                result: "success".to_owned(),
                invocation: invocation.to_owned(),
                ..UnitState::default()
            }),
        }))
    };
    let started = |rounds: u16| {
        let mut story = healthy();
        story.listen(8080, "server");
        story.say(unit("active", "1"));
        story.tick();
        story.say(unit("inactive", "1"));
        let listener = bound(Protocol::Tcp, 8080);
        story.socket(listener, Some(SocketState::Listen), SocketState::Close, "");
        for port in 0..9 {
            story.refuse(served(50_000 + port), "tcp_v4_rcv");
            story.tick();
        }
        story.say(unit("active", "2"));
        for port in 0..rounds {
            story.refuse(served(51_000 + port), "tcp_v4_rcv");
            story.tick();
        }
        story.verdict("R12")
    };
    let verdict = started(4);
    assert_eq!(verdict.confidence, Confidence::Weak);
    assert!(
        verdict.explanation.contains("Its unit was started a moment ago."),
        "{}",
        verdict.explanation
    );
    // It was, and does not listen.
    assert_eq!(started(6).confidence, Confidence::Conclusive);
}

/// What ended with its unit is mended with it, also where systemd tells that a moment after the socket is there again.
#[test]
fn a_service_that_is_started_again_has_mended_it() {
    let unit = |active: &str, sub: &str| {
        Body::Unit(Box::new(Unit {
            name: "server.service".to_owned(),
            seen: Seen::Told,
            state: Some(UnitState {
                active: active.to_owned(),
                sub: sub.to_owned(),
                result: if active == "failed" {
                    "exit-code"
                } else {
                    "success"
                }
                .to_owned(),
                ..UnitState::default()
            }),
        }))
    };
    for rounds_later in [0, 2] {
        let mut story = healthy();
        story.listen(8080, "server");
        story.say(unit("active", "running"));
        story.idle(4);
        let listener = bound(Protocol::Tcp, 8080);
        story.socket(listener, Some(SocketState::Listen), SocketState::Close, "");
        story.say(unit("failed", "failed"));
        let mut port = 50_000;
        story.rounds(6, |story| {
            port += 1;
            story.refuse(served(port), "tcp_v4_rcv");
        });
        let verdict = story.verdict("R12");
        assert_eq!(verdict.cause.relation, Relation::Explains);
        assert_eq!(verdict.mended, None);
        if rounds_later == 0 {
            story.say(unit("active", "running"));
        }
        story.listen(8080, "server");
        story.tick();
        story.idle(rounds_later);
        if rounds_later > 0 {
            assert_eq!(story.report().episodes[0].mended, None);
            story.say(unit("active", "running"));
            story.tick();
        }
        story.idle(20);
        let report = story.report();
        assert!(report.verdicts.is_empty(), "{:#?}", report.verdicts);
        let mended = report.episodes[0].mended.as_ref();
        assert_eq!(
            mended.map(|mended| mended.text.as_str()),
            Some("server.service changed from failed (failed), result exit-code to active (running)"),
            "{rounds_later}"
        );
        assert_eq!(report.episodes[0].end.as_ref(), mended.map(|mended| &mended.at));
    }
}

/// Workers that share a port: one that ends takes nothing from the others.
#[test]
fn one_of_two_listeners_gone() {
    let mut story = healthy();
    let socket = |story: &mut Story, inode, from, state| {
        let owner = Some(owner("server"));
        let flow = bound(Protocol::Tcp, 8080);
        story.say(Body::Socket(Socket {
            flow,
            state,
            from,
            inode,
            owner,
        }));
    };
    socket(&mut story, 7, None, SocketState::Listen);
    socket(&mut story, 8, None, SocketState::Listen);
    socket(&mut story, 7, Some(SocketState::Listen), SocketState::Close);
    let mut port = 50_000;
    let refusals = |story: &mut Story| {
        port += 1;
        story.refuse(served(port), "tcp_v4_rcv");
    };
    story.rounds(4, refusals);
    assert_eq!(story.ids(), Vec::<String>::new(), "one is still there");
    socket(&mut story, 8, Some(SocketState::Listen), SocketState::Close);
    let mut port = 60_000;
    story.rounds(4, |story| {
        port += 1;
        story.refuse(served(port), "tcp_v4_rcv");
    });
    assert_eq!(story.ids(), ["R12"]);
}

#[test]
fn udp_server_gone() {
    let query = udp(5353, "192.0.2.10", 999);
    let socket = bound(Protocol::Udp, 5353);
    let forms: [Form; 3] = [
        ("queued and read", |story, query| {
            story.queue(query);
            story.reads(bound(Protocol::Udp, query.local_port), 1);
        }),
        ("queued by the socket's tuple", |story, query| {
            story
                .arrived(Protocol::Udp, 1)
                .count(query, |flow| (flow.origin, flow.arrived) = (Origin::Remote, 1))
                .count(bound(Protocol::Udp, query.local_port), |flow| flow.queued += 1);
        }),
        ("read, on an old kernel", |story, query| {
            story.arrive_and_read(query)
        }),
    ];
    for (why, serve) in forms {
        let mut story = healthy();
        story.socket(socket, None, SocketState::Close, "dns");
        story.rounds(2, |story| serve(story, query));
        story.rounds(5, |story| story.refuse(query, "__udp4_lib_rcv"));
        let verdict = story.verdict("R12");
        assert_eq!(
            (verdict.place, verdict.confidence),
            (Some(Where::Process), Confidence::Conclusive),
            "{why}"
        );
        for part in ["udp 5353; dns[123]", "until 06:00:03 UTC", "5 packets"] {
            assert!(
                verdict.explanation.contains(part),
                "{why}: {}",
                verdict.explanation
            );
        }
        // It comes back.
        story.rounds(1, |story| serve(story, query));
        assert_eq!(story.report().place, Where::Healthy, "{why}");
    }
}

#[test]
fn udp_server_gone_that_no_list_has_told() {
    let query = udp(5353, "192.0.2.10", 999);
    for serve in [Story::queue as fn(&mut Story, FlowKey), Story::arrive_and_read] {
        let mut story = healthy();
        story.rounds(2, |story| serve(story, query));
        story.rounds(5, |story| story.refuse(query, "__udp4_lib_rcv"));
        let verdict = story.verdict("R12");
        assert_eq!(verdict.confidence, Confidence::Conclusive);
        assert!(
            verdict.explanation.contains("udp 5353; a socket was there until"),
            "{}",
            verdict.explanation
        );
    }
}

#[test]
fn a_port_that_refuses_at_several_addresses_is_told_once() {
    let mut story = healthy();
    story.listen(8080, "server");
    story.tick();
    story.socket(
        bound(Protocol::Tcp, 8080),
        Some(SocketState::Listen),
        SocketState::Close,
        "",
    );
    let v6 = flow(Protocol::Tcp, "2001:db8::2", 8080, "2001:db8::9", 50_000);
    story.rounds(5, |story| {
        story.refuse(served(50_000), "tcp_v4_rcv");
        story.refuse(v6, "tcp_v6_rcv");
    });
    let verdict = story.verdict("R12");
    assert!(
        verdict
            .explanation
            .ends_with("10 packets for it arrived since and found no socket."),
        "{}",
        verdict.explanation
    );
    assert_eq!(verdict.check[0], "ss -lntp sport = :8080");
    assert_eq!(verdict.check.len(), 3);
}

#[test]
fn a_process_that_stops_reading() {
    let query = udp(5353, "192.0.2.10", 999);
    let socket = bound(Protocol::Udp, 5353);
    let forms: [(u64, Form); 3] = [
        (0, ("queued by the datagram's tuple", Story::queue)),
        (100, ("with a queue that was full at the start", Story::queue)),
        (
            0,
            ("queued by the socket's tuple", |story, query| {
                story
                    .arrived(Protocol::Udp, 1)
                    .add(line(Fate::Queued, Protocol::Udp), 1)
                    .count(query, |flow| {
                        flow.origin = Origin::Remote;
                        flow.arrived += 1;
                    })
                    .count(bound(Protocol::Udp, query.local_port), |flow| flow.queued += 1);
            }),
        ),
    ];
    for (before, (why, queue)) in forms {
        let mut story = healthy();
        story.socket(socket, None, SocketState::Close, "dns");
        story.reads(socket, before);
        story.rounds(4, |story| {
            queue(story, query);
            story.reads(socket, 1);
        });
        story.rounds(5, |story| queue(story, query));
        assert!(story.ids().is_empty(), "{why}: 2.5 s are none");
        story.rounds(3, |story| queue(story, query));
        let verdict = story.verdict("R14");
        assert_eq!(
            (verdict.place, verdict.confidence),
            (Some(Where::Process), Confidence::Strong),
            "{why}"
        );
        assert_eq!(verdict.units, ["dns.service"]);
        for part in [
            "dns[123]",
            "8 datagrams for udp 5353",
            "nothing was read for 3.5 s",
        ] {
            assert!(
                verdict.explanation.contains(part),
                "{why}: {}",
                verdict.explanation
            );
        }

        story.reads(socket, 8);
        story.tick();
        assert_eq!(story.report().place, Where::Healthy, "{why}");
    }
}

#[test]
fn a_process_that_stops_reading_a_port_that_is_seldom_asked() {
    let mut story = healthy();
    let query = udp(5353, "192.0.2.10", 999);
    story.socket(bound(Protocol::Udp, 5353), None, SocketState::Close, "dns");
    story.queue(query);
    story.reads(bound(Protocol::Udp, 5353), 1);
    story.tick().idle(300);
    story.rounds(8, |story| story.queue(query));
    assert_eq!(story.verdict("R14").place, Some(Where::Process));
}

/// Each of them is named.
#[test]
fn two_full_buffers() {
    let mut story = Story::begin();
    let full = EntryKey {
        socket_found: true,
        ..drop("SOCKET_RCVBUFF", "udp_queue_rcv_one_skb", Protocol::Udp)
    };
    for (port, who) in [(9001, "first"), (9002, "second")] {
        story.socket(bound(Protocol::Udp, port), None, SocketState::Close, who);
    }
    story.rounds(8, |story| {
        for port in [9001, 9002] {
            let last = (full.reason.clone().unwrap(), full.location.clone().unwrap());
            story
                .add(full.clone(), 1)
                .count(udp(port, "192.0.2.10", 999), |flow| {
                    (flow.arrived, flow.dropped) = (flow.arrived + 1, flow.dropped + 1);
                    flow.last_drop = Some(last);
                });
        }
    });
    let verdict = story.verdict("R13");
    assert!(
        verdict
            .explanation
            .contains("The same goes for udp 9002 of second[123] (second.service)."),
        "{}",
        verdict.explanation
    );
    assert_eq!(verdict.units, ["first.service", "second.service"]);
    assert_eq!(verdict.flows_total, 2);
}

/// The process hung before the tracer was started, and its buffer is full: nothing is ever seen queued.
#[test]
fn a_full_buffer_that_nobody_reads() {
    let mut story = Story::begin();
    story.socket(bound(Protocol::Udp, 8125), None, SocketState::Close, "statsd");
    let full = EntryKey {
        socket_found: true,
        ..drop("SOCKET_RCVBUFF", "udp_queue_rcv_one_skb", Protocol::Udp)
    };
    let key = udp(8125, "192.0.2.10", 999);
    let lose = |story: &mut Story| {
        let last = (full.reason.clone().unwrap(), full.location.clone().unwrap());
        story
            .arrived(Protocol::Udp, 1)
            .add(full.clone(), 1)
            .count(key, |flow| {
                flow.origin = Origin::Remote;
                flow.iif = ETH0;
                flow.arrived += 1;
                flow.dropped += 1;
                flow.last_drop = Some(last);
            });
    };
    story.rounds(4, lose);
    assert_eq!(story.ids(), Vec::<String>::new(), "it may be busy");
    story.rounds(4, lose);
    let report = story.report();
    assert_eq!((report.place, report.failure_found()), (Where::Process, true));
    let verdict = story.verdict("R13");
    assert_eq!(verdict.confidence, Confidence::Strong);
    for part in [
        "8 datagrams for udp 8125",
        "buffer full",
        "statsd[123] (statsd.service)",
    ] {
        assert!(
            verdict.explanation.contains(part),
            "{part}: {}",
            verdict.explanation
        );
    }

    // It is read, though too slowly.
    story.rounds(8, |story| {
        lose(story);
        story.reads(bound(Protocol::Udp, 8125), 1);
    });
    assert_eq!(story.ids(), Vec::<String>::new());
}

/// A flow is seen before the list of sockets tells of its socket.
#[test]
fn a_socket_that_is_told_late_has_the_flows_that_showed_it() {
    let mut story = Story::begin();
    let key = udp(8125, "192.0.2.10", 999);
    story.rounds(2, |story| story.queue(key));
    story.socket(bound(Protocol::Udp, 8125), None, SocketState::Close, "statsd");
    let full = ("SOCKET_RCVBUFF".to_owned(), at("udp_queue_rcv_one_skb"));
    story.rounds(4, |story| {
        let full = full.clone();
        story.count(key, |flow| {
            (flow.arrived, flow.dropped) = (flow.arrived + 1, flow.dropped + 1);
            flow.last_drop = Some(full);
        });
    });
    assert_eq!(story.report().starved[0].command, "statsd");
}

/// What the kernel's list of sockets has of a socket of `db`, whose process is held so.
fn waits(story: &mut Story, flow: FlowKey, state: SocketState, held: Option<Held>) {
    story.say(Body::Queue(Box::new(Queue {
        flow,
        state,
        inode: 5,
        waiting: 700,
        limit: (state == SocketState::Listen).then_some(128),
        drops: None,
        owner: Some(owner("db")),
        held,
    })));
}

/// A receiver of TCP that pauses is flow control; one that is stopped is not.
#[test]
fn data_of_tcp_that_waits_is_told_where_its_process_cannot_read_it() {
    let waiting = |held| {
        let mut story = healthy();
        story.socket(served(40_000), None, SocketState::Established, "db");
        story.exchange(served(40_000));
        story.tick();
        waits(&mut story, served(40_000), SocketState::Established, held);
        story.idle(8);
        story
    };
    assert!(waiting(None).ids().is_empty());
    for (held, said) in [
        (
            Held::Stopped,
            "db[123] (db.service) is stopped by a signal, as SIGSTOP.",
        ),
        (
            Held::Frozen,
            "db[123] (db.service) is frozen, by the freezer of its cgroup.",
        ),
    ] {
        let story = waiting(Some(held));
        let verdict = story.verdict("R14");
        assert_eq!(verdict.confidence, Confidence::Strong);
        assert_eq!(story.report().place, Where::Process);
        assert!(
            verdict
                .explanation
                .starts_with("1 connection to tcp 8080 has data")
                && verdict.explanation.contains(said),
            "{}",
            verdict.explanation
        );
    }
    let verdict = waiting(Some(Held::Frozen)).verdict("R14");
    assert_eq!(
        verdict.remedy[0],
        "systemctl thaw db.service  # Risk: somebody may have frozen it on purpose."
    );
}

/// That a process is stopped is seen; that nobody meant it to be is not, unless it is a service's.
#[test]
fn a_process_that_somebody_stops_at_a_terminal_is_a_weak_sign() {
    let query = udp(5353, "192.0.2.10", 999);
    let socket = bound(Protocol::Udp, 5353);
    let stopped = |unit: &str, held| {
        let has_it = Owner {
            unit: unit.to_owned(),
            ..owner("dns")
        };
        let mut story = healthy();
        story.say(Body::Socket(Socket {
            flow: socket,
            state: SocketState::Close,
            from: None,
            inode: 5,
            owner: Some(has_it.clone()),
        }));
        story.rounds(4, |story| {
            story.queue(query);
            story.reads(socket, 1);
        });
        story.rounds(8, |story| {
            story.queue(query);
            story.say(Body::Queue(Box::new(Queue {
                flow: socket,
                state: SocketState::Close,
                inode: 5,
                waiting: 700,
                limit: None,
                drops: None,
                owner: Some(has_it.clone()),
                held: Some(held),
            })));
        });
        story
    };
    let story = stopped("session-3.scope", Held::Suspended);
    let verdict = story.verdict("R14");
    assert_eq!(
        (verdict.confidence, story.report().place),
        (Confidence::Weak, Where::Healthy)
    );
    assert!(
        verdict.explanation.ends_with(
            "The socket belongs to dns[123] (session-3.scope). dns[123] (session-3.scope) is stopped in the background of its \
             terminal, as after ^Z. It is neither a service nor of a pod: whether that is meant is not known."
        ),
        "{}",
        verdict.explanation
    );
    for (unit, held, said) in [
        (
            "dns.service",
            Held::Suspended,
            "in the background of its terminal, as after ^Z.",
        ),
        (
            "session-3.scope",
            Held::Stopped,
            "is stopped by a signal, as SIGSTOP.",
        ),
    ] {
        let verdict = stopped(unit, held).verdict("R14");
        assert_eq!(verdict.confidence, Confidence::Strong, "{unit}");
        assert!(verdict.explanation.ends_with(said), "{}", verdict.explanation);
    }
}

/// The same evidence as of a service: the kubelet has it run.
#[test]
fn a_process_of_a_pod_that_is_stopped_is_a_fault() {
    let cgroup = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9.slice/\
                  cri-containerd-0123.scope";
    let stopped = |cgroup: &str| {
        let has_it = Owner {
            cgroup: cgroup.to_owned(),
            unit: "cri-containerd-0123.scope".to_owned(),
            ..owner("web")
        };
        let mut story = healthy();
        let open = SocketState::Established;
        story.say(Body::Socket(Socket {
            flow: served(40_000),
            state: open,
            from: None,
            inode: 5,
            owner: Some(has_it.clone()),
        }));
        story.exchange(served(40_000));
        story.tick();
        story.say(Body::Queue(Box::new(Queue {
            flow: served(40_000),
            state: open,
            inode: 5,
            waiting: 700,
            limit: None,
            drops: None,
            owner: Some(has_it),
            held: Some(Held::Stopped),
        })));
        story.idle(8);
        story.verdict("R14").confidence
    };
    assert_eq!(stopped(cgroup), Confidence::Strong);
    assert_eq!(stopped("/user.slice/cri-containerd-0123.scope"), Confidence::Weak);
}

/// Connections are turned away for so many rounds, while the queue of the listener was seen to hold so many.
fn turned_away(rounds: u64, waiting: u32) -> Story {
    let mut story = healthy();
    story.listen(8080, "db");
    for grown in 1..=rounds {
        story.say(Body::Counter(Counter {
            key: CounterKey {
                netns: NETNS,
                source: Source::Netstat,
                device: 0,
                name: "TcpExtListenOverflows".to_owned(),
            },
            grown,
        }));
        story.say(Body::Queue(Box::new(Queue {
            flow: bound(Protocol::Tcp, 8080),
            state: SocketState::Listen,
            inode: 5,
            waiting,
            limit: Some(128),
            drops: None,
            owner: Some(owner("db")),
            held: None,
        })));
        story.tick();
    }
    story
}

#[test]
fn a_listener_without_room_that_turns_connections_away_is_a_fault() {
    let story = turned_away(6, 129);
    assert_eq!(story.ids(), ["R15"]);
    assert_eq!(story.report().place, Where::Process);
    let verdict = story.verdict("R15");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert!(
        verdict.explanation.starts_with(
            "The accept queue of tcp 8080 of db[123] (db.service), where 129 connections waited to be accepted with room for 128, \
             was full when sockets were last listed. Since 06:00:02 UTC the kernel dropped 6 requests to connect for want of \
             room in an accept queue (SYNs and last ACKs of handshakes; what is sent again counts again)."
        ),
        "{}",
        verdict.explanation
    );
    let told: Vec<&str> = verdict.evidence.iter().map(|one| one.text.as_str()).collect();
    assert_eq!(
        told,
        [
            "listener tcp 8080: 129 connections waiting, room for 128",
            "TcpExtListenOverflows has grown by 6 since 06:00:02 UTC: SYNs and last ACKs of handshakes that found an \
             accept queue full"
        ]
    );
    assert_eq!(verdict.units, ["db.service"]);
}

#[test]
fn a_burst_and_a_queue_that_has_room_are_none() {
    assert!(turned_away(3, 129).ids().is_empty(), "it lasted for 1 s");
    assert!(turned_away(8, 128).ids().is_empty(), "there is room for one more");
}
