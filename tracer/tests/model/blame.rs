//! Which change of a firewall's rules is named as the cause of what it drops: one where the drops were seen, by a rule that is for
//! such packets.

use tracer::event::{
    Body, Chain, Chains, EntryKey, Example, Family, FlowKey, Location, Point, Protocol, Seen, SocketState,
    Thing,
};
use tracer::report::{Relation, Verdict};

use crate::pairing::set;
use crate::story::*;

fn change(story: &mut Story, generation: u32, did: &str) {
    let rules = Thing::Ruleset {
        firewall: "nf_tables".to_owned(),
    };
    let value = format!("generation {generation}, tables: inet f, inet k; {did}");
    set(story, rules, Some(&value), Seen::Told, None);
}

/// Base chains of the family inet: hook, table and name.
fn chains(story: &mut Story, all: &[(Point, &str, &str)]) {
    let chain = |(hook, table, name): &(Point, &str, &str)| Chain {
        family: Family::Inet,
        hook: *hook,
        priority: 0,
        table: (*table).to_owned(),
        name: (*name).to_owned(),
    };
    let chains = all.iter().map(chain).collect();
    story.say(Body::Chains(Chains { netns: NETNS, chains }));
}

/// An example of this line, dropped by a chain of the family inet at the hook that this function asks.
fn seen_at(story: &mut Story, entry: &EntryKey, flow: FlowKey, caller: &str) {
    let stack: Vec<Location> = ["nft_do_chain", "nft_do_chain_inet", "nf_hook_slow", caller]
        .map(at)
        .into();
    story.say(Body::Example(Box::new(Example {
        entry: entry.clone(),
        flow: Some(flow),
        packets: 1,
        length: 100,
        socket: Some((flow, SocketState::Established)),
        owner: None,
        stack,
        bytes: Vec::new(),
    })));
}

const HARMLESS: &str = "table inet k, chain i: rule handle 2 (tcp dport 9999 drop) new";
const REAL: &str = "table inet f, chain input: rule handle 2 (ipv4 ip saddr 192.0.2.0/24 drop) new";

/// Replies are dropped after these changes, 2 s one after another; at the hook input, where that is told.
fn replies_dropped_after(changes: &[&str], all: &[(Point, &str, &str)], is_told: bool) -> Verdict {
    let mut story = healthy();
    chains(&mut story, all);
    for (number, did) in (2..).zip(changes) {
        story.idle(4);
        change(&mut story, number, did);
    }
    let lost = drop("NETFILTER_DROP", "nft_do_chain", Protocol::Tcp);
    story.rounds(6, |story| {
        for port in [40_000, 40_001] {
            story.ask_and_lose(client(port), lost.clone());
            if is_told {
                seen_at(story, &lost, client(port), "ip_local_deliver");
            }
        }
    });
    story.verdict("R06")
}

const INPUTS: [(Point, &str, &str); 2] = [(Point::Input, "k", "i"), (Point::Input, "f", "input")];

#[test]
fn a_rule_that_is_for_other_packets_is_not_to_blame() {
    for is_told in [false, true] {
        let verdict = replies_dropped_after(&[HARMLESS, REAL], &INPUTS, is_told);
        assert!(
            verdict.cause.text.contains("ip saddr 192.0.2.0/24 drop"),
            "{}",
            verdict.cause.text
        );
        assert_eq!(verdict.remedy.len(), 1, "{:#?}", verdict.remedy);
        assert!(
            verdict.remedy[0].starts_with("nft delete rule inet f input handle 2"),
            "{:#?}",
            verdict.remedy
        );
        assert!(
            verdict
                .coincides
                .iter()
                .any(|one| one.text.contains("dport 9999")),
            "{:#?}",
            verdict.coincides
        );
    }
    let alone = replies_dropped_after(&[HARMLESS], &INPUTS, false);
    assert_eq!(alone.cause.relation, Relation::Unknown, "{}", alone.cause.text);
}

/// Of two that can do it, the later one did: that the other is none that somebody is shut out by proves nothing here.
#[test]
fn of_two_rules_the_later_one_is_to_blame() {
    let jump = "table inet f, chain input: rule handle 1 (jump other) new";
    let verdict = replies_dropped_after(&[jump, REAL], &INPUTS, true);
    assert!(
        verdict.cause.text.contains("ip saddr 192.0.2.0/24 drop"),
        "{}",
        verdict.cause.text
    );
}

/// What one change did at once is told as that, and counts by its parts.
#[test]
fn parts_of_a_change_are_held_against_the_drops_one_by_one() {
    let elsewhere = "table inet k, chain i: rule handle 3 (drop) new";
    for (did, relation) in [
        (format!("{HARMLESS}; {REAL}"), Relation::Explains),
        (format!("{HARMLESS}; {elsewhere}"), Relation::Unknown),
    ] {
        let told = [(Point::Forward, "k", "i"), (Point::Input, "f", "input")];
        let verdict = replies_dropped_after(&[&did], &told, true);
        assert_eq!(verdict.cause.relation, relation, "{did}");
    }
}

/// The same rule, in a chain that is asked elsewhere, or in another table than the only one that was.
#[test]
fn a_change_elsewhere_than_the_drops_is_not_to_blame() {
    const ALL: &str = "table inet k, chain i: rule handle 2 (drop) new";
    for (all, is_told, relation) in [
        (&INPUTS[..], true, Relation::Explains),
        (&INPUTS[1..], true, Relation::Unknown),
        // It is no base chain: some other one of its table may call it.
        (
            &[(Point::Input, "k", "other"), (Point::Input, "f", "input")][..],
            true,
            Relation::Explains,
        ),
        (
            &[(Point::Forward, "k", "i"), (Point::Input, "f", "input")][..],
            true,
            Relation::Unknown,
        ),
        (
            &[(Point::Forward, "k", "i"), (Point::Input, "k", "other")][..],
            true,
            Relation::Unknown,
        ),
        // Where the drops were is not known.
        (
            &[(Point::Forward, "k", "i"), (Point::Input, "f", "input")][..],
            false,
            Relation::Explains,
        ),
        // Nor which chains there are.
        (&[], true, Relation::Explains),
    ] {
        let verdict = replies_dropped_after(&[ALL], all, is_told);
        assert_eq!(verdict.cause.relation, relation, "{all:?} {is_told}");
    }
}

/// What is sent is held against the same rules the other way round.
#[test]
fn a_rule_for_what_arrives_does_not_explain_what_does_not_leave() {
    let kept = EntryKey {
        iif: 0,
        incoming: false,
        ..drop("NETFILTER_DROP", "nft_do_chain", Protocol::Tcp)
    };
    for (words, relation) in [
        ("tcp dport 80 drop", Relation::Explains),
        ("tcp sport 80 drop", Relation::Unknown),
        ("ip daddr 192.0.2.10 drop", Relation::Explains),
        ("udp drop", Relation::Unknown),
    ] {
        let mut story = healthy();
        story.exchange(client(40_001));
        story.tick();
        let did = format!("table inet f, chain out: rule handle 2 ({words}) new");
        change(&mut story, 2, &did);
        story.rounds(6, |story| {
            story.add(kept.clone(), 1);
            seen_at(story, &kept, client(40_001), "__ip_local_out");
        });
        assert_eq!(story.verdict("K02").cause.relation, relation, "{words}");
    }
}

/// What leads packets elsewhere leads only those that it is for.
#[test]
fn a_rule_that_leads_others_elsewhere_does_not_explain_a_silence() {
    for (words, relation) in [
        ("ip daddr 192.0.2.10 tcp dport 80 dnat", Relation::Explains),
        ("ip daddr 10.96.0.1 tcp dport 443 dnat", Relation::Unknown),
        ("udp dport 53 redirect", Relation::Unknown),
    ] {
        let mut story = healthy();
        story.rounds(4, |story| story.exchange(client(40_000)));
        let did = format!("table inet f, chain out: rule handle 2 ({words}) gone");
        change(&mut story, 2, &did);
        story.rounds(8, |story| {
            story.ask(client(40_000));
            story.ask(client(40_001));
        });
        assert_eq!(story.verdict("D01").cause.relation, relation, "{words}");
    }
}
