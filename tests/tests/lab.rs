//! The lab itself, without a tracer: it builds, its traffic flows, a break stops what it should stop and
//! nothing else, a heal mends it, and nothing is left behind.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use lab::lab::{Lab, PATIENCE};
use lab::scenario::{self, Place, Scenario, Step};
use lab::terminal::{Terminal, wait_for_end};
use lab::traffic::{Tally, Target};

const PROGRAM: &str = env!("CARGO_BIN_EXE_lab");
const V4: &str = "192.0.2.10:8080";
const V6: &str = "[2001:db8:ffff::10]:8080";

fn scenario(name: &str) -> &'static Scenario {
    scenario::find(name).unwrap()
}

fn lab(name: &str) -> Lab {
    Lab::of(scenario(name), Path::new(PROGRAM)).unwrap()
}

/// Waits until every tally that was counted before has counted once more.
fn wait_for_more(lab: &mut Lab, actor: &str, address: &str, count: fn(&Tally) -> u64) -> Target {
    let before = lab.traffic(actor).unwrap().counts().unwrap()[address];
    let more = |now: &Target| {
        tallies(&before).iter().zip(tallies(now)).all(|(before, now)| {
            let unused = before.done + before.failed == 0;
            unused || count(&now) > count(before)
        })
    };
    lab.wait_for(actor, |counts| more(&counts[address])).unwrap()[address]
}

fn tallies(target: &Target) -> [Tally; 4] {
    [
        target.requests,
        target.connections,
        target.datagrams,
        target.pings,
    ]
}

fn assert_stopped(lab: &mut Lab, actor: &str, address: &str) {
    // What was on its way when the node broke may still have come through; the second failure of each kind
    // was sent after it.
    let first = wait_for_more(lab, actor, address, |tally| tally.failed);
    let second = wait_for_more(lab, actor, address, |tally| tally.failed);
    assert_eq!(
        first.done(),
        second.done(),
        "{actor} {address} goes on: {second:?}"
    );
}

fn assert_flows(lab: &mut Lab, actor: &str, address: &str) {
    wait_for_more(lab, actor, address, |tally| tally.done);
}

/// Breaks the node and mends it. `stops` and `goes_on` are actors and addresses; `counters` are those of the
/// node that stand still while it is healthy, and whether the break makes them grow.
fn breaks_and_heals(name: &str, stops: &[(&str, &str)], goes_on: &[(&str, &str)], counters: &[(&str, bool)]) {
    let mut lab = lab(name);
    let count = |lab: &Lab| -> Vec<u64> {
        counters
            .iter()
            .map(|(counter, _)| lab.netns(Place::Node).counter(counter).unwrap())
            .collect()
    };
    let before = count(&lab);
    for (actor, address) in stops.iter().chain(goes_on) {
        assert_flows(&mut lab, actor, address);
    }
    assert_eq!(count(&lab), before, "{counters:?} while healthy");
    lab.apply(scenario(name).break_it).unwrap();
    for (actor, address) in stops {
        assert_stopped(&mut lab, actor, address);
    }
    for ((counter, grows), (before, now)) in counters.iter().zip(before.into_iter().zip(count(&lab))) {
        assert_eq!(now > before, *grows, "{counter}: {before}, then {now}");
    }
    for (actor, address) in goes_on {
        assert_flows(&mut lab, actor, address);
        let counts = lab.traffic(actor).unwrap().counts().unwrap()[*address];
        assert_eq!(counts.failed(), 0, "{actor} {address}: {counts:?}");
    }
    lab.apply(scenario(name).heal).unwrap();
    for (actor, address) in stops {
        assert_flows(&mut lab, actor, address);
    }
}

#[test]
fn healthy_carries_its_workload_without_a_failure() {
    let mut lab = lab("healthy");
    lab.apply(scenario("healthy").break_it).unwrap();
    let bulk = lab.wait_for("bulk", |counts| counts[V4].bulks.done == 1).unwrap()[V4];
    assert!(bulk.bytes >= 20_000_000, "{bulk:?}");
    assert!(bulk.connections.done >= 200, "{bulk:?}");
    assert!(bulk.datagrams.done >= 1000, "{bulk:?}");
    for actor in scenario("healthy").traffic {
        for (address, counts) in lab.traffic(actor.name).unwrap().counts().unwrap() {
            assert!(
                counts.done() > 0 && counts.failed() == 0,
                "{} {address}: {counts:?}",
                actor.name
            );
        }
    }
}

#[test]
fn local_rule_lost_starves_the_node_and_not_its_pod() {
    breaks_and_heals(
        "local-rule-lost",
        &[
            ("node-client", V4),
            ("node-client", V6),
            ("node-ping", "192.0.2.10"),
            ("node-ping", "2001:db8:ffff::10"),
        ],
        &[("pod-client", V4), ("pod-client", V6)],
        // Nothing tells of it: that is what makes the incident hard to see.
        &[
            ("IpInAddrErrors", false),
            ("IpExtInNoRoutes", false),
            ("TcpExtIPReversePathFilter", false),
        ],
    );
}

#[test]
fn rp_filter_starves_ipv4_only() {
    breaks_and_heals(
        "rp-filter",
        &[
            ("node-client", V4),
            ("pod-client", V4),
            ("node-ping", "192.0.2.10"),
        ],
        &[
            ("node-client", V6),
            ("pod-client", V6),
            ("node-ping", "2001:db8:ffff::10"),
            ("peer-ping", "10.10.0.2"),
        ],
        &[("TcpExtIPReversePathFilter", true)],
    );
}

#[test]
fn no_socket_refuses_the_clients_of_the_node_only() {
    breaks_and_heals(
        "no-socket",
        &[
            ("peer-client", "10.10.0.2:8080"),
            ("peer-client", "[2001:db8:10::2]:8080"),
        ],
        &[
            ("node-client", V4),
            ("node-client", V6),
            ("peer-ping", "10.10.0.2"),
        ],
        &[("UdpNoPorts", true)],
    );
}

#[test]
fn silent_path_starves_all() {
    breaks_and_heals(
        "silent-path",
        &[
            ("node-client", V4),
            ("node-client", V6),
            ("pod-client", V4),
            ("pod-client", V6),
            ("node-ping", "192.0.2.10"),
            ("node-ping", "2001:db8:ffff::10"),
        ],
        &[],
        &[("IpInAddrErrors", false), ("UdpNoPorts", false)],
    );
}

#[test]
fn the_topology_leaves_nothing() {
    let lab = Lab::build(Path::new(PROGRAM)).unwrap();
    let paths = [Place::Peer, Place::Node, Place::Pod].map(|place| lab.netns(place).path());
    assert!(paths.iter().all(|path| path.exists()));
    let inodes = inodes(&paths.map(|path| path.display().to_string()));
    drop(lab);
    assert!(users(&inodes).is_empty());
}

#[test]
fn a_failed_step_names_the_command_and_the_reason() {
    let mut lab = Lab::build(Path::new(PROGRAM)).unwrap();
    let error = lab
        .apply(&[Step::Ip(Place::Node, "rule del pref 4711")])
        .unwrap_err()
        .to_string();
    let node = lab.netns(Place::Node).name();
    assert!(
        error.contains(&format!("ip -n {node} rule del pref 4711")),
        "{error}"
    );
    assert!(error.contains("No such file"), "{error}");
}

/// Inodes of namespaces, by their files.
fn inodes(paths: &[String]) -> BTreeSet<u64> {
    paths
        .iter()
        .map(|path| fs::metadata(path).unwrap().ino())
        .collect()
}

/// Processes in the namespaces with these inodes.
fn users(inodes: &BTreeSet<u64>) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let inside = |path: &Path| fs::metadata(path.join("ns/net")).is_ok_and(|net| inodes.contains(&net.ino()));
    processes
        .map(|entry| entry.path())
        .filter(|path| inside(path))
        .map(|path| path.display().to_string())
        .collect()
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "not so after {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The lab's command line with a shell in the tracer's place: `script` finds the node's name in `$1`.
fn command_line(args: &[&str], script: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(args)
        .args(["--", "-c", script])
        .env("TRACER_BIN", "/bin/sh")
        .stdin(Stdio::null());
    lab::process::bind(&mut command, libc::SIGTERM, None);
    command
}

fn output(args: &[&str], script: &str) -> Output {
    command_line(args, script).output().unwrap()
}

/// A lab on the command line whose tracer goes on for ever, and the namespaces that it made.
fn running() -> (Child, Vec<String>, BTreeSet<u64>) {
    let mut command = command_line(&["no-socket"], "echo $1; exec sleep 1000");
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut node = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut node)
        .unwrap();
    let run = node.trim().strip_suffix("-node").unwrap();
    let paths: Vec<_> = ["peer", "node", "pod"]
        .map(|place| format!("/run/netns/{run}-{place}"))
        .into();
    let inodes = inodes(&paths);
    assert_eq!(inodes.len(), 3);
    assert!(users(&inodes).len() >= 7, "the traffic runs");
    (child, paths, inodes)
}

fn assert_gone(paths: &[String], inodes: &BTreeSet<u64>) {
    wait_until("no process in the namespaces", || users(inodes).is_empty());
    wait_until("no name of the namespaces", || {
        paths.iter().all(|path| !Path::new(path).exists())
    });
}

#[test]
fn a_killed_lab_leaves_nothing() {
    let (mut child, paths, inodes) = running();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_gone(&paths, &inodes);
}

#[test]
fn a_signal_goes_to_the_tracer_and_all_is_cleaned_up_before_the_lab_ends() {
    for (signal, code) in [(libc::SIGINT, 130), (libc::SIGTERM, 143)] {
        let (mut child, paths, inodes) = running();
        lab::process::send(child.id(), signal).unwrap();
        let status = wait_for_end(&mut child, PATIENCE).unwrap();
        assert_eq!(status.code(), Some(code));
        assert!(users(&inodes).is_empty());
        assert!(paths.iter().all(|path| !Path::new(path).exists()));
    }
}

#[test]
fn a_tracer_that_does_not_end_is_killed() {
    let mut command = command_line(
        &["healthy"],
        "trap '' TERM; echo ready; while :; do sleep 0.1; done",
    );
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut String::new())
        .unwrap();
    lab::process::send(child.id(), libc::SIGTERM).unwrap();
    assert_eq!(wait_for_end(&mut child, 2 * PATIENCE).unwrap().code(), Some(137));
}

#[test]
fn the_exit_code_is_the_tracers() {
    assert_eq!(output(&["healthy"], "exit 7").status.code(), Some(7));
}

#[test]
fn late_breaks_the_node_before_the_tracer_starts() {
    let rules = |args: &[&str]| {
        let output = output(args, "ip -n $1 rule list");
        (
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (healthy, told) = rules(&["local-rule-lost"]);
    assert!(
        healthy.contains("lookup local") && !told.contains("break:"),
        "{healthy}{told}"
    );
    let (broken, told) = rules(&["local-rule-lost", "--late"]);
    assert!(
        !broken.contains("lookup local") && told.contains("break: ip -n tl-"),
        "{broken}{told}"
    );
}

#[test]
fn heal_after_mends_the_node() {
    let mended = "until ip -n $1 rule list | grep -q 'lookup local'; do sleep 0.02; done";
    let start = Instant::now();
    let output = output(&["local-rule-lost", "--late", "--heal-after", "0.3"], mended);
    assert_eq!(output.status.code(), Some(0));
    assert!(start.elapsed() >= Duration::from_millis(300));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("heal: ip -n tl-"), "{told}");
    assert!(output.stdout.is_empty());
}

#[test]
fn nothing_is_told_on_a_terminal_while_a_live_screen_is_there() {
    let size = |number| std::num::NonZeroU16::new(number).unwrap();
    let mut terminal = Terminal::open(size(50), size(200)).unwrap();
    let mut command = Command::new(PROGRAM);
    command
        .arg("local-rule-lost")
        .env("TRACER_BIN", lab::tracer::binary().unwrap());
    let mut child = terminal.spawn(&mut command).unwrap();
    // What the break leads to.
    terminal
        .wait_for("the verdict", PATIENCE, |screen| {
            screen.contents().contains("R01")
        })
        .unwrap();
    assert!(!terminal.written().contains("break:"));
    terminal.type_in("q").unwrap();
    assert_eq!(wait_for_end(&mut child, PATIENCE).unwrap().code(), Some(0));
    assert!(terminal.written().contains("break: ip -n tl-"));
}

#[test]
fn ctrl_c_on_the_terminal_ends_the_tracer_and_the_lab_cleans_up() {
    let size = |number| std::num::NonZeroU16::new(number).unwrap();
    let mut terminal = Terminal::open(size(24), size(80)).unwrap();
    let mut child = terminal
        .spawn(&mut command_line(&["healthy"], "echo node=$1.; exec sleep 1000"))
        .unwrap();
    terminal
        .wait_for("name of the node", PATIENCE, |screen| {
            screen.contents().contains("-node.")
        })
        .unwrap();
    let written = terminal.written();
    let node = written
        .split("node=")
        .nth(1)
        .unwrap()
        .split('.')
        .next()
        .unwrap()
        .to_owned();
    assert!(Path::new("/run/netns").join(&node).exists());
    terminal.type_in("\x03").unwrap();
    assert_eq!(wait_for_end(&mut child, PATIENCE).unwrap().code(), Some(130));
    assert!(!Path::new("/run/netns").join(&node).exists());
}

#[test]
fn the_list_names_every_scenario_and_unknown_ones_are_refused() {
    let list = Command::new(PROGRAM).arg("--list").output().unwrap();
    let text = String::from_utf8(list.stdout).unwrap();
    for scenario in scenario::all() {
        assert!(
            text.contains(&format!("{}: {}", scenario.name, scenario.title)),
            "{text}"
        );
    }
    let refused = output(&["silent-pth"], "exit 0");
    assert_eq!(refused.status.code(), Some(2));
    let line = String::from_utf8(refused.stderr).unwrap();
    assert!(
        line.contains("silent-pth; like it: silent-path")
            && line.contains("--list")
            && line.lines().count() == 1,
        "{line}"
    );
}

/// Where tracefs is mounted it cannot be mounted there once more.
#[test]
fn what_tracepoints_tell_is_known_whether_tracefs_is_mounted_or_not() {
    const TRACEFS: &str = "/sys/kernel/tracing";
    let mounted = format!("[ -e {TRACEFS}/events ] || mount -t tracefs tracefs {TRACEFS}");
    let not_mounted = format!("while [ -e {TRACEFS}/events ]; do umount {TRACEFS}; done");
    for state in [mounted, not_mounted] {
        let script = format!("{state}\n exec {PROGRAM} --list");
        let list = Command::new("unshare")
            .args(["--mount", "sh", "-ec", &script])
            .output()
            .unwrap();
        let text = String::from_utf8(list.stdout).unwrap();
        assert!(
            list.status.success() && !text.contains("cannot be read"),
            "{script}: {text}"
        );
    }
}
