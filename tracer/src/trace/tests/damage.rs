//! Torn, foreign and damaged files.

use std::fs;

use super::samples::{self, Random, event, every_kind};
use super::{Scratch, bytes, read};
use crate::event::{Body, Event};
use crate::trace::{Error, Reader, Torn};

/// Two events, then `last`; the bytes, and where the last block begins.
fn ends_with(last: Body) -> (Vec<Event>, Vec<u8>, usize) {
    let mut events = vec![
        event(0, Body::Start(samples::start())),
        event(1, Body::Device(samples::device())),
    ];
    // The same device once before, so that its interface is described already.
    events.push(event(2, Body::Example(Box::new(samples::example_arp()))));
    let before = bytes(&events).len();
    events.push(event(3, last));
    let all = bytes(&events);
    (events, all, before)
}

#[test]
fn a_tail_torn_at_any_byte_loses_the_last_event_only() {
    let scratch = Scratch::new();
    for last in [Body::Tick, Body::Example(Box::new(samples::example6()))] {
        let (events, all, before) = ends_with(last);
        for cut in before..all.len() {
            let path = scratch.with("torn.pcapng", &all[..cut]);
            let mut reader = Reader::open(&path).unwrap();
            let back: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
            assert_eq!(back, events[..events.len() - 1]);
            let torn = Torn {
                offset: before as u64,
                bytes: (cut - before) as u64,
            };
            assert_eq!(reader.torn(), (cut > before).then_some(torn));
            assert!(reader.next().is_none());
        }
    }
}

#[test]
fn a_file_torn_anywhere_is_empty_or_a_beginning() {
    let scratch = Scratch::new();
    let path = scratch.with("torn.pcapng", &bytes(&every_kind()));
    let file = fs::File::options().write(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    // Blocks are multiples of four long: seven meets every place in a word.
    for cut in (0..length).rev().step_by(7) {
        file.set_len(cut).unwrap();
        let (events, error) = read(&path);
        assert!(every_kind().starts_with(&events));
        assert!(matches!(
            (events.len(), error),
            (_, None) | (0, Some(Error::Empty { .. }))
        ));
    }
}

#[test]
fn a_tail_of_zeros_is_torn() {
    let scratch = Scratch::new();
    let (events, mut all, before) = ends_with(Body::Tick);
    let whole = all.len() as u64;
    all.resize(all.len() + 100_000, 0);
    let mut reader = Reader::open(scratch.with("zeros.pcapng", &all)).unwrap();
    assert_eq!(reader.by_ref().map(Result::unwrap).collect::<Vec<_>>(), events);
    assert_eq!(
        reader.torn(),
        Some(Torn {
            offset: whole,
            bytes: 100_000
        })
    );

    // The length had reached the disk, the rest of the block had not.
    all[before + 40..].fill(0);
    let mut reader = Reader::open(scratch.with("zeros.pcapng", &all)).unwrap();
    assert_eq!(
        reader.by_ref().map(Result::unwrap).collect::<Vec<_>>(),
        events[..events.len() - 1]
    );
    assert_eq!(
        reader.torn(),
        Some(Torn {
            offset: before as u64,
            bytes: (all.len() - before) as u64
        })
    );
}

/// The events before the damage, and the error.
fn damaged(change: impl FnOnce(&mut Vec<u8>, usize)) -> (usize, String) {
    let scratch = Scratch::new();
    let (events, mut all, before) = ends_with(Body::Tick);
    all.extend(bytes(&[event(0, Body::Start(samples::start()))]));
    change(&mut all, before);
    let path = scratch.with("damaged.pcapng", &all);
    let (back, error) = read(&path);
    assert_eq!(back, events[..back.len().min(events.len())]);
    let error = error.expect("damage is an error");
    let text = error.to_string();
    assert!(
        matches!(error, Error::Damaged { .. } | Error::Unsupported { .. }),
        "{text}"
    );
    assert!(
        text.contains("damaged.pcapng") && text.contains(&format!("offset {before}")),
        "{text}"
    );
    assert!(!text.contains('\n'), "{text}");
    (back.len(), text)
}

#[test]
fn contradictions_are_named_with_their_offset() {
    let length =
        |all: &mut Vec<u8>, at: usize, value: u32| all[at..at + 4].copy_from_slice(&value.to_le_bytes());
    for wrong in [0, 8, 15, u32::MAX, (4 << 20) + 4] {
        let (before, text) = damaged(|all, block| length(all, block + 4, wrong));
        assert_eq!(before, 3);
        assert!(
            text.contains(&format!("claims a length of {wrong} bytes")),
            "{text}"
        );
    }
    let (_, text) = damaged(|all, block| length(all, block + 4, 16));
    assert!(text.contains("the two lengths of a block differ"), "{text}");
    let (_, text) = damaged(|all, block| all[block..block + 8].fill(0));
    assert!(text.contains("neither type nor length"), "{text}");
    let (_, text) = damaged(|all, block| replace(all, block, b"\"type\":\"tick\"", b"\"type\":\"tock\""));
    assert!(
        text.contains("the event is not valid: unknown variant `tock`"),
        "{text}"
    );
    let (_, text) = damaged(|all, block| replace(all, block, b"\"tick\"", b"\"\xff\xfe\xff\xfe\""));
    assert!(text.contains("the event is not valid"), "{text}");
    let (_, text) = damaged(|all, block| replace(all, block, b"SYSLOG_IDENTIFIER=", b"SYSLOG_IDENTIFIER\n"));
    assert!(
        text.contains("a journal field is longer than its entry"),
        "{text}"
    );
    assert!(text.contains("tracer export"), "{text}");
}

#[test]
fn a_later_version_asks_for_a_newer_tracer() {
    let (before, text) = damaged(|all, block| replace(all, block, b"{\"v\":1,\"at\":", b"{\"v\":2,\"AT\":"));
    assert_eq!(before, 3);
    assert!(
        text.contains("an event has version 2, this tracer reads version 1"),
        "{text}"
    );
    assert!(text.contains("use a tracer that is as new"), "{text}");
}

#[test]
fn a_trace_without_its_start_is_damaged() {
    let scratch = Scratch::new();
    let all = bytes(&every_kind());
    let at = |offset: usize| u32::from_le_bytes(all[offset..offset + 4].try_into().unwrap()) as usize;
    let section = at(4);
    let start = at(section + 4);
    let headless = [&all[..section], &all[section + start..]].concat();
    let (events, error) = read(&scratch.with("headless.pcapng", &headless));
    assert_eq!(events, []);
    let text = error.expect("it has no start").to_string();
    assert!(
        text.contains(&format!("offset {section}: the first event is not the start")),
        "{text}"
    );
}

/// Replaces the first `old` behind `from` by a `new` of the same length.
fn replace(all: &mut [u8], from: usize, old: &[u8], new: &[u8]) {
    let at = all[from..]
        .windows(old.len())
        .position(|window| window == old)
        .expect("it is there");
    all[from + at..][..old.len()].copy_from_slice(new);
}

fn refused(name: &str, bytes: &[u8]) -> String {
    let scratch = Scratch::new();
    let text = match Reader::open(scratch.with(name, bytes)) {
        Ok(_) => panic!("{name} was opened"),
        Err(error) => error.to_string(),
    };
    assert!(text.contains(name) && !text.contains('\n'), "{text}");
    text
}

#[test]
fn foreign_files_are_named() {
    let empty = refused("empty", b"");
    assert!(
        empty.contains("it ends at offset 0") && empty.contains("record again"),
        "{empty}"
    );
    let text = refused("notes.txt", b"these are my notes, and they are no capture");
    assert!(
        text.contains("is not a trace: there is no pcapng section at offset 0"),
        "{text}"
    );
    let pcap = refused(
        "old.pcap",
        &[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    );
    assert!(pcap.contains("no pcapng section"), "{pcap}");

    let mut all = bytes(&every_kind());
    replace(&mut all, 0, b"tracer trace, format 1", b"some other kind of com");
    let text = refused("other.pcapng", &all);
    assert!(
        text.contains("offset 0 was written by \"tracer 0.1.0\"; open it with tshark"),
        "{text}"
    );
    replace(&mut all, 0, b"tracer 0.1.0", b"dump\n\x1b[31mp ");
    let text = refused("other.pcapng", &all);
    assert!(text.contains(r#"written by "dump\n\u{1b}[31mp ""#), "{text}");

    let mut all = bytes(&every_kind());
    replace(&mut all, 0, b"format 1", b"format 2");
    let text = refused("new.pcapng", &all);
    assert!(
        text.contains("the trace has format \"2\", this tracer reads format 1"),
        "{text}"
    );

    let mut all = bytes(&every_kind());
    all[8..12].reverse();
    let text = refused("big.pcapng", &all);
    assert!(text.contains("big-endian"), "{text}");
}

#[test]
fn what_is_no_file_is_named() {
    let scratch = Scratch::new();
    let open = |path| {
        Reader::open(path)
            .err()
            .map(|error| error.to_string())
            .expect("it is no trace")
    };
    let missing = open(scratch.file("missing"));
    assert!(
        missing.contains("missing") && missing.contains("No such file"),
        "{missing}"
    );
    let directory = open(scratch.0.clone());
    assert!(directory.contains("not a regular file"), "{directory}");
}

#[test]
fn blocks_of_others_are_skipped_and_counted() {
    let scratch = Scratch::new();
    let (events, all, before) = ends_with(Body::Tick);
    let mut mixed = all[..before].to_vec();
    // A block of an unknown type, and a journal entry that is not ours.
    mixed.extend(b"\x99\0\0\0\x10\0\0\0abcd\x10\0\0\0");
    mixed.extend(b"\x09\0\0\0\x14\0\0\0A=1\nB=\n\n\x14\0\0\0");
    mixed.extend(&all[before..]);
    let mut reader = Reader::open(scratch.with("mixed.pcapng", &mixed)).unwrap();
    assert_eq!(reader.by_ref().map(Result::unwrap).collect::<Vec<_>>(), events);
    assert_eq!(reader.skipped(), 1);
}

#[test]
fn traces_behind_one_another_are_read() {
    let scratch = Scratch::new();
    let all = [bytes(&every_kind()), bytes(&every_kind())].concat();
    let (events, error) = read(&scratch.with("two.pcapng", &all));
    assert!(error.is_none());
    assert_eq!(events, [every_kind(), every_kind()].concat());
}

#[test]
fn random_damage_never_panics_and_keeps_what_stands_before() {
    let scratch = Scratch::new();
    let all = bytes(&every_kind());
    let first = bytes(&every_kind()[..1]).len();
    let mut random = Random(7);
    for _ in 0..3000 {
        let mut bad = all.clone();
        let mut lowest = bad.len();
        for _ in 0..=random.below(3) {
            let at = random.below(bad.len());
            bad[at] = random.next() as u8;
            lowest = lowest.min(at);
        }
        let (events, error) = read(&scratch.with("bad.pcapng", &bad));
        if lowest >= first {
            assert_eq!(events.first(), every_kind().first());
        }
        if let Some(error) = error {
            assert!(!error.to_string().contains('\n'));
        }
    }
    fs::remove_file(scratch.file("bad.pcapng")).unwrap();
}
