//! The page of the timeline: the books over time and what changed, on one axis.

use super::details::{INDENT, Kind, Page, more};
use super::format::{count, time_of_day, wrap};
use super::{changes, upgrades};
use crate::report::{Node, Report};

/// The page of the timeline.
pub(super) fn page(page: &mut Page, report: &Report, room: usize) {
    let node = &report.node;
    page.line(Kind::Title, "Packets and what changed on the node, on one axis");
    // The list of what differs is long where much is broken: it stands below.
    page.line(Kind::Text, differences(node));
    let header = format!(
        "{:8}  {:20}  {:>9}  {:>9}  {:>9}  {:>7}",
        "UTC", "# arrived, - dropped", "arrived", "delivered", "dropped", "starved"
    );
    let lines = axis(report, room.saturating_sub(INDENT));
    page.section(
        "Timeline, the latest first; 10 s each; starved: the most flows at once",
        Kind::Verbatim,
        [header].into_iter().chain(lines),
    );
    if node.changes.is_empty() {
        page.line(
            Kind::Text,
            "  Nothing changed on the node while it was watched, as far as it can be seen.",
        );
    }
    page.section(
        upgrades::HEADING,
        Kind::Text,
        upgrades::latest(node, &report.window.end),
    );
    let rest = more(node.differences_total, node.differences.len());
    page.section(
        &format!("Not as it was {}", baseline(node)),
        Kind::Text,
        node.differences.iter().map(changes::difference).chain(rest),
    );
}

/// What the differences are to.
fn baseline(node: &Node) -> String {
    match &node.baseline {
        Some(at) => format!("at {} UTC, when the node was last well", time_of_day(at)),
        None => "at the start".to_owned(),
    }
}

/// How much differs, in one line.
fn differences(node: &Node) -> String {
    let baseline = baseline(node);
    match node.differences_total {
        0 => format!("The network is configured as it was {baseline}."),
        1 => format!("1 thing is not as it was {baseline}: see the end of this page."),
        many => format!(
            "{} things are not as they were {baseline}: see the end of this page.",
            count(many)
        ),
    }
}

/// Bands of packets and changes, the latest first. Of bands in which the same happens, nothing, the first stands for all, and
/// says how many follow.
fn axis(report: &Report, room: usize) -> Vec<String> {
    let node = &report.node;
    let mut lines: Vec<(&str, u8, String)> = Vec::new();
    let most = node
        .bands
        .iter()
        .map(|band| band.arrived)
        .max()
        .unwrap_or(0)
        .max(1);
    let quiet = |index: usize| {
        node.bands
            .get(index)
            .is_some_and(|band| band.arrived == 0 && band.starved == 0 && !band.partial)
    };
    for (index, band) in node.bands.iter().enumerate() {
        if quiet(index) && index > 0 && quiet(index - 1) {
            continue;
        }
        let alike = (index + 1..)
            .take_while(|next| quiet(index) && quiet(*next))
            .count();
        let remark = match alike {
            _ if band.partial => "part".to_owned(),
            0 => String::new(),
            more => format!("+{more}"),
        };
        /// Columns of the bar of the band in which most arrived.
        const BAR: u64 = 20;
        let length = |packets: u64| {
            usize::try_from(u128::from(packets) * u128::from(BAR) / u128::from(most)).unwrap_or(0)
        };
        let kept = length(band.arrived.saturating_sub(band.dropped));
        let bar = format!(
            "{}{}",
            "#".repeat(kept),
            "-".repeat(length(band.arrived).saturating_sub(kept))
        );
        let text = format!(
            "{}  {bar:20}  {:>9}  {:>9}  {:>9}  {:>7}  {}",
            time_of_day(&band.at),
            count(band.arrived),
            count(band.delivered),
            count(band.dropped),
            count(band.starved),
            remark
        );
        lines.push((&band.at, 0, text.trim_end().to_owned()));
    }
    let all = changes::leading(node, usize::MAX);
    let between = all.between().zip(all.last.first());
    lines.extend(between.map(|(text, next)| (next.at.as_str(), 2, text)));
    let told = all.first.iter().chain(&all.last);
    lines.extend(told.map(|one| (one.at.as_str(), 1, changes::stamped(one))));
    // Both are in order; the sort is stable. RFC 3339 times of one form are in the order of their texts.
    lines.sort_by(|one, other| (other.0, other.1).cmp(&(one.0, one.1)));
    lines
        .into_iter()
        .flat_map(|(_, kind, text)| {
            if kind == 0 {
                vec![text]
            } else {
                hanging(&text, room)
            }
        })
        .collect()
}

/// A line broken to the room, what goes on indented below its text.
fn hanging(text: &str, room: usize) -> Vec<String> {
    const UNDER: usize = 14;
    let mut lines = wrap(text, room.max(40));
    if lines.len() > 1 {
        let first = lines.remove(0);
        let rest = wrap(&lines.join(" "), room.max(40) - UNDER);
        return [first]
            .into_iter()
            .chain(
                rest.iter()
                    .map(|line| format!("{}{}", " ".repeat(UNDER), line.trim_start())),
            )
            .collect();
    }
    lines
}
