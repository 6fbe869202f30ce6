//! What package managers did by their logs, held against onsets of starvation.

use tracer::event::{
    Body, CapabilityState, Manager, Owner, Packages, Seen, Unfinished, Unit, UnitState, Upgrade, Upgrades,
};
use tracer::report::{self, Outcome};

use crate::story::*;

const SECOND: i64 = 1_000_000_000;
/// When the story begins: 2023-10-08 06:00 UTC.
const START: i64 = 1_696_744_800 * SECOND;

/// Of dpkg one run on the day before, one that was cut off 30 s before the story, and one that began 3 s before it and
/// goes on where somebody is at work.
fn with_past(story: &mut Story, holder: Option<Owner>) {
    story.say(Body::Packages(Box::new(Packages {
        manager: Manager::Dpkg,
        holder,
        working_on: String::new(),
        unfinished: Vec::new(),
        unfinished_more: 0,
        leftovers: 0,
        open_run: true,
        reboot: None,
        unknown: false,
    })));
    let run = |ago: i64, ended: Option<i64>| Upgrade {
        begun: START - ago * SECOND,
        ended: ended.map(|ago| START - ago * SECOND),
        last: Some(START - ended.unwrap_or(ago) * SECOND),
        command: "apt-get upgrade".to_owned(),
        upgraded: 1,
        names: vec!["systemd".to_owned()],
        ..Upgrade::default()
    };
    story.say(Body::Upgrades(Box::new(Upgrades {
        manager: Manager::Dpkg,
        since: Some(START - 90_000 * SECOND),
        runs: vec![
            run(86_400, Some(86_300)),
            run(30, None),
            Upgrade {
                in_work: true,
                ..run(3, None)
            },
        ],
    })));
}

/// Each run has its own, also where several have begun in one second: the logs know no less.
#[test]
fn runs_that_began_in_one_second_are_told_apart() {
    let mut story = healthy();
    let run = |took: i64| Upgrade {
        begun: START - 300 * SECOND,
        ended: Some(START + (took - 300) * SECOND),
        ..Upgrade::default()
    };
    stands(&mut story, None, &[]);
    story.say(Body::Upgrades(Box::new(Upgrades {
        manager: Manager::Dpkg,
        since: Some(START - 90_000 * SECOND),
        // The first had ended long before.
        runs: vec![run(0), run(299), run(299)],
    })));
    story.rounds(20, |story| story.ask_and_lose(client(1), foreign()));
    let onsets = told(&story).past.into_iter().map(|run| run.onsets);
    assert_eq!(onsets.collect::<Vec<_>>(), [1, 1, 0]);
}

fn told(story: &Story) -> report::Packages {
    let report = story.report();
    let changes = report.node.changes.iter();
    assert!(
        changes
            .filter(|change| change.kind == report::ChangeKind::Packages)
            .count()
            == 0,
        "what was before the start is no change"
    );
    report.node.packages.into_iter().next().unwrap()
}

#[test]
fn the_upgrades_in_whose_course_flows_began_to_starve_are_told() {
    let mut story = healthy();
    with_past(&mut story, Some(owner("apt-get")));
    story.rounds(20, |story| story.ask_and_lose(client(1), foreign()));
    let packages = told(&story);
    let of = |run: &report::Upgrade| (run.begun.clone(), run.outcome, run.onsets);
    assert_eq!(
        packages.past.iter().map(of).collect::<Vec<_>>(),
        [
            ("2023-10-08T05:59:57.000Z".to_owned(), Outcome::InWork, 1),
            ("2023-10-08T05:59:30.000Z".to_owned(), Outcome::Interrupted, 1),
            ("2023-10-07T06:00:00.000Z".to_owned(), Outcome::Ended, 0),
        ]
    );
    assert_eq!(packages.past_total, 3);
    assert_eq!(packages.past_since.as_deref(), Some("2023-10-07T05:00:00.000Z"));
}

#[test]
fn where_nobody_is_at_work_the_last_run_was_interrupted() {
    let mut story = healthy();
    with_past(&mut story, None);
    let packages = told(&story);
    let outcomes: Vec<_> = packages
        .past
        .iter()
        .map(|run| (run.outcome, run.onsets))
        .collect();
    assert_eq!(
        outcomes,
        [
            (Outcome::Interrupted, 0),
            (Outcome::Interrupted, 0),
            (Outcome::Ended, 0)
        ]
    );
}

/// What dpkg has told of its packages: who works on them, and whether all are whole.
fn stands(story: &mut Story, holder: Option<Owner>, unfinished: &[&str]) {
    story.say(Body::Packages(Box::new(Packages {
        manager: Manager::Dpkg,
        holder,
        working_on: String::new(),
        unfinished: unfinished
            .iter()
            .map(|name| Unfinished {
                name: (*name).to_owned(),
                state: "half-configured".to_owned(),
            })
            .collect(),
        unfinished_more: 0,
        leftovers: 0,
        open_run: false,
        reboot: None,
        unknown: false,
    })));
}

fn unit(story: &mut Story, active: &str, sub: &str, seen: Seen) {
    story.say(Body::Unit(Box::new(Unit {
        name: "apt-get.service".to_owned(),
        seen,
        state: Some(UnitState {
            active: active.to_owned(),
            sub: sub.to_owned(),
            invocation: "1".to_owned(),
            ..UnitState::default()
        }),
    })));
}

#[test]
fn an_upgrade_was_cut_off_when_nobody_worked_on_it_any_more() {
    let mut story = healthy();
    unit(&mut story, "activating", "start", Seen::Found);
    stands(&mut story, None, &[]);
    story.idle(4);
    stands(&mut story, Some(owner("apt-get")), &["systemd"]);
    story.idle(4);
    assert_eq!(story.ids(), [""; 0], "it is worked on");
    unit(&mut story, "deactivating", "stop-sigterm", Seen::Told);
    stands(&mut story, None, &["systemd", "udev"]);
    story.idle(4);
    let cut_off = story.verdict("R27");
    assert_eq!(
        cut_off.explanation,
        "Packages of this node are interrupted: systemd half-configured, udev half-configured. Nobody works on them since \
         06:00:06 UTC; apt-get[123] (apt-get.service) held the lock of dpkg last."
    );
    assert_eq!(cut_off.since, "2023-10-08T06:00:06.000Z");
    assert_eq!(cut_off.cause.relation, report::Relation::Explains);
    assert!(
        cut_off.cause.text.starts_with(
            "apt-get.service changed from activating (start) to deactivating (stop-sigterm) at 06:00:06 UTC"
        ),
        "{}",
        cut_off.cause.text
    );
    // What is told of them later does not make it begin later.
    stands(&mut story, None, &["udev"]);
    story.idle(2);
    assert_eq!(story.verdict("R27").since, cut_off.since);
    story.capability("packages", CapabilityState::Unavailable);
    let cut_off = story.verdict("R27").explanation;
    assert!(
        cut_off.ends_with(" That is as last known: what becomes of packages is not seen any more."),
        "{cut_off}"
    );
}

/// What is half-installed is left as it is by `dpkg --configure -a`.
#[test]
fn each_package_that_is_left_half_way_has_the_remedy_that_mends_it() {
    let configure = "dpkg --configure -a  # Risk: ";
    let reinstall = "apt-get install --reinstall aaa bbb  # Risk: ";
    let remove = "dpkg --remove --force-remove-reinstreq aaa bbb  # Where ";
    for (states, begins) in [
        (&["unpacked", "triggers-pending"][..], &[configure][..]),
        (
            &["half-installed (reinstreq)", "half-installed"],
            &[reinstall, remove],
        ),
        (
            &[
                "half-installed (reinstreq)",
                "unpacked (reinstreq)",
                "half-configured",
            ],
            &[configure, reinstall, remove],
        ),
    ] {
        let mut story = healthy();
        story.say(Body::Packages(Box::new(Packages {
            manager: Manager::Dpkg,
            holder: None,
            working_on: String::new(),
            unfinished: ["aaa", "bbb", "ccc"]
                .iter()
                .zip(states)
                .map(|(name, state)| Unfinished {
                    name: (*name).to_owned(),
                    state: (*state).to_owned(),
                })
                .collect(),
            unfinished_more: 0,
            leftovers: 0,
            open_run: false,
            reboot: None,
            unknown: false,
        })));
        story.idle(2);
        let remedy = story.verdict("R27").remedy;
        let fits = |(line, begin): (&String, &&str)| line.starts_with(begin) && line.contains("Risk: ");
        assert_eq!(remedy.len(), begins.len(), "{remedy:?}");
        assert!(remedy.iter().zip(begins).all(fits), "{remedy:?}");
    }
}

#[test]
fn an_upgrade_that_was_cut_off_before_the_start_is_told_by_its_log() {
    let mut story = healthy();
    with_past(&mut story, None);
    story.idle(2);
    let verdict = story.verdict("R27");
    assert_eq!(
        verdict.explanation,
        "Packages of this node are interrupted: a run that began has told no end, and not all that it was to do is done; each \
         package is whole. It was so when tracer started. The run that was cut off last did something at 05:59:57 UTC by its log."
    );
    assert_eq!(verdict.cause.relation, report::Relation::PredatesStart);
    // Nothing need be broken: only what it was to bring is missing.
    assert_eq!(verdict.confidence, report::Confidence::Weak);
    assert_eq!(
        verdict.remedy,
        ["apt-get upgrade  # Once more. Risk: restarts services of what it upgrades."]
    );
}

#[test]
fn a_run_that_told_no_end_and_of_which_nothing_is_left_is_no_verdict_and_is_said() {
    let mut story = healthy();
    with_past(&mut story, None);
    stands(&mut story, None, &[]);
    story.idle(2);
    assert_eq!(story.ids(), [""; 0]);
    let report = story.report();
    let packages = &report.node.packages[0];
    assert_eq!(packages.standing, report::PackagesStanding::Whole);
    assert_eq!(
        packages.text,
        "all packages whole; the last run has told no end, and nothing is left of it"
    );
}

/// What rpm's files tell: who works on packages, and that its database was not closed.
fn rpm(story: &mut Story, holder: Option<Owner>, open_run: bool) {
    story.say(Body::Packages(Box::new(Packages {
        manager: Manager::Rpm,
        holder,
        working_on: String::new(),
        unfinished: Vec::new(),
        unfinished_more: 0,
        leftovers: 0,
        open_run,
        reboot: None,
        unknown: true,
    })));
}

#[test]
fn rpm_is_never_said_to_be_whole_and_one_that_was_killed_is_a_weak_sign() {
    let mut story = healthy();
    rpm(&mut story, None, false);
    story.idle(2);
    assert_eq!(story.ids(), [""; 0]);
    let standing = |story: &Story| story.report().node.packages[0].standing;
    assert_eq!(standing(&story), report::PackagesStanding::Unknown);
    rpm(&mut story, Some(owner("rpm")), false);
    story.idle(2);
    rpm(&mut story, None, true);
    story.idle(2);
    assert_eq!(standing(&story), report::PackagesStanding::Interrupted);
    let verdict = story.verdict("R27");
    assert_eq!(verdict.confidence, report::Confidence::Weak);
    assert_eq!(verdict.check, ["dnf check", "dnf history"]);
    let changes = story.report().node.changes;
    let change = changes.iter().find(|change| change.object == "rpm").unwrap();
    assert_eq!(
        (change.after.as_deref(), change.by.is_none()),
        (
            Some("interrupted: the last run has not closed the database of rpm; rpm[123] was at work last"),
            true
        )
    );
}

/// A sentence names a few; who reads the report by a program has all.
#[test]
fn all_packages_that_are_not_finished_are_named_in_the_report() {
    let names: Vec<String> = (0..40).map(|number| format!("p{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut story = healthy();
    stands(&mut story, None, &names);
    let report = story.report();
    let told = &report.node.packages[0];
    let named: Vec<&str> = told.unfinished.iter().map(|one| one.name.as_str()).collect();
    assert_eq!((named, told.unfinished_total), (names, 40));
    assert!(told.text.contains("35 more packages"), "{}", told.text);
}
