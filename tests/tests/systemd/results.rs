//! What only a result tells: of a reload, of what was done too often, of units that are no services; and what a job did that
//! was over at once.

use lab::world::World;
use tracer::event::{Body, JobState};
use tracer::report::{ChangeKind, NodeReport};

use crate::beside::Beside;
use crate::watched::Watched;
use crate::{program, unit};

/// systemd gives up the reload, and the unit goes on as if it had been one: its own result is a success.
#[test]
fn a_reload_that_is_killed_at_its_limit_is_told_though_the_unit_runs_on() {
    let slow = unit("[Service]\nExecStart=sleep 1000\nExecReload=sleep 1000\nTimeoutStartSec=1\n");
    let fails = unit("[Service]\nExecStart=sleep 1000\nExecReload=false\n");
    let world = World::boot(program(), &[("slow.service", &slow), ("fails.service", &fails)]).unwrap();
    world
        .systemctl(&["start", "slow.service", "fails.service"])
        .unwrap();
    let mut beside = Beside::of(&world, Some("/nonexistent".into()));
    let mut watched = Watched::ready(&world);
    beside.found();
    for (name, result) in [("slow.service", "timeout"), ("fails.service", "exit-code")] {
        world.systemctl(&["reload", "--no-block", name]).unwrap();
        let state = watched.wait_unit(name, |state| !state.reload_result.is_empty());
        assert_eq!(
            (
                state.sub.as_str(),
                state.result.as_str(),
                state.reload_result.as_str()
            ),
            ("running", "success", result)
        );
        let words = format!("its last reload failed: result {result}");
        beside.until(&words, |report| {
            let mut changes = report.node.changes.iter();
            let mut units = report.node.units.iter();
            changes.any(|one| {
                one.object == name && one.after.as_ref().is_some_and(|text| text.ends_with(&words))
            }) && units.any(|one| one.name == name && one.reload_result == result)
        });
    }
    // The next run knows nothing of it.
    world
        .systemctl(&["restart", "--no-block", "fails.service"])
        .unwrap();
    watched.wait_unit("fails.service", |state| {
        state.sub == "running" && state.reload_result.is_empty()
    });
}

/// systemd goes on to say how the last run ended: that no run was begun shows by its times.
#[test]
fn a_start_that_is_refused_is_told_of_the_unit_and_a_job_ends_behind_what_ended_it() {
    let fails = unit(
        "StartLimitIntervalSec=1h\nStartLimitBurst=1\n[Service]\nType=oneshot\nExecStart=sh -c 'sleep 0.2; exit 3'\n",
    );
    let world = World::boot(program(), &[("fails.service", &fails)]).unwrap();
    let mut beside = Beside::of(&world, Some("/nonexistent".into()));
    let mut watched = Watched::ready(&world);
    beside.found();
    let begin = watched.told.len();
    world
        .systemctl(&["start", "--no-block", "fails.service"])
        .unwrap();
    let job_ended = |body: &Body| matches!(body, Body::Job(job) if job.unit == "fails.service" && matches!(job.state, JobState::Ended(_)));
    let has_failed = |body: &Body| {
        let Body::Unit(unit) = body else { return false };
        unit.name == "fails.service" && unit.state.as_ref().is_some_and(|state| state.active == "failed")
    };
    let end = watched.wait("the end of the job", job_ended);
    let failed = watched.since(begin, "the unit's failure", has_failed);
    assert_eq!(end + 1, failed, "they are not told at once: {:?}", watched.told);
    assert!(watched.told[failed - 1].at <= watched.told[end - 1].at);
    let limit = "not started again: its start limit is hit";
    let is_told = |report: &NodeReport| {
        let mut changes = report.node.changes.iter();
        changes.any(|one| {
            one.kind == ChangeKind::Unit && one.after.as_ref().is_some_and(|text| text.ends_with(limit))
        })
    };
    beside.until("the failure", |report| {
        let mut changes = report.node.changes.iter();
        assert!(
            !is_told(report),
            "it was started as often as it may be, and not refused"
        );
        changes.any(|one| {
            one.kind == ChangeKind::Unit && one.after.as_ref().is_some_and(|text| text.starts_with("failed "))
        })
    });
    world
        .systemctl(&["start", "--no-block", "fails.service"])
        .unwrap();
    beside.until(limit, is_told);
    let state = watched.wait_unit("fails.service", |_| true);
    assert_eq!(
        (state.active.as_str(), state.result.as_str()),
        ("failed", "exit-code")
    );
}

/// A socket whose service fails each time it is started gives up, a path whose service does so too.
#[test]
fn units_that_give_up_say_why_and_each_run_has_an_id() {
    let again = "[Service]\nExecStart=false\n";
    let socket = unit("[Socket]\nListenStream=/run/lab-listens\n");
    let path = unit("[Path]\nPathExists=/run/lab-there\n");
    let mount = "[Unit]\nDefaultDependencies=no\n[Mount]\nWhat=none\nWhere=/run/lab-mount\nType=tmpfs\n";
    let (serves, follows) = (unit(again), unit(again));
    let units = [
        ("listens.socket", socket.as_str()),
        ("listens.service", &serves),
        ("there.path", &path),
        ("there.service", &follows),
        (r"run-lab\x2dmount.mount", mount),
        (
            "early.socket",
            "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=/run/lab-early\nService=listens.service\n",
        ),
    ];
    let world = World::boot(program(), &units).unwrap();
    world.systemctl(&["start", "early.socket"]).unwrap();
    let mut watched = Watched::ready(&world);
    let found = |name: &str| {
        let of = |body: &Body| match body {
            Body::Unit(unit) if unit.name == name => unit.state.clone(),
            _ => None,
        };
        watched.told.iter().find_map(|event| of(&event.body)).unwrap()
    };
    let id = world
        .systemctl(&["show", "-P", "InvocationID", "early.socket"])
        .unwrap();
    assert_eq!(found("early.socket").invocation, id, "as it was found");
    assert_eq!(found("lab.target").invocation.len(), 32);
    let mut seen = |name: &str, active: &str| {
        watched.wait_unit(name, |state| {
            state.active == active && state.invocation.len() == 32
        })
    };
    world.systemctl(&["start", r"run-lab\x2dmount.mount"]).unwrap();
    seen(r"run-lab\x2dmount.mount", "active");
    world.systemctl(&["start", "there.path"]).unwrap();
    seen("there.path", "active");
    world.run("touch", &["/run/lab-there"]).unwrap();
    let state = seen("there.path", "failed");
    assert!(state.result.ends_with("limit-hit"), "{state:?}");
    world.systemctl(&["start", "listens.socket"]).unwrap();
    seen("listens.socket", "active");
    let connect = "for i in 1 2 3 4 5 6 7 8 9 10; do socat -u /dev/null UNIX:/run/lab-listens 2>/dev/null || \
                   python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect(\"/run/lab-listens\")' 2>/dev/null; done; true";
    world.run("sh", &["-c", connect]).unwrap();
    let state = seen("listens.socket", "failed");
    assert!(state.result.ends_with("limit-hit"), "{state:?}");
}

/// A service of the type simple has started as soon as its process is there: nobody can ask in time what its job is.
#[test]
fn what_a_job_does_is_told_also_where_it_is_over_at_once() {
    let simple = unit("StartLimitIntervalSec=0\n[Service]\nExecStart=sleep 1000\n");
    // systemd unloads what nothing names.
    let keeper = unit("After=simple.service\n[Service]\nExecStart=sleep 1000\n");
    let world = World::boot(
        program(),
        &[("simple.service", &simple), ("keeper.service", &keeper)],
    )
    .unwrap();
    world.systemctl(&["start", "keeper.service"]).unwrap();
    let mut watched = Watched::ready(&world);
    for _ in 0..5 {
        for (command, does, stands) in [
            ("start", "start", "running"),
            ("restart", "start", "running"),
            ("stop", "stop", "dead"),
        ] {
            let begin = watched.told.len();
            world.systemctl(&[command, "simple.service"]).unwrap();
            let at = watched.wait("the end of a job", |body| {
                matches!(body, Body::Job(job) if job.unit == "simple.service" && matches!(job.state, JobState::Ended(_)))
            });
            let Body::Job(job) = &watched.told[at - 1].body else {
                panic!("{:?}", watched.told[at - 1]);
            };
            // It may have been asked in time: then it is what systemd calls it.
            assert!([does, command].contains(&job.action.as_str()), "{job:?}");
            // What ended the job is told with it.
            watched.since(begin, stands, |body| {
                matches!(body, Body::Unit(unit) if unit.name == "simple.service" && unit.state.as_ref().is_some_and(|state| state.sub == stands))
            });
        }
    }
}

/// What follows one another faster than all can be listed is told as one, with its number.
#[test]
fn each_of_many_reloads_is_counted() {
    const RELOADS: u32 = 12;
    let world = World::boot(program(), &[]).unwrap();
    let mut watched = Watched::ready(&world);
    // All at once: systemd does one after the other.
    let reloads = format!("for i in $(seq {RELOADS}); do systemctl daemon-reload --no-block & done; wait");
    world.run("sh", &["-c", &reloads]).unwrap();
    let counted = |notices: &[&str]| -> u32 {
        let reloads = notices
            .iter()
            .filter(|text| text.starts_with("systemd has loaded all unit files anew"));
        let number = |text: &&&str| {
            let number = text
                .split_once("the last of ")
                .and_then(|(_, rest)| rest.split(' ').next());
            number.map_or(1, |number| number.parse().unwrap())
        };
        reloads.map(|text| number(&text)).sum()
    };
    while counted(&watched.notices()) < RELOADS {
        watched.wait("a reload", |body| matches!(body, Body::Notice(_)));
    }
    assert_eq!(counted(&watched.notices()), RELOADS);
    let told = watched.notices().len();
    assert!(
        told < RELOADS as usize,
        "each is told by itself: nothing is seen of the number"
    );
}
