//! What the reader wants to see: `--pid`, `--unit`, `--flow`. Never what is counted.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use thiserror::Error;

use crate::diagnosis::Diagnosis;
use crate::near::nearest;
use crate::report::{Drop, FLOWS, Filtered, Flow, Queue, Report};

/// What is shown of a report. The default shows everything.
///
/// A flow is shown where it meets all that is asked for. Drops have no process and no flow, so only
/// `unit` narrows them. Verdicts stay, with fewer flows and units; the ledger stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only flows of this process.
    pub pid: Option<u32>,
    /// Only flows and drops of this systemd unit; `kubelet` is `kubelet.service`.
    pub unit: Option<String>,
    /// Only flows that look like this.
    pub flow: Option<FlowPattern>,
}

impl Filter {
    /// The picture as the reader wants to see it.
    #[must_use]
    pub fn report(&self, diagnosis: &Diagnosis) -> Report {
        if *self == Self::default() {
            return diagnosis.report(FLOWS);
        }
        // Those to be shown may be behind thousands that are not.
        let mut report = self.apply(diagnosis.report(usize::MAX));
        if let Some(filtered) = &mut report.filter {
            filtered.no_such_unit = diagnosis.unit_names().and_then(|names| self.instead(&names));
        }
        report
    }

    /// Where none of these units is the one that is asked for: those that may be meant. Devices and slices are not told.
    fn instead(&self, names: &BTreeSet<&str>) -> Option<Vec<String>> {
        let asked = self.unit.as_deref()?;
        let (stem, kind) = asked.rsplit_once('.').unwrap_or((asked, "service"));
        if names.iter().any(|name| self.shows_unit(name)) || matches!(kind, "device" | "slice") {
            return None;
        }
        let of_kind = names
            .iter()
            .filter_map(|name| name.strip_suffix(kind)?.strip_suffix('.'));
        let near = nearest(stem, of_kind);
        Some(near.into_iter().map(|name| format!("{name}.{kind}")).collect())
    }

    /// A report that has all flows, as the reader wants to see it; [`Report::filter`] says what is hidden.
    pub(crate) fn apply(&self, mut report: Report) -> Report {
        let starved = keep(&mut report.starved, |flow| self.shows_flow(flow));
        let drops = keep(&mut report.drops, |drop| self.shows_drop(drop));
        let queues = keep(&mut report.queues, |queue| self.shows_queue(queue));
        report.queues_total = report.queues.len() as u64;
        report.queues.truncate(FLOWS);
        report.starved_total = report.starved.len() as u64;
        report.starved.truncate(FLOWS);
        let mut verdict_flows = 0;
        let mut shown = report.starved_total.saturating_add(report.queues_total);
        if self.unit.is_some() {
            shown = shown.saturating_add(report.drops.len() as u64);
        }
        for verdict in &mut report.verdicts {
            verdict_flows += keep(&mut verdict.flows, |flow| self.shows_flow(flow));
            verdict.flows_total = verdict.flows.len() as u64;
            shown = shown.saturating_add(verdict.flows_total);
            verdict.flows.truncate(FLOWS);
            verdict.units.retain(|unit| self.shows_unit(unit));
        }
        for episode in &mut report.episodes {
            episode.units.retain(|unit| self.shows_unit(unit));
        }
        report.filter = Some(Filtered {
            text: self.to_string(),
            starved,
            drops,
            queues,
            verdict_flows,
            shown,
            no_such_unit: None,
        });
        report
    }

    fn shows_flow(&self, flow: &Flow) -> bool {
        self.pid.is_none_or(|pid| flow.pid == pid)
            && self.shows_unit(&flow.unit)
            && self.flow.as_ref().is_none_or(|pattern| pattern.matches(flow))
    }

    fn shows_queue(&self, queue: &Queue) -> bool {
        self.pid.is_none_or(|pid| queue.pid == pid)
            && self.shows_unit(&queue.unit)
            && self
                .flow
                .as_ref()
                .is_none_or(|pattern| pattern.matches_ends(&queue.protocol, [&queue.local, &queue.remote]))
    }

    fn shows_drop(&self, drop: &Drop) -> bool {
        self.unit.is_none() || drop.units.iter().any(|unit| self.shows_unit(unit))
    }

    fn shows_unit(&self, unit: &str) -> bool {
        self.unit.as_deref().is_none_or(|asked| {
            unit == asked || (!asked.contains('.') && unit.strip_suffix(".service") == Some(asked))
        })
    }
}

/// Keeps what is to be shown and says how many are not.
fn keep<T>(rows: &mut Vec<T>, shown: impl Fn(&T) -> bool) -> u64 {
    let before = rows.len();
    rows.retain(shown);
    (before - rows.len()) as u64
}

impl fmt::Display for Filter {
    /// As on the command line: `--pid 12 --unit kubelet --flow tcp :443`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.pid.map(|pid| format!("--pid {pid}")));
        parts.extend(self.unit.as_ref().map(|unit| format!("--unit {unit}")));
        parts.extend(self.flow.as_ref().map(|flow| format!("--flow {flow}")));
        f.write_str(&parts.join(" "))
    }
}

/// A flow by its protocol, and the address and port of either end: `192.0.2.10`, `:443`,
/// `10.0.0.2:40000`, `[2001:db8::1]:53`, `tcp`, or a protocol and an end, `tcp :443`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowPattern {
    protocol: Option<&'static str>,
    address: Option<IpAddr>,
    port: Option<u16>,
}

/// Why a text is no [`FlowPattern`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FlowPatternError {
    /// There is nothing in it.
    #[error(
        "an empty flow: give a protocol, an address, :port or address:port, such as tcp or 192.0.2.10:443"
    )]
    Empty,
    /// A part that is neither protocol nor end.
    #[error(
        "flow part {0:?} is neither a protocol (tcp, udp, icmp, icmp6) nor an address, :port or address:port: \
         write it like 192.0.2.10, :443, 10.0.0.2:40000 or [2001:db8::1]:53"
    )]
    Part(String),
    /// A port that is none.
    #[error("port {0:?} is no number from 1 to 65535")]
    Port(String),
    /// Two protocols or two ends.
    #[error("flow part {0:?} is the second of its kind: give one protocol and one end of the flow")]
    Twice(String),
}

/// Protocols as [`Flow::protocol`] names them.
const PROTOCOLS: [&str; 4] = ["tcp", "udp", "icmp", "icmp6"];

impl FromStr for FlowPattern {
    type Err = FlowPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut pattern = Self::default();
        for part in text.split_whitespace() {
            let lower = part.to_ascii_lowercase();
            if let Some(protocol) = PROTOCOLS.into_iter().find(|&name| name == lower) {
                if pattern.protocol.replace(protocol).is_some() {
                    return Err(FlowPatternError::Twice(part.to_owned()));
                }
            } else if pattern.address.is_some() || pattern.port.is_some() {
                return Err(FlowPatternError::Twice(part.to_owned()));
            } else {
                (pattern.address, pattern.port) = end(part)?;
            }
        }
        if pattern == Self::default() {
            Err(FlowPatternError::Empty)
        } else {
            Ok(pattern)
        }
    }
}

/// One end of a flow as the reader writes it.
fn end(part: &str) -> Result<(Option<IpAddr>, Option<u16>), FlowPatternError> {
    if let Some((address, port)) = parse_end(part) {
        return if port == Some(0) {
            Err(FlowPatternError::Port("0".to_owned()))
        } else {
            Ok((Some(address), port))
        };
    }
    let Some((address, port)) = part.rsplit_once(':') else {
        return Err(FlowPatternError::Part(part.to_owned()));
    };
    if !address.is_empty() && parse_end(address).is_none() {
        return Err(FlowPatternError::Part(part.to_owned()));
    }
    // The address is sound, so what is wrong is the port.
    match port.parse() {
        Ok(port) if port > 0 => Ok((None, Some(port))),
        _ => Err(FlowPatternError::Port(port.to_owned())),
    }
}

/// An address with or without a port. IPv4-mapped addresses are IPv4.
fn parse_end(text: &str) -> Option<(IpAddr, Option<u16>)> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some((address.to_canonical(), None));
    }
    let whole = text.parse::<SocketAddr>().ok()?;
    Some((whole.ip().to_canonical(), Some(whole.port())))
}

impl FlowPattern {
    /// Whether the flow has this protocol and, at one of its ends, this address and port.
    #[must_use]
    pub fn matches(&self, flow: &Flow) -> bool {
        self.matches_ends(&flow.protocol, [&flow.local, &flow.remote])
    }

    /// The same of anything that has a protocol and ends.
    fn matches_ends(&self, protocol: &str, ends: [&String; 2]) -> bool {
        self.protocol.is_none_or(|asked| protocol == asked)
            && ((self.address.is_none() && self.port.is_none())
                || ends.into_iter().any(|end| self.matches_end(end)))
    }

    fn matches_end(&self, end: &str) -> bool {
        parse_end(end).is_some_and(|(address, port)| {
            self.address.is_none_or(|asked| asked == address)
                && self.port.is_none_or(|asked| Some(asked) == port)
        })
    }
}

impl fmt::Display for FlowPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = match (self.address, self.port) {
            (None, None) => None,
            (None, Some(port)) => Some(format!(":{port}")),
            (Some(address), None) => Some(address.to_string()),
            (Some(address), Some(port)) => Some(SocketAddr::new(address, port).to_string()),
        };
        let parts: Vec<String> = self.protocol.map(str::to_owned).into_iter().chain(end).collect();
        f.write_str(&parts.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::sample;

    fn pattern(text: &str) -> FlowPattern {
        text.parse().unwrap()
    }

    fn flow(protocol: &str, local: &str, remote: &str) -> Flow {
        Flow {
            protocol: protocol.into(),
            local: local.into(),
            remote: remote.into(),
            ..sample::starved_flow()
        }
    }

    #[test]
    fn a_flow_is_found_by_either_end() {
        let https = flow("tcp", "10.0.0.2:40000", "192.0.2.10:443");
        for text in [
            "tcp",
            "TCP",
            "192.0.2.10",
            ":443",
            "10.0.0.2:40000",
            "192.0.2.10:443",
            "tcp :443",
            ":40000 tcp",
            "::ffff:192.0.2.10",
            "[::ffff:192.0.2.10]:443",
        ] {
            assert!(pattern(text).matches(&https), "{text}");
        }
        for text in [
            "udp",
            "192.0.2.1",
            ":44",
            "10.0.0.2:443",
            "udp :443",
            "2001:db8::1",
        ] {
            assert!(
                !pattern(text).matches(&https),
                "{text}: address and port must be of one end"
            );
        }
        let dns6 = flow("udp", "[2001:db8::2]:5353", "[2001:db8::1]:53");
        for text in [
            "2001:db8::1",
            "[2001:db8::1]",
            "[2001:db8::1]:53",
            ":53",
            "udp 2001:db8:0::2",
        ] {
            assert!(pattern(text).matches(&dns6), "{text}");
        }
        let ping = flow("icmp", "10.0.0.2", "192.0.2.10");
        assert!(pattern("192.0.2.10").matches(&ping) && !pattern(":443").matches(&ping));
    }

    #[test]
    fn patterns_are_said_as_they_are_read() {
        for text in [
            "tcp",
            ":443",
            "192.0.2.10",
            "[2001:db8::1]:53",
            "udp 10.0.0.2:40000",
        ] {
            assert_eq!(pattern(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_with_a_flow_is_named() {
        let error = |text: &str| text.parse::<FlowPattern>().unwrap_err();
        assert_eq!(error(" "), FlowPatternError::Empty);
        for text in [
            "example.org",
            "300.0.0.1",
            "sctp",
            "10.0.0",
            "[2001:db8::1",
            "example.org:80",
            "-",
        ] {
            assert_eq!(error(text), FlowPatternError::Part(text.to_owned()));
        }
        for (text, port) in [
            (":0", "0"),
            (":65536", "65536"),
            ("10.0.0.2:http", "http"),
            (":", ""),
            ("10.0.0.2:0", "0"),
        ] {
            assert_eq!(error(text), FlowPatternError::Port(port.to_owned()), "{text}");
        }
        assert_eq!(error("tcp udp"), FlowPatternError::Twice("udp".to_owned()));
        assert_eq!(error(":1 :2"), FlowPatternError::Twice(":2".to_owned()));
        assert!(!error("x\ny").to_string().contains('\n'));
    }

    #[test]
    fn no_filter_says_that_nothing_is_hidden() {
        let report = Filter::default().report(&Diagnosis::new());
        assert_eq!(report.filter, None);
    }

    #[test]
    fn a_filter_that_matches_nothing_says_so() {
        let said = |filter: Filter| crate::ui::words::filter(&filter.apply(sample::incident())).unwrap();
        let nobody = "no starved flow, flow of a verdict or queue is of it";
        let pid = |pid| Filter {
            pid: Some(pid),
            ..Filter::default()
        };
        assert!(said(pid(999_999)).contains(nobody));
        assert!(!said(pid(1234)).contains(nobody));
        let unit = |unit: &str| Filter {
            unit: Some(unit.to_owned()),
            ..Filter::default()
        };
        assert!(said(unit("nosuch.service")).contains(nobody));
        assert!(!said(unit("kubelet")).contains(nobody));
        // Also where nothing is hidden.
        let healthy = pid(999_999).apply(sample::healthy());
        assert!(crate::ui::words::filter(&healthy).unwrap().contains(nobody));
    }

    #[test]
    fn a_flow_is_found_behind_many_others_and_no_list_is_too_long() {
        let mut report = sample::incident();
        let wanted = Flow {
            pid: 77,
            ..sample::starved_flow()
        };
        let others = Flow {
            pid: 1,
            ..sample::starved_flow()
        };
        report.starved = vec![others; 1000];
        report.starved.push(wanted);
        let only = |pid| {
            Filter {
                pid: Some(pid),
                ..Filter::default()
            }
            .apply(report.clone())
        };
        let found = only(77);
        assert_eq!((found.starved.len(), found.starved_total), (1, 1));
        assert_eq!(found.filter.unwrap().starved, 1000);
        let many = only(1);
        assert_eq!((many.starved.len(), many.starved_total), (FLOWS, 1000));
        assert_eq!(many.filter.unwrap().starved, 1);

        let mut report = sample::silent_losses();
        report.queues.resize(1000, report.queues[0].clone());
        let filter = Filter {
            pid: Some(report.queues[0].pid),
            ..Filter::default()
        };
        let many = filter.apply(report);
        assert_eq!((many.queues.len(), many.queues_total), (FLOWS, 999));
        assert_eq!(many.filter.unwrap().queues, 1);
    }

    #[test]
    fn a_unit_narrows_flows_and_drops_but_never_the_books() {
        let before = sample::incident();
        let filter = Filter {
            unit: Some("kubelet".to_owned()),
            ..Filter::default()
        };
        let after = filter.apply(before.clone());
        assert!(!after.starved.is_empty() && after.starved.iter().all(|flow| flow.unit == "kubelet.service"));
        assert!(
            after
                .drops
                .iter()
                .all(|drop| drop.units.contains(&"kubelet.service".to_owned()))
        );
        assert_eq!(after.verdicts[0].units, ["kubelet.service"]);
        assert_eq!(
            (after.ledger, after.rates, after.place),
            (before.ledger, before.rates, before.place)
        );
        assert_eq!(after.verdicts.len(), before.verdicts.len());
        let hidden = after.filter.unwrap();
        assert_eq!(hidden.text, "--unit kubelet");
        assert_eq!(
            hidden.starved as usize,
            before.starved.len() - after.starved.len()
        );
        assert_eq!(hidden.drops as usize, before.drops.len() - after.drops.len());
        assert!(hidden.starved > 0 && hidden.drops > 0 && hidden.verdict_flows > 0);
    }

    #[test]
    fn a_pid_and_a_flow_leave_the_drops() {
        let before = sample::incident();
        let filter = Filter {
            pid: Some(1234),
            flow: Some(pattern(":6443")),
            ..Filter::default()
        };
        let after = filter.apply(before.clone());
        assert!(!after.starved.is_empty() && after.starved.iter().all(|flow| flow.pid == 1234));
        assert_eq!(after.drops, before.drops);
        assert_eq!(after.filter.unwrap().text, "--pid 1234 --flow :6443");
        let nobody = Filter {
            pid: Some(1),
            ..Filter::default()
        }
        .apply(before.clone());
        assert_eq!(
            (nobody.starved.len(), nobody.verdicts.len()),
            (0, before.verdicts.len())
        );
    }

    #[test]
    fn a_unit_with_its_type_is_meant_exactly() {
        let exact = Filter {
            unit: Some("kubelet.socket".to_owned()),
            ..Filter::default()
        };
        assert!(exact.shows_unit("kubelet.socket") && !exact.shows_unit("kubelet.service"));
        let short = Filter {
            unit: Some("kube".to_owned()),
            ..Filter::default()
        };
        assert!(!short.shows_unit("kubelet.service"));
    }
}
