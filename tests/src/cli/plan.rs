//! What is done to a node, and when.

use std::time::{Duration, Instant};

/// From one look to the next.
pub(super) const LOOK: Duration = Duration::from_millis(20);

/// What is done to the node or to the tracer when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// Look whether the tracer watches: then the break can be planned.
    Look,
    /// Break the node, or begin what breaks it.
    Break,
    /// Look whether the upgrade has broken it.
    LookAtUpgrade,
    /// Ask systemd to stop the upgrade.
    StopUpgrade,
    /// Kill what that has left of it.
    KillUpgrade,
    /// Mend the node.
    Heal,
    /// Kill the tracer, which does not end.
    KillTracer,
}

/// The deeds to come.
#[derive(Debug, Default)]
pub(super) struct Plan(Vec<(Instant, Deed)>);

impl Plan {
    pub(super) fn add(&mut self, deed: Deed, delay: Duration) {
        self.0.push((Instant::now() + delay, deed));
        self.0.sort_by_key(|(time, _)| *time);
    }

    /// Forgets all others. Where it is planned already, its time stays.
    pub(super) fn only(&mut self, deed: Deed, delay: Duration) {
        self.0.retain(|(_, other)| *other == deed);
        if self.0.is_empty() {
            self.add(deed, delay);
        }
    }

    pub(super) fn time_left(&self) -> Duration {
        let far = Duration::from_secs(3600);
        self.0
            .first()
            .map_or(far, |(time, _)| time.saturating_duration_since(Instant::now()))
    }

    pub(super) fn due(&mut self) -> Option<Deed> {
        let due = self.0.first().is_some_and(|(time, _)| *time <= Instant::now());
        due.then(|| self.0.remove(0).1)
    }
}
