//! Next hops that routes name by number (`ip nexthop`), since 5.3.

use super::super::netlink::{array_at, attributes, u32_at};
use super::words::{Devices, address, protocol, sentence};
use crate::event::Thing;

// include/uapi/linux/{rtnetlink,nexthop}.h
pub(super) const GROUP: u32 = 32;
pub(super) const GET: u16 = 106;
pub(super) const NEW: u16 = 104;
pub(super) const DELETE: u16 = 105;
/// Length of `struct nhmsg`.
pub(super) const HEADER: usize = 8;

/// A next hop, and where it leads.
/// `struct nhmsg` { u8 family, scope, protocol, reserved; u32 flags }
pub(super) fn parse(body: &[u8], devices: &Devices) -> Option<(Thing, String)> {
    let made_by = *body.get(2)?;
    let (mut id, mut words) = (None, [const { String::new() }; 5]);
    let [group, gateway, device, what, by] = &mut words;
    for (kind, value) in attributes(body.get(HEADER..)?) {
        match kind {
            1 => id = u32_at(value, 0),
            2 => *group = format!("group {}", members(value)),
            4 => "blackhole".clone_into(what),
            5 => *device = format!("dev {}", devices.name(u32_at(value, 0)?)),
            6 => *gateway = format!("via {}", address(value)?),
            11 => "fdb".clone_into(what),
            _ => {}
        }
    }
    if made_by != 0 {
        *by = format!("proto {}", protocol(made_by));
    }
    Some((Thing::Nexthop { id: id? }, sentence(words)))
}

/// `1/2`: those of a group, with weights other than 1 behind a comma, as `ip` has it.
/// A row of `struct nexthop_grp` { u32 id; u8 weight less one, its upper half; u16 reserved }
fn members(value: &[u8]) -> String {
    let members: Vec<String> = value
        .chunks_exact(8)
        .filter_map(|member| {
            let (id, [low, high]) = (u32_at(member, 0)?, array_at::<2>(member, 4)?);
            Some(match u32::from(u16::from_le_bytes([low, high])) + 1 {
                1 => id.to_string(),
                weight => format!("{id},{weight}"),
            })
        })
        .collect();
    members.join("/")
}

#[cfg(test)]
mod tests {
    use super::super::words::tests::{attribute, devices, survives};
    use super::*;

    fn told(more: &[Vec<u8>]) -> Option<(String, String)> {
        let body = [&[2, 0, 4, 0, 0, 0, 0, 0][..], &more.concat()].concat();
        survives(&body, &|body| drop(parse(body, &devices())));
        parse(&body, &devices()).map(|(thing, value)| (thing.to_string(), value))
    }

    #[test]
    fn next_hops_are_told_as_ip_prints_them() {
        let id = |id: u32| attribute(1, &id.to_ne_bytes());
        let pair = |thing: &str, value: &str| Some((thing.to_owned(), value.to_owned()));
        let one = [
            id(1),
            attribute(5, &2_u32.to_ne_bytes()),
            attribute(6, &[10, 0, 0, 1]),
        ];
        assert_eq!(
            told(&one),
            pair("nexthop 1", "via 10.0.0.1 dev eth0 proto static")
        );
        let of = |id: u32, weight: u8| [&id.to_ne_bytes()[..], &[weight - 1, 0, 0, 0]].concat();
        let group = [id(7), attribute(2, &[of(1, 1), of(2, 3)].concat())];
        assert_eq!(told(&group), pair("nexthop 7", "group 1/2,3 proto static"));
        assert_eq!(
            told(&[id(8), attribute(4, &[])]),
            pair("nexthop 8", "blackhole proto static")
        );
        assert_eq!(told(&[]), None);
    }
}
