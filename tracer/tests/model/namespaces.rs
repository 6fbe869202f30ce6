//! Each namespace has its own books, and no packet is in the node's twice.

use tracer::event::{
    Body, Counter, CounterKey, Device, EntryKey, Fate, FlowKey, Namespace, NamespaceEnded, Origin, Owner,
    Peer, Protocol, Seen, Setting, SocketState, Source, Thing,
};
use tracer::report::{Became, Followed, Following, Ledger, Role, What, Where};

use crate::pairing::{local_rule, set};
use crate::story::*;
use crate::unroutable::{default_route, unroutable};
use crate::ways::DEFAULT;

const POD: u32 = 4_026_532_201;
/// The pod's device, the other end of which is the node's [`LXC1`].
const POD0: u32 = 7;

fn namespace(inode: u32, name: &str, cookie: u64) -> Body {
    Body::Namespace(Namespace {
        inode,
        name: name.to_owned(),
        cookie,
        owner: None,
    })
}

fn device(netns: u32, index: u32, name: &str, peer: Option<Peer>) -> Device {
    Device {
        netns,
        index,
        name: name.to_owned(),
        uplink: netns != NETNS,
        assumed: netns != NETNS,
        addresses: Vec::new(),
        over: Vec::new(),
        peer,
    }
}

/// The node and a pod that comes by the node's device `lxc`.
fn pod(story: &mut Story, inode: u32, name: &str, cookie: u64, lxc: u32) {
    story.say(namespace(inode, name, cookie));
    let (here, there) = (
        Peer {
            netns: NETNS,
            index: lxc,
        },
        Peer {
            netns: inode,
            index: POD0,
        },
    );
    story.say(Body::Device(device(inode, POD0, "eth0", Some(here))));
    story.say(Body::Device(device(
        NETNS,
        lxc,
        &format!("lxc{lxc}"),
        Some(there),
    )));
}

fn node_and_pod() -> Story {
    let mut story = Story::begin();
    pod(&mut story, POD, "pod", 11, LXC1);
    story
}

fn in_pod(inode: u32, fate: Fate) -> EntryKey {
    EntryKey {
        netns: inode,
        iif: POD0,
        device: POD0,
        ..line(fate, Protocol::Tcp)
    }
}

/// So many packets for the pod come by the uplink and leave by the node's end of the pair.
fn forward(story: &mut Story, lxc: u32, packets: u64) {
    story.arrived(Protocol::Tcp, packets).add(
        EntryKey {
            device: lxc,
            ..line(Fate::Forwarded, Protocol::Tcp)
        },
        packets,
    );
}

#[test]
fn what_is_forwarded_to_a_pod_is_once_in_the_nodes_books_and_once_in_the_pods() {
    let mut story = node_and_pod();
    forward(&mut story, LXC1, 100);
    story
        .add(in_pod(POD, Fate::Arrived), 97)
        .add(in_pod(POD, Fate::Matched), 97);
    // The node asks for the pod's neighbour: that makes up for no loss.
    story.add(
        EntryKey {
            ethertype: 0x0806,
            protocol: Protocol::Other(0),
            ..in_pod(POD, Fate::Arrived)
        },
        2,
    );
    story.tick();
    let report = story.report();
    let node = Ledger {
        arrived: 100,
        forwarded: 100,
        ..Ledger::default()
    };
    assert_eq!(report.ledger, node);
    assert_eq!(report.uplinks, ["eth0"]);
    assert_eq!(
        (report.bytes.arrived, report.bytes.forwarded, report.bytes.rest),
        (10_000, 10_000, 0)
    );
    let [host, pod] = report.namespaces.as_slice() else {
        panic!("two namespaces: {:#?}", report.namespaces);
    };
    assert_eq!(
        (host.name.as_str(), host.role, host.ledger),
        ("host", Role::Node, node)
    );
    assert_eq!(host.followed, None);
    assert_eq!((pod.name.as_str(), pod.role, pod.inode), ("pod", Role::Pod, POD));
    assert_eq!(pod.uplinks, ["eth0"]);
    let ledger = Ledger {
        arrived: 99,
        delivered: 97,
        unexplained: 2,
        ..Ledger::default()
    };
    assert_eq!(pod.ledger, ledger);
    assert_eq!((pod.bytes.arrived, pod.bytes.rest), (9900, 9900));
    assert!(pod.rates.arrived > 0.0);
    let followed = Followed {
        forwarded: 100,
        arrived: 99,
        lost_on_the_way: 3,
    };
    assert_eq!(pod.followed, Some(followed));
}

#[test]
fn drops_of_a_pod_are_not_in_the_nodes_ledger() {
    let mut story = node_and_pod();
    story.add(in_pod(POD, Fate::Arrived), 5);
    let lost = drop("NO_SOCKET", "tcp_v4_rcv", Protocol::Tcp);
    story.add(
        EntryKey {
            netns: POD,
            iif: POD0,
            ..lost
        },
        5,
    );
    story.tick();
    let report = story.report();
    assert_eq!(report.ledger, Ledger::default());
    assert_eq!((report.drops[0].packets, report.drops[0].in_ledger), (5, false));
    assert_eq!(report.namespaces[1].ledger.dropped, 5);
}

#[test]
fn without_real_uplinks_the_tracers_own_namespace_is_the_node() {
    let mut story = Story::with_namespaces(&[(POD, "pod"), (9, "other")]);
    let there = Peer { netns: 9, index: 3 };
    story.say(Body::Device(device(POD, POD0, "eth0", Some(there))));
    story.say(Body::Device(device(
        9,
        3,
        "a",
        Some(Peer {
            netns: POD,
            index: POD0,
        }),
    )));
    story.add(in_pod(POD, Fate::Arrived), 5);
    story.add(
        EntryKey {
            netns: 9,
            iif: 3,
            ..line(Fate::Arrived, Protocol::Tcp)
        },
        3,
    );
    story.tick();
    assert_eq!(story.report().ledger.arrived, 5);
}

#[test]
fn a_namespace_that_vanished_is_told_as_ended_and_nothing_in_it_starves() {
    let mut story = node_and_pod();
    let mut client = client(40_000);
    client.netns = POD;
    story.socket(client, None, SocketState::Established, "curl");
    story.rounds(6, |story| {
        story.add(in_pod(POD, Fate::Arrived), 1);
        story.count(client, |flow| {
            flow.arrived += 1;
            flow.dropped += 1;
            flow.last_drop = Some(("IP_RPFILTER".to_owned(), at("ip_rcv_finish_core")));
        });
    });
    assert_eq!(story.report().starved.len(), 1);
    story.say(Body::NamespaceEnded(NamespaceEnded { inode: POD }));
    story.tick();
    let report = story.report();
    assert_eq!(report.starved, []);
    let pod = &report.namespaces[1];
    assert_eq!((pod.ledger.arrived, pod.ended.is_some()), (6, true));
    // 10 min later nothing is told of it any more, and what comes later under its inode is another's.
    story.idle(1300);
    assert_eq!(story.report().namespaces.len(), 1);
    pod_again(&mut story);
    assert_eq!(story.report().namespaces[1].ledger.arrived, 2);
}

fn pod_again(story: &mut Story) {
    pod(story, POD, "next", 12, 4);
    story.add(in_pod(POD, Fate::Arrived), 2).tick();
}

#[test]
fn an_inode_that_is_used_again_mixes_up_nothing() {
    let mut story = node_and_pod();
    forward(&mut story, LXC1, 10);
    let mut service = bound(Protocol::Udp, 53);
    service.netns = POD;
    story.add(in_pod(POD, Fate::Arrived), 10);
    story.reads(service, 1000);
    story.tick();
    story.say(Body::NamespaceEnded(NamespaceEnded { inode: POD }));
    story.tick();
    // The counts of the programs go on under the same inode, and so under the same keys.
    pod(&mut story, POD, "next", 12, 4);
    forward(&mut story, 4, 5);
    story
        .add(in_pod(POD, Fate::Arrived), 4)
        .add(
            EntryKey {
                protocol: Protocol::Udp,
                ..in_pod(POD, Fate::Arrived)
            },
            3,
        )
        .add(
            EntryKey {
                protocol: Protocol::Udp,
                ..in_pod(POD, Fate::Queued)
            },
            3,
        );
    let mut asked = udp(53, "10.244.0.9", 999);
    asked.netns = POD;
    story.count(asked, |flow| (flow.arrived, flow.queued) = (3, 3));
    story.reads(service, 1);
    story.tick();
    let report = story.report();
    let [_, next, before] = report.namespaces.as_slice() else {
        panic!("three namespaces: {:#?}", report.namespaces);
    };
    let (next, before) = if next.name == "next" {
        (next, before)
    } else {
        (before, next)
    };
    assert_eq!(
        (before.name.as_str(), before.inode, next.inode),
        ("pod", POD, POD)
    );
    assert!(before.ended.is_some() && next.ended.is_none());
    assert_eq!((before.ledger.arrived, next.ledger.arrived), (10, 7));
    // What the first one read is not what this one has read.
    assert_eq!((next.ledger.queued, next.ledger.delivered), (2, 1));
    let followed = |one: &tracer::report::Namespace| one.followed.unwrap();
    assert_eq!(
        (followed(before).forwarded, followed(before).lost_on_the_way),
        (10, 0)
    );
    assert_eq!((followed(next).forwarded, followed(next).lost_on_the_way), (5, 1));
    assert_eq!(report.ledger.forwarded, 15);
}

/// A counter of the namespace with the inode of the pod has grown by so much since the source knows it.
fn counted(story: &mut Story, source: Source, device: u32, name: &str, grown: u64) {
    story.say(Body::Counter(Counter {
        key: CounterKey {
            netns: POD,
            source,
            device,
            name: name.to_owned(),
        },
        grown,
    }));
}

/// What the kernel counted in the first is no loss of the next, whose listener was handed as much.
#[test]
fn counters_of_a_namespace_that_ended_are_not_those_of_the_next_with_its_inode() {
    let opening = EntryKey {
        location: Some(at("tcp_rcv_state_process")),
        ..in_pod(POD, Fate::Consumed)
    };
    let asked = |story: &mut Story| {
        story.add(in_pod(POD, Fate::Arrived), 50);
        story.add(opening.clone(), 50);
    };
    let drops = |story: &mut Story, grown| counted(story, Source::Netstat, 0, "TcpExtListenDrops", grown);
    // The source may not have noticed that another one has the inode, or have forgotten the first.
    for (told, lost) in [(None, 0), (Some(37), 7), (Some(5), 5)] {
        let mut story = node_and_pod();
        asked(&mut story);
        drops(&mut story, 30);
        counted(&mut story, Source::Device, POD0, "rx_missed_errors", 4);
        story.tick();
        story.say(Body::NamespaceEnded(NamespaceEnded { inode: POD }));
        story.tick();
        assert_eq!(story.report().namespaces[1].ledger.dropped, 30);
        pod(&mut story, POD, "next", 12, 4);
        asked(&mut story);
        if let Some(grown) = told {
            drops(&mut story, grown);
        }
        story.tick();
        let report = story.report();
        let ledger = |name: &str| {
            report
                .namespaces
                .iter()
                .find(|one| one.name == name)
                .unwrap()
                .ledger
        };
        assert_eq!((ledger("pod").dropped, ledger("pod").answered), (30, 20));
        assert_eq!(
            (ledger("next").dropped, ledger("next").answered),
            (lost, 50 - lost)
        );
        let counters = report.counters.iter().map(|one| one.packets);
        assert_eq!(counters.sum::<u64>(), lost);
        assert_eq!(report.lost_before_arrival, 4, "it was lost all the same");
    }
}

#[test]
fn counters_of_a_namespace_that_is_forgotten_leave_their_room_to_others() {
    let mut story = node_and_pod();
    for number in 0..65_536 {
        counted(&mut story, Source::Netstat, 0, &format!("a{number}_drops"), 1);
    }
    story.say(netstat("TcpExtListenDrops", 1));
    // It is the first of too many that have ended.
    for inode in POD..POD + 1001 {
        story.say(Body::NamespaceEnded(NamespaceEnded { inode }));
    }
    story.idle(21);
    story.say(netstat("TcpExtListenDrops", 2));
    let report = story.report();
    assert_eq!((report.losses.counters_full, report.counters_total), (1, 1));
}

#[test]
fn one_that_the_kernel_does_not_tell_apart_is_another_where_it_had_ended() {
    let mut story = Story::begin();
    pod(&mut story, POD, "pod", 0, LXC1);
    story.add(in_pod(POD, Fate::Arrived), 10).tick();
    // Called otherwise, it is the same.
    story.say(namespace(POD, "renamed", 0));
    story.tick();
    assert_eq!(story.report().namespaces[1].ledger.arrived, 10);
    story.say(Body::NamespaceEnded(NamespaceEnded { inode: POD }));
    pod(&mut story, POD, "next", 0, 4);
    story.add(in_pod(POD, Fate::Arrived), 1).tick();
    let arrived: Vec<_> = story.report().namespaces[1..]
        .iter()
        .map(|one| (one.name.clone(), one.ledger.arrived))
        .collect();
    assert_eq!(arrived, [("renamed".to_owned(), 10), ("next".to_owned(), 1)]);
}

#[test]
fn thousands_of_namespaces_are_bounded() {
    let mut story = Story::begin();
    let pods = 3000;
    for number in 0..pods {
        pod(
            &mut story,
            POD + number,
            &format!("pod-{number}"),
            100 + u64::from(number),
            10 + number,
        );
        story.add(in_pod(POD + number, Fate::Arrived), u64::from(number) + 1);
    }
    story.tick();
    let report = story.report();
    assert_eq!((report.namespaces.len(), report.namespaces_total), (1000, 3001));
    // The node first, then the busiest.
    assert_eq!(report.namespaces[0].role, Role::Node);
    assert_eq!(report.namespaces[1].name, "pod-2999");
    for number in 0..pods {
        story.say(Body::NamespaceEnded(NamespaceEnded { inode: POD + number }));
    }
    story.idle(21);
    let report = story.report();
    assert_eq!(report.namespaces_total, 1001, "so many ended ones are kept");
}

#[test]
fn a_verdict_names_the_namespaces_of_its_flows() {
    let mut story = node_and_pod();
    for netns in [NETNS, POD] {
        let mut client = client(40_000);
        client.netns = netns;
        story.socket(client, None, SocketState::Established, "curl");
        story.rounds(6, |story| {
            let iif = if netns == NETNS { ETH0 } else { POD0 };
            let mut lost = foreign();
            (lost.netns, lost.iif) = (netns, iif);
            story.add(lost, 1);
            story.add(
                EntryKey {
                    netns,
                    iif,
                    ..line(Fate::Arrived, Protocol::Tcp)
                },
                1,
            );
            story.count(client, |flow| {
                flow.arrived += 1;
                flow.dropped += 1;
                flow.last_drop = Some(("NOT_SPECIFIED".to_owned(), at("ip_forward")));
            });
        });
    }
    let explanation = story.verdict("R01").explanation;
    assert!(
        explanation.ends_with(&format!("network namespaces host:{NETNS}, pod:{POD}.")),
        "{explanation}"
    );
}

/// What pods send has no way where their node has none: it is not lost on the path, neither before nor after the route is back.
#[test]
fn what_the_node_had_no_route_for_was_not_lost_on_the_path() {
    let mut story = node_and_pod();
    let asks = FlowKey {
        netns: POD,
        ..client(41_000)
    };
    let passes = FlowKey {
        netns: NETNS,
        local: asks.remote,
        local_port: asks.remote_port,
        remote: asks.local,
        remote_port: asks.local_port,
        ..asks
    };
    let answered = |story: &mut Story| {
        story.exchange(served(50_000));
        story
            .count(asks, |flow| {
                (flow.origin, flow.iif) = (Origin::Local, POD0);
                flow.sent += 1;
                flow.arrived += 1;
                flow.matched += 1;
            })
            .add(in_pod(POD, Fate::Arrived), 1)
            .add(in_pod(POD, Fate::Matched), 1)
            .count(passes, |flow| {
                flow.iif = LXC1;
                flow.arrived += 1;
            });
    };
    story.socket(asks, None, SocketState::Established, "curl");
    set(&mut story, default_route(), Some(DEFAULT), Seen::Found, None);
    story.rounds(8, answered);
    let by = || Some(owner("ip"));
    set(&mut story, default_route(), None, Seen::Told, by());
    story.rounds(12, |story| {
        story.exchange(served(50_000));
        story.add(unroutable(), 2).ask(asks);
        story.count(passes, |flow| {
            flow.arrived += 1;
            flow.dropped += 1;
            flow.last_drop = Some(("IP_INNOROUTES".to_owned(), at("ip_error")));
        });
    });
    let verdict = story.verdict("D01");
    assert_eq!(verdict.under.as_deref(), Some("R04"), "{}", verdict.explanation);
    set(&mut story, default_route(), Some(DEFAULT), Seen::Told, by());
    for _ in 0..20 {
        story.rounds(1, answered);
        let report = story.report();
        assert_ne!(report.place, Where::DataPath, "{:#?}", report.verdicts);
    }
    assert_eq!(story.ids(), Vec::<String>::new());
}

#[test]
fn whose_a_namespace_is_and_how_far_flows_came_is_told() {
    let mut story = node_and_pod();
    story.say(Body::Namespace(Namespace {
        inode: POD,
        name: "pod".to_owned(),
        cookie: 11,
        owner: Some(Owner {
            cgroup: "/kubepods.slice/cri-1.scope".to_owned(),
            ..owner("redis")
        }),
    }));
    story.add(in_pod(POD, Fate::Arrived), 1);
    let lost = udp(53, "10.244.0.9", 999);
    story.socket(bound(Protocol::Udp, 53), None, SocketState::Close, "dns");
    story.rounds(6, |story| {
        story.arrived(Protocol::Udp, 1).count(lost, |flow| {
            (flow.arrived, flow.queued) = (flow.arrived + 1, 2);
            flow.dropped += 1;
            flow.last_drop = Some(("SOCKET_RCVBUFF".to_owned(), at("udp_queue_rcv_one_skb")));
        });
    });
    let report = story.report();
    let pod = &report.namespaces[1];
    assert_eq!((pod.pid, pod.command.as_str()), (123, "redis"));
    assert_eq!(pod.cgroup, "/kubepods.slice/cri-1.scope");
    let flow = &report.starved[0];
    assert_eq!((flow.matched, flow.queued, flow.read), (0, 2, None));
}

/// What was changed in a pod was not changed in the one that has its inode by now.
#[test]
fn what_changed_stays_with_the_namespace_that_had_the_inode_then() {
    let mut story = node_and_pod();
    let route = |text: &str| Setting {
        netns: POD,
        thing: Thing::Nexthop { id: 7 },
        value: Some(text.to_owned()),
        seen: Seen::Told,
        by: None,
        by_unknown: None,
    };
    story.say(Body::Setting(Box::new(route("via 10.244.0.1"))));
    story.tick();
    story.say(Body::NamespaceEnded(NamespaceEnded { inode: POD }));
    story.tick();
    pod_again(&mut story);
    story.say(Body::Setting(Box::new(route("via 10.244.0.9"))));
    story.tick();
    let report = story.report();
    let told: Vec<_> = report
        .node
        .changes
        .iter()
        .filter(|one| !one.object.starts_with("network namespace"))
        .map(|one| (one.netns.as_str(), one.before.as_deref(), one.after.as_deref()))
        .collect();
    assert_eq!(
        told,
        [
            ("next:4026532201", None, Some("via 10.244.0.9")),
            ("pod:4026532201", None, Some("via 10.244.0.1"))
        ]
    );
}

#[test]
fn a_namespace_that_comes_or_goes_is_a_change_with_all_that_was_in_it() {
    let mut story = node_and_pod();
    let setting = |thing| Setting {
        netns: POD,
        thing,
        value: Some("dev eth0".to_owned()),
        seen: Seen::Told,
        by: None,
        by_unknown: None,
    };
    for id in [7, 8] {
        story.say(Body::Setting(Box::new(setting(Thing::Nexthop { id }))));
    }
    let device = "eth0".to_owned();
    story.say(Body::Setting(Box::new(setting(Thing::Offloads { device }))));
    // One that only processes are in has no name.
    pod(&mut story, POD + 1, "pid:77", 12, 4);
    story.tick();
    for inode in [POD, POD + 1, POD] {
        story.say(Body::NamespaceEnded(NamespaceEnded { inode }));
    }
    story.tick();
    let report = story.report();
    let told: Vec<_> = report
        .node
        .changes
        .iter()
        .rev()
        .filter(|one| one.object.starts_with("network namespace"))
        .map(|one| (one.object.as_str(), one.after.is_some(), one.with.clone()))
        .collect();
    let with = Following {
        what: What::Nexthop,
        became: Became::Gone,
        number: 2,
    };
    assert_eq!(
        told,
        [
            ("network namespace pod", true, vec![]),
            ("network namespace pod", false, vec![with])
        ]
    );
}

/// A rule of the same name may be gone in a pod.
#[test]
fn where_something_changed_is_told_where_several_are_watched() {
    let told = |is_alone: bool| {
        let mut story = healthy();
        if !is_alone {
            pod(&mut story, POD, "pod", 11, LXC1);
        }
        set(&mut story, local_rule(), Some(""), Seen::Found, None);
        story.rounds(4, |story| story.exchange(client(40_000)));
        set(&mut story, local_rule(), None, Seen::Told, None);
        story.rounds(6, |story| story.ask_and_lose(client(40_000), foreign()));
        let report = story.report();
        assert_eq!(report.verdicts[0].id, "R01");
        report.verdicts[0].cause.text.clone()
    };
    let began = "IPv4 rule 0: from all lookup local";
    let (alone, among) = (told(true), told(false));
    assert!(alone.starts_with(&format!("{began} went away")), "{alone}");
    let placed = format!("{began} in network namespace host:{NETNS} went away");
    assert!(among.starts_with(&placed), "{among}");
}

/// Of what is no longer seen it is not said that it is well.
#[test]
fn when_the_one_namespace_that_was_watched_has_ended_nothing_is_healthy_any_more() {
    let mut story = healthy();
    assert_eq!(story.report().place, Where::Healthy);
    story.say(Body::NamespaceEnded(NamespaceEnded { inode: NETNS }));
    story.tick();
    let report = story.report();
    assert_eq!((report.place, report.namespaces_watched), (Where::Unknown, 0));
    let why = report.undecided().unwrap();
    assert!(why.contains("has ended"), "{why}");

    // Where others are watched beside, the node goes on.
    let mut story = node_and_pod();
    story.exchange(client(40_000));
    story.tick();
    story.say(Body::NamespaceEnded(NamespaceEnded { inode: POD }));
    story.tick();
    assert_eq!(story.report().place, Where::Healthy);
}
