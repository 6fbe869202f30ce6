//! Frames that no sane sender makes, byte by byte over a packet socket.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::counts::Score;

const INTERVAL: Duration = Duration::from_millis(50);

/// From the peer to the node, by the devices and addresses of the topology ([`crate::lab`]).
pub(super) const NODE_MAC: [u8; 6] = [0x02, 0, 0x0a, 0x0a, 0, 0x02];
const PEER_MAC: [u8; 6] = [0x02, 0, 0x0a, 0x0a, 0, 0x01];
const OTHER_MAC: [u8; 6] = [0x02, 0, 0x0a, 0x0a, 0, 0x99];
const NODE: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 2);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 1);
const NODE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x10, 0, 0, 0, 0, 2);
const PEER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x10, 0, 0, 0, 0, 1);
const POD: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 2);
const POD_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x244, 0, 0, 0, 0, 2);

const ETH_IPV4: u16 = 0x0800;
const ETH_IPV6: u16 = 0x86dd;
/// For experiments (IEEE 802): nobody handles it.
const ETH_EXPERIMENT: u16 = 0x88b5;
pub(super) const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
/// For experiments (RFC 3692): nobody handles it.
const EXPERIMENT: u8 = 253;

/// A kind of frame: what is wrong with it. All else about it is right, and it is for the node's port 8080.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The checksum of the IPv4 header.
    BadIpChecksum,
    /// The version in the IPv4 header.
    BadIpHeader,
    /// The version in the IPv6 header.
    BadIpv6Header,
    /// It is shorter than its IPv4 header says.
    ShortIp,
    /// It is shorter than its IPv6 header says.
    ShortIpv6,
    /// It ends within its IPv4 header.
    HeaderCut,
    /// It ends within its IPv6 header.
    Header6Cut,
    /// The checksum of UDP.
    BadUdpChecksum,
    /// The same over IPv6.
    BadUdp6Checksum,
    /// It is shorter than its UDP header says.
    ShortUdp,
    /// The checksum of TCP.
    BadTcpChecksum,
    /// The same over IPv6.
    BadTcp6Checksum,
    /// An Ethernet type that nobody handles.
    UnknownEthertype,
    /// A protocol of IPv4 that nobody handles.
    UnknownProtocol,
    /// A next header of IPv6 that nobody handles.
    UnknownNextHeader,
    /// The link-layer address of somebody else.
    OtherMac,
    /// The same over IPv6.
    OtherMac6,
    /// The source is the node's own address.
    OwnSource,
    /// The source is 127.0.0.1.
    LoopbackSource,
    /// The source is a group.
    GroupSource,
    /// It is the first of two fragments, and the other never comes.
    LoneFragment,
    /// The same over IPv6.
    LoneFragment6,
    /// It is the last of two fragments of a TCP segment, and the first never comes.
    LastFragment,
    /// It is for the pod, and the node is the last that may forward it.
    LastHop,
    /// The same over IPv6.
    LastHop6,
    /// It is for a group of IPv6 that the node has not joined, and has the node's own link-layer address.
    ForeignGroup,
    /// An ICMP message of a type that nobody knows.
    UnknownIcmp,
}

impl Frame {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::BadIpChecksum,
        Self::BadIpHeader,
        Self::BadIpv6Header,
        Self::ShortIp,
        Self::ShortIpv6,
        Self::HeaderCut,
        Self::Header6Cut,
        Self::BadUdpChecksum,
        Self::BadUdp6Checksum,
        Self::ShortUdp,
        Self::BadTcpChecksum,
        Self::BadTcp6Checksum,
        Self::UnknownEthertype,
        Self::UnknownProtocol,
        Self::UnknownNextHeader,
        Self::OtherMac,
        Self::OtherMac6,
        Self::OwnSource,
        Self::LoopbackSource,
        Self::GroupSource,
        Self::LoneFragment,
        Self::LoneFragment6,
        Self::LastFragment,
        Self::LastHop,
        Self::LastHop6,
        Self::ForeignGroup,
        Self::UnknownIcmp,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::BadIpChecksum => "bad-ip-checksum",
            Self::BadIpHeader => "bad-ip-header",
            Self::BadIpv6Header => "bad-ipv6-header",
            Self::ShortIp => "short-ip",
            Self::ShortIpv6 => "short-ipv6",
            Self::HeaderCut => "header-cut",
            Self::Header6Cut => "header6-cut",
            Self::BadUdpChecksum => "bad-udp-checksum",
            Self::BadUdp6Checksum => "bad-udp6-checksum",
            Self::ShortUdp => "short-udp",
            Self::BadTcpChecksum => "bad-tcp-checksum",
            Self::BadTcp6Checksum => "bad-tcp6-checksum",
            Self::UnknownEthertype => "unknown-ethertype",
            Self::UnknownProtocol => "unknown-protocol",
            Self::UnknownNextHeader => "unknown-next-header",
            Self::OtherMac => "other-mac",
            Self::OtherMac6 => "other-mac6",
            Self::OwnSource => "own-source",
            Self::LoopbackSource => "loopback-source",
            Self::GroupSource => "group-source",
            Self::LoneFragment => "lone-fragment",
            Self::LoneFragment6 => "lone-fragment6",
            Self::LastFragment => "last-fragment",
            Self::LastHop => "last-hop",
            Self::LastHop6 => "last-hop6",
            Self::ForeignGroup => "foreign-group",
            Self::UnknownIcmp => "unknown-icmp",
        }
    }

    /// The frame with this number, from the Ethernet header on.
    fn bytes(self, number: u16) -> Vec<u8> {
        let v4 = |source| Ipv4 {
            source,
            destination: NODE,
            identifier: number,
        };
        let plain = || v4(PEER).udp();
        match self {
            Self::BadIpChecksum => ethernet(NODE_MAC, ETH_IPV4, &broken(plain(), 10)),
            Self::BadIpHeader => ethernet(NODE_MAC, ETH_IPV4, &broken(plain(), 0)),
            Self::BadIpv6Header => ethernet(NODE_MAC, ETH_IPV6, &broken(v6(UDP, &udp_v6()), 0)),
            Self::ShortIp => {
                let packet = plain();
                ethernet(NODE_MAC, ETH_IPV4, &packet[..packet.len() - 8])
            }
            Self::ShortIpv6 => {
                let packet = v6(UDP, &udp_v6());
                ethernet(NODE_MAC, ETH_IPV6, &packet[..packet.len() - 8])
            }
            Self::HeaderCut => ethernet(NODE_MAC, ETH_IPV4, &plain()[..12]),
            Self::Header6Cut => ethernet(NODE_MAC, ETH_IPV6, &v6(UDP, &udp_v6())[..24]),
            Self::BadUdpChecksum => ethernet(NODE_MAC, ETH_IPV4, &broken(plain(), 26)),
            Self::BadUdp6Checksum => ethernet(NODE_MAC, ETH_IPV6, &v6(UDP, &broken(udp_v6(), 6))),
            Self::ShortUdp => {
                let mut datagram = udp(&v4_pseudo(PEER, NODE));
                datagram[4] = 1;
                ethernet(NODE_MAC, ETH_IPV4, &v4(PEER).packet(UDP, 0, &datagram))
            }
            Self::BadTcpChecksum => {
                let segment = broken(syn(&v4_pseudo(PEER, NODE)), 16);
                ethernet(NODE_MAC, ETH_IPV4, &v4(PEER).packet(TCP, 0, &segment))
            }
            Self::BadTcp6Checksum => {
                let segment = broken(syn(&v6_pseudo(PEER_V6, NODE_V6)), 16);
                ethernet(NODE_MAC, ETH_IPV6, &v6(TCP, &segment))
            }
            Self::UnknownEthertype => ethernet(NODE_MAC, ETH_EXPERIMENT, &[0; 64]),
            Self::UnknownProtocol => ethernet(NODE_MAC, ETH_IPV4, &v4(PEER).packet(EXPERIMENT, 0, &[0; 64])),
            Self::UnknownNextHeader => ethernet(NODE_MAC, ETH_IPV6, &v6(EXPERIMENT, &[0; 64])),
            Self::OtherMac => ethernet(OTHER_MAC, ETH_IPV4, &plain()),
            Self::OtherMac6 => ethernet(OTHER_MAC, ETH_IPV6, &v6(UDP, &udp_v6())),
            Self::OwnSource => ethernet(NODE_MAC, ETH_IPV4, &v4(NODE).udp()),
            Self::LoopbackSource => ethernet(NODE_MAC, ETH_IPV4, &v4(Ipv4Addr::LOCALHOST).udp()),
            Self::GroupSource => ethernet(NODE_MAC, ETH_IPV4, &v4(Ipv4Addr::new(239, 1, 2, 3)).udp()),
            Self::LastHop => {
                let pod = Ipv4 {
                    destination: POD,
                    ..v4(PEER)
                };
                ethernet(NODE_MAC, ETH_IPV4, &last_hop(pod.udp()))
            }
            Self::LastHop6 => {
                let mut packet = v6_to(POD_V6, UDP, &udp(&v6_pseudo(PEER_V6, POD_V6)));
                packet[7] = 1;
                ethernet(NODE_MAC, ETH_IPV6, &packet)
            }
            Self::ForeignGroup => {
                let group = Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0, 0x99);
                let packet = v6_to(group, UDP, &udp(&v6_pseudo(PEER_V6, group)));
                ethernet([0x33, 0x33, 0, 0, 0, 0x99], ETH_IPV6, &packet)
            }
            Self::UnknownIcmp => {
                let message = unknown_message();
                ethernet(NODE_MAC, ETH_IPV4, &v4(PEER).packet(ICMP, 0, &message))
            }
            Self::LoneFragment => {
                const MORE_FRAGMENTS: u16 = 0x2000;
                let datagram = udp(&v4_pseudo(PEER, NODE));
                ethernet(
                    NODE_MAC,
                    ETH_IPV4,
                    &v4(PEER).packet(UDP, MORE_FRAGMENTS, &datagram),
                )
            }
            Self::LastFragment => {
                /// In units of eight bytes.
                const OFFSET: u16 = 4;
                ethernet(NODE_MAC, ETH_IPV4, &v4(PEER).packet(TCP, OFFSET, &[0x61; 32]))
            }
            Self::LoneFragment6 => {
                const FRAGMENT: u8 = 44;
                const MORE_FRAGMENTS: u8 = 1;
                let mut fragment = vec![UDP, 0, 0, MORE_FRAGMENTS];
                fragment.extend(u32::from(number).to_be_bytes());
                fragment.extend(udp_v6());
                ethernet(NODE_MAC, ETH_IPV6, &v6(FRAGMENT, &fragment))
            }
        }
    }
}

/// Starts to send by a device. The thread ends with the process.
pub(super) fn start(frame: Frame, device: &str, score: &Arc<Score>) -> Result<()> {
    let socket = packet_socket(device, 0).with_context(|| format!("cannot send frames by {device}"))?;
    let score = Arc::clone(score);
    thread::spawn(move || {
        for number in (0..=u16::MAX).cycle() {
            score.frames.count(send(&socket, &frame.bytes(number)).is_ok());
            thread::sleep(INTERVAL);
        }
    });
    Ok(())
}

/// A packet socket at a device, which gets the frames of an Ethernet protocol; with 0 none, so that it only sends.
pub(super) fn packet_socket(device: &str, protocol: u16) -> Result<OwnedFd> {
    let name = std::ffi::CString::new(device).context("a device's name has no NUL")?;
    // SAFETY: system calls; the pointer is to a string that ends in NUL and lives through the call.
    let (index, socket) = unsafe {
        (
            libc::if_nametoindex(name.as_ptr()),
            libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0),
        )
    };
    if index == 0 || socket == -1 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: the descriptor is new and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: all zeros is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = index as i32;
    // SAFETY: the pointer is to an address of the size that is told.
    let bound = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            std::ptr::from_ref(&address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    crate::process::check(bound)?;
    Ok(socket)
}

pub(super) fn send(socket: &OwnedFd, frame: &[u8]) -> io::Result<()> {
    // SAFETY: the pointer is to as many bytes as are told.
    let sent = unsafe { libc::send(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
    if sent == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

pub(super) fn ethernet(destination: [u8; 6], ethertype: u16, packet: &[u8]) -> Vec<u8> {
    [&destination[..], &PEER_MAC, &ethertype.to_be_bytes(), packet].concat()
}

/// The bytes with one of them turned round.
fn broken(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at] ^= 0xff;
    bytes
}

/// A header of IPv4.
struct Ipv4 {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    identifier: u16,
}

impl Ipv4 {
    fn udp(&self) -> Vec<u8> {
        self.packet(UDP, 0, &udp(&v4_pseudo(self.source, self.destination)))
    }

    fn packet(&self, protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
        let length = 20 + payload.len() as u16;
        let mut header = vec![0x45, 0];
        header.extend(length.to_be_bytes());
        header.extend(self.identifier.to_be_bytes());
        header.extend(fragment.to_be_bytes());
        header.extend([64, protocol, 0, 0]);
        header.extend(self.source.octets());
        header.extend(self.destination.octets());
        let sum = super::checksum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header.extend(payload);
        header
    }
}

/// The packet with 1 for the hops that it may still take, and the checksum that goes with it.
fn last_hop(mut packet: Vec<u8>) -> Vec<u8> {
    packet[8] = 1;
    packet[10..12].fill(0);
    let sum = super::checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// A message of ICMP for experiments (RFC 4727): nobody handles it.
fn unknown_message() -> Vec<u8> {
    let mut message = vec![253, 0, 0, 0, 0, 0, 0, 0];
    let sum = super::checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// A packet of IPv6 from the peer to the node.
fn v6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    v6_to(NODE_V6, next_header, payload)
}

/// A packet of IPv6 from the peer.
fn v6_to(destination: Ipv6Addr, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next_header, 64]);
    packet.extend(PEER_V6.octets());
    packet.extend(destination.octets());
    packet.extend(payload);
    packet
}

/// What the checksum covers beside the datagram, but for protocol and length.
fn v4_pseudo(source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    [source.octets(), destination.octets()].concat()
}

fn v6_pseudo(source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    [source.octets(), destination.octets()].concat()
}

fn udp_v6() -> Vec<u8> {
    udp(&v6_pseudo(PEER_V6, NODE_V6))
}

/// A datagram of 32 bytes from port 9 to port 8080.
fn udp(pseudo: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    for word in [9_u16, 8080, 40, 0] {
        datagram.extend(word.to_be_bytes());
    }
    datagram.extend([0x61; 32]);
    with_checksum(datagram, 6, UDP, pseudo)
}

/// A SYN from port 9 to port 8080.
fn syn(pseudo: &[u8]) -> Vec<u8> {
    let mut segment = Vec::new();
    for word in [9_u16, 8080, 1, 1, 0, 0, 0x5002, 0xffff, 0, 0] {
        segment.extend(word.to_be_bytes());
    }
    with_checksum(segment, 16, TCP, pseudo)
}

pub(super) fn with_checksum(mut bytes: Vec<u8>, at: usize, protocol: u8, pseudo: &[u8]) -> Vec<u8> {
    let mut covered = pseudo.to_vec();
    covered.extend(u16::from(protocol).to_be_bytes());
    covered.extend((bytes.len() as u16).to_be_bytes());
    covered.extend(&bytes);
    let sum = super::checksum(&covered);
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = Frame::ALL.iter().map(|frame| frame.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Frame::ALL.len());
    }

    #[test]
    fn a_plain_packet_is_right() {
        let packet = Ipv4 {
            source: PEER,
            destination: NODE,
            identifier: 7,
        }
        .udp();
        assert_eq!(super::super::checksum(&packet[..20]), 0);
        let mut covered = v4_pseudo(PEER, NODE);
        covered.extend([0, UDP, 0, 40]);
        covered.extend(&packet[20..]);
        assert_eq!(super::super::checksum(&covered), 0);
    }
}
