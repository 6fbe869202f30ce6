//! Exports.

use std::io::{self, Write};

use super::samples::{self, Random, every_kind};
use super::{Scratch, bytes, read};
use crate::trace::export::{End, Format, export};
use crate::trace::{Error, Torn};

#[test]
fn pcapng_is_the_trace_itself() {
    let scratch = Scratch::new();
    let all = bytes(&Random(3).stream(2000));
    let path = scratch.with("trace.pcapng", &all);
    let mut out = Vec::new();
    let exported = export(&path, Format::Pcapng, &mut out).unwrap();
    assert_eq!(
        (exported.events, matches!(exported.end, End::Whole)),
        (2001, true)
    );
    assert!(out == all);
}

#[test]
fn pcapng_leaves_a_torn_tail_out() {
    let scratch = Scratch::new();
    let all = bytes(&every_kind());
    let path = scratch.with("torn.pcapng", &all[..all.len() - 5]);
    let mut out = Vec::new();
    let exported = export(&path, Format::Pcapng, &mut out).unwrap();
    let End::Torn(Torn { offset, .. }) = exported.end else {
        panic!("{exported:?}")
    };
    assert_eq!(offset, out.len() as u64);
    let (events, error) = read(&scratch.with("whole.pcapng", &out));
    assert!(error.is_none());
    assert_eq!(events, every_kind()[..every_kind().len() - 1]);
    assert_eq!(events.len() as u64, exported.events);
}

#[test]
fn damage_ends_an_export_and_is_told() {
    let scratch = Scratch::new();
    let mut all = bytes(&every_kind());
    let sound = bytes(&every_kind()[..5]).len();
    all[sound + 4] = 1;
    let path = scratch.with("damaged.pcapng", &all);
    for (format, length) in [(Format::Pcapng, sound), (Format::Jsonl, 0)] {
        let mut out = Vec::new();
        let exported = export(&path, format, &mut out).unwrap();
        assert_eq!(exported.events, 5);
        assert!(matches!(exported.end, End::Broken(Error::Damaged { offset, .. }) if offset == sound as u64));
        assert!(length == 0 || out.len() == length);
    }
}

#[test]
fn jsonl_has_an_event_a_line() {
    let scratch = Scratch::new();
    let path = scratch.with("trace.pcapng", &bytes(&every_kind()));
    let mut out = Vec::new();
    let exported = export(&path, Format::Jsonl, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len() as u64, exported.events);
    assert_eq!(lines.len(), every_kind().len());
    assert!(lines.iter().all(|line| line["v"] == 1));
    assert_eq!(
        text.lines().next_back(),
        Some(r#"{"v":1,"at":1002500000025,"body":{"type":"stop"}}"#)
    );
    let arp = lines
        .iter()
        .find(|line| line["body"]["entry"]["ethertype"] == 0x0806)
        .expect("the ARP request");
    let hex: String = samples::example_arp()
        .bytes
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(arp["bytes"], hex);
}

#[test]
fn a_destination_that_takes_nothing_is_named() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let scratch = Scratch::new();
    let path = scratch.with("trace.pcapng", &bytes(&every_kind()));
    for format in [Format::Pcapng, Format::Jsonl] {
        let error = export(&path, format, &mut Full).unwrap_err();
        assert!(matches!(error, Error::Output { .. }), "{error}");
    }
}

#[test]
fn formats_have_names() {
    for format in [Format::Pcapng, Format::Jsonl] {
        assert_eq!(format.to_string().parse(), Ok(format));
    }
    assert_eq!(
        "xml".parse::<Format>(),
        Err("no format is called \"xml\"; there are pcapng and jsonl".into())
    );
}
