//! What can be broken, as data: the same for a person at the screen and for the tests.

mod list;

use anyhow::{Context, Result};

pub use self::list::ALL;
use crate::traffic::Role;

/// One of the namespaces of the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// The router and all of the "internet".
    Peer,
    /// The node that the tracer watches.
    Node,
    /// A pod on the node.
    Pod,
}

/// A process of the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actor {
    /// By which steps and tests name it.
    pub name: &'static str,
    /// Where it runs.
    pub place: Place,
    /// What it does.
    pub role: Role,
    /// At which addresses.
    pub addresses: &'static [&'static str],
}

/// Something that is done to the lab.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// `ip -n PLACE ARGS`. `{peer}` in it stands for the name of the peer's namespace.
    Ip(Place, &'static str),
    /// Sets a sysctl: its name and the value.
    Sysctl(Place, &'static str, &'static str),
    /// `nft COMMANDS`
    Nft(Place, &'static str),
    /// Starts a process of the traffic.
    Start(Actor),
    /// Kills a process of the traffic, by its name.
    Stop(&'static str),
}

/// A row of drops that the tracer must show.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedDrop {
    /// The kernel's name of the reason, without prefix.
    pub reason: &'static str,
    /// The kernel function, without the suffixes that a compiler may add; several where kernels differ.
    pub symbols: &'static [&'static str],
    /// Whether the kernel had found the socket; `None` where it depends on the protocol.
    pub socket_found: Option<bool>,
}

impl ExpectedDrop {
    /// Whether a location such as `ip_rcv_finish_core.constprop.0+0x1ac` is in the expected function.
    pub fn is_at(&self, location: &str) -> bool {
        self.symbols.iter().any(|symbol| {
            location
                .strip_prefix(symbol)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '+']))
        })
    }
}

/// What the tracer must say, and nothing worse.
#[derive(Clone, Copy, Debug)]
pub struct Expectation {
    /// The exit code of `tracer diagnose`.
    pub exit_code: i32,
    /// The report's `where`.
    pub place: &'static str,
    /// The id of the first verdict; `None`: there is none at all.
    pub verdict: Option<&'static str>,
    /// Each of these is among the drops.
    pub drops: &'static [ExpectedDrop],
    /// The command of a process that the first verdict names as starved, and the actor that it is.
    pub starved: Option<Actor>,
    /// The largest share of the arrivals that may stay unexplained.
    pub most_unexplained: f64,
}

/// A way to break a node.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Name on the command line.
    pub name: &'static str,
    /// In a few words.
    pub title: &'static str,
    /// What it breaks, in plain words.
    pub breaks: &'static str,
    /// What the tracer should say.
    pub says: &'static str,
    /// Makes the healthy node of the topology the one that this scenario is about.
    pub setup: &'static [Step],
    /// What runs from the start.
    pub traffic: &'static [Actor],
    /// Breaks the node.
    pub break_it: &'static [Step],
    /// Mends it; empty where nothing is broken.
    pub heal: &'static [Step],
    /// What the tracer must say.
    pub expect: Expectation,
    /// It must say so too where it was started after the break.
    pub late: bool,
}

/// The scenario of that name. The error names all there are.
pub fn find(name: &str) -> Result<&'static Scenario> {
    ALL.iter()
        .find(|scenario| scenario.name == name)
        .with_context(|| {
            let names: Vec<_> = ALL.iter().map(|scenario| scenario.name).collect();
            format!("no scenario is called {name}; there are: {}", names.join(", "))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for scenario in ALL {
            assert!(
                std::ptr::eq(find(scenario.name).unwrap(), scenario),
                "{} twice",
                scenario.name
            );
        }
    }

    #[test]
    fn every_stopped_actor_runs_and_is_started_again_by_the_heal() {
        for scenario in ALL {
            for step in scenario.break_it {
                let Step::Stop(name) = step else { continue };
                let named = |actor: &Actor| actor.name == *name;
                assert!(scenario.traffic.iter().any(named), "{}: {name}", scenario.name);
                let restarts = |step: &Step| matches!(step, Step::Start(actor) if named(actor));
                assert!(scenario.heal.iter().any(restarts), "{}: {name}", scenario.name);
            }
        }
    }

    #[test]
    fn a_location_is_matched_by_its_whole_symbol() {
        let drop = ExpectedDrop {
            reason: "NOT_SPECIFIED",
            symbols: &["nf_hook_slow", "ip_forward"],
            socket_found: None,
        };
        assert!(drop.is_at("ip_forward+0x1c4"));
        assert!(drop.is_at("nf_hook_slow+0x1"));
        assert!(drop.is_at("ip_forward.isra.0+0x1"));
        assert!(!drop.is_at("ip_forward_finish+0x1"));
        assert!(!drop.is_at("ip6_forward+0x1"));
    }
}
