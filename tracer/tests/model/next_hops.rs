//! A route with several next hops, of which one does not answer.

use tracer::event::{EntryKey, Protocol, Seen, Thing};
use tracer::report::{Confidence, Where};

use crate::pairing::set;
use crate::story::*;
use crate::unroutable::default_route;

/// A healthy node whose default route has these next hops, and the state of each neighbour.
fn node(hops: &[(&str, &str)]) -> Story {
    and_by(hops, "")
}

/// The same, and this next hop behind them.
fn and_by(hops: &[(&str, &str)], more: &str) -> Story {
    let mut story = healthy();
    let gateways = hops
        .iter()
        .map(|(hop, _)| format!(" nexthop via {hop} dev eth0 weight 1"));
    let leads: String = gateways.chain([more.to_owned()]).collect();
    set(
        &mut story,
        default_route(),
        Some(&format!("proto boot{leads}")),
        Seen::Found,
        None,
    );
    for (hop, state) in hops {
        let neighbour = Thing::Neighbour {
            device: "eth0".to_owned(),
            address: ip(hop),
        };
        set(&mut story, neighbour, Some(state), Seen::Told, None);
    }
    story
}

const ANSWERS: &str = "lladdr 02:00:00:00:00:01";

/// New connections fall to a silent next hop and are given up at once; others are answered at the same port.
fn goes_on(story: &mut Story) {
    let unsent = EntryKey {
        incoming: false,
        iif: 0,
        ..drop("NEIGH_FAILED", "neigh_invalidate", Protocol::Tcp)
    };
    story.rounds(8, |story| {
        story.exchange(client(40_000));
        story.exchange(client(40_001));
        story.add(unsent.clone(), 1);
        story.example(unsent.clone(), client(40_002), None, "curl");
    });
}

#[test]
fn one_of_two_that_is_silent_costs_a_part() {
    let mut story = node(&[("10.10.0.1", ANSWERS), ("10.10.0.9", "FAILED")]);
    goes_on(&mut story);
    assert_eq!(story.ids(), ["D01"]);
    let verdict = story.verdict("D01");
    assert_eq!(
        (story.report().place, verdict.confidence),
        (Where::DataPath, Confidence::Strong)
    );
    assert!(
        verdict.explanation.contains(
            "10.10.0.9 on eth0 is one of the 2 next hops of route default (IPv4): the flows that fall to it lose what they send; others whom this node asks answer"
        ),
        "{}",
        verdict.explanation
    );
}

/// By one of them a device is reached without a gateway: it asks nobody for a link-layer address.
#[test]
fn a_next_hop_without_a_gateway_counts_as_one() {
    let mut story = and_by(&[("10.10.0.9", "FAILED")], " nexthop dev eth0 weight 1");
    goes_on(&mut story);
    let verdict = story.verdict("D01");
    assert!(
        verdict
            .explanation
            .contains("10.10.0.9 on eth0 is one of the 2 next hops"),
        "{}",
        verdict.explanation
    );
}

#[test]
fn where_all_answer_or_there_is_one_only_nothing_is_said() {
    for hops in [
        &[("10.10.0.1", ANSWERS), ("10.10.0.9", ANSWERS)][..],
        &[("10.10.0.1", ANSWERS)],
    ] {
        let mut story = node(hops);
        goes_on(&mut story);
        assert_eq!(story.ids(), [""; 0]);
    }
}

/// Nothing falls to it.
#[test]
fn a_silent_one_by_which_nothing_is_to_go_harms_nobody() {
    let mut story = node(&[("10.10.0.1", ANSWERS), ("10.10.0.9", "FAILED")]);
    story.rounds(8, |story| story.exchange(client(40_000)));
    assert_eq!(story.ids(), [""; 0]);
}

/// A neighbour on the link is switched off, and nothing falls to the next hop that is, too.
#[test]
fn what_is_for_a_neighbour_that_is_switched_off_falls_to_no_next_hop() {
    let mut story = node(&[("10.10.0.1", ANSWERS), ("10.10.0.9", "FAILED")]);
    let on_link = Thing::Route {
        table: 254,
        action: "unicast".to_owned(),
        destination: ip("10.10.0.0"),
        prefix: 24,
        metric: 0,
    };
    set(&mut story, on_link, Some("dev eth0"), Seen::Found, None);
    let unsent = EntryKey {
        incoming: false,
        iif: 0,
        ..drop("NEIGH_FAILED", "neigh_invalidate", Protocol::Tcp)
    };
    let neighbour = flow(Protocol::Tcp, "10.10.0.2", 40_002, "10.10.0.77", 80);
    let waits = |story: &mut Story| {
        story.exchange(client(40_000));
        story.add(unsent.clone(), 1);
        story.example(unsent.clone(), neighbour, None, "curl");
    };
    story.rounds(8, waits);
    // That one never answered.
    let verdict = story.verdict("D01");
    assert_eq!(verdict.confidence, Confidence::Weak);
    assert!(
        !verdict.explanation.contains("next hops"),
        "{}",
        verdict.explanation
    );
    // What falls to it is told, whoever was shown last.
    goes_on(&mut story);
    waits(&mut story);
    story.tick();
    let said = &story.verdict("D01").explanation;
    assert!(said.contains("one of the 2 next hops"), "{said}");
}
