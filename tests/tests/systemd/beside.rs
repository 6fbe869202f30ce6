//! All sources of the tracer beside its packets, on a world, and the report that comes of them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use lab::world::World;
use tokio::time::timeout;
use tracer::diagnosis;
use tracer::event::{Body, CapabilityState, Event, Seen};
use tracer::model::Model;
use tracer::node::{clock, systemd};
use tracer::report::NodeReport;
use tracer::watch;

use crate::watched::PATIENCE;

/// The sources, and what they have told so far.
pub(crate) struct Beside {
    sources: watch::Beside,
    runtime: tokio::runtime::Runtime,
    model: Model,
    /// The longest time from a change of the network, as the kernel told it, to its being in the model.
    pub(crate) late: Duration,
}

impl Beside {
    /// Starts them on a world, with its journal in that folder.
    pub(crate) fn of(world: &World, journal: Option<PathBuf>) -> Self {
        let options = watch::Options {
            netns: Some(format!("/proc/{}/ns/net", world.pid().unwrap())),
            without: vec!["packages".to_owned()],
            systemd: systemd::Options {
                bus: Some(world.bus().parse().unwrap()),
                cgroup_root: world.cgroup().to_owned(),
            },
            journal,
            ..watch::Options::default()
        };
        let mut model = Model::new();
        let sources = watch::Beside::start(&options, &mut |event| model.apply(&event)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        Self {
            sources,
            runtime,
            model,
            late: Duration::ZERO,
        }
    }

    /// How all stands, when each source has told what it found. systemd may come on the bus a moment after that is there.
    pub(crate) fn found(&mut self) -> NodeReport {
        let end = Instant::now() + PATIENCE;
        while !(self.sources.has_told() && self.has_systemd()) {
            self.wait(end, "what was found");
        }
        diagnosis::node(&self.model)
    }

    fn has_systemd(&self) -> bool {
        let report = diagnosis::node(&self.model);
        let mut capabilities = report.capabilities.iter();
        capabilities.any(|one| one.name == systemd::CAPABILITY && one.state != CapabilityState::Unavailable)
    }

    /// Waits until the report is as is wanted.
    pub(crate) fn until(&mut self, what: &str, wanted: impl Fn(&NodeReport) -> bool) -> NodeReport {
        let end = Instant::now() + PATIENCE;
        loop {
            let report = diagnosis::node(&self.model);
            if wanted(&report) {
                return report;
            }
            self.wait(end, what);
        }
    }

    fn wait(&mut self, end: Instant, what: &str) {
        let model = &mut self.model;
        let late = &mut self.late;
        let mut take = |event: Event| {
            if matches!(&event.body, Body::Setting(setting) if setting.seen == Seen::Told) {
                let age = clock::boottime_ns().saturating_sub(event.at);
                *late = Duration::from_nanos(age).max(*late);
            }
            model.apply(&event);
        };
        let left = end.saturating_duration_since(Instant::now());
        let changed = self
            .runtime
            .block_on(async { timeout(left, self.sources.changed(&mut take)).await });
        assert!(
            changed.is_ok(),
            "{what} is not told: {:#?}",
            diagnosis::node(model).node
        );
    }
}
