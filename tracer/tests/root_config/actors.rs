//! Who makes a change, with its parent; and why that is not known.

use std::io::Write;
use std::process::{Command, Stdio};

use tracer::event::Unknown;

use super::{Listening, Named};

/// A shell of a service that runs `ip`, which does what it reads and so lives on.
#[test]
fn a_tool_is_told_with_the_shell_that_runs_it() {
    let named = Named::new();
    let mut listening = Listening::to(&named);
    let mut shell = Command::new("sh")
        // Else it would become what it runs.
        .args(["-c", "ip -n $0 -batch -; :", &named.0])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = shell.stdin.take().unwrap();
    stdin.write_all(b"rule add pref 77 lookup 77\n").unwrap();
    let (_, changed) = listening.change_of("IPv4 rule 77: from all lookup 77");
    drop(stdin);
    let id = shell.id();
    assert!(shell.wait().unwrap().success());
    let by = changed.by.unwrap();
    assert_eq!((by.command.as_str(), changed.by_unknown), ("ip", None));
    let parent = by.parent.unwrap();
    assert_eq!((parent.pid, parent.command.as_str()), (id, "sh"));
}

#[test]
fn why_nobody_is_named_is_told() {
    let named = Named::new();
    named.add_device();
    let mut listening = Listening::to(&named);
    let mut change = |thing: &str| {
        let (_, setting) = listening.change_of(thing);
        (setting.by, setting.by_unknown)
    };
    // Looked at once a second.
    named.exec("sysctl -qw net.ipv4.conf.up0.arp_ignore=1");
    assert_eq!(
        change("sysctl net.ipv4.conf.up0.arp_ignore"),
        (None, Some(Unknown::Compared))
    );
    // Told by netlink, and not asked by it.
    named.exec("sysctl -qw net.ipv4.ip_forward=1");
    assert_eq!(
        change("sysctl net.ipv4.conf.all.forwarding"),
        (None, Some(Unknown::Kernel))
    );
    let shell = Command::new("ip")
        .args([
            "netns",
            "exec",
            &named.0,
            "sh",
            "-c",
            "echo 1400 > /sys/class/net/up0/mtu",
        ])
        .status();
    assert!(shell.unwrap().success());
    assert_eq!(change("device up0"), (None, Some(Unknown::Kernel)));
}
