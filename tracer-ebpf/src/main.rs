//! The BPF programs, which observe where packets arrive, end, and reach sockets: BTF tracepoints, and where
//! the kernel allows it entries and returns of its functions.
//!
//! None of them stands in the packet's path. They read kernel memory at offsets that user space
//! resolved from the running kernel's BTF ([`globals::OFFSETS`]); because those are constants to the
//! verifier, pointers from arguments are followed by direct loads.

#![no_std]
#![no_main]
// For atomic additions, see `books::add`.
#![feature(asm_experimental_arch)]
#![allow(
    unreachable_pub,
    missing_docs,
    reason = "a program has no public interface; macros make undocumented wrappers"
)]

mod arrive;
mod books;
mod deliver;
mod end;
mod exit;
mod flows;
mod fragments;
mod functions;
mod globals;
mod memory;
mod neighbour;
mod packet;
mod send;
mod socket;
mod unresolved;

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;

use crate::globals::Kernel;
use crate::packet::{Packet, load_word};

/// An empty program: what the kernel itself takes to run one. The floor for `tracer cost`.
#[btf_tracepoint(function = "netif_receive_skb")]
pub fn floor(_ctx: BtfTracePointContext) -> i32 {
    0
}

/// Never attached: whether it can be loaded tells whether this kernel lets programs load a packet's bytes
/// ([`tracer_ebpf::Config::loads_packets`]).
#[btf_tracepoint(function = "netif_receive_skb")]
pub fn peek(ctx: BtfTracePointContext) -> i32 {
    let packet = Packet(ctx.arg::<Kernel>(0));
    i32::from(load_word(packet.data()) == 0)
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

// The verifier lets only GPL-compatible programs use the tracing helpers.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
