//! Where a program is attached in the kernel.

use std::fmt;

use aya::Btf as AyaBtf;
use aya::programs::{BtfTracePoint, FEntry, FExit, Program, ProgramError};

use super::btf::Btf;

/// Where a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// A tracepoint, by BTF.
    Tracepoint(&'static str),
    /// The entry of a function (fentry).
    Entry(&'static str),
    /// The return of a function (fexit).
    Return(&'static str),
}

impl Hook {
    /// This kernel has it.
    pub(super) fn is_in(self, btf: &Btf) -> bool {
        match self {
            Self::Tracepoint(name) => btf.tracepoint_arguments(name).is_some(),
            Self::Entry(name) | Self::Return(name) => btf.has_function(name),
        }
    }

    /// Hands a program of this kind to the kernel's verifier.
    pub(super) fn load(self, program: &mut Program, btf: &AyaBtf) -> Result<(), ProgramError> {
        match self {
            Self::Tracepoint(name) => <&mut BtfTracePoint>::try_from(program)?.load(name, btf),
            Self::Entry(name) => <&mut FEntry>::try_from(program)?.load(name, btf),
            Self::Return(name) => <&mut FExit>::try_from(program)?.load(name, btf),
        }
    }

    /// Attaches a program that is loaded. The link is kept in the program, and lives as long as it.
    pub(super) fn attach(self, program: &mut Program) -> Result<(), ProgramError> {
        match self {
            Self::Tracepoint(_) => <&mut BtfTracePoint>::try_from(program)?.attach().map(drop),
            Self::Entry(_) => <&mut FEntry>::try_from(program)?.attach().map(drop),
            Self::Return(_) => <&mut FExit>::try_from(program)?.attach().map(drop),
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tracepoint(name) => write!(f, "tracepoint {name}"),
            Self::Entry(name) | Self::Return(name) => write!(f, "function {name}"),
        }
    }
}
