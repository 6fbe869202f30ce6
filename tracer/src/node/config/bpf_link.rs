//! What a BPF link attaches its program to, as far as the kernel tells (`bpftool link`).

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::super::cgroup::Cgroups;
use super::super::clock;
use super::super::netlink::{array_at, u32_at};
use super::bpf_info;

// enum bpf_cmd (include/uapi/linux/bpf.h)
const BPF_PROG_QUERY: libc::c_long = 16;
/// Programs that are read of what is attached to one place.
const ATTACHED: usize = 64;
/// Where the part of it begins that depends on the type: behind type, id and program, aligned.
const UNION: usize = 16;

/// Where a link has put its program. The kernel does not tell of which namespace a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Where it meets packets of any namespace, or that is not known.
    Anywhere,
    /// In the namespace with this inode.
    Namespace(u32),
    /// At the device with this index, before the kernel has the packet.
    Xdp(u32),
    /// At the device with this index, by this type of attachment.
    Device(u32, u32),
}

/// What names cgroups.
#[derive(Debug)]
pub(super) struct Names {
    cgroups: Cgroups,
}

impl Names {
    pub(super) fn new() -> Self {
        Self {
            cgroups: Cgroups::new(),
        }
    }

    /// What a link is attached to, such as `cgroup_inet_ingress of cgroup /system.slice`; empty where the kernel does not
    /// tell. `device` is the name of the device that it is at, where that is known.
    pub(super) fn attached(&mut self, link: &Info, device: Option<&str>) -> String {
        self.describe(&link.0, device).unwrap_or_default()
    }

    /// Of `struct bpf_link_info`.
    fn describe(&mut self, info: &[u8], name: Option<&str>) -> Option<String> {
        let device = |index| match (index, name) {
            (0, _) => "a device that is gone".to_owned(),
            (_, Some(name)) => format!("device {name}"),
            (index, None) => format!("device {index}"),
        };
        let number = |index: usize| u32_at(info, UNION + 4 * index);
        // enum bpf_link_type
        Some(match u32_at(info, 0)? {
            // BPF_LINK_TYPE_CGROUP
            3 => {
                let id = array_at(info, UNION).map(u64::from_ne_bytes)?;
                let cgroup = self.cgroups.by_id(id, clock::boottime_ns());
                let cgroup = cgroup.map_or_else(|| id.to_string(), |cgroup| cgroup.path.clone());
                format!("{} of cgroup {cgroup}", attach_type(number(2)?))
            }
            // BPF_LINK_TYPE_NETNS
            5 => format!("{} of network namespace {}", attach_type(number(1)?), number(0)?),
            // BPF_LINK_TYPE_XDP
            6 => device(number(0)?),
            // BPF_LINK_TYPE_NETFILTER
            10 => format!(
                "hook {} of {}, priority {}",
                number(1)?,
                family(number(0)?),
                number(2)?.cast_signed()
            ),
            // BPF_LINK_TYPE_TCX, BPF_LINK_TYPE_NETKIT
            11 | 13 => format!("{} of {}", attach_type(number(1)?), device(number(0)?)),
            // BPF_LINK_TYPE_STRUCT_OPS, BPF_LINK_TYPE_SOCKMAP
            9 | 14 => format!("map {}", number(0)?),
            _ => return None,
        })
    }
}

/// What the kernel tells of a link, nothing where it tells none: `struct bpf_link_info`.
#[derive(Debug)]
pub(super) struct Info(Vec<u8>);

impl Info {
    /// Of the link with this id.
    pub(super) fn of(id: u32) -> Self {
        Self(bpf_info::of_link(id).unwrap_or_default())
    }

    /// Where it has put its program.
    pub(super) fn place(&self) -> Place {
        place(&self.0)
    }
}

/// Of `struct bpf_link_info`.
fn place(info: &[u8]) -> Place {
    let number = |index: usize| u32_at(info, UNION + 4 * index);
    let place = match u32_at(info, 0) {
        Some(5) => number(0).map(Place::Namespace),
        Some(6) => number(0).map(Place::Xdp),
        Some(11 | 13) => number(0)
            .zip(number(1))
            .map(|(index, kind)| Place::Device(index, kind)),
        _ => None,
    };
    place.unwrap_or(Place::Anywhere)
}

/// Whether the link with this id is at a device of the namespace of this thread (`tcx_prog_query`, `netkit_prog_query`).
pub(super) fn is_at(id: u32, index: u32, attach_type: u32) -> bool {
    let mut links = [0; ATTACHED];
    match attached(index, attach_type, Some(&mut links)) {
        Ok(_) => links.contains(&id),
        // More than there is room for: it may be one of them.
        Err(error) => error.raw_os_error() == Some(libc::ENOSPC),
    }
}

/// The programs that are attached to a cgroup itself, by the file that it is open as (`cgroup_bpf_prog_query`), in the order
/// in which they run.
pub(super) fn at_cgroup(cgroup: BorrowedFd<'_>, attach_type: u32) -> io::Result<Vec<u32>> {
    attached(cgroup.as_raw_fd().cast_unsigned(), attach_type, None)
}

/// What is attached to a device or a cgroup, at most [`ATTACHED`] programs, and by which links: of a cgroup the kernel does
/// not tell these, nor may it be asked.
fn attached(target: u32, attach_type: u32, links: Option<&mut [u32; ATTACHED]>) -> io::Result<Vec<u32>> {
    /// That part of `union bpf_attr`: target, attach_type, query_flags, attach_flags; where ids of programs are to go;
    /// room for how many; where flags are to go, ids of links, flags of those; revision.
    #[repr(C, align(8))]
    struct Query {
        target: u32,
        attach_type: u32,
        flags: [u32; 2],
        programs: u64,
        room: u32,
        nothing: u32,
        program_flags: u64,
        links: u64,
        link_flags: u64,
        revision: u64,
    }
    let mut programs = [0_u32; ATTACHED];
    let mut query = Query {
        target,
        attach_type,
        flags: [0; 2],
        programs: (&raw mut programs).addr() as u64,
        room: u32::try_from(ATTACHED).unwrap_or_default(),
        nothing: 0,
        program_flags: 0,
        links: links.map_or(0, |links| (&raw mut *links).addr() as u64),
        link_flags: 0,
        revision: 0,
    };
    // SAFETY: the command reads the attributes, and writes to each address at most as many ids as there is room for.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY, &raw mut query, size_of::<Query>()) };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    let found = usize::try_from(query.room).unwrap_or(ATTACHED).min(ATTACHED);
    Ok(programs[..found].to_vec())
}

/// `enum bpf_attach_type`, those of links that can change packets, as `bpftool` names them.
pub(super) fn attach_type(number: u32) -> String {
    let name = match number {
        0 => "cgroup_inet_ingress",
        1 => "cgroup_inet_egress",
        2 => "cgroup_inet_sock_create",
        3 => "cgroup_sock_ops",
        6 => "cgroup_device",
        8 => "cgroup_inet4_bind",
        9 => "cgroup_inet6_bind",
        10 => "cgroup_inet4_connect",
        11 => "cgroup_inet6_connect",
        12 => "cgroup_inet4_post_bind",
        13 => "cgroup_inet6_post_bind",
        14 => "cgroup_udp4_sendmsg",
        15 => "cgroup_udp6_sendmsg",
        17 => "flow_dissector",
        18 => "cgroup_sysctl",
        19 => "cgroup_udp4_recvmsg",
        20 => "cgroup_udp6_recvmsg",
        21 => "cgroup_getsockopt",
        22 => "cgroup_setsockopt",
        29 => "cgroup_inet4_getpeername",
        30 => "cgroup_inet6_getpeername",
        31 => "cgroup_inet4_getsockname",
        32 => "cgroup_inet6_getsockname",
        34 => "cgroup_inet_sock_release",
        36 => "sk_lookup",
        43 => "lsm_cgroup",
        46 => "tcx_ingress",
        47 => "tcx_egress",
        49 => "cgroup_unix_connect",
        54 => "netkit_primary",
        55 => "netkit_peer",
        other => return format!("attach type {other}"),
    };
    name.to_owned()
}

/// `NFPROTO_*` (include/uapi/linux/netfilter.h).
fn family(number: u32) -> String {
    match number {
        2 => "ip".to_owned(),
        10 => "ip6".to_owned(),
        other => format!("family {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: u32, members: &[u32]) -> Option<String> {
        let mut names = Names::new();
        let mut info = Vec::new();
        for number in [kind, 7, 12, 0].iter().chain(members) {
            info.extend(number.to_ne_bytes());
        }
        for length in 0..info.len() {
            drop(names.describe(&info[..length], None));
            let _ = place(&info[..length]);
        }
        names.describe(&info, Some("up0"))
    }

    #[test]
    fn what_a_link_is_attached_to_is_named() {
        let of = |kind, members: &[u32]| told(kind, members).unwrap();
        assert_eq!(of(11, &[2, 46]), "tcx_ingress of device up0");
        assert_eq!(of(13, &[9, 55]), "netkit_peer of device up0");
        assert_eq!(of(6, &[0]), "a device that is gone");
        assert_eq!(
            of(5, &[4_026_531_840, 36]),
            "sk_lookup of network namespace 4026531840"
        );
        assert_eq!(
            of(10, &[2, 1, (-100_i32).cast_unsigned(), 0]),
            "hook 1 of ip, priority -100"
        );
        assert_eq!(
            of(3, &[u32::MAX, u32::MAX, 1]),
            "cgroup_inet_egress of cgroup 18446744073709551615"
        );
        assert_eq!(told(2, &[24, 0, 0]), None, "it only observes");
    }

    #[test]
    fn where_a_link_is_attached_is_told_as_far_as_the_kernel_does() {
        let of = |kind: u32, members: [u32; 2]| {
            let numbers = [kind, 7, 12, 0, members[0], members[1]];
            place(&numbers.map(u32::to_ne_bytes).concat())
        };
        assert_eq!(of(5, [4_026_531_840, 36]), Place::Namespace(4_026_531_840));
        assert_eq!(of(6, [2, 0]), Place::Xdp(2));
        assert_eq!(of(11, [2, 46]), Place::Device(2, 46));
        assert_eq!(of(3, [1, 2]), Place::Anywhere);
        assert!(!is_at(u32::MAX, 1, 46), "nobody has so many links");
    }

    #[test]
    fn a_link_that_is_not_there_has_no_information() {
        assert!(bpf_info::of_link(u32::MAX).is_err());
    }
}
