//! What an upgrade breaks of the pods' network alone: the node itself stays well.

use crate::scenario::{Actor, Place, Step};
use crate::traffic::Role;

use super::super::KUBELET;
use super::{COMMON, Expect, Heal, NETWORKD, Variant};

/// A pod with a network of its own, which asks the internet.
const CLIENT: Actor = Actor {
    name: "pod-client",
    place: Place::Pod,
    role: Role::Client,
    addresses: &["192.0.2.10:8080"],
};

/// As in issues 17433 of kops with the network plugin of AWS, 5623 of k0s and 4779 of Calico: a second device of the node has the
/// pods' addresses, and rules send by it what pods send. The network refuses it elsewhere: at the peer a strict reverse path
/// filter stands for that of the cloud.
pub(super) const RULES: Variant = Variant {
    name: "incident-pod-rules",
    title: "networkd is restarted and takes the rules away by which pods have a way of their own",
    breaks: "What the pod sends leaves by eth1, whose addresses the pods have: a rule for each pod says so. The upgrade restarts \
             networkd, which deletes the rules. What the pod sends leaves by eth0, and the network throws it away. The node's \
             own services go on.",
    says: "R33, where: guest kernel; kubelet.service goes on. The rule was deleted by systemd-networkd, which had been started \
           anew. Beside it R02, which says what else it has removed.",
    uplinks: &["eth0", "eth1"],
    links: &[
        Step::Ip(
            Place::Node,
            "link add eth1 index 12 type veth peer name node1 netns {peer}",
        ),
        Step::Ip(Place::Node, "addr add 10.11.0.2/24 dev eth1"),
        Step::Ip(Place::Node, "link set eth1 up"),
        Step::Ip(Place::Node, "route add default via 10.11.0.1 dev eth1 table 2"),
        Step::Ip(Place::Peer, "addr add 10.11.0.1/24 dev node1"),
        Step::Ip(Place::Peer, "link set node1 up"),
        Step::Ip(Place::Peer, "route replace 10.244.0.0/16 via 10.11.0.2 dev node1"),
        Step::Sysctl(Place::Peer, "net.ipv4.conf.node0.rp_filter", "1"),
    ],
    setup: &[
        Step::Ip(Place::Node, "rule add pref 512 to 10.244.0.2 lookup main"),
        Step::Ip(Place::Node, "rule add pref 1536 from 10.244.0.2 lookup 2"),
    ],
    beside: Some(CLIENT),
    heal: &[Heal::Step(Step::Ip(
        Place::Node,
        "rule add pref 1536 from 10.244.0.2 lookup 2",
    ))],
    expect: Expect {
        verdict: "R33",
        units: &[],
        well: &[KUBELET],
        cause: "rule 1536: from 10.244.0.2 lookup 2 went away",
        by: Some(NETWORKD),
        also: &["R02"],
        ..COMMON.expect
    },
    ..COMMON
};

/// As in issues 10645 of Cilium and 181 of Flatcar: a new systemd brings a file of sysctls that sets rp_filter of every device,
/// also of those of pods, which have no address of their own and no route back. In place of the BPF programs of the plugin a mark
/// and a rule lead what comes by the uplink to the pod.
pub(super) const FILTER: Variant = Variant {
    name: "incident-pod-rp-filter",
    title: "the upgrade brings a file of sysctls with a reverse path filter for the devices of pods",
    breaks: "The pod's device has no address, and the node's routes do not lead back by it: the plugin forwards by itself. The \
             upgrade sets rp_filter of that device to 2. The kernel drops all that the pod sends; the node's own services go on.",
    says: "R03, where: guest kernel; kubelet.service goes on. rp_filter of lxc1 changed while apt-get of \
           apt-daily-upgrade.service had packages in work.",
    links: &[
        // The routes by it go with the address.
        Step::Ip(Place::Node, "addr del 10.244.0.1/32 dev lxc1"),
        Step::Ip(Place::Node, "route add 10.244.0.2/32 dev lxc1 table 100"),
        Step::Ip(Place::Node, "link set lxc1 address 02:00:0a:f4:00:01"),
        Step::Ip(
            Place::Pod,
            "neigh replace 10.244.0.1 dev eth0 lladdr 02:00:0a:f4:00:01 nud permanent",
        ),
    ],
    // By a mark, since the filter asks for the way back as if by the device by which the packet leaves.
    setup: &[
        Step::Ip(Place::Node, "rule add pref 50 fwmark 1 lookup 100"),
        Step::Nft(
            Place::Node,
            "table ip plugin {\n\
             chain pre {\n\
             type filter hook prerouting priority mangle; policy accept;\n\
             iif eth0 meta mark set 1\n\
             }\n\
             }",
        ),
    ],
    beside: Some(CLIENT),
    postinst: "mkdir -p /etc/sysctl.d\n\
               printf 'net.ipv4.conf.*.rp_filter = 2\\n-net.ipv4.conf.all.rp_filter\\n' > /etc/sysctl.d/50-lab.conf\n\
               /lib/systemd/systemd-sysctl --prefix=/net/ipv4/conf/lxc1 /etc/sysctl.d/50-lab.conf\n",
    heal: &[Heal::Step(Step::Sysctl(
        Place::Node,
        "net.ipv4.conf.lxc1.rp_filter",
        "0",
    ))],
    expect: Expect {
        verdict: "R03",
        units: &[],
        well: &[KUBELET],
        cause: "net.ipv4.conf.lxc1.rp_filter changed from 0 to 2",
        ..COMMON.expect
    },
    ..COMMON
};
