//! Who holds the lock of a package manager.
//!
//! dpkg, apt and rpm take locks of POSIX (fcntl(2)), which the kernel tells to whoever may read the file; to everybody
//! else it lists them in /proc/locks (proc_locks(5)). To ask takes no lock.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::files::{self, Mark};
use crate::event::Owner;
use crate::node::Owners;

/// A file that a package manager locks.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    /// It stays open: its opening wakes those who watch it, among them this source.
    open: Option<(File, Mark)>,
}

/// Who holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// The process with this id.
    Process(u32),
    /// One that has no id here, as it is of a PID namespace that cannot be seen from here.
    Unnamed,
}

impl Lock {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, open: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Who holds it to write; `None` where nobody does, or where there is no such file.
    pub(super) fn holder(&mut self) -> io::Result<Option<Holder>> {
        let Some(now) = files::mark(&self.path)? else {
            self.open = None;
            return Ok(None);
        };
        if !self.open.as_ref().is_some_and(|(_, mark)| mark.is_same_file(now)) {
            self.open = None;
            match files::open(&self.path) {
                Ok(opened) => self.open = opened,
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    let file = fs::metadata(&self.path)?;
                    return Ok(listed(
                        &fs::read_to_string("/proc/locks")?,
                        file.dev(),
                        file.ino(),
                    ));
                }
                Err(error) => return Err(error),
            }
        }
        match &self.open {
            None => Ok(None),
            Some((file, _)) => asked(file),
        }
    }
}

/// Asks the kernel who would keep this process from reading under a lock: any that writes.
fn asked(file: &File) -> io::Result<Option<Holder>> {
    // SAFETY: all of its members are numbers, for which zero is a value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    // To ask for a lock to write, one that reads would be told, too: rpm takes such to look something up.
    lock.l_type = libc::F_RDLCK as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    // SAFETY: the descriptor is open, and the kernel writes no more than this structure.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &raw mut lock) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if lock.l_type == libc::F_UNLCK as libc::c_short {
        return Ok(None);
    }
    Ok(Some(holder(lock.l_pid)))
}

/// 0 is told of a process that has no id here, -1 of a lock that belongs to an open file and no process.
fn holder(pid: i32) -> Holder {
    match u32::try_from(pid) {
        Ok(pid) if pid != 0 => Holder::Process(pid),
        _ => Holder::Unnamed,
    }
}

/// The same by `/proc/locks`: `6: POSIX  ADVISORY  WRITE 27164 fe:00:10010736 0 EOF`.
fn listed(locks: &str, device: u64, inode: u64) -> Option<Holder> {
    // A file system without a device of its own (btrfs, overlayfs) lists another number than stat(2) tells.
    let is_anonymous = libc::major(device) == 0;
    locks.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (kind, _, access) = (fields.next()?, fields.next()?, fields.next()?);
        let pid = fields.next()?.parse().ok()?;
        let mut file = fields.next()?.split(':');
        let major = u32::from_str_radix(file.next()?, 16).ok()?;
        let minor = u32::from_str_radix(file.next()?, 16).ok()?;
        let is_it = file.next()?.parse() == Ok(inode)
            && (libc::makedev(major, minor) == device || (is_anonymous && major == 0));
        (matches!(kind, "POSIX" | "OFDLCK") && access == "WRITE" && is_it).then(|| holder(pid))
    })
}

/// Whether this process has that file open; `None` where that cannot be seen, as by whoever is not root.
pub(super) fn has_open(pid: u32, file: Mark) -> Option<bool> {
    let all = match fs::read_dir(format!("/proc/{pid}/fd")) {
        Ok(all) => all,
        // It has ended.
        Err(error) if pid != 0 && files::is_absent(&error) => return Some(false),
        Err(_) => return None,
    };
    let mut marks = all
        .flatten()
        .filter_map(|one| files::mark(&one.path()).ok().flatten());
    Some(marks.any(|mark| mark.is_same_file(file)))
}

/// Who that is, as far as it can be known.
pub(super) fn owner(holder: Holder) -> Owner {
    match holder {
        // It may have ended, or be hidden (hidepid).
        Holder::Process(pid) => Owners::actor(pid).unwrap_or_else(|| Owner::named(pid, "")),
        Holder::Unnamed => Owner::named(0, "a process of another PID namespace"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Folder, Locker};
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_told_without_taking_it() {
        let folder = Folder::new();
        let path = folder.path().join("lock");
        let mut lock = Lock::new(path.clone());
        assert_eq!(lock.holder().unwrap(), None, "there is no such file");
        fs::write(&path, "").unwrap();
        assert_eq!(lock.holder().unwrap(), None);
        let locker = Locker::start(&path);
        assert_eq!(lock.holder().unwrap(), Some(Holder::Process(locker.pid())));
        let file = fs::metadata(&path).unwrap();
        let text = fs::read_to_string("/proc/locks").unwrap();
        assert_eq!(
            listed(&text, file.dev(), file.ino()),
            Some(Holder::Process(locker.pid()))
        );
        let owner = owner(Holder::Process(locker.pid()));
        assert_eq!(owner.pid, locker.pid());
        assert!(!owner.command.is_empty());
        drop(locker);
        assert_eq!(lock.holder().unwrap(), None);
        // Another file in its place.
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        let locker = Locker::start(&path);
        assert_eq!(lock.holder().unwrap(), Some(Holder::Process(locker.pid())));
    }

    #[test]
    fn the_list_of_locks_is_searched_by_device_and_inode() {
        let list = "1: FLOCK  ADVISORY  WRITE 1 fe:01:7 0 EOF\n\
                    2: POSIX  ADVISORY  READ 2 fe:01:7 0 EOF\n\
                    2: -> POSIX  ADVISORY  WRITE 3 fe:01:7 0 EOF\n\
                    torn\n\
                    3: POSIX  ADVISORY  WRITE 4 fe:02:7 0 EOF\n\
                    4: POSIX  ADVISORY  WRITE 5 fe:01:7 0 EOF\n\
                    5: POSIX  ADVISORY  WRITE 0 fe:01:8 0 EOF\n\
                    6: OFDLCK ADVISORY  WRITE -1 fe:01:9 0 EOF\n\
                    7: POSIX  ADVISORY  WRITE 6 00:2f:10 0 EOF\n";
        let device = libc::makedev(0xfe, 1);
        let of = |inode| listed(list, device, inode);
        assert_eq!(
            of(7),
            Some(Holder::Process(5)),
            "who waits for it does not hold it"
        );
        assert_eq!((of(8), of(9)), (Some(Holder::Unnamed), Some(Holder::Unnamed)));
        assert_eq!(of(10), None);
        assert_eq!(listed(list, libc::makedev(0, 99), 10), Some(Holder::Process(6)));
    }
}
