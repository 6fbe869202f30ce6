//! What dpkg and apt have done, by their logs: also before the tracer started.
//!
//! apt writes what a run is to do when it begins, and its end. dpkg writes its start and each step, also of runs without
//! apt, but no end; apt starts it several times in a run. So what dpkg did in the time of a run of apt belongs to that, and
//! says when something was done last where the run told no end; of the rest each start of dpkg is a run of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::Found;
use super::files::{self, Mark};
use super::history::{self, Action};
use super::log;
use super::rotated;
use super::sessions::{Session, sessions};
use super::watches::below;
use super::within::{Run, name};
use super::zone::Zone;
use crate::event::{Manager, Upgrade, Upgrades};

/// Bytes at the end of each log that are read, through its rotations: some thousand packages.
pub(super) const TAIL: u64 = 1 << 20;
/// Runs that are told at most, the latest.
const KEPT: usize = 64;
/// Packages that are named of each run at most.
const NAMED: usize = 8;
/// Characters of a command and the like that are told.
const TEXT: usize = 300;
pub(super) const SECOND: i64 = 1_000_000_000;

/// Packages, by how their names begin, that carry or set up the network: they are named first.
const TELLING: [&str; 17] = [
    "systemd",
    "udev",
    "dbus",
    "network-manager",
    "netplan",
    "ifupdown",
    "cloud-init",
    "linux-image",
    "linux-modules",
    "iproute2",
    "iptables",
    "nftables",
    "libc6",
    "containerd",
    "docker",
    "kube",
    "openvswitch",
];

/// The logs of dpkg and apt.
#[derive(Debug)]
pub(super) struct Past {
    root: PathBuf,
    history: PathBuf,
    log: PathBuf,
    /// As they were when they were read last, and who was at work then.
    read: Option<(Option<Mark>, Option<Mark>, Option<AtWork>)>,
    /// What could not be read then.
    problems: Vec<String>,
    since: BTreeSet<String>,
}

/// What who holds the lock is at work on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct AtWork {
    /// It writes dpkg's log: the last run there is its own.
    pub(super) on_log: bool,
    /// It writes the history of apt, likewise.
    pub(super) on_history: bool,
}

impl Past {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            history: below(root, history::PATH),
            log: below(root, log::PATH),
            root: root.to_owned(),
            read: None,
            problems: Vec::new(),
            since: BTreeSet::new(),
        }
    }

    /// Packages that others changed after the last run of apt that told no end.
    pub(super) fn changed_since(&self) -> &BTreeSet<String> {
        &self.since
    }

    /// What they tell, if they may tell something new. While somebody is `at_work` dpkg's log grows all the time: then
    /// it is read again with apt's, and at the end.
    pub(super) fn look(&mut self, at_work: Option<AtWork>, found: &mut Found) {
        // What cannot be looked at cannot be read either, and that is told.
        let mark = |path: &Path| files::mark(path).ok().flatten();
        let now = (mark(&self.history), mark(&self.log), at_work);
        let is_same = self.read.is_some_and(|(history, log, was_at_work)| {
            history == now.0 && was_at_work == at_work && (at_work.is_some() || log == now.1)
        });
        if !is_same {
            self.read = Some(now);
            found.upgrades.push(self.read_logs(at_work.unwrap_or_default()));
        }
        self.problems
            .iter()
            .for_each(|problem| found.problem(problem.clone()));
    }

    fn read_logs(&mut self, at_work: AtWork) -> Upgrades {
        let mut problems = Vec::new();
        let zone = Zone::of(&self.root).unwrap_or_else(|problem| {
            problems.push(format!("{problem}: times of past upgrades are taken for UTC"));
            Zone::utc()
        });
        let mut read = |log: &Path, what: &str| {
            let tail = rotated::end_of_log(log, TAIL);
            let which = if tail.text.is_empty() { "past" } else { "earlier" };
            let problem = tail.problem.into_iter();
            problems.extend(problem.map(|problem| format!("{problem}: {which} {what} are not known")));
            tail.text
        };
        let history = read(&self.history, "runs of apt");
        let log = read(&self.log, "runs of dpkg");
        let (upgrades, since, odd) = upgrades(&history, &log, &zone, at_work);
        self.since = since;
        if odd > 0 {
            problems.push(format!(
                "{odd} lines of {} and {} are not as dpkg and apt write them: past upgrades may be missing",
                self.log.display(),
                self.history.display()
            ));
        }
        self.problems = problems;
        upgrades
    }
}

/// What the logs tell, which packages others changed after the last run of apt that told no end, and how many lines are
/// foreign or torn.
fn upgrades(history: &str, log: &str, zone: &Zone, at_work: AtWork) -> (Upgrades, BTreeSet<String>, u64) {
    let (mut sessions, since, mut odd) = sessions(log, zone, at_work.on_log);
    let told = history::Run::all(history);
    let mut runs: Vec<Run> = Vec::new();
    for run in &told {
        let before = runs.last().map(|last| &last.upgrade);
        let before = before.map(|last| last.ended.unwrap_or(last.begun));
        let upgrade = begun(run, before, zone);
        // An end that is no time was torn by what ended the run.
        let is_whole = upgrade
            .as_ref()
            .is_some_and(|upgrade| upgrade.ended.is_some() == run.has_ended);
        odd += u64::from(!is_whole);
        runs.extend(upgrade.map(|upgrade| Run::new(upgrade, &run.steps)));
    }
    if let Some(last) = runs.last_mut().map(|last| &mut last.upgrade) {
        last.in_work = at_work.on_history && last.ended.is_none();
    }
    runs.sort_by_key(|run| run.upgrade.begun);
    for run in &mut runs {
        sessions.retain(|session| !run.take(session));
    }
    sessions.retain(Session::has_packages);
    let last = runs.last().map(|last| &last.upgrade);
    let open = last.filter(|last| last.ended.is_none()).map(|last| last.begun);
    let since_then = sessions
        .iter()
        .filter(|session| open.is_some_and(|open| session.begun >= open));
    let changed = since_then.flat_map(|session| &session.did);
    let changed = changed
        .filter(|(_, action)| action.is_some())
        .map(|(package, _)| name(package).to_owned())
        .collect();
    let mut runs: Vec<Upgrade> = runs.into_iter().map(|run| run.upgrade).collect();
    runs.extend(sessions.iter().map(Session::upgrade));
    (latest(Manager::Dpkg, since, runs), changed, odd)
}

/// The latest of all runs that a log has, which begins at `since`; where there is no such log, another one had them.
pub(super) fn latest(manager: Manager, since: Option<i64>, mut runs: Vec<Upgrade>) -> Upgrades {
    runs.sort_by_key(|run| run.begun);
    let left_out = runs.len().saturating_sub(KEPT);
    runs.drain(..left_out);
    let first = runs.first().map(|run| run.begun);
    Upgrades {
        manager,
        since: if left_out > 0 { first } else { since.or(first) },
        runs,
    }
}

/// A run of apt, without what dpkg says of it. `before` is the last time that stands above it. `None` where its time cannot be
/// read.
fn begun(run: &history::Run, before: Option<i64>, zone: &Zone) -> Option<Upgrade> {
    let begun = zone.read_after(&run.begin, before)?;
    let steps = || {
        run.steps
            .iter()
            .map(|step| (Some(step.action), step.package.as_str()))
    };
    Some(Upgrade {
        begun,
        ended: zone.read_after(&run.end, Some(begun)),
        last: None,
        in_work: false,
        command: short(&run.command),
        requested_by: short(&run.requested_by),
        error: short(&run.error),
        ..counted(steps())
    })
}

/// How many packages, and the names of some.
pub(super) fn counted<'a>(steps: impl Iterator<Item = (Option<Action>, &'a str)>) -> Upgrade {
    let mut upgrade = Upgrade::default();
    let mut orders: BTreeMap<&str, u8> = BTreeMap::new();
    for (action, package) in steps {
        let (order, count) = match action {
            Some(Action::Upgrade | Action::Downgrade) => (0, &mut upgrade.upgraded),
            Some(Action::Install | Action::Reinstall) => (1, &mut upgrade.installed),
            Some(Action::Remove | Action::Purge) => (2, &mut upgrade.removed),
            None => (3, &mut upgrade.configured),
        };
        *count = count.saturating_add(1);
        // One package of two architectures has one name.
        let name = name(package);
        orders
            .entry(name)
            .and_modify(|known| *known = order.min(*known))
            .or_insert(order);
    }
    let place = |name: &str| {
        TELLING
            .iter()
            .position(|telling| name.starts_with(telling))
            .unwrap_or(TELLING.len())
    };
    let mut names: Vec<&str> = orders.keys().copied().collect();
    // The sort is stable: else by name.
    names.sort_by_key(|name| (place(name), orders.get(name).copied()));
    upgrade.more = u32::try_from(names.len().saturating_sub(NAMED)).unwrap_or(u32::MAX);
    upgrade.names = names.into_iter().take(NAMED).map(short).collect();
    upgrade
}

fn short(text: &str) -> String {
    text.chars().take(TEXT).collect()
}

#[cfg(test)]
mod tests;
