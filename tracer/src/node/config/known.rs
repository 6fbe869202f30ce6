//! What was last told of things, so that only changes are.

use std::collections::HashMap;
use std::mem::{self, Discriminant};

use crate::event::{Renamed, Thing, value};

/// Things that are kept at most of one namespace, see [`Thing::room`]; further ones are counted.
const MOST: usize = 65_536;

/// Things and how they stand. One thing may be there several times, as a route of the same metric by two devices: then
/// its value names all of them.
#[derive(Debug, Default)]
pub(super) struct Known {
    things: HashMap<Thing, Vec<String>>,
    /// What there was no room for: of each kind the first, and how many times.
    left_out: HashMap<Discriminant<Thing>, (Thing, u64)>,
}

/// A thing that stands in another way than before; `None` for gone.
pub(super) type Change = (Thing, Option<String>);

/// What came of taking one of a thing's values away.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// That is all that changed.
    Change(Change),
    /// The thing was not there.
    Unknown,
    /// The thing is there, but not so.
    Otherwise,
}

impl Known {
    /// The thing is there so, beside what else it is.
    pub(super) fn add(&mut self, thing: Thing, value: String) -> Option<Change> {
        self.change(thing, |values| {
            if !values.contains(&value) {
                values.push(value);
            }
        })
    }

    /// The thing is there so, and in no other way.
    pub(super) fn set(&mut self, thing: Thing, value: String) -> Option<Change> {
        self.change(thing, |values| *values = vec![value])
    }

    /// The thing is there so, and no longer as it was by this value.
    pub(super) fn exchange(&mut self, thing: Thing, before: &str, value: String) -> Option<Change> {
        self.change(thing, |values| {
            let place = values.iter().position(|known| known == before);
            match place.and_then(|place| values.get_mut(place)) {
                Some(known) => *known = value,
                None => values.push(value),
            }
        })
    }

    fn change(&mut self, thing: Thing, change: impl FnOnce(&mut Vec<String>)) -> Option<Change> {
        if !self.things.contains_key(&thing) && self.things.len() >= thing.room(MOST) {
            self.leave_out(thing, 1);
            return None;
        }
        let values = self.things.entry(thing.clone()).or_default();
        let before = values.clone();
        change(values);
        (*values != before).then(|| (thing, Some(joined(values))))
    }

    fn leave_out(&mut self, thing: Thing, times: u64) {
        let kind = mem::discriminant(&thing);
        let (_, all) = self.left_out.entry(kind).or_insert((thing, 0));
        *all += times;
    }

    /// The thing is no longer there so.
    pub(super) fn take(&mut self, thing: &Thing, value: &str) -> Taken {
        let Some(values) = self.things.get_mut(thing) else {
            return Taken::Unknown;
        };
        let Some(place) = values.iter().position(|known| known == value) else {
            return Taken::Otherwise;
        };
        values.remove(place);
        let left = (!values.is_empty()).then(|| joined(values));
        if left.is_none() {
            self.things.remove(thing);
        }
        Taken::Change((thing.clone(), left))
    }

    /// The thing is gone.
    pub(super) fn remove(&mut self, thing: &Thing) -> Option<Change> {
        self.things.remove_entry(thing).map(|(thing, _)| (thing, None))
    }

    /// All things of this kind are gone.
    pub(super) fn remove_all(&mut self, is: impl Fn(&Thing) -> bool) -> Vec<Change> {
        let gone = self.things.extract_if(|thing, _| is(thing));
        gone.map(|(thing, _)| (thing, None)).collect()
    }

    /// A device has another name. Nothing but that has changed.
    pub(super) fn rename(&mut self, renamed: Renamed<'_>) {
        for (thing, values) in &mut self.things {
            for value in values {
                if let Some(now) = renamed.value(thing, value) {
                    *value = now;
                }
            }
        }
        let is_its = |thing: &Thing| renamed.thing(thing).is_some();
        let its: Vec<_> = self.things.extract_if(|thing, _| is_its(thing)).collect();
        let by_name = |(thing, values)| Some((renamed.thing(&thing)?, values));
        self.things.extend(its.into_iter().filter_map(by_name));
    }

    /// The thing is known.
    pub(super) fn has(&self, thing: &Thing) -> bool {
        self.things.contains_key(thing)
    }

    /// How it is there.
    pub(super) fn values(&self, thing: &Thing) -> &[String] {
        self.things.get(thing).map_or(&[], Vec::as_slice)
    }

    /// All things, each with its values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Thing, &[String])> {
        self.things
            .iter()
            .map(|(thing, values)| (thing, values.as_slice()))
    }

    /// Takes over what was read anew of all things of this kind, and tells what is not as it was before.
    pub(super) fn replace(&mut self, mut fresh: Self, is: impl Fn(&Thing) -> bool) -> Vec<Change> {
        let mut changes: Vec<Change> = Vec::new();
        self.things.retain(|thing, values| {
            if !is(thing) {
                return true;
            }
            match fresh.things.remove(thing) {
                None => changes.push((thing.clone(), None)),
                // The kernel may list them in another order than it told them.
                Some(mut now) if !same(&now, values) => {
                    mem::swap(values, &mut now);
                    changes.push((thing.clone(), Some(joined(values))));
                    return true;
                }
                Some(_) => return true,
            }
            false
        });
        self.left_out.retain(|_, (thing, _)| !is(thing));
        for (thing, times) in fresh.left_out.into_values() {
            self.leave_out(thing, times);
        }
        for (thing, values) in fresh.things {
            if self.things.len() >= thing.room(MOST) {
                self.leave_out(thing, 1);
            } else {
                changes.push((thing.clone(), Some(joined(&values))));
                self.things.insert(thing, values);
            }
        }
        // In an order that does not depend on chance.
        changes.sort_unstable();
        changes
    }

    /// Times that a thing was told for which there was no room.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out.values().map(|(_, times)| times).sum()
    }
}

fn same(some: &[String], others: &[String]) -> bool {
    some.len() == others.len() && some.iter().all(|one| others.contains(one))
}

fn joined(values: &[String]) -> String {
    values.join(value::WAYS)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::event::{TABLE_LOCAL, TABLE_MAIN};

    fn thing(name: &str) -> Thing {
        Thing::Link {
            device: name.to_owned(),
        }
    }

    fn change(name: &str, value: Option<&str>) -> Change {
        (thing(name), value.map(str::to_owned))
    }

    #[test]
    fn a_thing_may_be_there_in_several_ways() {
        let mut known = Known::default();
        let mut add = |value: &str| known.add(thing("a"), value.to_owned());
        assert_eq!(add("x"), Some(change("a", Some("x"))));
        assert_eq!(add("x"), None);
        assert_eq!(add("y"), Some(change("a", Some("x; y"))));
        assert_eq!(known.take(&thing("a"), "z"), Taken::Otherwise);
        assert_eq!(
            known.take(&thing("a"), "x"),
            Taken::Change(change("a", Some("y")))
        );
        assert_eq!(known.take(&thing("a"), "y"), Taken::Change(change("a", None)));
        assert_eq!(known.take(&thing("a"), "y"), Taken::Unknown);
        known.add(thing("a"), "x".to_owned());
        known.add(thing("a"), "y".to_owned());
        assert_eq!(
            known.set(thing("a"), "z".to_owned()),
            Some(change("a", Some("z")))
        );
        assert_eq!(known.set(thing("a"), "z".to_owned()), None);
        known.add(thing("a"), "y".to_owned());
        assert_eq!(
            known.exchange(thing("a"), "z", "w".to_owned()),
            Some(change("a", Some("w; y")))
        );
        assert_eq!(known.exchange(thing("a"), "y", "y".to_owned()), None);
        assert_eq!(known.remove(&thing("a")), Some(change("a", None)));
        assert_eq!(known.remove(&thing("a")), None);
    }

    #[test]
    fn what_is_read_anew_tells_the_difference() {
        let of = |all: &[(&str, &[&str])]| {
            let mut known = Known::default();
            for (name, values) in all {
                for value in *values {
                    known.add(thing(name), (*value).to_owned());
                }
            }
            known
        };
        let mut known = of(&[("a", &["1", "2"]), ("b", &["1"]), ("c", &["1"]), ("lo", &["1"])]);
        let fresh = of(&[("a", &["2", "1"]), ("b", &["2"]), ("d", &["1"])]);
        let changes = known.replace(fresh, |known| *known != thing("lo"));
        let expected = [change("b", Some("2")), change("c", None), change("d", Some("1"))];
        assert_eq!(changes, expected);
        assert!(known.has(&thing("lo")), "what was not read stays");
        assert_eq!(known.values(&thing("a")), ["1", "2"]);
    }

    #[test]
    fn no_more_than_a_bound_are_kept() {
        let mut known = Known::default();
        for number in 0..MOST + 3 {
            known.add(thing(&number.to_string()), String::new());
        }
        assert_eq!((known.things.len(), known.left_out()), (MOST, 3));
        assert!(
            known.add(thing("0"), "x".to_owned()).is_some(),
            "what is known can change"
        );
        known.replace(Known::default(), |thing| matches!(thing, Thing::Route { .. }));
        assert_eq!(known.left_out(), 3, "no route was left out");
        let mut fresh = Known::default();
        fresh.add(thing("0"), String::new());
        known.replace(fresh, |_| true);
        assert_eq!(known.left_out(), 0, "there is room now");
        for number in 0..MOST {
            known.add(thing(&number.to_string()), String::new());
        }
        assert_eq!(known.remove_all(|_| true).len(), MOST);
    }

    #[test]
    fn a_full_table_of_routes_leaves_room_for_what_else_there_is() {
        let route = |table, number: usize| Thing::Route {
            table,
            action: "unicast".to_owned(),
            destination: Ipv4Addr::from_bits(u32::try_from(number).unwrap()).into(),
            prefix: 32,
            metric: 0,
        };
        let full = || {
            let mut known = Known::default();
            for number in 0..MOST {
                known.add(route(TABLE_MAIN, number), String::new());
            }
            known
        };
        let mut known = Known::default();
        known.replace(full(), |_| true);
        known.replace(full(), |thing| matches!(thing, Thing::Route { .. }));
        assert!(known.left_out() > 0);
        assert!(known.add(thing("eth0"), String::new()).is_some());
        assert!(known.add(route(TABLE_LOCAL, 0), String::new()).is_some());
        assert!(known.add(route(TABLE_MAIN, MOST), String::new()).is_none());
    }
}
