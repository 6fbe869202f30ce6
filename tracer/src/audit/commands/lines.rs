//! The lines of a script that are run on this node: without comments, and without what another node or a container is given.

use super::super::programs::{RUNS_INPUT, SHELLS};
use super::super::wrappers::away;
use super::{Statement, program, statements};

/// A line of a script.
pub(super) struct Line {
    /// Its number, from 1.
    pub(super) line: usize,
    /// What it says, without a comment; what goes on after a backslash is one line.
    pub(super) code: String,
    /// It is text that a command is given (`cat <<END`), and no shell runs it.
    pub(super) is_text: bool,
}

/// The lines of a script; comments are none.
pub(super) fn lines(text: &str) -> Vec<Line> {
    let mut found = Vec::<Line>::new();
    let mut goes_on = false;
    // What ends the text that a command is given, and what becomes of that.
    let mut text_to = None::<(String, Given)>;
    // Another node is given text in such quotes, which go on.
    let mut quote_away = None;
    for (number, line) in (1..).zip(text.lines()) {
        if text_to.as_ref().is_some_and(|(end, _)| line.trim() == end) {
            text_to = None;
            continue;
        }
        if matches!(text_to, Some((_, Given::Away))) {
            continue;
        }
        let line = match quote_away {
            None => line,
            Some(quote) => match line.split_once(quote) {
                Some((_, behind)) => behind,
                None => continue,
            },
        };
        quote_away = None;
        if line.trim_start().starts_with('#') {
            goes_on = false;
            continue;
        }
        let line = without_comment(line);
        quote_away = open_away(line);
        let (part, more) = match line.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
        match found.last_mut().filter(|_| goes_on) {
            Some(whole) => {
                whole.code.push(' ');
                whole.code.push_str(part);
            }
            None => found.push(Line {
                line: number,
                code: part.to_owned(),
                is_text: matches!(text_to, Some((_, Given::Data))),
            }),
        }
        goes_on = more;
        if text_to.is_none() {
            text_to = here(line);
        }
    }
    found
}

/// What becomes of text that a command is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    /// No shell runs it.
    Data,
    /// A shell of this node does.
    Run,
    /// Another node does, or a container.
    Away,
}

/// What ends the text that a line gives to a command (`<<END`), and what becomes of it.
fn here(line: &str) -> Option<(String, Given)> {
    let (_, rest) = line.split_once("<<")?;
    let end = rest.trim_start_matches('-').trim_start();
    let end = end.trim_start_matches(['"', '\'', '\\']);
    let length = end
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(end.len());
    let statements = statements(line);
    let is_away = |statement: &Statement<'_>| away(&statement.words).is_some_and(|away| !away.shares_network);
    let runs = |words: &[&str]| {
        words
            .iter()
            .filter_map(|word| program(word))
            .any(|name| SHELLS.contains(&name) || RUNS_INPUT.contains(&name))
    };
    let given = if statements.iter().any(|one| !is_away(one) && runs(&one.words)) {
        Given::Run
    } else if statements.iter().any(is_away) {
        Given::Away
    } else {
        Given::Data
    };
    // `<<<` gives a word, and `1 << 2` is a number.
    let is_name = end.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    is_name.then(|| (end[..length].to_owned(), given))
}

/// The quote that is open at the end of a line, where what stands in it is run on another node or in a container.
fn open_away(line: &str) -> Option<char> {
    let mut quote = None;
    for (at, c) in line.char_indices() {
        match quote {
            None if c == '"' || c == '\'' => quote = Some((c, at)),
            Some((open, _)) if c == open && !line[..at].ends_with('\\') => quote = None,
            _ => {}
        }
    }
    let statements = statements(line);
    let last = statements.iter().rev().find(|one| one.quoted.is_none())?;
    let shares_network = away(&last.words)?.shares_network;
    let place = last.away(line)?;
    quote
        .filter(|(_, at)| !shares_network && *at > place)
        .map(|(quote, _)| quote)
}

/// A line up to the comment at its end: a `#` that begins a word and is not within quotes.
fn without_comment(line: &str) -> &str {
    let (mut quote, mut before) = (None, ' ');
    for (at, c) in line.char_indices() {
        match quote {
            None if c == '#' && before.is_ascii_whitespace() => return &line[..at],
            None if c == '"' || c == '\'' => quote = Some(c),
            Some(open) if c == open && before != '\\' => quote = None,
            _ => {}
        }
        before = c;
    }
    line
}
