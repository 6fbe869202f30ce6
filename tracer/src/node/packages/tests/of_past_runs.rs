//! What became of past runs, by who holds the lock now.

use super::*;

const LOG: &str = "2023-10-08 06:14:06 startup archives install\n2023-10-08 06:14:06 install a:all <none> 1\n\
                   2023-10-08 06:14:20 status installed a:all 1\n";
const KILLED: &str =
    "Start-Date: 2023-10-08  06:10:05\nCommandline: apt-get upgrade\nUpgrade: base:amd64 (0, 1)\n";

/// Whether each run has ended, and is in work.
fn runs(upgrades: &Upgrades) -> Vec<(bool, bool)> {
    let runs = upgrades.runs.iter();
    runs.map(|run| (run.ended.is_some(), run.in_work)).collect()
}

/// Somebody holds the lock and works on no package.
#[test]
fn a_run_that_is_over_is_not_in_work_whoever_holds_the_lock() {
    let folder = Folder::with_dpkg();
    folder.write("var/log/dpkg.log", LOG);
    folder.write("var/log/apt/history.log", KILLED);
    let over = [(false, false), (true, false)];
    let mut source = Running::start(&folder);
    let told = source.upgrades("past runs", |_| true);
    assert_eq!(runs(&told), over);
    let locker = Locker::start(&folder.path().join("var/lib/dpkg/lock-frontend"));
    let told = source.upgrades("past runs while it holds the lock", |_| true);
    assert_eq!(runs(&told), over);
    let at_work = source.packages("who holds the lock", |packages| packages.holder.is_some());
    assert_eq!(at_work.holder.map(|holder| holder.pid), Some(locker.pid()));
}

/// As after a kill that was mended, where a package is removed that the run had brought.
#[test]
fn what_others_removed_since_is_not_left_undone() {
    let folder = Folder::with_dpkg();
    folder.write(
        "var/log/apt/history.log",
        "Start-Date: 2023-10-08  06:10:05\nCommandline: apt-get install a\nInstall: a:amd64 (1)\n",
    );
    let mut source = Running::start(&folder);
    assert!(source.packages("what stands", |_| true).open_run, "a is missing");
    folder.append(
        "var/log/dpkg.log",
        &format!(
            "{LOG}2023-10-08 06:15:00 startup packages purge\n2023-10-08 06:15:00 purge a:all 1 <none>\n\
                  2023-10-08 06:15:00 status not-installed a:all <none>\n"
        ),
    );
    source.packages("that it is so on purpose", |packages| !packages.open_run);
}

#[test]
fn packages_that_are_too_many_to_be_named_are_counted() {
    let folder = Folder::with_dpkg();
    let status: String = (0..3005)
        .map(|number| entry(&format!("p{number:04}"), "unpacked", "1"))
        .collect();
    folder.write("var/lib/dpkg/status", status);
    let mut source = Running::start(&folder);
    let told = source.packages("what stands", |_| true);
    assert_eq!((told.unfinished_total(), told.unfinished.len()), (3005, 1000));
}
