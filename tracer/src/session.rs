//! Sources, model and recording, run together: what every live command does.

use std::path::Path;

use anyhow::Result;

use crate::diagnosis;
use crate::event::{Body, Capability, CapabilityState, Event};
use crate::model::Model;
use crate::node;
use crate::report::Report;
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
    recorder: Option<trace::Writer>,
}

impl State {
    fn take(&mut self, event: &Event) {
        self.model.apply(event);
        let Some(recorder) = &mut self.recorder else {
            return;
        };
        if let Err(error) = recorder.write(event) {
            // A full disk must not end the diagnosis: the recording ends, and the screen says so.
            self.recorder = None;
            self.model.apply(&Event {
                at: event.at,
                body: Body::Capability(Capability {
                    name: "recording".to_owned(),
                    state: CapabilityState::Unavailable,
                    why: error.to_string(),
                }),
            });
        }
    }
}

impl Session {
    /// Starts to watch, and to record where `record` names a file.
    ///
    /// # Errors
    ///
    /// Where nothing could be seen at all, or the file cannot be made.
    pub fn start(options: &Options, record: Option<&Path>) -> Result<Self> {
        let recorder = record.map(trace::Writer::create).transpose()?;
        let mut state = State {
            model: Model::new(),
            recorder,
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

    /// The picture after the last round.
    #[must_use]
    pub fn report(&self) -> Report {
        diagnosis::report(&self.state.model)
    }

    /// Ends the recording. The sources are detached.
    ///
    /// # Errors
    ///
    /// Where the end of the recording cannot be written.
    pub fn finish(mut self) -> Result<()> {
        self.state.take(&Event {
            at: node::clock::boottime_ns(),
            body: Body::Stop,
        });
        if let Some(recorder) = self.state.recorder {
            recorder.finish()?;
        }
        Ok(())
    }

    /// The running sources.
    #[must_use]
    pub fn watch(&self) -> &Watch {
        &self.watch
    }
}
