//! What the traffic counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// How often something worked, and how often it did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named by the type")]
pub struct Tally {
    pub done: u64,
    pub failed: u64,
}

/// What was exchanged with one address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Small requests on a kept connection.
    pub requests: Tally,
    /// Small requests on a connection of their own.
    pub connections: Tally,
    /// Exchanges over UDP.
    pub datagrams: Tally,
    /// ICMP echoes.
    pub pings: Tally,
    /// Frames that were sent.
    pub frames: Tally,
    /// Bytes of bodies that arrived over HTTP.
    pub bytes: u64,
    /// Bulk workloads that came to their end without any failure.
    pub bulks: Tally,
}

impl Target {
    fn tallies(&self) -> [Tally; 6] {
        [
            self.requests,
            self.connections,
            self.datagrams,
            self.pings,
            self.frames,
            self.bulks,
        ]
    }

    /// Exchanges that worked, of all kinds.
    pub fn done(&self) -> u64 {
        self.tallies().iter().map(|tally| tally.done).sum()
    }

    /// Exchanges that failed, of all kinds.
    pub fn failed(&self) -> u64 {
        self.tallies().iter().map(|tally| tally.failed).sum()
    }
}

/// The counts of a process, by address.
pub type Counts = BTreeMap<String, Target>;

/// A tally that threads share.
#[derive(Debug, Default)]
pub(super) struct Score {
    pub(super) requests: Live,
    pub(super) connections: Live,
    pub(super) datagrams: Live,
    pub(super) pings: Live,
    pub(super) frames: Live,
    pub(super) bulks: Live,
    pub(super) bytes: AtomicU64,
}

/// A [`Tally`] that is being counted.
#[derive(Debug, Default)]
pub(super) struct Live {
    done: AtomicU64,
    failed: AtomicU64,
}

impl Live {
    pub(super) fn count(&self, worked: bool) {
        let counter = if worked { &self.done } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn tally(&self) -> Tally {
        Tally {
            done: self.done.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}

/// The scores of a process, by address.
#[derive(Debug)]
pub(super) struct Scores(BTreeMap<String, Arc<Score>>);

impl Scores {
    pub(super) fn new(addresses: &[String]) -> Self {
        Self(
            addresses
                .iter()
                .map(|address| (address.clone(), Arc::default()))
                .collect(),
        )
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Arc<Score>)> {
        self.0.iter().map(|(address, score)| (address.as_str(), score))
    }

    pub(super) fn counts(&self) -> Counts {
        let target = |score: &Score| Target {
            requests: score.requests.tally(),
            connections: score.connections.tally(),
            datagrams: score.datagrams.tally(),
            pings: score.pings.tally(),
            frames: score.frames.tally(),
            bulks: score.bulks.tally(),
            bytes: score.bytes.load(Ordering::Relaxed),
        };
        self.0
            .iter()
            .map(|(address, score)| (address.clone(), target(score)))
            .collect()
    }
}
