//! Addresses of a node that are gone.

use tracer::event::{Protocol, Seen, Thing};
use tracer::report::{Relation, Verdict};

use crate::hops::by_ip;
use crate::pairing::{local_rule, set};
use crate::story::*;

fn address(text: &str, prefix: u8) -> Thing {
    Thing::Address {
        device: "eth0".to_owned(),
        address: ip(text),
        prefix,
    }
}

/// What is for the address of the node is somebody else's, after these have gone one after another.
fn lost(gone: &[(&str, u8)]) -> Verdict {
    let mut story = healthy();
    set(&mut story, local_rule(), Some(""), Seen::Found, None);
    for (text, prefix) in gone {
        set(
            &mut story,
            address(text, *prefix),
            Some("scope global"),
            Seen::Found,
            None,
        );
    }
    story.idle(8);
    for (text, prefix) in gone {
        set(&mut story, address(text, *prefix), None, Seen::Told, by_ip());
    }
    story.device(NETNS, ETH0, "eth0", true, Vec::new());
    story.rounds(8, |story| {
        for port in [40_000, 40_001] {
            story.ask_and_lose(client(port), foreign());
        }
    });
    story.verdict("R05")
}

/// With the primary address of a network the kernel takes away the others, which go before: where they came back in that order, what
/// is sent would leave from another address than before.
#[test]
fn the_primary_address_of_a_network_is_added_first() {
    let verdict = lost(&[
        ("10.10.0.9", 24),
        ("10.10.0.8", 24),
        ("10.10.0.2", 24),
        ("192.0.2.7", 24),
    ]);
    assert_eq!(verdict.cause.relation, Relation::Explains);
    let own: Vec<&str> = verdict
        .remedy
        .iter()
        .filter_map(|line| line.strip_prefix("ip addr add ")?.split(' ').next())
        .collect();
    assert_eq!(
        own,
        ["10.10.0.2/24", "192.0.2.7/24", "10.10.0.9/24", "10.10.0.8/24"],
        "{:#?}",
        verdict.remedy
    );
}

/// It was gone when the tracer started: no cause tells what it was.
#[test]
fn an_address_that_was_gone_before_is_not_told_by_a_cause() {
    let verdict = lost(&[]);
    assert_ne!(verdict.cause.relation, Relation::Explains);
    let mend = verdict.remedy.join("\n");
    assert!(
        mend.contains("ip addr add") && !mend.contains("as the cause has them"),
        "{mend}"
    );
}

/// IPv6 is to be switched on first, and brings the link-local address along.
#[test]
fn ipv6_is_switched_on_before_its_addresses_are_added() {
    let mut story = healthy();
    let own = flow(Protocol::Tcp, "2001:db8::2", 40_000, "2001:db8:1::1", 80);
    let switch = Thing::Sysctl {
        name: "net.ipv6.conf.eth0.disable_ipv6".to_owned(),
    };
    let all = [
        (address("fe80::2", 64), "scope link"),
        (address("2001:db8::2", 64), "scope global"),
    ];
    set(&mut story, switch.clone(), Some("0"), Seen::Found, None);
    for (thing, value) in &all {
        set(&mut story, thing.clone(), Some(value), Seen::Found, None);
    }
    story.rounds(8, |story| story.exchange(own));
    for (thing, _) in all {
        set(&mut story, thing, None, Seen::Told, by_ip());
    }
    set(&mut story, switch, Some("1"), Seen::Told, by_ip());
    let lost = drop("IPV6DISABLED", "ip6_rcv_core", Protocol::Tcp);
    story.rounds(8, |story| story.ask_and_lose(own, lost.clone()));
    let remedy = story.verdict("R24").remedy;
    assert!(
        remedy[0].starts_with("sysctl -w net.ipv6.conf.eth0.disable_ipv6=0"),
        "{remedy:#?}"
    );
    assert!(!remedy.iter().any(|line| line.contains("fe80")), "{remedy:#?}");
}
