//! Two faults at once: each has its own beginning, end and mend.

use tracer::diagnosis::Diagnosis;
use tracer::event::{Body, EntryKey, Protocol};
use tracer::filter::Filter;
use tracer::report::{Report, Where};

use crate::aftermath::led_from;
use crate::again::{FIREWALL, Fault, ROUTING, begun, works};
use crate::episodes::beacon;
use crate::story::*;

/// A fault, the connections that suffer from it, and what becomes of what they are answered.
struct Side {
    fault: Fault,
    ports: [u16; 2],
    lost: fn() -> EntryKey,
}

fn sides() -> [Side; 2] {
    [
        Side {
            fault: ROUTING,
            ports: [41_000, 41_001],
            lost: foreign,
        },
        Side {
            fault: FIREWALL,
            ports: [42_000, 42_001],
            lost: || drop("NETFILTER_DROP", "nft_do_chain", Protocol::Tcp),
        },
    ]
}

/// A round in which the connections of these sides lose what they are answered, and the others work.
fn round(story: &mut Story, sides: &[(&Side, bool)]) {
    works(story);
    for (side, is_broken) in sides {
        for port in side.ports {
            if *is_broken {
                story.ask_and_lose(client(port), (side.lost)());
            } else {
                story.exchange(client(port));
            }
        }
    }
}

/// The second one begins while the first one lasts, and the one that is named is mended first, 3 s before the other one.
fn overlapping(mended_first: &str) -> Story {
    let [one, other] = sides();
    let mut story = begun();
    let rounds = |story: &mut Story, count: u32, one_is: bool, other_is: bool| {
        story.rounds(count, |story| round(story, &[(&one, one_is), (&other, other_is)]));
    };
    rounds(&mut story, 8, false, false);
    (one.fault.breaks)(&mut story, 1);
    rounds(&mut story, 8, true, false);
    (other.fault.breaks)(&mut story, 11);
    rounds(&mut story, 12, true, true);
    if mended_first == one.fault.id {
        (one.fault.mends)(&mut story, 2);
        rounds(&mut story, 12, false, true);
        (other.fault.mends)(&mut story, 12);
    } else {
        (other.fault.mends)(&mut story, 12);
        rounds(&mut story, 12, true, false);
        (one.fault.mends)(&mut story, 2);
    }
    rounds(&mut story, 40, false, false);
    story
}

/// By whom each fault of the only episode was mended, and when it was over.
fn mends(report: &Report) -> Vec<(String, String, String)> {
    let [episode] = report.episodes.as_slice() else {
        panic!("{:#?}", report.episodes);
    };
    let root = (
        &episode.id,
        &episode.mended,
        episode.mended.as_ref().map(|mended| &mended.at),
    );
    let others = episode
        .beside
        .iter()
        .map(|fault| (&fault.id, &fault.mended, Some(&fault.last)));
    let all = std::iter::once(root).chain(others);
    all.map(|(id, mended, last)| {
        let mended = mended.as_ref().unwrap_or_else(|| panic!("{id}: {episode:#?}"));
        let by = mended.text.split_once('[').unwrap().1.split_once(']').unwrap().0;
        assert_eq!(last, Some(&mended.at), "{id}");
        (id.clone(), by.to_owned(), mended.at.clone())
    })
    .collect()
}

#[test]
fn each_of_two_faults_has_its_own_end_and_mend() {
    for first in ["R06", "R01"] {
        let story = overlapping(first);
        let report = story.report();
        let mends = mends(&report);
        let told: Vec<(&str, &str)> = mends
            .iter()
            .map(|(id, by, _)| (id.as_str(), by.as_str()))
            .collect();
        assert_eq!(told, [("R01", "902"), ("R06", "912")], "{first} first");
        let last = mends.iter().map(|(.., at)| at).max();
        assert_eq!(report.episodes[0].end.as_ref(), last, "{first} first");
        let text = beacon(&story, &format!("beside-{first}"));
        assert!(text.contains(" where=healthy was=R01,R06 since="), "{text}");
    }
}

/// A firewall that drops what is routed as foreign anyhow is seen to when that is mended: nobody is told that the node is healthy.
#[test]
fn what_another_fault_hid_leads_at_once_when_that_is_mended() {
    let [routing, firewall] = sides();
    let mut story = begun();
    let rounds = |story: &mut Story, count: u32, lost: Option<fn() -> EntryKey>| {
        story.rounds(count, |story| {
            works(story);
            for port in firewall.ports {
                match lost {
                    Some(lost) => story.ask_and_lose(client(port), lost()),
                    None => story.exchange(client(port)),
                }
            }
        });
    };
    rounds(&mut story, 8, None);
    (routing.fault.breaks)(&mut story, 1);
    rounds(&mut story, 8, Some(foreign));
    (firewall.fault.breaks)(&mut story, 11);
    rounds(&mut story, 8, Some(foreign));
    (routing.fault.mends)(&mut story, 2);
    let mended = story.events.len();
    let at = story.report().window.end;
    rounds(&mut story, 12, Some(firewall.lost));
    assert_eq!(led_from(&story, mended), ["R01", "R06"]);
    let dropped = story.verdict("R06");
    assert!(dropped.since > at, "{} after {at}", dropped.since);
    assert!(
        dropped.explanation.starts_with("24 packets arrived"),
        "{}",
        dropped.explanation
    );
    (firewall.fault.mends)(&mut story, 12);
    rounds(&mut story, 40, None);
    assert_eq!(led_from(&story, mended), ["R01", "R06", ""]);
    let mends = mends(&story.report());
    let told: Vec<(&str, &str)> = mends
        .iter()
        .map(|(id, by, _)| (id.as_str(), by.as_str()))
        .collect();
    assert_eq!(told, [("R01", "902"), ("R06", "912")]);
}

/// A firewall drops the answers of peers that fall silent meanwhile. When the firewall is mended it takes some seconds to be sure of
/// the silence: until then nobody is told that the node is healthy, and a beacon tells one after the other.
#[test]
fn while_flows_starve_a_node_is_not_called_healthy_right_after_a_mend() {
    for (side, (breaks, mends)) in sides().iter().zip([(1, 2), (11, 12)]) {
        let mut story = begun();
        let rounds = |story: &mut Story, count: u32, then: &dyn Fn(&mut Story, u16)| {
            story.rounds(count, |story| {
                works(story);
                for port in side.ports {
                    then(story, port);
                }
            });
        };
        rounds(&mut story, 8, &|story, port| story.exchange(client(port)));
        (side.fault.breaks)(&mut story, breaks);
        rounds(&mut story, 8, &|story, port| {
            story.ask_and_lose(client(port), (side.lost)())
        });
        (side.fault.mends)(&mut story, mends);
        let mended = story.events.len();
        story.rounds(24, |story| {
            for port in side.ports {
                story.ask(client(port));
            }
        });
        let places = places_from(&story, mended);
        assert!(places.iter().any(|(_, settling, _)| *settling), "{places:#?}");
        for (place, settling, starved) in &places {
            assert_eq!(*settling, *place == Where::Unknown);
            assert!(*place != Where::Healthy || *starved == 0, "{places:#?}");
        }
        let id = side.fault.id;
        assert_eq!(led_from(&story, mended), [id, "", "D01"]);
        let told = beacon(&story, &format!("settling-{id}"));
        let ids: Vec<&str> = told.lines().filter_map(|line| line.split(' ').nth(2)).collect();
        assert_eq!(ids, [id, "D01"], "{told}");
    }
}

/// Where the fault is, whether that is open, and how many flows starve, at each tick from this event on.
pub(crate) fn places_from(story: &Story, event: usize) -> Vec<(Where, bool, u64)> {
    let mut told = Diagnosis::new();
    let mut all = Vec::new();
    for (number, event_) in story.events.iter().enumerate() {
        told.apply(event_);
        if event_.body == Body::Tick && number >= event {
            let report = Filter::default().report(&told);
            all.push((report.place, report.settling, report.starved_total));
        }
    }
    all
}
