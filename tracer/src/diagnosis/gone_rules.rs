//! Rules of a firewall that translated addresses, and went away.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use foldhash::fast::RandomState;

use super::undo;
use super::words::{distinct, moment};
use crate::event::ruleset::{self, Came, Did, Table};
use crate::event::value::NF_TABLES;
use crate::event::{Family, Thing};
use crate::model::Model;
use crate::model::timeline::{Change, Subject};

/// What leads packets elsewhere: in the words of `nft`, or by the names of iptables' targets.
const LEADS: [&str; 3] = ["redirect", "dnat", "tproxy"];
/// What gives packets another source.
const MASKS: [&str; 2] = ["masquerade", "snat"];

/// Rules that are kept, at most: the latest. Of several with the same words the latest is kept.
const MOST: usize = 1_024;
/// Of those that gave packets another source, at most: the latest. Each is held against what very many flows ask.
const MASKING: usize = 64;

/// A rule that translated addresses and went away.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GoneRule {
    pub netns: u32,
    pub at: u64,
    pub family: Family,
    table: String,
    chain: String,
    pub words: String,
}

/// Those of them that did not come again.
#[derive(Default)]
pub(super) struct GoneRules {
    /// In the order of time, by their numbers.
    gone: BTreeMap<u64, GoneRule>,
    /// By what each was for, and did: see [`act`].
    numbers: HashMap<(u32, String), u64, RandomState>,
    /// How many there were.
    total: u64,
}

impl GoneRules {
    /// There are more changes than so many.
    pub(super) fn changed(&mut self, model: &Model, known: u64) {
        let mut new: Vec<&Change> = model.timeline().told_after(known).collect();
        new.reverse();
        for change in new {
            self.change(change);
        }
    }

    fn change(&mut self, change: &Change) {
        let Subject::Setting(netns, Thing::Ruleset { firewall }) = &change.subject else {
            return;
        };
        if firewall != NF_TABLES {
            return;
        }
        let (mut went, mut came, mut is_cut) = (Vec::new(), BTreeSet::new(), false);
        for did in ruleset::read(change.after.as_deref().unwrap_or_default()) {
            match did {
                Some(Did::Rule {
                    table,
                    chain,
                    words,
                    came: Came::Gone,
                    ..
                }) if leads_elsewhere(&words) || gives_a_source(&words) => went.push(GoneRule {
                    netns: *netns,
                    at: change.at,
                    family: table.family,
                    table: table.name,
                    chain,
                    words,
                }),
                Some(Did::Rule {
                    words,
                    came: Came::New,
                    ..
                }) => {
                    came.insert(words);
                }
                Some(Did::More(_)) => is_cut = true,
                _ => {}
            }
        }
        for one in went {
            self.went(one);
        }
        // Who loads its rules anew deletes them and sets them again, be it in another chain.
        // Of what is not named any may have come again.
        if is_cut {
            self.gone.retain(|_, one| one.netns != *netns);
            self.numbers.retain(|(of, _), _| of != netns);
        }
        for words in came {
            if let Some(number) = self.numbers.remove(&(*netns, act(&words))) {
                self.gone.remove(&number);
            }
        }
    }

    fn went(&mut self, one: GoneRule) {
        self.total += 1;
        let before = self.numbers.insert((one.netns, act(&one.words)), self.total);
        if let Some(before) = before {
            self.gone.remove(&before);
        }
        self.gone.insert(self.total, one);
        if self.gone.len() > MOST
            && let Some((_, oldest)) = self.gone.pop_first()
        {
            self.numbers.remove(&(oldest.netns, act(&oldest.words)));
        }
    }

    /// Those that led packets elsewhere.
    pub(super) fn leading(&self) -> impl DoubleEndedIterator<Item = &GoneRule> {
        self.gone.values().filter(|one| leads_elsewhere(&one.words))
    }

    /// Those that gave packets another source.
    pub(super) fn masking(&self) -> impl Iterator<Item = &GoneRule> {
        let masking = self.gone.values().filter(|one| gives_a_source(&one.words));
        let mut latest: Vec<&GoneRule> = masking.rev().take(MASKING).collect();
        latest.reverse();
        latest.into_iter()
    }
}

impl GoneRule {
    fn table(&self) -> Table {
        Table {
            family: self.family,
            name: self.table.clone(),
        }
    }

    /// `` `tcp dport 80 redirect` in table inet services, chain nat ``
    pub(super) fn told(&self) -> String {
        let table = crate::event::table_name(self.family, &self.table);
        format!("`{}` in table {table}, chain {}", self.words, self.chain)
    }

    /// What puts it back.
    pub(super) fn put_back(&self) -> String {
        undo::put_back(&self.table(), &self.chain, &self.words)
    }
}

/// `The rule that led them to a service went away at 06:14:05 UTC: …`, with such a beginning.
pub(super) fn went_away(model: &Model, which: &str, rules: &BTreeSet<&GoneRule>) -> String {
    let at = distinct(rules.iter().map(|rule| moment(model, rule.at))).join(", ");
    let told = distinct(rules.iter().map(|rule| rule.told())).join("; ");
    format!("{which} went away at {at}: {told}.")
}

/// What tells of changed rules may tell of one that leads packets elsewhere: asked before it is read.
pub(super) fn may_tell_of_leading(told: &str) -> bool {
    LEADS
        .iter()
        .any(|word| told.contains(word) || told.contains(&word.to_uppercase()))
}

/// The words of a rule without where it leads: one that leads elsewhere has taken its place.
fn act(words: &str) -> String {
    let mut told: Vec<&str> = words.split(' ').collect();
    if let Some(place) = told.iter().position(|word| *word == "to") {
        told.drain(place..told.len().min(place + 2));
    }
    told.join(" ")
}

/// What a rule does with these words may be to lead packets elsewhere.
pub(super) fn leads_elsewhere(words: &str) -> bool {
    does(&LEADS, words)
}

/// What it does with these may be to give packets another source.
pub(super) fn gives_a_source(words: &str) -> bool {
    does(&MASKS, words)
}

fn does(acts: &[&str], words: &str) -> bool {
    let is_act = |word: &str| acts.iter().any(|act| word.eq_ignore_ascii_case(act));
    words.split(' ').any(is_act)
}
