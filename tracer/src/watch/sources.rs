//! The sources that tell by themselves: started together, heard as one.

use std::io;

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{Capabilities, Options, without};
use crate::event::{Body, Capability, CapabilityState, Event};
use crate::node::source::{Source, Teller};
use crate::node::{Memory, Netns, clocks, config, journal, packages, systemd};

/// Events that wait at most: then their sources wait, and what they miss meanwhile they read again.
const WAITING: usize = 4096;

/// What a source does.
type Work = Box<dyn FnOnce(&Teller) + Send>;

/// The running sources.
#[derive(Debug)]
pub(super) struct Sources {
    // Before the threads, which may wait for room here: members are dropped in this order.
    events: Receiver<Event>,
    sender: Sender<Event>,
    running: Vec<(&'static str, Source)>,
    /// Tells the source of the configuration which namespaces are watched.
    watched: Option<config::Watched>,
}

impl Sources {
    pub(super) fn new() -> Self {
        let (sender, events) = channel(WAITING);
        Self {
            events,
            sender,
            running: Vec::new(),
            watched: None,
        }
    }

    /// Starts all sources that are not left out.
    pub(super) fn start_all<'a>(
        &mut self,
        options: &Options,
        namespaces: impl Iterator<Item = &'a Netns>,
        memory: Option<Memory>,
        now: u64,
        told: &mut Capabilities,
        tell: &mut dyn FnMut(Event),
    ) {
        let which = options.systemd.clone();
        let files = packages::Options::at(options.package_root.as_deref());
        let config = config::watched().map(|(watched, inbox)| -> Work {
            watched.set(namespaces.cloned().collect());
            self.watched = Some(watched);
            Box::new(move |teller| config::run(&inbox, memory, teller))
        });
        let (wanted, mut units) = journal::wanted();
        let of_systemd = options.journal();
        let all: [(&'static str, &str, io::Result<Work>); 5] = [
            (clocks::CAPABILITY, clocks::LOST, Ok(Box::new(clocks::run))),
            (
                systemd::CAPABILITY,
                systemd::LOST,
                Ok(Box::new(move |teller| systemd::run(teller, &which, &wanted))),
            ),
            (
                journal::CAPABILITY,
                journal::LOST,
                Ok(Box::new(move |teller| {
                    journal::run(&mut units, teller, &of_systemd);
                })),
            ),
            (
                packages::CAPABILITY,
                packages::LOST,
                Ok(Box::new(move |teller| packages::run(&files, teller))),
            ),
            (config::CAPABILITY, config::LOST, config),
        ];
        for (name, lost, work) in all {
            let missing = if without::is_left_out(&options.without, name) {
                without::left_out(name)
            } else {
                match work.and_then(|work| Source::start(name, self.sender.clone(), work)) {
                    Ok(source) => {
                        self.running.push((name, source));
                        continue;
                    }
                    Err(error) => Capability {
                        name: name.to_owned(),
                        state: CapabilityState::Unavailable,
                        why: format!("it cannot be started: {error}; {lost}"),
                    },
                }
            };
            told.tell(now, missing, tell);
        }
    }

    /// Tells which namespaces are watched now.
    pub(super) fn watch<'a>(&self, namespaces: impl Iterator<Item = &'a Netns>) {
        if let Some(watched) = &self.watched {
            watched.set(namespaces.cloned().collect());
        }
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
