//! What the kernel tells of a BPF program or link, by its id.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

// enum bpf_cmd (include/uapi/linux/bpf.h)
const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_LINK_GET_FD_BY_ID: libc::c_long = 30;
/// More than is read of `struct bpf_link_info` and `struct bpf_prog_info`; the kernel tells how much it has told.
const ROOM: usize = 128;

/// `struct bpf_prog_info` of a program.
pub(super) fn of_program(id: u32) -> io::Result<Vec<u8>> {
    info(BPF_PROG_GET_FD_BY_ID, id)
}

/// `struct bpf_link_info` of a link.
pub(super) fn of_link(id: u32) -> io::Result<Vec<u8>> {
    info(BPF_LINK_GET_FD_BY_ID, id)
}

fn info(open: libc::c_long, id: u32) -> io::Result<Vec<u8>> {
    /// That part of `union bpf_attr`: id, next_id, open_flags, and nothing.
    #[repr(C, align(8))]
    struct ById([u32; 4]);
    /// That part: descriptor, length, address.
    #[repr(C, align(8))]
    struct OfFile {
        file: u32,
        length: u32,
        address: u64,
    }
    #[repr(C, align(8))]
    struct Info([u8; ROOM]);

    let mut by_id = ById([id, 0, 0, 0]);
    // SAFETY: the command reads 16 bytes of attributes, and there are so many.
    let file = unsafe { libc::syscall(libc::SYS_bpf, open, &raw mut by_id, size_of::<ById>()) };
    let file = i32::try_from(file)
        .ok()
        .filter(|file| *file >= 0)
        .ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just opened it, and nobody else knows it.
    let file = unsafe { OwnedFd::from_raw_fd(file) };
    let mut info = Info([0; ROOM]);
    let mut of_file = OfFile {
        file: file.as_raw_fd().cast_unsigned(),
        length: u32::try_from(ROOM).unwrap_or_default(),
        address: (&raw mut info).addr() as u64,
    };
    // SAFETY: the command reads the attributes, and writes to the address at most as many bytes as their length says.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_OBJ_GET_INFO_BY_FD,
            &raw mut of_file,
            size_of::<OfFile>(),
        )
    };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    let told = usize::try_from(of_file.length).unwrap_or(ROOM).min(ROOM);
    Ok(info.0[..told].to_vec())
}
