//! What the kernel says of a process (proc(5)).

use std::{fs, path::Path};

/// The process that runs this program and was started by that process.
pub(super) fn child_of(parent: u32, program: &Path) -> Option<u32> {
    let parent = format!("PPid:\t{parent}");
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let is_it = fs::read_link(entry.path().join("exe")).ok()? == program
            && fs::read_to_string(entry.path().join("status"))
                .ok()?
                .lines()
                .any(|line| line == parent);
        is_it.then_some(pid)
    })
}

/// The most memory that a process has had resident so far, in kB (`VmHWM`). None for one that has ended.
pub(super) fn peak_kb(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().strip_suffix(" kB")?.parse().ok()
}

/// Processor time of a process so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticks {
    /// In hundredths of a second: USER_HZ is 100 on all that Linux runs on today.
    pub(super) user: u64,
    pub(super) system: u64,
}

impl Ticks {
    /// None for a process that is gone.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command in parentheses may have spaces.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        Some(Self {
            user: fields.next()?.parse().ok()?,
            system: fields.next()?.parse().ok()?,
        })
    }
}

/// Whether a process has a file open whose link in /proc begins so.
pub(super) fn holds(pid: u32, link: &str) -> bool {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    files.flatten().any(|file| {
        fs::read_link(file.path())
            .is_ok_and(|target| target.as_os_str().as_encoded_bytes().starts_with(link.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn memory_is_read_from_the_kernel() {
        assert!(peak_kb(std::process::id()).unwrap() > 100);
        assert_eq!(peak_kb(u32::MAX), None);
    }

    #[test]
    fn processor_time_is_read_from_the_kernel() {
        assert!(Ticks::of(std::process::id()).is_some());
        assert!(Ticks::of(u32::MAX).is_none());
    }

    #[test]
    fn open_files_are_read_from_the_kernel() {
        let _socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(holds(std::process::id(), "socket:"));
        assert!(!holds(std::process::id(), "no-such-file"));
        assert!(!holds(u32::MAX, "socket:"));
    }
}
