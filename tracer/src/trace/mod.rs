//! The trace on disk: events as a pcapng file, which any pcapng tool opens (docs/trace-format.md).
//!
//! [`Writer`] takes the stream of events, [`Reader`] gives the very same events back in the same order,
//! [`export`] copies them out. A dropped packet is an Enhanced Packet Block; every other event is a
//! systemd Journal Export Block. Both hold the event itself as JSON, so nothing is told twice in
//! different words: the packet, the comment and the sentences are for people and their tools, the JSON
//! is what is replayed.

mod changes;
mod cooked;
mod error;
pub mod export;
mod frames;
mod journal;
mod names;
mod pcapng;
mod reader;
mod record;
mod section;
mod sentence;
mod sync;
#[cfg(test)]
mod tests;
mod writer;

pub use error::Error;
pub use names::Names;
pub use reader::{Reader, Torn};
pub use sentence::sentence;
pub use writer::{Writer, create};

/// Version of the format: raised when an older reader could not give the same events back.
pub const FORMAT: u32 = 1;

/// Name of the journal field, and start of the packet comment, that holds the event.
const EVENT: &str = "TRACER_EVENT";
