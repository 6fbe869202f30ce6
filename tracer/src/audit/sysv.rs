//! Scripts of SysV init that are started with the node.
//!
//! systemd-sysv-generator(8) makes a unit of each: on a node that runs systemd it is told as that, in an image or where
//! another init runs by its link (`/etc/rc2.d/S01name`).

use std::collections::BTreeSet;

use super::commands;
use super::files::{Files, Kind};
use super::jobs::{Job, Off};
use super::units::Units;

/// Where the links are for the levels in which a node works, on Debian and on Red Hat.
const LEVELS: [&str; 10] = [
    "etc/rcS.d",
    "etc/rc2.d",
    "etc/rc3.d",
    "etc/rc4.d",
    "etc/rc5.d",
    "etc/rc.d/rcS.d",
    "etc/rc.d/rc2.d",
    "etc/rc.d/rc3.d",
    "etc/rc.d/rc4.d",
    "etc/rc.d/rc5.d",
];
/// Where the scripts are.
const FOLDERS: [&str; 2] = ["etc/init.d", "etc/rc.d/init.d"];

/// Reads those that no unit stands for.
pub(super) fn read(files: &mut Files, units: &Units) -> Vec<Job> {
    let mut names = BTreeSet::new();
    for folder in LEVELS {
        let links = files.names(folder).into_iter();
        names.extend(links.filter_map(|link| started(&link).map(str::to_owned)));
    }
    let mut jobs = Vec::new();
    for name in names {
        let unit = name.strip_suffix(".sh").unwrap_or(&name);
        if units.contains_key(&format!("{unit}.service")) {
            continue;
        }
        let script = FOLDERS.iter().find_map(|folder| {
            let path = format!("{folder}/{name}");
            Some((files.read(&path, Kind::Text)?, path))
        });
        if let Some((script, path)) = script.filter(|(script, _)| script.executable) {
            jobs.push(Job {
                file: format!("/{path}"),
                schedule: "whenever the node starts".to_owned(),
                said: commands::read(&script.text),
                // 5 min (systemd-sysv-generator).
                has_limit: true,
                off: Off::NotExecutable,
                ..Job::default()
            });
        }
    }
    jobs
}

/// The script that a link starts: `S`, two digits, its name.
fn started(link: &str) -> Option<&str> {
    let digits = link.strip_prefix('S')?;
    let number = digits.get(..2)?;
    number.bytes().all(|c| c.is_ascii_digit()).then(|| &digits[2..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_start_something() {
        assert_eq!(started("S01dbus"), Some("dbus"));
        for link in ["K01dbus", "README", "S0", "Sä1x", ""] {
            assert_eq!(started(link), None, "{link}");
        }
    }
}
