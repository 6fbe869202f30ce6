//! The model and the diagnosis, told small stories as the sources tell them.

#![allow(clippy::unwrap_used, reason = "a test that fails is to show where")]

mod bounds;
mod faults;
mod flows;
mod ledger;
mod lookalikes;
mod properties;
mod report;
mod story;
