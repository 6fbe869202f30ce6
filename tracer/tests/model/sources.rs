//! What pods send, by the rules and filters that choose its way.

use tracer::event::{EntryKey, FlowKey, Protocol, Seen, Thing, Version};
use tracer::report::{Confidence, Relation, Where};

use crate::pairing::{by, networkd, set};
use crate::story::*;
use crate::ways::route;

/// What a pod asks and what it is answered, as the node passes both on.
fn pod(port: u16) -> (FlowKey, FlowKey) {
    (
        flow(Protocol::Tcp, "192.0.2.10", 80, "10.244.0.2", port),
        flow(Protocol::Tcp, "10.244.0.2", port, "192.0.2.10", 80),
    )
}

fn passes(story: &mut Story, key: FlowKey, by: u32) {
    story.count(key, |flow| {
        flow.iif = by;
        flow.arrived += 1;
    });
}

fn pod_rule() -> Thing {
    Thing::Rule {
        version: Version::V4,
        priority: 1536,
        text: "from 10.244.0.2 lookup 2".to_owned(),
        table: 2,
    }
}

/// A pod that had a way of its own, whose rule networkd deletes. Then it goes on asking, or it does not; and is answered, or not.
fn without_pod_rule(asks: bool, is_answered: bool) -> Story {
    let mut story = healthy();
    let (asked, answered) = pod(40_000);
    set(&mut story, pod_rule(), Some(""), Seen::Found, None);
    story.rounds(4, |story| {
        passes(story, asked, LXC1);
        passes(story, answered, ETH0);
    });
    set(&mut story, pod_rule(), None, Seen::Told, Some(networkd()));
    story.rounds(8, |story| {
        if asks {
            passes(story, asked, LXC1);
        }
        if is_answered {
            passes(story, answered, ETH0);
        }
        story.exchange(client(40_000));
    });
    story
}

#[test]
fn a_pod_whose_rule_is_lost_and_that_is_not_answered_any_more_takes_another_way() {
    let story = without_pod_rule(true, false);
    let verdict = story.verdict("R33");
    assert_eq!(story.report().place, Where::GuestKernel);
    assert!(
        verdict.explanation.contains("10.244.0.2 sends"),
        "{}",
        verdict.explanation
    );
    assert_eq!(verdict.cause.relation, Relation::Explains);
    assert!(
        verdict
            .cause
            .text
            .contains("rule 1536: from 10.244.0.2 lookup 2 went away, by systemd-networkd"),
        "{:?}",
        verdict.cause
    );
}

#[test]
fn a_pod_that_was_ended_with_its_rule_or_is_answered_without_it_is_no_finding() {
    for (asks, is_answered) in [(false, false), (false, true), (true, true)] {
        let story = without_pod_rule(asks, is_answered);
        assert!(
            !story.ids().contains(&"R33".to_owned()),
            "{asks} {is_answered}: {:?}",
            story.ids()
        );
        assert_eq!(story.report().place, Where::Healthy);
    }
}

/// The rule is taken away while the pod still asks, for some seconds; then it ends.
#[test]
fn a_pod_that_ended_some_seconds_after_its_rule_asks_no_more() {
    let mut story = without_pod_rule(true, false);
    let goes_on = |story: &mut Story| story.exchange(client(40_000));
    story.rounds(18, goes_on);
    assert_eq!(story.report().place, Where::GuestKernel, "it may ask again");
    story.rounds(4, goes_on);
    assert!(!story.ids().contains(&"R33".to_owned()), "{:?}", story.ids());
    assert_eq!(story.report().place, Where::Healthy);
}

/// The filter was made stricter for a pod's device.
#[test]
fn a_pod_that_the_reverse_path_filter_cuts_off_is_more_than_a_stray() {
    let lost = EntryKey {
        iif: LXC1,
        device: LXC1,
        ..drop("IP_RPFILTER", "ip_rcv_finish_core", Protocol::Tcp)
    };
    let filter = || Thing::Sysctl {
        name: "net.ipv4.conf.lxc1.rp_filter".to_owned(),
    };
    let cut_off = |worked: bool| {
        let mut story = healthy();
        let (asked, _) = pod(40_000);
        set(&mut story, filter(), Some("0"), Seen::Found, None);
        story.rounds(4, |story| {
            if worked {
                passes(story, asked, LXC1);
            }
        });
        set(&mut story, filter(), Some("2"), Seen::Told, None);
        story.rounds(6, |story| {
            refused(story, asked, &lost);
        });
        story
    };
    let story = cut_off(true);
    let verdict = story.verdict("R03");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert!(
        verdict.explanation.contains("from 10.244.0.2 arrived on lxc1"),
        "{}",
        verdict.explanation
    );
    assert!(
        verdict
            .cause
            .text
            .starts_with("sysctl net.ipv4.conf.lxc1.rp_filter changed from 0 to 2"),
        "{:?}",
        verdict.cause
    );
    assert!(
        verdict
            .remedy
            .iter()
            .any(|line| line.starts_with("sysctl -w net.ipv4.conf.lxc1.rp_filter=0")),
        "{:?}",
        verdict.remedy
    );
    assert_eq!(cut_off(false).verdict("R03").confidence, Confidence::Weak);
}

/// What a pod sends arrives, and is lost as this line has it.
fn refused(story: &mut Story, asked: FlowKey, lost: &EntryKey) {
    passes(story, asked, LXC1);
    story.add(lost.clone(), 1).count(asked, |flow| {
        flow.dropped += 1;
        flow.last_drop = lost.reason.clone().zip(lost.location.clone());
    });
}

/// A pod's packets arrive on its device, and the filter, which was strict all the time, refuses them as soon as what is for the pod
/// is to leave by the uplink. `begin` is done before that.
fn led_away(begin: impl FnOnce(&mut Story)) -> Story {
    let lost = EntryKey {
        iif: LXC1,
        device: LXC1,
        ..drop("IP_RPFILTER", "ip_rcv_finish_core", Protocol::Tcp)
    };
    let mut story = healthy();
    let (asked, answered) = pod(40_000);
    let found = [
        ("0.0.0.0", 0, "via 10.10.0.1 dev eth0"),
        ("10.244.0.0", 24, "dev lxc1"),
    ];
    for (to, prefix, leads) in found {
        set(&mut story, route(to, prefix, 0), Some(leads), Seen::Found, None);
    }
    story.rounds(8, |story| {
        passes(story, asked, LXC1);
        passes(story, answered, ETH0);
    });
    begin(&mut story);
    let leads = Some("via 10.10.0.1 dev eth0");
    set(
        &mut story,
        route("10.244.0.2", 32, 0),
        leads,
        Seen::Told,
        Some(by(900, "ip", "")),
    );
    story.tick();
    // They lead to nobody whose packets are refused, or not by the narrowest way.
    for (to, prefix) in [("203.0.113.0", 24), ("10.0.0.0", 8)] {
        let other = Some("via 10.10.0.9 dev eth0");
        set(&mut story, route(to, prefix, 0), other, Seen::Told, None);
    }
    story.rounds(6, |story| {
        refused(story, asked, &lost);
    });
    story
}

#[test]
fn a_route_that_leads_away_from_a_pod_is_why_the_reverse_path_filter_cuts_it_off() {
    let strict = |story: &mut Story| {
        let name = "net.ipv4.conf.all.rp_filter".to_owned();
        set(story, Thing::Sysctl { name }, Some("0"), Seen::Found, None);
        let name = "net.ipv4.conf.all.rp_filter".to_owned();
        set(story, Thing::Sysctl { name }, Some("1"), Seen::Told, None);
    };
    for begin in [(|_| ()) as fn(&mut Story), strict] {
        let mut story = led_away(begin);
        let verdict = story.verdict("R03");
        assert_eq!((verdict.confidence, verdict.flows_total), (Confidence::Strong, 0));
        assert_eq!(verdict.cause.relation, Relation::Explains);
        let text = &verdict.cause.text;
        assert!(
            text.starts_with("route 10.244.0.2/32 came: via 10.10.0.1 dev eth0, by ip[900]")
                && !text.contains("other change"),
            "{text}"
        );
        assert_eq!(verdict.mended, None);

        set(
            &mut story,
            route("10.244.0.2", 32, 0),
            None,
            Seen::Told,
            Some(by(901, "ip", "")),
        );
        let (asked, _) = pod(40_000);
        let goes_on = |story: &mut Story| passes(story, asked, LXC1);
        story.rounds(1, goes_on);
        let mended = story.verdict("R03").mended.unwrap();
        assert!(
            mended.text.starts_with("route 10.244.0.2/32 went away") && mended.text.ends_with("by ip[901]"),
            "{mended:?}"
        );
        story.rounds(6, goes_on);
        let report = story.report();
        assert!(
            report.verdicts.iter().all(|one| one.id != "R03"),
            "{:#?}",
            report.verdicts
        );
        assert_eq!(report.episodes[0].mended.as_ref(), Some(&mended));
    }
}

/// As agents do that make theirs anew: what is looked up stands, whatever its preference.
#[test]
fn a_rule_that_stands_with_another_preference_is_not_lost() {
    let (asked, answered) = pod(40_000);
    let again = |text: &str| {
        let mut story = healthy();
        set(&mut story, pod_rule(), Some(""), Seen::Found, None);
        story.rounds(4, |story| {
            passes(story, asked, LXC1);
            passes(story, answered, ETH0);
        });
        set(&mut story, pod_rule(), None, Seen::Told, Some(networkd()));
        let other = Thing::Rule {
            version: Version::V4,
            priority: 111,
            text: text.to_owned(),
            table: 2,
        };
        set(&mut story, other, Some(""), Seen::Told, None);
        story.rounds(8, |story| {
            passes(story, asked, LXC1);
            story.exchange(client(40_000));
        });
        story.ids()
    };
    assert_eq!(again("from 10.244.0.2 lookup 2"), [""; 0]);
    assert_eq!(
        again("from 10.244.0.3 lookup 2"),
        ["R33"],
        "that is another pod's"
    );
}
