//! Numbers by which a namespace knows others (`ip netns list-id`): it has one for each that is linked to it.

use super::super::netlink::{attributes, i32_at};
use crate::event::Thing;

// include/uapi/linux/{rtnetlink,net_namespace}.h
pub(super) const GET: u16 = 90;
pub(super) const NEW: u16 = 88;
pub(super) const DELETE: u16 = 89;
/// `struct rtgenmsg` { u8 family }, and what aligns it.
pub(super) const HEADER: usize = 4;

/// The number that a message tells.
pub(super) fn parse(body: &[u8]) -> Option<Thing> {
    let id =
        attributes(body.get(HEADER..)?).find_map(|(kind, value)| i32_at(value, 0).filter(|_| kind == 1))?;
    (id >= 0).then_some(Thing::Nsid { id })
}

#[cfg(test)]
mod tests {
    use super::super::words::tests::{attribute, survives};
    use super::*;

    #[test]
    fn numbers_are_told() {
        let body = |id: i32| [vec![0; HEADER], attribute(1, &id.to_ne_bytes())].concat();
        assert_eq!(parse(&body(7)), Some(Thing::Nsid { id: 7 }));
        assert_eq!(parse(&body(-1)), None, "NETNSA_NSID_NOT_ASSIGNED");
        survives(&body(7), &|body| drop(parse(body)));
    }
}
