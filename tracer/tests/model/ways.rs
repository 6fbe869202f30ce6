//! The way to peers was changed on this node itself, and flows get nothing since.

use tracer::event::{EntryKey, FlowKey, Origin, Protocol, Seen, SocketState, Thing, Version};
use tracer::report::{Confidence, Relation, Where};

use crate::hops::by_ip;
use crate::pairing::set;
use crate::story::*;

pub(crate) fn route(destination: &str, prefix: u8, metric: u32) -> Thing {
    Thing::Route {
        table: 254,
        action: "unicast".to_owned(),
        destination: ip(destination),
        prefix,
        metric,
    }
}

pub(crate) const DEFAULT: &str = "via 10.10.0.1 dev eth0";
const DNS: u16 = 5300;

pub(crate) fn asked() -> FlowKey {
    udp(50_000, "192.0.2.10", DNS)
}

/// A node whose default route leads by its gateway, and whose peers answer.
pub(crate) fn routed(peers: &[FlowKey]) -> Story {
    let mut story = healthy();
    set(
        &mut story,
        route("0.0.0.0", 0, 0),
        Some(DEFAULT),
        Seen::Found,
        None,
    );
    story.rounds(4, |story| {
        for peer in peers {
            story.exchange(*peer);
        }
    });
    story
}

/// Such a node; then something is done, and nobody answers any more.
pub(crate) fn led(change: impl FnOnce(&mut Story)) -> Story {
    let mut story = routed(&[asked()]);
    change(&mut story);
    story.rounds(8, |story| story.ask(asked()));
    story
}

pub(crate) fn changed(story: &mut Story, thing: Thing, value: Option<&str>) {
    set(story, thing, value, Seen::Told, by_ip());
}

#[test]
fn a_default_route_by_a_gateway_that_is_none() {
    let story = led(|story| changed(story, route("0.0.0.0", 0, 0), Some("via 10.10.0.99 dev eth0")));
    assert_eq!(story.report().place, Where::GuestKernel);
    assert_eq!(story.ids(), ["R37", "D01"]);
    let verdict = story.verdict("R37");
    assert_eq!(
        (verdict.confidence, verdict.cause.relation),
        (Confidence::Strong, Relation::Explains)
    );
    for part in [
        "via 10.10.0.99 dev eth0, by ip[123]",
        "; by it goes what is for 192.0.2.10. Since then 1 flow has got nothing from there: what is sent goes another way",
    ] {
        assert!(verdict.explanation.contains(part), "{}", verdict.explanation);
    }
    assert_eq!(
        verdict.remedy.first().map(String::as_str),
        Some("ip route replace default via 10.10.0.1 dev eth0  # Risk: low, it is what was there before."),
    );
    assert_eq!(story.verdict("D01").under.as_deref(), Some("R37"));
}

/// As `ip route del default; ip route add default …`: what came leads there no more when the first one is in its place again.
#[test]
fn a_way_that_went_before_another_came_is_mended_when_it_is_back() {
    let mut story = led(|story| {
        changed(story, route("0.0.0.0", 0, 0), None);
        changed(story, route("0.0.0.0", 0, 0), Some("via 10.10.0.99 dev eth0"));
    });
    assert_eq!(story.ids()[0], "R37");
    changed(&mut story, route("0.0.0.0", 0, 0), Some(DEFAULT));
    story.rounds(12, |story| story.exchange(asked()));
    let report = story.report();
    assert_eq!(report.place, Where::Healthy, "{:?}", story.ids());
    let mended = report.episodes[0].mended.as_ref().unwrap();
    assert!(mended.text.contains(DEFAULT), "{}", mended.text);
}

/// What leaves by a device that is no uplink is seen by the change alone.
#[test]
fn a_narrower_route_by_a_device_that_is_no_uplink() {
    let story = led(|story| changed(story, route("192.0.2.0", 24, 0), Some("dev dummy0")));
    assert_eq!(story.report().place, Where::GuestKernel);
    assert_eq!(story.ids()[0], "R37");
}

#[test]
fn another_source_or_a_rule_for_all() {
    let story = led(|story| {
        let value = format!("{DEFAULT} src 10.99.0.1");
        changed(story, route("0.0.0.0", 0, 0), Some(&value));
    });
    assert_eq!(story.ids()[0], "R37");

    let table = Thing::Route {
        table: 100,
        action: "unicast".to_owned(),
        destination: ip("0.0.0.0"),
        prefix: 0,
        metric: 0,
    };
    let story = led(|story| {
        changed(story, table, Some("dev dummy0"));
        changed(story, rule(), Some(""));
    });
    assert_eq!(story.ids()[0], "R37");
}

/// Whatever no other rule is for is looked up in table main, from the start.
fn begins_with_main(story: &mut Story) {
    let last = main(32_766, "from all lookup main");
    set(story, last, Some(""), Seen::Found, None);
}

fn main(priority: u32, text: &str) -> Thing {
    Thing::Rule {
        version: Version::V4,
        priority,
        text: text.to_owned(),
        table: 254,
    }
}

fn rule() -> Thing {
    Thing::Rule {
        version: Version::V4,
        priority: 100,
        text: "from all lookup 100".to_owned(),
        table: 100,
    }
}

/// Who opens a tunnel sets a route for each half of all addresses.
#[test]
fn what_was_changed_with_it_belongs_to_it() {
    let story = led(|story| {
        changed(story, route("0.0.0.0", 1, 0), Some("dev tun0"));
        changed(story, route("128.0.0.0", 1, 0), Some("dev tun0"));
        story.ask(udp(50_001, "8.8.8.8", DNS));
    });
    let verdict = story.verdict("R37");
    assert_eq!(verdict.flows_total, 1, "the other was never answered");
    assert!(
        verdict.explanation.contains("128.0.0.0/1"),
        "{}",
        verdict.explanation
    );
}

/// Somebody answers by the new way: one who does not is another matter.
#[test]
fn a_way_by_which_somebody_answers_works() {
    let (asked, other) = (asked(), udp(50_001, "198.51.100.7", DNS));
    let mut story = routed(&[asked, other]);
    changed(
        &mut story,
        route("0.0.0.0", 0, 0),
        Some("via 10.10.0.99 dev eth0"),
    );
    story.rounds(12, |story| {
        story.ask(asked);
        story.exchange(other);
    });
    assert_eq!(story.ids(), ["D01"]);
    // Nor is who falls silent only later.
    let mut story = routed(&[asked]);
    changed(
        &mut story,
        route("0.0.0.0", 0, 0),
        Some("via 10.10.0.99 dev eth0"),
    );
    story.rounds(30, |story| story.exchange(asked));
    story.rounds(8, |story| story.ask(asked));
    assert_eq!(story.ids(), ["D01"]);
}

/// The way is the same as before: it was only set anew, with another metric, by another hand, or is a wider one; or it was undone.
#[test]
fn a_way_that_is_as_it_was_is_no_cause() {
    let none = |change: fn(&mut Story)| {
        let story = led(change);
        assert_eq!(story.ids(), ["D01"]);
        assert_eq!(story.report().place, Where::DataPath);
        let cause = story.verdict("D01").cause;
        assert_eq!(cause.relation, Relation::Unknown, "{}", cause.text);
    };
    none(|story| changed(story, route("0.0.0.0", 0, 100), Some(DEFAULT)));
    none(|story| {
        changed(
            story,
            route("0.0.0.0", 0, 0),
            Some("via 10.10.0.1 dev eth0 proto dhcp"),
        )
    });
    none(|story| {
        changed(story, route("0.0.0.0", 0, 0), None);
        changed(story, route("0.0.0.0", 0, 0), Some(DEFAULT));
    });
    none(|story| changed(story, route("198.51.100.0", 24, 0), Some("dev dummy0")));
    // One that is only for when there is no other.
    none(|story| changed(story, route("0.0.0.0", 0, 700), Some("via 192.168.8.1 dev wwan0")));
    none(|story| {
        let value = format!("{DEFAULT} mtu 1400");
        changed(story, route("0.0.0.0", 0, 0), Some(&value));
    });
    // By the same gateway as the one to all there is, which is around it.
    none(|story| changed(story, route("192.0.2.0", 24, 0), Some(DEFAULT)));
    none(|story| {
        changed(story, route("192.0.2.0", 24, 0), Some(DEFAULT));
        story.rounds(4, |story| story.exchange(asked()));
        changed(story, route("192.0.2.0", 24, 0), None);
    });
    // In a table in which all else is looked up anyway.
    none(|story| {
        begins_with_main(story);
        changed(story, main(900, "from 10.10.0.2 lookup main"), Some(""));
    });
    none(|story| {
        begins_with_main(story);
        changed(story, main(900, "from all lookup main"), Some(""));
    });
    // What is for the peer goes by a narrower one.
    none(|story| {
        set(story, route("192.0.2.0", 24, 0), Some(DEFAULT), Seen::Found, None);
        changed(story, route("0.0.0.0", 0, 0), Some("via 10.10.0.99 dev eth0"));
    });
    // A table in which nothing leads there.
    none(|story| changed(story, rule(), Some("")));
    // It was away for minutes.
    none(|story| {
        changed(story, route("0.0.0.0", 0, 0), None);
        story.idle(240);
        changed(story, route("0.0.0.0", 0, 0), Some(DEFAULT));
    });
    // That it went away has led packets another way, if back to the one before.
    let story = led(|story| {
        changed(story, route("192.0.2.0", 24, 0), Some("dev dummy0"));
        changed(story, route("192.0.2.0", 24, 0), None);
    });
    assert_eq!(story.ids(), ["D01"]);
}

/// It came and went while tracer looked, and did no harm then: that says nothing of what it does now.
#[test]
fn a_way_that_had_come_and_gone_before_is_a_cause_all_the_same() {
    let astray = || route("192.0.2.10", 32, 0);
    let away = Some("via 10.10.0.99 dev eth0");
    for rounds in [0, 20] {
        let mut story = routed(&[asked()]);
        changed(&mut story, astray(), away);
        story.rounds(rounds, |story| story.exchange(asked()));
        changed(&mut story, astray(), None);
        story.rounds(24, |story| story.exchange(asked()));
        changed(&mut story, astray(), away);
        story.rounds(8, |story| story.ask(asked()));
        assert_eq!(story.ids(), ["R37", "D01"], "{rounds}");
        assert_eq!(story.verdict("R37").cause.relation, Relation::Explains);
    }
}

/// Who never answered says nothing of the way.
#[test]
fn a_new_way_to_whom_nobody_has_heard_of() {
    let mut story = healthy();
    changed(&mut story, route("198.51.100.0", 24, 0), Some("dev eth0"));
    story.rounds(8, |story| {
        story.ask(flow(
            tracer::event::Protocol::Tcp,
            "10.10.0.2",
            42_000,
            "198.51.100.7",
            443,
        ));
        story.exchange(client(40_000));
    });
    assert!(!story.ids().contains(&"R37".to_owned()), "{:?}", story.ids());
}

/// Sockets that were there before keep their addresses, and their peers answer.
#[test]
fn another_source_harms_those_who_ask_from_it() {
    let old = udp(50_001, "192.0.2.10", 9_053);
    let new = flow(
        tracer::event::Protocol::Udp,
        "10.99.0.1",
        50_002,
        "192.0.2.10",
        DNS,
    );
    let mut story = routed(&[asked(), old]);
    let value = format!("{DEFAULT} src 10.99.0.1");
    changed(&mut story, route("0.0.0.0", 0, 0), Some(&value));
    story.rounds(12, |story| {
        story.ask(new);
        story.exchange(old);
    });
    assert_eq!(story.ids()[0], "R37");
    assert_eq!(story.report().place, Where::GuestKernel);
}

/// What is for the peer is refused by this node itself, for so many rounds.
fn refused_here(story: &mut Story, rounds: u32) {
    let key = FlowKey {
        local: ip("192.0.2.10"),
        local_port: DNS,
        remote: ip("10.10.0.2"),
        remote_port: 50_000,
        ..asked()
    };
    let entry = EntryKey {
        iif: LO,
        ..drop("NO_SOCKET", "__udp4_lib_rcv", Protocol::Udp)
    };
    story.rounds(rounds, |story| {
        story.add(entry.clone(), 1).count(key, |flow| {
            flow.origin = Origin::Remote;
            flow.iif = LO;
            flow.dropped += 1;
            flow.last_drop = Some(("NO_SOCKET".to_owned(), at("__udp4_lib_rcv")));
        });
    });
}

/// The address of the peer comes to a device of this node.
fn taken(device: &str) -> Story {
    let mut story = routed(&[asked()]);
    let (lo, eth0) = (ip("127.0.0.1"), ip("10.10.0.2"));
    let peer = ip("192.0.2.10");
    match device {
        "lo" => story.device(NETNS, LO, "lo", false, vec![lo, peer]),
        _ => story.device(NETNS, ETH0, "eth0", true, vec![eth0, peer]),
    }
    let address = Thing::Address {
        device: device.to_owned(),
        address: peer,
        prefix: 32,
    };
    changed(&mut story, address, Some("scope global"));
    story
}

#[test]
fn the_address_of_a_peer_came_to_this_node() {
    let mut story = taken("lo");
    refused_here(&mut story, 10);
    assert_eq!(story.report().place, Where::GuestKernel);
    assert_eq!(story.ids(), ["R37", "R12"]);
    let verdict = story.verdict("R37");
    assert_eq!(
        (verdict.confidence, verdict.cause.relation),
        (Confidence::Strong, Relation::Explains)
    );
    assert!(
        verdict.remedy[0].starts_with("ip address del 192.0.2.10/32 dev lo"),
        "{:?}",
        verdict.remedy
    );
    assert_eq!(story.verdict("R12").under.as_deref(), Some("R37"));
}

/// A service's address wanders from one machine to another, and the service is started after it.
#[test]
fn the_address_of_a_service_that_wanders_is_a_weak_sign() {
    let mut story = taken("eth0");
    refused_here(&mut story, 10);
    assert_eq!(story.report().place, Where::Healthy, "{:?}", story.ids());
    assert_eq!(story.verdict("R37").confidence, Confidence::Weak);
}

/// The peer answers as before, or what is for it is taken here.
#[test]
fn the_address_of_a_peer_that_goes_on_or_is_served_here_is_none() {
    let mut story = taken("lo");
    story.rounds(10, |story| {
        refused_here(story, 1);
        story.exchange(asked());
    });
    assert!(!story.ids().contains(&"R37".to_owned()), "{:?}", story.ids());
    let mut story = taken("lo");
    refused_here(&mut story, 2);
    story.idle(10);
    assert!(story.ids().is_empty(), "{:?}", story.ids());
}

/// As the cache of names of a node's own pods, which comes with the address of the service that it stands in for.
#[test]
fn the_address_of_a_peer_that_came_with_an_own_service_is_a_weak_sign() {
    let listens = |local: &str, port| {
        let mut story = taken("lo");
        story.socket(
            flow(Protocol::Tcp, local, port, "::", 0),
            None,
            SocketState::Listen,
            "cache",
        );
        refused_here(&mut story, 10);
        story.verdict("R37").confidence
    };
    assert_eq!(listens("192.0.2.10", 8080), Confidence::Weak);
    assert_eq!(listens("10.10.0.2", 8080), Confidence::Strong);
    let mut story = taken("lo");
    story.socket(
        flow(Protocol::Udp, "127.0.0.1", DNS, "::", 0),
        None,
        SocketState::Close,
        "cache",
    );
    refused_here(&mut story, 10);
    assert_eq!(story.verdict("R37").confidence, Confidence::Weak);
}

/// Who asked this node is no peer that it misses. What a peer sends once more is no answer: it is dropped, as from a martian.
#[test]
fn only_whom_this_node_asked_is_missed_and_what_comes_again_is_no_answer() {
    let mut story = routed(&[]);
    story.rounds(4, |story| story.queue(asked()));
    let (lo, peer) = (ip("127.0.0.1"), ip("192.0.2.10"));
    story.device(NETNS, LO, "lo", false, vec![lo, peer]);
    let address = Thing::Address {
        device: "lo".to_owned(),
        address: peer,
        prefix: 32,
    };
    changed(&mut story, address, Some("scope global"));
    refused_here(&mut story, 10);
    assert!(!story.ids().contains(&"R37".to_owned()), "{:?}", story.ids());

    let mut story = taken("lo");
    story.rounds(10, |story| {
        let martian = drop("IP_INVALID_SOURCE", "ip_rcv_finish_core", Protocol::Udp);
        story.ask_and_lose(asked(), martian);
        refused_here(story, 1);
    });
    let verdict = story.verdict("R37");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert!(
        verdict
            .explanation
            .contains("no answer has reached a socket since"),
        "{}",
        verdict.explanation
    );
}
