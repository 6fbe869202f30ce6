//! The node beside its packets: units and timers, and the timeline.

use super::actor::{actor, by};
use super::changes;
use super::details::{INDENT, Kind, Page, more};
use super::format::{brief, bytes, count, date_and_time, day, plural, seconds, seconds_between, time_of_day};
use super::limits::{as_of, coming};
use super::table::{Column, Kind as Cell, Set, Table};
use super::{settings, timers, units, upgrades, words};
use crate::report::{
    Capability, CapabilityState, Dropper, Invariant, InvariantState, Node, NodeReport, Packages,
    PackagesStanding, Report, Timer, Unit,
};

/// The page of units: what they get of the network, and how they stand.
pub(super) fn units(page: &mut Page, report: &Report, room: usize) {
    page.line(Kind::Title, "Units of systemd, and what they get of the network");
    standing(
        page,
        &report.node,
        &report.capabilities,
        &report.window.end,
        true,
        room,
    );
    unseen(page, &report.capabilities);
}

/// What systemd is about to do, how units stand, what timers will start.
fn standing(
    page: &mut Page,
    node: &Node,
    capabilities: &[Capability],
    now: &str,
    counted: bool,
    room: usize,
) {
    let missing = no_systemd(capabilities);
    let room = room.saturating_sub(INDENT);
    if node.units.is_empty() && node.timers.is_empty() {
        let why = missing.map_or("systemd has told nothing yet.", |missing| missing.why.as_str());
        page.line(Kind::Text, why);
    } else if let Some(missing) = missing {
        page.line(Kind::Text, missing.why.as_str());
    }
    let as_of = as_of(node);
    let told = |heading: &str| format!("{heading}{as_of}");
    page.section("About to happen", Kind::Text, coming(node));
    page.section(&told("Jobs that wait"), Kind::Text, units::waiting(node));
    page.section(
        &told("Ended, but not all of their processes"),
        Kind::Text,
        units::left_over(node),
    );
    page.section(packages_heading(capabilities), Kind::Text, packages(node));
    let shown: Vec<&Unit> = node.units.iter().filter(|unit| units::is_told(unit)).collect();
    let others = node.units_total.saturating_sub(shown.len() as u64);
    let rest = (others > 0).then(|| format!("... and {} others: at rest, or no services", count(others)));
    table(
        page,
        &told("Units"),
        units::units_table(&shown, counted, room),
        rest,
    );
    let rest = more(node.timers_total, node.timers.len());
    table(page, &told("Timers"), timers_table(&node.timers, now, room), rest);
    page.section(
        "Past runs of what timers start",
        Kind::Text,
        node.timers.iter().filter_map(|timer| timers::past(timer, now)),
    );
    page.section(upgrades::HEADING, Kind::Text, upgrades::latest(node, now));
}

/// What is told of packages was so when they could be seen.
fn packages_heading(capabilities: &[Capability]) -> &'static str {
    match missing(capabilities, "packages") {
        Some(_) => "Packages, as last known",
        None => "Packages",
    }
}

/// What of the node is not seen, but for what [`standing`] tells itself.
fn unseen(page: &mut Page, capabilities: &[Capability]) {
    let missing = no_systemd(capabilities);
    let others = capabilities.iter().filter(|one| Some(*one) != missing);
    page.section("Not seen", Kind::Text, words::not_seen(others));
}

/// What is told of systemd where there is none.
fn no_systemd(capabilities: &[Capability]) -> Option<&Capability> {
    missing(capabilities, "systemd")
}

/// The capability of this name, where what it is of cannot be seen.
fn missing<'c>(capabilities: &'c [Capability], name: &str) -> Option<&'c Capability> {
    capabilities
        .iter()
        .find(|one| one.name == name && one.state == CapabilityState::Unavailable)
}

/// The heading of the invariants.
const MUST_HOLD: &str = "Must hold on every node";

/// What `tracer node` tells.
pub(super) fn alone(page: &mut Page, report: &NodeReport, room: usize) {
    let kernel = &report.kernel;
    page.line(
        Kind::Title,
        format!(
            "{} at {} {} UTC",
            kernel.host,
            day(&report.at).unwrap_or_default(),
            time_of_day(&report.at)
        ),
    );
    page.line(
        Kind::Text,
        format!(
            "kernel {}, up {}, boot {}",
            kernel.release,
            seconds(report.uptime),
            kernel.boot_id
        ),
    );
    // What is broken is what somebody looks for.
    let is_broken = report.node.invariants_broken > 0;
    let hold = invariants(&report.node);
    let (first, later) = if is_broken {
        (hold, Vec::new())
    } else {
        (Vec::new(), hold)
    };
    page.section(MUST_HOLD, Kind::Text, first);
    if is_broken {
        page.gap();
    }
    standing(page, &report.node, &report.capabilities, &report.at, false, room);
    page.section(MUST_HOLD, Kind::Text, later);
    let rest = more(report.settings_total, report.settings.len());
    page.section(
        "Network configuration",
        Kind::Text,
        settings::lines(&report.settings).into_iter().chain(rest),
    );
    page.section("Figures", Kind::Text, settings::lines(&report.figures));
    let rest = more(report.droppers_total, report.droppers.len());
    page.section(
        "Rules of nf_tables that can drop, and what they have counted",
        Kind::Text,
        report.droppers.iter().map(dropper).chain(rest),
    );
    unseen(page, &report.capabilities);
}

fn dropper(one: &Dropper) -> String {
    let place = match one.netns.as_str() {
        "" => String::new(),
        netns => format!(" ({netns})"),
    };
    let counted = match (one.packets, one.bytes) {
        (Some(packets), Some(size)) => format!("{}, {}", plural(packets, "packet"), bytes(size as f64)),
        _ => "no counter of its own".to_owned(),
    };
    format!("{}: {}{place}: {counted}", one.verdict, one.object)
}

fn table(page: &mut Page, heading: &str, set: Set, rest: Option<String>) {
    let header = (!set.rows.is_empty()).then_some(set.header);
    page.section(
        heading,
        Kind::Verbatim,
        header.into_iter().chain(set.rows).chain(rest),
    );
}

/// What is about to happen by itself: what systemd ends, and timers whose window is open or begins within a minute. One that is
/// open for longer than an hour says little of any moment in it. Of one that closed while systemd told nothing it is not known
/// whether it has elapsed.
pub(super) fn soon(node: &Node, now: &str) -> Vec<String> {
    const AHEAD: f64 = 60.0;
    const LONGEST: f64 = 3_660.0;
    let of = |timer: &Timer| {
        let window = timer.window.as_ref()?;
        // No span is below 0.
        let is_past = |time: &str| seconds_between(time, now).is_some_and(|ago| ago > 0.0);
        let is_short = seconds_between(&window.from, &window.to).is_some_and(|long| long <= LONGEST);
        if !is_short || seconds_between(now, &window.from)? > AHEAD {
            return None;
        }
        let (name, unit) = (&timer.name, &timer.unit);
        let (from, to) = (time_of_day(&window.from), time_of_day(&window.to));
        if is_past(&window.to) {
            let is_unknown = |heard| seconds_between(heard, &window.to).is_some_and(|after| after > 0.0);
            let is_unknown = node.units_as_of.as_deref().is_some_and(is_unknown);
            return is_unknown.then(|| {
                format!("{name} was to elapse by {to} UTC and to start {unit}; whether it has is not known")
            });
        }
        Some(if is_past(&window.from) {
            format!("{name} elapses by {to} UTC, at any moment since {from}, and starts {unit}")
        } else if from == to {
            format!("{name} elapses at {to} UTC and starts {unit}")
        } else {
            format!("{name} elapses between {from} and {to} UTC and starts {unit}")
        })
    };
    let as_of = as_of(node);
    let mut soon = coming(node);
    soon.extend(node.timers.iter().filter_map(of).map(|text| text + &as_of));
    soon
}

/// Who works on packages, and whether systemd has a limit for that.
pub(super) fn at_work(node: &Node) -> Vec<String> {
    let in_work = node.packages.iter().zip(packages(node));
    in_work
        .filter(|(one, _)| one.standing == PackagesStanding::InWork)
        .map(|(one, text)| {
            let unit = one.holder.as_ref().map_or("", |holder| holder.unit.as_str());
            let limit = node
                .units
                .iter()
                .find(|of| of.name == unit)
                .and_then(|of| of.deadline.as_ref());
            match limit {
                Some(limit) if limit.seconds.is_none() => format!("{text}; {unit} has no limit of time"),
                _ => text,
            }
        })
        .collect()
}

/// How packages stand.
fn packages(node: &Node) -> Vec<String> {
    node.packages
        .iter()
        .map(|one| {
            let mut text = format!("{}: {}", one.manager, one.text);
            if let Some(holder) = &one.holder {
                text += &format!("; its lock is held by {}", actor(holder));
            }
            text
        })
        .collect()
}

fn timers_table(timers: &[Timer], now: &str, room: usize) -> Set {
    let mut table = Table::new(vec![
        Column::new("timer", Cell::Ends(20), 0),
        Column::new("next", Cell::Text(14), 0),
        Column::new("in", Cell::Number, 1),
        Column::new("random", Cell::Number, 2),
        Column::new("last", Cell::Text(14), 3),
        Column::new("starts", Cell::Ends(16), 4),
        Column::new("schedule", Cell::Text(16), 5),
    ]);
    let day = |time: &Option<String>| {
        time.as_deref()
            .map_or("-".to_owned(), |time| date_and_time(time, now))
    };
    for timer in timers {
        let left = timer.next.as_deref().and_then(|next| seconds_between(now, next));
        table.row([
            timer.name.clone(),
            match timer.result.as_str() {
                "" => day(&timer.next),
                _ => "failed".to_owned(),
            },
            left.map_or("-".to_owned(), brief),
            brief(timer.random_delay),
            day(&timer.last),
            timer.unit.clone(),
            timer.schedule.join(" "),
        ]);
    }
    table.set(room)
}

/// What must hold and does not.
pub(super) fn broken(node: &Node) -> Vec<String> {
    let broken = node
        .invariants
        .iter()
        .filter(|one| one.state == InvariantState::Broken);
    let told: Vec<String> = broken.map(invariant).collect();
    let rest = more(node.invariants_broken, told.len());
    told.into_iter().chain(rest).collect()
}

/// The same, what is missing, and how much holds.
fn invariants(node: &Node) -> Vec<String> {
    let mut lines: Vec<String> = broken(node)
        .into_iter()
        .map(|text| format!("broken: {text}"))
        .collect();
    let of = |state| node.invariants.iter().filter(move |one| one.state == state);
    lines.extend(of(InvariantState::Missing).map(invariant));
    // Those for which the report has no room are none of the broken ones.
    let missing = of(InvariantState::Missing).count() as u64;
    let holding = node
        .invariants_total
        .saturating_sub(node.invariants_broken + missing);
    if node.invariants_total > 0 {
        lines.push(format!("{holding} of {} hold", node.invariants_total));
    }
    let named: Vec<String> = of(InvariantState::Holds)
        .map(|one| format!("{}{}", one.object, place(one)))
        .collect();
    if !named.is_empty() {
        let rest = holding.saturating_sub(named.len() as u64);
        let rest = (rest > 0).then(|| format!(", and {} more", count(rest)));
        lines.push(format!("hold: {}{}", named.join(", "), rest.unwrap_or_default()));
    }
    lines
}

fn place(one: &Invariant) -> String {
    match one.netns.as_str() {
        "" => String::new(),
        netns => format!(" ({netns})"),
    }
}

fn invariant(one: &Invariant) -> String {
    let place = place(one);
    let since = one
        .since
        .as_ref()
        .map_or_else(String::new, |at| format!(", since {}", time_of_day(at)));
    let by = by(", ", one.by.as_ref(), one.by_unknown);
    format!("{}{place}{since}{by}", one.text)
}

/// What changed on the node, in short: for pages whose matter is packets.
pub(super) fn changed(page: &mut Page, report: &Report) {
    /// Changes and units that are told at most.
    const TOLD: usize = 12;
    let node = &report.node;
    page.section(
        "Must hold on every node, and does not",
        Kind::Text,
        broken(node).into_iter().take(TOLD),
    );
    page.section(
        "systemd is about to",
        Kind::Text,
        coming(node).into_iter().take(TOLD),
    );
    let is_told = |one: &Packages| match one.standing {
        PackagesStanding::Whole => false,
        // Of rpm it is so at all times.
        PackagesStanding::Unknown => one.manager != "rpm",
        PackagesStanding::InWork | PackagesStanding::Interrupted => true,
    };
    let unfinished = node.packages.iter().any(is_told);
    let packages = packages(node);
    page.section(
        packages_heading(&report.capabilities),
        Kind::Text,
        packages.into_iter().filter(|_| unfinished),
    );
    page.section(
        upgrades::HEADING,
        Kind::Text,
        upgrades::of_the_last_day(node, &report.window),
    );
    page.section(
        "Changed on the node, the latest first",
        Kind::Text,
        changes::lines(node, TOLD),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::sample;

    #[test]
    fn packages_that_are_not_seen_any_more_are_as_last_known() {
        let seen = |state| {
            packages_heading(&[Capability {
                name: "packages".to_owned(),
                state,
                why: String::new(),
            }])
        };
        assert_eq!(seen(CapabilityState::Available), "Packages");
        assert_eq!(seen(CapabilityState::Unavailable), "Packages, as last known");
    }

    #[test]
    fn where_systemd_is_lost_what_it_told_is_marked_wherever_it_is_shown() {
        let mut report = sample::incident();
        let page = |report: &Report| {
            let mut page = Page::default();
            units(&mut page, report, 100);
            let lines: Vec<String> = page.into_lines().into_iter().map(|line| line.text).collect();
            lines.join("\n")
        };
        assert!(!page(&report).contains("last known"));
        report.node.units_as_of = Some("2023-10-10T06:14:07.352Z".to_owned());
        report.capabilities.push(Capability {
            name: "systemd".to_owned(),
            state: CapabilityState::Unavailable,
            why: "systemd cannot be reached: Ping".to_owned(),
        });
        let text = page(&report);
        let as_of = ", as last known at 10-10 06:14:07 UTC";
        for heading in ["Units", "Timers"] {
            assert!(text.contains(&format!("{heading}{as_of}\n")), "{text}");
        }
        assert!(text.contains("systemd cannot be reached: Ping"), "{text}");
        let soon = soon(&report.node, "2023-10-10T06:14:10Z");
        assert!(
            !soon.is_empty() && soon.iter().all(|text| text.ends_with(as_of)),
            "{soon:?}"
        );
    }

    #[test]
    fn a_timer_is_told_by_what_of_its_window_is_still_to_come() {
        let mut node = sample::incident().node;
        node.units.clear();
        node.timers.truncate(1);
        let timer = &mut node.timers[0];
        (timer.name, timer.unit) = ("a.timer".to_owned(), "a.service".to_owned());
        let window = timer.window.as_mut().unwrap();
        window.from = "2023-10-10T06:14:20.500Z".to_owned();
        window.to = "2023-10-10T06:14:30.200Z".to_owned();
        let at = |node: &Node, now: &str| soon(node, &format!("2023-10-10T06:14:{now}Z")).pop();
        assert_eq!(
            at(&node, "10.000").as_deref(),
            Some("a.timer elapses between 06:14:20 and 06:14:30 UTC and starts a.service")
        );
        assert_eq!(
            at(&node, "21.000").as_deref(),
            Some("a.timer elapses by 06:14:30 UTC, at any moment since 06:14:20, and starts a.service")
        );
        assert_eq!(at(&node, "31.000"), None, "systemd will tell the next time");
        node.units_as_of = Some("2023-10-10T06:14:25.000Z".to_owned());
        assert_eq!(
            at(&node, "31.000").as_deref(),
            Some(
                "a.timer was to elapse by 06:14:30 UTC and to start a.service; whether it has is not known, as last known at \
                 10-10 06:14:25 UTC"
            )
        );
        node.units_as_of = Some("2023-10-10T06:14:40.000Z".to_owned());
        assert_eq!(
            at(&node, "41.000"),
            None,
            "it was not due any more when systemd was heard last"
        );
        node.timers[0].window.as_mut().unwrap().from = "2023-10-10T06:14:30.100Z".to_owned();
        assert_eq!(
            at(&node, "10.000").as_deref(),
            Some("a.timer elapses at 06:14:30 UTC and starts a.service, as last known at 10-10 06:14:40 UTC")
        );
    }
}
