//! `tracer node`: how the node stands beside its packets, without any BPF.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use tokio::time::{Instant, sleep_until};

use super::output::{columns, print_until_asked};
use super::stop::Stop;
use super::{COULD_NOT_RUN, Format, WatchArgs, duration};
use crate::diagnosis;
use crate::event::Event;
use crate::model::Model;
use crate::node::clocks;
use crate::report::{Capability, CapabilityState};
use crate::ui;
use crate::watch::{Beside, Ending, Options};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// How long to wait for a source that does not answer
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    wait: Duration,
    /// How to print: docs/node.md describes the JSON
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) async fn run(watch: &WatchArgs, arguments: &Arguments) -> Result<ExitCode> {
    let mut stop = Stop::listen()?;
    // Sources that are still ending are waited for when all is printed.
    let (model, _ending) = gather(
        &watch.options(),
        arguments.wait,
        "; wait longer (--wait)",
        &mut stop,
    )
    .await?;
    let report = diagnosis::node(&model);
    let text = match arguments.format {
        Format::Text => ui::text::node(&report, columns()),
        Format::Json => serde_json::to_string_pretty(&report)? + "\n",
    };
    print_until_asked(text, &mut stop).await?;
    Ok(if tells(&report.capabilities) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(COULD_NOT_RUN)
    })
}

/// Whether something could be asked. The clock says when the rest was seen, and nothing of how the node stands.
fn tells(capabilities: &[Capability]) -> bool {
    capabilities
        .iter()
        .filter(|one| one.name != clocks::CAPABILITY)
        .any(|one| one.state != CapabilityState::Unavailable)
}

/// What all sources beside the packets find, or those that answer within that time; of the others it is told with that
/// `remedy`.
pub(super) async fn gather(
    options: &Options,
    wait: Duration,
    remedy: &str,
    stop: &mut Stop,
) -> Result<(Model, Ending)> {
    let mut model = Model::new();
    let mut take = |event: Event| model.apply(&event);
    let mut beside = Beside::start(options, &mut take)?;
    let end = Instant::now() + wait;
    while !beside.has_told() {
        tokio::select! {
            biased;
            _ = stop.asked() => break,
            () = sleep_until(end) => break,
            () = beside.changed(&mut take) => {}
        }
    }
    let ending = beside.end(remedy, &mut take);
    Ok((model, ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_alone_tells_nothing_of_the_node() {
        let told = |all: &[(&str, CapabilityState)]| {
            let all = all.iter().map(|(name, state)| Capability {
                name: (*name).to_owned(),
                state: *state,
                why: String::new(),
            });
            tells(&all.collect::<Vec<_>>())
        };
        let clock = (clocks::CAPABILITY, CapabilityState::Available);
        assert!(!told(&[clock, ("systemd", CapabilityState::Unavailable)]));
        assert!(told(&[clock, ("systemd", CapabilityState::Partial)]));
    }
}
