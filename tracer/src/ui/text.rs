//! The page of `tracer diagnose`.

use super::details::{self, Kind, Line, Page, more};
use super::format::wrap;
use super::{ledger, tables};
use crate::report::Report;

/// Columns that sentences are broken at; tables and commands are as wide as they are.
const WIDTH: usize = 100;
/// Columns that flows are set in: each takes two lines then, and no line is hard to follow.
const FLOWS: usize = 120;
/// Rows of a table that are shown at most; the rest is counted.
const ROWS: usize = 20;
/// Columns that [`Page::section`] indents by.
const INDENT: usize = 2;

/// The report as a page of text, without escape codes.
#[must_use]
pub fn page(report: &Report) -> String {
    let mut text = String::new();
    for line in lines(report, usize::MAX) {
        match line.kind {
            Kind::Text => {
                for part in wrap(&line.text, WIDTH) {
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
pub fn lines(report: &Report, room: usize) -> Vec<Line> {
    let room = room.saturating_sub(INDENT);
    let mut page = Page::default();
    details::place(&mut page, report);
    details::verdicts(&mut page, report);

    page.section("Ledger, in packets", Kind::Verbatim, ledger::down(report));

    let drops = tables::drops(&report.drops).set(room);
    let header = (!drops.rows.is_empty()).then_some(drops.header);
    let rows = drops.rows.iter().take(ROWS).cloned();
    page.section(
        "Drops",
        Kind::Verbatim,
        header.into_iter().chain(rows).chain(more(drops.rows.len(), ROWS)),
    );

    let flows = tables::flows(&report.starved, room.min(FLOWS));
    let header = (!flows.flows.is_empty()).then_some(flows.header);
    let rows = flows.flows.iter().take(ROWS).flatten().cloned();
    let rest = more(flows.flows.len(), ROWS);
    page.section(
        "Starved flows",
        Kind::Verbatim,
        header.into_iter().chain(rows).chain(rest),
    );

    details::frame(&mut page, report);
    page.into_lines()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::sample;

    #[test]
    fn page_of_a_healthy_node() {
        insta::assert_snapshot!(page(&sample::healthy()));
    }

    #[test]
    fn page_of_the_incident() {
        insta::assert_snapshot!(page(&sample::incident()));
    }

    #[test]
    fn page_of_a_silent_data_path() {
        insta::assert_snapshot!(page(&sample::data_path()));
    }

    #[test]
    fn page_of_many_drops_with_losses() {
        insta::assert_snapshot!(page(&sample::many_drops()));
    }

    #[test]
    fn page_of_nothing() {
        insta::assert_snapshot!(page(&sample::nothing()));
    }

    #[test]
    fn commands_are_never_broken() {
        let mut report = sample::incident();
        let command = format!("ip route get {} from 192.0.2.10", "x".repeat(200));
        report.verdicts[0].check = vec![command.clone()];
        assert!(page(&report).lines().any(|line| line.trim() == command));
    }

    #[test]
    fn a_name_cannot_forge_a_line() {
        let mut report = sample::incident();
        report.starved[0].command = "sh\nHEALTHY\x1b[2J".to_owned();
        report.verdicts[0].title = "a\nb".to_owned();
        assert!(
            page(&report)
                .lines()
                .all(|line| !line.starts_with("HEALTHY") && !line.contains('\x1b'))
        );
    }
}
