//! Draws a report. Pure: what is drawn depends on the report, the view and the size, nothing else.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span, Text};

use super::details::{self, Kind};
use super::format::{bytes, count, fit, seconds, time_of_day, width, wrap, wrap_item};
use super::theme::Theme;
use super::told::{self, Told};
use super::view::{Focus, Page, Panes, Scroll, Showing, ViewState};
use super::{help, ledger, node, tables, text, timeline, words};
use crate::report::{NAMESPACES, Report};

/// Below this size there is no room for tables side by side with anything.
const LEAST: (u16, u16) = (60, 18);
/// From this size on the verdict stands to the right of the tables.
const WIDE: (u16, u16) = (150, 20);
/// From this height on the verdict stands below the tables.
const TALL: u16 = 36;
/// Rows that a verdict below the tables needs to be worth it.
const DETAILS: usize = 8;

/// Ends an explanation that goes on on the page of verdicts.
const REST: &str = " ... (v)";

type Lines = Vec<Line<'static>>;

/// Draws the report, or the one at which the reader paused, on the whole frame.
pub fn render(frame: &mut Frame<'_>, report: &Report, view: &mut ViewState) {
    let chosen = view.choose(report);
    let report = chosen.as_ref().unwrap_or(report);
    let area = frame.area();
    let one = area.width < LEAST.0 || area.height < LEAST.1;
    match view.page {
        Page::Help => cover(frame, help::page(report, view.showing), view),
        Page::Namespaces => cover(frame, namespaces(report, view.showing, area.width.into()), view),
        Page::Units => cover(
            frame,
            made(|page| node::units(page, report, area.width.into())),
            view,
        ),
        Page::Timeline => cover(
            frame,
            made(|page| timeline::page(page, report, area.width.into())),
            view,
        ),
        Page::Verdict => cover(frame, text::lines(report, view.showing, area.width.into()), view),
        Page::Overview if one => {
            view.panes = Panes::One;
            let headline = words::headline(report);
            let mut page = details::Page::default();
            page.line(Kind::Title, format!("{}  {}", headline.place, headline.text));
            page.line(Kind::Text, headline.when);
            page.gap();
            let mut lines = page.into_lines();
            lines.extend(text::lines(report, view.showing, area.width.into()));
            cover(frame, lines, view);
        }
        Page::Overview => overview(frame, report, view),
    }
}

fn overview(frame: &mut Frame<'_>, report: &Report, view: &mut ViewState) {
    let theme = view.theme;
    let area = frame.area();
    let wide = area.width >= WIDE.0 && area.height >= WIDE.1;
    let tall = !wide && area.height >= TALL;
    view.panes = if wide || tall { Panes::All } else { Panes::Tables };

    let columns = usize::from(area.width);
    let foot = foot(report, view, columns);
    let explanation = if wide || tall {
        0
    } else {
        // What the tables leave free.
        let books = books(report, theme, columns).len();
        let fixed = head(report, theme, columns, 0).len() + books + foot.len();
        let (drops, flows) = (report.drops.len(), report.starved.len());
        let tables = titles(drops) + drops + titles(flows) + 2 * flows;
        let least = if area.height < 24 { 1 } else { 3 };
        usize::from(area.height).saturating_sub(fixed + tables).max(least)
    };
    let head = head(report, theme, columns, explanation);
    let top = rows(head.len()).min(area.height);
    let bottom = rows(foot.len()).min(area.height - top);
    let body = Rect {
        y: area.y + top,
        height: area.height - top - bottom,
        ..area
    };
    put(frame, Rect { height: top, ..area }, head);
    put(
        frame,
        Rect {
            y: body.bottom(),
            height: bottom,
            ..area
        },
        foot,
    );

    if wide {
        let right = (area.width * 2 / 5).clamp(60, 96);
        let left = Rect {
            width: area.width - right - 1,
            ..body
        };
        let bar = Rect {
            x: left.right(),
            width: 1,
            ..body
        };
        let right = Rect {
            x: bar.right(),
            width: right,
            ..body
        };
        put(
            frame,
            bar,
            vec![paint(theme, theme.bar(), theme.quiet()); bar.height.into()],
        );
        let tables = books_and_tables(report, view, left.width.into(), left.height.into());
        put(frame, left, tables);
        let lines = verdict(report, view, right.width.into(), right.height.into());
        put(frame, right, lines);
        return;
    }
    let details = match usize::from(body.height) {
        room if tall => (room * 2 / 5).max(DETAILS),
        _ => 0,
    };
    let mut lines = books_and_tables(report, view, columns, usize::from(body.height) - details);
    if tall {
        let room = usize::from(body.height).saturating_sub(lines.len());
        lines.extend(verdict(report, view, columns, room));
    }
    put(frame, body, lines);
}

/// The verdict line, since when, as many lines of the explanation as asked for, and which other verdicts there are.
fn head(report: &Report, theme: Theme, columns: usize, explanation: usize) -> Lines {
    let headline = words::headline(report);
    let badge = format!(" {} ", headline.place);
    let style = theme.place(report.place);
    let mut when = headline.when;
    let mut lines = Lines::new();

    let beside = width(&badge) + 1 + width(&headline.text) + 3 + width(&when);
    let on_one_line = when.is_empty() || beside <= columns;
    // The badge is put over blanks that are as wide.
    let rest = format!("{}{}", "x".repeat(width(&badge) + 1), headline.text);
    for (index, part) in wrap(&rest, columns).into_iter().enumerate() {
        if index == 0 {
            let text = part.get(badge.len() + 1..).unwrap_or_default().to_owned();
            let mut line = vec![Span::styled(badge.clone(), style), Span::raw(" ")];
            line.push(Span::styled(theme.text(&text).into_owned(), theme.title()));
            if on_one_line && !when.is_empty() {
                line.push(Span::raw(format!("   {when}")));
            }
            lines.push(Line::from(line));
        } else {
            lines.push(paint(theme, &part, theme.title()));
        }
    }
    let units = words::leading(report)
        .map(|verdict| verdict.units.join(" "))
        .unwrap_or_default();
    if on_one_line {
        when.clear();
    }
    let second = match (when.as_str(), units.as_str()) {
        ("", "") => None,
        (when, "") => Some(when.to_owned()),
        ("", units) => Some(format!("units: {units}")),
        (when, units) => Some(format!("{when}; units: {units}")),
    };
    // Of many units some will do; what mended a node that has recovered is to be read to its end.
    let room = if words::leading(report).is_some() { 1 } else { 2 };
    let parts = second.map_or_else(Vec::new, |text| {
        if room == 1 {
            vec![text]
        } else {
            wrap(&text, columns)
        }
    });
    let (told, rest) = parts.split_at(parts.len().min(room));
    for (index, part) in told.iter().enumerate() {
        let last = index + 1 == told.len() && !rest.is_empty();
        let part = if last {
            format!("{part} {}", rest.join(" "))
        } else {
            part.clone()
        };
        lines.push(paint(theme, &fit(&part, columns), Style::new()));
    }

    if explanation > 0 {
        let parts = wrap(&words::explanation(report), columns);
        let cut = parts.len() > explanation;
        for (index, part) in parts.into_iter().take(explanation).enumerate() {
            let last = cut && index + 1 == explanation;
            let part = if last {
                let words = wrap(&part, columns.saturating_sub(width(REST)));
                format!("{}{REST}", words.first().map_or("", String::as_str))
            } else {
                part
            };
            lines.push(paint(theme, &part, Style::new()));
        }
    }
    let also = words::also(report);
    if !also.is_empty() {
        lines.push(paint(theme, &fit(&also, columns), Style::new()));
    }
    lines
}

/// Lines above a table of so many rows: its name, and its header where it has rows.
fn titles(number: usize) -> usize {
    if number == 0 { 1 } else { 2 }
}

/// Ledger, drops and flows, in at most `room` lines.
fn books_and_tables(report: &Report, view: &mut ViewState, columns: usize, room: usize) -> Lines {
    let theme = view.theme;
    let mut lines = books(report, theme, columns);
    let order = tables::in_order(&report.drops);
    let drops = tables::drops(&order, columns);
    let flows = tables::flows(&report.starved, columns);
    let height = flows.flows.first().map_or(1, Vec::len);
    let free = room.saturating_sub(lines.len() + titles(drops.rows.len()) + titles(flows.flows.len()));
    let need = flows.flows.len() * height;
    let for_drops = drops.rows.len().min((free / 2).max(free.saturating_sub(need)));
    let for_flows = flows.flows.len().min((free - for_drops) / height);
    // A line that is too few for a flow is enough for a drop.
    let for_drops = free - for_flows * height;

    let shown = view.drops.window(drops.rows.len(), for_drops);
    lines.push(title(
        theme,
        view.focus == Focus::Drops,
        &places(drops.rows.len()),
        &part(&view.drops),
        columns,
    ));
    if !drops.rows.is_empty() {
        lines.push(paint(theme, &fit(&drops.header, columns), theme.heading()));
    }
    for index in shown {
        let style = theme.class(order[index].class);
        lines.push(paint(theme, &fit(&drops.rows[index], columns), style));
    }

    let shown = view.flows.window(flows.flows.len(), for_flows);
    lines.push(title(
        theme,
        view.focus == Focus::Flows,
        &starved(report),
        &part(&view.flows),
        columns,
    ));
    if !flows.flows.is_empty() {
        lines.push(paint(theme, &fit(&flows.header, columns), theme.heading()));
    }
    for flow in &flows.flows[shown] {
        for (index, text) in flow.iter().enumerate() {
            let style = if index == 0 { Style::new() } else { theme.quiet() };
            lines.push(paint(theme, &fit(text, columns), style));
        }
    }
    lines
}

fn books(report: &Report, theme: Theme, columns: usize) -> Lines {
    let speed = format!("{}/s in", bytes(report.rates.arrived_bytes));
    let mut lines = vec![title(theme, false, ledger::TITLE, &speed, columns)];
    match ledger::across(report, columns) {
        Some([names, totals, rates]) => {
            lines.push(paint(theme, &names, theme.heading()));
            lines.push(paint(theme, &totals, theme.title()));
            lines.push(paint(theme, &rates, Style::new()));
        }
        None => {
            for sentence in [ledger::totals(report), ledger::rates(report)] {
                lines.extend(
                    wrap(&sentence, columns)
                        .iter()
                        .map(|part| paint(theme, part, Style::new())),
                );
            }
        }
    }
    for (label, parts) in [
        ("", Vec::from_iter(told::before_arrival(report)).into()),
        ("", Vec::from_iter(told::fragments(report)).into()),
        ("counted: ", told::counters(report)),
        ("waiting: ", told::queues(report)),
    ] {
        let line = headed(label, &parts, columns);
        lines.extend(line.map(|line| paint(theme, &line, theme.warning())));
    }
    lines
}

/// The verdicts in full, in at most `room` lines.
fn verdict(report: &Report, view: &mut ViewState, columns: usize, room: usize) -> Lines {
    let theme = view.theme;
    let mut page = details::Page::default();
    details::verdicts(&mut page, report, None);
    details::told(&mut page, report, columns);
    page.section("Not seen", Kind::Text, words::not_seen(&report.capabilities));
    page.section("Incomplete", Kind::Text, words::losses(&report.losses));
    let all = broken(&page.into_lines(), theme, columns);
    let shown = view.details.window(all.len(), room.saturating_sub(1));
    let focused = view.focus == Focus::Details;
    let mut lines = vec![title(theme, focused, "Verdict", &part(&view.details), columns)];
    lines.extend(all.into_iter().skip(shown.start).take(shown.len()));
    lines
}

/// The line of keys, by how much room it needs.
const KEYS: [&str; 4] = [
    "q quit  v verdict  t timeline  u units  n netns  Tab/arrows  p pause  ? help",
    "q quit  v verdict  t timeline  u units  n netns  ? help",
    "q quit  v verdict  ? help",
    "q quit  ? help",
];

/// What the screen ends with: warnings, who is watched, keys.
fn foot(report: &Report, view: &ViewState, columns: usize) -> Lines {
    let theme = view.theme;
    let mut lines = Lines::new();
    let mut warn = |style: Style, label: &str, parts: Vec<String>| {
        if let Some(text) = headed(label, &parts.into(), columns) {
            lines.push(paint(theme, &text, style));
        }
    };
    // Examples beyond their budget are no loss of counts, and no reason to be alarmed.
    let style = if words::nothing_lost(&report.losses) {
        theme.quiet()
    } else {
        theme.warning()
    };
    warn(style, "incomplete: ", words::losses(&report.losses));
    warn(
        theme.warning(),
        "not seen: ",
        words::not_seen(&report.capabilities),
    );
    warn(theme.warning(), "", words::filter(report).into_iter().collect());
    let node = words::node(report);
    let window = format!(
        "{} UTC ({})",
        time_of_day(&report.window.end),
        seconds(report.window.seconds.round())
    );
    let space = columns.saturating_sub(width(&node) + width(&window)).max(2);
    let line = format!("{node}{}{window}", " ".repeat(space));
    // The time matters more than the name of the kernel.
    let line = if width(&line) <= columns {
        line
    } else {
        format!(
            "{}  {window}",
            fit(&node, columns.saturating_sub(width(&window) + 2))
        )
    };
    lines.push(paint(theme, &line, theme.quiet()));
    let showing = view.mark();
    // Where there is no room for all keys, the one that tells all of them is among those that stay.
    let keys = KEYS
        .map(|keys| format!("{showing}{keys}"))
        .into_iter()
        .find(|keys| width(keys) <= columns)
        .unwrap_or_else(|| format!("{showing}q quit"));
    lines.push(paint(
        theme,
        &fit(&keys, columns),
        if showing.is_empty() {
            theme.heading()
        } else {
            theme.warning()
        },
    ));
    lines
}

/// The first part, and how many more there are; at least, where the report has no room for all.
fn headed(label: &str, parts: &Told<String>, columns: usize) -> Option<String> {
    let first = parts.rows.first()?;
    let rest = match (parts.rows.len() - 1, parts.unlisted) {
        (0, 0) => String::new(),
        (more, 0) => format!(" (+{more}, see v)"),
        (more, _) => format!(" (+{more} or more, see v)"),
    };
    let room = columns.saturating_sub(width(label) + width(&rest));
    Some(format!("{label}{}{rest}", fit(first, room)))
}

/// A page, line by line.
fn made(fill: impl FnOnce(&mut details::Page)) -> Vec<details::Line> {
    let mut page = details::Page::default();
    fill(&mut page);
    page.into_lines()
}

/// The page of namespaces, line by line.
fn namespaces(report: &Report, showing: Showing, columns: usize) -> Vec<details::Line> {
    let mut page = details::Page::default();
    details::namespaces(&mut page, report, NAMESPACES, columns);
    if report.namespaces.is_empty() {
        page.line(
            Kind::Text,
            match report.namespaces_watched {
                0 | 1 if words::may_see_others(report, showing) => {
                    "Only one network namespace is watched: --netns all watches all that there are."
                        .to_owned()
                }
                0 | 1 => "Only one network namespace is watched.".to_owned(),
                many => format!(
                    "{} network namespaces are watched, and no packet was counted in any.",
                    count(many)
                ),
            },
        );
    }
    page.into_lines()
}

/// A page that covers the overview, with a line of keys where there is room.
fn cover(frame: &mut Frame<'_>, page: Vec<details::Line>, view: &mut ViewState) {
    let area = frame.area();
    let theme = view.theme;
    let columns = usize::from(area.width);
    let keys = u16::from(area.height >= 8);
    let all = broken(&page, theme, columns);
    let shown = view.cover.window(all.len(), usize::from(area.height - keys));
    let lines = all.into_iter().skip(shown.start).take(shown.len()).collect();
    put(
        frame,
        Rect {
            height: area.height - keys,
            ..area
        },
        lines,
    );
    let back = match view.page {
        Page::Overview => "",
        Page::Verdict => "  v back",
        Page::Namespaces => "  n back",
        Page::Units => "  u back",
        Page::Timeline => "  t back",
        Page::Help => "  ? back",
    };
    let text = format!(
        "{}q quit{back}  arrows scroll  {}",
        view.mark(),
        part(&view.cover)
    );
    let line = vec![paint(theme, &fit(&text, columns), theme.heading())];
    put(
        frame,
        Rect {
            y: area.bottom() - keys,
            height: keys,
            ..area
        },
        line,
    );
}

/// The lines of a page, broken to the width.
fn broken(page: &[details::Line], theme: Theme, columns: usize) -> Lines {
    let mut lines = Lines::new();
    for line in page {
        let style = match line.kind {
            Kind::Title => theme.title(),
            Kind::Heading => theme.heading(),
            Kind::Text => Style::new(),
            Kind::Verbatim => theme.verbatim(),
        };
        if width(&line.text) <= columns {
            lines.push(paint(theme, &line.text, style));
        } else {
            lines.extend(
                wrap_item(&line.text, columns)
                    .iter()
                    .map(|part| paint(theme, part, style)),
            );
        }
    }
    lines
}

fn places(number: usize) -> String {
    match number {
        0 => "Drops: none".to_owned(),
        1 => "Drops: 1 place".to_owned(),
        more => format!("Drops: {} places", count(more as u64)),
    }
}

fn starved(report: &Report) -> String {
    match (report.starved_total, report.starved.len() as u64) {
        // Where nothing arrives and nothing can be asked for, or for others, it is not known that something is missed.
        (0, _) => match report
            .verdicts
            .first()
            .filter(|first| first.decides() && first.flows_total > 0)
        {
            Some(first) => format!(
                "Starved flows: none known; {} names {} affected",
                first.id,
                count(first.flows_total)
            ),
            None => "Starved flows: none".to_owned(),
        },
        (all, listed) if all > listed => {
            format!(
                "Starved flows: {}, the first {} listed",
                count(all),
                count(listed)
            )
        }
        (all, _) => format!("Starved flows: {}", count(all)),
    }
}

/// `3-7 of 12`; empty where all is shown.
fn part(scroll: &Scroll) -> String {
    scroll
        .part()
        .map_or_else(String::new, |(from, to, of)| format!("{from}-{to} of {of}"))
}

/// A line that sets a section off: its name, and what belongs to its right end.
fn title(theme: Theme, focused: bool, name: &str, right: &str, columns: usize) -> Line<'static> {
    let rule = theme.rule();
    let mark = if focused { ">" } else { rule };
    let right = if right.is_empty() {
        String::new()
    } else {
        format!(" {right} ")
    };
    let used = 4 + width(name) + width(&right);
    let rules = rule.repeat(columns.saturating_sub(used));
    let text = fit(&format!("{mark} {name} {rules}{right}{rule}"), columns);
    paint(
        theme,
        &text,
        if focused { theme.title() } else { theme.heading() },
    )
}

fn paint(theme: Theme, text: &str, style: Style) -> Line<'static> {
    Line::styled(theme.text(text).into_owned(), style)
}

fn put(frame: &mut Frame<'_>, area: Rect, lines: Lines) {
    frame.render_widget(Text::from(lines), area.intersection(frame.area()));
}

fn rows(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
