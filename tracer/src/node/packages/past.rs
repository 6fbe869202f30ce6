//! What dpkg and apt have done, by their logs: also before the tracer started.
//!
//! apt writes what a run is to do when it begins, and its end. dpkg writes its start and each step, also of runs without
//! apt, but no end; apt starts it several times in a run. So what dpkg did in the time of a run of apt belongs to that, and
//! says when something was done last where the run told no end; of the rest each start of dpkg is a run of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Found;
use super::files::{self, Mark};
use super::history::{self, Action};
use super::log;
use super::rotated;
use super::sessions::{Session, sessions};
use super::watches::below;
use super::zone::Zone;
use crate::event::{Manager, Upgrade, Upgrades};

/// Bytes at the end of each log that are read, through its rotations: some thousand packages.
pub(super) const TAIL: u64 = 1 << 20;
/// Runs that are told at most, the latest.
const KEPT: usize = 64;
/// Packages that are named of each run at most.
const NAMED: usize = 8;
/// Characters of a command and the like that are told.
const TEXT: usize = 300;
/// Between what dpkg does in a run of apt that told no end, and before that since its begin, is at most so much, in ns:
/// 60 s. What comes later, somebody else did.
const WITHOUT_END: i64 = 60 * SECOND;
pub(super) const SECOND: i64 = 1_000_000_000;

/// Packages, by how their names begin, that carry or set up the network: they are named first.
const TELLING: [&str; 17] = [
    "systemd",
    "udev",
    "dbus",
    "network-manager",
    "netplan",
    "ifupdown",
    "cloud-init",
    "linux-image",
    "linux-modules",
    "iproute2",
    "iptables",
    "nftables",
    "libc6",
    "containerd",
    "docker",
    "kube",
    "openvswitch",
];

/// The logs of dpkg and apt.
#[derive(Debug)]
pub(super) struct Past {
    root: PathBuf,
    history: PathBuf,
    log: PathBuf,
    /// As they were when they were read last, and whether somebody was at work then.
    read: Option<(Option<Mark>, Option<Mark>, bool)>,
    /// What could not be read then.
    problems: Vec<String>,
}

impl Past {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            history: below(root, history::PATH),
            log: below(root, log::PATH),
            root: root.to_owned(),
            read: None,
            problems: Vec::new(),
        }
    }

    /// What they tell, if they may tell something new. While somebody is `at_work` dpkg's log grows all the time: then
    /// it is read again with apt's, and at the end.
    pub(super) fn look(&mut self, at_work: bool, found: &mut Found) {
        // What cannot be looked at cannot be read either, and that is told.
        let mark = |path: &Path| files::mark(path).ok().flatten();
        let now = (mark(&self.history), mark(&self.log), at_work);
        let is_same = self.read.is_some_and(|(history, log, was_at_work)| {
            history == now.0 && was_at_work == at_work && (at_work || log == now.1)
        });
        if !is_same {
            self.read = Some(now);
            found.upgrades.push(self.read_logs(at_work));
        }
        self.problems
            .iter()
            .for_each(|problem| found.problem(problem.clone()));
    }

    fn read_logs(&mut self, at_work: bool) -> Upgrades {
        let mut problems = Vec::new();
        let zone = Zone::of(&self.root).unwrap_or_else(|problem| {
            problems.push(format!("{problem}: times of past upgrades are taken for UTC"));
            Zone::utc()
        });
        let mut read = |log: &Path, what: &str| {
            let tail = rotated::end_of_log(log, TAIL);
            let which = if tail.text.is_empty() { "past" } else { "earlier" };
            let problem = tail.problem.into_iter();
            problems.extend(problem.map(|problem| format!("{problem}: {which} {what} are not known")));
            tail.text
        };
        let history = read(&self.history, "runs of apt");
        let log = read(&self.log, "runs of dpkg");
        let (upgrades, odd) = upgrades(&history, &log, &zone, at_work);
        if odd > 0 {
            problems.push(format!(
                "{odd} lines of {} and {} are not as dpkg and apt write them: past upgrades may be missing",
                self.log.display(),
                self.history.display()
            ));
        }
        self.problems = problems;
        upgrades
    }
}

/// What the logs tell, and how many lines of them are foreign or torn.
fn upgrades(history: &str, log: &str, zone: &Zone, at_work: bool) -> (Upgrades, u64) {
    let (mut sessions, since, mut odd) = sessions(log, zone);
    let mut runs: Vec<Upgrade> = Vec::new();
    for run in history::Run::all(history) {
        let before = runs.last().map(|last| last.ended.unwrap_or(last.begun));
        let upgrade = begun(&run, before, zone);
        // An end that is no time was torn by what ended the run.
        let is_whole = upgrade
            .as_ref()
            .is_some_and(|upgrade| upgrade.ended.is_some() == run.has_ended);
        odd += u64::from(!is_whole);
        runs.extend(upgrade);
    }
    runs.sort_by_key(|run: &Upgrade| run.begun);
    for run in &mut runs {
        sessions.retain(|session| !take(run, session));
    }
    sessions.retain(Session::has_packages);
    // dpkg may go on; but where a run of apt has begun since, that is at work.
    let open = runs
        .iter()
        .rev()
        .find(|run| run.ended.is_none())
        .map(|run| run.begun);
    let may_go_on = |session: &&mut Session| at_work && open.is_none_or(|begun| session.begun > begun);
    if let Some(last) = sessions.last_mut().filter(may_go_on) {
        last.is_open = true;
    }
    runs.extend(sessions.iter().map(Session::upgrade));
    (latest(Manager::Dpkg, since, runs), odd)
}

/// The latest of all runs that a log has, which begins at `since`; where there is no such log, another one had them.
pub(super) fn latest(manager: Manager, since: Option<i64>, mut runs: Vec<Upgrade>) -> Upgrades {
    runs.sort_by_key(|run| run.begun);
    let left_out = runs.len().saturating_sub(KEPT);
    runs.drain(..left_out);
    let first = runs.first().map(|run| run.begun);
    Upgrades {
        manager,
        since: if left_out > 0 { first } else { since.or(first) },
        runs,
    }
}

/// A run of apt, without what dpkg says of it. `before` is the last time that stands above it. `None` where its time cannot be
/// read.
fn begun(run: &history::Run, before: Option<i64>, zone: &Zone) -> Option<Upgrade> {
    let begun = zone.read_after(&run.begin, before)?;
    let steps = || {
        run.steps
            .iter()
            .map(|step| (Some(step.action), step.package.as_str()))
    };
    Some(Upgrade {
        begun,
        ended: zone.read_after(&run.end, Some(begun)),
        last: None,
        command: short(&run.command),
        requested_by: short(&run.requested_by),
        error: short(&run.error),
        ..counted(steps())
    })
}

/// Whether dpkg did this in that run of apt; then the run has it.
fn take(run: &mut Upgrade, session: &Session) -> bool {
    // Where the clock was set back meanwhile its end tells nothing.
    let is_of_it = match run.ended.filter(|ended| *ended >= run.begun) {
        Some(ended) => (run.begun..=ended).contains(&session.begun),
        None => {
            let last = run.last.unwrap_or(run.begun);
            (run.begun..=last.saturating_add(WITHOUT_END)).contains(&session.begun)
        }
    };
    if is_of_it {
        run.last = run.last.max(Some(session.last));
    }
    is_of_it
}

/// How many packages, and the names of some.
pub(super) fn counted<'a>(steps: impl Iterator<Item = (Option<Action>, &'a str)>) -> Upgrade {
    let mut upgrade = Upgrade::default();
    let mut orders: BTreeMap<&str, u8> = BTreeMap::new();
    for (action, package) in steps {
        let (order, count) = match action {
            Some(Action::Upgrade | Action::Downgrade) => (0, &mut upgrade.upgraded),
            Some(Action::Install | Action::Reinstall) => (1, &mut upgrade.installed),
            Some(Action::Remove | Action::Purge) => (2, &mut upgrade.removed),
            None => (3, &mut upgrade.configured),
        };
        *count = count.saturating_add(1);
        // One package of two architectures has one name.
        let name = package.split(':').next().unwrap_or_default();
        orders
            .entry(name)
            .and_modify(|known| *known = order.min(*known))
            .or_insert(order);
    }
    let place = |name: &str| {
        TELLING
            .iter()
            .position(|telling| name.starts_with(telling))
            .unwrap_or(TELLING.len())
    };
    let mut names: Vec<&str> = orders.keys().copied().collect();
    // The sort is stable: else by name.
    names.sort_by_key(|name| (place(name), orders.get(name).copied()));
    upgrade.more = u32::try_from(names.len().saturating_sub(NAMED)).unwrap_or(u32::MAX);
    upgrade.names = names.into_iter().take(NAMED).map(short).collect();
    upgrade
}

fn short(text: &str) -> String {
    text.chars().take(TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::super::zone;
    use super::*;

    const HISTORY: &str = "
Start-Date: 2023-10-07  06:14:05
Commandline: apt-get install -y tmux
Requested-By: ann (1000)
Install: tmux:amd64 (3.3a-3), libutempter0:amd64 (1.2.1-3, automatic)
End-Date: 2023-10-07  06:14:09

Start-Date: 2023-10-08  06:14:05
Commandline: /usr/bin/unattended-upgrade
Install: linux-image-6.1.0-14-amd64:amd64 (6.1.58-1, automatic)
Upgrade: tzdata:amd64 (2023a, 2023c), systemd:amd64 (252.16-1, 252.17-1)
Remove: old:amd64 (1)
";

    const LOG: &str = "\
2023-10-07 06:14:05 status installed tail:all 1
2023-10-07 06:14:06 startup archives unpack
2023-10-07 06:14:06 install tmux:amd64 <none> 3.3a-3
2023-10-07 06:14:06 status half-installed tmux:amd64 3.3a-3
2023-10-07 06:14:06 status unpacked tmux:amd64 3.3a-3
2023-10-07 06:14:07 startup packages configure
2023-10-07 06:14:08 status installed tmux:amd64 3.3a-3
2023-10-07 08:00:00 startup archives install
2023-10-07 08:00:00 upgrade own:all 1 2
2023-10-07 08:00:00 status half-configured own:all 1
2023-10-07 08:00:03 status installed own:all 2
2023-10-08 06:14:06 startup archives unpack
2023-10-08 06:14:06 upgrade systemd:amd64 252.16-1 252.17-1
2023-10-08 06:14:20 status half-configured systemd:amd64 252.17-1
2023-10-08 06:30:00 startup packages configure
2023-10-08 06:30:00 configure systemd:amd64 252.17-1 <none>
2023-10-08 06:30:00 status half-configured systemd:amd64 252.17-1
2023-10-08 06:30:02 status installed systemd:amd64 252.17-1
2023-10-08 06:40:00 startup packages configure
";

    /// 2023-10-07 00:00:00 UTC, in s.
    const DAY: i64 = 1_696_636_800;

    /// In s since that day, and what is told of it.
    fn spans(upgrades: &Upgrades) -> Vec<(i64, Option<i64>, Option<i64>)> {
        let time = |at: i64| at / SECOND - DAY;
        let runs = upgrades.runs.iter();
        runs.map(|run| (time(run.begun), run.ended.map(time), run.last.map(time)))
            .collect()
    }

    fn at(hour: i64, minute: i64, second: i64) -> i64 {
        (hour * 60 + minute) * 60 + second
    }

    #[test]
    fn runs_of_apt_have_what_dpkg_did_in_them_and_others_are_runs_of_their_own() {
        let (upgrades, odd) = upgrades(HISTORY, LOG, &Zone::utc(), false);
        assert_eq!(odd, 0);
        assert_eq!(upgrades.since, Some((DAY + at(6, 14, 5)) * SECOND));
        assert_eq!(
            spans(&upgrades),
            [
                (at(6, 14, 5), Some(at(6, 14, 9)), Some(at(6, 14, 8))),
                (at(8, 0, 0), Some(at(8, 0, 3)), Some(at(8, 0, 3))),
                // It told no end; what was put right later is not of it.
                (at(30, 14, 5), None, Some(at(30, 14, 20))),
                (at(30, 30, 0), Some(at(30, 30, 2)), Some(at(30, 30, 2))),
            ]
        );
        let [first, own, cut, _] = &upgrades.runs[..] else {
            panic!("{upgrades:?}");
        };
        assert_eq!(
            (
                first.command.as_str(),
                first.requested_by.as_str(),
                first.installed
            ),
            ("apt-get install -y tmux", "ann (1000)", 2)
        );
        assert_eq!(
            (own.command.as_str(), own.upgraded, own.names[0].as_str()),
            ("", 1, "own")
        );
        assert_eq!((cut.installed, cut.upgraded, cut.removed), (1, 2, 1));
        // What carries the network first, then upgrades.
        assert_eq!(
            cut.names,
            ["systemd", "linux-image-6.1.0-14-amd64", "tzdata", "old"]
        );
    }

    #[test]
    fn what_dpkg_is_at_work_on_has_not_ended() {
        let log = "2023-10-07 08:00:00 startup archives install\n2023-10-07 08:00:00 install a:all <none> 1\n\
                   2023-10-07 08:00:01 status installed a:all 1\n";
        let ended = |at_work| upgrades("", log, &Zone::utc(), at_work).0.runs[0].ended;
        assert_eq!(ended(false), Some((DAY + at(8, 0, 1)) * SECOND));
        assert_eq!(ended(true), None);
        // apt has begun since, and its dpkg has not.
        let apt = "Start-Date: 2023-10-07  08:10:00\nCommandline: apt-get upgrade\n";
        let runs = upgrades(apt, log, &Zone::utc(), true).0.runs;
        assert_eq!(runs[0].ended, Some((DAY + at(8, 0, 1)) * SECOND));
        assert_eq!(runs[1].ended, None);
        // Killed on its way.
        let torn = log.replace("status installed", "status half-installed");
        assert_eq!(upgrades("", &torn, &Zone::utc(), false).0.runs[0].ended, None);
    }

    #[test]
    fn a_package_that_dpkg_unpacked_over_the_same_version_is_not_upgraded() {
        let log = "2023-10-07 06:14:05 startup archives unpack\n\
                   2023-10-07 06:14:05 upgrade tmux:amd64 3.3a-3 3.3a-3\n\
                   2023-10-07 06:14:05 upgrade bash:amd64 5.2-1 5.2-2\n";
        let (upgrades, odd) = upgrades("", log, &Zone::utc(), false);
        let run = &upgrades.runs[0];
        assert_eq!((run.installed, run.upgraded, odd), (1, 1, 0));
    }

    #[test]
    fn foreign_and_torn_lines_are_counted_and_harm_no_others() {
        let log = format!(
            "\0\0\0\n\u{fffd}\u{fffd}\n2023-10-07 06:1{LOG}2023-10-09 99:00:00 startup x y\n2023-10-09 0"
        );
        let history = format!(
            "End-Date: x\n\nStart-Date: soon\nUpgrade: a:amd64 (1, 2)\n{HISTORY}Upgrade: torn:amd64 ("
        );
        let (upgrades, odd) = upgrades(&history, &log, &Zone::utc(), false);
        assert_eq!((upgrades.runs.len(), odd), (4, 6));
        let (nothing, odd) = super::upgrades("", "", &Zone::utc(), false);
        assert_eq!((nothing.runs.len(), nothing.since, odd), (0, None, 0));
    }

    /// 2026-10-25: at 03:00 it is 02:00 once more.
    #[test]
    fn the_hour_that_comes_twice_is_told_by_the_order_of_the_lines() {
        let log = "2026-10-25 02:50:00 startup archives unpack\n\
                   2026-10-25 02:50:00 upgrade aaa:amd64 1 2\n\
                   2026-10-25 02:50:00 status installed aaa:amd64 2\n\
                   2026-10-25 02:10:00 startup archives unpack\n\
                   2026-10-25 02:10:00 upgrade bbb:amd64 1 2\n\
                   2026-10-25 02:10:03 status installed bbb:amd64 2\n";
        let history = "Start-Date: 2026-10-25  02:55:00\nCommandline: apt-get install x\n\
                       End-Date: 2026-10-25  02:05:00\n\n";
        let minutes = |zone: &Zone, history: &str| -> Vec<_> {
            /// 2026-10-25 00:00:00 UTC, in s.
            const NIGHT: i64 = 1_792_886_400;
            let time = |at: i64| (at / SECOND - NIGHT) / 60;
            let (upgrades, _) = upgrades(history, log, zone, false);
            let runs = upgrades.runs.into_iter();
            runs.map(|run| (time(run.begun), run.ended.map(time), run.names.join(" ")))
                .collect()
        };
        let run = |begun, ended, names: &str| (begun, Some(ended), names.to_owned());
        let berlin = zone::tests::berlin();
        assert_eq!(
            minutes(&berlin, history),
            [run(50, 50, "aaa"), run(55, 65, ""), run(70, 70, "bbb")]
        );
        // In any other hour it is the clock that was set back.
        assert_eq!(
            minutes(&Zone::utc(), history),
            [run(130, 130, "bbb"), run(170, 170, "aaa"), run(175, 125, "")]
        );
    }

    #[test]
    fn a_clock_that_is_set_back_within_a_run_leaves_nothing_half_way() {
        let log = "2023-10-07 06:14:00 startup archives unpack\n\
                   2023-10-07 06:14:00 upgrade aaa:amd64 1 2\n\
                   2023-10-07 06:14:02 status half-configured aaa:amd64 1\n\
                   2023-10-07 05:14:03 status installed aaa:amd64 2\n\
                   2023-10-07 05:14:03 upgrade bbb:amd64 1 2\n\
                   2023-10-07 05:14:04 status installed bbb:amd64 2\n";
        let (upgrades, _) = upgrades("", log, &Zone::utc(), false);
        assert_eq!(
            spans(&upgrades),
            [
                (at(5, 14, 3), Some(at(5, 14, 4)), Some(at(5, 14, 4))),
                (at(6, 14, 0), Some(at(6, 14, 2)), Some(at(6, 14, 2))),
            ]
        );
    }

    /// Killed at the script after the unpacking, put right, killed at the script before it, and removed.
    #[test]
    fn each_start_of_dpkg_is_told_by_itself_however_soon_it_comes() {
        let log = "2023-10-07 08:50:02 startup archives install\n\
                   2023-10-07 08:50:02 install tiny:all <none> 1.0\n\
                   2023-10-07 08:50:02 status half-installed tiny:all 1.0\n\
                   2023-10-07 08:50:02 status unpacked tiny:all 1.0\n\
                   2023-10-07 08:50:02 configure tiny:all 1.0 <none>\n\
                   2023-10-07 08:50:02 status half-configured tiny:all 1.0\n\
                   2023-10-07 08:50:07 startup packages configure\n\
                   2023-10-07 08:50:07 configure tiny:all 1.0 <none>\n\
                   2023-10-07 08:50:07 status half-configured tiny:all 1.0\n\
                   2023-10-07 08:50:14 status installed tiny:all 1.0\n\
                   2023-10-07 08:50:15 startup archives install\n\
                   2023-10-07 08:50:15 upgrade tiny:all 1.0 2.0\n\
                   2023-10-07 08:50:15 status half-configured tiny:all 1.0\n\
                   2023-10-07 08:50:15 status unpacked tiny:all 1.0\n\
                   2023-10-07 08:50:15 status half-installed tiny:all 1.0\n\
                   2023-10-07 08:50:20 startup packages remove\n\
                   2023-10-07 08:50:20 remove tiny:all 1.0 <none>\n\
                   2023-10-07 08:50:20 status half-installed tiny:all 1.0\n\
                   2023-10-07 08:50:20 status not-installed tiny:all <none>\n";
        let (upgrades, odd) = upgrades("", log, &Zone::utc(), false);
        let at = |second| at(8, 50, second);
        assert_eq!(
            spans(&upgrades),
            [
                (at(2), None, Some(at(2))),
                (at(7), Some(at(14)), Some(at(14))),
                (at(15), None, Some(at(15))),
                (at(20), Some(at(20)), Some(at(20))),
            ]
        );
        let counts = upgrades
            .runs
            .iter()
            .map(|run| (run.installed, run.configured, run.upgraded, run.removed));
        let counts: Vec<_> = counts.collect();
        assert_eq!(
            counts,
            [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)],
            "{odd} odd lines"
        );
    }

    /// `dpkg --unpack` has done what it was told to.
    #[test]
    fn what_was_only_to_be_unpacked_is_not_left_half_way() {
        let log = "2023-10-07 08:50:02 startup archives unpack\n\
                   2023-10-07 08:50:02 install tiny:all <none> 1.0\n\
                   2023-10-07 08:50:02 status half-installed tiny:all 1.0\n\
                   2023-10-07 08:50:03 status unpacked tiny:all 1.0\n";
        let ended = |log: &str| upgrades("", log, &Zone::utc(), false).0.runs[0].ended.is_some();
        assert!(ended(log));
        assert!(!ended(&log.replace("archives unpack", "archives install")));
        assert!(!ended(&log.replace("status unpacked", "status half-installed")));
    }

    /// Who is named is counted as what was done to him.
    #[test]
    fn what_was_only_configured_is_counted_as_that() {
        let log = "2023-10-07 06:14:00 startup packages purge\n\
                   2023-10-07 06:14:00 purge s6-pre:all 1 <none>\n\
                   2023-10-07 06:14:00 status not-installed s6-pre:all <none>\n\
                   2023-10-07 06:14:04 configure s6-post:all 1 <none>\n\
                   2023-10-07 06:14:04 status installed s6-post:all 1\n";
        let (upgrades, _) = upgrades("", log, &Zone::utc(), false);
        let run = &upgrades.runs[0];
        assert_eq!((run.removed, run.configured), (1, 1));
        assert_eq!(run.names, ["s6-pre", "s6-post"]);
    }

    #[test]
    fn the_latest_runs_are_kept_and_a_long_command_is_cut() {
        let run = |second: usize| {
            let command = "x".repeat(1000);
            format!(
                "Start-Date: 2023-10-07  00:{:02}:{:02}\nCommandline: {command}\n\n",
                second / 60,
                second % 60
            )
        };
        let history: String = (0..KEPT + 3).map(run).collect();
        let (upgrades, _) = upgrades(&history, "", &Zone::utc(), false);
        assert_eq!(upgrades.runs.len(), KEPT);
        assert_eq!(upgrades.since, Some((DAY + 3) * SECOND));
        assert!(
            upgrades
                .runs
                .iter()
                .all(|run| run.command.len() == TEXT && run.names.is_empty())
        );
    }
}
