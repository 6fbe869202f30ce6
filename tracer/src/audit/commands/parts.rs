//! The words of a text that are looked at, where it may be a command or may be none. Pure.

use super::MOST_WORDS;
use super::shell::Word;

/// What lies between words that a program may read as a command.
const BETWEEN: &str = "\"'[],<>;|&()`";

/// The words of a command that are looked at.
pub(super) fn beginning(words: &[Word]) -> &[Word] {
    let mut parts = 0;
    let fits = |word: &&Word| {
        parts += word.text.split('=').count();
        parts <= MOST_WORDS
    };
    &words[..words.iter().take_while(fits).count()]
}

/// The words in a text that may be read as a command, or may not.
pub(super) fn parts(text: &str) -> Vec<Word> {
    let words = text.split(|c: char| c.is_ascii_whitespace() || BETWEEN.contains(c));
    words
        .filter(|word| !word.is_empty())
        .map(|word| Word {
            text: word.to_owned(),
            ..Word::default()
        })
        .collect()
}

/// A line up to the comment at its end: a `#` that begins a word and is not within quotes.
pub(super) fn without_comment(line: &str) -> &str {
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
