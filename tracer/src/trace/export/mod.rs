//! Copies a trace out in a form that other tools take.

mod jsonl;
mod pcapng;

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::str::FromStr;

use super::{Error, Reader, Torn};

/// A form that a trace can be exported in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// pcapng: the part of the trace that can be read, as a whole trace.
    Pcapng,
    /// One event a line, as JSON, with the packets' bytes as hexadecimal digits.
    Jsonl,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pcapng => "pcapng",
            Self::Jsonl => "jsonl",
        })
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "pcapng" => Ok(Self::Pcapng),
            "jsonl" => Ok(Self::Jsonl),
            other => Err(format!(
                "no format is called {other:?}; there are pcapng and jsonl"
            )),
        }
    }
}

/// What was exported.
#[derive(Debug)]
pub struct Exported {
    /// Events in it.
    pub events: u64,
    /// Blocks that are not of the tracer, see [`Reader::skipped`]: only [`Format::Pcapng`] has them.
    pub skipped: u64,
    /// How the trace ended.
    pub end: End,
}

/// How a trace ended.
#[derive(Debug)]
pub enum End {
    /// With its last block.
    Whole,
    /// With a torn tail, which was left out.
    Torn(Torn),
    /// At a place that cannot be read: all from there on was left out.
    Broken(Error),
}

/// Writes the part of a trace that can be read to `out`.
///
/// # Errors
/// Those of [`Reader::open`]; [`Error::Output`] where `out` takes no more. A trace that is damaged further
/// on is exported up to there, see [`End::Broken`].
pub fn export(path: &Path, format: Format, out: &mut dyn Write) -> Result<Exported, Error> {
    let reader = Reader::open(path)?;
    let exported = match format {
        Format::Pcapng => pcapng::export(reader, out),
        Format::Jsonl => jsonl::export(reader, out),
    }?;
    out.flush().map_err(|source| Error::Output { source })?;
    Ok(exported)
}

/// How the events of `reader` ended, `error` being the last thing that it gave, where it gave one.
fn end(reader: &Reader, error: Option<Error>) -> End {
    match (error, reader.torn()) {
        (Some(error), _) => End::Broken(error),
        (None, Some(torn)) => End::Torn(torn),
        (None, None) => End::Whole,
    }
}
