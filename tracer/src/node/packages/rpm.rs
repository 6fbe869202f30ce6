//! rpm and dnf: their lock, and what dnf writes of each package. rpm keeps no state of a package that it is at work on
//! and dnf's history is a database, which is not read here.

use std::path::{Path, PathBuf};

use rustix::fs::inotify::WatchFlags;

use super::files;
use super::follow::Follow;
use super::lock::Lock;
use super::watches::{self, below};
use super::{Found, holder_of};
use crate::event::{Manager, Owner, Packages};

/// Where the database is: that of new systems, and that of old ones.
const FOLDERS: [&str; 2] = ["/usr/lib/sysimage/rpm", "/var/lib/rpm"];
/// What is in such a folder, by the kind of the database.
const DATABASES: [&str; 3] = ["rpmdb.sqlite", "Packages.db", "Packages"];
const LOCK: &str = ".rpm.lock";

/// What is known of rpm and dnf.
#[derive(Debug)]
pub(super) struct Rpm {
    folders: [PathBuf; 2],
    locks: [Lock; 2],
    holder: Option<Owner>,
    log: Follow,
    is_known: bool,
}

impl Rpm {
    pub(super) fn new(root: &Path) -> Self {
        let folders = FOLDERS.map(|folder| below(root, folder));
        Self {
            locks: folders.each_ref().map(|folder| Lock::new(folder.join(LOCK))),
            folders,
            holder: None,
            log: Follow::new(below(root, "/var/log/dnf.rpm.log")),
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
        let mut told = Vec::new();
        let mut line = |line: &str| told.extend(done(line));
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
            leftovers: 0,
            open_run: false,
            reboot: None,
            kernels: Vec::new(),
        })
    }
}

/// What a line of `/var/log/dnf.rpm.log` says was done: `2023-10-08T06:15:01+0000 SUBDEBUG Upgrade: tzdata-2023c-1.noarch`.
/// That the old version was removed in its course is left out.
fn done(line: &str) -> Option<String> {
    let mut fields = line.split_ascii_whitespace();
    let (date, level, action, package) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let is_date = date.len() >= "2023-10-08T06:15:01".len() && date.as_bytes().get(10) == Some(&b'T');
    if !is_date || level != "SUBDEBUG" || fields.next().is_some() {
        return None;
    }
    let action = match action {
        "Installed:" => "install",
        "Upgrade:" => "upgrade",
        "Downgrade:" => "downgrade",
        "Reinstall:" => "reinstall",
        "Erase:" | "Removed:" => "remove",
        "Obsoleted:" => "remove as obsolete",
        _ => return None,
    };
    Some(format!("dnf: {action} {package}"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
