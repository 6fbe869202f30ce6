//! dpkg and apt: their lock, log, status and history.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use rustix::fs::inotify::WatchFlags;

use super::files::{self, Fresh, Mark};
use super::follow::Follow;
use super::history::{self, Run};
use super::lock::{self, Holder, Lock};
use super::log::{self, Line, Progress};
use super::past::{AtWork, Past};
use super::status::{Damage, Table};
use super::watches::{self, below};
use super::writers::{End, Sight, Writers};
use super::{Found, holder_of};
use crate::event::{Manager, Owner, Packages, Unfinished};

/// Packages that are told as unfinished, at most; the bound of what a foreign status can make of an event.
const MOST_UNFINISHED: usize = 1000;
/// Files of `updates` that are read at most: dpkg takes them into its status when there are 250.
const MOST_UPDATES: usize = 10_000;
/// Packages that are told as asking for a reboot, at most, and the bytes of the name of each.
const MOST_REBOOT: usize = 100;
const NAME: usize = 256;
/// Bytes of a note in `updates` that are read: it is the entry of one package.
const NOTE: u64 = 4 << 20;

const ADMIN: &str = "/var/lib/dpkg";

/// What is known of dpkg and apt.
#[derive(Debug)]
pub(super) struct Dpkg {
    admin: PathBuf,
    /// That of apt and of dpkg where no frontend runs it, and that of dpkg itself. A frontend holds the first for all
    /// of its run.
    locks: [Lock; 2],
    /// Who was last seen to hold one of them.
    holder: Option<Owner>,
    /// Who held it all the time since the look before.
    steady: Option<Owner>,
    writers: Writers,
    log: Follow,
    progress: Progress,
    status: Fresh,
    /// Why the status cannot be read.
    unread: Option<String>,
    table: Option<Table>,
    updates: BTreeMap<String, Mark>,
    history: Fresh,
    /// The last one, as far as the history could be read.
    run: Option<Run>,
    /// The history was read before: what stands there at the first time happened before.
    has_history: bool,
    /// Who was seen to be at work on it.
    run_by: Option<Owner>,
    past: Past,
    reboot: [PathBuf; 2],
    /// It was looked at before.
    is_known: bool,
}

impl Dpkg {
    pub(super) fn new(root: &Path) -> Self {
        let admin = below(root, ADMIN);
        Self {
            locks: ["lock-frontend", "lock"].map(|name| Lock::new(admin.join(name))),
            holder: None,
            steady: None,
            writers: Writers::default(),
            log: Follow::new(below(root, log::PATH)),
            progress: Progress::default(),
            status: Fresh::new(admin.join("status")),
            unread: None,
            table: None,
            updates: BTreeMap::new(),
            history: Fresh::new(below(root, history::PATH)),
            run: None,
            has_history: false,
            run_by: None,
            past: Past::new(root),
            reboot: ["/run/reboot-required", "/run/reboot-required.pkgs"].map(|path| below(root, path)),
            is_known: false,
            admin,
        }
    }

    /// What it is to be woken by.
    pub(super) fn watched(root: &Path) -> Vec<(PathBuf, WatchFlags)> {
        [
            (ADMIN, watches::FOLDER),
            ("/var/lib/dpkg/updates", watches::FOLDER),
            ("/var/lib/dpkg/lock-frontend", watches::LOCK),
            ("/var/lib/dpkg/lock", watches::LOCK),
            ("/var/log", watches::NAMES),
            (log::PATH, watches::LOG),
            ("/var/log/apt", watches::NAMES),
            (history::PATH, watches::LOG),
            ("/run", watches::FOLDER),
        ]
        .map(|(path, flags)| (below(root, path), flags))
        .into()
    }

    /// Who holds the lock just now: looked at before all else, as it may not hold it for long.
    pub(super) fn glance(&mut self) {
        // What is wrong with it the next look tells.
        let _ = self.sight();
    }

    /// How the packages stand; `None` where there is no dpkg, or where that is not known.
    pub(super) fn look(&mut self, found: &mut Found) -> Option<Packages> {
        if !self.admin.is_dir() {
            return None;
        }
        // Whoever came to hold it meanwhile may be in the middle of what is read.
        let before = self.sight_or(found);
        self.read_log(found);
        self.read_history(found);
        self.read_status();
        let mut leftovers = self.read_updates(found);
        let after = self.sight_or(found);
        if before.is_some() && after.is_none() {
            // It has ended meanwhile: what it left is there only now.
            self.read_status();
            leftovers = self.read_updates(found);
        }
        self.is_known = true;
        self.steady = after.clone().filter(|after| is_same(before.as_ref(), after));
        let at_work = after.as_ref().map(|holder| self.at_work(holder));
        self.past.look(at_work, found);
        found.problems.extend(self.unread.clone());
        found.problems.extend(self.strange());
        if after.is_none() {
            self.progress = Progress::default();
            self.table.as_ref()?;
        }
        let mut all = self.table.iter().flat_map(Table::unfinished);
        let unfinished: Vec<Unfinished> = all.by_ref().take(MOST_UNFINISHED).collect();
        let unfinished_more = u32::try_from(all.count()).unwrap_or(u32::MAX);
        Some(Packages {
            manager: Manager::Dpkg,
            holder: after,
            working_on: self.progress.working_on.clone(),
            unfinished,
            unfinished_more,
            leftovers: u32::try_from(leftovers).unwrap_or(u32::MAX),
            open_run: self
                .run
                .as_ref()
                .filter(|_| self.history.is_read())
                .is_some_and(|run| run.is_open(self.table.as_ref(), self.past.changed_since())),
            reboot: self.read_reboot(found),
            unknown: self.strange().is_some(),
        })
    }

    fn holder(&mut self) -> Result<Option<Owner>, String> {
        holder_of(&mut self.locks, self.holder.as_ref())
    }

    /// Looks at who holds the lock, and how long the log is then.
    fn sight(&mut self) -> Result<Option<Owner>, String> {
        self.holder = self.holder()?;
        let Some(holder) = self.holder.clone() else {
            self.writers.nobody();
            self.steady = None;
            return Ok(None);
        };
        let from = self.log.end();
        let has_begun = !self.writers.is_known(&holder) && self.writes_log(&holder) == Some(true);
        let until = self.log.end();
        self.holder = self.holder()?;
        let is_same = is_same(self.holder.as_ref(), &holder);
        match (from, until) {
            (Ok(from), Ok(until)) if is_same => self.writers.seen(Sight {
                holder: &holder,
                from,
                until,
                has_begun,
            }),
            _ => self.writers.nobody(),
        }
        self.steady = self
            .steady
            .take()
            .filter(|steady| is_same && steady.pid == holder.pid);
        Ok(self.holder.clone())
    }

    fn sight_or(&mut self, found: &mut Found) -> Option<Owner> {
        self.sight().unwrap_or_else(|problem| {
            self.writers.nobody();
            self.steady = None;
            found.problem(problem);
            None
        })
    }

    /// Whether who holds the lock has dpkg's log open; of a frontend it is the dpkg that it has started, which holds the
    /// other one. dpkg opens it with the first line that it writes, and has it open to its end.
    fn writes_log(&mut self, holder: &Owner) -> Option<bool> {
        let [_, inner] = &mut self.locks;
        let pid = match inner.holder() {
            Ok(Some(Holder::Process(pid))) => pid,
            _ => holder.pid,
        };
        let Some(log) = self.log.mark() else {
            return Some(false);
        };
        lock::has_open(pid, log)
    }

    /// The same of the history, which apt has open for as long as dpkg works for it.
    fn writes_history(&self, holder: &Owner) -> Option<bool> {
        match files::mark(self.history.path()) {
            Ok(Some(history)) => lock::has_open(holder.pid, history),
            Ok(None) => Some(false),
            Err(_) => None,
        }
    }

    /// Where it cannot be seen which files are open, it may be at work on either.
    fn at_work(&mut self, holder: &Owner) -> AtWork {
        AtWork {
            on_log: self.writes_log(holder).unwrap_or(true),
            on_history: self.writes_history(holder).unwrap_or(true),
        }
    }

    fn read_log(&mut self, found: &mut Found) {
        let Self {
            log,
            progress,
            is_known,
            ..
        } = self;
        let turns = log.turns();
        let (mut ends, mut told) = (Vec::new(), Vec::new());
        let mut line = |text: &str, at: u64| {
            let line = Line::parse(text);
            ends.push(End {
                at,
                is_start: matches!(line, Some(Line::Startup(_))),
            });
            let text = line.and_then(|line| progress.line(line));
            told.extend(text.map(|text| (ends.len() - 1, text)));
        };
        let result = if *is_known {
            log.look(&mut line)
        } else {
            log.begin(&mut line)
        };
        if let Err(error) = result {
            found.problem(format!(
                "{}: the package in work is not known, nor what is done to each",
                files::unreadable(log.path(), &error)
            ));
        }
        // What was read of another one has other places.
        if log.turns() != turns {
            self.writers.forget();
        }
        self.sight_or(found);
        let writers = self.writers.of(&ends);
        // What stands there at the start happened before.
        if self.is_known {
            for (line, text) in told {
                found.notice(text, writers.get(line).and_then(Option::as_ref));
            }
        }
    }

    fn read_history(&mut self, found: &mut Found) {
        let text = self.history.read(|file| match file {
            None => Ok(String::new()),
            Some(file) => files::end_of(file, history::TAIL),
        });
        let text = match text {
            Ok(None) => return,
            Ok(Some(text)) => text,
            Err(error) => {
                let what = files::unreadable(self.history.path(), &error);
                found.problem(format!("{what}: runs of apt are not known"));
                return;
            }
        };
        let run = Run::last(&text);
        let old = self.run.take();
        let is_other = |run: &Run| old.as_ref().is_none_or(|old| old.begin != run.begin);
        if run.as_ref().is_none_or(is_other) {
            self.run_by = None;
        }
        self.sight_or(found);
        // One that has ended may be of another one, unless it was at work all the time.
        let is_open = run.as_ref().is_some_and(|run| !run.has_ended);
        let now = self.holder.as_ref();
        let by = now.filter(|now| {
            is_same(self.steady.as_ref(), now) || (is_open && self.writes_history(now) == Some(true))
        });
        self.run_by = self.run_by.take().or_else(|| by.cloned());
        let by = self.run_by.as_ref();
        if self.has_history
            && let Some(run) = &run
        {
            let old = old.as_ref().filter(|old| old.begin == run.begin);
            if old.is_none() {
                found.notice(run.begins(), by);
            }
            if run.has_ended && old.is_none_or(|old| !old.has_ended) {
                found.notice(run.ends(), by);
            }
        }
        self.run = run;
        self.has_history = true;
    }

    fn read_status(&mut self) {
        let read = self.status.read(|file| {
            let mut table = Table::default();
            if let Some(file) = file {
                table.read(BufReader::with_capacity(64 << 10, file))?;
            }
            Ok(table)
        });
        match read {
            Ok(None) => {}
            Ok(Some(table)) => {
                self.unread = None;
                self.table = Some(table);
                // What was noted since is to be taken in again.
                self.updates.clear();
            }
            Err(error) => {
                let what = files::unreadable(self.status.path(), &error);
                self.unread = Some(format!("{what}: packages left half-way are not known"));
            }
        }
    }

    /// Takes in what dpkg has noted since it wrote its status last. Returns how many notes there are.
    fn read_updates(&mut self, found: &mut Found) -> usize {
        let folder = self.admin.join("updates");
        let names = match names_of(&folder) {
            Ok(names) => names,
            Err(error) => {
                let what = files::unreadable(&folder, &error);
                found.problem(format!("{what}: changes not taken into the status are not known"));
                return 0;
            }
        };
        self.updates.retain(|name, _| names.contains(name));
        for name in &names {
            let path = folder.join(name);
            let read = files::open(&path).and_then(|opened| match opened {
                Some((file, mark)) if self.updates.get(name) != Some(&mark) => {
                    // Whole, or not at all: it is read again where that fails.
                    let mut note = Vec::new();
                    file.take(NOTE).read_to_end(&mut note)?;
                    let table = self.table.get_or_insert_default();
                    table.read_note(&*note)?;
                    self.updates.insert(name.clone(), mark);
                    Ok(())
                }
                _ => Ok(()),
            });
            if let Err(error) = read {
                found.problem(files::unreadable(&path, &error));
            }
        }
        names.len()
    }

    /// What is odd in what dpkg has written.
    fn strange(&self) -> Option<String> {
        let (table, path) = (self.table.as_ref()?, self.status.path().display());
        let damage = table.damage().map(|damage| match damage {
            Damage::Zeros => {
                format!("{path}, or a note beside it, has bytes that are zero: it is torn, or not of dpkg")
            }
            Damage::WithinLine => format!("{path}, or a note beside it, ends within a line: it is torn"),
            Damage::WithinEntry => {
                format!(
                    "{path} ends without the empty line that dpkg writes behind each entry: it may be torn"
                )
            }
        });
        match (table.len(), table.odd(), damage) {
            (0, 0, _) => Some(format!("{path} is empty or not there: no package is known")),
            (0, _, _) => Some(format!("{path} names no package: it is not of dpkg, or torn")),
            (_, 0, damage) => damage.map(|damage| format!("{damage}, and not all packages are known")),
            (_, odd, _) => Some(format!(
                "{odd} of the entries of {path} have no name, or no state that dpkg has: the file is torn, or not of \
                 dpkg, and those packages are not known"
            )),
        }
    }

    fn read_reboot(&self, found: &mut Found) -> Option<Vec<String>> {
        let [flag, list] = &self.reboot;
        if !flag.exists() {
            return None;
        }
        let mut packages = Vec::new();
        let read = files::open(list).and_then(|opened| match opened {
            None => Ok(()),
            Some((file, _)) => files::lines(BufReader::new(file.take(1 << 20)), NAME, |line| {
                let name = String::from_utf8_lossy(line).trim().to_owned();
                if !name.is_empty() && packages.len() < MOST_REBOOT && !packages.contains(&name) {
                    packages.push(name);
                }
            })
            .map(drop),
        });
        if let Err(error) = read {
            found.problem(files::unreadable(list, &error));
        }
        Some(packages)
    }
}

/// Whether that is this process.
fn is_same(one: Option<&Owner>, other: &Owner) -> bool {
    one.is_some_and(|one| one.pid == other.pid)
}

/// The notes in `updates`, in the order in which they were made: dpkg gives them numbers of one length. Another file
/// there is one that it has not finished.
fn names_of(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if files::is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .take(MOST_UPDATES)
        .collect();
    names.sort_unstable();
    Ok(names)
}
