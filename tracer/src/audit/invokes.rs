//! Commands that apt and dpkg run before and after their work, by their configuration.
//!
//! Sources: apt.conf(5), dpkg.cfg(5).

use super::apt_conf::{AptConf, is_plain};
use super::commands;
use super::files::Files;
use super::jobs::{Job, Off};

/// What apt runs, and when.
const APT: [(&str, &str); 6] = [
    ("APT::Update::Pre-Invoke", "before apt fetches lists"),
    ("APT::Update::Post-Invoke", "whenever apt has fetched lists"),
    (
        "APT::Update::Post-Invoke-Success",
        "whenever apt has fetched lists",
    ),
    ("DPkg::Pre-Invoke", "before apt runs dpkg"),
    ("DPkg::Pre-Install-Pkgs", "before apt runs dpkg"),
    ("DPkg::Post-Invoke", "whenever apt has run dpkg"),
];
/// The same of dpkg.
const DPKG: [(&str, &str); 3] = [
    ("pre-invoke", "before dpkg works"),
    ("post-invoke", "whenever dpkg has worked"),
    ("status-logger", "whenever dpkg works"),
];

/// Of this folder dpkg takes files with plain names (dpkg.cfg(5)).
const DPKG_FOLDER: &str = "etc/dpkg/dpkg.cfg.d";

/// Reads them all.
pub(super) fn read(files: &mut Files, apt: &AptConf) -> Vec<Job> {
    let mut jobs = Vec::new();
    for (file, (path, text)) in apt.files.iter().enumerate() {
        for (key, when) in APT {
            let commands = apt.of_file(key, file);
            jobs.extend(commands.filter_map(|command| job(path, text, command, when)));
        }
    }
    let names = files.names(DPKG_FOLDER).into_iter().filter(|name| is_plain(name));
    let mut paths: Vec<String> = names.map(|name| format!("{DPKG_FOLDER}/{name}")).collect();
    paths.push("etc/dpkg/dpkg.cfg".to_owned());
    for path in paths {
        let text = files.text(&path).unwrap_or_default();
        for line in text.lines() {
            let Some((key, command)) = line.trim().split_once(['=', ' ']) else {
                continue;
            };
            if let Some((_, when)) = DPKG.iter().find(|(known, _)| *known == key) {
                jobs.extend(job(&path, &text, command.trim().trim_matches(['"', '\'']), when));
            }
        }
    }
    jobs
}

/// A command that stands in a file.
fn job(path: &str, text: &str, command: &str, when: &str) -> Option<Job> {
    let first = command.lines().next()?;
    let is_comment = |line: &str| ["#", "//"].iter().any(|sign| line.trim_start().starts_with(sign));
    let line = text
        .lines()
        .position(|line| line.contains(first) && !is_comment(line))?
        + 1;
    Some(Job {
        file: format!("/{path}"),
        line,
        schedule: when.to_owned(),
        said: commands::read(command),
        off: match command.lines().count() {
            1 => Off::Comment,
            lines => Off::CommentTo(line + lines - 1),
        },
        ..Job::default()
    })
}
