//! What the upgrade may break, as data.

use crate::scenario::{Place, Step};

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
    /// What was done to the node before, as the plugin of the cluster's network does it.
    pub setup: &'static [Step],
    /// What the new package does when it is configured, as lines of shell.
    pub postinst: &'static str,
    /// Mends the node.
    pub heal: &'static [Step],
    /// The id of the first verdict.
    pub verdict: &'static str,
    /// And where it says the fault is.
    pub place: &'static str,
    /// What the verdict says of its cause.
    pub cause: Cause,
}

/// What a verdict must say of its cause: parts of its sentence.
#[derive(Clone, Copy, Debug)]
pub struct Cause {
    /// What changed.
    pub what: &'static str,
    /// The command and the unit of who did it.
    pub by: (&'static str, &'static str),
}

/// What Debian's `systemd.postinst` does on an upgrade.
const SYSTEMD_POSTINST: &str = "systemctl daemon-reexec\nsystemctl try-restart systemd-networkd.service\n";

const NETWORKD: (&str, &str) = ("systemd-network", "systemd-networkd.service");

/// All of them; the first is the incident itself.
pub const VARIANTS: &[Variant] = &[Variant {
    name: "incident",
    title: "the incident itself, with the real systemd, networkd, apt and dpkg",
    breaks: "A timer starts an upgrade of packages. The first one does what Debian's systemd does: it restarts networkd, which \
             deletes the rules of the cluster's network that it did not make, among them the one that looks up table local. \
             The second one takes long; systemd is asked to stop the upgrade and kills it at its limit, half-way.",
    says: "R01, where: guest kernel; kubelet.service and the pod starve. The rule was deleted by systemd-networkd, which had \
           been started anew while apt-get of apt-daily-upgrade.service had packages in work; the timer had started that.",
    setup: &[
        Step::Ip(Place::Node, "rule add pref 100 from all lookup local"),
        Step::Ip(Place::Node, "rule del pref 0"),
        Step::Ip(Place::Node, "rule add pref 9 fwmark 0x200/0xf00 lookup 2004"),
    ],
    postinst: SYSTEMD_POSTINST,
    heal: &[Step::Ip(Place::Node, "rule add pref 0 lookup local")],
    verdict: "R01",
    place: "guest-kernel",
    cause: Cause {
        what: "rule 100: from all lookup local went away",
        by: NETWORKD,
    },
}];

/// The variant of that name.
pub fn find(name: &str) -> Option<&'static Variant> {
    VARIANTS.iter().find(|variant| variant.name == name)
}
