//! What goes wrong around the tracer: it says so in one line and leaves nothing behind.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lab::folder::Folder;
use lab::lab::{Lab, PATIENCE};
use lab::netns::Netns;
use lab::scenario;
use lab::tracer::{
    Ended, command, copy_to, finish, on_node, programs, run, wait_until_it_watches, watching, with_mounts,
    wrapped,
};

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
    // What the tracer says is a sentence, not the inside of an error.
    assert!(ended.stderr.starts_with("tracer: "), "{}", ended.stderr);
    assert!(!ended.stderr.contains('{'), "{}", ended.stderr);
}

/// A tracer that is started by a wrapper and would watch for a second.
fn start_by(wrapper: &[&str]) -> Ended {
    ended(wrapped(wrapper, &["diagnose", "--for", "1s", "--format", "json"]).unwrap())
}

fn start_with_mounts(script: &str) -> Ended {
    let wrapper = with_mounts(script);
    start_by(&wrapper.each_ref().map(String::as_str))
}

fn ended(mut command: Command) -> Ended {
    run(&mut command, |_| Ok(())).unwrap()
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
    copy_to(&copy).unwrap();
    let mut command = Command::new(copy);
    command.args(["diagnose", "--for", "1s"]).uid(65534).gid(65534);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    assert_refused(&ended(command), "root");
}

#[test]
fn root_without_the_privilege_is_told_which() {
    let ended = start_by(&["setpriv", "--bounding-set=-bpf,-perfmon,-sys_admin"]);
    assert_refused(&ended, "CAP_BPF");
    let ended = start_by(&["unshare", "--user", "--map-root-user"]);
    assert_refused(&ended, "user namespace");
}

/// The named capability of a report.
fn capability<'a>(report: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    let all = report["capabilities"].as_array().unwrap();
    all.iter().find(|one| one["name"] == name).unwrap()
}

#[test]
fn root_without_what_it_can_do_without_is_told_what_it_does_not_see() {
    let report = start_by(&["setpriv", "--bounding-set=-sys_ptrace"])
        .report()
        .unwrap();
    let privileges = capability(&report, "privileges");
    assert_eq!(privileges["state"], "partial");
    assert!(privileges["why"].as_str().unwrap().contains("CAP_SYS_PTRACE"));
}

/// Whatever the tracer lists can be left out, but for what tells what the rest stands on.
#[test]
fn what_is_listed_can_be_left_out() {
    let lab = bare();
    let watch = |without: &[&str]| {
        let arguments = [&["diagnose", "--for", "100ms", "--format", "json"], without].concat();
        ended(on_node(&lab, &arguments).unwrap())
    };
    let listed = watch(&[]).report().unwrap();
    let mut refused = BTreeSet::new();
    for listed in listed["capabilities"].as_array().unwrap() {
        let name = listed["name"].as_str().unwrap();
        let ended = watch(&["--without", name]);
        if ended.stdout.is_empty() {
            assert_refused(
                &ended,
                &format!("--without {name}: that is nothing to be left out"),
            );
            refused.insert(name);
            continue;
        }
        let report = ended.report().unwrap();
        let told = capability(&report, name);
        assert_eq!(told["state"], "unavailable", "{told}");
        assert!(
            told["why"].as_str().unwrap().starts_with("left out as asked; "),
            "{told}"
        );
    }
    assert_eq!(refused, BTreeSet::from(["privileges", "uplinks"]));
}

/// Without the names of places most rules are blind: their silence makes no node healthy.
#[test]
fn a_kernel_that_hides_its_functions_is_told_and_is_not_healthy() {
    let ended = start_with_mounts("mount --bind /dev/null /proc/kallsyms");
    let report = ended.report().unwrap();
    let places = capability(&report, "places");
    assert_eq!(places["state"], "unavailable");
    assert!(places["why"].as_str().unwrap().contains("CAP_SYSLOG"));
    assert_eq!(report["where"], "unknown");
    assert_cannot_tell(&ended, "places");
}

/// It ran, and is not the one to say that the node is healthy: in one line that names `thing`.
fn assert_cannot_tell(ended: &Ended, thing: &str) {
    assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
    assert_eq!(ended.stderr.trim_end().lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("cannot be told"), "{}", ended.stderr);
    assert!(ended.stderr.contains(thing), "{}", ended.stderr);
}

/// As a container's runtime or the machine's policy may do, whatever privileges there are.
#[test]
fn bpf_that_is_refused_is_told() {
    let mut command = command(&["diagnose", "--for", "1s"]).unwrap();
    // SAFETY: the closure runs between fork and exec and makes one system call.
    unsafe { command.pre_exec(refuse_bpf) };
    assert_refused(&ended(command), "refused");
}

/// Lets bpf(2) fail with EPERM in this process and those that it becomes.
fn refuse_bpf() -> std::io::Result<()> {
    let instruction = |code: u32, jt, jf, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    // `seccomp_data.nr` is at 0.
    let mut filter = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            1,
            libc::SYS_bpf as u32,
        ),
        instruction(
            libc::BPF_RET | libc::BPF_K,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | libc::EPERM as u32,
        ),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: 4,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the pointer is to a program that outlives the call, of as many instructions as it says.
    match unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

#[test]
fn a_kernel_without_btf_is_told() {
    assert_refused(&start_with_mounts("mount -t tmpfs none /sys/kernel/btf"), "BTF");
}

/// A copy of the kernel's types in which one name is another one.
fn types_without(folder: &Folder, name: &str) -> PathBuf {
    let mut types = fs::read("/sys/kernel/btf/vmlinux").unwrap();
    let named = [b"\0", name.as_bytes(), b"\0"].concat();
    let at = types.windows(named.len()).position(|window| window == named);
    // As long as it was: nothing else in the file changes.
    types[at.unwrap_or_else(|| panic!("this kernel has no {name}")) + 1] = b'X';
    folder.write("vmlinux", &types).unwrap()
}

/// The capabilities of a report, but for what not every machine allows or has.
fn needed(report: &serde_json::Value) -> impl Iterator<Item = &serde_json::Value> {
    let all = report["capabilities"].as_array().unwrap().iter();
    all.filter(|capability| {
        !["functions", "systemd", "journal"].contains(&capability["name"].as_str().unwrap())
    })
}

/// What a kernel does not have costs that part, and the rest is counted all the same.
#[test]
fn a_kernel_without_a_tracepoint_or_a_member_costs_that_part_only() {
    for (name, named, off) in [
        (
            "btf_trace_tcp_retransmit_skb",
            "tcp_retransmit_skb",
            &["retransmits"][..],
        ),
        ("btf_trace_kfree_skb", "kfree_skb", &["drops"]),
        ("segs_in", "segs_in", &["matched", "connections"]),
        (
            "btf_trace_neigh_update_done",
            "neigh_update_done",
            &["neighbour-queues"],
        ),
    ] {
        let (lab, folder) = (busy(), Folder::new().unwrap());
        let types = types_without(&folder, name);
        let wrapper = with_mounts(&format!(
            "mount --bind {} /sys/kernel/btf/vmlinux",
            types.display()
        ));
        let args = ["diagnose", "--for", "2s", "--format", "json"];
        let command = wrapped(&wrapper.each_ref().map(String::as_str), &args).unwrap();
        let ended = ended(watching(command, &lab));
        let report = ended.report().unwrap();
        for one in needed(&report) {
            let is_off = off.contains(&one["name"].as_str().unwrap());
            let expected = if is_off { "unavailable" } else { "available" };
            assert_eq!(one["state"], expected, "without {name}: {one}");
            assert!(!is_off || one["why"].as_str().unwrap().contains(named), "{one}");
        }
        assert!(
            report["ledger"]["arrived"].as_u64() > Some(0),
            "without {name}: {report:#}"
        );
        if off.contains(&"drops") {
            assert_cannot_tell(&ended, "kfree_skb");
        } else {
            assert_eq!(ended.stderr, "");
        }
    }
}

/// Nothing of tracefs is read: it is fully watched where there is none.
#[test]
fn it_needs_no_tracefs() {
    let ended = start_with_mounts(
        "for at in /sys/kernel/tracing /sys/kernel/debug; do \
           ! test -d $at || mount -t tmpfs none $at || exit; done",
    );
    let report = ended.report().unwrap();
    for capability in needed(&report) {
        assert_eq!(capability["state"], "available", "{capability}");
    }
}

#[test]
fn an_unknown_capability_is_named_with_those_that_there_are() {
    let args = ["diagnose", "--for", "1s", "--without", "nonsense"];
    let ended = ended(command(&args).unwrap());
    assert_refused(&ended, "nonsense");
    assert!(ended.stderr.contains("arrivals"), "{}", ended.stderr);
}

#[test]
fn to_see_nothing_at_all_is_refused() {
    let args = [
        "diagnose",
        "--for",
        "1s",
        "--without",
        "arrivals",
        "--without",
        "drops",
    ];
    let ended = ended(command(&args).unwrap());
    assert_refused(&ended, "--without");
    assert!(!ended.stderr.contains("kernel"), "{}", ended.stderr);
}

#[test]
fn a_recording_that_cannot_be_made_is_named_and_nothing_is_overwritten() {
    let folder = Folder::new().unwrap();
    let there = folder.write("there.pcapng", b"precious").unwrap();
    for path in [there.clone(), folder.file("missing/new.pcapng")] {
        let path = path.to_str().unwrap();
        let args = ["diagnose", "--for", "1s", "--record", path];
        assert_refused(&ended(command(&args).unwrap()), path);
    }
    assert_eq!(fs::read(there).unwrap(), b"precious");
}

/// A tracer that cannot start leaves no empty recording in the way of the next one.
#[test]
fn a_start_that_fails_leaves_no_recording() {
    let folder = Folder::new().unwrap();
    let path = folder.file("new.pcapng");
    let args = [
        "diagnose",
        "--uplink",
        "nosuch0",
        "--record",
        path.to_str().unwrap(),
    ];
    assert_refused(&ended(command(&args).unwrap()), "nosuch0");
    assert!(!path.exists());
}

/// The disk is full before the period is over: the diagnosis goes on to its end and says so.
#[test]
fn a_full_disk_ends_the_recording_and_not_the_diagnosis() {
    let lab = busy();
    let folder = Folder::new().unwrap();
    let at = folder.path().to_str().unwrap();
    let wrapper = with_mounts(&format!("mount -t tmpfs -o size=32k none {at}"));
    let file = format!("{at}/full.pcapng");
    let args = ["diagnose", "--for", "4s", "--format", "json", "--record", &file];
    let command = wrapped(&wrapper.each_ref().map(String::as_str), &args).unwrap();
    let ended = ended(watching(command, &lab));
    let report = ended.report().unwrap();
    assert!(report["window"]["seconds"].as_f64() >= Some(4.0), "{report:#}");
    let capabilities = report["capabilities"].as_array().unwrap();
    let recording = capabilities.iter().find(|one| one["name"] == "recording");
    let recording = recording.unwrap_or_else(|| panic!("nothing is said of the recording: {report:#}"));
    assert_eq!(recording["state"], "unavailable");
    assert!(
        recording["why"].as_str().unwrap().contains("No space"),
        "{recording}"
    );
    assert_eq!(ended.stderr.trim_end().lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("full.pcapng"), "{}", ended.stderr);
    // What it found counts, not what it could not keep.
    assert_eq!(ended.status.code(), Some(0), "{report:#}");
}

#[test]
fn bad_arguments_get_exit_code_2() {
    for args in [
        &["diagnose", "--for", "soon"][..],
        &["diagnose", "--format", "xml"],
        &["diagnose", "--nonsense"],
        &["nonsense"],
        &["--flow", "nonsense"],
        &["replay"],
    ] {
        let ended = ended(command(args).unwrap());
        assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
        assert_eq!(ended.stdout, "");
        let named = args.iter().any(|arg| ended.stderr.contains(arg));
        assert!(
            named && !ended.stderr.contains("panicked"),
            "{args:?}: {}",
            ended.stderr
        );
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
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        let lab = bare();
        let (mut child, mut stdout) = plain(&lab);
        let ids = programs(child.id());
        lab::process::send(child.id(), signal).unwrap();
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        let ended = finish(&mut child).unwrap();
        assert_eq!(ended.status.code(), Some(0), "signal {signal}: {}", ended.status);
        assert_eq!(ended.stderr, "");
        assert_unloaded(&ids);
    }
}

/// A diagnosis that is cut short says what it has seen so far.
#[test]
fn a_diagnosis_that_is_cut_short_still_reports() {
    let mut lab = busy();
    let args = ["diagnose", "--for", "100s", "--format", "json"];
    let mut child = on_node(&lab, &args).unwrap().spawn().unwrap();
    wait_until_it_watches(&mut child).unwrap();
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

/// A pipe that takes nothing more until it is read.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    let flags = |flags: libc::c_int| {
        // SAFETY: a system call without pointers, on an open descriptor.
        let done = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, flags) };
        assert_ne!(done, -1);
    };
    flags(libc::O_NONBLOCK);
    while (&writer).write(b"\n").is_ok() {}
    flags(0);
    (reader, writer)
}

/// A tracer whose plain text nobody reads, some blocks after its start, and its recording.
fn unread(lab: &Lab, folder: &Folder) -> (Child, PipeReader, PathBuf) {
    let file = folder.file("all.pcapng");
    let args = ["--plain", "--record", file.to_str().unwrap()];
    let (reader, writer) = full_pipe();
    let child = on_node(lab, &args).unwrap().stdout(writer).spawn().unwrap();
    // It is written at each round; there are two rounds to a block.
    let recorded = || fs::metadata(&file).map_or(0, |file| file.len());
    for _ in 0..8 {
        let before = recorded();
        let end = Instant::now() + PATIENCE;
        while recorded() <= before {
            assert!(Instant::now() < end, "the recording does not grow");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    (child, reader, file)
}

/// As before `less`, which reads no more than it shows: the tracer goes on, and listens to signals.
#[test]
fn a_reader_that_stops_reading_does_not_keep_a_signal_from_ending_it() {
    let (lab, folder) = (busy(), Folder::new().unwrap());
    let (mut child, _reader, file) = unread(&lab, &folder);
    lab::process::send(child.id(), libc::SIGTERM).unwrap();
    let ended = finish(&mut child).unwrap();
    assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""));
    let args = ["diagnose", "--trace", file.to_str().unwrap()];
    let replayed = run(&mut command(&args).unwrap(), |_| Ok(())).unwrap();
    assert_eq!(replayed.stderr, "", "the recording is whole");
}

#[test]
fn a_reader_that_reads_again_is_told_what_was_left_out() {
    let (lab, folder) = (busy(), Folder::new().unwrap());
    let (mut child, reader, _) = unread(&lab, &folder);
    let mut lines = BufReader::new(reader).lines().map_while(Result::ok);
    let first = lines.find(|line| !line.is_empty()).unwrap();
    assert!(first.contains(" UTC  "), "{first}");
    let told = lines.find(|line| line.starts_with("  left out: "));
    let told = told.unwrap_or_else(|| panic!("nothing is told: {:?}", finish(&mut child)));
    assert!(told.ends_with("that nobody read in time"), "{told}");
    assert!(lines.next().unwrap().contains(" UTC  "));
    drop(lines);
    assert_eq!(finish(&mut child).unwrap().status.code(), Some(0));
}

#[test]
fn a_closed_stdout_ends_it() {
    let lab = busy();
    let (mut child, stdout) = plain(&lab);
    drop(stdout);
    let ended = finish(&mut child).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}: {}", ended.status, ended.stderr);
    assert_eq!(ended.stderr, "");
}

/// As before `head -1`: the exit code is that of the diagnosis.
#[test]
fn a_diagnosis_that_nobody_reads_keeps_its_exit_code() {
    let scenario = scenario::find("local-rule-lost").unwrap();
    let mut lab = Lab::of(scenario, Path::new(PROGRAM)).unwrap();
    lab.apply(scenario.break_it).unwrap();
    let mut child = on_node(&lab, &["diagnose", "--for", "3s"])
        .unwrap()
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = finish(&mut child).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{}: {}", ended.status, ended.stderr);
    assert_eq!(ended.stderr, "");
}

/// In the incident nothing can be reached, not even 127.0.0.1: here there is no route at all, and `lo` is down. How
/// soon it starts is for `cargo xtask bench` to say.
#[test]
fn it_works_where_nothing_can_be_reached_and_says_that_it_cannot_tell() {
    let netns = Netns::create(format!("tl-{}-offline", std::process::id())).unwrap();
    netns.ip("link add eth0 type veth peer name far0").unwrap();
    let mut command = command(&["diagnose", "--for", "1s", "--format", "json", "--uplink", "eth0"]).unwrap();
    lab::process::bind(&mut command, libc::SIGKILL, Some(netns.open().unwrap()));
    let ended = ended(command);
    let report = ended.report().unwrap();
    assert_eq!(report["uplinks"], serde_json::json!(["eth0"]));
    assert_eq!(
        (&report["where"], &report["ledger"]["arrived"]),
        (&"unknown".into(), &0.into())
    );
    assert_cannot_tell(&ended, "nothing arrived");
}

#[test]
fn it_counts_within_a_second_of_its_start() {
    let lab = busy();
    let ended = ended(on_node(&lab, &["diagnose", "--for", "1s", "--format", "json"]).unwrap());
    let report = ended.report().unwrap();
    assert!(report["ledger"]["arrived"].as_u64() > Some(0), "{report:#}");
}
