//! The kernel's memory, which programs read for user space: see the programs `word` and `block`.

use std::fs;

use aya::Ebpf;
use aya::maps::{Array, MapData};
use aya::programs::{RawTracePoint, RawTracePointRunOptions, TestRun as _};
use tracer_ebpf::{BLOCK, Offsets};

use super::load::chain;

/// What stands at addresses in the kernel.
pub(super) trait Memory {
    /// The eight bytes at an address, `None` where there is none such.
    fn bytes(&self, address: u64) -> Option<[u8; 8]>;

    /// So many bytes from an address on, `None` where not all of them can be read.
    fn block(&self, address: u64, length: usize) -> Option<Vec<u8>> {
        let mut block = Vec::with_capacity(length.next_multiple_of(8));
        while block.len() < length {
            let next = address.checked_add(u64::try_from(block.len()).ok()?)?;
            block.extend(self.bytes(next)?);
        }
        block.truncate(length);
        Some(block)
    }

    fn u64(&self, address: u64) -> Option<u64> {
        self.bytes(address).map(u64::from_ne_bytes)
    }

    fn u32(&self, address: u64) -> Option<u32> {
        let [a, b, c, d, ..] = self.bytes(address)?;
        Some(u32::from_ne_bytes([a, b, c, d]))
    }

    fn u16(&self, address: u64) -> Option<u16> {
        let [a, b, ..] = self.bytes(address)?;
        Some(u16::from_ne_bytes([a, b]))
    }

    /// The network namespace of this thread (`struct net`).
    fn namespace(&self, offsets: &Offsets) -> Option<u64> {
        let task = self.u64(0)?;
        let nsproxy = self.pointer(task, offsets.task_nsproxy.into())?;
        self.pointer(nsproxy, offsets.nsproxy_net.into())
    }

    /// A member of an object that is a pointer. `None` where there is no object.
    fn pointer(&self, object: u64, offset: u64) -> Option<u64> {
        self.u64(member(object, offset)?)
    }
}

/// Where a member of an object is, `None` where there is no object.
pub(super) fn member(object: u64, offset: u64) -> Option<u64> {
    if object == 0 {
        None
    } else {
        object.checked_add(offset)
    }
}

/// The running kernel's. At address 0 it has the address of the `task_struct` of this thread.
pub(super) struct KernelMemory<'a> {
    word_program: &'a RawTracePoint,
    block_program: &'a RawTracePoint,
    word: Array<&'a MapData, [u64; 2]>,
    block: Array<&'a MapData, [u8; BLOCK]>,
}

/// The programs by which it is read.
const PROGRAMS: [&str; 2] = ["word", "block"];
/// What the kernel does not allow even to root, the one that holds in brackets: `none integrity [confidentiality]`.
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";

/// How it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Word by word. Of a block nothing is read.
    Words,
    /// Many bytes at a time, too.
    Blocks,
}

impl Reading {
    /// The programs that it takes.
    fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Words => &PROGRAMS[..1],
            Self::Blocks => &PROGRAMS,
        }
    }
}

impl<'a> KernelMemory<'a> {
    /// Loads the programs. The error says why there are none.
    pub(super) fn load(ebpf: &mut Ebpf, reading: Reading) -> Result<(), String> {
        for name in reading.programs() {
            let program = ebpf.program_mut(name).ok_or_else(absent)?;
            let program: &mut RawTracePoint = program.try_into().map_err(|cause| chain(&cause))?;
            program.load().map_err(|cause| {
                let lockdown = fs::read_to_string(LOCKDOWN).unwrap_or_default();
                refused(&chain(&cause), &lockdown)
            })?;
        }
        Ok(())
    }

    /// By the programs that were loaded. The error says what is missing.
    pub(super) fn of(ebpf: &'a Ebpf) -> Result<Self, String> {
        let [word_program, block_program] = PROGRAMS.map(|name| {
            let program = ebpf.program(name).ok_or_else(absent)?;
            program.try_into().map_err(|cause| chain(&cause))
        });
        Ok(Self {
            word_program: word_program?,
            block_program: block_program?,
            word: array(ebpf, "WORD")?,
            block: array(ebpf, "BYTES")?,
        })
    }

    /// Runs a program. Whether it could read what was asked, and the word that it read.
    fn run(&self, program: &RawTracePoint, args: [u64; 2]) -> Option<u64> {
        let mut run = RawTracePointRunOptions::new();
        run.args[..args.len()].copy_from_slice(&args);
        program.test_run(run).ok()?;
        match self.word.get(&0, 0).ok()? {
            [0, _] => None,
            [_, word] => Some(word),
        }
    }
}

/// Why a program was not loaded, with what the kernel says of what it does not allow: it gives programs no helper that reads its memory
/// then, and the verifier names the helper alone (`bpf_base_func_proto`).
fn refused(why: &str, lockdown: &str) -> String {
    if lockdown.contains("[confidentiality]") {
        format!(
            "{why}; {LOCKDOWN} has confidentiality, with which BPF programs get no helper that reads the kernel's memory"
        )
    } else {
        why.to_owned()
    }
}

fn absent() -> String {
    "the BPF object has no program or map of the name".to_owned()
}

fn array<'a, V: aya::Pod>(ebpf: &'a Ebpf, name: &str) -> Result<Array<&'a MapData, V>, String> {
    let map = ebpf.map(name).ok_or_else(absent)?;
    Array::try_from(map).map_err(|cause| chain(&cause))
}

impl Memory for KernelMemory<'_> {
    fn bytes(&self, address: u64) -> Option<[u8; 8]> {
        self.run(self.word_program, [address, 0]).map(u64::to_ne_bytes)
    }

    fn block(&self, address: u64, length: usize) -> Option<Vec<u8>> {
        let mut block = Vec::with_capacity(length);
        while block.len() < length {
            let next = address.checked_add(u64::try_from(block.len()).ok()?)?;
            let some = BLOCK.min(length - block.len());
            self.run(self.block_program, [next, u64::try_from(some).ok()?])?;
            block.extend_from_slice(self.block.get(&0, 0).ok()?.get(..some)?);
        }
        Some(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_the_kernel_locks_its_memory_is_told_where_it_does() {
        let why = |lockdown: &str| refused("unknown func", lockdown);
        assert_eq!(why(""), "unknown func");
        assert_eq!(why("none [integrity] confidentiality\n"), "unknown func");
        assert_eq!(
            why("none integrity [confidentiality]\n"),
            "unknown func; /sys/kernel/security/lockdown has confidentiality, with which BPF programs get no helper that reads the kernel's memory"
        );
    }

    #[test]
    fn only_the_programs_that_it_takes_are_loaded() {
        assert_eq!(Reading::Words.programs(), ["word"]);
        assert_eq!(Reading::Blocks.programs(), ["word", "block"]);
    }
}

/// Memory of tests.
#[cfg(test)]
pub(super) mod fake {
    use std::collections::BTreeMap;

    use super::Memory;

    /// Objects by their addresses; what was not written in them is 0.
    #[derive(Default)]
    pub(in super::super) struct Fake(BTreeMap<u64, Vec<u8>>);

    impl Fake {
        pub(in super::super) fn write(&mut self, object: u64, offset: u64, bytes: &[u8]) {
            let memory = self.0.entry(object).or_insert_with(|| vec![0; 256]);
            let at = usize::try_from(offset).unwrap();
            memory[at..at + bytes.len()].copy_from_slice(bytes);
        }

        pub(in super::super) fn point(&mut self, object: u64, offset: u64, to: u64) {
            self.write(object, offset, &to.to_ne_bytes());
        }
    }

    impl Memory for Fake {
        fn bytes(&self, address: u64) -> Option<[u8; 8]> {
            let (object, memory) = self.0.range(..=address).next_back()?;
            let at = usize::try_from(address - object).ok()?;
            memory.get(at..at + 8)?.try_into().ok()
        }
    }
}
