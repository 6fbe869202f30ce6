//! Reading what the programs counted and sent.

use std::collections::{BTreeMap, HashMap as Table, HashSet};
use std::net::IpAddr;

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray, PerCpuHashMap, PerCpuValues, RingBuf};
use tracer_ebpf::{
    Count, Entry as WireEntry, NeighbourCount, NeighbourKey, Tallies, Tally, loss, program, sort,
};

use super::decode::{self, Names, Record};
use super::flows::FlowTable;
use super::skipped::Skipped;
use super::unresolved::Unresolved;
use super::{Error, Probe, Sort};
use crate::event::{
    Body, Entry, Event, Example, FlowCount, Location, Losses, Neighbour, Owner, Socket, SocketState,
};

/// How often what the programs keep at hand is read at most in a round.
const LOOKS: usize = 8;
/// So many packets may arrive while it is read, and it counts as of one moment.
const FEW: u64 = 8;

/// The maps, and what was read of them last.
pub(super) struct Counters {
    at_hand: PerCpuArray<MapData, Tallies>,
    books: PerCpuHashMap<MapData, WireEntry, Count>,
    rest: PerCpuHashMap<MapData, WireEntry, Count>,
    flows: FlowTable,
    losses: PerCpuArray<MapData, u64>,
    neighbours: HashMap<MapData, NeighbourKey, NeighbourCount>,
    told_neighbours: BTreeMap<NeighbourKey, NeighbourCount>,
    pub(super) unresolved: Unresolved,
    events: RingBuf<MapData>,
    sorts: HashMap<MapData, u64, u32>,
    /// Places whose sort the programs were told, or had no room for.
    told_sorts: HashSet<u64>,
    told_books: Table<WireEntry, Count>,
    skipped: Option<Skipped>,
    told_losses: Option<Losses>,
    /// The innermost frames of stacks that were told, by the line of their example.
    told_stacks: HashSet<(WireEntry, Vec<u64>)>,
    /// Records that could not be understood.
    foreign: u64,
}

/// Stacks that are remembered as told, at most. Further ones are not told.
const MOST_STACKS: usize = 4_096;
/// Frames by which one stack is told from another: the drop, and the way to it through the protocols.
const INNERMOST: usize = 8;

impl Counters {
    pub(super) fn take(ebpf: &mut Ebpf, seed: u64) -> Result<Self, Error> {
        let mut take = |name: &'static str| ebpf.take_map(name).ok_or(Error::Map(name));
        Ok(Self {
            at_hand: of("AT_HAND", take("AT_HAND")?)?,
            books: of("BOOKS", take("BOOKS")?)?,
            rest: of("REST", take("REST")?)?,
            flows: FlowTable::open(take("FLOWS")?, seed)?,
            losses: of("LOSSES", take("LOSSES")?)?,
            neighbours: of("NEIGHBOURS", take("NEIGHBOURS")?)?,
            told_neighbours: BTreeMap::new(),
            unresolved: Unresolved::of(of("UNRESOLVED", take("UNRESOLVED")?)?),
            events: of("EVENTS", take("EVENTS")?)?,
            sorts: of("SORTS", take("SORTS")?)?,
            told_sorts: HashSet::new(),
            told_books: Table::new(),
            skipped: None,
            told_losses: None,
            told_stacks: HashSet::new(),
            foreign: 0,
        })
    }
}

pub(super) fn of<T: TryFrom<Map>>(name: &'static str, map: Map) -> Result<T, Error> {
    T::try_from(map).map_err(|_| Error::Map(name))
}

/// Tells who has a socket or an address. The probe knows numbers only.
pub trait Owners {
    /// This node has this address in that namespace.
    fn has_address(&self, netns: u32, address: IpAddr) -> bool;
    /// A process was seen to open a socket, or to listen on it. `command` is what the kernel calls it.
    fn opened(&mut self, inode: u64, pid: u32, command: &str) -> Owner;
    /// Who has a socket file, or what its cgroup is called.
    fn by_socket(&mut self, inode: u64, cgroup: u64) -> Option<Owner>;
}

impl Probe {
    /// Tells all that has come since the last call: records first, then the counts that changed.
    /// `now` is boot time in ns.
    ///
    /// # Errors
    ///
    /// Where the kernel refuses to hand over the counts.
    pub fn poll(
        &mut self,
        now: u64,
        owners: &mut dyn Owners,
        tell: &mut dyn FnMut(Event),
    ) -> Result<(), Error> {
        self.drain(owners, tell);
        let mut names = Names {
            symbols: &mut self.symbols,
            reasons: &self.reasons,
        };
        let counters = &mut self.counters;
        let sums = counters.sums()?;
        // At once: what waits no more is in the books.
        let unresolved = counters.unresolved.round()?;
        for (line, sum) in sums {
            if counters.told_books.insert(line, sum) == Some(sum) {
                continue;
            }
            let Some(key) = names.entry(&line) else {
                counters.foreign += 1;
                continue;
            };
            if let Some(sort) = (self.sort)(&key) {
                counters.tell_sort(line.location, sort);
            }
            let entry = Entry {
                key,
                packets: sum.packets,
                bytes: sum.bytes,
            };
            tell(Event {
                at: now,
                body: Body::Entry(entry),
            });
        }
        counters.flows.round(now, &mut |line, life| {
            let flow = FlowCount {
                owner: owners.by_socket(line.count.sender, 0).map(Box::new),
                ..names.flow(line, life)
            };
            tell(Event {
                at: now,
                body: Body::Flow(flow),
            });
        })?;
        for neighbour in counters.asked(owners)? {
            tell(Event {
                at: now,
                body: Body::Neighbour(neighbour),
            });
        }
        for queue in unresolved {
            tell(Event {
                at: now,
                body: Body::Unresolved(queue),
            });
        }
        let losses = counters.losses()?;
        if counters.told_losses.replace(losses) != Some(losses) {
            tell(Event {
                at: now,
                body: Body::Losses(losses),
            });
        }
        Ok(())
    }

    fn drain(&mut self, owners: &mut dyn Owners, tell: &mut dyn FnMut(Event)) {
        let Self {
            counters,
            symbols,
            reasons,
            ..
        } = self;
        let mut names = Names { symbols, reasons };
        while let Some(item) = counters.events.next() {
            match decode::record(&item) {
                Some(Record::Example(mut raw)) => {
                    tell_stack_once(&mut counters.told_stacks, &mut raw);
                    match example(&raw, &mut names, owners) {
                        Some(example) => tell(Event {
                            at: raw.time,
                            body: Body::Example(Box::new(example)),
                        }),
                        None => counters.foreign += 1,
                    }
                }
                Some(Record::Socket(raw)) => match socket(&raw, owners) {
                    Some(socket) => tell(Event {
                        at: raw.time,
                        body: Body::Socket(socket),
                    }),
                    None => counters.foreign += 1,
                },
                None => counters.foreign += 1,
            }
        }
    }
}

/// An item of a map that is read while it grows; one that was deleted meanwhile is none.
pub(super) fn gone<T>(item: Result<T, MapError>, map: &'static str) -> Result<Option<T>, Error> {
    match item {
        Ok(item) => Ok(Some(item)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(cause) => Err(Error::Read { map, cause }),
    }
}

impl Counters {
    /// Tells also which runs of these programs the kernel left out.
    pub(super) fn watch(&mut self, programs: Skipped) {
        self.skipped = Some(programs);
    }

    /// Tells the programs of what sort a place is. Flows count what ends there from then on.
    fn tell_sort(&mut self, location: u64, sort: Sort) {
        let number = match sort {
            Sort::BeforeArrival => sort::BEFORE_ARRIVAL,
            Sort::Taken => sort::TAKEN,
        };
        if self.told_sorts.insert(location) {
            // Where the map is full, the books still tell of it.
            let _ = self.sorts.insert(location, number, 0);
        }
    }

    /// Every line of the books: what the programs keep at hand, and what is in the map, of all CPUs. In
    /// the order of their keys, so that a recording tells them alike.
    fn sums(&self) -> Result<BTreeMap<WireEntry, Count>, Error> {
        let mut sums = BTreeMap::new();
        let mut add = |key: WireEntry, count: Count| {
            let sum: &mut Count = sums.entry(key).or_default();
            sum.packets += count.packets;
            sum.bytes += count.bytes;
        };
        for (name, map) in [("BOOKS", &self.books), ("REST", &self.rest)] {
            for item in map.iter() {
                let Some((key, values)) = gone(item, name)? else {
                    continue;
                };
                for count in values.iter() {
                    add(key, *count);
                }
            }
        }
        // The busiest lines last, and together.
        for line in self.at_hand()?.iter().flat_map(lines) {
            add(line.entry, line.count);
        }
        sums.retain(|_, sum| sum.packets != 0);
        Ok(sums)
    }

    /// What the programs keep at hand, as of one moment as far as that can be had: what has arrived and what became of
    /// it are read one after the other. Where much arrives between, as where this thread had to wait, they are read once
    /// more; the look in which the least arrived counts.
    fn at_hand(&self) -> Result<Vec<PerCpuValues<Tallies>>, Error> {
        let arrived =
            |tallies: &PerCpuValues<Tallies>| -> u64 { lines(tallies).map(|line| line.count.packets).sum() };
        let mut best: Option<(u64, Vec<PerCpuValues<Tallies>>)> = None;
        for _ in 0..LOOKS {
            let before = arrived(&self.tallies(program::ARRIVAL)?);
            let ends = (0..program::COUNT).filter(|program| *program != program::ARRIVAL);
            let mut look = ends
                .map(|program| self.settled(program))
                .collect::<Result<Vec<_>, _>>()?;
            let arrivals = self.settled(program::ARRIVAL)?;
            let meanwhile = arrived(&arrivals).saturating_sub(before);
            look.push(arrivals);
            if best.as_ref().is_none_or(|(least, _)| meanwhile < *least) {
                best = Some((meanwhile, look));
            }
            if meanwhile <= FEW {
                break;
            }
        }
        Ok(best.map_or_else(Vec::new, |(_, look)| look))
    }

    /// What a program keeps at hand. A place that is just being taken may be read half-way: where something is new, it
    /// is read once more.
    fn settled(&self, program: u32) -> Result<PerCpuValues<Tallies>, Error> {
        let tallies = self.tallies(program)?;
        let is_new = |line: Tally| !self.told_books.contains_key(&line.entry);
        if lines(&tallies).any(is_new) {
            return self.tallies(program);
        }
        Ok(tallies)
    }

    fn tallies(&self, program: u32) -> Result<PerCpuValues<Tallies>, Error> {
        self.at_hand.get(&program, 0).map_err(|cause| Error::Read {
            map: "AT_HAND",
            cause,
        })
    }

    /// What has changed of the addresses that this node has. Others are taken out of the map: on some networks
    /// everybody is asked for everything.
    fn asked(&mut self, owners: &mut dyn Owners) -> Result<Vec<Neighbour>, Error> {
        let mut all = BTreeMap::new();
        for item in self.neighbours.iter() {
            if let Some((key, count)) = gone(item, "NEIGHBOURS")? {
                all.insert(key, count);
            }
        }
        let mut told = Vec::new();
        for (key, count) in all {
            let neighbour = decode::neighbour(&key, &count);
            if !owners.has_address(key.netns, neighbour.address) {
                // It fails for one that is gone, and for a kernel that refuses: then the map fills, which is counted.
                let _ = self.neighbours.remove(&key);
                self.told_neighbours.remove(&key);
            } else if self.told_neighbours.insert(key, count) != Some(count) {
                told.push(neighbour);
            }
        }
        Ok(told)
    }

    fn losses(&self) -> Result<Losses, Error> {
        let total = |kind| -> Result<u64, Error> {
            let values = self
                .losses
                .get(&kind, 0)
                .map_err(|cause| Error::Read { map: "LOSSES", cause })?;
            Ok(values.iter().sum())
        };
        let drops = self.tallies(program::DROP)?;
        let unsent: u64 = lines(&drops).map(|line| line.unsent).sum();
        Ok(Losses {
            examples_not_sent: total(loss::EXAMPLES_OVER_BUDGET)? + unsent,
            ring_full: total(loss::RING_FULL)? + self.foreign,
            map_full: total(loss::BOOKS_FULL)?,
            in_other: total(loss::IN_OTHER)?,
            flows_full: total(loss::FLOWS_FULL)?,
            places_full: total(loss::PLACES_FULL)?,
            neighbours_full: total(loss::NEIGHBOURS_FULL)?,
            unresolved_full: total(loss::UNRESOLVED_FULL)?,
            // The model's own.
            counters_full: 0,
            queues_full: 0,
            things_full: 0,
            runs_skipped: self.skipped.as_ref().map_or(0, Skipped::runs),
        })
    }
}

/// Takes the stack away, where its innermost part was told of this line before. The outer frames are those of whoever
/// was interrupted.
fn tell_stack_once(told: &mut HashSet<(WireEntry, Vec<u64>)>, raw: &mut decode::RawExample) {
    let innermost = raw.stack.iter().take(INNERMOST).copied().collect();
    if told.len() >= MOST_STACKS || !told.insert((raw.entry, innermost)) {
        raw.stack.clear();
    }
}

/// The lines at hand of all CPUs.
fn lines(tallies: &PerCpuValues<Tallies>) -> impl Iterator<Item = Tally> {
    tallies
        .iter()
        .flat_map(|cpu| cpu.lines)
        .filter(|line| line.entry.kind != 0)
}

fn example(raw: &decode::RawExample, names: &mut Names<'_>, owners: &mut dyn Owners) -> Option<Example> {
    let entry = names.entry(&raw.entry)?;
    let has_flow = raw.entry.protocol != 0;
    let socket =
        SocketState::from_kernel(raw.socket.state).map(|state| (decode::flow_key(&raw.socket.flow), state));
    Some(Example {
        entry,
        flow: has_flow.then(|| decode::flow_key(&raw.flow)),
        packets: raw.packets,
        length: raw.length,
        owner: socket
            .is_some()
            .then(|| owners.by_socket(raw.socket.inode, raw.socket.cgroup))
            .flatten(),
        socket,
        stack: from(raw.entry.location, &raw.stack)
            .iter()
            .map(|&frame| -> Location { names.symbols.locate(frame) })
            .collect(),
        bytes: raw.bytes.clone(),
    })
}

/// A stack from the place on: before it are the function that frees and the tracer's own program. The place is the
/// return address of that function (net/core/skbuff.c, `sk_skb_reason_drop`), so it is one of the frames.
fn from(place: u64, stack: &[u64]) -> &[u64] {
    let begin = stack.iter().position(|&frame| frame == place).unwrap_or(0);
    &stack[begin..]
}

fn socket(raw: &decode::RawSocketChange, owners: &mut dyn Owners) -> Option<Socket> {
    Some(Socket {
        flow: decode::flow_key(&raw.socket.flow),
        state: SocketState::from_kernel(raw.socket.state)?,
        from: SocketState::from_kernel(raw.from),
        inode: raw.socket.inode,
        owner: match (raw.pid, raw.socket.inode) {
            // A packet changed it: who opened it, has it.
            (0, 0) => None,
            (0, inode) => owners.by_socket(inode, raw.socket.cgroup),
            (pid, inode) => Some(owners.opened(inode, pid, &raw.command)),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_begins_at_the_place() {
        let stack = [0xc0, 0x81, 0x82, 0x83];
        assert_eq!(from(0x82, &stack), [0x82, 0x83]);
        assert_eq!(from(0xc0, &stack), stack);
        // A place that is not among the frames.
        assert_eq!(from(0x99, &stack), stack);
        assert_eq!(from(0x99, &[]), [0; 0]);
    }
}
