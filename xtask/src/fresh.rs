//! Whether the BPF object that is there was made from the sources as they are. Only asked where its compiler is
//! missing: with a compiler, cargo knows better.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::workspace;

/// Whether the BPF object is at least as new as every source it was made from.
pub(crate) fn bpf_object() -> bool {
    let object = workspace::bpf_object();
    // Cargo leaves a list of the sources beside what it made.
    let Ok(list) = fs::read_to_string(object.with_extension("d")) else {
        return false;
    };
    let manifest = workspace::root().join("tracer-ebpf/Cargo.toml");
    let sources = sources(&list);
    !sources.is_empty() && newer_than_all(&object, sources.iter().chain([&manifest]))
}

fn newer_than_all<'a>(made: &Path, sources: impl IntoIterator<Item = &'a PathBuf>) -> bool {
    let changed = |path: &Path| -> Option<SystemTime> { path.metadata().ok()?.modified().ok() };
    let Some(made) = changed(made) else { return false };
    sources
        .into_iter()
        .all(|source| changed(source).is_some_and(|time| time <= made))
}

/// The sources in a dependency list, which has the form of a rule for make: `made: source source…`, with a
/// backslash before a space that belongs to a name.
fn sources(list: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in list.lines() {
        let Some((_, right)) = line.split_once(": ") else {
            continue;
        };
        let mut name = String::new();
        let mut characters = right.chars();
        while let Some(character) = characters.next() {
            match character {
                '\\' => name.extend(characters.next()),
                ' ' => found.push(std::mem::take(&mut name)),
                other => name.push(other),
            }
        }
        found.push(name);
    }
    found
        .into_iter()
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_dependency_list() {
        let list = "/w/target/tracer-ebpf: /w/src/lib.rs /w/my\\ src/main.rs\n\n";
        assert_eq!(
            sources(list),
            [PathBuf::from("/w/src/lib.rs"), PathBuf::from("/w/my src/main.rs")]
        );
        assert!(sources("").is_empty());
    }

    #[test]
    fn a_missing_source_makes_it_stale() {
        let made = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        assert!(newer_than_all(&made, [&made]));
        assert!(!newer_than_all(&made, [&made, &PathBuf::from("/nowhere")]));
        assert!(!newer_than_all(Path::new("/nowhere"), [&made]));
    }
}
