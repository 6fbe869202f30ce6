//! What this node hands to pods does not get there, and what arrives finds no room.

use tracer::event::{Body, Device, EntryKey, Fate, Peer, Protocol, Seen, Setting, Thing, Unresolved};
use tracer::report::{Confidence, Destination, Fact, Relation, Where};

use crate::pairing;
use crate::story::*;
use crate::ways::route;

const POD: &str = "10.244.0.2";

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

/// A node that works, with a route to this network by the pod's device.
fn before(destination: &str, prefix: u8) -> Story {
    let mut story = healthy();
    set(
        &mut story,
        route("0.0.0.0", 0, 0),
        Some("via 10.10.0.1 dev eth0"),
        Seen::Found,
    );
    set(
        &mut story,
        route(destination, prefix, 0),
        Some("dev lxc1 scope link"),
        Seen::Found,
    );
    set(&mut story, lxc1(), Some("up, carrier, mtu 1500"), Seen::Found);
    story
}

/// A datagram for the pod arrives.
fn arrives(story: &mut Story) {
    story
        .arrived(Protocol::Udp, 1)
        .count(flow(Protocol::Udp, POD, 8080, "192.0.2.10", 5000), |flow| {
            flow.iif = ETH0;
            flow.arrived += 1;
        });
}

/// A drop of what arrived by the uplink and was to leave by the pod's device.
fn at_pod(reason: &str, symbol: &str) -> EntryKey {
    EntryKey {
        device: LXC1,
        ..drop(reason, symbol, Protocol::Udp)
    }
}

/// The pod does not answer: what arrives for it waits, and is dropped 3 s later.
fn asked_in_vain(story: &mut Story) {
    for round in 1..=8 {
        arrives(story);
        story.say(Body::Unresolved(Unresolved {
            netns: NETNS,
            device: LXC1,
            address: ip(POD),
            iif: ETH0,
            packets: if round < 7 { round } else { round - 6 },
            before: 0,
            before_bytes: 0,
        }));
        if round == 7 {
            story.add(at_pod("NEIGH_FAILED", "neigh_invalidate"), 6);
        }
        story.tick();
    }
}

#[test]
fn a_pod_that_a_route_leads_to_and_does_not_answer_is_a_fault() {
    let mut story = before(POD, 32);
    asked_in_vain(&mut story);
    let report = story.report();
    assert_eq!((report.place, report.failure_found()), (Where::GuestKernel, true));
    let verdict = story.verdict("R17");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert!(
        verdict
            .explanation
            .starts_with("10.244.0.2 at lxc1 does not tell what link-layer address to send to"),
        "{}",
        verdict.explanation
    );
    assert!(
        verdict
            .explanation
            .contains("For want of an answer 6 packets were dropped at lxc1; 2 wait now."),
        "{}",
        verdict.explanation
    );
    let is_drop =
        |fact: &Fact| matches!(fact, Fact::Drop { reason, packets: 6, .. } if reason == "NEIGH_FAILED");
    assert!(
        verdict.evidence.iter().any(|one| is_drop(&one.fact)),
        "{verdict:#?}"
    );
}

/// What is over is told with its length, and not as if it went on for as long as it is told.
#[test]
fn a_pod_that_nobody_asks_any_more_was_silent_for_so_long() {
    let mut story = before(POD, 32);
    asked_in_vain(&mut story);
    story.say(Body::Unresolved(Unresolved {
        netns: NETNS,
        device: LXC1,
        address: ip(POD),
        iif: ETH0,
        packets: 0,
        before: 0,
        before_bytes: 0,
    }));
    story.idle(10);
    let verdict = story.verdict("R17");
    assert!(
        verdict.explanation.starts_with(
            "10.244.0.2 at lxc1 did not tell what link-layer address to send to: from 06:00:02 UTC to 06:00:05 UTC, for 3.5 s, \
             nothing could be handed over there. For want of an answer 6 packets were dropped at lxc1; none waits now."
        ),
        "{}",
        verdict.explanation
    );
}

/// As where somebody from outside tries the addresses of a bridge one after the other, or a pod has ended.
#[test]
fn an_address_that_may_be_nobodys_is_a_weak_sign() {
    let mut story = before("10.244.0.0", 24);
    asked_in_vain(&mut story);
    assert_eq!(story.report().place, Where::Healthy);
    assert_eq!(story.verdict("R17").confidence, Confidence::Weak);
}

/// A pod that has just been started, or whose entry has become too old.
#[test]
fn a_pod_that_answers_in_time_is_none() {
    let mut story = before(POD, 32);
    for packets in [1, 2, 3, 4, 0, 0, 0, 1, 2, 0] {
        arrives(&mut story);
        story.say(Body::Unresolved(Unresolved {
            netns: NETNS,
            device: LXC1,
            address: ip(POD),
            iif: ETH0,
            packets,
            before: 0,
            before_bytes: 0,
        }));
        story.tick();
    }
    assert!(story.ids().is_empty(), "{:?}", story.ids());
}

/// What this node asks a pod, as a health check does, goes by no network.
#[test]
fn a_pod_that_does_not_answer_the_node_is_no_silent_path() {
    let mut story = before(POD, 32);
    let check = flow(Protocol::Tcp, "10.10.0.2", 40_001, POD, 8080);
    let own = EntryKey {
        iif: 0,
        incoming: false,
        ..at_pod("NEIGH_FAILED", "neigh_invalidate")
    };
    let own = EntryKey {
        protocol: Protocol::Tcp,
        ..own
    };
    story.rounds(10, |story| {
        story.exchange(client(40_000));
        story.ask(check);
        story.add(own.clone(), 1);
        story.example(own.clone(), check, None, "kubelet");
    });
    assert_eq!(story.ids(), ["R17"]);
    assert_eq!(story.verdict("R17").confidence, Confidence::Strong);
    // When a peer falls silent too, that did not begin with the pod.
    story.rounds(8, |story| {
        story.ask(check);
        story.ask(client(40_000));
    });
    let silent = &story.verdict("D01").explanation;
    assert!(!silent.contains("one or another was silent"), "{silent}");
}

/// What arrived for the pod leaves by the uplink again.
fn goes_back(story: &mut Story) {
    arrives(story);
    story.add(line(Fate::Forwarded, Protocol::Udp), 1);
}

fn lxc1() -> Thing {
    Thing::Link {
        device: "lxc1".to_owned(),
    }
}

#[test]
fn packets_for_a_pod_that_go_back_since_its_route_was_lost_are_a_fault() {
    let mut story = before(POD, 32);
    set(&mut story, route(POD, 32, 0), None, Seen::Told);
    story.rounds(8, goes_back);
    let report = story.report();
    assert_eq!((report.place, report.failure_found()), (Where::GuestKernel, true));
    let verdict = story.verdict("R18");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert_eq!(verdict.cause.relation, Relation::Explains);
    assert!(
        verdict.explanation.contains(
            "route 10.244.0.2/32 is not there, which led by lxc1; what arrives for it leaves by eth0, by which it came."
        ),
        "{}",
        verdict.explanation
    );
    assert!(
        verdict.remedy[0].contains("ip route add 10.244.0.2/32 dev lxc1 scope link"),
        "{:?}",
        verdict.remedy
    );
}

/// The only episode has this root, and ended when what broke it was taken back.
fn assert_was_mended(story: &Story, id: &str) {
    let report = story.report();
    assert!(report.verdicts.is_empty(), "{:#?}", report.verdicts);
    let [episode] = report.episodes.as_slice() else {
        panic!("{:#?}", report.episodes);
    };
    assert_eq!(episode.id, id);
    let mended = episode.mended.as_ref().unwrap();
    assert_eq!(episode.end.as_ref(), Some(&mended.at));
}

/// A packet for the pod arrives, and is dropped so.
fn is_dropped(story: &mut Story, reason: &str, symbol: &str) {
    let entry = drop(reason, symbol, Protocol::Udp);
    story.arrived(Protocol::Udp, 1).add(entry, 1).count(
        flow(Protocol::Udp, POD, 8080, "192.0.2.10", 5000),
        |flow| {
            flow.iif = ETH0;
            flow.arrived += 1;
            flow.dropped += 1;
            flow.last_drop = Some((reason.to_owned(), at(symbol)));
        },
    );
}

/// Who asks a pod in vain asks again after a second and a half: the second one that is lost tells.
#[test]
fn what_is_dropped_since_a_pods_route_was_lost_is_told_by_few_packets() {
    let dropped = |story: &mut Story| is_dropped(story, "IP_INNOROUTES", "ip_error");
    let mut story = before(POD, 32);
    set(&mut story, route(POD, 32, 0), None, Seen::Told);
    story.rounds(1, dropped).idle(2).rounds(1, dropped).idle(1);
    let verdict = story.verdict("R18");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert_eq!(verdict.cause.relation, Relation::Explains);
    // Nobody asked any more until the route came back: till then it was broken.
    story.idle(3);
    set(
        &mut story,
        route(POD, 32, 0),
        Some("dev lxc1 scope link"),
        Seen::Told,
    );
    story.idle(2);
    assert_was_mended(&story, "R18");

    // A moment in which a pod is ended: what was on its way is lost at once, and nobody asks again.
    let mut story = before(POD, 32);
    set(&mut story, route(POD, 32, 0), None, Seen::Told);
    story.rounds(2, dropped).idle(8);
    assert!(story.ids().is_empty(), "{:?}", story.ids());
}

/// A service's address that a program on another node answers for leads back by the uplink, and is to.
#[test]
fn what_goes_back_by_a_route_that_stands_is_none() {
    let mut story = before(POD, 32);
    set(
        &mut story,
        route("10.244.9.0", 24, 0),
        Some("dev lxc1"),
        Seen::Found,
    );
    set(&mut story, route("10.244.9.0", 24, 0), None, Seen::Told);
    story.rounds(8, goes_back);
    assert!(story.ids().is_empty(), "{:?}", story.ids());
}

/// As where a client of a VPN server disconnects, whose one device leads to all of them. Of two that are lost at once none is
/// reached any more.
#[test]
fn one_of_many_routes_by_a_device_may_have_been_ended_with_who_was_behind_it() {
    let mut story = before(POD, 32);
    set(
        &mut story,
        route("10.244.0.3", 32, 0),
        Some("dev lxc1"),
        Seen::Found,
    );
    set(&mut story, route(POD, 32, 0), None, Seen::Told);
    let mut last = story.clone();
    story.rounds(8, goes_back);
    assert_eq!(story.report().place, Where::Healthy);
    let verdict = story.verdict("R18");
    assert_eq!(verdict.confidence, Confidence::Weak);
    assert!(
        verdict.explanation.ends_with(
            "Other routes lead by the device still: who was behind this one may have gone by itself, as a client of a VPN does. \
             Affected: a flow that this node is to pass on, udp 10.244.0.2:8080 → 192.0.2.10:5000."
        ),
        "{}",
        verdict.explanation
    );
    set(&mut last, route("10.244.0.3", 32, 0), None, Seen::Told);
    last.rounds(8, goes_back);
    assert_eq!(last.verdict("R18").confidence, Confidence::Strong);
}

/// Its pair of devices goes with a pod. And a device has routes of its own link, and the other version's, whoever is there.
#[test]
fn a_pod_whose_devices_stand_is_there() {
    let lost = |story: &mut Story| {
        set(story, route(POD, 32, 0), None, Seen::Told);
        story.rounds(8, goes_back);
        story.verdict("R18").confidence
    };
    let mut pair = before(POD, 32);
    set(
        &mut pair,
        route("10.244.0.3", 32, 0),
        Some("dev lxc1"),
        Seen::Found,
    );
    pair.say(Body::Device(Device {
        netns: NETNS,
        index: LXC1,
        name: "lxc1".to_owned(),
        uplink: false,
        addresses: Vec::new(),
        over: Vec::new(),
        assumed: false,
        peer: Some(Peer { netns: 0, index: 2 }),
    }));
    assert_eq!(lost(&mut pair), Confidence::Strong);

    let mut alone = before(POD, 32);
    set(
        &mut alone,
        route("169.254.0.0", 16, 0),
        Some("dev lxc1"),
        Seen::Found,
    );
    set(
        &mut alone,
        route("2001:db8:1::2", 128, 0),
        Some("dev lxc1"),
        Seen::Found,
    );
    assert_eq!(lost(&mut alone), Confidence::Strong);
}

/// As where all of table main is flushed: what arrives for a pod did not go by the default route.
#[test]
fn a_default_route_that_was_lost_before_does_not_explain_it() {
    let mut story = before(POD, 32);
    for (destination, prefix) in [("0.0.0.0", 0), (POD, 32)] {
        let gone = route(destination, prefix, 0);
        pairing::set(&mut story, gone, None, Seen::Told, Some(owner("ip")));
        story.tick();
    }
    story.rounds(8, |story| {
        let refused = drop("IP_INNOROUTES", "ip_error", Protocol::Udp);
        let last = (refused.reason.clone().unwrap(), refused.location.clone().unwrap());
        arrives(story);
        story
            .add(refused, 1)
            .count(flow(Protocol::Udp, POD, 8080, "192.0.2.10", 5000), |flow| {
                flow.dropped += 1;
                flow.last_drop = Some(last);
            });
    });
    let cause = story.verdict("R18").cause;
    assert!(
        cause.text.starts_with("route 10.244.0.2/32 went away") && !cause.text.contains("other change"),
        "{}",
        cause.text
    );
}

/// The commands that put a route back are for a shell, whatever its device is called.
#[test]
fn a_route_is_put_back_by_a_command_that_takes_any_name() {
    let mut story = before(POD, 32);
    story.device(NETNS, LXC1, "a;b", false, Vec::new());
    let link = Thing::Link {
        device: "a;b".to_owned(),
    };
    set(&mut story, link, Some("up, carrier, mtu 1500"), Seen::Found);
    set(
        &mut story,
        route("10.244.0.3", 32, 0),
        Some("dev a;b scope link"),
        Seen::Found,
    );
    set(&mut story, route("10.244.0.3", 32, 0), None, Seen::Told);
    story.rounds(8, |story| {
        story.arrived(Protocol::Udp, 1).count(
            flow(Protocol::Udp, "10.244.0.3", 8080, "192.0.2.10", 5000),
            |flow| {
                flow.iif = ETH0;
                flow.arrived += 1;
            },
        );
        story.add(line(Fate::Forwarded, Protocol::Udp), 1);
    });
    let remedy = story.verdict("R18").remedy;
    let commands = remedy.iter().filter_map(|line| line.split_once("  # "));
    let routes: Vec<&str> = commands
        .map(|(command, _)| command)
        .filter(|command| command.contains("route"))
        .collect();
    assert!(!routes.is_empty(), "{remedy:#?}");
    for command in routes {
        assert_eq!(command, "ip route add 10.244.0.3/32 dev 'a;b' scope link");
    }
}

/// Who still asks a pod that has been ended.
#[test]
fn a_route_that_went_with_its_device_is_a_weak_sign() {
    let mut story = before(POD, 32);
    set(&mut story, route(POD, 32, 0), None, Seen::Told);
    set(&mut story, lxc1(), None, Seen::Told);
    story.rounds(8, goes_back);
    assert_eq!(story.report().place, Where::Healthy);
    assert_eq!(story.verdict("R18").confidence, Confidence::Weak);
}

#[test]
fn a_pods_device_that_takes_nothing_as_it_has_no_carrier_is_a_fault() {
    let lose = |story: &mut Story| {
        arrives(story);
        story.add(at_pod("QDISC_DROP", "__dev_queue_xmit"), 1);
    };
    let mut story = before(POD, 32);
    story.rounds(8, lose);
    assert!(story.ids().is_empty(), "its queue may be full: {:?}", story.ids());

    set(&mut story, lxc1(), Some("up, no carrier, mtu 1500"), Seen::Told);
    story.rounds(8, lose);
    let verdict = story.verdict("R18");
    assert_eq!(verdict.confidence, Confidence::Conclusive);
    assert!(
        verdict.explanation.starts_with("lxc1 is up and has no carrier"),
        "{}",
        verdict.explanation
    );
    assert_eq!(verdict.flows_total, 1);
}

/// As a bridge whose last container has ended: only what others send to it would tell that somebody should be there.
#[test]
fn a_device_without_a_carrier_that_only_the_node_sends_to_is_a_weak_sign() {
    let mut story = before("10.244.0.0", 24);
    set(&mut story, lxc1(), Some("up, no carrier, mtu 1500"), Seen::Told);
    let own = EntryKey {
        iif: 0,
        incoming: false,
        ..at_pod("QDISC_DROP", "__dev_queue_xmit")
    };
    story.rounds(8, |story| {
        story.add(own.clone(), 1);
    });
    assert_eq!(story.report().place, Where::Healthy);
    let verdict = story.verdict("R18");
    assert_eq!(verdict.confidence, Confidence::Weak);
    assert!(
        verdict.explanation.starts_with(
            "lxc1 is up and has no carrier: its other end, or each of its ports where it is a bridge, is down or gone. 8 packets \
             that were to leave by it were dropped."
        ),
        "{}",
        verdict.explanation
    );
}

fn forwarding() -> Thing {
    Thing::Sysctl {
        name: "net.ipv4.conf.all.forwarding".to_owned(),
    }
}

/// A datagram for the pod arrives, and is dropped since this node does not forward.
fn is_refused(story: &mut Story) {
    let refused = drop("IP_INADDRERRORS", "ip_error", Protocol::Udp);
    let last = (refused.reason.clone().unwrap(), refused.location.clone().unwrap());
    arrives(story);
    story
        .add(refused, 1)
        .count(flow(Protocol::Udp, POD, 8080, "192.0.2.10", 5000), |flow| {
            flow.dropped += 1;
            flow.last_drop = Some(last);
        });
}

#[test]
fn forwarding_that_is_switched_off_is_a_fault_where_something_is_to_be_forwarded() {
    let mut story = before(POD, 32);
    set(&mut story, forwarding(), Some("1"), Seen::Found);
    set(&mut story, forwarding(), Some("0"), Seen::Told);
    story.idle(4);
    assert!(story.ids().is_empty(), "nothing is to be forwarded");
    story.rounds(5, is_refused);
    let verdict = story.verdict("K03");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert_eq!(verdict.cause.relation, Relation::Explains);
    assert_eq!(story.report().place, Where::GuestKernel);
    // Those that were forwarded before are in no column of the flow.
    let flow = &verdict.flows[0];
    assert_eq!((flow.destination, flow.delivered), (Destination::Transit, None));
    story.idle(3);
    set(&mut story, forwarding(), Some("1"), Seen::Told);
    story.idle(2);
    assert_was_mended(&story, "K03");

    // That of one device does not stop all of it, and may be meant.
    let mut story = before(POD, 32);
    for name in [
        "net.ipv4.conf.eth0.forwarding",
        "net.ipv4.conf.default.forwarding",
    ] {
        let of_one = || Thing::Sysctl {
            name: name.to_owned(),
        };
        set(&mut story, of_one(), Some("1"), Seen::Found);
        set(&mut story, of_one(), Some("0"), Seen::Told);
    }
    story.rounds(5, is_refused);
    assert!(!story.ids().contains(&"K03".to_owned()), "{:?}", story.ids());

    // It never was on.
    let mut story = before(POD, 32);
    set(&mut story, forwarding(), Some("0"), Seen::Found);
    story.rounds(5, is_refused);
    assert!(story.ids().is_empty(), "{:?}", story.ids());
}

#[test]
fn a_cpu_that_does_not_keep_up_is_a_weak_sign() {
    let early = EntryKey {
        iif: 0,
        incoming: false,
        ..drop("CPU_BACKLOG", "enqueue_to_backlog", Protocol::Tcp)
    };
    let mut story = healthy();
    story.add(early.clone(), 50).tick();
    assert!(story.ids().is_empty(), "one burst");
    story.rounds(4, |story| {
        story.add(early.clone(), 5);
    });
    assert_eq!(story.report().place, Where::Healthy);
    let verdict = story.verdict("R29");
    assert_eq!(verdict.confidence, Confidence::Weak);
    assert!(
        verdict
            .explanation
            .starts_with("70 packets on eth0 found the queue of a CPU full"),
        "{}",
        verdict.explanation
    );
}

/// A segment of a connection to the pod is dropped, since lxc1 takes smaller ones.
fn too_large(story: &mut Story) {
    let last = ("PKT_TOO_BIG".to_owned(), at("ip_forward"));
    story
        .arrived(Protocol::Tcp, 1)
        .add(drop("PKT_TOO_BIG", "ip_forward", Protocol::Tcp), 1)
        .count(flow(Protocol::Tcp, POD, 40_000, "192.0.2.10", 80), |flow| {
            flow.iif = ETH0;
            flow.arrived += 1;
            flow.dropped += 1;
            flow.last_drop = Some(last);
        });
}

/// Who is told how large its packets may be sends smaller ones; who is not sends the same again.
#[test]
fn a_sender_that_does_not_learn_how_large_packets_may_be_is_a_fault() {
    let refused = EntryKey {
        incoming: false,
        iif: 0,
        device: 0,
        ..drop("NETFILTER_DROP", "nft_do_chain", Protocol::Icmp)
    };
    let mut story = before(POD, 32);
    let eth0 = Thing::Link {
        device: "eth0".to_owned(),
    };
    set(&mut story, eth0, Some("up, carrier, mtu 1500"), Seen::Found);
    story.idle(4);
    set(&mut story, lxc1(), Some("up, carrier, mtu 1280"), Seen::Told);
    // A window of them, and no more.
    for _ in 0..10 {
        too_large(&mut story);
    }
    story.tick();
    let told = story.clone();
    story.rounds(4, |story| {
        too_large(story);
        story.add(refused.clone(), 1);
    });
    let verdict = story.verdict("R35");
    assert_eq!(
        (verdict.confidence, verdict.place),
        (Confidence::Strong, Some(Where::GuestKernel))
    );
    assert_eq!(
        verdict.cause.relation,
        Relation::Explains,
        "{}",
        verdict.cause.text
    );
    for part in [
        "14 packets of 1 connection that this node is to pass on were dropped",
        "lxc1 (1280 bytes) takes",
        "this node's own firewall has dropped 4 packets of ICMP that it was sending",
    ] {
        assert!(
            verdict.explanation.contains(part),
            "{part}: {}",
            verdict.explanation
        );
    }
    assert!(
        verdict.remedy[0].starts_with("ip link set dev lxc1 mtu 1500"),
        "{:#?}",
        verdict.remedy
    );

    let mut story = told;
    story.idle(8);
    assert_eq!(story.ids(), Vec::<String>::new(), "the sender was told");
}

/// It leads by another device, where nobody has the address; or back by the uplink, as to another node where the pod is now.
#[test]
fn a_pods_route_that_leads_by_another_device_is_lost_where_packets_are() {
    let dropped = |story: &mut Story| is_dropped(story, "NEIGH_FAILED", "neigh_invalidate");
    let aside = || {
        let mut story = before(POD, 32);
        story.device(NETNS, 9, "aside", false, Vec::new());
        story
    };
    let mut story = aside();
    set(&mut story, route(POD, 32, 0), Some("dev aside"), Seen::Told);
    story.rounds(8, dropped);
    let verdict = story.verdict("R18");
    assert_eq!(
        (verdict.confidence, verdict.cause.relation),
        (Confidence::Strong, Relation::Explains)
    );

    let mut moved = before(POD, 32);
    set(
        &mut moved,
        route(POD, 32, 0),
        Some("via 10.10.0.3 dev eth0"),
        Seen::Told,
    );
    moved.rounds(8, goes_back);
    assert_eq!(moved.verdict("R18").confidence, Confidence::Weak);
    assert_eq!(moved.report().place, Where::Healthy);

    // What is sent there is dropped; it goes through a tunnel to other nodes; or where it leads is not known.
    for leads in [
        "via 10.10.0.3 dev eth0",
        "dev eth0",
        "via 10.244.1.0 dev aside",
        "dev unknown",
    ] {
        let mut moved = aside();
        set(&mut moved, route(POD, 32, 0), Some(leads), Seen::Told);
        moved.rounds(8, dropped);
        assert_eq!(moved.verdict("R18").confidence, Confidence::Weak, "{leads}");
    }
    let mut moved = aside();
    let others = route("10.244.1.0", 24, 0);
    set(&mut moved, others, Some("dev aside"), Seen::Found);
    set(&mut moved, route(POD, 32, 0), Some("dev aside"), Seen::Told);
    moved.rounds(8, dropped);
    assert_eq!(moved.verdict("R18").confidence, Confidence::Weak);
}
