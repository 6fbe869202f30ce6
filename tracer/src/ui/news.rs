//! What changed on the node since it was last told, in sentences: for blocks that follow one another.

use std::collections::BTreeMap;

use super::changes::{following, stamp, stamped, things, what};
use super::format::count;
use crate::event::{NodeAction, went_wrong};
use crate::report::{Change, ChangeKind, Following, Node, What};

/// Of changes of which some were told before: those that were not, the earliest first; and of those that were, what follows
/// them by now.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    /// Numbers up to this one were told.
    number: u64,
    leading: u64,
    /// What was told to follow the changes of the last report.
    with: BTreeMap<u64, Vec<Following>>,
}

/// Something to tell.
struct News<'r> {
    change: &'r Change,
    text: String,
}

impl Told {
    /// What is new, in sentences, at most so many: what matters most, in the order of time. Of the rest it is told how much there
    /// is of what.
    pub(super) fn next(&mut self, node: &Node, most: usize) -> Vec<String> {
        let leading = node
            .changes
            .iter()
            .rev()
            .filter(|change| change.follows.is_none());
        let mut with = BTreeMap::new();
        let mut news = Vec::new();
        let mut fresh = 0;
        for change in leading {
            if change.number > self.number {
                fresh += 1;
                let text = stamped(change);
                news.push(News { change, text });
            } else {
                let told = self.with.get(&change.number).map_or(&[][..], Vec::as_slice);
                let more = grown(told, &change.with);
                if !more.is_empty() {
                    let text = format!("{}  with {}: {}", stamp(change), what(change), following(&more));
                    news.push(News { change, text });
                }
            }
            with.insert(change.number, change.with.clone());
        }
        let unlisted = node
            .leading_total
            .saturating_sub(self.leading)
            .saturating_sub(fresh);
        *self = Self {
            number: node.changes_total,
            leading: node.leading_total,
            with,
        };
        let (mut told, left_out) = choose(news, most);
        // What happened is told as it is heard of, which may be later than what came of it.
        told.sort_by_key(|one| one.change.at.as_str());
        let rest = rest(&left_out, unlisted);
        told.into_iter().map(|one| one.text).chain(rest).collect()
    }
}

/// At most so many, of the lowest ranks, and the others. Of those of one rank of which there is room for some, the first and the
/// last.
fn choose(mut news: Vec<News<'_>>, most: usize) -> (Vec<News<'_>>, Vec<News<'_>>) {
    if news.len() <= most {
        return (news, Vec::new());
    }
    // The sort is stable.
    news.sort_by_key(|one| rank(one.change));
    let last = rank(news[most].change);
    let from = news.partition_point(|one| rank(one.change) < last);
    let to = news.partition_point(|one| rank(one.change) <= last);
    let behind = (most - from) / 2;
    let mut left_out = news.split_off(to);
    let latest = news.split_off(news.len() - behind);
    left_out.extend(news.split_off(most - behind));
    news.extend(latest);
    (news, left_out)
}

/// How little a change matters to somebody who looks for what broke the node.
fn rank(change: &Change) -> u8 {
    let after = change.after.as_deref().unwrap_or_default();
    match change.kind {
        ChangeKind::Notice | ChangeKind::Starvation | ChangeKind::Packages => 0,
        ChangeKind::Job if NodeAction::of_job(&change.object, after).is_some() => 0,
        ChangeKind::Unit if went_wrong(after) => 0,
        ChangeKind::Setting => match change.what {
            Some(
                What::Rule
                | What::Route
                | What::Address
                | What::Nexthop
                | What::Ruleset
                | What::Tracking
                | What::Ipsec
                | What::File,
            ) => 0,
            Some(
                What::Device
                | What::Sysctl
                | What::Answer
                | What::Traffic
                | What::Program
                | What::BpfLink
                | What::Offloads,
            ) => 1,
            Some(What::Neighbour | What::Nsid) => 3,
            None => 2,
        },
        ChangeKind::Unit | ChangeKind::Timer => 2,
        ChangeKind::Job => 3,
    }
}

/// `... and 12 more: 8 neighbours, 4 jobs; a recording has all (--record, tracer export)`
fn rest(left_out: &[News<'_>], unlisted: u64) -> Option<String> {
    let total = left_out.len() as u64 + unlisted;
    if total == 0 {
        return None;
    }
    let mut kinds: BTreeMap<(ChangeKind, Option<What>), u64> = BTreeMap::new();
    for one in left_out {
        *kinds.entry((one.change.kind, one.change.what)).or_default() += 1;
    }
    let mut parts: Vec<String> = kinds
        .into_iter()
        .map(|(kind, number)| kind_words(kind, number))
        .collect();
    if unlisted > 0 {
        parts.push(format!("{} that the report has no room for", count(unlisted)));
    }
    Some(format!(
        "... and {} more: {}; a recording has all (--record, tracer export)",
        count(total),
        parts.join(", ")
    ))
}

/// `8 neighbours`
fn kind_words((kind, what): (ChangeKind, Option<What>), number: u64) -> String {
    let (one, many) = match (kind, what) {
        (ChangeKind::Setting, Some(what)) => return things(what, number),
        (ChangeKind::Setting, None) => ("network namespace", "network namespaces"),
        (ChangeKind::Unit, _) => ("change of a unit", "changes of units"),
        (ChangeKind::Job, _) => ("job", "jobs"),
        (ChangeKind::Timer, _) => ("timer", "timers"),
        (ChangeKind::Packages, _) => ("change of packages", "changes of packages"),
        (ChangeKind::Notice, _) => ("notice", "notices"),
        (ChangeKind::Starvation, _) => ("change of starvation", "changes of starvation"),
    };
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// What more follows than was told.
fn grown(told: &[Following], now: &[Following]) -> Vec<Following> {
    let before = |one: &Following| {
        let same = told
            .iter()
            .find(|other| (other.what, other.became) == (one.what, one.became));
        same.map_or(0, |same| same.number)
    };
    let more = now.iter().map(|one| Following {
        number: one.number.saturating_sub(before(one)),
        ..*one
    });
    more.filter(|one| one.number > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::sample;

    #[test]
    fn each_is_told_once_and_what_follows_later_is_told_when_it_does() {
        let mut told = Told::default();
        let mut node = sample::incident().node;
        let rule = node.changes.iter().position(|one| one.number == 6).unwrap();
        let all = std::mem::take(&mut node.changes[rule].with);
        assert_eq!(told.next(&node, 10).len(), 7);
        node.changes[rule].with = all;
        assert_eq!(
            told.next(&node, 10),
            ["06:14:07.352  with IPv4 rule 0: from all lookup local: gone: 1 kernel's answer changed"]
        );
        assert_eq!(told.next(&node, 10), [""; 0]);
    }

    #[test]
    fn what_came_of_something_is_told_behind_it_though_it_was_heard_of_before() {
        let mut node = sample::incident().node;
        node.changes.truncate(2);
        node.leading_total = 2;
        // The latest that was told is the first.
        for (change, at) in node.changes.iter_mut().zip(["37.095", "37.105"]) {
            change.at = format!("2023-10-10T06:14:{at}Z");
            change.follows = None;
        }
        let told = Told::default().next(&node, 10);
        let times: Vec<&str> = told.iter().map(|text| &text[..12]).collect();
        assert_eq!(times, ["06:14:37.095", "06:14:37.105"]);
    }

    /// A change of each of these, a millisecond apart.
    fn node(all: &[(ChangeKind, Option<What>, &str)]) -> Node {
        let mut node = sample::incident().node;
        let first = node.changes[0].clone();
        node.changes = all
            .iter()
            .zip(1..=all.len() as u64)
            .map(|((kind, what, after), number)| Change {
                number,
                at: format!("2023-10-10T06:14:00.{number:03}Z"),
                kind: *kind,
                what: *what,
                object: format!("thing {number}"),
                after: Some((*after).to_owned()),
                follows: None,
                with: Vec::new(),
                ..first.clone()
            })
            .collect();
        node.changes.reverse();
        node.changes_total = all.len() as u64;
        node.leading_total = node.changes_total;
        node
    }

    fn times(told: &[String]) -> Vec<&str> {
        told.iter()
            .filter_map(|text| text.strip_prefix("06:14:00."))
            .map(|text| &text[..3])
            .collect()
    }

    #[test]
    fn what_matters_is_told_before_what_there_is_much_of() {
        let neighbour = (ChangeKind::Setting, Some(What::Neighbour), "");
        let job = (ChangeKind::Job, None, "start running");
        let unit = (ChangeKind::Unit, None, "active (running)");
        let failed = (ChangeKind::Unit, None, "failed (failed), result timeout");
        let rule = (ChangeKind::Setting, Some(What::Rule), "");
        let all = [
            neighbour, job, neighbour, failed, neighbour, unit, rule, neighbour, job, neighbour,
        ];
        let told = Told::default().next(&node(&all), 4);
        assert_eq!(times(&told), ["001", "004", "006", "007"]);
        assert_eq!(
            told[4],
            "... and 6 more: 4 neighbours, 2 jobs; a recording has all (--record, tracer export)"
        );
        assert_eq!(times(&Told::default().next(&node(&all), 10)).len(), 10);
    }

    #[test]
    fn of_many_that_matter_alike_the_first_and_the_last_are_told() {
        let route = (ChangeKind::Setting, Some(What::Route), "");
        let job = (ChangeKind::Job, None, "start running");
        let mut node = node(&[&[job; 3][..], &[route; 9]].concat());
        (node.changes_total, node.leading_total) = (1012, 1012);
        let told = Told::default().next(&node, 5);
        assert_eq!(times(&told), ["004", "005", "006", "011", "012"]);
        assert_eq!(
            told[5],
            "... and 1,007 more: 4 routes, 3 jobs, 1,000 that the report has no room for; a recording has all (--record, \
             tracer export)"
        );
    }
}
