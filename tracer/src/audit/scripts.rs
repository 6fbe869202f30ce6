//! Scripts that command lines run, and those that these run: a program is known by its name, a script by what it says.

use std::collections::{BTreeMap, BTreeSet};

use super::commands::{self, MOST_WORDS, Said};
use super::files::{Files, Kind};
use super::scope::Scope;

/// Where programs are that no package has brought, what counts most first.
pub(super) const INSTALLED: [&str; 2] = ["/usr/local/sbin", "/usr/local/bin"];
/// Scripts that are read, at most.
const MOST: usize = 1000;

/// The scripts of a node.
#[derive(Clone, Debug, Default)]
pub(super) struct Scripts {
    /// Paths of what no package has brought, by the names of commands.
    installed: BTreeMap<String, String>,
    /// What scripts say, by path.
    said: BTreeMap<String, Said>,
    /// Files that command lines run and that are not there.
    missing: BTreeSet<String>,
}

/// What a command line or script says that is run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Followed<'a> {
    /// What it says.
    pub(super) said: &'a Said,
    /// Its file; nothing for what is in none.
    pub(super) path: Option<&'a str>,
    /// What of the node it has where it is run.
    pub(super) scope: Scope,
}

/// Scripts to be read: which files, and who runs or names them.
type Next = BTreeMap<String, (Kind, String)>;

impl Scripts {
    /// Reads the scripts of all that starts: its name, what it says, and whether that is a command line.
    pub(super) fn read<'a>(
        files: &mut Files,
        starts: impl Iterator<Item = (&'a str, &'a Said, bool)>,
    ) -> Self {
        let mut scripts = Self::default();
        for folder in INSTALLED {
            for name in files.names(folder) {
                let path = format!("{folder}/{name}");
                scripts.installed.entry(name).or_insert(path);
            }
        }
        let mut next = Next::new();
        for (name, said, is_line) in starts {
            scripts.add(files, &mut next, name, said);
            for path in said.paths.keys() {
                let script = (Kind::Script, name.to_owned());
                next.entry(path.clone()).or_insert(script);
            }
            if is_line {
                let own = said.runs.keys().filter(|path| !is_of_packages(path));
                scripts
                    .missing
                    .extend(own.filter(|path| !files.has(path)).cloned());
            }
        }
        while let Some((path, (kind, by))) = next.pop_first() {
            if scripts.said.contains_key(&path) {
                continue;
            }
            if scripts.said.len() == MOST {
                files
                    .unread
                    .push(format!("{path} and others: more than {MOST} scripts"));
                break;
            }
            let known = files.unread.len();
            let script = files.read(&path, kind);
            if let Some(why) = files.unread.get_mut(known) {
                *why += &format!(" ({by} names it)");
            }
            if let Some(script) = script {
                let said = commands::read(&script.text);
                scripts.add(files, &mut next, &path, &said);
                scripts.said.insert(path, said);
            }
        }
        scripts
    }

    /// Adds what is run to what is to be read; tells what was too long to be looked at.
    fn add(&self, files: &mut Files, next: &mut Next, name: &str, said: &Said) {
        // What is run is a script also without `#!`, for a shell runs it.
        for (path, _) in self.runs(said) {
            next.insert(path.clone(), (Kind::Text, name.to_owned()));
        }
        if said.too_long {
            let why = format!(
                "{name}: a command in it has more than {MOST_WORDS} words, and only its beginning was looked at"
            );
            files.tell(why);
        }
    }

    /// Paths of what is run, by path or by name, each with what of the node it has there.
    fn runs<'a>(&'a self, said: &'a Said) -> impl Iterator<Item = (&'a String, &'a Scope)> {
        let by_name = said.names.iter();
        let installed = by_name.filter_map(|(name, scope)| Some((self.installed.get(name)?, scope)));
        said.runs.iter().chain(installed)
    }

    /// What a command line runs and is not there.
    pub(super) fn missing(&self, said: &Said) -> Vec<String> {
        let paths = said.runs.keys().filter(|path| self.missing.contains(*path));
        paths.cloned().collect()
    }

    /// What a command line or script says, that of a file where one is named, and what the scripts say that it runs.
    pub(super) fn follow<'a>(&'a self, said: &'a Said, file: Option<&'a str>) -> Vec<Followed<'a>> {
        let mut found = vec![Followed {
            said,
            path: file,
            scope: Scope::NODE,
        }];
        let mut seen = BTreeMap::<&String, Scope>::new();
        let mut at = 0;
        while let Some(&Followed { said, scope, .. }) = found.get(at) {
            // What a script of a script only names is an argument.
            let named = said.paths.iter().filter(|_| at == 0);
            for (path, there) in self.runs(said).chain(named) {
                let Some((path, said)) = self.said.get_key_value(path) else {
                    continue;
                };
                // Where it was run before it may have had less.
                let (before, there) = (seen.get(path).copied(), scope.and(*there));
                let scope = before.map_or(there, |before| before.or(there));
                if before != Some(scope) {
                    seen.insert(path, scope);
                    found.push(Followed {
                        said,
                        path: Some(path),
                        scope,
                    });
                }
            }
            at += 1;
        }
        found
    }
}

/// Whether that is where packages have their programs: what they do is known by their names.
pub(super) fn is_of_packages(path: &str) -> bool {
    let folders = ["/bin/", "/lib", "/sbin/", "/usr/"];
    folders.iter().any(|folder| path.starts_with(folder)) && !path.starts_with("/usr/local/")
}
