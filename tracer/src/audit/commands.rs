//! What command lines and scripts can change on a node, by the programs that they name. Pure.
//!
//! No shell is understood here: a word may be taken for a program. Too much is found rather than too little. What stands
//! in a script of another language is a mention where its line runs nothing.

mod lines;

use std::collections::{BTreeMap, BTreeSet};

use lines::{Line, lines};

use super::Effect;
use super::programs::{
    CALLS, FETCHERS, INTERPRETERS, RUNS_INPUT, SAYS, SHELLS, WORDS, WRITES, changes, is_known,
};
use super::systemctl::{self, service, systemctl};
use super::wrappers::{away, begins, is_assignment, is_before, own};

/// What can be changed, and by what: `apt-get`, `systemctl restart systemd-networkd.service`.
pub(super) type Effects = BTreeMap<(Effect, String), Place>;

/// Where a program stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// It is only named there, and whether it is run was not followed.
    pub(super) mentioned: bool,
    /// The line of the text, from 1.
    pub(super) line: usize,
}

/// What a script or command line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// What it can change.
    pub(super) effects: Effects,
    /// Paths of files that it names, which may be scripts. What the kernel shows as files is none: to read it may do
    /// something.
    pub(super) paths: BTreeSet<String>,
    /// Those of them that it runs, and does not look for before.
    pub(super) runs: BTreeSet<String>,
    /// Names of programs that it runs and that it is not known here what they do.
    pub(super) names: BTreeSet<String>,
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
        self.paths.extend(more.paths);
        self.runs.extend(more.runs);
        self.names.extend(more.names);
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

/// Words behind which a program is looked for, and not run.
const BEFORE_NAMES: [&str; 9] = ["-d", "-e", "-f", "-r", "-v", "-x", "hash", "type", "which"];

/// Folders that hold programs: a path that begins otherwise (`/var/lib/dpkg`) is that of something else.
const FOLDERS: [&str; 10] = [
    "/usr/bin/",
    "/usr/sbin/",
    "/usr/lib/",
    "/usr/libexec/",
    "/usr/local/",
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
    let language = Language::of(text);
    let mut said = Said::default();
    let mut looked_for = BTreeSet::new();
    for Line { line, code, is_text } in lines(text) {
        let mentioned = match language {
            Language::Shell => is_text,
            Language::Other { runs: true } => !CALLS.iter().any(|call| code.contains(call)),
            Language::Other { runs: false } => continue,
        };
        let statements = of_here(&code);
        let (mut found, mut mentions) = (Vec::new(), Vec::new());
        if language == Language::Shell {
            found.extend(of_pipes(&statements));
            found.extend(of_writes(&code));
        }
        for (number, statement) in statements.iter().enumerate() {
            let words = beginning(&statement.words);
            said.too_long |= words.len() < statement.words.len();
            if language == Language::Shell && statement.assigns {
                // It may be run by the variable's name, which is not followed.
                mentions.extend(of_statement(words, true, 2));
            } else if language != Language::Shell || !is_said(&statements[number..]) {
                found.extend(of_statement(words, language == Language::Shell, words.len()));
                if language == Language::Shell && !mentioned {
                    said.units.extend(systemctl::starts(run_here(words)));
                }
            }
            paths(run_here(&statement.words), &mut said, &mut looked_for);
        }
        for key in found {
            said.add(key, Place { mentioned, line });
        }
        for key in mentions {
            said.add(
                key,
                Place {
                    mentioned: true,
                    line,
                },
            );
        }
    }
    said.runs.retain(|path| !looked_for.contains(path));
    said
}

/// What a text is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    /// A command line, or a script of a shell.
    Shell,
    /// In other languages any word may stand anywhere. Where it calls nothing that runs a program it runs none.
    Other { runs: bool },
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
        let is_python = program.is_some_and(|program| program.contains("python"));
        Self::Other {
            // A backtick runs something in other languages than Python.
            runs: code(text)
                .any(|line| CALLS.iter().any(|call| line.contains(call)) || !is_python && line.contains('`')),
        }
    }
}

/// The lines of a script without comments.
pub(super) fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with('#'))
}

/// One command of a line.
struct Statement<'a> {
    words: Vec<&'a str>,
    /// What the one before it says is given to it.
    piped: bool,
    /// It stands within the one before it: `sh -c "$(curl …)"`.
    within: bool,
    /// It gives a variable a value, and runs nothing.
    assigns: bool,
    /// Where the quotes were opened within which it begins, as an offset in the line.
    quoted: Option<usize>,
}

impl Statement<'_> {
    /// Where the last word stands before those that another node or a container is given, as an offset in the line that it is
    /// of.
    fn away(&self, line: &str) -> Option<usize> {
        let word = self.words.get(away(&self.words)?.from.checked_sub(1)?)?;
        // They are parts of that line.
        (word.as_ptr() as usize).checked_sub(line.as_ptr() as usize)
    }
}

fn statements(line: &str) -> Vec<Statement<'_>> {
    let mut found = Vec::<Statement<'_>>::new();
    let (mut begin, mut depth) = (0, 0_usize);
    let (mut piped, mut within, mut variable) = (false, false, false);
    let (mut quote, mut quoted) = (None, None);
    let ends = line.char_indices().filter_map(|(at, c)| {
        match quote {
            None if c == '"' || c == '\'' => quote = Some((c, at)),
            Some((open, _)) if c == open && !line[..at].ends_with('\\') => quote = None,
            _ => {}
        }
        // `${NAME}` is part of a word.
        if c == '{' && line[..at].ends_with('$') {
            variable = true;
            return None;
        }
        if c == '}' && variable {
            variable = false;
            return None;
        }
        ";|&(){}`"
            .contains(c)
            .then_some((at, Some((c, quote.map(|(_, at)| at)))))
    });
    for (at, end) in ends.chain([(line.len(), None)]) {
        let c = end.map(|(c, _)| c);
        let words = line[begin..at].split(|c: char| c.is_ascii_whitespace() || "\"'[],<>".contains(c));
        let words: Vec<_> = words
            .map(|word| match word {
                "!" => word,
                // The signs before a command of systemd (systemd.service(5)).
                _ if word.contains('/') => word.trim_start_matches(['-', '@', ':', '+', '!']),
                _ => word,
            })
            .filter(|word| !word.is_empty())
            .collect();
        // A pattern of `case`, and a function's name: `a|b)`, `a() {`.
        let is_pattern = c == Some(')') && depth == 0 && words.len() == 1;
        let is_function = c == Some('(') && line[at + 1..].starts_with(')') && words.len() == 1;
        if is_pattern && piped {
            while found.last().is_some_and(|one| one.words.len() == 1) {
                found.pop();
            }
        }
        if !words.is_empty() && !is_pattern && !is_function {
            found.push(Statement {
                assigns: assigns(&line[begin..at]),
                words,
                piped,
                within,
                quoted,
            });
        }
        let Some((c, opened)) = end else { break };
        quoted = opened;
        begin = at + c.len_utf8();
        // `||` is no pipe.
        piped = c == '|' && !line[..at].ends_with('|') && !line[begin..].starts_with('|');
        within = c == '(' || c == '`';
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    found
}

/// The words of a command that run on this node.
fn run_here<'a, 'b>(words: &'a [&'b str]) -> &'a [&'b str] {
    &words[..away(words).map_or(words.len(), |away| away.from)]
}

/// The commands of a line that run on this node. What another node, or a container, is given in quotes of its own runs there; what
/// stands behind that in the quotes of a shell of this node does not.
fn of_here(line: &str) -> Vec<Statement<'_>> {
    let mut away = None;
    let runs_here = |statement: &Statement<'_>| {
        let is_given = statement
            .quoted
            .is_some_and(|at| away.is_some_and(|away| at > away));
        if !is_given {
            away = statement.away(line);
        }
        !is_given
    };
    statements(line).into_iter().filter(runs_here).collect()
}

/// Whether a command gives a variable a value and is over then: `X="a b"`, `export X=a`.
fn assigns(statement: &str) -> bool {
    let mut rest = statement.trim();
    for word in ["export ", "local ", "readonly "] {
        rest = rest.strip_prefix(word).unwrap_or(rest).trim_start();
    }
    let Some((name, value)) = rest.split_once('=') else {
        return false;
    };
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return false;
    }
    let quote = value.chars().next().filter(|c| ['"', '\''].contains(c));
    let behind = match quote {
        Some(quote) => value[1..].split_once(quote).map(|(_, behind)| behind),
        None => value
            .split_once(|c: char| c.is_ascii_whitespace())
            .map(|(_, behind)| behind),
    };
    behind.is_none_or(|behind| behind.trim().is_empty())
}

/// The words of a command that are looked at.
fn beginning<'a, 'b>(words: &'a [&'b str]) -> &'a [&'b str] {
    let mut parts = 0;
    let fits = |word: &&&str| {
        parts += word.split('=').count();
        parts <= MOST_WORDS
    };
    &words[..words.iter().take_while(fits).count()]
}

/// Code from elsewhere that is run as it comes: `curl … | sh`, `sh -c "$(curl …)"`.
fn of_pipes(statements: &[Statement<'_>]) -> Option<(Effect, String)> {
    let has = |statement: &Statement<'_>, programs: &[&str]| {
        let words = run_here(&statement.words).iter().filter_map(|word| program(word));
        words
            .into_iter()
            .find(|word| programs.contains(word))
            .map(str::to_owned)
    };
    for (number, statement) in statements.iter().enumerate() {
        let Some(fetcher) = has(statement, &FETCHERS) else {
            continue;
        };
        let piped = statements[number + 1..].iter().take_while(|one| one.piped);
        if let Some(runner) = piped.into_iter().find_map(runs_input) {
            return Some((Effect::Code, format!("{fetcher} | {runner}")));
        }
        let around = number.checked_sub(1).map(|before| &statements[before]);
        if let Some(around) = around.filter(|_| statement.within) {
            let runner = has(around, &SHELLS).or_else(|| has(around, &["eval", "."]));
            if let Some(runner) = runner {
                return Some((Effect::Code, format!("{runner} $({fetcher})")));
            }
        }
    }
    None
}

/// The program of a statement that runs what it is given.
fn runs_input<'a>(statement: &Statement<'a>) -> Option<&'a str> {
    let words = &statement.words;
    words.iter().enumerate().find_map(|(place, word)| {
        let name = program(word)?;
        let mut behind = words[place + 1..].iter();
        let runs = SHELLS.contains(&name) && !behind.clone().any(|word| *word == "-c")
            // What is given to a program of its own is data.
            || INTERPRETERS.contains(&name) && behind.all(|word| *word == "-");
        runs.then_some(name)
    })
}

/// What is written to files of the kernel: `echo b >/proc/sysrq-trigger`.
fn of_writes(line: &str) -> Option<(Effect, String)> {
    let targets = line.split('>').skip(1).chain(line.split("tee ").skip(1));
    let mut paths = targets.filter_map(|target| {
        let end = |c: char| c.is_ascii_whitespace() || "\"';|&)".contains(c);
        target.split(end).find(|word| !word.is_empty() && *word != "-a")
    });
    paths.find_map(|path| {
        let (_, effect) = WRITES.iter().find(|(begin, _)| path.starts_with(begin))?;
        Some((*effect, format!("write to {path}")))
    })
}

/// Whether a command only says what its words are, and nothing runs that.
fn is_said(statements: &[Statement<'_>]) -> bool {
    let [first, rest @ ..] = statements else {
        return false;
    };
    let mut words = first.words.iter();
    let command = words.find(|word| !is_before(word) && !is_assignment(word) && !word.starts_with('-'));
    let is_saying = command
        .and_then(|word| program(word))
        .is_some_and(|name| SAYS.contains(&name));
    let mut piped = rest.iter().take_while(|one| one.piped);
    is_saying
        && !piped.any(|one| {
            runs_input(one).is_some() || one.words.first().is_some_and(|word| RUNS_INPUT.contains(word))
        })
}

/// Notes the paths that a command names, and which of them it runs.
fn paths(words: &[&str], said: &mut Said, looked_for: &mut BTreeSet<String>) {
    let (mut begins, mut before, mut runner) = (true, "", false);
    for word in words {
        for part in word.split('=') {
            let is_of_kernel = ["/dev/", "/proc/", "/sys/"]
                .iter()
                .any(|folder| part.starts_with(folder));
            // A shell makes a path of it, or several, or none: it is that of no file.
            let is_pattern = part.contains(['%', '$', '*', '?', '~']);
            // What a program does is known by its name.
            if !part.starts_with('/') || is_of_kernel || is_pattern || program(part).is_some_and(is_known) {
                continue;
            }
            said.paths.insert(part.to_owned());
            if BEFORE_NAMES.contains(&before) && !runner {
                looked_for.insert(part.to_owned());
            } else if part == *word && (begins || runner) {
                said.runs.insert(part.to_owned());
            }
        }
        let goes_on = is_before(word) || is_assignment(word);
        if begins && !goes_on && program(word) == Some(word) && !is_known(word) {
            said.names.insert((*word).to_owned());
        }
        // What `sh -c` is given is a command.
        begins = begins && goes_on || runner && *word == "-c";
        // Options lie between `sh` and the script.
        if !word.starts_with('-') {
            runner = program(word)
                .is_some_and(|name| SHELLS.contains(&name) || INTERPRETERS.contains(&name) || name == ".");
        }
        before = word;
    }
}

/// What the programs change that are among the first words of a command.
fn of_statement(words: &[&str], shell: bool, first: usize) -> Vec<(Effect, String)> {
    let mut found = Vec::new();
    let away = away(words);
    let (words, there) = words.split_at(away.map_or(words.len(), |away| away.from));
    if away.is_some_and(|away| away.shares_network) {
        let there = of_statement(there, shell, there.len()).into_iter();
        found.extend(there.filter(|(effect, _)| *effect == Effect::Network));
    }
    for (place, word) in words.iter().enumerate().take(first) {
        let (before, after) = (&words[..place], &words[place + 1..]);
        if before.last().is_some_and(|word| BEFORE_NAMES.contains(word)) {
            continue;
        }
        // What is assigned to may have any name.
        for part in word.split('=').skip(usize::from(is_assignment(word))) {
            let Some(name) = program(default(part)) else {
                continue;
            };
            match name {
                "systemctl" => {
                    found.extend(systemctl(after));
                    return found;
                }
                // service(8), invoke-rc.d(8), rc-service(8): the service first.
                "service" | "invoke-rc.d" | "rc-service" => found.extend(service(after)),
                // What follows are names of processes.
                "killall" | "pgrep" | "pidof" | "pkill" | "skill" => {
                    found.extend(changes(name, after));
                    return found;
                }
                _ => {
                    let is_command = || shell && !word.starts_with('-') && begins(before);
                    if !WORDS.contains(&name) || part != name || is_command() {
                        found.extend(changes(name, own(name, after)));
                    }
                }
            }
        }
        if let Some(name) = word.strip_prefix("/etc/init.d/") {
            found.extend(service(&[&[name], after].concat()));
        }
    }
    found
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
