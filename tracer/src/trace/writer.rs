//! Writes a trace.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::event::{Body, CapabilityState, Event, Example, Fate, Losses, Owner, Seen, Start};

use super::names::Names;
use super::pcapng::{self, JOURNAL, MAX_BLOCK};
use super::record::{self, Bytes};
use super::sentence::sentence;
use super::sync::Syncer;
use super::{EVENT, Error, cooked, journal, section};

/// Bytes that are held back at most until the next [`Body::Tick`].
const BUFFER: usize = 256 << 10;

/// Most bytes of a packet that are recorded, for the tools that ask.
const SNAPLEN: u32 = (tracer_ebpf::SNAPLEN + cooked::HEADER) as u32;

/// Writes events to a file.
///
/// Only whole blocks are handed to the kernel: at each [`Body::Tick`], when much has gathered, and at the
/// end. What was handed over survives the death of this process; [`Writer::sync`] and [`Writer::sync_soon`] make
/// it survive the death of the machine.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: File,
    /// Whole blocks that are not yet in the file.
    buffer: Vec<u8>,
    /// Bytes of whole blocks in the file.
    whole: u64,
    broken: bool,
    /// Where it was asked for.
    syncer: Option<Syncer>,
    names: Names,
    /// What the start told, `None` before it.
    clock: Option<Clock>,
    /// Number of the interface that stands for a device, by its name and description.
    interfaces: BTreeMap<(String, String), u32>,
}

/// What every entry repeats of [`Start`].
#[derive(Debug)]
struct Clock {
    wall_offset: i64,
    /// As the journal writes it: 32 hexadecimal digits.
    boot_id: String,
    host: String,
}

impl Clock {
    fn new(start: &Start) -> Self {
        Self {
            wall_offset: start.wall_offset,
            boot_id: start.boot_id.chars().filter(char::is_ascii_hexdigit).collect(),
            host: start.host.clone(),
        }
    }

    /// Nanoseconds since 1970.
    fn wall(&self, at: u64) -> u64 {
        at.saturating_add_signed(self.wall_offset)
    }
}

/// Makes a new file that only its owner can read: packets may hold secrets.
///
/// # Errors
/// Where it cannot be made, also where it is there already.
pub fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

impl Writer {
    /// Makes a new file, see [`create`].
    ///
    /// # Errors
    /// [`Error::Create`], also where the file exists: a recording is never overwritten.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let file = match create(&path) {
            Ok(file) => file,
            Err(source) => return Err(Error::Create { path, source }),
        };
        Ok(Self {
            path,
            file,
            buffer: Vec::with_capacity(BUFFER),
            whole: 0,
            broken: false,
            syncer: None,
            names: Names::default(),
            clock: None,
            interfaces: BTreeMap::new(),
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds an event. The first one has to be [`Body::Start`].
    ///
    /// # Errors
    /// [`Error::Write`], after which nothing more can be written; [`Error::TooLong`] and
    /// [`Error::NoStart`], which leave only this event out.
    pub fn write(&mut self, event: &Event) -> Result<(), Error> {
        if self.broken {
            return Err(Error::Closed {
                path: self.path.clone(),
            });
        }
        self.names.learn(&event.body);
        if let Body::Start(start) = &event.body {
            if self.clock.is_none() {
                section::write(&mut self.buffer, start).map_err(|length| self.too_long(length))?;
            }
            self.clock = Some(Clock::new(start));
        }
        self.append(event)?;
        if matches!(event.body, Body::Tick | Body::Stop) || self.buffer.len() >= BUFFER {
            self.flush()?;
        }
        Ok(())
    }

    /// Hands all that was written to the kernel.
    ///
    /// # Errors
    /// [`Error::Write`]; the file then ends with the last whole block that it had before.
    pub fn flush(&mut self) -> Result<(), Error> {
        let unsynced = self.syncer.as_ref().and_then(Syncer::failure);
        if let Err(source) = unsynced.map_or_else(|| self.file.write_all(&self.buffer), Err) {
            // Half a block in the middle of a file would be damage; at its end it is a torn tail, so it
            // does no harm should this fail as well.
            let _ = self.file.set_len(self.whole);
            self.broken = true;
            self.buffer.clear();
            return Err(Error::Write {
                path: self.path.clone(),
                whole: self.whole,
                source,
            });
        }
        self.whole += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Has all that was written on the disk when it returns (`fdatasync`).
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn sync(&mut self) -> Result<(), Error> {
        self.flush()?;
        self.file.sync_data().map_err(|source| Error::Write {
            path: self.path.clone(),
            whole: self.whole,
            source,
        })
    }

    /// Has all that was written on the disk soon: [`Writer::sync`], without waiting for a slow disk.
    ///
    /// # Errors
    /// [`Error::Write`], also for what was asked for before.
    pub fn sync_soon(&mut self) -> Result<(), Error> {
        self.flush()?;
        let syncer = match &self.syncer {
            Some(syncer) => syncer,
            None => self
                .syncer
                .insert(Syncer::start(&self.file).map_err(|source| Error::Write {
                    path: self.path.clone(),
                    whole: self.whole,
                    source,
                })?),
        };
        syncer.ask();
        Ok(())
    }

    /// Ends the trace, on the disk.
    ///
    /// # Errors
    /// [`Error::Write`], or [`Error::Closed`] where that had happened before.
    pub fn finish(mut self) -> Result<(), Error> {
        if self.broken {
            return Err(Error::Closed {
                path: self.path.clone(),
            });
        }
        self.sync()
    }

    fn append(&mut self, event: &Event) -> Result<(), Error> {
        let Some(clock) = &self.clock else {
            return Err(Error::NoStart {
                path: self.path.clone(),
            });
        };
        let wall = clock.wall(event.at);
        if let Body::Example(example) = &event.body {
            let record = self.record(event, Bytes::Apart)?;
            if cooked::fits(&record) {
                let interface = self.interface(example)?;
                let text = sentence(&event.body, &self.names);
                return cooked::write(&mut self.buffer, interface, wall, example, &text, &record)
                    .map_err(|length| self.too_long(length));
            }
        }
        self.entry(event, wall, &self.record(event, Bytes::Within)?)
    }

    /// Appends a journal entry.
    fn entry(&mut self, event: &Event, wall: u64, record: &str) -> Result<(), Error> {
        let text = sentence(&event.body, &self.names);
        pcapng::block(&mut self.buffer, JOURNAL, |out| {
            let mut entry = journal::Entry::new(out);
            entry.field("__REALTIME_TIMESTAMP", &(wall / 1000).to_string());
            entry.field("__MONOTONIC_TIMESTAMP", &(event.at / 1000).to_string());
            if let Some(clock) = &self.clock {
                entry.field("_BOOT_ID", &clock.boot_id);
                entry.field("_HOSTNAME", &clock.host);
            }
            entry.field("SYSLOG_IDENTIFIER", "tracer");
            entry.field("PRIORITY", priority(&event.body));
            if let Some(owner) = owner(&event.body) {
                if owner.pid != 0 {
                    entry.field("_PID", &owner.pid.to_string());
                }
                if !owner.unit.is_empty() {
                    entry.field("UNIT", &owner.unit);
                }
            }
            entry.field("MESSAGE", &text);
            entry.field(EVENT, record);
            entry.end();
        })
        .map_err(|length| self.too_long(length))
    }

    /// The number of the interface that stands for an example's device; describes it at first sight.
    fn interface(&mut self, example: &Example) -> Result<u32, Error> {
        let (netns, index) = (example.entry.netns, cooked::device(&example.entry));
        let device = self.names.device(netns, index);
        let netns = self.names.netns(netns);
        let key = (
            format!("{device} ({netns})"),
            format!("{device}, index {index}, {netns}"),
        );
        if let Some(number) = self.interfaces.get(&key) {
            return Ok(*number);
        }
        let number = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        section::write_interface(&mut self.buffer, cooked::LINK, SNAPLEN, &key.0, &key.1)
            .map_err(|length| self.too_long(length))?;
        self.interfaces.insert(key, number);
        Ok(number)
    }

    fn record(&self, event: &Event, bytes: Bytes) -> Result<String, Error> {
        record::encode(event, bytes).map_err(|error| Error::Write {
            path: self.path.clone(),
            whole: self.whole,
            source: error.into(),
        })
    }

    /// Lets the next flush meet another file.
    #[cfg(test)]
    pub(super) fn fail_for_test(&mut self, file: File) {
        self.file = file;
    }

    fn too_long(&self, length: usize) -> Error {
        Error::TooLong {
            path: self.path.clone(),
            length,
            most: MAX_BLOCK,
        }
    }
}

impl Drop for Writer {
    /// Keeps what was written where the program ends early. An error has nowhere to go from here: see
    /// [`Writer::finish`].
    fn drop(&mut self) {
        let _ = self.flush();
    }
}

/// The journal's priority: 4 warning, 5 notice, 6 information, 7 debugging.
fn priority(body: &Body) -> &'static str {
    match body {
        Body::Capability(capability) if capability.state != CapabilityState::Available => "4",
        Body::Entry(entry) if entry.key.fate == Fate::Dropped => "4",
        Body::Losses(losses) if *losses != Losses::default() => "4",
        Body::Example(_) | Body::Counter(_) => "4",
        Body::Setting(setting) if setting.seen != Seen::Found => "5",
        Body::Start(_) | Body::Stop | Body::Job(_) | Body::Notice(_) => "5",
        Body::Tick => "7",
        _ => "6",
    }
}

fn owner(body: &Body) -> Option<&Owner> {
    match body {
        Body::Example(example) => example.owner.as_ref(),
        Body::Socket(socket) => socket.owner.as_ref(),
        Body::Flow(flow) => flow.owner.as_deref(),
        Body::Queue(queue) => queue.owner.as_ref(),
        Body::Setting(setting) => setting.by.as_ref(),
        Body::Packages(packages) => packages.holder.as_ref(),
        Body::Notice(notice) => notice.by.as_ref(),
        _ => None,
    }
}
