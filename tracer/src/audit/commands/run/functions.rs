//! Functions of a shell's text: where they end, and whether they run what they are given. Pure.

use std::ops::Range;

use super::BEFORE_COMMANDS;
use crate::audit::commands::program;
use crate::audit::commands::shell::{Command, Word};
use crate::audit::options::is_among;
use crate::audit::wrappers::{self, With, is_assignment};

/// A function.
pub(super) struct Function {
    pub(super) name: String,
    /// Its commands.
    pub(super) body: Range<usize>,
    /// A variable names a command in it: that may be one of the words that it is given.
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
                runs_words: commands[body.clone()].iter().any(runs_word),
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

/// Whether a variable may name what a command runs.
fn runs_word(command: &Command) -> bool {
    let is_variable = |word: &Word| word.text.contains('$') || word.commands.iter().any(runs_word);
    let is_before = |word: &&Word| is_among(BEFORE_COMMANDS, &word.text) || is_assignment(&word.text);
    let words: Vec<&Word> = command.words.iter().skip_while(is_before).collect();
    let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    let inner = command.words.iter().flat_map(|word| &word.commands);
    let Some(first) = texts.first() else {
        return inner.into_iter().any(runs_word);
    };
    let next = program(first).and_then(|name| wrappers::next(name, &texts));
    first.contains('$')
        || inner.into_iter().any(runs_word)
        || match next.map(|next| next.with) {
            Some(With::Appended(_) | With::Input | With::Code) => true,
            Some(_) => words.into_iter().any(is_variable),
            None => false,
        }
}
