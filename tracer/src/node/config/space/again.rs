//! What is read and asked for again, since what was told leaves it open.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::super::dump::{self, Standing};
use super::super::error::Error;
use super::super::expiry::Expiry;
use super::super::known::{Change, Known};
use super::super::ruleset::Ruleset;
use super::super::told::{self, Told, Who};
use super::{Again, Space};
use crate::event::{Renamed, Seen, Thing, Unknown};

/// Reading everything again may take one part in so many of the time.
const SHARE: u32 = 5;

impl Space {
    /// Reads and asks for again what must be, if its time has come.
    ///
    /// # Errors
    /// Where the namespace cannot be entered, or the kernel does not tell.
    pub(in super::super) fn settle(&mut self) -> Result<Vec<Told>, Error> {
        if self.expiry.due(Instant::now()) == Some(Duration::ZERO) {
            self.need(Again::Routes, &Err(Unknown::Expired));
        }
        let mut told = self.read_again()?;
        if self.may_ask() && self.answers.due() == Some(Duration::ZERO) {
            told.extend(self.ask()?);
        }
        Ok(told)
    }

    /// Asks the kernel what it would do with packets for the node's own addresses.
    pub(super) fn ask(&mut self) -> Result<Vec<Told>, Error> {
        let Self {
            netns,
            answers,
            known,
            addresses,
            links,
            devices,
            ..
        } = self;
        let round = netns.enter(|| answers.ask(known, &addresses.unsettled, links, devices))?;
        let is_quiet = self.is_quiet();
        Ok(self.answers.answered(round, is_quiet))
    }

    /// Nothing was told that was not read yet.
    fn is_quiet(&self) -> bool {
        let mut ears: Vec<_> = self
            .of_settings()
            .map(|ear| PollFd::new(ear, PollFlags::IN))
            .collect();
        poll(&mut ears, Some(&Timespec::default())).is_ok_and(|ready| ready == 0)
    }

    fn read_again(&mut self) -> Result<Vec<Told>, Error> {
        if self.again_due() != Some(Duration::ZERO) {
            return Ok(Vec::new());
        }
        let begin = Instant::now();
        let read = if self.again == Again::Routes {
            self.read_routes()
        } else {
            self.read_everything()
        };
        self.pause = Some(Instant::now() + begin.elapsed() * SHARE);
        let read = match read {
            // So much changes just now that not even the list stands still.
            Err(Error::Netlink(error)) if error.is_unsettled() => {
                self.never_still = self.because_of.unsettled(Instant::now());
                return Ok(Vec::new());
            }
            read => read?,
        };
        self.never_still = false;
        let is_quiet = self.is_quiet();
        let Some(by) = self.because_of.looked(is_quiet, Instant::now()) else {
            return Ok(Vec::new());
        };
        self.again = Again::Nothing;
        let changes = match read {
            Read::Routes(fresh, expiry) => {
                self.expiry = expiry;
                self.known.replace(fresh, dump::is_route)
            }
            Read::Everything(standing, rules) => self.replace(*standing, rules),
        };
        self.gateways = None;
        if !changes.is_empty() {
            self.answers.need(&by);
        }
        let told = changes.into_iter().flat_map(|change| {
            let by = who(&by, &change);
            told::all(vec![change], Seen::Noticed, Some(&by))
        });
        Ok(told.collect())
    }

    fn read_routes(&self) -> Result<Read, Error> {
        let devices = &self.devices;
        let (fresh, expiry) = self.netns.enter(|| dump::routes(devices))??;
        Ok(Read::Routes(fresh, expiry))
    }

    fn read_everything(&self) -> Result<Read, Error> {
        let (has_rules, has_ipsec) = (self.netfilter.is_some(), self.ipsec.listener().is_some());
        let ethtool = self.offloads.as_ref().map(|offloads| &*offloads.ethtool);
        self.netns.enter(|| {
            let rules = if has_rules {
                Ruleset::read()?
            } else {
                Ruleset::default()
            };
            let standing = dump::everything(has_ipsec, ethtool)?;
            Ok::<_, Error>(Read::Everything(Box::new(standing), rules))
        })?
    }

    /// All stands so now: what is different from before.
    fn replace(&mut self, mut standing: Standing, rules: Ruleset) -> Vec<Change> {
        for (index, link) in &mut standing.links {
            if let Some(before) = self.links.get(index) {
                link.after(before);
                let (from, to) = (before.name.clone(), link.name.as_str());
                let is_free = |name| {
                    let device = String::from(name);
                    !self.known.has(&Thing::Link { device })
                };
                // Of devices that have each other's name each thing is told that has changed.
                if from != to && is_free(to) {
                    self.rename(Renamed { from: &from, to });
                }
                let device = link.name.clone();
                let value = link.value(&standing.devices);
                standing.known.set(Thing::Link { device }, value);
            }
        }
        self.devices = standing.devices;
        self.links = standing.links;
        self.addresses = standing.addresses;
        self.expiry = standing.expiry;
        for (thing, value) in standing.others {
            if self.known.has(&thing) {
                standing.known.add(thing, value);
            }
        }
        let mut changes = self.known.replace(standing.known, |_| true);
        if self.rules.differ_from(&rules) {
            self.rules = rules;
            changes.extend(self.rules_now());
        }
        changes
    }
}

/// What was read.
enum Read {
    Routes(Known, Expiry),
    Everything(Box<Standing>, Ruleset),
}

/// Who is named for what was different when all was read again because of somebody. Where that was for a time that is over, what
/// is gone was over; what has come has for another reason. That a route of IPv6 leads once more, as it was announced again, the
/// kernel does not tell. All else it does, and that was not heard.
fn who(because_of: &Who, (thing, value): &Change) -> Who {
    let is_prolonged = matches!(thing, Thing::Route { destination, .. } if destination.is_ipv6());
    match because_of {
        // Of these nobody is heard.
        _ if matches!(thing, Thing::Proxy { .. }) => Err(Unknown::Compared),
        Err(Unknown::Expired) if value.is_none() => Err(Unknown::Expired),
        Err(Unknown::Expired) if is_prolonged => Err(Unknown::Compared),
        Err(Unknown::Expired) => Err(Unknown::Lost),
        by => by.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Owner;

    #[test]
    fn what_came_when_a_time_was_over_was_not_heard() {
        let route = |to: &str, value: Option<&str>| {
            let thing = Thing::Route {
                table: 254,
                action: "unicast".to_owned(),
                destination: to.parse().unwrap(),
                prefix: 24,
                metric: 0,
            };
            (thing, value.map(str::to_owned))
        };
        let over = Err(Unknown::Expired);
        let ip = Ok(Owner::named(7, "ip"));
        for (because_of, change, expected) in [
            (&over, route("2001:db8::", None), over.clone()),
            (
                &over,
                route("2001:db8::", Some("dev eth0")),
                Err(Unknown::Compared),
            ),
            (&over, route("203.0.113.0", Some("dev eth0")), Err(Unknown::Lost)),
            (&ip, route("203.0.113.0", Some("dev eth0")), ip.clone()),
        ] {
            assert_eq!(who(because_of, &change), expected, "{change:?}");
        }
    }
}
