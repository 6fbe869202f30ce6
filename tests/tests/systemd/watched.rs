//! The tracer's source on a world, and what it tells.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lab::world::World;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::timeout;
use tracer::event::{Body, CapabilityState, Event, JobState, Seen, UnitState};
use tracer::node::source::Source;
use tracer::node::{journal, systemd};

/// What takes longer does not come at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The tracer's source on a world, and all that it has told so far.
pub(crate) struct Watched {
    // Before the source, which may wait for room here.
    events: Receiver<Event>,
    /// All that it has told so far.
    pub(crate) told: Vec<Event>,
    runtime: tokio::runtime::Runtime,
    _source: Source,
}

impl Watched {
    /// Starts the source on a world.
    pub(crate) fn start(world: &World) -> Self {
        Self::at(&world.bus(), world.cgroup())
    }

    /// Starts it at an address.
    pub(crate) fn at(bus: &str, cgroup_root: &str) -> Self {
        let options = systemd::Options {
            bus: Some(bus.parse().unwrap()),
            cgroup_root: cgroup_root.to_owned(),
        };
        let (sender, events) = channel(1024);
        let source = Source::start("systemd", sender, move |teller| {
            systemd::run(teller, &options, &journal::wanted().0);
        });
        Self {
            events,
            told: Vec::new(),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap(),
            _source: source.unwrap(),
        }
    }

    /// A source on a world, when it has told how all stands.
    pub(crate) fn ready(world: &World) -> Self {
        let mut watched = Self::start(world);
        watched.wait("the capability", available);
        watched
    }

    /// Waits for an event that is wanted, and returns the number of events up to it.
    pub(crate) fn wait(&mut self, what: &str, wanted: impl Fn(&Body) -> bool) -> usize {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let next = self
                .runtime
                .block_on(async { timeout(left, self.events.recv()).await });
            let Ok(Some(event)) = next else {
                let changes = self.changes(0);
                let last = &changes[changes.len().saturating_sub(10)..];
                panic!("{what} is not told; the last changes are {last:#?}");
            };
            let is_wanted = wanted(&event.body);
            self.told.push(event);
            if is_wanted {
                return self.told.len();
            }
        }
    }

    /// Waits until a unit stands as is wanted.
    pub(crate) fn wait_unit(&mut self, name: &str, wanted: impl Fn(&UnitState) -> bool) -> UnitState {
        let state = |body: &Body| match body {
            Body::Unit(unit) if unit.name == name => unit.state.clone(),
            _ => None,
        };
        let at = self.wait(name, |body| state(body).is_some_and(|state| wanted(&state)));
        state(&self.told[at - 1].body).unwrap()
    }

    /// The same where it may have been told already.
    pub(crate) fn ever(&mut self, what: &str, wanted: impl Fn(&Body) -> bool) -> usize {
        self.since(0, what, wanted)
    }

    /// The same where it may have been told already behind so many events.
    pub(crate) fn since(&mut self, begin: usize, what: &str, wanted: impl Fn(&Body) -> bool) -> usize {
        let told = self.told[begin..].iter().position(|event| wanted(&event.body));
        told.map_or_else(|| self.wait(what, wanted), |at| begin + at + 1)
    }

    /// What was told of the jobs of a unit up to the first end of one, but for that they waited: not each is seen to.
    pub(crate) fn jobs_to_their_end(&mut self, name: &str) -> Vec<(String, JobState)> {
        let of_unit = |body: &Body| match body {
            Body::Job(job) if job.unit == name && job.state != JobState::Waiting => {
                Some((job.action.clone(), job.state.clone()))
            }
            _ => None,
        };
        let end = self.ever("the end of a job", |body| {
            matches!(of_unit(body), Some((_, JobState::Ended(_))))
        });
        self.told[..end]
            .iter()
            .filter_map(|event| of_unit(&event.body))
            .collect()
    }

    /// The changes of units after so many events, in words.
    pub(crate) fn changes(&self, since: usize) -> Vec<String> {
        let mut known = BTreeMap::new();
        let mut changes = Vec::new();
        for (number, event) in self.told.iter().enumerate() {
            let Body::Unit(unit) = &event.body else { continue };
            let stands = unit.state.as_ref().map(|state| {
                let UnitState {
                    active,
                    sub,
                    result,
                    invocation,
                    ..
                } = state;
                format!("{active} ({sub}) {result} {invocation}")
            });
            let before = known.insert(&unit.name, stands.clone());
            if number >= since && unit.seen != Seen::Found && before.as_ref() != Some(&stands) {
                changes.push(format!("{} {:?}: {before:?} -> {stands:?}", unit.name, unit.seen));
            }
        }
        changes
    }

    /// What was told of systemd itself.
    pub(crate) fn notices(&self) -> Vec<&str> {
        let notices = self.told.iter().filter_map(|event| match &event.body {
            Body::Notice(notice) => Some(notice.text.as_str()),
            _ => None,
        });
        notices.collect()
    }
}

/// Whether it is told that all is seen.
pub(crate) fn available(body: &Body) -> bool {
    matches!(body, Body::Capability(told) if told.state == CapabilityState::Available)
}

/// Whether it is told that nothing is seen.
pub(crate) fn unavailable(body: &Body) -> bool {
    matches!(body, Body::Capability(told) if told.state == CapabilityState::Unavailable)
}
