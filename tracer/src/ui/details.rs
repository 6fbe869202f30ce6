//! Verdicts in full.

use super::format::{clean, count, day, moment, plural};
use super::table::Set;
use super::view::Showing;
use super::{episodes, tables, told, words};
use crate::report::{CapabilityState, Class, Confidence, Fact, Flow, Relation, Report, Verdict, Where};

/// A line of a page, and what it is, so that a screen may set it off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it is.
    pub kind: Kind,
    /// Its text, indented.
    pub text: String,
}

/// What a [`Line`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The verdict line.
    Title,
    /// The name of what follows.
    Heading,
    /// Something to read; may be broken between words.
    Text,
    /// A command or the row of a table: never broken, so that it can be copied and stays aligned.
    Verbatim,
}

/// Columns that [`Page::section`] indents by.
pub const INDENT: usize = 2;

/// Lines in the making.
#[derive(Clone, Debug, Default)]
pub struct Page {
    lines: Vec<Line>,
}

impl Page {
    /// Adds a line.
    pub fn line(&mut self, kind: Kind, text: impl AsRef<str>) {
        self.lines.push(Line {
            kind,
            text: clean(text.as_ref()).into_owned(),
        });
    }

    /// Adds an empty line, unless there is one already or nothing yet.
    pub fn gap(&mut self) {
        if self.lines.last().is_some_and(|line| !line.text.is_empty()) {
            self.line(Kind::Text, "");
        }
    }

    /// Adds a heading and what stands under it, if anything does.
    pub fn section<T: AsRef<str>>(&mut self, heading: &str, kind: Kind, lines: impl IntoIterator<Item = T>) {
        let mut lines = lines.into_iter().peekable();
        if lines.peek().is_some() {
            self.gap();
            self.line(Kind::Heading, heading);
            for line in lines {
                self.line(kind, format!("  {}", line.as_ref()));
            }
        }
    }

    /// The lines.
    #[must_use]
    pub fn into_lines(self) -> Vec<Line> {
        self.lines
    }
}

/// Flows under one heading that are shown at most; the rest is counted.
const FLOWS: usize = 8;
/// Columns that flows are set in at most: each takes two lines then, and no line is hard to follow.
const FLOW_COLUMNS: usize = 98;

/// Where the fault is, and what that means.
pub fn place(page: &mut Page, report: &Report) {
    page.line(
        Kind::Title,
        format!("{}: {}", words::place(report.place), words::meaning(report)),
    );
    let beside = [words::not_held(report), episodes::recovered(report)];
    for said in beside.into_iter().flatten() {
        page.line(Kind::Text, said);
    }
    page.gap();
}

/// Everything that the verdicts of a report say; on a healthy node what that rests on. Their flows are set in
/// `flows` columns; `None` where the reader has the table of flows beside.
pub fn verdicts(page: &mut Page, report: &Report, room: Option<usize>) {
    match words::leading(report) {
        Some(verdict) => one(page, verdict, report, room),
        None => nothing(page, report),
    }
    for verdict in words::others(report) {
        page.gap();
        one(page, verdict, report, room);
    }
}

fn one(page: &mut Page, verdict: &Verdict, report: &Report, room: Option<usize>) {
    page.line(Kind::Title, format!("{}  {}", verdict.id, verdict.title));
    page.line(Kind::Text, standing(verdict, report));
    page.gap();
    if let Some(root) = same_as_root(verdict, report) {
        let text = format!(
            "The flows that suffer are those of {root}, which stands above; tracer explain {} says what it means.",
            verdict.id
        );
        page.line(Kind::Text, text);
        return;
    }
    page.line(Kind::Text, &verdict.explanation);
    // Of a weak sign nobody asks for the cause before it has a second one.
    if verdict.decides() || verdict.cause.relation != Relation::Unknown {
        let steps = verdict.cause.chain.iter().map(|step| &step.text);
        page.section(
            words::relation(verdict.cause.relation),
            Kind::Text,
            std::iter::once(&verdict.cause.text).chain(steps),
        );
    }
    page.section(
        "Changed since then, and can do the same",
        Kind::Text,
        verdict
            .also
            .iter()
            .map(|change| {
                format!(
                    "{} at {} UTC",
                    change.text,
                    moment(&change.at, &report.window.end)
                )
            })
            .chain(more(verdict.also_total, verdict.also.len())),
    );
    page.section(
        "Mended by",
        Kind::Text,
        verdict.mended.as_ref().map(|mended| {
            let at = moment(&mended.at, &report.window.end);
            format!("{} at {at} UTC", mended.text)
        }),
    );
    page.section(
        "Changed in the minute before (which does not make it the cause)",
        Kind::Text,
        verdict
            .coincides
            .iter()
            .map(|change| change.text.clone())
            .chain(more(verdict.coincides_total, verdict.coincides.len())),
    );
    page.section(
        "Seen",
        Kind::Text,
        // Flows have a table of their own.
        verdict
            .evidence
            .iter()
            .filter(|seen| !matches!(seen.fact, Fact::Flow { .. }))
            .map(|seen| &seen.text),
    );
    commands(page, "Check (changes nothing)", &verdict.check);
    commands(page, "Mend", &verdict.remedy);
    page.section(
        "Units that suffer, or that it is about",
        Kind::Text,
        some(verdict.units.join(" ")),
    );
    if let Some(room) = room {
        flows(
            page,
            "Flows that suffer",
            &verdict.flows,
            verdict.flows_total,
            room,
        );
    }
}

/// Since when it is so, how sure that is, and where. What follows from another verdict is where that one says, and as sure: but for
/// what is a weak sign only, or says nothing of packets.
fn standing(verdict: &Verdict, report: &Report) -> String {
    let since = words::since(verdict, report);
    let sure = format!(
        "{}: {}",
        words::confidence(verdict.confidence),
        words::confidence_meaning(verdict.confidence)
    );
    let Some(root) = &verdict.under else {
        let place = verdict.place.map_or_else(
            || SAYS_NOTHING.to_owned(),
            |place| words::place(place).to_lowercase(),
        );
        return format!("{since}; {sure}; where: {place}");
    };
    let weak = (verdict.confidence == Confidence::Weak).then_some(sure);
    let nothing = verdict.place.is_none().then(|| format!("where: {SAYS_NOTHING}"));
    [format!("follows from {root}"), since]
        .into_iter()
        .chain(weak)
        .chain(nothing)
        .collect::<Vec<_>>()
        .join("; ")
}

/// Of what has no place.
const SAYS_NOTHING: &str = "says nothing of packets by itself";

/// The verdict that this one follows from, where both have the same flows: then the one says all that the other would.
fn same_as_root<'r>(verdict: &Verdict, report: &'r Report) -> Option<&'r str> {
    let under = verdict.under.as_ref()?;
    let root = report.verdicts.iter().find(|one| one.id == *under)?;
    let is_same = root.flows_total == verdict.flows_total && root.flows == verdict.flows;
    (is_same && !root.flows.is_empty()).then_some(root.id.as_str())
}

/// Commands as they can be copied, each with its comment below; and advice that is no command.
pub(super) fn commands(page: &mut Page, heading: &str, lines: &[impl AsRef<str>]) {
    if lines.is_empty() {
        return;
    }
    page.gap();
    page.line(Kind::Heading, heading);
    for line in lines.iter().map(AsRef::as_ref) {
        match line.split_once("  # ") {
            Some((command, comment)) => {
                page.line(Kind::Verbatim, format!("  {}", command.trim_end()));
                page.line(Kind::Text, format!("      {comment}"));
            }
            // A sentence begins with a capital letter, a command does not.
            None if line.starts_with(char::is_uppercase) => page.line(Kind::Text, format!("  {line}")),
            None => page.line(Kind::Verbatim, format!("  {line}")),
        }
    }
}

/// The first of `total` flows as a table that is at most `room` wide, and how many more there are.
pub fn flows(page: &mut Page, heading: &str, flows: &[Flow], total: u64, room: usize) {
    if flows.is_empty() {
        return;
    }
    let shown = &flows[..flows.len().min(FLOWS)];
    let set = tables::flows(shown, room.saturating_sub(INDENT).min(FLOW_COLUMNS));
    let rows = set.flows.into_iter().flatten();
    let rest = more(total, FLOWS);
    page.section(
        heading,
        Kind::Verbatim,
        [set.header].into_iter().chain(rows).chain(rest),
    );
}

/// Counters under one heading that are shown at most, and sockets and neighbours; the rest is counted.
const COUNTERS: usize = 8;

/// What the kernel tells by itself: its counters and what waits in sockets and for neighbours, as tables that are at most `room` wide.
pub fn told(page: &mut Page, report: &Report, room: usize) {
    let room = room.saturating_sub(INDENT);
    let table = |page: &mut Page, heading: &str, set: Set, rest: Option<String>| {
        let header = (!set.rows.is_empty()).then_some(set.header);
        page.section(
            heading,
            Kind::Verbatim,
            header.into_iter().chain(set.rows).chain(rest),
        );
    };
    counters(page, report, room);
    let stuck = told::stuck(report);
    let shown = &stuck.rows[..stuck.rows.len().min(COUNTERS)];
    table(
        page,
        "Waiting in sockets",
        tables::queues(shown, room),
        stuck.rest(COUNTERS),
    );
    let silent = told::silent(report);
    let shown = &silent.rows[..silent.rows.len().min(COUNTERS)];
    table(
        page,
        "Waiting for neighbours",
        tables::unresolved(shown, room),
        silent.rest(COUNTERS),
    );
}

/// The counters. Where there is no room beside them, what each says stands below it.
fn counters(page: &mut Page, report: &Report, room: usize) {
    let shown = &report.counters[..report.counters.len().min(COUNTERS)];
    if shown.is_empty() {
        return;
    }
    let set = tables::counters(shown, room);
    page.section("Counters of the kernel", Kind::Verbatim, [set.header]);
    for (row, counter) in set.rows.iter().zip(shown) {
        page.line(Kind::Verbatim, format!("  {row}"));
        if set.left_out.contains(&tables::SAYS) {
            page.line(Kind::Text, format!("      {}", counter.text));
        }
    }
    if let Some(rest) = more(report.counters_total, COUNTERS) {
        page.line(Kind::Verbatim, format!("  {rest}"));
    }
}

/// The first `most` namespaces, where several are watched, and how many more there are.
pub fn namespaces(page: &mut Page, report: &Report, most: usize, room: usize) {
    let shown = &report.namespaces[..report.namespaces.len().min(most)];
    if shown.is_empty() {
        return;
    }
    let set = tables::namespaces(shown, room.saturating_sub(INDENT));
    let rows = set.rows.into_iter().zip(set.details);
    page.section(
        "Network namespaces, in packets",
        Kind::Verbatim,
        [set.header]
            .into_iter()
            .chain(rows.flat_map(<[String; 2]>::from))
            .chain(more(report.namespaces_total, most)),
    );
}

/// A page without a verdict: healthy, or unknown.
fn nothing(page: &mut Page, report: &Report) {
    page.line(Kind::Text, words::explanation(report));
    let ledger = &report.ledger;
    let uplinks = if report.uplinks.is_empty() {
        "no uplink".to_owned()
    } else {
        report.uplinks.join(" ")
    };
    // What is dropped before it leaves has not arrived, and is in no ledger.
    let kept_in = report
        .drops
        .iter()
        .filter(|drop| !drop.incoming && drop.class == Class::Policy);
    let kept_in = kept_in.fold(0, |sum: u64, drop| sum.saturating_add(drop.packets));
    let dropped = match ledger.dropped {
        0 if ledger.arrived == 0 && kept_in > 0 => "none dropped that arrived".to_owned(),
        0 if ledger.arrived == 0 => "nothing dropped".to_owned(),
        0 => "none of them dropped".to_owned(),
        some => format!("{} of them dropped", count(some)),
    };
    let starved = match words::starved(report) {
        0 => "no flow starved".to_owned(),
        some => format!("{} starved", plural(some, "flow")),
    };
    let works = report
        .capabilities
        .iter()
        .filter(|one| one.state == CapabilityState::Available)
        .count();
    let mut basis = vec![
        format!(
            "{} on {uplinks}: {}",
            plural(ledger.arrived, "packet"),
            words::balance(report)
        ),
        format!("{dropped}, {starved}"),
    ];
    if kept_in > 0 {
        basis.push(format!(
            "{} that this node was sending: dropped by its own firewall or a program before leaving",
            plural(kept_in, "packet")
        ));
    }
    basis.push(format!(
        "{works} of {} parts of the tracer work",
        report.capabilities.len()
    ));
    if report.place == Where::Healthy && ledger.arrived == 0 {
        basis.push("nothing arrived, so nothing shows that the network works either".to_owned());
    }
    page.section("This rests on", Kind::Text, basis);
}

/// The text, if there is any.
fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// `... and 7 more`, where more are there than shown.
#[must_use]
pub fn more(number: u64, shown: usize) -> Option<String> {
    number
        .checked_sub(shown as u64)
        .filter(|&rest| rest > 0)
        .map(|rest| format!("... and {} more", count(rest)))
}

/// Who was watched, when, and what was not seen: the frame that every page ends with.
pub fn frame(page: &mut Page, report: &Report, showing: Showing) {
    page.section("Not seen", Kind::Text, words::not_seen(&report.capabilities));
    page.section("Incomplete", Kind::Text, words::losses(&report.losses));
    page.section("Filter", Kind::Text, words::filter(report));
    let day = day(&report.window.end).unwrap_or_default();
    page.section(
        "Watched",
        Kind::Text,
        [
            words::node(report),
            words::namespaces(report, showing),
            format!("{day} {}", words::window(report)),
        ],
    );
}
