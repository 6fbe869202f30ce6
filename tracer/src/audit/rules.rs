use std::collections::BTreeSet;
use std::path::Path;

use super::does::Does;
use super::jobs::{Job, Off};
use super::node::Node;
use super::programs::REBOOT_UNITS;
use super::unit_file::UnitFile;
use super::units::{self, Origin, Unit, started_by};
use super::{Effect, Finding, Idle, Trap};
use crate::shell::quoted;

/// The findings of a node: what starts by itself first, then traps of the configuration.
pub(super) fn findings(node: &Node) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, unit) in &node.units {
        // A target does nothing by itself, and what it starts is told. Of what is off only timers are.
        let is_told = match unit.enabled {
            true => !name.ends_with(".target"),
            false => name.ends_with(".timer") && !name.ends_with("@.timer"),
        };
        if is_told && !unit.masked {
            findings.extend(by_unit(node, name, unit));
        }
    }
    findings.extend(node.jobs.jobs.iter().filter_map(|job| by_job(node, job)));
    findings.extend(networkd(node));
    findings.extend(needrestart(node));
    findings
}

/// What a unit does that starts by itself, where it changes something.
fn by_unit(node: &Node, name: &str, unit: &Unit) -> Option<Finding> {
    let service_name = started_by(name, &unit.file);
    let service = units::get(&node.units, &service_name);
    if service.is_some_and(|service| service.masked) {
        return None;
    }
    let both = || [Some(unit), service].into_iter().flatten();
    let mut does = with(node, [name, &service_name]);
    // Where it is looked for first, it may well be missing.
    let conditions: BTreeSet<String> = both().flat_map(|one| one.file.conditions()).collect();
    does.missing.retain(|path| {
        !conditions
            .iter()
            .any(|condition| condition.ends_with(path.as_str()))
    });
    if does.is_nothing() {
        return None;
    }
    let own = |section, key| service?.file.last(section, key).map(str::to_owned);
    let kill_mode = own("Service", "KillMode").unwrap_or_else(|| "control-group".to_owned());
    let is_oneshot = service.is_some_and(|service| is_oneshot(&service.file));
    // A start that is all of the run is limited as a start, with no limit by default. Others run on behind it, for which there is
    // another limit, and none by default (systemd.service(5)).
    let key = if is_oneshot {
        "TimeoutStartSec"
    } else {
        "RuntimeMaxSec"
    };
    let run_limit = own("Service", key).map_or_else(|| "infinity".to_owned(), limit);
    let job_limits = ["JobTimeoutSec", "JobRunningTimeoutSec"];
    let has_job_limit = job_limits
        .into_iter()
        .any(|key| own("Unit", key).is_some_and(|value| limit(value) != "infinity"));
    let mut schedule = unit.file.schedule();
    let by_calendar = schedule.iter().any(|one| one.starts_with("OnCalendar="));
    let mut traps = Vec::new();
    if by_calendar && unit.file.is_yes("Timer", "Persistent") {
        traps.push(Trap::Persistent);
    }
    if does.effects(false).contains(&Effect::Packages) {
        match kill_mode.as_str() {
            "process" => traps.push(Trap::KillModeProcess),
            "none" => traps.push(Trap::KillModeNone),
            _ => {}
        }
    }
    let has_limit = run_limit != "infinity" || is_oneshot && has_job_limit;
    // What else is started with the node may be there to stay.
    let is_to_end = is_oneshot || name.ends_with(".timer") || name.ends_with(".path");
    if service.is_some() && is_to_end && !has_limit {
        traps.push(Trap::NoLimit);
    }
    let by_configuration = node.upgrades.judge(&mut does, &mut traps);
    let has_nothing_to_go_by = name != service_name && schedule.is_empty();
    schedule.extend(unit.seldom.iter().map(|target| format!("with {target}")));
    let unmet: BTreeSet<&String> = both().filter_map(|one| one.unmet.as_ref()).collect();
    let timer = |key| unit.file.last("Timer", key).unwrap_or_default().to_owned();
    Some(Finding {
        starts: service_name.clone(),
        random_delay: timer("RandomizedDelaySec"),
        accuracy: timer("AccuracySec"),
        run_limit,
        stop_limit: own("Service", "TimeoutStopSec").map_or_else(|| "default".to_owned(), limit),
        kill_mode,
        idle: if !unit.enabled {
            Some(Idle::NotEnabled)
        } else if !unmet.is_empty() {
            Some(Idle::Condition)
        } else if has_nothing_to_go_by {
            // systemd does not load such a timer, path or socket.
            Some(Idle::NeverRuns)
        } else {
            by_configuration
        },
        conditions: conditions
            .iter()
            .map(|condition| match unmet.contains(condition) {
                true => format!("{condition} (does not hold)"),
                false => condition.clone(),
            })
            .collect(),
        schedule,
        traps,
        remedy: vec![turn_off(node, name, unit.origin)],
        ..changing(name, &does)
    })
}

/// Whether the start of a service is all of its run, by its type (systemd.service(5)).
fn is_oneshot(service: &UnitFile) -> bool {
    let has = |key| service.last("Service", key).is_some();
    match service.last("Service", "Type") {
        Some(named) => named == "oneshot",
        None => !has("ExecStart") && !has("BusName"),
    }
}

/// What these units do, and those that are started with them alone.
fn with(node: &Node, names: [&str; 2]) -> Does {
    let mut does = Does::default();
    let mut next = names.map(str::to_owned).to_vec();
    let mut seen = BTreeSet::new();
    while let Some(name) = next.pop() {
        if REBOOT_UNITS.contains(&name.as_str()) {
            does.add(Effect::Reboot, name.clone());
        }
        let unit = units::get(&node.units, &name).filter(|unit| !unit.masked);
        let Some(unit) = unit.filter(|_| seen.insert(name.clone())) else {
            continue;
        };
        let mut starts = node.add(&mut does, &unit.said, None, "");
        starts.extend(node.add(&mut does, &unit.said_at_stop, None, "when it stops"));
        starts.extend(unit.starts.iter().cloned());
        for key in [
            "SuccessAction",
            "FailureAction",
            "StartLimitAction",
            "JobTimeoutAction",
        ] {
            let action = unit.file.last("Unit", key).filter(|action| *action != "none");
            if let Some(action) = action {
                does.add(Effect::Reboot, format!("{key}={action} of {name}"));
            }
        }
        starts.retain(|name| !is_told(node, name));
        next.extend(starts);
    }
    does
}

/// Whether what a unit does is told by itself: it is enabled.
fn is_told(node: &Node, name: &str) -> bool {
    node.units.get(name).is_some_and(|unit| unit.enabled)
}

/// The command that turns a unit off.
fn turn_off(node: &Node, name: &str, origin: Origin) -> String {
    // Any name may be that of a file: it must not be taken for an option.
    let end = if name.starts_with('-') { "-- " } else { "" };
    let name = quoted(name);
    let is_running = node.root == Path::new("/");
    let verb = match origin {
        Origin::Package => "mask",
        Origin::Own => "disable",
        Origin::Transient if is_running => return format!("systemctl stop {end}{name}"),
        Origin::Transient => "disable",
    };
    if is_running {
        format!("systemctl {verb} --now {end}{name}")
    } else {
        let root = node.root.display().to_string();
        format!("systemctl --root={} {verb} {end}{name}", quoted(&root))
    }
}

/// The command that turns off a unit of all users.
fn turn_off_of_all(node: &Node, unit: &str) -> String {
    let end = if unit.starts_with('-') { "-- " } else { "" };
    let unit = quoted(unit);
    if node.root == Path::new("/") {
        format!("systemctl --global mask {end}{unit}")
    } else {
        let root = node.root.display().to_string();
        format!("systemctl --root={} --global mask {end}{unit}", quoted(&root))
    }
}

/// The command that turns off a unit of a user, whose manager runs where the user is named.
fn turn_off_of(node: &Node, unit: &str, user: Option<&str>, links: &[String]) -> String {
    match user {
        Some(user) if node.root == Path::new("/") => {
            let end = if unit.starts_with('-') { "-- " } else { "" };
            let machine = format!("--machine={user}@");
            format!(
                "systemctl --user {} disable --now {end}{}",
                quoted(&machine),
                quoted(unit)
            )
        }
        _ => {
            let links = links.iter().map(|link| file(node, link));
            format!("rm {}", links.collect::<Vec<_>>().join(" "))
        }
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
fn changing(name: &str, does: &Does) -> Finding {
    Finding {
        effects: does.effects(false),
        perhaps: does.effects(true),
        runs: does.programs(false),
        mentions: does.programs(true),
        missing: does.missing.iter().cloned().collect(),
        ..Finding::of(name)
    }
}

/// What starts by itself and is no unit, where it changes something.
fn by_job(node: &Node, job: &Job) -> Option<Finding> {
    let is_script = job.line == 0;
    let mut does = Does::default();
    let mut starts = node.add(&mut does, &job.said, is_script.then_some(job.file.as_str()), "");
    starts.retain(|name| !is_told(node, name));
    starts.extend(job.units.iter().cloned());
    for unit in &starts {
        does.merge(with(node, [unit, &started_by(unit, &Default::default())]));
    }
    if does.is_nothing() {
        return None;
    }
    let mut traps = Vec::new();
    if job.persistent {
        traps.push(Trap::Persistent);
    }
    if !job.has_limit {
        traps.push(Trap::NoLimit);
    }
    let by_configuration = node.upgrades.judge(&mut does, &mut traps);
    Some(Finding {
        line: (!is_script).then_some(job.line),
        starts: job.units.first().unwrap_or(&job.file).clone(),
        schedule: vec![job.schedule.clone()],
        random_delay: job.random_delay.clone(),
        idle: job.idle.or(by_configuration),
        traps,
        remedy: vec![turn_off_job(node, job)],
        ..changing(&job.file, &does)
    })
}

/// The command that turns a job off.
fn turn_off_job(node: &Node, job: &Job) -> String {
    let path = file(node, &job.file);
    match &job.off {
        Off::Comment => format!("sed -i '{}s/^/#/' {path}", job.line),
        Off::CommentTo(last) => format!("sed -i '{},{last}s/^/#/' {path}", job.line),
        Off::NotExecutable => format!("chmod a-x {path}"),
        Off::RemoveLink(target) => format!("rm {path}  # a link to {}", quoted(target)),
        // Names that end so are left out by what reads these folders.
        Off::Rename => format!("mv {path} {path}~"),
        Off::MaskUnit(unit) => turn_off(node, unit, Origin::Package),
        Off::MaskOfAll(unit) => turn_off_of_all(node, unit),
        Off::DisableOf { unit, user, links } => turn_off_of(node, unit, user.as_deref(), links),
        Off::AtJob(number) if node.root == Path::new("/") => format!("atrm {number}"),
        Off::AtJob(_) => format!("rm {path}"),
        Off::MaskRules(name) => format!(
            "ln -s /dev/null {}",
            file(node, &format!("etc/udev/rules.d/{name}"))
        ),
    }
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
    let trap = match (
        keeps("ManageForeignRoutingPolicyRules"),
        keeps("ManageForeignRoutes"),
    ) {
        (true, true) => return None,
        (true, false) => Trap::ForeignRoutes,
        (false, true) => Trap::ForeignPolicyRules,
        (false, false) => Trap::ForeignRules,
    };
    let mut traps = vec![trap];
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
        remedy: vec![
            format!("mkdir -p {}", file(node, "etc/needrestart/conf.d")),
            format!(
                "printf \"\\$nrconf{{restart}} = 'l';\\n\" >{}",
                file(node, "etc/needrestart/conf.d/list-only.conf")
            ),
        ],
        ..Finding::of("needrestart")
    })
}
