//! The kernel's own trace events. Not every machine has tracefs mounted where it belongs.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context, Result};

/// A mount of tracefs that no other process sees. It goes with the value.
#[derive(Debug)]
pub struct Tracefs(OwnedFd);

impl Tracefs {
    /// Mounts it.
    ///
    /// # Errors
    /// Where the kernel has none, or refuses.
    pub fn mount() -> Result<Self> {
        Ok(Self(mount().context("cannot mount tracefs")?))
    }

    /// Where a file or folder of it is, such as `events/skb/kfree_skb/format`, for this process and while it is mounted.
    pub fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.0.as_raw_fd()))
    }
}

fn mount() -> io::Result<OwnedFd> {
    // include/uapi/linux/mount.h
    const FSOPEN_CLOEXEC: libc::c_uint = 1;
    const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
    const FSMOUNT_CLOEXEC: libc::c_uint = 1;
    let descriptor = |result: libc::c_long| match i32::try_from(result) {
        // SAFETY: the descriptor is new and nobody else's.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    };
    // SAFETY: the pointer is to a string that ends in NUL and lives through the call.
    let context =
        descriptor(unsafe { libc::syscall(libc::SYS_fsopen, c"tracefs".as_ptr(), FSOPEN_CLOEXEC) })?;
    // SAFETY: the command takes neither key nor value.
    let created = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            FSCONFIG_CMD_CREATE,
            std::ptr::null::<libc::c_char>(),
            std::ptr::null::<libc::c_char>(),
            0,
        )
    };
    if created != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it takes numbers only.
    descriptor(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, 0) })
}
