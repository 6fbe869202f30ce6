//! What starts by itself and is no unit: jobs of cron and at(1), rules of udev, scripts that others start.

use std::collections::BTreeSet;

use super::apt_conf::AptConf;
use super::commands::{self, Said};
use super::cron::{self, Crontab, Form};
use super::files::{Files, Kind};
use super::hooks::{self, AT_SPOOLS, Hook, INTERFACES, LOGROTATE};
use super::units::Units;
use super::{Idle, bus, invokes, search, sysv, udev, users};
use crate::model::clock::rfc3339;

/// Folders of scripts that cron starts by run-parts, and how often.
const PERIODS: [(&str, &str); 4] = [
    ("etc/cron.hourly", "hourly"),
    ("etc/cron.daily", "daily"),
    ("etc/cron.weekly", "weekly"),
    ("etc/cron.monthly", "monthly"),
];
/// Lines of a crontab that never run and are told one by one, at most: a file that is none may have hundreds.
const MOST_NEVER: usize = 10;
/// Where the crontabs of users are: on Debian, SUSE, Red Hat.
const SPOOLS: [&str; 3] = ["var/spool/cron/crontabs", "var/spool/cron/tabs", "var/spool/cron"];
/// Units that go by crontabs.
const CRONS: [&str; 7] = [
    "anacron.service",
    "anacron.timer",
    "bcron.service",
    "cron.service",
    "cron.target",
    "cronie.service",
    "crond.service",
];
/// Where udev has its rules, what counts most first (udev(7)).
const RULES: [&str; 5] = [
    "etc/udev/rules.d",
    "run/udev/rules.d",
    "usr/local/lib/udev/rules.d",
    "usr/lib/udev/rules.d",
    "lib/udev/rules.d",
];

/// Something that is started and is no unit.
#[derive(Clone, Debug, Default)]
pub(super) struct Job {
    /// The file that it is in, or is.
    pub(super) file: String,
    /// The line that has it, from 1; 0 where the whole file is a script.
    pub(super) line: usize,
    /// When it is started.
    pub(super) schedule: String,
    /// So much is added to its time at random, at most; empty for nothing.
    pub(super) random_delay: String,
    /// What was missed while the node was off is made up for.
    pub(super) persistent: bool,
    /// What its command line or script says.
    pub(super) said: Said,
    /// What starts it ends it after a time.
    pub(super) has_limit: bool,
    /// Units that it starts.
    pub(super) units: Vec<String>,
    /// It does nothing as the node is configured now.
    pub(super) idle: Option<Idle>,
    /// How it can be turned off.
    pub(super) off: Off,
}

/// How a job can be turned off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Off {
    /// By a `#` before its line.
    #[default]
    Comment,
    /// By a `#` before all its lines, to this one.
    CommentTo(usize),
    /// By a file that nobody may execute.
    NotExecutable,
    /// By a link to that which is taken away: what it leads to may be run by others, and be none of the image.
    RemoveLink(String),
    /// By a file of another name.
    Rename,
    /// By this job of at(1) that is taken away.
    AtJob(u64),
    /// By that unit that is masked.
    MaskUnit(String),
    /// By that unit that is masked for all users.
    MaskOfAll(String),
    /// By that unit of a user that is disabled, whose manager runs where one is named; by these links that are taken away.
    DisableOf {
        unit: String,
        user: Option<String>,
        links: Vec<String>,
    },
    /// By rules of udev of that name that are masked: a package would bring the file back.
    MaskRules(String),
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Jobs {
    pub(super) jobs: Vec<Job>,
    /// Lines of crontabs that never run, in words.
    pub(super) never: Vec<String>,
}

/// Reads all jobs of a node.
pub(super) fn read(files: &mut Files, units: &Units, apt: &AptConf) -> Jobs {
    let mut found = Jobs::default();
    found.read_crontabs(files, units);
    found.read_periods(files, units);
    found.read_at(files, units);
    found.read_rules(files);
    found.jobs.extend(bus::read(files, units));
    found.jobs.extend(users::read(files));
    found.jobs.extend(sysv::read(files, units));
    found.jobs.extend(invokes::read(files, apt));
    // A generator of systemd makes a unit of that file: on a node that runs it is told as one.
    let has_rc_local = is_enabled(units, &["rc-local.service"]);
    for hook in hooks::all().filter(|hook| hook.path != "etc/rc.local" || !has_rc_local) {
        found.read_hook(files, units, &hook);
    }
    found.read_interfaces(files);
    for name in files.names(LOGROTATE) {
        let text = files.text(&format!("{LOGROTATE}/{name}")).unwrap_or_default();
        for (line, last, script) in hooks::rotations(&text) {
            found.jobs.push(Job {
                file: format!("/{LOGROTATE}/{name}"),
                line,
                schedule: hooks::ROTATED.to_owned(),
                said: commands::read(&script),
                off: Off::CommentTo(last),
                ..Job::default()
            });
        }
    }
    found
}

fn is_enabled(units: &Units, names: &[&str]) -> bool {
    names
        .iter()
        .any(|name| units.get(*name).is_some_and(|unit| unit.enabled && !unit.masked))
}

impl Jobs {
    fn read_crontabs(&mut self, files: &mut Files, units: &Units) {
        let debian = files.has("etc/debian_version");
        // Debian's cron leaves out a whole file for one line that it does not understand, others only the line.
        let takes_all = debian && is_enabled(units, &["cron.service"]);
        let passwd = files.text("etc/passwd").unwrap_or_default();
        let users = cron::users(&passwd, &files.text("etc/nsswitch.conf").unwrap_or_default());
        let mut tabs = vec![
            ("etc/crontab".to_owned(), Form::System),
            ("etc/anacrontab".to_owned(), Form::Anacron),
        ];
        for (folder, form) in [("etc/cron.d", Form::System)]
            .into_iter()
            .chain(SPOOLS.map(|folder| (folder, Form::User)))
        {
            let names = files.names(folder).into_iter();
            // What is a user's name may have any form.
            let taken = names.filter(|name| form == Form::User || cron::takes(name, debian));
            tabs.extend(taken.map(|name| (format!("{folder}/{name}"), form)));
        }
        for (path, form) in tabs {
            let Some(text) = files.text(&path) else { continue };
            let mut crontab = cron::read(&text, form, users.as_ref());
            if takes_all && form != Form::Anacron && !text.is_empty() && !text.ends_with('\n') {
                let why = "its end has no line break".to_owned();
                crontab.refused.push((text.lines().count(), why));
            }
            self.add_crontab(files, units, &format!("/{path}"), crontab, form, takes_all);
        }
    }

    fn add_crontab(
        &mut self,
        files: &Files,
        units: &Units,
        file: &str,
        crontab: Crontab,
        form: Form,
        takes_all: bool,
    ) {
        let all = takes_all && form != Form::Anacron && !crontab.refused.is_empty();
        let loss = if all {
            "cron leaves out the whole file"
        } else {
            "that line is never run"
        };
        let never: BTreeSet<usize> = crontab.never.iter().map(|(line, _)| *line).collect();
        let refused = crontab.refused.into_iter();
        let times = crontab.never.into_iter();
        let mut all_never: Vec<(usize, String, &str)> = refused
            .map(|(line, why)| (line, why, loss))
            .chain(times.map(|(line, why)| (line, why, "that line is never run")))
            .collect();
        all_never.sort_by_key(|(line, ..)| *line);
        let told = all_never.into_iter();
        let more = told.len().saturating_sub(MOST_NEVER);
        self.never.extend(
            told.take(MOST_NEVER)
                .map(|(line, why, loss)| format!("{file}:{line}: {why}: {loss}")),
        );
        if more > 0 {
            self.never.push(format!(
                "{file}: {more} more lines of it are refused or their time never comes"
            ));
        }
        for entry in crontab.entries {
            let mut said = commands::read(&entry.script());
            search::along(&mut said, &entry.search, |path| files.has(path));
            self.jobs.push(Job {
                file: file.to_owned(),
                line: entry.line,
                schedule: entry.schedule,
                random_delay: entry.random_delay,
                persistent: form == Form::Anacron,
                said,
                idle: if all || never.contains(&entry.line) {
                    Some(Idle::NeverRuns)
                } else {
                    by_cron(units, &entry.command)
                },
                ..Job::default()
            });
        }
    }

    fn read_periods(&mut self, files: &mut Files, units: &Units) {
        let debian = files.has("etc/debian_version");
        let catches_up = is_enabled(units, &["anacron.service", "anacron.timer"])
            || files.has("etc/anacrontab") && files.has("etc/cron.hourly/0anacron");
        for (folder, period) in PERIODS {
            for name in files.names(folder) {
                let path = format!("{folder}/{name}");
                let file = cron::takes(&name, debian)
                    .then(|| files.read(&path, Kind::Script))
                    .flatten();
                if let Some(script) = file.filter(|file| file.executable) {
                    self.jobs.push(Job {
                        file: format!("/{path}"),
                        schedule: period.to_owned(),
                        persistent: catches_up && period != "hourly",
                        said: commands::read(&script.text),
                        idle: by_cron(units, &script.text),
                        off: not_executable(files, &path),
                        ..Job::default()
                    });
                }
            }
        }
    }

    fn read_at(&mut self, files: &mut Files, units: &Units) {
        for spool in AT_SPOOLS {
            for name in files.names(spool) {
                let Some((number, minutes)) = hooks::at_job(&name) else {
                    continue;
                };
                let path = format!("{spool}/{name}");
                let Some(text) = files.text(&path) else { continue };
                self.jobs.push(Job {
                    file: format!("/{path}"),
                    schedule: format!("at {}", rfc3339(i128::from(minutes) * 60_000_000_000)),
                    said: commands::read(&hooks::at_commands(&text)),
                    idle: (!is_enabled(units, &["atd.service"])).then_some(Idle::NotStarted),
                    off: Off::AtJob(number),
                    ..Job::default()
                });
            }
        }
    }

    fn read_rules(&mut self, files: &mut Files) {
        let mut known = BTreeSet::new();
        for folder in RULES {
            for name in files.names(folder) {
                // Of two files of one name the first counts, also where it is masked.
                if !name.ends_with(".rules") || !known.insert(name.clone()) {
                    continue;
                }
                let text = files.text(&format!("{folder}/{name}")).unwrap_or_default();
                for rule in udev::rules(&text) {
                    let mut said = commands::read(&rule.commands.join("\n"));
                    // Rules come with packages for others that may be missing.
                    said.runs.clear();
                    self.jobs.push(Job {
                        file: format!("/{folder}/{name}"),
                        line: rule.line,
                        schedule: format!("udev: {}", rule.when),
                        said,
                        // 3 min (udev.conf(5): event_timeout).
                        has_limit: true,
                        units: rule.units,
                        off: if folder == RULES[0] {
                            Off::Comment
                        } else {
                            Off::MaskRules(name.clone())
                        },
                        ..Job::default()
                    });
                }
            }
        }
    }

    fn read_interfaces(&mut self, files: &mut Files) {
        let mut paths = vec![INTERFACES.to_owned()];
        let folder = format!("{INTERFACES}.d");
        let main = files.text(INTERFACES).unwrap_or_default();
        if commands::code(&main).any(|line| line.contains(&folder) || line.contains("source interfaces.d")) {
            paths.extend(
                files
                    .names(&folder)
                    .into_iter()
                    .map(|name| format!("{folder}/{name}")),
            );
        }
        for path in paths {
            let text = files.text(&path).unwrap_or_default();
            for (line, last, when, command) in hooks::commands_of_interfaces(&text) {
                self.jobs.push(Job {
                    file: format!("/{path}"),
                    line,
                    schedule: when.to_owned(),
                    said: commands::read(&command),
                    off: if last == line {
                        Off::Comment
                    } else {
                        Off::CommentTo(last)
                    },
                    ..Job::default()
                });
            }
        }
    }

    fn read_hook(&mut self, files: &mut Files, units: &Units, hook: &Hook) {
        let names = files.names(&hook.path).into_iter();
        let paths: Vec<String> = if files.is_folder(&hook.path) {
            names.map(|name| format!("{}/{name}", hook.path)).collect()
        } else {
            vec![hook.path.clone().into_owned()]
        };
        for path in paths {
            // What reads these leaves out such names: so they are turned off.
            if hook.sourced && path.ends_with('~') {
                continue;
            }
            let kind = if hook.sourced { Kind::Text } else { Kind::Script };
            let Some(script) = files.read(&path, kind) else {
                continue;
            };
            if !script.executable && !hook.sourced {
                continue;
            }
            self.jobs.push(Job {
                file: format!("/{path}"),
                schedule: hook.when.to_owned(),
                said: commands::read(&script.text),
                idle: (!hook.by.is_empty() && !is_enabled(units, hook.by)).then_some(Idle::NotStarted),
                off: if hook.sourced {
                    Off::Rename
                } else {
                    not_executable(files, &path)
                },
                ..Job::default()
            });
        }
    }
}

/// How a script is turned off that is run where it may be executed.
fn not_executable(files: &Files, path: &str) -> Off {
    files.link(path).map_or(Off::NotExecutable, Off::RemoveLink)
}

/// Why a job of cron does nothing.
fn by_cron(units: &Units, text: &str) -> Option<Idle> {
    if !is_enabled(units, &CRONS) {
        Some(Idle::NoCron)
    } else if cron::leaves_it_to_systemd(text) {
        Some(Idle::LeftToSystemd)
    } else {
        None
    }
}
