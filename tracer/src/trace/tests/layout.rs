//! The bytes of a small trace, as docs/trace-format.md says.

use super::bytes;
use super::samples::{self, event};
use crate::event::Body;

fn word(value: usize) -> [u8; 4] {
    u32::try_from(value).unwrap().to_le_bytes()
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    body.resize(body.len().next_multiple_of(4), 0);
    let length = word(body.len() + 12);
    [&kind.to_le_bytes()[..], &length, &body, &length].concat()
}

fn option(code: u8, value: &[u8]) -> Vec<u8> {
    let mut option = vec![code, 0];
    option.extend(u16::try_from(value.len()).unwrap().to_le_bytes());
    option.extend(value);
    option.resize(option.len().next_multiple_of(4), 0);
    option
}

#[test]
fn a_small_trace_byte_for_byte() {
    let section = [
        &b"\x4d\x3c\x2b\x1a\x01\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"[..],
        &option(1, b"tracer trace, format 1"),
        &option(2, std::env::consts::ARCH.as_bytes()),
        &option(3, b"Linux 6.1.0-56-cloud-amd64"),
        &option(4, b"tracer 0.1.0"),
        &[0; 4],
    ]
    .concat();
    let start = concat!(
        "__REALTIME_TIMESTAMP=1772366400000000\n__MONOTONIC_TIMESTAMP=1000000000\n",
        "_BOOT_ID=0123456789abcdef0123456789abcdef\n_HOSTNAME=node-7\nSYSLOG_IDENTIFIER=tracer\nPRIORITY=5\n",
        "MESSAGE=tracer 0.1.0 starts on node-7, Linux 6.1.0-56-cloud-amd64; ",
        "it watches netns host 4026531840, netns red 4026532201\n",
        r#"TRACER_EVENT={"v":1,"at":1000000000000,"body":{"type":"start","tracer":"0.1.0","#,
        r#""kernel":"6.1.0-56-cloud-amd64","host":"node-7","boot_id":"01234567-89ab-cdef-0123-456789abcdef","#,
        r#""wall_offset":1772365400000000000,"namespaces":[{"inode":4026531840,"name":"host"},"#,
        r#"{"inode":4026532201,"name":"red"}]}}"#,
        "\n\n"
    );
    let interface = [
        &b"\x71\0\0\0\x90\0\0\0"[..],
        &option(2, b"device 2 (netns host 4026531840)"),
        &option(3, b"device 2, index 2, netns host 4026531840"),
        &option(9, &[9]),
        &[0; 4],
    ]
    .concat();
    let arp = samples::example_arp();
    let comment =
        "NOT_SPECIFIED at arp_rcv+0x9c on device 2 (netns host 4026531840); no socket found; 1 packet";
    let record = concat!(
        r#"TRACER_EVENT={"v":1,"at":1000000000005,"body":{"type":"example","entry":{"fate":"dropped","#,
        r#""netns":4026531840,"iif":2,"device":2,"ethertype":2054,"protocol":{"other":0},"#,
        r#""reason":"NOT_SPECIFIED","location":{"symbol":"arp_rcv","offset":156},"socket_found":false,"#,
        r#""incoming":true,"matched":false},"flow":null,"packets":1,"length":28,"socket":null,"owner":null,"#,
        r#""stack":[]}}"#
    );
    let wall = 1_772_366_400_000_000_005_u64;
    let packet = [
        &word(0)[..],
        &word((wall >> 32) as usize),
        &word((wall & 0xffff_ffff) as usize),
        &word(44),
        &word(44),
        b"\0\0\xff\xfe\0\0\0\0\0\0\0\0\0\0\x08\x06",
        &arp.bytes,
        &option(1, comment.as_bytes()),
        &option(1, record.as_bytes()),
        &option(2, &[1, 0, 0, 0]),
        &[0; 4],
    ]
    .concat();

    let expected = [
        block(0x0a0d_0d0a, &section),
        block(9, start.as_bytes()),
        block(1, &interface),
        block(6, &packet),
    ]
    .concat();
    let written = bytes(&[
        event(0, Body::Start(samples::start())),
        event(5, Body::Example(Box::new(arp))),
    ]);
    assert_eq!(
        String::from_utf8_lossy(&written),
        String::from_utf8_lossy(&expected)
    );
    assert_eq!(written, expected);
}
