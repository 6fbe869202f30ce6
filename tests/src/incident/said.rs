//! What a report of the tracer says, in the words of the story.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::judge::array;

/// An error where something is not so.
pub(super) fn wanted(so: bool, what: &str, found: &Value) -> Result<()> {
    if !so {
        bail!("the tracer does not say: {what}; it says {found:#}");
    }
    Ok(())
}

/// The member of a list that has this name.
pub(super) fn named<'v>(list: &'v Value, name: &str) -> Option<&'v Value> {
    array(list).iter().find(|one| one["name"] == name)
}

/// The package manager that stands so.
pub(super) fn packages<'v>(report: &'v Value, standing: &str) -> Option<&'v Value> {
    array(&report["packages"])
        .iter()
        .find(|one| one["standing"] == standing)
}

/// The time of the first of [`changes`].
pub(super) fn change<'v>(report: &'v Value, kind: &str, object: &str, now: &str) -> Option<&'v str> {
    changes(report, kind, object, now).into_iter().min()
}

/// The times of the changes of that kind, of that thing where one is named, after which it is so.
pub(super) fn changes<'v>(report: &'v Value, kind: &str, object: &str, now: &str) -> Vec<&'v str> {
    array(&report["changes"])
        .iter()
        .filter(|one| one["kind"] == kind && (object.is_empty() || one["object"] == object))
        .filter(|one| one["after"].as_str().is_some_and(|after| after.contains(now)))
        .filter_map(|one| one["at"].as_str())
        .collect()
}

/// When flows began to starve, and when none did any more; `None` where the report does not tell the end yet.
pub(super) fn starved(report: &Value) -> Option<(&str, &str)> {
    let over = changes(report, "starvation", "", "any more").into_iter().max()?;
    let begun = changes(report, "starvation", "", "").into_iter().min()?;
    (begun < over).then_some((begun, over))
}

/// A text, empty where it is none.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// `dpkg[812] (apt-daily-upgrade.service)`
pub(super) fn actor(value: &Value) -> String {
    format!(
        "{}[{}] ({})",
        text(&value["command"]),
        value["pid"],
        text(&value["unit"])
    )
}

/// The time of day of a moment.
pub(super) fn time_of_day(moment: &str) -> &str {
    moment.get(11..19).unwrap_or(moment)
}

/// The second of the day of a moment as the tracer tells it (UTC, RFC 3339).
pub(crate) fn second_of_day(moment: &str) -> Option<f64> {
    let mut parts = moment
        .get(11..)?
        .strip_suffix('Z')?
        .split(':')
        .map(str::parse::<f64>);
    let (hours, minutes, seconds) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    Some((hours * 60.0 + minutes) * 60.0 + seconds)
}

/// From a moment as the tracer tells it (UTC, RFC 3339) to a later one, less than a day after it.
pub(super) fn after(moment: &str, later: SystemTime) -> Result<Duration> {
    const DAY: f64 = 86_400.0;
    let earlier = second_of_day(moment).with_context(|| format!("not a moment: {moment}"))?;
    let later = later.duration_since(UNIX_EPOCH)?.as_secs_f64();
    Ok(Duration::from_secs_f64((later - earlier).rem_euclid(DAY)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_time_between_two_moments_is_known_also_over_midnight() {
        let later = UNIX_EPOCH + Duration::from_millis(86_400_000 + 500);
        let between = after("1970-01-01T23:59:58.250Z", later).unwrap();
        assert_eq!(between.as_millis(), 2250);
        assert!(after("yesterday", later).is_err());
    }

    #[test]
    fn flows_have_starved_only_where_they_do_so_no_more() {
        let change =
            |at: &str, after: &str| json!({"kind": "starvation", "object": "", "at": at, "after": after});
        let begun = change("03:58:37", "14 flows begin to starve");
        let over = change("03:58:48", "no flow starves any more");
        let report = |changes: &[&Value]| json!({ "changes": changes });
        assert_eq!(starved(&report(&[&over, &begun])), Some(("03:58:37", "03:58:48")));
        assert_eq!(starved(&report(&[&begun])), None);
        assert_eq!(starved(&report(&[&over])), None);
    }
}
