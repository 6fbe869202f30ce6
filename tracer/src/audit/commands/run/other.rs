//! Scripts of other languages: the calls that run a command, and lines that name programs.

use super::{At, Run};
use crate::audit::commands::calls::{self, Calls, Runs};
use crate::audit::commands::parts::{beginning, parts, without_comment};
use crate::audit::commands::shell::Word;
use crate::audit::commands::tokens::Syntax;
use crate::audit::programs::CALLS;

impl Run {
    /// Reads a script of another language, whose syntax may be known.
    pub(in crate::audit::commands) fn other_language(&mut self, text: &str, syntax: Option<Syntax>) {
        self.is_other = true;
        let calls = syntax.map(|syntax| calls::read(text, syntax));
        for (line, runs) in calls.iter().flat_map(|calls| &calls.commands) {
            self.call(*line, runs);
        }
        let code = calls.as_ref().map_or(text, |calls| &calls.code);
        for (line, code) in (1..).zip(code.lines()) {
            // Where the syntax is known its comments are no code.
            let code = match calls {
                Some(_) => code,
                None => without_comment(code),
            };
            let at = At {
                mentioned: !may_run(line, code, calls.as_ref()),
                line,
                ..At::TEXT
            };
            for statement in code.split([';', '|', '&', '(', ')', '{', '}', '`']) {
                let parts = parts(statement);
                self.said.too_long |= beginning(&parts).len() < parts.len();
                let parts = beginning(&parts);
                if let Some(first) = parts.first() {
                    self.note_command(&first.text, at);
                }
                self.look_through(parts, at);
            }
        }
    }

    fn call(&mut self, line: usize, runs: &Runs) {
        let at = At { line, ..At::TEXT };
        match runs {
            Runs::Text(text) => self.script(text, line, at),
            Runs::Words(words) => {
                let words: Vec<Word> = words
                    .iter()
                    .map(|text| Word {
                        text: text.clone(),
                        line,
                        ..Word::default()
                    })
                    .collect();
                self.said.too_long |= beginning(&words).len() < words.len();
                self.run(beginning(&words), None, at);
            }
        }
    }
}

/// Whether what a line names is run there: there is a way to run something on it, in what is no text.
fn may_run(line: usize, code: &str, calls: Option<&Calls>) -> bool {
    let has_call = |code: &str| CALLS.iter().any(|call| code.contains(call));
    match calls {
        Some(calls) => {
            calls.lines.contains(&line) || calls.bare.get(&line).is_some_and(|bare| has_call(bare))
        }
        None => has_call(code),
    }
}
