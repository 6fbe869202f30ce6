//! Shows packets that reach a node and never reach a socket, and says why.
//!
//! Sources ([`probe`], [`node`]) say [`event::Event`]s; [`model`] and [`diagnosis`] turn them into a
//! [`report::Report`]; the faces ([`ui`], [`cli`]) show that. See docs/architecture.md.

pub mod event;
pub mod filter;
pub mod report;
pub mod ui;
