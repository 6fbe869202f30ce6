//! From the kernel's own messages to what must hold, in the namespace of the tests: that takes no privileges.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::{channel, error::TryRecvError};
use tracer::diagnosis;
use tracer::event::Body;
use tracer::model::Model;
use tracer::node::Netns;
use tracer::node::config;
use tracer::node::source::Source;
use tracer::report::InvariantState;

/// How long the source may take to tell what stands.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn what_the_kernel_tells_of_loopback_is_what_must_hold() {
    let (watched, inbox) = config::watched().unwrap();
    watched.set(vec![Netns::current().unwrap()]);
    let (sender, mut events) = channel(1 << 16);
    let _source = Source::start("test", sender, move |teller| {
        config::run(&inbox, config::Bpf::default(), teller)
    })
    .unwrap();
    let mut model = Model::new();
    let deadline = Instant::now() + PATIENCE;
    loop {
        match events.try_recv() {
            Ok(event) => {
                model.apply(&event);
                // It follows what was found.
                if matches!(&event.body, Body::Capability(capability) if capability.name == config::CAPABILITY)
                {
                    break;
                }
            }
            Err(TryRecvError::Empty) if Instant::now() < deadline => std::thread::yield_now(),
            Err(error) => panic!("nothing is told: {error}"),
        }
    }
    let all = diagnosis::node(&model).node.invariants;
    for object in [
        "IPv4 rule to table local",
        "local route of 127.0.0.1 on lo",
        "kernel's answer for 127.0.0.1 from lo",
    ] {
        let state = all.iter().find(|one| one.object == object).map(|one| one.state);
        assert_eq!(state, Some(InvariantState::Holds), "{object}: {all:?}");
    }
    // Closed before the source is asked to end.
    drop(events);
}
