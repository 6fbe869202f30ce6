use std::collections::HashMap;
use std::sync::RwLock;
use std::sync::atomic::AtomicBool;

use tracer_ebpf::{FlowKey, flow_set};

use super::*;

const SEED: u64 = 99;
const SECOND: u64 = 1_000_000_000;

fn key(number: usize) -> FlowKey {
    FlowKey {
        netns: u32::try_from(number).unwrap(),
        ..FlowKey::NONE
    }
}

/// Sets that belong to a test.
struct Own(NonNull<FlowSet>);

// SAFETY: tests touch the sets as programs do, atomically.
unsafe impl Sync for Own {}

impl Sets for &Own {
    fn window(&mut self, number: usize) -> Result<NonNull<FlowSet>, Error> {
        // SAFETY: within the table.
        Ok(unsafe { self.0.add(number * WINDOW) })
    }
}

/// What programs do with the table.
impl Own {
    fn place(&self, line: usize) -> Place {
        // SAFETY: there are as many; they are never freed.
        unsafe { Place::of(self.0, line) }
    }

    fn find(&self, hash: u64) -> Option<usize> {
        places(hash).find(|&line| self.place(line).hash().load(Ordering::Relaxed) == hash)
    }

    /// Takes a place for the flow.
    fn insert(&self, key: FlowKey) -> Option<usize> {
        let hash = key.hash(SEED);
        let lines = |set: u32| (0..WAYS).map(move |way| set as usize * WAYS + way);
        let free = |line: &usize| self.place(*line).hash().load(Ordering::Relaxed) == 0;
        let set = flow_set(hash, |set| lines(set).filter(free).count() as u32);
        for line in lines(set) {
            let place = self.place(line);
            match place
                .hash()
                .compare_exchange(0, hash, Ordering::SeqCst, Ordering::SeqCst)
            {
                Ok(_) => {
                    self.write(line, key);
                    return Some(line);
                }
                Err(before) if before == hash => return Some(line),
                Err(_) => {}
            }
        }
        None
    }

    fn write(&self, line: usize, key: FlowKey) {
        // SAFETY: a line of the table, that this thread has just taken.
        unsafe { (&raw mut (*self.place(line).line.as_ptr()).key).write_volatile(key) };
    }

    fn arrive(&self, key: FlowKey, packets: u64) -> bool {
        let Some(line) = self.find(key.hash(SEED)).or_else(|| self.insert(key)) else {
            return false;
        };
        self.place(line).add(&arrivals(packets));
        true
    }
}

fn arrivals(packets: u64) -> FlowCount {
    FlowCount {
        arrived: packets,
        ..FlowCount::default()
    }
}

/// The table and what the programs do with it.
struct Fake {
    programs: &'static Own,
    table: Table<&'static Own>,
}

impl Fake {
    fn new() -> Self {
        let empty = FlowSet {
            hashes: [0; WAYS],
            flows: [FlowLine::default(); WAYS],
        };
        let sets = vec![empty; FLOW_SETS as usize].leak();
        let programs: &Own = Box::leak(Box::new(Own(NonNull::new(sets.as_mut_ptr()).unwrap())));
        Self {
            programs,
            table: Table::new(programs, SEED),
        }
    }

    /// As many flows, one packet each. For some the table has no room, before it is full.
    fn fill(&self, flows: usize) {
        let fitting = (0..).filter(|&number| self.programs.arrive(key(number), 1));
        assert_eq!(fitting.take(flows).count(), flows);
    }

    /// One round that is added to what was told before.
    fn step(&mut self, second: u64, told: &mut Told) {
        let mut tell = |line: &FlowLine, life: u32| told.tell(line, life);
        self.table.free(&mut tell).unwrap();
        self.table.changed(second * SECOND, &mut tell).unwrap();
    }

    /// One round: what is told, in its order, as (flow, life, packets).
    fn round(&mut self, second: u64) -> Vec<(FlowKey, u32, u64)> {
        let mut told = Vec::new();
        let mut tell = |line: &FlowLine, life: u32| told.push((line.key, life, line.count.arrived));
        self.table.free(&mut tell).unwrap();
        self.table.changed(second * SECOND, &mut tell).unwrap();
        told
    }

    fn taken(&self) -> usize {
        let taken = |&line: &usize| self.programs.place(line).hash().load(Ordering::Relaxed) != 0;
        (0..LINES).filter(taken).count()
    }

    /// All flows are TCP's, with a socket.
    fn connect(&mut self) {
        for line in 0..LINES {
            // SAFETY: a line of the table, that no other thread has.
            unsafe { (*self.programs.place(line).line.as_ptr()).count.segments = 1 };
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
        fake.programs.arrive(key(7), 1);
        fake.round(2);
        fake.round(idle);
        fake.round(idle);
        assert_eq!(fake.taken(), taken, "too soon");
        fake.round(1 + idle);
        assert!(fake.round(1 + idle).is_empty());
        assert_eq!(fake.taken(), 1);
        assert!(fake.programs.find(key(7).hash(SEED)).is_some());
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
        .map(|number| fake.programs.find(key(number).hash(SEED)))
        .collect();
    fake.round(20);
    // Programs find it no more; there is room for some of the flows elsewhere.
    let number = (0..100)
        .find(|&number| places[number].is_some() && fake.programs.arrive(key(number), 5))
        .unwrap();
    // One had found it before.
    fake.programs.place(places[number].unwrap()).add(&arrivals(3));
    assert_eq!(fake.round(20), [(key(number), 0, 4), (key(number), 1, 5)]);
}

/// A flow with two lines, one packet each, and a third one since. Lines of different windows are looked at
/// one after the other.
fn with_two_lines(first_is_seen_first: bool) -> Fake {
    let fake = Fake::new();
    let (key, [first, second]) = (0..)
        .map(|number| (key(number), flow_sets(key(number).hash(SEED))))
        .map(|(key, sets)| (key, [sets[0], sets[1]].map(|set| set as usize * WAYS)))
        .find(|(_, [first, second])| first != second && (first < second) == first_is_seen_first)
        .unwrap();
    for line in [first, second] {
        fake.programs.write(line, key);
        fake.programs
            .place(line)
            .hash()
            .store(key.hash(SEED), Ordering::SeqCst);
        fake.programs.place(line).add(&arrivals(1));
    }
    fake.programs.arrive(key, 1);
    fake
}

#[test]
fn a_flow_with_two_lines_is_told_as_one() {
    let mut fake = with_two_lines(true);
    let packets = |told: Vec<(FlowKey, u32, u64)>| -> Vec<_> {
        told.iter().map(|(_, life, packets)| (*life, *packets)).collect()
    };
    assert_eq!(packets(fake.round(1)), [(0, 2)]);
    assert_eq!(packets(fake.round(1)), [(0, 3)]);
    assert_eq!(fake.taken(), 1);
    // The line that programs find comes to be known when the other one was told.
    let mut fake = with_two_lines(false);
    assert_eq!(packets(fake.round(1)), [(0, 1)]);
    assert_eq!(packets(fake.round(1)), [(1, 2)]);
    assert_eq!(fake.taken(), 1);
}

/// The second line comes to be known when the first one is idle: it is not counted to a life that was before.
#[test]
fn a_second_line_of_a_flow_that_is_given_up_is_its_next_life() {
    let mut fake = Fake::new();
    fake.fill(LINES / 8 * 7);
    fake.round(1);
    fake.round(20);
    fake.round(40);
    fake.fill(LINES / 8 * 7);
    let lives = fake.table.life;
    assert!(lives > 0, "else any life would do");
    let programs = fake.programs;
    let free = |line: &usize| programs.place(*line).hash().load(Ordering::SeqCst) == 0;
    let (key, first, second) = (LINES..2 * LINES)
        .find_map(|number| {
            let key = key(number);
            let mut all = places(key.hash(SEED)).filter(free);
            let first = all.next()?;
            Some((key, first, all.find(|line| line / WAYS != first / WAYS)?))
        })
        .unwrap();
    let take = |line: usize, packets: u64| {
        programs.write(line, key);
        programs
            .place(line)
            .hash()
            .store(key.hash(SEED), Ordering::SeqCst);
        programs.place(line).add(&arrivals(packets));
    };
    let of_it = |told: Vec<(FlowKey, u32, u64)>| -> Vec<(u32, u64)> {
        let its = told.into_iter().filter(|(of, ..)| *of == key);
        its.map(|(_, life, packets)| (life, packets)).collect()
    };
    take(first, 3);
    assert_eq!(of_it(fake.round(41)), [(lives, 3)]);
    take(second, 2);
    let mut all = Vec::new();
    for second in [52, 63, 74, 85] {
        all.extend(of_it(fake.round(second)));
    }
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(all[0].0 > lives && all[0].1 == 2, "{all:?}");
}

/// Ends the threads of a test, also where it fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What was told of all flows.
#[derive(Default)]
struct Told {
    /// Life and packets of each, as told last.
    last: HashMap<FlowKey, (u32, u64)>,
    /// Packets of all lives of all flows.
    packets: u64,
    /// Lives that followed another one.
    lives: u64,
    /// How often something was told.
    times: u64,
}

impl Told {
    fn tell(&mut self, line: &FlowLine, life: u32) {
        let (last, packets) = self.last.entry(line.key).or_insert((life, 0));
        assert!(life >= *last, "a life is told after the next one");
        let before = if life == *last { *packets } else { 0 };
        self.times += 1;
        self.lives += u64::from(life != *last);
        self.packets += line.count.arrived.checked_sub(before).expect("a count fell");
        (*last, *packets) = (life, line.count.arrived);
    }
}

/// Threads for CPUs. A read lock stands for the RCU section that a program runs in.
#[test]
fn nothing_is_lost_and_nothing_told_twice() {
    let mut fake = Fake::new();
    let programs = fake.programs;
    let (running, ends) = (RwLock::new(()), AtomicBool::new(false));
    let mut told = Told::default();
    let counted: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..3_u64)
            .map(|seed| {
                let (running, ends) = (&running, &ends);
                scope.spawn(move || {
                    let (mut state, mut counted) = (seed, 0_u64);
                    while !ends.load(Ordering::Relaxed) {
                        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(seed | 1);
                        let number = usize::try_from(state >> 33).unwrap() % (LINES / 8 * 7);
                        let _section = running.read().unwrap();
                        counted += u64::from(programs.arrive(key(number), 1));
                    }
                    counted
                })
            })
            .collect();
        let end = Ends(&ends);
        for round in 1..30 {
            // So much time passes that whatever has not grown for a round is idle.
            if !fake.table.leaving.is_empty() {
                drop(running.write().unwrap());
            }
            fake.step(round * 10, &mut told);
        }
        drop(end);
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    // Of a flow with several lines each may wait for a round of its own: until the one that was told before has
    // left (see `changed`).
    let mut settled = false;
    while !settled {
        let before = told.times;
        fake.step(601, &mut told);
        settled = told.times == before && fake.table.leaving.is_empty();
    }
    assert_eq!(told.packets, counted);
    assert!(told.lives > 100, "only {} lives: nothing was tested", told.lives);
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
        most < 40,
        "one set would have to hold {most} flows, where 16 is the mean"
    );
}

/// A few more than are promised, whatever the seed.
#[test]
fn a_hundred_thousand_flows_have_room() {
    for seed in 0..8 {
        let mut taken = vec![0u32; FLOW_SETS as usize];
        for number in 0..106_000 {
            let set = flow_set(key(number).hash(seed), |set| WAYS as u32 - taken[set as usize]) as usize;
            assert!(taken[set] < WAYS as u32, "seed {seed}: no room for flow {number}");
            taken[set] += 1;
        }
    }
}
