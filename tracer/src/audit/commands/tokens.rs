//! What scripts of other languages than the shell are made of, as far as calls are to be found in them. Pure.

use std::collections::{BTreeMap, BTreeSet};

/// How a script of another language is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    Python,
    Perl,
    Ruby,
    Php,
    JavaScript,
}

impl Syntax {
    /// That of what such an interpreter reads (`python3.11`), where it is known.
    pub(super) fn of(interpreter: &str) -> Option<Self> {
        let name = interpreter.rsplit('/').next().unwrap_or(interpreter);
        let kinds = [
            ("python", Self::Python),
            ("pypy", Self::Python),
            ("perl", Self::Perl),
            ("ruby", Self::Ruby),
            ("php", Self::Php),
            ("node", Self::JavaScript),
        ];
        kinds
            .iter()
            .find(|(begin, _)| name.starts_with(begin))
            .map(|(_, syntax)| *syntax)
    }
}

/// What a script is made of, with its line from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) line: usize,
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// With the module before it: `os.system`; with its sign where it is a variable.
    Name(String),
    Sign(char),
    /// In quotes.
    Text(String),
    /// `qw(a b)`
    Words(Vec<String>),
    /// What a shell is given: in backticks, `qx(…)`, `%x(…)`.
    Command(String),
}

/// All tokens, and the lines that only say something: of comments, and of texts that are no part of anything.
pub(super) fn tokens(text: &str, syntax: Syntax) -> (Vec<Token>, BTreeSet<usize>) {
    let mut lexer = Lexer {
        text: text.chars().collect(),
        at: 0,
        line: 1,
        syntax,
        found: Vec::new(),
        prose: BTreeSet::new(),
        documents: Vec::new(),
        open_to: BTreeMap::new(),
    };
    while lexer.at < lexer.text.len() {
        lexer.step();
    }
    (lexer.found, lexer.prose)
}

struct Lexer {
    text: Vec<char>,
    at: usize,
    line: usize,
    syntax: Syntax,
    found: Vec<Token>,
    prose: BTreeSet<usize>,
    /// What ends the documents that begin on the next line.
    documents: Vec<String>,
    /// To where none of these that was not closed is looked for again.
    open_to: BTreeMap<char, usize>,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.text.get(self.at + ahead).copied()
    }

    fn begins(&self, text: &str) -> bool {
        text.chars()
            .enumerate()
            .all(|(ahead, c)| self.peek(ahead) == Some(c))
    }

    /// Goes on so many signs.
    fn skip(&mut self, signs: usize) {
        let end = (self.at + signs).min(self.text.len());
        self.line += self.text[self.at..end].iter().filter(|c| **c == '\n').count();
        self.at = end;
    }

    fn push(&mut self, line: usize, what: What) {
        self.found.push(Token { line, what });
    }

    fn step(&mut self) {
        let Some(c) = self.peek(0) else { return };
        let is_first = self.at == 0 || self.text[self.at - 1] == '\n';
        let before = self.at.checked_sub(1).map(|before| self.text[before]);
        let has_slashes = matches!(self.syntax, Syntax::Php | Syntax::JavaScript);
        match c {
            '\n' => {
                self.skip(1);
                for end in std::mem::take(&mut self.documents) {
                    self.prose_to(|line| line.trim().trim_end_matches(';') == end);
                }
            }
            // What a manual is made of in Perl and Ruby, and what is behind the end.
            '=' if is_first && self.is_manual() => {
                self.prose_to(|line| line.starts_with("=cut") || line.starts_with("=end"));
            }
            '_' if is_first
                && matches!(self.syntax, Syntax::Perl | Syntax::Ruby)
                && (self.begins("__END__") || self.begins("__DATA__")) =>
            {
                self.prose_to(|_| false)
            }
            // `$#list`, `s#a#b#`
            '#' if self.syntax != Syntax::JavaScript
                && (self.syntax == Syntax::Python
                    || before.is_none_or(|c| c.is_ascii_whitespace() || ";{}),".contains(c))) =>
            {
                self.comment("\n");
            }
            '/' if has_slashes && self.begins("//") => self.comment("\n"),
            '/' if has_slashes && self.begins("/*") => self.comment("*/"),
            '<' if self.begins("<<") && !matches!(self.syntax, Syntax::Python | Syntax::JavaScript) => {
                self.document();
            }
            '"' | '\'' | '`' => self.quoted(c),
            '%' if self.syntax == Syntax::Ruby && self.peek(1) == Some('x') => {
                self.bracketed(2, What::Command)
            }
            c if c.is_ascii_whitespace() => self.skip(1),
            c if c.is_alphanumeric() || "_$@.".contains(c) => self.name(),
            _ => {
                let line = self.line;
                self.skip(1);
                self.push(line, What::Sign(c));
            }
        }
    }

    fn is_manual(&self) -> bool {
        matches!(self.syntax, Syntax::Perl | Syntax::Ruby)
            && self.peek(1).is_some_and(|c| c.is_ascii_alphabetic())
    }

    /// Leaves out lines to one that is such.
    fn prose_to(&mut self, is_last: impl Fn(&str) -> bool) {
        while self.at < self.text.len() {
            let rest = &self.text[self.at..];
            let length = rest.iter().position(|c| *c == '\n').unwrap_or(rest.len());
            let line: String = rest[..length].iter().collect();
            self.prose.insert(self.line);
            self.skip(length + 1);
            if is_last(&line) {
                break;
            }
        }
    }

    fn comment(&mut self, end: &str) {
        let begin = self.line;
        let is_alone = self.found.last().is_none_or(|last| last.line != begin);
        while self.at < self.text.len() && !self.begins(end) {
            self.skip(1);
        }
        if end != "\n" {
            self.skip(end.len());
        }
        self.prose
            .extend((begin..=self.line).filter(|line| is_alone || *line > begin));
    }

    /// `<<EOF`, `<<~'EOF'`, `<<<EOF`: what stands on the next lines is text.
    fn document(&mut self) {
        let line = self.line;
        self.skip(2);
        let mut ahead = 0;
        while self.peek(ahead).is_some_and(|c| "<~-\"'".contains(c)) {
            ahead += 1;
        }
        let rest = self.text[self.at + ahead..].iter();
        let end: String = rest.take_while(|c| c.is_alphanumeric() || **c == '_').collect();
        if end.starts_with(|c: char| c.is_ascii_uppercase() || c == '_') {
            self.skip(ahead + end.chars().count());
            if self.peek(0).is_some_and(|c| "\"'".contains(c)) {
                self.skip(1);
            }
            self.documents.push(end);
        } else {
            self.push(line, What::Sign('<'));
        }
    }

    /// Whether what such a sign opens is known not to be closed.
    fn is_open(&self, sign: char) -> bool {
        self.open_to.get(&sign).is_some_and(|to| self.at < *to)
    }

    fn quoted(&mut self, quote: char) {
        if self.is_open(quote) {
            return self.lone(quote, 0);
        }
        let line = self.line;
        let is_python = self.syntax == Syntax::Python;
        let is_triple = is_python && (1..3).all(|ahead| self.peek(ahead) == Some(quote));
        let quotes = if is_triple { 3 } else { 1 };
        let mut text = String::new();
        let mut ahead = quotes;
        loop {
            let Some(c) = self.peek(ahead) else {
                return self.lone(quote, ahead);
            };
            match c {
                // One that is never closed.
                '\n' if is_python && !is_triple => return self.lone(quote, ahead),
                '\\' => {
                    match self.peek(ahead + 1) {
                        Some('n') => text.push('\n'),
                        Some('\n') | None => {}
                        Some(c) => text.push(c),
                    }
                    ahead += 2;
                }
                c if c == quote && (1..quotes).all(|more| self.peek(ahead + more) == Some(quote)) => break,
                c => {
                    text.push(c);
                    ahead += 1;
                }
            }
        }
        let is_first = self.found.last().is_none_or(|last| last.line != line);
        self.skip(ahead + quotes);
        if is_triple && is_first {
            // What a function is for; also where it is a value, no command has such a form.
            self.prose.extend(line..=self.line);
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

    /// One that is not closed in so many signs.
    fn lone(&mut self, quote: char, ahead: usize) {
        if ahead > 0 {
            self.open_to.insert(quote, self.at + ahead);
        }
        self.push(self.line, What::Sign(quote));
        self.skip(1);
    }

    fn name(&mut self) {
        let line = self.line;
        let rest = &self.text[self.at..];
        let length = (1..rest.len())
            .find(|at| !rest[*at].is_alphanumeric() && !"_.".contains(rest[*at]))
            .unwrap_or(rest.len());
        let name: String = rest[..length].iter().collect();
        let quotes = |c: Option<char>| c.is_some_and(|c| "\"'".contains(c));
        // `f"…"`
        if self.syntax == Syntax::Python
            && name.len() <= 2
            && name.chars().all(|c| "bBfFrRuU".contains(c))
            && quotes(rest.get(length).copied())
        {
            return self.skip(length);
        }
        if self.syntax == Syntax::Perl {
            let words =
                |text: String| What::Words(text.split_ascii_whitespace().map(str::to_owned).collect());
            match name.as_str() {
                "qx" => return self.bracketed(length, What::Command),
                "q" | "qq" => return self.bracketed(length, What::Text),
                "qw" => return self.bracketed(length, words),
                _ => {}
            }
        }
        self.skip(length);
        if name.trim_matches('.').is_empty() {
            self.push(line, What::Sign('.'));
        } else {
            self.push(line, What::Name(name));
        }
    }

    /// What stands in brackets, or between two signs, behind so many.
    fn bracketed(&mut self, before: usize, what: impl Fn(String) -> What) {
        let line = self.line;
        self.skip(before);
        while self.peek(0) == Some(' ') {
            self.skip(1);
        }
        let Some(open) = self
            .peek(0)
            .filter(|c| c.is_ascii_punctuation() && !"=,;>)".contains(*c))
        else {
            return;
        };
        if self.is_open(open) {
            return;
        }
        let close = match open {
            '(' => ')',
            '[' => ']',
            '{' => '}',
            '<' => '>',
            other => other,
        };
        let mut depth = 0_usize;
        let rest = &self.text[self.at + 1..];
        let length = rest.iter().position(|c| {
            let is_end = *c == close && depth == 0;
            match *c {
                c if c == close => depth = depth.saturating_sub(1),
                c if c == open => depth += 1,
                _ => {}
            }
            is_end
        });
        let Some(length) = length else {
            self.open_to.insert(open, self.text.len());
            return;
        };
        let text: String = rest[..length].iter().collect();
        self.skip(length + 2);
        self.push(line, what(text));
    }
}
