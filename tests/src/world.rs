//! A world of its own with the real systemd in it: process, mount, cgroup, network and host name namespaces, on the
//! machine's own files, of which nothing changes.
//!
//! What is in the world: an overlay of the machine's root, its own `/run`, `/tmp` and `/dev`, a read-only `/sys` and
//! `/proc/sys`, and of all units only those that the test writes, beside a system bus. Nothing that the machine has
//! enabled is started. When the value is dropped, the world ends; a keeper takes its cgroups away where the test could
//! not (see [`crate::keeper`]).

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cgroup::Cgroup;
use crate::folder::Folder;
use crate::keeper::Keeper;
use crate::netns::Netns;
use crate::process;

/// A world that has not started by then does not start at all.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where the machine keeps systemd.
const SYSTEMD: &str = "/lib/systemd/systemd";

/// Makes the root of the world in the folder `$1` and becomes its systemd.
const SCRIPT: &str = r#"
set -e
cd "$1"
mount -t tmpfs world root
mkdir root/upper root/work root/merged
mount -t overlay overlay -o lowerdir=/,upperdir=root/upper,workdir=root/work root/merged
mount --bind units root/merged/etc/systemd/system
mount -t tmpfs tmpfs root/merged/run
mkdir root/merged/run/dbus root/merged/run/lab
mount --bind dbus root/merged/run/dbus
mount --bind lab root/merged/run/lab
cd root/merged
mount -t tmpfs tmpfs tmp
mount -t proc proc proc
mount --bind proc/sys proc/sys
# What is the machine's is not written to; what is the network namespace's may be.
if [ "$4" = own ]; then mount --bind proc/sys/net proc/sys/net; fi
mount -o remount,bind,ro proc/sys
mount -t sysfs -o "$3" sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
for node in null zero full random urandom tty; do
    touch dev/$node
    mount --bind /dev/$node dev/$node
done
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
mount -t tmpfs tmpfs dev/shm
exec env -i container=lab NOTIFY_SOCKET=/run/lab/notify PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    chroot . "$2" --system --unit=lab.target --log-target=null
"#;

/// The units that every world has. None of them pulls in what the machine would start.
const UNITS: [(&str, &str); 4] = [
    (
        "lab.target",
        "[Unit]\nDefaultDependencies=no\nWants=dbus.service\nAfter=dbus.service\nAllowIsolate=yes\n",
    ),
    (
        "dbus.socket",
        "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=/run/dbus/system_bus_socket\n",
    ),
    (
        "dbus.service",
        "[Unit]\nDefaultDependencies=no\nRequires=dbus.socket\nAfter=dbus.socket\n[Service]\nType=notify\n\
         ExecStart=/usr/bin/dbus-daemon --system --address=systemd: --nofork --nopidfile --systemd-activation\n",
    ),
    ("shutdown.target", "[Unit]\nDefaultDependencies=no\n"),
];

/// A running world.
#[derive(Debug)]
pub struct World {
    // Dropped in this order: first the process, with which all in the world end.
    systemd: Unshared,
    cgroup: Cgroup,
    folder: Folder,
    _keeper: Keeper,
}

/// `unshare`, whose child is the world's first process and ends with it.
#[derive(Debug)]
struct Unshared(Child);

impl Drop for Unshared {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to be done.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The first child of a process: what `unshare` or `nsenter` have become in another pid namespace.
pub fn child_of(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Writes the file of a unit, or a drop-in of one.
fn write_unit(folder: &Folder, name: &str, text: &str) -> Result<PathBuf> {
    let name = format!("units/{name}");
    if let Some(parent) = folder.file(&name).parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    folder.write(&name, text.as_bytes())
}

impl World {
    /// Starts a world with some units: pairs of a name and the text of its file. `program` is the lab's binary. Needs
    /// root.
    pub fn boot(program: &Path, units: &[(&str, &str)]) -> Result<Self> {
        Self::boot_with(program, units, "ro", None)
    }

    /// The same with a `/sys` that may be written to, by which networkd knows that there is an udev that it has to wait
    /// for (`udev_available` in src/shared/udev-util.c of systemd). [`World::devices_are_ready`] stands for that.
    pub fn boot_with_devices(program: &Path, units: &[(&str, &str)]) -> Result<Self> {
        Self::boot_with(program, units, "rw", None)
    }

    /// The same in a network namespace that there is already, whose kernel parameters may be set in the world.
    pub fn boot_in(program: &Path, netns: &Netns, units: &[(&str, &str)]) -> Result<Self> {
        Self::boot_with(program, units, "rw", Some(netns))
    }

    fn boot_with(program: &Path, units: &[(&str, &str)], sys: &str, netns: Option<&Netns>) -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("tl-{}-world{number}", std::process::id());
        let keeper = Keeper::start(program, std::slice::from_ref(&name))?;
        let folder = Folder::new()?;
        for name in ["root", "units", "dbus", "lab"] {
            let path = folder.file(name);
            fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        let notices = UnixDatagram::bind(folder.file("lab/notify")).context("cannot listen to systemd")?;
        let cgroup = Cgroup::create(&name)?;
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--pid", "--fork", "--kill-child=SIGKILL"])
            .args(netns.is_none().then_some("--net"))
            .args([
                "--uts",
                "--ipc",
                "--cgroup",
                "--propagation",
                "private",
                "sh",
                "-c",
                SCRIPT,
                "sh",
            ])
            .arg(folder.path())
            .args([SYSTEMD, sys, if netns.is_some() { "own" } else { "" }])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        process::bind(&mut command, libc::SIGKILL, netns.map(Netns::open).transpose()?);
        cgroup.hold(&mut command)?;
        for (name, text) in UNITS.iter().chain(units) {
            write_unit(&folder, name, text)?;
        }
        let child = command
            .spawn()
            .context("cannot run unshare (package util-linux)")?;
        let mut world = Self {
            systemd: Unshared(child),
            cgroup,
            folder,
            _keeper: keeper,
        };
        world.wait_until_ready(&notices)?;
        Ok(world)
    }

    /// Waits until systemd says that all of its target is there.
    fn wait_until_ready(&mut self, notices: &UnixDatagram) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        notices.set_read_timeout(Some(Duration::from_millis(200)))?;
        let mut buffer = [0; 4096];
        while Instant::now() < end {
            if let Ok(length) = notices.recv(&mut buffer)
                && buffer[..length].starts_with(b"READY=1")
            {
                return Ok(());
            }
            if let Some(status) = self.systemd.0.try_wait()? {
                bail!("the world's systemd has ended: {status} (packages systemd and dbus)");
            }
        }
        bail!("the world's systemd is not ready after {PATIENCE:?}")
    }

    /// Where its bus is, as a D-Bus address.
    pub fn bus(&self) -> String {
        let socket = self.folder.file("dbus/system_bus_socket");
        format!("unix:path={}", socket.display())
    }

    /// The cgroup that is the root to its systemd, as `/proc/PID/cgroup` has it on the machine.
    pub fn cgroup(&self) -> &str {
        self.cgroup.path()
    }

    /// Writes the file of a unit, or a drop-in of one (`x.service.d/y.conf`). systemd reads it when it next reloads, or first
    /// asks for it.
    pub fn unit(&self, name: &str, text: &str) -> Result<PathBuf> {
        write_unit(&self.folder, name, text)
    }

    /// A file that the machine and the world both have: its path on the machine, and in the world.
    pub fn shared(&self, name: &str) -> (PathBuf, String) {
        (self.folder.file("lab").join(name), format!("/run/lab/{name}"))
    }

    /// The id of its systemd on the machine.
    pub fn pid(&self) -> Result<u32> {
        child_of(self.systemd.0.id()).context("the world has ended")
    }

    /// Its root, as it is on the machine.
    pub fn root(&self) -> Result<PathBuf> {
        Ok(PathBuf::from(format!("/proc/{}/root", self.pid()?)))
    }

    /// Starts the journal, to which its systemd then tells what it does; else it tells that nobody.
    pub fn keep_journal(&self) -> Result<()> {
        self.systemctl(&["start", "systemd-journald.service"])?;
        self.systemctl(&["log-target", "journal"])?;
        Ok(())
    }

    /// Tells networkd that udev is done with all devices that there are.
    pub fn devices_are_ready(&self) -> Result<()> {
        let root = self.root()?;
        let udev = root.join("run/udev");
        let data = udev.join("data");
        fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
        let listed = self.run("sh", &["-c", "cat /sys/class/net/*/ifindex"])?;
        for index in String::from_utf8_lossy(&listed.stdout).lines() {
            fs::write(data.join(format!("n{index}")), "I:1000000\n")?;
        }
        fs::write(udev.join("control"), "").context("cannot stand for udev")
    }

    /// A program with its arguments, in the world. It ends with the thread that starts it.
    pub fn command(&self, program: &str, args: &[&str]) -> Result<Command> {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.pid()?.to_string()])
            .args([
                "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--root", "--wd", "--", program,
            ])
            .args(args);
        process::bind(&mut command, libc::SIGKILL, None);
        Ok(command)
    }

    /// Runs a program in the world, and makes an error of its failure.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<Output> {
        let output = self
            .command(program, args)?
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run nsenter {program}"))?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
            bail!("{program} {} failed: {why}", args.join(" "));
        }
        Ok(output)
    }

    /// Waits until a service has so many processes, at most [`PATIENCE`]: what it is to begin it has begun.
    pub fn wait_for_processes(&self, service: &str, least: usize) -> Result<()> {
        let processes = format!("/sys/fs/cgroup/system.slice/{service}/cgroup.procs");
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            // Where it is not there yet, neither are they.
            let there = self
                .run("cat", &[&processes])
                .map_or(Vec::new(), |output| output.stdout);
            if there.iter().filter(|byte| **byte == b'\n').count() >= least {
                return Ok(());
            }
        }
        bail!("{service} has no {least} processes after {PATIENCE:?}")
    }

    /// `systemctl` with some arguments.
    pub fn systemctl(&self, args: &[&str]) -> Result<String> {
        let output = self.run("systemctl", args)?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}
