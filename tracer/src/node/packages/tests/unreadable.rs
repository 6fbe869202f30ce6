//! Files that can be opened and not be read, as on a disk that fails.

use std::os::unix::fs::symlink;

use super::super::dpkg::Dpkg;
use super::*;

const RUN: &str = "Start-Date: 2023-10-08  06:10:05\nCommandline: apt-get upgrade\n\
                   Upgrade: base:amd64 (0, 1)\nEnd-Date: 2023-10-08  06:10:09\n";

/// Reading its first byte is an error: nothing is mapped there. While what this returns is open it stays the same file.
fn make_unreadable(path: &Path) -> File {
    let _ = fs::remove_file(path);
    symlink("/proc/self/mem", path).unwrap();
    File::open(path).unwrap()
}

fn look(dpkg: &mut Dpkg) -> (Packages, Found) {
    let mut found = Found::default();
    let packages = dpkg.look(&mut found).unwrap();
    (packages, found)
}

fn tells(found: &Found, what: &str) -> bool {
    let is_it = |problem: &String| problem.contains(&format!("{what} cannot be read: Input/output error"));
    found.problems.iter().any(is_it)
}

#[test]
fn what_could_not_be_read_is_told_at_each_look_until_it_is_read() {
    let folder = Folder::with_dpkg();
    let paths = ["var/lib/dpkg/updates/0001", "var/log/apt/history.log"];
    let _held = paths.map(|path| make_unreadable(&folder.path().join(path)));
    let mut dpkg = Dpkg::new(folder.path());
    for _ in 0..3 {
        let (_, found) = look(&mut dpkg);
        for path in paths {
            assert!(tells(&found, path), "{path}: {found:?}");
        }
    }
    for path in paths {
        fs::remove_file(folder.path().join(path)).unwrap();
    }
    folder.write(paths[0], entry("base", "half-configured", "1").trim_end());
    let (packages, found) = look(&mut dpkg);
    assert_eq!(states(&packages), ["base half-configured"]);
    assert!(!paths.iter().any(|path| tells(&found, path)), "{found:?}");
}

#[test]
fn a_status_that_could_not_be_read_is_read_once_it_can_be() {
    let folder = Folder::with_dpkg();
    let status = folder.path().join("var/lib/dpkg/status");
    let mut dpkg = Dpkg::new(folder.path());
    look(&mut dpkg);
    let _held = make_unreadable(&status);
    for _ in 0..3 {
        assert!(tells(&look(&mut dpkg).1, "status"));
    }
    fs::remove_file(&status).unwrap();
    folder.write("var/lib/dpkg/status", entry("base", "unpacked", "1"));
    let (packages, found) = look(&mut dpkg);
    assert_eq!(states(&packages), ["base unpacked"]);
    assert!(!tells(&found, "status"));
}

#[test]
fn a_run_of_before_is_not_told_as_new_when_the_history_can_be_read_again() {
    let folder = Folder::with_dpkg();
    let history = folder.path().join("var/log/apt/history.log");
    let mut dpkg = Dpkg::new(folder.path());
    let mut told = |with: Option<&str>| {
        match with {
            Some(text) => {
                let _ = fs::remove_file(&history);
                fs::write(&history, text).unwrap();
            }
            None => drop(make_unreadable(&history)),
        }
        let notices = look(&mut dpkg).1.notices;
        notices.into_iter().map(|notice| notice.text).collect::<Vec<_>>()
    };
    let nothing: [&str; 0] = [];
    // Also where it could not be read from the first.
    assert_eq!(told(None), nothing);
    assert_eq!(told(Some(RUN)), nothing);
    assert_eq!(told(None), nothing);
    assert_eq!(told(Some(RUN)), nothing);
    assert_eq!(told(None), nothing);
    let more = format!("{RUN}\n{}", RUN.replace("06:10", "07:10"));
    assert_eq!(told(Some(&more)).len(), 2, "its begin and its end");
}
