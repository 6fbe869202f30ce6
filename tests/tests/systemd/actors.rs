//! Who changes the network, where systemd started it: with its unit, however short it lives.

use std::process::{Child, Command, Stdio};
use std::thread;

use lab::tracer::{command, finish, wait_until_it_watches};
use lab::world::World;
use tracer::report::Change;

use crate::{program, unit};

/// As many changes as are made of each kind.
const EACH: usize = 6;
/// Programs that never wait, beside two processors or some more.
const BUSY: usize = 4;

/// A program that does nothing but take time; it ends with the value.
struct Busy(Child);

impl Busy {
    fn start() -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", "while :; do :; done"]);
        lab::process::bind(&mut shell, libc::SIGKILL, None);
        Self(shell.spawn().unwrap())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        // It cannot have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// systemd takes the unit's cgroup away with its only process; that of an instance (`@`) even with the slice that it is in.
#[test]
fn a_oneshot_that_only_runs_ip_is_told_with_its_unit() {
    let instance = unit("[Service]\nType=oneshot\nExecStart=ip route add blackhole 192.0.2.%i\n");
    let alone: Vec<(String, String)> = (0..EACH)
        .map(|number| {
            let run =
                format!("[Service]\nType=oneshot\nExecStart=ip route add blackhole 198.51.100.{number}\n");
            (format!("alone{number}.service"), unit(&run))
        })
        .collect();
    let mut units = vec![("instance@.service", instance.as_str())];
    units.extend(alone.iter().map(|(name, text)| (name.as_str(), text.as_str())));
    let world = World::boot(program(), &units).unwrap();

    let netns = format!("/proc/{}/ns/net", world.pid().unwrap());
    let mut tracer = command(&[
        "diagnose", "--for", "10min", "--format", "json", "--netns", &netns,
    ])
    .unwrap();
    let mut tracer = tracer.stderr(Stdio::null()).spawn().unwrap();
    wait_until_it_watches(&mut tracer).unwrap();
    thread::sleep(lab::tracer::BEFORE_BREAK);
    let busy: Vec<Busy> = (0..BUSY).map(|_| Busy::start()).collect();
    let mut wanted = Vec::new();
    for number in 0..EACH {
        for (name, net) in [("alone", "198.51.100."), ("instance@", "192.0.2.")] {
            let name = format!("{name}{number}.service");
            world.systemctl(&["start", &name]).unwrap();
            wanted.push((format!("{net}{number}"), name));
        }
    }
    drop(busy);
    thread::sleep(lab::tracer::BEFORE_BREAK);
    lab::process::send(tracer.id(), libc::SIGINT).unwrap();
    let report = finish(&mut tracer).unwrap().report().unwrap();
    let changes: Vec<Change> = serde_json::from_value(report["changes"].clone()).unwrap();

    let mut others = Vec::new();
    for (address, name) in &wanted {
        let is_it =
            |change: &&Change| change.object.contains("route") && change.object.contains(address.as_str());
        let made = changes
            .iter()
            .find(is_it)
            .unwrap_or_else(|| panic!("{address}: {changes:#?}"));
        let by = made.by.as_ref();
        let parent = by.and_then(|by| by.parent.as_ref());
        let said = by.map(|by| (by.command.as_str(), by.unit.as_str()));
        if said != Some(("ip", name)) || parent.is_none_or(|parent| parent.command != "systemd") {
            others.push((address, name, &made.by, made.by_unknown));
        }
    }
    assert!(
        others.is_empty(),
        "{} of {}: {others:#?}",
        others.len(),
        wanted.len()
    );
}
