//! What systemd says of its units, jobs and timers, over D-Bus.
//!
//! Nothing is asked again and again: systemd tells when something changes, and what is then read is all that is told of
//! that unit. `address` is where a bus is, `bus` the connection (`private` without a bus), `properties` and `names` read what comes, `known` is
//! what was told so far, `follow` keeps to it, `jobs` tells of those that are over at once, `processes` looks at those of a unit,
//! `freezing` is woken where they are frozen.

mod address;
mod bus;
mod follow;
mod freezing;
mod jobs;
mod known;
mod names;
mod private;
mod processes;
mod properties;

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep};

use address::Address;
pub use address::Addresses;
use bus::{Bus, Heard};
use follow::Follower;

use super::journal::Wanted;
use super::source::{Gone, Teller};
use crate::event::{Body, Capability, CapabilityState};

/// The capability of this source.
pub const CAPABILITY: &str = "systemd";
/// What is not seen without it.
pub const LOST: &str = "what systemd does (units, jobs, timers) is not seen";

/// The variable that names the bus for systemd's own tools, too.
const VARIABLE: &str = "DBUS_SYSTEM_BUS_ADDRESS";
/// From one try to reach a bus to the next.
const PAUSE: Duration = Duration::from_secs(1);
/// The same while systemd runs itself anew.
const SHORT_PAUSE: Duration = Duration::from_millis(100);

/// Which systemd.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where its bus is. `None`: where `DBUS_SYSTEM_BUS_ADDRESS` says, else at the places of every node.
    pub bus: Option<Addresses>,
    /// The cgroup that is the root to it, as `/proc/PID/cgroup` names it; empty for that of the node.
    pub cgroup_root: String,
}

impl Options {
    /// Whether it is that of this node, as far as nobody says otherwise.
    #[must_use]
    pub fn is_of_node(&self) -> bool {
        self.bus.is_none() && std::env::var_os(VARIABLE).is_none_or(|address| address.is_empty())
    }
}

/// Tells what systemd says until the source is to end. What timers start is `wanted` of the journal.
pub fn run(teller: &Teller, options: &Options, wanted: &Wanted) {
    let unavailable = |why: String| Capability {
        name: CAPABILITY.to_owned(),
        state: CapabilityState::Unavailable,
        why: format!("{why}; {LOST}"),
    };
    let addresses = match addresses(options) {
        Ok(addresses) => addresses,
        Err(why) => {
            // Nobody may take it any more: then it ends as well.
            let _ = teller.tell(Body::Capability(unavailable(why)));
            wanted.set(BTreeSet::new());
            return;
        }
    };
    let done = teller.block_on(follow(teller, &addresses, options, wanted));
    if let Err(error) = done {
        let _ = teller.tell(Body::Capability(unavailable(format!(
            "its thread cannot wait for events: {error}"
        ))));
    }
}

fn addresses(options: &Options) -> Result<Addresses, String> {
    if let Some(addresses) = &options.bus {
        return Ok(addresses.clone());
    }
    match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => text.parse().map_err(|why| format!("{VARIABLE}={why}")),
        Ok(_) | Err(std::env::VarError::NotPresent) => Ok(Addresses::of_node()),
        Err(error) => Err(format!("{VARIABLE}: {error}")),
    }
}

/// Follows systemd from one connection to the next.
async fn follow(teller: &Teller, addresses: &Addresses, options: &Options, wanted: &Wanted) -> Gone {
    let mut follower = Follower::new(teller, &options.cgroup_root, wanted);
    // Until then it may be that systemd only runs itself anew.
    let mut grace: Option<Instant> = None;
    loop {
        let why = match connect(addresses).await {
            Ok((bus, signals, address)) => {
                grace = None;
                let end = match follower.session(bus, signals, address).await {
                    Ok(end) => end,
                    Err(gone) => return gone,
                };
                if end.expected {
                    grace = Some(Instant::now() + follow::ABSENCE);
                }
                end.why
            }
            Err(why) => why,
        };
        if grace.is_some_and(|end| Instant::now() < end) {
            sleep(SHORT_PAUSE).await;
        } else {
            if let Err(gone) = follower.lost(&why).await {
                return gone;
            }
            sleep(PAUSE).await;
        }
    }
}

/// The first address where systemd is; else the first where a bus is, on which systemd may come to be. A bus that does not run is
/// not connected to: systemd holds its socket, and would start it. That only systemd itself can tell, which answers root, and is
/// asked where it is among the addresses.
async fn connect(addresses: &Addresses) -> Result<(Bus, Receiver<Heard>, &Address), String> {
    if let Some(private) = addresses.iter().find(|address| address.is_private())
        && let Ok((bus, signals)) = Bus::connect(private).await
        && bus.runs_a_bus().await == Ok(false)
    {
        return Ok((bus, signals, private));
    }
    let mut failures = Vec::new();
    let mut empty = None;
    for address in addresses.iter() {
        match Bus::connect(address).await {
            Ok((bus, signals)) if bus.has_systemd() => return Ok((bus, signals, address)),
            Ok((bus, signals)) => empty = empty.or(Some((bus, signals, address))),
            Err(failure) => failures.push(format!("{address}: {failure}")),
        }
    }
    empty.ok_or_else(|| failures.join("; "))
}
