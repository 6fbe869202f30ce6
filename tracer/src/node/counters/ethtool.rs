//! The statistics of a device's driver, as `ethtool -S` shows them.
//!
//! Genetlink tells only those that all drivers have alike, so they are asked for by `SIOCETHTOOL`, which
//! `sock_ioctl` takes by a socket of any family: here by one of netlink.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::Value;
use crate::event::{Device, Source};

// include/uapi/linux/sockios.h, ethtool.h
const SIOCETHTOOL: libc::Ioctl = 0x8946;
const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSTATS: u32 = 0x1d;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETH_SS_STATS: u32 = 1;
/// `ETH_GSTRING_LEN`: bytes of a name.
const NAME: usize = 32;
/// Statistics that a device may have, at most: what does not fit is not read.
const MOST: usize = 32_768;
/// Room for the names, which are longer than the numbers, in whole pages of any size.
const ROOM: usize = MOST * NAME + 65_536;
/// Not written to by anybody.
const GUARD: usize = 65_536;

/// Adds the statistics of a device of this thread's namespace; none where it is gone or has none.
pub(super) fn read(device: &Device, values: &mut Vec<Value>) -> Result<(), String> {
    match attempt(device) {
        Ok(found) => {
            values.extend(found.into_iter().map(|(name, value)| Value {
                source: Source::Ethtool,
                device: device.index,
                name,
                value,
            }));
            Ok(())
        }
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENODEV)) => Ok(()),
        Err(error) => Err(format!("Statistics of {}'s driver: {error}.", device.name)),
    }
}

fn attempt(device: &Device) -> io::Result<Vec<(String, u64)>> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let room = Room::new()?;
    // `struct ethtool_sset_info` { u32 command, reserved; u64 mask; u32 data[] }.
    room.write(&[ETHTOOL_GSSET_INFO, 0, 1 << ETH_SS_STATS, 0, 0]);
    ask(&socket, device, &room)?;
    // A set that the device does not have is taken out of the mask.
    let number = if room.word(2) == 0 { 0 } else { room.word(4) };
    if number == 0 || usize::try_from(number).unwrap_or(usize::MAX) > MOST {
        return Ok(Vec::new());
    }
    // `struct ethtool_gstrings` { u32 command, set, number; u8 data[] }.
    room.write(&[ETHTOOL_GSTRINGS, ETH_SS_STATS, number]);
    ask(&socket, device, &room)?;
    if room.word(2) != number {
        // It has changed meanwhile: the next time.
        return Ok(Vec::new());
    }
    let names = parse_names(room.bytes(12, usize::try_from(number).unwrap_or(0) * NAME));
    // `struct ethtool_stats` { u32 command, number; u64 data[] }.
    room.write(&[ETHTOOL_GSTATS, number]);
    ask(&socket, device, &room)?;
    if room.word(1) != number {
        return Ok(Vec::new());
    }
    let numbers = room.bytes(8, names.len() * 8);
    Ok(names.into_iter().zip(parse_numbers(&numbers)).collect())
}

fn parse_names(bytes: Vec<u8>) -> Vec<String> {
    bytes
        .chunks_exact(NAME)
        .map(|name| crate::node::netlink::string(name).trim().to_owned())
        .collect()
}

fn parse_numbers(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes
        .chunks_exact(8)
        .filter_map(|number| Some(u64::from_ne_bytes(number.try_into().ok()?)))
}

/// `struct ifreq`: the device's name, and where the command stands.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    data: *mut u8,
    rest: [u8; 16],
}

fn ask(socket: &OwnedFd, device: &Device, room: &Room) -> io::Result<()> {
    let mut request = Request {
        name: [0; libc::IFNAMSIZ],
        data: room.at.as_ptr(),
        rest: [0; 16],
    };
    // The last byte stays 0, which ends the name.
    for (to, from) in request.name[..libc::IFNAMSIZ - 1]
        .iter_mut()
        .zip(device.name.bytes())
    {
        *to = from;
    }
    // SAFETY: `request` is at least as long as `struct ifreq`. The kernel asks the driver for the number once more,
    // and writes as many names or numbers as there are then: whatever that is, they are written from the beginning of
    // the room on, one after another, and end at the latest at its guard, which `copy_to_user` cannot write to.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Memory that only the kernel and this file write to, with a guard behind it.
struct Room {
    at: NonNull<u8>,
}

impl Room {
    fn new() -> io::Result<Self> {
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let at = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                ROOM + GUARD,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }?;
        let room = Self {
            at: NonNull::new(at.cast()).ok_or(io::ErrorKind::OutOfMemory)?,
        };
        // SAFETY: the last part of that mapping, which nothing refers to.
        unsafe { mprotect(at.cast::<u8>().add(ROOM).cast(), GUARD, MprotectFlags::empty()) }?;
        Ok(room)
    }

    /// Puts a command at the beginning.
    fn write(&self, words: &[u32]) {
        for (index, word) in words.iter().enumerate() {
            // SAFETY: commands are a few words, and the room is aligned to a page.
            unsafe { self.at.cast::<u32>().add(index).write(*word) };
        }
    }

    /// A word of the answer's head.
    fn word(&self, index: usize) -> u32 {
        assert!(index < ROOM / 4);
        // SAFETY: within the room, which is aligned to a page; all of it was zeroed by the kernel at first.
        unsafe { self.at.cast::<u32>().add(index).read() }
    }

    /// A part of the answer, as far as there is room.
    fn bytes(&self, from: usize, length: usize) -> Vec<u8> {
        let from = from.min(ROOM);
        let length = length.min(ROOM - from);
        // SAFETY: within the room, which nobody writes to now.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr().add(from), length) }.to_vec()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made; nothing borrows from it.
        let _ = unsafe { munmap(self.at.as_ptr().cast(), ROOM + GUARD) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str) -> Device {
        Device {
            netns: 0,
            index: 1,
            name: name.to_owned(),
            uplink: true,
            addresses: Vec::new(),
            over: Vec::new(),
            assumed: false,
            peer: None,
        }
    }

    #[test]
    fn names_and_numbers_are_read() {
        let mut bytes = vec![0; 2 * NAME];
        bytes[..8].copy_from_slice(b"rx_drops");
        bytes[NAME..].fill(b'x');
        assert_eq!(parse_names(bytes), ["rx_drops".to_owned(), "x".repeat(NAME)]);
        assert_eq!(
            parse_numbers(&[1, 0, 0, 0, 0, 0, 0, 0, 9]).collect::<Vec<_>>(),
            [u64::from_ne_bytes([1, 0, 0, 0, 0, 0, 0, 0])]
        );
    }

    #[test]
    fn a_device_without_statistics_or_that_is_gone_has_none() {
        for name in ["lo", "no-such-dev", "a name that is longer than any"] {
            let mut values = Vec::new();
            assert_eq!(read(&device(name), &mut values), Ok(()), "{name}");
            assert_eq!(values, []);
        }
    }
}
