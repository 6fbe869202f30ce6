//! What is seen of packets that the kernel keeps from BPF programs: see `lab::unseen`. In a namespace of processes nothing is
//! watched, so there is nothing to test.

use std::path::Path;
use std::time::Duration;

use lab::bpf::Counter;
use lab::unseen::{Watch, is_first_namespace};

const PROGRAM: &str = env!("CARGO_BIN_EXE_lab");

/// Who sleeps is switched away from.
#[test]
fn a_program_counts_what_happens_on_top_of_its_process() {
    if !is_first_namespace() {
        assert!(Watch::share(Path::new(PROGRAM)).is_err());
        return;
    }
    let counter = Counter::start(std::process::id(), &[c"sched_switch"]).unwrap();
    let before = counter.read().unwrap();
    std::thread::sleep(Duration::from_millis(1));
    assert!(counter.read().unwrap() > before);
    let nobody = Counter::start(i32::MAX as u32, &[c"sched_switch"]).unwrap();
    std::thread::sleep(Duration::from_millis(1));
    assert_eq!(nobody.read().unwrap(), 0);
}

/// All who watch at a time share one, and the last leaves nothing behind.
#[test]
fn a_watch_counts_and_goes() {
    if !is_first_namespace() {
        assert!(Watch::share(Path::new(PROGRAM)).is_err());
        return;
    }
    let instances = || {
        let mount = "[ -e /sys/kernel/tracing/events ] || mount -t tracefs tracefs /sys/kernel/tracing";
        let list = format!("{mount} && ls /sys/kernel/tracing/instances");
        let listed = std::process::Command::new("unshare")
            .args(["--mount", "sh", "-c", &list])
            .output()
            .unwrap();
        assert!(listed.status.success(), "{listed:?}");
        let of_this = format!("tl-{}-", std::process::id());
        let names = String::from_utf8(listed.stdout).unwrap();
        names.lines().filter(|name| name.starts_with(&of_this)).count()
    };
    let watches = [0, 1].map(|_| Watch::share(Path::new(PROGRAM)).unwrap());
    assert_eq!(instances(), 1);
    let [before, after] = [0, 1].map(|_| watches[0].unseen().unwrap());
    assert!(before <= after, "{before}, then {after}");
    drop(watches);
    assert_eq!(instances(), 0);
}
