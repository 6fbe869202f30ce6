//! Units of systemd: their files with all drop-ins, and what starts by itself.
//!
//! Sources: systemd.unit(5); systemd's `unit_file_find_dropin_paths`.

use std::collections::{BTreeMap, BTreeSet};

use super::commands::{self, Said};
use super::environment;
use super::files::Files;
use super::specifiers::{Manager, expand};
use super::unit_file::UnitFile;

/// Where systemd looks for units, what counts most first (systemd.unit(5)).
pub(super) const FOLDERS: [&str; 13] = [
    "etc/systemd/system.control",
    "run/systemd/system.control",
    TRANSIENT,
    "run/systemd/generator.early",
    OWN,
    "etc/systemd/system.attached",
    "run/systemd/system",
    "run/systemd/system.attached",
    "run/systemd/generator",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
    "run/systemd/generator.late",
];
/// Where whoever looks after the node has units.
const OWN: &str = "etc/systemd/system";
/// What systemd-run has made: its timers run without being wanted by anything.
const TRANSIENT: &str = "run/systemd/transient";
/// Kinds of units that start others while they run, enabled or not.
const STARTERS: [&str; 3] = [".path", ".socket", ".timer"];
/// Kinds of units that start something, or are started.
const KINDS: [&str; 5] = ["path", "service", "socket", "target", "timer"];
/// Folders that only whoever looks after the node changes: a condition on a file in one is a setting, not a state.
const SETTLED: [&str; 5] = ["/boot/", "/etc/", "/lib/", "/opt/", "/usr/"];

/// Targets that are not started with the node, but at its end, or where someone or something asks for them
/// (systemd.special(7)).
const SELDOM: [&str; 16] = [
    "ctrl-alt-del.target",
    "emergency.target",
    "exit.target",
    "final.target",
    "halt.target",
    "hibernate.target",
    "hybrid-sleep.target",
    "kexec.target",
    "poweroff.target",
    "reboot.target",
    "rescue.target",
    "shutdown.target",
    "sleep.target",
    "suspend-then-hibernate.target",
    "suspend.target",
    "system-update.target",
];

/// A unit.
#[derive(Clone, Debug, Default)]
pub(super) struct Unit {
    /// Its file with all drop-ins.
    pub(super) file: UnitFile,
    /// Its file.
    pub(super) path: String,
    /// Where that is.
    pub(super) origin: Origin,
    /// Something wants it: it is started by itself.
    pub(super) enabled: bool,
    /// What wants it by links, where none of that is started with the node.
    pub(super) seldom: Vec<String>,
    /// Its file is a link to /dev/null, or empty: nothing can start it.
    pub(super) masked: bool,
    /// What its command lines say.
    pub(super) said: Said,
    /// The same of what it runs when it stops.
    pub(super) said_at_stop: Said,
    /// What it starts with itself.
    pub(super) starts: BTreeSet<String>,
    /// The condition that does not hold as the node is configured, and keeps it from doing anything.
    pub(super) unmet: Option<String>,
    /// Paths in its command lines with a specifier of which it is not known what it stands for.
    pub(super) unknown: BTreeSet<String>,
    /// Links by which it is started with others.
    pub(super) links: BTreeSet<String>,
}

/// Where the file of a unit is: it decides how it can be turned off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Origin {
    /// In a folder of packages, or made by a generator.
    #[default]
    Package,
    /// In /etc/systemd/system: it cannot be masked, for there would be the mask.
    Own,
    /// systemd-run has made it.
    Transient,
}

/// All units of a node by name.
pub(super) type Units = BTreeMap<String, Unit>;

/// What the folders of units hold.
#[derive(Default)]
struct Found {
    /// The files that count.
    files: BTreeMap<String, UnitText>,
    /// Drop-ins by what they are for (`a.service`, `a-.service`, `service`) and by folder: names and texts.
    drop_ins: BTreeMap<(String, usize), Vec<(String, String)>>,
    /// What is started with a unit, by links in folders (`a.target.wants`).
    links: BTreeMap<String, BTreeSet<String>>,
    /// What needs no link to be started: systemd-run has made it, or it runs.
    transient: BTreeSet<String>,
    /// The paths of these links, by what they start.
    paths: BTreeMap<String, BTreeSet<String>>,
    /// The manager that runs them.
    manager: Manager,
}

/// The file of a unit.
struct UnitText {
    text: String,
    masked: bool,
    origin: Origin,
    path: String,
}

/// Reads all units of these folders, what counts most first. `running` are those that run, as far as systemd has told: somebody may
/// have started a timer that is not enabled.
pub(super) fn read(
    files: &mut Files,
    folders: &[impl AsRef<str>],
    running: &BTreeSet<String>,
    manager: Manager,
) -> Units {
    let mut found = Found {
        manager,
        ..Found::default()
    };
    for (rank, folder) in folders.iter().map(AsRef::as_ref).enumerate() {
        found.read(files, rank, folder);
    }
    let starts = |name: &&String| STARTERS.iter().any(|kind| name.ends_with(kind));
    found.transient.extend(running.iter().filter(starts).cloned());
    // systemd-system-update-generator(8): that target is there for an update that was prepared.
    if !files.has("system-update") && !files.has("etc/system-update") {
        found.links.remove("system-update.target");
    }
    let linked: BTreeSet<String> = found.links.values().flatten().cloned().collect();
    let mut names: BTreeSet<String> = found.files.keys().cloned().collect();
    names.extend(linked.iter().filter(|name| is_watched(name)).cloned());
    let mut units = Units::new();
    for name in names {
        found.add(files, &mut units, &name);
    }
    // A target that is started takes along what it wants.
    let mut started: Vec<String> = linked
        .into_iter()
        .chain(found.transient.iter().cloned())
        .collect();
    let mut enabled = BTreeSet::new();
    while let Some(name) = started.pop() {
        if !enabled.insert(name.clone()) || !name.ends_with(".target") {
            continue;
        }
        for wanted in units
            .get(&name)
            .map(|unit| unit.starts.clone())
            .unwrap_or_default()
        {
            found.add(files, &mut units, &wanted);
            started.push(wanted);
        }
    }
    for (name, unit) in &mut units {
        unit.enabled = enabled.contains(name);
        let links = found.links.iter().filter(|(_, wanted)| wanted.contains(name));
        let by: Vec<String> = links.map(|(by, _)| by.clone()).collect();
        if by.iter().all(|by| SELDOM.contains(&by.as_str())) {
            unit.seldom = by;
        }
    }
    units
}

impl Found {
    fn read(&mut self, files: &mut Files, rank: usize, folder: &str) {
        for name in files.names(folder) {
            let path = format!("{folder}/{name}");
            let links = [".wants", ".requires", ".upholds"];
            if let Some(unit) = links.iter().find_map(|end| name.strip_suffix(end)) {
                let started = files.names(&path);
                for name in &started {
                    let paths = self.paths.entry(name.clone()).or_default();
                    paths.insert(format!("/{path}/{name}"));
                }
                self.links.entry(unit.to_owned()).or_default().extend(started);
            } else if let Some(unit) = name.strip_suffix(".d") {
                if is_watched(unit) || KINDS.contains(&unit) {
                    let texts = drop_ins(files, &path);
                    self.drop_ins.insert((unit.to_owned(), rank), texts);
                }
            } else if is_watched(&name) && !self.files.contains_key(&name) {
                // Of several files that of the folder that counts most.
                let text = files.text(&path).unwrap_or_default();
                let masked = text.is_empty() || files.is_masked(folder, &name);
                if folder == TRANSIENT && !name.ends_with(".service") {
                    self.transient.insert(name.clone());
                }
                let origin = match folder {
                    TRANSIENT => Origin::Transient,
                    OWN => Origin::Own,
                    _ => Origin::Package,
                };
                self.files.insert(
                    name,
                    UnitText {
                        text,
                        masked,
                        origin,
                        path,
                    },
                );
            }
        }
    }

    /// Adds a unit that has a file, its own or that of its template.
    fn add(&self, files: &mut Files, units: &mut Units, name: &str) {
        if units.contains_key(name) {
            return;
        }
        let template = template(name);
        let file = self.files.get(name);
        let Some(file) = file.or_else(|| self.files.get(template.as_ref()?)) else {
            return;
        };
        let mut unit = Unit {
            masked: file.masked,
            origin: file.origin,
            path: file.path.clone(),
            ..Unit::default()
        };
        unit.file.read(&file.text);
        for text in self.drop_ins(name).into_values() {
            unit.file.read(text);
        }
        unit.links = self.paths.get(name).cloned().unwrap_or_default();
        let expand = |text: &str| expand(text, name, &self.manager);
        let mut variables = None;
        for (said, at_stop) in [(&mut unit.said, false), (&mut unit.said_at_stop, true)] {
            let mut lines = Vec::new();
            for line in unit.file.commands(at_stop) {
                let mut line = expand(line);
                if line.text.contains('$') {
                    let variables = variables.get_or_insert_with(|| {
                        environment::read(files, &unit.file, |text| expand(text).text)
                    });
                    line.text = environment::fill(&line.text, variables);
                }
                unit.unknown.extend(paths_with(&line.text, &line.unknown));
                lines.push(line.text);
            }
            *said = self::said(&lines);
        }
        unit.starts = unit.file.starts().map(|name| expand(name).text).collect();
        unit.starts
            .extend(self.links.get(name).into_iter().flatten().cloned());
        unit.unmet = unit
            .file
            .conditions()
            .into_iter()
            .find(|one| is_unmet(files, &expand(one).text));
        units.insert(name.to_owned(), unit);
    }

    /// What the drop-ins of a unit say, by the names of their files: of two with one name that of the folder that counts
    /// most, and those for all units of a kind last.
    fn drop_ins(&self, name: &str) -> BTreeMap<&str, &str> {
        let (stem, kind) = name.rsplit_once('.').unwrap_or((name, ""));
        let mut own = vec![name.to_owned()];
        own.extend(template(name));
        let prefix = stem.split('@').next().unwrap_or(stem);
        let dashes = prefix
            .match_indices('-')
            .map(|(at, _)| format!("{}.{kind}", &prefix[..=at]));
        own.extend(dashes.collect::<Vec<_>>().into_iter().rev());
        let mut texts = BTreeMap::new();
        for names in [own, vec![kind.to_owned()]] {
            for rank in 0..FOLDERS.len() {
                for name in &names {
                    for (file, text) in self.drop_ins.get(&(name.clone(), rank)).into_iter().flatten() {
                        texts.entry(file.as_str()).or_insert(text.as_str());
                    }
                }
            }
        }
        texts
    }
}

/// The drop-ins of a folder. One that is masked says nothing, and hides those of its name.
fn drop_ins(files: &mut Files, folder: &str) -> Vec<(String, String)> {
    let names = files.names(folder).into_iter();
    names
        .filter(|name| name.ends_with(".conf"))
        .filter_map(|name| {
            let path = format!("{folder}/{name}");
            let text = files.text(&path);
            let text = text.or_else(|| files.is_masked(folder, &name).then(String::new))?;
            Some((name, text))
        })
        .collect()
}

/// What command lines of a unit say. Those that may fail may as well be missing.
fn said(commands: &[String]) -> Said {
    let lines = commands.iter().map(String::as_str);
    let (optional, needed): (Vec<&str>, Vec<&str>) = lines.partition(|line| is_optional(line));
    let mut said = commands::read(&optional.join("\n"));
    said.runs.clear();
    said.merge(commands::read(&needed.join("\n")));
    said
}

/// Words of a command that may be scripts, and whose paths have one of these specifiers.
fn paths_with(line: &str, unknown: &BTreeSet<String>) -> Vec<String> {
    let words = line.split(|c: char| c.is_ascii_whitespace() || "\"';|&()".contains(c));
    let words = words.map(|word| word.trim_start_matches(['-', '@', ':', '+', '!']));
    // There programs keep their data.
    let is_data = |word: &str| {
        ["/dev/", "/proc/", "/run/", "/sys/", "/var/"]
            .iter()
            .any(|one| word.starts_with(one))
    };
    let is_path = |word: &&str| word.starts_with(['/', '%']) && word.contains('/') && !is_data(word);
    let has_any = |word: &&str| unknown.iter().any(|one| word.contains(one.as_str()));
    words.filter(is_path).filter(has_any).map(str::to_owned).collect()
}

/// Whether a command may fail, and so be missing: a `-` is among the signs before it (systemd.service(5)).
fn is_optional(line: &str) -> bool {
    line.chars()
        .take_while(|c| "@-:+!".contains(*c))
        .any(|c| c == '-')
}

/// Whether a condition (`ConditionPathExists=!/etc/x`) on a file that is there or not by configuration does not hold. Of
/// those with a `|` one of several is enough: they are not judged.
fn is_unmet(files: &Files, condition: &str) -> bool {
    let Some((key, value)) = condition.split_once('=') else {
        return false;
    };
    let kind = key.trim_start_matches("Condition").trim_start_matches("Assert");
    let (is_not, path) = match value.strip_prefix('!') {
        Some(path) => (true, path.trim()),
        None => (false, value),
    };
    let is_settled = SETTLED.iter().any(|folder| path.starts_with(folder)) && !path.contains('%');
    is_settled
        && match (kind, is_not) {
            ("PathExists" | "PathIsDirectory" | "FileNotEmpty" | "FileIsExecutable", false) => {
                !files.has(path)
            }
            ("PathExists", true) => files.has(path),
            _ => false,
        }
}

fn is_watched(name: &str) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(_, kind)| KINDS.contains(&kind))
}

/// The unit of that name, or the template that it is an instance of.
pub(super) fn get<'a>(units: &'a Units, name: &str) -> Option<&'a Unit> {
    units.get(name).or_else(|| units.get(&template(name)?))
}

/// `ifup@.service` of `ifup@eth0.service`.
fn template(name: &str) -> Option<String> {
    let (stem, instance) = name.split_once('@')?;
    let (_, kind) = instance.rsplit_once('.')?;
    Some(format!("{stem}@.{kind}"))
}

/// The unit that a timer, path or socket starts; what is none of these starts itself.
pub(super) fn started_by(name: &str, unit: &UnitFile) -> String {
    let Some((stem, kind)) = name.rsplit_once('.') else {
        return name.to_owned();
    };
    let named = match kind {
        "timer" => unit.last("Timer", "Unit"),
        "path" => unit.last("Path", "Unit"),
        "socket" => unit.last("Socket", "Service"),
        _ => return name.to_owned(),
    };
    match named {
        Some(named) => expand(named, name, &Manager::of_node()).text,
        // Each connection has an instance of its own.
        None if kind == "socket" && unit.is_yes("Socket", "Accept") => format!("{stem}@.service"),
        None => format!("{stem}.service"),
    }
}
