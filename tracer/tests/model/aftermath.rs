//! What is lost before a mend makes no verdict after it.

use tracer::diagnosis::Diagnosis;
use tracer::event::{Body, EntryKey, FlowKey, Origin, Protocol, Seen, SocketState, Thing};
use tracer::filter::Filter;
use tracer::report::Where;

use crate::again::{rules, ruleset};
use crate::pairing::{self, set};
use crate::story::*;
use crate::ways::{DEFAULT, asked, changed, led, route};

/// The ids of the verdicts that led from this event on, each once where it leads on.
pub(crate) fn led_from(story: &Story, event: usize) -> Vec<String> {
    let mut told = Diagnosis::new();
    let mut all: Vec<String> = Vec::new();
    for (place, event_) in story.events.iter().enumerate() {
        told.apply(event_);
        if event_.body != Body::Tick || place < event {
            continue;
        }
        let report = Filter::default().report(&told);
        let leads = report.verdicts.first().filter(|first| first.decides());
        all.push(leads.map_or_else(String::new, |first| first.id.clone()));
    }
    all.dedup();
    all
}

/// Everybody answers again by the way that was put back, by connections that are opened anew as well.
#[test]
fn a_way_that_was_put_back_leaves_no_silence() {
    let mut story = led(|story| changed(story, route("0.0.0.0", 0, 0), Some("via 10.10.0.99 dev eth0")));
    assert_eq!(story.ids(), ["R37", "D01"]);
    changed(&mut story, route("0.0.0.0", 0, 0), Some(DEFAULT));
    let mended = story.events.len();
    let opened = client(42_000);
    story.socket(
        opened,
        Some(SocketState::SynSent),
        SocketState::Established,
        "curl",
    );
    story.rounds(30, |story| {
        story.exchange(asked());
        story.exchange(opened);
    });
    assert_eq!(led_from(&story, mended), ["R37", ""]);
    assert_eq!(story.report().episodes[0].led, ["R37"]);
}

/// Who has waited for longer and longer asks again only some time after the mend.
#[test]
fn a_way_that_was_put_back_is_mended_before_anybody_asks_again() {
    let mut story = led(|story| changed(story, route("0.0.0.0", 0, 0), Some("via 10.10.0.99 dev eth0")));
    changed(&mut story, route("0.0.0.0", 0, 0), Some(DEFAULT));
    let mended = story.events.len();
    story.rounds(16, |story| story.exchange(client(40_000)));
    story.rounds(20, |story| story.exchange(asked()));
    assert_eq!(led_from(&story, mended), ["R37", ""]);
    assert!(story.report().episodes[0].mended.is_some());
}

/// What is dropped of what a connection sends, by this node's own firewall.
fn keep(story: &mut Story, key: FlowKey) {
    let kept = EntryKey {
        iif: 0,
        incoming: false,
        ..drop("NETFILTER_DROP", "nft_do_chain", Protocol::Tcp)
    };
    story.add(kept.clone(), 1);
    story.example(kept, key, Some(SocketState::Established), "curl");
}

/// All is well, with a firewall.
fn guarded() -> Story {
    let mut story = healthy();
    let firewall = Thing::Ruleset {
        firewall: "nf_tables".to_owned(),
    };
    set(
        &mut story,
        firewall,
        Some("generation 1, tables: inet guard"),
        Seen::Found,
        None,
    );
    story.rounds(4, |story| story.exchange(client(40_001)));
    story
}

#[test]
fn what_leaves_again_was_not_lost_in_part() {
    let mut story = guarded();
    rules(&mut story, 2, "rule handle 7 (tcp dport 80 drop) new");
    story.rounds(10, |story| keep(story, client(40_001)));
    assert_eq!(story.ids(), ["K02"]);
    rules(&mut story, 3, "rule handle 7 (tcp dport 80 drop) gone");
    let mended = story.events.len();
    story.rounds(40, |story| (0..12).for_each(|_| story.exchange(client(40_001))));
    assert!(
        led_from(&story, mended)
            .iter()
            .all(|id| ["K02", ""].contains(&id.as_str())),
        "{:?}",
        led_from(&story, mended)
    );
    let report = story.report();
    assert_eq!((report.place, report.episodes.len()), (Where::Healthy, 1));
    assert!(report.episodes[0].mended.is_some());

    // What a firewall does after it is told all the same.
    rules(&mut story, 4, "rule handle 8 (numgen random mod 10 0 drop) new");
    story.rounds(12, |story| {
        keep(story, client(40_001));
        (0..8).for_each(|_| story.exchange(client(40_001)));
    });
    assert_eq!(story.ids(), ["K07"]);
}

/// That all who were silent have answered is the sign that it is over.
#[test]
fn a_silence_is_over_when_all_have_answered() {
    let mut story = healthy();
    story.rounds(4, |story| story.exchange(asked()));
    story.rounds(10, |story| story.ask(asked()));
    assert_eq!(story.ids(), ["D01"]);
    story.rounds(3, |story| story.exchange(asked()));
    assert_eq!(story.ids(), ["D01"]);
    story.rounds(3, |story| story.exchange(asked()));
    assert!(story.ids().is_empty(), "{:?}", story.ids());
}

/// What a firewall lets pass that drops all else: a rule that went is put back as another one, and what it named by its name; or it
/// was replaced by one for less, in place; or an element of a set went; or something that a rule asks was set anew.
#[test]
fn what_is_let_pass_again_is_the_mend() {
    for (breaks, mends) in [
        (
            "rule handle 7 (tcp sport 80 accept) gone",
            "rule handle 9 (tcp sport 80 accept) new",
        ),
        (
            "rule handle 7 (tcp sport 80 accept) gone; table inet guard, chain in: rule handle 8 (tcp sport 81 accept) new",
            "rule handle 8 (tcp sport 81 accept) gone; table inet guard, chain in: rule handle 9 (tcp sport 80 accept) new",
        ),
    ] {
        mended_by(&format!("chain in: {breaks}"), &format!("chain in: {mends}"));
    }
    mended_by("set peers: 1 element gone", "set peers: 1 element new");
    mended_by("quota most new or changed", "quota most new or changed");
}

/// What is lost after the former is over with the latter.
fn mended_by(breaks: &str, mends: &str) {
    let lost = || drop("NETFILTER_DROP", "nft_do_chain", Protocol::Tcp);
    let mut story = guarded();
    ruleset(&mut story, 2, &format!("table inet guard, {breaks}"));
    story.rounds(10, |story| story.ask_and_lose(client(40_001), lost()));
    assert_eq!(story.ids(), ["R06"], "{breaks}");
    ruleset(&mut story, 3, &format!("table inet guard, {mends}"));
    story.rounds(2, |story| story.exchange(client(40_001)));
    let verdict = story.verdict("R06");
    let mended = verdict
        .mended
        .unwrap_or_else(|| panic!("{mends}: {:#?}", verdict.cause));
    assert!(mended.text.contains(mends), "{mended:?}");
    story.rounds(6, |story| story.exchange(client(40_001)));
    assert!(story.ids().is_empty(), "{mends}: {:?}", story.ids());
    assert!(story.report().episodes[0].mended.is_some(), "{mends}");
}

/// What came for a listener while the lookup of local addresses was gone waits for a neighbour that has this node's own address, and is
/// dropped up to 3 s later, when the rule is back.
#[test]
fn what_waited_for_a_neighbour_since_before_the_mend_is_no_fault_after_it() {
    let mut story = pairing::before();
    story.listen(8080, "server");
    set(
        &mut story,
        pairing::local_rule(),
        None,
        Seen::Told,
        Some(pairing::networkd()),
    );
    let lost = drop("NEIGH_FAILED", "neigh_invalidate", Protocol::Tcp);
    story.arrived(Protocol::Tcp, 2).count(served(50_000), |flow| {
        (flow.origin, flow.iif) = (Origin::Remote, ETH0);
        flow.arrived += 2;
    });
    story.rounds(4, |story| story.ask_and_lose(client(40_000), foreign()));
    let mended = story.events.len();
    set(&mut story, pairing::local_rule(), Some(""), Seen::Told, None);
    story.rounds(3, |story| story.exchange(client(40_000)));
    story.add(lost, 2).count(served(50_000), |flow| {
        flow.dropped += 2;
        flow.last_drop = Some(("NEIGH_FAILED".to_owned(), at("neigh_invalidate")));
    });
    story.rounds(16, |story| story.exchange(client(40_000)));
    assert_eq!(led_from(&story, mended), ["R01", ""]);
}
