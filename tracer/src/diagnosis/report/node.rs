//! The node beside its packets: changes, units, timers, packages.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::event::{Manager, Owner, UnitState};
use crate::model::clock::{rfc3339, seconds};
use crate::model::packages::{self, describe};
use crate::model::timeline::{self, Subject};
use crate::model::units::{self, Action};
use crate::model::{Model, bands};
use crate::report::{
    Actor, Band, Change, ChangeKind, Deadline, Difference, NODE_SCHEMA, NODE_SCHEMA_VERSION, Node,
    NodeReport, Packages, PackagesStanding, Schema, Setting, Timer, Unit,
};

/// Changes that are told, at most.
const CHANGES: usize = 200;
/// Settings, units and timers that are told where they are all that is told, at most.
const ALONE: usize = 10_000;
/// Differences, units and timers that are told, at most.
const MEMBERS: usize = 100;

/// How the node stands beside its packets: all that `tracer node` tells.
#[must_use]
pub fn alone(model: &Model) -> NodeReport {
    let mut settings: Vec<_> = model.settings().iter().collect();
    let settings_total = settings.len() as u64;
    settings.truncate(ALONE);
    NodeReport {
        schema: Schema {
            name: NODE_SCHEMA.to_owned(),
            version: NODE_SCHEMA_VERSION,
        },
        at: model.utc(model.now()),
        kernel: super::kernel(model),
        uptime: seconds(model.now()),
        capabilities: super::capabilities(model),
        node: node_of(model, ALONE),
        settings: settings
            .into_iter()
            .map(|(netns, thing, value)| Setting {
                object: thing.to_string(),
                netns: place(model, netns),
                value: value.to_owned(),
            })
            .collect(),
        settings_total,
    }
}

pub(super) fn node(model: &Model) -> Node {
    node_of(model, MEMBERS)
}

/// The same with so many units and timers at most.
fn node_of(model: &Model, most: usize) -> Node {
    let timeline = model.timeline();
    let (units, units_total) = units(model, most);
    let mut differences: Vec<_> = model.settings().differences().collect();
    let differences_total = differences.len() as u64;
    // The sort is stable.
    differences.sort_by_key(|(_, _, difference)| Reverse(difference.at));
    differences.truncate(MEMBERS);
    let mut timers: Vec<_> = model.units().timers().collect();
    let timers_total = timers.len() as u64;
    timers.sort_by_key(|timer| (timer.next.is_none(), timer.next));
    timers.truncate(most);
    Node {
        changes: timeline
            .all()
            .rev()
            .take(CHANGES)
            .map(|(number, one)| change(model, number, one))
            .collect(),
        changes_total: timeline.total(),
        bands: model
            .bands()
            .iter()
            .map(|band| Band {
                at: model.utc(band.at),
                arrived: band.arrived,
                delivered: band.delivered,
                dropped: band.dropped,
                starved: band.starved,
                partial: band.at < model.started() || model.now() < band.at.saturating_add(bands::LENGTH),
            })
            .collect(),
        baseline: model.settings().since().map(|at| model.utc(at)),
        differences: differences
            .into_iter()
            .map(|(netns, thing, difference)| Difference {
                object: thing.to_string(),
                netns: place(model, netns),
                before: difference.before.clone(),
                now: difference.now.clone(),
                at: model.utc(difference.at),
                by: difference.by.as_ref().map(actor),
            })
            .collect(),
        differences_total,
        units,
        units_total,
        timers: timers.into_iter().map(timer).collect(),
        timers_total,
        packages: model
            .packages()
            .iter()
            .map(|told| Packages {
                manager: manager(told.manager).to_owned(),
                standing: match packages::Standing::of(told) {
                    packages::Standing::Whole => PackagesStanding::Whole,
                    packages::Standing::InWork => PackagesStanding::InWork,
                    packages::Standing::Interrupted => PackagesStanding::Interrupted,
                },
                text: describe(told),
                holder: told.holder.as_ref().map(actor),
                working_on: told.working_on.clone(),
            })
            .collect(),
    }
}

fn change(model: &Model, number: u64, change: &timeline::Change) -> Change {
    let (kind, object, netns) = match &change.subject {
        Subject::Setting(netns, thing) => (ChangeKind::Setting, thing.to_string(), place(model, *netns)),
        Subject::Unit(name) => (ChangeKind::Unit, name.clone(), String::new()),
        Subject::Job(unit) => (ChangeKind::Job, unit.clone(), String::new()),
        Subject::Timer(name) => (ChangeKind::Timer, name.clone(), String::new()),
        Subject::Packages(which) => (ChangeKind::Packages, manager(*which).to_owned(), String::new()),
        Subject::Notice(_) => (ChangeKind::Notice, String::new(), String::new()),
        Subject::Starvation => (ChangeKind::Starvation, String::new(), String::new()),
    };
    Change {
        number,
        at: model.utc(change.at),
        kind,
        object,
        netns,
        before: change.before.clone(),
        after: change.after.clone(),
        by: change.by.as_ref().map(actor),
        noticed: change.noticed,
    }
}

/// The namespace, empty for the whole node, and where only one is watched.
fn place(model: &Model, netns: u32) -> String {
    if netns == 0 || !model.node().several() {
        String::new()
    } else {
        model.node().netns_label(netns)
    }
}

fn manager(manager: Manager) -> &'static str {
    match manager {
        Manager::Dpkg => "dpkg",
        Manager::Rpm => "rpm",
    }
}

fn actor(owner: &Owner) -> Actor {
    Actor {
        pid: owner.pid,
        command: owner.command.clone(),
        unit: owner.unit.clone(),
    }
}

/// What arrived for a unit's sockets.
#[derive(Clone, Copy, Default)]
struct Traffic {
    arrived: u64,
    delivered: u64,
    starved: u64,
}

fn traffic(model: &Model) -> BTreeMap<&str, Traffic> {
    let mut all: BTreeMap<&str, Traffic> = BTreeMap::new();
    for (key, flow) in model.flows().iter() {
        let Some(owner) = model.owner(key).filter(|owner| !owner.unit.is_empty()) else {
            continue;
        };
        let sum = all.entry(owner.unit.as_str()).or_default();
        sum.arrived = sum.arrived.saturating_add(flow.arrived);
        // What is read by a socket that is not connected is counted under a flow without a peer.
        if !key.remote.is_unspecified() {
            sum.delivered = sum.delivered.saturating_add(flow.delivered(key.protocol));
        }
        sum.starved += u64::from(flow.starved.time().is_some());
    }
    all
}

fn units(model: &Model, most: usize) -> (Vec<Unit>, u64) {
    let traffic = traffic(model);
    let jobs: BTreeMap<&str, String> = model
        .units()
        .jobs()
        .map(|(_, job)| (job.unit.as_str(), job.to_string()))
        .collect();
    let mut units: Vec<Unit> = model
        .units()
        .iter()
        .map(|(name, known)| {
            let state = &known.state;
            let packets = traffic.get(name).copied().unwrap_or_default();
            Unit {
                name: name.to_owned(),
                active: state.active.clone(),
                sub: state.sub.clone(),
                result: state.result.clone(),
                main_pid: state.main_pid,
                invocation: state.invocation.clone(),
                starts: known.starts,
                restarts: state.restarts,
                processes: state.processes,
                job: jobs.get(name).cloned().unwrap_or_default(),
                deadline: model
                    .units()
                    .deadline(name)
                    .map(|one| deadline(model, state, one)),
                arrived: packets.arrived,
                delivered: packets.delivered,
                starved: packets.starved,
            }
        })
        .collect();
    let total = units.len() as u64;
    // The sort is stable: else by name.
    units.sort_by_key(|unit| {
        let limited = unit
            .deadline
            .as_ref()
            .is_some_and(|limit| limit.seconds.is_some());
        Reverse((
            unit.starved > 0,
            limited || !unit.job.is_empty(),
            unit.active == "failed" || unit.processes > 0,
            unit.starts > 0,
            unit.arrived,
            unit.active == "active"
                && [".service", ".scope"]
                    .iter()
                    .any(|kind| unit.name.ends_with(kind)),
            unit.active == "active",
        ))
    });
    units.truncate(most);
    (units, total)
}

fn deadline(model: &Model, state: &UnitState, deadline: units::Deadline) -> Deadline {
    match deadline {
        units::Deadline::NoLimit => Deadline {
            seconds: None,
            action: String::new(),
        },
        units::Deadline::At { at, action } => {
            let now = model.now();
            let left = if at >= now {
                seconds(at - now)
            } else {
                -seconds(now - at)
            };
            Deadline {
                seconds: Some(left),
                action: act(action, &state.limits.kill_mode).to_owned(),
            }
        }
    }
}

/// What systemd does, and to whom, by its KillMode (systemd.kill(5)).
fn act(action: Action, kill_mode: &str) -> &'static str {
    match (action, kill_mode) {
        (Action::Restart, _) => "it is started again",
        (Action::CancelJob, _) => "its job is given up",
        (_, "none") => "it is given up; its processes go on",
        (Action::Terminate, "process") => "SIGTERM to the main process; the others go on",
        (Action::Kill, "process") => "SIGKILL to the main process; the others go on",
        (Action::Terminate, "mixed") => "SIGTERM to the main process, then SIGKILL to all",
        (Action::Terminate, _) => "SIGTERM to all its processes",
        (Action::Kill, _) => "SIGKILL to all its processes",
    }
}

fn timer(timer: &crate::event::Timer) -> Timer {
    Timer {
        name: timer.name.clone(),
        unit: timer.unit.clone(),
        active: timer.active,
        next: timer.next.map(|at| rfc3339(at.into())),
        last: timer.last.map(|at| rfc3339(at.into())),
        random_delay: timer.random_delay as f64 / 1e6,
        schedule: timer.schedule.clone(),
        persistent: timer.persistent,
    }
}
