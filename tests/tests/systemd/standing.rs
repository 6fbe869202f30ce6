//! How units stand that systemd tells nothing more of.

use lab::world::World;
use tracer::event::Body;

use crate::watched::Watched;
use crate::{program, unit};

/// Packets for it wait in its sockets meanwhile, and nobody reads them.
#[test]
fn a_service_that_is_frozen_and_goes_on_again_says_so() {
    let sleeper = unit("[Service]\nExecStart=sleep 1000\n");
    let world = World::boot(program(), &[("sleeper.service", &sleeper)]).unwrap();
    world.systemctl(&["start", "sleeper.service"]).unwrap();
    let mut watched = Watched::ready(&world);
    for (asked, frozen) in [("freeze", true), ("thaw", false)] {
        world.systemctl(&[asked, "sleeper.service"]).unwrap();
        watched.wait_unit("sleeper.service", |state| {
            state.active == "active" && state.frozen == frozen
        });
    }
    world.systemctl(&["freeze", "sleeper.service"]).unwrap();
    watched.wait_unit("sleeper.service", |state| state.frozen);
    let mut later = Watched::ready(&world);
    later.ever(
        "that it is frozen, to who comes later",
        |body| matches!(body, Body::Unit(unit) if unit.state.as_ref().is_some_and(|state| state.frozen)),
    );
}

/// systemd unloads it as soon as it has stopped: nobody can ask any more how it did.
#[test]
fn a_service_that_is_unloaded_as_it_stops_is_told_to_have_stopped() {
    let world = World::boot(program(), &[]).unwrap();
    let mut watched = Watched::ready(&world);
    for (signal, result) in [("TERM", "success"), ("KILL", "signal")] {
        world
            .run(
                "systemd-run",
                &[
                    "--unit=brief",
                    "--collect",
                    "-p",
                    "DefaultDependencies=no",
                    "sleep",
                    "1000",
                ],
            )
            .unwrap();
        watched.wait_unit("brief.service", |state| {
            state.active == "active" && state.main_pid != 0
        });
        let kill = format!("--signal={signal}");
        world.systemctl(&["kill", &kill, "brief.service"]).unwrap();
        let state = watched.wait_unit("brief.service", |state| {
            matches!(state.active.as_str(), "inactive" | "failed")
        });
        assert_eq!(state.result, result);
        watched.wait(
            "that it is unloaded",
            |body| matches!(body, Body::Unit(unit) if unit.name == "brief.service" && unit.state.is_none()),
        );
    }
}
