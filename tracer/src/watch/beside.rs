//! The node beside its packets: the sources that need no BPF, without the others.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;

use super::sources::{self, Ending, Sources};
use super::{Capabilities, Options, watched, without};
use crate::event::{Body, Capability, CapabilityState, Event};
use crate::node::config::Bpf;
use crate::node::{self, Netns, chains, config, journal};

/// Namespaces of which the rules of firewalls are read, at most, and how many connections they track.
const FEW: usize = 16;

/// The running sources.
pub struct Beside {
    sources: Sources,
    told: Capabilities,
    /// When they began, in boot time in ns.
    began: u64,
    /// Those that have said only how far they are.
    busy: BTreeSet<String>,
}

impl Beside {
    /// Starts them.
    ///
    /// # Errors
    /// Where a namespace is not there, or an option names nothing.
    pub fn start(options: &Options, tell: &mut dyn FnMut(Event)) -> Result<Self> {
        without::check(&options.without)?;
        let (namespaces, _) = watched(options)?;
        let at = node::clock::boottime_ns();
        tell(Event {
            at,
            body: Body::Start(node::start(&namespaces)),
        });
        let mut told = Capabilities::default();
        let mut sources = Sources::new();
        sources.start_all(options, namespaces.iter(), Bpf::default(), at, &mut told, tell);
        if !without::is_left_out(&options.without, config::CAPABILITY) {
            for setting in namespaces.iter().take(FEW).filter_map(node::counters::tracked) {
                let body = Body::Setting(Box::new(setting));
                tell(Event { at, body });
            }
        }
        told.tell(at, droppers(options, &namespaces, at, tell), tell);
        Ok(Self {
            sources,
            told,
            began: at,
            busy: BTreeSet::new(),
        })
    }

    /// All sources have told how things stand, or why they cannot.
    #[must_use]
    pub fn has_told(&self) -> bool {
        self.sources.have_told(&self.told) && self.busy.is_empty()
    }

    /// Waits until a source tells something, and tells all that has come.
    pub async fn changed(&mut self, tell: &mut dyn FnMut(Event)) {
        let first = self.sources.next().await;
        let Self {
            sources, told, busy, ..
        } = self;
        let mut listen = |event: Event| {
            if let Body::Capability(capability) = &event.body {
                if journal::is_being_read(capability) {
                    busy.insert(capability.name.clone());
                } else {
                    busy.remove(&capability.name);
                }
            }
            tell(event);
        };
        sources::pass(first, told, &mut listen);
        sources.drain(told, &mut listen);
    }

    /// Ends the sources. One that has not told anything is said to be missing; `remedy` goes behind that.
    pub fn end(mut self, remedy: &str, tell: &mut dyn FnMut(Event)) -> Ending {
        self.sources.drain(&mut self.told, tell);
        let at = node::clock::boottime_ns();
        let within = Duration::from_nanos(at.saturating_sub(self.began));
        self.sources.miss(within, remedy, at, &mut self.told, tell);
        tell(Event { at, body: Body::Tick });
        self.sources.end()
    }
}

/// Tells the rules of firewalls that can drop. Returns how that went.
fn droppers(options: &Options, namespaces: &[Netns], at: u64, tell: &mut dyn FnMut(Event)) -> Capability {
    if without::is_left_out(&options.without, chains::CAPABILITY) {
        return without::left_out(chains::CAPABILITY);
    }
    let mut why = Vec::new();
    for netns in namespaces.iter().take(FEW) {
        match node::droppers::read(netns) {
            Ok(found) => {
                if let Some(droppers) = found {
                    let body = Body::Droppers(droppers);
                    tell(Event { at, body });
                }
            }
            Err(error) => why.push(format!(
                "In network namespace `{}` it is not seen which rules of nf_tables have dropped packets: {error}; run \
                 tracer as root (CAP_NET_ADMIN).",
                netns.name()
            )),
        }
    }
    let told = why.len();
    why.truncate(1);
    if told > 1 {
        why.push(format!("And {} more of this kind.", told - 1));
    }
    if namespaces.len() > FEW {
        why.push(format!(
            "The rules of nf_tables of {FEW} network namespaces are read, and no others."
        ));
    }
    Capability {
        name: chains::CAPABILITY.to_owned(),
        state: if why.is_empty() {
            CapabilityState::Available
        } else {
            CapabilityState::Partial
        },
        why: why.join(" "),
    }
}
