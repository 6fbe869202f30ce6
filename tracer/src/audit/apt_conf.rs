//! The configuration of apt.
//!
//! Source: apt.conf(5). `A::B "x";` and `A { B "x"; };` are the same; names are the same in upper and lower case; of
//! several values the last counts, but for lists (`A { "x"; "y"; };`), which grow; `#clear A;` takes back, and
//! `#include "FILE";` reads another file, or a folder of them.

use std::collections::{BTreeMap, BTreeSet};

use super::files::Files;

/// Files and folders that are read because others include them, at most: each is read within the one that names it.
const INCLUDED: usize = 256;

/// Values by name, in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AptConf {
    values: BTreeMap<String, Vec<Value>>,
    /// The files that have them, each with its text.
    pub(super) files: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Value {
    text: String,
    /// Which of the files has it.
    file: usize,
}

impl AptConf {
    /// Reads all files that apt reads: its folder counts before its file.
    pub(super) fn read(files: &mut Files) -> Self {
        let mut conf = Self::default();
        let mut included = BTreeSet::new();
        conf.include(files, FOLDER, &mut included);
        conf.include(files, "etc/apt/apt.conf", &mut included);
        conf
    }

    /// What one text says.
    #[cfg(test)]
    pub(super) fn of_text(text: &str) -> Self {
        let mut conf = Self::default();
        conf.add(text, 0, &mut |_, _| {});
        conf
    }

    /// Reads a file, or of a folder those that apt takes. What was included once says the same again.
    fn include(&mut self, files: &mut Files, path: &str, included: &mut BTreeSet<String>) {
        let path = path.trim_matches('/');
        if included.len() >= INCLUDED || !included.insert(path.to_owned()) {
            return;
        }
        if files.is_folder(path) {
            for name in files.names(path).into_iter().filter(|name| takes(name)) {
                let path = format!("{path}/{name}");
                if !files.is_folder(&path) {
                    self.include(files, &path, included);
                }
            }
        } else if let Some(text) = files.text(path) {
            self.files.push((path.to_owned(), text.clone()));
            let file = self.files.len() - 1;
            self.add(&text, file, &mut |conf, path| conf.include(files, path, included));
        }
    }

    /// Takes over what a file says; `include` reads another that it names.
    fn add(&mut self, text: &str, file: usize, include: &mut dyn FnMut(&mut Self, &str)) {
        let mut scopes = Vec::<String>::new();
        let mut words = Vec::<Word>::new();
        for word in split(text) {
            match word {
                Word::Open => {
                    scopes.push(name_of(&scopes, &words));
                    words.clear();
                }
                Word::Close => {
                    scopes.pop();
                    words.clear();
                }
                Word::End => {
                    match &words[..] {
                        [Word::Name(name), path, ..] if name == "#include" => include(self, path.text()),
                        words => self.set(&scopes, words, file),
                    }
                    words.clear();
                }
                word => words.push(word),
            }
        }
    }

    fn set(&mut self, scopes: &[String], words: &[Word], file: usize) {
        match words {
            [Word::Name(clear), Word::Name(name)] if clear == "#clear" => {
                let name = name.to_ascii_lowercase();
                let below = format!("{name}::");
                self.values
                    .retain(|known, _| *known != name && !known.starts_with(&below));
            }
            [Word::Name(_), value @ ..] => {
                let text = value.iter().map(Word::text).collect::<Vec<_>>().join(" ");
                let values = self.values.entry(name_of(scopes, words)).or_default();
                values.push(Value { text, file });
            }
            [Word::Value(text), ..] => {
                let values = self.values.entry(name_of(scopes, &[])).or_default();
                let text = text.clone();
                values.push(Value { text, file });
            }
            _ => {}
        }
    }

    fn values(&self, name: &str) -> impl DoubleEndedIterator<Item = &Value> {
        self.values.get(&name.to_ascii_lowercase()).into_iter().flatten()
    }

    /// All values of a name.
    pub(super) fn all(&self, name: &str) -> impl DoubleEndedIterator<Item = &str> {
        self.values(name).map(|value| value.text.as_str())
    }

    /// Those that this one of its files has.
    pub(super) fn of_file(&self, name: &str, file: usize) -> impl Iterator<Item = &str> {
        let values = self.values(name).filter(move |value| value.file == file);
        values.map(|value| value.text.as_str())
    }

    /// The value of a name.
    pub(super) fn last(&self, name: &str) -> Option<&str> {
        self.all(name).next_back()
    }

    /// Whether a value says yes, as apt's `FindB` takes it.
    pub(super) fn is_yes(&self, name: &str) -> bool {
        self.last(name).is_some_and(|value| {
            let value = value.to_ascii_lowercase();
            !matches!(
                value.as_str(),
                "" | "0" | "false" | "no" | "off" | "disable" | "without"
            )
        })
    }
}

/// Where apt has its configuration besides its file.
const FOLDER: &str = "etc/apt/apt.conf.d";

/// Whether apt takes a file of that name: of letters, digits, `_`, `-`, with no ending or `.conf` (apt.conf(5)).
fn takes(name: &str) -> bool {
    is_plain(name.strip_suffix(".conf").unwrap_or(name))
}

/// Whether a name has letters, digits, `_` and `-` alone.
pub(super) fn is_plain(name: &str) -> bool {
    name.chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    Name(String),
    Value(String),
    Open,
    Close,
    End,
}

impl Word {
    fn text(&self) -> &str {
        match self {
            Self::Name(text) | Self::Value(text) => text,
            Self::Open => "{",
            Self::Close => "}",
            Self::End => ";",
        }
    }
}

/// The name that stands first among these words, within these scopes; `A::` with a value adds to the list `A`.
fn name_of(scopes: &[String], words: &[Word]) -> String {
    let scope = scopes.last().map_or("", String::as_str);
    let own = words.iter().find_map(|word| match word {
        Word::Name(name) => Some(name.trim_end_matches(':').to_ascii_lowercase()),
        _ => None,
    });
    match own {
        None => scope.to_owned(),
        Some(own) if scope.is_empty() => own,
        Some(own) => format!("{scope}::{own}"),
    }
}

fn split(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let is_comment = rest.starts_with("//")
            || c == '#' && !["#clear", "#include"].iter().any(|word| rest.starts_with(word));
        let taken = if is_comment {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if c == '"' {
            let end = rest[1..].find('"').map_or(rest.len(), |end| end + 1);
            words.push(Word::Value(rest[1..end].to_owned()));
            (end + 1).min(rest.len())
        } else if c == '{' || c == '}' || c == ';' {
            words.push(match c {
                '{' => Word::Open,
                '}' => Word::Close,
                _ => Word::End,
            });
            1
        } else if c.is_whitespace() {
            c.len_utf8()
        } else {
            let end = |c: char| c.is_whitespace() || "\"{};".contains(c);
            let end = rest.find(end).unwrap_or(rest.len());
            words.push(Word::Name(rest[..end].to_owned()));
            end
        };
        rest = &rest[taken..];
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_are_the_same() {
        for text in [
            "A::B \"1\";",
            "a::b 1;",
            "A { B \"1\"; };",
            "A\n{\n  // B \"2\";\n  # B \"2\";\n /* B \"2\"; */ B \"1\"; }\n",
            "A::B \"0\";\nA { b \"1\"; }",
        ] {
            assert_eq!(AptConf::of_text(text).last("A::B"), Some("1"), "{text}");
            assert!(AptConf::of_text(text).is_yes("a::b"), "{text}");
        }
        for text in [
            "",
            "A::B \"false\";",
            "A::B \"1\"; #clear A;",
            "A { C { B \"1\"; }; };",
            "// A::B \"1\";",
            "\"",
            "{}{;",
        ] {
            assert!(!AptConf::of_text(text).is_yes("A::B"), "{text}");
        }
    }

    #[test]
    fn lists_grow() {
        let text = "U::O {\n \"a;b\"; // \"c\";\n};\nU::O:: \"d\";";
        assert_eq!(
            AptConf::of_text(text).all("U::O").collect::<Vec<_>>(),
            ["a;b", "d"]
        );
    }
}
