//! What the upgrade may break, as data.

use crate::scenario::{Actor, Place, Step};
use crate::traffic::Role;

use super::{KUBELET, POD, UPGRADE, WEB};

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
    /// What was done to the node before networkd was started.
    pub links: &'static [Step],
    /// What was done to it when networkd had configured it.
    pub setup: &'static [Step],
    /// Who asks the node's own server, which runs as [`WEB`].
    pub asks: Option<Actor>,
    /// What the new package does when it is configured, as lines of shell.
    pub postinst: &'static str,
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
    /// `systemctl` with these arguments.
    Systemctl(&'static [&'static str]),
}

/// What the tracer must say.
#[derive(Clone, Copy, Debug)]
pub struct Expect {
    /// The id of the first verdict.
    pub verdict: &'static str,
    /// Where it says the fault is.
    pub place: &'static str,
    /// Units that it names as victims.
    pub units: &'static [&'static str],
    /// What changed: a part of the sentence on its cause.
    pub cause: &'static str,
    /// The command and the unit of who did it, where that can be known.
    pub by: Option<(&'static str, &'static str)>,
    /// What must hold and does not: parts of sentences.
    pub broken: &'static [&'static str],
    /// A tracer that is started only afterwards says that the cause predates its start; `None`: what it sees then is no
    /// evidence.
    pub late: bool,
}

/// What Debian's `systemd.postinst` does on an upgrade.
const SYSTEMD_POSTINST: &str = "systemctl daemon-reexec\nsystemctl try-restart systemd-networkd.service\n";

const NETWORKD: (&str, &str) = ("systemd-network", "systemd-networkd.service");

/// The same addresses and routes as the lab has set.
const AS_IT_IS: &str =
    "Address=10.10.0.2/24\nAddress=2001:db8:10::2/64\nGateway=10.10.0.1\nGateway=2001:db8:10::1\n";

/// All of them; the first is the incident itself.
pub const VARIANTS: &[Variant] = &[INCIDENT, ADDRESS, RP_FILTER, FIREWALL, SERVICE];

const INCIDENT: Variant = Variant {
    name: "incident",
    title: "the incident itself, with the real systemd, networkd, apt and dpkg",
    breaks: "A timer starts an upgrade of packages. The first one does what Debian's systemd does: it restarts networkd, which \
             deletes the rules of the cluster's network that it did not make, among them the one that looks up table local. \
             The second one takes long; systemd is asked to stop the upgrade and kills it at its limit, half-way.",
    says: "R01, where: guest kernel; kubelet.service and the pod starve. The rule was deleted by systemd-networkd, which had \
           been started anew while apt-get of apt-daily-upgrade.service had packages in work; the timer had started that.",
    network: AS_IT_IS,
    links: &[],
    setup: &[
        Step::Ip(Place::Node, "rule add pref 100 from all lookup local"),
        Step::Ip(Place::Node, "rule del pref 0"),
        Step::Ip(Place::Node, "rule add pref 9 fwmark 0x200/0xf00 lookup 2004"),
    ],
    asks: None,
    postinst: SYSTEMD_POSTINST,
    killed: true,
    heal: &[Heal::Step(Step::Ip(Place::Node, "rule add pref 0 lookup local"))],
    expect: Expect {
        verdict: "R01",
        place: "guest-kernel",
        units: &[KUBELET, POD],
        cause: "rule 100: from all lookup local went away",
        by: Some(NETWORKD),
        broken: &[
            "no rule of IPv4 looks table local up",
            "127.0.0.1 does not lead to lo",
        ],
        late: true,
    },
};

/// As where a DHCP lease or the configuration was lost: what networkd does not know it takes away.
const ADDRESS: Variant = Variant {
    name: "incident-address",
    title: "networkd is restarted and takes an address and the default route away that it did not set",
    breaks: "The address of the uplink and the default route were set by somebody else than networkd, whose configuration has \
             lost them. The upgrade restarts networkd, which removes what it does not know.",
    says: "R04, where: guest kernel. The default route and its address were removed by systemd-networkd, which had been started anew.",
    network: "Address=2001:db8:10::2/64\nGateway=2001:db8:10::1\n",
    links: &[],
    setup: &[
        Step::Ip(Place::Node, "addr add 10.10.0.2/24 dev eth0"),
        Step::Ip(Place::Node, "route add default via 10.10.0.1"),
    ],
    asks: None,
    postinst: SYSTEMD_POSTINST,
    killed: false,
    heal: &[
        Heal::Step(Step::Ip(Place::Node, "addr add 10.10.0.2/24 dev eth0")),
        Heal::Step(Step::Ip(Place::Node, "route add default via 10.10.0.1")),
    ],
    expect: Expect {
        verdict: "R04",
        place: "guest-kernel",
        units: &[KUBELET, POD],
        cause: "went away",
        by: Some(NETWORKD),
        broken: &[],
        late: false,
    },
};

/// As systemd's own `50-default.conf`, which Debian leaves out, and other packages' files of sysctls.
const RP_FILTER: Variant = Variant {
    name: "incident-rp-filter",
    title: "the upgrade brings a file of sysctls with a strict reverse path filter",
    breaks: "Requests leave by a second device and replies come back by eth0. The upgrade sets rp_filter to 1: the kernel drops \
             the replies.",
    says: "R03, where: guest kernel. rp_filter changed while apt-get of apt-daily-upgrade.service had packages in work.",
    network: AS_IT_IS,
    links: &[
        Step::SecondUplink,
        Step::Ip(
            Place::Node,
            "route add 192.0.2.10/32 via 10.11.0.1 dev eth1 src 10.10.0.2",
        ),
    ],
    setup: &[],
    asks: None,
    postinst: "mkdir -p /etc/sysctl.d\n\
               printf 'net.ipv4.conf.all.rp_filter = 1\\nnet.ipv4.route.flush = 1\\n' > /etc/sysctl.d/50-lab.conf\n\
               /lib/systemd/systemd-sysctl /etc/sysctl.d/50-lab.conf\n",
    killed: false,
    heal: &[Heal::Step(Step::Sysctl(
        Place::Node,
        "net.ipv4.conf.all.rp_filter",
        "0",
    ))],
    expect: Expect {
        verdict: "R03",
        place: "guest-kernel",
        units: &[KUBELET, POD],
        cause: "rp_filter changed from 0 to 1",
        by: None,
        broken: &[],
        late: true,
    },
};

/// As where the modules of the running kernel were replaced, and rules cannot be set again.
const FIREWALL: Variant = Variant {
    name: "incident-firewall",
    title: "the upgrade loads the firewall anew, and the rule that accepts replies is not in it any more",
    breaks: "The firewall drops what it does not know and accepts what belongs to open connections. The upgrade loads it without \
             the rule that does so.",
    says: "R06, where: guest kernel. The ruleset was changed by nft of apt-daily-upgrade.service.",
    network: AS_IT_IS,
    links: &[],
    setup: &[Step::Nft(
        Place::Node,
        "table inet guard {\n\
         chain in {\n\
         type filter hook input priority 0; policy drop;\n\
         ct state established,related accept\n\
         meta l4proto { icmp, ipv6-icmp } accept\n\
         }\n\
         }",
    )],
    asks: None,
    postinst: "nft -f - <<'END'\n\
               flush ruleset\n\
               table inet guard {\n\
               chain in {\n\
               type filter hook input priority 0; policy drop;\n\
               meta l4proto { icmp, ipv6-icmp } accept\n\
               }\n\
               }\n\
               END\n",
    killed: false,
    heal: &[Heal::Step(Step::Nft(Place::Node, "flush ruleset"))],
    expect: Expect {
        verdict: "R06",
        place: "guest-kernel",
        units: &[KUBELET, POD],
        cause: "guard",
        by: Some(("nft", UPGRADE)),
        broken: &[],
        late: true,
    },
};

/// As where a package stops a daemon before its files are replaced, and the upgrade does not come to start it again.
const SERVICE: Variant = Variant {
    name: "incident-service",
    title: "the upgrade stops a service, and does not come to start it again",
    breaks: "A package stops the node's server before its files are replaced; it would be started again later, and the upgrade \
             is killed before that. Its clients go on asking.",
    says: "R12, where: process. The unit was stopped while apt-get of apt-daily-upgrade.service had packages in work.",
    network: AS_IT_IS,
    links: &[],
    setup: &[],
    asks: Some(Actor {
        name: "peer-client",
        place: Place::Peer,
        role: Role::Client,
        addresses: &["10.10.0.2:8080"],
    }),
    postinst: "systemctl stop node-web.service\n",
    killed: true,
    heal: &[Heal::Systemctl(&["start", WEB])],
    expect: Expect {
        verdict: "R12",
        place: "process",
        units: &[WEB],
        cause: "node-web.service changed",
        by: None,
        broken: &[],
        late: false,
    },
};

/// The variant of that name.
pub fn find(name: &str) -> Option<&'static Variant> {
    VARIANTS.iter().find(|variant| variant.name == name)
}
