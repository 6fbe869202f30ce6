//! What command lines and scripts can change on a node, by the programs that they name. Pure.
//!
//! `shell` knows the words of a shell, `run` follows them to what they run; `tokens` and `calls` know the calls by which other
//! languages run something. What a variable stands for is not known here, and
//! the words of a program that is not known may be another one: too much is found rather than too little. What stands in a
//! script of another language is a mention where its line runs nothing.

mod calls;
mod parts;
mod run;
mod shell;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};

use super::Effect;
use super::programs::CALLS;
use super::scope::Scope;
use run::Run;
use tokens::Syntax;

/// What can be changed, and by what: `apt-get`, `systemctl restart systemd-networkd.service`.
pub(super) type Effects = BTreeMap<(Effect, String), Place>;

/// Names or paths, each with what of the node it has where it is run.
pub(super) type Named = BTreeMap<String, Scope>;

/// Where a program stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// It is only named there, and whether it is run was not followed.
    pub(super) mentioned: bool,
    /// The line of the text, from 1.
    pub(super) line: usize,
    /// What of the node it has to have where it runs.
    pub(super) needs: Scope,
}

/// What a script or command line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// What it can change.
    pub(super) effects: Effects,
    /// Paths of files that it names, which may be scripts. What the kernel shows as files is none: to read it may do
    /// something.
    pub(super) paths: Named,
    /// Those of them that it runs, and does not look for before.
    pub(super) runs: Named,
    /// Names of programs that it runs and that it is not known here what they do.
    pub(super) names: Named,
    /// Files and programs that it looks for.
    pub(super) looked_for: BTreeSet<String>,
    /// Units that it starts by name.
    pub(super) units: BTreeSet<String>,
    /// A command in it has more than [`MOST_WORDS`] words: only its beginning was looked at.
    pub(super) too_long: bool,
}

impl Said {
    /// Takes over what else is said.
    pub(super) fn merge(&mut self, more: Self) {
        for (key, place) in more.effects {
            self.add(key, place);
        }
        for (all, more) in [
            (&mut self.paths, more.paths),
            (&mut self.runs, more.runs),
            (&mut self.names, more.names),
        ] {
            for (name, scope) in more {
                add_name(all, name, scope);
            }
        }
        self.looked_for.extend(more.looked_for);
        self.units.extend(more.units);
        self.too_long |= more.too_long;
    }

    /// What is run is known better than what is only named.
    fn add(&mut self, key: (Effect, String), place: Place) {
        let known = self.effects.entry(key).or_insert(place);
        if known.mentioned && !place.mentioned {
            *known = place;
        }
    }
}

/// What is run in several places has what any of them has.
fn add_name(all: &mut Named, name: String, scope: Scope) {
    let known = all.entry(name).or_insert(scope);
    *known = known.or(scope);
}

/// Folders that hold programs: a path that begins otherwise (`/var/lib/dpkg`) is that of something else.
const FOLDERS: [&str; 11] = [
    "/usr/bin/",
    "/usr/sbin/",
    "/usr/lib/",
    "/usr/libexec/",
    "/usr/local/",
    "/usr/share/unattended-upgrades/",
    "/bin/",
    "/sbin/",
    "/lib/",
    "/opt/",
    "/snap/",
];

/// Words of one command that are looked at, at most, those on both sides of a `=` by themselves: for each that is a
/// program all behind it are gone through.
pub(super) const MOST_WORDS: usize = 512;

/// Reads a script or command line; comments say nothing.
pub(super) fn read(text: &str) -> Said {
    let mut run = Run::default();
    match Language::of(text) {
        Language::Shell => run.text(text),
        Language::Other { runs: true, syntax } => run.other_language(text, syntax),
        Language::Other { runs: false, .. } => {}
    }
    run.done()
}

/// What a text is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    /// A command line, or a script of a shell.
    Shell,
    /// In other languages any word may stand anywhere. Where it calls nothing that runs a program it runs none.
    Other { runs: bool, syntax: Option<Syntax> },
}

impl Language {
    fn of(text: &str) -> Self {
        let Some(interpreter) = text.lines().next().and_then(|line| line.strip_prefix("#!")) else {
            return Self::Shell;
        };
        let mut words = interpreter
            .split_ascii_whitespace()
            .filter(|word| !word.starts_with('-'));
        let first = words.next().unwrap_or_default();
        let program = if first.ends_with("/env") {
            words.next()
        } else {
            Some(first)
        };
        if program.is_some_and(|program| program.ends_with("sh")) {
            return Self::Shell;
        }
        let syntax = program.and_then(Syntax::of);
        // In Perl `open` runs what stands behind `|`; a backtick runs something in other languages than Python.
        let may_run = |line: &str| {
            CALLS.iter().any(|call| line.contains(call))
                || syntax == Some(Syntax::Perl) && line.contains("open") && line.contains('|')
                || syntax != Some(Syntax::Python) && line.contains('`')
        };
        Self::Other {
            runs: code(text).any(may_run),
            syntax,
        }
    }
}

/// The lines of a script without comments.
pub(super) fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with('#'))
}

/// What a variable stands for where nothing is set: `apt-get` of `${APT:-apt-get}`.
fn default(word: &str) -> &str {
    word.split_once(":-")
        .map_or(word, |(_, default)| default.trim_end_matches('}'))
}

/// The name of the program that a word stands for: the word itself, or what a path ends in.
pub(super) fn program(word: &str) -> Option<&str> {
    match word.rsplit_once('/') {
        Some((_, name)) => FOLDERS
            .iter()
            .any(|folder| word.starts_with(folder))
            .then_some(name),
        None => Some(word),
    }
}

#[cfg(test)]
mod tests;
