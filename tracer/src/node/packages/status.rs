//! The packages that dpkg knows: `/var/lib/dpkg/status`, and what it has noted since in `/var/lib/dpkg/updates`.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use super::files;
use crate::event::Unfinished;

/// Packages at most: all that Debian has, on all its architectures, is not installed on one node.
const MOST: usize = 200_000;
/// Bytes of a line that count: the fields that are read are shorter.
const LINE: usize = 512;
/// States that packages have (deb-status: dpkg(1), "Package states").
const STATES: [&str; 8] = [
    "not-installed",
    "config-files",
    "half-installed",
    "unpacked",
    "half-configured",
    "triggers-awaited",
    "triggers-pending",
    "installed",
];

/// A package as dpkg has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Package {
    state: &'static str,
    version: String,
    /// `reinstreq`: it is broken, and to be installed again.
    is_broken: bool,
    /// `Multi-Arch: same`: only its architecture tells it from others of its name.
    is_same: bool,
}

/// All packages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    /// By name and architecture.
    packages: BTreeMap<(String, String), Package>,
    /// Entries that name no package or no state that dpkg has; one at least where there is something and no package.
    odd: usize,
    /// What tells that a file is not as dpkg wrote it, where something does.
    damage: Option<Damage>,
}

/// Why a file is not as dpkg wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    /// It has bytes that are zero.
    Zeros,
    /// It ends within a line, at which dpkg gives up.
    WithinLine,
    /// It ends without the empty line that is written behind each entry. dpkg takes that for an end.
    WithinEntry,
}

/// How a package stands to a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It is not there, or only its configuration is.
    Absent,
    /// It is there in that version.
    This,
    /// It is there in another version.
    Other,
}

impl Table {
    /// Takes in the entries of the status, which ends with an empty line.
    pub(super) fn read(&mut self, from: impl BufRead) -> io::Result<()> {
        if self.read_entries(from)? {
            self.damage.get_or_insert(Damage::WithinEntry);
        }
        Ok(())
    }

    /// Takes in what was noted since, which has no such line; the entry takes the place of that which the package had.
    pub(super) fn read_note(&mut self, from: impl BufRead) -> io::Result<()> {
        self.read_entries(from).map(|_| ())
    }

    /// Returns whether the last entry is not followed by an empty line.
    fn read_entries(&mut self, from: impl BufRead) -> io::Result<bool> {
        let mut entry = Entry::default();
        let mut is_empty = true;
        let mut is_open = false;
        let odd = files::lines(from, LINE, |line| {
            is_empty &= line.is_empty();
            is_open = !line.is_empty();
            if line.is_empty() {
                self.take(std::mem::take(&mut entry));
            } else {
                entry.line(line);
            }
        })?;
        self.take(entry);
        if odd.has_zeros {
            self.damage.get_or_insert(Damage::Zeros);
        }
        if odd.is_torn {
            self.damage.get_or_insert(Damage::WithinLine);
        }
        if !is_empty && self.packages.is_empty() {
            self.odd = self.odd.max(1);
        }
        if self.packages.len() >= MOST {
            return Err(io::Error::other(format!("it has {MOST} packages or more")));
        }
        Ok(is_open)
    }

    fn take(&mut self, entry: Entry) {
        if entry == Entry::default() || self.packages.len() >= MOST {
            return;
        }
        let status = entry.status.as_deref().and_then(status);
        let Some((name, (is_broken, state))) = entry.name.zip(status) else {
            self.odd += 1;
            return;
        };
        let package = Package {
            state,
            version: entry.version,
            is_broken,
            is_same: entry.is_same,
        };
        self.packages.insert((name, entry.architecture), package);
    }

    pub(super) fn len(&self) -> usize {
        self.packages.len()
    }

    /// Entries that could not be understood.
    pub(super) fn odd(&self) -> usize {
        self.odd
    }

    pub(super) fn damage(&self) -> Option<Damage> {
        self.damage
    }

    /// Packages that are neither installed in full nor removed.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = Unfinished> {
        self.packages
            .iter()
            .filter_map(|((name, architecture), package)| {
                let is_finished = matches!(package.state, "installed" | "config-files" | "not-installed");
                if is_finished && !package.is_broken {
                    return None;
                }
                Some(Unfinished {
                    name: match package.is_same {
                        true => format!("{name}:{architecture}"),
                        false => name.clone(),
                    },
                    state: match package.is_broken {
                        true => format!("{} (reinstreq)", package.state),
                        false => package.state.to_owned(),
                    },
                })
            })
    }

    /// How a package, `name:architecture` as apt writes it, stands to a version.
    pub(super) fn presence(&self, name: &str, version: &str) -> Presence {
        let (name, architecture) = name.split_once(':').unwrap_or((name, ""));
        // apt writes the node's architecture for packages that are of all.
        let found = [architecture, "all"]
            .iter()
            .find_map(|architecture| self.packages.get(&(name.to_owned(), (*architecture).to_owned())))
            .filter(|package| !matches!(package.state, "not-installed" | "config-files"));
        match found {
            None => Presence::Absent,
            Some(package) if package.version == version => Presence::This,
            Some(_) => Presence::Other,
        }
    }
}

/// `install ok half-configured`: what is wanted, whether it is broken, how it is. dpkg takes no other words, and these in
/// letters of any size.
fn status(text: &str) -> Option<(bool, &'static str)> {
    let mut words = text.split_whitespace();
    let (_, flag, state) = (words.next()?, words.next()?, words.next()?);
    let is_broken = flag.eq_ignore_ascii_case("reinstreq");
    let is_known = words.next().is_none() && (is_broken || flag.eq_ignore_ascii_case("ok"));
    let state = STATES.iter().find(|known| known.eq_ignore_ascii_case(state))?;
    is_known.then_some((is_broken, state))
}

/// The fields of an entry that are read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Entry {
    name: Option<String>,
    status: Option<String>,
    version: String,
    architecture: String,
    is_same: bool,
}

impl Entry {
    fn line(&mut self, line: &[u8]) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return;
        };
        let (field, value) = (&line[..colon], &line[colon + 1..]);
        let value = || String::from_utf8_lossy(value).trim().to_owned();
        let is = |name: &str| field.eq_ignore_ascii_case(name.as_bytes());
        if is("Package") {
            self.name = Some(value()).filter(|name| !name.is_empty());
        } else if is("Status") {
            self.status = Some(value());
        } else if is("Version") {
            self.version = value();
        } else if is("Architecture") {
            self.architecture = value();
        } else if is("Multi-Arch") {
            self.is_same = value() == "same";
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &[u8]) -> Table {
        let mut table = Table::default();
        table.read(text).unwrap();
        table
    }

    fn unfinished(table: &Table) -> Vec<String> {
        let named = |one: Unfinished| format!("{} {}", one.name, one.state);
        table.unfinished().map(named).collect()
    }

    const STATUS: &[u8] = b"Package: systemd
Status: install ok half-configured
Maintainer: Somebody <somebody@example.org>
Architecture: amd64
Multi-Arch: foreign
Version: 252.17-1~deb12u1
Description: a manager
 Status: deinstall ok unpacked
 .
 Package: none

Package: libc6
Status: install ok unpacked
Architecture: i386
Multi-Arch: same
Version: 2.36-9

Package: libc6
Status: install ok installed
Architecture: amd64
Multi-Arch: same
Version: 2.36-9

Package: old
Status: deinstall ok config-files
Architecture: all
Version: 1

Package: broken
Status: install reinstreq half-installed
Architecture: amd64
Version: 1

";

    #[test]
    fn packages_that_are_not_finished_are_found() {
        let table = table(STATUS);
        assert_eq!(
            unfinished(&table),
            [
                "broken half-installed (reinstreq)",
                "libc6:i386 unpacked",
                "systemd half-configured"
            ]
        );
        assert_eq!((table.len(), table.odd(), table.damage()), (5, 0, None));
    }

    #[test]
    fn an_update_takes_the_place_of_what_the_status_says() {
        let mut table = table(STATUS);
        let update = b"Package: libc6\nStatus: install ok installed\nArchitecture: i386\nVersion: 2.36-9\n";
        table.read_note(&update[..]).unwrap();
        assert_eq!(
            unfinished(&table),
            ["broken half-installed (reinstreq)", "systemd half-configured"]
        );
        assert_eq!(table.damage(), None, "dpkg writes no empty line behind a note");
        table.read_note(&update[..update.len() - 4]).unwrap();
        assert_eq!(table.damage(), Some(Damage::WithinLine));
    }

    #[test]
    fn versions_are_known_by_the_names_that_apt_writes() {
        let table = table(STATUS);
        for (name, version, expected) in [
            ("libc6:amd64", "2.36-9", Presence::This),
            ("libc6:amd64", "2.36-8", Presence::Other),
            ("libc6:arm64", "2.36-9", Presence::Absent),
            ("old:amd64", "1", Presence::Absent),
            ("none:amd64", "1", Presence::Absent),
        ] {
            assert_eq!(table.presence(name, version), expected, "{name} {version}");
        }
    }

    #[test]
    fn torn_and_foreign_files_cost_their_entries() {
        let torn = &STATUS[..STATUS.len() - 60];
        assert_eq!(table(torn).odd(), 1, "the last entry has lost its state");
        let foreign = table(b"\x00\xff\xfe: \x01\n\n\n{\"json\": 1}\n\nStatus: installed\n\nPackage: a\n");
        assert_eq!((foreign.len(), foreign.odd()), (0, 2));
        let latin = table(b"Package: caf\xe9\nStatus: install ok unpacked\n");
        assert_eq!(unfinished(&latin), ["caf\u{fffd} unpacked"]);
        let sized = table(b"package: a\nstatus: Install OK Unpacked\r\n\r\nVersion: 1\n");
        assert_eq!(unfinished(&sized), ["a unpacked"]);
        for foreign in [
            "ok blurb",
            "ok unpacked too",
            "blurb unpacked",
            "ok",
            "ok unpacked\0",
        ] {
            let text = format!("Package: a\nStatus: install {foreign}\n\n");
            let strange = table(text.as_bytes());
            assert_eq!((strange.len(), strange.odd()), (0, 1), "{foreign}");
        }
        assert_eq!(table(b""), Table::default());
        assert_eq!(table(b"\n\n"), Table::default());
        let bytes = table(&[0x9d, b'x', b'\n', 0xff, 0x01]);
        assert_eq!((bytes.len(), bytes.odd()), (0, 1), "it is there, and not empty");
        let cut =
            table(b"Package: a\nStatus: install ok installed\n\nPackage: b\nStatus: install ok half-conf");
        assert_eq!(
            (cut.len(), cut.odd()),
            (1, 1),
            "no package is in a state that no dpkg has"
        );
    }

    #[test]
    fn a_file_that_is_not_as_dpkg_wrote_it_is_known_wherever_it_was_cut() {
        // Behind an entry nothing tells it, as dpkg ends each with an empty line.
        let ends = |at: &usize| *at == 0 || STATUS[..*at].ends_with(b"\n\n");
        for cut in (1..STATUS.len()).filter(|at| !ends(at)) {
            let expected = match STATUS[cut - 1] {
                b'\n' => Damage::WithinEntry,
                _ => Damage::WithinLine,
            };
            assert_eq!(table(&STATUS[..cut]).damage(), Some(expected), "{cut}");
        }
        let zeros = [STATUS, &[0; 5000], b"\n\n"].concat();
        assert_eq!(table(&zeros).damage(), Some(Damage::Zeros));
        let within = STATUS.to_vec().split_off(1);
        assert_eq!(table(&within).damage(), None, "its end is whole");
        assert_eq!(table(&within).odd(), 1);
    }

    #[test]
    fn a_big_status_is_read_in_little_time_and_room() {
        let mut text = Vec::new();
        for number in 0..5000 {
            let entry = format!(
                "Package: p{number}\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\nDescription: {}\n\n",
                "long ".repeat(200)
            );
            text.extend_from_slice(entry.as_bytes());
        }
        let begin = std::time::Instant::now();
        let table = table(&text);
        let (took, size) = (begin.elapsed(), text.len());
        assert_eq!(table.len(), 5000);
        // Not optimized, on a machine that does other things as well.
        assert!(took.as_millis() < 2000, "{size} bytes took {took:?}");
    }
}
