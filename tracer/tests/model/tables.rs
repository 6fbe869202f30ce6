//! The table of tracked connections is full, or nearly so.

use tracer::event::{Body, Counter, CounterKey, Protocol, Seen, Setting, SocketState, Source, Thing};
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
        verdict.explanation.contains("So far it had no room 3 times;"),
        "{}",
        verdict.explanation
    );
    sysctl(&mut story, "count", 12);
    story.idle(1);
    assert!(story.ids().is_empty());
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
