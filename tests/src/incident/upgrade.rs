//! The upgrade: real packages, made for it, which the real apt finds in a repository and the real dpkg installs.
//!
//! The units are apt's own; drop-ins shrink their times. Only the program that Debian's script starts, `unattended-upgrade`, is
//! another one, as it need not be there: it runs `apt-get upgrade`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use super::{TIMER, UPGRADE, Variant};
use crate::process::run;
use crate::world::World;

/// How long after the timer is set its window begins.
pub(super) const AHEAD: Duration = Duration::from_secs(6);
/// How long its window is.
pub(super) const WINDOW: Duration = Duration::from_secs(2);
/// How long a stop may take; as shipped it is 15 min.
pub const STOP: Duration = Duration::from_secs(4);

/// The package whose configuration breaks the node.
const BREAKS: &str = "lab-network";
/// The package whose configuration takes long.
pub(super) const SLOW: &str = "lab-slow";

/// What a maintainer script does that takes long, whoever asks it to end or hangs up.
const SLOW_POSTINST: &str = "trap '' TERM HUP\nsleep 1000\n";

/// Before it is unpacked: to unpack takes a while, as it does with packages of some size.
const PREINST: &str = "sleep 1\n";

/// apt's own folders and dpkg's are empty in the world, so that nothing depends on what the machine has.
const EMPTY: &str = "\
for folder in /etc/apt /var/lib/apt /var/cache/apt /var/lib/dpkg /var/log; do mount -t tmpfs tmpfs $folder; done
mkdir -p /etc/apt/apt.conf.d /etc/apt/preferences.d /etc/apt/trusted.gpg.d /var/lib/apt/lists/partial /var/cache/apt/archives/partial
mkdir -p /var/lib/dpkg/info /var/lib/dpkg/updates /var/lib/dpkg/triggers /var/log/apt
touch /var/lib/dpkg/status
";

const CONFIG: &str = "\
APT::Periodic::Unattended-Upgrade \"always\";
";

const SOURCES: &str = "deb [trusted=yes] file:/run/lab/repository ./\n";

const UNATTENDED_UPGRADE: &str = "#!/bin/sh\nexec apt-get -y -q upgrade\n";

/// The service ignores SIGTERM, as a program does that ends its work first: so a stop comes to its limit.
const SERVICE: &str = "\
[Unit]
DefaultDependencies=no
[Service]
ExecStart=
ExecStart=/usr/bin/env --ignore-signal=TERM /usr/lib/apt/apt.systemd.daily install
";

/// Finds out whether this machine has what an upgrade takes.
pub(super) fn check() -> Result<()> {
    let units = Path::new("/lib/systemd/system");
    for unit in [UPGRADE, TIMER, "systemd-networkd.service"] {
        if !units.join(unit).exists() {
            bail!(
                "{} is not there: the incident is staged with the real units of systemd-networkd and apt, as Debian and \
                 Ubuntu have them",
                units.join(unit).display()
            );
        }
    }
    Ok(())
}

/// Installs the old packages, puts the new ones where apt finds them, and writes the drop-ins.
pub(super) fn prepare(world: &World, variant: &Variant) -> Result<()> {
    world.run("sh", &["-e", "-c", EMPTY])?;
    let root = world.root()?;
    write(&root.join("etc/apt/apt.conf.d/99lab"), CONFIG, 0o644)?;
    write(&root.join("etc/apt/sources.list"), SOURCES, 0o644)?;
    write(
        &root.join("usr/local/bin/unattended-upgrade"),
        UNATTENDED_UPGRADE,
        0o755,
    )?;
    let (repository, there) = world.shared("repository");
    fs::create_dir(&repository).with_context(|| format!("cannot make {}", repository.display()))?;
    let mut index = String::new();
    for (name, depends, postinst) in [
        (BREAKS, String::new(), variant.postinst),
        (
            SLOW,
            format!("Depends: {BREAKS} (= 2)\n"),
            if variant.ends { "" } else { SLOW_POSTINST },
        ),
    ] {
        let of = |release: String| (variant.modules && name == BREAKS).then_some(release);
        package(&repository, name, "1", "", &[], of(running()?))?;
        world.run("dpkg", &["--install", &format!("{there}/{name}_1.deb")])?;
        let scripts = [("preinst", PREINST), ("postinst", postinst)];
        let next = of(format!("{}-next", running()?));
        index += &package(&repository, name, "2", &depends, &scripts, next)?;
    }
    fs::write(repository.join("Packages"), index).context("cannot write the index of packages")?;
    world.run("apt-get", &["-q", "update"])?;
    let stop = format!("{SERVICE}TimeoutStopSec={}s\n", STOP.as_secs());
    world.unit(&format!("{UPGRADE}.d/lab.conf"), &stop)?;
    Ok(())
}

/// Sets the timer: its window begins soon, and is short.
pub(super) fn set_timer(world: &World) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at = (now + AHEAD).as_secs();
    let text = format!(
        "[Unit]\nDefaultDependencies=no\n[Timer]\nOnCalendar=\nOnCalendar=@{at}\nRandomizedDelaySec={}s\nAccuracySec=100ms\n",
        WINDOW.as_secs()
    );
    world.unit(&format!("{TIMER}.d/lab.conf"), &text)?;
    world.systemctl(&["daemon-reload"])?;
    world.systemctl(&["start", TIMER])?;
    Ok(())
}

/// The release of the kernel that runs.
fn running() -> Result<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("cannot ask for the kernel")?;
    Ok(release.trim().to_owned())
}

/// Puts the modules of a kernel into the tree of a package: none but those that are part of the kernel, which modprobe(8) has
/// nothing to do for.
fn add_modules(tree: &Path, release: &str) -> Result<()> {
    let folder = tree.join("lib/modules").join(release);
    write(&folder.join("modules.order"), "", 0o644)?;
    write(
        &folder.join("modules.builtin"),
        "kernel/net/netfilter/nf_conntrack.ko\n",
        0o644,
    )?;
    run(Command::new("depmod").arg("--basedir").arg(tree).arg(release), "").map(drop)
}

/// Builds a package with these scripts of its maintainer, and with the modules of a kernel where one is named. Returns its entry
/// of the index.
fn package(
    folder: &Path,
    name: &str,
    version: &str,
    more: &str,
    scripts: &[(&str, &str)],
    kernel: Option<String>,
) -> Result<String> {
    let tree = folder.join(format!("{name}-{version}"));
    let control = tree.join("DEBIAN");
    fs::create_dir_all(&control).with_context(|| format!("cannot make {}", control.display()))?;
    let mut entry = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: The lab <lab@localhost>\n{more}\
         Description: made for the lab\n"
    );
    write(&control.join("control"), &entry, 0o644)?;
    for (script, lines) in scripts {
        write(
            &control.join(script),
            &format!("#!/bin/sh\nset -e\n{lines}"),
            0o755,
        )?;
    }
    write(&tree.join(format!("usr/share/{name}/version")), version, 0o644)?;
    if let Some(release) = kernel {
        add_modules(&tree, &release)?;
    }
    let file = format!("{name}_{version}.deb");
    let path = folder.join(&file);
    run(
        Command::new("dpkg-deb")
            .args(["--root-owner-group", "--build"])
            .arg(&tree)
            .arg(&path),
        "",
    )?;
    let sum = run(Command::new("sha256sum").arg(&path), "")?;
    let sum = String::from_utf8_lossy(&sum.stdout);
    let sum = sum.split_whitespace().next().unwrap_or_default();
    let size = fs::metadata(&path)?.len();
    // Writing to a string does not fail.
    let _ = write!(entry, "Filename: ./{file}\nSize: {size}\nSHA256: {sum}\n\n");
    Ok(entry)
}

fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let told = || format!("cannot write {}", path.display());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(told)?;
    }
    fs::write(path, text).with_context(told)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).with_context(told)
}
