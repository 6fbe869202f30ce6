//! Services that D-Bus starts when somebody asks for their name on the system bus.
//!
//! Source: dbus-daemon(1), "standard_system_servicedirs" and service description files.

use std::collections::BTreeSet;

use super::commands;
use super::files::Files;
use super::jobs::{Job, Off};
use super::unit_file::UnitFile;
use super::units::{self, Units};

/// Where these services are described, what counts most first.
const FOLDERS: [&str; 5] = [
    "etc/dbus-1/system-services",
    "run/dbus-1/system-services",
    "usr/local/share/dbus-1/system-services",
    "usr/share/dbus-1/system-services",
    "lib/dbus-1/system-services",
];
const SECTION: &str = "D-BUS Service";

/// Reads them. A unit that is started in another way too is told by that.
pub(super) fn read(files: &mut Files, units: &Units) -> Vec<Job> {
    let mut jobs = Vec::new();
    let mut known = BTreeSet::new();
    for folder in FOLDERS {
        for name in files.names(folder) {
            if !name.ends_with(".service") || !known.insert(name.clone()) {
                continue;
            }
            let path = format!("{folder}/{name}");
            let text = files.text(&path).unwrap_or_default();
            jobs.extend(job(&path, &text, units));
        }
    }
    jobs
}

fn job(path: &str, text: &str, units: &Units) -> Option<Job> {
    let mut service = UnitFile::default();
    service.read(text);
    let name = service.last(SECTION, "Name")?;
    let unit = service.last(SECTION, "SystemdService");
    let known = unit.and_then(|unit| units::get(units, unit));
    if known.is_some_and(|unit| unit.enabled || unit.masked) {
        return None;
    }
    let job = Job {
        file: format!("/{path}"),
        schedule: format!("whenever somebody asks for {name} on the system bus"),
        ..Job::default()
    };
    Some(match unit {
        // Where systemd runs it starts the unit, whatever `Exec` says.
        Some(unit) => Job {
            units: vec![unit.to_owned()],
            // It goes by its unit.
            has_limit: true,
            off: Off::MaskUnit(unit.to_owned()),
            ..job
        },
        None => Job {
            line: text.lines().position(|line| line.starts_with("Exec"))? + 1,
            said: commands::read(service.last(SECTION, "Exec")?),
            off: Off::Rename,
            ..job
        },
    })
}
