//! A process that is busy with a connection while more comes by it: what it sends lies in memory that is not there yet, as
//! where it was swapped out. `tcp_sendmsg` holds the socket meanwhile, and what arrives waits in its backlog.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::counts::Score;
use super::odd::{SMALLEST_BUFFER, set};
use crate::process::check;

/// For how long the memory does not come.
const HELD: Duration = Duration::from_secs(2);
/// Bytes of it.
const LENGTH: usize = 4096;

/// Over TCP: of each connection, sends one byte that is long in coming, then reads all that has come.
pub(super) fn start(address: SocketAddr, score: &Arc<Score>) -> Result<()> {
    let listener = TcpListener::bind(address).with_context(|| format!("cannot listen at tcp {address}"))?;
    // The room of the backlog is told by that of the receive buffer (`tcp_add_backlog`).
    set(listener.as_raw_fd(), libc::SO_RCVBUF, &SMALLEST_BUFFER).context("cannot set a receive buffer")?;
    // An error here is told at once, and not only when the first connection comes.
    Absent::new().context("cannot make memory that is not there yet (userfaultfd)")?;
    let score = Arc::clone(score);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let score = Arc::clone(&score);
            thread::spawn(move || score.connections.count(hold(stream).is_ok()));
        }
    });
    Ok(())
}

fn hold(mut stream: TcpStream) -> Result<()> {
    let absent = Absent::new()?;
    thread::scope(|scope| -> io::Result<()> {
        let comes = scope.spawn(|| absent.comes_late());
        // SAFETY: the pointer is to as many bytes as are told, which live through the call.
        let sent = unsafe { libc::send(stream.as_raw_fd(), absent.start.cast(), 1, 0) };
        check(sent.min(0) as libc::c_int)?;
        comes.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
    })?;
    io::copy(&mut stream.by_ref(), &mut io::sink())?;
    Ok(())
}

/// Memory of which a first use waits until somebody brings it (userfaultfd(2), ioctl_userfaultfd(2)).
struct Absent {
    start: *mut u8,
    faults: OwnedFd,
}

// SAFETY: nobody reads or writes the memory but the kernel, which is asked by system calls.
unsafe impl Sync for Absent {}

/// `struct uffdio_api`, and what asks for it.
#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}
const UFFD_API: u64 = 0xaa;
const UFFDIO_API: libc::c_ulong = 0xc018_aa3f;

/// `struct uffdio_register` and `struct uffdio_zeropage`, and what asks for them.
#[repr(C)]
struct Range {
    start: u64,
    length: u64,
    mode: u64,
    answer: u64,
}
const UFFDIO_REGISTER: libc::c_ulong = 0xc020_aa00;
const UFFDIO_ZEROPAGE: libc::c_ulong = 0xc020_aa04;
const REGISTER_MISSING: u64 = 1;

impl Absent {
    fn new() -> io::Result<Self> {
        // SAFETY: a system call without pointers.
        let faults = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) };
        check(faults as libc::c_int)?;
        // SAFETY: the descriptor is new and nobody else's.
        let faults = unsafe { OwnedFd::from_raw_fd(faults as libc::c_int) };
        let mut api = Api {
            api: UFFD_API,
            features: 0,
            ioctls: 0,
        };
        // SAFETY: the pointer is to the structure that this request is about.
        check(unsafe { libc::ioctl(faults.as_raw_fd(), UFFDIO_API as _, &raw mut api) })?;
        // SAFETY: new memory, which is nobody else's.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                LENGTH,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let absent = Self {
            start: start.cast(),
            faults,
        };
        absent.ask(UFFDIO_REGISTER, REGISTER_MISSING)?;
        Ok(absent)
    }

    /// Brings the memory some time after it was first wanted.
    fn comes_late(&self) -> io::Result<()> {
        // As long as `struct uffd_msg`. What it says is known: there is but one page.
        let mut message = [0_u8; 32];
        let (descriptor, length) = (self.faults.as_raw_fd(), message.len());
        // SAFETY: the pointer is to as many bytes as are told.
        let read = unsafe { libc::read(descriptor, message.as_mut_ptr().cast(), length) };
        check(read.min(0) as libc::c_int)?;
        thread::sleep(HELD);
        self.ask(UFFDIO_ZEROPAGE, 0)
    }

    fn ask(&self, request: libc::c_ulong, mode: u64) -> io::Result<()> {
        let mut range = Range {
            start: self.start as u64,
            length: LENGTH as u64,
            mode,
            answer: 0,
        };
        // SAFETY: the pointer is to the structure that these requests are about.
        check(unsafe { libc::ioctl(self.faults.as_raw_fd(), request as _, &raw mut range) })
    }
}

impl Drop for Absent {
    fn drop(&mut self) {
        // SAFETY: the memory is this value's own.
        unsafe { libc::munmap(self.start.cast(), LENGTH) };
    }
}
