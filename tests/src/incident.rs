//! The incident itself, with the real systemd, systemd-networkd, apt and dpkg: a timer starts an upgrade, whose packages restart
//! networkd, which takes rules away that it did not make; then systemd ends the upgrade half-way.
//!
//! [`Node`] is the node that this happens to, [`Variant`] what its upgrade breaks, [`Watcher`] the tracer that runs from before,
//! and [`proof`] what it must say, in which order. [`SOUND`] is what goes on every day and breaks nothing.

mod node;
mod plain;
pub mod proof;
pub(crate) mod said;
mod sound;
mod upgrade;
mod variants;
mod watcher;

pub use self::node::Node;
pub use self::sound::{AFTERWARDS, SOUND, Sound, watch};
pub use self::upgrade::STOP;
pub use self::variants::{Expect, Heal, Late, VARIANTS, Variant, find};
pub use self::watcher::Watcher;

/// The service that starves, as the node's own.
pub const KUBELET: &str = "kubelet.service";
/// The service that starves, as that of a pod which uses the node's network.
pub const POD: &str = "pod-web.service";
/// The node's own server, where somebody asks it.
pub const WEB: &str = "node-web.service";
/// What the timer starts.
pub const UPGRADE: &str = "apt-daily-upgrade.service";
/// The timer.
pub const TIMER: &str = "apt-daily-upgrade.timer";
