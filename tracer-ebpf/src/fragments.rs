//! Fragments but the first of each packet, which have no ports, so that no flow is counted: from whom to whom they came to the one namespace that is
//! watched. One that is thrown away with its datagram has nothing left that tells its namespace.

use aya_ebpf::macros::map;
use aya_ebpf::maps::LruHashMap;
use tracer_ebpf::FlowKey;

use crate::globals::config;
use crate::packet::Headers;

/// Those that came last, by their flow without ports. Bound: 1,024. Overflow: the oldest is forgotten, and what is then
/// thrown away of it is taken for another namespace's: it stays unexplained.
#[map]
static FRAGMENTS: LruHashMap<FlowKey, u8> = LruHashMap::with_max_entries(1_024, 0);

/// A packet without a flow arrived in a namespace that is watched.
#[inline(always)]
pub fn arrived(headers: &Headers, netns: u32) {
    if config!(netns) != 0 && headers.is_piece {
        // Where it fails, it is as if it were forgotten.
        let _ = FRAGMENTS.insert(headers.flow(netns), 1, 0);
    }
}

/// A packet without a flow, of which nothing tells the namespace, is a fragment that did not come to the one that is
/// watched.
#[inline(always)]
pub fn is_foreign(headers: &Headers) -> bool {
    headers.is_piece && FRAGMENTS.get_ptr(headers.flow(config!(netns))).is_none()
}
