//! Runs of apt, by `/var/log/apt/history.log`: what each was to do is written when it begins, its end when it has
//! ended.

use std::collections::{BTreeMap, BTreeSet};

use super::status::{Presence, Table};
use super::within;

/// Where it is.
pub(super) const PATH: &str = "/var/log/apt/history.log";
/// Bytes at the end of the file that are read: a run of thousands of packages has less.
pub(super) const TAIL: u64 = 1 << 20;

/// A run of apt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    /// When it began, as it is written there: the node's own time.
    pub(super) begin: String,
    /// The command that was given, empty where none was, as by other programs that use apt's library.
    pub(super) command: String,
    /// The user for whom another one gave it: `ann (1000)`. Empty where that is not written.
    pub(super) requested_by: String,
    pub(super) steps: Vec<Step>,
    /// What went wrong, empty for nothing.
    pub(super) error: String,
    /// It has told its end.
    pub(super) has_ended: bool,
    /// When, as `begin`.
    pub(super) end: String,
}

/// What is to be done with a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) action: Action,
    pub(super) package: String,
    /// The version that is installed or removed, or that an upgrade begins with.
    version: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Action {
    Install,
    Upgrade,
    Downgrade,
    Reinstall,
    Remove,
    Purge,
}

impl Action {
    const ALL: [(&'static str, Self); 6] = [
        ("Install", Self::Install),
        ("Upgrade", Self::Upgrade),
        ("Downgrade", Self::Downgrade),
        ("Reinstall", Self::Reinstall),
        ("Remove", Self::Remove),
        ("Purge", Self::Purge),
    ];

    fn of(field: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(name, _)| *name == field);
        found.map(|(_, action)| *action)
    }

    fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, action)| *action == self);
        found.map_or("", |(name, _)| name)
    }
}

impl Run {
    /// The last run in a text. `None` where there is none.
    pub(super) fn last(text: &str) -> Option<Self> {
        let begin = text
            .rmatch_indices("Start-Date:")
            .map(|(at, _)| at)
            .find(|at| *at == 0 || text.as_bytes().get(at - 1) == Some(&b'\n'))?;
        Self::all(&text[begin..]).into_iter().next()
    }

    /// All runs in a text, in its order.
    pub(super) fn all(text: &str) -> Vec<Self> {
        let mut runs: Vec<Self> = Vec::new();
        let mut is_within = false;
        for line in text.lines() {
            let field = line.split_once(':');
            if let Some(("Start-Date", _)) = field {
                runs.push(Self::default());
                is_within = true;
            }
            // An entry ends with an empty line.
            is_within &= !line.trim().is_empty();
            if let (true, Some((field, value)), Some(run)) = (is_within, field, runs.last_mut()) {
                run.take(field, value.trim());
            }
        }
        runs
    }

    fn take(&mut self, field: &str, value: &str) {
        // Two blanks are between the date and the time.
        let time = || value.split_whitespace().collect::<Vec<_>>().join(" ");
        match field {
            "Start-Date" => self.begin = time(),
            "Commandline" => self.command = value.to_owned(),
            "Requested-By" => self.requested_by = value.to_owned(),
            "Error" => self.error = value.to_owned(),
            "End-Date" => {
                self.has_ended = true;
                self.end = time();
            }
            _ => {
                if let Some(action) = Action::of(field) {
                    self.steps.extend(steps(action, value));
                }
            }
        }
    }

    /// It has not told its end, and not all that it was to do is done. A run may be ended by force, and what it has
    /// left be done by hand: that is never written there. Packages that others `changed` since are as those want them.
    pub(super) fn is_open(&self, packages: Option<&Table>, changed: &BTreeSet<String>) -> bool {
        let mut left = self
            .steps
            .iter()
            .filter(|step| !changed.contains(within::name(&step.package)));
        !self.has_ended && packages.is_none_or(|table| left.any(|step| step.is_undone(table)))
    }

    /// `upgrade 14, remove 1`
    pub(super) fn counts(&self) -> String {
        let mut counts: BTreeMap<Action, usize> = BTreeMap::new();
        for step in &self.steps {
            *counts.entry(step.action).or_default() += 1;
        }
        let named = |(action, count): (&Action, &usize)| format!("{} {count}", action.name().to_lowercase());
        counts.iter().map(named).collect::<Vec<_>>().join(", ")
    }

    /// What is said of its begin.
    pub(super) fn begins(&self) -> String {
        let counts = self.counts();
        match counts.as_str() {
            "" => format!("apt begins{}", self.named()),
            counts => format!("apt begins{} ({counts})", self.named()),
        }
    }

    /// What is said of its end.
    pub(super) fn ends(&self) -> String {
        match self.error.as_str() {
            "" => format!("apt ends{}", self.named()),
            error => format!("apt ends{} with an error: {error}", self.named()),
        }
    }

    fn named(&self) -> String {
        match self.command.as_str() {
            "" => String::new(),
            command => format!(": {command}"),
        }
    }
}

impl Step {
    fn is_undone(&self, packages: &Table) -> bool {
        let presence = packages.presence(&self.package, &self.version);
        match self.action {
            Action::Install => presence == Presence::Absent,
            // The version that it began with is there as yet.
            Action::Upgrade | Action::Downgrade | Action::Remove | Action::Purge => {
                presence == Presence::This
            }
            // Nothing tells whether it was done.
            Action::Reinstall => false,
        }
    }
}

/// `linux-perf:amd64 (6.1.187-1, 6.1.192-2), tmux:amd64 (3.3a-3, automatic)`
fn steps(action: Action, list: &str) -> impl Iterator<Item = Step> {
    list.split(')').filter_map(move |one| {
        let (package, versions) = one.trim_start_matches([',', ' ']).split_once(" (")?;
        let version = versions.split(',').next()?.trim();
        (!package.is_empty()).then(|| Step {
            action,
            package: package.to_owned(),
            version: version.to_owned(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "
Start-Date: 2026-09-22  04:51:20
Commandline: apt-get install -y vim
Install: vim:amd64 (2:9.0-1)
End-Date: 2026-09-22  04:51:29

Start-Date: 2026-11-26  06:14:05
Commandline: /usr/bin/unattended-upgrade
Install: linux-image-6.1.0-14-amd64:amd64 (6.1.58-1, automatic)
Upgrade: systemd:amd64 (252.16-1, 252.17-1), tzdata:amd64 (2023a, 2023c)
Remove: old:amd64 (1)
";

    fn packages(text: &str) -> Table {
        let mut table = Table::default();
        table.read(text.as_bytes()).unwrap();
        table
    }

    #[test]
    fn the_last_run_counts() {
        let run = Run::last(LOG).unwrap();
        assert!(!run.has_ended);
        assert_eq!(run.begin, "2026-11-26 06:14:05");
        assert_eq!(
            run.begins(),
            "apt begins: /usr/bin/unattended-upgrade (install 1, upgrade 2, remove 1)"
        );
        let ended =
            format!("{LOG}Error: Sub-process /usr/bin/dpkg returned an error code (1)\nEnd-Date: x\n");
        let run = Run::last(&ended).unwrap();
        assert!(run.has_ended && !run.is_open(None, &BTreeSet::new()));
        assert_eq!(
            run.ends(),
            "apt ends: /usr/bin/unattended-upgrade with an error: Sub-process /usr/bin/dpkg returned an error \
             code (1)"
        );
    }

    #[test]
    fn a_run_without_end_is_open_until_all_is_done() {
        let run = Run::last(LOG).unwrap();
        assert!(
            run.is_open(None, &BTreeSet::new()),
            "nothing is known of the packages"
        );
        let image = "Package: linux-image-6.1.0-14-amd64\nStatus: install ok installed\nArchitecture: amd64\n\
                     Version: 6.1.58-1\n\n";
        let systemd =
            "Package: systemd\nStatus: install ok installed\nArchitecture: amd64\nVersion: 252.17-1\n\n";
        let zones = "Package: tzdata\nStatus: install ok installed\nArchitecture: all\nVersion: 2023c\n\n";
        let old = "Package: old\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n";
        let open = |texts: &[&str]| run.is_open(Some(&packages(&texts.concat())), &BTreeSet::new());
        assert!(open(&[systemd, zones]), "the kernel is missing");
        assert!(open(&[image, systemd, &zones.replace("2023c", "2023a")]));
        assert!(open(&[image, systemd, zones, old]));
        assert!(!open(&[image, systemd, zones]));
        let others = packages(&[systemd, zones].concat());
        let changed = BTreeSet::from(["linux-image-6.1.0-14-amd64".to_owned()]);
        assert!(!run.is_open(Some(&others), &changed), "others removed it since");
        assert!(
            !open(&[image, &systemd.replace("252.17", "252.19"), zones]),
            "newer yet"
        );
    }

    #[test]
    fn torn_and_foreign_texts_have_no_run_or_fewer_steps() {
        for text in ["", "End-Date: 1", "x Start-Date: 1\n", "\u{fffd}\n\n"] {
            assert_eq!(Run::last(text), None, "{text:?}");
        }
        let torn = Run::last("Start-Date: 1\nUpgrade: a:amd64 (1, 2), b:amd64 (3").unwrap();
        assert_eq!(torn.counts(), "upgrade 2");
        let foreign = Run::last("Start-Date:\nUpgrade: , ), , ()\nno field\nInstall:\n").unwrap();
        assert_eq!(
            (foreign.counts(), foreign.begins()),
            (String::new(), "apt begins".to_owned())
        );
        assert!(!foreign.is_open(Some(&Table::default()), &BTreeSet::new()));
    }
}
