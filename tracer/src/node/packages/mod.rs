//! What package managers do, and what they leave undone: a source of events (see [`super::source`]).
//!
//! Everything is read from files that the managers write. inotify wakes the source; then it looks at all of them, and
//! reads those that have changed. Many changes in a row are one look.

mod dpkg;
mod files;
mod follow;
mod history;
mod kernels;
mod lock;
mod log;
mod past;
mod rotated;
mod rpm;
mod sessions;
mod status;
#[cfg(test)]
mod tests;
mod watches;
mod within;
mod writers;
mod zone;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::modules;
use super::source::{Gone, Teller};
use crate::event::{
    Body, Capability, CapabilityState, Notice, NoticeKind, Owner, Packages, Seen, Setting, Thing, Unknown,
    Upgrades,
};
use dpkg::Dpkg;
use lock::Lock;
use rpm::Rpm;
use watches::Watches;

/// The name of the capability.
pub const CAPABILITY: &str = "packages";
/// What is not seen without it.
pub const LOST: &str = "what package managers do, and what they leave half-way, is not seen";

/// For so long changes are gathered before they are looked at.
const GATHER: Duration = Duration::from_millis(100);
/// Between two looks at who holds a lock meanwhile, at least.
const GLANCE: Duration = Duration::from_millis(2);
/// Between two looks at the lock, and at the rest, while a manager is at work.
const AT_WORK: Duration = Duration::from_secs(1);
/// A manager counts as at work for so long after the last change.
const AFTER_CHANGE: Duration = Duration::from_secs(5);
/// Between two looks where nothing happens: a folder may come that could not be watched, as it was not there.
const IDLE: Duration = Duration::from_secs(10);

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// All files are below it: `/`, or the root of another tree.
    pub root: PathBuf,
    /// `uname -r` of the running kernel.
    pub release: String,
    /// It can load modules, so that theirs is a folder to look at.
    pub has_modules: bool,
}

impl Options {
    /// This node's packages, or those below another root, as of a container; the kernel is the same.
    #[must_use]
    pub fn at(root: Option<&Path>) -> Self {
        let root = root.unwrap_or(Path::new("/")).to_owned();
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let has_modules = modules::can_load() || kernels::modules_of(&root, &release, false).is_some();
        Self {
            root,
            release,
            has_modules,
        }
    }
}

/// Tells what stands, and then what changes, until the source is to end.
pub fn run(options: &Options, teller: &Teller) {
    let mut state = State::new(options);
    // It ends when nobody takes its events, or when it is asked to.
    while state.look(teller).is_ok() && state.wait(teller).is_ok() {}
}

/// What one look has found beside how packages stand.
#[derive(Debug, Default)]
struct Found {
    notices: Vec<Notice>,
    /// What the logs of a manager tell, where they may tell something new.
    upgrades: Vec<Upgrades>,
    problems: Vec<String>,
}

impl Found {
    fn notice(&mut self, text: String, by: Option<&Owner>) {
        self.notices.push(Notice {
            kind: NoticeKind::Package,
            text,
            by: by.cloned(),
        });
    }

    /// What could not be read, and what is therefore not known.
    fn problem(&mut self, problem: String) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}

/// The first that holds one of the locks. `known` is who held one before: it is not asked for again.
fn holder_of(locks: &mut [Lock], known: Option<&Owner>) -> Result<Option<Owner>, String> {
    for lock in locks {
        let holder = lock.holder().map_err(|error| {
            let what = files::unreadable(lock.path(), &error);
            format!("{what}: whether a package manager is at work is not known")
        })?;
        let Some(holder) = holder else { continue };
        let same = known.filter(|owner| holder == lock::Holder::Process(owner.pid));
        return Ok(Some(same.cloned().unwrap_or_else(|| lock::owner(holder))));
    }
    Ok(None)
}

struct State {
    options: Options,
    watches: Watches,
    dpkg: Dpkg,
    rpm: Rpm,
    /// As they were told last.
    told: Vec<Packages>,
    /// How kernels and their modules stood; without those before the first look.
    kernels: BTreeMap<Thing, Option<String>>,
    changed: Option<Instant>,
    can_watch: bool,
}

impl State {
    fn new(options: &Options) -> Self {
        let root = &options.root;
        let mut watched = Dpkg::watched(root);
        // Each path once: the flags of the last would be those that count, and both say the same.
        for (path, flags) in Rpm::watched(root).into_iter().chain(kernels::watched(
            root,
            &options.release,
            options.has_modules,
        )) {
            if !watched.iter().any(|(known, _)| *known == path) {
                watched.push((path, flags));
            }
        }
        Self {
            options: options.clone(),
            watches: Watches::new(watched),
            dpkg: Dpkg::new(root),
            rpm: Rpm::new(root),
            told: Vec::new(),
            kernels: BTreeMap::new(),
            changed: None,
            can_watch: true,
        }
    }

    /// Looks at everything, and tells what is new.
    fn look(&mut self, teller: &Teller) -> Result<(), Gone> {
        let mut found = Found::default();
        let unwatched = self.watches.renew();
        self.can_watch = unwatched.is_none();
        let mut now = Vec::new();
        now.extend(self.dpkg.look(&mut found));
        let rpm = self.rpm.look(&mut found);
        now.extend(rpm);
        let by = now.iter().find_map(|packages| packages.holder.clone());
        for notice in std::mem::take(&mut found.notices) {
            teller.tell(Body::Notice(notice))?;
        }
        for upgrades in std::mem::take(&mut found.upgrades) {
            teller.tell(Body::Upgrades(Box::new(upgrades)))?;
        }
        for packages in &now {
            if !self.told.contains(packages) {
                teller.tell(Body::Packages(Box::new(packages.clone())))?;
            }
        }
        self.tell_kernels(by.as_ref(), &mut found, teller)?;
        let is_none = now.is_empty();
        self.told = now;
        // After what stands: who waits for it knows then that all is told.
        self.tell_capability(is_none, unwatched, &mut found, teller)
    }

    fn tell_capability(
        &mut self,
        is_none: bool,
        unwatched: Option<String>,
        found: &mut Found,
        teller: &Teller,
    ) -> Result<(), Gone> {
        unwatched.into_iter().for_each(|problem| found.problem(problem));
        let (state, why) = match (is_none, found.problems.is_empty()) {
            (false, true) => (CapabilityState::Available, String::new()),
            (false, false) => (CapabilityState::Partial, found.problems.join("; ")),
            (true, true) => (
                CapabilityState::Unavailable,
                format!(
                    "there is neither {} nor a database of rpm: upgrades are not seen",
                    watches::below(&self.options.root, "/var/lib/dpkg").display()
                ),
            ),
            (true, false) => (CapabilityState::Unavailable, found.problems.join("; ")),
        };
        teller.tell(Body::Capability(Capability {
            name: CAPABILITY.to_owned(),
            state,
            why,
        }))
    }

    fn tell_kernels(&mut self, by: Option<&Owner>, found: &mut Found, teller: &Teller) -> Result<(), Gone> {
        let root = &self.options.root;
        let mut now = Vec::new();
        match kernels::told(root, &self.options.release) {
            Ok(installed) => now.push((Thing::Kernels, installed)),
            Err(error) => found.problem(format!("the installed kernels are not known: {error}")),
        }
        if self.options.has_modules {
            let path = kernels::folder_of(&self.options.release);
            let thing = Thing::Modules { path };
            let were_there = matches!(self.kernels.get(&thing), Some(Some(_)));
            now.push((
                thing,
                kernels::modules_of(root, &self.options.release, were_there),
            ));
        }
        for (thing, value) in now {
            let seen = match self.kernels.get(&thing) {
                Some(before) if *before == value => continue,
                Some(_) if self.can_watch => Seen::Told,
                Some(_) => Seen::Noticed,
                None => Seen::Found,
            };
            self.kernels.insert(thing.clone(), value.clone());
            if seen == Seen::Found && value.is_none() {
                continue;
            }
            teller.tell(Body::Setting(Box::new(Setting {
                netns: 0,
                thing,
                value,
                seen,
                // inotify tells that a folder was changed, and not by whom.
                by_unknown: (seen != Seen::Found && by.is_none()).then_some(Unknown::NotTold),
                by: by.filter(|_| seen != Seen::Found).cloned(),
            })))?;
        }
        Ok(())
    }

    /// Waits until there is reason to look again.
    fn wait(&mut self, teller: &Teller) -> Result<(), Gone> {
        let is_recent = self.changed.is_some_and(|at| at.elapsed() < AFTER_CHANGE);
        let at_work = self.told.iter().any(|packages| packages.holder.is_some());
        let pause = if at_work || is_recent || !self.can_watch {
            AT_WORK
        } else {
            IDLE
        };
        self.pause(teller, pause, true)?;
        if self.watches.drain() {
            self.changed = Some(Instant::now());
            self.gather(teller)?;
        }
        Ok(())
    }

    /// Waits for more changes, and looks at who makes them: it may have ended before all is looked at.
    fn gather(&mut self, teller: &Teller) -> Result<(), Gone> {
        let until = Instant::now() + GATHER;
        loop {
            self.dpkg.glance();
            self.rpm.glance();
            let left = || until.saturating_duration_since(Instant::now());
            if left().is_zero() {
                return Ok(());
            }
            self.pause(teller, GLANCE.min(left()), false)?;
            self.pause(teller, left(), true)?;
            self.watches.drain();
        }
    }

    /// Waits for so long, where `wakes` until something changes, and in any case until the source is to end.
    fn pause(&self, teller: &Teller, pause: Duration, wakes: bool) -> Result<(), Gone> {
        let mut fds = vec![PollFd::from_borrowed_fd(teller.stop(), PollFlags::IN)];
        if wakes && let Some(fd) = self.watches.fd() {
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
        }
        let timeout = Timespec {
            tv_sec: i64::try_from(pause.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: pause.subsec_nanos().into(),
        };
        match poll(&mut fds, Some(&timeout)) {
            // A signal: the next look comes earlier.
            Ok(_) | Err(Errno::INTR) => {}
            // It can wait for nothing any more.
            Err(_) => return Err(Gone),
        }
        match fds.first() {
            Some(stop) if stop.revents().is_empty() => Ok(()),
            _ => Err(Gone),
        }
    }
}
