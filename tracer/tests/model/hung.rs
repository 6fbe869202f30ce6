//! Processes that do not read, and listeners that take no connection.

use tracer::event::{
    Body, EntryKey, Fate, FlowKey, Held, Origin, Owner, Protocol, Queue, Seen, Socket, SocketState, Unit,
    UnitState,
};
use tracer::report::{Confidence, Where};

use crate::ports::Form;
use crate::story::*;

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
        // What is passed on to the same port elsewhere has nothing to do with it.
        let passed_on = FlowKey {
            local: ip("192.0.2.99"),
            ..query
        };
        story.rounds(3, |story| {
            queue(story, query);
            story.count(passed_on, |flow| {
                flow.origin = Origin::Remote;
                flow.arrived += 1;
            });
        });
        let verdict = story.verdict("R14");
        assert_eq!(
            (verdict.place, verdict.confidence),
            (Some(Where::Process), Confidence::Strong),
            "{why}"
        );
        let suffer = verdict
            .flows
            .iter()
            .any(|flow| flow.local.starts_with("192.0.2.99"));
        assert!(!suffer, "{why}: {:?}", verdict.flows);
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
        retries: 0,
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

/// The sockets are listed every few seconds, and what holds their processes is seen then; that a unit is frozen is told at once.
#[test]
fn a_process_of_a_unit_that_is_frozen_does_not_run() {
    let frozen = |frozen, cgroup: &str| {
        let mut story = healthy();
        story.socket(served(40_000), None, SocketState::Established, "db");
        story.exchange(served(40_000));
        story.tick();
        waits(&mut story, served(40_000), SocketState::Established, None);
        story.say(Body::Unit(Box::new(Unit {
            name: "db.service".to_owned(),
            seen: Seen::Told,
            state: Some(UnitState {
                active: "active".to_owned(),
                sub: "running".to_owned(),
                cgroup: cgroup.to_owned(),
                frozen,
                ..UnitState::default()
            }),
        })));
        story.idle(8);
        story
    };
    let verdict = frozen(true, "/system.slice/db.service").verdict("R14");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert!(
        verdict.explanation.contains("is frozen"),
        "{}",
        verdict.explanation
    );
    assert!(frozen(false, "/system.slice/db.service").ids().is_empty());
    assert!(
        frozen(true, "/system.slice/box.service/db.service")
            .ids()
            .is_empty(),
        "it is that of another manager"
    );
}

/// On a node with both versions the hierarchy of v2 is a folder below `/sys/fs/cgroup`.
#[test]
fn a_group_that_is_no_unit_of_the_node_is_thawed_where_the_kernel_has_it() {
    let mut story = healthy();
    let of_pod = Owner {
        cgroup: "/pods/1".to_owned(),
        unit: String::new(),
        ..owner("db")
    };
    story.say(Body::Queue(Box::new(Queue {
        flow: served(40_000),
        state: SocketState::Established,
        inode: 5,
        waiting: 700,
        limit: None,
        drops: None,
        retries: 0,
        owner: Some(of_pod),
        held: Some(Held::Frozen),
    })));
    story.exchange(served(40_000));
    story.idle(8);
    let remedy = &story.verdict("R14").remedy[0];
    let path = "echo 0 > \"$(findmnt -nt cgroup2 -o TARGET | head -n1)\"/pods/1/cgroup.freeze  # Risk: ";
    assert!(remedy.starts_with(path), "{remedy}");
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
                retries: 0,
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
            retries: 0,
            owner: Some(has_it),
            held: Some(Held::Stopped),
        })));
        story.idle(8);
        story.verdict("R14").confidence
    };
    assert_eq!(stopped(cgroup), Confidence::Strong);
    assert_eq!(stopped("/user.slice/cri-containerd-0123.scope"), Confidence::Weak);
}

/// Connections are turned away for so many rounds, while the queue of the listener was seen to hold so many. The first reading
/// that tells of it is so late, in ns.
fn turned_away(rounds: u64, waiting: u32, late: u64) -> Story {
    let mut story = healthy();
    story.listen(8080, "db");
    for grown in 1..=rounds {
        story.say(Body::Queue(Box::new(Queue {
            flow: bound(Protocol::Tcp, 8080),
            state: SocketState::Listen,
            inode: 5,
            waiting,
            limit: Some(128),
            drops: None,
            retries: 0,
            owner: Some(owner("db")),
            held: None,
        })));
        story.say(netstat("TcpExtListenOverflows", grown));
        if let Some(told) = story.events.last_mut().filter(|_| grown == 1) {
            told.at += late;
        }
        story.tick();
    }
    story
}

#[test]
fn a_listener_without_room_that_turns_connections_away_is_a_fault() {
    let story = turned_away(6, 129, 0);
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
    assert!(turned_away(3, 129, 0).ids().is_empty(), "it lasted for 1 s");
    assert!(
        turned_away(8, 128, 0).ids().is_empty(),
        "there is room for one more"
    );
}

/// They are read once a second, and not to the millisecond.
#[test]
fn three_readings_tell_of_two_seconds_though_the_last_one_comes_early() {
    assert_eq!(turned_away(5, 129, 20_000_000).ids(), ["R15"]);
}

/// More comes than the process reads.
#[test]
fn a_process_that_reads_too_slowly() {
    let slow = |dropped: u64, who: &str| {
        let mut story = Story::begin();
        let socket = bound(Protocol::Udp, 8125);
        story.socket(socket, None, SocketState::Close, who);
        let key = udp(8125, "192.0.2.10", 999);
        story.rounds(10, |story| {
            story.arrived(Protocol::Udp, 20).count(key, |flow| {
                (flow.origin, flow.iif) = (Origin::Remote, ETH0);
                (flow.arrived, flow.dropped) = (flow.arrived + 20, flow.dropped + dropped);
                flow.queued += 20 - dropped;
                flow.last_drop = Some(("SOCKET_RCVBUFF".to_owned(), at("udp_queue_rcv_one_skb")));
            });
            story.reads(socket, 20 - dropped);
        });
        story
    };
    let story = slow(15, "statsd");
    assert_eq!(story.ids(), ["K05"]);
    let verdict = story.verdict("K05");
    assert_eq!(
        (verdict.place, verdict.confidence),
        (Some(Where::Process), Confidence::Strong)
    );
    assert!(
        verdict.explanation.starts_with(
            "Of 200 datagrams that came for udp 8125 in 4.5 s, 150 found the socket and its buffer full"
        ),
        "{}",
        verdict.explanation
    );
    assert!(
        verdict.explanation.contains("statsd[123] (statsd.service)"),
        "{}",
        verdict.explanation
    );
    assert_eq!(slow(1, "statsd").ids(), Vec::<String>::new());
}
