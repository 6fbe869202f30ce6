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

/// Where nobody is at work, and the node's time is UTC.
fn upgrades(history: &str, log: &str) -> (Upgrades, u64) {
    let (upgrades, _, odd) = super::upgrades(history, log, &Zone::utc(), AtWork::default());
    (upgrades, odd)
}

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
    let (upgrades, odd) = upgrades(HISTORY, LOG);
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
fn what_who_holds_the_lock_is_at_work_on_has_not_ended() {
    let log = "2023-10-07 08:00:00 startup archives install\n2023-10-07 08:00:00 install a:all <none> 1\n\
               2023-10-07 08:00:01 status installed a:all 1\n";
    let ended = (DAY + at(8, 0, 1)) * SECOND;
    let of = |history: &str, log: &str, on_log, on_history| -> Vec<_> {
        let at_work = AtWork { on_log, on_history };
        let (upgrades, ..) = super::upgrades(history, log, &Zone::utc(), at_work);
        let runs = upgrades.runs.into_iter();
        runs.map(|run| (run.ended, run.in_work)).collect()
    };
    assert_eq!(of("", log, false, false), [(Some(ended), false)], "or by another");
    assert_eq!(of("", log, true, false), [(None, true)]);
    // Killed on its way.
    let torn = log.replace("status installed", "status half-installed");
    assert_eq!(of("", &torn, false, false), [(None, false)]);
    // apt has begun since, and its dpkg has not.
    let apt = "Start-Date: 2023-10-07  08:10:00\nCommandline: apt-get upgrade\nUpgrade: b:amd64 (1, 2)\n";
    assert_eq!(of(apt, log, false, true), [(Some(ended), false), (None, true)]);
    assert_eq!(
        of(apt, log, false, false),
        [(Some(ended), false), (None, false)],
        "it was killed, and another one holds the lock"
    );
    // Its dpkg goes on without it.
    let goes_on = format!(
        "{log}2023-10-07 08:10:00 startup archives unpack\n2023-10-07 08:10:01 upgrade b:amd64 1 2\n"
    );
    assert_eq!(
        of(apt, &goes_on, true, false),
        [(Some(ended), false), (None, true)]
    );
    // One that starts in the second of its end is another one, as that has ended.
    let end = format!("{apt}End-Date: 2023-10-07  08:10:00\n");
    let apt_ended = Some((DAY + at(8, 10, 0)) * SECOND);
    assert_eq!(
        of(&end, &goes_on, true, false),
        [(Some(ended), false), (apt_ended, false), (None, true)]
    );
}

/// A run of apt was killed while its dpkg configured, what it left was put right, and then others changed packages.
#[test]
fn what_follows_a_run_that_was_killed_is_not_of_it() {
    let history = "Start-Date: 2023-10-07  08:00:00\nCommandline: apt-get install slow quick\n\
                   Install: quick:amd64 (1)\nUpgrade: slow:amd64 (1, 2)\n";
    let apt = "2023-10-07 08:00:01 startup archives unpack\n\
               2023-10-07 08:00:01 install quick:all <none> 1\n\
               2023-10-07 08:00:01 status unpacked quick:all 1\n\
               2023-10-07 08:00:01 upgrade slow:all 1 2\n\
               2023-10-07 08:00:01 status unpacked slow:all 2\n\
               2023-10-07 08:00:02 startup packages configure\n\
               2023-10-07 08:00:02 configure slow:all 2 <none>\n\
               2023-10-07 08:00:02 status half-configured slow:all 2\n";
    let mended = "2023-10-07 08:00:05 startup packages configure\n\
                  2023-10-07 08:00:05 configure slow:all 2 <none>\n\
                  2023-10-07 08:00:06 status installed slow:all 2\n\
                  2023-10-07 08:00:06 configure quick:all 1 <none>\n\
                  2023-10-07 08:00:06 status installed quick:all 1\n";
    let purged = "2023-10-07 08:00:08 startup packages purge\n\
                  2023-10-07 08:00:08 remove quick:all 1 <none>\n\
                  2023-10-07 08:00:08 status not-installed quick:all <none>\n";
    let of = |log: &[&str]| {
        let (upgrades, changed, _) = super::upgrades(history, &log.concat(), &Zone::utc(), AtWork::default());
        let changed: Vec<String> = changed.into_iter().collect();
        (spans(&upgrades), changed.join(" "))
    };
    let at = |second| at(8, 0, second);
    let killed = (at(0), None, Some(at(2)));
    let by_hand = (at(5), Some(at(6)), Some(at(6)));
    assert_eq!(of(&[apt]), (vec![killed], String::new()));
    // Nobody knows of it that it changed more than how far packages are.
    assert_eq!(of(&[apt, mended]), (vec![killed, by_hand], String::new()));
    let purge = (at(8), Some(at(8)), Some(at(8)));
    assert_eq!(
        of(&[apt, mended, purged]),
        (vec![killed, by_hand, purge], "quick".to_owned())
    );
    // Where dpkg was not killed in the midst of a package, apt might have done the next one itself, but no other.
    let (unpacked, _) = apt.split_at(apt.find("2023-10-07 08:00:02").unwrap());
    assert_eq!(
        of(&[unpacked, purged]),
        (vec![(at(0), None, Some(at(1))), purge], "quick".to_owned())
    );
    let again = unpacked.replace("08:00:01", "08:00:03");
    let twice = (at(3), None, Some(at(3)));
    assert_eq!(
        of(&[unpacked, &again]),
        (vec![(at(0), None, Some(at(1))), twice], "quick slow".to_owned())
    );
    let later = mended.replace("08:00:0", "08:00:2");
    let late = (at(25), Some(at(26)), Some(at(26)));
    assert_eq!(of(&[unpacked, &later]).0, [(at(0), None, Some(at(1))), late]);
}

#[test]
fn a_package_that_dpkg_unpacked_over_the_same_version_is_not_upgraded() {
    let log = "2023-10-07 06:14:05 startup archives unpack\n\
               2023-10-07 06:14:05 upgrade tmux:amd64 3.3a-3 3.3a-3\n\
               2023-10-07 06:14:05 upgrade bash:amd64 5.2-1 5.2-2\n";
    let (upgrades, odd) = upgrades("", log);
    let run = &upgrades.runs[0];
    assert_eq!((run.installed, run.upgraded, odd), (1, 1, 0));
}

#[test]
fn foreign_and_torn_lines_are_counted_and_harm_no_others() {
    let log = format!(
        "\0\0\0\n\u{fffd}\u{fffd}\n2023-10-07 06:1{LOG}2023-10-09 99:00:00 startup x y\n2023-10-09 0"
    );
    let history =
        format!("End-Date: x\n\nStart-Date: soon\nUpgrade: a:amd64 (1, 2)\n{HISTORY}Upgrade: torn:amd64 (");
    let (upgrades, odd) = upgrades(&history, &log);
    assert_eq!((upgrades.runs.len(), odd), (4, 6));
    let (nothing, odd) = super::tests::upgrades("", "");
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
        let (upgrades, ..) = super::upgrades(history, log, zone, AtWork::default());
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
    let (upgrades, _) = upgrades("", log);
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
    let (upgrades, odd) = upgrades("", log);
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

/// It is not said to have been installed, and `dpkg --unpack` has done what it was told to where another run goes on with it.
#[test]
fn what_was_only_unpacked_is_done_when_another_run_takes_it_up() {
    let log = "2023-10-07 08:50:02 startup archives unpack\n\
               2023-10-07 08:50:02 install tiny:all <none> 1.0\n\
               2023-10-07 08:50:02 status half-installed tiny:all 1.0\n\
               2023-10-07 08:50:03 status unpacked tiny:all 1.0\n";
    let ended = |log: &str| upgrades("", log).0.runs[0].ended.is_some();
    let then = |package: &str| {
        format!(
            "{log}2023-10-07 08:50:05 startup packages configure\n\
             2023-10-07 08:50:05 configure {package}:all 1.0 <none>\n"
        )
    };
    assert!(!ended(log));
    assert!(!ended(&then("other")));
    assert!(ended(&then("tiny")));
    assert!(!ended(
        &then("tiny").replace("archives unpack", "archives install")
    ));
    assert!(!ended(
        &then("tiny").replace("status unpacked", "status half-installed")
    ));
}

/// Who is named is counted as what was done to him.
#[test]
fn what_was_only_configured_is_counted_as_that() {
    let log = "2023-10-07 06:14:00 startup packages purge\n\
               2023-10-07 06:14:00 purge s6-pre:all 1 <none>\n\
               2023-10-07 06:14:00 status not-installed s6-pre:all <none>\n\
               2023-10-07 06:14:04 configure s6-post:all 1 <none>\n\
               2023-10-07 06:14:04 status installed s6-post:all 1\n";
    let (upgrades, _) = upgrades("", log);
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
    let (upgrades, _) = upgrades(&history, "");
    assert_eq!(upgrades.runs.len(), KEPT);
    assert_eq!(upgrades.since, Some((DAY + 3) * SECOND));
    assert!(
        upgrades
            .runs
            .iter()
            .all(|run| run.command.len() == TEXT && run.names.is_empty())
    );
}
