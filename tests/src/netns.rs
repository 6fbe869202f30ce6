//! Network namespaces with a name, as `ip netns` makes and shows them.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{check, run};

/// Where the names of namespaces are kept.
const FOLDER: &str = "/run/netns";

/// The inode of a namespace's file, by which the tracer tells namespaces apart.
pub fn inode(path: impl AsRef<Path>) -> io::Result<u64> {
    fs::metadata(path).map(|file| file.ino())
}

/// A network namespace that is removed when the value is dropped.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes a namespace of that name. Needs root.
    pub fn create(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        run(Command::new("ip").args(["netns", "add", &name]), "")?;
        Ok(Self { name })
    }

    /// Makes a namespace of that name with the inode that another one had, once the kernel has taken that one away. Waits
    /// at most `patience`. Needs root.
    ///
    /// The kernel gives the lowest number that is free (`proc_alloc_inum`), to the files in a namespace's `/proc/net` as
    /// well as to the namespace: what has only one number takes those below it meanwhile.
    pub fn with_inode(name: &str, inode: u64, patience: Duration) -> Result<Self> {
        let end = Instant::now() + patience;
        while Instant::now() < end {
            let below = hold_below(inode)?;
            let netns = Self::create(name)?;
            if self::inode(netns.path())? == inode {
                return Ok(netns);
            }
            drop((below, netns));
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("no namespace gets the number {inode} after {patience:?}")
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A file that stands for it.
    pub fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }

    /// Opens the file that stands for it, for [`crate::process::bind`].
    pub fn open(&self) -> Result<File> {
        let path = self.path();
        File::open(&path).with_context(|| format!("cannot open {}", path.display()))
    }

    /// Runs `ip -n NAME ARGS`, the arguments parted by spaces.
    pub fn ip(&self, args: &str) -> Result<()> {
        run(
            Command::new("ip")
                .args(["-n", &self.name])
                .args(args.split_whitespace()),
            "",
        )
        .map(drop)
    }

    /// Runs many commands of `ip` in one go, a line each.
    pub fn ip_batch(&self, lines: &str) -> Result<()> {
        run(Command::new("ip").args(["-n", &self.name, "-batch", "-"]), lines).map(drop)
    }

    /// Runs a program in the namespace: its command line, parted by spaces; what stands between two `'` is one word.
    /// Its mounts are the caller's.
    pub fn run(&self, line: &str) -> Result<()> {
        let mut words = words(line).into_iter();
        let program = words.next().context("no program to run")?;
        self.enter(|| run(Command::new(program).args(words), "").map(drop))?
    }

    /// Runs `nft -f -` in the namespace, with these commands.
    pub fn nft(&self, commands: &str) -> Result<()> {
        self.enter(|| run(Command::new("nft").args(["-f", "-"]), commands).map(drop))?
    }

    /// Runs `work` in the namespace, on a thread of its own.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let file = self.open()?;
        let result = std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                // SAFETY: the descriptor is open, and only this thread changes its namespace.
                check(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) }).map(|()| work())
            });
            thread.join()
        });
        match result {
            Ok(result) => result.with_context(|| format!("cannot enter {}", self.name)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Sets sysctls of the namespace: pairs of a name such as `net.ipv4.ip_forward` and a value.
    pub fn set(&self, sysctls: &[(&str, &str)]) -> Result<()> {
        self.enter(|| {
            for (key, value) in sysctls {
                // The kernel answers with the namespace of the thread that opens the file.
                let path = format!("/proc/sys/{}", key.replace('.', "/"));
                fs::write(&path, value).with_context(|| format!("cannot write {value} to {path}"))?;
            }
            Ok(())
        })?
    }

    /// Waits until a device answers neighbour solicitations of IPv6: until it has the route of multicast
    /// and listens to `group`, given as 32 digits.
    ///
    /// The kernel does both some time after the device was set up and the address added, and a solicitation
    /// that comes before is repeated only a second later.
    pub fn wait_for_group(&self, device: &str, group: &str, patience: Duration) -> Result<()> {
        let end = Instant::now() + patience;
        let listens = |line: &str| line.split_whitespace().skip(1).take(2).eq([device, group]);
        let routes = |line: &str| line.starts_with("ff00") && line.split_whitespace().last() == Some(device);
        let has = |file: &str, wanted: &dyn Fn(&str) -> bool| -> io::Result<bool> {
            Ok(fs::read_to_string(Path::new("/proc/thread-self/net").join(file))?
                .lines()
                .any(wanted))
        };
        self.enter(|| {
            while !(has("igmp6", &listens)? && has("ipv6_route", &routes)?) {
                if Instant::now() > end {
                    bail!(
                        "{device} in {} does not listen to the group {group} after {patience:?}",
                        self.name
                    );
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        })?
    }

    /// A protocol counter of the namespace, by the name that `nstat` has for it: `TcpExtIPReversePathFilter`.
    pub fn counter(&self, name: &str) -> Result<u64> {
        let text = self.enter(|| -> io::Result<String> {
            let own = "/proc/thread-self/net";
            let v6 = fs::read_to_string(format!("{own}/snmp6"))?;
            let tables = [
                fs::read_to_string(format!("{own}/snmp"))?,
                fs::read_to_string(format!("{own}/netstat"))?,
            ];
            Ok(v6
                + &tables
                    .iter()
                    .map(|table| lines_of_table(table))
                    .collect::<String>())
        })??;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
        value.with_context(|| format!("this kernel has no counter {name}"))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Takes the name of a namespace away; where there is none, nothing happens. The kernel removes the
/// namespace when its last process has ended.
pub(crate) fn remove(name: &str) {
    let path = Path::new(FOLDER).join(name);
    if let Ok(text) = std::ffi::CString::new(path.as_os_str().as_bytes()) {
        // SAFETY: the pointer is to a string that ends in NUL and lives through the call.
        unsafe { libc::umount2(text.as_ptr(), libc::MNT_DETACH) };
    }
    // Nothing more can be done about a failure here, and the file alone is harmless.
    let _ = fs::remove_file(path);
}

/// Namespaces of host names that hold each number below this one, until they are dropped.
fn hold_below(number: u64) -> Result<Vec<File>> {
    let next = || -> Result<File> {
        // SAFETY: only this thread changes its namespace, and it ends soon.
        check(unsafe { libc::unshare(libc::CLONE_NEWUTS) }).context("cannot make a namespace")?;
        Ok(File::open("/proc/thread-self/ns/uts")?)
    };
    let hold = || -> Result<Vec<File>> {
        let mut held = Vec::new();
        loop {
            let file = next()?;
            if file.metadata()?.ino() >= number {
                return Ok(held);
            }
            held.push(file);
        }
    };
    std::thread::scope(|scope| scope.spawn(hold).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The words of a command line.
fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for (number, part) in line.split('\'').enumerate() {
        if number % 2 == 0 {
            words.extend(part.split_whitespace());
        } else {
            words.push(part);
        }
    }
    words
}

/// Pairs of lines `Tcp: Name Name` and `Tcp: 1 2`, as lines `TcpName 1`.
fn lines_of_table(table: &str) -> String {
    let mut lines = table.lines();
    let mut result = String::new();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let Some((prefix, names)) = names.split_once(':') else {
            continue;
        };
        let values = values.split_whitespace().skip(1);
        for (name, value) in names.split_whitespace().zip(values) {
            result.push_str(&format!("{prefix}{name} {value}\n"));
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_one_word() {
        assert_eq!(
            words("tc bytecode '1,6 0 0 4' x"),
            ["tc", "bytecode", "1,6 0 0 4", "x"]
        );
    }

    #[test]
    fn counters_are_named_as_nstat_names_them() {
        let text = "Tcp: InSegs OutSegs\nTcp: 12 34\nTcpExt: IPReversePathFilter\nTcpExt: 5\n";
        assert_eq!(
            lines_of_table(text),
            "TcpInSegs 12\nTcpOutSegs 34\nTcpExtIPReversePathFilter 5\n"
        );
    }
}
