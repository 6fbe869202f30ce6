//! The table of tracked connections is full, or nearly so.

use tracer::event::{
    Body, Counter, CounterKey, EntryKey, Protocol, Seen, Setting, SocketState, Source, Thing,
};
use tracer::report::{Confidence, Where};

use crate::story::*;

fn sysctl(story: &mut Story, name: &str, value: u64) {
    story.say(Body::Setting(Box::new(Setting {
        netns: NETNS,
        thing: Thing::Sysctl {
            name: format!("net.netfilter.nf_conntrack_{name}"),
        },
        value: Some(value.to_string()),
        seen: Seen::Found,
        by: None,
        by_unknown: None,
    })));
}

/// A node that works, whose table has so many of 1,000 entries.
fn with_entries(entries: u64) -> Story {
    let mut story = healthy();
    sysctl(&mut story, "max", 1000);
    sysctl(&mut story, "count", entries);
    story.idle(2);
    story
}

/// Connection tracking had no room so often.
fn no_room(story: &mut Story, grown: u64) {
    story.say(Body::Counter(Counter {
        key: CounterKey {
            netns: NETNS,
            source: Source::Conntrack,
            device: 0,
            name: "drop".to_owned(),
        },
        grown,
    }));
}

#[test]
fn a_table_that_is_nearly_full_is_a_weak_sign() {
    assert!(with_entries(949).ids().is_empty());
    let mut story = with_entries(962);
    let verdict = story.verdict("R07");
    assert_eq!(verdict.confidence, Confidence::Weak);
    assert_eq!(story.report().place, Where::Healthy);
    assert!(
        verdict.explanation.contains("it has 962 of 1,000 entries."),
        "{}",
        verdict.explanation
    );
    // What strangers ask for in vain.
    no_room(&mut story, 3);
    story.idle(1);
    let verdict = story.verdict("R07");
    assert_eq!(verdict.confidence, Confidence::Weak);
    assert!(
        verdict.explanation.contains(" it had no room 3 times."),
        "{}",
        verdict.explanation
    );
    sysctl(&mut story, "count", 12);
    story.idle(1);
    assert!(story.ids().is_empty());
}

/// Packets that nobody here is known to wait for are dropped where connection tracking is asked, so many a second.
fn refused(story: &mut Story, symbol: &str, seconds: u32) {
    let arrived = drop("NETFILTER_DROP", symbol, Protocol::Tcp);
    let sent = EntryKey {
        iif: 0,
        device: 0,
        incoming: false,
        ..arrived.clone()
    };
    let mut grown = 0;
    story.rounds(seconds, |story| {
        story.add(arrived.clone(), 2).add(sent.clone(), 1);
        grown += 3;
        no_room(story, grown);
    });
}

/// A full table keeps out who comes and who goes, also strangers: nobody can open a connection.
#[test]
fn a_full_table_for_which_new_connections_fail_decides() {
    let mut story = with_entries(1000);
    refused(&mut story, "nf_hook_slow", 8);
    let verdict = story.verdict("R07");
    assert_eq!(verdict.confidence, Confidence::Strong, "{}", verdict.explanation);
    assert_eq!(story.report().place, Where::GuestKernel);
    for part in [
        "is full: it has 1,000 of 1,000 entries.",
        "it had no room 24 times.",
        "16 packets that arrived",
        "8 packets that this node was sending",
    ] {
        assert!(verdict.explanation.contains(part), "{}", verdict.explanation);
    }
    assert!(
        verdict.remedy[0].starts_with("sysctl -w net.netfilter.nf_conntrack_max=2000  # "),
        "{:#?}",
        verdict.remedy
    );
    // One that was full until a moment ago, as where some entries end and others take their place.
    sysctl(&mut story, "count", 999);
    refused(&mut story, "nf_hook_slow", 1);
    assert_eq!(story.verdict("R07").confidence, Confidence::Strong);
}

/// What does not belong together makes no alarm.
#[test]
fn a_full_table_alone_and_drops_alone_decide_nothing() {
    let mut full = with_entries(1000);
    let verdict = full.verdict("R07");
    assert_eq!(verdict.confidence, Confidence::Weak);
    assert!(
        verdict.explanation.contains("is full: it has"),
        "{}",
        verdict.explanation
    );
    // A rule drops at another place, and connection tracking has no room for a moment only.
    refused(&mut full, "nft_do_chain", 8);
    assert_eq!(full.verdict("R07").confidence, Confidence::Weak);
    let mut moment = with_entries(1000);
    refused(&mut moment, "nf_hook_slow", 2);
    assert_eq!(moment.verdict("R07").confidence, Confidence::Weak);
    // The counter has other causes, too: there is room.
    let mut room = with_entries(962);
    refused(&mut room, "nf_hook_slow", 8);
    assert_eq!(room.verdict("R07").confidence, Confidence::Weak);
    assert_eq!(room.report().place, Where::Healthy);
}

/// What this node's own socket waits for finds no room.
#[test]
fn how_full_the_table_is_is_told_where_packets_are_lost_for_it() {
    let mut story = with_entries(1000);
    let key = client(41_000);
    story.socket(key, None, SocketState::SynSent, "curl");
    for grown in 1..=6 {
        no_room(&mut story, grown);
        story.ask_and_lose(key, drop("NETFILTER_DROP", "nf_hook_slow", Protocol::Tcp));
        story.tick();
    }
    assert_eq!(story.ids(), ["R07"]);
    let verdict = story.verdict("R07");
    assert_eq!(verdict.confidence, Confidence::Conclusive);
    assert!(
        verdict
            .explanation
            .contains("The table has 1,000 of 1,000 entries."),
        "{}",
        verdict.explanation
    );
    let is_told = |text: &str| verdict.evidence.iter().any(|one| one.text == text);
    assert!(
        is_told("connection tracking: 1,000 of 1,000 entries"),
        "{:#?}",
        verdict.evidence
    );
}
