//! Queueing disciplines and filters of devices (`tc`).

use super::super::netlink::{array_at, attributes, string, u32_at};
use super::discipline;
use super::known::{Change, Known};
use super::words::Devices;
use crate::event::Thing;

// include/uapi/linux/{rtnetlink,pkt_sched,pkt_cls}.h
pub(super) const GET_QDISC: u16 = 38;
pub(super) const NEW_QDISC: u16 = 36;
pub(super) const DELETE_QDISC: u16 = 37;
pub(super) const GET_FILTER: u16 = 46;
pub(super) const NEW_FILTER: u16 = 44;
pub(super) const DELETE_FILTER: u16 = 45;
/// Length of `struct tcmsg`.
pub(super) const HEADER: usize = 20;
const TC_H_ROOT: u32 = 0xffff_ffff;
/// The parent of an ingress or clsact queueing discipline, and their handle.
const TC_H_INGRESS: u32 = 0xffff_fff1;
const HANDLE_OF_INGRESS: u32 = 0xffff_0000;
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
    /// How the texts of filters on it begin.
    pub(super) filters: Vec<String>,
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
            // Its filters go with it.
            let device = devices.name(qdisc.index);
            let mut changes = known.remove_all(|thing| is_filter(thing, &device, &qdisc.filters));
            changes.extend(known.remove(&qdisc.thing));
            changes
        }
        NEW_FILTER => filter(body, devices)
            .and_then(|(thing, value)| known.set(thing, value))
            .into_iter()
            .collect(),
        _ => match (filter(body, devices), whole_preference(body)) {
            (Some((thing, _)), _) => known.remove(&thing).into_iter().collect(),
            (None, Some((index, text))) => {
                let device = devices.name(index);
                known.remove_all(|thing| is_filter(thing, &device, std::slice::from_ref(&text)))
            }
            (None, None) => Vec::new(),
        },
    }
}

fn is_filter(thing: &Thing, on: &str, begins: &[String]) -> bool {
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
    let place = match header.parent {
        TC_H_ROOT => " root".to_owned(),
        TC_H_INGRESS => String::new(),
        parent => format!(" parent {}", handle(parent)),
    };
    let parents = if header.handle != HANDLE_OF_INGRESS {
        vec![header.handle]
    } else if kind == "ingress" {
        vec![HANDLE_OF_INGRESS]
    } else {
        vec![MIN_INGRESS, MIN_EGRESS]
    };
    Some(Qdisc {
        index: header.index,
        thing: Thing::Traffic {
            device: devices.name(header.index),
            text: format!("qdisc {kind} {}{place}", handle(header.handle)),
        },
        value: discipline::value(&kind, options(body)),
        filters: parents
            .iter()
            .map(|parent| format!("filter {} ", parent_of_filter(*parent)))
            .collect(),
        parents,
    })
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

/// What asks for the filters of a device below one parent.
pub(super) fn filters_of(index: u32, parent: u32) -> Vec<u8> {
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

/// `TCA_BPF_NAME` and `TCA_BPF_ID` within `TCA_OPTIONS`.
fn bpf(body: &[u8]) -> Vec<String> {
    let (mut name, mut id) = (None, None);
    for (kind, value) in attributes(options(body)) {
        match kind {
            7 => name = Some(string(value)),
            11 => id = array_at(value, 0).map(u32::from_ne_bytes),
            _ => {}
        }
    }
    let id = id.map(|id| format!("prog {id}"));
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
            found.map(|qdisc| (qdisc.thing.to_string(), qdisc.filters))
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
            told("qdisc htb 1: root on eth0", &["filter parent 1: "])
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
    fn filters_are_told() {
        let options = [attribute(7, b"guard.o\0"), attribute(11, &12_u32.to_ne_bytes())].concat();
        let more = [attribute(1, b"bpf\0"), attribute(2, &options)];
        let info = 1 << 16 | u32::from(3_u16.to_be());
        let body = message(1, MIN_INGRESS, info, &more);
        let (thing, value) = filter(&body, &devices()).unwrap();
        assert_eq!(thing.to_string(), "filter ingress pref 1 bpf handle 0x1 on eth0");
        assert_eq!(value, "protocol all, prog 12, guard.o");
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
