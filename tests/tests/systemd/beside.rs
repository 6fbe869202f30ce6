//! All sources of the tracer beside its packets, on a world, and the report that comes of them.

use std::path::PathBuf;
use std::time::Instant;

use lab::world::World;
use tokio::time::timeout;
use tracer::diagnosis;
use tracer::event::Event;
use tracer::model::Model;
use tracer::node::systemd;
use tracer::report::NodeReport;
use tracer::watch;

use crate::watched::PATIENCE;

/// The sources, and what they have told so far.
pub(crate) struct Beside {
    sources: watch::Beside,
    runtime: tokio::runtime::Runtime,
    model: Model,
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
        }
    }

    /// How all stands, when each source has told what it found.
    pub(crate) fn found(&mut self) -> NodeReport {
        let end = Instant::now() + PATIENCE;
        while !self.sources.has_told() {
            self.wait(end, "what was found");
        }
        diagnosis::node(&self.model)
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
        let mut take = |event: Event| model.apply(&event);
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
