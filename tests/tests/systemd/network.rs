//! What the network's own service does to the network when it is restarted, and that it was it.

use std::fs;
use std::time::Duration;

use lab::world::World;
use tracer::report::{Change, ChangeKind, NodeReport, Unit};

use crate::beside::Beside;
use crate::{program, until};

const NETWORKD: &str = "systemd-networkd.service";
const SOCKET: &str = "systemd-networkd.socket";
/// It has nothing to wait for, as for a router.
const NETWORK: &str = "[Match]\nName=eth0\n\
                       [Network]\nAddress=10.10.0.2/24\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n";
/// As a CNI leaves it: the rule that looks up local addresses comes later than it did, and there is one of its own.
const RULES: &str = "rule add from all lookup local pref 100\n\
                     rule del from all lookup local pref 0\n\
                     rule add fwmark 0x200/0xf00 lookup 2004 pref 9\n";
/// The rules that are then there and that networkd did not make.
const RULES_ADDED: [&str; 2] = [
    "IPv4 rule 100: from all lookup local",
    "IPv4 rule 9: from all fwmark 0x200/0xf00 lookup 2004",
];

/// A world in which networkd has configured a link, and then somebody else has added rules.
fn world_with_foreign_rules() -> World {
    let world = World::boot_with_devices(program(), &[]).unwrap();
    let ip = "ip link add eth0 type veth peer name peer0; ip link set peer0 up; ip link set lo up";
    world.run("sh", &["-c", ip]).unwrap();
    world.devices_are_ready().unwrap();
    let folder = world.root().unwrap().join("run/systemd/network");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("1.network"), NETWORK).unwrap();
    world.systemctl(&["start", NETWORKD]).unwrap();
    until("a link that networkd has configured", || {
        let state = "grep -l ADMIN_STATE=configured /run/systemd/netif/links/*";
        world.run("sh", &["-c", state]).ok()
    });
    world
        .run("sh", &["-c", &format!("printf '{RULES}' | ip -batch -")])
        .unwrap();
    world
}

/// Debian's `systemd.postinst` does this on each upgrade.
#[test]
fn rules_that_networkd_deletes_are_told_with_it_and_its_restart() {
    let world = world_with_foreign_rules();
    let mut beside = Beside::of(&world, None);
    let report = beside.found();
    for rule in RULES_ADDED {
        assert!(
            report.settings.iter().any(|one| one.object == rule),
            "{:#?}",
            report.settings
        );
    }
    let before = networkd(&report).main_pid;

    world.systemctl(&["daemon-reexec"]).unwrap();
    beside.until("that systemd has run itself anew", |report| {
        let is_told = |one: &Change| {
            one.kind == ChangeKind::Notice
                && one
                    .after
                    .as_ref()
                    .is_some_and(|text| text.contains("daemon-reexec"))
        };
        report.node.changes.iter().any(is_told)
    });
    world.systemctl(&["try-restart", "--no-block", NETWORKD]).unwrap();
    let report = beside.until("that both rules are gone, and networkd runs again", |report| {
        let unit = networkd(report);
        gone(report).len() == RULES_ADDED.len() && unit.sub == "running" && unit.main_pid != before
    });

    let (unit, restarted) = (networkd(&report), restarted(&report));
    assert_eq!(
        (unit.result.as_str(), unit.restarts, unit.starts),
        ("success", 0, 1)
    );
    for change in gone(&report) {
        assert!(RULES_ADDED.contains(&change.object.as_str()), "{change:#?}");
        assert!(!change.noticed, "{change:#?}");
        let by = change
            .by
            .as_ref()
            .unwrap_or_else(|| panic!("by nobody: {change:#?}"));
        assert_eq!((by.pid, by.unit.as_str()), (unit.main_pid, NETWORKD));
        assert_eq!(by.command, "systemd-network");
        assert!(
            restarted < change.at,
            "it was restarted at {restarted}: {change:#?}"
        );
    }
    println!("told at most {:?} later", beside.late);
    assert!(
        beside.late < Duration::from_secs(1),
        "told {:?} later",
        beside.late
    );
}

/// systemd makes a socket for it just before, by which it then deletes them.
#[test]
fn networkd_is_known_by_a_socket_that_is_new_too() {
    let world = world_with_foreign_rules();
    world.systemctl(&["stop", SOCKET, NETWORKD]).unwrap();
    let mut beside = Beside::of(&world, None);
    beside.found();
    // Who did this has ended before it can be looked for among all processes.
    world
        .run(
            "sh",
            &["-c", "ip rule add pref 999 blackhole; ip rule del pref 999"],
        )
        .unwrap();
    world.systemctl(&["start", NETWORKD]).unwrap();
    let report = beside.until("that both rules are gone", |report| {
        gone(report)
            .iter()
            .filter(|change| RULES_ADDED.contains(&change.object.as_str()))
            .count()
            == RULES_ADDED.len()
    });
    for change in gone(&report) {
        if RULES_ADDED.contains(&change.object.as_str()) {
            let by = change.by.as_ref().map(|by| by.unit.as_str());
            assert_eq!(by, Some(NETWORKD), "{change:#?}");
        }
    }
}

/// It loads them anew whenever it reads its units again, all at once.
#[test]
fn the_shield_of_a_unit_is_told_at_its_cgroup_and_loaded_anew_as_one_change() {
    const UNIT: &str = "[Service]\nExecStart=sleep 600\nIPAddressDeny=192.0.2.0/24\n";
    let world = World::boot(program(), &[("shielded.service", UNIT)]).unwrap();
    let mut beside = Beside::of(&world, None);
    beside.found();
    world.systemctl(&["start", "shielded.service"]).unwrap();
    let objects = ["ingress", "egress"].map(|way| {
        let cgroup = world.cgroup();
        format!("BPF programs at cgroup_inet_{way} of cgroup {cgroup}/system.slice/shielded.service")
    });
    // Others loaded anew at the same time belong to one change, whichever leads.
    let told = |report: &NodeReport| -> Vec<Change> {
        let changes = report.node.changes.iter();
        changes
            .filter(|one| objects.contains(&one.object))
            .cloned()
            .collect()
    };
    let report = beside.until("that both programs are there", |report| told(report).len() == 2);
    for change in told(&report) {
        let after = change.after.unwrap();
        assert!(
            after.starts_with("program ") && after.contains(" (sd_fw_"),
            "{after}"
        );
        assert!(change.before.is_none() && change.noticed, "{after}");
    }
    world.systemctl(&["daemon-reload"]).unwrap();
    let report = beside.until("that both are others", |report| {
        told(report).iter().filter(|one| one.before.is_some()).count() == 2
    });
    let anew: Vec<Change> = told(&report)
        .into_iter()
        .filter(|one| one.before.is_some())
        .collect();
    assert!(anew.iter().all(|one| one.after.is_some()), "{anew:#?}");
    assert!(anew.iter().any(|one| one.follows.is_some()), "{anew:#?}");
}

fn networkd(report: &NodeReport) -> &Unit {
    let found = report.node.units.iter().find(|unit| unit.name == NETWORKD);
    found.unwrap_or_else(|| panic!("no {NETWORKD} in {:#?}", report.node.units))
}

/// When networkd began to be restarted.
fn restarted(report: &NodeReport) -> String {
    let changes = report.node.changes.iter();
    let first = changes
        .filter(|one| one.kind == ChangeKind::Unit && one.object == NETWORKD)
        .map(|one| one.at.clone())
        .min();
    first.unwrap()
}

/// Rules that are gone.
fn gone(report: &NodeReport) -> Vec<&Change> {
    let changes = report.node.changes.iter();
    changes
        .filter(|one| one.kind == ChangeKind::Setting && one.object.contains(" rule ") && one.after.is_none())
        .collect()
}
