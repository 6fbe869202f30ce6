//! The commands of a shell's text, and their words. Pure.
//!
//! It refuses nothing: what is never closed is taken as it stands. Source: the Shell Command Language of POSIX, and what bash
//! adds (`<<<`, `<(…)`, `&>`, `$'…'`).

/// So deep commands are looked for within the words of others.
const DEEPEST: usize = 16;
/// Characters within `${…}` or `$((…))` that are looked at, at most.
const LONGEST: usize = 256;

/// A command.
#[derive(Clone, Debug, Default)]
pub(super) struct Command {
    /// The line of the text where it begins, from 1.
    pub(super) line: usize,
    /// Its words; what it is redirected to is none.
    pub(super) words: Vec<Word>,
    /// Files that it writes to: `>FILE`.
    pub(super) writes: Vec<Word>,
    /// What it reads: `<FILE`, `<<END`, `<<< WORD`.
    pub(super) reads: Option<Reads>,
    /// What the one before it says is given to it.
    pub(super) is_piped: bool,
    /// The function that begins with it: `NAME() {`.
    pub(super) defines: Option<String>,
    /// So many shells within this one it is for: `(…)`.
    pub(super) within: usize,
}

/// A word without its quotes.
#[derive(Clone, Debug, Default)]
pub(super) struct Word {
    /// What it says; `$()` stands for what a command in it would say.
    pub(super) text: String,
    /// The line where it begins.
    pub(super) line: usize,
    /// The commands in it that the shell runs first: `$(…)`, `<(…)`.
    pub(super) commands: Vec<Command>,
}

/// What a command reads.
#[derive(Clone, Debug)]
pub(super) enum Reads {
    /// A file.
    File(String),
    /// A text that begins in that line; `<<END` has several of its own, `<<< WORD` is but a word.
    Text {
        text: String,
        line: usize,
        is_document: bool,
    },
}

/// The commands of a text that begins in that line.
pub(super) fn commands(text: &str, line: usize) -> Vec<Command> {
    Reader::new(text, line, 0).commands(None)
}

struct Reader {
    text: Vec<char>,
    at: usize,
    line: usize,
    /// The line where the one begins that is read: what goes on after a backslash is one line.
    begin: usize,
    depth: usize,
    /// What ends the documents that begin with the next line, and the commands that they are for.
    documents: Vec<(usize, String)>,
}

/// What is being read of a list of commands.
#[derive(Default)]
struct List {
    found: Vec<Command>,
    command: Command,
    word: Option<Word>,
    /// What the next word is, where it is no word of the command.
    role: Role,
    /// Parentheses that are open.
    open: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Role {
    #[default]
    Word,
    Writes,
    Reads,
    Says,
    Ends,
    /// It is a number of a file: `2>&1`.
    Number,
}

impl List {
    fn word(&mut self, line: usize) -> &mut Word {
        self.word.get_or_insert_with(|| Word {
            line,
            ..Word::default()
        })
    }

    /// No word of a command was read.
    fn is_between(&self) -> bool {
        let command = &self.command;
        self.word.is_none()
            && command.words.is_empty()
            && command.writes.is_empty()
            && command.reads.is_none()
    }

    fn is_function(&self) -> bool {
        matches!(&self.command.words[..], [word] if word.text == "function")
    }

    fn push(&mut self, c: char, line: usize) {
        self.word(line).text.push(c);
    }

    fn end_word(&mut self, documents: &mut Vec<(usize, String)>) {
        let Some(word) = self.word.take() else { return };
        match std::mem::take(&mut self.role) {
            Role::Word => self.command.words.push(word),
            Role::Writes => self.command.writes.push(word),
            Role::Reads => self.command.reads = Some(Reads::File(word.text)),
            Role::Says => {
                self.command.reads = Some(Reads::Text {
                    text: word.text,
                    line: word.line,
                    is_document: false,
                });
            }
            Role::Ends => documents.push((self.found.len(), word.text)),
            Role::Number => {}
        }
    }

    /// Ends a command; the next one is given what it says, or not. It is kept also where it has no words: what it reads or
    /// writes counts.
    fn end(&mut self, documents: &mut Vec<(usize, String)>, is_piped: bool) {
        self.end_word(documents);
        self.role = Role::Word;
        let is_awaited = documents.last().is_some_and(|(of, _)| *of == self.found.len());
        let is_something = !self.is_between();
        let next = Command {
            is_piped,
            ..Command::default()
        };
        if is_something || is_awaited {
            self.found.push(std::mem::replace(&mut self.command, next));
        } else {
            // `| {`, and a pipe to the next line.
            self.command.is_piped |= is_piped;
        }
    }

    /// What stood before a `)` that closes nothing is a pattern of `case`.
    fn drop_pattern(&mut self) {
        self.word = None;
        while self.command.is_piped && self.found.last().is_some_and(|one| one.words.len() == 1) {
            self.command.is_piped = self.found.pop().is_some_and(|one| one.is_piped);
        }
        self.command = Command::default();
    }
}

impl Reader {
    fn new(text: &str, line: usize, depth: usize) -> Self {
        Self {
            text: text.chars().collect(),
            at: 0,
            line,
            begin: line,
            depth,
            documents: Vec::new(),
        }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.text.get(self.at + ahead).copied()
    }

    fn begins(&self, sign: &str) -> bool {
        sign.chars().enumerate().all(|(at, c)| self.peek(at) == Some(c))
    }

    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            if self.peek(0) == Some('\n') {
                self.line += 1;
                self.begin = self.line;
            }
            self.at += 1;
        }
    }

    /// Goes on behind a backslash at the end of a line.
    fn skip_line_break(&mut self) {
        self.at += 2;
        self.line += 1;
    }

    /// How far ahead that is, behind what stands here; what a backslash stands before does not count.
    fn find(&self, close: char) -> Option<usize> {
        let (mut ahead, mut is_escaped) = (1, false);
        loop {
            match self.peek(ahead)? {
                c if c == close && !is_escaped => return Some(ahead),
                c => is_escaped = c == '\\' && !is_escaped,
            }
            ahead += 1;
        }
    }

    /// The commands up to that sign, or to the end of the text.
    fn commands(&mut self, close: Option<char>) -> Vec<Command> {
        let outer = std::mem::take(&mut self.documents);
        let mut list = List::default();
        while let Some(c) = self.peek(0) {
            if list.is_between() {
                list.command.line = self.begin;
                list.command.within = list.open;
            }
            if c == ')' && list.open == 0 && close == Some(')') {
                self.skip(1);
                break;
            }
            self.step(&mut list, c);
        }
        list.end(&mut self.documents, false);
        self.documents = outer;
        list.found
    }

    fn step(&mut self, list: &mut List, c: char) {
        match c {
            '\n' => {
                // A pipe goes on in the next line.
                let is_piped = list.command.is_piped && list.command.words.is_empty() && list.word.is_none();
                list.end(&mut self.documents, is_piped);
                self.skip(1);
                self.take_documents(&mut list.found);
            }
            ' ' | '\t' | '\r' => {
                list.end_word(&mut self.documents);
                self.skip(1);
            }
            '\\' if self.peek(1) == Some('\n') => self.skip_line_break(),
            '#' if list.word.is_none() => {
                while self.peek(0).is_some_and(|c| c != '\n') {
                    self.at += 1;
                }
            }
            '&' if self.begins("&>") => {
                list.end_word(&mut self.documents);
                list.role = Role::Writes;
                self.skip(if self.begins("&>>") { 3 } else { 2 });
            }
            ';' | '&' => {
                list.end(&mut self.documents, false);
                self.skip(1);
            }
            '|' => {
                let is_or = self.begins("||");
                list.end(&mut self.documents, !is_or);
                self.skip(if is_or || self.begins("|&") { 2 } else { 1 });
            }
            '(' => self.open(list),
            ')' if list.open == 0 => {
                list.drop_pattern();
                self.skip(1);
            }
            ')' => {
                list.open -= 1;
                list.end(&mut self.documents, false);
                self.skip(1);
            }
            '<' | '>' if self.peek(1) == Some('(') && self.depth < DEEPEST => self.run_in(list, 2),
            '<' | '>' => self.redirect(list, c),
            _ => self.part(list, c),
        }
    }

    /// `(` is part of a value, of a function's name, a number, or the begin of commands.
    fn open(&mut self, list: &mut List) {
        let is_alone = list.command.words.is_empty();
        match &list.word {
            // `NAME=(a b)`
            Some(word) if word.text.ends_with('=') && self.depth < DEEPEST => {
                self.skip(1);
                self.depth += 1;
                let inner = self.commands(Some(')'));
                self.depth -= 1;
                let word = list.word(self.line);
                for one in inner {
                    for part in one.words {
                        word.text.push_str(&part.text);
                        word.text.push(' ');
                        word.commands.extend(part.commands);
                    }
                }
            }
            // `NAME() {`, `function NAME() {`
            Some(_) if (is_alone || list.is_function()) && self.begins("()") => {
                list.command.defines = list.word.take().map(|word| word.text);
                list.command.words.clear();
                self.skip(2);
            }
            // `NAME () {`
            None if list.command.words.len() == 1 && self.begins("()") => {
                list.command.defines = list.command.words.pop().map(|word| word.text);
                self.skip(2);
            }
            None if is_alone && self.begins("((") && self.number().is_some() => {
                let length = self.number().unwrap_or_default();
                self.skip(length);
            }
            _ => {
                // `case x in (a|b)`: what it closes is a pattern.
                let is_pattern = |word: &Word| word.text == "in";
                if list.command.words.last().is_some_and(is_pattern) {
                    list.end(&mut self.documents, false);
                } else {
                    let is_piped = is_alone && list.word.is_none() && list.command.is_piped;
                    list.end(&mut self.documents, is_piped);
                    list.open += 1;
                }
                self.skip(1);
            }
        }
    }

    /// How long the number is that begins with `((` here.
    fn number(&self) -> Option<usize> {
        let end =
            (2..LONGEST).find(|ahead| self.peek(*ahead) == Some(')') && self.peek(ahead + 1) == Some(')'))?;
        Some(end + 2)
    }

    fn redirect(&mut self, list: &mut List, c: char) {
        // `2>`
        let is_number = |word: &Word| word.text.chars().all(|c| c.is_ascii_digit());
        if list.word.as_ref().is_some_and(is_number) {
            list.word = None;
        }
        list.end_word(&mut self.documents);
        let signs: [(&str, Role); 10] = [
            ("<<<", Role::Says),
            ("<<-", Role::Ends),
            ("<<", Role::Ends),
            ("<&", Role::Number),
            ("<>", Role::Writes),
            (">>", Role::Writes),
            (">|", Role::Writes),
            (">&", Role::Number),
            ("<", Role::Reads),
            (">", Role::Writes),
        ];
        let sign = signs.iter().find(|(sign, _)| self.begins(sign));
        let (length, role) = sign.map_or((1, Role::Word), |(sign, role)| (sign.len(), *role));
        self.skip(length);
        // `>&2` is a number, `>&FILE` a file.
        let is_file =
            role == Role::Number && c == '>' && self.peek(0).is_some_and(|c| !c.is_ascii_digit() && c != '-');
        list.role = if is_file { Role::Writes } else { role };
    }

    /// What the shell runs where a word stands, behind so many signs.
    fn run_in(&mut self, list: &mut List, signs: usize) {
        let line = self.line;
        self.skip(signs);
        self.depth += 1;
        let inner = self.commands(Some(')'));
        self.depth -= 1;
        let word = list.word(line);
        word.text.push_str("$()");
        word.commands.extend(inner);
    }

    /// A part of a word.
    fn part(&mut self, list: &mut List, c: char) {
        let line = self.line;
        match c {
            '\\' => {
                self.skip(1);
                list.word(line);
                if let Some(c) = self.peek(0) {
                    list.push(c, line);
                    self.skip(1);
                }
            }
            '\'' => {
                // Within these a backslash is one.
                let rest = self.text.get(self.at + 1..).unwrap_or_default();
                match rest.iter().position(|c| *c == '\'') {
                    Some(length) => {
                        list.word(line).text.extend(&rest[..length]);
                        self.skip(length + 2);
                    }
                    None => {
                        list.push(c, line);
                        self.skip(1);
                    }
                }
            }
            '"' if self.find('"').is_some() => self.quoted(list),
            '$' if self.begins("$'") => self.skip(1),
            '$' if self.begins("$\"") => self.skip(1),
            '$' | '`' => self.expanded(list, c),
            _ => {
                list.push(c, line);
                self.skip(1);
            }
        }
    }

    fn quoted(&mut self, list: &mut List) {
        list.word(self.line);
        self.skip(1);
        while let Some(c) = self.peek(0) {
            let line = self.line;
            match c {
                '"' => {
                    self.skip(1);
                    break;
                }
                '\\' if self.peek(1) == Some('\n') => self.skip_line_break(),
                '\\' if self.peek(1).is_some_and(|c| "\"\\$`".contains(c)) => {
                    list.word(line).text.extend(self.peek(1));
                    self.skip(2);
                }
                '$' | '`' => self.expanded(list, c),
                _ => {
                    list.push(c, line);
                    self.skip(1);
                }
            }
        }
    }

    /// What the shell puts something else for: `$X`, `${X}`, `$(…)`.
    fn expanded(&mut self, list: &mut List, c: char) {
        let line = self.line;
        let is_deep = self.depth >= DEEPEST;
        if self.begins("$((") {
            self.at += 1;
            let number = self.number();
            self.at -= 1;
            if let Some(length) = number {
                list.word(line).text.push_str("$()");
                return self.skip(length + 1);
            }
        }
        if self.begins("$(") && !is_deep {
            return self.run_in(list, 2);
        }
        if c == '`'
            && !is_deep
            && let Some(length) = self.find('`')
        {
            let raw: String = self.text[self.at + 1..self.at + length].iter().collect();
            let inner = Self::new(&raw.replace("\\`", "`"), line, self.depth + 1).commands(None);
            self.skip(length + 1);
            let word = list.word(line);
            word.text.push_str("$()");
            word.commands.extend(inner);
            return;
        }
        if self.begins("${") {
            let mut open = 0_usize;
            let end = (1..LONGEST).find(|ahead| {
                match self.peek(*ahead) {
                    Some('{') => open += 1,
                    Some('}') => open -= 1,
                    _ => {}
                }
                open == 0
            });
            if let Some(length) = end {
                let raw = &self.text[self.at..self.text.len().min(self.at + length + 1)];
                list.word(line).text.extend(raw);
                return self.skip(length + 1);
            }
        }
        list.push(c, line);
        self.skip(1);
    }

    /// Reads the documents that begin here, for the commands that wait for them.
    fn take_documents(&mut self, found: &mut [Command]) {
        for (of, end) in std::mem::take(&mut self.documents) {
            let line = self.line;
            let mut text = String::new();
            while self.at < self.text.len() {
                let rest = &self.text[self.at..];
                let length = rest.iter().position(|c| *c == '\n').unwrap_or(rest.len());
                let one: String = rest[..length].iter().collect();
                self.skip((length + 1).min(rest.len()));
                if one.trim() == end {
                    break;
                }
                text.push_str(&one);
                text.push('\n');
            }
            if let Some(command) = found.get_mut(of) {
                command.reads = Some(Reads::Text {
                    text,
                    line,
                    is_document: true,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Vec<String>> {
        let found = commands(text, 1).into_iter();
        found
            .map(|one| one.words.into_iter().map(|word| word.text).collect())
            .collect()
    }

    #[test]
    fn words_are_what_a_shell_makes_of_them() {
        for (text, found) in [
            ("a 'b c' \"d e\"f\\ g", &[&["a", "b c", "d ef g"][..]][..]),
            ("a \"b \\\"c\\\" \\d\" 'e\\'", &[&["a", "b \"c\" \\d", "e\\"]]),
            ("a;b&&c||d|e &", &[&["a"], &["b"], &["c"], &["d"], &["e"]]),
            ("a # b\n\nc#d", &[&["a"], &["c#d"]]),
            ("a \\\n b", &[&["a", "b"]]),
            ("a 2>&1 >x <y &>z b", &[&["a", "b"]]),
            (
                "a ${b:-c d} $((1 << 2)) $e \"${f} g\"",
                &[&["a", "${b:-c d}", "$()", "$e", "${f} g"]],
            ),
            ("a $(b c) `d` <(e)", &[&["a", "$()", "$()", "$()"]]),
            ("f() { a; }", &[&["{", "a"], &["}"]]),
            ("reboot () { a; }", &[&["{", "a"], &["}"]]),
            ("function f() { a; }", &[&["{", "a"], &["}"]]),
            ("x|y) a;;", &[&["a"]]),
            ("(a; b) | c", &[&["a"], &["b"], &["c"]]),
            ("A=(b c) d", &[&["A=b c ", "d"]]),
            ("a it's\nb", &[&["a", "it's"], &["b"]]),
            ("a \"b\nc", &[&["a", "\"b"], &["c"]]),
            ("a <<E | b\nc d\nE\ne", &[&["a"], &["b"], &["e"]]),
            ("a $'b c' ''", &[&["a", "b c", ""]]),
        ] {
            assert_eq!(words(text), found, "{text}");
        }
    }

    #[test]
    fn what_a_command_reads_and_writes_and_where_it_stands() {
        let found = commands("a\nb <<E >x \\\n  >>y |\ntext\nE\n  c\nd <z", 1);
        let lines: Vec<_> = found.iter().map(|one| one.line).collect();
        assert_eq!(lines, [1, 2, 6, 7]);
        let writes: Vec<_> = found[1].writes.iter().map(|one| one.text.as_str()).collect();
        assert_eq!(writes, ["x", "y"]);
        assert!(found[2].is_piped && !found[3].is_piped);
        assert!(matches!(&found[3].reads, Some(Reads::File(file)) if file == "z"));
    }

    #[test]
    fn what_is_never_closed_is_read_in_no_long_time() {
        for text in [
            "\"$(", "$((", "${", "`", "'", "<<a ", "$(", "((", "a=(", "(", "\"", "\\\"", "<(",
        ] {
            commands(&text.repeat(1 << 15), 1);
        }
    }
}
