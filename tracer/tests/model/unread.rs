//! Connections of TCP that a process which runs does not read.

use tracer::event::{Body, FlowKey, Origin, Protocol, Queue, SocketState};
use tracer::report::{Confidence, Where};

use crate::story::*;

/// So many bytes wait in a connection of `db`, as the kernel's list of sockets has it.
fn waits(story: &mut Story, flow: FlowKey, waiting: u32) {
    story.say(Body::Queue(Box::new(Queue {
        flow,
        state: SocketState::Established,
        inode: flow.remote_port.into(),
        waiting,
        limit: None,
        drops: None,
        retries: 0,
        owner: Some(owner("db")),
        held: None,
    })));
}

/// For so many seconds data comes for connections to port 8080 of a service that runs; of the first one it is read where that is
/// said. Then their windows are closed, where that is said, and the peers ask in vain whether they are open.
fn pours(clients: &[u16], seconds: u32, is_read: bool, is_closed: bool) -> Story {
    let mut story = healthy();
    story.listen(8080, "db");
    for port in clients {
        story.socket(served(*port), None, SocketState::Established, "db");
    }
    for second in 0..seconds {
        for port in clients {
            let waiting = if is_closed { 2000 } else { 1000 + second };
            waits(&mut story, served(*port), waiting);
            story.arrived(Protocol::Tcp, 1).count(served(*port), |flow| {
                (flow.origin, flow.iif) = (Origin::Remote, ETH0);
                (flow.arrived, flow.matched) = (flow.arrived + 1, flow.matched + 1);
                if is_closed {
                    flow.dropped += 1;
                    flow.last_drop = Some(("TCP_OLD_SEQUENCE".to_owned(), at("tcp_validate_incoming")));
                }
            });
        }
        if is_read {
            story.count(served(clients[0]), |flow| flow.read += 1);
        }
        story.idle(2);
    }
    story
}

#[test]
fn data_of_tcp_that_a_running_process_does_not_read_is_a_weak_sign_for_a_while() {
    assert!(pours(&[40_000], 9, false, false).ids().is_empty(), "9 s");
    for is_closed in [false, true] {
        let story = pours(&[40_000], 13, false, is_closed);
        let verdict = story.verdict("R14");
        assert_eq!(verdict.confidence, Confidence::Weak);
        assert_eq!(story.report().place, Where::Healthy);
        assert!(
            verdict
                .explanation
                .starts_with("1 connection to tcp 8080 has data that nothing has read for 13.0 s.")
                && verdict.explanation.contains("db[123] (db.service). It runs:"),
            "{}",
            verdict.explanation
        );
    }
    assert!(pours(&[40_000], 40, true, false).ids().is_empty(), "it is read");
    // One connection alone may be waited for by who pauses.
    assert_eq!(
        pours(&[40_000], 40, false, true).verdict("R14").confidence,
        Confidence::Weak
    );
}

#[test]
fn a_service_that_reads_none_of_several_connections_for_long_hangs() {
    let clients = [40_000, 40_001];
    assert_eq!(
        pours(&clients, 20, false, true).verdict("R14").confidence,
        Confidence::Weak
    );
    let story = pours(&clients, 33, false, true);
    let verdict = story.verdict("R14");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert_eq!(story.report().place, Where::Process);
    assert!(
        verdict
            .explanation
            .contains("has read nothing at this port meanwhile"),
        "{}",
        verdict.explanation
    );
    // It reads the first one: it is busy with that.
    assert_eq!(
        pours(&clients, 33, true, true).verdict("R14").confidence,
        Confidence::Weak
    );
}

/// What a client has sent long ago, and nobody wants to read, as where a program only sends.
#[test]
fn data_of_tcp_that_waits_while_its_peer_is_silent_is_none() {
    let mut story = pours(&[40_000], 3, false, false);
    story.idle(60);
    assert!(story.ids().is_empty(), "{:?}", story.ids());
}
