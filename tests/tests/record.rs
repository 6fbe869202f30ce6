//! A recording of the incident: it gives the same verdict as the live run, real tools read it, and damage to
//! it costs no more than what is damaged.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use lab::folder::Folder;
use lab::lab::Lab;
use lab::scenario;
use lab::tracer::{Break, Ended, command, finish, observe, on_node, run};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_lab");

/// What a tracer said live, and what it recorded at the same time.
struct Recording {
    live: Value,
    code: Option<i32>,
    bytes: Vec<u8>,
}

/// The incident, recorded once for all tests.
fn recording() -> &'static Recording {
    static RECORDING: OnceLock<Recording> = OnceLock::new();
    RECORDING.get_or_init(|| {
        let scenario = scenario::find("local-rule-lost").unwrap();
        let mut lab = Lab::of(scenario, Path::new(PROGRAM)).unwrap();
        let folder = Folder::new().unwrap();
        let file = folder.file("live.pcapng");
        let file = file.to_str().unwrap();
        let args = ["diagnose", "--for", "6s", "--format", "json", "--record", file];
        let ended = observe(&mut lab, scenario, Break::WhileWatched, &args).unwrap();
        let live = ended.report().unwrap();
        assert_eq!(live["verdicts"][0]["id"], "R01", "{live:#}");
        Recording {
            live,
            code: ended.status.code(),
            bytes: fs::read(file).unwrap(),
        }
    })
}

/// A folder with a trace in it.
fn trace(bytes: &[u8]) -> (Folder, PathBuf) {
    let folder = Folder::new().unwrap();
    let file = folder.write("trace.pcapng", bytes).unwrap();
    (folder, file)
}

fn tracer(args: &[&str]) -> Ended {
    run(&mut command(args).unwrap(), |_| Ok(())).unwrap()
}

fn diagnose(file: &Path) -> Ended {
    tracer(&["diagnose", "--trace", file.to_str().unwrap(), "--format", "json"])
}

/// The real tshark, as a user who may do nothing: as root it warns of itself.
fn tshark(file: &Path, args: &[&str]) -> Output {
    let mut tshark = Command::new("tshark");
    tshark
        .arg("-r")
        .arg(file)
        .args(args)
        .uid(65534)
        .gid(65534)
        .env("HOME", "/nonexistent");
    tshark.output().expect("tshark runs (package tshark)")
}

#[test]
fn a_recording_gives_the_same_verdict_to_the_letter() {
    let recording = recording();
    let (_folder, file) = trace(&recording.bytes);
    let ended = diagnose(&file);
    let replayed = ended.report().unwrap();
    for member in ["where", "verdicts", "ledger", "drops", "starved"] {
        assert_eq!(replayed[member], recording.live[member], "{member}");
    }
    assert_eq!(ended.status.code(), recording.code);
}

/// Each block says all that there is to say then, and is told of the same round.
#[test]
fn a_recording_of_plain_text_reads_as_the_live_run_did() {
    let scenario = scenario::find("local-rule-lost").unwrap();
    let mut lab = Lab::of(scenario, Path::new(PROGRAM)).unwrap();
    let folder = Folder::new().unwrap();
    let file = folder.file("plain.pcapng");
    let path = file.to_str().unwrap();
    let mut child = on_node(&lab, &["--plain", "--record", path])
        .unwrap()
        .spawn()
        .unwrap();
    lab.apply(scenario.break_it).unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut live = String::new();
    while !live.contains("R01") {
        let read = stdout.read_line(&mut live).unwrap();
        assert_ne!(read, 0, "no verdict: {live}\n{:?}", finish(&mut child));
    }
    lab::process::send(child.id(), libc::SIGINT).unwrap();
    stdout.read_to_string(&mut live).unwrap();
    let ended = finish(&mut child).unwrap();
    assert_eq!(
        (ended.status.code(), ended.stderr.as_str()),
        (Some(0), ""),
        "{live}"
    );
    let replayed = tracer(&["replay", path, "--plain"]);
    assert_eq!(replayed.stdout, live);
    let report = diagnose(&file).report().unwrap();
    assert_eq!(report["verdicts"][0]["id"], "R01", "{report:#}");
    let arrived = format!("arrived {} =", report["ledger"]["arrived"]);
    assert!(last_block(&live).contains(&arrived), "{arrived} is not in {live}");
}

/// From the line with the last time on.
fn last_block(text: &str) -> &str {
    let line = text.rfind(" UTC  ").unwrap_or(0);
    let start = text[..line].rfind('\n').map_or(0, |end| end + 1);
    &text[start..]
}

#[test]
fn a_recording_is_replayed_as_plain_text() {
    let (_folder, file) = trace(&recording().bytes);
    let ended = tracer(&["replay", file.to_str().unwrap(), "--plain"]);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("R01"), "{}", ended.stdout);
}

#[test]
fn tshark_opens_a_recording_without_a_warning_and_shows_each_drop() {
    let (_folder, file) = trace(&recording().bytes);
    let output = tshark(
        &file,
        &["-Y", "frame.comment", "-T", "fields", "-e", "frame.comment"],
    );
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stderr, "", "tshark warns");
    let incident = |line: &str| line.contains("NOT_SPECIFIED") && line.contains("ip_forward");
    assert!(stdout.lines().any(incident), "{stdout}");

    // A packet is what is no change, and each has its comment.
    let frames = |filter| {
        let output = tshark(&file, &["-Y", filter, "-T", "fields", "-e", "frame.number"]);
        String::from_utf8(output.stdout).unwrap()
    };
    let packets = frames("!systemd_journal");
    assert_eq!(packets, frames("frame.comment"), "packets and comments");
    let exported = tracer(&["export", file.to_str().unwrap(), "--format", "jsonl"]).stdout;
    let examples = exported
        .lines()
        .filter(|line| line.contains(r#""type":"example""#));
    assert_eq!(packets.lines().count(), examples.count());
}

#[test]
fn tshark_finds_the_starved_flow_in_the_packets() {
    let (_folder, file) = trace(&recording().bytes);
    let replies = "frame.comment && ip.src == 192.0.2.10 && ip.dst == 10.10.0.2 && tcp.srcport == 8080";
    let output = tshark(&file, &["-Y", replies]);
    assert!(
        !output.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let damaged = tshark(&file, &["-Y", "_ws.malformed && frame.comment"]);
    assert_eq!(
        String::from_utf8_lossy(&damaged.stdout),
        "",
        "packets that tshark cannot read"
    );
}

#[test]
fn tshark_shows_the_rest_as_journal_entries() {
    let (_folder, file) = trace(&recording().bytes);
    let output = tshark(
        &file,
        &[
            "-Y",
            "systemd_journal",
            "-T",
            "fields",
            "-e",
            "systemd_journal.message",
        ],
    );
    let messages = String::from_utf8_lossy(&output.stdout);
    // Each kind of change, by the words that it has.
    for (start, end) in [
        ("tracer ", ""),
        ("capability drops: ", "available"),
        ("uplink eth0 is device ", ""),
        ("arrived so far: ", ""),
        ("dropped so far: ", ""),
        ("flow tcp ", ""),
        ("socket tcp ", ""),
        ("not recorded so far: ", ""),
        ("all counts of this round are told", ""),
        ("tracer stops", ""),
    ] {
        let found = |line: &str| line.starts_with(start) && line.ends_with(end);
        assert!(
            messages.lines().any(found),
            "no entry begins with {start:?}: {messages}"
        );
    }
    assert!(
        messages.lines().all(|line| !line.trim().is_empty()),
        "an entry without a message: {messages}"
    );
}

#[test]
fn a_torn_tail_is_read_up_to_the_last_whole_block() {
    let bytes = &recording().bytes;
    for missing in [1, 3, 17, 100] {
        let (_folder, file) = trace(&bytes[..bytes.len() - missing]);
        let ended = diagnose(&file);
        let report = ended.report().unwrap();
        assert_eq!(
            report["verdicts"][0]["id"], "R01",
            "{missing} bytes are missing: {}",
            ended.stderr
        );
        assert_eq!(ended.status.code(), Some(1));
    }
}

/// As an editor of packet files may leave it: the replay goes on without what is not the tracer's, and says so.
#[test]
fn blocks_of_others_are_left_out_and_told() {
    let mut bytes = recording().bytes.clone();
    // A journal entry block, without an event.
    bytes.extend(b"\x09\0\0\0\x14\0\0\0A=1\nB=\n\n\x14\0\0\0");
    let (_folder, file) = trace(&bytes);
    let path = file.to_str().unwrap();
    for args in [
        &["diagnose", "--trace", path][..],
        &["replay", path, "--plain"],
        &["export", path, "--format", "jsonl"],
    ] {
        let told = tracer(args).stderr;
        assert!(
            told.contains("trace.pcapng: 1 packet or journal entry is not of the tracer"),
            "{told}"
        );
    }
    assert_eq!(tracer(&["export", path]).stderr, "", "it is in the copy");
}

#[test]
fn half_a_recording_gives_a_report_that_balances() {
    let bytes = &recording().bytes;
    let (_folder, file) = trace(&bytes[..bytes.len() / 2]);
    let ended = diagnose(&file);
    let ledger = &ended.report().unwrap()["ledger"];
    let column = |name: &str| ledger[name].as_i64().unwrap();
    let columns = [
        "delivered",
        "forwarded",
        "answered",
        "dropped",
        "queued",
        "unexplained",
    ];
    assert_eq!(
        column("arrived"),
        columns.into_iter().map(column).sum::<i64>(),
        "{ledger}"
    );
}

#[test]
fn a_foreign_or_damaged_file_gets_one_clear_line() {
    let mut damaged = recording().bytes.clone();
    damaged[..4].copy_from_slice(b"\x7fELF");
    for bytes in [b"".as_slice(), b"not a trace at all\n", &[0; 4096], &damaged] {
        let (_folder, file) = trace(bytes);
        let ended = diagnose(&file);
        assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
        assert_eq!(ended.stdout, "");
        assert_eq!(ended.stderr.trim_end().lines().count(), 1, "{}", ended.stderr);
        assert!(ended.stderr.contains("trace.pcapng"), "{}", ended.stderr);
    }
    let folder = Folder::new().unwrap();
    let ended = diagnose(&folder.file("none.pcapng"));
    assert_eq!(ended.status.code(), Some(2));
    assert!(ended.stderr.contains("none.pcapng") && ended.stderr.trim_end().lines().count() == 1);
}

/// What would be ignored is refused, so that nobody takes it for done.
#[test]
fn options_for_watching_are_refused_where_a_recording_is_read() {
    let (folder, file) = trace(&recording().bytes);
    let (file, new) = (file.to_str().unwrap(), folder.file("new.pcapng"));
    let record = ["--record", new.to_str().unwrap()];
    for command in [
        &["replay", file][..],
        &["export", file],
        &["diagnose", "--trace", file],
    ] {
        for option in [&record[..], &["--netns", "x"], &["--uplink", "x"], &["--verbose"]] {
            let ended = tracer(&[command, option].concat());
            assert_eq!(ended.status.code(), Some(2), "{command:?} {option:?}");
            assert_eq!((ended.stdout.as_str(), new.exists()), ("", false));
            assert_eq!(ended.stderr.trim_end().lines().count(), 1, "{}", ended.stderr);
            assert!(ended.stderr.contains(option[0]), "{}", ended.stderr);
        }
    }
}

#[test]
fn an_export_as_lines_of_json_is_all_of_it() {
    let (folder, file) = trace(&recording().bytes);
    let ended = tracer(&[
        "export",
        file.to_str().unwrap(),
        "--format",
        "jsonl",
        "--out",
        "-",
    ]);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    let lines = ended.stdout.lines().map(serde_json::from_str::<Value>);
    let lines: Vec<Value> = lines.collect::<Result<_, _>>().unwrap();
    assert!(
        lines.len() > 10 && lines.iter().all(Value::is_object),
        "{} lines",
        lines.len()
    );
    let out = folder.file("export.jsonl");
    let to_file = tracer(&[
        "export",
        file.to_str().unwrap(),
        "--format",
        "jsonl",
        "--out",
        out.to_str().unwrap(),
    ]);
    assert_eq!(
        (to_file.status.code(), to_file.stdout.as_str()),
        (Some(0), ""),
        "{}",
        to_file.stderr
    );
    assert_eq!(fs::read_to_string(out).unwrap(), ended.stdout);
}

#[test]
fn an_export_as_pcapng_gives_the_same_verdict() {
    let recording = recording();
    let (folder, file) = trace(&recording.bytes);
    let out = folder.file("export.pcapng");
    let export = tracer(&[
        "export",
        file.to_str().unwrap(),
        "--format",
        "pcapng",
        "--out",
        out.to_str().unwrap(),
    ]);
    assert_eq!(export.status.code(), Some(0), "{}", export.stderr);
    assert_eq!(
        diagnose(&out).report().unwrap()["verdicts"],
        recording.live["verdicts"]
    );
}
