//! Takes back what changes of the rules of nf_tables did.

use std::collections::BTreeSet;

use super::AS_BEFORE;
use crate::diagnosis::words::command;
use crate::event::Point;
use crate::event::ruleset::{self, Came, Did, Policy, Table};
use crate::model::Model;
use crate::model::timeline::Change;
use crate::shell::quoted;

/// Takes back what one change of the rules of nf_tables did, as far as later ones have not done so.
pub(super) fn take_back(model: &Model, netns: u32, change: &Change) -> Option<Vec<String>> {
    let did = ruleset::read(change.after.as_deref()?);
    let later = later(model, change, u64::MAX);
    if did.is_empty() || did.iter().any(Option::is_none) {
        return None;
    }
    let did: Vec<Did> = did.into_iter().flatten().collect();
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
    let mut lines = Vec::new();
    let mut is_known = true;
    for one in &did {
        let Some(stands) = stands(one, &later) else {
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
                format!(
                    "Risk: all that it was to hold back {}; ask whose it is.",
                    passes(table, None)
                ),
            ),
            Did::Chain(table, chain, _, Came::New) => {
                let passes = passes(table, Some(chain));
                let chain = format!("{} {}", named(table), quoted(chain));
                (
                    format!("nft 'flush chain {chain}; delete chain {chain}'"),
                    format!("Risk: what it was to hold back {passes}; fails where other rules lead to it."),
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
                format!(
                    "Risk: what it was to hold back {}; ask whose it is.",
                    passes(table, Some(chain))
                ),
            ),
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

/// The other change takes back some of what this one did, that stood until then.
pub(super) fn takes_back(model: &Model, change: &Change, other: &Change) -> bool {
    let (before, with) = (
        later(model, change, other.at.saturating_sub(1)),
        later(model, change, other.at),
    );
    let did = ruleset::read(change.after.as_deref().unwrap_or_default());
    did.iter()
        .flatten()
        .any(|one| stands(one, &before).is_some() && stands(one, &with).is_none())
}

/// Nothing of what this change did stands any more but what does nothing to packets by itself: who takes a rule out of a table that
/// was made for it may leave that table there.
pub(super) fn is_back(model: &Model, change: &Change) -> bool {
    let later = later(model, change, u64::MAX);
    let is_idle = |did: &Did| match did {
        Did::Table(_, Came::New) | Did::Set(_, _, Came::New) => true,
        Did::Chain(_, _, policy, Came::New) => *policy != Some(Policy::Drop),
        Did::Object(_, object, ..) => object.only_counts(),
        _ => false,
    };
    let did = ruleset::read(change.after.as_deref().unwrap_or_default());
    did.iter().all(|did| {
        did.as_ref()
            .is_some_and(|did| is_idle(did) || stands(did, &later).is_none())
    })
}

/// What the changes of the same rules did after this one, until then. Of one change what went comes first: the same may have come
/// anew with it.
fn later(model: &Model, change: &Change, until: u64) -> Vec<Did> {
    model
        .timeline()
        .all()
        .filter(|(_, later)| later.subject == change.subject && later.at > change.at && later.at <= until)
        .flat_map(|(_, later)| {
            let did = ruleset::read(later.after.as_deref().unwrap_or_default());
            let mut did: Vec<Did> = did.into_iter().flatten().collect();
            // The sort is stable.
            did.sort_by_key(|did| !is_gone(did));
            did
        })
        .collect()
}

fn is_gone(did: &Did) -> bool {
    matches!(
        did,
        Did::Table(_, Came::Gone)
            | Did::Chain(_, _, _, Came::Gone)
            | Did::Rule { came: Came::Gone, .. }
            | Did::Set(_, _, Came::Gone)
            | Did::Elements(_, _, _, Came::Gone)
    )
}

/// What was done stands, after what was done later: with the number that a rule has by now, and 0 for what has none. `None` where
/// it was undone. Who undid it may have done it once more.
fn stands(one: &Did, later: &[Did]) -> Option<u64> {
    let mut stands = Some(number(one));
    for later in later {
        match undoes(one, stands, later) {
            Some(true) => stands = None,
            Some(false) => stands = Some(number(later)),
            None => {}
        }
    }
    stands
}

/// The number of a rule; 0 for what has none.
fn number(did: &Did) -> u64 {
    match did {
        Did::Rule { handle, .. } => *handle,
        _ => 0,
    }
}

/// It undoes what stands so, or does it once more; `None` where it has nothing to do with it.
fn undoes(one: &Did, stands: Option<u64>, later: &Did) -> Option<bool> {
    let is = |is: bool, of: bool| of.then_some(is);
    match (one, later) {
        (Did::Table(table, came), Did::Table(of, now)) => is(came != now, table == of),
        (
            Did::Chain(table, ..)
            | Did::Rule { table, .. }
            | Did::Policy { table, .. }
            | Did::Set(table, ..)
            | Did::Object(table, ..)
            | Did::Renamed { table, .. }
            | Did::Elements(table, ..),
            Did::Table(of, Came::Gone),
        ) => is(true, table == of),
        (
            Did::Renamed { table, chain, was },
            Did::Renamed {
                table: of,
                chain: now,
                was: before,
            },
        ) => is(true, (table, chain, was) == (of, before, now)),
        (Did::Chain(table, chain, _, came), Did::Chain(of, other, _, now)) => {
            is(came != now, (table, chain) == (of, other))
        }
        (
            Did::Rule {
                table,
                chain,
                words,
                came: Came::New,
                ..
            },
            Did::Rule {
                table: of,
                chain: other,
                words: said,
                handle: number,
                came: now,
            },
        ) => {
            let is_same = match now {
                Came::Gone => stands == Some(*number),
                Came::New => stands.is_none() && words == said,
            };
            is(*now == Came::Gone, is_same && (table, chain) == (of, other))
        }
        (
            Did::Policy {
                table,
                chain,
                was,
                now: is_now,
            },
            Did::Policy {
                table: of,
                chain: other,
                now,
                ..
            },
        ) if now == was || now == is_now => is(now == was, (table, chain) == (of, other)),
        _ => None,
    }
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
