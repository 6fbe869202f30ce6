//! Every event in one plain sentence: the `MESSAGE` of a journal entry, the comment of a packet.

use crate::event::{
    Body, Capability, CapabilityState, Chains, Counter, Device, Droppers, Entry, EntryKey, Example, Fate,
    FlowCount, FlowKey, Losses, Neighbour, Origin, Owner, Protocol, Queue, Socket, SocketState, Start,
    Unresolved,
};

use super::changes;
use super::cooked;
use super::names::Names;

/// The event in words. Of an example that tells its stack, a second line names the callers.
#[must_use]
pub fn sentence(body: &Body, names: &Names) -> String {
    match body {
        Body::Start(start) => starts(start, names),
        Body::Capability(capability) => can(capability),
        Body::Namespace(namespace) => format!("{} is watched", names.netns(namespace.inode)),
        Body::NamespaceEnded(ended) => format!("{} has ended", names.netns(ended.inode)),
        Body::Device(device) => device_is(device, names),
        Body::Entry(entry) => booked(entry, names),
        Body::Flow(flow) => counted(flow, names),
        Body::Example(example) => dropped(example, names),
        Body::Socket(socket) => socket_is(socket, names),
        Body::Counter(counter) => grew(counter, names),
        Body::Queue(queue) => waits(queue, names),
        Body::Neighbour(neighbour) => asked(neighbour, names),
        Body::Unresolved(queue) => waits_for(queue, names),
        Body::Fragments(waiting) => format!(
            "{} in {} for missing fragments, in {} of memory",
            many(waiting.datagrams, "datagram") + if waiting.datagrams == 1 { " waits" } else { " wait" },
            names.netns(waiting.netns),
            many(waiting.memory, "byte")
        ),
        Body::Chains(chains) => asks(chains, names),
        Body::Droppers(droppers) => can_drop(droppers, names),
        Body::Setting(setting) => changes::setting(setting, names),
        Body::Unit(unit) => changes::unit(unit),
        Body::Job(job) => changes::job(job),
        Body::Timer(timer) => changes::timer(timer),
        Body::Runs(runs) => changes::runs(runs),
        Body::Packages(packages) => changes::packages(packages),
        Body::Upgrades(upgrades) => changes::upgrades(upgrades),
        Body::Notice(notice) => changes::notice(notice),
        Body::Clock(clock) => changes::clock(*clock),
        Body::Baseline => "the node is well: as it stands now is the baseline".into(),
        Body::Losses(losses) => lost(losses),
        Body::Tick => "all counts of this round are told".into(),
        Body::Stop => "tracer stops".into(),
    }
}

fn starts(start: &Start, names: &Names) -> String {
    let namespaces: Vec<_> = start.namespaces.iter().map(|ns| names.netns(ns.inode)).collect();
    format!(
        "tracer {} starts on {}, Linux {}; it watches {}",
        start.tracer,
        start.host,
        start.kernel,
        list(&namespaces, "no network namespace")
    )
}

fn can(capability: &Capability) -> String {
    let state = match capability.state {
        CapabilityState::Available => "available",
        CapabilityState::Partial => "available in part",
        CapabilityState::Unavailable => "not available",
    };
    match capability.why.as_str() {
        "" => format!("capability {}: {state}", capability.name),
        why => format!("capability {}: {state}: {why}", capability.name),
    }
}

fn device_is(device: &Device, names: &Names) -> String {
    let addresses: Vec<_> = device.addresses.iter().map(ToString::to_string).collect();
    format!(
        "{} {} is device {} ({}), {}",
        if device.uplink { "uplink" } else { "device" },
        device.name,
        device.index,
        names.netns(device.netns),
        list(&addresses, "no address")
    )
}

fn booked(entry: &Entry, names: &Names) -> String {
    let key = &entry.key;
    let fate = match key.fate {
        Fate::Arrived => "arrived",
        Fate::Matched => "matched to their socket",
        Fate::Read => "read by a process",
        Fate::Queued => "put in a receive queue",
        Fate::Forwarded => "forwarded",
        Fate::Consumed => "used up by the kernel",
        Fate::Dropped => "dropped",
    };
    let mut text = format!(
        "{fate} so far: {} ({}) ",
        many(entry.packets, "packet"),
        many(entry.bytes, "byte")
    );
    text += &cause(key);
    text += &format!("{}{}", protocol(key), place(key, names));
    if key.socket_found {
        text += "; socket found";
    }
    if !key.incoming {
        text += "; sent by this node";
    }
    if key.matched && key.fate != Fate::Matched {
        text += "; matched before";
    }
    text
}

fn counted(count: &FlowCount, names: &Names) -> String {
    let mut text = format!(
        "flow {} ({}): arrived {} ({}), sent {}, matched {}, queued {}, read {} ({}), dropped {}, retransmitted {}",
        count.flow,
        names.netns(count.flow.netns),
        count.arrived,
        many(count.arrived_bytes, "byte"),
        count.sent,
        count.matched,
        count.queued,
        count.read,
        many(count.read_bytes, "byte"),
        count.dropped,
        count.retransmitted
    );
    text += match count.origin {
        Origin::Unknown => "",
        Origin::Local => "; opened by this node",
        Origin::Remote => "; opened by the peer",
    };
    if let Some((reason, location)) = &count.last_drop {
        text += &format!("; last drop {reason} at {location}");
    }
    text
}

fn dropped(example: &Example, names: &Names) -> String {
    let mut text = cause(&example.entry).trim_end().to_owned();
    if text.is_empty() {
        text += "dropped";
    }
    text += &place(&example.entry, names);
    match (&example.socket, &example.flow) {
        (Some((flow, at)), _) => {
            text += &format!("; socket found: {}", holder(flow, *at, example.owner.as_ref()))
        }
        (None, flow) => {
            text += if example.entry.socket_found {
                "; socket found"
            } else {
                "; no socket found"
            };
            text += &flow.map_or_else(String::new, |flow| format!(": {flow}"));
        }
    }
    if !example.entry.incoming {
        text += "; sent by this node";
    }
    text += &format!("; {}", many(example.packets.into(), "packet"));
    if !example.stack.is_empty() {
        let callers: Vec<_> = example.stack.iter().map(ToString::to_string).collect();
        text += &format!("\nstack: {}", callers.join(" < "));
    }
    text
}

fn socket_is(socket: &Socket, names: &Names) -> String {
    let held = holder(&socket.flow, socket.state, socket.owner.as_ref());
    let netns = names.netns(socket.flow.netns);
    match socket.from {
        Some(from) => format!("socket {held}, {} before ({netns})", state(from)),
        None => format!("socket {held} ({netns})"),
    }
}

fn asks(chains: &Chains, names: &Names) -> String {
    let each: Vec<_> = chains
        .chains
        .iter()
        .map(|chain| format!("{chain} at {} with priority {}", chain.hook, chain.priority))
        .collect();
    format!(
        "chains that filter: {} ({})",
        list(&each, "none"),
        names.netns(chains.netns)
    )
}

fn can_drop(droppers: &Droppers, names: &Names) -> String {
    let each: Vec<_> = droppers
        .rules
        .iter()
        .map(|rule| format!("{} ({rule})", rule.verdict))
        .collect();
    format!(
        "rules that can drop: {} ({})",
        list(&each, "none"),
        names.netns(droppers.netns)
    )
}

fn grew(counter: &Counter, names: &Names) -> String {
    let key = &counter.key;
    let device = match key.device {
        0 => String::new(),
        index => format!("{}, ", names.device(key.netns, index)),
    };
    format!(
        "counter {} has grown by {} so far ({device}{})",
        key.name,
        counter.grown,
        names.netns(key.netns)
    )
}

fn waits(queue: &Queue, names: &Names) -> String {
    let what = match queue.state {
        SocketState::Listen => "connection",
        _ => "byte",
    };
    let mut text = format!("waiting at the socket: {}", many(queue.waiting.into(), what));
    if let Some(limit) = queue.limit {
        text += &format!(" of {limit}");
    }
    if let Some(drops) = queue.drops {
        text += &format!(", {drops} dropped since it was opened");
    }
    if queue.retries > 0 {
        text += &format!(
            ", the last segment sent again {}",
            many(queue.retries.into(), "time")
        );
    }
    format!(
        "{text}: {} ({})",
        holder(&queue.flow, queue.state, queue.owner.as_ref()),
        names.netns(queue.flow.netns)
    )
}

fn asked(neighbour: &Neighbour, names: &Names) -> String {
    format!(
        "{} was asked for on {} and answered {} of {} ({})",
        neighbour.address,
        names.device(neighbour.netns, neighbour.device),
        neighbour.answered,
        many(neighbour.asked, "time"),
        names.netns(neighbour.netns)
    )
}

fn waits_for(queue: &Unresolved, names: &Names) -> String {
    let mut text = format!(
        "{} by {} waiting for the neighbour {} on {} ({})",
        many(queue.packets, "packet"),
        names.device(queue.netns, queue.iif),
        queue.address,
        names.device(queue.netns, queue.device),
        names.netns(queue.netns)
    );
    if queue.before > 0 {
        text += &format!(
            "; {} waited when the tracer started",
            many(queue.before, "packet")
        );
    }
    text
}

fn lost(losses: &Losses) -> String {
    let Losses {
        examples_not_sent,
        ring_full,
        map_full,
        in_other,
        flows_full,
        places_full,
        neighbours_full,
        unresolved_full,
        counters_full,
        queues_full,
        things_full,
        runs_skipped,
    } = *losses;
    let lost: Vec<_> = [
        (examples_not_sent, "examples over their budget"),
        (ring_full, "records that the ring buffer had no room for"),
        (map_full, "packets that the books had no room for"),
        (
            in_other,
            "reasons and places of packets that the books had no room for",
        ),
        (flows_full, "packets that the table of flows had no room for"),
        (places_full, "places that the table of budgets had no room for"),
        (
            neighbours_full,
            "messages of neighbours that their table had no room for",
        ),
        (
            unresolved_full,
            "packets waiting for neighbours that the table of those had no room for",
        ),
        (things_full, "units, timers and things that there was no room for"),
        (counters_full, "changes of counters that there was no room for"),
        (
            queues_full,
            "looks at queues of sockets that there was no room for",
        ),
        (runs_skipped, "runs of a program that the kernel left out"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    format!("not recorded so far: {}", list(&lost, "nothing"))
}

/// `IP_RPFILTER at ip_rcv_finish_core+0x1ac `, with a space behind what is known.
fn cause(key: &EntryKey) -> String {
    let reason = key
        .reason
        .as_ref()
        .map_or_else(String::new, |reason| format!("{reason} "));
    let location = key
        .location
        .as_ref()
        .map_or_else(String::new, |location| format!("at {location} "));
    reason + &location
}

/// ` on eth0 (netns host 4026531840)`.
fn place(key: &EntryKey, names: &Names) -> String {
    let device = names.device(key.netns, cooked::device(key));
    format!(" on {device} ({})", names.netns(key.netns))
}

fn protocol(key: &EntryKey) -> String {
    match (key.ethertype, key.protocol) {
        (0x0806, _) => "arp".into(),
        (0, Protocol::Other(0)) => "of an unknown protocol".into(),
        (0 | 0x0800 | 0x86dd, protocol) => protocol.to_string(),
        (ethertype, _) => format!("ethertype {ethertype:#06x}"),
    }
}

/// `tcp 10.10.0.2:4000 → 10.9.0.1:80, ESTABLISHED, curl[123], unit x.service`.
fn holder(flow: &FlowKey, at: SocketState, owner: Option<&Owner>) -> String {
    let mut text = format!("{flow}, {}", state(at));
    if let Some(owner) = owner {
        if owner.pid != 0 {
            text += &format!(", {}[{}]", owner.command, owner.pid);
        }
        if !owner.unit.is_empty() {
            text += &format!(", unit {}", owner.unit);
        } else if owner.pid == 0 {
            text += &format!(", cgroup {}", owner.cgroup);
        }
    }
    text
}

fn state(state: SocketState) -> &'static str {
    match state {
        SocketState::Established => "ESTABLISHED",
        SocketState::SynSent => "SYN_SENT",
        SocketState::SynRecv => "SYN_RECV",
        SocketState::FinWait1 => "FIN_WAIT1",
        SocketState::FinWait2 => "FIN_WAIT2",
        SocketState::TimeWait => "TIME_WAIT",
        SocketState::Close => "CLOSE",
        SocketState::CloseWait => "CLOSE_WAIT",
        SocketState::LastAck => "LAST_ACK",
        SocketState::Listen => "LISTEN",
        SocketState::Closing => "CLOSING",
        SocketState::NewSynRecv => "NEW_SYN_RECV",
    }
}

fn many(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn list(items: &[String], none: &str) -> String {
    if items.is_empty() {
        none.into()
    } else {
        items.join(", ")
    }
}
