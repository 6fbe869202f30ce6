//! Reads a trace.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use crate::event::{self, Event};

use super::frames::{self, Frame, Frames, Head};
use super::pcapng::{Body, JOURNAL, PACKET, SECTION};
use super::record::{self, Fault};
use super::section::Whose;
use super::{EVENT, Error, FORMAT, cooked, journal, section};

/// Bytes that are read at once.
const BUFFER: usize = 64 << 10;

/// The events of a trace, in the order in which they were written.
///
/// It ends with the file, at a torn tail ([`Reader::torn`]), or after the first error.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    frames: Frames<BufReader<File>>,
    sound: u64,
    torn: Option<Torn>,
    skipped: u64,
    started: bool,
    done: bool,
}

/// A tail that is no whole block: the recording was cut off here, or goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Where it begins, in bytes from the beginning of the file.
    pub offset: u64,
    /// Bytes that were ignored.
    pub bytes: u64,
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the recording was cut off: the last {} bytes, from offset {}, are no whole block and were ignored",
            self.bytes, self.offset
        )
    }
}

/// What a block is to the reader.
enum Block {
    Event(Box<Event>),
    /// Has no event: describes something, or is of another program.
    Nothing,
    Foreign,
}

/// Why a block cannot be read; the path and the offset are added later.
enum Refusal {
    Damaged(String),
    Foreign(String),
    Unsupported(String),
}

impl From<&str> for Refusal {
    fn from(what: &str) -> Self {
        Self::Damaged(what.into())
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Version(version) => Self::Unsupported(format!(
                "an event has version {version}, this tracer reads version {FORMAT}"
            )),
            Fault::Damaged(what) => Self::Damaged(what),
        }
    }
}

impl Reader {
    /// Opens a trace and reads its head.
    ///
    /// # Errors
    /// [`Error::Open`], [`Error::Read`], and what the head shows: [`Error::Empty`], [`Error::NotPcapng`],
    /// [`Error::Foreign`], [`Error::Unsupported`], [`Error::Damaged`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let file = match regular(&path) {
            Ok(file) => file,
            Err(source) => return Err(Error::Open { path, source }),
        };
        let mut reader = Self {
            path,
            frames: Frames::new(BufReader::with_capacity(BUFFER, file)),
            sound: 0,
            torn: None,
            skipped: 0,
            started: false,
            done: false,
        };
        let path = reader.path.clone();
        match reader.frames.head().map_err(|source| Error::Read {
            path: path.clone(),
            offset: 0,
            source,
        })? {
            Head::Section => {}
            Head::Cut(length) => return Err(Error::Empty { path, length }),
            Head::Other => return Err(Error::NotPcapng { path }),
            Head::OtherByteOrder => {
                let what = "a section is big-endian, traces are little-endian".into();
                return Err(Error::Unsupported {
                    path,
                    offset: 0,
                    what,
                });
            }
        }
        // The head is the first block.
        match reader.step() {
            Some(Err(error)) => Err(error),
            None if reader.torn.is_some() => Err(Error::Empty {
                path,
                length: reader.torn.map_or(0, |torn| torn.bytes),
            }),
            _ => Ok(reader),
        }
    }

    /// The torn tail, where one was met. To be asked when the events have ended.
    #[must_use]
    pub fn torn(&self) -> Option<Torn> {
        self.torn
    }

    /// Blocks so far that hold packets or journal entries and no event of ours: other programs may add
    /// them to a trace, and the replay goes on without them.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Bytes from the beginning of the file that could be read and understood so far: a whole trace.
    #[must_use]
    pub fn sound(&self) -> u64 {
        self.sound
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads one block; `None` where there is no more.
    fn step(&mut self) -> Option<Result<Block, Error>> {
        let offset = self.frames.offset();
        let error = match self.frames.next() {
            Ok(Frame::Block(kind, body)) => match understand(kind, body, self.started) {
                Ok(block) => {
                    self.started |= matches!(block, Block::Event(_));
                    self.sound = self.frames.offset();
                    return Some(Ok(block));
                }
                Err(refusal) => self.refuse(offset, refusal),
            },
            Ok(Frame::End) => {
                self.done = true;
                return None;
            }
            Ok(Frame::Torn(bytes)) => {
                self.done = true;
                self.torn = Some(Torn { offset, bytes });
                return None;
            }
            Err(frames::Fault::Read(source)) => Error::Read {
                path: self.path.clone(),
                offset,
                source,
            },
            Err(frames::Fault::Damaged(what)) => self.refuse(offset, Refusal::Damaged(what)),
        };
        self.done = true;
        Some(Err(error))
    }

    fn refuse(&self, offset: u64, refusal: Refusal) -> Error {
        let path = self.path.clone();
        match refusal {
            Refusal::Damaged(what) => Error::Damaged { path, offset, what },
            Refusal::Foreign(writer) => Error::Foreign { path, offset, writer },
            Refusal::Unsupported(what) => Error::Unsupported { path, offset, what },
        }
    }
}

impl Iterator for Reader {
    type Item = Result<Event, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.done {
            match self.step()? {
                Ok(Block::Event(event)) => return Some(Ok(*event)),
                Ok(Block::Nothing) => {}
                Ok(Block::Foreign) => self.skipped += 1,
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }
}

/// Opens a regular file: a trace is read from its beginning to its end, and a pipe has none.
fn regular(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
}

/// `started`: an event came before, so this need not be the start.
fn understand(kind: u32, body: &[u8], started: bool) -> Result<Block, Refusal> {
    let event = match kind {
        SECTION => {
            return match section::read(Body(body)) {
                Some(Whose::Ours) => Ok(Block::Nothing),
                Some(Whose::OtherFormat(format)) => Err(Refusal::Unsupported(format!(
                    "the trace has format {format:?}, this tracer reads format {FORMAT}"
                ))),
                Some(Whose::Foreign(writer)) => Err(Refusal::Foreign(writer)),
                None => Err(Refusal::Damaged("a section's head is not valid".into())),
            };
        }
        PACKET => {
            let packet = cooked::Packet::read(Body(body))?;
            match packet.record {
                Some(record) => record::decode(record, Some(packet.bytes()?))?,
                None => return Ok(Block::Foreign),
            }
        }
        JOURNAL => match journal::field(body, EVENT)? {
            Some(record) => record::decode(record, None)?,
            None => return Ok(Block::Foreign),
        },
        // pcapng asks readers to skip what they do not know.
        _ => return Ok(Block::Nothing),
    };
    if !started && !matches!(event.body, event::Body::Start(_)) {
        return Err("the first event is not the start".into());
    }
    Ok(Block::Event(Box::new(event)))
}
