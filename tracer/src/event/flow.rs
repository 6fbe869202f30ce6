//! What tells one flow from another, and what each has counted.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::{Location, Owner, is_zero};

/// A 5-tuple as the local socket sees it, with its namespace.
///
/// Keys are in the order of their members. Very many are compared and hashed, so that both are done by numbers: what is
/// derived goes byte by byte.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct FlowKey {
    /// Inode of the namespace.
    pub netns: u32,
    /// Protocol.
    pub protocol: Protocol,
    /// Address on this node; unspecified for a socket bound to any.
    pub local: IpAddr,
    /// Port on this node; for ICMP echo its identifier.
    pub local_port: u16,
    /// Address of the peer; unspecified for a socket that is not connected.
    pub remote: IpAddr,
    /// Port of the peer; 0 for ICMP and for a socket that is not connected.
    pub remote_port: u16,
}

impl FlowKey {
    /// With `::` for every address that is not specified. A socket that is bound to any, or not
    /// connected, has no address, and so no family: the BPF programs and the kernel's lists of sockets
    /// then name it alike.
    #[must_use]
    pub fn canonical(self) -> Self {
        let address = |address: IpAddr| {
            if address.is_unspecified() {
                IpAddr::V6(Ipv6Addr::UNSPECIFIED)
            } else {
                address
            }
        };
        Self {
            local: address(self.local),
            remote: address(self.remote),
            ..self
        }
    }
}

/// An address as numbers in the order of addresses: those of IPv4 come first.
#[inline]
fn numbers(address: IpAddr) -> (bool, u128) {
    match address {
        IpAddr::V4(v4) => (false, u32::from(v4).into()),
        IpAddr::V6(v6) => (true, v6.into()),
    }
}

impl PartialEq for FlowKey {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        // What mostly differs comes first.
        (self.local_port, self.remote_port) == (other.local_port, other.remote_port)
            && numbers(self.remote) == numbers(other.remote)
            && numbers(self.local) == numbers(other.local)
            && (self.netns, self.protocol) == (other.netns, other.protocol)
    }
}

impl Eq for FlowKey {}

impl PartialOrd for FlowKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for FlowKey {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        self.netns
            .cmp(&other.netns)
            .then_with(|| self.protocol.cmp(&other.protocol))
            .then_with(|| numbers(self.local).cmp(&numbers(other.local)))
            .then_with(|| self.local_port.cmp(&other.local_port))
            .then_with(|| numbers(self.remote).cmp(&numbers(other.remote)))
            .then_with(|| self.remote_port.cmp(&other.remote_port))
    }
}

impl Hash for FlowKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let ports = u64::from(self.local_port) << 16 | u64::from(self.remote_port);
        let place = u64::from(self.netns) << 32 | ports;
        // Keys of either version of IP, or of other protocols, may have one hash.
        let mut bytes = [0; 40];
        let (local, rest) = bytes.split_at_mut(16);
        let (remote, rest) = rest.split_at_mut(16);
        local.copy_from_slice(&numbers(self.local).1.to_ne_bytes());
        remote.copy_from_slice(&numbers(self.remote).1.to_ne_bytes());
        rest.copy_from_slice(&place.to_ne_bytes());
        state.write(&bytes);
    }
}

impl fmt::Display for FlowKey {
    /// `tcp 10.10.0.2:40000 → 192.0.2.10:80`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |address: IpAddr, port: u16| match address {
            any if any.is_unspecified() => format!("*:{port}"),
            IpAddr::V6(v6) => format!("[{v6}]:{port}"),
            IpAddr::V4(v4) => format!("{v4}:{port}"),
        };
        match self.protocol {
            Protocol::Icmp | Protocol::Icmp6 => {
                write!(
                    f,
                    "{} {} → {} id {}",
                    self.protocol, self.local, self.remote, self.local_port
                )
            }
            _ => write!(
                f,
                "{} {} → {}",
                self.protocol,
                end(self.local, self.local_port),
                end(self.remote, self.remote_port)
            ),
        }
    }
}

/// An IP protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// ICMP for IPv4.
    Icmp,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP for IPv6.
    Icmp6,
    /// Another one, by number; 0 for what is not IP.
    Other(u8),
}

impl From<u8> for Protocol {
    fn from(number: u8) -> Self {
        match number {
            1 => Self::Icmp,
            6 => Self::Tcp,
            17 => Self::Udp,
            58 => Self::Icmp6,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Icmp => f.pad("icmp"),
            Self::Tcp => f.pad("tcp"),
            Self::Udp => f.pad("udp"),
            Self::Icmp6 => f.pad("icmp6"),
            Self::Other(number) => f.pad(&format!("proto {number}")),
        }
    }
}

/// Who sent the first packet of a flow that was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Not known.
    #[default]
    Unknown,
    /// This node: what arrives is a reply.
    Local,
    /// The peer.
    Remote,
}

/// What a flow has counted since the start, or since the last time that its place was given away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowCount {
    /// The flow.
    pub flow: FlowKey,
    /// Another number than before where the flow's place in the table of flows had been given away, since it
    /// was idle: all counts then began at 0 once more. It only rises.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub life: u32,
    /// Who began.
    pub origin: Origin,
    /// Device of the last arrival.
    pub iif: u32,
    /// Packets that arrived on a device other than loopback.
    pub arrived: u64,
    /// Their bytes.
    pub arrived_bytes: u64,
    /// Packets that left.
    pub sent: u64,
    /// Packets for which the kernel found the TCP socket.
    pub matched: u64,
    /// Times that data was put in the socket's receive queue. UDP and ICMP: datagrams, under their own
    /// tuple where it is known, else under the socket's; from loopback under the port alone.
    pub queued: u64,
    /// Datagrams that a process read (UDP: under the socket's tuple; TCP: buffers).
    pub read: u64,
    /// Bytes copied to a process.
    pub read_bytes: u64,
    /// Arrived packets that were dropped.
    pub dropped: u64,
    /// TCP retransmissions that this node sent.
    pub retransmitted: u64,
    /// Reason and location of the last drop.
    pub last_drop: Option<(String, Location)>,
    /// Inode of the socket that the flow's datagrams or echo requests were last sent by, 0 where none is known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sender: u64,
    /// Who has that socket, where that could be found out. TCP's owners are told by [`Socket`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Box<Owner>>,
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    #[test]
    fn keys_are_in_the_order_of_their_members() {
        let addresses = [
            "0.0.0.0",
            "10.0.0.2",
            "255.0.0.1",
            "::",
            "::ffff:10.0.0.2",
            "2001:db8::1",
        ];
        let mut keys = Vec::new();
        for number in 0..6usize.pow(3) {
            let address = |number: usize| addresses[number % 6].parse().unwrap();
            keys.push(FlowKey {
                netns: 1 + number as u32 % 2,
                protocol: Protocol::from([1, 6, 17, 47, 58, 132][number % 6]),
                local: address(number / 6),
                local_port: (number % 5) as u16,
                remote: address(number / 36),
                remote_port: (number % 3) as u16,
            });
        }
        let members = |key: &FlowKey| {
            (
                key.netns,
                key.protocol,
                key.local,
                key.local_port,
                key.remote,
                key.remote_port,
            )
        };
        let hashes = RandomState::new();
        for one in &keys {
            for other in &keys {
                assert_eq!(one.cmp(other), members(one).cmp(&members(other)), "{one} {other}");
                assert_eq!(one == other, members(one) == members(other), "{one} {other}");
            }
            assert_eq!(hashes.hash_one(one), hashes.hash_one(*one));
        }
    }
}
