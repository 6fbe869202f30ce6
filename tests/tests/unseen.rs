//! What is seen of packets that the kernel keeps from BPF programs: see `lab::unseen`. In a namespace of processes nothing is
//! watched, so there is nothing to test.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::net::UdpSocket;
use std::path::Path;

use lab::tracefs::Tracefs;
use lab::unseen::{Watch, is_first_namespace};

/// The only test here: the threads of a process that is watched must not end meanwhile.
#[test]
fn packets_on_top_of_a_process_are_counted_by_programs_and_by_events() {
    const SENT: u64 = 100;
    let program = Path::new(env!("CARGO_BIN_EXE_lab"));
    if !is_first_namespace() {
        assert!(Watch::share(program).is_err());
        return;
    }
    let own = Watch::of_process(std::process::id(), program).unwrap();
    let [receiver, sender] = [0, 1].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    let to = receiver.local_addr().unwrap();
    for _ in 0..SENT {
        // Over loopback it arrives, in a soft interrupt, before this returns.
        sender.send_to(b"x", to).unwrap();
    }
    let told = own.told().unwrap();
    assert!(told >= SENT, "{told}");
    assert_eq!(own.unseen().unwrap(), 0, "{told} told");

    // All who watch process 1 share one, and the last leaves nothing behind.
    let shared = [0, 1].map(|_| Watch::share(program).unwrap());
    assert_eq!(instances(), 2);
    drop(own);
    drop(shared);
    assert_eq!(instances(), 0);
}

/// Those of this process.
fn instances() -> usize {
    let tracefs = Tracefs::mount().unwrap();
    let of_this = format!("tl-{}-", std::process::id());
    let all = std::fs::read_dir(tracefs.path("instances")).unwrap();
    let names = all.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(&of_this)).count()
}
