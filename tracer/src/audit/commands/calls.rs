//! Calls in scripts of other languages than the shell that run a command, where it stands there as text. Pure.
//!
//! Only what is written out is known: what a function is given, or reads, is not.

use std::collections::{BTreeMap, BTreeSet};

use super::tokens::{Syntax, Token, Tokens, What, tokens};

/// A command that is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Runs {
    /// A shell reads that text.
    Text(String),
    /// A program and its arguments.
    Words(Vec<String>),
}

/// What a script runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Calls {
    /// Commands, each with its line.
    pub(super) commands: Vec<(usize, Runs)>,
    /// Lines of calls, also of those whose command is not known.
    pub(super) lines: BTreeSet<usize>,
    /// What stands on each line but texts and comments.
    pub(super) bare: BTreeMap<usize, String>,
    /// The script without what it only says.
    pub(super) code: String,
}

/// What is looked at of a call or a value, at most.
const MOST: usize = 512;
/// Values that are kept of one variable, at most.
const MOST_VALUES: usize = 16;
/// Modules of Python and Node whose `run` and `exec` run a program; those of others mean something else.
const MODULES: [&str; 7] = [
    "",
    "child",
    "child_process",
    "childProcess",
    "cp",
    "sp",
    "subprocess",
];
/// Functions that a text is given: what stands behind it is no argument of the command.
const TAKES_TEXT: [&str; 9] = [
    "create_subprocess_shell",
    "exec",
    "execSync",
    "getoutput",
    "getstatusoutput",
    "passthru",
    "popen",
    "shell_exec",
    "system",
];
/// What says that a function is made here, and not called.
const DEFINES: [&str; 4] = ["class", "def", "function", "sub"];
/// What ends a call without brackets.
const ENDS: [&str; 8] = ["and", "die", "do", "else", "if", "or", "then", "unless"];

/// Finds the calls of a script.
pub(super) fn read(text: &str, syntax: Syntax) -> Calls {
    let Tokens { all: tokens, code } = tokens(text, syntax);
    let values = values(&tokens);
    let mut calls = Calls {
        code,
        ..Calls::default()
    };
    for (at, token) in tokens.iter().enumerate() {
        let bare = calls.bare.entry(token.line).or_default();
        match &token.what {
            What::Name(name) => *bare += &format!(" {name}"),
            What::Sign(sign) => bare.push(*sign),
            _ => {}
        }
        if let What::Command(text) = &token.what {
            calls.lines.insert(token.line);
            calls.commands.push((token.line, Runs::Text(text.clone())));
            continue;
        }
        let What::Name(name) = &token.what else { continue };
        let before = at.checked_sub(1).map(|before| &tokens[before].what);
        // `require("child_process").exec(…)`
        let is_module =
            at >= 2 && matches!(&tokens[at - 2].what, What::Text(text) if text.ends_with("child_process"));
        let name = name.strip_prefix('.').filter(|_| is_module).unwrap_or(name);
        // `$x->system(…)` and `X::system(…)` are something else.
        let is_other = match before {
            Some(What::Name(before)) => DEFINES.contains(&before.as_str()),
            Some(What::Sign('>' | ':')) => matches!(syntax, Syntax::Perl | Syntax::Php),
            _ => false,
        };
        if is_other || !is_call(name, syntax) {
            continue;
        }
        let is_open = syntax == Syntax::Perl && name == "open";
        let Some(given) = arguments(beginning(&tokens[at + 1..]), token.line, syntax, is_open) else {
            continue;
        };
        if !is_open {
            calls.lines.extend(token.line..=given.last);
        }
        let commands = match given.first {
            First::Known(runs) if is_open => of_pipe(runs).into_iter().collect(),
            _ if is_open => Vec::new(),
            // What is behind the text is for the call.
            First::Known(Runs::Words(words))
                if TAKES_TEXT.contains(&last_part(name))
                    && syntax != Syntax::Perl
                    && syntax != Syntax::Ruby =>
            {
                words.into_iter().take(1).map(Runs::Text).collect()
            }
            First::Known(runs) => vec![runs],
            First::Named(name) => values.get(&name).cloned().unwrap_or_default(),
            First::Unknown => Vec::new(),
        };
        if is_open && !commands.is_empty() {
            calls.lines.extend(token.line..=given.last);
        }
        calls
            .commands
            .extend(commands.into_iter().map(|runs| (token.line, runs)));
    }
    calls
}

/// `system` of `os.system`
fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

fn beginning(tokens: &[Token]) -> &[Token] {
    &tokens[..tokens.len().min(MOST)]
}

/// Whether a function of that name runs a program.
fn is_call(name: &str, syntax: Syntax) -> bool {
    let (module, name) = match name.rsplit_once('.') {
        // `x().run`
        Some(("", name)) => (".", name),
        Some(both) => both,
        None => ("", name),
    };
    let is_of_module = MODULES.contains(&module);
    match syntax {
        Syntax::Python => match name {
            "run" | "call" => is_of_module,
            "system"
            | "popen"
            | "Popen"
            | "check_call"
            | "check_output"
            | "getoutput"
            | "getstatusoutput"
            | "create_subprocess_exec"
            | "create_subprocess_shell" => true,
            _ => ["execl", "execv", "spawn"]
                .iter()
                .any(|begin| name.starts_with(begin)),
        },
        Syntax::Perl => ["system", "exec", "open", "readpipe"].contains(&name),
        Syntax::Ruby => [
            "system",
            "exec",
            "spawn",
            "popen",
            "popen3",
            "capture2",
            "capture2e",
            "capture3",
        ]
        .contains(&name),
        Syntax::Php => ["system", "exec", "shell_exec", "passthru", "proc_open", "popen"].contains(&name),
        Syntax::JavaScript => {
            is_of_module
                && [
                    "exec",
                    "execSync",
                    "execFile",
                    "execFileSync",
                    "spawn",
                    "spawnSync",
                ]
                .contains(&name)
        }
    }
}

/// The first argument of a call.
enum First {
    Known(Runs),
    /// A variable.
    Named(String),
    Unknown,
}

struct Given {
    first: First,
    /// The line that it ends on.
    last: usize,
}

/// What stands behind the name of a function; nothing where that is not called there.
fn arguments(tokens: &[Token], line: usize, syntax: Syntax, is_open: bool) -> Option<Given> {
    let has_brackets = matches!(tokens.first()?.what, What::Sign('('));
    let may_have_none = matches!(syntax, Syntax::Perl | Syntax::Ruby);
    let has_text = matches!(tokens.first()?.what, What::Text(_) | What::Words(_));
    if !(has_brackets || may_have_none && has_text) {
        return None;
    }
    let mut read = Reading {
        is_open,
        ..Reading::default()
    };
    for (at, token) in tokens.iter().enumerate() {
        let is_over = match &token.what {
            _ if !has_brackets && token.line != line => true,
            What::Name(name) => !has_brackets && ENDS.contains(&name.as_str()),
            What::Sign(sign) => !has_brackets && [';', '|', '&', '}'].contains(sign),
            _ => false,
        };
        if is_over {
            break;
        }
        let next = tokens.get(at + 1).map(|next| &next.what);
        if !read.take(&token.what, next) || has_brackets && read.depth == 0 {
            break;
        }
    }
    let mut depth = 0_usize;
    let end = tokens.iter().find(|token| {
        match token.what {
            What::Sign('(') => depth += 1,
            What::Sign(')') => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0
    });
    Some(Given {
        first: read.done(),
        last: end.map_or(line, |end| end.line),
    })
}

/// What was read of the arguments of a call, or of a value.
#[derive(Default)]
struct Reading {
    words: Vec<String>,
    variable: Option<String>,
    is_list: bool,
    depth: usize,
    /// The next word is another one.
    is_new: bool,
    is_unknown: bool,
    /// The first argument is what is opened.
    is_open: bool,
}

impl Reading {
    /// Takes one more; whether there may be more of the command.
    fn take(&mut self, what: &What, next: Option<&What>) -> bool {
        match what {
            What::Text(text) => match self.words.last_mut() {
                Some(last) if !self.is_new => last.push_str(text),
                _ => {
                    self.words.push(text.clone());
                    self.is_new = false;
                }
            },
            What::Words(words) => {
                self.is_list = true;
                self.words.extend(words.iter().cloned());
            }
            // Options of the call.
            What::Name(_) if matches!(next, Some(What::Sign('=' | ':'))) => return false,
            What::Name(name) if name == "function" || ENDS.contains(&name.as_str()) => return false,
            // `shlex.split("…")`, `"…".split()`, `os.P_WAIT`
            What::Name(name)
                if name.starts_with('.') || name.ends_with("split") || last_part(name).starts_with("P_") => {}
            What::Name(_) if self.is_open && self.words.is_empty() => {}
            What::Name(name) if self.words.is_empty() => match self.variable {
                None => self.variable = Some(name.clone()),
                // `f(a, b)`
                Some(_) => self.is_unknown = true,
            },
            What::Name(name) => {
                let word = format!("${}", name.trim_start_matches('$'));
                match self.words.last_mut() {
                    Some(last) if !self.is_new => last.push_str(&word),
                    _ => self.words.push(word),
                }
                self.is_new = false;
            }
            What::Sign('(') => self.depth += 1,
            What::Sign('[') => {
                self.depth += 1;
                self.is_list |= self.words.is_empty();
            }
            What::Sign(')' | ']') => {
                self.depth = self.depth.saturating_sub(1);
                // What is behind the list is for the call.
                return !(self.is_list && self.depth == 1);
            }
            What::Sign(',') if self.variable.is_some() => return false,
            What::Sign(',') => {
                self.is_new = true;
                self.is_list |= !self.words.is_empty();
            }
            What::Sign('{' | '=' | ';') => return false,
            What::Sign(_) | What::Command(_) => {}
        }
        true
    }

    fn done(self) -> First {
        match (self.words.len(), self.variable) {
            _ if self.is_unknown => First::Unknown,
            (0, Some(variable)) => First::Named(variable),
            // A call of something that is not known makes the command.
            (0, None) | (_, Some(_)) => First::Unknown,
            (1, None) if !self.is_list || self.words[0].contains(' ') => {
                First::Known(Runs::Text(self.words.into_iter().collect()))
            }
            (_, None) => First::Known(Runs::Words(self.words)),
        }
    }
}

/// What `open` runs: `open(my $pipe, "-|", "ls -l")`, `open(P, "ls -l |")`.
fn of_pipe(given: Runs) -> Option<Runs> {
    match given {
        Runs::Text(text) => {
            let trimmed = text.trim();
            let command = trimmed.strip_suffix('|').or_else(|| trimmed.strip_prefix('|'))?;
            Some(Runs::Text(command.to_owned()))
        }
        Runs::Words(words) => match &words[..] {
            [how, text] if ["-|", "|-"].contains(&how.as_str()) => Some(Runs::Text(text.clone())),
            [how, words @ ..] if ["-|", "|-"].contains(&how.as_str()) => Some(Runs::Words(words.to_vec())),
            _ => None,
        },
    }
}

/// The texts and lists of texts that variables are given.
fn values(tokens: &[Token]) -> BTreeMap<String, Vec<Runs>> {
    let mut values = BTreeMap::<_, Vec<_>>::new();
    for (at, two) in tokens.windows(2).enumerate() {
        let [What::Name(name), What::Sign('=')] = [&two[0].what, &two[1].what] else {
            continue;
        };
        let mut read = Reading::default();
        let line = two[1].line;
        let rest = beginning(&tokens[at + 2..]);
        for (at, token) in rest.iter().enumerate() {
            let is_over = read.depth == 0 && token.line != line;
            let next = rest.get(at + 1).map(|next| &next.what);
            if is_over || !read.take(&token.what, next) || read.is_list && read.depth == 0 {
                break;
            }
        }
        if let First::Known(runs) = read.done() {
            let known = values.entry(name.clone()).or_default();
            if known.len() < MOST_VALUES {
                known.push(runs);
            }
        }
    }
    values
}

#[cfg(test)]
mod tests;
