//! The base chains of nf_tables: where a packet's way through the rules of a firewall begins.

use std::collections::HashMap;

use super::modules::Module;
use super::netlink::{self, array_at, attributes, string};
use super::{Netns, namespace};
use crate::event::{Capability, CapabilityState, Chain, Chains, Family, Point};

/// The capability's name.
pub const CAPABILITY: &str = "chains";

/// What answers, by nfnetlink, which it needs and some kernels have no module for.
pub(super) const MODULE: &str = "nf_tables";

/// `NFNL_SUBSYS_NFTABLES` with `NFT_MSG_GETCHAIN` (include/uapi/linux/netfilter/{nfnetlink,nf_tables}.h).
pub(super) const GET_CHAIN: u16 = 10 << 8 | 4;
/// The same with `NFT_MSG_GETGEN`.
pub(super) const GET_GENERATION: u16 = 10 << 8 | 16;
/// Length of `struct nfgenmsg`, which begins with the family; 0 asks for all of them (`NFPROTO_UNSPEC`).
pub(super) const HEADER: usize = 4;
/// `NFTA_GEN_ID`.
const GENERATION: u16 = 1;

/// Reads base chains, and knows which were told.
#[derive(Debug)]
pub struct Reader {
    module: Module,
    known: HashMap<u32, Known>,
    unread: Option<String>,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            module: Module::new(MODULE),
            known: HashMap::new(),
            unread: None,
        }
    }
}

/// What is known of a namespace.
#[derive(Debug)]
struct Known {
    mark: Mark,
    chains: Vec<Chain>,
}

/// What tells the rules of a namespace from those that it had before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    /// Tells it from an earlier namespace of the same inode.
    cookie: u64,
    /// Rises with every change.
    generation: u32,
}

impl Reader {
    /// Visits a namespace and tells its chains, where they are others than those that were told. They are read only
    /// where some rule has changed since the last visit.
    ///
    /// # Errors
    /// Where the namespace cannot be entered. That the kernel does not tell is told by [`Self::capability`].
    pub fn visit(&mut self, netns: &Netns) -> Result<Option<Chains>, namespace::Error> {
        if !self.module.visit() {
            return Ok(None);
        }
        let inode = netns.inode();
        let before = self.known.get(&inode).map(|known| known.mark);
        let (mark, chains) = match netns.enter(|| read(before))? {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(None),
            // This kernel is built without it, and then nothing is dropped by it.
            Err(error) if error.is_unsupported() => return Ok(None),
            Err(error) => {
                self.unread = Some(format!(
                    "Chains of nf_tables: {error}. Where that is so, it is not told which of them dropped a packet."
                ));
                return Ok(None);
            }
        };
        let before = self.known.insert(
            inode,
            Known {
                mark,
                chains: chains.clone(),
            },
        );
        let told = before.filter(|before| before.mark.cookie == mark.cookie);
        let is_told = told.map_or(chains.is_empty(), |told| told.chains == chains);
        Ok((!is_told).then_some(Chains { netns: inode, chains }))
    }

    /// Whether this namespace has been visited.
    #[must_use]
    pub fn knows(&self, netns: &Netns) -> bool {
        self.known.contains_key(&netns.inode()) || !self.module.is_loaded()
    }

    /// Leaves those alone that are no longer watched.
    pub fn keep(&mut self, is_watched: impl Fn(u32) -> bool) {
        self.known.retain(|netns, _| is_watched(*netns));
    }

    /// The capability `chains`: partial where they could not be read since the start.
    #[must_use]
    pub fn capability(&self) -> Capability {
        Capability {
            name: CAPABILITY.to_owned(),
            state: if self.unread.is_none() {
                CapabilityState::Available
            } else {
                CapabilityState::Partial
            },
            why: self.unread.clone().unwrap_or_default(),
        }
    }
}

/// The chains of this thread's namespace; `None` where nothing has changed since `before`.
fn read(before: Option<Mark>) -> Result<Option<(Mark, Vec<Chain>)>, netlink::Error> {
    // Before the chains: what is changed meanwhile is read once more.
    let generation = netlink::get(netlink::NETFILTER, GET_GENERATION, &[0; HEADER], |body| {
        Some(generation(body))
    })?;
    let mark = Mark {
        cookie: netlink::namespace_cookie(),
        generation: generation.flatten().unwrap_or_default(),
    };
    if before == Some(mark) {
        return Ok(None);
    }
    let all = netlink::dump(netlink::NETFILTER, GET_CHAIN, &[0; HEADER], |body| {
        Some(chain(body))
    })?;
    Ok(Some((mark, settled(all.into_iter().flatten().collect()))))
}

/// In their order, and of those that one family has at one hook no more than [`Chains::MOST`].
fn settled(mut chains: Vec<Chain>) -> Vec<Chain> {
    chains.sort_unstable();
    let groups = chains.chunk_by(|one, next| (one.family, one.hook) == (next.family, next.hook));
    groups
        .flat_map(|group| group.iter().take(Chains::MOST).cloned())
        .collect()
}

/// The attributes behind the header of a message.
pub(super) fn members(body: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    attributes(body.get(HEADER..).unwrap_or_default())
}

/// Numbers are big-endian, as in all of netfilter.
pub(super) fn number(value: &[u8]) -> Option<u32> {
    array_at(value, 0).map(u32::from_be_bytes)
}

fn generation(body: &[u8]) -> Option<u32> {
    members(body).find_map(|(kind, value)| number(value).filter(|_| kind == GENERATION))
}

/// A base chain of type `filter` (nf_tables_fill_chain_info in net/netfilter/nf_tables_api.c); `None` for any other.
fn chain(body: &[u8]) -> Option<Chain> {
    let family = family(*body.first()?)?;
    let (mut table, mut name, mut hook, mut priority) = (None, None, None, 0);
    for (kind, value) in members(body) {
        match kind {
            // NFTA_CHAIN_TABLE
            1 => table = Some(string(value)),
            // NFTA_CHAIN_NAME
            3 => name = Some(string(value)),
            // NFTA_CHAIN_HOOK, of base chains only
            4 => {
                for (kind, value) in attributes(value) {
                    match kind {
                        // NFTA_HOOK_HOOKNUM
                        1 => hook = number(value).and_then(|number| point(family, number)),
                        // NFTA_HOOK_PRIORITY
                        2 => priority = number(value)?.cast_signed(),
                        _ => {}
                    }
                }
            }
            // NFTA_CHAIN_TYPE
            7 if string(value) != "filter" => return None,
            _ => {}
        }
    }
    Some(Chain {
        family,
        hook: hook?,
        priority,
        table: table?,
        name: name?,
    })
}

/// `NFPROTO_*` (include/uapi/linux/netfilter.h).
pub(super) fn family(number: u8) -> Option<Family> {
    Some(match number {
        1 => Family::Inet,
        2 => Family::Ip,
        3 => Family::Arp,
        5 => Family::Netdev,
        7 => Family::Bridge,
        10 => Family::Ip6,
        _ => return None,
    })
}

/// Hooks of a family: `enum nf_inet_hooks` and `enum nf_dev_hooks` (include/uapi/linux/netfilter.h), `NF_ARP_*`
/// (netfilter_arp.h), `NF_BR_*` (netfilter_bridge.h).
fn point(family: Family, number: u32) -> Option<Point> {
    Some(match (family, number) {
        (Family::Netdev, 0) | (Family::Inet, 5) => Point::Ingress,
        (Family::Netdev, 1) => Point::Egress,
        (Family::Arp, 0) => Point::Input,
        (Family::Arp, 1) => Point::Output,
        (Family::Netdev | Family::Arp, _) => return None,
        (_, 0) => Point::Prerouting,
        (_, 1) => Point::Input,
        (_, 2) => Point::Forward,
        (_, 3) => Point::Output,
        (_, 4) => Point::Postrouting,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::netlink::tests::attribute;
    use super::*;

    fn message(family: u8, hook: u32, kind: &[u8]) -> Vec<u8> {
        let hook = [
            attribute(1, &hook.to_be_bytes()),
            attribute(2, &(-300_i32).to_be_bytes()),
        ];
        [
            vec![family, 0, 0, 0],
            attribute(1, b"guard\0"),
            attribute(3, b"a\x1b[2J\0"),
            attribute(1 << 15 | 4, &hook.concat()),
            attribute(7, kind),
        ]
        .concat()
    }

    #[test]
    fn base_chains_are_read() {
        assert_eq!(
            chain(&message(1, 1, b"filter\0")),
            Some(Chain {
                family: Family::Inet,
                hook: Point::Input,
                priority: -300,
                table: "guard".to_owned(),
                name: "a\x1b[2J".to_owned(),
            })
        );
        for (family, hook, expected) in [
            (1, 5, Some(Point::Ingress)),
            (2, 0, Some(Point::Prerouting)),
            (3, 1, Some(Point::Output)),
            (3, 2, None),
            (5, 0, Some(Point::Ingress)),
            (5, 1, Some(Point::Egress)),
            (7, 2, Some(Point::Forward)),
            (7, 5, None),
            (10, 4, Some(Point::Postrouting)),
            (12, 0, None),
        ] {
            let read = chain(&message(family, hook, b"filter\0"));
            assert_eq!(read.map(|chain| chain.hook), expected, "{family}, {hook}");
        }
        assert_eq!(chain(&message(2, 0, b"nat\0")), None);
    }

    #[test]
    fn messages_that_are_cut_off_are_no_chains() {
        let whole = message(2, 0, b"filter\0");
        // What says that it is a base chain, and where, comes before the type.
        let hook = whole.len() - 12;
        for length in 0..hook {
            assert_eq!(chain(&whole[..length]), None, "{length}");
        }
        assert_eq!(generation(&whole[..3]), None);
        let number = [vec![0; HEADER], attribute(1, &7_u32.to_be_bytes())].concat();
        assert_eq!(generation(&number), Some(7));
    }

    #[test]
    fn of_many_chains_at_one_hook_few_are_told() {
        let chains = |hook, many: i32| {
            (0..many).map(move |priority| Chain {
                family: Family::Ip,
                hook,
                priority: -priority,
                table: String::new(),
                name: String::new(),
            })
        };
        let all: Vec<_> = chains(Point::Output, 1).chain(chains(Point::Input, 99)).collect();
        let told = settled(all);
        assert_eq!(told.len(), Chains::MOST + 1);
        assert_eq!((told[0].priority, told[Chains::MOST].hook), (-98, Point::Output));
    }
}
