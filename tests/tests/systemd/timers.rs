//! Past runs of what timers start.

use std::fs;
use std::path::PathBuf;

use lab::folder::Folder;
use lab::world::World;
use tracer::event::{Body, CapabilityState};
use tracer::node::journal;
use tracer::report::{NodeReport, Timer};

use crate::beside::Beside;
use crate::watched::Watched;
use crate::{program, unit, until};

/// Times that the timer elapses before it is stopped, at least. The second run fails.
const TIMES: usize = 3;

/// A world in which a timer has elapsed some times and then was stopped; and how often it has.
fn world_with_a_past(is_kept: bool) -> (World, usize) {
    let fails = "echo ran >> /run/lab/runs; test $(wc -l < /run/lab/runs) != 2";
    let job = unit(&format!("[Service]\nType=oneshot\nExecStart=sh -c '{fails}'\n"));
    let often = unit("[Timer]\nOnCalendar=*:*:*\nAccuracySec=1ms\nUnit=job.service\n");
    // What is stopped is unloaded unless something that is loaded names it.
    let hold = unit("Wants=often.timer\n");
    let units = [
        ("job.service", job.as_str()),
        ("often.timer", &often),
        ("hold.target", &hold),
    ];
    let world = World::boot(program(), &units).unwrap();
    if is_kept {
        world.keep_journal().unwrap();
    }
    world.systemctl(&["start", "hold.target"]).unwrap();
    let (file, _) = world.shared("runs");
    let runs = || fs::read_to_string(&file).map_or(0, |text| text.lines().count());
    until("some runs", || (runs() >= TIMES).then_some(()));
    world.systemctl(&["stop", "often.timer"]).unwrap();
    let state = || {
        world
            .systemctl(&["show", "-P", "ActiveState", "job.service"])
            .unwrap()
    };
    until("the end of the last run", || {
        (state() != "activating").then_some(())
    });
    let runs = runs();
    (world, runs)
}

fn timer<'r>(report: &'r NodeReport, name: &str) -> &'r Timer {
    let found = report.node.timers.iter().find(|timer| timer.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {:#?}", report.node.timers))
}

/// Whether the journal is seen, and why not.
fn capability(report: &NodeReport) -> (CapabilityState, &str) {
    let mut all = report.capabilities.iter();
    let told = all.find(|told| told.name == journal::CAPABILITY).unwrap();
    (told.state, &told.why)
}

/// The folder of a world's journal, as it is on the machine.
fn folder(world: &World) -> PathBuf {
    world.root().unwrap().join("run/log/journal")
}

#[test]
fn what_a_timer_started_before_is_known_from_the_journal_and_goes_on() {
    let (world, runs) = world_with_a_past(true);
    let mut beside = Beside::of(&world, Some(folder(&world)));
    let report = beside.found();
    assert_eq!(capability(&report), (CapabilityState::Available, ""));
    let often = timer(&report, "often.timer");
    assert_eq!(often.past_total, runs as u64, "{often:#?}");
    let results: Vec<&str> = often.past.iter().rev().map(|run| run.result.as_str()).collect();
    assert_eq!(results[..TIMES], ["success", "exit-code", "success"]);
    for run in &often.past {
        assert!(
            run.ended.as_ref().is_some_and(|ended| *ended >= run.begun),
            "{run:?}"
        );
    }
    // One a second.
    let seconds: Vec<&str> = often.past.iter().map(|run| &run.begun[..19]).collect();
    assert!(
        seconds.is_sorted_by(|later, earlier| later > earlier),
        "{seconds:?}"
    );
    assert!(
        often
            .past_since
            .as_ref()
            .is_some_and(|since| *since < often.past[runs - 1].begun)
    );

    // By whomever it is started; and what the journal has is not told twice.
    world.systemctl(&["start", "job.service"]).unwrap();
    let report = beside.until("one more run", |report| {
        let past = &timer(report, "often.timer").past;
        past[0].result == "success" && past.len() > runs
    });
    assert_eq!(timer(&report, "often.timer").past_total, runs as u64 + 1);
}

/// As after the start of a node that was off, or whose upgrade was put off: `Persistent=` goes by the time of a file.
#[test]
fn a_persistent_timer_makes_up_for_what_it_missed_and_keeps_when_it_elapsed() {
    let job = unit("[Service]\nType=oneshot\nExecStart=true\n");
    let timer = unit("[Timer]\nOnCalendar=*-01-01\nPersistent=true\nUnit=job.service\n");
    let units = [
        ("job.service", job.as_str()),
        ("missed.timer", &timer),
        ("waits.timer", &timer),
    ];
    let world = World::boot(program(), &units).unwrap();
    let stamps = "cd /var/lib/systemd/timers 2>/dev/null || { mkdir -p /var/lib/systemd/timers; cd /var/lib/systemd/timers; }; \
                  touch -d '2 years ago' stamp-missed.timer; touch stamp-waits.timer";
    world.run("sh", &["-c", stamps]).unwrap();
    let stamp = world
        .root()
        .unwrap()
        .join("var/lib/systemd/timers/stamp-waits.timer");
    let elapsed = fs::metadata(stamp).unwrap().modified().unwrap();
    let elapsed = elapsed.duration_since(std::time::UNIX_EPOCH).unwrap();
    let mut watched = Watched::ready(&world);
    world
        .systemctl(&["start", "waits.timer", "missed.timer"])
        .unwrap();
    let timer = |body: &Body, name: &str| match body {
        Body::Timer(timer) if timer.name == name && timer.last.is_some() && timer.next.is_some() => {
            Some((**timer).clone())
        }
        _ => None,
    };
    let at = watched.ever("the timer that waits", |body| {
        timer(body, "waits.timer").is_some()
    });
    let waits = timer(&watched.told[at - 1].body, "waits.timer").unwrap();
    assert!(waits.persistent && waits.active, "{waits:?}");
    // systemd keeps microseconds.
    let last = u64::try_from(waits.last.unwrap()).unwrap();
    assert_eq!(u128::from(last / 1000), elapsed.as_micros());
    watched.ever("the run that was missed", |body| {
        matches!(body, Body::Unit(unit) if unit.name == "job.service"
            && unit.state.as_ref().is_some_and(|state| !state.invocation.is_empty()))
    });
    let at = watched.ever("that it has elapsed", |body| {
        timer(body, "missed.timer").is_some_and(|timer| timer.last > waits.last)
    });
    assert!(
        timer(&watched.told[at - 1].body, "missed.timer")
            .unwrap()
            .persistent
    );
}

/// Of a unit whose conditions are not met systemd logs what it logs of a beginning; and what makes a `Persistent=` timer
/// known counts as its last time.
#[test]
fn a_unit_that_was_skipped_or_whose_timer_is_new_did_not_run() {
    let skipped = unit("[Unit]\nConditionPathExists=/nonexistent\n[Service]\nType=oneshot\nExecStart=true\n");
    let waits = unit("[Service]\nType=oneshot\nExecStart=true\n");
    let often = unit("[Timer]\nOnCalendar=*:*:*\nAccuracySec=1ms\nUnit=skipped.service\n");
    let new = unit("[Timer]\nOnCalendar=*-01-01\nPersistent=true\nUnit=waits.service\n");
    let units = [
        ("skipped.service", skipped.as_str()),
        ("waits.service", &waits),
        ("often.timer", &often),
        ("new.timer", &new),
    ];
    let world = World::boot(program(), &units).unwrap();
    world.keep_journal().unwrap();
    world.systemctl(&["start", "often.timer", "new.timer"]).unwrap();
    // Its file is made then, and read when it is started again, as after a reboot.
    world.systemctl(&["restart", "new.timer"]).unwrap();
    until("that it was skipped", || {
        let asked = world.systemctl(&["show", "-P", "ConditionTimestamp", "skipped.service"]);
        (!asked.unwrap().trim().is_empty()).then_some(())
    });
    let report = Beside::of(&world, Some(folder(&world))).found();
    assert_eq!(capability(&report), (CapabilityState::Available, ""));
    for name in ["often.timer", "new.timer"] {
        let timer = timer(&report, name);
        assert!(timer.last.is_some() && timer.past_since.is_some(), "{timer:#?}");
        assert_eq!((timer.past_total, timer.past.len()), (0, 0), "{timer:#?}");
    }
}

#[test]
fn without_a_journal_the_last_run_is_known() {
    let (world, _) = world_with_a_past(false);
    let report = Beside::of(&world, None).found();
    let (state, why) = capability(&report);
    assert_eq!(state, CapabilityState::Unavailable);
    assert!(why.contains("--journal") && why.ends_with(journal::LOST), "{why}");
    let often = timer(&report, "often.timer");
    assert_eq!((often.past_total, &often.past_since), (1, &None), "{often:#?}");
    let [last] = often.past.as_slice() else {
        panic!("{often:#?}");
    };
    assert_eq!(last.result, "success");
    // It is the run that the timer's last elapsing started.
    let elapsed = often.last.clone().unwrap();
    assert!(
        last.begun >= elapsed && last.begun[..16] == elapsed[..16],
        "{often:#?}"
    );
}

#[test]
fn a_journal_without_entries_is_told_as_none() {
    let world = World::boot(program(), &[]).unwrap();
    let empty = Folder::new().unwrap();
    let report = Beside::of(&world, Some(empty.path().to_owned())).found();
    let (state, why) = capability(&report);
    assert_eq!(state, CapabilityState::Unavailable);
    assert!(
        why.contains("journalctl") && why.ends_with(journal::LOST),
        "{why}"
    );
}
