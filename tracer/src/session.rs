//! Sources, model and recording, run together: what every live command does.

use std::path::Path;

use anyhow::Result;

use crate::diagnosis::{Standing, standing};
use crate::event::{Body, Capability, CapabilityState, Event};
use crate::model::Model;
use crate::node;
use crate::trace;
use crate::watch::{Options, Watch};

/// A running tracer.
pub struct Session {
    watch: Watch,
    state: State,
}

/// What events go into.
struct State {
    model: Model,
    recording: Recording,
}

/// Where events are kept.
enum Recording {
    /// Nobody asked for it.
    Off,
    On {
        writer: trace::Writer,
        /// How the verdicts stood when the recording was last synced for them.
        synced: Option<Standing>,
    },
    /// It ended before the session did.
    Failed(trace::Error),
}

/// How a session ended.
pub struct Ended {
    /// What was known at the end.
    pub model: Model,
    /// Why the recording is not whole, `None` where it is or nobody asked for one.
    pub unrecorded: Option<trace::Error>,
}

impl State {
    fn new(record: Option<&Path>) -> Result<Self, trace::Error> {
        Ok(Self {
            model: Model::new(),
            recording: match record {
                Some(path) => Recording::On {
                    writer: trace::Writer::create(path)?,
                    synced: None,
                },
                None => Recording::Off,
            },
        })
    }

    fn take(&mut self, event: &Event) {
        self.model.apply(event);
        if let Err(error) = self.record(event) {
            // A full disk must not end the diagnosis.
            self.tell_failure(event.at, &error);
            self.recording = Recording::Failed(error);
        }
    }

    fn record(&mut self, event: &Event) -> Result<(), trace::Error> {
        let Recording::On { writer, synced } = &mut self.recording else {
            return Ok(());
        };
        writer.write(event)?;
        if event.body == Body::Tick {
            // A machine that loses its network may lose its power next.
            let now = Some(standing(&self.model));
            if *synced != now {
                writer.sync_soon()?;
                *synced = now;
            }
        }
        Ok(())
    }

    fn tell_failure(&mut self, at: u64, error: &trace::Error) {
        self.model.apply(&Event {
            at,
            body: Body::Capability(Capability {
                name: "recording".to_owned(),
                state: CapabilityState::Unavailable,
                why: error.to_string(),
            }),
        });
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

    /// Takes in all that has come since the last round.
    ///
    /// # Errors
    ///
    /// Where the kernel no longer hands over the counts.
    pub fn round(&mut self) -> Result<()> {
        let state = &mut self.state;
        self.watch.round(&mut |event| state.take(&event))
    }

    /// What is known after the last round.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.state.model
    }

    /// Detaches the sources and ends the recording. What comes after the last round is not counted.
    #[must_use]
    pub fn finish(self) -> Ended {
        let Self { watch, mut state } = self;
        drop(watch);
        let at = node::clock::boottime_ns();
        state.take(&Event { at, body: Body::Stop });
        let recording = std::mem::replace(&mut state.recording, Recording::Off);
        let unrecorded = match recording {
            Recording::Off => None,
            Recording::On { writer, .. } => writer.finish().err(),
            Recording::Failed(error) => Some(error),
        };
        if let Some(error) = &unrecorded {
            state.tell_failure(at, error);
        }
        Ended {
            model: state.model,
            unrecorded,
        }
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
    use crate::event::{Device, Entry, EntryKey, Fate, Protocol, Start};

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

    fn synced(state: &State) -> Option<Standing> {
        match &state.recording {
            Recording::On { synced, .. } => synced.clone(),
            _ => panic!("it does not record"),
        }
    }
}
