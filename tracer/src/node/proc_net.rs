//! The lists of sockets in /proc/net: older and slower than sock_diag, but always there.
//!
//! The kernel walks its tables in pieces while the file is read: a socket that is opened or closed
//! meanwhile may be missing.

use std::fs;
use std::io;
use std::net::IpAddr;

use super::sockets::{Family, Kind, Row};

/// Why such a list cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("cannot read {path}: {source}")]
    Unreadable { path: String, source: io::Error },
    #[error("cannot understand the line `{line}` of {path}; please report the kernel's version")]
    Malformed { path: String, line: String },
}

/// The sockets of one kind in this thread's namespace. A kernel without IPv6 has none of IPv6.
pub(super) fn rows(kind: Kind, family: Family) -> Result<Vec<Row>, Error> {
    let path = path(kind, family);
    match fs::read_to_string(&path) {
        Ok(text) => parse(kind, &text, &path),
        Err(error) if error.kind() == io::ErrorKind::NotFound && family == Family::V6 => Ok(Vec::new()),
        Err(source) => Err(Error::Unreadable { path, source }),
    }
}

/// /proc/net itself shows the namespace of the process, not of the thread.
fn path(kind: Kind, family: Family) -> String {
    let name = match kind {
        Kind::Tcp => "tcp",
        Kind::Udp => "udp",
        Kind::Raw => "raw",
        Kind::Ping => "icmp",
    };
    let suffix = match family {
        Family::V4 => "",
        Family::V6 => "6",
    };
    format!("/proc/thread-self/net/{name}{suffix}")
}

fn parse(kind: Kind, text: &str, path: &str) -> Result<Vec<Row>, Error> {
    text.lines()
        .skip(1)
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| {
            row(kind, line).ok_or_else(|| Error::Malformed {
                path: path.to_owned(),
                line: line.to_owned(),
            })
        })
        .collect()
}

/// `sl local remote state queues timer retransmissions uid timeout inode …`, and of all but TCP at the end the
/// packets that were dropped. A listener's receive queue is its accept queue (`get_tcp4_sock`).
fn row(kind: Kind, line: &str) -> Option<Row> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote) = (end(fields.next()?)?, end(fields.next()?)?);
    let state = u32::from_str_radix(fields.next()?, 16).ok()?;
    let (_, waiting) = fields.next()?.split_once(':')?;
    let (timer, _) = fields.next()?.split_once(':')?;
    let (again, probes) = (fields.next()?, fields.nth(1)?);
    let retries = match timer {
        "01" => u8::from_str_radix(again.trim_start_matches('0'), 16).ok(),
        "04" => probes.parse().ok(),
        _ => None,
    };
    Some(Row {
        local,
        remote,
        state,
        inode: fields.next()?.parse().ok()?,
        waiting: u32::from_str_radix(waiting, 16).ok()?,
        limit: None,
        retries: retries.unwrap_or_default(),
        drops: match kind {
            Kind::Tcp => None,
            _ => fields.last()?.parse().ok(),
        },
    })
}

/// `0100007F:1F90`: the address as words of the machine's byte order, the port as a number.
fn end(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let word = |index: usize| -> Option<[u8; 4]> {
        let hex = address.get(8 * index..8 * (index + 1))?;
        u32::from_str_radix(hex, 16).ok().map(u32::to_ne_bytes)
    };
    let address = match address.len() {
        8 => IpAddr::from(word(0)?),
        32 => {
            let mut octets = [0; 16];
            for (index, chunk) in octets.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(index)?);
            }
            IpAddr::from(octets)
        }
        _ => return None,
    };
    Some((address, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000003 00:00000000 00000000     0        0 21057 1 00000000abcdef00 100 0 0 10 0
   1: 02000A0A:9C40 0A0200C0:0050 06 00000000:00000000 03:00000D6C 00000000     0        0 0 3 0000000000000000
   2: 02000A0A:9C41 0A0200C0:0050 01 00000014:00000000 01:00000273 00000005     0        0 8 2 0000000000000000
   3: 02000A0A:9C42 0A0200C0:0050 01 00000014:00000000 04:0000025A 00000000     0        7 9 2 0000000000000000
";
    const UDP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
 1234: B80D0120000000000000000001000000:0035 00000000000000000000000000000000:0000 07 00000000:00034000 00:00000000 00000000   101        0 4294967295 2 0000000000000000 17
";

    #[test]
    fn lines_of_the_kernel_are_read() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(
            parse(Kind::Tcp, TCP, "tcp").unwrap(),
            [
                Row {
                    state: 10,
                    local: (ip("127.0.0.1"), 8080),
                    remote: (ip("0.0.0.0"), 0),
                    inode: 21057,
                    waiting: 3,
                    limit: None,
                    retries: 0,
                    drops: None,
                },
                Row {
                    state: 6,
                    local: (ip("10.10.0.2"), 40000),
                    remote: (ip("192.0.2.10"), 80),
                    inode: 0,
                    waiting: 0,
                    limit: None,
                    retries: 0,
                    drops: None,
                },
                Row {
                    state: 1,
                    local: (ip("10.10.0.2"), 40001),
                    remote: (ip("192.0.2.10"), 80),
                    inode: 8,
                    waiting: 0,
                    limit: None,
                    retries: 5,
                    drops: None,
                },
                Row {
                    state: 1,
                    local: (ip("10.10.0.2"), 40002),
                    remote: (ip("192.0.2.10"), 80),
                    inode: 9,
                    waiting: 0,
                    limit: None,
                    retries: 7,
                    drops: None,
                },
            ]
        );
        assert_eq!(
            parse(Kind::Udp, UDP6, "udp6").unwrap(),
            [Row {
                state: 7,
                local: (ip("2001:db8::1"), 53),
                remote: (ip("::"), 0),
                inode: u64::from(u32::MAX),
                waiting: 0x34000,
                limit: None,
                retries: 0,
                drops: Some(17),
            }]
        );
        assert!(parse(Kind::Tcp, "", "empty").unwrap().is_empty());
    }

    #[test]
    fn damaged_lines_are_told_not_skipped() {
        let line = TCP.lines().nth(1).unwrap();
        for damage in ["0100007F", "0100007é:1F90", "0100007F:1F90Z", "X"] {
            let text = format!("head\n{}\n", line.replacen("0100007F:1F90", damage, 1));
            let error = parse(Kind::Tcp, &text, "/proc/thread-self/net/tcp")
                .unwrap_err()
                .to_string();
            assert!(error.contains(damage) && error.contains("net/tcp"), "{error}");
        }
    }
}
