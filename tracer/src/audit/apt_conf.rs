//! The configuration of apt. Pure.
//!
//! Source: apt.conf(5). `A::B "x";` and `A { B "x"; };` are the same; names are the same in upper and lower case; of
//! several values the last counts, but for lists (`A { "x"; "y"; };`), which grow; `#clear A;` takes back.

use std::collections::BTreeMap;

/// Values by name, in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AptConf {
    values: BTreeMap<String, Vec<String>>,
}

impl AptConf {
    pub(super) fn read(text: &str) -> Self {
        let mut conf = Self::default();
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
                    conf.set(&scopes, &words);
                    words.clear();
                }
                word => words.push(word),
            }
        }
        conf
    }

    fn set(&mut self, scopes: &[String], words: &[Word]) {
        match words {
            [Word::Name(clear), Word::Name(name)] if clear == "#clear" => {
                let name = name.to_ascii_lowercase();
                let below = format!("{name}::");
                self.values
                    .retain(|known, _| *known != name && !known.starts_with(&below));
            }
            [Word::Name(_), value @ ..] => {
                let value = value.iter().map(Word::text).collect::<Vec<_>>().join(" ");
                let values = self.values.entry(name_of(scopes, words)).or_default();
                values.push(value);
            }
            [Word::Value(value), ..] => {
                let values = self.values.entry(name_of(scopes, &[])).or_default();
                values.push(value.clone());
            }
            _ => {}
        }
    }

    /// All values of a name.
    pub(super) fn all(&self, name: &str) -> &[String] {
        let values = self.values.get(&name.to_ascii_lowercase());
        values.map_or(&[], Vec::as_slice)
    }

    /// The value of a name.
    pub(super) fn last(&self, name: &str) -> Option<&str> {
        self.all(name).last().map(String::as_str)
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
        let is_comment = rest.starts_with("//") || c == '#' && !rest.starts_with("#clear");
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
            assert_eq!(AptConf::read(text).last("A::B"), Some("1"), "{text}");
            assert!(AptConf::read(text).is_yes("a::b"), "{text}");
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
            assert!(!AptConf::read(text).is_yes("A::B"), "{text}");
        }
    }

    #[test]
    fn lists_grow() {
        let text = "U::O {\n \"a;b\"; // \"c\";\n};\nU::O:: \"d\";";
        assert_eq!(AptConf::read(text).all("U::O"), ["a;b", "d"]);
    }
}
