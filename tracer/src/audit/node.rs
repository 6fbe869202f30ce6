//! What of a node's files the audit looks at.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::commands::{self, Effects, MOST_WORDS};
use super::cron::{self, Form, Job};
use super::files::Files;
use super::unit_file::UnitFile;

/// Where systemd looks for units, what counts most first (systemd.unit(5)).
const FOLDERS: [&str; 8] = [
    TRANSIENT,
    "etc/systemd/system",
    "run/systemd/system",
    "run/systemd/generator",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
    "run/systemd/generator.late",
];
/// What systemd-run has made: its timers run without being wanted by anything.
const TRANSIENT: &str = "run/systemd/transient";
/// Folders of scripts that cron starts by run-parts, and how often.
const PERIODS: [(&str, &str); 4] = [
    ("etc/cron.hourly", "hourly"),
    ("etc/cron.daily", "daily"),
    ("etc/cron.weekly", "weekly"),
    ("etc/cron.monthly", "monthly"),
];
/// Where the crontabs of users are: on Debian, SUSE, Red Hat.
const SPOOLS: [&str; 3] = ["var/spool/cron/crontabs", "var/spool/cron/tabs", "var/spool/cron"];
/// Units that go by crontabs.
const CRONS: [&str; 7] = [
    "anacron.service",
    "anacron.timer",
    "bcron.service",
    "cron.service",
    "cron.target",
    "cronie.service",
    "crond.service",
];
/// Scripts that commands name and that are read, at most.
const SCRIPTS: usize = 1000;

/// The files of a node, or of an image of one.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// The folder that they are below.
    pub(super) root: PathBuf,
    /// Timers and services by name.
    pub(super) units: BTreeMap<String, Unit>,
    /// What cron starts.
    pub(super) jobs: Vec<Job>,
    /// Something starts what is in crontabs.
    pub(super) runs_cron: bool,
    /// What the scripts can change that commands name, by path.
    scripts: BTreeMap<String, Effects>,
    /// The configuration of apt, all files in order.
    pub(super) apt: String,
    /// The configuration of networkd.
    pub(super) networkd: UnitFile,
    /// The configuration of needrestart.
    pub(super) needrestart: String,
    /// There is a network plugin of containers (`/etc/cni/net.d`).
    pub(super) has_cni: bool,
    /// What could not be read, in words.
    pub(super) unread: Vec<String>,
}

/// A timer or service.
#[derive(Clone, Debug, Default)]
pub(super) struct Unit {
    /// Its file with all drop-ins.
    pub(super) file: UnitFile,
    /// Something wants it: it is started by itself.
    pub(super) enabled: bool,
    /// Its file is a link to /dev/null, or empty: nothing can start it.
    pub(super) masked: bool,
    /// What the file that counts says.
    text: Option<String>,
    /// What its drop-ins say, by the names of their files: of two with one name the first that is found counts.
    drop_ins: BTreeMap<String, String>,
}

impl Node {
    /// Reads the node below that folder.
    pub(super) fn read(root: &Path) -> Self {
        let mut files = Files::below(root);
        let mut node = Self {
            root: root.to_owned(),
            ..Self::default()
        };
        let wanted = node.read_units(&mut files);
        node.apt =
            all(&mut files, "etc/apt/apt.conf.d", "") + &files.text("etc/apt/apt.conf").unwrap_or_default();
        let own = files.text("etc/needrestart/needrestart.conf");
        node.needrestart =
            own.unwrap_or_default() + "\n" + &all(&mut files, "etc/needrestart/conf.d", ".conf");
        for base in ["usr/lib/systemd", "run/systemd", "etc/systemd"] {
            let own = files.text(&format!("{base}/networkd.conf"));
            let more = all(&mut files, &format!("{base}/networkd.conf.d"), ".conf");
            node.networkd.read(&(own.unwrap_or_default() + "\n" + &more));
        }
        node.has_cni = !files.names("etc/cni/net.d").is_empty();
        node.read_cron(&mut files, &wanted);
        node.read_scripts(&mut files);
        node.unread = files.unread;
        node
    }

    /// Reads all units, and tells the names of those that something wants.
    fn read_units(&mut self, files: &mut Files) -> BTreeSet<String> {
        let mut wanted = BTreeSet::new();
        for folder in FOLDERS {
            self.read_folder(files, folder, &mut wanted);
        }
        // Instances have the file of their template, and drop-ins of both.
        for name in wanted.iter().filter(|name| is_watched(name)) {
            let Some(template) = template(name).and_then(|name| self.units.get(&name).cloned()) else {
                continue;
            };
            let unit = self.units.entry(name.clone()).or_default();
            if unit.text.is_none() {
                (unit.text, unit.masked) = (template.text, template.masked);
                for (name, text) in template.drop_ins {
                    unit.drop_ins.entry(name).or_insert(text);
                }
            }
        }
        for (name, unit) in &mut self.units {
            unit.enabled = wanted.contains(name);
            for text in unit.text.iter().chain(unit.drop_ins.values()) {
                unit.file.read(text);
            }
        }
        wanted
    }

    fn read_folder(&mut self, files: &mut Files, folder: &str, wanted: &mut BTreeSet<String>) {
        for name in files.names(folder) {
            let path = format!("{folder}/{name}");
            if name.ends_with(".wants") || name.ends_with(".requires") {
                wanted.extend(files.names(&path));
            } else if let Some(unit) = name.strip_suffix(".d") {
                if is_watched(unit) {
                    let known = &mut self.units.entry(unit.to_owned()).or_default().drop_ins;
                    for (name, text) in texts(files, &path, ".conf") {
                        known.entry(name).or_insert(text);
                    }
                }
            } else if is_watched(&name) {
                let text = files.text(&path).unwrap_or_default();
                let masked = text.is_empty() || files.is_masked(folder, &name);
                let unit = self.units.entry(name.clone()).or_default();
                // Of several files that of the folder that counts most.
                if unit.text.is_none() {
                    (unit.text, unit.masked) = (Some(text), masked);
                }
                if folder == TRANSIENT && path.ends_with(".timer") {
                    wanted.insert(name);
                }
            }
        }
    }

    fn read_cron(&mut self, files: &mut Files, wanted: &BTreeSet<String>) {
        let debian = files.has("etc/debian_version");
        let is_masked = |name: &&str| self.units.get(*name).is_some_and(|unit| unit.masked);
        self.runs_cron = CRONS
            .iter()
            .any(|name| wanted.contains(*name) && !is_masked(name));
        let catches_up = wanted.iter().any(|name| name.starts_with("anacron."))
            || files.has("etc/anacrontab") && files.has("etc/cron.hourly/0anacron");
        let mut tabs = vec![
            ("etc/crontab".to_owned(), Form::System),
            ("etc/anacrontab".to_owned(), Form::Anacron),
        ];
        for (folder, form) in [("etc/cron.d", Form::System)]
            .into_iter()
            .chain(SPOOLS.map(|folder| (folder, Form::User)))
        {
            let names = files.names(folder).into_iter();
            // What is a user's name may have any form.
            let taken = names.filter(|name| form == Form::User || cron::takes(name, debian));
            tabs.extend(taken.map(|name| (format!("{folder}/{name}"), form)));
        }
        for (path, form) in tabs {
            if let Some(text) = files.text(&path) {
                self.jobs.extend(cron::jobs(&format!("/{path}"), &text, form));
            }
        }
        for (folder, period) in PERIODS {
            for name in files.names(folder) {
                let path = format!("{folder}/{name}");
                let file = cron::takes(&name, debian)
                    .then(|| files.read(&path, "#!"))
                    .flatten();
                if let Some(script) = file.filter(|file| file.executable) {
                    self.jobs.push(Job {
                        file: format!("/{path}"),
                        schedule: period.to_owned(),
                        persistent: catches_up && period != "hourly",
                        text: script.text,
                        ..Job::default()
                    });
                }
            }
        }
    }

    /// The scripts that commands name: a program is known by its name, a script by what it says.
    fn read_scripts(&mut self, files: &mut Files) {
        let units = self.units.iter();
        let units = units.flat_map(|(name, unit)| unit.file.commands().map(move |line| (name, line)));
        let jobs = self.jobs.iter().map(|job| (&job.file, job.text.as_str()));
        let mut paths = BTreeSet::new();
        let mut long = BTreeSet::new();
        for (name, text) in units.chain(jobs) {
            paths.extend(commands::paths(text).map(str::to_owned));
            if !commands::is_looked_through(text) {
                long.insert(name.clone());
            }
        }
        for path in paths {
            if self.scripts.len() == SCRIPTS {
                files.unread.push(format!(
                    "{path} and what comes after it: more than {SCRIPTS} scripts"
                ));
                break;
            }
            if let Some(script) = files.read(&path, "#!") {
                if !commands::is_looked_through(&script.text) {
                    long.insert(path.clone());
                }
                self.scripts.insert(path, commands::effects(&script.text));
            }
        }
        let long = long.into_iter().map(|name| {
            format!("{name}: a command in it has more than {MOST_WORDS} words, and only its beginning was looked at")
        });
        files.unread.extend(long);
    }

    /// What a command or script can change: by the programs that it names, and what the scripts say that it names.
    pub(super) fn effects(&self, text: &str) -> Effects {
        let paths: BTreeSet<&str> = commands::paths(text).collect();
        let of_scripts = paths.into_iter().filter_map(|path| self.scripts.get(path));
        let mut effects = commands::effects(text);
        effects.extend(of_scripts.flatten().cloned());
        effects
    }

    /// A path as it is told to whoever audits: that of an image is below its root.
    pub(super) fn path(&self, path: &str) -> String {
        self.root.join(path.trim_start_matches('/')).display().to_string()
    }
}

/// What the files of a folder say whose names end so, in the order of their names.
fn all(files: &mut Files, folder: &str, suffix: &str) -> String {
    let texts = texts(files, folder, suffix);
    texts.into_iter().map(|(_, text)| text + "\n").collect()
}

fn texts(files: &mut Files, folder: &str, suffix: &str) -> Vec<(String, String)> {
    let names = files.names(folder).into_iter();
    names
        .filter(|name| name.ends_with(suffix))
        .filter_map(|name| {
            let text = files.text(&format!("{folder}/{name}"))?;
            Some((name, text))
        })
        .collect()
}

fn is_watched(name: &str) -> bool {
    name.ends_with(".timer") || name.ends_with(".service")
}

/// `ifup@.service` of `ifup@eth0.service`.
pub(super) fn template(name: &str) -> Option<String> {
    let (stem, instance) = name.split_once('@')?;
    let (_, kind) = instance.rsplit_once('.')?;
    Some(format!("{stem}@.{kind}"))
}
