//! Findings, held against what changed before.

use tracer::event::{
    Body, Fate, Job, JobState, Manager, Notice, NoticeKind, Owner, Packages, Protocol, Seen, Setting,
    SocketState, Thing, Timer, Unit, UnitState, Version,
};
use tracer::report::{Cause, Confidence, Fact, Relation, Where};

use crate::story::*;
use crate::unroutable::default_route;

const NETWORKD: &str = "systemd-networkd.service";
const UPGRADE: &str = "apt-daily-upgrade.service";

pub(crate) fn by(pid: u32, command: &str, unit: &str) -> Owner {
    Owner {
        pid,
        command: command.to_owned(),
        cgroup: format!("/system.slice/{unit}"),
        unit: unit.to_owned(),
        parent: None,
    }
}

pub(crate) fn networkd() -> Owner {
    by(812, "systemd-networkd", NETWORKD)
}

pub(crate) fn set(story: &mut Story, thing: Thing, value: Option<&str>, seen: Seen, by: Option<Owner>) {
    story.say(Body::Setting(Box::new(Setting {
        netns: NETNS,
        thing,
        value: value.map(str::to_owned),
        seen,
        by,
        by_unknown: None,
    })));
}

pub(crate) fn local_rule() -> Thing {
    Thing::Rule {
        version: Version::V4,
        priority: 0,
        text: "from all lookup local".to_owned(),
        table: 255,
    }
}

fn sysctl() -> Thing {
    Thing::Sysctl {
        name: "net.ipv4.tcp_syncookies".to_owned(),
    }
}

fn unit(story: &mut Story, name: &str, invocation: &str, seen: Seen) {
    story.say(Body::Unit(Box::new(Unit {
        name: name.to_owned(),
        seen,
        state: Some(UnitState {
            active: "active".to_owned(),
            sub: "running".to_owned(),
            invocation: invocation.to_owned(),
            ..UnitState::default()
        }),
    })));
}

fn packages(story: &mut Story, holder: Option<Owner>) {
    story.say(Body::Packages(Box::new(Packages {
        manager: Manager::Dpkg,
        holder,
        working_on: String::new(),
        unfinished: Vec::new(),
        unfinished_more: 0,
        leftovers: 0,
        open_run: false,
        reboot: None,
        unknown: false,
    })));
}

fn timer(story: &mut Story, last: Option<i64>) {
    story.say(Body::Timer(Box::new(Timer {
        name: "apt-daily-upgrade.timer".to_owned(),
        unit: UPGRADE.to_owned(),
        seen: if last.is_some() { Seen::Told } else { Seen::Found },
        active: true,
        result: String::new(),
        next: None,
        scheduled: None,
        last,
        random_delay: 0,
        accuracy: 0,
        schedule: Vec::new(),
        persistent: true,
    })));
}

pub(crate) fn lose(story: &mut Story) {
    story.rounds(5, |story| story.ask_and_lose(client(40_000), foreign()));
}

/// A node that works, with the rule to table local.
pub(crate) fn before() -> Story {
    let mut story = healthy();
    set(&mut story, local_rule(), Some(""), Seen::Found, None);
    unit(&mut story, NETWORKD, "1", Seen::Found);
    packages(&mut story, None);
    timer(&mut story, None);
    story.idle(8);
    story
}

#[test]
fn a_rule_that_is_deleted_explains_the_loss_up_to_the_timer() {
    let mut story = before();
    timer(&mut story, Some(1));
    story.tick();
    packages(&mut story, Some(by(700, "dpkg", UPGRADE)));
    story.tick();
    story.say(Body::Job(Job {
        id: 7,
        unit: NETWORKD.to_owned(),
        seen: Seen::Told,
        action: "try-restart".to_owned(),
        state: JobState::Waiting,
    }));
    unit(&mut story, NETWORKD, "2", Seen::Told);
    set(&mut story, local_rule(), None, Seen::Told, Some(networkd()));
    lose(&mut story);

    let verdict = story.verdict("R01");
    let cause = &verdict.cause;
    assert_eq!(cause.relation, Relation::Explains, "{cause:#?}");
    assert!(
        cause.text.starts_with(
            "IPv4 rule 0: from all lookup local went away, by systemd-networkd[812] (systemd-networkd.service)"
        ),
        "{}",
        cause.text
    );
    assert_eq!(cause.seconds_before, Some(0.5));
    assert_eq!(cause.by.as_ref().map(|by| by.pid), Some(812));
    let chain: Vec<&str> = cause.chain.iter().map(|step| step.text.as_str()).collect();
    assert_eq!(chain.len(), 3, "{chain:#?}");
    assert!(chain[0].starts_with("systemd-networkd.service had been started anew"));
    assert!(chain[0].contains("try-restart"), "{chain:#?}");
    assert!(chain[1].contains("dpkg[700] (apt-daily-upgrade.service) had packages in work"));
    assert!(chain[2].contains("apt-daily-upgrade.timer had elapsed"));
    // The change is on the timeline under that number.
    let report = story.report();
    let change = report
        .node
        .changes
        .iter()
        .find(|one| Some(one.number) == cause.change);
    assert!(
        change.is_some_and(|one| one.object.contains("lookup local")),
        "{change:#?}"
    );
    // The restart alone explains nothing: it coincides.
    assert!(
        verdict.coincides.iter().any(|one| one.text.contains(NETWORKD)),
        "{:#?}",
        verdict.coincides
    );
    assert!(
        verdict.evidence.iter().any(
            |seen| matches!(&seen.fact, Fact::Drop { location, .. } if location.starts_with("ip_forward"))
        ),
        "{:#?}",
        verdict.evidence
    );
}

/// What is missing is so from the change on: no time lies between the two.
/// What arrives is looked up by the rules too.
#[test]
fn a_rule_that_refuses_what_is_for_this_node_explains_that_it_is_lost() {
    let refused = |text: &str| {
        let mut story = before();
        let thing = Thing::Rule {
            version: Version::V4,
            priority: 1,
            text: text.to_owned(),
            table: 0,
        };
        let by = by(900, "ip", "job.service");
        set(&mut story, thing, Some(""), Seen::Told, Some(by));
        let lost = drop("NOT_SPECIFIED", "ip_error", Protocol::Tcp);
        story.rounds(8, |story| {
            for port in [40_000, 40_001] {
                story.ask_and_lose(client(port), lost.clone());
            }
        });
        story.verdict("K01")
    };
    for text in ["from all to 10.10.0.2 blackhole", "from all prohibit"] {
        let verdict = refused(text);
        assert_eq!(verdict.cause.relation, Relation::Explains, "{text}");
        assert!(
            verdict.remedy[0].starts_with("ip rule del pref 1"),
            "{:?}",
            verdict.remedy
        );
    }
    let other = refused("from all to 10.10.0.77 blackhole");
    assert_eq!(other.cause.relation, Relation::Unknown);
}

#[test]
fn a_change_with_which_it_began_is_not_said_to_be_before_it() {
    let route = |value: Option<&str>, seen, story: &mut Story| {
        let thing = Thing::Route {
            table: 254,
            action: "unicast".to_owned(),
            destination: ip("10.244.0.2"),
            prefix: 32,
            metric: 0,
        };
        set(story, thing, value, seen, Some(networkd()));
    };
    let mut story = before();
    let link = Thing::Link {
        device: "lxc1".to_owned(),
    };
    set(&mut story, link, Some("up, carrier, mtu 1500"), Seen::Found, None);
    set(
        &mut story,
        default_route(),
        Some("via 10.10.0.1 dev eth0"),
        Seen::Found,
        None,
    );
    route(Some("dev lxc1"), Seen::Found, &mut story);
    let sent_back = |story: &mut Story| {
        story
            .arrived(Protocol::Udp, 1)
            .add(line(Fate::Forwarded, Protocol::Udp), 1);
    };
    // Others are sent back all the time: what of that is the pod's is not told, and so it begins with the change.
    story.rounds(4, sent_back);
    route(None, Seen::Told, &mut story);
    story.rounds(8, |story| {
        sent_back(story);
        story.count(
            flow(Protocol::Udp, "10.244.0.2", 8080, "192.0.2.10", 5000),
            |flow| {
                flow.iif = ETH0;
                flow.arrived += 1;
            },
        );
    });
    let cause = story.verdict("R18").cause;
    assert_eq!(cause.seconds_before, Some(0.0));
    assert!(cause.text.ends_with(" UTC, when it began."), "{}", cause.text);
}

#[test]
fn a_change_that_cannot_do_it_only_coincides() {
    let mut story = before();
    set(&mut story, sysctl(), Some("0"), Seen::Noticed, None);
    unit(&mut story, NETWORKD, "2", Seen::Told);
    lose(&mut story);
    let verdict = story.verdict("R01");
    assert_eq!(verdict.cause.relation, Relation::Unknown, "{:#?}", verdict.cause);
    assert_eq!((verdict.cause.change, verdict.coincides_total), (None, 2));
}

/// Who sets a kernel parameter is not told: what was at work then is.
#[test]
fn a_change_of_nobody_known_has_what_was_at_work() {
    let mut story = before();
    timer(&mut story, Some(1));
    packages(&mut story, Some(by(700, "dpkg", UPGRADE)));
    story.tick();
    set(&mut story, local_rule(), None, Seen::Noticed, None);
    lose(&mut story);
    let chain = story.verdict("R01").cause.chain;
    let [upgrade, timer] = chain.as_slice() else {
        panic!("{chain:#?}");
    };
    assert!(
        upgrade
            .text
            .starts_with("while dpkg[700] (apt-daily-upgrade.service) had packages in work")
    );
    assert!(timer.text.starts_with("apt-daily-upgrade.timer had elapsed"));
}

/// Who holds a lock is looked for now and then: what happens at once is told before it.
#[test]
fn work_that_is_seen_a_moment_later_is_what_was_at_work() {
    let mut story = before();
    set(&mut story, local_rule(), None, Seen::Told, Some(networkd()));
    story.tick();
    packages(&mut story, Some(by(700, "dpkg", UPGRADE)));
    lose(&mut story);
    let chain = story.verdict("R01").cause.chain;
    let [upgrade] = chain.as_slice() else {
        panic!("{chain:#?}");
    };
    let said = "while dpkg[700] (apt-daily-upgrade.service) had packages in work, by the lock of dpkg, which was seen to be held at ";
    assert!(upgrade.text.starts_with(said), "{upgrade:?}");
}

/// The timer has elapsed long before; then somebody starts the service by hand.
#[test]
fn a_run_that_no_timer_started_is_not_said_to_be_its() {
    let mut story = before();
    unit(&mut story, UPGRADE, "", Seen::Found);
    timer(&mut story, Some(1));
    story.idle(60);
    unit(&mut story, UPGRADE, "1", Seen::Told);
    set(
        &mut story,
        local_rule(),
        None,
        Seen::Told,
        Some(by(700, "ip", UPGRADE)),
    );
    lose(&mut story);
    let chain = story.verdict("R01").cause.chain;
    let [start] = chain.as_slice() else {
        panic!("{chain:#?}");
    };
    assert!(
        start
            .text
            .starts_with("apt-daily-upgrade.service had been started at"),
        "{start:?}"
    );
}

#[test]
fn what_was_undone_explains_nothing() {
    let mut story = before();
    set(&mut story, local_rule(), None, Seen::Told, Some(networkd()));
    story.tick();
    set(&mut story, local_rule(), Some(""), Seen::Told, Some(networkd()));
    story.tick();
    lose(&mut story);
    assert_eq!(story.verdict("R01").cause.relation, Relation::Unknown);
}

#[test]
fn what_changed_long_before_still_explains_and_coincides_no_more() {
    let mut story = before();
    set(&mut story, sysctl(), Some("0"), Seen::Told, None);
    set(&mut story, local_rule(), None, Seen::Told, Some(networkd()));
    story.idle(300);
    lose(&mut story);
    let verdict = story.verdict("R01");
    assert_eq!(verdict.cause.relation, Relation::Explains);
    assert_eq!(verdict.cause.seconds_before, Some(150.5));
    assert_eq!(verdict.coincides_total, 0, "{:#?}", verdict.coincides);
}

#[test]
fn what_changes_afterwards_is_no_cause() {
    let mut story = before();
    lose(&mut story);
    set(&mut story, local_rule(), None, Seen::Told, Some(networkd()));
    lose(&mut story);
    assert_eq!(story.verdict("R01").cause.relation, Relation::Unknown);
}

#[test]
fn another_namespace_s_rule_explains_nothing_here() {
    let mut story = before();
    story.say(Body::Setting(Box::new(Setting {
        netns: NETNS + 1,
        thing: local_rule(),
        value: Some(String::new()),
        seen: Seen::Found,
        by: None,
        by_unknown: None,
    })));
    story.say(Body::Setting(Box::new(Setting {
        netns: NETNS + 1,
        thing: local_rule(),
        value: None,
        seen: Seen::Told,
        by: Some(networkd()),
        by_unknown: None,
    })));
    lose(&mut story);
    assert_eq!(story.verdict("R01").cause.relation, Relation::Unknown);
}

#[test]
fn what_must_hold_tells_a_cause_from_before_the_start() {
    let mut story = Story::begin();
    set(
        &mut story,
        Thing::Address {
            device: "eth0".to_owned(),
            address: ip("10.10.0.2"),
            prefix: 24,
        },
        Some("scope global"),
        Seen::Found,
        None,
    );
    story.idle(20);
    lose(&mut story);
    let verdict = story.verdict("R01");
    assert_eq!(verdict.cause.relation, Relation::PredatesStart);
    assert!(
        verdict
            .cause
            .text
            .starts_with("No rule of IPv4 looks table local up"),
        "{}",
        verdict.cause.text
    );
    assert!(
        verdict.evidence.iter().any(|seen| {
            matches!(&seen.fact, Fact::State { object, .. } if object == "IPv4 rule to table local")
        }),
        "{:#?}",
        verdict.evidence
    );
}

/// The rule is back, and the verdict says so as long as it is told.
#[test]
fn what_holds_again_is_not_left_to_be_checked() {
    let mut story = before();
    let address = Thing::Address {
        device: "eth0".to_owned(),
        address: ip("10.10.0.2"),
        prefix: 24,
    };
    set(&mut story, address, Some("scope global"), Seen::Found, None);
    story.idle(4);
    set(&mut story, local_rule(), None, Seen::Told, Some(networkd()));
    lose(&mut story);
    set(&mut story, local_rule(), Some(""), Seen::Told, Some(networkd()));
    story.tick();
    let verdict = story.verdict("R01");
    assert!(verdict.mended.is_some());
    assert!(
        verdict
            .explanation
            .ends_with("a local route is missing; neither is so now."),
        "{}",
        verdict.explanation
    );
}

fn modules() -> Thing {
    Thing::Modules {
        path: "/lib/modules/6.1.0-13-amd64".to_owned(),
    }
}

const GONE: &str = "gone, so that none can be loaded: there are those of 6.1.0-14-amd64";

/// Nothing may need one for long: it is a sign only until one is asked for in vain.
#[test]
fn modules_that_were_replaced_are_a_sign_until_one_fails_to_load() {
    let mut story = healthy();
    set(&mut story, modules(), Some(""), Seen::Found, None);
    story.rounds(2, |_| {});
    assert_eq!(story.ids(), [""; 0]);
    set(
        &mut story,
        modules(),
        Some(GONE),
        Seen::Told,
        Some(by(9, "dpkg", UPGRADE)),
    );
    story.rounds(2, |_| {});
    let verdict = story.verdict("R25");
    assert_eq!(verdict.confidence, Confidence::Weak);
    assert!(verdict.explanation.contains(GONE), "{}", verdict.explanation);
    assert_eq!(verdict.cause.relation, Relation::Explains);
    assert_eq!(story.report().place, Where::Healthy);

    let failed = "Module ip_tables not found in directory /lib/modules/6.1.0-13-amd64";
    story.say(Body::Notice(Notice {
        kind: NoticeKind::Module,
        text: failed.to_owned(),
        by: None,
    }));
    story.rounds(2, |_| {});
    let verdict = story.verdict("R25");
    assert_eq!(verdict.confidence, Confidence::Strong);
    assert!(verdict.explanation.contains(failed), "{}", verdict.explanation);
}

#[test]
fn modules_that_were_gone_at_the_start_were_so_before() {
    let mut story = healthy();
    set(&mut story, modules(), Some(GONE), Seen::Found, None);
    story.rounds(2, |_| {});
    let verdict = story.verdict("R25");
    assert_eq!(verdict.cause.relation, Relation::PredatesStart);
    assert_eq!(verdict.confidence, Confidence::Weak, "none was seen to fail");
}

/// As udev does: the device is set down, has another name, and nobody sets it up again.
#[test]
fn an_uplink_that_was_renamed_is_the_one_that_was_set_down() {
    let link = |device: &str| Thing::Link {
        device: device.to_owned(),
    };
    let mut story = healthy();
    set(
        &mut story,
        link("eth0"),
        Some("up, carrier, mtu 1500"),
        Seen::Found,
        None,
    );
    let key = client(40_002);
    story.socket(key, None, SocketState::Established, "kubelet");
    story.rounds(4, |story| story.exchange(key));
    set(
        &mut story,
        link("eth0"),
        Some("down, no carrier, mtu 1500"),
        Seen::Told,
        None,
    );
    set(
        &mut story,
        link("ens3"),
        Some("down, no carrier, mtu 1500, was eth0"),
        Seen::Told,
        None,
    );
    story.device(NETNS, ETH0, "ens3", true, vec![ip("10.10.0.2")]);
    story.rounds(6, |_| {});
    let verdict = story.verdict("R22");
    assert!(
        verdict
            .explanation
            .contains("ens3, which was called eth0 before, is down"),
        "{}",
        verdict.explanation
    );
    let cause = &verdict.cause;
    assert!(
        cause
            .text
            .starts_with("device eth0 changed from up, carrier to down, no carrier"),
        "{cause:?}"
    );
    assert_eq!(verdict.units, ["curl.service", "kubelet.service"]);
    assert!(
        verdict.remedy[0].starts_with("ip link set dev ens3 name eth0"),
        "{:?}",
        verdict.remedy
    );
}

/// The one hand takes two rules away: by each of them what this node sends may get no answer, and it is the first that did it.
#[test]
fn what_follows_from_a_root_has_the_cause_of_that() {
    let marked = Thing::Rule {
        version: Version::V4,
        priority: 9,
        text: "from all fwmark 0x200/0xf00 lookup 2004".to_owned(),
        table: 2004,
    };
    let mut story = before();
    set(&mut story, marked.clone(), Some(""), Seen::Found, None);
    let other = flow(Protocol::Tcp, "10.10.0.2", 42_000, "198.51.100.1", 443);
    story.exchange(other);
    story.idle(2);
    set(&mut story, marked, None, Seen::Told, Some(networkd()));
    set(&mut story, local_rule(), None, Seen::Told, Some(networkd()));
    story.rounds(8, |story| {
        story.ask(other);
        for port in [40_000, 40_001, 40_002] {
            story.ask_and_lose(client(port), foreign());
        }
    });
    let (root, path) = (story.verdict("R01"), story.verdict("D01"));
    assert_eq!(path.under.as_deref(), Some("R01"));
    assert_eq!(root.cause.relation, Relation::Explains);
    assert!(root.cause.text.ends_with(" it began."), "{}", root.cause.text);
    let text = root.cause.text.replace(" it began", " R01 began");
    assert_eq!(
        path.cause,
        Cause {
            text,
            ..root.cause.clone()
        }
    );
    assert!(path.also.is_empty(), "{:#?}", path.also);
    for verdict in [root, path] {
        let has = |words| verdict.remedy.iter().any(|line| line.contains(words));
        assert!(
            has("lookup local") && !has("lookup 2004"),
            "{:#?}",
            verdict.remedy
        );
    }
}
