//! Every scenario of the lab, and what the tracer says about it.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::path::Path;

use lab::check::{Checked, check_scenario};
use lab::judge::array;
use lab::lab::Lab;
use lab::scenario;
use lab::tracer::Break;
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_lab");

/// Runs `tracer diagnose` on the node of a scenario and checks what it says against what is expected.
fn check(name: &str, when: Break) -> (Lab, Value) {
    let scenario = scenario::find(name).unwrap();
    assert!(
        when == Break::WhileWatched || scenario.late,
        "{name} expects nothing of a late start"
    );
    let Checked {
        lab,
        ended,
        report,
        failures,
    } = check_scenario(scenario, Path::new(PROGRAM), when, "6s").unwrap();
    assert!(
        failures.is_empty(),
        "{name}, {when:?}:\n  {}\n{report:#}\nstderr: {}",
        failures.join("\n  "),
        ended.stderr
    );
    (lab, report)
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
