//! What queueing disciplines and their classes are set to (`tc qdisc show`, `tc class show`).

use super::super::netlink::{attributes, u32_at, u64_at};

/// A tick of the packet scheduler, in ns (`PSCHED_SHIFT` in include/net/pkt_sched.h).
const TICK: u64 = 64;
/// Length of `struct tc_netem_qopt`, behind which attributes follow.
const NETEM: usize = 24;
/// These tell what they have counted among their options (`struct tc_htb_glob`, `struct tc_sfq_qopt_v1`).
const COUNTING: [&str; 2] = ["htb", "sfq"];

/// `delay 100 ms, loss 30 %, limit 1000 packets, options 5be2a1f0`: what has words, and a number that tells all the
/// options from others; empty for one that has none.
pub(super) fn value(kind: &str, options: &[u8]) -> String {
    let mut words = match kind {
        "netem" => netem(options),
        "tbf" => tbf(options),
        "pfifo" => limit(u32_at(options, 0), "packets"),
        "bfifo" => limit(u32_at(options, 0), "bytes"),
        // TCA_FQ_PLIMIT, TCA_FQ_CODEL_LIMIT
        "fq" => limit(member(options, 1), "packets"),
        "fq_codel" => limit(member(options, 2), "packets"),
        _ => Vec::new(),
    };
    if !COUNTING.contains(&kind) {
        words.extend(told_apart(options));
    }
    words.join(", ")
}

/// The same of a class: what it counts is not among its options.
pub(super) fn of_class(kind: &str, options: &[u8]) -> String {
    let mut words = if kind == "htb" { htb(options) } else { Vec::new() };
    words.extend(told_apart(options));
    words.join(", ")
}

/// A number that tells all the options from others.
fn told_apart(options: &[u8]) -> Option<String> {
    (!options.is_empty()).then(|| format!("options {:08x}", digest(options)))
}

fn limit(number: Option<u32>, of: &str) -> Vec<String> {
    number
        .map(|limit| format!("limit {limit} {of}"))
        .into_iter()
        .collect()
}

fn member(options: &[u8], wanted: u16) -> Option<u32> {
    attributes(options).find_map(|(kind, value)| u32_at(value, 0).filter(|_| kind == wanted))
}

/// `struct tc_netem_qopt` { u32 latency, limit, loss, gap, duplicate, jitter }
fn netem(options: &[u8]) -> Vec<String> {
    let number = |offset| u32_at(options, offset).unwrap_or_default();
    let (mut delay, mut jitter) = (u64::from(number(0)) * TICK, u64::from(number(20)) * TICK);
    let (mut corrupt, mut rate) = (0, 0);
    for (kind, value) in attributes(options.get(NETEM..).unwrap_or_default()) {
        match kind {
            // TCA_NETEM_CORRUPT, _RATE, _LATENCY64, _JITTER64, _RATE64
            4 => corrupt = u32_at(value, 0).unwrap_or_default(),
            6 if rate == 0 => rate = u64::from(u32_at(value, 0).unwrap_or_default()),
            8 => rate = u64_at(value, 0).unwrap_or_default(),
            10 => delay = u64_at(value, 0).unwrap_or_default(),
            11 => jitter = u64_at(value, 0).unwrap_or_default(),
            _ => {}
        }
    }
    let time = |word: &str, ns: u64| (ns > 0).then(|| format!("{word} {} ms", ns as f64 / 1e6));
    let part = |word: &str, part: u32| {
        // Of all ones; tc itself shows so many digits.
        let percent = f64::from(part) / f64::from(u32::MAX) * 100.0;
        (part > 0).then(|| format!("{word} {} %", (percent * 1e4).round() / 1e4))
    };
    let words = [
        time("delay", delay),
        time("jitter", jitter),
        part("loss", number(8)),
        part("duplicate", number(16)),
        part("corrupt", corrupt),
        (rate > 0).then(|| bits("rate", rate)),
        u32_at(options, 4).map(|limit| format!("limit {limit} packets")),
    ];
    words.into_iter().flatten().collect()
}

/// `TCA_TBF_PARMS`, `struct tc_tbf_qopt` { tc_ratespec rate, peakrate; u32 limit, buffer, mtu }, of 12 bytes each the
/// former, with the rate at their end; and `TCA_TBF_RATE64`.
fn tbf(options: &[u8]) -> Vec<String> {
    let (mut rate, mut limit) = (0, None);
    for (kind, value) in attributes(options) {
        match kind {
            1 => {
                if rate == 0 {
                    rate = u64::from(u32_at(value, 8).unwrap_or_default());
                }
                limit = u32_at(value, 24);
            }
            4 => rate = u64_at(value, 0).unwrap_or_default(),
            _ => {}
        }
    }
    let mut words = vec![bits("rate", rate)];
    words.extend(limit.map(|limit| format!("limit {limit} bytes")));
    words
}

/// `TCA_HTB_PARMS`, `struct tc_htb_opt` { tc_ratespec rate, ceil; … }, of 12 bytes each, with the rate at their end; and
/// `TCA_HTB_RATE64`, `TCA_HTB_CEIL64`.
fn htb(options: &[u8]) -> Vec<String> {
    let (mut rate, mut ceil) = (0, 0);
    for (kind, value) in attributes(options) {
        let small = |offset| u64::from(u32_at(value, offset).unwrap_or_default());
        match kind {
            1 => (rate, ceil) = (rate.max(small(8)), ceil.max(small(20))),
            6 => rate = u64_at(value, 0).unwrap_or_default(),
            7 => ceil = u64_at(value, 0).unwrap_or_default(),
            _ => {}
        }
    }
    vec![bits("rate", rate), bits("ceil", ceil)]
}

/// The kernel counts in bytes a second.
fn bits(word: &str, rate: u64) -> String {
    format!("{word} {} bit/s", rate.saturating_mul(8))
}

/// FNV-1a.
fn digest(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |digest: u32, byte| {
        (digest ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::super::words::tests::{attribute, survives};
    use super::*;

    fn numbers(all: &[u32]) -> Vec<u8> {
        all.iter().flat_map(|number| number.to_ne_bytes()).collect()
    }

    #[test]
    fn what_netem_does_to_packets_is_told() {
        // tc qdisc add dev eth0 root netem delay 100ms 10ms loss 30% duplicate 1%
        let fixed = numbers(&[1_562_500, 1000, 1_288_490_189, 0, 42_949_673, 156_250]);
        assert_eq!(fixed.len(), NETEM);
        let words = |options: &[u8]| {
            let value = value("netem", options);
            let (words, options) = value.rsplit_once(", options ").unwrap();
            assert_eq!(options.len(), 8);
            words.to_owned()
        };
        assert_eq!(
            words(&fixed),
            "delay 100 ms, jitter 10 ms, loss 30 %, duplicate 1 %, limit 1000 packets"
        );
        let more = [
            fixed,
            attribute(4, &numbers(&[42_949_673, 0])),
            attribute(6, &numbers(&[125_000, 0, 0, 0])),
            attribute(10, &2_500_000_u64.to_ne_bytes()),
            attribute(11, &0_u64.to_ne_bytes()),
        ]
        .concat();
        assert_eq!(
            words(&more),
            "delay 2.5 ms, loss 30 %, duplicate 1 %, corrupt 1 %, rate 1000000 bit/s, limit 1000 packets"
        );
        survives(&more, &|options| drop(value("netem", options)));
    }

    #[test]
    fn of_others_it_is_told_that_they_are_set_otherwise() {
        let quantum = |bytes: u32| attribute(3, &bytes.to_ne_bytes());
        let fq = |bytes| {
            value(
                "fq",
                &[attribute(1, &numbers(&[10_000])), quantum(bytes)].concat(),
            )
        };
        assert!(
            fq(3000).starts_with("limit 10000 packets, options "),
            "{}",
            fq(3000)
        );
        assert_eq!(fq(3000), fq(3000));
        assert_ne!(fq(3000), fq(6000));
        assert_eq!(value("htb", &quantum(1)), "");
        assert_eq!(value("clsact", &[]), "");
        let rates = [
            attribute(1, &numbers(&[0, 0, 125_000, 0, 0, 0, 65_536, 0, 0])),
            attribute(4, &1_250_000_000_u64.to_ne_bytes()),
        ]
        .concat();
        assert!(value("tbf", &rates).starts_with("rate 10000000000 bit/s, limit 65536 bytes, options "));
        survives(&rates, &|options| drop(value("tbf", options)));
    }
}
