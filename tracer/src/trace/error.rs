//! What can go wrong with a trace.

use std::io;
use std::path::PathBuf;

/// What can go wrong with a trace: one line that names the file, the place in it, and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be made.
    #[error("cannot create the trace {path:?}: {source}; name a new file in a directory that can be written")]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file could not be written. The writer is of no more use; what is in the file is whole.
    #[error(
        "cannot write the trace {path:?}: {source}; free some space or record elsewhere. {whole} bytes before it are whole"
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// Bytes of whole blocks that had been written before.
        whole: u64,
        /// Why.
        source: io::Error,
    },
    /// The writer had failed before.
    #[error("the trace {path:?} is no longer written because of an earlier error; start another recording")]
    Closed {
        /// The file.
        path: PathBuf,
    },
    /// The first event was not the start.
    #[error(
        "cannot write the trace {path:?}: its first event is not the start; this is a fault in tracer, report it"
    )]
    NoStart {
        /// The file.
        path: PathBuf,
    },
    /// An event is longer than a block may be.
    #[error(
        "cannot write an event of {length} bytes to the trace {path:?}: a block holds at most {most}; report it"
    )]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Bytes that the block would have had.
        length: usize,
        /// Bytes that a block may have.
        most: usize,
    },
    /// The file could not be opened.
    #[error("cannot open the trace {path:?}: {source}; name a file that `tracer --record` wrote")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file could not be read.
    #[error(
        "cannot read the trace {path:?} at offset {offset}: {source}; copy it to a sound disk and try again"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// Bytes from its beginning.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// The file ends before its first block does.
    #[error(
        "the trace {path:?} is empty: it ends at offset {length}, within its first block; nothing was recorded, record again"
    )]
    Empty {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        length: u64,
    },
    /// The file is not pcapng at all.
    #[error(
        "{path:?} is not a trace: there is no pcapng section at offset 0; name a file that `tracer --record` wrote"
    )]
    NotPcapng {
        /// The file.
        path: PathBuf,
    },
    /// The file is pcapng, and some other program's.
    #[error(
        "{path:?} is not a trace of tracer: the pcapng section at offset {offset} was written by {writer:?}; open it with tshark or Wireshark"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Bytes from its beginning.
        offset: u64,
        /// Who wrote it, as the file says.
        writer: String,
    },
    /// The file is in a form that this version does not read.
    #[error(
        "cannot read the trace {path:?}: at offset {offset} {what}; use a tracer that is as new as the trace"
    )]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Bytes from its beginning.
        offset: u64,
        /// The form.
        what: String,
    },
    /// The file contradicts itself.
    #[error(
        "the trace {path:?} is damaged at offset {offset}: {what}; `tracer export --format pcapng` saves what stands before"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Bytes from its beginning.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// The destination of an export could not be written.
    #[error("cannot write the export: {source}; check the destination's space and permissions")]
    Output {
        /// Why.
        source: io::Error,
    },
}
