//! What a text runs: its commands are followed behind what runs them, here or elsewhere.

mod folder;
mod functions;
mod given;
mod other;

use std::collections::{BTreeMap, BTreeSet};

use super::parts::{beginning, parts};
use super::shell::{self, Command, Word};
use super::{MOST_WORDS, Named, Place, Said, add_name, default, program};
use crate::audit::Effect;
use crate::audit::options::is_among;
use crate::audit::programs::{FETCHERS, INTERPRETERS, SAYS, TOLD, WORDS, changes, is_known, needs};
use crate::audit::scope::Scope;
use crate::audit::systemctl::{service, starts, systemctl};
use crate::audit::wrappers::{self, With, is_assignment, is_runner, own};
use crate::audit::writes;
use functions::{Function, functions};
use given::{Given, says, written};

/// So deep commands are followed behind others.
const DEEPEST: usize = 48;
/// Words of the shell behind which a command begins.
const BEFORE_COMMANDS: &str = "! { } do done elif else fi esac if then until while";
/// Words of the shell behind which none does.
const NO_COMMANDS: &str = "case for select";
/// What gives variables values.
const DECLARES: &str = "declare export local readonly typeset";
/// Words behind which a program is looked for, and not run.
const BEFORE_NAMES: &str = "-d -e -f -r -v -x hash type which";
/// Options of programs behind which a command begins, whatever they are.
const BEFORE_ANY: &str = "-- --exec -exec -execdir";
/// What stands for words that a command reads, where they are not known.
const GIVEN: &str = "$@";
/// Paths that are kept of one variable, at most.
const MOST_VALUES: usize = 16;
/// What looks for files.
const LOOKS: &str = "[ [[ hash test type which";

/// What a text runs, as far as it was read.
#[derive(Default)]
pub(super) struct Run {
    said: Said,
    /// Files that are looked for.
    looked_for: BTreeSet<String>,
    /// Files that were fetched from elsewhere, and by what.
    fetched: BTreeMap<String, &'static str>,
    /// Paths that variables were given.
    values: BTreeMap<String, Vec<String>>,
    /// The folder that it has gone to, where that is known.
    folder: Option<String>,
    /// Functions of it that run none of the words that they are given.
    functions: BTreeSet<String>,
    /// It is no text of a shell: names are said of much else.
    is_other: bool,
}

/// Where a command stands, and what it has there.
#[derive(Clone, Copy)]
struct At {
    scope: Scope,
    /// It is in a container that was given more of the node.
    reaches_out: bool,
    mentioned: bool,
    line: usize,
    depth: usize,
}

impl At {
    const TEXT: Self = Self {
        scope: Scope::NODE,
        reaches_out: false,
        mentioned: false,
        line: 1,
        depth: 0,
    };

    fn mentioned(self) -> Self {
        Self {
            mentioned: true,
            ..self
        }
    }
}

impl Run {
    /// What was read.
    pub(super) fn done(mut self) -> Said {
        let looked_for = &self.looked_for;
        // `[ -d FOLDER ] && cd FOLDER && ./script`
        let is_looked_for = |path: &str| {
            let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
            ends.into_iter().any(|end| looked_for.contains(&path[..end]))
        };
        self.said.runs.retain(|path, _| !is_looked_for(path));
        self.said.looked_for = self.looked_for;
        self.said
    }

    /// Reads a text of a shell.
    pub(super) fn text(&mut self, text: &str) {
        let commands = shell::commands(text, 1);
        let all = functions(&commands).into_iter();
        self.functions = all.filter(|one| !one.runs_words).map(|one| one.name).collect();
        self.list(&commands, At::TEXT);
    }

    fn list(&mut self, commands: &[Command], at: At) {
        let mut given = None;
        let mut places = self.places(commands);
        for (number, command) in commands.iter().enumerate() {
            places.begin(self, number, command);
            let at = At {
                line: command.line,
                ..at
            };
            if !command.is_piped {
                self.leave(given.take(), at);
            }
            if let Some(reads) = &command.reads {
                given = Some(Given::from(reads));
            }
            for word in command.words.iter().chain(&command.writes) {
                self.list(&word.commands, at);
            }
            let fetcher = fetcher(std::slice::from_ref(command));
            let text = written(&command.words, given.as_ref());
            for file in &command.writes {
                self.write("write to", &file.text, text.as_deref(), at);
                self.fetched
                    .extend(fetcher.map(|fetcher| (file_name(&file.text).to_owned(), fetcher)));
            }
            let words = beginning(&command.words);
            self.said.too_long |= words.len() < command.words.len();
            given = self.run(words, given, at);
        }
        places.end(self);
        self.leave(given, at);
    }

    /// Nothing has read as commands what was given.
    fn leave(&mut self, given: Option<Given>, at: At) {
        if let Some(Given::Text {
            text,
            line,
            is_document: true,
        }) = given
        {
            self.script(&text, line, at.mentioned());
        }
    }

    fn script(&mut self, text: &str, line: usize, at: At) {
        if at.depth < DEEPEST {
            let depth = at.depth + 1;
            self.list(&shell::commands(text, line), At { depth, ..at });
        }
    }

    /// Follows a command; hands back what the next one is given, where that is known.
    fn run(&mut self, mut words: &[Word], given: Option<Given>, at: At) -> Option<Given> {
        while let [first, rest @ ..] = words {
            let first = first.text.as_str();
            if first == "function" {
                words = rest.get(1..).unwrap_or_default();
            } else if is_among(BEFORE_COMMANDS, first) {
                words = rest;
            } else if is_assignment(first) || is_among(DECLARES, first) {
                let is_over = |word: &Word| is_assignment(&word.text) || is_among(DECLARES, first);
                if rest.iter().all(is_over) {
                    words.iter().for_each(|word| self.assign(&word.text, at));
                    return None;
                }
                self.note_paths(first, at);
                words = rest;
            } else {
                break;
            }
        }
        let (first, rest) = words.split_first()?;
        if is_among(NO_COMMANDS, &first.text) || at.depth > DEEPEST {
            if let [name, is_in, values @ ..] = rest
                && is_in.text == "in"
            {
                values.iter().for_each(|value| self.give(&name.text, &value.text));
            }
            return given;
        }
        // The signs before a command of systemd (systemd.service(5)).
        let command = match first.text.contains('/') {
            true => &self.absolute(first.text.trim_start_matches(['-', '@', ':', '+', '!'])),
            false => &first.text,
        };
        let arguments: Vec<&str> = rest.iter().map(|word| word.text.as_str()).collect();
        self.note_command(command, at);
        if command.contains('/')
            && let Some(fetcher) = self.fetched.get(file_name(command))
        {
            self.add(Effect::Code, "", format!("{fetcher}, {command}"), at);
        }
        let Some(name) = program(default(command)) else {
            if let Some(name) = command.strip_prefix("/etc/init.d/") {
                self.known("service", &[&[name], &arguments[..]].concat(), at);
            }
            self.note_all(rest, at);
            self.look_through(rest, at);
            return given;
        };
        if is_among(LOOKS, name)
            || name == "command" && arguments.first().is_some_and(|word| is_among("-V -v", word))
        {
            let looked_for: Vec<_> = arguments.iter().map(|word| self.absolute(word)).collect();
            self.looked_for.extend(looked_for);
        }
        if is_among("cd chdir popd pushd", name) {
            self.enter(name, &arguments);
        }
        let text = match (&given, name) {
            (Some(Given::Text { text, .. }), "tee" | "sponge") => Some(text.as_str()),
            _ => None,
        };
        for file in writes::of_program(name, &arguments) {
            let verb = if is_among(writes::REMOVERS, name) {
                "remove"
            } else {
                "write to"
            };
            self.write(verb, file, text, at);
        }
        let whole: Vec<&str> = [name].into_iter().chain(arguments.iter().copied()).collect();
        if let Some(next) = wrappers::next(name, &whole) {
            // The root of a container that was given that of the node may be left for it.
            let scope = if at.reaches_out { Scope::NODE } else { next.scope };
            let at = At {
                scope: at.scope.and(scope),
                reaches_out: at.reaches_out || next.reaches_out,
                depth: at.depth + 1,
                ..at
            };
            return self.go_on(name, next.with, words, given, at);
        }
        self.note_all(rest, at);
        if self.functions.contains(name) && !is_known(name) {
            return None;
        }
        if is_among(SAYS, name) {
            return says(name, &arguments, at.line).or(given);
        }
        if let Some(fetcher) = FETCHERS.into_iter().find(|fetcher| *fetcher == name) {
            let files = writes::fetched(name, &arguments).into_iter();
            self.fetched
                .extend(files.map(|file| (file_name(file).to_owned(), fetcher)));
            return Some(Given::Fetched(fetcher));
        }
        if is_known(name) || writes::is_known(name) && !INTERPRETERS.contains(&name) {
            self.known(name, &arguments, at);
        } else {
            self.look_through(words, at);
        }
        given
    }

    /// Follows what a program runs.
    fn go_on(
        &mut self,
        name: &str,
        with: With,
        words: &[Word],
        given: Option<Given>,
        at: At,
    ) -> Option<Given> {
        let (With::Command(place)
        | With::Appended(place)
        | With::Text(place)
        | With::Joined(place)
        | With::Script(place)) = with
        else {
            self.note_all(words, at);
            return self.read_input(name, with, given, at);
        };
        let (before, behind) = words.split_at(place.min(words.len()));
        self.note_all(before.get(1..).unwrap_or_default(), at);
        let Some(first) = behind.first() else { return given };
        if !matches!(with, With::Command(_) | With::Appended(_)) {
            let fetcher = behind.iter().find_map(|word| fetcher(&word.commands));
            if let Some(fetcher) = fetcher {
                self.add(Effect::Code, name, format!("{name} $({fetcher})"), at);
            }
        }
        match with {
            With::Command(_) => return self.run(behind, given, at),
            With::Appended(_) => {
                let mut whole = behind.to_vec();
                match &given {
                    Some(Given::Text { text, .. }) => whole.extend(parts(text)),
                    _ => whole.extend(parts(GIVEN)),
                }
                self.run(beginning(&whole), None, at);
            }
            With::Text(_) => self.script(&first.text, first.line, at),
            With::Joined(_) => {
                let texts: Vec<&str> = behind.iter().map(|word| word.text.as_str()).collect();
                self.script(&texts.join(" "), first.line, at);
            }
            _ => {
                if let Some(fetcher) = self.fetched.get(file_name(&first.text)) {
                    self.add(
                        Effect::Code,
                        name,
                        format!("{fetcher}, {name} {}", first.text),
                        at,
                    );
                }
                self.note_run(&self.absolute(&first.text), at);
                self.note_all(behind, at);
            }
        }
        None
    }

    /// Follows what a shell, or another interpreter, reads.
    fn read_input(&mut self, name: &str, with: With, given: Option<Given>, at: At) -> Option<Given> {
        match (with, given) {
            (With::Input | With::Code, Some(Given::Fetched(fetcher))) => {
                self.add(Effect::Code, name, format!("{fetcher} | {name}"), at);
            }
            (With::Input | With::Code, Some(Given::File(path))) => self.note_run(&self.absolute(&path), at),
            (With::Input, Some(Given::Text { text, line, .. })) => self.script(&text, line, at),
            (With::Code, given) => return given,
            _ => {}
        }
        None
    }

    /// Looks for programs among the words of a command that is not known.
    fn look_through(&mut self, words: &[Word], at: At) {
        if at.depth > DEEPEST {
            return;
        }
        let is_text = |two: &&[Word]| two[0].text == "-c" && !two[1].text.starts_with('/');
        if let Some(text) = words.windows(2).find(is_text).map(|two| &two[1]) {
            self.script(&text.text, text.line, at);
        }
        let all: Vec<Word> = words.iter().flat_map(|word| parts(&word.text)).collect();
        let all = beginning(&all);
        let texts: Vec<&str> = all.iter().map(|word| word.text.as_str()).collect();
        let at = At {
            depth: at.depth + 1,
            ..at
        };
        for (place, word) in texts.iter().enumerate() {
            self.note_paths(word, at);
            let before = place.checked_sub(1).map_or("", |before| texts[before]);
            if is_among(BEFORE_NAMES, before) {
                continue;
            }
            if is_among(BEFORE_ANY, before) {
                self.run(&all[place..], None, at);
                return;
            }
            let behind = &texts[place + 1..];
            if let Some(name) = word.strip_prefix("/etc/init.d/") {
                self.known("service", &[&[name], behind].concat(), at);
            }
            // What is assigned to may have any name.
            for part in word.split('=').skip(usize::from(is_assignment(word))) {
                let Some(name) = program(default(part)) else {
                    continue;
                };
                if is_known(name) && (!WORDS.contains(&name) || part != name) {
                    let takes_all = ["killall", "pkill", "skill", "systemctl"].contains(&name);
                    // `find_cmd rpm`: it is named, and told nothing.
                    let is_named = behind.is_empty() && part == *word && is_among(TOLD, part);
                    let at = if is_named { at.mentioned() } else { at };
                    if self.known(name, behind, at) || takes_all {
                        return;
                    }
                } else if is_runner(part) {
                    let mut whole = all[place..].to_vec();
                    whole[0].text = part.to_owned();
                    self.run(&whole, None, at);
                    return;
                }
            }
        }
    }

    /// What a program does that is known; whether it changes something.
    fn known(&mut self, name: &str, arguments: &[&str], at: At) -> bool {
        let is_of_units = ["invoke-rc.d", "rc-service", "service", "systemctl"].contains(&name);
        let found: Vec<_> = match name {
            _ if wrappers::is_elsewhere(name, arguments) => Vec::new(),
            "systemctl" => systemctl(arguments).into_iter().collect(),
            _ if is_of_units => service(arguments).into_iter().collect(),
            _ => changes(name, own(name, arguments)).collect(),
        };
        if is_of_units && !self.is_other && !at.mentioned && at.scope.has(Scope::SERVICES) {
            self.said.units.extend(starts(name, arguments));
        }
        let changes = !found.is_empty();
        for (effect, what) in found {
            let scope = match effect {
                Effect::Packages | Effect::Lists => at.scope.and(wrappers::root(arguments)),
                _ => at.scope,
            };
            self.add(effect, name, what, At { scope, ..at });
        }
        changes
    }

    /// What a variable is given may be run by its name, which is not followed.
    fn assign(&mut self, word: &str, at: At) {
        let Some((name, value)) = word.split_once('=') else {
            return;
        };
        self.give(name, value);
        let parts = parts(value);
        let texts: Vec<&str> = beginning(&parts).iter().map(|word| word.text.as_str()).collect();
        texts.iter().for_each(|word| self.note_paths(word, at));
        self.said.too_long |= word.split('=').count() > MOST_WORDS;
        if let [first, behind @ ..] = &texts[..]
            && let Some(name) = program(default(first)).filter(|name| is_known(name))
        {
            self.known(name, behind, at.mentioned());
        }
    }

    fn add(&mut self, effect: Effect, name: &str, what: String, at: At) {
        self.add_place(effect, what, needs(effect, name), at);
    }

    fn add_place(&mut self, effect: Effect, what: String, needs: Scope, at: At) {
        let place = Place {
            mentioned: at.mentioned,
            line: at.line,
            needs,
        };
        if at.scope.has(needs) {
            self.said.add((effect, what), place);
        }
    }

    /// `text` is what is written, where that is known.
    fn write(&mut self, verb: &str, path: &str, text: Option<&str>, at: At) {
        for path in self.expanded(path) {
            let path = self.absolute(&path);
            if let Some((effect, needs)) = writes::of_file(&path, text) {
                self.add_place(effect, format!("{verb} {path}"), needs, at);
            }
        }
    }

    /// Notes a path that a variable is given.
    fn give(&mut self, name: &str, value: &str) {
        if value.starts_with('/') {
            let values = self.values.entry(name.to_owned()).or_default();
            if values.len() < MOST_VALUES && !values.iter().any(|known| known == value) {
                values.push(value.to_owned());
            }
        }
    }

    /// The paths that one stands for which may begin with a variable: `$FILE`, `${FOLDER}/a`.
    fn expanded(&self, path: &str) -> Vec<String> {
        let values = path.strip_prefix('$').and_then(|rest| {
            let (name, behind) = match rest.strip_prefix('{') {
                Some(rest) => rest.split_once('}')?,
                None => rest.split_at(rest.find('/').unwrap_or(rest.len())),
            };
            let values = self.values.get(name)?.iter();
            Some(values.map(|value| format!("{value}{behind}")).collect())
        });
        values.unwrap_or_else(|| vec![path.to_owned()])
    }

    /// Notes a command that is run by its name or path.
    fn note_command(&mut self, command: &str, at: At) {
        self.note_paths(command, at);
        if command.starts_with('/') {
            self.note_run(command, at);
        } else if program(command) == Some(command) && !is_known(command) && self.follows(at) {
            add_name(&mut self.said.names, command.to_owned(), at.scope);
        }
    }

    /// Notes a script that is run.
    fn note_run(&mut self, path: &str, at: At) {
        if may_be_script(path) && self.follows(at) {
            note(&mut self.said.paths, path, at);
            note(&mut self.said.runs, path, at);
        }
    }

    /// Whether what stands there is run, as far as that is known.
    fn follows(&self, at: At) -> bool {
        at.scope.files && (!at.mentioned || self.is_other)
    }

    fn note_all(&mut self, words: &[Word], at: At) {
        for word in words {
            self.note_paths(&word.text, at);
        }
    }

    /// Notes the paths that a word names.
    fn note_paths(&mut self, word: &str, at: At) {
        if word.contains(|c: char| c.is_ascii_whitespace()) {
            return;
        }
        for part in word.split('=').filter(|part| may_be_script(part)) {
            note(&mut self.said.paths, part, at);
        }
    }
}

fn note(all: &mut Named, path: &str, at: At) {
    if at.scope.files {
        add_name(all, path.to_owned(), at.scope);
    }
}

/// Whether a path may be that of a script.
fn may_be_script(path: &str) -> bool {
    let is_of_kernel = ["/dev/", "/proc/", "/sys/"]
        .iter()
        .any(|folder| path.starts_with(folder));
    // A shell makes a path of it, or several, or none: it is that of no file.
    let is_pattern = path.contains(['%', '$', '*', '?', '~']);
    // What a program does is known by its name.
    path.starts_with('/') && !is_of_kernel && !is_pattern && !program(path).is_some_and(is_known)
}

/// What a path ends in.
fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// What of these commands fetches something from elsewhere.
fn fetcher(commands: &[Command]) -> Option<&'static str> {
    let names = commands.iter().flat_map(|command| &command.words);
    let mut names = names.filter_map(|word| program(&word.text));
    names.find_map(|name| FETCHERS.into_iter().find(|fetcher| *fetcher == name))
}
