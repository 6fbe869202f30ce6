//! Commands that show what loses packets, and what mends it.

use std::collections::BTreeSet;

use super::End;
use super::kinds::Kind;
use crate::diagnosis::words::{ip, is_of_reader};
use crate::event::FlowKey;
use crate::event::value::TRACKED_MOST;
use crate::model::Model;
use crate::model::class;
use crate::report::Class;
use crate::shell::quoted;

/// Commands that show how full the table of tracked connections is.
pub(super) const TABLE: [&str; 2] = [
    "sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max",
    "cat /proc/net/stat/nf_conntrack",
];

/// What gives the tables of these namespaces more room: twice as much. One number bounds all tables, and only the initial network
/// namespace can set it (`nf_conntrack_standalone_init_sysctl`, net/netfilter/nf_conntrack_standalone.c).
pub(super) fn more_room(model: &Model, namespaces: &BTreeSet<u32>) -> Vec<String> {
    let rooms = namespaces
        .iter()
        .filter_map(|netns| Some(model.tables().get(*netns)?.room));
    let number = match rooms.max().unwrap_or(0) {
        0 => "NUMBER".to_owned(),
        room => room.saturating_mul(2).to_string(),
    };
    let is_readers = |netns: &u32| {
        let namespace = model.node().namespace(*netns);
        namespace.is_some_and(|namespace| is_of_reader(&namespace.name))
    };
    let is_read_only = if namespaces.iter().all(is_readers) {
        ""
    } else {
        " Run it in the node's initial network namespace: in all others the parameter is read-only, and its number bounds \
         their tables too."
    };
    vec![
        format!(
            "sysctl -w {TRACKED_MOST}={number}  # Risk: each entry takes some 300 bytes of kernel memory. Lasts until the settings \
             are loaded again.{is_read_only}"
        ),
        "Find out who opens so many connections (tracer explain R07 has a command), and stop that. Risk: it may be what the node \
         is there for."
            .to_owned(),
    ]
}

/// Commands that show what may have done it; of a sender's entry [`super::link_address::advice`] has them.
pub(super) fn checks(kind: Kind, key: &FlowKey, end: End<'_>, device: &str) -> Vec<String> {
    let (ip, dev) = (
        ip(key.local),
        quoted(if device.is_empty() { "DEVICE" } else { device }),
    );
    // In a sysctl's name a dot of the device is written as a slash.
    let setting = device.replace('.', "/");
    let tc = || format!("tc -s filter show dev {dev} ingress");
    let xdp = || format!("ip -d link show dev {dev}");
    let programs = || "bpftool net list".to_owned();
    let ruleset = || "nft -a list ruleset".to_owned();
    let text = str::to_owned;
    match kind {
        Kind::Address => vec![
            format!("{ip} addr"),
            format!("{ip} route get {} from {} iif {dev}", key.local, key.remote),
        ],
        Kind::TableFull => TABLE.map(str::to_owned).into(),
        Kind::SendersEntry => Vec::new(),
        Kind::Invalid => vec![ruleset(), text("cat /proc/net/stat/nf_conntrack")],
        Kind::Firewall => vec![
            ruleset(),
            text(if key.local.is_ipv4() {
                "iptables-legacy-save -c"
            } else {
                "ip6tables-legacy-save -c"
            }),
            text("cat /proc/net/stat/nf_conntrack"),
        ],
        Kind::Xdp => vec![xdp(), programs()],
        Kind::Traffic | Kind::Stolen => vec![tc(), programs()],
        Kind::SocketFilter => vec![text("bpftool cgroup tree"), text("ss -lntup -e")],
        Kind::Checksum => vec![format!("ethtool -k {dev}"), format!("ethtool -S {dev}")],
        Kind::LinkAddress | Kind::Source => vec![format!("ip -br link show dev {dev}"), format!("{ip} addr")],
        Kind::Ipv6Off => vec![format!(
            "sysctl net.ipv6.conf.all.disable_ipv6 {}",
            quoted(&format!("net.ipv6.conf.{setting}.disable_ipv6"))
        )],
        Kind::Overlay => vec![text("ip -d link show type vxlan")],
        Kind::Other if by_ipsec(end) => vec![
            format!("{ip} xfrm policy"),
            format!("{ip} xfrm state"),
            text("cat /proc/net/xfrm_stat"),
        ],
        Kind::Other => vec![
            format!("{ip} rule"),
            format!("{ip} route get {} from {} iif {dev}", key.local, key.remote),
            tc(),
            xdp(),
            programs(),
            ruleset(),
        ],
    }
}

/// What mends it, as far as that can be said; of a full table [`more_room`] does, of a sender's entry
/// [`super::link_address::advice`].
pub(super) fn mend(kind: Kind, end: End<'_>, device: &str) -> Vec<String> {
    let dev = quoted(if device.is_empty() { "DEVICE" } else { device });
    // How an XDP program is attached shows in where it drops.
    let xdp = match end.map(|(_, place)| place.symbol.as_str()) {
        Some("do_xdp_generic") => "xdpgeneric",
        _ => "xdpdrv",
    };
    let text = match kind {
        Kind::TableFull | Kind::SendersEntry => return Vec::new(),
        Kind::Address => "Add the address again by `ip addr add`, with the prefix and the routes that it had: a cause that was seen \
                          has them, and so has what configures the node; where systemd-networkd keeps them, `networkctl \
                          reconfigure` of the device does so. Risk: low for the former; by the latter what others have set at \
                          the device may be lost too."
            .to_owned(),
        Kind::Invalid => "Where the table was emptied, restart what holds old connections: it knows new ones. Risk: ends what they \
                          still do."
            .to_owned(),
        Kind::Xdp => format!(
            "ip link set dev {dev} {xdp} off  # not where a BPF link holds it: end its process then. Risk: the program may be a network plugin's or a shield against floods; ask whose \
             it is."
        ),
        Kind::Stolen | Kind::Traffic => "See whether the agent is well that made the filter, and delete it only if nobody needs \
                                         it. Risk: it may cut off pods."
            .to_owned(),
        Kind::SocketFilter => "Allow the peer in a drop-in of the unit (IPAddressAllow=), then systemctl daemon-reload. Risk: it \
                               may be refused on purpose."
            .to_owned(),
        Kind::Checksum => "This is for whoever runs the network or the hypervisor, with the times and peers of the verdict. \
                           Risk: none."
            .to_owned(),
        Kind::LinkAddress => "Give the device the link-layer address back that the network expects. Risk: low, where it is the \
                              one that was there before."
            .to_owned(),
        Kind::Ipv6Off => format!(
            "sysctl -w {}  # Risk: low. Addresses that were lost must be set again.",
            quoted(&format!("net.ipv6.conf.{}.disable_ipv6=0", device.replace('.', "/")))
        ),
        Kind::Overlay => "Restart the network plugin's agent. Risk: pods of this node may lose their network while it starts."
            .to_owned(),
        Kind::Source => "Take the address from the other machine that has it. Risk: that one loses it; ask whose it is."
            .to_owned(),
        Kind::Firewall => "Change the rule that the checks show. Risk: it may be there on purpose; ask whose it is, and do not \
                           flush what others made."
            .to_owned(),
        Kind::Other => other(end).to_owned(),
    };
    vec![text]
}

/// It was dropped by what IPsec asks of it (`XFRM_POLICY` of `enum skb_drop_reason`).
fn by_ipsec(end: End<'_>) -> bool {
    end.is_some_and(|(reason, _)| reason.starts_with("XFRM_"))
}

fn other(end: End<'_>) -> &'static str {
    if by_ipsec(end) {
        return "Delete the policy that the checks show, or see whether the daemon is well that agrees on keys with the peers. Risk: \
                what is to be protected may go as it is; ask whose it is.";
    }
    match end.map(|(reason, location)| class::of(reason, &location.symbol)) {
        Some(Class::Policy) => {
            "Change the rule, filter or program that the checks show. Risk: it may be there on purpose; ask whose it is, and do \
             not flush what others made."
        }
        Some(Class::State) => {
            "Put back the address, route or rule that the checks show to be missing. Risk: low, where it is what was there \
             before."
        }
        _ => {
            "Where the checks show nothing that explains the loss, take a recording (--record) before anything is restarted. \
             Risk: none; a restart destroys the evidence."
        }
    }
}
