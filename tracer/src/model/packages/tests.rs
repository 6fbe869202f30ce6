use super::*;
use crate::event::Owner;

fn packages() -> Packages {
    Packages {
        manager: Manager::Dpkg,
        holder: None,
        working_on: String::new(),
        unfinished: Vec::new(),
        unfinished_more: 0,
        leftovers: 0,
        open_run: false,
        reboot: None,
        unknown: false,
    }
}

#[test]
fn an_upgrade_that_stops_half_way_is_interrupted() {
    let mut managers = Managers::default();
    assert_eq!(managers.told(1, &packages()), None);
    let mut now = packages();
    now.holder = Some(holder());
    now.unfinished = vec![Unfinished {
        name: "systemd".to_owned(),
        state: "half-configured".to_owned(),
    }];
    let change = managers.told(2, &now).unwrap();
    assert_eq!(change.after.as_deref(), Some("in work"));
    now.holder = None;
    let change = managers.told(3, &now).unwrap();
    assert_eq!(
        change.after.as_deref(),
        Some("interrupted: systemd half-configured; apt-get[7] was at work last")
    );
    let changes = |managers: &mut Managers, now: &Packages| {
        let change = managers.told(3, now)?;
        Some((
            change.before.unwrap_or_default(),
            change.after.unwrap_or_default(),
        ))
    };
    let mut later = now.clone();
    later.unfinished = ["udev", "libc6"]
        .map(|name| Unfinished {
            name: name.to_owned(),
            state: "unpacked".to_owned(),
        })
        .to_vec();
    // What was told is not told again.
    let one = |before: &str, after: &str| Some((before.to_owned(), after.to_owned()));
    assert_eq!(
        changes(&mut managers.clone(), &later),
        one(
            "interrupted with 1 package",
            "interrupted with 2 packages: udev unpacked, libc6 unpacked, systemd finished"
        )
    );
    assert_eq!(
        changes(&mut managers.clone(), &packages()),
        one("interrupted with 1 package", "all packages whole")
    );
    // Who held the lock last did not cut itself off.
    assert_eq!((change.by, change.by_unknown), (None, Some(Unknown::NotTold)));
    // And when.
    let work = |at| {
        let work = managers.work_at(at)?;
        Some((work.holder_at(at)?.pid, work.since))
    };
    assert_eq!(
        (work(1), work(2), work(3), work(4)),
        (None, Some((7, Some(2))), Some((7, Some(2))), None)
    );
    assert_eq!(managers.iter().count(), 1);
}

#[test]
fn packages_that_are_not_known_are_not_said_to_be_whole() {
    let torn = Packages {
        unknown: true,
        ..packages()
    };
    assert_eq!(Standing::of(&torn), Standing::Unknown);
    assert!(describe(&torn).contains("not known"), "{}", describe(&torn));
    let half = Packages { leftovers: 1, ..torn };
    assert_eq!(
        describe(&half),
        "interrupted: 1 change not taken into the status; not all packages are known",
        "what is known to be left is told all the same"
    );
}

#[test]
fn of_rpm_nothing_is_said_that_its_files_do_not_tell() {
    let rest = Packages {
        manager: Manager::Rpm,
        unknown: true,
        ..packages()
    };
    assert_eq!(
        describe(&rest),
        "nobody works on packages; what rpm has left half-way its files do not tell"
    );
    let cut = Packages {
        open_run: true,
        ..rest
    };
    assert_eq!(
        describe(&cut),
        "interrupted: the last run has not closed the database of rpm"
    );
}

#[test]
fn a_run_that_told_no_end_is_said_beside_packages_that_are_whole() {
    let at_rest = with_past(None);
    assert_eq!(
        at_rest.describe(&packages()),
        "all packages whole; the last run has told no end, and nothing is left of it"
    );
    let open = Packages {
        open_run: true,
        ..packages()
    };
    assert_eq!(
        at_rest.describe(&open),
        "interrupted: a run that began has told no end, and not all that it was to do is done; each package is whole"
    );
    assert_eq!(Managers::default().describe(&packages()), "all packages whole");
}

#[test]
fn who_asks_for_a_reboot_is_not_told_and_was_not_looked_for() {
    let mut managers = Managers::default();
    managers.told(1, &packages());
    let asked = Packages {
        reboot: Some(Vec::new()),
        ..packages()
    };
    for now in [&asked, &packages()] {
        let change = managers.told(2, now).unwrap();
        assert_eq!((change.by, change.by_unknown), (None, Some(Unknown::NotTold)));
    }
    // Whoever made this was looked for by the lock.
    let unknown = Packages {
        unknown: true,
        ..packages()
    };
    let change = managers.told(3, &unknown).unwrap();
    assert_eq!(change.by_unknown, Some(Unknown::NotFound));
}

#[test]
fn a_reboot_that_is_not_asked_for_any_more_is_told() {
    let asked = |by: &[&str]| Packages {
        reboot: Some(by.iter().map(|name| (*name).to_owned()).collect()),
        ..packages()
    };
    let mut managers = Managers::default();
    managers.told(1, &packages());
    let mut after = |now: &Packages| managers.told(2, now).unwrap().after.unwrap();
    assert_eq!(after(&asked(&[])), "all packages whole; reboot required");
    assert_eq!(
        after(&asked(&["libc6", "systemd"])),
        "all packages whole; reboot required by libc6, systemd"
    );
    assert_eq!(
        after(&packages()),
        "all packages whole; no reboot required any more"
    );
}

/// As apt hands the lock to each run of dpkg.
#[test]
fn who_held_the_lock_at_a_time_is_told_and_not_who_held_it_last() {
    let mut managers = Managers::default();
    managers.told(1, &packages());
    for (at, pid) in [(10, 7), (20, 8), (30, 9)] {
        let holder = Some(Owner { pid, ..holder() });
        managers.told(at, &Packages { holder, ..packages() });
    }
    managers.told(40, &packages());
    let holder = |at| managers.work_at(at)?.holder_at(at).map(|owner| owner.pid);
    assert_eq!(
        [9, 10, 19, 20, 29, 30, 40, 41].map(holder),
        [None, Some(7), Some(7), Some(8), Some(8), Some(9), Some(9), None]
    );
}

#[test]
fn since_when_packages_are_left_half_way_is_told() {
    let left = |managers: &Managers| {
        managers
            .left()
            .map(|left| (left.since, left.holder.map(|owner| owner.pid), left.last))
    };
    let half = Packages {
        leftovers: 1,
        ..packages()
    };
    let mut managers = Managers::default();
    managers.told(1, &packages());
    managers.told(
        2,
        &Packages {
            holder: Some(holder()),
            ..half.clone()
        },
    );
    assert_eq!(left(&managers), None, "it is worked on");
    managers.told(3, &half);
    managers.told(
        4,
        &Packages {
            leftovers: 2,
            ..half.clone()
        },
    );
    assert_eq!(
        left(&managers),
        Some((Some(3), Some(7), None)),
        "what is left is told anew"
    );
    managers.told(5, &packages());
    assert_eq!(left(&managers), None);

    let mut found = with_past(None);
    assert_eq!(left(&found), None, "nothing is left");
    found = Managers {
        told: BTreeMap::new(),
        ..found
    };
    found.told(9, &half);
    assert_eq!(left(&found), Some((None, None, Some(400 * SECOND as i64))));
}

/// In s.
fn run(begun: i64, ended: Option<i64>, last: Option<i64>) -> Upgrade {
    let time = |seconds: i64| seconds * SECOND as i64;
    Upgrade {
        begun: time(begun),
        ended: ended.map(time),
        last: last.map(time),
        ..Upgrade::default()
    }
}

fn with_past(holder: Option<Owner>) -> Managers {
    let mut managers = Managers::default();
    managers.told(1, &Packages { holder, ..packages() });
    managers.upgrades(&Upgrades {
        manager: Manager::Dpkg,
        since: Some(0),
        runs: vec![
            run(100, Some(110), None),
            run(200, None, Some(220)),
            Upgrade {
                error: "dpkg returned an error".to_owned(),
                ..run(300, Some(310), None)
            },
            Upgrade {
                in_work: true,
                ..run(400, None, None)
            },
        ],
    });
    managers
}

fn holder() -> Owner {
    Owner {
        pid: 7,
        command: "apt-get".to_owned(),
        cgroup: String::new(),
        unit: "apt-daily-upgrade.service".to_owned(),
        parent: None,
    }
}

#[test]
fn a_run_without_end_is_interrupted_unless_it_is_the_last_and_somebody_is_at_work() {
    let outcomes = |holder| -> Vec<Outcome> {
        let managers = with_past(holder);
        managers.past(Manager::Dpkg).map(|(_, outcome)| outcome).collect()
    };
    use Outcome::{Ended, Failed, InWork, Interrupted};
    assert_eq!(outcomes(None), [Ended, Interrupted, Failed, Interrupted]);
    assert_eq!(outcomes(Some(holder())), [Ended, Interrupted, Failed, InWork]);
    assert_eq!(with_past(None).past(Manager::Rpm).count(), 0);
}

#[test]
fn which_upgrade_ran_at_a_time_or_shortly_before_is_told() {
    let second = SECOND as i64;
    let begun = |managers: &Managers, from: i64, to: i64| -> Vec<i64> {
        let ran = managers.past(Manager::Dpkg);
        ran.filter(|(run, outcome)| went_on_in(run, *outcome, &(from..=to)))
            .map(|(run, _)| run.begun / second)
            .collect()
    };
    let (at_rest, at_work) = (with_past(None), with_past(Some(holder())));
    let at = |managers: &Managers, at: i64| begun(managers, at, at);
    assert_eq!(at(&at_rest, 100 * second - 1), [0; 0]);
    assert_eq!(at(&at_rest, 100 * second), [100]);
    // The end is in the course of that second.
    assert_eq!(at(&at_rest, 111 * second - 1), [100]);
    assert_eq!(at(&at_rest, 111 * second), [0; 0]);
    assert_eq!(at(&at_rest, 220 * second), [200], "until it last did something");
    assert_eq!(at(&at_rest, 230 * second), [0; 0]);
    assert_eq!(at(&at_rest, 1000 * second), [0; 0]);
    assert_eq!(at(&at_work, 1000 * second), [400], "it is at work yet");
    let onset = 170 * second;
    assert_eq!(begun(&at_rest, onset - AFTER, onset), [100]);
    let onset = 171 * second;
    assert_eq!(begun(&at_rest, onset - AFTER, onset), [0; 0]);
}

#[test]
fn a_run_in_which_the_clock_was_set_back_was_at_work_when_it_began() {
    let second = SECOND as i64;
    let set_back = run(100, Some(40), None);
    assert!(went_on_in(
        &set_back,
        Outcome::Ended,
        &(100 * second..=100 * second)
    ));
}

#[test]
fn what_the_logs_tell_is_no_change() {
    let mut managers = with_past(None);
    assert_eq!(managers.past_since(Manager::Dpkg), Some(0));
    assert_eq!(managers.told(2, &packages()), None);
}

#[test]
fn each_thing_left_is_a_reason() {
    let mut left = packages();
    assert_eq!(Standing::of(&left), Standing::Whole);
    left.open_run = true;
    left.leftovers = 2;
    left.reboot = Some(vec!["linux-image-amd64".to_owned()]);
    assert_eq!(Standing::of(&left), Standing::Interrupted);
    assert_eq!(
        describe(&left),
        "interrupted: 2 changes not taken into the status, a run that began has told no end, and not all that it was to do is done; \
         reboot required by linux-image-amd64"
    );
}

#[test]
fn what_is_worked_on_stands_beside_the_work() {
    let managers = Managers::default();
    let at_work = Packages {
        holder: Some(holder()),
        working_on: "configure slow:all 2".to_owned(),
        reboot: Some(Vec::new()),
        ..packages()
    };
    assert_eq!(
        managers.describe(&at_work),
        "in work (configure slow:all 2); reboot required"
    );
    assert_eq!(describe(&at_work), "in work; reboot required");
}

#[test]
fn packages_that_have_no_name_here_are_counted() {
    let many = |named: &[&str], unfinished_more| Packages {
        unfinished: named
            .iter()
            .map(|name| Unfinished {
                name: (*name).to_owned(),
                state: "unpacked".to_owned(),
            })
            .collect(),
        unfinished_more,
        ..packages()
    };
    let named = ["a", "b", "c", "d", "e", "f"];
    assert_eq!(
        describe(&many(&named, 2000)),
        "interrupted: a unpacked, b unpacked, c unpacked, d unpacked, e unpacked, 2001 more packages"
    );
    // One that is not named any more need not be finished.
    let mut managers = Managers::default();
    managers.told(1, &many(&named, 2000));
    let change = managers.told(2, &many(&named[..5], 2000)).unwrap();
    assert_eq!(
        (change.before.as_deref(), change.after.as_deref()),
        (
            Some("interrupted with 2006 packages"),
            Some(
                "interrupted: a unpacked, b unpacked, c unpacked, d unpacked, e unpacked, 2000 more packages"
            )
        )
    );
}
