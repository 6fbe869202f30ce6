//! What the tracer says about each broken node: one run of `tracer diagnose` for each scenario of the list, and where it
//! is expected to know as much, one more that starts after the break.
#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use lab::check::{Checked, check_scenario};
use lab::judge::array;
use lab::lab::Lab;
use lab::scenario::{self, Place, Scenario};
use lab::tracer::Break;
use libtest_mimic::{Arguments, Trial};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_lab");
/// For how long the tracer watches.
const TIME: &str = "6s";
/// The same where what is asked is known only when the kernel gives up on a neighbour, three seconds after it first asked for its
/// address (`neigh_max_probes`, net/core/neighbour.c).
const TIME_TO_FAIL: &str = "10s";
/// Scenarios that run at a time. Most of their time is spent waiting; more of them would not leave the CPUs to the
/// tracers.
const AT_A_TIME: usize = 6;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_A_TIME);
    let mut trials = Vec::new();
    for scenario in scenario::all() {
        trials.push(trial(scenario, Break::WhileWatched));
        if scenario.late {
            trials.push(trial(scenario, Break::Before));
        }
    }
    trials.push(Trial::test("a_healed_node_starves_nobody", || {
        a_healed_node_starves_nobody();
        Ok(())
    }));
    trials.push(Trial::test(
        "what_a_running_process_does_not_read_is_a_weak_sign_after_a_while",
        || {
            what_a_running_process_does_not_read_is_a_weak_sign_after_a_while();
            Ok(())
        },
    ));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A run of the tracer. One that this kernel cannot produce is listed as ignored, with the reason.
fn trial(scenario: &'static Scenario, when: Break) -> Trial {
    let name = match when {
        Break::WhileWatched => scenario.name.to_owned(),
        Break::Before => format!("{}-before-the-start", scenario.name),
    };
    if let Some(why) = scenario.skipped() {
        return Trial::test(name, || Ok(()))
            .with_kind(why)
            .with_ignored_flag(true);
    }
    Trial::test(name, move || Ok(check(scenario, when)?))
}

/// Checks what the tracer says against what is expected.
fn check(scenario: &Scenario, when: Break) -> anyhow::Result<()> {
    // Where table local is not looked up, what comes for this node waits at a neighbour of its own address.
    let time = if scenario.name == "local-rule-lost" {
        TIME_TO_FAIL
    } else {
        TIME
    };
    let Checked {
        mut lab,
        ended,
        report,
        failures,
    } = check_scenario(scenario, Path::new(PROGRAM), when, time, &[])?;
    if !failures.is_empty() {
        // What is wrong comes last, where it is found.
        let said: Vec<String> = failures.iter().map(ToString::to_string).collect();
        bail!("{report:#}\nstderr: {}\n{}", ended.stderr, said.join("\n"));
    }
    if when == Break::WhileWatched {
        look_closer(scenario, &mut lab, &report);
    }
    Ok(())
}

/// What is expected of some scenarios beyond their values.
fn look_closer(scenario: &Scenario, lab: &mut Lab, report: &Value) {
    match scenario.name {
        "healthy" => healthy(lab, report),
        "bridged-pods" => bridged_pods(report),
        "busy" => busy(lab, report),
        "storm" => storm(report),
        "buffers-reused" => buffers_reused(report),
        "loopback" => loopback(report),
        "bridged-uplink-filtered" => dropped_by_bridge(report),
        "crowd" => crowd(report),
        "many-keys" => many_keys(report),
        "local-rule-lost" => local_rule_lost(lab, report),
        "no-socket" => no_socket(report),
        "stale-connections" => nothing_starves(report),
        "pod-route-gone" | "pod-device-down" => goes_out(report, "eth0", "eth0"),
        "forwarded-elsewhere" => goes_out(report, "eth0", "eth1"),
        "pod-silent" | "pod-silent-full" => waits_for_a_pod(report),
        "pings" => pings(report),
        "xdp-generic" | "tc-drops" | "nft-ingress" => senders_socket(report),
        "unread-tcp" => without_device(lab, report),
        "arp-off" | "arp-ignored" | "arp-filtered" => asked_in_vain(report),
        "address-denied" => denied(report),
        "ipv6-off-for-all" => switched_off(report),
        "lone-fragment" => pieces_lost(report),
        "fragments" => pieces(report),
        _ => {}
    }
}

/// All that went with it is put back in an order in which that works, and nothing of it is a cause of its own.
fn switched_off(report: &Value) {
    let verdicts = report["verdicts"].as_array().unwrap();
    let of = |id: &str| verdicts.iter().find(|verdict| verdict["id"] == id);
    let verdict = of("R24").unwrap();
    let cause = verdict["cause"]["text"].as_str().unwrap();
    assert!(
        cause.starts_with("sysctl net.ipv6.conf.all.disable_ipv6"),
        "{cause}"
    );
    let remedy = verdict["remedy"].as_array().unwrap();
    let place = |text: &str| {
        let mut lines = remedy.iter().map(|line| line.as_str().unwrap_or_default());
        lines.position(|line| line.contains(text))
    };
    let lines = [
        "net.ipv6.conf.all.disable_ipv6=0",
        "ip addr add 2001:db8:10::2/64",
        "ip -6 route add default via 2001:db8:10::1",
    ];
    let places = lines.map(place);
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{remedy:#?}"
    );
    assert_eq!(places[0], Some(0), "{remedy:#?}");
    if let Some(way) = of("R04") {
        assert_eq!(way["under"], "R24", "{way:#}");
    }
}

fn healthy(lab: &mut Lab, report: &Value) {
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
fn bridged_pods(report: &Value) {
    let forwarded = report["ledger"]["forwarded"].as_u64();
    assert!(forwarded > Some(100), "{}", report["ledger"]);
}

fn busy(lab: &mut Lab, report: &Value) {
    // The books balance because they are full, not because nothing came.
    let answers = lab.traffic("flood").unwrap().counts().unwrap()["192.0.2.10:8080"].done();
    let arrived = report["ledger"]["arrived"].as_u64().unwrap();
    assert!(
        answers > 1000 && arrived > 1000,
        "{arrived} arrived, {answers} answers"
    );
}

fn storm(report: &Value) {
    let ledger = &report["ledger"];
    assert!(ledger["dropped"].as_u64() > Some(10_000), "{ledger}");
}

/// All fates, and none of them few.
fn buffers_reused(report: &Value) {
    let ledger = &report["ledger"];
    for (column, least) in [("delivered", 1000), ("forwarded", 100), ("answered", 10)] {
        assert!(ledger[column].as_u64() >= Some(least), "{column}: {ledger}");
    }
}

/// Far more is dropped than has arrived.
fn loopback(report: &Value) {
    let drops = array(&report["drops"])
        .iter()
        .filter(|row| row["reason"] == "NO_SOCKET" && row["protocol"] == "udp" && row["in_ledger"] == false);
    let dropped: u64 = drops.filter_map(|row| row["packets"].as_u64()).sum();
    let ledger = &report["ledger"];
    assert!(dropped > 10_000, "{report:#}");
    assert!(
        ledger["arrived"].as_u64() < Some(1000) && ledger["dropped"] == 0,
        "{dropped} dropped, {ledger}"
    );
}

/// The bridge is the uplink, and they had not come by it yet.
fn dropped_by_bridge(report: &Value) {
    // Before 6.7 no place tells that it was a chain's rule.
    let at_input = |detail: &str| {
        let chain = detail.strip_prefix("netfilter: input, bridge");
        matches!(chain, Some("" | ": table bridge broken, chain in"))
    };
    let drops = array(&report["drops"]);
    let dropped: u64 = drops
        .iter()
        .filter(|row| row["detail"].as_str().is_some_and(at_input) && row["in_ledger"] == false)
        .filter_map(|row| row["packets"].as_u64())
        .sum();
    assert!(dropped > 10, "{drops:#?}");
}

/// There is room for every client.
fn crowd(report: &Value) {
    let (ledger, losses) = (&report["ledger"], &report["losses"]);
    assert!(ledger["delivered"].as_u64() > Some(10_000), "{ledger}");
    for loss in ["flows_full", "map_full", "in_other", "ring_full"] {
        assert_eq!(losses[loss], 0, "{losses}");
    }
}

/// More lines than the books have room for, and not one packet is lost.
fn many_keys(report: &Value) {
    let (losses, rows) = (&report["losses"], array(&report["drops"]));
    assert_eq!(losses["map_full"], 0, "{losses}");
    let other: u64 = rows
        .iter()
        .filter(|row| row["reason"] == "other" && row["in_ledger"] == true)
        .filter_map(|row| row["packets"].as_u64())
        .sum();
    let in_other = losses["in_other"].as_u64();
    assert!(
        in_other > Some(0) && other >= in_other.unwrap(),
        "{other} of other, {losses}"
    );
}

/// A connection that is opened when the node is already broken is never answered. Its owner is known all the
/// same.
fn local_rule_lost(lab: &mut Lab, report: &Value) {
    let pid = lab.traffic("node-client").unwrap().pid();
    let flows = array(&report["verdicts"][0]["flows"]);
    let tcp: Vec<&Value> = flows.iter().filter(|flow| flow["protocol"] == "tcp").collect();
    // Who opens it gives up after a second.
    let is_opened = |flow: &&&Value| flow["state"] == "SYN-SENT" || flow["state"] == "UNCONN";
    let opening = tcp.iter().filter(is_opened).count();
    assert!(opening >= 2, "{report:#}");
    let nameless = tcp.iter().find(|flow| flow["pid"] != pid);
    assert!(nameless.is_none(), "{nameless:#?}");
    // Pings have no port, and two of them one kind of socket; each flow is its sender's all the same.
    let ping = lab.traffic("node-ping").unwrap().pid();
    let echo = flows.iter().find(|flow| flow["protocol"] == "icmp").unwrap();
    assert_eq!(echo["pid"], ping, "{echo:#}");
}

/// What comes for a connection that was closed is refused, and who sent it does not wait.
fn nothing_starves(report: &Value) {
    assert_eq!(array(&report["starved"]), &[] as &[Value], "{report:#}");
    assert_eq!(report["starved_total"], 0, "{report:#}");
}

/// Clients that are refused do not wait: they are the verdict's, one for each, and starve from nothing.
fn no_socket(report: &Value) {
    nothing_starves(report);
    let flows = array(&report["verdicts"][0]["flows"]);
    assert_eq!(report["verdicts"][0]["flows_total"], flows.len(), "{report:#}");
    // TCP and UDP by IPv4 and IPv6, from one client.
    assert_eq!(flows.len(), 4, "{report:#}");
}

/// What is forwarded is told by the devices by which it came and left.
fn goes_out(report: &Value, from: &str, to: &str) {
    let ways = array(&report["forwards"]);
    let way = ways.iter().find(|way| way["from"] == from && way["to"] == to);
    assert!(
        way.is_some_and(|way| way["packets"].as_u64() > Some(50)),
        "{ways:#?}"
    );
}

/// What waits for the pod's answer is told by its address.
fn waits_for_a_pod(report: &Value) {
    let waiting: u64 = array(&report["unresolved"])
        .iter()
        .filter(|neighbour| {
            neighbour["device"] == "lxc1" && neighbour["address"].as_str().is_some_and(is_pod)
        })
        .filter_map(|neighbour| neighbour["packets"].as_u64())
        .sum();
    assert!(waiting > 0, "{report:#}");
    assert!(report["ledger"]["queued"].as_u64() >= Some(waiting), "{report:#}");
}

fn is_pod(address: &str) -> bool {
    ["10.244.0.2", "2001:db8:244::2"].contains(&address)
}

/// Fragments that are not the first of their packets are shown where they are lost, and are no packets.
fn pieces_lost(report: &Value) {
    let lost = array(&report["drops"])
        .iter()
        .find(|row| {
            row["location"]
                .as_str()
                .is_some_and(|place| place.starts_with("inet_frag_rbtree_purge"))
        })
        .unwrap_or_else(|| panic!("none at inet_frag_rbtree_purge: {report:#}"));
    assert!(lost["packets"].as_u64() >= Some(18), "{lost:#}");
    assert_eq!(
        (&lost["in_ledger"], &lost["socket_found"]),
        (&Value::Bool(false), &Value::Bool(false)),
        "{lost:#}"
    );
}

/// What a packet was put together of is freed with it, and not dropped.
fn pieces(report: &Value) {
    for row in array(&report["drops"]) {
        let place = row["location"].as_str().unwrap_or_default();
        assert!(!place.starts_with("skb_release_data"), "{row:#}");
    }
}

/// The kernel's own copies are dropped, and are no loss.
fn pings(report: &Value) {
    for protocol in ["icmp", "icmp6"] {
        let copies = array(&report["drops"])
            .iter()
            .find(|row| row["reason"] == "NO_SOCKET" && row["protocol"] == protocol)
            .unwrap_or_else(|| panic!("no copies of {protocol}: {report:#}"));
        assert_eq!(copies["in_ledger"], false, "{copies:#}");
    }
    assert!(
        report["ledger"]["delivered"].as_u64() >= Some(20),
        "{}",
        report["ledger"]
    );
}

/// On a virtual pair the packet still points to the socket that sent it, and nobody has looked for the one it is for.
fn senders_socket(report: &Value) {
    let drops: Vec<&Value> = array(&report["drops"])
        .iter()
        .filter(|row| row["class"] == "policy")
        .collect();
    assert!(!drops.is_empty(), "{report:#}");
    for row in drops {
        assert_eq!(row["socket_found"], false, "{row:#}");
        assert_eq!(array(&row["units"]).len(), 0, "{row:#}");
    }
}

/// Once TCP has found the socket the packet has no device any more, and so no namespace: the socket has.
fn without_device(lab: &Lab, report: &Value) {
    let name = lab.netns(Place::Node).name();
    let drops: Vec<&Value> = array(&report["drops"])
        .iter()
        .filter(|row| row["reason"] == "TCP_OLD_SEQUENCE" || row["reason"] == "TCP_INVALID_SEQUENCE")
        .collect();
    assert!(!drops.is_empty(), "{report:#}");
    for row in drops {
        let netns = row["netns"].as_str().unwrap_or_default();
        assert!(netns.starts_with(name), "{row:#}");
        assert_eq!(
            (&row["in_ledger"], &row["socket_found"]),
            (&true.into(), &true.into()),
            "{row:#}"
        );
    }
}

fn asked_in_vain(report: &Value) {
    let told = array(&report["neighbours"])
        .iter()
        .find(|told| told["address"] == "10.10.0.2")
        .unwrap_or_else(|| panic!("{report:#}"));
    assert!(told["unanswered"].as_u64() >= Some(3), "{told:#}");
}

/// The process that is refused everything is named, by TCP and UDP and both families.
fn denied(report: &Value) {
    let flows = array(&report["verdicts"][0]["flows"]);
    for protocol in ["tcp", "udp"] {
        let hungry = flows
            .iter()
            .filter(|flow| flow["protocol"] == protocol && flow["command"] == "lab-client");
        assert!(hungry.count() >= 2, "{flows:#?}");
    }
}

/// A receiver that pauses is none for 10 s, which is longer than scenarios are watched.
fn what_a_running_process_does_not_read_is_a_weak_sign_after_a_while() {
    let scenario = scenario::find("unread-tcp").unwrap();
    let checked = check_scenario(scenario, Path::new(PROGRAM), Break::WhileWatched, "18s", &[]).unwrap();
    let report = checked.report;
    let first = &report["verdicts"][0];
    assert_eq!(
        (&first["id"], &first["confidence"]),
        (&"R14".into(), &"weak".into()),
        "{report:#}"
    );
    assert_eq!(report["where"], "healthy", "{report:#}");
    let said = first["explanation"].as_str().unwrap();
    assert!(said.starts_with("2 connections to tcp 8081 have data"), "{said}");
}

/// What was broken and mended is not broken any more: nothing starves once the rule is back.
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
