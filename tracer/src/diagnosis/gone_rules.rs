//! Rules of a firewall that translated addresses, and went away.

use std::collections::{BTreeSet, HashMap};

use foldhash::fast::RandomState;

use super::undo;
use super::words::{distinct, moment};
use crate::event::ruleset::{self, Came, Did, Table};
use crate::event::value::NF_TABLES;
use crate::event::{Family, Thing};
use crate::model::Model;
use crate::model::timeline::Subject;

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

/// Those of them that did not come again, in the order of time.
pub(super) struct GoneRules(Vec<GoneRule>);

impl GoneRules {
    pub(super) fn of(model: &Model) -> Self {
        // By the words of each.
        let mut gone: HashMap<(u32, String), (usize, GoneRule), RandomState> = HashMap::default();
        let mut number = 0;
        for (_, change) in model.timeline().all() {
            let Subject::Setting(netns, Thing::Ruleset { firewall }) = &change.subject else {
                continue;
            };
            if firewall != NF_TABLES {
                continue;
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
                gone.insert((one.netns, one.words.clone()), (number, one));
                number += 1;
            }
            // Who loads its rules anew deletes them and sets them again, be it in another chain.
            // Of what is not named any may have come again.
            if is_cut {
                gone.retain(|(of, _), _| of != netns);
            }
            for words in came {
                gone.remove(&(*netns, words));
            }
        }
        let mut gone: Vec<(usize, GoneRule)> = gone.into_values().collect();
        gone.sort_by_key(|(number, _)| *number);
        gone.drain(..gone.len().saturating_sub(MOST));
        Self(gone.into_iter().map(|(_, one)| one).collect())
    }

    /// Those that led packets elsewhere.
    pub(super) fn leading(&self) -> impl DoubleEndedIterator<Item = &GoneRule> {
        self.0.iter().filter(|one| leads_elsewhere(&one.words))
    }

    /// Those that gave packets another source.
    pub(super) fn masking(&self) -> impl Iterator<Item = &GoneRule> {
        let mut masking: Vec<&GoneRule> = self.0.iter().filter(|one| gives_a_source(&one.words)).collect();
        masking.drain(..masking.len().saturating_sub(MASKING));
        masking.into_iter()
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
