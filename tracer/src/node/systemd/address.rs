//! Where a bus listens: D-Bus addresses, of which only Unix sockets are taken.

use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::str::FromStr;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::names::unescape;

/// The bus of every node.
const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";
/// systemd itself, without any bus: only for root, and only in its own pid namespace.
const PRIVATE: &str = "/run/systemd/private";

/// Addresses that are tried one after the other, in the form of the D-Bus specification:
/// `unix:path=/run/dbus/system_bus_socket`, several of them parted by `;`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses(Vec<Address>);

/// A Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// A file.
    Path(String),
    /// A name of the network namespace (`unix(7)`, abstract).
    Abstract(String),
}

impl Addresses {
    /// Those of a node as systemd and its tools know them.
    pub(super) fn of_node() -> Self {
        let path = |path: &str| Address::Path(path.to_owned());
        Self(vec![path(SYSTEM_BUS), path(PRIVATE)])
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Address> {
        self.0.iter()
    }
}

impl FromStr for Addresses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let addresses: Result<Vec<_>, _> = text
            .split(';')
            .filter(|part| !part.is_empty())
            .map(Address::parse)
            .collect();
        match addresses? {
            none if none.is_empty() => {
                Err("no address: write unix:path=/run/dbus/system_bus_socket".to_owned())
            }
            some => Ok(Self(some)),
        }
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, address) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{address}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.write_str(path),
            Self::Abstract(name) => write!(f, "@{name}"),
        }
    }
}

impl Address {
    fn parse(text: &str) -> Result<Self, String> {
        let Some(keys) = text.strip_prefix("unix:") else {
            return Err(format!(
                "{text}: only Unix sockets are taken: write unix:path=/run/dbus/system_bus_socket"
            ));
        };
        let key = |wanted: &str| {
            keys.split(',')
                .filter_map(|pair| pair.split_once('='))
                .find_map(|(key, value)| (key == wanted).then(|| unescape(value, b'%')))
        };
        let wrong = || format!("{text}: the address names no path=… or abstract=… that can be read");
        match (key("path"), key("abstract")) {
            (Some(path), _) => path.map(Self::Path),
            (None, Some(name)) => name.map(Self::Abstract),
            (None, None) => None,
        }
        .ok_or_else(wrong)
    }

    /// Whether systemd itself is there, and no bus between.
    pub(super) fn is_private(&self) -> bool {
        matches!(self, Self::Path(path) if Path::new(path).ends_with("systemd/private"))
    }

    /// Connects, without waiting: a bus that accepts nobody is an error.
    pub(super) fn connect(&self) -> io::Result<UnixStream> {
        let address = match self {
            Self::Path(path) => SocketAddrUnix::new(path.as_str())?,
            Self::Abstract(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&socket, &address)?;
        Ok(socket.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_sockets_are_read() {
        let read = |text: &str| text.parse::<Addresses>().map(|found| found.to_string());
        let path = || Ok("/run/dbus/system_bus_socket".to_owned());
        assert_eq!(read("unix:path=/run/dbus/system_bus_socket"), path());
        assert_eq!(read("unix:path=%2frun/dbus/system_bus_socket,guid=12"), path());
        assert_eq!(read("unix:abstract=a b;unix:path=/c;"), Ok("@a b, /c".to_owned()));
    }

    #[test]
    fn all_else_is_refused() {
        for text in [
            "",
            ";",
            "tcp:host=127.0.0.1,port=1",
            "unixexec:path=/bin/sh",
            "/run/dbus/system_bus_socket",
            "unix:",
            "unix:path",
            "unix:path=",
            "unix:path=%2",
            "unix:path=%zz",
            "unix:path=%ff",
            "unix:runtime=yes",
            "unix:path=/a;nonce-tcp:host=x",
        ] {
            assert!(text.parse::<Addresses>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn systemd_itself_is_told_from_a_bus() {
        let private: Vec<bool> = Addresses::of_node().iter().map(Address::is_private).collect();
        assert_eq!(private, [false, true]);
    }

    #[test]
    fn what_cannot_be_connected_to_is_an_error() {
        let address = |path: &str| Address::Path(path.to_owned());
        assert!(address("/nonexistent/socket").connect().is_err());
        assert!(address(&"x".repeat(200)).connect().is_err());
        assert!(address("a\0b").connect().is_err());
    }
}
