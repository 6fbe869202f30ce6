//! Connections of this node that stand, and to whose peers no route leads.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::sufferers::Sufferer;
use super::words::{command, count, distinct, ip, list};
use super::{evidence, undo};
use crate::event::{FlowKey, Protocol, Thing, Version, value};
use crate::model::Model;
use crate::model::clock::When;
use crate::model::settings::Way;
use crate::report::Evidence;

/// Peers that are looked for at most: each takes a look at all tables.
const PEERS: usize = 256;

/// Somebody waits for it now. When a socket of another protocol than TCP is closed nobody tells: what is known of it may be of one that
/// has asked once, and was answered.
fn starves(model: &Model, key: &FlowKey) -> bool {
    model
        .plight_of(key)
        .is_some_and(|plight| plight.starved != When::NEVER)
}

/// They, and why what they send does not get away.
#[derive(Default)]
pub(super) struct Stranded<'a> {
    pub flows: Vec<Sufferer<'a>>,
    /// Peers to which there is no way, by namespace, with the route that sends what is for them nowhere, where one does.
    pub peers: BTreeMap<(u32, IpAddr), Option<Thing>>,
    /// How many of them have ended since.
    ended: usize,
    /// How many of them send again and again, and how often they did, together.
    again: u64,
    retries: u64,
    /// When the first of them was seen to, and nothing of it left any more.
    pub since: Option<u64>,
}

impl<'a> Stranded<'a> {
    /// Those that send again and again what is not acknowledged; and all of these namespaces and versions, in which packets of
    /// sockets have no route. What was sent again before the default route of its namespace was lost did not wait for that.
    pub(super) fn of(
        model: &'a Model,
        counted: &[(u32, Version)],
        lost_default: impl Fn(u32) -> Option<u64>,
    ) -> Self {
        let mut found = Self::default();
        let mut known: BTreeMap<(u32, IpAddr), Way> = BTreeMap::new();
        let mut way = |netns: u32, peer: IpAddr| -> Way {
            if known.len() >= PEERS && !known.contains_key(&(netns, peer)) {
                return Way::Leads;
            }
            let of = known.entry((netns, peer));
            of.or_insert_with(|| model.settings().way(netns, peer)).clone()
        };
        let mut add = |found: &mut Self, key: &FlowKey, owner| {
            let refused = match way(key.netns, key.remote) {
                Way::Leads => return false,
                Way::Refused(route) => Some(route),
                Way::None => None,
            };
            found.peers.insert((key.netns, key.remote), refused);
            let since = model
                .plight_of(key)
                .map(|plight| plight.starved)
                .unwrap_or_default();
            let key = *key;
            found.flows.push(Sufferer { key, since, owner });
            true
        };
        for (key, again) in model.waiting().in_vain(model.now()) {
            if key.protocol == Protocol::Tcp
                && !key.remote.is_loopback()
                && add(&mut found, key, again.owner.as_deref())
            {
                found.again += 1;
                found.retries = found.retries.saturating_add(again.retries.into());
                // What was sent again before had left, and was not answered.
                let left = model.flows().get(key).and_then(|flow| flow.last_sent.time());
                let lost = lost_default(key.netns);
                let since = again
                    .since
                    .max(left.unwrap_or_default())
                    .max(lost.unwrap_or_default());
                found.since = Some(found.since.map_or(since, |first| first.min(since)));
            }
        }
        if !counted.is_empty() {
            for (key, connection) in model.sockets().connections() {
                let is_theirs = counted.contains(&(key.netns, Version::of(key.remote)));
                let is_live = connection.is_live() && (key.protocol == Protocol::Tcp || starves(model, key));
                if is_theirs && is_live && !key.remote.is_loopback() {
                    add(&mut found, key, connection.owner.as_deref());
                }
            }
        }
        found.flows.sort_by_key(|one| one.key);
        found.flows.dedup_by_key(|one| one.key);
        let has_ended = |one: &&Sufferer<'_>| {
            let connection = model.sockets().connection(&one.key);
            connection.is_some_and(|connection| !connection.is_live())
        };
        found.ended = found.connections().filter(has_ended).count();
        found
    }

    /// Those of TCP: they stand until they are told to have ended.
    fn connections(&self) -> impl Iterator<Item = &Sufferer<'a>> {
        let all = self.flows.iter();
        all.filter(|one| one.key.protocol == Protocol::Tcp)
    }

    /// Nothing but a route to their own network alone sends them nowhere, as a network plugin's that is there for pods that are gone.
    pub(super) fn is_sure(&self) -> bool {
        let is_wide = |route: &Option<Thing>| match route {
            Some(Thing::Route { prefix, .. }) => *prefix == 0,
            Some(Thing::Rule { text, .. }) => value::destination(text).is_none(),
            _ => true,
        };
        self.peers.values().any(is_wide)
    }

    /// What is so, in a sentence; `None` where there are none.
    pub(super) fn told(&self) -> Option<String> {
        if self.peers.is_empty() {
            return None;
        }
        let number = self.connections().count();
        if number == 0 {
            return self.standing();
        }
        let peers = self.connections().map(|one| one.key.remote);
        let peers = super::addresses::Addresses::of(peers).told();
        let connections = count(number as u64, "connection");
        let whose = match (number, self.ended) {
            (1, 0) => format!("{connections} stands to {peers}, and"),
            (_, 0) => format!("{connections} stand to {peers}, and"),
            (1, _) => format!("{connections} to {peers}, which has ended, had no way:"),
            (all, ended) => {
                let of_which = match ended {
                    1 => "of which 1 has ended".to_owned(),
                    ended if ended == all => "which have ended".to_owned(),
                    ended => format!("of which {ended} have ended"),
                };
                format!("{connections} to {peers}, {of_which}, had no way:")
            }
        };
        let again = match self.again {
            0 => String::new(),
            again => {
                let who = match (again, number) {
                    (_, 1) => "It".to_owned(),
                    (again, _) => format!("{again} of them"),
                };
                let times = count(self.retries, "time");
                format!(" {who} had to send again, {times} so far, and nothing of that left.")
            }
        };
        Some(format!("{whose} {}.{again}", self.why()))
    }

    /// Why there is no way, in a clause.
    fn why(&self) -> String {
        let refusing = distinct(self.peers.values().flatten().map(ToString::to_string));
        match refusing.as_slice() {
            [] => "no table has a route there".to_owned(),
            [one] => format!("{one} sends what is for them nowhere"),
            several => format!("these send what is for them nowhere: {}", list(several)),
        }
    }

    /// That it stands so, in a sentence; `None` where there are none.
    pub(super) fn standing(&self) -> Option<String> {
        let (_, peer) = self.peers.keys().next()?;
        Some(format!("The way to {peer}: {}.", self.why()))
    }

    /// The same as evidence.
    pub(super) fn evidence(&self) -> Option<Evidence> {
        let (_, peer) = self.peers.keys().next()?;
        Some(evidence::state(format!("the way to {peer}"), self.why()))
    }

    /// How the kernel is asked for the way.
    pub(super) fn check(&self, model: &Model) -> Option<String> {
        let ((netns, peer), _) = self.peers.first_key_value()?;
        Some(command(model, *netns, &format!("{} route get {peer}", ip(*peer))))
    }

    /// What takes the routes away that send packets nowhere.
    pub(super) fn remedy(&self, model: &Model) -> Vec<String> {
        let routes = self.peers.iter().filter_map(|((netns, peer), route)| {
            let Some(Thing::Route {
                action,
                destination,
                prefix,
                metric,
                ..
            }) = route
            else {
                let line = undo::rule(route.as_ref()?, "del")?;
                return Some(command(model, *netns, &line));
            };
            let to = match prefix {
                0 => "default".to_owned(),
                prefix => format!("{destination}/{prefix}"),
            };
            let line = format!("{} route del {action} {to} metric {metric}", ip(*peer));
            Some(command(model, *netns, &line))
        });
        distinct(routes)
            .into_iter()
            .map(|line| {
                format!("{line}  # Risk: somebody may have set it on purpose; ask whose it is. Where no other route leads there, put that back.")
            })
            .collect()
    }
}
