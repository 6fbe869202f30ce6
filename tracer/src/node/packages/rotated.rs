//! The end of a log, through its rotations: also of those that logrotate has compressed with gzip.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::files;

/// Rotated files of a log that are read at most: logrotate keeps twelve of those of dpkg and apt, a year.
const MOST_FILES: usize = 12;
/// Bytes that are unpacked of one log at most: a year of it has a few MiB.
const MOST_UNPACKED: u64 = 64 << 20;
/// Entries of a folder that are looked at, at most.
const MOST_ENTRIES: usize = 10_000;
/// How files end that are compressed in another way.
const NOT_READ: [&str; 4] = ["bz2", "lz4", "xz", "zst"];

/// What could be read of a log.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tail {
    /// Whole lines, the oldest first.
    pub(super) text: String,
    /// What could not be read, and why. What is older than that is missing, too.
    pub(super) problem: Option<String>,
}

/// The end of a log, at most so many bytes, with as much as there is room for of what it was before its rotations. Empty where
/// there is no log.
pub(super) fn end_of_log(log: &Path, most: u64) -> Tail {
    let mut tail = Tail::default();
    let mut unpacked = MOST_UNPACKED;
    let newest = Some(log.to_owned());
    for path in newest.into_iter().chain(older(log)) {
        let room = most.saturating_sub(tail.text.len() as u64);
        if room == 0 {
            break;
        }
        match end_of(&path, room, &mut unpacked) {
            Ok((text, is_cut)) => {
                tail.text.insert_str(0, &text);
                if is_cut {
                    break;
                }
            }
            Err(error) => {
                tail.problem = Some(files::unreadable(&path, &error));
                break;
            }
        }
    }
    tail
}

/// What a log was before its rotations, the newest first: `dpkg.log.1`, `dpkg.log.2.gz`, and `dpkg.log-20231001.gz` where
/// logrotate is to name them so (`dateext`).
fn older(log: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (log.parent(), log.file_name().and_then(|name| name.to_str())) else {
        return Vec::new();
    };
    // That it cannot be read is told of what is in it.
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let names = entries
        .take(MOST_ENTRIES)
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let mut rotated: Vec<(u64, String)> = names
        .filter_map(|rotated| Some((age(rotated.strip_prefix(name)?)?, rotated)))
        .collect();
    rotated.sort_unstable();
    // While one is compressed it is there twice, and the compressed one is not whole.
    rotated.dedup_by_key(|(age, _)| *age);
    let rotated = rotated.into_iter().take(MOST_FILES);
    rotated.map(|(_, name)| folder.join(name)).collect()
}

/// What a rotated file's name says of its age: by it they are put in order. `None` where the file is another one.
fn age(suffix: &str) -> Option<u64> {
    let number = match suffix.rsplit_once('.') {
        Some((number, end)) if end == "gz" || NOT_READ.contains(&end) => number,
        _ => suffix,
    };
    let (by_date, digits) = match (number.strip_prefix('.'), number.strip_prefix('-')) {
        (Some(digits), _) => (false, digits),
        (None, digits) => (true, digits?),
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = is_number.then(|| digits.parse().ok())??;
    Some(if by_date { u64::MAX - number } else { number })
}

/// The end of one file, and whether there is more before it.
fn end_of(path: &Path, room: u64, unpacked: &mut u64) -> io::Result<(String, bool)> {
    let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
    if NOT_READ.contains(&end) {
        return Err(io::Error::other(format!(
            "it is compressed with {end}, and only gzip is unpacked"
        )));
    }
    match files::open(path)? {
        None => Ok((String::new(), false)),
        Some((file, _)) if end == "gz" => end_of_packed(file, room, unpacked),
        Some((file, mark)) => Ok((files::end_of(file, room)?, mark.size() > room)),
    }
}

/// The end of a file that is compressed: all of it must be unpacked, of which no more than twice the end is kept meanwhile.
fn end_of_packed(file: File, room: u64, unpacked: &mut u64) -> io::Result<(String, bool)> {
    // As for a file that is not compressed: one byte more tells whether a line begins there.
    let most = usize::try_from(room + 1).unwrap_or(usize::MAX);
    let mut from = MultiGzDecoder::new(file);
    let (mut kept, mut length) = (Vec::new(), 0);
    let mut part = vec![0; 64 << 10];
    loop {
        let count = match from.read(&mut part) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        *unpacked = unpacked.checked_sub(count as u64).ok_or_else(|| {
            io::Error::other(format!(
                "unpacked the log has more than {} MiB, more than any such log",
                MOST_UNPACKED >> 20
            ))
        })?;
        length += count as u64;
        kept.extend_from_slice(&part[..count]);
        if kept.len() > most.saturating_mul(2) {
            kept.drain(..kept.len() - most);
        }
    }
    kept.drain(..kept.len().saturating_sub(most));
    let is_cut = length > room;
    Ok((files::whole_lines(&kept, is_cut), is_cut))
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::super::tests::Folder;
    use super::*;

    /// As gzip makes it.
    pub(in super::super) fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// A folder with some files, and the log in it.
    fn with(files: &[(&str, &[u8])]) -> (Folder, PathBuf) {
        let folder = Folder::new();
        for (name, content) in files {
            fs::write(folder.path().join(name), content).unwrap();
        }
        let log = folder.path().join("log");
        (folder, log)
    }

    fn text(log: &Path, most: u64) -> String {
        let Tail { text, problem } = end_of_log(log, most);
        assert_eq!(problem, None);
        text
    }

    #[test]
    fn the_end_of_a_log_goes_on_before_its_rotation_and_begins_with_a_whole_line() {
        let (folder, log) = with(&[]);
        let end = |most| text(&log, most);
        assert_eq!(end(9), "");
        fs::write(folder.path().join("log.1"), "one\ntwo\n").unwrap();
        assert_eq!(end(9), "one\ntwo\n");
        fs::write(&log, b"three\nfo\xffur\n").unwrap();
        assert_eq!(end(100), "one\ntwo\nthree\nfo\u{fffd}ur\n");
        // The bytes of what is no character count as those of what stands for it.
        assert_eq!(end(18), "two\nthree\nfo\u{fffd}ur\n");
        assert_eq!(end(6), "fo\u{fffd}ur\n");
        assert_eq!(end(5), "", "no line is that short");
        fs::write(&log, "a line without end").unwrap();
        assert_eq!(end(5), "");
    }

    #[test]
    fn compressed_ones_are_read_in_their_order() {
        let (folder, log) = with(&[
            ("log", b"eleven\n"),
            ("log.1", b"ten\n"),
            ("log.2.gz", &packed(b"nine\n")),
            ("log.10.gz", &packed(b"one\n")),
            ("log.9.gz", &packed(b"two\n")),
            ("log.gz", b"no rotation of it"),
            ("log.1.gz.new", b"neither"),
            ("log.old", b"nor that"),
            ("logs.1", b"of another log"),
            ("log.99999999999999999999", b"of no age"),
        ]);
        assert_eq!(text(&log, 100), "one\ntwo\nnine\nten\neleven\n");
        // What has no room is left out from its begin, within a compressed one, too.
        assert_eq!(text(&log, 21), "two\nnine\nten\neleven\n");
        assert_eq!(text(&log, 19), "nine\nten\neleven\n");
        assert_eq!(text(&log, 16), "nine\nten\neleven\n");
        assert_eq!(text(&log, 15), "ten\neleven\n");
        fs::remove_file(log.with_file_name("log.2.gz")).unwrap();
        fs::write(folder.path().join("log-20231001"), b"dated\n").unwrap();
        fs::write(folder.path().join("log-20230901.gz"), packed(b"and older\n")).unwrap();
        assert_eq!(
            text(&log, 100),
            "and older\ndated\none\ntwo\nten\neleven\n",
            "those by number first"
        );
    }

    #[test]
    fn of_a_long_one_the_end_is_kept() {
        let long = "0123456789abcde\n".repeat(100_000);
        // Of two members, as where gzip was to append.
        let both = [packed(long.as_bytes()), packed(b"the end\n")].concat();
        let (_folder, log) = with(&[("log.1.gz", &both)]);
        let end = text(&log, 1000);
        assert_eq!(end, "0123456789abcde\n".repeat(62) + "the end\n");
    }

    #[test]
    fn what_cannot_be_unpacked_is_told_and_harms_nothing_newer() {
        let whole = packed(&b"0123456789\n".repeat(100));
        let bomb = packed(&vec![b'x'; MOST_UNPACKED as usize + 1]);
        for (content, why) in [
            (&whole[..whole.len() / 2], "log.2.gz cannot be read: "),
            (b"no such thing", "log.2.gz cannot be read: invalid gzip header"),
            (
                &bomb,
                "unpacked the log has more than 64 MiB, more than any such log",
            ),
        ] {
            let (_folder, log) = with(&[
                ("log", b"new\n"),
                ("log.1", b"older\n"),
                ("log.2.gz", content),
                ("log.3.gz", &packed(b"oldest\n")),
            ]);
            let tail = end_of_log(&log, 100);
            assert_eq!(tail.text, "older\nnew\n");
            let problem = tail.problem.unwrap();
            assert!(problem.contains(why), "{problem}");
        }
        let (_folder, log) = with(&[("log", b"new\n"), ("log.1.xz", b"")]);
        let tail = end_of_log(&log, 100);
        assert_eq!(tail.text, "new\n");
        let problem = tail.problem.unwrap();
        assert!(
            problem.ends_with("cannot be read: it is compressed with xz, and only gzip is unpacked"),
            "{problem}"
        );
    }
}
