//! Functions of a shell's text: where they end, and whether they run what they are given. Pure.

use std::collections::BTreeSet;
use std::ops::Range;

use super::{BEFORE_ANY, BEFORE_COMMANDS};
use crate::audit::commands::parts::beginning;
use crate::audit::commands::program;
use crate::audit::commands::shell::{self, Command, Word};
use crate::audit::options::is_among;
use crate::audit::wrappers::{self, With, is_assignment};

/// So deep commands are looked for behind others; what is deeper may run anything.
const DEEPEST: usize = 16;

/// A function.
pub(super) struct Function {
    pub(super) name: String,
    /// Its commands.
    pub(super) body: Range<usize>,
    /// It may run one of the words that it is given.
    pub(super) runs_words: bool,
}

/// One whose end was not seen yet.
struct Open {
    name: String,
    begin: usize,
    /// So many braces were open before it.
    before: usize,
    has_brace: bool,
}

/// The functions that these commands make.
pub(super) fn functions(commands: &[Command]) -> Vec<Function> {
    let (mut found, mut open) = (Vec::new(), Vec::<Open>::new());
    let mut depth = 0_usize;
    for (at, command) in commands.iter().enumerate() {
        let name = command.defines.as_deref().or_else(|| named(command));
        open.extend(name.map(|name| Open {
            name: name.to_owned(),
            begin: at,
            before: depth,
            has_brace: false,
        }));
        let words = command.words.iter();
        let begin = words.take_while(|word| is_among(BEFORE_COMMANDS, &word.text));
        let count = |sign: &str| begin.clone().filter(|word| word.text == sign).count();
        depth += count("{") + usize::from(named(command).is_some());
        if let Some(last) = open.last_mut() {
            last.has_brace |= depth > last.before;
        }
        depth = depth.saturating_sub(count("}"));
        while let Some(one) = open.pop_if(|one| one.has_brace && depth <= one.before) {
            let body = one.begin..at + 1;
            found.push(Function {
                name: one.name,
                runs_words: runs_words(&commands[body.clone()]),
                body,
            });
        }
    }
    found
}

/// `function NAME {`
fn named(command: &Command) -> Option<&str> {
    match &command.words[..] {
        [first, name, brace, ..] if first.text == "function" && brace.text == "{" => Some(&name.text),
        _ => None,
    }
}

/// Whether these commands run something of what their function is given.
fn runs_words(body: &[Command]) -> bool {
    let given = Given::of(body);
    body.iter().any(|command| given.is_run(&command.words, DEEPEST))
}

/// What a function is given, and variables that have something of it.
struct Given<'a>(BTreeSet<&'a str>);

impl<'a> Given<'a> {
    fn of(body: &'a [Command]) -> Self {
        let mut given = Self(BTreeSet::from(["@", "*"]));
        for command in body {
            let words = command.words.iter().map(|word| word.text.as_str());
            if let Some(at) = words.clone().position(|word| word == "for" || word == "read")
                && (command.words.iter().any(|word| given.is_in(word))
                    || !words.clone().any(|word| word == "in"))
            {
                given
                    .0
                    .extend(words.clone().skip(at + 1).take_while(|word| *word != "in"));
            }
            for word in &command.words {
                if let Some((name, _)) = word.text.split_once('=').filter(|_| is_assignment(&word.text))
                    && given.is_in(word)
                {
                    given.0.insert(name);
                }
            }
        }
        given
    }

    /// Whether a word has something of it.
    fn is_in(&self, word: &Word) -> bool {
        let inner = word.commands.iter().flat_map(|command| &command.words);
        let has = |part: &str| {
            let part = part.trim_start_matches(['{', '!', '#']);
            let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let name = &part[..end.unwrap_or(part.len())];
            part.starts_with(['@', '*', '1', '2', '3', '4', '5', '6', '7', '8', '9']) || self.0.contains(name)
        };
        word.text.split('$').skip(1).any(has) || inner.into_iter().any(|word| self.is_in(word))
    }

    /// Whether one of these words may be what is run, where others are looked at so deep.
    fn is_run(&self, words: &[Word], depth: usize) -> bool {
        let Some(depth) = depth.checked_sub(1) else {
            return true;
        };
        let any = |commands: &[Command]| commands.iter().any(|one| self.is_run(&one.words, depth));
        if words.iter().any(|word| any(&word.commands)) {
            return true;
        }
        let is_before = |word: &&Word| is_among(BEFORE_COMMANDS, &word.text) || is_assignment(&word.text);
        let words = &words[words.iter().take_while(is_before).count()..];
        let texts: Vec<&str> = beginning(words).iter().map(|word| word.text.as_str()).collect();
        let Some(first) = texts.first() else { return false };
        // `$SUDO "$@"`
        if first.contains('$') {
            return words.iter().any(|word| self.is_in(word));
        }
        let is_given = |two: &[Word]| is_among(BEFORE_ANY, &two[0].text) && self.is_in(&two[1]);
        if words.windows(2).any(is_given) {
            return true;
        }
        let Some(next) = program(first).and_then(|name| wrappers::next(name, &texts)) else {
            return false;
        };
        match next.with {
            With::Command(at) => self.is_run(words.get(at..).unwrap_or_default(), depth),
            With::Script(at) => words.get(at).is_some_and(|word| self.is_in(word)),
            With::Text(at) => texts.get(at).is_some_and(|text| any(&shell::commands(text, 1))),
            With::Joined(at) => any(&shell::commands(
                &texts.get(at..).unwrap_or_default().join(" "),
                1,
            )),
            With::Nothing => false,
            With::Appended(_) | With::Input | With::Code => true,
        }
    }
}
