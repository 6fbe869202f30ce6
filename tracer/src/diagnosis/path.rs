//! The way to the node: requests are made and no answer arrives.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use foldhash::quality::RandomState;

use super::addresses::Addresses;
use super::hops::{PEERS, goes_by};
use super::refusals::Refusals;
use super::sufferers::Sufferer;
use super::suffering::{Gathered, Suffering};
use super::words::{count, distinct, list, moment, span};
use super::{About, Finding, Rule, View, effects, evidence, hops, names, next_hops};
use crate::event::value::NF_TABLES;
use crate::event::{FlowKey, Protocol, Thing, value};
use crate::model::Model;
use crate::model::clock::{MEMORY, SECOND, When};
use crate::model::endpoints::{Endpoint, Silence};
use crate::model::ends;
use crate::model::flows::Flow;
use crate::model::plight::Plight;
use crate::model::queues::Port;
use crate::model::sockets::Connection;
use crate::numbers::thousands;
use crate::report::{Confidence, Evidence, Where};

/// The capability that counts arrivals: without it silence says nothing.
pub(super) const ARRIVALS: &str = "arrivals";

/// D01: requests are made, no answer arrives, and none was dropped here.
pub(super) const SILENT: Rule = Rule {
    id: "D01",
    slug: "silent-path",
    title: "What this node sends is not answered",
    place: Some(Where::DataPath),
    about: About {
        signature: "This node makes requests, by TCP again and again, and nothing comes back by an uplink; nothing that did was \
                    dropped here. Where the next hop does not tell its link-layer address they do not even leave; where it is one \
                    of several of a route, that is enough. A weak sign where \
                    only peers are silent that never answered, and not for want of a gateway's link-layer address; where ICMP says meanwhile that what was asked for cannot be \
                    reached, and the peers are there all the same, or are asked by UDP only; where they answer others, whose packets this \
                    node passes on, for the first 5 s of that; and where what neighbours said on \
                    the link was dropped here, or the node's own firewall drops what it is to pass on to or from these peers.",
        meaning: "The fault is not in this node's receive path: what it asks for is lost on the way there, there, or on \
                  the way back. Where the next hop does not tell its link-layer address, nothing leaves at all.",
        check: &[
            "ip neigh  # the gateway must not be FAILED; PERMANENT: set by hand, may be wrong",
            "nstat -az IcmpInDestUnreachs Icmp6InDestUnreachs  # grows where somebody refuses",
            "ip route get PEER",
            "ip -s link show dev DEVICE",
            "nft -a list ruleset  # must not give what is sent a source or destination that is wrong",
        ],
        mend: &[
            "This is for whoever runs the network, with the times and peers of the verdict. Risk: a reboot of the node \
             destroys the evidence and mends nothing.",
        ],
    },
    examine: |view| {
        let silent = silent(view);
        // What is lost of a few may be a peer that is switched off.
        match silent {
            Some(found) if found.confidence > Confidence::Weak => Some(found),
            found => next_hops::examine(view).or(found),
        }
    },
    explains: effects::requests,
    proved_by: effects::none,
    follows: &[
        "R01", "R03", "R04", "R05", "R22", "D02", "R09", "R11", "R20", "R21", "R43", "R23", "R30", "R31",
        "R33", "R34", "R36", "R37", "R38", "R40", "R42", "K06",
    ],
};

/// Who answers others, whose packets this node passes on, may not answer this node for what is wrong here: for so long it is looked for.
const OTHERS: u64 = 5 * SECOND;

/// A silence that began so long after the first one, while that lasted, is of something else.
const ANOTHER: u64 = 2 * SECOND;

fn silent(view: &View<'_>) -> Option<Finding> {
    let model = view.model;
    if !model.can(ARRIVALS) {
        return None;
    }
    let case = Case::of(view)?;
    let confidence = case.confidence(model)?;
    let before = view.past.silence.recent(model.now());
    let since = before.map_or(case.since, |spell| spell.since.min(case.since));

    let lasts = match case.ended {
        None => format!(
            "for {} no answer has come from there",
            span(model.now().saturating_sub(case.since))
        ),
        Some(until) => format!(
            "for {} no answer came from there, until one did",
            span(until.saturating_sub(case.since))
        ),
    };
    // Where the path loses a part, now this and now that is silent.
    let before = if since.saturating_add(ANOTHER) < case.since {
        format!(
            " Since {}, with pauses of {} at most, one or another was silent: what gets lost may be a part of all.",
            moment(model, since),
            span(MEMORY)
        )
    } else {
        String::new()
    };
    let reach = match (case.ended, case.others) {
        (Some(_), _) => String::new(),
        _ if !case.there.is_empty() => case.still_there(),
        (None, 0) if case.answers_others.is_some() => String::new(),
        (None, 0) => " Nothing arrived for any other flow in this time either.".to_owned(),
        (None, others) => format!(
            " Only some peers are silent: packets of {} with others arrived in this time.",
            count(others, "flow")
        ),
    };
    let answers_others = if case.answers_others.is_some() {
        " Others, whose packets this node passes on, are answered from there."
    } else {
        ""
    };
    let refused = match case.refusals.told() {
        none if none.is_empty() => String::new(),
        some if case.is_refused() => {
            format!(" But {some} came meanwhile: who is asked refuses, or somebody on the way does.")
        }
        some => format!(" Meanwhile {some} came."),
    };
    let dropped = match case.strays {
        0 => case.dropped_here(),
        strays => format!(
            "{} came from there by another port than was asked, for which no socket waits: something on the way may \
             have changed the port",
            count(strays, "packet")
        ),
    };
    let hops = case.silent_hops(model);
    let hop = match hops.len() {
        0 => String::new(),
        1 => format!(
            " The next hop {} does not tell its link-layer address: what is to go by it does not leave this node.",
            list(&hops)
        ),
        _ => format!(
            " The next hops {} do not tell their link-layer addresses: what is to go by them does not leave this node.",
            list(&hops)
        ),
    };
    let one_of_several = next_hops::told(
        model,
        &case.peers,
        case.ended.is_none() && (case.others > 0 || !case.there.is_empty()),
    );
    let by_hand = hops::set_by_hand(model, &case.peers);
    let pinned = match list(&by_hand) {
        none if none.is_empty() => String::new(),
        some => format!(" By hand, and so not asked for, was set how these are reached: {some}."),
    };
    let peers = Addresses::of(case.peers.iter().map(|(_, address)| *address));
    let explanation = format!(
        "This node made {} to {}, and {lasts}; {dropped}.{before}{refused}{reach}{answers_others}{hop}{one_of_several}{pinned}{}",
        count(case.requests, "request"),
        peers.told(),
        case.suffering.affected()
    );

    let mut evidence: Vec<Evidence> = case
        .silences
        .iter()
        .take(5)
        .map(|(peer, silence)| endpoint(model, *peer, *silence))
        .collect();
    evidence.extend(case.refusals.evidence(model));
    if case.retransmitted > 0 {
        let text = format!(
            "{} by TCP since the start",
            count(case.retransmitted, "retransmission")
        );
        evidence.push(evidence::counter("retransmissions", case.retransmitted, text));
    }
    let unsent = case.unsent(model);
    if unsent > 0 {
        let text = format!(
            "{} of this node could not leave since the start: {} not tell the link-layer address",
            count(unsent, "packet"),
            match list(&hops) {
                none if none.is_empty() => "the next hop does".to_owned(),
                one if hops.len() == 1 => format!("{one} does"),
                several => format!("{several} do"),
            }
        );
        evidence.push(evidence::drop("NEIGH_FAILED", None, unsent, text));
    }
    let arrived = model.totals().ledger.arrived;
    let before = model.history().before(model.now()).ledger.arrived;
    let text = format!(
        "{} arrived since the start, {} of them in the last 2 s",
        count(arrived, "packet"),
        thousands(arrived.saturating_sub(before))
    );
    evidence.push(evidence::ledger(model, text));

    let mut check = Vec::new();
    if !case.refusals.told().is_empty()
        && let Some((netns, _)) = case.peers.first()
    {
        let line = "nstat -az IcmpInDestUnreachs Icmp6InDestUnreachs";
        check.push(super::words::command(model, *netns, line));
    }
    for (netns, peer) in case.peers.iter().take(3) {
        let ip = super::words::ip(*peer);
        check.push(super::words::command(
            model,
            *netns,
            &format!("{ip} route get {peer}"),
        ));
    }
    let namespaces: BTreeSet<u32> = case.peers.iter().map(|(netns, _)| *netns).collect();
    for netns in &namespaces {
        check.push(super::words::command(model, *netns, "ip neigh"));
        check.push(super::words::command(model, *netns, "ip -s link"));
        check.push(format!(
            "{}  # must show `lookup local`: else this node does not answer ARP",
            super::words::command(model, *netns, "ip rule")
        ));
        // Rules that stood at the start are not read by the tracer.
        let firewall = NF_TABLES.to_owned();
        if model
            .settings()
            .value(*netns, Thing::Ruleset { firewall })
            .is_some()
        {
            check.push(format!(
                "{}  # must not give what is sent a source or destination that is wrong (snat, dnat)",
                super::words::command(model, *netns, "nft -a list ruleset")
            ));
        }
    }

    Some(Finding {
        confidence,
        explanation,
        since,
        last: case.ended.unwrap_or(model.now()),
        evidence,
        devices: uplinks(model, &namespaces),
        namespaces,
        standing: None,
        units: case.suffering.units([]),
        remedy: vec![case.remedy(!by_hand.is_empty()).to_owned()],
        flows: case.suffering.flows.with_remotes(peers),
        prevent: Vec::new(),
        check,
    })
}

/// The rule is about peers that this node asks in vain.
pub(super) fn asks(rule: &Rule) -> bool {
    [SILENT.id, names::UNANSWERED.id].contains(&rule.id)
}

/// When the first of the silent peers of a finding answered last; never where that is not known, or the rule is about something
/// else.
pub(super) fn answered(model: &Model, rule: &Rule, finding: &Finding) -> When {
    if !asks(rule) {
        return When::NEVER;
    }
    let peers = finding.flows.remotes();
    let mut first: Option<When> = None;
    for (peer, silence) in model.silences().all() {
        let is_sooner = silence.answered > When::NEVER && first.is_none_or(|first| silence.answered < first);
        // There may be very many: only those that were answered sooner are looked for.
        if is_sooner && peers.have(peer.address) {
            first = Some(silence.answered);
        }
    }
    first.unwrap_or_default()
}

/// The names of the devices by which these namespaces ask others.
pub(super) fn uplinks(model: &Model, namespaces: &BTreeSet<u32>) -> BTreeSet<String> {
    let all = namespaces.iter().flat_map(|netns| model.node().faces(*netns));
    all.map(|device| device.name.clone()).collect()
}

/// A flow that is part of a silence and loses nothing here, with the place of that.
pub(super) type Asking<'a> = (&'a Plight, usize);

/// A silent flow says something of the path: what leaves by no uplink does not.
pub(super) fn is_of_path(view: &View<'_>, plight: &Plight) -> bool {
    !by_inner_device(view, &plight.key, plight.iif)
}

/// The flow, where it is one, by whatever device it leaves.
pub(super) fn silent_flow<'a>(model: &Model, plight: &'a Plight) -> Option<Asking<'a>> {
    let place = usize::try_from(plight.silence?).ok()?;
    // What this node's own rules keep from leaving nobody else can answer.
    let is_held_back = plight.is_held_back && model.books().holds_back(plight.key.netns, model.now());
    (!is_held_back && plight.dropped.is_none()).then_some((plight, place))
}

/// The silences with these places, each once and in order.
pub(super) fn silences(model: &Model, places: impl Iterator<Item = usize>) -> Vec<&(Endpoint, Silence)> {
    let all = model.silences().all();
    let mut is_asked = vec![false; all.len()];
    for place in places {
        if let Some(is) = is_asked.get_mut(place) {
            *is = true;
        }
    }
    let all = all.iter().zip(is_asked);
    all.filter_map(|(one, is)| is.then_some(one)).collect()
}

/// What is silent, all together.
struct Case<'a> {
    silences: Vec<&'a (Endpoint, Silence)>,
    /// Each once and in order, with the namespace that asks.
    peers: Vec<(u32, IpAddr)>,
    suffering: Suffering<'a>,
    requests: u64,
    /// What came to the same sockets from other ports of these peers, and was not for them.
    strays: u64,
    /// Retransmissions of these flows since the start.
    retransmitted: u64,
    since: u64,
    /// When the last of them answered, where all did.
    ended: Option<u64>,
    /// Flows of other peers that received something meanwhile, where some peer is silent yet.
    others: u64,
    /// Peers of which other flows received something meanwhile, where they are silent yet, and how many such flows.
    there: BTreeSet<(u32, IpAddr)>,
    there_flows: u64,
    /// Some of what is silent answers others, whose packets this node passes on: since when the last of it is silent for this node.
    answers_others: Option<u64>,
    refusals: Refusals,
    /// What neighbours said in the namespaces that ask, and was dropped: where, and how many at least.
    unheard: BTreeMap<String, u64>,
    /// What comes from some of the peers, or is for them, this node's own firewall drops on its way through.
    is_filtered: bool,
    /// Some of the flows were opened by this node.
    asked_by_us: bool,
}

impl<'a> Case<'a> {
    fn of(view: &View<'a>) -> Option<Self> {
        let model = view.model;
        let silent = view.asking();
        // Clients that go away without a word are a server's daily bread; they count where nothing is heard
        // from anybody.
        let asked_by_us = silent.iter().any(|(plight, _)| is_ours(plight));
        let asking = || {
            silent
                .iter()
                .filter(|(plight, _)| !asked_by_us || is_ours(plight))
        };
        // There may be very many: they are looked at once.
        let mut retransmitted: u64 = 0;
        let mut suffer = Gathered::with_room_for(silent.len());
        let places = asking().map(|(plight, place)| {
            retransmitted = retransmitted.saturating_add(plight.retransmitted);
            suffer.add(Sufferer::from(*plight));
            *place
        });
        let silences = silences(model, places);
        let suffering = suffer.whole();
        let (_, first) = silences.first()?;
        let (mut since, mut ended, mut requests) = (first.since, Some(0), 0_u64);
        let mut peers: Vec<(u32, IpAddr)> = Vec::with_capacity(silences.len());
        for (endpoint, silence) in &silences {
            since = since.min(silence.since);
            ended = ended.zip(silence.until).map(|(last, until)| until.max(last));
            requests = requests.saturating_add(silence.requests);
            peers.push((endpoint.netns, endpoint.address));
        }
        peers.sort();
        peers.dedup();
        let is_silent = |key: &FlowKey| {
            let end = Endpoint::of(key);
            silences.binary_search_by(|(silent, _)| silent.cmp(&end)).is_ok()
        };
        let (mut others, mut there_flows, mut there) = (0_u64, 0_u64, BTreeSet::new());
        let mut answers_others = None;
        // Of a silence that is over they say nothing; and where nothing arrives at all there are none.
        if ended.is_none() && model.flows().last_arrived() > When::at(since) {
            let mut fell_silent: HashMap<(u32, IpAddr), u64, RandomState> = HashMap::default();
            for (end, silence) in &silences {
                let last = fell_silent.entry((end.netns, end.address)).or_default();
                *last = silence.since.max(*last);
            }
            let gets_something = |(key, flow): &(&FlowKey, &Flow)| {
                // Few have, mostly: that is asked first.
                flow.last_arrived > When::at(since)
                    && is_conversation(key)
                    && !by_inner_device(view, key, flow.iif)
            };
            for (key, flow) in model.flows().iter().filter(gets_something) {
                let peer = (key.netns, key.remote);
                match fell_silent.get(&peer) {
                    None => others += 1,
                    // What came before the last of its ports fell silent says nothing of it now.
                    Some(at) if flow.last_arrived <= When::at(*at) => {}
                    Some(_) if !is_silent(key) => {
                        there_flows += 1;
                        there.insert(peer);
                    }
                    Some(at) if !model.node().has_address(key.netns, key.local) => {
                        answers_others = answers_others.max(Some(*at));
                    }
                    Some(_) => {}
                }
            }
        }
        Some(Self {
            requests,
            ended,
            others,
            there,
            there_flows,
            answers_others,
            refusals: Refusals::of(model, &silences),
            unheard: hops::unheard(model, suffering.flows.iter(), since),
            strays: strays(view, &suffering.flows),
            is_filtered: silences
                .iter()
                .any(|(end, _)| view.befallen().filtered.are_of(end)),
            silences,
            peers,
            suffering,
            retransmitted,
            since,
            asked_by_us,
        })
    }

    /// Neighbours on uplinks by which routes lead and which do not answer, each with its namespace and device.
    fn silent_neighbours(&self, model: &'a Model) -> impl Iterator<Item = (u32, IpAddr, &'a str)> {
        model.settings().iter().filter_map(|(netns, thing, state)| {
            let Thing::Neighbour { device, address } = thing else {
                return None;
            };
            let index = model.node().device_named(netns, device)?.index;
            let is_its = self.peers.iter().any(|(of, _)| *of == netns)
                && model.node().is_over_uplink(netns, index)
                && value::SILENT.contains(&state);
            is_its.then_some((netns, *address, device.as_str()))
        })
    }

    /// The same as text: `10.10.0.1 on eth0`.
    fn silent_hops(&self, model: &'a Model) -> Vec<String> {
        distinct(
            self.silent_neighbours(model)
                .map(|(_, address, device)| format!("{address} on {device}")),
        )
    }

    /// What is for the peers goes by neighbours that do not answer, and these are none of the peers themselves.
    fn gateway_is_silent(&self, model: &'a Model) -> bool {
        let silent: Vec<(u32, IpAddr)> = self
            .silent_neighbours(model)
            .map(|(netns, address, _)| (netns, address))
            .filter(|neighbour| self.peers.binary_search(neighbour).is_err())
            .collect();
        let by_gateway = |(netns, peer): &(u32, IpAddr)| {
            let mut of = silent.iter().filter(|(of, _)| of == netns);
            of.any(|(_, gateway)| goes_by(model, *netns, *peer, *gateway))
        };
        !silent.is_empty() && self.peers.iter().take(PEERS).all(by_gateway)
    }

    /// Packets of these namespaces that could not leave by an uplink since the start, because the next hop is silent.
    fn unsent(&self, model: &Model) -> u64 {
        model
            .books()
            .lines()
            .filter(|(key, _)| {
                ends::next_hop_is_silent(key)
                    && model.node().is_over_uplink(key.netns, key.device)
                    && self.peers.iter().any(|(netns, _)| *netns == key.netns)
            })
            .fold(0, |packets, (_, line)| packets.saturating_add(line.packets))
    }

    /// The flow leads to one of the peers.
    fn is_peer(&self, key: &FlowKey) -> bool {
        self.peers.binary_search(&(key.netns, key.remote)).is_ok()
    }

    /// Some port or protocol of theirs is silent, and the peers themselves are there.
    fn all_are_there(&self) -> bool {
        self.there.len() == self.peers.len()
    }

    /// Something of what is silent has answered before.
    fn used_to_answer(&self) -> bool {
        self.silences.iter().any(|(_, silence)| silence.proven)
    }

    /// The same, or had opened a connection.
    fn has_answered(&self, model: &Model) -> bool {
        let is_open = |key: &FlowKey| model.sockets().connection(key).is_some_and(Connection::was_open);
        self.used_to_answer() || self.suffering.flows.iter().any(is_open)
    }

    /// What is silent refuses. A router that says that there is no way says so by ICMP as well: that is the path; but who is there all
    /// the same, or is asked by UDP alone, has nobody at the port.
    fn is_refused(&self) -> bool {
        let by_udp = || self.silences.iter().all(|(end, _)| end.protocol == Protocol::Udp);
        self.refusals.are_of_all(self.requests) && (self.all_are_there() || by_udp())
    }

    /// That peers are there which do not answer.
    fn still_there(&self) -> String {
        let there = Addresses::of(self.there.iter().map(|(_, address)| *address)).told();
        let flows = count(self.there_flows, "flow");
        let ends = self
            .silences
            .iter()
            .filter(|(end, _)| self.there.contains(&(end.netns, end.address)));
        let ends = distinct(ends.map(|(end, _)| match end.port {
            0 => end.protocol.to_string(),
            port => format!("{} port {port}", end.protocol),
        }));
        let rest = if self.all_are_there() { "only" } else { "there" };
        format!(
            " {there} {} there all the same: packets of {flows} with {} arrived in this time; {rest} {} {} silent.",
            if self.there.len() == 1 { "is" } else { "are" },
            if self.there.len() == 1 { "it" } else { "them" },
            list(&ends),
            if ends.len() == 1 { "is" } else { "are" },
        )
    }

    /// Whether anything was dropped on its way in that may have had to do with it.
    fn dropped_here(&self) -> String {
        if self.is_filtered {
            return "of other flows with these peers, packets are dropped by this node's own firewall on their way through it"
                .to_owned();
        }
        if self.unheard.is_empty() {
            return "no reply was seen to be dropped here".to_owned();
        }
        let packets = self
            .unheard
            .values()
            .fold(0, |sum: u64, packets| sum.saturating_add(*packets));
        let places: Vec<String> = self.unheard.keys().cloned().collect();
        format!(
            "of what neighbours said on the link, by ARP or neighbour discovery, at least {} were dropped here, {}",
            count(packets, "message"),
            list(&places)
        )
    }

    /// What is to be done.
    fn remedy(&self, is_by_hand: bool) -> &'static str {
        if is_by_hand {
            "See first whether the link-layer address that was set by hand is the right one: ip neigh. Risk: none."
        } else if self.is_filtered {
            "See first what this node's own firewall drops: nft -a list ruleset. Risk: none."
        } else if !self.unheard.is_empty() {
            "See first why this node drops what its neighbours say. Risk: none."
        } else if self.is_refused() {
            "Start at the peer what is to answer there, or let its firewall pass it; or ask elsewhere. Nothing has to be changed \
             here first."
        } else {
            "Look outside this node: the peer, the router, the provider's network, its firewall. Nothing has to be changed here \
             first."
        }
    }

    /// How sure it is that the path is silent, `None` where this is no finding at all.
    fn confidence(&self, model: &Model) -> Option<Confidence> {
        if !self.asked_by_us {
            return (self.others == 0 && self.ended.is_none() && self.peers.len() >= 2)
                .then_some(Confidence::Strong);
        }
        if self.ended.is_some() && self.unheard.is_empty() && !self.is_filtered && !self.is_refused() {
            // Who never answered before may just have been started.
            return Some(if self.used_to_answer() {
                Confidence::Strong
            } else {
                Confidence::Weak
            });
        }
        let may_be_here = |since: u64| model.now().saturating_sub(since) < OTHERS;
        if self.is_refused()
            || !self.unheard.is_empty()
            || self.is_filtered
            || self.answers_others.is_some_and(may_be_here)
        {
            return Some(Confidence::Weak);
        }
        if self.others == 0 && self.there.is_empty() && self.answers_others.is_none() {
            let several = self.suffering.flows.len() >= 2;
            return Some(if several {
                Confidence::Conclusive
            } else {
                Confidence::Strong
            });
        }
        // Others get through. A peer that never answered may be switched off, and always have been; and a port may be closed on
        // purpose.
        let used_to_answer = if self.all_are_there() {
            self.has_answered(model)
        } else {
            let mut all = model.flows().iter();
            // A connection that stands was answered before the start, if not since.
            let is_open = |key: &FlowKey| model.sockets().connection(key).is_some_and(Connection::was_open);
            all.any(|(key, flow)| self.is_peer(key) && (flow.arrived > 0 || is_open(key)))
        };
        // But a gateway that does not even tell its link-layer address is nobody who refuses.
        Some(if used_to_answer || self.gateway_is_silent(model) {
            Confidence::Strong
        } else {
            Confidence::Weak
        })
    }
}

/// Packets that came for the sockets of these flows from other ports of their peers, and found none.
fn strays(view: &View<'_>, flows: &[FlowKey]) -> u64 {
    let ends = |key: &FlowKey| (Port::of(key), key.remote);
    let mut strays: BTreeMap<(Port, IpAddr), u64> = BTreeMap::new();
    for plight in view.befallen().dropped_by(ends::no_socket) {
        let packets = strays.entry(ends(&plight.key)).or_default();
        *packets = packets.saturating_add(plight.dropped.map_or(0, |spell| spell.packets));
    }
    if strays.is_empty() {
        return 0;
    }
    // Each counts once, however many flows of the socket ask that peer.
    let asked = flows.iter().filter_map(|key| strays.remove(&ends(key)));
    asked.fold(0, u64::saturating_add)
}

/// The flow's packets come by a device that leads to no other node.
fn by_inner_device(view: &View<'_>, key: &FlowKey, iif: u32) -> bool {
    match iif {
        0 => view
            .behind()
            .get(&key.netns)
            .is_some_and(|behind| behind.have(key.remote)),
        iif => !view.by_uplink(key.netns, iif),
    }
}

/// This node asks, and not a peer that went away.
pub(super) fn is_ours(plight: &Plight) -> bool {
    !plight.has_arrived || plight.is_reply
}

/// The flow leads to somebody, which the neighbours' own housekeeping does not.
fn is_conversation(key: &FlowKey) -> bool {
    let neighbour = effects::is_link_local(key.remote);
    let message = matches!(key.protocol, Protocol::Icmp | Protocol::Icmp6) && key.local_port == 0;
    !neighbour && !message && !key.local.is_multicast()
}

/// A peer that does not answer.
pub(super) fn endpoint(model: &Model, endpoint: Endpoint, silence: Silence) -> Evidence {
    let Endpoint {
        protocol,
        address,
        port,
        ..
    } = endpoint;
    let at_port = if port == 0 {
        String::new()
    } else {
        format!(" port {port}")
    };
    let until = silence.until.unwrap_or(model.now());
    let before = if silence.proven { "; it used to answer" } else { "" };
    let lasted = until.saturating_sub(silence.since);
    let text = format!(
        "{protocol} {address}{at_port}: {} unanswered for {}{before}",
        count(silence.requests, "request"),
        span(lasted)
    );
    let peer = (protocol.to_string(), address.to_string(), port);
    evidence::peer(peer, silence.requests, lasted, text)
}
