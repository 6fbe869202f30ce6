//! A server of DHCP with one address to give (RFC 2131).

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::counts::Score;

/// For how long the address is given: half of that later the client asks again.
const LEASE: Duration = Duration::from_secs(6);
/// Length of the fixed part of a message, with the magic number behind it.
const FIXED: usize = 240;
/// RFC 2131, 3.
const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// Options of RFC 2132 and their values.
const TYPE: u8 = 53;
const END: u8 = 255;
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;

/// Starts to give `address` with the first one of its /24, which is the server's own, as the router.
pub(super) fn start(address: Ipv4Addr, score: &Arc<Score>) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 67)).context("cannot listen at port 67")?;
    socket.set_broadcast(true).context("cannot broadcast")?;
    let [a, b, c, _] = address.octets();
    let (server, score) = (Ipv4Addr::new(a, b, c, 1), Arc::clone(score));
    // Who has no address yet is reached by that of all on the link; the limited one has no route here.
    let all = Ipv4Addr::new(a, b, c, 255);
    thread::spawn(move || {
        let mut buffer = [0; 1500];
        loop {
            let Ok((length, _)) = socket.recv_from(&mut buffer) else {
                continue;
            };
            if let Some((message, client)) = answer(&buffer[..length], address, server) {
                let to = SocketAddrV4::new(client.unwrap_or(all), 68);
                score.datagrams.count(socket.send_to(&message, to).is_ok());
            }
        }
    });
    Ok(())
}

/// The answer to a message, and the address that its sender has already; `None` where it needs none.
fn answer(message: &[u8], address: Ipv4Addr, server: Ipv4Addr) -> Option<(Vec<u8>, Option<Ipv4Addr>)> {
    let kind = match option(message, TYPE)? {
        [DISCOVER] => OFFER,
        [REQUEST] => ACK,
        _ => return None,
    };
    let mut reply = message.get(..FIXED)?.to_vec();
    let client = <[u8; 4]>::try_from(&reply[12..16]).ok().map(Ipv4Addr::from);
    reply[0] = 2;
    reply[16..20].copy_from_slice(&address.octets());
    reply[20..24].copy_from_slice(&server.octets());
    let seconds = u32::try_from(LEASE.as_secs()).ok()?.to_be_bytes();
    for (code, value) in [
        (TYPE, &[kind][..]),
        (54, &server.octets()),
        (51, &seconds),
        (1, &[255, 255, 255, 0]),
        (3, &server.octets()),
    ] {
        reply.extend([code, u8::try_from(value.len()).ok()?]);
        reply.extend(value);
    }
    reply.push(END);
    Some((reply, client.filter(|client| !client.is_unspecified())))
}

/// The value of an option of a message.
fn option(message: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut rest = message.get(FIXED..)?;
    if message[FIXED - MAGIC.len()..FIXED] != MAGIC {
        return None;
    }
    loop {
        match *rest {
            [0, ..] => rest = &rest[1..],
            [END, ..] | [] | [_] => return None,
            [code, length, ref more @ ..] => {
                let value = more.get(..length.into())?;
                if code == wanted {
                    return Some(value);
                }
                rest = &more[value.len()..];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_an_address_is_offered_it_and_then_has_it() {
        let (address, server) = (Ipv4Addr::new(10, 10, 0, 2), Ipv4Addr::new(10, 10, 0, 1));
        let mut message = vec![0; FIXED - MAGIC.len()];
        message[0] = 1;
        message.extend(MAGIC);
        message.extend([0, 12, 1, b'x', TYPE, 1, DISCOVER, END]);
        let (reply, client) = answer(&message, address, server).unwrap();
        assert_eq!((reply[0], client), (2, None));
        assert_eq!(reply[16..20], address.octets());
        assert_eq!(option(&reply, TYPE), Some(&[OFFER][..]));
        assert_eq!(option(&reply, 51), Some(&[0, 0, 0, 6][..]));
        // It renews what it has.
        message[12..16].copy_from_slice(&address.octets());
        let kind = message.len() - 2;
        message[kind] = REQUEST;
        let (reply, client) = answer(&message, address, server).unwrap();
        assert_eq!((option(&reply, TYPE), client), (Some(&[ACK][..]), Some(address)));
        for damaged in [&message[..FIXED + 3], &message[..7], &[]] {
            assert_eq!(answer(damaged, address, server), None);
        }
    }
}
