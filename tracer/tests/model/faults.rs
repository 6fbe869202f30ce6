//! Every rule finds its fault, in time, with its evidence, and lets go when it is over.

use tracer::event::{EntryKey, Origin, Protocol, SocketState};
use tracer::report::{Confidence, Where};

use crate::story::*;

/// A node whose connections work, for two seconds.
fn healthy() -> Story {
    let mut story = Story::begin();
    for port in [40_000, 40_001] {
        story.socket(client(port), None, SocketState::Established, "curl");
    }
    story.rounds(4, |story| {
        story.exchange(client(40_000));
        story.exchange(client(40_001));
        story.exchange(ping(7, "192.0.2.10"));
    });
    assert_eq!(story.report().place, Where::Healthy);
    assert!(story.report().verdicts.is_empty() && story.report().starved.is_empty());
    story
}

fn lose(story: &mut Story) {
    story.ask_and_lose(client(40_000), foreign());
}

#[test]
fn the_incident() {
    let mut story = healthy();
    story.rounds(5, lose);
    story.example(foreign(), client(40_000), Some(SocketState::Established), "curl");
    story.tick();

    let report = story.report();
    assert_eq!((report.place, report.failure_found()), (Where::GuestKernel, true));
    assert_eq!(story.ids(), ["R01"]);
    let verdict = story.verdict("R01");
    assert_eq!(verdict.confidence, Confidence::Conclusive);
    assert_eq!(verdict.since, "2023-10-08T06:00:02.500Z");
    assert_eq!(verdict.units, ["curl.service"]);
    for part in ["5 packets", "eth0", "curl[123] (curl.service)", "table local"] {
        assert!(
            verdict.explanation.contains(part),
            "{part}: {}",
            verdict.explanation
        );
    }
    assert_eq!(
        verdict.check,
        ["ip rule", "ip route get 10.10.0.2 from 192.0.2.10 iif eth0"]
    );
    assert!(
        verdict.remedy[0].starts_with("ip rule add pref 0 lookup local"),
        "{:?}",
        verdict.remedy
    );
    assert!(verdict.remedy[1].contains("ManageForeignRoutingPolicyRules=no"));

    let starved = &report.starved;
    assert_eq!(starved.len(), 1, "{starved:#?}");
    assert_eq!((starved[0].pid, starved[0].command.as_str()), (123, "curl"));
    assert_eq!(
        (starved[0].unit.as_str(), starved[0].state.as_str()),
        ("curl.service", "ESTAB")
    );
    assert_eq!(
        (starved[0].local.as_str(), starved[0].remote.as_str()),
        ("10.10.0.2:40000", "192.0.2.10:80")
    );
    assert_eq!(
        (starved[0].arrived, starved[0].delivered, starved[0].dropped),
        (9, 4, 5)
    );
    assert!(starved[0].reply && starved[0].starved_seconds > 2.0);
    assert_eq!(starved[0].last_drop, "NOT_SPECIFIED at ip_forward+0x1c4");
    let row = &report.drops[0];
    assert_eq!(
        (row.reason.as_str(), row.socket_found, row.in_ledger),
        ("NOT_SPECIFIED", true, true)
    );
    assert!(row.location.starts_with("ip_forward+"));
}

#[test]
fn the_incident_is_seen_within_a_round() {
    let mut story = healthy();
    story.rounds(1, lose);
    assert_eq!(story.ids(), ["R01"]);
}

#[test]
fn the_incident_that_began_before_the_start() {
    let mut story = Story::begin();
    let key = client(40_000);
    story.rounds(3, |story| story.ask_and_lose(key, foreign()));
    story.example(foreign(), key, Some(SocketState::SynSent), "curl");
    story.tick();
    assert_eq!(story.report().place, Where::GuestKernel);
    let verdict = story.verdict("R01");
    assert_eq!(verdict.flows[0].command, "curl");
    assert_eq!(verdict.flows[0].state, "SYN-SENT");
}

#[test]
fn the_incident_over_ipv6() {
    let mut story = Story::begin();
    let key = flow(Protocol::Tcp, "2001:db8::2", 40_000, "2001:db8:1::10", 80);
    let lost = EntryKey {
        socket_found: true,
        ethertype: 0x86dd,
        ..drop("NOT_SPECIFIED", "ip6_forward", Protocol::Tcp)
    };
    story.rounds(3, |story| story.ask_and_lose(key, lost.clone()));
    let verdict = story.verdict("R01");
    assert_eq!(verdict.check[0], "ip -6 rule");
    assert_eq!(
        verdict.check[1],
        "ip -6 route get 2001:db8::2 from 2001:db8:1::10 iif eth0"
    );
    assert!(verdict.remedy[0].starts_with("ip -6 rule add pref 0 lookup local"));
}

#[test]
fn in_a_named_namespace_the_commands_say_so() {
    let mut story = Story::with_namespaces(&[(NETNS, "node")]);
    story.device(NETNS, ETH0, "eth0", true, vec![ip("10.10.0.2")]);
    story.rounds(3, lose);
    assert_eq!(story.verdict("R01").check[0], "ip netns exec node ip rule");
}

#[test]
fn own_address_treated_as_foreign_is_strong_alone() {
    for (reason, symbol) in [
        ("IP_INADDRERRORS", "ip_error"),
        ("NEIGH_FAILED", "neigh_invalidate"),
    ] {
        let mut story = healthy();
        let lost = drop(reason, symbol, Protocol::Icmp);
        story.rounds(4, |story| {
            story.ask_and_lose(ping(7, "192.0.2.10"), lost.clone());
            story.example(lost.clone(), ping(7, "192.0.2.10"), None, "");
        });
        let verdict = story.verdict("R01");
        assert_eq!(verdict.confidence, Confidence::Strong, "{reason}");
        assert!(
            verdict.explanation.contains("10.10.0.2"),
            "{}",
            verdict.explanation
        );
    }
}

#[test]
fn reverse_path_filter() {
    let mut story = healthy();
    let lost = drop("IP_RPFILTER", "ip_rcv_finish_core", Protocol::Tcp);
    story.rounds(4, |story| story.ask_and_lose(client(40_000), lost.clone()));
    let report = story.report();
    assert_eq!((report.place, report.failure_found()), (Where::GuestKernel, true));
    let verdict = story.verdict("R03");
    assert_eq!(verdict.confidence, Confidence::Conclusive);
    assert_eq!(verdict.since, "2023-10-08T06:00:02.500Z");
    assert_eq!(
        verdict.check,
        [
            "sysctl net.ipv4.conf.all.rp_filter net.ipv4.conf.eth0.rp_filter",
            "ip route get 192.0.2.10"
        ]
    );
    assert!(
        verdict.remedy[1].starts_with("sysctl -w net.ipv4.conf.eth0.rp_filter=2"),
        "{:?}",
        verdict.remedy
    );
    assert_eq!(verdict.flows.len(), 1);
}

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
    for part in [
        "tcp 8080",
        "server[123] (server.service)",
        "2023-10-08T06:00:02.500Z",
    ] {
        assert!(
            verdict.explanation.contains(part),
            "{part}: {}",
            verdict.explanation
        );
    }
    assert_eq!(verdict.check[1], "systemctl status server.service");

    // It comes back.
    story.listen(8080, "server");
    story.tick();
    assert_eq!((story.report().place, story.ids().len()), (Where::Healthy, 0));
}

#[test]
fn udp_server_gone() {
    let mut story = healthy();
    let query = udp(5353, "192.0.2.10", 999);
    story.socket(bound(Protocol::Udp, 5353), None, SocketState::Close, "dns");
    story.rounds(2, |story| {
        story.count(bound(Protocol::Udp, 5353), |flow| flow.queued += 1);
        story.count(query, |flow| {
            flow.origin = Origin::Remote;
            flow.arrived += 1;
            flow.read += 1;
        });
    });
    story.rounds(5, |story| story.refuse(query, "__udp4_lib_rcv"));
    let verdict = story.verdict("R12");
    assert_eq!(
        (verdict.place, verdict.confidence),
        (Where::Process, Confidence::Conclusive)
    );
    assert!(
        verdict.explanation.contains("udp 5353; dns[123]"),
        "{}",
        verdict.explanation
    );

    story.rounds(1, |story| {
        story.count(bound(Protocol::Udp, 5353), |flow| flow.queued += 1);
    });
    assert_eq!(story.report().place, Where::Healthy);
}

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

#[test]
fn a_process_that_stops_reading() {
    let mut story = healthy();
    let query = udp(5353, "192.0.2.10", 999);
    story.socket(bound(Protocol::Udp, 5353), None, SocketState::Close, "dns");
    let arrive = |story: &mut Story, read| {
        story.arrived(Protocol::Udp, 1);
        story.count(bound(Protocol::Udp, 5353), |flow| flow.queued += 1);
        story.count(query, |flow| {
            flow.origin = Origin::Remote;
            flow.arrived += 1;
            flow.read += read;
        });
    };
    story.rounds(4, |story| arrive(story, 1));
    story.rounds(8, |story| arrive(story, 0));
    let verdict = story.verdict("P01");
    assert_eq!(
        (verdict.place, verdict.confidence),
        (Where::Process, Confidence::Strong)
    );
    assert_eq!(verdict.units, ["dns.service"]);
    assert!(
        verdict.explanation.contains("dns[123]"),
        "{}",
        verdict.explanation
    );

    story.count(query, |flow| flow.read += 8).tick();
    assert_eq!(story.report().place, Where::Healthy);
}

#[test]
fn a_fault_that_is_mended_is_told_for_a_while_and_then_forgotten() {
    for break_it in [
        lose as fn(&mut Story),
        |story| {
            let lost = drop("IP_RPFILTER", "ip_rcv_finish_core", Protocol::Tcp);
            story.ask_and_lose(client(40_000), lost);
        },
        |story| story.ask(ping(7, "192.0.2.10")),
    ] {
        let mut story = healthy();
        story.rounds(6, break_it);
        let id = story.ids();
        assert_eq!(id.len(), 1);
        let since = story.verdict(&id[0]).since;
        let mend = |story: &mut Story| {
            story.exchange(client(40_000));
            story.exchange(ping(7, "192.0.2.10"));
        };
        // 8 s later it is still in the window, as it was.
        story.rounds(16, mend);
        assert_eq!(story.ids(), id);
        assert_eq!(story.verdict(&id[0]).since, since);
        assert!(story.report().starved.is_empty());
        story.rounds(6, mend);
        assert_eq!(story.report().place, Where::Healthy);
        assert!(story.report().verdicts.is_empty() && !story.report().failure_found());
    }
}

#[test]
fn lost_state_outranks_what_follows_from_it() {
    let mut story = healthy();
    story.listen(8080, "server");
    story.socket(
        bound(Protocol::Tcp, 8080),
        Some(SocketState::Listen),
        SocketState::Close,
        "",
    );
    let other = flow(Protocol::Tcp, "10.10.0.2", 42_000, "198.51.100.1", 443);
    story.exchange(other);
    story.tick();
    story.rounds(6, |story| {
        story.refuse(served(50_000), "tcp_v4_rcv");
        story.ask(other);
        lose(story);
    });
    assert_eq!(story.ids(), ["R01", "D01", "R12"]);
    assert_eq!(story.report().place, Where::GuestKernel);
}
