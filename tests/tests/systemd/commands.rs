//! What `tracer node` and `tracer audit` print where the real systemd runs: as root, and without any privilege.

use std::process::Stdio;

use lab::tracer::copy_to;
use lab::world::World;
use serde_json::Value;
use tracer::event::CapabilityState;
use tracer::report::{Capability, NodeReport, Unit};

use crate::{program, unit};

/// As a program that upgrades packages: it is killed alone, and what it has begun goes on.
const UPGRADE: &str = "[Service]\nType=oneshot\nKillMode=process\nTimeoutStopSec=15min\n\
                       ExecStart=sh -c 'sleep 1000; apt-get -y upgrade'\n";
const DAILY: &str =
    "[Timer]\nOnCalendar=*-*-* 6:00\nRandomizedDelaySec=1h\nPersistent=true\nUnit=upgrade.service\n";
/// Becomes somebody who may do nothing that not everybody may.
const AS_NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// A world with a service that runs, an upgrade that was stopped and goes on, and its timer; and the tracer in it.
fn world() -> (World, String) {
    let sleeper = unit("[Service]\nExecStart=sleep 1000\nRuntimeMaxSec=1h\n");
    // systemd makes the group of such a unit away when its program has ended.
    let once = unit("[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\n");
    let (upgrade, daily) = (unit(UPGRADE), unit(DAILY));
    let units = [
        ("sleeper.service", sleeper.as_str()),
        ("once.service", &once),
        ("upgrade.service", &upgrade),
        ("daily.timer", &daily),
    ];
    let world = World::boot(program(), &units).unwrap();
    world
        .systemctl(&["start", "sleeper.service", "once.service", "daily.timer"])
        .unwrap();
    world
        .systemctl(&["start", "--no-block", "upgrade.service"])
        .unwrap();
    world.wait_for_processes("upgrade.service", 2).unwrap();
    world.systemctl(&["stop", "upgrade.service"]).unwrap();
    let (there, tracer) = world.shared("tracer");
    copy_to(&there).unwrap();
    (world, tracer)
}

/// What a command line in the world prints as JSON, its exit code, and what it complains of.
fn json(world: &World, command: &[&str]) -> (Value, i32, String) {
    let (program, arguments) = command.split_first().unwrap();
    let output = world
        .command(program, arguments)
        .unwrap()
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"));
    (value, output.status.code().unwrap(), errors)
}

fn node(world: &World, command: &[&str]) -> NodeReport {
    let (value, code, errors) = json(world, &[command, &["node", "--format", "json"]].concat());
    assert_eq!((code, errors.as_str()), (0, ""));
    serde_json::from_value(value).unwrap()
}

fn capability<'r>(report: &'r NodeReport, name: &str) -> &'r Capability {
    let mut all = report.capabilities.iter();
    all.find(|told| told.name == name)
        .unwrap_or_else(|| panic!("no {name} in {:?}", report.capabilities))
}

fn of_unit<'r>(report: &'r NodeReport, name: &str) -> &'r Unit {
    let mut all = report.node.units.iter();
    all.find(|unit| unit.name == name)
        .unwrap_or_else(|| panic!("no {name} in {:#?}", report.node.units))
}

/// What of the units and of the network everybody may know.
fn knows_units_and_network(world: &World, report: &NodeReport) {
    let sleeper = of_unit(report, "sleeper.service");
    assert_eq!(
        (sleeper.active.as_str(), sleeper.sub.as_str()),
        ("active", "running")
    );
    let pid = world
        .systemctl(&["show", "-P", "MainPID", "sleeper.service"])
        .unwrap();
    assert_eq!(sleeper.main_pid.to_string(), pid);
    let deadline = sleeper.deadline.as_ref().unwrap();
    assert!(
        deadline
            .seconds
            .is_some_and(|left| left > 3000.0 && left <= 3600.0),
        "{deadline:?}"
    );
    let upgrade = of_unit(report, "upgrade.service");
    assert_eq!(
        (
            upgrade.active.as_str(),
            upgrade.result.as_str(),
            upgrade.processes
        ),
        ("failed", "signal", 1)
    );
    let once = of_unit(report, "once.service");
    assert_eq!(
        (
            once.active.as_str(),
            once.sub.as_str(),
            once.main_pid,
            once.processes
        ),
        ("active", "exited", 0, 0)
    );
    let mut timers = report.node.timers.iter();
    let daily = timers.find(|timer| timer.name == "daily.timer").unwrap();
    assert_eq!(
        (daily.unit.as_str(), daily.random_delay, daily.persistent),
        ("upgrade.service", 3600.0, true)
    );
    assert!(daily.next.is_some(), "{daily:?}");
    let rule = "IPv4 rule 0: from all lookup local";
    assert!(
        report.settings.iter().any(|setting| setting.object == rule),
        "{:#?}",
        report.settings
    );
}

#[test]
fn the_node_is_told_as_it_stands() {
    let (world, tracer) = world();
    // A mount whose place is no text is one line more in the list of mounts, by which cgroups are found.
    let odd = "mkdir $(printf '/run/lab/odd\\377'); mount -t tmpfs odd $(printf '/run/lab/odd\\377')";
    world.run("sh", &["-c", odd]).unwrap();
    let report = node(&world, &[&tracer]);
    assert_eq!(report.schema.name, "tracer.node");
    knows_units_and_network(&world, &report);
    // For this mount systemd refuses to list any unit: of the others each kind is asked for by itself.
    let systemd = capability(&report, "systemd");
    assert_eq!(systemd.state, CapabilityState::Partial);
    assert!(
        systemd
            .why
            .starts_with("systemd does not list units of the kind mount, "),
        "{systemd:?}"
    );
    assert_eq!(capability(&report, "packages").state, CapabilityState::Available);
    let [packages] = report.node.packages.as_slice() else {
        panic!("{:?}", report.node.packages);
    };
    assert_eq!(packages.manager, "dpkg");
}

#[test]
fn without_privileges_the_node_is_told_as_far_as_it_lets_everybody_look() {
    let (world, tracer) = world();
    world.run("chmod", &["0600", "/var/lib/dpkg/status"]).unwrap();
    let command = [&AS_NOBODY[..], &[&tracer]].concat();
    let report = node(&world, &command);
    knows_units_and_network(&world, &report);
    assert_eq!(capability(&report, "systemd").state, CapabilityState::Available);
    for (name, why) in [
        (
            "packages",
            "/var/lib/dpkg/status cannot be read: Permission denied",
        ),
        ("chains", ""),
        ("configuration", "Changes of the rules of nf_tables are not seen"),
        ("configuration", "BPF programs cannot be listed"),
        ("journal", ""),
    ] {
        let told = capability(&report, name);
        assert_ne!(told.state, CapabilityState::Available, "{told:?}");
        assert!(!told.why.is_empty() && told.why.contains(why), "{told:?}");
    }

    // systemd itself answers root only, where no bus is asked for it.
    world.systemctl(&["stop", "dbus.socket", "dbus.service"]).unwrap();
    let report = node(&world, &command);
    let systemd = capability(&report, "systemd");
    assert_eq!(systemd.state, CapabilityState::Unavailable);
    assert!(systemd.why.contains("Permission denied"), "{systemd:?}");
    assert_eq!(report.node.units, []);
    assert!(!report.settings.is_empty(), "the rest is told all the same");
}

/// systemd holds its socket, and would start it for whoever connects.
#[test]
fn a_bus_that_does_not_run_is_not_started() {
    let (world, tracer) = world();
    world.systemctl(&["stop", "dbus.service"]).unwrap();
    let report = node(&world, &[&tracer]);
    let systemd = capability(&report, "systemd");
    assert_eq!(systemd.state, CapabilityState::Available, "{systemd:?}");
    let bus = of_unit(&report, "dbus.service");
    assert_eq!(bus.active, "inactive");
    let now = world.run("systemctl", &["show", "--property=ActiveState", "dbus.service"]);
    assert_eq!(now.unwrap().stdout, b"ActiveState=inactive\n");
}

#[test]
fn the_audit_says_when_systemd_will_do_what_it_finds() {
    let (world, tracer) = world();
    // It was started, and is not enabled: that only systemd knows.
    let idle = |world: &World| {
        let (audit, ..) = json(world, &[&tracer, "audit", "--format", "json"]);
        let mut findings = audit["findings"].as_array().unwrap().iter();
        let found = findings.find(|one| one["unit"] == "daily.timer").cloned();
        found.unwrap_or_else(|| panic!("{audit:#}"))["idle"].clone()
    };
    assert_eq!(idle(&world), Value::Null);
    world.systemctl(&["stop", "daily.timer"]).unwrap();
    assert_eq!(idle(&world), "not_enabled");
    let enabled = unit(&format!("{DAILY}[Install]\nWantedBy=lab.target\n"));
    world.unit("daily.timer", &enabled).unwrap();
    world.systemctl(&["enable", "daily.timer"]).unwrap();
    world.systemctl(&["restart", "daily.timer"]).unwrap();
    for wrapper in [&[][..], &AS_NOBODY] {
        let command = [wrapper, &[&tracer, "audit", "--format", "json"]].concat();
        let (audit, code, _) = json(&world, &command);
        assert_eq!(
            (code, audit["schema"]["name"].as_str()),
            (1, Some("tracer.audit"))
        );
        let findings = audit["findings"].as_array().unwrap();
        let found = findings.iter().find(|one| one["unit"] == "daily.timer");
        let found = found.unwrap_or_else(|| panic!("{audit:#}"));
        assert_eq!(found["starts"], "upgrade.service");
        let effects = found["effects"].as_array().unwrap();
        assert!(effects.iter().any(|effect| effect == "packages"), "{found:#}");
        let traps = found["traps"].as_array().unwrap();
        for trap in ["persistent", "kill_mode_process"] {
            assert!(traps.iter().any(|one| one == trap), "{found:#}");
        }
        assert!(found["next"].is_string(), "{found:#}");
    }
    let allowed = ["--allow", "daily.timer"];
    let command = [&[tracer.as_str(), "audit", "--format", "json"][..], &allowed].concat();
    let (audit, ..) = json(&world, &command);
    let findings = audit["findings"].as_array().unwrap();
    let found = findings.iter().find(|one| one["unit"] == "daily.timer").unwrap();
    assert_eq!(found["allowed"], true);
}
