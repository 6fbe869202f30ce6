//! What can change the packages or the network of a node unattended. Pure.

use std::collections::BTreeSet;

use super::node::{Node, Unit, program};
use super::{Effect, Finding, Trap};

/// Programs, and what they can change. Names as of their files, without folders.
const PROGRAMS: &[(&str, Effect)] = &[
    ("apt", Effect::Packages),
    ("apt-get", Effect::Packages),
    ("apt.systemd.daily", Effect::Packages),
    ("aptitude", Effect::Packages),
    ("dnf", Effect::Packages),
    ("dnf-3", Effect::Packages),
    ("dnf5", Effect::Packages),
    ("dnf-automatic", Effect::Packages),
    ("dpkg", Effect::Packages),
    ("microdnf", Effect::Packages),
    ("packagekitd", Effect::Packages),
    ("pkcon", Effect::Packages),
    ("rpm", Effect::Packages),
    ("rpm-ostree", Effect::Packages),
    ("snap", Effect::Packages),
    ("snapd", Effect::Packages),
    ("transactional-update", Effect::Packages),
    ("unattended-upgrade", Effect::Packages),
    ("unattended-upgrades", Effect::Packages),
    ("yum", Effect::Packages),
    ("yum-cron", Effect::Packages),
    ("zypper", Effect::Packages),
    ("fwupdmgr", Effect::Firmware),
    ("fwupdtool", Effect::Firmware),
    ("needrestart", Effect::Services),
    ("certbot", Effect::Services),
    ("cloud-init", Effect::Network),
    ("dhclient", Effect::Network),
    ("ifdown", Effect::Network),
    ("ifup", Effect::Network),
    ("ip", Effect::Network),
    ("ip6tables", Effect::Network),
    ("ip6tables-restore", Effect::Network),
    ("iptables", Effect::Network),
    ("iptables-restore", Effect::Network),
    ("netplan", Effect::Network),
    ("networkctl", Effect::Network),
    ("nft", Effect::Network),
    ("sysctl", Effect::Network),
    ("tc", Effect::Network),
];

/// What a unit can change, by what it runs: the programs of its command lines, and what its scripts name.
pub(super) fn effects(node: &Node, unit: &Unit) -> BTreeSet<(Effect, &'static str)> {
    let mut effects = BTreeSet::new();
    for command in unit.file.commands() {
        effects.extend(named(command));
        if let Some(script) = program(command).and_then(|path| node.scripts.get(path)) {
            let code = script.lines().filter(|line| !line.trim_start().starts_with('#'));
            effects.extend(code.flat_map(named));
        }
    }
    effects
}

/// Folders that hold programs: a path that begins otherwise (`/var/lib/dpkg`) is that of something else.
const FOLDERS: [&str; 10] = [
    "/usr/bin/",
    "/usr/sbin/",
    "/usr/lib/",
    "/usr/libexec/",
    "/usr/local/",
    "/bin/",
    "/sbin/",
    "/lib/",
    "/opt/",
    "/snap/",
];

/// The programs that a line names, as words or by their paths.
fn named(line: &str) -> impl Iterator<Item = (Effect, &'static str)> {
    let words = line.split(|c: char| c.is_ascii_whitespace() || "\"'`;|&()$={}".contains(c));
    words.filter_map(|word| {
        let word = word.trim_start_matches(['-', '@', ':', '+', '!']);
        let name = match word.rsplit_once('/') {
            Some((_, name)) if FOLDERS.iter().any(|folder| word.starts_with(folder)) => name,
            Some(_) => return None,
            None => word,
        };
        PROGRAMS
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(known, effect)| (*effect, *known))
    })
}

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
        let effects = effects(node, service);
        if effects.is_empty() {
            continue;
        }
        findings.push(started(node, name, unit, &service_name, service, &effects));
    }
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
    effects: &BTreeSet<(Effect, &'static str)>,
) -> Finding {
    let own = |section, key| service.file.last(section, key).map(str::to_owned);
    let is_timer = name.ends_with(".timer");
    let is_oneshot = service.file.last("Service", "Type") == Some("oneshot");
    let changes_packages = effects.iter().any(|(effect, _)| *effect == Effect::Packages);
    let kill_mode = own("Service", "KillMode").unwrap_or_else(|| "control-group".to_owned());
    // systemd.service(5): a oneshot has no limit by default, others 90 s (DefaultTimeoutStartSec).
    let start_limit = own("Service", "TimeoutStartSec")
        .or_else(|| own("Service", "TimeoutSec"))
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
    let periodic = is_of_apt(effects).then(|| periodic(node));
    if periodic == Some(true) && point_release(&node.apt) {
        traps.push(Trap::PointRelease);
    }
    Finding {
        unit: name.to_owned(),
        starts: service_name.to_owned(),
        effects: effects
            .iter()
            .map(|(effect, _)| *effect)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect(),
        runs: effects.iter().map(|(_, program)| (*program).to_owned()).collect(),
        schedule: unit.file.schedule(),
        random_delay: unit
            .file
            .last("Timer", "RandomizedDelaySec")
            .unwrap_or_default()
            .to_owned(),
        next: None,
        start_limit,
        stop_limit: own("Service", "TimeoutStopSec")
            .or_else(|| own("Service", "TimeoutSec"))
            .unwrap_or_else(|| "default".to_owned()),
        kill_mode,
        // apt's own timers run, and do nothing, where APT::Periodic does not ask for it.
        idle: periodic == Some(false),
        traps,
        remedy: vec![format!("systemctl mask --now {name}")],
        allowed: false,
    }
}

fn is_of_apt(effects: &BTreeSet<(Effect, &'static str)>) -> bool {
    effects.iter().any(|(_, program)| *program == "apt.systemd.daily")
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
            "mkdir -p /etc/systemd/networkd.conf.d".to_owned(),
            "printf '[Network]\\nManageForeignRoutingPolicyRules=no\\nManageForeignRoutes=no\\n' \
             >/etc/systemd/networkd.conf.d/keep-foreign.conf  # counts from networkd's next start on, which then deletes \
             nothing"
                .to_owned(),
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
        remedy: vec![
            "printf \"\\$nrconf{restart} = 'l';\\n\" >/etc/needrestart/conf.d/list-only.conf".to_owned(),
        ],
        ..Finding::of("needrestart")
    })
}
