//! BPF programs that say one word of every packet: the way to break a node as other people's programs do.

use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use anyhow::{Context, Result};

/// Where a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// XDP, in the driver.
    XdpNative,
    /// XDP, in the stack (`do_xdp_generic`).
    XdpGeneric,
    /// tcx, at ingress; since 6.6 (`__netif_receive_skb_core`).
    TcIngress,
}

/// What it says of every packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Throw it away: `XDP_DROP`, `TC_ACT_SHOT`.
    Drop,
}

// include/uapi/linux/bpf.h, if_link.h, pkt_cls.h
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
const PROG_TYPE_SCHED_CLS: u32 = 3;
const PROG_TYPE_XDP: u32 = 6;
const PROG_TYPE_CGROUP_SKB: u32 = 8;
const ATTACH_CGROUP_INET_INGRESS: u32 = 0;
const ATTACH_CGROUP_INET_EGRESS: u32 = 1;
const ATTACH_XDP: u32 = 37;
const ATTACH_TCX_INGRESS: u32 = 46;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
const XDP_DROP: i32 = 1;
const TC_ACT_SHOT: i32 = 2;

impl Hook {
    /// Type of the program, type of the attachment, and its flags.
    fn numbers(self) -> (u32, u32, u32) {
        match self {
            Self::XdpNative => (PROG_TYPE_XDP, ATTACH_XDP, XDP_FLAGS_DRV_MODE),
            Self::XdpGeneric => (PROG_TYPE_XDP, ATTACH_XDP, XDP_FLAGS_SKB_MODE),
            Self::TcIngress => (PROG_TYPE_SCHED_CLS, ATTACH_TCX_INGRESS, 0),
        }
    }

    fn answer(self, word: Word) -> i32 {
        match (self, word) {
            (Self::TcIngress, Word::Drop) => TC_ACT_SHOT,
            (Self::XdpNative | Self::XdpGeneric, Word::Drop) => XDP_DROP,
        }
    }
}

/// `struct bpf_insn`
#[repr(C)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// The first members of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
}

/// And for `BPF_LINK_CREATE`.
#[repr(C)]
struct Link {
    prog_fd: u32,
    /// Index of the device, or descriptor of the cgroup.
    target: u32,
    attach_type: u32,
    flags: u32,
    /// `tcx.relative_fd` and `tcx.expected_revision`.
    more: [u64; 2],
}

/// Attaches a program to a device of the thread's namespace. It is detached when the result is dropped.
///
/// # Errors
/// Where the kernel refuses, or the device is not there.
pub fn attach(hook: Hook, device: &str, word: Word) -> Result<OwnedFd> {
    let name = std::ffi::CString::new(device).context("a device's name has no NUL")?;
    // SAFETY: the pointer is to a string that ends in NUL and lives through the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("no device {device}"));
    }
    let (prog_type, attach_type, flags) = hook.numbers();
    let program =
        load(prog_type, hook.answer(word)).with_context(|| format!("cannot load a program for {hook:?}"))?;
    let link = Link {
        prog_fd: u32::try_from(std::os::fd::AsRawFd::as_raw_fd(&program))?,
        target: index,
        attach_type,
        flags,
        more: [0; 2],
    };
    call(BPF_LINK_CREATE, &link).with_context(|| format!("cannot attach a program at {hook:?} of {device}"))
}

/// What a program of a cgroup is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// What arrives for the sockets in it.
    Arrives,
    /// What they send.
    Leaves,
}

/// Attaches a program to a cgroup that refuses all that goes this way. It is detached when the result is dropped.
///
/// # Errors
/// Where the kernel refuses.
pub fn refuse(cgroup: &File, way: Way) -> Result<OwnedFd> {
    const REFUSE: i32 = 0;
    let program =
        load(PROG_TYPE_CGROUP_SKB, REFUSE).context("cannot load a program for the packets of a cgroup")?;
    let link = Link {
        prog_fd: u32::try_from(std::os::fd::AsRawFd::as_raw_fd(&program))?,
        target: u32::try_from(std::os::fd::AsRawFd::as_raw_fd(cgroup))?,
        attach_type: match way {
            Way::Arrives => ATTACH_CGROUP_INET_INGRESS,
            Way::Leaves => ATTACH_CGROUP_INET_EGRESS,
        },
        flags: 0,
        more: [0; 2],
    };
    call(BPF_LINK_CREATE, &link).context("cannot attach a program to a cgroup")
}

/// Loads `return answer;`.
fn load(prog_type: u32, answer: i32) -> io::Result<OwnedFd> {
    const MOV64_IMM: u8 = 0xb7;
    const EXIT: u8 = 0x95;
    let instruction = |code, immediate| Instruction {
        code,
        registers: 0,
        offset: 0,
        immediate,
    };
    let program = [instruction(MOV64_IMM, answer), instruction(EXIT, 0)];
    let load = Load {
        prog_type,
        insn_cnt: program.len() as u32,
        insns: program.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
    };
    call(BPF_PROG_LOAD, &load)
}

/// `bpf(2)`, for a command that gives a descriptor.
fn call<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: `attributes` is of the size that is told, begins as the command's part of `union bpf_attr` does, and
    // what it points to lives through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>() as libc::c_uint,
        )
    };
    match i32::try_from(result) {
        // SAFETY: the descriptor is new and nobody else's.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}
