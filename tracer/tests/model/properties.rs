//! What holds for every stream of events, however damaged.

use std::net::IpAddr;

use proptest::collection::vec;
use proptest::prelude::*;
use tracer::event::{
    Body, Capability, CapabilityState, Clock, Counter, CounterKey, Device, Entry, EntryKey, Event, Example,
    Fate, FlowCount, FlowKey, Job, JobState, Limits, Location, Losses, Manager, Namespace, Neighbour, Notice,
    NoticeKind, Origin, Owner, Packages, Protocol, Queue, Run, Runs, Seen, Setting, Socket, SocketState,
    Source, Start, Thing, Timer, Unit, UnitState, Unknown, Unresolved, Upgrade, Upgrades,
};
use tracer::filter::Filter;

use crate::story::diagnosis;

/// Small worlds, so that events are about the same things.
fn netns() -> impl Strategy<Value = u32> {
    0..3_u32
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![
        Just(Protocol::Tcp),
        Just(Protocol::Udp),
        Just(Protocol::Icmp),
        Just(Protocol::Icmp6),
        any::<u8>().prop_map(Protocol::from)
    ]
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        Just("0.0.0.0"),
        Just("::"),
        Just("10.0.0.2"),
        Just("192.0.2.1"),
        Just("::ffff:10.0.0.2"),
        Just("2001:db8::2")
    ]
    .prop_map(|text| text.parse().unwrap())
}

fn count() -> impl Strategy<Value = u64> {
    prop_oneof![0..20_u64, any::<u64>(), Just(u64::MAX)]
}

fn reason() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("NOT_SPECIFIED"),
        Just("NO_SOCKET"),
        Just("IP_RPFILTER"),
        Just("IP_INADDRERRORS"),
        Just("QUEUE_PURGE"),
        Just("✗")
    ]
    .prop_map(str::to_owned)
}

fn location() -> impl Strategy<Value = Location> {
    let symbol = prop_oneof![
        Just("ip_forward"),
        Just("ping_rcv"),
        Just("tcp_v4_rcv"),
        Just("__udp4_lib_rcv"),
        Just("ip_error"),
        Just("udp_destruct_common"),
        Just("arp_process"),
        Just("tcp_rcv_state_process"),
        Just("")
    ];
    (symbol, 0..3_u32).prop_map(|(symbol, offset)| Location {
        symbol: symbol.to_owned(),
        offset,
    })
}

fn flow() -> BoxedStrategy<FlowKey> {
    (netns(), protocol(), address(), 0..3_u16, address(), 0..3_u16)
        .prop_map(
            |(netns, protocol, local, local_port, remote, remote_port)| FlowKey {
                netns,
                protocol,
                local,
                local_port,
                remote,
                remote_port,
            },
        )
        .boxed()
}

fn key() -> BoxedStrategy<EntryKey> {
    let fate = prop_oneof![
        Just(Fate::Arrived),
        Just(Fate::Matched),
        Just(Fate::Read),
        Just(Fate::Queued),
        Just(Fate::Forwarded),
        Just(Fate::Consumed),
        Just(Fate::Dropped)
    ];
    let ethertype = prop_oneof![Just(0x0800_u16), Just(0x0806), Just(0x86dd), any::<u16>()];
    let place = (proptest::option::of(reason()), proptest::option::of(location()));
    (
        fate,
        netns(),
        0..4_u32,
        0..4_u32,
        ethertype,
        protocol(),
        place,
        any::<[bool; 4]>(),
    )
        .prop_map(
            |(fate, netns, iif, device, ethertype, protocol, (reason, location), flags)| EntryKey {
                fate,
                netns,
                iif,
                device,
                ethertype,
                protocol,
                reason,
                location,
                socket_found: flags[0],
                incoming: flags[1],
                matched: flags[2],
                piece: flags[3],
            },
        )
        .boxed()
}

fn owner() -> impl Strategy<Value = Option<Owner>> {
    proptest::option::of("[a-z]{0,4}").prop_map(|name| {
        let name = name?;
        Some(Owner {
            pid: 1,
            command: name.clone(),
            cgroup: String::new(),
            unit: name,
            parent: None,
        })
    })
}

fn state() -> impl Strategy<Value = SocketState> {
    (1..13_u32).prop_map(|number| SocketState::from_kernel(number).unwrap())
}

fn flow_count() -> BoxedStrategy<FlowCount> {
    let origin = prop_oneof![Just(Origin::Unknown), Just(Origin::Local), Just(Origin::Remote)];
    let last_drop = proptest::option::of((reason(), location()));
    let life = prop_oneof![4 => Just(0), 1 => 0..4_u32];
    (
        flow(),
        life,
        origin,
        0..4_u32,
        vec(count(), 9),
        last_drop,
        owner(),
    )
        .prop_map(|(flow, life, origin, iif, counts, last_drop, owner)| FlowCount {
            flow,
            life,
            origin,
            iif,
            arrived: counts[0],
            arrived_bytes: counts[1],
            sent: counts[2],
            matched: counts[3],
            queued: counts[4],
            read: counts[5],
            read_bytes: counts[6],
            dropped: counts[7],
            retransmitted: counts[8],
            last_drop,
            sender: counts[0] % 3,
            owner: owner.map(Box::new),
        })
        .boxed()
}

fn seen() -> impl Strategy<Value = Seen> {
    prop_oneof![Just(Seen::Found), Just(Seen::Told), Just(Seen::Noticed)]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![Just("a.service"), Just("b.timer"), Just("")].prop_map(str::to_owned)
}

/// What is told of the node beside its packets.
fn beside() -> BoxedStrategy<Body> {
    let value = || proptest::option::of(name());
    let sub = prop_oneof![
        Just("start"),
        Just("running"),
        Just("stop-sigterm"),
        Just("auto-restart"),
        Just("x")
    ];
    let limits = (count(), count(), count()).prop_map(|(at, span, job)| Limits {
        state_changed: at,
        active_entered: at,
        inactive_entered: at,
        start: span,
        stop: span,
        runtime_max: span,
        restart: span,
        job,
        job_running: job,
        ..Limits::default()
    });
    let times = (
        proptest::option::of(any::<i64>()),
        proptest::option::of(any::<i64>()),
    );
    let state =
        (sub, name(), limits, times).prop_map(|(sub, invocation, limits, (begun, ended))| UnitState {
            sub: sub.to_owned(),
            invocation,
            begun,
            ended,
            limits,
            ..UnitState::default()
        });
    let run =
        (name(), any::<i64>(), proptest::option::of(any::<i64>())).prop_map(|(invocation, begun, ended)| {
            Run {
                invocation,
                begun,
                ended,
                result: String::new(),
            }
        });
    let job = prop_oneof![
        Just(JobState::Waiting),
        Just(JobState::Running),
        name().prop_map(JobState::Ended)
    ];
    prop_oneof![
        (netns(), address(), value(), seen(), owner()).prop_map(|(netns, address, value, seen, by)| {
            Body::Setting(Box::new(Setting {
                netns,
                thing: Thing::Address {
                    device: "eth0".to_owned(),
                    address,
                    prefix: 24,
                },
                value,
                seen,
                by_unknown: by.is_none().then_some(Unknown::Compared),
                by,
            }))
        }),
        (name(), seen(), proptest::option::of(state))
            .prop_map(|(name, seen, state)| Body::Unit(Box::new(Unit { name, seen, state }))),
        (0..4_u32, name(), seen(), name(), job).prop_map(|(id, unit, seen, action, state)| Body::Job(Job {
            id,
            unit,
            seen,
            action,
            state,
        })),
        (name(), seen(), proptest::option::of(any::<i64>()), count()).prop_map(
            |(name, seen, next, random_delay)| {
                Body::Timer(Box::new(Timer {
                    unit: name.clone(),
                    name,
                    seen,
                    active: true,
                    result: String::new(),
                    next,
                    scheduled: None,
                    last: next,
                    random_delay,
                    accuracy: 0,
                    schedule: Vec::new(),
                    persistent: false,
                }))
            }
        ),
        (name(), any::<i64>(), vec(run, 0..70)).prop_map(|(unit, since, runs)| Body::Runs(Box::new(Runs {
            unit,
            since,
            runs
        }))),
        (owner(), any::<bool>(), any::<u32>()).prop_map(|(holder, open_run, leftovers)| {
            Body::Packages(Box::new(Packages {
                manager: Manager::Dpkg,
                holder,
                working_on: String::new(),
                unfinished: Vec::new(),
                unfinished_more: 0,
                leftovers,
                open_run,
                reboot: None,
                unknown: false,
            }))
        }),
        (any::<i64>(), any::<Option<i64>>(), any::<Option<i64>>()).prop_map(|(begun, ended, last)| {
            Body::Upgrades(Box::new(Upgrades {
                manager: Manager::Dpkg,
                since: Some(begun),
                runs: vec![Upgrade {
                    begun,
                    ended,
                    last,
                    ..Upgrade::default()
                }],
            }))
        }),
        (count(), any::<i64>()).prop_map(|(suspended, wall_offset)| Body::Clock(Clock {
            suspended,
            wall_offset
        })),
        Just(Body::Baseline),
        owner().prop_map(|by| Body::Notice(Notice {
            kind: NoticeKind::Kernel,
            text: "x".to_owned(),
            by,
        })),
    ]
    .boxed()
}

fn body() -> BoxedStrategy<Body> {
    prop_oneof![
        6 => (key(), count(), count())
            .prop_map(|(key, packets, bytes)| Body::Entry(Entry { key, packets, bytes })),
        6 => flow_count().prop_map(Body::Flow),
        4 => Just(Body::Tick),
        2 => (flow(), state(), proptest::option::of(state()), owner())
            .prop_map(|(flow, state, from, owner)| Body::Socket(Socket { flow, state, from, inode: 0, owner })),
        2 => (key(), flow(), any::<u32>(), proptest::option::of((flow(), state())), owner()).prop_map(
            |(entry, flow, packets, socket, owner)| Body::Example(Box::new(Example {
                entry,
                flow: Some(flow),
                packets,
                length: packets,
                socket,
                owner,
                stack: Vec::new(),
                bytes: Vec::new(),
            }))
        ),
        1 => (netns(), 0..4_u32, any::<bool>(), vec(address(), 0..3)).prop_map(
            |(netns, index, uplink, addresses)| Body::Device(Device {
                netns,
                index,
                name: format!("eth{index}"),
                uplink,
                addresses,
                over: Vec::new(),
                assumed: false,
                peer: None,
            })
        ),
        2 => (netns(), 0..3_u32, 0..5_usize, count()).prop_map(|(netns, device, name, grown)| {
            let (source, name) = [
                (Source::Netstat, "TcpExtListenDrops"),
                (Source::Netstat, "TcpExtListenOverflows"),
                (Source::Device, "rx_dropped"),
                (Source::Ethtool, "rx0_drops"),
                (Source::Snmp, "UdpNoPorts"),
            ][name];
            let device = if source == Source::Netstat { 0 } else { device };
            let key = CounterKey { netns, source, device, name: name.to_owned() };
            Body::Counter(Counter { key, grown })
        }),
        1 => (flow(), state(), 0..3_u32, proptest::option::of(0..3_u32), owner()).prop_map(
            |(flow, state, waiting, limit, owner)| Body::Queue(Box::new(Queue {
                flow,
                state,
                inode: 0,
                waiting,
                limit,
                drops: limit,
                retries: 0,
                owner,
                held: None,
            }))
        ),
        1 => (netns(), 0..4_u32, address(), count(), count()).prop_map(
            |(netns, device, address, asked, answered)| Body::Neighbour(Neighbour {
                netns,
                device,
                address,
                asked,
                answered,
            })
        ),
        1 => (netns(), 0..4_u32, address(), 0..4_u32, count(), count()).prop_map(
            |(netns, device, address, iif, packets, before)| Body::Unresolved(Unresolved {
                netns,
                device,
                address,
                iif,
                packets,
                before,
                before_bytes: before,
            })
        ),
        1 => count().prop_map(|n| Body::Losses(Losses { flows_full: n, ..Losses::default() })),
        1 => any::<bool>().prop_map(|there| Body::Capability(Capability {
            name: "arrivals".to_owned(),
            state: if there { CapabilityState::Available } else { CapabilityState::Unavailable },
            why: String::new(),
        })),
        1 => any::<i64>().prop_map(|wall_offset| Body::Start(Start {
            tracer: String::new(),
            kernel: String::new(),
            host: String::new(),
            boot_id: String::new(),
            wall_offset,
            namespaces: vec![Namespace { inode: 1, name: "host".to_owned(), ..Namespace::default() }],
        })),
        1 => Just(Body::Stop),
        3 => beside(),
    ]
    .boxed()
}

/// A stream whose time mostly goes on.
fn stream() -> impl Strategy<Value = Vec<Event>> {
    let step = prop_oneof![20 => 0..2_000_000_000_u64, 1 => any::<u64>()];
    vec((step, body()), 0..120).prop_map(|steps| {
        let mut at = 0_u64;
        steps
            .into_iter()
            .map(|(step, body)| {
                at = at.wrapping_add(step);
                Event { at, body }
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn the_books_always_balance(events in stream()) {
        let diagnosis = diagnosis(&events);
        let mut ledgers: Vec<_> = diagnosis.model().ledgers().into_iter().map(|(_, ledger)| ledger).collect();
        ledgers.push(Filter::default().report(&diagnosis).ledger);
        for ledger in ledgers {
            let parts = [ledger.delivered, ledger.forwarded, ledger.answered, ledger.dropped, ledger.queued];
            let sum: i128 = parts.into_iter().map(i128::from).sum();
            prop_assert_eq!(i128::from(ledger.arrived), sum + i128::from(ledger.unexplained));
        }
    }

    #[test]
    fn the_same_events_give_the_same_report_to_the_letter(events in stream()) {
        let once = serde_json::to_string(&Filter::default().report(&diagnosis(&events))).unwrap();
        let again = serde_json::to_string(&Filter::default().report(&diagnosis(&events))).unwrap();
        prop_assert_eq!(once, again);
    }

    #[test]
    fn an_event_told_twice_changes_no_count(events in stream()) {
        let twice: Vec<Event> = events.iter().flat_map(|event| [event.clone(), event.clone()]).collect();
        let (once, twice) = (Filter::default().report(&diagnosis(&events)), Filter::default().report(&diagnosis(&twice)));
        prop_assert_eq!(once.ledger, twice.ledger);
        prop_assert_eq!(once.drops, twice.drops);
    }

    #[test]
    fn failure_and_place_agree(events in stream()) {
        let report = Filter::default().report(&diagnosis(&events));
        let sound = matches!(report.place, tracer::report::Where::Healthy | tracer::report::Where::Unknown);
        prop_assert_eq!(report.failure_found(), !sound);
    }
}
