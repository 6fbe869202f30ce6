//! Many network namespaces at once, which come and go.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::net::UdpSocket;
use std::path::Path;
use std::process::Child;
use std::time::Instant;

use lab::folder::Folder;
use lab::lab::PATIENCE;
use lab::netns::Netns;
use lab::tracer::{command, finish, run, wait_until_it_watches};
use serde_json::Value;

/// Two namespaces with a cable between them, made as a container's runtime does: `10.98.0.1` and `10.98.0.2`.
struct Pods(Netns, Netns);

impl Pods {
    fn create() -> Self {
        let create = |which| Netns::create(format!("tl-{}-{which}", std::process::id())).unwrap();
        let pods = Self(create("late"), create("peer"));
        let far = pods.1.name();
        pods.0
            .ip(&format!("link add late0 type veth peer name peer0 netns {far}"))
            .unwrap();
        for (netns, device, address) in [(&pods.0, "late0", 1), (&pods.1, "peer0", 2)] {
            netns
                .ip(&format!("address add 10.98.0.{address}/24 dev {device}"))
                .unwrap();
            netns.ip(&format!("link set {device} up")).unwrap();
        }
        pods
    }
}

/// The events that were recorded so far.
fn recorded(file: &Path) -> Vec<Value> {
    let args = ["export", file.to_str().unwrap(), "--format", "jsonl"];
    let ended = run(&mut command(&args).unwrap(), |_| Ok(())).unwrap();
    let events = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    events.map(|event: Value| event["body"].clone()).collect()
}

/// Waits until an event is recorded.
fn wait_for(file: &Path, child: &mut Child, what: &str, wanted: impl Fn(&Value) -> bool) {
    let end = Instant::now() + PATIENCE;
    while !recorded(file).iter().any(&wanted) {
        assert!(child.try_wait().unwrap().is_none(), "the tracer has ended");
        assert!(Instant::now() < end, "not told in {PATIENCE:?}: {what}");
    }
}

#[test]
fn namespaces_that_come_are_watched_and_those_that_go_do_no_harm() {
    let folder = Folder::new().unwrap();
    let file = folder.file("all.pcapng");
    let path = file.to_str().unwrap();
    let args = [
        "diagnose", "--netns", "all", "--for", "100s", "--format", "json", "--record", path,
    ];
    let mut child = command(&args).unwrap().spawn().unwrap();
    wait_until_it_watches(&mut child).unwrap();
    wait_for(&file, &mut child, "the first round", |body| {
        body["type"] == "tick"
    });

    let pods = Pods::create();
    let name = pods.0.name().to_owned();
    let netns = lab::netns::inode(pods.0.path()).unwrap();
    let is_late =
        |body: &Value| body["type"] == "namespace" && body["name"] == *name && body["inode"] == netns;
    wait_for(&file, &mut child, "the namespace", is_late);
    wait_for(&file, &mut child, "its uplink", |body| {
        body["type"] == "device"
            && body["netns"] == netns
            && body["name"] == "late0"
            && body["uplink"] == true
    });
    let service = pods
        .0
        .enter(|| UdpSocket::bind("10.98.0.1:4000").unwrap())
        .unwrap();
    wait_for(&file, &mut child, "its socket and whose it is", |body| {
        body["type"] == "socket"
            && body["flow"]["netns"] == netns
            && body["flow"]["local_port"] == 4000
            && body["owner"]["pid"] == std::process::id()
    });
    let client = pods.1.enter(|| UdpSocket::bind("10.98.0.2:0").unwrap()).unwrap();
    client.send_to(b"served", "10.98.0.1:4000").unwrap();
    assert_eq!(service.recv(&mut [0; 16]).unwrap(), 6);
    // Nobody has this port.
    client.send_to(b"lost", "10.98.0.1:4001").unwrap();
    wait_for(&file, &mut child, "the drop", |body| {
        let key = &body["key"];
        body["type"] == "entry"
            && key["fate"] == "dropped"
            && key["netns"] == netns
            && key["protocol"] == "udp"
    });

    let brief = Netns::create(format!("tl-{}-brief", std::process::id())).unwrap();
    wait_for(&file, &mut child, "one that will go", |body| {
        body["type"] == "namespace" && body["name"] == *brief.name()
    });
    drop(brief);
    let ticks = |file| {
        recorded(file)
            .iter()
            .filter(|body| body["type"] == "tick")
            .count()
    };
    let (before, end) = (ticks(&file), Instant::now() + PATIENCE);
    // Past the next look at namespaces.
    while ticks(&file) < before + 9 {
        assert!(Instant::now() < end, "it goes on no longer");
    }
    // The others are still there: the kernel gives the inode of one that has ended to the next.
    lab::process::send(child.id(), libc::SIGINT).unwrap();
    let ended = finish(&mut child).unwrap();
    let report = ended.report().unwrap();
    // A machine's policy may hide some processes: that is told then.
    let all = report["capabilities"].as_array().unwrap();
    assert!(all.iter().any(|one| one["name"] == "namespaces"), "{report:#}");
    let drops = report["drops"].as_array().unwrap();
    let lost = |drop: &&Value| drop["netns"] == format!("{name}:{netns}") && drop["protocol"] == "udp";
    let lost = drops.iter().find(lost);
    let lost = lost.unwrap_or_else(|| panic!("no drop by the name of its namespace: {report:#}"));
    assert_eq!(lost["device"], "late0");

    let args = ["diagnose", "--trace", path, "--format", "json"];
    let replayed = run(&mut command(&args).unwrap(), |_| Ok(())).unwrap();
    assert_eq!(replayed.report().unwrap(), report, "a replay gives the same");
}
