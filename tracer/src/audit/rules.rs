//! What can change the packages or the network of a node unattended. Pure.

use std::collections::BTreeSet;
use std::path::Path;

use super::commands::Effects;
use super::cron::{self, Job};
use super::node::{Node, Unit};
use super::{Effect, Finding, Idle, Trap};
use crate::shell::quoted;

/// The findings of a node: what starts by itself first, then traps of the configuration.
pub(super) fn findings(node: &Node) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, unit) in &node.units {
        if unit.masked || !unit.enabled {
            continue;
        }
        let service_name = match name.strip_suffix(".timer") {
            Some(stem) => unit
                .file
                .last("Timer", "Unit")
                .map_or_else(|| format!("{stem}.service"), str::to_owned),
            None => name.clone(),
        };
        let Some(service) = node.units.get(&service_name).filter(|service| !service.masked) else {
            continue;
        };
        let mut effects = Effects::new();
        for command in service.file.commands() {
            effects.extend(node.effects(command));
        }
        if effects.is_empty() {
            continue;
        }
        findings.push(started(node, name, unit, &service_name, service, &effects));
    }
    findings.extend(node.jobs.iter().filter_map(|job| by_cron(node, job)));
    findings.extend(networkd(node));
    findings.extend(needrestart(node));
    findings
}

/// A timer or service that starts by itself and changes something.
fn started(
    node: &Node,
    name: &str,
    unit: &Unit,
    service_name: &str,
    service: &Unit,
    effects: &Effects,
) -> Finding {
    let own = |section, key| service.file.last(section, key).map(str::to_owned);
    let is_timer = name.ends_with(".timer");
    let is_oneshot = service.file.last("Service", "Type") == Some("oneshot");
    let changes_packages = effects.iter().any(|(effect, _)| *effect == Effect::Packages);
    let kill_mode = own("Service", "KillMode").unwrap_or_else(|| "control-group".to_owned());
    // systemd.service(5): a oneshot has no limit by default, others 90 s (DefaultTimeoutStartSec).
    let start_limit = own("Service", "TimeoutStartSec")
        .or_else(|| own("Service", "TimeoutSec"))
        .map(limit)
        .unwrap_or_else(|| if is_oneshot { "infinity" } else { "default" }.to_owned());
    let mut traps = Vec::new();
    if is_timer && unit.file.is_yes("Timer", "Persistent") {
        traps.push(Trap::Persistent);
    }
    if kill_mode == "process" && changes_packages {
        traps.push(Trap::KillModeProcess);
    }
    if is_oneshot && start_limit == "infinity" {
        traps.push(Trap::NoLimit);
    }
    let idle = of_upgrades(node, effects, &mut traps);
    Finding {
        starts: service_name.to_owned(),
        schedule: unit.file.schedule(),
        random_delay: unit
            .file
            .last("Timer", "RandomizedDelaySec")
            .unwrap_or_default()
            .to_owned(),
        start_limit,
        stop_limit: own("Service", "TimeoutStopSec")
            .or_else(|| own("Service", "TimeoutSec"))
            .map(limit)
            .unwrap_or_else(|| "default".to_owned()),
        kill_mode,
        idle,
        traps,
        remedy: vec![mask(node, name)],
        ..changing(name, effects)
    }
}

/// The command that masks a unit.
fn mask(node: &Node, name: &str) -> String {
    // Any name may be that of a file: it must not be taken for an option.
    let end = if name.starts_with('-') { "-- " } else { "" };
    let name = quoted(name);
    if node.root == Path::new("/") {
        format!("systemctl mask --now {end}{name}")
    } else {
        let root = node.root.display().to_string();
        format!("systemctl --root={} mask {end}{name}", quoted(&root))
    }
}

/// A file of the node as a word of a command.
fn file(node: &Node, path: &str) -> String {
    let path = node.path(path);
    // A root without a slash before it must not be taken for an option.
    let path = if path.starts_with('-') {
        format!("./{path}")
    } else {
        path
    };
    quoted(&path).into_owned()
}

/// A time limit as a unit file has it: 0 stands for none (systemd.service(5)).
fn limit(text: String) -> String {
    if text == "0" { "infinity".to_owned() } else { text }
}

/// What is found of a unit or job by what it runs alone.
fn changing(name: &str, effects: &Effects) -> Finding {
    let kinds: BTreeSet<Effect> = effects.iter().map(|(effect, _)| *effect).collect();
    Finding {
        effects: kinds.into_iter().collect(),
        runs: effects.iter().map(|(_, program)| program.clone()).collect(),
        ..Finding::of(name)
    }
}

/// A job of cron that changes something.
fn by_cron(node: &Node, job: &Job) -> Option<Finding> {
    let effects = node.effects(&job.text);
    if effects.is_empty() {
        return None;
    }
    let mut traps = Vec::new();
    if job.persistent {
        traps.push(Trap::Persistent);
    }
    // Cron ends nothing that it has started.
    traps.push(Trap::NoLimit);
    let by_apt = of_upgrades(node, &effects, &mut traps);
    let file = file(node, &job.file);
    Some(Finding {
        schedule: vec![job.schedule.clone()],
        random_delay: job.random_delay.clone(),
        idle: if !node.runs_cron {
            Some(Idle::NoCron)
        } else if cron::leaves_it_to_systemd(&job.text) {
            Some(Idle::LeftToSystemd)
        } else {
            by_apt
        },
        traps,
        remedy: vec![match job.line {
            0 => format!("chmod a-x {file}"),
            line => format!("sed -i '{line}s/^/#/' {file}"),
        }],
        ..changing(&job.file, &effects)
    })
}

/// What the configuration of apt makes of its own unattended upgrades: traps, or nothing at all. Its timers and jobs run,
/// and do nothing, where APT::Periodic does not ask for it.
fn of_upgrades(node: &Node, effects: &Effects, traps: &mut Vec<Trap>) -> Option<Idle> {
    if !effects.iter().any(|(_, program)| program == "apt.systemd.daily") {
        return None;
    }
    if !periodic(node) {
        return Some(Idle::PeriodicOff);
    }
    if point_release(&node.apt) {
        traps.push(Trap::PointRelease);
    }
    if apt_value(&node.apt, "Unattended-Upgrade::Automatic-Reboot").is_some_and(|value| {
        !matches!(
            value.to_ascii_lowercase().as_str(),
            "" | "0" | "false" | "no" | "off"
        )
    }) {
        traps.push(Trap::RebootsByItself);
    }
    None
}

/// Whether apt does something by itself (`APT::Periodic::…`, apt's apt.systemd.daily: all are 0 by default).
fn periodic(node: &Node) -> bool {
    let keys = [
        "Update-Package-Lists",
        "Download-Upgradeable-Packages",
        "Unattended-Upgrade",
        "AutocleanInterval",
    ];
    let is_on = |key: &str| {
        let value = apt_value(&node.apt, &format!("APT::Periodic::{key}"));
        value.is_some_and(|value| !matches!(value, "" | "0"))
    };
    let enabled = apt_value(&node.apt, "APT::Periodic::Enable").is_none_or(|value| value != "0");
    enabled && keys.into_iter().any(is_on)
}

/// The last value of a key in apt.conf, where it is written in one line: `APT::Periodic::Unattended-Upgrade "1";`.
fn apt_value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let line = text
        .lines()
        .map(str::trim)
        .rfind(|line| !line.starts_with("//") && !line.starts_with('#') && starts_with(line, key))?;
    let value = line.get(key.len()..)?.trim().trim_end_matches(';').trim();
    Some(value.trim_matches('"'))
}

/// apt's keys are the same in upper and lower case.
fn starts_with(line: &str, key: &str) -> bool {
    line.get(..key.len())
        .is_some_and(|begin| begin.eq_ignore_ascii_case(key))
        && line[key.len()..].starts_with([' ', '\t', '"'])
}

/// unattended-upgrades also takes what comes with a point release (its default on Debian), not only security fixes.
fn point_release(apt: &str) -> bool {
    apt.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("//") && !line.starts_with('#'))
        .any(|line| line.contains("label=Debian\"") || line.contains("label=Debian,"))
}

/// networkd deletes rules and routes that it did not make, where it starts (systemd-networkd, networkd.conf(5):
/// ManageForeignRoutingPolicyRules and ManageForeignRoutes, both yes by default).
fn networkd(node: &Node) -> Option<Finding> {
    let unit = node.units.get("systemd-networkd.service")?;
    if unit.masked || !unit.enabled {
        return None;
    }
    let keeps = |key| {
        let value = node.networkd.last("Network", key);
        value.is_some() && !node.networkd.is_yes("Network", key)
    };
    if keeps("ManageForeignRoutingPolicyRules") && keeps("ManageForeignRoutes") {
        return None;
    }
    let mut traps = vec![Trap::ForeignRules];
    if node.has_cni {
        traps.push(Trap::ContainerNetwork);
    }
    Some(Finding {
        effects: vec![Effect::Network],
        traps,
        remedy: vec![
            format!("mkdir -p {}", file(node, "etc/systemd/networkd.conf.d")),
            format!(
                "printf '[Network]\\nManageForeignRoutingPolicyRules=no\\nManageForeignRoutes=no\\n' \
                 >{}  # counts from networkd's next start on, which then deletes nothing",
                file(node, "etc/systemd/networkd.conf.d/keep-foreign.conf")
            ),
        ],
        ..Finding::of("systemd-networkd.service")
    })
}

/// needrestart restarts services by itself after an upgrade, where it is told to.
fn needrestart(node: &Node) -> Option<Finding> {
    let mode = node
        .needrestart
        .lines()
        .map(str::trim)
        .rfind(|line| line.starts_with("$nrconf{restart}"))?;
    mode.contains(['\'', '"'])
        .then(|| mode.split(['\'', '"']).nth(1))
        .flatten()
        .filter(|mode| *mode == "a")?;
    Some(Finding {
        effects: vec![Effect::Services],
        traps: vec![Trap::RestartsByItself],
        remedy: vec![format!(
            "printf \"\\$nrconf{{restart}} = 'l';\\n\" >{}",
            file(node, "etc/needrestart/conf.d/list-only.conf")
        )],
        ..Finding::of("needrestart")
    })
}
