//! Units that systemd ended by force, and what of them goes on.

use std::collections::BTreeSet;

use super::sufferers::Sufferers;
use super::words::{count, list, moment, short};
use super::{About, Finding, Rule, View, effects, evidence, managers};
use crate::event::UnitState;
use crate::model::clock::SECOND;
use crate::report::Confidence;

/// R26: flows began to starve soon after systemd had killed a unit.
pub(super) const KILLED: Rule = Rule {
    id: "R26",
    slug: "unit-killed",
    title: "Flows began to starve soon after a unit was killed or crashed",
    place: None,
    about: About {
        signature: "A unit ended by timeout, signal, watchdog or for want of memory in the minute before flows began to starve. A weak \
                    sign where by its name it neither changes packages nor keeps what packets go by.",
        meaning: "What the unit was doing was cut off: an upgrade half-way through, an agent that keeps rules or routes. That both \
                  came one after the other is a sign, and no proof.",
        check: &[
            "systemctl status UNIT",
            "journalctl -u UNIT -n 50",
            "dpkg --audit",
        ],
        mend: &[
            "Let what it was doing be finished: start it again, or `dpkg --configure -a` for an upgrade. Risk: read its log first.",
        ],
    },
    examine: killed,
    explains: effects::none,
    proved_by: effects::none,
    follows: &["R01", "R03", "R04", "R05", "R06", "R12", "R22", "K01"],
};

/// R28: a unit has ended and its processes have not.
pub(super) const LEFT_BEHIND: Rule = Rule {
    id: "R28",
    slug: "processes-left",
    title: "A unit has ended and processes of it still run",
    place: None,
    about: About {
        signature: "A unit is failed or inactive, and processes are left in its cgroup.",
        meaning: "With KillMode=process systemd ends the main process only. What it had started goes on, as an upgrade does whose \
                  unit was stopped: the unit looks ended, and the work is not.",
        check: &["systemd-cgls -u UNIT", "systemctl show -p KillMode,Result UNIT"],
        mend: &[
            "Wait until they have ended, and do not reboot meanwhile. Risk: to kill an upgrade leaves packages half-installed.",
        ],
    },
    examine: left_behind,
    explains: effects::unit_ended,
    proved_by: effects::none,
    follows: &[],
};

/// What a unit does to others shows up to so long after its end.
const AFTER: u64 = 60 * SECOND;

/// Results of a run that was ended by force (`ServiceResult`, systemd src/core/service.h).
const BY_FORCE: [&str; 5] = ["timeout", "signal", "core-dump", "watchdog", "oom-kill"];

/// What stands in the names of units that change packages, run pods or keep a firewall's rules.
const KEEPERS: [&str; 16] = [
    "apt-daily",
    "unattended-upgrades",
    "packagekit",
    "dnf",
    "kubelet",
    "kube-proxy",
    "containerd",
    "crio",
    "docker",
    "cilium",
    "calico",
    "flannel",
    "firewalld",
    "nftables",
    "iptables",
    "ufw",
];

/// What this unit does may be what others' packets need.
fn concerns_others(name: &str) -> bool {
    managers::is_one(name) || KEEPERS.iter().any(|word| name.contains(word))
}

fn killed(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    let onset = model.timeline().onsets().last()?;
    let mut killed: Vec<(u64, &str, &UnitState)> = model
        .units()
        .iter()
        .filter(|(_, known)| BY_FORCE.contains(&known.state.result.as_str()))
        .filter_map(|(name, known)| Some((known.ended?, name, &known.state)))
        .filter(|(at, ..)| *at <= onset && onset - at <= AFTER)
        .collect();
    let is_strong = killed.iter().any(|(_, name, _)| concerns_others(name));
    // Beside those any other one came before by chance.
    killed.retain(|(_, name, _)| !is_strong || concerns_others(name));
    killed.sort_by_key(|(at, name, _)| (*at, *name));
    let (last, ..) = *killed.last()?;
    let names: Vec<String> = killed.iter().map(|(_, name, _)| (*name).to_owned()).collect();
    let ends: Vec<String> = killed
        .iter()
        .map(|(_, name, state)| format!("{name} (result {})", state.result))
        .collect();
    Some(Finding {
        confidence: if is_strong && model.starves() {
            Confidence::Strong
        } else {
            Confidence::Weak
        },
        explanation: format!(
            "Flows began to starve at {}, {} after the end of {}.",
            moment(model, onset),
            short(onset - last),
            list(&ends)
        ),
        since: onset,
        last: onset,
        evidence: killed
            .iter()
            .take(5)
            .map(|(at, name, state)| {
                let how = format!("result {}, ended at {}", state.result, moment(model, *at));
                evidence::state((*name).to_owned(), how)
            })
            .collect(),
        flows: Sufferers::default(),
        namespaces: BTreeSet::new(),
        prevent: Vec::new(),
        check: names
            .iter()
            .take(3)
            .map(|name| format!("systemctl status {name}"))
            .chain(["dpkg --audit".to_owned()])
            .collect(),
        units: names,
        standing: None,
        devices: BTreeSet::new(),
        remedy: vec![
            "Let what it was doing be finished: start it again, or `dpkg --configure -a` for an upgrade. Risk: read its log first."
                .to_owned(),
        ],
    })
}

fn left_behind(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    let has_ended = |state: &UnitState| matches!(state.active.as_str(), "failed" | "inactive");
    let all = model.units().iter();
    let (left, ended): (Vec<(&str, &UnitState)>, Vec<Option<u64>>) = all
        .filter(|(_, known)| known.state.processes > 0 && has_ended(&known.state))
        .map(|(name, known)| ((name, &known.state), known.ended))
        .unzip();
    let names: Vec<String> = left.iter().map(|(name, _)| (*name).to_owned()).collect();
    let processes: u64 = left.iter().map(|(_, state)| u64::from(state.processes)).sum();
    let since = ended.into_iter().flatten().min();
    let first = names.first()?;
    let as_of = model.units().as_of();
    let run = if processes == 1 { "runs" } else { "run" };
    let its = if names.len() == 1 {
        "its cgroup"
    } else {
        "their cgroups"
    };
    Some(Finding {
        confidence: Confidence::Weak,
        explanation: format!(
            "{} ended, and {} in {its} still {run}{}.",
            list(&names),
            count(processes, "process"),
            as_of.map_or_else(String::new, |at| format!(
                ", as last known at {}: systemd cannot be asked since",
                moment(model, at)
            )),
        ),
        since: since.unwrap_or(model.started()),
        last: as_of.unwrap_or(model.now()),
        evidence: left
            .iter()
            .take(5)
            .map(|(name, state)| {
                let how = format!(
                    "{} ({}), {} left, KillMode={}",
                    state.active,
                    state.sub,
                    count(state.processes.into(), "process"),
                    state.limits.ending.kill_mode
                );
                evidence::state((*name).to_owned(), how)
            })
            .collect(),
        flows: Sufferers::default(),
        namespaces: BTreeSet::new(),
        prevent: Vec::new(),
        check: vec![format!("systemd-cgls -u {first}"), format!("systemctl show -p KillMode,Result {first}")],
        units: names,
        standing: None,
        devices: BTreeSet::new(),
        remedy: vec![
            "Wait until they have ended, and do not reboot meanwhile. Risk: to kill an upgrade leaves packages half-installed."
                .to_owned(),
        ],
    })
}
