//! What the registers of a rule hold, as its expressions come one after the other.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::Held;
use crate::node::netlink::array_at;

/// Bytes of a whole register (`NFT_REG_SIZE`).
pub(super) const WHOLE: usize = 16;
/// Bytes of the smallest one (`NFT_REG32_SIZE`).
const WORD: usize = 4;
/// The first of those (`NFT_REG32_00`), which is the beginning of `NFT_REG_1`.
const FIRST_SMALL: u32 = 8;

/// What is known of them, by the words at which it begins, with how many words it has.
#[derive(Default)]
pub(super) struct Registers(BTreeMap<usize, (Held, usize)>);

impl Registers {
    /// What begins in this register, where that is known.
    pub(super) fn get(&self, register: u32) -> Option<&Held> {
        self.0.get(&word(register)).map(|(held, _)| held)
    }

    /// So many bytes are put there: what they cover even in part is known no more.
    pub(super) fn put(&mut self, register: u32, held: Held, bytes: usize) {
        let first = word(register);
        let words = bytes.div_ceil(WORD).max(1);
        self.0
            .retain(|at, (_, length)| *at + *length <= first || first.saturating_add(words) <= *at);
        self.0.insert(first, (held, words));
    }

    /// Something is put there of which neither is known what it is nor how long.
    pub(super) fn forget(&mut self, register: u32) {
        let first = word(register);
        self.0
            .retain(|at, (_, length)| at.saturating_add(*length) <= first);
    }
}

/// Constants that were put into registers just before.
#[derive(Default)]
pub(super) struct Given<'a>(Vec<(u32, &'a [u8])>);

impl<'a> Given<'a> {
    pub(super) fn put(&mut self, register: u32, value: &'a [u8]) {
        self.0.retain(|(of, _)| *of != register);
        self.0.push((register, value));
    }

    pub(super) fn value(&self, register: u32) -> Option<&'a [u8]> {
        let mut all = self.0.iter();
        all.find(|(of, _)| *of == register).map(|(_, value)| *value)
    }

    /// The address in one of them, with the port in another one where there is one.
    pub(super) fn end(&self, address: u32, port: u32) -> Option<String> {
        let address = self.value(address)?;
        let address = match address.len() {
            4 => IpAddr::from(array_at::<4>(address, 0)?),
            _ => IpAddr::from(array_at::<16>(address, 0)?),
        };
        let port = self.value(port).and_then(|port| array_at(port, 0));
        Some(match port.map(u16::from_be_bytes) {
            Some(port) => SocketAddr::new(address, port).to_string(),
            None => address.to_string(),
        })
    }
}

/// The word at which a register begins: four small ones are a whole one, and the first whole one is that of the verdict
/// (`nft_parse_register` in net/netfilter/nf_tables_api.c).
fn word(register: u32) -> usize {
    let per_whole = (WHOLE / WORD) as u32;
    let word = match register.checked_sub(FIRST_SMALL) {
        Some(small) => small.saturating_add(per_whole),
        None => register.saturating_mul(per_whole),
    };
    word as usize
}
