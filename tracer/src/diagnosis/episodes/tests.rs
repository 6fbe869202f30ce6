use super::*;
use crate::diagnosis::rule;

fn leading(id: &str, since: u64, last: u64) -> Leading {
    Leading {
        rule: rule(id).unwrap(),
        confidence: Confidence::Conclusive,
        since: since * SECOND,
        last: last * SECOND,
        flows: 1,
        mended: None,
        units: Vec::new(),
    }
}

/// What is known of a cause that nothing explains.
fn unknown() -> Cause {
    Cause {
        relation: Relation::Unknown,
        text: String::new(),
        change: None,
        at: None,
        seconds_before: None,
        by: None,
        chain: Vec::new(),
    }
}

/// A tick in this second, with what leads then.
fn tick(episodes: &mut Episodes, second: u64, leading: Option<Leading>) {
    match leading {
        Some(leading) => episodes.tick(second * SECOND, &leading, &[], || None, unknown, 0),
        None => episodes.over(second * SECOND, None),
    }
}

/// From when to when, in seconds; and what led.
fn told(episodes: &Episodes) -> Vec<(u64, Option<u64>, Vec<&'static str>)> {
    episodes
        .kept
        .iter()
        .map(|episode| {
            let end = (!episode.lasts).then_some(episode.end() / SECOND);
            (episode.onset / SECOND, end, episode.led.clone())
        })
        .collect()
}

#[test]
fn an_episode_is_from_the_first_evidence_to_the_last() {
    let mut episodes = Episodes::default();
    tick(&mut episodes, 10, None);
    assert_eq!(told(&episodes), []);
    tick(&mut episodes, 13, Some(leading("R01", 12, 13)));
    tick(&mut episodes, 14, Some(leading("R01", 12, 14)));
    assert_eq!(told(&episodes), [(12, None, vec!["R01"])]);
    tick(&mut episodes, 24, Some(leading("R01", 12, 14)));
    tick(&mut episodes, 25, None);
    assert_eq!(told(&episodes), [(12, Some(14), vec!["R01"])]);
}

#[test]
fn what_comes_back_soon_is_the_same_episode_and_later_is_another_one() {
    let mut episodes = Episodes::default();
    for (since, last) in [(10, 20), (49, 50)] {
        tick(&mut episodes, last, Some(leading("R01", since, last)));
        tick(&mut episodes, last + 10, None);
    }
    assert_eq!(
        told(&episodes),
        [(10, Some(50), vec!["R01"])],
        "29 s lie between them"
    );
    tick(&mut episodes, 81, Some(leading("R01", 80, 81)));
    assert_eq!(told(&episodes).len(), 2, "30 s lie between them");
    assert_eq!(told(&episodes)[1], (80, None, vec!["R01"]));
    let numbers: Vec<u64> = episodes.latest().iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [2, 1]);
}

#[test]
fn another_root_makes_another_episode_unless_it_follows_at_once() {
    let mut episodes = Episodes::default();
    tick(&mut episodes, 10, Some(leading("R12", 9, 10)));
    tick(&mut episodes, 11, None);
    tick(&mut episodes, 13, Some(leading("R01", 12, 13)));
    assert_eq!(told(&episodes), [(9, None, vec!["R12", "R01"])]);
    tick(&mut episodes, 14, None);
    tick(&mut episodes, 17, Some(leading("R03", 16, 17)));
    assert_eq!(told(&episodes)[1], (16, None, vec!["R03"]));
    // While it lasts, it is one.
    tick(&mut episodes, 18, Some(leading("D01", 17, 18)));
    assert_eq!(told(&episodes)[1], (16, None, vec!["R03", "D01"]));
}

#[test]
fn the_strongest_verdict_names_it_and_the_peak_is_the_most_at_once() {
    let mut episodes = Episodes::default();
    let units = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let rounds = [
        ("R12", Confidence::Strong, 3, units(&["b.service"])),
        ("R01", Confidence::Strong, 14, units(&["a.service"])),
        ("D01", Confidence::Strong, 2, Vec::new()),
        ("R03", Confidence::Conclusive, 14, units(&["a.service"])),
        ("R12", Confidence::Strong, 1, Vec::new()),
    ];
    let mut names = Vec::new();
    for (second, (id, confidence, flows, units)) in (10..).zip(rounds) {
        let now = Leading {
            confidence,
            flows,
            units,
            ..leading(id, 9, second)
        };
        episodes.tick(second * SECOND, &now, &[], || None, unknown, flows * 2);
        names.push(episodes.kept.back().unwrap().rule.id);
    }
    assert_eq!(names, ["R12", "R01", "R01", "R03", "R03"]);
    let episode = episodes.kept.back().unwrap();
    assert_eq!(
        (episode.flows, episode.starved, episode.peak),
        (14, 28, 11 * SECOND)
    );
    assert_eq!(episode.told, 13 * SECOND, "when R03 was first given");
    let units: Vec<&str> = episode.units.iter().map(String::as_str).collect();
    assert_eq!(units, ["a.service", "b.service"]);
}

/// A rule may go by what stands since before the last episode ended.
#[test]
fn no_episode_begins_before_the_last_one_ended_or_after_now() {
    let mut episodes = Episodes::default();
    tick(&mut episodes, 20, Some(leading("R01", 10, 20)));
    tick(&mut episodes, 21, None);
    tick(&mut episodes, 60, Some(leading("R03", 59, 99)));
    assert_eq!(told(&episodes)[1].0, 59);
    assert_eq!(episodes.kept.back().unwrap().end(), 60 * SECOND);
    tick(&mut episodes, 61, None);
    tick(&mut episodes, 70, Some(leading("D01", 80, 81)));
    assert_eq!(told(&episodes)[2].0, 70);
}

#[test]
fn the_earliest_are_forgotten_and_counted() {
    let mut episodes = Episodes::default();
    let all = KEPT as u64 + 3;
    for number in 1..=all {
        let at = number * 100;
        tick(&mut episodes, at, Some(leading("R01", at - 1, at)));
        tick(&mut episodes, at + 10, None);
    }
    assert_eq!((episodes.kept.len(), episodes.total()), (KEPT, all));
    let latest = episodes.latest();
    assert_eq!((latest[0].0, latest[KEPT - 1].0), (all, 4));
    let crowd = Leading {
        units: (0..UNITS + 5).map(|number| number.to_string()).collect(),
        ..leading("R01", 100_000, 100_000)
    };
    episodes.tick(100_000 * SECOND, &crowd, &[], || None, unknown, 0);
    assert_eq!(episodes.kept.back().unwrap().units.len(), UNITS);
}

/// Who changed what is told beside what is lost, and may be told later.
#[test]
fn what_brought_it_about_anew_may_be_told_later() {
    let mended = Mended {
        change: 2,
        at: 20 * SECOND,
        text: String::new(),
    };
    let mut episodes = Episodes::default();
    tick(&mut episodes, 11, Some(leading("R01", 10, 11)));
    let rule = rule("R01").unwrap();
    episodes.over(22 * SECOND, Some((rule, &mended)));
    for (second, at) in [(31, None), (32, Some(29)), (33, Some(29))] {
        let again = leading("R01", 30, second);
        episodes.tick(
            second * SECOND,
            &again,
            &[],
            || at.map(|at: u64| at * SECOND),
            unknown,
            0,
        );
    }
    assert_eq!(
        told(&episodes),
        [(10, Some(20), vec!["R01"]), (30, None, vec!["R01"])]
    );
}

/// Another fault led when the first one had been mended, and is mended as well; then it is brought about once more.
#[test]
fn what_went_on_and_was_mended_stays_in_its_episode() {
    let mended = |change, at| Mended {
        change,
        at: at * SECOND,
        text: String::new(),
    };
    let mut episodes = Episodes::default();
    let lead = |episodes: &mut Episodes, second: u64, now: Leading, by: u64| {
        let fault = Fault {
            rule: now.rule,
            since: now.since,
            last: now.last,
            mended: now.mended.clone(),
            is_root: true,
        };
        episodes.tick(second * SECOND, &now, &[fault], || Some(by * SECOND), unknown, 0);
    };
    lead(&mut episodes, 11, leading("R01", 10, 11), 9);
    let rule = rule("R01").unwrap();
    episodes.over(14 * SECOND, Some((rule, &mended(2, 12))));
    lead(&mut episodes, 15, leading("R06", 13, 15), 11);
    let over = Leading {
        mended: Some(mended(4, 16)),
        ..leading("R06", 13, 16)
    };
    lead(&mut episodes, 17, over, 11);
    episodes.over(18 * SECOND, None);
    lead(&mut episodes, 25, leading("R06", 24, 25), 23);
    assert_eq!(
        told(&episodes),
        [(10, Some(16), vec!["R01", "R06"]), (24, None, vec!["R06"])]
    );
    let beside: Vec<_> = episodes.kept[0].beside().map(|fault| fault.rule.id).collect();
    assert_eq!(beside, ["R06"]);
}

/// It stood beside another fault until that was known to be over: it is of the next episode from its beginning on.
#[test]
fn what_began_when_the_first_fault_was_mended_begins_the_next_episode() {
    let mended = Mended {
        change: 2,
        at: 20 * SECOND,
        text: String::new(),
    };
    let fault = |leading: &Leading| Fault {
        rule: leading.rule,
        since: leading.since,
        last: leading.last,
        mended: leading.mended.clone(),
        is_root: true,
    };
    let mut episodes = Episodes::default();
    let first = leading("R06", 10, 15);
    episodes.tick(15 * SECOND, &first, &[fault(&first)], || None, unknown, 0);
    let first = Leading {
        mended: Some(mended),
        ..leading("R06", 10, 20)
    };
    for second in [22, 23] {
        let beside = leading("R04", 21, second);
        let faults = [fault(&first), fault(&beside)];
        episodes.tick(second * SECOND, &first, &faults, || Some(9 * SECOND), unknown, 0);
    }
    let next = leading("R04", 21, 24);
    episodes.tick(
        24 * SECOND,
        &next,
        &[fault(&next)],
        || Some(21 * SECOND),
        unknown,
        0,
    );
    assert_eq!(
        told(&episodes),
        [(10, Some(20), vec!["R06"]), (21, None, vec!["R04"])]
    );
    assert_eq!(episodes.kept[0].beside().count(), 0);
}

/// What leads for a time while the fault is found out, or when it is nearly over, does not take its cause away.
#[test]
fn the_cause_is_that_of_the_root_and_is_kept() {
    let by = |change| Cause {
        relation: Relation::Explains,
        change: Some(change),
        ..unknown()
    };
    let mut episodes = Episodes::default();
    let mut causes = Vec::new();
    let told = [
        ("R12", by(1)),
        ("R01", unknown()),
        ("R01", by(2)),
        ("R12", by(3)),
        ("R01", unknown()),
        ("R01", by(4)),
    ];
    for (second, (id, cause)) in (10..).zip(told) {
        let now = leading(id, 9, second);
        episodes.tick(second * SECOND, &now, &[], || None, || cause, 0);
        causes.push(episodes.kept.back().unwrap().cause.change);
    }
    assert_eq!(causes, [Some(1), None, Some(2), Some(2), Some(2), Some(4)]);
    episodes.over(17 * SECOND, None);
    assert_eq!(episodes.kept.back().unwrap().cause, by(4));
}
