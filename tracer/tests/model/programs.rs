//! BPF programs that come and take packets away, by whatever they are attached.

use tracer::event::{Body, EntryKey, Example, Location, Protocol, Seen, SocketState, Thing};
use tracer::report::{Relation, Report, Verdict};

use crate::pairing::set;
use crate::story::*;

/// A program that comes by this and goes, and what it drops.
struct Program {
    id: &'static str,
    sets: fn(&mut Story, u32, bool),
    drops: fn() -> EntryKey,
    /// Functions by which the place was come to, innermost first.
    stack: &'static [&'static str],
}

fn noticed(story: &mut Story, thing: Thing, value: Option<&str>) {
    set(story, thing, value, Seen::Noticed, None);
}

fn link(story: &mut Story, number: u32, value: &str, is_there: bool) {
    noticed(story, Thing::BpfLink { id: number }, is_there.then_some(value));
}

fn eth0() -> Thing {
    Thing::Link {
        device: "eth0".to_owned(),
    }
}

const DEVICE: &str = "up, carrier, mtu 1500, address 02:00:00:00:00:01";
const XDP_PASSES: &str =
    "up, carrier, mtu 1500, address 02:00:00:00:00:01, xdp prog 6 (pass tag 01 loaded by uid 0)";
const XDP_DROPS: &str =
    "up, carrier, mtu 1500, address 02:00:00:00:00:01, xdp prog 7 (guard tag 02 loaded by uid 0)";
const NETFILTER: &str =
    "netfilter, program 7, hook 1 of ip, priority -5; netfilter guard tag 02, loaded by uid 0";

const FIREWALL: Program = Program {
    id: "R06",
    sets: |story, number, is_there| link(story, number, NETFILTER, is_there),
    drops: || drop("NETFILTER_DROP", "nf_hook_slow", Protocol::Tcp),
    stack: &["nf_hook_slow", "ip_local_deliver"],
};

/// It takes the place of one that let all pass, and goes without that coming back.
const XDP: Program = Program {
    id: "R09",
    sets: |story, number, is_there| {
        link(
            story,
            number,
            "xdp, program 7, device eth0; xdp guard tag 02",
            is_there,
        );
        noticed(story, eth0(), Some(if is_there { XDP_DROPS } else { DEVICE }));
    },
    drops: || drop("NOT_SPECIFIED", "do_xdp_generic", Protocol::Tcp),
    stack: &[],
};

const TCX: Program = Program {
    id: "R10",
    sets: |story, number, is_there| {
        let value = "tcx, program 7, tcx_ingress of device eth0; sched_cls guard tag 02";
        link(story, number, value, is_there);
    },
    drops: || drop("TC_INGRESS", "__netif_receive_skb_core", Protocol::Tcp),
    stack: &[],
};

const CGROUP_LINK: Program = Program {
    id: "R16",
    sets: |story, number, is_there| {
        let value = "cgroup, program 7, cgroup_inet_ingress of cgroup /system.slice; cgroup_skb guard tag 02";
        link(story, number, value, is_there);
    },
    drops: || EntryKey {
        socket_found: true,
        ..drop("SOCKET_FILTER", "sk_filter_trim_cap", Protocol::Tcp)
    },
    stack: &[],
};

const CGROUP: Program = Program {
    sets: |story, _, is_there| {
        let thing = Thing::CgroupPrograms {
            cgroup: "/system.slice".to_owned(),
            hook: "cgroup_inet_ingress".to_owned(),
        };
        noticed(
            story,
            thing,
            is_there.then_some("program 7 (guard tag 02 loaded by uid 0)"),
        );
    },
    ..CGROUP_LINK
};

/// Replies are dropped from the round on in which the program came.
fn broken(program: &Program) -> Story {
    let mut story = healthy();
    noticed(&mut story, eth0(), Some(XDP_PASSES));
    story.idle(8);
    let lose = |story: &mut Story| {
        let lost = (program.drops)();
        for port in [40_000, 40_001] {
            story.ask_and_lose(client(port), lost.clone());
            if !program.stack.is_empty() {
                let stack: Vec<Location> = program.stack.iter().map(|symbol| at(symbol)).collect();
                story.say(Body::Example(Box::new(Example {
                    entry: lost.clone(),
                    flow: Some(client(port)),
                    packets: 1,
                    length: 100,
                    socket: Some((client(port), SocketState::Established)),
                    owner: None,
                    stack,
                    bytes: Vec::new(),
                })));
            }
        }
    };
    lose(&mut story);
    (program.sets)(&mut story, 12, true);
    story.tick();
    story.rounds(8, lose);
    story
}

fn works(story: &mut Story) {
    for port in [40_000, 40_001] {
        story.exchange(client(port));
    }
}

const ALL: [Program; 5] = [FIREWALL, XDP, TCX, CGROUP_LINK, CGROUP];

#[test]
fn a_program_that_came_explains_what_is_dropped_where_it_is_asked() {
    for program in ALL {
        let verdict: Verdict = broken(&program).verdict(program.id);
        let cause = &verdict.cause;
        assert_eq!(
            cause.relation,
            Relation::Explains,
            "{} {}",
            program.id,
            cause.text
        );
        assert!(cause.text.contains("guard"), "{}", cause.text);
        assert!(
            verdict.remedy[0].starts_with("bpftool "),
            "{} {:#?}",
            program.id,
            verdict.remedy
        );
    }
}

#[test]
fn it_is_mended_when_the_program_is_gone() {
    for program in ALL {
        let mut story = broken(&program);
        (program.sets)(&mut story, 12, false);
        story.rounds(8, works);
        let report: Report = story.report();
        assert!(story.ids().is_empty(), "{}: {:?}", program.id, story.ids());
        let episode = &report.episodes[0];
        assert_eq!(episode.id, program.id);
        let mended = episode.mended.as_ref();
        assert!(
            mended.is_some_and(|mended| mended.text.contains("guard")),
            "{} {mended:?}",
            program.id
        );
    }
}

/// It is asked about what is passed on, or about IPv6; or it is at another device.
#[test]
fn a_program_elsewhere_explains_nothing() {
    const FORWARD: &str = "netfilter, program 7, hook 2 of ip, priority -5; netfilter guard tag 02";
    const IPV6: &str = "netfilter, program 7, hook 1 of ip6, priority -5; netfilter guard tag 02";
    const OTHER: &str = "tcx, program 7, tcx_ingress of device lxc1; sched_cls guard tag 02";
    for program in [
        Program {
            sets: |story, number, is_there| link(story, number, FORWARD, is_there),
            ..FIREWALL
        },
        Program {
            sets: |story, number, is_there| link(story, number, IPV6, is_there),
            stack: &[],
            ..FIREWALL
        },
        Program {
            sets: |story, number, is_there| link(story, number, OTHER, is_there),
            ..TCX
        },
    ] {
        let cause = broken(&program).verdict(program.id).cause;
        assert_eq!(cause.relation, Relation::Unknown, "{} {}", program.id, cause.text);
    }
}
