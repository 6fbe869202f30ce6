//! Tests of the trace as a whole, on files.

mod damage;
mod exports;
mod layout;
mod round_trip;
mod samples;
mod sentences;
mod tshark;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Error, Reader, Writer};
use crate::event::Event;

/// A directory that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tracer-trace-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A file with these bytes.
    fn with(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.file(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn write(path: &Path, events: &[Event]) {
    let mut writer = Writer::create(path).unwrap();
    for event in events {
        writer.write(event).unwrap();
    }
    writer.finish().unwrap();
}

/// The bytes of a trace of these events.
fn bytes(events: &[Event]) -> Vec<u8> {
    let scratch = Scratch::new();
    let path = scratch.file("trace.pcapng");
    write(&path, events);
    fs::read(path).unwrap()
}

/// All events, and the first error.
fn read(path: &Path) -> (Vec<Event>, Option<Error>) {
    let mut events = Vec::new();
    match Reader::open(path) {
        Err(error) => return (events, Some(error)),
        Ok(reader) => {
            for event in reader {
                match event {
                    Ok(event) => events.push(event),
                    Err(error) => return (events, Some(error)),
                }
            }
        }
    }
    (events, None)
}
