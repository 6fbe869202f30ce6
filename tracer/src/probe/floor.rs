//! The empty program alone, wherever the tracer has a program of its own: no tracer that looks at the same places can
//! cost less.

use aya::programs::tp_btf::BtfTracePointLink;
use aya::programs::{BtfTracePoint, ProgramError};
use tracer_ebpf::Config;

use super::Error;
use super::hook::Hook;
use super::load::{FLOOR, Failure, Kernel, find};
use super::programs::{Program, programs};

/// The attached empty programs, until this is dropped.
pub struct Floor {
    links: Vec<BtfTracePointLink>,
}

impl Floor {
    /// Attaches one at each tracepoint where this kernel takes a program of the tracer, but for those of the
    /// capabilities `without`. None is attached to a function.
    ///
    /// # Errors
    ///
    /// Where the kernel tells no types, or BPF is refused.
    pub fn attach(without: &[String]) -> Result<Self, Error> {
        let kernel = Kernel::running()?;
        let config = Config::default();
        let mut ebpf = kernel.load_small(&config)?;
        let mut links = Vec::new();
        for observed in programs() {
            let Hook::Tracepoint(tracepoint) = observed.hook else {
                continue;
            };
            if without.iter().any(|name| name == observed.capability) || kernel.lacks(observed).is_some() {
                continue;
            }
            let empty = Program {
                name: FLOOR,
                ..*observed
            };
            let link = find(&mut ebpf, &empty)?
                .try_into()
                .and_then(|program| attach(program, tracepoint, &kernel))
                .map_err(|cause| Failure::of(&empty, &cause))?;
            links.push(link);
        }
        Ok(Self { links })
    }

    /// At how many places one is attached.
    #[must_use]
    pub fn places(&self) -> usize {
        self.links.len()
    }
}

/// Loads the program for one place, and leaves it free for the next.
fn attach(
    program: &mut BtfTracePoint,
    tracepoint: &str,
    kernel: &Kernel,
) -> Result<BtfTracePointLink, ProgramError> {
    program.load(tracepoint, kernel.types())?;
    let link = program.attach()?;
    let link = program.take_link(link)?;
    program.unload()?;
    Ok(link)
}
