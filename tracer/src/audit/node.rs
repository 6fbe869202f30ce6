//! What of a node's files the audit looks at.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::Effect;
use super::apt_conf::AptConf;
use super::commands::{self, MOST_WORDS, Said};
use super::files::{Files, Kind};
use super::jobs::{self, Jobs};
use super::unit_file::UnitFile;
use super::units::{self, Units};
use super::upgrades::Upgrades;

/// Where programs are that no package has brought, what counts most first.
const INSTALLED: [&str; 2] = ["/usr/local/sbin", "/usr/local/bin"];
/// Scripts that commands name and that are read, at most.
const SCRIPTS: usize = 1000;

/// The files of a node, or of an image of one.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// The folder that they are below.
    pub(super) root: PathBuf,
    /// Units by name.
    pub(super) units: Units,
    /// What starts by itself and is no unit.
    pub(super) jobs: Jobs,
    /// Paths of what whoever looks after the node has installed, by the names of commands.
    installed: BTreeMap<String, String>,
    /// What the scripts say that commands name, by path.
    scripts: BTreeMap<String, Said>,
    /// Files that command lines run and that are not there.
    missing: BTreeSet<String>,
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

/// What something that starts by itself can change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Does {
    known: BTreeMap<(Effect, String), Known>,
    /// Files that it would run and that are not there.
    pub(super) missing: BTreeSet<String>,
}

/// How a program is known.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    /// It is only named, and whether it is run was not followed.
    mentioned: bool,
    /// The script that has it with the line, and when it is run; empty for the command line itself.
    place: String,
}

impl Does {
    /// It changes nothing, and nothing of it is unknown.
    pub(super) fn is_nothing(&self) -> bool {
        self.known.is_empty() && self.missing.is_empty()
    }

    /// Adds what something is known to do.
    pub(super) fn add(&mut self, effect: Effect, what: String) {
        let known = Known {
            mentioned: false,
            place: String::new(),
        };
        self.insert((effect, what), known);
    }

    /// What is known as one is another.
    pub(super) fn replace(&mut self, effect: Effect, by: Effect) {
        let known = std::mem::take(&mut self.known).into_iter();
        self.known = known
            .map(|((one, what), known)| ((if one == effect { by } else { one }, what), known))
            .collect();
    }

    /// Whether it runs that program, with that argument where one is named.
    pub(super) fn runs(&self, program: &str) -> bool {
        let (program, argument) = program.split_once(' ').unwrap_or((program, ""));
        self.known.keys().any(|(_, what)| {
            let mut words = what.split(' ');
            words.next() == Some(program) && (argument.is_empty() || words.any(|word| word == argument))
        })
    }

    /// Whether it runs anything else than that program.
    pub(super) fn runs_besides(&self, program: &str) -> bool {
        self.known
            .keys()
            .any(|(_, what)| what.split(' ').next() != Some(program))
    }

    /// What it can change by what it runs; or by what it mentions alone.
    pub(super) fn effects(&self, mentioned: bool) -> Vec<Effect> {
        let by = |mentioned| {
            let known = self
                .known
                .iter()
                .filter(move |(_, known)| known.mentioned == mentioned);
            known.map(|((effect, _), _)| *effect).collect::<BTreeSet<_>>()
        };
        let mut run = by(false);
        if mentioned {
            return by(true).difference(&run).copied().collect();
        }
        if !self.missing.is_empty() {
            run.insert(Effect::Unknown);
        }
        run.into_iter().collect()
    }

    /// The programs by which that is known, those that are only named or those that are run.
    pub(super) fn programs(&self, mentioned: bool) -> Vec<String> {
        let mut found = Vec::new();
        for ((_, what), known) in self
            .known
            .iter()
            .filter(|(_, known)| known.mentioned == mentioned)
        {
            let text = match known.place.as_str() {
                "" => what.clone(),
                place => format!("{what} ({place})"),
            };
            // One program may have several effects.
            if !found.contains(&text) {
                found.push(text);
            }
        }
        found
    }

    /// Takes over what else something does.
    pub(super) fn merge(&mut self, more: Self) {
        self.missing.extend(more.missing);
        for (key, known) in more.known {
            self.insert(key, known);
        }
    }

    fn add_said(&mut self, said: &Said, path: Option<&str>, when: &str) {
        for (key, place) in &said.effects {
            let script = path.map(|path| format!("{path}:{}", place.line));
            let places = script.iter().map(String::as_str).chain([when]);
            let places: Vec<&str> = places.filter(|place| !place.is_empty()).collect();
            let place = Known {
                mentioned: place.mentioned,
                place: places.join(", "),
            };
            self.insert(key.clone(), place);
        }
    }

    /// What is run is known better than what is only named.
    fn insert(&mut self, key: (Effect, String), new: Known) {
        match self.known.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(new);
            }
            Entry::Occupied(mut entry) => {
                if entry.get().mentioned && !new.mentioned {
                    entry.insert(new);
                }
            }
        }
    }
}

impl Node {
    /// Reads the node below that folder.
    pub(super) fn read(root: &Path) -> Self {
        let mut files = Files::below(root);
        let units = units::read(&mut files);
        let mut node = Self {
            root: root.to_owned(),
            jobs: jobs::read(&mut files, &units),
            units,
            ..Self::default()
        };
        node.read_configuration(&mut files);
        node.read_scripts(&mut files);
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

    /// The scripts that commands name, and those that these run: a program is known by its name, a script by what it
    /// says.
    fn read_scripts(&mut self, files: &mut Files) {
        for folder in INSTALLED {
            for name in files.names(folder.trim_start_matches('/')) {
                let path = format!("{folder}/{name}");
                self.installed.entry(name).or_insert(path);
            }
        }
        let installed = |said: &Said| {
            let paths = said.names.iter().filter_map(|name| self.installed.get(name));
            paths.map(|path| (path.clone(), Kind::Text)).collect::<Vec<_>>()
        };
        let units = self.units.iter().flat_map(|(name, unit)| {
            let both = [&unit.said, &unit.said_at_stop];
            both.map(|said| (name, said, true))
        });
        let jobs = self
            .jobs
            .jobs
            .iter()
            .map(|job| (&job.file, &job.said, job.line > 0));
        let mut paths = BTreeMap::new();
        let mut long = BTreeSet::new();
        for (name, said, is_line) in units.chain(jobs) {
            paths.extend(installed(said));
            // What is run by its path is a script also without `#!` where a shell runs it.
            let kinds = [(&said.runs, Kind::Text), (&said.paths, Kind::Script)];
            for (some, kind) in kinds {
                for path in some {
                    paths.entry(path.clone()).or_insert(kind);
                }
            }
            if is_line {
                let own = said.runs.iter().filter(|path| !is_of_packages(path));
                let missing = own.filter(|path| !files.has(path));
                self.missing.extend(missing.cloned());
            }
            if said.too_long {
                long.insert(name.clone());
            }
        }
        while let Some((path, kind)) = paths.pop_first() {
            if self.scripts.contains_key(&path) {
                continue;
            }
            if self.scripts.len() == SCRIPTS {
                files
                    .unread
                    .push(format!("{path} and others: more than {SCRIPTS} scripts"));
                break;
            }
            let Some(script) = files.read(&path, kind) else {
                continue;
            };
            let said = commands::read(&script.text);
            if said.too_long {
                long.insert(path.clone());
            }
            paths.extend(installed(&said));
            paths.extend(said.runs.iter().map(|path| (path.clone(), Kind::Text)));
            self.scripts.insert(path, said);
        }
        let long = long.into_iter().map(|name| {
            format!("{name}: a command in it has more than {MOST_WORDS} words, and only its beginning was looked at")
        });
        files.unread.extend(long);
    }

    /// Adds what a command line or script can change: by the programs that it names, and by what the scripts say that it
    /// runs. It is that of a file where one is named, and is run then.
    pub(super) fn add(&self, does: &mut Does, said: &Said, file: Option<&str>, when: &str) {
        let mut seen = BTreeSet::new();
        let mut next = vec![(said, file)];
        does.missing
            .extend(said.runs.intersection(&self.missing).cloned());
        let mut is_first = true;
        while let Some((said, path)) = next.pop() {
            does.add_said(said, path, when);
            // What a script of a script only names is an argument.
            let paths = if is_first { &said.paths } else { &said.runs };
            is_first = false;
            let names = said.names.iter();
            for path in paths
                .iter()
                .chain(names.filter_map(|name| self.installed.get(name)))
            {
                if let Some((path, said)) = self.scripts.get_key_value(path)
                    && seen.insert(path)
                {
                    next.push((said, Some(path)));
                }
            }
        }
    }

    /// A path as it is told to whoever audits: that of an image is below its root.
    pub(super) fn path(&self, path: &str) -> String {
        self.root.join(path.trim_start_matches('/')).display().to_string()
    }
}

/// Whether that is where packages have their programs: what they do is known by their names.
fn is_of_packages(path: &str) -> bool {
    let folders = ["/bin/", "/lib", "/sbin/", "/usr/"];
    folders.iter().any(|folder| path.starts_with(folder)) && !path.starts_with("/usr/local/")
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
