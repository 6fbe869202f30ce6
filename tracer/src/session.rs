//! Sources, model and recording, run together: what every live command does.

use std::path::Path;

use anyhow::{Context, Result};

use crate::beacon::{Beacon, Target};
use crate::diagnosis::{Diagnosis, Standing};
use crate::event::{Body, Capability, CapabilityState, Event};
use crate::model::Model;
use crate::node;
use crate::trace;
use crate::watch::{Ending, Options, Watch};

/// So long a node is healthy until what stands on it is taken for what is well: 30 s.
const WELL: u64 = 30_000_000_000;
/// The configuration has not changed for so long by then, or for as long once more it did all the time: a fault is seen only some
/// time after the change that brought it about.
const SETTLED: u64 = 5_000_000_000;
/// The capability that the recording goes on. Told only where it does not.
pub(crate) const RECORDING: &str = "recording";

/// A running tracer.
pub struct Session {
    watch: Watch,
    state: State,
}

/// What events go into.
struct State {
    diagnosis: Diagnosis,
    recording: Recording,
    /// Tells changes of the verdict to who reads logs, where that is asked for.
    beacon: Option<Beacon>,
    /// Since when the node has been healthy, or when it was last told to be well, in boot time.
    healthy: Option<u64>,
}

/// Where events are kept.
enum Recording {
    /// Nobody asked for it.
    Off,
    On(Box<Recorder>),
    /// It ended before the session did.
    Failed(trace::Error),
}

/// A recording that goes on.
struct Recorder {
    writer: trace::Writer,
    /// How the verdicts stood when the recording was last synced for them.
    synced: Option<Standing>,
    /// Events that no block can hold, and what was said of the last one.
    left_out: Option<(u64, trace::Error)>,
}

/// How a session ended.
pub struct Ended {
    /// What was known at the end.
    pub diagnosis: Diagnosis,
    /// Why the recording is not whole, `None` where it is or nobody asked for one.
    pub unrecorded: Option<trace::Error>,
    /// Sources that may still be ending.
    pub ending: Ending,
}

impl State {
    fn new(record: Option<&Path>) -> Result<Self, trace::Error> {
        Ok(Self {
            diagnosis: Diagnosis::new(),
            recording: match record {
                Some(path) => Recording::On(Box::new(Recorder {
                    writer: trace::Writer::create(path)?,
                    synced: None,
                    left_out: None,
                })),
                None => Recording::Off,
            },
            beacon: None,
            healthy: None,
        })
    }

    fn take(&mut self, event: &Event) {
        self.keep(event);
        if event.body == Body::Tick {
            self.tick(event.at);
        }
    }

    /// All counts of a round are told: the verdicts may have changed.
    fn tick(&mut self, at: u64) {
        let now = self.diagnosis.standing().cloned();
        if now.as_ref().is_some_and(Standing::is_healthy) {
            let since = *self.healthy.get_or_insert(at);
            let (well, model) = (at.saturating_sub(since), self.diagnosis.model());
            if well >= WELL && model.holds() && (model.is_settled(SETTLED) || well >= 2 * WELL) {
                self.healthy = Some(at);
                self.keep(&Event {
                    at,
                    body: Body::Baseline,
                });
            }
        } else {
            self.healthy = None;
        }
        if let Err(error) = self.sync(now) {
            self.fail(at, error);
        }
        let changed = self
            .beacon
            .as_mut()
            .and_then(|beacon| beacon.tick(&self.diagnosis));
        self.tell(at, changed);
    }

    /// Keeps what is told of a capability, if anything is.
    fn tell(&mut self, at: u64, changed: Option<Capability>) {
        if let Some(capability) = changed {
            self.keep(&Event {
                at,
                body: Body::Capability(capability),
            });
        }
    }

    fn keep(&mut self, event: &Event) {
        self.diagnosis.apply(event);
        let failed = match self.record(event) {
            Err(error) if is_about_one(event, &error) => self.leave_out(event.at, error),
            done => done,
        };
        if let Err(error) = failed {
            self.fail(event.at, error);
        }
    }

    /// The recording ends. A full disk must not end the diagnosis.
    fn fail(&mut self, at: u64, error: trace::Error) {
        self.diagnosis
            .apply(&told(at, CapabilityState::Unavailable, error.to_string()));
        self.recording = Recording::Failed(error);
    }

    /// An event is not in the recording, which goes on, and says so itself.
    fn leave_out(&mut self, at: u64, error: trace::Error) -> Result<(), trace::Error> {
        let Recording::On(recorder) = &mut self.recording else {
            return Ok(());
        };
        let number = recorder.left_out.as_ref().map_or(1, |(before, _)| before + 1);
        let events = if number == 1 { "event is" } else { "events are" };
        let event = told(
            at,
            CapabilityState::Partial,
            format!("{number} {events} not in it: {error}"),
        );
        recorder.left_out = Some((number, error));
        self.diagnosis.apply(&event);
        recorder.writer.write(&event)
    }

    fn record(&mut self, event: &Event) -> Result<(), trace::Error> {
        let Recording::On(recorder) = &mut self.recording else {
            return Ok(());
        };
        recorder.writer.write(event)
    }

    /// Sees to it that a change of the verdicts is on the disk: a machine that loses its network may lose its power next.
    fn sync(&mut self, now: Option<Standing>) -> Result<(), trace::Error> {
        let Recording::On(recorder) = &mut self.recording else {
            return Ok(());
        };
        if recorder.synced != now {
            recorder.writer.sync_soon()?;
            recorder.synced = now;
        }
        Ok(())
    }
}

/// Whether the error costs no more than this event. Without its start a recording cannot be read.
fn is_about_one(event: &Event, error: &trace::Error) -> bool {
    matches!(error, trace::Error::TooLong { .. }) && !matches!(event.body, Body::Start(_))
}

/// What became of the recording.
fn told(at: u64, state: CapabilityState, why: String) -> Event {
    Event {
        at,
        body: Body::Capability(Capability {
            name: RECORDING.to_owned(),
            state,
            why,
        }),
    }
}

impl Session {
    /// Starts to watch, and to record where `record` names a file.
    ///
    /// # Errors
    ///
    /// Where nothing could be seen at all, or the file cannot be made.
    pub fn start(options: &Options, record: Option<&Path>) -> Result<Self> {
        let mut state = State::new(record)?;
        let started = Watch::start(options, &mut |event| state.take(&event));
        if let (Err(_), Some(path)) = (&started, record) {
            // Nothing was seen: an empty recording would only stand in the way of the next try.
            let _ = std::fs::remove_file(path);
        }
        Ok(Self {
            watch: started?,
            state,
        })
    }

    /// Tells changes of the verdict there too.
    ///
    /// # Errors
    ///
    /// Where there is no thread to do it with.
    pub fn shine(&mut self, target: &Target) -> Result<()> {
        let beacon = Beacon::new(target.clone())
            .context("no thread for --beacon; raise the limit on processes, or leave it out")?;
        self.state.beacon = Some(beacon);
        Ok(())
    }

    /// Takes in all that has come since the last round.
    ///
    /// # Errors
    ///
    /// Where the kernel no longer hands over the counts.
    pub fn round(&mut self) -> Result<()> {
        let state = &mut self.state;
        self.watch.round(&mut |event| state.take(&event))
    }

    /// Waits until something on the node has changed, and takes it in. Ends by itself only then; it may be given up at
    /// any time without loss.
    pub async fn changed(&mut self) {
        let state = &mut self.state;
        self.watch.changed(&mut |event| state.take(&event)).await;
    }

    /// What is known after the last round.
    #[must_use]
    pub fn diagnosis(&self) -> &Diagnosis {
        &self.state.diagnosis
    }

    /// What the sources have told until then.
    #[must_use]
    pub fn model(&self) -> &Model {
        self.state.diagnosis.model()
    }

    /// Takes in all that has come until now, asks the sources to end and ends the recording.
    ///
    /// # Errors
    ///
    /// Where the kernel no longer hands over the counts.
    pub fn finish(self) -> Result<Ended> {
        let Self { watch, mut state } = self;
        let ending = watch.finish(&mut |event| state.take(&event))?;
        let at = node::clock::boottime_ns();
        let changed = state
            .beacon
            .take()
            .and_then(|beacon| beacon.finish(&state.diagnosis));
        state.tell(at, changed);
        state.take(&Event { at, body: Body::Stop });
        let recording = std::mem::replace(&mut state.recording, Recording::Off);
        let unrecorded = match recording {
            Recording::Off => None,
            Recording::On(recorder) => match recorder.writer.finish() {
                Ok(()) => recorder.left_out.map(|(_, error)| error),
                Err(error) => {
                    state
                        .diagnosis
                        .apply(&told(at, CapabilityState::Unavailable, error.to_string()));
                    Some(error)
                }
            },
            // It was told when it failed.
            Recording::Failed(error) => Some(error),
        };
        Ok(Ended {
            diagnosis: state.diagnosis,
            unrecorded,
            ending,
        })
    }

    /// The running sources.
    #[must_use]
    pub fn watch(&self) -> &Watch {
        &self.watch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Device, Entry, EntryKey, Fate, Protocol, Seen, Setting, Start, Thing};

    fn start() -> Body {
        Body::Start(Start {
            tracer: "0".to_owned(),
            kernel: "0".to_owned(),
            host: "node".to_owned(),
            boot_id: String::new(),
            wall_offset: 0,
            namespaces: Vec::new(),
        })
    }

    fn arrived(packets: u64) -> Body {
        Body::Entry(Entry {
            key: EntryKey {
                fate: Fate::Arrived,
                netns: 1,
                iif: 2,
                device: 2,
                ethertype: 0x0800,
                protocol: Protocol::Tcp,
                reason: None,
                location: None,
                socket_found: false,
                incoming: true,
                matched: false,
                piece: false,
            },
            packets,
            bytes: packets,
        })
    }

    fn uplink() -> Body {
        Body::Device(Device {
            netns: 1,
            index: 2,
            name: "eth0".to_owned(),
            uplink: true,
            addresses: Vec::new(),
            over: Vec::new(),
            assumed: false,
            peer: None,
        })
    }

    /// A state with a recording in a folder that the test removes.
    fn recorded(name: &str) -> (State, std::path::PathBuf) {
        let path = std::env::temp_dir().join(format!("tracer-session-{}-{name}", std::process::id()));
        (State::new(Some(&path)).unwrap(), path)
    }

    #[test]
    fn a_change_of_the_verdict_is_synced_and_nothing_else() {
        let (mut state, path) = recorded("sync");
        let mut syncs = Vec::new();
        let rounds = [
            vec![start(), uplink()],
            vec![],
            vec![arrived(1)],
            vec![arrived(2)],
            vec![],
        ];
        for (at, round) in (1..).zip(rounds) {
            for body in round.into_iter().chain([Body::Tick]) {
                let before = synced(&state);
                state.take(&Event { at, body });
                if synced(&state) != before {
                    syncs.push(at);
                }
            }
        }
        std::fs::remove_file(path).unwrap();
        // The beginning; and from unknown to healthy.
        assert_eq!(syncs, [1, 3]);
    }

    #[test]
    fn an_event_that_no_block_can_hold_costs_only_itself() {
        let (mut state, path) = recorded("long");
        let long = Body::Device(Device {
            netns: 1,
            index: 3,
            name: "x".repeat(5 << 20),
            uplink: false,
            addresses: Vec::new(),
            over: Vec::new(),
            assumed: false,
            peer: None,
        });
        for body in [
            start(),
            uplink(),
            long.clone(),
            long,
            arrived(1),
            Body::Tick,
            Body::Stop,
        ] {
            state.take(&Event { at: 1, body });
        }
        let why = |model: &Model| {
            let found = model
                .capabilities()
                .iter()
                .find(|known| known.name == "recording");
            let found = found.unwrap();
            assert_eq!(found.state, CapabilityState::Partial);
            found.why.clone()
        };
        assert!(
            why(state.diagnosis.model()).starts_with("2 events are not in it: "),
            "{}",
            why(state.diagnosis.model())
        );
        drop(state.recording);
        let mut replayed = Model::new();
        for event in trace::Reader::open(&path).unwrap() {
            replayed.apply(&event.unwrap());
        }
        std::fs::remove_file(path).unwrap();
        assert_eq!(why(&replayed), why(state.diagnosis.model()));
        assert_eq!(replayed.totals().ledger.arrived, 1);
    }

    /// The seconds at which a baseline is taken, of these.
    fn baselines(state: &mut State, told: impl Iterator<Item = (u64, Body)>) -> Vec<u64> {
        let mut taken = Vec::new();
        for (second, body) in told {
            let at = second * 1_000_000_000;
            let before = state.diagnosis.model().settings().since();
            state.take(&Event { at, body });
            if state.diagnosis.model().settings().since() != before {
                taken.push(second);
            }
        }
        taken
    }

    #[test]
    fn a_node_that_is_healthy_for_long_is_well_each_time_anew() {
        let (mut state, path) = recorded("well");
        let rounds = [start(), uplink(), arrived(1), Body::Tick]
            .map(|body| (0, body))
            .into_iter()
            .chain((1..=70).map(|second| (second, Body::Tick)));
        let baselines = baselines(&mut state, rounds);
        std::fs::remove_file(path).unwrap();
        assert_eq!(baselines, [30, 60]);
    }

    /// A route goes when a new baseline is due, and the fault is seen later.
    #[test]
    fn what_changed_just_now_is_not_taken_for_well() {
        let (mut state, path) = recorded("settled");
        let changed = |second: u64| {
            let thing = Thing::Sysctl {
                name: "net.ipv4.ip_forward".to_owned(),
            };
            let setting = Setting {
                netns: 1,
                thing,
                value: Some(second.to_string()),
                seen: Seen::Told,
                by: None,
                by_unknown: None,
            };
            (second, Body::Setting(Box::new(setting)))
        };
        let begin = [start(), uplink(), arrived(1), Body::Tick].map(|body| (0, body));
        let churns = |second: u64| second == 29 || (50..110).contains(&second);
        let later = (1..=130).flat_map(|second| {
            let change = churns(second).then(|| changed(second));
            change.into_iter().chain([(second, Body::Tick)])
        });
        let baselines = baselines(&mut state, begin.into_iter().chain(later));
        std::fs::remove_file(path).unwrap();
        assert_eq!(baselines, [34, 94, 124]);
    }

    fn synced(state: &State) -> Option<Standing> {
        match &state.recording {
            Recording::On(recorder) => recorder.synced.clone(),
            _ => panic!("it does not record"),
        }
    }
}
