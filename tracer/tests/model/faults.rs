//! Every rule finds its fault, in time, with its evidence, and lets go when it is over.

use tracer::event::{Body, Device, EntryKey, FlowKey, Protocol, Seen, SocketState, Thing};
use tracer::report::{Confidence, Fact, Where};

use crate::pairing::set;
use crate::story::*;

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
        (9, Some(4), 5)
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

/// Who has a pod chooses what its processes and devices are called.
#[test]
fn no_name_that_others_choose_is_a_command() {
    for (name, entered) in [
        ("pid:42 x;reboot", "nsenter --net=/proc/42/ns/net"),
        ("pid:42 ", "nsenter --net=/proc/42/ns/net"),
        ("/run/netns/a b", "nsenter --net='/run/netns/a b'"),
        ("$(reboot)", "ip netns exec '$(reboot)'"),
    ] {
        let mut story = Story::with_namespaces(&[(NETNS, name)]);
        story.device(NETNS, ETH0, "a;reboot", true, vec![ip("10.10.0.2")]);
        story.rounds(3, lose);
        let verdict = story.verdict("R01");
        assert_eq!(verdict.check[0], format!("{entered} ip rule"));
        let device = verdict.check.iter().find(|line| line.contains(" iif "));
        assert!(device.unwrap().ends_with(" iif 'a;reboot'"), "{device:?}");
        assert!(
            verdict.remedy[0].starts_with(&format!("{entered} ip rule add pref 0 lookup local  # ")),
            "{}",
            verdict.remedy[0]
        );
    }
}

#[test]
fn own_address_treated_as_foreign_is_strong_alone() {
    for (reason, symbol) in [
        ("IP_INADDRERRORS", "ip_error"),
        // No other route leads there.
        ("IP_INNOROUTES", "ip_error"),
        ("IP_INNOROUTES", "ip6_pkt_discard"),
        ("NEIGH_FAILED", "neigh_invalidate"),
        // IPv6 gives no reason there, and the socket is found for TCP and UDP only.
        ("NOT_SPECIFIED", "neigh_invalidate"),
        ("NOT_SPECIFIED", "ip6_forward"),
        ("NOT_SPECIFIED", "ip_forward"),
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
fn drops_at_one_place_are_one_line_of_evidence() {
    let mut story = healthy();
    let with = |socket_found, protocol| EntryKey {
        socket_found,
        protocol,
        ..drop("IP_RPFILTER", "ip_rcv_finish_core", protocol)
    };
    story.rounds(4, |story| {
        story.ask_and_lose(client(40_000), with(true, Protocol::Tcp));
        story.ask_and_lose(client(40_001), with(false, Protocol::Tcp));
        story.ask_and_lose(ping(7, "192.0.2.10"), with(false, Protocol::Icmp));
    });
    let told: Vec<String> = story
        .verdict("R03")
        .evidence
        .into_iter()
        .filter(|seen| matches!(seen.fact, Fact::Drop { .. }))
        .map(|seen| seen.text)
        .collect();
    assert_eq!(
        told,
        [
            "12 packets: IP_RPFILTER at ip_rcv_finish_core+0x1c4, arrived on eth0, icmp and tcp, socket found \
             for 4, since the start"
        ]
    );

    let mut story = healthy();
    story.rounds(4, |story| {
        for (protocol, key) in [
            (Protocol::Icmp, ping(7, "192.0.2.10")),
            (Protocol::Tcp, client(40_000)),
        ] {
            let lost = drop("NEIGH_FAILED", "neigh_invalidate", protocol);
            story.ask_and_lose(key, lost.clone());
            story.example(lost, key, None, "");
        }
    });
    let told = story.verdict("R01").evidence;
    let told: Vec<&str> = told
        .iter()
        .filter(|seen| matches!(seen.fact, Fact::Drop { .. }))
        .map(|seen| seen.text.as_str())
        .collect();
    assert_eq!(
        told,
        [
            "NEIGH_FAILED at neigh_invalidate: at least 8 packets for 10.10.0.2, which is an address of this node"
        ]
    );
}

#[test]
fn who_is_affected_is_told_in_few_words() {
    let mut story = healthy();
    for (port, who) in [(41_000, "agent"), (41_001, "agent"), (41_002, "db")] {
        story.socket(client(port), None, SocketState::Established, who);
    }
    let mut ports = vec![41_000, 41_001, 41_002];
    ports.extend(50_000..50_005);
    story.rounds(4, |story| {
        for port in &ports {
            story.ask_and_lose(client(*port), foreign());
        }
        lose(story);
    });
    let verdict = story.verdict("R01");
    assert!(
        verdict.explanation.contains(
            "Affected: 2 flows of agent[123] (agent.service), first tcp 10.10.0.2:41000 → 192.0.2.10:80; 1 flow of \
             curl[123] (curl.service), tcp 10.10.0.2:40000 → 192.0.2.10:80; and 6 others."
        ),
        "{}",
        verdict.explanation
    );
    assert_eq!(verdict.units, ["agent.service", "curl.service", "db.service"]);
}

/// What it says the filter wants depends on its mode: the greater of both parameters.
#[test]
fn a_reverse_path_filter_is_told_by_its_mode() {
    for (all, own, says) in [
        (Some("1"), Some("0"), "The filter is strict:"),
        (Some("1"), Some("2"), "The filter is loose:"),
        (None, Some("2"), "The filter is loose:"),
        (Some("1"), None, "A strict filter wants"),
    ] {
        let mut story = healthy();
        for (of, value) in [("all", all), ("eth0", own)] {
            let name = format!("net.ipv4.conf.{of}.rp_filter");
            if value.is_some() {
                set(&mut story, Thing::Sysctl { name }, value, Seen::Found, None);
            }
        }
        let lost = drop("IP_RPFILTER", "ip_rcv_finish_core", Protocol::Tcp);
        story.rounds(4, |story| story.ask_and_lose(client(40_000), lost.clone()));
        let text = story.verdict("R03").explanation;
        assert!(text.contains(says), "{all:?} {own:?}: {text}");
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
fn a_fault_that_is_mended_is_told_for_a_while_and_then_forgotten() {
    for break_it in [lose as fn(&mut Story), |story| {
        let lost = drop("IP_RPFILTER", "ip_rcv_finish_core", Protocol::Tcp);
        story.ask_and_lose(client(40_000), lost);
    }] {
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
    assert_eq!(story.ids(), ["R01", "R12", "D01"]);
    // The port is another fault; that nothing comes back may follow from the lost state.
    assert_eq!(story.verdict("D01").under.as_deref(), Some("R01"));
    assert_eq!(story.verdict("R12").under, None);
    assert_eq!(story.report().place, Where::GuestKernel);
}

/// The reply's way is barred by a firewall.
#[test]
fn replies_that_a_firewall_drops() {
    let barred = drop("NETFILTER_DROP", "nft_do_chain", Protocol::Tcp);
    let mut story = healthy();
    story.rounds(5, |story| {
        story.exchange(ping(7, "192.0.2.10"));
        story.ask_and_lose(client(40_000), barred.clone());
    });
    let report = story.report();
    assert_eq!((report.place, report.failure_found()), (Where::GuestKernel, true));
    assert_eq!(story.ids(), ["R06"]);
    let verdict = story.verdict("R06");
    assert_eq!(verdict.confidence, Confidence::Conclusive);
    for part in [
        "5 packets arrived for sockets of this node",
        "5 were dropped for NETFILTER_DROP at nft_do_chain+0x1c4",
        "curl[123] (curl.service)",
    ] {
        assert!(
            verdict.explanation.contains(part),
            "{part}: {}",
            verdict.explanation
        );
    }
    assert_eq!(verdict.check[0], "nft -a list ruleset");
    assert_eq!(verdict.units, ["curl.service"]);

    // The rule is gone, and the flow is fed again: told while it is fresh, with its end.
    story.rounds(10, |story| story.exchange(client(40_000)));
    let over = story.verdict("R06");
    assert_eq!((&over.since, &over.last), (&verdict.since, &verdict.last));
    story.rounds(12, |story| story.exchange(client(40_000)));
    assert_eq!(story.ids(), Vec::<String>::new());
}

/// What a tc program steals leaves no trace but the counts.
#[test]
fn replies_that_vanish_without_a_drop() {
    let mut story = healthy();
    let vanish = |story: &mut Story| {
        story.ask(client(40_000));
        story
            .arrived(Protocol::Tcp, 1)
            .count(client(40_000), |flow| flow.arrived += 1);
    };
    story.rounds(6, vanish);
    assert_eq!(story.ids(), Vec::<String>::new(), "they may be on their way");
    story.rounds(8, vanish);
    let verdict = story.verdict("K01");
    assert!(
        verdict.explanation.contains("vanished without a drop"),
        "{}",
        verdict.explanation
    );
    assert_eq!(story.report().place, Where::GuestKernel);
}

/// The members of a bond are the uplinks; what has arrived by them ends as the bond's.
#[test]
fn the_incident_behind_a_bond_and_a_vlan() {
    const BOND0: u32 = 12;
    const VLAN: u32 = 13;
    let mut story = Story::begin();
    for (index, name, over) in [(BOND0, "bond0", ETH0), (VLAN, "bond0.7", BOND0)] {
        story.say(Body::Device(Device {
            netns: NETNS,
            index,
            name: name.to_owned(),
            uplink: false,
            addresses: if index == VLAN {
                vec![ip("10.10.0.9")]
            } else {
                Vec::new()
            },
            over: vec![over],
            assumed: false,
            peer: None,
        }));
    }
    let key = FlowKey {
        local: ip("10.10.0.9"),
        ..client(40_000)
    };
    story.socket(key, None, SocketState::Established, "curl");
    let lost = EntryKey {
        iif: VLAN,
        device: VLAN,
        ..foreign()
    };
    story.rounds(5, |story| story.ask_and_lose(key, lost.clone()));
    let report = story.report();
    assert_eq!(story.ids(), ["R01"]);
    assert_eq!(
        (
            report.ledger.arrived,
            report.ledger.dropped,
            report.ledger.unexplained
        ),
        (5, 5, 0)
    );
    assert_eq!(
        story.verdict("R01").check[1],
        "ip route get 10.10.0.9 from 192.0.2.10 iif bond0.7"
    );
}

/// What is over is said to be, from when to when, and by one rule to its end.
#[test]
fn an_incident_that_is_over_keeps_its_beginning() {
    let mut story = healthy();
    let support = drop("NEIGH_FAILED", "neigh_invalidate", Protocol::Icmp);
    story.rounds(4, lose);
    let verdict = story.verdict("R01");
    // What waited for a neighbour ends seconds later.
    for _ in 0..6 {
        story
            .idle(1)
            .example(support.clone(), ping(7, "192.0.2.10"), None, "");
    }
    story.tick();
    let later = story.verdict("R01");
    assert_eq!(later.since, verdict.since);
    assert!(later.last > verdict.last, "{} {}", later.last, verdict.last);
    story.idle(19);
    let last = story.verdict("R01");
    assert_eq!(
        (last.since, last.confidence),
        (verdict.since, Confidence::Conclusive)
    );
    assert_eq!(last.last, later.last);
    story.idle(2);
    assert_eq!(story.ids(), Vec::<String>::new());
}

/// Counts are told twice a second; what they count is shown to the moment.
#[test]
fn a_fault_begins_with_the_first_packet_that_is_shown_and_not_with_the_count_that_has_it() {
    let lost = drop("IP_RPFILTER", "ip_rcv_finish_core", Protocol::Tcp);
    let lose = |story: &mut Story, shown: bool| {
        story.rounds(6, |story| {
            if shown {
                story.example(
                    lost.clone(),
                    client(40_000),
                    Some(SocketState::Established),
                    "curl",
                );
            }
            story.ask_and_lose(client(40_000), lost.clone());
        });
    };
    let mut story = healthy();
    let begun = story.report().window.end;
    lose(&mut story, true);
    assert_eq!(story.verdict("R03").since, begun);
    // What was shown of it says nothing of what is lost later and not shown.
    story.rounds(40, |story| story.exchange(client(40_000)));
    assert!(story.ids().is_empty(), "{:?}", story.ids());
    let before = story.report().window.end;
    lose(&mut story, false);
    assert!(story.verdict("R03").since > before);
}
