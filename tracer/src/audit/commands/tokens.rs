//! What scripts of other languages than the shell are made of, as far as calls are to be found in them. Pure.

mod quotes;

use std::collections::BTreeMap;

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

/// What stands in a script, and what of it is code.
pub(super) struct Tokens {
    /// All of them.
    pub(super) all: Vec<Token>,
    /// The script, blanks where it only says something: comments, patterns, and texts that are no part of anything.
    pub(super) code: String,
}

/// Takes a script apart.
pub(super) fn tokens(text: &str, syntax: Syntax) -> Tokens {
    let text: Vec<char> = text.chars().collect();
    let breaks = (1..).zip(&text).filter(|(_, c)| **c == '\n');
    let mut lexer = Lexer {
        lines: breaks.map(|(behind, _)| behind).collect(),
        code: text.clone(),
        text,
        at: 0,
        line: 1,
        syntax,
        found: Vec::new(),
        documents_to: None,
        ends: None,
        open_to: BTreeMap::new(),
    };
    if lexer.begins("#!") {
        lexer.comment("\n");
    }
    if syntax == Syntax::Php {
        lexer.page();
    }
    while lexer.at < lexer.text.len() {
        lexer.step();
    }
    Tokens {
        all: lexer.found,
        code: lexer.code.into_iter().collect(),
    }
}

struct Lexer {
    text: Vec<char>,
    /// The text that remains of it.
    code: Vec<char>,
    /// Where its lines begin but the first.
    lines: Vec<usize>,
    at: usize,
    line: usize,
    syntax: Syntax,
    found: Vec<Token>,
    /// Where the documents end that begin on the next line.
    documents_to: Option<usize>,
    /// Lines that may end a document, each with where they begin.
    ends: Option<BTreeMap<String, Vec<usize>>>,
    /// To where none of these that was not closed is looked for again.
    open_to: BTreeMap<char, usize>,
}

/// Words behind which a value stands, and no operator: what begins with `/` there is a pattern.
const BEFORE_VALUES: [&str; 36] = [
    "and",
    "await",
    "case",
    "cmp",
    "delete",
    "do",
    "else",
    "elsif",
    "eq",
    "grep",
    "if",
    "in",
    "instanceof",
    "join",
    "map",
    "ne",
    "new",
    "not",
    "of",
    "or",
    "print",
    "push",
    "puts",
    "return",
    "split",
    "then",
    "throw",
    "typeof",
    "unless",
    "unshift",
    "until",
    "void",
    "when",
    "while",
    "xor",
    "yield",
];

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.text.get(self.at + ahead).copied()
    }

    fn begins(&self, text: &str) -> bool {
        self.begins_at(self.at, text)
    }

    fn begins_at(&self, at: usize, text: &str) -> bool {
        (at..)
            .zip(text.chars())
            .all(|(at, c)| self.text.get(at) == Some(&c))
    }

    /// What stands so far before.
    fn before(&self, signs: usize) -> Option<char> {
        self.at.checked_sub(signs).map(|at| self.text[at])
    }

    /// Goes on so many signs.
    fn skip(&mut self, signs: usize) {
        let end = (self.at + signs).min(self.text.len());
        self.line += self.text[self.at..end].iter().filter(|c| **c == '\n').count();
        self.at = end;
    }

    /// Goes on to there: what lies between only says something.
    fn blank_to(&mut self, end: usize) {
        let end = end.clamp(self.at, self.text.len());
        for c in self.code[self.at..end].iter_mut().filter(|c| **c != '\n') {
            *c = ' ';
        }
        self.skip(end - self.at);
    }

    fn push(&mut self, line: usize, what: What) {
        self.found.push(Token { line, what });
    }

    fn sign(&mut self, sign: char) {
        self.push(self.line, What::Sign(sign));
        self.skip(1);
    }

    fn step(&mut self) {
        let Some(c) = self.peek(0) else { return };
        let is_first = self.before(1).is_none_or(|c| c == '\n');
        let has_slashes = matches!(self.syntax, Syntax::Php | Syntax::JavaScript);
        let is_perl = matches!(self.syntax, Syntax::Perl | Syntax::Ruby);
        match c {
            '\n' => {
                self.skip(1);
                if let Some(end) = self.documents_to.take() {
                    self.blank_to(end);
                }
            }
            // What a manual is made of in Perl and Ruby, and what is behind the end.
            '=' if is_first && is_perl && self.peek(1).is_some_and(|c| c.is_ascii_alphabetic()) => {
                self.manual();
            }
            '_' if is_first && is_perl && (self.begins("__END__") || self.begins("__DATA__")) => {
                self.blank_to(self.text.len());
            }
            '#' if self.is_comment() => self.comment("\n"),
            '/' if has_slashes && self.begins("//") => self.comment("\n"),
            '/' if has_slashes && self.begins("/*") => self.comment("*/"),
            // `$x // $y`
            '/' if self.syntax == Syntax::Perl && self.begins("//") => self.skip(2),
            '/' if (is_perl || self.syntax == Syntax::JavaScript) && !self.is_behind_value() => {
                self.pattern();
            }
            '?' if self.syntax == Syntax::Php && self.begins("?>") => {
                // It ends a statement.
                self.push(self.line, What::Sign(';'));
                self.page();
            }
            '<' if self.begins("<<") && self.document() => {}
            '%' if self.syntax == Syntax::Ruby && !self.is_behind_value() => self.percent(),
            // Variables of the language itself: `$'`, `$/`.
            '$' if is_perl && self.peek(1).is_some_and(|c| "'\"`/&;,\\!?|<>".contains(c)) => {
                let name = self.text[self.at..self.at + 2].iter().collect();
                self.push(self.line, What::Name(name));
                self.skip(2);
            }
            '"' | '\'' | '`' => self.quoted(c),
            c if c.is_ascii_whitespace() => self.skip(1),
            '.' if matches!(self.syntax, Syntax::Perl | Syntax::Php) => self.sign(c),
            c if c.is_alphanumeric() || "_$@.".contains(c) => self.name(),
            c => self.sign(c),
        }
    }

    /// Whether a `#` begins a comment.
    fn is_comment(&self) -> bool {
        match self.syntax {
            Syntax::JavaScript => false,
            // `$#list`
            Syntax::Perl => self.before(1) != Some('$'),
            // `#[Attribute]`
            Syntax::Php => self.peek(1) != Some('['),
            Syntax::Python | Syntax::Ruby => true,
        }
    }

    /// Whether what stands before is a value, so that an operator follows.
    fn is_behind_value(&self) -> bool {
        // `split /x/`, and not `$a / $b`: any name may be that of a function there.
        let is_given = matches!(self.syntax, Syntax::Perl | Syntax::Ruby)
            && self.before(1).is_some_and(|c| c.is_ascii_whitespace())
            && self.peek(1).is_some_and(|c| !c.is_ascii_whitespace() && c != '=');
        let Some(last) = self.found.last() else {
            return false;
        };
        if self.syntax == Syntax::Ruby && last.line != self.line {
            return false;
        }
        match &last.what {
            What::Text(_) | What::Words(_) | What::Command(_) | What::Sign(')' | ']') => true,
            What::Sign('}') => !is_given,
            What::Sign(_) => false,
            What::Name(name) if is_value(name) => true,
            What::Name(name) => !is_given && !BEFORE_VALUES.contains(&name.as_str()),
        }
    }

    /// Leaves out a manual, to the line that ends it.
    fn manual(&mut self) {
        let mut at = self.at;
        loop {
            let is_last = self.begins_at(at, "=cut") || self.begins_at(at, "=end");
            let rest = self.text[at..].iter();
            at += rest.take_while(|c| **c != '\n').count() + 1;
            if is_last || at >= self.text.len() {
                return self.blank_to(at);
            }
        }
    }

    fn comment(&mut self, end: &str) {
        let mut at = self.at;
        // What ends the code of a page ends a comment of it too.
        let is_over = |at| {
            self.begins_at(at, end) || end == "\n" && self.syntax == Syntax::Php && self.begins_at(at, "?>")
        };
        while at < self.text.len() && !is_over(at) {
            at += 1;
        }
        self.blank_to(if end == "\n" { at } else { at + end.len() });
    }

    /// What stands on a page of PHP outside of its code.
    fn page(&mut self) {
        let rest = self.at..self.text.len();
        let begin = rest.into_iter().find(|at| self.begins_at(*at, "<?"));
        self.blank_to(begin.map_or(self.text.len(), |begin| begin + 2));
        if self.begins("php") {
            self.blank_to(self.at + 3);
        }
    }

    fn name(&mut self) {
        let line = self.line;
        let has_dots = !matches!(self.syntax, Syntax::Perl | Syntax::Php);
        let rest = &self.text[self.at..];
        let length = (1..rest.len())
            .find(|at| !rest[*at].is_alphanumeric() && rest[*at] != '_' && !(has_dots && rest[*at] == '.'))
            .unwrap_or(rest.len());
        let name: String = rest[..length].iter().collect();
        let quotes = |c: Option<&char>| c.is_some_and(|c| "\"'".contains(*c));
        // `f"…"`
        if self.syntax == Syntax::Python
            && name.len() <= 2
            && name.chars().all(|c| "bBfFrRuU".contains(c))
            && quotes(rest.get(length))
        {
            return self.skip(length);
        }
        if self.syntax == Syntax::Perl && self.quoted_by(&name) {
            return;
        }
        self.skip(length);
        if name.trim_matches('.').is_empty() {
            self.push(line, What::Sign('.'));
        } else {
            self.push(line, What::Name(name));
        }
    }
}

/// Whether a name is that of a variable, or a number.
fn is_value(name: &str) -> bool {
    name.starts_with(|c: char| c == '$' || c == '@' || c.is_ascii_digit())
}
