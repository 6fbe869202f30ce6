//! What a restart of the real systemd-networkd breaks, as an upgrade of systemd brings it about.

use crate::scenario::{Actor, Place, Step};
use crate::traffic::Role;

use super::{COMMON, Expect, Heal, Late, NETWORKD, Variant};

pub(super) const INCIDENT: Variant = Variant {
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
    killed: true,
    heal: &[Heal::Step(Step::Ip(Place::Node, "rule add pref 0 lookup local"))],
    expect: Expect {
        verdict: "R01",
        cause: "rule 100: from all lookup local went away",
        by: Some(NETWORKD),
        broken: &[
            "no rule of IPv4 looks table local up",
            "127.0.0.1 does not lead to lo",
        ],
        late: Late::Predates,
        ..COMMON.expect
    },
    ..COMMON
};

/// As at Datadog on 8 March 2023, and in issues 18706 of Cilium and 620 of Flatcar: the plugin routes each pod by rules, keeps
/// the ways to other nodes' pods as routes, and looks table local up at another place. All of it is somebody else's to networkd.
pub(super) const CNI: Variant = Variant {
    name: "incident-cni",
    title: "networkd is restarted and takes all rules and routes of the cluster's network plugin away",
    breaks: "The plugin has moved the lookup of table local to 100, sends each pod's packets by rules of its own, and has routes \
             to the pods of other nodes, for IPv4 and IPv6. The upgrade restarts networkd, which deletes all of that.",
    says: "R01, where: guest kernel; beside it R02, which counts the rules and routes that were removed. kubelet.service and the \
           pod starve.",
    setup: &[
        Step::Ip(Place::Node, "rule add pref 9 fwmark 0x200/0xf00 lookup 2004"),
        Step::Ip(Place::Node, "rule add pref 20 from all to 10.244.0.2 lookup main"),
        Step::Ip(Place::Node, "rule add pref 100 from all lookup local"),
        Step::Ip(Place::Node, "rule add pref 111 from 10.244.0.2 lookup 11"),
        Step::Ip(Place::Node, "rule del pref 0"),
        Step::Ip(Place::Node, "-6 rule add pref 9 fwmark 0x200/0xf00 lookup 2004"),
        Step::Ip(Place::Node, "-6 rule add pref 100 from all lookup local"),
        Step::Ip(Place::Node, "-6 rule del pref 0"),
        Step::Ip(Place::Node, "route add default via 10.10.0.1 dev eth0 table 11"),
        Step::Ip(Place::Node, "route add 10.244.1.0/24 via 10.10.0.1 dev eth0"),
        Step::Ip(Place::Node, "route add 10.244.2.0/24 via 10.10.0.1 dev eth0"),
        Step::Ip(
            Place::Node,
            "-6 route add 2001:db8:244:1::/64 via 2001:db8:10::1 dev eth0",
        ),
    ],
    heal: &[
        Heal::Step(Step::Ip(Place::Node, "rule add pref 0 lookup local")),
        Heal::Step(Step::Ip(Place::Node, "-6 rule add pref 0 lookup local")),
    ],
    expect: Expect {
        verdict: "R01",
        cause: "rule 100: from all lookup local went away",
        by: Some(NETWORKD),
        broken: &[
            "no rule of IPv4 looks table local up",
            "no rule of IPv6 looks table local up",
            "127.0.0.1 does not lead to lo",
        ],
        also: &["R02"],
        late: Late::Predates,
        ..COMMON.expect
    },
    ..COMMON
};

/// What networkd finds at a device that is its own and does not know it takes away (`link_drop_foreign_config`).
pub(super) const ADDRESS: Variant = Variant {
    name: "incident-address",
    title: "networkd is restarted and takes an address and the default route away that it did not set",
    breaks: "The address of the uplink and the default route were set by somebody else than networkd, whose configuration has \
             lost them. The upgrade restarts networkd, which removes what it does not know.",
    says: "R04, or R05 where an answer was on its way, where: guest kernel. The default route and its address were removed by \
           systemd-networkd, which had been started anew.",
    network: "Address=2001:db8:10::2/64\nGateway=2001:db8:10::1\n",
    setup: &[
        Step::Ip(Place::Node, "addr add 10.10.0.2/24 dev eth0"),
        Step::Ip(Place::Node, "route add default via 10.10.0.1"),
    ],
    heal: &[
        Heal::Step(Step::Ip(Place::Node, "addr add 10.10.0.2/24 dev eth0")),
        Heal::Step(Step::Ip(Place::Node, "route add default via 10.10.0.1")),
    ],
    expect: Expect {
        verdict: "R04",
        // That of an answer which came when the address was gone.
        or: Some("R05"),
        cause: "went away",
        by: Some(NETWORKD),
        ..COMMON.expect
    },
    ..COMMON
};

/// Who gives the node its address.
const DHCP: Actor = Actor {
    name: "peer-dhcp",
    place: Place::Peer,
    role: Role::Dhcp,
    addresses: &["10.10.0.2"],
};

/// As at CloudAMQP in April 2021, where the generator of networkd's configuration crashed half-way through an upgrade, and at
/// Azure on 30 August 2022, where the configuration matched the device no more: nobody renews the lease, and the kernel takes
/// the address away when its time is over. The lab's own server gives the lease, for a few seconds; networkd asks for it.
pub(super) const LEASE: Variant = Variant {
    name: "incident-lease",
    title: "the upgrade loses networkd's configuration, and nobody renews the lease of the node's address",
    breaks: "networkd has the address of the uplink and the default route from DHCP. The upgrade removes networkd's \
             configuration, as a generator that crashes does, and restarts networkd, which then leaves the uplink alone: the \
             kernel takes the address away when its lease is over.",
    says: "R04, where: guest kernel. The kernel took the address away, since the time of its lease was over and nobody had \
           prolonged it; the default route went with it. Or R05 of the same, where the peer was still sending something again.",
    network: "DHCP=ipv4\nAddress=2001:db8:10::2/64\nGateway=2001:db8:10::1\n",
    links: &[Step::Ip(Place::Node, "addr del 10.10.0.2/24 dev eth0")],
    actors: &[DHCP],
    postinst: "rm /run/systemd/network/1.network\nsystemctl daemon-reexec\nsystemctl try-restart systemd-networkd.service\n",
    heal: &[
        Heal::Step(Step::Ip(Place::Node, "addr replace 10.10.0.2/24 dev eth0")),
        Heal::Step(Step::Ip(Place::Node, "route replace default via 10.10.0.1")),
    ],
    expect: Expect {
        verdict: "R04",
        // Where the peer had sent something that was not acknowledged yet, it sends that again to the address that is gone.
        or: Some("R05"),
        cause: "the time for which it was set was over, and nobody had prolonged it",
        ..COMMON.expect
    },
    ..COMMON
};

/// As where udev is restarted and renames a device by a `.link` file that was not there before, or not read. udev itself does
/// not run in the world: `ip` renames the device, as udev would.
pub(super) const RENAMED: Variant = Variant {
    name: "incident-renamed",
    title: "the upgrade has the uplink renamed, and networkd does not know it by its new name",
    breaks: "The upgrade renames eth0 to ens3, for which the device is set down, as udev does by a new .link file. networkd's \
             configuration goes by the old name, so that nobody sets the device up again.",
    says: "R22, where: guest kernel. The device was set down by ip of apt-daily-upgrade.service, and has another name.",
    postinst: "ip link set dev eth0 down\nip link set dev eth0 name ens3\nsystemctl try-restart systemd-networkd.service\n",
    heal: &[Heal::World(
        "ip link set dev ens3 name eth0 && systemctl restart systemd-networkd.service",
    )],
    expect: Expect {
        verdict: "R22",
        cause: "device eth0 changed from up, carrier to down, no carrier",
        // It is another name that it comes up with.
        mended: false,
        ..COMMON.expect
    },
    ..COMMON
};
