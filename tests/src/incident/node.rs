//! A node with a systemd of its own, between the peer and the pod of the lab.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Heal, KUBELET, POD, TIMER, UPGRADE, Variant, WEB, upgrade};
use crate::cgroup;
use crate::lab::{Lab, PATIENCE};
use crate::process;
use crate::scenario::{Actor, Place, Step};
use crate::traffic::{Counts, Role, SERVICE};
use crate::world::World;

/// The network's own service.
const NETWORKD: &str = "systemd-networkd.service";

/// Whom the services of the node ask.
const SERVER: Actor = Actor {
    name: "peer-server",
    place: Place::Peer,
    role: Role::Server,
    addresses: &["192.0.2.10:8080"],
};

/// The peer and the node know each other by fixed entries, as in most clouds: else the incident would turn into another one as
/// soon as those of ARP have run out, since a node without the rule does not answer ARP any more.
const NEIGHBOUR: Step = Step::Ip(
    Place::Peer,
    "neigh replace 10.10.0.2 dev node0 lladdr 02:00:0a:0a:00:02 nud permanent",
);

/// What networkd makes of the uplink, but for its addresses.
const NETWORK: &str = "[Match]\nName=eth0\n[Network]\nIPv6AcceptRA=no\n";

/// What wants the services: else systemd would forget one that is stopped.
const SERVICES: &str = "services.target";

/// The slice of a pod, as the kubelet makes it.
const POD_SLICE: &str = "kubepods-burstable-pod3f0c9c1e_5a64_4d0b_9d0e_8a2f6b1c7d55.slice";

/// A node with a systemd of its own, two services that ask the peer, and packages of which newer ones wait.
#[derive(Debug)]
pub struct Node {
    // Dropped in this order: first those who use the namespaces.
    world: World,
    lab: Lab,
    uplinks: &'static [&'static str],
}

impl Node {
    /// Makes the node as the variant wants it, and waits until its services are answered. `program` is the lab's binary. Needs
    /// root.
    pub fn build(variant: &Variant, program: &Path) -> Result<Self> {
        upgrade::check()?;
        let mut lab = Lab::build(program)?;
        lab.apply(&[NEIGHBOUR])?;
        lab.start(SERVER)?;
        let service = |name: &str, role: &str, more: &str| {
            format!(
                "[Unit]\nDefaultDependencies=no\n[Service]\n{more}ExecStart=/run/lab/program {SERVICE} {name} {role}\n"
            )
        };
        let asking = format!("client {}", SERVER.addresses[0]);
        let (kubelet, pod, web) = (
            service("kubelet", &asking, ""),
            service("web", &asking, &format!("Slice={POD_SLICE}\n")),
            service("web", "server 0.0.0.0:8080", ""),
        );
        let own: Vec<(&str, String)> = variant
            .services
            .iter()
            .map(|(name, lines)| {
                (
                    *name,
                    format!("[Unit]\nDefaultDependencies=no\n[Service]\n{lines}"),
                )
            })
            .collect();
        let wanted: Vec<&str> = own.iter().map(|(name, _)| *name).collect();
        let services = format!(
            "[Unit]\nDefaultDependencies=no\nWants={KUBELET} {POD} {WEB} {}\n",
            wanted.join(" ")
        );
        // apt asks logind for a lock, which would start all that the machine starts. An empty file masks it.
        let mut units = vec![
            (KUBELET, kubelet.as_str()),
            (POD, &pod),
            (WEB, &web),
            (SERVICES, &services),
            ("dbus-org.freedesktop.login1.service", ""),
        ];
        units.extend(own.iter().map(|(name, text)| (*name, text.as_str())));
        let world = World::boot_in(program, lab.netns(Place::Node), &units)?;
        let (there, _) = world.shared("program");
        copy(program, &there)?;
        let uplinks = variant.uplinks;
        let mut node = Self { world, lab, uplinks };
        for actor in variant.actors {
            node.lab.start(*actor)?;
        }
        node.configure(variant)?;
        upgrade::prepare(&node.world, variant)?;
        // Each by its name: that of the target does not wait for them, and a firewall that is just being set drops packets.
        let start = ["start", SERVICES].into_iter().chain(wanted.iter().copied());
        node.world.systemctl(&start.collect::<Vec<_>>())?;
        node.lab.wait_for(SERVER.name, |counts| {
            counts.values().all(|target| target.requests.done > 20)
        })?;
        for actor in variant.asks.into_iter().chain(variant.beside) {
            node.lab.start(actor)?;
            node.lab.wait_for(actor.name, |counts| {
                counts.values().all(|target| target.done() > 20)
            })?;
        }
        Ok(node)
    }

    /// Starts networkd, and when it has configured the uplink does what the plugin of the cluster's network does.
    fn configure(&mut self, variant: &Variant) -> Result<()> {
        self.lab.apply(variant.links)?;
        self.world.devices_are_ready()?;
        let folder = self.world.root()?.join("run/systemd/network");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let network = format!("{NETWORK}{}", variant.network);
        fs::write(folder.join("1.network"), network).context("cannot configure networkd")?;
        self.world.systemctl(&["start", NETWORKD])?;
        let configured = "grep -q ADMIN_STATE=configured /run/systemd/netif/links/10";
        until("an uplink that networkd has configured", || {
            Ok(self.world.run("sh", &["-c", configured]).ok())
        })?;
        self.lab.apply(variant.setup)
    }

    /// Mends it. Returns that in words.
    pub fn heal(&mut self, steps: &[Heal]) -> Result<String> {
        let mut told = Vec::new();
        for heal in steps {
            match heal {
                Heal::Step(step) => {
                    self.lab.apply(std::slice::from_ref(step))?;
                    told.push(self.lab.told(step));
                }
                Heal::World(lines) => {
                    self.world.run("sh", &["-ec", lines])?;
                    told.push((*lines).to_owned());
                }
            }
        }
        Ok(told.join("; "))
    }

    /// Waits until those who ask the peer have been answered some more times.
    pub fn goes_on(&mut self) -> Result<()> {
        let done = |counts: &Counts| counts.values().map(|target| target.requests.done).sum::<u64>();
        let before = done(&self.lab.wait_for(SERVER.name, |_| true)?);
        self.lab
            .wait_for(SERVER.name, |counts| done(counts) > before + 20)?;
        Ok(())
    }

    /// Its network namespace.
    pub fn netns(&self) -> &str {
        self.lab.netns(Place::Node).name()
    }

    /// What tells a tracer to watch this node.
    pub fn where_to_look(&self) -> Result<Vec<String>> {
        let netns = self.netns();
        let mut options = vec!["--netns".to_owned(), netns.to_owned()];
        for uplink in self.uplinks {
            options.extend(["--uplink".to_owned(), format!("{netns}:{uplink}")]);
        }
        options.extend(self.system()?);
        Ok(options)
    }

    /// What tells a tracer which systemd this node has, and where its packages are.
    pub fn system(&self) -> Result<Vec<String>> {
        let root = self.world.root()?;
        let options = [
            ("--systemd-bus", self.world.bus()),
            ("--cgroup-root", self.world.cgroup().to_owned()),
            ("--package-root", root.to_string_lossy().into_owned()),
        ];
        Ok(options
            .into_iter()
            .flat_map(|(name, value)| [name.to_owned(), value])
            .collect())
    }

    /// Starts the timer of the upgrade. Returns that in words.
    pub fn set_timer(&self) -> Result<String> {
        upgrade::set_timer(&self.world)?;
        Ok(format!(
            "{TIMER} is started; a drop-in has shrunk its window to {:?}, in {:?}",
            upgrade::WINDOW,
            upgrade::AHEAD
        ))
    }

    /// Whether the upgrade has configured the package that breaks the node, and is at the one that takes long.
    pub fn is_upgraded(&self) -> Result<bool> {
        // The name of the script, as the kernel cuts it.
        let script = &format!("{}.postinst", upgrade::SLOW)[..15];
        Ok(self.of_upgrade()?.iter().any(|(_, command)| command == script))
    }

    /// Asks systemd to stop the upgrade. Returns that in words.
    pub fn stop_upgrade(&self) -> Result<String> {
        self.world.systemctl(&["stop", "--no-block", UPGRADE])?;
        Ok(format!(
            "systemctl stop {UPGRADE}, which has {:?} for it",
            upgrade::STOP
        ))
    }

    /// The processes of the upgrade: their ids on the machine, and their commands. systemd is not asked: it may be about to run
    /// itself anew.
    fn of_upgrade(&self) -> Result<Vec<(u32, String)>> {
        let hierarchy = cgroup::hierarchy().context("no cgroup v2 hierarchy is mounted")?;
        let path = format!("{}/system.slice/{UPGRADE}/cgroup.procs", self.world.cgroup());
        // Before it has run there is none.
        let listed = fs::read_to_string(hierarchy.join(path.trim_start_matches('/'))).unwrap_or_default();
        let ids = listed.lines().filter_map(|line| line.parse().ok());
        Ok(ids
            .filter_map(|pid: u32| {
                let command = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
                Some((pid, command.trim_end().to_owned()))
            })
            .collect())
    }

    /// Kills apt and dpkg, as somebody does who takes them for hung. Returns that in words.
    pub fn kill_upgrade(&self) -> Result<String> {
        let mut killed = Vec::new();
        for command in ["apt-get", "dpkg"] {
            for (pid, name) in self.of_upgrade()? {
                if name == command {
                    process::send(pid, libc::SIGKILL)
                        .with_context(|| format!("cannot kill {name}[{pid}]"))?;
                    killed.push(format!("{name}[{pid}]"));
                }
            }
        }
        if killed.is_empty() {
            bail!("neither apt-get nor dpkg runs in {UPGRADE}");
        }
        Ok(format!(
            "kill -9 of {}, as somebody does who takes them for hung",
            killed.join(" and ")
        ))
    }
}

/// Copies a program, by another process: see [`crate::tracer::copy_to`].
fn copy(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp")
        .arg(from)
        .arg(to)
        .status()
        .context("cannot start cp")?;
    if !status.success() {
        bail!("copying {} to {}: {status}", from.display(), to.display());
    }
    Ok(())
}

/// Waits until there is something, at most [`PATIENCE`].
pub(super) fn until<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() > end {
            bail!("there is not {what} after {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
