//! Flows, their sockets and owners.

use tracer::event::{Fate, Origin, Protocol, SocketState};

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
fn the_owner_is_that_of_the_socket_else_of_the_listener() {
    let mut story = Story::begin();
    story.listen(8080, "server");
    assert_eq!(starve(&mut story, served(1)).command, "server");

    story.socket(served(1), None, SocketState::Established, "worker");
    story.tick();
    assert_eq!(story.report().starved[0].command, "worker");
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
    story.listen(8080, "server");
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
fn an_unconnected_socket_takes_in_the_datagrams_of_its_flows() {
    let mut story = Story::begin();
    let key = udp(53, "192.0.2.10", 999);
    story.socket(bound(Protocol::Udp, 53), None, SocketState::Close, "dns");
    story.rounds(2, |story| {
        story.count(bound(Protocol::Udp, 53), |flow| flow.queued += 1);
        story.count(key, |flow| {
            (flow.arrived, flow.read) = (flow.arrived + 1, flow.read + 1)
        });
        story.add(line(Fate::Read, Protocol::Udp), 1);
    });
    // It is queued and the process takes its time: that is not the kernel's fault.
    story.rounds(4, |story| {
        story.count(bound(Protocol::Udp, 53), |flow| flow.queued += 1);
        story.count(key, |flow| flow.arrived += 1);
    });
    assert!(story.report().starved.is_empty());
}
