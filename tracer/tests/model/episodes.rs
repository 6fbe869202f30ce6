//! The times in which the network was broken.

use std::collections::BTreeSet;

use tracer::beacon::{Beacon, Target};
use tracer::diagnosis::Diagnosis;
use tracer::event::{Body, Event, Seen, Setting, SocketState};
use tracer::filter::Filter;
use tracer::report::{Change, Confidence, Episode, Relation, Report, Where};

use crate::pairing::{local_rule, networkd, set};
use crate::story::*;

/// So many rounds in which the replies to this many connections are routed as foreign.
fn broken(story: &mut Story, rounds: u32, connections: u16) {
    story.rounds(rounds, |story| {
        for port in 40_000..40_000 + connections {
            story.ask_and_lose(client(port), foreign());
        }
    });
}

/// So many rounds in which the connections work.
fn mended(story: &mut Story, rounds: u32) {
    story.rounds(rounds, |story| {
        for port in [40_000, 40_001, 40_002] {
            story.exchange(client(port));
        }
    });
}

/// A node whose connections belong to units.
fn node() -> Story {
    let mut story = healthy();
    story.socket(client(40_002), None, SocketState::Established, "kubelet");
    mended(&mut story, 2);
    story
}

/// The one that there is.
fn only(report: &Report) -> &Episode {
    let [episode] = report.episodes.as_slice() else {
        panic!("{:#?}", report.episodes);
    };
    assert_eq!(report.episodes_total, 1);
    episode
}

#[test]
fn an_episode_is_there_while_it_lasts_and_has_its_length_behind_it() {
    let mut story = node();
    assert!(story.report().episodes.is_empty());
    broken(&mut story, 6, 2);
    broken(&mut story, 6, 3);
    broken(&mut story, 6, 1);
    let report = story.report();
    assert_eq!(report.place, Where::GuestKernel);
    let during = only(&report).clone();
    assert_eq!(
        (during.id.as_str(), during.place),
        ("R01", Some(Where::GuestKernel))
    );
    assert_eq!((during.end, during.flows), (None, 3));
    assert_eq!(during.onset, report.verdicts[0].since);
    assert!(during.peak > during.onset, "{}", during.peak);

    mended(&mut story, 30);
    let report = story.report();
    assert_eq!(report.place, Where::Healthy);
    let after = only(&report);
    assert_eq!(
        (&after.onset, &after.peak, after.confidence),
        (&during.onset, &during.peak, Confidence::Conclusive)
    );
    // The first loss is in the first of 18 rounds, the last one in the last.
    assert_eq!(after.seconds, 8.5);
    assert_eq!(after.end.as_ref(), Some(&"2023-10-08T06:00:12.000Z".to_owned()));
    assert_eq!(after.units, ["curl.service", "kubelet.service"]);
    assert_eq!((after.units_total, after.recurrence), (2, 1));
    assert_eq!(after.led, ["R01"]);
}

#[test]
fn a_short_break_is_no_end_and_a_long_one_is() {
    let mut story = node();
    broken(&mut story, 8, 2);
    mended(&mut story, 40);
    let first = story.report();
    assert!(only(&first).end.is_some(), "it was over for a time");
    broken(&mut story, 8, 2);
    let joined = story.report();
    assert_eq!(
        (only(&joined).end.as_ref(), &only(&joined).onset),
        (None, &only(&first).onset)
    );
    mended(&mut story, 80);
    broken(&mut story, 8, 2);
    let report = story.report();
    let told: Vec<(bool, u64)> = report
        .episodes
        .iter()
        .map(|episode| (episode.end.is_none(), episode.recurrence))
        .collect();
    assert_eq!(told, [(true, 2), (false, 1)]);
    assert!(Some(&report.episodes[0].onset) > report.episodes[1].end.as_ref());
}

#[test]
fn weak_signs_make_no_episode() {
    let mut story = healthy();
    story.rounds(8, |story| story.refuse(served(50_000), "tcp_v4_rcv"));
    let report = story.report();
    assert_eq!(
        (report.place, report.verdicts[0].id.as_str()),
        (Where::Healthy, "R12")
    );
    assert!(report.episodes.is_empty());
}

#[test]
fn a_filter_hides_units_and_no_episode() {
    let mut story = node();
    broken(&mut story, 8, 3);
    let filter = Filter {
        unit: Some("kubelet".to_owned()),
        ..Filter::default()
    };
    let report = filter.report(&diagnosis(&story.events));
    assert_eq!(only(&report).units, ["kubelet.service"]);
    assert_eq!((only(&report).flows, only(&report).units_total), (3, 2));
}

/// Nothing is sent for a while, and nothing is lost: it is broken all the same until what broke it is taken back.
#[test]
fn an_episode_never_ends_before_it_was_mended() {
    let mut story = node();
    let set = |story: &mut Story, value: Option<&str>, seen| {
        story.say(Body::Setting(Box::new(Setting {
            netns: NETNS,
            thing: local_rule(),
            value: value.map(str::to_owned),
            seen,
            by: None,
            by_unknown: None,
        })));
    };
    set(&mut story, Some(""), Seen::Found);
    mended(&mut story, 4);
    set(&mut story, None, Seen::Told);
    broken(&mut story, 8, 3);
    story.idle(10);
    set(&mut story, Some(""), Seen::Told);
    mended(&mut story, 8);
    let report = story.report();
    let episode = only(&report);
    let mended = episode.mended.as_ref().unwrap();
    assert_eq!(episode.end.as_ref(), Some(&mended.at));
}

/// The verdict is gone by then, and with it what it told of its cause.
#[test]
fn an_episode_that_is_over_still_says_what_brought_it_about() {
    let mut story = node();
    set(&mut story, local_rule(), Some(""), Seen::Found, None);
    mended(&mut story, 4);
    set(&mut story, local_rule(), None, Seen::Told, Some(networkd()));
    broken(&mut story, 8, 3);
    let verdict = story.report().verdicts.swap_remove(0);
    assert_eq!(verdict.cause.relation, Relation::Explains);
    set(&mut story, local_rule(), Some(""), Seen::Told, None);
    mended(&mut story, 40);
    let report = story.report();
    assert!(report.verdicts.is_empty(), "{:#?}", report.verdicts);
    assert_eq!(only(&report).cause, verdict.cause);
    assert!(only(&report).mended.is_some());
}

/// The reader may look as often or as seldom as it wants: ticks alone make episodes.
#[test]
fn whoever_asks_in_between_sees_the_same_episodes() {
    let mut story = node();
    for _ in 0..3 {
        broken(&mut story, 8, 3);
        mended(&mut story, 90);
    }
    let events: &[Event] = &story.events;
    let mut asked = Diagnosis::new();
    for event in events {
        asked.apply(event);
        let _ = Filter::default().report(&asked);
    }
    let report = Filter::default().report(&asked);
    assert_eq!(report.episodes.len(), 3);
    assert_eq!(report, story.report());
}

/// What the beacon says of a story; the name is that of the file that it is told.
pub(crate) fn beacon(story: &Story, name: &str) -> String {
    let path = std::env::temp_dir().join(format!("tracer-model-beacon-{name}-{}", std::process::id()));
    let mut beacon = Beacon::new(Target::Path(path.clone())).unwrap();
    let mut told = Diagnosis::new();
    for event in &story.events {
        told.apply(event);
        if event.body == Body::Tick {
            assert_eq!(beacon.tick(&told), None);
        }
    }
    assert_eq!(beacon.finish(&told), None);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    text
}

#[test]
fn the_beacon_tells_when_a_verdict_leads_and_when_it_is_over() {
    let mut story = node();
    broken(&mut story, 12, 3);
    mended(&mut story, 40);
    let text = beacon(&story, "once");
    let lines: Vec<&str> = text.lines().collect();
    let report = story.report();
    let episode = only(&report);
    let (onset, end) = (&episode.onset, episode.end.as_ref().unwrap());
    assert_eq!(lines.len(), 2, "{text}");
    let first = format!("tracer: verdict R01 where=guest-kernel confidence=conclusive since={onset} flows=");
    assert!(lines[0].starts_with(&first), "{text}");
    assert_eq!(
        lines[1],
        format!(
            "tracer: verdict none where=healthy was=R01 since={onset} until={end} seconds=6 flows=3 \
             units=curl.service,kubelet.service"
        )
    );
}

/// A rule goes and comes again and again: what makes it worse is not what mends it.
#[test]
fn what_breaks_it_again_has_not_mended_it() {
    let mut story = node();
    set(&mut story, local_rule(), Some(""), Seen::Found, None);
    story.idle(8);
    for _ in 0..3 {
        set(&mut story, local_rule(), None, Seen::Told, None);
        broken(&mut story, 2, 3);
        set(&mut story, local_rule(), Some(""), Seen::Told, None);
        mended(&mut story, 8);
        for episode in story.report().episodes {
            if let Some(mended) = episode.mended {
                assert!(mended.text.ends_with("came"), "{mended:?}");
            }
        }
    }
    mended(&mut story, 30);
    let report = story.report();
    assert!(report.episodes.iter().all(|episode| episode.end.is_some()));
    assert!(report.episodes.iter().any(|episode| episode.mended.is_some()));
}

/// It is mended and broken once more before it can be told that it was over: each time is a fault of its own.
#[test]
fn what_is_broken_again_at_once_is_another_fault() {
    let mut story = node();
    set(&mut story, local_rule(), Some(""), Seen::Found, None);
    story.idle(8);
    for _ in 0..3 {
        set(&mut story, local_rule(), None, Seen::Told, None);
        broken(&mut story, 3, 3);
        set(&mut story, local_rule(), Some(""), Seen::Told, None);
        mended(&mut story, 3);
    }
    mended(&mut story, 40);
    let report = story.report();
    let of_rule = |change: &&Change| change.object.starts_with("IPv4 rule") && change.after.is_some();
    let mends: BTreeSet<u64> = report
        .node
        .changes
        .iter()
        .filter(of_rule)
        .map(|change| change.number)
        .collect();
    let told: BTreeSet<u64> = report
        .episodes
        .iter()
        .filter_map(|episode| Some(episode.mended.as_ref()?.change))
        .collect();
    assert_eq!(told, mends, "{:#?}", report.episodes);
    assert_eq!((report.episodes.len(), mends.len()), (3, 3));
    for episode in report.episodes {
        assert_eq!(episode.end, episode.mended.map(|mended| mended.at));
    }
}
