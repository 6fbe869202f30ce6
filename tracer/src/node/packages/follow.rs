//! Follows a log: what is added to it, through its rotation and truncation, and from when it appears.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::files::{self, Mark};

/// Bytes before the end of a log that are read at the start.
const TAIL: u64 = 64 << 10;
/// Bytes that are read at one look, at most; the rest is read at the next.
const AT_ONCE: u64 = 4 << 20;
/// Bytes of a line that count.
const LINE: usize = 4096;

/// A log that is followed.
#[derive(Debug)]
pub(super) struct Follow {
    path: PathBuf,
    /// It is kept open: who has it open, too, writes to it even after it was renamed.
    open: Option<(File, Mark)>,
    /// How far it has been read.
    offset: u64,
    /// How far those were read whose place it has taken: positions go on from one to the next.
    before: u64,
    /// How many of them there were.
    turns: u64,
    /// The begin of a line whose end has not come yet.
    torn: Vec<u8>,
    /// The rest of this line does not count: reading began within it, or it is too long.
    skips: bool,
}

impl Follow {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            open: None,
            offset: 0,
            before: 0,
            turns: 0,
            torn: Vec::new(),
            skips: false,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How many times another log took the place of the one that was read.
    pub(super) fn turns(&self) -> u64 {
        self.turns
    }

    /// The position of its end: what is added from now on is behind it.
    pub(super) fn end(&mut self) -> io::Result<u64> {
        if self.open.is_none()
            && let Some((file, mark)) = files::open(&self.path)?
        {
            self.open = Some((file, mark));
        }
        let length = match &self.open {
            Some((file, _)) => file.metadata()?.len(),
            None => 0,
        };
        Ok(self.before.saturating_add(length))
    }

    /// What tells the log that is read from other files.
    pub(super) fn mark(&self) -> Option<Mark> {
        self.open.as_ref().map(|(_, mark)| *mark)
    }

    /// Hands over the last lines that stand there at the start, each with the position of its end.
    pub(super) fn begin(&mut self, line: &mut dyn FnMut(&str, u64)) -> io::Result<()> {
        if let Some((file, mark)) = files::open(&self.path)? {
            let size = mark.size();
            self.opened(file, mark);
            self.offset = size.saturating_sub(TAIL);
            self.skips = self.offset > 0;
        }
        self.look(line)
    }

    /// Hands over the lines that were added since.
    pub(super) fn look(&mut self, line: &mut dyn FnMut(&str, u64)) -> io::Result<()> {
        self.read(line)?;
        // An empty one in its place is no reason to leave the old one: who writes may do so for a while.
        let Some(now) = files::mark(&self.path)?.filter(|mark| mark.size() > 0) else {
            return Ok(());
        };
        if self.open.as_ref().is_some_and(|(_, mark)| mark.is_same_file(now)) {
            return Ok(());
        }
        if let Some((file, mark)) = files::open(&self.path)? {
            self.opened(file, mark);
            self.read(line)?;
        }
        Ok(())
    }

    fn opened(&mut self, file: File, mark: Mark) {
        let old = self.open.replace((file, mark));
        // The first that comes takes nobody's place.
        if old.is_some_and(|(_, old)| !old.is_same_file(mark)) {
            self.turns += 1;
        }
        self.restart();
    }

    fn restart(&mut self) {
        self.before += self.offset;
        self.offset = 0;
        self.torn.clear();
        self.skips = false;
    }

    fn read(&mut self, line: &mut dyn FnMut(&str, u64)) -> io::Result<()> {
        let Some((file, _)) = &self.open else {
            return Ok(());
        };
        // It was cut down, to be written anew.
        let is_cut = file.metadata()?.len() < self.offset;
        if is_cut {
            self.turns += 1;
            self.restart();
        }
        let Some((file, _)) = &mut self.open else {
            return Ok(());
        };
        file.seek(SeekFrom::Start(self.offset))?;
        let mut buffer = vec![0; 16 << 10];
        let mut left = AT_ONCE;
        while left > 0 {
            let count = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let mut end = self.before + self.offset;
            self.offset += count as u64;
            left = left.saturating_sub(count as u64);
            for part in buffer[..count].split_inclusive(|byte| *byte == b'\n') {
                let (text, is_whole) = match part.strip_suffix(b"\n") {
                    Some(text) => (text, true),
                    None => (part, false),
                };
                end += part.len() as u64;
                self.skips |= self.torn.len() + text.len() > LINE;
                if !self.skips {
                    self.torn.extend_from_slice(text);
                }
                if is_whole {
                    if !self.skips {
                        line(&String::from_utf8_lossy(&self.torn), end);
                    }
                    self.torn.clear();
                    self.skips = false;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::super::tests::Folder;
    use super::*;

    fn look(follow: &mut Follow) -> Vec<String> {
        let mut lines = Vec::new();
        follow.look(&mut |line, _| lines.push(line.to_owned())).unwrap();
        lines
    }

    fn begin(path: &Path) -> (Follow, Vec<String>) {
        let mut follow = Follow::new(path.to_owned());
        let mut lines = Vec::new();
        follow.begin(&mut |line, _| lines.push(line.to_owned())).unwrap();
        (follow, lines)
    }

    fn append(file: &mut File, text: &[u8]) {
        file.write_all(text).unwrap();
    }

    #[test]
    fn a_log_that_comes_later_is_read_from_its_begin() {
        let folder = Folder::new();
        let path = folder.path().join("log");
        let (mut follow, lines) = begin(&path);
        assert_eq!(lines, [""; 0]);
        let mut log = File::create(&path).unwrap();
        append(&mut log, b"one\ntw");
        assert_eq!(look(&mut follow), ["one"]);
        append(&mut log, b"o\nthr\xffee\n");
        assert_eq!(look(&mut follow), ["two", "thr\u{fffd}ee"]);
        assert_eq!(look(&mut follow), [""; 0]);
    }

    #[test]
    fn what_goes_to_the_old_file_after_its_rotation_is_read() {
        let folder = Folder::new();
        let path = folder.path().join("log");
        let mut old = File::create(&path).unwrap();
        append(&mut old, b"one\n");
        let (mut follow, lines) = begin(&path);
        assert_eq!(lines, ["one"]);
        fs::rename(&path, folder.path().join("log.1")).unwrap();
        append(&mut old, b"two\n");
        assert_eq!(look(&mut follow), ["two"]);
        let mut new = File::create(&path).unwrap();
        append(&mut old, b"three\n");
        assert_eq!(look(&mut follow), ["three"]);
        append(&mut old, b"four\n");
        append(&mut new, b"five\n");
        assert_eq!(look(&mut follow), ["four", "five"]);
    }

    #[test]
    fn a_log_that_is_cut_down_is_read_anew() {
        let folder = Folder::new();
        let path = folder.path().join("log");
        fs::write(&path, "a long line\nhalf").unwrap();
        let (mut follow, _) = begin(&path);
        fs::write(&path, "new\n").unwrap();
        assert_eq!(look(&mut follow), ["new"]);
    }

    #[test]
    fn only_the_end_of_a_long_log_is_read_at_the_start() {
        let folder = Folder::new();
        let path = folder.path().join("log");
        let line = "0123456789abcdef\n";
        fs::write(&path, line.repeat(10_000)).unwrap();
        let (_, lines) = begin(&path);
        assert!(lines.len() <= TAIL as usize / line.len(), "{}", lines.len());
        assert!(lines.iter().all(|one| one == line.trim()));
    }

    #[test]
    fn a_line_without_end_takes_no_room() {
        let folder = Folder::new();
        let path = folder.path().join("log");
        let mut log = File::create(&path).unwrap();
        let (mut follow, _) = begin(&path);
        append(&mut log, &vec![b'x'; 1 << 20]);
        assert_eq!(look(&mut follow), [""; 0]);
        assert!(follow.torn.capacity() <= 2 * LINE);
        append(&mut log, b"x\nafter\n");
        assert_eq!(look(&mut follow), ["after"]);
    }

    #[test]
    fn a_pipe_in_its_place_is_refused() {
        let folder = Folder::new();
        let mut follow = Follow::new(folder.pipe("log"));
        let error = follow.begin(&mut |_, _| {}).unwrap_err();
        assert_eq!(error.to_string(), "it is no regular file");
    }
}
