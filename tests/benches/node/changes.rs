//! How late a change is in the model: from before the command that makes it is started, until the model of a whole running
//! tracer, with its BPF programs and its rounds, has it.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use lab::world::World;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tracer::diagnosis;
use tracer::report::{Change, ChangeKind};
use tracer::session::Session;
use tracer::watch::ROUND_MS;

use super::{UPLINK, unit};

/// What takes longer is not told at all.
const PATIENCE: Duration = Duration::from_secs(10);
/// From one change to the next, in ms: each comes at another place in the tracer's rounds.
const PAUSES: [u64; 7] = [20, 45, 70, 95, 120, 145, 170];

/// A change of one kind.
struct Kind {
    name: &'static str,
    /// How many of it are made.
    many: usize,
    /// The command for the one with that number.
    command: fn(usize) -> String,
    /// What the change is of, or what it has become, has this in it.
    told: fn(usize) -> String,
    /// Made by systemd; else by a command in the world's network namespace.
    is_unit: bool,
}

/// 500 in all, those that the tracer itself has to look for left out.
const KINDS: [Kind; 8] = [
    Kind {
        name: "route",
        many: 80,
        command: |n| format!("ip route add 198.18.0.{n}/32 dev {UPLINK}"),
        told: |n| format!("route 198.18.0.{n}/32"),
        is_unit: false,
    },
    Kind {
        name: "rule",
        many: 60,
        command: |n| format!("ip rule add pref {} lookup 77", 1000 + n),
        told: |n| format!("rule {}: ", 1000 + n),
        is_unit: false,
    },
    Kind {
        name: "address",
        many: 60,
        command: |n| format!("ip address add 198.19.0.{n}/32 dev {UPLINK}"),
        told: |n| format!("address 198.19.0.{n}/32 on "),
        is_unit: false,
    },
    Kind {
        name: "device",
        many: 60,
        command: |n| format!("ip link add dev-{n}- type bridge"),
        told: |n| format!("device dev-{n}-"),
        is_unit: false,
    },
    Kind {
        name: "neighbour",
        many: 60,
        command: |n| format!("ip neigh add 198.18.1.{n} lladdr 02:00:00:00:00:01 dev {UPLINK}"),
        told: |n| format!("neighbour 198.18.1.{n} on "),
        is_unit: false,
    },
    Kind {
        name: "nftables",
        many: 60,
        command: |n| format!("nft add rule inet lab in tcp dport {} accept", 1000 + n),
        told: |n| format!("dport {} accept", 1000 + n),
        is_unit: false,
    },
    Kind {
        name: "sysctl, told",
        many: 60,
        command: |n| format!("sysctl -qw net.ipv4.conf.{UPLINK}.rp_filter={}", n % 2 + 1),
        told: |_| format!("sysctl net.ipv4.conf.{UPLINK}.rp_filter"),
        is_unit: false,
    },
    Kind {
        name: "unit",
        many: 60,
        command: |n| {
            let deed = if n < 30 { "stop" } else { "start" };
            format!("systemctl {deed} {}", unit(n % 30))
        },
        told: |n| unit(n % 30),
        is_unit: true,
    },
];

/// No change of it is told: the tracer looks once a second.
const POLLED: Kind = Kind {
    name: "sysctl, looked at each second",
    many: 20,
    command: |n| format!("sysctl -qw net.ipv4.conf.{UPLINK}.arp_filter={}", (n + 1) % 2),
    told: |_| format!("sysctl net.ipv4.conf.{UPLINK}.arp_filter"),
    is_unit: false,
};

/// A tracer, and how its rounds go.
struct Watching {
    session: Session,
    rounds: tokio::time::Interval,
}

/// All kinds, each with the time of each of its changes in ms, in the order in which they were made.
pub(crate) fn measure(world: &World) -> Result<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(all(world))
}

async fn all(world: &World) -> Result<Value> {
    let mut rounds = interval(Duration::from_millis(ROUND_MS));
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watching = Watching {
        session: Session::start(&super::options(world)?, None)?,
        rounds,
    };
    // All that stands is told first.
    watching.go_on(Duration::from_secs(10)).await?;
    let mut found: Vec<(&Kind, Vec<f64>)> = KINDS
        .iter()
        .chain([&POLLED])
        .map(|kind| (kind, Vec::new()))
        .collect();
    let mut pauses = PAUSES.iter().cycle();
    let most = KINDS.iter().map(|kind| kind.many).max().unwrap_or_default();
    // In turns, so that what else the machine does meets all kinds.
    for number in 0..most {
        for (kind, times) in found.iter_mut().filter(|(kind, _)| number < kind.many) {
            watching
                .go_on(Duration::from_millis(*pauses.next().unwrap_or(&100)))
                .await?;
            let took = watching.one(world, kind, number).await?;
            times.push(took.as_secs_f64() * 1e3);
        }
    }
    watching.session.finish()?;
    let kinds = found
        .into_iter()
        .map(|(kind, times)| json!({ "kind": kind.name, "polled": kind.name == POLLED.name, "ms": times }));
    Ok(kinds.collect())
}

impl Watching {
    /// Watches for so long.
    async fn go_on(&mut self, length: Duration) -> Result<()> {
        let end = tokio::time::Instant::now() + length;
        loop {
            tokio::select! {
                biased;
                () = sleep_until(end) => return Ok(()),
                _ = self.rounds.tick() => self.session.round()?,
                () = self.session.changed() => {}
            }
        }
    }

    /// Makes a change, and watches until the model has it.
    async fn one(&mut self, world: &World, kind: &Kind, number: usize) -> Result<Duration> {
        let (line, told) = ((kind.command)(number), (kind.told)(number));
        let before = self.last();
        let mut command = command(world, kind, &line)?;
        let begin = Instant::now();
        let made = thread::spawn(move || command.output());
        let is_told = |change: &Change| {
            let after = change.after.as_deref().unwrap_or_default();
            change.number > before
                && matches!(change.kind, ChangeKind::Setting | ChangeKind::Unit)
                && (change.object.contains(&told) || after.contains(&told))
        };
        let took = loop {
            let end = tokio::time::Instant::from_std(begin + PATIENCE);
            tokio::select! {
                biased;
                () = sleep_until(end) => bail!("{line}: not told in {PATIENCE:?}"),
                _ = self.rounds.tick() => self.session.round()?,
                () = self.session.changed() => {}
            }
            // Before anything is done to find it.
            let now = begin.elapsed();
            let report = diagnosis::node(self.session.model());
            if report.node.changes.iter().any(is_told) {
                break now;
            }
        };
        let output = made.join().map_err(|_| anyhow!("{line}: its thread has ended"))?;
        let output = output.with_context(|| format!("{line}: cannot be run"))?;
        if !output.status.success() {
            bail!("{line}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(took)
    }

    /// The number of the last change that was told.
    fn last(&self) -> u64 {
        diagnosis::node(self.session.model()).node.changes_total
    }
}

fn command(world: &World, kind: &Kind, line: &str) -> Result<Command> {
    let mut words = line.split(' ');
    let program = words.next().unwrap_or_default();
    let args: Vec<&str> = words.collect();
    let mut command = if kind.is_unit {
        world.command(program, &args)?
    } else {
        // The world's /proc/sys is read-only; what is of the namespace can be reached by the machine's.
        let mut command = Command::new("nsenter");
        command.args(["--target", &world.pid()?.to_string(), "--net", "--", program]);
        command.args(args);
        command
    };
    command.stdin(Stdio::null());
    Ok(command)
}
