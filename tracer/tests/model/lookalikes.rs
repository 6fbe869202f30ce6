//! What resembles a fault and is none.

use tracer::event::{CapabilityState, EntryKey, Origin, Protocol, SocketState};
use tracer::report::{Confidence, Where};

use crate::story::*;

/// Nothing was found, or nothing that counts.
pub(crate) fn assert_sound(story: &Story) {
    let report = story.report();
    assert!(!report.failure_found(), "{:#?}", report.verdicts);
    assert_ne!(report.place, Where::GuestKernel);
}

pub(crate) fn assert_nothing(story: &Story) {
    assert_eq!(
        story.ids(),
        Vec::<String>::new(),
        "{:#?}",
        story.report().verdicts
    );
}

#[test]
fn drops_in_ip_forward_that_are_not_the_incident() {
    for (why, key) in [
        (
            "no socket",
            EntryKey {
                socket_found: false,
                ..foreign()
            },
        ),
        (
            "another device",
            EntryKey {
                iif: LXC1,
                ..foreign()
            },
        ),
        ("loopback", EntryKey { iif: LO, ..foreign() }),
        (
            "sending",
            EntryKey {
                incoming: false,
                ..foreign()
            },
        ),
        (
            "another reason",
            EntryKey {
                reason: Some("XFRM_POLICY".to_owned()),
                ..foreign()
            },
        ),
        (
            "another place",
            EntryKey {
                location: Some(at("tcp_v4_rcv")),
                ..foreign()
            },
        ),
    ] {
        let mut story = Story::begin();
        story.rounds(5, |story| {
            story.arrived(Protocol::Tcp, 1).add(key.clone(), 1);
        });
        assert!(story.ids().is_empty(), "{why}");
        assert_sound(&story);
    }
}

#[test]
fn strangers_addresses_are_no_incident() {
    let mut story = Story::begin();
    let lost = drop("IP_INADDRERRORS", "ip_error", Protocol::Udp);
    story.rounds(5, |story| {
        story.arrived(Protocol::Udp, 1).add(lost.clone(), 1);
        story.example(
            lost.clone(),
            flow(Protocol::Udp, "10.10.0.77", 9, "192.0.2.10", 9),
            None,
            "",
        );
    });
    assert_nothing(&story);
}

/// What was dropped before an address came was for somebody else then: a service's address or a lease comes back.
#[test]
fn an_address_that_comes_was_not_this_nodes_before() {
    for (reason, symbol) in [
        ("IP_INADDRERRORS", "ip_error"),
        ("IP_INNOROUTES", "ip_error"),
        ("NOT_SPECIFIED", "ip_forward"),
        // It had waited for a neighbour by then.
        ("NEIGH_FAILED", "neigh_invalidate"),
    ] {
        let lost = drop(reason, symbol, Protocol::Udp);
        let key = flow(Protocol::Udp, "10.10.0.77", 9, "192.0.2.10", 9);
        let for_it = |story: &mut Story| {
            story.arrived(Protocol::Udp, 1).add(lost.clone(), 1);
            story.example(lost.clone(), key, None, "");
        };
        let mut story = healthy();
        story.rounds(5, for_it);
        // The look that finds the address tells the last drops too.
        let own = vec![ip("10.10.0.2"), ip("2001:db8::2"), ip("10.10.0.77")];
        story.device(NETNS, ETH0, "eth0", true, own);
        for_it(&mut story);
        story.tick();
        if symbol == "neigh_invalidate" {
            story.rounds(6, for_it);
        }
        assert_nothing(&story);
        story.idle(4);
        assert_nothing(&story);

        // Packets for it are lost that come later: that is the fault.
        story.idle(4);
        story.rounds(5, for_it);
        assert_eq!(story.verdict("R01").confidence, Confidence::Strong, "{symbol}");
    }
}

/// The same of packets that had been matched to a socket, which is bound to the address still.
#[test]
fn a_socket_that_gets_its_address_back_is_no_incident() {
    let key = flow(Protocol::Tcp, "10.10.0.77", 8080, "192.0.2.10", 40_000);
    let lose = |story: &mut Story| story.ask_and_lose(key, foreign());
    let own = vec![ip("10.10.0.2"), ip("2001:db8::2"), ip("10.10.0.77")];
    let mut story = healthy();
    story.socket(key, None, SocketState::Established, "web");
    story.rounds(6, lose);
    story.device(NETNS, ETH0, "eth0", true, own);
    lose(&mut story);
    story.tick();
    assert!(!story.ids().contains(&"R01".to_owned()), "{:?}", story.ids());
    story.idle(1);
    story.rounds(4, lose);
    assert_eq!(story.verdict("R01").confidence, Confidence::Conclusive);
}

#[test]
fn strays_in_the_reverse_path_filter_are_weak() {
    let mut story = Story::begin();
    let lost = drop("IP_RPFILTER", "ip_rcv_finish_core", Protocol::Udp);
    story.rounds(5, |story| {
        story.arrived(Protocol::Udp, 1).add(lost.clone(), 1);
    });
    assert_eq!(story.verdict("R03").confidence, Confidence::Weak);
    assert_sound(&story);
    assert_eq!(story.report().place, Where::Healthy);
}

/// Who forges a source sends to an address that there is. Somebody waits for it where a socket was found, or is bound there.
#[test]
fn strays_for_an_address_of_this_node_are_weak_where_no_socket_is_for_them() {
    let stray = flow(Protocol::Udp, "10.10.0.2", 9, "203.0.113.7", 4_444);
    let lost = drop("IP_RPFILTER", "ip_rcv_finish_core", Protocol::Udp);
    let told = |is_bound: bool, who: &str| {
        let mut story = Story::begin();
        if is_bound {
            story.socket(bound(Protocol::Udp, 9), None, SocketState::Close, "sink");
        }
        story.rounds(5, |story| {
            story.arrived(Protocol::Udp, 1).add(lost.clone(), 1);
            story.example(lost.clone(), stray, None, who);
        });
        story.verdict("R03")
    };
    let verdict = told(false, "");
    assert_eq!(verdict.confidence, Confidence::Weak);
    assert!(
        verdict
            .explanation
            .starts_with("5 packets from 203.0.113.7 arrived on eth0"),
        "{}",
        verdict.explanation
    );
    assert_eq!(told(true, "").confidence, Confidence::Strong);
    assert_eq!(told(false, "sink").confidence, Confidence::Strong);
}

#[test]
fn late_packets_to_a_closed_client() {
    let mut story = Story::begin();
    let key = client(40_000);
    story.socket(key, None, SocketState::Established, "curl");
    story.rounds(2, |story| story.exchange(key));
    story.socket(key, Some(SocketState::Established), SocketState::Close, "");
    story.rounds(8, |story| {
        let last = ("NO_SOCKET".to_owned(), at("tcp_v4_rcv"));
        story.arrived(Protocol::Tcp, 1).count(key, |flow| {
            flow.arrived += 1;
            flow.dropped += 1;
            flow.last_drop = Some(last);
        });
    });
    assert_nothing(&story);
    assert!(story.report().starved.is_empty());
}

#[test]
fn a_port_scan() {
    let mut story = Story::begin();
    story.listen(8080, "server");
    let mut port = 1;
    story.rounds(20, |story| {
        port += 1;
        story.refuse(
            flow(Protocol::Tcp, "10.10.0.2", port, "203.0.113.9", 4444),
            "tcp_v4_rcv",
        );
    });
    assert_nothing(&story);
    assert!(story.report().starved.is_empty());
}

#[test]
fn refusals_at_a_port_that_was_never_known_are_weak() {
    let mut story = Story::begin();
    let mut port = 50_000;
    story.rounds(8, |story| {
        port += 1;
        story.refuse(served(port), "tcp_v4_rcv");
    });
    let verdict = story.verdict("R12");
    assert_eq!(verdict.confidence, Confidence::Weak);
    assert!(
        verdict
            .explanation
            .contains("no socket was seen there since the start"),
        "{}",
        verdict.explanation
    );
    assert_sound(&story);
}

#[test]
fn a_listener_that_stops_with_its_clients() {
    let mut story = Story::begin();
    story.listen(8080, "server");
    story.tick();
    story.socket(
        bound(Protocol::Tcp, 8080),
        Some(SocketState::Listen),
        SocketState::Close,
        "",
    );
    // What its clients had under way comes at once, and then no more.
    story.refuse(served(1), "tcp_v4_rcv");
    story.refuse(served(2), "tcp_v4_rcv");
    story.tick().idle(6);
    assert_nothing(&story);
}

#[test]
fn a_server_that_restarts() {
    let mut story = Story::begin();
    story.listen(8080, "server");
    story.tick();
    story.socket(
        bound(Protocol::Tcp, 8080),
        Some(SocketState::Listen),
        SocketState::Close,
        "",
    );
    story.rounds(1, |story| story.refuse(served(1), "tcp_v4_rcv"));
    story.listen(8080, "server");
    story.tick();
    assert_nothing(&story);
}

#[test]
fn a_listener_on_another_address() {
    let mut story = Story::begin();
    let resolver = flow(Protocol::Tcp, "127.0.0.53", 53, "0.0.0.0", 0);
    story.socket(resolver, None, SocketState::Listen, "resolved");
    story.socket(resolver, Some(SocketState::Listen), SocketState::Close, "");
    story.rounds(4, |story| {
        story.refuse(
            flow(Protocol::Tcp, "10.10.0.2", 53, "192.0.2.10", 999),
            "tcp_v4_rcv",
        );
    });
    assert_nothing(&story);
}

#[test]
fn a_udp_sender_that_expects_no_answer() {
    let mut story = Story::begin();
    let syslog = udp(514, "192.0.2.20", 514);
    story.rounds(20, |story| {
        story.ask(syslog);
        story.arrived(Protocol::Tcp, 1);
    });
    assert_nothing(&story);
    assert!(story.report().starved.is_empty());
}

#[test]
fn one_datagram_without_an_answer() {
    let mut story = Story::begin();
    let dns = udp(5000, "192.0.2.53", 53);
    story.rounds(3, |story| story.exchange(dns));
    story.rounds(1, |story| story.ask(dns)).idle(8);
    assert_nothing(&story);
}

#[test]
fn messages_to_a_group() {
    for key in [
        flow(Protocol::Icmp6, "2001:db8::2", 0, "ff02::2", 0),
        flow(Protocol::Icmp6, "2001:db8::2", 0, "2001:db8::1", 0),
        udp(5353, "224.0.0.251", 5353),
        udp(68, "255.255.255.255", 67),
    ] {
        let mut story = Story::begin();
        story.rounds(2, |story| story.exchange(key));
        story.rounds(10, |story| story.ask(key));
        assert_nothing(&story);
    }
}

#[test]
fn an_idle_connection() {
    let mut story = Story::begin();
    let key = client(40_000);
    story.socket(key, None, SocketState::Established, "curl");
    story.rounds(2, |story| story.exchange(key));
    // The last acknowledgement leaves in a round of its own.
    story.count(key, |flow| flow.sent += 1).tick().idle(60);
    assert_nothing(&story);
    assert!(story.report().starved.is_empty());
    assert_eq!(story.report().place, Where::Healthy);
}

#[test]
fn a_slow_server_that_acknowledges() {
    let mut story = Story::begin();
    let key = client(40_000);
    story.socket(key, None, SocketState::Established, "curl");
    story.exchange(key);
    story.rounds(20, |story| story.exchange(key));
    story.idle(10);
    assert_nothing(&story);
}

#[test]
fn one_lost_segment() {
    let mut story = Story::begin();
    let key = client(40_000);
    story.socket(key, None, SocketState::Established, "curl");
    story.rounds(2, |story| story.exchange(key));
    story
        .rounds(1, |story| story.ask(key))
        .rounds(4, |story| story.exchange(key));
    assert_nothing(&story);
}

#[test]
fn a_host_that_never_answered_while_others_do() {
    let mut story = Story::begin();
    let dead = flow(Protocol::Tcp, "10.10.0.2", 43_000, "203.0.113.77", 443);
    story.socket(dead, Some(SocketState::Close), SocketState::SynSent, "agent");
    story.rounds(10, |story| {
        story.ask(dead);
        story.exchange(client(40_000));
    });
    assert_eq!(story.verdict("D01").confidence, Confidence::Weak);
    assert_sound(&story);
    // Then it is started.
    for _ in 0..8 {
        story.rounds(1, |story| {
            story.exchange(dead);
            story.exchange(client(40_000));
        });
        assert_sound(&story);
    }
}

#[test]
fn clients_of_this_server_that_go_away() {
    let mut story = Story::begin();
    story.listen(8080, "server");
    let gone = served(50_000);
    story.socket(gone, None, SocketState::Established, "server");
    story.count(gone, |flow| {
        (flow.origin, flow.arrived, flow.matched, flow.sent) = (Origin::Remote, 3, 3, 3)
    });
    story.tick();
    story.rounds(10, |story| {
        story.count(gone, |flow| {
            (flow.sent, flow.retransmitted) = (flow.sent + 1, flow.retransmitted + 1)
        });
    });
    assert_nothing(&story);
}

#[test]
fn a_firewall_that_does_its_job() {
    let mut story = Story::begin();
    story.listen(22, "sshd");
    let attack = flow(Protocol::Tcp, "10.10.0.2", 22, "203.0.113.9", 4444);
    story.rounds(10, |story| {
        story.arrived(Protocol::Tcp, 1).count(attack, |flow| {
            flow.origin = Origin::Remote;
            flow.arrived += 1;
            flow.dropped += 1;
            flow.last_drop = Some(("NETFILTER_DROP".to_owned(), at("nft_do_chain")));
        });
    });
    assert_nothing(&story);
    assert!(story.report().starved.is_empty());
}

#[test]
fn an_own_pod_that_does_not_answer() {
    let mut story = Story::begin();
    let pod = flow(Protocol::Tcp, "10.244.0.1", 44_000, "10.244.0.2", 8080);
    story.count(pod, |flow| {
        (flow.origin, flow.iif, flow.arrived, flow.sent) = (Origin::Local, LXC1, 3, 3)
    });
    story.tick();
    story.rounds(8, |story| story.ask(pod));
    assert_nothing(&story);
}

#[test]
fn a_process_that_never_read() {
    let mut story = Story::begin();
    story.socket(bound(Protocol::Udp, 9999), None, SocketState::Close, "sink");
    story.rounds(20, |story| story.queue(udp(9999, "192.0.2.10", 999)));
    assert_nothing(&story);
}

#[test]
fn a_busy_reader_that_pauses() {
    // In a round, what was read is told before or after what was queued.
    for reader in ["0.0.0.0", "255.255.255.255"] {
        let mut story = Story::begin();
        let key = udp(5353, "192.0.2.10", 999);
        let socket = flow(Protocol::Udp, "10.10.0.2", 5353, reader, 0);
        story.rounds(4, |story| {
            for _ in 0..5 {
                story.queue(key);
            }
            story.reads(socket, 5);
        });
        // Nothing comes for long; then it is queued just before the round and read just after it.
        story.idle(8);
        story.rounds(4, |story| story.queue(key));
        assert_nothing(&story);
        assert_eq!(story.report().ledger.queued, 4);
    }
}

#[test]
fn a_process_that_does_not_read_where_queues_are_not_told() {
    let mut story = Story::begin();
    let key = udp(5353, "192.0.2.10", 999);
    story.socket(bound(Protocol::Udp, 5353), None, SocketState::Close, "dns");
    story.rounds(4, |story| story.arrive_and_read(key));
    story.rounds(10, |story| {
        story
            .arrived(Protocol::Udp, 1)
            .count(key, |flow| flow.arrived += 1);
    });
    assert_nothing(&story);
}

#[test]
fn a_client_port_that_strangers_ask() {
    // A resolver's own port for a while, which nobody but the server that it asked has used.
    for socket in [bound(Protocol::Udp, 40_000), udp(40_000, "192.0.2.53", 53)] {
        let mut story = Story::begin();
        story.rounds(3, |story| {
            story.exchange(udp(40_000, "192.0.2.53", 53));
            story.reads(socket, 1);
        });
        story.idle(4);
        story.rounds(4, |story| {
            story.refuse(udp(40_000, "203.0.113.9", 4444), "__udp4_lib_rcv");
        });
        assert_nothing(&story);
    }
}

#[test]
fn data_that_a_closed_socket_left_unread() {
    let mut story = Story::begin();
    let key = client(40_000);
    story.socket(key, None, SocketState::Established, "curl");
    story.rounds(4, |story| {
        story.exchange(key);
        story.add(drop("QUEUE_PURGE", "sk_stream_kill_queues", Protocol::Tcp), 1);
    });
    assert_nothing(&story);
    let ledger = story.report().ledger;
    assert_eq!((ledger.delivered, ledger.dropped, ledger.unexplained), (4, 0, 0));
}

#[test]
fn a_successful_ping_with_its_twin() {
    let mut story = Story::begin();
    story.rounds(10, |story| {
        story.exchange(ping(7, "192.0.2.10"));
        story.add(drop("NO_SOCKET", "ping_rcv", Protocol::Icmp), 1);
    });
    assert_nothing(&story);
    assert_eq!(story.report().ledger.unexplained, 0);
}

#[test]
fn a_tunnel_whose_deliveries_cannot_be_seen() {
    let mut story = Story::begin();
    let vxlan = udp(4789, "192.0.2.10", 51_000);
    story.socket(bound(Protocol::Udp, 4789), None, SocketState::Close, "");
    story.rounds(10, |story| {
        story.arrived(Protocol::Udp, 1).count(vxlan, |flow| {
            flow.origin = Origin::Remote;
            flow.arrived += 1;
        });
    });
    assert!(story.report().starved.is_empty());
    assert_nothing(&story);
}

#[test]
fn without_sight_of_arrivals_silence_says_nothing() {
    let mut story = Story::begin();
    story.capability("arrivals", CapabilityState::Unavailable);
    story.rounds(10, |story| story.ask(ping(7, "192.0.2.10")));
    assert_nothing(&story);
    assert_eq!(story.report().place, Where::Unknown);
}

/// Rules that cannot see are silent too.
#[test]
fn without_sight_of_drops_or_their_places_no_node_is_healthy() {
    for capability in ["drops", "places"] {
        let mut story = Story::begin();
        story.rounds(10, |story| story.exchange(client(40_000)));
        assert_eq!(
            (story.report().place, story.report().undecided()),
            (Where::Healthy, None)
        );
        story.capability(capability, CapabilityState::Unavailable);
        story.rounds(10, |story| story.exchange(client(40_000)));
        assert_eq!(story.report().place, Where::Unknown, "{capability}");
        assert!(story.report().undecided().unwrap().contains(capability));
        assert_nothing(&story);
    }
}

#[test]
fn nothing_at_all_is_unknown() {
    let mut story = Story::begin();
    story.idle(10);
    assert_eq!(story.report().place, Where::Unknown);
    assert!(story.report().undecided().unwrap().contains("nothing arrived in"));
    assert_nothing(&story);
}

/// A tunnel of the kernel's own takes datagrams without a word. Its peer is gone now: that is the path.
#[test]
fn a_tunnel_whose_peer_is_gone() {
    let mut story = healthy();
    let tunnel = udp(51_820, "203.0.113.7", 51_820);
    story.rounds(20, |story| {
        story.exchange(ping(7, "192.0.2.10"));
        story.arrived(Protocol::Udp, 100).count(tunnel, |flow| {
            flow.origin = Origin::Local;
            flow.iif = ETH0;
            flow.sent += 100;
            flow.arrived += 100;
        });
    });
    assert_nothing(&story);
    story.rounds(20, |story| {
        story.exchange(ping(7, "192.0.2.10"));
        story.ask(tunnel);
    });
    assert!(!story.ids().contains(&"K01".to_owned()), "{:?}", story.ids());
}

/// IPsec behind NAT: on one port some datagrams are a process's (IKE), and most the kernel's (ESP).
#[test]
fn datagrams_that_the_kernel_takes_for_itself() {
    let mut story = healthy();
    let natt = udp(4500, "203.0.113.7", 4500);
    story.socket(bound(Protocol::Udp, 4500), None, SocketState::Close, "charon");
    story.queue(natt);
    story.reads(bound(Protocol::Udp, 4500), 1);
    story.rounds(30, |story| {
        story.exchange(ping(7, "192.0.2.10"));
        story.arrived(Protocol::Udp, 50).count(natt, |flow| {
            flow.sent += 50;
            flow.arrived += 50;
        });
    });
    assert_nothing(&story);
}
