//! Names of kernel addresses and of drop reasons, from the running kernel.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};

use super::btf::Btf;
use crate::event::{Capability, CapabilityState, Location};

/// Where the kernel lists its functions.
const LIST: &str = "/proc/kallsyms";
/// Enough of the list to know whether its addresses are hidden: some hundred functions.
const SAMPLE: u64 = 1 << 16;

/// The kernel's functions, by address. Read once, when the first address is asked for.
#[derive(Default)]
pub struct Symbols {
    /// Start addresses, ascending, with the place of the name in `names`.
    starts: Vec<(u64, u32)>,
    names: String,
    read: bool,
    resolved: HashMap<u64, Location>,
}

impl Symbols {
    /// Whether this process may see where the kernel's functions are. The whole list takes too long to read
    /// before there is a need for it.
    #[must_use]
    pub fn capability() -> Capability {
        let sample = || -> io::Result<Self> {
            let mut text = Vec::new();
            File::open(LIST)?.take(SAMPLE).read_to_end(&mut text)?;
            let mut symbols = Self::default();
            symbols.parse(&text);
            Ok(symbols)
        };
        let why = match sample() {
            Ok(symbols) if !symbols.starts.is_empty() => None,
            Ok(_) => Some(
                "the kernel hides the addresses of its functions: they are shown with CAP_SYSLOG and a \
                 sysctl kernel.kptr_restrict below 2"
                    .to_owned(),
            ),
            Err(error) => Some(format!("{LIST}: {error}; mount proc and run tracer as root")),
        };
        Capability {
            name: "places".to_owned(),
            state: match why {
                None => CapabilityState::Available,
                Some(_) => CapabilityState::Unavailable,
            },
            why: why.map_or_else(String::new, |why| {
                format!("{why}; places in the kernel are numbers, and what rests on their names is not told")
            }),
        }
    }

    /// The function that an address lies in. An address that no function is known for stands for itself.
    pub fn locate(&mut self, address: u64) -> Location {
        if let Some(location) = self.resolved.get(&address) {
            return location.clone();
        }
        if !self.read {
            self.read = true;
            if let Ok(text) = fs::read(LIST) {
                self.parse(&text);
            }
        }
        let location = self.find(address);
        self.resolved.insert(address, location.clone());
        location
    }

    /// Takes lines of `ADDRESS TYPE NAME [MODULE]`. Addresses are zero for who may not see them.
    fn parse(&mut self, text: &[u8]) {
        for line in text.split(|&byte| byte == b'\n') {
            let Ok(line) = std::str::from_utf8(line) else {
                continue;
            };
            let mut words = line.split_ascii_whitespace();
            let (Some(address), Some(kind), Some(name)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            if !matches!(kind, "t" | "T" | "w" | "W") {
                continue;
            }
            let Ok(address) = u64::from_str_radix(address, 16) else {
                continue;
            };
            let Ok(start) = u32::try_from(self.names.len()) else {
                return;
            };
            if address != 0 {
                self.starts.push((address, start));
                self.names.push_str(name);
                self.names.push('\n');
            }
        }
        self.starts.sort_by_key(|&(address, _)| address);
        self.starts.shrink_to_fit();
        self.names.shrink_to_fit();
    }

    fn find(&self, address: u64) -> Location {
        let unknown = || Location {
            symbol: format!("{address:#x}"),
            offset: 0,
        };
        let Some(index) = self
            .starts
            .partition_point(|&(start, _)| start <= address)
            .checked_sub(1)
        else {
            return unknown();
        };
        let (start, name) = self.starts[index];
        let Ok(offset) = u32::try_from(address - start) else {
            return unknown();
        };
        let name = self.names[name as usize..].split('\n').next().unwrap_or_default();
        Location {
            symbol: plain(name).to_owned(),
            offset,
        }
    }
}

/// A function's name without what the compiler appended: `__netif_receive_skb_core.constprop.0`.
fn plain(name: &str) -> &str {
    name.split_once('.')
        .map_or(name, |(plain, _)| if plain.is_empty() { name } else { plain })
}

/// Names of drop reasons.
pub struct Reasons {
    names: HashMap<u32, String>,
    /// Whether this kernel gives reasons at all (since 5.17).
    known: bool,
}

impl Reasons {
    /// From `enum skb_drop_reason` of the running kernel.
    #[must_use]
    pub fn of(btf: &Btf) -> Self {
        let names: HashMap<u32, String> = btf
            .enumerators("skb_drop_reason")
            .into_iter()
            .map(|(number, name)| {
                let short = name
                    .strip_prefix("SKB_DROP_REASON_")
                    .or_else(|| name.strip_prefix("SKB_"));
                (number, short.unwrap_or(&name).to_owned())
            })
            .collect();
        Self {
            known: !names.is_empty(),
            names,
        }
    }

    /// The name of a reason. One that a subsystem or a newer module brought is shown by its number.
    #[must_use]
    pub fn name(&self, number: u32) -> String {
        match self.names.get(&number) {
            Some(name) => name.clone(),
            // Without reasons each drop is what 5.17 calls NOT_SPECIFIED: the location has to tell.
            None if !self.known => "NOT_SPECIFIED".to_owned(),
            // include/net/dropreason.h: the subsystem is in the high half.
            None if number >> 16 != 0 => format!("SUBSYS_{}_{}", number >> 16, number & 0xffff),
            None => format!("REASON_{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_within_their_function() {
        let mut symbols = Symbols {
            read: true,
            ..Symbols::default()
        };
        symbols.parse(
            b"ffffffff81000200 t ip_forward\nffffffff81000100 T ip_rcv.constprop.0\n\
              ffffffff81000180 d data\ngarbage\nffffffffc0000000 t nft_do_chain\t[nf_tables]\n",
        );
        let at = |symbols: &mut Symbols, address| symbols.locate(address).to_string();
        assert_eq!(at(&mut symbols, 0xffff_ffff_8100_0100), "ip_rcv+0x0");
        assert_eq!(at(&mut symbols, 0xffff_ffff_8100_01ff), "ip_rcv+0xff");
        assert_eq!(at(&mut symbols, 0xffff_ffff_8100_0204), "ip_forward+0x4");
        assert_eq!(at(&mut symbols, 0xffff_ffff_c000_0010), "nft_do_chain+0x10");
        assert_eq!(at(&mut symbols, 0x10), "0x10");
    }

    #[test]
    fn addresses_that_are_hidden_are_not_taken_for_names() {
        let mut symbols = Symbols {
            read: true,
            ..Symbols::default()
        };
        symbols.parse(b"0000000000000000 T ip_rcv\n0000000000000000 T ip_forward\n");
        assert_eq!(symbols.locate(0xffff_ffff_8100_0100).symbol, "0xffffffff81000100");
    }
}
