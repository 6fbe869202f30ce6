//! The incident itself, staged with the real systemd, networkd, apt and dpkg, and told by the tracer as it happens.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::path::Path;
use std::time::Duration;

use lab::incident::{self, proof};

/// A verdict that takes longer than that after the change that brought it about is too late for anybody. What it takes is
/// printed.
const LATE: Duration = Duration::from_secs(30);

/// The error of the story tells what the tracer did not say, or said otherwise.
fn tells(name: &str) {
    let variant = incident::find(name).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_lab"));
    let told = proof::play(variant, program, &mut |line| {
        println!("{line}");
        Ok(())
    })
    .unwrap();
    println!("{name}: {:?} after the change that explains it", told.delay);
    assert!(told.delay < LATE, "{told:#?}");
}

#[test]
fn an_upgrade_restarts_networkd_which_deletes_the_rules_of_others() {
    tells("incident");
}

#[test]
fn an_upgrade_restarts_networkd_which_removes_an_address_of_others() {
    tells("incident-address");
}

#[test]
fn an_upgrade_restarts_networkd_which_deletes_all_of_a_network_plugin() {
    tells("incident-cni");
}

#[test]
fn an_upgrade_loses_the_configuration_and_the_lease_runs_out() {
    tells("incident-lease");
}

#[test]
fn an_upgrade_has_the_uplink_renamed() {
    tells("incident-renamed");
}

#[test]
fn an_upgrade_restarts_networkd_which_deletes_the_rules_of_pods() {
    tells("incident-pod-rules");
}

#[test]
fn an_upgrade_sets_a_reverse_path_filter_for_pods() {
    tells("incident-pod-rp-filter");
}

#[test]
fn an_upgrade_replaces_the_modules_of_the_running_kernel() {
    tells("incident-modules");
}

#[test]
fn an_upgrade_sets_a_strict_reverse_path_filter() {
    tells("incident-rp-filter");
}

#[test]
fn an_upgrade_loads_a_firewall_without_the_rule_for_replies() {
    tells("incident-firewall");
}

#[test]
fn an_upgrade_that_is_killed_has_stopped_a_service() {
    tells("incident-service");
}
