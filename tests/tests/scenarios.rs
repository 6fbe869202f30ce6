//! Every scenario of the lab, and what the tracer says about it.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::path::Path;

use lab::lab::Lab;
use lab::scenario::{self, Expectation, ExpectedDrop, Scenario};
use lab::tracer::{Break, observe};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_lab");

/// Runs `tracer diagnose` on the node of a scenario and checks what it says against what is expected.
fn check(name: &str, when: Break) -> (Lab, Value) {
    let scenario = scenario::find(name).unwrap();
    assert!(
        when == Break::WhileWatched || scenario.late,
        "{name} expects nothing of a late start"
    );
    let mut lab = Lab::of(scenario, Path::new(PROGRAM)).unwrap();
    let ended = observe(
        &mut lab,
        scenario,
        when,
        &["diagnose", "--for", "6s", "--format", "json"],
    )
    .unwrap();
    let report = ended.report().unwrap();
    let context = format!(
        "{}\nstderr: {}",
        serde_json::to_string_pretty(&report).unwrap(),
        ended.stderr
    );
    let failures = failures(&mut lab, scenario, &report, ended.status.code());
    assert!(
        failures.is_empty(),
        "{name}, {when:?}:\n  {}\n{context}",
        failures.join("\n  ")
    );
    (lab, report)
}

/// All that is not as expected, so that one run tells everything.
fn failures(lab: &mut Lab, scenario: &Scenario, report: &Value, code: Option<i32>) -> Vec<String> {
    let expect = &scenario.expect;
    let mut failures = Vec::new();
    let mut wanted = |so: bool, what: String| {
        if !so {
            failures.push(what);
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
    if let Err(error) = books(expect, &report["ledger"]) {
        wanted(false, error);
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
        let pid = lab.traffic(actor.name).unwrap().pid();
        let command = actor.role.command().to_str().unwrap();
        let named = |flow: &&Value| flow["pid"] == pid && flow["command"] == command;
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
    failures
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Whether a row of the report's drops is the expected one.
fn is(expected: &ExpectedDrop, row: &Value) -> bool {
    row["reason"] == expected.reason
        && row["location"]
            .as_str()
            .is_some_and(|location| expected.is_at(location))
        && expected
            .socket_found
            .is_none_or(|found| row["socket_found"] == found)
        && row["packets"].as_u64() > Some(0)
        // A drop whose namespace nobody can know may come from another test's.
        && row["in_ledger"] == true
}

/// The law of double entry, and the bound on what is unexplained.
fn books(expect: &Expectation, ledger: &Value) -> Result<(), String> {
    let column = |name: &str| {
        ledger[name]
            .as_i64()
            .ok_or(format!("the ledger has no {name}: {ledger}"))
    };
    let [arrived, unexplained] = ["arrived", "unexplained"].map(column);
    let (arrived, unexplained) = (arrived?, unexplained?);
    let mut sum = unexplained;
    for name in ["delivered", "forwarded", "answered", "dropped", "queued"] {
        sum += column(name)?;
    }
    if arrived != sum {
        return Err(format!("{arrived} arrived and {sum} accounted for: {ledger}"));
    }
    // A single packet that was on its way at the end is none too many where next to nothing arrives.
    let most = (arrived as f64 * expect.most_unexplained).ceil();
    if unexplained.unsigned_abs() as f64 > most {
        return Err(format!(
            "{unexplained} of {arrived} unexplained, at most {most} may be: {ledger}"
        ));
    }
    Ok(())
}

#[test]
fn healthy() {
    let (mut lab, report) = check("healthy", Break::WhileWatched);
    let bulk = lab
        .wait_for("bulk", |counts| {
            counts.values().all(|target| target.bulks.done == 1)
        })
        .unwrap();
    assert!(bulk["192.0.2.10:8080"].bytes >= 20_000_000);
    let arrived = report["ledger"]["arrived"].as_u64().unwrap();
    // 20 MB are some 14,000 segments, which the ledger counts as the wire would carry them.
    assert!(arrived >= 14_000, "{arrived} arrived");
    for column in ["delivered", "forwarded", "answered"] {
        assert!(
            report["ledger"][column].as_u64() > Some(0),
            "nothing {column}: {}",
            report["ledger"]
        );
    }
}

/// What a packet passes on its way out, it leaves by only once.
#[test]
fn bridged_pods() {
    let (_lab, report) = check("bridged-pods", Break::WhileWatched);
    let forwarded = report["ledger"]["forwarded"].as_u64();
    assert!(forwarded > Some(100), "{}", report["ledger"]);
}

#[test]
fn address_removed() {
    check("address-removed", Break::WhileWatched);
}

#[test]
fn busy() {
    let (mut lab, report) = check("busy", Break::WhileWatched);
    // The books balance because they are full, not because nothing came.
    let answers = lab.traffic("flood").unwrap().counts().unwrap()["192.0.2.10:8080"].done();
    let arrived = report["ledger"]["arrived"].as_u64().unwrap();
    assert!(
        answers > 1000 && arrived > 1000,
        "{arrived} arrived, {answers} answers"
    );
}

#[test]
fn storm() {
    let (_lab, report) = check("storm", Break::WhileWatched);
    let ledger = &report["ledger"];
    assert!(ledger["dropped"].as_u64() > Some(10_000), "{ledger}");
}

/// A connection that is opened when the node is already broken is never answered. Its owner is known all the
/// same.
#[test]
fn local_rule_lost() {
    let (mut lab, report) = check("local-rule-lost", Break::WhileWatched);
    let pid = lab.traffic("node-client").unwrap().pid();
    let flows = array(&report["verdicts"][0]["flows"]);
    let tcp: Vec<&Value> = flows.iter().filter(|flow| flow["protocol"] == "tcp").collect();
    let opening = tcp.iter().filter(|flow| flow["state"] == "SYN-SENT").count();
    assert!(opening >= 2, "{report:#}");
    let nameless = tcp.iter().find(|flow| flow["pid"] != pid);
    assert!(nameless.is_none(), "{nameless:#?}");
    // Pings have no port, and two of them one kind of socket; each flow is its sender's all the same.
    let ping = lab.traffic("node-ping").unwrap().pid();
    let echo = flows.iter().find(|flow| flow["protocol"] == "icmp").unwrap();
    assert_eq!(echo["pid"], ping, "{echo:#}");
}

#[test]
fn local_rule_lost_before_the_start() {
    check("local-rule-lost", Break::Before);
}

#[test]
fn rp_filter() {
    check("rp-filter", Break::WhileWatched);
}

#[test]
fn rp_filter_before_the_start() {
    check("rp-filter", Break::Before);
}

#[test]
fn replies_filtered() {
    check("replies-filtered", Break::WhileWatched);
}

#[test]
fn replies_filtered_before_the_start() {
    check("replies-filtered", Break::Before);
}

/// Clients that are refused do not wait: they are the verdict's, one for each, and starve from nothing.
#[test]
fn no_socket() {
    let (_lab, report) = check("no-socket", Break::WhileWatched);
    assert_eq!(report["starved_total"], 0, "{report:#}");
    let flows = array(&report["verdicts"][0]["flows"]);
    assert_eq!(report["verdicts"][0]["flows_total"], flows.len(), "{report:#}");
    // TCP and UDP by IPv4 and IPv6, from one client.
    assert_eq!(flows.len(), 4, "{report:#}");
}

#[test]
fn silent_path() {
    check("silent-path", Break::WhileWatched);
}

/// No answer was ever seen: that nobody else is heard from either makes it the path.
#[test]
fn silent_path_before_the_start() {
    check("silent-path", Break::Before);
}

/// What was broken and mended is not broken any more: nothing starves once the rule is back.
#[test]
fn a_healed_node_starves_nobody() {
    let scenario = scenario::find("local-rule-lost").unwrap();
    let mut lab = Lab::of(scenario, Path::new(PROGRAM)).unwrap();
    lab.apply(scenario.break_it).unwrap();
    lab.apply(scenario.heal).unwrap();
    let done = |counts: &lab::traffic::Counts| counts.values().map(|target| target.requests.done).min();
    let before = done(&lab.traffic("node-client").unwrap().counts().unwrap());
    lab.wait_for("node-client", |counts| done(counts) > before)
        .unwrap();
    let mut tracer = lab::tracer::on_node(&lab, &["diagnose", "--for", "3s", "--format", "json"]).unwrap();
    let ended = lab::tracer::run(&mut tracer, |_| Ok(())).unwrap();
    let report = ended.report().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{report:#}");
    assert_eq!(report["where"], "healthy", "{report:#}");
}

/// The tests below need no tracer: they show that the checks above can fail.
mod checks {
    use super::*;
    use serde_json::json;

    #[test]
    fn books_that_do_not_balance_are_seen() {
        let expect = scenario::find("healthy").unwrap().expect;
        let mut ledger = json!({"arrived": 1000, "delivered": 700, "forwarded": 200, "answered": 50,
            "dropped": 20, "queued": 20, "unexplained": 10});
        assert_eq!(books(&expect, &ledger), Ok(()));
        ledger["delivered"] = json!(699);
        assert!(books(&expect, &ledger).unwrap_err().contains("accounted for"));
        ledger["unexplained"] = json!(11);
        assert!(books(&expect, &ledger).unwrap_err().contains("unexplained"));
        ledger["unexplained"] = json!(-300);
        ledger["dropped"] = json!(331);
        assert!(books(&expect, &ledger).unwrap_err().contains("unexplained"));
    }

    #[test]
    fn a_row_is_the_expected_one_in_every_member() {
        let drop = ExpectedDrop {
            reason: "NOT_SPECIFIED",
            symbols: &["ip_forward"],
            socket_found: Some(true),
        };
        let row = json!({"reason": "NOT_SPECIFIED", "location": "ip_forward+0x1c4", "socket_found": true,
            "packets": 3, "in_ledger": true});
        assert!(is(&drop, &row));
        for (member, other) in [
            ("reason", json!("NO_SOCKET")),
            ("location", json!("ip_rcv+0x1")),
            ("socket_found", json!(false)),
            ("packets", json!(0)),
            ("in_ledger", json!(false)),
        ] {
            let mut row = row.clone();
            row[member] = other;
            assert!(!is(&drop, &row), "{member}");
        }
    }
}
