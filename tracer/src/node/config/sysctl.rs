//! Kernel parameters of which the kernel tells no change: a short list of them is read again and again.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::words::Devices;
use crate::event::value::TRACKED_MOST;

/// Parameters of a namespace.
const OF_NAMESPACE: [&str; 9] = [
    "net.bridge.bridge-nf-call-iptables",
    "net.ipv4.fib_multipath_hash_policy",
    "net.ipv4.icmp_echo_ignore_all",
    "net.ipv4.ip_nonlocal_bind",
    "net.ipv4.tcp_l3mdev_accept",
    "net.ipv4.udp_l3mdev_accept",
    TRACKED_MOST,
    "net.netfilter.nf_conntrack_tcp_be_liberal",
    "net.netfilter.nf_conntrack_tcp_loose",
];
/// Parameters of each device, and of `all` and `default`, below `net.ipv4.conf`: those that are not told.
const OF_IPV4: [&str; 5] = [
    "accept_local",
    "arp_announce",
    "arp_filter",
    "arp_ignore",
    "route_localnet",
];
/// The same below `net.ipv6.conf`.
const OF_IPV6: [&str; 2] = ["accept_ra", "disable_ipv6"];
/// Devices of which the parameters are read, at most, beside `all` and `default`.
const DEVICES: usize = 4;
/// Looks between two at which what was not there is looked for again: parameters come with modules and devices.
const PATIENCE: u32 = 16;
/// Longer than any value of these.
const ROOM: usize = 64;

/// The parameters of one namespace, with their files open: a file reads what is of the namespace in which it was opened,
/// wherever that is done. It keeps no namespace alive.
#[derive(Debug, Default)]
pub(super) struct Sysctls {
    files: Vec<(String, File, String)>,
    looks: u32,
}

impl Sysctls {
    /// Whether it is time to look for parameters that were not there.
    pub(super) fn is_due(&mut self) -> bool {
        let due = self.looks.is_multiple_of(PATIENCE);
        self.looks = self.looks.wrapping_add(1);
        due
    }

    /// Opens those that are there, in the namespace of this thread. Tells those that are new.
    pub(super) fn open(&mut self, devices: &[String]) -> Vec<(String, String)> {
        let mut new = Vec::new();
        for name in names(devices) {
            if self.files.iter().any(|(known, ..)| *known == name) {
                continue;
            }
            if let Some(file) = open(&name)
                && let Some(value) = read(&file)
            {
                new.push((name.clone(), value.clone()));
                self.files.push((name, file, value));
            }
        }
        new
    }

    /// Closes all, and tells their names.
    pub(super) fn forget(&mut self) -> impl Iterator<Item = String> {
        std::mem::take(&mut self.files).into_iter().map(|(name, ..)| name)
    }

    /// Those that have changed since the last time; `None` for what is gone.
    pub(super) fn changes(&mut self) -> Vec<(String, Option<String>)> {
        let mut changes = Vec::new();
        self.files.retain_mut(|(name, file, value)| {
            let now = read(file);
            match now {
                Some(now) if now == *value => true,
                Some(now) => {
                    value.clone_from(&now);
                    changes.push((name.clone(), Some(now)));
                    true
                }
                None => {
                    changes.push((name.clone(), None));
                    false
                }
            }
        });
        changes
    }
}

/// Of all devices those that are looked at: with hardware first, the others in the order of their indices.
pub(super) fn chosen(devices: &Devices, is_hardware: impl Fn(u32) -> bool) -> Vec<String> {
    let (mut chosen, others): (Vec<_>, Vec<_>) = devices
        .0
        .iter()
        .filter(|(_, name)| *name != "lo")
        .partition(|(index, _)| is_hardware(**index));
    chosen.extend(others);
    chosen
        .into_iter()
        .take(DEVICES)
        .map(|(_, name)| name.clone())
        .collect()
}

fn names(devices: &[String]) -> Vec<String> {
    let mut names: Vec<String> = OF_NAMESPACE.iter().map(ToString::to_string).collect();
    for device in ["all", "default"]
        .into_iter()
        .chain(devices.iter().map(String::as_str))
    {
        names.extend(
            OF_IPV4
                .iter()
                .map(|name| format!("net.ipv4.conf.{device}.{name}")),
        );
        names.extend(
            OF_IPV6
                .iter()
                .map(|name| format!("net.ipv6.conf.{device}.{name}")),
        );
    }
    names
}

/// The value of one in the namespace of this thread, `None` where it is not there.
pub(super) fn value(name: &str) -> Option<String> {
    read(&open(name)?)
}

fn open(name: &str) -> Option<File> {
    File::open(format!("/proc/sys/{}", path(name))).ok()
}

/// The dots of a device's name are slashes in that of the parameter, as `sysctl` has it.
fn path(name: &str) -> String {
    let mut parts = name.splitn(4, '.');
    let (Some(net), Some(family), Some(third), rest) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return name.replace('.', "/");
    };
    match rest.and_then(|rest| rest.rsplit_once('.')) {
        Some((device, last)) => format!("{net}/{family}/{third}/{device}/{last}"),
        None => name.replace('.', "/"),
    }
}

fn read(file: &File) -> Option<String> {
    let mut buffer = [0; ROOM];
    let length = file.read_at(&mut buffer, 0).ok()?;
    let text = String::from_utf8_lossy(buffer.get(..length)?)
        .trim()
        .replace('\t', " ");
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_is_read_is_in_the_documentation() {
        let text = include_str!("../../../../docs/node.md");
        for name in OF_NAMESPACE.iter().chain(&OF_IPV4).chain(&OF_IPV6) {
            assert!(text.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn a_devices_name_may_have_dots() {
        assert_eq!(
            path("net.ipv4.conf.eth0.100.arp_filter"),
            "net/ipv4/conf/eth0.100/arp_filter"
        );
        assert_eq!(
            path("net.ipv4.conf.all.arp_filter"),
            "net/ipv4/conf/all/arp_filter"
        );
        assert_eq!(
            path("net.netfilter.nf_conntrack_max"),
            "net/netfilter/nf_conntrack_max"
        );
        assert_eq!(path("x"), "x");
    }

    #[test]
    fn hardware_is_looked_at_first() {
        let all = ["lo", "a", "b", "c", "d", "e"];
        let devices = Devices(BTreeMap::from_iter((1..).zip(all.map(str::to_owned))));
        assert_eq!(chosen(&devices, |index| index == 6), ["e", "a", "b", "c"]);
    }

    #[test]
    fn what_has_changed_is_told_once() {
        let path = std::env::temp_dir().join(format!("tracer-sysctl-{}", std::process::id()));
        std::fs::write(&path, "0\n").unwrap();
        let file = File::open(&path).unwrap();
        let value = read(&file).unwrap();
        let mut sysctls = Sysctls {
            files: vec![("x".to_owned(), file, value)],
            looks: 0,
        };
        assert_eq!(sysctls.changes(), []);
        std::fs::write(&path, "4\t5\n").unwrap();
        assert_eq!(sysctls.changes(), [("x".to_owned(), Some("4 5".to_owned()))]);
        assert_eq!(sysctls.changes(), []);
        std::fs::remove_file(&path).unwrap();
        assert!(sysctls.is_due() && !sysctls.is_due());
    }

    #[test]
    fn those_of_this_namespace_are_read() {
        let mut sysctls = Sysctls::default();
        let new = sysctls.open(&[]);
        assert!(
            new.iter().any(|(name, _)| name == "net.ipv4.conf.all.arp_ignore"),
            "{new:?}"
        );
        assert_eq!(sysctls.open(&[]), [], "each once");
        assert_eq!(value(&new[0].0).as_ref(), Some(&new[0].1));
        assert_eq!(value("net.ipv4.conf.all.no_such_parameter"), None);
    }
}
