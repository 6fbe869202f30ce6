//! The name servers that this node asks (`/etc/resolv.conf`).

use std::fs;
use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::WatchFlags;

use super::super::inotify::{Inotify, Unwatched};
use super::known::Change;
use crate::event::Thing;
use crate::event::value::{NAME_SERVERS, NO_NAME_SERVERS};
use crate::node::regular;

/// Links that are followed from one to the next, at most (`MAXSYMLINKS` of the kernel is 40).
const LINKS: usize = 8;
/// What is read of the file, in bytes.
const ROOM: u64 = 64 * 1024;
/// Servers that the C library asks (`MAXNS`).
const SERVERS: usize = 3;
/// Words of a line that are told, at most.
const WORDS: usize = 8;

/// What happens to files in a folder.
const FILES: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE);
/// What comes into a folder above it, which may be that folder made anew.
const FOLDERS: WatchFlags = WatchFlags::CREATE.union(WatchFlags::MOVED_TO);

/// Watches the file, and what it links to.
#[derive(Debug)]
pub(super) struct Resolver {
    path: PathBuf,
    watch: Inotify,
    unwatched: Option<Unwatched>,
    /// Which file it was.
    file: Option<(u64, u64)>,
    value: Option<String>,
}

impl Resolver {
    pub(super) fn new(path: &str) -> Self {
        Self {
            path: PathBuf::from(path),
            watch: Inotify::new(),
            unwatched: None,
            file: None,
            value: None,
        }
    }

    /// Readable when one of its folders has changed.
    pub(super) fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.fd()
    }

    /// Whether something has happened in the folders since the last time.
    pub(super) fn has_news(&self) -> bool {
        self.watch.drain()
    }

    /// Why it must be looked at though nothing has happened: not all that it leads by could be watched at the last look.
    pub(super) fn unwatched(&self) -> Option<String> {
        let why = self.unwatched.as_ref()?;
        Some(format!("Of {} {why}.", self.path.display()))
    }

    /// Another file is there than at the last look. Of one that is mounted over it nothing happens in its folder.
    pub(super) fn is_another(&self) -> bool {
        which(&self.path) != self.file
    }

    /// Reads the file, and tells whether it is another one than the last time.
    pub(super) fn change(&mut self) -> Option<Change> {
        // Before it is read: what changes meanwhile is news.
        self.unwatched = self.follow().err();
        self.file = which(&self.path);
        let value = read(&self.path);
        if value == self.value {
            return None;
        }
        self.value.clone_from(&value);
        let path = self.path.display().to_string();
        Some((Thing::File { path }, value))
    }

    /// Watches the folders of the file and of all that it links to. Only where one of them changes is it read again.
    fn follow(&self) -> Result<(), Unwatched> {
        let mut path = self.path.clone();
        for _ in 0..LINKS {
            let folder = path.parent().unwrap_or(Path::new("/")).to_owned();
            self.watch_folder(&folder)?;
            match fs::read_link(&path) {
                Ok(target) => path = folder.join(target),
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Watches a folder, and those above it: from above, so that one which comes meanwhile is either seen to come or watched.
    fn watch_folder(&self, folder: &Path) -> Result<(), Unwatched> {
        let all: Vec<&Path> = folder.ancestors().collect();
        for place in all.into_iter().rev() {
            let flags = if place == folder { FILES } else { FOLDERS };
            // One of them may be above another link of the same file.
            let flags = flags | WatchFlags::MASK_ADD;
            if !self.watch.add(place, flags)? {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The file that a path leads to, by its device and its number there; `None` where there is none.
fn which(path: &Path) -> Option<(u64, u64)> {
    let file = fs::metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

/// `nameservers 10.0.0.53 10.0.1.53, search example.org`, or why the file cannot be read; `None` where it is not there, and is not
/// even a link to something that is not.
fn read(path: &Path) -> Option<String> {
    let text = || {
        let mut bytes = Vec::new();
        regular::open(path)?.take(ROOM).read_to_end(&mut bytes)?;
        Ok::<_, io::Error>(bytes)
    };
    match text() {
        Ok(bytes) => Some(value(&String::from_utf8_lossy(&bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let target = fs::read_link(path).ok()?;
            Some(format!("a link to {}, which is not there", target.display()))
        }
        Err(error) => Some(format!("cannot be read: {error}")),
    }
}

/// As the C library reads it (glibc, resolv/res_init.c, res_vinit_1): a word counts at the beginning of its line.
fn value(text: &str) -> String {
    let words = |line: &str, word: &str| {
        let rest = line.strip_prefix(word)?.strip_prefix([' ', '\t'])?;
        let words: Vec<&str> = rest
            .split([' ', '\t'])
            .filter(|word| !word.is_empty())
            .take(WORDS)
            .collect();
        (!words.is_empty()).then(|| words.join(" "))
    };
    let after = |word: &'static str| text.split('\n').filter_map(move |line| words(line, word));
    let server = |line: String| {
        let address = line.split(' ').next()?;
        if let Some(address) = ipv4(address) {
            return Some(address.to_string());
        }
        // Those of a link alone have its device behind them.
        let bare = address.split_once('%').map_or(address, |(bare, _)| bare);
        bare.parse::<Ipv6Addr>().is_ok().then(|| address.to_owned())
    };
    let servers: Vec<String> = after("nameserver").filter_map(server).take(SERVERS).collect();
    let mut parts = vec![if servers.is_empty() {
        NO_NAME_SERVERS.to_owned()
    } else {
        format!("{NAME_SERVERS} {}", servers.join(" "))
    }];
    // The last one of both counts, and of `domain` one word.
    let mut search = text.split('\n').filter_map(|line| {
        let domain = || Some(words(line, "domain")?.split(' ').next()?.to_owned());
        words(line, "search").or_else(domain)
    });
    parts.extend(search.next_back().map(|search| format!("search {search}")));
    // Each counts.
    let options: Vec<String> = after("options").take(WORDS).collect();
    if !options.is_empty() {
        parts.push(format!("options {}", options.join(" ")));
    }
    parts.join(", ")
}

/// An address as inet_aton(3) takes it: of one to four numbers, of which the last one fills what is left, and each of which is octal
/// where it begins with 0, and hexadecimal with 0x. So `10.1` is 10.0.0.1 and `010.0.0.1` 8.0.0.1.
fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let number = |part: &str| {
        let hexadecimal = part.strip_prefix("0x").or_else(|| part.strip_prefix("0X"));
        let (digits, radix) = match (hexadecimal, part.strip_prefix('0')) {
            (Some(digits), _) => (digits, 16),
            (None, Some(digits)) if !digits.is_empty() => (digits, 8),
            _ => (part, 10),
        };
        // A sign is none of the digits.
        let are_digits = digits.chars().all(|digit| digit.is_digit(radix));
        u32::from_str_radix(digits, radix).ok().filter(|_| are_digits)
    };
    let parts: Vec<&str> = text.split('.').collect();
    let (last, first) = parts.split_last()?;
    let mut address = 0;
    for (place, part) in first.iter().enumerate() {
        let byte = number(part).filter(|_| place < 3)?;
        address |= u32::from(u8::try_from(byte).ok()?) << (24 - 8 * place);
    }
    let last = number(last)?;
    let room = u32::MAX.checked_shr(8 * u32::try_from(first.len()).ok()?)?;
    (last <= room).then(|| Ipv4Addr::from(address | last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_of_the_file_is_told() {
        let text = "# nameserver 9.9.9.9\nnameserver 10.0.0.53\n nameserver 9.9.9.8\nnameserver\t10.0.1.53 # second\n\
                    nameservers 9.9.9.7\nnameserver bogus\nnameserver 9.9.9.5%eth0\nnameserver fe80::1%eth0\nnameserver 9.9.9.6\n";
        assert_eq!(
            value("nameserver 10.0.0.53\nsearch a\nsearch b c\noptions edns0\n"),
            "nameservers 10.0.0.53, search b c, options edns0"
        );
        assert_eq!(
            value("search a b\noptions edns0\ndomain c d\noptions  trust-ad timeout:1\ndomain\n"),
            "no nameservers, search c, options edns0 trust-ad timeout:1"
        );
        assert_eq!(value("domain c\nsearch a b\n"), "no nameservers, search a b");
        assert_eq!(value(text), "nameservers 10.0.0.53 10.0.1.53 fe80::1%eth0");
        assert_eq!(value(""), "no nameservers");
        assert_eq!(
            value("nameserver 10.0.0.53\r\n"),
            "no nameservers",
            "to the C library it is no address"
        );
        assert_eq!(value("nameserver\n\0\u{fffd}"), "no nameservers");
    }

    /// The answers are those of inet_aton(3) of glibc.
    #[test]
    fn addresses_are_read_as_the_c_library_reads_them() {
        for (text, expected) in [
            ("10.0.0.53", Some("10.0.0.53")),
            ("10.1", Some("10.0.0.1")),
            ("10.1.2", Some("10.1.0.2")),
            ("10.1.258", Some("10.1.1.2")),
            ("010.0.0.1", Some("8.0.0.1")),
            ("0x0a.0.0.0X35", Some("10.0.0.53")),
            ("167772213", Some("10.0.0.53")),
            ("0", Some("0.0.0.0")),
            ("00.0.0.01", Some("0.0.0.1")),
            ("4294967296", None),
            ("10.16777216", None),
            ("256.1", None),
            ("10.0.0.256", None),
            ("08.0.0.1", None),
            ("0x.1", None),
            ("+1", None),
            ("0+1", None),
            ("10..1", None),
            ("10.1.", None),
            ("1.2.3.4.5", None),
            ("", None),
            ("a", None),
        ] {
            let read = ipv4(text).map(|address| address.to_string());
            assert_eq!(read.as_deref(), expected, "{text}");
        }
        assert_eq!(
            value("nameserver 10.1\nnameserver 010.0.0.1\n"),
            "nameservers 10.0.0.1 8.0.0.1"
        );
    }

    /// A pipe would make its reader wait for ever.
    #[test]
    fn what_is_no_file_or_cannot_be_read_is_told_as_that() {
        let folder = std::env::temp_dir().join(format!("tracer-resolver-odd-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let pipe = folder.join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        let circle = folder.join("circle");
        std::os::unix::fs::symlink(&circle, &circle).unwrap();
        let told = |path: &Path| read(path).unwrap_or_default();
        assert_eq!(told(&pipe), "cannot be read: it is no regular file");
        assert_eq!(told(&folder), "cannot be read: it is no regular file");
        assert!(told(&circle).starts_with("cannot be read: Too many levels of symbolic links"));
        assert_eq!(read(&folder.join("none")), None);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_file_that_is_linked_to_is_watched_too() {
        let folder = std::env::temp_dir().join(format!("tracer-resolver-{}", std::process::id()));
        fs::create_dir_all(folder.join("run")).unwrap();
        let (link, target) = (folder.join("resolv.conf"), folder.join("run/stub.conf"));
        fs::write(&target, "nameserver 10.0.0.1\n").unwrap();
        std::os::unix::fs::symlink("run/stub.conf", &link).unwrap();
        let mut resolver = Resolver::new(link.to_str().unwrap());
        assert_eq!(
            resolver.change().unwrap().1.as_deref(),
            Some("nameservers 10.0.0.1")
        );
        assert_eq!(resolver.unwatched(), None);
        resolver.has_news();
        assert_eq!(resolver.change(), None);
        fs::write(folder.join("run/new"), "nameserver 10.0.0.2\n").unwrap();
        assert!(!resolver.is_another());
        fs::rename(folder.join("run/new"), &target).unwrap();
        assert!(resolver.has_news() && resolver.is_another());
        assert_eq!(
            resolver.change().unwrap().1.as_deref(),
            Some("nameservers 10.0.0.2")
        );
        assert!(!resolver.is_another());
        fs::remove_file(&link).unwrap();
        assert!(resolver.has_news());
        assert_eq!(resolver.change().unwrap().1, None);
        fs::remove_dir_all(&folder).unwrap();
    }

    /// As `systemctl restart systemd-resolved` does with /run/systemd/resolve. Each step is the one that wakes.
    #[test]
    fn a_folder_that_is_removed_and_made_anew_is_watched_again() {
        let folder = std::env::temp_dir().join(format!("tracer-resolver-anew-{}", std::process::id()));
        let (run, link) = (folder.join("run/resolve"), folder.join("etc/resolv.conf"));
        fs::create_dir_all(&run).unwrap();
        fs::create_dir(folder.join("etc")).unwrap();
        fs::write(run.join("stub.conf"), "nameserver 10.0.0.1\n").unwrap();
        std::os::unix::fs::symlink("../run/resolve/stub.conf", &link).unwrap();
        let mut resolver = Resolver::new(link.to_str().unwrap());
        let told = |resolver: &mut Resolver| {
            assert!(resolver.has_news());
            resolver.change().map(|(_, value)| value)
        };
        assert!(resolver.change().is_some());
        fs::remove_dir_all(folder.join("run")).unwrap();
        let dangles = "a link to ../run/resolve/stub.conf, which is not there";
        assert_eq!(told(&mut resolver), Some(Some(dangles.to_owned())));
        resolver.has_news();
        fs::create_dir_all(&run).unwrap();
        assert_eq!(told(&mut resolver), None, "there is no file as yet");
        for server in ["10.0.0.2", "10.0.0.3"] {
            fs::write(run.join("stub.conf"), format!("nameserver {server}\n")).unwrap();
            assert_eq!(told(&mut resolver), Some(Some(format!("nameservers {server}"))));
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn that_it_cannot_be_watched_is_told() {
        let folder = std::env::temp_dir().join(format!("tracer-resolver-circle-{}", std::process::id()));
        std::os::unix::fs::symlink(&folder, &folder).unwrap();
        let mut resolver = Resolver::new(folder.join("resolv.conf").to_str().unwrap());
        resolver.change();
        let why = resolver.unwatched().unwrap_or_default();
        fs::remove_file(&folder).unwrap();
        assert!(
            why.starts_with("Of /") && why.contains("noticed up to 1 s late"),
            "{why}"
        );
        resolver.change();
        assert_eq!(resolver.unwatched(), None, "it is mended");
    }
}
