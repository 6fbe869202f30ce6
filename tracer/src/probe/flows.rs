//! The table of flows, shared with the BPF programs by memory: reading it takes no system call.
//!
//! The programs only ever take lines. Here those that are idle are given up and freed, once the table fills:
//! see [`GIVEN_UP`] for the order in which that is done, and [`Table::free`] for why it loses nothing.

use std::num::NonZero;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::Map;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::thread::{MembarrierCommand, membarrier};
use tracer_ebpf::{FLOW_SETS, FlowCount, FlowLine, FlowSet, GIVEN_UP, WAYS, flow_sets};

use super::Error;

const BYTES: usize = FLOW_SETS as usize * size_of::<FlowSet>();
/// Lines in the table.
const LINES: usize = FLOW_SETS as usize * WAYS;
/// In a table that is more than half full a line is freed that has not grown for so many seconds.
const IDLE: u32 = 60;
/// The same in one that was more than three quarters full, until it is half empty.
const IDLE_WHEN_FULL: u32 = 10;
/// The same for a line that knows how many segments its TCP socket has had: after that the socket's next look
/// is the first. Only in a table that was as full as that.
const IDLE_CONNECTION: u32 = 600;

/// The table, mapped.
pub(super) struct FlowTable {
    table: Table,
    /// Keeps the map.
    _map: Map,
}

// SAFETY: the mapping belongs to this value alone.
unsafe impl Send for FlowTable {}

impl FlowTable {
    pub(super) fn open(map: Map, seed: u64) -> Result<Self, Error> {
        let Map::Array(data) = &map else {
            return Err(Error::Map("FLOWS"));
        };
        // SAFETY: a new mapping, at an address that the kernel chooses; the map is that big (aya checked
        // its definition against the object, which is built of the same types).
        let address = unsafe {
            mmap(
                std::ptr::null_mut(),
                BYTES,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                data.fd(),
                0,
            )
        }
        .map_err(|cause| Error::Flows(cause.into()))?;
        let sets = NonNull::new(address.cast::<FlowSet>()).ok_or(Error::Map("FLOWS"))?;
        Ok(Self {
            table: Table::new(sets, seed),
            _map: map,
        })
    }

    /// Tells each flow that has counted since the last call, with its [`crate::event::FlowCount::life`].
    /// `now` is boot time in ns.
    pub(super) fn changed(&mut self, now: u64, tell: &mut dyn FnMut(&FlowLine, u32)) {
        if !self.table.leaving.is_empty() {
            // Waits until every program that runs now has ended, for they run within an RCU read section, and
            // this is `synchronize_rcu` (kernel/sched/membarrier.c; with one CPU none runs now). A kernel
            // with CPUs that have no tick (nohz_full) refuses it: there a whole round has to do, which is ten
            // thousand times as long as a program takes.
            let _ = membarrier(MembarrierCommand::Global);
            self.table.free(tell);
        }
        self.table.changed(now, tell);
    }
}

impl Drop for FlowTable {
    fn drop(&mut self) {
        // SAFETY: the mapping that `open` made; nothing borrows from it.
        let _ = unsafe { munmap(self.table.sets.as_ptr().cast(), BYTES) };
    }
}

/// What is known of a line.
#[derive(Clone, Copy, Default)]
struct Known {
    /// What was told last, as one number: see [`mark`].
    told: Option<NonZero<u64>>,
    /// Second of boot time in which it was last seen to have grown, or was seen first; 0 for one that is
    /// free.
    grown: u32,
    /// See [`crate::event::FlowCount::life`].
    life: u32,
}

/// The lines.
struct Table {
    sets: NonNull<FlowSet>,
    seed: u64,
    known: Vec<Known>,
    /// How many were taken when they were last looked at.
    taken: usize,
    /// More than three quarters were, and not less than half since.
    tight: bool,
    /// The life of flows that are seen first from now on.
    life: u32,
    /// Lines that were given up and are not free yet.
    leaving: Vec<usize>,
}

impl Table {
    /// `sets` is an array of [`FLOW_SETS`] that outlives this value.
    fn new(sets: NonNull<FlowSet>, seed: u64) -> Self {
        Self {
            sets,
            seed,
            known: vec![Known::default(); LINES],
            taken: 0,
            tight: false,
            life: 0,
            leaving: Vec::new(),
        }
    }

    fn hash(&self, place: usize) -> &AtomicU64 {
        // SAFETY: within the array, and aligned; programs, too, change it atomically only.
        unsafe {
            let set = self.sets.add(place / WAYS).as_ptr();
            AtomicU64::from_ptr(&raw mut (*set).hashes[place % WAYS])
        }
    }

    fn line(&self, place: usize) -> *mut FlowLine {
        // SAFETY: within the array.
        unsafe {
            let set = self.sets.add(place / WAYS).as_ptr();
            &raw mut (*set).flows[place % WAYS]
        }
    }

    /// A torn key is told by its hash; each count is one word.
    fn read(&self, place: usize) -> FlowLine {
        // SAFETY: a line of the array; volatile, because the kernel writes there.
        unsafe { self.line(place).read_volatile() }
    }

    /// The line in which programs find this hash.
    fn find(&self, hash: u64) -> Option<usize> {
        flow_sets(hash)
            .into_iter()
            .flat_map(|set| (0..WAYS).map(move |way| set as usize * WAYS + way))
            .find(|&place| self.hash(place).load(Ordering::Relaxed) == hash)
    }

    /// Tells each flow that has counted since the last call, and gives up what is idle.
    fn changed(&mut self, now: u64, tell: &mut dyn FnMut(&FlowLine, u32)) {
        let now = u32::try_from(now / 1_000_000_000).unwrap_or(u32::MAX).max(1);
        let patience = self.patience();
        let mut taken = 0;
        let mut idle = Vec::new();
        for place in 0..LINES {
            let hash = self.hash(place).load(Ordering::Acquire);
            if hash == 0 {
                continue;
            }
            taken += 1;
            let line = self.read(place);
            if hash == GIVEN_UP || line.key.hash(self.seed) != hash {
                // It is just being written.
                continue;
            }
            let mark = mark(&line.count);
            let known = &mut self.known[place];
            if known.grown == 0 {
                *known = Known {
                    told: None,
                    grown: now,
                    life: self.life,
                };
            }
            if known.told != mark {
                if self.find(hash) == Some(place) {
                    let known = &mut self.known[place];
                    (known.told, known.grown) = (mark, now);
                    tell(&line, known.life);
                } else {
                    // Two CPUs took a line for it, see `insert` in the programs. Nobody finds this one.
                    idle.push(place);
                }
                continue;
            }
            let patience = match &patience {
                Some(patience) if line.count.segments == 0 => patience.flow,
                Some(patience) => patience.connection,
                None => continue,
            };
            if now.saturating_sub(known.grown) >= patience {
                idle.push(place);
            }
        }
        self.taken = taken;
        self.tight = taken > LINES / 4 * 3 || self.tight && taken > LINES / 2;
        self.give_up(idle);
    }

    /// For how many seconds a line may be idle, `None` where there is room enough for all.
    fn patience(&self) -> Option<Patience> {
        if self.tight {
            Some(Patience {
                flow: IDLE_WHEN_FULL,
                connection: IDLE_CONNECTION,
            })
        } else if self.taken > LINES / 2 {
            Some(Patience {
                flow: IDLE,
                connection: u32::MAX,
            })
        } else {
            None
        }
    }

    /// From now on no program finds these lines, and none takes them. What the programs count of their flows,
    /// they count in other lines, which begin another life.
    fn give_up(&mut self, places: Vec<usize>) {
        if places.is_empty() {
            return;
        }
        for &place in &places {
            self.hash(place).store(GIVEN_UP, Ordering::SeqCst);
        }
        self.leaving = places;
        self.life = self.life.saturating_add(1);
    }

    /// Frees the lines that were given up. No program may have one of them by now: so that what is told of it
    /// here is all that it has counted, and that nothing will be counted in it but for the flow that takes it
    /// next. It is told before anything is of the flow's next life.
    fn free(&mut self, tell: &mut dyn FnMut(&FlowLine, u32)) {
        for place in std::mem::take(&mut self.leaving) {
            let line = self.read(place);
            let known = std::mem::take(&mut self.known[place]);
            if known.told != mark(&line.count) {
                match self.find(line.key.hash(self.seed)) {
                    // It is the flow's second line, which was never told.
                    Some(first) if known.told.is_none() => self.add(first, &line.count),
                    _ => tell(&line, known.life),
                }
            }
            // SAFETY: a line of the array, that nobody else has.
            unsafe { self.line(place).write_volatile(FlowLine::default()) };
            self.hash(place).store(0, Ordering::Release);
        }
    }

    /// Adds to the counts of a line, as the programs do.
    fn add(&self, place: usize, count: &FlowCount) {
        let into = self.line(place);
        // SAFETY: counts of a line of the array, aligned; programs, too, only add to them atomically.
        unsafe {
            let into = &raw mut (*into).count;
            for (into, count) in [
                (&raw mut (*into).arrived, count.arrived),
                (&raw mut (*into).arrived_bytes, count.arrived_bytes),
                (&raw mut (*into).sent, count.sent),
                (&raw mut (*into).matched, count.matched),
                (&raw mut (*into).queued, count.queued),
                (&raw mut (*into).read, count.read),
                (&raw mut (*into).read_bytes, count.read_bytes),
                (&raw mut (*into).dropped, count.dropped),
                (&raw mut (*into).retransmitted, count.retransmitted),
            ] {
                AtomicU64::from_ptr(into).fetch_add(count, Ordering::Relaxed);
            }
        }
    }
}

/// How long lines may be idle, in seconds.
struct Patience {
    flow: u32,
    connection: u32,
}

/// One number that changes whenever a count does: counts only grow, so their sum does.
fn mark(count: &FlowCount) -> Option<NonZero<u64>> {
    let FlowCount {
        arrived,
        arrived_bytes,
        sent,
        matched,
        queued,
        read,
        read_bytes,
        dropped,
        retransmitted,
        ..
    } = *count;
    let sum = [
        arrived,
        arrived_bytes,
        sent,
        matched,
        queued,
        read,
        read_bytes,
        dropped,
        retransmitted,
    ]
    .into_iter()
    .fold(0u64, u64::wrapping_add);
    NonZero::new(sum)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::RwLock;
    use std::sync::atomic::AtomicBool;

    use tracer_ebpf::FlowKey;

    use super::*;

    const SEED: u64 = 99;
    const SECOND: u64 = 1_000_000_000;

    fn key(number: usize) -> FlowKey {
        FlowKey {
            netns: u32::try_from(number).unwrap(),
            ..FlowKey::NONE
        }
    }

    /// The table and what the programs do with it.
    struct Fake {
        sets: Vec<FlowSet>,
        table: Table,
    }

    impl Fake {
        fn new() -> Self {
            let empty = FlowSet {
                hashes: [0; WAYS],
                flows: [FlowLine::default(); WAYS],
            };
            let mut sets = vec![empty; FLOW_SETS as usize];
            let table = Table::new(NonNull::new(sets.as_mut_ptr()).unwrap(), SEED);
            Self { sets, table }
        }

        /// Takes the first of the places that the flow may be in and that are free.
        fn insert(&self, key: FlowKey) -> Option<usize> {
            let hash = key.hash(SEED);
            for set in flow_sets(hash) {
                for way in 0..WAYS {
                    let place = set as usize * WAYS + way;
                    let word = self.table.hash(place);
                    match word.compare_exchange(0, hash, Ordering::SeqCst, Ordering::SeqCst) {
                        Ok(_) => {
                            // SAFETY: a line of the table, that this thread has just taken.
                            unsafe { (&raw mut (*self.table.line(place)).key).write_volatile(key) };
                            return Some(place);
                        }
                        Err(before) if before == hash => return Some(place),
                        Err(_) => {}
                    }
                }
            }
            None
        }

        fn arrive(&self, key: FlowKey, packets: u64) -> bool {
            let Some(place) = self.table.find(key.hash(SEED)).or_else(|| self.insert(key)) else {
                return false;
            };
            self.table.add(
                place,
                &FlowCount {
                    arrived: packets,
                    ..FlowCount::default()
                },
            );
            true
        }

        /// As many flows, one packet each. For some the table has no room, long before it is full.
        fn fill(&self, flows: usize) {
            let fitting = (0..).filter(|&number| self.arrive(key(number), 1));
            assert_eq!(fitting.take(flows).count(), flows);
        }

        /// One round: what is told, in its order, as (flow, life, packets).
        fn round(&mut self, second: u64) -> Vec<(FlowKey, u32, u64)> {
            let mut told = Vec::new();
            let mut tell = |line: &FlowLine, life: u32| told.push((line.key, life, line.count.arrived));
            self.table.free(&mut tell);
            self.table.changed(second * SECOND, &mut tell);
            told
        }

        fn taken(&self) -> usize {
            let hashes = self.sets.iter().flat_map(|set| set.hashes);
            hashes.filter(|&hash| hash != 0).count()
        }

        /// All flows are TCP's, with a socket.
        fn connect(&mut self) {
            for line in self.sets.iter_mut().flat_map(|set| &mut set.flows) {
                line.count.segments = 1;
            }
        }
    }

    #[test]
    fn a_table_with_room_keeps_every_flow() {
        let mut fake = Fake::new();
        fake.fill(LINES / 2);
        assert_eq!(fake.round(1).len(), LINES / 2);
        assert!((2..5).all(|round| fake.round(round * 1_000).is_empty()));
        assert_eq!(fake.taken(), LINES / 2);
    }

    #[test]
    fn idle_flows_are_freed_sooner_in_a_fuller_table() {
        for (taken, idle) in [(LINES / 8 * 5, IDLE), (LINES / 8 * 7, IDLE_WHEN_FULL)] {
            let mut fake = Fake::new();
            fake.fill(taken);
            fake.round(1);
            // One goes on, the others do not.
            let idle = u64::from(idle);
            fake.arrive(key(7), 1);
            fake.round(2);
            fake.round(idle);
            fake.round(idle);
            assert_eq!(fake.taken(), taken, "too soon");
            fake.round(1 + idle);
            assert!(fake.round(1 + idle).is_empty());
            assert_eq!(fake.taken(), 1);
            assert!(fake.table.find(key(7).hash(SEED)).is_some());
            // As good as new.
            fake.fill(taken);
            let told = fake.round(2 + idle);
            assert_eq!(told.len(), taken);
            assert!(told.contains(&(key(7), 0, 3)));
            assert!(
                told.iter()
                    .all(|&(flow, life, packets)| flow == key(7) || (life, packets) == (1, 1))
            );
        }
    }

    #[test]
    fn connections_are_kept_for_long() {
        let mut fake = Fake::new();
        fake.fill(LINES / 8 * 7);
        fake.connect();
        fake.round(1);
        fake.round(u64::from(IDLE_CONNECTION));
        fake.round(u64::from(IDLE_CONNECTION));
        assert_eq!(fake.taken(), LINES / 8 * 7);
        fake.round(1 + u64::from(IDLE_CONNECTION));
        fake.round(1 + u64::from(IDLE_CONNECTION));
        assert_eq!(fake.taken(), 0);
    }

    #[test]
    fn what_a_line_counts_while_it_is_given_up_is_told_before_its_next_life() {
        let mut fake = Fake::new();
        fake.fill(LINES / 8 * 7);
        fake.round(1);
        let places: Vec<_> = (0..100)
            .map(|number| fake.table.find(key(number).hash(SEED)))
            .collect();
        fake.round(20);
        // Programs find it no more; there is room for some of the flows elsewhere.
        let number = (0..100)
            .find(|&number| places[number].is_some() && fake.arrive(key(number), 5))
            .unwrap();
        // One had found it before.
        let three = FlowCount {
            arrived: 3,
            ..FlowCount::default()
        };
        fake.table.add(places[number].unwrap(), &three);
        assert_eq!(fake.round(20), [(key(number), 0, 4), (key(number), 1, 5)]);
    }

    #[test]
    fn a_flow_with_two_lines_is_told_as_one() {
        let mut fake = Fake::new();
        let hash = key(7).hash(SEED);
        let first = fake.insert(key(7)).unwrap();
        fake.table.hash(first).store(1 << 63, Ordering::SeqCst);
        let second = fake.insert(key(7)).unwrap();
        fake.table.hash(first).store(hash, Ordering::SeqCst);
        let one = FlowCount {
            arrived: 1,
            ..FlowCount::default()
        };
        fake.table.add(first, &one);
        fake.table.add(second, &one);
        assert_eq!(fake.round(1), [(key(7), 0, 1)]);
        assert_eq!(fake.round(1), [(key(7), 0, 2)]);
        assert_eq!(fake.taken(), 1);
    }

    /// Threads for CPUs. A read lock stands for the RCU section that a program runs in.
    #[test]
    fn nothing_is_lost_and_nothing_told_twice() {
        let mut fake = Fake::new();
        let table = Fake {
            sets: Vec::new(),
            table: Table::new(fake.table.sets, SEED),
        };
        struct Shared(Fake);
        // SAFETY: its threads touch the table as programs do, atomically.
        unsafe impl Sync for Shared {}
        let shared = Shared(table);
        let (running, ends) = (RwLock::new(()), AtomicBool::new(false));
        let mut told: HashMap<FlowKey, (u32, u64)> = HashMap::new();
        let (mut sum, mut lives) = (0, 0);
        let mut tell = |line: &FlowLine, life: u32| {
            let (last, packets) = told.entry(line.key).or_insert((life, 0));
            assert!(life >= *last, "a life is told after the next one");
            let before = if life == *last { *packets } else { 0 };
            lives += u64::from(life != *last);
            sum += line.count.arrived.checked_sub(before).expect("a count fell");
            (*last, *packets) = (life, line.count.arrived);
        };
        let counted: u64 = std::thread::scope(|scope| {
            let threads: Vec<_> = (1..3_u64)
                .map(|seed| {
                    let (shared, running, ends) = (&shared, &running, &ends);
                    scope.spawn(move || {
                        let (mut state, mut counted) = (seed, 0_u64);
                        while !ends.load(Ordering::Relaxed) {
                            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(seed | 1);
                            let number = usize::try_from(state >> 33).unwrap() % (LINES / 8 * 7);
                            let _section = running.read().unwrap();
                            counted += u64::from(shared.0.arrive(key(number), 1));
                        }
                        counted
                    })
                })
                .collect();
            for round in 1..30 {
                // So much time passes that whatever has not grown for a round is idle.
                if !fake.table.leaving.is_empty() {
                    drop(running.write().unwrap());
                    fake.table.free(&mut tell);
                }
                fake.table.changed(round * 10 * SECOND, &mut tell);
            }
            ends.store(true, Ordering::Relaxed);
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        fake.table.free(&mut tell);
        fake.table.changed(601 * SECOND, &mut tell);
        fake.table.free(&mut tell);
        assert_eq!(sum, counted);
        assert!(lives > 100, "only {lives} lives: nothing was tested");
    }

    #[test]
    fn flows_that_differ_in_one_bit_have_other_hashes() {
        let key = FlowKey::new(
            [0, 0x0200_0a0a_ffff_0000],
            [0, 0x0a02_00c0_ffff_0000],
            7,
            40_000,
            80,
            6,
        );
        let mut seen = std::collections::HashSet::from([key.hash(1)]);
        assert_ne!(key.hash(1), key.hash(2), "the seed matters");
        for port in 0..=u16::MAX {
            let other = FlowKey {
                remote_port: port,
                ..key
            };
            assert_eq!(seen.insert(other.hash(1)), port != 80);
        }
    }

    #[test]
    fn the_sets_of_flows_are_spread() {
        let mut sets = vec![0u32; FLOW_SETS as usize];
        for port in 0..=u16::MAX {
            let key = FlowKey {
                local_port: port,
                ..FlowKey::NONE
            };
            for set in flow_sets(key.hash(SEED)) {
                sets[set as usize] += 1;
            }
        }
        let most = sets.iter().max().copied().unwrap();
        assert!(
            most < 30,
            "one set would have to hold {most} flows, where 8 is the mean"
        );
    }
}
