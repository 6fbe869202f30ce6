//! The node's own time: dpkg and apt log it, and do not say how far it is from UTC.

use std::io::{self, Read};
use std::path::Path;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::files;
use super::watches::below;

const LOCALTIME: &str = "/etc/localtime";
/// Bytes of a zone that are read: none has as many.
const MOST: u64 = 1 << 20;

/// What the node's own time is in UTC.
#[derive(Clone, Debug)]
pub(super) struct Zone(TimeZone);

impl Zone {
    /// That of a node, which has UTC where it says nothing (localtime(5)).
    ///
    /// # Errors
    /// Where the file cannot be read, or is none of tzfile(5).
    pub(super) fn of(root: &Path) -> Result<Self, String> {
        let path = below(root, LOCALTIME);
        let read = || {
            let Some((file, _)) = files::open(&path)? else {
                return Ok(TimeZone::UTC);
            };
            let mut bytes = Vec::new();
            file.take(MOST).read_to_end(&mut bytes)?;
            TimeZone::tzif("", &bytes).map_err(io::Error::other)
        };
        read().map(Self).map_err(|error| files::unreadable(&path, &error))
    }

    pub(super) fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// A time as dpkg and apt write it, `2026-11-26 17:25:49`, in ns since 1970. Of the hour that comes twice when clocks
    /// are set back, the first is taken, or the second where what was written before is later than that; a time that was left
    /// out when they were set forward counts as before it.
    pub(super) fn read_after(&self, text: &str, before: Option<i64>) -> Option<i64> {
        let time: DateTime = text.parse().ok()?;
        let time = self.0.to_ambiguous_timestamp(time);
        let nanoseconds = |time: jiff::Timestamp| i64::try_from(time.as_nanosecond()).ok();
        let first = nanoseconds(time.compatible().ok()?)?;
        let fits = |at: &i64| before.is_none_or(|before| *at >= before);
        let second = time.is_ambiguous().then(|| time.later().ok()).flatten();
        let second = second.and_then(nanoseconds).filter(fits);
        Some(second.filter(|_| !fits(&first)).unwrap_or(first))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use super::super::tests::Folder;
    use super::*;

    /// A zone of tzfile(5) that is always so many seconds east of UTC.
    pub(in super::super) fn zone(east: i32) -> Vec<u8> {
        let head = |version: u8| {
            let mut head = b"TZif".to_vec();
            head.push(version);
            head.extend([0; 15]);
            // Of these: UT and standard indicators, leap seconds, transitions, types, bytes of names.
            for count in [0, 0, 0, 0, 1, 4_u32] {
                head.extend(count.to_be_bytes());
            }
            head
        };
        let mut data = east.to_be_bytes().to_vec();
        data.extend([0, 0]);
        data.extend(b"XXX\0");
        let mut all = [head(b'2'), data.clone(), head(b'2'), data].concat();
        all.extend(b"\n\n");
        all
    }

    /// As in Berlin.
    pub(in super::super) fn berlin() -> Zone {
        Zone(TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap())
    }

    #[test]
    fn of_the_hour_that_comes_twice_the_second_is_taken_where_only_that_fits() {
        let read = |text: &str, before| berlin().read_after(text, before).unwrap();
        let hour = 3600 * 1_000_000_000;
        let first = read("2026-10-25 02:10:00", None);
        assert_eq!(read("2026-10-25 02:10:00", Some(first)), first);
        assert_eq!(read("2026-10-25 02:10:00", Some(first + 1)), first + hour);
        assert_eq!(
            read("2026-10-25 02:10:00", Some(first + hour + 1)),
            first,
            "neither"
        );
        assert_eq!(
            read("2026-10-25 03:10:00", Some(first + 3 * hour)),
            first + 2 * hour
        );
        // What was left out in spring came once.
        let spring = read("2026-03-29 02:10:00", None);
        assert_eq!(read("2026-03-29 02:10:00", Some(spring + 1)), spring);
    }

    #[test]
    fn the_time_of_a_node_is_that_of_its_zone() {
        let folder = Folder::new();
        let read = |text: &str| Zone::of(folder.path()).unwrap().read_after(text, None);
        let at = |seconds: i64| Some(seconds * 1_000_000_000);
        assert_eq!(
            read("2023-10-08 06:00:00"),
            at(1_696_744_800),
            "UTC without a zone"
        );
        fs::create_dir(folder.path().join("etc")).unwrap();
        fs::write(folder.path().join("etc/localtime"), zone(7200)).unwrap();
        assert_eq!(read("2023-10-08 06:00:00"), at(1_696_737_600));
        for foreign in ["", "x 06:00:00", "2023-13-08 06:00:00", "\u{fffd}"] {
            assert_eq!(read(foreign), None, "{foreign:?}");
        }
    }

    #[test]
    fn what_is_no_zone_is_told() {
        let folder = Folder::new();
        fs::create_dir(folder.path().join("etc")).unwrap();
        fs::write(folder.path().join("etc/localtime"), "Europe/Berlin\n").unwrap();
        let error = Zone::of(folder.path()).unwrap_err();
        assert!(error.contains("etc/localtime cannot be read: "), "{error}");
    }
}
