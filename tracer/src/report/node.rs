//! What stands on the node beside packets, and what changed there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Capability, Kernel, Packages, Schema, Unknown};

/// Name of what `tracer node` prints.
pub const NODE_SCHEMA: &str = "tracer.node";
/// Version of it: raised when a member changes its meaning or goes away.
pub const NODE_SCHEMA_VERSION: u32 = 1;

/// How the node stands beside its packets, without any BPF: what `tracer node` prints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeReport {
    /// Name and version of this contract.
    pub schema: Schema,
    /// When it stood so, UTC, RFC 3339.
    pub at: String,
    /// The node and its kernel.
    pub kernel: Kernel,
    /// Seconds since its start, also those in which it was suspended.
    pub uptime: f64,
    /// What could be asked, and what not and why.
    pub capabilities: Vec<Capability>,
    /// Units, timers, packages.
    #[serde(flatten)]
    pub node: Node,
    /// The network configuration, at most 10,000. Kernel parameters and offloads that are what they are by default are left out; forwarding
    /// and the reverse path filter of all devices are told in any case.
    pub settings: Vec<Setting>,
    /// How many there are, also those for which `settings` has no room.
    pub settings_total: u64,
    /// Figures that nobody has set, and that say how much there is of something: tracked connections.
    #[serde(default)]
    pub figures: Vec<Setting>,
    /// Rules of nf_tables that can drop packets, those that counted most first, at most 100.
    pub droppers: Vec<Dropper>,
    /// How many there are, also those for which `droppers` has no room.
    pub droppers_total: u64,
}

/// A rule of nf_tables that can drop packets, or the policy of a base chain that does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Dropper {
    /// Where it is: `table inet guard, chain in, handle 7`; without a handle for a policy.
    pub object: String,
    /// Namespace, empty where only one is watched.
    pub netns: String,
    /// `drop`, `reject`, `queue`; `policy drop`; `vmap` where a map decides.
    pub verdict: String,
    /// Packets that it has counted since it was made; absent where it counts none, or others as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
    /// Their bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// A thing of the network configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Setting {
    /// The thing.
    pub object: String,
    /// Namespace, empty for what the whole node has, and where only one is watched.
    pub netns: String,
    /// Its value, empty for what has none but its being there.
    pub value: String,
}

/// The node beside its packets: a part of [`super::Report`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Node {
    /// What changed on the node since the start, the latest first, at most 200. Those that follow no other one have
    /// room first: where they are more, the earliest 50 are told, and the latest.
    #[serde(default)]
    pub changes: Vec<Change>,
    /// How many changes there were, also those for which `changes` has no room.
    #[serde(default)]
    pub changes_total: u64,
    /// How many of them follow no other one, also those for which `changes` has no room.
    #[serde(default)]
    pub leading_total: u64,
    /// The books over time: what they grew by in each 10 s of the last hour, the earliest first.
    #[serde(default)]
    pub bands: Vec<Band>,
    /// When the node was last well for 30 s, UTC, RFC 3339: what `differences` are to; absent for the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// What of the network configuration is not as it was then, the latest first, at most 100.
    #[serde(default)]
    pub differences: Vec<Difference>,
    /// How many there are, also those for which `differences` has no room.
    #[serde(default)]
    pub differences_total: u64,
    /// What must hold on every node, whatever else is configured: it tells what is broken where nobody saw it break. Those
    /// that apply, the broken ones first, at most 100. Of a device that is down nothing is expected.
    #[serde(default)]
    pub invariants: Vec<Invariant>,
    /// How many are broken, also those for which `invariants` has no room.
    #[serde(default)]
    pub invariants_broken: u64,
    /// How many there are, also those for which `invariants` has no room.
    #[serde(default)]
    pub invariants_total: u64,
    /// Until when systemd told what is said of units, jobs, deadlines and timers, UTC, RFC 3339, where it tells nothing any
    /// more (capability `systemd`): how they stand since then is not known. Absent while it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units_as_of: Option<String>,
    /// Units of systemd: those that systemd is about to act on, that failed or changed first, then those with the most
    /// packets, then services at work; at most 100 (10,000 in what `tracer node` prints).
    #[serde(default)]
    pub units: Vec<Unit>,
    /// How many there are, also those for which `units` has no room.
    #[serde(default)]
    pub units_total: u64,
    /// Timers of systemd, the next to elapse first, at most 100 (10,000 in what `tracer node` prints).
    #[serde(default)]
    pub timers: Vec<Timer>,
    /// How many there are, also those for which `timers` has no room.
    #[serde(default)]
    pub timers_total: u64,
    /// Package managers, and what they have left undone.
    #[serde(default)]
    pub packages: Vec<Packages>,
}

/// Something that changed on the node, or happened there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// From 1, in the order in which changes were told, which may be another than that of their times.
    pub number: u64,
    /// When, UTC, RFC 3339.
    pub at: String,
    /// What kind of thing it is.
    pub kind: ChangeKind,
    /// Of the network configuration: which kind of thing; absent for all else, and for a network namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub what: Option<What>,
    /// The thing: `IPv4 rule 0: from all lookup local`, `kubelet.service`.
    pub object: String,
    /// Namespace, empty for what the whole node has, and where only one is watched.
    pub netns: String,
    /// How it was before; absent where it was not there, or that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// How it is since; absent where it is gone. An empty text: it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Who did it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Actor>,
    /// Why that is not known; absent where it is, and for starvation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_unknown: Option<Unknown>,
    /// Nobody told it: it came about at some time before `at`.
    #[serde(default)]
    pub noticed: bool,
    /// The number of the change that it belongs to: one process made both at nearly the same time; or nobody is known to have
    /// made this one, and the kernel makes such changes of itself after one like that. Absent where it stands for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<u64>,
    /// How many changes follow this one, also those for which `changes` has no room.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<Following>,
}

/// How many changes of a kind follow another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Following {
    /// What changed.
    pub what: What,
    /// What became of it.
    pub became: Became,
    /// How many.
    pub number: u64,
}

/// A thing of the network configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A network device.
    Device,
    /// A rule that chooses a routing table.
    Rule,
    /// An address of the node.
    Address,
    /// A route.
    Route,
    /// A next hop that routes name by its number.
    Nexthop,
    /// The kernel's answer to what it would do with a packet.
    Answer,
    /// A neighbour.
    Neighbour,
    /// A queueing discipline, a class of one, or a filter.
    Traffic,
    /// The offloads of a device.
    Offloads,
    /// A kernel parameter.
    Sysctl,
    /// A policy of IPsec.
    Ipsec,
    /// The rules of a firewall.
    Ruleset,
    /// The table of tracked connections.
    Tracking,
    /// A BPF program.
    Program,
    /// A BPF link.
    BpfLink,
    /// A number by which the namespace knows another one.
    Nsid,
    /// A file.
    File,
}

/// What became of a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Became {
    /// It is new.
    New,
    /// It is another.
    Changed,
    /// It is gone.
    Gone,
}

/// Of the changes that follow no other one, so many of the earliest have room in a report, whatever comes after them.
pub const EARLIEST: usize = 50;

/// What kind of thing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// The network configuration: routes, rules, addresses, devices, sysctls, firewalls, BPF programs.
    Setting,
    /// A unit of systemd.
    Unit,
    /// A job of systemd.
    Job,
    /// A timer of systemd.
    Timer,
    /// Packages.
    Packages,
    /// Something that happened: memory ran out, the clock was set, a line of the kernel's log.
    Notice,
    /// Flows of this node begin to starve; or do, and may have done so before tracer looked; or none does any more.
    Starvation,
}

/// What the books grew by in 10 s, which begin at whole multiples of 10 s of the wall clock, as it was at the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Band {
    /// When it began, UTC, RFC 3339.
    pub at: String,
    /// Packets that arrived.
    pub arrived: u64,
    /// Packets that reached a socket.
    pub delivered: u64,
    /// Packets that were dropped.
    pub dropped: u64,
    /// Most flows that starved at once.
    pub starved: u64,
    /// Only a part of its time was watched: the tracer was started in it, or it is not over.
    #[serde(default)]
    pub partial: bool,
}

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Actor {
    /// Process id, 0 where unknown.
    pub pid: u32,
    /// Its command, empty where it had ended before it could be asked.
    pub command: String,
    /// Its systemd unit, empty where none.
    pub unit: String,
    /// Id of the container that it is in, empty for none.
    #[serde(default)]
    pub container: String,
    /// Uid of the Kubernetes pod that it is in, empty for none.
    #[serde(default)]
    pub pod: String,
    /// Its parent; absent where that is not known, as of one that had ended before it could be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
}

/// The parent of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Parent {
    /// Process id.
    pub pid: u32,
    /// Its command, empty where it had ended meanwhile.
    pub command: String,
}

/// What of the configuration differs from the baseline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// The thing.
    pub object: String,
    /// Namespace, empty for what the whole node has, and where only one is watched.
    pub netns: String,
    /// How it was; absent where it was not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// How it is now; absent where it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<String>,
    /// When it last changed, UTC, RFC 3339.
    pub at: String,
    /// Who changed it last, or made the change that this one follows, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Actor>,
    /// Why that is not known; absent where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_unknown: Option<Unknown>,
    /// The number of the change that its last one follows; absent where that stands for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<u64>,
}

/// Something that must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Invariant {
    /// What it is about: `IPv4 rule to table local`, `local route of 10.0.0.2 on eth0`, `kernel's answer for 10.0.0.2 from
    /// eth0`, `default route (IPv4)`.
    pub object: String,
    /// Namespace, empty where only one is watched.
    pub netns: String,
    /// Whether it holds.
    pub state: InvariantState,
    /// How it stands, in words.
    pub text: String,
    /// Since when, UTC, RFC 3339; absent where it was found so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Who brought it about, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Actor>,
    /// Why that is not known; absent where it is, and where it was found so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_unknown: Option<Unknown>,
    /// The number of the change that the one follows by which it became so; absent where that stands for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<u64>,
}

/// Whether something holds that must.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InvariantState {
    /// It does not: packets are lost, or will be.
    Broken,
    /// What it is about is not there. That may be meant: it is told as a fact.
    Missing,
    /// It does.
    Holds,
}

/// A unit of systemd.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// `active`, `failed`, `activating` … as systemd calls it.
    pub active: String,
    /// `running`, `dead`, `stop-sigterm` …
    pub sub: String,
    /// How its last run ended: `success`, `exit-code`, `signal`, `timeout` …; empty for what has no runs.
    pub result: String,
    /// How its last reload ended, where that was no success: `timeout`, `exit-code`, `signal` … The unit runs on, and
    /// `result` says nothing of it. Absent for a success and for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reload_result: String,
    /// Its main process in the pid namespace of tracer, 0 for none and where it is not known there.
    pub main_pid: u32,
    /// Its cgroup, as /proc/PID/cgroup names it; empty where it has none.
    pub cgroup: String,
    /// Id of its run, empty where it never ran.
    pub invocation: String,
    /// How often it was started anew since the tracer saw it first, by whomever.
    pub starts: u32,
    /// How often systemd itself restarted it.
    pub restarts: u32,
    /// It was to be started and failed instead: it had been started as often as it may be (`StartLimitBurst=`). systemd's `result`
    /// may go on to say how its last run ended. Absent where that was not seen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub start_limit_hit: bool,
    /// Its processes are frozen: they read nothing that comes to their sockets. Absent where they are not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub frozen: bool,
    /// Processes left in its cgroup though it is not active.
    pub processes: u32,
    /// Its job: `stop running`; empty for none.
    pub job: String,
    /// What limits its job; absent where it has none, and where nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_limit: Option<JobLimit>,
    /// When systemd acts on it by itself; absent where nothing could limit it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Deadline>,
    /// Packets that arrived for flows of its sockets.
    pub arrived: u64,
    /// Packets of those that reached their sockets.
    pub delivered: u64,
    /// Its flows that are starved.
    pub starved: u64,
}

/// What limits a job of systemd.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobLimit {
    /// So many seconds after it was queued it is given up (`JobTimeoutSec=`); absent for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<f64>,
    /// So many seconds after it began to run (`JobRunningTimeoutSec=`); absent for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<f64>,
    /// What is done to the whole node then (`JobTimeoutAction=`); empty for nothing.
    pub action: String,
}

/// When systemd acts on a unit by itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Deadline {
    /// Seconds from the end of the window, below 0 where it is overdue: systemd has not told what became of it, and may have
    /// acted all the same where it cannot be heard (`units_as_of`). Absent for no limit. Where `seconds_at_most` is there,
    /// the fewest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// The most seconds, where a part of them is drawn at random (`RuntimeRandomizedExtraSec=`) or systemd does not tell when
    /// they began. Absent for other limits, and where it is overdue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_at_most: Option<f64>,
    /// systemd does not act where the service gives a sign of life before: from one to the next may be so many seconds
    /// (`WatchdogSec=`). The last one is as of the last look. Absent for other limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watchdog: Option<f64>,
    /// What it does then, and to whom; empty for no limit.
    pub action: String,
}

impl Deadline {
    /// Whether systemd is to act, as far as is known. A service gives a sign of life after three quarters of the time that it
    /// has at the latest (systemd src/libsystemd/sd-event/sd-event.c, `arm_watchdog`), and is looked at then: one that has
    /// given none after four fifths gives none.
    #[must_use]
    pub fn is_ahead(&self) -> bool {
        let has_failed = |span: f64| self.seconds.is_some_and(|left| left <= span / 5.0);
        self.seconds.is_some() && self.watchdog.is_none_or(has_failed)
    }
}

/// A timer of systemd.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Timer {
    /// Its name.
    pub name: String,
    /// The unit that it starts.
    pub unit: String,
    /// Whether it is active.
    pub active: bool,
    /// How it failed, where it has: `resources`, `start-limit-hit`. Absent where it has not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub result: String,
    /// When it elapses next, UTC, RFC 3339; absent for not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// When it elapsed last; absent for never. Where no run of `past` is `by_timer`, none is known of that: conditions of the unit
    /// were not met, or it was active; or the timer is `persistent` and was first started then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// Seconds that are added to its time at random, at most.
    pub random_delay: f64,
    /// What it goes by, as in the unit file.
    pub schedule: Vec<String>,
    /// What was missed while the node was off is made up for.
    pub persistent: bool,
    /// From when to when it may elapse next: by its schedule, and with all of its random delay. Absent where `next` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Span>,
    /// Past runs of the unit that it starts, by whomever they were started, the latest first, at most 20.
    #[serde(default)]
    pub past: Vec<Run>,
    /// How many are known, also those for which `past` has no room.
    #[serde(default)]
    pub past_total: u64,
    /// All runs that began from then on are known; absent where only the last one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub past_since: Option<String>,
    /// How the times when flows began to starve stand to the past runs.
    #[serde(default)]
    pub onsets: Onsets,
}

/// A span of time, UTC, RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Span {
    /// Its beginning.
    pub from: String,
    /// Its end.
    pub to: String,
}

/// A run of a unit. Times are UTC, RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// When it began.
    pub begun: String,
    /// When it ended; absent where it has not, or that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// How it ended: `success`, `exit-code`, `signal`, `timeout` …; empty where that is not known.
    pub result: String,
    /// This timer started it: it began when the timer elapsed, be it the last time or one that was seen. By whom others were started is not
    /// known.
    #[serde(default)]
    pub by_timer: bool,
}

/// How the times when flows began to starve stand to past runs. What starved before tracer looked is no onset. A run's window is from its beginning for as long as the
/// timer's random delay, and at least to a minute after its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Onsets {
    /// Onsets in the window of a run.
    pub inside: u64,
    /// The others.
    pub outside: u64,
    /// Runs in whose windows there was one at least.
    #[serde(default)]
    pub runs: u64,
    /// The part of the time that the windows cover, from 0 to 1: how likely one onset is to fall in one by chance. Absent
    /// where the runs of a whole day are not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
}

impl Onsets {
    /// Where all onsets were in the windows of several runs: that as many that have nothing to do with the runs nor with one
    /// another all are, happens once in so many times. Those in the window of one run may have one cause, and count as one.
    #[must_use]
    pub fn one_in(&self) -> Option<f64> {
        let share = self.share.filter(|share| *share > 0.0 && *share < 1.0)?;
        let runs = i32::try_from(self.runs).ok()?;
        (self.outside == 0 && runs >= 2).then(|| share.powi(-runs))
    }
}
