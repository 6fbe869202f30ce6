//! The folder where a command runs: `cd FOLDER && ./script`. Pure.

use super::{Command, Function, Run, functions};
use crate::audit::options::operands;

/// What changes of the folder of commands end with: functions, and shells within the shell.
pub(super) struct Places {
    functions: Vec<Function>,
    /// Where it comes back to at that command, or where so many shells are open.
    back: Vec<(Back, Option<String>)>,
    within: usize,
}

enum Back {
    At(usize),
    Within(usize),
}

impl Run {
    /// What is to be known of the places of these commands.
    pub(super) fn places(&self, commands: &[Command]) -> Places {
        // What they do ends with them, for they run in a shell of their own.
        Places {
            functions: functions(commands),
            back: vec![(Back::Within(0), self.folder.clone())],
            within: 0,
        }
    }

    /// Goes to a folder.
    pub(super) fn enter(&mut self, name: &str, arguments: &[&str]) {
        let mut folders = operands(arguments, "").map(|at| arguments[at]);
        self.folder = match (name, folders.next()) {
            ("popd", _) | (_, None) => None,
            (_, Some(folder)) => match &self.expanded(folder)[..] {
                [folder] => Some(self.absolute(folder)).filter(|folder| is_known(folder)),
                _ => None,
            },
        };
    }

    /// A path from the root, where the folder is known that it is in.
    pub(super) fn absolute(&self, path: &str) -> String {
        match &self.folder {
            Some(folder) if !path.starts_with(['/', '$', '~', '-']) && !path.is_empty() => {
                joined(folder, path)
            }
            _ => path.to_owned(),
        }
    }
}

impl Places {
    /// A command begins.
    pub(super) fn begin(&mut self, run: &mut Run, number: usize, command: &Command) {
        while let Some((_, folder)) = self.back.pop_if(|(back, _)| match back {
            Back::At(end) => *end <= number,
            Back::Within(within) => command.within < *within,
        }) {
            run.folder = folder;
        }
        let ends = self.functions.iter().filter(|one| one.body.start == number);
        let ends = ends.map(|one| (Back::At(one.body.end), run.folder.clone()));
        self.back.extend(ends);
        let opened = self.within + 1..=command.within;
        self.back
            .extend(opened.map(|within| (Back::Within(within), run.folder.clone())));
        self.within = command.within;
    }

    /// No more of them follows.
    pub(super) fn end(self, run: &mut Run) {
        if let Some((_, folder)) = self.back.into_iter().next() {
            run.folder = folder;
        }
    }
}

/// Whether it is known which folder that is.
fn is_known(folder: &str) -> bool {
    folder.starts_with('/') && !folder.contains(['$', '*', '?', '~', '%'])
}

/// A path in a folder, without `.` and `..`.
fn joined(folder: &str, path: &str) -> String {
    let mut parts = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}
