//! Frames of very many Ethernet types that nobody handles: for the tracer each is a line of its own.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::counts::Score;
use super::frames::{NODE_MAC, ethernet, packet_socket, send};

/// Types that are sent, one after the other: more than the books have lines for, which are two for each.
pub(super) const MANY: u16 = 40_000;
/// As many as they have room for.
pub(super) const THAT_FIT: u16 = 6_000;
/// The first number that is a type: smaller ones are lengths (IEEE 802.3).
const FIRST: u16 = 0x0600;
/// Types that the kernel may handle: IPv4, ARP, VLAN, IPv6, MPLS, PPPoE, VLAN in VLAN, TIPC. In their place another one is sent
/// once more.
const HANDLED: [u16; 10] = [
    0x0800, 0x0806, 0x8100, 0x86dd, 0x8847, 0x8848, 0x8863, 0x8864, 0x88a8, 0x88ca,
];
/// Sent at a time.
const BURST: u16 = 64;
/// Between two bursts.
const PAUSE: Duration = Duration::from_millis(2);

/// Starts to send frames of so many types by a device. The thread ends with the process.
pub(super) fn start(device: &str, score: &Arc<Score>, types: u16) -> Result<()> {
    let socket = packet_socket(device, 0).with_context(|| format!("cannot send frames by {device}"))?;
    let score = Arc::clone(score);
    thread::spawn(move || {
        for number in (0..types).cycle() {
            let frame = ethernet(NODE_MAC, ethertype(number), &[0; 46]);
            score.frames.count(send(&socket, &frame).is_ok());
            if number % BURST == 0 {
                thread::sleep(PAUSE);
            }
        }
    });
    Ok(())
}

fn ethertype(number: u16) -> u16 {
    let ethertype = FIRST + number;
    if HANDLED.contains(&ethertype) {
        FIRST
    } else {
        ethertype
    }
}
