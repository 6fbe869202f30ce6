//! What a firewall of this node keeps from leaving.

use tracer::event::{
    Body, Chain, Chains, EntryKey, Family, FlowKey, Origin, Point, Protocol, Seen, SocketState, Thing,
};
use tracer::report::{Confidence, Relation, Where};

use crate::lookalikes::assert_nothing;
use crate::pairing::set;
use crate::story::*;

/// A packet of this node that its firewall drops, every other round.
fn is_kept_in(story: &mut Story, key: FlowKey, socket: SocketState) {
    let kept = EntryKey {
        iif: 0,
        incoming: false,
        ..drop("NETFILTER_DROP", "nft_do_chain", Protocol::Tcp)
    };
    story.add(kept.clone(), 1);
    story.example(kept, key, Some(socket), "curl");
}

#[test]
fn open_connections_whose_packets_a_firewall_keeps_from_leaving_are_a_fault() {
    let mut story = healthy();
    story.exchange(client(40_001));
    story.tick();
    let rules = Thing::Ruleset {
        firewall: "nf_tables".to_owned(),
    };
    set(&mut story, rules, Some("generation 2"), Seen::Told, None);
    story.rounds(6, |story| {
        is_kept_in(story, client(40_001), SocketState::Established)
    });
    let verdict = story.verdict("K02");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert_eq!(verdict.cause.relation, Relation::Explains);
    assert_eq!(story.report().place, Where::GuestKernel);
    assert_eq!(verdict.flows_total, 1);
}

/// What is sent by a process of a unit with `IPAddressDeny=`. That it is asked about what arrives is none of its two programs' doing.
#[test]
fn open_connections_of_which_a_program_of_the_cgroup_lets_nothing_leave_are_a_fault() {
    let mut story = healthy();
    let key = client(40_001);
    story.socket(key, None, SocketState::Established, "curl");
    story.exchange(key);
    story.tick();
    for (hook, program) in [("cgroup_inet_egress", 7), ("cgroup_inet_ingress", 8)] {
        let thing = Thing::CgroupPrograms {
            cgroup: "/system.slice/curl.service".to_owned(),
            hook: hook.to_owned(),
        };
        let value = format!("program {program} (sd_fw tag 02 loaded by uid 0)");
        set(&mut story, thing, Some(&value), Seen::Noticed, None);
    }
    story.rounds(6, |story| {
        let refused = EntryKey {
            iif: 0,
            incoming: false,
            ..drop("BPF_CGROUP_EGRESS", "ip_finish_output", Protocol::Tcp)
        };
        story.add(refused.clone(), 1);
        story.example(refused, key, Some(SocketState::Established), "curl");
    });
    assert_eq!(story.ids(), ["R16"]);
    assert_eq!(story.report().place, Where::GuestKernel);
    let verdict = story.verdict("R16");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert_eq!(
        verdict.explanation,
        "Since 06:00:02 UTC nothing leaves of 1 flow on which packets came and went before: a BPF program of the senders' cgroup, or \
         of one above that, drops it. Of what this node was sending such programs have dropped 6 packets since the start of \
         tracer, at least 6 of them of this flow. The cgroup is /system.slice/curl.service. Affected: 1 flow of curl[123] \
         (curl.service), tcp 10.10.0.2:40001 → 192.0.2.10:80."
    );
    assert!(
        verdict.check[0].ends_with("IPEgressFilterPath curl.service"),
        "{:?}",
        verdict.check
    );
    assert_eq!(verdict.cause.relation, Relation::Explains);
    assert!(
        verdict.cause.text.contains("cgroup_inet_egress"),
        "{}",
        verdict.cause.text
    );
    let remedy = verdict.remedy.join("\n");
    assert!(remedy.contains("cgroup_inet_egress id 7"), "{remedy}");
    assert!(remedy.contains("IPAddressDeny=  # "), "{remedy}");
}

/// What is let through by deleting a table goes the way that its chains were at.
#[test]
fn the_risk_of_deleting_a_table_is_told_by_its_hooks() {
    let chain = |hook, table: &str| Chain {
        family: Family::Inet,
        hook,
        priority: 0,
        table: table.to_owned(),
        name: hook.to_string(),
    };
    for (hooks, says) in [
        (vec![Point::Output], "hold back goes out;"),
        (
            vec![Point::Input, Point::Output],
            "hold back comes in or goes out;",
        ),
        (vec![], "hold back comes in or goes out;"),
    ] {
        let mut story = healthy();
        story.exchange(client(40_001));
        story.tick();
        let rules = Thing::Ruleset {
            firewall: "nf_tables".to_owned(),
        };
        let did = "generation 2, tables: inet broken; table inet broken new; table inet broken, chain c with policy drop new";
        set(&mut story, rules, Some(did), Seen::Told, None);
        let own = hooks.iter().map(|hook| chain(*hook, "broken"));
        // Of another table.
        let chains = own.chain([chain(Point::Forward, "other")]).collect();
        story.say(Body::Chains(Chains { netns: NETNS, chains }));
        story.rounds(6, |story| {
            is_kept_in(story, client(40_001), SocketState::Established)
        });
        let remedy = story.verdict("K02").remedy;
        assert!(
            remedy[0].starts_with("nft delete table inet broken  # ") && remedy[0].contains(says),
            "{hooks:?}: {remedy:?}"
        );
    }
}

/// All that a firewall dropped is told as that, and what of it belongs to the flows as at least so much; each version of IP in
/// a line of its own.
#[test]
fn what_a_firewall_keeps_from_leaving_is_told_as_what_was_counted() {
    let server = served(50_000);
    let mut story = healthy();
    story.socket(server, None, SocketState::Established, "web");
    story.exchange(server);
    story.tick();
    let kept = |ethertype| EntryKey {
        iif: 0,
        incoming: false,
        ethertype,
        ..drop("NETFILTER_DROP", "nft_do_chain", Protocol::Tcp)
    };
    story.rounds(6, |story| {
        story.add(kept(0x0800), 10);
        story.add(kept(0x86dd), 20);
        story.example(kept(0x0800), server, Some(SocketState::Established), "web");
    });
    let verdict = story.verdict("K02");
    assert_eq!(
        verdict.explanation,
        "Since 06:00:02 UTC nothing leaves of 1 flow on which packets came and went before: this node's own firewall drops it. Of \
         what this node was sending it has dropped 180 packets since the start of tracer, at least 6 of them of this flow. \
         Affected: 1 flow of web[123] (web.service), tcp 10.10.0.2:8080 → 192.0.2.10:50000."
    );
    let told: Vec<&str> = verdict.evidence.iter().map(|one| one.text.as_str()).collect();
    assert_eq!(
        told,
        [
            "NETFILTER_DROP at nft_do_chain+0x1c4: 60 packets of tcp over IPv4 that this node was sending, since the start",
            "NETFILTER_DROP at nft_do_chain+0x1c4: 120 packets of tcp over IPv6 that this node was sending, since the start"
        ]
    );
}

/// It was open when the tracer was started, and nothing of it has come or left since.
#[test]
fn a_connection_that_was_cut_off_before_the_start_had_worked() {
    for (protocol, told) in [(Protocol::Tcp, true), (Protocol::Udp, false)] {
        let mut story = healthy();
        let key = FlowKey {
            protocol,
            ..client(40_003)
        };
        story.socket(key, None, SocketState::Established, "curl");
        story.rounds(6, |story| is_kept_in(story, key, SocketState::Established));
        let expected: &[&str] = if told { &["K02"] } else { &[] };
        assert_eq!(story.ids(), expected, "{protocol}");
    }
}

/// What a firewall forbids to leave never got through.
#[test]
fn what_a_firewall_forbids_is_none() {
    let never = flow(Protocol::Tcp, "10.10.0.2", 40_002, "198.51.100.9", 443);
    let mut story = healthy();
    story.rounds(8, |story| is_kept_in(story, never, SocketState::SynSent));
    assert!(story.ids().is_empty(), "{:?}", story.ids());
}

/// Where there were answers before, connections could be opened; where some can, a part is dropped.
#[test]
fn new_connections_to_who_answered_before_are_missed() {
    let kept_in = |opens_others: bool| {
        let mut story = healthy();
        story.exchange(client(40_000));
        story.rounds(4, |story| is_kept_in(story, client(40_002), SocketState::SynSent));
        if opens_others {
            let other = client(40_009);
            story.socket(
                other,
                Some(SocketState::SynSent),
                SocketState::Established,
                "curl",
            );
            story.exchange(other);
        }
        story.rounds(4, |story| is_kept_in(story, client(40_002), SocketState::SynSent));
        story
    };
    let story = kept_in(false);
    assert_eq!(story.ids(), ["K02"]);
    assert_eq!(story.report().place, Where::GuestKernel);
    assert!(
        story
            .verdict("K02")
            .explanation
            .contains("no connection to 192.0.2.10 port 80"),
        "{}",
        story.verdict("K02").explanation
    );
    assert!(kept_in(true).ids().is_empty(), "{:?}", kept_in(true).ids());
}

/// Each attempt is a flow of its own, and the first ones are long over: that none can be opened is as old as the first of them.
#[test]
fn that_none_can_be_opened_is_as_old_as_the_first_attempt() {
    let mut story = healthy();
    story.exchange(client(40_000));
    story.tick();
    let mut ports = 40_002..;
    let mut attempt = |story: &mut Story| {
        let key = client(ports.next().unwrap());
        is_kept_in(story, key, SocketState::SynSent);
        story.socket(key, Some(SocketState::SynSent), SocketState::Close, "curl");
    };
    story.rounds(8, &mut attempt);
    let since = story.verdict("K02").since;
    story.rounds(80, &mut attempt);
    let verdict = story.verdict("K02");
    assert_eq!(verdict.since, since);
    for part in [
        "Since 06:00:02 UTC no connection to 192.0.2.10 port 80 can be opened",
        "at least 88 packets that were to open one",
    ] {
        assert!(
            verdict.explanation.contains(part),
            "{part}: {}",
            verdict.explanation
        );
    }
}

/// What is closed after the first of them was dropped was opened before.
#[test]
fn a_connection_that_stood_and_is_closed_does_not_show_that_some_can_be_opened() {
    let mut story = healthy();
    let before = client(40_000);
    story.socket(
        before,
        Some(SocketState::SynSent),
        SocketState::Established,
        "curl",
    );
    story.exchange(before);
    story.tick();
    story.rounds(2, |story| is_kept_in(story, client(40_002), SocketState::SynSent));
    story.exchange(before);
    story.socket(
        before,
        Some(SocketState::Established),
        SocketState::FinWait1,
        "curl",
    );
    story.rounds(6, |story| is_kept_in(story, client(40_002), SocketState::SynSent));
    assert_eq!(story.ids(), ["K02"]);
}

/// Of a connection whose opening was not told its state tells that it was opened since.
#[test]
fn a_connection_that_stands_since_shows_that_some_can_be_opened() {
    let mut story = healthy();
    story.exchange(client(40_000));
    story.rounds(4, |story| is_kept_in(story, client(40_002), SocketState::SynSent));
    story.socket(client(40_009), None, SocketState::Established, "curl");
    story.exchange(client(40_009));
    story.rounds(4, |story| is_kept_in(story, client(40_002), SocketState::SynSent));
    assert!(story.ids().is_empty(), "{:?}", story.ids());
}

/// A firewall that refuses connections answers them in the peer's name, by loopback. Their sockets count that, and nothing arrived.
#[test]
fn who_is_refused_by_a_firewall_of_this_node_has_heard_nobody() {
    let mut story = healthy();
    story.exchange(client(40_000));
    for port in 41_000..41_008 {
        let key = client(port);
        is_kept_in(&mut story, key, SocketState::SynSent);
        story.count(key, |flow| flow.origin = Origin::Unknown);
        story.socket(key, Some(SocketState::SynSent), SocketState::Close, "curl");
        story.tick();
    }
    assert_eq!(story.ids(), ["K02"]);
    let ledger = story.report().ledger;
    assert_eq!((ledger.delivered, ledger.unexplained), (ledger.arrived, 0));
}

/// In each half second one packet of a connection is dropped by the firewall, and so many leave and are answered; for so many
/// rounds.
fn partly_kept_in(key: FlowKey, answered: u32, rounds: u32) -> Story {
    let mut story = healthy();
    story.exchange(key);
    story.rounds(rounds, |story| {
        is_kept_in(story, key, SocketState::Established);
        for _ in 0..answered {
            story.exchange(key);
        }
    });
    story
}

#[test]
fn a_part_of_what_connections_send_that_a_firewall_drops_is_a_fault() {
    let story = partly_kept_in(client(40_003), 7, 8);
    let verdict = story.verdict("K07");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert_eq!(story.report().place, Where::GuestKernel);
    assert_eq!(
        verdict.explanation,
        "Of what this node sent from 06:00:02 UTC to 06:00:05 UTC on 1 flow on which packets come and go, its own firewall dropped \
         at least 8 packets, and about 57 left. What is sent once more leaves later. Affected: 1 flow of curl[123] (curl.service), tcp \
         10.10.0.2:40003 → 192.0.2.10:80."
    );
}

/// Of very many packets that a firewall drops, examples show a few.
#[test]
fn what_examples_do_not_show_belongs_to_the_flows_that_they_show() {
    let key = client(40_003);
    let kept = EntryKey {
        iif: 0,
        incoming: false,
        ..drop("NETFILTER_DROP", "nft_do_chain", Protocol::Tcp)
    };
    let told = |beyond: u64| {
        let mut story = healthy();
        story.exchange(key);
        story.rounds(8, |story| {
            is_kept_in(story, key, SocketState::Established);
            story.add(kept.clone(), beyond);
            for _ in 0..200 {
                story.exchange(key);
            }
        });
        story
    };
    let verdict = told(49).verdict("K07");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert!(
        verdict
            .explanation
            .contains("its own firewall dropped about 400 packets, and about 1,601 left"),
        "{}",
        verdict.explanation
    );
    assert_nothing(&told(0));
}

/// A packet of another connection that was dropped as well says nothing of those of which nothing leaves.
#[test]
fn one_packet_of_another_flow_hides_nothing() {
    let mut story = healthy();
    let flows = [client(40_001), client(40_002)];
    flows.into_iter().for_each(|key| story.exchange(key));
    story.tick();
    is_kept_in(&mut story, flows[1], SocketState::Established);
    story.rounds(6, |story| is_kept_in(story, flows[0], SocketState::Established));
    assert_eq!(story.ids(), ["K02"]);
    assert_eq!(story.verdict("K02").flows_total, 1);
}

/// Each of many connections loses one packet of its hundreds.
#[test]
fn few_packets_of_many_flows_are_none() {
    let mut story = healthy();
    for port in 40_000..40_012 {
        for _ in 0..50 {
            story.exchange(client(port));
        }
        is_kept_in(&mut story, client(port), SocketState::Established);
        story.tick();
    }
    assert_nothing(&story);
}

/// First a part leaves, then nothing.
#[test]
fn what_becomes_worse_is_told_as_that() {
    let mut story = partly_kept_in(client(40_003), 7, 8);
    assert_eq!(story.ids(), ["K07"]);
    story.rounds(6, |story| {
        is_kept_in(story, client(40_003), SocketState::Established)
    });
    assert_eq!(story.ids(), ["K02"]);
}

/// One in a hundred is a sign, and fewer are none; nor is what lasts a moment only.
#[test]
fn few_packets_that_a_firewall_keeps_from_leaving_are_a_sign_or_none() {
    let story = partly_kept_in(client(40_003), 40, 8);
    assert_eq!(story.verdict("K07").confidence, Confidence::Weak);
    assert_nothing(&partly_kept_in(client(40_003), 150, 8));
    assert_nothing(&partly_kept_in(client(40_003), 7, 3));
}

/// Nothing else left either.
#[test]
fn where_nothing_at_all_that_this_node_asks_leaves_is_a_sign() {
    let mut story = Story::begin();
    story.rounds(8, |story| is_kept_in(story, client(40_002), SocketState::SynSent));
    assert_eq!(story.ids(), ["K02"]);
    assert_eq!(story.verdict("K02").confidence, Confidence::Weak);
}
