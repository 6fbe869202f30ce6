//! What becomes of the flows: a case for each rule that may have to do with all of them.

use std::net::{IpAddr, Ipv4Addr};

use tracer::event::{
    Body, CapabilityState, EntryKey, Fate, FlowCount, FlowKey, Neighbour, Origin, Protocol, Queue, Seen,
    Setting, SocketState, Thing, Unresolved, Version,
};

use crate::story::*;

/// Pods of the node, each with a device, a route and a rule of its own.
const PODS: u32 = 110;
/// The device of the first one; the others follow.
const FIRST: u32 = 100;
/// Units that have the sockets.
const UNITS: u32 = 100;

/// What becomes of the flows.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The verdict that is first; empty where there is none.
    pub(crate) verdict: &'static str,
    /// The flow with this number.
    pub(crate) key: fn(u32) -> FlowKey,
    /// What there is on the node before.
    pub(crate) begins: fn(&mut Story),
    /// What each flow did while all was well.
    pub(crate) before: fn(&mut Story, u32, FlowKey),
    /// What happens then.
    pub(crate) breaks: fn(&mut Story),
    /// What each flow does in every round since.
    pub(crate) does: fn(&mut Story, u32, FlowKey),
    /// What else happens in every round.
    pub(crate) goes_on: fn(&mut Story, u32),
}

/// Connections of this node that are open and are answered.
const ANSWERED: Case = Case {
    name: "all are answered",
    verdict: "",
    key: connection,
    begins: |_| {},
    before: |story, number, key| {
        open(story, number, key);
        story.exchange(key);
    },
    breaks: |_| {},
    does: |story, _, key| story.exchange(key),
    goes_on: |_, _| {},
};

/// Flows that others have with pods of this node.
const OF_PODS: Case = Case {
    key: of_pod,
    before: |story, _, key| arrives(story, key, ETH0),
    does: |story, _, key| arrives(story, key, ETH0),
    ..ANSWERED
};

/// Datagrams that others send to this node.
const DATAGRAMS: Case = Case {
    key: |number| FlowKey {
        protocol: Protocol::Udp,
        ..served_at(8125, number)
    },
    begins: |story| story.socket(bound(Protocol::Udp, 8125), None, SocketState::Close, "statsd"),
    before: |story, _, key| {
        story.queue(key);
        story.reads(bound(Protocol::Udp, 8125), 1);
    },
    does: |story, _, key| story.queue(key),
    ..ANSWERED
};

/// Pods whose packets leave as they are, since the rule that gave them the node's address went away.
const NO_MASQUERADE: Case = Case {
    name: "pods have no masquerade any more",
    verdict: "R40",
    begins: |story| {
        set(
            story,
            rules(),
            Some("generation 2, tables: inet pods"),
            Seen::Found,
        );
        // An answer to one of them, as it comes to the node.
        arrives(story, flow(Protocol::Udp, "10.10.0.2", 40_000, NAMES, 53), ETH0);
    },
    key: |number| FlowKey {
        remote: pod(number),
        ..flow(
            Protocol::Udp,
            NAMES,
            53,
            "10.244.0.2",
            1024 + (number / PODS) as u16,
        )
    },
    before: |story, number, key| arrives(story, key, FIRST + number % PODS),
    breaks: |story| {
        let gone = "generation 3, no tables; table inet pods, chain nat: rule handle 2 (ip saddr 10.244.0.0/16 masquerade) gone";
        set(story, rules(), Some(gone), Seen::Told);
    },
    does: |story, _, key| {
        story.count(key, |flow| flow.arrived += 1);
    },
    ..OF_PODS
};

pub(crate) const CASES: [Case; 26] = [
    ANSWERED,
    Case {
        name: "replies routed as foreign",
        verdict: "R01",
        does: |story, _, key| story.ask_and_lose(key, foreign()),
        ..ANSWERED
    },
    Case {
        name: "replies lost without a name",
        verdict: "K01",
        does: |story, _, key| story.ask_and_lose(key, tcp_drop("NOT_SPECIFIED", "ip_rcv_core")),
        ..ANSWERED
    },
    Case {
        name: "nothing comes back",
        verdict: "D01",
        does: |story, _, key| story.ask(key),
        ..ANSWERED
    },
    Case {
        name: "a server is gone",
        verdict: "R12",
        key: |number| served_at(8080, number),
        begins: |story| story.listen(8080, "web"),
        before: |_, _, _| {},
        breaks: |story| {
            story.socket(
                bound(Protocol::Tcp, 8080),
                Some(SocketState::Listen),
                SocketState::Close,
                "web",
            );
        },
        does: |story, _, key| story.refuse(key, "tcp_v4_rcv"),
        ..ANSWERED
    },
    Case {
        name: "nothing came back for a while",
        verdict: "D01",
        does: |story, round, key| {
            if round < 12 {
                story.ask(key);
            } else {
                story.exchange(key);
            }
        },
        ..ANSWERED
    },
    Case {
        name: "new connections get no answer",
        verdict: "D01",
        before: |story, number, key| {
            story.socket(key, None, SocketState::SynSent, &unit(number));
            story.ask(key);
        },
        does: |story, _, key| story.ask(key),
        ..ANSWERED
    },
    Case {
        name: "replies were lost for a while",
        verdict: "K01",
        does: |story, round, key| {
            if round < 12 {
                story.ask_and_lose(key, tcp_drop("NOT_SPECIFIED", "ip_rcv_core"));
            } else {
                story.exchange(key);
            }
        },
        ..ANSWERED
    },
    Case {
        name: "a firewall drops replies",
        verdict: "R06",
        does: |story, _, key| story.ask_and_lose(key, tcp_drop("NETFILTER_DROP", "nft_do_chain")),
        ..ANSWERED
    },
    Case {
        name: "the reverse path filter drops replies",
        verdict: "R03",
        does: |story, _, key| story.ask_and_lose(key, tcp_drop("IP_RPFILTER", "ip_rcv_finish_core")),
        ..ANSWERED
    },
    Case {
        name: "the address is gone",
        verdict: "R05",
        breaks: |story| {
            let address = Thing::Address {
                device: "eth0".to_owned(),
                address: ip("10.10.0.2"),
                prefix: 24,
            };
            set(story, address.clone(), Some("global"), Seen::Found);
            set(story, address, None, Seen::Told);
            story.device(NETNS, ETH0, "eth0", true, Vec::new());
        },
        does: |story, _, key| story.ask_and_lose(key, tcp_drop("IP_INADDRERRORS", "ip_error")),
        ..ANSWERED
    },
    Case {
        name: "the uplink is down",
        verdict: "R22",
        breaks: |story| {
            set(
                story,
                link("eth0"),
                Some("down, no carrier, mtu 1500"),
                Seen::Told,
            )
        },
        does: |story, _, key| story.ask(key),
        ..ANSWERED
    },
    Case {
        name: "neighbours are not answered",
        verdict: "R30",
        does: |story, _, key| story.ask(key),
        goes_on: |story, round| {
            story.say(Body::Neighbour(Neighbour {
                netns: NETNS,
                device: ETH0,
                address: ip("10.10.0.2"),
                asked: 1 + u64::from(round),
                answered: 0,
            }));
        },
        ..ANSWERED
    },
    Case {
        name: "a firewall drops what is sent",
        verdict: "K02",
        breaks: |story| {
            let rules = Thing::Ruleset {
                firewall: "nf_tables".to_owned(),
            };
            set(story, rules, Some("generation 2"), Seen::Told);
        },
        does: |story, _, key| {
            let kept = EntryKey {
                iif: 0,
                incoming: false,
                ..tcp_drop("NETFILTER_DROP", "nft_do_chain")
            };
            story.add(kept.clone(), 1);
            story.example(kept, key, Some(SocketState::Established), "curl");
        },
        ..ANSWERED
    },
    Case {
        name: "a server accepts nothing",
        verdict: "R15",
        key: |number| served_at(8080, number),
        begins: |story| story.listen(8080, "web"),
        before: |story, _, key| {
            story.socket(key, Some(SocketState::SynRecv), SocketState::Established, "web");
            reaches(story, key);
        },
        does: |story, _, key| reaches(story, key),
        goes_on: |story, round| {
            story.say(netstat("TcpExtListenOverflows", 1 + u64::from(round)));
            story.say(Body::Queue(Box::new(Queue {
                flow: bound(Protocol::Tcp, 8080),
                state: SocketState::Listen,
                inode: 5,
                waiting: 129,
                limit: Some(128),
                drops: None,
                retries: 0,
                owner: Some(owner("web")),
                held: None,
            })));
        },
        ..ANSWERED
    },
    Case {
        name: "a socket is full",
        verdict: "R13",
        does: |story, _, key| {
            let full = EntryKey {
                socket_found: true,
                ..drop("SOCKET_RCVBUFF", "udp_queue_rcv_one_skb", Protocol::Udp)
            };
            is_dropped(story, key, full);
        },
        ..DATAGRAMS
    },
    Case {
        name: "a socket is not read",
        verdict: "R14",
        ..DATAGRAMS
    },
    Case {
        name: "forwarding is off",
        verdict: "K03",
        breaks: |story| {
            let forwarding = || Thing::Sysctl {
                name: "net.ipv4.conf.all.forwarding".to_owned(),
            };
            set(story, forwarding(), Some("1"), Seen::Found);
            set(story, forwarding(), Some("0"), Seen::Told);
        },
        does: |story, _, key| is_dropped(story, key, drop("IP_INADDRERRORS", "ip_error", Protocol::Udp)),
        ..OF_PODS
    },
    Case {
        name: "pods do not tell their link-layer addresses",
        verdict: "R17",
        goes_on: |story, round| {
            for number in 0..PODS {
                story.say(Body::Unresolved(Unresolved {
                    netns: NETNS,
                    device: FIRST + number,
                    address: pod(number),
                    iif: ETH0,
                    packets: 1 + u64::from(round),
                    before: 0,
                    before_bytes: 0,
                }));
            }
        },
        ..OF_PODS
    },
    Case {
        name: "the routes to pods are lost",
        verdict: "R18",
        breaks: |story| (0..PODS).for_each(|number| set(story, route(pod(number), 32), None, Seen::Told)),
        goes_on: |story, _| {
            story.add(line(Fate::Forwarded, Protocol::Udp), 1000);
        },
        ..OF_PODS
    },
    Case {
        name: "the devices of pods have no carrier",
        verdict: "R18",
        breaks: |story| {
            for number in 0..PODS {
                let device = link(&device(number));
                set(story, device, Some("up, no carrier, mtu 1500"), Seen::Told);
            }
        },
        goes_on: |story, _| {
            for number in 0..PODS {
                let lost = EntryKey {
                    device: FIRST + number,
                    ..drop("QDISC_DROP", "__dev_queue_xmit", Protocol::Udp)
                };
                story.add(lost, 10);
            }
        },
        ..OF_PODS
    },
    Case {
        name: "the rules of pods are lost",
        verdict: "R33",
        begins: |story| {
            for number in 0..PODS {
                set(story, rule(number), Some(""), Seen::Found);
                // Each was answered once.
                arrives(story, of_pod(number), ETH0);
            }
        },
        key: |number| FlowKey {
            local: IpAddr::from(remote(number)),
            local_port: 443,
            remote: pod(number % PODS),
            remote_port: 40_000,
            ..of_pod(number)
        },
        before: |story, number, key| arrives(story, key, FIRST + number % PODS),
        breaks: |story| (0..PODS).for_each(|number| set(story, rule(number), None, Seen::Told)),
        does: |story, _, key| {
            story.count(key, |flow| flow.arrived += 1);
        },
        ..OF_PODS
    },
    NO_MASQUERADE,
    Case {
        name: "a firewall drops a flood at a server",
        // Of two who were never let in, by each of their ports.
        key: |number| FlowKey {
            remote: remote(number / 50_000).into(),
            remote_port: 1024 + (number % 50_000) as u16,
            ..served_at(8080, 0)
        },
        begins: |story| {
            story.listen(8080, "web");
            set(
                story,
                rules(),
                Some("generation 1, tables: inet guard"),
                Seen::Found,
            )
        },
        before: |_, _, _| {},
        breaks: |story| ruleset(story, 2, "rule handle 2 (tcp dport 8080 ct state new drop) new"),
        does: |story, _, key| is_dropped(story, key, tcp_drop("NETFILTER_DROP", "nft_do_chain")),
        goes_on: |story, _| reaches(story, served_at(8080, 100_000)),
        ..ANSWERED
    },
    Case {
        name: "rules of a firewall come and go all the time",
        verdict: "R06",
        begins: |story| {
            set(
                story,
                rules(),
                Some("generation 1, tables: inet guard"),
                Seen::Found,
            )
        },
        breaks: |story| ruleset(story, 2, "rule handle 2 (tcp sport 80 drop) new"),
        does: |story, _, key| story.ask_and_lose(key, tcp_drop("NETFILTER_DROP", "nft_do_chain")),
        goes_on: |story, round| {
            for number in 0..AT_ONCE {
                let came = if number % 2 == 0 { "new" } else { "gone" };
                let handle = 3 + round * AT_ONCE + number / 2;
                ruleset(
                    story,
                    handle,
                    &format!("rule handle {handle} (tcp sport 80 drop) {came}"),
                );
            }
        },
        ..ANSWERED
    },
    Case {
        name: "masquerades went by the thousand",
        breaks: |story| {
            for number in 0..16 * AT_ONCE {
                let words = format!("ip saddr 10.244.0.0/16 ip daddr {} masquerade", remote(number));
                ruleset(story, number, &format!("rule handle {number} ({words}) gone"));
            }
            let gone = "rule handle 2 (ip saddr 10.244.0.0/16 masquerade) gone";
            ruleset(story, 1, gone);
        },
        ..NO_MASQUERADE
    },
];

/// Changes of a firewall's rules in one round: 10,000 in all.
const AT_ONCE: u32 = 625;

/// Whom pods ask for names.
const NAMES: &str = "192.0.2.53";

/// A node with pods, whose changes were told before.
pub(crate) fn node() -> Story {
    let mut story = Story::begin();
    story.capability("arrivals", CapabilityState::Available);
    set(
        &mut story,
        link("eth0"),
        Some("up, carrier, mtu 1500"),
        Seen::Found,
    );
    let default = route(IpAddr::from([0; 4]), 0);
    set(&mut story, default, Some("via 10.10.0.1 dev eth0"), Seen::Found);
    for number in 0..PODS {
        let device = device(number);
        story.device(NETNS, FIRST + number, &device, false, Vec::new());
        set(
            &mut story,
            link(&device),
            Some("up, carrier, mtu 1500"),
            Seen::Found,
        );
        let leads = format!("dev {device} scope link");
        set(&mut story, route(pod(number), 32), Some(&leads), Seen::Found);
    }
    story
}

/// Something changes that has nothing to do with it: a parameter is set, or the route to a pod that was ended goes away.
pub(crate) fn change(story: &mut Story, number: u32) {
    if number.is_multiple_of(2) {
        let name = format!("net.ipv4.number.{number}");
        set(story, Thing::Sysctl { name }, Some("1"), Seen::Told);
    } else {
        let [.., high, low] = number.to_be_bytes();
        let ended = route(IpAddr::from([203, 0, high, low]), 32);
        set(story, ended.clone(), Some("dev lxc7 scope link"), Seen::Found);
        set(story, ended, None, Seen::Told);
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

fn link(device: &str) -> Thing {
    Thing::Link {
        device: device.to_owned(),
    }
}

fn route(destination: IpAddr, prefix: u8) -> Thing {
    Thing::Route {
        table: 254,
        action: "unicast".to_owned(),
        destination,
        prefix,
        metric: 0,
    }
}

fn rules() -> Thing {
    Thing::Ruleset {
        firewall: "nf_tables".to_owned(),
    }
}

/// A change of the rules of a chain.
fn ruleset(story: &mut Story, generation: u32, did: &str) {
    let value = format!("generation {generation}, tables: inet guard; table inet guard, chain in: {did}");
    set(story, rules(), Some(&value), Seen::Told);
}

fn rule(number: u32) -> Thing {
    Thing::Rule {
        version: Version::V4,
        priority: 1536,
        text: format!("from {} lookup 2", pod(number)),
        table: 2,
    }
}

fn pod(number: u32) -> IpAddr {
    IpAddr::from([10, 244, 0, 2 + (number % PODS) as u8])
}

fn device(number: u32) -> String {
    format!("lxc{}", 100 + number)
}

fn unit(number: u32) -> String {
    format!("web-{}", number % UNITS)
}

/// A peer of its own for each number.
fn remote(number: u32) -> Ipv4Addr {
    let [_, high, middle, low] = number.to_be_bytes();
    Ipv4Addr::new(198, 18 + high, middle, low)
}

/// A connection of this node.
fn connection(number: u32) -> FlowKey {
    FlowKey {
        remote: remote(number).into(),
        ..client(20_000 + (number % 40_000) as u16)
    }
}

/// A flow of somebody else to a port of this node.
fn served_at(port: u16, number: u32) -> FlowKey {
    FlowKey {
        remote: remote(number).into(),
        local_port: port,
        ..served(20_000 + (number % 40_000) as u16)
    }
}

/// A flow of somebody else to a pod.
fn of_pod(number: u32) -> FlowKey {
    FlowKey {
        protocol: Protocol::Udp,
        local: pod(number),
        ..served_at(8080, number)
    }
}

fn open(story: &mut Story, number: u32, key: FlowKey) {
    story.socket(key, None, SocketState::Established, &unit(number));
}

fn tcp_drop(reason: &str, symbol: &str) -> EntryKey {
    drop(reason, symbol, Protocol::Tcp)
}

/// Something arrives by that device.
fn arrives(story: &mut Story, key: FlowKey, by: u32) {
    story.arrived(key.protocol, 1).count(key, |flow| {
        flow.origin = Origin::Remote;
        flow.iif = by;
        flow.arrived += 1;
    });
}

/// A segment of somebody else's connection reaches its socket.
fn reaches(story: &mut Story, key: FlowKey) {
    arrives(story, key, ETH0);
    story.add(line(Fate::Matched, key.protocol), 1);
    story.count(key, |flow: &mut FlowCount| flow.matched += 1);
}

/// Something arrives and is dropped.
fn is_dropped(story: &mut Story, key: FlowKey, entry: EntryKey) {
    let last = (entry.reason.clone().unwrap(), entry.location.clone().unwrap());
    arrives(story, key, ETH0);
    story.add(entry, 1).count(key, |flow| {
        flow.dropped += 1;
        flow.last_drop = Some(last);
    });
}
