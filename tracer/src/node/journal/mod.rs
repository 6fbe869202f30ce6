//! Past runs of what timers start, from the journal of systemd.
//!
//! It is read once for each such unit, by `journalctl`: the format of its files changes with systemd, and that program
//! is the one that fits. Where that fails it is tried again, at most once a minute. What happens from then on systemd
//! itself tells. `wanted` says of which units, `read` runs the program, `entries` makes runs of what it prints.

mod entries;
mod read;
mod wanted;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::clock;
use super::source::{Gone, Teller};
use crate::event::{Body, Capability, CapabilityState, Runs};
use read::{Journal, Past};

pub use wanted::{Inbox, Wanted, wanted};

/// The capability of this source.
pub const CAPABILITY: &str = "journal";
/// What is not seen without it.
pub const LOST: &str =
    "past runs of what timers start are not seen, but for the last one of each where systemd tells it";

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

/// How long is waited.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// Before what could not be read is tried again.
    again: Duration,
    /// For all units that are read together.
    whole: Duration,
}

const PATIENCE: Patience = Patience {
    again: Duration::from_secs(60),
    whole: Duration::from_secs(30),
};
/// How far it is read is told at most this often.
const PROGRESS: Duration = Duration::from_secs(1);
/// What begins the words while it is being read.
const READING: &str = "it is being read";

/// It is being read, and the source will say how that went.
#[must_use]
pub fn is_being_read(capability: &Capability) -> bool {
    capability.name == CAPABILITY && capability.why.starts_with(READING)
}

/// Tells past runs of the units that are wanted, until the source is to end.
pub fn run(inbox: &mut Inbox, teller: &Teller, options: &Options) {
    run_with(inbox, teller, Journal::of(options), PATIENCE);
}

fn run_with(inbox: &mut Inbox, teller: &Teller, journal: Result<Journal, String>, patience: Patience) {
    let reader = Reader {
        teller,
        journal,
        patience,
        failed: BTreeMap::new(),
        unread: None,
        doubt: None,
    };
    if let Err(error) = teller.block_on(reader.follow(inbox)) {
        let why = format!("its thread cannot wait for events: {error}; {LOST}");
        // Nobody may take it any more: then it ends as well.
        let _ = teller.tell(capability(CapabilityState::Unavailable, why));
    }
}

struct Reader<'t> {
    teller: &'t Teller,
    /// Why not, where it is not known which.
    journal: Result<Journal, String>,
    patience: Patience,
    /// The units that could not be read, and why.
    failed: BTreeMap<String, String>,
    /// Why nothing could be read the last time.
    unread: Option<String>,
    /// What the program complained of last.
    doubt: Option<String>,
}

impl Reader<'_> {
    async fn follow(mut self, inbox: &mut Inbox) -> Gone {
        if let Err(why) = &self.journal {
            // No unit has to be named to know that.
            let why = format!("{why}; {LOST}");
            let told = self.tell(capability(CapabilityState::Unavailable, why)).await;
            if told.is_err() {
                return Gone;
            }
        }
        let mut again = None;
        loop {
            let more = match again {
                None => Ok(inbox.next().await),
                Some(at) => timeout_at(at, inbox.next()).await,
            };
            let units = match more {
                Ok(None) => break,
                Ok(Some(mut new)) => {
                    let before = inbox.asked() - new.len();
                    new.truncate(MOST.saturating_sub(before));
                    self.failed.retain(|unit, _| inbox.has_asked(unit));
                    new
                }
                Err(_) => {
                    again = None;
                    self.failed.keys().cloned().collect()
                }
            };
            if self.read(&units, inbox.asked()).await.is_err() {
                return Gone;
            }
            if self.failed.is_empty() && self.unread.is_none() {
                again = None;
            } else if again.is_none() {
                again = Some(Instant::now() + self.patience.again);
            }
        }
        let why = format!("systemd is not asked which units timers start; {LOST}");
        // Nobody may take it any more: then it ends as well.
        let _ = self.tell(capability(CapabilityState::Unavailable, why)).await;
        Gone
    }

    /// Reads these units, of so many that were asked for so far.
    async fn read(&mut self, units: &[String], asked: usize) -> Result<(), Gone> {
        let is_again = units.iter().all(|unit| self.failed.remove(unit).is_some());
        let end = Instant::now() + self.patience.whole;
        let mut told = None;
        let begins = match &self.journal {
            Ok(journal) => {
                if !is_again {
                    told = Some(Instant::now());
                    self.tell_progress(units.len(), asked).await?;
                }
                journal.begins().await
            }
            Err(why) => Err(why.clone()),
        };
        self.unread = begins.as_ref().err().cloned();
        for (number, unit) in units.iter().enumerate() {
            if told.is_some_and(|at| at.elapsed() >= PROGRESS) {
                told = Some(Instant::now());
                self.tell_progress(units.len() - number, asked).await?;
            }
            match self.past(unit, begins.clone(), end).await {
                Ok(Past { since, runs, doubt }) => {
                    self.doubt = doubt.or(self.doubt.take());
                    let unit = unit.clone();
                    self.tell(Body::Runs(Box::new(Runs { unit, since, runs })))
                        .await?;
                }
                Err(why) => {
                    self.failed.insert(unit.clone(), why);
                }
            }
        }
        let (state, why) = self.state(asked);
        self.tell(capability(state, why)).await
    }

    /// What the journal has of a unit, where that is told until `end`.
    async fn past(&self, unit: &str, begins: Result<i64, String>, end: Instant) -> Result<Past, String> {
        let (journal, begins) = (self.journal.as_ref().map_err(String::clone)?, begins?);
        if Instant::now() < end
            && let Ok(past) = timeout_at(end, journal.runs(unit, begins)).await
        {
            return past;
        }
        Err(format!("not all could be read in {:?}", self.patience.whole))
    }

    /// How it stands when so many units were asked for.
    fn state(&self, asked: usize) -> (CapabilityState, String) {
        let all = asked.min(MOST);
        let read = all.saturating_sub(self.failed.len());
        let unread = self.unread.as_ref().or(self.failed.values().next());
        if let Some(why) = unread.filter(|_| read == 0) {
            return (CapabilityState::Unavailable, format!("{why}; {LOST}"));
        }
        let why = if let Some((unit, why)) = self.failed.first_key_value() {
            format!(
                "{read} of {all} units are read, and past runs of the others are not seen; {unit}: {why}; it is tried \
                 again"
            )
        } else if asked > MOST {
            format!("timers start more than {MOST} units; past runs of the others are not seen")
        } else if let Some(doubt) = &self.doubt {
            format!("{doubt}; past runs may be missing")
        } else {
            return (CapabilityState::Available, String::new());
        };
        (CapabilityState::Partial, why)
    }

    /// Tells how far it is while so many are left to be read.
    async fn tell_progress(&self, left: usize, asked: usize) -> Result<(), Gone> {
        let all = asked.min(MOST);
        let read = all.saturating_sub(left + self.failed.len());
        let why =
            format!("{READING}: {read} of {all} units are read; past runs of the others are not seen yet");
        self.tell(capability(CapabilityState::Partial, why)).await
    }

    async fn tell(&self, body: Body) -> Result<(), Gone> {
        self.teller.send(clock::boottime_ns(), body).await
    }
}

fn capability(state: CapabilityState, why: String) -> Body {
    Body::Capability(Capability {
        name: CAPABILITY.to_owned(),
        state,
        why,
    })
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::node::source::Source;

    const ENTRY: &str = r#"{"__REALTIME_TIMESTAMP":"7000000"}"#;

    /// Reads what this script prints of the units a, b and c.
    fn read(script: &str, patience: Patience) -> (Wanted, Receiver<crate::event::Event>, Source) {
        let (sender, events) = channel(64);
        let (wanted, mut inbox) = wanted();
        let journal = Journal::of_script(script);
        let work = move |teller: &Teller| run_with(&mut inbox, teller, Ok(journal), patience);
        let source = Source::start("test", sender, work).unwrap();
        wanted.set(["a", "b", "c"].map(str::to_owned).into());
        (wanted, events, source)
    }

    /// Of which units is told next, what was said first, and how it then stands.
    fn next(events: &mut Receiver<crate::event::Event>) -> (Vec<String>, Vec<String>, Capability) {
        let (mut units, mut progress) = (Vec::new(), Vec::new());
        loop {
            match events.blocking_recv().unwrap().body {
                Body::Runs(runs) => units.push(runs.unit),
                Body::Capability(told) if is_being_read(&told) => progress.push(told.why),
                Body::Capability(told) => return (units, progress, told),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_said_and_tried_again() {
        let mark = std::env::temp_dir().join(format!("tracer-journal-{}", std::process::id()));
        let name = mark.display();
        // The first time that b is asked for.
        let script = format!(
            "case \"$*\" in *UNIT=b*) test -e {name} || {{ touch {name}; echo no >&2; exit 1; }};; esac; echo '{ENTRY}'"
        );
        let patience = Patience {
            again: Duration::ZERO,
            ..PATIENCE
        };
        let (_wanted, mut events, source) = read(&script, patience);
        let all = [next(&mut events), next(&mut events)];
        std::fs::remove_file(&mark).unwrap();
        let [(units, progress, told), (units_again, progress_again, told_again)] = all;
        assert_eq!(units, ["a", "c"]);
        assert!(progress[0].contains("0 of 3 units are read"), "{progress:?}");
        assert_eq!(told.state, CapabilityState::Partial);
        assert!(told.why.starts_with("2 of 3 units"), "{}", told.why);
        assert!(told.why.contains("b: journalctl: no"), "{}", told.why);
        assert_eq!((units_again, progress_again), (vec!["b".to_owned()], Vec::new()));
        assert_eq!(told_again.state, CapabilityState::Available);
        drop(events);
        drop(source);
    }

    #[test]
    fn reading_ends_in_time_and_says_how_far_it_came() {
        let script = format!("case \"$*\" in *UNIT=b*) exec sleep 60;; esac; echo '{ENTRY}'");
        let patience = Patience {
            whole: Duration::from_millis(500),
            ..PATIENCE
        };
        let (_wanted, mut events, source) = read(&script, patience);
        let (_, _, told) = next(&mut events);
        assert_ne!(told.state, CapabilityState::Available);
        assert!(
            told.why.contains("not all could be read in 500ms"),
            "{}",
            told.why
        );
        drop(events);
        drop(source);
    }
}
