//! Units of users, which systemd runs in a manager for each of them: with the node where the user lingers, else while
//! that user is logged in.
//!
//! Sources: systemd.unit(5), "unit file load path"; loginctl(1), enable-linger.

use std::collections::BTreeSet;

use super::Idle;
use super::files::Files;
use super::jobs::{Job, Off};
use super::specifiers::Manager;
use super::units::{self, Unit, Units, started_by};

/// Where all users have units, what counts most first.
const FOLDERS: [&str; 5] = [
    "etc/systemd/user",
    "run/systemd/user",
    "usr/local/share/systemd/user",
    "usr/local/lib/systemd/user",
    "usr/lib/systemd/user",
];
/// Users that linger have a file of their name here.
const LINGER: &str = "var/lib/systemd/linger";

/// Reads what starts by itself in the managers of users.
pub(super) fn read(files: &mut Files) -> Vec<Job> {
    let passwd = files.text("etc/passwd").unwrap_or_default();
    let lingering = files.names(LINGER);
    let mut jobs = Vec::new();
    for line in passwd.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let &[user, _, _, _, _, home, ..] = &fields[..] else {
            continue;
        };
        let home = home.trim_matches('/');
        let own = [
            format!("{home}/.config/systemd/user.control"),
            format!("{home}/.config/systemd/user"),
        ];
        let lingers = lingering.iter().any(|name| name == user);
        let all = FOLDERS.into_iter().filter(|_| lingers).map(str::to_owned);
        let more = [format!("{home}/.local/share/systemd/user")];
        let folders: Vec<String> = own.into_iter().chain(all).chain(more).collect();
        let manager = Manager::of_user(user, home);
        jobs.extend(of_manager(files, &folders, user, lingers, manager));
    }
    if lingering.is_empty() {
        let folders = FOLDERS.map(str::to_owned);
        jobs.extend(of_manager(
            files,
            &folders,
            "each user",
            false,
            Manager::default(),
        ));
    }
    jobs
}

fn of_manager(
    files: &mut Files,
    folders: &[String],
    user: &str,
    lingers: bool,
    manager: Manager,
) -> Vec<Job> {
    let units = units::read(files, folders, &BTreeSet::new(), manager);
    let started = units.iter().filter(|(_, unit)| unit.enabled && !unit.masked);
    let jobs = started.filter_map(|(name, unit)| job(files, &units, (name, unit), user, lingers));
    jobs.collect()
}

/// What a unit does that starts by itself, by the file of the service that it starts.
fn job(
    files: &mut Files,
    units: &Units,
    (name, unit): (&str, &Unit),
    user: &str,
    lingers: bool,
) -> Option<Job> {
    let service = units::get(units, &started_by(name, &unit.file)).filter(|service| !service.masked)?;
    if lingers {
        files.note_unknown(name, service);
    }
    let text = files.text(&service.path)?;
    let mut said = unit.said.clone();
    said.merge(unit.said_at_stop.clone());
    said.merge(service.said.clone());
    said.merge(service.said_at_stop.clone());
    let mut schedule = unit.file.schedule();
    schedule.push(format!("in the manager of {user}"));
    let is_oneshot = service.file.last("Service", "Type") == Some("oneshot");
    let timer = |key| unit.file.last("Timer", key).unwrap_or_default().to_owned();
    Some(Job {
        file: format!("/{}", service.path),
        line: text
            .lines()
            .position(|line| line.trim_start().starts_with("Exec"))?
            + 1,
        schedule: schedule.join(", "),
        random_delay: timer("RandomizedDelaySec"),
        persistent: unit.file.is_yes("Timer", "Persistent"),
        said,
        has_limit: !is_oneshot || service.file.last("Service", "TimeoutStartSec").is_some(),
        idle: if lingers {
            service
                .unmet
                .as_ref()
                .or(unit.unmet.as_ref())
                .map(|_| Idle::Condition)
        } else {
            Some(Idle::NotLoggedIn)
        },
        off: if FOLDERS.iter().any(|folder| unit.path.starts_with(folder)) {
            Off::MaskOfAll(name.to_owned())
        } else if unit.links.is_empty() {
            Off::Rename
        } else {
            Off::DisableOf {
                unit: name.to_owned(),
                user: lingers.then(|| user.to_owned()),
                links: unit.links.iter().cloned().collect(),
            }
        },
        ..Job::default()
    })
}
