//! What the messages of rtnetlink change of routes.

use std::time::Instant;

use super::super::known::{Change, Taken};
use super::super::route::{self, Route};
use super::super::told::Who;
use super::super::ways;
use super::super::words::IPV6;
use super::{Again, Space};
use crate::event::Thing;

/// A route was there in its place and is replaced (`NLM_F_REPLACE`).
const REPLACED: u16 = 0x100;

impl Space {
    /// A route came, was replaced or is gone. What that leaves open is read again.
    pub(super) fn route(&mut self, kind: u16, flags: u16, body: &[u8], by: &Who) -> Vec<Change> {
        let Some(route) = route::parse(body, &self.devices) else {
            return Vec::new();
        };
        if kind == route::NEW
            && let Some(left) = route.left
        {
            self.expiry.note(left, Instant::now());
        }
        let is_whole = route.several && body.first() == Some(&IPV6);
        let changes = match kind {
            route::DELETE => self.route_gone(&route),
            _ if flags & REPLACED != 0 => self.route_replaced(route),
            _ if is_whole => self.whole_route(route),
            _ => Some(self.known.add(route.thing, route.value).into_iter().collect()),
        };
        let Some(changes) = changes else {
            self.need(Again::Routes, by);
            return Vec::new();
        };
        if !changes.is_empty() {
            self.gateways = None;
        }
        changes
    }

    /// It is gone; of one of IPv6 that led several ways perhaps only this one.
    fn route_gone(&mut self, Route { thing, value, .. }: &Route) -> Option<Vec<Change>> {
        match self.known.take(thing, value) {
            Taken::Change(change) => Some(vec![change]),
            Taken::Unknown => Some(Vec::new()),
            Taken::Otherwise => {
                let mut left = self.known.values(thing).iter().filter_map(|known| {
                    let left = ways::without(known, value)?;
                    Some((known.clone(), left))
                });
                let (known, left) = left.next()?;
                let change = self.known.exchange(thing.clone(), &known, left);
                Some(change.into_iter().collect())
            }
        }
    }

    /// It has taken the place of another one, which may have done something else with packets. Of several that may be, the kernel
    /// takes the first, and for IPv6 the first that can be one of several ways where this one can; which that is, is left open.
    fn route_replaced(&mut self, Route { thing, value, .. }: Route) -> Option<Vec<Change>> {
        let mut before: Vec<(Thing, String)> = Vec::new();
        for place in route::in_its_place(&thing) {
            let known = self.known.values(&place).iter();
            let its = known.filter(|known| route::is_for_the_same(known, &value));
            before.extend(its.map(|known| (place.clone(), known.clone())));
        }
        let changes = match &before[..] {
            [] => vec![self.known.add(thing, value)],
            [(of, known)] if *of == thing => vec![self.known.exchange(thing, known, value)],
            [(of, known)] => {
                let gone = match self.known.take(of, known) {
                    Taken::Change(change) => Some(change),
                    Taken::Unknown | Taken::Otherwise => None,
                };
                vec![gone, self.known.add(thing, value)]
            }
            _ => return None,
        };
        Some(changes.into_iter().flatten().collect())
    }

    /// One of IPv6 came, or one more of its ways: all of them are told.
    fn whole_route(&mut self, Route { thing, value, .. }: Route) -> Option<Vec<Change>> {
        let known = self.known.values(&thing);
        let mut parts = known.iter().filter(|known| ways::is_part(known, &value));
        let change = match (parts.next().cloned(), parts.next(), known) {
            (Some(part), None, _) => self.known.exchange(thing, &part, value),
            (None, _, []) => self.known.add(thing, value),
            _ => return None,
        };
        Some(change.into_iter().collect())
    }
}
