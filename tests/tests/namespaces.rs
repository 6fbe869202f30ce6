//! Many network namespaces at once, which come and go.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::net::UdpSocket;
use std::path::Path;
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use lab::folder::Folder;
use lab::lab::{Lab, PATIENCE, UPLINK};
use lab::netns::Netns;
use lab::recorded::{record_all, record_in, recorded, wait_for, wait_for_round};
use lab::scenario::{self, Place};
use lab::tracer::{command, finish, run};
use serde_json::Value;

/// Held by whoever makes namespaces; alone by the test that waits for one with a certain number.
static NUMBERS: RwLock<()> = RwLock::new(());

/// Two namespaces with a cable between them, made as a container's runtime does: `10.98.0.1` and `10.98.0.2`.
struct Pods(Netns, Netns);

impl Pods {
    fn create() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let create = |which| Netns::create(format!("tl-{}-{number}-{which}", std::process::id())).unwrap();
        let pods = Self(create("late"), create("peer"));
        let far = pods.1.name();
        // Where both have the same index, the kernel may wait a second before it sees that the carrier is there.
        pods.0
            .ip(&format!(
                "link add late0 index 10 type veth peer name peer0 netns {far}"
            ))
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

#[test]
fn namespaces_that_come_are_watched_and_those_that_go_do_no_harm() {
    let _guard = NUMBERS.read().unwrap_or_else(PoisonError::into_inner);
    let folder = Folder::new().unwrap();
    let file = folder.file("all.pcapng");
    let mut child = record_all(&file).unwrap();
    wait_for_round(&file, &mut child).unwrap();

    let pods = Pods::create();
    let name = pods.0.name().to_owned();
    let netns = lab::netns::inode(pods.0.path()).unwrap();
    let is_late =
        |body: &Value| body["type"] == "namespace" && body["name"] == *name && body["inode"] == netns;
    wait_for(&file, &mut child, "the namespace", is_late).unwrap();
    wait_for(&file, &mut child, "its uplink", |body| {
        body["type"] == "device"
            && body["netns"] == netns
            && body["name"] == "late0"
            && body["uplink"] == true
    })
    .unwrap();
    let service = pods
        .0
        .enter(|| UdpSocket::bind("10.98.0.1:4000").unwrap())
        .unwrap();
    wait_for(&file, &mut child, "its socket and whose it is", |body| {
        body["type"] == "socket"
            && body["flow"]["netns"] == netns
            && body["flow"]["local_port"] == 4000
            && body["owner"]["pid"] == std::process::id()
    })
    .unwrap();
    let client = pods.1.enter(|| UdpSocket::bind("10.98.0.2:0").unwrap()).unwrap();
    send_until_read(&client, &service, "10.98.0.1:4000");
    // Nobody has this port.
    client.send_to(b"lost", "10.98.0.1:4001").unwrap();
    wait_for(&file, &mut child, "the drop", |body| {
        let key = &body["key"];
        body["type"] == "entry"
            && key["fate"] == "dropped"
            && key["netns"] == netns
            && key["protocol"] == "udp"
    })
    .unwrap();

    let brief = Netns::create(format!("tl-{}-brief", std::process::id())).unwrap();
    wait_for(&file, &mut child, "one that will go", |body| {
        body["type"] == "namespace" && body["name"] == *brief.name()
    })
    .unwrap();
    drop(brief);
    let ticks = |file| {
        recorded(file)
            .unwrap()
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

    let args = ["diagnose", "--trace", file.to_str().unwrap(), "--format", "json"];
    let replayed = run(&mut command(&args).unwrap(), |_| Ok(())).unwrap();
    assert_eq!(replayed.report().unwrap(), report, "a replay gives the same");
}

/// Sends a datagram until one is read: a device that was set up just now may lose the first.
fn send_until_read(client: &UdpSocket, service: &UdpSocket, to: &str) {
    service
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let end = Instant::now() + PATIENCE;
    loop {
        client.send_to(b"served", to).unwrap();
        if service.recv(&mut [0; 16]).is_ok() {
            return;
        }
        assert!(Instant::now() < end, "nothing is read in {PATIENCE:?}");
    }
}

/// What the tracer says with these arguments in a run that lost nothing. With `--netns all` it counts what other tests
/// do, too, and some of them send more than there is room for.
fn report_without_losses(args: &[&str]) -> Value {
    let mut said = Vec::new();
    for _ in 0..5 {
        let report = run(&mut command(args).unwrap(), |_| Ok(()))
            .unwrap()
            .report()
            .unwrap();
        let losses = &report["losses"];
        if ["map_full", "flows_full", "runs_skipped"]
            .iter()
            .all(|loss| losses[loss] == 0)
        {
            return report;
        }
        said.push(losses.clone());
    }
    panic!("no run without losses: {said:?}");
}

/// The row of a namespace in a report.
fn row<'a>(report: &'a Value, netns: &Netns) -> &'a Value {
    let rows = report["namespaces"].as_array().unwrap();
    let found = rows.iter().find(|row| row["name"] == *netns.name());
    found.unwrap_or_else(|| panic!("no row of {}: {rows:#?}", netns.name()))
}

/// The columns add up, and at most one in 200 is unexplained, or one that was on its way.
fn assert_balance(ledger: &Value) {
    let column = |name: &str| ledger[name].as_i64().unwrap();
    let parts = [
        "delivered",
        "forwarded",
        "answered",
        "dropped",
        "queued",
        "unexplained",
    ];
    let sum: i64 = parts.into_iter().map(column).sum();
    assert!(column("arrived") > 100, "{ledger}");
    assert_eq!(column("arrived"), sum, "{ledger}");
    let most = (column("arrived") as u64).div_ceil(200);
    assert!(column("unexplained").unsigned_abs() <= most, "{ledger}");
}

#[test]
fn the_nodes_books_and_the_pods_balance_and_what_is_forwarded_arrives() {
    let _guard = NUMBERS.read().unwrap_or_else(PoisonError::into_inner);
    let healthy = scenario::find("healthy").unwrap();
    let lab = Lab::of(healthy, Path::new(env!("CARGO_BIN_EXE_lab"))).unwrap();
    let [node, pod] = [Place::Node, Place::Pod].map(|place| lab.netns(place));
    let uplink = format!("{}:{UPLINK}", node.name());
    let args = [
        "diagnose", "--netns", "all", "--uplink", &uplink, "--for", "6s", "--format", "json",
    ];
    let report = report_without_losses(&args);
    let (of_node, of_pod) = (row(&report, node), row(&report, pod));
    assert_eq!(
        (&of_node["role"], &of_pod["role"]),
        (&"node".into(), &"pod".into()),
        "the pod's device is called as the node's uplink, and is none"
    );
    // This machine has uplinks of its own, maybe.
    let rows = report["namespaces"].as_array().unwrap();
    let nodes = rows.iter().filter(|row| row["role"] == "node");
    let arrived: u64 = nodes.map(|row| row["ledger"]["arrived"].as_u64().unwrap()).sum();
    assert_eq!(report["ledger"]["arrived"], arrived);
    assert_balance(&of_node["ledger"]);
    assert_balance(&of_pod["ledger"]);
    assert!(
        of_pod["cgroup"].as_str().unwrap().starts_with('/'),
        "the process of the traffic: {of_pod}"
    );

    let bytes = &of_node["bytes"];
    assert!(
        bytes["forwarded"].as_u64() > Some(0) && bytes["arrived"].as_u64() > bytes["forwarded"].as_u64(),
        "{bytes}"
    );
    let followed = |name: &str| of_pod["followed"][name].as_u64().unwrap();
    assert!(followed("forwarded") > 100, "{of_pod:#}");
    assert_eq!(followed("lost_on_the_way"), 0, "{of_pod:#}");
    // The node asks for the pod's addresses itself, and nothing else.
    assert!(followed("arrived") - followed("forwarded") <= 8, "{of_pod:#}");
}

#[test]
fn a_namespace_that_is_made_and_deleted_while_it_is_watched_is_told_as_ended() {
    let _guard = NUMBERS.read().unwrap_or_else(PoisonError::into_inner);
    let folder = Folder::new().unwrap();
    let file = folder.file("brief.pcapng");
    let mut child = record_all(&file).unwrap();
    let pods = Pods::create();
    let name = pods.0.name().to_owned();
    let netns = lab::netns::inode(pods.0.path()).unwrap();
    wait_for(&file, &mut child, "its uplink and the other end", |body| {
        body["type"] == "device" && body["netns"] == netns && !body["peer"]["netns"].is_null()
    })
    .unwrap();
    let [here, there] =
        [&pods.0, &pods.1].map(|netns| netns.enter(|| UdpSocket::bind("0.0.0.0:4000").unwrap()).unwrap());
    send_until_read(&there, &here, "10.98.0.1:4000");
    wait_for_arrival(&file, &mut child, netns);
    drop((here, there, pods));
    wait_for(&file, &mut child, "its end", |body| {
        body["type"] == "namespace_ended" && body["inode"] == netns
    })
    .unwrap();
    lab::process::send(child.id(), libc::SIGINT).unwrap();
    let report = finish(&mut child).unwrap().report().unwrap();
    let rows = report["namespaces"].as_array().unwrap();
    let row = rows
        .iter()
        .find(|row| row["name"] == name)
        .unwrap_or_else(|| panic!("{rows:#?}"));
    assert!(row["ended"].is_string(), "{row:#}");
    assert!(row["ledger"]["arrived"].as_u64() > Some(0), "{row:#}");
    let of_ended = |flow: &Value| flow["netns"] == format!("{name}:{netns}");
    assert!(!report["starved"].as_array().unwrap().iter().any(of_ended));
}

/// Waits until something that arrived in this namespace is in its books.
fn wait_for_arrival(file: &Path, child: &mut Child, netns: u64) {
    wait_for(file, child, "what arrived", |body| {
        body["type"] == "entry" && body["key"]["netns"] == netns && body["key"]["fate"] == "arrived"
    })
    .unwrap();
}

/// Packets that arrived, by the books of this namespace.
fn arrived(file: &Path, netns: u64) -> u64 {
    let mut lines = std::collections::BTreeMap::new();
    for body in recorded(file).unwrap() {
        let key = &body["key"];
        if body["type"] == "entry" && key["netns"] == netns && key["fate"] == "arrived" {
            lines.insert(key.to_string(), body["packets"].as_u64().unwrap());
        }
    }
    lines.values().sum()
}

/// The kernel gives the number of a namespace that has ended to the next one, some time after.
#[test]
fn what_happens_in_the_next_one_with_its_number_is_nothing_of_the_one_that_was_named() {
    let _guard = NUMBERS.write().unwrap_or_else(PoisonError::into_inner);
    let folder = Folder::new().unwrap();
    let file = folder.file("ended.pcapng");
    let Pods(named, peer) = Pods::create();
    let netns = lab::netns::inode(named.path()).unwrap();
    let mut child = record_in(&file, named.name()).unwrap();
    let client = peer.enter(|| UdpSocket::bind("10.98.0.2:0").unwrap()).unwrap();
    {
        let service = named
            .enter(|| UdpSocket::bind("10.98.0.1:4000").unwrap())
            .unwrap();
        send_until_read(&client, &service, "10.98.0.1:4000");
    }
    wait_for_arrival(&file, &mut child, netns);
    let name = named.name().to_owned();
    drop(named);
    wait_for(&file, &mut child, "its end", |body| {
        body["type"] == "namespace_ended" && body["inode"] == netns
    })
    .unwrap();

    let next = Netns::with_inode(&format!("{name}-next"), netns, PATIENCE).unwrap();
    let before = arrived(&file, netns);
    assert!(before > 0);
    let far = peer.name();
    next.ip(&format!(
        "link add late0 index 10 type veth peer name peer0 netns {far}"
    ))
    .unwrap();
    next.ip("address add 10.98.0.1/24 dev late0").unwrap();
    next.ip("link set late0 up").unwrap();
    peer.ip("address add 10.98.0.2/24 dev peer0").unwrap();
    peer.ip("link set peer0 up").unwrap();
    let service = next.enter(|| UdpSocket::bind("10.98.0.1:4000").unwrap()).unwrap();
    send_until_read(&client, &service, "10.98.0.1:4000");
    for _ in 0..100 {
        // Nobody has this port.
        client.send_to(b"lost", "10.98.0.1:4001").unwrap();
    }
    let ticks = |file| {
        let ticks = recorded(file).unwrap();
        ticks.iter().filter(|body| body["type"] == "tick").count()
    };
    let (seen, end) = (ticks(&file), Instant::now() + PATIENCE);
    while ticks(&file) < seen + 3 {
        assert!(Instant::now() < end, "it goes on no longer");
    }
    assert_eq!(arrived(&file, netns), before, "what came is of another namespace");
    lab::process::send(child.id(), libc::SIGINT).unwrap();
    let ended = finish(&mut child).unwrap();
    let report = ended.report().unwrap();
    assert_eq!(report["where"], "unknown", "{report:#}");
    assert_eq!(report["namespaces_watched"], 0);
    let drops = report["drops"].as_array().unwrap();
    assert!(!drops.iter().any(|drop| drop["protocol"] == "udp"), "{drops:#?}");
    assert_eq!(ended.status.code(), Some(2), "whether it is healthy is not known");
    assert!(ended.stderr.contains("has ended"), "{}", ended.stderr);
}

#[test]
fn a_namespace_whose_name_is_taken_away_is_watched_as_long_as_somebody_lives_in_it() {
    let _guard = NUMBERS.read().unwrap_or_else(PoisonError::into_inner);
    let folder = Folder::new().unwrap();
    let file = folder.file("unnamed.pcapng");
    let Pods(named, peer) = Pods::create();
    let netns = lab::netns::inode(named.path()).unwrap();
    let mut child = record_in(&file, named.name()).unwrap();
    let mut lives = std::process::Command::new("sleep");
    lives.arg("100");
    lab::process::bind(&mut lives, libc::SIGKILL, Some(named.open().unwrap()));
    let mut lives = lives.spawn().unwrap();
    let service = named
        .enter(|| UdpSocket::bind("10.98.0.1:4000").unwrap())
        .unwrap();
    let client = peer.enter(|| UdpSocket::bind("10.98.0.2:0").unwrap()).unwrap();
    send_until_read(&client, &service, "10.98.0.1:4000");
    wait_for_arrival(&file, &mut child, netns);
    drop(named);
    let (before, end) = (arrived(&file, netns), Instant::now() + PATIENCE);
    while arrived(&file, netns) < before + 10 {
        assert!(Instant::now() < end, "what arrives there is counted no longer");
        send_until_read(&client, &service, "10.98.0.1:4000");
    }
    lab::process::send(child.id(), libc::SIGINT).unwrap();
    let ended = finish(&mut child).unwrap();
    lives.kill().unwrap();
    lives.wait().unwrap();
    let report = ended.report().unwrap();
    assert_eq!(report["where"], "healthy", "{report:#}");
    assert_eq!(report["namespaces_watched"], 1);
    let said = recorded(&file).unwrap();
    assert!(!said.iter().any(|body| body["type"] == "namespace_ended"));
}
