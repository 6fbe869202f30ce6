//! What can be broken, as data: the same for a person at the screen and for the tests.

mod list;
mod need;

use anyhow::{Context, Result};

pub use self::list::STAGES;
pub use self::need::{Need, is_own_machine};
use crate::bpf::{Hook, Way, Word};
use crate::incident;
use crate::near::nearest;
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
    /// Adds a device to the node, eth1 with 10.11.0.2, that leads to the peer's 10.11.0.1.
    SecondUplink,
    /// Sets a sysctl: its name and the value.
    Sysctl(Place, &'static str, &'static str),
    /// Sets a sysctl that all namespaces have in common, until [`Step::MachineBack`] or the end of the lab. Only for
    /// scenarios that have [`Need::Machine`].
    Machine(&'static str, &'static str),
    /// Sets the machine's clock forward by so many seconds, likewise.
    Clock(u32),
    /// Suspends the machine for so many seconds. Only for scenarios that have [`Need::Machine`] and [`Need::Suspend`].
    Suspend(u32),
    /// Sets all of these back to what they were, and gives sockets their memory back.
    MachineBack,
    /// Leaves next to no memory to the sockets of the node's processes that are started from now on. Where the machine is
    /// the lab's own, by this sysctl of a protocol, which all its sockets have in common; else by a cgroup. Only for
    /// scenarios that have [`Need::SocketMemory`].
    BoundSocketMemory(&'static str),
    /// `nft COMMANDS`
    Nft(Place, &'static str),
    /// Starts a process of the traffic.
    Start(Actor),
    /// Kills a process of the traffic, by its name.
    Stop(&'static str),
    /// Waits until a process of the traffic has done so much with each of its addresses, by its name.
    Await(&'static str, u64),
    /// Starts a process of the traffic in the lab's own cgroup, as systemd starts a unit.
    Enclose(Actor),
    /// Attaches a BPF program to the lab's own cgroup that refuses all that goes this way, as each of the two does that
    /// systemd has for `IPAddressDeny=any`.
    Refuse(Way),
    /// Stops a process of the traffic where it is (SIGSTOP), by its name.
    Freeze(&'static str),
    /// And lets it go on (SIGCONT).
    Thaw(&'static str),
    /// Any other program of the system, such as `tc` or `conntrack`: its command line, parted by spaces.
    Run(Place, &'static str),
    /// Fills the table of connection tracking with connections that nobody has, until there is room for so many others.
    FillConntrack(Place, u32),
    /// Fills what is left of it, and keeps it full.
    KeepConntrackFull,
    /// Ends that, and takes all connections out of it.
    EmptyConntrack(Place),
    /// Attaches a BPF program that says the same of every packet, at a hook of a device.
    Attach(Place, Hook, &'static str, Word),
    /// Detaches all of these.
    Detach,
}

/// What kind of drop the tracer says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the classes of the tracer's report")]
pub enum Class {
    State,
    Resource,
    Policy,
    Protocol,
    Environment,
    Unclassified,
}

impl Class {
    /// As the report writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Resource => "resource",
            Self::Policy => "policy",
            Self::Protocol => "protocol",
            Self::Environment => "environment",
            Self::Unclassified => "unclassified",
        }
    }
}

/// A column of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns of the tracer's report")]
pub enum Column {
    Delivered,
    Forwarded,
    Answered,
    Dropped,
    Queued,
}

impl Column {
    /// All but `arrived` and `unexplained`.
    pub const ALL: [Self; 5] = [
        Self::Delivered,
        Self::Forwarded,
        Self::Answered,
        Self::Dropped,
        Self::Queued,
    ];

    /// As the report writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Forwarded => "forwarded",
            Self::Answered => "answered",
            Self::Dropped => "dropped",
            Self::Queued => "queued",
        }
    }
}

/// A row of drops that the tracer must show.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedDrop {
    /// The kernel's name of the reason, without prefix; several where kernels differ.
    pub reasons: &'static [&'static str],
    /// The kernel function, without the suffixes that a compiler may add; several where kernels differ.
    pub symbols: &'static [&'static str],
    /// What kind of drop.
    pub class: Class,
    /// Whether the kernel had found the socket; `None` where it depends on the protocol.
    pub socket_found: Option<bool>,
    /// What a kernel must have to tell that; where it has not, any answer will do.
    pub socket_needs: Option<Need>,
    /// They had arrived; else the node was sending them.
    pub incoming: bool,
    /// What the row's `detail` says; `None`: anything.
    pub detail: Option<&'static str>,
    /// And behind it, where the rules of nf_tables drop packets themselves (since 6.7).
    pub chain: Option<&'static str>,
}

impl ExpectedDrop {
    /// Packets that had arrived.
    pub const fn of(
        reasons: &'static [&'static str],
        symbols: &'static [&'static str],
        class: Class,
    ) -> Self {
        Self {
            reasons,
            symbols,
            class,
            socket_found: None,
            socket_needs: None,
            incoming: true,
            detail: None,
            chain: None,
        }
    }

    /// With this detail.
    pub const fn detail(self, detail: &'static str) -> Self {
        Self {
            detail: Some(detail),
            ..self
        }
    }

    /// And behind that with this chain, where it can be known.
    pub const fn chain(self, chain: &'static str) -> Self {
        Self {
            chain: Some(chain),
            ..self
        }
    }

    /// And for which the kernel had found the socket, or had not.
    pub const fn socket_found(self, found: bool) -> Self {
        Self {
            socket_found: Some(found),
            ..self
        }
    }

    /// The socket is known only where `kfree_skb` hands it over (since 6.11): nothing else about the packet tells it.
    pub const fn if_handed_over(self) -> Self {
        Self {
            socket_needs: Some(Need::Field("skb/kfree_skb", "rx_sk")),
            ..self
        }
    }

    /// Whether a row may say this of the socket.
    pub fn has_socket(&self, told: bool) -> bool {
        let as_expected = self.socket_found.is_none_or(|found| told == found);
        as_expected || self.socket_needs.is_some_and(|need| need.missing().is_some())
    }

    /// Packets that the node was sending: they are no arrivals, and not in the ledger.
    pub const fn outgoing(self) -> Self {
        Self {
            incoming: false,
            ..self
        }
    }

    /// Whether a location such as `ip_rcv_finish_core.constprop.0+0x1ac` is in the expected function.
    pub fn is_at(&self, location: &str) -> bool {
        self.symbols.iter().any(|symbol| {
            location
                .strip_prefix(symbol)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '+']))
        })
    }

    /// Whether a row of this location may have this detail.
    pub fn has_detail(&self, location: &str, told: &str) -> bool {
        let Some(detail) = self.detail else {
            return true;
        };
        match self.chain.filter(|_| location.starts_with("nft_do_chain")) {
            Some(chain) => told.strip_prefix(detail).and_then(|rest| rest.strip_prefix(": ")) == Some(chain),
            None => told == detail,
        }
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
    /// The column of the ledger in which the packets end that the scenario is about, and at least how many do.
    pub column: Option<(Column, u64)>,
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
    /// What the kernel must have to produce it.
    pub needs: &'static [Need],
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

impl Scenario {
    /// Nothing is broken that the node's own sockets wait for: no verdict may be more than a weak sign.
    pub fn is_sound(&self) -> bool {
        self.expect.exit_code == 0
    }

    /// Why it cannot be produced on this machine; `None` where it can.
    pub fn skipped(&self) -> Option<String> {
        self.needs.iter().find_map(Need::missing)
    }
}

/// Every scenario, in the order in which they are listed.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    STAGES.iter().flat_map(|stage| stage.scenarios)
}

/// Scenarios that break the same part of the way of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Stage {
    /// In a few words.
    pub title: &'static str,
    /// Its scenarios.
    pub scenarios: &'static [Scenario],
}

/// The scenarios of these names; all, where none is named.
///
/// # Errors
/// Where there is none of a name.
pub fn named(names: &[String]) -> Result<Vec<&'static Scenario>> {
    match names {
        [] => Ok(all().collect()),
        names => names.iter().map(|name| find(name)).collect(),
    }
}

/// The scenario of that name. The error names those that are like it, also incidents.
pub fn find(name: &str) -> Result<&'static Scenario> {
    all().find(|scenario| scenario.name == name).with_context(|| {
        let incidents = incident::VARIANTS.iter().map(|variant| variant.name);
        let near = nearest(name, incidents.chain(all().map(|scenario| scenario.name)));
        let like = match near.as_slice() {
            [] => String::new(),
            near => format!("; like it: {}", near.join(", ")),
        };
        format!("no scenario is called {name}{like}; --list names all")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_is_told_what_is_like_it() {
        let told = |name: &str| find(name).unwrap_err().to_string();
        assert_eq!(
            told("incidnt"),
            "no scenario is called incidnt; like it: incident; --list names all"
        );
        assert!(told("nft-policy").contains("nft-output"));
    }

    #[test]
    fn names_are_unique_and_found() {
        for scenario in all() {
            assert!(
                std::ptr::eq(find(scenario.name).unwrap(), scenario),
                "{} twice",
                scenario.name
            );
        }
    }

    #[test]
    fn every_stopped_actor_runs_and_is_started_again_by_the_heal() {
        for scenario in all() {
            for step in scenario.break_it {
                let Step::Stop(name) = step else { continue };
                let named = |actor: &Actor| actor.name == *name;
                let starts = |step: &Step| matches!(step, Step::Start(actor) if named(actor));
                // One that only the break has started is no part of the node that was sound.
                if scenario.break_it.iter().any(starts) {
                    continue;
                }
                assert!(scenario.traffic.iter().any(named), "{}: {name}", scenario.name);
                assert!(scenario.heal.iter().any(starts), "{}: {name}", scenario.name);
            }
        }
    }

    #[test]
    fn who_changes_the_machine_needs_one_of_its_own() {
        for scenario in all() {
            let steps = scenario.setup.iter().chain(scenario.break_it);
            let changes = steps
                .into_iter()
                .any(|step| matches!(step, Step::Machine(..) | Step::Clock(..) | Step::Suspend(..)));
            assert_eq!(
                changes,
                scenario.needs.contains(&Need::Machine),
                "{}",
                scenario.name
            );
        }
    }

    #[test]
    fn a_location_is_matched_by_its_whole_symbol() {
        let drop = ExpectedDrop::of(&["NOT_SPECIFIED"], &["nf_hook_slow", "ip_forward"], Class::State);
        assert!(drop.is_at("ip_forward+0x1c4"));
        assert!(drop.is_at("nf_hook_slow+0x1"));
        assert!(drop.is_at("ip_forward.isra.0+0x1"));
        assert!(!drop.is_at("ip_forward_finish+0x1"));
        assert!(!drop.is_at("ip6_forward+0x1"));
    }
}
