//! What the kernel tells by itself, in sentences: its counters, and what waits in sockets and for neighbours.

use super::format::{brief, bytes, clean, count, plural};
use super::words;
use crate::event::Source;
use crate::report::{Counter, CounterKind, Fragments, Queue, Report, Unresolved};

/// What is told of a list of the report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told<T> {
    /// What is told of the members that the report lists.
    pub rows: Vec<T>,
    /// Others that may have to be told too, for which the report has no room.
    pub unlisted: u64,
}

impl<T> Told<T> {
    /// `... and 92 more, and 250 that the report has no room for`, where not all is among the first `shown`.
    #[must_use]
    pub fn rest(&self, shown: usize) -> Option<String> {
        let more = self.rows.len().saturating_sub(shown);
        let parts: Vec<String> = [
            (more as u64, "more"),
            (self.unlisted, "that the report has no room for"),
        ]
        .into_iter()
        .filter(|&(number, _)| number > 0)
        .map(|(number, what)| format!("and {} {what}", count(number)))
        .collect();
        (!parts.is_empty()).then(|| format!("... {}", parts.join(", ")))
    }

    /// A sentence for each.
    fn map(self, sentence: impl Fn(T) -> String) -> Told<String> {
        Told {
            rows: self
                .rows
                .into_iter()
                .map(|row| clean(&sentence(row)).into_owned())
                .collect(),
            unlisted: self.unlisted,
        }
    }
}

impl<T> From<Vec<T>> for Told<T> {
    fn from(rows: Vec<T>) -> Self {
        Self { rows, unlisted: 0 }
    }
}

/// Members of a list for which the report has no room.
fn unlisted<T>(listed: &[T], total: u64) -> u64 {
    total.saturating_sub(listed.len() as u64)
}

/// What was lost before it arrived, in a sentence; `None` where nothing was.
#[must_use]
pub fn before_arrival(report: &Report) -> Option<String> {
    (report.lost_before_arrival > 0).then(|| {
        format!(
            "at least {} lost before arrival, in no column of the ledger",
            plural(report.lost_before_arrival, "packet")
        )
    })
}

/// What is not among the drops, since it says nothing of packets; `None` where there is nothing.
#[must_use]
pub fn no_packets(report: &Report) -> Option<String> {
    (report.no_packets > 0).then(|| {
        let are_none = if report.no_packets == 1 {
            "is no packet"
        } else {
            "are no packets"
        };
        format!(
            "beside them {} that {are_none}, as of netlink and unix sockets",
            plural(report.no_packets, "buffer")
        )
    })
}

/// Datagrams that wait for missing fragments, in a sentence; `None` where none do.
#[must_use]
pub fn fragments(report: &Report) -> Option<String> {
    let Fragments { datagrams, memory } = report.fragments;
    let wait = if datagrams == 1 { "waits" } else { "wait" };
    (datagrams > 0).then(|| {
        format!(
            "{} {wait} for missing fragments ({}): unexplained so far",
            plural(datagrams, "datagram"),
            bytes(memory as f64)
        )
    })
}

/// How a counter relates to the books, in a word or two.
#[must_use]
pub fn counter_kind(kind: CounterKind) -> &'static str {
    match kind {
        CounterKind::Moves => "dropped",
        CounterKind::Before => "no arrival",
        CounterKind::Sent => "not sent",
        CounterKind::Other => "unknown",
        CounterKind::Evented => "in drops",
    }
}

/// The counter's name. The kernel's own for those of connection tracking say no more than `drop`.
#[must_use]
pub fn counter(counter: &Counter) -> String {
    match counter.source {
        Source::Conntrack => format!("conntrack {}", counter.name),
        _ => counter.name.clone(),
    }
}

/// Counters of losses that no drop tells, each in a sentence.
#[must_use]
pub fn counters(report: &Report) -> Told<String> {
    let is_told = |counter: &&Counter| {
        matches!(
            counter.kind,
            CounterKind::Moves | CounterKind::Before | CounterKind::Sent
        )
    };
    let sentence = |counter: &Counter| {
        let device = match counter.device.as_str() {
            "" => String::new(),
            device => format!("{device} "),
        };
        format!(
            "{device}{} {}: {}",
            self::counter(counter),
            count(counter.packets),
            counter.text
        )
    };
    let rows: Vec<&Counter> = report.counters.iter().filter(is_told).collect();
    // They stand first.
    let cut = rows.len() == report.counters.len();
    Told {
        unlisted: if cut {
            unlisted(&report.counters, report.counters_total)
        } else {
            0
        },
        rows,
    }
    .map(sentence)
}

/// Seconds after which what waits in a socket is told: two looks at it have seen it.
const STUCK: f64 = 4.0;

/// Sockets that are not read: their accept queue is full, or something has been waiting for long.
#[must_use]
pub fn stuck(report: &Report) -> Told<&Queue> {
    let is_stuck = |queue: &&Queue| queue.full || queue.age >= STUCK;
    let rows: Vec<&Queue> = report.queues.iter().filter(is_stuck).collect();
    // They stand first.
    let cut = rows.len() == report.queues.len();
    Told {
        unlisted: if cut {
            unlisted(&report.queues, report.queues_total)
        } else {
            0
        },
        rows,
    }
}

/// `3 connections, full` or `4.2 kB`
#[must_use]
pub fn waiting(queue: &Queue) -> String {
    if queue.state == LISTEN {
        let full = if queue.full { ", full" } else { "" };
        return format!("{}{full}", plural(queue.waiting, "connection"));
    }
    bytes(queue.waiting as f64)
}

/// State of a listener, as [`Queue::state`] has it.
const LISTEN: &str = "LISTEN";

/// Seconds after which a neighbour for whose answer packets wait is told: it did not answer when it was first asked
/// (`retrans_time_ms` of a device).
const SILENT: f64 = 1.0;

/// Neighbours that do not answer while packets wait for them.
#[must_use]
pub fn silent(report: &Report) -> Told<&Unresolved> {
    let is_silent = |neighbour: &&Unresolved| neighbour.age >= SILENT;
    Told {
        rows: report.unresolved.iter().filter(is_silent).collect(),
        // They stand anywhere.
        unlisted: unlisted(&report.unresolved, report.unresolved_total),
    }
}

/// Sockets that are not read, each in a few words: `nginx[77] tcp 10.0.0.2:80: 3 connections, full, for 12s`; and
/// neighbours that do not answer: `neighbour 10.0.0.9 of eth0: 3 packets, for 2s`.
#[must_use]
pub fn queues(report: &Report) -> Told<String> {
    let line = |queue: &Queue| {
        format!(
            "{} {} {}: {}, for {}",
            words::process(&queue.command, queue.pid, &queue.unit),
            queue.protocol,
            queue.local,
            waiting(queue),
            brief(queue.age)
        )
    };
    let neighbour = |neighbour: &Unresolved| {
        format!(
            "neighbour {} of {}: {}, for {}",
            neighbour.address,
            neighbour.device,
            plural(neighbour.packets, "packet"),
            brief(neighbour.age)
        )
    };
    let (sockets, neighbours) = (stuck(report).map(line), silent(report).map(neighbour));
    Told {
        unlisted: sockets.unlisted + neighbours.unlisted,
        rows: [sockets.rows, neighbours.rows].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::sample;

    #[test]
    fn the_rest_is_told_and_what_the_report_has_no_room_for() {
        let told = |rows, unlisted| {
            Told {
                rows: vec![(); rows],
                unlisted,
            }
            .rest(8)
        };
        assert_eq!(told(8, 0), None);
        assert_eq!(told(9, 0).as_deref(), Some("... and 1 more"));
        assert_eq!(
            told(100, 250).as_deref(),
            Some("... and 92 more, and 250 that the report has no room for")
        );
        assert_eq!(
            told(0, 3).as_deref(),
            Some("... and 3 that the report has no room for")
        );
    }

    #[test]
    fn one_buffer_is_no_packet_and_several_are_none() {
        let mut report = sample::silent_losses();
        let told = |report: &Report| {
            no_packets(report).map(|text| text.split(',').next().unwrap_or_default().to_owned())
        };
        report.no_packets = 1;
        assert_eq!(
            told(&report).as_deref(),
            Some("beside them 1 buffer that is no packet")
        );
        report.no_packets = 2;
        assert_eq!(
            told(&report).as_deref(),
            Some("beside them 2 buffers that are no packets")
        );
    }

    #[test]
    fn what_has_no_room_counts_only_where_it_may_have_to_be_told() {
        let mut report = sample::silent_losses();
        report.counters_total = 40;
        report.queues_total = 30;
        report.unresolved_total = 20;
        // Some of those that are listed are no losses: nothing behind them is.
        assert_eq!(counters(&report).unlisted, 0);
        assert_eq!(queues(&report).unlisted, 28 + 19);
        report.queues[1].age = 0.1;
        assert_eq!(
            queues(&report).unlisted,
            19,
            "sockets stand in the order of their age"
        );
        report.counters.pop();
        assert_eq!(counters(&report).unlisted, 38);
    }
}
