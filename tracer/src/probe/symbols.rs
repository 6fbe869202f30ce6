//! Names of kernel addresses and of drop reasons, from the running kernel.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::ops::Range;
use std::time::{Duration, Instant};

use super::btf::Btf;
use crate::event::{Capability, CapabilityState, Location};

/// The capability that functions of the kernel have names.
pub const PLACES: &str = "places";

/// Where the kernel lists its functions.
const LIST: &str = "/proc/kallsyms";

/// What is this old may lack modules that were loaded since, and is read once more for an address of theirs.
const STALE: Duration = Duration::from_secs(1);
/// Longest function of a module that is taken for one: the list says where a function begins, and of the last
/// one before another module nothing says where it ends.
const LONGEST: u64 = 1 << 16;

/// The kernel's functions, by address. Read once more for new addresses that are not in the kernel's own text:
/// modules, and BPF programs, come and go.
#[derive(Default)]
pub struct Symbols {
    /// Start addresses, ascending, with the place of the name in `names`.
    starts: Vec<(u64, u32)>,
    names: String,
    /// The kernel's own text, empty where the list does not tell.
    text: Range<u64>,
    read: Option<Instant>,
    /// The list is never read.
    left_out: bool,
    /// What was said once is said again: lines in the books are told from one another by it.
    resolved: HashMap<u64, Location>,
}

/// The capability `places`; `why` functions have no names, if they have none.
fn capability(why: Option<String>) -> Capability {
    Capability {
        name: PLACES.to_owned(),
        state: match why {
            None => CapabilityState::Available,
            Some(_) => CapabilityState::Unavailable,
        },
        why: why.map_or_else(String::new, |why| {
            format!("{why}; places in the kernel are numbers, and what rests on their names is not told")
        }),
    }
}

impl Symbols {
    /// Reads the whole list, and says whether this process may see where the functions are. The kernel takes tens of
    /// milliseconds of a processor to print the list: to be done while the programs are loaded, not among packets.
    #[must_use]
    pub fn of_kernel() -> (Self, Capability) {
        let mut symbols = Self::default();
        let why = match symbols.read(Instant::now(), list) {
            Ok(()) if !symbols.starts.is_empty() => None,
            Ok(()) => Some(
                "the kernel hides the addresses of its functions: they are shown with CAP_SYSLOG and a \
                 sysctl kernel.kptr_restrict below 2"
                    .to_owned(),
            ),
            Err(error) => Some(format!("{LIST}: {error}; mount proc and run tracer as root")),
        };
        (symbols, capability(why))
    }

    /// Reads no list, as asked.
    #[must_use]
    pub fn left_out() -> (Self, Capability) {
        let symbols = Self {
            left_out: true,
            ..Self::default()
        };
        (symbols, capability(Some("left out as asked".to_owned())))
    }

    /// The function that an address lies in. An address that no function is known for stands for itself.
    pub fn locate(&mut self, address: u64) -> Location {
        if let Some(location) = self.resolved.get(&address) {
            return location.clone();
        }
        self.refresh(address, Instant::now(), list);
        let location = self.find(address);
        self.resolved.insert(address, location.clone());
        location
    }

    /// Reads the list, where it may lack this address.
    fn refresh<L: BufRead>(&mut self, address: u64, now: Instant, list: impl FnOnce() -> io::Result<L>) {
        let lasts = |read: Instant| self.text.contains(&address) || now.duration_since(read) < STALE;
        if self.left_out || self.read.is_some_and(lasts) {
            return;
        }
        // What cannot be read leaves what was, and an address without a name stands for itself.
        let _ = self.read(now, list);
    }

    fn read<L: BufRead>(&mut self, now: Instant, list: impl FnOnce() -> io::Result<L>) -> io::Result<()> {
        self.read = Some(now);
        let list = list()?;
        self.starts.clear();
        self.names.clear();
        self.text = 0..0;
        // Where it breaks off, what came before is good.
        self.parse(list)
    }

    /// Takes lines of `ADDRESS TYPE NAME [MODULE]`. Addresses are zero for who may not see them.
    fn parse(&mut self, mut list: impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        let end = loop {
            line.clear();
            match list.read_until(b'\n', &mut line) {
                Ok(0) => break Ok(()),
                Ok(_) => self.parse_line(&line),
                Err(error) => break Err(error),
            }
        };
        self.starts.sort_unstable();
        self.starts.shrink_to_fit();
        self.names.shrink_to_fit();
        end
    }

    fn parse_line(&mut self, line: &[u8]) {
        let Ok(line) = std::str::from_utf8(line) else {
            return;
        };
        let mut words = line.split_ascii_whitespace();
        let (Some(address), Some(kind), Some(name)) = (words.next(), words.next(), words.next()) else {
            return;
        };
        // Before each function there may be room for others to patch (`-fpatchable-function-entry`).
        if !matches!(kind, "t" | "T" | "w" | "W") || name.starts_with("__pfx_") {
            return;
        }
        let Ok(address) = u64::from_str_radix(address, 16) else {
            return;
        };
        let Ok(start) = u32::try_from(self.names.len()) else {
            return;
        };
        if address != 0 {
            match name {
                "_stext" => self.text.start = address,
                "_etext" => self.text.end = address,
                _ => {}
            }
            self.starts.push((address, start));
            self.names.push_str(name);
            self.names.push('\n');
        }
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
        if !self.text.contains(&address) && address - start >= LONGEST {
            return unknown();
        }
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

fn list() -> io::Result<BufReader<File>> {
    Ok(BufReader::new(File::open(LIST)?))
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

    const LINES: &str = "ffffffff81000100 T _stext\nffffffff81000200 t ip_forward\n\
                         ffffffff81000100 T ip_rcv.constprop.0\nffffffff81000180 d data\ngarbage\n\
                         ffffffff82000000 T _etext\nffffffffc0000000 t nft_do_chain\t[nf_tables]\n";

    fn at(symbols: &Symbols, address: u64) -> String {
        symbols.find(address).to_string()
    }

    #[test]
    fn addresses_are_found_within_their_function() {
        let mut symbols = Symbols::default();
        symbols.parse(LINES.as_bytes()).unwrap();
        assert_eq!(at(&symbols, 0xffff_ffff_8100_0100), "ip_rcv+0x0");
        assert_eq!(at(&symbols, 0xffff_ffff_8100_01ff), "ip_rcv+0xff");
        assert_eq!(at(&symbols, 0xffff_ffff_8100_0204), "ip_forward+0x4");
        // Within the kernel's own text the next function tells where one ends.
        assert_eq!(at(&symbols, 0xffff_ffff_8104_0200), "ip_forward+0x40000");
        assert_eq!(at(&symbols, 0xffff_ffff_c000_0010), "nft_do_chain+0x10");
        assert_eq!(at(&symbols, 0xffff_ffff_c001_0000), "0xffffffffc0010000");
        assert_eq!(at(&symbols, 0x10), "0x10");
    }

    #[test]
    fn modules_that_are_loaded_later_are_found() {
        let later = format!("{LINES}ffffffffc0002000 t vxlan_rcv\t[vxlan]\n");
        let (start, mut reads) = (Instant::now(), 0);
        let mut symbols = Symbols::default();
        let mut ask = |address: u64, after: u64, list: &str| {
            symbols.refresh(address, start + Duration::from_millis(after), || {
                reads += 1;
                Ok(list.as_bytes())
            });
            (at(&symbols, address), reads)
        };
        let (core, module) = (0xffff_ffff_8100_0204, 0xffff_ffff_c000_2010);
        assert_eq!(ask(core, 0, LINES), ("ip_forward+0x4".to_owned(), 1));
        // The kernel's own text stays as it is.
        assert_eq!(ask(core, 5000, &later).1, 1);
        assert_eq!(ask(module, 5000, &later), ("vxlan_rcv+0x10".to_owned(), 2));
        // A list is good for a while.
        assert_eq!(ask(0xffff_ffff_c100_0000, 5999, &later).1, 2);
        assert_eq!(
            ask(0xffff_ffff_c100_0000, 6000, &later),
            ("0xffffffffc1000000".to_owned(), 3)
        );
        // What cannot be read leaves what was.
        symbols.refresh(module, start + Duration::from_secs(60), || {
            io::Result::<&[u8]>::Err(io::ErrorKind::NotFound.into())
        });
        assert_eq!(at(&symbols, module), "vxlan_rcv+0x10");
    }

    #[test]
    fn addresses_that_are_hidden_are_not_taken_for_names() {
        let mut symbols = Symbols::default();
        let list = b"0000000000000000 T ip_rcv\n0000000000000000 T ip_forward\n";
        symbols.parse(&list[..]).unwrap();
        assert_eq!(symbols.find(0xffff_ffff_8100_0100).symbol, "0xffffffff81000100");
    }
}
