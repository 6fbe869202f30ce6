//! A dropped packet as a pcapng packet: the bytes from the network header on, behind a cooked header.
//!
//! Every packet has the link type `LINUX_SLL` (113), which says what follows by its Ethernet protocol, so
//! IP, ARP and anything else are decoded alike, and which tells the direction. One link type for all also
//! lets libpcap read the file, which refuses a mixture. (`LINUX_SLL2` adds the index of the device, which
//! tcpdump would name after a device of the machine that it runs on.)
//! Source: <https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL.html>.

use crate::event::{EntryKey, Example};

use super::EVENT;
use super::pcapng::{self, Body, PACKET, code};

/// The link type.
pub(super) const LINK: u16 = 113;
/// Length of the cooked header.
pub(super) const HEADER: usize = 16;

/// `ARPHRD_NONE`: nothing is known of the link layer (include/uapi/linux/if_arp.h).
const NO_LINK_LAYER: u16 = 0xfffe;
/// `PACKET_HOST` and `PACKET_OUTGOING` (include/uapi/linux/if_packet.h).
const TO_US: u16 = 0;
const FROM_US: u16 = 4;
/// The direction in `epb_flags`.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// The device that a packet is shown on: the one it arrived by, else the one it was leaving by.
pub(super) fn device(key: &EntryKey) -> u32 {
    match (key.incoming, key.iif, key.device) {
        (true, 0, device) | (false, _, device @ 1..) => device,
        (_, iif, _) => iif,
    }
}

/// Appends an Enhanced Packet Block.
///
/// `wall` is in nanoseconds since 1970; `comment` is for people; `record` is the event without its bytes.
///
/// # Errors
/// The length, where it is too long for a block.
pub(super) fn write(
    out: &mut Vec<u8>,
    interface: u32,
    wall: u64,
    example: &Example,
    comment: &str,
    record: &str,
) -> Result<(), usize> {
    pcapng::block(out, PACKET, |out| {
        let mut packet = header(example).to_vec();
        packet.extend(&example.bytes);
        let captured = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        let length = example.length.saturating_add(HEADER as u32).max(captured);
        let direction = if example.entry.incoming { INBOUND } else { OUTBOUND };

        out.extend(interface.to_le_bytes());
        out.extend(((wall >> 32) as u32).to_le_bytes());
        out.extend((wall as u32).to_le_bytes());
        out.extend(captured.to_le_bytes());
        out.extend(length.to_le_bytes());
        pcapng::padded(out, &packet);
        pcapng::text(out, code::COMMENT, comment);
        pcapng::text(out, code::COMMENT, &format!("{EVENT}={record}"));
        pcapng::option(out, code::EPB_FLAGS, &direction.to_le_bytes());
        pcapng::end_options(out);
    })
}

/// Whether a record fits into the comment of a packet.
pub(super) fn fits(record: &str) -> bool {
    EVENT.len() + "=".len() + record.len() <= usize::from(u16::MAX)
}

/// A packet block that was read.
pub(super) struct Packet<'a> {
    /// All of the packet that was recorded, the cooked header included.
    cooked: &'a [u8],
    /// The event, `None` where another program wrote the packet.
    pub(super) record: Option<&'a [u8]>,
}

impl<'a> Packet<'a> {
    /// Reads the body of an Enhanced Packet Block.
    ///
    /// # Errors
    /// What contradicts the format.
    pub(super) fn read(mut body: Body<'a>) -> Result<Self, &'static str> {
        const SHORT: &str = "a packet is longer than its block";
        body.skip(12).ok_or(SHORT)?;
        let captured = body.u32().ok_or(SHORT)?;
        body.skip(4).ok_or(SHORT)?;
        let cooked = body.padded(captured as usize).ok_or(SHORT)?;
        let mut record = None;
        for option in body.options() {
            // The last one that has the name: the comment for people is before it, and may begin with anything.
            let (code, value) = option.ok_or("an option is longer than its packet's block")?;
            if code == code::COMMENT {
                record = named(value).or(record);
            }
        }
        Ok(Self { cooked, record })
    }

    /// The packet from its network header on.
    ///
    /// # Errors
    /// What contradicts the format.
    pub(super) fn bytes(&self) -> Result<&'a [u8], &'static str> {
        self.cooked.get(HEADER..).ok_or("a packet has no cooked header")
    }
}

/// The record in a comment, `None` where it is a comment for people.
fn named(comment: &[u8]) -> Option<&[u8]> {
    comment.strip_prefix(EVENT.as_bytes())?.strip_prefix(b"=")
}

/// Direction, kind of link layer, its address (none: eight zeros and a length of zero), protocol.
fn header(example: &Example) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let direction = if example.entry.incoming { TO_US } else { FROM_US };
    header[0..2].copy_from_slice(&direction.to_be_bytes());
    header[2..4].copy_from_slice(&NO_LINK_LAYER.to_be_bytes());
    header[14..16].copy_from_slice(&ethertype(example).to_be_bytes());
    header
}

/// The kernel sets the protocol of a packet that it is sending late; the packet itself shows it then.
fn ethertype(example: &Example) -> u16 {
    match (
        example.entry.ethertype,
        example.bytes.first().map(|byte| byte >> 4),
    ) {
        (0, Some(4)) => 0x0800,
        (0, Some(6)) => 0x86dd,
        (ethertype, _) => ethertype,
    }
}
