//! What changes on the node, in plain sentences.

use super::names::Names;
use crate::event::{
    Clock, ENDED, Job, JobState, Notice, Owner, Packages, Runs, Seen, Setting, Timer, Unit, Unknown,
    Upgrades, process,
};
use crate::model::clock::rfc3339;

pub(super) fn setting(setting: &Setting, names: &Names) -> String {
    let place = match setting.netns {
        0 => String::new(),
        netns => format!(" ({})", names.netns(netns)),
    };
    let stands = match &setting.value {
        None => "is gone".to_owned(),
        Some(value) if value.is_empty() => "is there".to_owned(),
        Some(value) => format!("is {}", setting.thing.shown(value)),
    };
    format!(
        "{}{place} {stands}{}{}",
        setting.thing,
        how(setting.seen),
        by(setting.by.as_ref(), setting.by_unknown)
    )
}

pub(super) fn unit(unit: &Unit) -> String {
    let name = &unit.name;
    let stands = match &unit.state {
        None => "is not loaded any more".to_owned(),
        Some(state) => {
            let mut text = format!("is {} ({})", state.active, state.sub);
            if !matches!(state.result.as_str(), "" | "success") {
                text += &format!(", result {}", state.result);
            }
            if !state.reload_result.is_empty() {
                text += &format!(", result of its last reload {}", state.reload_result);
            }
            if state.main_pid != 0 {
                text += &format!(", main process {}", state.main_pid);
            }
            if state.processes != 0 {
                text += &format!(", {} processes in its cgroup", state.processes);
            }
            text
        }
    };
    format!("unit {name} {stands}{}", how(unit.seen))
}

pub(super) fn job(job: &Job) -> String {
    let action = match job.action.as_str() {
        "" => "job",
        action => action,
    };
    let state = match &job.state {
        JobState::Waiting => "is queued".to_owned(),
        JobState::Running => "is running".to_owned(),
        JobState::Ended(result) => format!("has ended: {result}"),
    };
    format!("{action} of {} {state}{}", job.unit, how(job.seen))
}

pub(super) fn timer(timer: &Timer) -> String {
    let active = if timer.active { "active" } else { "not active" };
    format!(
        "timer {} of {} is {active}{}",
        timer.name,
        timer.unit,
        how(timer.seen)
    )
}

pub(super) fn runs(runs: &Runs) -> String {
    let since = rfc3339(runs.since.into());
    let count = match runs.runs.len() {
        0 => "no run".to_owned(),
        1 => "1 run".to_owned(),
        many => format!("{many} runs"),
    };
    let last = runs.runs.last().map_or_else(String::new, |run| {
        let result = match run.result.as_str() {
            "" => "how it ended is not known",
            result => result,
        };
        format!(", the last at {}: {result}", rfc3339(run.begun.into()))
    });
    format!("the journal has {count} of {} since {since}{last}", runs.unit)
}

pub(super) fn packages(packages: &Packages) -> String {
    let mut text = format!(
        "{}: {} packages unfinished",
        packages.manager,
        packages.unfinished_total()
    );
    if !packages.working_on.is_empty() {
        text += &format!(", at work: {}", packages.working_on);
    }
    match &packages.holder {
        None => text += ", nobody holds its lock",
        Some(holder) => text += &format!(", its lock is held by {}", named(holder)),
    }
    text
}

pub(super) fn upgrades(upgrades: &Upgrades) -> String {
    let last = upgrades.runs.last().map_or_else(String::new, |run| {
        let what = match run.command.as_str() {
            "" => String::new(),
            command => format!(": {command}"),
        };
        let end = match run.ended {
            Some(ended) => format!("ended at {}", rfc3339(ended.into())),
            None => "no end is logged".to_owned(),
        };
        format!(", the last began at {}, {end}{what}", rfc3339(run.begun.into()))
    });
    format!(
        "the logs of {} have {} runs{last}",
        upgrades.manager,
        upgrades.runs.len()
    )
}

pub(super) fn notice(notice: &Notice) -> String {
    format!("{}{}", notice.text, by(notice.by.as_ref(), None))
}

pub(super) fn clock(clock: Clock) -> String {
    format!(
        "boot time is {} ns ahead of the monotonic clock; UTC is boot time and {} ns",
        clock.suspended, clock.wall_offset
    )
}

fn how(seen: Seen) -> &'static str {
    match seen {
        Seen::Found => ", as found",
        Seen::Told => "",
        Seen::Noticed => ", as noticed",
    }
}

fn by(owner: Option<&Owner>, unknown: Option<Unknown>) -> String {
    match (owner, unknown) {
        (Some(owner), _) => format!("; by {}", named(owner)),
        (None, Some(why)) => format!("; {}", why.told()),
        (None, None) => String::new(),
    }
}

/// `ip[812] of ssh.service`, `process 812 of ssh.service, ended before it could be asked`
fn named(owner: &Owner) -> String {
    let unit = match owner.unit.as_str() {
        "" => String::new(),
        unit => format!(" of {unit}"),
    };
    let parent = owner.parent.as_deref().map_or_else(String::new, |parent| {
        format!(", child of {}", process(&parent.command, parent.pid))
    });
    let ended = if owner.command.is_empty() && owner.pid != 0 {
        format!(", {ENDED}")
    } else {
        String::new()
    };
    format!("{}{unit}{parent}{ended}", process(&owner.command, owner.pid))
}
