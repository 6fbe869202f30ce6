//! `cargo xtask bench`: what the tracer costs, under the lab's traffic, against what was promised.
//!
//! Four parts measure: [`cost`] the tracer itself, [`side`] what is left of traffic under it and under other tools, [`node`]
//! what is watched beside the packets, [`rules`] how long the verdicts take. All that they find is in one [`report::Report`], which is printed as tables or as JSON.

mod cost;
mod lab_run;
mod load;
mod moments;
mod node;
mod proc;
mod programs;
mod report;
mod rules;
mod side;
mod text;
mod told;
mod tool;

use anyhow::{Context, Result, bail};

use crate::{
    build::{self, Profile},
    lab, process,
};
use report::Report;

/// A part of what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// What the tracer itself costs: its programs, start, verdict, memory
    Cost,
    /// Traffic and a storm of drops with no tool, the tracer, bpftrace, perf and tcpdump
    Side,
    /// What watching the rest of the node costs, and how late its changes are known
    Node,
    /// How long it takes to ask all rules over 100,000 flows
    Rules,
}

/// How the report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Tables, for people
    Text,
    /// One document with each pair of turns as well, for programs
    Json,
}

/// Measures, prints what was found, and returns 1 where a bound is missed.
///
/// # Errors
/// If something cannot be measured.
pub(crate) fn main(only: Option<Part>, format: Format) -> Result<u8> {
    if !process::is_root()? {
        bail!("bench: makes network namespaces and loads BPF programs, which needs root; run it by sudo");
    }
    build::bpf()?;
    let tracer = build::tracer(Profile::Release)?;
    let measures = |part| only.is_none_or(|only| only == part);
    let cost = measures(Part::Cost).then(|| cost::measure(&lab::program()?, &tracer));
    let cost = cost.transpose()?;
    let side = measures(Part::Side).then(|| side::measure(&lab::fast_program()?, &tracer));
    let side = side.transpose()?;
    let node = measures(Part::Node).then(|| node::measure(&tracer));
    let rules = measures(Part::Rules).then(rules::measure);
    let report = Report::new(cost, side, node.transpose()?, rules.transpose()?);
    match format {
        Format::Text => print!("{report}"),
        Format::Json => println!(
            "{}",
            serde_json::to_string_pretty(&report).context("bench: the report is no JSON")?
        ),
    }
    Ok(u8::from(!report.kept))
}
