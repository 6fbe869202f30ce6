//! What waits for a neighbour when the tracer starts.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::net::UdpSocket;
use std::path::Path;
use std::time::{Duration, Instant};

use lab::folder::Folder;
use lab::lab::{Lab, PATIENCE};
use lab::recorded::{recording, wait_for};
use lab::scenario::Place;
use lab::tracer::{finish, watching};

/// Sends datagrams from the peer to the pod, and waits until the node has them.
fn send(lab: &Lab, from: &str, to: &str, counter: &str, datagrams: u64) {
    let node = lab.netns(Place::Node);
    let before = node.counter(counter).unwrap();
    let socket = lab
        .netns(Place::Peer)
        .enter(|| UdpSocket::bind(from))
        .unwrap()
        .unwrap();
    for _ in 0..datagrams {
        socket.send_to(&[0; 100], to).unwrap();
    }
    let end = Instant::now() + PATIENCE;
    while node.counter(counter).unwrap() < before + datagrams {
        assert!(Instant::now() < end, "{counter} in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_waits_when_the_tracer_starts_is_in_the_books() {
    let (forwarded, dropped) = (7, 5);
    let lab = Lab::build(Path::new(env!("CARGO_BIN_EXE_lab"))).unwrap();
    let (node, pod) = (lab.netns(Place::Node), lab.netns(Place::Pod));
    // Nobody answers, and the node does not give up meanwhile.
    pod.ip_batch("addr del 10.244.0.2/32 dev eth0\naddr del 2001:db8:244::2/128 dev eth0\n")
        .unwrap();
    let patient = ["ipv4", "ipv6"].map(|family| format!("net.{family}.neigh.lxc1.mcast_solicit"));
    node.set(&patient.each_ref().map(|sysctl| (sysctl.as_str(), "100")))
        .unwrap();
    send(&lab, "0.0.0.0:0", "10.244.0.2:9", "IpForwDatagrams", forwarded);
    send(
        &lab,
        "[::]:0",
        "[2001:db8:244::2]:9",
        "Ip6OutForwDatagrams",
        dropped,
    );

    let folder = Folder::new().unwrap();
    let file = folder.file("late.pcapng");
    let mut tracer = watching(recording(&file).unwrap(), &lab).spawn().unwrap();
    let waits = |wanted: u64| {
        move |body: &serde_json::Value| body["type"] == "unresolved" && body["packets"] == wanted
    };
    wait_for(&file, &mut tracer, "what waits over IPv4", waits(forwarded)).unwrap();
    wait_for(&file, &mut tracer, "what waits over IPv6", waits(dropped)).unwrap();
    // One is found, the other one is given up.
    node.ip_batch(
        "neigh replace 10.244.0.2 dev lxc1 lladdr 02:00:0a:f4:00:02 nud permanent\nneigh del 2001:db8:244::2 dev lxc1\n",
    )
    .unwrap();
    wait_for(&file, &mut tracer, "that nothing waits", waits(0)).unwrap();
    lab::process::send(tracer.id(), libc::SIGINT).unwrap();
    let report = finish(&mut tracer).unwrap().report().unwrap();

    let ledger = &report["ledger"];
    assert_eq!(ledger["forwarded"], forwarded, "{ledger:#}");
    assert_eq!(ledger["queued"], 0, "{ledger:#}");
    assert_eq!(ledger["unexplained"], 0, "{ledger:#}");
    let drops = report["drops"].as_array().unwrap().iter();
    let here: u64 = drops
        .filter(|row| row["location"].as_str().unwrap().starts_with("neigh_invalidate+"))
        .map(|row| row["packets"].as_u64().unwrap())
        .sum();
    assert_eq!(here, dropped, "{report:#}");
    assert_eq!(report["bytes"]["rest"], 0, "{:#}", report["bytes"]);
}
