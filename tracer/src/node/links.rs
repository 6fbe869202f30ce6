//! Network devices as the kernel tells them (rtnetlink), and which stands on which.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;

use super::netlink::{self, array_at, attributes, string, u32_at};

// include/uapi/linux/rtnetlink.h, if_link.h, if_addr.h
const RTM_GETLINK: u16 = 18;
const RTM_GETADDR: u16 = 22;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_PARENT_DEV_NAME: u16 = 56;
const IFLA_INFO_KIND: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// Kinds of devices that stand on the one that IFLA_LINK names, and take its packets as they are.
const STANDING_ON_A_LINK: [&str; 6] = ["vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec"];
/// Kinds of tunnels: what comes by one of them came by the device below, in another packet. The one below is that which
/// IFLA_LINK names; where it names none, any uplink.
const TUNNELS: [&str; 13] = [
    "vxlan",
    "geneve",
    "gre",
    "gretap",
    "erspan",
    "ip6gre",
    "ip6gretap",
    "ip6erspan",
    "ipip",
    "sit",
    "ip6tnl",
    "gtp",
    "wireguard",
];
/// Kinds of masters whose ports' packets arrive anew, if they are for this node: by the bridge itself
/// (`br_pass_frame_up`), or by some other port (Open vSwitch).
pub(super) const BRIDGE: &str = "bridge";
const OPEN_VSWITCH: &str = "openvswitch";
/// Leaves out the counters, which are most of the answer.
const RTEXT_FILTER_SKIP_STATS: u32 = 8;
const IFF_LOOPBACK: u32 = 8;
/// Length of `struct ifinfomsg` and of `struct ifaddrmsg`.
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;

/// A device as the kernel tells it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) loopback: bool,
    /// It has a hardware parent.
    pub(super) hardware: bool,
    /// Its link-layer address.
    pub(super) hardware_address: Vec<u8>,
    pub(super) addresses: Vec<IpAddr>,
    /// What it is, such as `bond`; empty for hardware.
    pub(super) kind: String,
    /// Index of the device that it is a port or a member of, 0 for none.
    pub(super) master: u32,
    /// Index of the device of the same namespace that it is linked to, 0 for none.
    pub(super) link: u32,
    /// Index of the device of another namespace that it is linked to.
    pub(super) other: Option<u32>,
    /// By what number its namespace knows that other one.
    pub(super) nsid: Option<u32>,
}

impl Link {
    pub(super) fn is_switch(&self) -> bool {
        [BRIDGE, OPEN_VSWITCH].contains(&self.kind.as_str())
    }

    pub(super) fn stands_on_a_link(&self) -> bool {
        STANDING_ON_A_LINK.contains(&self.kind.as_str())
    }

    /// The switch that it is a port of, and the port: itself, or the bond that it is a member of.
    pub(super) fn switch<'a>(&'a self, all: &'a [Self]) -> Option<(&'a Self, &'a Self)> {
        let mut port = self;
        for _ in 0..all.len() {
            let master = all.iter().find(|link| link.index == port.master)?;
            if master.is_switch() {
                return Some((port, master));
            }
            port = master;
        }
        None
    }

    /// It is one of these uplinks, or has one for a member.
    pub(super) fn leads_to(&self, uplinks: &BTreeSet<u32>, all: &[Self]) -> bool {
        uplinks.contains(&self.index)
            || all
                .iter()
                .any(|link| link.master == self.index && uplinks.contains(&link.index))
    }

    /// See [`Device::over`].
    pub(super) fn over(&self, all: &[Self], uplinks: &BTreeSet<u32>) -> Vec<u32> {
        if self.is_switch() {
            return Vec::new();
        }
        let tunnel = TUNNELS.contains(&self.kind.as_str());
        if tunnel && self.link == 0 {
            return uplinks
                .iter()
                .copied()
                .filter(|index| *index != self.index)
                .collect();
        }
        let stands = tunnel || self.stands_on_a_link();
        let mut over: Vec<u32> = all
            .iter()
            .filter(|other| other.master == self.index || (stands && other.index == self.link))
            .map(|other| other.index)
            .collect();
        over.sort_unstable();
        over
    }
}

/// The devices of this thread's namespace.
pub(super) fn links() -> Result<Vec<Link>, netlink::Error> {
    let mut request = vec![0; LINK_HEADER];
    request.extend(8_u16.to_ne_bytes());
    request.extend(IFLA_EXT_MASK.to_ne_bytes());
    request.extend(RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
    let mut links = netlink::dump(netlink::ROUTE, RTM_GETLINK, &request, parse_link)?;
    let addresses = netlink::dump(netlink::ROUTE, RTM_GETADDR, &[0; ADDRESS_HEADER], parse_address)?;
    for (index, address) in addresses.into_iter().flatten() {
        // A device that came between the two lists is told by its own notification.
        if let Some(link) = links.iter_mut().find(|link| link.index == index) {
            link.addresses.push(address);
        }
    }
    Ok(links)
}

/// `struct ifinfomsg` { u8 family, u8 pad, u16 type, i32 index, u32 flags, u32 change } and attributes.
fn parse_link(body: &[u8]) -> Option<Link> {
    let mut link = Link {
        index: u32_at(body, 4)?,
        loopback: u32_at(body, 8)? & IFF_LOOPBACK != 0,
        ..Link::default()
    };
    for (kind, value) in attributes(body.get(LINK_HEADER..)?) {
        match kind {
            IFLA_IFNAME => link.name = string(value),
            IFLA_ADDRESS => link.hardware_address = value.to_vec(),
            IFLA_PARENT_DEV_NAME => link.hardware = true,
            IFLA_MASTER => link.master = u32_at(value, 0)?,
            IFLA_LINK => link.link = u32_at(value, 0)?,
            IFLA_LINK_NETNSID => link.nsid = Some(u32_at(value, 0)?),
            IFLA_LINKINFO => {
                let kind = attributes(value).find(|(kind, _)| *kind == IFLA_INFO_KIND);
                link.kind = kind.map(|(_, value)| string(value)).unwrap_or_default();
            }
            _ => {}
        }
    }
    if link.nsid.is_some() {
        link.other = Some(std::mem::take(&mut link.link)).filter(|index| *index != 0);
    }
    Some(link)
}

/// `struct ifaddrmsg` { u8 family, prefix length, flags, scope; u32 index } and attributes: the device's
/// index and its own address. The inner `None` is an address of neither IPv4 nor IPv6.
#[expect(
    clippy::option_option,
    reason = "the outer one says whether the message is whole"
)]
fn parse_address(body: &[u8]) -> Option<Option<(u32, IpAddr)>> {
    let index = u32_at(body, 4)?;
    let (mut local, mut address) = (None, None);
    for (kind, value) in attributes(body.get(ADDRESS_HEADER..)?) {
        match kind {
            IFA_LOCAL => local = parse_ip(value),
            IFA_ADDRESS => address = parse_ip(value),
            _ => {}
        }
    }
    // On a point-to-point device IFA_ADDRESS is the peer's; IPv6 otherwise has no IFA_LOCAL.
    Some(local.or(address).map(|address| (index, address)))
}

fn parse_ip(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => array_at::<4>(value, 0).map(IpAddr::from),
        16 => array_at::<16>(value, 0).map(IpAddr::from),
        _ => None,
    }
}

/// Whether /sys says that the device has a hardware parent. The /sys that is mounted may be another
/// namespace's, with another device of that name, so index and address must be the same.
pub(super) fn has_device_in_sys(link: &Link) -> bool {
    let folder = format!("/sys/class/net/{}", link.name);
    let read = |file: &str| fs::read_to_string(format!("{folder}/{file}")).unwrap_or_default();
    let address: Vec<String> = link
        .hardware_address
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    read("ifindex").trim() == link.index.to_string()
        && read("address").trim() == address.join(":")
        && fs::exists(format!("{folder}/device")).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_messages_are_refused() {
        assert!((0..LINK_HEADER).all(|length| parse_link(&vec![0; length]).is_none()));
        assert!((0..ADDRESS_HEADER).all(|length| parse_address(&vec![0; length]).is_none()));
        assert_eq!(parse_address(&[0; ADDRESS_HEADER]), Some(None));
    }
}
