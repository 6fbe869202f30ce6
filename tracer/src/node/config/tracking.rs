//! Connection tracking: that somebody deleted entries of its table (`conntrack -F`, `conntrack -D`), and who did.
//!
//! The kernel tells of each entry that ends, with the address of the socket that asked for it (`ctnetlink_conntrack_event`,
//! `nf_ct_delete`), 0 where it timed out. A filter on the socket takes only what was asked for, so that connections that
//! end wake nobody. From 5.19 on an entry tells its end only if somebody listened when it was made
//! (`nf_ct_ecache_ext_add`): of older ones only the number is seen to fall.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use super::super::netlink::{Heard, Listener, Message, NETFILTER};
use super::super::{Netns, clock};
use super::requester::Requesters;
use super::told::{Told, Who};
use crate::event::value::TRACKED;
use crate::event::{Seen, Thing, Unknown};

/// What tells, by nfnetlink. Asking for its group would load it.
pub(super) const MODULE: &str = "nf_conntrack_netlink";
/// `NFNLGRP_CONNTRACK_DESTROY` (include/uapi/linux/netfilter/nfnetlink_compat.h).
const GROUP: u32 = 3;
/// `NFNL_SUBSYS_CTNETLINK` and `IPCTNL_MSG_CT_DELETE`.
const DELETE: u16 = 1 << 8 | 2;
/// How many entries there are, and how many there may be.
const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";
const MOST: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
/// From this share of the room on, in percent, each number of entries is told, and one below it.
const MUCH: u64 = 90;
/// Messages that are read in one go before others have their turn.
const TURN: usize = 4096;
/// For so long more is waited for, to be told in one.
const GATHER: Duration = Duration::from_millis(50);
/// So many entries at least are a table that can be seen to be flushed.
const MANY: u64 = 64;
/// What is left of it then, as one part of so many.
const LEFT: u64 = 8;

/// The table of a namespace.
#[derive(Debug, Default)]
pub(super) struct Tracking {
    listener: Option<Listener>,
    /// When somebody deleted how many, which is not told yet.
    spells: Vec<(u64, Who, u64)>,
    /// Some of it was lost.
    lost: bool,
    /// When it is to be told.
    due: Option<Instant>,
    /// The file that tells how many entries there are.
    count: Option<File>,
    /// The file that tells how many there may be.
    most: Option<File>,
    /// How many entries were told to be there; `None` where they are too few to be told.
    filled: Option<u64>,
    /// How many entries there were at the last look.
    entries: u64,
    /// Somebody was told to have deleted some since then.
    was_told: bool,
    /// How many were told to be deleted so far, which tells one deletion from the next.
    deleted: u64,
    /// How often the number was seen to fall.
    falls: u64,
}

impl Tracking {
    /// Begins to listen, in the namespace of this thread; `is_loaded`: what tells is there.
    pub(super) fn open(is_loaded: bool) -> Self {
        let mut tracking = Self::default();
        tracking.begin(is_loaded);
        tracking
    }

    /// Whether it is still to be begun.
    pub(super) fn is_deaf(&self) -> bool {
        self.listener.is_none()
    }

    /// Listens, if that is possible by now, in the namespace of this thread.
    pub(super) fn begin(&mut self, is_loaded: bool) {
        if is_loaded && self.listener.is_none() {
            self.listener = Listener::open_for_asked(NETFILTER, &[GROUP]).ok();
        }
        if self.count.is_none() {
            self.count = File::open(COUNT).ok();
            self.most = File::open(MOST).ok();
            self.entries = number(self.count.as_ref()).unwrap_or(0);
        }
    }

    /// What becomes readable when something is told.
    pub(super) fn listener(&self) -> Option<&Listener> {
        self.listener.as_ref()
    }

    /// In how long something is to be told.
    pub(super) fn due(&self) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(Instant::now()))
    }

    /// Reads what was told: when, and what it comes to once it has been gathered.
    pub(super) fn hear(&mut self, netns: &Netns, requesters: &mut Requesters) -> Vec<(u64, Told)> {
        self.gather(netns, requesters);
        if self.due() != Some(Duration::ZERO) {
            return Vec::new();
        }
        self.due = None;
        let lost = std::mem::take(&mut self.lost);
        let told = std::mem::take(&mut self.spells)
            .into_iter()
            .map(|(at, by, number)| {
                self.deleted += number;
                let least = if lost { "at least " } else { "" };
                let entries = if number == 1 { "entry" } else { "entries" };
                let value = format!(
                    "{least}{number} {entries} deleted, {} since tracer looks",
                    self.deleted
                );
                (at, told(value, Seen::Told, by))
            });
        told.collect()
    }

    fn gather(&mut self, netns: &Netns, requesters: &mut Requesters) {
        let spells = &mut self.spells;
        let Some(listener) = &self.listener else {
            return;
        };
        for _ in 0..TURN {
            let came = listener.hear(&mut |message: &Message<'_>| {
                if message.kind != DELETE || message.port == 0 {
                    return;
                }
                let now = clock::boottime_ns();
                let by = requesters.who(netns, message.port, now);
                match spells.last_mut().filter(|(_, last, _)| *last == by) {
                    Some((_, _, number)) => *number += 1,
                    None => spells.push((now, by, 1)),
                }
            });
            match came {
                Ok(Heard::Something) => {}
                Ok(Heard::Lost) => self.lost = true,
                Ok(Heard::Nothing) => break,
                Err(_) => {
                    self.listener = None;
                    break;
                }
            }
        }
        if !self.spells.is_empty() {
            self.was_told = true;
            self.due.get_or_insert_with(|| Instant::now() + GATHER);
        }
    }

    /// Looks how many entries there are.
    pub(super) fn look(&mut self) -> Vec<Told> {
        let Some(entries) = number(self.count.as_ref()) else {
            return Vec::new();
        };
        let fill = self.fill(entries);
        self.fell(entries).into_iter().chain(fill).collect()
    }

    /// That nearly all are gone within a second is told, unless who did it was.
    fn fell(&mut self, now: u64) -> Option<Told> {
        let before = std::mem::replace(&mut self.entries, now);
        if std::mem::take(&mut self.was_told) || before < MANY || now > before / LEFT {
            return None;
        }
        self.falls += 1;
        let value = match self.falls {
            1 => format!("{before} entries became {now} within a second"),
            falls => format!("{before} entries became {now} within a second, for the {falls}. time"),
        };
        let why = if self.lost {
            Unknown::Lost
        } else {
            Unknown::Compared
        };
        Some(told(value, Seen::Noticed, Err(why)))
    }

    /// Where the table is nearly full it is told how many entries it has, and once when it is no more.
    fn fill(&mut self, entries: u64) -> Option<Told> {
        let most = number(self.most.as_ref())?;
        let much = entries.saturating_mul(100) >= most.saturating_mul(MUCH);
        let before = std::mem::replace(&mut self.filled, much.then_some(entries));
        let is_news = before != self.filled;
        is_news.then(|| Told {
            change: (
                Thing::Sysctl {
                    name: TRACKED.to_owned(),
                },
                Some(entries.to_string()),
            ),
            seen: Seen::Found,
            by: None,
        })
    }
}

/// The number that a file of the kernel has.
fn number(file: Option<&File>) -> Option<u64> {
    let mut buffer = [0; 32];
    let length = file?.read_at(&mut buffer, 0).ok()?;
    std::str::from_utf8(buffer.get(..length)?)
        .ok()?
        .trim()
        .parse()
        .ok()
}

fn told(value: String, seen: Seen, by: Who) -> Told {
    Told {
        change: (Thing::Tracking, Some(value)),
        seen,
        by: Some(by),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(counts: &[u64]) -> Vec<Option<String>> {
        let path =
            std::env::temp_dir().join(format!("tracer-tracking-{}-{}", std::process::id(), counts.len()));
        std::fs::write(&path, "0\n").unwrap();
        let mut tracking = Tracking {
            count: Some(File::open(&path).unwrap()),
            ..Tracking::default()
        };
        let mut told = Vec::new();
        for count in counts {
            std::fs::write(&path, format!("{count}\n")).unwrap();
            told.push(tracking.look().pop().and_then(|told| told.change.1));
        }
        std::fs::remove_file(&path).unwrap();
        told
    }

    #[test]
    fn how_many_entries_there_are_is_told_where_the_table_is_nearly_full() {
        let folder = std::env::temp_dir().join(format!("tracer-fill-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = |name: &str, value: &str| {
            let path = folder.join(name);
            std::fs::write(&path, value).unwrap();
            path
        };
        let (count, most) = (file("count", "0\n"), file("most", "1000\n"));
        let mut tracking = Tracking {
            count: Some(File::open(count).unwrap()),
            most: Some(File::open(most).unwrap()),
            ..Tracking::default()
        };
        let told: Vec<Option<String>> = ["10", "899", "900", "900", "1000", "12", "11"]
            .into_iter()
            .map(|value| {
                file("count", value);
                tracking.look().pop().and_then(|told| told.change.1)
            })
            .collect();
        let said = |value: &str| Some(value.to_owned());
        assert_eq!(
            told,
            [None, None, said("900"), None, said("1000"), said("12"), None]
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_table_that_is_nearly_empty_all_at_once_is_told() {
        let first = "800 entries became 3 within a second".to_owned();
        let second = "900 entries became 0 within a second, for the 2. time".to_owned();
        assert_eq!(
            looks(&[10, 0, 800, 400, 800, 3, 900, 0]),
            [None, None, None, None, None, Some(first), None, Some(second)]
        );
        assert_eq!(
            looks(&[63, 0, 63]),
            [None, None, None],
            "few may well end together"
        );
    }
}
