//! The tables and chains of nf_tables that are there, as far as what changes is held against them.

use std::collections::{BTreeMap, BTreeSet};

use super::super::chains::{GET_CHAIN, HEADER, family, members, number};
use super::super::netlink::{self, array_at, attributes, string};
use super::super::rules::NF_DROP;
use crate::event::Family;
use crate::event::ruleset::Policy;

/// Chains that are known at most: of others it is not told that they are new.
const CHAINS: usize = 4096;
/// `NFT_TABLE_F_DORMANT`: no packet comes to the chains of the table.
pub(super) const DORMANT: u32 = 1;

/// A chain or a set: its table, and its name.
pub(super) type Key = (Family, String, String);

/// The chains that are there, each with the number that it keeps whatever it is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    chains: BTreeMap<Key, (u64, Base)>,
    /// What those are called that have a number, by their tables: very many may come at once.
    names: BTreeMap<(Family, String, u64), String>,
    /// Of tables that have some.
    flags: BTreeMap<(Family, String), u32>,
}

/// What a chain is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Base {
    /// What a base chain does with what no rule decides about.
    pub(super) policy: Option<Policy>,
    /// Where the kernel asks it, and as what type, as it tells that.
    hook: Vec<u8>,
    /// For packets of these devices, where it is asked for those of some.
    pub(super) devices: BTreeSet<String>,
}

impl Known {
    /// Reads them in the namespace of this thread.
    ///
    /// # Errors
    /// Where the kernel does not tell.
    pub(super) fn read() -> Result<Self, netlink::Error> {
        let all = netlink::dump(netlink::NETFILTER, GET_CHAIN, &[0; HEADER], |body| {
            Some(chain(body))
        })?;
        let mut known = Self::default();
        for (key, (number, base)) in all.into_iter().flatten().take(CHAINS) {
            known.insert(key, number, base);
        }
        Ok(known)
    }

    /// The chain that is called otherwise by now, and was known by its number.
    pub(super) fn renamed(&mut self, (family, table, name): &Key, number: u64) -> Option<Key> {
        let was = self.names.get(&(*family, table.clone(), number))?;
        let before = (*family, table.clone(), was.clone());
        if before.2 == *name {
            return None;
        }
        let base = self.remove(&before)?;
        self.insert((*family, table.clone(), name.clone()), number, base);
        Some(before)
    }

    /// One more can be known.
    pub(super) fn has_room(&self) -> bool {
        self.chains.len() < CHAINS
    }

    pub(super) fn insert(&mut self, key: Key, number: u64, base: Base) {
        if number != 0 {
            let (family, table, name) = key.clone();
            self.names.insert((family, table, number), name);
        }
        self.chains.insert(key, (number, base));
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<Base> {
        let (number, base) = self.chains.remove(key)?;
        self.names.remove(&(key.0, key.1.clone(), number));
        Some(base)
    }

    /// What a chain is that is known.
    pub(super) fn base(&mut self, key: &Key) -> Option<&mut Base> {
        self.chains.get_mut(key).map(|(_, base)| base)
    }

    /// There is the chain of this name, and it is the one with this number.
    pub(super) fn has(&self, key: &Key, number: u64) -> bool {
        self.chains.get(key).is_some_and(|(known, _)| *known == number)
    }

    /// A table has these flags by now, 0 for one that is gone. Returns those that it had.
    pub(super) fn set_flags(&mut self, table: &(Family, String), flags: u32) -> u32 {
        let before = match flags {
            0 => self.flags.remove(table),
            flags => self.flags.insert(table.clone(), flags),
        };
        before.unwrap_or_default()
    }
}

/// The family and name of a table, and its flags, where the message has them.
pub(super) fn table(body: &[u8]) -> Option<((Family, String), u32)> {
    let family = family(*body.first()?)?;
    // NFTA_TABLE_NAME, _FLAGS
    let name = members(body).find_map(|(kind, value)| (kind == 1).then(|| string(value)))?;
    let flags = members(body).find_map(|(kind, value)| number(value).filter(|_| kind == 2));
    Some(((family, name), flags.unwrap_or_default()))
}

/// A chain, its number, and what it is.
pub(super) fn chain(body: &[u8]) -> Option<(Key, (u64, Base))> {
    let family = family(*body.first()?)?;
    let (mut table, mut name, mut handle, mut base) = (None, None, 0, Base::default());
    for (kind, value) in members(body) {
        match kind {
            // NFTA_CHAIN_TABLE, _HANDLE, _NAME, _HOOK, _POLICY, _TYPE
            1 => table = Some(string(value)),
            2 => handle = array_at(value, 0).map(u64::from_be_bytes)?,
            3 => name = Some(string(value)),
            4 => hook(value, &mut base),
            5 => base.policy = number(value).map(verdict),
            7 => base.hook.extend_from_slice(value),
            _ => {}
        }
    }
    Some(((family, table?, name?), (handle, base)))
}

fn hook(value: &[u8], base: &mut Base) {
    for (kind, value) in attributes(value) {
        match kind {
            // NFTA_HOOK_DEV, _DEVS: the first once more where it is the only one, and all.
            3 => {
                base.devices.insert(string(value));
            }
            4 => {
                // NFTA_DEVICE_NAME, _PREFIX
                let devices = attributes(value).filter_map(|(kind, name)| match kind {
                    1 => Some(string(name)),
                    2 => Some(string(name) + "*"),
                    _ => None,
                });
                base.devices.extend(devices);
            }
            // NFTA_HOOK_HOOKNUM, _PRIORITY
            _ => base.hook.extend_from_slice(value),
        }
    }
}

fn verdict(policy: u32) -> Policy {
    match policy {
        NF_DROP => Policy::Drop,
        _ => Policy::Accept,
    }
}
