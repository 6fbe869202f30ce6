//! The page of `tracer diagnose`.

use super::details::{self, INDENT, Kind, Line, Page, more};
use super::format::wrap_item;
use super::view::Showing;
use super::{audit, episodes, ledger, node, tables, told};
use crate::audit::Audit;
use crate::report::{Flow, NodeReport, Report};

/// Columns of a page where it is not known what it is shown on: sentences are broken there and tables fitted to it;
/// commands are as wide as they are.
pub const WIDTH: usize = 100;
/// Places of drops that are shown at most; the rest is counted.
const DROPS: usize = 12;
/// Namespaces that are shown at most; the rest is counted.
const NAMESPACES: usize = 8;

/// The report as a page of text that is so many columns wide, without escape codes.
#[must_use]
pub fn page(report: &Report, showing: Showing, room: usize) -> String {
    broken(lines(report, showing, room), room)
}

/// What `tracer node` tells, as a page of text.
#[must_use]
pub fn node(report: &NodeReport, room: usize) -> String {
    let mut page = Page::default();
    node::alone(&mut page, report, room);
    broken(page.into_lines(), room)
}

/// What `tracer audit` found, as a page of text.
#[must_use]
pub fn audit(audit: &Audit, room: usize) -> String {
    let mut page = Page::default();
    audit::page(&mut page, audit);
    broken(page.into_lines(), room)
}

/// Lines as text; sentences are broken at so many columns.
pub(super) fn broken(lines: Vec<Line>, room: usize) -> String {
    let mut text = String::new();
    for line in lines {
        match line.kind {
            Kind::Text => {
                for part in wrap_item(&line.text, room) {
                    text.push_str(part.trim_end());
                    text.push('\n');
                }
            }
            Kind::Title | Kind::Heading | Kind::Verbatim => {
                text.push_str(&line.text);
                text.push('\n');
            }
        }
    }
    text
}

/// The page, line by line, with tables that are at most `room` wide.
#[must_use]
pub fn lines(report: &Report, showing: Showing, room: usize) -> Vec<Line> {
    let inner = room.saturating_sub(INDENT);
    let mut page = Page::default();
    details::place(&mut page, report);
    details::verdicts(&mut page, report, Some(room));
    episodes::section(&mut page, report);

    // Beside one another, as on the screen, or below one another where there is no room.
    let books = ledger::across(report, inner).map_or_else(|| ledger::down(report), Vec::from);
    page.section(ledger::TITLE, Kind::Verbatim, books);
    for beside in told::before_arrival(report)
        .into_iter()
        .chain(told::fragments(report))
    {
        page.line(Kind::Text, format!("  {beside}"));
    }

    details::namespaces(&mut page, report, NAMESPACES, room);

    let order = tables::in_order(&report.drops);
    let shown = &order[..order.len().min(DROPS)];
    let drops = tables::drops(shown, inner);
    let header = (!shown.is_empty()).then_some(drops.header);
    page.section(
        "Drops",
        Kind::Verbatim,
        header
            .into_iter()
            .chain(drops.rows)
            .chain(more(order.len() as u64, DROPS)),
    );
    if let Some(beside) = told::no_packets(report) {
        page.line(Kind::Text, format!("  {beside}"));
    }

    details::told(&mut page, report, room);
    node::changed(&mut page, report);

    let told = |flow: &&Flow| report.verdicts.iter().any(|one| one.flows.contains(*flow));
    let others: Vec<Flow> = report
        .starved
        .iter()
        .filter(|flow| !told(flow))
        .cloned()
        .collect();
    let heading = if others.len() < report.starved.len() {
        "Other starved flows"
    } else {
        "Starved flows"
    };
    // Of flows that have no room in the report it is not known whether a verdict tells them.
    let unlisted = report.starved_total.saturating_sub(report.starved.len() as u64);
    details::flows(&mut page, heading, &others, others.len() as u64 + unlisted, room);

    details::frame(&mut page, report, showing);
    page.into_lines()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Class, Confidence, Destination};
    use crate::ui::sample;

    /// Of this node.
    fn page(report: &Report, room: usize) -> String {
        super::page(report, Showing::Live, room)
    }

    #[test]
    fn page_of_a_healthy_node() {
        insta::assert_snapshot!(page(&sample::healthy(), WIDTH));
    }

    #[test]
    fn page_of_a_node_that_has_recovered() {
        insta::assert_snapshot!(page(&sample::recovered(), WIDTH));
    }

    #[test]
    fn page_of_the_incident() {
        insta::assert_snapshot!(page(&sample::incident(), WIDTH));
    }

    #[test]
    fn page_of_a_silent_data_path() {
        insta::assert_snapshot!(page(&sample::data_path(), WIDTH));
    }

    #[test]
    fn page_of_many_drops_with_losses() {
        insta::assert_snapshot!(page(&sample::many_drops(), WIDTH));
    }

    #[test]
    fn page_of_losses_without_an_event() {
        insta::assert_snapshot!(page(&sample::silent_losses(), WIDTH));
    }

    #[test]
    fn page_of_nothing() {
        insta::assert_snapshot!(page(&sample::nothing(), WIDTH));
    }

    /// What does not leave has not arrived, and is told beside what has.
    #[test]
    fn what_is_kept_from_leaving_is_not_called_nothing() {
        for mut report in [sample::healthy(), sample::nothing()] {
            let mut kept_in = sample::incident().drops.remove(0);
            kept_in.packets = 254;
            (kept_in.incoming, kept_in.class) = (false, Class::Policy);
            report.drops.push(kept_in);
            let page = page(&report, WIDTH);
            let told = "254 packets that this node was sending: dropped by its own firewall or a program";
            assert!(page.contains(told), "{page}");
            assert!(!page.contains("nothing dropped"), "{page}");
        }
    }

    #[test]
    fn page_of_the_node_alone() {
        insta::assert_snapshot!(node(&sample::alone(), WIDTH));
    }

    #[test]
    fn page_of_a_node_without_systemd() {
        insta::assert_snapshot!(node(&sample::without_systemd(), WIDTH));
    }

    #[test]
    fn page_of_the_audit() {
        insta::assert_snapshot!(audit(&sample::audit(), WIDTH));
    }

    #[test]
    fn commands_are_never_broken() {
        let mut report = sample::incident();
        let command = format!("ip route get {} from 192.0.2.10", "x".repeat(200));
        report.verdicts[0].check = vec![command.clone()];
        assert!(page(&report, WIDTH).lines().any(|line| line.trim() == command));
    }

    #[test]
    fn what_follows_from_another_and_has_its_flows_is_told_in_short() {
        let mut report = sample::incident();
        let mut follower = report.verdicts[0].clone();
        follower.id = "D01".to_owned();
        follower.under = Some(report.verdicts[0].id.clone());
        follower.explanation = "Said once already.".to_owned();
        report.verdicts.push(follower);
        let text = page(&report, WIDTH);
        assert!(
            text.contains("D01  ") && !text.contains("Said once already."),
            "{text}"
        );
        // Where the fault is, and how sure that is, the root alone says.
        let standing = format!(
            "follows from {}; since 06:14:07 UTC (4 min 11 s)\n\n",
            report.verdicts[0].id
        );
        assert!(text.contains(&standing), "{text}");
        // But for what is no more than a sign, or nothing of packets.
        let follower = report.verdicts.last_mut().unwrap();
        (follower.confidence, follower.place) = (Confidence::Weak, None);
        let text = page(&report, 200);
        let standing = format!(
            "follows from {}; since 06:14:07 UTC (4 min 11 s); weak: a sign only, it needs a second one; where: says nothing of \
             packets by itself\n",
            report.verdicts[0].id
        );
        assert!(text.contains(&standing), "{text}");
        // But in full where others suffer.
        report.verdicts.last_mut().unwrap().flows.pop();
        assert!(page(&report, WIDTH).contains("Said once already."));
    }

    #[test]
    fn what_a_counter_says_is_never_cut() {
        let report = sample::silent_losses();
        for room in [80, 100, 300] {
            let text = page(&report, room).replace('\n', " ");
            let words: Vec<&str> = text.split_whitespace().collect();
            let text = words.join(" ");
            for counter in report.counters.iter().take(8) {
                assert!(text.contains(&counter.text), "{} at {room}: {text}", counter.text);
            }
        }
    }

    #[test]
    fn of_a_flow_in_transit_nothing_is_told_that_is_not_counted() {
        let mut report = sample::incident();
        report.verdicts.clear();
        report.starved = vec![Flow {
            destination: Destination::Transit,
            delivered: None,
            arrived: 33,
            dropped: 13,
            state: String::new(),
            pid: 0,
            command: String::new(),
            cgroup: String::new(),
            unit: String::new(),
            sent: 0,
            retransmitted: 0,
            ..sample::starved_flow()
        }];
        let text = page(&report, 80);
        let row = text.lines().find(|line| line.contains("in transit"));
        assert_eq!(
            row.map(str::trim),
            Some("NOT_SPECIFIED ip_forward+0x1c4, in transit"),
            "{text}"
        );
        let numbers = text.lines().find(|line| line.contains("10.10.0.2:40000"));
        let numbers: Vec<&str> = numbers
            .unwrap_or_default()
            .split_whitespace()
            .skip(4)
            .take(3)
            .collect();
        assert_eq!(numbers, ["33", "-", "13"], "{text}");
    }

    #[test]
    fn a_flow_is_told_once() {
        let report = sample::incident();
        let text = page(&report, WIDTH);
        for flow in &report.starved {
            let ends = format!("{} -> {}", flow.local, flow.remote);
            let rows = text
                .lines()
                .filter(|line| line.trim_start().starts_with(&flow.protocol) && line.contains(&ends));
            assert_eq!(rows.count(), 1, "{ends}\n{text}");
        }
    }

    #[test]
    fn lines_that_are_no_commands_are_not_too_wide() {
        for report in sample::all() {
            for line in page(&report, WIDTH).lines() {
                assert!(crate::ui::format::width(line) <= WIDTH, "{line}");
            }
        }
    }

    #[test]
    fn a_name_cannot_forge_a_line() {
        let mut report = sample::incident();
        report.starved[0].command = "sh\nHEALTHY\x1b[2J".to_owned();
        report.verdicts[0].title = "a\nb".to_owned();
        assert!(
            page(&report, WIDTH)
                .lines()
                .all(|line| !line.starts_with("HEALTHY") && !line.contains('\x1b'))
        );
    }
}
