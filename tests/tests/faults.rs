//! What goes wrong around the tracer: it says so in one line and leaves nothing behind.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lab::folder::Folder;
use lab::lab::{Lab, PATIENCE};
use lab::netns::Netns;
use lab::scenario;
use lab::terminal::wait_for_end;
use lab::tracer::{Ended, binary, command, finish, on_node, run};

const PROGRAM: &str = env!("CARGO_BIN_EXE_lab");

/// A node without traffic.
fn bare() -> Lab {
    Lab::build(Path::new(PROGRAM)).unwrap()
}

fn busy() -> Lab {
    Lab::of(scenario::find("no-socket").unwrap(), Path::new(PROGRAM)).unwrap()
}

/// It could not run, and says why in one line that names `thing`.
fn assert_refused(ended: &Ended, thing: &str) {
    assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
    assert_eq!(ended.stderr.trim_end().lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains(thing), "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

fn ended(mut command: Command) -> Ended {
    run(&mut command, || Ok(())).unwrap()
}

#[test]
fn an_unknown_namespace_is_named() {
    let name = format!("tl-{}-nowhere", std::process::id());
    assert_refused(
        &ended(command(&["diagnose", "--for", "1s", "--netns", &name]).unwrap()),
        &name,
    );
    let path = format!("/run/netns/{name}");
    assert_refused(
        &ended(command(&["diagnose", "--for", "1s", "--netns", &path]).unwrap()),
        &path,
    );
}

#[test]
fn a_file_that_is_no_namespace_is_named() {
    let args = ["diagnose", "--for", "1s", "--netns", "/etc/hostname"];
    assert_refused(&ended(command(&args).unwrap()), "/etc/hostname");
}

#[test]
fn an_unknown_device_is_named() {
    let lab = bare();
    assert_refused(
        &ended(on_node(&lab, &["diagnose", "--for", "1s", "--uplink", "nosuch0"]).unwrap()),
        "nosuch0",
    );
}

#[test]
fn without_root_it_says_so() {
    let folder = Folder::new().unwrap();
    let copy = folder.file("tracer");
    // The tests' own binary may be in a folder that others cannot enter.
    fs::copy(binary().unwrap(), &copy).unwrap();
    let mut command = Command::new(copy);
    command.args(["diagnose", "--for", "1s"]).uid(65534).gid(65534);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    assert_refused(&ended(command), "root");
}

#[test]
fn bad_arguments_get_exit_code_2() {
    for args in [["diagnose", "--for", "soon"], ["diagnose", "--format", "xml"]] {
        let ended = ended(command(&args).unwrap());
        assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(args[2]), "{}", ended.stderr);
    }
}

/// A tracer that shows plain text, after its first line.
fn plain(lab: &Lab) -> (Child, BufReader<impl Read + use<>>) {
    let mut child = on_node(lab, &["--plain"]).unwrap().spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    if line.is_empty() {
        panic!("no line from {:?}", finish(&mut child));
    }
    (child, stdout)
}

/// Ids of the BPF programs that a process holds, itself or by a link.
fn programs(pid: u32) -> BTreeSet<u32> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap().flatten();
    descriptors
        .filter_map(|descriptor| fs::read_to_string(descriptor.path()).ok())
        .flat_map(|text| text.lines().filter_map(program_id).collect::<Vec<_>>())
        .collect()
}

fn program_id(line: &str) -> Option<u32> {
    line.strip_prefix("prog_id:")?.trim().parse().ok()
}

/// Whether the kernel has a BPF program of that id.
fn is_loaded(id: u32) -> bool {
    const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
    // `union bpf_attr`: the id, and two words that stay 0.
    let attributes = [id, 0, 0];
    // SAFETY: the pointer is to a value that outlives the call, and the size is its size.
    let descriptor = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_GET_FD_BY_ID,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    if descriptor == -1 {
        let error = std::io::Error::last_os_error();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "program {id}: {error}");
        return false;
    }
    // SAFETY: the descriptor is new and nobody else's.
    drop(unsafe { OwnedFd::from_raw_fd(descriptor as libc::c_int) });
    true
}

/// The kernel frees programs some time after their last user has ended.
fn assert_unloaded(ids: &BTreeSet<u32>) {
    let end = Instant::now() + PATIENCE;
    while ids.iter().any(|id| is_loaded(*id)) {
        assert!(Instant::now() < end, "still loaded: {ids:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn an_id_that_nobody_has_is_not_loaded() {
    assert!(!is_loaded(u32::MAX));
    assert_eq!(program_id("prog_id:\t123"), Some(123));
}

#[test]
fn killed_it_leaves_nothing_attached() {
    let lab = bare();
    let (mut child, _stdout) = plain(&lab);
    let ids = programs(child.id());
    assert!(!ids.is_empty(), "the tracer holds BPF programs");
    assert!(ids.iter().all(|id| is_loaded(*id)));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_unloaded(&ids);
}

#[test]
fn signals_end_it_cleanly() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let lab = bare();
        let (mut child, mut stdout) = plain(&lab);
        let ids = programs(child.id());
        lab::process::send(child.id(), signal).unwrap();
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        let ended = finish(&mut child).unwrap();
        assert!(ended.status.code().is_some(), "signal {signal}: {}", ended.status);
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
        assert_unloaded(&ids);
    }
}

/// A diagnosis that is cut short says what it has seen so far.
#[test]
fn a_diagnosis_that_is_cut_short_still_reports() {
    let mut lab = busy();
    let args = ["diagnose", "--for", "100s", "--format", "json"];
    let mut child = on_node(&lab, &args).unwrap().spawn().unwrap();
    let end = Instant::now() + PATIENCE;
    while programs(child.id()).is_empty() && child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < end, "the tracer loads nothing");
        std::thread::sleep(Duration::from_millis(10));
    }
    // A second of traffic, in which it gets to its work.
    let before = lab.traffic("node-client").unwrap().counts().unwrap();
    let more = |address: &String, done: u64| done >= before[address].requests.done + 10;
    lab.wait_for("node-client", |counts| {
        counts
            .iter()
            .all(|(address, now)| more(address, now.requests.done))
    })
    .unwrap();
    lab::process::send(child.id(), libc::SIGINT).unwrap();
    let ended = finish(&mut child).unwrap();
    assert!(ended.report().unwrap()["window"]["seconds"].as_f64().unwrap() < 50.0);
}

#[test]
fn a_closed_stdout_ends_it() {
    let lab = busy();
    let (mut child, stdout) = plain(&lab);
    drop(stdout);
    let status = wait_for_end(&mut child, PATIENCE).unwrap();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert!(
        status.code().is_some() && !stderr.contains("panicked"),
        "{status}: {stderr}"
    );
}

/// In the incident nothing can be reached, not even 127.0.0.1: here there is no route at all, and `lo` is down.
#[test]
fn it_starts_at_once_where_nothing_can_be_reached() {
    let netns = Netns::create(format!("tl-{}-offline", std::process::id())).unwrap();
    netns.ip("link add eth0 type veth peer name far0").unwrap();
    let mut command = command(&["diagnose", "--for", "1s", "--format", "json", "--uplink", "eth0"]).unwrap();
    lab::process::bind(&mut command, libc::SIGKILL, Some(netns.open().unwrap()));
    let start = Instant::now();
    let ended = ended(command);
    let took = start.elapsed();
    assert_ne!(ended.status.code(), Some(2), "{}", ended.stderr);
    assert_eq!(ended.report().unwrap()["uplinks"], serde_json::json!(["eth0"]));
    assert!(
        took < Duration::from_secs(3),
        "{took:?} for one second of watching"
    );
}

#[test]
fn it_counts_within_a_second_of_its_start() {
    let lab = busy();
    let ended = ended(on_node(&lab, &["diagnose", "--for", "1s", "--format", "json"]).unwrap());
    let report = ended.report().unwrap();
    assert!(report["ledger"]["arrived"].as_u64() > Some(0), "{report:#}");
}
