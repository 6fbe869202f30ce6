//! Neighbours that routes lead by, and those that were set by hand (`ip neigh`).

use std::net::IpAddr;

use super::super::netlink::{attributes, u16_at, u32_at};
use super::words::{Devices, address, hardware_address, unspecified};
use crate::event::Thing;
use crate::event::value::{self, LINK_ADDRESS, PERMANENT};

// include/uapi/linux/neighbour.h
pub(super) const GET: u16 = 30;
pub(super) const NEW: u16 = 28;
pub(super) const DELETE: u16 = 29;
/// Length of `struct ndmsg`.
pub(super) const HEADER: usize = 12;
const NUD_INCOMPLETE: u16 = 0x01;
const NUD_FAILED: u16 = 0x20;
const NUD_PERMANENT: u16 = 0x80;
const NTF_PROXY: u8 = 0x08;
/// Asks for those that this node answers for, and for no others (`neigh_dump_info`).
pub(super) const PROXIES: [u8; HEADER] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, NTF_PROXY, 0];

/// A neighbour as a message tells it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Neighbour {
    pub(super) device: u32,
    pub(super) address: IpAddr,
    pub(super) state: State,
}

/// How it stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It was set by hand, with that link-layer address.
    Permanent(String),
    /// It was asked for and has not answered: matters where a route leads by it.
    Silent(&'static str),
    /// It has answered, with that link-layer address: matters where a route leads by it.
    Usual(String),
    /// Nothing is known of it.
    Unknown,
}

/// A neighbour; `None` for what is none of IPv4 or IPv6, and for what this node answers in its place.
/// `struct ndmsg` { u8 family, pad; u16 pad; i32 index; u16 state; u8 flags, type }
pub(super) fn parse(body: &[u8]) -> Option<Neighbour> {
    unspecified(*body.first()?)?;
    if is_proxy(body)? {
        return None;
    }
    let (mut who, mut hardware) = (None, String::new());
    for (kind, value) in attributes(body.get(HEADER..)?) {
        match kind {
            1 => who = address(value),
            2 => hardware = hardware_address(value),
            _ => {}
        }
    }
    Some(Neighbour {
        device: u32_at(body, 4)?,
        address: who?,
        state: match u16_at(body, 8)? {
            NUD_PERMANENT => State::Permanent(format!("{LINK_ADDRESS} {hardware} {PERMANENT}")),
            NUD_FAILED => State::Silent(value::SILENT[0]),
            NUD_INCOMPLETE => State::Silent(value::SILENT[1]),
            _ if hardware.is_empty() => State::Unknown,
            _ => State::Usual(format!("{LINK_ADDRESS} {hardware}")),
        },
    })
}

/// An address for which this node answers; `None` for what is none of IPv4 or IPv6, and for neighbours.
pub(super) fn proxy(body: &[u8], devices: &Devices) -> Option<Thing> {
    unspecified(*body.first()?)?;
    if !is_proxy(body)? {
        return None;
    }
    let mut members = attributes(body.get(HEADER..)?);
    Some(Thing::Proxy {
        device: devices.name(u32_at(body, 4)?),
        address: members.find_map(|(kind, value)| address(value).filter(|_| kind == 1))?,
    })
}

fn is_proxy(body: &[u8]) -> Option<bool> {
    Some(body.get(10)? & NTF_PROXY != 0)
}

#[cfg(test)]
mod tests {
    use super::super::words::tests::{attribute, devices, survives};
    use super::*;

    fn message(family: u8, state: u16, flags: u8) -> Vec<u8> {
        let header = [
            &[family, 0, 0, 0][..],
            &2_u32.to_ne_bytes(),
            &state.to_ne_bytes(),
            &[flags, 1],
        ];
        let more = [attribute(1, &[10, 0, 0, 1]), attribute(2, &[2, 0, 0, 0, 0, 1])];
        [header.concat(), more.concat()].concat()
    }

    #[test]
    fn neighbours_are_told() {
        let state = |state| parse(&message(2, state, 0)).unwrap().state;
        assert_eq!(
            state(NUD_PERMANENT),
            State::Permanent("lladdr 02:00:00:00:00:01 PERMANENT".to_owned())
        );
        assert_eq!(state(NUD_FAILED), State::Silent("FAILED"));
        assert_eq!(state(2), State::Usual("lladdr 02:00:00:00:00:01".to_owned()));
        assert_eq!(
            parse(&message(7, NUD_PERMANENT, 0)),
            None,
            "the table of a bridge"
        );
        survives(&message(2, 2, 0), &|body| drop(parse(body)));
        // 0 where nobody was asked for it.
        let proxy = message(2, 0, NTF_PROXY);
        assert_eq!(parse(&proxy), None);
        let told = super::proxy(&proxy, &devices()).map(|thing| thing.to_string());
        assert_eq!(told.as_deref(), Some("proxy neighbour 10.0.0.1 on eth0"));
        assert_eq!(super::proxy(&message(2, NUD_PERMANENT, 0), &devices()), None);
        survives(&proxy, &|body| drop(super::proxy(body, &devices())));
    }
}
