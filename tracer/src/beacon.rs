//! `--beacon`: a line wherever the verdict that leads changes, for who reads nothing of the node but a log.
//!
//! A node without a network still has the kernel's log, and with it its serial console and the provider's console log.
//! Lines are made here, which is pure; `target` writes them, on a thread of its own.

mod target;

use std::collections::BTreeSet;
use std::fmt;

use crate::diagnosis::{Diagnosis, Leading, Standing};
use crate::event::{Capability, CapabilityState};
use crate::model::clock::SECOND;
use crate::report::{Episode, Relation, Where};
use crate::ui::words;

pub use target::Target;
use target::Writer;

/// The capability that lines can be written. Told only where they cannot.
pub(crate) const CAPABILITY: &str = "beacon";
/// Between two lines on an average at least, in ns: 10 s. The kernel drops what a process writes more often than ten times in 5 s
/// (`printk_devkmsg`).
const INTERVAL: u64 = 10 * SECOND;
/// Lines that may come at once, where there was none for long: what breaks, how, and that it is over.
const AT_ONCE: u64 = 3;
/// Bytes of a line at most, with what stands before it in the kernel's log: a record has 1024 (`PRINTKRB_RECORD_MAX`).
const LONGEST: usize = 900;

/// Tells how the verdict that leads changes.
pub struct Beacon {
    writer: Writer,
    pace: Pace,
    /// It was told that lines cannot be written.
    has_failed: bool,
}

impl Beacon {
    /// Opens it; what it writes to is opened for each line.
    ///
    /// # Errors
    /// Where there is no thread to write with.
    pub fn new(target: Target) -> std::io::Result<Self> {
        Ok(Self {
            writer: Writer::spawn(target)?,
            pace: Pace::default(),
            has_failed: false,
        })
    }

    /// To be called at each tick. Says whether lines can be written, where that has changed.
    #[must_use]
    pub fn tick(&mut self, diagnosis: &Diagnosis) -> Option<Capability> {
        let changed = self.writer.result().and_then(|result| self.written(result));
        let now = diagnosis.model().now();
        // What was mended may have hidden something else: until that is known there is nothing to tell.
        if diagnosis.standing().is_some_and(Standing::is_settling) {
            return changed;
        }
        self.pace.see(led(diagnosis), place(diagnosis));
        if let Some(suppressed) = self.pace.due(now)
            && let Some(line) = line(diagnosis, &suppressed)
            && self.writer.write(line)
        {
            self.pace.told(now);
        }
        changed
    }

    /// Writes what was held back, and waits a moment for what is being written.
    #[must_use]
    pub fn finish(mut self, diagnosis: &Diagnosis) -> Option<Capability> {
        let mut changed = self.writer.wait().and_then(|result| self.written(result));
        self.pace.see(led(diagnosis), place(diagnosis));
        if let Some(suppressed) = self.pace.untold()
            && let Some(line) = line(diagnosis, &suppressed)
            && self.writer.write(line)
            && let Some(result) = self.writer.wait()
        {
            changed = self.written(result).or(changed);
        }
        changed
    }

    /// What became of a line.
    fn written(&mut self, result: Result<(), String>) -> Option<Capability> {
        let had_failed = std::mem::replace(&mut self.has_failed, result.is_err());
        if result.is_err() {
            self.pace.failed();
        }
        let (state, why) = match result {
            Err(why) if !had_failed => (CapabilityState::Unavailable, why),
            Ok(()) if had_failed => (CapabilityState::Available, String::new()),
            _ => return None,
        };
        Some(Capability {
            name: CAPABILITY.to_owned(),
            state,
            why,
        })
    }
}

/// The rule whose verdict leads, and the number of the episode in which it does: the same fault may be brought about once more before
/// it could be told that it was over.
type Led = (&'static str, u64);

/// When a line is due.
#[derive(Default)]
struct Pace {
    /// What led at the last tick.
    seen: Option<Led>,
    /// Nothing is the matter, as far as was seen at the last tick.
    is_healthy: bool,
    /// What led by the last line.
    told: Option<Led>,
    /// By the last line nothing led any more, and it was not known that all is well: that is still to be told.
    is_open: bool,
    /// Changes since then.
    since: HeldBack,
    /// When all lines so far would have been handed over, had they come at the interval.
    until: u64,
    /// `told`, `is_open` and `since` as they were before it.
    before: (Option<Led>, bool, HeldBack),
}

/// Changes that had no line of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct HeldBack {
    changes: u64,
    /// The rules that led by them, each once.
    rules: BTreeSet<&'static str>,
}

impl fmt::Display for HeldBack {
    /// ` suppressed=2 missed=R12,R38`; nothing where there were none.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.changes > 0 {
            write!(to, " suppressed={}", self.changes)?;
        }
        let rules: Vec<&str> = self.rules.iter().copied().collect();
        if !rules.is_empty() {
            write!(to, " missed={}", rules.join(","))?;
        }
        Ok(())
    }
}

impl Pace {
    /// This leads now, and the fault is there.
    fn see(&mut self, leading: Option<Led>, place: Where) {
        self.is_healthy = place == Where::Healthy;
        if leading != self.seen {
            self.seen = leading;
            self.since.changes += 1;
            self.since.rules.extend(leading.map(|(rule, _)| rule));
        }
    }

    /// Whether there is something to tell by now, and which changes were not told before.
    fn due(&self, now: u64) -> Option<HeldBack> {
        let is_time = self.until <= now.saturating_add((AT_ONCE - 1) * INTERVAL);
        self.untold().filter(|_| is_time)
    }

    /// What leads is another one than the last line said, or another one has led meanwhile, or it has turned out that all is well: the
    /// changes that were not told before.
    fn untold(&self) -> Option<HeldBack> {
        let mut since = self.since.clone();
        since.changes = since.changes.saturating_sub(1);
        // These two have a line.
        for (rule, _) in self.seen.into_iter().chain(self.told) {
            since.rules.remove(rule);
        }
        let turns_out_well = self.is_open && self.is_healthy;
        (self.seen != self.told || !since.rules.is_empty() || turns_out_well).then_some(since)
    }

    /// A line was handed over.
    fn told(&mut self, now: u64) {
        self.before = (self.told, self.is_open, std::mem::take(&mut self.since));
        self.told = self.seen;
        self.is_open = self.seen.is_none() && !self.is_healthy;
        self.until = self.until.max(now).saturating_add(INTERVAL);
    }

    /// It could not be written.
    fn failed(&mut self) {
        let (told, is_open, since) = std::mem::take(&mut self.before);
        (self.told, self.is_open) = (told, is_open);
        self.since.changes += since.changes;
        self.since.rules.extend(since.rules);
    }
}

fn led(diagnosis: &Diagnosis) -> Option<Led> {
    let leading = diagnosis.leading()?;
    Some((leading.rule.id, diagnosis.episodes_total()))
}

fn place(diagnosis: &Diagnosis) -> Where {
    diagnosis.standing().map_or(Where::Unknown, Standing::place)
}

/// What leads, as a line; `None` where nothing ever did.
fn line(diagnosis: &Diagnosis, suppressed: &HeldBack) -> Option<String> {
    Some(match diagnosis.leading() {
        Some(leading) => verdict(leading, &diagnosis.model().utc(leading.since), suppressed),
        None => {
            let episode = diagnosis.last_episode()?;
            over(place(diagnosis), &episode, suppressed)
        }
    })
}

/// `tracer: verdict R01 where=guest-kernel confidence=conclusive since=... flows=14 title="..." units=kubelet.service`
fn verdict(leading: &Leading, since: &str, suppressed: &HeldBack) -> String {
    let rule = leading.rule;
    let place = rule.place.unwrap_or(Where::Unknown).name();
    let line = format!(
        "tracer: verdict {} where={place} confidence={} since={since} flows={}{} title=\"{}\"",
        rule.id,
        words::confidence(leading.confidence),
        leading.flows,
        suppressed,
        rule.title
    );
    with_units(line, &leading.units, leading.units.len() as u64)
}

/// What else stood in the episode, and had a cause of its own, stands beside its root: `was=R06,R38`.
///
/// `tracer: verdict none where=healthy was=R01 since=... until=... seconds=1025 flows=14 units=kubelet.service`
fn over(place: Where, episode: &Episode, suppressed: &HeldBack) -> String {
    let others = episode.beside.iter().map(|fault| fault.id.as_str());
    let was: Vec<&str> = std::iter::once(episode.id.as_str()).chain(others).collect();
    let line = format!(
        "tracer: verdict none where={} was={} since={} until={} seconds={:.0}{} flows={}{}",
        place.name(),
        was.join(","),
        episode.onset,
        episode.end.as_deref().unwrap_or("unknown"),
        episode.seconds,
        // It may have begun before the tracer did.
        match episode.cause.relation {
            Relation::PredatesStart => " or=more",
            Relation::Explains | Relation::Unknown => "",
        },
        episode.flows,
        suppressed
    );
    with_units(line, &episode.units, episode.units_total)
}

/// Adds as many units as there is room for, and how many more there are.
fn with_units(mut line: String, units: &[String], total: u64) -> String {
    /// Room for `,+` and the greatest number.
    const REST: usize = 22;
    let mut named = 0;
    for unit in units {
        let unit = plain(unit);
        let mark = if named == 0 { " units=" } else { "," };
        if line.len() + mark.len() + unit.len() + REST > LONGEST {
            break;
        }
        line.push_str(mark);
        line.push_str(&unit);
        named += 1;
    }
    match (total.saturating_sub(named), named) {
        (0, _) => {}
        (rest, 0) => line.push_str(&format!(" units=+{rest}")),
        (rest, _) => line.push_str(&format!(",+{rest}")),
    }
    line
}

/// A name as one word: what a line is taken apart by cannot be in it.
fn plain(name: &str) -> String {
    let keep = |letter: char| letter.is_ascii_graphic() && !matches!(letter, ',' | '"');
    name.chars()
        .map(|letter| if keep(letter) { letter } else { '_' })
        .collect()
}

#[cfg(test)]
mod tests;
