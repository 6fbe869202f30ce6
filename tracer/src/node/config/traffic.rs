//! Queueing disciplines, their classes, and filters of devices (`tc`).

use super::super::netlink::{array_at, attributes, string, u32_at};
use super::discipline;
use super::known::{Change, Known};
use super::words::Devices;
use crate::event::Thing;

// include/uapi/linux/{rtnetlink,pkt_sched,pkt_cls}.h
pub(super) const GET_QDISC: u16 = 38;
pub(super) const NEW_QDISC: u16 = 36;
pub(super) const DELETE_QDISC: u16 = 37;
pub(super) const GET_CLASS: u16 = 42;
pub(super) const NEW_CLASS: u16 = 40;
pub(super) const DELETE_CLASS: u16 = 41;
pub(super) const GET_FILTER: u16 = 46;
pub(super) const NEW_FILTER: u16 = 44;
pub(super) const DELETE_FILTER: u16 = 45;
/// Length of `struct tcmsg`.
pub(super) const HEADER: usize = 20;
const TC_H_ROOT: u32 = 0xffff_ffff;
/// The parent of an ingress or clsact queueing discipline, and their handle.
const TC_H_INGRESS: u32 = 0xffff_fff1;
const HANDLE_OF_INGRESS: u32 = 0xffff_0000;
/// Queueing disciplines whose classes somebody makes (`tc class`). Others make theirs by themselves: one for each queue of the
/// device (`mq`), or for each flow that is under way (`fq_codel`).
const WITH_CLASSES: [&str; 5] = ["cbq", "drr", "hfsc", "htb", "qfq"];
/// The parents of filters there.
const MIN_INGRESS: u32 = 0xffff_fff2;
const MIN_EGRESS: u32 = 0xffff_fff3;

/// `struct tcmsg` { u8 family, 3 × pad; i32 index; u32 handle, parent, info }
#[derive(Debug, PartialEq, Eq)]
struct Header {
    index: u32,
    handle: u32,
    parent: u32,
    info: u32,
}

impl Header {
    fn parse(body: &[u8]) -> Option<Self> {
        Some(Self {
            index: u32_at(body, 4)?,
            handle: u32_at(body, 8)?,
            parent: u32_at(body, 12)?,
            info: u32_at(body, 16)?,
        })
    }
}

/// A queueing discipline.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Qdisc {
    pub(super) index: u32,
    pub(super) thing: Thing,
    pub(super) value: String,
    /// Where filters may be on it: their parents.
    pub(super) parents: Vec<u32>,
    /// It may have classes that somebody has made.
    pub(super) has_classes: bool,
    /// How the texts of its filters and classes begin.
    of_it: Vec<String>,
}

/// What a message changes.
pub(super) fn take(kind: u16, body: &[u8], devices: &Devices, known: &mut Known) -> Vec<Change> {
    match kind {
        NEW_QDISC => qdisc(body, devices)
            .and_then(|qdisc| known.set(qdisc.thing, qdisc.value))
            .into_iter()
            .collect(),
        DELETE_QDISC => {
            let Some(qdisc) = qdisc(body, devices) else {
                return Vec::new();
            };
            // They go with it, and of its classes the kernel does not tell.
            let device = devices.name(qdisc.index);
            let mut changes = known.remove_all(|thing| is_of(thing, &device, &qdisc.of_it));
            changes.extend(known.remove(&qdisc.thing));
            changes
        }
        NEW_CLASS => class(body, devices)
            .and_then(|(thing, value)| known.set(thing, value))
            .into_iter()
            .collect(),
        DELETE_CLASS => class(body, devices)
            .and_then(|(thing, _)| known.remove(&thing))
            .into_iter()
            .collect(),
        NEW_FILTER => filter(body, devices)
            .and_then(|(thing, value)| known.set(thing, value))
            .into_iter()
            .collect(),
        _ => match (filter(body, devices), whole_preference(body)) {
            (Some((thing, _)), _) => known.remove(&thing).into_iter().collect(),
            (None, Some((index, text))) => {
                let device = devices.name(index);
                known.remove_all(|thing| is_of(thing, &device, std::slice::from_ref(&text)))
            }
            (None, None) => Vec::new(),
        },
    }
}

fn is_of(thing: &Thing, on: &str, begins: &[String]) -> bool {
    matches!(thing, Thing::Traffic { device, text }
        if device == on && begins.iter().any(|begin| text.starts_with(begin.as_str())))
}

/// A queueing discipline; `None` for what the kernel has put there by itself, which has no handle.
pub(super) fn qdisc(body: &[u8], devices: &Devices) -> Option<Qdisc> {
    let header = Header::parse(body)?;
    if header.handle == 0 {
        return None;
    }
    let kind = kind(body)?;
    let has_classes = WITH_CLASSES.contains(&kind.as_str());
    let parents = if header.handle != HANDLE_OF_INGRESS {
        vec![header.handle]
    } else if kind == "ingress" {
        vec![HANDLE_OF_INGRESS]
    } else {
        vec![MIN_INGRESS, MIN_EGRESS]
    };
    let (name, place) = (handle(header.handle), place(header.parent));
    let filters = parents
        .iter()
        .map(|parent| format!("filter {} ", parent_of_filter(*parent)));
    let classes = has_classes.then(|| format!("class {kind} {name}"));
    Some(Qdisc {
        index: header.index,
        thing: Thing::Traffic {
            device: devices.name(header.index),
            text: format!("qdisc {kind} {name}{place}"),
        },
        value: discipline::value(&kind, options(body)),
        of_it: filters.chain(classes).collect(),
        has_classes,
        parents,
    })
}

/// A class that somebody has made, and what it is set to.
pub(super) fn class(body: &[u8], devices: &Devices) -> Option<(Thing, String)> {
    let header = Header::parse(body)?;
    let kind = kind(body).filter(|kind| WITH_CLASSES.contains(&kind.as_str()))?;
    let text = format!("class {kind} {}{}", handle(header.handle), place(header.parent));
    let device = devices.name(header.index);
    Some((
        Thing::Traffic { device, text },
        discipline::of_class(&kind, options(body)),
    ))
}

/// What something of traffic control is on.
fn place(parent: u32) -> String {
    match parent {
        TC_H_ROOT => " root".to_owned(),
        TC_H_INGRESS => String::new(),
        parent => format!(" parent {}", handle(parent)),
    }
}

/// A filter and what it does; `None` where it has no handle, as where the message is of a whole preference.
pub(super) fn filter(body: &[u8], devices: &Devices) -> Option<(Thing, String)> {
    let header = Header::parse(body)?;
    let kind = kind(body)?;
    let thing = Thing::Traffic {
        device: devices.name(header.index),
        text: format!(
            "filter {} pref {} {kind} handle {:#x}",
            parent_of_filter(header.parent),
            header.info >> 16,
            header.handle
        ),
    };
    if header.handle == 0 {
        return None;
    }
    // The lower half is the Ethernet protocol, big-endian.
    let protocol = u16::try_from(header.info & 0xffff).map(u16::from_be).ok()?;
    let mut words = vec![format!("protocol {}", ethernet(protocol))];
    if kind == "bpf" {
        words.extend(bpf(body));
    }
    Some((thing, words.join(", ")))
}

/// The device, and how the texts of all filters begin that a message without a handle tells the end of.
fn whole_preference(body: &[u8]) -> Option<(u32, String)> {
    let header = Header::parse(body)?;
    let place = parent_of_filter(header.parent);
    let text = match header.info >> 16 {
        0 => format!("filter {place} "),
        preference => format!("filter {place} pref {preference} "),
    };
    Some((header.index, text))
}

/// What asks for the filters of a device below one parent; with 0 for that, for all of its classes.
pub(super) fn those_of(index: u32, parent: u32) -> Vec<u8> {
    let mut request = vec![0; 4];
    for number in [index, 0, parent, 0] {
        request.extend(number.to_ne_bytes());
    }
    request
}

fn kind(body: &[u8]) -> Option<String> {
    attributes(body.get(HEADER..)?).find_map(|(kind, value)| (kind == 1).then(|| string(value)))
}

/// `TCA_OPTIONS`
fn options(body: &[u8]) -> &[u8] {
    let options = attributes(body.get(HEADER..).unwrap_or_default()).find(|(kind, _)| *kind == 2);
    options.map(|(_, value)| value).unwrap_or_default()
}

fn parent_of_filter(parent: u32) -> String {
    match parent {
        MIN_INGRESS | HANDLE_OF_INGRESS => "ingress".to_owned(),
        MIN_EGRESS => "egress".to_owned(),
        other => format!("parent {}", handle(other)),
    }
}

/// `1:` and `1:10`, in hexadecimal.
fn handle(number: u32) -> String {
    match number & 0xffff {
        0 => format!("{:x}:", number >> 16),
        minor => format!("{:x}:{minor:x}", number >> 16),
    }
}

fn ethernet(number: u16) -> String {
    match number {
        0x0003 => "all".to_owned(),
        0x0800 => "ip".to_owned(),
        0x0806 => "arp".to_owned(),
        0x86dd => "ipv6".to_owned(),
        other => format!("{other:#06x}"),
    }
}

/// `TCA_BPF_NAME`, `TCA_BPF_TAG` and `TCA_BPF_ID` within `TCA_OPTIONS`.
fn bpf(body: &[u8]) -> Vec<String> {
    let (mut name, mut tag, mut id) = (None, None, None);
    for (kind, value) in attributes(options(body)) {
        match kind {
            7 => name = Some(string(value)),
            10 => tag = array_at(value, 0).map(u64::from_be_bytes),
            11 => id = array_at(value, 0).map(u32::from_ne_bytes),
            _ => {}
        }
    }
    let tag = tag.map_or_else(String::new, |tag| format!(" tag {tag:016x}"));
    let id = id.map(|id| format!("prog {id}{tag}"));
    id.into_iter().chain(name).collect()
}

#[cfg(test)]
mod tests {
    use super::super::words::tests::{attribute, devices, survives};
    use super::*;

    fn message(handle: u32, parent: u32, info: u32, more: &[Vec<u8>]) -> Vec<u8> {
        let mut body = vec![0; 4];
        for number in [2, handle, parent, info] {
            body.extend(number.to_ne_bytes());
        }
        body.extend(more.concat());
        body
    }

    #[test]
    fn queueing_disciplines_are_told() {
        let text = |handle, parent, kind: &[u8]| {
            let found = qdisc(&message(handle, parent, 0, &[attribute(1, kind)]), &devices());
            found.map(|qdisc| (qdisc.thing.to_string(), qdisc.of_it))
        };
        let told = |text: &str, filters: &[&str]| {
            Some((
                text.to_owned(),
                filters.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ))
        };
        assert_eq!(text(0, TC_H_ROOT, b"mq\0"), None, "the kernel's own");
        assert_eq!(
            text(0x1_0000, TC_H_ROOT, b"htb\0"),
            told(
                "qdisc htb 1: root on eth0",
                &["filter parent 1: ", "class htb 1:"]
            )
        );
        assert_eq!(
            text(0x8001_0000, 0x1_0010, b"netem\0"),
            told("qdisc netem 8001: parent 1:10 on eth0", &["filter parent 8001: "])
        );
        assert_eq!(
            text(HANDLE_OF_INGRESS, TC_H_INGRESS, b"clsact\0"),
            told(
                "qdisc clsact ffff: on eth0",
                &["filter ingress ", "filter egress "]
            )
        );
    }

    #[test]
    fn classes_that_somebody_made_are_told() {
        let rate = |bytes: u32| [0; 8].into_iter().chain(bytes.to_ne_bytes());
        let parameters: Vec<u8> = rate(125_000).chain(rate(250_000)).chain([0; 20]).collect();
        let of = |kind: &[u8]| {
            let options = attribute(2, &attribute(1, &parameters));
            message(0x1_0010, 0x1_0001, 0, &[attribute(1, kind), options])
        };
        let (thing, value) = class(&of(b"htb\0"), &devices()).unwrap();
        assert_eq!(thing.to_string(), "class htb 1:10 parent 1:1 on eth0");
        assert!(
            value.starts_with("rate 1000000 bit/s, ceil 2000000 bit/s, checksum of all options "),
            "{value}"
        );
        assert_eq!(class(&of(b"fq_codel\0"), &devices()), None, "one for each flow");
        survives(&of(b"htb\0"), &|body| drop(class(body, &devices())));
        let mut known = Known::default();
        let mut take = |kind, body: &[u8]| take(kind, body, &devices(), &mut known);
        assert_eq!(take(NEW_CLASS, &of(b"htb\0")).len(), 1);
        assert_eq!(take(NEW_CLASS, &of(b"htb\0")), [], "as before");
        let qdisc = |handle| message(handle, TC_H_ROOT, 0, &[attribute(1, b"htb\0")]);
        assert_eq!(take(DELETE_QDISC, &qdisc(0x10_0000)), [], "another one");
        assert_eq!(take(DELETE_QDISC, &qdisc(0x1_0000)), [(thing, None)]);
    }

    #[test]
    fn filters_are_told() {
        let tag = [0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77];
        let options = [
            attribute(7, b"guard.o\0"),
            attribute(10, &tag),
            attribute(11, &12_u32.to_ne_bytes()),
        ]
        .concat();
        let more = [attribute(1, b"bpf\0"), attribute(2, &options)];
        let info = 1 << 16 | u32::from(3_u16.to_be());
        let body = message(1, MIN_INGRESS, info, &more);
        let (thing, value) = filter(&body, &devices()).unwrap();
        assert_eq!(thing.to_string(), "filter ingress pref 1 bpf handle 0x1 on eth0");
        assert_eq!(value, "protocol all, prog 12 tag 0011223344556677, guard.o");
        survives(&body, &|body| {
            drop(filter(body, &devices()));
            drop(qdisc(body, &devices()));
        });
        let all = message(0, MIN_INGRESS, info, &more);
        assert_eq!(filter(&all, &devices()), None);
        assert_eq!(
            whole_preference(&all),
            Some((2, "filter ingress pref 1 ".to_owned()))
        );
    }
}
