//! Whether the tracer says of a broken node what its scenario expects.

use anyhow::Result;
use serde_json::Value;

use crate::lab::Lab;
use crate::scenario::{Column, Expectation, ExpectedDrop, Scenario, Step};

/// Something that a report says otherwise than expected, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// So many packets are unexplained beyond the bound, above or below zero.
    Unexplained(u64, String),
    /// Anything else.
    Other(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unexplained(_, said) | Self::Other(said) => f.write_str(said),
        }
    }
}

/// All that a report of `tracer diagnose`, which ended with this exit code, says otherwise than expected. It is not
/// only the first, so that one run tells everything.
pub fn failures(
    lab: &mut Lab,
    scenario: &Scenario,
    report: &Value,
    code: Option<i32>,
) -> Result<Vec<Failure>> {
    let expect = &scenario.expect;
    let mut failures = Vec::new();
    let mut wanted = |so: bool, what: String| {
        if !so {
            failures.push(Failure::Other(what));
        }
    };
    wanted(
        code == Some(expect.exit_code),
        format!("exit code {code:?}, not {}", expect.exit_code),
    );
    wanted(
        report["schema"]["name"] == "tracer.report",
        format!("schema {}", report["schema"]),
    );
    wanted(
        report["where"] == expect.place,
        format!("where {}, not {}", report["where"], expect.place),
    );
    // An alarm that was over before the end is one all the same.
    wanted(
        !scenario.is_sound() || report["episodes_total"] == 0,
        format!("nothing is broken, and there were {}", report["episodes"]),
    );
    let first = &report["verdicts"][0];
    match expect.verdict {
        Some(id) => wanted(
            first["id"] == id,
            format!("first verdict {}, not {id}", first["id"]),
        ),
        None => wanted(
            first.is_null(),
            format!("verdict {}, and none is right", first["id"]),
        ),
    }
    if expect.verdict.is_some() {
        // A weak sign does not make a node ill.
        let weak = first["confidence"] == "weak";
        wanted(
            weak == (expect.exit_code == 0) && (weak || first["where"] == expect.place),
            format!("the verdict's where {}, {}", first["where"], first["confidence"]),
        );
        for member in ["evidence", "check", "remedy"] {
            wanted(
                !array(&first[member]).is_empty(),
                format!("the verdict has no {member}"),
            );
        }
    }
    for drop in expect.drops {
        wanted(
            array(&report["drops"]).iter().any(|row| is(drop, row)),
            format!("no row of drops {drop:?}"),
        );
    }
    if let Some((column, least)) = expect.column {
        let packets = report["ledger"][column.name()].as_u64();
        wanted(
            packets >= Some(least),
            format!("{} of {packets:?} packets, not at least {least}", column.name()),
        );
    }
    for step in scenario.break_it {
        let (before, seconds, most) = match step {
            Step::Clock(seconds) => ("the clock was set forward by ", *seconds, 0.1),
            // The clock that it goes by meanwhile counts seconds.
            Step::Suspend(seconds) => ("the machine was suspended for ", *seconds, 1.5),
            _ => continue,
        };
        wanted(
            tells_of_seconds(report, before, seconds, most),
            format!("that {before}{seconds} s is not told: {}", report["changes"]),
        );
    }
    let rows: u64 = array(&report["drops"])
        .iter()
        .filter(|row| row["in_ledger"] == true)
        .filter_map(|row| row["packets"].as_u64())
        .sum();
    wanted(
        report["ledger"]["dropped"] == rows,
        format!("{rows} packets in the rows of drops, {}", report["ledger"]),
    );
    if let Some(actor) = expect.starved {
        let pid = lab.traffic(actor.name)?.pid();
        let command = actor.role.command().to_string_lossy();
        let named = |flow: &&Value| flow["pid"] == pid && flow["command"] == *command;
        let flow = array(&first["flows"]).iter().find(named);
        wanted(
            flow.is_some(),
            format!("the verdict names no flow of pid {pid}, {command}"),
        );
        wanted(
            flow.is_some_and(|flow| flow["dropped"].as_u64() > Some(0)),
            format!("no drop at the flow of pid {pid}"),
        );
        let starved = array(&report["starved"]).iter().any(|flow| named(&flow));
        wanted(starved, format!("pid {pid}, {command} is not among the starved"));
    }
    failures.extend(books(expect, &report["ledger"]).err());
    Ok(failures)
}

/// Whether it is told that the clocks went apart by so many seconds, or by at most so much less or more: some milliseconds of
/// it depend on when they are read.
fn tells_of_seconds(report: &Value, before: &str, seconds: u32, most: f64) -> bool {
    let texts = array(&report["changes"])
        .iter()
        .filter(|one| one["kind"] == "notice");
    texts.filter_map(|one| one["after"].as_str()).any(|text| {
        let told = text.strip_prefix(before);
        let told = told.and_then(|rest| rest.split_once(" s")?.0.parse::<f64>().ok());
        told.is_some_and(|told| (told - f64::from(seconds)).abs() < most)
    })
}

/// The members of a list; none where it is no list.
pub fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Whether a row of the report's drops is the expected one.
fn is(expected: &ExpectedDrop, row: &Value) -> bool {
    expected.reasons.iter().any(|reason| row["reason"] == *reason)
        && row["location"].as_str().is_some_and(|location| {
            expected.is_at(location)
                && row["detail"]
                    .as_str()
                    .is_some_and(|detail| expected.has_detail(location, detail))
        })
        && row["socket_found"]
            .as_bool()
            .is_some_and(|found| expected.has_socket(found))
        && row["class"] == expected.class.name()
        && row["incoming"] == expected.incoming
        && row["packets"].as_u64() > Some(0)
        // A drop whose namespace nobody can know may come from another test's.
        && row["in_ledger"] == expected.incoming
}

/// The law of double entry, and the bound on what is unexplained.
fn books(expect: &Expectation, ledger: &Value) -> Result<(), Failure> {
    let column = |name: &str| {
        ledger[name]
            .as_i64()
            .ok_or_else(|| Failure::Other(format!("the ledger has no {name}: {ledger}")))
    };
    let [arrived, unexplained] = ["arrived", "unexplained"].map(column);
    let (arrived, unexplained) = (arrived?, unexplained?);
    let mut sum = unexplained;
    for name in Column::ALL.map(Column::name) {
        sum += column(name)?;
    }
    if arrived != sum {
        let said = format!("{arrived} arrived and {sum} accounted for: {ledger}");
        return Err(Failure::Other(said));
    }
    // A single packet that was on its way at the end is none too many where next to nothing arrives.
    let most = (arrived as f64 * expect.most_unexplained).ceil() as u64;
    let over = unexplained.unsigned_abs().saturating_sub(most);
    if over > 0 {
        let said = format!("{unexplained} of {arrived} unexplained, at most {most} may be: {ledger}");
        return Err(Failure::Unexplained(over, said));
    }
    Ok(())
}

/// They show that the checks above can fail.
#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scenario::{self, Class, Need};

    #[test]
    fn books_that_do_not_balance_are_seen() {
        let expect = scenario::find("healthy").unwrap().expect;
        let mut ledger = json!({"arrived": 1000, "delivered": 700, "forwarded": 200, "answered": 50,
            "dropped": 20, "queued": 20, "unexplained": 10});
        assert_eq!(books(&expect, &ledger), Ok(()));
        ledger["delivered"] = json!(699);
        let said = books(&expect, &ledger).unwrap_err().to_string();
        assert!(said.contains("accounted for"), "{said}");
        ledger["unexplained"] = json!(11);
        let over = books(&expect, &ledger).unwrap_err();
        assert!(matches!(over, Failure::Unexplained(1, _)), "{over:?}");
        ledger["unexplained"] = json!(-300);
        ledger["dropped"] = json!(331);
        let over = books(&expect, &ledger).unwrap_err();
        assert!(matches!(over, Failure::Unexplained(290, _)), "{over:?}");
    }

    #[test]
    fn a_row_is_the_expected_one_in_every_member() {
        let drop = ExpectedDrop::of(&["OTHER", "NOT_SPECIFIED"], &["ip_forward"], Class::State)
            .socket_found(true)
            .detail("so");
        let row = json!({"detail": "so", "reason": "NOT_SPECIFIED", "location": "ip_forward+0x1c4", "socket_found": true,
            "class": "state", "incoming": true, "packets": 3, "in_ledger": true});
        assert!(is(&drop, &row));
        for (member, other) in [
            ("reason", json!("NO_SOCKET")),
            ("location", json!("ip_rcv+0x1")),
            ("socket_found", json!(false)),
            ("class", json!("policy")),
            ("incoming", json!(false)),
            ("detail", json!("")),
            ("packets", json!(0)),
            ("in_ledger", json!(false)),
        ] {
            let mut row = row.clone();
            row[member] = other;
            assert!(!is(&drop, &row), "{member}");
        }
    }

    #[test]
    fn the_socket_is_wanted_where_the_kernel_can_tell_it() {
        let drop = ExpectedDrop::of(&[], &[], Class::Resource).socket_found(true);
        let needing = |need| ExpectedDrop {
            socket_needs: Some(need),
            ..drop
        };
        assert!(drop.has_socket(true) && !drop.has_socket(false));
        assert!(!needing(Need::Symbol("ip_rcv")).has_socket(false));
        assert!(needing(Need::Symbol("no_such_symbol")).has_socket(false));
    }

    #[test]
    fn a_chain_is_wanted_where_it_can_be_known() {
        let drop = ExpectedDrop::of(&[], &[], Class::Policy)
            .detail("input")
            .chain("in");
        assert!(drop.has_detail("nft_do_chain+0x1", "input: in"));
        assert!(drop.has_detail("nf_hook_slow+0x1", "input"));
        assert!(!drop.has_detail("nft_do_chain+0x1", "input"));
        assert!(!drop.has_detail("nf_hook_slow+0x1", "input: in"));
    }
}
