//! Whether the programs count: all of them, or none.

use aya::Ebpf;
use aya::maps::{Array, MapData};
use tracer_ebpf::gate;

use super::Error;

/// The map that the loader makes of the programs' variables, of which there is one: `globals::COUNTING`.
const VARIABLES: &str = ".bss";

/// The gate, closed until it is opened: programs are attached one after the other, and their counts are read one after
/// the other, while packets come.
pub(super) struct Gate(Array<MapData, u32>);

impl Gate {
    pub(super) fn of(ebpf: &mut Ebpf) -> Result<Self, Error> {
        let map = ebpf.take_map(VARIABLES).ok_or(Error::Map(VARIABLES))?;
        Ok(Self(Array::try_from(map).map_err(|_| Error::Map(VARIABLES))?))
    }

    pub(super) fn open(&mut self) -> Result<(), Error> {
        self.set(gate::OPEN)
    }

    pub(super) fn close(&mut self) -> Result<(), Error> {
        self.set(gate::CLOSED)
    }

    fn set(&mut self, stands: u32) -> Result<(), Error> {
        self.0.set(0, stands, 0).map_err(|cause| Error::Write {
            map: VARIABLES,
            cause,
        })
    }
}
