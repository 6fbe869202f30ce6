//! What goes on around a healthy node: names are looked up, long answers fetched, ports tried, and neighbours talk over IPv6.

use std::net::{Ipv6Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::counts::Score;
use super::frames::{ethernet, packet_socket, send};
use super::http::Connection;
use super::one_way::unconnected;
use super::{DATAGRAM_TIMEOUT, TCP_TIMEOUT, checksum};

/// From a question for a name to the next.
const BETWEEN_NAMES: Duration = Duration::from_millis(20);
/// A long answer, in bytes.
const LONG: usize = 20_000_000;
/// From a port to the next.
const BETWEEN_PORTS: Duration = Duration::from_millis(1);
/// From a frame to the next.
const BETWEEN_FRAMES: Duration = Duration::from_millis(50);

/// Starts to ask a server over UDP as a resolver does: each question from a port of its own, which is given up with the
/// answer. The thread ends with the process, as those below.
pub(super) fn resolve(address: SocketAddr, score: &Arc<Score>) {
    let score = Arc::clone(score);
    thread::spawn(move || {
        loop {
            score.datagrams.count(ask(address).is_ok());
            thread::sleep(BETWEEN_NAMES);
        }
    });
}

fn ask(address: SocketAddr) -> Result<()> {
    let socket = unconnected(address)?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(DATAGRAM_TIMEOUT))?;
    socket.send(&[0x61; 40])?;
    socket.recv(&mut [0; 64])?;
    Ok(())
}

/// Starts to fetch one long answer after the other.
pub(super) fn haul(address: SocketAddr, score: &Arc<Score>) {
    let score = Arc::clone(score);
    thread::spawn(move || {
        loop {
            let answer = Connection::open(address).and_then(|mut connection| connection.get(LONG));
            score.connections.count(answer.is_ok());
            score.bytes.fetch_add(answer.unwrap_or(0), Ordering::Relaxed);
        }
    });
}

/// Starts to try all ports of an address, one after the other, over TCP and UDP.
pub(super) fn scan(address: SocketAddr, score: &Arc<Score>) -> Result<()> {
    let socket = unconnected(address)?;
    let score = Arc::clone(score);
    thread::spawn(move || {
        for port in (1..=u16::MAX).cycle() {
            let address = SocketAddr::new(address.ip(), port);
            score
                .connections
                .count(TcpStream::connect_timeout(&address, TCP_TIMEOUT).is_ok());
            score.datagrams.count(socket.send_to(&[0; 8], address).is_ok());
            thread::sleep(BETWEEN_PORTS);
        }
    });
    Ok(())
}

/// Starts to send by a device what neighbours of IPv6 send all the time.
pub(super) fn chatter(device: &str, score: &Arc<Score>) -> Result<()> {
    let socket = packet_socket(device, 0).with_context(|| format!("cannot send frames by {device}"))?;
    let score = Arc::clone(score);
    thread::spawn(move || {
        for frame in chatter_frames().iter().cycle() {
            score.frames.count(send(&socket, frame).is_ok());
            thread::sleep(BETWEEN_FRAMES);
        }
    });
    Ok(())
}

/// Another neighbour than the peer.
const OTHER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x99);

/// One of each kind: an advertisement of a router, a question for a neighbour that is another one, a member's report, mDNS,
/// and a client of DHCPv6.
fn chatter_frames() -> Vec<Vec<u8>> {
    let group = |last: u16| Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, last);
    let mut advertisement = vec![134, 0, 0, 0, 64, 0, 0x07, 0x08];
    advertisement.extend([0; 8]);
    let target = Ipv6Addr::new(0x2001, 0xdb8, 0x10, 0, 0, 0, 0, 0x77);
    let solicited = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0x77);
    let mut solicitation = vec![135, 0, 0, 0, 0, 0, 0, 0];
    solicitation.extend(target.octets());
    // Version 2 (RFC 3810): one record, of a group that is joined.
    let mut report = vec![143, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0];
    report.extend(group(0xfb).octets());
    let query = [0; 40];
    vec![
        frame(group(1), 255, ICMP6, advertisement),
        frame(solicited, 255, ICMP6, solicitation),
        member_report(group(0x16), report),
        frame(group(0xfb), 255, UDP, datagram(5353, &query)),
        frame(
            Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2),
            1,
            UDP,
            datagram(547, &query),
        ),
    ]
}

const ETH_IPV6: u16 = 0x86dd;
const UDP: u8 = 17;
const ICMP6: u8 = 58;

fn datagram(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    for word in [port, port, 8 + payload.len() as u16, 0] {
        datagram.extend(word.to_be_bytes());
    }
    datagram.extend(payload);
    datagram
}

/// A message with its checksum, in a packet for a group, in a frame for the link-layer address of that group (RFC 2464).
fn frame(group: Ipv6Addr, hops: u8, protocol: u8, mut message: Vec<u8>) -> Vec<u8> {
    let at = if protocol == UDP { 6 } else { 2 };
    let sum = pseudo_checksum(group, protocol, &message);
    message[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    link(group, &packet(group, hops, protocol, &message))
}

/// The same with the option that routers are to look at it (RFC 2711), which such a report has.
fn member_report(group: Ipv6Addr, mut message: Vec<u8>) -> Vec<u8> {
    let sum = pseudo_checksum(group, ICMP6, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut options = vec![ICMP6, 0, 5, 2, 0, 0, 1, 0];
    options.extend(message);
    link(group, &packet(group, 1, 0, &options))
}

fn pseudo_checksum(group: Ipv6Addr, protocol: u8, message: &[u8]) -> u16 {
    let mut covered = [OTHER.octets(), group.octets()].concat();
    covered.extend(u16::from(protocol).to_be_bytes());
    covered.extend((message.len() as u16).to_be_bytes());
    covered.extend(message);
    checksum(&covered)
}

fn packet(group: Ipv6Addr, hops: u8, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next_header, hops]);
    packet.extend(OTHER.octets());
    packet.extend(group.octets());
    packet.extend(payload);
    packet
}

fn link(group: Ipv6Addr, packet: &[u8]) -> Vec<u8> {
    let [.., a, b, c, d] = group.octets();
    ethernet([0x33, 0x33, a, b, c, d], ETH_IPV6, packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_neighbours_have_right_checksums() {
        let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        let sent = frame(group, 255, UDP, datagram(5353, &[7; 40]));
        assert_eq!(sent[..6], [0x33, 0x33, 0, 0, 0, 1]);
        assert_eq!(pseudo_checksum(group, UDP, &sent[14 + 40..]), 0);
        assert_eq!(chatter_frames().len(), 5);
    }
}
