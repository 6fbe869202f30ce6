//! What a manager did in a row, by a log that has no ends.

use std::collections::{BTreeMap, BTreeSet};

use super::history::Action;
use super::log::Line;
use super::past::{SECOND, counted};
use super::zone::Zone;
use crate::event::Upgrade;

/// A line that is earlier than the one before it by more than so much, in ns, was written after the clock was set back: 5 s.
const SET_BACK: i64 = 5 * SECOND;
/// What `dpkg --unpack` says that it starts for.
const UNPACKS: &str = "archives unpack";

/// What a manager did in a row, by a log that has no ends.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) begun: i64,
    pub(super) last: i64,
    /// `None`: nothing but to configure it.
    pub(super) did: BTreeMap<String, Option<Action>>,
    /// Packages that it left unfinished, and whether in the midst of a step.
    undone: BTreeMap<String, bool>,
    /// It was to configure nothing: what it has unpacked is for another one to go on with.
    only_unpacks: bool,
    /// What it has unpacked so.
    unpacked: BTreeSet<String>,
    /// Nothing but its start is logged.
    is_idle: bool,
    /// It goes on: who holds the lock writes it.
    pub(super) is_open: bool,
}

impl Session {
    pub(super) fn begin(at: i64) -> Self {
        Self {
            begun: at,
            last: at,
            did: BTreeMap::new(),
            undone: BTreeMap::new(),
            only_unpacks: false,
            unpacked: BTreeSet::new(),
            is_idle: true,
            is_open: false,
        }
    }

    /// A line of this time is of another one, as the clock was set back in between: how long the two were apart nobody knows.
    pub(super) fn is_before_setting_back(&self, at: i64) -> bool {
        self.last.saturating_sub(at) > SET_BACK
    }

    /// It goes on at this time. A clock that is put right by a second takes nothing back.
    pub(super) fn goes_on(&mut self, at: i64) {
        self.last = self.last.max(at);
    }

    /// Whether something was done to a package that can be named: not where triggers were run and no more.
    pub(super) fn has_packages(&self) -> bool {
        !(self.did.is_empty() && self.undone.is_empty())
    }

    /// Whether a package was left in the midst of a step, and not just unpacked.
    pub(super) fn is_half_way(&self) -> bool {
        !self.is_open && self.undone.values().any(|is_half_way| *is_half_way)
    }

    pub(super) fn upgrade(&self) -> Upgrade {
        let has_ended = self.undone.is_empty() && !self.is_open;
        Upgrade {
            begun: self.begun,
            ended: has_ended.then_some(self.last),
            last: Some(self.last),
            in_work: self.is_open,
            ..counted(
                self.did
                    .iter()
                    .map(|(package, action)| (*action, package.as_str())),
            )
        }
    }
}

/// All that dpkg did, when the log begins, and how many lines are not dpkg's. `is_open`: who holds the lock writes the log.
pub(super) fn sessions(log: &str, zone: &Zone, is_open: bool) -> (Vec<Session>, Option<i64>, u64) {
    let mut sessions: Vec<Session> = Vec::new();
    let (mut since, mut before, mut odd) = (None, None, 0);
    for line in log.lines() {
        let dated = Line::dated(line).and_then(|(time, line)| Some((zone.read_after(time, before)?, line)));
        let Some((at, line)) = dated else {
            odd += 1;
            continue;
        };
        before = Some(at);
        since.get_or_insert(at);
        match (sessions.last_mut(), line) {
            // What the one before has left half-way it has left: who goes on with it is another one.
            (_, Line::Startup(mode)) => sessions.push(Session {
                only_unpacks: mode == UNPACKS,
                ..Session::begin(at)
            }),
            // What was half-way is so still.
            (Some(last), _) if last.is_before_setting_back(at) => {
                let undone = std::mem::take(&mut last.undone);
                let only_unpacks = last.only_unpacks;
                sessions.push(Session {
                    undone,
                    only_unpacks,
                    ..Session::begin(at)
                });
            }
            _ => {}
        }
        // What the log begins with may be the end of something.
        let Some(session) = sessions.last_mut() else {
            continue;
        };
        session.goes_on(at);
        session.is_idle &= matches!(line, Line::Startup(_));
        match line {
            Line::Action { action, package, .. } => {
                let action = match action {
                    "install" => Action::Install,
                    "reinstall" => Action::Reinstall,
                    "upgrade" => Action::Upgrade,
                    "remove" | "disappear" => Action::Remove,
                    "purge" => Action::Purge,
                    "configure" => {
                        session.did.entry(package.to_owned()).or_insert(None);
                        continue;
                    }
                    _ => continue,
                };
                session.did.insert(package.to_owned(), Some(action));
            }
            Line::Status { state, package } => {
                // Triggers are left for the next run, as apt does it.
                let is_done = matches!(
                    state,
                    "installed" | "config-files" | "not-installed" | "triggers-pending" | "triggers-awaited"
                );
                if session.only_unpacks && state == "unpacked" {
                    session.undone.remove(package);
                    session.unpacked.insert(package.to_owned());
                } else if is_done {
                    session.undone.remove(package);
                } else {
                    let is_half_way = state.starts_with("half-");
                    session.undone.insert(package.to_owned(), is_half_way);
                }
            }
            Line::Startup(_) | Line::ConfigurationFile { .. } => {}
        }
    }
    if let Some(last) = sessions.last_mut() {
        last.is_open = is_open;
    }
    leave_unpacked(&mut sessions);
    // A start at which nothing was done is none: dpkg writes it also when it finds nothing to do.
    sessions.retain(|session| !session.is_idle);
    (sessions, since, odd)
}

/// What was unpacked, and that no later run did anything with, is not finished: whether the one that was to go on with it was cut
/// off the log does not tell.
fn leave_unpacked(sessions: &mut [Session]) {
    let mut taken_up: BTreeSet<String> = BTreeSet::new();
    for session in sessions.iter_mut().rev() {
        let unpacked = std::mem::take(&mut session.unpacked).into_iter();
        let left = unpacked.filter(|package| !taken_up.contains(package));
        for package in left {
            session.undone.entry(package).or_insert(false);
        }
        taken_up.extend(session.did.keys().cloned());
    }
}
