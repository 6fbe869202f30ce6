//! What others have put in the way of packets: BPF programs, rules of firewalls; and what they track.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command};

use tracer::event::{Body, Seen, Setting, Thing};
use tracer::node::{Netns, counters, droppers};

use super::{Group, Listening, Named};

/// What `bpf` answers.
fn call(command: libc::c_long, attributes: &[u64]) -> i32 {
    // SAFETY: the command reads as many bytes as there are, and what they point to outlives the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attributes.as_ptr(),
            size_of_val(attributes),
        )
    };
    assert!(answer >= 0, "{}", std::io::Error::last_os_error());
    i32::try_from(answer).unwrap()
}

/// What `bpf` opens.
fn bpf(command: libc::c_long, attributes: &[u64]) -> OwnedFd {
    let file = call(command, attributes);
    // SAFETY: the kernel has just opened it, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(file) }
}

/// `BPF_PROG_LOAD` of a program that answers this to each packet.
fn load(kind: u64, attach: u64, answer: u64) -> OwnedFd {
    // r0 = answer; exit
    let instructions = [0xb7_u64 | answer << 32, 0x95];
    // Type, number and place of instructions, licence; expected_attach_type in the upper half of the ninth.
    let mut attributes = [0_u64; 16];
    attributes[0] = kind | 2 << 32;
    attributes[1] = instructions.as_ptr() as u64;
    attributes[2] = c"GPL".as_ptr() as u64;
    attributes[8] = attach << 32;
    bpf(5, &attributes)
}

/// Somebody else who holds a file open until the value is dropped.
struct Holder(Child);

impl Holder {
    fn of(file: OwnedFd) -> Self {
        Self(Command::new("sleep").arg("60").stdin(file).spawn().unwrap())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lets all sockets of a namespace be looked up as they would be without it, by a program that lives as long as the value.
fn attach_program(named: &Named) -> Holder {
    /// `BPF_PROG_TYPE_SK_LOOKUP`, and where it is attached: `BPF_SK_LOOKUP`.
    const TYPE: u64 = 30;
    const ATTACH: u64 = 36;
    // SK_PASS
    let program = load(TYPE, ATTACH, 1);
    let netns = File::open(format!("/run/netns/{}", named.0)).unwrap();
    let number = |file: i32| u64::try_from(file).unwrap();
    // BPF_LINK_CREATE: program, target, type of attachment.
    let ends = number(program.as_raw_fd()) | number(netns.as_raw_fd()) << 32;
    Holder::of(bpf(28, &[ends, ATTACH]))
}

#[test]
fn programs_of_others_are_told_when_they_come_and_go_in_a_watched_namespace() {
    let (named, other) = (Named::new(), Named::new());
    let mut listening = Listening::to(&named);
    // It comes first, and would be told first.
    let elsewhere = attach_program(&other);
    let mut link = Some(attach_program(&named));
    let attached = format!(
        "sk_lookup of network namespace {}; sk_lookup tag ",
        listening.netns
    );
    let mut there = None;
    loop {
        let Body::Setting(setting) = listening.next().body else {
            continue;
        };
        let (Thing::BpfLink { id } | Thing::Program { id }) = setting.thing else {
            continue;
        };
        match &setting.value {
            Some(value) if setting.seen == Seen::Noticed && value.contains("sk_lookup") => {
                assert!(
                    value.starts_with("netns, program ") && value.contains(&attached),
                    "{value}"
                );
                assert!(value.ends_with(", loaded by uid 0"), "{value}");
                assert_eq!((setting.netns, there), (0, None));
                there = Some(id);
                link = None;
            }
            None if there == Some(id) => break,
            _ => {}
        }
    }
    assert!(link.is_none());
    drop(elsewhere);
}

/// Lets all connections of a cgroup be made as they would be without it.
fn attach_to_cgroup(cgroup: &File) -> Holder {
    /// `BPF_PROG_TYPE_CGROUP_SOCK_ADDR`, and where it is attached: `BPF_CGROUP_INET4_CONNECT`.
    const TYPE: u64 = 18;
    const ATTACH: u64 = 10;
    let program = load(TYPE, ATTACH, 1);
    let number = |file: i32| u64::try_from(file).unwrap();
    let ends = number(program.as_raw_fd()) | number(cgroup.as_raw_fd()) << 32;
    Holder::of(bpf(28, &[ends, ATTACH]))
}

/// It is one thing that came: the program that a link has is not told beside it, neither when it comes nor when it goes.
#[test]
fn a_program_that_has_a_link_is_told_at_that_alone() {
    let named = Named::new();
    let group = Group::new();
    let mut listening = Listening::to(&named);
    let link = attach_to_cgroup(&File::open(&group.0).unwrap());
    let name = group.0.file_name().unwrap().to_str().unwrap();
    let mut programs = Vec::new();
    let mut until = |is_it: &dyn Fn(&Setting) -> bool| loop {
        let Body::Setting(setting) = listening.next().body else {
            continue;
        };
        if let Thing::Program { id } = setting.thing {
            programs.push(id);
        }
        if is_it(&setting) {
            break setting;
        }
    };
    let is_at_group = |value: &String| value.contains(name);
    let came = until(&|setting| {
        matches!(setting.thing, Thing::BpfLink { .. }) && setting.value.as_ref().is_some_and(is_at_group)
    });
    drop(link);
    let gone = until(&|setting| setting.thing == came.thing && setting.value.is_none());
    assert_eq!((came.seen, gone.seen), (Seen::Noticed, Seen::Noticed));
    let value = came.value.unwrap();
    let rest = value.strip_prefix("cgroup, program ").unwrap();
    let (id, rest) = rest.split_once(", ").unwrap();
    assert!(rest.contains("; cgroup_sock_addr tag "), "{value}");
    assert!(!programs.contains(&id.parse().unwrap()), "{value}");
}

/// Passes all that a device of a namespace receives, by a program of XDP that lives as long as the value.
fn attach_xdp(named: &Named, device: &str) -> Holder {
    /// `BPF_PROG_TYPE_XDP`, and where it is attached: `BPF_XDP`.
    const TYPE: u64 = 6;
    const ATTACH: u64 = 37;
    // XDP_PASS
    let program = load(TYPE, ATTACH, 2);
    let index = named.index_of(device);
    let number = u64::try_from(program.as_raw_fd()).unwrap();
    let netns = Netns::open(&named.0).unwrap();
    // The index is of the namespace of whoever asks.
    let link = netns.enter(|| bpf(28, &[number | u64::from(index) << 32, ATTACH]));
    Holder::of(link.unwrap())
}

/// The kernel tells neither that such a link came nor that its device is set otherwise.
#[test]
fn a_program_of_xdp_is_told_at_its_device_when_it_comes_and_goes() {
    let named = Named::new();
    named.add_device();
    let mut listening = Listening::to(&named);
    let link = attach_xdp(&named, "up0");
    let id = loop {
        if let Body::Setting(setting) = listening.next().body
            && let Thing::BpfLink { id } = setting.thing
            && let Some(value) = &setting.value
            && value.starts_with("xdp, ")
        {
            assert!(value.contains(", device up0; xdp tag "), "{value}");
            assert_eq!(setting.seen, Seen::Noticed);
            break id;
        }
    };
    let (_, device) = listening.change_of("device up0");
    let value = device.value.unwrap();
    assert!(
        value.contains("xdp prog ") && value.contains(" (tag ") && value.ends_with(" loaded by uid 0)"),
        "{value}"
    );
    assert_eq!(device.seen, Seen::Noticed);
    drop(link);
    loop {
        if let Body::Setting(setting) = listening.next().body
            && setting.thing == (Thing::BpfLink { id })
        {
            assert_eq!(setting.value, None);
            break;
        }
    }
    let value = listening.value_of("device up0").unwrap();
    assert!(!value.contains("xdp prog "), "{value}");
}

#[test]
fn rules_of_a_firewall_that_can_drop_are_read_with_what_they_counted() {
    let named = Named::new();
    let netns = Netns::open(&named.0).unwrap();
    named.exec("nft add table inet guard");
    named.exec("nft add chain inet guard in { type filter hook input priority 0 ; policy drop ; }");
    named.exec("nft add chain inet guard other");
    named.exec("nft add rule inet guard in tcp dport 22 counter packets 9 bytes 540 accept");
    named.exec("nft add rule inet guard in jump other");
    named.exec("nft add rule inet guard other udp dport 53 counter packets 3 bytes 180 drop");
    named.exec("nft add rule inet guard other tcp dport 80 reject with tcp reset");
    named.exec("nft add rule inet guard other tcp dport vmap { 81 : drop, 82 : accept }");
    let told = droppers::read(&netns).unwrap().unwrap();
    let rules: Vec<_> = told
        .rules
        .iter()
        .map(|rule| {
            let counted = rule.counted.map(|counted| (counted.packets, counted.bytes));
            (rule.chain.as_str(), rule.verdict.as_str(), counted)
        })
        .collect();
    assert_eq!(
        rules,
        [
            ("in", "policy drop", None),
            ("other", "drop", Some((3, 180))),
            ("other", "reject", None),
            ("other", "vmap", None),
        ]
    );
    assert!(told.rules[1].handle > 0, "{told:?}");
    assert_eq!(told.left_out, 0);
}

#[test]
fn tracked_connections_are_counted_where_there_are_any_to_track() {
    let named = Named::new();
    let told = counters::tracked(&Netns::open(&named.0).unwrap());
    let expected = Path::new("/proc/sys/net/netfilter/nf_conntrack_count").exists();
    assert_eq!(
        told.and_then(|told| told.value),
        expected.then(|| "0".to_owned()),
        "nothing was sent there"
    );
}
