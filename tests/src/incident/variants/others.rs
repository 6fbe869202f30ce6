//! What else an upgrade breaks.

use std::time::Duration;

use crate::scenario::{Actor, Place, Step};
use crate::traffic::Role;

use super::super::{UPGRADE, WEB};
use super::{COMMON, Expect, Heal, Late, Variant};

/// As systemd's own `50-default.conf`, which Debian leaves out, and other packages' files of sysctls.
pub(super) const RP_FILTER: Variant = Variant {
    name: "incident-rp-filter",
    title: "the upgrade brings a file of sysctls with a strict reverse path filter",
    breaks: "Requests leave by a second device and replies come back by eth0. The upgrade sets rp_filter to 1: the kernel drops \
             the replies.",
    says: "R03, where: guest kernel. rp_filter changed while apt-get of apt-daily-upgrade.service had packages in work.",
    links: &[
        Step::SecondUplink,
        Step::Ip(
            Place::Node,
            "route add 192.0.2.10/32 via 10.11.0.1 dev eth1 src 10.10.0.2",
        ),
    ],
    postinst: "mkdir -p /etc/sysctl.d\n\
               printf 'net.ipv4.conf.all.rp_filter = 1\\nnet.ipv4.route.flush = 1\\n' > /etc/sysctl.d/50-lab.conf\n\
               /lib/systemd/systemd-sysctl /etc/sysctl.d/50-lab.conf\n",
    heal: &[Heal::Step(Step::Sysctl(
        Place::Node,
        "net.ipv4.conf.all.rp_filter",
        "0",
    ))],
    expect: Expect {
        verdict: "R03",
        cause: "rp_filter changed from 0 to 1",
        late: Late::Predates,
        ..COMMON.expect
    },
    ..COMMON
};

/// As where a firewall of its own is loaded anew by a package.
pub(super) const FIREWALL: Variant = Variant {
    name: "incident-firewall",
    title: "the upgrade loads the firewall anew, and the rule that accepts replies is not in it any more",
    breaks: "The firewall drops what it does not know and accepts what belongs to open connections. The upgrade loads it without \
             the rule that does so.",
    says: "R06, where: guest kernel. The ruleset was changed by nft of apt-daily-upgrade.service.",
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
    postinst: "nft -f - <<'END'\n\
               flush ruleset\n\
               table inet guard {\n\
               chain in {\n\
               type filter hook input priority 0; policy drop;\n\
               meta l4proto { icmp, ipv6-icmp } accept\n\
               }\n\
               }\n\
               END\n",
    heal: &[Heal::Step(Step::Nft(Place::Node, "flush ruleset"))],
    expect: Expect {
        verdict: "R06",
        cause: "guard",
        by: Some(("nft", UPGRADE)),
        // As with the agent's.
        mended: false,
        late: Late::Predates,
        ..COMMON.expect
    },
    ..COMMON
};

/// As in issues 642 of RKE, 55043 of Kubernetes and 1088 of Kubespray: an upgrade of the kernel takes the modules of the running
/// one away, and an agent that sets the rules of the node's network cannot load what it needs. The kernel of the lab may have no
/// modules at all: the folder is the lab's own, and lists as part of the kernel what the agent asks `modprobe` for.
pub(super) const MODULES: Variant = Variant {
    name: "incident-modules",
    title: "the upgrade replaces the modules of the running kernel, and the network's agent cannot set its rules again",
    breaks: "The new package of the kernel has no modules for the one that runs. The upgrade restarts the agent that sets the \
             rules of the node's network: it begins with a firewall that drops everything, asks for a module, and fails.",
    says: "R06, where: guest kernel, the ruleset was changed by nft of kube-proxy.service; beside it R25, that modules of the \
           running kernel cannot be loaded.",
    services: &[(
        "kube-proxy.service",
        "Type=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -ec '\
         { echo \"flush ruleset; table inet proxy { chain in { type filter hook input priority 0; policy drop; }; }\"; \
         sleep 0.5; } | nft -i; \
         modprobe nf_conntrack; \
         nft \"add rule inet proxy in ct state established,related accept\"; \
         nft \"add rule inet proxy in meta l4proto { icmp, ipv6-icmp } accept\"'\n",
    )],
    modules: true,
    // Connections are tracked before the first is opened: of one that began untracked the answer that is under way when the rules
    // come is taken for something new and dropped, again and again.
    setup: &[Step::Nft(
        Place::Node,
        "add table inet before; \
         add chain inet before in { type filter hook input priority 0; }; \
         add rule inet before in ct state established,related accept",
    )],
    postinst: "systemctl restart kube-proxy.service || true\n",
    heal: &[Heal::Step(Step::Nft(Place::Node, "flush ruleset"))],
    expect: Expect {
        verdict: "R06",
        cause: "proxy",
        by: Some(("nft", "kube-proxy.service")),
        // To flush all of it does not bring the rule back that went away.
        mended: false,
        also: &["R25"],
        late: Late::Predates,
        ..COMMON.expect
    },
    ..COMMON
};

/// As where a package stops a daemon before its files are replaced, and the upgrade does not come to start it again.
pub(super) const SERVICE: Variant = Variant {
    name: "incident-service",
    title: "the upgrade stops a service, and does not come to start it again",
    breaks: "A package stops the node's server before its files are replaced; it would be started again later, and the upgrade \
             is killed before that. Its clients go on asking.",
    says: "R12, where: process. The unit was stopped while apt-get of apt-daily-upgrade.service had packages in work.",
    asks: Some(Actor {
        name: "peer-client",
        place: Place::Peer,
        role: Role::Client,
        addresses: &["10.10.0.2:8080"],
    }),
    postinst: "systemctl stop node-web.service\n",
    killed: true,
    heal: &[Heal::World("systemctl start node-web.service")],
    expect: Expect {
        verdict: "R12",
        place: "process",
        units: &[WEB],
        cause: "node-web.service changed",
        // Who deploys a service stops it, and starts it again a moment later.
        waits: Duration::from_secs(5),
        ..COMMON.expect
    },
    ..COMMON
};
