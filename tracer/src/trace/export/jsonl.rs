//! One event a line.

use std::io::Write;

use crate::trace::record::{self, Bytes};
use crate::trace::{Error, Reader};

use super::{Exported, end};

/// Writes every event that `reader` gives.
pub(super) fn export(mut reader: Reader, out: &mut dyn Write) -> Result<Exported, Error> {
    let mut events = 0;
    let mut error = None;
    for event in reader.by_ref() {
        match event {
            Ok(event) => {
                let line = record::encode(&event, Bytes::Within)
                    .map_err(|error| Error::Output { source: error.into() })?;
                writeln!(out, "{line}").map_err(|source| Error::Output { source })?;
                events += 1;
            }
            Err(last) => error = Some(last),
        }
    }
    Ok(Exported {
        events,
        skipped: reader.skipped(),
        end: end(&reader, error),
    })
}
