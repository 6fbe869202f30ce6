//! Signals, waited for instead of handled, so that the lab lives to clean up.

use std::io;
use std::time::Duration;

use libc::c_int;

use crate::process::check;

/// Signals that ask the lab to end, and the one that tells that a child has ended.
const WAITED_FOR: [c_int; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGCHLD];

/// The signals of [`WAITED_FOR`], blocked in the thread that made this and in those that it starts.
#[derive(Debug)]
pub struct Signals(libc::sigset_t);

/// What woke the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The time was up.
    Time,
    /// A child has ended, or another did something of the kind.
    Child,
    /// Somebody wants the lab to end.
    End {
        /// The number of the signal.
        signal: c_int,
        /// It came by the terminal, so the other processes in the foreground have got it as well.
        from_terminal: bool,
    },
}

impl Signals {
    /// Blocks the signals. To be called before any thread is started.
    pub fn block() -> io::Result<Self> {
        // SAFETY: all-zero is a valid sigset_t, and the pointers are to it for the length of the calls.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            for signal in WAITED_FOR {
                libc::sigaddset(&mut set, signal);
            }
            check(libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()))?;
            Ok(Self(set))
        }
    }

    /// Waits for a signal, at most for `timeout`.
    pub fn wait(&self, timeout: Duration) -> io::Result<Wake> {
        let timeout = libc::timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        // SAFETY: all-zero is a valid siginfo_t, and the pointers are to values that outlive the call.
        let (signal, info) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            (libc::sigtimedwait(&self.0, &mut info, &timeout), info)
        };
        match signal {
            -1 => match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::EAGAIN) => Ok(Wake::Time),
                // Stopped and continued by job control: as good as a child's news, the caller looks again.
                error if error.kind() == io::ErrorKind::Interrupted => Ok(Wake::Child),
                error => Err(error),
            },
            libc::SIGCHLD => Ok(Wake::Child),
            signal => Ok(Wake::End {
                signal,
                from_terminal: info.si_code == libc::SI_KERNEL,
            }),
        }
    }
}
