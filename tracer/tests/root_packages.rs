//! A real dpkg that is killed at its work, in a root of its own. Needs root, as dpkg does.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, mkfifoat};
use tokio::sync::mpsc::{Receiver, channel};
use tracer::event::{Body, CapabilityState, Event, Notice, Packages, Upgrade};
use tracer::node::packages;
use tracer::node::source::Source;

/// How long dpkg and the source may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// At the latest then a change is known: the lock is looked at once a second, a busy machine is slow.
const SOON: Duration = Duration::from_secs(3);

/// A root with a dpkg of its own, and a package whose `script` waits for as long as the gate is there and shut.
struct Node {
    root: PathBuf,
    script: &'static str,
}

impl Node {
    fn new(script: &'static str) -> Self {
        let root = std::env::temp_dir().join(format!("tracer-dpkg-{}-{script}", std::process::id()));
        for path in ["var/lib/dpkg/updates", "var/lib/dpkg/info", "var/log", "run"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
        Self { root, script }
    }

    fn gate(&self) -> PathBuf {
        self.root.join("gate")
    }

    /// Shuts the gate for as long as the file is open.
    fn shut(&self) -> File {
        mkfifoat(rustix::fs::CWD, self.gate(), Mode::RUSR | Mode::WUSR).unwrap();
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.gate())
            .unwrap()
    }

    /// Builds the package in this version.
    fn build(&self, version: &str) -> PathBuf {
        let tree = self.root.join("build").join(version);
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        fs::create_dir_all(tree.join("usr/share/tracer-test")).unwrap();
        fs::write(tree.join("usr/share/tracer-test/version"), version).unwrap();
        let control = format!(
            "Package: tracer-test\nVersion: {version}\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\n\
             Description: a package that waits\n"
        );
        fs::write(tree.join("DEBIAN/control"), control).unwrap();
        let gate = self.gate();
        let script = format!(
            "#!/bin/sh\nif [ -e {gate} ]; then read line <{gate}; fi\nexit 0\n",
            gate = gate.display()
        );
        let path = tree.join("DEBIAN").join(self.script);
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        let package = self.root.join(format!("{version}.deb"));
        let built = Command::new("dpkg-deb")
            .args(["--build", "--root-owner-group", "-Znone"])
            .args([&tree, &package])
            .output()
            .unwrap();
        assert!(built.status.success(), "{built:?}");
        package
    }

    fn dpkg(&self) -> Command {
        let mut command = Command::new("dpkg");
        command
            .arg(format!("--root={}", self.root.display()))
            .arg(format!("--log={}", self.root.join("var/log/dpkg.log").display()))
            .args(["--force-script-chrootless", "--force-unsafe-io"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn install(&self, package: &Path) -> Command {
        let mut command = self.dpkg();
        command.arg("--install").arg(package);
        command
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// A child that is killed where the test fails before its end.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(mut command: Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

/// The running source.
struct Running {
    // Before the source, which may wait for room here.
    events: Receiver<Event>,
    runtime: tokio::runtime::Runtime,
    notices: Vec<Notice>,
    /// Not all can be read, as a test wants it.
    is_partial: bool,
    /// What the logs were last said to have.
    past: Vec<Upgrade>,
    _source: Source,
}

impl Running {
    fn start(node: &Node) -> Self {
        let options = packages::Options {
            root: node.root.clone(),
            release: String::new(),
            has_modules: false,
        };
        let (sender, events) = channel(4096);
        let work = move |teller: &_| packages::run(&options, teller);
        Self {
            events,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap(),
            notices: Vec::new(),
            is_partial: false,
            past: Vec::new(),
            _source: Source::start("packages", sender, work).unwrap(),
        }
    }

    fn packages(&mut self, what: &str, wanted: impl Fn(&Packages) -> bool) -> Packages {
        self.event(what, |body| match body {
            Body::Packages(packages) if wanted(packages) => Some((**packages).clone()),
            _ => None,
        })
    }

    /// Until `text` was told. No state of the packages need follow the line that is read last.
    fn notice(&mut self, text: &str) {
        if self.notices.iter().any(|notice| notice.text == text) {
            return;
        }
        self.event(text, |body| match body {
            Body::Notice(notice) if notice.text == text => Some(()),
            _ => None,
        });
    }

    /// Waits for an event, and keeps what comes before it and with it.
    fn event<T>(&mut self, what: &str, wanted: impl Fn(&Body) -> Option<T>) -> T {
        let begin = Instant::now();
        let mut others = Vec::new();
        while begin.elapsed() < PATIENCE {
            let wait = async { tokio::time::timeout(PATIENCE, self.events.recv()).await };
            let Ok(Some(event)) = self.runtime.block_on(wait) else {
                break;
            };
            let found = wanted(&event.body);
            match event.body {
                Body::Notice(notice) => self.notices.push(notice),
                Body::Upgrades(upgrades) => self.past = upgrades.runs,
                Body::Capability(capability) if !self.is_partial => {
                    assert_eq!(capability.state, CapabilityState::Available, "{}", capability.why);
                }
                other => others.push(other),
            }
            if let Some(found) = found {
                return found;
            }
        }
        panic!("{what} was not told, but {others:#?} and {:#?}", self.notices);
    }
}

fn states(packages: &Packages) -> Vec<String> {
    let unfinished = packages.unfinished.iter();
    unfinished
        .map(|one| format!("{} {}", one.name, one.state))
        .collect()
}

/// An upgrade that waits in `script` is killed there; the package is left in `state` and put right by `repair`.
fn an_upgrade_is_killed(
    script: &'static str,
    working_on: &str,
    state: &str,
    repair: impl Fn(&Node, &Path) -> Command,
) {
    let node = Node::new(script);
    let [old, new] = ["1", "2"].map(|version| node.build(version));
    run(node.install(&old));
    let mut source = Running::start(&node);
    let whole = source.packages("what stands", |_| true);
    assert_eq!((states(&whole), whole.leftovers, whole.holder), (vec![], 0, None));
    let [install] = &source.past[..] else {
        panic!("{:?}", source.past);
    };
    assert_eq!(
        (install.installed, &install.names[..]),
        (1, &["tracer-test".to_owned()][..])
    );
    assert!(
        install.ended.is_some_and(|ended| ended >= install.begun),
        "{install:?}"
    );

    let gate = node.shut();
    let mut dpkg = Killed(node.install(&new).spawn().unwrap());
    let at_work = source.packages("the package in work", |packages| {
        packages.working_on == working_on
    });
    let holder = at_work.holder.clone().unwrap();
    assert_eq!((holder.pid, holder.command.as_str()), (dpkg.0.id(), "dpkg"));
    let half = format!("tracer-test {state}");
    if states(&at_work) != [half.clone()] {
        source.packages("the package half-way", |packages| {
            states(packages) == [half.clone()]
        });
    }

    dpkg.0.kill().unwrap();
    dpkg.0.wait().unwrap();
    let killed = Instant::now();
    let left = source.packages("that nobody holds the lock", |packages| packages.holder.is_none());
    let took = killed.elapsed();
    assert!(took < SOON, "{took:?}");
    eprintln!("{script}: known {took:?} after the kill");
    assert_eq!(states(&left), [half]);
    assert!(left.leftovers > 0, "dpkg had no time to take it into its status");
    assert_eq!(left.working_on, "");
    let cut = source.past.last().unwrap();
    assert_eq!((cut.ended, cut.names.join(" ")), (None, "tracer-test".to_owned()));
    let upgrade = source
        .notices
        .iter()
        .find(|notice| notice.text == "dpkg: upgrade tracer-test:all 1 → 2");
    let by = upgrade.and_then(|notice| notice.by.as_ref());
    assert_eq!(
        by.map(|owner| owner.pid),
        Some(holder.pid),
        "{:?}",
        source.notices
    );

    drop(gate);
    fs::remove_file(node.gate()).unwrap();
    run(repair(&node, &new));
    let whole = source.packages("that all is whole", |packages| packages.unfinished.is_empty());
    let whole = match whole.holder {
        None => whole,
        Some(_) => source.packages("that nobody holds the lock", |packages| packages.holder.is_none()),
    };
    assert_eq!((states(&whole), whole.leftovers, whole.holder), (vec![], 0, None));
    // Each start of dpkg is told by itself, however soon it follows another one.
    let ends: Vec<bool> = source.past.iter().map(|run| run.ended.is_some()).collect();
    assert_eq!(ends, [true, false, true], "{:#?}", source.past);
}

#[test]
fn an_upgrade_that_is_killed_while_it_configures_is_known_until_it_is_put_right() {
    an_upgrade_is_killed(
        "postinst",
        "configure tracer-test:all 2",
        "half-configured",
        |node, _| {
            let mut command = node.dpkg();
            command.args(["--configure", "-a"]);
            command
        },
    );
}

#[test]
fn an_upgrade_that_is_killed_before_it_unpacks_is_known_until_it_is_put_right() {
    an_upgrade_is_killed(
        "preinst",
        "upgrade tracer-test:all 1 → 2",
        "half-installed (reinstreq)",
        |node, package| node.install(package),
    );
}

/// As a full disk or a crash leaves it. dpkg itself gives up there.
#[test]
fn a_status_that_is_cut_off_is_not_called_whole() {
    let node = Node::new("postrm");
    run(node.install(&node.build("1")));
    let path = node.root.join("var/lib/dpkg/status");
    let whole = fs::read(&path).unwrap();
    let mut source = Running::start(&node);
    assert!(
        !source.packages("what stands", |_| true).unknown,
        "as dpkg wrote it"
    );
    drop(source);
    // Within its last line.
    fs::write(&path, &whole[..whole.len() - 5]).unwrap();
    let lists = node.dpkg().arg("--audit").status().unwrap();
    assert!(!lists.success(), "dpkg takes it");
    let mut source = Running::start(&node);
    source.is_partial = true;
    let cut = source.packages("what stands", |_| true);
    assert_eq!((states(&cut), cut.unknown), (vec![], true));
}

/// As logrotate leaves it after two months.
#[test]
fn what_dpkg_did_is_known_after_its_log_was_compressed() {
    let node = Node::new("prerm");
    run(node.install(&node.build("1")));
    let log = node.root.join("var/log/dpkg.log");
    let rotated = log.with_extension("log.2");
    fs::rename(&log, &rotated).unwrap();
    let mut gzip = Command::new("gzip");
    gzip.arg(&rotated);
    run(gzip);
    let mut source = Running::start(&node);
    source.packages("what stands", |_| true);
    let [install] = &source.past[..] else {
        panic!("{:?}", source.past);
    };
    assert_eq!(
        (install.installed, install.names.join(" ")),
        (1, "tracer-test".to_owned())
    );
    assert!(install.ended.is_some(), "{install:?}");
}

/// Runs that follow one another at once: who ended before it was seen is not known, and is never taken for the next one.
#[test]
fn a_step_is_of_the_dpkg_that_did_it_or_of_nobody() {
    const VERSIONS: u32 = 12;
    let node = Node::new("config");
    let built: Vec<PathBuf> = (1..=VERSIONS)
        .map(|version| node.build(&version.to_string()))
        .collect();
    run(node.install(&built[0]));
    let mut source = Running::start(&node);
    source.packages("what stands", |_| true);
    let mut did = Vec::new();
    for (version, package) in (1..).zip(&built[1..]) {
        let mut dpkg = Killed(node.install(package).spawn().unwrap());
        assert!(dpkg.0.wait().unwrap().success());
        let (pid, new) = (dpkg.0.id(), version + 1);
        did.push((format!("dpkg: upgrade tracer-test:all {version} → {new}"), pid));
        did.push((format!("dpkg: configure tracer-test:all {new}"), pid));
    }
    source.notice(&did.last().unwrap().0);
    let mut known = 0;
    for (text, pid) in &did {
        let notice = source.notices.iter().find(|notice| notice.text == *text);
        let by = notice.unwrap().by.as_ref().map(|owner| owner.pid);
        assert!(by.is_none_or(|by| by == *pid), "{text}: {by:?}, and not {pid}");
        known += u32::from(by.is_some());
    }
    assert!(known > 0, "of none of {} steps it is known who did it", did.len());
}
