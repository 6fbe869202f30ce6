//! What package managers did, by their logs: also before the start.

use super::details::more;
use super::format::{brief, date_and_time, plural, seconds, seconds_between, time_of_day};
use crate::report::{Node, Outcome, Packages, Upgrade, Window};

/// What stands above the lines.
pub(super) const HEADING: &str = "What package managers did, by their logs, the latest first";

/// The latest runs of each manager, and how far back its logs are read.
pub(super) fn latest(node: &Node, now: &str) -> Vec<String> {
    /// Runs of a manager that are told at most.
    const TOLD: usize = 5;
    let of = |one: &Packages| -> Vec<String> {
        let told = one.past.iter().take(TOLD);
        let mut lines: Vec<String> = told.map(|run| line(&one.manager, run, now)).collect();
        let rest = match (more(one.past_total, lines.len()), lines.is_empty()) {
            (Some(rest), _) => rest,
            (None, false) => format!("{}: no others", one.manager),
            (None, true) => format!("{}: none", one.manager),
        };
        lines.push(match &one.past_since {
            Some(since) => {
                let at = date_and_time(since, now);
                // apt's log may go back further than dpkg's.
                match one
                    .past
                    .last()
                    .is_some_and(|first| is_before(&first.begun, since))
                {
                    true => format!("{rest}; before {at} UTC only runs of apt are known"),
                    false => format!("{rest} since {at} UTC, as far back as its logs are read"),
                }
            }
            None => format!("{}: its logs tell of none", one.manager),
        });
        lines
    };
    node.packages.iter().flat_map(of).collect()
}

/// Those of the last 24 hours: in full those that were at work since an hour before the start, and in whose course something
/// broke, at most three of each manager; of the others how many there were.
pub(super) fn of_the_last_day(node: &Node, window: &Window) -> Vec<String> {
    const TOLD: usize = 3;
    const HOUR: f64 = 3_600.0;
    const DAY: f64 = 86_400.0;
    let now = window.end.as_str();
    let until = |run: &Upgrade| {
        run.ended
            .clone()
            .or(run.last.clone())
            .unwrap_or(run.begun.clone())
    };
    let is_within = |run: &Upgrade, age: f64| {
        seconds_between(&until(run), now).is_some_and(|since_then| since_then <= age)
    };
    let of = |one: &Packages| -> Vec<String> {
        let recent = one.past.iter().filter(|run| is_within(run, DAY));
        let (near, earlier): (Vec<&Upgrade>, Vec<&Upgrade>) =
            recent.partition(|run| run.onsets > 0 || is_within(run, window.seconds + HOUR));
        let rest = more(near.len() as u64, TOLD.min(near.len()));
        let told = near.iter().take(TOLD).map(|run| line(&one.manager, run, now));
        let earlier = earlier.first().map(|last| {
            format!(
                "{} of {} in the last day, the last until {} UTC",
                plural(earlier.len() as u64, "earlier run"),
                one.manager,
                date_and_time(&until(last), now)
            )
        });
        told.chain(rest).chain(earlier).collect()
    };
    node.packages.iter().flat_map(of).collect()
}

/// How long ago that was; a clock that was set back has times that are yet to come.
fn age(at: &str, now: &str) -> String {
    let long = |from: &str, to: &str| seconds_between(from, to).map(|long| brief(long.floor()));
    match is_before(now, at) {
        true => long(now, at).map(|long| format!(" (in {long})")),
        false => long(at, now).map(|long| format!(" ({long} ago)")),
    }
    .unwrap_or_default()
}

fn is_before(one: &str, other: &str) -> bool {
    seconds_between(one, other).is_some_and(|between| between > 0.0)
}

/// `11-26 17:25:49 UTC (3h05m ago): apt-get install tmux, took 4s: 2 packages installed: tmux, libutempter0`
fn line(manager: &str, run: &Upgrade, now: &str) -> String {
    let what = match run.command.as_str() {
        // What has no command was no run of a frontend.
        "" => manager,
        command => command,
    };
    let who = match run.requested_by.as_str() {
        "" => String::new(),
        user => format!(", for {user}"),
    };
    // Where the clock was set back meanwhile, nobody knows.
    let ended = run.ended.as_deref().filter(|ended| !is_before(ended, &run.begun));
    let took = ended.and_then(|ended| seconds_between(&run.begun, ended));
    let end = match run.outcome {
        Outcome::InWork => ", not ended yet".to_owned(),
        Outcome::Ended | Outcome::Failed => {
            took.map_or(String::new(), |took| format!(", took {}", seconds(took)))
        }
        Outcome::Interrupted => match run.last.as_deref() {
            Some(last) => format!(", no end: interrupted, last at work at {}", time_of_day(last)),
            None => ", no end: interrupted".to_owned(),
        },
    };
    let error = match run.error.as_str() {
        "" => String::new(),
        error => format!("; it failed: {error}"),
    };
    let onsets = match run.onsets {
        0 => String::new(),
        1 => "; flows began to starve in its course, or up to 60 s after".to_owned(),
        many => format!("; {many} times flows began to starve in its course, or up to 60 s after"),
    };
    format!(
        "{} UTC{}: {what}{who}{end}{}{error}{onsets}",
        date_and_time(&run.begun, now),
        age(&run.begun, now),
        packages(run)
    )
}

/// `: 1 package installed, 7 upgraded: systemd, libc6 and 6 more`; of a run that did not tell that it ended well the logs
/// have no more than what it set out to do: `: was to install 1 package, upgrade 7: …`
fn packages(run: &Upgrade) -> String {
    let counts = [
        (run.installed, "installed", "install"),
        (run.upgraded, "upgraded", "upgrade"),
        (run.removed, "removed", "remove"),
        (run.configured, "configured", "configure"),
    ];
    let begin = match run.outcome {
        Outcome::Ended => "",
        Outcome::InWork => "is to ",
        Outcome::Failed | Outcome::Interrupted => "was to ",
    };
    let counts: Vec<String> = counts
        .iter()
        .filter(|(number, ..)| *number > 0)
        .enumerate()
        .map(|(place, (number, done, to_do))| {
            let packages = match place {
                0 => plural((*number).into(), "package"),
                _ => number.to_string(),
            };
            match begin {
                "" => format!("{packages} {done}"),
                _ => format!("{to_do} {packages}"),
            }
        })
        .collect();
    let more = match run.more {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let names = format!("{}{more}", run.names.join(", "));
    match counts.is_empty() {
        true => String::new(),
        false => format!(": {begin}{}: {names}", counts.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::sample;

    fn node(change: impl Fn(&mut Packages)) -> Node {
        let mut node = sample::incident().node;
        node.packages.iter_mut().for_each(change);
        node
    }

    #[test]
    fn how_far_back_the_logs_are_read_is_always_told() {
        let last = |node: &Node| latest(node, "2023-10-10T06:18:19.018Z").pop().unwrap_or_default();
        let rest = "since 09-01 06:31:07 UTC, as far back as its logs are read";
        assert_eq!(last(&node(|_| {})), format!("... and 11 more {rest}"));
        assert_eq!(
            last(&node(|one| one.past_total = 3)),
            format!("dpkg: no others {rest}")
        );
        let older = |one: &mut Packages| {
            one.past_total = 3;
            one.past_since = Some("2023-10-09T06:31:07.000Z".to_owned());
        };
        assert_eq!(
            last(&node(older)),
            "dpkg: no others; before 10-09 06:31:07 UTC only runs of apt are known"
        );
        let nothing = |one: &mut Packages| {
            one.past.clear();
            one.past_total = 0;
        };
        assert_eq!(last(&node(nothing)), format!("dpkg: none {rest}"));
        let unread = |one: &mut Packages| {
            nothing(one);
            one.past_since = None;
        };
        assert_eq!(last(&node(unread)), "dpkg: its logs tell of none");
    }

    #[test]
    fn pages_of_packets_have_the_last_day_only() {
        let until = |end: &str| Window {
            end: end.to_owned(),
            ..sample::incident().window
        };
        let told = of_the_last_day(&node(|_| {}), &until("2023-10-10T06:18:19.018Z"));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].starts_with("10-10 06:14:04 UTC (4m15s ago): /usr/bin/unattended-upgrade, not ended yet")
        );
        assert_eq!(
            of_the_last_day(&node(|_| {}), &until("2023-10-12T06:18:19.018Z")),
            [""; 0]
        );
        // What is hours before the start has one line, however much it was.
        let old = node(|one| {
            let mut run = one.past[0].clone();
            run.begun = "2023-10-10T01:14:04.000Z".to_owned();
            run.ended = Some("2023-10-10T01:15:00.000Z".to_owned());
            run.onsets = 0;
            one.past = vec![run; 6];
        });
        let window = until("2023-10-10T06:18:19.018Z");
        assert_eq!(
            of_the_last_day(&old, &window),
            ["6 earlier runs of dpkg in the last day, the last until 10-10 01:15:00 UTC"]
        );
        // Unless something broke in its course.
        let mut old = old;
        old.packages[0].past[2].onsets = 1;
        let told = of_the_last_day(&old, &window);
        assert!(
            told.len() == 2 && told[0].starts_with("10-10 01:14:04 UTC"),
            "{told:?}"
        );
    }

    #[test]
    fn a_run_is_one_sentence() {
        let run = |change: fn(&mut Upgrade)| {
            let mut run = Upgrade {
                begun: "2023-10-08T06:14:05.000Z".to_owned(),
                ended: Some("2023-10-08T06:14:09.000Z".to_owned()),
                last: None,
                outcome: Outcome::Ended,
                command: String::new(),
                requested_by: String::new(),
                error: String::new(),
                installed: 0,
                upgraded: 0,
                removed: 0,
                configured: 1,
                names: vec!["systemd".to_owned()],
                more: 0,
                onsets: 0,
            };
            change(&mut run);
            line("dpkg", &run, "2023-10-08T09:19:05.700Z")
        };
        let begin = "10-08 06:14:05 UTC (3h05m ago): ";
        assert_eq!(
            run(|_| {}),
            format!("{begin}dpkg, took 4 s: 1 package configured: systemd")
        );
        let failed = |run: &mut Upgrade| {
            run.outcome = Outcome::Failed;
            run.command = "apt-get upgrade".to_owned();
            run.requested_by = "ann (1000)".to_owned();
            run.error = "dpkg was killed".to_owned();
            (run.upgraded, run.configured) = (2, 0);
            run.more = 1;
            run.onsets = 2;
        };
        assert_eq!(
            run(failed),
            format!(
                "{begin}apt-get upgrade, for ann (1000), took 4 s: was to upgrade 2 packages: systemd and 1 more; it failed: \
                 dpkg was killed; 2 times flows began to starve in its course, or up to 60 s after"
            )
        );
        let cut = |run: &mut Upgrade| {
            run.outcome = Outcome::Interrupted;
            (run.ended, run.configured) = (None, 0);
        };
        assert_eq!(run(cut), format!("{begin}dpkg, no end: interrupted"));
        let planned = |run: &mut Upgrade| {
            run.outcome = Outcome::Interrupted;
            run.ended = None;
            run.command = "apt-get upgrade".to_owned();
            (run.installed, run.upgraded, run.configured) = (1, 7, 0);
        };
        assert_eq!(
            run(planned),
            format!(
                "{begin}apt-get upgrade, no end: interrupted: was to install 1 package, upgrade 7: systemd"
            )
        );
        let in_work = |run: &mut Upgrade| {
            run.outcome = Outcome::InWork;
            run.ended = None;
        };
        assert_eq!(
            run(in_work),
            format!("{begin}dpkg, not ended yet: is to configure 1 package: systemd")
        );
        let set_back = |run: &mut Upgrade| run.ended = Some("2023-10-08T06:10:00.000Z".to_owned());
        assert_eq!(
            run(set_back),
            format!("{begin}dpkg: 1 package configured: systemd"),
            "nobody knows how long it took"
        );
        let coming = |run: &mut Upgrade| {
            run.begun = "2023-10-08T19:24:06.000Z".to_owned();
            run.ended = None;
        };
        assert_eq!(
            run(coming),
            "10-08 19:24:06 UTC (in 10h05m): dpkg: 1 package configured: systemd"
        );
        let last_year = |run: &mut Upgrade| {
            run.begun = "2022-10-08T09:19:05.000Z".to_owned();
            run.ended = None;
        };
        assert!(run(last_year).starts_with("2022-10-08 09:19:05 UTC (365d00h ago)"));
    }
}
