//! Takes back what changes of the rules of nf_tables did.

use std::collections::BTreeSet;

use super::AS_BEFORE;
use super::history::{History, namespace};
use crate::diagnosis::effects::{may_drop, only_drops};
use crate::diagnosis::firewalls::untracks;
use crate::diagnosis::words::command;
use crate::event::Point;
use crate::event::ruleset::{self, Came, Did, Policy, Table};
use crate::model::Model;
use crate::model::timeline::Change;
use crate::shell::quoted;

/// What came drops nothing by itself.
const HELD_NOTHING: &str =
    "Risk: it holds nothing back itself, and what it is for goes as before; ask whose it is.";

/// Takes back what one change of the rules of nf_tables did, as far as later ones have not done so.
pub(super) fn take_back(
    model: &Model,
    history: &History<'_>,
    netns: u32,
    change: &Change,
) -> Option<Vec<String>> {
    let did = ruleset::read(change.after.as_deref()?);
    if did.is_empty() || did.iter().any(Option::is_none) {
        return None;
    }
    let told: Vec<Did> = did.into_iter().flatten().collect();
    let by_now = |did: &Did| history.by_now(netns, change.at, did).into_owned();
    let did: Vec<Did> = told.iter().map(by_now).collect();
    let tables: Vec<&Table> = did
        .iter()
        .filter_map(|did| match did {
            Did::Table(table, Came::New) => Some(table),
            _ => None,
        })
        .collect();
    let chains: Vec<(&Table, &str)> = did
        .iter()
        .filter_map(|did| match did {
            Did::Chain(table, chain, _, Came::New) => Some((table, chain.as_str())),
            _ => None,
        })
        .collect();
    let passes = |table: &Table, chain: Option<&str>| {
        ways(&model.chains().hooks(netns, table.family, &table.name, chain))
    };
    // Whether something in it held packets back, of which their way is told.
    let held_back = |table: &Table, chain: Option<&str>| {
        let is_in = |did: &&Did| match did {
            Did::Chain(of, its, ..)
            | Did::Rule {
                table: of,
                chain: its,
                ..
            }
            | Did::Policy {
                table: of,
                chain: its,
                ..
            } => of == table && chain.is_none_or(|chain| chain == its),
            Did::Elements(of, ..) | Did::Object(of, ..) => of == table,
            _ => true,
        };
        let holds = told.iter().filter(is_in).any(holds_back);
        holds.then(|| passes(table, chain))
    };
    let mut lines = Vec::new();
    let mut is_known = true;
    for (told, one) in told.iter().zip(&did) {
        let Some(stands) = history.stands(netns, change.at, told) else {
            continue;
        };
        let line = match one {
            // What is in a table or chain that came goes with it.
            Did::Chain(table, ..)
            | Did::Policy { table, .. }
            | Did::Set(table, ..)
            | Did::Elements(table, ..)
            | Did::Object(table, ..)
            | Did::Rule { table, .. }
                if tables.contains(&table) =>
            {
                continue;
            }
            Did::Rule {
                table,
                chain,
                came: Came::New,
                ..
            } if chains.contains(&(table, chain)) => continue,
            // By itself it does nothing.
            Did::Set(_, _, Came::New) => continue,
            Did::Object(_, object, ..) if object.only_counts() => continue,
            Did::Renamed { table, chain, was } => (
                format!(
                    "nft rename chain {} {} {}",
                    named(table),
                    quoted(chain),
                    quoted(was)
                ),
                "Risk: low, it is its name before.".to_owned(),
            ),
            Did::Table(table, Came::New) => (
                format!("nft delete table {}", named(table)),
                match held_back(table, None) {
                    Some(passes) => {
                        format!("Risk: all that it was to hold back {passes}; ask whose it is.")
                    }
                    None => HELD_NOTHING.to_owned(),
                },
            ),
            Did::Chain(table, chain, _, Came::New) => {
                let held_back = held_back(table, Some(chain));
                let risk = held_back.map_or_else(
                    || "low".to_owned(),
                    |passes| format!("what it was to hold back {passes}"),
                );
                let chain = format!("{} {}", named(table), quoted(chain));
                (
                    format!("nft 'flush chain {chain}; delete chain {chain}'"),
                    format!("Risk: {risk}; fails where other rules lead to it."),
                )
            }
            Did::Policy {
                table,
                chain,
                now: Some(_),
                was,
            } => (
                format!(
                    "nft 'chain {} {} {{ policy {}; }}'",
                    named(table),
                    quoted(chain),
                    was.unwrap_or(Policy::Accept)
                ),
                "Risk: low, it is what it was before.".to_owned(),
            ),
            Did::Rule {
                table,
                chain,
                came: Came::New,
                ..
            } => (
                format!(
                    "nft delete rule {} {} handle {stands}",
                    named(table),
                    quoted(chain)
                ),
                if holds_back(told) {
                    let passes = passes(table, Some(chain));
                    format!("Risk: what it was to hold back {passes}; ask whose it is.")
                } else {
                    HELD_NOTHING.to_owned()
                },
            ),
            // By it nothing was lost that was not before.
            Did::Rule {
                words,
                came: Came::Gone,
                ..
            } if only_drops(words) => continue,
            // Their words are not those of `nft`.
            Did::Rule {
                table,
                chain,
                words,
                came: Came::Gone,
                ..
            } => {
                lines.push(put_back(table, chain, words));
                continue;
            }
            _ => {
                is_known = false;
                continue;
            }
        };
        let (text, risk) = line;
        lines.push(format!("{}  # {risk}", command(model, netns, &text)));
    }
    // What went is to be put back before what came is taken away.
    lines.sort_by_key(|line| !line.starts_with("Put"));
    is_known.then_some(lines)
}

/// Something may be dropped by it, and not only because of what it does to packets.
fn holds_back(did: &Did) -> bool {
    may_drop(did) && !matches!(did, Did::Rule { words, .. } if untracks(words))
}

/// Puts a rule back of which only the words are known.
pub(in crate::diagnosis) fn put_back(table: &Table, chain: &str, words: &str) -> String {
    format!(
        "Put the rule `{words}` back into table {}, chain {chain}, or have whoever set it load its rules again. {AS_BEFORE}",
        named(table)
    )
}

/// What packets do that a chain at one of these hooks does not hold back any more.
fn ways(hooks: &BTreeSet<Point>) -> String {
    let way = |hook: &Point| match hook {
        Point::Ingress | Point::Prerouting | Point::Input => "comes in",
        Point::Forward => "passes through",
        Point::Output | Point::Postrouting | Point::Egress => "goes out",
    };
    let mut ways: Vec<&str> = hooks.iter().map(way).collect();
    if ways.is_empty() {
        ways = vec!["comes in", "goes out"];
    }
    ways.sort_unstable();
    ways.dedup();
    ways.join(" or ")
}

fn named(table: &Table) -> String {
    format!("{} {}", table.family, quoted(&table.name))
}

/// Nothing of what this change did stands any more but what does nothing to packets by itself: who takes a rule out of a table that
/// was made for it may leave that table there.
pub(super) fn is_back(history: &History<'_>, change: &Change) -> bool {
    let is_idle = |did: &Did| match did {
        Did::Table(..) | Did::Set(_, _, Came::New) | Did::Chain(.., Came::Gone) => true,
        Did::Chain(_, _, policy, Came::New) => *policy != Some(Policy::Drop),
        Did::Rule {
            words,
            came: Came::Gone,
            ..
        } => only_drops(words),
        Did::Object(_, object, ..) => object.only_counts(),
        _ => false,
    };
    let netns = namespace(change).unwrap_or_default();
    let did = ruleset::read(change.after.as_deref().unwrap_or_default());
    did.iter().all(|did| {
        did.as_ref()
            .is_some_and(|did| is_idle(did) || history.stands(netns, change.at, did).is_none())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_let_through_goes_the_way_that_its_chain_was_at() {
        let told = |hooks: &[Point]| ways(&hooks.iter().copied().collect());
        assert_eq!(told(&[Point::Input, Point::Prerouting]), "comes in");
        assert_eq!(told(&[Point::Output]), "goes out");
        assert_eq!(told(&[Point::Output, Point::Input]), "comes in or goes out");
        assert_eq!(told(&[]), "comes in or goes out");
    }
}
