//! The ways of a route by its value. IPv6 tells one of several ways that is deleted alone, and of one that comes the whole
//! route: what that makes of a route is told here, so that it need not be read again.

use super::words::sentence;
use crate::event::value::{DEVICE, GATEWAY, ORIGIN};

/// Before each of several ways.
const EACH: &str = "nexthop";
/// Behind each of them, and not behind the only one.
const WEIGHT: &str = "weight";
/// Before how packets are wrapped up on a way.
const WRAPPED: &str = "encap";

/// A route's value without its ways, and these.
#[derive(Debug, PartialEq, Eq)]
struct Parts<'a> {
    /// What is before the only way, and what is behind it.
    around: (Vec<&'a str>, Vec<&'a str>),
    /// Each as it would be told if it were the only one, with its weight.
    ways: Vec<(Vec<&'a str>, Option<&'a str>)>,
}

/// The value of a route that leads one way more or less than another is part of that.
pub(super) fn is_part(value: &str, whole: &str) -> bool {
    let (part, whole) = (parts(value), parts(whole));
    let has = |way: &[&str]| whole.ways.iter().any(|(of, _)| of == way);
    part.around == whole.around && !part.ways.is_empty() && part.ways.iter().all(|(way, _)| has(way))
}

/// What is left of a route once one of its ways is gone, which is told as a route with this only way; `None` where it is none
/// of several.
pub(super) fn without(whole: &str, gone: &str) -> Option<String> {
    let (mut whole, gone) = (parts(whole), parts(gone));
    let ([(way, _)], true) = (&gone.ways[..], whole.around == gone.around) else {
        return None;
    };
    let place = whole.ways.iter().position(|(of, _)| of == way)?;
    whole.ways.remove(place);
    (!whole.ways.is_empty()).then(|| whole.text())
}

/// No name has a blank in it.
fn parts(value: &str) -> Parts<'_> {
    let words: Vec<&str> = value.split(' ').collect();
    let origin = words.iter().position(|word| *word == ORIGIN);
    let (before, behind) = words.split_at(origin.unwrap_or(words.len()));
    let is_way = |word: &&str| [WRAPPED, GATEWAY, DEVICE].contains(word);
    let (before, only) = before.split_at(before.iter().position(is_way).unwrap_or(before.len()));
    let mut all = behind.split(|word| *word == EACH);
    let behind = all.next().unwrap_or_default();
    let several = all.map(|way| match way {
        [way @ .., WEIGHT, weight] => (way.to_vec(), Some(*weight)),
        way => (way.to_vec(), None),
    });
    let only = (!only.is_empty()).then(|| (only.to_vec(), None));
    Parts {
        around: (before.to_vec(), behind.to_vec()),
        ways: only.into_iter().chain(several).collect(),
    }
}

impl Parts<'_> {
    fn text(&self) -> String {
        let (before, behind) = &self.around;
        let words = match &self.ways[..] {
            [(only, _)] => [&before[..], only, behind].concat(),
            several => {
                let each = several.iter().flat_map(|(way, weight)| {
                    let weight = weight.map_or_else(Vec::new, |weight| vec![WEIGHT, weight]);
                    [vec![EACH], way.clone(), weight].concat()
                });
                let around = before.iter().chain(behind).copied();
                around.chain(each).collect()
            }
        };
        sentence(words.into_iter().map(str::to_owned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "from fd00::/8 proto boot mtu 1400 nexthop via fe80::1 dev eth0 weight 1 nexthop via fe80::2 dev eth1 weight 2";
    const FIRST: &str = "from fd00::/8 via fe80::1 dev eth0 proto boot mtu 1400";
    const SECOND: &str = "from fd00::/8 via fe80::2 dev eth1 proto boot mtu 1400";

    #[test]
    fn what_is_left_of_several_ways_is_told_as_the_kernel_tells_it() {
        assert_eq!(without(TWO, FIRST).as_deref(), Some(SECOND));
        assert_eq!(without(TWO, SECOND).as_deref(), Some(FIRST));
        let three = format!("{TWO} nexthop dev eth2 weight 1");
        assert_eq!(
            without(&three, "from fd00::/8 dev eth2 proto boot mtu 1400").as_deref(),
            Some(TWO)
        );
        for other in [
            "via fe80::1 dev eth0 proto boot mtu 1400",
            "from fd00::/8 via fe80::1 dev eth1 proto boot mtu 1400",
            "from fd00::/8 via fe80::1 dev eth0 proto ra mtu 1400",
            "",
        ] {
            assert_eq!(without(TWO, other), None, "{other}");
        }
        assert_eq!(without(FIRST, FIRST), None, "it was the only one");
    }

    #[test]
    fn one_way_is_part_of_several() {
        assert!(is_part(FIRST, TWO) && is_part(TWO, TWO));
        assert!(!is_part(TWO, FIRST));
        assert!(!is_part("via fe80::1 dev eth0 proto boot", TWO));
        assert!(!is_part(
            "proto boot",
            "proto boot nexthop via fe80::1 dev eth0 weight 1"
        ));
        assert!(!is_part("", ""));
    }
}
