//! `tracer audit`: what on a node can change its packages or its network while nobody looks: units, jobs of cron and
//! at(1), rules of udev, scripts that network events start.
//!
//! Judged by the files of a node, or of an image of one, so it needs no bus, and no rights but to read them; it changes
//! nothing. `node` reads the `files`: `units`, `jobs` and configuration. `unit_file`, `cron`, `udev`, `hooks` and `apt_conf`
//! know their forms, `specifiers` and `environment` what stands for something else in units, `commands`, `wrappers`,
//! `programs`, `systemctl`, `search` and `scripts` what is run; `rules` and `upgrades` judge what it `does`.

mod apt_conf;
mod bus;
mod commands;
mod cron;
mod does;
mod environment;
mod files;
mod hooks;
mod invokes;
mod jobs;
mod node;
mod options;
mod programs;
mod rules;
mod scope;
mod scripts;
mod search;
mod specifiers;
mod systemctl;
mod sysv;
mod udev;
mod unit_file;
mod units;
mod upgrades;
mod users;
mod wrappers;
mod writes;

use std::collections::BTreeSet;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::Schema;

/// Name of what `tracer audit` prints.
pub const SCHEMA: &str = "tracer.audit";
/// Version of it: raised when a member changes its meaning or goes away.
pub const SCHEMA_VERSION: u32 = 2;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Audit {
    /// Name and version of this contract.
    pub schema: Schema,
    /// What starts by itself and changes something, and traps of the configuration.
    pub findings: Vec<Finding>,
    /// What could not be read, or that there was nothing to judge: it may hide findings.
    pub unread: Vec<String>,
    /// Lines of crontabs that never run, each with its file, its number and why; of many of one file only how many more.
    #[serde(default)]
    pub never: Vec<String>,
    /// What the policy allows and is not here: no unit has that name, nothing else that starts by itself is in that file.
    pub unknown: Vec<String>,
    /// There were no unit files of systemd: what starts by itself was looked for elsewhere alone.
    #[serde(default)]
    pub no_units: bool,
}

/// The JSON Schema of [`Audit`], which docs/audit.schema.json holds.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Audit).to_value()
}

/// Something that can change the node unattended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The unit that starts by itself, the file of another job (`/etc/cron.d/certbot`), or what is configured so.
    pub unit: String,
    /// The line of that file; absent for what is no line of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The unit that it starts: the same where it starts none.
    pub starts: String,
    /// What it can change.
    pub effects: Vec<Effect>,
    /// What it can change besides, if it runs what it mentions.
    #[serde(default)]
    pub perhaps: Vec<Effect>,
    /// The programs by which that is known, with the script that runs them and the line: `apt-get (/opt/tidy.sh:3)`.
    pub runs: Vec<String>,
    /// Programs that its scripts name; whether they run them was not followed.
    #[serde(default)]
    pub mentions: Vec<String>,
    /// Files that it would run and that are not there: what they do cannot be told.
    #[serde(default)]
    pub missing: Vec<String>,
    /// What starts it: what its timer, path, socket or cron goes by, as in its file, or an event; empty for a service that
    /// is started with the node.
    pub schedule: Vec<String>,
    /// What must hold then, as in its unit file.
    #[serde(default)]
    pub conditions: Vec<String>,
    /// So much is added to its time at random, at most; empty for nothing.
    pub random_delay: String,
    /// So much later its timer may elapse, so that several elapse together; empty for what systemd has for all (1 min).
    #[serde(default)]
    pub accuracy: String,
    /// When its timer elapses next, UTC, RFC 3339; absent where systemd was not asked or does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// How long it may take to run, as in its unit file: `TimeoutStartSec` of a oneshot, `RuntimeMaxSec` of others; empty for
    /// what is no unit.
    pub run_limit: String,
    /// How long it may take to stop; `default` for what systemd has for all.
    pub stop_limit: String,
    /// Whom systemd kills then.
    pub kill_mode: String,
    /// It does nothing as the node is configured now, and why; absent for what does something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Idle>,
    /// Known traps that it has.
    pub traps: Vec<Trap>,
    /// Commands that would turn it off. The audit runs none of them.
    pub remedy: Vec<String>,
    /// The policy allows it.
    pub allowed: bool,
}

impl Finding {
    fn of(unit: &str) -> Self {
        Self {
            unit: unit.to_owned(),
            starts: unit.to_owned(),
            ..Self::default()
        }
    }

    /// Its unit, or its file with the line.
    #[must_use]
    pub fn name(&self) -> String {
        match self.line {
            Some(line) => format!("{}:{line}", self.unit),
            None => self.unit.clone(),
        }
    }

    /// It counts: it does something, and nobody allowed it.
    #[must_use]
    pub fn counts(&self) -> bool {
        !self.allowed && self.idle.is_none()
    }
}

/// What something can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Packages, and with them whatever their scripts restart.
    Packages,
    /// Which packages or firmware there are is asked for, or they are fetched; none is changed.
    Lists,
    /// Services or containers are restarted, or systemd runs itself anew.
    Services,
    /// The network configuration, or a service or module that it needs.
    Network,
    /// Firmware.
    Firmware,
    /// The node is restarted or stopped.
    Reboot,
    /// Code that comes from elsewhere is run: it can change anything.
    Code,
    /// It cannot be told: a file that it runs is not there.
    Unknown,
}

/// Why something does nothing, as the node is configured now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Idle {
    /// `APT::Periodic` of apt's configuration asks for nothing.
    PeriodicOff,
    /// `Unattended-Upgrade::InstallOnShutdown` of apt's configuration is not set: it installs nothing at the node's end.
    NotAtShutdown,
    /// The job of cron ends where systemd runs: a timer does its work.
    LeftToSystemd,
    /// Nothing that would start it is enabled: no cron.
    NoCron,
    /// Nothing that would start it is enabled: no such service.
    NotStarted,
    /// It is a unit of a user who does not linger: it runs only while that user is logged in.
    NotLoggedIn,
    /// A condition of its unit on a file does not hold, see `conditions`.
    Condition,
    /// Its time never comes, or its file is not understood by what would start it.
    NeverRuns,
    /// It is a timer that is not enabled, and does not run as far as systemd was asked.
    NotEnabled,
}

/// A known trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trap {
    /// What was missed while the node was off is made up for at its start.
    Persistent,
    /// When it is stopped only its main process is ended: what it has begun goes on, or ends half-way.
    KillModeProcess,
    /// When it is stopped none of its processes is ended.
    KillModeNone,
    /// Nothing limits how long it takes.
    NoLimit,
    /// It takes whole point releases, not only security fixes.
    PointRelease,
    /// When it starts it deletes rules and routes that others made.
    ForeignRules,
    /// When it starts it deletes policy rules that others made, and no routes.
    ForeignPolicyRules,
    /// When it starts it deletes routes that others made, and no policy rules.
    ForeignRoutes,
    /// The network of containers makes such rules and routes here.
    ContainerNetwork,
    /// Services are restarted after an upgrade without asking.
    RestartsByItself,
    /// The node is restarted after an upgrade without asking.
    RebootsByItself,
}

/// What is allowed to change the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    allowed: Vec<String>,
}

impl Policy {
    /// A policy that allows these units and files of cron.
    #[must_use]
    pub fn allowing(names: &[String]) -> Self {
        Self {
            allowed: names.to_vec(),
        }
    }

    /// Adds what a policy file allows: lines of `allow NAME`, empty lines, and comments from `#` on.
    ///
    /// # Errors
    /// The number of the first line that is something else, and the line.
    pub fn read(&mut self, text: &str) -> Result<(), (usize, String)> {
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            match line.split_ascii_whitespace().collect::<Vec<_>>()[..] {
                [] => {}
                ["allow", unit] => self.allowed.push(unit.to_owned()),
                _ => return Err((number, line.to_owned())),
            }
        }
        Ok(())
    }
}

/// Audits the node whose files are below that folder; `None` where neither units, nor `etc` or `usr` are: that is no root. `running`
/// are its units that run, where systemd was asked: a timer may run without being enabled.
#[must_use]
pub fn audit(root: &Path, policy: &Policy, running: &BTreeSet<String>) -> Option<Audit> {
    let node = node::Node::read(root, running);
    if !node.is_root && node.unread.is_empty() {
        return None;
    }
    Some(judge(&node, policy))
}

fn judge(node: &node::Node, policy: &Policy) -> Audit {
    let mut findings = rules::findings(node);
    for finding in &mut findings {
        finding.allowed = [&finding.unit, &finding.starts, &finding.name()]
            .into_iter()
            .any(|unit| policy.allowed.contains(unit));
    }
    let is_here = |name: &String| {
        node.units.contains_key(name)
            || node
                .jobs
                .jobs
                .iter()
                .any(|job| job.file == *name || format!("{}:{}", job.file, job.line) == *name)
            || findings.iter().any(|finding| finding.unit == *name)
    };
    let unknown: BTreeSet<&String> = policy.allowed.iter().filter(|name| !is_here(name)).collect();
    Audit {
        schema: Schema {
            name: SCHEMA.to_owned(),
            version: SCHEMA_VERSION,
        },
        unknown: unknown.into_iter().cloned().collect(),
        findings,
        unread: node.unread.clone(),
        never: node.jobs.never.clone(),
        no_units: node.units.is_empty(),
    }
}

impl Audit {
    /// Takes over when timers elapse next.
    pub fn learn_next(&mut self, next: impl Fn(&str) -> Option<String>) {
        for finding in &mut self.findings {
            finding.next = next(&finding.unit);
        }
    }

    /// Nothing was found that counts, and all could be read.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.unread.is_empty() && !self.findings.iter().any(Finding::counts)
    }
}

#[cfg(test)]
mod tests;
