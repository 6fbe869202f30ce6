//! What the model's numbers mean: rules, and the report that carries their findings.
//!
//! A rule is a value of [`RULES`]; its `examine` looks for one signature in the model and says what it
//! found, with the evidence. Rules are pure: they see nothing but the [`Model`]. One file for each family:
//! `routing` state that the host lost, `lost` what else keeps packets from their sockets,
//! `unroutable` what has no way out, `neighbours` who is not answered on the link, `path` the way to the
//! node, `ports` sockets and processes.

mod lost;
mod neighbours;
mod path;
mod ports;
mod report;
mod routing;
mod suffering;
mod unroutable;
mod words;

use crate::event::FlowKey;
use crate::model::Model;
use crate::report::{Confidence, Evidence, Where};

pub use report::{Standing, alone as node, report, standing};

/// A failure mode that can be recognised.
pub struct Rule {
    /// Short id, as verdicts carry it.
    pub id: &'static str,
    /// The id in words, for file names and links.
    pub slug: &'static str,
    /// The verdict in a few words.
    pub title: &'static str,
    /// Where the fault is.
    pub place: Where,
    examine: fn(&Model) -> Option<Finding>,
}

/// All rules. The order is the precedence of their verdicts: what the host lost explains what happens on the
/// path and at a port, not the other way round.
pub const RULES: &[Rule] = &[
    routing::ROUTED_AS_FOREIGN,
    routing::REVERSE_PATH,
    lost::LOST,
    unroutable::NO_ROUTE,
    neighbours::UNANSWERED,
    path::SILENT,
    ports::NO_SOCKET,
    ports::UNREAD,
];

/// What a rule has found.
struct Finding {
    confidence: Confidence,
    /// In plain words, with the real names and numbers.
    explanation: String,
    /// First evidence, in boot time.
    since: u64,
    /// Last evidence, in boot time.
    last: u64,
    evidence: Vec<Evidence>,
    /// Flows that suffer, the most starved first.
    flows: Vec<FlowKey>,
    /// Units that suffer, each once and in order.
    units: Vec<String>,
    check: Vec<String>,
    remedy: Vec<String>,
}

/// An [`Evidence`].
fn seen(kind: &str, text: String) -> Evidence {
    Evidence {
        kind: kind.to_owned(),
        text,
    }
}
