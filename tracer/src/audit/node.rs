//! What of a node's files the audit looks at.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::apt_conf::AptConf;
use super::commands::Said;
use super::does::Does;
use super::files::Files;
use super::jobs::{self, Jobs};
use super::scripts::Scripts;
use super::unit_file::UnitFile;
use super::units::{self, Units};
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
    /// What could not be read, in words.
    pub(super) unread: Vec<String>,
}

impl Node {
    /// Reads the node below that folder. `running`: see [`units::read`].
    pub(super) fn read(root: &Path, running: &BTreeSet<String>) -> Self {
        let mut files = Files::below(root);
        let units = units::read(&mut files, &units::FOLDERS, running);
        let mut node = Self {
            root: root.to_owned(),
            jobs: jobs::read(&mut files, &units),
            units,
            ..Self::default()
        };
        node.read_configuration(&mut files);
        node.scripts = Scripts::read(&mut files, node.starts());
        node.unread = files.unread;
        node
    }

    fn read_configuration(&mut self, files: &mut Files) {
        // Its folder counts before its file (apt.conf(5)); of the folder only names of some forms.
        let apt =
            all(files, "etc/apt/apt.conf.d", is_of_apt) + &files.text("etc/apt/apt.conf").unwrap_or_default();
        self.upgrades.apt = AptConf::read(&apt);
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
    /// runs. It is that of a file where one is named, and is run then.
    pub(super) fn add(&self, does: &mut Does, said: &Said, file: Option<&str>, when: &str) {
        does.missing.extend(self.scripts.missing(said));
        for (said, path) in self.scripts.follow(said, file) {
            does.add_said(said, path, when);
        }
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

/// Whether apt takes a file of that name: of letters, digits, `_`, `-` and `.`, with no ending or `.conf` (apt.conf(5)).
fn is_of_apt(name: &str) -> bool {
    let stem = name.strip_suffix(".conf").unwrap_or(name);
    stem.chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}
