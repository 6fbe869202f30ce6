//! `tracer audit`: what units and jobs of cron on a node can change its packages or its network while nobody looks.
//!
//! Judged by the files of a node, or of an image of one, so it needs no bus, and no rights but to read them; it changes
//! nothing. `node` reads the `files`, `unit_file` and `cron` know their forms, `commands` and `programs` what is run, `rules` judge.

mod commands;
mod cron;
mod files;
mod node;
mod programs;
mod rules;
mod unit_file;

use std::collections::BTreeSet;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::Schema;

/// Name of what `tracer audit` prints.
pub const SCHEMA: &str = "tracer.audit";
/// Version of it: raised when a member changes its meaning or goes away.
pub const SCHEMA_VERSION: u32 = 1;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Audit {
    /// Name and version of this contract.
    pub schema: Schema,
    /// What starts by itself and changes something, and traps of the configuration.
    pub findings: Vec<Finding>,
    /// What could not be read: it may hide findings.
    pub unread: Vec<String>,
    /// What the policy allows and is not here: no timer, service or file of cron has that name.
    pub unknown: Vec<String>,
}

/// The JSON Schema of [`Audit`], which docs/audit.schema.json holds.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Audit).to_value()
}

/// Something that can change the node unattended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The unit that starts by itself, the file of cron (`/etc/cron.d/certbot`), or what is configured so.
    pub unit: String,
    /// The service that it starts: the same where it is no timer.
    pub starts: String,
    /// What it can change.
    pub effects: Vec<Effect>,
    /// The programs by which that is known.
    pub runs: Vec<String>,
    /// What its timer or cron goes by, as in its file; empty for a service that is started with the node.
    pub schedule: Vec<String>,
    /// So much is added to its time at random, at most; empty for nothing.
    pub random_delay: String,
    /// When its timer elapses next, UTC, RFC 3339; absent where systemd was not asked or does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// How long it may take, as in its unit file; `default` for what systemd has for all; empty for what is no unit.
    pub start_limit: String,
    /// How long it may take to stop.
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
    /// Services are restarted.
    Services,
    /// The network configuration.
    Network,
    /// Firmware.
    Firmware,
    /// The node is restarted or stopped.
    Reboot,
}

/// Why something does nothing, as the node is configured now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Idle {
    /// `APT::Periodic` of apt's configuration asks for nothing.
    PeriodicOff,
    /// The job of cron ends where systemd runs: a timer does its work.
    LeftToSystemd,
    /// Nothing that would start it is enabled: no cron.
    NoCron,
}

/// A known trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trap {
    /// What was missed while the node was off is made up for at its start.
    Persistent,
    /// When it is stopped only its main process is ended: what it has begun goes on, or ends half-way.
    KillModeProcess,
    /// Nothing limits how long it takes.
    NoLimit,
    /// It takes whole point releases, not only security fixes.
    PointRelease,
    /// When it starts it deletes rules and routes that others made.
    ForeignRules,
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

/// Audits the node whose files are below that folder; `None` where there are no units of systemd: that is no node.
#[must_use]
pub fn audit(root: &Path, policy: &Policy) -> Option<Audit> {
    let node = node::Node::read(root);
    if node.units.is_empty() && node.unread.is_empty() {
        return None;
    }
    Some(judge(&node, policy))
}

fn judge(node: &node::Node, policy: &Policy) -> Audit {
    let mut findings = rules::findings(node);
    for finding in &mut findings {
        finding.allowed = [&finding.unit, &finding.starts]
            .into_iter()
            .any(|unit| policy.allowed.contains(unit));
    }
    let is_here = |name: &String| {
        node.units.contains_key(name)
            || node.jobs.iter().any(|job| job.file == *name)
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
