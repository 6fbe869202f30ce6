//! The source, on trees of files that each test makes.

mod of_past_runs;
mod of_rpm;
mod unreadable;

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, fcntl_lock, fstat, mkfifoat};
use tokio::sync::mpsc::{Receiver, channel};

use super::*;
use crate::event::Event;
use crate::node::source::Source;

/// How long the source may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder of its own, removed at the end.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tracer-packages-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// With an empty database of dpkg in it.
    fn with_dpkg() -> Self {
        let folder = Self::new();
        for path in ["var/lib/dpkg/updates", "var/log/apt", "run", "lib/modules"] {
            fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        for path in ["var/lib/dpkg/lock-frontend", "var/lib/dpkg/lock"] {
            folder.write(path, "");
        }
        folder.write("var/lib/dpkg/status", entry("base", "installed", "1"));
        folder
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn pipe(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        mkfifoat(rustix::fs::CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        path
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        fs::write(self.0.join(path), text).unwrap();
    }

    /// Takes the place of a file at once, as dpkg does it.
    fn replace(&self, path: &str, text: &str) {
        let new = self.0.join(format!("{path}-new"));
        fs::write(&new, text).unwrap();
        fs::rename(new, self.0.join(path)).unwrap();
    }

    fn append(&self, path: &str, text: &str) {
        let file = File::options().append(true).create(true).open(self.0.join(path));
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Another process that holds a lock until it is dropped.
pub(super) struct Locker(Child);

impl Locker {
    pub(super) fn start(path: &Path) -> Self {
        let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
        let mut command = Command::new("sleep");
        command.arg("600").stdin(Stdio::null());
        // SAFETY: nothing but system calls are made in the child.
        unsafe {
            command.pre_exec(move || {
                let file = rustix::fs::open(path.as_c_str(), OFlags::RDWR, Mode::empty())?;
                let it = fstat(&file)?;
                // A lock ends when its process closes any descriptor of the file: that of a source of this test is
                // inherited, and would be closed when `sleep` begins.
                for other in (3..1024).filter(|other| *other != file.as_raw_fd()) {
                    let other = BorrowedFd::borrow_raw(other);
                    if fstat(other).is_ok_and(|other| (other.st_dev, other.st_ino) == (it.st_dev, it.st_ino))
                    {
                        libc::close(other.as_raw_fd());
                    }
                }
                // The lock may be seen before `sleep` begins: it is called so from then on.
                libc::prctl(libc::PR_SET_NAME, c"sleep".as_ptr());
                fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)?;
                std::mem::forget(file);
                Ok(())
            });
        }
        Self(command.stdout(Stdio::null()).spawn().unwrap())
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Locker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn entry(name: &str, state: &str, version: &str) -> String {
    format!("Package: {name}\nStatus: install ok {state}\nArchitecture: amd64\nVersion: {version}\n\n")
}

/// A running source.
struct Running {
    // Before the source, which may wait for room here.
    events: Receiver<Event>,
    runtime: tokio::runtime::Runtime,
    _source: Source,
}

impl Running {
    fn start(folder: &Folder) -> Self {
        let options = Options {
            root: folder.path().to_owned(),
            release: "6.1.0-13-amd64".to_owned(),
            has_modules: true,
        };
        let (sender, events) = channel(4096);
        Self {
            events,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap(),
            _source: Source::start("packages", sender, move |teller| run(&options, teller)).unwrap(),
        }
    }

    fn next(&mut self) -> Option<Body> {
        let wait = async { tokio::time::timeout(PATIENCE, self.events.recv()).await };
        self.runtime.block_on(wait).ok()?.map(|event| event.body)
    }

    /// Waits for what `wanted` makes something of.
    fn until<T>(&mut self, what: &str, mut wanted: impl FnMut(&Body) -> Option<T>) -> T {
        let mut others = Vec::new();
        while let Some(body) = self.next() {
            if let Some(found) = wanted(&body) {
                return found;
            }
            others.push(body);
        }
        panic!("{what} was not told, but {others:#?}");
    }

    fn packages(&mut self, what: &str, wanted: impl Fn(&Packages) -> bool) -> Packages {
        self.until(what, |body| match body {
            Body::Packages(packages) if wanted(packages) => Some((**packages).clone()),
            _ => None,
        })
    }

    fn upgrades(&mut self, what: &str, wanted: impl Fn(&Upgrades) -> bool) -> Upgrades {
        self.until(what, |body| match body {
            Body::Upgrades(upgrades) if wanted(upgrades) => Some((**upgrades).clone()),
            _ => None,
        })
    }

    fn capability(&mut self) -> (CapabilityState, String) {
        self.until("a capability", |body| match body {
            Body::Capability(capability) if capability.name == CAPABILITY => {
                Some((capability.state, capability.why.clone()))
            }
            _ => None,
        })
    }

    fn notice(&mut self) -> Notice {
        self.until("a notice", |body| match body {
            Body::Notice(notice) => Some(notice.clone()),
            _ => None,
        })
    }

    fn modules(&mut self) -> Setting {
        self.setting(|thing| matches!(thing, Thing::Modules { .. }))
    }

    fn kernels(&mut self) -> Setting {
        self.setting(|thing| *thing == Thing::Kernels)
    }

    fn setting(&mut self, is_it: fn(&Thing) -> bool) -> Setting {
        self.until("a setting", |body| match body {
            Body::Setting(setting) if is_it(&setting.thing) => Some((**setting).clone()),
            _ => None,
        })
    }
}

fn states(packages: &Packages) -> Vec<String> {
    let named = |one: &crate::event::Unfinished| format!("{} {}", one.name, one.state);
    packages.unfinished.iter().map(named).collect()
}

#[test]
fn what_stands_is_told_first() {
    let folder = Folder::with_dpkg();
    let status = [entry("a", "installed", "1"), entry("b", "unpacked", "1")].concat();
    folder.write("var/lib/dpkg/status", status);
    folder.write("var/lib/dpkg/updates/0000", entry("a", "half-configured", "2"));
    folder.write("var/lib/dpkg/updates/tmp.i", "torn");
    folder.write(
        "var/log/apt/history.log",
        "Start-Date: 2026-11-26  11:04:19\nUpgrade: a:amd64 (1, 2), b:amd64 (0, 1), base:amd64 (1, 2)\nInstall: c:amd64 (3)\n",
    );
    folder.write("var/log/dpkg.log", "2026-11-26 11:04:20 upgrade a:amd64 1 2\n");
    folder.write("run/reboot-required", "*** System restart required ***\n");
    folder.write("run/reboot-required.pkgs", "libc6\nlinux-image-amd64\nlibc6\n");
    for release in ["6.1.0-13-amd64", "6.1.0-14-amd64"] {
        fs::create_dir(folder.path().join("lib/modules").join(release)).unwrap();
    }
    folder.write("lib/modules/6.1.0-13-amd64/modules.dep", "");
    let mut source = Running::start(&folder);
    let expected = Packages {
        manager: crate::event::Manager::Dpkg,
        holder: None,
        // Nobody is at work.
        working_on: String::new(),
        unfinished: [("a", "half-configured"), ("b", "unpacked")]
            .map(|(name, state)| crate::event::Unfinished {
                name: name.to_owned(),
                state: state.to_owned(),
            })
            .into(),
        unfinished_more: 0,
        leftovers: 1,
        open_run: true,
        reboot: Some(vec!["libc6".to_owned(), "linux-image-amd64".to_owned()]),
        unknown: false,
    };
    assert_eq!(source.packages("the packages", |_| true), expected);
    let modules = source.modules();
    assert_eq!((modules.value.as_deref(), modules.seen), (Some(""), Seen::Found));
    assert_eq!(
        modules.thing.to_string(),
        "kernel modules /lib/modules/6.1.0-13-amd64"
    );
    assert_eq!(source.capability(), (CapabilityState::Available, String::new()));
}

#[test]
fn past_upgrades_are_told_in_utc_also_those_before_the_last_rotation() {
    let folder = Folder::with_dpkg();
    fs::create_dir(folder.path().join("etc")).unwrap();
    folder.write("etc/localtime", zone::tests::zone(7200));
    folder.write(
        "var/log/dpkg.log.1",
        "2023-10-08 06:14:06 startup archives unpack\n2023-10-08 06:14:06 upgrade base:amd64 0 1\n\
         2023-10-08 06:14:20 status half-configured base:amd64 1\n",
    );
    folder.write("var/log/dpkg.log", "");
    folder.write(
        "var/log/apt/history.log",
        "\nStart-Date: 2023-10-08  06:14:05\nCommandline: apt-get upgrade\nUpgrade: base:amd64 (0, 1)\n",
    );
    let mut source = Running::start(&folder);
    let time = |at: i64| at / 1_000_000_000 - 1_696_737_600;
    let told = source.upgrades("past upgrades", |_| true);
    let [run] = &told.runs[..] else {
        panic!("{told:?}");
    };
    assert_eq!(
        (time(run.begun), run.ended, run.last.map(time)),
        (845, None, Some(860))
    );
    assert_eq!((run.upgraded, &run.names[..]), (1, &["base".to_owned()][..]));
    assert_eq!(source.capability(), (CapabilityState::Available, String::new()));
    // What happens now is past, too, once it is over.
    folder.append(
        "var/log/apt/history.log",
        "\nStart-Date: 2023-10-08  07:00:00\nInstall: more:amd64 (1)\nEnd-Date: 2023-10-08  07:00:02\n",
    );
    let told = source.upgrades("the next one", |upgrades| upgrades.runs.len() == 2);
    assert_eq!(
        told.runs.last().map(|run| (time(run.begun), run.ended.map(time))),
        Some((3600, Some(3602)))
    );
}

#[test]
fn past_upgrades_are_known_from_compressed_logs_as_far_as_these_are_whole() {
    let folder = Folder::with_dpkg();
    let upgrade = |day: u32| {
        format!(
            "Start-Date: 2023-10-0{day}  06:14:05\nCommandline: /usr/bin/unattended-upgrade\n\
             Upgrade: base:amd64 (0, 1)\nEnd-Date: 2023-10-0{day}  06:20:00\n\n"
        )
    };
    // As logrotate leaves them on the first of a month: yesterday's is compressed, and there is none of today.
    let yesterday = rotated::tests::packed(upgrade(8).as_bytes());
    folder.write("var/log/apt/history.log.1.gz", &yesterday);
    let older = rotated::tests::packed(upgrade(7).as_bytes());
    folder.write("var/log/apt/history.log.2.gz", &older[..older.len() / 2]);
    let mut source = Running::start(&folder);
    let told = source.upgrades("past upgrades", |_| true);
    let [run] = &told.runs[..] else {
        panic!("{told:?}");
    };
    assert_eq!(run.command, "/usr/bin/unattended-upgrade");
    assert_eq!(told.since, Some(run.begun));
    let (state, why) = source.capability();
    assert_eq!(state, CapabilityState::Partial);
    assert!(
        why.contains("history.log.2.gz cannot be read: ")
            && why.ends_with("earlier runs of apt are not known"),
        "{why}"
    );
}

#[test]
fn a_run_is_told_as_it_goes_with_who_does_it() {
    let folder = Folder::with_dpkg();
    let mut source = Running::start(&folder);
    source.packages("what stands", |packages| packages.holder.is_none());
    let locker = Locker::start(&folder.path().join("var/lib/dpkg/lock-frontend"));
    let at_work = source.packages("who is at work", |packages| packages.holder.is_some());
    let holder = at_work.holder.unwrap();
    assert_eq!((holder.pid, holder.command.as_str()), (locker.pid(), "sleep"));
    folder.append(
        "var/log/apt/history.log",
        "\nStart-Date: 2026-11-26  06:14:05\nCommandline: apt-get upgrade\nUpgrade: base:amd64 (1, 2)\n",
    );
    let begins = source.notice();
    assert_eq!(begins.text, "apt begins: apt-get upgrade (upgrade 1)");
    assert_eq!(begins.by.as_ref(), Some(&holder));
    folder.append("var/log/dpkg.log", "2026-11-26 06:14:06 upgrade base:amd64 1 2\n");
    let upgrade = source.notice();
    assert_eq!(
        (upgrade.text.as_str(), upgrade.by.as_ref()),
        ("dpkg: upgrade base:amd64 1 → 2", Some(&holder))
    );
    folder.write("var/lib/dpkg/updates/0000", entry("base", "unpacked", "2"));
    let half = source.packages("the package half-way", |packages| !packages.unfinished.is_empty());
    assert_eq!(half.working_on, "upgrade base:amd64 1 → 2");
    // It is killed.
    drop(locker);
    let left = source.packages("that nobody holds the lock", |packages| packages.holder.is_none());
    assert_eq!(
        (states(&left), left.leftovers),
        (vec!["base unpacked".to_owned()], 1)
    );
    assert_eq!(
        (left.working_on.as_str(), left.open_run),
        ("", false),
        "its new version is there"
    );
    // Somebody puts it right.
    folder.replace("var/lib/dpkg/status", &entry("base", "installed", "2"));
    fs::remove_file(folder.path().join("var/lib/dpkg/updates/0000")).unwrap();
    folder.append(
        "var/log/apt/history.log",
        "Error: killed\nEnd-Date: 2026-11-26  06:15:00\n",
    );
    let mut whole = false;
    let mut ended = false;
    while !(whole && ended) {
        source.until("that all is whole", |body| match body {
            Body::Packages(packages) => {
                whole = packages.unfinished.is_empty() && packages.leftovers == 0;
                Some(())
            }
            Body::Notice(notice) => {
                assert_eq!(notice.text, "apt ends: apt-get upgrade with an error: killed");
                ended = true;
                Some(())
            }
            _ => None,
        });
    }
}

#[test]
fn modules_that_go_are_told() {
    let folder = Folder::with_dpkg();
    let modules = folder.path().join("lib/modules/6.1.0-13-amd64");
    fs::create_dir(&modules).unwrap();
    fs::write(modules.join("modules.dep.bin"), "").unwrap();
    let mut source = Running::start(&folder);
    assert_eq!(source.modules().value.as_deref(), Some(""));
    fs::remove_file(modules.join("modules.dep.bin")).unwrap();
    let torn = source.modules();
    assert_eq!(
        (torn.value.as_deref(), torn.seen),
        (Some("without modules.dep, so that none can be found"), Seen::Told)
    );
    fs::remove_dir(&modules).unwrap();
    let gone = source.modules();
    assert_eq!(
        (gone.value.as_deref(), gone.seen),
        (Some("gone, so that none can be loaded"), Seen::Told)
    );
    fs::create_dir(folder.path().join("lib/modules/6.1.0-14-amd64")).unwrap();
    let replaced = source.modules();
    assert_eq!(
        replaced.value.as_deref(),
        Some("gone, so that none can be loaded: there are those of 6.1.0-14-amd64")
    );
}

#[test]
fn kernels_that_come_and_go_are_told_with_the_one_that_runs() {
    let folder = Folder::with_dpkg();
    let modules = folder.path().join("lib/modules");
    fs::create_dir(modules.join("6.1.0-13-amd64")).unwrap();
    let mut source = Running::start(&folder);
    let told = |setting: Setting| (setting.value.unwrap_or_default(), setting.seen);
    assert_eq!(
        told(source.kernels()),
        ("6.1.0-13-amd64 (running)".to_owned(), Seen::Found)
    );
    fs::create_dir(modules.join("6.1.0-14-amd64")).unwrap();
    let came = source.kernels();
    assert_eq!(came.by_unknown, Some(Unknown::NotTold), "{came:?}");
    assert_eq!(
        told(came),
        ("6.1.0-13-amd64 (running), 6.1.0-14-amd64".to_owned(), Seen::Told)
    );
    fs::remove_dir(modules.join("6.1.0-13-amd64")).unwrap();
    assert_eq!(
        told(source.kernels()).0,
        "6.1.0-14-amd64; 6.1.0-13-amd64, which runs, has no modules there"
    );
}

#[test]
fn a_status_that_is_cut_off_is_not_said_to_be_whole() {
    let folder = Folder::with_dpkg();
    let whole = [entry("a", "installed", "1"), entry("b", "installed", "1")].concat();
    let cut = [
        (
            &whole[..whole.len() - 9],
            "ends within a line: it is torn, and not all packages are known",
        ),
        (
            &whole[..whole.len() - 1],
            "it may be torn, and not all packages are known",
        ),
        (
            &whole.replace(
                "ok installed\nArchitecture: amd64\nVersion: 1\n\n",
                "ok blurb\n\n",
            ),
            "not of dpkg, or torn",
        ),
    ];
    for (text, expected) in cut {
        folder.write("var/lib/dpkg/status", text);
        let mut source = Running::start(&folder);
        let packages = source.packages("the packages", |_| true);
        assert!(packages.unknown && packages.unfinished.is_empty(), "{packages:?}");
        let (state, why) = source.capability();
        assert_eq!(state, CapabilityState::Partial);
        assert!(why.contains(expected), "{why}");
    }
}

#[test]
fn a_burst_is_few_events_and_loses_nothing() {
    const PACKAGES: usize = 250;
    let folder = Folder::with_dpkg();
    folder.write("var/log/dpkg.log", "");
    let mut source = Running::start(&folder);
    source.packages("what stands", |_| true);
    let _locker = Locker::start(&folder.path().join("var/lib/dpkg/lock"));
    source.packages("who is at work", |packages| packages.holder.is_some());
    let begin = Instant::now();
    for number in 0..PACKAGES {
        folder.append(
            "var/log/dpkg.log",
            &format!(
                "2026-11-26 06:14:06 configure p{number}:amd64 2 <none>\n\
                 2026-11-26 06:14:06 status unpacked p{number}:amd64 2\n\
                 2026-11-26 06:14:06 status half-configured p{number}:amd64 2\n"
            ),
        );
        folder.write(
            &format!("var/lib/dpkg/updates/{number:04}"),
            entry(&format!("p{number}"), "half-configured", "2"),
        );
    }
    let written = begin.elapsed();
    let (mut notices, mut told) = (0, 0);
    let last = source.until("the last package", |body| {
        match body {
            Body::Notice(_) => notices += 1,
            Body::Packages(packages) => {
                told += 1;
                if packages.unfinished.len() == PACKAGES {
                    return Some((**packages).clone());
                }
            }
            _ => {}
        }
        None
    });
    let took = begin.elapsed();
    assert_eq!(notices, PACKAGES);
    assert_eq!(last.working_on, format!("configure p{}:amd64 2", PACKAGES - 1));
    let rounds = u32::try_from(took.as_millis() / GATHER.as_millis()).unwrap() + 2;
    assert!(told <= rounds, "{told} events in {took:?}");
    assert!(
        took < written + Duration::from_secs(2),
        "{took:?}, written in {written:?}"
    );
}

#[test]
fn without_a_manager_that_is_said() {
    let folder = Folder::new();
    let mut source = Running::start(&folder);
    let (state, why) = source.capability();
    assert_eq!(state, CapabilityState::Unavailable);
    assert!(
        why.starts_with("there is neither /") && why.ends_with("upgrades are not seen"),
        "{why}"
    );
}

#[test]
fn each_file_that_is_not_what_it_should_be_is_one_thing_less() {
    let folder = Folder::with_dpkg();
    folder.write("var/lib/dpkg/status", b"\xff\xfe\x00{}: \xc3\n\nVersion: 1\n");
    folder.pipe("var/log/dpkg.log");
    fs::create_dir_all(folder.path().join("etc/localtime")).unwrap();
    fs::create_dir(folder.path().join("var/log/apt/history.log")).unwrap();
    folder.write("var/lib/dpkg/updates/0000", b"\xff\xfe");
    let mut source = Running::start(&folder);
    let (state, why) = source.capability();
    assert_eq!(state, CapabilityState::Partial);
    for part in [
        "status names no package: it is not of dpkg, or torn",
        "dpkg.log cannot be read: it is no regular file: the package in work is not known",
        "history.log cannot be read: it is no regular file: runs of apt are not known",
        "localtime cannot be read: it is no regular file: times of past upgrades are taken for UTC",
        "dpkg.log cannot be read: it is no regular file: past runs of dpkg are not known",
        "history.log cannot be read: it is no regular file: past runs of apt are not known",
    ] {
        assert!(why.contains(part), "{why}");
    }
    // The lock is seen all the same.
    let locker = Locker::start(&folder.path().join("var/lib/dpkg/lock"));
    let at_work = source.packages("who is at work", |packages| packages.holder.is_some());
    assert_eq!(at_work.holder.map(|holder| holder.pid), Some(locker.pid()));
    // And what is right again is known again.
    folder.replace("var/lib/dpkg/status", &entry("a", "unpacked", "1"));
    let half = source.packages("the package", |packages| !packages.unfinished.is_empty());
    assert_eq!(states(&half), ["a unpacked"]);
}
