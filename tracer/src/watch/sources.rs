//! The sources that tell by themselves: started together, heard as one.

use std::io;
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{Capabilities, Options, without};
use crate::event::{Body, Capability, CapabilityState, Event};
use crate::node::source::{Source, Teller};
use crate::node::{Netns, clocks, config, journal, packages, systemd};

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
    /// The name of the capability of each, and what is not seen without it.
    running: Vec<(&'static str, &'static str, Source)>,
    /// Tells the source of the configuration which namespaces are watched.
    watched: Option<config::Watched>,
}

/// Sources that have been asked to end. When it is dropped they are waited for, which may take seconds on a busy machine: where
/// files were watched, the kernel waits until nobody can be looking at that any more (fsnotify_destroy_group). So what there is to
/// tell is told before.
#[derive(Debug)]
pub struct Ending {
    _sources: Sources,
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
        bpf: config::Bpf,
        now: u64,
        told: &mut Capabilities,
        tell: &mut dyn FnMut(Event),
    ) {
        let which = options.systemd.clone();
        let files = packages::Options::at(options.package_root.as_deref());
        let config = config::watched().map(|(watched, inbox)| -> Work {
            watched.set(namespaces.cloned().collect());
            self.watched = Some(watched);
            Box::new(move |teller| config::run(&inbox, bpf, teller))
        });
        let (wanted, mut units) = journal::wanted();
        let of_systemd = options.journal();
        let all: [(&'static str, &'static str, io::Result<Work>); 5] = [
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
                        self.running.push((name, lost, source));
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

    /// Asks all to end, at the same time.
    pub(super) fn end(mut self) -> Ending {
        // One may be waiting for room there.
        self.events.close();
        for (.., source) in &self.running {
            source.ask_to_end();
        }
        Ending { _sources: self }
    }

    /// Tells which namespaces are watched now.
    pub(super) fn watch<'a>(&self, namespaces: impl Iterator<Item = &'a Netns>) {
        if let Some(watched) = &self.watched {
            watched.set(namespaces.cloned().collect());
        }
    }

    /// All have said how they are.
    pub(super) fn have_told(&self, told: &Capabilities) -> bool {
        self.running.iter().all(|(name, ..)| told.has(name))
    }

    /// Tells that those are missing that have not said how they are, though they had so long. `remedy` goes behind it.
    pub(super) fn miss(
        &self,
        within: Duration,
        remedy: &str,
        now: u64,
        told: &mut Capabilities,
        tell: &mut dyn FnMut(Event),
    ) {
        for (name, lost, _) in &self.running {
            if told.has(name) {
                continue;
            }
            let within = if within < Duration::from_secs(1) {
                format!("{} ms", within.as_millis())
            } else {
                format!("{:.0} s", within.as_secs_f64())
            };
            let why = match *name {
                // It reads what systemd names, and nothing else keeps it from telling.
                journal::CAPABILITY => {
                    format!(
                        "the journal was not read: systemd did not tell within {within} what timers start"
                    )
                }
                name => format!("{name} did not answer within {within}"),
            };
            let missing = Capability {
                name: (*name).to_owned(),
                state: CapabilityState::Unavailable,
                why: format!("{why}{remedy}; {lost}"),
            };
            told.tell(now, missing, tell);
        }
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// Why nothing is known of systemd and its journal when the tracer ends before a bus that hangs is given up.
    fn missing(bus: &str, journal: Option<&str>) -> Vec<(String, String)> {
        let path = std::env::temp_dir().join(format!("tracer-hung-{bus}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let options = Options {
            systemd: systemd::Options {
                bus: Some(format!("unix:path={}", path.display()).parse().unwrap()),
                ..systemd::Options::default()
            },
            journal: journal.map(Into::into),
            without: [clocks::CAPABILITY, packages::CAPABILITY, config::CAPABILITY]
                .map(str::to_owned)
                .to_vec(),
            ..Options::default()
        };
        let (mut sources, mut told) = (Sources::new(), Capabilities::default());
        let none = std::iter::empty();
        sources.start_all(&options, none, config::Bpf::default(), 0, &mut told, &mut |_| {});
        // It is asked, and never answers.
        let asked = listener.accept().unwrap();
        if journal.is_none() {
            let event = sources.events.blocking_recv().unwrap();
            pass(event, &mut told, &mut |_| {});
        }
        assert!(!sources.have_told(&told));
        sources.miss(Duration::from_millis(3_020), "", 7, &mut told, &mut |event| {
            assert_eq!(event.at, 7);
        });
        assert!(sources.have_told(&told));
        drop(sources);
        drop(asked);
        std::fs::remove_file(&path).unwrap();
        let wanted = told.0.into_iter();
        wanted
            .filter(|one| !options.without.contains(&one.name))
            .inspect(|one| assert_eq!(one.state, CapabilityState::Unavailable))
            .map(|one| (one.name, one.why))
            .collect()
    }

    /// The first one ends only when the second one has, and both wait for room until nobody listens any more. That `end` returns says
    /// that it waits for none of them.
    #[test]
    fn sources_end_at_the_same_time_and_nobody_waits_for_them_yet() {
        let mut sources = Sources::new();
        let (ended, of_other) = std::sync::mpsc::channel();
        let (go, may_go) = std::sync::mpsc::channel();
        let full = |teller: &Teller| while teller.tell(Body::Tick).is_ok() {};
        let first = move |teller: &Teller| {
            full(teller);
            of_other.recv().unwrap();
        };
        let second = move |teller: &Teller| {
            full(teller);
            may_go.recv().unwrap();
            ended.send(()).unwrap();
        };
        let first = Source::start("first", sources.sender.clone(), first).unwrap();
        let second = Source::start("second", sources.sender.clone(), second).unwrap();
        sources.running = vec![("first", "", first), ("second", "", second)];
        let ending = sources.end();
        go.send(()).unwrap();
        drop(ending);
    }

    #[test]
    fn a_bus_that_hangs_is_missing_also_where_nobody_waits_until_it_is_given_up() {
        let told = missing("known", Some("/nonexistent"));
        let why = |name: &str| {
            let one = told.iter().find(|(of, _)| of == name);
            one.map(|(_, why)| why.as_str()).unwrap()
        };
        assert_eq!(
            why(systemd::CAPABILITY),
            format!("systemd did not answer within 3 s; {}", systemd::LOST)
        );
        let unread = "the journal was not read: systemd did not tell within 3 s what timers start; ";
        assert!(why(journal::CAPABILITY).starts_with(unread), "{told:?}");
        assert_eq!(told.len(), 2);
    }

    #[test]
    fn a_journal_that_is_not_known_is_not_waited_for() {
        let told = missing("unknown", None);
        let unknown = told.iter().any(|(name, why)| {
            name == journal::CAPABILITY && why.starts_with("the journal of that systemd is not known")
        });
        assert!(unknown, "{told:?}");
    }
}
