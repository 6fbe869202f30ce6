//! The times in which the network was broken, in sentences.

use super::details::{Kind, Page, more};
use super::format::{clean, count, moment, plural, seconds};
use super::words;
use crate::report::{Episode, Report, Where};

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
            .map(|episode| line(episode, &report.window.end))
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
        .filter(|id| **id != episode.id)
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
    if let Some(mended) = &episode.mended {
        parts.push(format!(
            "mended at {} UTC: {}",
            moment(&mended.at, now),
            mended.text
        ));
    }
    if episode.recurrence > 1 {
        parts.push(format!("number {} of this kind", episode.recurrence));
    }
    clean(&parts.join("; ")).into_owned()
}

/// `up to 14 flows affected, at most 9 starved at once, kubelet.service web.service and 3 more`
fn suffered(episode: &Episode) -> Option<String> {
    let affected = (episode.flows > 0).then(|| format!("up to {} affected", plural(episode.flows, "flow")));
    let starved = match (episode.flows, episode.starved) {
        (_, 0) => None,
        (0, starved) => Some(format!("at most {} at once", plural(starved, "starved flow"))),
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

/// `R01 was over at 06:31:10 UTC, after 17 min 5 s`; `None` where nothing was broken, or something is.
#[must_use]
pub(super) fn recovered(report: &Report) -> Option<String> {
    let last = report
        .episodes
        .first()
        .filter(|_| report.place == Where::Healthy)?;
    let end = last.end.as_ref()?;
    let mended = last.mended.as_ref().map_or_else(String::new, |mended| {
        let at = moment(&mended.at, &report.window.end);
        format!("; mended at {at} UTC: {}", mended.text)
    });
    let text = format!(
        "recovered: {} was over at {} UTC, after {}{mended}",
        last.id,
        moment(end, &report.window.end),
        length(last)
    );
    Some(clean(&text).into_owned())
}

/// A tenth of a second is not known of what is looked at twice a second.
fn length(episode: &Episode) -> String {
    if episode.seconds < 1.0 {
        "less than 1 s".to_owned()
    } else {
        seconds(episode.seconds.round())
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

    #[test]
    fn an_episode_is_one_sentence() {
        let report = sample::recovered();
        assert_eq!(
            lines(&report),
            [
                "06:14:05 to 06:16:10 UTC (2 min 5 s): R01 Kernel found the socket but routed the reply as foreign, guest \
                 kernel, conclusive; up to 14 flows affected, at most 9 starved at once, kubelet.service web.service; D01 led \
                 for a time; number 2 of this kind",
                "2023-10-09 06:20:00 to 2023-10-09 06:20:00 UTC (less than 1 s): R01 Kernel found the socket but routed the \
                 reply as foreign, guest kernel, strong; at most 1 starved flow at once",
            ]
        );
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
    fn that_it_is_over_is_told_with_its_length() {
        let mut report = sample::recovered();
        assert_eq!(
            recovered(&report).as_deref(),
            Some("recovered: R01 was over at 06:16:10 UTC, after 2 min 5 s")
        );
        report.place = Where::Unknown;
        assert_eq!(recovered(&report), None, "whether it has recovered is not known");
        assert_eq!(recovered(&sample::healthy()), None);
    }
}
