//! The part of a trace that can be read, byte for byte.

use std::fs::File;
use std::io::{self, Read, Write};

use crate::trace::{Error, Reader};

use super::{Exported, end};

/// Reads the trace to its end, to know how much of it is sound, then copies that.
pub(super) fn export(mut reader: Reader, out: &mut dyn Write) -> Result<Exported, Error> {
    let mut events = 0;
    let mut error = None;
    for event in reader.by_ref() {
        match event {
            Ok(_) => events += 1,
            Err(last) => error = Some(last),
        }
    }
    copy(&reader, out)?;
    Ok(Exported {
        events,
        skipped: reader.skipped(),
        end: end(&reader, error),
    })
}

fn copy(reader: &Reader, out: &mut dyn Write) -> Result<(), Error> {
    let path = reader.path();
    let file = File::open(path).map_err(|source| Error::Open {
        path: path.into(),
        source,
    })?;
    let mut sound = file.take(reader.sound());
    let mut piece = Vec::new();
    let mut offset = 0;
    loop {
        piece.clear();
        // Not io::copy: it does not say which side failed.
        match sound.by_ref().take(PIECE).read_to_end(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(length) => offset += length as u64,
            Err(source) => {
                return Err(Error::Read {
                    path: path.into(),
                    offset,
                    source,
                });
            }
        }
        out.write_all(&piece)
            .map_err(|source: io::Error| Error::Output { source })?;
    }
}

/// Bytes that are copied at once.
const PIECE: u64 = 256 << 10;
