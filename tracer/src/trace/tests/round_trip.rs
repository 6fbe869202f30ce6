//! What is read is what was written.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::samples::{self, Random, event, every_kind};
use super::{Scratch, read, write};
use crate::event::{Body, Device, Event};
use crate::trace::{Error, Reader, Writer};

fn comes_back(events: &[Event]) {
    let scratch = Scratch::new();
    let path = scratch.file("trace.pcapng");
    write(&path, events);
    let mut reader = Reader::open(&path).unwrap();
    let back: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
    assert_eq!(back, events);
    assert_eq!((reader.torn(), reader.skipped()), (None, 0));
    assert_eq!(reader.sound(), fs::metadata(&path).unwrap().len());
}

#[test]
fn every_kind_of_event_comes_back() {
    comes_back(&every_kind());
}

#[test]
fn random_streams_come_back() {
    for seed in 1..=40 {
        comes_back(&Random(seed).stream(200));
    }
}

#[test]
fn an_example_too_long_for_a_comment_comes_back() {
    let mut example = samples::example4();
    example.entry.reason = Some("\u{1}".repeat(20_000));
    comes_back(&[
        event(0, Body::Start(samples::start())),
        event(1, Body::Example(Box::new(example))),
    ]);
}

#[test]
fn bytes_longer_than_the_packet_says_come_back() {
    let mut example = samples::example4();
    example.length = 0;
    comes_back(&[
        event(0, Body::Start(samples::start())),
        event(1, Body::Example(Box::new(example))),
    ]);
}

#[test]
fn each_tick_hands_whole_blocks_over() {
    let scratch = Scratch::new();
    let path = scratch.file("trace.pcapng");
    let mut writer = Writer::create(&path).unwrap();
    let events = [
        event(0, Body::Start(samples::start())),
        event(1, Body::Device(samples::device())),
    ];
    for event in &events {
        writer.write(event).unwrap();
    }
    let tick = event(2, Body::Tick);
    writer.write(&tick).unwrap();
    let (back, error) = read(&path);
    assert!(error.is_none());
    assert_eq!(back, [events.as_slice(), &[tick]].concat());
}

#[test]
fn much_between_ticks_is_handed_over() {
    let scratch = Scratch::new();
    let path = scratch.file("trace.pcapng");
    let mut writer = Writer::create(&path).unwrap();
    writer.write(&event(0, Body::Start(samples::start()))).unwrap();
    let example = event(1, Body::Example(Box::new(samples::example4())));
    for _ in 0..1000 {
        writer.write(&example).unwrap();
    }
    assert!(fs::metadata(&path).unwrap().len() > 256 << 10);
}

#[test]
fn a_writer_that_is_dropped_keeps_its_events() {
    let scratch = Scratch::new();
    let path = scratch.file("trace.pcapng");
    let mut writer = Writer::create(&path).unwrap();
    let start = event(0, Body::Start(samples::start()));
    writer.write(&start).unwrap();
    drop(writer);
    assert_eq!(read(&path).0, [start]);
}

#[test]
fn the_start_comes_first() {
    let scratch = Scratch::new();
    let path = scratch.file("trace.pcapng");
    let mut writer = Writer::create(&path).unwrap();
    assert!(matches!(
        writer.write(&event(0, Body::Tick)),
        Err(Error::NoStart { .. })
    ));
    let start = event(0, Body::Start(samples::start()));
    writer.write(&start).unwrap();
    writer.finish().unwrap();
    assert_eq!(read(&path).0, [start]);
}

#[test]
fn an_event_too_long_for_a_block_is_refused_alone() {
    let scratch = Scratch::new();
    let path = scratch.file("trace.pcapng");
    let mut writer = Writer::create(&path).unwrap();
    let start = event(0, Body::Start(samples::start()));
    writer.write(&start).unwrap();
    let huge = Device {
        name: "x".repeat(5 << 20),
        ..samples::device()
    };
    let error = writer.write(&event(1, Body::Device(huge))).unwrap_err();
    assert!(matches!(error, Error::TooLong { .. }), "{error}");
    let tick = event(2, Body::Tick);
    writer.write(&tick).unwrap();
    assert_eq!(read(&path).0, [start, tick]);
}

#[test]
fn a_recording_is_private_and_never_overwritten() {
    let scratch = Scratch::new();
    let path = scratch.file("trace.pcapng");
    write(&path, &every_kind());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let error = Writer::create(&path).unwrap_err().to_string();
    assert!(
        error.contains("trace.pcapng") && error.contains("exists") && error.contains("new file"),
        "{error}"
    );
    assert_eq!(read(&path).0, every_kind());
}

#[test]
fn a_disk_that_is_full_is_told_once_and_leaves_the_file_whole() {
    // /dev/full takes nothing; a link to it would be refused, so the writer's file is swapped.
    let scratch = Scratch::new();
    let path = scratch.file("trace.pcapng");
    let mut writer = Writer::create(&path).unwrap();
    writer.write(&event(0, Body::Start(samples::start()))).unwrap();
    writer.fail_for_test(fs::File::options().write(true).open("/dev/full").unwrap());
    let tick = event(1, Body::Tick);
    assert!(matches!(writer.write(&tick), Err(Error::Write { whole: 0, .. })));
    assert!(matches!(writer.write(&tick), Err(Error::Closed { .. })));
    assert!(matches!(writer.finish(), Err(Error::Closed { .. })));
}
