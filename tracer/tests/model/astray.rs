//! Policy rules, rules of a firewall and devices that lead astray what this node sends, and those that do not.

use tracer::event::{FlowKey, Protocol, Seen, SocketState, Source, Thing, Version};
use tracer::report::{Confidence, Where};

use crate::hops::by_ip;
use crate::pairing::set;
use crate::story::*;
use crate::ways::{asked, changed, route, routed};

/// By these the peers are reached: the one that is asked over UDP, port 5300, and another one over TCP.
fn other() -> FlowKey {
    flow(Protocol::Tcp, "10.10.0.2", 42_000, "192.0.2.10", 443)
}

fn policy(text: &str) -> Thing {
    Thing::Rule {
        version: Version::V4,
        priority: 100,
        text: text.to_owned(),
        table: 55,
    }
}

/// The same peer, asked by a socket that is new.
fn anew() -> FlowKey {
    crate::story::udp(50_009, "192.0.2.10", 5300)
}

/// A node with a table by which all leaves by a device that leads to nobody; then something is done, and nobody whom this asks
/// answers any more; the other one, where it is asked, does.
fn led(asks_other: bool, change: impl FnOnce(&mut Story)) -> Story {
    let mut story = routed(&[asked()]);
    let aside = Thing::Route {
        table: 55,
        action: "unicast".to_owned(),
        destination: ip("0.0.0.0"),
        prefix: 0,
        metric: 0,
    };
    set(&mut story, aside, Some("dev aside"), Seen::Found, None);
    story.rounds(2, |story| story.exchange(asked()));
    change(&mut story);
    story.rounds(8, |story| {
        story.ask(asked());
        story.ask(anew());
        if asks_other {
            story.exchange(other());
        }
    });
    story
}

/// A rule of nf_tables with these words came.
fn firewall(story: &mut Story, words: &str) {
    firewall_at(story, "o", words);
}

/// The same of this chain.
fn firewall_at(story: &mut Story, chain: &str, words: &str) {
    let rules = || Thing::Ruleset {
        firewall: "nf_tables".to_owned(),
    };
    set(
        story,
        rules(),
        Some("generation 1, tables: ip n"),
        Seen::Found,
        None,
    );
    let did = format!("generation 2, tables: ip n; table ip n, chain {chain}: rule handle 2 ({words}) new");
    set(story, rules(), Some(&did), Seen::Told, by_ip());
}

/// How sure R37 is; `None` where there is none.
fn astray(story: &Story) -> Option<Confidence> {
    let is_one = story.ids().iter().any(|id| id == "R37");
    is_one.then(|| story.verdict("R37").confidence)
}

#[test]
fn a_policy_rule_leads_what_it_is_for() {
    for (text, is) in [
        (
            "from all ipproto udp dport 5300 lookup 55",
            Some(Confidence::Strong),
        ),
        ("from all to 192.0.2.0/24 lookup 55", Some(Confidence::Strong)),
        ("from 10.10.0.2 lookup 55", Some(Confidence::Strong)),
        ("from all ipproto tcp dport 5300 lookup 55", None),
        ("from all ipproto 47 lookup 55", None),
        ("from all dport 53 lookup 55", None),
        ("from 10.10.0.3 lookup 55", None),
        ("from all to 198.51.100.0/24 lookup 55", None),
        // What this node sends itself comes by no such device.
        ("from all iif eth1 lookup 55", None),
        ("from all lookup 55 suppress_prefixlength 0", None),
        // As a VPN has it, whose own packets have that mark.
        ("not from all fwmark 0xca6c lookup 55", Some(Confidence::Strong)),
        // Whether it is for these is not seen; nobody else is asked.
        ("from all fwmark 0x37 lookup 55", Some(Confidence::Weak)),
        ("from all dport 5000-6000 lookup 55", Some(Confidence::Weak)),
    ] {
        let story = led(false, |story| changed(story, policy(text), Some("")));
        assert_eq!(astray(&story), is, "{text}");
    }
    let some = led(true, |story| {
        changed(story, policy("from all fwmark 0x37 lookup 55"), Some(""))
    });
    assert_eq!(astray(&some), Some(Confidence::Strong), "others are answered");
    assert_eq!(some.report().place, Where::GuestKernel);
}

#[test]
fn a_mark_leads_where_a_policy_rule_is_for_it() {
    let marked = |rule: &str, words: &str| {
        let story = led(true, |story| {
            set(story, policy(rule), Some(""), Seen::Found, None);
            firewall(story, words);
        });
        astray(&story)
    };
    const MARK: &str = "udp dport 5300 mark set 0x37";
    assert_eq!(
        marked("from all fwmark 0x37 lookup 55", MARK),
        Some(Confidence::Strong)
    );
    assert_eq!(
        marked("from all fwmark 0x30/0xf0 lookup 55", MARK),
        Some(Confidence::Strong)
    );
    assert_eq!(marked("from all fwmark 0x38 lookup 55", MARK), None);
    assert_eq!(marked("from all fwmark 0x38/0xff lookup 55", MARK), None);
    assert_eq!(marked("from all lookup 55", MARK), None, "no rule is for a mark");
    let other = "tcp dport 5300 mark set 0x37";
    assert_eq!(marked("from all fwmark 0x37 lookup 55", other), None);
    // What arrives by a device is nothing that this node sends.
    let arriving = "iifname eth0 udp mark set 0x37";
    assert_eq!(marked("from all fwmark 0x37 lookup 55", arriving), None);
}

#[test]
fn another_address_that_a_firewall_gives_leads_astray() {
    for (words, is) in [
        ("udp dport 5300 snat to 203.0.113.9", Some(Confidence::Strong)),
        ("oifname eth0 snat to 203.0.113.9", Some(Confidence::Strong)),
        (
            "ip daddr 192.0.2.10 udp dport 5300 dnat to 203.0.113.9:53",
            Some(Confidence::Strong),
        ),
        // It may be for what arrives.
        ("udp dport 5300 dnat to 203.0.113.9:53", Some(Confidence::Weak)),
        // Where to is not told.
        ("udp dport 5300 DNAT", Some(Confidence::Weak)),
        // It is this node's own.
        ("udp dport 5300 snat to 10.10.0.2", None),
        ("oifname eth0 masquerade", None),
        ("tcp snat to 203.0.113.9", None),
        ("ip daddr 198.51.100.1 dnat to 203.0.113.9", None),
        ("ip daddr in @some snat to 203.0.113.9", Some(Confidence::Weak)),
    ] {
        let story = led(false, |story| firewall(story, words));
        assert_eq!(astray(&story), is, "{words}");
    }
}

/// By the chains of iptables it is known whether a rule is for what this node sends.
#[test]
fn a_chain_of_iptables_says_what_a_rule_is_for() {
    for (chain, is) in [
        ("OUTPUT", Some(Confidence::Strong)),
        ("of_both", Some(Confidence::Weak)),
        ("PREROUTING", None),
    ] {
        let story = led(false, |story| {
            firewall_at(story, chain, "udp dport 5300 dnat to 203.0.113.9");
        });
        assert_eq!(astray(&story), is, "{chain}");
    }
}

/// What is sent leaves for the address that the rule gives, where nobody ever answered; the sockets know the one that did.
#[test]
fn a_rule_that_gives_another_destination_than_who_answered() {
    let led_to = |port: u16, asks: bool| {
        let mut story = healthy();
        story.exchange(client(40_000));
        story.tick();
        firewall_at(&mut story, "OUTPUT", "tcp dport 80 dnat to 10.10.0.77:8080");
        story.rounds(8, |story| {
            story.exchange(flow(Protocol::Tcp, "10.10.0.2", 40_100, "192.0.2.20", 443));
            if asks {
                story.socket(client(port), None, SocketState::SynSent, "curl");
            }
            story.ask(flow(Protocol::Tcp, "10.10.0.2", 41_001, "10.10.0.77", 8080));
        });
        astray(&story)
    };
    assert_eq!(led_to(41_001, true), Some(Confidence::Strong));
    // Nobody asks whom it had been answered by.
    assert_eq!(led_to(41_001, false), None);
    assert_eq!(led_to(41_002, true), None);
}

/// What is too large for a device is told by its counters.
#[test]
fn a_device_that_takes_smaller_packets() {
    let shrunk = |dropped: u64| {
        led(false, |story| {
            let device = Thing::Link {
                device: "eth0".to_owned(),
            };
            set(
                story,
                device.clone(),
                Some("up, carrier, mtu 1500"),
                Seen::Found,
                None,
            );
            changed(story, device, Some("up, carrier, mtu 600"));
            if dropped > 0 {
                let index = 2;
                story.say(counter(Source::Device, index, "rx_dropped", dropped));
            }
        })
    };
    assert_eq!(astray(&shrunk(0)), None);
    let story = shrunk(5);
    assert_eq!(astray(&story), Some(Confidence::Strong));
    assert!(story.verdict("R37").explanation.contains("600 bytes"));
}

/// What else there is of rules and routes.
#[test]
fn a_policy_rule_that_leads_nothing_elsewhere() {
    let route = |destination: &str, prefix, action: &str, table| Thing::Route {
        table,
        action: action.to_owned(),
        destination: ip(destination),
        prefix,
        metric: 0,
    };
    let with = |thing: Thing, value: &str, text: &str| {
        let story = led(false, |story| {
            set(story, thing, Some(value), Seen::Found, None);
            changed(story, policy(text), Some(""));
        });
        astray(&story)
    };
    const ALL: &str = "from all to 192.0.2.0/24 lookup 55";
    let before = |text: &str, table| Thing::Rule {
        version: Version::V4,
        priority: 50,
        text: text.to_owned(),
        table,
    };
    assert_eq!(
        with(route("10.99.0.0", 16, "unicast", 55), "dev b", ALL),
        Some(Confidence::Strong)
    );
    assert_eq!(
        with(before("from all lookup main", 254), "", ALL),
        None,
        "another rule is asked before"
    );
    assert_eq!(
        with(route("192.0.2.0", 24, "throw", 55), "", ALL),
        None,
        "the next rule is asked"
    );
    let as_main = route("192.0.2.0", 24, "unicast", 55);
    assert_eq!(
        with(as_main, crate::ways::DEFAULT, ALL),
        None,
        "it leads as table main does"
    );
    let unmarked = "not from all fwmark 0x0/0xff lookup 55";
    assert_eq!(
        with(route("10.99.0.0", 16, "unicast", 55), "dev b", unmarked),
        Some(Confidence::Weak)
    );
}

/// Connections that were there before a rule that translates go on as they did.
#[test]
fn a_rule_that_translates_does_no_harm_to_who_was_there_before() {
    let mut story = routed(&[asked()]);
    firewall(&mut story, "udp dport 5300 snat to 203.0.113.9");
    story.rounds(8, |story| story.ask(asked()));
    assert_eq!(astray(&story), None);
    assert_eq!(story.ids(), ["D01"]);
}

/// What a rule from before gives another source leaves by flows with the ports of those that the sockets know.
#[test]
fn what_leaves_from_an_address_of_nobody() {
    let translated = |port| FlowKey {
        local: ip("203.0.113.9"),
        ..client(port)
    };
    let story = |asks_other: bool, answered: bool, own: bool| {
        let mut story = routed(&[]);
        story.rounds(8, |story| {
            for port in [40_000, 40_001] {
                if own {
                    story.ask(client(port));
                }
                story.ask(translated(port));
            }
            if asks_other {
                story.exchange(other());
            }
            if answered {
                story.exchange(translated(40_002));
            }
        });
        story
    };
    let found = story(true, false, true);
    let verdict = found.verdict("R42");
    assert_eq!(found.ids()[0], "R42");
    assert_eq!(
        (verdict.confidence, verdict.place),
        (Confidence::Strong, Some(Where::GuestKernel))
    );
    let said = "leaves from 203.0.113.9, which no device of it has: 2 flows have the ports";
    assert!(verdict.explanation.contains(said), "{}", verdict.explanation);
    let locals: Vec<&str> = verdict.flows.iter().map(|flow| flow.local.as_str()).collect();
    assert_eq!(locals, ["10.10.0.2:40000", "10.10.0.2:40001"]);

    // All the network may be silent.
    assert_eq!(
        story(false, false, true).verdict("R42").confidence,
        Confidence::Weak
    );
    // Others lead that address to this node; and a program may send what it likes.
    for sound in [story(true, true, true), story(true, false, false)] {
        assert!(!sound.ids().contains(&"R42".to_owned()), "{:?}", sound.ids());
    }
}

/// Where one peer is silent, what leaves from an address that nobody on the link has is surely not answered. What leads everywhere without
/// a gateway, as to the other end of a tunnel, is no link.
#[test]
fn an_address_of_a_network_on_a_link_is_nobodys() {
    let confidence = |network: Thing, leads: &str| {
        let mut story = healthy();
        set(&mut story, network, Some(leads), Seen::Found, None);
        story.rounds(8, |story| {
            for port in [40_000, 40_001] {
                story.ask(client(port));
                story.ask(FlowKey {
                    local: ip("203.0.113.9"),
                    ..client(port)
                });
            }
            story.exchange(flow(Protocol::Tcp, "10.10.0.2", 40_100, "192.0.2.20", 80));
        });
        story.verdict("R42").confidence
    };
    let on_link = confidence(route("203.0.113.0", 24, 0), "dev eth0");
    assert_eq!(on_link, Confidence::Strong);
    let by_tunnel = confidence(route("0.0.0.0", 0, 0), "dev ppp0");
    assert_eq!(by_tunnel, Confidence::Weak);
}

/// A device that asks for no link-layer address any more sends to nobody: not where it never did, nor where it is no uplink.
#[test]
fn an_uplink_whose_arp_was_switched_off() {
    const OFF: &str = "up, carrier, mtu 1500, no ARP";
    let switched = |name: &str, before: &str, after: &str| {
        led(false, |story| {
            let device = Thing::Link {
                device: name.to_owned(),
            };
            set(story, device.clone(), Some(before), Seen::Found, None);
            changed(story, device, Some(after));
        })
    };
    let on = "up, carrier, mtu 1500";
    let story = switched("eth0", on, OFF);
    assert_eq!(story.ids(), ["R37", "D01"]);
    assert_eq!(story.report().place, Where::GuestKernel);
    let verdict = story.verdict("R37");
    assert_eq!(verdict.confidence, Confidence::Strong);
    let remedy = &verdict.remedy[0];
    assert!(remedy.starts_with("ip link set dev eth0 arp on"), "{remedy}");
    for (name, before, after) in [
        ("eth0", OFF, "up, carrier, mtu 1400, no ARP"),
        ("eth0", OFF, on),
        ("lxc1", on, OFF),
    ] {
        let story = switched(name, before, after);
        assert_eq!(story.ids(), ["D01"], "{name}: {before} -> {after}");
    }
}

/// What the same peer answers to pods, which is passed on, is no answer to this node.
#[test]
fn what_is_passed_on_to_pods_does_not_hide_that_this_node_is_not_answered() {
    let passed_on = FlowKey {
        local: ip("10.244.0.9"),
        ..asked()
    };
    let mut story = led(false, |story| {
        changed(story, policy("from 10.10.0.2 lookup 55"), Some(""));
    });
    story.rounds(16, |story| {
        story.ask(asked());
        story.count(passed_on, |flow| {
            flow.iif = ETH0;
            flow.arrived += 1;
        });
    });
    assert_eq!(story.ids(), ["R37", "D01"]);
    let verdict = story.verdict("R37");
    let rule = &verdict.evidence[0].text;
    assert!(rule.ends_with("lookup 55: there"), "{rule}");
}

/// Where nothing of this node is seen to be why, it is no sure sign that the path is silent either, until that has been looked for.
#[test]
fn who_answers_pods_and_not_this_node_is_there() {
    let passed_on = FlowKey {
        local: ip("10.244.0.9"),
        ..asked()
    };
    let mut story = routed(&[asked()]);
    for confidence in [Confidence::Weak, Confidence::Strong] {
        story.rounds(8, |story| {
            story.ask(asked());
            story.count(passed_on, |flow| {
                flow.iif = ETH0;
                flow.arrived += 1;
            });
        });
        let verdict = story.verdict("D01");
        assert_eq!(verdict.confidence, confidence);
        let said = "Others, whose packets this node passes on, are answered from there.";
        assert!(verdict.explanation.contains(said), "{}", verdict.explanation);
    }
}
