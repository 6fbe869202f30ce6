//! Past runs of what timers start.

use super::format::{brief, count, date_and_time, plural, seconds_between};
use crate::report::{Run, Timer};

/// When a timer's unit ran, by whomever, and whether flows began to starve then; `None` where nothing is known of that.
pub(super) fn past(timer: &Timer, now: &str) -> Option<String> {
    /// Runs that are told at most.
    const TOLD: usize = 3;
    let elapsed = without_run(timer, now);
    if timer.past.is_empty() && timer.past_since.is_none() && elapsed.is_none() {
        return None;
    }
    let shown = &timer.past[..timer.past.len().min(TOLD)];
    let runs: Vec<String> = shown.iter().map(|one| run(one, now)).collect();
    let since = timer.past_since.as_ref().map(|since| date_and_time(since, now));
    let ran = match (runs.join(", "), since) {
        (runs, Some(since)) if timer.past_total > TOLD as u64 => {
            format!("ran {runs}, {} times since {since}", timer.past_total)
        }
        (none, Some(since)) if none.is_empty() => format!("did not run since {since}"),
        (none, None) if none.is_empty() => "is not known to have run".to_owned(),
        (runs, Some(since)) => format!("ran {runs}; no others since {since}"),
        (runs, None) => format!("ran {runs}; what was before is not known"),
    };
    let mut text = format!("{}: {} {ran}", timer.name, timer.unit);
    if !shown.is_empty() && timer.last.is_none() {
        text += "; who started the unit is not known, and this timer has not elapsed";
    } else if shown.iter().any(|run| run.by_timer) && shown.iter().any(|run| !run.by_timer) {
        text += "; who started the others is not known";
    } else if shown.iter().any(|run| !run.by_timer) {
        text += "; who started the unit is not known";
    }
    text.extend(elapsed.map(|elapsed| format!("; {elapsed}")));
    if let Some(window) = &timer.window
        && window.from != window.to
    {
        text += &format!(
            "; next from {} to {}",
            date_and_time(&window.from, now),
            date_and_time(&window.to, now)
        );
    }
    let onsets = &timer.onsets;
    let all = onsets.inside + onsets.outside;
    if all > 0 && !timer.past.is_empty() {
        text += &format!(
            "; starvation began within the windows of these runs {} of {all} times",
            onsets.inside
        );
        if let Some(share) = onsets.share {
            text += &format!("; they cover {:.1} % of the time", share * 100.0);
        }
        if let Some(one_in) = onsets.one_in() {
            text += &format!(
                "; in those of {}, and never outside: {} by chance",
                plural(onsets.runs, "run"),
                odds(one_in)
            );
        }
    }
    Some(text)
}

/// When a timer elapsed last, where no run is known of that.
fn without_run(timer: &Timer, now: &str) -> Option<String> {
    let last = timer.last.as_deref()?;
    // All that began since the earliest that is there are there; of those before one may be its.
    let is_all = timer.past_total <= timer.past.len() as u64
        || (timer.past.last()).is_some_and(|first| seconds_between(last, &first.begun) == Some(0.0));
    // One that began later may have waited for other units.
    let may_be_its = |run: &Run| run.by_timer || seconds_between(&run.begun, last) == Some(0.0);
    if !is_all || timer.past.iter().any(may_be_its) {
        return None;
    }
    let elapsed = format!("this timer elapsed {}", date_and_time(last, now));
    let is_known = |since: &String| seconds_between(last, since) == Some(0.0);
    if !timer.past_since.as_ref().is_some_and(is_known) {
        return Some(format!("{elapsed}, and no run is known of that"));
    }
    let first = match timer.persistent {
        true => ", or this timer was first started then",
        false => "",
    };
    Some(format!(
        "{elapsed} without a run: conditions of the unit were not met, or it was active{first}"
    ))
}

/// `1 in 13,824`
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is positive, and far below 2^53"
)]
fn odds(one_in: f64) -> String {
    /// More is as good as never.
    const MOST: f64 = 1e9;
    if one_in > MOST {
        return format!("less than 1 in {}", count(MOST as u64));
    }
    format!("1 in {}", count(one_in.round() as u64))
}

/// `10-11 06:14:07 (18min timeout) by this timer`
fn run(run: &Run, now: &str) -> String {
    let lasted = run
        .ended
        .as_deref()
        .and_then(|ended| seconds_between(&run.begun, ended))
        .map(brief);
    let result = match run.result.as_str() {
        "" | "success" => None,
        result => Some(result.to_owned()),
    };
    let how: Vec<String> = lasted.into_iter().chain(result).collect();
    let mut text = date_and_time(&run.begun, now);
    if !how.is_empty() {
        text += &format!(" ({})", how.join(" "));
    }
    if run.by_timer {
        text += " by this timer";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Onsets;
    use crate::ui::sample;

    const NOW: &str = "2023-10-10T06:18:19.018Z";

    /// As in October 2023: three onsets on three days, each within the hour of a daily timer.
    #[test]
    fn how_likely_chance_is_is_told_where_all_began_in_the_windows_of_several_runs() {
        let mut timer = sample::incident().node.timers[0].clone();
        let mut told = |onsets: Onsets| {
            timer.onsets = onsets;
            past(&timer, NOW).unwrap()
        };
        let three = Onsets {
            inside: 3,
            outside: 0,
            runs: 3,
            share: Some(1.0 / 24.0),
        };
        let text = told(three);
        assert!(
            text.ends_with(
                "starvation began within the windows of these runs 3 of 3 times; they cover 4.2 % of the time; in those of 3 \
                 runs, and never outside: 1 in 13,824 by chance"
            ),
            "{text}"
        );
        for other in [
            Onsets { outside: 1, ..three },
            Onsets { runs: 1, ..three },
            Onsets { share: None, ..three },
            Onsets {
                share: Some(1.0),
                ..three
            },
        ] {
            assert!(!told(other).contains("by chance"), "{other:?}");
        }
        assert_eq!(odds(1e10), "less than 1 in 1,000,000,000");
    }

    #[test]
    fn runs_are_of_the_unit_and_of_a_timer_only_where_systemd_says_so() {
        let mut timer = sample::incident().node.timers[0].clone();
        timer.past.truncate(2);
        timer.past_total = 2;
        let told = |timer: &Timer| past(timer, NOW).unwrap();
        let ran = format!("{}: {} ran ", timer.name, timer.unit);
        let mut by = |last: Option<&str>, by: [bool; 2]| {
            timer.last = last.map(str::to_owned);
            for (run, by) in timer.past.iter_mut().zip(by) {
                run.by_timer = by;
            }
            told(&timer)
        };
        let never = by(None, [false, false]);
        assert!(
            never.starts_with(&ran) && !never.contains("by this timer"),
            "{never}"
        );
        assert!(
            never.contains("; who started the unit is not known, and this timer has not elapsed"),
            "{never}"
        );
        let at = Some("2023-10-10T06:14:07.000Z");
        let last = by(at, [true, false]);
        assert_eq!(last.matches(" by this timer").count(), 1, "{last}");
        assert!(last.contains("; who started the others is not known"), "{last}");
        let both = by(at, [true, true]);
        assert!(
            !both.contains("not known;") && !both.contains("who started"),
            "{both}"
        );
        assert!(by(at, [false, false]).contains("; who started the unit is not known"));
    }

    /// As of a `Persistent=` timer that was just made, and of a unit whose conditions were not met.
    #[test]
    fn that_a_timer_elapsed_is_no_run() {
        let mut timer = sample::incident().node.timers[0].clone();
        timer.past.clear();
        timer.past_total = 0;
        let told = |timer: &Timer| past(timer, NOW).unwrap();
        let known = told(&timer);
        assert!(
            known.starts_with(
                "apt-daily-upgrade.timer: apt-daily-upgrade.service did not run since 09-23 14:00:00; this timer elapsed \
                 10-10 06:14:03 without a run: conditions of the unit were not met, or it was active, or this timer was \
                 first started then; next from"
            ),
            "{known}"
        );
        timer.persistent = false;
        assert!(!told(&timer).contains("first started"));
        timer.past_since = None;
        let unknown =
            "is not known to have run; this timer elapsed 10-10 06:14:03, and no run is known of that";
        assert!(told(&timer).contains(unknown), "{}", told(&timer));
        timer.last = None;
        assert_eq!(past(&timer, NOW), None);
    }

    #[test]
    fn one_run_is_told_as_the_only_one() {
        let mut timer = sample::incident().node.timers[0].clone();
        timer.past.truncate(1);
        timer.past_total = 1;
        let told = past(&timer, NOW).unwrap();
        let ran = "ran 10-10 06:14:03 by this timer; no others since 09-23 14:00:00; next";
        assert!(told.contains(ran), "{told}");
        timer.past_since = None;
        let told = past(&timer, "2024-01-01T00:00:00Z").unwrap();
        let ran = "ran 2023-10-10 06:14:03 by this timer; what was before is not known; next";
        assert!(told.contains(ran), "{told}");
    }
}
