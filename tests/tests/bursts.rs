//! Very much changes at once: how it ends is known, and packets are counted as ever.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::net::UdpSocket;
use std::path::Path;
use std::time::{Duration, Instant};

use lab::folder::Folder;
use lab::lab::{Lab, PATIENCE};
use lab::recorded::{recording, wait_for, wait_for_round};
use lab::scenario::Place;
use lab::tracer::{command, finish, run, watching};

const ROUTES: usize = 10_000;

/// The last one stays.
fn batch() -> String {
    let route = |number: usize| format!("10.{}.{}.0/24", 64 + number / 256, number % 256);
    let added = (0..ROUTES).map(|number| format!("route add {} dev lo\n", route(number)));
    let deleted = (0..ROUTES - 1).map(|number| format!("route del {} dev lo\n", route(number)));
    let end = "rule add pref 7 blackhole\n".to_owned();
    added.chain(deleted).chain([end]).collect()
}

/// The longest time from one round of the tracer to the next, by its recording.
fn longest_round(file: &Path) -> Duration {
    let file = file.to_string_lossy();
    let ended = run(
        &mut command(&["export", &file, "--format", "jsonl"]).unwrap(),
        |_| Ok(()),
    );
    let ended = ended.unwrap();
    let rounds = ended.stdout.lines().filter_map(|line| {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        (event["body"]["type"] == "tick").then(|| event["at"].as_u64().unwrap())
    });
    let rounds: Vec<u64> = rounds.collect();
    let longest = rounds.windows(2).map(|pair| pair[1] - pair[0]).max();
    Duration::from_nanos(longest.unwrap())
}

#[test]
fn ten_thousand_routes_come_and_go_while_packets_are_counted() {
    let lab = Lab::build(Path::new(env!("CARGO_BIN_EXE_lab"))).unwrap();
    let (node, peer) = (lab.netns(Place::Node), lab.netns(Place::Peer));
    let folder = Folder::new().unwrap();
    let file = folder.file("burst.pcapng");
    let mut tracer = watching(recording(&file).unwrap(), &lab).spawn().unwrap();
    wait_for_round(&file, &mut tracer).unwrap();
    // Nobody listens: each is dropped, and counted twice.
    let socket = peer.enter(|| UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
    let before = node.counter("UdpNoPorts").unwrap();
    let begin = Instant::now();
    let (sent, took) = std::thread::scope(|scope| {
        let routes = scope.spawn(|| {
            node.ip_batch(&batch()).unwrap();
            begin.elapsed()
        });
        let mut sent = 0;
        while !routes.is_finished() {
            socket.send_to(&[0; 100], "10.10.0.2:9").unwrap();
            sent += 1;
            std::thread::sleep(Duration::from_micros(200));
        }
        (sent, routes.join().unwrap())
    });
    while node.counter("UdpNoPorts").unwrap() < before + sent {
        assert!(begin.elapsed() < took + PATIENCE, "not all have arrived");
        std::thread::sleep(Duration::from_millis(1));
    }
    wait_for(&file, &mut tracer, "the end of the burst", |body| {
        body["type"] == "setting" && body["thing"]["kind"] == "rule" && body["thing"]["priority"] == 7
    })
    .unwrap();
    lab::process::send(tracer.id(), libc::SIGINT).unwrap();
    let report = finish(&mut tracer).unwrap().report().unwrap();

    let differences = report["differences"].as_array().unwrap().iter();
    let routes: Vec<&str> = differences
        .filter_map(|difference| difference["object"].as_str())
        .filter(|object| object.starts_with("route "))
        .collect();
    let last = ROUTES - 1;
    assert_eq!(
        routes,
        [format!("route 10.{}.{}.0/24", 64 + last / 256, last % 256)]
    );
    let drops = report["drops"].as_array().unwrap().iter();
    let counted: u64 = drops
        .filter(|row| row["reason"] == "NO_SOCKET")
        .map(|row| row["packets"].as_u64().unwrap())
        .sum();
    assert_eq!(counted, sent, "{:#}", report["drops"]);
    assert_eq!(report["ledger"]["unexplained"], 0, "{:#}", report["ledger"]);
    let longest = longest_round(&file);
    println!(
        "{ROUTES} routes added and deleted in {took:?}, {sent} datagrams meanwhile, the longest round {longest:?}"
    );
    assert!(longest < PATIENCE, "packets were not counted for {longest:?}");
}
