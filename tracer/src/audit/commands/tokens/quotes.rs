//! What stands in quotes, in whatever signs a language takes for them. Pure.

use std::collections::BTreeMap;

use super::{Lexer, Syntax, What, is_value};

/// So deep texts are looked for in the code within others.
const DEEPEST: usize = 8;
/// What is looked for where the code within a text ends.
const CODE: char = '}';
/// Signs that quote nothing behind the name of what quotes: it is something else there.
const NO_QUOTES: &str = "=;>)]}$@_\\.&*";

impl Lexer {
    /// Whether what such a sign opens is known not to be closed.
    fn is_open(&self, sign: char, at: usize) -> bool {
        self.open_to.get(&sign).is_some_and(|to| at < *to)
    }

    pub(super) fn quoted(&mut self, quote: char) {
        let line = self.line;
        let is_triple = self.syntax == Syntax::Python && (1..3).all(|ahead| self.peek(ahead) == Some(quote));
        let quotes = if is_triple { 3 } else { 1 };
        let begin = self.at + quotes;
        let Some(end) = self.end_of_text(begin, quote, quotes, 0) else {
            return self.sign(quote);
        };
        let text = unescaped(&self.text[begin..end]);
        let is_first = self.found.last().is_none_or(|last| last.line != line);
        if is_triple && is_first {
            // What a function is for; also where it is a value, no command has such a form.
            self.blank_to(end + quotes);
        } else {
            self.skip(end + quotes - self.at);
        }
        let is_command = quote == '`' && matches!(self.syntax, Syntax::Perl | Syntax::Ruby | Syntax::Php);
        self.push(
            line,
            if is_command {
                What::Command(text)
            } else {
                What::Text(text)
            },
        );
    }

    /// Where a text ends that begins there: with so many of that quote.
    fn end_of_text(&mut self, begin: usize, quote: char, quotes: usize, depth: usize) -> Option<usize> {
        if self.is_open(quote, begin) {
            return None;
        }
        let is_of_line = match self.syntax {
            Syntax::Python => quotes == 1,
            Syntax::JavaScript => quote != '`',
            Syntax::Perl | Syntax::Ruby | Syntax::Php => false,
        };
        // What begins code in it, which may have texts of its own.
        let code = match (self.syntax, quote) {
            (Syntax::JavaScript, '`') => "${",
            (Syntax::Ruby, '"' | '`') => "#{",
            (Syntax::Php, '"' | '`') => "{$",
            _ => "",
        };
        let mut at = begin;
        while let Some(c) = self.text.get(at).copied() {
            let is_code = !code.is_empty() && depth < DEEPEST && self.begins_at(at, code);
            at = match c {
                '\n' if is_of_line => break,
                '\\' => at + 2,
                c if c == quote && (1..quotes).all(|more| self.text.get(at + more) == Some(&quote)) => {
                    return Some(at);
                }
                _ if is_code => self.end_of_code(at + 1, depth + 1).map_or(at + 2, |end| end + 1),
                _ => at + 1,
            };
        }
        self.open_to.insert(quote, at);
        None
    }

    /// Where the code ends that stands within a text there.
    fn end_of_code(&mut self, begin: usize, depth: usize) -> Option<usize> {
        if self.is_open(CODE, begin) {
            return None;
        }
        let (mut at, mut open) = (begin, 1_usize);
        while let Some(c) = self.text.get(at).copied() {
            match c {
                // The one that begins it counts already.
                '{' if at > begin => open += 1,
                '}' => open -= 1,
                '"' | '\'' | '`' => at = self.end_of_text(at + 1, c, 1, depth).unwrap_or(at),
                _ => {}
            }
            if open == 0 {
                return Some(at);
            }
            at += 1;
        }
        self.open_to.insert(CODE, at);
        None
    }

    /// What a word of Perl quotes: `q(a)`, `m{a}`, `s/a/b/`; whether it is one.
    pub(super) fn quoted_by(&mut self, name: &str) -> bool {
        let is_name = match self.before(1) {
            // `%s`, `-s $file`
            Some('%' | '-' | '#') => true,
            Some('&') => self.before(2) != Some('&'),
            Some('>') => self.before(2) == Some('-'),
            Some(':') => self.before(2) == Some(':'),
            _ => matches!(self.found.last().map(|last| &last.what), Some(What::Name(name)) if name == "sub"),
        };
        let behind = self.at + name.len();
        if is_name || self.begins_at(behind, "::") {
            return false;
        }
        match name {
            "q" | "qq" => self.bracketed(behind, What::Text),
            "qx" => self.bracketed(behind, What::Command),
            "qw" => self.bracketed(behind, words),
            "m" | "qr" => {
                let end = self.delimited(behind).map(|(_, end)| end);
                self.leave_out(end)
            }
            "s" | "tr" | "y" => {
                let end = self.delimited(behind).and_then(|(begin, end)| {
                    let open = self.text[begin - 1];
                    match close_of(open) {
                        close if close == open => self.closed(open, end + 1),
                        _ => self.delimited(end + 1).map(|(_, end)| end),
                    }
                });
                self.leave_out(end)
            }
            _ => false,
        }
    }

    /// `%x(…)`, `%w[…]` of Ruby.
    pub(super) fn percent(&mut self) {
        let kind = self.peek(1).filter(|c| c.is_ascii_alphabetic());
        let behind = self.at + 1 + usize::from(kind.is_some());
        let has_sign = self.text.get(behind).is_some_and(|c| c.is_ascii_punctuation());
        let is_quoted = has_sign
            && match kind {
                None | Some('q' | 'Q') => self.bracketed(behind, What::Text),
                Some('x') => self.bracketed(behind, What::Command),
                Some('w' | 'W' | 'i' | 'I') => self.bracketed(behind, words),
                Some('r' | 's') => {
                    let end = self.delimited(behind).map(|(_, end)| end);
                    self.leave_out(end)
                }
                _ => false,
            };
        if !is_quoted {
            self.sign('%');
        }
    }

    /// `/…/`: in JavaScript, and behind what may be a value, it ends on its line.
    pub(super) fn pattern(&mut self) {
        let last = self.found.last().map(|last| &last.what);
        let may_have_lines =
            self.syntax != Syntax::JavaScript && matches!(last, Some(What::Sign('~' | '(' | '{')));
        let mut end = None;
        let (mut at, mut is_class) = (self.at + 1, false);
        if self.is_open('/', self.at) {
            return self.sign('/');
        }
        while let Some(c) = self.text.get(at) {
            match c {
                '\n' if !may_have_lines => break,
                '\\' => at += 1,
                // Of the others a class has no part in where it ends.
                '[' if self.syntax == Syntax::JavaScript => is_class = true,
                ']' => is_class = false,
                '/' if !is_class => {
                    end = Some(at);
                    break;
                }
                _ => {}
            }
            at += 1;
        }
        if end.is_none() {
            self.open_to.insert('/', at);
        }
        if !self.leave_out(end) {
            self.sign('/');
        }
    }

    /// Leaves out a pattern that ends there.
    fn leave_out(&mut self, end: Option<usize>) -> bool {
        let Some(end) = end else { return false };
        self.push(self.line, What::Sign('/'));
        self.blank_to(end + 1);
        true
    }

    /// Takes what stands in brackets, or between two signs, there.
    fn bracketed(&mut self, at: usize, what: impl Fn(String) -> What) -> bool {
        let Some((begin, end)) = self.delimited(at) else {
            return false;
        };
        self.push(self.line, what(self.text[begin..end].iter().collect()));
        self.skip(end + 1 - self.at);
        true
    }

    /// Where what stands in brackets, or between two signs, begins and ends.
    fn delimited(&mut self, at: usize) -> Option<(usize, usize)> {
        let rest = self.text.get(at..)?.iter();
        let blanks = rest.take_while(|c| c.is_ascii_whitespace()).count();
        let begin = at + blanks + 1;
        let open = *self.text.get(begin - 1)?;
        let is_quote = match open {
            // Behind a blank it begins a comment.
            '#' => blanks == 0,
            // `$x =~ m,it's,`
            ',' => blanks == 0 && matches!(self.found.last().map(|last| &last.what), Some(What::Sign('~'))),
            open => open.is_ascii_punctuation() && !NO_QUOTES.contains(open),
        };
        let end = is_quote.then(|| self.closed(open, begin))??;
        Some((begin, end))
    }

    /// Where that is closed which such a sign opens.
    fn closed(&mut self, open: char, begin: usize) -> Option<usize> {
        if self.is_open(open, begin) {
            return None;
        }
        let close = close_of(open);
        let (mut at, mut depth) = (begin, 0_usize);
        while let Some(c) = self.text.get(at).copied() {
            match c {
                '\\' => at += 1,
                c if c == close && depth == 0 => return Some(at),
                c if c == close => depth -= 1,
                c if c == open => depth += 1,
                _ => {}
            }
            at += 1;
        }
        self.open_to.insert(open, at);
        None
    }

    /// `<<EOF`, `<<~'EOF'`, `<<<EOF`: what stands on the next lines is a text. Where no line ends it, it is none but a shift
    /// (`1<<NAME`).
    pub(super) fn document(&mut self) -> bool {
        let signs = match self.syntax {
            Syntax::Perl | Syntax::Ruby => "<<",
            Syntax::Php => "<<<",
            Syntax::Python | Syntax::JavaScript => return false,
        };
        if !self.begins(signs) || self.is_shift() {
            return false;
        }
        let mut at = self.at + signs.len();
        let skips = |c: &char| match self.syntax {
            Syntax::Php => *c == ' ',
            _ => "~-".contains(*c),
        };
        at += self.text[at..].iter().take_while(|c| skips(c)).count();
        let quote = self.text.get(at).copied().filter(|c| "\"'`".contains(*c));
        at += usize::from(quote.is_some());
        let rest = self.text[at..].iter();
        let end: String = match quote {
            Some(quote) => rest.take_while(|c| **c != quote && **c != '\n').collect(),
            None => rest.take_while(|c| c.is_alphanumeric() || **c == '_').collect(),
        };
        let is_end =
            |c: char| quote.is_some() || c.is_ascii_uppercase() || c == '_' || self.syntax == Syntax::Php;
        if !end.starts_with(is_end) {
            return false;
        }
        let begin = self.documents_to.unwrap_or_else(|| self.line_behind(at));
        let Some(last) = self.line_of(&end, begin) else {
            return false;
        };
        // Its lines follow this one.
        let text: String = ['\n'].iter().chain(&self.text[begin..last]).collect();
        // Code may follow the end in PHP.
        let indent = self.text[last..]
            .iter()
            .take_while(|c| c.is_ascii_whitespace())
            .count();
        self.documents_to = Some(match self.syntax {
            Syntax::Php => last + indent + end.chars().count(),
            _ => self.line_behind(last),
        });
        self.skip(at + end.chars().count() + usize::from(quote.is_some()) - self.at);
        self.push(
            self.line,
            if quote == Some('`') {
                What::Command(text)
            } else {
                What::Text(text)
            },
        );
        true
    }

    /// Whether `<<` stands behind a number that it shifts.
    fn is_shift(&self) -> bool {
        let mut last = self.found.iter().rev().map(|token| &token.what);
        match last.next() {
            Some(What::Sign(')' | ']')) => true,
            // `print $file <<EOF`
            Some(What::Name(name)) if is_value(name) => {
                !matches!(last.next(), Some(What::Name(name)) if ["print", "printf", "say"].contains(&name.as_str()))
            }
            _ => false,
        }
    }

    /// Where the next line begins.
    fn line_behind(&self, at: usize) -> usize {
        let next = self.lines.partition_point(|begin| *begin <= at);
        self.lines.get(next).copied().unwrap_or(self.text.len())
    }

    /// Where the line begins that ends such a document which begins there.
    fn line_of(&mut self, end: &str, begin: usize) -> Option<usize> {
        let ends = self.ends.get_or_insert_with(|| {
            let mut ends = BTreeMap::<_, Vec<_>>::new();
            let mut at = 0;
            for line in self.text.split(|c| *c == '\n') {
                let text: String = line.iter().collect();
                let text = text.trim();
                let length = match self.syntax {
                    Syntax::Php => text.find(|c: char| !c.is_alphanumeric() && c != '_'),
                    _ => None,
                };
                ends.entry(text[..length.unwrap_or(text.len())].to_owned())
                    .or_default()
                    .push(at);
                at += line.len() + 1;
            }
            ends
        });
        let lines = ends.get(end)?;
        lines.get(lines.partition_point(|at| *at < begin)).copied()
    }
}

/// What closes such a sign.
fn close_of(open: char) -> char {
    match open {
        '(' => ')',
        '[' => ']',
        '{' => '}',
        '<' => '>',
        other => other,
    }
}

fn words(text: String) -> What {
    What::Words(text.split_ascii_whitespace().map(str::to_owned).collect())
}

/// A text without its backslashes.
fn unescaped(quoted: &[char]) -> String {
    let mut text = String::new();
    let mut rest = quoted.iter();
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                Some('n') => text.push('\n'),
                Some('\n') | None => {}
                Some(c) => text.push(*c),
            },
            c => text.push(*c),
        }
    }
    text
}
