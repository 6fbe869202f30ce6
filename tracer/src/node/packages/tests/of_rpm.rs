//! rpm and dnf.

use super::*;

#[test]
fn of_rpm_its_lock_is_seen_and_what_dnf_did() {
    let folder = Folder::new();
    for path in ["usr/lib/sysimage/rpm", "var/log"] {
        fs::create_dir_all(folder.path().join(path)).unwrap();
    }
    folder.write("usr/lib/sysimage/rpm/rpmdb.sqlite", "");
    folder.write("usr/lib/sysimage/rpm/.rpm.lock", "");
    let mut source = Running::start(&folder);
    let at_rest = source.packages("the packages", |_| true);
    assert!(at_rest.unknown, "nothing tells what rpm has left half-way");
    let (state, why) = source.capability();
    assert_eq!(state, CapabilityState::Partial);
    assert!(
        why.starts_with("rpm does not say which package it is at work on"),
        "{why}"
    );
    let locker = Locker::start(&folder.path().join("usr/lib/sysimage/rpm/.rpm.lock"));
    let at_work = source.packages("who is at work", |packages| packages.holder.is_some());
    assert_eq!(at_work.holder.map(|holder| holder.pid), Some(locker.pid()));
    folder.append(
        "var/log/dnf.rpm.log",
        "2023-10-08T06:15:01+0000 SUBDEBUG Upgrade: systemd-252-18.el9.x86_64\n",
    );
    let notice = source.notice();
    assert_eq!(notice.text, "dnf: upgrade systemd-252-18.el9.x86_64");
    assert_eq!(notice.by.map(|owner| owner.pid), Some(locker.pid()));
    // It closes its database, which empties this file.
    let changes = "usr/lib/sysimage/rpm/rpmdb.sqlite-wal";
    folder.write(changes, "changes");
    folder.write(changes, "");
    drop(locker);
    let ended = source.packages("its end", |packages| packages.holder.is_none());
    assert_eq!((ended.unknown, ended.open_run), (true, false));
    // The next one cannot.
    let locker = Locker::start(&folder.path().join("usr/lib/sysimage/rpm/.rpm.lock"));
    source.packages("who is at work", |packages| packages.holder.is_some());
    folder.write(changes, "changes");
    drop(locker);
    let cut = source.packages("that it was cut off", |packages| packages.open_run);
    assert_eq!(cut.holder, None);
    // And whoever lives on and has given the lock back may close it yet.
    folder.write(changes, "");
    source.packages("that it is closed", |packages| !packages.open_run);
    let by = Some(crate::event::Owner {
        pid: std::process::id(),
        ..Default::default()
    });
    folder.write(changes, "changes");
    let mut rpm = Rpm::new(folder.path());
    assert!(!rpm.is_cut_off(None, by.as_ref()), "it lives on");
    assert!(Rpm::new(folder.path()).is_cut_off(None, None));
}
