//! The node beside its packets: changes, units, timers, packages.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

use super::led::{self, Led};
use crate::event::{Limits, Manager, NodeAction, Owner, Thing};
use crate::model::clock::{rfc3339, seconds};
use crate::model::deadlines;
use crate::model::packages;
use crate::model::parameters;
use crate::model::runs::{self, Past};
use crate::model::{Model, bands};
use crate::report::{
    Actor, Band, Deadline, Difference, Dropper, JobLimit, NODE_SCHEMA, NODE_SCHEMA_VERSION, Node, NodeReport,
    Onsets, Outcome, Packages, PackagesStanding, Parent, Run, Schema, Setting, Span, Timer, Unfinished, Unit,
    Upgrade,
};

/// Settings, units and timers that are told where they are all that is told, at most.
const ALONE: usize = 10_000;
/// Differences, units and timers that are told, at most.
const MEMBERS: usize = 100;
/// Past runs that are told of each timer, at most.
const RUNS: usize = 20;

/// How the node stands beside its packets: all that `tracer node` tells.
#[must_use]
pub fn alone(model: &Model) -> NodeReport {
    let says = |&(netns, thing, value): &(u32, &Thing, &str)| {
        parameters::says_something(model.settings(), netns, thing, value)
    };
    let setting = |(netns, thing, value): (u32, &Thing, &str)| Setting {
        object: thing.to_string(),
        netns: place(model, netns),
        value: thing.shown(value).into_owned(),
    };
    let is_figure = |(_, thing, _): &(u32, &Thing, &str)| parameters::is_figure(thing);
    let figures = model.settings().iter().filter(is_figure);
    let mut settings: Vec<_> = model.settings().iter().filter(says).collect();
    let settings_total = settings.len() as u64;
    // A full table of routes leaves room for what else there is.
    let is_route = |thing: &Thing| matches!(thing, Thing::Route { .. });
    let others = settings.iter().filter(|(_, thing, _)| !is_route(thing)).count();
    let mut room = ALONE.saturating_sub(others);
    settings.retain(|(_, thing, _)| {
        let fits = !is_route(thing) || room > 0;
        room -= usize::from(fits && is_route(thing));
        fits
    });
    settings.truncate(ALONE);
    let (droppers, droppers_total) = droppers(model);
    NodeReport {
        schema: Schema {
            name: NODE_SCHEMA.to_owned(),
            version: NODE_SCHEMA_VERSION,
        },
        at: model.utc(model.now()),
        kernel: super::kernel(model),
        uptime: seconds(model.now()),
        capabilities: super::capabilities(model),
        // No packets are counted here, so that there is nothing to hold changes against.
        node: Node {
            bands: Vec::new(),
            ..node_of(model, ALONE)
        },
        settings: settings.into_iter().map(setting).collect(),
        settings_total,
        figures: figures.map(setting).collect(),
        droppers,
        droppers_total,
    }
}

fn droppers(model: &Model) -> (Vec<Dropper>, u64) {
    let total = model
        .droppers()
        .map(|of| of.rules.len() as u64 + of.left_out)
        .sum();
    let all = model
        .droppers()
        .flat_map(|of| of.rules.iter().map(|rule| (of.netns, rule)));
    let mut all: Vec<_> = all.collect();
    // The sort is stable: else in the order of the kernel.
    all.sort_by_key(|(_, rule)| Reverse(rule.counted.map(|counted| counted.packets)));
    all.truncate(MEMBERS);
    let told = all.into_iter().map(|(netns, rule)| Dropper {
        object: rule.to_string(),
        netns: place(model, netns),
        verdict: rule.verdict.clone(),
        packets: rule.counted.map(|counted| counted.packets),
        bytes: rule.counted.map(|counted| counted.bytes),
    });
    (told.collect(), total)
}

pub(super) fn node(model: &Model) -> Node {
    node_of(model, MEMBERS)
}

/// The same with so many units and timers at most.
fn node_of(model: &Model, most: usize) -> Node {
    let timeline = model.timeline();
    let led = Led::new(timeline);
    let (units, units_total) = units(model, most);
    let (invariants, invariants_broken, invariants_total) = super::invariants::all(model, &led);
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
        changes: super::changes::all(model),
        changes_total: timeline.total(),
        leading_total: timeline.leading(),
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
            .map(|(netns, thing, difference)| {
                let own = led::Actor {
                    by: difference.by.as_ref(),
                    by_unknown: difference.by_unknown,
                    follows: None,
                };
                let named = led.of((netns, thing), difference.at, own);
                Difference {
                    object: thing.to_string(),
                    netns: place(model, netns),
                    before: difference.before.clone(),
                    now: difference.now.as_deref().map(|now| thing.shown(now).into_owned()),
                    at: model.utc(difference.at),
                    by: named.by.map(actor),
                    by_unknown: named.by_unknown,
                    follows: named.follows,
                }
            })
            .collect(),
        differences_total,
        invariants,
        invariants_broken,
        invariants_total,
        units_as_of: model.units().as_of().map(|at| model.utc(at)),
        units,
        units_total,
        timers: timers.into_iter().map(|one| timer(model, one)).collect(),
        timers_total,
        packages: model
            .packages()
            .iter()
            .map(|told| Packages {
                manager: told.manager.to_string(),
                standing: match packages::Standing::of(told) {
                    packages::Standing::Whole => PackagesStanding::Whole,
                    packages::Standing::InWork => PackagesStanding::InWork,
                    packages::Standing::Interrupted => PackagesStanding::Interrupted,
                    packages::Standing::Unknown => PackagesStanding::Unknown,
                },
                text: model.packages().describe(told),
                unfinished: told
                    .unfinished
                    .iter()
                    .map(|one| Unfinished {
                        name: one.name.clone(),
                        state: one.state.clone(),
                    })
                    .collect(),
                unfinished_total: told.unfinished_total() as u64,
                holder: told.holder.as_ref().map(actor),
                working_on: told.working_on.clone(),
                past: upgrades(model, told.manager),
                past_total: model.packages().past(told.manager).count() as u64,
                past_since: model
                    .packages()
                    .past_since(told.manager)
                    .map(|since| rfc3339(since.into())),
            })
            .collect(),
    }
}

/// The namespace, empty for the whole node, and where only one is watched.
pub(in crate::diagnosis) fn place(model: &Model, netns: u32) -> String {
    if netns == 0 || !model.node().several() {
        String::new()
    } else {
        model.node().netns_label(netns)
    }
}

/// What a package manager did, the latest first.
fn upgrades(model: &Model, manager: Manager) -> Vec<Upgrade> {
    let utc = |at: i64| rfc3339(at.into());
    let onsets: Vec<RangeInclusive<i64>> = model
        .timeline()
        .onsets()
        .map(|at| model.wall_then(at))
        .map(|at| at.saturating_sub(packages::AFTER)..=at)
        .collect();
    let runs = model.packages().past(manager).rev().take(RUNS);
    let told = runs.map(|(run, outcome)| Upgrade {
        begun: utc(run.begun),
        ended: run.ended.map(utc),
        last: run.last.map(utc),
        outcome: match outcome {
            packages::Outcome::Ended => Outcome::Ended,
            packages::Outcome::Failed => Outcome::Failed,
            packages::Outcome::InWork => Outcome::InWork,
            packages::Outcome::Interrupted => Outcome::Interrupted,
        },
        command: run.command.clone(),
        requested_by: run.requested_by.clone(),
        error: run.error.clone(),
        installed: run.installed,
        upgraded: run.upgraded,
        removed: run.removed,
        configured: run.configured,
        names: run.names.clone(),
        more: run.more,
        onsets: onsets
            .iter()
            .filter(|span| packages::went_on_in(run, outcome, span))
            .count() as u64,
    });
    told.collect()
}

pub(in crate::diagnosis) fn actor(owner: &Owner) -> Actor {
    Actor {
        pid: owner.pid,
        command: owner.command.clone(),
        unit: owner.unit.clone(),
        container: owner.container().to_owned(),
        pod: owner.pod(),
        parent: owner.parent.as_deref().map(|parent| Parent {
            pid: parent.pid,
            command: parent.command.clone(),
        }),
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
    if model.units().iter().next().is_none() {
        return all;
    }
    let mut owner = model.owners_in_turn();
    for (key, flow, plight) in model.flows_and_plights() {
        let Some(owner) = owner(key, flow, plight).filter(|owner| !owner.unit.is_empty()) else {
            continue;
        };
        let sum = all.entry(owner.unit.as_str()).or_default();
        sum.arrived = sum.arrived.saturating_add(flow.arrived);
        // What is read by a socket that is not connected is counted under a flow without a peer.
        if !key.remote.is_unspecified() {
            sum.delivered = sum.delivered.saturating_add(flow.delivered(key.protocol));
        }
        let starved = plight.and_then(|plight| plight.starved.time());
        sum.starved += u64::from(starved.is_some());
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
                cgroup: state.cgroup.clone(),
                invocation: state.invocation.clone(),
                starts: known.starts,
                restarts: state.restarts,
                start_limit_hit: known.is_refused || state.hit_start_limit(),
                reload_result: state.reload_result.clone(),
                frozen: state.frozen,
                processes: state.processes,
                job: jobs.get(name).cloned().unwrap_or_default(),
                job_limit: jobs.get(name).and_then(|_| job_limit(&state.limits)),
                deadline: model
                    .units()
                    .deadline(name, model.now())
                    .map(|one| deadline(model, one)),
                arrived: packets.arrived,
                delivered: packets.delivered,
                starved: packets.starved,
            }
        })
        .collect();
    let total = units.len() as u64;
    // The sort is stable: else by name.
    units.sort_by_key(|unit| {
        let limited = unit.deadline.as_ref().is_some_and(Deadline::is_ahead);
        Reverse((
            // Where the node is shut down each unit has a job.
            NodeAction::of_job(&unit.name, &unit.job).is_some(),
            unit.starved > 0,
            limited || !unit.job.is_empty(),
            unit.active == "failed" || unit.processes > 0 || unit.frozen,
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

fn job_limit(limits: &Limits) -> Option<JobLimit> {
    let limits = deadlines::of_jobs(limits)?;
    let seconds = |span: Option<u64>| span.map(|span| span as f64 / 1e6);
    Some(JobLimit {
        queued: seconds(limits.queued),
        running: seconds(limits.running),
        action: limits
            .action
            .map_or_else(String::new, |action| action.to_string()),
    })
}

fn deadline(model: &Model, deadline: deadlines::Deadline) -> Deadline {
    let deadlines::Deadline::Due(due) = deadline else {
        return Deadline::default();
    };
    let now = model.now();
    let left = |at: u64| seconds(at.saturating_sub(now)) - seconds(now.saturating_sub(at));
    let (least, most) = (left(due.from), left(due.to));
    let is_open = due.from != due.to && most >= 0.0;
    Deadline {
        seconds: Some(if is_open { least.max(0.0) } else { most }),
        seconds_at_most: is_open.then_some(most),
        watchdog: due.watchdog.map(|span| span as f64 / 1e6),
        action: due.then.map_or_else(
            || due.action.to_string(),
            |then| format!("{}; {then}", due.action),
        ),
    }
}

fn timer(model: &Model, timer: &crate::event::Timer) -> Timer {
    let utc = |at: i64| rfc3339(at.into());
    let past = model.units().past(&timer.unit);
    let since = past.and_then(Past::since);
    let none = VecDeque::new();
    let runs = past.map_or(&none, Past::runs);
    let nanoseconds = |span: u64| i64::try_from(span.saturating_mul(1000)).unwrap_or(i64::MAX);
    let (delay, accuracy) = (nanoseconds(timer.random_delay), nanoseconds(timer.accuracy));
    Timer {
        name: timer.name.clone(),
        unit: timer.unit.clone(),
        active: timer.active,
        result: timer.result.clone(),
        next: timer.next.map(utc),
        last: timer.last.map(utc),
        random_delay: timer.random_delay as f64 / 1e6,
        schedule: timer.schedule.clone(),
        persistent: timer.persistent,
        window: timer.next.map(|next| {
            let from = timer.scheduled.unwrap_or(next);
            let to = timer.scheduled.map_or(next, |from| from.saturating_add(delay));
            Span {
                from: utc(from),
                to: utc(to.saturating_add(accuracy)),
            }
        }),
        past: runs
            .iter()
            .rev()
            .take(RUNS)
            .map(|run| Run {
                begun: utc(run.begun),
                ended: run.ended.map(utc),
                result: run.result.clone(),
                by_timer: past.is_some_and(|past| past.is_by(run, &timer.name)),
            })
            .collect(),
        past_total: runs.len() as u64,
        past_since: since.map(utc),
        onsets: onsets(model, timer, runs, since, delay),
    }
}

/// How onsets of starvation stand to the runs of what a timer starts.
fn onsets(
    model: &Model,
    timer: &crate::event::Timer,
    past: &VecDeque<crate::event::Run>,
    since: Option<i64>,
    delay: i64,
) -> Onsets {
    let now = model.wall_then(model.now());
    let last = past.len().saturating_sub(1);
    let windows: Vec<_> = past
        .iter()
        .enumerate()
        .map(|(number, run)| {
            let goes_on = number == last && model.units().is_running(&timer.unit);
            let until = run.ended.unwrap_or(if goes_on { now } else { run.begun });
            runs::window(run.begun, until, delay)
        })
        .collect();
    let onsets = model.timeline().onsets().map(|at| model.wall_then(at));
    let held = runs::hold(onsets, &windows, since.map(|since| since..now));
    Onsets {
        inside: held.inside,
        outside: held.outside,
        runs: held.runs,
        share: held.share,
    }
}
