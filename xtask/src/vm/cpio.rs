//! Writing an initramfs: a cpio archive in the format `newc` (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::{collections::BTreeMap, path::Path};

use anyhow::{Result, bail};

/// `S_IFDIR` and `S_IFREG` (inode(7)).
const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;

/// Files and folders, all of them root's.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    /// By path, so that a folder comes before what is in it.
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    mode: u32,
    content: Vec<u8>,
}

impl Archive {
    /// Adds a folder and those that it is in.
    pub(crate) fn folder(&mut self, path: &Path) -> Result<()> {
        let Some(name) = name(path)? else {
            return Ok(());
        };
        if let Some(parent) = path.parent() {
            self.folder(parent)?;
        }
        self.entries.entry(name).or_insert(Entry {
            mode: FOLDER | 0o755,
            content: Vec::new(),
        });
        Ok(())
    }

    /// Adds a file that can be run, and the folders that it is in.
    pub(crate) fn file(&mut self, path: &Path, content: Vec<u8>) -> Result<()> {
        let Some(name) = name(path)? else {
            bail!("a file needs a name");
        };
        if let Some(parent) = path.parent() {
            self.folder(parent)?;
        }
        let mode = FILE | 0o755;
        self.entries.insert(name, Entry { mode, content });
        Ok(())
    }

    /// The archive as bytes.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for (number, (name, entry)) in (1..).zip(&self.entries) {
            append(&mut bytes, number, name, entry)?;
        }
        let end = Entry {
            mode: 0,
            content: Vec::new(),
        };
        append(&mut bytes, 0, "TRAILER!!!", &end)?;
        Ok(bytes)
    }
}

/// A path as the archive has it: without the first slash. None for the root itself.
fn name(path: &Path) -> Result<Option<String>> {
    let Some(text) = path.to_str() else {
        bail!("{}: is no text", path.display());
    };
    let text = text.trim_matches('/');
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

fn append(bytes: &mut Vec<u8>, number: u32, name: &str, entry: &Entry) -> Result<()> {
    let (size, name_size) = (
        u32::try_from(entry.content.len())?,
        u32::try_from(name.len() + 1)?,
    );
    // Inode, mode, user, group, links, time, size, four numbers of devices, size of the name, check sum.
    let members = [number, entry.mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
    bytes.extend(b"070701");
    for member in members {
        bytes.extend(format!("{member:08X}").bytes());
    }
    bytes.extend(name.bytes());
    bytes.push(0);
    pad(bytes);
    bytes.extend(&entry.content);
    pad(bytes);
    Ok(())
}

/// Name and content begin at multiples of 4.
fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(entry: &[u8]) -> Vec<u32> {
        let member = |bytes: &[u8]| u32::from_str_radix(std::str::from_utf8(bytes).unwrap(), 16).unwrap();
        entry[6..110].chunks(8).map(member).collect()
    }

    #[test]
    fn an_archive_holds_folders_before_their_files() {
        let mut archive = Archive::default();
        archive.file(Path::new("/a/b/file"), b"12345".to_vec()).unwrap();
        archive.folder(Path::new("/a")).unwrap();
        let bytes = archive.bytes().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let mut at = 0;
        let mut seen = Vec::new();
        while at < bytes.len() {
            assert_eq!(&bytes[at..at + 6], b"070701");
            let members = members(&bytes[at..]);
            let (size, name_size) = (members[6] as usize, members[11] as usize);
            let name = std::str::from_utf8(&bytes[at + 110..at + 110 + name_size - 1]).unwrap();
            let content = (at + 110 + name_size).next_multiple_of(4);
            seen.push((name, members[1], &bytes[content..content + size]));
            at = (content + size).next_multiple_of(4);
        }
        let none: &[u8] = &[];
        assert_eq!(
            seen,
            [
                ("a", 0o040_755, none),
                ("a/b", 0o040_755, none),
                ("a/b/file", 0o100_755, b"12345"),
                ("TRAILER!!!", 0, none)
            ]
        );
    }

    #[test]
    fn a_file_has_a_name() {
        assert!(Archive::default().file(Path::new("/"), Vec::new()).is_err());
    }
}
