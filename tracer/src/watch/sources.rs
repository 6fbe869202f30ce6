//! The sources that tell by themselves: started together, heard as one.

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{Capabilities, Options};
use crate::event::{Body, Capability, CapabilityState, Event};
use crate::node::source::{Source, Teller};
use crate::node::{clocks, packages, systemd};

/// Events that wait at most: then their sources wait, and what they miss meanwhile they read again.
const WAITING: usize = 4096;

/// The capabilities of all sources.
pub(super) const CAPABILITIES: [&str; 3] = [clocks::CAPABILITY, systemd::CAPABILITY, packages::CAPABILITY];

/// What a source does.
type Work = Box<dyn FnOnce(&Teller) + Send>;

/// The running sources.
#[derive(Debug)]
pub(super) struct Sources {
    // Before the threads, which may wait for room here: members are dropped in this order.
    events: Receiver<Event>,
    sender: Sender<Event>,
    running: Vec<(&'static str, Source)>,
}

impl Sources {
    pub(super) fn new() -> Self {
        let (sender, events) = channel(WAITING);
        Self {
            events,
            sender,
            running: Vec::new(),
        }
    }

    /// Starts all sources that are not left out.
    pub(super) fn start_all(
        &mut self,
        options: &Options,
        now: u64,
        told: &mut Capabilities,
        tell: &mut dyn FnMut(Event),
    ) {
        let mut start = |name: &'static str, lost: &str, work: Work| {
            let why = if options.without.iter().any(|without| without == name) {
                "left out by --without".to_owned()
            } else {
                match Source::start(name, self.sender.clone(), work) {
                    Ok(source) => {
                        self.running.push((name, source));
                        return;
                    }
                    Err(error) => format!("its thread cannot be started: {error}"),
                }
            };
            let capability = Capability {
                name: name.to_owned(),
                state: CapabilityState::Unavailable,
                why: format!("{why}; {lost}"),
            };
            told.tell(now, capability, tell);
        };
        start(clocks::CAPABILITY, clocks::LOST, Box::new(clocks::run));
        let which = options.systemd.clone();
        start(
            systemd::CAPABILITY,
            systemd::LOST,
            Box::new(move |teller| systemd::run(teller, &which)),
        );
        let files = packages::Options::node();
        start(
            packages::CAPABILITY,
            packages::LOST,
            Box::new(move |teller| packages::run(&files, teller)),
        );
    }

    /// Names of those that run, as of their capabilities.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.running.iter().map(|(name, _)| *name)
    }

    /// Waits for the next event.
    pub(super) async fn next(&mut self) -> Event {
        match self.events.recv().await {
            Some(event) => event,
            // It cannot end: one sender is kept here.
            None => std::future::pending().await,
        }
    }

    /// Tells what has come.
    pub(super) fn drain(&mut self, told: &mut Capabilities, tell: &mut dyn FnMut(Event)) {
        // No more than may wait: a source that never stops must not stop the rest.
        for _ in 0..WAITING {
            let Ok(event) = self.events.try_recv() else {
                return;
            };
            pass(event, told, tell);
        }
    }
}

/// Tells an event, unless it says nothing new.
pub(super) fn pass(event: Event, told: &mut Capabilities, tell: &mut dyn FnMut(Event)) {
    match event.body {
        Body::Capability(capability) => told.tell(event.at, capability, tell),
        _ => tell(event),
    }
}
