//! The kernel's own answer: what would it do with a packet for an address of this node (`ip route get`)?
//!
//! The configuration may be read in many ways; this is how the kernel reads it. Asking changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use super::super::netlink::{self, ROUTE, attributes, u32_at};
use super::known::{Change, Known};
use super::link::Link;
use super::route;
use super::sysctl;
use super::told::{self, Cause, Told, Who};
use super::words::{Devices, IPV4, IPV6, action, address, sentence};
use crate::event::{Renamed, Seen, Thing, Version, value};

/// Addresses of a namespace that are asked for at most.
pub(super) const MOST: usize = 64;
/// What comes with a change is waited for so long.
const SETTLE: Duration = Duration::from_millis(50);
/// Between two rounds of questions there is so much time at least.
const PAUSE: Duration = Duration::from_millis(500);
/// And so many times as long as the last round took.
const SHARE: u32 = 20;

/// What packets for a device of the node itself come from and go to.
const LOOPBACK: &str = "lo";

/// One question: a packet for an own address.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Question {
    device: String,
    index: u32,
    address: IpAddr,
    /// Whom it is from; IPv4 answers only where that is somebody who may be there.
    source: Option<IpAddr>,
}

/// The answers that were told of a namespace, and when they are to be asked for again.
#[derive(Debug, Default)]
pub(super) struct Answers {
    told: BTreeMap<Thing, String>,
    /// When the first change came after the last round.
    changed: Option<Instant>,
    cause: Cause,
    /// Not earlier.
    pause: Option<Instant>,
    /// Own addresses for which there is no room.
    left_out: usize,
    /// Own addresses that are not asked for, since the kernel might write that to its log.
    logged: usize,
}

impl Answers {
    /// Something changed that answers depend on.
    pub(super) fn need(&mut self, by: &Who) {
        self.changed.get_or_insert_with(Instant::now);
        self.cause.add(by);
    }

    /// In how long they are to be asked for.
    pub(super) fn due(&self) -> Option<Duration> {
        let settled = self.changed? + SETTLE;
        let at = self.pause.map_or(settled, |pause| pause.max(settled));
        Some(at.saturating_duration_since(Instant::now()))
    }

    /// Own addresses that are not asked for.
    pub(super) fn left_out(&self) -> usize {
        self.left_out
    }

    /// Own addresses that are not asked for, since the kernel might write that to its log.
    pub(super) fn logged(&self) -> usize {
        self.logged
    }

    /// A device has another name.
    pub(super) fn rename(&mut self, renamed: Renamed<'_>) {
        let told = std::mem::take(&mut self.told).into_iter();
        let by_name = told.map(|(thing, answer)| {
            let answer = renamed.value(&thing, &answer).unwrap_or(answer);
            (renamed.thing(&thing).unwrap_or(thing), answer)
        });
        self.told = by_name.collect();
    }

    /// Those that were told, as gone.
    pub(super) fn forget(&mut self) -> impl Iterator<Item = Change> {
        std::mem::take(&mut self.told)
            .into_keys()
            .map(|thing| (thing, None))
    }

    /// Asks for all, in the namespace of this thread.
    pub(super) fn ask(
        &mut self,
        known: &Known,
        unsettled: &BTreeSet<Thing>,
        links: &BTreeMap<u32, Link>,
        devices: &Devices,
    ) -> Round {
        let begin = Instant::now();
        let (questions, left_out) = questions(known, unsettled, links);
        self.left_out = left_out;
        let (logged, questions): (Vec<_>, Vec<_>) = questions
            .into_iter()
            .partition(|question| question.is_logged(&|name| sysctl::value(name)));
        self.logged = logged.len();
        let mut answers = BTreeMap::new();
        for question in questions {
            // What the kernel does not even refuse is no answer.
            if let Some(answer) = ask(&question, devices) {
                answers.insert(question.thing(), answer);
            }
        }
        let took = begin.elapsed();
        Round { answers, took }
    }

    /// Tells what is not as it was, by whom that was brought about if it was one, and what is not asked for any more. Where
    /// something changed meanwhile, it is asked once more.
    pub(super) fn answered(&mut self, Round { answers: now, took }: Round, is_quiet: bool) -> Vec<Told> {
        let Some(by) = self.cause.looked(is_quiet, Instant::now()) else {
            self.changed = Some(Instant::now());
            return Vec::new();
        };
        self.changed = None;
        let gone = self.told.keys().filter(|thing| !now.contains_key(thing));
        let mut found: Vec<Change> = gone.map(|thing| (thing.clone(), None)).collect();
        let mut changed = Vec::new();
        for (thing, answer) in &now {
            let change = (thing.clone(), Some(answer.clone()));
            match self.told.get(thing) {
                None => found.push(change),
                Some(before) if before != answer => changed.push(change),
                Some(_) => {}
            }
        }
        self.told = now;
        self.pause = Some(Instant::now() + PAUSE.max(took * SHARE));
        let mut told = told::found(found);
        told.extend(told::all(changed, Seen::Noticed, Some(&by)));
        told
    }
}

/// What the kernel answered to all questions, and how long that took.
pub(super) struct Round {
    answers: BTreeMap<Thing, String>,
    took: Duration,
}

impl Question {
    fn thing(&self) -> Thing {
        Thing::Answer {
            device: self.device.clone(),
            address: self.address,
        }
    }

    /// It is about a packet that is received, by that device; else it is about one that is sent.
    fn is_received(&self) -> bool {
        self.device != LOOPBACK
    }

    /// The kernel may write it to its log: `ip_handle_martian_source` does so with a source that it does not believe, even
    /// where it is only asked. `sysctl` reads a kernel parameter.
    fn is_logged(&self, sysctl: &dyn Fn(&str) -> Option<String>) -> bool {
        let logs = |device: &str| {
            let value = sysctl(&format!("net.ipv4.conf.{device}.log_martians"));
            value.is_some_and(|value| value != "0")
        };
        self.address.is_ipv4() && self.is_received() && (logs("all") || logs(&self.device))
    }

    /// `struct rtmsg` with the addresses, and the device by which the packet comes. One for loopback is not received but
    /// sent: what comes in for 127.0.0.1 is refused whatever the routes are.
    fn request(&self) -> Vec<u8> {
        let (family, bits) = match self.address {
            IpAddr::V4(_) => (IPV4, 32),
            IpAddr::V6(_) => (IPV6, 128),
        };
        let mut request = vec![0; route::HEADER];
        request[0] = family;
        request[1] = bits;
        let mut add = |kind: u16, value: &[u8]| {
            let length = u16::try_from(4 + value.len()).unwrap_or_default();
            request.extend(length.to_ne_bytes());
            request.extend(kind.to_ne_bytes());
            request.extend(value);
        };
        // RTA_DST, RTA_SRC, RTA_IIF
        add(1, &octets(self.address));
        if let Some(source) = self.source {
            add(2, &octets(source));
        }
        if self.is_received() {
            add(3, &self.index.to_ne_bytes());
        }
        if self.source.is_some() {
            request[2] = bits;
        }
        request
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// All that are to be asked, and how many addresses there is no room for. Loopback first, then devices with hardware, then
/// the others in the order of their indices. Of devices that are down nothing is expected, nor of addresses of IPv6 while it
/// is not settled whether another node has them.
fn questions(
    known: &Known,
    unsettled: &BTreeSet<Thing>,
    links: &BTreeMap<u32, Link>,
) -> (Vec<Question>, usize) {
    let by_name: BTreeMap<&str, &Link> = links.values().map(|link| (link.name.as_str(), link)).collect();
    let mut own = Vec::new();
    let mut gateways: Vec<(&str, IpAddr)> = Vec::new();
    for (thing, values) in known.iter() {
        match thing {
            Thing::Address {
                device,
                address,
                prefix,
            } => {
                let value = values.first().map_or("", String::as_str);
                let is_used = !unsettled.contains(thing) && !value::is_duplicate(value);
                // Each virtual device has one of these: on a node with many pods they would be most.
                let is_of_link = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
                let is_asked = |link: &&&Link| link.up && is_used && (link.hardware || !is_of_link);
                if let Some(link) = by_name.get(device.as_str()).filter(is_asked) {
                    own.push((*link, *address, *prefix, value));
                }
            }
            Thing::Route { prefix: 0, .. } => {
                gateways.extend(values.iter().flat_map(|value| route::ways(value)));
            }
            _ => {}
        }
    }
    // It is to lead there also where somebody has taken the address away.
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    if let Some(link) = by_name.get(LOOPBACK).filter(|link| link.up)
        && !own
            .iter()
            .any(|(of, address, ..)| of.name == LOOPBACK && *address == loopback)
    {
        own.push((link, loopback, 8, ""));
    }
    own.sort_by_key(|(link, address, prefix, _)| {
        (
            link.name != LOOPBACK,
            !link.hardware,
            link.index,
            *address,
            *prefix,
        )
    });
    gateways.sort_unstable();
    let addresses: BTreeSet<IpAddr> = own.iter().map(|(_, address, ..)| *address).collect();
    let (mut questions, mut left_out): (Vec<Question>, _) = (Vec::new(), 0);
    for (link, address, prefix, value) in &own {
        if questions.len() >= MOST {
            left_out += 1;
            continue;
        }
        let source = if link.name == LOOPBACK {
            None
        } else {
            let gateway = || {
                let mut of_device = gateways.iter().filter(|(device, _)| *device == link.name);
                of_device
                    .find(|(_, gateway)| Version::of(*gateway) == Version::of(*address))
                    .map(|(_, gateway)| *gateway)
            };
            let source = gateway()
                .or_else(|| value::peer(value))
                .or_else(|| another(*address, *prefix, &addresses));
            if source.is_none() && address.is_ipv4() {
                continue;
            }
            source
        };
        let question = Question {
            device: link.name.clone(),
            index: link.index,
            address: *address,
            source,
        };
        // One device may have one address with several prefixes.
        if questions.last().map(Question::thing) != Some(question.thing()) {
            questions.push(question);
        }
    }
    (questions, left_out)
}

/// Another node's address on the link of an own one, the first that is none of the node's own; `None` where the link has no
/// other.
fn another(address: IpAddr, prefix: u8, own: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    /// Own addresses in a row at the beginning of a network, at most.
    const TRIED: u128 = 1024;
    let (number, bits) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32_u8),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let free = u32::from(bits.checked_sub(prefix)?);
    // All ones below the prefix.
    let hosts = u128::MAX.checked_shr(128 - free)?;
    let network = number & !hosts;
    // The first and the last of a network are nobody's, where it has more than two.
    let (first, last) = if hosts > 1 { (1, hosts - 1) } else { (0, hosts) };
    (first..=last.min(first + TRIED))
        .map(|host| network | host)
        .map(|number| match address {
            IpAddr::V4(_) => u32::try_from(number)
                .map_or(Ipv4Addr::UNSPECIFIED, Ipv4Addr::from_bits)
                .into(),
            IpAddr::V6(_) => Ipv6Addr::from_bits(number).into(),
        })
        .find(|candidate: &IpAddr| !own.contains(candidate))
}

/// The kernel's answer; `None` where it cannot be asked.
fn ask(question: &Question, devices: &Devices) -> Option<String> {
    let told = netlink::get(ROUTE, route::GET, &question.request(), |body| {
        Some(answer(body, devices))
    });
    match told {
        Ok(told) => told.flatten(),
        Err(error) => refusal(error.refused()?),
    }
}

/// `local`, or `unicast via 10.0.0.1 dev eth0`.
fn answer(body: &[u8], devices: &Devices) -> Option<String> {
    let kind = *body.get(7)?;
    let (mut gateway, mut device) = (None, 0);
    for (kind, value) in attributes(body.get(route::HEADER..)?) {
        match kind {
            4 => device = u32_at(value, 0)?,
            5 => gateway = address(value),
            18 => gateway = value.get(2..).and_then(address),
            _ => {}
        }
    }
    let what = action(kind);
    if what == value::LOCAL {
        return Some(what);
    }
    Some(sentence([
        what,
        gateway.map_or_else(String::new, |gateway| format!("via {gateway}")),
        if device == 0 {
            String::new()
        } else {
            format!("dev {}", devices.name(device))
        },
    ]))
}

/// What the kernel's refusal says. It does not say whether the packet is for this node where it does not believe the source;
/// other errors are none of an address.
fn refusal(number: i32) -> Option<String> {
    let unclear = |why: &str| Some(format!("{}, {why}", value::UNCLEAR));
    let text = match number {
        libc::ENETUNREACH => "error ENETUNREACH (no route)",
        libc::EHOSTUNREACH => "error EHOSTUNREACH (neither local nor forwarded)",
        libc::EACCES => "error EACCES (prohibited)",
        libc::EXDEV => return unclear("EXDEV (the reverse path filter refuses the source)"),
        libc::EINVAL => return unclear("EINVAL (the source or the destination is refused)"),
        _ => return None,
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::words::tests::{attribute, devices, survives};
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn another_of(text: &str, prefix: u8, own: &[&str]) -> Option<String> {
        let own = own.iter().map(|text| ip(text)).collect();
        another(ip(text), prefix, &own).map(|address| address.to_string())
    }

    #[test]
    fn somebody_else_on_the_link_is_found() {
        let of = |text, prefix| another_of(text, prefix, &[text]);
        assert_eq!(of("10.0.0.9", 24).as_deref(), Some("10.0.0.1"));
        assert_eq!(of("10.0.0.1", 24).as_deref(), Some("10.0.0.2"));
        assert_eq!(of("10.0.0.1", 30).as_deref(), Some("10.0.0.2"));
        assert_eq!(of("10.0.0.1", 31).as_deref(), Some("10.0.0.0"));
        assert_eq!(of("10.0.0.1", 32), None);
        assert_eq!(of("fe80::7", 64).as_deref(), Some("fe80::1"));
        assert_eq!(of("2001:db8::1", 128), None);
        assert_eq!(of("10.0.0.1", 0).as_deref(), Some("0.0.0.1"));
        assert_eq!(
            another_of("10.0.0.1", 30, &["10.0.0.1", "10.0.0.2"]),
            None,
            "all are its own"
        );
        assert_eq!(
            another(ip("10.0.0.1"), 40, &BTreeSet::new()),
            None,
            "no such prefix"
        );
    }

    fn link(index: u32, name: &str, up: bool) -> (u32, Link) {
        let mut link = Link::default();
        link.index = index;
        link.name = name.to_owned();
        link.up = up;
        link.hardware = name == "eth1";
        (index, link)
    }

    #[test]
    fn each_own_address_is_asked_for_once() {
        let links = [
            link(1, "lo", true),
            link(2, "eth0", true),
            link(3, "eth1", true),
            link(4, "off0", false),
        ];
        let links = BTreeMap::from(links);
        let mut known = Known::default();
        let mut add = |device: &str, address: &str, prefix, value: &str| {
            let device = device.to_owned();
            let address = ip(address);
            known.add(
                Thing::Address {
                    device,
                    address,
                    prefix,
                },
                value.to_owned(),
            );
        };
        add("lo", "127.0.0.1", 8, "scope host");
        add("eth0", "10.0.0.9", 24, "scope global");
        add("eth0", "10.0.0.9", 16, "scope global");
        add("eth0", "10.9.0.1", 32, "peer 10.9.0.2 scope global");
        add("eth1", "10.1.0.9", 32, "scope global");
        add("eth1", "2001:db8::7", 64, "scope global");
        add("eth1", "fe80::7", 64, "scope link");
        add("eth0", "fe80::8", 64, "scope link");
        add("eth0", "2001:db8::8", 64, "scope global dadfailed");
        add("eth0", "2001:db8::9", 64, "scope global");
        add("eth0", "2001:db8:1::9", 128, "scope global");
        add("off0", "10.2.0.9", 24, "scope global");
        let default = Thing::Route {
            table: 254,
            action: "unicast".to_owned(),
            destination: ip("0.0.0.0"),
            prefix: 0,
            metric: 0,
        };
        known.add(default, "via 10.1.0.254 dev eth1 proto boot".to_owned());
        let unsettled = BTreeSet::from([Thing::Address {
            device: "eth0".to_owned(),
            address: ip("2001:db8::9"),
            prefix: 64,
        }]);
        let (asked, left_out) = questions(&known, &unsettled, &links);
        let asked: Vec<String> = asked
            .iter()
            .map(|one| {
                let from = one
                    .source
                    .map_or_else(|| "-".to_owned(), |source| source.to_string());
                format!("{} {} {from}", one.device, one.address)
            })
            .collect();
        assert_eq!(
            asked,
            [
                "lo 127.0.0.1 -",
                "eth1 10.1.0.9 10.1.0.254",
                "eth1 2001:db8::7 2001:db8::1",
                "eth1 fe80::7 fe80::1",
                "eth0 10.0.0.9 10.0.0.1",
                "eth0 10.9.0.1 10.9.0.2",
                "eth0 2001:db8:1::9 -",
            ]
        );
        assert_eq!(left_out, 0);
    }

    #[test]
    fn no_more_than_a_bound_are_asked_for() {
        let links = BTreeMap::from([link(2, "eth0", true)]);
        let mut known = Known::default();
        for host in 1..=70 {
            let thing = Thing::Address {
                device: "eth0".to_owned(),
                address: ip(&format!("10.0.0.{host}")),
                prefix: 24,
            };
            known.add(thing, String::new());
        }
        let (asked, left_out) = questions(&known, &BTreeSet::new(), &links);
        assert_eq!((asked.len(), left_out), (MOST, 6));
        assert_eq!(asked[0].source, Some(ip("10.0.0.71")));
    }

    #[test]
    fn what_the_kernel_would_log_is_not_asked() {
        let is_logged = |device: &str, address: &str, set: &str| {
            let question = Question {
                device: device.to_owned(),
                index: 2,
                address: ip(address),
                source: None,
            };
            let value = |name: &str| Some(if name == set { "1" } else { "0" }.to_owned());
            question.is_logged(&value)
        };
        let (all, eth0) = (
            "net.ipv4.conf.all.log_martians",
            "net.ipv4.conf.eth0.log_martians",
        );
        assert!(is_logged("eth0", "10.0.0.9", all) && is_logged("eth0", "10.0.0.9", eth0));
        assert!(!is_logged("eth1", "10.0.0.9", eth0));
        assert!(!is_logged("lo", "127.0.0.1", all), "sent");
        assert!(!is_logged("eth0", "2001:db8::7", all), "IPv6 logs none");
    }

    #[test]
    fn a_question_is_a_whole_message() {
        let question = Question {
            device: "eth0".to_owned(),
            index: 2,
            address: ip("10.0.0.9"),
            source: Some(ip("10.0.0.1")),
        };
        let request = question.request();
        assert_eq!(request[..3], [2, 32, 32]);
        let members: Vec<_> = attributes(&request[route::HEADER..]).collect();
        assert_eq!(
            members,
            [
                (1, &[10, 0, 0, 9][..]),
                (2, &[10, 0, 0, 1]),
                (3, &2_u32.to_ne_bytes())
            ]
        );
    }

    #[test]
    fn answers_are_told_in_the_words_of_ip() {
        let message = |kind: u8, more: &[Vec<u8>]| {
            let mut body = vec![2, 32, 0, 0, 254, 0, 0, kind, 0, 2, 0, 0];
            body.extend(more.concat());
            body
        };
        let told = |body: &[u8]| answer(body, &devices());
        let device = attribute(4, &2_u32.to_ne_bytes());
        assert_eq!(
            told(&message(2, std::slice::from_ref(&device))).as_deref(),
            Some("local")
        );
        let leads = message(1, &[device, attribute(5, &[10, 0, 0, 1])]);
        assert_eq!(told(&leads).as_deref(), Some("unicast via 10.0.0.1 dev eth0"));
        survives(&leads, &|body| drop(told(body)));
        assert_eq!(refusal(libc::EPERM), None);
        let is_unclear = |number| value::is_unclear(&refusal(number).unwrap());
        assert!(is_unclear(libc::EXDEV) && is_unclear(libc::EINVAL) && !is_unclear(libc::ENETUNREACH));
    }

    #[test]
    fn the_kernel_takes_loopback_for_its_own() {
        let question = Question {
            device: "lo".to_owned(),
            index: 1,
            address: ip("127.0.0.1"),
            source: None,
        };
        assert_eq!(ask(&question, &devices()).as_deref(), Some("local"));
    }
}
