//! Next hops that this node itself keeps out of its reach.

use std::net::Ipv6Addr;

use tracer::event::{
    Body, Chain, Chains, EntryKey, Example, Family, Location, Owner, Point, Protocol, Seen, Setting, Thing,
};
use tracer::report::{Confidence, Relation, Where};

use crate::pairing::set;
use crate::story::*;

const ADVERTISEMENT: u8 = 136;
const SOLICITATION: u8 = 135;
const GATEWAY: &str = "2001:db8::1";
const OWN: &str = "2001:db8::2";

fn neighbour(address: &str) -> Thing {
    Thing::Neighbour {
        device: "eth0".to_owned(),
        address: ip(address),
    }
}

/// A connection over IPv6.
fn sixth(port: u16) -> tracer::event::FlowKey {
    flow(Protocol::Tcp, OWN, port, "2001:db8:ffff::10", 80)
}

/// A message of neighbour discovery is dropped.
fn unheard(story: &mut Story, entry: EntryKey, kind: u8, stack: &[&str]) {
    let octets = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
    let target = if kind == ADVERTISEMENT { GATEWAY } else { OWN };
    let mut bytes = vec![0x60, 0, 0, 0, 0, 24, 58, 255];
    bytes.extend(octets(GATEWAY));
    bytes.extend(octets(OWN));
    bytes.extend([kind, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(octets(target));
    story.add(entry.clone(), 1);
    story.say(Body::Example(Box::new(Example {
        entry,
        flow: Some(flow(Protocol::Icmp6, OWN, 0, GATEWAY, 0)),
        packets: 1,
        length: 64,
        socket: None,
        owner: None,
        stack: stack.iter().map(|symbol| at(symbol)).collect::<Vec<Location>>(),
        bytes,
    })));
}

fn by_firewall() -> EntryKey {
    EntryKey {
        ethertype: 0x86dd,
        ..drop("NETFILTER_DROP", "nft_do_chain", Protocol::Icmp6)
    }
}

const STACK: &[&str] = &["nft_do_chain", "nft_do_chain_inet", "nf_hook_slow", "ip6_input"];

/// A node that goes by a gateway over IPv6 too.
fn node() -> Story {
    let mut story = healthy();
    story.say(Body::Chains(Chains {
        netns: NETNS,
        chains: vec![Chain {
            family: Family::Inet,
            hook: Point::Input,
            priority: 0,
            table: "fw".to_owned(),
            name: "in".to_owned(),
        }],
    }));
    let rules = Thing::Ruleset {
        firewall: "nf_tables".to_owned(),
    };
    set(
        &mut story,
        rules,
        Some("generation 1, no tables"),
        Seen::Found,
        None,
    );
    let by = format!("via {GATEWAY} dev eth0");
    for (network, prefix, leads) in [("::", 0, by.as_str()), ("2001:db8::", 64, "dev eth0")] {
        let route = Thing::Route {
            table: 254,
            action: "unicast".to_owned(),
            destination: ip(network),
            prefix,
            metric: 1024,
        };
        set(&mut story, route, Some(leads), Seen::Found, None);
    }
    story.rounds(2, |story| story.exchange(sixth(40_006)));
    story
}

/// Another neighbour, by which nothing goes, is shut out on purpose; and who does not answer is the path's.
#[test]
fn what_a_firewall_drops_of_neighbours_that_nothing_goes_by_is_a_weak_sign() {
    let mut story = node();
    let other = flow(Protocol::Tcp, OWN, 40_007, "2001:db8::77", 80);
    story.rounds(2, |story| story.exchange(other));
    story.rounds(8, |story| {
        story.ask(other);
        story.exchange(client(40_000));
        unheard(story, by_firewall(), ADVERTISEMENT, STACK);
    });
    assert_eq!(story.verdict("R36").confidence, Confidence::Weak);
    assert_eq!(story.verdict("D01").confidence, Confidence::Strong);
    assert_eq!(story.report().place, Where::DataPath);
}

fn firewall_changes(story: &mut Story) {
    let rules = Thing::Ruleset {
        firewall: "nf_tables".to_owned(),
    };
    let now = "generation 2, tables: inet fw; table inet fw new; table inet fw, chain in with policy accept new; table inet fw, \
               chain in: rule handle 2 (icmpv6 type nd-neighbor-advert drop) new";
    set(story, rules, Some(now), Seen::Told, Some(owner("nft")));
}

/// For so many rounds requests leave in vain, while what neighbours say is dropped so.
fn in_vain(story: &mut Story, rounds: u32, entry: &EntryKey, kind: u8) {
    story.rounds(rounds, |story| {
        story.ask(sixth(40_006));
        story.exchange(client(40_000));
        unheard(story, entry.clone(), kind, STACK);
    });
}

/// Strangers still get in: what is sent to anybody beyond the gateway does not even leave.
#[test]
fn a_gateway_that_is_silent_while_packets_arrive() {
    // Of whom nothing was ever heard.
    let stranger = flow(Protocol::Tcp, OWN, 40_007, "2001:db8:ffff::77", 80);
    let silent = |neighbours: &[&str]| {
        let mut story = node();
        for address in neighbours {
            set(&mut story, neighbour(address), Some("FAILED"), Seen::Told, None);
        }
        story.rounds(8, |story| {
            story.ask(stranger);
            story.exchange(client(40_000));
        });
        story.verdict("D01").confidence
    };
    assert_eq!(silent(&[GATEWAY]), Confidence::Strong);
    // A peer on the link may be switched off, and one that is reached by another gateway as well.
    assert_eq!(silent(&["2001:db8:ffff::77"]), Confidence::Weak);
    assert_eq!(silent(&["2001:db8::5"]), Confidence::Weak);
}

#[test]
fn a_firewall_that_drops_what_neighbours_answer() {
    let mut story = node();
    firewall_changes(&mut story);
    set(&mut story, neighbour(GATEWAY), Some("FAILED"), Seen::Told, None);
    in_vain(&mut story, 8, &by_firewall(), ADVERTISEMENT);
    assert_eq!(story.report().place, Where::GuestKernel);
    assert_eq!(story.ids(), ["R36", "D01"]);
    let verdict = story.verdict("R36");
    assert_eq!(verdict.confidence, Confidence::Conclusive);
    for says in [
        "this node's own firewall has dropped at least 8 answers by which 2001:db8::1 on eth0 told this node the link-layer address",
        "Drops of a firewall were seen at netfilter: input, ipv6: table inet fw, chain in.",
    ] {
        assert!(verdict.explanation.contains(says), "{}", verdict.explanation);
    }
    assert_eq!(verdict.cause.relation, Relation::Explains);
    assert_eq!(verdict.flows.len(), 1);
    let path = story.verdict("D01");
    assert_eq!(
        (path.under.as_deref(), path.confidence),
        (Some("R36"), Confidence::Weak)
    );
    assert!(
        path.explanation
            .contains("at least 8 messages were dropped here, NETFILTER_DROP at nft_do_chain")
            && !path.explanation.contains("no reply was seen to be dropped"),
        "{}",
        path.explanation
    );
}

#[test]
fn a_firewall_that_drops_what_neighbours_ask() {
    let mut story = node();
    in_vain(&mut story, 8, &by_firewall(), SOLICITATION);
    let verdict = story.verdict("R36");
    assert!(
        verdict
            .explanation
            .contains("at least 8 questions of 2001:db8::1 on eth0 for this node's own link-layer address"),
        "{}",
        verdict.explanation
    );
}

/// Nobody suffers: the neighbour is known, or another version of IP is silent.
#[test]
fn a_firewall_that_drops_what_nobody_waits_for() {
    let mut story = node();
    story.rounds(8, |story| {
        story.exchange(sixth(40_006));
        unheard(story, by_firewall(), ADVERTISEMENT, STACK);
    });
    assert!(story.ids().is_empty(), "{:?}", story.ids());
    story.rounds(8, |story| {
        story.ask(client(40_000));
        story.exchange(sixth(40_006));
        unheard(story, by_firewall(), ADVERTISEMENT, STACK);
    });
    assert_eq!(story.ids(), ["D01"]);
}

/// As after the device had another link-layer address for a while: neighbours still send to that.
#[test]
fn answers_that_go_to_another_link_layer_address_are_no_sign_of_the_path() {
    let mut story = node();
    let other_host = EntryKey {
        ethertype: 0x86dd,
        ..drop("OTHERHOST", "ip6_rcv_core", Protocol::Icmp6)
    };
    in_vain(&mut story, 8, &other_host, ADVERTISEMENT);
    let verdict = story.verdict("D01");
    assert_eq!(verdict.confidence, Confidence::Weak);
    assert!(
        verdict
            .explanation
            .contains("at least 8 messages were dropped here, OTHERHOST at ip6_rcv_core"),
        "{}",
        verdict.explanation
    );
    assert_eq!(story.report().place, Where::Healthy);
}

const RIGHT: &str = "lladdr 02:00:00:00:00:01";
const WRONG: &str = "lladdr 02:00:00:00:00:99 PERMANENT";

pub(crate) fn by_ip() -> Option<Owner> {
    Some(owner("ip"))
}

/// A node whose gateway gets another link-layer address, and whose requests by it are in vain since.
fn misled(is: &str) -> Story {
    let mut story = healthy();
    let route = Thing::Route {
        table: 254,
        action: "unicast".to_owned(),
        destination: ip("0.0.0.0"),
        prefix: 0,
        metric: 0,
    };
    set(
        &mut story,
        route,
        Some("via 10.10.0.1 dev eth0"),
        Seen::Found,
        None,
    );
    set(&mut story, neighbour("10.10.0.1"), Some(RIGHT), Seen::Found, None);
    story.rounds(4, |story| story.exchange(client(40_000)));
    set(&mut story, neighbour("10.10.0.1"), Some(is), Seen::Told, by_ip());
    story.rounds(8, |story| {
        story.ask(client(40_000));
        story.ask(client(40_001));
    });
    story
}

#[test]
fn a_next_hop_that_was_set_by_hand_is_this_nodes_own_fault() {
    let mut story = misled(WRONG);
    assert_eq!(story.report().place, Where::GuestKernel);
    assert_eq!(story.ids(), ["R37", "D01"]);
    let verdict = story.verdict("R37");
    assert_eq!(
        (verdict.confidence, verdict.cause.relation),
        (Confidence::Strong, Relation::Explains)
    );
    assert!(
        verdict.explanation.contains(
            "neighbour 10.10.0.1 on eth0 changed from lladdr 02:00:00:00:00:01 to lladdr 02:00:00:00:00:99 PERMANENT, by ip[123]"
        ) && verdict.explanation.contains("; it is the next hop to 192.0.2.10."),
        "{}",
        verdict.explanation
    );
    assert_eq!(
        verdict.remedy,
        ["ip neigh del 10.10.0.1 dev eth0  # Risk: low, the kernel asks for it anew."]
    );
    let path = story.verdict("D01");
    assert_eq!(path.under.as_deref(), Some("R37"));
    assert_eq!(path.remedy, verdict.remedy, "nobody else is to be asked");

    // It is taken back.
    set(
        &mut story,
        neighbour("10.10.0.1"),
        Some(RIGHT),
        Seen::Told,
        by_ip(),
    );
    story.rounds(8, |story| {
        story.exchange(client(40_000));
        story.exchange(client(40_001));
    });
    assert_eq!(story.report().place, Where::Healthy, "{:?}", story.ids());
}

#[test]
fn a_next_hop_that_was_only_pinned_is_none() {
    let story = misled(&format!("{RIGHT} PERMANENT"));
    assert_eq!(story.ids(), ["D01"]);
}

/// A pod's answers arrive for another link-layer address than it has, since the node was told a wrong one. The flows are the pod's,
/// the neighbour is the node's.
#[test]
fn what_arrives_for_another_address_is_explained_by_who_sends_it() {
    let cause = |address: &str, value: &str| {
        let mut story = healthy();
        story.rounds(4, |story| story.exchange(client(40_000)));
        story.say(Body::Setting(Box::new(Setting {
            netns: NETNS + 1,
            thing: neighbour(address),
            value: Some(value.to_owned()),
            seen: Seen::Told,
            by: by_ip(),
            by_unknown: None,
        })));
        story.rounds(8, |story| {
            for port in [40_000, 40_001] {
                story.ask_and_lose(client(port), drop("OTHERHOST", "ip_rcv_core", Protocol::Tcp));
            }
        });
        assert_eq!(story.ids(), ["R21"]);
        let verdict = story.verdict("R21");
        (verdict.cause.relation, verdict.remedy)
    };
    let (relation, remedy) = cause("10.10.0.2", WRONG);
    assert_eq!(relation, Relation::Explains);
    assert_eq!(
        remedy,
        [
            "nsenter --net=/proc/PID/ns/net ip neigh del 10.10.0.2 dev eth0  # PID: a process of network namespace 4026531841 \
             (lsns -t net)  # Risk: low, the kernel asks for it anew."
        ]
    );
    assert_ne!(cause("10.10.0.9", WRONG).0, Relation::Explains);
    assert_ne!(cause("10.10.0.2", RIGHT).0, Relation::Explains);
}

/// Nobody saw who set it, or when.
#[test]
fn a_next_hop_that_had_been_set_by_hand_before_is_told() {
    let mut story = healthy();
    set(
        &mut story,
        neighbour("192.0.2.10"),
        Some(WRONG),
        Seen::Found,
        None,
    );
    story.rounds(8, |story| {
        story.ask(client(40_000));
        story.ask(client(40_001));
    });
    let verdict = story.verdict("D01");
    assert!(
        verdict.explanation.contains(
            "By hand, and so not asked for, was set how these are reached: neighbour 192.0.2.10 on eth0 (lladdr 02:00:00:00:00:99 \
             PERMANENT)."
        ) && verdict.remedy[0].starts_with("See first whether"),
        "{verdict:#?}"
    );
}

/// It was set by hand and taken back; then the path falls silent.
#[test]
fn an_entry_that_was_taken_back_before_misleads_nobody() {
    let mut story = healthy();
    set(
        &mut story,
        neighbour("192.0.2.10"),
        Some(WRONG),
        Seen::Told,
        by_ip(),
    );
    story.rounds(2, |story| story.exchange(client(40_000)));
    set(&mut story, neighbour("192.0.2.10"), None, Seen::Told, by_ip());
    story.rounds(4, |story| story.exchange(client(40_000)));
    story.rounds(8, |story| {
        story.ask(client(40_000));
        story.ask(client(40_001));
    });
    assert_eq!(story.ids(), ["D01"]);
}

fn carrier(story: &mut Story, has: bool) {
    let value = if has {
        "up, carrier, mtu 1500"
    } else {
        "up, no carrier, mtu 1500"
    };
    let device = Thing::Link {
        device: "eth0".to_owned(),
    };
    set(story, device, Some(value), Seen::Told, None);
}

/// A cable that is pulled and put in again.
#[test]
fn a_carrier_that_was_lost_explains_the_silence_and_ends_it() {
    let mut story = healthy();
    carrier(&mut story, true);
    story.rounds(4, |story| story.exchange(client(40_000)));
    carrier(&mut story, false);
    story.rounds(6, |story| {
        story.ask(client(40_000));
        story.ask(client(40_001));
    });
    assert_eq!(story.ids(), ["D02", "D01"]);
    assert_eq!(story.verdict("D01").cause.relation, Relation::Explains);
    carrier(&mut story, true);
    story.rounds(2, |story| {
        story.exchange(client(40_000));
        story.exchange(client(40_001));
    });
    // Nobody was silent for another cause.
    assert!(story.ids().is_empty(), "{:?}", story.ids());
    let report = story.report();
    assert_eq!(report.episodes[0].led, ["D02"]);
    let mended = report.episodes[0].mended.as_ref().unwrap();
    assert!(
        mended
            .text
            .starts_with("device eth0 changed from no carrier to carrier"),
        "{mended:?}"
    );
    story.rounds(8, |story| story.exchange(client(40_000)));
    assert!(story.ids().is_empty(), "{:?}", story.ids());
}

/// A pod's device loses its carrier where the pod is stopped: nothing leaves by it for others.
#[test]
fn the_carrier_of_a_pods_device_explains_no_silence() {
    let mut story = healthy();
    let device = || Thing::Link {
        device: "lxc1".to_owned(),
    };
    set(&mut story, device(), Some("up, carrier"), Seen::Found, None);
    story.idle(2);
    set(&mut story, device(), Some("up, no carrier"), Seen::Told, None);
    story.rounds(6, |story| {
        story.ask(client(40_000));
        story.ask(client(40_001));
    });
    assert_eq!(story.verdict("D01").cause.relation, Relation::Unknown);
}
