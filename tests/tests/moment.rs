//! Counting begins at one moment, for all programs, and ends at one; and what was counted until then is told.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::path::Path;

use lab::folder::Folder;
use lab::lab::Lab;
use lab::netns::Netns;
use lab::recorded::{record_all, recorded, wait_for_round};
use lab::scenario::{Actor, Place, Step};
use lab::tracer::{finish, on_node, run};
use lab::traffic::Role;

/// Packets that nobody wants, as fast as one core can send: thousands come while programs are attached one after the
/// other.
const STORM: Actor = Actor {
    name: "storm",
    place: Place::Peer,
    role: Role::Storm,
    addresses: &["10.10.0.2:9"],
};

/// Frames of many types, each of which has a line for its arrival and one for its end. The books are nearly full of them, and
/// take long to read: thousands come while that is done, between the reading of one line and of the other.
const KEYS: Actor = Actor {
    name: "keys",
    place: Place::Peer,
    role: Role::FewKeys,
    addresses: &["node0"],
};

#[test]
fn of_a_storm_no_more_than_a_packet_for_each_cpu_is_cut_in_two() {
    assert_none_is_cut_in_two(STORM);
}

#[test]
fn while_full_books_are_read_no_more_than_a_packet_for_each_cpu_is_cut_in_two() {
    assert_none_is_cut_in_two(KEYS);
}

/// Each packet of this traffic arrives and ends in one go, so only what a CPU is at when counting begins or ends can have
/// one of both outside.
fn assert_none_is_cut_in_two(traffic: Actor) {
    let mut lab = Lab::build(Path::new(env!("CARGO_BIN_EXE_lab"))).unwrap();
    lab.apply(&[Step::Start(traffic)]).unwrap();
    lab.wait_for(traffic.name, |counts| {
        counts.values().all(|target| target.done() > 0)
    })
    .unwrap();
    // SAFETY: it takes and returns a number.
    let cpus = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    for _ in 0..3 {
        let args = ["diagnose", "--for", "1s", "--format", "json"];
        let report = run(&mut on_node(&lab, &args).unwrap(), |_| Ok(()))
            .unwrap()
            .report()
            .unwrap();
        let ledger = &report["ledger"];
        assert!(ledger["arrived"].as_u64().unwrap() > 1000, "{ledger}");
        let unexplained = ledger["unexplained"].as_i64().unwrap();
        assert!(unexplained.abs() <= cpus, "{ledger} {}", report["losses"]);
    }
}

/// More than have their turn in one round, and in two.
const BUSY: usize = 40;

#[test]
fn the_last_round_reads_the_counters_of_all_namespaces_that_are_busy() {
    let busy: Vec<Netns> = (0..BUSY)
        .map(|number| {
            let netns = Netns::create(format!("tl-{}-busy{number}", std::process::id())).unwrap();
            netns.ip("link set lo up").unwrap();
            netns
        })
        .collect();
    let sockets: Vec<UdpSocket> = busy
        .iter()
        .map(|netns| netns.enter(|| UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap())
        .collect();
    let folder = Folder::new().unwrap();
    let file = folder.file("busy.pcapng");
    let mut child = record_all(&file).unwrap();
    wait_for_round(&file, &mut child).unwrap();
    for socket in &sockets {
        // Nobody has this port. A datagram sent before is refused by now, which is told here.
        let _ = socket.send_to(b"lost", "127.0.0.1:9");
    }
    lab::process::send(child.id(), libc::SIGINT).unwrap();
    finish(&mut child).unwrap();
    let told: BTreeSet<u64> = recorded(&file)
        .unwrap()
        .iter()
        .filter(|body| body["type"] == "counter" && body["key"]["name"] == "UdpNoPorts")
        .filter_map(|body| body["key"]["netns"].as_u64())
        .collect();
    let missing: Vec<&str> = busy
        .iter()
        .filter(|netns| !told.contains(&lab::netns::inode(netns.path()).unwrap()))
        .map(Netns::name)
        .collect();
    assert!(missing.is_empty(), "not told: {missing:?}");
}
