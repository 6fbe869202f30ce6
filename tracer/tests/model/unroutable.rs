//! A node that has no route for what it is to send.

use tracer::event::{
    Body, Counter, CounterKey, EntryKey, Example, FlowKey, Protocol, Seen, Setting, SocketState, Source,
    Thing, Version,
};
use tracer::report::{Confidence, Fact, Relation, Where};

use crate::beside::places_from;
use crate::story::*;

fn address() -> Thing {
    Thing::Address {
        device: "eth0".to_owned(),
        address: ip("10.10.0.2"),
        prefix: 24,
    }
}

pub(crate) fn default_route() -> Thing {
    Thing::Route {
        table: 254,
        action: "unicast".to_owned(),
        destination: ip("0.0.0.0"),
        prefix: 0,
        metric: 0,
    }
}

fn set(story: &mut Story, thing: Thing, value: Option<&str>, seen: Seen) {
    story.say(Body::Setting(Box::new(Setting {
        netns: NETNS,
        thing,
        value: value.map(str::to_owned),
        seen,
        by: None,
        by_unknown: None,
    })));
}

/// In each of so many rounds something asks for a way in vain.
pub(crate) fn ask_in_vain(story: &mut Story, source: Source, name: &str, rounds: u64) {
    for grown in 1..=rounds {
        grows(story, source, name, grown);
        story.tick();
    }
}

fn grows(story: &mut Story, source: Source, name: &str, grown: u64) {
    story.say(Body::Counter(Counter {
        key: CounterKey {
            netns: NETNS,
            source,
            device: 0,
            name: name.to_owned(),
        },
        grown,
    }));
}

/// What connections send and has no way.
pub(crate) fn unroutable() -> EntryKey {
    EntryKey {
        incoming: false,
        iif: 0,
        device: 0,
        ..drop("IP_OUTNOROUTES", "__ip_queue_xmit", Protocol::Other(0))
    }
}

/// A node that works, with an address and a default route.
fn before() -> Story {
    let mut story = healthy();
    set(&mut story, address(), Some("scope global"), Seen::Found);
    set(
        &mut story,
        default_route(),
        Some("via 10.10.0.1 dev eth0"),
        Seen::Found,
    );
    story.idle(4);
    story
}

#[test]
fn a_default_route_that_is_lost_makes_it_a_fault() {
    let mut story = before();
    set(&mut story, default_route(), None, Seen::Told);
    ask_in_vain(&mut story, Source::Snmp, "IpOutNoRoutes", 6);
    assert_eq!(story.report().place, Where::GuestKernel);
    let verdict = story.verdict("R04");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert_eq!(verdict.cause.relation, Relation::Explains);
    assert!(
        verdict
            .explanation
            .starts_with("No table that all packets are looked up in has a default route of IPv4 any more"),
        "{}",
        verdict.explanation
    );
    let [counter] = verdict.evidence.as_slice() else {
        panic!("{:#?}", verdict.evidence);
    };
    assert!(
        matches!(&counter.fact, Fact::Counter { name, grown: 6, .. } if name == "IpOutNoRoutes"),
        "{counter:?}"
    );
}

/// Something else has no route from the start on, which is a weak sign.
#[test]
fn what_had_no_route_before_does_not_hide_since_when_the_default_route_is_lost() {
    let mut story = before();
    let send = |story: &mut Story, rounds| {
        story.rounds(rounds, |story| {
            story.add(unroutable(), 2);
        });
    };
    send(&mut story, 10);
    assert_eq!(story.verdict("R04").confidence, Confidence::Weak);
    let lost = story.report().window.end;
    set(&mut story, default_route(), None, Seen::Told);
    send(&mut story, 6);
    let verdict = story.verdict("R04");
    assert_eq!(
        (verdict.confidence, verdict.cause.relation),
        (Confidence::Strong, Relation::Explains)
    );
    assert!(verdict.since >= lost, "{lost}: {verdict:#?}");
}

/// As where names have addresses of IPv6 and the node has no way there.
#[test]
fn what_has_no_route_beside_a_default_route_is_no_fault() {
    let mut story = before();
    ask_in_vain(&mut story, Source::Snmp6, "Ip6OutNoRoutes", 6);
    ask_in_vain(&mut story, Source::Snmp, "IpOutNoRoutes", 6);
    let report = story.report();
    assert_eq!(report.place, Where::Healthy);
    assert!(report.verdicts.is_empty(), "{:#?}", report.verdicts);
}

/// The other version's is there.
#[test]
fn each_version_has_a_default_route_of_its_own() {
    let mut story = before();
    set(&mut story, default_route(), None, Seen::Told);
    ask_in_vain(&mut story, Source::Snmp6, "Ip6OutNoRoutes", 6);
    let report = story.report();
    assert!(report.verdicts.is_empty(), "{:#?}", report.verdicts);
}

/// A node that has no default route need not have one.
#[test]
fn a_default_route_that_never_was_is_not_lost() {
    let mut story = healthy();
    set(&mut story, address(), Some("scope global"), Seen::Found);
    story.idle(4);
    ask_in_vain(&mut story, Source::Snmp, "IpOutNoRoutes", 6);
    let report = story.report();
    assert!(report.verdicts.is_empty(), "{:#?}", report.verdicts);
}

/// Which peers are meant to be reached is not known.
#[test]
fn what_has_no_route_is_weak() {
    let out = |reason: &str, symbol: &str| EntryKey {
        incoming: false,
        iif: 0,
        device: 0,
        ..drop(reason, symbol, Protocol::Other(0))
    };
    let mut story = healthy();
    story.rounds(4, |story| {
        story.exchange(client(40_000));
        story.add(out("IP_OUTNOROUTES", "__ip_queue_xmit"), 1);
        story.add(out("NOT_SPECIFIED", "inet6_csk_xmit"), 1);
    });
    let report = story.report();
    assert_eq!((report.place, report.failure_found()), (Where::Healthy, false));
    let verdict = story.verdict("R04");
    assert_eq!(verdict.confidence, Confidence::Weak);
    assert!(
        verdict.explanation.starts_with("8 packets of TCP connections"),
        "{}",
        verdict.explanation
    );
    let told: Vec<&str> = verdict.evidence.iter().map(|one| one.text.as_str()).collect();
    assert_eq!(
        told,
        [
            "IP_OUTNOROUTES at __ip_queue_xmit+0x1c4: 4 packets over IPv4 that this node was sending, since the start",
            "NOT_SPECIFIED at inet6_csk_xmit+0x1c4: 4 packets over IPv6 that this node was sending, since the start"
        ]
    );

    // The last words of connections whose network was taken away.
    let mut story = healthy();
    story.add(out("IP_OUTNOROUTES", "__ip_queue_xmit"), 2);
    story.rounds(4, |story| story.exchange(client(40_000)));
    assert!(story.ids().is_empty());
}

/// Who mends it by hand sets other routes than those that a lease brought: by the same gateway, and that is what counts.
#[test]
fn another_route_by_the_same_way_has_mended_it() {
    let way = |destination: &str, prefix, metric| Thing::Route {
        table: 254,
        action: "unicast".to_owned(),
        destination: ip(destination),
        prefix,
        metric,
    };
    let leased = [
        (
            way("0.0.0.0", 0, 1024),
            "via 10.10.0.1 dev eth0 proto dhcp src 10.10.0.2",
        ),
        (
            way("10.10.0.1", 32, 1024),
            "dev eth0 proto dhcp scope link src 10.10.0.2",
        ),
        (
            way("10.10.0.0", 24, 1024),
            "dev eth0 proto kernel scope link src 10.10.0.2",
        ),
    ];
    let lost = |by_hand: &str| {
        let mut story = healthy();
        set(
            &mut story,
            address(),
            Some("scope global metric 1024 dynamic"),
            Seen::Found,
        );
        for (route, value) in &leased {
            set(&mut story, route.clone(), Some(value), Seen::Found);
        }
        story.idle(4);
        set(&mut story, address(), None, Seen::Told);
        for (route, _) in &leased {
            set(&mut story, route.clone(), None, Seen::Told);
        }
        let out = unroutable();
        story.rounds(6, |story| {
            story.add(out.clone(), 1);
        });
        assert_eq!(story.verdict("R04").mended, None);
        set(&mut story, address(), Some("scope global"), Seen::Told);
        set(
            &mut story,
            way("10.10.0.0", 24, 0),
            Some("dev eth0 proto kernel scope link src 10.10.0.2"),
            Seen::Told,
        );
        set(&mut story, default_route(), Some(by_hand), Seen::Told);
        story.idle(5);
        story
    };
    let report = lost("via 10.10.0.1 dev eth0").report();
    assert!(report.verdicts.is_empty(), "{:#?}", report.verdicts);
    assert!(report.episodes[0].mended.is_some());
    assert_eq!(lost("via 10.10.0.9 dev eth0").ids(), ["R04"], "it is another way");
}

/// Somebody sends away what was on its way until then.
#[test]
fn a_route_that_leads_nowhere_makes_it_a_fault() {
    let route = |action: &str| Thing::Route {
        table: 254,
        action: action.to_owned(),
        destination: ip("192.0.2.0"),
        prefix: 24,
        metric: 0,
    };
    let rule = || Thing::Rule {
        version: Version::V4,
        priority: 90,
        text: "from 10.10.0.2 lookup 100".to_owned(),
        table: 100,
    };
    let after = |thing: Thing| {
        let mut story = before();
        set(&mut story, thing, Some(""), Seen::Told);
        let out = unroutable();
        story.rounds(5, |story| {
            story.exchange(client(40_000));
            story.add(out.clone(), 1);
        });
        story
    };
    for thing in [route("blackhole"), route("unreachable"), rule()] {
        let verdict = after(thing).verdict("R04");
        assert_eq!(
            (verdict.confidence, verdict.cause.relation),
            (Confidence::Strong, Relation::Explains)
        );
    }
    let verdict = after(route("unicast")).verdict("R04");
    assert_eq!(verdict.confidence, Confidence::Weak);
}

/// `ip route replace blackhole default`: the way that it was has to come in its place again.
#[test]
fn what_stands_in_the_place_of_a_lost_way_goes_for_it() {
    let mut story = before();
    let blackhole = Thing::Route {
        table: 254,
        action: "blackhole".to_owned(),
        destination: ip("0.0.0.0"),
        prefix: 0,
        metric: 0,
    };
    for (thing, value) in [(default_route(), None), (blackhole, Some("proto boot"))] {
        story.say(Body::Setting(Box::new(Setting {
            netns: NETNS,
            thing,
            value: value.map(str::to_owned),
            seen: Seen::Told,
            by: Some(owner("ip")),
            by_unknown: None,
        })));
    }
    let out = unroutable();
    story.rounds(5, |story| {
        story.exchange(client(40_000));
        story.add(out.clone(), 1);
    });
    let verdict = story.verdict("R04");
    let commands: Vec<&str> = verdict
        .remedy
        .iter()
        .filter_map(|line| line.split_once("  # ").map(|(command, _)| command))
        .filter(|command| command.contains("ip route "))
        .collect();
    assert_eq!(
        commands,
        [
            "ip route del blackhole default proto boot",
            "ip route replace default via 10.10.0.1 dev eth0",
        ]
    );
}

/// A rule that came long before has sent nothing astray for as long.
#[test]
fn a_rule_that_came_long_ago_explains_nothing() {
    let rule = Thing::Rule {
        version: Version::V4,
        priority: 90,
        text: "from 10.10.0.2 lookup 100".to_owned(),
        table: 100,
    };
    let mut story = before();
    set(&mut story, rule, Some(""), Seen::Told);
    story.idle(150);
    let out = unroutable();
    story.rounds(5, |story| {
        story.exchange(client(40_000));
        story.add(out.clone(), 1);
    });
    let verdict = story.verdict("R04");
    assert_eq!(
        (verdict.confidence, verdict.cause.relation),
        (Confidence::Weak, Relation::Unknown)
    );
}

/// A packet of this connection has no route, as its socket shows: it has no headers yet.
fn show(story: &mut Story, key: FlowKey, who: &str) {
    story.say(Body::Example(Box::new(Example {
        entry: unroutable(),
        flow: None,
        packets: 1,
        length: 60,
        socket: Some((key, SocketState::Established)),
        owner: Some(owner(who)),
        stack: Vec::new(),
        bytes: Vec::new(),
    })));
}

/// Packets of a connection have no route. This had come before the default route went.
fn after_another_change(thing: Thing, value: Option<&str>) -> tracer::report::Verdict {
    let mut story = before();
    let is_gone = value.is_none();
    if is_gone {
        set(&mut story, thing.clone(), Some("scope host"), Seen::Found);
        story.tick();
    }
    set(&mut story, default_route(), None, Seen::Told);
    set(&mut story, thing, value, Seen::Told);
    let out = unroutable();
    story.rounds(6, |story| {
        story.add(out.clone(), 1);
        show(story, client(40_000), "curl");
    });
    story.verdict("R04")
}

/// What is for other networks, or of the other version, has sent none of these packets nowhere.
#[test]
fn what_is_about_others_explains_no_lost_way() {
    let route = |destination: &str, prefix| Thing::Route {
        table: 254,
        action: "unreachable".to_owned(),
        destination: ip(destination),
        prefix,
        metric: 0,
    };
    let lost = |verdict: &tracer::report::Verdict| {
        assert_eq!(verdict.cause.relation, Relation::Explains);
        assert_eq!(verdict.flows_total, 1);
        verdict.cause.text.starts_with("route default (IPv4) went away")
            && !verdict.cause.text.contains("with 1 other change")
    };
    assert!(lost(&after_another_change(route("203.0.113.0", 24), Some(""))));
    let of_v6 = Thing::Address {
        device: "lo".to_owned(),
        address: ip("::1"),
        prefix: 128,
    };
    assert!(lost(&after_another_change(of_v6, None)));
    let to_peer = after_another_change(route("192.0.2.0", 24), Some(""));
    assert!(!lost(&to_peer), "{}", to_peer.cause.text);
}

/// Where no connection is known whose packets these are, their version is; and what only the default route led a narrower one did
/// not send nowhere.
#[test]
fn of_packets_of_nobody_known_the_version_is() {
    let of_v6 = Thing::Address {
        device: "lo".to_owned(),
        address: ip("::1"),
        prefix: 128,
    };
    let mut story = before();
    set(&mut story, of_v6.clone(), Some("scope host"), Seen::Found);
    story.tick();
    set(&mut story, of_v6, None, Seen::Told);
    let out = unroutable();
    story.rounds(6, |story| {
        story.add(out.clone(), 1);
    });
    assert_eq!(story.verdict("R04").cause.relation, Relation::Unknown);

    let mut story = before();
    let narrow = Thing::Route {
        table: 254,
        action: "unreachable".to_owned(),
        destination: ip("203.0.113.0"),
        prefix: 24,
        metric: 0,
    };
    set(&mut story, default_route(), None, Seen::Told);
    set(&mut story, narrow, Some(""), Seen::Told);
    ask_in_vain(&mut story, Source::Snmp, "IpOutNoRoutes", 6);
    let cause = story.verdict("R04").cause;
    assert!(
        cause.text.starts_with("route default (IPv4) went away"),
        "{}",
        cause.text
    );
}

/// The counter grows no more when the route is back, and what TCP sent had no route only later: it began when that was told to have.
#[test]
fn what_is_mended_has_begun_when_it_was_told_to_have() {
    let mut story = before();
    set(&mut story, default_route(), None, Seen::Told);
    for grown in 1..=7 {
        if grown > 3 {
            story.add(unroutable(), 2);
        }
        grows(&mut story, Source::Snmp, "IpOutNoRoutes", grown);
        story.tick();
    }
    let told = story.verdict("R04").since;
    set(
        &mut story,
        default_route(),
        Some("via 10.10.0.1 dev eth0"),
        Seen::Told,
    );
    story.idle(2);
    let verdict = story.verdict("R04");
    assert!(verdict.mended.is_some());
    assert_eq!(verdict.since, told);
    story.idle(30);
    let report = story.report();
    assert_eq!(
        (report.verdicts.len(), report.episodes[0].onset.clone()),
        (0, told)
    );
}

/// Of more connections than can be kept, the way to one network is lost, and mended; and later that to another one.
#[test]
fn a_way_that_is_lost_later_has_its_own_cause_and_its_own_connections() {
    let route = |destination: &str| Thing::Route {
        table: 254,
        action: "unicast".to_owned(),
        destination: ip(destination),
        prefix: 24,
        metric: 0,
    };
    let leads = Some("via 10.10.0.7 dev eth0");
    let (first, second) = (route("198.51.100.0"), route("203.0.113.0"));
    let connection = |peer: &str, port| flow(Protocol::Tcp, "10.10.0.2", port, peer, 443);
    let lose = |story: &mut Story, peer: &str, connections: u16, who: &str| {
        story.rounds(6, |story| {
            for number in 0..connections {
                story.add(unroutable(), 1);
                show(story, connection(peer, 41_000 + number), who);
            }
        });
    };
    for rounds in [4, 60] {
        let mut story = before();
        for route in [&first, &second] {
            set(&mut story, route.clone(), leads, Seen::Found);
        }
        story.idle(4);
        set(&mut story, first.clone(), None, Seen::Told);
        lose(&mut story, "198.51.100.9", 70, "curl");
        let verdict = story.verdict("R04");
        assert_eq!(verdict.cause.relation, Relation::Explains);
        assert!(verdict.cause.text.starts_with("route 198.51.100.0/24 went away"));
        set(&mut story, first.clone(), leads, Seen::Told);
        story.idle(rounds);
        set(&mut story, second.clone(), None, Seen::Told);
        lose(&mut story, "203.0.113.9", 3, "agent");
        let verdict = story.verdict("R04");
        assert!(
            verdict.cause.text.starts_with("route 203.0.113.0/24 went away"),
            "{rounds}: {}",
            verdict.cause.text
        );
        assert_eq!(verdict.flows_total, 3, "{rounds}");
        assert_eq!(verdict.units, ["agent.service"], "{rounds}");
        assert!(
            verdict
                .explanation
                .contains("Some of them were of agent[123] (agent.service)."),
            "{}",
            verdict.explanation
        );
    }
}

/// A device that is set down takes the default route along, and set up again it does not bring it back: what is lost for want of it
/// shows some seconds later, and until then nobody is told that all is well.
#[test]
fn a_node_whose_default_route_went_with_its_uplink_is_not_well_when_that_is_back() {
    let link = || Thing::Link {
        device: "eth0".to_owned(),
    };
    let mut story = before();
    set(&mut story, link(), Some("up, carrier"), Seen::Found);
    story.rounds(4, |story| story.exchange(client(40_000)));
    set(&mut story, link(), Some("down, no carrier"), Seen::Told);
    set(&mut story, default_route(), None, Seen::Noticed);
    ask_in_vain(&mut story, Source::Snmp, "IpOutNoRoutes", 8);
    assert_eq!(story.ids(), ["R22", "R04"]);
    set(&mut story, link(), Some("up, carrier"), Seen::Told);
    let mended = story.events.len();
    let mut asked = 0;
    for _ in 0..24 {
        asked += 1;
        grows(&mut story, Source::Snmp, "IpOutNoRoutes", 8 + asked);
        story.exchange(client(40_000));
        story.tick();
    }
    let places: Vec<Where> = places_from(&story, mended)
        .iter()
        .map(|(place, ..)| *place)
        .collect();
    assert!(!places.contains(&Where::Healthy), "{places:?}");
    assert!(places.contains(&Where::Unknown), "{places:?}");
    assert_eq!(story.ids(), ["R04"]);

    // Nobody misses it.
    set(
        &mut story,
        default_route(),
        Some("via 10.10.0.1 dev eth0"),
        Seen::Told,
    );
    story.rounds(24, |story| story.exchange(client(40_000)));
    assert_eq!(story.report().place, Where::Healthy);
}
