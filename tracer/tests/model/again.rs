//! What is mended and then broken once more.

use std::collections::BTreeSet;

use tracer::diagnosis::Diagnosis;
use tracer::event::{Body, EntryKey, FlowKey, Protocol, Seen, SocketState, Thing};
use tracer::filter::Filter;
use tracer::report::{Confidence, Fact, Later, Relation, Report};

use crate::episodes::beacon;
use crate::pairing::{by, local_rule, set};
use crate::story::*;

/// How a fault is brought about, with the number of the change, and taken back by the next one.
pub(crate) struct Fault {
    pub(crate) breaks: fn(&mut Story, u32),
    pub(crate) mends: fn(&mut Story, u32),
    /// What is lost, in a round.
    loses: fn(&mut Story),
    pub(crate) id: &'static str,
}

pub(crate) fn rules(story: &mut Story, number: u32, did: &str) {
    ruleset(story, number, &format!("table inet guard, chain in: {did}"));
}

pub(crate) fn ruleset(story: &mut Story, number: u32, did: &str) {
    let rules = Thing::Ruleset {
        firewall: "nf_tables".to_owned(),
    };
    let value = format!("generation {number}, tables: inet guard; {did}");
    let who = by(900 + number, "nft", "session-1.scope");
    set(story, rules, Some(&value), Seen::Told, Some(who));
}

fn traffic(text: &str) -> Thing {
    Thing::Traffic {
        device: "eth0".to_owned(),
        text: text.to_owned(),
    }
}

fn shape(story: &mut Story, text: &str, value: Option<&str>, number: u32) {
    let who = by(900 + number, "tc", "session-1.scope");
    set(story, traffic(text), value, Seen::Told, Some(who));
}

pub(crate) const ROUTING: Fault = Fault {
    breaks: |story, number| {
        let who = by(900 + number, "ip", "session-1.scope");
        set(story, local_rule(), None, Seen::Told, Some(who));
    },
    mends: |story, number| {
        let who = by(900 + number, "ip", "session-1.scope");
        set(story, local_rule(), Some(""), Seen::Told, Some(who));
    },
    loses: |story| lose_all(story, foreign()),
    id: "R01",
};

pub(crate) const FIREWALL: Fault = Fault {
    breaks: |story, number| {
        rules(
            story,
            number,
            &format!("rule handle {} (tcp sport 80 drop) new", 10 + number),
        );
    },
    mends: |story, number| {
        rules(
            story,
            number,
            &format!("rule handle {} (tcp sport 80 drop) gone", 9 + number),
        );
    },
    loses: |story| lose_all(story, drop("NETFILTER_DROP", "nft_do_chain", Protocol::Tcp)),
    id: "R06",
};

/// The first rule comes in one go with its table and its chain, which stay there when it is deleted, as by `iptables-nft`.
const FIRST_RULE: Fault = Fault {
    breaks: |story, number| {
        let with = match number {
            1 => "table inet guard new; table inet guard, chain in with policy accept new; ",
            _ => "",
        };
        let rule = format!("rule handle {} (tcp sport 80 drop) new", 10 + number);
        ruleset(
            story,
            number,
            &format!("{with}table inet guard, chain in: {rule}"),
        );
    },
    ..FIREWALL
};

/// A part is dropped by a filter with a limit.
const POLICE: Fault = Fault {
    breaks: |story, number| {
        shape(story, "qdisc ingress ffff:", Some(""), number);
        let police = "protocol ip, police rate 8000bit";
        shape(
            story,
            "filter ingress pref 1 u32 handle 800::800",
            Some(police),
            number,
        );
    },
    mends: |story, number| {
        shape(story, "filter ingress pref 1 u32 handle 800::800", None, number);
        shape(story, "qdisc ingress ffff:", None, number);
    },
    loses: |story| lose_some(story, drop("TC_INGRESS", "sch_handle_ingress", Protocol::Tcp)),
    id: "K04",
};

/// A part is dropped by a queueing discipline, which has another number each time, and stands in for the usual one.
const SHAPER: Fault = Fault {
    breaks: |story, number| {
        shape(story, "qdisc fq_codel 0: root", None, number);
        let text = format!("qdisc netem {}: root", 8000 + number);
        shape(story, &text, Some("loss 30%"), number);
    },
    mends: |story, number| {
        let text = format!("qdisc netem {}: root", 7999 + number);
        shape(story, &text, None, number);
        shape(story, "qdisc fq_codel 0: root", Some("limit 10240p"), number);
    },
    loses: |story| lose_some(story, drop("NETFILTER_DROP", "nft_do_chain", Protocol::Tcp)),
    id: "K04",
};

fn lose_all(story: &mut Story, entry: EntryKey) {
    for port in [40_000, 40_001] {
        story.ask_and_lose(client(port), entry.clone());
    }
}

fn lose_some(story: &mut Story, entry: EntryKey) {
    for port in [40_000, 40_001] {
        for _ in 0..4 {
            story.exchange(client(port));
        }
        story.ask_and_lose(client(port), entry.clone());
    }
}

pub(crate) fn works(story: &mut Story) {
    for port in [40_000, 40_001] {
        story.exchange(client(port));
    }
}

pub(crate) fn begun() -> Story {
    let mut story = healthy();
    set(&mut story, local_rule(), Some(""), Seen::Found, None);
    set(
        &mut story,
        Thing::Ruleset {
            firewall: "nf_tables".to_owned(),
        },
        Some("generation 1, tables: inet guard"),
        Seen::Found,
        None,
    );
    set(
        &mut story,
        traffic("qdisc fq_codel 0: root"),
        Some("limit 10240p"),
        Seen::Found,
        None,
    );
    story.rounds(8, works);
    story
}

/// It is broken, mended, and broken once more after so many rounds; then mended again for long.
fn twice(fault: &Fault, rounds: u32) -> Story {
    let mut story = begun();
    (fault.breaks)(&mut story, 1);
    story.rounds(16, fault.loses);
    (fault.mends)(&mut story, 2);
    story.rounds(rounds, works);
    (fault.breaks)(&mut story, 3);
    story.rounds(16, fault.loses);
    (fault.mends)(&mut story, 4);
    story.rounds(80, works);
    story
}

/// The report at each tick.
fn each_tick(story: &Story, mut look: impl FnMut(&Report)) {
    let mut told = Diagnosis::new();
    for event in &story.events {
        told.apply(event);
        if event.body == Body::Tick {
            look(&Filter::default().report(&told));
        }
    }
}

/// What is told to have mended something.
fn mends(report: &Report) -> impl Iterator<Item = &Later> {
    let of_verdicts = report
        .verdicts
        .iter()
        .filter_map(|verdict| verdict.mended.as_ref());
    let all = report
        .episodes
        .iter()
        .filter_map(|episode| episode.mended.as_ref());
    all.chain(of_verdicts)
}

#[test]
fn what_breaks_it_the_second_time_has_not_mended_it() {
    for fault in [ROUTING, FIREWALL, FIRST_RULE, POLICE, SHAPER] {
        for rounds in [2, 4, 6, 8, 12, 18, 22, 30, 50, 70] {
            let story = twice(&fault, rounds);
            each_tick(&story, |report| {
                for mended in mends(report) {
                    let is_mend = ["[902]", "[904]"].iter().any(|by| mended.text.contains(by));
                    assert!(is_mend, "{} after {rounds} rounds: {mended:?}", fault.id);
                }
            });
        }
    }
}

/// The process that broke it, since when it is so, and how many packets were lost, as the last report of each break has it.
fn breaks(story: &Story, fault: &Fault) -> Vec<(u32, String, u64)> {
    let mut breaks: Vec<(u32, String, u64)> = Vec::new();
    each_tick(story, |report| {
        let Some(verdict) = report.verdicts.iter().find(|verdict| verdict.id == fault.id) else {
            return;
        };
        let by = verdict.cause.by.as_ref().map_or(0, |by| by.pid);
        let lost = verdict.evidence.iter().find_map(|seen| match &seen.fact {
            Fact::Drop { packets, .. } => Some(*packets),
            _ => None,
        });
        let now = (by, verdict.since.clone(), lost.unwrap());
        match breaks
            .last_mut()
            .filter(|last| (last.0, &last.1) == (now.0, &now.1))
        {
            Some(last) => *last = now,
            None => breaks.push(now),
        }
    });
    breaks
}

#[test]
fn each_break_is_explained_by_what_came_before_it() {
    for fault in [ROUTING, FIREWALL, FIRST_RULE, POLICE, SHAPER] {
        for rounds in [4, 6, 8, 12, 18, 22, 30, 50, 70] {
            let what = format!("{} after {rounds} rounds", fault.id);
            let story = twice(&fault, rounds);
            let breaks = breaks(&story, &fault);
            let by: Vec<u32> = breaks.iter().map(|(by, ..)| *by).collect();
            assert_eq!(by, [901, 903], "{what}: {breaks:#?}");
            let report = story.report();
            let onsets: Vec<&String> = report.episodes.iter().rev().map(|one| &one.onset).collect();
            let since: Vec<&String> = breaks.iter().map(|(_, since, _)| since).collect();
            assert_eq!(onsets, since, "{what}");
            for episode in &report.episodes {
                let mended = episode.mended.as_ref().unwrap();
                assert!(Some(&mended.at) <= episode.end.as_ref(), "{what}: {episode:#?}");
            }
            if fault.id != "R01" {
                // The books are of all.
                let lost: Vec<u64> = breaks.iter().map(|(.., lost)| *lost).collect();
                assert_eq!(lost, [32, 32], "{what}");
            }
        }
    }
}

/// What is counted late, after the fault was over, is no part of the next one either.
#[test]
fn what_is_told_late_begins_no_other_fault() {
    for fault in [ROUTING, FIREWALL] {
        let mut story = begun();
        (fault.breaks)(&mut story, 1);
        story.rounds(16, fault.loses);
        (fault.mends)(&mut story, 2);
        story.rounds(5, works);
        story.rounds(1, fault.loses);
        story.rounds(2, works);
        (fault.breaks)(&mut story, 3);
        story.rounds(16, fault.loses);
        (fault.mends)(&mut story, 4);
        story.rounds(40, works);
        let by: Vec<u32> = breaks(&story, &fault).iter().map(|(by, ..)| *by).collect();
        assert_eq!(by, [901, 903], "{}", fault.id);
        let episodes = story.report().episodes;
        assert_eq!(episodes.len(), 2, "{}: {episodes:#?}", fault.id);
        assert!(
            episodes.iter().all(|episode| episode.mended.is_some()),
            "{}",
            fault.id
        );
    }
}

/// Two lines within 10 s are too many: that it was over may not be told, and that it was broken once more is.
#[test]
fn the_beacon_tells_each_break() {
    for rounds in [6, 8, 24] {
        let mut story = begun();
        for number in [1, 3] {
            (ROUTING.breaks)(&mut story, number);
            story.rounds(8, ROUTING.loses);
            (ROUTING.mends)(&mut story, number + 1);
            story.rounds(rounds, works);
        }
        story.rounds(40, works);
        let text = beacon(&story, &format!("again-{rounds}"));
        let episodes = story.report().episodes;
        assert_eq!(episodes.len(), 2, "{rounds}");
        for episode in episodes {
            let line = format!(
                "tracer: verdict R01 where=guest-kernel confidence=conclusive since={} ",
                episode.onset
            );
            assert!(text.contains(&line), "{rounds}: {line} in {text}");
        }
    }
}

/// The same of what is routed as somebody else's, and of what the reverse path filter refuses.
#[test]
fn who_suffered_is_told_as_long_as_the_fault_lasts() {
    let refused = drop("IP_RPFILTER", "ip_rcv_finish_core", Protocol::Tcp);
    for (entry, id) in [(foreign(), "R01"), (refused, "R03")] {
        let mut story = begun();
        for number in 0..20 {
            let key = client(41_000 + number);
            story.socket(key, None, SocketState::Established, "curl");
            story.rounds(4, |story| {
                story.ask_and_lose(key, entry.clone());
                story.ask_and_lose(client(40_000), entry.clone());
            });
            story.socket(key, Some(SocketState::Established), SocketState::Close, "curl");
        }
        let verdict = story.verdict(id);
        assert_eq!(
            (verdict.flows_total, verdict.confidence),
            (21, Confidence::Conclusive),
            "{id}"
        );
        let mut flows = 0;
        each_tick(&story, |report| {
            if let Some(verdict) = report.verdicts.iter().find(|verdict| verdict.id == id) {
                assert!(verdict.flows_total >= flows, "{id}: {flows} {verdict:#?}");
                flows = verdict.flows_total;
            }
        });
    }
}

/// Questions, each by a connection or a port of its own, whose askers give up, and a connection that stays.
fn gives_up(story: &mut Story, number: u16) {
    let lost = |protocol| drop("NETFILTER_DROP", "nft_do_chain", protocol);
    let port = 41_000 + number;
    story.socket(
        client(port),
        Some(SocketState::Close),
        SocketState::SynSent,
        "curl",
    );
    for _ in 0..4 {
        story.ask_and_lose(client(port), lost(Protocol::Tcp));
        story.ask_and_lose(client(40_000), lost(Protocol::Tcp));
        story.ask_and_lose(udp(port, "192.0.2.53", 53), lost(Protocol::Udp));
        story.tick();
    }
    story.socket(
        client(port),
        Some(SocketState::SynSent),
        SocketState::Close,
        "curl",
    );
}

/// Who has given up has lost what it lost.
#[test]
fn a_verdict_never_says_less_than_it_did() {
    let mut story = begun();
    (FIREWALL.breaks)(&mut story, 1);
    (0..20).for_each(|number| gives_up(&mut story, number));
    let all = "240 packets arrived";
    let verdict = story.verdict("R06");
    assert!(verdict.explanation.starts_with(all), "{}", verdict.explanation);
    assert_eq!(
        (verdict.flows_total, verdict.since.as_str()),
        (41, "2023-10-08T06:00:06.500Z")
    );
    (FIREWALL.mends)(&mut story, 2);
    story.rounds(3, works);
    let verdict = story.verdict("R06");
    assert!(verdict.mended.is_some());
    assert!(verdict.explanation.starts_with(all), "{}", verdict.explanation);
    story.rounds(20, works);
    let (mut packets, mut flows, mut onsets) = (0, 0, BTreeSet::new());
    each_tick(&story, |report| {
        if let Some(verdict) = report.verdicts.iter().find(|verdict| verdict.id == "R06") {
            let now = verdict.explanation.split(' ').next().unwrap().parse().unwrap();
            assert!(
                now >= packets && verdict.flows_total >= flows,
                "{packets} and {flows}: {verdict:#?}"
            );
            (packets, flows) = (now, verdict.flows_total);
            onsets.insert(verdict.since.clone());
        }
    });
    assert_eq!(onsets.len(), 1, "{onsets:?}");
    let report = story.report();
    assert!(report.verdicts.is_empty(), "{:#?}", report.verdicts);
    assert_eq!(report.episodes[0].flows, 41);
}

/// Counts are told twice a second, and packets are shown when they are dropped.
#[test]
fn a_loss_begins_with_its_first_packet() {
    let mut story = begun();
    let entry = drop("NETFILTER_DROP", "nft_do_chain", Protocol::Tcp);
    (FIREWALL.breaks)(&mut story, 1);
    story.example(
        entry.clone(),
        client(40_000),
        Some(SocketState::Established),
        "curl",
    );
    story.idle(1);
    story.rounds(6, |story| {
        story.example(
            entry.clone(),
            client(40_000),
            Some(SocketState::Established),
            "curl",
        );
        lose_all(story, entry.clone());
    });
    let verdict = story.verdict("R06");
    assert_eq!(verdict.since, "2023-10-08T06:00:06.000Z");
    assert_eq!(verdict.cause.by.map(|by| by.pid), Some(901));
}

/// Two rules drop the same, and the first one that goes is not the mend.
#[test]
fn two_rules_that_drop_the_same_are_mended_by_the_last_that_goes() {
    let mut story = begun();
    story.rounds(8, works);
    let did = |story: &mut Story, number: u32, handle: u32, what: &str| {
        rules(
            story,
            number,
            &format!("rule handle {handle} (tcp sport 80 drop) {what}"),
        );
    };
    did(&mut story, 2, 12, "new");
    story.rounds(10, FIREWALL.loses);
    assert_eq!(story.verdict("R06").also, []);
    did(&mut story, 3, 13, "new");
    story.rounds(8, FIREWALL.loses);
    let verdict = story.verdict("R06");
    assert!(verdict.cause.text.contains("[902]"), "{:?}", verdict.cause);
    let also: Vec<&str> = verdict.also.iter().map(|later| later.text.as_str()).collect();
    assert!(also.len() == 1 && also[0].contains("[903]"), "{also:?}");
    assert_eq!(verdict.also_total, 1);
    for (line, handle) in verdict.remedy.iter().zip([12, 13]) {
        let remedy = format!("nft delete rule inet guard in handle {handle}");
        assert!(line.starts_with(&remedy), "{:?}", verdict.remedy);
    }
    did(&mut story, 4, 12, "gone");
    story.rounds(12, FIREWALL.loses);
    let verdict = story.verdict("R06");
    assert_eq!(verdict.also_total, 1);
    let text = &verdict.cause.text;
    assert!(
        text.contains("[902]") && text.ends_with("; it was taken back since."),
        "{text}"
    );
    let remedy = "nft delete rule inet guard in handle 13";
    assert!(verdict.remedy[0].starts_with(remedy), "{:?}", verdict.remedy);
    did(&mut story, 5, 13, "gone");
    story.rounds(40, works);
    each_tick(&story, |report| {
        for mended in mends(report) {
            assert!(mended.text.contains("[905]"), "{mended:?}");
        }
    });
    assert!(story.report().episodes[0].mended.is_some());
}

/// Of an older firewall the number of rules, their hash and the policies that drop are known, and each second only.
#[test]
fn each_fault_by_an_older_firewall_has_its_own_cause_and_mend() {
    let mut story = begun();
    let table = |story: &mut Story, value: &str| {
        let rules = Thing::Ruleset {
            firewall: "ip_tables filter".to_owned(),
        };
        set(story, rules, Some(value), Seen::Noticed, None);
    };
    let rounds = |story: &mut Story, count: u32, is_broken: bool| {
        story.rounds(count, |story| {
            works(story);
            for port in [42_000, 42_001] {
                if is_broken {
                    story.ask_and_lose(
                        client(port),
                        drop("NETFILTER_DROP", "nf_hook_slow", Protocol::Tcp),
                    );
                } else {
                    story.exchange(client(port));
                }
            }
        });
    };
    rounds(&mut story, 8, false);
    // The policy was there before anything else was, so that no other table is as it was.
    table(&mut story, "policy of INPUT drop, 4 entries, hash 0a0a0a0a");
    rounds(&mut story, 8, true);
    // A rule that changes nothing of it.
    table(&mut story, "policy of INPUT drop, 5 entries, hash 0d0d0d0d");
    rounds(&mut story, 4, true);
    table(&mut story, "4 entries, hash 0b0b0b0b");
    rounds(&mut story, 16, false);
    table(&mut story, "5 entries, hash 0c0c0c0c");
    rounds(&mut story, 8, true);
    let cause = story.verdict("R06").cause.text;
    assert!(cause.contains("5 entries, hash 0c0c0c0c"), "{cause}");
    table(&mut story, "4 entries, hash 0b0b0b0b");
    rounds(&mut story, 16, false);
    table(&mut story, "6 entries, hash 0e0e0e0e");
    rounds(&mut story, 8, true);
    // Another rule that was there before is gone as well.
    table(&mut story, "4 entries that drop nothing, hash 0f0f0f0f");
    rounds(&mut story, 16, false);
    let report = story.report();
    let mends: Vec<_> = report
        .episodes
        .iter()
        .map(|episode| episode.mended.as_ref().map(|mended| mended.text.as_str()))
        .collect();
    assert_eq!(mends.len(), 3, "{mends:#?}");
    for (mend, hash) in mends.into_iter().zip(["0f0f0f0f", "0b0b0b0b", "0b0b0b0b"]) {
        assert!(mend.unwrap().contains(&format!("hash {hash}")), "{mend:#?}");
    }
    // What was not read says nothing, neither before nor after.
    table(&mut story, "rules not read");
    table(&mut story, "policy of INPUT drop, 4 entries, hash 0a0a0a0a");
    rounds(&mut story, 8, true);
    let cause = story.verdict("R06").cause;
    assert_ne!(cause.relation, Relation::Explains, "{cause:?}");
    table(&mut story, "rules not read");
    rounds(&mut story, 16, false);
    assert_eq!(story.report().episodes[0].mended, None);
}

/// A round in which these ports are dropped and all others are answered.
fn dropping(story: &mut Story, rounds: u32, dropped: &[u16]) {
    story.rounds(rounds, |story| {
        works(story);
        for port in [42_000, 42_001, 43_000, 43_001] {
            if dropped.contains(&port) {
                story.ask_and_lose(
                    client(port),
                    drop("NETFILTER_DROP", "nf_hook_slow", Protocol::Tcp),
                );
            } else {
                story.exchange(client(port));
            }
        }
    });
}

const FIRST: [u16; 2] = [42_000, 42_001];
const SECOND: [u16; 2] = [43_000, 43_001];

fn cause(story: &Story, id: &str) -> String {
    story.verdict(id).cause.text
}

#[test]
fn what_comes_in_the_place_of_a_fault_is_another_one() {
    let mut story = begun();
    dropping(&mut story, 4, &[]);
    rules(&mut story, 2, "rule handle 2 (tcp dport 42000-42001 drop) new");
    dropping(&mut story, 8, &FIRST);
    assert!(cause(&story, "R06").contains("42000"));
    let both = "rule handle 2 (tcp dport 42000-42001 drop) gone; table inet guard, chain in: rule handle 3 (tcp dport \
                43000-43001 drop) new";
    rules(&mut story, 3, both);
    dropping(&mut story, 8, &SECOND);
    let verdict = story.verdict("R06");
    assert!(verdict.cause.text.contains("handle 3"), "{:?}", verdict.cause);
    assert_eq!(verdict.flows_total, 2, "{}", verdict.explanation);
    let remedy = "nft delete rule inet guard in handle 3";
    assert!(verdict.remedy[0].starts_with(remedy), "{:?}", verdict.remedy);
    rules(&mut story, 4, "rule handle 3 (tcp dport 43000-43001 drop) gone");
    dropping(&mut story, 16, &[]);
    let report = story.report();
    assert_eq!(report.episodes.len(), 2, "{:#?}", report.episodes);
    let mended = report.episodes.iter().map(|episode| episode.mended.is_some());
    assert_eq!(mended.collect::<Vec<_>>(), [true, true], "{:#?}", report.episodes);
}

#[test]
fn what_comes_where_all_was_well_is_another_fault_though_nobody_saw_the_mend() {
    let mut story = begun();
    dropping(&mut story, 4, &[]);
    rules(&mut story, 2, "rule handle 2 (tcp dport 42000-42001 drop) new");
    dropping(&mut story, 8, &FIRST);
    // It stops by itself.
    dropping(&mut story, 24, &[]);
    assert!(story.ids().is_empty(), "{:?}", story.ids());
    rules(&mut story, 3, "rule handle 3 (tcp dport 43000-43001 drop) new");
    dropping(&mut story, 8, &SECOND);
    let verdict = story.verdict("R06");
    assert!(verdict.cause.text.contains("handle 3"), "{:?}", verdict.cause);
    assert_eq!(story.report().episodes.len(), 2);
}

#[test]
fn who_changes_rules_all_the_time_hides_no_fault_that_comes_again() {
    let mut story = begun();
    dropping(&mut story, 4, &[]);
    rules(&mut story, 2, "rule handle 2 (tcp dport 42000-42001 drop) new");
    dropping(&mut story, 8, &FIRST);
    rules(&mut story, 3, "rule handle 2 (tcp dport 42000-42001 drop) gone");
    dropping(&mut story, 2, &[]);
    rules(&mut story, 4, "rule handle 3 (tcp dport 43000-43001 drop) new");
    for number in 5..15 {
        dropping(&mut story, 1, &SECOND);
        let rule = format!("rule handle {number} (tcp dport {number} jump other) new");
        rules(&mut story, number, &rule);
    }
    dropping(&mut story, 1, &SECOND);
    assert_eq!(story.ids(), ["R06"]);
}

/// By another device, for nobody, in the same namespace and in another one.
#[test]
fn a_fault_that_comes_again_is_told_without_who_and_where_it_was_before() {
    const ETH1: u32 = 7;
    const OTHER: u32 = NETNS + 1;
    for (entry, id) in [
        (drop("IP_RPFILTER", "ip_rcv_finish_core", Protocol::Tcp), "R03"),
        (foreign(), "R01"),
    ] {
        let mut story = Story::with_namespaces(&[(NETNS, "host"), (OTHER, "yonder")]);
        story.device(NETNS, ETH0, "eth0", true, vec![ip("10.10.0.2")]);
        story.device(OTHER, ETH1, "eth1", true, vec![ip("10.20.0.2")]);
        let before = EntryKey {
            netns: OTHER,
            iif: ETH1,
            device: ETH1,
            ..entry.clone()
        };
        let peer = FlowKey {
            netns: OTHER,
            ..flow(Protocol::Tcp, "10.20.0.2", 10_250, "198.51.100.9", 40_000)
        };
        let lose = |story: &mut Story, key: FlowKey, entry: &EntryKey, who: &str| {
            story.rounds(6, |story| {
                story.add(entry.clone(), 1);
                story.example(entry.clone(), key, None, who);
            });
        };
        lose(&mut story, peer, &before, "kubelet");
        let verdict = story.verdict(id);
        assert_eq!(verdict.units, ["kubelet.service"], "{id}");
        assert!(verdict.explanation.contains("eth1"), "{}", verdict.explanation);
        story.idle(60);
        assert!(story.ids().is_empty(), "{:?}", story.ids());

        lose(&mut story, served(5_000), &entry, "web");
        let verdict = story.verdict(id);
        let text = serde_json::to_string(&verdict).unwrap();
        assert!(text.contains("eth0"), "{text}");
        for gone in ["eth1", "kubelet", "10.20.0.2", "198.51.100.9", "yonder"] {
            assert!(!text.contains(gone), "{gone}: {text}");
        }
        assert_eq!(verdict.units, ["web.service"], "{id}");
    }
}
