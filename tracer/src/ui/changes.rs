//! What changed on the node, in sentences. What follows from something is told with it, as a number.

use super::actor::by;
use super::format::{count, time_of_day};
use crate::event::value::{OF_DEVICE, PROGRAM, differing, renaming};
use crate::event::{NodeAction, froze, only, started_anew};
use crate::report::{Became, Change, ChangeKind, Difference, EARLIEST, Following, Node, Unknown, What};

/// A list of which the middle may be left out: what is told of it, from its beginning and its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ends<T> {
    /// Before what is left out.
    pub(super) first: Vec<T>,
    /// How many are left out.
    pub(super) left_out: u64,
    /// Behind it.
    pub(super) last: Vec<T>,
}

impl<T> Ends<T> {
    /// At most so many of a list, which has `total` members of which the given ones are listed: those behind the last
    /// `behind` of these and all before.
    fn of(mut list: Vec<T>, behind: usize, total: u64, most: usize) -> Self {
        let left_out = total.saturating_sub(list.len() as u64);
        let shown = most.min(list.len());
        let (first, last) = match (left_out > 0, shown < list.len()) {
            (false, false) => (shown, 0),
            (true, false) => (list.len().saturating_sub(behind), behind.min(list.len())),
            (_, true) => (shown - shown / 2, shown / 2),
        };
        let left_out = left_out + (list.len() - first - last) as u64;
        let tail = list.split_off(list.len() - last);
        list.truncate(first);
        Self {
            first: list,
            left_out,
            last: tail,
        }
    }

    /// `... 18 more between`
    pub(super) fn between(&self) -> Option<String> {
        (self.left_out > 0).then(|| format!("... {} more between", count(self.left_out)))
    }
}

/// The changes that follow no other one, the latest first: at most so many.
pub(super) fn leading(node: &Node, most: usize) -> Ends<&Change> {
    let listed = node
        .changes
        .iter()
        .filter(|change| change.follows.is_none())
        .collect();
    Ends::of(listed, EARLIEST, node.leading_total, most)
}

/// The same in sentences.
pub(super) fn lines(node: &Node, most: usize) -> Vec<String> {
    let all = leading(node, most);
    let between = all.between();
    let first = all.first.into_iter().map(stamped);
    first
        .chain(between)
        .chain(all.last.into_iter().map(stamped))
        .collect()
}

/// A change in one sentence, with its time of day to the millisecond and what follows it.
pub(super) fn stamped(change: &Change) -> String {
    let text = format!("{}  {}", stamp(change), told(change));
    if change.with.is_empty() {
        text
    } else {
        format!("{text}; with it {}", following(&change.with))
    }
}

pub(super) fn stamp(change: &Change) -> &str {
    change.at.get(11..23).unwrap_or(&change.at)
}

/// `5 routes and 2 addresses gone, 3 kernel's answers changed`
pub(super) fn following(with: &[Following]) -> String {
    let all = [
        (Became::Gone, "gone"),
        (Became::Changed, "changed"),
        (Became::New, "new"),
    ];
    let parts = all.into_iter().filter_map(|(became, word)| {
        let of = with.iter().filter(|one| one.became == became);
        let things: Vec<String> = of.map(|one| things(one.what, one.number)).collect();
        let (last, before) = things.split_last()?;
        Some(match before {
            [] => format!("{last} {word}"),
            before => format!("{} and {last} {word}", before.join(", ")),
        })
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// `12 routes`
pub(super) fn things(what: What, number: u64) -> String {
    let (one, many) = match what {
        What::Device => ("device", "devices"),
        What::Rule => ("rule", "rules"),
        What::Address => ("address", "addresses"),
        What::Route => ("route", "routes"),
        What::Nexthop => ("next hop", "next hops"),
        What::Answer => ("kernel's answer", "kernel's answers"),
        What::Neighbour => ("neighbour", "neighbours"),
        What::Traffic => ("qdisc, class or filter", "qdiscs, classes and filters"),
        What::Offloads => ("device's offloads", "devices' offloads"),
        What::Ipsec => ("IPsec policy", "IPsec policies"),
        What::Sysctl => ("kernel parameter", "kernel parameters"),
        What::Ruleset => ("firewall's rules", "firewalls' rules"),
        What::Tracking => (
            "deletion of tracked connections",
            "deletions of tracked connections",
        ),
        What::Program => ("BPF program", "BPF programs"),
        What::BpfLink => ("BPF link", "BPF links"),
        What::Nsid => ("namespace id", "namespace ids"),
        What::File => ("file", "files"),
    };
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

fn told(change: &Change) -> String {
    let what = what(change);
    let place = match change.netns.as_str() {
        "" => String::new(),
        netns => format!(" ({netns})"),
    };
    // Of systemd and the kernel's log nobody expects it: only the JSON says why.
    let unknown = change
        .by_unknown
        .filter(|_| matches!(change.kind, ChangeKind::Setting | ChangeKind::Packages));
    let by = by("; ", change.by.as_ref(), unknown);
    // Where it was seen by comparing, that says so.
    let noticed = if change.noticed && unknown != Some(Unknown::Compared) {
        "; it came about before and was noticed only then"
    } else {
        ""
    };
    format!("{what}{place}{by}{noticed}")
}

/// What changed, without where and by whom.
pub(super) fn what(change: &Change) -> String {
    match change.kind {
        ChangeKind::Setting => became(&change.object, change.before.as_deref(), change.after.as_deref()),
        ChangeKind::Unit => match (&change.before, &change.after) {
            (Some(before), Some(after)) => match (started_anew(Some(before), after), froze(before, after)) {
                (Some(stands), _) => format!("{} started anew: {stands}", change.object),
                (None, Some(true)) => {
                    format!(
                        "{}: {after}: its processes read nothing that comes to them",
                        change.object
                    )
                }
                (None, Some(false)) => format!("{}: {after}: running again, was frozen", change.object),
                (None, None) => match only(before, after) {
                    Some(only) => format!("{}: {only}", change.object),
                    None => format!("{}: {before} -> {after}", change.object),
                },
            },
            (None, Some(after)) => format!("{}: {after}", change.object),
            // systemd unloads what is at rest, and nothing else.
            (Some(before), None) => format!("{}: {before} -> stopped and unloaded", change.object),
            (None, None) => format!("{} unloaded", change.object),
        },
        ChangeKind::Job => {
            let job = some(&change.after);
            let ends =
                NodeAction::of_job(&change.object, job).map_or_else(String::new, |and| format!(": {and}"));
            format!("job for {}: {job}{ends}", change.object)
        }
        ChangeKind::Timer => format!("{}: {}", change.object, some(&change.after)),
        ChangeKind::Packages => format!("packages ({}): {}", change.object, some(&change.after)),
        ChangeKind::Notice | ChangeKind::Starvation => some(&change.after).to_owned(),
    }
}

fn some(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or_default()
}

/// `IPv4 rule 0: from all lookup local: gone`
fn became(object: &str, before: Option<&str>, after: Option<&str>) -> String {
    match (before, after) {
        (Some(before), None) if !before.is_empty() => format!("{object}: gone, was {before}"),
        (_, None) => format!("{object}: gone"),
        (None, Some("")) => format!("{object}: new"),
        (None, Some(after)) => format!("{object}: new, {after}"),
        (Some(""), Some(after)) => format!("{object}: {after}"),
        (Some(before), Some(after)) => {
            let (renamed, before, after) = match renaming(before, after) {
                Some((was, before, after)) if before == after => {
                    return format!("{object}: renamed, was {was}");
                }
                Some((was, before, after)) => (format!("renamed, was {was}; "), before, after),
                None => (String::new(), before, after),
            };
            let are_as_many = before.split(OF_DEVICE).count() == after.split(OF_DEVICE).count();
            let (before, after) = differing(before, after);
            if are_as_many && before.starts_with(PROGRAM) && after.starts_with(PROGRAM) {
                return format!("{object}: {before} replaced by {after}");
            }
            format!("{object}: {renamed}{before} -> {after}")
        }
    }
}

/// A difference to the baseline in one sentence.
pub(super) fn difference(difference: &Difference) -> String {
    let what = became(
        &difference.object,
        difference.before.as_deref(),
        difference.now.as_deref(),
    );
    let by = by(", ", difference.by.as_ref(), difference.by_unknown);
    format!("{what} since {}{by}", time_of_day(&difference.at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::sample;

    /// A node with so many changes, of which the report has the latest 150 and the earliest 50.
    fn many(number: u64) -> Node {
        let mut node = sample::incident().node;
        let one = Change {
            with: vec![],
            follows: None,
            ..node.changes[0].clone()
        };
        let all = (1..=number).rev().map(|number| Change {
            number,
            at: format!("2023-10-10T06:14:{:02}.{:03}Z", number / 1000, number % 1000),
            ..one.clone()
        });
        let earliest = EARLIEST as u64;
        node.changes = all
            .filter(|one| one.number <= earliest || one.number > number.saturating_sub(200 - earliest))
            .collect();
        (node.changes_total, node.leading_total) = (number, number);
        node
    }

    fn with(what: What, became: Became, number: u64) -> Following {
        Following { what, became, number }
    }

    #[test]
    fn what_became_of_a_unit_is_told_by_what_matters() {
        let told = |before: &str, after: Option<&str>| {
            let change = Change {
                kind: ChangeKind::Unit,
                object: "a.service".to_owned(),
                before: Some(before.to_owned()),
                after: after.map(str::to_owned),
                by: None,
                by_unknown: None,
                noticed: false,
                ..sample::incident().node.changes[0].clone()
            };
            what(&change)
        };
        const RUNS: &str = "active (running)";
        assert_eq!(
            told(
                "activating (start)",
                Some("active (running), started anew, main process 471, was 460")
            ),
            "a.service started anew: active (running), main process 471, was 460"
        );
        assert_eq!(told(RUNS, Some(RUNS)), "a.service started anew: active (running)");
        assert_eq!(
            told(RUNS, Some("inactive (dead)")),
            "a.service: active (running) -> inactive (dead)"
        );
        assert_eq!(
            told(RUNS, None),
            "a.service: active (running) -> stopped and unloaded"
        );
        let frozen = format!("{RUNS}, frozen");
        assert_eq!(
            told(RUNS, Some(&frozen)),
            "a.service: active (running), frozen: its processes read nothing that comes to them"
        );
        assert_eq!(
            told(&frozen, Some(RUNS)),
            "a.service: active (running): running again, was frozen"
        );
    }

    #[test]
    fn of_a_unit_that_stands_as_before_only_what_is_new_is_told() {
        let told = |before: &str, after: &str| {
            let change = Change {
                kind: ChangeKind::Unit,
                object: "a.service".to_owned(),
                before: Some(before.to_owned()),
                after: Some(after.to_owned()),
                ..sample::incident().node.changes[0].clone()
            };
            what(&change)
        };
        const RUNS: &str = "active (running)";
        const FAILED: &str = "failed (failed), result exit-code";
        let reload = |result: &str| format!("{RUNS}, its last reload failed: result {result}");
        let left = |number: &str| format!("{FAILED}, {number} left in its cgroup");
        for (before, after, words) in [
            (
                RUNS,
                &*reload("timeout"),
                "its last reload failed: result timeout",
            ),
            (
                &reload("timeout"),
                &reload("exit-code"),
                "its last reload failed: result exit-code",
            ),
            (
                &reload("timeout"),
                RUNS,
                "reloaded again since its last reload failed",
            ),
            (FAILED, &left("3 processes"), "3 processes left in its cgroup"),
            (
                &left("3 processes"),
                &left("1 process"),
                "1 process left in its cgroup, were 3",
            ),
            (
                &left("1 process"),
                FAILED,
                "no process left in its cgroup any more",
            ),
            (
                FAILED,
                &format!("{FAILED}, not started again: its start limit is hit"),
                "not started again: its start limit is hit",
            ),
            (
                &left("1 process"),
                &format!("{}, frozen", left("1 process")),
                "failed (failed), result exit-code, 1 process left in its cgroup, frozen: its processes read nothing that comes to them",
            ),
            (
                FAILED,
                "failed (failed), result timeout",
                "failed (failed), result exit-code -> failed (failed), result timeout",
            ),
        ] {
            assert_eq!(told(before, after), format!("a.service: {words}"));
        }
    }

    #[test]
    fn the_earliest_and_the_latest_are_told_and_how_many_lie_between() {
        let told = |number, most| -> Vec<String> {
            let lines = lines(&many(number), most);
            lines
                .iter()
                .map(|line| line.split("  ").next().unwrap_or_default().to_owned())
                .collect()
        };
        assert_eq!(told(3, 4), ["06:14:00.003", "06:14:00.002", "06:14:00.001"]);
        assert_eq!(
            told(7, 3),
            [
                "06:14:00.007",
                "06:14:00.006",
                "... 4 more between",
                "06:14:00.001"
            ]
        );
        assert_eq!(
            told(1207, 3),
            [
                "06:14:01.207",
                "06:14:01.206",
                "... 1,204 more between",
                "06:14:00.001"
            ]
        );
        let all = told(1207, usize::MAX);
        assert_eq!(
            (all.len(), all[150].as_str(), all[151].as_str(), all[149].as_str()),
            (201, "... 1,007 more between", "06:14:00.050", "06:14:01.058")
        );
        assert_eq!(told(0, 3), [""; 0]);
    }

    #[test]
    fn a_program_in_the_place_of_another_one_is_told_as_that() {
        let of = |id: u32| format!("program {id} (guard tag 0011223344556677), loaded by uid 0");
        let told = |before: &str, after: &str| became("BPF programs at x", Some(before), Some(after));
        assert_eq!(
            told(&of(12), &of(13)),
            "BPF programs at x: program 12 (guard tag 0011223344556677) replaced by \
             program 13 (guard tag 0011223344556677)"
        );
        let both = format!("program 11 (tag 8899), {}", of(13));
        assert_eq!(
            told(&of(13), &both),
            format!("BPF programs at x: {} -> {both}", of(13))
        );
    }

    #[test]
    fn what_was_noticed_later_says_so_where_nothing_else_does() {
        let noticed = |kind, by_unknown| Change {
            kind,
            by: None,
            by_unknown: Some(by_unknown),
            noticed: true,
            ..sample::incident().node.changes[0].clone()
        };
        let compared = told(&noticed(ChangeKind::Setting, Unknown::Compared));
        assert!(
            compared.ends_with("the kernel does not tell who does this"),
            "{compared}"
        );
        let unit = told(&noticed(ChangeKind::Unit, Unknown::NotTold));
        assert!(
            unit.ends_with("; it came about before and was noticed only then"),
            "{unit}"
        );
    }

    #[test]
    fn what_follows_is_counted_with_what_it_follows() {
        let all = [
            with(What::Route, Became::Gone, 5),
            with(What::Address, Became::Gone, 1),
            with(What::Route, Became::Changed, 1),
            with(What::Answer, Became::Changed, 3),
        ];
        assert_eq!(
            following(&all),
            "5 routes and 1 address gone, 1 route and 3 kernel's answers changed"
        );
        let lines = lines(&sample::incident().node, 12);
        assert_eq!(
            lines[1],
            "06:14:07.352  IPv4 rule 0: from all lookup local: gone; by systemd-networkd[812] \
             (systemd-networkd.service); with it 1 kernel's answer changed"
        );
        assert_eq!(lines.len(), 7);
    }

    #[test]
    fn a_job_that_ends_the_node_says_so() {
        let told = |object: &str, after: &str| {
            what(&Change {
                kind: ChangeKind::Job,
                object: object.to_owned(),
                before: None,
                after: Some(after.to_owned()),
                ..sample::incident().node.changes[0].clone()
            })
        };
        assert_eq!(
            told("poweroff.target", "start queued"),
            "job for poweroff.target: start queued: the node is powered off"
        );
        assert_eq!(
            told("a.service", "start queued"),
            "job for a.service: start queued"
        );
    }

    #[test]
    fn of_a_device_only_what_differs_is_told() {
        assert_eq!(
            became(
                "device eth0",
                Some("up, carrier, mtu 1500"),
                Some("down, no carrier, mtu 1500")
            ),
            "device eth0: up, carrier -> down, no carrier"
        );
        let renamed = |before| became("device ens3", Some(before), Some("down, mtu 1500, was eth0"));
        assert_eq!(renamed("down, mtu 1500"), "device ens3: renamed, was eth0");
        assert_eq!(
            renamed("down, mtu 1500, was up0"),
            "device ens3: renamed, was eth0"
        );
        assert_eq!(
            renamed("up, mtu 1500"),
            "device ens3: renamed, was eth0; up -> down"
        );
        assert_eq!(became("x", Some("a, b"), Some("a")), "x: a, b -> a");
        assert_eq!(became("x", Some("a"), Some("a")), "x: a -> a");
    }
}
