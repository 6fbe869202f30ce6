//! The JSON form of an event, which is what is replayed: `{"v":1,"at":…,"body":{"type":…,…}}`.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::event::{Body, Event};

use super::FORMAT;

/// Where the bytes of a packet stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bytes {
    /// In the record, as hexadecimal digits.
    Within,
    /// In the packet block that has the record in its comment.
    Apart,
}

#[derive(Serialize)]
struct Written<'a> {
    v: u32,
    at: u64,
    body: &'a Body,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<Hex<'a>>,
}

#[derive(Deserialize)]
struct Read<'a> {
    v: u32,
    at: u64,
    body: Body,
    #[serde(default, borrow)]
    bytes: Option<Hex<'a>>,
}

/// Why a record cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It has another version.
    Version(u64),
    /// It is not a record.
    Damaged(String),
}

/// The record of an event.
///
/// # Errors
/// None that is known: every event has a JSON form.
pub(super) fn encode(event: &Event, bytes: Bytes) -> serde_json::Result<String> {
    let bytes = match &event.body {
        Body::Example(example) if bytes == Bytes::Within => Some(Hex(Cow::Borrowed(&example.bytes))),
        _ => None,
    };
    serde_json::to_string(&Written {
        v: FORMAT,
        at: event.at,
        body: &event.body,
        bytes,
    })
}

/// The event of a record. `packet` is the packet block's bytes, where it stood in one.
///
/// # Errors
/// What is wrong with it.
pub(super) fn decode(record: &[u8], packet: Option<&[u8]>) -> Result<Event, Fault> {
    let read: Read<'_> = serde_json::from_slice(record).map_err(|error| fault(record, &error))?;
    if read.v != FORMAT {
        return Err(Fault::Version(read.v.into()));
    }
    let mut event = Event {
        at: read.at,
        body: read.body,
    };
    match (&mut event.body, read.bytes, packet) {
        (Body::Example(example), Some(Hex(bytes)), None) => example.bytes = bytes.into_owned(),
        (Body::Example(example), None, Some(bytes)) => example.bytes = bytes.to_vec(),
        (Body::Example(_), None, None) => {
            return Err(Fault::Damaged("a dropped packet has no bytes".into()));
        }
        (_, None, None) => {}
        _ => return Err(Fault::Damaged("packet bytes stand where none belong".into())),
    }
    Ok(event)
}

/// A record of a later version may look like nothing that is known here, so its version is asked first.
fn fault(record: &[u8], error: &serde_json::Error) -> Fault {
    #[derive(Deserialize)]
    struct Version {
        v: u64,
    }
    match serde_json::from_slice(record) {
        Ok(Version { v }) if v != u64::from(FORMAT) => Fault::Version(v),
        _ => Fault::Damaged(format!("the event is not valid: {error}")),
    }
}

/// Bytes as hexadecimal digits.
struct Hex<'a>(Cow<'a, [u8]>);

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut digits = String::with_capacity(2 * self.0.len());
        for byte in self.0.iter() {
            // Writing to a string does not fail.
            let _ = write!(digits, "{byte:02x}");
        }
        serializer.serialize_str(&digits)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Hex<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = Cow::<str>::deserialize(deserializer)?;
        let pair = |pair: &[u8]| match pair {
            [high, low] => {
                let digit = |byte: u8| {
                    char::from(byte)
                        .to_digit(16)
                        .and_then(|digit| u8::try_from(digit).ok())
                };
                Some(digit(*high)? << 4 | digit(*low)?)
            }
            _ => None,
        };
        let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(pair).collect();
        bytes
            .map(|bytes| Self(Cow::Owned(bytes)))
            .ok_or_else(|| serde::de::Error::custom("the packet's bytes are not pairs of hexadecimal digits"))
    }
}
