//! The times in which the network was broken, in sentences.

use super::details::{Kind, Page, more};
use super::format::{clean, count, moment, plural, seconds};
use super::words;
use crate::report::{Beside, Episode, Later, Relation, Report, Where};

/// Episodes that are shown at most; the rest is counted.
const SHOWN: usize = 8;
/// Units that are named of one; the rest is counted.
const UNITS: usize = 4;

/// All of them, the latest first.
pub(super) fn section(page: &mut Page, report: &Report) {
    page.section(
        "Episodes: when the network was broken, the latest first",
        Kind::Text,
        report
            .episodes
            .iter()
            .take(SHOWN)
            .flat_map(|episode| std::iter::once(line(episode, &report.window.end)).chain(steps(episode)))
            .chain(more(report.episodes_total, SHOWN)),
    );
}

/// `06:14:05 to 06:31:10 UTC (17 min 5 s): R01 Kernel found ..., guest kernel; up to 14 flows affected, kubelet.service`
fn line(episode: &Episode, now: &str) -> String {
    let onset = moment(&episode.onset, now);
    let length = length(episode);
    let when = match &episode.end {
        Some(end) => format!("{onset} to {} UTC ({length})", moment(end, now)),
        None => format!("since {onset} UTC ({length} so far)"),
    };
    let place = episode.place.map_or_else(String::new, |place| {
        format!(", {}", words::place(place).to_lowercase())
    });
    let also: Vec<&str> = episode
        .led
        .iter()
        .filter(|id| **id != episode.id && episode.beside.iter().all(|beside| beside.id != **id))
        .map(String::as_str)
        .collect();
    let mut parts = vec![format!(
        "{when}: {} {}{place}, {}",
        episode.id,
        episode.title,
        words::confidence(episode.confidence)
    )];
    parts.extend(suffered(episode));
    if !also.is_empty() {
        parts.push(format!("{} led for a time", also.join(", ")));
    }
    parts.push(cause(episode));
    parts.extend(episode.mended.as_ref().map(|by| mended(by, now)));
    parts.extend(episode.beside.iter().map(|fault| beside(fault, now)));
    if episode.recurrence > 1 {
        parts.push(format!("number {} of this kind", episode.recurrence));
    }
    clean(&parts.join("; ")).into_owned()
}

/// `explained by: rule 0: ... went away, by networkd[812] ... at 06:14:04 UTC, 30 ms before it began`; else what is not known of it.
fn cause(episode: &Episode) -> String {
    let relation = words::relation(episode.cause.relation).to_lowercase();
    match episode.cause.relation {
        Relation::Explains => format!("{relation}: {}", episode.cause.text.trim_end_matches('.')),
        Relation::PredatesStart | Relation::Unknown => relation,
    }
}

/// How what explains one that is over came about, below it. Of one that lasts the verdict that leads says so.
fn steps(episode: &Episode) -> impl Iterator<Item = String> {
    let chain = episode.cause.chain.iter().filter(|_| episode.end.is_some());
    chain.map(|step| format!("    {}", clean(&step.text)))
}

/// `mended at 06:31:10 UTC: rule 0: ... came`
fn mended(by: &Later, now: &str) -> String {
    format!("mended at {} UTC: {}", moment(&by.at, now), by.text)
}

/// `beside it R38 A firewall ... from 06:14:08 to 06:31:10 UTC, mended at 06:31:10 UTC: ...`
fn beside(fault: &Beside, now: &str) -> String {
    let (onset, last) = (moment(&fault.onset, now), moment(&fault.last, now));
    let mended = fault
        .mended
        .as_ref()
        .map_or_else(String::new, |by| format!(", {}", mended(by, now)));
    format!(
        "beside it {} {} from {onset} to {last} UTC{mended}",
        fault.id, fault.title
    )
}

/// `up to 14 flows affected, at most 9 starved at once, kubelet.service web.service and 3 more`
fn suffered(episode: &Episode) -> Option<String> {
    let affected = (episode.flows > 0).then(|| format!("up to {} affected", plural(episode.flows, "flow")));
    let starved = match (episode.flows, episode.starved) {
        (_, 0) => None,
        (0, starved) => Some(format!("at most {} at once", plural(starved, "starved flow"))),
        // All that starved on the node are counted, whatever the verdicts that led name.
        (flows, starved) if starved > flows => Some(format!(
            "at most {} starved at once, others included",
            count(starved)
        )),
        (_, starved) => Some(format!("at most {} starved at once", count(starved))),
    };
    let named = &episode.units[..episode.units.len().min(UNITS)];
    let rest = episode.units_total.saturating_sub(named.len() as u64);
    let units = (!named.is_empty()).then(|| {
        let rest = match rest {
            0 => String::new(),
            some => format!(" and {} more", count(some)),
        };
        format!("{}{rest}", named.join(" "))
    });
    let parts: Vec<String> = affected.into_iter().chain(starved).chain(units).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// `R06 was over at 06:31:10 UTC; whether it hid another fault shows in some seconds: 3 flows starve`; `None` where that is known.
#[must_use]
pub(super) fn settling(report: &Report) -> Option<String> {
    let last = report.episodes.first().filter(|_| report.settling)?;
    let (over, is_one) = over(last, &report.window.end)?;
    if !last.is_mended() {
        let text =
            format!("{over}; what explains it still stands: whether it comes again shows in some seconds");
        return Some(clean(&text).into_owned());
    }
    let it = if is_one { "it" } else { "they" };
    let text = format!(
        "{over}; whether {it} hid another fault shows in some seconds: {}",
        words::unsettled(report)
    );
    Some(clean(&text).into_owned())
}

/// `no fault now; there were 3, the last was over at 06:31:10 UTC`; `None` where nothing was broken, or something is.
#[must_use]
pub(super) fn seen(report: &Report) -> Option<String> {
    let last = report.episodes.first()?;
    let end = moment(last.end.as_ref()?, &report.window.end);
    let how = if last.is_mended() {
        "was over at"
    } else {
        "was last seen at"
    };
    Some(match report.episodes_total {
        0 | 1 => format!("no fault now; there was one, which {how} {end} UTC"),
        many => format!(
            "no fault now; there were {}, the last {how} {end} UTC",
            count(many)
        ),
    })
}

/// `recovered: R01 was over at 06:31:10 UTC, after 17 min 5 s; mended at ...`; `None` where nothing was broken, or something is.
#[must_use]
pub(super) fn recovered(report: &Report) -> Option<String> {
    let last = report
        .episodes
        .first()
        .filter(|_| report.place == Where::Healthy)?;
    let now = &report.window.end;
    let (over, is_one) = over(last, now)?;
    let over = format!("recovered: {over}, after {}", length(last));
    let mends = faults(last).filter_map(|(id, by)| {
        let by = mended(by.as_ref()?, now);
        Some(if is_one { by } else { format!("{id} {by}") })
    });
    let text = std::iter::once(over).chain(mends).collect::<Vec<_>>().join("; ");
    Some(clean(&text).into_owned())
}

/// The root of an episode and what stood beside it, each with what took it away.
fn faults(episode: &Episode) -> impl Iterator<Item = (&String, &Option<Later>)> {
    let others = episode.beside.iter().map(|fault| (&fault.id, &fault.mended));
    std::iter::once((&episode.id, &episode.mended)).chain(others)
}

/// `R01 and R06 were over at 06:31:10 UTC`, and whether it was one fault; `R01 was last seen at ...` where what ended it was not seen: it
/// may have gone on for a little, unseen. `None` where it goes on.
fn over(episode: &Episode, now: &str) -> Option<(String, bool)> {
    let end = moment(episode.end.as_ref()?, now);
    let mut ids: Vec<&str> = faults(episode).map(|(id, _)| id.as_str()).collect();
    // What was read last is told to be over, too.
    ids.extend(
        episode
            .led
            .last()
            .map(String::as_str)
            .filter(|id| !ids.contains(id)),
    );
    let is_one = ids.len() == 1;
    let were = if is_one { "was" } else { "were" };
    let how = if episode.is_mended() { "over" } else { "last seen" };
    Some((format!("{} {were} {how} at {end} UTC", ids.join(" and ")), is_one))
}

/// A tenth of a second is not known of what is looked at twice a second.
fn length(episode: &Episode) -> String {
    let at_least = words::at_least(&episode.cause);
    match episode.seconds {
        // It may have gone on for long before.
        short if short < 1.0 && at_least.is_empty() => "less than 1 s".to_owned(),
        length => format!("{at_least}{}", seconds(length.round())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::sample;

    fn lines(report: &Report) -> Vec<String> {
        let now = &report.window.end;
        report.episodes.iter().map(|episode| line(episode, now)).collect()
    }

    /// The verdicts that led name few flows, and others starved meanwhile.
    #[test]
    fn more_may_starve_than_are_affected() {
        let mut report = sample::recovered();
        (report.episodes[0].flows, report.episodes[0].starved) = (2, 82);
        let told = &lines(&report)[0];
        let wanted = "; up to 2 flows affected, at most 82 starved at once, others included, kubelet.service";
        assert!(told.contains(wanted), "{told}");
    }

    #[test]
    fn an_episode_is_one_sentence() {
        let report = sample::recovered();
        assert_eq!(
            lines(&report),
            [
                "06:14:05 to 06:16:10 UTC (2 min 5 s): R01 Kernel found the socket but routed the reply as foreign, guest \
                 kernel, conclusive; up to 14 flows affected, at most 9 starved at once, kubelet.service web.service; D01 led \
                 for a time; explained by: IPv4 rule 0: from all lookup local went away, by systemd-networkd[812] \
                 (systemd-networkd.service) at 06:14:05 UTC, 2.1 s before the first loss; number 2 of this kind",
                "2023-10-09 06:20:00 to 2023-10-09 06:20:00 UTC (less than 1 s): R01 Kernel found the socket but routed the \
                 reply as foreign, guest kernel, strong; at most 1 starved flow at once; cause: not seen",
            ]
        );
    }

    /// The line must be read on 80 columns.
    #[test]
    fn a_healthy_node_that_was_broken_says_so_first() {
        let mut report = sample::recovered();
        let head = |report: &Report| format!("{}: {}", words::place(report.place), words::meaning(report));
        let told = head(&report);
        assert_eq!(
            told,
            "HEALTHY: no fault now; there were 2, the last was last seen at 06:16:10 UTC"
        );
        report.episodes[0].mended = Some(Later {
            change: 7,
            at: "2023-10-10T06:16:10.018Z".to_owned(),
            text: "a rule came".to_owned(),
        });
        let told = head(&report);
        assert!(
            told.ends_with("there were 2, the last was over at 06:16:10 UTC"),
            "{told}"
        );
        assert!(told.len() <= 80, "{}", told.len());
        report.episodes_total = 1;
        let told = head(&report);
        assert!(
            told.ends_with("no fault now; there was one, which was over at 06:16:10 UTC"),
            "{told}"
        );
        assert_eq!(head(&sample::healthy()), "HEALTHY: no fault found");
    }

    #[test]
    fn how_the_cause_came_about_stands_below_what_is_over() {
        let mut report = sample::recovered();
        let told: Vec<String> = steps(&report.episodes[0]).collect();
        assert_eq!(told.len(), 3);
        assert!(
            told[0].starts_with("    systemd-networkd.service had been started anew at"),
            "{told:?}"
        );
        report.episodes[0].end = None;
        assert_eq!(steps(&report.episodes[0]).count(), 0, "the verdict above says so");
    }

    #[test]
    fn what_lasts_has_no_end_and_many_units_are_counted() {
        let mut report = sample::recovered();
        let episode = &mut report.episodes[0];
        episode.end = None;
        episode.units = (1..=6).map(|number| format!("{number}.service")).collect();
        episode.units_total = 20;
        let line = &lines(&report)[0];
        assert!(
            line.starts_with("since 06:14:05 UTC (2 min 5 s so far): R01"),
            "{line}"
        );
        let units = "at once, 1.service 2.service 3.service 4.service and 16 more;";
        assert!(line.contains(units), "{line}");
        assert_eq!(recovered(&report), None, "it is not over");
    }

    #[test]
    fn right_after_a_mend_it_is_said_that_flows_starve() {
        let mut report = sample::recovered();
        report.place = Where::Unknown;
        assert_eq!(settling(&report), None, "it cannot be told for something else");
        report.settling = true;
        report.starved_total = 3;
        assert_eq!(
            words::headline(&report).when,
            "R01 was last seen at 06:16:10 UTC; what explains it still stands: whether it comes again shows in some seconds"
        );
        report.episodes[0].mended = Some(Later {
            change: 7,
            at: "2023-10-10T06:16:10.018Z".to_owned(),
            text: "a rule came".to_owned(),
        });
        assert_eq!(
            words::headline(&report).when,
            "R01 was over at 06:16:10 UTC; whether it hid another fault shows in some seconds: 3 flows starve"
        );
        assert_eq!(
            words::explanation(&report),
            "What was broken was mended just now, and 3 flows starve: whether that is what is left of it, or another fault, \
             shows in some seconds."
        );
    }

    #[test]
    fn that_it_is_over_is_told_with_its_length() {
        let mut report = sample::recovered();
        assert_eq!(
            recovered(&report).as_deref(),
            Some("recovered: R01 was last seen at 06:16:10 UTC, after 2 min 5 s")
        );
        let mended = |change, at: &str, text: &str| {
            Some(Later {
                change,
                at: at.to_owned(),
                text: text.to_owned(),
            })
        };
        let episode = &mut report.episodes[0];
        episode.mended = mended(7, "2023-10-10T06:16:10.018Z", "a rule came");
        episode.beside = vec![Beside {
            id: "R06".to_owned(),
            title: "A firewall drops".to_owned(),
            onset: "2023-10-10T06:14:30.018Z".to_owned(),
            last: "2023-10-10T06:15:40.018Z".to_owned(),
            mended: mended(6, "2023-10-10T06:15:40.018Z", "a table went away"),
        }];
        assert_eq!(
            recovered(&report).as_deref(),
            Some(
                "recovered: R01 and R06 were over at 06:16:10 UTC, after 2 min 5 s; R01 mended at 06:16:10 UTC: a rule came; \
                 R06 mended at 06:15:40 UTC: a table went away"
            )
        );
        let line = &lines(&report)[0];
        assert!(
            line.ends_with(
                ", 2.1 s before the first loss; mended at 06:16:10 UTC: a rule came; beside it R06 A firewall drops from 06:14:30 to \
                 06:15:40 UTC, mended at 06:15:40 UTC: a table went away; number 2 of this kind"
            ),
            "{line}"
        );
        report.place = Where::Unknown;
        assert_eq!(recovered(&report), None, "whether it has recovered is not known");
        assert_eq!(recovered(&sample::healthy()), None);
    }
}
