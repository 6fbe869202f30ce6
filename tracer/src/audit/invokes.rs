//! Commands that apt and dpkg run before and after their work, by their configuration.
//!
//! Sources: apt.conf(5), dpkg.cfg(5).

use super::apt_conf::AptConf;
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

/// Reads them all.
pub(super) fn read(files: &mut Files) -> Vec<Job> {
    let mut jobs = Vec::new();
    for path in paths(files, "etc/apt/apt.conf.d", "etc/apt/apt.conf") {
        let text = files.text(&path).unwrap_or_default();
        let conf = AptConf::read(&text);
        for (key, when) in APT {
            let commands = conf.all(key).iter();
            jobs.extend(commands.filter_map(|command| job(&path, &text, command, when)));
        }
    }
    for path in paths(files, "etc/dpkg/dpkg.cfg.d", "etc/dpkg/dpkg.cfg") {
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

fn paths(files: &mut Files, folder: &str, file: &str) -> Vec<String> {
    let names = files.names(folder).into_iter();
    let mut paths: Vec<String> = names.map(|name| format!("{folder}/{name}")).collect();
    paths.push(file.to_owned());
    paths
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
