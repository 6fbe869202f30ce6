use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use super::*;
use crate::diagnosis::rule;
use crate::report::Confidence;
use crate::ui::sample;

const SINCE: &str = "2023-10-10T06:14:05.018Z";

fn leading(units: &[&str]) -> Leading {
    Leading {
        rule: rule("R01").unwrap(),
        confidence: Confidence::Conclusive,
        since: 0,
        last: 0,
        flows: 14,
        mended: None,
        units: units.iter().map(|unit| (*unit).to_owned()).collect(),
    }
}

fn held_back(changes: u64, rules: &[&'static str]) -> HeldBack {
    HeldBack {
        changes,
        rules: rules.iter().copied().collect(),
    }
}

#[test]
fn a_verdict_is_one_line_that_can_be_searched() {
    assert_eq!(
        verdict(
            &leading(&["kubelet.service", "web.service"]),
            SINCE,
            &HeldBack::default()
        ),
        "tracer: verdict R01 where=guest-kernel confidence=conclusive since=2023-10-10T06:14:05.018Z flows=14 \
         title=\"Kernel found the socket but routed the reply as foreign\" units=kubelet.service,web.service"
    );
    let held_back = verdict(&leading(&[]), SINCE, &held_back(3, &["R12"]));
    assert!(
        held_back.contains(" flows=14 suppressed=3 missed=R12 title="),
        "{held_back}"
    );
    assert!(held_back.ends_with("foreign\""), "{held_back}");
}

#[test]
fn the_end_is_one_too() {
    assert_eq!(
        over(
            Where::Healthy,
            &sample::recovered().episodes[0],
            &held_back(1, &[])
        ),
        "tracer: verdict none where=healthy was=R01 since=2023-10-10T06:14:05.018Z until=2023-10-10T06:16:10.018Z \
         seconds=125 flows=14 suppressed=1 units=kubelet.service,web.service"
    );
}

#[test]
fn a_line_is_never_too_long_and_no_name_forges_one() {
    let names: Vec<String> = (0..100).map(|number| format!("unit-{number}.service")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let long = verdict(&leading(&names), SINCE, &held_back(u64::MAX, &[]));
    let (told, rest) = long.rsplit_once(",+").unwrap();
    assert!(
        long.len() <= LONGEST && long.len() > LONGEST - 40,
        "{}",
        long.len()
    );
    let named = told.split_once("units=").unwrap().1.split(',').count();
    assert_eq!(named + rest.parse::<usize>().unwrap(), names.len());
    let huge = verdict(&leading(&[&"x".repeat(2000)]), SINCE, &HeldBack::default());
    assert!(huge.ends_with(" units=+1"), "{huge}");
    let forged = verdict(&leading(&["a b\nc,d\"é"]), SINCE, &HeldBack::default());
    assert!(forged.ends_with(" units=a_b_c_d__"), "{forged}");
}

#[test]
fn changes_are_told_at_once_but_not_too_often_and_the_latest_state_wins() {
    let mut pace = Pace::default();
    let mut told = Vec::new();
    let rounds = [
        (1, None),
        (2, Some(("R01", 1))),
        (3, Some(("R01", 1))),
        (5, Some(("R12", 1))),
        (6, None),
        // Three came at once: now there is one each 10 s.
        (7, Some(("R06", 2))),
        (8, Some(("D01", 2))),
        (11, Some(("D01", 2))),
        (12, Some(("D01", 2))),
        // Back before it could be told.
        (13, None),
        (14, Some(("D01", 2))),
        (21, Some(("D01", 2))),
        // It was brought about once more.
        (22, Some(("D01", 3))),
        (25, None),
        (32, None),
        (70, Some(("R01", 4))),
        (71, None),
        (72, Some(("R01", 5))),
        (73, None),
        // It came and went before a line was allowed.
        (81, None),
        (82, Some(("K03", 6))),
        (84, None),
        (92, None),
        (93, None),
    ];
    for (second, id) in rounds {
        let now = second * SECOND;
        if let Some(suppressed) = due(&mut pace, now, id) {
            told.push((second, id, suppressed.to_string()));
            pace.told(now);
        }
    }
    let told: Vec<_> = told
        .iter()
        .map(|(second, id, text)| (*second, *id, text.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (2, Some(("R01", 1)), ""),
            (5, Some(("R12", 1)), ""),
            (6, None, ""),
            (12, Some(("D01", 2)), " suppressed=1 missed=R06"),
            (22, Some(("D01", 3)), " suppressed=2"),
            (32, None, ""),
            (70, Some(("R01", 4)), ""),
            (71, None, ""),
            (72, Some(("R01", 5)), ""),
            (81, None, ""),
            (92, None, " suppressed=1 missed=K03"),
        ]
    );
}

fn due(pace: &mut Pace, now: u64, leading: Option<Led>) -> Option<HeldBack> {
    // Where nothing leads all is well.
    pace.see(leading, leading.map_or(Where::Healthy, |_| Where::GuestKernel));
    pace.due(now)
}

#[test]
fn that_all_is_well_is_told_once_also_after_it_was_not_known() {
    let mut pace = Pace::default();
    let mut told = Vec::new();
    for (second, leading, place) in [
        // What is not known before anything led is nothing to tell.
        (1, None, Where::Unknown),
        (2, None, Where::Healthy),
        (3, Some(("R01", 1)), Where::GuestKernel),
        (4, None, Where::Unknown),
        (5, None, Where::Unknown),
        (6, None, Where::Healthy),
        // A node where nothing arrives for a moment is as well as before.
        (40, None, Where::Unknown),
        (41, None, Where::Healthy),
        // Not too often.
        (80, Some(("R01", 2)), Where::GuestKernel),
        (81, Some(("R06", 2)), Where::GuestKernel),
        (82, None, Where::Unknown),
        (83, None, Where::Healthy),
        (91, None, Where::Healthy),
    ] {
        pace.see(leading, place);
        let now = second * SECOND;
        if pace.due(now).is_some() {
            told.push(second);
            pace.told(now);
        }
    }
    assert_eq!(told, [3, 4, 6, 80, 81, 82, 91]);
    // A line that could not be written has told nothing.
    let mut pace = Pace::default();
    pace.see(Some(("R01", 1)), Where::GuestKernel);
    pace.told(SECOND);
    pace.see(None, Where::Unknown);
    pace.told(2 * SECOND);
    pace.see(None, Where::Healthy);
    pace.told(3 * SECOND);
    pace.failed();
    assert_eq!(pace.due(13 * SECOND), Some(HeldBack::default()));
}

#[test]
fn what_could_not_be_written_is_tried_again() {
    let mut pace = Pace::default();
    assert_eq!(
        due(&mut pace, SECOND, Some(("R01", 1))),
        Some(HeldBack::default())
    );
    pace.told(SECOND);
    pace.failed();
    for second in 2..=3 {
        assert_eq!(
            due(&mut pace, second * SECOND, Some(("R01", 1))),
            Some(HeldBack::default())
        );
        pace.told(second * SECOND);
        pace.failed();
    }
    assert_eq!(
        due(&mut pace, 4 * SECOND, Some(("R01", 1))),
        None,
        "not too often"
    );
    assert_eq!(
        due(&mut pace, 11 * SECOND, Some(("R01", 1))),
        Some(HeldBack::default())
    );
    let over = due(&mut pace, 11 * SECOND, None).map(|since| since.to_string());
    assert_eq!(over.as_deref(), Some(" suppressed=1 missed=R01"));
}

/// A path that nothing is at.
fn path(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("tracer-beacon-{}-{name}", std::process::id()))
}

#[test]
fn lines_are_added_to_a_file() {
    let path = path("file");
    let mut writer = Writer::spawn(Target::Path(path.clone())).unwrap();
    for line in ["one", "two"] {
        assert!(writer.write(line.to_owned()));
        assert_eq!(writer.wait(), Some(Ok(())));
    }
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    assert_eq!(text, "one\ntwo\n");
}

#[test]
fn a_fifo_that_nobody_reads_holds_nothing_up_and_is_told_once() {
    let path = path("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let mut beacon = Beacon::new(Target::Path(path.clone())).unwrap();
    let mut send = |line: &str| {
        assert!(beacon.writer.write(line.to_owned()));
        let result = beacon.writer.wait().unwrap();
        beacon.written(result)
    };
    let failed = send("unread").unwrap();
    assert_eq!(
        (failed.name.as_str(), failed.state),
        ("beacon", CapabilityState::Unavailable)
    );
    assert!(failed.why.contains("FIFO that somebody reads"), "{}", failed.why);
    assert_eq!(send("unread"), None, "it was told");
    let mut reader = std::fs::File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&path)
        .unwrap();
    assert_eq!(send("read").unwrap().state, CapabilityState::Available);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    std::fs::remove_file(path).unwrap();
    assert_eq!(text, "read\n");
}

/// The line may not be written without root, nor where the kernel does not take any; then that is told.
#[test]
fn the_kernel_s_log_has_the_line_or_it_is_told_why_not() {
    let log = std::fs::File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/kmsg");
    let line = format!("tracer: a line of a test, of process {}", std::process::id());
    let mut writer = Writer::spawn(Target::Kmsg).unwrap();
    assert!(writer.write(line.clone()));
    let Ok(()) = writer.wait().unwrap().inspect_err(|why| {
        assert!(why.starts_with("/dev/kmsg cannot be written to ("), "{why}");
    }) else {
        return;
    };
    let Ok(mut log) = log else {
        return;
    };
    log.seek(SeekFrom::Start(0)).unwrap();
    let mut record = [0; 8192];
    // Each read gives one record; a record that was overwritten is an error, and the next one follows.
    let found = std::iter::from_fn(|| match log.read(&mut record) {
        Ok(length) => Some(String::from_utf8_lossy(&record[..length]).into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
        Err(_) => Some(String::new()),
    })
    .find(|record| record.contains(&line));
    // Facility 1, of processes; level 4, a warning.
    let record = found.unwrap();
    assert!(record.starts_with("12,"), "{record}");
}

#[test]
fn targets_are_read_and_said() {
    let target = |text: &str| text.parse::<Target>().unwrap();
    assert_eq!(target("kmsg"), Target::Kmsg);
    assert_eq!(target("/dev/kmsg"), Target::Kmsg);
    assert_eq!(target("stderr").to_string(), "standard error");
    assert_eq!(target("/run/x"), Target::Path("/run/x".into()));
}
