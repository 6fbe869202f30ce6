//! From the types of the wire to those of [`crate::event`].

use std::net::{IpAddr, Ipv6Addr};

use bytes::Buf;
use tracer_ebpf as wire;

use super::symbols::{Reasons, Symbols};
use crate::event::{EntryKey, Fate, FlowCount, FlowKey, Neighbour, OTHER, Origin, Protocol, STOLEN};

/// Gives numbers their names.
pub(super) struct Names<'a> {
    pub symbols: &'a mut Symbols,
    pub reasons: &'a Reasons,
}

impl Names<'_> {
    /// `None` for a kind that this program does not know.
    pub(super) fn entry(&mut self, entry: &wire::Entry) -> Option<EntryKey> {
        let fate = match entry.kind {
            wire::kind::ARRIVED => Fate::Arrived,
            wire::kind::MATCHED => Fate::Matched,
            wire::kind::READ => Fate::Read,
            wire::kind::FORWARDED => Fate::Forwarded,
            wire::kind::CONSUMED => Fate::Consumed,
            wire::kind::DROPPED => Fate::Dropped,
            wire::kind::QUEUED => Fate::Queued,
            _ => return None,
        };
        Some(EntryKey {
            fate,
            netns: entry.netns,
            iif: entry.iif,
            device: entry.dev,
            ethertype: entry.ethertype,
            protocol: Protocol::from(entry.protocol),
            reason: (fate == Fate::Dropped).then(|| {
                if entry.flags & wire::flag::REDUCED != 0 {
                    OTHER.to_owned()
                } else {
                    self.reasons.name(entry.reason)
                }
            }),
            location: (entry.location != 0).then(|| self.symbols.locate(entry.location)),
            socket_found: entry.flags & wire::flag::SOCKET_FOUND != 0,
            incoming: entry.flags & wire::flag::INCOMING != 0,
            matched: entry.flags & wire::flag::MATCHED != 0,
            piece: entry.flags & wire::flag::PIECE != 0,
        })
    }

    pub(super) fn flow(&mut self, line: &wire::FlowLine, life: u32) -> FlowCount {
        let wire::FlowLine { key, count } = line;
        FlowCount {
            flow: flow_key(key),
            life,
            origin: match count.origin {
                wire::origin::LOCAL => Origin::Local,
                wire::origin::REMOTE => Origin::Remote,
                _ => Origin::Unknown,
            },
            iif: arrived_by(count),
            arrived: count.arrived,
            arrived_bytes: count.arrived_bytes,
            sent: count.sent,
            matched: count.matched,
            queued: count.queued,
            read: count.read,
            read_bytes: count.read_bytes,
            dropped: count.dropped,
            retransmitted: count.retransmitted,
            last_drop: (count.drop_location != 0).then(|| {
                (
                    match count.drop_reason {
                        wire::REASON_TAKEN => STOLEN.to_owned(),
                        reason => self.reasons.name(reason),
                    },
                    self.symbols.locate(count.drop_location),
                )
            }),
            sender: count.sender,
            owner: None,
        }
    }
}

/// Nothing arrives by the loopback device: a connection by it has none.
fn arrived_by(count: &wire::FlowCount) -> u32 {
    match count.iif {
        wire::LOOPBACK => 0,
        iif => iif,
    }
}

pub(super) fn flow_key(key: &wire::FlowKey) -> FlowKey {
    FlowKey {
        netns: key.netns,
        protocol: Protocol::from(u8::try_from(key.protocol).unwrap_or(0)),
        local: address(key.local),
        local_port: key.local_port,
        remote: address(key.remote),
        remote_port: key.remote_port,
    }
}

pub(super) fn neighbour(key: &wire::NeighbourKey, count: &wire::NeighbourCount) -> Neighbour {
    Neighbour {
        netns: key.netns,
        device: key.device,
        address: address(key.address),
        asked: count.asked,
        answered: count.answered,
    }
}

pub(super) fn address(bytes: [u8; 16]) -> IpAddr {
    let v6 = Ipv6Addr::from(bytes);
    match v6.to_ipv4_mapped() {
        Some(v4) => IpAddr::V4(v4),
        None => IpAddr::V6(v6),
    }
}

/// A record of the ring buffer.
pub(super) enum Record {
    Example(Box<RawExample>),
    Socket(RawSocketChange),
}

/// [`wire::Example`] as read.
pub(super) struct RawExample {
    pub time: u64,
    pub entry: wire::Entry,
    pub flow: wire::FlowKey,
    pub packets: u32,
    pub length: u32,
    pub socket: wire::Socket,
    pub stack: Vec<u64>,
    pub bytes: Vec<u8>,
}

/// [`wire::SocketChange`] as read.
pub(super) struct RawSocketChange {
    pub time: u64,
    pub from: u32,
    pub socket: wire::Socket,
    pub pid: u32,
    pub command: String,
}

/// Reads a record, member by member in the order of the wire types. `None` for one that is too short or
/// of an unknown kind.
pub(super) fn record(mut data: &[u8]) -> Option<Record> {
    let kind = data.try_get_u32_ne().ok()?;
    match kind {
        wire::record::EXAMPLE => example(&mut data).map(|example| Record::Example(Box::new(example))),
        wire::record::SOCKET => socket_change(&mut data).map(Record::Socket),
        _ => None,
    }
}

fn example(data: &mut &[u8]) -> Option<RawExample> {
    let captured = data.try_get_u32_ne().ok()? as usize;
    let time = data.try_get_u64_ne().ok()?;
    let entry = wire::Entry {
        location: data.try_get_u64_ne().ok()?,
        netns: data.try_get_u32_ne().ok()?,
        iif: data.try_get_u32_ne().ok()?,
        dev: data.try_get_u32_ne().ok()?,
        reason: data.try_get_u32_ne().ok()?,
        flags: data.try_get_u32_ne().ok()?,
        ethertype: data.try_get_u16_ne().ok()?,
        protocol: data.try_get_u8().ok()?,
        kind: data.try_get_u8().ok()?,
    };
    let flow = flow(data)?;
    let packets = data.try_get_u32_ne().ok()?;
    let length = data.try_get_u32_ne().ok()?;
    let frames = data.try_get_u32_ne().ok()? as usize;
    let _reserved = data.try_get_u32_ne().ok()?;
    let socket = socket(data)?;
    let mut stack = Vec::new();
    for index in 0..wire::STACK_DEPTH {
        let frame = data.try_get_u64_ne().ok()?;
        if index < frames {
            stack.push(frame);
        }
    }
    let bytes = data.get(..captured.min(wire::SNAPLEN))?.to_vec();
    Some(RawExample {
        time,
        entry,
        flow,
        packets,
        length,
        socket,
        stack,
        bytes,
    })
}

/// What stands before the first zero.
pub(super) fn string(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn socket_change(data: &mut &[u8]) -> Option<RawSocketChange> {
    let from = data.try_get_u32_ne().ok()?;
    let time = data.try_get_u64_ne().ok()?;
    let socket = socket(data)?;
    let pid = data.try_get_u32_ne().ok()?;
    let _reserved = data.try_get_u32_ne().ok()?;
    let command = data.get(..16)?;
    let command = string(command);
    Some(RawSocketChange {
        time,
        from,
        socket,
        pid,
        command,
    })
}

fn socket(data: &mut &[u8]) -> Option<wire::Socket> {
    Some(wire::Socket {
        flow: flow(data)?,
        state: data.try_get_u32_ne().ok()?,
        reserved: data.try_get_u32_ne().ok()?,
        cgroup: data.try_get_u64_ne().ok()?,
        inode: data.try_get_u64_ne().ok()?,
    })
}

fn flow(data: &mut &[u8]) -> Option<wire::FlowKey> {
    let mut local = [0; 16];
    let mut remote = [0; 16];
    data.try_copy_to_slice(&mut local).ok()?;
    data.try_copy_to_slice(&mut remote).ok()?;
    Some(wire::FlowKey {
        local,
        remote,
        netns: data.try_get_u32_ne().ok()?,
        local_port: data.try_get_u16_ne().ok()?,
        remote_port: data.try_get_u16_ne().ok()?,
        protocol: data.try_get_u32_ne().ok()?,
        reserved: data.try_get_u32_ne().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn mapped_addresses_are_ipv4() {
        let mut bytes = [0; 16];
        bytes[10..12].fill(0xff);
        bytes[12..].copy_from_slice(&[192, 0, 2, 10]);
        assert_eq!(address(bytes), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)));
        assert_eq!(address([0; 16]), IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    }

    #[test]
    fn loopback_is_no_device_by_which_anything_arrives() {
        let by = |iif| {
            arrived_by(&wire::FlowCount {
                iif,
                ..Default::default()
            })
        };
        assert_eq!([0, wire::LOOPBACK, 2].map(by), [0, 0, 2]);
    }

    #[test]
    fn short_and_unknown_records_are_refused() {
        assert!(record(&[]).is_none());
        assert!(record(&7u32.to_ne_bytes()).is_none());
        let mut example = vec![0u8; size_of::<wire::Example>()];
        example[..4].copy_from_slice(&wire::record::EXAMPLE.to_ne_bytes());
        example[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert!(matches!(record(&example), Some(Record::Example(e)) if e.bytes.len() == wire::SNAPLEN));
        for length in 0..example.len() - wire::SNAPLEN {
            assert!(
                record(&example[..length]).is_none(),
                "{length} bytes were accepted"
            );
        }
    }
}
