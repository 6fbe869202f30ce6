//! What something that starts by itself does. Pure.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::Effect;
use super::commands::Said;
use super::scope::Scope;

/// What something that starts by itself can change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Does {
    known: BTreeMap<(Effect, String), Known>,
    /// Files that it would run and that are not there.
    pub(super) missing: BTreeSet<String>,
}

/// How a program is known.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    /// It is only named, and whether it is run was not followed.
    mentioned: bool,
    /// The script that has it with the line, and when it is run; empty for the command line itself.
    place: String,
}

impl Does {
    /// It changes nothing, and nothing of it is unknown.
    pub(super) fn is_nothing(&self) -> bool {
        self.known.is_empty() && self.missing.is_empty()
    }

    /// Adds what something is known to do.
    pub(super) fn add(&mut self, effect: Effect, what: String) {
        let known = Known {
            mentioned: false,
            place: String::new(),
        };
        self.insert((effect, what), known);
    }

    /// What is known as one is another.
    pub(super) fn replace(&mut self, effect: Effect, by: Effect) {
        let known = std::mem::take(&mut self.known).into_iter();
        self.known = known
            .map(|((one, what), known)| ((if one == effect { by } else { one }, what), known))
            .collect();
    }

    /// Whether it runs that program, with that argument where one is named.
    pub(super) fn runs(&self, program: &str) -> bool {
        let (program, argument) = program.split_once(' ').unwrap_or((program, ""));
        self.known.keys().any(|(_, what)| {
            let mut words = what.split(' ');
            words.next() == Some(program) && (argument.is_empty() || words.any(|word| word == argument))
        })
    }

    /// Whether it runs anything else than that program.
    pub(super) fn runs_besides(&self, program: &str) -> bool {
        self.known
            .keys()
            .any(|(_, what)| what.split(' ').next() != Some(program))
    }

    /// What it can change by what it runs; or by what it mentions alone.
    pub(super) fn effects(&self, mentioned: bool) -> Vec<Effect> {
        let by = |mentioned| {
            let known = self
                .known
                .iter()
                .filter(move |(_, known)| known.mentioned == mentioned);
            known.map(|((effect, _), _)| *effect).collect::<BTreeSet<_>>()
        };
        let mut run = by(false);
        if mentioned {
            return by(true).difference(&run).copied().collect();
        }
        if !self.missing.is_empty() {
            run.insert(Effect::Unknown);
        }
        run.into_iter().collect()
    }

    /// The programs by which that is known, those that are only named or those that are run.
    pub(super) fn programs(&self, mentioned: bool) -> Vec<String> {
        let mut found = Vec::new();
        for ((_, what), known) in self
            .known
            .iter()
            .filter(|(_, known)| known.mentioned == mentioned)
        {
            let text = match known.place.as_str() {
                "" => what.clone(),
                place => format!("{what} ({place})"),
            };
            // One program may have several effects.
            if !found.contains(&text) {
                found.push(text);
            }
        }
        found
    }

    /// Takes over what else something does.
    pub(super) fn merge(&mut self, more: Self) {
        self.missing.extend(more.missing);
        for (key, known) in more.known {
            self.insert(key, known);
        }
    }

    /// Adds what a script or command line says, that of a file where one is named, which is run then.
    /// What it has of the node there decides which of it counts.
    pub(super) fn add_said(&mut self, said: &Said, scope: Scope, path: Option<&str>, when: &str) {
        for (key, place) in said.effects.iter().filter(|(_, place)| scope.has(place.needs)) {
            let script = path.map(|path| format!("{path}:{}", place.line));
            let places = script.iter().map(String::as_str).chain([when]);
            let places: Vec<&str> = places.filter(|place| !place.is_empty()).collect();
            let place = Known {
                mentioned: place.mentioned,
                place: places.join(", "),
            };
            self.insert(key.clone(), place);
        }
    }

    /// What is run is known better than what is only named.
    fn insert(&mut self, key: (Effect, String), new: Known) {
        match self.known.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(new);
            }
            Entry::Occupied(mut entry) => {
                if entry.get().mentioned && !new.mentioned {
                    entry.insert(new);
                }
            }
        }
    }
}
