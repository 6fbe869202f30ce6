//! Upgrades that were cut off, and kernels whose modules were replaced.

use std::collections::BTreeSet;

use super::sufferers::Sufferers;
use super::words::{capital, moment, owner, wall_moment};
use super::{About, Finding, Rule, View, effects, evidence};
use crate::event::{Manager, NoticeKind, Packages, Thing, Unfinished};
use crate::model::Model;
use crate::model::packages::{Left, describe, is_only_open};
use crate::model::timeline::Subject;
use crate::report::Confidence;
use crate::shell::quoted;

/// R27: an upgrade stopped half-way.
pub(super) const INTERRUPTED: Rule = Rule {
    id: "R27",
    slug: "upgrade-interrupted",
    title: "A package upgrade was cut off",
    place: None,
    about: About {
        signature: "Nobody holds the package manager's lock, and packages are unpacked, half-configured or half-installed. A weak \
                    sign where only the last run of apt has told no end and not all that it was to do is done, or the last run \
                    of rpm has not closed its database: no package need be left half-way by it.",
        meaning: "Files of the old and of the new version stand beside one another: services may run the old program with the new \
                  configuration, and modules of the running kernel may be gone. A reboot now may not come up again. Where a run \
                  was cut off before its first package, only what it was to bring is missing.",
        check: &[
            "dpkg --audit",
            "tail -n 30 /var/log/apt/term.log",
            "ls /var/lib/dpkg/updates",
            "dnf check",
        ],
        mend: &[
            CONFIGURE,
            "apt-get install --reinstall NAME  # Of what is half-installed or `reinstreq`, which is not configured. Risk: restarts \
             its services.",
            "dpkg --remove --force-remove-reinstreq NAME  # Where it cannot be had again. Risk: what needs it works no more.",
            "Where no package is left half-way: give the command that was cut off once more. Risk: restarts services of what it \
             upgrades.",
            SYNC,
        ],
    },
    examine: interrupted,
    explains: effects::unit_stopped,
    proved_by: effects::none,
    follows: &[],
};

/// R25: the running kernel's modules are gone, and one was asked for.
pub(super) const NO_MODULES: Rule = Rule {
    id: "R25",
    slug: "modules-replaced",
    title: "Modules of the running kernel cannot be loaded",
    place: None,
    about: About {
        signature: "The folder of the running kernel's modules is missing or incomplete. A weak sign until a module fails to load: \
                    until then nothing may need one.",
        meaning: "An upgrade has replaced the kernel that runs. What needs a module that is not loaded yet fails: firewall rules, \
                  tunnels, connection tracking; network plugins and kube-proxy cannot set what they want.",
        check: &["uname -r", "ls /lib/modules", "journalctl -k -n 50"],
        mend: &[CONFIGURE, REBOOT],
    },
    examine: no_modules,
    explains: effects::modules,
    proved_by: effects::none,
    follows: &[],
};

/// The capability of what tells of packages.
const PACKAGES: &str = "packages";
const CONFIGURE: &str =
    "dpkg --configure -a  # Risk: restarts services of what it configures. Reboot only after it.";
const REBOOT: &str =
    "systemctl reboot  # Into the kernel that is installed. Risk: the node's work is interrupted.";
const SYNC: &str = "dnf distro-sync  # Of rpm. Risk: brings all packages to the versions of the repositories and restarts services of them.";

fn interrupted(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    let left = model.packages().left()?;
    let standing = describe(left.packages);
    let is_only_open = is_only_open(left.packages);
    let is_rpm = left.packages.manager == Manager::Rpm;
    let stand = match is_rpm {
        false => format!("Packages of this node are {standing}."),
        true => format!(
            "Packages of this node are {standing}: it was cut off, unless somebody read the database just when it was closed."
        ),
    };
    let by_log = left.last.map_or_else(String::new, |last| {
        format!(
            " The run that was cut off last did something at {} by its log.",
            wall_moment(model, last)
        )
    });
    let since = match left.since {
        Some(since) => {
            let who = left.holder.map_or_else(String::new, |holder| {
                format!(
                    "; {} held the lock of {} last",
                    owner(holder),
                    left.packages.manager
                )
            });
            format!(" Nobody works on them since {}{who}.", moment(model, since))
        }
        None => " It was so when tracer started.".to_owned(),
    };
    let as_of = match model.can(PACKAGES) {
        true => "",
        false => " That is as last known: what becomes of packages is not seen any more.",
    };
    let unit = left.holder.map(|holder| holder.unit.clone());
    Some(Finding {
        confidence: match is_only_open {
            true => Confidence::Weak,
            false => Confidence::Strong,
        },
        explanation: format!("{stand}{since}{by_log}{as_of}"),
        since: left.since.unwrap_or(model.started()),
        last: model.now(),
        evidence: vec![evidence::state("packages".to_owned(), standing)],
        flows: Sufferers::default(),
        namespaces: BTreeSet::new(),
        units: unit.into_iter().filter(|unit| !unit.is_empty()).collect(),
        // What stands makes a weak sign strong: this is none, however long it has been so.
        standing: (left.since.is_none() && !is_only_open).then_some(stand),
        devices: BTreeSet::new(),
        prevent: Vec::new(),
        check: match is_rpm {
            false => vec![
                "dpkg --audit".to_owned(),
                "tail -n 30 /var/log/apt/term.log".to_owned(),
            ],
            true => vec!["dnf check".to_owned(), "dnf history".to_owned()],
        },
        remedy: match (is_rpm, is_only_open) {
            (true, _) => vec![SYNC.to_owned()],
            (false, true) => again(&left),
            (false, false) => finish(left.packages),
        },
    })
}

/// What finishes packages that dpkg has left half-way. It configures none that is not unpacked in full.
fn finish(packages: &Packages) -> Vec<String> {
    /// Packages that are named.
    const NAMED: usize = 10;
    let is_broken =
        |one: &&Unfinished| one.state.starts_with("half-installed") || one.state.contains("reinstreq");
    let broken: Vec<&str> = packages
        .unfinished
        .iter()
        .filter(is_broken)
        .map(|one| one.name.as_str())
        .collect();
    let mut remedy = Vec::new();
    // With none it takes in what is not in the status yet.
    if broken.is_empty() || broken.len() < packages.unfinished_total() || packages.leftovers > 0 {
        remedy.push(CONFIGURE.to_owned());
    }
    if broken.is_empty() {
        return remedy;
    }
    let named: Vec<_> = broken.iter().take(NAMED).map(|name| quoted(name)).collect();
    let names = named.join(" ");
    let more = match (broken.len().saturating_sub(NAMED), packages.unfinished_more) {
        (0, 0) => String::new(),
        (more, 0) => format!(" So for {more} more: dpkg --audit names them."),
        _ => " dpkg --audit names all of those.".to_owned(),
    };
    remedy.push(format!(
        "apt-get install --reinstall {names}  # Risk: restarts services of what it installs.{more}"
    ));
    remedy.push(format!(
        "dpkg --remove --force-remove-reinstreq {names}  # Where that cannot be had again. Risk: what needs it works no \
         more.{more}"
    ));
    remedy
}

/// The command that was cut off, where its log has one.
fn again(left: &Left<'_>) -> Vec<String> {
    let command = left.command.filter(|command| !command.is_empty());
    let again = |command| format!("{command}  # Once more. Risk: restarts services of what it upgrades.");
    command.map(again).into_iter().collect()
}

fn no_modules(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    let (netns, thing, why) = model
        .settings()
        .iter()
        .find(|(_, thing, why)| matches!(thing, Thing::Modules { .. }) && !why.is_empty())?;
    let changed = model.timeline().all().rev().find_map(|(_, change)| {
        matches!(&change.subject, Subject::Setting(of, changed) if *of == netns && changed == thing)
            .then_some(change.at)
    });
    let failed = failure(model);
    let so_far = match failed {
        Some((at, what)) => format!("At {} a module could not be loaded: {what}.", moment(model, at)),
        None => {
            "None was seen to fail so far; one that is missing there and not loaded yet would.".to_owned()
        }
    };
    let mut evidence = vec![evidence::state(thing.to_string(), why.to_owned())];
    evidence.extend(failed.map(|(at, what)| {
        evidence::state(
            "kernel's log".to_owned(),
            format!("at {}: {what}", moment(model, at)),
        )
    }));
    Some(Finding {
        confidence: if failed.is_some() {
            Confidence::Strong
        } else {
            Confidence::Weak
        },
        explanation: format!("{} are {why}. {so_far}", capital(&thing.to_string())),
        since: changed.unwrap_or(model.started()),
        last: model.now(),
        evidence,
        flows: Sufferers::default(),
        namespaces: BTreeSet::new(),
        units: Vec::new(),
        standing: (changed.is_none() && failed.is_some())
            .then(|| format!("{} are {why}.", capital(&thing.to_string()))),
        devices: BTreeSet::new(),
        prevent: Vec::new(),
        check: vec![
            "uname -r".to_owned(),
            "ls /lib/modules".to_owned(),
            "journalctl -k -n 50".to_owned(),
        ],
        remedy: vec![CONFIGURE.to_owned(), REBOOT.to_owned()],
    })
}

/// When a module last could not be loaded, and what was said of it.
fn failure(model: &Model) -> Option<(u64, &str)> {
    model.timeline().all().rev().find_map(|(_, change)| {
        let is_it = change.subject == Subject::Notice(NoticeKind::Module);
        Some((change.at, change.after.as_deref().filter(|_| is_it)?))
    })
}
