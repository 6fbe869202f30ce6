//! Network devices (`ip link`).

use std::fmt;

use super::super::netlink::{attributes, string, u32_at};
use super::words::{Devices, hardware_address};
use crate::event::value;

// include/uapi/linux/{rtnetlink,if_link,if}.h
pub(super) const GET: u16 = 18;
pub(super) const NEW: u16 = 16;
pub(super) const DELETE: u16 = 17;
/// Length of `struct ifinfomsg`.
pub(super) const HEADER: usize = 16;
const IFF_UP: u32 = 1;
const IFF_NOARP: u32 = 0x80;
const IFF_LOWER_UP: u32 = 0x10000;

/// A device as a message tells it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    /// The name that it had before, as far as that was seen; else empty.
    was: String,
    /// It is on, and something is at the other end: what the kernel's routes depend on.
    pub(super) up: bool,
    pub(super) carrier: bool,
    /// It has a hardware parent.
    pub(super) hardware: bool,
    /// It asks for no neighbours and answers for none: it was switched off, or what is behind it has none.
    no_arp: bool,
    mtu: u32,
    address: String,
    master: u32,
    xdp: Vec<Xdp>,
}

/// A BPF program that has what arrives by the device first.
#[derive(Debug, PartialEq, Eq)]
struct Xdp {
    mode: &'static str,
    program: u32,
    /// What is told of it; empty where nobody knows.
    words: String,
}

impl Link {
    /// This BPF program has what arrives by it first.
    pub(super) fn has_xdp(&self, program: u32) -> bool {
        self.xdp.iter().any(|xdp| xdp.program == program)
    }

    /// Takes over what is told of its programs: as it was known before, else by who knows programs.
    pub(super) fn name_programs(&mut self, before: Option<&Self>, words: &dyn Fn(u32) -> Option<String>) {
        for xdp in &mut self.xdp {
            let known = before.into_iter().flat_map(|before| &before.xdp);
            let known = known.filter(|known| known.program == xdp.program && !known.words.is_empty());
            let known = known.map(|known| known.words.clone()).next();
            xdp.words = known.or_else(|| words(xdp.program)).unwrap_or_default();
        }
    }

    /// This is how the device stands that stood so before.
    pub(super) fn after(&mut self, before: &Self) {
        let was = if before.name == self.name {
            &before.was
        } else {
            &before.name
        };
        self.was.clone_from(was);
    }

    /// `up, carrier, mtu 1500, no ARP, address 52:54:00:12:34:56, master br0, xdp prog 12`
    pub(super) fn value(&self, devices: &Devices) -> String {
        let mut words = vec![
            if self.up { value::UP } else { "down" }.to_owned(),
            if self.carrier {
                value::CARRIER
            } else {
                "no carrier"
            }
            .to_owned(),
            format!("{} {}", value::MTU, self.mtu),
        ];
        if self.no_arp {
            words.push(value::NO_ARP.to_owned());
        }
        if !self.address.is_empty() {
            words.push(format!("{} {}", value::DEVICE_ADDRESS, self.address));
        }
        if self.master != 0 {
            words.push(format!("{} {}", value::MASTER, devices.name(self.master)));
        }
        words.extend(self.xdp.iter().map(Xdp::to_string));
        if !self.was.is_empty() {
            words.push(format!("{} {}", value::WAS, self.was));
        }
        words.join(value::OF_DEVICE)
    }
}

impl fmt::Display for Xdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} prog {}", self.mode, self.program)?;
        match self.words.as_str() {
            "" => Ok(()),
            words => write!(f, " ({words})"),
        }
    }
}

/// A device; `None` for what is said of it as the port of a bridge (`AF_BRIDGE`), and for what says one thing only, as
/// wireless devices do.
/// `struct ifinfomsg` { u8 family, pad; u16 type; i32 index; u32 flags, change }
pub(super) fn parse(body: &[u8]) -> Option<Link> {
    if *body.first()? != 0 {
        return None;
    }
    let flags = u32_at(body, 8)?;
    let mut link = Link {
        index: u32_at(body, 4)?,
        up: flags & IFF_UP != 0,
        carrier: flags & IFF_LOWER_UP != 0,
        no_arp: flags & IFF_NOARP != 0,
        ..Link::default()
    };
    for (kind, value) in attributes(body.get(HEADER..)?) {
        match kind {
            1 => link.address = hardware_address(value),
            3 => link.name = string(value),
            4 => link.mtu = u32_at(value, 0)?,
            10 => link.master = u32_at(value, 0)?,
            43 => link.xdp = xdp(value),
            56 => link.hardware = true,
            _ => {}
        }
    }
    (!link.name.is_empty() && link.mtu > 0).then_some(link)
}

/// `IFLA_XDP`: where a program is attached there is its id, and one for each mode where there are several.
fn xdp(value: &[u8]) -> Vec<Xdp> {
    let mut programs = Vec::new();
    let several = attributes(value).any(|(kind, value)| kind == 2 && value == [4]);
    for (kind, value) in attributes(value) {
        let mode = match kind {
            4 if !several => "xdp",
            5 if several => "xdpdrv",
            6 if several => "xdpgeneric",
            7 if several => "xdpoffload",
            _ => continue,
        };
        programs.extend(u32_at(value, 0).map(|program| Xdp {
            mode,
            program,
            words: String::new(),
        }));
    }
    programs
}

#[cfg(test)]
mod tests {
    use super::super::words::tests::{attribute, devices, survives};
    use super::*;

    fn message(family: u8, flags: u32, more: &[Vec<u8>]) -> Vec<u8> {
        [
            &[family, 0, 0, 0][..],
            &7_u32.to_ne_bytes(),
            &flags.to_ne_bytes(),
            &[0; 4],
            &more.concat(),
        ]
        .concat()
    }

    #[test]
    fn devices_are_told() {
        let program = [
            attribute(2, &[1]),
            attribute(4, &12_u32.to_ne_bytes()),
            attribute(5, &12_u32.to_ne_bytes()),
        ];
        let more = [
            attribute(3, b"veth7\0"),
            attribute(4, &1500_u32.to_ne_bytes()),
            attribute(1, &[2, 0, 0, 0, 0, 0xab]),
            attribute(10, &2_u32.to_ne_bytes()),
            attribute(43, &program.concat()),
        ];
        let body = message(0, IFF_UP | IFF_LOWER_UP, &more);
        let mut link = parse(&body).unwrap();
        assert_eq!((link.index, link.name.as_str()), (7, "veth7"));
        assert_eq!(
            link.value(&devices()),
            "up, carrier, mtu 1500, address 02:00:00:00:00:ab, master eth0, xdp prog 12"
        );
        let words = |id| (id == 12).then(|| "guard tag 00 loaded by uid 0".to_owned());
        let mut again = parse(&body).unwrap();
        again.name_programs(Some(&link), &words);
        let named = again.value(&devices());
        assert!(
            named.ends_with(", xdp prog 12 (guard tag 00 loaded by uid 0)"),
            "{named}"
        );
        link.name_programs(Some(&again), &|_| None);
        assert_eq!(link.value(&devices()), named, "it is known");
        assert!(link.has_xdp(12) && !link.has_xdp(13));
        survives(&body, &|body| drop(parse(body)));
        let down = parse(&message(0, IFF_NOARP, &more[..2])).unwrap();
        assert_eq!(down.value(&devices()), "down, no carrier, mtu 1500, no ARP");
        let mut renamed = parse(&message(0, 0, &[attribute(3, b"lan0\0"), more[1].clone()])).unwrap();
        renamed.after(&link);
        let value = renamed.value(&devices());
        assert_eq!(value, "down, no carrier, mtu 1500, was veth7");
        assert_eq!(value::former(&value), Some("veth7"));
        assert_eq!(value::former(&link.value(&devices())), None);
        let mut still = parse(&message(0, 0, &[attribute(3, b"lan0\0"), more[1].clone()])).unwrap();
        still.after(&renamed);
        assert_eq!(still.value(&devices()), value);
        let is_up = |link: &Link| value::is_up(&link.value(&devices()));
        assert!(is_up(&link) && !is_up(&down));
    }

    #[test]
    fn what_is_not_said_of_the_device_itself_is_left_out() {
        let name = attribute(3, b"veth7\0");
        let mtu = attribute(4, &1500_u32.to_ne_bytes());
        assert_eq!(
            parse(&message(7, 1, &[name.clone(), mtu])),
            None,
            "as the port of a bridge"
        );
        assert_eq!(parse(&message(0, 1, &[name])), None, "a wireless event");
    }

    #[test]
    fn several_programs_have_their_modes() {
        let id = |kind: u16, id: u32| attribute(kind, &id.to_ne_bytes());
        let all = [attribute(2, &[4]), id(5, 3), id(6, 4)].concat();
        let told: Vec<String> = xdp(&all).iter().map(Xdp::to_string).collect();
        assert_eq!(told, ["xdpdrv prog 3", "xdpgeneric prog 4"]);
        assert_eq!(xdp(&attribute(2, &[0])), []);
    }
}
