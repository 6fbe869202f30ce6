//! The words of a command that are options, and those that are not. Pure.

/// Whether a word is one of these, which stand in one text.
pub(super) fn is_among(list: &str, word: &str) -> bool {
    list.split_ascii_whitespace().any(|known| known == word)
}

/// Whether a word is an option, or several in one: `-a`, `--all`; a `-` alone stands for the standard input.
pub(super) fn is_option(word: &str) -> bool {
    word.len() > 1 && word.starts_with('-')
}

/// The places of the words that are neither options nor their values. `valued` are the options whose value is the next
/// word. Behind `--` none is an option.
pub(super) fn operands<'a>(words: &'a [&str], valued: &'a str) -> impl Iterator<Item = usize> + 'a {
    let (mut is_value, mut are_over) = (false, false);
    words.iter().enumerate().filter_map(move |(at, word)| {
        if std::mem::take(&mut is_value) {
            return None;
        }
        if are_over || !is_option(word) {
            return Some(at);
        }
        are_over = *word == "--";
        is_value = takes_next(word, valued);
        None
    })
}

/// Whether the word behind an option is its value: that of the last of several (`-lc`), but not of one that has it already
/// (`-n5`).
fn takes_next(word: &str, valued: &str) -> bool {
    if word.starts_with("--") || is_among(valued, word) {
        return is_among(valued, word);
    }
    let mut letters = word.chars().skip(1);
    let is_valued = |letter: char| is_among(valued, &format!("-{letter}"));
    letters.find(|letter| is_valued(*letter)).is_some() && letters.next().is_none()
}

/// Whether such a letter is among these options, before one that has a value: `-lc` has `c`.
pub(super) fn has_letter(word: &str, letter: char, valued: &str) -> bool {
    !word.starts_with("--")
        && is_option(word)
        && word
            .chars()
            .skip(1)
            .scan(true, |goes_on, one| {
                let is_looked_at = *goes_on;
                *goes_on = !is_among(valued, &format!("-{one}"));
                is_looked_at.then_some(one)
            })
            .any(|one| one == letter)
}

/// The value of an option of one of these names: `-H x`, `-Hx`, `--host x`, `--host=x`.
pub(super) fn value<'a>(words: &[&'a str], names: &str) -> Option<&'a str> {
    words.iter().enumerate().find_map(|(at, word)| {
        if is_among(names, word) {
            return words.get(at + 1).copied();
        }
        let mut names = names.split_ascii_whitespace();
        names.find_map(|name| {
            let rest = word.strip_prefix(name)?;
            if name.starts_with("--") {
                rest.strip_prefix('=')
            } else {
                Some(rest)
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_what_is_none() {
        let found = |line: &str, valued: &str| {
            let words: Vec<_> = line.split(' ').collect();
            let places: Vec<_> = operands(&words, valued).collect();
            places
                .into_iter()
                .map(|at| words[at].to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(found("-n 5 -v a -b", "-n"), ["a"]);
        assert_eq!(found("-n5 a", "-n"), ["a"]);
        assert_eq!(found("-vn 5 a", "-n"), ["a"]);
        assert_eq!(found("--name x --name=y a -- -z", "--name"), ["a", "-z"]);
        assert_eq!(found("-name x a", "-name"), ["a"]);
        assert_eq!(found("- a", ""), ["-", "a"]);
        assert!(has_letter("-lc", 'c', "") && !has_letter("-uc", 'c', "-u") && !has_letter("--c", 'c', ""));
        for line in ["-H x", "-Hx", "--host x", "--host=x", "a --host=x"] {
            let words: Vec<_> = line.split(' ').collect();
            assert_eq!(value(&words, "-H --host"), Some("x"), "{line}");
        }
        assert_eq!(value(&["--hostile"], "-H --host"), None);
    }
}
