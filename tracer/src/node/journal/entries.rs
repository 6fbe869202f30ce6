//! Entries of the journal, as `journalctl --output=json` prints them, made runs of a unit.

use serde_json::Value;

use crate::event::Run;

/// The field that tells what an entry is about (systemd src/systemd/sd-messages.h).
const KIND: &str = "MESSAGE_ID";
/// The field that tells of which run.
const INVOCATION: &str = "INVOCATION_ID";
const MESSAGE: &str = "MESSAGE";
/// The fields that are read.
pub(super) const FIELDS: [&str; 5] = [KIND, INVOCATION, MESSAGE, "UNIT_RESULT", "JOB_RESULT"];

/// What systemd says of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It begins (`SD_MESSAGE_UNIT_STARTING`), or has begun (`_STARTED`): for a oneshot at its end, for other services
    /// at their beginning.
    Begun,
    /// All of it has ended well (`_UNIT_SUCCESS`).
    Success,
    /// All of it has ended otherwise (`_UNIT_FAILURE_RESULT`), with the result that the unit then has.
    Failure,
    /// Its job has ended (`_FAILED`, `_STOPPED`): later, and also where it did nothing.
    JobEnded,
}

/// The ids, as they are written.
const KINDS: [(&str, Kind); 6] = [
    ("7d4958e842da4a758f6c1cdc7b36dcc5", Kind::Begun),
    ("39f53479d3a045ac8e11786248231fbf", Kind::Begun),
    ("7ad2d189f7e94e70a38c781354912448", Kind::Success),
    ("d9b373ed55a64feb8242e02dbe79a49c", Kind::Failure),
    ("be02cf6855d2428ba40df7e9d022f03d", Kind::JobEnded),
    ("9d1aaa27d60140bd96365438aad20286", Kind::JobEnded),
];

/// What systemd itself wrote, as a condition for `journalctl`.
pub(super) const BY_SYSTEMD: &str = "_PID=1";

/// What `journalctl` is to show of a unit: all conditions on one field are alternatives. What others than systemd wrote
/// is left out: anybody may write entries with these ids.
pub(super) fn matches(unit: &str) -> impl Iterator<Item = String> {
    let kinds = KINDS.iter().map(|(id, _)| format!("{KIND}={id}"));
    [BY_SYSTEMD.to_owned(), format!("UNIT={unit}")]
        .into_iter()
        .chain(kinds)
}

/// When an entry was written, in ns since 1970. `None` for what is no entry.
pub(super) fn time(line: &str) -> Option<i64> {
    time_of(&serde_json::from_str(line).ok()?)
}

fn time_of(entry: &Value) -> Option<i64> {
    let microseconds: i64 = text(entry, "__REALTIME_TIMESTAMP")?.parse().ok()?;
    microseconds.checked_mul(1000)
}

/// A field. `None` where it is missing, no text, or there more than once.
fn text<'e>(entry: &'e Value, name: &str) -> Option<&'e str> {
    entry.get(name)?.as_str()
}

/// Whether a unit was not started since its conditions were not met (`job_emit_done_message`). That has the id of a beginning,
/// and the run before; only its words differ.
fn is_skip(entry: &Value) -> bool {
    text(entry, MESSAGE).is_some_and(|message| {
        let words = [
            " was skipped because ",
            " skipped, unmet condition check ",
            " skipped, no trigger condition checks ",
        ];
        message.starts_with("Condition check resulted in ")
            || words.iter().any(|words| message.contains(words))
    })
}

/// The runs that these entries tell of, in the order of their beginnings, as the entries are. One of which the beginning
/// is not there is left out, and so is what is no entry. Where these are not all entries, `is_cut`, what the first one
/// tells of may have begun before: a unit is also said to have begun when it ends.
pub(super) fn runs(lines: &[&str], is_cut: bool) -> Vec<Run> {
    let mut runs: Vec<(Run, Option<Kind>)> = Vec::new();
    let first = lines
        .first()
        .filter(|_| is_cut)
        .and_then(|line| serde_json::from_str::<Value>(line).ok());
    let unknown = first.as_ref().and_then(|entry| text(entry, INVOCATION));
    for line in lines {
        let Ok(entry) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let kind = text(&entry, KIND).and_then(|id| KINDS.iter().find(|(known, _)| *known == id));
        let (Some((_, kind)), Some(at), Some(invocation)) = (kind, time_of(&entry), text(&entry, INVOCATION))
        else {
            continue;
        };
        // Before its first run a unit has none.
        if unknown == Some(invocation) || invocation.is_empty() || is_skip(&entry) {
            continue;
        }
        let known = runs.iter_mut().find(|(run, _)| run.invocation == invocation);
        match (known, kind) {
            (None, Kind::Begun) => {
                let run = Run {
                    invocation: invocation.to_owned(),
                    begun: at,
                    ended: None,
                    result: String::new(),
                };
                runs.push((run, None));
            }
            (None, _) => {}
            // It had begun, and its beginning is done.
            (Some(_), Kind::Begun) => {}
            (Some((run, how)), kind) => {
                // What tells of the end itself says more than what tells of the job.
                if how.is_some() && *kind == Kind::JobEnded {
                    continue;
                }
                *how = Some(*kind);
                run.ended = Some(at);
                run.result = match kind {
                    Kind::Success => Some("success"),
                    Kind::Failure => text(&entry, "UNIT_RESULT"),
                    _ => None,
                }
                .unwrap_or_default()
                .to_owned();
            }
        }
    }
    runs.into_iter().map(|(run, _)| run).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seconds: i64, id: &str, invocation: &str, more: &str) -> String {
        format!(
            r#"{{"__REALTIME_TIMESTAMP":"{}","MESSAGE_ID":"{id}","INVOCATION_ID":"{invocation}"{more}}}"#,
            seconds * 1_000_000
        )
    }

    fn runs(text: &str, is_cut: bool) -> Vec<Run> {
        super::runs(&text.lines().collect::<Vec<_>>(), is_cut)
    }

    fn id(of: Kind) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == of).unwrap().0
    }

    const STARTED: &str = "39f53479d3a045ac8e11786248231fbf";

    #[test]
    fn a_run_is_from_its_beginning_to_its_end() {
        let lines = [
            entry(1, id(Kind::Begun), "a", ""),
            entry(5, id(Kind::Success), "a", ""),
            entry(6, STARTED, "a", ""),
            entry(10, id(Kind::Begun), "b", ""),
            entry(15, id(Kind::Failure), "b", r#","UNIT_RESULT":"timeout""#),
            entry(16, id(Kind::JobEnded), "b", r#","JOB_RESULT":"failed""#),
            entry(20, STARTED, "c", ""),
        ]
        .join("\n");
        let told: Vec<_> = runs(&lines, false)
            .into_iter()
            .map(|run| {
                let seconds = |at: i64| at / 1_000_000_000;
                (
                    run.invocation,
                    seconds(run.begun),
                    run.ended.map(seconds),
                    run.result,
                )
            })
            .collect();
        let is = |name: &str, begun, ended, result: &str| (name.to_owned(), begun, ended, result.to_owned());
        assert_eq!(
            told,
            [
                is("a", 1, Some(5), "success"),
                is("b", 10, Some(15), "timeout"),
                is("c", 20, None, "")
            ]
        );
    }

    #[test]
    fn a_run_without_its_beginning_is_left_out_and_a_job_alone_says_no_result() {
        let lines = [
            entry(1, id(Kind::Success), "a", ""),
            entry(2, STARTED, "b", ""),
            entry(3, id(Kind::JobEnded), "b", r#","JOB_RESULT":"done""#),
        ];
        let told = runs(&lines.join("\n"), false);
        assert_eq!(told.len(), 1);
        assert_eq!(
            (told[0].ended, told[0].result.as_str()),
            (Some(3_000_000_000), "")
        );
    }

    /// As systemd 252 and 245 log it: of a unit that never ran, and of one whose last run is out of reach.
    #[test]
    fn what_was_skipped_was_no_run() {
        let unmet =
            r#","MESSAGE":"A job was skipped because of an unmet condition check (ConditionPathExists=/a).""#;
        let newer = r#","MESSAGE":"A job skipped, unmet condition check ConditionPathExists=/a.""#;
        let older = r#","MESSAGE":"Condition check resulted in A job being skipped.""#;
        let ran = r#","MESSAGE":"Finished A job that is skipped.""#;
        let lines = [
            entry(1, STARTED, "", unmet),
            entry(2, STARTED, "a", unmet),
            entry(3, STARTED, "b", older),
            entry(3, STARTED, "b", newer),
            entry(4, STARTED, "c", ran),
        ];
        let told = runs(&lines.join("\n"), false).into_iter();
        assert_eq!(told.map(|run| run.invocation).collect::<Vec<_>>(), ["c"]);
    }

    /// A oneshot has started when it is done: that is no beginning where what was before is not there.
    #[test]
    fn where_the_entries_are_cut_the_first_is_of_no_run() {
        let lines = [
            entry(10, STARTED, "a", ""),
            entry(11, id(Kind::JobEnded), "a", ""),
            entry(20, id(Kind::Begun), "b", ""),
            entry(25, STARTED, "b", ""),
        ]
        .join("\n");
        let names = |is_cut| -> Vec<String> {
            let runs = runs(&lines, is_cut).into_iter();
            runs.map(|run| run.invocation).collect()
        };
        assert_eq!(names(true), ["b"]);
        assert_eq!(names(false), ["a", "b"]);
    }

    #[test]
    fn what_is_no_entry_is_passed_over() {
        let odd = [
            "",
            "-- No entries --",
            "{",
            "[1]",
            r#"{"__REALTIME_TIMESTAMP":7}"#,
            r#"{"__REALTIME_TIMESTAMP":"9999999999999999999"}"#,
            &entry(1, "39f53479d3a045ac8e11786248231fbe", "a", ""),
            &entry(1, STARTED, "a", "").replace(r#""a""#, r#"["a","b"]"#),
            &entry(1, STARTED, "a", "").replace(r#""a""#, "null"),
            &entry(1, STARTED, "a", "").replace("INVOCATION", "OTHER"),
            &entry(i64::MAX / 1_000_000, STARTED, "a", ""),
        ];
        for line in odd {
            assert_eq!(runs(line, false), [], "{line}");
        }
        assert_eq!(time(odd[3]), None);
        assert_eq!(time(odd[4]), None);
        assert_eq!(time(&entry(3, STARTED, "a", "")), Some(3_000_000_000));
    }

    #[test]
    fn only_what_systemd_wrote_is_asked_for() {
        let conditions: Vec<String> = matches("a.service").collect();
        assert_eq!(conditions[..2], ["_PID=1", "UNIT=a.service"]);
        assert_eq!(conditions.len(), 2 + KINDS.len());
    }
}
