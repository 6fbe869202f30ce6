//! What a source can say. Everything that [`crate::model::Model`] knows came to it as an [`Event`].
//!
//! Events are recorded as they are (see [`crate::trace`]) and replayed into the same model, so they
//! carry names, not numbers that only the running kernel could explain. Counts are cumulative since
//! the start (those of a flow since its `life` began), which makes each event idempotent and a lost one
//! harmless.

mod actor;
mod chains;
mod counter;
mod ending;
mod entry;
mod flow;
mod losses;
mod namespace;
mod neighbour;
mod notice;
mod packages;
mod renamed;
pub(crate) mod ruleset;
mod setting;
mod socket;
mod unit;
pub(crate) mod value;

use serde::{Deserialize, Serialize};

pub use actor::{ENDED, EndedProcess, Number, Owner, Parent, Unknown, process};
pub use chains::{Chain, Chains, Counted, Dropper, Droppers, Family, Point};
pub(crate) use chains::{Object, table_name};
pub use counter::{Counter, CounterKey, Source};
pub use ending::{Commands, Ending, FailureMode, KillMode, NodeAction, Processes, Signal, Signals};
pub use entry::{Entry, EntryKey, Example, Fate, Location, OTHER, STOLEN};
pub use flow::{FlowCount, FlowKey, Origin, Protocol};
pub use losses::Losses;
pub use namespace::{Device, Namespace, NamespaceEnded, OF_PROCESS, Peer};
pub use neighbour::{Fragments, Neighbour, Unresolved};
pub use notice::{Clock, Notice, NoticeKind};
pub use packages::{Manager, Packages, Unfinished, Upgrade, Upgrades};
pub(crate) use renamed::Renamed;
pub use setting::{Seen, Setting, Thing, Version};
pub(crate) use setting::{TABLE_LOCAL, TABLE_MAIN, network, of_each_device};
pub use socket::{Held, Queue, Socket, SocketState};
pub(crate) use unit::{ANEW, FROZEN, LEFT, RELOAD_FAILED, RESULT, froze, only, started_anew, went_wrong};
pub use unit::{Job, JobState, Limits, Run, Runs, Timer, Unit, UnitState};

/// Something that was seen, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    pub at: u64,
    /// What was seen.
    pub body: Body,
}

/// All that a source can say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Body {
    /// The tracer starts: the first event of every stream.
    Start(Start),
    /// A capability is there, or why it is not.
    Capability(Capability),
    /// A network namespace that is watched from now on, beside those of the start; or what one is called now.
    Namespace(Namespace),
    /// A watched network namespace is found no more: it has ended, as far as can be seen.
    NamespaceEnded(NamespaceEnded),
    /// A network device of a watched namespace.
    Device(Device),
    /// A line in the books: all packets with one fate.
    Entry(Entry),
    /// What a flow has counted so far.
    Flow(FlowCount),
    /// What was asked for an address of this node on the link, and what it answered.
    Neighbour(Neighbour),
    /// What waits until the link-layer address of a neighbour is known, or that nothing does any more.
    Unresolved(Unresolved),
    /// How many datagrams wait for missing fragments.
    Fragments(Fragments),
    /// A dropped packet, in full.
    Example(Box<Example>),
    /// A socket is known, opened, changed or closed.
    Socket(Socket),
    /// A counter of the kernel that has grown since the start.
    Counter(Counter),
    /// What waits in a socket, or that nothing does any more.
    Queue(Box<Queue>),
    /// The chains of a firewall by which packets come into its rules, as they stand now.
    Chains(Chains),
    /// The rules of a firewall that can drop packets, and what they have counted.
    Droppers(Droppers),
    /// How a thing is configured.
    Setting(Box<Setting>),
    /// A unit of systemd.
    Unit(Box<Unit>),
    /// A job of systemd.
    Job(Job),
    /// A timer of systemd.
    Timer(Box<Timer>),
    /// Past runs of a unit that a timer starts.
    Runs(Box<Runs>),
    /// What the package manager does, and what it has left undone.
    Packages(Box<Packages>),
    /// What a package manager has done, as its logs have it.
    Upgrades(Box<Upgrades>),
    /// Something happened on the node.
    Notice(Notice),
    /// How the clocks stand to one another.
    Clock(Clock),
    /// The node has been healthy for a while: as it stands now it is well.
    Baseline,
    /// What could not be recorded so far.
    Losses(Losses),
    /// All counts of a round have been told; the model draws its conclusions.
    Tick,
    /// The tracer stops: the last event of a whole stream.
    Stop,
}

/// Where and with what the tracer was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Version of tracer.
    pub tracer: String,
    /// `uname -r`.
    pub kernel: String,
    /// `uname -n`.
    pub host: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Nanoseconds to add to a boot time to have UTC since 1970.
    pub wall_offset: i64,
    /// The namespaces that are watched from the start.
    pub namespaces: Vec<Namespace>,
}

/// A part of what the tracer can see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// Its name, such as `drops`.
    pub name: String,
    /// Whether it works.
    pub state: CapabilityState,
    /// Why it does not, and what is therefore not seen; empty where it works.
    pub why: String,
}

/// Whether a capability works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CapabilityState {
    /// It works.
    Available,
    /// It works in part.
    Partial,
    /// It does not work.
    Unavailable,
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}
