//! The real tshark opens a trace and shows what it should.

use std::path::Path;
use std::process::Command;

use super::samples::{Random, event, every_kind, example6, start};
use super::{Scratch, bytes, read};
use crate::event::{Body, Example, Protocol};

/// What tshark says of itself when root runs it; no word on the file.
const AS_ROOT: &str = "Running as user \"root\" and group \"root\". This could be dangerous.\n";

/// What tshark prints of a file; it has to succeed, with nothing to complain about.
fn tshark(file: &Path, arguments: &[&str]) -> String {
    let output = Command::new("tshark")
        .arg("-n")
        .arg("-r")
        .arg(file)
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap_or_else(|error| panic!("tshark cannot be run ({error}): apt-get install tshark"));
    let complaints = String::from_utf8(output.stderr).unwrap().replace(AS_ROOT, "");
    assert_eq!(complaints, "", "tshark {arguments:?}");
    assert!(output.status.success(), "tshark {arguments:?}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// The fields of what `filter` shows, a line for each.
fn fields<const N: usize>(file: &Path, filter: &str, names: [&str; N]) -> Vec<Vec<String>> {
    let mut arguments = vec!["-Y", filter, "-T", "fields"];
    arguments.extend(names.iter().flat_map(|name| ["-e", name]));
    let text = tshark(file, &arguments);
    text.lines()
        .map(|line| line.split('\t').map(Into::into).collect())
        .collect()
}

#[test]
fn events_stand_on_one_timeline() {
    let scratch = Scratch::new();
    let file = scratch.with("trace.pcapng", &bytes(&every_kind()));
    let frames = fields(
        &file,
        "frame",
        ["frame.number", "frame.time_epoch", "frame.protocols"],
    );
    assert_eq!(frames.len(), every_kind().len());
    assert_eq!(frames[0], ["1", "1772366400.000000000", "systemd_journal"]);
    assert_eq!(frames[12][..2], ["13", "1772366401.200000012"]);
    assert_eq!(frames[15], ["16", "1772366401.500000000", "systemd_journal"]);
}

#[test]
fn packets_are_decoded_and_have_their_comment() {
    let scratch = Scratch::new();
    let file = scratch.with("trace.pcapng", &bytes(&every_kind()));
    let shown = [
        "ip.src",
        "ipv6.src",
        "tcp.dstport",
        "frame.len",
        "frame.interface_name",
        "frame.comment",
    ];
    let [v4, v6] = fields(&file, "tcp", shown).try_into().expect("two TCP packets");
    let device = "eth0 (netns host 4026531840)";
    assert_eq!(v4[..5], ["192.0.2.10", "", "40000", "60", device]);
    assert!(v4[5].starts_with("NOT_SPECIFIED at ip_forward+0x1c4 on eth0 (netns host 4026531840); socket found: tcp 10.10.0.2:40000 → 192.0.2.10:80, SYN_SENT, lab-client[123], unit x.service; 1 packet"), "{v4:?}");
    assert_eq!(v6[..5], ["", "2001:db8::10", "40000", "4056", device]);
    assert!(
        v6[5].starts_with("IP_INADDRERRORS at ip6_forward+0x20 on eth0"),
        "{v6:?}"
    );
    assert!(
        v6[5].ends_with('}') && v6[5].contains(",TRACER_EVENT={\"v\":1,"),
        "{v6:?}"
    );

    let arp = fields(
        &file,
        "arp",
        [
            "arp.src.proto_ipv4",
            "arp.dst.proto_ipv4",
            "arp.opcode",
            "frame.packet_flags_direction",
        ],
    );
    assert_eq!(arp, [["10.10.0.1", "10.10.0.2", "1", "0x00000001"]]);
    let bad = tshark(&file, &["-Y", "_ws.malformed || _ws.expert.severity >= 6291456"]);
    assert_eq!(bad, "", "nothing is malformed, nothing is warned of");
}

#[test]
fn changes_are_journal_entries() {
    let scratch = Scratch::new();
    let file = scratch.with("trace.pcapng", &bytes(&every_kind()));
    let entries = fields(
        &file,
        "systemd_journal",
        [
            "systemd_journal.message",
            "systemd_journal.priority",
            "systemd_journal.pid",
            "systemd_journal.boot_id",
            "systemd_journal.hostname",
        ],
    );
    assert_eq!(entries.len(), every_kind().len() - 3);
    assert_eq!(
        entries[8],
        [
            "socket tcp [fd00:10::2]:40000 → [2001:db8::10]:80, ESTABLISHED, lab-client[123], unit x.service, SYN_SENT before (netns host 4026531840)",
            "6",
            "123",
            "0123456789abcdef0123456789abcdef",
            "node-7",
        ]
    );
    assert_eq!(entries[1][..2], ["capability drops: available", "6"]);
    assert_eq!(
        entries[2][..2],
        [
            "capability reads: not available: no tracepoint \"skb:x\" use 6.1",
            "4"
        ]
    );
}

#[test]
fn packets_that_leave_and_that_nothing_is_known_of_are_decoded() {
    let scratch = Scratch::new();
    let mut leaving = example6();
    leaving.entry.incoming = false;
    leaving.entry.iif = 0;
    leaving.entry.device = 7;
    // The kernel had not yet said that it is IPv6.
    leaving.entry.ethertype = 0;
    let mut unknown = Example {
        bytes: Vec::new(),
        length: 0,
        ..leaving.clone()
    };
    unknown.entry.protocol = Protocol::Other(0);
    unknown.entry.device = 0;
    let events = [
        Body::Start(start()),
        Body::Example(leaving.into()),
        Body::Example(unknown.into()),
    ];
    let file = scratch.with("trace.pcapng", &bytes(&events.map(|body| event(0, body))));
    let shown = [
        "sll.pkttype",
        "frame.packet_flags_direction",
        "frame.interface_name",
        "tcp.dstport",
    ];
    assert_eq!(
        fields(&file, "sll", shown),
        [
            ["4", "0x00000002", "device 7 (netns host 4026531840)", "40000"],
            ["4", "0x00000002", "no known device (netns host 4026531840)", ""],
        ]
    );
}

#[test]
fn nothing_random_makes_tshark_complain() {
    let scratch = Scratch::new();
    let events = Random(11).stream(2000);
    let file = scratch.with("trace.pcapng", &bytes(&events));
    assert_eq!(tshark(&file, &[]).lines().count(), events.len());
}

#[test]
fn what_tshark_saves_is_still_a_trace() {
    let scratch = Scratch::new();
    let file = scratch.with("trace.pcapng", &bytes(&every_kind()));
    let saved = scratch.file("saved.pcapng");
    tshark(&file, &["-w", saved.to_str().unwrap()]);
    let (events, error) = read(&saved);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(events, every_kind());
}
