//! Shows packets that reach a node and never reach a socket, and says why.
//!
//! Sources ([`probe`], [`node`]) say [`event::Event`]s; [`model`] and [`diagnosis`] turn them into a
//! [`report::Report`]; the faces ([`ui`], [`cli`]) show that. [`audit`] judges a
//! node by its files alone. See docs/architecture.md.

pub mod audit;
pub mod beacon;
pub mod cli;
pub mod diagnosis;
pub mod event;
pub mod filter;
pub mod model;
pub mod near;
pub mod node;
mod numbers;
pub mod probe;
pub mod report;
pub mod session;
mod shell;
pub mod trace;
pub mod ui;
pub mod watch;
