use super::*;
use crate::ui::sample;

#[test]
fn a_weak_sign_does_not_lead_on_a_healthy_node() {
    let mut report = sample::incident();
    report.place = Where::Healthy;
    report.verdicts[0].confidence = Confidence::Weak;
    report.node.invariants.clear();
    assert!(leading(&report).is_none());
    assert_eq!(others(&report).len(), report.verdicts.len());
    assert!(also(&report).starts_with("also: R01"));
    assert_eq!(headline(&report).when, "");
}

/// As where a part is not seen without which no node is healthy.
#[test]
fn nor_where_it_cannot_be_told_how_the_node_is() {
    let mut report = sample::incident();
    report.place = Where::Unknown;
    report.verdicts[0].confidence = Confidence::Weak;
    let headline = headline(&report);
    assert_eq!(
        (headline.place, headline.text.as_str(), headline.when.as_str()),
        ("UNKNOWN", "not enough was seen to tell", "")
    );
    assert!(also(&report).starts_with("also: R01"));
    assert!(!explanation(&report).contains("R01"), "{}", explanation(&report));
}

#[test]
fn what_is_wrong_with_the_path_is_what_the_leading_verdict_says() {
    let mut report = sample::incident();
    report.place = Where::DataPath;
    let mut meaning_of = |id: &str| {
        report.verdicts[0].id = id.to_owned();
        meaning(&report)
    };
    assert!(meaning_of("D01").contains("nothing here drops the answers"));
    for id in ["D02", "R20"] {
        assert!(!meaning_of(id).contains("answers"), "{id}");
    }
}

#[test]
fn what_follows_from_a_verdict_is_told_apart_from_what_stands_by_itself() {
    let mut report = sample::incident();
    let verdict = |id: &str, under: Option<&str>| Verdict {
        id: id.to_owned(),
        title: "t".to_owned(),
        under: under.map(str::to_owned),
        ..report.verdicts[0].clone()
    };
    report.verdicts = vec![
        verdict("R31", None),
        verdict("D01", Some("R31")),
        verdict("R12", None),
        verdict("R04", Some("R31")),
        verdict("R05", Some("R12")),
    ];
    assert_eq!(
        also(&report),
        "also: R12 t (conclusive); follow from R31: D01 t (conclusive); R04 t (conclusive); \
         follows from R12: R05 t (conclusive)"
    );
    report.verdicts.truncate(2);
    assert_eq!(also(&report), "follows from R31: D01 t (conclusive)");
}

#[test]
fn a_healthy_node_on_which_something_does_not_hold_says_so_at_once() {
    let mut report = sample::incident();
    assert_eq!(not_held(&report), None, "the verdict says it");
    report.place = Where::Healthy;
    report.verdicts.clear();
    report.episodes.clear();
    let broken = report.node.invariants_broken;
    let told = headline(&report);
    assert_eq!(told.place, "HEALTHY");
    assert!(
        told.when.starts_with(&format!("but {broken} of the ")),
        "{told:?}"
    );
    report.node.invariants_broken = 1;
    report.node.invariants_total = 7;
    let one = headline(&report).when;
    assert!(
        one.starts_with("but 1 of the 7 things that must hold does not: "),
        "{one}"
    );
    report.node.invariants.clear();
    assert_eq!(headline(&report).when, "");
}

#[test]
fn the_residual_is_always_said() {
    let mut report = sample::healthy();
    assert_eq!(balance(&report), "arrived 1,234/s, all accounted for");
    report.ledger.unexplained = 12;
    assert!(
        balance(&report).ends_with("12 of 316,402 packets unexplained (<0.1 %)"),
        "{}",
        balance(&report)
    );
    report.ledger.unexplained = -1;
    assert!(balance(&report).ends_with("1 packet more accounted for than arrived"));
    report.ledger.arrived = 0;
    assert_eq!(balance(&report), "nothing has arrived yet");
}

#[test]
fn only_losses_that_happened_are_said() {
    assert!(losses(&Losses::default()).is_empty());
    let some = Losses {
        map_full: 1234,
        examples_not_sent: 1,
        counters_full: 7,
        queues_full: 2,
        ..Losses::default()
    };
    assert_eq!(losses(&some).len(), 4);
    assert!(losses(&some)[1].contains("7 changes of the kernel's counters"));
    assert!(losses(&some)[2].contains("2 sights of data that waits"));
    assert!(losses(&some)[0].contains("lacks 1,234 packets"));
}

#[test]
fn how_to_see_other_namespaces_is_told_where_it_helps() {
    let mut report = sample::healthy();
    let is_told = |report: &Report, showing: Showing| {
        namespaces(report, showing).ends_with("; with --netns all also flows of others, as of pods")
    };
    assert!(is_told(&report, Showing::Live));
    assert_eq!(
        namespaces(&report, Showing::EndOfRecording),
        "1 network namespace"
    );
    // As where all are watched, and there is one.
    report.capabilities.push(Capability {
        name: crate::node::namespace::CAPABILITY.to_owned(),
        state: CapabilityState::Available,
        why: String::new(),
    });
    assert_eq!(namespaces(&report, Showing::Live), "1 network namespace");
}
