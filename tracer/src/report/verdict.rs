//! What the diagnosis says, and what it goes by.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Actor, Flow, Ledger};

/// Where the fault is: the first question of every such incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Where {
    /// No fault found.
    Healthy,
    /// What this node sends is not answered.
    DataPath,
    /// Packets do not get to their sockets, or do not leave, by what this node does.
    GuestKernel,
    /// Packets come as far as the process, which does not take them or is gone.
    Process,
    /// Not enough was seen to tell.
    Unknown,
}

impl Where {
    /// As JSON has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::DataPath => "data-path",
            Self::GuestKernel => "guest-kernel",
            Self::Process => "process",
            Self::Unknown => "unknown",
        }
    }
}

/// How sure a verdict is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// Needs a second signal. Does not make the node unhealthy.
    Weak,
    /// Very likely.
    Strong,
    /// The signature alone proves it.
    Conclusive,
}

/// A finding. The first one of a report is its root where it is one that counts: what hangs `under` it follows from it or belongs to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// Id of its rule, such as `R01`; `tracer explain ID` tells more of it.
    pub id: String,
    /// In a few words.
    pub title: String,
    /// Where the fault is; `null` for what says nothing of packets by itself, such as an upgrade that was cut off.
    #[serde(rename = "where")]
    pub place: Option<Where>,
    /// How sure.
    pub confidence: Confidence,
    /// In plain words, with the real names and numbers.
    pub explanation: String,
    /// When the first evidence was seen, UTC, RFC 3339.
    pub since: String,
    /// When the last evidence was seen, UTC, RFC 3339. What is over may be told for 10 s more.
    pub last: String,
    /// What brought it about, as far as that was seen. Of what follows from a root that a change explains it is that one's.
    pub cause: Cause,
    /// What took it away, where nothing of it was seen later than 4 s after; absent while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mended: Option<Later>,
    /// What was done while it lasted, still stands and can do the same, the first of it first, at most 5.
    #[serde(default)]
    pub also: Vec<Later>,
    /// How many such changes there are, also those for which `also` has no room.
    #[serde(default)]
    pub also_total: u64,
    /// What else changed in the minute before, the latest first, at most 5: it coincides, which does not make it a cause.
    #[serde(default)]
    pub coincides: Vec<Coincidence>,
    /// How many such changes there are, also those for which `coincides` has no room.
    #[serde(default)]
    pub coincides_total: u64,
    /// Id of the verdict that it hangs under: of which it is a consequence, or to whose cause it belongs. Absent for one that
    /// stands by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under: Option<String>,
    /// What was seen.
    pub evidence: Vec<Evidence>,
    /// The flows that suffer, the most starved first, at most 100.
    pub flows: Vec<Flow>,
    /// How many flows suffer, also those for which `flows` has no room.
    pub flows_total: u64,
    /// The systemd units that suffer.
    pub units: Vec<String>,
    /// Commands that check it; safe to run.
    pub check: Vec<String>,
    /// Commands that mend it, with a word on their risk.
    pub remedy: Vec<String>,
}

/// What brought a finding about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cause {
    /// How much is known of it.
    pub relation: Relation,
    /// In one sentence.
    pub text: String,
    /// Number of the change that explains it, as in `changes`; absent where none was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<u64>,
    /// When that change was, UTC, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Seconds from the change to the first evidence, of the root where it is that one's cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_before: Option<f64>,
    /// Who made the change, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Actor>,
    /// How that change came about, step by step, the nearest first.
    #[serde(default)]
    pub chain: Vec<Step>,
}

/// A change that was made after a finding had begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Later {
    /// Its number, as in `changes`.
    pub change: u64,
    /// When, UTC, RFC 3339.
    pub at: String,
    /// What changed, and by whom.
    pub text: String,
}

/// What is known of a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// A change was seen that can bring this about, and it stood when it began.
    Explains,
    /// It was so already when the tracer began to look.
    PredatesStart,
    /// No change was seen that can bring it about.
    Unknown,
}

/// One step on the way to a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// When, UTC, RFC 3339.
    pub at: String,
    /// What happened then, in words.
    pub text: String,
}

/// A change shortly before a finding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Coincidence {
    /// Its number, as in `changes`.
    pub change: u64,
    /// Seconds from it to the first evidence.
    pub seconds_before: f64,
    /// What changed, in words.
    pub text: String,
}

/// Something that was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// In words, with numbers.
    pub text: String,
    /// The same for programs.
    #[serde(flatten)]
    pub fact: Fact,
}

/// What kind of thing was seen, with its figures. Packets and requests are counted as the wire carried them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fact {
    /// Packets that were dropped, or went missing, in one way.
    Drop {
        /// The kernel's name for why, empty where no drop was seen.
        reason: String,
        /// The kernel function and offset, empty where it is not known.
        location: String,
        /// Packets.
        packets: u64,
    },
    /// The node's books.
    Ledger(Ledger),
    /// A flow.
    Flow {
        /// `tcp`, `udp`, `icmp` …
        protocol: String,
        /// Address and port on this node.
        local: String,
        /// Address and port of the peer.
        remote: String,
        /// Packets that arrived.
        arrived: u64,
        /// Packets that reached the socket; absent where that is not told by flow.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delivered: Option<u64>,
        /// Packets that were dropped.
        dropped: u64,
    },
    /// A peer that does not answer.
    Peer {
        /// `tcp`, `udp`, `icmp` …
        protocol: String,
        /// Its address.
        address: String,
        /// Its port, 0 where there is none.
        port: u16,
        /// Requests that it has not answered.
        requests: u64,
        /// Seconds for which it has not.
        seconds: f64,
    },
    /// A socket of this node, or one that was.
    Socket {
        /// `tcp`, `udp` …
        protocol: String,
        /// Its port.
        port: u16,
        /// Times that something was put in its receive queue.
        queued: u64,
        /// Times that something was read from it.
        read: u64,
    },
    /// An address of this node for which neighbours ask, or one of a neighbour.
    Neighbour {
        /// It.
        address: String,
        /// The device that it is on.
        device: String,
        /// Requests.
        asked: u64,
        /// Answers.
        answered: u64,
    },
    /// A counter of the kernel.
    Counter {
        /// Its name.
        name: String,
        /// The device that it is one of, empty for none.
        device: String,
        /// By how much it has grown since the start.
        grown: u64,
    },
    /// How something stands.
    State {
        /// What: a thing of the configuration, a unit, packages.
        object: String,
        /// How, empty where it is not there.
        value: String,
    },
}
