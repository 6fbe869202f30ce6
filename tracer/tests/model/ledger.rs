//! Every column of the books, and what must not be entered, or not twice.

use tracer::event::{EntryKey, Fate, Protocol};
use tracer::report::{Class, Ledger};

use crate::story::*;

/// Lines that are told, and the ledger that they make.
pub(crate) fn assert_books(lines: &[(EntryKey, u64)], expected: Ledger) {
    let mut story = Story::begin();
    for (key, packets) in lines {
        story.add(key.clone(), *packets);
    }
    story.tick();
    assert_eq!(story.report().ledger, expected, "{lines:#?}");
}

fn consumed(symbol: Option<&str>, protocol: Protocol, ethertype: u16) -> EntryKey {
    EntryKey {
        location: symbol.map(at),
        ethertype,
        ..line(Fate::Consumed, protocol)
    }
}

#[test]
fn each_fate_has_its_column() {
    let arrived = (line(Fate::Arrived, Protocol::Tcp), 10);
    let cases = [
        (
            line(Fate::Matched, Protocol::Tcp),
            Ledger {
                delivered: 4,
                ..Ledger::default()
            },
        ),
        (
            line(Fate::Read, Protocol::Udp),
            Ledger {
                delivered: 4,
                ..Ledger::default()
            },
        ),
        (
            line(Fate::Queued, Protocol::Udp),
            Ledger {
                delivered: 4,
                ..Ledger::default()
            },
        ),
        (
            line(Fate::Forwarded, Protocol::Tcp),
            Ledger {
                forwarded: 4,
                ..Ledger::default()
            },
        ),
        (
            foreign(),
            Ledger {
                dropped: 4,
                ..Ledger::default()
            },
        ),
        (
            consumed(Some("icmp_rcv"), Protocol::Icmp, 0x0800),
            Ledger {
                answered: 4,
                ..Ledger::default()
            },
        ),
        (
            consumed(Some("arp_process"), Protocol::Other(0), 0x0806),
            Ledger {
                answered: 4,
                ..Ledger::default()
            },
        ),
        (
            consumed(Some("tcp_conn_request"), Protocol::Tcp, 0x0800),
            Ledger {
                answered: 4,
                ..Ledger::default()
            },
        ),
    ];
    for (key, expected) in cases {
        assert_books(
            &[arrived.clone(), (key, 4)],
            Ledger {
                arrived: 10,
                unexplained: 6,
                ..expected
            },
        );
    }
}

#[test]
fn without_locations_the_protocol_tells_what_the_kernel_used_up() {
    for (protocol, ethertype, answered) in [
        (Protocol::Other(0), 0x0806, 4),
        (Protocol::Icmp, 0x0800, 4),
        (Protocol::Icmp6, 0x86dd, 4),
        (Protocol::Other(2), 0x0800, 4),
        (Protocol::Tcp, 0x0800, 4),
        (Protocol::Udp, 0x0800, 0),
        (Protocol::Other(0), 0x88cc, 0),
    ] {
        assert_books(
            &[
                (line(Fate::Arrived, protocol), 4),
                (consumed(None, protocol, ethertype), 4),
            ],
            Ledger {
                arrived: 4,
                answered,
                unexplained: 4 - i64::try_from(answered).unwrap(),
                ..Ledger::default()
            },
        );
    }
}

#[test]
fn taps_and_drivers_are_no_ends() {
    for symbol in [
        "packet_rcv",
        "tpacket_rcv",
        "neigh_probe",
        "napi_consume_skb",
        "unheard_of",
    ] {
        assert_books(
            &[
                (line(Fate::Arrived, Protocol::Tcp), 4),
                (consumed(Some(symbol), Protocol::Tcp, 0x0800), 4),
            ],
            Ledger {
                arrived: 4,
                unexplained: 4,
                ..Ledger::default()
            },
        );
    }
}

/// What a tc program answers TC_ACT_STOLEN to, the kernel calls consumed.
#[test]
fn what_is_taken_before_a_protocol_has_it_is_dropped_by_policy() {
    for symbol in ["__netif_receive_skb_core", "sch_handle_ingress"] {
        let mut story = Story::begin();
        story
            .arrived(Protocol::Udp, 4)
            .add(consumed(Some(symbol), Protocol::Udp, 0x0800), 4)
            .tick();
        let report = story.report();
        let expected = Ledger {
            arrived: 4,
            dropped: 4,
            ..Ledger::default()
        };
        assert_eq!(report.ledger, expected);
        let row = &report.drops[0];
        assert_eq!((row.reason.as_str(), row.class), ("stolen", Class::Policy));
        assert_eq!((row.packets, row.incoming, row.in_ledger), (4, true, true));
    }
}

/// Who asks the kernel what it would do with a packet makes it route one that nobody sent. It is freed where the answer is an
/// error. And where a device gets a queue the kernel makes a buffer, only to look at it.
#[test]
fn what_the_kernel_makes_up_is_no_packet() {
    let mut story = Story::begin();
    let made_up = |symbol, protocol| EntryKey {
        iif: 0,
        device: 0,
        incoming: false,
        ..drop("NOT_SPECIFIED", symbol, protocol)
    };
    let answer = made_up("inet_rtm_getroute", Protocol::Udp);
    let queue = made_up("netif_napi_add_weight_locked", Protocol::Other(0));
    // Of a device that has its name already.
    let later = EntryKey {
        device: 2,
        ..queue.clone()
    };
    story
        .arrived(Protocol::Tcp, 1)
        .add(answer, 3)
        .add(queue, 1)
        .add(later, 1)
        .tick();
    let report = story.report();
    assert_eq!((report.ledger.arrived, report.ledger.dropped), (1, 0));
    assert_eq!(report.drops, []);
}

/// A packet that comes in fragments is one, whatever becomes of it: its first fragment stands for it. What it was put together
/// of is freed with it.
#[test]
fn a_packet_in_fragments_is_one() {
    let piece = |key| EntryKey { piece: true, ..key };
    let mut story = Story::begin();
    let late = drop("FRAG_REASM_TIMEOUT", "ip_expire", Protocol::Udp);
    let part = drop("NOT_SPECIFIED", "skb_release_data", Protocol::Udp);
    story
        .arrived(Protocol::Udp, 5)
        .add(piece(line(Fate::Arrived, Protocol::Udp)), 9)
        .add(line(Fate::Forwarded, Protocol::Udp), 4)
        .add(piece(line(Fate::Forwarded, Protocol::Udp)), 8)
        .add(late.clone(), 1)
        .add(piece(late), 1)
        .add(part, 8)
        .tick();
    let report = story.report();
    let ledger = report.ledger;
    assert_eq!((ledger.arrived, ledger.forwarded, ledger.dropped), (5, 4, 1));
    assert_eq!(ledger.unexplained, 0);
    let rows: Vec<_> = report
        .drops
        .iter()
        .map(|row| (row.packets, row.in_ledger))
        .collect();
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(
        rows.contains(&(1, true)) && rows.contains(&(1, false)),
        "{rows:?}"
    );
    let bytes = report.bytes;
    assert!(bytes.arrived > 0 && bytes.rest == 0, "{bytes:?}");
}

/// A driver's own XDP, or the queue to another CPU, comes before `netif_receive_skb`: no packet has its `skb_iif`
/// there, as none has that this node sends.
#[test]
fn what_is_dropped_before_it_counts_as_arrived_has_arrived() {
    for (reason, symbol, class) in [
        ("NOT_SPECIFIED", "veth_xdp_rcv_skb", Class::Policy),
        ("NOT_SPECIFIED", "do_xdp_generic", Class::Policy),
        ("CPU_BACKLOG", "enqueue_to_backlog", Class::Resource),
        ("FULL_RING", "tun_get_user", Class::Resource),
    ] {
        let mut story = Story::begin();
        let early = EntryKey {
            iif: 0,
            incoming: false,
            ..drop(reason, symbol, Protocol::Tcp)
        };
        let on_its_way_out = EntryKey {
            iif: 0,
            device: 0,
            incoming: false,
            ..drop(reason, symbol, Protocol::Tcp)
        };
        let inside = EntryKey {
            device: LXC1,
            ..early.clone()
        };
        story.arrived(Protocol::Tcp, 5);
        story.add(line(Fate::Matched, Protocol::Tcp), 5);
        story.add(early, 3).add(on_its_way_out, 2).add(inside, 1).tick();
        let report = story.report();
        let expected = Ledger {
            arrived: 8,
            delivered: 5,
            dropped: 3,
            ..Ledger::default()
        };
        assert_eq!(report.ledger, expected, "{symbol}");
        let rows: Vec<_> = report
            .drops
            .iter()
            .map(|row| (row.packets, row.device.as_str(), row.incoming, row.in_ledger))
            .collect();
        let expected = [
            (3, "eth0", true, true),
            (2, "", false, false),
            (1, "lxc1", true, false),
        ];
        assert_eq!(rows, expected, "{symbol}");
        assert_eq!(report.drops[0].class, class);
    }
}

#[test]
fn only_what_came_by_an_uplink_is_in_the_ledger() {
    for fate in [
        Fate::Arrived,
        Fate::Matched,
        Fate::Read,
        Fate::Queued,
        Fate::Forwarded,
        Fate::Consumed,
        Fate::Dropped,
    ] {
        for iif in [LO, LXC1, 77] {
            let key = EntryKey {
                iif,
                ..line(fate, Protocol::Icmp)
            };
            assert_books(&[(key, 9)], Ledger::default());
        }
    }
}

#[test]
fn what_this_node_was_sending_is_not_in_the_ledger() {
    let sending = EntryKey {
        incoming: false,
        ..drop("QDISC_DROP", "__dev_queue_xmit", Protocol::Tcp)
    };
    let mut story = Story::begin();
    story.add(sending, 3).tick();
    let report = story.report();
    assert_eq!(report.ledger, Ledger::default());
    assert_eq!((report.drops[0].packets, report.drops[0].in_ledger), (3, false));
}

#[test]
fn a_delivery_without_a_device_came_by_an_uplink() {
    for (fate, protocol) in [
        (Fate::Matched, Protocol::Tcp),
        (Fate::Queued, Protocol::Udp),
        (Fate::Queued, Protocol::Icmp),
    ] {
        let delivered = EntryKey {
            iif: 0,
            ..line(fate, protocol)
        };
        assert_books(
            &[(line(Fate::Arrived, protocol), 5), (delivered, 5)],
            Ledger {
                arrived: 5,
                delivered: 5,
                ..Ledger::default()
            },
        );
    }
}

#[test]
fn what_tcp_discards_after_the_match_is_dropped_and_not_delivered() {
    let discarded = EntryKey {
        matched: true,
        ..drop("TCP_OLD_DATA", "tcp_data_queue", Protocol::Tcp)
    };
    for discarded in [
        EntryKey {
            iif: 0,
            incoming: false,
            ..discarded.clone()
        },
        discarded,
    ] {
        assert_books(
            &[
                (line(Fate::Arrived, Protocol::Tcp), 10),
                (line(Fate::Matched, Protocol::Tcp), 10),
                (discarded, 2),
            ],
            Ledger {
                arrived: 10,
                delivered: 8,
                dropped: 2,
                ..Ledger::default()
            },
        );
    }
}

/// What TCP does with an acknowledgement where one end has closed the connection.
#[test]
fn what_tcp_has_used_up_is_delivered_and_what_it_discards_is_dropped() {
    let ended = |reason: Option<&str>| EntryKey {
        reason: reason.map(str::to_owned),
        matched: true,
        ..drop("NOT_SPECIFIED", "tcp_rcv_state_process", Protocol::Tcp)
    };
    // A kernel that has no reasons may have discarded anything there.
    for (reason, dropped) in [(Some("NOT_SPECIFIED"), 0), (Some("TCP_OLD_DATA"), 3), (None, 3)] {
        assert_books(
            &[
                (line(Fate::Arrived, Protocol::Tcp), 10),
                (line(Fate::Matched, Protocol::Tcp), 10),
                (ended(reason), 3),
            ],
            Ledger {
                arrived: 10,
                delivered: 10 - dropped,
                dropped,
                ..Ledger::default()
            },
        );
    }
}

#[test]
fn what_a_closed_tcp_socket_still_held_had_reached_it() {
    let purged = drop("QUEUE_PURGE", "sk_stream_kill_queues", Protocol::Tcp);
    for (reason, matched, iif) in [("QUEUE_PURGE", false, ETH0), ("NOT_SPECIFIED", true, 0)] {
        let mut story = Story::begin();
        let purged = EntryKey {
            reason: Some(reason.to_owned()),
            matched,
            iif,
            ..purged.clone()
        };
        story
            .arrived(Protocol::Tcp, 10)
            .add(line(Fate::Matched, Protocol::Tcp), 10)
            .add(purged, 3)
            .tick();
        let report = story.report();
        assert_eq!(
            report.ledger,
            Ledger {
                arrived: 10,
                delivered: 10,
                ..Ledger::default()
            }
        );
        let row = &report.drops[0];
        assert_eq!(
            (row.packets, row.class, row.in_ledger),
            (3, Class::Protocol, false),
            "it is shown"
        );
    }
}

#[test]
fn what_was_entered_twice_shows_as_a_negative_residual() {
    assert_books(
        &[
            (line(Fate::Arrived, Protocol::Tcp), 5),
            (line(Fate::Forwarded, Protocol::Tcp), 7),
        ],
        Ledger {
            arrived: 5,
            forwarded: 7,
            unexplained: -2,
            ..Ledger::default()
        },
    );
}

#[test]
fn an_unknown_namespace_is_the_only_watched_one_where_the_device_is_its_uplink() {
    let unknown = |iif| EntryKey {
        netns: 0,
        iif,
        ..drop("TCP_CSUM", "tcp_v4_rcv", Protocol::Tcp)
    };
    let arrived = (line(Fate::Arrived, Protocol::Tcp), 5);
    assert_books(
        &[arrived.clone(), (unknown(ETH0), 5)],
        Ledger {
            arrived: 5,
            dropped: 5,
            ..Ledger::default()
        },
    );
    assert_books(
        &[arrived, (unknown(0), 5), (unknown(LXC1), 5)],
        Ledger {
            arrived: 5,
            unexplained: 5,
            ..Ledger::default()
        },
    );

    let mut story = Story::with_namespaces(&[(NETNS, "host"), (7, "pod")]);
    story.device(NETNS, ETH0, "eth0", true, vec![]);
    story.add(unknown(ETH0), 5).tick();
    let report = story.report();
    assert_eq!(report.ledger, Ledger::default());
    assert_eq!((report.drops[0].packets, report.drops[0].netns.as_str()), (5, ""));
}

#[test]
fn each_namespace_has_its_own_books() {
    let mut story = Story::with_namespaces(&[(NETNS, "host"), (7, "pod")]);
    story.device(NETNS, ETH0, "eth0", true, vec![]);
    story.device(7, ETH0, "eth0", true, vec![]);
    story
        .arrived(Protocol::Tcp, 5)
        .add(line(Fate::Matched, Protocol::Tcp), 5);
    story.add(
        EntryKey {
            netns: 7,
            ..line(Fate::Arrived, Protocol::Tcp)
        },
        3,
    );
    story.tick();
    let host = Ledger {
        arrived: 5,
        delivered: 5,
        ..Ledger::default()
    };
    let pod = Ledger {
        arrived: 3,
        unexplained: 3,
        ..Ledger::default()
    };
    assert_eq!(story.model().ledgers(), [(7, pod), (NETNS, host)]);
    assert_eq!(
        story.report().ledger,
        Ledger {
            arrived: 8,
            delivered: 5,
            unexplained: 3,
            ..Ledger::default()
        }
    );
}

/// What waited in a queue before the start, and ends with its socket, never arrived as far as the books go.
#[test]
fn a_queue_from_before_the_start_that_is_thrown_away() {
    let mut story = Story::begin();
    let purge = drop("NOT_SPECIFIED", "udp_destruct_common", Protocol::Udp);
    story.queue(udp(8125, "192.0.2.10", 999));
    story.add(purge, 4);
    story.tick();
    let report = story.report();
    let ledger = report.ledger;
    assert_eq!(
        (ledger.arrived, ledger.dropped, ledger.unexplained),
        (1, 1, 0),
        "{ledger:?}"
    );
    let rows: Vec<_> = report
        .drops
        .iter()
        .map(|row| (row.packets, row.in_ledger))
        .collect();
    assert_eq!(rows, [(3, false), (1, true)]);
}
