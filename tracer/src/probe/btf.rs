//! A reader for the kernel's BTF (Documentation/bpf/btf.rst): where members are, what enumerators are
//! called, how many arguments a tracepoint has, and which functions there are.
//!
//! aya's own BTF keeps its members private, so this small one stands beside it. It reads
//! `/sys/kernel/btf/vmlinux` (about 5 MB) once and keeps an index of where each type starts.

use std::collections::HashMap;
use std::path::Path;

use thiserror::Error;

/// Why BTF could not be read.
#[derive(Debug, Error)]
pub enum Error {
    /// The file could not be read.
    #[error(
        "no type information of the kernel: {path}: {cause}; needs a kernel built with \
         CONFIG_DEBUG_INFO_BTF=y (Debian's have it since 5.10)"
    )]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The file is no BTF, or cut off.
    #[error("type information of the kernel is damaged at byte {at}: {what}")]
    Damaged {
        /// Offset in the file.
        at: usize,
        /// What was expected there.
        what: &'static str,
    },
}

/// Where the kernel shows its types, and those of its modules.
const FOLDER: &str = "/sys/kernel/btf";

const MAGIC: u16 = 0xeb9f;

const KIND_INT: u32 = 1;
const KIND_PTR: u32 = 2;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_TYPE_TAG: u32 = 18;
const KIND_ENUM64: u32 = 19;

/// Size of the part that all types have.
const TYPE_SIZE: usize = 12;
/// Typedefs and qualifiers that are followed before a chain is taken for a loop.
const MOST_ALIASES: usize = 32;
/// Anonymous structs and unions that are entered before nesting is taken for a loop.
const MOST_NESTED: usize = 16;

/// The types of a kernel, or those that a module adds to them.
pub struct Btf {
    data: Vec<u8>,
    /// Offset in `data` of type 1, 2, …
    types: Vec<u32>,
    strings: usize,
    strings_end: usize,
    base: Base,
    /// Structs, unions, enums and typedefs by name; the first of a name wins.
    names: HashMap<(u32, Vec<u8>), u32>,
}

/// What comes before the types and strings of a module: the kernel's own. Nothing where these are the kernel's own.
#[derive(Default)]
struct Base {
    types: u32,
    strings: Vec<u8>,
}

/// The part that all types have.
#[derive(Clone, Copy)]
struct Type {
    at: usize,
    name: u32,
    kind: u32,
    members: usize,
    /// Bit 31 of `info`: members have bit-field sizes in their offsets.
    bitfields: bool,
    /// Size, or the type that it refers to.
    refers: u32,
}

impl Btf {
    /// Reads the running kernel's.
    ///
    /// # Errors
    ///
    /// Where the kernel has no BTF, or it cannot be understood.
    pub fn of_kernel() -> Result<Self, Error> {
        Self::parse(read(&Path::new(FOLDER).join("vmlinux"))?)
    }

    /// Reads those of a module of the running kernel, whose own types these are. What a member of them is made of is not
    /// followed.
    ///
    /// # Errors
    ///
    /// Where no such module is loaded, or it has no BTF, or it cannot be understood.
    pub fn of_module(&self, module: &str) -> Result<Self, Error> {
        self.add(read(&Path::new(FOLDER).join(module))?)
    }

    fn add(&self, data: Vec<u8>) -> Result<Self, Error> {
        let strings = self.data.get(self.strings..self.strings_end);
        let base = Base {
            types: self.types.len() as u32,
            strings: strings.unwrap_or_default().to_vec(),
        };
        Self::take(data, base)
    }

    /// Takes raw BTF in the byte order of this machine.
    ///
    /// # Errors
    ///
    /// Where it is no BTF, or cut off.
    pub fn parse(data: Vec<u8>) -> Result<Self, Error> {
        Self::take(data, Base::default())
    }

    fn take(data: Vec<u8>, base: Base) -> Result<Self, Error> {
        let damaged = |at, what| Error::Damaged { at, what };
        if read_u16(&data, 0) != Some(MAGIC) {
            return Err(damaged(0, "the magic number 0xeb9f in this machine's byte order"));
        }
        let field = |at| {
            read_u32(&data, at)
                .map(|value| value as usize)
                .ok_or(damaged(at, "a header"))
        };
        let header = field(4)?;
        let (types_at, types_size) = (field(8)?, field(12)?);
        let (strings_at, strings_size) = (field(16)?, field(20)?);
        let first = header
            .checked_add(types_at)
            .ok_or(damaged(8, "an offset within the file"))?;
        let last = first
            .checked_add(types_size)
            .ok_or(damaged(12, "a size within the file"))?;
        let strings = header
            .checked_add(strings_at)
            .ok_or(damaged(16, "an offset within the file"))?;
        let strings_end = strings
            .checked_add(strings_size)
            .ok_or(damaged(20, "a size within the file"))?;
        if last > data.len() || strings_end > data.len() {
            return Err(damaged(data.len(), "more data"));
        }
        let mut btf = Self {
            data,
            types: Vec::new(),
            strings,
            strings_end,
            base,
            names: HashMap::new(),
        };
        let mut at = first;
        while at < last {
            let entry = btf.entry(at).ok_or(damaged(at, "a type"))?;
            let at32 = u32::try_from(at).map_err(|_| damaged(at, "a file below 4 GiB"))?;
            btf.types.push(at32);
            let id = btf.base.types + btf.types.len() as u32;
            if matches!(
                entry.kind,
                KIND_STRUCT | KIND_UNION | KIND_ENUM | KIND_ENUM64 | KIND_TYPEDEF
            ) {
                let name = btf.string(entry.name).ok_or(damaged(at, "a name"))?.to_vec();
                if !name.is_empty() {
                    btf.names.entry((family(entry.kind), name)).or_insert(id);
                }
            }
            at += TYPE_SIZE + tail(entry.kind, entry.members).ok_or(damaged(at, "a known kind of type"))?;
        }
        if at != last {
            return Err(damaged(at, "the end of the types"));
        }
        Ok(btf)
    }

    /// Bytes from the start of a struct to a member. `path` goes through named members by dots
    /// (`nd_net.net`); anonymous structs and unions are looked through. `None` where this kernel has no
    /// such struct or member, or where it is a bit-field.
    #[must_use]
    pub fn offset(&self, structure: &str, path: &str) -> Option<u32> {
        let mut current = *self.names.get(&(KIND_STRUCT, structure.as_bytes().to_vec()))?;
        let mut bits = 0u32;
        for name in path.split('.') {
            let (at, member) = self.member(self.resolve(current)?, name.as_bytes(), 0)?;
            bits = bits.checked_add(at)?;
            current = member;
        }
        bits.is_multiple_of(8).then_some(bits / 8)
    }

    /// The enumerators of an enum: value and name.
    #[must_use]
    pub fn enumerators(&self, name: &str) -> Vec<(u32, String)> {
        let Some(&id) = self.names.get(&(KIND_ENUM, name.as_bytes().to_vec())) else {
            return Vec::new();
        };
        let Some(entry) = self.by_id(id) else {
            return Vec::new();
        };
        let size = if entry.kind == KIND_ENUM { 8 } else { 12 };
        (0..entry.members)
            .filter_map(|index| {
                let at = entry.at + TYPE_SIZE + index * size;
                let name = self.string(read_u32(&self.data, at)?)?;
                Some((
                    read_u32(&self.data, at + 4)?,
                    String::from_utf8_lossy(name).into_owned(),
                ))
            })
            .collect()
    }

    /// How many arguments a tracepoint hands over (of its typedef `btf_trace_NAME`, less the first,
    /// which is the tracepoint's own). `None` where this kernel has no such tracepoint.
    #[must_use]
    pub fn tracepoint_arguments(&self, tracepoint: &str) -> Option<usize> {
        let name = format!("btf_trace_{tracepoint}").into_bytes();
        let pointer = self.resolve(*self.names.get(&(KIND_TYPEDEF, name))?)?;
        if pointer.kind != KIND_PTR {
            return None;
        }
        let prototype = self.resolve(pointer.refers)?;
        if prototype.kind != KIND_FUNC_PROTO {
            None
        } else {
            prototype.members.checked_sub(1)
        }
    }

    /// Whether this kernel has a function of this name outside of modules, which is not only a part of others.
    #[must_use]
    pub fn has_function(&self, name: &str) -> bool {
        self.types.iter().any(|&at| {
            self.entry(at as usize).is_some_and(|entry| {
                entry.kind == KIND_FUNC && self.string(entry.name) == Some(name.as_bytes())
            })
        })
    }

    /// Finds a member: its offset in bits, and its type.
    fn member(&self, structure: Type, name: &[u8], nested: usize) -> Option<(u32, u32)> {
        if nested > MOST_NESTED || !matches!(structure.kind, KIND_STRUCT | KIND_UNION) {
            return None;
        }
        for index in 0..structure.members {
            let at = structure.at + TYPE_SIZE + index * 12;
            let own_name = self.string(read_u32(&self.data, at)?)?;
            let member = read_u32(&self.data, at + 4)?;
            let packed = read_u32(&self.data, at + 8)?;
            let (bits, bitfield) = if structure.bitfields {
                (packed & 0xff_ffff, packed >> 24)
            } else {
                (packed, 0)
            };
            if own_name == name {
                return (bitfield == 0).then_some((bits, member));
            }
            if own_name.is_empty()
                && let Some(inner) = self.resolve(member)
                && let Some((further, found)) = self.member(inner, name, nested + 1)
            {
                return Some((bits.checked_add(further)?, found));
            }
        }
        None
    }

    /// Looks through typedefs and qualifiers.
    fn resolve(&self, id: u32) -> Option<Type> {
        let mut entry = self.by_id(id)?;
        for _ in 0..MOST_ALIASES {
            match entry.kind {
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG => {
                    entry = self.by_id(entry.refers)?;
                }
                _ => return Some(entry),
            }
        }
        None
    }

    /// Types of a module follow those of the kernel, of which nothing is known here.
    fn by_id(&self, id: u32) -> Option<Type> {
        let own = id.checked_sub(self.base.types)?.checked_sub(1)?;
        self.entry(*self.types.get(own as usize)? as usize)
    }

    fn entry(&self, at: usize) -> Option<Type> {
        let info = read_u32(&self.data, at + 4)?;
        Some(Type {
            at,
            name: read_u32(&self.data, at)?,
            kind: (info >> 24) & 0x1f,
            members: (info & 0xffff) as usize,
            bitfields: info >> 31 == 1,
            refers: read_u32(&self.data, at + 8)?,
        })
    }

    fn string(&self, offset: u32) -> Option<&[u8]> {
        let offset = offset as usize;
        let rest = match offset.checked_sub(self.base.strings.len()) {
            Some(own) => self.data.get(self.strings..self.strings_end)?.get(own..)?,
            None => self.base.strings.get(offset..)?,
        };
        Some(&rest[..rest.iter().position(|&byte| byte == 0)?])
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|cause| Error::Unreadable {
        path: path.display().to_string(),
        cause,
    })
}

/// Both kinds of enum share their names.
fn family(kind: u32) -> u32 {
    if kind == KIND_ENUM64 { KIND_ENUM } else { kind }
}

/// Bytes behind the part that all types have.
fn tail(kind: u32, members: usize) -> Option<usize> {
    Some(match kind {
        KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
        KIND_ARRAY => 12,
        KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => members * 12,
        KIND_ENUM | KIND_FUNC_PROTO => members * 8,
        1..=KIND_ENUM64 => 0,
        _ => return None,
    })
}

fn read_u16(data: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*data.get(at..)?.first_chunk()?))
}

fn read_u32(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*data.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes BTF, type by type.
    #[derive(Default)]
    struct Builder {
        types: Vec<u8>,
        strings: Vec<u8>,
        count: u32,
    }

    impl Btf {
        fn base_strings(&self) -> u32 {
            (self.strings_end - self.strings) as u32
        }

        /// Where a string of its own stands.
        fn place_of(&self, string: &str) -> u32 {
            let all = &self.data[self.strings..self.strings_end];
            let wanted = format!("\0{string}\0").into_bytes();
            let found = all.windows(wanted.len()).position(|here| here == wanted);
            found.unwrap() as u32 + 1
        }
    }

    impl Builder {
        fn new() -> Self {
            Self {
                strings: vec![0],
                ..Self::default()
            }
        }

        fn name(&mut self, name: &str) -> u32 {
            if name.is_empty() {
                return 0;
            }
            let at = self.strings.len() as u32;
            self.strings.extend(name.as_bytes());
            self.strings.push(0);
            at
        }

        fn push(
            &mut self,
            name: &str,
            kind: u32,
            members: u32,
            bitfields: bool,
            refers: u32,
            tail: &[u32],
        ) -> u32 {
            let name = self.name(name);
            let info = kind << 24 | members | u32::from(bitfields) << 31;
            for word in [name, info, refers].iter().chain(tail) {
                self.types.extend(word.to_ne_bytes());
            }
            self.count += 1;
            self.count
        }

        fn structure(&mut self, name: &str, kind: u32, members: &[(&str, u32, u32)]) -> u32 {
            let tail: Vec<u32> = members
                .iter()
                .flat_map(|&(name, member, bits)| [self.name(name), member, bits])
                .collect();
            self.push(name, kind, members.len() as u32, false, 64, &tail)
        }

        fn build(&self) -> Vec<u8> {
            let mut data = Vec::new();
            data.extend(MAGIC.to_ne_bytes());
            data.extend([1, 0]);
            for word in [
                24,
                0,
                self.types.len() as u32,
                self.types.len() as u32,
                self.strings.len() as u32,
            ] {
                data.extend(word.to_ne_bytes());
            }
            data.extend(&self.types);
            data.extend(&self.strings);
            data
        }
    }

    fn sample() -> Vec<u8> {
        let mut b = Builder::new();
        let int = b.push("int", KIND_INT, 0, false, 4, &[32]);
        let inner = b.structure("", KIND_UNION, &[("dev", int, 0), ("scratch", int, 0)]);
        let outer = b.structure("", KIND_STRUCT, &[("", inner, 64)]);
        let net = b.structure("possible_net_t_s", KIND_STRUCT, &[("net", int, 32)]);
        let alias = b.push("possible_net_t", KIND_TYPEDEF, 0, false, net, &[]);
        b.structure(
            "sk_buff",
            KIND_STRUCT,
            &[("next", int, 0), ("", outer, 64), ("nd", alias, 256)],
        );
        let flags = b.name("pkt_type");
        b.push("flags", KIND_STRUCT, 1, true, 1, &[flags, int, 3 << 24 | 5]);
        let (a, c) = (
            b.name("SKB_DROP_REASON_NOT_SPECIFIED"),
            b.name("SKB_DROP_REASON_NO_SOCKET"),
        );
        b.push("skb_drop_reason", KIND_ENUM, 2, false, 4, &[a, 2, c, 3]);
        let prototype = b.push("", KIND_FUNC_PROTO, 3, false, 0, &[0, int, 0, int, 0, int]);
        let pointer = b.push("", KIND_PTR, 0, false, prototype, &[]);
        b.push("btf_trace_kfree_skb", KIND_TYPEDEF, 0, false, pointer, &[]);
        b.push("ip_forward", KIND_FUNC, 0, false, prototype, &[]);
        b.build()
    }

    #[test]
    fn finds_members_through_anonymous_and_named_parts() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!(btf.offset("sk_buff", "next"), Some(0));
        assert_eq!(btf.offset("sk_buff", "dev"), Some(16));
        assert_eq!(btf.offset("sk_buff", "nd.net"), Some(36));
        assert_eq!(btf.offset("sk_buff", "gone"), None);
        assert_eq!(btf.offset("gone", "next"), None);
        assert_eq!(
            btf.offset("flags", "pkt_type"),
            None,
            "a bit-field has no byte offset"
        );
    }

    #[test]
    fn names_enumerators_and_counts_arguments() {
        let btf = Btf::parse(sample()).unwrap();
        assert_eq!(
            btf.enumerators("skb_drop_reason"),
            [
                (2, "SKB_DROP_REASON_NOT_SPECIFIED".to_owned()),
                (3, "SKB_DROP_REASON_NO_SOCKET".to_owned())
            ]
        );
        assert_eq!(btf.tracepoint_arguments("kfree_skb"), Some(2));
        assert_eq!(btf.tracepoint_arguments("gone"), None);
    }

    #[test]
    fn a_module_adds_types_to_those_of_the_kernel() {
        let kernel = Btf::parse(sample()).unwrap();
        let base = (kernel.types.len() as u32, kernel.base_strings());
        let mut module = Builder {
            strings: vec![],
            ..Builder::new()
        };
        // Its strings and types are counted on from those of the kernel; `dev` stands among the kernel's.
        let dev = kernel.place_of("dev");
        let own = |at: u32| base.1 + at;
        let (table, private) = (module.name("xt_table"), module.name("private"));
        let members = [dev, 1, 0, own(private), 1, 64, 0, base.0 + 2, 128];
        module.push("", KIND_STRUCT, 3, false, 16, &members);
        let inner = [own(private) + 1, 1, 32];
        module.push("", KIND_UNION, 1, false, 16, &inner);
        module.types[..4].copy_from_slice(&own(table).to_ne_bytes());
        let module = kernel.add(module.build()).unwrap();
        assert_eq!(module.offset("xt_table", "dev"), Some(0));
        assert_eq!(module.offset("xt_table", "private"), Some(8));
        assert_eq!(module.offset("xt_table", "rivate"), Some(20));
        assert_eq!(
            module.offset("xt_table", "private.dev"),
            None,
            "the kernel's own types are not followed"
        );
        assert_eq!(module.offset("sk_buff", "next"), None);
    }

    #[test]
    fn tells_functions_from_types() {
        let btf = Btf::parse(sample()).unwrap();
        assert!(btf.has_function("ip_forward"));
        assert!(!btf.has_function("sk_buff"));
        assert!(!btf.has_function("gone"));
    }

    #[test]
    fn cut_off_or_foreign_data_is_an_error_and_no_panic() {
        let whole = sample();
        for length in 0..whole.len() {
            assert!(
                Btf::parse(whole[..length].to_vec()).is_err(),
                "{length} bytes were accepted"
            );
        }
        assert!(Btf::parse(b"\x7fELF and so on, not BTF at all".to_vec()).is_err());
    }

    #[test]
    fn damaged_bytes_never_panic() {
        let whole = sample();
        for at in 0..whole.len() {
            for value in [0, 0x7f, 0xff] {
                let mut data = whole.clone();
                data[at] = value;
                if let Ok(btf) = Btf::parse(data) {
                    let _ = btf.offset("sk_buff", "nd.net");
                    let _ = btf.enumerators("skb_drop_reason");
                    let _ = btf.tracepoint_arguments("kfree_skb");
                    let _ = btf.has_function("ip_forward");
                }
            }
        }
    }
}
