//! Sockets that are gone: what asks for their ports finds nobody.

use tracer::event::{Body, FlowKey, Origin, Protocol, Seen, Socket, SocketState, Thing, Unit, UnitState};
use tracer::report::{Confidence, Relation, Where};

use crate::pairing::set;
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

/// Port 80 led to another by a rule that went away as told; then it is asked for.
fn led_away(did: &str, protocol: Protocol) -> Story {
    let rules = || Thing::Ruleset {
        firewall: "nf_tables".to_owned(),
    };
    let mut story = healthy();
    set(
        &mut story,
        rules(),
        Some("generation 2, tables: inet services"),
        Seen::Found,
        None,
    );
    story.idle(8);
    set(
        &mut story,
        rules(),
        Some(&format!("generation 3, no tables; {did}")),
        Seen::Told,
        None,
    );
    let mut port = 50_000;
    story.rounds(8, |story| {
        port += 1;
        let key = flow(protocol, "10.10.0.2", 80, "203.0.113.9", port);
        story.refuse(key, "tcp_v4_rcv");
    });
    story
}

/// Nobody listened at the port itself: the firewall led what is for it to a service.
#[test]
fn a_redirect_that_went_away_explains_what_finds_no_socket() {
    let gone = "table inet services, chain nat: rule handle 2 (tcp dport 80 redirect) gone";
    let story = led_away(&format!("{gone}; table inet services gone"), Protocol::Tcp);
    assert_eq!(story.ids(), ["R34"]);
    assert_eq!(story.report().place, Where::GuestKernel);
    let verdict = story.verdict("R34");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert_eq!(
        verdict.cause.relation,
        Relation::Explains,
        "{}",
        verdict.cause.text
    );
    assert!(
        verdict
            .explanation
            .contains("8 packets for tcp 80 found no socket")
            && verdict
                .explanation
                .contains("`tcp dport 80 redirect` in table inet services, chain nat"),
        "{}",
        verdict.explanation
    );
    assert!(
        verdict.remedy[0].starts_with("Put the rule `tcp dport 80 redirect` back into table inet services"),
        "{:?}",
        verdict.remedy
    );
    assert!(
        !verdict.remedy.iter().any(|line| line.contains("sender")),
        "{:?}",
        verdict.remedy
    );

    // It went, and came again; it was of another port, or of another protocol.
    let again =
        format!("{gone}; table inet services, chain other: rule handle 9 (tcp dport 80 redirect) new");
    let other = gone.replace("80", "81");
    for (did, protocol) in [
        (again.as_str(), Protocol::Tcp),
        (other.as_str(), Protocol::Tcp),
        (gone, Protocol::Udp),
    ] {
        let story = led_away(did, protocol);
        assert_eq!(story.ids(), ["R12"], "{did}");
        assert_eq!(story.verdict("R12").confidence, Confidence::Weak);
    }
}
