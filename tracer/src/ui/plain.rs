//! Blocks of text, for logs, pipes and terminals that can do nothing else.

use super::details::more;
use super::format::{fit, time_of_day, wrap};
use super::news::Told;
use super::{episodes, ledger, node, tables, told, upgrades, words};
use crate::report::{Capability, Report, Where};

/// Columns that sentences are broken at and tables are fitted to.
const WIDTH: usize = 100;
/// Drops and flows that a block shows at most; the rest is counted.
const ROWS: usize = 5;
/// Changes on the node that a block shows at most.
const CHANGES: usize = 10;

/// Blocks in a row: what the tracer cannot see is told in the first one, and whenever it changes; what package managers did
/// before, once.
#[derive(Clone, Debug, Default)]
pub struct Blocks {
    told: Option<Vec<Capability>>,
    /// What package managers did in the last day was told.
    upgrades: bool,
    /// That the node has recovered, as it was told.
    recovered: Option<String>,
    /// Changes on the node that were told.
    changes: Told,
}

impl Blocks {
    /// The next block.
    pub fn next(&mut self, report: &Report) -> String {
        let mut text = String::new();
        if self.told.as_ref() != Some(&report.capabilities) {
            if self.told.is_none() {
                push(
                    &mut text,
                    &format!(
                        "{} UTC  {}",
                        time_of_day(&report.window.start),
                        words::node(report)
                    ),
                );
            }
            let not_seen = words::not_seen(&report.capabilities);
            if not_seen.is_empty() {
                push(&mut text, "  everything can be seen");
            }
            for part in not_seen {
                push_wrapped(&mut text, &format!("  not seen: {part}"));
            }
            self.told = Some(report.capabilities.clone());
        }
        if !self.upgrades {
            let past = upgrades::of_the_last_day(&report.node, &report.window);
            self.upgrades = !past.is_empty();
            for run in past {
                push_wrapped(&mut text, &format!("  by the logs: {run}"));
            }
        }
        let recovered = episodes::recovered(report);
        let is_told = recovered == self.recovered;
        self.recovered = recovered;
        text.push_str(&one(report, is_told));
        for change in self.changes.next(&report.node, CHANGES) {
            push_wrapped(&mut text, &format!("  changed {change}"));
        }
        text
    }
}

/// One block: the verdict line, the books, and as much of drops and flows as a second allows.
#[must_use]
pub fn block(report: &Report) -> String {
    one(report, false)
}

/// The same. That the node has recovered is told once.
fn one(report: &Report, has_told_recovery: bool) -> String {
    let mut text = String::new();
    let mut headline = words::headline(report);
    if has_told_recovery && report.place == Where::Healthy {
        headline.when = words::not_held(report).unwrap_or_default();
    }
    push(
        &mut text,
        &format!(
            "{} UTC  {}  {}",
            time_of_day(&report.window.end),
            headline.place,
            headline.text
        ),
    );
    if !headline.when.is_empty() {
        push_wrapped(&mut text, &format!("  {}", headline.when));
    }
    if let Some(verdict) = words::leading(report) {
        push_wrapped(&mut text, &format!("  {}", words::explanation(report)));
        for part in words::cause(verdict, report) {
            push_wrapped(&mut text, &format!("  {part}"));
        }
    }
    let also = words::also(report);
    if !also.is_empty() {
        push_wrapped(&mut text, &format!("  {also}"));
    }
    push(&mut text, &format!("  total  {}", ledger::totals(report)));
    push(&mut text, &format!("  rate   {}", ledger::rates(report)));

    if report.namespaces.len() > 1 {
        let shown = &report.namespaces[..report.namespaces.len().min(ROWS)];
        let set = tables::namespaces(shown, WIDTH - 9);
        push(&mut text, &format!("  netns  {}", set.header));
        for row in &set.rows {
            push(&mut text, &format!("         {row}"));
        }
        push_more(&mut text, report.namespaces_total);
    }
    if !report.drops.is_empty() {
        let drops = tables::drops(&tables::in_order(&report.drops), WIDTH - 9);
        push(&mut text, &format!("  drops  {}", drops.header));
        for row in drops.rows.iter().take(ROWS) {
            push(&mut text, &format!("         {row}"));
        }
        push_more(&mut text, drops.rows.len() as u64);
    }
    if !report.starved.is_empty() {
        let flows = tables::flows(&report.starved, WIDTH - 9);
        push(&mut text, &format!("  flows  {}", flows.header));
        for row in flows.flows.iter().take(ROWS).flatten() {
            push(&mut text, &format!("         {row}"));
        }
        push_more(&mut text, report.starved_total);
    }
    for (label, parts) in [
        ("broken", node::broken(&report.node)),
        ("at work", node::at_work(&report.node)),
        ("soon", node::soon(&report.node, &report.window.end)),
    ] {
        let rest = more(parts.len() as u64, ROWS);
        for part in parts.iter().take(ROWS).chain(&rest) {
            push_wrapped(&mut text, &format!("  {label}: {part}"));
        }
    }
    for (label, parts) in [
        ("before", Vec::from_iter(told::before_arrival(report)).into()),
        ("parts", Vec::from_iter(told::fragments(report)).into()),
        ("count", told::counters(report)),
        ("queues", told::queues(report)),
    ] {
        let rest = parts.rest(ROWS);
        for (index, part) in parts.rows.iter().take(ROWS).chain(&rest).enumerate() {
            let label = if index == 0 { label } else { "" };
            push(&mut text, &format!("  {label:6} {}", fit(part, WIDTH - 9)));
        }
    }
    for part in words::losses(&report.losses) {
        push(&mut text, &format!("  incomplete: {part}"));
    }
    if let Some(filter) = words::filter(report) {
        push_wrapped(&mut text, &format!("  {filter}"));
    }
    text
}

fn push(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

fn push_wrapped(text: &mut String, line: &str) {
    for part in wrap(line, WIDTH) {
        push(text, &part);
    }
}

fn push_more(text: &mut String, number: u64) {
    if let Some(rest) = more(number, ROWS) {
        push(text, &format!("         {rest}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::CapabilityState;
    use crate::ui::sample;

    #[test]
    fn block_of_a_healthy_node() {
        insta::assert_snapshot!(block(&sample::healthy()));
    }

    #[test]
    fn a_block_says_that_the_node_has_recovered() {
        let text = block(&sample::recovered());
        let second = text.lines().nth(1);
        assert_eq!(
            second,
            Some("  recovered: R01 was last seen at 06:16:10 UTC, after 2 min 5 s"),
            "{text}"
        );
        let mut blocks = Blocks::default();
        let told = |text: &str| text.contains("recovered: R01 was last seen");
        assert!(told(&blocks.next(&sample::recovered())));
        assert!(!told(&blocks.next(&sample::recovered())), "once is enough");
        blocks.next(&sample::incident());
        assert!(told(&blocks.next(&sample::recovered())), "it recovered once more");
    }

    #[test]
    fn block_of_the_incident() {
        insta::assert_snapshot!(block(&sample::incident()));
    }

    #[test]
    fn block_of_a_silent_data_path() {
        insta::assert_snapshot!(block(&sample::data_path()));
    }

    #[test]
    fn block_of_many_drops_with_losses() {
        insta::assert_snapshot!(Blocks::default().next(&sample::many_drops()));
    }

    #[test]
    fn block_of_losses_without_an_event() {
        insta::assert_snapshot!(block(&sample::silent_losses()));
    }

    #[test]
    fn capabilities_are_told_at_first_and_when_they_change() {
        let mut blocks = Blocks::default();
        let mut report = sample::many_drops();
        let not_seen = |text: &str| {
            text.lines()
                .filter(|line| line.starts_with("  not seen: "))
                .count()
        };
        assert_eq!(not_seen(&blocks.next(&report)), 2);
        assert_eq!(not_seen(&blocks.next(&report)), 0);
        report.capabilities[0].state = CapabilityState::Unavailable;
        assert_eq!(not_seen(&blocks.next(&report)), 3);
        report
            .capabilities
            .iter_mut()
            .for_each(|one| one.state = CapabilityState::Available);
        assert!(blocks.next(&report).starts_with("  everything can be seen\n"));
    }

    #[test]
    fn blocks_are_plain() {
        for report in sample::all() {
            let text = Blocks::default().next(&report);
            assert!(text.is_ascii(), "{text}");
            assert!(text.lines().count() < 48);
        }
    }
}
