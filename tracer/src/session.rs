//! Sources, model and recording, run together: what every live command does.

use std::path::Path;

use anyhow::Result;

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
    On(trace::Writer),
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
    fn take(&mut self, event: &Event) {
        self.model.apply(event);
        if let Recording::On(writer) = &mut self.recording
            && let Err(error) = writer.write(event)
        {
            // A full disk must not end the diagnosis.
            self.tell_failure(event.at, &error);
            self.recording = Recording::Failed(error);
        }
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
        let recording = match record {
            Some(path) => Recording::On(trace::Writer::create(path)?),
            None => Recording::Off,
        };
        let mut state = State {
            model: Model::new(),
            recording,
        };
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
            Recording::On(writer) => writer.finish().err(),
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
