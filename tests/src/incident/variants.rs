//! What the upgrade may break, as data.

mod networkd;
mod others;
mod pods;

use std::time::Duration;

use crate::lab::UPLINK;
use crate::scenario::{Actor, Step};

use super::{KUBELET, POD};

/// What an upgrade breaks, and what the tracer must say of it.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// Name on the command line.
    pub name: &'static str,
    /// In a few words.
    pub title: &'static str,
    /// What breaks, in plain words.
    pub breaks: &'static str,
    /// What the tracer should say.
    pub says: &'static str,
    /// The part of networkd's configuration of the uplink that is about its addresses.
    pub network: &'static str,
    /// The devices by which packets arrive.
    pub uplinks: &'static [&'static str],
    /// What was done to the node before networkd was started.
    pub links: &'static [Step],
    /// What was done to it when networkd had configured it.
    pub setup: &'static [Step],
    /// Who else is there from before networkd is started.
    pub actors: &'static [Actor],
    /// Services of the node beside those that ask: their names and the lines of their `[Service]`.
    pub services: &'static [(&'static str, &'static str)],
    /// The old package has the modules of the running kernel, and the new one those of another kernel.
    pub modules: bool,
    /// Who asks the node's own server, which runs as `node-web.service`.
    pub asks: Option<Actor>,
    /// Who else asks, and is answered from before the tracer is started.
    pub beside: Option<Actor>,
    /// What the new package does when it is configured, as lines of shell.
    pub postinst: &'static str,
    /// The upgrade comes to its end; else its last package takes forever.
    pub ends: bool,
    /// And then systemd is asked to stop the upgrade, and kills it half-way.
    pub killed: bool,
    /// Mends the node.
    pub heal: &'static [Heal],
    /// What the tracer must say.
    pub expect: Expect,
}

/// What mends a node.
#[derive(Clone, Copy, Debug)]
pub enum Heal {
    /// A step of the lab.
    Step(Step),
    /// Lines of shell, in the node's own world.
    World(&'static str),
}

/// What the tracer must say.
#[derive(Clone, Copy, Debug)]
pub struct Expect {
    /// The id of the first verdict.
    pub verdict: &'static str,
    /// Another one that is as right, where that depends on what was on its way when the node broke.
    pub or: Option<&'static str>,
    /// Where it says the fault is.
    pub place: &'static str,
    /// Units that it names as victims.
    pub units: &'static [&'static str],
    /// Units that starve from nothing.
    pub well: &'static [&'static str],
    /// What changed: a part of the sentence on its cause.
    pub cause: &'static str,
    /// The command and the unit of who did it, where that can be known.
    pub by: Option<(&'static str, &'static str)>,
    /// What must hold and does not: parts of sentences.
    pub broken: &'static [&'static str],
    /// Other verdicts that are given beside the first.
    pub also: &'static [&'static str],
    /// What mends it takes back what explains it, and that is told.
    pub mended: bool,
    /// For so long the verdict is a weak sign on purpose.
    pub waits: Duration,
    /// What one says that is started only afterwards.
    pub late: Late,
}

impl Expect {
    /// This verdict is right.
    pub(super) fn is_right(&self, id: &str) -> bool {
        id == self.verdict || self.or == Some(id)
    }

    /// What is right: `R04`, `R04 or R05`.
    pub(crate) fn right(&self) -> String {
        let or = self.or.map_or_else(String::new, |or| format!(" or {or}"));
        format!("{}{or}", self.verdict)
    }
}

/// What a tracer says that is started only after the break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// The same, and that the cause predates its start.
    Predates,
    /// Nothing that is asked for: what it sees then is no evidence.
    Unsaid,
}

/// What the variants have in common.
pub(super) const COMMON: Variant = Variant {
    name: "",
    title: "",
    breaks: "",
    says: "",
    network: AS_IT_IS,
    uplinks: &[UPLINK],
    links: &[],
    setup: &[],
    actors: &[],
    services: &[],
    modules: false,
    asks: None,
    beside: None,
    postinst: SYSTEMD_POSTINST,
    ends: false,
    killed: false,
    heal: &[],
    expect: Expect {
        verdict: "",
        or: None,
        place: "guest-kernel",
        units: &[KUBELET, POD],
        well: &[],
        cause: "",
        by: None,
        broken: &[],
        also: &[],
        mended: true,
        waits: Duration::ZERO,
        late: Late::Unsaid,
    },
};

/// What Debian's `systemd.postinst` does on an upgrade.
const SYSTEMD_POSTINST: &str = "systemctl daemon-reexec\nsystemctl try-restart systemd-networkd.service\n";

/// As the kernel names it, with 15 letters; and its unit.
const NETWORKD: (&str, &str) = ("systemd-network", "systemd-networkd.service");

/// The same addresses and routes as the lab has set.
const AS_IT_IS: &str =
    "Address=10.10.0.2/24\nAddress=2001:db8:10::2/64\nGateway=10.10.0.1\nGateway=2001:db8:10::1\n";

/// All of them; the first is the incident itself.
pub const VARIANTS: &[Variant] = &[
    networkd::INCIDENT,
    networkd::CNI,
    networkd::ADDRESS,
    networkd::LEASE,
    networkd::RENAMED,
    pods::RULES,
    pods::FILTER,
    others::RP_FILTER,
    others::FIREWALL,
    others::MODULES,
    others::SERVICE,
];

/// The variant of that name.
pub fn find(name: &str) -> Option<&'static Variant> {
    VARIANTS.iter().find(|variant| variant.name == name)
}
