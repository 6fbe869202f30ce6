//! BPF programs that say one word of every packet, the way to break a node as other people's programs do; and one that
//! counts.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

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
const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_RAW_TRACEPOINT_OPEN: libc::c_long = 17;
const BPF_LINK_CREATE: libc::c_long = 28;
const PROG_TYPE_SCHED_CLS: u32 = 3;
const PROG_TYPE_XDP: u32 = 6;
const PROG_TYPE_CGROUP_SKB: u32 = 8;
const PROG_TYPE_RAW_TRACEPOINT: u32 = 17;
const MAP_TYPE_ARRAY: u32 = 2;
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
    /// The destination in the low half, the source in the high one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// One that neither jumps nor reads memory.
const fn instruction(code: u8, registers: u8, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers,
        offset: 0,
        immediate,
    }
}

/// `r0 = n` is this with no registers.
const MOV64_IMM: u8 = 0xb7;
const EXIT: u8 = 0x95;

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
    let program = load(prog_type, &saying(hook.answer(word)))
        .with_context(|| format!("cannot load a program for {hook:?}"))?;
    let link = Link {
        prog_fd: u32::try_from(program.as_raw_fd())?,
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
    let program = load(PROG_TYPE_CGROUP_SKB, &saying(REFUSE))
        .context("cannot load a program for the packets of a cgroup")?;
    let link = Link {
        prog_fd: u32::try_from(program.as_raw_fd())?,
        target: u32::try_from(cgroup.as_raw_fd())?,
        attach_type: match way {
            Way::Arrives => ATTACH_CGROUP_INET_INGRESS,
            Way::Leaves => ATTACH_CGROUP_INET_EGRESS,
        },
        flags: 0,
        more: [0; 2],
    };
    call(BPF_LINK_CREATE, &link).context("cannot attach a program to a cgroup")
}

/// Counts how often tracepoints are passed on top of a process, by a program that the kernel runs there. It counts until
/// it is dropped.
#[derive(Debug)]
pub struct Counter {
    count: OwnedFd,
    _links: Vec<OwnedFd>,
}

/// For `BPF_MAP_CREATE`.
#[repr(C)]
struct Create {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

/// For `BPF_RAW_TRACEPOINT_OPEN`.
#[repr(C)]
struct Open {
    name: u64,
    prog_fd: u32,
    /// In later kernels a cookie follows, which must be aligned.
    padding: u32,
}

/// For `BPF_MAP_LOOKUP_ELEM`.
#[repr(C)]
struct Lookup {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

impl Counter {
    /// Begins to count, of the tracepoints of these names, on top of the process of this number in the initial
    /// namespace.
    ///
    /// # Errors
    /// Where the kernel refuses, or has no such tracepoint.
    pub fn start(process: u32, tracepoints: &[&std::ffi::CStr]) -> Result<Self> {
        let create = Create {
            map_type: MAP_TYPE_ARRAY,
            key_size: size_of::<u32>() as u32,
            value_size: size_of::<u64>() as u32,
            max_entries: 1,
            map_flags: 0,
        };
        let count = call(BPF_MAP_CREATE, &create).context("cannot make a map of one number")?;
        let program = load(PROG_TYPE_RAW_TRACEPOINT, &counting(process, &count)?)
            .context("cannot load a program that counts")?;
        let open = |name: &&std::ffi::CStr| {
            let open = Open {
                name: name.as_ptr() as u64,
                prog_fd: u32::try_from(program.as_raw_fd())?,
                padding: 0,
            };
            call(BPF_RAW_TRACEPOINT_OPEN, &open).with_context(|| {
                format!(
                    "cannot attach a program to the tracepoint {}",
                    name.to_string_lossy()
                )
            })
        };
        Ok(Self {
            _links: tracepoints.iter().map(open).collect::<Result<_>>()?,
            count,
        })
    }

    /// What it has counted.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn read(&self) -> Result<u64> {
        let (key, mut value) = (0_u32, 0_u64);
        let lookup = Lookup {
            map_fd: u32::try_from(self.count.as_raw_fd())?,
            padding: 0,
            key: std::ptr::from_ref(&key) as u64,
            value: std::ptr::from_mut(&mut value) as u64,
            flags: 0,
        };
        bpf(BPF_MAP_LOOKUP_ELEM, &lookup).context("cannot read what a program counted")?;
        Ok(value)
    }
}

/// `if (bpf_get_current_pid_tgid() >> 32 == process) atomic_add(count, 1); return 0;`
fn counting(process: u32, count: &OwnedFd) -> Result<[Instruction; 9]> {
    const CALL: u8 = 0x85;
    const GET_CURRENT_PID_TGID: i32 = 14;
    const RSH64_IMM: u8 = 0x77;
    const JNE_IMM: u8 = 0x55;
    // Two instructions long; with this source the immediate is a map's descriptor, and the register its first value.
    const LD_IMM64: u8 = 0x18;
    const R1_FROM_MAP_VALUE: u8 = 0x21;
    const R2: u8 = 0x02;
    const ATOMIC64_ADD: u8 = 0xdb;
    const AT_R1_FROM_R2: u8 = 0x21;
    Ok([
        instruction(CALL, 0, GET_CURRENT_PID_TGID),
        instruction(RSH64_IMM, 0, 32),
        Instruction {
            offset: 4,
            ..instruction(JNE_IMM, 0, i32::try_from(process)?)
        },
        instruction(LD_IMM64, R1_FROM_MAP_VALUE, count.as_raw_fd()),
        instruction(0, 0, 0),
        instruction(MOV64_IMM, R2, 1),
        instruction(ATOMIC64_ADD, AT_R1_FROM_R2, 0),
        instruction(MOV64_IMM, 0, 0),
        instruction(EXIT, 0, 0),
    ])
}

/// `return answer;`
fn saying(answer: i32) -> [Instruction; 2] {
    [instruction(MOV64_IMM, 0, answer), instruction(EXIT, 0, 0)]
}

/// Loads a program.
fn load(prog_type: u32, program: &[Instruction]) -> io::Result<OwnedFd> {
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
    let descriptor = bpf(command, attributes)?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// `bpf(2)`, and what it answers.
fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<i32> {
    // SAFETY: `attributes` is of the size that is told, begins as the command's part of `union bpf_attr` does, and
    // what it points to lives through the call, and is of the size that the command reads or writes.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>() as libc::c_uint,
        )
    };
    match i32::try_from(result) {
        Ok(answer) if answer >= 0 => Ok(answer),
        _ => Err(io::Error::last_os_error()),
    }
}
