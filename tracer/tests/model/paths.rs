//! Requests leave and nothing arrives.

use tracer::event::{EntryKey, Origin, Protocol, SocketState};
use tracer::report::{Confidence, Evidence, Where};

use crate::story::*;

#[test]
fn silent_path() {
    let mut story = healthy();
    let silent = |story: &mut Story| {
        story.ask(client(40_000));
        story.ask(ping(7, "192.0.2.10"));
    };
    story.rounds(5, silent);
    let report = story.report();
    assert_eq!((report.place, report.failure_found()), (Where::DataPath, true));
    assert_eq!(story.ids(), ["D01"]);
    let verdict = story.verdict("D01");
    assert_eq!(verdict.confidence, Confidence::Conclusive);
    assert!(
        verdict.explanation.contains("Nothing arrived for any other flow"),
        "{}",
        verdict.explanation
    );
    assert_eq!(verdict.flows.len(), 2);
    assert_eq!(report.starved.len(), 2);

    // `since` stays, and does when a flow ends.
    story.rounds(10, |story| story.ask(ping(7, "192.0.2.10")));
    assert_eq!(story.verdict("D01").since, verdict.since);
}

/// As on kernels before 6.17: nothing tells that TCP wanted to send again.
#[test]
fn requests_that_cannot_leave_because_the_gateway_is_silent() {
    let held = |device| EntryKey {
        incoming: false,
        iif: 0,
        device,
        ..drop("NEIGH_FAILED", "neigh_invalidate", Protocol::Tcp)
    };
    let mut story = healthy();
    // The last requests of an open connection and of one that is not, and the answer to a client.
    let client_of_ours = served(50_000);
    story.count(client_of_ours, |flow| {
        (flow.origin, flow.arrived) = (Origin::Remote, 1);
    });
    story.tick();
    for key in [client(40_000), client(40_000), client(40_001), client_of_ours] {
        story.add(held(ETH0), 1).example(held(ETH0), key, None, "");
    }
    story.idle(4);
    let verdict = story.verdict("D01");
    let unsent = |evidence: &Evidence| {
        evidence
            .text
            .starts_with("4 packets of this node could not leave")
    };
    assert!(verdict.evidence.iter().any(unsent), "{:?}", verdict.evidence);
    assert_eq!(verdict.confidence, Confidence::Conclusive);
    let locals: Vec<_> = verdict.flows.iter().map(|flow| flow.local.as_str()).collect();
    assert_eq!(locals, ["10.10.0.2:40000", "10.10.0.2:40001"]);

    // Where it is no way to other nodes, that is a pod's matter.
    let mut story = healthy();
    story.tick();
    for _ in 0..3 {
        story.example(held(LXC1), client(40_000), None, "");
    }
    story.idle(4);
    assert_eq!(story.ids(), Vec::<String>::new());
}

#[test]
fn what_pods_send_does_not_hide_a_silent_path() {
    let mut story = healthy();
    // A pod asks the same peer by its own device: seen from this node, the pod is the remote end.
    let pod = flow(Protocol::Tcp, "192.0.2.10", 80, "10.244.0.2", 40_000);
    story.rounds(5, |story| {
        story.ask(client(40_000));
        story.ask(ping(7, "192.0.2.10"));
        story.count(pod, |flow| {
            (flow.origin, flow.iif) = (Origin::Remote, LXC1);
            flow.arrived += 1;
        });
    });
    assert_eq!(story.verdict("D01").confidence, Confidence::Conclusive);
}

#[test]
fn pings_with_their_twins_are_part_of_a_silent_path() {
    let mut story = healthy();
    let key = ping(9, "192.0.2.10");
    story.rounds(2, |story| {
        story.exchange(key);
        story.count(key, |flow| {
            flow.dropped += 1;
            flow.last_drop = Some(("NO_SOCKET".to_owned(), at("ping_rcv")));
        });
    });
    story.rounds(5, |story| story.ask(key));
    assert_eq!(story.verdict("D01").flows[0].local, "10.10.0.2:9");
}

#[test]
fn a_connection_that_nobody_accepts_is_seen_in_time() {
    let mut story = Story::begin();
    let key = client(41_000);
    story.socket(key, Some(SocketState::Close), SocketState::SynSent, "curl");
    // The request leaves, TCP repeats it after 1 s and 3 s.
    story
        .rounds(1, |story| story.ask(key))
        .idle(1)
        .rounds(1, |story| story.ask(key))
        .idle(2);
    assert_eq!(story.report().place, Where::DataPath);
    assert_eq!(story.verdict("D01").confidence, Confidence::Strong);
    story.idle(20);
    assert_eq!(story.ids(), Vec::<String>::new(), "nothing is asked any more");
}

#[test]
fn clients_that_give_up_and_ask_anew() {
    let mut story = Story::begin();
    let mut port = 41_000;
    // Each waits one second.
    story.rounds(3, |story| {
        port += 1;
        story.socket(
            client(port),
            Some(SocketState::Close),
            SocketState::SynSent,
            "curl",
        );
        story.ask(client(port));
        story.tick();
        story.socket(client(port), Some(SocketState::SynSent), SocketState::Close, "");
    });
    assert_eq!(story.verdict("D01").confidence, Confidence::Conclusive);
}

#[test]
fn neighbours_housekeeping_does_not_hide_a_silent_path() {
    let mut story = Story::begin();
    let neighbour = flow(Protocol::Icmp6, "fe80::2", 0, "fe80::1", 0);
    story.rounds(5, |story| {
        story
            .arrived(Protocol::Icmp6, 1)
            .count(neighbour, |flow| flow.arrived += 1);
        story.ask(ping(7, "192.0.2.10"));
    });
    assert_eq!(story.verdict("D01").confidence, Confidence::Strong);
}

#[test]
fn one_silent_peer_among_others() {
    let mut story = healthy();
    let other = flow(Protocol::Tcp, "10.10.0.2", 42_000, "198.51.100.1", 443);
    story.socket(other, None, SocketState::Established, "agent");
    story.exchange(other);
    story.tick();
    story.rounds(5, |story| {
        story.ask(other);
        story.exchange(client(40_000));
    });
    let verdict = story.verdict("D01");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert!(
        verdict.explanation.contains("Only some peers are silent"),
        "{}",
        verdict.explanation
    );
    assert!(verdict.explanation.contains("198.51.100.1"));
    assert_eq!(verdict.flows[0].unit, "agent.service");
}

#[test]
fn a_server_that_hears_from_nobody() {
    let mut story = Story::begin();
    story.listen(8080, "server");
    let flows = ["192.0.2.10", "192.0.2.11"].map(|peer| flow(Protocol::Tcp, "10.10.0.2", 8080, peer, 50_000));
    for key in flows {
        story.socket(key, None, SocketState::Established, "server");
        story.count(key, |flow| {
            (flow.origin, flow.arrived, flow.matched, flow.sent) = (Origin::Remote, 3, 3, 3)
        });
    }
    story.tick();
    let repeat = |story: &mut Story, keys: &[tracer::event::FlowKey]| {
        for key in keys {
            story.count(*key, |flow| {
                (flow.sent, flow.retransmitted) = (flow.sent + 1, flow.retransmitted + 1)
            });
        }
    };
    let begin = story.clone();
    story.rounds(5, |story| repeat(story, &flows));
    assert_eq!(story.verdict("D01").confidence, Confidence::Strong);

    // One that went away is no fault.
    let mut story = begin;
    story.rounds(5, |story| repeat(story, &flows[..1]));
    assert!(story.ids().is_empty());
}

/// As from a NAT that is broken: the answers are there, but not for the socket that asked.
#[test]
fn answers_from_another_port() {
    let mut story = healthy();
    story.rounds(2, |story| story.exchange(udp(50_000, "192.0.2.10", 53)));
    story.rounds(6, |story| {
        story.ask(udp(50_000, "192.0.2.10", 53));
        story.exchange(client(40_000));
        story.refuse(udp(50_000, "192.0.2.10", 5353), "__udp4_lib_rcv");
    });
    let verdict = story.verdict("D01");
    assert!(
        verdict
            .explanation
            .contains("6 packets came from there by another port than was asked"),
        "{}",
        verdict.explanation
    );
}

/// Who waits a second for each answer asks a third time only after three; that the second one came astray is said before.
#[test]
fn an_answer_from_another_port_counts_as_a_request() {
    let asked = udp(50_000, "192.0.2.10", 8080);
    let told = |from| {
        let mut story = healthy();
        story.rounds(2, |story| story.exchange(asked));
        story.rounds(2, |story| {
            story.ask(asked);
            story.refuse(udp(50_000, from, 8090), "__udp4_lib_rcv");
            story.exchange(client(40_000));
            story.tick();
            story.exchange(client(40_000));
        });
        story.ids()
    };
    assert!(told("192.0.2.10").contains(&"D01".to_owned()));
    // Somebody else's is none.
    assert!(!told("192.0.2.11").contains(&"D01".to_owned()));
}

/// Where the path loses a part, what is silent changes: each silence is as long as it is.
#[test]
fn one_after_another_is_silent() {
    let mut story = healthy();
    let (first, second) = (ping(7, "192.0.2.10"), ping(8, "192.0.2.20"));
    for key in [first, second] {
        story.rounds(2, |story| story.exchange(key));
    }
    story.rounds(8, |story| {
        story.ask(first);
        story.exchange(second);
    });
    story.rounds(3, |story| {
        story.ask(first);
        story.ask(second);
    });
    story.rounds(6, |story| {
        story.exchange(first);
        story.ask(second);
    });
    let verdict = story.verdict("D01");
    let said = |text: &str| verdict.explanation.contains(text);
    assert!(
        said("9 requests to 192.0.2.20, and for 4.0 s"),
        "{}",
        verdict.explanation
    );
    assert!(
        said("with pauses of 10.0 s at most, one or another was silent"),
        "{}",
        verdict.explanation
    );
}
