//! The types that the BPF programs and user space share.
//!
//! Every type is `repr(C)`, has no implicit padding, and has its size asserted, because map keys are
//! compared byte for byte and records cross from kernel to user space as bytes.
//!
//! Units: packets are counted as the wire carried them, that is after GRO and before GSO each buffer
//! weighs `max(1, gso_segs)`; bytes are those of the network layer and above.

#![cfg_attr(target_arch = "bpf", no_std)]

mod wire;

pub use wire::*;
