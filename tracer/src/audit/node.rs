//! What of a node's files the audit looks at. Only reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::Path;

use super::unit_file::UnitFile;

/// Where systemd looks for units, what counts most first (systemd.unit(5)).
const FOLDERS: [&str; 5] = [
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];
/// Bytes of a file that are read at most.
const MOST: u64 = 256 << 10;

/// The files of a node, or of an image of one.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// Timers and services by name.
    pub(super) units: BTreeMap<String, Unit>,
    /// What scripts say that units run, by path.
    pub(super) scripts: BTreeMap<String, String>,
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
    /// It is a link to /dev/null: nothing can start it.
    pub(super) masked: bool,
    /// What the file that counts says.
    text: Option<String>,
    /// What its drop-ins say, by the names of their files: of two with one name the first that is found counts.
    drop_ins: BTreeMap<String, String>,
}

impl Node {
    /// Reads the node below that folder.
    pub(super) fn read(root: &Path) -> Self {
        let mut node = Self::default();
        let mut wanted = BTreeSet::new();
        for folder in FOLDERS {
            node.read_folder(&root.join(folder), &mut wanted);
        }
        for (name, unit) in &mut node.units {
            unit.enabled = wanted.contains(name);
            for text in unit.text.iter().chain(unit.drop_ins.values()) {
                unit.file.read(text);
            }
        }
        node.apt = node.read_all(root, "etc/apt/apt.conf.d", "");
        if let Some(text) = node.text(&root.join("etc/apt/apt.conf")) {
            node.apt.push_str(&text);
        }
        let own = node.text(&root.join("etc/needrestart/needrestart.conf"));
        node.needrestart =
            own.unwrap_or_default() + "\n" + &node.read_all(root, "etc/needrestart/conf.d", ".conf");
        for base in ["usr/lib/systemd", "run/systemd", "etc/systemd"] {
            let mut all = node
                .text(&root.join(base).join("networkd.conf"))
                .unwrap_or_default();
            all.push('\n');
            all += &node.read_all(root, &format!("{base}/networkd.conf.d"), ".conf");
            node.networkd.read(&all);
        }
        node.has_cni = fs::read_dir(root.join("etc/cni/net.d")).is_ok_and(|mut files| files.next().is_some());
        node.read_scripts(root);
        node
    }

    fn read_folder(&mut self, folder: &Path, wanted: &mut BTreeSet<String>) {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => {
                if error.kind() != std::io::ErrorKind::NotFound {
                    self.unread.push(format!("{}: {error}", folder.display()));
                }
                return;
            }
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                self.unread
                    .push(format!("{}: its name is not UTF-8", path.display()));
                continue;
            };
            if name.ends_with(".wants") || name.ends_with(".requires") {
                let links = fs::read_dir(&path).into_iter().flatten().flatten();
                wanted.extend(links.filter_map(|link| link.file_name().to_str().map(str::to_owned)));
            } else if let Some(unit) = name.strip_suffix(".d") {
                if is_watched(unit) {
                    let drop_ins = self.files(&path, ".conf");
                    let known = &mut self.units.entry(unit.to_owned()).or_default().drop_ins;
                    for (name, text) in drop_ins {
                        known.entry(name).or_insert(text);
                    }
                }
            } else if is_watched(&name) {
                self.read_unit(&name, &path);
            }
        }
    }

    /// The file of a unit: that of the folder that counts most.
    fn read_unit(&mut self, name: &str, path: &Path) {
        let masked = fs::read_link(path).is_ok_and(|target| target == Path::new("/dev/null"));
        let text = self.text(path).unwrap_or_default();
        let unit = self.units.entry(name.to_owned()).or_default();
        if unit.text.is_none() {
            unit.masked = masked;
            unit.text = Some(text);
        }
    }

    /// What the files of a folder below the root say whose names end so, in the order of their names.
    fn read_all(&mut self, root: &Path, folder: &str, suffix: &str) -> String {
        let files = self.files(&root.join(folder), suffix);
        files.into_iter().map(|(_, text)| text + "\n").collect()
    }

    fn files(&mut self, folder: &Path, suffix: &str) -> Vec<(String, String)> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.ends_with(suffix))
            .collect();
        names.sort();
        let with_text = |name: String| {
            let text = self.text(&folder.join(&name))?;
            Some((name, text))
        };
        names.into_iter().filter_map(with_text).collect()
    }

    /// What a file says; `None` where there is none, or it cannot be read: then that is noted.
    fn text(&mut self, path: &Path) -> Option<String> {
        let file = match fs::File::open(path) {
            Ok(file) if file.metadata().is_ok_and(|data| data.is_file()) => file,
            Ok(_) => return None,
            Err(error) => {
                if error.kind() != std::io::ErrorKind::NotFound {
                    self.unread.push(format!("{}: {error}", path.display()));
                }
                return None;
            }
        };
        let mut bytes = Vec::new();
        if let Err(error) = file.take(MOST).read_to_end(&mut bytes) {
            self.unread.push(format!("{}: {error}", path.display()));
        }
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The scripts that units run: a program is known by its name, a script by what it says.
    fn read_scripts(&mut self, root: &Path) {
        let paths: BTreeSet<String> = self
            .units
            .values()
            .flat_map(|unit| unit.file.commands())
            .filter_map(program)
            .map(str::to_owned)
            .collect();
        for path in paths {
            let mut begin = [0; 2];
            let below = root.join(path.trim_start_matches('/'));
            let is_script = fs::File::open(&below).is_ok_and(|mut file| file.read_exact(&mut begin).is_ok());
            if is_script
                && begin == *b"#!"
                && let Some(text) = self.text(&below)
            {
                self.scripts.insert(path, text);
            }
        }
    }
}

fn is_watched(name: &str) -> bool {
    name.ends_with(".timer") || name.ends_with(".service")
}

/// The path of the program that a command line runs, without the signs before it (systemd.service(5)).
pub(super) fn program(command: &str) -> Option<&str> {
    let first = command.split_ascii_whitespace().next()?;
    let path = first.trim_start_matches(['-', '@', ':', '+', '!']);
    (!path.is_empty()).then_some(path)
}
