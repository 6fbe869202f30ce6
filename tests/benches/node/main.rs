//! What watching the node costs, and how late it is: the sources of the tracer beside its packets, on a world with the
//! real systemd and many units in it. `cargo xtask bench --only node` runs it and holds it against what was promised.
//!
//! Prints one document of JSON. Needs root, and the tracer's binary in `TRACER_BIN`.

mod changes;
mod idle;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use lab::world::World;
use serde_json::json;

/// Units beside those that every world has.
const UNITS: usize = 300;
/// The device by which packets would come.
const UPLINK: &str = "lab0";

fn main() -> ExitCode {
    match measure() {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("node: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<serde_json::Value> {
    let world = world()?;
    let without = idle::measure(&world, &idle::SOURCES)?;
    let with = idle::measure(&world, &[])?;
    let changes = changes::measure(&world)?;
    Ok(json!({
        "units": UNITS,
        "idle": { "seconds": idle::LENGTH.as_secs(), "with": with, "without": without },
        "changes": changes,
    }))
}

/// A unit's name: every other one is a service that goes on running, the others have done what they do.
fn unit(number: usize) -> String {
    format!("lab{number}.service")
}

fn world() -> Result<World> {
    let runs = "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=sleep infinity\n";
    let ran =
        "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\n";
    let names: Vec<String> = (0..UNITS).map(unit).collect();
    let units: Vec<(&str, &str)> = names
        .iter()
        .enumerate()
        .map(|(number, name)| (name.as_str(), if number % 2 == 0 { runs } else { ran }))
        .collect();
    let world = World::boot(Path::new(env!("CARGO_BIN_EXE_lab")), &units)?;
    world.keep_journal()?;
    let mut start = vec!["start"];
    start.extend(names.iter().map(String::as_str));
    world.systemctl(&start)?;
    let network = format!(
        "ip link add {UPLINK} type veth peer name far0 && ip link set far0 up && ip link set {UPLINK} up && \
         ip link set lo up && ip address add 10.99.0.1/24 dev {UPLINK} && \
         nft add table inet lab && nft add chain inet lab in '{{ type filter hook input priority 0; }}'"
    );
    world.run("sh", &["-c", &network])?;
    Ok(world)
}

/// What watches the world: the tracer's options, with the folder of the world's journal.
fn options(world: &World) -> Result<tracer::watch::Options> {
    Ok(tracer::watch::Options {
        netns: Some(format!("/proc/{}/ns/net", world.pid()?)),
        uplinks: vec![UPLINK.to_owned()],
        examples_per_second: 10,
        systemd: tracer::node::systemd::Options {
            bus: Some(
                world
                    .bus()
                    .parse()
                    .ok()
                    .context("the world's bus has no address")?,
            ),
            cgroup_root: world.cgroup().to_owned(),
        },
        journal: Some(world.root()?.join("run/log/journal")),
        ..tracer::watch::Options::default()
    })
}
