//! What of a node's files the audit looks at.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::apt_conf::AptConf;
use super::commands::Said;
use super::does::Does;
use super::files::Files;
use super::jobs::{self, Jobs};
use super::scope::Scope;
use super::scripts::{Followed, Scripts};
use super::specifiers::Manager;
use super::unit_file::UnitFile;
use super::units::{self, Units, started_by};
use super::upgrades::Upgrades;

/// The files of a node, or of an image of one.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// The folder that they are below.
    pub(super) root: PathBuf,
    /// Units by name.
    pub(super) units: Units,
    /// What starts by itself and is no unit.
    pub(super) jobs: Jobs,
    /// The scripts that all these run.
    scripts: Scripts,
    /// The configuration of unattended upgrades.
    pub(super) upgrades: Upgrades,
    /// The configuration of networkd.
    pub(super) networkd: UnitFile,
    /// The configuration of needrestart.
    pub(super) needrestart: String,
    /// There is a network plugin of containers (`/etc/cni/net.d`).
    pub(super) has_cni: bool,
    /// There is something that the root of a node has.
    pub(super) is_root: bool,
    /// What could not be read, in words.
    pub(super) unread: Vec<String>,
}

/// Where there is nothing to judge, that nothing was found tells nothing.
const NOTHING: &str = "/: it has no unit file of systemd, no crontab and nothing else that starts something: there was nothing to judge";

impl Node {
    /// Reads the node below that folder. `running`: see [`units::read`].
    pub(super) fn read(root: &Path, running: &BTreeSet<String>) -> Self {
        let mut files = Files::below(root);
        let units = units::read(&mut files, &units::FOLDERS, running, Manager::of_node());
        let apt = AptConf::read(&mut files);
        let mut node = Self {
            root: root.to_owned(),
            is_root: !units.is_empty() || files.has("etc") || files.has("usr"),
            jobs: jobs::read(&mut files, &units, &apt),
            units,
            upgrades: Upgrades {
                apt,
                ..Upgrades::default()
            },
            ..Self::default()
        };
        node.read_configuration(&mut files);
        node.scripts = Scripts::read(&mut files, node.starts());
        node.note_unknown(&mut files);
        node.unread = files.unread;
        if node.is_root && node.units.is_empty() && node.jobs.jobs.is_empty() {
            node.unread.push(NOTHING.to_owned());
        }
        node
    }

    /// Notes what of the units that start by themselves could not be read for a specifier.
    fn note_unknown(&self, files: &mut Files) {
        let started = self.units.iter().filter(|(_, unit)| unit.enabled && !unit.masked);
        let names: BTreeSet<String> = started
            .flat_map(|(name, unit)| [name.clone(), started_by(name, &unit.file)])
            .collect();
        for name in names {
            if let Some(unit) = units::get(&self.units, &name) {
                files.note_unknown(&name, unit);
            }
        }
    }

    fn read_configuration(&mut self, files: &mut Files) {
        for path in [
            "usr/share/dnf5/dnf5-plugins/automatic.conf",
            "etc/dnf/dnf5-plugins/automatic.conf",
            "etc/dnf/automatic.conf",
        ] {
            self.upgrades.dnf.read(&files.text(path).unwrap_or_default());
        }
        let is_conf = |name: &str| name.ends_with(".conf");
        let own = files.text("etc/needrestart/needrestart.conf");
        self.needrestart = own.unwrap_or_default() + "\n" + &all(files, "etc/needrestart/conf.d", is_conf);
        for base in ["usr/lib/systemd", "run/systemd", "etc/systemd"] {
            let own = files.text(&format!("{base}/networkd.conf"));
            let more = all(files, &format!("{base}/networkd.conf.d"), is_conf);
            self.networkd.read(&(own.unwrap_or_default() + "\n" + &more));
        }
        self.has_cni = !files.names("etc/cni/net.d").is_empty();
    }

    /// All that is started by itself, or could be: its name, what it says, and whether that is a command line.
    fn starts(&self) -> impl Iterator<Item = (&str, &Said, bool)> {
        let units = self.units.iter().flat_map(|(name, unit)| {
            let both = [&unit.said, &unit.said_at_stop];
            both.map(|said| (name.as_str(), said, true))
        });
        let jobs = self.jobs.jobs.iter();
        units.chain(jobs.map(|job| (job.file.as_str(), &job.said, job.line > 0)))
    }

    /// Adds what a command line or script can change: by the programs that it names, and by what the scripts say that it
    /// runs. It is that of a file where one is named, and is run then. Hands back the units that are started by name.
    pub(super) fn add(
        &self,
        does: &mut Does,
        said: &Said,
        file: Option<&str>,
        when: &str,
    ) -> BTreeSet<String> {
        does.missing.extend(self.scripts.missing(said));
        let mut units = BTreeSet::new();
        for Followed { said, path, scope } in self.scripts.follow(said, file) {
            does.add_said(said, scope, path, when);
            if scope.has(Scope::SERVICES) {
                units.extend(said.units.iter().cloned());
            }
        }
        units
    }

    /// A path as it is told to whoever audits: that of an image is below its root.
    pub(super) fn path(&self, path: &str) -> String {
        self.root.join(path.trim_start_matches('/')).display().to_string()
    }
}

/// What the files of a folder say whose names are such, in the order of their names.
fn all(files: &mut Files, folder: &str, takes: impl Fn(&str) -> bool) -> String {
    let names = files.names(folder).into_iter().filter(|name| takes(name));
    let mut whole = String::new();
    for name in names.collect::<Vec<_>>() {
        whole += &files.text(&format!("{folder}/{name}")).unwrap_or_default();
        whole.push('\n');
    }
    whole
}
