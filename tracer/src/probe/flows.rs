//! The table of flows, shared with the BPF programs by memory: reading it takes no system call.
//!
//! The programs only ever take lines. Here those that are idle are given up and freed, once the table fills:
//! see [`GIVEN_UP`] for the order in which that is done, and [`Table::free`] for why it loses nothing.

use std::num::NonZero;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::{Array, IterableMap, Map, MapData};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::thread::{MembarrierCommand, membarrier};
use tracer_ebpf::{FLOW_SETS, FlowCount, FlowLine, FlowSet, GIVEN_UP, WAYS, flow_sets};

use super::Error;

/// Sets that are mapped at a time: all pages of a mapping count as the tracer's own memory. A window begins with
/// a page.
const WINDOW: usize = 2_048;
const WINDOW_BYTES: usize = WINDOW * size_of::<FlowSet>();
/// Lines in a window.
const WINDOW_LINES: usize = WINDOW * WAYS;
/// Lines in the table.
const LINES: usize = FLOW_SETS as usize * WAYS;
/// In a table that is more than half full a line is freed that has not grown for so many seconds.
const IDLE: u32 = 60;
/// The same in one that was more than three quarters full, until it is half empty.
const IDLE_WHEN_FULL: u32 = 10;
/// The same for a line that knows how many segments its TCP socket has had: after that the socket's next look
/// is the first. Only in a table that was as full as that.
const IDLE_CONNECTION: u32 = 600;

const _: () = {
    /// The largest page that a kernel has.
    const PAGE: usize = 65_536;
    assert!(WINDOW_BYTES.is_multiple_of(PAGE) && (FLOW_SETS as usize).is_multiple_of(WINDOW));
};

/// The table of flows.
pub(super) type FlowTable = Table<Mapped>;

impl FlowTable {
    pub(super) fn open(map: Map, seed: u64) -> Result<Self, Error> {
        let map = Array::<_, FlowSet>::try_from(map).map_err(|_| Error::Map("FLOWS"))?;
        Ok(Self::new(Mapped { map, window: None }, seed))
    }

    /// Tells each flow that has counted since the last call, with its [`crate::event::FlowCount::life`].
    /// `now` is boot time in ns.
    pub(super) fn round(&mut self, now: u64, tell: &mut dyn FnMut(&FlowLine, u32)) -> Result<(), Error> {
        if !self.leaving.is_empty() {
            // Waits until every program that runs now has ended, for they run within an RCU read section, and
            // this is `synchronize_rcu` (kernel/sched/membarrier.c; with one CPU none runs now). A kernel
            // with CPUs that have no tick (nohz_full) refuses it: there a whole round has to do, which is ten
            // thousand times as long as a program takes.
            let _ = membarrier(MembarrierCommand::Global);
            self.free(tell)?;
        }
        self.changed(now, tell)
    }
}

/// Where the sets are.
pub(super) trait Sets {
    /// A window: so many sets in a row. The one before is no longer there.
    fn window(&mut self, number: usize) -> Result<NonNull<FlowSet>, Error>;
}

/// The map, a window of which is mapped.
pub(super) struct Mapped {
    map: Array<MapData, FlowSet>,
    window: Option<NonNull<FlowSet>>,
}

// SAFETY: the mapping belongs to this value alone.
unsafe impl Send for Mapped {}

impl Sets for Mapped {
    fn window(&mut self, number: usize) -> Result<NonNull<FlowSet>, Error> {
        self.unmap();
        // SAFETY: a new mapping, at an address that the kernel chooses; the map is that big (aya checked
        // its definition against the object, which is built of the same types).
        let address = unsafe {
            mmap(
                std::ptr::null_mut(),
                WINDOW_BYTES,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                self.map.map().fd(),
                (number * WINDOW_BYTES) as u64,
            )
        }
        .map_err(|cause| Error::Flows(cause.into()))?;
        let sets = NonNull::new(address.cast()).ok_or(Error::Map("FLOWS"))?;
        self.window = Some(sets);
        Ok(sets)
    }
}

impl Mapped {
    fn unmap(&mut self) {
        if let Some(sets) = self.window.take() {
            // SAFETY: the mapping that `window` made; nothing borrows from it.
            let _ = unsafe { munmap(sets.as_ptr().cast(), WINDOW_BYTES) };
        }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        self.unmap();
    }
}

/// What is known of a line.
#[derive(Clone, Copy, Default)]
struct Known {
    /// The hash that was last seen there.
    hash: u64,
    /// What was told last, as one number: see [`mark`].
    told: Option<NonZero<u64>>,
    /// Second of boot time in which it was last seen to have grown, or was seen first; 0 for one that is
    /// free.
    grown: u32,
    /// See [`crate::event::FlowCount::life`].
    life: u32,
}

/// The lines.
pub(super) struct Table<S> {
    sets: S,
    /// The window that is there.
    window: Option<(usize, NonNull<FlowSet>)>,
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

// SAFETY: the window is that of the sets, and no less theirs.
unsafe impl<S: Send> Send for Table<S> {}

/// A line that can be looked at, and its hash. Programs change both.
#[derive(Clone, Copy)]
struct Place {
    hash: NonNull<u64>,
    line: NonNull<FlowLine>,
}

impl Place {
    /// A line of some sets.
    ///
    /// # Safety
    ///
    /// There are as many sets, and they stay while the place is used.
    unsafe fn of(sets: NonNull<FlowSet>, line: usize) -> Self {
        // SAFETY: within the array.
        unsafe {
            let set = sets.add(line / WAYS).as_ptr();
            Self {
                hash: NonNull::new_unchecked(&raw mut (*set).hashes[line % WAYS]),
                line: NonNull::new_unchecked(&raw mut (*set).flows[line % WAYS]),
            }
        }
    }

    fn hash(&self) -> &AtomicU64 {
        // SAFETY: aligned; programs, too, change it atomically only.
        unsafe { AtomicU64::from_ptr(self.hash.as_ptr()) }
    }

    /// A torn key is told by its hash; each count is one word.
    fn read(&self) -> FlowLine {
        // SAFETY: volatile, because the kernel writes there.
        unsafe { self.line.read_volatile() }
    }

    /// Its counts alone.
    fn count(&self) -> FlowCount {
        // SAFETY: as for `read`.
        unsafe { (&raw const (*self.line.as_ptr()).count).read_volatile() }
    }

    /// Adds to its counts, as the programs do.
    fn add(&self, count: &FlowCount) {
        // SAFETY: counts of the line, aligned; programs, too, only add to them atomically.
        unsafe {
            let into = &raw mut (*self.line.as_ptr()).count;
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

impl<S: Sets> Table<S> {
    fn new(sets: S, seed: u64) -> Self {
        Self {
            sets,
            window: None,
            seed,
            known: vec![Known::default(); LINES],
            taken: 0,
            tight: false,
            life: 0,
            leaving: Vec::new(),
        }
    }

    /// A line, to look at until the next one is asked for. It is cheap for those of one window in a row.
    fn place(&mut self, line: usize) -> Result<Place, Error> {
        let number = line / WINDOW_LINES;
        let sets = match self.window {
            Some((known, sets)) if known == number => sets,
            _ => {
                self.window = None;
                let sets = self.sets.window(number)?;
                self.window = Some((number, sets));
                sets
            }
        };
        // SAFETY: a line of the window.
        Ok(unsafe { Place::of(sets, line % WINDOW_LINES) })
    }

    /// The line that is known to have this hash; of several the first one, which programs find.
    fn find(&self, hash: u64) -> Option<usize> {
        places(hash).find(|&line| self.known[line].hash == hash)
    }

    /// Tells each flow that has counted since the last call, and gives up what is idle.
    fn changed(&mut self, now: u64, tell: &mut dyn FnMut(&FlowLine, u32)) -> Result<(), Error> {
        let now = u32::try_from(now / 1_000_000_000).unwrap_or(u32::MAX).max(1);
        let patience = self.patience();
        let mut taken = 0;
        let (mut idle, mut seconds) = (Vec::new(), Vec::new());
        for line in 0..LINES {
            let place = self.place(line)?;
            let hash = place.hash().load(Ordering::Acquire);
            if hash == 0 {
                continue;
            }
            taken += 1;
            if hash == GIVEN_UP {
                continue;
            }
            let count = place.count();
            let mark = mark(&count);
            let known = self.known[line];
            if known.grown == 0 {
                if place.read().key.hash(self.seed) != hash {
                    // It is just being written.
                    continue;
                }
                // Two CPUs took a line for it, see `insert` in the programs. Programs find the first one only.
                if let Some(other) = self.find(hash) {
                    let is_second =
                        places(hash).find(|&first| first == line || first == other) == Some(other);
                    if is_second {
                        seconds.push((line, other));
                    } else {
                        idle.push(other);
                    }
                    continue;
                }
                self.known[line] = Known {
                    hash,
                    told: None,
                    grown: now,
                    life: self.life,
                };
            }
            if known.told != mark {
                let known = &mut self.known[line];
                (known.told, known.grown) = (mark, now);
                let key = place.read().key;
                tell(&FlowLine { key, count }, known.life);
                continue;
            }
            let patience = match &patience {
                Some(patience) if count.segments == 0 => patience.flow,
                Some(patience) => patience.connection,
                None => continue,
            };
            if now.saturating_sub(known.grown) >= patience {
                idle.push(line);
            }
        }
        self.taken = taken;
        self.tight = taken > LINES / 4 * 3 || self.tight && taken > LINES / 2;
        idle.sort_unstable();
        idle.dedup();
        // What the second line counted is added to the first one, which must stay for that; else it is the flow's next life.
        let first_stays = |first: &usize| idle.binary_search(first).is_err();
        let seconds = seconds.into_iter().filter(|(_, first)| first_stays(first));
        let mut leaving: Vec<usize> = seconds.map(|(second, _)| second).collect();
        leaving.extend(idle);
        self.give_up(leaving)
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
    fn give_up(&mut self, lines: Vec<usize>) -> Result<(), Error> {
        if lines.is_empty() {
            return Ok(());
        }
        for &line in &lines {
            self.place(line)?.hash().store(GIVEN_UP, Ordering::SeqCst);
            self.known[line].hash = GIVEN_UP;
        }
        self.leaving = lines;
        self.life = self.life.saturating_add(1);
        Ok(())
    }

    /// Frees the lines that were given up. No program may have one of them by now: so that what is told of it
    /// here is all that it has counted, and that nothing will be counted in it but for the flow that takes it
    /// next. It is told before anything is of the flow's next life.
    fn free(&mut self, tell: &mut dyn FnMut(&FlowLine, u32)) -> Result<(), Error> {
        for line in std::mem::take(&mut self.leaving) {
            let place = self.place(line)?;
            let last = place.read();
            let known = std::mem::take(&mut self.known[line]);
            // SAFETY: a line that nobody else has.
            unsafe { place.line.write_volatile(FlowLine::default()) };
            place.hash().store(0, Ordering::Release);
            if known.told != mark(&last.count) {
                match self.find(last.key.hash(self.seed)) {
                    // It is the flow's second line, which was never told.
                    Some(first) if known.told.is_none() => self.place(first)?.add(&last.count),
                    _ => tell(&last, known.life),
                }
            }
        }
        Ok(())
    }
}

/// The lines that a flow with this hash may have, in the order in which programs look for it.
fn places(hash: u64) -> impl Iterator<Item = usize> {
    flow_sets(hash)
        .into_iter()
        .flat_map(|set| (0..WAYS).map(move |way| set as usize * WAYS + way))
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
mod tests;
