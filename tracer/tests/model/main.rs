//! The model and the diagnosis, told small stories as the sources tell them.

#![allow(clippy::unwrap_used, reason = "a test that fails is to show where")]

mod again;
mod blame;
mod bounds;
mod chains;
mod counters;
mod datagrams;
mod egress;
mod episodes;
mod faults;
mod filters;
mod firewalls;
mod flows;
mod fragments;
mod harmless;
mod hops;
mod hung;
mod inside;
mod ledger;
mod lookalikes;
mod loopback;
mod names;
mod namespaces;
mod neighbours;
mod outgoing;
mod pairing;
mod partly;
mod passing;
mod paths;
mod ports;
mod properties;
mod redirects;
mod refusals;
mod report;
mod sources;
mod story;
mod stranded;
mod tables;
mod timers;
mod units;
mod unread;
mod unresolved;
mod unroutable;
mod upgrades;
mod ways;
