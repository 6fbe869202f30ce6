//! What queueing disciplines and their classes are set to (`tc qdisc show`, `tc class show`).

use super::super::netlink::{attributes, u32_at, u64_at};

/// A tick of the packet scheduler, in ns (`PSCHED_SHIFT` in include/net/pkt_sched.h).
const TICK: u64 = 64;
/// Length of `struct tc_netem_qopt`, behind which attributes follow.
const NETEM: usize = 24;
/// These tell what they have counted among their options (`struct tc_htb_glob`, `struct tc_sfq_qopt_v1`).
const COUNTING: [&str; 2] = ["htb", "sfq"];
/// Of these there is a word for each option.
const TOLD_WHOLE: [&str; 4] = ["bfifo", "drr", "pfifo", "qfq"];

/// Before a number that is another one where any option is another one.
const CHECKSUM: &str = "checksum of all options";

/// `delay 100 ms, loss 30 %, limit 1000 packets, checksum of all options 5be2a1f0`: what has words, and a number that tells all the
/// options from others; empty for one that has none.
pub(super) fn value(kind: &str, options: &[u8]) -> String {
    let mut words = match kind {
        "netem" => netem(options),
        "tbf" => tbf(options),
        "pfifo" => number("limit", u32_at(options, 0), " packets"),
        "bfifo" => number("limit", u32_at(options, 0), " bytes"),
        // TCA_FQ_PLIMIT
        "fq" => number("limit", member(options, 1), " packets"),
        "codel" | "fq_codel" => codel(options),
        // TCA_PIE_TARGET, _LIMIT
        "pie" => [
            time("target", member(options, 1)),
            number("limit", member(options, 2), " packets"),
        ]
        .concat(),
        "cake" => cake(options),
        "red" => red(options),
        // `struct tc_prio_qopt`
        "prio" => number("bands", u32_at(options, 0), ""),
        // `struct tc_sfq_qopt` { u32 quantum; i32 perturb_period; u32 limit, … }
        "sfq" => [
            number("limit", u32_at(options, 8), " packets"),
            number("perturb", u32_at(options, 4).filter(|every| *every > 0), " s"),
        ]
        .concat(),
        "htb" => default_class(options),
        _ => Vec::new(),
    };
    if !COUNTING.contains(&kind) {
        words.extend(told_apart(kind, options));
    }
    words.join(", ")
}

/// The same of a class: what it counts is not among its options.
pub(super) fn of_class(kind: &str, options: &[u8]) -> String {
    let mut words = match kind {
        "htb" => htb(options),
        "hfsc" => hfsc(options),
        // TCA_DRR_QUANTUM
        "drr" => number("quantum", member(options, 1), " bytes"),
        // TCA_QFQ_WEIGHT, _LMAX
        "qfq" => [
            number("weight", member(options, 1), ""),
            number("maxpkt", member(options, 2), " bytes"),
        ]
        .concat(),
        _ => Vec::new(),
    };
    words.extend(told_apart(kind, options));
    words.join(", ")
}

/// A number that tells all the options from others, where not each has a word.
fn told_apart(kind: &str, options: &[u8]) -> Option<String> {
    let is_told = options.is_empty() || TOLD_WHOLE.contains(&kind);
    (!is_told).then(|| format!("{CHECKSUM} {:08x}", digest(options)))
}

/// `limit 1000 packets`
fn number(word: &str, number: Option<u32>, unit: &str) -> Vec<String> {
    let told = number.map(|number| format!("{word} {number}{unit}"));
    told.into_iter().collect()
}

/// A time of so many µs. The kernel rounds it down, so that 5 ms become 4.999.
fn time(word: &str, us: Option<u32>) -> Vec<String> {
    let told = us.map(|us| format!("{word} {} ms", (f64::from(us) / 10.0).round() / 100.0));
    told.into_iter().collect()
}

fn member(options: &[u8], wanted: u16) -> Option<u32> {
    attributes(options).find_map(|(kind, value)| u32_at(value, 0).filter(|_| kind == wanted))
}

/// `TCA_CODEL_TARGET`, `_LIMIT`, `_INTERVAL`, and the same of `TCA_FQ_CODEL`.
fn codel(options: &[u8]) -> Vec<String> {
    [
        number("limit", member(options, 2), " packets"),
        time("target", member(options, 1)),
        time("interval", member(options, 3)),
    ]
    .concat()
}

/// `TCA_CAKE_BASE_RATE64`, 0 for none, and `TCA_CAKE_RTT`.
fn cake(options: &[u8]) -> Vec<String> {
    let rate = attributes(options).find_map(|(kind, value)| u64_at(value, 0).filter(|_| kind == 2));
    let rate = rate.map(|rate| match rate {
        0 => "unlimited".to_owned(),
        rate => bits("rate", rate),
    });
    rate.into_iter().chain(time("rtt", member(options, 7))).collect()
}

/// `TCA_RED_PARMS`, `struct tc_red_qopt` { u32 limit, qth_min, qth_max; … }
fn red(options: &[u8]) -> Vec<String> {
    let parameters = attributes(options).find(|(kind, _)| *kind == 1);
    let (_, parameters) = parameters.unwrap_or_default();
    let words = [("limit", 0), ("min", 4), ("max", 8)];
    let told = words.map(|(word, offset)| number(word, u32_at(parameters, offset), " bytes"));
    told.concat()
}

/// `TCA_HTB_INIT`, `struct tc_htb_glob` { u32 version, rate2quantum, defcls, … }: the class of what no filter has chosen one for;
/// for 0 that is not held back at all.
fn default_class(options: &[u8]) -> Vec<String> {
    let (_, init) = attributes(options)
        .find(|(kind, _)| *kind == 2)
        .unwrap_or_default();
    let class = u32_at(init, 8).filter(|class| *class > 0);
    class
        .map(|class| format!("default {class:#x}"))
        .into_iter()
        .collect()
}

/// `TCA_HFSC_RSC`, `_FSC`, `_USC`: `struct tc_service_curve` { u32 m1, d, m2 }, of which the last is the rate that stays.
fn hfsc(options: &[u8]) -> Vec<String> {
    let curves = attributes(options).filter_map(|(kind, value)| {
        let word = match kind {
            1 => "realtime",
            2 => "linkshare",
            3 => "upperlimit",
            _ => return None,
        };
        Some(bits(word, u64::from(u32_at(value, 8)?)))
    });
    curves.collect()
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
/// former, with the rate at their end; and `TCA_TBF_RATE64`. The buffer is the time in which that rate fills it.
fn tbf(options: &[u8]) -> Vec<String> {
    let (mut rate, mut limit, mut buffer) = (0, None, None);
    for (kind, value) in attributes(options) {
        match kind {
            1 => {
                if rate == 0 {
                    rate = u64::from(u32_at(value, 8).unwrap_or_default());
                }
                limit = u32_at(value, 24);
                buffer = u32_at(value, 28);
            }
            4 => rate = u64_at(value, 0).unwrap_or_default(),
            _ => {}
        }
    }
    let mut words = vec![bits("rate", rate)];
    words.extend(buffer.map(|buffer| {
        let burst = u128::from(rate) * u128::from(buffer) * u128::from(TICK);
        format!("burst {} bytes", burst.div_ceil(1_000_000_000))
    }));
    words.extend(number("limit", limit, " bytes"));
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
            let (words, options) = value.rsplit_once(", checksum of all options ").unwrap();
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
            fq(3000).starts_with("limit 10000 packets, checksum of all options "),
            "{}",
            fq(3000)
        );
        assert_eq!(fq(3000), fq(3000));
        assert_ne!(fq(3000), fq(6000));
        assert_eq!(value("htb", &quantum(1)), "");
        assert_eq!(value("clsact", &[]), "");
        let rates = [
            attribute(1, &numbers(&[0, 0, 125_000, 0, 0, 0, 65_536, 2, 0])),
            attribute(4, &1_250_000_000_u64.to_ne_bytes()),
        ]
        .concat();
        let tbf = value("tbf", &rates);
        assert!(
            tbf.starts_with(
                "rate 10000000000 bit/s, burst 160 bytes, limit 65536 bytes, checksum of all options "
            ),
            "{tbf}"
        );
        survives(&rates, &|options| drop(value("tbf", options)));
    }

    #[test]
    fn those_that_are_common_have_words() {
        let words = |kind: &str, options: &[u8]| {
            survives(options, &|options| drop(value(kind, options)));
            let value = value(kind, options);
            match value.rsplit_once(", checksum of all options ") {
                Some((words, _)) => words.to_owned(),
                None => value,
            }
        };
        let of = |kind, all: &[u32]| attribute(kind, &numbers(all));
        let codel = [of(1, &[4999]), of(2, &[10_240]), of(3, &[99_999])].concat();
        let cake = [attribute(2, &1_250_000_u64.to_ne_bytes()), of(7, &[100_000])].concat();
        for (kind, options, expected) in [
            ("pfifo", numbers(&[5]), "limit 5 packets"),
            (
                "fq_codel",
                codel,
                "limit 10240 packets, target 5 ms, interval 100 ms",
            ),
            (
                "pie",
                [of(1, &[15_000]), of(2, &[1000])].concat(),
                "target 15 ms, limit 1000 packets",
            ),
            ("cake", cake, "rate 10000000 bit/s, rtt 100 ms"),
            ("cake", attribute(2, &[0; 8]), "unlimited"),
            (
                "red",
                of(1, &[400_000, 30_000, 90_000, 0]),
                "limit 400000 bytes, min 30000 bytes, max 90000 bytes",
            ),
            ("prio", numbers(&[3, 0, 0, 0, 0]), "bands 3"),
            (
                "sfq",
                numbers(&[1514, 10, 127, 1024, 127]),
                "limit 127 packets, perturb 10 s",
            ),
            ("htb", of(2, &[0x3_0011, 10, 0x10, 0, 7]), "default 0x10"),
        ] {
            assert_eq!(words(kind, &options), expected, "{kind}");
        }
        let hfsc = of_class("hfsc", &of(2, &[0, 0, 125_000]));
        assert!(
            hfsc.starts_with("linkshare 1000000 bit/s, checksum of all options "),
            "{hfsc}"
        );
        assert_eq!(
            of_class("qfq", &[of(1, &[2]), of(2, &[1514])].concat()),
            "weight 2, maxpkt 1514 bytes"
        );
    }
}
