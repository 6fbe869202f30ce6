//! The faces: everything here turns an immutable [`crate::report::Report`] into something to read.
//!
//! * [`screen`] owns the terminal, [`render`] draws on it, [`view`] is what the reader has chosen
//!   to look at, [`keys`] brings the keys;
//! * [`plain`] writes blocks of text;
//! * [`text`] writes the page of `tracer diagnose`.
//!
//! What all three say is said once: [`mod@format`] for numbers, [`words`] and [`told`] for sentences,
//! [`ledger`] for the books, [`tables`] for drops and flows, [`details`] for verdicts, `episodes` for when the network was
//! broken, `changes` for what changed, `news` for what of it is new.

mod actor;
mod audit;
mod changes;
pub mod details;
mod episodes;
pub mod explain;
pub mod format;
pub mod help;
pub mod keys;
pub mod ledger;
mod limits;
mod news;
mod node;
pub mod plain;
pub mod render;
#[cfg(test)]
pub(crate) mod sample;
pub mod screen;
mod settings;
pub mod table;
pub mod tables;
pub mod text;
pub mod theme;
mod timeline;
mod timers;
pub mod told;
mod units;
mod upgrades;
pub mod view;
pub mod words;
