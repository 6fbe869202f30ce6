//! Past runs of what timers start, from the journal of systemd.
//!
//! It is read once for each such unit, by `journalctl`: the format of its files changes with systemd, and that program
//! is the one that fits. What happens from then on systemd itself tells. `wanted` says of which units, `read` runs the
//! program, `entries` makes runs of what it prints.

mod entries;
mod read;
mod wanted;

use std::path::PathBuf;

use super::clock;
use super::source::{Gone, Teller};
use crate::event::{Body, Capability, CapabilityState, Runs};
use read::Journal;

pub use wanted::{Inbox, Wanted, wanted};

/// The capability of this source.
pub const CAPABILITY: &str = "journal";
/// What is not seen without it.
pub const LOST: &str = "past runs of what timers start are not seen, but for the last one";

/// Units that are asked for at most.
const MOST: usize = 128;

/// Which journal.
#[derive(Clone, Debug)]
pub enum Options {
    /// That of this node.
    OfNode,
    /// The one in this folder.
    In(PathBuf),
    /// That of a systemd elsewhere, and nobody said where its journal is.
    Unknown,
}

/// Tells past runs of the units that are wanted, until the source is to end.
pub fn run(inbox: &mut Inbox, teller: &Teller, options: &Options) {
    if let Err(error) = teller.block_on(follow(inbox, teller, options)) {
        let why = format!("its thread cannot wait for events: {error}; {LOST}");
        // Nobody may take it any more: then it ends as well.
        let _ = teller.tell(capability(CapabilityState::Unavailable, why));
    }
}

async fn follow(inbox: &mut Inbox, teller: &Teller, options: &Options) -> Gone {
    while let Some(mut units) = inbox.next().await {
        let asked = inbox.asked();
        units.truncate(MOST.saturating_sub(asked - units.len()));
        let (state, why) = match read_all(teller, options, &units).await {
            Err(Stop::Gone) => return Gone,
            Err(Stop::Failed(why)) => (CapabilityState::Unavailable, format!("{why}; {LOST}")),
            Ok(()) if asked > MOST => (
                CapabilityState::Partial,
                format!("timers start more than {MOST} units; past runs of the others are not seen"),
            ),
            Ok(()) => (CapabilityState::Available, String::new()),
        };
        let told = capability(state, why);
        if teller.send(clock::boottime_ns(), told).await.is_err() {
            return Gone;
        }
    }
    let why = format!("systemd is not asked which units timers start; {LOST}");
    let told = capability(CapabilityState::Unavailable, why);
    // Nobody may take it any more: then it ends as well.
    let _ = teller.send(clock::boottime_ns(), told).await;
    Gone
}

/// Why not all could be told.
enum Stop {
    Gone,
    Failed(String),
}

async fn read_all(teller: &Teller, options: &Options, units: &[String]) -> Result<(), Stop> {
    let journal = Journal::of(options).map_err(Stop::Failed)?;
    let first = journal.begins().await.map_err(Stop::Failed)?;
    for unit in units {
        let (since, runs) = journal.runs(unit, first).await.map_err(Stop::Failed)?;
        let told = Runs {
            unit: unit.clone(),
            since,
            runs,
        };
        let now = clock::boottime_ns();
        teller
            .send(now, Body::Runs(Box::new(told)))
            .await
            .map_err(|Gone| Stop::Gone)?;
    }
    Ok(())
}

fn capability(state: CapabilityState, why: String) -> Body {
    Body::Capability(Capability {
        name: CAPABILITY.to_owned(),
        state,
        why,
    })
}
