//! Where a crontab has its commands looked for: `PATH=`. Pure.

use super::commands::Said;
use super::options::is_among;
use super::scripts::{INSTALLED, is_of_packages};

/// Commands that a shell has in itself.
const OF_SHELL: &str = ". : [ [[ alias bg break cd command continue declare disown echo eval exec exit export false fg \
    getopts hash jobs kill let local popd printf pushd pwd read readonly return set shift shopt source test time times \
    trap true type typeset ulimit umask unalias unset wait";

/// Adds to what is run the files of commands that are looked for in these folders; `has` tells whether there is such a file.
pub(super) fn along(said: &mut Said, folders: &str, has: impl Fn(&str) -> bool) {
    let folders: Vec<&str> = folders.split(':').map(|one| one.trim_end_matches('/')).collect();
    // What is in others is known by its name, or found without being told where.
    let is_own = |folder: &str| {
        folder.starts_with('/') && !INSTALLED.contains(&folder) && !is_of_packages(&format!("{folder}/"))
    };
    let Some(own) = folders.iter().find(|folder| is_own(folder)) else {
        return;
    };
    for (name, scope) in &said.names {
        if is_among(OF_SHELL, name) || said.looked_for.contains(name) {
            continue;
        }
        let found = folders.iter().find(|folder| has(&format!("{folder}/{name}")));
        // Where it is in none it is missing.
        let folder = found.unwrap_or(own);
        if is_own(folder) {
            let path = format!("{folder}/{name}");
            said.paths.insert(path.clone(), *scope);
            said.runs.insert(path, *scope);
        }
    }
}
