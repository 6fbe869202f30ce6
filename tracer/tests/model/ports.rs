//! Sockets that are gone: what asks for their ports finds nobody.

use tracer::event::{Body, FlowKey, Origin, Protocol, Seen, Socket, SocketState, Unit, UnitState};
use tracer::report::{Confidence, Relation, Where};

use crate::story::*;

/// How a datagram that reaches its socket is told.
pub(crate) type Form = (&'static str, fn(&mut Story, FlowKey));

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

/// It was started again with another address in its configuration: something listens there, and not for these packets.
#[test]
fn a_listener_that_moved_to_another_address() {
    for (address, says) in [
        (
            "127.0.0.1",
            "server[123] (server.service) listens at 127.0.0.1: not for what comes for 10.10.0.2.",
        ),
        (
            "10.10.0.3",
            "server[123] (server.service) listens at 10.10.0.3: not for what comes for 10.10.0.2.",
        ),
    ] {
        let mut story = healthy();
        story.listen(8080, "server");
        story.tick();
        let before = bound(Protocol::Tcp, 8080);
        story.socket(before, Some(SocketState::Listen), SocketState::Close, "");
        let now = flow(Protocol::Tcp, address, 8080, "0.0.0.0", 0);
        story.socket(now, None, SocketState::Listen, "server");
        let mut port = 50_000;
        story.rounds(4, |story| {
            port += 1;
            story.refuse(served(port), "tcp_v4_rcv");
        });
        let verdict = story.verdict("R12");
        assert_eq!(verdict.confidence, Confidence::Conclusive);
        assert!(
            verdict
                .explanation
                .starts_with("Nothing listens on tcp 8080 at 10.10.0.2;")
                && verdict.explanation.contains(says),
            "{}",
            verdict.explanation
        );
        assert!(
            verdict
                .remedy
                .iter()
                .all(|line| !line.contains("systemctl restart"))
                && verdict.remedy[0].starts_with("Let the program"),
            "{:?}",
            verdict.remedy
        );
    }
}

/// It is connected to whom it asks, and somebody else answers.
#[test]
fn a_connected_socket_that_another_answers() {
    let asked = udp(50_000, "192.0.2.10", 7000);
    let told = |asks: u32| {
        let mut story = healthy();
        let mut round = 0;
        story.rounds(8, |story| {
            round += 1;
            if round <= asks {
                story.ask(asked);
            }
            story.refuse(udp(50_000, "192.0.2.11", 7000), "__udp4_lib_rcv");
        });
        story.verdict("R12").explanation
    };
    let explanation = told(8);
    assert!(
        explanation.starts_with("At udp 50000 of 10.10.0.2 is a socket that talks with 192.0.2.10:7000 (")
            && explanation.contains("8 packets for it arrived since and found no socket"),
        "{explanation}"
    );
    // It sends no more.
    let explanation = told(1);
    assert!(
        explanation.starts_with("Nothing listens on udp 50000 at 10.10.0.2"),
        "{explanation}"
    );
}

/// A socket at all addresses may be of IPv6 alone, or of one device: the refusals alone tell it.
#[test]
fn a_listener_that_is_not_for_all() {
    let told = |early: u32, late: u32| {
        let mut story = healthy();
        let mut port = 50_000;
        let mut refused = |story: &mut Story| {
            port += 1;
            story.refuse(served(port), "tcp_v4_rcv");
        };
        story.rounds(early, &mut refused);
        story.listen(8080, "server");
        story.tick().rounds(late, &mut refused);
        story
    };
    let verdict = told(0, 8).verdict("R12");
    assert_eq!(verdict.confidence, Confidence::Weak);
    assert!(
        !verdict.explanation.contains("had it")
            && verdict.explanation.contains(
                " server[123] (server.service) listens at this port, for the other version of IP or at one device only: not for \
                 what comes for 10.10.0.2."
            ),
        "{}",
        verdict.explanation
    );
    // What was refused before it came says nothing of it.
    assert_eq!(told(8, 0).ids(), Vec::<String>::new());
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
        for part in [
            "udp 5353 at 10.10.0.2; dns[123]",
            "until 06:00:03 UTC",
            "5 packets",
        ] {
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
            verdict
                .explanation
                .contains("udp 5353 at 10.10.0.2; a socket was there until"),
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

/// Whoever is started again is away for a moment; what was refused then is counted some time later. Who stays away is missed.
#[test]
fn a_server_that_is_started_again_is_no_fault() {
    let query = udp(5353, "192.0.2.10", 999);
    let refused = |rounds: u16| {
        let mut story = healthy();
        story.listen(8080, "server");
        story.socket(bound(Protocol::Udp, 5353), None, SocketState::Close, "server");
        story.rounds(2, |story| story.queue(query));
        let listener = bound(Protocol::Tcp, 8080);
        story.socket(listener, Some(SocketState::Listen), SocketState::Close, "");
        for port in 0..rounds {
            story.refuse(query, "__udp4_lib_rcv");
            story.refuse(served(50_000 + port), "tcp_v4_rcv");
            story.tick();
        }
        story
    };
    // 0.6 s, and what it takes to start it.
    assert_eq!(refused(3).ids(), Vec::<String>::new());
    let verdict = refused(6).verdict("R12");
    assert_eq!(verdict.confidence, Confidence::Conclusive);
    assert!(
        verdict.explanation.contains("The same goes for"),
        "both are missed after 3 s: {}",
        verdict.explanation
    );
}

/// A socket that the kernel's list tells after the last datagram was refused is there, and is nobody's that was seen to end.
#[test]
fn a_server_of_datagrams_that_is_back_and_was_not_asked_yet() {
    let query = udp(5353, "192.0.2.10", 999);
    let socket = bound(Protocol::Udp, 5353);
    let mut story = healthy();
    story.socket(socket, None, SocketState::Close, "dns");
    story.rounds(2, |story| story.queue(query));
    story.rounds(6, |story| story.refuse(query, "__udp4_lib_rcv"));
    assert!(story.verdict("R12").explanation.contains("; dns[123]"));
    story.tick();
    let other = Socket {
        flow: socket,
        state: SocketState::Close,
        from: None,
        inode: 2,
        owner: Some(owner("other")),
    };
    story.say(Body::Socket(other));
    story.tick();
    assert_eq!(story.ids(), Vec::<String>::new());
    // It ends as well.
    story.rounds(7, |story| story.refuse(query, "__udp4_lib_rcv"));
    let verdict = story.verdict("R12");
    assert!(
        verdict.explanation.contains(
            "other[123] (other.service) had it until 06:00:06 UTC. 7 packets for it arrived since and found no socket."
        ),
        "{}",
        verdict.explanation
    );
}
