//! Which chain's rules dropped a packet: told where it can have been one only.

use tracer::event::{Body, Chain, Chains, Example, Family, Fate, Point, Protocol};

use crate::story::*;

const INET: &str = "nft_do_chain_inet";

fn chain(family: Family, hook: Point, table: &str, name: &str) -> Chain {
    Chain {
        family,
        hook,
        priority: 0,
        table: table.to_owned(),
        name: name.to_owned(),
    }
}

fn guard() -> Chain {
    chain(Family::Inet, Point::Input, "guard", "in")
}

fn tell(story: &mut Story, netns: u32, chains: &[Chain]) {
    let chains = chains.to_vec();
    story.say(Body::Chains(Chains { netns, chains }));
}

/// Packets are dropped here, by a chain that this function begins, at the hook `input` of IPv4.
fn drop_at(story: &mut Story, place: &str, begins: &str) {
    let entry = tracer::event::EntryKey {
        reason: Some("NETFILTER_DROP".to_owned()),
        location: Some(at(place)),
        ..line(Fate::Dropped, Protocol::Tcp)
    };
    story.add(entry.clone(), 3);
    let mut stack = vec![at(place), at(begins), at("nf_hook_slow"), at("ip_local_deliver")];
    stack.dedup_by(|one, next| one == next);
    story.say(Body::Example(Box::new(Example {
        entry,
        flow: None,
        packets: 1,
        length: 100,
        socket: None,
        owner: None,
        stack,
        bytes: Vec::new(),
    })));
    story.tick();
}

/// Packets are dropped while a namespace has these chains.
fn dropped_by(chains: &[Chain]) -> Story {
    let mut story = Story::begin();
    tell(&mut story, NETNS, chains);
    drop_at(&mut story, "nft_do_chain", INET);
    story
}

fn detail(story: &Story) -> String {
    let report = story.report();
    let [row] = report.drops.as_slice() else {
        panic!("{:?}", report.drops);
    };
    row.detail.clone()
}

const HOOK: &str = "netfilter: input, ipv4";
const GUARD: &str = "netfilter: input, ipv4: table inet guard, chain in";

#[test]
fn the_only_chain_is_named() {
    assert_eq!(detail(&dropped_by(&[guard()])), GUARD);
    assert_eq!(detail(&dropped_by(&[])), HOOK);
    let others = [
        chain(Family::Inet, Point::Output, "guard", "out"),
        chain(Family::Ip, Point::Input, "filter", "INPUT"),
        chain(Family::Bridge, Point::Input, "bridge", "in"),
    ];
    assert_eq!(
        detail(&dropped_by(&others)),
        HOOK,
        "none of them can have been it"
    );
    let [out, ip, bridge] = others;
    assert_eq!(detail(&dropped_by(&[out, ip, guard(), bridge])), GUARD);
}

#[test]
fn of_two_chains_none_is_named_and_one_that_is_gone_may_have_been_it() {
    let second = chain(Family::Inet, Point::Input, "other", "in");
    assert_eq!(detail(&dropped_by(&[guard(), second.clone()])), HOOK);
    let mut story = dropped_by(&[guard()]);
    tell(&mut story, NETNS, &[]);
    assert_eq!(detail(&story), GUARD, "what it dropped stays dropped by it");
    tell(&mut story, NETNS, &[guard()]);
    assert_eq!(detail(&story), GUARD);
    tell(&mut story, NETNS, &[second]);
    assert_eq!(detail(&story), HOOK);
}

#[test]
fn a_chain_that_is_told_after_the_drop_is_named() {
    let mut story = dropped_by(&[]);
    tell(&mut story, NETNS + 1, &[guard()]);
    assert_eq!(detail(&story), HOOK, "it is another namespace's");
    tell(&mut story, NETNS, &[guard()]);
    assert_eq!(detail(&story), GUARD);
}

#[test]
fn what_may_have_been_something_else_is_no_chains() {
    for (place, begins) in [
        ("nf_hook_slow", "nf_hook_slow"),
        ("nft_do_chain", "nft_nat_do_chain"),
        ("nft_do_chain", "nft_do_chain_ipv4"),
    ] {
        let mut story = Story::begin();
        tell(&mut story, NETNS, &[guard()]);
        drop_at(&mut story, place, begins);
        assert_eq!(detail(&story), HOOK, "{place}, {begins}");
    }
}
