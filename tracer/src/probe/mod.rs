//! Everything that touches BPF: loads and attaches the programs, and turns what they counted and sent
//! into [`Event`]s.

mod attach;
pub mod btf;
pub mod cost;
mod decode;
mod ended;
pub mod floor;
mod flows;
mod gate;
mod hook;
mod load;
mod memory;
pub mod offsets;
mod poll;
mod programs;
mod skipped;
mod standing;
pub mod symbols;
mod unresolved;
mod xtables;

pub use attach::{Only, Options, Probe, Sort};
pub use ended::EndedProcesses;
pub use hook::Hook;
pub use poll::Owners;
pub use programs::{Program, programs};
pub use symbols::PLACES;
pub use xtables::Xtables;

use thiserror::Error;

/// Why nothing can be seen at all. What costs only a part is a capability that is off.
#[derive(Debug, Error)]
pub enum Error {
    /// Built without the BPF object.
    #[error("this tracer was built without its BPF programs; build it with `cargo xtask build`")]
    NoObject,
    /// The kernel's types cannot be read.
    #[error(transparent)]
    Btf(#[from] btf::Error),
    /// The object or its maps were refused.
    #[error(
        "the kernel refused the BPF maps: {0}; run as root (CAP_BPF and CAP_PERFMON), on a \
         machine whose policy allows BPF"
    )]
    Refused(String),
    /// Neither arrivals nor drops can be seen.
    #[error("no BPF program could be attached: {0}; run as root, on a machine whose policy allows BPF")]
    NothingAttached(String),
    /// The user wants to see neither arrivals nor drops.
    #[error(
        "arrivals and drops are both left out, so nothing would be seen; leave one of them in (--without)"
    )]
    LeftOut,
    /// Nor can they ever be: this kernel lacks what the programs are made of.
    #[error("this kernel cannot run the BPF programs: {0}; they need Linux 5.12 or newer, with BTF")]
    Unfit(String),
    /// A map of the object is not what this program was built for.
    #[error("the BPF object has no map {0} of the right kind; rebuild with `cargo xtask build`")]
    Map(&'static str),
    /// Reading a map failed.
    #[error("reading the BPF map {map}: {cause}; the tracer cannot go on without its counts")]
    Read {
        /// The map.
        map: &'static str,
        /// What the kernel said.
        cause: aya::maps::MapError,
    },
    /// Writing a map failed.
    #[error("writing the BPF map {map}: {cause}; without it the programs count nothing, or do not stop")]
    Write {
        /// The map.
        map: &'static str,
        /// What the kernel said.
        cause: aya::maps::MapError,
    },
    /// The table of flows cannot be looked at.
    #[error("the table of flows cannot be mapped: {0}; is the limit of address space (ulimit -v) reached?")]
    Flows(std::io::Error),
    /// No random numbers are to be had.
    #[error("no random number from the kernel: {0}")]
    Random(std::io::Error),
    /// The kernel's statistics of BPF programs cannot be had.
    #[error("the kernel gives no statistics of BPF programs: {0}; they need Linux 5.8 and CAP_SYS_ADMIN")]
    Statistics(String),
}
