//! Words of the kernel's memory, which a program reads for user space: see the program `word`.

use aya::Ebpf;
use aya::maps::{Array, MapData};
use aya::programs::{RawTracePoint, RawTracePointRunOptions, TestRun as _};

use super::load::chain;

/// What stands at addresses in the kernel.
pub(super) trait Memory {
    /// The eight bytes at an address, `None` where there is none such.
    fn bytes(&self, address: u64) -> Option<[u8; 8]>;

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
}

/// The running kernel's. At address 0 it has the address of the `task_struct` of this thread.
pub(super) struct KernelMemory<'a> {
    program: &'a RawTracePoint,
    word: Array<&'a MapData, [u64; 2]>,
}

impl<'a> KernelMemory<'a> {
    /// Loads the program. The error says why there is none.
    pub(super) fn open(ebpf: &'a mut Ebpf) -> Result<Self, String> {
        let absent = || "the BPF object has no program or map of the name".to_owned();
        let program = ebpf.program_mut("word").ok_or_else(absent)?;
        let program: &mut RawTracePoint = program.try_into().map_err(|cause| chain(&cause))?;
        program.load().map_err(|cause| chain(&cause))?;
        let program = ebpf.program("word").ok_or_else(absent)?;
        let word = ebpf.map("WORD").ok_or_else(absent)?;
        Ok(Self {
            program: program.try_into().map_err(|cause| chain(&cause))?,
            word: Array::try_from(word).map_err(|cause| chain(&cause))?,
        })
    }
}

impl Memory for KernelMemory<'_> {
    fn bytes(&self, address: u64) -> Option<[u8; 8]> {
        let mut run = RawTracePointRunOptions::new();
        run.args[0] = address;
        self.program.test_run(run).ok()?;
        match self.word.get(&0, 0).ok()? {
            [0, _] => None,
            [_, word] => Some(word.to_ne_bytes()),
        }
    }
}
