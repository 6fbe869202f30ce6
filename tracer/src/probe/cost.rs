//! What the programs cost: the kernel's own statistics of them.

use aya::programs::ProgramInfo;
use aya::sys::{Stats, enable_stats};
use serde::Serialize;

use super::load::FLOOR;
use super::{Error, Probe, programs};

/// Runs and time of one program.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// The program.
    pub name: &'static str,
    /// How often it ran while it was watched.
    pub runs: u64,
    /// Mean time of a run in ns; the kernel's clock reads are part of it. 0 where it never ran.
    pub ns_per_run: f64,
}

/// Watches the cost of a probe's programs. The kernel keeps the statistics only as long as this lives.
pub struct Meter {
    before: Vec<(&'static str, u64, u64)>,
    _statistics: std::os::fd::OwnedFd,
}

impl Meter {
    /// Begins to measure.
    ///
    /// # Errors
    ///
    /// Where the kernel keeps no statistics (before 5.8) or does not allow it.
    pub fn start(probe: &Probe) -> Result<Self, Error> {
        let statistics =
            enable_stats(Stats::RunTime).map_err(|cause| Error::Statistics(cause.to_string()))?;
        Ok(Self {
            before: read(probe),
            _statistics: statistics,
        })
    }

    /// What the programs cost since the start.
    #[must_use]
    pub fn read(&self, probe: &Probe) -> Vec<Cost> {
        read(probe)
            .into_iter()
            .map(|(name, runs, time)| {
                let before = self.before.iter().find(|(other, ..)| *other == name);
                let (runs_before, time_before) = before.map_or((0, 0), |&(_, runs, time)| (runs, time));
                let (runs, time) = (runs.saturating_sub(runs_before), time.saturating_sub(time_before));
                Cost {
                    name,
                    runs,
                    ns_per_run: if runs == 0 { 0.0 } else { time as f64 / runs as f64 },
                }
            })
            .collect()
    }
}

/// Name, runs and ns of each program that is loaded.
fn read(probe: &Probe) -> Vec<(&'static str, u64, u64)> {
    let names = programs().iter().map(|program| program.name).chain([FLOOR]);
    names
        .filter_map(|name| {
            let info: ProgramInfo = probe.ebpf().program(name)?.info().ok()?;
            Some((name, info.run_count(), info.run_time().as_nanos() as u64))
        })
        .collect()
}
