//! `cargo xtask` where nothing can be reached: what is built needs no network.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::process::{Command, Output, Stdio};

use lab::netns::Netns;
use serde_json::Value;

/// A namespace without a route, in which `lo` is down.
fn offline(which: &str) -> Netns {
    let netns = Netns::create(format!("tl-{}-{which}", std::process::id())).unwrap();
    netns.ip("link add eth0 type veth peer name far0").unwrap();
    netns
}

/// A chore that is run there.
fn xtask(netns: &Netns, args: &[&str]) -> Output {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .arg("xtask")
        .args(args)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdin(Stdio::null());
    lab::process::bind(&mut cargo, libc::SIGKILL, Some(netns.open().unwrap()));
    cargo.output().unwrap()
}

#[test]
fn what_is_built_runs_without_a_network() {
    let netns = offline("run");
    let run = xtask(
        &netns,
        &[
            "run", "--", "diagnose", "--for", "1s", "--format", "json", "--uplink", "eth0",
        ],
    );
    let stderr = String::from_utf8_lossy(&run.stderr);
    let report: Value = serde_json::from_slice(&run.stdout).unwrap_or_else(|_| panic!("no report: {stderr}"));
    assert_eq!(report["uplinks"], serde_json::json!(["eth0"]));
    // Nothing arrives there: this is the tracer's own answer.
    assert_eq!(
        (run.status.code(), &report["where"]),
        (Some(2), &"unknown".into()),
        "{stderr}"
    );
}

/// All that it would install is there since the first time.
#[test]
fn a_second_setup_installs_nothing() {
    let netns = offline("setup");
    let first = xtask(&netns, &["setup", "--tests"]);
    let told = String::from_utf8_lossy(&first.stderr);
    assert!(first.status.success(), "{told}");
    let lines: Vec<_> = told.lines().filter(|line| line.starts_with("xtask: ")).collect();
    let starts = [
        "xtask: BPF compiler: ",
        "xtask: BPF linker: ",
        "xtask: test programs: ",
    ];
    assert_eq!(lines.len(), starts.len(), "{told}");
    for (line, start) in lines.iter().zip(starts) {
        assert!(line.starts_with(start), "{line}");
    }
}
