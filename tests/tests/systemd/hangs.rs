//! What answers nothing and is still there: systemd, and its bus.

use std::time::Duration;

use lab::world::World;
use tracer::event::{Body, Event};

use crate::watched::{Watched, available, unavailable};
use crate::{program, unit};

/// It stops: systemd is alive, and answers nothing any more.
#[test]
fn systemd_that_hangs_is_told_and_so_is_that_it_goes_on() {
    let world = World::boot(program(), &[]).unwrap();
    let mut watched = Watched::ready(&world);
    lab::process::send(world.pid().unwrap(), libc::SIGSTOP).unwrap();
    let at = watched.wait("that it hangs", unavailable);
    let Body::Capability(told) = &watched.told[at - 1].body else {
        panic!("{:?}", watched.told[at - 1]);
    };
    assert!(told.why.contains("Ping: no answer in 3 s"), "{}", told.why);
    // The bus takes a connection, and systemd answers nothing by it: it cannot be reached yet.
    watched.wait(
        "that it still hangs",
        |body| matches!(body, Body::Capability(told) if told.why.contains("Subscribe: no answer in 5 s")),
    );
    // In the midst of another try, which begins a second later and waits for 5 s: nothing shows that from outside.
    std::thread::sleep(Duration::from_secs(3));
    let goes_on = tracer::node::clock::boottime_ns();
    lab::process::send(world.pid().unwrap(), libc::SIGCONT).unwrap();
    let since = watched.wait("that it goes on", available);
    assert_eq!(watched.notices().last(), Some(&"systemd can be reached again"));
    let notice = |event: &&Event| matches!(&event.body, Body::Notice(_));
    let told_at = watched.told.iter().rev().find(notice).unwrap().at;
    assert!(told_at >= goes_on, "it is told to be reached before it goes on");
    assert_eq!(watched.changes(since), [""; 0]);
}

/// The bus stops, and systemd goes on: what happens meanwhile is told when the bus goes on too.
#[test]
fn a_bus_that_hangs_is_told_and_what_changed_meanwhile_when_it_goes_on() {
    let sleeper = unit("[Service]\nExecStart=sleep 1000\n");
    let world = World::boot(program(), &[("a.service", &sleeper), ("b.service", &sleeper)]).unwrap();
    world.systemctl(&["start", "a.service"]).unwrap();
    let mut watched = Watched::ready(&world);
    // Not by the bus, here and below.
    let signal = |signal: &str| {
        let signal = format!("--signal={signal}");
        world
            .run("systemctl", &["kill", &signal, "dbus.service"])
            .unwrap();
    };
    signal("STOP");
    let hung = tracer::node::clock::boottime_ns();
    let at = watched.wait("that it hangs", unavailable);
    let Body::Capability(told) = &watched.told[at - 1].body else {
        panic!("{:?}", watched.told[at - 1]);
    };
    assert!(told.why.contains("Ping: no answer in 3 s"), "{}", told.why);
    // It is told as of when it was heard last.
    let second = 1_000_000_000;
    assert!(
        watched.told[at - 1].at < hung + second,
        "{:?}",
        watched.told[at - 1]
    );
    world
        .run("systemctl", &["stop", "--no-block", "a.service"])
        .unwrap();
    world
        .run("systemctl", &["start", "--no-block", "b.service"])
        .unwrap();
    // The bus takes a connection, and says nothing by it.
    watched.wait("that it still hangs", unavailable);
    signal("CONT");
    let since = watched.told.len();
    watched.wait("that it goes on", available);
    assert_eq!(watched.notices().last(), Some(&"systemd can be reached again"));
    let changes = watched.changes(since);
    for (unit, state) in [
        ("a.service ", "inactive (dead)"),
        ("b.service ", "active (running)"),
    ] {
        let of_unit: Vec<_> = changes.iter().filter(|change| change.starts_with(unit)).collect();
        let is_told = |change: &&&String| {
            change.contains(" -> ") && (change.contains(state) || change.ends_with("None"))
        };
        assert!(
            of_unit.iter().any(|change| is_told(&change)),
            "{unit}: {changes:#?}"
        );
    }
    assert!(
        changes.iter().all(|change| change.contains("Noticed")),
        "{changes:#?}"
    );
    world.systemctl(&["stop", "b.service"]).unwrap();
    watched.wait(
        "the end of b.service",
        |body| matches!(body, Body::Unit(unit) if unit.name == "b.service" && unit.state.is_none()),
    );
}
