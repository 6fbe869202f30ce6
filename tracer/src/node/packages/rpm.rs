//! rpm and dnf: their lock, and what dnf writes of each package, also what it wrote before the tracer started. rpm keeps
//! no state of a package that it is at work on, and dnf's history is a database, which is not read here.
//!
//! Of a run that was cut off one trace is left: rpm empties the log of changes to its database (`rpmdb.sqlite-wal`, as of
//! sqlite) where it closes that, and who reads it does not. The next run that changes something takes this trace away, too.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::inotify::WatchFlags;

use super::files::{self, Mark};
use super::follow::Follow;
use super::history::Action;
use super::lock::Lock;
use super::past::{self, SECOND};
use super::rotated;
use super::sessions::Session;
use super::watches::{self, below};
use super::{Found, holder_of};
use crate::event::{Manager, Owner, Packages, Upgrades};

/// Where the database is: that of new systems, and that of old ones.
const FOLDERS: [&str; 2] = ["/usr/lib/sysimage/rpm", "/var/lib/rpm"];
/// What is in such a folder, by the kind of the database.
const DATABASES: [&str; 3] = ["rpmdb.sqlite", "Packages.db", "Packages"];
const LOCK: &str = ".rpm.lock";
/// Changes to the database of a run that has not closed it.
const UNCLOSED: &str = "rpmdb.sqlite-wal";
/// What dnf begins to write at its start, whatever it is to do.
const BEGINS: &str = "--- logging initialized ---";
/// Between two packages of a run is at most so much, in ns: 10 min. dnf begins with a line of its own.
const SAME_RUN: i64 = 600 * SECOND;

/// What is known of rpm and dnf.
#[derive(Debug)]
pub(super) struct Rpm {
    folders: [PathBuf; 2],
    locks: [Lock; 2],
    holder: Option<Owner>,
    /// Who gave the lock back and may not have closed the database as yet.
    closing: Option<u32>,
    log: Follow,
    /// As it was when past runs were read from it; `None` before that.
    past: Option<Option<Mark>>,
    /// What of it could not be read then.
    unread: Option<String>,
    is_known: bool,
}

impl Rpm {
    pub(super) fn new(root: &Path) -> Self {
        let folders = FOLDERS.map(|folder| below(root, folder));
        Self {
            locks: folders.each_ref().map(|folder| Lock::new(folder.join(LOCK))),
            folders,
            holder: None,
            closing: None,
            log: Follow::new(below(root, "/var/log/dnf.rpm.log")),
            past: None,
            unread: None,
            is_known: false,
        }
    }

    /// What it is to be woken by.
    pub(super) fn watched(root: &Path) -> Vec<(PathBuf, WatchFlags)> {
        let mut all = vec![
            (below(root, "/var/log"), watches::NAMES),
            (below(root, "/var/log/dnf.rpm.log"), watches::LOG),
        ];
        for folder in FOLDERS {
            all.push((below(root, folder), watches::NAMES));
            all.push((below(root, folder).join(LOCK), watches::LOCK));
        }
        all
    }

    /// Who holds the lock just now.
    pub(super) fn glance(&mut self) {
        if let Ok(Some(owner)) = holder_of(&mut self.locks, self.holder.as_ref()) {
            self.holder = Some(owner);
        }
    }

    /// How the packages stand, `None` where there is no rpm.
    pub(super) fn look(&mut self, found: &mut Found) -> Option<Packages> {
        let has_database = |folder: &PathBuf| DATABASES.iter().any(|name| folder.join(name).exists());
        if !self.folders.iter().any(has_database) {
            return None;
        }
        let last = self.holder.take();
        let now = holder_of(&mut self.locks, last.as_ref()).unwrap_or_else(|problem| {
            found.problem(problem);
            None
        });
        let by = now.clone().or(last);
        let open_run = self.is_cut_off(now.as_ref(), by.as_ref());
        let mut told = Vec::new();
        let mut line = |line: &str, _: u64| told.extend(done(line));
        let result = if self.is_known {
            self.log.look(&mut line)
        } else {
            self.log.begin(&mut line)
        };
        if let Err(error) = result {
            let what = files::unreadable(self.log.path(), &error);
            found.problem(format!("{what}: what dnf does to each package is not seen"));
        }
        if self.is_known {
            told.into_iter().for_each(|text| found.notice(text, by.as_ref()));
        }
        self.is_known = true;
        self.look_back(now.is_some(), found);
        self.holder.clone_from(&now);
        found.problem(
            "rpm does not say which package it is at work on, nor which it has left half-way: of rpm only who holds \
             its lock is seen, and what dnf has logged as done; ask `dnf history` and `rpm -Va`"
                .to_owned(),
        );
        Some(Packages {
            manager: Manager::Rpm,
            holder: now,
            working_on: String::new(),
            unfinished: Vec::new(),
            unfinished_more: 0,
            leftovers: 0,
            open_run,
            reboot: None,
            unknown: true,
        })
    }
}

impl Rpm {
    /// Whether the last run is over and has not closed the database. `by` is who held the lock last.
    pub(super) fn is_cut_off(&mut self, now: Option<&Owner>, by: Option<&Owner>) -> bool {
        let has_changes = |folder: &PathBuf| {
            let mark = files::mark(&folder.join(UNCLOSED));
            mark.is_ok_and(|mark| mark.is_some_and(|mark| mark.size() > 0))
        };
        let is_unclosed = now.is_none() && self.folders.iter().any(has_changes);
        // The lock goes first, and the database is closed after it.
        self.closing = by.map(|owner| owner.pid).or(self.closing);
        self.closing = self.closing.filter(|pid| is_unclosed && is_alive(*pid));
        is_unclosed && self.closing.is_none()
    }

    /// Past runs, where there may be new ones: while somebody is at work the log grows all the time.
    fn look_back(&mut self, at_work: bool, found: &mut Found) {
        // What cannot be looked at cannot be read either, which is told of the log.
        let now = files::mark(self.log.path()).ok().flatten();
        if self.past != Some(now) && (!at_work || self.past.is_none()) {
            self.past = Some(now);
            let tail = rotated::end_of_log(self.log.path(), past::TAIL);
            found.upgrades.push(upgrades(&tail.text));
            let rotated = tail.problem.filter(|_| !tail.text.is_empty());
            self.unread = rotated.map(|problem| format!("{problem}: earlier runs of dnf are not known"));
        }
        let unread = self.unread.clone();
        unread.into_iter().for_each(|problem| found.problem(problem));
    }
}

/// Whether the process has not ended. One that nobody has waited for has no command line any more (proc_pid_cmdline(5)).
fn is_alive(pid: u32) -> bool {
    let command = Path::new("/proc").join(pid.to_string()).join("cmdline");
    pid != 0 && fs::read(command).is_ok_and(|command| !command.is_empty())
}

/// What the log tells. It has no ends: that of a run is the last package.
fn upgrades(log: &str) -> Upgrades {
    let mut sessions: Vec<Session> = Vec::new();
    let (mut since, mut begins) = (None, true);
    for line in log.lines() {
        // Other lines are what the scripts of packages say.
        let Some((time, rest)) = line.split_once(' ') else {
            continue;
        };
        let Ok(at) = time.parse::<Timestamp>() else {
            continue;
        };
        let Ok(at) = i64::try_from(at.as_nanosecond()) else {
            continue;
        };
        since.get_or_insert(at);
        begins |= rest.ends_with(BEGINS);
        let Some((action, package)) = step(line) else {
            continue;
        };
        let is_another =
            |last: &Session| last.is_before_setting_back(at) || at.saturating_sub(last.last) > SAME_RUN;
        if begins || sessions.last().is_none_or(is_another) {
            sessions.push(Session::begin(at));
            begins = false;
        }
        if let Some(session) = sessions.last_mut() {
            session.goes_on(at);
            session.did.insert(name(package).to_owned(), Some(action.action));
        }
    }
    let runs = sessions.iter().map(Session::upgrade).collect();
    past::latest(Manager::Rpm, since, runs)
}

/// The name of a package: `systemd` of `systemd-252-18.el9.x86_64`.
fn name(package: &str) -> &str {
    package.rsplitn(3, '-').nth(2).unwrap_or(package)
}

/// What is done with a package.
struct Step {
    /// As dnf calls it.
    word: &'static str,
    action: Action,
    /// As it is told.
    text: &'static str,
}

const STEPS: [Step; 7] = [
    Step::new("Installed:", Action::Install, "install"),
    Step::new("Upgrade:", Action::Upgrade, "upgrade"),
    Step::new("Downgrade:", Action::Downgrade, "downgrade"),
    Step::new("Reinstall:", Action::Reinstall, "reinstall"),
    Step::new("Erase:", Action::Remove, "remove"),
    Step::new("Removed:", Action::Remove, "remove"),
    Step::new("Obsoleted:", Action::Remove, "remove as obsolete"),
];

impl Step {
    const fn new(word: &'static str, action: Action, text: &'static str) -> Self {
        Self { word, action, text }
    }
}

/// What a line of `/var/log/dnf.rpm.log` says was done: `2023-10-08T06:15:01+0000 SUBDEBUG Upgrade: tzdata-2023c-1.noarch`.
/// That the old version was removed in its course is left out.
fn step(line: &str) -> Option<(&'static Step, &str)> {
    let mut fields = line.split_ascii_whitespace();
    let (date, level, word, package) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let is_date = date.len() >= "2023-10-08T06:15:01".len() && date.as_bytes().get(10) == Some(&b'T');
    if !is_date || level != "SUBDEBUG" || fields.next().is_some() {
        return None;
    }
    let step = STEPS.iter().find(|step| step.word == word)?;
    Some((step, package))
}

/// The same in words.
fn done(line: &str) -> Option<String> {
    step(line).map(|(step, package)| format!("dnf: {} {package}", step.text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_runs_begin_with_dnf_or_after_a_pause() {
        let log = "\
2023-10-08T06:14:58+0000 INFO --- logging initialized ---
2023-10-08T06:15:01+0000 SUBDEBUG Upgrade: systemd-252-18.el9.x86_64
2023-10-08T06:15:09+0000 SUBDEBUG Installed: kernel-core-5.14.0-362.el9.x86_64
Created symlink /etc/systemd/system/x
2023-10-08T06:15:10+0000 SUBDEBUG Upgraded: systemd-252-14.el9.x86_64
2023-10-08T06:16:00+0000 INFO --- logging initialized ---
2023-10-08T06:16:03+0000 SUBDEBUG Erase: old-1-1.noarch
2023-10-08T09:00:00+0200 SUBDEBUG Erase: other
\u{fffd} SUBDEBUG Erase: torn";
        let told = upgrades(log);
        let time = |at: i64| at / SECOND - 1_696_744_800;
        assert_eq!(told.since.map(time), Some(14 * 60 + 58));
        let runs: Vec<_> = told
            .runs
            .iter()
            .map(|run| {
                (
                    time(run.begun),
                    run.ended.map(time),
                    run.names.join(" "),
                    run.removed,
                )
            })
            .collect();
        assert_eq!(
            runs,
            [
                (901, Some(909), "systemd kernel-core".to_owned(), 0),
                (963, Some(963), "old".to_owned(), 1),
                (3600, Some(3600), "other".to_owned(), 1),
            ]
        );
        assert_eq!(upgrades("").runs, []);
    }

    #[test]
    fn no_run_ends_before_it_began_whatever_the_clock_does() {
        let log = "\
2023-10-08T10:00:00+0000 SUBDEBUG Installed: a-1-1.noarch
2023-10-08T09:59:59+0000 SUBDEBUG Installed: b-1-1.noarch
2023-10-08T09:00:05+0000 SUBDEBUG Installed: c-1-1.noarch
1677-12-01T00:00:00+0000 SUBDEBUG Installed: d-1-1.noarch
2262-01-01T00:00:00+0000 SUBDEBUG Installed: e-1-1.noarch";
        let runs = upgrades(log).runs;
        let names: Vec<_> = runs.iter().map(|run| run.names.join(" ")).collect();
        for run in &runs {
            assert!(run.ended.is_some_and(|ended| ended >= run.begun), "{run:?}");
        }
        for session in ["a b", "c", "d", "e"] {
            assert!(names.iter().any(|names| names == session), "{names:?}");
        }
    }

    #[test]
    fn what_dnf_has_done_is_told() {
        let told = |line: &str| done(line);
        assert_eq!(
            told("2023-10-08T06:15:01+0000 SUBDEBUG Upgrade: systemd-252-18.el9.x86_64").as_deref(),
            Some("dnf: upgrade systemd-252-18.el9.x86_64")
        );
        assert_eq!(
            told("2023-10-08T06:15:01Z SUBDEBUG Erase: old-1-1.noarch").as_deref(),
            Some("dnf: remove old-1-1.noarch")
        );
        for other in [
            "",
            "2023-10-08T06:15:01+0000 INFO --- logging initialized ---",
            "2023-10-08T06:15:01+0000 SUBDEBUG Upgraded: systemd-252-14.el9.x86_64",
            "2023-10-08T06:15:01+0000 SUBDEBUG Upgrade:",
            "2023-10-08T06:15:01+0000 INFO warning: Upgrade: a b",
            "Upgrade: systemd-252-14.el9.x86_64",
            "\u{fffd}\u{fffd}\u{fffd}\u{fffd} SUBDEBUG Upgrade: a",
        ] {
            assert_eq!(told(other), None, "{other:?}");
        }
    }
}
