//! One connection to systemd: lists what there is, then follows what it tells.

mod reading;
mod telling;

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::Duration;

use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep_until};

use super::LOST;
use super::address::Address;
use super::bus::{Bus, Failure, Heard, List, Object, Signal};
use super::freezing::Freezing;
use super::jobs::{Ended, Jobs};
use super::known::{Known, Told, Wall};
use super::names::{self, Kind};
use super::processes::{Astray, Hierarchy};
use super::properties::{self, Said, TimerState};
use crate::event::{Job, JobState, Seen, UnitState};
use crate::node::clock;
use crate::node::journal::Wanted;
use crate::node::source::{Gone, Teller};

/// A unit is read so long after its first change: more of them come in a row.
const COALESCE: Duration = Duration::from_millis(50);
/// So long systemd may be off the bus to run itself anew.
pub(super) const ABSENCE: Duration = Duration::from_secs(5);
/// So long after its return it may take to say that it has loaded all units again.
const RETURN: Duration = Duration::from_millis(250);
/// So long it may take to load all units anew.
const RELOAD: Duration = Duration::from_secs(90);
/// From one look at the processes that a unit has left to the next: nobody tells when they end.
const LOOK: Duration = Duration::from_secs(1);
/// From one question to the next whether systemd still answers: one that hangs tells nothing.
const PING: Duration = Duration::from_secs(2);
/// Units that are kept at most: more than any node has, some 10 MB.
const MOST: usize = 10_000;

/// How a connection ended.
#[derive(Debug)]
pub(super) struct End {
    pub(super) why: String,
    /// systemd said before that it would load all units anew: where it runs itself anew, connections to it end.
    pub(super) expected: bool,
}

/// Why no more can be done with a connection.
enum Stop {
    Gone,
    Broken(String),
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Broken(failure.to_string())
    }
}

/// What the next list is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// The connection is new.
    Connected,
    /// systemd has loaded its units anew.
    Reload,
    /// It has run itself anew.
    Reexec,
    /// It was away.
    Return,
    /// Signals were lost.
    Lost,
}

/// How far the connection is.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// All is listed; systemd tells what changes.
    Following,
    /// All is to be listed at that time or when systemd says so. What it tells of units until then says nothing: it
    /// takes all of them away and makes them anew.
    Listing { since: u64, cause: Cause, due: Instant },
    /// It is not on the bus. When it has been away for long that is told, and there is no time to wait for any more.
    Absent { since: u64, due: Option<Instant> },
}

/// A unit that is to be read: since it changed, or since something of it changes without a word.
struct Pending {
    path: String,
    due: Instant,
}

/// What is kept from one connection to the next.
pub(super) struct Follower<'t> {
    teller: &'t Teller,
    /// Told which units timers start.
    wanted: &'t Wanted,
    known: Known,
    hierarchy: Hierarchy,
    freezing: Freezing,
    /// As of the last list.
    astray: Option<Astray>,
    /// The connection was lost, and that was told.
    is_lost: bool,
    /// When systemd was last heard, in boot time in ns.
    heard: u64,
    /// Connections are to end, as systemd runs itself anew.
    is_reloading: bool,
    /// How often systemd said since the last list that it loads all units anew, as it does where it runs itself anew.
    reloads: u32,
    /// Units that cannot be read, and why.
    unread: BTreeMap<String, String>,
    /// Kinds of units that systemd does not list, and why.
    refused: Vec<(&'static str, String)>,
    /// Units that did not fit.
    left_out: usize,
    phase: Phase,
    pending: BTreeMap<String, Pending>,
    /// What was said of units since they were read last.
    said: BTreeMap<String, Said>,
    jobs: Jobs,
    ended: Ended,
    jobs_changed: bool,
    next_look: Instant,
    next_ping: Instant,
}

impl<'t> Follower<'t> {
    pub(super) fn new(teller: &'t Teller, cgroup_root: &str, wanted: &'t Wanted) -> Self {
        Self {
            teller,
            wanted,
            known: Known::default(),
            hierarchy: Hierarchy::new(cgroup_root),
            freezing: Freezing::default(),
            astray: None,
            is_lost: false,
            heard: 0,
            is_reloading: false,
            reloads: 0,
            unread: BTreeMap::new(),
            refused: Vec::new(),
            left_out: 0,
            phase: Phase::Following,
            pending: BTreeMap::new(),
            said: BTreeMap::new(),
            jobs: Jobs::default(),
            ended: Ended::default(),
            jobs_changed: false,
            next_look: Instant::now(),
            next_ping: Instant::now(),
        }
    }

    /// Follows a connection to its end.
    pub(super) async fn session(
        &mut self,
        mut bus: Bus,
        mut signals: Receiver<Heard>,
        address: &Address,
    ) -> Result<End, Gone> {
        self.pending.clear();
        self.said.clear();
        self.jobs.clear();
        self.jobs_changed = false;
        match self.serve(&mut bus, &mut signals, address).await {
            Stop::Gone => Err(Gone),
            Stop::Broken(why) => {
                let ended = self.ended.all();
                self.tell(ended).await?;
                let is_reload =
                    |phase: &Phase| matches!(phase, Phase::Listing { cause, .. } if *cause == Cause::Reload);
                // It may have said so while it was asked for something else.
                let mut says_so = || {
                    std::iter::from_fn(|| signals.try_recv().ok())
                        .any(|(_, signal)| signal == Signal::Reloading(true))
                };
                self.is_reloading = is_reload(&self.phase) || says_so();
                Ok(End {
                    why: format!("{address}: {why}"),
                    expected: self.is_reloading,
                })
            }
        }
    }

    async fn serve(&mut self, bus: &mut Bus, signals: &mut Receiver<Heard>, address: &Address) -> Stop {
        let (since, due) = (clock::boottime_ns(), Instant::now());
        self.phase = if bus.has_systemd() {
            let cause = if self.is_reloading {
                Cause::Reexec
            } else {
                Cause::Connected
            };
            Phase::Listing { since, cause, due }
        } else {
            Phase::Absent {
                since,
                due: Some(due),
            }
        };
        if bus.has_systemd()
            && let Err(failure) = bus.subscribe().await
        {
            return failure.into();
        }
        loop {
            if let Err(stop) = self.catch_up(bus, address).await {
                return stop;
            }
            let due = sleep_until(self.due());
            let heard = tokio::select! {
                heard = signals.recv() => heard,
                units = self.freezing.changed() => {
                    if let Err(gone) = self.look_at_frozen(units).await {
                        return gone.into();
                    }
                    continue;
                }
                () = due => continue,
            };
            // All that has come at once: what one of them takes back need not be read for the other.
            let mut next = heard;
            loop {
                match next {
                    None => return Stop::Broken("the connection has ended".to_owned()),
                    Some((at, signal)) => {
                        if let Err(stop) = self.take(bus, at, signal).await {
                            return stop;
                        }
                    }
                }
                match signals.try_recv() {
                    Ok(heard) => next = Some(heard),
                    Err(_) => break,
                }
            }
        }
    }

    /// When something is to be done next.
    fn due(&self) -> Instant {
        let phase = match self.phase {
            Phase::Following => Some(self.next_ping),
            Phase::Listing { due, .. } => Some(due),
            Phase::Absent { due, .. } => due,
        };
        let units = self.pending.values().map(|pending| pending.due).min();
        let look = self.known.leftovers().next().map(|_| self.next_look);
        let dues = [phase, units, look, self.ended.due()].into_iter().flatten();
        // One that is away comes back with a signal.
        dues.min().unwrap_or_else(|| Instant::now() + PING)
    }

    /// Takes note of a signal.
    async fn take(&mut self, bus: &mut Bus, at: u64, signal: Signal) -> Result<(), Stop> {
        let is_following = matches!(self.phase, Phase::Following);
        self.heard = at;
        match signal {
            Signal::UnitNew(object) if is_following => self.await_more(object),
            Signal::UnitChanged { path, said } if is_following => {
                if let Some(name) = names::of_object(&path) {
                    self.said.entry(name.clone()).or_default().then(*said);
                    self.await_more(Object { name, path });
                }
            }
            Signal::UnitRemoved { name } if is_following => {
                self.pending.remove(&name);
                self.unread.remove(&name);
                if let Some(said) = self.said.remove(&name) {
                    let told = self.known.at_rest(&name, &said, at, clock::suspended());
                    self.tell(told).await?;
                }
                let ended = self.ended.of(&name);
                self.tell(ended).await?;
                self.freezing.leave(&name);
                let told = self.known.gone(&name, Seen::Told, at);
                self.tell(told).await?;
            }
            // What happens to units while all are made anew.
            Signal::UnitNew(_) | Signal::UnitChanged { .. } | Signal::UnitRemoved { .. } => {}
            Signal::JobNew { id, unit } => {
                self.jobs.begin(id, &unit, &self.known, self.said.get(&unit));
                self.jobs_changed = true;
            }
            Signal::JobChanged => self.jobs_changed = true,
            Signal::JobRemoved { id, unit, result } => {
                let did = self.jobs.end(id, &unit, &self.known, self.said.get(&unit));
                let told = self.known.job_ended(id, &unit, &result, did, at);
                self.ended.wait(&unit, told, Instant::now() + COALESCE);
            }
            Signal::Reloading(true) => {
                self.reloads = self.reloads.saturating_add(1);
                self.await_list(at, Cause::Reload, RELOAD);
            }
            Signal::Reloading(false) => match &mut self.phase {
                Phase::Listing { due, .. } => *due = Instant::now(),
                Phase::Following => self.await_list(at, Cause::Reload, Duration::ZERO),
                Phase::Absent { .. } => {}
            },
            Signal::Lost => self.await_list(at, Cause::Lost, Duration::ZERO),
            Signal::Owner(None) => {
                bus.set_owner(None);
                self.pending.clear();
                let since = match self.phase {
                    Phase::Listing { since, .. } => since,
                    _ => at,
                };
                let due = Some(Instant::now() + ABSENCE);
                self.phase = Phase::Absent { since, due };
            }
            // It came on the bus just before it was asked for, and that is told behind the answer.
            Signal::Owner(Some(owner)) if bus.is_owned_by(&owner) => {}
            Signal::Owner(owner) => {
                bus.set_owner(owner);
                bus.subscribe().await?;
                let (since, cause) = match self.phase {
                    // It was never seen before.
                    Phase::Absent { .. } if !self.known.is_begun() => (at, Cause::Connected),
                    Phase::Absent { since, due: Some(_) } => (since, Cause::Reexec),
                    Phase::Absent { due: None, .. } => (at, Cause::Return),
                    _ => (at, Cause::Reexec),
                };
                self.await_list(since, cause, RETURN);
            }
        }
        Ok(())
    }

    /// A unit is not as it was.
    fn await_more(&mut self, Object { name, path }: Object) {
        if Kind::of(&name) == Kind::Skipped {
            return;
        }
        let due = Instant::now() + COALESCE;
        let pending = self.pending.entry(name).or_insert(Pending { path, due });
        pending.due = pending.due.min(due);
    }

    fn await_list(&mut self, since: u64, cause: Cause, within: Duration) {
        self.pending.clear();
        self.said.clear();
        self.jobs.clear();
        self.phase = Phase::Listing {
            since,
            cause,
            due: Instant::now() + within,
        };
    }

    /// Does what is due.
    async fn catch_up(&mut self, bus: &Bus, address: &Address) -> Result<(), Stop> {
        let now = Instant::now();
        match self.phase {
            Phase::Listing { since, cause, due } if due <= now => self.list(bus, since, cause).await?,
            Phase::Absent {
                since,
                due: Some(due),
            } if due <= now => {
                self.phase = Phase::Absent { since, due: None };
                let why = format!("systemd is not on the bus {address}");
                if self.known.is_begun() && !self.is_lost {
                    self.notice(since, format!("{why} any more")).await?;
                }
                self.gone(since, format!("{why}; {LOST}")).await?;
            }
            _ => {}
        }
        if matches!(self.phase, Phase::Following) {
            if self.jobs_changed {
                self.jobs_changed = false;
                self.list_jobs(bus, Seen::Told).await?;
            }
            if self.next_ping <= now {
                self.next_ping = now + PING;
                bus.ping().await?;
                self.heard = clock::boottime_ns();
            }
        }
        let due: Vec<Object> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.due <= now)
            .map(|(name, pending)| Object {
                name: name.clone(),
                path: pending.path.clone(),
            })
            .collect();
        if !due.is_empty() {
            self.pending.retain(|_, pending| pending.due > now);
            self.read(bus, &due, Seen::Told).await?;
            self.wanted.set(self.known.started());
            self.well().await?;
        }
        let pending = &self.pending;
        let ended = self.ended.take(now, |unit| {
            let due = pending.get(unit)?.due;
            (due <= now + COALESCE).then_some(due)
        });
        self.tell(ended).await?;
        if self.next_look <= now {
            self.next_look = now + LOOK;
            self.look_at_leftovers().await?;
        }
        Ok(())
    }

    /// Lists all, and tells what is not as it was told before.
    async fn list(&mut self, bus: &Bus, since: u64, cause: Cause) -> Result<(), Stop> {
        let List { units, refused } = bus.units().await?;
        self.refused = refused;
        let was_begun = self.known.is_begun();
        self.heard = clock::boottime_ns();
        let seen = self.known.lists(self.heard);
        self.phase = Phase::Following;
        self.next_ping = Instant::now() + PING;
        self.jobs_changed = false;
        self.unread.clear();
        self.left_out = 0;
        let listed: BTreeSet<&str> = units.iter().map(|unit| unit.object.name.as_str()).collect();
        let is_listed = |name: &String| {
            let mut refused = self.refused.iter();
            !refused.any(|(kind, _)| name.rsplit_once('.').is_some_and(|(_, end)| end == *kind))
        };
        let gone: Vec<String> = self.known.not_in(&listed).into_iter().filter(is_listed).collect();
        for name in gone {
            self.freezing.leave(&name);
            let told = self.known.gone(&name, seen, clock::boottime_ns());
            self.tell(told).await?;
        }
        // Answering costs systemd itself some 2 ms a unit: what did nothing before, and could not do anything while
        // systemd was busy with itself, is left alone.
        let is_busy_work = matches!(cause, Cause::Reload | Cause::Reexec);
        let (mut in_full, mut in_brief) = (Vec::new(), Vec::new());
        for unit in units {
            let name = &unit.object.name;
            match Kind::of(name) {
                Kind::Skipped => {}
                _ if is_busy_work && unit.active == "inactive" && self.known.is_inactive(name) => {}
                Kind::Limited | Kind::Brief if properties::rests(&unit.active) => in_brief.push(unit),
                _ => in_full.push(unit.object),
            }
        }
        self.read_in_brief(bus, in_brief, seen).await?;
        self.read(bus, &in_full, seen).await?;
        self.list_jobs(bus, seen).await?;
        self.astray = self.hierarchy.astray(self.known.cgroups());
        let text = match cause {
            Cause::Connected | Cause::Return if was_begun && self.is_lost => "systemd can be reached again",
            Cause::Reload => "systemd has loaded all unit files anew (daemon-reload)",
            Cause::Reexec => "systemd has run itself anew (daemon-reexec)",
            Cause::Lost => "systemd told more than could be taken in; all was listed anew",
            Cause::Connected | Cause::Return => "",
        };
        if self.is_lost {
            // What ran meanwhile was not told.
            self.wanted.begin_anew();
        }
        self.wanted.set(self.known.started());
        (self.is_lost, self.is_reloading) = (false, false);
        let reloads = mem::take(&mut self.reloads);
        if !text.is_empty() {
            // Several in a row are followed by one list.
            let times = match cause {
                Cause::Reload | Cause::Reexec if reloads > 1 => {
                    format!(", the last of {reloads} times in a row that it did so or the like")
                }
                _ => String::new(),
            };
            // That it can be reached shows by its answers, and not by a connection: a bus takes that for one that hangs.
            let at = match cause {
                Cause::Connected | Cause::Return => self.heard,
                Cause::Reload | Cause::Reexec | Cause::Lost => since,
            };
            self.notice(at, format!("{text}{times}")).await?;
        }
        self.well().await?;
        Ok(())
    }

    async fn list_jobs(&mut self, bus: &Bus, seen: Seen) -> Result<(), Stop> {
        let jobs = bus.jobs().await?;
        let now = clock::boottime_ns();
        if seen == Seen::Noticed {
            let listed = jobs.iter().map(|job| job.id).collect();
            let ended = self.known.jobs_ended(&listed, now);
            self.tell(ended).await?;
        }
        for job in jobs {
            let state = match job.state.as_str() {
                "running" => JobState::Running,
                _ => JobState::Waiting,
            };
            let job = Job {
                id: job.id,
                unit: job.unit,
                seen,
                action: job.action,
                state,
            };
            let told = self.known.job(job, now);
            self.tell(told).await?;
        }
        Ok(())
    }

    async fn tell_timer(&mut self, name: &str, state: TimerState, seen: Seen) -> Result<(), Stop> {
        if self.fits(name) {
            let suspended = clock::suspended();
            let of_monotonic = clock::wall_offset().saturating_add_unsigned(suspended);
            let wall = Wall {
                of_monotonic,
                suspended,
            };
            let told = self.known.timer(name, state, seen, clock::boottime_ns(), wall);
            self.tell(told).await?;
        }
        Ok(())
    }

    async fn tell_unit(&mut self, name: &str, state: UnitState, seen: Seen) -> Result<(), Stop> {
        // At once with it: who sees one of both sees the other.
        let ended = self.ended.of(name);
        self.tell(ended).await?;
        if self.fits(name) {
            let (now, suspended) = (clock::boottime_ns(), clock::suspended());
            let told = self.known.unit(name, state, seen, now, suspended);
            self.tell(told).await?;
        }
        Ok(())
    }

    /// Whether there is room for a unit.
    fn fits(&mut self, name: &str) -> bool {
        let fits = self.known.len() < MOST || self.known.has(name);
        self.left_out += usize::from(!fits);
        fits
    }

    async fn look_at_leftovers(&mut self) -> Result<(), Stop> {
        let counted: Vec<(String, u32)> = self
            .known
            .leftovers()
            .map(|(name, cgroup)| (name.to_owned(), self.hierarchy.processes(cgroup)))
            .collect();
        for (name, processes) in counted {
            let told = self.known.processes(&name, processes, clock::boottime_ns());
            self.tell(told).await?;
        }
        Ok(())
    }
}
