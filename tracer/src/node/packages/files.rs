//! Files that others write: opened without waiting for anybody, and read again only when they have changed.

use std::fs::{self, File, Metadata};
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::node::regular;

/// Bytes of a file that is read whole, at most. The status of ten thousand packages has a fifth of that.
const MOST: u64 = 64 << 20;

/// What tells one content of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    device: u64,
    inode: u64,
    size: u64,
    /// Time of its last change, of its content or its inode: seconds and nanoseconds.
    changed: (i64, i64),
}

impl Mark {
    pub(super) fn of(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            size: file.len(),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }

    /// Whether both are of the same file, whatever is in it.
    pub(super) fn is_same_file(self, other: Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    pub(super) fn size(self) -> u64 {
        self.size
    }
}

/// The mark of a file, `None` where there is none.
pub(super) fn mark(path: &Path) -> io::Result<Option<Mark>> {
    match fs::metadata(path) {
        Ok(file) => Ok(Some(Mark::of(&file))),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens a regular file to read it, `None` where there is none.
pub(super) fn open(path: &Path) -> io::Result<Option<(File, Mark)>> {
    let open = || {
        let file = regular::open(path)?;
        let mark = Mark::of(&file.metadata()?);
        Ok((file, mark))
    };
    match open() {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// `/var/lib/dpkg/status cannot be read: Permission denied (os error 13)`
pub(super) fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be read: {error}", path.display())
}

/// The end of a file, from the beginning of a line on: at most so many bytes.
pub(super) fn end_of(mut file: File, most: u64) -> io::Result<String> {
    // One byte more tells whether a line begins there.
    let length = file.metadata()?.len();
    let begin = length.saturating_sub(most + 1);
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    Ok(whole_lines(&bytes, length > most))
}

/// A text, without the rest of the line that it begins within where something was cut off before it.
pub(super) fn whole_lines(bytes: &[u8], is_cut: bool) -> String {
    let begin = match is_cut {
        false => 0,
        true => bytes
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(bytes.len(), |end| end + 1),
    };
    String::from_utf8_lossy(bytes.get(begin..).unwrap_or_default()).into_owned()
}

/// A file that is read again when it has changed.
#[derive(Debug)]
pub(super) struct Fresh {
    path: PathBuf,
    /// As it was when it was read last, `None` in that where it was not there; `None` where it could not be read, or never was.
    read: Option<Option<Mark>>,
}

impl Fresh {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, read: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// It was read, as it was at the last look.
    pub(super) fn is_read(&self) -> bool {
        self.read.is_some()
    }

    /// Reads it, `None` for none, where it is another one than at the last look; `None` where it is not. What cannot be read,
    /// to its end, is tried again at the next look.
    pub(super) fn read<T>(
        &mut self,
        read: impl FnOnce(Option<File>) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        let before = self.read.take();
        if before.is_some_and(|before| mark(&self.path).is_ok_and(|now| now == before)) {
            self.read = before;
            return Ok(None);
        }
        let (file, mark) = open(&self.path)?.unzip();
        if let Some(mark) = mark.filter(|mark: &Mark| mark.size > MOST) {
            return Err(io::Error::other(format!(
                "it has {} MiB, more than any such file",
                mark.size >> 20
            )));
        }
        let is_read = read(file)?;
        self.read = Some(mark);
        Ok(Some(is_read))
    }
}

/// What is odd in a file of lines as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Odd {
    /// Its last line has no end.
    pub(super) is_torn: bool,
    /// There are bytes in it that are zero: blocks that were never written, as after a crash, or no text at all.
    pub(super) has_zeros: bool,
}

/// Hands over each line without its end; of one that is longer than `most` bytes only so many.
pub(super) fn lines(mut from: impl BufRead, most: usize, mut line: impl FnMut(&[u8])) -> io::Result<Odd> {
    let mut kept = Vec::new();
    let mut odd = Odd::default();
    loop {
        let buffer = match from.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if buffer.is_empty() {
            if odd.is_torn {
                line(&kept);
            }
            return Ok(odd);
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        odd.is_torn = end.is_none();
        odd.has_zeros |= part.contains(&0);
        let room = most.saturating_sub(kept.len());
        kept.extend_from_slice(&part[..part.len().min(room)]);
        let used = part.len() + usize::from(end.is_some());
        if end.is_some() {
            line(&kept);
            kept.clear();
        }
        from.consume(used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], most: usize) -> Vec<String> {
        let mut all = Vec::new();
        // A small buffer: lines go across its end.
        let from = io::BufReader::with_capacity(3, text);
        lines(from, most, |line| {
            all.push(String::from_utf8_lossy(line).into_owned());
        })
        .unwrap();
        all
    }

    #[test]
    fn lines_are_cut_at_the_bound_and_none_is_lost() {
        assert_eq!(read(b"", 9), [""; 0]);
        assert_eq!(read(b"one\n\ntwo", 9), ["one", "", "two"]);
        assert_eq!(read(b"abcdefgh\nij\n", 4), ["abcd", "ij"]);
        assert_eq!(read(b"a\xffb\n", 4), ["a\u{fffd}b"]);
    }

    #[test]
    fn an_end_that_is_torn_off_and_blocks_that_were_never_written_are_told() {
        let odd = |text: &[u8]| {
            let from = io::BufReader::with_capacity(3, text);
            let odd = lines(from, 4, |_| {}).unwrap();
            (odd.is_torn, odd.has_zeros)
        };
        assert_eq!(odd(b""), (false, false));
        assert_eq!(odd(b"one\ntwo\n"), (false, false));
        assert_eq!(odd(b"one\ntwo"), (true, false));
        assert_eq!(odd(b"a long line\0\nend\n"), (false, true));
    }
}
