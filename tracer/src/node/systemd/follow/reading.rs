//! How units are read.

use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

use tokio::time::Instant;
use zbus::message::Message;

use super::super::bus::{self, Bus, Failure, Listed, Object};
use super::super::names::Kind;
use super::super::properties;
use super::{Follower, Pending, Stop};
use crate::event::{Seen, UnitState};
use crate::node::clock;

/// Units that are asked for at once.
const AT_ONCE: usize = 32;
/// What systemd says of a unit that has gone.
const GONE: [&str; 2] = ["UnknownObject", "NoSuchUnit"];

impl Follower<'_> {
    /// Tells units that rest as they are listed, with the runs that they are in: less is asked for than of others.
    pub(super) async fn read_in_brief(
        &mut self,
        bus: &Bus,
        mut units: Vec<Listed>,
        seen: Seen,
    ) -> Result<(), Stop> {
        for units in units.chunks_mut(AT_ONCE) {
            let objects: Vec<Object> = units.iter().map(|unit| unit.object.clone()).collect();
            let mut ids = BTreeMap::new();
            for (Object { name, .. }, reply) in bus.invocations(&objects).await {
                let id = reply.and_then(|reply| bus::invocation(&reply.body()));
                match id {
                    Ok(id) => {
                        ids.insert(name, id);
                    }
                    // One that has gone will be told so.
                    Err(Failure::Refused(why)) if GONE.iter().any(|gone| why.contains(gone)) => {}
                    Err(Failure::Refused(why)) => {
                        self.unread.insert(name, why);
                    }
                    Err(broken) => return Err(broken.into()),
                }
            }
            for Listed { object, active, sub } in units {
                let state = UnitState {
                    active: mem::take(active),
                    sub: mem::take(sub),
                    invocation: ids.remove(&object.name).unwrap_or_default(),
                    ..UnitState::default()
                };
                self.tell_unit(&object.name, state, seen).await?;
            }
        }
        Ok(())
    }

    /// Reads units, and tells those that are not as they were told before.
    pub(super) async fn read(&mut self, bus: &Bus, units: &[Object], seen: Seen) -> Result<(), Stop> {
        for units in units.chunks(AT_ONCE) {
            for (Object { name, path }, reply) in bus.properties(units).await {
                let done = match reply {
                    Ok(reply) => self.take_properties(&name, &reply, seen).await?,
                    Err(Failure::Refused(why)) => Err(why),
                    Err(broken) => return Err(broken.into()),
                };
                let now = clock::boottime_ns().saturating_sub(clock::suspended()) / 1000;
                if let Some(wait) = self.known.next_look(&name, now) {
                    let due = Instant::now() + Duration::from_micros(wait);
                    self.pending.entry(name.clone()).or_insert(Pending { path, due });
                }
                if done.is_ok() {
                    self.said.remove(&name);
                }
                match done {
                    // One that has gone will be told so.
                    Err(why) if !GONE.iter().any(|gone| why.contains(gone)) => self.unread.insert(name, why),
                    _ => self.unread.remove(&name),
                };
            }
        }
        Ok(())
    }

    /// Tells a unit by its properties; why not, where they are not as they should be.
    async fn take_properties(
        &mut self,
        name: &str,
        reply: &Message,
        seen: Seen,
    ) -> Result<Result<(), String>, Stop> {
        let body = reply.body();
        let properties = match bus::properties(&body) {
            Ok(properties) => properties,
            Err(failure) => return Ok(Err(failure.to_string())),
        };
        if Kind::of(name) == Kind::Timer {
            return match properties.timer() {
                Ok(state) => self.tell_timer(name, state, seen).await.map(Ok),
                Err(odd) => Ok(Err(odd.to_string())),
            };
        }
        let state = match Kind::of(name) {
            Kind::Full => properties.unit(),
            Kind::Limited => properties.limited(),
            _ => properties.brief(),
        };
        let mut state = match state {
            Ok(state) => state,
            Err(odd) => return Ok(Err(odd.to_string())),
        };
        state.cgroup = self.hierarchy.path(&state.cgroup);
        state.main_pid = self.hierarchy.main_process(state.main_pid, &state.cgroup);
        if properties::has_ended(&state.active) {
            self.freezing.leave(name);
            state.processes = self.hierarchy.processes(&state.cgroup);
        } else if let Some(folder) = self.hierarchy.folder(&state.cgroup) {
            // Before it is looked at: what changes behind that is told.
            self.freezing.watch(name, &folder);
            state.frozen = self.hierarchy.is_frozen(&state.cgroup);
        }
        self.tell_unit(name, state, seen).await.map(Ok)
    }
}
