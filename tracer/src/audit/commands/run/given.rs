//! What commands give to the next ones to read. Pure.

use crate::audit::commands::program;
use crate::audit::commands::shell::{Reads, Word};
use crate::audit::options::operands;

/// What a command is given to read.
pub(super) enum Given {
    Text {
        text: String,
        line: usize,
        /// It has lines of its own: where nothing reads it as commands it mentions what it names.
        is_document: bool,
    },
    File(String),
    /// What such a program has fetched.
    Fetched(&'static str),
}

impl From<&Reads> for Given {
    fn from(reads: &Reads) -> Self {
        match reads {
            Reads::File(path) => Self::File(path.clone()),
            Reads::Text {
                text,
                line,
                is_document,
            } => Self::Text {
                text: text.clone(),
                line: *line,
                is_document: *is_document,
            },
        }
    }
}

/// What a program says that only says something: its words, or a file.
pub(super) fn says(name: &str, arguments: &[&str], line: usize) -> Option<Given> {
    match name {
        "echo" | "printf" => {
            let words: Vec<&str> = operands(arguments, "").map(|at| arguments[at]).collect();
            Some(Given::Text {
                text: words.join(" ").replace("%s", " ").replace("\\n", "\n"),
                line,
                is_document: false,
            })
        }
        "cat" => arguments
            .iter()
            .find(|word| word.starts_with('/'))
            .map(|path| Given::File((*path).to_owned())),
        _ => None,
    }
}

/// What a command writes to its files, where that is known: what it says, or the text that `cat` is given.
pub(super) fn written(words: &[Word], given: Option<&Given>) -> Option<String> {
    let (first, rest) = words.split_first()?;
    let arguments: Vec<&str> = rest.iter().map(|word| word.text.as_str()).collect();
    match (says(program(&first.text)?, &arguments, first.line), given) {
        (Some(Given::Text { text, .. }), _) => Some(text),
        (None, Some(Given::Text { text, .. })) if first.text == "cat" && rest.is_empty() => {
            Some(text.clone())
        }
        _ => None,
    }
}
