//! How the node's packages stand: at rest, in work, or left half-way.

use std::collections::{BTreeMap, VecDeque};

use super::timeline::{Change, Subject};
use crate::event::{Manager, Owner, Packages};

/// Spells of work that are kept at most, the latest.
const SPELLS: usize = 64;

/// What the package managers have told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Managers {
    told: BTreeMap<Manager, Packages>,
    /// When packages were worked on, the earliest first.
    work: VecDeque<Work>,
}

/// A time in which somebody held a manager's lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Work {
    /// Whose lock.
    pub(crate) manager: Manager,
    /// Who held it last.
    pub(crate) holder: Owner,
    /// Since when, in boot time; `None` where it was found so.
    pub(crate) since: Option<u64>,
    /// Until when; `None` for still.
    pub(crate) until: Option<u64>,
}

impl Work {
    fn is_at(&self, at: u64) -> bool {
        self.since.is_none_or(|since| since <= at) && self.until.is_none_or(|until| at <= until)
    }
}

/// How packages stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// All is installed in full, or removed.
    Whole,
    /// Somebody holds the lock.
    InWork,
    /// Nobody holds the lock, and something is not finished.
    Interrupted,
}

impl Standing {
    pub(crate) fn of(packages: &Packages) -> Self {
        if packages.holder.is_some() {
            Self::InWork
        } else if packages.unfinished.is_empty() && packages.leftovers == 0 && !packages.open_run {
            Self::Whole
        } else {
            Self::Interrupted
        }
    }
}

impl Managers {
    /// Takes note of how packages stand. Returns what changed; the first that is told is no change.
    pub(super) fn told(&mut self, at: u64, packages: &Packages) -> Option<Change> {
        let before = self.told.insert(packages.manager, packages.clone());
        self.work(at, packages, before.is_none());
        let before = before?;
        let (described, after) = (describe(&before), describe(packages));
        if described == after {
            return None;
        }
        Some(Change {
            at,
            subject: Subject::Packages(packages.manager),
            before: Some(described),
            after: Some(after),
            by: packages.holder.clone().or(before.holder),
            noticed: false,
        })
    }

    fn work(&mut self, at: u64, packages: &Packages, is_first: bool) {
        let mut open = self
            .work
            .iter_mut()
            .filter(|work| work.manager == packages.manager && work.until.is_none());
        match (open.next(), &packages.holder) {
            (Some(work), Some(holder)) => work.holder.clone_from(holder),
            (Some(work), None) => work.until = Some(at),
            (None, Some(holder)) => {
                if self.work.len() == SPELLS {
                    self.work.pop_front();
                }
                self.work.push_back(Work {
                    manager: packages.manager,
                    holder: holder.clone(),
                    since: (!is_first).then_some(at),
                    until: None,
                });
            }
            (None, None) => {}
        }
    }

    /// Who worked on packages at that boot time, where somebody did.
    pub(crate) fn work_at(&self, at: u64) -> Option<&Work> {
        self.work.iter().rev().find(|work| work.is_at(at))
    }

    /// Each manager's word.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Packages> {
        self.told.values()
    }
}

/// How packages stand, in one sentence without the package in work: that changes many times a second.
pub(crate) fn describe(packages: &Packages) -> String {
    let standing = match Standing::of(packages) {
        Standing::Whole => return with_reboot(packages, "all packages whole".to_owned()),
        // What is unfinished while it is worked on is on its way.
        Standing::InWork => return with_reboot(packages, "in work".to_owned()),
        Standing::Interrupted => "interrupted",
    };
    /// Packages that are named.
    const NAMED: usize = 5;
    let mut reasons: Vec<String> = packages
        .unfinished
        .iter()
        .take(NAMED)
        .map(|one| format!("{} {}", one.name, one.state))
        .collect();
    if packages.unfinished.len() > NAMED {
        reasons.push(format!("{} more packages", packages.unfinished.len() - NAMED));
    }
    if packages.leftovers > 0 {
        reasons.push(format!(
            "{} changes not taken into the status",
            packages.leftovers
        ));
    }
    if packages.open_run {
        reasons.push("a run that began has not told its end".to_owned());
    }
    with_reboot(packages, format!("{standing}: {}", reasons.join(", ")))
}

fn with_reboot(packages: &Packages, text: String) -> String {
    match &packages.reboot {
        None => text,
        Some(_) => text + "; reboot required",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Owner, Unfinished};

    fn packages() -> Packages {
        Packages {
            manager: Manager::Dpkg,
            holder: None,
            working_on: String::new(),
            unfinished: Vec::new(),
            leftovers: 0,
            open_run: false,
            reboot: None,
            kernels: Vec::new(),
        }
    }

    #[test]
    fn an_upgrade_that_stops_half_way_is_interrupted() {
        let mut managers = Managers::default();
        assert_eq!(managers.told(1, &packages()), None);
        let mut now = packages();
        now.holder = Some(Owner {
            pid: 7,
            command: "apt-get".to_owned(),
            cgroup: String::new(),
            unit: "apt-daily-upgrade.service".to_owned(),
        });
        now.unfinished = vec![Unfinished {
            name: "systemd".to_owned(),
            state: "half-configured".to_owned(),
        }];
        let change = managers.told(2, &now).unwrap();
        assert_eq!(change.after.as_deref(), Some("in work"));
        now.holder = None;
        let change = managers.told(3, &now).unwrap();
        assert_eq!(
            change.after.as_deref(),
            Some("interrupted: systemd half-configured")
        );
        // Who held the lock last.
        assert_eq!(change.by.map(|owner| owner.pid), Some(7));
        // And when.
        let work = |at| managers.work_at(at).map(|work| (work.holder.pid, work.since));
        assert_eq!(
            (work(1), work(2), work(3), work(4)),
            (None, Some((7, Some(2))), Some((7, Some(2))), None)
        );
        assert_eq!(managers.iter().count(), 1);
    }

    #[test]
    fn each_thing_left_is_a_reason() {
        let mut left = packages();
        assert_eq!(Standing::of(&left), Standing::Whole);
        left.open_run = true;
        left.leftovers = 2;
        left.reboot = Some(vec!["linux-image-amd64".to_owned()]);
        assert_eq!(Standing::of(&left), Standing::Interrupted);
        assert_eq!(
            describe(&left),
            "interrupted: 2 changes not taken into the status, a run that began has not told its end; \
             reboot required"
        );
    }
}
