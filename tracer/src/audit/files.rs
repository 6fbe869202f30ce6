//! Files of a node, below the folder that is its root. Only reads, and no more than a node should have.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::{
    CWD, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, major, minor, openat, openat2, readlinkat,
};

use super::units::Unit;

/// Bytes of a file that are read at most.
const MOST: u64 = 1 << 20;
/// Files that are read at most.
const FILES: usize = 20_000;
/// The numbers of /dev/null (Documentation/admin-guide/devices.txt).
const NULL: (u32, u32) = (1, 3);
/// Bytes of all files together that are read at most.
const BYTES: u64 = 64 << 20;

/// The files of a node, and what of them could not be read.
#[derive(Debug)]
pub(super) struct Files {
    root: PathBuf,
    files: usize,
    bytes: u64,
    /// What could not be read, in words.
    pub(super) unread: Vec<String>,
}

/// What a file says.
pub(super) struct Text {
    /// All of it, what is not UTF-8 replaced.
    pub(super) text: String,
    /// It may be executed.
    pub(super) executable: bool,
}

/// Which files are read, by how they begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// All.
    Any,
    /// Scripts that name what runs them: `#!`.
    Script,
    /// All but programs (ELF).
    Text,
}

impl Kind {
    fn takes(self, begin: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Script => begin.starts_with(b"#!"),
            Self::Text => !begin.starts_with(b"\x7fELF"),
        }
    }
}

impl Files {
    pub(super) fn below(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            files: 0,
            bytes: 0,
            unread: Vec::new(),
        }
    }

    /// Opens what is there. Links are followed as the node itself does: those of an image stay inside of it.
    fn open(&self, path: &str, more: OFlags) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | more;
        let root = openat(
            CWD,
            &self.root,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let path = path.trim_start_matches('/');
        Ok(if self.root == Path::new("/") {
            openat(root, path, flags, Mode::empty())?
        } else {
            openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?
        })
    }

    fn note(&mut self, path: &str, why: impl std::fmt::Display) {
        // As findings name it: below the root.
        self.tell(format!("/{}: {why}", path.trim_start_matches('/')));
    }

    /// Notes in words what could not be read, once: several may ask for the same file.
    pub(super) fn tell(&mut self, why: String) {
        if !self.unread.contains(&why) {
            self.unread.push(why);
        }
    }

    /// Notes what a unit runs, as far as it is not known where that is.
    pub(super) fn note_unknown(&mut self, name: &str, unit: &Unit) {
        for path in &unit.unknown {
            let why = "in its command was not read: what its % stands for is not known here";
            self.tell(format!("{name}: {path} {why}"));
        }
    }

    /// Notes what cannot be read: what is not there, or could not be, is no loss.
    fn failed(&mut self, path: &str, error: &io::Error) {
        let is_missing = matches!(
            error.kind(),
            ErrorKind::NotFound
                | ErrorKind::NotADirectory
                | ErrorKind::InvalidInput
                | ErrorKind::InvalidFilename
        );
        if !is_missing {
            self.note(path, error);
        }
    }

    /// Whether there is such a file or folder.
    pub(super) fn has(&self, path: &str) -> bool {
        self.open(path, OFlags::PATH).is_ok()
    }

    /// Whether that is a folder.
    pub(super) fn is_folder(&self, path: &str) -> bool {
        self.open(path, OFlags::DIRECTORY | OFlags::PATH).is_ok()
    }

    /// The names in a folder in their order; none where there is no such folder.
    pub(super) fn names(&mut self, folder: &str) -> Vec<String> {
        let entries = self
            .open(folder, OFlags::DIRECTORY)
            .and_then(|folder| Ok(Dir::new(folder)?));
        let entries = match entries {
            Ok(entries) => entries,
            Err(error) => {
                self.failed(folder, &error);
                return Vec::new();
            }
        };
        let mut names = Vec::new();
        for entry in entries {
            match entry.map(|entry| entry.file_name().to_owned().into_string()) {
                Ok(Ok(name)) if name == "." || name == ".." => {}
                Ok(Ok(name)) => names.push(name),
                // Odd signs are escaped.
                Ok(Err(error)) => self.note(
                    folder,
                    format!(
                        "its file {:?} is left out: that name is not UTF-8",
                        error.into_cstring()
                    ),
                ),
                Err(error) => {
                    self.note(folder, io::Error::from(error));
                    break;
                }
            }
        }
        names.sort();
        names
    }

    /// What a file is a link to; `None` where it is none.
    pub(super) fn link(&self, path: &str) -> Option<String> {
        let (folder, name) = path.rsplit_once('/')?;
        let folder = self.open(folder, OFlags::DIRECTORY).ok()?;
        let target = readlinkat(folder, name, Vec::new()).ok()?;
        Some(target.to_string_lossy().into_owned())
    }

    /// Whether a name in a folder is a link to /dev/null, by which systemd knows that a unit is masked.
    pub(super) fn is_masked(&self, folder: &str, name: &str) -> bool {
        self.open(folder, OFlags::DIRECTORY)
            .and_then(|folder| Ok(readlinkat(folder, name, Vec::new())?))
            .is_ok_and(|target| target.as_bytes() == b"/dev/null")
    }

    /// What a file says; `None` where there is none, or it cannot be read: then that is noted.
    pub(super) fn text(&mut self, path: &str) -> Option<String> {
        self.read(path, Kind::Any).map(|file| file.text)
    }

    /// What a file of that kind says; `None` where there is none, it is of another kind, or it cannot be read: then that is
    /// noted.
    pub(super) fn read(&mut self, path: &str, kind: Kind) -> Option<Text> {
        match self.try_read(path, kind) {
            Ok(text) => text,
            Err(error) => {
                self.failed(path, &error);
                None
            }
        }
    }

    fn try_read(&mut self, path: &str, kind: Kind) -> io::Result<Option<Text>> {
        // To open a device may do something: it is not opened before it is known to be none.
        let status = fstat(self.open(path, OFlags::PATH)?)?;
        let odd = match FileType::from_raw_mode(status.st_mode) {
            FileType::RegularFile => None,
            FileType::Fifo => Some("a FIFO"),
            FileType::Socket => Some("a socket"),
            // A link to /dev/null is how a unit is masked.
            FileType::CharacterDevice if (major(status.st_rdev), minor(status.st_rdev)) != NULL => {
                Some("a device")
            }
            FileType::BlockDevice => Some("a device"),
            _ => return Ok(None),
        };
        match odd {
            // A command line may name anything: only what stands for a file of the configuration has to be one.
            Some(odd) if kind == Kind::Any => {
                return Err(io::Error::other(format!("it is {odd}, no file: it was not read")));
            }
            Some(_) => return Ok(None),
            None => {}
        }
        let mut file = File::from(self.open(path, OFlags::empty())?);
        let mut bytes = Vec::new();
        file.by_ref().take(4).read_to_end(&mut bytes)?;
        if !kind.takes(&bytes) {
            return Ok(None);
        }
        if self.files >= FILES || self.bytes >= BYTES {
            return Err(io::Error::other("too many files: it was not read"));
        }
        self.files += 1;
        let read = file.by_ref().take(MOST).read_to_end(&mut bytes)?;
        self.bytes += read as u64;
        if file.read(&mut [0])? > 0 {
            self.note(path, format!("only its first {} KiB were read", MOST >> 10));
        }
        Ok(Some(Text {
            text: String::from_utf8_lossy(&bytes).into_owned(),
            executable: status.st_mode & 0o111 != 0,
        }))
    }
}
