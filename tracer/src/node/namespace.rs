//! Network namespaces: to find them by name, by path or all, and to do something inside one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{netlink, visitor};
use crate::event::{self, Capability, CapabilityState, OF_PROCESS};

/// The capability's name.
pub const CAPABILITY: &str = "namespaces";

/// Where `ip netns add` puts names.
pub(super) const NAMES: &str = "/run/netns";
/// What the tracer's own namespace is called.
const HOST: &str = "host";

/// A network namespace: its inode, what the user calls it, and where it is found.
///
/// It is opened for each use and not in between: an open namespace cannot end, so that watching a pod
/// would keep its devices alive after the pod has gone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Netns {
    inode: u32,
    name: String,
    path: PathBuf,
    /// A process that lives in it, where one is known.
    pid: Option<u32>,
}

/// Why a namespace cannot be found or entered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such name or path.
    #[error("network namespace `{name}` is not there: no file {}; `ip netns list` shows the names", path.display())]
    Missing {
        /// As the user wrote it.
        name: String,
        /// The file that is not there.
        path: PathBuf,
    },
    /// Nothing says in which one the tracer is, as in a `chroot` into which nothing was mounted.
    #[error(
        "/proc is not mounted here, and without it neither processes nor their network namespaces can be found: \
             mount -t proc proc /proc"
    )]
    NoProc,
    /// The file is something else, such as a name that was left behind when its namespace ended.
    #[error(
        "`{name}` is no network namespace: {} is another kind of file; `ip netns list` shows the names, \
         /proc/PID/ns/net works too",
        path.display()
    )]
    NotNetns {
        /// As the user wrote it.
        name: String,
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("cannot open network namespace `{name}` at {}: {source}; run tracer as root", path.display())]
    Unreadable {
        /// As the user wrote it.
        name: String,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// It was there before, and no longer is.
    #[error("network namespace `{name}` has ended; `ip netns list` shows those that are left")]
    Ended {
        /// What the user calls it.
        name: String,
    },
    /// The kernel does not let us in.
    #[error("cannot enter network namespace `{name}`: {source}; run tracer as root (CAP_SYS_ADMIN)")]
    Enter {
        /// What the user calls it.
        name: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// No thread to enter it with.
    #[error(
        "cannot start a thread to enter network namespace `{name}`: {source}; free memory or raise the limit on processes"
    )]
    Thread {
        /// What the user calls it.
        name: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// All network namespaces that could be found.
#[derive(Debug)]
pub struct All {
    /// The tracer's own first, then those with a name, then those that only processes have.
    pub namespaces: Vec<Netns>,
    /// Processes whose namespace this user may not see.
    pub unreadable: usize,
}

impl All {
    /// The capability `namespaces`: partial where some cannot be found.
    #[must_use]
    pub fn capability(&self) -> Capability {
        let (state, why) = if self.unreadable == 0 {
            (CapabilityState::Available, "")
        } else {
            // Not how many: processes come and go.
            (
                CapabilityState::Partial,
                "of some processes it cannot be seen in which network namespace they are (CAP_SYS_PTRACE is \
                 missing, or a policy of this machine hides them): one that only they are in is not watched",
            )
        };
        Capability {
            name: CAPABILITY.to_owned(),
            state,
            why: why.to_owned(),
        }
    }
}

impl Netns {
    /// The one that the tracer was started in, called `host`.
    ///
    /// # Errors
    /// Where /proc is not mounted.
    pub fn current() -> Result<Self, Error> {
        Self::at(HOST.to_owned(), PathBuf::from("/proc/self/ns/net")).map_err(|error| match error {
            Error::Missing { .. } if !Path::new("/proc/self").exists() => Error::NoProc,
            error => error,
        })
    }

    /// The one that the user names: a name as in `ip netns list`, or with a `/` in it the path of a
    /// namespace file, such as `/proc/PID/ns/net`.
    ///
    /// # Errors
    /// Where there is none, it is something else, or it may not be read.
    pub fn open(name_or_path: &str) -> Result<Self, Error> {
        let path = if name_or_path.contains('/') {
            PathBuf::from(name_or_path)
        } else {
            Path::new(NAMES).join(name_or_path)
        };
        // By these names those are called that have none, so that nobody takes it for one of them.
        let name = if name_or_path == HOST || name_or_path.starts_with(OF_PROCESS) {
            path.display().to_string()
        } else {
            name_or_path.to_owned()
        };
        Self::at(name, path)
    }

    /// The current one, those with a name, and one for each other that a process lives in (called
    /// `pid:PID COMMAND` after the lowest such process). Those of single threads are not looked for.
    ///
    /// # Errors
    /// Where /proc is not mounted. Processes and names that cannot be read are left out; the former are
    /// counted, the latter are names whose namespace has ended.
    pub fn all() -> Result<All, Error> {
        let current = Self::current()?;
        // Where each stands among them.
        let mut seen = HashMap::from([(current.inode, 0)]);
        let mut namespaces = vec![current];
        for name in names() {
            if let Ok(netns) = Self::open(&name)
                && let Entry::Vacant(place) = seen.entry(netns.inode)
            {
                place.insert(namespaces.len());
                namespaces.push(netns);
            }
        }
        let mut unreadable = 0;
        for pid in super::owners::pids() {
            let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
            match fs::metadata(&path) {
                Ok(metadata) => {
                    let Ok(inode) = u32::try_from(metadata.ino()) else {
                        continue;
                    };
                    match seen.entry(inode) {
                        Entry::Vacant(place) => {
                            place.insert(namespaces.len());
                            let command = super::owners::command(pid).unwrap_or_default();
                            namespaces.push(Self {
                                inode,
                                name: format!("{OF_PROCESS}{pid} {command}"),
                                path,
                                pid: Some(pid),
                            });
                        }
                        // In the tracer's own everybody lives.
                        Entry::Occupied(place) if *place.get() > 0 => {
                            namespaces[*place.get()].pid.get_or_insert(pid);
                        }
                        Entry::Occupied(_) => {}
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => unreadable += 1,
                // It has ended meanwhile.
                Err(_) => {}
            }
        }
        Ok(All {
            namespaces,
            unreadable,
        })
    }

    /// Its inode, the number by which the kernel and every event know it.
    #[must_use]
    pub fn inode(&self) -> u32 {
        self.inode
    }

    /// `host`, or what the user called it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The lowest process that lives in it, where one was found; none for the tracer's own.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Whether it is the one that this process lives in.
    #[must_use]
    pub fn is_current(&self) -> bool {
        Self::current().is_ok_and(|current| current.inode == self.inode)
    }

    /// Runs `work` inside the namespace, in a thread that does only that (`visitor`): no other thread ever changes its
    /// namespace. Sockets that `work` opens stay in the namespace.
    ///
    /// # Errors
    /// Where the namespace has ended or may not be entered. No privilege is needed for the current one.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        let mut result = None;
        let slot = &mut result;
        let visited = visitor::visit(Box::new(move || {
            let moved = self.move_this_thread();
            let has_moved = matches!(moved, Ok(true));
            *slot = Some(match moved {
                Ok(_) => catch_unwind(AssertUnwindSafe(work)).map(Ok),
                Err(error) => Ok(Err(error)),
            });
            has_moved
        }));
        let missing = |source| Error::Thread {
            name: self.name.clone(),
            source,
        };
        visited.map_err(missing)?;
        match result {
            Some(Ok(result)) => result,
            Some(Err(panic)) => resume_unwind(panic),
            None => Err(missing(io::Error::other("it ended too soon"))),
        }
    }

    /// Opens its file, unless it has ended.
    pub(super) fn file(&self) -> Result<File, Error> {
        let name = || self.name.clone();
        let file = open(&self.path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::Ended { name: name() },
            _ => Error::Unreadable {
                name: name(),
                path: self.path.clone(),
                source,
            },
        })?;
        // A path may by now lead to another namespace: a new one of that name, another process of that id.
        if inode_of_netns(&file).ok().flatten() != Some(self.inode) {
            return Err(Error::Ended { name: name() });
        }
        Ok(file)
    }

    /// What tells it from an earlier or later one with the same inode, see [`event::Namespace::cookie`]; 0 where the
    /// kernel does not tell, and where it has ended.
    #[must_use]
    pub fn cookie(&self) -> u64 {
        self.enter(netlink::namespace_cookie).unwrap_or_default()
    }

    /// The same, by a process that lives in it: a name that is taken away ends no namespace in which somebody lives.
    /// `cookie` is what it had. `None` where none is found, or it cannot be told from another one.
    pub fn by_process(&self, cookie: u64) -> Option<Self> {
        if cookie == 0 {
            return None;
        }
        let is_there = |one: &Self| {
            fs::metadata(&one.path).is_ok_and(|metadata| metadata.ino() == u64::from(self.inode))
        };
        let at = |pid| Self {
            path: PathBuf::from(format!("/proc/{pid}/ns/net")),
            pid: Some(pid),
            ..self.clone()
        };
        // Each may end at any time.
        let mut all = super::owners::pids().into_iter().map(at);
        all.find(|one| is_there(one) && one.cookie() == cookie)
    }

    /// It is found no more: as far as can be seen it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.file(), Err(Error::Ended { .. }))
    }

    /// Returns whether that is another namespace than before.
    fn move_this_thread(&self) -> Result<bool, Error> {
        if fs::metadata("/proc/thread-self/ns/net").is_ok_and(|here| here.ino() == u64::from(self.inode)) {
            return Ok(false);
        }
        let file = self.file()?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .map(|()| true)
            .map_err(|errno| Error::Enter {
                name: self.name.clone(),
                source: errno.into(),
            })
    }

    fn at(name: String, path: PathBuf) -> Result<Self, Error> {
        let file = match open(&path) {
            Ok(file) => file,
            Err(error) => {
                return Err(match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::Missing { name, path },
                    _ => Error::Unreadable {
                        name,
                        path,
                        source: error,
                    },
                });
            }
        };
        match inode_of_netns(&file) {
            Ok(Some(inode)) => Ok(Self {
                inode,
                name,
                path,
                pid: None,
            }),
            Ok(None) => Err(Error::NotNetns { name, path }),
            Err(source) => Err(Error::Unreadable { name, path, source }),
        }
    }
}

impl From<&Netns> for event::Namespace {
    fn from(netns: &Netns) -> Self {
        Self {
            inode: netns.inode,
            name: netns.name.clone(),
            ..Self::default()
        }
    }
}

/// The names that `ip netns list` shows, sorted.
fn names() -> Vec<String> {
    // No folder: nobody has named one yet.
    let Ok(folder) = fs::read_dir(NAMES) else {
        return Vec::new();
    };
    let mut names: Vec<String> = folder
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// Opens without waiting, which a named pipe would make us do.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}

/// The inode of an open network namespace, `None` where the file is something else.
fn inode_of_netns(file: &File) -> io::Result<Option<u32>> {
    /// `_IO(0xb7, 3)`: the `CLONE_NEW*` flag of a namespace file (include/uapi/linux/nsfs.h), since 4.11.
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    if rustix::fs::fstatfs(file)?.f_type != libc::NSFS_MAGIC {
        return Ok(None);
    }
    // SAFETY: the request takes no argument, so no memory is touched; that it means something else to
    // another kind of file is ruled out above.
    let kind = unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_NSTYPE) };
    if kind != libc::CLONE_NEWNET {
        return Ok(None);
    }
    Ok(u32::try_from(file.metadata()?.ino()).ok())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn current_is_entered_without_privilege() {
        let here = Netns::current().unwrap();
        assert!(here.is_current());
        let inside = here
            .enter(|| fs::metadata("/proc/thread-self/ns/net").unwrap().ino())
            .unwrap();
        assert_eq!(inside, u64::from(here.inode()));
    }

    #[test]
    fn current_is_found_by_path_and_comes_first_of_all() {
        let here = Netns::current().unwrap();
        let path = format!("/proc/{}/ns/net", std::process::id());
        let by_path = Netns::open(&path).unwrap();
        assert_eq!((by_path.inode(), by_path.name()), (here.inode(), path.as_str()));
        let all = Netns::all().unwrap();
        assert_eq!(all.namespaces[0], here);
        let inodes: HashSet<u32> = all.namespaces.iter().map(Netns::inode).collect();
        assert_eq!(inodes.len(), all.namespaces.len(), "each namespace once");
    }

    #[test]
    fn a_missing_name_is_told_from_a_wrong_file() {
        let missing = Netns::open("no-such-namespace").unwrap_err();
        assert!(matches!(missing, Error::Missing { .. }));
        assert_eq!(
            missing.to_string(),
            "network namespace `no-such-namespace` is not there: no file /run/netns/no-such-namespace; \
             `ip netns list` shows the names"
        );
        assert!(matches!(
            Netns::open("/proc/self/nothing"),
            Err(Error::Missing { .. })
        ));
        for other in [
            "/dev/null",
            "/proc/self/status",
            "/tmp/",
            "/proc/self/ns/mnt",
            "/proc/self/ns/uts",
        ] {
            let error = Netns::open(other).unwrap_err();
            assert!(matches!(error, Error::NotNetns { .. }), "{other}: {error}");
            assert!(!error.to_string().contains('\n'));
        }
    }

    #[test]
    fn what_cannot_be_looked_at_is_told() {
        let all = |unreadable| All {
            namespaces: Vec::new(),
            unreadable,
        };
        assert_eq!(all(0).capability().state, CapabilityState::Available);
        assert_eq!(all(1).capability().state, CapabilityState::Partial);
        assert_eq!(all(1).capability(), all(7).capability(), "it is told once");
    }

    #[test]
    fn a_panic_inside_reaches_the_caller() {
        let here = Netns::current().unwrap();
        let panic = std::panic::catch_unwind(|| here.enter(|| panic!("inside"))).unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"inside"));
    }
}
